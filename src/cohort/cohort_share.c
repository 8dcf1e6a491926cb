/*
 * cohort_share.c
 *		What is read from a concentration: total, Gini coefficient, share of
 *		the top members, Pareto curve.
 *
 * Amounts are numeric and stay so: sums are exact, and every ratio is one
 * division of exact numbers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "cohort/cohort_concentration.h"
#include "core/errors.h"

/* ---- plain computing ---- */

static inline Numeric
FromInt(int64 i)
{
	return int64_to_numeric(i);
}

static inline Numeric
Add(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
Multiply(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
Subtract(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
Divide(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline int
Compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/*
 * A scratch context for long sums.  Every so often what the sums have reached
 * is carried over into a fresh one.
 */
#define CARRY_EVERY		4096

static Numeric
Carry(Numeric n, MemoryContext to)
{
	Numeric		copy = MemoryContextAlloc(to, VARSIZE(n));

	memcpy(copy, n, VARSIZE(n));
	return copy;
}

/*
 * The sum of all amounts and, when wanted, the sum of rank times amount, with
 * ranks from 1 for the smallest amount.
 */
static Numeric
SumAmounts(const Concentration *c, Numeric *ranked)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(outer, "concentration", ALLOCSET_DEFAULT_SIZES);
	AmountCursor cursor;
	Numeric		sum = FromInt(0),
				weighted = FromInt(0);
	int64		before = 0;
	int			n = 0;

	MemoryContextSwitchTo(work);
	AmountsRewind(&cursor, c);
	while (AmountsNext(&cursor))
	{
		sum = Add(sum, Multiply(cursor.amount, FromInt(cursor.members)));
		if (ranked != NULL)
		{
			/* twice the sum of the ranks before + 1 to before + members */
			Numeric		ranks = Multiply(FromInt(cursor.members),
										 FromInt(2 * before + cursor.members + 1));

			weighted = Add(weighted, Multiply(cursor.amount, ranks));
			before += cursor.members;
		}
		if (++n % CARRY_EVERY == 0)
		{
			CHECK_FOR_INTERRUPTS();
			sum = Carry(sum, outer);
			weighted = Carry(weighted, outer);
			MemoryContextReset(work);
		}
	}
	MemoryContextSwitchTo(outer);
	sum = Carry(sum, outer);
	if (ranked != NULL)
		*ranked = Carry(weighted, outer);
	MemoryContextDelete(work);
	return sum;
}

/* Where each amount stands, so that they can be walked from the top. */
static const char **
Positions(const Concentration *c)
{
	const char **starts = MemoryContextAllocHuge(CurrentMemoryContext,
												 c->values * sizeof(char *));
	AmountCursor cursor;
	int64		n = 0;

	AmountsRewind(&cursor, c);
	for (const char *at = cursor.next; AmountsNext(&cursor); at = cursor.next)
		starts[n++] = at;
	return starts;
}

/*
 * The sums of the largest k amounts, for n values of k in ascending order.
 */
static void
SumTop(const Concentration *c, const int64 *k, int n, Numeric *sums)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(outer, "concentration", ALLOCSET_DEFAULT_SIZES);
	const char **starts = Positions(c);
	AmountCursor cursor;
	int64		seen = 0;
	int			next = 0;
	Numeric		sum = FromInt(0);

	MemoryContextSwitchTo(work);
	while (next < n && k[next] <= 0)
		sums[next++] = Carry(sum, outer);
	for (int64 v = c->values - 1; next < n && v >= 0; v--)
	{
		AmountsReadAt(&cursor, starts[v]);
		while (next < n && k[next] <= seen + cursor.members)
		{
			sums[next] = Carry(Add(sum, Multiply(cursor.amount, FromInt(k[next] - seen))), outer);
			next++;
		}
		sum = Add(sum, Multiply(cursor.amount, FromInt(cursor.members)));
		seen += cursor.members;
		if (v % CARRY_EVERY == 0)
		{
			CHECK_FOR_INTERRUPTS();
			sum = Carry(sum, outer);
			MemoryContextReset(work);
		}
	}
	Assert(next == n);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(work);
	pfree(starts);
}

/*
 * The smallest number of top members with at least percent of the sum of all,
 * which must be positive.
 */
static int64
CountTop(const Concentration *c, Numeric total, Numeric percent)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(outer, "concentration", ALLOCSET_DEFAULT_SIZES);
	const char **starts = Positions(c);
	Numeric		wanted = Multiply(total, percent);
	Numeric		hundred = FromInt(100);
	Numeric		sum = FromInt(0);
	int64		seen = 0;

	MemoryContextSwitchTo(work);
	if (Compare(wanted, sum) > 0)
	{
		for (int64 v = c->values - 1; v >= 0; v--)
		{
			AmountCursor cursor;
			Numeric		with_all;

			AmountsReadAt(&cursor, starts[v]);
			with_all = Add(sum, Multiply(cursor.amount, FromInt(cursor.members)));
			if (Compare(Multiply(with_all, hundred), wanted) >= 0)
			{
				int64		low = 1,
							high = cursor.members;

				while (low < high)
				{
					int64		mid = low + (high - low) / 2;
					Numeric		with_mid = Add(sum, Multiply(cursor.amount, FromInt(mid)));

					if (Compare(Multiply(with_mid, hundred), wanted) >= 0)
						high = mid;
					else
						low = mid + 1;
				}
				seen += low;
				break;
			}
			sum = with_all;
			seen += cursor.members;
			if (v % CARRY_EVERY == 0)
			{
				CHECK_FOR_INTERRUPTS();
				sum = Carry(sum, outer);
				MemoryContextReset(work);
			}
		}
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(work);
	pfree(starts);
	return seen;
}

/*
 * The smallest whole number of members that is at least a share of all.
 */
static int64
MembersOf(const Concentration *c, Numeric percent)
{
	/* times 0.01 is exact; a division by 100 might round */
	Numeric		hundredth = DatumGetNumeric(DirectFunctionCall3(numeric_in,
																CStringGetDatum("0.01"),
																ObjectIdGetDatum(InvalidOid),
																Int32GetDatum(-1)));
	Numeric		k = Multiply(Multiply(FromInt(c->members), percent), hundredth);

	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 DirectFunctionCall1(numeric_ceil, NumericGetDatum(k))));
}

static void
CheckPercent(Numeric percent)
{
	if (numeric_is_nan(percent) || numeric_is_inf(percent) ||
		Compare(percent, FromInt(0)) < 0 || Compare(percent, FromInt(100)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s is not a percentage",
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(percent)))),
				 errdetail("Shares are counted from 0 to 100."),
				 errhint("Pass 20 for one fifth.")));
}

/* ---- accessors ---- */

/*
 * member_count(concentration) -> bigint, amount_total(concentration) -> numeric
 */
PG_FUNCTION_INFO_V1(loyalty_member_count);
Datum
loyalty_member_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(GetConcentration(PG_GETARG_DATUM(0))->members);
}

/*
 * amount_total(concentration) -> numeric: the exact sum of all amounts.
 */
PG_FUNCTION_INFO_V1(loyalty_amount_total);
Datum
loyalty_amount_total(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(SumAmounts(GetConcentration(PG_GETARG_DATUM(0)), NULL));
}

/*
 * gini(concentration) -> numeric
 *		The Gini coefficient: sum over i of (2 i - n - 1) x_i / (n sum of x),
 *		with amounts x_1 <= ... <= x_n.  0 when all are equal, (n - 1) / n when
 *		one has all.  With negative amounts it can exceed 1.  NULL without
 *		members, and when the sum is not positive.
 */
PG_FUNCTION_INFO_V1(loyalty_gini);
Datum
loyalty_gini(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	Numeric		sum,
				ranked,
				n = FromInt(c->members);

	sum = SumAmounts(c, &ranked);
	if (Compare(sum, FromInt(0)) <= 0)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(Divide(Subtract(ranked, Multiply(FromInt(c->members + 1), sum)),
							 Multiply(n, sum)));
}

/*
 * top_share(concentration, percent numeric) -> numeric
 *		The part of the whole amount, from 0 to 1, that the top percent of
 *		the members have.  Their number is rounded up to a whole one.  NULL
 *		when the whole amount is not positive.
 */
PG_FUNCTION_INFO_V1(loyalty_top_share);
Datum
loyalty_top_share(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	Numeric		percent = PG_GETARG_NUMERIC(1);
	Numeric		sum,
				top;
	int64		k;

	CheckPercent(percent);
	sum = SumAmounts(c, NULL);
	if (Compare(sum, FromInt(0)) <= 0)
		PG_RETURN_NULL();
	k = MembersOf(c, percent);
	SumTop(c, &k, 1, &top);
	PG_RETURN_NUMERIC(Divide(top, sum));
}

/*
 * members_for_share(concentration, percent numeric) -> bigint
 *		The smallest number of top members who together have at least that
 *		percentage of the whole amount; NULL when that is not positive.
 */
PG_FUNCTION_INFO_V1(loyalty_members_for_share);
Datum
loyalty_members_for_share(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	Numeric		percent = PG_GETARG_NUMERIC(1);
	Numeric		sum;

	CheckPercent(percent);
	sum = SumAmounts(c, NULL);
	if (Compare(sum, FromInt(0)) <= 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(CountTop(c, sum, percent));
}

/*
 * pareto_curve(concentration, points integer DEFAULT 100)
 *		-> setof (member_share numeric, members bigint, amount numeric, amount_share numeric)
 *		For i from 1 to points, what the top i / points of the members have.
 *		Their number is rounded up to a whole one.  amount_share is NULL when
 *		the whole amount is not positive.  No rows without members.
 */
PG_FUNCTION_INFO_V1(loyalty_pareto_curve);
Datum
loyalty_pareto_curve(PG_FUNCTION_ARGS)
{
	typedef struct
	{
		int64	   *k;
		Numeric    *sums;
		Numeric		total;
	} Curve;
	FuncCallContext *funcctx;
	Curve	   *curve;
	int32		points = PG_GETARG_INT32(1);

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc	tupdesc;
		Concentration *c;

		if (points < 1 || points > 10000)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("the number of points is %d", points),
					 errdetail("A curve has 1 to 10000 points."),
					 errhint("Pass 100 for one point for each percent.")));
		funcctx = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "pareto_curve returns rows");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);
		c = GetConcentration(PG_GETARG_DATUM(0));
		curve = palloc(sizeof(Curve));
		curve->k = palloc(points * sizeof(int64));
		curve->sums = palloc(points * sizeof(Numeric));
		for (int i = 1; i <= points; i++)
			curve->k[i - 1] = (int64) (((int128) c->members * i + points - 1) / points);
		curve->total = SumAmounts(c, NULL);
		SumTop(c, curve->k, points, curve->sums);
		funcctx->user_fctx = curve;
		funcctx->max_calls = c->members > 0 ? points : 0;
		MemoryContextSwitchTo(old);
	}
	funcctx = SRF_PERCALL_SETUP();
	curve = (Curve *) funcctx->user_fctx;

	if (funcctx->call_cntr < funcctx->max_calls)
	{
		int			i = (int) funcctx->call_cntr;
		Datum		values[4];
		bool		nulls[4] = {false, false, false, false};

		values[0] = NumericGetDatum(Divide(FromInt(i + 1), FromInt(points)));
		values[1] = Int64GetDatum(curve->k[i]);
		values[2] = NumericGetDatum(curve->sums[i]);
		nulls[3] = Compare(curve->total, FromInt(0)) <= 0;
		values[3] = nulls[3] ? (Datum) 0 : NumericGetDatum(Divide(curve->sums[i], curve->total));
		SRF_RETURN_NEXT(funcctx,
						HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(funcctx);
}
