/*
 * tier_trigger.c
 *		evaluate_tier(): a fact and the tier it leads to, in one commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/fold.h"
#include "ledger/post.h"
#include "tier/tier_program.h"

static void
TooFewArguments(TriggerData *data)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("trigger \"%s\" gives evaluate_tier %d arguments instead of at least 3",
					data->tg_trigger->tgname, data->tg_trigger->tgnargs),
			 errdetail("It takes the member column, the time column, and a measure."),
			 errhint("Give the names of the member and time columns, then measure=column or measure=number.")));
}

/* The facts in tier_event that a row says, or a call */
typedef struct RowFacts
{
	bool		known;			/* member and at are not NULL */
	int64		member_id;
	TimestampTz at;
	TimestampTz counts_at;
	int			n;
	char		names[TIER_MAX_MEASURES][NAMEDATALEN];
	int64		amounts[TIER_MAX_MEASURES];	/* in ten-thousandths */
	bool		commands_known;
	CommandId	first_command;	/* that recorded them */
	CommandId	last_command;
} RowFacts;

/*
 * Facts that have just been recorded, to all ladders that count them.
 */
static void
SpreadFacts(const RowFacts *row)
{
	for (CachedLadder *ladder = AllLadders(); ladder != NULL; ladder = ladder->next)
	{
		TierFact	facts[VERSIONS_MAX_MEASURES];
		NewFacts	arrived = {
			.facts = facts,
			.at = row->at,
			.commands_known = row->commands_known,
			.first_command = row->first_command,
			.last_command = row->last_command
		};

		for (int m = 0; m < ladder->versions->nmeasures; m++)
			for (int i = 0; i < row->n; i++)
				if (ladder->source[m] == SOURCE_EVENT && strcmp(ladder->versions->measure[m], row->names[i]) == 0)
				{
					TierFact	fact = {row->at, row->counts_at, row->amounts[i], m};

					facts[arrived.n++] = fact;
				}
		if (arrived.n > 0)
			MaintainTier(ladder, row->member_id, &arrived, row->at);
	}
}

static Datum
ColumnOfRow(TriggerData *data, HeapTuple tuple, const char *column, Oid type, bool *isnull)
{
	TupleDesc	tupdesc = RelationGetDescr(data->tg_relation);
	int			attnum = SPI_fnumber(tupdesc, column);
	Oid			input;
	Oid			ioparam;
	char	   *text;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of \"%s\" does not exist", column, RelationGetRelationName(data->tg_relation)),
				 errdetail("Trigger \"%s\" names it.", data->tg_trigger->tgname)));
	if (SPI_gettypeid(tupdesc, attnum) == type)
		return heap_getattr(tuple, attnum, tupdesc, isnull);
	text = SPI_getvalue(tuple, tupdesc, attnum);
	*isnull = text == NULL;
	if (text == NULL)
		return (Datum) 0;
	getTypeInputInfo(type, &input, &ioparam);
	return OidInputFunctionCall(input, text, ioparam, -1);
}

/* ---------------------------------------------------------------------------
 * Facts in tier_event
 * ---------------------------------------------------------------------------
 */

/*
 * Records the i-th fact of a row.
 */
static void
InsertEvent(RowFacts *row, int i, const char *reference)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.tier_event (member_id, measure, at, counts_at, amount, reference) "
		"SELECT $1, m.measure, $3, $4, $5, $6 FROM loyalty.tier_measure m "
		"WHERE m.measure OPERATOR(pg_catalog.=) $2 AND m.source OPERATOR(pg_catalog.<>) 'points'",
		.nargs = 6,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, NUMERICOID, TEXTOID}
	};
	Datum		values[6];
	char		nulls[6];

	if (!row->commands_known)
		row->first_command = GetCurrentCommandId(false);
	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(row->member_id);
	values[1] = CStringGetTextDatum(row->names[i]);
	values[2] = TimestampTzGetDatum(row->at);
	values[3] = TimestampTzGetDatum(row->counts_at);
	values[4] = UnscaleAmount(row->amounts[i]);
	nulls[5] = reference ? ' ' : 'n';
	values[5] = reference ? CStringGetTextDatum(reference) : (Datum) 0;
	RunPlan(&plan, values, nulls, 0);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_MEASURE),
				 errmsg("measure \"%s\" takes no facts", row->names[i]),
				 errdetail("It is no measure, or one of points or of a function."),
				 errhint("Define it with loyalty.define_measure(); points are earned with loyalty.earn().")));
	row->last_command = GetCurrentCommandId(false);
	row->commands_known = true;
}

static void
CheckEventInstant(TimestampTz at, const char *name)
{
	if (TIMESTAMP_NOT_FINITE(at) || at > GetCurrentTimestamp() + CLOCK_SKEW_ALLOWED)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must be a finite instant that is not in the future", name),
				 errdetail("It is %s.", timestamptz_to_str(at)),
				 errhint("Give the instant at which it happened.")));
}

static void
CheckCountsAt(TimestampTz counts_at, TimestampTz at)
{
	CheckEventInstant(counts_at, "counts_at");
	if (counts_at > at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("counts_at must not be after the fact"),
				 errdetail("It is %s; the fact is of %s.", TimestampText(counts_at), TimestampText(at)),
				 errhint("Give the instant of the fact that is taken back, or leave it out.")));
}

/*
 * insert_tier_event(member_id, measure, at, counts_at, amount, reference):
 * records a fact and brings the tiers up to it; part of record_qualification(),
 * which has checked its arguments.
 */
PG_FUNCTION_INFO_V1(loyalty_insert_tier_event);
Datum
loyalty_insert_tier_event(PG_FUNCTION_ARGS)
{
	RowFacts	row = {.n = 1};

	RequireArgument(fcinfo, 0, "member_id");
	RequireArgument(fcinfo, 1, "measure");
	RequireArgument(fcinfo, 2, "at");
	RequireArgument(fcinfo, 4, "amount");
	row.member_id = PG_GETARG_INT64(0);
	text_to_cstring_buffer(PG_GETARG_TEXT_PP(1), row.names[0], NAMEDATALEN);
	row.at = PG_GETARG_TIMESTAMPTZ(2);
	row.counts_at = PG_ARGISNULL(3) ? row.at : PG_GETARG_TIMESTAMPTZ(3);
	row.amounts[0] = ScaleAmount(PG_GETARG_DATUM(4));
	CheckEventInstant(row.at, "at");
	CheckCountsAt(row.counts_at, row.at);
	ConnectTier();
	RequireWritable();
	InsertEvent(&row, 0, PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5)));
	SpreadFacts(&row);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * erase_tier_events(member_ids bigint[]) -> bigint
 *
 * Erases what callers wrote of facts of members, past append_only().  Returns
 * of how many.
 */
PG_FUNCTION_INFO_V1(loyalty_erase_tier_events);
Datum
loyalty_erase_tier_events(PG_FUNCTION_ARGS)
{
	static KeptPlan erase = {
		.query = "UPDATE loyalty.tier_event SET reference = NULL "
		"WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND reference IS NOT NULL",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		members = PG_GETARG_DATUM(0);
	int64		erased;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireOwner();
	RequireWritable();
	erased = RunErasure(&erase, &members);
	SPI_finish();
	PG_RETURN_INT64(erased);
}

/*
 * What a row of somebody's table says.
 */
static void
ReadRowFacts(TriggerData *data, HeapTuple tuple, RowFacts *row)
{
	char	  **args = data->tg_trigger->tgargs;
	int			nargs = data->tg_trigger->tgnargs;
	bool		isnull;

	memset(row, 0, sizeof(RowFacts));
	row->member_id = DatumGetInt64(ColumnOfRow(data, tuple, args[0], INT8OID, &isnull));
	row->known = !isnull;
	row->at = DatumGetTimestampTz(ColumnOfRow(data, tuple, args[1], TIMESTAMPTZOID, &isnull));
	row->known = row->known && !isnull;
	row->counts_at = row->at;
	for (int i = 2; i < nargs; i++)
	{
		char	   *equals = strchr(args[i], '=');
		char	   *value;
		Datum		amount;

		if (equals == NULL || equals == args[i] || equals - args[i] >= NAMEDATALEN || row->n >= TIER_MAX_MEASURES)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("trigger \"%s\" gives evaluate_tier an argument \"%s\"", data->tg_trigger->tgname, args[i]),
					 errdetail("It is no pair of a known name and a column or number."),
					 errhint("After the member and time columns, give up to %d of measure=column or measure=number, and counts_at=column.",
							 TIER_MAX_MEASURES)));
		value = equals + 1;
		if (strncmp(args[i], "counts_at=", 10) == 0)
		{
			Datum		counts_at = ColumnOfRow(data, tuple, value, TIMESTAMPTZOID, &isnull);

			if (!isnull)
				row->counts_at = DatumGetTimestampTz(counts_at);
			continue;
		}
		if (strspn(value, "-.0123456789") == strlen(value))
			amount = DirectFunctionCall3(numeric_in, CStringGetDatum(value), ObjectIdGetDatum(InvalidOid),
										 Int32GetDatum(-1));
		else
		{
			amount = ColumnOfRow(data, tuple, value, NUMERICOID, &isnull);
			if (isnull)
				continue;
		}
		memcpy(row->names[row->n], args[i], equals - args[i]);
		row->amounts[row->n++] = ScaleAmount(amount);
	}
}

static void
RecordRowFacts(TriggerData *data, RowFacts *row)
{
	int			n = 0;

	if (!row->known)
		return;
	CheckEventInstant(row->at, "the time column");
	CheckCountsAt(row->counts_at, row->at);
	for (int i = 0; i < row->n; i++)
	{
		if (row->amounts[i] == 0)
			continue;
		if (i != n)
		{
			memcpy(row->names[n], row->names[i], NAMEDATALEN);
			row->amounts[n] = row->amounts[i];
		}
		InsertEvent(row, n++, RelationGetRelationName(data->tg_relation));
	}
	row->n = n;
	if (n > 0)
		SpreadFacts(row);
}

/* What a row said, taken back now. */
static void
TakeRowBack(TriggerData *data, RowFacts *row)
{
	for (int i = 0; i < row->n; i++)
		row->amounts[i] = -row->amounts[i];
	row->at = Max(row->at, GetCurrentStatementStartTimestamp());
	RecordRowFacts(data, row);
}

static void
OwnRowArrived(TriggerData *data)
{
	RowFacts	before;
	RowFacts	after;

	if (data->tg_trigger->tgnargs < 3)
		TooFewArguments(data);
	ReadRowFacts(data, data->tg_trigtuple, &before);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		RecordRowFacts(data, &before);
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		TakeRowBack(data, &before);
	else
	{
		ReadRowFacts(data, data->tg_newtuple, &after);
		if (before.known == after.known && before.member_id == after.member_id && before.at == after.at &&
			before.counts_at == after.counts_at && before.n == after.n &&
			memcmp(before.names, after.names, sizeof(before.names)) == 0)
		{
			/* the difference counts at the same date */
			for (int i = 0; i < after.n; i++)
				after.amounts[i] -= before.amounts[i];
			after.at = Max(after.at, GetCurrentStatementStartTimestamp());
			RecordRowFacts(data, &after);
		}
		else
		{
			TakeRowBack(data, &before);
			RecordRowFacts(data, &after);
		}
	}
}

/*
 * evaluate_tier() trigger: keeps tiers current in the commit of the fact.  A row
 * of anybody's table is a fact of one or several measures; what is updated or
 * deleted is taken back, at the date that it counted at:
 *
 *	CREATE TRIGGER evaluate_tier AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
 *		EXECUTE FUNCTION loyalty.evaluate_tier('member_id', 'ordered_at', 'spend=amount', 'orders=1');
 */
PG_FUNCTION_INFO_V1(loyalty_evaluate_tier);
Datum
loyalty_evaluate_tier(PG_FUNCTION_ARGS)
{
	TriggerData *data = RequireTrigger(fcinfo, "evaluate_tier",
									   FIRED_AFTER | FIRED_FOR_ROW | FIRED_BY_INSERT | FIRED_BY_UPDATE | FIRED_BY_DELETE);
	Actor		writer;

	ConnectTier();
	ActForTable(&writer, data->tg_relation);
	RequireWritable();
	OwnRowArrived(data);
	ActAsBefore(&writer);
	SPI_finish();
	return PointerGetDatum(NULL);
}
