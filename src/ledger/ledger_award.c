/*
 * ledger_award.c
 *		award_points(): the rows of somebody's table and their points, in one
 *		commit.
 *
 * What a row is worth is a function of the row as it stands.  Each time the
 * row is inserted, changed or deleted, the difference to what was posted for
 * it before is posted.  So it is all one what happened to the row, and in what
 * order: raised and lowered, cancelled and opened again, given to somebody
 * else, deleted and entered again, moved to another partition.
 *
 * What holds after every statement, for each row and currency:
 *
 * - The row's member has what the row is worth by the trigger's terms: points
 *	 cut off to whole ones, none where "when" is not true, where they are not
 *	 positive, or where there is no member.
 * - Nobody else has anything from it.
 * - What is there lives as long as when it was first earned.
 * - A statement that is refused changes nothing.
 *
 * How the postings of a row are found: the row has a name (RowKey()), its
 * source and its key.  The first posting for it in a wallet has that name as
 * idempotency key, each other one the name and "~n"; so all of them are one range of the index
 * on (member_id, currency, idempotency_key), and a key of ours can never be
 * another row's.  What stands for the row, member by member (by home, where
 * members were merged), is the sum of its earns, less its reversals, plus what
 * it undid of these.  An operator's own reversal of one of these earns is none
 * of the row's postings: it stays, is not taken a second time, and is not given
 * back.  A reversal counts for what was asked of it: where the clawback policy
 * leaves points with the member, the row has given them up all the same, and
 * when it is raised again they do not come a second time.
 *
 * How the difference is posted: too much is taken back from what was earned
 * last; what lacks is first given back to what was earned first, by undoing the
 * row's own reversals, which leaves the lots with their expiry; the rest is
 * earned, with the expiry of what the row first earned.  Points that are still
 * pending while the row says another available_at are taken back and earned
 * anew.
 *
 * The insertion of a new row is one earn: if its key turns out to be used, the
 * row was there before, and the rest follows.
 *
 * Locks: two sessions that change one row wait for each other at the row, or,
 * to delete and insert it, at its unique key, before any trigger fires; what
 * the first has posted the second one then reads with a snapshot of its own.
 * The wallets of all members concerned are locked in the order of their ids
 * and everything is read again before anything is posted.  In REPEATABLE READ
 * and above a wallet that has changed since the snapshot ends in 40001.
 *
 * A trigger of the user's may change the row again before ours has fired for
 * the first change.  Therefore the row counts as it stands by now, not as it
 * was when the trigger was queued.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger_terms.h"
#include "ledger/post.h"

/* What the trigger knows of a row */
enum
{
	AWARD_SOURCE,
	AWARD_CURRENCY
};

enum
{
	AWARD_MEMBER,
	AWARD_POINTS,
	AWARD_WHEN,
	AWARD_AT,
	AWARD_AVAILABLE_AT
};

static const TermSet award_terms = {
	.nwords = 2,
	.words = {[AWARD_SOURCE] = {"source", NULL}, [AWARD_CURRENCY] = {"currency", "points"}},
	.nvalues = 5,
	.values = {
		[AWARD_MEMBER] = {"member", INT8OID, true},
		[AWARD_POINTS] = {"points", NUMERICOID, true},
		[AWARD_WHEN] = {"when", BOOLOID, false},
		[AWARD_AT] = {"at", TIMESTAMPTZOID, false},
		[AWARD_AVAILABLE_AT] = {"available_at", TIMESTAMPTZOID, false}
	},
	.all = "source, member, points, at, when, available_at, currency and key",
	.needed = "source, member and points are",
	.how = "Add 'member=...', the column with the member, and 'points=...', what a row is worth.",
	.shared = "would post for rows of the same names in currency"
};

/* What a row is worth by the terms */
typedef struct Award
{
	char	   *key;			/* names the row: row_key() */
	bool		has_member;
	int64		member_id;
	int64		points;			/* 0 where it does not count, or for nobody */
	bool		has_at;
	TimestampTz at;
	bool		has_available_at;
	TimestampTz available_at;
} Award;

/* One posting of a row, as the ledger has it */
typedef struct Posted
{
	int64		member_id;		/* in whose wallet it is recorded */
	int64		entry_id;
	int64		home_id;		/* the member that it was addressed to */
	EntryKind	kind;
	int64		requested;
	TimestampTz effective_at;
	TimestampTz available_at;	/* of an earn */
	TimestampTz expires_at;		/* of an earn; -infinity where there is none */
	int64		target;
	int			number;			/* in the row's series */
	int64		gone;			/* of an earn, taken back; of a reversal, undone */
	bool		stale;			/* pending, and to be earned anew */
} Posted;

/* The settling of what a row is worth */
typedef struct Settling
{
	const Trigger *trigger;
	const char *source;
	Currency	currency;
	bool		ours;			/* what the row was before is our own
								 * transaction's doing */
	const char *key;
	const Award *award;			/* the row as it stands; NULL: it is gone */
	int64		members[2];		/* who may have something from it */
	int			nmembers;

	Posted	   *posted;
	int			nposted;
	int			last_number;
} Settling;

/* ---------------------------------------------------------------------------
 * What a row says
 * ---------------------------------------------------------------------------
 */

/*
 * Points are whole: fractions are cut off.  Less than none is none.
 */
static int64
PointsOf(const RowTerm *term, Datum value)
{
	Numeric		points;

	if (term->type != NUMERICOID)
		return Max(IntegerOf(value, term->type), 0);
	points = DatumGetNumeric(value);
	if (numeric_is_nan(points) || numeric_is_inf(points))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("term \"points=%s\" must be finite", term->text),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, value))),
				 errhint("Correct the row.")));
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, value, NumericGetDatum(int64_to_numeric(1)))))
		return 0;
	value = DirectFunctionCall2(numeric_trunc, value, Int32GetDatum(0));
	if (DatumGetBool(DirectFunctionCall2(numeric_gt, value, NumericGetDatum(int64_to_numeric(PG_INT64_MAX)))))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("term \"points=%s\" is out of the range of bigint", term->text),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, value))),
				 errhint("Correct the row.")));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, value));
}

/*
 * What a row says by the terms.  Whatever does not concern a row that counts
 * for nobody is not looked at.
 */
static void
ReadAward(const RowTerms *terms, TupleTableSlot *slot, const char *time_zone, Award *award)
{
	Datum		value;

	memset(award, 0, sizeof(Award));
	award->key = KeyOfRow(terms, slot);
	award->has_member = ReadTerm(&terms->values[AWARD_MEMBER], slot, &value);
	if (!award->has_member)
		return;
	award->member_id = IntegerOf(value, terms->values[AWARD_MEMBER].type);
	if (terms->values[AWARD_WHEN].name != NULL && (!ReadTerm(&terms->values[AWARD_WHEN], slot, &value) || !DatumGetBool(value)))
		return;
	if (!ReadTerm(&terms->values[AWARD_POINTS], slot, &value))
		return;
	award->points = PointsOf(&terms->values[AWARD_POINTS], value);
	if (award->points == 0)
		return;
	award->has_at = ReadInstant(&terms->values[AWARD_AT], slot, time_zone, &award->at);
	award->has_available_at = ReadInstant(&terms->values[AWARD_AVAILABLE_AT], slot, time_zone, &award->available_at);
}

/* ---------------------------------------------------------------------------
 * What was posted
 * ---------------------------------------------------------------------------
 */

/*
 * Whether a member was never merged with anybody, as its wallet says.
 */
static bool
StandsAlone(int64 member_id, const char *currency)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 AND moved IS NULL",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(currency)};

	if (merged_members == NULL)
		return true;
	RunPlan(&plan, values, NULL, 1);
	return SPI_processed > 0;
}

/*
 * The members in whose wallets postings of the row may be recorded.
 */
static Datum
WalletsOfRow(const Settling *settling)
{
	Datum	   *ids = palloc(settling->nmembers * sizeof(Datum));
	int			n = 0;

	for (int i = 0; i < settling->nmembers; i++)
	{
		int64		member_id = settling->members[i];
		ArrayType  *kin;
		Datum	   *kin_ids;
		int			nkin;

		if (StandsAlone(member_id, settling->currency.code))
		{
			ids = repalloc(ids, (n + settling->nmembers) * sizeof(Datum));
			ids[n++] = Int64GetDatum(member_id);
			continue;
		}
		kin = DatumGetArrayTypeP(KinOfMember(member_id));
		deconstruct_array(kin, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &kin_ids, NULL, &nkin);
		ids = repalloc(ids, (n + nkin + settling->nmembers) * sizeof(Datum));
		memcpy(ids + n, kin_ids, nkin * sizeof(Datum));
		n += nkin;
	}
	return PointerGetDatum(construct_array(ids, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Posted *
FindPosted(const Settling *settling, int64 entry_id)
{
	for (int i = 0; i < settling->nposted; i++)
	{
		if (settling->posted[i].entry_id == entry_id)
			return &settling->posted[i];
	}
	return NULL;
}

/*
 * The earn of the row that a posting of the row reverses; NULL when it does not.
 */
static Posted *
ReversedEarn(const Settling *settling, const Posted *posted)
{
	Posted	   *target = posted->kind == ENTRY_REVERSE ? FindPosted(settling, posted->target) : NULL;

	return target != NULL && target->kind == ENTRY_EARN ? target : NULL;
}

/*
 * Takes off what was taken back, less what was undone of that: in the wallets of
 * several members, where the lots went to them, so that not each such entry can
 * have a key of the row.
 */
static void
CountReversals(Settling *settling, Datum wallets)
{
	static KeptPlan plan = {
		.query = "SELECT target_entry_id, pg_catalog.sum(requested)::pg_catalog.int8 FROM loyalty.all_entries() "
		"WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND target_entry_id OPERATOR(pg_catalog.=) ANY ($2) "
		"AND kind OPERATOR(pg_catalog.=) 'reverse' GROUP BY target_entry_id",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum	   *ids = palloc(Max(settling->nposted, 1) * sizeof(Datum));
	Datum		values[2] = {wallets};
	int			n = 0;

	for (int i = 0; i < settling->nposted; i++)
	{
		if (ReversedEarn(settling, &settling->posted[i]) != NULL)
			ids[n++] = Int64GetDatum(settling->posted[i].entry_id);
	}
	if (n == 0)
		return;
	values[1] = PointerGetDatum(construct_array(ids, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	RunPlan(&plan, values, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		FindPosted(settling, id)->gone = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < settling->nposted; i++)
	{
		const Posted *posted = &settling->posted[i];
		Posted	   *earn = ReversedEarn(settling, posted);

		if (earn != NULL)
			earn->gone += posted->requested - posted->gone;
	}
}

/*
 * Reads the postings of the row, in the order in which they were made.
 */
static void
ReadPosted(Settling *settling)
{
	/* '~' < '\177': the row's name, and all that begins with it and "~" */
	static KeptPlan plan = {
		.query = "SELECT member_id, entry_id, coalesce(home_id, member_id), kind, requested, effective_at, "
		"available_at, expires_at, target_entry_id, idempotency_key FROM loyalty.all_entries() "
		"WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND currency OPERATOR(pg_catalog.=) $2 "
		"AND idempotency_key OPERATOR(pg_catalog.>=) $3 "
		"AND idempotency_key OPERATOR(pg_catalog.<) $4 "
		"ORDER BY entry_id",
		.nargs = 4,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID, TEXTOID}
	};
	Size		length = strlen(settling->key);
	Datum		values[4] = {WalletsOfRow(settling), CStringGetTextDatum(settling->currency.code),
	CStringGetTextDatum(settling->key), CStringGetTextDatum(psprintf("%s\177", settling->key))};
	SPITupleTable *table;
	uint64		nrows;

	RunPlan(&plan, values, NULL, 0);
	table = SPI_tuptable;
	nrows = SPI_processed;
	settling->posted = palloc(Max(nrows, 1) * sizeof(Posted));
	settling->nposted = 0;
	settling->last_number = 0;
	for (uint64 i = 0; i < nrows; i++)
	{
		HeapTuple	row = table->vals[i];
		TupleDesc	tupdesc = table->tupdesc;
		const char *number = SPI_getvalue(row, tupdesc, 10) + length;
		char	   *kind = SPI_getvalue(row, tupdesc, 4);
		Posted	   *posted;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (number[0] != '\0' && number[0] != '~')
			continue;			/* another row, whose key begins alike */
		if (FindPosted(settling, DatumGetInt64(SPI_getbinval(row, tupdesc, 2, &isnull))) != NULL)
			continue;
		posted = &settling->posted[settling->nposted];
		memset(posted, 0, sizeof(Posted));
		posted->number = number[0] == '\0' ? 1 : atoi(number + 1);
		settling->last_number = Max(settling->last_number, posted->number);
		posted->kind = EntryKindFromName(kind, strlen(kind));
		posted->member_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 1, &isnull));
		posted->entry_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 2, &isnull));
		posted->home_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 3, &isnull));
		posted->requested = DatumGetInt64(SPI_getbinval(row, tupdesc, 5, &isnull));
		posted->effective_at = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 6, &isnull));
		posted->available_at = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 7, &isnull));
		if (isnull)
			posted->available_at = TIMESTAMP_INFINITY;	/* waits for an activate() */
		posted->expires_at = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 8, &isnull));
		if (isnull)
			posted->expires_at = TIMESTAMP_MINUS_INFINITY;
		posted->target = DatumGetInt64(SPI_getbinval(row, tupdesc, 9, &isnull));

		settling->nposted++;
	}
	SPI_freetuptable(table);
	CountReversals(settling, values[0]);
}

/*
 * What stands of the points that a posting of the row earned.
 */
static int64
Standing(const Posted *posted)
{
	return posted->kind == ENTRY_EARN ? posted->requested - posted->gone : 0;
}

static int64
StandingOfMember(const Settling *settling, int64 home_id)
{
	int64		sum = 0;

	for (int i = 0; i < settling->nposted; i++)
	{
		if (settling->posted[i].home_id == home_id)
			sum += Standing(&settling->posted[i]);
	}
	return sum;
}

static bool
OwnsRow(const Settling *settling, int64 member_id)
{
	return settling->award != NULL && settling->award->has_member && settling->award->member_id == member_id;
}

static int64
WorthTo(const Settling *settling, int64 member_id)
{
	return OwnsRow(settling, member_id) ? settling->award->points : 0;
}

/*
 * Whether points that wait for an activate() have had it.
 */
static bool
WasActivated(const Settling *settling, const Posted *posted)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND target_entry_id OPERATOR(pg_catalog.=) $2 AND kind OPERATOR(pg_catalog.=) 'activate'",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
	Datum		values[2] = {WalletsOfRow(settling), Int64GetDatum(posted->entry_id)};

	RunPlan(&plan, values, NULL, 1);
	return SPI_processed > 0;
}

/*
 * Notes which of the owner's points are still pending, but by the row available
 * at another instant.  True if there are any.
 */
static bool
FindStale(Settling *settling)
{
	const Award *award = settling->award;
	TimestampTz now = GetCurrentTimestamp();
	bool		any = false;

	if (award == NULL || award->points == 0)
		return false;
	for (int i = 0; i < settling->nposted; i++)
	{
		Posted	   *posted = &settling->posted[i];
		TimestampTz available_at = award->has_available_at ? award->available_at : posted->effective_at;

		if (posted->kind != ENTRY_EARN || posted->available_at <= now || posted->available_at == available_at ||
			!OwnsRow(settling, posted->home_id) || WasActivated(settling, posted))
			continue;
		posted->stale = true;
		any = any || Standing(posted) > 0;
	}
	return any;
}

/*
 * Whether what stands for the row is not what it is worth.
 */
static bool
Differs(Settling *settling)
{
	for (int i = 0; i < settling->nposted; i++)
	{
		int64		home_id = settling->posted[i].home_id;

		if (StandingOfMember(settling, home_id) != WorthTo(settling, home_id))
			return true;
	}
	if (settling->award != NULL && settling->award->points > StandingOfMember(settling, settling->award->member_id))
		return true;
	return FindStale(settling);
}

/* ---------------------------------------------------------------------------
 * Posting
 * ---------------------------------------------------------------------------
 */

static void
InitRowPosting(Posting *posting, const Settling *settling, EntryKind kind, int64 member_id, int number)
{
	InitPosting(posting, kind, member_id);
	posting->of_row = true;
	posting->currency = settling->currency;
	posting->reference = pstrdup(settling->key);
	posting->idempotency_key = number == 1 ? posting->reference : psprintf("%s~%d", settling->key, number);
}

/*
 * {"at": "..."}: the row's own time, where it cannot be when the entry is
 * effective.
 */
static Datum
OwnTime(TimestampTz at)
{
	int			utc = 0;
	char	   *text = JsonEncodeDateTime(palloc(MAXDATELEN + 1), TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("{\"at\": \"%s\"}", text)));
}

/*
 * The posting by which a row earns points.  A time ahead of now, as a till with
 * a fast clock has it, counts as now.
 */
static void
InitEarn(Posting *posting, const Settling *settling, int64 points, int number)
{
	const Award *award = settling->award;
	TimestampTz now = GetCurrentTimestamp();
	const Posted *first = NULL;

	InitRowPosting(posting, settling, ENTRY_EARN, award->member_id, number);
	posting->entry.requested = points;
	for (int i = 0; i < settling->nposted && first == NULL; i++)
	{
		if (settling->posted[i].kind == ENTRY_EARN)
			first = &settling->posted[i];
	}
	posting->effective_now = award->has_at ? award->at > now : first == NULL;
	if (award->has_at && posting->effective_now)
		posting->details = OwnTime(award->at);
	else if (!posting->effective_now)
		posting->entry.effective_at = award->has_at ? award->at : first->effective_at;

	/* what lies behind is available at once */
	posting->available_given = award->has_available_at &&
		award->available_at > (posting->effective_now ? now : posting->entry.effective_at);
	if (posting->available_given)
		posting->entry.available_at = award->available_at;

	/* sliding expiry moves on by itself */
	if (first != NULL && settling->currency.expiry != EXPIRY_SLIDING &&
		first->expires_at > (posting->effective_now ? now : posting->entry.effective_at) &&
		(!posting->available_given || first->expires_at > posting->entry.available_at))
	{
		posting->expires_given = true;
		posting->entry.expires_at = first->expires_at;
	}
}

/*
 * Locks the wallet of a member, and makes it if there is none.
 */
static void
TakeWalletOf(const Settling *settling, int64 member_id)
{
	Posting		posting;

	InitPosting(&posting, ENTRY_EARN, member_id);
	posting.currency = settling->currency;
	posting.together = true;
	TakeWallet(&posting);
}

/*
 * Posts into the wallet of the canonical member, which is locked already,
 * and into those of others whose its lots are by now.  False when the key is
 * used.
 */
static bool
PostOfRow(const Settling *settling, Posting *posting)
{
	int64	   *others;
	int			n;

	posting->together = true;
	SendPosting(posting, CanonicalMember(posting->asked_id));
	n = FindParticipants(posting, &others);
	for (int i = 0; i < n; i++)
		TakeWalletOf(settling, others[i]);
	PostEntry(posting);
	return posting->result.outcome != POSTING_REPLAYED;
}

/*
 * Reverses up to so many points of a posting: takes back what it earned, or
 * undoes a reversal.  What is not there to be reversed any more, since
 * somebody else has reversed it, is left alone.  Returns how many it were.
 */
static int64
ReversePosted(Settling *settling, const Posted *posted, int64 home_id, int64 points)
{
	Posting		posting;
	int64		left;

	do
	{
		InitRowPosting(&posting, settling, ENTRY_REVERSE, home_id, ++settling->last_number);
		FindTarget(&posting, posted->entry_id);
		posting.has_kin = !StandsAlone(home_id, settling->currency.code);
		left = Min(posting.entry.target_points - ReversedOfTarget(&posting), points);
		if (left <= 0)
			return 0;
		posting.entry.requested = left;
	} while (!PostOfRow(settling, &posting));
	return left;
}

/*
 * Takes back points from what a member earned by the row: what was earned last
 * first.
 */
static void
Lower(Settling *settling, int64 home_id, int64 points)
{
	for (int i = settling->nposted - 1; i >= 0 && points > 0; i--)
	{
		Posted	   *posted = &settling->posted[i];
		int64		part = Min(points, Standing(posted));

		CHECK_FOR_INTERRUPTS();
		if (posted->home_id != home_id || part <= 0)
			continue;
		posted->gone += ReversePosted(settling, posted, home_id, part);
		points -= part;
	}
}

/*
 * The number of an earn: in each wallet the first has none, so that the
 * insertion of the row would meet it.
 */
static int
NumberOfEarn(Settling *settling, int64 member_id)
{
	int64		wallet = CanonicalMember(member_id);

	for (int i = 0; i < settling->nposted; i++)
	{
		if (settling->posted[i].number == 1 && settling->posted[i].member_id == wallet)
			return ++settling->last_number;
	}
	return 1;
}

/*
 * Gives the owner so many points more: by undoing what was taken back, first
 * from what was earned first, and then by earning.
 */
static void
Raise(Settling *settling, int64 points)
{
	int64		owner = settling->award->member_id;
	Posting		posting;

	for (int i = 0; i < settling->nposted; i++)
	{
		Posted	   *earn = &settling->posted[i];

		CHECK_FOR_INTERRUPTS();
		if (earn->home_id != owner || earn->kind != ENTRY_EARN || earn->stale)
			continue;
		for (int j = settling->nposted - 1; j > i && points > 0; j--)
		{
			Posted	   *reversal = &settling->posted[j];
			int64		part = Min(points, reversal->requested - reversal->gone);

			if (reversal->kind != ENTRY_REVERSE || reversal->target != earn->entry_id || part <= 0)
				continue;
			ReversePosted(settling, reversal, owner, part);
			points -= part;
		}
	}
	if (points == 0)
		return;
	InitEarn(&posting, settling, points, NumberOfEarn(settling, owner));
	while (!PostOfRow(settling, &posting))
		InitEarn(&posting, settling, points, ++settling->last_number);
}

static int
CompareMembers(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/*
 * Locks the wallets of all who have or get something, in the order of their
 * ids.
 */
static void
LockWallets(const Settling *settling)
{
	int64	   *members = palloc((settling->nposted + 1) * sizeof(int64));
	int			n = 0;

	if (settling->award != NULL && settling->award->points > 0)
		members[n++] = CanonicalMember(settling->award->member_id);
	for (int i = 0; i < settling->nposted; i++)
	{
		if (settling->posted[i].kind == ENTRY_EARN)
			members[n++] = CanonicalMember(settling->posted[i].home_id);
	}
	qsort(members, n, sizeof(int64), CompareMembers);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || members[i] != members[i - 1])
			TakeWalletOf(settling, members[i]);
	}
}

static bool
IsFirstOfMember(const Settling *settling, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (settling->posted[i].home_id == settling->posted[n].home_id)
			return false;
	}
	return true;
}

/*
 * Posts the difference; run by RunRestartable().
 */
static void
PostDifference(void *call)
{
	Settling   *settling = call;

	LockWallets(settling);
	ReadPosted(settling);
	(void) FindStale(settling);
	for (int i = 0; i < settling->nposted; i++)
	{
		Posted	   *posted = &settling->posted[i];

		if (posted->stale && Standing(posted) > 0)
			posted->gone += ReversePosted(settling, posted, posted->home_id, Standing(posted));
	}
	for (int i = 0; i < settling->nposted; i++)
	{
		int64		home_id = settling->posted[i].home_id;
		int64		excess = StandingOfMember(settling, home_id) - WorthTo(settling, home_id);

		/* once for each member: what could not be reversed is not tried again */
		if (excess > 0 && IsFirstOfMember(settling, i))
			Lower(settling, home_id, excess);
	}
	if (settling->award != NULL && settling->award->points > 0)
	{
		int64		lacking = settling->award->points - StandingOfMember(settling, settling->award->member_id);

		if (lacking > 0)
			Raise(settling, lacking);
	}
}

static void
AddMember(Settling *settling, const Award *award)
{
	if (award == NULL || !award->has_member ||
		(settling->nmembers > 0 && settling->members[0] == award->member_id))
		return;
	settling->members[settling->nmembers++] = award->member_id;
}

/*
 * A row that was worth something before this change, and for which nothing was
 * ever posted, is history that came in without its key, or was left out.  What
 * it earned nobody can tell from the ledger, so it is left alone; but not
 * without saying so, where the change means points.
 */
static void
LeaveHistoryAlone(const Settling *settling, const Award *older, const Award *award)
{
	if (award != NULL && award->points == older->points && award->member_id == older->member_id)
		return;
	/* nobody is surprised that the rows of a forgotten member are cleared, too */
	if ((award == NULL || !award->has_member || award->member_id == older->member_id) &&
		KeysAreErased(older->member_id, settling->currency.code))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("row \"%s\" is history that trigger \"%s\" does not know: no points were posted",
					older->key, settling->trigger->tgname),
			 errdetail("Before this change it was worth " INT64_FORMAT " points to member " INT64_FORMAT
					   ", but no entry in currency \"%s\" has its key.",
					   older->points, older->member_id, settling->currency.code),
			 errhint("Bring history in by loyalty.backfill() with source => '%s', or leave such rows out by the term \"when\".",
					 settling->source)));
}

/*
 * Brings what was posted for a row to what it is worth now (award; NULL: it is
 * gone, or has another key; where another row has taken over its key, that
 * row).  older is the row before a change that was not the first; NULL for a
 * row that is new.  False when it is history that is left alone.
 */
static bool
SettleRow(Settling *settling, const Award *older, const Award *award)
{
	settling->key = award != NULL ? award->key : older->key;
	settling->award = award;
	settling->nmembers = 0;
	AddMember(settling, older);
	AddMember(settling, award);
	if (settling->nmembers == 0)
		return true;
	ReadPosted(settling);
	if (settling->nposted == 0 && older != NULL && older->points > 0)
	{
		/* the trigger that made it what it was may still be to come, and settle it */
		if (!settling->ours)
			LeaveHistoryAlone(settling, older, award);
		return false;
	}
	if (Differs(settling))
		RunRestartable(PostDifference, settling);
	return true;
}

/* ---------------------------------------------------------------------------
 * The trigger
 * ---------------------------------------------------------------------------
 */

/*
 * A new row earns what it is worth.  False when it is worth nothing, or its key
 * was used: then it may have been there before.
 */
static bool
EarnOfNewRow(Settling *settling, const Award *award)
{
	Posting		posting;

	if (award->points == 0)
		return false;
	settling->key = award->key;
	settling->award = award;
	InitEarn(&posting, settling, award->points, 1);
	PostEntry(&posting);

	/* what a member earned while merged has another number where it is: all of it is to be looked at */
	return posting.result.outcome != POSTING_REPLAYED && !posting.has_kin;
}

/*
 * award_points(terms): what a row is worth, as it stands.
 *
 *	CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
 *		EXECUTE FUNCTION loyalty.award_points('source=orders', 'member=member_id',
 *			'points=amount', 'at=ordered_at', $$when=status <> 'cancelled'$$);
 */
PG_FUNCTION_INFO_V1(loyalty_award_points);
Datum
loyalty_award_points(PG_FUNCTION_ARGS)
{
	TriggerData *data = RequireTrigger(fcinfo, "award_points",
									   FIRED_AFTER | FIRED_FOR_ROW | FIRED_BY_INSERT | FIRED_BY_UPDATE | FIRED_BY_DELETE);
	Relation	rel = data->tg_relation;
	Settling	settling = {.trigger = data->tg_trigger};
	TupleTableSlot *slot = NULL;
	const RowTerms *terms;
	Award		older;
	Award		newer;
	Award		holder;
	Actor		writer;
	bool		is_there;
	bool		same_key = false;
	TupleTableSlot *holding = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* the terms are the trigger's: they are evaluated as any trigger runs */
	terms = FindTerms(data, &award_terms);
	settling.source = terms->words[AWARD_SOURCE];
	ActForTable(&writer, rel);
	RequireWritable();
	FindCurrency(terms->words[AWARD_CURRENCY], &settling.currency);
	ActAsBefore(&writer);

	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		slot = LatestRow(rel, data->tg_trigtuple, data->tg_trigslot);
	else
	{
		ReadAward(terms, data->tg_trigslot, settling.currency.time_zone, &older);
		settling.ours = RowIsOurs(rel, data->tg_trigtuple);
		if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
			slot = LatestRow(rel, data->tg_newtuple, data->tg_newslot);
	}
	is_there = slot != NULL;
	if (is_there)
		ReadAward(terms, slot, settling.currency.time_zone, &newer);
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		same_key = is_there && strcmp(older.key, newer.key) == 0;
		if (!same_key)
			holding = FindHolder(terms, rel, data->tg_trigslot, older.key);
		if (holding != NULL)
			ReadAward(terms, holding, settling.currency.time_zone, &holder);
	}

	ActForTable(&writer, rel);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		if (is_there && !EarnOfNewRow(&settling, &newer))
			SettleRow(&settling, NULL, &newer);
	}
	else if (same_key)
		SettleRow(&settling, &older, &newer);
	else if (SettleRow(&settling, &older, holding != NULL ? &holder : NULL) && is_there)
		SettleRow(&settling, NULL, &newer);

	ActAsBefore(&writer);
	if (slot != NULL && slot != data->tg_trigslot && slot != data->tg_newslot)
		ExecDropSingleTupleTableSlot(slot);
	if (holding != NULL)
		ExecDropSingleTupleTableSlot(holding);
	SPI_finish();
	return PointerGetDatum(NULL);
}
