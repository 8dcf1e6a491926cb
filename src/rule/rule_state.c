/*
 * rule_state.c
 *		Rows of members that decisions lock and change: award_state, and
 *		award_counter.
 *
 * Whoever decides for a member holds the lock of its row in award_state, so
 * that its counters stay as they were read until they are written.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "core/core.h"
#include "core/happened.h"
#include "core/plain.h"
#include "rule/rule.h"

static const char *const no_triggers[] = {NULL};

/* ---------------------------------------------------------------------------
 * The lock
 * ---------------------------------------------------------------------------
 */

enum
{
	STATE_MEMBER_ID, STATE_DECISIONS, STATE_NCOLUMNS
};

static const PlainColumn state_columns[STATE_NCOLUMNS] = {
	{"member_id", INT8OID}, {"decisions", INT8OID}
};

static const PlainTable state_table = {
	.name = "award_state",
	.ncolumns = STATE_NCOLUMNS,
	.columns = state_columns,
	.nkeys = 1,
	.keys = {{1, {STATE_MEMBER_ID}}},
	.own_triggers = no_triggers
};

/*
 * Locks the state of a member until the transaction ends, so that nobody else
 * decides for it.  Needs an SPI connection.
 */
void
LockAwardState(int64 member_id)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.award_state AS s (member_id, decisions) VALUES ($1, 1) "
		"ON CONFLICT ON CONSTRAINT award_state_pkey DO UPDATE SET decisions = s.decisions OPERATOR(pg_catalog.+) 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};

	LockMemberRow(&state_table, &plan, member_id);
}

/* ---------------------------------------------------------------------------
 * Merges
 * ---------------------------------------------------------------------------
 */

static bool
HearsOfMerge(const char *kind)
{
	return (strcmp(kind, "members_merged") == 0 || strcmp(kind, "merge_undone") == 0) && OpenRuleBook()->n > 0;
}

/* What limits have counted is read and changed once they are one, or two again. */
static void
LockForMerge(const char *kind, int64 member_id, const char *currency)
{
	(void) kind;
	if (currency == NULL)
		LockAwardState(member_id);
}

static void
HeardOfMerge(const Happening *happening)
{
	static KeptPlan merged = {
		.query = "SELECT loyalty.count_merged($1, ($2 OPERATOR(pg_catalog.->>) 'absorbed_id')::pg_catalog.int8)",
		.nargs = 2,
		.argtypes = {INT8OID, JSONBOID}
	};
	static KeptPlan undone = {
		.query = "SELECT loyalty.count_parted($1, ($2 OPERATOR(pg_catalog.->>) 'separated_id')::pg_catalog.int8)",
		.nargs = 2,
		.argtypes = {INT8OID, JSONBOID}
	};
	Datum		values[2] = {Int64GetDatum(happening->member_id), happening->payload};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlan(strcmp(happening->kind, "members_merged") == 0 ? &merged : &undone, values, NULL, 1);
	SPI_finish();
}

/*
 * Whether members with these numbers were merged, or a merge of them undone,
 * since an instant.
 */
bool
WasMergedSince(Datum numbers, TimestampTz since)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.member_merge m WHERE (m.survivor_id OPERATOR(pg_catalog.=) ANY ($1) OR m.absorbed_id OPERATOR(pg_catalog.=) ANY ($1)) "
		"AND greatest(m.recorded_at, m.unmerged_at) OPERATOR(pg_catalog.>) $2",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {numbers, TimestampTzGetDatum(since)};

	RunPlan(&plan, values, NULL, 1);
	return SPI_processed > 0;
}

/*
 * Part of RuleInit().
 */
void
RuleStateInit(void)
{
	static const Hearer merges = {.hears = HearsOfMerge,.heard = HeardOfMerge,.expected = LockForMerge};

	OnHappening(&merges);
}

/* ---------------------------------------------------------------------------
 * Counters
 * ---------------------------------------------------------------------------
 */

enum
{
	COUNTER_MEMBER_ID, COUNTER_COUNTER, COUNTER_PERIOD, COUNTER_USED, COUNTER_NCOLUMNS
};

static const PlainColumn counter_columns[COUNTER_NCOLUMNS] = {
	{"member_id", INT8OID}, {"counter", TEXTOID}, {"period", DATEOID}, {"used", INT8OID}
};

static const PlainTable counter_table = {
	.name = "award_counter",
	.ncolumns = COUNTER_NCOLUMNS,
	.columns = counter_columns,
	.nkeys = 1,
	.keys = {{3, {COUNTER_MEMBER_ID, COUNTER_COUNTER, COUNTER_PERIOD}}},
	.own_triggers = no_triggers
};

/*
 * What a limit has counted in a period, of one member, or of all that numbers
 * has.  *row is, of one member, what AddToCounter() can use.  Needs an SPI
 * connection.
 */
int64
ReadCounter(int64 alone, Datum numbers, const char *name, DateADT period, HeapTuple *row)
{
	static KeptPlan plan = {
		.query = "SELECT coalesce(pg_catalog.sum(used), 0)::pg_catalog.int8 FROM loyalty.award_counter "
		"WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND counter OPERATOR(pg_catalog.=) $2 AND period OPERATOR(pg_catalog.=) $3",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, DATEOID}
	};
	Datum		values[3] = {Int64GetDatum(alone), CStringGetTextDatum(name), DateADTGetDatum(period)};
	PlainAccess access;
	bool		isnull;

	if (alone != 0 && OpenPlain(&access, &counter_table, alone, PLAIN_READ))
	{
		int64		used;

		*row = FetchLatestPlainRow(&access, 0, values);
		used = *row == NULL ? 0 : DatumGetInt64(PlainValue(&access, *row, COUNTER_USED, &isnull));
		ClosePlain(&access);
		return used;
	}
	*row = NULL;
	values[0] = numbers;
	RunPlan(&plan, values, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * By table access; false, and nothing is done, when somebody makes the row at
 * this moment, or it cannot be.
 */
static bool
AddToPlainCounter(Datum *values, HeapTuple row, int64 by)
{
	static const int used_column[] = {COUNTER_USED};
	bool		nulls[COUNTER_NCOLUMNS] = {false};
	PlainAccess access;
	bool		done;

	if (!OpenPlain(&access, &counter_table, DatumGetInt64(values[COUNTER_MEMBER_ID]), PLAIN_WRITE))
		return false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (row == NULL)
		row = FetchPlainRow(&access, 0, values, GetActiveSnapshot());
	if (row == NULL)
		done = InsertNewPlainRow(&access, FormPlainRow(&access, values, nulls));
	else
	{
		Datum		used = PlainValue(&access, row, COUNTER_USED, &nulls[COUNTER_USED]);

		used = Int64GetDatum(DatumGetInt64(used) + by);
		done = UpdatePlainRow(&access, row, 1, used_column, &used, &nulls[COUNTER_USED]);
	}
	PopActiveSnapshot();
	ClosePlain(&access);
	CommandCounterIncrement();
	return done;
}

/*
 * A limit counts more, or less, of a member.  row is what ReadCounter() found,
 * or NULL.  Needs an SPI connection.
 */
void
AddToCounter(int64 member_id, const char *name, DateADT period, HeapTuple row, int64 by)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.award_counter AS c (member_id, counter, period, used) VALUES ($1, $2, $3, $4) "
		"ON CONFLICT ON CONSTRAINT award_counter_pkey DO UPDATE SET used = c.used OPERATOR(pg_catalog.+) excluded.used",
		.nargs = COUNTER_NCOLUMNS,
		.argtypes = {INT8OID, TEXTOID, DATEOID, INT8OID}
	};
	Datum		values[COUNTER_NCOLUMNS] = {
		Int64GetDatum(member_id), CStringGetTextDatum(name), DateADTGetDatum(period), Int64GetDatum(by)
	};

	if (by != 0 && !AddToPlainCounter(values, row, by))
		RunPlan(&plan, values, NULL, 0);
}
