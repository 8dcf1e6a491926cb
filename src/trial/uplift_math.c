/*
 * uplift_math.c
 *		The normal, Student's and the chi-square distribution.
 *
 * Plain C: everything is computed from its arguments alone, in one fixed order
 * of operations, so equal arguments give equal bits.  The incomplete beta and
 * gamma functions are continued fractions by the method of Lentz; see
 * Abramowitz and Stegun, Handbook of Mathematical Functions, 6.5 and 26.5.
 */
#include "postgres.h"

#include <math.h>

#include "clv/clv_math.h"
#include "trial/trial.h"

#define MOST_STEPS		100000
#define SMALLEST		1e-300

/* From here on Student's distribution is the normal one, to all its digits that matter. */
#define MOST_DF			1e8

/* The probability of a normal number beyond z, on one side. */
double
NormalBeyond(double z)
{
	return 0.5 * erfc(z * M_SQRT1_2);
}

/*
 * The z beyond which a normal number is with a probability, on one side; 0 <
 * beyond <= 0.5.  By Newton's method, which climbs from 0 without stepping over,
 * since the density only falls.
 */
double
NormalQuantile(double beyond)
{
	double		z = 0;
	double		step;

	do
	{
		double		density = exp(-z * z / 2) * 0.39894228040143267794;

		step = (NormalBeyond(z) - beyond) / density;
		z += step;
	} while (step > 1e-15 * z);
	return z;
}

static double
NotZero(double x)
{
	return fabs(x) < SMALLEST ? SMALLEST : x;
}

/* The continued fraction of the incomplete beta function (26.5.8). */
static double
BetaFraction(double x, double a, double b)
{
	double		c = 1;
	double		d = 1 / NotZero(1 - (a + b) * x / (a + 1));
	double		f = d;

	for (int m = 1; m <= MOST_STEPS; m++)
	{
		double		even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double		odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		double		change;

		d = 1 / NotZero(1 + even * d);
		c = NotZero(1 + even / c);
		f *= d * c;
		d = 1 / NotZero(1 + odd * d);
		c = NotZero(1 + odd / c);
		change = d * c;
		f *= change;
		if (!(fabs(change - 1) >= 1e-15))
			break;
	}
	return f;
}

/* The regularized incomplete beta function, y being 1 - x. */
static double
BetaShare(double x, double y, double a, double b)
{
	double		front = exp(a * log(x) + b * log(y) - ClvLogBeta(a, b));

	if (x < (a + 1) / (a + b + 2))
		return front * BetaFraction(x, a, b) / a;
	return 1 - front * BetaFraction(y, b, a) / b;
}

/*
 * The probability of one of Student's numbers beyond t, on both sides together.
 */
double
StudentBeyond(double t, double df)
{
	double		square = t * t;

	if (df > MOST_DF)
		return 2 * NormalBeyond(fabs(t));
	return BetaShare(df / (df + square), square / (df + square), df / 2, 0.5);
}

/*
 * The t beyond which one of Student's numbers is with a probability, on both
 * sides together; 0 < beyond < 1.  By Newton's method from that of a normal
 * number, which is never beyond it.
 */
double
StudentQuantile(double beyond, double df)
{
	double		t = NormalQuantile(beyond / 2);
	double		step;

	if (df > MOST_DF)
		return t;
	do
	{
		double		density = exp(-ClvLogBeta(df / 2, 0.5) - (df + 1) / 2 * log1p(t * t / df)) / sqrt(df);

		step = (StudentBeyond(t, df) - beyond) / (2 * density);
		t += step;
	} while (step > 1e-15 * t);
	return t;
}

/*
 * The probability of a chi-square number beyond x: the regularized incomplete
 * gamma function, as a series (6.5.29) or a continued fraction (6.5.31).
 */
double
ChiSquareBeyond(double x, double df)
{
	double		a = df / 2;
	double		front;

	x /= 2;
	front = exp(a * log(x) - x - lgamma(a));
	if (x < a + 1)
	{
		double		term = 1 / a;
		double		sum = term;

		for (int n = 1; n <= MOST_STEPS && term > sum * 1e-16; n++)
		{
			term *= x / (a + n);
			sum += term;
		}
		return 1 - front * sum;
	}
	else
	{
		double		b = x + 1 - a;
		double		c = 1 / SMALLEST;
		double		d = 1 / b;
		double		f = d;

		for (int n = 1; n <= MOST_STEPS; n++)
		{
			double		part = -n * (n - a);
			double		change;

			b += 2;
			d = 1 / NotZero(part * d + b);
			c = NotZero(b + part / c);
			change = d * c;
			f *= change;
			if (fabs(change - 1) < 1e-15)
				break;
		}
		return front * f;
	}
}
