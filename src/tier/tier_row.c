/*
 * tier_row.c
 *		Rows of tier_state: their columns, how they are written and read.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "tier/tier_functions.h"
#include "tier/tier_row.h"

static const PlainColumn state_columns[STATE_NCOLUMNS] = {
#define COLUMN(symbol, name, type) {#name, type},
	TIER_STATE_COLUMNS(COLUMN)
#undef COLUMN
};

static const char *const own_triggers[] = {NULL};

const PlainTable tier_state_table = {
	.name = "tier_state",
	.ncolumns = STATE_NCOLUMNS,
	.columns = state_columns,
	.nkeys = 1,
	.keys = {{2, {STATE_MEMBER_ID, STATE_LADDER}}},
	.own_triggers = own_triggers
};

static const Oid types[STATE_NCOLUMNS] = {
#define COLUMN(symbol, name, type) type,
	TIER_STATE_COLUMNS(COLUMN)
#undef COLUMN
};

/* ---------------------------------------------------------------------------
 * Columns
 * ---------------------------------------------------------------------------
 */

/*
 * "member_id, ladder, ...": all columns, for SELECT.
 */
const char *
StateColumnList(void)
{
	static const char *list = NULL;

	if (list == NULL)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		for (int i = 0; i < STATE_NCOLUMNS; i++)
			appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "", state_columns[i].name);
		list = MemoryContextStrdup(TopMemoryContext, buf.data);
	}
	return list;
}

/*
 * "level = $3, earned_level = $4, ...": all columns but the key, for UPDATE;
 * the parameters, of StateColumnTypes(), are what PutStored() gives.
 */
const char *
StateAssignments(void)
{
	static const char *list = NULL;

	if (list == NULL)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		for (int i = STATE_LADDER + 1; i < STATE_NCOLUMNS; i++)
			appendStringInfo(&buf, "%s%s = $%d", i > STATE_LADDER + 1 ? ", " : "", state_columns[i].name, i + 1);
		list = MemoryContextStrdup(TopMemoryContext, buf.data);
	}
	return list;
}

const Oid *
StateColumnTypes(void)
{
	return types;
}

/*
 * tier_state_columns(): the names of all columns of tier_state that are ours, in
 * their order.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_state_columns);
Datum
loyalty_tier_state_columns(PG_FUNCTION_ARGS)
{
	Datum		datums[STATE_NCOLUMNS];

	(void) fcinfo;
	for (int i = 0; i < STATE_NCOLUMNS; i++)
		datums[i] = CStringGetTextDatum(state_columns[i].name);
	PG_RETURN_ARRAYTYPE_P(construct_array(datums, STATE_NCOLUMNS, TEXTOID, -1, false, TYPALIGN_INT));
}

/* ---------------------------------------------------------------------------
 * Rows
 * ---------------------------------------------------------------------------
 */

/*
 * The row of a member of whom nothing is known.
 */
void
InitStored(StoredTier *stored)
{
	memset(stored, 0, sizeof(StoredTier));
	stored->event_at = TIMESTAMP_MINUS_INFINITY;
	stored->evaluated_at = TIMESTAMP_MINUS_INFINITY;
	stored->columns.since = TIMESTAMP_MINUS_INFINITY;
	stored->columns.valid_until = TIMESTAMP_INFINITY;
	stored->columns.grace_until = TIMESTAMP_MINUS_INFINITY;
	stored->columns.next_at = TIMESTAMP_INFINITY;
}

/*
 * The columns of a row.
 */
void
PutStored(int64 member_id, const char *ladder, const StoredTier *stored, Datum *values, bool *nulls)
{
	const TierColumns *columns = &stored->columns;

	memset(nulls, false, STATE_NCOLUMNS * sizeof(bool));
	values[STATE_MEMBER_ID] = Int64GetDatum(member_id);
	values[STATE_LADDER] = CStringGetTextDatum(ladder);
	values[STATE_LEVEL] = CodeOrNull(columns->level, &nulls[STATE_LEVEL]);
	values[STATE_EARNED_LEVEL] = CodeOrNull(columns->earned_level, &nulls[STATE_EARNED_LEVEL]);
	values[STATE_SINCE] = InstantOrNull(columns->since, &nulls[STATE_SINCE]);
	values[STATE_VALID_UNTIL] = InstantOrNull(columns->valid_until, &nulls[STATE_VALID_UNTIL]);
	values[STATE_GRACE_UNTIL] = InstantOrNull(columns->grace_until, &nulls[STATE_GRACE_UNTIL]);
	values[STATE_EVENT_AT] = InstantOrNull(stored->event_at, &nulls[STATE_EVENT_AT]);
	values[STATE_NEXT_AT] = InstantOrNull(columns->next_at, &nulls[STATE_NEXT_AT]);
	values[STATE_VERSIONS] = Int32GetDatum(stored->versions);
	nulls[STATE_VERSIONS] = !stored->evaluated;
	values[STATE_REPLAYED_BEFORE] = Int32GetDatum((int32) stored->replayed_before);
	nulls[STATE_REPLAYED_BEFORE] = stored->replayed_in == 0;
	values[STATE_REPLAYED_IN] = Int64GetDatum(stored->replayed_in);
	nulls[STATE_REPLAYED_IN] = stored->replayed_in == 0;
	values[STATE_MERGED_INTO] = Int64GetDatum(stored->merged_into);
	nulls[STATE_MERGED_INTO] = stored->merged_into == 0;
	values[STATE_COUNTED_TO] = Int64GetDatum(stored->counted_to);
	nulls[STATE_COUNTED_TO] = stored->counted_to == 0;
	values[STATE_EVALUATED_AT] = InstantOrNull(stored->evaluated_at, &nulls[STATE_EVALUATED_AT]);
	values[STATE_MACHINE] = PointerGetDatum(stored->machine);
	nulls[STATE_MACHINE] = !stored->evaluated;
}

static char *
GetCode(TierStateColumn column, const Datum *values, const bool *nulls)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

static TimestampTz
GetInstant(TierStateColumn column, const Datum *values, const bool *nulls, TimestampTz otherwise)
{
	return nulls[column] ? otherwise : DatumGetTimestampTz(values[column]);
}

/*
 * A row from its columns.
 */
void
GetStored(const Datum *values, const bool *nulls, StoredTier *stored)
{
	TierColumns *columns = &stored->columns;

	memset(stored, 0, sizeof(StoredTier));
	stored->found = true;
	columns->level = GetCode(STATE_LEVEL, values, nulls);
	columns->earned_level = GetCode(STATE_EARNED_LEVEL, values, nulls);
	columns->since = GetInstant(STATE_SINCE, values, nulls, TIMESTAMP_MINUS_INFINITY);
	columns->valid_until = GetInstant(STATE_VALID_UNTIL, values, nulls, TIMESTAMP_INFINITY);
	columns->grace_until = GetInstant(STATE_GRACE_UNTIL, values, nulls, TIMESTAMP_MINUS_INFINITY);
	stored->event_at = GetInstant(STATE_EVENT_AT, values, nulls, TIMESTAMP_MINUS_INFINITY);
	columns->next_at = GetInstant(STATE_NEXT_AT, values, nulls, TIMESTAMP_INFINITY);
	stored->versions = nulls[STATE_VERSIONS] ? 0 : DatumGetInt32(values[STATE_VERSIONS]);
	stored->replayed_before = nulls[STATE_REPLAYED_BEFORE] ? 0 : (CommandId) DatumGetInt32(values[STATE_REPLAYED_BEFORE]);
	stored->replayed_in = nulls[STATE_REPLAYED_IN] ? 0 : DatumGetInt64(values[STATE_REPLAYED_IN]);
	stored->merged_into = nulls[STATE_MERGED_INTO] ? 0 : DatumGetInt64(values[STATE_MERGED_INTO]);
	stored->counted_to = nulls[STATE_COUNTED_TO] ? 0 : DatumGetInt64(values[STATE_COUNTED_TO]);
	stored->evaluated_at = GetInstant(STATE_EVALUATED_AT, values, nulls, TIMESTAMP_MINUS_INFINITY);
	stored->evaluated = !nulls[STATE_MACHINE];
	if (stored->evaluated)
		stored->machine = PG_DETOAST_DATUM_PACKED(values[STATE_MACHINE]);
}

/*
 * Where a column is in a row type that has them all, by name and type.
 */
static AttrNumber
StateAttribute(TupleDesc tupdesc, TierStateColumn column)
{
	static AttrNumber known[STATE_NCOLUMNS];
	AttrNumber	attnum = FindAttribute(tupdesc, state_columns[column].name, &known[column]);

	if (attnum <= 0 || TupleDescAttr(tupdesc, attnum - 1)->atttypid != types[column])
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("a row of loyalty.tier_state is needed"),
				 errdetail("What was given has no column \"%s\" of its type.", state_columns[column].name),
				 errhint("This function is part of others; call those.")));
	return attnum;
}

/*
 * A row from a record, which may have other columns, too.
 */
void
GetStoredRecord(Datum record, StoredTier *stored)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(record);
	TupleDesc	tupdesc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	Datum	   *row_values = palloc(tupdesc->natts * sizeof(Datum));
	bool	   *row_nulls = palloc(tupdesc->natts * sizeof(bool));
	Datum		values[STATE_NCOLUMNS];
	bool		nulls[STATE_NCOLUMNS];

	ItemPointerSetInvalid(&tuple.t_self);
	heap_deform_tuple(&tuple, tupdesc, row_values, row_nulls);
	for (int i = 0; i < STATE_NCOLUMNS; i++)
	{
		AttrNumber	attnum = StateAttribute(tupdesc, i);

		values[i] = row_values[attnum - 1];
		nulls[i] = row_nulls[attnum - 1];
	}
	ReleaseTupleDesc(tupdesc);
	GetStored(values, nulls, stored);
}

/*
 * A row as a value of the table's type; columns that are not ours are NULL.
 */
Datum
FormState(TupleDesc tupdesc, const Datum *values, const bool *nulls)
{
	Datum	   *row_values = palloc0(tupdesc->natts * sizeof(Datum));
	bool	   *row_nulls = palloc(tupdesc->natts * sizeof(bool));

	memset(row_nulls, true, tupdesc->natts * sizeof(bool));
	for (int i = 0; i < STATE_NCOLUMNS; i++)
	{
		AttrNumber	attnum = StateAttribute(tupdesc, i);

		row_values[attnum - 1] = values[i];
		row_nulls[attnum - 1] = nulls[i];
	}
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, row_values, row_nulls));
}
