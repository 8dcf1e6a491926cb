/*
 * rule_held.c
 *		What awards hold, and what limits have counted.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "core/escrow.h"
#include "rule/rule.h"

/* ---------------------------------------------------------------------------
 * Awards
 * ---------------------------------------------------------------------------
 */

#define AWARD_COLUMNS \
	"SELECT campaign, version, effect, kind, currency, points, limited_by, cause, window_start, entry_id, of_entry_id, item, item_id, " \
	"at, local_day, inputs, kept_because, member_id, wallet_id, reason FROM loyalty.award "

enum
{
	COL_CAMPAIGN = 1, COL_VERSION, COL_EFFECT, COL_KIND, COL_CURRENCY, COL_POINTS, COL_LIMITED_BY, COL_CAUSE, COL_WINDOW_START,
	COL_ENTRY_ID, COL_OF_ENTRY_ID, COL_ITEM, COL_ITEM_ID, COL_AT, COL_LOCAL_DAY, COL_INPUTS, COL_KEPT_BECAUSE,
	COL_MEMBER_ID, COL_WALLET_ID, COL_REASON
};

static HeldAward *
AwardOf(HeldAwards *held, const HeldAward *row)
{
	for (int i = 0; i < held->n; i++)
	{
		HeldAward  *award = held->awards[i];

		if (award->effect == row->effect && strcmp(award->campaign, row->campaign) == 0 &&
			strcmp(award->kind, row->kind) == 0 && SameString(award->currency, row->currency) &&
			SameString(award->item, row->item) && SameString(award->cause, row->cause) &&
			award->has_window == row->has_window && award->window_start == row->window_start)
			return award;
	}
	held->awards = held->n == 0 ? palloc(sizeof(HeldAward *)) : repalloc(held->awards, (held->n + 1) * sizeof(HeldAward *));
	held->awards[held->n] = memcpy(palloc(sizeof(HeldAward)), row, sizeof(HeldAward));
	return held->awards[held->n++];
}

/* An entry has more, or fewer, of an award's points; likewise an item. */
static void
AddEntry(HeldAward *award, int64 id, int64 points, int64 member_id, int64 wallet_id)
{
	for (int i = 0; i < award->nentries; i++)
	{
		if (award->entries[i].id == id && award->entries[i].member_id == member_id)
		{
			award->entries[i].points += points;
			return;
		}
	}
	award->entries = award->nentries == 0 ? palloc(sizeof(HeldEntry)) :
		repalloc(award->entries, (award->nentries + 1) * sizeof(HeldEntry));
	award->entries[award->nentries++] = (HeldEntry) {id, points, member_id, wallet_id};
}

/* The item that was given last, of those that are held; 0: none is, or it has no number. */
static int64
NewestItem(const HeldAward *award)
{
	for (int i = award->nentries - 1; i >= 0; i--)
	{
		if (award->entries[i].points > 0)
			return award->entries[i].id;
	}
	return 0;
}

static int64
GetInt(HeapTuple tuple, TupleDesc tupdesc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/*
 * Takes the rows of the last statement in, in their order.  at: what was frozen
 * for another instant, and what limits did then, does not count any more;
 * infinity: whatever it was.
 */
static void
TakeRows(HeldAwards *held, TimestampTz at, Facts *facts)
{
	SPITupleTable *table = SPI_tuptable;
	uint64		nrows = SPI_processed;

	for (uint64 r = 0; r < nrows; r++)
	{
		HeapTuple	tuple = table->vals[r];
		TupleDesc	tupdesc = table->tupdesc;
		HeldAward	row = {0};
		HeldAward  *award;
		bool		isnull;
		int64		points = GetInt(tuple, tupdesc, COL_POINTS);
		int64		entry_id = GetInt(tuple, tupdesc, COL_ENTRY_ID);
		int64		of_entry_id = GetInt(tuple, tupdesc, COL_OF_ENTRY_ID);
		int64		wallet_id = GetInt(tuple, tupdesc, COL_WALLET_ID);
		int64		member_id = GetInt(tuple, tupdesc, COL_MEMBER_ID);
		char	   *limited_by = SPI_getvalue(tuple, tupdesc, COL_LIMITED_BY);
		bool		of_now;
		Datum		value;

		row.campaign = SPI_getvalue(tuple, tupdesc, COL_CAMPAIGN);
		row.effect = DatumGetInt32(SPI_getbinval(tuple, tupdesc, COL_EFFECT, &isnull)) - 1;
		row.kind = SPI_getvalue(tuple, tupdesc, COL_KIND);
		row.currency = SPI_getvalue(tuple, tupdesc, COL_CURRENCY);
		row.item = SPI_getvalue(tuple, tupdesc, COL_ITEM);
		row.cause = SPI_getvalue(tuple, tupdesc, COL_CAUSE);
		value = SPI_getbinval(tuple, tupdesc, COL_WINDOW_START, &isnull);
		row.has_window = !isnull;
		row.window_start = isnull ? 0 : DatumGetDateADT(value);
		award = AwardOf(held, &row);
		award->version = DatumGetInt32(SPI_getbinval(tuple, tupdesc, COL_VERSION, &isnull));
		award->local_day = DatumGetDateADT(SPI_getbinval(tuple, tupdesc, COL_LOCAL_DAY, &isnull));
		award->at = DatumGetTimestampTz(SPI_getbinval(tuple, tupdesc, COL_AT, &isnull));
		award->points += points;
		if (row.item != NULL)
		{
			AddEntry(award, GetInt(tuple, tupdesc, COL_ITEM_ID), points, member_id, 0);
			award->item_id = NewestItem(award);
			award->kept_because = SPI_getvalue(tuple, tupdesc, COL_KEPT_BECAUSE);
		}
		else if (of_entry_id != 0)
			AddEntry(award, of_entry_id, points, member_id, wallet_id);
		else if (entry_id != 0)
			AddEntry(award, entry_id, points, member_id, wallet_id);
		of_now = at == DT_NOEND || award->at == at;
		if (of_now && limited_by != NULL && !award->trimmed)
		{
			award->trimmed = true;
			award->ceiling = award->points;
			award->limited_by = limited_by;
		}
		value = SPI_getbinval(tuple, tupdesc, COL_INPUTS, &isnull);
		if (!isnull && of_now && facts != NULL)
			ThawFacts(facts, DatumGetJsonbP(value), award->campaign,
					  SPI_getvalue(tuple, tupdesc, COL_REASON) == NULL ? KNOWN_TO_ALL : KNOWN_TO_ONE);
	}
}

/*
 * What an activity holds, and what was frozen for it.
 */
void
LoadHeld(HeldAwards *held, int64 member_id, int64 activity_id, TimestampTz at, Facts *facts)
{
	static KeptPlan plan = {
		.query = AWARD_COLUMNS "WHERE member_id OPERATOR(pg_catalog.=) $1 AND activity_id OPERATOR(pg_catalog.=) $2 "
		"AND window_start IS NULL AND cause IS NULL ORDER BY award_id",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), Int64GetDatum(activity_id)};
	MemoryContext target = CurrentMemoryContext;

	RunPlan(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	TakeRows(held, at, facts);
}

/*
 * Whose wallets beside the member's have what an activity was given; how many.
 */
int64 *
WalletsOfHeld(int64 member_id, int64 activity_id, int *n)
{
	static KeptPlan plan = {
		.query = "SELECT DISTINCT wallet_id FROM loyalty.award WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND activity_id OPERATOR(pg_catalog.=) $2 AND wallet_id IS NOT NULL",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), Int64GetDatum(activity_id)};
	MemoryContext target = CurrentMemoryContext;
	int64	   *wallets;

	RunPlan(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	*n = (int) SPI_processed;
	wallets = palloc(Max(1, *n) * sizeof(int64));
	for (int i = 0; i < *n; i++)
		wallets[i] = GetInt(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	return wallets;
}

/*
 * What a campaign holds of a window, of all for whom a member stands.
 */
void
LoadHeldOfWindow(HeldAwards *held, Datum numbers, const char *campaign, DateADT window_start)
{
	static KeptPlan plan = {
		.query = AWARD_COLUMNS "WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND campaign OPERATOR(pg_catalog.=) $2 "
		"AND window_start OPERATOR(pg_catalog.=) $3 ORDER BY award_id",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, DATEOID}
	};
	Datum		values[3] = {numbers, CStringGetTextDatum(campaign), DateADTGetDatum(window_start)};
	MemoryContext target = CurrentMemoryContext;

	RunPlan(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	TakeRows(held, DT_NOEND, NULL);
}

/*
 * What was given because something happened, whose cause begins so, under
 * whichever of some numbers.
 */
void
LoadHeldByCause(HeldAwards *held, Datum numbers, const char *cause_prefix)
{
	static KeptPlan plan = {
		.query = AWARD_COLUMNS "WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND cause IS NOT NULL "
		"AND pg_catalog.starts_with(cause, $2) ORDER BY award_id",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TEXTOID}
	};
	Datum		values[2] = {numbers, CStringGetTextDatum(cause_prefix)};
	MemoryContext target = CurrentMemoryContext;

	RunPlan(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	TakeRows(held, DT_NOEND, NULL);
}

/*
 * What an effect of a campaign holds; NULL: nothing.
 */
HeldAward *
FindHeld(HeldAwards *held, const Campaign *campaign, int effect, bool has_window, DateADT window_start, const char *cause)
{
	const Effect *e = &campaign->effects[effect];

	for (int i = 0; i < held->n; i++)
	{
		HeldAward  *award = held->awards[i];

		if (award->effect == effect && strcmp(award->campaign, campaign->code) == 0 &&
			strcmp(award->kind, EffectName(e)) == 0 && SameString(award->currency, e->currency) &&
			SameString(award->item, e->item) && SameString(award->cause, cause) &&
			award->has_window == has_window && award->window_start == window_start)
			return award;
	}
	return NULL;
}

/* ---------------------------------------------------------------------------
 * Counters
 * ---------------------------------------------------------------------------
 */

/*
 * What a campaign gave in the days around one, so that no span of so many days
 * has more than the limit.
 */
static int64
CountAround(Datum numbers, const char *campaign, const CampaignLimit *limit, DateADT day)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.count(DISTINCT (h.home_id, h.activity_id, h.window_start, h.cause)), "
		"coalesce(pg_catalog.sum(h.points) FILTER (WHERE h.currency OPERATOR(pg_catalog.=) $5), 0)::pg_catalog.int8 "
		"FROM (SELECT a.home_id, a.activity_id, w.window_start, w.cause, w.currency, pg_catalog.sum(w.points) AS points, "
		"(pg_catalog.array_agg(w.local_day ORDER BY w.award_id DESC))[1] AS day "
		"FROM loyalty.award w, LATERAL (SELECT CASE WHEN w.window_start IS NULL THEN w.member_id END AS home_id, "
		"CASE WHEN w.window_start IS NULL AND w.cause IS NULL THEN w.activity_id END AS activity_id) a "
		"WHERE w.member_id OPERATOR(pg_catalog.=) ANY ($1) AND w.campaign OPERATOR(pg_catalog.=) $2 "
		"GROUP BY a.home_id, a.activity_id, w.window_start, w.cause, w.currency) h "
		"WHERE h.points OPERATOR(pg_catalog.>) 0 AND h.day OPERATOR(pg_catalog.>) $3 AND h.day OPERATOR(pg_catalog.<) $4",
		.nargs = 5,
		.argtypes = {INT8ARRAYOID, TEXTOID, DATEOID, DATEOID, TEXTOID}
	};
	Datum		values[5] = {
		numbers, CStringGetTextDatum(campaign), DateADTGetDatum(day - limit->days), DateADTGetDatum(day + limit->days),
		CStringGetTextDatum(limit->currency)
	};
	MemoryContext target = CurrentMemoryContext;

	RunPlan(&plan, values, NULL, 1);
	MemoryContextSwitchTo(target);
	return GetInt(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, limit->in_times ? 1 : 2);
}

/*
 * The counter of a limit for a day, read where it is not known yet.
 */
LimitCounter *
CounterOf(Counters *counters, const Campaign *campaign, const CampaignLimit *limit, DateADT day)
{
	bool		is_total = limit->scope == LIMIT_TOTAL;
	DateADT		period = is_total ? 0 : limit->days > 0 ? day : FirstDayOf(limit->within, day);
	LimitCounter *counter;

	for (int i = 0; i < counters->n; i++)
	{
		counter = counters->counters[i];
		if (counter->counter.period == period && counter->is_total == is_total && strcmp(counter->counter.name, limit->counter) == 0)
			return counter;
	}
	if (counters->n == counters->size)
	{
		counters->size = Max(8, 2 * counters->size);
		counters->counters = counters->counters == NULL ? palloc(counters->size * sizeof(LimitCounter *)) :
			repalloc(counters->counters, counters->size * sizeof(LimitCounter *));
	}
	counter = counters->counters[counters->n++] = palloc0(sizeof(LimitCounter));
	counter->counter.name = limit->counter;
	counter->counter.period = period;
	counter->is_total = is_total;
	counter->days = limit->days;
	counter->in_times = limit->in_times;
	counter->currency = limit->currency;
	counter->campaign = campaign->code;
	if (counter->days > 0)
		counter->before = CountAround(counters->numbers, campaign->code, limit, day);
	else if (!is_total)
		counter->before = ReadCounter(counters->alone, counters->numbers, limit->counter, period, &counter->row);
	counter->counter.used = counter->before;
	return counter;
}

/*
 * Stores what counters have counted more, or less: of an activity with the
 * member under whose number it stands, of a window with who stands for him, as
 * their awards.
 */
void
StoreCounters(const Counters *counters, int64 member_id, int64 canonical)
{
	for (int i = 0; i < counters->n; i++)
	{
		const LimitCounter *counter = counters->counters[i];
		int64		change = counter->counter.used - counter->before;
		int64		by_windows = counter->counter.by_windows + counter->given_back;

		if (counter->is_total || counter->days > 0)
			continue;
		if (member_id == canonical)
			AddToCounter(member_id, counter->counter.name, counter->counter.period, counter->row, change);
		else
		{
			AddToCounter(member_id, counter->counter.name, counter->counter.period, NULL, change - by_windows);
			AddToCounter(canonical, counter->counter.name, counter->counter.period, NULL, by_windows);
		}
	}
}
