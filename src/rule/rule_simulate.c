/*
 * rule_simulate.c
 *		What campaigns would have given for a history: see rule_simulate.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "rule/rule_sim_state.h"

/* ---------------------------------------------------------------------------
 * Campaigns in force
 * ---------------------------------------------------------------------------
 */

/* Narrows a span around an instant to where no version begins. */
static void
NarrowSpan(TimestampTz begin, TimestampTz at, TimestampTz *from, TimestampTz *until)
{
	if (begin <= at)
		*from = Max(*from, begin);
	else
		*until = Min(*until, begin);
}

static void
FindSimInForce(Simulation *simulation, SimBook *book, SimInForce *in_force, const char *kind, TimestampTz at, TimestampTz known_at)
{
	MemoryContext old;

	if (in_force->context == NULL)
		in_force->context = AllocSetContextCreate(simulation->context, "campaigns in force", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(in_force->context);
	in_force->kind = kind;
	in_force->from = in_force->recorded_from = DT_NOBEGIN;
	in_force->until = in_force->recorded_until = DT_NOEND;
	for (int i = 0; i < book->book->n; i++)
	{
		NarrowSpan(book->book->versions[i]->effective_from, at, &in_force->from, &in_force->until);
		NarrowSpan(book->book->versions[i]->recorded_at, known_at, &in_force->recorded_from, &in_force->recorded_until);
	}
	old = MemoryContextSwitchTo(in_force->context);
	in_force->campaigns = CampaignsInForce(book->book, kind, at, known_at, &in_force->n);
	in_force->candidates = palloc(Max(1, in_force->n) * sizeof(Candidate));
	in_force->limit_names = palloc(Max(1, in_force->n) * sizeof(int32 *));
	for (int c = 0; c < in_force->n; c++)
	{
		const Campaign *campaign = in_force->campaigns[c];

		InitCandidate(&in_force->candidates[c], campaign, NULL);
		in_force->limit_names[c] = palloc(Max(1, campaign->nlimits) * sizeof(int32));
		for (int i = 0; i < campaign->nlimits; i++)
			in_force->limit_names[c][i] = campaign->limits[i].scope == LIMIT_AWARD ? -1 : NameNumber(simulation, campaign->limits[i].counter);
	}
	MemoryContextSwitchTo(old);
}

/*
 * The campaigns that look at an activity.  They stay at least until another two
 * are asked for.
 */
static SimInForce *
SimInForceAt(Simulation *simulation, SimBook *book, const char *kind, TimestampTz at, TimestampTz known_at)
{
	int			victim;

	for (int i = 0; i < KEPT_IN_FORCE; i++)
	{
		SimInForce *in_force = &book->in_force[i];

		if (in_force->kind != NULL && at >= in_force->from && known_at >= in_force->recorded_from &&
			(at < in_force->until || in_force->until == DT_NOEND) &&
			(known_at < in_force->recorded_until || in_force->recorded_until == DT_NOEND) &&
			(in_force->kind == kind || strcmp(in_force->kind, kind) == 0))
			return book->last_in_force = in_force;
	}
	/* the one behind the last makes room, so that of two both stay */
	victim = book->last_in_force == NULL ? 0 : (int) (book->last_in_force - book->in_force + 1) % KEPT_IN_FORCE;
	book->last_in_force = &book->in_force[victim];
	FindSimInForce(simulation, book, book->last_in_force, KeepName(simulation, kind), at, known_at);
	return book->last_in_force;
}

/* ---------------------------------------------------------------------------
 * What was held before
 * ---------------------------------------------------------------------------
 */

static SimHeldKey
HeldKey(Simulation *simulation, const SimEvent *event, const char *campaign, bool has_window, int effect, DateADT window_start)
{
	SimHeldKey	key;

	memset(&key, 0, sizeof(key));
	key.member_id = has_window ? event->canonical : event->activity.member_id;
	key.activity_id = has_window ? 0 : event->activity.activity_id;
	key.name = NameNumber(simulation, campaign);
	key.effect = effect;
	key.window_start = window_start;
	return key;
}

/* Where an effect was trimmed first at an instant; NULL: it was not. */
static const SimCeiling *
CeilingAt(const SimHeld *held, TimestampTz at)
{
	ListCell   *lc;

	foreach(lc, held->ceilings)
	{
		const SimCeiling *ceiling = lfirst(lc);

		if (ceiling->at == at)
			return ceiling;
	}
	return NULL;
}

/*
 * What was counted by another version, or in other periods, is given back there.
 * times: one time, too; a campaign's effects count once.
 */
static void
GiveBackOfSim(Simulation *simulation, SimBook *book, const SimEvent *event, const SimHeld *held, bool times)
{
	const Campaign *campaign = held->campaign;
	const char *currency = campaign->effects[held->key.effect].currency;

	for (int i = 0; i < campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &campaign->limits[i];
		int64		points = 0;
		int32		name;

		if (limit->scope == LIMIT_AWARD || limit->days > 0)
			continue;
		if (limit->in_times)
			points = times;
		else if (currency != NULL && strcmp(limit->currency, currency) == 0)
			points = held->points;
		name = NameNumber(simulation, limit->counter);
		if (limit->scope == LIMIT_TOTAL)
			BudgetOf(book, name, limit)->counter.used -= points;
		else
			AddToUse(simulation, simulation->member, book->number, name, PeriodOfLimit(limit, held->local_day), -points);
	}
	if (!book->has_days)
		return;
	if (currency != NULL)
		AddToDay(simulation, DaysOfSim(simulation, book, event->canonical, campaign->code, currency), held->local_day, -held->points);
	if (times)
		AddToDay(simulation, DaysOfSim(simulation, book, event->canonical, campaign->code, NULL), held->local_day, -1);
}

/*
 * What a campaign held before: by its effects, or, where it does not look at the
 * activity any more (candidate is NULL) or has them no more, to be taken back.
 */
static void
TakeHeld(Simulation *simulation, SimBook *book, const SimEvent *event, const char *code, Candidate *candidate,
		 DateADT window_start, DateADT local_day)
{
	const Campaign *campaign = candidate == NULL ? NULL : candidate->campaign;
	bool		has_window = campaign != NULL && campaign->has_window;
	bool		times = true;

	for (int e = 0; e < CAMPAIGN_MAX_EFFECTS; e++)
	{
		SimHeldKey	key = HeldKey(simulation, event, code, has_window, e, window_start);
		SimHeld    *sim_held = hash_search(book->held, &key, HASH_FIND, NULL);
		const char *currency;
		bool		is_left;

		if (sim_held == NULL || sim_held->looked_at == simulation->event)
			continue;
		sim_held->looked_at = simulation->event;
		currency = sim_held->campaign->effects[e].currency;
		is_left = campaign == NULL || e >= campaign->neffects ||
			!SameString(sim_held->campaign->effects[e].item, campaign->effects[e].item) ||
			!SameString(campaign->effects[e].currency, currency);
		if (!is_left)
		{
			Held	   *held = &candidate->rulings[e].held;
			const SimCeiling *ceiling = CeilingAt(sim_held, has_window ? DT_NOEND : event->activity.at);

			held->points = sim_held->points;
			held->trimmed = ceiling != NULL;
			held->ceiling = ceiling != NULL ? ceiling->points : 0;
			held->limited_by = ceiling != NULL ? ceiling->limited_by : NULL;
			held->counts_elsewhere = sim_held->local_day != local_day || sim_held->campaign != campaign;
		}
		if (sim_held->points > 0 && (is_left || candidate->rulings[e].held.counts_elsewhere))
		{
			GiveBackOfSim(simulation, book, event, sim_held, times);
			times = false;
		}
		if (is_left)
		{
			if (book->counts && currency != NULL && strcmp(currency, simulation->currency) == 0)
				simulation->member->points[book->number] -= sim_held->points;
			sim_held->points = 0;
		}
	}
}

/* What is held by campaigns that do not look at the activity any more. */
static void
TakeLeftovers(Simulation *simulation, SimBook *book, const SimEvent *event)
{
	for (int i = 0; i < book->book->n; i++)
	{
		if (i == 0 || strcmp(book->book->versions[i]->code, book->book->versions[i - 1]->code) != 0)
			TakeHeld(simulation, book, event, book->book->versions[i]->code, NULL, 0, 0);
	}
}

/* Keeps what an effect holds now, where that is asked for again. */
static void
KeepHeld(Simulation *simulation, SimBook *book, const SimEvent *event, int c, int e)
{
	const Campaign *campaign = book->candidates[c]->campaign;
	const SimCandidate *of_candidate = &book->of_candidates[c];
	const Ruling *ruling = &book->candidates[c]->rulings[e];
	SimHeldKey	key = HeldKey(simulation, event, campaign->code, campaign->has_window, e, of_candidate->window_start);
	SimHeld    *held;
	bool		found;

	if (ruling->given == 0 && ruling->held.points == 0 && ruling->limited_by == NULL)
		return;
	held = hash_search(book->held, &key, HASH_ENTER, &found);
	if (!found)
		held->ceilings = NIL;
	held->points = ruling->given;
	held->campaign = campaign;
	held->local_day = of_candidate->local_day;
	held->looked_at = simulation->event;
	if (!ruling->held.trimmed && ruling->limited_by != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(simulation->context);
		SimCeiling *ceiling = palloc(sizeof(SimCeiling));

		ceiling->at = campaign->has_window ? DT_NOEND : event->activity.at;
		ceiling->points = ruling->given;
		ceiling->limited_by = ruling->limited_by;
		held->ceilings = lappend(held->ceilings, ceiling);
		MemoryContextSwitchTo(old);
	}
	if (of_candidate->inputs != 0 && RulingIsNews(ruling))
	{
		SimFrozen  *frozen = FrozenOf(book, &event->activity, HASH_ENTER);
		MemoryContext old = MemoryContextSwitchTo(simulation->context);

		frozen->inputs = lappend(frozen->inputs, DatumGetJsonbPCopy(of_candidate->inputs));
		MemoryContextSwitchTo(old);
	}
}

/* ---------------------------------------------------------------------------
 * Candidates
 * ---------------------------------------------------------------------------
 */

/* Until when definitions are known to who decides over windows with an event. */
static TimestampTz
WindowsKnownAt(const SimEvent *event)
{
	return event->activity.revised_at != 0 ? event->activity.revised_at : DT_NOEND;
}

static void
SumWindowOfSim(Simulation *simulation, Candidate *candidate, const Window *window, const Activity *activity)
{
	const Campaign *campaign = window->campaign;
	Activity   *sum = BeginSum(candidate, window, activity);

	for (int i = 0; i < simulation->member->nseen; i++)
	{
		const Activity *seen = &simulation->member->seen[i];
		bool	   *lines;
		Facts		facts;

		CHECK_FOR_INTERRUPTS();
		if (!ConcernsKind(campaign, seen->kind) || !IsOfWindow(window, seen))
			continue;
		InitSimFacts(simulation, &facts);
		if (ActivityIsSelected(campaign, seen, &lines, ReadMemberFact, &facts))
			AddToSum(candidate, sum, seen, lines);
	}
}

/* Matches a candidate, and takes it into the event's. */
static void
MatchInSim(Simulation *simulation, SimBook *book, const SimEvent *event, Candidate *candidate, const int32 *limit_names,
		   DateADT window_start, Facts *facts)
{
	const Campaign *campaign = candidate->campaign;
	SimCandidate *of_candidate = &book->of_candidates[book->n];

	of_candidate->window_start = window_start;
	of_candidate->local_day = campaign->has_window ? window_start : DayInCampaign(campaign, &event->activity);
	of_candidate->inputs = 0;
	of_candidate->limit_names = limit_names;
	if (event->is_revised || campaign->has_window)
		TakeHeld(simulation, book, event, campaign->code, candidate, window_start, of_candidate->local_day);
	BeginAsking(facts, NULL);
	MatchCandidate(candidate, ReadMemberFact, facts);
	if (event->is_revised && !campaign->has_window)
		of_candidate->inputs = FreezeFacts(facts);
	book->candidates[book->n++] = candidate;
}

static void
AddCandidate(Simulation *simulation, SimBook *book, const SimEvent *event, SimInForce *in_force, int c, Facts *facts)
{
	Candidate  *candidate = &in_force->candidates[c];
	const Campaign *campaign = in_force->campaigns[c];

	candidate->subject = &event->activity;
	candidate->keep = campaign->keep && event->is_return && !event->activity.cancelled;
	candidate->lines = NULL;
	memset(candidate->rulings, 0, campaign->neffects * sizeof(Ruling));
	MatchInSim(simulation, book, event, candidate, in_force->limit_names[c], 0, facts);
}

/* A campaign looks at the window of an activity. */
static void
AddWindow(Simulation *simulation, SimBook *book, const SimEvent *event, const Campaign *campaign, const Activity *in_window, Facts *facts)
{
	Window		window;
	Candidate  *candidate;
	int32	   *limit_names;

	if (!FindWindow(book->book, campaign->code, in_window, WindowsKnownAt(event), &window))
		return;
	BeginWindow(book->book, &window, WindowsKnownAt(event));
	campaign = window.campaign;
	for (int c = 0; c < book->n; c++)
	{
		if (book->candidates[c]->campaign == campaign && book->of_candidates[c].window_start == window.start)
			return;
	}
	candidate = palloc(sizeof(Candidate));
	InitCandidate(candidate, campaign, &event->activity);
	candidate->keep = campaign->keep;
	SumWindowOfSim(simulation, candidate, &window, in_window);
	limit_names = palloc(Max(1, campaign->nlimits) * sizeof(int32));
	for (int i = 0; i < campaign->nlimits; i++)
		limit_names[i] = NameNumber(simulation, campaign->limits[i].counter);
	MatchInSim(simulation, book, event, candidate, limit_names, window.start, facts);
}

/* Room for so many candidates of an event, none of which is there yet. */
static void
MakeRoomInSim(Simulation *simulation, SimBook *book, int n)
{
	if (n <= book->size)
		return;
	book->size = n;
	book->candidates = MemoryContextAlloc(simulation->context, n * sizeof(Candidate *));
	book->of_candidates = MemoryContextAlloc(simulation->context, n * sizeof(SimCandidate));
}

/* A campaign that looks at the event's activity, or at a window */
typedef struct SimLook
{
	const Campaign *campaign;
	const Activity *in_window;	/* NULL: at the activity */
	int			place;			/* then: among those in force; else: as it is now comes first */
} SimLook;

static int
CompareSimLooks(const void *a, const void *b)
{
	const SimLook *x = a;
	const SimLook *y = b;
	int			order = CompareCampaigns(x->campaign, y->campaign);

	return order != 0 ? order : x->place - y->place;
}

/* Those over windows look at what is known by now, whenever the activity was recorded. */
static SimLook *
AddWindowLooks(const SimBook *book, const SimEvent *event, const SimInForce *in_force, const Activity *activity, SimLook *looks, int *n)
{
	TimestampTz known_at = WindowsKnownAt(event);
	int			ncampaigns = in_force->n;
	Campaign  **campaigns = in_force->campaigns;

	if (known_at < in_force->recorded_from || (known_at >= in_force->recorded_until && in_force->recorded_until != DT_NOEND))
		campaigns = CampaignsInForce(book->book, activity->kind, activity->at, known_at, &ncampaigns);
	looks = looks == NULL ? palloc(Max(1, ncampaigns) * sizeof(SimLook)) : repalloc(looks, Max(1, *n + ncampaigns) * sizeof(SimLook));
	for (int i = 0; i < ncampaigns; i++)
	{
		if (campaigns[i]->has_window)
		{
			looks[*n] = (SimLook) {campaigns[i], activity, *n};
			(*n)++;
		}
	}
	return looks;
}

/* before: those in force when the activity was before; NULL: it was then, too */
static void
GatherInSim(Simulation *simulation, SimBook *book, const SimEvent *event, SimInForce *in_force, SimInForce *before, Facts *facts)
{
	SimLook    *looks = NULL;
	int			n = 0;

	if (book->has_windows)
		looks = AddWindowLooks(book, event, in_force, &event->activity, looks, &n);
	if (book->has_windows && before != NULL)
		looks = AddWindowLooks(book, event, before, &event->before, looks, &n);
	if (n > 0)
		looks = repalloc(looks, (n + in_force->n) * sizeof(SimLook));
	MakeRoomInSim(simulation, book, n + in_force->n);
	for (int c = 0; c < in_force->n; c++)
	{
		if (in_force->campaigns[c]->has_window)
			continue;
		if (n == 0)
			AddCandidate(simulation, book, event, in_force, c, facts);
		else
			looks[n++] = (SimLook) {in_force->campaigns[c], NULL, c};
	}
	qsort(looks, n, sizeof(SimLook), CompareSimLooks);
	for (int i = 0; i < n; i++)
	{
		if (looks[i].in_window != NULL)
			AddWindow(simulation, book, event, looks[i].campaign, looks[i].in_window, facts);
		else
			AddCandidate(simulation, book, event, in_force, looks[i].place, facts);
	}
	if (event->is_revised)
		TakeLeftovers(simulation, book, event);
}

/* ---------------------------------------------------------------------------
 * Limits
 * ---------------------------------------------------------------------------
 */

static Counter *
CounterOfSim(Simulation *simulation, SimBook *book, int32 name, const CampaignLimit *limit, DateADT day)
{
	DateADT		period = PeriodOfLimit(limit, day);
	SimCounter *counter;
	int			i;

	for (i = book->first_counters[name]; i >= 0; i = book->counters[i]->other)
	{
		if (book->counters[i]->counter.period == period)
			return &book->counters[i]->counter;
	}
	if (book->ncounters == book->counters_size)
	{
		MemoryContext old = MemoryContextSwitchTo(simulation->context);

		book->counters_size = Max(16, 2 * book->counters_size);
		book->counters = book->counters == NULL ? palloc(book->counters_size * sizeof(SimCounter *)) :
			repalloc(book->counters, book->counters_size * sizeof(SimCounter *));
		/* they stay where they are, as candidates point to them */
		for (i = book->ncounters; i < book->counters_size; i++)
			book->counters[i] = palloc0(sizeof(SimCounter));
		MemoryContextSwitchTo(old);
	}
	counter = book->counters[book->ncounters];
	counter->counter.name = limit->counter;
	counter->counter.period = period;
	counter->counter.used = counter->before = UsedBy(simulation->member, book->number, name, period);
	counter->name = name;
	counter->other = book->first_counters[name];
	book->first_counters[name] = book->ncounters++;
	return &counter->counter;
}

/* What limits have counted, once what is counted elsewhere is given back. */
static void
FindCounters(Simulation *simulation, SimBook *book, const SimEvent *event)
{
	CountNames(simulation, book);
	for (int c = 0; c < book->n; c++)
	{
		const Campaign *campaign = book->candidates[c]->campaign;
		const SimCandidate *of_candidate = &book->of_candidates[c];

		for (int i = 0; i < campaign->nlimits; i++)
		{
			const CampaignLimit *limit = &campaign->limits[i];
			Counter   **counter = &book->candidates[c]->counters[i];

			if (limit->scope == LIMIT_TOTAL)
				*counter = &BudgetOf(book, of_candidate->limit_names[i], limit)->counter;
			else if (limit->scope == LIMIT_MEMBER && limit->days > 0)
				*counter = CountAroundInSim(simulation, book, event->canonical, campaign->code, limit, of_candidate->local_day);
			else if (limit->scope == LIMIT_MEMBER)
				*counter = CounterOfSim(simulation, book, of_candidate->limit_names[i], limit, of_candidate->local_day);
		}
	}
}

/* What limits have counted now. */
static void
StoreUses(Simulation *simulation, SimBook *book)
{
	for (int i = 0; i < book->ncounters; i++)
	{
		const SimCounter *counter = book->counters[i];

		AddToUse(simulation, simulation->member, book->number, counter->name, counter->counter.period,
				 counter->counter.used - counter->before);
		book->first_counters[counter->name] = -1;
	}
	book->ncounters = 0;
}

/* What a campaign gives now counts in the days around it. */
static void
CountInDays(Simulation *simulation, SimBook *book, const SimEvent *event, int c)
{
	const Campaign *campaign = book->candidates[c]->campaign;
	DateADT		local_day = book->of_candidates[c].local_day;
	bool		had = false;
	bool		has = false;

	for (int e = 0; e < campaign->neffects; e++)
	{
		const Ruling *ruling = &book->candidates[c]->rulings[e];
		int64		before = ruling->held.counts_elsewhere ? 0 : ruling->held.points;

		had = had || before > 0;
		has = has || ruling->given > 0;
		if (campaign->effects[e].currency != NULL)
			AddToDay(simulation, DaysOfSim(simulation, book, event->canonical, campaign->code, campaign->effects[e].currency),
					 local_day, ruling->given - before);
	}
	AddToDay(simulation, DaysOfSim(simulation, book, event->canonical, campaign->code, NULL), local_day, has - had);
}

static void
NoteEnds(SimBook *book, const SimEvent *event, int c)
{
	const Candidate *candidate = book->candidates[c];

	for (int i = 0; i < candidate->campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &candidate->campaign->limits[i];
		SimBudgetCounter *budget;

		if (limit->scope != LIMIT_TOTAL || candidate->counters[i]->used < limit->most)
			continue;
		budget = &book->budgets[book->of_candidates[c].limit_names[i]];
		if (budget->ended_at == 0)
			budget->ended_at = event->activity.at;
	}
}

/* ---------------------------------------------------------------------------
 * Events
 * ---------------------------------------------------------------------------
 */

/* Takes over what was decided. */
static void
TakeRulings(Simulation *simulation, SimBook *book, const SimEvent *event)
{
	bool		any = false;
	bool		trimmed = false;

	for (int c = 0; c < book->n; c++)
	{
		const Campaign *campaign = book->candidates[c]->campaign;

		for (int e = 0; e < campaign->neffects; e++)
		{
			const Ruling *ruling = &book->candidates[c]->rulings[e];

			if (book->counts && SameString(campaign->effects[e].currency, simulation->currency))
			{
				simulation->member->points[book->number] += ruling->given - ruling->held.points;
				any = any || ruling->given > ruling->held.points;
				trimmed = trimmed || ruling->limited_by != NULL;
			}
			if (event->is_revised || campaign->has_window)
				KeepHeld(simulation, book, event, c, e);
		}
		if (book->has_days)
			CountInDays(simulation, book, event, c);
		NoteEnds(book, event, c);
	}
	book->awards += any;
	book->trimmed += trimmed;
}

static void
SimulateOf(Simulation *simulation, SimBook *book, const SimEvent *event)
{
	const Activity *activity = &event->activity;
	TimestampTz known_at = activity->recorded_at == 0 ? DT_NOEND : activity->recorded_at;
	SimInForce *in_force = SimInForceAt(simulation, book, activity->kind, activity->at, known_at);
	SimInForce *before = NULL;
	SimFrozen  *frozen = event->is_revised ? FrozenOf(book, activity, HASH_FIND) : NULL;
	Facts		facts;

	if (event->has_before && event->before.at != activity->at)
		before = SimInForceAt(simulation, book, activity->kind, event->before.at, known_at);
	if (in_force->n == 0 && !book->has_windows && !event->is_revised)
		return;
	book->n = 0;
	book->counts = activity->at >= simulation->from_at && activity->at < simulation->until;
	InitSimFacts(simulation, &facts);
	if (frozen != NULL)
	{
		ListCell   *lc;

		foreach(lc, frozen->inputs)
			ThawFacts(&facts, lfirst(lc), NULL, KNOWN_TO_ALL);
	}
	GatherInSim(simulation, book, event, in_force, before, &facts);
	FindCounters(simulation, book, event);
	Decide(book->candidates, book->n);
	StoreUses(simulation, book);
	TakeRulings(simulation, book, event);
}

/*
 * What comes next in the order in which it was recorded.
 */
void
Simulate(Simulation *simulation, SimEvent *event)
{
	const Activity *activity = &event->activity;
	MemoryContext old = MemoryContextSwitchTo(simulation->event_context);

	simulation->member = MemberOfSim(simulation, event->canonical);
	if (activity->revision == 0 && activity->at >= simulation->from_at && activity->at < simulation->until &&
		activity->activity_id != 0)
		simulation->member->activities++;
	if (KindIsKept(simulation, activity->kind))
		event->has_before = NoteSeen(simulation, simulation->member, activity, event->is_revised, &event->before);
	simulation->event++;
	for (int s = 0; s < 2; s++)
		SimulateOf(simulation, &simulation->books[s], event);
	MemoryContextSwitchTo(old);
	MemoryContextReset(simulation->event_context);
}

/* ---------------------------------------------------------------------------
 * The whole
 * ---------------------------------------------------------------------------
 */

static void
NoteNeeds(const FactQuestion *question, void *arg)
{
	Simulation *simulation = arg;

	if (question->kind == FACT_COUNT || question->kind == FACT_SPENT)
		KeepKind(simulation, question->name);
}

static void
FindNeeds(Simulation *simulation, SimBook *book)
{
	for (int i = 0; i < book->book->n; i++)
	{
		const Campaign *campaign = book->book->versions[i];

		book->has_windows = book->has_windows || campaign->has_window;
		for (int k = 0; k < campaign->nkinds && campaign->has_window; k++)
			KeepKind(simulation, campaign->kinds[k]);
		simulation->needs.tier_changes = simulation->needs.tier_changes || ConcernsKind(campaign, "tier_changed");
		for (int l = 0; l < campaign->nlimits; l++)
			book->has_days = book->has_days || campaign->limits[l].days > 0;
		if (campaign->when != NULL)
		{
			ForEachQuestion(campaign->when, NoteNeeds, simulation);
			simulation->needs.document = true;
		}
		if (campaign->treat != NULL)
		{
			ForEachQuestion(campaign->treat, NoteNeeds, simulation);
			simulation->needs.document = true;
		}
	}
}

/*
 * Begins with empty limits and full budgets.
 */
Simulation *
BeginSimulation(const RuleBook *const books[2], TimestampTz from_at, TimestampTz until, const char *currency)
{
	Simulation *simulation = palloc0(sizeof(Simulation));

	simulation->context = AllocSetContextCreate(CurrentMemoryContext, "simulation", ALLOCSET_DEFAULT_SIZES);
	simulation->event_context = AllocSetContextCreate(CurrentMemoryContext, "simulation of an event", ALLOCSET_DEFAULT_SIZES);
	simulation->from_at = from_at;
	simulation->until = until;
	simulation->currency = currency;
	InitSimState(simulation);
	for (int s = 0; s < 2; s++)
	{
		SimBook    *book = &simulation->books[s];

		book->number = s;
		book->book = books[s];
		FindNeeds(simulation, book);
	}
	return simulation;
}

SimNeeds
NeedsOfSimulation(const Simulation *simulation)
{
	return simulation->needs;
}

/*
 * The budgets one after the other; begin with *place = 0.
 */
bool
NextSimBudget(const Simulation *simulation, int *place, SimBudget *budget)
{
	for (; *place < simulation->nnames; (*place)++)
	{
		const char *name = simulation->names[*place];
		const char *rest;
		bool		any = false;

		for (int s = 0; s < 2; s++)
		{
			const SimBook *book = &simulation->books[s];
			const SimBudgetCounter *counter = *place < book->nnames ? &book->budgets[*place] : NULL;

			budget->left[s] = -1;
			budget->ended_at[s] = 0;
			if (counter == NULL || !counter->is_open)
				continue;
			any = true;
			budget->left[s] = Max(counter->total - counter->counter.used, 0);
			budget->ended_at[s] = counter->ended_at;
		}
		if (any)
		{
			/* of a currency other than points, or of times, that stands behind */
			rest = strstr(name, "/total");
			budget->name = psprintf("%.*s%s", (int) (rest - name), name, rest + strlen("/total"));
			(*place)++;
			return true;
		}
	}
	return false;
}

int64
SimulatedAwards(const Simulation *simulation, int book)
{
	return simulation->books[book].awards;
}

int64
SimulatedTrims(const Simulation *simulation, int book)
{
	return simulation->books[book].trimmed;
}
