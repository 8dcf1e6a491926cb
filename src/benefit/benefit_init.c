/*
 * benefit_init.c
 *		What room benefit sets up once per session.
 */
#include "postgres.h"

#include "benefit/coupon.h"
#include "core/core.h"

ROOM_INIT(Benefit)
{
	ExpectLayout("benefit", 1);
	CouponHappeningsInit();
	CouponEffectInit();
	CouponListenerInit();
}
