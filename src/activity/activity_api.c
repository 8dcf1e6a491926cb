/*
 * activity_api.c
 *		record_activity(), record_many(), revise_activity() and record_return(),
 *		as SQL calls them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "core/compat.h"
#include "core/errors.h"

/* ---------------------------------------------------------------------------
 * Arguments
 * ---------------------------------------------------------------------------
 */

static Datum
JsonbArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? 0 : JsonbPGetDatum(PG_GETARG_JSONB_P(n));
}

static void
SetAmount(Activity *activity, bool isnull, Datum amount)
{
	activity->has_amount = !isnull;
	if (!isnull)
		activity->amount = MicrosFromNumeric(amount, "amount", &activity->decimals);
}

/*
 * When it was; the default, statement_timestamp(), is now.
 */
static void
SetAt(Recording *recording, TimestampTz at)
{
	recording->at_given = at != GetCurrentStatementStartTimestamp();
	recording->row.activity.at = at;
}

/* ---------------------------------------------------------------------------
 * Recording
 * ---------------------------------------------------------------------------
 */

/*
 * record_activity(member_id, kind, at, amount, lines, channel, document,
 * external_id, money, time_zone, codes, basket, confirmed, idempotency_key)
 */
PG_FUNCTION_INFO_V1(loyalty_record_activity);
Datum
loyalty_record_activity(PG_FUNCTION_ARGS)
{
	static TupleDesc tupdesc = NULL;
	Recording	recording = {.outcome = RECORD_OPEN};
	Activity   *activity = &recording.row.activity;
	Datum		values[5];
	bool		nulls[5] = {false};
	MemoryContext caller = CurrentMemoryContext;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	activity->member_id = MemberArgument(fcinfo, 0, "member_id");
	RequireArgument(fcinfo, 1, "kind");
	activity->kind = TextArgument(fcinfo, 1);
	RequireArgument(fcinfo, 2, "at");
	SetAt(&recording, PG_GETARG_TIMESTAMPTZ(2));
	SetAmount(activity, PG_ARGISNULL(3), PG_ARGISNULL(3) ? 0 : PG_GETARG_DATUM(3));
	activity->lines_value = JsonbArgument(fcinfo, 4);
	activity->channel = TextArgument(fcinfo, 5);
	activity->document = JsonbArgument(fcinfo, 6);
	activity->external_id = TextArgument(fcinfo, 7);
	activity->money = TextArgument(fcinfo, 8);
	activity->time_zone = TextArgument(fcinfo, 9);
	(void) TextsArgument(fcinfo, 10, "code", &recording.codes, &recording.ncodes);
	recording.basket = TextArgument(fcinfo, 11);
	RequireArgument(fcinfo, 12, "confirmed");
	activity->confirmed = PG_GETARG_BOOL(12);
	recording.row.idempotency_key = TextArgument(fcinfo, 13);

	PrepareRecording(&recording);
	RecordActivity(&recording);

	MemoryContextSwitchTo(caller);
	values[0] = Int64GetDatum(recording.stored.activity.activity_id);
	values[1] = MicrosToNumeric(recording.change.discount, recording.stored.activity.decimals);
	values[2] = Int64GetDatum(recording.change.points);
	values[3] = Int32GetDatum(recording.change.awards);
	values[4] = BoolGetDatum(recording.outcome == RECORD_REPLAYED);
	SPI_finish();
	return HeapTupleGetDatum(heap_form_tuple(ResultType(&tupdesc, fcinfo), values, nulls));
}

/* An array argument of record_many() */
typedef struct Elements
{
	Datum	   *values;
	bool	   *nulls;			/* NULL: the argument is not given */
	int			n;
} Elements;

/*
 * An array argument, which has an element for each activity.
 */
static void
ReadElements(FunctionCallInfo fcinfo, int arg, const char *name, Oid type, int16 length, bool byval, char align, int n,
			 Elements *elements)
{
	memset(elements, 0, sizeof(Elements));
	if (PG_ARGISNULL(arg))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, length, byval, align, &elements->values, &elements->nulls, &elements->n);
	if (n >= 0 && elements->n != n)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s has %d elements instead of %d", name, elements->n, n),
				 errdetail("There is one for each of member_ids."),
				 errhint("Give NULL elements where there is nothing to say, or leave the array out.")));
}

static bool
IsGiven(const Elements *elements, int i)
{
	return elements->nulls != NULL && !elements->nulls[i];
}

static const char *
TextElement(const Elements *elements, int i)
{
	return IsGiven(elements, i) ? TextDatumGetCString(elements->values[i]) : NULL;
}

static Datum
JsonElement(const Elements *elements, int i)
{
	return IsGiven(elements, i) ? JsonbPGetDatum(DatumGetJsonbP(elements->values[i])) : 0;
}

/* Which element an error is about */
typedef struct ElementContext
{
	const char *caller;
	int			at;
} ElementContext;

static void
DescribeElement(void *arg)
{
	const ElementContext *context = arg;

	errcontext("element " INT64_FORMAT " of %s()", ElementNumber(context->at), context->caller);
}

/*
 * Reads and prepares what record_many() and record_history() begin with:
 * member_ids, kinds, ats, amounts, lines, channels, documents, external_ids,
 * moneys, time_zones, confirmed, idempotency_keys.  Of rows, the external_id
 * names the row.
 */
static Recording *
ReadRecordings(FunctionCallInfo fcinfo, const char *caller, bool may_be_there, bool of_rows, int *n)
{
	Elements	members,
				kinds,
				ats,
				amounts,
				lines,
				channels,
				documents,
				external_ids,
				moneys,
				time_zones,
				confirmed,
				keys;
	Recording  *recordings;
	ElementContext context = {.caller = caller};
	ErrorContextCallback callback = {.callback = DescribeElement,.arg = &context,.previous = error_context_stack};

	RequireArgument(fcinfo, 0, "member_ids");
	RequireArgument(fcinfo, 1, "kinds");
	ReadElements(fcinfo, 0, "member_ids", INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, -1, &members);
	ReadElements(fcinfo, 1, "kinds", TEXTOID, -1, false, TYPALIGN_INT, members.n, &kinds);
	ReadElements(fcinfo, 2, "ats", TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, members.n, &ats);
	ReadElements(fcinfo, 3, "amounts", NUMERICOID, -1, false, TYPALIGN_INT, members.n, &amounts);
	ReadElements(fcinfo, 4, "lines", JSONBOID, -1, false, TYPALIGN_INT, members.n, &lines);
	ReadElements(fcinfo, 5, "channels", TEXTOID, -1, false, TYPALIGN_INT, members.n, &channels);
	ReadElements(fcinfo, 6, "documents", JSONBOID, -1, false, TYPALIGN_INT, members.n, &documents);
	ReadElements(fcinfo, 7, "external_ids", TEXTOID, -1, false, TYPALIGN_INT, members.n, &external_ids);
	ReadElements(fcinfo, 8, "moneys", TEXTOID, -1, false, TYPALIGN_INT, members.n, &moneys);
	ReadElements(fcinfo, 9, "time_zones", TEXTOID, -1, false, TYPALIGN_INT, members.n, &time_zones);
	ReadElements(fcinfo, 10, "confirmed", BOOLOID, 1, true, TYPALIGN_CHAR, members.n, &confirmed);
	ReadElements(fcinfo, 11, "idempotency_keys", TEXTOID, -1, false, TYPALIGN_INT, members.n, &keys);

	*n = members.n;
	recordings = MemoryContextAllocExtended(CurrentMemoryContext, Max(members.n, 1) * sizeof(Recording),
											MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	error_context_stack = &callback;
	for (int i = 0; i < members.n; i++)
	{
		Recording  *recording = &recordings[i];
		Activity   *activity = &recording->row.activity;

		CHECK_FOR_INTERRUPTS();
		context.at = i;
		if (!IsGiven(&members, i) || !IsGiven(&kinds, i))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("member_id and kind must not be NULL"),
					 errdetail("An activity is of a member, and of a kind."),
					 errhint("Give both.")));
		activity->member_id = DatumGetInt64(members.values[i]);
		activity->kind = TextElement(&kinds, i);
		recording->at_given = IsGiven(&ats, i);
		if (recording->at_given)
			SetAt(recording, DatumGetTimestampTz(ats.values[i]));
		SetAmount(activity, !IsGiven(&amounts, i), IsGiven(&amounts, i) ? amounts.values[i] : 0);
		activity->lines_value = JsonElement(&lines, i);
		activity->channel = TextElement(&channels, i);
		activity->document = JsonElement(&documents, i);
		activity->external_id = TextElement(&external_ids, i);
		activity->money = TextElement(&moneys, i);
		activity->time_zone = TextElement(&time_zones, i);
		activity->confirmed = !IsGiven(&confirmed, i) || DatumGetBool(confirmed.values[i]);
		recording->row.idempotency_key = TextElement(&keys, i);
		recording->may_be_there = may_be_there;
		recording->of_row = of_rows;
		if (of_rows)
			recording->row.same_key = activity->external_id;
		PrepareRecording(recording);
	}
	error_context_stack = callback.previous;
	return recordings;
}

/*
 * record_many(member_ids, kinds, ats, ...)
 */
PG_FUNCTION_INFO_V1(loyalty_record_many);
Datum
loyalty_record_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Recording  *recordings;
	int			n;

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	recordings = ReadRecordings(fcinfo, "record_many", false, false, &n);
	RecordActivities(recordings, n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[6] = {
			Int64GetDatum(ElementNumber(i)), Int64GetDatum(recordings[i].stored.activity.activity_id),
			MicrosToNumeric(recordings[i].change.discount, recordings[i].stored.activity.decimals),
			Int64GetDatum(recordings[i].change.points), Int32GetDatum(recordings[i].change.awards),
			BoolGetDatum(recordings[i].outcome == RECORD_REPLAYED)
		};
		bool		nulls[6] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * record_history(member_ids, kinds, ats, ..., of_rows, evaluate): a batch of
 * backfill_activities(); returns how many were not there yet.
 */
PG_FUNCTION_INFO_V1(loyalty_record_history);
Datum
loyalty_record_history(PG_FUNCTION_ARGS)
{
	Recording  *recordings;
	Actor		reader;
	int64		stored = 0;
	int			n;

	RequireArgument(fcinfo, 12, "of_rows");
	RequireArgument(fcinfo, 13, "evaluate");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ActAsOwner(&reader, GetUserId(), RIGHT_DEFINE);
	RequireWritable();
	recordings = ReadRecordings(fcinfo, "record_history", true, PG_GETARG_BOOL(12), &n);
	for (int i = 0; i < n; i++)
		recordings[i].silent = !PG_GETARG_BOOL(13);
	RecordActivities(recordings, n);
	for (int i = 0; i < n; i++)
		stored += recordings[i].outcome == RECORD_STORED;
	ActAsBefore(&reader);
	SPI_finish();
	PG_RETURN_INT64(stored);
}

/* ---------------------------------------------------------------------------
 * Revising
 * ---------------------------------------------------------------------------
 */

static void
BeginRevising(Revision *revision, FunctionCallInfo fcinfo)
{
	memset(revision, 0, sizeof(Revision));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	revision->member_id = MemberArgument(fcinfo, 0, "member_id");
	revision->activity_id = MemberArgument(fcinfo, 1, "activity_id");
}

static void
SetRevisedAmount(Revision *revision, FunctionCallInfo fcinfo, int n)
{
	revision->has_amount = !PG_ARGISNULL(n);
	if (revision->has_amount)
		revision->amount = MicrosFromNumeric(PG_GETARG_DATUM(n), "amount", &revision->decimals);
}

static Datum
FinishRevising(Revision *revision, FunctionCallInfo fcinfo)
{
	static TupleDesc tupdesc = NULL;
	Datum		values[3];
	bool		nulls[3] = {false};

	ReviseActivity(revision);
	SPI_finish();
	values[0] = Int32GetDatum(revision->revision);
	values[1] = Int64GetDatum(revision->change.points);
	values[2] = BoolGetDatum(revision->replayed);
	return HeapTupleGetDatum(heap_form_tuple(ResultType(&tupdesc, fcinfo), values, nulls));
}

/*
 * revise_activity(member_id, activity_id, amount, lines, document, at, channel,
 * money, cancelled, confirmed, to_member_id, reference, idempotency_key, codes, basket)
 */
PG_FUNCTION_INFO_V1(loyalty_revise_activity);
Datum
loyalty_revise_activity(PG_FUNCTION_ARGS)
{
	Revision	revision;

	BeginRevising(&revision, fcinfo);
	SetRevisedAmount(&revision, fcinfo, 2);
	revision.lines = JsonbArgument(fcinfo, 3);
	revision.document = JsonbArgument(fcinfo, 4);
	revision.has_at = !PG_ARGISNULL(5);
	if (revision.has_at)
		revision.at = PG_GETARG_TIMESTAMPTZ(5);
	revision.channel = TextArgument(fcinfo, 6);
	revision.money = TextArgument(fcinfo, 7);
	revision.has_cancelled = !PG_ARGISNULL(8);
	revision.cancelled = revision.has_cancelled && PG_GETARG_BOOL(8);
	revision.has_confirmed = !PG_ARGISNULL(9);
	revision.confirmed = revision.has_confirmed && PG_GETARG_BOOL(9);
	if (!PG_ARGISNULL(10))
		revision.to_member_id = PG_GETARG_INT64(10);
	revision.reference = TextArgument(fcinfo, 11);
	revision.idempotency_key = TextArgument(fcinfo, 12);
	revision.codes_given = TextsArgument(fcinfo, 13, "code", &revision.codes, &revision.ncodes);
	revision.basket = TextArgument(fcinfo, 14);
	return FinishRevising(&revision, fcinfo);
}

/*
 * record_return(member_id, activity_id, lines, amount, at, reference,
 * idempotency_key)
 */
PG_FUNCTION_INFO_V1(loyalty_record_return);
Datum
loyalty_record_return(PG_FUNCTION_ARGS)
{
	Revision	revision;

	BeginRevising(&revision, fcinfo);
	revision.is_return = true;
	revision.lines = JsonbArgument(fcinfo, 2);
	SetRevisedAmount(&revision, fcinfo, 3);
	RequireArgument(fcinfo, 4, "at");
	revision.at = PG_GETARG_TIMESTAMPTZ(4);
	revision.has_at = revision.at != GetCurrentStatementStartTimestamp();
	revision.reference = TextArgument(fcinfo, 5);
	revision.idempotency_key = TextArgument(fcinfo, 6);
	return FinishRevising(&revision, fcinfo);
}
