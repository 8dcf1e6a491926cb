/*
 * coupon_fold.h
 *		The state of a coupon: the fold of its acts, in plain C.
 *
 * Acts are applied in the order in which they were recorded.  Each is judged as
 * of its own instant, by what was recorded before it: what was promised stays.
 * That a coupon has expired, or a reservation lapsed, follows from the clock,
 * and is stored nowhere.  Every span is half-open.
 *
 * A reservation is of a basket, a name of the caller's choice.  It holds the
 * whole coupon, as a hold does points: redeemed by its basket before its
 * instant the coupon is good though its own time has passed meanwhile.
 */
#ifndef LOYALTY_COUPON_FOLD_H
#define LOYALTY_COUPON_FOLD_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef enum CouponActKind
{
	COUPON_ISSUED,
	COUPON_RESERVED,
	COUPON_REDEEMED,
	COUPON_REPRICED,			/* its order was revised: it takes off another amount */
	COUPON_RELEASED,
	COUPON_RESTORED,			/* its order is gone, or leaves it nothing to take off */
	COUPON_REDEEMED_AGAIN,		/* and is back */
	COUPON_WITHDRAWN,			/* it was taken out of its order */
	COUPON_DROPPED,				/* its order comes back without it */
	COUPON_REVOKED,
	COUPON_TRANSFERRED			/* it went to another member, as a new coupon */
} CouponActKind;

#define COUPON_ACT_KINDS	(COUPON_TRANSFERRED + 1)

typedef struct CouponAct
{
	CouponActKind kind;
	TimestampTz at;
	const char *basket;			/* reserved */
	TimestampTz reserved_until; /* reserved */
	TimestampTz valid_until;	/* issued, restored, withdrawn; infinity: for ever */
} CouponAct;

typedef enum CouponEnd
{
	COUPON_LIVES,
	COUPON_WAS_REVOKED,
	COUPON_WAS_TRANSFERRED
} CouponEnd;

typedef struct CouponState
{
	int32		uses;			/* redemptions that stand */
	const char *basket;			/* that has reserved it last; NULL: none */
	TimestampTz reserved_until;
	TimestampTz valid_until;	/* infinity: for ever */
	CouponEnd	end;
	bool		given_back;		/* it was revoked unused: it does not count */
} CouponState;

/* What never changes. */
typedef struct CouponTerms
{
	int32		times;			/* how often it may be redeemed */
	TimestampTz valid_from;		/* -infinity: from ever */
} CouponTerms;

typedef enum CouponAnswer
{
	COUPON_GOOD,
	COUPON_GONE,				/* revoked, or transferred */
	COUPON_USED,
	COUPON_IS_RESERVED,			/* by another basket */
	COUPON_NOT_YET,
	COUPON_EXPIRED
} CouponAnswer;

extern const char *const coupon_act_names[COUPON_ACT_KINDS];

extern CouponActKind CouponActOfName(const char *name);
extern void ApplyCouponAct(CouponState *state, const CouponAct *act);
extern CouponAnswer MayReserve(const CouponState *state, const CouponTerms *terms, const char *basket, TimestampTz at);
extern CouponAnswer MayRedeem(const CouponState *state, const CouponTerms *terms, const char *basket, TimestampTz at);
extern CouponAnswer MayRedeemAgain(const CouponState *state, const CouponTerms *terms, TimestampTz at);
extern CouponAnswer MayRevoke(const CouponState *state, const CouponTerms *terms);
extern CouponAnswer MayTransfer(const CouponState *state, TimestampTz at);
extern const char *CouponStateName(const CouponState *state, const CouponTerms *terms, TimestampTz at);

#endif							/* LOYALTY_COUPON_FOLD_H */
