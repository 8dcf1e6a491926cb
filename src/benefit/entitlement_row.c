/*
 * entitlement_row.c
 *		Acts of uses as rows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "benefit/entitlement.h"
#include "core/compat.h"
#include "core/plain.h"

/* All columns, in the order in which setup() puts them there */
#define USE_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(USE_ID, use_id, INT8OID) \
	COLUMN(ACT, act, INT4OID) \
	COLUMN(KIND, kind, TEXTOID) \
	COLUMN(BENEFIT, benefit, TEXTOID) \
	COLUMN(VERSION, version, INT4OID) \
	COLUMN(QUANTITY, quantity, INT8OID) \
	COLUMN(GRANTED, granted, INT8OID) \
	COLUMN(AT, at, TIMESTAMPTZOID) \
	COLUMN(RECORDED_AT, recorded_at, TIMESTAMPTZOID) \
	COLUMN(RESERVED_UNTIL, reserved_until, TIMESTAMPTZOID) \
	COLUMN(ALLOWED, allowed, INT8OID) \
	COLUMN(PERIOD_START, period_start, TIMESTAMPTZOID) \
	COLUMN(PERIOD_END, period_end, TIMESTAMPTZOID) \
	COLUMN(ORDER_ID, order_id, INT8OID) \
	COLUMN(REFERENCE, reference, TEXTOID)

typedef enum UseColumn
{
#define COLUMN(symbol, name, type) COLUMN_##symbol,
	USE_COLUMNS(COLUMN)
#undef COLUMN
	COLUMN_NCOLUMNS
} UseColumn;

#define COLUMN(symbol, name, type) {#name, type},
static const PlainColumn columns[] = {USE_COLUMNS(COLUMN)};
#undef COLUMN

static const char *const own_triggers[] = {"append_only", NULL};

static const PlainTable act_table = {
	.name = "entitlement_act",
	.ncolumns = COLUMN_NCOLUMNS,
	.columns = columns,
	.nkeys = 1,
	.keys = {{3, {COLUMN_MEMBER_ID, COLUMN_USE_ID, COLUMN_ACT}}},
	.own_triggers = own_triggers
};

/* Rows come in the order of the key. */
static void
AddAct(NamedUses *uses, const Datum *values, const bool *nulls, TimestampTz as_of, TimestampTz known_at)
{
	int64		member_id = DatumGetInt64(values[COLUMN_MEMBER_ID]);
	int64		use_id = DatumGetInt64(values[COLUMN_USE_ID]);
	NamedUse   *last = uses->n > 0 ? &uses->uses[uses->n - 1] : NULL;

	if (DatumGetTimestampTz(values[COLUMN_AT]) > as_of || DatumGetTimestampTz(values[COLUMN_RECORDED_AT]) > known_at)
		return;
	if (last == NULL || last->use.use_id != use_id || last->member_id != member_id)
	{
		last = &uses->uses[uses->n++];
		memset(last, 0, sizeof(NamedUse));
		last->member_id = member_id;
		last->benefit = TextDatumGetCString(values[COLUMN_BENEFIT]);
		last->use.use_id = use_id;
		last->use.quantity = DatumGetInt64(values[COLUMN_QUANTITY]);
		last->use.granted = nulls[COLUMN_GRANTED] ? 0 : DatumGetInt64(values[COLUMN_GRANTED]);
		last->allowed = nulls[COLUMN_ALLOWED] ? QUOTA_UNLIMITED : DatumGetInt64(values[COLUMN_ALLOWED]);
		last->period.from = nulls[COLUMN_PERIOD_START] ? TIMESTAMP_MINUS_INFINITY : DatumGetTimestampTz(values[COLUMN_PERIOD_START]);
		last->period.until = nulls[COLUMN_PERIOD_END] ? TIMESTAMP_INFINITY : DatumGetTimestampTz(values[COLUMN_PERIOD_END]);
	}
	ApplyUseAct(&last->use, UseActOfName(TextDatumGetCString(values[COLUMN_KIND])), DatumGetTimestampTz(values[COLUMN_AT]),
				nulls[COLUMN_RESERVED_UNTIL] ? TIMESTAMP_INFINITY : DatumGetTimestampTz(values[COLUMN_RESERVED_UNTIL]));
}

static bool
ReadPlainly(const Asker *asker, TimestampTz as_of, TimestampTz known_at, NamedUses *uses)
{
	PlainAccess access;
	HeapTuple  *rows;
	int			n;

	if (!asker->read_only || !asker->alone || !OpenPlain(&access, &act_table, asker->member_id, PLAIN_READ))
		return false;
	n = FetchPlainRows(&access, asker->member_id, GetActiveSnapshot(), &rows);
	uses->uses = palloc(Max(n, 1) * sizeof(NamedUse));
	for (int i = 0; i < n; i++)
	{
		Datum		values[COLUMN_NCOLUMNS];
		bool		nulls[COLUMN_NCOLUMNS];

		CHECK_FOR_INTERRUPTS();
		PlainValues(&access, rows[i], values, nulls);
		AddAct(uses, values, nulls, as_of, known_at);
	}
	ClosePlain(&access);
	return true;
}

/*
 * The uses of a member, of all its benefits, by the acts that were effective up
 * to an instant and recorded up to another.
 */
NamedUses
ReadUses(const Asker *asker, TimestampTz as_of, TimestampTz known_at)
{
#define COLUMN(symbol, name, type) ", a." #name
	static KeptPlan plan = {
		.query = "SELECT NULL" USE_COLUMNS(COLUMN) " FROM loyalty.entitlement_act a "
		"WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY a.member_id, a.use_id, a.act",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
#undef COLUMN
	NamedUses	uses = {0};
	Datum		numbers = asker->numbers;

	if (ReadPlainly(asker, as_of, known_at, &uses))
		return uses;
	if (asker->read_only)
		RunPlanReadOnly(&plan, &numbers, NULL, 0);
	else
		RunPlan(&plan, &numbers, NULL, 0);
	uses.uses = palloc(Max(SPI_processed, 1) * sizeof(NamedUse));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[COLUMN_NCOLUMNS];
		bool		nulls[COLUMN_NCOLUMNS];

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < COLUMN_NCOLUMNS; j++)
			values[j] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 2, &nulls[j]);
		AddAct(&uses, values, nulls, as_of, known_at);
	}
	return uses;
}

static void
PutEnd(Datum *values, bool *nulls, int column, TimestampTz end, bool is_first)
{
	values[column] = TimestampTzGetDatum(end);
	nulls[column] = !is_first || TIMESTAMP_NOT_FINITE(end);
}

/*
 * Keeps an act of a use, as which it is applied to it.  The first one gives it
 * its number; member_id, benefit, quantity, granted, until, allowed and period
 * are given.
 */
void
KeepUseAct(NamedUse *use, UseActKind kind, const Benefit *benefit, TimestampTz at, int64 order_id, const char *reference)
{
#define COLUMN(symbol, name, type) type,
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.entitlement_act AS a (member_id, use_id, act, kind, benefit, version, quantity, granted, at, recorded_at, "
		"reserved_until, allowed, period_start, period_end, order_id, reference) "
		"VALUES ($1, coalesce($2, pg_catalog.nextval('loyalty.entitlement_use_id')), $3, $4, $5, $6, "
		"$7, $8, $9, $10, $11, $12, $13, $14, $15, $16) RETURNING a.use_id",
		.nargs = COLUMN_NCOLUMNS,
		.argtypes = {USE_COLUMNS(COLUMN)}
	};
#undef COLUMN
	Datum		values[COLUMN_NCOLUMNS];
	bool		nulls[COLUMN_NCOLUMNS] = {false};
	char		flags[COLUMN_NCOLUMNS];
	bool		isnull;
	bool		is_first = use->use.nacts == 0;
	TimestampTz until = use->use.until;

	ApplyUseAct(&use->use, kind, at, until);
	values[COLUMN_MEMBER_ID] = Int64GetDatum(use->member_id);
	values[COLUMN_USE_ID] = Int64GetDatum(use->use.use_id);
	nulls[COLUMN_USE_ID] = is_first;
	values[COLUMN_ACT] = Int32GetDatum(use->use.nacts);
	values[COLUMN_KIND] = CStringGetTextDatum(use_act_names[kind]);
	values[COLUMN_BENEFIT] = CStringGetTextDatum(use->benefit);
	values[COLUMN_VERSION] = Int32GetDatum(benefit == NULL ? 0 : benefit->version);
	nulls[COLUMN_VERSION] = benefit == NULL;
	values[COLUMN_QUANTITY] = Int64GetDatum(use->use.quantity);
	values[COLUMN_GRANTED] = Int64GetDatum(use->use.granted);
	nulls[COLUMN_GRANTED] = use->use.is_grant;
	values[COLUMN_AT] = TimestampTzGetDatum(at);
	values[COLUMN_RECORDED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[COLUMN_RESERVED_UNTIL] = TimestampTzGetDatum(until);
	nulls[COLUMN_RESERVED_UNTIL] = kind != USE_RESERVED;
	values[COLUMN_ALLOWED] = Int64GetDatum(use->allowed);
	nulls[COLUMN_ALLOWED] = !is_first || use->use.is_grant || use->allowed == QUOTA_UNLIMITED;
	PutEnd(values, nulls, COLUMN_PERIOD_START, use->period.from, is_first);
	PutEnd(values, nulls, COLUMN_PERIOD_END, use->period.until, is_first);
	values[COLUMN_ORDER_ID] = Int64GetDatum(order_id);
	nulls[COLUMN_ORDER_ID] = order_id == 0;
	PutText(values, nulls, COLUMN_REFERENCE, reference);
	RunPlan(&plan, values, NullFlags(nulls, COLUMN_NCOLUMNS, flags), 1);
	use->use.use_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}
