/*
 * activity_row.c
 *		Rows of loyalty.activity: their columns, how they are written and read.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "activity/activity_row.h"
#include "core/compat.h"

static const PlainColumn columns[ACTIVITY_NCOLUMNS] = {
#define COLUMN(symbol, name, type) {#name, type},
	ACTIVITY_COLUMNS(COLUMN)
#undef COLUMN
};

StaticAssertDecl((int) ACTIVITY_NCOLUMNS <= KEPT_PLAN_MAX_ARGS, "an activity is inserted by one statement");

static const char *const own_triggers[] = {NULL};

const PlainTable activity_table = {
	.name = "activity",
	.ncolumns = ACTIVITY_NCOLUMNS,
	.columns = columns,
	.nkeys = 3,
	.keys = {
		{2, {ACTIVITY_MEMBER_ID, ACTIVITY_ACTIVITY_ID}},
		[ACTIVITY_BY_SAME_KEY] = {3, {ACTIVITY_MEMBER_ID, ACTIVITY_KIND, ACTIVITY_SAME_KEY}},
		[ACTIVITY_BY_IDEMPOTENCY_KEY] = {3, {ACTIVITY_MEMBER_ID, ACTIVITY_KIND, ACTIVITY_IDEMPOTENCY_KEY}}
	},
	.own_triggers = own_triggers
};

/* ---------------------------------------------------------------------------
 * Statements
 * ---------------------------------------------------------------------------
 */

/*
 * "member_id, activity_id, ...": all columns, each with something before it.
 */
static void
PutActivityColumns(StringInfo query, const char *before)
{
	for (int i = 0; i < ACTIVITY_NCOLUMNS; i++)
		appendStringInfo(query, "%s%s%s", i > 0 ? ", " : "", before, columns[i].name);
}

/*
 * Makes a kept statement that reads activities, for ReadActivityRow(); its
 * arguments are the plan's already.
 */
void
MakeActivityQuery(KeptPlan *plan, const char *where)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	PutActivityColumns(&query, "a.");
	appendStringInfo(&query, " FROM loyalty.activity a WHERE %s", where);
	plan->query = MemoryContextStrdup(TopMemoryContext, query.data);
	pfree(query.data);
}

/*
 * Makes a kept statement that stores what ActivityRowValues() gives.
 */
void
MakeActivityInsert(KeptPlan *plan, const char *on_conflict)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfoString(&query, "INSERT INTO loyalty.activity AS a (");
	PutActivityColumns(&query, "");
	appendStringInfoString(&query, ") VALUES (");
	for (int i = 0; i < ACTIVITY_NCOLUMNS; i++)
	{
		appendStringInfo(&query, "%s$%d", i > 0 ? ", " : "", i + 1);
		plan->argtypes[i] = columns[i].type;
	}
	appendStringInfo(&query, ") %s", on_conflict);
	plan->nargs = ACTIVITY_NCOLUMNS;
	plan->query = MemoryContextStrdup(TopMemoryContext, query.data);
	pfree(query.data);
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

static inline void
PutPointer(ActivityColumn column, Datum value, Datum *values, bool *nulls)
{
	values[column] = value;
	nulls[column] = value == 0;
}

void
ActivityRowValues(const ActivityRow *row, Datum values[ACTIVITY_NCOLUMNS], bool nulls[ACTIVITY_NCOLUMNS])
{
	const Activity *activity = &row->activity;

	memset(nulls, false, ACTIVITY_NCOLUMNS * sizeof(bool));
	values[ACTIVITY_MEMBER_ID] = Int64GetDatum(activity->member_id);
	values[ACTIVITY_ACTIVITY_ID] = Int64GetDatum(activity->activity_id);
	values[ACTIVITY_REVISION] = Int32GetDatum(activity->revision);
	PutText(values, nulls, ACTIVITY_KIND, activity->kind);
	values[ACTIVITY_AT] = TimestampTzGetDatum(activity->at);
	values[ACTIVITY_LOCAL_DAY] = DateADTGetDatum(activity->local_day);
	PutText(values, nulls, ACTIVITY_TIME_ZONE, activity->time_zone);
	PutText(values, nulls, ACTIVITY_CHANNEL, activity->channel);
	PutPointer(ACTIVITY_AMOUNT, activity->has_amount ? MicrosToNumeric(activity->amount, activity->decimals) : 0,
			   values, nulls);
	PutText(values, nulls, ACTIVITY_MONEY, activity->money);
	PutPointer(ACTIVITY_LINES, LinesValue(activity), values, nulls);
	PutPointer(ACTIVITY_DOCUMENT, activity->document, values, nulls);
	values[ACTIVITY_CONFIRMED] = BoolGetDatum(activity->confirmed);
	values[ACTIVITY_CANCELLED] = BoolGetDatum(activity->cancelled);
	values[ACTIVITY_RETURNED] = BoolGetDatum(activity->returned);
	values[ACTIVITY_REVISED_AT] = TimestampTzGetDatum(activity->revised_at);
	PutText(values, nulls, ACTIVITY_EXTERNAL_ID, activity->external_id);
	PutText(values, nulls, ACTIVITY_SAME_KEY, row->same_key);
	values[ACTIVITY_RECORDED_AT] = TimestampTzGetDatum(activity->recorded_at);
	PutText(values, nulls, ACTIVITY_IDEMPOTENCY_KEY, row->idempotency_key);
	PutPointer(ACTIVITY_FINGERPRINT, PointerGetDatum(row->fingerprint), values, nulls);
	PutPointer(ACTIVITY_MOVED_TO, Int64GetDatum(row->moved_to), values, nulls);
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static const char *
GetText(ActivityColumn column, const Datum *values, const bool *nulls)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

static void
ReadValues(const Datum *values, const bool *nulls, ActivityRow *row)
{
	Activity   *activity = &row->activity;

	memset(row, 0, sizeof(ActivityRow));
	activity->member_id = DatumGetInt64(values[ACTIVITY_MEMBER_ID]);
	activity->activity_id = DatumGetInt64(values[ACTIVITY_ACTIVITY_ID]);
	activity->revision = DatumGetInt32(values[ACTIVITY_REVISION]);
	activity->kind = GetText(ACTIVITY_KIND, values, nulls);
	activity->at = DatumGetTimestampTz(values[ACTIVITY_AT]);
	activity->local_day = DatumGetDateADT(values[ACTIVITY_LOCAL_DAY]);
	activity->time_zone = GetText(ACTIVITY_TIME_ZONE, values, nulls);
	activity->channel = GetText(ACTIVITY_CHANNEL, values, nulls);
	activity->has_amount = !nulls[ACTIVITY_AMOUNT];
	if (activity->has_amount)
		activity->amount = MicrosFromNumeric(values[ACTIVITY_AMOUNT], "amount", &activity->decimals);
	activity->money = GetText(ACTIVITY_MONEY, values, nulls);
	ReadLines(activity, nulls[ACTIVITY_LINES] ? 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(values[ACTIVITY_LINES])));
	if (!nulls[ACTIVITY_DOCUMENT])
		activity->document = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[ACTIVITY_DOCUMENT]));
	activity->confirmed = DatumGetBool(values[ACTIVITY_CONFIRMED]);
	activity->cancelled = DatumGetBool(values[ACTIVITY_CANCELLED]);
	activity->returned = DatumGetBool(values[ACTIVITY_RETURNED]);
	activity->revised_at = DatumGetTimestampTz(values[ACTIVITY_REVISED_AT]);
	activity->external_id = GetText(ACTIVITY_EXTERNAL_ID, values, nulls);
	row->same_key = GetText(ACTIVITY_SAME_KEY, values, nulls);
	activity->recorded_at = DatumGetTimestampTz(values[ACTIVITY_RECORDED_AT]);
	row->idempotency_key = GetText(ACTIVITY_IDEMPOTENCY_KEY, values, nulls);
	if (!nulls[ACTIVITY_FINGERPRINT])
		row->fingerprint = PG_DETOAST_DATUM_COPY(values[ACTIVITY_FINGERPRINT]);
	row->moved_to = nulls[ACTIVITY_MOVED_TO] ? 0 : DatumGetInt64(values[ACTIVITY_MOVED_TO]);
}

/*
 * Reads a row of a statement by MakeActivityQuery(), or with these columns
 * first.
 */
void
ReadActivityRow(HeapTuple tuple, TupleDesc tupdesc, ActivityRow *row)
{
	Datum		values[ACTIVITY_NCOLUMNS];
	bool		nulls[ACTIVITY_NCOLUMNS];

	for (int i = 0; i < ACTIVITY_NCOLUMNS; i++)
		values[i] = SPI_getbinval(tuple, tupdesc, i + 1, &nulls[i]);
	ReadValues(values, nulls, row);
}

/*
 * Reads a row of the plain table.
 */
void
ReadPlainActivity(const PlainAccess *access, HeapTuple tuple, ActivityRow *row)
{
	Datum		values[ACTIVITY_NCOLUMNS];
	bool		nulls[ACTIVITY_NCOLUMNS];

	PlainValues(access, tuple, values, nulls);
	ReadValues(values, nulls, row);
}
