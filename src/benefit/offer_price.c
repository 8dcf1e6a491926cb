/*
 * offer_price.c
 *		What goods cost a member, and what it has access to.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "benefit/benefit_call.h"
#include "benefit/gate.h"
#include "benefit/offer.h"
#include "core/compat.h"
#include "core/errors.h"

/*
 * has_access(member_id bigint, benefit text, at timestamptz) -> boolean
 */
PG_FUNCTION_INFO_V1(loyalty_has_access);
Datum
loyalty_has_access(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz at = AsOfArgument(fcinfo, 2);
	const Benefit *benefit;
	Asker		asker;
	bool		has;

	RequireArgument(fcinfo, 1, "benefit");
	BeginRead();
	benefit = BenefitInForce(TextArgument(fcinfo, 1), at);
	if (benefit->kind == BENEFIT_COUPON || benefit->kind == BENEFIT_ENTITLEMENT || benefit->kind == BENEFIT_CARD)
		(void) BenefitOfKind(benefit->name, BENEFIT_ACCESS, at);
	InitAsker(&asker, member_id, at, true);
	has = at >= benefit->valid_from && at < benefit->valid_until && Meets(&asker, benefit, benefit->available, NULL);
	SPI_finish();
	PG_RETURN_BOOL(has);
}

/* Whether goods are meant; those of which the catalogue knows too little are not. */
static bool
MeansGoods(const Offer *offer, const Activity *goods)
{
	ConditionSubject subject = {.activity = goods};

	return offer->lines != NULL && EvaluateCondition(offer->lines, &subject) == TRUTH_YES;
}

static Micros
PriceFor(const Offer *offer, Micros list_price, int decimals)
{
	if (offer->price > 0)
		return offer->price;
	if (offer->amount > 0)
		return Max(0, list_price - offer->amount);
	return list_price - ShareOfMicros(list_price, offer->percent, 100 * PERCENT_SCALE, decimals);
}

/*
 * price_of(member_id bigint, sku text, list_price numeric, at timestamptz, money text)
 * -> (price numeric, why text)
 */
PG_FUNCTION_INFO_V1(loyalty_price_of);
Datum
loyalty_price_of(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz at = AsOfArgument(fcinfo, 3);
	ActivityLine line = {.number = 1,.quantity = MICROS_PER_UNIT,.has_amount = true};
	Activity	goods = {.member_id = member_id,.kind = "",.at = at,.has_amount = true,.nlines = 1,.lines = &line};
	const char *why = "list_price";
	const char *closed_by = NULL;
	bool		opened = false;
	int			decimals;
	Micros		price;
	Datum		values[2];
	bool		nulls[2] = {false};
	Asker		asker;
	ListCell   *cell;

	RequireArgument(fcinfo, 1, "sku");
	line.sku = TextArgument(fcinfo, 1);
	line.amount = goods.amount = price = AmountArgument(fcinfo, 2, "list_price", &decimals);
	goods.money = TextArgument(fcinfo, 4);
	BeginRead();
	goods.decimals = decimals;
	decimals = MoneyDecimals(&goods);
	InitAsker(&asker, member_id, at, true);
	goods.time_zone = GetProgram()->time_zone;
	FillInProducts(&goods, NULL);
	foreach(cell, BenefitsOfKind(BENEFIT_PRICE, at))
	{
		const Benefit *benefit = lfirst(cell);
		Micros		offered;

		if (!MeansGoods(benefit->offer, &goods) ||
			(benefit->money != NULL && goods.money != NULL && strcmp(benefit->money, goods.money) != 0))
			continue;
		offered = PriceFor(benefit->offer, line.amount, decimals);
		if (offered < price && Meets(&asker, benefit, benefit->available, NULL))
		{
			price = offered;
			why = benefit->name;
		}
	}
	foreach(cell, BenefitsOfKind(BENEFIT_ACCESS, at))
	{
		const Benefit *benefit = lfirst(cell);

		if (opened || !MeansGoods(benefit->offer, &goods))
			continue;
		opened = Meets(&asker, benefit, benefit->available, NULL);
		if (closed_by == NULL)
			closed_by = benefit->name;
	}
	if (closed_by != NULL && !opened)
	{
		nulls[0] = true;
		why = closed_by;
	}
	values[0] = nulls[0] ? (Datum) 0 : SPI_datumTransfer(MicrosToNumeric(price, decimals), false, -1);
	values[1] = SPI_datumTransfer(CStringGetTextDatum(why), false, -1);
	SPI_finish();
	return ResultRow(fcinfo, values, nulls);
}
