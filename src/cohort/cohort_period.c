/*
 * cohort_period.c
 *		Periods (days, weeks, months, quarters, years and multiples of them),
 *		and the translation of instants into period numbers.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

/* Sunday 2000-01-02 and Monday 2000-01-03, in days since 2000-01-01 */
#define SUNDAY			1
#define MONDAY			2

#define FIRST_DAY(period)	((period)->base == PERIOD_SUNDAYS ? SUNDAY : MONDAY)

static const struct
{
	const char *name;
	PeriodBase	base;
	int			step;
}			period_units[] =
{
	{"day", PERIOD_DAYS, 1},
	{"week", PERIOD_DAYS, 7},
	{"sunday week", PERIOD_SUNDAYS, 7},
	{"month", PERIOD_MONTHS, 1},
	{"quarter", PERIOD_MONTHS, 3},
	{"year", PERIOD_MONTHS, 12}
};

static inline int64
FloorDiv(int64 a, int64 b)
{
	return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/*
 * Is that a period, as ParsePeriod makes them?
 */
bool
PeriodValid(int base, int step)
{
	return (base == PERIOD_DAYS || base == PERIOD_MONTHS || (base == PERIOD_SUNDAYS && step % 7 == 0)) &&
		step >= 1 && step <= PERIOD_MAX_STEP;
}

/*
 * Reads 'month', '2 weeks', 'sunday week', '10 days', ...; false when it is none of these.
 * The zone of the period is left alone.
 */
bool
ParsePeriod(const char *str, int len, Period *period)
{
	int			i = 0;
	int			n = 0;
	bool		has_number = false;

	while (i < len && str[i] == ' ')
		i++;
	while (len > i && str[len - 1] == ' ')
		len--;
	while (i < len && str[i] >= '0' && str[i] <= '9' && n <= PERIOD_MAX_STEP)
	{
		n = n * 10 + (str[i++] - '0');
		has_number = true;
	}
	if (!has_number)
		n = 1;
	while (i < len && str[i] == ' ')
		i++;

	for (size_t u = 0; u < lengthof(period_units); u++)
	{
		int			name_len = strlen(period_units[u].name);

		if (len - i >= name_len &&
			pg_strncasecmp(str + i, period_units[u].name, name_len) == 0 &&
			(len - i == name_len ||
			 (len - i == name_len + 1 && pg_tolower(str[i + name_len]) == 's')))
		{
			int64		step = (int64) n * period_units[u].step;

			if (step < 1 || step > PERIOD_MAX_STEP)
				return false;
			period->base = period_units[u].base;
			period->step = step;
			return true;
		}
	}
	return false;
}

/*
 * Writes the name of a period in the form that ParsePeriod reads, always the
 * same for the same period.
 */
void
FormatPeriod(const Period *period, char *buf, size_t size)
{
	for (int u = lengthof(period_units) - 1; u >= 0; u--)
	{
		if (period_units[u].base == period->base &&
			period->step % period_units[u].step == 0)
		{
			int			n = period->step / period_units[u].step;

			if (n == 1)
				snprintf(buf, size, "%s", period_units[u].name);
			else
				snprintf(buf, size, "%d %ss", n, period_units[u].name);
			return;
		}
	}
	snprintf(buf, size, "%d", period->step);
}

/*
 * The number of the period that holds a date (days since 2000-01-01).
 */
int32
PeriodOfDate(const Period *period, int32 date)
{
	int			year,
				month,
				day;

	if (period->base != PERIOD_MONTHS)
		return (int32) FloorDiv((int64) date - FIRST_DAY(period), period->step);

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return (int32) FloorDiv((int64) year * 12 + month - 1, period->step);
}

/*
 * Can an instant lie in a period?  The dates of instants may be a day outside
 * those of UTC.
 */
bool
PeriodExists(const Period *period, int64 number)
{
	if (period->base != PERIOD_MONTHS)
		return number >= PeriodOfDate(period, DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE - 1) &&
			number <= PeriodOfDate(period, TIMESTAMP_END_JULIAN - POSTGRES_EPOCH_JDATE);
	/* from 4714-11 BC, which is year -4713, to 294277-01 */
	return number >= FloorDiv(-4713 * 12 + 10, period->step) &&
		number <= FloorDiv(294277 * 12, period->step);
}

/*
 * The first date of a period, NULL when that is not a date.
 */
Datum
PeriodStart(const Period *period, int32 number, bool *isnull)
{
	int64		months;
	int			year,
				month;

	if (period->base != PERIOD_MONTHS)
	{
		int64		d = (int64) number * period->step + FIRST_DAY(period);

		*isnull = !IS_VALID_DATE(d);
		return DateADTGetDatum((DateADT) d);
	}

	months = (int64) number * period->step;
	year = (int) FloorDiv(months, 12);
	month = (int) (months - (int64) year * 12) + 1;
	/* some months that have a Julian day begin on no date */
	*isnull = !IS_VALID_JULIAN(year, month, 1) || !IS_VALID_DATE(date2j(year, month, 1) - POSTGRES_EPOCH_JDATE);
	return DateADTGetDatum(date2j(year, month, 1) - POSTGRES_EPOCH_JDATE);
}

/*
 * Finds the span around an instant in which the zone's offset is constant.
 */
static ZoneSpan
FindSpan(pg_tz *tz, TimestampTz at)
{
	ZoneSpan	span = {PG_INT64_MIN, PG_INT64_MAX, 0};
	long		fixed;
	pg_time_t	wanted = FloorDiv(at, USECS_PER_SEC) +
		((int64) POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	pg_time_t	t = wanted - 400 * (int64) SECS_PER_DAY;

	if (pg_get_timezone_offset(tz, &fixed))
	{
		span.offset = fixed * USECS_PER_SEC;
		return span;
	}

	/* from well before the instant, transition by transition, up to it */
	for (;;)
	{
		long		before,
					after;
		int			before_dst,
					after_dst;
		pg_time_t	boundary;
		int			rc;

		rc = pg_next_dst_boundary(&t, &before, &before_dst, &boundary,
								  &after, &after_dst, tz);
		if (rc < 0)
			elog(ERROR, "could not read the time zone \"%s\"", pg_get_timezone_name(tz));
		span.offset = before * USECS_PER_SEC;
		if (rc == 0 || boundary > wanted)
		{
			int64		shift = ((int64) UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE) * SECS_PER_DAY;

			if (rc > 0)
				span.until = (boundary + shift) * USECS_PER_SEC;
			span.from = (t + shift) * USECS_PER_SEC;
			return span;
		}
		t = boundary;
	}
}

/*
 * The wall clock of the zone at an instant, as microseconds since 2000-01-01
 * there.  The instant must be finite.
 */
Timestamp
LocalTime(PeriodClock *clock, TimestampTz at)
{
	ZoneSpan   *span = &clock->spans[clock->last];

	if (clock->nspans > 0 && at >= span->from && at < span->until)
		return at + span->offset;

	for (int i = 0; i < clock->nspans; i++)
	{
		span = &clock->spans[i];
		if (at >= span->from && at < span->until)
		{
			clock->last = i;
			return at + span->offset;
		}
	}

	if (clock->nspans == PERIOD_CLOCK_SPANS)
		clock->nspans = 0;
	clock->last = clock->nspans++;
	clock->spans[clock->last] = FindSpan(clock->tz, at);
	return at + clock->spans[clock->last].offset;
}

/*
 * The date in the zone at an instant, in days since 2000-01-01.
 */
static int32
LocalDate(PeriodClock *clock, TimestampTz at)
{
	return (int32) FloorDiv(LocalTime(clock, at), USECS_PER_DAY);
}

/*
 * The number of the period that holds an instant.
 */
int32
PeriodOfInstant(PeriodClock *clock, TimestampTz at)
{
	int32		date = LocalDate(clock, at);
	DatedPeriod *dated;

	if (clock->period.base != PERIOD_MONTHS)
		return PeriodOfDate(&clock->period, date);

	dated = &clock->dates[(uint32) date % PERIOD_CLOCK_DATES];
	if (dated->date != date)
	{
		dated->number = PeriodOfDate(&clock->period, date);
		dated->date = date;
	}
	return dated->number;
}

/*
 * Errors out on an infinite instant.
 */
void
CheckFiniteInstant(TimestampTz at, const char *what)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INFINITE_INSTANT),
				 errmsg("%s is %s", what, at == TIMESTAMP_INFINITY ? "infinity" : "-infinity"),
				 errdetail("An infinite instant lies in no period and at no distance from another."),
				 errhint("Leave such rows out, for example with FILTER (WHERE isfinite(at)).")));
}

/*
 * Errors out on NaN and on infinite amounts (PostgreSQL 14 and later have them).
 */
void
CheckFiniteAmount(Numeric amount, const char *what)
{
	if (numeric_is_nan(amount) || numeric_is_inf(amount))
		ereport(ERROR,
				(errcode(ERRCODE_LY_AMOUNT_NOT_FINITE),
				 errmsg("%s is %s", what, numeric_is_nan(amount) ? "NaN" : "infinite"),
				 errdetail("Sums and shares need finite amounts."),
				 errhint("Leave such rows out with FILTER (WHERE ...), or correct them.")));
}

/*
 * The error of CheckSamePeriod.
 */
void
PeriodsDiffer(const Period *a, const Period *b)
{
	char		name_a[32],
				name_b[32];

	FormatPeriod(a, name_a, sizeof(name_a));
	FormatPeriod(b, name_b, sizeof(name_b));
	if (a->base == b->base && a->step == b->step)
		ereport(ERROR,
				(errcode(ERRCODE_LY_PERIOD_MISMATCH),
				 errmsg("values of different time zones cannot be put together"),
				 errdetail("Both count in periods of one %s, but their dates begin at different instants.", name_a),
				 errhint("Compute all of them with the same time zone.")));
	ereport(ERROR,
			(errcode(ERRCODE_LY_PERIOD_MISMATCH),
			 errmsg("values of different periods cannot be put together"),
			 errdetail("One counts in periods of one %s, the other of one %s.", name_a, name_b),
			 errhint("Compute all of them with the same period.")));
}

/*
 * A hash of a time zone's name (FNV-1a), the same on every machine and in
 * every version, because it is stored.
 */
static uint32
HashZone(const char *name)
{
	uint32		hash = 2166136261U;

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char) *name) * 16777619U;
	return hash;
}

static bool
SameArgument(FunctionCallInfo fcinfo, int argno, const char *kept, int kept_len)
{
	text	   *arg;

	if (PG_ARGISNULL(argno))
		return kept_len == -1;
	arg = PG_GETARG_TEXT_PP(argno);
	return VARSIZE_ANY_EXHDR(arg) == (Size) kept_len &&
		memcmp(VARDATA_ANY(arg), kept, kept_len) == 0;
}

/*
 * Reads the time zone of a clock: that of the program where none is given.
 */
static void
ReadZone(FunctionCallInfo fcinfo, int argno, PeriodClock *clock)
{
	const char *name;

	clock->zone_len = -1;
	if (PG_ARGISNULL(argno))
		name = GetProgram()->time_zone;
	else
	{
		text	   *arg = PG_GETARG_TEXT_PP(argno);

		name = text_to_cstring(arg);
		if (VARSIZE_ANY_EXHDR(arg) <= TZ_STRLEN_MAX)
		{
			clock->zone_len = VARSIZE_ANY_EXHDR(arg);
			memcpy(clock->zone_arg, VARDATA_ANY(arg), clock->zone_len);
		}
	}
	clock->tz = strlen(name) <= TZ_STRLEN_MAX ? pg_tzset(name) : NULL;
	if (clock->tz == NULL || !pg_tz_acceptable(clock->tz))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_PERIOD),
				 errmsg("time zone \"%s\" is not known", name),
				 errdetail("Dates and hours are those of a time zone."),
				 errhint("Take a name from pg_timezone_names, for example 'UTC' or 'Asia/Shanghai'.")));
}

/*
 * The clock for the period in argument period_argno (-1 for days) and the
 * time zone in zone_argno, kept in fn_extra between calls.
 *
 * The time zone is any name that SET timezone takes; NULL stands for the
 * program's.  An unknown period or time zone, and a period that is NULL, are
 * errors.
 */
PeriodClock *
GetPeriodClock(FunctionCallInfo fcinfo, int period_argno, int zone_argno)
{
	PeriodClock *clock = (PeriodClock *) fcinfo->flinfo->fn_extra;

	if (clock == NULL)
	{
		clock = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(PeriodClock));
		clock->period_len = -2;
		fcinfo->flinfo->fn_extra = clock;
	}
	else if (clock->period_len >= -1 &&
			 (period_argno < 0 ||
			  SameArgument(fcinfo, period_argno, clock->period_arg, clock->period_len)) &&
			 SameArgument(fcinfo, zone_argno, clock->zone_arg, clock->zone_len))
		return clock;

	clock->period_len = -2;		/* not usable until all is read */
	clock->nspans = clock->last = 0;
	memset(&clock->period, 0, sizeof(Period));

	ReadZone(fcinfo, zone_argno, clock);

	if (period_argno < 0)
	{
		clock->period.base = PERIOD_DAYS;
		clock->period.step = 1;
		clock->period_len = -1;
	}
	else
	{
		text	   *arg = PG_ARGISNULL(period_argno) ? NULL : PG_GETARG_TEXT_PP(period_argno);
		int			len = arg ? VARSIZE_ANY_EXHDR(arg) : 0;

		if (arg == NULL || len >= (int) sizeof(clock->period_arg) ||
			!ParsePeriod(VARDATA_ANY(arg), len, &clock->period))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_PERIOD),
					 arg ? errmsg("\"%s\" is not a period", text_to_cstring(arg))
					 : errmsg("the period is NULL"),
					 errdetail("A period is one or more days, weeks, sunday weeks, months, quarters or years, up to %d days or months.",
							   PERIOD_MAX_STEP),
					 errhint("Write for example 'month', '2 weeks' or 'quarter'.")));
		memcpy(clock->period_arg, VARDATA_ANY(arg), len);
		clock->period_len = len;
	}

	clock->period.zone = HashZone(pg_get_timezone_name(clock->tz));
	for (int i = 0; i < PERIOD_CLOCK_DATES; i++)
		clock->dates[i].date = PG_INT32_MIN;	/* no date */
	return clock;
}
