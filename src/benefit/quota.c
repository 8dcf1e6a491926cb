/*
 * quota.c
 *		How often a right may be used: periods, and what is left of them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "benefit/quota.h"
#include "core/compat.h"
#include "core/errors.h"

const char *const use_act_names[USE_ACT_KINDS] = {
	"used", "reserved", "confirmed", "restored", "granted", "revoked"
};

UseActKind
UseActOfName(const char *name)
{
	for (int i = 0; i < USE_ACT_KINDS; i++)
	{
		if (strcmp(use_act_names[i], name) == 0)
			return (UseActKind) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("unknown act of a use"),
			 errdetail("It is \"%s\".", name),
			 errhint("See the comment of loyalty.entitlement_act.kind.")));
}

/*
 * Applies an act to a use; the first one makes it what it is.
 */
void
ApplyUseAct(Use *use, UseActKind kind, TimestampTz at, TimestampTz until)
{
	switch (kind)
	{
		case USE_USED:
			use->at = at;
			use->until = TIMESTAMP_INFINITY;
			break;
		case USE_RESERVED:
			use->at = at;
			use->until = until;
			break;
		case USE_CONFIRMED:
			use->until = TIMESTAMP_INFINITY;
			break;
		case USE_GRANTED:
			use->is_grant = true;
			use->at = at;
			use->until = until;
			break;
		case USE_RESTORED:
		case USE_REVOKED:
			use->ended = true;
			break;
	}
	use->last = kind;
	use->nacts++;
}

/*
 * Whether a use counts, or a grant holds, at an instant.
 */
bool
UseCounts(const Use *use, TimestampTz at)
{
	return !use->ended && use->until > at;
}

/*
 * The instant at which a day begins.
 */
TimestampTz
InstantOfDay(DateADT day, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	TimestampTz instant;
	int			offset;

	if (day == DATEVAL_NOBEGIN)
		return TIMESTAMP_MINUS_INFINITY;
	if (day == DATEVAL_NOEND)
		return TIMESTAMP_INFINITY;
	memset(&tm, 0, sizeof(tm));
	j2date(day + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	fsec = 0;
	offset = DetermineTimeZoneOffset(&tm, zone);
	if (tm2timestamp(&tm, fsec, &offset, &instant) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return instant;
}

/* ---------------------------------------------------------------------------
 * Periods
 * ---------------------------------------------------------------------------
 */

/* Months after a day, its day of the month as far as there is one. */
static DateADT
MonthsAfter(DateADT day, int months)
{
	int			year;
	int			month;
	int			dom;
	int			last;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	months += year * 12 + month - 1;
	year = months / 12;
	month = months % 12 + 1;
	last = day_tab[isleap(year)][month - 1];
	return date2j(year, month, Min(dom, last)) - POSTGRES_EPOCH_JDATE;
}

/* The day on which the nth period from an anchor begins. */
static DateADT
NthDay(Period period, DateADT anchor, int n)
{
	switch (period)
	{
		case PERIOD_DAY:
			return anchor + n;
		case PERIOD_WEEK:
			return anchor + 7 * n;
		case PERIOD_MONTH:
			return MonthsAfter(anchor, n);
		case PERIOD_QUARTER:
			return MonthsAfter(anchor, 3 * n);
		case PERIOD_YEAR:
			return MonthsAfter(anchor, 12 * n);
		case PERIOD_LIFETIME:
			break;
	}
	return n <= 0 ? anchor : DATEVAL_NOEND;
}

static Span
AnchoredPeriod(const PeriodTerms *terms, TimestampTz anchor, TimestampTz at)
{
	/* how many days a period has at most */
	static const int longest[] = {1, 7, 31, 92, 366, 1};
	DateADT		first = DayOf(LocalInstant(anchor, terms->zone));
	DateADT		day = DayOf(LocalInstant(at, terms->zone));
	int			n = terms->period == PERIOD_LIFETIME || day < first ? 0 : (day - first) / longest[terms->period];

	while (NthDay(terms->period, first, n + 1) <= day)
		n++;
	return (Span) {InstantOfDay(NthDay(terms->period, first, n), terms->zone), InstantOfDay(NthDay(terms->period, first, n + 1), terms->zone)};
}

/*
 * The period in which an instant lies; a rolling one ends behind it.
 */
Span
PeriodOf(const PeriodTerms *terms, TimestampTz anchor, TimestampTz at)
{
	DateADT		day;

	if (terms->rolling != NULL)
	{
		Datum		from = DirectFunctionCall2(timestamp_mi_interval, TimestampGetDatum(LocalInstant(at, terms->zone)),
											   IntervalPGetDatum(unconstify(Interval *, terms->rolling)));
		struct pg_tm tm;
		fsec_t		fsec;
		TimestampTz instant;
		int			offset;

		if (timestamp2tm(DatumGetTimestamp(from), NULL, &tm, &fsec, NULL, NULL) != 0)
			elog(ERROR, "timestamp out of range");
		offset = DetermineTimeZoneOffset(&tm, terms->zone);
		if (tm2timestamp(&tm, fsec, &offset, &instant) != 0)
			elog(ERROR, "timestamp out of range");
		/* what lies just its length before does not count any more */
		return (Span) {instant + 1, at + 1};
	}
	if (terms->anchored)
		return AnchoredPeriod(terms, anchor, at);
	if (terms->period == PERIOD_LIFETIME)
		return (Span) {TIMESTAMP_MINUS_INFINITY, TIMESTAMP_INFINITY};
	day = DayOf(LocalInstant(at, terms->zone));
	return (Span) {InstantOfDay(FirstDayOf(terms->period, day), terms->zone), InstantOfDay(FirstDayAfter(terms->period, day), terms->zone)};
}

/*
 * The period before one that has a beginning.
 */
Span
PeriodBefore(const PeriodTerms *terms, TimestampTz anchor, const Span *span)
{
	return PeriodOf(terms, anchor, span->from - 1);
}

/* ---------------------------------------------------------------------------
 * Counting
 * ---------------------------------------------------------------------------
 */

/*
 * What was used in a span, as far as it counts at an instant; grants hold
 * whenever they were given, up to the instant.
 */
QuotaCount
CountUses(const Use *uses, int nuses, const Span *span, TimestampTz at)
{
	QuotaCount	count = {0};

	for (int i = 0; i < nuses; i++)
	{
		const Use  *use = &uses[i];

		if (!UseCounts(use, at))
			continue;
		if (!use->is_grant)
		{
			/* what is of grants counts for ever, as they do */
			count.granted_used += use->granted;
			if (use->at >= span->from && use->at < span->until)
				count.used += use->quantity - use->granted;
		}
		else if (use->at <= at)
			count.granted += use->quantity;
	}
	return count;
}

/*
 * What was used in the rolling period that ends at an instant; *most: in the
 * fullest of those that contain the instant.
 */
int64
CountRolling(const Use *uses, int nuses, const PeriodTerms *terms, TimestampTz at, int64 *most)
{
	Span		span = PeriodOf(terms, 0, at);
	int64		used = CountUses(uses, nuses, &span, at).used;

	*most = used;
	for (int i = 0; i < nuses; i++)
	{
		Span		later;

		CHECK_FOR_INTERRUPTS();
		if (uses[i].is_grant || uses[i].at <= at || !UseCounts(&uses[i], at))
			continue;
		later = PeriodOf(terms, 0, uses[i].at);
		if (later.from <= at)
			*most = Max(*most, CountUses(uses, nuses, &later, at).used);
	}
	return used;
}

/*
 * What a period leaves to the next one: of its own, since what was carried to it
 * is used first.
 */
int64
LeftToCarry(int64 allowed, int64 carried, int64 used, int64 carry_over)
{
	if (allowed == QUOTA_UNLIMITED)
		return carry_over;
	return Max(0, Min(Min(allowed, allowed + carried - used), carry_over));
}
