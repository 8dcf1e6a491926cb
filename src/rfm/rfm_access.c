/*
 * rfm_access.c
 *		What an rfm tells, in plain types.
 */
#include "rfm/rfm.h"

#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "core/errors.h"

/*
 * Finds a time zone by name; errors out on an unknown one.  NULL for UTC,
 * which needs no look-up.
 */
pg_tz *
RfmFindZone(text *name)
{
	char		buf[TZ_STRLEN_MAX + 1];
	int			len = (int) VARSIZE_ANY_EXHDR(name);
	pg_tz	   *zone = NULL;

	if (len == 3 && pg_strncasecmp(VARDATA_ANY(name), "UTC", 3) == 0)
		return NULL;
	if (len <= TZ_STRLEN_MAX)
	{
		memcpy(buf, VARDATA_ANY(name), len);
		buf[len] = '\0';
		zone = pg_tzset(buf);
	}
	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("time zone \"%s\" not recognized", text_to_cstring(name)),
				 errdetail("Days are those of a time zone."),
				 errhint("Use a name from pg_timezone_names, for example Asia/Shanghai.")));
	return zone;
}

/* The reading of the local clock at an instant, in microseconds. */
static TimestampTz
LocalReading(TimestampTz instant, pg_tz *zone)
{
	int			behind;			/* seconds west of UTC */
	struct pg_tm tm;
	fsec_t		fsec;

	if (zone == NULL)
		return instant;
	if (timestamp2tm(instant, &behind, &tm, &fsec, NULL, zone) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return instant - (int64) behind * USECS_PER_SEC;
}

/*
 * Microseconds from one reading of a local clock to a later one; so a change
 * to summer time neither adds nor takes an hour.  From the first instant to
 * the last is more than an int64 holds.
 */
uint64
RfmElapsed(TimestampTz from, TimestampTz to, pg_tz *zone)
{
	TimestampTz earlier = LocalReading(from, zone);
	TimestampTz later = LocalReading(to, zone);

	/* the clock may be put back between the two */
	return later <= earlier ? 0 : (uint64) later - (uint64) earlier;
}

/* The same in whole days, rounded down. */
int
RfmDaysBetween(TimestampTz from, TimestampTz to, pg_tz *zone)
{
	return (int) (RfmElapsed(from, to, zone) / USECS_PER_DAY);
}

PG_FUNCTION_INFO_V1(loyalty_recency);
/*
 * recency(summary rfm, as_of timestamptz, time_zone text DEFAULT 'UTC') returns integer
 *
 * Whole days from the last purchase to as_of; NULL without a purchase.  An
 * as_of before the last purchase is refused (LY302).
 */
Datum
loyalty_recency(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);

	RfmCheckAsOf(s, as_of);
	if (!RFM_HAS_PURCHASE(s))
		PG_RETURN_NULL();
	PG_RETURN_INT32(RfmDaysBetween(s->last, as_of, RfmFindZone(PG_GETARG_TEXT_PP(2))));
}

PG_FUNCTION_INFO_V1(loyalty_tenure);
/*
 * tenure(summary rfm, as_of timestamptz, time_zone text DEFAULT 'UTC') returns integer
 *
 * Whole days from the first purchase to as_of; NULL without a purchase.  An
 * as_of before the last purchase is refused (LY302).
 */
Datum
loyalty_tenure(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);

	RfmCheckAsOf(s, as_of);
	if (!RFM_HAS_PURCHASE(s))
		PG_RETURN_NULL();
	PG_RETURN_INT32(RfmDaysBetween(s->first, as_of, RfmFindZone(PG_GETARG_TEXT_PP(2))));
}

PG_FUNCTION_INFO_V1(loyalty_frequency);
/* frequency(summary rfm) returns bigint: how many purchases; 0 without any. */
Datum
loyalty_frequency(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(PG_GETARG_RFM_P(0)->purchases);
}

PG_FUNCTION_INFO_V1(loyalty_refund_count);
/* refund_count(summary rfm) returns bigint: how many refunds. */
Datum
loyalty_refund_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(PG_GETARG_RFM_P(0)->refunds);
}

PG_FUNCTION_INFO_V1(loyalty_monetary_total);
/*
 * monetary_total(summary rfm) returns numeric: purchases less refunds, exact;
 * equal to sum(amount) over the same rows.
 */
Datum
loyalty_monetary_total(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	PG_RETURN_NUMERIC(RfmUnitsToNumeric(RfmNet(s), s->decimals));
}

PG_FUNCTION_INFO_V1(loyalty_purchase_total);
/* purchase_total(summary rfm) returns numeric: the purchases alone, exact. */
Datum
loyalty_purchase_total(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	PG_RETURN_NUMERIC(RfmUnitsToNumeric(s->bought, s->decimals));
}

PG_FUNCTION_INFO_V1(loyalty_refund_total);
/* refund_total(summary rfm) returns numeric: the refunds, zero or negative, exact. */
Datum
loyalty_refund_total(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	PG_RETURN_NUMERIC(RfmUnitsToNumeric(s->refunded, s->decimals));
}

/* units / count, as numeric division gives it */
static Datum
MeanOf(int128 units, int decimals, int64 count)
{
	return DirectFunctionCall2(numeric_div,
							   NumericGetDatum(RfmUnitsToNumeric(units, decimals)),
							   NumericGetDatum(int64_to_numeric(count)));
}

PG_FUNCTION_INFO_V1(loyalty_monetary_mean);
/*
 * monetary_mean(summary rfm) returns numeric: monetary_total / frequency, to
 * numeric's usual precision; NULL without a purchase.
 */
Datum
loyalty_monetary_mean(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	if (!RFM_HAS_PURCHASE(s))
		PG_RETURN_NULL();
	return MeanOf(RfmNet(s), s->decimals, s->purchases);
}

PG_FUNCTION_INFO_V1(loyalty_repeat_mean);
/*
 * repeat_mean(summary rfm) returns numeric: mean amount of the purchases after
 * the first instant, which models of spend work on; NULL without any.
 */
Datum
loyalty_repeat_mean(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	if (s->purchases <= s->first_purchases)
		PG_RETURN_NULL();
	return MeanOf(s->bought - s->first_bought, s->decimals, s->purchases - s->first_purchases);
}

PG_FUNCTION_INFO_V1(loyalty_purchase_interval);
/*
 * purchase_interval(summary rfm) returns interval: the mean time from one
 * purchase to the next, (last - first) / purchases after the first instant, in
 * days of 24 hours; NULL without any.
 */
Datum
loyalty_purchase_interval(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);
	uint64		span = (uint64) s->last - (uint64) s->first;
	uint64		mean;
	Interval   *interval;

	if (!RFM_HAS_REPEAT(s))
		PG_RETURN_NULL();
	mean = span / (uint64) (s->purchases - s->first_purchases);
	interval = palloc0(sizeof(Interval));
	interval->day = (int32) (mean / USECS_PER_DAY);
	interval->time = (int64) (mean % USECS_PER_DAY);
	PG_RETURN_INTERVAL_P(interval);
}

PG_FUNCTION_INFO_V1(loyalty_first_purchase_at);
/* first_purchase_at(summary rfm) returns timestamptz; NULL without a purchase. */
Datum
loyalty_first_purchase_at(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	if (!RFM_HAS_PURCHASE(s))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(s->first);
}

PG_FUNCTION_INFO_V1(loyalty_second_purchase_at);
/*
 * second_purchase_at(summary rfm) returns timestamptz: the earliest purchase
 * after the first instant; NULL without one.
 */
Datum
loyalty_second_purchase_at(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	if (!RFM_HAS_REPEAT(s))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(s->second);
}

PG_FUNCTION_INFO_V1(loyalty_previous_purchase_at);
/*
 * previous_purchase_at(summary rfm) returns timestamptz: the latest purchase
 * before the last instant; NULL without one.
 */
Datum
loyalty_previous_purchase_at(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	if (!RFM_HAS_REPEAT(s))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(s->previous);
}

PG_FUNCTION_INFO_V1(loyalty_last_purchase_at);
/* last_purchase_at(summary rfm) returns timestamptz; NULL without a purchase. */
Datum
loyalty_last_purchase_at(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);

	if (!RFM_HAS_PURCHASE(s))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(s->last);
}
