/*
 * basket_preview.h
 *		What coupons and points would do to a basket: for rooms to the right.
 *
 * The same questions are asked as when coupons are redeemed and points are
 * spent, and refusals have the same words; nothing is locked or written.
 */
#ifndef LOYALTY_BASKET_PREVIEW_H
#define LOYALTY_BASKET_PREVIEW_H

#include "postgres.h"

#include "activity/activity.h"

/* The error that a call would raise. */
typedef struct Refusal
{
	int			sqlerrcode;
	const char *message;
	const char *detail;			/* or NULL */
} Refusal;

/* What the coupon of a code would do. */
typedef struct CodePreview
{
	const char *code;			/* as it is given */
	const char *benefit;		/* NULL: nobody knows the code */
	bool		is_issued;		/* on the spot, with the order */
	const Refusal *refusal;		/* NULL: it applies */
	Micros		discount;
	Datum		spread;			/* jsonb, over lines, as it is kept; 0: none */
} CodePreview;

/* What points would do that are to be spent. */
typedef struct PointsPreview
{
	const char *payment;		/* by which they are worth something; NULL: by none */
	int64		available;
	int64		points;			/* of those wanted: how many can be spent */
	Micros		worth;
	const char *limited_by;		/* balance or payment; NULL: all can */
	const Refusal *refusal;		/* of those wanted; NULL: they are there */
} PointsPreview;

extern CodePreview *PreviewCodes(Activity *activity, const char *basket, int ncodes, const char *const *codes);
extern PointsPreview *PreviewPoints(const Activity *activity, int64 wanted, const char *currency, const char *payment);

#endif							/* LOYALTY_BASKET_PREVIEW_H */
