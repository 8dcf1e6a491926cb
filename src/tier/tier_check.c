/*
 * tier_check.c
 *		What is stored of a member, against a replay of all facts.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"
#include "tier/tier_functions.h"
#include "tier/tier_program.h"

/*
 * What is wrong with a stored history, against the steps of a replay; NULL
 * when nothing is.
 */
static const char *
HistoryProblem(const CachedLadder *ladder, int64 member_id, const TierLog *logs, int nlogs)
{
	int			same = SameSteps(ladder, member_id, STORED_AS_OF_QUERY, logs, nlogs);

	if ((uint64) nlogs != SPI_processed)
		return psprintf("the history has %llu rows instead of %d", (unsigned long long) SPI_processed, nlogs);
	if (same < nlogs)
		return psprintf("row %d of the history is not what the facts give: from %s to the next", same + 1,
						TimestampText(logs[same].at));
	return NULL;
}

/*
 * What is wrong with entries that a stored state leaves out, since they change
 * no tier, and with the note on the wallet that lets them pass; NULL when
 * nothing is.  The machine has them afterwards.
 */
static const char *
SlackProblem(const CachedLadder *ladder, int64 member_id, const StoredTier *stored, TierMachine *machine)
{
	static KeptPlan plan = {
		.query = "SELECT tiers FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 AND tiers IS NOT NULL",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(ladder->currency[0])};
	TierColumns columns;
	bool		isnull;

	if (ladder->leaves_slack)
	{
		RunPlanReadOnly(&plan, values, NULL, 1);
		if (SPI_processed > 0 &&
			!NoteIsOfState(DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)), stored))
			return "what is noted on the wallet is not of this state";
	}
	if (stored->counted_to == 0)
		return NULL;
	if (!SameMachine(stored->machine, machine))
		return "the stored machine cannot be read";
	if (!ExpectLater(ladder, member_id, STORED_AS_OF_QUERY, stored, PG_INT64_MAX, machine))
		return psprintf("an entry after " INT64_FORMAT " is missing that is of the time before", stored->counted_to);
	machine->logging = true;
	if (machine->next_coming < machine->ncoming)
		AdvanceMachine(machine, machine->coming[machine->ncoming - 1].at);
	columns = ColumnsOf(ladder, stored->versions, machine);
	if (DropEmptySteps(machine->logs, machine->nlogs) > 0 || !SameColumns(&stored->columns, &columns))
		return psprintf("an entry after " INT64_FORMAT " is missing that changes the tier", stored->counted_to);
	machine->logging = false;
	return NULL;
}

/*
 * What is wrong with a member's stored state and history, against a replay;
 * NULL when nothing is.
 */
static const char *
StoredProblem(const CachedLadder *ladder, int64 member_id)
{
	StoredTier	stored;
	TierMachine then;
	TierMachine now;
	const char *problem;
	int			nlogs;

	ReadStored(member_id, ladder, STORED_AS_OF_QUERY, &stored);
	if (!stored.found)
		return "facts without a state";
	if (stored.merged_into != 0)
	{
		if (CanonicalAsOf(member_id, &TIER_OF_QUERY) != stored.merged_into)
			return "counted for a member that it is not merged into";
		return stored.evaluated ? "counted for another member, and evaluated" : HistoryProblem(ladder, member_id, NULL, 0);
	}
	if (!stored.evaluated)
		return "never evaluated";
	if (!UnpackStored(&stored, ladder, &then))
		return "the stored machine cannot be read";
	if (!StoredColumnsAgree(&stored, ladder, &then))
		return "the columns of the state are not what its machine says";
	problem = SlackProblem(ladder, member_id, &stored, &then);
	if (problem != NULL)
		return problem;

	ReplayHistory(ladder->versions, GatherHistory(ladder, member_id, &TIER_OF_QUERY), then.now, &now);
	/* a version that came since is a change that is still to be booked */
	if (then.version != now.version && stored.versions < ladder->versions->nversions)
		return NULL;
	if (!SameMachine(stored.counted_to == 0 ? stored.machine : StoredMachine(&then), &now))
		return psprintf("the stored state is not what the facts give: level %d until %s, instead of %d until %s",
						then.state.effective, TimestampText(then.state.valid_until),
						now.state.effective, TimestampText(now.state.valid_until));
	nlogs = DropEmptySteps(now.logs, now.nlogs);
	if (stored.event_at != (nlogs > 0 ? now.logs[nlogs - 1].at : TIMESTAMP_MINUS_INFINITY))
		return "event_at of the state is not when the last step happened";
	return HistoryProblem(ladder, member_id, now.logs, nlogs);
}

/*
 * tier_problem(member_id, ladder): what is wrong with the stored state and
 * history of a member; NULL when nothing is.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_problem);
Datum
loyalty_tier_problem(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	text	   *result;

	ConnectTier();
	result = TextIn(caller, StoredProblem(FindLadder(text_to_cstring(PG_GETARG_TEXT_PP(1)), TIMESTAMP_INFINITY),
										  PG_GETARG_INT64(0)));
	SPI_finish();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}
