/*
 * trial_wide.c
 *		Numbers of 256 bits: sums of squares and products of amounts.
 *
 * Plain C.  An amount has up to 38 digits, a product of two up to 76; a sum
 * that leaves 256 bits is refused.
 */
#include "trial/trial.h"

#include "core/errors.h"

pg_noreturn static void
WideOverflow(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_RFM_AMOUNT),
			 errmsg("sum of squares of amounts is out of range"),
			 errdetail("It keeps 76 digits, decimals included."),
			 errhint("Round the amounts to the decimals of the currency: round(amount, 2).")));
}

/* Adds parts with carry, and looks whether the sign came out right. */
void
WideAdd(Wide *sum, const Wide *more)
{
	bool		negative = WideIsNegative(sum);
	bool		same = negative == WideIsNegative(more);
	uint128		carry = 0;

	for (int i = 0; i < 4; i++)
	{
		carry += (uint128) sum->part[i] + more->part[i];
		sum->part[i] = (uint64) carry;
		carry >>= 64;
	}
	if (unlikely(same && WideIsNegative(sum) != negative))
		WideOverflow();
}

void
WideNegate(Wide *number)
{
	uint128		carry = 1;

	for (int i = 0; i < 4; i++)
	{
		carry += (uint64) ~number->part[i];
		number->part[i] = (uint64) carry;
		carry >>= 64;
	}
}

static uint128
Magnitude(int128 number)
{
	return number < 0 ? -(uint128) number : (uint128) number;
}

/*
 * sum += a * b.  Amounts that fit into 64 bits, nearly all there are, take one
 * multiplication.
 */
void
WideAddProduct(Wide *sum, int128 a, int128 b)
{
	Wide		product;

	if (likely(a == (int64) a && b == (int64) b))
	{
		int128		small = (int128) (int64) a * (int64) b;

		product.part[0] = (uint64) small;
		product.part[1] = (uint64) (small >> 64);
		product.part[2] = product.part[3] = small < 0 ? PG_UINT64_MAX : 0;
	}
	else
	{
		uint128		x = Magnitude(a);
		uint128		y = Magnitude(b);
		uint128		low = (uint128) (uint64) x * (uint64) y;
		uint128		high = (x >> 64) * (y >> 64);
		uint128		one = (x >> 64) * (uint64) y;
		uint128		other = (uint64) x * (y >> 64);
		uint128		middle = (low >> 64) + (uint64) one + (uint64) other;

		high += (one >> 64) + (other >> 64) + (middle >> 64);
		product.part[0] = (uint64) low;
		product.part[1] = (uint64) middle;
		product.part[2] = (uint64) high;
		product.part[3] = (uint64) (high >> 64);
		if ((a ^ b) < 0)
			WideNegate(&product);
	}
	WideAdd(sum, &product);
}

void
WideMultiply(Wide *number, uint64 factor)
{
	bool		negative = WideIsNegative(number);
	uint128		carry = 0;

	if (negative)
		WideNegate(number);
	for (int i = 0; i < 4; i++)
	{
		carry += (uint128) number->part[i] * factor;
		number->part[i] = (uint64) carry;
		carry >>= 64;
	}
	if (unlikely(carry != 0 || WideIsNegative(number)))
		WideOverflow();
	if (negative)
		WideNegate(number);
}

/* The nearest double, give or take the last bit. */
double
WideToDouble(const Wide *number)
{
	Wide		size = *number;
	double		result = 0;

	if (WideIsNegative(number))
		WideNegate(&size);
	for (int i = 3; i >= 0; i--)
		result = result * 18446744073709551616.0 + (double) size.part[i];
	return WideIsNegative(number) ? -result : result;
}

/* In decimal digits; text has room for 80 bytes. */
void
WideToText(const Wide *number, char *text)
{
	Wide		rest = *number;
	char		digits[80];
	int			n = 0;
	bool		more;

	if (WideIsNegative(number))
	{
		WideNegate(&rest);
		*text++ = '-';
	}
	do
	{
		uint128		remainder = 0;

		more = false;
		for (int i = 3; i >= 0; i--)
		{
			remainder = (remainder << 64) | rest.part[i];
			rest.part[i] = (uint64) (remainder / 10);
			remainder %= 10;
			more = more || rest.part[i] != 0;
		}
		digits[n++] = (char) ('0' + (int) remainder);
	} while (more);
	while (n > 0)
		*text++ = digits[--n];
	*text = '\0';
}

/* Reads what WideToText() writes, and goes behind it; false: it is something else. */
bool
WideFromText(const char **text, Wide *number)
{
	bool		negative = **text == '-';
	const char *first;

	*text += negative;
	first = *text;
	memset(number, 0, sizeof(Wide));
	for (; **text >= '0' && **text <= '9'; (*text)++)
	{
		uint128		carry = (uint128) (**text - '0');

		for (int i = 0; i < 4; i++)
		{
			carry += (uint128) number->part[i] * 10;
			number->part[i] = (uint64) carry;
			carry >>= 64;
		}
		if (carry != 0 || WideIsNegative(number))
			return false;
	}
	if (*text == first || (*first == '0' && (*text > first + 1 || negative)))
		return false;
	if (negative)
		WideNegate(number);
	return true;
}
