/*
 * streak.c
 *		The walk over periods that decides how long a streak is.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "engagement/streak.h"

/*
 * The first day of a period; infinite where dates do not reach so far.
 */
DateADT
FirstDayOfPeriod(const Period *period, int64 number)
{
	bool		isnull;
	Datum		day = PeriodStart(period, (int32) number, &isnull);

	return isnull ? (number < 0 ? DATEVAL_NOBEGIN : DATEVAL_NOEND) : DatumGetDateADT(day);
}

/*
 * The last day of a period.
 */
DateADT
LastDayOfPeriod(const Period *period, int64 number)
{
	DateADT		next = FirstDayOfPeriod(period, number + 1);

	return DATE_NOT_FINITE(next) ? next : next - 1;
}

/* Takes what lies before a day off an ascending list, and asks for the day. */
static bool
IsListed(const DateADT **days, int *ndays, DateADT day)
{
	while (*ndays > 0 && **days < day)
	{
		(*days)++;
		(*ndays)--;
	}
	return *ndays > 0 && **days == day;
}

static bool
IsSingleDay(const Period *period)
{
	return period->base == PERIOD_DAYS && period->step == 1;
}

/* 1 is Monday; day 0 was a Saturday. */
static int
WeekdayOf(DateADT day)
{
	return (int) (((int64) day + 5) % 7 + 7) % 7 + 1;
}

/* What is left of the lists of days, where periods are walked in order. */
typedef struct DayLists
{
	const DateADT *holidays;
	int			nholidays;
	const DateADT *bridged;
	int			nbridged;
} DayLists;

static bool
Counts(const StreakTerms *terms, DayLists *lists, int32 number)
{
	DateADT		day;

	if (!IsSingleDay(&terms->period))
		return true;
	day = FirstDayOfPeriod(&terms->period, number);
	if ((terms->weekdays & (1 << WeekdayOf(day))) == 0)
		return false;
	return !IsListed(&lists->holidays, &lists->nholidays, day) && !IsListed(&lists->bridged, &lists->nbridged, day);
}

/* How many free freezes of a period are used; only one period is walked at a time. */
typedef struct FreeUse
{
	int32		period;
	int32		n;
} FreeUse;

static int32
FreeLeft(const StreakTerms *terms, const FreeUse *use, DateADT day)
{
	if (terms->free == 0)
		return 0;
	return terms->free - (use->period == PeriodOfDate(&terms->free_per, day) ? use->n : 0);
}

/* Uses a freeze for a missed period; false where there is none. */
static bool
UseFreeze(StreakTerms *terms, FreeUse *use, int32 number)
{
	DateADT		first = FirstDayOfPeriod(&terms->period, number);
	DateADT		last = LastDayOfPeriod(&terms->period, number);

	/* a repair is for this one and no other */
	for (int i = 0; i < terms->nfreezes; i++)
	{
		const Freeze *freeze = &terms->freezes[i];

		if (freeze->is_repair && freeze->for_day >= first && freeze->for_day <= last)
			return true;
	}
	if (FreeLeft(terms, use, first) > 0)
	{
		int32		period = PeriodOfDate(&terms->free_per, first);

		use->n = use->period == period ? use->n + 1 : 1;
		use->period = period;
		return true;
	}
	for (int i = 0; i < terms->nfreezes; i++)
	{
		Freeze	   *freeze = &terms->freezes[i];

		if (!freeze->is_repair && !freeze->is_used && freeze->from <= last && freeze->until >= last)
			return freeze->is_used = true;
	}
	return false;
}

/* How many freezes could save a period. */
static int32
CountFreezes(const StreakTerms *terms, const FreeUse *use, int32 number)
{
	DateADT		last = LastDayOfPeriod(&terms->period, number);
	int32		n = FreeLeft(terms, use, FirstDayOfPeriod(&terms->period, number));

	for (int i = 0; i < terms->nfreezes; i++)
	{
		const Freeze *freeze = &terms->freezes[i];

		if (!freeze->is_repair && !freeze->is_used && freeze->from <= last && freeze->until >= last)
			n++;
	}
	return n;
}

/* Where the walk is */
typedef struct Walk
{
	StreakTerms *terms;
	StreakState *state;
	DayLists	lists;
	FreeUse		use;
	int32		today;			/* the period of the day */
	int32		next;			/* while there is a streak, the first period that was not walked */
	bool		today_active;
} Walk;

static void
Add(Walk *walk, int32 number)
{
	walk->state->length++;
	walk->state->longest = Max(walk->state->longest, walk->state->length);
	walk->state->last = number;
}

/* Walks over periods without activity, up to and without until. */
static void
WalkMissed(Walk *walk, int32 until)
{
	for (; walk->next < until && walk->state->length > 0; walk->next++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!Counts(walk->terms, &walk->lists, walk->next))
			continue;
		if (!UseFreeze(walk->terms, &walk->use, walk->next))
			walk->state->length = 0;
		else if (walk->terms->count_frozen)
			Add(walk, walk->next);
	}
}

static void
BeginWalk(Walk *walk, StreakTerms *terms, DateADT day, StreakState *state)
{
	memset(state, 0, sizeof(StreakState));
	memset(walk, 0, sizeof(Walk));
	walk->terms = terms;
	walk->state = state;
	walk->lists = (DayLists) {terms->holidays, terms->nholidays, terms->bridged, terms->nbridged};
	walk->today = PeriodOfDate(&terms->period, day);
}

/* Walks to an active period and over it; false where that lies after the day. */
static bool
WalkActive(Walk *walk, int32 number)
{
	if (number > walk->today)
		return false;
	WalkMissed(walk, number);
	if (Counts(walk->terms, &walk->lists, number))
	{
		Add(walk, number);
		walk->today_active = number == walk->today;
	}
	walk->next = number + 1;
	return true;
}

/* The first period from number on that counts. */
static int32
NextCounted(Walk *walk, int32 number)
{
	while (!Counts(walk->terms, &walk->lists, number) && number < PG_INT32_MAX)
	{
		CHECK_FOR_INTERRUPTS();
		number++;
	}
	return number;
}

static void
EndWalk(Walk *walk)
{
	/* the day itself is not over */
	WalkMissed(walk, walk->today);
	walk->state->freezes_left = CountFreezes(walk->terms, &walk->use, walk->today);
	if (walk->state->length > 0)
		walk->state->due = NextCounted(walk, walk->today_active ? walk->today + 1 : walk->today);
}

/*
 * How the streak stands on a day.  active are the periods with activity,
 * ascending, each once; lengths gets how long the streak was in each of them (0
 * after the day).  Uses the freezes.
 */
void
WalkStreak(StreakTerms *terms, const int32 *active, int nactive, DateADT day, StreakState *state, int32 *lengths)
{
	Walk		walk;

	BeginWalk(&walk, terms, day, state);
	for (int i = 0; i < nactive; i++)
		lengths[i] = WalkActive(&walk, active[i]) ? state->length : 0;
	EndWalk(&walk);
}

/*
 * The same of a summary of activity.
 */
void
WalkSummary(StreakTerms *terms, const ActivitySummary *summary, DateADT day, StreakState *state)
{
	Walk		walk;
	ActivitySummaryCursor cursor;
	int32		number;

	BeginWalk(&walk, terms, day, state);
	ActivitySummaryRewind(&cursor, summary);
	while (ActivitySummaryNext(&cursor, &number) && WalkActive(&walk, number))
		;
	EndWalk(&walk);
}
