/*
 * activity_amount.c
 *		Amounts and quantities: exact decimal numbers in millionths.
 */
#include "postgres.h"

#include "common/int.h"
#include "common/int128.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "activity/activity.h"
#include "core/compat.h"
#include "core/errors.h"

static const int64 power_of_ten[MICROS_DECIMALS + 1] = {1, 10, 100, 1000, 10000, 100000, 1000000};

pg_noreturn static void
RefuseAmount(const char *what, const char *value, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ACTIVITY),
			 errmsg("%s of an activity %s", what, why),
			 errdetail("It is %s.", value),
			 errhint("Amounts and quantities are from 0 to 9000000000000, with up to %d decimals.", MICROS_DECIMALS)));
}

/*
 * A numeric as millionths.  *decimals becomes at least as many as it shows; what
 * names it in the refusal.
 */
Micros
MicrosFromNumeric(Datum numeric, const char *what, int *decimals)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
	const char *c = text;
	Micros		micros = 0;
	int			places = -1;	/* behind the point; -1: before it */

	if (*c == '-')
		RefuseAmount(what, text, "must not be negative");
	for (; *c; c++)
	{
		if (*c == '.')
		{
			places = 0;
			continue;
		}
		if (*c < '0' || *c > '9')
			RefuseAmount(what, text, "must be finite");
		if (places >= 0 && places == MICROS_DECIMALS)
		{
			if (*c != '0')
				RefuseAmount(what, text, "has too many decimals");
			continue;
		}
		if (places >= 0)
			places++;
		if (pg_mul_s64_overflow(micros, 10, &micros) || pg_add_s64_overflow(micros, *c - '0', &micros))
			RefuseAmount(what, text, "is too large");
	}
	places = Max(places, 0);
	if (pg_mul_s64_overflow(micros, power_of_ten[MICROS_DECIMALS - places], &micros))
		RefuseAmount(what, text, "is too large");
	*decimals = Max(*decimals, places);
	pfree(text);
	return micros;
}

/*
 * Millionths as numeric, with so many decimals, or more where they are needed.
 */
Datum
MicrosToNumeric(Micros micros, int decimals)
{
	int			needed = MICROS_DECIMALS;

	while (needed > 0 && micros % power_of_ten[MICROS_DECIMALS - needed + 1] == 0)
		needed--;
	decimals = Max(Min(decimals, MICROS_DECIMALS), needed);
	return NumericGetDatum(int64_div_fast_to_numeric(micros / power_of_ten[MICROS_DECIMALS - decimals], decimals));
}

/*
 * As text, with as many decimals as are needed.
 */
char *
MicrosText(Micros micros)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, MicrosToNumeric(micros, 0)));
}

Micros
AddMicros(Micros a, Micros b)
{
	Micros		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		RefuseAmount("amount", psprintf("%s + %s", MicrosText(a), MicrosText(b)), "is too large");
	return sum;
}

/*
 * The product, which must have no more decimals than an amount.
 */
Micros
MultiplyMicros(Micros a, Micros b)
{
	int128		product = (int128) a * b;

	if (product % MICROS_PER_UNIT != 0)
		RefuseAmount("amount", psprintf("%s * %s", MicrosText(a), MicrosText(b)), "has too many decimals");
	product /= MICROS_PER_UNIT;
	if (product > PG_INT64_MAX)
		RefuseAmount("amount", psprintf("%s * %s", MicrosText(a), MicrosText(b)), "is too large");
	return (Micros) product;
}

/*
 * amount * part / whole, rounded half up to so many decimals.
 */
Micros
ShareOfMicros(Micros amount, Micros part, Micros whole, int decimals)
{
	int64		unit = power_of_ten[MICROS_DECIMALS - Min(decimals, MICROS_DECIMALS)];
	int128		divisor = (int128) whole * unit;

	if (part == whole)
		return amount;
	/* none is negative, so division cuts off downwards */
	return (Micros) (((int128) amount * part * 2 + divisor) / (2 * divisor)) * unit;
}
