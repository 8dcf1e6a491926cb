/*
 * exact.c
 *		Fractions of 128 bits.  They are reduced only where they would not fit
 *		otherwise: nearly all have small denominators.
 */
#include "postgres.h"

#include "core/compat.h"
#include "core/errors.h"
#include "rule/exact.h"

pg_noreturn static void
RefuseWorth(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_POINTS_OVERFLOW),
			 errmsg("what an activity is worth is out of range"),
			 errdetail("Amounts, rates and factors multiply to more than can be computed exactly."),
			 errhint("Look whether the activity's amounts are right, or give rates of fewer decimals.")));
}

static int128
GreatestDivisor(int128 a, int128 b)
{
	while (b != 0)
	{
		int128		rest = a % b;

		a = b;
		b = rest;
	}
	return a < 0 ? -a : a;
}

/*
 * The same in lowest terms.
 */
Exact
ReduceExact(Exact a)
{
	int128		divisor = GreatestDivisor(a.num, a.den);

	if (divisor > 1)
	{
		a.num /= divisor;
		a.den /= divisor;
	}
	return a;
}

static bool
TryAdd(Exact a, Exact b, Exact *sum)
{
	int128		x;
	int128		y;

	if (a.den == b.den)
	{
		sum->den = a.den;
		return !__builtin_add_overflow(a.num, b.num, &sum->num);
	}
	return !__builtin_mul_overflow(a.num, b.den, &x) && !__builtin_mul_overflow(b.num, a.den, &y) &&
		!__builtin_add_overflow(x, y, &sum->num) && !__builtin_mul_overflow(a.den, b.den, &sum->den);
}

static bool
TryMultiply(Exact a, Exact b, Exact *product)
{
	return !__builtin_mul_overflow(a.num, b.num, &product->num) && !__builtin_mul_overflow(a.den, b.den, &product->den);
}

Exact
AddExact(Exact a, Exact b)
{
	Exact		sum;

	if (!TryAdd(a, b, &sum) && !TryAdd(ReduceExact(a), ReduceExact(b), &sum))
		RefuseWorth();
	return sum;
}

Exact
MultiplyExact(Exact a, Exact b)
{
	Exact		product;

	if (!TryMultiply(a, b, &product) && !TryMultiply(ReduceExact(a), ReduceExact(b), &product))
		RefuseWorth();
	return product;
}

/*
 * Whether a is more than b.
 */
bool
ExceedsExact(Exact a, Exact b)
{
	return AddExact(a, MakeExact(-b.num, b.den)).num > 0;
}

/*
 * A whole number of points.  Halves go up, or to the even one.
 */
int64
RoundExact(Exact a, Rounding rounding)
{
	int128		whole;
	int128		rest;
	bool		up = false;

	/* nearly always: division of 64 bits is much faster */
	if (a.num == (int64) a.num && a.den == (int64) a.den)
	{
		whole = (int64) a.num / (int64) a.den;
		rest = (int64) a.num % (int64) a.den;
	}
	else
	{
		whole = a.num / a.den;
		rest = a.num % a.den;
	}
	if (rest < 0)
	{
		rest += a.den;
		whole--;
	}
	switch (rounding)
	{
		case ROUND_FLOOR:
			break;
		case ROUND_HALF_UP:
			up = rest >= a.den - rest;
			break;
		case ROUND_HALF_EVEN:
			up = rest > a.den - rest || (rest == a.den - rest && whole % 2 != 0);
			break;
		case ROUND_CEIL:
			up = rest > 0;
			break;
	}
	whole += up;
	if (whole > PG_INT64_MAX / 2 || whole < PG_INT64_MIN / 2)
		RefuseWorth();
	return (int64) whole;
}
