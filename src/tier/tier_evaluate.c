/*
 * tier_evaluate.c
 *		The state machine.  See tier.h for its rules.
 */
#include "postgres.h"

#include "core/compat.h"
#include "tier/tier.h"

const char *
TierEventName(TierEvent event)
{
	static const char *const names[] = {
		"none", "enrolled", "upgraded", "renewed", "grace_started", "downgraded", "locked", "expired"
	};

	return names[event];
}

const char *
TierReasonName(TierReason reason)
{
	static const char *const names[] = {
		"none", "qualified", "next_period", "requalified", "requalified_in_grace", "not_requalified",
		"soft_landing", "never_down", "minimum", "granted", "grant_ended", "returned", "merged",
		"ladder_changed", "household"
	};

	return names[reason];
}

/*
 * The state of somebody who is on no level.
 */
void
InitTierState(TierState *state, TimestampTz joined_at)
{
	memset(state, 0, sizeof(TierState));
	state->joined_at = joined_at;
	state->since = TIMESTAMP_MINUS_INFINITY;
	state->anchor = TIMESTAMP_MINUS_INFINITY;
	state->valid_until = TIMESTAMP_INFINITY;
	state->grace_until = TIMESTAMP_MINUS_INFINITY;
	state->pending_at = TIMESTAMP_INFINITY;
	state->effective_since = TIMESTAMP_MINUS_INFINITY;
}

/*
 * Whether the invariants of tier.h hold.
 */
bool
TierStateIsSound(const TierState *state)
{
	if (state->level < 0 || state->granted < 0 || state->effective != Max(state->level, state->granted))
		return false;
	if (state->level == 0 && (state->valid_until != TIMESTAMP_INFINITY || state->pending != 0 ||
							  state->grace_until != TIMESTAMP_MINUS_INFINITY))
		return false;
	if (state->since > state->valid_until && state->grace_until == TIMESTAMP_MINUS_INFINITY)
		return false;
	if (state->grace_until != TIMESTAMP_MINUS_INFINITY && state->grace_until <= state->valid_until)
		return false;
	return state->pending == 0 ? state->pending_at == TIMESTAMP_INFINITY : state->pending > state->level;
}

/*
 * The next instant at which the clock alone makes a step; infinity for never.
 */
TimestampTz
TierNext(const TierState *state)
{
	TimestampTz next = state->grace_until != TIMESTAMP_MINUS_INFINITY ?
		state->grace_until : state->valid_until;

	return Min(next, state->pending_at);
}

/*
 * Whether values, in the order of the ladder's measures, meet criteria.
 */
static bool
CriteriaMet(const TierCriteria *criteria, const int64 *values)
{
	int			met = 0;

	for (int i = 0; i < TIER_MAX_MEASURES; i++)
		if ((criteria->asked & (1U << i)) && values[i] >= criteria->at_least[i])
			met++;
	return met >= criteria->need;
}

/*
 * The highest rank whose qualifying criteria are met; 0 for none.
 */
int
QualifiedRank(const LadderDefinition *ladder, const int64 *values)
{
	for (int rank = ladder->nlevels; rank > 0; rank--)
		if (CriteriaMet(&ladder->level[rank - 1].qualify, values))
			return rank;
	return 0;
}

/*
 * The highest rank up to level whose renewal criteria are met; 0 for none.
 * Those of a higher one, which may be easier, do not keep a level.
 */
int
RenewedRank(const LadderDefinition *ladder, int level, const int64 *values)
{
	for (int rank = level; rank > 0; rank--)
		if (CriteriaMet(&ladder->level[rank - 1].renew, values))
			return rank;
	return 0;
}

/*
 * Begins the first term of a level, at start, after the period that has begun
 * there or that ends there.  Where a grace, which ends now, has outlasted that whole
 * term, it follows the grace instead.
 */
static void
BeginTerm(TierState *state, const LadderDefinition *ladder, int level, TimestampTz start, PeriodAsked after, TimestampTz now)
{
	const TierLevel *l = &ladder->level[level - 1];

	state->level = level;
	state->anchor = start;
	state->terms = 1;
	state->grace_until = TIMESTAMP_MINUS_INFINITY;
	if (l->validity == VALID_FOREVER)
		state->valid_until = TIMESTAMP_INFINITY;
	else if (l->validity == VALID_INTERVAL)
		state->valid_until = AddSpan(ladder, start, &l->interval, 1);
	else
		state->valid_until = TierPeriodEnd(ladder, ladder->period, state->joined_at,
									   TierPeriodEnd(ladder, ladder->period, state->joined_at,
												 after == PERIOD_ENDED ? start - 1 : start));
	if (state->valid_until <= now)
		BeginTerm(state, ladder, level, now, PERIOD_ENDED, now);
	if (state->pending <= level)
	{
		state->pending = 0;
		state->pending_at = TIMESTAMP_INFINITY;
	}
}

/*
 * Begins the next term of the level that is held, at the end of this one.
 */
static void
NextTerm(TierState *state, const LadderDefinition *ladder, TimestampTz now)
{
	const TierLevel *l = &ladder->level[state->level - 1];

	if (l->validity == VALID_INTERVAL &&
		AddSpan(ladder, state->anchor, &l->interval, state->terms) == state->valid_until)
	{
		TimestampTz next = AddSpan(ladder, state->anchor, &l->interval, state->terms + 1);

		if (next > now)
		{
			state->terms++;
			state->valid_until = next;
			state->grace_until = TIMESTAMP_MINUS_INFINITY;
			return;
		}
	}
	/* a ladder may have changed since the term began */
	BeginTerm(state, ladder, state->level, state->valid_until, PERIOD_ENDED, now);
}

static void
LeaveLadder(TierState *state)
{
	TierState	none;

	InitTierState(&none, state->joined_at);
	none.granted = state->granted;
	none.effective = state->effective;
	none.effective_since = state->effective_since;
	*state = none;
}

/*
 * The end of a term, or of the grace after it.
 */
static void
StepAtEnd(TierState *state, const TierInput *input, const LadderDefinition *ladder, TierStep *step)
{
	const TierLevel *l = &ladder->level[state->level - 1];
	bool		in_grace = state->grace_until != TIMESTAMP_MINUS_INFINITY;
	int			target = Max(input->qualified, Min(input->renewed, state->level));
	TierReason	reason = REASON_NOT_REQUALIFIED;

	step->at = in_grace ? state->grace_until : state->valid_until;
	step->term_began = true;

	if (target > state->level)
	{
		state->since = step->at;
		BeginTerm(state, ladder, target, state->valid_until, PERIOD_ENDED, step->at);
		step->event = TIER_UPGRADED;
		step->reason = REASON_QUALIFIED;
		return;
	}
	if (target == state->level)
	{
		NextTerm(state, ladder, step->at);
		step->event = TIER_RENEWED;
		step->reason = in_grace ? REASON_REQUALIFIED_IN_GRACE : REASON_REQUALIFIED;
		return;
	}

	if (l->at_end == END_NEVER_DOWN)
	{
		target = state->level;
		reason = REASON_NEVER_DOWN;
	}
	else if (l->at_end == END_SOFT_LANDING && target < state->level - 1)
	{
		target = state->level - 1;
		reason = REASON_SOFT_LANDING;
	}
	if (target < Min(state->level, ladder->minimum))
	{
		target = Min(state->level, ladder->minimum);
		reason = REASON_MINIMUM;
	}

	step->reason = reason;
	if (target == state->level)
	{
		NextTerm(state, ladder, step->at);
		step->event = TIER_LOCKED;
	}
	else if (l->has_grace && !in_grace)
	{
		state->grace_until = AddSpan(ladder, state->valid_until, &l->grace, 1);
		step->event = TIER_GRACE_STARTED;
		step->reason = REASON_NOT_REQUALIFIED;
		step->term_began = false;
	}
	else if (target > 0)
	{
		state->since = step->at;
		BeginTerm(state, ladder, target, state->valid_until, PERIOD_ENDED, step->at);
		step->event = TIER_DOWNGRADED;
	}
	else
	{
		LeaveLadder(state);
		step->event = TIER_EXPIRED;
	}
}

static void
StepAtFact(TierState *state, const TierInput *input, const LadderDefinition *ladder, TierStep *step)
{
	bool		in_grace = state->grace_until != TIMESTAMP_MINUS_INFINITY;

	if (input->qualified > state->level && state->level > 0 && ladder->next_period)
	{
		/* renewal in grace is not kept waiting */
		if (input->qualified > state->pending)
		{
			state->pending = input->qualified;
			state->pending_at = TierPeriodEnd(ladder, ladder->period, state->joined_at, input->at);
			step->reason = REASON_NEXT_PERIOD;
		}
	}
	else if (input->qualified > state->level)
	{
		step->event = TIER_UPGRADED;
		step->reason = REASON_QUALIFIED;
		step->term_began = true;
		state->since = input->at;
		BeginTerm(state, ladder, input->qualified, input->at, PERIOD_BEGUN, input->at);
		return;
	}
	if (in_grace && Max(input->renewed, input->qualified) >= state->level)
	{
		NextTerm(state, ladder, step->at);
		step->event = TIER_RENEWED;
		step->reason = REASON_REQUALIFIED_IN_GRACE;
		step->term_began = true;
	}
}

/*
 * One step of the state machine, in place.  What is due by the clock at or
 * before input->at goes first and happens at its own instant; call again while
 * TierNext() is not after input->at.  A caller who wants what was qualified
 * for at each instant stops at each TierNext() on the way.  Plain computing:
 * no clock, no catalog.
 */
void
TierEvaluate(TierState *state, const TierInput *input, const LadderDefinition *ladder, TierStep *step)
{
	int			effective = state->effective;
	int			granted = state->granted;

	step->at = input->at;
	step->event = TIER_NONE;
	step->reason = REASON_NONE;
	step->term_began = false;

	if (state->pending_at <= input->at && state->pending_at <= TierNext(state))
	{
		step->at = state->since = state->pending_at;
		BeginTerm(state, ladder, state->pending, step->at, PERIOD_BEGUN, step->at);
		step->event = TIER_UPGRADED;
		step->reason = REASON_NEXT_PERIOD;
		step->term_began = true;
	}
	else if (TierNext(state) <= input->at)
		StepAtEnd(state, input, ladder, step);
	else
		StepAtFact(state, input, ladder, step);

	/* the grant is laid over */
	state->granted = input->granted;
	state->effective = Max(state->level, state->granted);
	if (state->effective != effective)
	{
		if (state->granted != granted && (step->event == TIER_NONE || state->level < state->granted))
			step->reason = state->granted > granted ? REASON_GRANTED : REASON_GRANT_ENDED;
		step->event = effective == 0 ? TIER_ENROLLED : state->effective > effective ? TIER_UPGRADED :
			state->effective == 0 ? TIER_EXPIRED : TIER_DOWNGRADED;
		state->effective_since = step->at;
	}
	else if (step->event == TIER_DOWNGRADED || step->event == TIER_EXPIRED)
	{
		/* what was earned fell, and the grant holds */
		step->event = TIER_LOCKED;
		step->reason = REASON_GRANTED;
	}
	else if (state->level < state->effective ||
			 (step->event == TIER_GRACE_STARTED && state->granted >= state->level) ||
			 step->event == TIER_UPGRADED)
	{
		step->event = TIER_NONE;
		if (step->reason != REASON_NEXT_PERIOD)
			step->reason = REASON_NONE;
	}
	Assert(TierStateIsSound(state));
}
