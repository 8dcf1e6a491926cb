/*
 * decide.c
 *		What an activity earns; see decide.h for the rules.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "core/compat.h"
#include "rule/decide.h"

/* All that a decision looks at */
typedef struct Decision
{
	Candidate  *const *candidates;
	int			n;
} Decision;

/* How far the multipliers of a lane and currency have come: a factor a line */
typedef struct Factors
{
	Combination combination;
	int			nlines;
	Exact	   *lines;			/* of the last, lines[nlines], what is no line */
} Factors;

/*
 * Begins a candidate that holds nothing.
 */
void
InitCandidate(Candidate *candidate, const Campaign *campaign, const Activity *subject)
{
	memset(candidate, 0, sizeof(Candidate));
	candidate->campaign = campaign;
	candidate->subject = subject;
	candidate->nactivities = 1;
	candidate->rulings = palloc0(Max(1, campaign->neffects) * sizeof(Ruling));
}

/* ---------------------------------------------------------------------------
 * Matching
 * ---------------------------------------------------------------------------
 */

/* The place of what does not hold; NULL: everything holds. */
static const char *
FailedAt(const Campaign *campaign, ConditionSubject *subject)
{
	const Activity *activity = subject->activity;

	if (activity->cancelled)
		return "cancelled";
	if (activity->returned)
		return "returned";
	if (campaign->money != NULL && activity->money != NULL && strcmp(campaign->money, activity->money) != 0)
		return "money";
	if (campaign->from != DT_NOBEGIN || campaign->until != DT_NOEND)
	{
		Timestamp	local = LocalOfSubject(subject);

		if (local < campaign->from || local >= campaign->until)
			return "between";
	}
	if (campaign->when != NULL && EvaluateCondition(campaign->when, subject) != TRUTH_YES)
		return subject->failed_at;
	return NULL;
}

/*
 * Whether the conditions on an activity hold, and for which of its lines.
 * lines: NULL, or those that match.
 */
static const char *
SelectActivity(const Campaign *campaign, const Activity *activity, bool **lines, FactReader read, void *arg)
{
	ConditionSubject subject = {.activity = activity,.zone = campaign->zone,.read = read,.arg = arg};
	const char *failed_at = FailedAt(campaign, &subject);

	*lines = NULL;
	if (failed_at == NULL && activity->nlines > 0 && campaign->when != NULL && SelectsLines(campaign->when))
	{
		*lines = palloc0(activity->nlines * sizeof(bool));
		SelectLines(campaign->when, &subject, *lines);
	}
	return failed_at;
}

/*
 * Whether an activity belongs to its window: that is asked of each activity by
 * itself.
 */
bool
ActivityIsSelected(const Campaign *campaign, const Activity *activity, bool **lines, FactReader read, void *arg)
{
	return SelectActivity(campaign, activity, lines, read, arg) == NULL;
}

/*
 * Whether the campaign's conditions hold.  Of a window the subject is what its
 * activities add up to.
 */
bool
MatchCandidate(Candidate *candidate, FactReader read, void *arg)
{
	const Campaign *campaign = candidate->campaign;

	if (!campaign->has_window)
		candidate->failed_at = SelectActivity(campaign, candidate->subject, &candidate->lines, read, arg);
	else
	{
		ConditionSubject subject = {.activity = candidate->subject,.nactivities = candidate->nactivities};

		candidate->failed_at = candidate->nactivities == 0 ? "when" : NULL;
		if (candidate->failed_at == NULL && campaign->having != NULL &&
			EvaluateCondition(campaign->having, &subject) != TRUTH_YES)
			candidate->failed_at = subject.failed_at;
	}
	candidate->matched = candidate->failed_at == NULL;
	candidate->held_out = false;
	if (candidate->matched && campaign->treat != NULL)
	{
		ConditionSubject subject = {.activity = candidate->subject,.zone = campaign->zone,.read = read,.arg = arg};

		candidate->held_out = EvaluateCondition(campaign->treat, &subject) != TRUTH_YES;
	}
	return candidate->matched;
}

/* ---------------------------------------------------------------------------
 * Worth
 * ---------------------------------------------------------------------------
 */

/* Whether a line counts in an effect. */
static bool
LineCounts(const Candidate *candidate, const Effect *effect, int line)
{
	if (!candidate->subject->lines[line].earns)
		return false;
	if (effect->of_lines && candidate->lines != NULL && !candidate->lines[line])
		return false;
	return candidate->won == NULL || candidate->won[line];
}

/* What a line is worth by a rate, or by units. */
static Exact
LineWorth(const Candidate *candidate, const Effect *effect, int line)
{
	const ActivityLine *l = &candidate->subject->lines[line];

	if (!LineCounts(candidate, effect, line))
		return EXACT_ZERO;
	if (effect->kind == EFFECT_RATE)
		return MakeExact((int128) l->amount * effect->give, (int128) effect->per * MICROS_PER_UNIT);
	if (effect->kind == EFFECT_UNIT)
		return MakeExact((int128) l->quantity * effect->give, (int128) MICROS_PER_UNIT * MICROS_PER_UNIT);
	return EXACT_ZERO;
}

/* The amount over which an effect counts. */
static int128
AmountOf(const Candidate *candidate, const Effect *effect)
{
	const Activity *activity = candidate->subject;
	int128		amount = effect->of_lines ? 0 : activity->amount;

	for (int i = 0; i < activity->nlines; i++)
	{
		if (effect->of_lines && LineCounts(candidate, effect, i))
			amount += activity->lines[i].amount;
		if (!effect->of_lines && !activity->lines[i].earns)
			amount -= activity->lines[i].amount;
	}
	return Max(amount, 0);
}

/* What belongs to no line: of a rate the amount beyond its lines. */
static Exact
RestWorth(const Candidate *candidate, const Effect *effect)
{
	const Activity *activity = candidate->subject;
	int128		amount;
	int128		points = 0;

	switch (effect->kind)
	{
		case EFFECT_FIXED:
			return MakeExact(effect->give, 1);
		case EFFECT_RATE:
			if (effect->of_lines)
				return EXACT_ZERO;
			amount = activity->amount;
			for (int i = 0; i < activity->nlines; i++)
				amount -= activity->lines[i].amount;
			return MakeExact(amount * effect->give, (int128) effect->per * MICROS_PER_UNIT);
		case EFFECT_EVERY:
			return MakeExact(AmountOf(candidate, effect) / effect->per * effect->give, MICROS_PER_UNIT);
		case EFFECT_BRACKETS:
			amount = AmountOf(candidate, effect);
			for (int i = 0; i < effect->nbrackets && amount > effect->brackets[i].from; i++)
			{
				int128		until = i + 1 < effect->nbrackets ? Min(amount, effect->brackets[i + 1].from) : amount;

				points += (until - effect->brackets[i].from) * effect->brackets[i].rate;
			}
			return MakeExact(points, (int128) MICROS_PER_UNIT * MICROS_PER_UNIT);
		case EFFECT_UNIT:
		case EFFECT_MULTIPLY:
		case EFFECT_ITEM:
			break;
	}
	return EXACT_ZERO;
}

/* Whether an effect counts line by line. */
static inline bool
CountsLines(const Effect *effect)
{
	return effect->kind == EFFECT_RATE || effect->kind == EFFECT_UNIT;
}

/* What an additive effect is worth, exactly. */
static Exact
Worth(const Candidate *candidate, const Effect *effect)
{
	const Activity *activity = candidate->subject;
	Exact		worth;

	/* the usual one in one step */
	if (effect->kind == EFFECT_RATE)
		return MakeExact(AmountOf(candidate, effect) * effect->give, (int128) effect->per * MICROS_PER_UNIT);
	worth = RestWorth(candidate, effect);
	for (int i = 0; i < activity->nlines; i++)
		worth = AddExact(worth, LineWorth(candidate, effect, i));
	return worth;
}

/* The points of an additive effect, rounded where it says. */
static int64
AdditivePoints(const Candidate *candidate, const Effect *effect)
{
	const Activity *activity = candidate->subject;
	int64		points;

	if (!effect->round_by_line || !CountsLines(effect))
		return RoundExact(Worth(candidate, effect), effect->rounding);
	points = RoundExact(RestWorth(candidate, effect), effect->rounding);
	for (int i = 0; i < activity->nlines; i++)
		points += RoundExact(LineWorth(candidate, effect, i), effect->rounding);
	return Max(points, 0);
}

/* ---------------------------------------------------------------------------
 * Multipliers
 * ---------------------------------------------------------------------------
 */

static Factors *
MakeFactors(const Activity *activity, Combination combination)
{
	Factors    *factors = palloc(sizeof(Factors));

	factors->combination = combination;
	factors->nlines = activity->nlines;
	factors->lines = palloc((activity->nlines + 1) * sizeof(Exact));
	for (int i = 0; i <= activity->nlines; i++)
		factors->lines[i] = EXACT_ONE;
	return factors;
}

/* Takes one more multiplier in. */
static void
Multiply(Factors *factors, const Candidate *candidate, const Effect *effect)
{
	Exact		by = ReduceExact(MakeExact(effect->give, MICROS_PER_UNIT));

	for (int i = 0; i <= factors->nlines; i++)
	{
		Exact	   *factor = &factors->lines[i];

		if (i == factors->nlines ? effect->of_lines : !LineCounts(candidate, effect, i))
			continue;
		if (factors->combination == COMBINE_ADD)
			*factor = AddExact(*factor, MakeExact(by.num - by.den, by.den));
		else if (factors->combination == COMBINE_MULTIPLY)
			*factor = MultiplyExact(*factor, by);
		else if (ExceedsExact(by, *factor))
			*factor = by;
	}
}

/* Whether what a candidate gives is multiplied: it is of the lane, and in. */
static bool
IsMultiplied(const Candidate *candidate, const Activity *activity)
{
	return candidate->campaign->lane == LANE_BASE && candidate->matched && !candidate->held_out && candidate->lost_to == NULL &&
		(candidate->campaign->group == NULL || candidate->is_settled) && candidate->subject == activity;
}

/*
 * What the lane is worth to a multiplier, under some factors: of one line, or
 * (nlines) of what is no line.
 */
static Exact
MultipliedPart(const Decision *decision, const Activity *activity, const Effect *multiplier, const Factors *factors, int line)
{
	Exact		sum = EXACT_ZERO;

	for (int c = 0; c < decision->n; c++)
	{
		const Candidate *candidate = decision->candidates[c];

		if (!IsMultiplied(candidate, activity))
			continue;
		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			const Effect *effect = &candidate->campaign->effects[e];

			if (effect->currency == NULL || effect->kind == EFFECT_MULTIPLY ||
				strcmp(effect->currency, multiplier->currency) != 0)
				continue;
			sum = AddExact(sum, line == factors->nlines ? RestWorth(candidate, effect) : LineWorth(candidate, effect, line));
		}
	}
	return sum.num == 0 ? sum : MultiplyExact(sum, factors->lines[line]);
}

/* round(V) under some factors */
static int64
MultipliedPoints(const Decision *decision, const Activity *activity, const Effect *multiplier, const Factors *factors)
{
	Exact		sum = EXACT_ZERO;
	int64		points = 0;

	for (int i = 0; i <= factors->nlines; i++)
	{
		Exact		part = MultipliedPart(decision, activity, multiplier, factors, i);

		if (multiplier->round_by_line)
			points += RoundExact(part, multiplier->rounding);
		else
			sum = AddExact(sum, part);
	}
	return Max(multiplier->round_by_line ? points : RoundExact(sum, multiplier->rounding), 0);
}

/*
 * The factors before a candidate's effect: of the multipliers in order that are
 * in.
 */
static Factors *
FactorsBefore(const Decision *decision, const Candidate *candidate, int effect)
{
	const Effect *multiplier = &candidate->campaign->effects[effect];
	Factors    *factors = MakeFactors(candidate->subject, multiplier->combination);

	for (int c = 0; c < decision->n; c++)
	{
		const Candidate *other = decision->candidates[c];

		if (other != candidate &&
			(!other->matched || other->held_out || other->lost_to != NULL || other->subject != candidate->subject))
			continue;
		for (int e = 0; e < other->campaign->neffects; e++)
		{
			if (other == candidate && e == effect)
				return factors;
			if (other->campaign->effects[e].kind == EFFECT_MULTIPLY &&
				strcmp(other->campaign->effects[e].currency, multiplier->currency) == 0)
				Multiply(factors, other, &other->campaign->effects[e]);
		}
	}
	return factors;
}

/* What a multiplier adds to those before it; alone: to none before it. */
static int64
MultiplierPoints(const Decision *decision, const Candidate *candidate, int effect, bool alone)
{
	const Effect *multiplier = &candidate->campaign->effects[effect];
	Factors    *factors = alone ? MakeFactors(candidate->subject, multiplier->combination) :
		FactorsBefore(decision, candidate, effect);
	int64		before = MultipliedPoints(decision, candidate->subject, multiplier, factors);

	Multiply(factors, candidate, multiplier);
	return Max(MultipliedPoints(decision, candidate->subject, multiplier, factors) - before, 0);
}

static int64
Wanted(const Decision *decision, const Candidate *candidate, int effect, bool alone)
{
	const Effect *e = &candidate->campaign->effects[effect];

	if (e->kind == EFFECT_ITEM)
		return 1;
	if (e->kind == EFFECT_MULTIPLY)
		return MultiplierPoints(decision, candidate, effect, alone);
	return AdditivePoints(candidate, e);
}

/* ---------------------------------------------------------------------------
 * Limits
 * ---------------------------------------------------------------------------
 */

/* What of held counts in the limits that are looked at. */
static inline int64
Counted(const Held *held)
{
	return held->counts_elsewhere ? 0 : held->points;
}

static bool
LimitCounts(const CampaignLimit *limit, const Effect *effect)
{
	return limit->in_times || (effect->currency != NULL && strcmp(limit->currency, effect->currency) == 0);
}

/* An effect that had some points has others now: what counters say of it. */
static void
Count(Candidate *candidate, int effect, int64 before, int64 now)
{
	const Campaign *campaign = candidate->campaign;

	for (int i = 0; i < campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &campaign->limits[i];
		Counter    *counter = candidate->counters[i];
		int		   *holders;
		int64		change = 0;

		if (limit->scope == LIMIT_AWARD || !LimitCounts(limit, &campaign->effects[effect]))
			continue;
		holders = campaign->has_window ? &candidate->window_holders[i] : &counter->holders;
		if (!limit->in_times)
			change = now - before;
		else if (before == 0 && now > 0)
			change = (*holders)++ == 0;
		else if (before > 0 && now == 0)
			change = -(--(*holders) == 0);
		counter->used += change;
		counter->most_used = Max(counter->most_used, counter->used);
		if (campaign->has_window)
			counter->by_windows += change;
	}
}

/* Of an item that is held so often there are more given now, or fewer. */
static inline void
CountItem(const Ruling *ruling, int64 before, int64 now)
{
	if (ruling->left != NULL)
		ruling->left->given += Max(now - ruling->held.points, 0) - Max(before - ruling->held.points, 0);
}

/* Gives back what a candidate holds. */
static void
GiveBack(Candidate *candidate)
{
	for (int e = 0; e < candidate->campaign->neffects; e++)
	{
		Ruling	   *ruling = &candidate->rulings[e];

		ruling->limited_by = NULL;
		ruling->stayed = ruling->held.stays && !candidate->keep;
		if (candidate->keep)
			ruling->given = ruling->held.points;
		else
		{
			ruling->given = ruling->held.stays ? ruling->held.points : 0;
			Count(candidate, e, Counted(&ruling->held), ruling->given);
		}
	}
}

/* Whether limits in times let a candidate have anything; else which does not. */
static const char *
TimesUsedUp(const Candidate *candidate)
{
	const Campaign *campaign = candidate->campaign;

	for (int i = 0; i < campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &campaign->limits[i];

		if (limit->in_times && candidate->counters[i]->used >= limit->most &&
			(campaign->has_window ? candidate->window_holders[i] : candidate->counters[i]->holders) == 0)
			return limit->name;
	}
	return NULL;
}

/* What other effects of the campaign have of a limit of one award. */
static int64
AwardedBeside(const Candidate *candidate, const CampaignLimit *limit, int effect)
{
	int64		sum = 0;

	for (int e = 0; e < candidate->campaign->neffects; e++)
	{
		if (e != effect && LimitCounts(limit, &candidate->campaign->effects[e]))
			sum += e < effect ? candidate->rulings[e].given : Counted(&candidate->rulings[e].held);
	}
	return sum;
}

/* The most that limits in points leave for an effect; name says which. */
static int64
Room(const Candidate *candidate, int effect, const char **name)
{
	const Campaign *campaign = candidate->campaign;
	const Ruling *ruling = &candidate->rulings[effect];
	int64		room = PG_INT64_MAX;

	for (int i = 0; i < campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &campaign->limits[i];
		int64		left;

		if (limit->in_times || !LimitCounts(limit, &campaign->effects[effect]))
			continue;
		if (limit->scope == LIMIT_AWARD)
			left = Max(limit->most - AwardedBeside(candidate, limit, effect), 0);
		else
			left = Counted(&ruling->held) + Max(limit->most - candidate->counters[i]->used, 0);
		if (left < room)
		{
			room = left;
			*name = limit->name;
		}
	}
	return room;
}

/* What an effect gets of what it wants. */
static void
Grant(Candidate *candidate, int effect, const char *used_up)
{
	Ruling	   *ruling = &candidate->rulings[effect];
	const char *name = NULL;
	int64		room;

	ruling->given = ruling->wanted;
	ruling->limited_by = NULL;
	if (ruling->held.trimmed && ruling->given > ruling->held.ceiling)
	{
		ruling->given = ruling->held.ceiling;
		ruling->limited_by = ruling->held.limited_by;
	}
	if (ruling->given > 0 && used_up != NULL)
	{
		ruling->given = 0;
		ruling->limited_by = used_up;
	}
	room = Room(candidate, effect, &name);
	if (ruling->given > room)
	{
		ruling->given = room;
		ruling->limited_by = name;
	}
	if (ruling->left != NULL && ruling->given - ruling->held.points > Max(ruling->left->left - ruling->left->given, 0))
	{
		ruling->given = ruling->held.points;
		ruling->limited_by = ruling->left->limited_by;
	}
	ruling->stayed = ruling->held.stays && !candidate->keep && ruling->given < ruling->held.points;
	if (candidate->keep || ruling->held.stays)
		ruling->given = Max(ruling->given, ruling->held.points);
	if (ruling->given >= ruling->wanted)
		ruling->limited_by = NULL;
	CountItem(ruling, ruling->held.points, ruling->given);
	Count(candidate, effect, Counted(&ruling->held), ruling->given);
}

/* Where a campaign takes all or nothing, and something is missing: nothing. */
static void
RefuseRest(Candidate *candidate)
{
	const char *name = NULL;

	for (int e = 0; e < candidate->campaign->neffects && name == NULL; e++)
		name = candidate->rulings[e].limited_by;
	if (name == NULL)
		return;
	for (int e = 0; e < candidate->campaign->neffects; e++)
	{
		Ruling	   *ruling = &candidate->rulings[e];
		int64		kept = candidate->keep || ruling->held.stays ? ruling->held.points : 0;

		ruling->stayed = ruling->held.stays && !candidate->keep;
		CountItem(ruling, ruling->given, kept);
		Count(candidate, e, ruling->given, kept);
		ruling->given = kept;
		ruling->limited_by = ruling->wanted > kept ? name : NULL;
	}
}

static bool
GaveSomething(const Candidate *candidate)
{
	for (int e = 0; e < candidate->campaign->neffects; e++)
	{
		if (candidate->rulings[e].given > 0)
			return true;
	}
	return false;
}

/* Effects of one campaign, in the state of counters as it is. */
static void
GrantEffects(const Decision *decision, Candidate *candidate, bool alone)
{
	const char *used_up = candidate->held_out ? "holdout" : TimesUsedUp(candidate);

	for (int e = 0; e < candidate->campaign->neffects; e++)
	{
		candidate->rulings[e].wanted = Wanted(decision, candidate, e, alone);
		Grant(candidate, e, used_up);
	}
	if (candidate->campaign->refuse)
		RefuseRest(candidate);
}

/* ---------------------------------------------------------------------------
 * Groups
 * ---------------------------------------------------------------------------
 */

/*
 * What a campaign would give alone: as if no other had anything of this
 * activity.  Returns whether anything is left for it, and how much in the
 * group's currency.
 */
static bool
GivesAlone(const Decision *decision, Candidate *candidate, int64 *points)
{
	const Campaign *campaign = candidate->campaign;
	Counter		saved[CAMPAIGN_MAX_LIMITS];
	int			saved_holders[CAMPAIGN_MAX_LIMITS];
	bool		any;

	memcpy(saved_holders, candidate->window_holders, sizeof(saved_holders));
	for (int i = 0; i < campaign->nlimits; i++)
	{
		if (campaign->limits[i].scope == LIMIT_AWARD)
			continue;
		saved[i] = *candidate->counters[i];
		if (!campaign->limits[i].in_times)
			candidate->counters[i]->used -= candidate->counters[i]->held_here;
	}
	/* its own comes back by Count() */
	for (int e = 0; e < campaign->neffects; e++)
	{
		for (int i = 0; i < campaign->nlimits; i++)
		{
			if (campaign->limits[i].scope != LIMIT_AWARD && !campaign->limits[i].in_times &&
				LimitCounts(&campaign->limits[i], &campaign->effects[e]))
				candidate->counters[i]->used += Counted(&candidate->rulings[e].held);
		}
	}
	GrantEffects(decision, candidate, true);
	any = GaveSomething(candidate);
	*points = 0;
	for (int e = 0; e < campaign->neffects; e++)
	{
		if (campaign->effects[e].currency != NULL && strcmp(campaign->effects[e].currency, campaign->group_currency) == 0)
			*points += candidate->rulings[e].given;
		CountItem(&candidate->rulings[e], candidate->rulings[e].given, 0);
		candidate->rulings[e].given = 0;
	}
	for (int i = 0; i < campaign->nlimits; i++)
	{
		if (campaign->limits[i].scope != LIMIT_AWARD)
			*candidate->counters[i] = saved[i];
	}
	memcpy(candidate->window_holders, saved_holders, sizeof(saved_holders));
	return any;
}

/* What a campaign alone makes of a line, exactly, in the group's currency. */
static Exact
LineAlone(const Decision *decision, const Candidate *candidate, int line)
{
	const Campaign *campaign = candidate->campaign;
	Exact		sum = EXACT_ZERO;

	for (int e = 0; e < campaign->neffects; e++)
	{
		const Effect *effect = &campaign->effects[e];

		if (strcmp(effect->currency, campaign->group_currency) != 0)
			continue;
		if (effect->kind == EFFECT_MULTIPLY)
		{
			Factors    *factors = MakeFactors(candidate->subject, effect->combination);
			Exact		before = MultipliedPart(decision, candidate->subject, effect, factors, line);

			Multiply(factors, candidate, effect);
			sum = AddExact(sum, MultipliedPart(decision, candidate->subject, effect, factors, line));
			sum = AddExact(sum, MakeExact(-before.num, before.den));
		}
		else
			sum = AddExact(sum, LineWorth(candidate, effect, line));
	}
	return sum;
}

/* One winner of each line. */
static void
PickByLine(const Decision *decision, Candidate **members, int n)
{
	int			nlines = members[0]->subject->nlines;
	int		   *winners = palloc(Max(1, nlines) * sizeof(int));
	int			first = -1;

	for (int line = 0; line < nlines; line++)
	{
		Exact		best = EXACT_ZERO;

		CHECK_FOR_INTERRUPTS();
		winners[line] = -1;
		for (int c = 0; c < n; c++)
		{
			Exact		worth = LineAlone(decision, members[c], line);

			if (worth.num > 0 &&
				(winners[line] < 0 || (!members[c]->campaign->pick_first && ExceedsExact(worth, best))))
			{
				best = worth;
				winners[line] = c;
			}
		}
		if (first < 0)
			first = winners[line];
	}
	for (int c = 0; c < n; c++)
	{
		bool		any = false;

		members[c]->won = palloc0(Max(1, nlines) * sizeof(bool));
		for (int line = 0; line < nlines; line++)
		{
			members[c]->won[line] = winners[line] == c;
			any = any || winners[line] == c;
		}
		if (!any && first >= 0)
			members[c]->lost_to = members[first]->campaign->code;
	}
	pfree(winners);
}

/* What a fixed candidate holds stands, also after it was looked at alone. */
static void
Stand(Candidate *candidate)
{
	for (int e = 0; e < candidate->campaign->neffects; e++)
		candidate->rulings[e].given = candidate->rulings[e].held.points;
}

/*
 * Settles a group: of its campaigns of which something is left one wins, and
 * the others give nothing.
 */
static void
PickOfGroup(const Decision *decision, const Campaign *campaign)
{
	Candidate **members = palloc(decision->n * sizeof(Candidate *));
	Candidate  *best = NULL;
	Candidate  *stands = NULL;
	int64		most = 0;
	int			n = 0;

	for (int c = 0; c < decision->n; c++)
	{
		Candidate  *candidate = decision->candidates[c];
		int64		points;

		if (candidate->campaign->group == NULL || strcmp(candidate->campaign->group, campaign->group) != 0)
			continue;
		if (candidate->fixed && !campaign->group_by_line)
		{
			if (stands == NULL && GaveSomething(candidate))
				stands = candidate;
			continue;
		}
		if (!candidate->matched || !GivesAlone(decision, candidate, &points))
			continue;
		members[n++] = candidate;
		if (best == NULL || (!campaign->pick_first && points > most))
		{
			best = candidate;
			most = points;
		}
	}
	if (n > 0 && campaign->group_by_line)
		PickByLine(decision, members, n);
	if (stands != NULL)
		best = stands;
	for (int c = 0; c < decision->n; c++)
	{
		Candidate  *candidate = decision->candidates[c];

		if (candidate->campaign->group == NULL || strcmp(candidate->campaign->group, campaign->group) != 0)
			continue;
		candidate->is_settled = true;
		if (candidate->fixed)
			Stand(candidate);
		if (best != NULL && candidate != best && candidate->matched && candidate->won == NULL && candidate->lost_to == NULL)
			candidate->lost_to = best->campaign->code;
	}
	pfree(members);
}

/* ---------------------------------------------------------------------------
 * The decision
 * ---------------------------------------------------------------------------
 */

static void
BeginCounters(Candidate *const *candidates, int n)
{
	for (int pass = 0; pass < 2; pass++)
	{
		for (int c = 0; c < n; c++)
		{
			const Campaign *campaign = candidates[c]->campaign;

			for (int i = 0; i < campaign->nlimits; i++)
			{
				const CampaignLimit *limit = &campaign->limits[i];
				Counter    *counter = candidates[c]->counters[i];

				if (limit->scope == LIMIT_AWARD)
					continue;
				if (pass == 0)
				{
					counter->held_here = 0;
					counter->by_windows = 0;
					counter->most_used = counter->used;
					counter->holders = 0;
					candidates[c]->window_holders[i] = 0;
					continue;
				}
				for (int e = 0; e < campaign->neffects; e++)
				{
					int64		held = Counted(&candidates[c]->rulings[e].held);

					if (held == 0 || !LimitCounts(limit, &campaign->effects[e]))
						continue;
					if (!candidates[c]->fixed)
						counter->held_here += held;
					if (limit->in_times && campaign->has_window)
						candidates[c]->window_holders[i]++;
					else if (limit->in_times)
						counter->holders++;
				}
			}
		}
	}
}

/*
 * Decides.  The candidates are in order, and MatchCandidate() was called for
 * each; the counters are changed to what they are afterwards.
 */
void
Decide(Candidate *const *candidates, int n)
{
	Decision	decision = {candidates, n};
	const char *stopper = NULL;

	BeginCounters(candidates, n);
	for (int c = 0; c < n; c++)
	{
		Candidate  *candidate = candidates[c];

		candidate->is_settled = false;
		candidate->lost_to = NULL;
		candidate->won = NULL;
		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			candidate->rulings[e].wanted = 0;
			candidate->rulings[e].given = candidate->fixed ? candidate->rulings[e].held.points : 0;
			candidate->rulings[e].stayed = false;
			if (candidate->rulings[e].left != NULL)
				candidate->rulings[e].left->given = 0;
			candidate->rulings[e].limited_by = NULL;
		}
	}
	for (int c = 0; c < n; c++)
	{
		if (candidates[c]->campaign->group != NULL && !candidates[c]->is_settled)
			PickOfGroup(&decision, candidates[c]->campaign);
	}
	for (int c = 0; c < n; c++)
	{
		if (!candidates[c]->fixed && (!candidates[c]->matched || candidates[c]->lost_to != NULL))
			GiveBack(candidates[c]);
	}
	for (int c = 0; c < n; c++)
	{
		Candidate  *candidate = candidates[c];

		if (!candidate->fixed && (!candidate->matched || candidate->lost_to != NULL))
			continue;
		if (stopper != NULL && !candidate->fixed && !candidate->campaign->has_window)
		{
			candidate->lost_to = stopper;
			GiveBack(candidate);
			continue;
		}
		if (!candidate->fixed)
			GrantEffects(&decision, candidate, false);
		if (stopper == NULL && candidate->campaign->stop && GaveSomething(candidate))
			stopper = candidate->campaign->code;
	}
}
