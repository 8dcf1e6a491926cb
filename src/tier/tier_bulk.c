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
#include "core/plain.h"
#include "ledger/ledger_row.h"
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
 * Whether a row of tier_state is one, and, taken to as_of, what a history
 * without grants and merges gives.
 */
static bool
StoredIsOf(const StoredTier *stored, const CachedLadder *ladder, const TierHistory *history, TimestampTz as_of)
{
	TierMachine then;
	TierMachine now;

	if (stored->versions != ladder->versions->nversions || !UnpackStored(stored, ladder, &then) ||
		!StoredColumnsAgree(stored, ladder, &then))
		return false;
	if (stored->counted_to != 0)
		ExpectAllLater(&then, history);
	if (as_of > then.now)
	{
		if (VersionAt(ladder->versions, as_of) != then.version)
			return false;
		AdvanceMachine(&then, as_of);
	}
	ReplayLatest(ladder->versions, history, then.now, &now);
	return SameMachine(StoredMachine(&then), &now);
}

/*
 * stored_tier_is(facts, state, ladder, as_of): StoredIsOf(), of a member's
 * facts.
 */
PG_FUNCTION_INFO_V1(loyalty_stored_tier_is);
Datum
loyalty_stored_tier_is(PG_FUNCTION_ARGS)
{
	RowCall    *call;
	StoredTier	stored;
	FactSet		set;
	TierHistory history;
	MemoryContext old;
	bool		same;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_BOOL(false);
	call = RowCallOf(fcinfo, PG_GETARG_DATUM(2));

	old = MemoryContextSwitchTo(call->scratch);
	GetStoredRecord(PG_GETARG_DATUM(1), &stored);
	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	HistoryOfSet(call->ladder->versions, &set, &history);
	same = StoredIsOf(&stored, call->ladder, &history, PG_GETARG_TIMESTAMPTZ(3));
	MemoryContextSwitchTo(old);
	MemoryContextReset(call->scratch);
	PG_RETURN_BOOL(same);
}

/* ---------------------------------------------------------------------------
 * Members whose entries say all by themselves
 * ---------------------------------------------------------------------------
 */

/* Members that were found, ascending. */
typedef struct MemberList
{
	int			n;
	int			size;
	Datum	   *ids;
} MemberList;

/* The facts of one member, as they are read. */
typedef struct MemberFacts
{
	bool		simple;			/* each entry says by itself what it counts for */
	int			n;
	int			size;
	TierFact   *facts;
} MemberFacts;

static void
AddMember(MemberList *list, int64 member_id)
{
	if (list->n == list->size)
	{
		list->size = Max(64, list->size * 2);
		list->ids = list->ids ? repalloc_huge(list->ids, list->size * sizeof(Datum)) :
			palloc(list->size * sizeof(Datum));
	}
	list->ids[list->n++] = Int64GetDatum(member_id);
}

static Datum
MemberArray(const MemberList *list)
{
	return PointerGetDatum(construct_array(list->ids, list->n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static bool
TextIs(Datum datum, const char *word, Size length)
{
	text	   *value = DatumGetTextPP(datum);

	return VARSIZE_ANY_EXHDR(value) == length && memcmp(VARDATA_ANY(value), word, length) == 0;
}

static bool
CountsCurrency(const CachedLadder *ladder, Datum currency)
{
	for (int m = 0; m < ladder->versions->nmeasures; m++)
		if (TextIs(currency, ladder->currency[m], strlen(ladder->currency[m])))
			return true;
	return false;
}

/*
 * What an entry is to the measures of a ladder; see tier_points.sql.
 */
static void
AddFactsOfEntry(const PlainScan *scan, const CachedLadder *ladder, MemberFacts *member)
{
	bool		isnull;
	Datum		currency = PlainScanValue(scan, LEDGER_CURRENCY, &isnull);
	Datum		kind = PlainScanValue(scan, LEDGER_KIND, &isnull);
	PostedPoints posted;
	Datum		available_at;

	if (!CountsCurrency(ladder, currency))
		return;
	if (!TextIs(kind, "earn", 4) && !TextIs(kind, "adjust", 6))
	{
		if (TextIs(kind, "reverse", 7) || TextIs(kind, "activate", 8))
			member->simple = false;
		return;
	}
	posted.points = DatumGetInt64(PlainScanValue(scan, LEDGER_REQUESTED, &isnull));
	posted.at = DatumGetTimestampTz(PlainScanValue(scan, LEDGER_EFFECTIVE_AT, &isnull));
	posted.counts_at = posted.available_at = posted.at;
	available_at = PlainScanValue(scan, LEDGER_AVAILABLE_AT, &isnull);
	if (posted.points > 0)
		posted.available_at = isnull ? TIMESTAMP_INFINITY : Max(posted.at, DatumGetTimestampTz(available_at));
	for (int m = 0; m < ladder->versions->nmeasures; m++)
	{
		if (!TextIs(currency, ladder->currency[m], strlen(ladder->currency[m])))
			continue;
		if (member->n == member->size)
			member->facts = repalloc_huge(member->facts, (member->size *= 2) * sizeof(TierFact));
		if (FactOfPoints(ladder, m, &posted, &member->facts[member->n]))
			member->n++;
	}
}

/*
 * Goes to the state of a member on a ladder; false when there is none.
 */
static bool
SkipToState(PlainScan *states, int64 member_id, const CachedLadder *ladder)
{
	bool		isnull;

	while (states->found && states->member_id < member_id)
		NextPlainRow(states);
	while (states->found && states->member_id == member_id)
	{
		if (TextIs(PlainScanValue(states, STATE_LADDER, &isnull), ladder->code, strlen(ladder->code)))
			return true;
		NextPlainRow(states);
	}
	return false;
}

/*
 * StoredIsOf(), of the state that a scan is at and a member's facts.
 */
static bool
StateIsOf(const PlainScan *states, const CachedLadder *ladder, const MemberFacts *member, TimestampTz as_of)
{
	TierHistory history = {.joined_at = TIMESTAMP_INFINITY,.nfacts = member->n,.facts = member->facts};
	Datum		values[STATE_NCOLUMNS];
	bool		nulls[STATE_NCOLUMNS];
	StoredTier	stored;

	for (int i = 0; i < STATE_NCOLUMNS; i++)
		values[i] = PlainScanValue(states, i, &nulls[i]);
	GetStored(values, nulls, &stored);
	return StoredIsOf(&stored, ladder, &history, as_of);
}

/*
 * Compares the states of all members in the tables with their facts.
 */
static void
CompareStates(PlainScan *entries, PlainScan *states, const CachedLadder *ladder, TimestampTz as_of, MemoryContext scratch,
			  MemberList *differing, MemberList *undecided)
{
	MemberFacts member = {.size = 64};

	member.facts = palloc(member.size * sizeof(TierFact));
	while (entries[0].found || entries[1].found)
	{
		int64		member_id = PG_INT64_MAX;

		for (int i = 0; i < 2; i++)
			if (entries[i].found)
				member_id = Min(member_id, entries[i].member_id);
		member.n = 0;
		member.simple = true;
		for (int i = 0; i < 2; i++)
			for (; entries[i].found && entries[i].member_id == member_id; NextPlainRow(&entries[i]))
				AddFactsOfEntry(&entries[i], ladder, &member);
		if (!member.simple)
			AddMember(undecided, member_id);
		else if (member.n > 0 && !SkipToState(states, member_id, ladder))
			AddMember(differing, member_id);
		else if (member.n > 0)
		{
			MemoryContext old = MemoryContextSwitchTo(scratch);
			bool		same = StateIsOf(states, ladder, &member, as_of);

			MemoryContextSwitchTo(old);
			MemoryContextReset(scratch);
			if (!same)
				AddMember(differing, member_id);
		}
	}
}

/*
 * compare_plain_tiers(ladder, as_of, behind, up_to): of the members behind one,
 * as far as another, those whose stored tier is not what their entries give, or
 * of whom none is stored, and those whose entries have to be read together;
 * what makes a history but entries is left to the caller.  NULLs where a table
 * is not plain, or a ladder counts more than points.
 */
PG_FUNCTION_INFO_V1(loyalty_compare_plain_tiers);
Datum
loyalty_compare_plain_tiers(PG_FUNCTION_ARGS)
{
	static const PlainTable *const tables[3] = {&archive_table, &ledger_table, &tier_state_table};
	PlainScan	scans[3];
	int			nscans = 0;
	RowCall    *call;
	int64		first;
	int64		last;
	MemberList	differing = {0};
	MemberList	undecided = {0};
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	call = RowCallOf(fcinfo, PG_GETARG_DATUM(0));
	if (get_call_result_type(fcinfo, NULL, &call->tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* no member is behind the last there can be */
	first = PG_ARGISNULL(2) ? PG_INT64_MIN : PG_GETARG_INT64(2);
	last = PG_GETARG_INT64(3);
	if (!PG_ARGISNULL(2) && first < PG_INT64_MAX)
		first++;

	while (!call->ladder->counts_events && nscans < 3 &&
		   BeginPlainScan(&scans[nscans], tables[nscans], first, last, GetActiveSnapshot()))
		nscans++;
	if (nscans == 3)
	{
		CompareStates(scans, &scans[2], call->ladder, PG_GETARG_TIMESTAMPTZ(1), call->scratch, &differing, &undecided);
		values[0] = MemberArray(&differing);
		values[1] = MemberArray(&undecided);
		nulls[0] = nulls[1] = false;
	}
	while (nscans > 0)
		EndPlainScan(&scans[--nscans]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(call->tupdesc), values, nulls)));
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
