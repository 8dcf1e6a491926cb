/*
 * rule_backtest.c
 *		What campaigns would have given: a replay of all activities and their
 *		revisions, in the order in which they were recorded, with limits and
 *		budgets in memory.
 *
 * It decides by Decide(), as the write path does; what differs is only where
 * counters and what is held are kept.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/activity_row.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/ledger.h"
#include "rule/rule.h"

#define BATCH	1000

/* A limit of one member and period, or of all */
typedef struct SimCounterKey
{
	int64		member_id;		/* 0: of all */
	int32		name;			/* its place among the names */
	DateADT		period;
} SimCounterKey;

typedef struct SimCounter
{
	SimCounterKey key;
	Counter		counter;
	int64		total;			/* of all members: what it began with */
	TimestampTz ended_at;
} SimCounter;

/* What a campaign gave a member, by days: for limits over days around one */
typedef struct SimDaysKey
{
	int64		member_id;
	int32		campaign;		/* its place among the names */
	int32		currency;		/* likewise; -1: times */
} SimDaysKey;

typedef struct SimDay
{
	DateADT		day;
	int64		used;
} SimDay;

typedef struct SimDays
{
	SimDaysKey	key;
	int			n;
	int			size;
	SimDay	   *days;
} SimDays;

/* What an effect holds of an activity that is revised, or of a window */
typedef struct SimHeldKey
{
	int64		member_id;
	int64		activity_id;	/* 0: of a window */
	int32		name;			/* the campaign's place among the names */
	int32		effect;
	DateADT		window_start;
} SimHeldKey;

typedef struct SimHeld
{
	SimHeldKey	key;
	int64		points;
	int64		ceiling;
	const char *limited_by;		/* NULL: it was not trimmed */
	const Campaign *campaign;
	DateADT		local_day;
	TimestampTz at;				/* of the activity, when it was trimmed */
	int64		looked_at;		/* the last event that did */
} SimHeld;

/* What was frozen for an activity that is revised */
typedef struct SimFrozenKey
{
	int64		member_id;
	int64		activity_id;
} SimFrozenKey;

typedef struct SimFrozen
{
	SimFrozenKey key;
	TimestampTz at;
	List	   *inputs;			/* of Jsonb */
} SimFrozen;

typedef struct SimMember
{
	int64		member_id;
	int64		activities;
	int64		points[2];
	int			nseen;
	int			size;
	Activity   *seen;			/* where windows or histories need them */
} SimMember;

/* One of the two: as it is defined, and as it would be */
typedef struct Simulation
{
	int			number;
	const RuleBook *book;
	bool		has_days;		/* some limit is over days around one */
	HTAB	   *counters;
	HTAB	   *days;
	HTAB	   *held;
	HTAB	   *frozen;
	int64		awards;
	int64		trimmed;
} Simulation;

typedef struct Backtest
{
	MemoryContext context;
	MemoryContext event_context;
	Simulation	simulations[2];
	HTAB	   *members;
	int			nnames;
	const char **names;
	bool		keeps_seen;		/* somebody asks for windows or histories */
	bool		needs_lines;
	bool		needs_document;
	bool		hears;			/* campaigns on what happens */
	TimestampTz from_at;
	TimestampTz until;
	List	   *kinds;			/* NIL: all */
	const char *currency;
	SimMember  *member;			/* of the event that is looked at */
	int64		event;			/* its number */
} Backtest;

/* What an effect of the event had before, and gets */
typedef struct SimEvent
{
	Activity	activity;
	int64		canonical;
	bool		is_return;
	bool		is_revised;		/* once, or it will be */
	bool		has_before;
	Activity	before;			/* what it was, where windows are asked for */
} SimEvent;

/* ---------------------------------------------------------------------------
 * State
 * ---------------------------------------------------------------------------
 */

static int
NameNumber(Backtest *backtest, const char *name)
{
	for (int i = 0; i < backtest->nnames; i++)
	{
		if (backtest->names[i] == name || strcmp(backtest->names[i], name) == 0)
			return i;
	}
	backtest->names = backtest->names == NULL ? MemoryContextAlloc(backtest->context, sizeof(char *)) :
		repalloc(backtest->names, (backtest->nnames + 1) * sizeof(char *));
	backtest->names[backtest->nnames] = MemoryContextStrdup(backtest->context, name);
	return backtest->nnames++;
}

/* A text that stays. */
static const char *
KeepName(Backtest *backtest, const char *name)
{
	int			number = NameNumber(backtest, name);

	return backtest->names[number];
}

static HTAB *
MakeTable(Backtest *backtest, const char *name, Size keysize, Size entrysize)
{
	HASHCTL		control = {.keysize = keysize,.entrysize = entrysize,.hcxt = backtest->context};

	return hash_create(name, 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static SimCounter *
CounterOfSim(Backtest *backtest, Simulation *simulation, int64 member_id, const CampaignLimit *limit, DateADT day)
{
	SimCounterKey key = {0};
	SimCounter *counter;
	bool		found;

	key.member_id = limit->scope == LIMIT_TOTAL ? 0 : member_id;
	key.name = NameNumber(backtest, limit->counter);
	key.period = limit->scope == LIMIT_TOTAL ? 0 : FirstDayOf(limit->within, day);
	counter = hash_search(simulation->counters, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) counter + sizeof(SimCounterKey), 0, sizeof(SimCounter) - sizeof(SimCounterKey));
		counter->counter.name = backtest->names[key.name];
		counter->total = limit->most;
	}
	return counter;
}

static SimDays *
DaysOfSim(Backtest *backtest, Simulation *simulation, int64 member_id, const char *campaign, const char *currency)
{
	SimDaysKey	key = {0};
	SimDays    *days;
	bool		found;

	key.member_id = member_id;
	key.campaign = NameNumber(backtest, campaign);
	key.currency = currency == NULL ? -1 : NameNumber(backtest, currency);
	days = hash_search(simulation->days, &key, HASH_ENTER, &found);
	if (!found)
		memset((char *) days + sizeof(SimDaysKey), 0, sizeof(SimDays) - sizeof(SimDaysKey));
	return days;
}

static void
AddToDay(Backtest *backtest, SimDays *days, DateADT day, int64 by)
{
	int			i = days->n - 1;

	if (by == 0)
		return;
	while (i >= 0 && days->days[i].day != day)
		i--;
	if (i < 0)
	{
		if (days->n == days->size)
		{
			days->size = Max(4, 2 * days->size);
			days->days = days->days == NULL ? MemoryContextAlloc(backtest->context, days->size * sizeof(SimDay)) :
				repalloc(days->days, days->size * sizeof(SimDay));
		}
		i = days->n++;
		days->days[i].day = day;
		days->days[i].used = 0;
	}
	days->days[i].used += by;
}

/*
 * What a campaign gave in the days around one: in memory, as the write path
 * counts it from awards.
 */
static Counter *
CountAroundInSim(Backtest *backtest, Simulation *simulation, int64 member_id, const char *campaign, const CampaignLimit *limit, DateADT day)
{
	const SimDays *days = DaysOfSim(backtest, simulation, member_id, campaign, limit->in_times ? NULL : limit->currency);
	Counter    *counter = palloc0(sizeof(Counter));

	counter->name = limit->counter;
	counter->period = day;
	for (int i = 0; i < days->n; i++)
	{
		if (abs(days->days[i].day - day) < limit->days)
			counter->used += days->days[i].used;
	}
	return counter;
}

static SimMember *
MemberOfSim(Backtest *backtest, int64 member_id)
{
	bool		found;
	SimMember  *member = hash_search(backtest->members, &member_id, HASH_ENTER, &found);

	if (!found)
		memset((char *) member + sizeof(int64), 0, sizeof(SimMember) - sizeof(int64));
	return member;
}

static Activity
CopyActivity(Backtest *backtest, const Activity *activity)
{
	MemoryContext old = MemoryContextSwitchTo(backtest->context);
	Activity	copy = *activity;

	copy.kind = KeepName(backtest, activity->kind);
	copy.time_zone = KeepName(backtest, activity->time_zone);
	copy.channel = activity->channel == NULL ? NULL : KeepName(backtest, activity->channel);
	copy.money = activity->money == NULL ? NULL : KeepName(backtest, activity->money);
	copy.external_id = NULL;
	copy.document = activity->document == 0 ? 0 : PointerGetDatum(DatumGetJsonbPCopy(activity->document));
	copy.lines = NULL;
	copy.nlines = 0;
	copy.lines_value = 0;
	if (activity->lines_value != 0)
		ReadLines(&copy, PointerGetDatum(DatumGetJsonbPCopy(activity->lines_value)));
	MemoryContextSwitchTo(old);
	return copy;
}

/*
 * The member has this activity now, as it is.  True, and *before is what it was,
 * where he had it before.
 */
static bool
NoteSeen(Backtest *backtest, SimMember *member, const Activity *activity, Activity *before)
{
	for (int i = 0; i < member->nseen; i++)
	{
		if (activity->activity_id != 0 && member->seen[i].activity_id == activity->activity_id)
		{
			*before = member->seen[i];
			member->seen[i] = CopyActivity(backtest, activity);
			return true;
		}
	}
	if (member->nseen == member->size)
	{
		member->size = Max(4, 2 * member->size);
		member->seen = member->seen == NULL ? MemoryContextAlloc(backtest->context, member->size * sizeof(Activity)) :
			repalloc(member->seen, member->size * sizeof(Activity));
	}
	member->seen[member->nseen++] = CopyActivity(backtest, activity);
	return false;
}

/* ---------------------------------------------------------------------------
 * Facts
 * ---------------------------------------------------------------------------
 */

static bool
IsEarlier(const Activity *a, const Activity *b)
{
	if (a->at != b->at)
		return a->at < b->at;
	if (a->recorded_at != b->recorded_at)
		return a->recorded_at < b->recorded_at;
	return a->activity_id < b->activity_id;
}

/* A FactReader: counts and sums of what was replayed so far. */
static void
ReadSimHistory(const FactQuestion *question, const Activity *activity, DateADT day, FactAnswer *answer, void *arg)
{
	SimMember  *member = arg;
	DateADT		from = question->within == PERIOD_LIFETIME ? DATEVAL_NOBEGIN : FirstDayOf(question->within, activity->local_day);
	DateADT		until = FirstDayAfter(question->within, activity->local_day);

	(void) day;
	answer->known = true;
	for (int i = 0; i < member->nseen; i++)
	{
		const Activity *seen = &member->seen[i];

		if (seen->cancelled || seen->returned || strcmp(seen->kind, question->name) != 0 || !IsEarlier(seen, activity) ||
			seen->local_day < from || seen->local_day >= until)
			continue;
		answer->number += question->kind == FACT_COUNT ? MICROS_PER_UNIT : seen->amount;
	}
}

static void
InitSimFacts(Backtest *backtest, Facts *facts)
{
	Datum		self = Int64GetDatum(backtest->member->member_id);

	InitFacts(facts, backtest->member->member_id,
			  PointerGetDatum(construct_array(&self, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
	facts->history = ReadSimHistory;
	facts->history_arg = backtest->member;
}

static SimFrozen *
FrozenOf(Simulation *simulation, const Activity *activity, HASHACTION action)
{
	SimFrozenKey key = {activity->member_id, activity->activity_id};
	bool		found;
	SimFrozen  *frozen = hash_search(simulation->frozen, &key, action, &found);

	if (frozen != NULL && (!found || frozen->at != activity->at))
	{
		frozen->at = activity->at;
		frozen->inputs = NIL;
	}
	return frozen;
}

/* ---------------------------------------------------------------------------
 * Replaying
 * ---------------------------------------------------------------------------
 */

static SimHeldKey
HeldKey(Backtest *backtest, const SimEvent *event, const char *campaign, bool has_window, int effect, DateADT window_start)
{
	SimHeldKey	key;

	memset(&key, 0, sizeof(key));
	key.member_id = has_window ? event->canonical : event->activity.member_id;
	key.activity_id = has_window ? 0 : event->activity.activity_id;
	key.name = NameNumber(backtest, campaign);
	key.effect = effect;
	key.window_start = window_start;
	return key;
}

/* The window in which an activity lies, by what was known when the event was recorded. */
static bool
WindowOfSim(const Simulation *simulation, const SimEvent *event, const Campaign *campaign, const Activity *activity, Window *window)
{
	TimestampTz known_at = event->activity.revised_at != 0 ? event->activity.revised_at : DT_NOEND;

	return WindowOf(simulation->book, campaign, activity, known_at, window);
}

static void
SumWindowOfSim(Backtest *backtest, Candidate *candidate, const Window *window, const Activity *activity)
{
	const Campaign *campaign = window->campaign;
	Activity   *sum = BeginSum(candidate, window, activity);

	for (int i = 0; i < backtest->member->nseen; i++)
	{
		const Activity *seen = &backtest->member->seen[i];
		DateADT		day = DayInCampaign(campaign, seen);
		bool	   *lines;
		Facts		facts;

		if (day < window->start || day >= window->end || !ConcernsKind(campaign, seen->kind))
			continue;
		InitSimFacts(backtest, &facts);
		if (ActivityIsSelected(campaign, seen, &lines, ReadMemberFact, &facts))
			AddToSum(candidate, sum, seen, lines);
	}
}

/*
 * What was counted by another version, or in other periods, is given back there.
 * times: one time, too; a campaign's effects count once.
 */
static void
GiveBackOfSim(Backtest *backtest, Simulation *simulation, const SimEvent *event, const SimHeld *held, bool times)
{
	const Campaign *campaign = held->campaign;
	const char *currency = campaign->effects[held->key.effect].currency;

	for (int i = 0; i < campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &campaign->limits[i];
		int64		points = 0;

		if (limit->scope == LIMIT_AWARD || limit->days > 0)
			continue;
		if (limit->in_times)
			points = times;
		else if (currency != NULL && strcmp(limit->currency, currency) == 0)
			points = held->points;
		if (points != 0)
			CounterOfSim(backtest, simulation, event->canonical, limit, held->local_day)->counter.used -= points;
	}
	if (!simulation->has_days)
		return;
	if (currency != NULL)
		AddToDay(backtest, DaysOfSim(backtest, simulation, event->canonical, campaign->code, currency), held->local_day, -held->points);
	if (times)
		AddToDay(backtest, DaysOfSim(backtest, simulation, event->canonical, campaign->code, NULL), held->local_day, -1);
}

/* The candidates of an event */
typedef struct SimCandidates
{
	int			n;
	Candidate **candidates;
	DateADT    *window_starts;
	DateADT    *local_days;
	Datum	   *inputs;
	bool		counts;			/* the event lies in the span that is asked for */
} SimCandidates;

/*
 * What a campaign held before: by its effects, or, where it does not look at the
 * activity any more (candidate is NULL) or has them no more, to be taken back.
 */
static void
TakeHeld(Backtest *backtest, Simulation *simulation, const SimEvent *event, const SimCandidates *all, const char *code, Candidate *candidate,
		 DateADT window_start, DateADT local_day)
{
	const Campaign *campaign = candidate == NULL ? NULL : candidate->campaign;
	bool		has_window = campaign != NULL && campaign->has_window;
	bool		times = true;

	for (int e = 0; e < CAMPAIGN_MAX_EFFECTS; e++)
	{
		SimHeldKey	key = HeldKey(backtest, event, code, has_window, e, window_start);
		SimHeld    *sim_held = hash_search(simulation->held, &key, HASH_FIND, NULL);
		const char *currency;
		bool		is_left;

		if (sim_held == NULL || sim_held->looked_at == backtest->event)
			continue;
		sim_held->looked_at = backtest->event;
		currency = sim_held->campaign->effects[e].currency;
		is_left = campaign == NULL || e >= campaign->neffects ||
			!SameString(sim_held->campaign->effects[e].item, campaign->effects[e].item) || (currency == NULL ? campaign->effects[e].currency != NULL :
			 campaign->effects[e].currency == NULL || strcmp(campaign->effects[e].currency, currency) != 0);
		if (!is_left)
		{
			Held	   *held = &candidate->rulings[e].held;

			held->points = sim_held->points;
			held->trimmed = sim_held->limited_by != NULL && (has_window || sim_held->at == event->activity.at);
			held->ceiling = sim_held->ceiling;
			held->limited_by = sim_held->limited_by;
			held->counts_elsewhere = sim_held->local_day != local_day || sim_held->campaign != campaign;
		}
		if (sim_held->points > 0 && (is_left || candidate->rulings[e].held.counts_elsewhere))
		{
			GiveBackOfSim(backtest, simulation, event, sim_held, times);
			times = false;
		}
		if (is_left)
		{
			if (all->counts && currency != NULL && strcmp(currency, backtest->currency) == 0)
				backtest->member->points[simulation->number] -= sim_held->points;
			sim_held->points = 0;
			sim_held->limited_by = NULL;
		}
	}
}

/* What is held by campaigns that do not look at the activity any more. */
static void
TakeLeftovers(Backtest *backtest, Simulation *simulation, const SimEvent *event, const SimCandidates *all)
{
	const RuleBook *book = simulation->book;

	for (int i = 0; i < book->n; i++)
	{
		if (i == 0 || strcmp(book->versions[i]->code, book->versions[i - 1]->code) != 0)
			TakeHeld(backtest, simulation, event, all, book->versions[i]->code, NULL, 0, 0);
	}
}

static void
AddSimCandidate(Backtest *backtest, Simulation *simulation, const SimEvent *event, const Campaign *campaign, const Activity *in_window,
				Facts *facts, SimCandidates *all)
{
	Candidate  *candidate;
	Window		window = {.campaign = campaign};

	if (campaign->has_window)
	{
		if (!WindowOfSim(simulation, event, campaign, in_window, &window))
			return;
		campaign = window.campaign;
		for (int c = 0; c < all->n; c++)
		{
			if (all->candidates[c]->campaign == campaign && all->window_starts[c] == window.start)
				return;
		}
	}
	candidate = palloc(sizeof(Candidate));
	InitCandidate(candidate, campaign, &event->activity);
	candidate->keep = campaign->keep && (campaign->has_window || (event->is_return && !event->activity.cancelled));
	if (campaign->has_window)
		SumWindowOfSim(backtest, candidate, &window, in_window);
	all->window_starts[all->n] = window.start;
	all->local_days[all->n] = campaign->has_window ? window.start : DayInCampaign(campaign, &event->activity);
	if (event->is_revised || campaign->has_window)
		TakeHeld(backtest, simulation, event, all, campaign->code, candidate, window.start, all->local_days[all->n]);
	BeginAsking(facts, NULL);
	MatchCandidate(candidate, ReadMemberFact, facts);
	all->inputs[all->n] = event->is_revised && !campaign->has_window ? FreezeFacts(facts) : 0;
	all->candidates[all->n++] = candidate;
}

/* What limits have counted, once what is counted elsewhere is given back. */
static void
FindCounters(Backtest *backtest, Simulation *simulation, const SimEvent *event, const SimCandidates *all)
{
	for (int c = 0; c < all->n; c++)
	{
		const Campaign *campaign = all->candidates[c]->campaign;

		for (int i = 0; i < campaign->nlimits; i++)
		{
			const CampaignLimit *limit = &campaign->limits[i];

			if (limit->scope == LIMIT_AWARD)
				continue;
			all->candidates[c]->counters[i] = limit->days > 0 ?
				CountAroundInSim(backtest, simulation, event->canonical, campaign->code, limit, all->local_days[c]) :
				&CounterOfSim(backtest, simulation, event->canonical, limit, all->local_days[c])->counter;
		}
	}
}

/* What a campaign gives now counts in the days around it. */
static void
CountInDays(Backtest *backtest, Simulation *simulation, const SimEvent *event, const SimCandidates *all, int c)
{
	const Campaign *campaign = all->candidates[c]->campaign;
	bool		had = false;
	bool		has = false;

	for (int e = 0; e < campaign->neffects; e++)
	{
		const Ruling *ruling = &all->candidates[c]->rulings[e];
		int64		before = ruling->held.counts_elsewhere ? 0 : ruling->held.points;

		had = had || before > 0;
		has = has || ruling->given > 0;
		if (campaign->effects[e].currency != NULL)
			AddToDay(backtest, DaysOfSim(backtest, simulation, event->canonical, campaign->code, campaign->effects[e].currency),
					 all->local_days[c], ruling->given - before);
	}
	AddToDay(backtest, DaysOfSim(backtest, simulation, event->canonical, campaign->code, NULL), all->local_days[c], has - had);
}

/* Keeps what an effect holds now, where that is asked for again. */
static void
KeepHeld(Backtest *backtest, Simulation *simulation, const SimEvent *event, const SimCandidates *all, int c, int e)
{
	const Campaign *campaign = all->candidates[c]->campaign;
	const Ruling *ruling = &all->candidates[c]->rulings[e];
	SimHeldKey	key = HeldKey(backtest, event, campaign->code, campaign->has_window, e, all->window_starts[c]);
	SimHeld    *held;
	bool		found;

	if (ruling->given == 0 && ruling->held.points == 0 && ruling->limited_by == NULL)
		return;
	held = hash_search(simulation->held, &key, HASH_ENTER, &found);
	if (!found || !ruling->held.trimmed)
		held->limited_by = NULL;
	held->points = ruling->given;
	held->campaign = campaign;
	held->local_day = all->local_days[c];
	held->looked_at = backtest->event;
	if (!ruling->held.trimmed && ruling->limited_by != NULL)
	{
		held->limited_by = ruling->limited_by;
		held->ceiling = ruling->given;
		held->at = event->activity.at;
	}
	if (all->inputs[c] != 0 && (ruling->given != ruling->held.points || ruling->limited_by != NULL))
	{
		SimFrozen  *frozen = FrozenOf(simulation, &event->activity, HASH_ENTER);
		MemoryContext old = MemoryContextSwitchTo(backtest->context);

		frozen->inputs = lappend(frozen->inputs, DatumGetJsonbPCopy(all->inputs[c]));
		MemoryContextSwitchTo(old);
	}
}

static void
NoteEnds(Backtest *backtest, Simulation *simulation, const SimEvent *event, const Candidate *candidate)
{
	for (int i = 0; i < candidate->campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &candidate->campaign->limits[i];

		if (limit->scope == LIMIT_TOTAL && candidate->counters[i]->used >= limit->most)
		{
			SimCounter *counter = CounterOfSim(backtest, simulation, 0, limit, 0);

			if (counter->ended_at == 0)
				counter->ended_at = event->activity.at;
		}
	}
}

static void
Replay(Backtest *backtest, Simulation *simulation, const SimEvent *event)
{
	const Activity *activity = &event->activity;
	TimestampTz known_at = activity->recorded_at == 0 ? DT_NOEND : activity->recorded_at;
	int			n;
	int			nbefore = 0;
	Campaign  **campaigns = CampaignsInForce(simulation->book, activity->kind, activity->at, known_at, &n);
	Campaign  **campaigns_before = NULL;
	SimCandidates all = {0};
	SimFrozen  *frozen = event->is_revised ? FrozenOf(simulation, activity, HASH_FIND) : NULL;
	Facts		facts;
	bool		any = false;
	bool		trimmed = false;

	if (event->has_before && event->before.at != activity->at)
		campaigns_before = CampaignsInForce(simulation->book, activity->kind, event->before.at, known_at, &nbefore);
	if (n + nbefore == 0 && !event->is_revised)
		return;
	all.counts = activity->at >= backtest->from_at && activity->at < backtest->until;
	all.candidates = palloc(Max(1, n + nbefore) * sizeof(Candidate *));
	all.window_starts = palloc(Max(1, n + nbefore) * sizeof(DateADT));
	all.local_days = palloc(Max(1, n + nbefore) * sizeof(DateADT));
	all.inputs = palloc(Max(1, n + nbefore) * sizeof(Datum));
	InitSimFacts(backtest, &facts);
	if (frozen != NULL)
	{
		ListCell   *lc;

		foreach(lc, frozen->inputs)
			ThawFacts(&facts, lfirst(lc), NULL);
	}
	/* both are in order: so are they together */
	for (int c = 0, b = 0; c < n || b < nbefore;)
	{
		if (c < n && (b == nbefore || CompareCampaigns(campaigns[c], campaigns_before[b]) <= 0))
			AddSimCandidate(backtest, simulation, event, campaigns[c++], activity, &facts, &all);
		else if (campaigns_before[b]->has_window)
			AddSimCandidate(backtest, simulation, event, campaigns_before[b++], &event->before, &facts, &all);
		else
			b++;
	}
	if (event->is_revised)
		TakeLeftovers(backtest, simulation, event, &all);
	FindCounters(backtest, simulation, event, &all);
	Decide(all.candidates, all.n);
	for (int c = 0; c < all.n; c++)
	{
		const Campaign *campaign = all.candidates[c]->campaign;

		for (int e = 0; e < campaign->neffects; e++)
		{
			const Ruling *ruling = &all.candidates[c]->rulings[e];

			if (all.counts && campaign->effects[e].currency != NULL && strcmp(campaign->effects[e].currency, backtest->currency) == 0)
			{
				backtest->member->points[simulation->number] += ruling->given - ruling->held.points;
				any = any || ruling->given > ruling->held.points;
				trimmed = trimmed || ruling->limited_by != NULL;
			}
			if (event->is_revised || campaign->has_window)
				KeepHeld(backtest, simulation, event, &all, c, e);
		}
		if (simulation->has_days)
			CountInDays(backtest, simulation, event, &all, c);
		NoteEnds(backtest, simulation, event, all.candidates[c]);
	}
	simulation->awards += any;
	simulation->trimmed += trimmed;
}

/* ---------------------------------------------------------------------------
 * The history
 * ---------------------------------------------------------------------------
 */

/*
 * All states that activities had, and what happened, in the order in which they
 * were recorded.
 */
static char *
HistoryQuery(const Backtest *backtest)
{
#define COLUMN(symbol, name, type) #name,
	static const char *const columns[] = {ACTIVITY_COLUMNS(COLUMN) NULL};
#undef COLUMN
#define COLUMN(symbol, name, type) ACTIVITY_##symbol,
	static const int states[] = {ACTIVITY_STATE(COLUMN) -1};
#undef COLUMN
	StringInfoData now;
	StringInfoData before;

	initStringInfo(&now);
	initStringInfo(&before);
	for (int i = 0; columns[i] != NULL; i++)
	{
		bool		is_state = false;

		for (int s = 0; states[s] >= 0; s++)
			is_state = is_state || states[s] == i;
		if (i > 0)
		{
			appendStringInfoString(&now, ", ");
			appendStringInfoString(&before, ", ");
		}
		if ((i == ACTIVITY_LINES && !backtest->needs_lines) || (i == ACTIVITY_DOCUMENT && !backtest->needs_document))
		{
			appendStringInfoString(&now, "NULL::pg_catalog.jsonb");
			appendStringInfoString(&before, "NULL::pg_catalog.jsonb");
		}
		else if (i == ACTIVITY_FINGERPRINT)
		{
			appendStringInfoString(&now, "NULL::pg_catalog.bytea");
			appendStringInfoString(&before, "NULL::pg_catalog.bytea");
		}
		else if (i == ACTIVITY_EXTERNAL_ID || i == ACTIVITY_SAME_KEY || i == ACTIVITY_IDEMPOTENCY_KEY)
		{
			appendStringInfoString(&now, "NULL::pg_catalog.text");
			appendStringInfoString(&before, "NULL::pg_catalog.text");
		}
		else
		{
			appendStringInfo(&now, "a.%s", columns[i]);
			if (i == ACTIVITY_REVISION)
				appendStringInfoString(&before, "r.revision OPERATOR(pg_catalog.-) 1");
			else
				appendStringInfo(&before, "%s.%s%s", is_state ? "r" : "a", is_state ? "was_" : "", columns[i]);
		}
	}
	return psprintf("SELECT * FROM (SELECT %s, coalesce((SELECT r.is_return FROM loyalty.activity_revision r WHERE r.member_id OPERATOR(pg_catalog.=) a.member_id "
					"AND r.activity_id OPERATOR(pg_catalog.=) a.activity_id AND r.revision OPERATOR(pg_catalog.=) a.revision AND a.revision OPERATOR(pg_catalog.>) 0), false), "
					"a.revision OPERATOR(pg_catalog.>) 0 FROM loyalty.activity a "
					"UNION ALL SELECT %s, coalesce((SELECT p.is_return FROM loyalty.activity_revision p WHERE p.member_id OPERATOR(pg_catalog.=) r.member_id "
					"AND p.activity_id OPERATOR(pg_catalog.=) r.activity_id AND p.revision OPERATOR(pg_catalog.=) (r.revision OPERATOR(pg_catalog.-) 1)), false), true "
					"FROM loyalty.activity_revision r JOIN loyalty.activity a ON a.member_id OPERATOR(pg_catalog.=) r.member_id "
					"AND a.activity_id OPERATOR(pg_catalog.=) r.activity_id WHERE r.was_at IS NOT NULL) h "
					"ORDER BY h.revised_at, h.at, h.activity_id",
					now.data, before.data);
}

static void
NoteNeeds(const FactQuestion *question, void *arg)
{
	Backtest   *backtest = arg;

	if (question->kind == FACT_COUNT || question->kind == FACT_SPENT)
		backtest->keeps_seen = true;
}

static void
FindNeeds(Backtest *backtest, Simulation *simulation)
{
	const RuleBook *book = simulation->book;

	for (int i = 0; i < book->n; i++)
	{
		const Campaign *campaign = book->versions[i];

		backtest->keeps_seen = backtest->keeps_seen || campaign->has_window;
		backtest->hears = backtest->hears || ConcernsKind(campaign, "tier_changed");
		for (int l = 0; l < campaign->nlimits; l++)
			simulation->has_days = simulation->has_days || campaign->limits[l].days > 0;
		/* lines say what does not earn */
		backtest->needs_lines = true;
		if (campaign->when != NULL)
		{
			ForEachQuestion(campaign->when, NoteNeeds, backtest);
			backtest->needs_document = true;
		}
		if (campaign->treat != NULL)
			ForEachQuestion(campaign->treat, NoteNeeds, backtest);
	}
}

static bool
IsWanted(const Backtest *backtest, const char *kind)
{
	ListCell   *lc;

	foreach(lc, backtest->kinds)
	{
		if (strcmp(lfirst(lc), kind) == 0)
			return true;
	}
	return backtest->kinds == NIL;
}

static void
ReplayEvent(Backtest *backtest, SimEvent *event)
{
	backtest->member = MemberOfSim(backtest, event->canonical);
	if (event->activity.revision == 0 && event->activity.at >= backtest->from_at && event->activity.at < backtest->until &&
		event->activity.activity_id != 0)
		backtest->member->activities++;
	if (backtest->keeps_seen)
		event->has_before = NoteSeen(backtest, backtest->member, &event->activity, &event->before);
	backtest->event++;
	for (int s = 0; s < 2; s++)
		Replay(backtest, &backtest->simulations[s], event);
}

/* Steps of tiers that earned something, or are in the history. */
static void
ReplayHappenings(Backtest *backtest)
{
	static KeptPlan plan = {
		.query = "SELECT DISTINCT ON (s.member_id, s.ladder, s.level, s.at) s.member_id, s.at, pg_catalog.jsonb_build_object('ladder', s.ladder, 'to', s.level, 'event', s.event), s.recorded_at "
		"FROM (SELECT h.member_id, h.ladder, h.level, h.starts_at AS at, h.event, h.recorded_at FROM loyalty.tier_history h WHERE h.event OPERATOR(pg_catalog.=) ANY ('{upgraded,enrolled}') "
		"UNION ALL SELECT w.member_id, pg_catalog.split_part(w.cause, ':', 2), pg_catalog.split_part(w.cause, ':', 3), w.at, 'upgraded', w.recorded_at "
		"FROM loyalty.award w WHERE pg_catalog.starts_with(w.cause, 'tier_changed:')) s ORDER BY s.member_id, s.ladder, s.level, s.at, s.recorded_at"
	};
	SPITupleTable *table;
	uint64		n;

	RunPlan(&plan, NULL, NULL, 0);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		SimEvent	event = {0};
		bool		isnull;
		MemoryContext old = MemoryContextSwitchTo(backtest->event_context);

		CHECK_FOR_INTERRUPTS();
		event.activity.member_id = DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		event.activity.kind = "tier_changed";
		event.activity.at = DatumGetTimestampTz(SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull));
		event.activity.time_zone = FindTimeZone(NULL);
		event.activity.local_day = LocalDay(event.activity.at, event.activity.time_zone);
		event.activity.document = SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull);
		event.activity.recorded_at = DatumGetTimestampTz(SPI_getbinval(table->vals[i], table->tupdesc, 4, &isnull));
		event.activity.confirmed = true;
		event.canonical = CanonicalMember(event.activity.member_id);
		ReplayEvent(backtest, &event);
		MemoryContextSwitchTo(old);
		MemoryContextReset(backtest->event_context);
	}
}

static void
ReplayHistory(Backtest *backtest)
{
	SPIPlanPtr	plan = SPI_prepare(HistoryQuery(backtest), 0, NULL);
	Portal		portal;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, BATCH);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			SPITupleTable *table = SPI_tuptable;
			uint64		processed = SPI_processed;
			MemoryContext old = MemoryContextSwitchTo(backtest->event_context);
			SimEvent	event = {0};
			ActivityRow row;
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			ReadActivityRow(table->vals[i], table->tupdesc, &row);
			event.activity = row.activity;
			event.is_return = DatumGetBool(SPI_getbinval(table->vals[i], table->tupdesc, ACTIVITY_NCOLUMNS + 1, &isnull));
			event.is_revised = DatumGetBool(SPI_getbinval(table->vals[i], table->tupdesc, ACTIVITY_NCOLUMNS + 2, &isnull));
			if (IsWanted(backtest, event.activity.kind))
			{
				event.canonical = CanonicalMember(event.activity.member_id);
				ReplayEvent(backtest, &event);
			}
			MemoryContextSwitchTo(old);
			MemoryContextReset(backtest->event_context);
			SPI_tuptable = table;
			SPI_processed = processed;
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	if (backtest->hears)
		ReplayHappenings(backtest);
}

static Backtest *
RunBacktest(FunctionCallInfo fcinfo)
{
	Backtest   *backtest = palloc0(sizeof(Backtest));
	const RuleBook *book = OpenRuleBook();

	RequireArgument(fcinfo, 0, "definitions");
	RequireArgument(fcinfo, 4, "currency");
	backtest->context = AllocSetContextCreate(CurrentMemoryContext, "backtest", ALLOCSET_DEFAULT_SIZES);
	backtest->event_context = AllocSetContextCreate(CurrentMemoryContext, "backtest of an activity", ALLOCSET_DEFAULT_SIZES);
	backtest->from_at = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1);
	backtest->until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);
	backtest->currency = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (!PG_ARGISNULL(3))
	{
		Datum	   *kinds;
		int			n;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), TEXTOID, -1, false, TYPALIGN_INT, &kinds, NULL, &n);
		for (int i = 0; i < n; i++)
			backtest->kinds = lappend(backtest->kinds, TextDatumGetCString(kinds[i]));
	}
	backtest->members = MakeTable(backtest, "members", sizeof(int64), sizeof(SimMember));
	for (int s = 0; s < 2; s++)
	{
		Simulation *simulation = &backtest->simulations[s];

		simulation->number = s;
		simulation->book = s == 0 ? book : MakeDraft(book, PG_GETARG_JSONB_P(0));
		simulation->counters = MakeTable(backtest, "counters", sizeof(SimCounterKey), sizeof(SimCounter));
		simulation->days = MakeTable(backtest, "days", sizeof(SimDaysKey), sizeof(SimDays));
		simulation->frozen = MakeTable(backtest, "facts", sizeof(SimFrozenKey), sizeof(SimFrozen));
		simulation->held = MakeTable(backtest, "awards", sizeof(SimHeldKey), sizeof(SimHeld));
		FindNeeds(backtest, simulation);
	}
	ReplayHistory(backtest);
	return backtest;
}

/* ---------------------------------------------------------------------------
 * Answers
 * ---------------------------------------------------------------------------
 */

/*
 * backtest_campaigns(definitions, from_at, until, kinds, currency)
 */
PG_FUNCTION_INFO_V1(loyalty_backtest_campaigns);
Datum
loyalty_backtest_campaigns(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Backtest   *backtest;
	HASH_SEQ_STATUS scan;
	SimMember  *member;

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	backtest = RunBacktest(fcinfo);
	hash_seq_init(&scan, backtest->members);
	while ((member = hash_seq_search(&scan)) != NULL)
	{
		Datum		values[4] = {
			Int64GetDatum(member->member_id), Int64GetDatum(member->activities), Int64GetDatum(member->points[0]), Int64GetDatum(member->points[1])
		};
		bool		nulls[4] = {false};

		if (member->activities > 0 || member->points[0] != 0 || member->points[1] != 0)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

static void
PutMeasure(ReturnSetInfo *rsinfo, const char *measure, const int64 *numbers, const TimestampTz *instants)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(measure);
	for (int s = 0; s < 2; s++)
	{
		nulls[1 + s] = numbers[s] < 0;
		values[1 + s] = NumericGetDatum(int64_to_numeric(numbers[s]));
		nulls[3 + s] = instants == NULL || instants[s] == 0;
		if (!nulls[3 + s])
			values[3 + s] = TimestampTzGetDatum(instants[s]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
PutBudgets(ReturnSetInfo *rsinfo, Backtest *backtest)
{
	for (int i = 0; i < backtest->nnames; i++)
	{
		int64		left[2] = {-1, -1};
		TimestampTz ended_at[2] = {0, 0};
		size_t		length = strlen(backtest->names[i]);

		for (int s = 0; s < 2; s++)
		{
			SimCounterKey key;
			SimCounter *counter;

			memset(&key, 0, sizeof(key));
			key.name = i;
			counter = hash_search(backtest->simulations[s].counters, &key, HASH_FIND, NULL);
			if (counter == NULL)
				continue;
			left[s] = Max(counter->total - counter->counter.used, 0);
			ended_at[s] = counter->ended_at;
		}
		if (left[0] >= 0 || left[1] >= 0)
			PutMeasure(rsinfo, psprintf("budget %.*s", (int) (length - strlen("/total")), backtest->names[i]), left, ended_at);
	}
}

/*
 * backtest_summary(definitions, from_at, until, kinds, currency)
 */
PG_FUNCTION_INFO_V1(loyalty_backtest_summary);
Datum
loyalty_backtest_summary(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Backtest   *backtest;
	HASH_SEQ_STATUS scan;
	SimMember  *member;
	int64		points[2] = {0, 0};
	int64		members[2] = {0, 0};
	int64		winners[2] = {-1, 0};
	int64		losers[2] = {-1, 0};
	int64		same[2] = {-1, 0};
	int64		awards[2];
	int64		trimmed[2];

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	backtest = RunBacktest(fcinfo);
	hash_seq_init(&scan, backtest->members);
	while ((member = hash_seq_search(&scan)) != NULL)
	{
		for (int s = 0; s < 2; s++)
		{
			points[s] += member->points[s];
			members[s] += member->points[s] > 0;
		}
		if (member->activities == 0)
			continue;
		winners[1] += member->points[1] > member->points[0];
		losers[1] += member->points[1] < member->points[0];
		same[1] += member->points[1] == member->points[0];
	}
	for (int s = 0; s < 2; s++)
	{
		awards[s] = backtest->simulations[s].awards;
		trimmed[s] = backtest->simulations[s].trimmed;
	}
	PutMeasure(rsinfo, "points", points, NULL);
	PutMeasure(rsinfo, "awards", awards, NULL);
	PutMeasure(rsinfo, "trimmed", trimmed, NULL);
	PutMeasure(rsinfo, "members", members, NULL);
	PutMeasure(rsinfo, "winners", winners, NULL);
	PutMeasure(rsinfo, "losers", losers, NULL);
	PutMeasure(rsinfo, "same", same, NULL);
	PutBudgets(rsinfo, backtest);
	SPI_finish();
	return (Datum) 0;
}
