/*
 * clv_call.c
 *		Customer value in SQL: fits of a sample, forecasts of a member, the
 *		test of a model against a holdout.
 *
 * Forecasts come back as numeric, rounded to 15 significant digits, so that
 * sums and means of them do not depend on the order of rows or on workers.
 */
#include "clv/clv.h"

#include <math.h>

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "core/errors.h"

static int
CompareSpend(const ClvSpendCell *a, const ClvSpendCell *b)
{
	if (a->x != b->x)
		return a->x < b->x ? -1 : 1;
	if (a->m != b->m)
		return a->m < b->m ? -1 : 1;
	return 0;
}

#define ST_SORT SortSpend
#define ST_ELEMENT_TYPE ClvSpendCell
#define ST_COMPARE(a, b) CompareSpend(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* The poll of long loops. */
static void
Poll(void)
{
	CHECK_FOR_INTERRUPTS();
}

/*
 * The distinct (x, t_x, T) of a sample, in units of unit_days, in its order: by
 * x, then T, then t_x.
 */
static ClvCell *
CountCells(const ClvSample *sample, double unit_days, size_t *ncells)
{
	double		unit = unit_days * CLV_USECS_PER_DAY;
	ClvCell    *cell = MemoryContextAllocHuge(CurrentMemoryContext,
											  sample->nhistories * sizeof(ClvCell));
	size_t		n = 0;

	for (int64 i = 0; i < sample->nhistories; i++)
	{
		const ClvHistory *h = &sample->history[i];

		if (i > 0 && h->x == h[-1].x && h->t == h[-1].t && h->t_x == h[-1].t_x)
		{
			cell[n - 1].n += (double) h->n;
			continue;
		}
		cell[n].x = (double) h->x;
		cell[n].t_x = (double) h->t_x / unit;
		cell[n].t = (double) h->t / unit;
		cell[n].n = (double) h->n;
		n++;
	}
	*ncells = n;
	return cell;
}

/*
 * The distinct (x, m) of the members of a sample that bought again and for
 * money, sorted.
 */
static ClvSpendCell *
SpendCells(const ClvSample *sample, size_t *ncells)
{
	ClvSpendCell *cell = MemoryContextAllocHuge(CurrentMemoryContext,
												sample->nhistories * sizeof(ClvSpendCell));
	size_t		n = 0;
	size_t		kept = 0;

	for (int64 i = 0; i < sample->nhistories; i++)
	{
		const ClvHistory *h = &sample->history[i];

		if (h->m > 0.0)
		{
			cell[n].x = (double) h->x;
			cell[n].m = h->m;
			cell[n].n = (double) h->n;
			n++;
		}
	}
	if (n > 0)
	{
		SortSpend(cell, n);
		for (size_t i = 1; i < n; i++)
		{
			if (CompareSpend(&cell[kept], &cell[i]) == 0)
				cell[kept].n += cell[i].n;
			else
				cell[++kept] = cell[i];
		}
		n = kept + 1;
	}
	*ncells = n;
	return cell;
}

PG_FUNCTION_INFO_V1(loyalty_clv_fit);
/*
 * clv_fit(sample clv_sample, model text, unit_days double precision,
 *		   max_iterations integer) returns clv_model
 *
 * Fits a count model and Gamma-Gamma to a sample by maximum likelihood.  A fit
 * that does not come to a maximum is no error: the status in the model says so.
 * Errors out (LY003) on an unknown model, a unit_days outside a second to a
 * thousand years, max_iterations outside 1 to 10000.
 */
Datum
loyalty_clv_fit(PG_FUNCTION_ARGS)
{
	ClvSample  *sample = PG_GETARG_CLV_SAMPLE_P(0);
	ClvKind		kind = ClvParseKind(PG_GETARG_TEXT_PP(1));
	double		unit_days = PG_GETARG_FLOAT8(2);
	int			max_iterations = PG_GETARG_INT32(3);
	ClvModel   *model = ClvNewModel();
	ClvMaximum	fit;
	ClvCell    *cell;
	ClvSpendCell *spend;
	size_t		ncells;

	ClvCheckUnitDays(unit_days);
	if (max_iterations < 1 || max_iterations > 10000)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("max_iterations must be between 1 and 10000, not %d", max_iterations),
				 errdetail("A fit commonly needs about ten."),
				 errhint("Leave the argument out.")));

	model->kind = (uint8) kind;
	model->unit_days = unit_days;
	for (int64 i = 0; i < sample->nhistories; i++)
	{
		const ClvHistory *h = &sample->history[i];

		model->members += h->n;
		if (h->x > 0)
			model->repeaters += h->n;
		if (h->m > 0.0)
			model->spenders += h->n;
	}

	cell = CountCells(sample, unit_days, &ncells);
	ClvFitCount(kind, cell, ncells, max_iterations, Poll, &fit);
	pfree(cell);
	model->status = (uint8) fit.status;
	model->iterations = fit.iterations;
	model->loglik = fit.loglik;
	memcpy(model->theta, fit.theta, sizeof(model->theta));
	memcpy(model->std_err, fit.std_err, sizeof(model->std_err));

	spend = SpendCells(sample, &ncells);
	ClvFitSpend(spend, ncells, max_iterations, Poll, &fit);
	pfree(spend);
	model->spend_status = (uint8) fit.status;
	model->spend_iterations = fit.iterations;
	model->spend_loglik = fit.loglik;
	memcpy(model->spend, fit.theta, sizeof(model->spend));
	memcpy(model->spend_std_err, fit.std_err, sizeof(model->spend_std_err));
	PG_RETURN_POINTER(model);
}

/* The count part of a model, or an error when there is none. */
static ClvCountModel
CountPart(const ClvModel *model)
{
	ClvCountModel count;

	if (isnan(model->theta[0]))
		ereport(ERROR,
				(errcode(ERRCODE_LY_CLV_NOT_FITTED),
				 errmsg("the model has no fitted parameters"),
				 errdetail("Its fit ended with status %s, over " INT64_FORMAT " members, of whom " INT64_FORMAT " bought again.",
						   clv_status_name[model->status], model->members, model->repeaters),
				 errhint("Fit to more members, or give parameters with make_clv_model().")));
	count.kind = (ClvKind) model->kind;
	memcpy(count.theta, model->theta, sizeof(count.theta));
	count.poll = Poll;
	return count;
}

static void
RequireSpendPart(const ClvModel *model)
{
	if (isnan(model->spend[0]))
		ereport(ERROR,
				(errcode(ERRCODE_LY_CLV_NOT_FITTED),
				 errmsg("the model has no fitted parameters of spend"),
				 model->status == CLV_GIVEN ? errdetail("It was made without p, q and v.") :
				 errdetail("Its fit of Gamma-Gamma ended with status %s, over " INT64_FORMAT " members who bought again.",
						   clv_status_name[model->spend_status], model->spenders),
				 errhint("Fit to more members, or give parameters with make_clv_model().")));
}

/* Interval bounds that nobody means: a thousand years. */
#define MAX_HORIZON_DAYS	365250.0

/*
 * A horizon in the model's unit of time.  A day is 24 hours, a month 30 days, a
 * year 365.25 days, as extract(epoch from interval) has it.  Errors out (LY003)
 * below zero and beyond a thousand years.
 */
static double
HorizonIn(const Interval *horizon, double unit_days)
{
	int			years = horizon->month / 12;
	double		days = years * 365.25 + (horizon->month % 12) * 30.0 +
		(double) horizon->day + (double) horizon->time / CLV_USECS_PER_DAY;

	if (!(days >= 0.0 && days <= MAX_HORIZON_DAYS))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("horizon must be between nothing and a thousand years"),
				 errdetail("It has %.6g days.", days),
				 errhint("Pass an interval, for example horizon => '90 days'.")));
	return days / unit_days;
}

/*
 * A yearly discount rate, turned into one compounded continuously over the
 * model's unit of time.  Errors out (LY003) unless it is 0 to 1000.
 */
static double
DiscountIn(double rate, double unit_days)
{
	if (!(rate >= 0.0 && rate <= 1000.0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("discount_rate must be between 0 and 1000, not %g", rate),
				 errdetail("It is a yearly rate: 0.1 makes an order in a year worth 1 / 1.1 of one today."),
				 errhint("Pass a fraction, for example discount_rate => 0.1 for 10 percent.")));
	return log1p(rate) * unit_days / 365.25;
}

/*
 * A forecast as numeric: 15 significant digits; what is below 1e-15 is 0; NaN,
 * where a model has no finite mean, is NULL.
 */
static Datum
Forecast(double value, bool *isnull)
{
	*isnull = isnan(value);
	if (fabs(value) < 1e-15)
		value = 0.0;
	return DirectFunctionCall1(float8_numeric, Float8GetDatum(value));
}

#define RETURN_FORECAST(value) \
	do { \
		bool		isnull_; \
		Datum		result_ = Forecast((value), &isnull_); \
		if (isnull_) \
			PG_RETURN_NULL(); \
		PG_RETURN_DATUM(result_); \
	} while (0)

/* A member's history in the model's unit of time. */
typedef struct Member
{
	double		x;
	double		t_x;
	double		t;
	double		m;
} Member;

static bool
MemberOf(const rfm *summary, TimestampTz as_of, double unit_days, Member *member)
{
	ClvHistory	h;
	double		unit = unit_days * CLV_USECS_PER_DAY;

	if (!ClvHistoryOf(summary, as_of, &h))
		return false;
	member->x = (double) h.x;
	member->t_x = (double) h.t_x / unit;
	member->t = (double) h.t / unit;
	member->m = h.m;
	return true;
}

PG_FUNCTION_INFO_V1(loyalty_p_alive);
/*
 * p_alive(summary rfm, model clv_model, as_of timestamptz) returns numeric
 *
 * Probability, 0 to 1, that the member is still active as of an instant; NULL
 * without a purchase.  Errors: as_of before the last purchase or not finite
 * (LY302), a model without parameters (LY321).
 */
Datum
loyalty_p_alive(PG_FUNCTION_ARGS)
{
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(1);
	ClvCountModel count = CountPart(model);
	Member		member;

	if (!MemberOf(PG_GETARG_RFM_P(0), PG_GETARG_TIMESTAMPTZ(2), model->unit_days, &member))
		PG_RETURN_NULL();
	RETURN_FORECAST(ClvPAlive(&count, member.x, member.t_x, member.t));
}

PG_FUNCTION_INFO_V1(loyalty_expected_orders);
/*
 * expected_orders(summary rfm, model clv_model, horizon interval, as_of
 *				   timestamptz) returns numeric
 *
 * Expected number of orders within the horizon behind as_of; NULL without a
 * purchase.  Errors as of p_alive, and a bad horizon (LY003).
 */
Datum
loyalty_expected_orders(PG_FUNCTION_ARGS)
{
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(1);
	ClvCountModel count = CountPart(model);
	double		horizon = HorizonIn(PG_GETARG_INTERVAL_P(2), model->unit_days);
	Member		member;

	if (!MemberOf(PG_GETARG_RFM_P(0), PG_GETARG_TIMESTAMPTZ(3), model->unit_days, &member))
		PG_RETURN_NULL();
	RETURN_FORECAST(ClvExpectedOrders(&count, member.x, member.t_x, member.t, horizon));
}

PG_FUNCTION_INFO_V1(loyalty_expected_spend);
/*
 * expected_spend(summary rfm, model clv_model) returns numeric
 *
 * Expected amount of an order of the member, in the currency of the summary;
 * NULL without a purchase and where the model has no finite mean.  A model
 * without parameters of spend is an error (LY321).
 */
Datum
loyalty_expected_spend(PG_FUNCTION_ARGS)
{
	rfm		   *summary = PG_GETARG_RFM_P(0);
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(1);
	ClvHistory	h;

	RequireSpendPart(model);
	if (!RFM_HAS_PURCHASE(summary) || !ClvHistoryOf(summary, summary->last, &h))
		PG_RETURN_NULL();
	RETURN_FORECAST(ClvExpectedSpend(model->spend, (double) h.x, h.m));
}

PG_FUNCTION_INFO_V1(loyalty_lifetime_value);
/*
 * lifetime_value(summary rfm, model clv_model, horizon interval, discount_rate
 *				  double precision, as_of timestamptz) returns numeric
 *
 * Expected amount of all orders within the horizon behind as_of, discounted to
 * as_of: expected spend times discounted expected orders.  Errors as of
 * expected_orders and expected_spend, and a bad discount_rate (LY003).
 */
Datum
loyalty_lifetime_value(PG_FUNCTION_ARGS)
{
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(1);
	ClvCountModel count = CountPart(model);
	double		horizon = HorizonIn(PG_GETARG_INTERVAL_P(2), model->unit_days);
	double		discount = DiscountIn(PG_GETARG_FLOAT8(3), model->unit_days);
	Member		member;

	RequireSpendPart(model);
	if (!MemberOf(PG_GETARG_RFM_P(0), PG_GETARG_TIMESTAMPTZ(4), model->unit_days, &member))
		PG_RETURN_NULL();
	RETURN_FORECAST(ClvExpectedSpend(model->spend, member.x, member.m) *
					ClvDiscountedOrders(&count, member.x, member.t_x, member.t, horizon, discount));
}

PG_FUNCTION_INFO_V1(loyalty_clv_forecast);
/*
 * clv_forecast(summary rfm, model clv_model, horizon interval, discount_rate
 *				double precision, as_of timestamptz)
 *		returns (p_alive, expected_orders, expected_spend, lifetime_value numeric)
 *
 * The four in one row; those that need a part of the model that is not fitted
 * are NULL.  NULL as a whole without a purchase.
 */
Datum
loyalty_clv_forecast(PG_FUNCTION_ARGS)
{
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(1);
	double		horizon = HorizonIn(PG_GETARG_INTERVAL_P(2), model->unit_days);
	double		discount = DiscountIn(PG_GETARG_FLOAT8(3), model->unit_days);
	Member		member;
	TupleDesc	desc;
	double		figure[4];
	Datum		values[4];
	bool		nulls[4];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!MemberOf(PG_GETARG_RFM_P(0), PG_GETARG_TIMESTAMPTZ(4), model->unit_days, &member))
		PG_RETURN_NULL();
	figure[0] = figure[1] = figure[3] = get_float8_nan();
	figure[2] = isnan(model->spend[0]) ? get_float8_nan() :
		ClvExpectedSpend(model->spend, member.x, member.m);
	if (!isnan(model->theta[0]))
	{
		ClvCountModel count = CountPart(model);

		figure[0] = ClvPAlive(&count, member.x, member.t_x, member.t);
		figure[1] = ClvExpectedOrders(&count, member.x, member.t_x, member.t, horizon);
		if (!isnan(figure[2]))
			figure[3] = figure[2] * (discount > 0.0 ?
									 ClvDiscountedOrders(&count, member.x, member.t_x, member.t, horizon, discount) :
									 figure[1]);
	}
	for (int i = 0; i < 4; i++)
		values[i] = Forecast(figure[i], &nulls[i]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* The instant so many units after as_of; NULL where that is none. */
static Datum
InstantAfter(TimestampTz as_of, double units, double unit_days, bool *isnull)
{
	double		usecs = units * unit_days * CLV_USECS_PER_DAY;
	TimestampTz at;

	*isnull = !(usecs < (double) END_TIMESTAMP - (double) as_of);
	if (*isnull)
		return (Datum) 0;
	at = as_of + (int64) rint(usecs);
	*isnull = !IS_VALID_TIMESTAMP(at);
	return TimestampTzGetDatum(at);
}

PG_FUNCTION_INFO_V1(loyalty_next_order);
/*
 * next_order(summary rfm, model clv_model, coverage double precision, as_of timestamptz)
 *		returns (p_again numeric, likely_at, earliest_at, latest_at timestamptz)
 *
 * Whether the member will order again, and if so, when: the median, and the
 * middle interval that holds the order with probability coverage.  NULL as a
 * whole without a purchase.  Errors as of p_alive; coverage not above 0 and
 * below 1: LY003.
 */
Datum
loyalty_next_order(PG_FUNCTION_ARGS)
{
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(1);
	ClvCountModel count = CountPart(model);
	double		coverage = PG_GETARG_FLOAT8(2);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(3);
	const double quantile[3] = {0.5, 0.5 - 0.5 * coverage, 0.5 + 0.5 * coverage};
	Member		member;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4];

	if (!(coverage > 0.0 && coverage < 1.0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("coverage must be above 0 and below 1, not %g", coverage),
				 errdetail("It is the probability that the interval holds the next order."),
				 errhint("Pass a fraction, for example coverage => 0.8.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!MemberOf(PG_GETARG_RFM_P(0), as_of, model->unit_days, &member))
		PG_RETURN_NULL();
	values[0] = Forecast(ClvOrderAgain(&count, member.x, member.t_x, member.t), &nulls[0]);
	for (int i = 0; i < 3; i++)
		values[i + 1] = InstantAfter(as_of, ClvNextOrder(&count, member.x, member.t, quantile[i]),
									 model->unit_days, &nulls[i + 1]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PG_FUNCTION_INFO_V1(loyalty_new_member_orders);
/*
 * new_member_orders(model clv_model, horizon interval) returns numeric
 *
 * Expected repeat orders of a member within the horizon behind the first
 * purchase.
 */
Datum
loyalty_new_member_orders(PG_FUNCTION_ARGS)
{
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(0);
	ClvCountModel count = CountPart(model);

	RETURN_FORECAST(ClvNewMemberOrders(&count, HorizonIn(PG_GETARG_INTERVAL_P(1), model->unit_days)));
}

PG_FUNCTION_INFO_V1(loyalty_new_member_probability);
/*
 * new_member_probability(model clv_model, orders bigint, horizon interval)
 *		returns numeric
 *
 * Probability of just so many repeat orders within the horizon behind the first
 * purchase.  orders outside 0 to 1000000 is an error (LY003).
 */
Datum
loyalty_new_member_probability(PG_FUNCTION_ARGS)
{
	ClvModel   *model = PG_GETARG_CLV_MODEL_P(0);
	ClvCountModel count = CountPart(model);
	int64		orders = PG_GETARG_INT64(1);

	if (orders < 0 || orders > 1000000)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("orders must be between 0 and 1000000, not " INT64_FORMAT, orders),
				 errdetail("It is a number of repeat orders."),
				 errhint("Ask for a number of orders that a member can make.")));
	RETURN_FORECAST(ClvNewMemberProbability(&count, (double) orders,
											HorizonIn(PG_GETARG_INTERVAL_P(2), model->unit_days)));
}

PG_FUNCTION_INFO_V1(loyalty_clv_holdout_error);
/*
 * clv_holdout_error(sample clv_sample, model clv_model) returns one row
 *
 * How far a model's forecast is from what the members of a sample did in its
 * holdout: orders and amounts, in all and by member.  A NULL model stands for
 * the naive forecast that each member goes on as before: x / T orders per time,
 * of mean amount m.  A member of age T = 0 has no rate: 0.  Amounts are NULL
 * without parameters of spend.  A sample without a holdout is an error (LY320).
 */
Datum
loyalty_clv_holdout_error(PG_FUNCTION_ARGS)
{
	ClvSample  *sample;
	ClvModel   *model = NULL;
	ClvCountModel count = {0};
	double		unit_days = 7.0;
	double		unit;
	double		horizon;
	int64		members = 0;
	int64		orders = 0;
	ClvSum		expected = {0.0, 0.0};
	ClvSum		absolute = {0.0, 0.0};
	ClvSum		square = {0.0, 0.0};
	ClvSum		amount = {0.0, 0.0};
	ClvSum		expected_amount = {0.0, 0.0};
	TupleDesc	desc;
	Datum		values[10];
	bool		nulls[10] = {false};

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	sample = PG_GETARG_CLV_SAMPLE_P(0);
	if (sample->horizon <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_CLV_HOLDOUT),
				 errmsg("the sample has no holdout"),
				 errdetail("It was made by clv_agg, which knows nothing of what came after as_of."),
				 errhint("Make it with clv_holdout_agg(summary, as_of, held, until).")));
	if (!PG_ARGISNULL(1))
	{
		model = PG_GETARG_CLV_MODEL_P(1);
		count = CountPart(model);
		unit_days = model->unit_days;
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	unit = unit_days * CLV_USECS_PER_DAY;
	horizon = (double) sample->horizon / unit;
	for (int64 i = 0; i < sample->nhistories; i++)
	{
		const ClvHistory *h = &sample->history[i];
		double		n = (double) h->n;
		double		x = (double) h->x;
		double		t = (double) h->t / unit;
		double		e;
		double		spend;
		double		off;

		if (i % 256 == 0)
			CHECK_FOR_INTERRUPTS();
		if (model != NULL)
		{
			e = ClvExpectedOrders(&count, x, (double) h->t_x / unit, t, horizon);
			spend = isnan(model->spend[0]) ? get_float8_nan() : ClvExpectedSpend(model->spend, x, h->m);
		}
		else
		{
			e = h->t > 0 ? x / t * horizon : 0.0;
			spend = h->m;
		}
		off = e - (double) h->held_x;
		members += h->n;
		orders += h->n * h->held_x;
		ClvAdd(&expected, n * e);
		ClvAdd(&absolute, n * fabs(off));
		ClvAdd(&square, n * off * off);
		ClvAdd(&amount, n * h->held_amount);
		ClvAdd(&expected_amount, n * e * spend);
	}

	values[0] = Int64GetDatum(members);
	values[1] = Int64GetDatum(orders);
	values[2] = Forecast(ClvTotal(&expected), &nulls[2]);
	values[3] = Forecast(orders > 0 ? ClvTotal(&expected) / (double) orders - 1.0 : get_float8_nan(), &nulls[3]);
	values[4] = Forecast(ClvTotal(&absolute) / (double) members, &nulls[4]);
	values[5] = Forecast(sqrt(ClvTotal(&square) / (double) members), &nulls[5]);
	values[6] = Forecast(ClvTotal(&amount), &nulls[6]);
	values[7] = Forecast(ClvTotal(&expected_amount), &nulls[7]);
	values[8] = Forecast(ClvTotal(&amount) > 0.0 ? ClvTotal(&expected_amount) / ClvTotal(&amount) - 1.0 :
						 get_float8_nan(), &nulls[8]);
	values[9] = Forecast((double) sample->horizon / CLV_USECS_PER_DAY, &nulls[9]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PG_FUNCTION_INFO_V1(loyalty_clv_histories);
/*
 * clv_histories(sample clv_sample) returns a row for each distinct history, in
 * order: members, repeat_orders, t_x_days, t_days, mean_amount, held_orders,
 * held_amount (of one member); the last two NULL without a holdout.
 */
Datum
loyalty_clv_histories(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	ClvSample  *sample;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc	desc;

		funcctx = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(desc);
		funcctx->user_fctx = ClvCheckSample((ClvSample *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0)));
		MemoryContextSwitchTo(old);
	}
	funcctx = SRF_PERCALL_SETUP();
	sample = funcctx->user_fctx;
	if (funcctx->call_cntr < (uint64) sample->nhistories)
	{
		const ClvHistory *h = &sample->history[funcctx->call_cntr];
		Datum		values[7];
		bool		nulls[7] = {false};

		values[0] = Int64GetDatum(h->n);
		values[1] = Int64GetDatum(h->x);
		values[2] = Forecast((double) h->t_x / CLV_USECS_PER_DAY, &nulls[2]);
		values[3] = Forecast((double) h->t / CLV_USECS_PER_DAY, &nulls[3]);
		values[4] = Forecast(h->x > 0 ? h->m : get_float8_nan(), &nulls[4]);
		values[5] = Int64GetDatum(h->held_x);
		values[6] = Forecast(h->held_amount, &nulls[6]);
		nulls[5] = nulls[6] = sample->horizon == 0;
		SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(funcctx);
}
