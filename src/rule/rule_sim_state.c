/*
 * rule_sim_state.c
 *		What a simulation keeps in memory: names, what limits have counted, what
 *		members did and what is known of it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "rule/rule_sim_state.h"

static inline uint32
HashNumber(int64 number)
{
	return (uint32) (((uint64) number * UINT64CONST(0x9E3779B97F4A7C15)) >> 32);
}

#define SH_PREFIX members
#define SH_ELEMENT_TYPE SimMember
#define SH_KEY_TYPE int64
#define SH_KEY member_id
#define SH_HASH_KEY(table, key) HashNumber(key)
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---------------------------------------------------------------------------
 * State
 * ---------------------------------------------------------------------------
 */

/*
 * The number of a name, which it has for the whole simulation.
 */
int
NameNumber(Simulation *simulation, const char *name)
{
	for (int i = 0; i < simulation->nnames; i++)
	{
		if (simulation->names[i] == name || strcmp(simulation->names[i], name) == 0)
			return i;
	}
	if (simulation->nnames == simulation->names_size)
	{
		simulation->names_size = Max(64, 2 * simulation->names_size);
		simulation->names = simulation->names == NULL ? MemoryContextAlloc(simulation->context, simulation->names_size * sizeof(char *)) :
			repalloc(simulation->names, simulation->names_size * sizeof(char *));
	}
	simulation->names[simulation->nnames] = MemoryContextStrdup(simulation->context, name);
	return simulation->nnames++;
}

/*
 * A text that stays.
 */
const char *
KeepName(Simulation *simulation, const char *name)
{
	int			number = NameNumber(simulation, name);

	return simulation->names[number];
}

/*
 * Makes room for all names that there are.
 */
void
CountNames(Simulation *simulation, SimBook *book)
{
	int			n = simulation->names_size;

	if (n <= book->nnames)
		return;
	book->budgets = book->budgets == NULL ? MemoryContextAlloc(simulation->context, n * sizeof(SimBudgetCounter)) :
		repalloc(book->budgets, n * sizeof(SimBudgetCounter));
	book->first_counters = book->first_counters == NULL ? MemoryContextAlloc(simulation->context, n * sizeof(int)) :
		repalloc(book->first_counters, n * sizeof(int));
	memset(&book->budgets[book->nnames], 0, (n - book->nnames) * sizeof(SimBudgetCounter));
	for (int i = book->nnames; i < n; i++)
		book->first_counters[i] = -1;
	book->nnames = n;
}

static HTAB *
MakeTable(Simulation *simulation, const char *name, Size keysize, Size entrysize)
{
	HASHCTL		control = {.keysize = keysize,.entrysize = entrysize,.hcxt = simulation->context};

	return hash_create(name, 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Begins with nothing.
 */
void
InitSimState(Simulation *simulation)
{
	simulation->members = members_create(simulation->context, 1024, NULL);
	for (int s = 0; s < 2; s++)
	{
		SimBook    *book = &simulation->books[s];

		book->days = MakeTable(simulation, "days", sizeof(SimDaysKey), sizeof(SimDays));
		book->frozen = MakeTable(simulation, "facts", sizeof(SimFrozenKey), sizeof(SimFrozen));
		book->held = MakeTable(simulation, "awards", sizeof(SimHeldKey), sizeof(SimHeld));
	}
}

/*
 * An event of a member is to come soon: asks the processor for what is known of
 * him; and, a little later, for what his limits have counted.
 */
void
ExpectMember(const Simulation *simulation, int64 canonical)
{
	PrefetchMemory(&simulation->members->data[HashNumber(canonical) & simulation->members->sizemask]);
}

void
ExpectUses(const Simulation *simulation, int64 canonical)
{
	const SimMember *member = members_lookup(simulation->members, canonical);

	for (int s = 0; member != NULL && s < 2; s++)
	{
		if (member->uses[s] != NULL)
			PrefetchForWrite(member->uses[s]);
	}
}

/*
 * The members one after the other; begin with *place = 0.
 */
bool
NextSimTotals(Simulation *simulation, uint32 *place, SimTotals *totals)
{
	for (; *place < simulation->members->size; (*place)++)
	{
		const SimMember *member = &simulation->members->data[*place];

		if (member->status != members_SH_IN_USE)
			continue;
		totals->member_id = member->member_id;
		totals->activities = member->activities;
		memcpy(totals->points, member->points, sizeof(totals->points));
		(*place)++;
		return true;
	}
	return false;
}

/*
 * The first day of the period in which a limit counts a day.
 */
DateADT
PeriodOfLimit(const CampaignLimit *limit, DateADT day)
{
	return limit->within == PERIOD_DAY ? day : FirstDayOf(limit->within, day);
}

/* The place of what a limit has counted, or where it would stand. */
static SimUse *
PlaceOfUse(SimUse *uses, int size, int32 name, DateADT period)
{
	uint32		i = HashNumber(((int64) name << 32) + (uint32) period);

	while (uses[i & (size - 1)].name >= 0 && (uses[i & (size - 1)].name != name || uses[i & (size - 1)].period != period))
		i++;
	return &uses[i & (size - 1)];
}

/*
 * What a limit has counted of a member in a period.
 */
int64
UsedBy(const SimMember *member, int book, int32 name, DateADT period)
{
	const SimUse *use;

	if (member->nuses[book] == 0)
		return 0;
	use = PlaceOfUse(member->uses[book], member->size[book], name, period);
	return use->name < 0 ? 0 : use->used;
}

static void
GrowUses(Simulation *simulation, SimMember *member, int book)
{
	SimUse	   *uses = member->uses[book];
	int			size = member->size[book];

	member->size[book] = Max(4, 2 * size);
	member->uses[book] = MemoryContextAllocHuge(simulation->context, member->size[book] * sizeof(SimUse));
	for (int i = 0; i < member->size[book]; i++)
		member->uses[book][i].name = -1;
	for (int i = 0; i < size; i++)
	{
		if (uses[i].name >= 0)
			*PlaceOfUse(member->uses[book], member->size[book], uses[i].name, uses[i].period) = uses[i];
	}
	if (uses != NULL)
		pfree(uses);
}

/*
 * It counts so much more.
 */
void
AddToUse(Simulation *simulation, SimMember *member, int book, int32 name, DateADT period, int64 by)
{
	SimUse	   *use;

	if (by == 0)
		return;
	/* a quarter stays free */
	if (member->nuses[book] >= member->size[book] - member->size[book] / 4)
		GrowUses(simulation, member, book);
	use = PlaceOfUse(member->uses[book], member->size[book], name, period);
	if (use->name < 0)
	{
		use->name = name;
		use->period = period;
		use->used = 0;
		member->nuses[book]++;
	}
	use->used += by;
}

/*
 * A budget, of which nothing is used where it is asked for the first time.
 */
SimBudgetCounter *
BudgetOf(SimBook *book, int32 name, const CampaignLimit *limit)
{
	SimBudgetCounter *budget = &book->budgets[name];

	if (!budget->is_open)
	{
		budget->is_open = true;
		budget->counter.name = limit->counter;
		budget->total = limit->most;
	}
	return budget;
}

/*
 * What a campaign gave a member, by days; currency NULL: how often.
 */
SimDays *
DaysOfSim(Simulation *simulation, SimBook *book, int64 member_id, const char *campaign, const char *currency)
{
	SimDaysKey	key = {
		.member_id = member_id,
		.campaign = NameNumber(simulation, campaign),
		.currency = currency == NULL ? -1 : NameNumber(simulation, currency)
	};
	SimDays    *days;
	bool		found;

	days = hash_search(book->days, &key, HASH_ENTER, &found);
	if (!found)
		memset((char *) days + sizeof(SimDaysKey), 0, sizeof(SimDays) - sizeof(SimDaysKey));
	return days;
}

/*
 * On a day it gave so much more.
 */
void
AddToDay(Simulation *simulation, SimDays *days, DateADT day, int64 by)
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
			days->days = days->days == NULL ? MemoryContextAlloc(simulation->context, days->size * sizeof(SimDay)) :
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
Counter *
CountAroundInSim(Simulation *simulation, SimBook *book, int64 member_id, const char *campaign, const CampaignLimit *limit, DateADT day)
{
	const SimDays *days = DaysOfSim(simulation, book, member_id, campaign, limit->in_times ? NULL : limit->currency);
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

/*
 * A member, of whom nothing is known yet where he is new; until the next one.
 */
SimMember *
MemberOfSim(Simulation *simulation, int64 member_id)
{
	bool		found;
	SimMember  *member = members_insert(simulation->members, member_id, &found);

	if (!found)
	{
		char		status = member->status;

		memset(member, 0, sizeof(SimMember));
		member->member_id = member_id;
		member->status = status;
	}
	return member;
}

/*
 * Activities of a kind will be asked for, once they are seen.
 */
void
KeepKind(Simulation *simulation, const char *kind)
{
	if (!KindIsKept(simulation, kind))
		simulation->seen_kinds = lappend(simulation->seen_kinds, unconstify(char *, kind));
}

bool
KindIsKept(const Simulation *simulation, const char *kind)
{
	ListCell   *lc;

	foreach(lc, simulation->seen_kinds)
	{
		if (strcmp(lfirst(lc), kind) == 0)
			return true;
	}
	return false;
}

static Activity
CopyActivity(Simulation *simulation, const Activity *activity)
{
	MemoryContext old = MemoryContextSwitchTo(simulation->context);
	Activity	copy = *activity;

	copy.kind = KeepName(simulation, activity->kind);
	copy.time_zone = KeepName(simulation, activity->time_zone);
	copy.channel = activity->channel == NULL ? NULL : KeepName(simulation, activity->channel);
	copy.money = activity->money == NULL ? NULL : KeepName(simulation, activity->money);
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
bool
NoteSeen(Simulation *simulation, SimMember *member, const Activity *activity, bool may_be_there, Activity *before)
{
	for (int i = 0; i < member->nseen && may_be_there; i++)
	{
		if (activity->activity_id != 0 && member->seen[i].activity_id == activity->activity_id)
		{
			*before = member->seen[i];
			member->seen[i] = CopyActivity(simulation, activity);
			return true;
		}
	}
	if (member->nseen == member->seen_size)
	{
		member->seen_size = Max(4, 2 * member->seen_size);
		member->seen = member->seen == NULL ? MemoryContextAlloc(simulation->context, member->seen_size * sizeof(Activity)) :
			repalloc_huge(member->seen, member->seen_size * sizeof(Activity));
	}
	member->seen[member->nseen++] = CopyActivity(simulation, activity);
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

		if (seen->cancelled || seen->returned || seen->local_day < from || seen->local_day >= until ||
			!IsEarlier(seen, activity) || strcmp(seen->kind, question->name) != 0)
			continue;
		answer->number += question->kind == FACT_COUNT ? MICROS_PER_UNIT : seen->amount;
	}
}

/*
 * Facts of the member of the event.
 */
void
InitSimFacts(Simulation *simulation, Facts *facts)
{
	/* histories are told, so nobody asks for the numbers of the member */
	InitFacts(facts, simulation->member->member_id, (Datum) 0);
	facts->history = ReadSimHistory;
	facts->history_arg = simulation->member;
}

/*
 * What was frozen for an activity at its instant; NULL: nothing.
 */
SimFrozen *
FrozenOf(SimBook *book, const Activity *activity, HASHACTION action)
{
	SimFrozenKey key = {activity->member_id, activity->activity_id, activity->at};
	bool		found;
	SimFrozen  *frozen = hash_search(book->frozen, &key, action, &found);

	if (frozen != NULL && !found)
		frozen->inputs = NIL;
	return frozen;
}
