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
 * Reads a usual amount as it is stored: not negative, below 10^12, of at most 6
 * decimals.  False: it is another one.
 *
 * What is stored is the same in all versions: a header of 16 bits (which form it
 * has, its sign, decimals, and the weight of the first digit), and digits to the
 * base of 10000.
 */
static bool
ReadStoredAmount(Datum numeric, Micros *micros, int *places)
{
	static const int64 worth[] = {INT64CONST(100000000000000), INT64CONST(10000000000), 1000000, 100};
	struct varlena *stored = (struct varlena *) DatumGetPointer(numeric);
	const char *data;
	uint16		header;
	int			weight;
	int			n;

	if (VARATT_IS_EXTERNAL(stored) || VARATT_IS_COMPRESSED(stored))
		return false;
	data = VARDATA_ANY(stored);
	memcpy(&header, data, sizeof(header));
	/* of the short form, and not negative */
	if ((header & 0xE000) != 0x8000)
		return false;
	*places = (header & 0x1F80) >> 7;
	weight = (header & 0x003F) - (header & 0x0040);
	n = ((int) VARSIZE_ANY_EXHDR(stored) - (int) sizeof(header)) / (int) sizeof(int16);
	*micros = 0;
	if (*places > MICROS_DECIMALS || weight > 2)
		return false;
	for (int i = 0; i < n; i++)
	{
		int16		digit;
		int			place = weight - i;

		memcpy(&digit, data + sizeof(header) + i * sizeof(digit), sizeof(digit));
		if (place >= -1)
			*micros += digit * worth[2 - place];
		else if (place == -2)
			*micros += digit / 100;
	}
	return true;
}

/*
 * A usual amount as millionths; false where MicrosFromNumeric() has to be asked.
 */
bool
UsualMicros(Datum numeric, Micros *micros, int *decimals)
{
	int			places;

	if (!ReadStoredAmount(numeric, micros, &places))
		return false;
	*decimals = Max(*decimals, places);
	return true;
}

/*
 * A numeric as millionths.  *decimals becomes at least as many as it shows; what
 * names it in the refusal.
 */
Micros
MicrosFromNumeric(Datum numeric, const char *what, int *decimals)
{
	char	   *text;
	const char *c;
	Micros		micros = 0;
	int			places = -1;	/* behind the point; -1: before it */

	if (UsualMicros(numeric, &micros, decimals))
		return micros;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
	c = text;
	micros = 0;
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
