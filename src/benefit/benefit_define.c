/*
 * benefit_define.c
 *		Benefits from their JSON definition, and how long their coupons are
 *		valid.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "benefit/define_parts.h"
#include "benefit/offer.h"
#include "core/compat.h"
#include "core/errors.h"

#define DEFAULT_GROUP		"coupon"
#define DEFAULT_PRIORITY	100
#define MAX_TIMES			1000000

const char *const benefit_kind_names[] = {"coupon", "entitlement", "access", "price", "reward", "gift", "payment", "card", NULL};

/*
 * {"percent": 10, "at_most": 50}, {"amount": 20, "every": 100},
 * {"free": {"sku": "gift", "quantity": 1}},
 * {"percent": 50, "every": 2, "pick": "cheapest"}
 */
static void
ParseDiscount(const Place *whole, Benefit *benefit)
{
	static const char *const keys[] = {"percent", "at_most", "amount", "every", "pick", "free", NULL};
	static const char *const free_keys[] = {"sku", "quantity", NULL};
	static const char *const picks[] = {"cheapest", "dearest", NULL};
	DiscountTerms *terms = &benefit->discount;
	Place		discount;
	Place		part;
	bool		percent;
	bool		amount;
	bool		free;

	if (!GetPart(whole, "discount", &discount))
	{
		Complain(whole, "has no \"discount\"");
		return;
	}
	if (!RequireObject(&discount))
		return;
	RefuseUnknownKeys(&discount, keys);
	percent = GetPart(&discount, "percent", &part);
	amount = GetPart(&discount, "amount", &part);
	free = GetPart(&discount, "free", &part);
	if (percent + amount + free != 1)
	{
		Complain(&discount, "must have one of percent, amount and free");
		return;
	}
	if (!percent && GetPart(&discount, "at_most", &part))
		Complain(&part, "goes with percent");
	if (!percent && GetPart(&discount, "pick", &part))
		Complain(&part, "goes with percent");
	if (percent)
	{
		terms->percent = ReadAmount(&discount, "percent");
		terms->at_most = ReadAmount(&discount, "at_most");
		terms->kind = DISCOUNT_PERCENT;
		if (terms->percent > 100 * PERCENT_SCALE)
		{
			GetPart(&discount, "percent", &part);
			Complain(&part, "is more than 100");
		}
		if (GetPart(&discount, "every", &part) != GetPart(&discount, "pick", &part))
			Complain(&discount, "has \"every\" and \"pick\" together, or neither of them");
		else if (GetPart(&discount, "every", &part))
		{
			terms->kind = DISCOUNT_UNITS;
			terms->units = ReadCount(&discount, "every", PG_INT32_MAX);
			terms->dearest = ReadKeyword(&discount, "pick", picks, 0) == 1;
		}
	}
	else if (amount)
	{
		terms->kind = DISCOUNT_AMOUNT;
		terms->amount = ReadAmount(&discount, "amount");
		terms->every = ReadAmount(&discount, "every");
	}
	else
	{
		terms->kind = DISCOUNT_FREE;
		terms->units = 1;
		if (GetPart(&discount, "every", &part))
			Complain(&part, "goes with percent or amount");
		GetPart(&discount, "free", &discount);
		if (!RequireObject(&discount))
			return;
		RefuseUnknownKeys(&discount, free_keys);
		if (!GetPart(&discount, "sku", &part))
			Complain(&discount, "has no \"sku\"");
		else
			benefit->free_sku = ReadText(&part);
		if (GetPart(&discount, "quantity", &part))
			terms->units = ReadCount(&discount, "quantity", PG_INT32_MAX);
	}
}

static void
ParseConditions(const Place *whole, Benefit *benefit)
{
	Place		part;

	if (GetPart(whole, "lines", &part) && RequireObject(&part))
		benefit->lines = ParseLineSelector(&part);
	if (GetPart(whole, "except", &part) && RequireObject(&part))
		benefit->except = ParseLineSelector(&part);
	if (GetPart(whole, "available", &part) && RequireObject(&part))
		benefit->available = ParseCondition(&part);
}

static void
ParseCoupon(const Place *whole, Benefit *benefit)
{
	static const char *const keys[] = {
		"kind", "discount", "class", "lines", "except", "minimum", "minimum_after", "available", "on_return",
		"valid", "valid_after", "valid_to_end_of", "between", "grace", "time_zone",
		"codes", "times", "member", "total", "exclusive", "priority", "money", NULL
	};
	static const char *const classes[] = {"lines", "order", "shipping", NULL};
	static const char *const returns[] = {"keep", "reevaluate", NULL};
	static const char *const codes[] = {"unique", "generic", "pool", NULL};
	static const char *const ends[] = {"instant", "day", "month", "year", NULL};
	DiscountTerms *terms = &benefit->discount;
	JsonbValue	exclusive;
	int64		number;
	Place		part;

	RefuseUnknownKeys(whole, keys);
	ParseDiscount(whole, benefit);
	ParseConditions(whole, benefit);
	terms->class = ReadKeyword(whole, "class", classes, CLASS_ORDER);
	if (terms->class == CLASS_SHIPPING && terms->kind != DISCOUNT_PERCENT && (terms->kind != DISCOUNT_AMOUNT || terms->every > 0))
		Complain(whole, "takes of shipping a percentage or an amount");
	terms->minimum = ReadAmount(whole, "minimum");
	if (GetPart(whole, "minimum_after", &part))
		terms->minimum_after = ReadBoolean(&part);
	benefit->reevaluate = ReadKeyword(whole, "on_return", returns, 0) == 1;

	benefit->valid = ReadInterval(whole, "valid");
	benefit->valid_after = ReadInterval(whole, "valid_after");
	benefit->valid_to = ReadKeyword(whole, "valid_to_end_of", ends, VALID_TO_INSTANT);
	if (benefit->valid_to != VALID_TO_INSTANT && benefit->valid == NULL)
		Complain(whole, "has \"valid_to_end_of\" and no \"valid\"");
	benefit->grace = ReadInterval(whole, "grace");
	ReadSpanBetween(whole, "between", benefit->time_zone, &benefit->valid_from, &benefit->valid_until);

	benefit->codes = ReadKeyword(whole, "codes", codes, CODES_UNIQUE);
	number = ReadCount(whole, "times", MAX_TIMES);
	benefit->times = number == 0 ? 1 : (int32) number;
	benefit->member_limit = ReadCount(whole, "member", PG_INT32_MAX);
	benefit->has_total = ReadCount(whole, "total", INT64CONST(1000000000000)) > 0;
	terms->priority = DEFAULT_PRIORITY;
	if (GetPart(whole, "priority", &part) && ReadWhole(&part, 0, PG_INT32_MAX, &number))
		terms->priority = (int) number;
	/* null is a group of nobody */
	terms->exclusive = DEFAULT_GROUP;
	if (GetPart(whole, "exclusive", &part))
		terms->exclusive = ReadText(&part);
	else if (getKeyJsonValueFromContainer(whole->value.val.binary.data, "exclusive", strlen("exclusive"), &exclusive) != NULL)
		terms->exclusive = NULL;
	benefit->money = ReadMoney(whole);
}

/*
 * A benefit from its definition (see define_benefit()), in the time zone given
 * where it names none, in the current memory context.  What is wrong with it is
 * noted; then the benefit is of no use.
 */
Benefit *
ParseBenefit(const Jsonb *definition, const char *time_zone, Problems *problems)
{
	Benefit    *benefit = palloc0(sizeof(Benefit));
	int			kind;
	Place		whole;
	Place		part;

	WholeDefinition(&whole, definition, "", problems);
	if (!RequireObject(&whole))
		return benefit;
	benefit->time_zone = time_zone;
	if (GetPart(&whole, "time_zone", &part))
		(void) ReadTimeZone(&part, &benefit->time_zone);
	if (!GetPart(&whole, "kind", &part))
		Complain(&whole, "has no \"kind\"");
	else if ((kind = ReadChoice(&part, benefit_kind_names)) >= 0)
	{
		benefit->kind = (BenefitKind) kind;
		if (benefit->kind == BENEFIT_COUPON)
			ParseCoupon(&whole, benefit);
		else
			benefit->offer = ParseOffer(&whole, benefit);
	}
	return benefit;
}

/* ---------------------------------------------------------------------------
 * Validity
 * ---------------------------------------------------------------------------
 */

static TimestampTz
AddLocally(const Benefit *benefit, TimestampTz at, const Interval *span, const char *end_of)
{
	Datum		zone = CStringGetTextDatum(benefit->time_zone);
	Datum		local = DirectFunctionCall2(timestamptz_zone, zone, TimestampTzGetDatum(at));

	local = DirectFunctionCall2(timestamp_pl_interval, local, IntervalPGetDatum(span));
	if (end_of != NULL)
	{
		Datum		one = DirectFunctionCall3(interval_in, CStringGetDatum(psprintf("1 %s", end_of)),
											  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		Datum		begin = DirectFunctionCall2(timestamp_trunc, CStringGetTextDatum(end_of), local);

		/* what ends with the unit ends there */
		if (DatumGetTimestamp(begin) != DatumGetTimestamp(local))
			local = DirectFunctionCall2(timestamp_pl_interval, begin, one);
	}
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, local));
}

/*
 * From when on, and until when, a coupon is valid that is issued at an instant.
 */
void
BenefitSpan(const Benefit *benefit, TimestampTz at, TimestampTz *valid_from, TimestampTz *valid_until)
{
	static const char *const units[] = {NULL, "day", "month", "year"};

	*valid_from = benefit->valid_after != NULL ? AddLocally(benefit, at, benefit->valid_after, NULL) : at;
	*valid_until = benefit->valid != NULL ? AddLocally(benefit, *valid_from, benefit->valid, units[benefit->valid_to]) : TIMESTAMP_INFINITY;
	*valid_from = Max(*valid_from, benefit->valid_from);
	*valid_until = Min(*valid_until, benefit->valid_until);
}

/*
 * Until when a coupon is valid that is given back at an instant at which its
 * validity is over.
 */
TimestampTz
GraceUntil(const Benefit *benefit, TimestampTz at)
{
	return AddLocally(benefit, at, benefit->grace, NULL);
}
