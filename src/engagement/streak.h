/*
 * streak.h
 *		Streaks: how many periods in a row a member was active.
 *
 * One walk decides everything: over the periods from the first active one to
 * that of a day, in order.  An active one adds 1.  One that is over without
 * activity, while there is a streak, uses a freeze; without one the streak is
 * at an end.  Days that do not count, or were travelled over, neither add nor
 * end it, with or without activity.  Plain C over plain structs; nothing of it
 * is stored.
 */
#ifndef LOYALTY_STREAK_H
#define LOYALTY_STREAK_H

#include "postgres.h"

#include "utils/date.h"

#include "cohort/cohort.h"

#define ALL_WEEKDAYS	0xFE	/* bit 1 is Monday, bit 7 Sunday */

/* A freeze that is held; of several the first that serves is used. */
typedef struct Freeze
{
	DateADT		from;			/* the first day that it may save */
	DateADT		until;			/* the last one */
	DateADT		for_day;		/* of a repair: the only one */
	bool		is_repair;
	bool		is_used;
} Freeze;

typedef struct StreakTerms
{
	Period		period;
	int			weekdays;		/* that count, of periods of one day */
	int			nholidays;		/* days that do not count, ascending */
	const DateADT *holidays;
	int			nbridged;		/* days that were travelled over, ascending */
	const DateADT *bridged;
	int			nfreezes;		/* in the order in which they are used */
	Freeze	   *freezes;
	int32		free;			/* freezes of each period of free_per */
	Period		free_per;
	bool		count_frozen;	/* a period that was saved adds 1 */
} StreakTerms;

typedef struct StreakState
{
	int32		length;			/* 0: it is at an end */
	int32		longest;
	int32		last;			/* the last period that added 1; of a length */
	int32		freezes_left;	/* that could save the period of the day */
	int32		due;			/* the period in which activity is needed; of a length */
} StreakState;

extern void WalkStreak(StreakTerms *terms, const int32 *active, int nactive, DateADT day,
					   StreakState *state, int32 *lengths);
extern void WalkSummary(StreakTerms *terms, const ActivitySummary *summary, DateADT day, StreakState *state);
extern DateADT FirstDayOfPeriod(const Period *period, int64 number);
extern DateADT LastDayOfPeriod(const Period *period, int64 number);

#endif							/* LOYALTY_STREAK_H */
