/*
 * tier_program.c
 *		The program's functions: tiers as of any instant, progress, evaluation,
 *		previews, checks.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"
#include "tier/tier_functions.h"
#include "tier/tier_program.h"

static CachedLadder *
LadderArgument(FunctionCallInfo fcinfo, int n, TimestampTz known_at)
{
	RequireArgument(fcinfo, n, "ladder");
	return FindLadder(text_to_cstring(PG_GETARG_TEXT_PP(n)), known_at);
}

static TimestampTz
AsOfArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? GetCurrentStatementStartTimestamp() :
		FiniteInstant(PG_GETARG_TIMESTAMPTZ(n), "as_of");
}

static TimestampTz
KnownAtArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(n);
}

/* All that is known of a member as of an instant, as the query sees it. */
static TierAsOf
OfQuery(TimestampTz as_of)
{
	TierAsOf	asked = {as_of, TIMESTAMP_INFINITY, STORED_AS_OF_QUERY};

	return asked;
}

/*
 * The code of a member's level on a ladder, as the query sees it, in the current
 * memory context; NULL for none.
 */
char *
LevelOf(int64 member_id, const char *ladder_code, TimestampTz as_of, TimestampTz known_at)
{
	TierAsOf	asked = {as_of, known_at, STORED_AS_OF_QUERY};
	MemoryContext caller = CurrentMemoryContext;
	CachedLadder *ladder;
	const char *code = NULL;
	char	   *result;

	ConnectTier();
	ladder = FindLadder(ladder_code, known_at);
	if (ladder != NULL)
		code = BestTier(ladder, member_id, &asked, OwnLevel(ladder, member_id, &asked));
	result = code == NULL ? NULL : MemoryContextStrdup(caller, code);
	SPI_finish();
	return result;
}

/*
 * The same, by all that is committed by now and what the transaction has done.
 */
char *
LevelNow(int64 member_id, const char *ladder_code, TimestampTz as_of)
{
	char	   *code;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	code = LevelOf(member_id, ladder_code, as_of, TIMESTAMP_INFINITY);
	PopActiveSnapshot();
	return code;
}

/*
 * tier_of(member_id, ladder, as_of, known_at): the code of the tier, NULL for
 * none.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_of);
Datum
loyalty_tier_of(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz as_of = AsOfArgument(fcinfo, 2);
	char	   *code;

	RequireArgument(fcinfo, 1, "ladder");
	code = LevelOf(member_id, text_to_cstring(PG_GETARG_TEXT_PP(1)), as_of, KnownAtArgument(fcinfo, 3));
	if (code == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(code));
}

/*
 * member_tiers(member_id, ladder, as_of, known_at): all steps up to as_of.
 */
PG_FUNCTION_INFO_V1(loyalty_member_tiers);
Datum
loyalty_member_tiers(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz as_of = AsOfArgument(fcinfo, 2);
	TierAsOf	asked = {as_of, KnownAtArgument(fcinfo, 3), STORED_AS_OF_QUERY};
	CachedLadder *ladder;

	InitReturnSet(fcinfo);
	ConnectTier();
	ladder = LadderArgument(fcinfo, 1, asked.known_at);
	if (ladder != NULL)
	{
		TierMachine machine;

		member_id = CanonicalAsOf(member_id, &asked);
		ReplayHistory(ladder->versions, GatherHistory(ladder, member_id, &asked), as_of, &machine);
		OverlayHouseholds(ladder, member_id, &asked, &machine.logs, &machine.nlogs);
		PutTimeline((ReturnSetInfo *) fcinfo->resultinfo, machine.logs, machine.nlogs);
	}
	SPI_finish();
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * Progress
 * ---------------------------------------------------------------------------
 */

/* Rows of tier_progress for one goal: what its criteria ask for. */
static void
PutGoal(ReturnSetInfo *rsinfo, const CachedLadder *ladder, const TierMachine *machine, const char *goal,
		const TierLevel *level, const TierCriteria *criteria, const int64 *have, const TimestampTz *by)
{
	for (int i = 0; i < machine->definition->nmeasures; i++)
	{
		Datum		values[9];
		bool		nulls[9] = {false};

		if (!(criteria->asked & (1U << i)))
			continue;
		values[0] = CStringGetTextDatum(ladder->code);
		values[1] = CStringGetTextDatum(goal);
		values[2] = CStringGetTextDatum(level->code);
		values[3] = CStringGetTextDatum(machine->definition->measure[i].code);
		values[4] = UnscaleAmount(have[i]);
		values[5] = UnscaleAmount(criteria->at_least[i]);
		values[6] = UnscaleAmount(Max(0, criteria->at_least[i] - have[i]));
		values[7] = Int32GetDatum(criteria->need);
		values[8] = InstantOrNull(by[i], &nulls[8]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

static void
PutProgress(ReturnSetInfo *rsinfo, const CachedLadder *ladder, TierMachine *machine, TimestampTz as_of)
{
	const LadderDefinition *l = machine->definition;
	const TierState *state = &machine->state;
	int64		values[TIER_MAX_MEASURES];
	TimestampTz by[TIER_MAX_MEASURES];

	if (l == NULL)
		return;
	if (state->effective < l->nlevels)
	{
		MachineValues(machine, as_of, PERIOD_BEGUN, values);
		for (int i = 0; i < l->nmeasures; i++)
		{
			TierWindow	window = l->measure[i].window;

			by[i] = TIMESTAMP_INFINITY;
			if (window >= WINDOW_MONTH && window <= WINDOW_ANNIVERSARY && state->joined_at != TIMESTAMP_INFINITY)
				by[i] = TierPeriodEnd(l, window, state->joined_at, as_of);
			else if (window == WINDOW_TERM && state->level > 0)
				by[i] = state->valid_until;
		}
		PutGoal(rsinfo, ladder, machine, "reach", &l->level[state->effective],
				&l->level[state->effective].qualify, values, by);
	}
	if (state->level > 0 && state->valid_until != TIMESTAMP_INFINITY)
	{
		TimestampTz end = TierNext(state);

		if (state->pending != 0)
			end = state->grace_until != TIMESTAMP_MINUS_INFINITY ? state->grace_until : state->valid_until;
		/* what will count then of what is there now */
		MachineValues(machine, end, PERIOD_ENDED, values);
		for (int i = 0; i < l->nmeasures; i++)
			by[i] = end;
		PutGoal(rsinfo, ladder, machine, "keep", &l->level[state->level - 1],
				&l->level[state->level - 1].renew, values, by);
	}
}

/*
 * tier_progress(member_id, ladder, as_of): what is missing to the next level,
 * and to keep this one; ladder NULL: on each.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_progress);
Datum
loyalty_tier_progress(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz as_of = AsOfArgument(fcinfo, 2);
	TierAsOf	asked = OfQuery(as_of);

	InitReturnSet(fcinfo);
	ConnectTier();
	for (CachedLadder *ladder = PG_ARGISNULL(1) ? AllLadders() : LadderArgument(fcinfo, 1, TIMESTAMP_INFINITY);
		 ladder != NULL; ladder = PG_ARGISNULL(1) ? ladder->next : NULL)
	{
		TierMachine machine;

		MachineAsOf(ladder, member_id, &asked, &machine);
		PutProgress((ReturnSetInfo *) fcinfo->resultinfo, ladder, &machine, as_of);
	}
	SPI_finish();
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * Evaluation
 * ---------------------------------------------------------------------------
 */

/*
 * maintain_tier(member_id, ladder, as_of): replays and stores; whether that
 * changed anything.
 */
PG_FUNCTION_INFO_V1(loyalty_maintain_tier);
Datum
loyalty_maintain_tier(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz as_of = AsOfArgument(fcinfo, 2);
	bool		changed;

	ConnectTier();
	RequireWritable();
	changed = MaintainTier(LadderArgument(fcinfo, 1, TIMESTAMP_INFINITY), member_id, NULL, as_of);
	SPI_finish();
	PG_RETURN_BOOL(changed);
}

/*
 * preview_tier(member_id, ladder, definition, as_of, whole_history): the tier
 * of a member now, and under another definition, from as_of on or as if it had
 * been so always.
 */
PG_FUNCTION_INFO_V1(loyalty_preview_tier);
Datum
loyalty_preview_tier(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz as_of = AsOfArgument(fcinfo, 3);
	TierAsOf	asked = OfQuery(as_of);
	bool		whole_history = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	MemoryContext caller = CurrentMemoryContext;
	TupleDesc	tupdesc;
	Datum		values[6];
	bool		nulls[6] = {false};
	CachedLadder *ladder;
	CachedLadder *other;
	TierMachine machines[2];
	HeapTuple	tuple;

	RequireArgument(fcinfo, 2, "definition");
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	ConnectTier();
	ladder = LadderArgument(fcinfo, 1, TIMESTAMP_INFINITY);
	member_id = CanonicalAsOf(member_id, &asked);
	ReplayLatest(ladder->versions, GatherHistory(ladder, member_id, &asked), as_of, &machines[0]);
	other = PreviewLadder(ladder, PG_GETARG_JSONB_P(2), as_of, whole_history);
	ReplayLatest(other->versions, GatherHistory(other, member_id, &asked), as_of, &machines[1]);

	MemoryContextSwitchTo(caller);
	for (int i = 0; i < 2; i++)
	{
		const TierMachine *m = &machines[i];

		values[i * 3] = CodeOrNull(CodeOfRank(m->definition, m->state.effective), &nulls[i * 3]);
		values[i * 3 + 1] = Int32GetDatum(m->state.effective);
		values[i * 3 + 2] = InstantOrNull(MachineValidUntil(m), &nulls[i * 3 + 2]);
	}
	tuple = heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}

/*
 * tier_if_merged(survivor_id, absorbed_id, ladder, as_of): the tier of a
 * member, if another were merged into it at as_of.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_if_merged);
Datum
loyalty_tier_if_merged(PG_FUNCTION_ARGS)
{
	TimestampTz as_of = AsOfArgument(fcinfo, 3);
	TierAsOf	asked = OfQuery(as_of);
	MemoryContext caller = CurrentMemoryContext;
	CachedLadder *ladder;
	TierHistory *history;
	TierMerge  *merges;
	TierMachine machine;
	text	   *result;

	ConnectTier();
	ladder = LadderArgument(fcinfo, 2, TIMESTAMP_INFINITY);
	history = GatherHistory(ladder, CanonicalAsOf(MemberArgument(fcinfo, 0, "member_id"), &asked), &asked);
	merges = palloc((history->nmerges + 1) * sizeof(TierMerge));
	memcpy(merges, history->merges, history->nmerges * sizeof(TierMerge));
	merges[history->nmerges].at = as_of;
	merges[history->nmerges].absorbed =
		GatherHistory(ladder, CanonicalAsOf(MemberArgument(fcinfo, 1, "member_id"), &asked), &asked);
	history->merges = merges;
	history->nmerges++;
	ReplayLatest(ladder->versions, history, as_of, &machine);
	result = TextIn(caller, CodeOfRank(machine.definition, machine.state.effective));
	SPI_finish();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/* ---------------------------------------------------------------------------
 * Definitions
 * ---------------------------------------------------------------------------
 */

/*
 * read_ladder(definition): the same; raises LY401 when it is no ladder.
 */
PG_FUNCTION_INFO_V1(loyalty_read_ladder);
Datum
loyalty_read_ladder(PG_FUNCTION_ARGS)
{
	ParseLadder(PG_GETARG_JSONB_P(0), "UTC");
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/*
 * ladder_levels(definition): the codes and names of its levels, in order;
 * raises LY401 when it is no ladder.
 */
PG_FUNCTION_INFO_V1(loyalty_ladder_levels);
Datum
loyalty_ladder_levels(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LadderDefinition *ladder;

	InitReturnSet(fcinfo);
	ladder = ParseLadder(PG_GETARG_JSONB_P(0), "UTC");
	for (int i = 0; i < ladder->nlevels; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = Int32GetDatum(i + 1);
		values[1] = CStringGetTextDatum(ladder->level[i].code);
		values[2] = CStringGetTextDatum(ladder->level[i].name);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
