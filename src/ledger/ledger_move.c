/*
 * ledger_move.c
 *		Points of members that are merged, moved from wallet to wallet.
 *
 * A member that is absorbed in another keeps its id, its ledger and its
 * wallets; the wallets are empty and marked as moved.  ledger_route.c says how
 * postings find their way then, and in which order wallets are locked.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"
#include "ledger/wallet.h"

/* Elements of a bigint[] argument; NULL is none, and no element may be NULL */
typedef struct IdSet
{
	bool		all;			/* the argument is NULL */
	Datum	   *ids;
	int			count;
} IdSet;

static IdSet
IdsArgument(FunctionCallInfo fcinfo, int n)
{
	IdSet		set = {.all = PG_ARGISNULL(n)};
	bool	   *nulls;

	if (set.all)
		return set;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &set.ids, &nulls, &set.count);
	for (int i = 0; i < set.count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("an array of ids must not contain NULL"),
					 errdetail("NULL is nobody."),
					 errhint("Give ids only.")));
	}
	return set;
}

static int
CompareIds(const void *a, const void *b)
{
	int64		x = DatumGetInt64(*(const Datum *) a);
	int64		y = DatumGetInt64(*(const Datum *) b);

	return x < y ? -1 : x > y;
}

static void
SortIds(IdSet *set)
{
	qsort(set->ids, set->count, sizeof(Datum), CompareIds);
}

static bool
HasId(const IdSet *set, int64 id)
{
	Datum		key = Int64GetDatum(id);

	return set->all || bsearch(&key, set->ids, set->count, sizeof(Datum), CompareIds) != NULL;
}

static void
BeginMoving(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
}

/*
 * Locks a wallet, or makes one that is empty.
 */
static void
LockOrMakeWallet(Datum member_id, Datum currency, Datum order, bool moved)
{
	static KeptPlan lock = {
		.query = "SELECT FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	static KeptPlan make = {
		.query = "INSERT INTO loyalty.wallet (member_id, currency, balance, moved) "
		"VALUES ($1, $2, loyalty.empty_balance($3), $4) ON CONFLICT DO NOTHING",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, INT4OID, BOOLOID}
	};
	Datum		values[4] = {member_id, currency, order, BoolGetDatum(true)};
	char		nulls[4] = {' ', ' ', ' ', moved ? ' ' : 'n'};
	char	   *code = TextDatumGetCString(currency);
	bool		made;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		RunPlan(&lock, values, NULL, 0);
		if (SPI_processed > 0)
			return;
		LockMissingWallet(DatumGetInt64(member_id), code);
		RunGuarded(&make, values, nulls, NULL);
		made = SPI_processed > 0;
		UnlockMissingWallet(DatumGetInt64(member_id), code);
		if (made)
			return;
	}
}

static int64
LockWalletsOf(const IdSet *members, bool moved)
{
	static KeptPlan plan = {
		.query = "SELECT code, CASE WHEN consumption_order OPERATOR(pg_catalog.=) 'oldest_first' THEN 1 ELSE 0 END "
		"FROM loyalty.currency ORDER BY code COLLATE pg_catalog.\"C\"",
	};
	SPITupleTable *currencies;
	uint64		ncurrencies;
	bool		isnull;

	RunPlan(&plan, NULL, NULL, 0);
	currencies = SPI_tuptable;
	ncurrencies = SPI_processed;
	for (int i = 0; i < members->count; i++)
	{
		for (uint64 j = 0; j < ncurrencies; j++)
			LockOrMakeWallet(members->ids[i],
							 SPI_getbinval(currencies->vals[j], currencies->tupdesc, 1, &isnull),
							 SPI_getbinval(currencies->vals[j], currencies->tupdesc, 2, &isnull),
							 moved);
	}
	return members->count * (int64) ncurrencies;
}

/*
 * lock_wallets(live_ids bigint[], moved_ids bigint[]) -> bigint
 *
 * Locks the wallets in every currency, those marked as moved first, all
 * ascending by member and currency, and makes what is missing.  Returns how many.
 */
PG_FUNCTION_INFO_V1(loyalty_lock_wallets);
Datum
loyalty_lock_wallets(PG_FUNCTION_ARGS)
{
	IdSet		live = IdsArgument(fcinfo, 0);
	IdSet		moved = IdsArgument(fcinfo, 1);
	int64		locked;

	SortIds(&live);
	SortIds(&moved);
	BeginMoving();
	LockMerges(RowExclusiveLock);
	locked = LockWalletsOf(&moved, true);
	locked += LockWalletsOf(&live, false);
	SPI_finish();
	PG_RETURN_INT64(locked);
}

/*
 * Marks the wallets of a member as moved, by rows put in the place of theirs.
 * A posting that waits for one of the old rows then finds it gone, and holds
 * nothing when it goes on to another wallet; had the row been changed instead,
 * it would lock the new one before it saw the mark, and keep that lock.
 */
static int64
ReplaceByMoved(int64 member_id)
{
	Relation	rel = OpenLoyaltyTable("wallet", RowExclusiveLock);
	TupleDesc	tupdesc = RelationGetDescr(rel);
	StringInfoData columns;
	StringInfoData query;

	/* columns that users have added come along */
	initStringInfo(&columns);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && !att->attgenerated && strcmp(NameStr(att->attname), "moved") != 0)
			appendStringInfo(&columns, "%s, ", quote_identifier(NameStr(att->attname)));
	}
	table_close(rel, NoLock);
	initStringInfo(&query);
	appendStringInfo(&query, "WITH gone AS (DELETE FROM loyalty.wallet "
					 "WHERE member_id OPERATOR(pg_catalog.=) $1 AND moved IS NOT TRUE RETURNING *) "
					 "INSERT INTO loyalty.wallet (%smoved) OVERRIDING SYSTEM VALUE SELECT %strue FROM gone",
					 columns.data, columns.data);
	ExecuteGuarded(query.data, member_id, 2);
	return SPI_processed;
}

/*
 * mark_wallets(member_id bigint, moved boolean) -> bigint
 *
 * Rows that have the mark already are changed all the same: a posting whose
 * snapshot is older than the merge would find its way to them by who stood for
 * whom then.
 */
PG_FUNCTION_INFO_V1(loyalty_mark_wallets);
Datum
loyalty_mark_wallets(PG_FUNCTION_ARGS)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.wallet SET moved = $2 WHERE member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 2,
		.argtypes = {INT8OID, BOOLOID}
	};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	int64		marked;

	BeginMoving();
	if (PG_GETARG_BOOL(1))
		marked = ReplaceByMoved(PG_GETARG_INT64(0));
	else
	{
		RunGuarded(&plan, values, NULL, NULL);
		marked = SPI_processed;
	}
	SPI_finish();
	PG_RETURN_INT64(marked);
}

/* What is moved from one wallet to another */
typedef struct Move
{
	int64		from_id;
	int64		to_id;
	IdSet		homes;			/* whose points are moved */
	IdSet		opened_by;		/* and by which entries their lots were opened */
	bool		settle;			/* they are the receiver's own from then on */
	char	   *reason;

	/* in one currency */
	Currency	currency;
	Balance		balance;		/* of the sending wallet, as of effective_at */
	TimestampTz effective_at;
	int64		points;
	int64		lots;
	int64		debt;
	int64		entry_id;		/* the last one in the receiving wallet; 0: nothing moved */
} Move;

static void
PostMove(Move *move, EntryKind kind, int64 member_id, int64 points,
		 const LotList *lots, int64 home_id)
{
	Posting		posting;

	InitPosting(&posting, kind, member_id);
	posting.this_wallet = true;
	posting.is_move = true;
	posting.currency = move->currency;
	posting.counterparty_id = member_id == move->from_id ? move->to_id : move->from_id;
	posting.reason = move->reason;
	posting.effective_now = false;
	posting.entry.effective_at = move->effective_at;
	posting.entry.requested = points;
	posting.entry.given = lots;
	posting.entry.exact = true;
	posting.entry.home_id = home_id;
	PostEntry(&posting);
	if (member_id == move->to_id)
		move->entry_id = posting.result.entry_id;
}

/* How the receiving wallet calls a home that the sending one calls home_id */
static int64
HomeThere(const Move *move, int64 home_id)
{
	if (move->settle)
		return 0;
	if (home_id == 0)
		home_id = move->from_id;
	return home_id == move->to_id ? 0 : home_id;
}

static bool
Moves(const Move *move, int64 home_id)
{
	return HasId(&move->homes, home_id != 0 ? home_id : move->from_id);
}

/*
 * Turns to a currency: what the sending wallet has, as of an instant that is
 * not before anything in either wallet.  False when there is no such wallet.
 */
static bool
BeginCurrency(Move *move, const char *code)
{
	Balance		other;

	if (!ReadWallet(move->from_id, code, &move->balance))
		return false;
	FindCurrency(code, &move->currency);
	move->points = move->lots = move->debt = move->entry_id = 0;
	move->effective_at = Max(GetCurrentTimestamp(), move->balance.last_effective_at);
	move->effective_at = Max(move->effective_at, move->balance.last_recorded_at);
	if (ReadWallet(move->to_id, code, &other))
	{
		move->effective_at = Max(move->effective_at, other.last_effective_at);
		move->effective_at = Max(move->effective_at, other.last_recorded_at);
	}
	AdvanceBalance(&move->balance, move->effective_at);
	return true;
}

static void
MoveLots(Move *move)
{
	LotList		leaving = {0};
	LotList		arriving = {0};

	ForEachLot(lot, &move->balance.lots)
	{
		Lot			part = *lot;

		if (!Moves(move, lot->home_id) || !HasId(&move->opened_by, lot->lot_id))
			continue;
		AppendLot(&leaving, lot);
		part.home_id = HomeThere(move, lot->home_id);
		AppendLot(&arriving, &part);
	}
	move->lots = LotCount(&leaving);
	move->points = SumLots(&leaving);
	if (move->lots > 0)
	{
		PostMove(move, ENTRY_TRANSFER_OUT, move->from_id, move->points, &leaving, 0);
		PostMove(move, ENTRY_TRANSFER_IN, move->to_id, move->points, &arriving, 0);
	}
}

/*
 * Debt moves the other way: who takes it over sends points that it lacks.  No
 * entry opened it, so it does not move where entries are named.
 */
static void
MoveDebt(Move *move)
{
	LotList		owed = move->balance.owed;
	LotList		none = {0};
	Lot			own = {.points = DebtOfHome(&move->balance, 0)};

	if (!move->opened_by.all)
		return;
	if (own.points > 0)
		AppendLot(&owed, &own);
	ForEachLot(part, &owed)
	{
		if (!Moves(move, part->lot_id))
			continue;
		PostMove(move, ENTRY_TRANSFER_OUT, move->to_id, part->points, &none, HomeThere(move, part->lot_id));
		PostMove(move, ENTRY_TRANSFER_IN, move->from_id, part->points, &none, part->lot_id);
		move->debt += part->points;
	}
}

static void
PutMoved(const Move *move, ReturnSetInfo *rsinfo)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(move->currency.code);
	values[1] = Int64GetDatum(move->points);
	values[2] = Int64GetDatum(move->lots);
	values[3] = Int64GetDatum(move->debt);
	values[4] = Int64GetDatum(move->entry_id);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
ReadMove(FunctionCallInfo fcinfo, Move *move)
{
	RequireArgument(fcinfo, 0, "from_id");
	RequireArgument(fcinfo, 1, "to_id");
	move->from_id = PG_GETARG_INT64(0);
	move->to_id = PG_GETARG_INT64(1);
	if (move->from_id == move->to_id)
		ereport(ERROR,
				(errcode(ERRCODE_LY_SAME_WALLET),
				 errmsg("points of member " INT64_FORMAT " cannot be moved to itself", move->from_id),
				 errdetail("from_id and to_id are the same."),
				 errhint("Give two different members.")));
	move->homes = IdsArgument(fcinfo, 2);
	move->opened_by = IdsArgument(fcinfo, 3);
	if (!move->homes.all)
		SortIds(&move->homes);
	if (!move->opened_by.all)
		SortIds(&move->opened_by);
	move->settle = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	move->reason = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
}

/*
 * move_points(from_id bigint, to_id bigint, homes bigint[], opened_by bigint[],
 * settle boolean, reason text) -> (currency, points, lots, debt, entry_id)
 */
PG_FUNCTION_INFO_V1(loyalty_move_points);
Datum
loyalty_move_points(PG_FUNCTION_ARGS)
{
	static KeptPlan plan = {
		.query = "SELECT currency FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"ORDER BY currency COLLATE pg_catalog.\"C\"",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Move		move = {0};
	Datum		from;
	SPITupleTable *wallets;
	uint64		nwallets;

	ReadMove(fcinfo, &move);
	from = Int64GetDatum(move.from_id);
	InitReturnSet(fcinfo);
	BeginMoving();

	RunPlan(&plan, &from, NULL, 0);
	wallets = SPI_tuptable;
	nwallets = SPI_processed;
	for (uint64 i = 0; i < nwallets; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!BeginCurrency(&move, SPI_getvalue(wallets->vals[i], wallets->tupdesc, 1)))
			continue;
		MoveLots(&move);
		MoveDebt(&move);
		if (move.entry_id != 0)
			PutMoved(&move, rsinfo);
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * balance_homes(balance) -> (home_id, points, debt): a row for each home.
 */
PG_FUNCTION_INFO_V1(loyalty_balance_homes);
Datum
loyalty_balance_homes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Balance		balance;
	Datum	   *homes;
	int			n = 0;

	InitReturnSet(fcinfo);
	PG_GETARG_BALANCE(0, &balance);
	homes = palloc((LotCount(&balance.lots) + LotCount(&balance.owed) + 1) * sizeof(Datum));
	ForEachLot(lot, &balance.lots)
		homes[n++] = Int64GetDatum(lot->home_id);
	ForEachLot(part, &balance.owed)
		homes[n++] = Int64GetDatum(part->lot_id);
	if (balance.total[TOTAL_DEBT] > 0)
		homes[n++] = Int64GetDatum(0);
	qsort(homes, n, sizeof(Datum), CompareIds);

	for (int i = 0; i < n; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false};
		int64		points = 0;

		CHECK_FOR_INTERRUPTS();
		if (i > 0 && homes[i] == homes[i - 1])
			continue;
		ForEachLot(lot, &balance.lots)
		{
			if (lot->home_id == DatumGetInt64(homes[i]))
				points += lot->points;
		}
		values[0] = homes[i];
		values[1] = Int64GetDatum(points);
		values[2] = Int64GetDatum(DebtOfHome(&balance, DatumGetInt64(homes[i])));
		if (points > 0 || DatumGetInt64(values[2]) > 0)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
