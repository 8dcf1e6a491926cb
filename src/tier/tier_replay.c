/*
 * tier_replay.c
 *		The replay of a member's history: facts, versions, grants, merges and
 *		returns, in time.  See tier.h for the rules.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "core/compat.h"
#include "core/core.h"
#include "tier/tier_machine.h"

static bool
TakenBack(const LadderVersions *versions, const TierFact *fact)
{
	int			v;

	if (fact->counts_at >= fact->at)
		return false;
	v = VersionAt(versions, fact->at);
	return v >= 0 && versions->version[v].definition->take_back;
}

/*
 * The facts of a history, as they are known in the business at known_until: a
 * return that is taken back is not there before it happened, and then goes to
 * the date of its order.
 */
static void
ExpectHistory(TierMachine *machine, const TierHistory *history, TimestampTz known_until)
{
	TierFact   *facts = palloc_extended(Max(history->nfacts, 1) * sizeof(TierFact), MCXT_ALLOC_HUGE);
	int			n = 0;

	for (int i = 0; i < history->nfacts; i++)
	{
		TierFact	fact = history->facts[i];

		if (TakenBack(machine->versions, &fact))
		{
			if (fact.at > known_until)
				continue;
			fact.at = fact.counts_at;
		}
		facts[n++] = fact;
	}
	ExpectFacts(machine, facts, n);
}

/* Fills the windows anew, for another ladder or with another's facts. */
static void
RebuildSlots(TierMachine *machine)
{
	for (int i = 0; i < TIER_MAX_MEASURES; i++)
	{
		machine->slot[i].n = 0;
		machine->slot[i].latest = 0;
		machine->slot[i].latest_at = TIMESTAMP_MINUS_INFINITY;
	}
	for (int i = 0; i < machine->ndone; i++)
	{
		const TierFact *fact = &machine->done[i];
		int			slot = machine->versions->version[machine->version].slot[fact->measure];

		if (slot >= 0)
			CountFact(machine, slot, fact);
	}
}

/*
 * What was carried over into the running period or term stays there, of a
 * measure that a new version counts in the same window.  before: NULL where
 * there was no version.
 */
static void
KeepCarried(TierMachine *machine, const LadderDefinition *before, const LadderDefinition *after)
{
	int64		carry[TIER_MAX_MEASURES] = {0};
	TimestampTz carry_from[TIER_MAX_MEASURES];

	for (int i = 0; i < TIER_MAX_MEASURES; i++)
	{
		carry_from[i] = TIMESTAMP_MINUS_INFINITY;
		for (int j = 0; before != NULL && i < after->nmeasures && j < before->nmeasures; j++)
		{
			if (strcmp(before->measure[j].code, after->measure[i].code) == 0 &&
				before->measure[j].window == after->measure[i].window)
			{
				carry[i] = machine->slot[j].carry;
				carry_from[i] = machine->slot[j].carry_from;
			}
		}
	}
	for (int i = 0; i < TIER_MAX_MEASURES; i++)
	{
		machine->slot[i].carry = carry[i];
		machine->slot[i].carry_from = carry_from[i];
	}
}

/*
 * A change of the effective tier that no step of the state machine made.
 * before: its rank, of a level that is gone what it has become.
 */
static void
NoteChange(TierMachine *machine, TimestampTz t, int before, const char *before_code, TierReason reason)
{
	TierStep	step = {.at = t, .reason = reason};
	int			after = machine->state.effective;

	if (strcmp(before_code, after > 0 ? machine->definition->level[after - 1].code : "") == 0)
		return;
	step.event = after == 0 ? TIER_EXPIRED : before_code[0] == '\0' ? TIER_ENROLLED :
		after > before ? TIER_UPGRADED : TIER_DOWNGRADED;
	machine->state.effective_since = t;
	LogTierStep(machine, &step);
}

static const char *
EffectiveCode(const TierMachine *machine)
{
	return machine->state.effective > 0 ?
		machine->definition->level[machine->state.effective - 1].code : "";
}

static void
SwitchVersion(TierMachine *machine, int version, TimestampTz t)
{
	const LadderDefinition *before = machine->definition;
	const LadderDefinition *after = machine->versions->version[version].definition;
	TierState  *state = &machine->state;
	const char *code = before ? EffectiveCode(machine) : "";
	int			effective = 0;

	machine->version = version;
	machine->definition = after;
	if (before == NULL)
	{
		for (int i = 0; i < machine->ngrants; i++)
			if (machine->grants[i].from <= t)
				JoinLadder(machine, machine->grants[i].from);
	}
	else
	{
		effective = MappedRank(before, after, state->effective);
		state->level = MappedRank(before, after, state->level);
		state->pending = MappedRank(before, after, state->pending);
		if (state->level == 0)
		{
			TierState	none;

			InitTierState(&none, state->joined_at);
			none.effective_since = state->effective_since;
			*state = none;
		}
		else if (state->pending <= state->level)
		{
			state->pending = 0;
			state->pending_at = TIMESTAMP_INFINITY;
		}
	}
	KeepCarried(machine, before, after);
	RebuildSlots(machine);
	PlanCarryOver(machine, t);
	state->granted = GrantedRank(machine, t);
	machine->granted_at = t;
	state->effective = Max(state->level, state->granted);
	NoteChange(machine, t, effective, code, REASON_LADDER_CHANGED);

	/* without facts there is no level, also none that asks for nothing */
	if (machine->ndone > 0)
	{
		machine->because = REASON_LADDER_CHANGED;
		StepTierMachine(machine, t, STEP_BY_FACTS);
		machine->because = REASON_NONE;
	}
}

static void ReplayBefore(const LadderVersions *versions, const TierHistory *history, TimestampTz until,
						 TimestampTz known_until, bool keep_done, TierMachine *machine);

/*
 * Joins the absorbed's state and facts to the survivor's at t.
 */
static void
MergeMachines(TierMachine *machine, const TierMerge *merge, TimestampTz known_until)
{
	TimestampTz t = merge->at;
	TierMachine other;
	TierState  *state = &machine->state;
	const char *code = machine->definition ? EffectiveCode(machine) : "";
	int			effective = state->effective;
	TierGrant  *grants;

	ReplayBefore(machine->versions, merge->absorbed, t, known_until, true, &other);
	if (other.state.level > state->level ||
		(other.state.level == state->level && other.state.valid_until > state->valid_until))
	{
		TimestampTz joined_at = state->joined_at;

		*state = other.state;
		state->joined_at = joined_at;
		machine->window_from = other.window_from;
		for (int i = 0; i < TIER_MAX_MEASURES; i++)
		{
			machine->slot[i].carry = other.slot[i].carry;
			machine->slot[i].carry_from = other.slot[i].carry_from;
		}
	}
	state->joined_at = Min(state->joined_at, other.state.joined_at);

	if (other.ndone > 0)
	{
		TierFact   *done = palloc_extended((machine->ndone + other.ndone) * sizeof(TierFact), MCXT_ALLOC_HUGE);

		memcpy(done, machine->done, machine->ndone * sizeof(TierFact));
		memcpy(done + machine->ndone, other.done, other.ndone * sizeof(TierFact));
		machine->done = done;
		machine->ndone += other.ndone;
		machine->done_size = machine->ndone;
		SortTierFacts(machine->done, machine->ndone);
	}
	ExpectFacts(machine, other.coming + other.next_coming, other.ncoming - other.next_coming);
	grants = palloc(Max(1, machine->ngrants + other.ngrants) * sizeof(TierGrant));
	memcpy(grants, machine->grants, machine->ngrants * sizeof(TierGrant));
	memcpy(grants + machine->ngrants, other.grants, other.ngrants * sizeof(TierGrant));
	machine->grants = grants;
	machine->ngrants += other.ngrants;

	if (machine->definition == NULL)
		return;
	RebuildSlots(machine);
	PlanCarryOver(machine, t);
	state->granted = GrantedRank(machine, t);
	machine->granted_at = t;
	state->effective = Max(state->level, state->granted);
	NoteChange(machine, t, effective, code, REASON_MERGED);
	if (machine->ndone > 0)
	{
		machine->because = REASON_MERGED;
		StepTierMachine(machine, t, STEP_BY_FACTS);
		machine->because = REASON_NONE;
	}
}

/*
 * A replay up to until, the facts of until itself excluded; the rest of them
 * is to come.  What is known in the business is what has happened by
 * known_until.
 */
static void
ReplayBefore(const LadderVersions *versions, const TierHistory *history, TimestampTz until,
			 TimestampTz known_until, bool keep_done, TierMachine *machine)
{
	int			merge = 0;

	InitMachine(machine, versions, history->joined_at);
	ExpectHistory(machine, history, known_until);
	machine->keep_done = keep_done || history->nmerges > 0 || versions->nversions > 1 || machine->version < 0;
	machine->logging = true;
	machine->ngrants = history->ngrants;
	machine->grants = history->grants;

	for (;;)
	{
		bool		has_version = machine->version + 1 < versions->nversions;
		bool		has_merge = merge < history->nmerges;
		TimestampTz version_at = has_version ? versions->version[machine->version + 1].from : TIMESTAMP_INFINITY;
		TimestampTz merge_at = has_merge ? history->merges[merge].at : TIMESTAMP_INFINITY;
		TimestampTz t = Min(Min(version_at, merge_at), until);

		CHECK_FOR_INTERRUPTS();
		AdvanceClock(machine, t);
		if (has_version && version_at <= t)
			SwitchVersion(machine, machine->version + 1, t);
		else if (has_merge && merge_at <= t)
			MergeMachines(machine, &history->merges[merge++], known_until);
		else
			break;
	}
}

/*
 * The machine as of until, without the steps that led there where returns
 * were taken back.
 */
void
ReplayLatest(const LadderVersions *versions, const TierHistory *history, TimestampTz until, TierMachine *machine)
{
	ReplayBefore(versions, history, until, until, false, machine);
	AdvanceMachine(machine, until);
}

static void
CollectReturns(const LadderVersions *versions, const TierHistory *history, TimestampTz until, TimestampTz **at, int *n)
{
	for (int i = 0; i < history->nfacts; i++)
	{
		const TierFact *fact = &history->facts[i];

		if (fact->at > until || !TakenBack(versions, fact))
			continue;
		if ((*n & (*n - 1)) == 0)
			*at = *at ? repalloc(*at, Max(1, *n * 2) * sizeof(TimestampTz)) : palloc(sizeof(TimestampTz));
		(*at)[(*n)++] = fact->at;
	}
	for (int i = 0; i < history->nmerges; i++)
		CollectReturns(versions, history->merges[i].absorbed, until, at, n);
}

static const char *
CodeOfLog(const TierLog *log)
{
	return log != NULL && log->rank > 0 ? log->definition->level[log->rank - 1].code : "";
}

/*
 * The machine as of until, with all steps that led there: between two returns
 * the history is the one that was known in the business then.
 */
void
ReplayHistory(const LadderVersions *versions, const TierHistory *history, TimestampTz until, TierMachine *machine)
{
	TimestampTz *returns = NULL;
	int			nreturns = 0;
	int			distinct = 0;
	TierLog    *logs;
	int			nlogs;

	CollectReturns(versions, history, until, &returns, &nreturns);
	if (nreturns == 0)
	{
		ReplayLatest(versions, history, until, machine);
		return;
	}
	qsort(returns, nreturns, sizeof(TimestampTz), CompareInstants);
	for (int i = 0; i < nreturns; i++)
		if (i == 0 || returns[i] != returns[distinct - 1])
			returns[distinct++] = returns[i];

	ReplayLatest(versions, history, returns[0] - 1, machine);
	logs = machine->logs;
	nlogs = machine->nlogs;
	for (int i = 0; i < distinct; i++)
	{
		TimestampTz from = returns[i];
		const TierLog *before = NULL;
		const TierLog *last = nlogs > 0 ? &logs[nlogs - 1] : NULL;
		TierLog    *joined;
		int			n = nlogs;
		int			first = 0;

		ReplayLatest(versions, history, i + 1 < distinct ? returns[i + 1] - 1 : until, machine);
		while (first < machine->nlogs && machine->logs[first].at < from)
			before = &machine->logs[first++];
		joined = palloc((nlogs + 1 + machine->nlogs - first) * sizeof(TierLog));
		if (nlogs > 0)
			memcpy(joined, logs, nlogs * sizeof(TierLog));
		if (strcmp(CodeOfLog(last), CodeOfLog(before)) != 0)
		{
			TierLog    *log = &joined[n++];
			int			was = last ? last->rank : 0;

			*log = before ? *before : *last;
			if (before == NULL)
			{
				log->rank = 0;
				log->valid_until = TIMESTAMP_INFINITY;
			}
			log->at = from;
			log->reason = REASON_RETURNED;
			log->event = log->rank == 0 ? TIER_EXPIRED : was == 0 ? TIER_ENROLLED :
				log->rank > was ? TIER_UPGRADED : TIER_DOWNGRADED;
		}
		if (first < machine->nlogs)
			memcpy(joined + n, machine->logs + first, (machine->nlogs - first) * sizeof(TierLog));
		n += machine->nlogs - first;
		logs = joined;
		nlogs = n;
	}
	machine->logs = logs;
	machine->nlogs = machine->log_size = nlogs;
}

/* ---------------------------------------------------------------------------
 * Histories and their steps
 * ---------------------------------------------------------------------------
 */

/*
 * When the last fact of a history happened, those of merged members included.
 * What is ahead of the clock, which says now, is to come; but for a return, which is ahead by
 * no more than the skew that is allowed, and may belong to an order of before.
 */
TimestampTz
LatestFact(const TierHistory *history, TimestampTz now)
{
	TimestampTz latest = TIMESTAMP_MINUS_INFINITY;

	for (int i = 0; i < history->nfacts; i++)
		if (history->facts[i].at <= now || history->facts[i].counts_at < history->facts[i].at)
			latest = Max(latest, history->facts[i].at);
	for (int i = 0; i < history->nmerges; i++)
		latest = Max(latest, Max(history->merges[i].at, LatestFact(history->merges[i].absorbed, now)));
	return latest;
}

/*
 * How many facts there are in a history, those of merged members included.
 */
int
CountFacts(const TierHistory *history)
{
	int			n = history->nfacts;

	for (int i = 0; i < history->nmerges; i++)
		n += CountFacts(history->merges[i].absorbed);
	return n;
}

/*
 * Steps that another follows at the same instant leave no trace.
 */
int
DropEmptySteps(TierLog *logs, int nlogs)
{
	int			n = 0;

	for (int i = 0; i < nlogs; i++)
		if (i + 1 == nlogs || logs[i + 1].at > logs[i].at)
			logs[n++] = logs[i];
	return n;
}
