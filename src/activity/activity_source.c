/*
 * activity_source.c
 *		record_from_row(): the rows of somebody's table as activities, in one
 *		commit.
 *
 * The row as it stands is the activity.  Each time it is inserted, changed or
 * deleted, the activity is recorded or revised to be that; where it is that
 * already, nothing is done.  So it is all one what happened to the row, and in
 * what order: raised and lowered, cancelled and opened again, given to somebody
 * else, deleted and entered again, moved to another partition.
 *
 * A row has a name (RowKey()), its source and its key, which is the external_id
 * of its activity, and its same_key: so a member has one activity of it.  It is
 * looked for with the member that the row had before the change, and with the
 * one that it has now.  A row without a member, such as the order of a guest, is
 * no activity until it has one; a row that does not count ("when"), that is
 * gone, or that has lost its member leaves its activity cancelled.
 *
 * Locks are those of revise_activity(); two sessions that change one row wait
 * for each other at the row, or at its unique key, before any trigger fires.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/calendar.h"
#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger_terms.h"

/* What the trigger knows of a row */
enum
{
	ROW_SOURCE,
	ROW_KIND
};

enum
{
	ROW_MEMBER,
	ROW_AT,
	ROW_AMOUNT,
	ROW_LINES,
	ROW_CHANNEL,
	ROW_DOCUMENT,
	ROW_MONEY,
	ROW_TIME_ZONE,
	ROW_CONFIRMED,
	ROW_WHEN
};

static const TermSet row_terms = {
	.nwords = 2,
	.words = {[ROW_SOURCE] = {"source", NULL}, [ROW_KIND] = {"kind", "order"}},
	.nvalues = 10,
	.values = {
		[ROW_MEMBER] = {"member", INT8OID, true},
		[ROW_AT] = {"at", TIMESTAMPTZOID, false},
		[ROW_AMOUNT] = {"amount", NUMERICOID, false},
		[ROW_LINES] = {"lines", JSONBOID, false},
		[ROW_CHANNEL] = {"channel", TEXTOID, false},
		[ROW_DOCUMENT] = {"document", JSONBOID, false},
		[ROW_MONEY] = {"money", TEXTOID, false},
		[ROW_TIME_ZONE] = {"time_zone", TEXTOID, false},
		[ROW_CONFIRMED] = {"confirmed", BOOLOID, false},
		[ROW_WHEN] = {"when", BOOLOID, false}
	},
	.all = "source, kind, member, at, amount, lines, channel, document, money, time_zone, confirmed, when and key",
	.needed = "source and member are",
	.how = "Add 'member=...', the column with the member.",
	.shared = "record rows of the same names as activities of kind"
};

/* A row as an activity */
typedef struct RowActivity
{
	char	   *key;			/* names the row */
	bool		has_member;
	bool		counts;			/* of a row with a member */
	bool		has_at;
	Activity	activity;
} RowActivity;

/* ---------------------------------------------------------------------------
 * What a row says
 * ---------------------------------------------------------------------------
 */

static const char *
ReadText(const RowTerm *term, TupleTableSlot *slot)
{
	Datum		value;

	return ReadTerm(term, slot, &value) ? TextDatumGetCString(value) : NULL;
}

static Datum
ReadJson(const RowTerm *term, TupleTableSlot *slot)
{
	Datum		value;

	return ReadTerm(term, slot, &value) ? JsonbPGetDatum(DatumGetJsonbPCopy(value)) : 0;
}

/*
 * The amount of a row; one below 0 counts as none.
 */
static Micros
ReadAmount(const RowTerm *term, Datum value, int *decimals)
{
	Datum		zero = NumericGetDatum(int64_to_numeric(0));

	if (term->type != NUMERICOID)
		value = NumericGetDatum(int64_to_numeric(IntegerOf(value, term->type)));
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, value, zero)))
		value = zero;
	return MicrosFromNumeric(value, "amount", decimals);
}

/*
 * What a row says by the terms.  Whatever does not concern a row of nobody is
 * not looked at.
 */
static void
ReadRow(const RowTerms *terms, TupleTableSlot *slot, const char *program_zone, RowActivity *row)
{
	Activity   *activity = &row->activity;
	const RowTerm *term = terms->values;
	const char *time_zone;
	Datum		value;

	memset(row, 0, sizeof(RowActivity));
	row->key = KeyOfRow(terms, slot);
	activity->kind = terms->words[ROW_KIND];
	activity->external_id = row->key;
	row->has_member = ReadTerm(&term[ROW_MEMBER], slot, &value);
	if (!row->has_member)
		return;
	activity->member_id = IntegerOf(value, term[ROW_MEMBER].type);
	row->counts = term[ROW_WHEN].name == NULL || (ReadTerm(&term[ROW_WHEN], slot, &value) && DatumGetBool(value));
	activity->cancelled = !row->counts;
	activity->time_zone = ReadText(&term[ROW_TIME_ZONE], slot);
	time_zone = activity->time_zone != NULL ? FindTimeZone(activity->time_zone) : program_zone;
	row->has_at = ReadInstant(&term[ROW_AT], slot, time_zone, &activity->at);
	activity->has_amount = ReadTerm(&term[ROW_AMOUNT], slot, &value);
	if (activity->has_amount)
		activity->amount = ReadAmount(&term[ROW_AMOUNT], value, &activity->decimals);
	activity->lines_value = ReadJson(&term[ROW_LINES], slot);
	activity->channel = ReadText(&term[ROW_CHANNEL], slot);
	activity->document = ReadJson(&term[ROW_DOCUMENT], slot);
	activity->money = ReadText(&term[ROW_MONEY], slot);
	activity->confirmed = term[ROW_CONFIRMED].name == NULL || (ReadTerm(&term[ROW_CONFIRMED], slot, &value) && DatumGetBool(value));
}

/* ---------------------------------------------------------------------------
 * Its activity
 * ---------------------------------------------------------------------------
 */

/*
 * The activity of a row with a member; false when there is none.
 */
static bool
FindActivityOfRow(const RowActivity *row, int64 member_id, ActivityRow *found)
{
	static KeptPlan plan = {
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {NumbersOf(member_id, NULL), CStringGetTextDatum(row->activity.kind), CStringGetTextDatum(row->key)};

	if (plan.query == NULL)
		MakeActivityQuery(&plan, "a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.kind OPERATOR(pg_catalog.=) $2 "
						  "AND a.same_key OPERATOR(pg_catalog.=) $3 ORDER BY a.cancelled, a.activity_id");
	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
		return false;
	ReadActivityRow(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, found);
	SPI_freetuptable(SPI_tuptable);
	return true;
}

static void
Cancel(const ActivityRow *found)
{
	Revision	revision = {
		.member_id = found->activity.member_id,
		.activity_id = found->activity.activity_id,
		.has_cancelled = true,
		.cancelled = true
	};

	if (!found->activity.cancelled)
		ReviseActivity(&revision);
}

/*
 * When a row was; a time ahead of now, as a till with a fast clock has it,
 * counts as now, and none as when it was recorded.
 */
static bool
SetRowAt(const RowActivity *row, TimestampTz *at)
{
	if (!row->has_at || row->activity.at > GetCurrentTimestamp())
		return false;
	*at = row->activity.at;
	return true;
}

/*
 * Makes an activity what its row is.
 */
static void
Follow(const ActivityRow *found, const RowActivity *row)
{
	const Activity *activity = &row->activity;
	Revision	revision = {
		.member_id = found->activity.member_id,
		.activity_id = found->activity.activity_id,
		.of_row = true,
		.has_amount = activity->has_amount,
		.amount = activity->amount,
		.decimals = activity->decimals,
		.lines = activity->lines_value,
		.document = activity->document,
		.channel = activity->channel,
		.money = activity->money,
		.has_cancelled = true,
		.cancelled = activity->cancelled,
		.has_confirmed = true,
		.confirmed = activity->confirmed,
		.to_member_id = activity->member_id
	};
	int64		canonical;
	int64		canonical_now;
	Datum		numbers;

	revision.has_at = SetRowAt(row, &revision.at);
	/* under another number of the same person it stays where it is */
	(void) FindNumbers(found->activity.member_id, &canonical, &numbers);
	(void) FindNumbers(activity->member_id, &canonical_now, &numbers);
	if (canonical == canonical_now)
		revision.to_member_id = 0;
	ReviseActivity(&revision);
}

/*
 * Records the activity of a row.  False when it is there already.
 */
static bool
RecordRow(const RowActivity *row)
{
	Recording	recording = {.of_row = true,.may_be_there = true};

	recording.row.activity = row->activity;
	recording.row.same_key = row->key;
	recording.at_given = SetRowAt(row, &recording.row.activity.at);
	PrepareRecording(&recording);
	RecordActivity(&recording);
	return recording.outcome != RECORD_THERE;
}

/*
 * A row that was somebody's and counted before this change, and of which there
 * is no activity, is history that came in without its key, or was left out; it
 * is left alone, and that is said.
 */
static void
LeaveHistoryAlone(const Trigger *trigger, const RowActivity *older)
{
	if (IsForgotten(older->activity.member_id))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("row \"%s\" is history that trigger \"%s\" does not know: no activity was recorded",
					older->key, trigger->tgname),
			 errdetail("Before this change it was one of member " INT64_FORMAT ", but none of kind \"%s\" has its key.",
					   older->activity.member_id, older->activity.kind),
			 errhint("Bring history in by loyalty.backfill_activities(), or leave such rows out by the term \"when\".")));
}

/*
 * Brings the activity of a row to what the row is (row; NULL: it is gone, or has
 * another key; where another row has taken over its key, that row).  older is
 * the row before the change, NULL for a row that is new.  ours: what it was
 * before is our own transaction's doing.  False when it is history that is left
 * alone.
 */
static bool
SettleRow(const Trigger *trigger, const RowActivity *older, const RowActivity *row, bool ours)
{
	const RowActivity *named = row != NULL ? row : older;
	ActivityRow here;
	ActivityRow there;
	bool		is_here = row != NULL && row->has_member && FindActivityOfRow(named, row->activity.member_id, &here);
	bool		is_there = older != NULL && older->has_member && FindActivityOfRow(named, older->activity.member_id, &there);

	if (is_here && is_there && here.activity.activity_id == there.activity.activity_id)
		is_there = false;
	if (row == NULL || !row->has_member)
	{
		if (is_there)
			Cancel(&there);
		return is_there || older == NULL || !older->has_member || !older->counts;
	}
	if (is_here)
	{
		if (is_there)
			Cancel(&there);
		Follow(&here, row);
	}
	else if (is_there)
		Follow(&there, row);
	else if (older != NULL && older->has_member && older->counts)
	{
		/* the trigger that made it what it was may still be to come, and settle it */
		if (!ours)
			LeaveHistoryAlone(trigger, older);
		return false;
	}
	else if (row->counts)
		(void) RecordRow(row);
	return true;
}

/* ---------------------------------------------------------------------------
 * The trigger
 * ---------------------------------------------------------------------------
 */

/*
 * record_from_row(terms): the row as it stands is an activity.
 *
 *	CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
 *		EXECUTE FUNCTION loyalty.record_from_row('source=orders', 'member=member_id',
 *			'at=ordered_at', 'amount=amount', $$when=status <> 'cancelled'$$);
 */
PG_FUNCTION_INFO_V1(loyalty_record_from_row);
Datum
loyalty_record_from_row(PG_FUNCTION_ARGS)
{
	TriggerData *data = RequireTrigger(fcinfo, "record_from_row",
									   FIRED_AFTER | FIRED_FOR_ROW | FIRED_BY_INSERT | FIRED_BY_UPDATE | FIRED_BY_DELETE);
	Relation	rel = data->tg_relation;
	bool		is_new = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	TupleTableSlot *slot = NULL;
	TupleTableSlot *holding = NULL;
	const RowTerms *terms;
	const char *time_zone;
	RowActivity older;
	RowActivity newer;
	RowActivity holder;
	Actor		writer;
	bool		ours = !is_new && RowIsOurs(rel, data->tg_trigtuple);
	bool		same_key = false;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* the terms are the trigger's: they are evaluated as any trigger runs */
	terms = FindTerms(data, &row_terms);
	ActForTable(&writer, rel);
	RequireWritable();
	time_zone = FindTimeZone(NULL);
	ActAsBefore(&writer);

	if (is_new)
		slot = LatestRow(rel, data->tg_trigtuple, data->tg_trigslot);
	else
	{
		ReadRow(terms, data->tg_trigslot, time_zone, &older);
		if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
			slot = LatestRow(rel, data->tg_newtuple, data->tg_newslot);
	}
	if (slot != NULL)
		ReadRow(terms, slot, time_zone, &newer);
	if (!is_new)
	{
		same_key = slot != NULL && strcmp(older.key, newer.key) == 0;
		if (!same_key)
			holding = FindHolder(terms, rel, data->tg_trigslot, older.key);
		if (holding != NULL)
			ReadRow(terms, holding, time_zone, &holder);
	}

	ActForTable(&writer, rel);
	if (is_new)
	{
		if (slot != NULL && newer.has_member && newer.counts ? !RecordRow(&newer) : slot != NULL)
			(void) SettleRow(data->tg_trigger, NULL, &newer, false);
	}
	else if (same_key)
		(void) SettleRow(data->tg_trigger, &older, &newer, ours);
	else if (SettleRow(data->tg_trigger, &older, holding != NULL ? &holder : NULL, ours) && slot != NULL)
		(void) SettleRow(data->tg_trigger, NULL, &newer, false);

	ActAsBefore(&writer);
	if (slot != NULL && slot != data->tg_trigslot && slot != data->tg_newslot)
		ExecDropSingleTupleTableSlot(slot);
	if (holding != NULL)
		ExecDropSingleTupleTableSlot(holding);
	SPI_finish();
	return PointerGetDatum(NULL);
}
