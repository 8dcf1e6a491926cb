/*
 * escrow.c
 *		Global limits: budgets, totals, stock.
 *
 * An escrow has ESCROW_SLOTS slots, or, where more was given out than its total
 * is now, slot 0 alone, which is below zero: what is put back goes there then,
 * and nothing can be taken until it is repaid.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "core/core.h"
#include "core/escrow.h"
#include "core/errors.h"
#include "core/plain.h"

/* The slot that this backend asks first, and puts things into. */
#define OWN_SLOT	(BACKEND_NUMBER % ESCROW_SLOTS)

enum
{
	ESCROW_NAME, ESCROW_SLOT, ESCROW_REMAINING, ESCROW_NCOLUMNS
};

static const PlainColumn columns[ESCROW_NCOLUMNS] = {
	{"name", TEXTOID}, {"slot", INT4OID}, {"remaining", INT8OID}
};

static const char *const no_triggers[] = {NULL};
static const char *const own_checks[] = {"escrow_slot_check", "escrow_check", NULL};

static const PlainTable escrow_table = {
	.name = "escrow",
	.ncolumns = ESCROW_NCOLUMNS,
	.columns = columns,
	.nkeys = 1,
	.keys = {{2, {ESCROW_NAME, ESCROW_SLOT}}},
	.own_triggers = no_triggers,
	.own_checks = own_checks
};

static int64
GetInt(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	Assert(!isnull);
	return DatumGetInt64(value);
}

pg_noreturn static void
RefuseLimit(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("limit \"%s\" does not allow this", name),
			 errdetail("%s", detail),
			 errhint("Limits are made and used by the functions that define what they limit.")));
}

static void
RequireCount(const char *name, int64 n)
{
	if (n < 0)
		RefuseLimit(name, psprintf("A number that is taken, put or set is not negative; it is " INT64_FORMAT ".", n));
}

/*
 * Gives every slot its share of what is left.
 */
static void
Spread(const char *name, int64 left)
{
	static KeptPlan spread = {
		.query = "INSERT INTO loyalty.escrow (name, slot, remaining) "
		"SELECT $1, s, ($2 OPERATOR(pg_catalog./) $3) OPERATOR(pg_catalog.+) "
		"(s OPERATOR(pg_catalog.<) ($2 OPERATOR(pg_catalog.%) $3))::pg_catalog.int4 "
		"FROM pg_catalog.generate_series(0, $3 OPERATOR(pg_catalog.-) 1) s "
		"ON CONFLICT ON CONSTRAINT escrow_pkey DO UPDATE SET remaining = excluded.remaining",
		.nargs = 3,
		.argtypes = {TEXTOID, INT8OID, INT4OID}
	};
	static KeptPlan close = {
		.query = "DELETE FROM loyalty.escrow WHERE name OPERATOR(pg_catalog.=) $1 AND slot OPERATOR(pg_catalog.>) 0",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	static KeptPlan owe = {
		.query = "UPDATE loyalty.escrow SET remaining = $2 WHERE name OPERATOR(pg_catalog.=) $1 AND slot OPERATOR(pg_catalog.=) 0",
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[3] = {CStringGetTextDatum(name), Int64GetDatum(left), Int32GetDatum(ESCROW_SLOTS)};

	if (left >= 0)
		RunPlan(&spread, values, NULL, 0);
	else
	{
		RunPlan(&close, values, NULL, 0);
		RunPlan(&owe, values, NULL, 0);
	}
}

/*
 * Makes the escrow of a limit.  Whoever makes or changes one holds the lock of
 * what defines the limit.
 */
void
OpenEscrow(const char *name, int64 total)
{
	static KeptPlan plan = {
		.query = "SELECT 1 FROM loyalty.escrow WHERE name OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	RequireCount(name, total);
	RunPlan(&plan, &value, NULL, 1);
	if (SPI_processed > 0)
		RefuseLimit(name, "It is there already.");
	Spread(name, total);
}

/*
 * Raises the total of a limit, or lowers it, also below what was taken.
 */
void
ChangeEscrow(const char *name, int64 by)
{
	static KeptPlan plan = {
		.query = "SELECT sum(l.remaining)::pg_catalog.int8, count(*) FROM (SELECT e.remaining FROM loyalty.escrow e "
		"WHERE e.name OPERATOR(pg_catalog.=) $1 ORDER BY e.slot FOR UPDATE) l",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	int64		left;

	RunPlan(&plan, &value, NULL, 1);
	if (GetInt(0, 2) == 0)
		RefuseLimit(name, "There is none of this name.");
	if (pg_add_s64_overflow(GetInt(0, 1), by, &left))
		RefuseLimit(name, "What would be left is more than a bigint holds.");
	Spread(name, left);
}

/* A call of TakeFromEscrow(), which may begin anew. */
typedef struct Taking
{
	const char *name;
	int64		wanted;
	EscrowTake	take;
	int			own_slot;
	bool		any_slot;		/* nobody has named the own slot: the one that had
								 * something last does as well */
	bool		ask_all;		/* the own slot has too little */
	bool		refused;		/* all slots together have */
	int64		taken;
	int			slot;			/* taken from last */
	int64		left;			/* in that slot */
} Taking;

/*
 * Takes exactly so much from a slot; false where it has less.
 */
static bool
TakeFromSlot(Taking *call, Datum name, int slot, int64 n)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.escrow e SET remaining = e.remaining OPERATOR(pg_catalog.-) $3 "
		"WHERE e.name OPERATOR(pg_catalog.=) $1 AND e.slot OPERATOR(pg_catalog.=) $2 AND e.remaining OPERATOR(pg_catalog.>=) $3 "
		"RETURNING e.remaining",
		.nargs = 3,
		.argtypes = {TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[3] = {name, Int32GetDatum(slot), Int64GetDatum(n)};

	RunPlan(&plan, values, NULL, 0);
	if (SPI_processed == 0)
		return false;
	call->taken += n;
	call->slot = slot;
	call->left = GetInt(0, 1);
	return true;
}

/*
 * Takes all that is wanted from a slot by table access; false where it has less
 * (then ask_all), or the table is not plain.  What fails has locked nothing, and
 * so needs no subtransaction.
 */
static bool
TakePlainly(Taking *call, int slot)
{
	static const int remaining_column[] = {ESCROW_REMAINING};
	Datum		key[2] = {CStringGetTextDatum(call->name), Int32GetDatum(slot)};
	PlainAccess escrow;
	bool		done = false;

	if (!OpenPlain(&escrow, &escrow_table, 0, PLAIN_WRITE))
		return false;
	call->ask_all = false;
	while (!done && !call->ask_all)
	{
		HeapTuple	row;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		row = FetchPlainRow(&escrow, 0, key, GetActiveSnapshot());
		call->left = row == NULL ? -1 : DatumGetInt64(PlainValue(&escrow, row, ESCROW_REMAINING, &isnull)) - call->wanted;
		if (call->left < 0)
			call->ask_all = true;
		else if (!WaitForPlainRow(&escrow, row))
		{
			Datum		left = Int64GetDatum(call->left);

			done = UpdatePlainRow(&escrow, row, 1, remaining_column, &left, &isnull);
		}
		PopActiveSnapshot();
	}
	ClosePlain(&escrow);
	CommandCounterIncrement();
	if (done)
	{
		call->taken = call->wanted;
		call->slot = slot;
	}
	return done;
}

/*
 * A slot that has all that is wanted, each backend another one where it can be;
 * -1 where there is none.
 */
static int
RichSlot(const Taking *call)
{
	static KeptPlan plan = {
		.query = "SELECT e.slot::pg_catalog.int8 FROM loyalty.escrow e WHERE e.name OPERATOR(pg_catalog.=) $1 "
		"AND e.remaining OPERATOR(pg_catalog.>=) $2 ORDER BY e.slot",
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {CStringGetTextDatum(call->name), Int64GetDatum(call->wanted)};

	RunPlan(&plan, values, NULL, ESCROW_SLOTS);
	return SPI_processed == 0 ? -1 : (int) GetInt(BACKEND_NUMBER % SPI_processed, 1);
}

/* The slot that had something last when the own one had not */
static char rich_name[2 * NAMEDATALEN];
static int	rich_slot = -1;

/*
 * Takes all that is wanted from one slot: the own one, or, where that has too
 * little, another; false where none has it.
 */
static bool
TakeFromOneSlot(Taking *call)
{
	bool		knows_rich = call->any_slot && rich_slot >= 0 && strcmp(rich_name, call->name) == 0;

	if (knows_rich && TakePlainly(call, rich_slot))
		return true;
	if (!knows_rich && TakePlainly(call, call->own_slot))
		return true;
	if (knows_rich)
		rich_slot = -1;
	/* several times, as others look at the same moment */
	for (int attempt = 0; call->ask_all && attempt < 4; attempt++)
	{
		int			slot = RichSlot(call);

		if (slot < 0)
			break;
		if (!TakePlainly(call, slot))
			continue;
		if (call->any_slot)
		{
			strlcpy(rich_name, call->name, sizeof(rich_name));
			rich_slot = slot;
		}
		return true;
	}
	return false;
}

static void
TakeFromAll(Taking *call, Datum name)
{
	static KeptPlan plan = {
		.query = "SELECT e.slot::pg_catalog.int8, e.remaining FROM loyalty.escrow e "
		"WHERE e.name OPERATOR(pg_catalog.=) $1 ORDER BY e.slot",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	int64		slot[ESCROW_SLOTS];
	int64		remaining[ESCROW_SLOTS];
	int			nslots;

	RunPlan(&plan, &name, NULL, ESCROW_SLOTS);
	nslots = (int) SPI_processed;
	if (nslots == 0)
		RefuseLimit(call->name, "There is none of this name.");
	for (int i = 0; i < nslots; i++)
	{
		slot[i] = GetInt(i, 1);
		remaining[i] = GetInt(i, 2);
	}
	for (int i = 0; i < nslots && call->taken < call->wanted; i++)
	{
		int64		n = Min(call->wanted - call->taken, remaining[i]);

		if (n <= 0)
			continue;
		if (!TakeFromSlot(call, name, (int) slot[i], n))
			RestartCall("somebody else has taken it");
	}
}

/*
 * One attempt, in a subtransaction: what it has locked in vain is given back
 * when it begins anew.
 */
static void
Take(void *arg)
{
	Taking	   *call = arg;
	Datum		name = CStringGetTextDatum(call->name);

	call->taken = 0;
	if (call->refused)
		return;
	if (!call->ask_all)
	{
		if (TakeFromSlot(call, name, call->own_slot, call->wanted))
			return;
		call->ask_all = true;
		RestartCall("the own slot has too little");
	}
	TakeFromAll(call, name);
	if (call->taken < call->wanted && call->take == ESCROW_ALL && call->taken > 0)
	{
		call->refused = true;
		RestartCall("all slots have too little");
	}
}

static int64
TakeBeginningWith(const char *name, int64 n, EscrowTake take, int own_slot)
{
	Taking		call = {
		.name = name,.wanted = n,.take = take,.own_slot = own_slot < 0 ? OWN_SLOT : own_slot,.any_slot = own_slot < 0
	};

	RequireCount(name, n);
	if (n > 0 && !TakeFromOneSlot(&call))
		RunRestartable(Take, &call);
	return call.taken == n || take == ESCROW_WHAT_THERE_IS ? call.taken : 0;
}

/*
 * Takes n of what is left of a limit, and returns how much it got: n, or less,
 * which with ESCROW_ALL is 0.
 */
int64
TakeFromEscrow(const char *name, int64 n, EscrowTake take)
{
	return TakeBeginningWith(name, n, take, -1);
}

/*
 * Draws one of things that have places, in each slot from 1 on: the last one of
 * a slot.  False where there is none any more.  Nothing is put back but by a
 * rollback.
 */
bool
DrawFromEscrow(const char *name, int *slot, int64 *place)
{
	Taking		call = {.name = name, .wanted = 1, .take = ESCROW_ALL, .own_slot = OWN_SLOT, .any_slot = true};

	if (!TakeFromOneSlot(&call))
		RunRestartable(Take, &call);
	*slot = call.slot;
	*place = call.left + 1;
	return call.taken > 0;
}

/*
 * Gives back what was taken, to whichever slot.
 */
void
PutIntoEscrow(const char *name, int64 n)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.escrow e SET remaining = e.remaining OPERATOR(pg_catalog.+) $3 "
		"WHERE e.name OPERATOR(pg_catalog.=) $1 AND e.slot OPERATOR(pg_catalog.=) $2",
		.nargs = 3,
		.argtypes = {TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[3] = {CStringGetTextDatum(name), Int32GetDatum(OWN_SLOT), Int64GetDatum(n)};

	RequireCount(name, n);
	if (n == 0)
		return;
	RunPlan(&plan, values, NULL, 0);
	if (SPI_processed == 0)
	{
		values[1] = Int32GetDatum(0);
		RunPlan(&plan, values, NULL, 0);
	}
	if (SPI_processed == 0)
		RefuseLimit(name, "There is none of this name.");
}

/*
 * What is left of a limit, as the calling query sees it; below zero where more
 * was given out than the total is now.
 */
int64
EscrowLeft(const char *name)
{
	static KeptPlan plan = {
		.query = "SELECT coalesce(sum(e.remaining), 0)::pg_catalog.int8 FROM loyalty.escrow e WHERE e.name OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);

	/* with what this transaction has taken and put back */
	RunPlan(&plan, &value, NULL, 1);
	return GetInt(0, 1);
}

/* ---------------------------------------------------------------------------
 * The same for rooms in PL/pgSQL.
 * ---------------------------------------------------------------------------
 */

static char *
BeginEscrow(FunctionCallInfo fcinfo)
{
	RequireOwner();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/*
 * open_escrow(name text, total bigint) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_open_escrow);
Datum
loyalty_open_escrow(PG_FUNCTION_ARGS)
{
	OpenEscrow(BeginEscrow(fcinfo), PG_GETARG_INT64(1));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * change_escrow(name text, by bigint) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_change_escrow);
Datum
loyalty_change_escrow(PG_FUNCTION_ARGS)
{
	ChangeEscrow(BeginEscrow(fcinfo), PG_GETARG_INT64(1));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * take_from_escrow(name text, n bigint, what_there_is boolean, own_slot integer) -> bigint;
 * own_slot -1: that of this backend
 */
PG_FUNCTION_INFO_V1(loyalty_take_from_escrow);
Datum
loyalty_take_from_escrow(PG_FUNCTION_ARGS)
{
	char	   *name = BeginEscrow(fcinfo);
	int			own_slot = PG_GETARG_INT32(3);
	int64		taken;

	taken = TakeBeginningWith(name, PG_GETARG_INT64(1), PG_GETARG_BOOL(2) ? ESCROW_WHAT_THERE_IS : ESCROW_ALL,
							  own_slot);
	SPI_finish();
	PG_RETURN_INT64(taken);
}

/*
 * put_into_escrow(name text, n bigint) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_put_into_escrow);
Datum
loyalty_put_into_escrow(PG_FUNCTION_ARGS)
{
	PutIntoEscrow(BeginEscrow(fcinfo), PG_GETARG_INT64(1));
	SPI_finish();
	PG_RETURN_VOID();
}
