/*
 * uplift_compare.c
 *		Arms against the control: differences with intervals.
 *
 * Shares: Newcombe's hybrid score interval (Statistics in Medicine 17, 1998,
 * method 10), which holds also for few members and extreme shares; the test is
 * that of two shares with a pooled variance.  Means: Welch's interval and test.
 * With what was before: the same on amounts less theta times what was before
 * (CUPED, Deng and others, 2013), theta being pooled within the arms.  Relative
 * differences: the delta method on the logarithm.
 */
#include "postgres.h"

#include <math.h>

#include "trial/trial.h"

static double
PowerOfTen(int n)
{
	double		power = 1;

	for (; n > 0; n--)
		power *= 10;
	return power;
}

/*
 * The sum of (a - mean of a) * (b - mean of b) of some members: exactly, as
 * n times the sum of products less the product of the sums, then rounded once.
 */
static double
Codeviation(int64 members, int128 a, int128 b, const Wide *products, int scale)
{
	Wide		exact = {{0}};
	Wide		all = *products;

	WideAddProduct(&exact, a, b);
	WideNegate(&exact);
	WideMultiply(&all, (uint64) members);
	WideAdd(&exact, &all);
	return WideToDouble(&exact) / PowerOfTen(scale) / (double) members;
}

/*
 * What the arms are like; figures has room for all of them.
 */
void
DescribeArms(const Uplift *u, ArmFigures *figures)
{
	int			scale = RfmScale(u->decimals);
	int			before_scale = RfmScale(u->before_decimals);
	double		theta = 0;
	double		before_mean = 0;

	if (u->kind == UPLIFT_CUPED)
	{
		double		together = 0;
		double		alone = 0;
		int128		before = 0;
		int64		members = 0;

		for (int i = 0; i < u->narms; i++)
		{
			const UpliftArm *a = &u->arms[i];

			if (a->members == 0)
				continue;
			together += Codeviation(a->members, a->sum, a->before, &a->products, scale + before_scale);
			alone += Codeviation(a->members, a->before, a->before, &a->before_squares, 2 * before_scale);
			before = RfmAddUnits(before, a->before);
			members += a->members;
		}
		/* nobody differs from others: there is nothing to adjust by */
		if (alone > 0)
			theta = together / alone;
		before_mean = RfmUnitsToDouble(before, u->before_decimals) / (double) members;
	}

	for (int i = 0; i < u->narms; i++)
	{
		const UpliftArm *a = &u->arms[i];
		ArmFigures *f = &figures[i];
		double		n = (double) a->members;

		f->members = a->members;
		f->mean = f->variance = NAN;
		if (a->members == 0)
			continue;
		f->mean = RfmUnitsToDouble(a->sum, u->decimals) / n;
		if (u->kind == UPLIFT_SHARE)
		{
			f->variance = f->mean * (1 - f->mean);
			continue;
		}
		if (a->members > 1)
			f->variance = Codeviation(a->members, a->sum, a->sum, &a->squares, 2 * scale) / (n - 1);
		if (u->kind == UPLIFT_CUPED)
		{
			f->mean -= theta * (RfmUnitsToDouble(a->before, u->before_decimals) / n - before_mean);
			if (a->members > 1)
				f->variance += (theta * theta * Codeviation(a->members, a->before, a->before, &a->before_squares, 2 * before_scale) -
								2 * theta * Codeviation(a->members, a->sum, a->before, &a->products, scale + before_scale)) / (n - 1);
			/* all of it was known before, and rounding went below */
			if (f->variance < 0)
				f->variance = 0;
		}
	}
}

/* Wilson's score interval of a share. */
static void
ScoreInterval(double share, double n, double z, double *low, double *high)
{
	double		square = z * z;
	double		middle = share + square / (2 * n);
	double		half = z * sqrt(share * (1 - share) / n + square / (4 * n * n));

	*low = Max(0, (middle - half) / (1 + square / n));
	*high = Min(1, (middle + half) / (1 + square / n));
	/* where rounding would leave the share outside */
	*low = Min(*low, share);
	*high = Max(*high, share);
}

static void
CompareShares(const ArmFigures *arm, const ArmFigures *control, double z, ArmDifference *result)
{
	double		n1 = (double) arm->members;
	double		n2 = (double) control->members;
	double		pooled = (arm->mean * n1 + control->mean * n2) / (n1 + n2);
	double		error = sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2));
	double		low1,
				high1,
				low2,
				high2;

	ScoreInterval(arm->mean, n1, z, &low1, &high1);
	ScoreInterval(control->mean, n2, z, &low2, &high2);
	result->low = result->difference - hypot(arm->mean - low1, high2 - control->mean);
	result->high = result->difference + hypot(high1 - arm->mean, control->mean - low2);
	result->p_value = 2 * NormalBeyond(fabs(result->difference / error));
}

/*
 * An arm against the control, with intervals of a level such as .95.  What
 * cannot be told comes out as NaN: nobody has no mean, one has no variance, and
 * where nobody differs it is 0 / 0.
 */
void
CompareArms(UpliftKind kind, const ArmFigures *arm, const ArmFigures *control, double level, ArmDifference *result)
{
	double		part1 = arm->variance / (double) arm->members;
	double		part2 = control->variance / (double) control->members;
	double		error = sqrt(part1 + part2);
	double		quantile = NormalQuantile((1 - level) / 2);

	result->difference = arm->mean - control->mean;
	result->relative = result->relative_low = result->relative_high = NAN;
	if (kind == UPLIFT_SHARE)
		CompareShares(arm, control, quantile, result);
	else
	{
		double		df = (part1 + part2) * (part1 + part2) /
			(part1 * part1 / (double) (arm->members - 1) + part2 * part2 / (double) (control->members - 1));

		quantile = StudentQuantile(1 - level, df);
		result->low = result->difference - quantile * error;
		result->high = result->difference + quantile * error;
		result->p_value = StudentBeyond(result->difference / error, df);
	}

	/* of nothing, or less, nothing is a multiple */
	if (arm->mean > 0 && control->mean > 0)
	{
		double		ratio = arm->mean / control->mean;
		double		relative_error = sqrt(part1 / (arm->mean * arm->mean) + part2 / (control->mean * control->mean));

		result->relative = ratio - 1;
		result->relative_low = ratio * exp(-quantile * relative_error) - 1;
		result->relative_high = ratio * exp(quantile * relative_error) - 1;
	}
}
