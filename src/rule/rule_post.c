/*
 * rule_post.c
 *		Postings of awards, and their rows.
 *
 * More points of one currency that become available and expire alike are one
 * entry of the ledger; its details say which campaigns gave them.  What is
 * taken back is taken of the newest entries of an award first.  The rows of
 * awards are the guard of their postings, which so need no keys.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "benefit/household.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/plain.h"
#include "ledger/post_together.h"
#include "rule/rule.h"

/* A row of table award */
typedef struct AwardRow
{
	const Difference *difference;
	int64		member_id;		/* under whose number it stands */
	int64		points;
	int64		entry_id;
	int64		of_entry_id;
	int64		wallet_id;
	int64		item_id;
} AwardRow;

typedef struct AwardRows
{
	int			n;
	int			size;
	AwardRow   *rows;
} AwardRows;

static AwardRow *
AddRow(AwardRows *rows, int64 member_id, const Difference *difference, int64 points)
{
	AwardRow   *row;

	if (rows->n == rows->size)
	{
		rows->size = Max(8, 2 * rows->size);
		rows->rows = rows->rows == NULL ? palloc(rows->size * sizeof(AwardRow)) : repalloc(rows->rows, rows->size * sizeof(AwardRow));
	}
	row = &rows->rows[rows->n++];
	memset(row, 0, sizeof(AwardRow));
	row->difference = difference;
	row->member_id = member_id;
	row->points = points;
	return row;
}

/* ---------------------------------------------------------------------------
 * Postings
 * ---------------------------------------------------------------------------
 */

static TimestampTz
AfterSpan(TimestampTz at, const Interval *span)
{
	/* days and months by the clock of the program */
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(at), IntervalPGetDatum(span)));
}

/* When what a difference gives becomes available, and when it expires. */
static void
SetTerms(Posting *posting, const Difference *difference, bool confirmed)
{
	const Campaign *campaign = difference->campaign;
	TimestampTz available_at = difference->effective_at;

	posting->effective_now = false;
	posting->entry.effective_at = difference->effective_at;
	if (campaign->when_confirmed)
		SetAvailability(posting, NULL, !confirmed);
	else if (campaign->available_after != NULL)
	{
		Datum		at;

		available_at = AfterSpan(difference->effective_at, campaign->available_after);
		at = TimestampTzGetDatum(available_at);
		SetAvailability(posting, &at, false);
	}
	else
		SetAvailability(posting, NULL, false);
	if (campaign->expires_after != NULL)
	{
		posting->expires_given = true;
		posting->entry.expires_at = AfterSpan(available_at, campaign->expires_after);
	}
}

static bool
SameTerms(const Posting *a, const Posting *b)
{
	return a->asked_id == b->asked_id && a->entry.effective_at == b->entry.effective_at && a->available_given == b->available_given &&
		a->entry.available_at == b->entry.available_at && a->expires_given == b->expires_given &&
		(!a->expires_given || a->entry.expires_at == b->entry.expires_at);
}

static void
PushKey(JsonbParseState **state, const char *key)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &value);
}

static void
PushNumber(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	PushKey(state, key);
	value.val.numeric = int64_to_numeric(number);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

/* The points of a campaign in rows from first on; 0 where an earlier row has it. */
static int64
PointsOfCampaign(const AwardRows *rows, int first, int row)
{
	const char *code = rows->rows[row].difference->campaign_code;
	int64		points = 0;

	for (int i = first; i < rows->n; i++)
	{
		if (strcmp(rows->rows[i].difference->campaign_code, code) != 0)
			continue;
		if (i < row)
			return 0;
		points += rows->rows[i].points;
	}
	return points;
}

/* Whose wallet is meant: 0 is the member's own. */
static int64
WalletOf(const PostingFor *what, int64 wallet_id)
{
	return wallet_id != 0 ? wallet_id : what->member_id;
}

/*
 * Into whose wallet go the points that campaigns give to households: of the one
 * in which the member was when it did what earned them.  What an award has had
 * before decides for what comes later.
 */
static void
FindWallets(const PostingFor *what, Difference *differences, int n)
{
	for (int i = 0; i < n; i++)
	{
		Difference *d = &differences[i];

		if (d->points <= 0 || d->currency == NULL)
			continue;
		if (d->held != NULL && d->held->nentries > 0)
			d->wallet_id = d->held->entries[d->held->nentries - 1].wallet_id;
		else if (d->campaign->to_household)
			d->wallet_id = HouseholdAsOf(what->member_id, d->effective_at);
	}
}

static void
NameCampaigns(Posting *posting, const PostingFor *what, const AwardRows *rows, int first)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (what->activity_id != 0)
		PushNumber(&state, "activity_id", what->activity_id);
	if (posting->asked_id != what->member_id)
		PushNumber(&state, "person_id", what->member_id);
	PushKey(&state, "campaigns");
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = first; i < rows->n; i++)
	{
		int64		points = PointsOfCampaign(rows, first, i);

		if (points != 0)
			PushNumber(&state, rows->rows[i].difference->campaign_code, points);
	}
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	posting->details = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	posting->reference = what->reference == NULL ? NULL : pstrdup(what->reference);
}

/*
 * Posts what is given in a currency: an entry for each terms.
 */
static void
PostMore(const PostingFor *what, const Difference *differences, int n, const char *currency, AwardRows *rows)
{
	bool	   *done = palloc0(n * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		Posting		posting;
		int			first = rows->n;

		if (done[i] || differences[i].points <= 0 || differences[i].currency == NULL || strcmp(differences[i].currency, currency) != 0)
			continue;
		InitPosting(&posting, ENTRY_EARN, WalletOf(what, differences[i].wallet_id));
		FindCurrency(currency, &posting.currency);
		SetTerms(&posting, &differences[i], what->confirmed);
		for (int j = i; j < n; j++)
		{
			Posting		other;

			if (done[j] || differences[j].points <= 0 || differences[j].currency == NULL || strcmp(differences[j].currency, currency) != 0)
				continue;
			if (j > i)
			{
				InitPosting(&other, ENTRY_EARN, WalletOf(what, differences[j].wallet_id));
				SetTerms(&other, &differences[j], what->confirmed);
				if (!SameTerms(&posting, &other))
					continue;
			}
			done[j] = true;
			posting.entry.requested += differences[j].points;
			AddRow(rows, what->member_id, &differences[j], differences[j].points)->wallet_id = differences[j].wallet_id;
		}
		NameCampaigns(&posting, what, rows, first);
		PostTogether(&posting);
		for (int j = first; j < rows->n; j++)
			rows->rows[j].entry_id = posting.result.entry_id;
	}
	pfree(done);
}

static void
PostReversal(const PostingFor *what, int64 wallet_id, int64 entry_id, int64 points, AwardRows *rows, int first)
{
	Posting		posting;
	int64		left;

	InitPosting(&posting, ENTRY_REVERSE, WalletOf(what, wallet_id));
	FindTarget(&posting, entry_id);
	left = Min(posting.entry.target_points - ReversedOfTarget(&posting), points);
	for (int i = first; i < rows->n; i++)
		rows->rows[i].of_entry_id = rows->rows[i].of_entry_id == 0 ? entry_id : rows->rows[i].of_entry_id;
	/* by hand it may have been reversed before */
	if (left <= 0)
		return;
	posting.entry.requested = left;
	posting.effective_now = false;
	/* what makes a window less may lie before what made it more */
	posting.entry.effective_at = Max(what->taken_back_at, posting.entry.target_effective_at);
	NameCampaigns(&posting, what, rows, first);
	PostTogether(&posting);
	for (int i = first; i < rows->n; i++)
		rows->rows[i].entry_id = posting.result.entry_id;
}

/*
 * Takes back, of each award of its newest entries first; of one entry all at
 * once.  It is taken from the number that has it, so that it is right as well
 * once members are taken apart.
 */
static void
PostLess(const PostingFor *what, Difference *differences, int n, const char *currency, AwardRows *rows)
{
	int64	   *left = palloc0(n * sizeof(int64));

	for (int i = 0; i < n; i++)
	{
		if (differences[i].points < 0 && differences[i].currency != NULL && strcmp(differences[i].currency, currency) == 0)
			left[i] = -differences[i].points;
	}
	for (;;)
	{
		int64		newest = 0;
		int64		wallet_id = 0;
		int64		points = 0;
		int			first = rows->n;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
		{
			for (int e = 0; left[i] > 0 && e < differences[i].held->nentries; e++)
			{
				if (differences[i].held->entries[e].points > 0)
					newest = Max(newest, differences[i].held->entries[e].id);
			}
		}
		if (newest == 0)
			break;
		for (int i = 0; i < n; i++)
		{
			for (int e = 0; left[i] > 0 && e < differences[i].held->nentries; e++)
			{
				HeldEntry  *entry = &differences[i].held->entries[e];
				int64		part = Min(left[i], entry->points);

				if (entry->id != newest || part <= 0)
					continue;
				entry->points -= part;
				left[i] -= part;
				points += part;
				wallet_id = entry->wallet_id;
				AddRow(rows, entry->member_id, &differences[i], -part)->wallet_id = wallet_id;
			}
		}
		PostReversal(what, wallet_id, newest, points, rows, first);
	}
	pfree(left);
}

/*
 * Takes items back, the newest first, and then gives others.
 */
static void
PostItems(const PostingFor *what, const Difference *differences, int n, AwardRows *rows)
{
	for (int i = 0; i < n; i++)
	{
		int64		left = differences[i].item != NULL ? -differences[i].points : 0;

		for (int e = left > 0 ? differences[i].held->nentries - 1 : -1; e >= 0 && left > 0; e--)
		{
			HeldEntry  *entry = &differences[i].held->entries[e];

			for (; entry->points > 0 && left > 0; entry->points--, left--)
			{
				AddRow(rows, entry->member_id, &differences[i], -1)->item_id = entry->id;
				TakeItemBack(what, &differences[i], entry);
			}
		}
	}
	for (int i = 0; i < n; i++)
	{
		if (differences[i].item != NULL && differences[i].points > 0)
			AddRow(rows, what->member_id, &differences[i], differences[i].points)->item_id = GiveItem(what, &differences[i]);
	}
}

/* ---------------------------------------------------------------------------
 * Rows
 * ---------------------------------------------------------------------------
 */

/* So many ids are drawn at once: the increment of their sequence */
#define AWARD_IDS	64

/* The columns of table award */
enum
{
	AWARD_MEMBER_ID, AWARD_AWARD_ID, AWARD_ACTIVITY_ID, AWARD_REVISION, AWARD_AT, AWARD_LOCAL_DAY, AWARD_CAMPAIGN, AWARD_VERSION,
	AWARD_EFFECT, AWARD_KIND, AWARD_CURRENCY, AWARD_POINTS, AWARD_WANTED, AWARD_LIMITED_BY, AWARD_KEPT_BECAUSE, AWARD_CAUSE,
	AWARD_WINDOW_START, AWARD_ENTRY_ID, AWARD_OF_ENTRY_ID, AWARD_WALLET_ID, AWARD_ITEM, AWARD_ITEM_ID, AWARD_INPUTS, AWARD_REASON, AWARD_RECORDED_AT, AWARD_NCOLUMNS
};

static const PlainColumn award_columns[AWARD_NCOLUMNS] = {
	{"member_id", INT8OID}, {"award_id", INT8OID}, {"activity_id", INT8OID}, {"revision", INT4OID}, {"at", TIMESTAMPTZOID},
	{"local_day", DATEOID}, {"campaign", TEXTOID}, {"version", INT4OID}, {"effect", INT4OID}, {"kind", TEXTOID}, {"currency", TEXTOID},
	{"points", INT8OID}, {"wanted", INT8OID}, {"limited_by", TEXTOID}, {"kept_because", TEXTOID}, {"cause", TEXTOID},
	{"window_start", DATEOID}, {"entry_id", INT8OID}, {"of_entry_id", INT8OID}, {"wallet_id", INT8OID}, {"item", TEXTOID}, {"item_id", INT8OID}, {"inputs", JSONBOID},
	{"reason", TEXTOID}, {"recorded_at", TIMESTAMPTZOID}
};

static const char *const no_triggers[] = {NULL};

static const PlainTable award_table = {
	.name = "award",
	.ncolumns = AWARD_NCOLUMNS,
	.columns = award_columns,
	.nkeys = 1,
	.keys = {{3, {AWARD_MEMBER_ID, AWARD_ACTIVITY_ID, AWARD_AWARD_ID}}},
	.own_triggers = no_triggers
};

static void
PutId(Datum *values, bool *nulls, int column, int64 id)
{
	nulls[column] = id == 0;
	values[column] = Int64GetDatum(id);
}

/*
 * The values of a row.  Where several entries are taken back from, an award has
 * several rows: what it has once it is limited, is what it has after the last.
 */
static void
AwardValues(const PostingFor *what, const AwardRow *row, int64 award_id, bool is_last, TimestampTz now, Datum *values, bool *nulls)
{
	const Difference *d = row->difference;

	memset(nulls, false, AWARD_NCOLUMNS * sizeof(bool));
	values[AWARD_MEMBER_ID] = Int64GetDatum(row->member_id);
	values[AWARD_AWARD_ID] = Int64GetDatum(award_id);
	values[AWARD_ACTIVITY_ID] = Int64GetDatum(what->activity_id);
	values[AWARD_REVISION] = Int32GetDatum(what->revision);
	values[AWARD_AT] = TimestampTzGetDatum(d->at);
	values[AWARD_LOCAL_DAY] = DateADTGetDatum(d->local_day);
	PutText(values, nulls, AWARD_CAMPAIGN, d->campaign_code);
	values[AWARD_VERSION] = Int32GetDatum(d->version);
	values[AWARD_EFFECT] = Int32GetDatum(d->effect + 1);
	PutText(values, nulls, AWARD_KIND, d->kind);
	PutText(values, nulls, AWARD_CURRENCY, d->currency);
	values[AWARD_POINTS] = Int64GetDatum(row->points);
	values[AWARD_WANTED] = Int64GetDatum(d->wanted);
	PutText(values, nulls, AWARD_LIMITED_BY, is_last ? d->limited_by : NULL);
	PutText(values, nulls, AWARD_KEPT_BECAUSE, d->kept_because);
	PutText(values, nulls, AWARD_CAUSE, d->cause);
	values[AWARD_WINDOW_START] = DateADTGetDatum(d->window_start);
	nulls[AWARD_WINDOW_START] = !d->has_window;
	PutId(values, nulls, AWARD_ENTRY_ID, row->entry_id);
	PutId(values, nulls, AWARD_OF_ENTRY_ID, row->of_entry_id);
	PutId(values, nulls, AWARD_WALLET_ID, row->wallet_id);
	PutText(values, nulls, AWARD_ITEM, d->item);
	PutId(values, nulls, AWARD_ITEM_ID, row->item_id);
	values[AWARD_INPUTS] = d->inputs;
	nulls[AWARD_INPUTS] = d->inputs == 0;
	PutText(values, nulls, AWARD_REASON, what->reason);
	values[AWARD_RECORDED_AT] = TimestampTzGetDatum(now);
}

static void
StoreByStatement(Datum *values, const bool *nulls)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.award (member_id, award_id, activity_id, revision, at, local_day, campaign, version, effect, kind, currency, "
		"points, wanted, limited_by, kept_because, cause, window_start, entry_id, of_entry_id, wallet_id, item, item_id, inputs, reason, recorded_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)",
		.nargs = AWARD_NCOLUMNS
	};
	char		flags[AWARD_NCOLUMNS];

	for (int i = 0; i < AWARD_NCOLUMNS; i++)
		plan.argtypes[i] = award_columns[i].type;
	RunPlan(&plan, values, NullFlags(nulls, AWARD_NCOLUMNS, flags), 0);
}

/*
 * Stores the rows: plainly, all at once, or by statements.  Those of other
 * numbers of the person may be in another partition.
 */
static void
StoreRows(const PostingFor *what, const AwardRows *rows)
{
	HeapTuple  *tuples = palloc(Max(1, rows->n) * sizeof(HeapTuple));
	TimestampTz now = GetCurrentTimestamp();
	int64		award_id = 0;
	PlainAccess access;
	bool		is_plain = rows->n > 0 && OpenPlain(&access, &award_table, what->member_id, PLAIN_WRITE);
	int			ntuples = 0;
	int			at = 0;

	for (int i = 0; i < rows->n; i++)
	{
		Datum		values[AWARD_NCOLUMNS];
		bool		nulls[AWARD_NCOLUMNS];
		bool		is_last = true;

		for (int j = i + 1; j < rows->n && is_last; j++)
			is_last = rows->rows[j].difference != rows->rows[i].difference;
		if (i % AWARD_IDS == 0)
			award_id = nextval_internal(LoyaltyTable("award_award_id_seq"), true) - (AWARD_IDS - 1);
		AwardValues(what, &rows->rows[i], award_id + i % AWARD_IDS, is_last, now, values, nulls);
		if (is_plain && HasPlainRowsOf(&access, DatumGetInt64(values[AWARD_MEMBER_ID])))
			tuples[ntuples++] = FormPlainRow(&access, values, nulls);
		else
			StoreByStatement(values, nulls);
	}
	if (is_plain)
	{
		if (ntuples > 0)
			InsertPlainRows(&access, ntuples, tuples, &at);
		ClosePlain(&access);
		CommandCounterIncrement();
	}
}

static int
CompareTexts(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/*
 * Posts the differences of one member, wallets ascending, and stores their rows.
 * The wallets that are concerned and the member's state are locked.
 */
void
PostDifferences(const PostingFor *what, Difference *differences, int n)
{
	AwardRows	rows = {0};
	const char **currencies = palloc(Max(1, n) * sizeof(char *));
	int			ncurrencies = 0;

	for (int i = 0; i < n; i++)
	{
		if (differences[i].currency != NULL && differences[i].points != 0)
			currencies[ncurrencies++] = differences[i].currency;
		else if (differences[i].points == 0)
			AddRow(&rows, what->member_id, &differences[i], 0)->item_id = differences[i].held != NULL ? differences[i].held->item_id : 0;
	}
	FindWallets(what, differences, n);
	qsort(currencies, ncurrencies, sizeof(char *), CompareTexts);
	for (int i = 0; i < ncurrencies; i++)
	{
		if (i > 0 && strcmp(currencies[i], currencies[i - 1]) == 0)
			continue;
		PostLess(what, differences, n, currencies[i], &rows);
		PostMore(what, differences, n, currencies[i], &rows);
	}
	PostItems(what, differences, n, &rows);
	StoreRows(what, &rows);
}

/* Whether an entry still waits to be activated. */
static bool
Waits(int64 entry_id)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.ledger e WHERE e.target_entry_id OPERATOR(pg_catalog.=) $1 AND e.kind OPERATOR(pg_catalog.=) 'activate'",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(entry_id);

	RunPlan(&plan, &value, NULL, 1);
	return SPI_processed == 0;
}

static void
Activate(const PostingFor *what, const HeldEntry *entry)
{
	Posting		posting;

	InitPosting(&posting, ENTRY_ACTIVATE, WalletOf(what, entry->wallet_id));
	FindTarget(&posting, entry->id);
	posting.effective_now = false;
	posting.entry.effective_at = Max(what->taken_back_at, posting.entry.target_effective_at);
	PostTogether(&posting);
}

/*
 * An activity is confirmed now: points that waited for that become available.
 * Awards of one entry come one after the other.
 */
void
ActivateAwards(const PostingFor *what, const RuleBook *book, const HeldAwards *held)
{
	for (int i = 0; i < held->n; i++)
	{
		const HeldAward *award = held->awards[i];
		const Campaign *campaign = FindVersion(book, award->campaign, award->version);

		if (campaign == NULL || !campaign->when_confirmed || award->currency == NULL)
			continue;
		for (int e = 0; e < award->nentries; e++)
		{
			if (award->entries[e].points > 0 && Waits(award->entries[e].id))
				Activate(what, &award->entries[e]);
		}
	}
}
