/*
 * uplift_report.c
 *		What values of type uplift say: uplift_report() and sample_ratio().
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "utils/array.h"

#include "core/core.h"
#include "core/errors.h"
#include "trial/trial.h"

/* From below this on the arms are not as large as they should be. */
#define BROKEN_BELOW	0.001

static void
PutNumber(Datum *values, bool *nulls, int column, double number)
{
	nulls[column] = isnan(number);
	values[column] = Float8GetDatum(number);
}

/*
 * uplift_report(u uplift, level double precision)
 * returns setof (arm, members, mean, variance, difference, low, high, p_value,
 * relative, relative_low, relative_high, method)
 *		A row for each arm, and what it has more than arm 0.  What cannot be told
 *		is NULL.  LY003 for a level that is not between 0 and 1.
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_report);
Datum
loyalty_uplift_report(PG_FUNCTION_ARGS)
{
	static const char *const methods[] = {NULL, "newcombe", "welch", "cuped"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Uplift	   *u = PG_GETARG_UPLIFT(0);
	double		level = PG_GETARG_FLOAT8(1);
	ArmFigures	figures[TRIAL_MAX_ARMS];

	if (!(level > 0 && level < 1))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("level must be between 0 and 1"),
				 errdetail("It is %g.", level),
				 errhint("It is how often an interval holds what is true, such as 0.95.")));
	InitReturnSet(fcinfo);
	DescribeArms(u, figures);
	for (int i = 0; i < u->narms; i++)
	{
		Datum		values[12];
		bool		nulls[12] = {false};
		ArmDifference d = {NAN, NAN, NAN, NAN, NAN, NAN, NAN};

		if (i > 0)
			CompareArms(u->kind, &figures[i], &figures[0], level, &d);
		values[0] = Int32GetDatum(i);
		values[1] = Int64GetDatum(figures[i].members);
		PutNumber(values, nulls, 2, figures[i].mean);
		PutNumber(values, nulls, 3, figures[i].variance);
		PutNumber(values, nulls, 4, d.difference);
		PutNumber(values, nulls, 5, d.low);
		PutNumber(values, nulls, 6, d.high);
		PutNumber(values, nulls, 7, d.p_value);
		PutNumber(values, nulls, 8, d.relative);
		PutNumber(values, nulls, 9, d.relative_low);
		PutNumber(values, nulls, 10, d.relative_high);
		PutText(values, nulls, 11, methods[u->kind]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * sample_ratio(u uplift, shares numeric[])
 * returns (chi_square, p_value, broken)
 *		Whether the arms are as large as their shares say, by Pearson's test.
 *		LY802 for shares that are none, or fewer than there are arms.
 */
PG_FUNCTION_INFO_V1(loyalty_sample_ratio);
Datum
loyalty_sample_ratio(PG_FUNCTION_ARGS)
{
	Uplift	   *u = PG_GETARG_UPLIFT(0);
	int			until[TRIAL_MAX_ARMS];
	int			narms = ReadShares(PG_GETARG_ARRAYTYPE_P(1), until);
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {false};
	double		members = 0;
	double		chi_square = 0;
	double		p_value;

	if (u->narms > narms)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_SHARES),
				 errmsg("there are %d arms and %d shares", u->narms, narms),
				 errdetail("Each arm has a share, the control the first."),
				 errhint("Give the shares by which members were assigned.")));
	for (int i = 0; i < u->narms; i++)
		members += (double) u->arms[i].members;
	for (int i = 0; i < narms; i++)
	{
		double		expected = members * (until[i] - (i > 0 ? until[i - 1] : 0)) / TRIAL_POSITIONS;
		double		more = (i < u->narms ? (double) u->arms[i].members : 0) - expected;

		chi_square += more * more / expected;
	}
	p_value = ChiSquareBeyond(chi_square, narms - 1);
	values[0] = Float8GetDatum(chi_square);
	values[1] = Float8GetDatum(p_value);
	values[2] = BoolGetDatum(p_value < BROKEN_BELOW);

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "sample_ratio() does not return a row");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}
