/*
 * cohort_repurchase.c
 *		How often and after how long members buy again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

/* ---- plain computing ---- */

/*
 * Counts one member: its number of orders, and the distances between
 * consecutive ones.  Orders in the same period are 0 periods apart.
 */
static void
CountOrders(TallyState *state, const ActivitySummary *a)
{
	ActivitySummaryCursor cursor;
	int32		p,
				previous;
	int64		same = a->events - ActivitySummaryCount(a);

	AddToTally(state, TALLY_ORDERS, a->events, 0, 1);
	if (same > 0)
		AddToTally(state, TALLY_INTERVAL, 0, 0, same);
	ActivitySummaryRewind(&cursor, a);
	if (!ActivitySummaryNext(&cursor, &previous))
		return;
	while (ActivitySummaryNext(&cursor, &p))
	{
		CHECK_FOR_INTERRUPTS();
		AddToTally(state, TALLY_INTERVAL, (int64) p - previous, 0, 1);
		previous = p;
	}
}

/*
 * The sum of n over the entries of a kind with a >= from.
 */
static int64
SumCounts(const Tally *t, TallyKind kind, int64 from)
{
	int64		sum = 0;

	for (int i = TallyFind(t, kind, from, 0);
		 i < t->nentries && t->entries[i].kind == (int32) kind; i++)
		sum += t->entries[i].n;
	return sum;
}

/*
 * The exact sum of n times a over the entries of a kind.
 */
static Datum
SumWeighted(const Tally *t, TallyKind kind)
{
	Datum		sum = NumericGetDatum(int64_to_numeric(0));

	for (int i = TallyFind(t, kind, 0, 0);
		 i < t->nentries && t->entries[i].kind == (int32) kind; i++)
	{
		CHECK_FOR_INTERRUPTS();
		sum = DirectFunctionCall2(numeric_add, sum,
								  DirectFunctionCall2(numeric_mul,
													  NumericGetDatum(int64_to_numeric(t->entries[i].n)),
													  NumericGetDatum(int64_to_numeric(t->entries[i].a))));
	}
	return sum;
}

/*
 * The value at a rank (from 0) among the counted ones.
 */
static int64
ValueAt(const Tally *t, TallyKind kind, int64 rank)
{
	int64		seen = 0;
	int			i = TallyFind(t, kind, 0, 0);

	for (;; i++)
	{
		seen += t->entries[i].n;
		if (rank < seen)
			return t->entries[i].a;
	}
}

static Datum
Quotient(Datum a, int64 b)
{
	return DirectFunctionCall2(numeric_div, a, NumericGetDatum(int64_to_numeric(b)));
}

/* ---- the aggregate ---- */

/*
 * repurchase_agg(activity_summary) -> repurchase
 *		Transition.  One row for each member, whose summary must have one
 *		event for each order; intervals are in periods of the summary, so
 *		its period is mostly 'day'.  NULL and empty summaries are skipped.
 *		LY341 when periods or time zones differ.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchase_agg_trans);
Datum
loyalty_repurchase_agg_trans(PG_FUNCTION_ARGS)
{
	TallyState *state = TallyStateOf(fcinfo, TALLY_REPURCHASE);

	if (!PG_ARGISNULL(1))
	{
		ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(1);
		Period		period = ActivitySummaryPeriod(a);

		TallySetPeriod(state, &period);
		if (a->nblocks > 0)
			CountOrders(state, a);
	}
	RETURN_STATE(state);
}

/* ---- accessors ---- */

/*
 * buyers(repurchase, min_orders integer) -> bigint
 *		Members with at least so many orders.
 */
PG_FUNCTION_INFO_V1(loyalty_buyers);
Datum
loyalty_buyers(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(SumCounts(GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE),
							  TALLY_ORDERS, Max(PG_GETARG_INT32(1), 1)));
}

/*
 * repurchase_rate(repurchase, after_orders integer) -> numeric
 *		Of the members with at least after_orders orders, the share that has
 *		one more; NULL when there are none.  With 1, the repurchase rate.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchase_rate);
Datum
loyalty_repurchase_rate(PG_FUNCTION_ARGS)
{
	Tally	   *t = GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE);
	int32		after = PG_GETARG_INT32(1);
	int64		with;

	if (after < 1)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("the number of orders is %d", after),
				 errdetail("A repurchase follows at least one order."),
				 errhint("Pass a number of orders from 1 up.")));
	with = SumCounts(t, TALLY_ORDERS, after);
	if (with == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(Quotient(NumericGetDatum(int64_to_numeric(SumCounts(t, TALLY_ORDERS,
																		(int64) after + 1))),
							 with));
}

/*
 * order_count(repurchase) -> numeric, mean_orders(repurchase) -> numeric
 *		All orders, and orders per member (NULL without members).
 */
PG_FUNCTION_INFO_V1(loyalty_order_count);
Datum
loyalty_order_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(SumWeighted(GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE), TALLY_ORDERS));
}

/*
 * mean_orders(repurchase) -> numeric: orders per member; NULL without members.
 */
PG_FUNCTION_INFO_V1(loyalty_mean_orders);
Datum
loyalty_mean_orders(PG_FUNCTION_ARGS)
{
	Tally	   *t = GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE);
	int64		n = SumCounts(t, TALLY_ORDERS, 1);

	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(Quotient(SumWeighted(t, TALLY_ORDERS), n));
}

/*
 * mean_interval(repurchase) -> numeric
 *		The mean distance between consecutive orders of a member, in periods,
 *		over all pairs of orders of all members; NULL without any pair.
 */
PG_FUNCTION_INFO_V1(loyalty_mean_interval);
Datum
loyalty_mean_interval(PG_FUNCTION_ARGS)
{
	Tally	   *t = GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE);
	int64		n = SumCounts(t, TALLY_INTERVAL, 0);

	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(Quotient(SumWeighted(t, TALLY_INTERVAL), n));
}

/*
 * interval_percentile(repurchase, fraction double precision) -> double precision
 *		The quantile of the distances between consecutive orders, in periods,
 *		interpolated as percentile_cont does (type 7 of Hyndman and Fan,
 *		1996); NULL without any pair; LY003 for a fraction outside 0 to 1.
 */
PG_FUNCTION_INFO_V1(loyalty_interval_percentile);
Datum
loyalty_interval_percentile(PG_FUNCTION_ARGS)
{
	Tally	   *t = GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE);
	float8		fraction = PG_GETARG_FLOAT8(1);
	int64		n = SumCounts(t, TALLY_INTERVAL, 0);
	float8		position;
	int64		rank;
	float8		low,
				high;

	if (!(fraction >= 0 && fraction <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("the fraction is %g", fraction),
				 errdetail("A quantile belongs to a fraction from 0 to 1."),
				 errhint("Pass for example 0.5 for the median.")));
	if (n == 0)
		PG_RETURN_NULL();
	position = fraction * (n - 1);
	/* a large n - 1 may have been rounded up, to a rank that there is not */
	rank = position < (float8) (n - 1) ? (int64) position : n - 1;
	low = (float8) ValueAt(t, TALLY_INTERVAL, rank);
	high = rank + 1 < n ? (float8) ValueAt(t, TALLY_INTERVAL, rank + 1) : low;
	PG_RETURN_FLOAT8(low + (position - rank) * (high - low));
}
