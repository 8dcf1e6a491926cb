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

/* Members that were found, some perhaps twice. */
typedef struct MemberList
{
	int			n;
	int			size;
	Datum	   *ids;
} MemberList;

/* What is needed of an entry. */
typedef struct ReadEntry
{
	int64		member_id;
	int64		points;
	TimestampTz at;
	TimestampTz available_at;
	uint32		measures;		/* that count its currency, one bit each; 0: none do */
	bool		needs_others;	/* what it is to them, other entries say */
} ReadEntry;

/* The entries of a table, by member. */
typedef struct ReadEntries
{
	ReadEntry  *entries;
	int			n;
	int			next;
} ReadEntries;

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

/*
 * What an entry is to the measures of a ladder; see tier_points.sql.
 */
static void
ReadEntryOf(const PlainScan *scan, const CachedLadder *ladder, ReadEntry *entry)
{
	bool		isnull;
	Datum		currency = PlainScanValue(scan, LEDGER_CURRENCY, &isnull);
	Datum		kind = PlainScanValue(scan, LEDGER_KIND, &isnull);
	Datum		available_at;

	entry->needs_others = TextIs(kind, "reverse", 7) || TextIs(kind, "activate", 8);
	if (!entry->needs_others && !TextIs(kind, "earn", 4) && !TextIs(kind, "adjust", 6))
		return;
	for (int m = 0; m < ladder->versions->nmeasures; m++)
		if (TextIs(currency, ladder->currency[m], strlen(ladder->currency[m])))
			entry->measures |= (uint32) 1 << m;
	if (entry->measures == 0)
		return;
	entry->member_id = scan->member_id;
	entry->points = DatumGetInt64(PlainScanValue(scan, LEDGER_REQUESTED, &isnull));
	entry->at = entry->available_at = DatumGetTimestampTz(PlainScanValue(scan, LEDGER_EFFECTIVE_AT, &isnull));
	available_at = PlainScanValue(scan, LEDGER_AVAILABLE_AT, &isnull);
	if (entry->points > 0)
		entry->available_at = isnull ? TIMESTAMP_INFINITY : Max(entry->at, DatumGetTimestampTz(available_at));
}

static void
SkipUncounted(ReadEntries *read)
{
	while (read->next < read->n && read->entries[read->next].measures == 0)
		read->next++;
}

static void
ReadAllEntries(PlainScan *scan, const CachedLadder *ladder, ReadEntries *read)
{
	read->n = OrderPlainRowsAsStored(scan);
	read->next = 0;
	read->entries = palloc_extended(Max(1, read->n) * sizeof(ReadEntry), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	while (NextPlainRow(scan))
		ReadEntryOf(scan, ladder, &read->entries[scan->place]);
	SkipUncounted(read);
}

/*
 * Takes the entries of a member as facts; false when there are such as others
 * have to be read for.
 */
static bool
TakeEntries(ReadEntries *read, int64 member_id, const CachedLadder *ladder, TierHistory *history, int *size)
{
	bool		simple = true;

	for (; read->next < read->n && read->entries[read->next].member_id == member_id; read->next++, SkipUncounted(read))
	{
		const ReadEntry *entry = &read->entries[read->next];
		PostedPoints posted = {
			.at = entry->at,.counts_at = entry->at,.available_at = entry->available_at,.points = entry->points
		};

		simple &= !entry->needs_others;
		for (int m = 0; m < ladder->versions->nmeasures; m++)
		{
			if (!(entry->measures & ((uint32) 1 << m)))
				continue;
			if (history->nfacts == *size)
				history->facts = repalloc_huge(history->facts, (*size *= 2) * sizeof(TierFact));
			if (FactOfPoints(ladder, m, &posted, &history->facts[history->nfacts]))
				history->nfacts++;
		}
	}
	return simple;
}

/*
 * Goes to the next state on a ladder.  One that the clock has changed, or that
 * is none, is to be evaluated, whether its member has entries or not.
 */
static void
NextState(PlainScan *states, const CachedLadder *ladder, TimestampTz as_of, MemberList *differing)
{
	while (NextPlainRow(states))
	{
		bool		isnull;
		Datum		next_at;

		if (!TextIs(PlainScanValue(states, STATE_LADDER, &isnull), ladder->code, strlen(ladder->code)))
			continue;
		next_at = PlainScanValue(states, STATE_NEXT_AT, &isnull);
		if (!isnull && DatumGetTimestampTz(next_at) <= as_of)
			AddMember(differing, states->member_id);
		else
		{
			(void) PlainScanValue(states, STATE_MACHINE, &isnull);
			if (isnull)
				AddMember(differing, states->member_id);
		}
		return;
	}
}

/*
 * StoredIsOf(), of the state that a scan is at.
 */
static bool
StateIsOf(const PlainScan *states, const CachedLadder *ladder, const TierHistory *history, TimestampTz as_of)
{
	Datum		values[STATE_NCOLUMNS];
	bool		nulls[STATE_NCOLUMNS];
	StoredTier	stored;

	for (int i = 0; i < STATE_NCOLUMNS; i++)
		values[i] = PlainScanValue(states, i, &nulls[i]);
	GetStored(values, nulls, &stored);
	return StoredIsOf(&stored, ladder, history, as_of);
}

/*
 * Compares the states of all members who have entries with these.
 */
static void
CompareStates(PlainScan *archive, PlainScan *ledger, PlainScan *states, const CachedLadder *ladder, TimestampTz as_of,
			  MemoryContext scratch, MemberList *differing, MemberList *undecided)
{
	TierHistory history = {.joined_at = TIMESTAMP_INFINITY};
	int			size = 64;
	ReadEntries read[2];

	ReadAllEntries(archive, ladder, &read[0]);
	ReadAllEntries(ledger, ladder, &read[1]);
	NextState(states, ladder, as_of, differing);
	history.facts = palloc(size * sizeof(TierFact));
	while (read[0].next < read[0].n || read[1].next < read[1].n)
	{
		int64		member_id = PG_INT64_MAX;
		bool		simple = true;

		for (int i = 0; i < 2; i++)
			if (read[i].next < read[i].n)
				member_id = Min(member_id, read[i].entries[read[i].next].member_id);
		history.nfacts = 0;
		for (int i = 0; i < 2; i++)
			simple &= TakeEntries(&read[i], member_id, ladder, &history, &size);
		while (states->found && states->member_id < member_id)
			NextState(states, ladder, as_of, differing);
		if (!simple)
			AddMember(undecided, member_id);
		else if (history.nfacts > 0 && !(states->found && states->member_id == member_id))
			AddMember(differing, member_id);
		else if (history.nfacts > 0)
		{
			MemoryContext old = MemoryContextSwitchTo(scratch);
			bool		same = StateIsOf(states, ladder, &history, as_of);

			MemoryContextSwitchTo(old);
			MemoryContextReset(scratch);
			if (!same)
				AddMember(differing, member_id);
		}
	}
	while (states->found)
		NextState(states, ladder, as_of, differing);
}

/*
 * compare_plain_tiers(ladder, as_of, behind, up_to): of the members behind one,
 * as far as another, those whose stored tier is not what their entries and the
 * clock give, or of whom none is stored, and those whose entries have to be read together;
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
		CompareStates(&scans[0], &scans[1], &scans[2], call->ladder, PG_GETARG_TIMESTAMPTZ(1), call->scratch, &differing, &undecided);
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
