/*
 * tier_bulk.c
 *		Evaluating row after row: the functions in the statements that evaluate
 *		all members at once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "tier/tier_facts.h"
#include "tier/tier_functions.h"
#include "tier/tier_program.h"

/* What a call keeps from row to row. */
typedef struct RowCall
{
	CachedLadder *ladder;			/* one that nobody else drops meanwhile */
	MemoryContext scratch;
	TupleDesc	tupdesc;
} RowCall;

static RowCall *
RowCallOf(FunctionCallInfo fcinfo, Datum code)
{
	RowCall    *call = fcinfo->flinfo->fn_extra;
	MemoryContext context = fcinfo->flinfo->fn_mcxt;

	if (call != NULL)
		return call;
	call = MemoryContextAllocZero(context, sizeof(RowCall));
	call->scratch = AllocSetContextCreate(context, "loyalty tier", ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	call->ladder = CopyOfLadder(text_to_cstring(DatumGetTextPP(code)), context);
	SPI_finish();
	fcinfo->flinfo->fn_extra = call;
	return call;
}

/*
 * stored_tier_is(facts, machine, versions, evaluated_at, next_at, since,
 * valid_until, grace_until, level, earned_level, ladder, as_of): whether a
 * stored state is one, and, taken to as_of, what a member's facts give; for
 * members without grants and merges.
 */
PG_FUNCTION_INFO_V1(loyalty_stored_tier_is);
Datum
loyalty_stored_tier_is(PG_FUNCTION_ARGS)
{
#define INSTANT_OR(n, otherwise) (PG_ARGISNULL(n) ? (otherwise) : PG_GETARG_TIMESTAMPTZ(n))
	RowCall    *call;
	TimestampTz as_of;
	StoredTier	stored = {.found = true, .evaluated = true};
	FactSet		set;
	TierHistory history;
	TierMachine then;
	TierMachine now;
	MemoryContext old;
	bool		same;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(10) || PG_ARGISNULL(11))
		PG_RETURN_BOOL(false);
	call = RowCallOf(fcinfo, PG_GETARG_DATUM(10));
	as_of = PG_GETARG_TIMESTAMPTZ(11);
	stored.versions = PG_GETARG_INT32(2);
	if (stored.versions != call->ladder->versions->nversions)
		PG_RETURN_BOOL(false);

	old = MemoryContextSwitchTo(call->scratch);
	stored.machine = PG_GETARG_VARLENA_PP(1);
	stored.evaluated_at = INSTANT_OR(3, TIMESTAMP_MINUS_INFINITY);
	stored.columns.next_at = INSTANT_OR(4, TIMESTAMP_INFINITY);
	stored.columns.since = INSTANT_OR(5, TIMESTAMP_MINUS_INFINITY);
	stored.columns.valid_until = INSTANT_OR(6, TIMESTAMP_INFINITY);
	stored.columns.grace_until = INSTANT_OR(7, TIMESTAMP_MINUS_INFINITY);
	stored.columns.level = PG_ARGISNULL(8) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(8));
	stored.columns.earned_level = PG_ARGISNULL(9) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(9));
	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	HistoryOfSet(call->ladder->versions, &set, &history);
	same = UnpackStored(&stored, call->ladder, &then) &&
		StoredColumnsAgree(&stored, call->ladder, &then);
	if (same && as_of > then.now)
	{
		if (VersionAt(call->ladder->versions, as_of) != then.version)
			same = false;
		else
			AdvanceMachine(&then, as_of);
	}
	if (same)
	{
		ReplayLatest(call->ladder->versions, &history, then.now, &now);
		same = SameMachine(StoredMachine(&then), &now);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(call->scratch);
	PG_RETURN_BOOL(same);
}

/* The columns of first_tier() */
enum
{
	FIRST_MACHINE, FIRST_VERSIONS, FIRST_REPLAYED_BEFORE, FIRST_EVENT_AT, FIRST_EVALUATED_AT, FIRST_NEXT_AT, FIRST_LEVEL, FIRST_EARNED_LEVEL,
	FIRST_SINCE, FIRST_VALID_UNTIL, FIRST_GRACE_UNTIL,
	FIRST_STARTS, FIRST_LEVELS, FIRST_EVENTS, FIRST_REASONS, FIRST_UNTILS,
	FIRST_COLUMNS
};

static Datum
CodeOrNull(const char *code, bool *isnull)
{
	*isnull = code == NULL;
	return code == NULL ? (Datum) 0 : CStringGetTextDatum(code);
}

static Datum
StepsArray(Datum *datums, bool *nulls, int n, Oid type)
{
	int			lower = 1;
	bool		instants = type == TIMESTAMPTZOID;

	return PointerGetDatum(construct_md_array(datums, nulls, 1, &n, &lower, type, instants ? 8 : -1,
											  instants && FLOAT8PASSBYVAL, instants ? TYPALIGN_DOUBLE : TYPALIGN_INT));
}

/* The steps of a replay, as arrays of equal length. */
static void
PutSteps(const TierLog *logs, int n, Datum *values)
{
	Datum	   *datums = palloc(Max(1, n) * sizeof(Datum));
	bool	   *nulls = palloc0(Max(1, n) * sizeof(bool));

	for (int i = 0; i < n; i++)
		datums[i] = TimestampTzGetDatum(logs[i].at);
	values[FIRST_STARTS] = StepsArray(datums, nulls, n, TIMESTAMPTZOID);
	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(TierEventName(logs[i].event));
	values[FIRST_EVENTS] = StepsArray(datums, nulls, n, TEXTOID);
	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(TierReasonName(logs[i].reason));
	values[FIRST_REASONS] = StepsArray(datums, nulls, n, TEXTOID);
	for (int i = 0; i < n; i++)
		datums[i] = CodeOrNull(logs[i].rank > 0 ? logs[i].definition->level[logs[i].rank - 1].code : NULL, &nulls[i]);
	values[FIRST_LEVELS] = StepsArray(datums, nulls, n, TEXTOID);
	for (int i = 0; i < n; i++)
		datums[i] = InstantOrNull(logs[i].valid_until, &nulls[i]);
	values[FIRST_UNTILS] = StepsArray(datums, nulls, n, TIMESTAMPTZOID);
}

/*
 * first_tier(facts, ladder, as_of): what is stored of a member of whom nothing
 * is stored yet, and who has no grants and no merges: the columns of
 * tier_state, and those of its rows of tier_history as arrays.
 */
PG_FUNCTION_INFO_V1(loyalty_first_tier);
Datum
loyalty_first_tier(PG_FUNCTION_ARGS)
{
	RowCall    *call = RowCallOf(fcinfo, PG_GETARG_DATUM(1));
	const CachedLadder *ladder = call->ladder;
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);
	MemoryContext old;
	FactSet		set;
	TierHistory history;
	TierMachine machine;
	TierColumns columns;
	Datum		values[FIRST_COLUMNS];
	bool		nulls[FIRST_COLUMNS] = {false};
	HeapTuple	tuple;

	if (call->tupdesc == NULL)
	{
		old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		if (get_call_result_type(fcinfo, NULL, &call->tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		call->tupdesc = BlessTupleDesc(call->tupdesc);
		MemoryContextSwitchTo(old);
	}

	old = MemoryContextSwitchTo(call->scratch);
	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	HistoryOfSet(ladder->versions, &set, &history);
	ReplayHistory(ladder->versions, &history, Max(as_of, LatestFact(&history)), &machine);
	machine.nlogs = DropEmptySteps(machine.logs, machine.nlogs);
	columns = ColumnsOf(ladder, ladder->versions->nversions, &machine);

	values[FIRST_MACHINE] = PointerGetDatum(StoredMachine(&machine));
	values[FIRST_VERSIONS] = Int32GetDatum(ladder->versions->nversions);
	/* what the calling statement sees is counted */
	values[FIRST_REPLAYED_BEFORE] = Int32GetDatum((int32) GetActiveSnapshot()->curcid);
	values[FIRST_EVENT_AT] = InstantOrNull(machine.nlogs > 0 ? machine.logs[machine.nlogs - 1].at : TIMESTAMP_MINUS_INFINITY,
										   &nulls[FIRST_EVENT_AT]);
	values[FIRST_EVALUATED_AT] = InstantOrNull(machine.now, &nulls[FIRST_EVALUATED_AT]);
	values[FIRST_NEXT_AT] = InstantOrNull(columns.next_at, &nulls[FIRST_NEXT_AT]);
	values[FIRST_LEVEL] = CodeOrNull(columns.level, &nulls[FIRST_LEVEL]);
	values[FIRST_EARNED_LEVEL] = CodeOrNull(columns.earned_level, &nulls[FIRST_EARNED_LEVEL]);
	values[FIRST_SINCE] = InstantOrNull(columns.since, &nulls[FIRST_SINCE]);
	values[FIRST_VALID_UNTIL] = InstantOrNull(columns.valid_until, &nulls[FIRST_VALID_UNTIL]);
	values[FIRST_GRACE_UNTIL] = InstantOrNull(columns.grace_until, &nulls[FIRST_GRACE_UNTIL]);
	PutSteps(machine.logs, machine.nlogs, values);

	MemoryContextSwitchTo(old);
	tuple = heap_form_tuple(call->tupdesc, values, nulls);
	MemoryContextReset(call->scratch);
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}
