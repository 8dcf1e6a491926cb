/*
 * coupon_price.h
 *		Coupons priced over the lines of an activity.
 */
#ifndef LOYALTY_COUPON_PRICE_H
#define LOYALTY_COUPON_PRICE_H

#include "activity/activity.h"
#include "benefit/benefit.h"

/* What a coupon took off a line; line 0 is what belongs to no line. */
typedef struct LineShare
{
	int32		line;
	Micros		amount;			/* of the line, before coupons */
	Micros		discount;
} LineShare;

/* The lines of an activity as they are priced; amounts are before coupons. */
typedef struct ActivityBasket
{
	PriceBasket basket;
	const Activity *activity;
	PriceLine  *lines;			/* one of the whole amount, where it has none */
} ActivityBasket;

extern void MakeBasket(ActivityBasket *made, const Activity *activity, Micros shipping, int decimals);
extern void SetTerms(PriceCoupon *priced, const ActivityBasket *made, const Benefit *benefit, int64 coupon_id);
extern void SetKept(PriceCoupon *priced, const ActivityBasket *made, const LineShare *shares, int nshares);
extern Micros BeyondLines(const Activity *activity);
extern void AddUpAmount(Activity *activity, Micros beyond);
extern void WriteDiscount(Activity *activity, const ActivityBasket *made, const PriceCoupon *priced);
extern Datum SpreadValue(const ActivityBasket *made, const PriceCoupon *priced);
extern LineShare *ReadSpread(Datum spread, int *nshares);

#endif							/* LOYALTY_COUPON_PRICE_H */
