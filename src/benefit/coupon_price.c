/*
 * coupon_price.c
 *		Coupons priced over the lines of an activity.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "benefit/coupon_price.h"
#include "core/compat.h"

/*
 * Makes the basket of an activity, whose amounts are before coupons, in money of
 * so many decimals.
 */
void
MakeBasket(ActivityBasket *made, const Activity *activity, Micros shipping, int decimals)
{
	int64		unit = MICROS_PER_UNIT;
	int			nlines = Max(activity->nlines, 1);

	for (int i = 0; i < Min(decimals, MICROS_DECIMALS); i++)
		unit /= 10;
	made->activity = activity;
	made->lines = palloc0(nlines * sizeof(PriceLine));
	for (int i = 0; i < activity->nlines; i++)
	{
		made->lines[i].amount = activity->lines[i].has_amount ? activity->lines[i].amount : 0;
		made->lines[i].quantity = activity->lines[i].quantity;
	}
	if (activity->nlines == 0)
	{
		made->lines[0].amount = activity->amount;
		made->lines[0].quantity = PRICE_SCALE;
	}
	made->basket.nlines = nlines;
	made->basket.lines = made->lines;
	made->basket.shipping = shipping;
	made->basket.unit = unit;
}

static void
Select(Condition *selector, const Activity *activity, bool *selected)
{
	ConditionSubject subject = {.activity = activity};

	SelectLines(selector, &subject, selected);
}

/*
 * Which lines a benefit means.
 */
static bool *
EligibleLines(const ActivityBasket *made, const Benefit *benefit)
{
	const Activity *activity = made->activity;
	bool	   *eligible = palloc0(made->basket.nlines * sizeof(bool));
	bool	   *excepted = palloc0(made->basket.nlines * sizeof(bool));

	if (activity->nlines == 0)
	{
		eligible[0] = benefit->lines == NULL && benefit->free_sku == NULL;
		return eligible;
	}
	if (benefit->lines != NULL)
		Select(benefit->lines, activity, eligible);
	else
		memset(eligible, true, activity->nlines * sizeof(bool));
	if (benefit->except != NULL)
		Select(benefit->except, activity, excepted);
	for (int i = 0; i < activity->nlines; i++)
	{
		const char *sku = activity->lines[i].sku;

		if (excepted[i] || (benefit->free_sku != NULL && (sku == NULL || strcmp(sku, benefit->free_sku) != 0)))
			eligible[i] = false;
	}
	return eligible;
}

/*
 * What a coupon of a benefit gives on this basket.
 */
void
SetTerms(PriceCoupon *priced, const ActivityBasket *made, const Benefit *benefit, int64 coupon_id)
{
	memset(priced, 0, sizeof(PriceCoupon));
	priced->terms = benefit->discount;
	priced->coupon_id = coupon_id;
	priced->eligible = EligibleLines(made, benefit);
}

/* The place of a line by its number; behind all lines that of shipping. */
static int
PlaceOfLine(const ActivityBasket *made, int32 number)
{
	const Activity *activity = made->activity;

	if (number == 0)
		return made->basket.nlines;
	if (activity->nlines == 0)
		return number == 1 ? 0 : -1;
	for (int i = 0; i < activity->nlines; i++)
	{
		if (activity->lines[i].number == number)
			return i;
	}
	return -1;
}

/*
 * The coupon keeps what it took off each line, as far as that is still there.
 */
void
SetKept(PriceCoupon *priced, const ActivityBasket *made, const LineShare *shares, int nshares)
{
	int64	   *kept = palloc0((made->basket.nlines + 1) * sizeof(int64));

	for (int i = 0; i < nshares; i++)
	{
		int			place = PlaceOfLine(made, shares[i].line);

		if (place >= 0)
			kept[place] = RoundedShare(shares[i].discount,
									   place == made->basket.nlines ? made->basket.shipping : made->lines[place].amount,
									   shares[i].amount, made->basket.unit);
	}
	priced->kept = kept;
}

/*
 * What an activity has beyond its lines; less than 0 where its amount is less
 * than that of them.  Without lines: its amount.
 */
Micros
BeyondLines(const Activity *activity)
{
	Micros		beyond = activity->amount;

	for (int i = 0; i < activity->nlines; i++)
		beyond -= activity->lines[i].amount;
	return beyond;
}

/*
 * Makes the amount of an activity that of its lines and of what it has beyond
 * them; without lines it stays.
 */
void
AddUpAmount(Activity *activity, Micros beyond)
{
	if (activity->nlines == 0)
		return;
	activity->amount = beyond;
	for (int i = 0; i < activity->nlines; i++)
		activity->amount = AddMicros(activity->amount, activity->lines[i].amount);
}

/*
 * Writes what a coupon takes off into the activity, whose amounts are before it.
 */
void
WriteDiscount(Activity *activity, const ActivityBasket *made, const PriceCoupon *priced)
{
	int			decimals = MICROS_DECIMALS;

	if (priced->share == NULL || priced->discount == 0)
		return;
	for (Micros unit = made->basket.unit; unit > 1; unit /= 10)
		decimals--;
	for (int i = 0; i < activity->nlines; i++)
	{
		activity->lines[i].discount += priced->share[i];
		activity->lines[i].amount -= priced->share[i];
	}
	activity->amount = Max(activity->amount - priced->discount, 0);
	activity->lines_changed = activity->nlines > 0;
	activity->decimals = Max(activity->decimals, decimals);
}

/*
 * What a coupon takes off each line, as it is kept: [{"line": 1, "amount": 80,
 * "discount": 13.33}, ...], of the lines of which it takes anything.
 */
Datum
SpreadValue(const ActivityBasket *made, const PriceCoupon *priced)
{
	const Activity *activity = made->activity;
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '[');
	for (int i = 0; i <= made->basket.nlines; i++)
	{
		bool		is_line = i < made->basket.nlines;

		if (priced->share[i] == 0)
			continue;
		appendStringInfo(&text, "%s{\"line\": %d, \"amount\": %s, ", text.len > 1 ? ", " : "",
						 !is_line ? 0 : activity->nlines == 0 ? 1 : activity->lines[i].number,
						 MicrosText(is_line ? made->lines[i].amount : made->basket.shipping));
		appendStringInfo(&text, "\"discount\": %s}", MicrosText(priced->share[i]));
	}
	appendStringInfoChar(&text, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

static Micros
SpreadNumber(JsonbContainer *object, const char *key)
{
	JsonbValue	found;
	int			decimals = 0;

	if (getKeyJsonValueFromContainer(object, key, strlen(key), &found) == NULL || found.type != jbvNumeric)
		elog(ERROR, "a spread has no number \"%s\"", key);
	return MicrosFromNumeric(NumericGetDatum(found.val.numeric), key, &decimals);
}

/*
 * The other way round.
 */
LineShare *
ReadSpread(Datum spread, int *nshares)
{
	JsonbContainer *array = &DatumGetJsonbP(spread)->root;
	LineShare  *shares = palloc(Max(JsonContainerSize(array), 1) * sizeof(LineShare));

	*nshares = (int) JsonContainerSize(array);
	for (int i = 0; i < *nshares; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);

		shares[i].line = (int32) (SpreadNumber(element->val.binary.data, "line") / MICROS_PER_UNIT);
		shares[i].amount = SpreadNumber(element->val.binary.data, "amount");
		shares[i].discount = SpreadNumber(element->val.binary.data, "discount");
	}
	return shares;
}
