/*
 * ledger_trigger.c
 *		earn_on_insert() and reverse_on_return(): an order and its points in
 *		one commit, on anybody's orders table.
 *
 * The points of a row are floor(amount * points per unit).  The entry's
 * idempotency key is made of the table and the row's primary key, so that a
 * row earns once, and its return finds what it earned.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"

/* The arguments of both trigger functions, and the row they fired for */
typedef struct OrderTrigger
{
	TriggerData *data;
	TupleDesc	tupdesc;
	const char *function;
	const char *member_column;
	const char *amount_column;
	const char *time_column;
	const char *points_per_unit;
	const char *currency;
} OrderTrigger;

static void
ReadTrigger(FunctionCallInfo fcinfo, const char *function, int changes, OrderTrigger *order)
{
	char	  **args;
	int			nargs;

	order->data = RequireTrigger(fcinfo, function, FIRED_AFTER | FIRED_FOR_ROW | changes);
	order->function = function;
	args = order->data->tg_trigger->tgargs;
	nargs = order->data->tg_trigger->tgnargs;
	if (nargs < 3 || nargs > 5)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("trigger \"%s\" gives %s %d arguments instead of 3 to 5",
						order->data->tg_trigger->tgname, function, nargs),
				 errhint("Give the names of the member, amount and time columns, then points per unit (1) and currency (points).")));
	order->tupdesc = RelationGetDescr(order->data->tg_relation);
	order->member_column = args[0];
	order->amount_column = args[1];
	order->time_column = args[2];
	order->points_per_unit = nargs > 3 ? args[3] : "1";
	order->currency = nargs > 4 ? args[4] : "points";
}

/*
 * A column of a row, converted to a type by way of its text form; NULL gives
 * false.
 */
static bool
ReadColumn(const OrderTrigger *order, HeapTuple tuple, const char *column, Oid type, Datum *value)
{
	int			attnum = SPI_fnumber(order->tupdesc, column);
	Oid			input;
	Oid			ioparam;
	bool		isnull;
	char	   *text;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of \"%s\" does not exist", column,
						RelationGetRelationName(order->data->tg_relation)),
				 errdetail("Trigger \"%s\" names it.", order->data->tg_trigger->tgname)));
	if (SPI_gettypeid(order->tupdesc, attnum) == type)
	{
		*value = heap_getattr(tuple, attnum, order->tupdesc, &isnull);
		return !isnull;
	}
	text = SPI_getvalue(tuple, order->tupdesc, attnum);
	if (text == NULL)
		return false;
	getTypeInputInfo(type, &input, &ioparam);
	*value = OidInputFunctionCall(input, text, ioparam, -1);
	return true;
}

/*
 * floor(amount * points per unit); 0 for NULL and for what is not positive.
 */
static int64
PointsOfRow(const OrderTrigger *order, HeapTuple tuple)
{
	Datum		amount;
	Datum		rate;
	Datum		points;

	if (!ReadColumn(order, tuple, order->amount_column, NUMERICOID, &amount))
		return 0;
	rate = DirectFunctionCall3(numeric_in, CStringGetDatum(order->points_per_unit),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	if (numeric_is_nan(DatumGetNumeric(amount)) || numeric_is_inf(DatumGetNumeric(amount)) ||
		numeric_is_nan(DatumGetNumeric(rate)) || numeric_is_inf(DatumGetNumeric(rate)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("column \"%s\" must be a finite amount", order->amount_column)));
	points = DirectFunctionCall1(numeric_floor, DirectFunctionCall2(numeric_mul, amount, rate));
	return Max(DatumGetInt64(DirectFunctionCall1(numeric_int8, points)), 0);
}

/*
 * Whether two versions of a row have different amounts.
 */
static bool
AmountDiffers(const OrderTrigger *order, HeapTuple older, HeapTuple newer)
{
	Datum		a;
	Datum		b;
	bool		has_a = ReadColumn(order, older, order->amount_column, NUMERICOID, &a);
	bool		has_b = ReadColumn(order, newer, order->amount_column, NUMERICOID, &b);

	if (!has_a || !has_b)
		return has_a != has_b;
	return !DatumGetBool(DirectFunctionCall2(numeric_eq, a, b));
}

/*
 * The text of a key's column, the same whatever the session's settings; of a
 * key of several columns, with what separates them escaped.
 */
static void
AppendKeyColumn(StringInfo key, HeapTuple tuple, TupleDesc tupdesc, int attnum, bool escape)
{
	Oid			type = SPI_gettypeid(tupdesc, attnum);
	int			nest = 0;
	char	   *value;

	if (type != INT8OID && type != INT4OID && type != INT2OID && type != TEXTOID &&
		type != VARCHAROID && type != BPCHAROID && type != UUIDOID && type != NUMERICOID)
	{
		nest = NewGUCNestLevel();
		(void) set_config_option("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("timezone", "UTC", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("extra_float_digits", "1", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("bytea_output", "hex", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	value = SPI_getvalue(tuple, tupdesc, attnum);
	if (nest > 0)
		AtEOXact_GUC(true, nest);

	appendStringInfoChar(key, ':');
	for (const char *c = value ? value : ""; *c; c++)
	{
		if (escape && (*c == ':' || *c == '\\'))
			appendStringInfoChar(key, '\\');
		appendStringInfoChar(key, *c);
	}
}

/*
 * "schema.table:key": names the row that earned.
 */
static char *
KeyOfRow(const OrderTrigger *order, HeapTuple tuple)
{
	Relation	rel = order->data->tg_relation;
	Oid			pkey;
	Relation	index;
	StringInfoData key;

	/* the relation's list of indexes tells the primary key once it is loaded */
	list_free(RelationGetIndexList(rel));
	pkey = rel->rd_pkindex;
	if (!OidIsValid(pkey))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("\"%s\" has no primary key", RelationGetRelationName(rel)),
				 errdetail("%s() names what a row earned by its key.", order->function),
				 errhint("Add a primary key to the table.")));
	initStringInfo(&key);
	appendStringInfo(&key, "%s.%s", get_namespace_name(RelationGetNamespace(rel)),
					 RelationGetRelationName(rel));
	index = relation_open(pkey, AccessShareLock);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		AppendKeyColumn(&key, tuple, order->tupdesc, index->rd_index->indkey.values[i],
						IndexRelationGetNumberOfKeyAttributes(index) > 1);
	relation_close(index, AccessShareLock);
	return key.data;
}

static int64
MemberOfRow(const OrderTrigger *order, HeapTuple tuple, bool *known)
{
	Datum		member = 0;

	*known = ReadColumn(order, tuple, order->member_column, INT8OID, &member);
	return DatumGetInt64(member);
}

/*
 * earn_on_insert(member column, amount column, time column, points per unit,
 * currency): a row that is inserted earns points.
 *
 *	CREATE TRIGGER earn AFTER INSERT ON orders FOR EACH ROW
 *		EXECUTE FUNCTION loyalty.earn_on_insert('member_id', 'amount', 'ordered_at', '1', 'points');
 *
 * Rows without member, without amount, or worth less than a point earn
 * nothing.  A time that is NULL is now.
 */
PG_FUNCTION_INFO_V1(loyalty_earn_on_insert);
Datum
loyalty_earn_on_insert(PG_FUNCTION_ARGS)
{
	OrderTrigger order;
	HeapTuple	tuple;
	Posting		posting;
	int64		points;
	int64		member_id;
	bool		known;
	Datum		at;

	ReadTrigger(fcinfo, "earn_on_insert", FIRED_BY_INSERT, &order);
	tuple = order.data->tg_trigtuple;
	points = PointsOfRow(&order, tuple);
	member_id = MemberOfRow(&order, tuple, &known);
	if (points == 0 || !known)
		return PointerGetDatum(NULL);

	InitPosting(&posting, ENTRY_EARN, member_id);
	posting.entry.requested = points;
	posting.effective_now = !ReadColumn(&order, tuple, order.time_column, TIMESTAMPTZOID, &at);
	if (!posting.effective_now)
		posting.entry.effective_at = DatumGetTimestampTz(at);
	posting.idempotency_key = KeyOfRow(&order, tuple);
	posting.reference = posting.idempotency_key;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	FindCurrency(order.currency, &posting.currency);
	PostEntry(&posting);
	SPI_finish();
	return PointerGetDatum(NULL);
}

/*
 * The entry that a row earned, and how much of it is not reversed yet; 0 when
 * it earned nothing.
 */
static int64
EarnedByRow(int64 member_id, const char *key, int64 *left)
{
	static KeptPlan plan = {
		.query = "SELECT e.entry_id, e.requested OPERATOR(pg_catalog.-) coalesce((SELECT pg_catalog.sum(r.requested)::pg_catalog.int8 "
		"FROM loyalty.ledger r WHERE r.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND r.target_entry_id OPERATOR(pg_catalog.=) e.entry_id "
		"AND r.kind OPERATOR(pg_catalog.=) 'reverse'), 0) "
		"FROM loyalty.ledger e WHERE e.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND e.idempotency_key OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TEXTOID}
	};
	Datum		values[2] = {KinOfMember(member_id), CStringGetTextDatum(key)};
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
		return 0;
	*left = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * reverse_on_return(member column, amount column, time column, points per
 * unit, currency): the counterpart.  A row that is deleted gives back all that
 * it earned; a row whose amount becomes less, the difference; any other update
 * for which the trigger fires, all of it: let WHEN say which.
 *
 *	CREATE TRIGGER return AFTER UPDATE ON orders FOR EACH ROW
 *		WHEN (NEW.amount < OLD.amount OR NEW.status = 'cancelled' AND OLD.status <> 'cancelled')
 *		EXECUTE FUNCTION loyalty.reverse_on_return('member_id', 'amount', 'ordered_at', '1', 'points');
 *
 * The reversal is effective now.
 */
PG_FUNCTION_INFO_V1(loyalty_reverse_on_return);
Datum
loyalty_reverse_on_return(PG_FUNCTION_ARGS)
{
	OrderTrigger order;
	HeapTuple	older;
	Posting		posting;
	int64		member_id;
	int64		entry_id;
	int64		left = 0;
	int64		points = 0;
	bool		known;
	char	   *key;

	ReadTrigger(fcinfo, "reverse_on_return", FIRED_BY_UPDATE | FIRED_BY_DELETE, &order);
	older = order.data->tg_trigtuple;
	member_id = MemberOfRow(&order, older, &known);
	if (!known)
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_UPDATE(order.data->tg_event))
		points = PointsOfRow(&order, older) - PointsOfRow(&order, order.data->tg_newtuple);
	if (points < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("reverse_on_return cannot raise what a row earned by " INT64_FORMAT " points", -points),
				 errhint("Let WHEN leave such updates out, and post the difference with loyalty.earn().")));
	/* less money, but not less by a point */
	if (TRIGGER_FIRED_BY_UPDATE(order.data->tg_event) && points == 0 &&
		AmountDiffers(&order, older, order.data->tg_newtuple))
		return PointerGetDatum(NULL);
	key = KeyOfRow(&order, older);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	entry_id = EarnedByRow(member_id, key, &left);
	if (entry_id != 0 && left > 0)
	{
		InitPosting(&posting, ENTRY_REVERSE, member_id);
		FindTarget(&posting, entry_id);
		posting.entry.requested = points > 0 ? Min(points, left) : left;
		posting.reference = key;
		PostEntry(&posting);
	}
	SPI_finish();
	return PointerGetDatum(NULL);
}
