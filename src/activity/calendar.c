/*
 * calendar.c
 *		Local days, the periods that they lie in, and the clocks of time zones.
 */
#include "postgres.h"

#include "utils/datetime.h"

#include "activity/calendar.h"
#include "core/core.h"
#include "core/errors.h"

const char *const period_names[] = {"day", "week", "month", "quarter", "year", "lifetime", NULL};

/*
 * 1 is Monday, 7 is Sunday.
 */
int
IsoWeekday(DateADT day)
{
	return (int) (((int64) day + 5) % 7 + 7) % 7 + 1;
}

/*
 * The first day of the period in which a day lies; of the lifetime 2000-01-01,
 * which only stands for it.
 */
DateADT
FirstDayOf(Period period, DateADT day)
{
	int			year;
	int			month;
	int			dom;

	if (period == PERIOD_DAY)
		return day;
	if (period == PERIOD_WEEK)
		return day - (IsoWeekday(day) - 1);
	if (period == PERIOD_LIFETIME)
		return 0;
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	if (period == PERIOD_QUARTER)
		month = (month - 1) / 3 * 3 + 1;
	else if (period == PERIOD_YEAR)
		month = 1;
	return date2j(year, month, 1) - POSTGRES_EPOCH_JDATE;
}

/*
 * The first day behind it.
 */
DateADT
FirstDayAfter(Period period, DateADT day)
{
	int			year;
	int			month;
	int			dom;
	int			months = period == PERIOD_MONTH ? 1 : period == PERIOD_QUARTER ? 3 : 12;

	if (period == PERIOD_DAY)
		return day + 1;
	if (period == PERIOD_WEEK)
		return FirstDayOf(period, day) + 7;
	if (period == PERIOD_LIFETIME)
		return DATEVAL_NOEND;
	j2date(FirstDayOf(period, day) + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	month += months;
	if (month > 12)
	{
		month -= 12;
		year++;
	}
	return date2j(year, month, 1) - POSTGRES_EPOCH_JDATE;
}

/*
 * Whether a day lies in the window around somebody's birthday.
 */
bool
IsBirthdayWindow(DateADT birthday, DateADT day, int before, int after, bool leap_on_mar1)
{
	int			year;
	int			month;
	int			dom;
	int			this_year;
	int			m;
	int			d;

	j2date(birthday + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	j2date(day + POSTGRES_EPOCH_JDATE, &this_year, &m, &d);
	for (int y = this_year - 1; y <= this_year + 1; y++)
	{
		bool		moved = month == 2 && dom == 29 && !isleap(y);
		DateADT		in_year = date2j(y, moved && leap_on_mar1 ? 3 : month, !moved ? dom : leap_on_mar1 ? 1 : 28) - POSTGRES_EPOCH_JDATE;

		if (day >= in_year - before && day <= in_year + after)
			return true;
	}
	return false;
}

/*
 * A time zone by its name.
 */
pg_tz *
FindZone(const char *time_zone)
{
	static char last_name[TZ_STRLEN_MAX + 1];
	static pg_tz *last = NULL;
	pg_tz	   *tz;

	/* one after the other asks for the same; a zone that was found stays */
	if (last != NULL && strcmp(time_zone, last_name) == 0)
		return last;
	tz = strlen(time_zone) <= TZ_STRLEN_MAX ? pg_tzset(time_zone) : NULL;
	if (tz == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ACTIVITY),
				 errmsg("unknown time zone \"%s\"", time_zone),
				 errdetail("The local day of an activity is that of a time zone."),
				 errhint("See the view pg_timezone_names; without one it is that of the program.")));
	strlcpy(last_name, time_zone, sizeof(last_name));
	last = tz;
	return tz;
}

/*
 * The name of the zone that is given, or of that of the program (NULL).
 */
const char *
FindTimeZone(const char *time_zone)
{
	if (time_zone == NULL)
		return pstrdup(GetProgram()->time_zone);
	return pg_get_timezone_name(FindZone(time_zone));
}

/* How far a zone's clocks are ahead of UTC, from one change of them to the next */
typedef struct KnownOffset
{
	pg_tz	   *zone;
	pg_time_t	from;			/* seconds since 1970 */
	pg_time_t	until;
	int64		offset;			/* seconds */
} KnownOffset;

/* Zones have places by their addresses. */
#define KNOWN_OFFSETS	16

static int64
OffsetOf(pg_tz *zone, pg_time_t at)
{
	static KnownOffset known_offsets[KNOWN_OFFSETS];
	KnownOffset *known = &known_offsets[((uintptr_t) zone >> 4) % KNOWN_OFFSETS];

	if (known->zone != zone || at < known->from || at >= known->until)
	{
		const struct pg_tm *tm = pg_localtime(&at, zone);
		long int	ignored;
		int			is_dst;
		pg_time_t	change;

		if (tm == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("timestamp out of range")));
		known->from = known->until = at;
		known->offset = tm->tm_gmtoff;
		switch (pg_next_dst_boundary(&at, &ignored, &is_dst, &change, &ignored, &is_dst, zone))
		{
			case 0:
				known->until = PG_INT64_MAX;
				break;
			case 1:
				known->until = change;
				break;
		}
		known->zone = zone;
	}
	return known->offset;
}

/*
 * What the clocks of a zone show at an instant.
 */
Timestamp
LocalInstant(TimestampTz at, pg_tz *zone)
{
	/* of instants before 1970 downwards, too */
	int64		seconds = at / USECS_PER_SEC - (at % USECS_PER_SEC < 0);
	Timestamp	local = at + USECS_PER_SEC * OffsetOf(zone, seconds + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY);

	if (!IS_VALID_TIMESTAMP(local))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return local;
}

/* So many digits as a number; -1: they are something else. */
static int
Digits(const char *text, int n)
{
	int			number = 0;

	for (int i = 0; i < n; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		number = number * 10 + (text[i] - '0');
	}
	return number;
}

/*
 * Reads an instant as jsonb has it, 2026-05-02T10:00:00.5+02:00.  False: it is
 * written otherwise, or is none.
 */
bool
ReadJsonInstant(const char *text, int length, TimestampTz *at)
{
	int			year = length < 20 ? -1 : Digits(text, 4);
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second;
	int			micros = 0;
	int			i = 19;
	int			scale = USECS_PER_SEC;
	int			zone_hours;
	int			zone_minutes = 0;

	if (year < 1 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != ' ') || text[13] != ':' || text[16] != ':')
		return false;
	month = Digits(text + 5, 2);
	day = Digits(text + 8, 2);
	hour = Digits(text + 11, 2);
	minute = Digits(text + 14, 2);
	second = Digits(text + 17, 2);
	if (month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1] ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
		return false;
	if (text[i] == '.')
	{
		for (i++; i < length && text[i] >= '0' && text[i] <= '9' && scale > 1; i++)
			micros += (text[i] - '0') * (scale /= 10);
	}
	if (length - i < 3 || (text[i] != '+' && text[i] != '-'))
		return false;
	zone_hours = Digits(text + i + 1, 2);
	if (length - i == 6 && text[i + 3] == ':')
		zone_minutes = Digits(text + i + 4, 2);
	else if (length - i != 3)
		return false;
	if (zone_hours < 0 || zone_hours > 15 || zone_minutes < 0 || zone_minutes > 59)
		return false;
	*at = (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY + hour * USECS_PER_HOUR + minute * USECS_PER_MINUTE +
		second * USECS_PER_SEC + micros + (text[i] == '+' ? -1 : 1) * (zone_hours * USECS_PER_HOUR + zone_minutes * USECS_PER_MINUTE);
	return true;
}

/*
 * The day of an instant of a local clock.
 */
DateADT
DayOf(Timestamp local)
{
	int64		days = local / USECS_PER_DAY;

	return (DateADT) (local % USECS_PER_DAY < 0 ? days - 1 : days);
}

/*
 * On which day an instant lies in a time zone.
 */
DateADT
LocalDay(TimestampTz at, const char *time_zone)
{
	return DayOf(LocalInstant(at, FindZone(time_zone)));
}
