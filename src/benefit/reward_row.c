/*
 * reward_row.c
 *		Orders of rewards and their acts as rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "benefit/reward.h"
#include "core/compat.h"
#include "core/plain.h"

/* All columns, in the order in which setup() puts them there */
#define ORDER_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(ORDER_ID, order_id, INT8OID) \
	COLUMN(REWARD, reward, TEXTOID) \
	COLUMN(VERSION, version, INT4OID) \
	COLUMN(QUANTITY, quantity, INT8OID) \
	COLUMN(CURRENCY, currency, TEXTOID) \
	COLUMN(POINTS, points, INT8OID) \
	COLUMN(MONEY, money, NUMERICOID) \
	COLUMN(DECIMALS, decimals, INT4OID) \
	COLUMN(ENTRY_ID, entry_id, INT8OID) \
	COLUMN(AT, at, TIMESTAMPTZOID) \
	COLUMN(RECORDED_AT, recorded_at, TIMESTAMPTZOID) \
	COLUMN(HOLD_UNTIL, hold_until, TIMESTAMPTZOID) \
	COLUMN(REFERENCE, reference, TEXTOID) \
	COLUMN(STATE, state, TEXTOID) \
	COLUMN(ACTS, acts, INT4OID) \
	COLUMN(CANCELLED, cancelled, INT8OID) \
	COLUMN(POINTS_BACK, points_back, INT8OID) \
	COLUMN(MONEY_BACK, money_back, NUMERICOID) \
	COLUMN(STOCK_BACK, stock_back, BOOLOID) \
	COLUMN(GOODS, goods, INT8ARRAYOID)

#define ACT_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(ORDER_ID, order_id, INT8OID) \
	COLUMN(ACT, act, INT4OID) \
	COLUMN(KIND, kind, TEXTOID) \
	COLUMN(AT, at, TIMESTAMPTZOID) \
	COLUMN(RECORDED_AT, recorded_at, TIMESTAMPTZOID) \
	COLUMN(QUANTITY, quantity, INT8OID) \
	COLUMN(POINTS, points, INT8OID) \
	COLUMN(MONEY, money, NUMERICOID) \
	COLUMN(ENTRY_ID, entry_id, INT8OID) \
	COLUMN(REFERENCE, reference, TEXTOID)

typedef enum OrderColumn
{
#define COLUMN(symbol, name, type) ORDER_##symbol,
	ORDER_COLUMNS(COLUMN)
#undef COLUMN
	ORDER_NCOLUMNS
} OrderColumn;

typedef enum ActColumn
{
#define COLUMN(symbol, name, type) ACT_##symbol,
	ACT_COLUMNS(COLUMN)
#undef COLUMN
	ACT_NCOLUMNS
} ActColumn;

#define COLUMN(symbol, name, type) {#name, type},
static const PlainColumn order_columns[] = {ORDER_COLUMNS(COLUMN)};
static const PlainColumn act_columns[] = {ACT_COLUMNS(COLUMN)};
#undef COLUMN

static const char *const own_triggers[] = {"append_only", NULL};

static const PlainTable order_table = {
	.name = "reward_order",
	.ncolumns = ORDER_NCOLUMNS,
	.columns = order_columns,
	.nkeys = 1,
	.keys = {{2, {ORDER_MEMBER_ID, ORDER_ORDER_ID}}},
	.own_triggers = own_triggers
};

static const PlainTable act_table = {
	.name = "reward_act",
	.ncolumns = ACT_NCOLUMNS,
	.columns = act_columns,
	.nkeys = 1,
	.keys = {{3, {ACT_MEMBER_ID, ACT_ORDER_ID, ACT_ACT}}},
	.own_triggers = own_triggers
};

const char *const reward_state_names[] = {"reserved", "paid", "fulfilled", "cancelled"};

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static RewardState
StateOfName(const char *name)
{
	for (size_t i = 0; i < lengthof(reward_state_names); i++)
	{
		if (strcmp(reward_state_names[i], name) == 0)
			return (RewardState) i;
	}
	elog(ERROR, "unknown state \"%s\"", name);
}

static void
ReadGoods(Datum value, RewardOrder *order)
{
	Datum	   *ids;

	deconstruct_array(DatumGetArrayTypeP(value), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, &order->ngoods);
	order->goods = palloc(Max(order->ngoods, 1) * sizeof(int64));
	for (int i = 0; i < order->ngoods; i++)
		order->goods[i] = DatumGetInt64(ids[i]);
}

static void
ReadOrder(const Datum *values, const bool *nulls, RewardOrder *order)
{
	int			decimals = 0;

	memset(order, 0, sizeof(RewardOrder));
	order->member_id = DatumGetInt64(values[ORDER_MEMBER_ID]);
	order->order_id = DatumGetInt64(values[ORDER_ORDER_ID]);
	order->reward = TextDatumGetCString(values[ORDER_REWARD]);
	order->version = DatumGetInt32(values[ORDER_VERSION]);
	order->quantity = DatumGetInt64(values[ORDER_QUANTITY]);
	order->currency = TextDatumGetCString(values[ORDER_CURRENCY]);
	order->points = DatumGetInt64(values[ORDER_POINTS]);
	order->decimals = DatumGetInt32(values[ORDER_DECIMALS]);
	order->money = MicrosFromNumeric(values[ORDER_MONEY], "money", &decimals);
	order->entry_id = nulls[ORDER_ENTRY_ID] ? 0 : DatumGetInt64(values[ORDER_ENTRY_ID]);
	order->at = DatumGetTimestampTz(values[ORDER_AT]);
	order->hold_until = nulls[ORDER_HOLD_UNTIL] ? TIMESTAMP_INFINITY : DatumGetTimestampTz(values[ORDER_HOLD_UNTIL]);
	order->state = StateOfName(TextDatumGetCString(values[ORDER_STATE]));
	order->nacts = DatumGetInt32(values[ORDER_ACTS]);
	order->cancelled = DatumGetInt64(values[ORDER_CANCELLED]);
	order->points_back = DatumGetInt64(values[ORDER_POINTS_BACK]);
	order->money_back = MicrosFromNumeric(values[ORDER_MONEY_BACK], "money", &decimals);
	order->stock_back = DatumGetBool(values[ORDER_STOCK_BACK]);
	if (!nulls[ORDER_GOODS])
		ReadGoods(values[ORDER_GOODS], order);
}

/*
 * Locks an order of a member, under whichever number, and reads it as it is
 * then; false where there is none.
 */
bool
LockOrder(const Asker *asker, int64 order_id, RewardOrder *order)
{
#define COLUMN(symbol, name, type) ", o." #name
	static KeptPlan plan = {
		.query = "SELECT NULL" ORDER_COLUMNS(COLUMN) " FROM loyalty.reward_order o "
		"WHERE o.member_id OPERATOR(pg_catalog.=) ANY ($1) AND o.order_id OPERATOR(pg_catalog.=) $2 FOR UPDATE",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
#undef COLUMN
	Datum		key[2] = {asker->numbers, Int64GetDatum(order_id)};
	Datum		values[ORDER_NCOLUMNS];
	bool		nulls[ORDER_NCOLUMNS];

	RunPlan(&plan, key, NULL, 1);
	if (SPI_processed == 0)
		return false;
	for (int i = 0; i < ORDER_NCOLUMNS; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 2, &nulls[i]);
	ReadOrder(values, nulls, order);
	return true;
}

/*
 * How many units of its reward the member of an order has beside it, in the
 * period in which it lies (of rolling ones: in the fullest); what is cancelled,
 * or has lapsed as of the asker's instant, does not count.
 */
int64
OrderedBeside(const Asker *asker, const RewardOrder *order, const PeriodTerms *terms, TimestampTz anchor)
{
	static KeptPlan plan = {
		.query = "SELECT o.at, o.quantity OPERATOR(pg_catalog.-) o.cancelled FROM loyalty.reward_order o "
		"WHERE o.member_id OPERATOR(pg_catalog.=) ANY ($1) AND o.reward OPERATOR(pg_catalog.=) $2 AND o.order_id OPERATOR(pg_catalog.<>) $3 "
		"AND o.at OPERATOR(pg_catalog.>=) $4 AND o.at OPERATOR(pg_catalog.<) $5 "
		"AND (o.state OPERATOR(pg_catalog.<>) 'reserved' OR o.hold_until OPERATOR(pg_catalog.>) $6)",
		.nargs = 6,
		.argtypes = {INT8ARRAYOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Span		period = PeriodOf(terms, anchor, order->at);
	Datum		values[6] = {
		asker->numbers, CStringGetTextDatum(order->reward), Int64GetDatum(order->order_id), TimestampTzGetDatum(period.from),
		TimestampTzGetDatum(terms->rolling == NULL ? period.until : TIMESTAMP_INFINITY), TimestampTzGetDatum(asker->at)
	};
	int			n;
	Use		   *orders;
	int64		most;

	RunPlan(&plan, values, NULL, 0);
	n = (int) SPI_processed;
	orders = palloc0(Max(n, 1) * sizeof(Use));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		orders[i].at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		orders[i].quantity = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		orders[i].until = TIMESTAMP_INFINITY;
	}
	if (terms->rolling == NULL)
		most = CountUses(orders, n, &period, order->at).used;
	else
		(void) CountRolling(orders, n, terms, order->at, &most);
	pfree(orders);
	return most;
}

/*
 * Takes back the stock of some orders whose time is over; returns how many
 * units.  Orders that somebody is using are left alone; so are all where tables
 * are spread, since those of other members are on other machines.
 */
int64
TakeBackLapsedOrders(const char *reward, TimestampTz at)
{
	static KeptPlan plan = {
		.query = "WITH lapsed AS (SELECT o.member_id, o.order_id FROM loyalty.reward_order o WHERE o.reward OPERATOR(pg_catalog.=) $1 "
		"AND o.state OPERATOR(pg_catalog.=) 'reserved' AND NOT o.stock_back AND o.hold_until OPERATOR(pg_catalog.<=) $2 "
		"ORDER BY o.hold_until LIMIT 16 FOR UPDATE SKIP LOCKED), "
		"taken AS (UPDATE loyalty.reward_order o SET stock_back = true FROM lapsed l WHERE o.member_id OPERATOR(pg_catalog.=) l.member_id "
		"AND o.order_id OPERATOR(pg_catalog.=) l.order_id RETURNING o.quantity) "
		"SELECT coalesce(pg_catalog.sum(t.quantity), 0)::pg_catalog.int8 FROM taken t",
		.nargs = 2,
		.argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	/* what the caller takes for now may lie in the future */
	Datum		values[2] = {CStringGetTextDatum(reward), TimestampTzGetDatum(Min(at, GetCurrentTimestamp()))};
	bool		isnull;

	if (TablesAreSpread())
		return 0;
	RunPlan(&plan, values, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

static Datum
GoodsValue(const RewardOrder *order)
{
	Datum	   *ids = palloc(Max(order->ngoods, 1) * sizeof(Datum));

	for (int i = 0; i < order->ngoods; i++)
		ids[i] = Int64GetDatum(order->goods[i]);
	return PointerGetDatum(construct_array(ids, order->ngoods, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
OrderValues(const RewardOrder *order, Datum *values, bool *nulls)
{
	memset(nulls, false, ORDER_NCOLUMNS * sizeof(bool));
	values[ORDER_MEMBER_ID] = Int64GetDatum(order->member_id);
	values[ORDER_ORDER_ID] = Int64GetDatum(order->order_id);
	values[ORDER_REWARD] = CStringGetTextDatum(order->reward);
	values[ORDER_VERSION] = Int32GetDatum(order->version);
	values[ORDER_QUANTITY] = Int64GetDatum(order->quantity);
	values[ORDER_CURRENCY] = CStringGetTextDatum(order->currency);
	values[ORDER_POINTS] = Int64GetDatum(order->points);
	values[ORDER_MONEY] = MicrosToNumeric(order->money, order->decimals);
	values[ORDER_DECIMALS] = Int32GetDatum(order->decimals);
	values[ORDER_ENTRY_ID] = Int64GetDatum(order->entry_id);
	nulls[ORDER_ENTRY_ID] = order->entry_id == 0;
	values[ORDER_AT] = TimestampTzGetDatum(order->at);
	values[ORDER_RECORDED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[ORDER_HOLD_UNTIL] = TimestampTzGetDatum(order->hold_until);
	nulls[ORDER_HOLD_UNTIL] = TIMESTAMP_NOT_FINITE(order->hold_until);
	PutText(values, nulls, ORDER_REFERENCE, order->reference);
	values[ORDER_STATE] = CStringGetTextDatum(reward_state_names[order->state]);
	values[ORDER_ACTS] = Int32GetDatum(order->nacts);
	values[ORDER_CANCELLED] = Int64GetDatum(order->cancelled);
	values[ORDER_POINTS_BACK] = Int64GetDatum(order->points_back);
	values[ORDER_MONEY_BACK] = MicrosToNumeric(order->money_back, order->decimals);
	values[ORDER_STOCK_BACK] = BoolGetDatum(order->stock_back);
	nulls[ORDER_GOODS] = order->ngoods == 0;
	values[ORDER_GOODS] = order->ngoods == 0 ? (Datum) 0 : GoodsValue(order);
}

static void
ActValues(const RewardOrder *order, const RewardAct *act, Datum *values, bool *nulls)
{
	memset(nulls, false, ACT_NCOLUMNS * sizeof(bool));
	values[ACT_MEMBER_ID] = Int64GetDatum(order->member_id);
	values[ACT_ORDER_ID] = Int64GetDatum(order->order_id);
	values[ACT_ACT] = Int32GetDatum(order->nacts);
	values[ACT_KIND] = CStringGetTextDatum(act->kind);
	values[ACT_AT] = TimestampTzGetDatum(act->at);
	values[ACT_RECORDED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[ACT_QUANTITY] = Int64GetDatum(act->quantity);
	values[ACT_POINTS] = Int64GetDatum(act->points);
	values[ACT_MONEY] = MicrosToNumeric(act->money, order->decimals);
	values[ACT_ENTRY_ID] = Int64GetDatum(act->entry_id);
	nulls[ACT_ENTRY_ID] = act->entry_id == 0;
	PutText(values, nulls, ACT_REFERENCE, act->reference);
}

/* Inserts a row of either table, by table access where it is plain. */
static void
InsertRow(const PlainTable *table, KeptPlan *plan, int64 member_id, Datum *values, bool *nulls)
{
	PlainAccess access;
	HeapTuple	row;
	char	   *flags;
	int			at;

	if (OpenPlain(&access, table, member_id, PLAIN_WRITE))
	{
		row = FormPlainRow(&access, values, nulls);
		InsertPlainRows(&access, 1, &row, &at);
		ClosePlain(&access);
		CommandCounterIncrement();
		return;
	}
	flags = palloc(table->ncolumns);
	RunPlan(plan, values, NullFlags(nulls, table->ncolumns, flags), 0);
}

static void
InsertAct(const RewardOrder *order, const RewardAct *act)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.reward_act (member_id, order_id, act, kind, at, recorded_at, quantity, points, money, entry_id, reference) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		.nargs = ACT_NCOLUMNS,
#define COLUMN(symbol, name, type) type,
		.argtypes = {ACT_COLUMNS(COLUMN)}
#undef COLUMN
	};
	Datum		values[ACT_NCOLUMNS];
	bool		nulls[ACT_NCOLUMNS];

	ActValues(order, act, values, nulls);
	InsertRow(&act_table, &plan, order->member_id, values, nulls);
}

/*
 * The next number of an order, to be given to what it hands out.
 */
int64
NextOrderId(void)
{
	return nextval_internal(LoyaltyTable("reward_order_order_id_seq"), true);
}

/*
 * Stores an order that is new, whose number is drawn, and its first act.
 */
void
InsertOrder(RewardOrder *order)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.reward_order (member_id, order_id, reward, version, quantity, currency, points, money, decimals, entry_id, "
		"at, recorded_at, hold_until, reference, state, acts, cancelled, points_back, money_back, stock_back, goods) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
		.nargs = ORDER_NCOLUMNS,
#define COLUMN(symbol, name, type) type,
		.argtypes = {ORDER_COLUMNS(COLUMN)}
#undef COLUMN
	};
	RewardAct	ordered = {
		.kind = "ordered",.at = order->at,.quantity = order->quantity,.points = order->points,.money = order->money,
		.entry_id = order->entry_id,.reference = order->reference
	};
	Datum		values[ORDER_NCOLUMNS];
	bool		nulls[ORDER_NCOLUMNS];

	order->nacts = 1;
	OrderValues(order, values, nulls);
	InsertRow(&order_table, &plan, order->member_id, values, nulls);
	InsertAct(order, &ordered);
}

/*
 * Keeps an act of an order that is locked, and what the order has come to.
 */
void
KeepRewardAct(RewardOrder *order, const RewardAct *act)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.reward_order SET state = $3, acts = $4, cancelled = $5, points_back = $6, money_back = $7, stock_back = $8, "
		"goods = $9 WHERE member_id OPERATOR(pg_catalog.=) $1 AND order_id OPERATOR(pg_catalog.=) $2",
		.nargs = 9,
		.argtypes = {INT8OID, INT8OID, TEXTOID, INT4OID, INT8OID, INT8OID, NUMERICOID, BOOLOID, INT8ARRAYOID}
	};
	Datum		all[ORDER_NCOLUMNS];
	bool		all_nulls[ORDER_NCOLUMNS];
	Datum		values[9];
	bool		nulls[9] = {false};
	char		flags[9];

	order->nacts++;
	OrderValues(order, all, all_nulls);
	values[0] = all[ORDER_MEMBER_ID];
	values[1] = all[ORDER_ORDER_ID];
	for (int i = ORDER_STATE; i <= ORDER_GOODS; i++)
	{
		values[2 + i - ORDER_STATE] = all[i];
		nulls[2 + i - ORDER_STATE] = all_nulls[i];
	}
	RunPlan(&plan, values, NullFlags(nulls, 9, flags), 0);
	InsertAct(order, act);
}
