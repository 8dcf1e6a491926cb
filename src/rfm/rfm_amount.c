/*
 * rfm_amount.c
 *		Exact amounts: between numeric and whole numbers of a decimal unit.
 *
 * numeric offers no public way to its digits, and going through its text took
 * most of the time of rfm_agg.  So the stored form is read here: a header of
 * two bytes (sign, decimals, weight) or four, then groups of four decimal
 * digits, most significant first, without zero groups at either end.  That
 * form is what pg_upgrade carries along, unchanged since PostgreSQL 9.1; the
 * tests compare it with sum(numeric) over every shape of number.  Numbers are
 * written through the public numeric_in.
 */
#include "rfm/rfm.h"

#include "utils/builtins.h"

#include "core/errors.h"

#define GROUP_BASE			10000
#define GROUP_DIGITS		4

/* header bits of a stored numeric */
#define HEAD_KIND			0xC000
#define HEAD_SHORT			0x8000
#define HEAD_SPECIAL		0xC000
#define HEAD_NEGATIVE		0x4000
#define SHORT_NEGATIVE		0x2000
#define SHORT_DECIMALS		0x1F80
#define SHORT_DECIMALS_SHIFT 7
#define SHORT_WEIGHT_SIGN	0x0040
#define SHORT_WEIGHT		0x003F
#define LONG_DECIMALS		0x3FFF

/* 10000^9 fits into 128 bits with room to spare, and 10000^4 into 64 */
#define GROUPS_IN_INT64		4
#define GROUPS_IN_INT128	9

static const int64 group_power[] = {
	INT64CONST(1),
	INT64CONST(10000),
	INT64CONST(100000000),
	INT64CONST(1000000000000),
	INT64CONST(10000000000000000)
};

pg_noreturn static void
SumTooLarge(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_RFM_AMOUNT),
			 errmsg("sum of amounts is out of range"),
			 errdetail("A sum keeps 38 digits, decimals included, in groups of four."),
			 errhint("Round the amounts to the decimals of the currency: round(amount, 2).")));
}

pg_noreturn static void
AmountRefused(Numeric packed, const char *why, const char *hint)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, PointerGetDatum(PG_DETOAST_DATUM(PointerGetDatum(packed)))));

	if (strlen(text) > 60)
		strcpy(text + 57, "...");
	ereport(ERROR,
			(errcode(ERRCODE_LY_RFM_AMOUNT),
			 errmsg("amount %s cannot be summed exactly", text),
			 errdetail("%s", why),
			 errhint("%s", hint)));
}

/* a + b, or an error */
int128
RfmAddUnits(int128 a, int128 b)
{
	int128		sum;

	if (unlikely(__builtin_add_overflow(a, b, &sum)))
		SumTooLarge();
	return sum;
}

/* The same amount in units of more decimals, or an error. */
int128
RfmRescale(int128 units, int from_decimals, int to_decimals)
{
	int			groups = (RfmScale(to_decimals) - RfmScale(from_decimals)) / GROUP_DIGITS;

	for (; groups > 0; groups--)
		if (unlikely(__builtin_mul_overflow(units, (int128) GROUP_BASE, &units)))
			SumTooLarge();
	return units;
}

/*
 * Reads a numeric, which may be packed (not detoasted), as a whole number of
 * 10^-RfmScale(decimals).  Returns its decimals: those it displays, and at most
 * 36.  Refuses NaN, infinity, digits behind the 36th decimal, and what does
 * not fit into 128 bits.
 */
int
RfmUnitsFromNumeric(Numeric packed, int128 *units)
{
	const char *data = VARDATA_ANY(packed);
	int			size = (int) VARSIZE_ANY_EXHDR(packed);
	uint16		head;
	int			decimals;
	int			weight;
	int			ndigits;
	int			groups;			/* in front of the unit */
	int			missing;		/* zero groups behind the last digit */
	bool		negative;
	int16		digit;

	memcpy(&head, data, sizeof(head));
	if ((head & HEAD_KIND) == HEAD_SHORT)
	{
		negative = (head & SHORT_NEGATIVE) != 0;
		decimals = (head & SHORT_DECIMALS) >> SHORT_DECIMALS_SHIFT;
		weight = (int) (head & SHORT_WEIGHT);
		if (head & SHORT_WEIGHT_SIGN)
			weight -= SHORT_WEIGHT + 1;
		data += sizeof(uint16);
		ndigits = (size - (int) sizeof(uint16)) / (int) sizeof(int16);
	}
	else if ((head & HEAD_KIND) == HEAD_SPECIAL)
		AmountRefused(packed, "It is not a finite number.",
					  "Leave such rows out, or correct them.");
	else
	{
		int16		long_weight;

		negative = (head & HEAD_KIND) == HEAD_NEGATIVE;
		decimals = head & LONG_DECIMALS;
		memcpy(&long_weight, data + sizeof(uint16), sizeof(int16));
		weight = long_weight;
		data += sizeof(uint16) + sizeof(int16);
		ndigits = (size - (int) sizeof(uint16) - (int) sizeof(int16)) / (int) sizeof(int16);
	}

	if (unlikely((ndigits - 1 - weight) * GROUP_DIGITS > RFM_MAX_DECIMALS))
		AmountRefused(packed, "It has more than 36 decimals.",
					  "Round the amounts to the decimals of the currency: round(amount, 2).");
	decimals = Min(decimals, RFM_MAX_DECIMALS);
	if (ndigits == 0)
	{
		*units = 0;
		return decimals;
	}

	groups = weight + 1 + RfmScale(decimals) / GROUP_DIGITS;
	missing = groups - ndigits;
	if (likely(groups <= GROUPS_IN_INT64))
	{
		int64		value = 0;

		for (int i = 0; i < ndigits; i++)
		{
			memcpy(&digit, data + i * sizeof(int16), sizeof(int16));
			value = value * GROUP_BASE + digit;
		}
		value *= group_power[missing];
		*units = negative ? -value : value;
	}
	else
	{
		int128		value = 0;

		if (groups > GROUPS_IN_INT128 + 1)
			AmountRefused(packed, "It has more than 38 digits, decimals included.",
						  "Round the amounts to the decimals of the currency: round(amount, 2).");
		for (int i = 0; i < groups; i++)
		{
			digit = 0;
			if (i < ndigits)
				memcpy(&digit, data + i * sizeof(int16), sizeof(int16));
			if (__builtin_mul_overflow(value, (int128) GROUP_BASE, &value) ||
				__builtin_add_overflow(value, (int128) digit, &value))
				AmountRefused(packed, "It has more than 38 digits, decimals included.",
							  "Round the amounts to the decimals of the currency: round(amount, 2).");
		}
		*units = negative ? -value : value;
	}
	return decimals;
}

/*
 * The nearest double, give or take the last bit.  Equal amounts give the same
 * double whatever decimals they carry: large ones shed zeros first.
 */
double
RfmUnitsToDouble(int128 units, int decimals)
{
	int			scale = RfmScale(decimals);
	int128		one = 1;
	int128		whole;

	while (scale > 0 && (units <= -(INT64CONST(1) << 53) || units >= (INT64CONST(1) << 53)) &&
		   units % GROUP_BASE == 0)
	{
		units /= GROUP_BASE;
		scale -= GROUP_DIGITS;
	}
	for (; scale > 0; scale -= GROUP_DIGITS)
		one *= GROUP_BASE;
	if (units > -(INT64CONST(1) << 53) && units < (INT64CONST(1) << 53))
		return (double) units / (double) one;
	whole = units / one;
	return (double) whole + (double) (units - whole * one) / (double) one;
}

/* Writes an amount with its decimals; buf has room for 48 characters. */
void
RfmUnitsToText(int128 units, int decimals, char *buf)
{
	char		digits[48];
	int			n = 0;
	int			drop = RfmScale(decimals) - decimals;
	bool		negative = units < 0;

	/* digits from the last to the first; the scale's surplus zeros first */
	for (; drop > 0; drop--)
		units /= 10;
	while (units != 0 || n <= decimals)
	{
		int			digit = (int) (units % 10);

		digits[n++] = (char) ('0' + abs(digit));
		units /= 10;
	}

	if (negative)
		*buf++ = '-';
	while (n > 0)
	{
		*buf++ = digits[--n];
		if (n == decimals && decimals > 0)
			*buf++ = '.';
	}
	*buf = '\0';
}

/* The amount as numeric, displayed with its decimals. */
Numeric
RfmUnitsToNumeric(int128 units, int decimals)
{
	char		buf[64];

	RfmUnitsToText(units, decimals, buf);
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(buf),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}
