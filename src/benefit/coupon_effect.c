/*
 * coupon_effect.c
 *		Coupons that campaigns give: {"coupon": "tea_5_off"}.
 *
 * A coupon that is given is an award.  Where the award is taken back it is
 * revoked; one that was used, or is in somebody else's hands, stays.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "activity/effect.h"
#include "benefit/coupon.h"
#include "ledger/ledger.h"

static void *
ParseCouponEffect(const Place *effect, const Place *value, const char **name)
{
	(void) effect;
	*name = ReadText(value);
	return NULL;
}

static void
RequireBenefit(const EffectItem *item)
{
	(void) BenefitOfKind(item->name, BENEFIT_COUPON, DT_NOEND);
}

static int64
CouponsLeft(const EffectItem *item, const char **limited_by)
{
	const Benefit *benefit = FindBenefit(item->name, item->at);

	/* an activity may lie before the benefit begins */
	if (benefit == NULL)
	{
		*limited_by = "coupon_version";
		return 0;
	}
	return Max(IssuesLeft(item->member_id, benefit, item->at, limited_by) - item->taken, 0);
}

static bool
GiveCoupon(EffectItem *item)
{
	CouponIssue issue = {
		.member_id = item->member_id,
		.benefit = BenefitOfKind(item->name, BENEFIT_COUPON, item->at),
		.at = item->at,
		.valid_until = TIMESTAMP_INFINITY,
		.reference = item->campaign
	};

	if (IssueCoupon(&issue) != ISSUE_DONE)
		return false;
	item->item_id = issue.coupon_id;
	return true;
}

/* Coupons are not deleted, so it is there. */
static void
FindGiven(const EffectItem *item, Coupon *coupon)
{
	if (!(item->read_only ? LookAtCoupon : LockCouponOf) (item->member_id, item->item_id, coupon))
		elog(ERROR, "member " INT64_FORMAT " has no coupon " INT64_FORMAT, item->member_id, item->item_id);
}

static const char *
WhyCouponStays(const EffectItem *item)
{
	Coupon		coupon;

	FindGiven(item, &coupon);
	if (coupon.state.end == COUPON_WAS_TRANSFERRED)
		return "transferred";
	return coupon.state.uses > 0 ? "redeemed" : NULL;
}

static void
TakeCouponBack(const EffectItem *item)
{
	Coupon		coupon;

	FindGiven(item, &coupon);
	/* by hand it may have been revoked before */
	if (coupon.state.end == COUPON_LIVES)
		EndCoupon(&coupon, item->at, item->campaign);
}

/*
 * Part of BenefitInit().
 */
void
CouponEffectInit(void)
{
	static const CampaignEffect effect = {
		.name = "coupon",
		.parse = ParseCouponEffect,
		.require = RequireBenefit,
		.left = CouponsLeft,
		.give = GiveCoupon,
		.keeps = WhyCouponStays,
		.take_back = TakeCouponBack
	};

	RegisterEffect(&effect);
}
