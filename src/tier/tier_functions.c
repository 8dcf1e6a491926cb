/*
 * tier_functions.c
 *		The state machine and the replay as SQL functions over values: no
 *		tables.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "tier/tier_facts.h"
#include "tier/tier_functions.h"

/*
 * A definition as the only version of a ladder, kept for as long as the calling
 * function's state: rows after rows are asked about the same ladder.
 */
static LadderVersions *
ParsedDefinition(FunctionCallInfo fcinfo, Datum definition)
{
	typedef struct Kept
	{
		struct varlena *definition;
		LadderVersions *versions;
	} Kept;
	Kept	   *kept = fcinfo->flinfo->fn_extra;
	struct varlena *value = PG_DETOAST_DATUM_PACKED(definition);
	Size		size = VARSIZE_ANY(value);
	MemoryContext old;

	if (kept != NULL && VARSIZE_ANY(kept->definition) == size &&
		memcmp(kept->definition, value, size) == 0)
		return kept->versions;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	kept = palloc(sizeof(Kept));
	kept->definition = palloc(size);
	memcpy(kept->definition, value, size);
	kept->versions = OnlyVersion(ParseLadder(DatumGetJsonbP(definition), "UTC"));
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = kept;
	return kept->versions;
}

/*
 * The code of a level, or NULL.
 */
Datum
CodeOrNull(const char *code, bool *isnull)
{
	*isnull = code == NULL;
	return code == NULL ? (Datum) 0 : CStringGetTextDatum(code);
}

/*
 * A string, or NULL, as a text that outlives an SPI connection.
 */
text *
TextIn(MemoryContext context, const char *string)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	text	   *result = string == NULL ? NULL : cstring_to_text(string);

	MemoryContextSwitchTo(old);
	return result;
}

TimestampTz
FiniteInstant(TimestampTz t, const char *name)
{
	if (TIMESTAMP_NOT_FINITE(t))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must be a finite instant", name),
				 errdetail("It is infinite."),
				 errhint("Give the instant.")));
	return t;
}

Datum
InstantOrNull(TimestampTz t, bool *isnull)
{
	*isnull = TIMESTAMP_NOT_FINITE(t);
	return TimestampTzGetDatum(t);
}

static int
RankArgument(FunctionCallInfo fcinfo, int n, const LadderDefinition *ladder)
{
	char	   *code;
	int			rank;

	if (PG_ARGISNULL(n))
		return 0;
	code = text_to_cstring(PG_GETARG_TEXT_PP(n));
	rank = RankOfCode(ladder, code);
	if (rank == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_LEVEL),
				 errmsg("the ladder has no level \"%s\"", code),
				 errdetail("It is none of the levels in the definition."),
				 errhint("Give the code of one of its levels, or NULL for none.")));
	return rank;
}

static TimestampTz
InstantArgument(FunctionCallInfo fcinfo, int n, TimestampTz otherwise)
{
	return PG_ARGISNULL(n) ? otherwise : PG_GETARG_TIMESTAMPTZ(n);
}

/*
 * tier_evaluate(definition, at, level, since, valid_until, grace_until,
 * qualified, renewed, granted, granted_before, pending, pending_at,
 * joined_at): one step of the state machine.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_evaluate);
Datum
loyalty_tier_evaluate(PG_FUNCTION_ARGS)
{
	const LadderDefinition *ladder;
	const TierLevel *level;
	TierState	state;
	TierInput	input;
	TierStep	step;
	TupleDesc	tupdesc;
	Datum		values[11];
	bool		nulls[11] = {false};

	RequireArgument(fcinfo, 0, "definition");
	RequireArgument(fcinfo, 1, "at");
	ladder = ParsedDefinition(fcinfo, PG_GETARG_DATUM(0))->version[0].definition;
	input.at = FiniteInstant(PG_GETARG_TIMESTAMPTZ(1), "at");
	InitTierState(&state, FiniteInstant(InstantArgument(fcinfo, 12, InstantArgument(fcinfo, 3, input.at)),
										"joined_at"));
	state.level = RankArgument(fcinfo, 2, ladder);
	if (state.level > 0)
	{
		if (PG_ARGISNULL(3))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("a level needs since"),
					 errdetail("A term begins when its level is reached."),
					 errhint("Give since, or no level.")));
		level = &ladder->level[state.level - 1];
		state.since = state.anchor = FiniteInstant(PG_GETARG_TIMESTAMPTZ(3), "since");
		state.valid_until = InstantArgument(fcinfo, 4, TIMESTAMP_INFINITY);
		state.grace_until = InstantArgument(fcinfo, 5, TIMESTAMP_MINUS_INFINITY);
		state.pending = RankArgument(fcinfo, 10, ladder);
		state.pending_at = InstantArgument(fcinfo, 11, TIMESTAMP_INFINITY);
		/* which of the terms since it was reached this is */
		state.terms = 1;
		while (level->validity == VALID_INTERVAL && state.valid_until != TIMESTAMP_INFINITY &&
			   AddSpan(ladder, state.anchor, &level->interval, state.terms) < state.valid_until)
		{
			CHECK_FOR_INTERRUPTS();
			state.terms++;
		}
	}
	input.qualified = RankArgument(fcinfo, 6, ladder);
	input.renewed = PG_ARGISNULL(7) ? input.qualified : RankArgument(fcinfo, 7, ladder);
	input.granted = RankArgument(fcinfo, 8, ladder);
	state.granted = RankArgument(fcinfo, 9, ladder);
	state.effective = Max(state.level, state.granted);
	if (!TierStateIsSound(&state))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("such a state cannot be"),
				 errdetail("since is not after valid_until, grace_until is after it, pending is above level and has pending_at."),
				 errhint("Give back a state as the function returned it.")));
	TierEvaluate(&state, &input, ladder, &step);

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CodeOrNull(CodeOfRank(ladder, state.effective), &nulls[0]);
	values[1] = CodeOrNull(CodeOfRank(ladder, state.level), &nulls[1]);
	values[2] = InstantOrNull(state.since, &nulls[2]);
	values[3] = InstantOrNull(state.valid_until, &nulls[3]);
	values[4] = InstantOrNull(state.grace_until, &nulls[4]);
	values[5] = CodeOrNull(CodeOfRank(ladder, state.pending), &nulls[5]);
	values[6] = InstantOrNull(state.pending_at, &nulls[6]);
	values[7] = CStringGetTextDatum(TierEventName(step.event));
	values[8] = CStringGetTextDatum(TierReasonName(step.reason));
	values[9] = TimestampTzGetDatum(step.at);
	values[10] = InstantOrNull(TierNext(&state), &nulls[10]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/*
 * Puts the steps of a replay as rows (level, name, starts_at, ends_at,
 * valid_until, event, reason); steps that another follows at the same instant
 * are left out.
 */
void
PutTimeline(ReturnSetInfo *rsinfo, const TierLog *logs, int nlogs)
{
	for (int i = 0; i < nlogs; i++)
	{
		const TierLog *log = &logs[i];
		Datum		values[7] = {0};
		bool		nulls[7] = {false};

		CHECK_FOR_INTERRUPTS();
		if (i + 1 < nlogs && logs[i + 1].at <= log->at)
			continue;
		nulls[0] = nulls[1] = log->rank == 0;
		if (log->rank > 0)
		{
			const TierLevel *level = &log->definition->level[log->rank - 1];

			values[0] = CStringGetTextDatum(level->code);
			values[1] = CStringGetTextDatum(level->name);
		}
		values[2] = TimestampTzGetDatum(log->at);
		nulls[3] = i + 1 == nlogs;
		if (i + 1 < nlogs)
			values[3] = TimestampTzGetDatum(logs[i + 1].at);
		values[4] = InstantOrNull(log->valid_until, &nulls[4]);
		values[5] = CStringGetTextDatum(TierEventName(log->event));
		values[6] = CStringGetTextDatum(TierReasonName(log->reason));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * tier_timeline(facts, definition, as_of): the tiers of one history.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_timeline);
Datum
loyalty_tier_timeline(PG_FUNCTION_ARGS)
{
	LadderVersions *versions;
	FactSet		set;
	TierHistory history;
	TierMachine machine;

	InitReturnSet(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;
	versions = ParsedDefinition(fcinfo, PG_GETARG_DATUM(1));
	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	HistoryOfSet(versions, &set, &history);
	ReplayHistory(versions, &history, FiniteInstant(PG_GETARG_TIMESTAMPTZ(2), "as_of"), &machine);
	PutTimeline((ReturnSetInfo *) fcinfo->resultinfo, machine.logs, machine.nlogs);
	return (Datum) 0;
}

/*
 * tier_at(facts, definition, as_of): the tier of one history at an instant.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_at);
Datum
loyalty_tier_at(PG_FUNCTION_ARGS)
{
	LadderVersions *versions = ParsedDefinition(fcinfo, PG_GETARG_DATUM(1));
	FactSet		set;
	TierHistory history;
	TierMachine machine;

	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	HistoryOfSet(versions, &set, &history);
	ReplayLatest(versions, &history, FiniteInstant(PG_GETARG_TIMESTAMPTZ(2), "as_of"), &machine);
	if (machine.state.effective == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(machine.definition->level[machine.state.effective - 1].code));
}

/*
 * qualified_level(facts, definition, as_of): the level whose criteria are met
 * in the windows as of an instant, whatever was held before.
 */
PG_FUNCTION_INFO_V1(loyalty_qualified_level);
Datum
loyalty_qualified_level(PG_FUNCTION_ARGS)
{
	LadderVersions *versions = ParsedDefinition(fcinfo, PG_GETARG_DATUM(1));
	const LadderDefinition *ladder = versions->version[0].definition;
	TimestampTz as_of = FiniteInstant(PG_GETARG_TIMESTAMPTZ(2), "as_of");
	FactSet		set;
	TierHistory history;
	TierMachine machine;
	int64		values[TIER_MAX_MEASURES];
	int			rank;

	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	HistoryOfSet(versions, &set, &history);
	InitMachine(&machine, versions, as_of);
	for (int i = 0; i < history.nfacts; i++)
	{
		TierFact   *fact = &history.facts[i];

		if (fact->at > as_of)
			continue;
		machine.state.joined_at = Min(machine.state.joined_at, fact->at);
		CountFact(&machine, versions->version[0].slot[fact->measure], fact);
	}
	MachineValues(&machine, as_of, PERIOD_BEGUN, values);
	rank = QualifiedRank(ladder, values);
	if (rank == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(ladder->level[rank - 1].code));
}
