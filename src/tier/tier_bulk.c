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
#include "utils/typcache.h"

#include "core/compat.h"
#include "tier/tier_facts.h"
#include "tier/tier_functions.h"
#include "tier/tier_program.h"

/* What a call keeps from row to row. */
typedef struct RowCall
{
	CachedLadder *ladder;		/* one that nobody else drops meanwhile */
	MemoryContext scratch;
	TupleDesc	tupdesc;		/* of the result */
	TupleDesc	state_desc;		/* of a row of tier_state in it */
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
 * Facts of a history that a stored machine has not counted are to come: those
 * after it, of which the state says that they may be missing.
 */
static void
ExpectAllLater(TierMachine *machine, const TierHistory *history)
{
	TierFact   *later = palloc_extended(Max(1, history->nfacts) * sizeof(TierFact), MCXT_ALLOC_HUGE);
	int			n = 0;

	for (int i = 0; i < history->nfacts; i++)
	{
		if (history->facts[i].at > machine->now)
			later[n++] = history->facts[i];
	}
	machine->next_coming = machine->ncoming = 0;
	ExpectFacts(machine, later, n);
}

/*
 * stored_tier_is(facts, state, ladder, as_of): whether a row of tier_state is
 * one, and, taken to as_of, what a member's facts give; for members without
 * grants and merges.
 */
PG_FUNCTION_INFO_V1(loyalty_stored_tier_is);
Datum
loyalty_stored_tier_is(PG_FUNCTION_ARGS)
{
	RowCall    *call;
	TimestampTz as_of;
	StoredTier	stored;
	FactSet		set;
	TierHistory history;
	TierMachine then;
	TierMachine now;
	MemoryContext old;
	bool		same;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_BOOL(false);
	call = RowCallOf(fcinfo, PG_GETARG_DATUM(2));
	as_of = PG_GETARG_TIMESTAMPTZ(3);

	old = MemoryContextSwitchTo(call->scratch);
	GetStoredRecord(PG_GETARG_DATUM(1), &stored);
	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	HistoryOfSet(call->ladder->versions, &set, &history);
	same = stored.versions == call->ladder->versions->nversions && UnpackStored(&stored, call->ladder, &then) &&
		StoredColumnsAgree(&stored, call->ladder, &then);
	if (same && stored.counted_to != 0)
		ExpectAllLater(&then, &history);
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
	FIRST_STATE, FIRST_STARTS, FIRST_LEVELS, FIRST_EVENTS, FIRST_REASONS, FIRST_UNTILS,
	FIRST_COLUMNS
};

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
		datums[i] = CodeOrNull(CodeOfRank(logs[i].definition, logs[i].rank), &nulls[i]);
	values[FIRST_LEVELS] = StepsArray(datums, nulls, n, TEXTOID);
	for (int i = 0; i < n; i++)
		datums[i] = InstantOrNull(logs[i].valid_until, &nulls[i]);
	values[FIRST_UNTILS] = StepsArray(datums, nulls, n, TIMESTAMPTZOID);
}

/*
 * first_tier(base, member_id, ladder, facts, as_of, replayed_in): what is stored
 * of a member of whom nothing is stored yet, and who has no grants and no
 * merges: its row of tier_state, of the type of base, and the columns of its
 * rows of tier_history as arrays.  replayed_in: this transaction.
 */
PG_FUNCTION_INFO_V1(loyalty_first_tier);
Datum
loyalty_first_tier(PG_FUNCTION_ARGS)
{
	RowCall    *call;
	const CachedLadder *ladder;
	MemoryContext old;
	FactSet		set;
	TierHistory history;
	TierMachine machine;
	StoredTier	stored;
	Datum		state_values[STATE_NCOLUMNS];
	bool		state_nulls[STATE_NCOLUMNS];
	Datum		values[FIRST_COLUMNS];
	bool		nulls[FIRST_COLUMNS] = {false};
	HeapTuple	tuple;

	for (int i = 1; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	call = RowCallOf(fcinfo, PG_GETARG_DATUM(2));
	ladder = call->ladder;
	if (call->tupdesc == NULL)
	{
		old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		if (get_call_result_type(fcinfo, NULL, &call->tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		call->tupdesc = BlessTupleDesc(call->tupdesc);
		call->state_desc = lookup_rowtype_tupdesc_copy(TupleDescAttr(call->tupdesc, FIRST_STATE)->atttypid, -1);
		MemoryContextSwitchTo(old);
	}

	old = MemoryContextSwitchTo(call->scratch);
	UnpackFactSet(PG_GETARG_VARLENA_PP(3), &set);
	HistoryOfSet(ladder->versions, &set, &history);
	ReplayHistory(ladder->versions, &history, Max(PG_GETARG_TIMESTAMPTZ(4), LatestFact(&history, GetCurrentTimestamp())), &machine);
	machine.nlogs = DropEmptySteps(machine.logs, machine.nlogs);
	StateOfMachine(ladder, &machine, &stored);
	stored.replayed_in = PG_GETARG_INT64(5);
	/* what the calling statement sees is counted */
	stored.replayed_before = GetActiveSnapshot()->curcid;
	PutStored(PG_GETARG_INT64(1), ladder->code, &stored, state_values, state_nulls);
	values[FIRST_STATE] = FormState(call->state_desc, state_values, state_nulls);
	PutSteps(machine.logs, machine.nlogs, values);

	MemoryContextSwitchTo(old);
	tuple = heap_form_tuple(call->tupdesc, values, nulls);
	MemoryContextReset(call->scratch);
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}
