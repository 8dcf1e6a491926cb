/*
 * benefit_init.c
 *		What room benefit sets up once per session.
 */
#include "postgres.h"

#include "benefit/coupon.h"
#include "benefit/household.h"
#include "core/core.h"
#include "core/happened.h"

/* Those of coupons are declared by coupon_row.c. */
static const char *const happenings[] = {
	"entitlement_used", "entitlement_restored", "reward_ordered", "reward_paid", "reward_fulfilled", "reward_cancelled", "gift_claimed", NULL
};

ROOM_INIT(Benefit)
{
	ExpectLayout("benefit", 1);
	CouponHappeningsInit();
	DeclareHappenings(happenings);
	CouponEffectInit();
	CouponListenerInit();
	HouseholdInit();
}
