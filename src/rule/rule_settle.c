/*
 * rule_settle.c
 *		Brings what was given for an activity to what it is to have.
 *
 * A settlement gathers the campaigns in force, what awards hold, and what limits
 * leave; decides; and posts the difference.  Dry, it writes nothing: so an
 * activity is previewed and explained.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/activity_row.h"
#include "activity/calendar.h"
#include "activity/member_fact.h"
#include "benefit/household.h"
#include "core/core.h"
#include "core/escrow.h"
#include "ledger/ledger.h"
#include "rule/rule.h"

#define WITHOUT_LIMIT	(PG_INT64_MAX / 4)

/*
 * Begins the settlement of an activity as it is now.
 */
void
BeginSettlement(Settlement *settlement, const RuleBook *book, int64 member_id, const Activity *activity)
{
	Datum		self = Int64GetDatum(member_id);
	bool		is_alone;

	memset(settlement, 0, sizeof(Settlement));
	settlement->book = book;
	settlement->home_id = member_id;
	settlement->activity = activity;
	settlement->at = activity->at;
	is_alone = !FindNumbers(member_id, &settlement->canonical, &settlement->numbers);
	if (is_alone)
		settlement->numbers = PointerGetDatum(construct_array(&self, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	InitFacts(&settlement->facts, settlement->canonical, settlement->numbers);
	InitFacts(&settlement->facts_now, settlement->canonical, settlement->numbers);
	settlement->counters.alone = is_alone ? member_id : 0;
	settlement->counters.numbers = settlement->numbers;
}

/* ---------------------------------------------------------------------------
 * Candidates
 * ---------------------------------------------------------------------------
 */

static HeldAward **
HoldsOf(Settlement *settlement, Candidate *candidate, bool has_window, DateADT window_start, DateADT local_day)
{
	const Campaign *campaign = candidate->campaign;
	HeldAward **holds = palloc0(Max(1, campaign->neffects) * sizeof(HeldAward *));

	for (int e = 0; e < campaign->neffects; e++)
	{
		Held	   *held = &candidate->rulings[e].held;
		HeldAward  *award = FindHeld(&settlement->held, campaign, e, has_window, window_start, settlement->cause);

		if (award == NULL)
			continue;
		holds[e] = award;
		award->is_taken = true;
		held->points = award->points;
		held->trimmed = award->trimmed;
		held->ceiling = award->ceiling;
		held->limited_by = award->limited_by;
		held->counts_elsewhere = award->local_day != local_day || award->version != campaign->version;
	}
	return holds;
}

static void
AddCandidate(Settlement *settlement, Candidate *candidate, bool has_window, DateADT window_start)
{
	const Campaign *campaign = candidate->campaign;
	int			n = settlement->ncandidates++;
	DateADT		local_day = has_window ? window_start : DayInCampaign(campaign, settlement->activity);
	bool		anew = settlement->reapplied != NULL && strcmp(campaign->code, settlement->reapplied) == 0;
	Facts	   *facts = anew ? &settlement->facts_now : &settlement->facts;

	candidate->fixed = settlement->reapplied != NULL && !anew;
	settlement->candidates[n] = candidate;
	settlement->window_starts[n] = window_start;
	settlement->effective_ats[n] = candidate->subject->at;
	settlement->holds[n] = HoldsOf(settlement, candidate, has_window, window_start, local_day);
	for (int i = 0; i < campaign->nlimits; i++)
	{
		if (campaign->limits[i].scope != LIMIT_AWARD)
			candidate->counters[i] = &CounterOf(&settlement->counters, campaign, &campaign->limits[i], local_day)->counter;
	}
	BeginAsking(facts, campaign->code);
	MatchCandidate(candidate, ReadMemberFact, facts);
	settlement->inputs[n] = FreezeFacts(facts);
}

static void
MakeRoom(Settlement *settlement, int n)
{
	n = Max(1, n);
	settlement->candidates = palloc(n * sizeof(Candidate *));
	settlement->holds = palloc(n * sizeof(HeldAward **));
	settlement->inputs = palloc(n * sizeof(Datum));
	settlement->window_starts = palloc(n * sizeof(DateADT));
	settlement->effective_ats = palloc(n * sizeof(TimestampTz));
}

static void
AddOfWindow(Settlement *settlement, Window *window, TimestampTz known_at)
{
	Candidate  *candidate = palloc(sizeof(Candidate));

	for (int i = 0; i < settlement->ncandidates; i++)
	{
		if (settlement->candidates[i]->campaign == window->campaign && settlement->window_starts[i] == window->start)
			return;
	}
	InitCandidate(candidate, window->campaign, settlement->activity);
	BeginWindow(settlement->book, window, known_at);
	SumWindow(settlement, candidate, window);
	LoadHeldOfWindow(&settlement->held, settlement->numbers, window->campaign->code, window->start);
	candidate->keep = window->campaign->keep;
	AddCandidate(settlement, candidate, true, window->start);
}

static TimestampTz
KnownAt(const Activity *activity)
{
	return activity->recorded_at == 0 ? DT_NOEND : activity->recorded_at;
}

/* Whether a campaign, which holds nothing, has a part in the decision. */
static bool
IsMatched(Settlement *settlement, const Campaign *campaign, const Activity *activity)
{
	bool	   *lines;

	BeginAsking(&settlement->facts, campaign->code);
	return ActivityIsSelected(campaign, activity, &lines, ReadMemberFact, &settlement->facts);
}

/* A campaign looks at the window of an activity. */
static void
LookAtWindow(Settlement *settlement, const Campaign *campaign, const Activity *activity)
{
	TimestampTz known_at;
	Window		window;

	/* where another is decided anew, windows have no say in it */
	if (settlement->reapplied != NULL && strcmp(settlement->reapplied, campaign->code) != 0)
		return;
	known_at = WindowKnownAt(settlement, campaign->code, activity);
	if (FindWindow(settlement->book, campaign->code, activity, known_at, &window))
		AddOfWindow(settlement, &window, known_at);
}

/*
 * A campaign looks at the activity, or at the window of one.  Where nobody wants
 * to know why, one that does not match, as most of many, is left out.
 */
static void
AddOfCampaign(Settlement *settlement, const Campaign *campaign, const Activity *activity)
{
	Candidate  *candidate;

	if (campaign->has_window)
	{
		LookAtWindow(settlement, campaign, activity);
		return;
	}
	if (!settlement->dry && settlement->reapplied == NULL && settlement->held.n == 0 &&
		!IsMatched(settlement, campaign, activity))
		return;
	candidate = palloc(sizeof(Candidate));
	InitCandidate(candidate, campaign, activity);
	candidate->keep = campaign->keep && settlement->is_return && !activity->cancelled;
	AddCandidate(settlement, candidate, false, 0);
}

/* The same campaigns, with another version of one, or (NULL) without it. */
static Campaign **
WithVersion(Campaign *const *campaigns, int *n, const char *code, const Campaign *version, const char *kind)
{
	Campaign  **others = palloc((*n + 1) * sizeof(Campaign *));
	int			nothers = 0;
	bool		placed = version == NULL || !ConcernsKind(version, kind);

	for (int i = 0; i < *n; i++)
	{
		if (!placed && CompareCampaigns(version, campaigns[i]) < 0)
		{
			others[nothers++] = unconstify(Campaign *, version);
			placed = true;
		}
		if (strcmp(campaigns[i]->code, code) != 0)
			others[nothers++] = campaigns[i];
	}
	if (!placed)
		others[nothers++] = unconstify(Campaign *, version);
	*n = nothers;
	return others;
}

/*
 * The campaigns that look at the activity: those known when it was recorded, and,
 * of one that was decided anew, the one known then.
 */
static Campaign **
FindCampaigns(const Settlement *settlement, int *n)
{
	const Activity *activity = settlement->activity;
	const RuleBook *book = settlement->book;
	Campaign  **campaigns = CampaignsInForce(book, activity->kind, activity->at, KnownAt(activity), n);

	for (int i = 0; i < settlement->held.n; i++)
	{
		const HeldAward *award = settlement->held.awards[i];
		const Campaign *decided = FindVersion(book, award->campaign, award->version);

		if (decided != NULL && decided->recorded_at > KnownAt(activity) && settlement->cause == NULL)
			campaigns = WithVersion(campaigns, n, award->campaign,
									VersionInForce(book, award->campaign, activity->at, decided->recorded_at), activity->kind);
	}
	if (settlement->reapplied != NULL)
		campaigns = WithVersion(campaigns, n, settlement->reapplied,
								VersionInForce(book, settlement->reapplied, activity->at, DT_NOEND), activity->kind);
	return campaigns;
}

/* A campaign that looks at an activity, as it is now or as it was */
typedef struct Look
{
	const Campaign *campaign;
	const Activity *activity;
	int			place;			/* as it is now comes first */
} Look;

static int
CompareLooks(const void *a, const void *b)
{
	const Look *x = a;
	const Look *y = b;
	int			order = CompareCampaigns(x->campaign, y->campaign);

	return order != 0 ? order : x->place - y->place;
}

static Look *
AddLooks(Look *looks, int *n, Campaign *const *campaigns, int ncampaigns, bool windows, const Activity *activity)
{
	looks = looks == NULL ? palloc(Max(1, ncampaigns) * sizeof(Look)) : repalloc(looks, Max(1, *n + ncampaigns) * sizeof(Look));
	for (int i = 0; i < ncampaigns; i++)
	{
		if (campaigns[i]->has_window == windows)
		{
			looks[*n] = (Look) {campaigns[i], activity, *n};
			(*n)++;
		}
	}
	return looks;
}

/* Those over windows look at what is known by now, whenever the activity was recorded. */
static Look *
AddWindowLooks(const Settlement *settlement, Look *looks, int *n, const Activity *activity)
{
	int			ncampaigns;
	Campaign  **campaigns = CampaignsInForce(settlement->book, activity->kind, activity->at, DT_NOEND, &ncampaigns);

	looks = AddLooks(looks, n, campaigns, ncampaigns, true, activity);
	if (!settlement->dry || activity->revised_at == 0)
		return looks;
	campaigns = CampaignsInForce(settlement->book, activity->kind, activity->at, activity->revised_at, &ncampaigns);
	return AddLooks(looks, n, campaigns, ncampaigns, true, activity);
}

/*
 * The campaigns that look at the activity, in order; also those over a window
 * that it has left.
 */
static void
GatherCandidates(Settlement *settlement)
{
	const Activity *activity = settlement->activity;
	const Activity *before = settlement->before;
	Look	   *looks;
	int			n;
	int			nnow;
	int			nlooks = 0;
	Campaign  **campaigns = FindCampaigns(settlement, &n);
	Campaign  **now = CampaignsInForce(settlement->book, activity->kind, activity->at, DT_NOEND, &nnow);

	/* mostly all have known all that is known by now */
	if (campaigns == now && (before == NULL || before->at == activity->at))
	{
		MakeRoom(settlement, n);
		for (int i = 0; i < n; i++)
			AddOfCampaign(settlement, campaigns[i], activity);
		return;
	}
	looks = AddLooks(NULL, &nlooks, campaigns, n, false, activity);
	looks = AddWindowLooks(settlement, looks, &nlooks, activity);
	if (before != NULL && before->at != activity->at)
		looks = AddWindowLooks(settlement, looks, &nlooks, before);
	qsort(looks, nlooks, sizeof(Look), CompareLooks);
	MakeRoom(settlement, nlooks);
	for (int i = 0; i < nlooks; i++)
		AddOfCampaign(settlement, looks[i].campaign, looks[i].activity);
	pfree(looks);
}

/* ---------------------------------------------------------------------------
 * Limits
 * ---------------------------------------------------------------------------
 */

/* One time, that was given back in a counter: of which an award is one effect. */
typedef struct TimeGivenBack
{
	const LimitCounter *counter;
	const HeldAward *award;
} TimeGivenBack;

/* Whether awards are of one activity, of one thing that happened, or of one window. */
static bool
IsOneTime(const HeldAward *a, const HeldAward *b)
{
	if (a->has_window != b->has_window || !SameString(a->cause, b->cause))
		return false;
	return !a->has_window || (a->window_start == b->window_start && strcmp(a->campaign, b->campaign) == 0);
}

/* Whether a time is to be given back: it is counted once, however many effects had it. */
static bool
IsNewTime(const LimitCounter *counter, const HeldAward *award, List **times)
{
	TimeGivenBack *time;
	ListCell   *lc;

	foreach(lc, *times)
	{
		time = lfirst(lc);
		if (time->counter == counter && IsOneTime(time->award, award))
			return false;
	}
	time = palloc(sizeof(TimeGivenBack));
	*time = (TimeGivenBack) {counter, award};
	*times = lappend(*times, time);
	return true;
}

/* In a counter, what an award held is given back; times: which were. */
static void
GiveBackIn(LimitCounter *counter, const HeldAward *award, List **times)
{
	if (!counter->in_times && award->currency != NULL && strcmp(counter->currency, award->currency) == 0)
	{
		counter->counter.used -= award->points;
		counter->given_back -= award->has_window ? award->points : 0;
	}
	else if (counter->in_times && IsNewTime(counter, award, times))
	{
		counter->counter.used--;
		counter->given_back -= award->has_window;
	}
}

/*
 * What an award held was counted by another version, or in other periods: there
 * it is given back.  Days around another have it whichever version gave it.
 */
static void
GiveBackElsewhere(Settlement *settlement, const HeldAward *award, List **times)
{
	const Campaign *campaign = FindVersion(settlement->book, award->campaign, award->version);

	if (campaign == NULL || award->points == 0 || (!award->is_taken && award->stays != NULL))
		return;
	for (int i = 0; i < campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &campaign->limits[i];

		if (limit->scope != LIMIT_AWARD && limit->days == 0)
			GiveBackIn(CounterOf(&settlement->counters, campaign, limit, award->local_day), award, times);
	}
	for (int i = 0; i < settlement->counters.n; i++)
	{
		LimitCounter *counter = settlement->counters.counters[i];

		if (counter->days > 0 && strcmp(counter->campaign, award->campaign) == 0 &&
			abs(counter->counter.period - award->local_day) < counter->days)
			GiveBackIn(counter, award, times);
	}
}

static void
GiveBackAllElsewhere(Settlement *settlement)
{
	List	   *times = NIL;

	for (int i = 0; i < settlement->held.n; i++)
	{
		/* the awards of others stand where one is decided anew */
		if (settlement->reapplied != NULL && strcmp(settlement->held.awards[i]->campaign, settlement->reapplied) != 0)
			settlement->held.awards[i]->is_taken = true;
		if (!settlement->held.awards[i]->is_taken)
			GiveBackElsewhere(settlement, settlement->held.awards[i], &times);
	}
	for (int c = 0; c < settlement->ncandidates; c++)
	{
		for (int e = 0; e < settlement->candidates[c]->campaign->neffects; e++)
		{
			if (settlement->candidates[c]->rulings[e].held.counts_elsewhere && !settlement->candidates[c]->fixed)
				GiveBackElsewhere(settlement, settlement->holds[c][e], &times);
		}
	}
}

static char *
EscrowName(const LimitCounter *counter)
{
	return psprintf("campaign/%s/%s", counter->campaign, counter->in_times ? "times" : "points");
}

static int
CompareTotals(const void *a, const void *b)
{
	const LimitCounter *x = *(LimitCounter *const *) a;
	const LimitCounter *y = *(LimitCounter *const *) b;

	if (x->is_total != y->is_total)
		return x->is_total ? -1 : 1;
	return strcmp(x->counter.name, y->counter.name);
}

/* The limit of all members that a counter counts. */
static int64
TotalOf(const Settlement *settlement, const LimitCounter *counter)
{
	for (int c = 0; c < settlement->ncandidates; c++)
	{
		const Candidate *candidate = settlement->candidates[c];

		for (int i = 0; i < candidate->campaign->nlimits; i++)
		{
			if (candidate->counters[i] == &counter->counter)
				return candidate->campaign->limits[i].most;
		}
	}
	return 0;
}

static bool
TakesAll(const Settlement *settlement, const LimitCounter *counter)
{
	for (int c = 0; c < settlement->ncandidates; c++)
	{
		if (strcmp(settlement->candidates[c]->campaign->code, counter->campaign) == 0)
			return settlement->candidates[c]->campaign->refuse;
	}
	return false;
}

static bool
IsInGroup(const Settlement *settlement, const LimitCounter *counter)
{
	for (int c = 0; c < settlement->ncandidates; c++)
	{
		if (strcmp(settlement->candidates[c]->campaign->code, counter->campaign) == 0)
			return settlement->candidates[c]->campaign->group != NULL;
	}
	return false;
}

/*
 * Decides.  Of totals of all members it is first assumed that there is enough;
 * the most that is wanted at any moment is taken, and where it is not there, it
 * is decided again with what is.  In the end what is too much is put back.
 */
static void
DecideWithTotals(Settlement *settlement)
{
	Counters   *counters = &settlement->counters;
	int64	   *start = palloc(Max(1, counters->n) * sizeof(int64));
	bool		again;

	qsort(counters->counters, counters->n, sizeof(LimitCounter *), CompareTotals);
	for (int i = 0; i < counters->n; i++)
	{
		LimitCounter *counter = counters->counters[i];
		int64		left = WITHOUT_LIMIT;

		if (counter->is_total)
		{
			/* in a group it counts what is left, also where nothing is taken then */
			if (settlement->dry || IsInGroup(settlement, counter))
				left = Max(EscrowLeft(EscrowName(counter)), 0);
			counter->before = TotalOf(settlement, counter) - left;
			/* what was given back elsewhere is there already */
			counter->counter.used += counter->before;
		}
		start[i] = counter->counter.used;
	}
	do
	{
		again = false;
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < counters->n; i++)
			counters->counters[i]->counter.used = start[i];
		Decide(settlement->candidates, settlement->ncandidates);
		for (int i = 0; i < counters->n && !settlement->dry; i++)
		{
			LimitCounter *counter = counters->counters[i];
			int64		want = counter->counter.most_used - counter->before - counter->taken;
			int64		got;

			if (!counter->is_total || counter->asked || want <= 0)
				continue;
			got = TakeFromEscrow(EscrowName(counter), want, TakesAll(settlement, counter) ? ESCROW_ALL : ESCROW_WHAT_THERE_IS);
			counter->taken += got;
			again = true;
			if (got == want)
				continue;
			/* there is no more */
			counter->asked = true;
			start[i] += TotalOf(settlement, counter) - counter->taken - counter->before;
			counter->before = TotalOf(settlement, counter) - counter->taken;
		}
	} while (again);
	pfree(start);
}

/* What was taken from totals, and is not needed. */
static void
PutBackTotals(Settlement *settlement)
{
	for (int i = 0; i < settlement->counters.n; i++)
	{
		LimitCounter *counter = settlement->counters.counters[i];
		int64		more = counter->counter.used - counter->before;

		if (counter->is_total && counter->taken > more)
			PutIntoEscrow(EscrowName(counter), counter->taken - more);
	}
}

/*
 * Asks the rooms of items which that are held stay, and how many more there are.
 */
static void
AskRooms(Settlement *settlement)
{
	AskWhatStays(&settlement->held, settlement->home_id, settlement->dry);
	for (int c = 0; c < settlement->ncandidates; c++)
	{
		const Candidate *candidate = settlement->candidates[c];
		const Campaign *campaign = candidate->campaign;

		for (int e = 0; e < campaign->neffects; e++)
		{
			const Effect *effect = &campaign->effects[e];
			const HeldAward *held = settlement->holds[c][e];
			Ruling	   *ruling = &candidate->rulings[e];
			EffectItem	item = {
				.name = effect->item,.terms = effect->terms,.campaign = campaign->code,.at = settlement->effective_ats[c],
				.member_id = campaign->has_window ? settlement->canonical : settlement->home_id,.read_only = settlement->dry
			};

			for (int i = 0; i < settlement->nissued && effect->item != NULL; i++)
				item.taken += strcmp(EffectName(effect), "coupon") == 0 && strcmp(settlement->issued[i], effect->item) == 0;
			ruling->held.stays = held != NULL && held->stays != NULL;
			if (candidate->matched && effect->of != NULL && effect->of->left != NULL && ruling->held.points == 0)
				ruling->left = AskWhatIsLeft(&item, effect->of, &settlement->items_left);
		}
	}
}

/*
 * Decides what the activity is to have.
 */
void
DecideSettlement(Settlement *settlement)
{
	if (settlement->activity->activity_id != 0 && settlement->cause == NULL && settlement->before != NULL)
		LoadHeld(&settlement->held, settlement->home_id, settlement->activity->activity_id, settlement->activity->at,
				 &settlement->facts);
	GatherCandidates(settlement);
	AskRooms(settlement);
	GiveBackAllElsewhere(settlement);
	DecideWithTotals(settlement);
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

/* Whether an effect needs a row: also where something is kept for the first time. */
static bool
NeedsRow(const Ruling *ruling, const HeldAward *held)
{
	return RulingIsNews(ruling) || (ruling->stayed && held->kept_because == NULL);
}

/*
 * Whether what an effect holds is in another wallet than where it belongs, since
 * the activity was at another instant than it was said to be: in another
 * household then, or in none.
 */
static bool
IsElsewhere(const Settlement *settlement, const Campaign *campaign, const HeldAward *held)
{
	return campaign->to_household && held != NULL && held->points > 0 && held->currency != NULL && !campaign->has_window &&
		settlement->cause == NULL && held->at != settlement->activity->at &&
		held->entries[held->nentries - 1].wallet_id != HouseholdAsOf(settlement->home_id, settlement->activity->at);
}

/* At most two of each effect. */
static void
AddDifferences(Settlement *settlement, int c, Difference *differences, int *n)
{
	const Candidate *candidate = settlement->candidates[c];
	const Campaign *campaign = candidate->campaign;
	bool		first = true;

	if (candidate->fixed)
		return;
	for (int e = 0; e < campaign->neffects; e++)
	{
		const Effect *effect = &campaign->effects[e];
		const Ruling *ruling = &candidate->rulings[e];
		Difference *difference = &differences[*n];
		bool		is_elsewhere = IsElsewhere(settlement, campaign, settlement->holds[c][e]);

		if (!NeedsRow(ruling, settlement->holds[c][e]) && !is_elsewhere)
			continue;
		memset(difference, 0, sizeof(Difference));
		difference->campaign = campaign;
		difference->effect = e;
		difference->campaign_code = campaign->code;
		difference->version = campaign->version;
		difference->has_window = campaign->has_window;
		difference->window_start = settlement->window_starts[c];
		difference->local_day = campaign->has_window ? settlement->window_starts[c] : DayInCampaign(campaign, settlement->activity);
		difference->at = settlement->activity->at;
		difference->held = settlement->holds[c][e];
		difference->points = ruling->given - ruling->held.points;
		difference->wanted = ruling->wanted;
		difference->kind = EffectName(effect);
		difference->currency = effect->currency;
		difference->item = effect->item;
		difference->kept_because = ruling->stayed ? difference->held->stays : NULL;
		difference->limited_by = ruling->limited_by;
		difference->cause = settlement->cause;
		difference->effective_at = settlement->effective_ats[c];
		difference->inputs = first ? settlement->inputs[c] : 0;
		first = false;
		(*n)++;
		if (is_elsewhere)
		{
			/* all of it is taken back there, and given here */
			differences[*n] = *difference;
			difference->points = -ruling->held.points;
			differences[*n].points = ruling->given;
			differences[*n].held = NULL;
			differences[*n].inputs = 0;
			(*n)++;
		}
	}
}

/* The version by which a campaign is decided anew. */
static const Campaign *
LatestVersion(const Settlement *settlement)
{
	return VersionInForce(settlement->book, settlement->reapplied, settlement->activity->at, DT_NOEND);
}

/* What is held by campaigns that do not look at the activity any more. */
static void
AddLeftovers(Settlement *settlement, Difference *differences, int *n)
{
	for (int i = 0; i < settlement->held.n; i++)
	{
		HeldAward  *award = settlement->held.awards[i];
		Difference *difference = &differences[*n];

		if (award->is_taken || award->points == 0 || (award->stays != NULL && award->kept_because != NULL))
			continue;
		memset(difference, 0, sizeof(Difference));
		difference->campaign_code = award->campaign;
		difference->effect = award->effect;
		difference->version = settlement->reapplied != NULL ? LatestVersion(settlement)->version : award->version;
		difference->local_day = award->local_day;
		difference->at = settlement->activity->at;
		difference->held = award;
		difference->points = award->stays != NULL ? 0 : -award->points;
		difference->kept_because = award->stays;
		difference->kind = award->kind;
		difference->currency = award->currency;
		difference->item = award->item;
		difference->cause = award->cause;
		difference->has_window = award->has_window;
		difference->window_start = award->window_start;
		(*n)++;
	}
}

/* Posts the differences of windows, or of what has none. */
static void
PostSome(Settlement *settlement, const Difference *all, int n, bool of_windows)
{
	PostingFor	what = {
		.member_id = of_windows ? settlement->canonical : settlement->home_id,
		.activity_id = settlement->cause != NULL ? settlement->cause_activity_id : settlement->activity->activity_id,
		.revision = settlement->cause != NULL ? settlement->cause_revision : settlement->activity->revision,
		.reference = settlement->activity->external_id,
		.confirmed = settlement->activity->confirmed,
		.taken_back_at = settlement->at,
		.reason = settlement->reason
	};
	Difference *some = palloc(Max(1, n) * sizeof(Difference));
	int			nsome = 0;

	for (int i = 0; i < n; i++)
	{
		if (all[i].has_window == of_windows)
			some[nsome++] = all[i];
	}
	if (nsome > 0)
		PostDifferences(&what, some, nsome);
	if (!of_windows && settlement->before != NULL && !settlement->before->confirmed && settlement->activity->confirmed)
		ActivateAwards(&what, settlement->book, &settlement->held);
}

/* Whether something is taken back by differences that no other makes up for. */
static bool
LosesSomething(const Difference *differences, int n)
{
	for (int i = 0; i < n; i++)
	{
		int64		sum = 0;

		for (int j = 0; j < n; j++)
		{
			if (strcmp(differences[i].kind, differences[j].kind) == 0 && SameString(differences[i].currency, differences[j].currency) &&
				SameString(differences[i].item, differences[j].item))
				sum += differences[j].points;
		}
		if (sum < 0)
			return true;
	}
	return false;
}

/* Nothing comes of the decision: all is as it was. */
static void
LeaveAsItIs(Settlement *settlement)
{
	for (int i = 0; i < settlement->counters.n; i++)
		settlement->counters.counters[i]->counter.used = settlement->counters.counters[i]->before;
	PutBackTotals(settlement);
}

/*
 * What would be given is not, since too much has happened before it in this
 * commit; what is held stays.
 */
static void
GiveNothing(Settlement *settlement)
{
	for (int c = 0; c < settlement->ncandidates; c++)
	{
		const Candidate *candidate = settlement->candidates[c];

		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			Ruling	   *ruling = &candidate->rulings[e];

			ruling->limited_by = ruling->given > ruling->held.points ? "depth" : NULL;
			ruling->given = ruling->held.points;
			ruling->held.trimmed = ruling->limited_by == NULL;
		}
	}
	for (int i = 0; i < settlement->held.n; i++)
		settlement->held.awards[i]->is_taken = true;
}

/*
 * Where a version that was not known comes to what the one before it came to, a
 * row says that it holds from now on.
 */
static void
AddVersion(const Settlement *settlement, Difference *differences, int *n)
{
	for (int c = 0; c < settlement->ncandidates && *n == 0; c++)
	{
		const Candidate *candidate = settlement->candidates[c];
		const Campaign *campaign = candidate->campaign;

		if (candidate->fixed || campaign->has_window || !candidate->matched || candidate->lost_to != NULL)
			continue;
		for (int e = 0; e < campaign->neffects; e++)
		{
			if (settlement->holds[c][e] != NULL && settlement->holds[c][e]->version == campaign->version)
				return;
		}
		if (campaign->recorded_at <= settlement->activity->recorded_at)
			return;
		*n = 1;
		memset(differences, 0, sizeof(Difference));
		differences->campaign = campaign;
		differences->campaign_code = campaign->code;
		differences->version = campaign->version;
		differences->local_day = DayInCampaign(campaign, settlement->activity);
		differences->at = settlement->activity->at;
		differences->held = settlement->holds[c][0];
		differences->kind = EffectName(&campaign->effects[0]);
		differences->currency = campaign->effects[0].currency;
		differences->item = campaign->effects[0].item;
		differences->inputs = settlement->inputs[c];
	}
}

/*
 * Decides, and posts the difference.  The wallets and the member's state are
 * locked.
 */
void
Settle(Settlement *settlement)
{
	Difference *differences;
	int			n = 0;
	int			most = 0;

	settlement->dry = settlement->too_deep;
	DecideSettlement(settlement);
	if (settlement->too_deep)
		GiveNothing(settlement);
	for (int c = 0; c < settlement->ncandidates; c++)
		most += settlement->candidates[c]->campaign->neffects;
	differences = palloc(Max(1, 2 * most + settlement->held.n) * sizeof(Difference));
	for (int c = 0; c < settlement->ncandidates; c++)
		AddDifferences(settlement, c, differences, &n);
	AddLeftovers(settlement, differences, &n);
	if (settlement->reapplied != NULL && !settlement->take_back && LosesSomething(differences, n))
	{
		LeaveAsItIs(settlement);
		return;
	}
	if (settlement->reapplied != NULL && n == 0)
		AddVersion(settlement, differences, &n);
	for (int i = 0; i < n; i++)
	{
		if (differences[i].currency != NULL && strcmp(differences[i].currency, "points") == 0)
			settlement->points += differences[i].points;
		settlement->awards += differences[i].points != 0;
	}
	if (!settlement->too_deep)
	{
		PutBackTotals(settlement);
		StoreCounters(&settlement->counters, settlement->home_id, settlement->canonical);
	}
	PostSome(settlement, differences, n, false);
	PostSome(settlement, differences, n, true);
}
