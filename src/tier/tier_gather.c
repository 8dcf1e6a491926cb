/*
 * tier_gather.c
 *		Reading a member's history from the program's tables.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"
#include "tier/tier_program.h"

static void
Run(const TierAsOf *asked, KeptPlan *plan, Datum *values, long limit)
{
	if (asked->how == STORED_AS_OF_QUERY)
		RunPlanReadOnly(plan, values, NULL, limit);
	else
		RunPlan(plan, values, NULL, limit);
}

static TimestampTz
GetInstant(HeapTuple tuple, TupleDesc tupdesc, int column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(tuple, tupdesc, column, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(datum);
}

/*
 * The member whom all that came to member_id counts for: itself, or the canonical member by the merges that stand.
 */
int64
CanonicalAsOf(int64 member_id, const TierAsOf *asked)
{
	static KeptPlan plan = {
		.query = "SELECT survivor_id FROM loyalty.tier_merge "
		"WHERE absorbed_id OPERATOR(pg_catalog.=) $1 AND merged_at OPERATOR(pg_catalog.<=) $2 "
		"AND recorded_at OPERATOR(pg_catalog.<=) $3 "
		"AND (unmerged_at IS NULL OR unmerged_at OPERATOR(pg_catalog.>) $3)",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};

	for (int depth = 0; depth < 10000; depth++)
	{
		Datum		values[3] = {Int64GetDatum(member_id), TimestampTzGetDatum(asked->as_of), TimestampTzGetDatum(asked->known_at)};
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		Run(asked, &plan, values, 1);
		if (SPI_processed == 0)
			return member_id;
		member_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the merges of member %lld go in a circle", (long long) member_id)));
}

static void
AddHistoryFact(TierHistory *history, int *size, const TierFact *fact)
{
	if (history->nfacts == *size)
	{
		*size = Max(32, *size * 2);
		history->facts = history->facts ? repalloc_huge(history->facts, *size * sizeof(TierFact)) :
			palloc(*size * sizeof(TierFact));
	}
	history->facts[history->nfacts++] = *fact;
}

/*
 * What points are to a measure of their currency; false while they do not
 * count.  Points that are taken back before they have become available are
 * taken off what will.
 */
bool
FactOfPoints(const CachedLadder *ladder, int measure, const PostedPoints *posted, TierFact *fact)
{
	fact->measure = measure;
	fact->amount = ScalePoints(posted->points);
	if (ladder->counts_pending[measure])
	{
		fact->at = posted->at;
		fact->counts_at = posted->counts_at;
		return true;
	}
	fact->at = Max(posted->at, posted->available_at);
	fact->counts_at = posted->available_at;
	return posted->available_at != TIMESTAMP_INFINITY;
}

/*
 * What a member has earned; see tier_points.sql.  An entry belongs to its home:
 * the member that the posting addressed, whoever was canonical then.  A reversal
 * belongs to whom the entry behind it does, whoever gave it back.
 */
static void
GatherLedger(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, TierHistory *history, int *size)
{
	static KeptPlan plan = {
		.query = "SELECT e.currency, e.effective_at, coalesce(t.effective_at, e.effective_at), "
		"CASE WHEN t.taken_back THEN OPERATOR(pg_catalog.-) e.requested ELSE e.requested END, "
		"coalesce(t.available_at, loyalty.points_available_at(e.requested, e.effective_at, e.available_at, "
		"(SELECT pg_catalog.min(a.effective_at) FROM loyalty.all_entries() a WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($4) "
		"AND a.target_entry_id OPERATOR(pg_catalog.=) e.entry_id AND a.kind OPERATOR(pg_catalog.=) 'activate' "
		"AND a.recorded_at OPERATOR(pg_catalog.<=) $3))) "
		"FROM loyalty.all_entries() e LEFT JOIN LATERAL loyalty.reversed_points($4, "
		"CASE WHEN e.kind OPERATOR(pg_catalog.=) 'reverse' THEN e.target_entry_id END, $3) t ON true "
		"WHERE e.member_id OPERATOR(pg_catalog.=) ANY ($4) AND e.currency OPERATOR(pg_catalog.=) ANY ($2) "
		"AND (e.kind OPERATOR(pg_catalog.=) ANY ('{earn,adjust}') OR t.taken_back IS NOT NULL) "
		"AND coalesce(t.home_id, e.home_id, e.member_id) OPERATOR(pg_catalog.=) $1 "
		"AND e.recorded_at OPERATOR(pg_catalog.<=) $3",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTARRAYOID, TIMESTAMPTZOID, INT8ARRAYOID}
	};
	Datum		values[4] = {Int64GetDatum(member_id), ladder->currencies, TimestampTzGetDatum(asked->known_at),
	asked->how == STORED_AS_OF_QUERY ? KinAsOfQuery(member_id) : KinOfMember(member_id)};

	Run(asked, &plan, values, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		char	   *currency = SPI_getvalue(tuple, tupdesc, 1);
		PostedPoints posted;
		TierFact	fact;
		bool		isnull;

		posted.at = GetInstant(tuple, tupdesc, 2, 0);
		posted.counts_at = GetInstant(tuple, tupdesc, 3, 0);
		posted.points = DatumGetInt64(SPI_getbinval(tuple, tupdesc, 4, &isnull));
		posted.available_at = GetInstant(tuple, tupdesc, 5, TIMESTAMP_INFINITY);
		for (int m = 0; m < ladder->versions->nmeasures; m++)
			if (ladder->source[m] == SOURCE_LEDGER && strcmp(ladder->currency[m], currency) == 0 &&
				FactOfPoints(ladder, m, &posted, &fact))
				AddHistoryFact(history, size, &fact);
		pfree(currency);
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * The facts that a member has earned later than one entry and earlier than
 * another, where WithinSlack() let all of them pass.  What waits to become
 * available is no fact, and has not asked.
 */
TierFact *
GatherLater(const CachedLadder *ladder, int64 member_id, StoredRead how, int64 after, int64 before, int *nfacts)
{
	static KeptPlan plan = {
		.query = "SELECT effective_at, requested FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 AND entry_id OPERATOR(pg_catalog.>) $3 AND entry_id OPERATOR(pg_catalog.<) $4 "
		"AND kind OPERATOR(pg_catalog.=) ANY ('{earn,adjust}') "
		"AND (requested OPERATOR(pg_catalog.<) 0 OR available_at OPERATOR(pg_catalog.=) effective_at)",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, INT8OID, INT8OID}
	};
	Datum		values[4] = {Int64GetDatum(member_id), CStringGetTextDatum(ladder->currency[0]), Int64GetDatum(after),
	Int64GetDatum(before)};
	TierAsOf	asked = {.how = how};
	TierFact   *facts;
	int			n = 0;

	Run(&asked, &plan, values, 0);
	facts = palloc_extended(Max(1, SPI_processed * ladder->versions->nmeasures) * sizeof(TierFact), MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		PostedPoints posted;
		bool		isnull;

		posted.at = posted.counts_at = posted.available_at = GetInstant(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, 0);
		posted.points = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		for (int m = 0; m < ladder->versions->nmeasures; m++)
			if (FactOfPoints(ladder, m, &posted, &facts[n]))
				n++;
	}
	SPI_freetuptable(SPI_tuptable);
	*nfacts = n;
	return facts;
}

static void
GatherEvents(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, TierHistory *history, int *size)
{
	static KeptPlan plan = {
		.query = "SELECT measure, at, counts_at, amount FROM loyalty.tier_event "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND measure OPERATOR(pg_catalog.=) ANY ($2) "
		"AND recorded_at OPERATOR(pg_catalog.<=) $3",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int64GetDatum(member_id), ladder->events, TimestampTzGetDatum(asked->known_at)};

	Run(asked, &plan, values, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		TierFact	fact;
		bool		isnull;

		fact.at = GetInstant(tuple, tupdesc, 2, 0);
		fact.counts_at = GetInstant(tuple, tupdesc, 3, fact.at);
		fact.amount = ScaleAmount(SPI_getbinval(tuple, tupdesc, 4, &isnull));
		fact.measure = FindMeasure(ladder->versions, SPI_getvalue(tuple, tupdesc, 1));
		AddHistoryFact(history, size, &fact);
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
GatherGrants(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, TierHistory *history)
{
	static KeptPlan plan = {
		.query = "SELECT level, starts_at, CASE WHEN ended_recorded_at OPERATOR(pg_catalog.<=) $3 "
		"THEN ended_at ELSE ends_at END FROM loyalty.tier_grant "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND ladder OPERATOR(pg_catalog.=) $2 "
		"AND recorded_at OPERATOR(pg_catalog.<=) $3 ORDER BY grant_id",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int64GetDatum(member_id), CStringGetTextDatum(ladder->code), TimestampTzGetDatum(asked->known_at)};

	Run(asked, &plan, values, 0);
	history->grants = palloc0(Max(1, SPI_processed) * sizeof(TierGrant));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TierGrant  *grant = &history->grants[history->ngrants];

		strlcpy(grant->code, SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1), NAMEDATALEN);
		grant->from = GetInstant(tuple, SPI_tuptable->tupdesc, 2, 0);
		grant->until = GetInstant(tuple, SPI_tuptable->tupdesc, 3, TIMESTAMP_INFINITY);
		if (grant->from < grant->until)
			history->ngrants++;
	}
	SPI_freetuptable(SPI_tuptable);
}

static TierHistory *
GatherMember(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, int depth)
{
	static KeptPlan joined_plan = {
		.query = "SELECT joined_at FROM loyalty.tier_joined WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND recorded_at OPERATOR(pg_catalog.<=) $3 ORDER BY recorded_at DESC LIMIT 1",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	static KeptPlan merge_plan = {
		.query = "SELECT absorbed_id, merged_at FROM loyalty.tier_merge "
		"WHERE survivor_id OPERATOR(pg_catalog.=) $1 AND merged_at OPERATOR(pg_catalog.<=) $2 "
		"AND recorded_at OPERATOR(pg_catalog.<=) $3 "
		"AND (unmerged_at IS NULL OR unmerged_at OPERATOR(pg_catalog.>) $3) ORDER BY merged_at, merge_id",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int64GetDatum(member_id), TimestampTzGetDatum(asked->as_of), TimestampTzGetDatum(asked->known_at)};
	TierHistory *history = palloc0(sizeof(TierHistory));
	int			size = 0;
	int64	   *absorbed;

	CHECK_FOR_INTERRUPTS();
	if (depth > 10000)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the merges of member %lld go in a circle", (long long) member_id)));
	history->joined_at = TIMESTAMP_INFINITY;
	Run(asked, &joined_plan, values, 1);
	if (SPI_processed > 0)
		history->joined_at = GetInstant(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, TIMESTAMP_INFINITY);
	if (ladder->counts_ledger)
		GatherLedger(ladder, member_id, asked, history, &size);
	if (ladder->counts_events)
		GatherEvents(ladder, member_id, asked, history, &size);
	GatherGrants(ladder, member_id, asked, history);

	Run(asked, &merge_plan, values, 0);
	history->nmerges = (int) SPI_processed;
	history->merges = palloc0(Max(1, history->nmerges) * sizeof(TierMerge));
	absorbed = palloc(Max(1, history->nmerges) * sizeof(int64));
	for (int i = 0; i < history->nmerges; i++)
	{
		bool		isnull;

		absorbed[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		history->merges[i].at = GetInstant(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, 0);
	}
	for (int i = 0; i < history->nmerges; i++)
		history->merges[i].absorbed = GatherMember(ladder, absorbed[i], asked, depth + 1);
	return history;
}

/*
 * The history of a member who is not absorbed, with everybody who was merged
 * into it.  Needs an SPI connection; what it returns lives until that ends.
 */
TierHistory *
GatherHistory(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked)
{
	return GatherMember(ladder, member_id, asked, 0);
}
