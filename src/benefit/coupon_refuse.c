/*
 * coupon_refuse.c
 *		Why a coupon does not apply to an activity: said of one that is to be
 *		redeemed, and of one that is previewed.
 */
#include "postgres.h"

#include "activity/calendar.h"
#include "benefit/coupon.h"
#include "benefit/gate.h"
#include "core/compat.h"
#include "core/errors.h"

/*
 * Why a coupon of a benefit may not be redeemed with an activity at all; NULL: it
 * may.  read_only: in a call that reads.
 */
const char *
WhyNotAvailable(const Benefit *benefit, const Activity *activity, bool read_only)
{
	ConditionSubject subject = {.activity = activity, .money = benefit->money, .zone = FindZone(benefit->time_zone)};
	Asker		asker;

	if (benefit->available != NULL)
	{
		InitAsker(&asker, activity->member_id, activity->at, read_only);
		LetAsk(&subject, &asker);
	}
	if (benefit->money != NULL && activity->money != NULL && strcmp(benefit->money, activity->money) != 0)
		return psprintf("It is of %s, and the activity of %s.", benefit->money, activity->money);
	if (benefit->available != NULL && EvaluateCondition(benefit->available, &subject) != TRUTH_YES)
		return psprintf("What its definition asks for under %s does not hold.",
						subject.failed_at != NULL ? subject.failed_at : "available");
	return NULL;
}

/*
 * Refuses a coupon that may not be redeemed with an activity.
 */
void
RefuseNotEligible(const Coupon *coupon, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_NOT_ELIGIBLE),
			 errmsg("coupon \"%s\" does not apply", coupon->code),
			 errdetail("%s", detail),
			 errhint("See the definition of benefit \"%s\" in loyalty.benefit_version.", coupon->benefit->name)));
}

/*
 * Whether coupons of two benefits shut each other out.
 */
bool
AreExclusive(const Benefit *a, const Benefit *b)
{
	const char *group = a->discount.exclusive;
	const char *others = b->discount.exclusive;

	return group != NULL && others != NULL && strcmp(group, others) == 0;
}

/*
 * Refuses two that do.
 */
void
RefuseCombination(const Coupon *one, const Coupon *other)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_NOT_COMBINABLE),
			 errmsg("coupons \"%s\" and \"%s\" cannot be redeemed together", one->code, other->code),
			 errdetail("Their definitions have the same \"exclusive\", \"%s\".", one->benefit->discount.exclusive),
			 errhint("Give the code of one of them.")));
}

/*
 * Refuses a coupon that takes nothing off, for what its pricing found out.
 */
void
RefuseVerdict(const Coupon *coupon, const PriceCoupon *priced)
{
	switch (priced->verdict)
	{
		case PRICE_MINIMUM:
			ereport(ERROR,
					(errcode(ERRCODE_LY_MINIMUM_NOT_MET),
					 errmsg("coupon \"%s\" asks for more", coupon->code),
					 errdetail("It asks for %s of the lines that it is meant for.",
							   MicrosText(Max(priced->terms.minimum, priced->terms.every))),
					 errhint("Redeem it with a larger order.")));
		case PRICE_NO_LINES:
			RefuseNotEligible(coupon, "Nothing in the order is what it is meant for.");
		case PRICE_APPLIES:
		case PRICE_NOTHING:
		case PRICE_EXCLUDED:
			break;
	}
	RefuseNotEligible(coupon, "It would take nothing off this order.");
}
