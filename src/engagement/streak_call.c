/*
 * streak_call.c
 *		Streaks of anybody's tables: of a summary of activity, and of arrays.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "engagement/streak.h"

#define MAX_FREEZES	100000

pg_noreturn static void
RefuseStreak(const char *what, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("%s", what),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

/* A day, which must be one. */
static DateADT
DayArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	RequireArgument(fcinfo, n, name);
	if (DATE_NOT_FINITE(PG_GETARG_DATEADT(n)))
		RefuseStreak(psprintf("%s must be a finite day", name), "It is infinite.", "Give the day that is asked about.");
	return PG_GETARG_DATEADT(n);
}

static int
CompareDays(const void *a, const void *b)
{
	DateADT		x = *(const DateADT *) a;
	DateADT		y = *(const DateADT *) b;

	return x < y ? -1 : x > y;
}

/* An array of days or numbers without NULLs; NULL is an empty one. */
static int32 *
IntegersArgument(FunctionCallInfo fcinfo, int n, const char *name, int *count)
{
	ArrayType  *array;

	*count = 0;
	if (PG_ARGISNULL(n))
		return NULL;
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (array_contains_nulls(array))
		RefuseStreak(psprintf("%s must not have elements that are NULL", name), "One of them is.", "Leave them out.");
	*count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return (int32 *) ARR_DATA_PTR(array);
}

/* Days, ascending; NULL is no days. */
static const DateADT *
DaysArgument(FunctionCallInfo fcinfo, int n, const char *name, int *count)
{
	const DateADT *given = IntegersArgument(fcinfo, n, name, count);
	DateADT    *days;

	if (given == NULL)
		return NULL;
	days = palloc(*count * sizeof(DateADT));
	memcpy(days, given, *count * sizeof(DateADT));
	qsort(days, *count, sizeof(DateADT), CompareDays);
	return days;
}

static int
WeekdaysArgument(FunctionCallInfo fcinfo, int n)
{
	int			count;
	const int32 *given = IntegersArgument(fcinfo, n, "weekdays", &count);
	int			weekdays = 0;

	if (given == NULL)
		return ALL_WEEKDAYS;
	for (int i = 0; i < count; i++)
	{
		if (given[i] < 1 || given[i] > 7)
			RefuseStreak("a weekday is from 1 to 7", psprintf("One is %d.", given[i]), "1 is Monday, 7 is Sunday.");
		weekdays |= 1 << given[i];
	}
	if (weekdays == 0)
		RefuseStreak("weekdays must not be empty", "No day would count.", "Leave it out where all days count.");
	return weekdays;
}

static int32
CountArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	int32		count = PG_ARGISNULL(n) ? 0 : PG_GETARG_INT32(n);

	if (count < 0 || count > MAX_FREEZES)
		RefuseStreak(psprintf("%s must be from 0 to %d", name, MAX_FREEZES), psprintf("It is %d.", count), "It is a number of freezes.");
	return count;
}

static Period
PeriodArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	char	   *text = TextArgument(fcinfo, n);
	Period		period = {.base = PERIOD_DAYS};

	if (text == NULL || !ParsePeriod(text, strlen(text), &period))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_PERIOD),
				 errmsg("invalid %s: \"%s\"", name, text == NULL ? "NULL" : text),
				 errdetail("A streak goes by periods of the calendar."),
				 errhint("Give day, week, month, quarter or year.")));
	return period;
}

/* Freezes that are held all the time */
static void
HoldFreezes(StreakTerms *terms, int32 n)
{
	terms->nfreezes = n;
	terms->freezes = palloc0(n * sizeof(Freeze));
	for (int i = 0; i < n; i++)
	{
		terms->freezes[i].from = DATEVAL_NOBEGIN;
		terms->freezes[i].until = DATEVAL_NOEND;
	}
}

static Datum
Row(FunctionCallInfo fcinfo, const Datum *values, const bool *nulls)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), unconstify(Datum *, values), unconstify(bool *, nulls)));
}

/*
 * streak_at(activity activity_summary, on_date date, freezes integer, count_frozen boolean, weekdays integer[],
 *		holidays date[]) -> (length integer, longest integer, freezes_left integer)
 */
PG_FUNCTION_INFO_V1(loyalty_streak_at);
Datum
loyalty_streak_at(PG_FUNCTION_ARGS)
{
	StreakTerms terms = {.count_frozen = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3)};
	StreakState state;
	const ActivitySummary *summary;
	DateADT		day;
	Datum		values[3];
	bool		nulls[3] = {false};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	summary = PG_GETARG_ACTIVITY_SUMMARY(0);
	day = DayArgument(fcinfo, 1, "on_date");
	terms.period = ActivitySummaryPeriod(summary);
	HoldFreezes(&terms, CountArgument(fcinfo, 2, "freezes"));
	terms.weekdays = WeekdaysArgument(fcinfo, 4);
	terms.holidays = DaysArgument(fcinfo, 5, "holidays", &terms.nholidays);
	WalkSummary(&terms, summary, day, &state);
	values[0] = Int32GetDatum(state.length);
	values[1] = Int32GetDatum(state.longest);
	values[2] = Int32GetDatum(state.freezes_left);
	PG_RETURN_DATUM(Row(fcinfo, values, nulls));
}

/* The freezes of three arrays of one length, or NULL: from when, until when, for which day. */
static void
FreezesArgument(FunctionCallInfo fcinfo, int n, StreakTerms *terms)
{
	Datum	   *columns[3];
	bool	   *nulls[3];
	bool		given[3];
	int			count = -1;

	for (int i = 0; i < 3; i++)
	{
		int			length;

		given[i] = !PG_ARGISNULL(n + i);
		if (!given[i])
			continue;
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(n + i), DATEOID, sizeof(DateADT), true, TYPALIGN_INT, &columns[i], &nulls[i], &length);
		if (count >= 0 && length != count)
			RefuseStreak("arrays of freezes must have one length", psprintf("They have %d and %d elements.", count, length),
						 "Give an element of each for each freeze; NULL where it has none.");
		count = length;
	}
	HoldFreezes(terms, Max(0, count));
	for (int i = 0; i < count; i++)
	{
		Freeze	   *freeze = &terms->freezes[i];

		if (given[0] && !nulls[0][i])
			freeze->from = DatumGetDateADT(columns[0][i]);
		if (given[1] && !nulls[1][i])
			freeze->until = DatumGetDateADT(columns[1][i]);
		freeze->is_repair = given[2] && !nulls[2][i];
		if (freeze->is_repair)
			freeze->for_day = DatumGetDateADT(columns[2][i]);
	}
}

/* The periods of days, ascending and each once. */
static int32 *
PeriodsOfDays(const Period *period, const DateADT *days, int ndays, int *nperiods)
{
	int32	   *periods = palloc(ndays * sizeof(int32));
	int			n = 0;

	for (int i = 0; i < ndays; i++)
	{
		int32		number = PeriodOfDate(period, days[i]);

		if (DATE_NOT_FINITE(days[i]))
			RefuseStreak("days must be finite", "One is not.", "Leave it out.");
		if (n == 0 || periods[n - 1] != number)
			periods[n++] = number;
	}
	*nperiods = n;
	return periods;
}

static void
PutDay(Datum *values, bool *nulls, int column, DateADT day, bool isnull)
{
	nulls[column] = isnull || DATE_NOT_FINITE(day);
	values[column] = DateADTGetDatum(day);
}

/*
 * walk_streak(days date[], on_date date, period text, weekdays integer[], holidays date[], bridged date[],
 *		freeze_from date[], freeze_until date[], freeze_for date[], free integer, free_per text, count_frozen boolean)
 * -> (length integer, longest integer, alive boolean, last_day date, freezes_left integer, due_day date,
 *		starts date[], lengths integer[])
 */
PG_FUNCTION_INFO_V1(loyalty_walk_streak);
Datum
loyalty_walk_streak(PG_FUNCTION_ARGS)
{
	StreakTerms terms = {.count_frozen = !PG_ARGISNULL(11) && PG_GETARG_BOOL(11)};
	StreakState state;
	int			ndays;
	int			nactive;
	const DateADT *days = DaysArgument(fcinfo, 0, "days", &ndays);
	DateADT		day = DayArgument(fcinfo, 1, "on_date");
	int32	   *active;
	int32	   *lengths;
	Datum	   *starts;
	Datum	   *counts;
	Datum		values[8];
	bool		nulls[8] = {false};

	terms.period = PeriodArgument(fcinfo, 2, "period");
	terms.weekdays = WeekdaysArgument(fcinfo, 3);
	terms.holidays = DaysArgument(fcinfo, 4, "holidays", &terms.nholidays);
	terms.bridged = DaysArgument(fcinfo, 5, "bridged", &terms.nbridged);
	FreezesArgument(fcinfo, 6, &terms);
	terms.free = CountArgument(fcinfo, 9, "free");
	if (terms.free > 0)
		terms.free_per = PeriodArgument(fcinfo, 10, "free_per");

	active = PeriodsOfDays(&terms.period, days, ndays, &nactive);
	lengths = palloc0(nactive * sizeof(int32));
	WalkStreak(&terms, active, nactive, day, &state, lengths);

	starts = palloc(nactive * sizeof(Datum));
	counts = palloc(nactive * sizeof(Datum));
	for (int i = 0; i < nactive; i++)
	{
		starts[i] = DateADTGetDatum(FirstDayOfPeriod(&terms.period, active[i]));
		counts[i] = Int32GetDatum(lengths[i]);
	}
	values[0] = Int32GetDatum(state.length);
	values[1] = Int32GetDatum(state.longest);
	values[2] = BoolGetDatum(state.length > 0);
	PutDay(values, nulls, 3, FirstDayOfPeriod(&terms.period, state.last), state.length == 0);
	values[4] = Int32GetDatum(state.freezes_left);
	PutDay(values, nulls, 5, LastDayOfPeriod(&terms.period, state.due), state.length == 0);
	values[6] = PointerGetDatum(construct_array(starts, nactive, DATEOID, sizeof(DateADT), true, TYPALIGN_INT));
	values[7] = PointerGetDatum(construct_array(counts, nactive, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	PG_RETURN_DATUM(Row(fcinfo, values, nulls));
}
