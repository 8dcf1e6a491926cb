/*
 * offer_define.c
 *		Offers from their JSON definitions.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"

#include "benefit/define_parts.h"
#include "benefit/offer.h"
#include "benefit/price.h"

#define MOST_USES		INT64CONST(1000000000)
#define MOST_POINTS		INT64CONST(1000000000000)
#define MOST_DAYS		180

static const char *
ReadName(const Place *object, const char *key)
{
	Place		part;

	return GetPart(object, key, &part) ? ReadText(&part) : NULL;
}

/* How many uses; null: as many as one likes. */
static int64
ReadUses(const Place *place)
{
	int64		uses = 0;

	if (place->value.type == jbvNull)
		return QUOTA_UNLIMITED;
	(void) ReadWhole(place, 0, MOST_USES, &uses);
	return uses;
}

static QuotaRow *
AddRow(Offer *offer)
{
	offer->rows = offer->rows == NULL ? palloc(sizeof(QuotaRow)) : repalloc(offer->rows, (offer->nrows + 1) * sizeof(QuotaRow));
	memset(&offer->rows[offer->nrows], 0, sizeof(QuotaRow));
	return &offer->rows[offer->nrows++];
}

/* 4; {"club": {"gold": 4, "platinum": 8}}; [{"when": {...}, "uses": 4}] */
static void
ParseQuota(const Place *whole, Offer *offer)
{
	static const char *const keys[] = {"when", "uses", NULL};
	Place		quota;
	Place		levels;
	Place		part;
	char	   *key;
	int			i = 0;

	if (!GetPart(whole, "quota", &quota))
	{
		Complain(whole, "has no \"quota\"");
		return;
	}
	if (IsArrayPlace(&quota))
	{
		for (int n = 0; n < CountElements(&quota); n++)
		{
			Place		element;
			QuotaRow   *row = AddRow(offer);

			GetElementPlace(&quota, n, &element);
			if (!RequireObject(&element))
				continue;
			RefuseUnknownKeys(&element, keys);
			if (GetPart(&element, "when", &part) && RequireObject(&part))
				row->when = ParseCondition(&part);
			row->uses = QUOTA_UNLIMITED;
			if (GetPart(&element, "uses", &part))
				row->uses = ReadUses(&part);
		}
		if (offer->nrows == 0)
			Complain(&quota, "is empty, so nobody can use it");
	}
	else if (IsObjectPlace(&quota))
	{
		if (!NextKey(&quota, &i, &key, &levels))
		{
			Complain(&quota, "names no ladder");
			return;
		}
		offer->ladder = key;
		if (NextKey(&quota, &i, &key, &part))
			Complain(&part, "is one too many: levels of a quota are of one ladder");
		if (!RequireObject(&levels))
			return;
		i = 0;
		while (NextKey(&levels, &i, &key, &part))
		{
			QuotaRow   *row = AddRow(offer);

			row->level = key;
			row->uses = ReadUses(&part);
		}
		if (offer->nrows == 0)
			Complain(&levels, "names no level");
	}
	else
		AddRow(offer)->uses = ReadUses(&quota);
}

/* "period": "month", or "rolling": "30 days"; "anchor" */
static void
ParsePeriod(const Place *whole, const Benefit *benefit, Offer *offer)
{
	static const char *const anchors[] = {"calendar", "joined", "membership", NULL};
	Place		part;

	offer->period.period = (Period) ReadKeyword(whole, "period", period_names, PERIOD_LIFETIME);
	offer->period.rolling = ReadInterval(whole, "rolling");
	offer->period.zone = pg_tzset(benefit->time_zone);
	offer->anchor = (QuotaAnchor) ReadKeyword(whole, "anchor", anchors, ANCHOR_CALENDAR);
	offer->period.anchored = offer->anchor != ANCHOR_CALENDAR;
	if (offer->period.rolling != NULL && GetPart(whole, "period", &part))
		Complain(&part, "goes without \"rolling\"");
	if (offer->period.rolling != NULL && GetPart(whole, "anchor", &part))
		Complain(&part, "goes with \"period\"");
	if (offer->anchor == ANCHOR_MEMBERSHIP && offer->ladder == NULL && GetPart(whole, "anchor", &part))
		Complain(&part, "is \"membership\", so the quota must be of the levels of a ladder");
}

static void
ParseEntitlement(const Place *whole, const Benefit *benefit, Offer *offer)
{
	static const char *const keys[] = {
		"kind", "available", "time_zone", "quota", "period", "rolling", "anchor", "level", "carry_over", NULL
	};
	static const char *const levels[] = {"current", "best", "joined", NULL};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	ParseQuota(whole, offer);
	ParsePeriod(whole, benefit, offer);
	offer->level = (QuotaLevel) ReadKeyword(whole, "level", levels, LEVEL_CURRENT);
	if (offer->level != LEVEL_CURRENT && offer->ladder == NULL && GetPart(whole, "level", &part))
		Complain(&part, "goes with a quota of the levels of a ladder");
	offer->carry_over = ReadCount(whole, "carry_over", MOST_USES);
	if (offer->carry_over > 0 && (offer->period.rolling != NULL || offer->period.period == PERIOD_LIFETIME) &&
		GetPart(whole, "carry_over", &part))
		Complain(&part, "goes with a \"period\" that another one follows");
}

static void
ParseLines(const Place *whole, Offer *offer)
{
	Place		part;

	if (GetPart(whole, "lines", &part) && RequireObject(&part))
		offer->lines = ParseLineSelector(&part);
}

static void
ParseAccess(const Place *whole, Offer *offer)
{
	static const char *const keys[] = {"kind", "available", "time_zone", "lines", NULL};

	RefuseUnknownKeys(whole, keys);
	ParseLines(whole, offer);
}

static void
ParsePrice(const Place *whole, Benefit *benefit, Offer *offer)
{
	static const char *const keys[] = {"kind", "available", "time_zone", "lines", "price", "percent", "amount", "money", NULL};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	ParseLines(whole, offer);
	if (offer->lines == NULL)
		Complain(whole, "has no \"lines\"");
	offer->price = ReadAmount(whole, "price");
	offer->percent = ReadAmount(whole, "percent");
	offer->amount = ReadAmount(whole, "amount");
	if (GetPart(whole, "price", &part) + GetPart(whole, "percent", &part) + GetPart(whole, "amount", &part) != 1)
		Complain(whole, "must have one of price, percent (less) and amount (less)");
	if (offer->percent > 100 * PERCENT_SCALE && GetPart(whole, "percent", &part))
		Complain(&part, "is more than 100");
	benefit->money = ReadMoney(whole);
}

/*
 * {"coupon": "tea"}, {"entitlement": "lounge", "uses": 2},
 * {"points": 100, "currency": "points"}, {"item": "mug"}
 */
static void
ParseGoods(const Place *whole, const char *key, Goods *goods)
{
	static const char *const keys[] = {"item", "coupon", "entitlement", "uses", "points", "currency", NULL};
	Place		object;
	Place		part;

	goods->quantity = 1;
	if (!GetPart(whole, key, &object) || !RequireObject(&object))
		return;
	RefuseUnknownKeys(&object, keys);
	if (GetPart(&object, "item", &part) + GetPart(&object, "coupon", &part) + GetPart(&object, "entitlement", &part) +
		GetPart(&object, "points", &part) != 1)
		Complain(&object, "must have one of item, coupon, entitlement and points");
	if ((goods->name = ReadName(&object, "coupon")) != NULL)
		goods->kind = GOODS_COUPON;
	else if ((goods->name = ReadName(&object, "entitlement")) != NULL)
	{
		goods->kind = GOODS_USES;
		goods->quantity = Max(1, ReadCount(&object, "uses", MOST_USES));
	}
	else if (GetPart(&object, "points", &part))
	{
		goods->kind = GOODS_POINTS;
		goods->quantity = ReadCount(&object, "points", MOST_POINTS);
		goods->name = ReadName(&object, "currency");
		if (goods->name == NULL)
			goods->name = "points";
	}
	else
		goods->name = ReadName(&object, "item");
	if (goods->kind != GOODS_USES && GetPart(&object, "uses", &part))
		Complain(&part, "goes with entitlement");
	if (goods->kind != GOODS_POINTS && GetPart(&object, "currency", &part))
		Complain(&part, "goes with points");
}

static const char *
ReadCurrency(const Place *whole)
{
	const char *currency = ReadName(whole, "currency");

	return currency == NULL ? "points" : currency;
}

static void
ParseReward(const Place *whole, Benefit *benefit, Offer *offer)
{
	static const char *const keys[] = {
		"kind", "available", "time_zone", "between", "points", "currency", "price", "money", "payment", "stock", "member", "period", "rolling",
		"anchor", "hold", "goods", NULL
	};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	ReadSpanBetween(whole, "between", benefit->time_zone, &benefit->valid_from, &benefit->valid_until);
	ParsePeriod(whole, benefit, offer);
	if (offer->anchor == ANCHOR_MEMBERSHIP)
		Complain(whole, "has an anchor that is for entitlements");
	offer->points = ReadCount(whole, "points", MOST_POINTS);
	offer->currency = ReadCurrency(whole);
	offer->price = ReadAmount(whole, "price");
	offer->payment = ReadName(whole, "payment");
	benefit->money = ReadMoney(whole);
	if (offer->payment != NULL && (offer->price == 0 || offer->points > 0))
		Complain(whole, "has \"payment\", so it has \"price\" and not \"points\": how many are paid is said by the order");
	if (offer->points == 0 && offer->price == 0)
		Complain(whole, "has neither \"points\" nor \"price\"");
	offer->has_stock = ReadCount(whole, "stock", MOST_POINTS) > 0;
	offer->member_limit = ReadCount(whole, "member", PG_INT32_MAX);
	if (offer->member_limit == 0 && (GetPart(whole, "period", &part) || GetPart(whole, "rolling", &part)))
		Complain(&part, "goes with \"member\"");
	offer->hold = ReadInterval(whole, "hold");
	ParseGoods(whole, "goods", &offer->goods);
}

static void
ParsePayment(const Place *whole, Benefit *benefit, Offer *offer)
{
	static const char *const keys[] = {"kind", "available", "time_zone", "points", "currency", "worth", "step", "least", "most", "share", "money", NULL};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	offer->points = ReadCount(whole, "points", MOST_POINTS);
	offer->worth = ReadAmount(whole, "worth");
	if (offer->points == 0 || offer->worth == 0)
		Complain(whole, "must have \"points\", and what they are \"worth\"");
	offer->currency = ReadCurrency(whole);
	offer->step = Max(1, ReadCount(whole, "step", MOST_POINTS));
	offer->least = ReadCount(whole, "least", MOST_POINTS);
	offer->most = ReadCount(whole, "most", MOST_POINTS);
	offer->share = ReadAmount(whole, "share");
	if (offer->share > 100 * PERCENT_SCALE && GetPart(whole, "share", &part))
		Complain(&part, "is more than 100");
	if (offer->most > 0 && offer->most < offer->least)
		Complain(whole, "has \"most\" below \"least\"");
	benefit->money = ReadMoney(whole);
}

/* "05-10" */
static void
ReadMonthDay(const Place *place, Window *window)
{
	const char *text = ReadText(place);
	int			length = 0;

	if (text == NULL)
		return;
	if (sscanf(text, "%2d-%2d%n", &window->month, &window->day, &length) != 2 || length != 5 || text[length] != '\0' ||
		window->month < 1 || window->month > 12 || window->day < 1 || window->day > day_tab[1][window->month - 1])
		Complain(place, "is \"%s\", which is no day of the year such as 05-10", text);
}

static void
ReadWindowDays(const Place *place, Window *window)
{
	Place		ends[2];
	DateADT		days[2];

	if (!RequireArray(place))
		return;
	if (CountElements(place) != 2)
	{
		Complain(place, "must have two days: the first, and the first behind");
		return;
	}
	for (int i = 0; i < 2; i++)
	{
		const char *text;

		GetElementPlace(place, i, &ends[i]);
		text = ReadText(&ends[i]);
		if (text == NULL)
			return;
		if (!TryDate(text, &days[i]))
		{
			Complain(&ends[i], "is \"%s\", which is no day", text);
			return;
		}
	}
	window->from = days[0];
	window->after = (int) Min(days[1] - window->from - 1, PG_INT16_MAX);
	if (window->after < 0)
		Complain(place, "ends before it begins");
}

static void
ReadWindow(const Place *whole, Window *window)
{
	static const char *const occasions[] = {"birthday", "joined", "welcome", "yearly", "monthly", "holiday", "days", NULL};
	static const char *const keys[] = {"before", "after", "leap_day", "on", NULL};
	static const char *const leap_days[] = {"feb28", "mar1", NULL};
	Place		object;
	Place		place;
	Place		part;
	int64		number;
	int			n = 0;

	if (!GetPart(whole, "window", &object))
	{
		Complain(whole, "has no \"window\"");
		return;
	}
	if (!RequireObject(&object))
		return;
	RefuseUnknownKeys(&object, occasions);
	for (int i = 0; occasions[i] != NULL; i++)
	{
		if (!GetPart(&object, occasions[i], &part))
			continue;
		window->occasion = (Occasion) i;
		place = part;
		n++;
	}
	if (n != 1)
	{
		Complain(&object, "must have one occasion");
		return;
	}
	if (window->occasion == OCCASION_DAYS)
	{
		ReadWindowDays(&place, window);
		return;
	}
	if (!RequireObject(&place))
		return;
	RefuseUnknownKeys(&place, keys);
	if (GetPart(&place, "before", &part) && ReadWhole(&part, 0, MOST_DAYS, &number))
		window->before = (int) number;
	if (GetPart(&place, "after", &part) && ReadWhole(&part, 0, window->occasion == OCCASION_WELCOME ? 20 * MOST_DAYS : MOST_DAYS, &number))
		window->after = (int) number;
	window->leap_on_mar1 = ReadKeyword(&place, "leap_day", leap_days, 0) == 1;
	if (window->occasion == OCCASION_YEARLY || window->occasion == OCCASION_MONTHLY || window->occasion == OCCASION_HOLIDAY)
	{
		if (!GetPart(&place, "on", &part))
			Complain(&place, "has no \"on\"");
		else if (window->occasion == OCCASION_YEARLY)
			ReadMonthDay(&part, window);
		else if (window->occasion == OCCASION_HOLIDAY)
			window->holidays = ReadText(&part);
		else if (ReadWhole(&part, 1, 31, &number))
			window->day = (int) number;
	}
	else if (GetPart(&place, "on", &part))
		Complain(&part, "goes with yearly, monthly and holiday");
	if (window->occasion == OCCASION_MONTHLY && window->before + window->after > 26)
		Complain(&place, "is wider than a month");
}

static void
ParseGift(const Place *whole, Offer *offer)
{
	static const char *const keys[] = {"kind", "available", "time_zone", "window", "gives", NULL};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	ReadWindow(whole, &offer->window);
	if (!GetPart(whole, "gives", &part))
		Complain(whole, "has no \"gives\"");
	ParseGoods(whole, "gives", &offer->goods);
}

static void
ParseCard(const Place *whole, Benefit *benefit, Offer *offer)
{
	static const char *const keys[] = {"kind", "time_zone", "currency", "money", "valid", NULL};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	if (!GetPart(whole, "currency", &part))
		Complain(whole, "has no \"currency\", in whose smallest units it is kept");
	offer->currency = ReadCurrency(whole);
	benefit->money = ReadMoney(whole);
	offer->valid = ReadInterval(whole, "valid");
}

/*
 * An offer from its definition, whose kind and time zone are read; what is wrong
 * with it is noted.
 */
Offer *
ParseOffer(const Place *whole, Benefit *benefit)
{
	Offer	   *offer = palloc0(sizeof(Offer));
	Place		part;

	benefit->valid_from = TIMESTAMP_MINUS_INFINITY;
	benefit->valid_until = TIMESTAMP_INFINITY;
	if (GetPart(whole, "available", &part) && RequireObject(&part))
		benefit->available = ParseCondition(&part);
	switch (benefit->kind)
	{
		case BENEFIT_COUPON:
			break;
		case BENEFIT_ENTITLEMENT:
			ParseEntitlement(whole, benefit, offer);
			break;
		case BENEFIT_ACCESS:
			ParseAccess(whole, offer);
			break;
		case BENEFIT_PRICE:
			ParsePrice(whole, benefit, offer);
			break;
		case BENEFIT_REWARD:
			ParseReward(whole, benefit, offer);
			break;
		case BENEFIT_GIFT:
			ParseGift(whole, offer);
			break;
		case BENEFIT_PAYMENT:
			ParsePayment(whole, benefit, offer);
			break;
		case BENEFIT_CARD:
			ParseCard(whole, benefit, offer);
			break;
	}
	return offer;
}
