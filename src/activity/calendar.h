/*
 * calendar.h
 *		Local days, the periods that they lie in, and the clocks of time zones.
 */
#ifndef LOYALTY_CALENDAR_H
#define LOYALTY_CALENDAR_H

#include "postgres.h"

#include "pgtime.h"
#include "utils/date.h"
#include "utils/timestamp.h"

/* Calendar periods of local days. */
typedef enum Period
{
	PERIOD_DAY,
	PERIOD_WEEK,				/* from Monday on */
	PERIOD_MONTH,
	PERIOD_QUARTER,
	PERIOD_YEAR,
	PERIOD_LIFETIME
} Period;

extern const char *const period_names[];	/* ends with NULL */
extern DateADT FirstDayOf(Period period, DateADT day);
extern DateADT FirstDayAfter(Period period, DateADT day);
extern int	IsoWeekday(DateADT day);
extern bool IsBirthdayWindow(DateADT birthday, DateADT day, int before, int after, bool leap_on_mar1);

extern pg_tz *FindZone(const char *time_zone);
extern const char *FindTimeZone(const char *time_zone);
extern Timestamp LocalInstant(TimestampTz at, pg_tz *zone);
extern bool ReadJsonInstant(const char *text, int length, TimestampTz *at);
extern DateADT DayOf(Timestamp local);
extern DateADT LocalDay(TimestampTz at, const char *time_zone);

#endif							/* LOYALTY_CALENDAR_H */
