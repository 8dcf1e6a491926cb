/*
 * benefit_price.c
 *		Prices and spreads for SQL, without any table.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "benefit/coupon_price.h"
#include "core/compat.h"
#include "core/errors.h"

static int
DecimalsArgument(FunctionCallInfo fcinfo, int n)
{
	int			decimals;

	RequireArgument(fcinfo, n, "decimals");
	decimals = PG_GETARG_INT32(n);
	if (decimals < 0 || decimals > MICROS_DECIMALS)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("decimals must be from 0 to %d", MICROS_DECIMALS),
				 errdetail("It is %d.", decimals),
				 errhint("It is the number of decimals of the money: 2 of EUR, 0 of JPY, 3 of KWD.")));
	return decimals;
}

static void
RequireNotNegative(Datum numeric, const char *what)
{
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, numeric, DirectFunctionCall1(int4_numeric, Int32GetDatum(0)))))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must not be negative", what),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, numeric))),
				 errhint("Leave out what is less than nothing.")));
}

/* An amount that is not negative, in units of the money; what is finer is refused. */
static int64
UnitsOf(Datum numeric, const char *what, int64 unit)
{
	int			decimals = 0;
	Micros		micros;

	RequireNotNegative(numeric, what);
	micros = MicrosFromNumeric(numeric, what, &decimals);
	if (micros % unit != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must not be finer than the money", what),
				 errdetail("It is %s.", MicrosText(micros)),
				 errhint("Give more decimals, or round it.")));
	return micros / unit;
}

/*
 * spread_amount(total numeric, weights numeric[], decimals integer) -> numeric[]
 */
PG_FUNCTION_INFO_V1(loyalty_spread_amount);
Datum
loyalty_spread_amount(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	int			decimals = DecimalsArgument(fcinfo, 2);
	int64		unit = MICROS_PER_UNIT;
	Datum	   *given;
	bool	   *nulls;
	int			n;
	int64	   *weights;
	int64	   *shares;
	int128		sum = 0;
	int64		total;
	int			ignored = 0;

	for (int i = 0; i < decimals; i++)
		unit /= 10;
	total = UnitsOf(PG_GETARG_DATUM(0), "total", unit);
	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &given, &nulls, &n);
	weights = palloc(Max(n, 1) * sizeof(int64));
	shares = palloc(Max(n, 1) * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			RequireNotNegative(given[i], "weight");
		weights[i] = nulls[i] ? 0 : MicrosFromNumeric(given[i], "weight", &ignored);
		sum += weights[i];
	}
	if (sum == 0 && total > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("there is nothing to spread %s over", MicrosText(total * unit)),
				 errdetail("The weights add up to 0."),
				 errhint("Give at least one weight that is positive.")));
	SpreadByWeight(total, n, weights, shares);
	for (int i = 0; i < n; i++)
		given[i] = MicrosToNumeric(shares[i] * unit, decimals);
	PG_RETURN_ARRAYTYPE_P(construct_array(given, n, NUMERICOID, -1, false, TYPALIGN_INT));
}

static const char *const verdicts[] = {
	[PRICE_APPLIES] = "applies",
	[PRICE_NO_LINES] = "no_lines",
	[PRICE_MINIMUM] = "minimum",
	[PRICE_NOTHING] = "nothing",
	[PRICE_EXCLUDED] = "excluded"
};

/* The benefits of an array of definitions, in its order. */
static Benefit **
ReadDefinitions(Jsonb *definitions, int *n)
{
	JsonbContainer *array = &definitions->root;
	Benefit   **benefits;

	if (!JsonContainerIsArray(array) || JsonContainerIsScalar(array))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_BENEFIT),
				 errmsg("definitions must be an array"),
				 errdetail("Each element is the definition of a coupon."),
				 errhint("See the comment of loyalty.define_benefit().")));
	*n = (int) JsonContainerSize(array);
	benefits = palloc(Max(*n, 1) * sizeof(Benefit *));
	for (int i = 0; i < *n; i++)
	{
		Problems	problems = {NULL, 0};

		benefits[i] = ParseBenefit(JsonbValueToJsonb(getIthJsonbValueFromContainer(array, i)), GetProgram()->time_zone, &problems);
		RefuseProblems(&problems, psprintf("[%d]", i));
	}
	return benefits;
}

static void
PutShare(ReturnSetInfo *rsinfo, int coupon, int32 line, Micros discount, const char *why, int decimals)
{
	Datum		values[4] = {
		Int32GetDatum(coupon), Int32GetDatum(line), MicrosToNumeric(discount, decimals), CStringGetTextDatum(why)
	};
	bool		nulls[4] = {false, line < 0, false, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * price_basket(lines jsonb, definitions jsonb, shipping numeric, decimals integer, choose boolean)
 * -> rows (coupon integer, line integer, discount numeric, why text)
 */
PG_FUNCTION_INFO_V1(loyalty_price_basket);
Datum
loyalty_price_basket(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			decimals = DecimalsArgument(fcinfo, 3);
	Activity	activity = {.kind = "order"};
	ActivityBasket made;
	Benefit   **benefits;
	PriceCoupon *coupons;
	int			ncoupons;
	int			ignored = 0;

	RequireArgument(fcinfo, 0, "lines");
	RequireArgument(fcinfo, 1, "definitions");
	RequireArgument(fcinfo, 2, "shipping");
	RequireArgument(fcinfo, 4, "choose");
	InitReturnSet(fcinfo);
	ReadLines(&activity, PG_GETARG_DATUM(0));
	MakeBasket(&made, &activity, MicrosFromNumeric(PG_GETARG_DATUM(2), "shipping", &ignored), decimals);
	benefits = ReadDefinitions(PG_GETARG_JSONB_P(1), &ncoupons);
	coupons = palloc0(Max(ncoupons, 1) * sizeof(PriceCoupon));
	for (int i = 0; i < ncoupons; i++)
		SetTerms(&coupons[i], &made, benefits[i], i + 1);
	if (PG_GETARG_BOOL(4))
		ChooseCoupons(&made.basket, ncoupons, coupons);
	else
		PriceCoupons(&made.basket, ncoupons, coupons);
	for (int i = 0; i < ncoupons; i++)
	{
		if (coupons[i].discount == 0)
			PutShare(rsinfo, i + 1, -1, 0, verdicts[coupons[i].verdict], decimals);
		for (int j = 0; j <= made.basket.nlines; j++)
		{
			if (coupons[i].share[j] > 0)
				PutShare(rsinfo, i + 1, j == made.basket.nlines ? 0 : activity.nlines > 0 ? activity.lines[j].number : 1,
						 coupons[i].share[j], verdicts[coupons[i].verdict], decimals);
		}
	}
	return (Datum) 0;
}
