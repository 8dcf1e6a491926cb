/*
 * price.h
 *		What coupons take off a basket: plain C over plain structs.
 *
 * Amounts are in millionths of the money.  Discounts are multiples of its
 * smallest unit, which the basket names; a fraction of a unit in a line takes
 * no part in them.
 *
 * Line discounts come first, then those of the order, then those of what an
 * order has beyond its lines, which is shipping.  Within a class all count from
 * the same prices, so that no order of codes matters; where a line would fall
 * below zero, the one that comes later by (priority, coupon) is trimmed.  A
 * percentage is of the sum of its lines, rounded once, half up, and spread over
 * them by largest remainder, ties to the first line.
 *
 * An order that was revised or returned in part is priced anew as it is now.
 * Coupons that keep what they gave come with their shares of then, those that
 * are reevaluated as if they were new.
 */
#ifndef LOYALTY_PRICE_H
#define LOYALTY_PRICE_H

#include "postgres.h"

#define PRICE_SCALE		1000000	/* of amounts and quantities */
#define PERCENT_SCALE	1000000 /* of a percent */

typedef enum DiscountKind
{
	DISCOUNT_PERCENT,			/* of the sum of the lines */
	DISCOUNT_AMOUNT,			/* once, or for each "every" that there is */
	DISCOUNT_UNITS,				/* percent of one of every so many units */
	DISCOUNT_FREE				/* so many units of the lines for nothing */
} DiscountKind;

typedef enum DiscountClass
{
	CLASS_LINES,
	CLASS_ORDER,
	CLASS_SHIPPING
} DiscountClass;

/* What a coupon gives, by its definition. */
typedef struct DiscountTerms
{
	DiscountKind kind;
	DiscountClass class;
	int64		percent;		/* PERCENT, UNITS */
	int64		at_most;		/* of PERCENT and UNITS; 0: no cap */
	int64		amount;			/* AMOUNT */
	int64		every;			/* AMOUNT: for each so much; 0: once */
	int64		units;			/* UNITS: one of so many; FREE: how many */
	bool		dearest;		/* UNITS: the dearest ones, not the cheapest */
	int64		minimum;		/* of the lines; 0: none */
	bool		minimum_after;	/* and "every": of what the classes before left */
	int			priority;		/* the smallest first */
	const char *exclusive;		/* of several with this name one; NULL: of no group */
} DiscountTerms;

typedef struct PriceLine
{
	int64		amount;			/* of the whole line */
	int64		quantity;
} PriceLine;

typedef enum PriceVerdict
{
	PRICE_APPLIES,
	PRICE_NO_LINES,				/* nothing in the basket is meant */
	PRICE_MINIMUM,				/* there is too little of it */
	PRICE_NOTHING,				/* it would take nothing off */
	PRICE_EXCLUDED				/* another of its group is better */
} PriceVerdict;

typedef struct PriceCoupon
{
	DiscountTerms terms;
	int64		coupon_id;
	const bool *eligible;		/* which lines are meant; not read of shipping */
	const int64 *kept;			/* shares that stay, the last of shipping; NULL: to be priced */
	/* results */
	PriceVerdict verdict;
	int			lost_to;		/* EXCLUDED: its place among the coupons */
	int64		discount;
	int64	   *share;			/* of each line, and, behind them, of shipping */
} PriceCoupon;

typedef struct PriceBasket
{
	int			nlines;
	const PriceLine *lines;
	int64		shipping;		/* what the order has beyond its lines */
	int64		unit;			/* the smallest of the money, such as 10000 for cents */
} PriceBasket;

extern void SpreadByWeight(int64 total, int n, const int64 *weights, int64 *shares);
extern int64 RoundedShare(int64 share, int64 now, int64 then, int64 unit);
extern void PriceCoupons(const PriceBasket *basket, int ncoupons, PriceCoupon *coupons);
extern void ChooseCoupons(const PriceBasket *basket, int ncoupons, PriceCoupon *coupons);

#endif							/* LOYALTY_PRICE_H */
