/*
 * coupon_activity.c
 *		Coupons that are redeemed with an activity, and follow it.
 *
 * Redeemed coupons are those whose codes are given with the activity.  When it
 * is revised or returned in part, each takes off what it took off the lines that
 * are left, or what it gives on them, as its definition says (on_return).  One
 * that has nothing left to give, and all when the activity is cancelled or wholly
 * returned, are restored; with the activity they come back, whatever their
 * validity, since they were promised.
 *
 * The discount stands in the lines and in the activity's amount.  What coupons
 * took off is in their acts: each says what it takes off since then.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "benefit/coupon.h"
#include "benefit/coupon_price.h"
#include "core/compat.h"

/* A coupon that an activity has, had, or is to have. */
typedef struct OrderCoupon
{
	Coupon		coupon;
	bool		is_new;			/* redeemed by this change */
	bool		held;			/* redeemed before it */
	bool		had;			/* or restored with the activity */
	bool		wanted;			/* is to be redeemed after it */
	LineShare  *basis;			/* what it took off when it was redeemed */
	int			nbasis;
	Datum		spread;			/* what it took off before this change */
	CouponActKind act;			/* what becomes of it; COUPON_ISSUED: nothing */
	PriceCoupon priced;
} OrderCoupon;

/* What price() found out, for stored(). */
typedef struct Order
{
	ActivityChange *change;
	ActivityBasket made;
	int			n;
	OrderCoupon *coupons;
} Order;

/* Of the change that is being priced, until it is stored; one at a time */
static Order order;

/* ---------------------------------------------------------------------------
 * Which coupons
 * ---------------------------------------------------------------------------
 */

/*
 * Reads the coupons that the activity has or had, by their acts, and locks them.
 */
static void
ReadOrderCoupons(int64 activity_id)
{
	static KeptPlan plan = {
		.query = "SELECT a.member_id, a.coupon_id, a.kind, a.spread FROM loyalty.coupon_act a "
		"WHERE a.activity_id OPERATOR(pg_catalog.=) $1 ORDER BY a.coupon_id, a.act",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(activity_id);

	RunPlan(&plan, &value, NULL, 0);
	order.coupons = palloc0(Max(SPI_processed, 1) * sizeof(OrderCoupon));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;
		int64		coupon_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 2, &isnull));
		CouponActKind kind = CouponActOfName(SPI_getvalue(row, tupdesc, 3));
		Datum		spread = SPI_getbinval(row, tupdesc, 4, &isnull);
		OrderCoupon *it;

		if (order.n == 0 || order.coupons[order.n - 1].coupon.coupon_id != coupon_id)
			order.coupons[order.n++].coupon.coupon_id = coupon_id;
		it = &order.coupons[order.n - 1];
		it->coupon.member_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 1, &isnull));
		it->held = kind == COUPON_REDEEMED || kind == COUPON_REDEEMED_AGAIN || kind == COUPON_REPRICED;
		it->had = it->wanted = kind != COUPON_WITHDRAWN && kind != COUPON_DROPPED;
		if (!it->held)
			it->spread = 0;
		else
			it->spread = JsonbPGetDatum(DatumGetJsonbPCopy(spread));
		if (kind == COUPON_REDEEMED)
			it->basis = ReadSpread(it->spread, &it->nbasis);
	}
	for (int i = 0; i < order.n; i++)
	{
		Coupon	   *coupon = &order.coupons[i].coupon;

		if (!LockCoupon(coupon->member_id, coupon->coupon_id, coupon))
			elog(ERROR, "there is no coupon " INT64_FORMAT, coupon->coupon_id);
	}
}

/*
 * The codes that are given are those of all coupons that the activity is to have;
 * the ones that it does not have yet are taken.
 */
static void
TakeGivenCodes(const ActivityChange *change)
{
	const char **codes = palloc(Max(change->ncodes, 1) * sizeof(char *));
	Coupon	   *taken;
	int			ncodes = 0;

	for (int i = 0; i < order.n; i++)
		order.coupons[i].wanted = false;
	for (int i = 0; i < change->ncodes; i++)
	{
		OrderCoupon *has = NULL;

		for (int j = 0; j < order.n && has == NULL; j++)
		{
			if (order.coupons[j].held && IsSameCode(order.coupons[j].coupon.code, change->codes[i]))
				has = &order.coupons[j];
		}
		if (has != NULL)
			has->wanted = true;
		else
			codes[ncodes++] = change->codes[i];
	}
	if (ncodes == 0)
		return;
	taken = palloc0(ncodes * sizeof(Coupon));
	TakeCoupons(change->now->member_id, change->at, change->basket, COUPON_REDEEMED, ncodes, codes, taken);
	order.coupons = order.coupons == NULL ? palloc0(ncodes * sizeof(OrderCoupon)) :
		repalloc(order.coupons, (order.n + ncodes) * sizeof(OrderCoupon));
	for (int i = 0; i < ncodes; i++)
	{
		OrderCoupon *it = NULL;

		/* one that it had before may come back by its code */
		for (int j = 0; j < order.n && it == NULL; j++)
		{
			if (order.coupons[j].coupon.coupon_id == taken[i].coupon_id)
				it = &order.coupons[j];
		}
		if (it == NULL)
		{
			it = &order.coupons[order.n++];
			memset(it, 0, sizeof(OrderCoupon));
		}
		it->coupon = taken[i];
		it->is_new = it->wanted = true;
	}
}

/* ---------------------------------------------------------------------------
 * What they give
 * ---------------------------------------------------------------------------
 */

/*
 * Whether a coupon may be redeemed with the activity at all.
 */
static void
CheckAvailable(const Coupon *coupon, const Activity *activity)
{
	const char *why_not = WhyNotAvailable(coupon->benefit, activity, false);

	if (why_not != NULL)
		RefuseNotEligible(coupon, why_not);
}

static void
CheckCombination(const OrderCoupon *one)
{
	for (int i = 0; i < order.n; i++)
	{
		const OrderCoupon *other = &order.coupons[i];

		if (other != one && other->wanted && AreExclusive(one->coupon.benefit, other->coupon.benefit))
			RefuseCombination(&one->coupon, &other->coupon);
	}
}

/*
 * What the activity has beyond its lines, before coupons: shipping, or, below 0,
 * what is taken off it as a whole.  Where it has no lines, its amount becomes
 * what it is before coupons.
 */
static Micros
BeyondOf(const ActivityChange *change)
{
	Activity   *now = change->now;
	Micros		beyond = BeyondLines(now);

	for (int i = 0; i < order.n && !change->amount_given && !now->returned; i++)
	{
		int			nshares = 0;
		LineShare  *shares = order.coupons[i].spread != 0 ? ReadSpread(order.coupons[i].spread, &nshares) : NULL;

		/* the amount was left as it was, and so without this */
		for (int j = 0; j < nshares; j++)
		{
			if (shares[j].line == 0 || now->nlines == 0)
				beyond += shares[j].discount;
		}
	}
	if (now->nlines > 0)
		return beyond;
	now->amount = beyond;
	return 0;
}

/*
 * Prices the coupons that are wanted, and decides what becomes of each.
 */
static void
PriceOrder(ActivityChange *change)
{
	Activity   *now = change->now;
	PriceCoupon *priced = palloc0(Max(order.n, 1) * sizeof(PriceCoupon));
	OrderCoupon **of = palloc(Max(order.n, 1) * sizeof(OrderCoupon *));
	int			npriced = 0;

	for (int i = 0; i < order.n; i++)
	{
		OrderCoupon *it = &order.coupons[i];
		PriceCoupon *p = &priced[npriced];

		if (!it->wanted || now->cancelled || now->returned)
			continue;
		if (it->is_new)
		{
			CheckAvailable(&it->coupon, now);
			CheckCombination(it);
		}
		SetTerms(p, &order.made, it->coupon.benefit, it->coupon.coupon_id);
		if (!it->is_new && !it->coupon.benefit->reevaluate)
			SetKept(p, &order.made, it->basis, it->nbasis);
		of[npriced++] = it;
	}
	PriceCoupons(&order.made.basket, npriced, priced);
	for (int i = 0; i < npriced; i++)
	{
		of[i]->priced = priced[i];
		if (of[i]->is_new && priced[i].verdict != PRICE_APPLIES)
			RefuseVerdict(&of[i]->coupon, &priced[i]);
	}
}

static bool
SameSpread(Datum a, Datum b)
{
	return compareJsonbContainers(&DatumGetJsonbP(a)->root, &DatumGetJsonbP(b)->root) == 0;
}

/*
 * What becomes of a coupon.
 */
static void
DecideAct(OrderCoupon *it, const ActivityChange *change)
{
	bool		alive = it->wanted && !change->now->cancelled && !change->now->returned;
	/* what it took off stays, be it nothing, unless it is to be decided anew */
	bool		redeemed = alive && (it->is_new || !it->coupon.benefit->reevaluate || it->priced.discount > 0);
	Datum		before = it->spread;

	it->act = COUPON_ISSUED;
	it->spread = redeemed ? SpreadValue(&order.made, &it->priced) : 0;
	if (redeemed && !it->held)
		it->act = it->is_new ? COUPON_REDEEMED : COUPON_REDEEMED_AGAIN;
	else if (redeemed && !SameSpread(before, it->spread))
		it->act = COUPON_REPRICED;
	else if (!redeemed && it->held)
		it->act = it->wanted ? COUPON_RESTORED : COUPON_WITHDRAWN;
	else if (it->had && !it->wanted)
		it->act = COUPON_DROPPED;
	if (it->act == COUPON_REDEEMED_AGAIN)
	{
		CouponAnswer answer = MayRedeemAgain(&it->coupon.state, &it->coupon.terms, change->at);

		if (answer != COUPON_GOOD)
			RefuseCoupon(answer, &it->coupon, change->at);
	}
}

/* ---------------------------------------------------------------------------
 * The listener
 * ---------------------------------------------------------------------------
 */

static bool
Wants(const char *kind)
{
	(void) kind;
	return AnyBenefits();
}

static void
Price(ActivityChange *change)
{
	Micros		beyond;

	memset(&order, 0, sizeof(Order));
	order.change = change;
	if (change->before != NULL)
		ReadOrderCoupons(change->before->activity_id);
	if (change->codes_given)
		TakeGivenCodes(change);
	if (order.n == 0)
		return;
	beyond = BeyondOf(change);
	MakeBasket(&order.made, change->now, Max(beyond, 0), MoneyDecimals(change->now));
	PriceOrder(change);
	for (int i = 0; i < order.n; i++)
		DecideAct(&order.coupons[i], change);
	AddUpAmount(change->now, beyond);
	for (int i = 0; i < order.n; i++)
	{
		WriteDiscount(change->now, &order.made, &order.coupons[i].priced);
		change->discount += order.coupons[i].priced.discount;
	}
}

/*
 * Until when a coupon is valid that is given back.
 */
static TimestampTz
ValidAfterRestoring(const Coupon *coupon, TimestampTz at)
{
	if (coupon->benefit->grace == NULL || at < coupon->state.valid_until)
		return coupon->state.valid_until;
	return GraceUntil(coupon->benefit, at);
}

static void
Stored(ActivityChange *change)
{
	Assert(order.change == change);
	for (int i = 0; i < order.n; i++)
	{
		OrderCoupon *it = &order.coupons[i];
		CouponAct	act = {.kind = it->act, .at = change->at};
		ActNote		note = {
			.activity_id = change->now->activity_id,
			.revision = change->now->revision,
			.discount = it->priced.discount,
			.spread = it->spread
		};

		if (it->act == COUPON_ISSUED)
			continue;
		act.valid_until = ValidAfterRestoring(&it->coupon, change->at);
		KeepCouponAct(&it->coupon, &act, &note);
	}
}

/*
 * What coupons took off when the activity was recorded.
 */
static void
Replayed(ActivityChange *change)
{
	static KeptPlan plan = {
		.query = "SELECT sum(a.discount) FROM loyalty.coupon_act a "
		"WHERE a.activity_id OPERATOR(pg_catalog.=) $1 AND a.revision OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, INT4OID}
	};
	Datum		values[2] = {Int64GetDatum(change->now->activity_id), Int32GetDatum(change->now->revision)};
	int			decimals = 0;
	bool		isnull;
	Datum		sum;

	RunPlan(&plan, values, NULL, 1);
	sum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		change->discount = MicrosFromNumeric(sum, "discount", &decimals);
}

static const ActivityListener listener = {
	.wants = Wants,
	.price = Price,
	.stored = Stored,
	.replayed = Replayed
};

/*
 * Part of BenefitInit().
 */
void
CouponListenerInit(void)
{
	OnActivityChange(&listener);
}
