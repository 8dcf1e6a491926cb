/*
 * offer.h
 *		What members get beside coupons, by definitions.
 *
 * An offer is a right that follows from facts at the instant at which it is
 * asked for: who may have it ("available", a condition on the member), and how
 * often or for what.  Nothing is granted by a job, and nothing expires by one.
 */
#ifndef LOYALTY_OFFER_H
#define LOYALTY_OFFER_H

#include "postgres.h"

#include "benefit/benefit.h"
#include "benefit/quota.h"

/* How often, for whoever holds a level, or meets a condition. */
typedef struct QuotaRow
{
	const char *level;			/* of the ladder; NULL: see when */
	Condition  *when;			/* NULL: everybody */
	int64		uses;			/* QUOTA_UNLIMITED */
} QuotaRow;

/* Which level counts for the quota; the gate is always the level of the instant. */
typedef enum QuotaLevel
{
	LEVEL_CURRENT,
	LEVEL_BEST,					/* the best held in the period up to the instant */
	LEVEL_AT_START				/* the one held when the period began */
} QuotaLevel;

typedef enum QuotaAnchor
{
	ANCHOR_CALENDAR,
	ANCHOR_JOINED,				/* when the member joined */
	ANCHOR_MEMBERSHIP			/* when its membership began, the line of grants that
								 * gives the level */
} QuotaAnchor;

/* What is handed out, for points or as a gift. */
typedef enum GoodsKind
{
	GOODS_ITEM,					/* whatever the house sends */
	GOODS_COUPON,
	GOODS_USES,					/* further uses of an entitlement */
	GOODS_POINTS
} GoodsKind;

typedef struct Goods
{
	GoodsKind	kind;
	const char *name;			/* of the coupon, entitlement or currency */
	int64		quantity;		/* uses or points, each */
} Goods;

typedef enum Occasion
{
	OCCASION_BIRTHDAY,
	OCCASION_JOINED,			/* its anniversaries */
	OCCASION_WELCOME,			/* the day of joining */
	OCCASION_YEARLY,			/* a day of the year */
	OCCASION_MONTHLY,			/* a day of the month */
	OCCASION_HOLIDAY,			/* of a list */
	OCCASION_DAYS				/* from a day to another, once */
} Occasion;

typedef struct Window
{
	Occasion	occasion;
	int			before;			/* days */
	int			after;
	bool		leap_on_mar1;	/* birthday */
	int			month;			/* yearly */
	int			day;			/* yearly, monthly */
	const char *holidays;
	DateADT		from;			/* days */
} Window;

typedef struct Offer
{
	/* entitlement; of a reward the period of its limit */
	const char *ladder;			/* of the quota's levels; NULL: none */
	int			nrows;
	QuotaRow   *rows;
	QuotaLevel	level;
	QuotaAnchor anchor;
	PeriodTerms period;
	int64		carry_over;

	/* access, price: of which goods; NULL: of none */
	Condition  *lines;

	/* price: one of the three; reward: what it costs in money */
	Micros		price;
	Micros		percent;
	Micros		amount;

	/* reward, and what it is paid with */
	int64		points;			/* each; 0: none, or as its payment says */
	const char *currency;
	const char *payment;
	bool		has_stock;		/* escrow benefit/<name>/stock */
	int64		member_limit;	/* 0: none */
	const Interval *hold;		/* how long an order waits to be paid; NULL: it
								 * does not */
	Goods		goods;			/* gift, too */

	/* payment: points are worth an amount, by the step */
	Micros		worth;
	int64		step;
	int64		least;
	int64		most;			/* 0: no limit */
	Micros		share;			/* percent of the amount at most; 0: all of it */

	/* gift */
	Window		window;

	/* card */
	const Interval *valid;		/* NULL: by the policy of its currency */
} Offer;

extern Offer *ParseOffer(const Place *whole, Benefit *benefit);

#endif							/* LOYALTY_OFFER_H */
