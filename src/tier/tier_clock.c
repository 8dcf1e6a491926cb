/*
 * tier_clock.c
 *		Calendar arithmetic of ladders.
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "tier/tier.h"

static void
OutOfRange(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range")));
}

/*
 * The wall clock of an instant.  Zones without a history need no look at it.
 */
static void
ToWallClock(const LadderDefinition *ladder, TimestampTz t, struct pg_tm *tm, fsec_t *fsec)
{
	int			offset;

	Assert(!TIMESTAMP_NOT_FINITE(t));
	if (ladder->fixed_offset ?
		timestamp2tm(t + ladder->offset, NULL, tm, fsec, NULL, NULL) != 0 :
		timestamp2tm(t, &offset, tm, fsec, NULL, ladder->zone) != 0)
		OutOfRange();
}

static TimestampTz
FromWallClock(const LadderDefinition *ladder, struct pg_tm *tm, fsec_t fsec)
{
	int			offset = ladder->fixed_offset ? (int) (-ladder->offset / USECS_PER_SEC) :
		DetermineTimeZoneOffset(tm, ladder->zone);
	TimestampTz t;

	if (tm2timestamp(tm, fsec, &offset, &t) != 0)
		OutOfRange();
	return t;
}

/* Adds months to a date; a day that the month does not have is its last. */
static void
AddMonths(struct pg_tm *tm, int64 months)
{
	int64		month = (int64) tm->tm_year * 12 + (tm->tm_mon - 1) + months;

	tm->tm_year = (int) (month >= 0 ? month / 12 : -((11 - month) / 12));
	tm->tm_mon = (int) (month - (int64) tm->tm_year * 12) + 1;
	tm->tm_mday = Min(tm->tm_mday, day_tab[isleap(tm->tm_year)][tm->tm_mon - 1]);
}

/*
 * t plus (or, with negative times, minus) so many times a span: first the
 * months, then the days, by the wall clock of the ladder's time zone, then the
 * rest by the stop-watch.  Infinite instants stay what they are.
 */
TimestampTz
AddSpan(const LadderDefinition *ladder, TimestampTz t, const TierSpan *span, int times)
{
	if (TIMESTAMP_NOT_FINITE(t))
		return t;
	if (span->months != 0 || span->days != 0)
	{
		struct pg_tm tm;
		fsec_t		fsec;

		ToWallClock(ladder, t, &tm, &fsec);
		if (span->months != 0)
			AddMonths(&tm, (int64) span->months * times);
		if (span->days != 0)
		{
			int64		days = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) + (int64) span->days * times;

			if (days < 0)
				OutOfRange();
			j2date((int) days, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		}
		t = FromWallClock(ladder, &tm, fsec);
	}
	t += span->micros * times;
	if (!IS_VALID_TIMESTAMP(t))
		OutOfRange();
	return t;
}

/*
 * Number n of the anniversaries of joined_at; the 29th of February is the 28th
 * in a common year.
 */
static TimestampTz
Anniversary(const LadderDefinition *ladder, TimestampTz joined_at, int n)
{
	TierSpan	year = {12, 0, 0};

	return AddSpan(ladder, joined_at, &year, n);
}

static TimestampTz
PeriodBoundary(const LadderDefinition *ladder, TierWindow period, TimestampTz joined_at, TimestampTz t, bool end)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			length = period == WINDOW_MONTH ? 1 : period == WINDOW_QUARTER ? 3 : 12;

	ToWallClock(ladder, t, &tm, &fsec);
	if (period == WINDOW_ANNIVERSARY)
	{
		struct pg_tm joined;
		int			n;

		/* who has not joined yet, would do so now */
		if (TIMESTAMP_NOT_FINITE(joined_at))
			return end ? Anniversary(ladder, t, 1) : t;
		ToWallClock(ladder, joined_at, &joined, &fsec);
		n = tm.tm_year - joined.tm_year;
		while (Anniversary(ladder, joined_at, n) > t)
			n--;
		return Anniversary(ladder, joined_at, end ? n + 1 : n);
	}

	tm.tm_mon = (tm.tm_mon - 1) / length * length + 1;
	tm.tm_mday = 1;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	/*
	 * Where midnight comes twice the period begins with the second; between
	 * the two it is still the one before.
	 */
	if (!ladder->fixed_offset && FromWallClock(ladder, &tm, 0) > t)
		AddMonths(&tm, -length);
	if (end)
		AddMonths(&tm, length);
	return FromWallClock(ladder, &tm, 0);
}

/*
 * The start of the month, quarter, year, or year of membership that t is in.
 */
TimestampTz
TierPeriodStart(const LadderDefinition *ladder, TierWindow period, TimestampTz joined_at, TimestampTz t)
{
	return PeriodBoundary(ladder, period, joined_at, t, false);
}

/*
 * The instant at which the period that t is in is over: the next one's start.
 */
TimestampTz
TierPeriodEnd(const LadderDefinition *ladder, TierWindow period, TimestampTz joined_at, TimestampTz t)
{
	return PeriodBoundary(ladder, period, joined_at, t, true);
}
