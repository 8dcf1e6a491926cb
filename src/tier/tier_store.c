/*
 * tier_store.c
 *		The stored state of a member on a ladder, and its history.
 *
 * Both are a replay's result, kept for speed and for reading.  A fact that
 * comes in order takes the stored machine one step further.  Whatever else
 * happens (a late fact, a return, a grant, a merge, a new version) replays the
 * whole history, under the lock of the state's row, with a fresh snapshot.
 *
 * A replay sees all rows that its transaction has inserted, those too whose
 * triggers are still to come.  So the row says which transaction replayed, and
 * before which of its commands: what that had recorded is counted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/happened.h"
#include "core/plain.h"
#include "ledger/post.h"
#include "ledger/wallet.h"
#include "tier/tier_functions.h"
#include "tier/tier_program.h"

/*
 * The row that the active snapshot shows, of an open tier_state; NULL for none.
 */
static HeapTuple
FetchStored(const PlainAccess *state, const Datum *key, StoredTier *stored)
{
	HeapTuple	row = FetchPlainRow(state, 0, key, GetActiveSnapshot());
	Datum		values[STATE_NCOLUMNS];
	bool		nulls[STATE_NCOLUMNS];

	if (row == NULL)
		return NULL;
	PlainValues(state, row, values, nulls);
	GetStored(values, nulls, stored);
	return row;
}

/*
 * Reads a row as the query sees it, by table access; false when tier_state is
 * not plain.
 */
static bool
ReadPlainly(int64 member_id, const Datum *key, StoredTier *stored)
{
	PlainAccess state;

	if (!OpenPlain(&state, &tier_state_table, member_id, PLAIN_READ))
		return false;
	(void) FetchStored(&state, key, stored);
	ClosePlain(&state);
	return true;
}

/*
 * Reads a member's row of tier_state.
 */
void
ReadStored(int64 member_id, const CachedLadder *ladder, StoredRead how, StoredTier *stored)
{
	static KeptPlan read_plan = {
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	static KeptPlan lock_plan = {
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		key[2] = {Int64GetDatum(member_id), CStringGetTextDatum(ladder->code)};
	Datum		values[STATE_NCOLUMNS];
	bool		nulls[STATE_NCOLUMNS];

	if (read_plan.query == NULL)
	{
		char	   *query = psprintf("SELECT %s FROM loyalty.tier_state "
									 "WHERE member_id OPERATOR(pg_catalog.=) $1 AND ladder OPERATOR(pg_catalog.=) $2",
									 StateColumnList());

		lock_plan.query = MemoryContextStrdup(TopMemoryContext, psprintf("%s FOR UPDATE", query));
		read_plan.query = MemoryContextStrdup(TopMemoryContext, query);
	}
	InitStored(stored);
	if (how == STORED_AS_OF_QUERY && ReadPlainly(member_id, key, stored))
		return;
	if (how == STORED_AS_OF_QUERY)
		RunPlanReadOnly(&read_plan, key, NULL, 1);
	else
		RunPlan(how == STORED_LOCKED ? &lock_plan : &read_plan, key, NULL, 1);
	if (SPI_processed == 0)
		return;
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	GetStored(values, nulls, stored);
}

/*
 * The stored machine; false when it cannot be taken further.
 */
bool
UnpackStored(const StoredTier *stored, const CachedLadder *ladder, TierMachine *machine)
{
	PackReader	reader;

	if (!stored->evaluated || stored->merged_into != 0)
		return false;
	UnpackInit(&reader, VARDATA_ANY(stored->machine), VARSIZE_ANY_EXHDR(stored->machine));
	return UnpackMachine(&reader, ladder->versions, machine);
}

/*
 * Facts of entries before one that are missing in a stored machine, as facts to
 * come.  False when one of them should have been counted already.
 */
bool
ExpectLater(const CachedLadder *ladder, int64 member_id, StoredRead how, const StoredTier *stored, int64 before,
			TierMachine *machine)
{
	TierFact   *facts;
	int			n;

	if (stored->counted_to == 0)
		return true;
	facts = GatherLater(ladder, member_id, how, stored->counted_to, before, &n);
	for (int i = 0; i < n; i++)
	{
		if (facts[i].at <= machine->now)
			return false;
	}
	ExpectFacts(machine, facts, n);
	return true;
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

/*
 * What the columns of tier_state say of a machine when the ladder has so many
 * versions.  next_at: until then they say all, without further facts.
 */
TierColumns
ColumnsOf(const CachedLadder *ladder, int nversions, const TierMachine *machine)
{
	const TierState *state = &machine->state;
	TierColumns columns = {
		.level = CodeOfRank(machine->definition, state->effective),
		.earned_level = CodeOfRank(machine->definition, state->level),
		.since = state->effective_since,
		.valid_until = MachineValidUntil(machine),
		.grace_until = state->grace_until,
		.next_at = NextChange(machine)
	};

	if (nversions > machine->version + 1)
		columns.next_at = Min(columns.next_at, ladder->versions->version[machine->version + 1].from);
	return columns;
}

/*
 * What is stored of a machine.
 */
void
StateOfMachine(const CachedLadder *ladder, const TierMachine *machine, StoredTier *stored)
{
	InitStored(stored);
	stored->evaluated = true;
	stored->versions = ladder->versions->nversions;
	if (machine->nlogs > 0)
		stored->event_at = machine->logs[machine->nlogs - 1].at;
	stored->evaluated_at = machine->now;
	stored->columns = ColumnsOf(ladder, ladder->versions->nversions, machine);
	stored->machine = StoredMachine(machine);
}

/*
 * Writes the row, which is locked.
 */
static void
WriteState(const CachedLadder *ladder, int64 member_id, const StoredTier *stored)
{
	static KeptPlan plan = {
		.nargs = STATE_NCOLUMNS
	};
	Datum		values[STATE_NCOLUMNS];
	bool		isnull[STATE_NCOLUMNS];
	char		nulls[STATE_NCOLUMNS];

	if (plan.query == NULL)
	{
		memcpy(plan.argtypes, StateColumnTypes(), STATE_NCOLUMNS * sizeof(Oid));
		plan.query = MemoryContextStrdup(TopMemoryContext,
										 psprintf("UPDATE loyalty.tier_state SET %s "
												  "WHERE member_id OPERATOR(pg_catalog.=) $1 AND ladder OPERATOR(pg_catalog.=) $2",
												  StateAssignments()));
	}
	PutStored(member_id, ladder->code, stored, values, isnull);
	RunPlan(&plan, values, NullFlags(isnull, STATE_NCOLUMNS, nulls), 0);
	if (SPI_processed != 1)
		elog(ERROR, "row of tier_state is gone although it was locked");
}

static bool
SameInstant(TimestampTz stored, TimestampTz t)
{
	return stored == t || (TIMESTAMP_NOT_FINITE(stored) && TIMESTAMP_NOT_FINITE(t));
}

static bool
SameCode(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool
SameColumns(const TierColumns *a, const TierColumns *b)
{
	return SameCode(a->level, b->level) && SameCode(a->earned_level, b->earned_level) &&
		SameInstant(a->since, b->since) && SameInstant(a->valid_until, b->valid_until) &&
		SameInstant(a->grace_until, b->grace_until) && SameInstant(a->next_at, b->next_at);
}

/*
 * Whether the columns of tier_state say what the machine does that came from
 * there.
 */
bool
StoredColumnsAgree(const StoredTier *stored, const CachedLadder *ladder, const TierMachine *machine)
{
	TierColumns columns;

	/* a version that was defined since is not in it */
	if (stored->versions > ladder->versions->nversions)
		return false;
	columns = ColumnsOf(ladder, stored->versions, machine);
	return SameColumns(&stored->columns, &columns) && SameInstant(stored->evaluated_at, machine->now);
}

/*
 * Writes steps at the end of the history, in place of all that begins at or
 * after the first of them.
 */
static void
WriteHistory(const CachedLadder *ladder, int64 member_id, const TierLog *logs, int nlogs, TimestampTz from)
{
	static KeptPlan delete_plan = {
		.query = "DELETE FROM loyalty.tier_history WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND ladder OPERATOR(pg_catalog.=) $2 AND starts_at OPERATOR(pg_catalog.>=) $3",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	static KeptPlan close_plan = {
		.query = "UPDATE loyalty.tier_history h SET ends_at = $3 WHERE h.member_id OPERATOR(pg_catalog.=) $1 "
		"AND h.ladder OPERATOR(pg_catalog.=) $2 AND h.starts_at OPERATOR(pg_catalog.=) (SELECT pg_catalog.max(x.starts_at) "
		"FROM loyalty.tier_history x WHERE x.member_id OPERATOR(pg_catalog.=) $1 AND x.ladder OPERATOR(pg_catalog.=) $2)",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	static KeptPlan insert_plan = {
		.query = "INSERT INTO loyalty.tier_history (member_id, ladder, starts_at, ends_at, level, event, reason, valid_until) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		.nargs = 8,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[8];
	bool		isnull[8] = {false};
	char		nulls[8];

	values[0] = Int64GetDatum(member_id);
	values[1] = CStringGetTextDatum(ladder->code);
	values[2] = TimestampTzGetDatum(from);
	RunPlan(&delete_plan, values, NULL, 0);
	RunPlan(&close_plan, values, nlogs == 0 ? "  n" : NULL, 0);
	for (int i = 0; i < nlogs; i++)
	{
		const TierLog *log = &logs[i];

		values[2] = TimestampTzGetDatum(log->at);
		values[3] = InstantOrNull(i + 1 == nlogs ? TIMESTAMP_INFINITY : logs[i + 1].at, &isnull[3]);
		values[4] = CodeOrNull(CodeOfRank(log->definition, log->rank), &isnull[4]);
		values[5] = CStringGetTextDatum(TierEventName(log->event));
		values[6] = CStringGetTextDatum(TierReasonName(log->reason));
		values[7] = InstantOrNull(log->valid_until, &isnull[7]);
		RunPlan(&insert_plan, values, NullFlags(isnull, lengthof(isnull), nulls), 0);
	}
}

/*
 * Whether row i of a stored history is a step of a replay, and ends where the
 * next row begins; the last one does not end.
 */
static bool
SameStep(SPITupleTable *rows, uint64 nrows, uint64 i, const TierLog *log)
{
	HeapTuple	row = rows->vals[i];
	bool		open;
	bool		forever;
	bool		isnull;
	TimestampTz ends_at = DatumGetTimestampTz(SPI_getbinval(row, rows->tupdesc, 2, &open));
	TimestampTz valid_until = DatumGetTimestampTz(SPI_getbinval(row, rows->tupdesc, 6, &forever));

	if (i + 1 < nrows ?
		open || ends_at != DatumGetTimestampTz(SPI_getbinval(rows->vals[i + 1], rows->tupdesc, 1, &isnull)) :
		!open)
		return false;
	return DatumGetTimestampTz(SPI_getbinval(row, rows->tupdesc, 1, &isnull)) == log->at &&
		SameCode(SPI_getvalue(row, rows->tupdesc, 3), CodeOfRank(log->definition, log->rank)) &&
		strcmp(SPI_getvalue(row, rows->tupdesc, 4), TierEventName(log->event)) == 0 &&
		strcmp(SPI_getvalue(row, rows->tupdesc, 5), TierReasonName(log->reason)) == 0 &&
		SameInstant(forever ? TIMESTAMP_INFINITY : valid_until, log->valid_until);
}

/*
 * Reads a member's stored history, as the query sees it or as it is now, and
 * returns how many of its first rows are the steps of a replay.  The rows are
 * in SPI_tuptable.
 */
int
SameSteps(const CachedLadder *ladder, int64 member_id, StoredRead how, const TierLog *logs, int nlogs)
{
	static KeptPlan plan = {
		.query = "SELECT starts_at, ends_at, level, event, reason, valid_until FROM loyalty.tier_history "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND ladder OPERATOR(pg_catalog.=) $2 ORDER BY starts_at",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(ladder->code)};
	int			same = 0;

	if (how == STORED_AS_OF_QUERY)
		RunPlanReadOnly(&plan, values, NULL, 0);
	else
		RunPlan(&plan, values, NULL, 0);
	while (same < nlogs && (uint64) same < SPI_processed &&
		   SameStep(SPI_tuptable, SPI_processed, same, &logs[same]))
		same++;
	return same;
}

/*
 * Makes the stored history that of a replay; writes from the first difference
 * on.  Returns whether there was one.
 */
static bool
SyncHistory(const CachedLadder *ladder, int64 member_id, const TierLog *logs, int nlogs)
{
	int			same = SameSteps(ladder, member_id, STORED_FRESH, logs, nlogs);
	TimestampTz from;

	if (same == nlogs && (uint64) same == SPI_processed)
		return false;
	from = TIMESTAMP_INFINITY;
	if (same < nlogs)
		from = logs[same].at;
	if ((uint64) same < SPI_processed)
	{
		bool		isnull;

		from = Min(from, DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[same], SPI_tuptable->tupdesc, 1, &isnull)));
	}
	/* what is the same ends where the rest begins */
	WriteHistory(ladder, member_id, logs + same, nlogs - same, from);
	if (same > 0 && same < nlogs && from != logs[same].at)
	{
		static KeptPlan close_plan = {
			.query = "UPDATE loyalty.tier_history SET ends_at = $3 WHERE member_id OPERATOR(pg_catalog.=) $1 "
			"AND ladder OPERATOR(pg_catalog.=) $2 AND starts_at OPERATOR(pg_catalog.=) $4",
			.nargs = 4,
			.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
		};
		Datum		close[4] = {Int64GetDatum(member_id), CStringGetTextDatum(ladder->code),
		TimestampTzGetDatum(logs[same].at), TimestampTzGetDatum(logs[same - 1].at)};

		RunPlan(&close_plan, close, NULL, 0);
	}
	return true;
}

/* ---------------------------------------------------------------------------
 * Maintaining
 * ---------------------------------------------------------------------------
 */

static void
PutJsonText(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, ", \"%s\": ", name);
	if (value == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, value);
}

/* The grant that begins, or ends, with a step; 0: it is of none. */
static int64
GrantOfStep(const CachedLadder *ladder, int64 member_id, const TierLog *log)
{
	static KeptPlan plan = {
		.query = "SELECT g.grant_id FROM loyalty.tier_grant g WHERE g.member_id OPERATOR(pg_catalog.=) ANY (loyalty.tier_numbers_of($1)) "
		"AND g.ladder OPERATOR(pg_catalog.=) $2 AND $3 OPERATOR(pg_catalog.=) CASE WHEN $4 THEN g.starts_at ELSE coalesce(g.ended_at, g.ends_at) END "
		"ORDER BY g.grant_id DESC",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, BOOLOID}
	};
	Datum		values[4] = {
		Int64GetDatum(member_id), CStringGetTextDatum(ladder->code), TimestampTzGetDatum(log->at), BoolGetDatum(log->reason == REASON_GRANTED)
	};
	bool		isnull;

	if (log->reason != REASON_GRANTED && log->reason != REASON_GRANT_ENDED)
		return 0;
	RunPlan(&plan, values, NULL, 1);
	return SPI_processed == 0 ? 0 : DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Tells whoever hears of it of the step by which a member has come from one
 * level to another; the row of the state is locked.
 */
static void
TellOfChange(const CachedLadder *ladder, int64 member_id, const char *from, const TierLog *log, const NewFacts *arrived)
{
	StringInfoData json;
	Happening	happening = {.kind = "tier_changed", .member_id = member_id, .at = log->at};
	int64		grant_id;

	if (!IsHeard(happening.kind))
		return;
	initStringInfo(&json);
	appendStringInfoString(&json, "{\"version\": 1");
	PutJsonText(&json, "ladder", ladder->code);
	PutJsonText(&json, "from", from);
	PutJsonText(&json, "to", CodeOfRank(log->definition, log->rank));
	PutJsonText(&json, "event", TierEventName(log->event));
	PutJsonText(&json, "reason", TierReasonName(log->reason));
	if (arrived != NULL && arrived->entry != NULL)
	{
		happening.beyond_id = arrived->entry->entry_id;
		appendStringInfo(&json, ", \"entry_id\": " INT64_FORMAT, happening.beyond_id);
	}
	grant_id = GrantOfStep(ladder, member_id, log);
	if (grant_id != 0)
		appendStringInfo(&json, ", \"grant_id\": " INT64_FORMAT, grant_id);
	appendStringInfoChar(&json, '}');
	happening.payload = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	Happen(&happening);
}

static void
EnsureRow(const CachedLadder *ladder, int64 member_id)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.tier_state (member_id, ladder) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(ladder->code)};

	RunPlan(&plan, values, NULL, 0);
}

/*
 * A step that is under way, for the function in its statement.
 */
typedef struct TierStepping
{
	const CachedLadder *ladder;
	const NewFacts *arrived;
	MemoryContext context;
	bool		plain;			/* by table access */
	bool		done;			/* the machine took the facts */
	bool		columns_changed;
	bool		leaves_slack;
	TierSlack	slack;
	StoredTier	stored;			/* the row as it was */
	TierMachine machine;
} TierStepping;

static const char stepping_kind[] = "step of a tier";

static int64
ThisTransaction(void)
{
	return (int64) U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
}

/*
 * Whether a state was last replayed in this transaction.
 */
static bool
ReplayedHere(const StoredTier *stored)
{
	return stored->replayed_in != 0 && stored->replayed_in == ThisTransaction();
}

/*
 * Takes a stored machine one step further, if all comes in order.  Facts that
 * are still to come are only taken down.
 */
static bool
StepStored(TierStepping *step)
{
	const StoredTier *stored = &step->stored;
	const CachedLadder *ladder = step->ladder;
	const NewFacts *arrived = step->arrived;
	TierMachine *machine = &step->machine;
	TimestampTz until;
	TierColumns before;
	TierColumns after;

	if (ReplayedHere(stored) &&
		(!arrived->commands_known || arrived->first_command < stored->replayed_before))
		return false;
	if (stored->versions != ladder->versions->nversions || !UnpackStored(stored, ladder, machine) ||
		machine->version != VersionAt(ladder->versions, Max(arrived->at, machine->now)))
		return false;
	for (int i = 0; i < arrived->n; i++)
		if (arrived->facts[i].at <= machine->now ||
			(arrived->facts[i].counts_at < arrived->facts[i].at &&
			 machine->definition != NULL && machine->definition->take_back))
			return false;
	before = ColumnsOf(ladder, stored->versions, machine);
	/* a statement cannot tell how far they take it */
	if (stored->counted_to != 0 &&
		!(step->plain && arrived->entry != NULL &&
		  ExpectLater(ladder, arrived->entry->member_id, STORED_FRESH, stored, arrived->entry->entry_id, machine)))
		return false;
	until = arrived->at;
	if (machine->next_coming < machine->ncoming && stored->counted_to != 0)
		until = Max(until, machine->coming[machine->ncoming - 1].at);
	if (machine->version != VersionAt(ladder->versions, until))
		return false;
	machine->logging = true;
	ExpectFacts(machine, arrived->facts, arrived->n);
	AdvanceMachine(machine, until);
	after = ColumnsOf(ladder, stored->versions, machine);
	step->columns_changed = !SameColumns(&before, &after);
	return true;
}

/*
 * step_tier(state record): the machine after the facts, or as it was where they
 * take more than a step; of a row of tier_state.
 */
PG_FUNCTION_INFO_V1(loyalty_step_tier);
Datum
loyalty_step_tier(PG_FUNCTION_ARGS)
{
	TierStepping *stepping = RunningCall(stepping_kind);
	MemoryContext old;
	struct varlena *result;

	if (stepping == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("this function is part of evaluate_tier() and cannot be called by itself")));
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	/* the statement may look at the row twice, when it had to wait for it */
	old = MemoryContextSwitchTo(stepping->context);
	GetStoredRecord(PG_GETARG_DATUM(0), &stepping->stored);
	stepping->done = stepping->stored.evaluated && StepStored(stepping);
	MemoryContextSwitchTo(old);
	if (!stepping->stored.evaluated)
		PG_RETURN_NULL();
	result = stepping->done ? StoredMachine(&stepping->machine) : stepping->stored.machine;
	PG_RETURN_BYTEA_P((bytea *) result);
}

/*
 * The row after a step.
 */
static void
StateOfStep(const TierStepping *step, StoredTier *stored)
{
	StateOfMachine(step->ladder, &step->machine, stored);
	if (step->machine.nlogs == 0)
		stored->event_at = step->stored.event_at;
	stored->replayed_in = step->stored.replayed_in;
	stored->replayed_before = step->stored.replayed_before;
}

/*
 * One step further by one statement, which computes under the lock of the row
 * that it updates.
 */
static void
StepByStatement(TierStepping *step, int64 member_id)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.tier_state s SET machine = loyalty.step_tier(s), "
		"evaluated_at = greatest(evaluated_at, $3) "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND ladder OPERATOR(pg_catalog.=) $2",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int64GetDatum(member_id), CStringGetTextDatum(step->ladder->code),
	TimestampTzGetDatum(step->arrived->at)};
	Running		running = {.kind = stepping_kind, .call = step};
	StoredTier	stored;

	RunPlanOf(&running, &plan, values, NULL);
	step->done = step->done && SPI_processed > 0;
	if (step->done && (step->machine.nlogs > 0 || step->columns_changed))
	{
		/* the row is ours now: what it says of the machine follows */
		StateOfStep(step, &stored);
		WriteState(step->ladder, member_id, &stored);
	}
}

/*
 * The same with the row that the active snapshot shows, of an open tier_state.
 * False when another transaction was there first: look again.
 */
static bool
StepRow(TierStepping *step, int64 member_id, const PlainAccess *state)
{
	static const int all_columns[] = {
#define COLUMN(symbol, name, type) STATE_##symbol,
		TIER_STATE_COLUMNS(COLUMN)
#undef COLUMN
	};
	Datum		values[STATE_NCOLUMNS] = {Int64GetDatum(member_id), CStringGetTextDatum(step->ladder->code)};
	bool		nulls[STATE_NCOLUMNS];
	HeapTuple	row = FetchStored(state, values, &step->stored);
	int			first = STATE_COUNTED_TO;	/* that changes, and those behind it */
	StoredTier	stored;

	step->done = false;
	if (row == NULL)
		return true;
	if (WaitForPlainRow(state, row))
		return false;
	if (!step->stored.evaluated || !StepStored(step))
		return true;
	step->done = true;
	StateOfStep(step, &stored);
	step->leaves_slack = FindSlack(step->ladder, &step->machine, stored.columns.next_at, step->arrived->entry, &step->slack);
	if (step->leaves_slack)
		stored.counted_to = step->slack.entry_id;
	PutStored(member_id, step->ladder->code, &stored, values, nulls);
	if (step->machine.nlogs > 0 || step->columns_changed)
		first = STATE_LADDER + 1;
	return UpdatePlainRow(state, row, STATE_NCOLUMNS - first, all_columns + first, values + first, nulls + first);
}

/*
 * The same by table access; false when tier_state is not plain, and nothing was
 * done.
 */
static bool
StepPlainly(TierStepping *step, int64 member_id)
{
	PlainAccess state;
	bool		settled;

	if (!OpenPlain(&state, &tier_state_table, member_id, PLAIN_WRITE))
		return false;
	step->plain = true;
	do
	{
		CHECK_FOR_INTERRUPTS();
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		settled = StepRow(step, member_id, &state);
		PopActiveSnapshot();
	} while (!settled);
	ClosePlain(&state);
	CommandCounterIncrement();
	return true;
}

/*
 * One step further, if all comes in order.
 */
static bool
TryStep(const CachedLadder *ladder, int64 member_id, const NewFacts *arrived)
{
	TierStepping step = {.ladder = ladder, .arrived = arrived, .context = CurrentMemoryContext};
	TierMachine *machine = &step.machine;
	const char *level;

	if (!StepPlainly(&step, member_id))
		StepByStatement(&step, member_id);
	if (!step.done)
		return false;
	/* before anything that may fire a trigger of somebody */
	if (arrived->entry != NULL &&
		(step.leaves_slack || step.stored.counted_to != 0 || arrived->entry->tiers != NULL))
	{
		arrived->entry->tiers = step.leaves_slack ? SlackAsNote(&step.slack) : NULL;
		NoteTiers(member_id, arrived->entry->currency, arrived->entry->tiers);
	}
	machine->nlogs = DropEmptySteps(machine->logs, machine->nlogs);
	if (machine->nlogs > 0)
		WriteHistory(ladder, member_id, machine->logs, machine->nlogs, machine->logs[0].at);
	level = step.stored.columns.level;
	for (int i = 0; i < machine->nlogs; i++)
	{
		const char *next = CodeOfRank(machine->logs[i].definition, machine->logs[i].rank);

		if (!SameCode(level, next))
			TellOfChange(ladder, member_id, level, &machine->logs[i], arrived);
		level = next;
	}
	return true;
}

/*
 * What is noted on a wallet is of no state any more; the wallet is locked.
 * Statements do not tell what was noted.
 */
static void
TakeNoteAway(const CachedLadder *ladder, int64 member_id, const StoredTier *stored, const struct varlena *noted,
			 const NewFacts *arrived)
{
	if (!ladder->leaves_slack || (noted == NULL && stored->counted_to == 0))
		return;
	NoteTiers(member_id, ladder->currency[0], NULL);
	if (arrived != NULL && arrived->entry != NULL)
		arrived->entry->tiers = NULL;
}

/*
 * Whether what is noted on the wallet of a stored state is of that.
 */
bool
NoteIsOfState(const struct varlena *noted, const StoredTier *stored)
{
	TierSlack	slack;

	if (!ReadSlack(noted, &slack))
		return true;
	return slack.entry_id == stored->counted_to && slack.after == stored->evaluated_at &&
		slack.before <= stored->columns.next_at;
}

/*
 * The member's facts count for another from now on.
 */
static void
ForgetState(const CachedLadder *ladder, int64 member_id, int64 canonical)
{
	StoredTier	stored;

	InitStored(&stored);
	stored.merged_into = canonical;
	WriteState(ladder, member_id, &stored);
	WriteHistory(ladder, member_id, NULL, 0, TIMESTAMP_MINUS_INFINITY);
}

/*
 * A transaction with a snapshot of its own may lack the ladder, or facts of
 * others that it counts, and that no tier was kept of when they were recorded:
 * those from before the ladder, or the version, was defined.
 */
static void
RequireWholeView(const CachedLadder *ladder, int64 member_id, const TierHistory *history)
{
	static KeptPlan versions_plan = {
		.query = "SELECT FROM loyalty.ladder_version WHERE ladder OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(ladder->code);
	bool		whole;

	if (!IsolationUsesXactSnapshot())
		return;
	RunPlan(&versions_plan, &value, NULL, 0);
	whole = SPI_processed == (uint64) ladder->versions->nversions;
	if (whole)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		whole = CountFacts(GatherHistory(ladder, member_id, &TIER_OF_QUERY)) == CountFacts(history);
		PopActiveSnapshot();
	}
	if (!whole)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to the tier of member %lld due to a concurrent update", (long long) member_id),
				 errdetail("Ladder \"%s\" was defined, or facts that it counts were recorded, after this transaction began.", ladder->code),
				 errhint("Repeat the transaction.")));
}

/*
 * Whether facts that have just been recorded are in a replay that this
 * transaction has made already.  Where that is likely, the row is asked: what
 * it says goes with a subtransaction that is rolled back.
 */
static bool
CountedBefore(const CachedLadder *ladder, int64 member_id, const NewFacts *arrived)
{
	StoredTier	stored;

	if (ladder->replayed_member != member_id || ladder->replayed_in == 0 ||
		ladder->replayed_in != ThisTransaction())
		return false;
	ReadStored(member_id, ladder, STORED_FRESH, &stored);
	return stored.evaluated && ReplayedHere(&stored) &&
		arrived->commands_known && arrived->last_command < stored.replayed_before;
}

/*
 * Brings a member's stored tier up to as_of, with facts that have just been
 * recorded in its tables, or (arrived NULL) by a replay.  A member that is
 * absorbed brings its canonical member's up to date instead.  Returns whether
 * anything was to be written.  Needs an SPI connection.
 */
bool
MaintainTier(CachedLadder *ladder, int64 member_id, const NewFacts *arrived, TimestampTz as_of)
{
	StoredTier	stored;
	TierHistory *history;
	TierMachine machine;
	TierMachine before;
	struct varlena *noted = arrived != NULL && arrived->entry != NULL ? arrived->entry->tiers : NULL;
	int64		canonical;
	CommandId	command;
	bool		changed;

	if (arrived != NULL && CountedBefore(ladder, member_id, arrived))
		return false;
	/* of a posting that is known since before it was */
	if (arrived == NULL || arrived->entry == NULL)
		ExpectHappening("tier_changed", member_id, ladder->leaves_slack ? ladder->currency[0] : NULL);
	if (arrived != NULL && arrived->n > 0 && TryStep(ladder, member_id, arrived))
		return true;

	/* a posting has the wallet's lock */
	if (arrived == NULL && ladder->leaves_slack)
		(void) LockWalletRow(member_id, ladder->currency[0], &noted);
	ReadStored(member_id, ladder, STORED_LOCKED, &stored);
	if (!stored.found)
	{
		EnsureRow(ladder, member_id);
		ReadStored(member_id, ladder, STORED_LOCKED, &stored);
	}
	canonical = CanonicalAsOf(member_id, &TIER_NOW);
	if (canonical != member_id)
	{
		if (stored.merged_into != canonical)
			ForgetState(ladder, member_id, canonical);
		TakeNoteAway(ladder, member_id, &stored, noted, arrived);
		if (arrived != NULL && CountedBefore(ladder, canonical, arrived))
			return false;
		return MaintainTier(ladder, canonical, NULL, as_of);
	}

	/* under the lock: what others have recorded since is seen */
	CommandCounterIncrement();
	command = GetCurrentCommandId(false);
	history = GatherHistory(ladder, member_id, &TIER_NOW);
	RequireWholeView(ladder, member_id, history);
	if (stored.evaluated)
		as_of = Max(as_of, stored.evaluated_at);
	as_of = Max(as_of, LatestFact(history, GetCurrentTimestamp()));
	ReplayHistory(ladder->versions, history, as_of, &machine);
	machine.nlogs = DropEmptySteps(machine.logs, machine.nlogs);

	changed = SyncHistory(ladder, member_id, machine.logs, machine.nlogs);
	if (!changed && arrived == NULL && stored.versions == ladder->versions->nversions &&
		UnpackStored(&stored, ladder, &before) && before.version == machine.version)
	{
		changed = stored.columns.next_at <= as_of || !StoredColumnsAgree(&stored, ladder, &before) ||
			!NoteIsOfState(noted, &stored) ||
			!ExpectLater(ladder, member_id, STORED_FRESH, &stored, PG_INT64_MAX, &before) ||
			stored.event_at != (machine.nlogs > 0 ? machine.logs[machine.nlogs - 1].at : TIMESTAMP_MINUS_INFINITY);
		AdvanceMachine(&before, as_of);
		changed = changed || !SameMachine(StoredMachine(&before), &machine);
	}
	else
		changed = true;
	if (changed)
	{
		const char *level = stored.evaluated && stored.merged_into == 0 ? stored.columns.level : NULL;

		TakeNoteAway(ladder, member_id, &stored, noted, arrived);
		StateOfMachine(ladder, &machine, &stored);
		stored.replayed_in = (int64) U64FromFullTransactionId(GetTopFullTransactionId());
		stored.replayed_before = command;
		WriteState(ladder, member_id, &stored);
		ladder->replayed_member = member_id;
		ladder->replayed_in = stored.replayed_in;
		/* of what is replayed only the outcome is new */
		if (machine.nlogs > 0 && !SameCode(level, stored.columns.level))
			TellOfChange(ladder, member_id, level, &machine.logs[machine.nlogs - 1], arrived);
	}
	return changed;
}

/*
 * The machine of a member as of an instant and as known at another: from the
 * stored one where that will do, or else from the facts.
 */
void
MachineAsOf(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, TierMachine *machine)
{
	TimestampTz as_of = asked->as_of;

	if (asked->known_at == TIMESTAMP_INFINITY)
	{
		StoredTier	stored;

		ReadStored(member_id, ladder, asked->how, &stored);
		if (stored.found && as_of >= stored.evaluated_at && stored.versions == ladder->versions->nversions &&
			UnpackStored(&stored, ladder, machine) && machine->version == VersionAt(ladder->versions, as_of) &&
			ExpectLater(ladder, member_id, asked->how, &stored, PG_INT64_MAX, machine))
		{
			AdvanceMachine(machine, as_of);
			return;
		}
	}
	member_id = CanonicalAsOf(member_id, asked);
	ReplayLatest(ladder->versions, GatherHistory(ladder, member_id, asked), as_of, machine);
}
