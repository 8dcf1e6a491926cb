/*
 * benefit.h
 *		What a member gets, by definitions: coupons, and what offer.h is about.
 *
 * A benefit has versions, each in force from an instant on.  A coupon keeps the
 * version that was in force when it was issued; all else is judged by the one
 * that is in force at its instant.
 */
#ifndef LOYALTY_BENEFIT_H
#define LOYALTY_BENEFIT_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "activity/condition.h"
#include "benefit/price.h"
#include "core/core.h"

typedef enum BenefitKind
{
	BENEFIT_COUPON,
	BENEFIT_ENTITLEMENT,		/* may be used so often */
	BENEFIT_ACCESS,				/* may be used as often as one likes, or bought */
	BENEFIT_PRICE,				/* goods cost less */
	BENEFIT_REWARD,				/* is bought with points */
	BENEFIT_GIFT,				/* is there for a while, once an occasion */
	BENEFIT_PAYMENT,			/* what points are worth when one pays with them */
	BENEFIT_CARD				/* has a balance of its own */
} BenefitKind;

extern const char *const benefit_kind_names[];	/* ends with NULL */

typedef enum CodeKind
{
	CODES_UNIQUE,				/* each coupon has one of its own, made by us */
	CODES_GENERIC,				/* everybody uses the same */
	CODES_POOL					/* each coupon has one of its own, brought along */
} CodeKind;

typedef enum ValidTo
{
	VALID_TO_INSTANT,
	VALID_TO_END_OF_DAY,
	VALID_TO_END_OF_MONTH,
	VALID_TO_END_OF_YEAR
} ValidTo;

/* A version of a benefit, as a session knows it. */
typedef struct Benefit
{
	const char *name;
	int32		version;
	TimestampTz effective_from;
	BenefitKind kind;
	const struct Offer *offer;	/* of whatever is no coupon */

	DiscountTerms discount;
	const char *free_sku;		/* DISCOUNT_FREE: of which lines */
	Condition  *lines;			/* which lines are meant; NULL: all */
	Condition  *except;			/* but for these; NULL: none */
	Condition  *available;		/* when it may be redeemed, or had; NULL: always */
	const char *money;			/* of which alone; NULL: of any */
	bool		reevaluate;		/* after a return; otherwise the discount stays */

	CodeKind	codes;
	int32		times;			/* redemptions of one coupon */
	int64		member_limit;	/* coupons of one member; 0: no limit */
	bool		has_total;		/* coupons in all: escrow benefit/<name>/total */

	const char *time_zone;
	Interval   *valid_after;	/* NULL: at once, as of those below */
	Interval   *valid;			/* NULL: for ever */
	ValidTo		valid_to;		/* the end is put off to the end of this */
	Interval   *grace;			/* after a restoring; NULL: none */
	TimestampTz valid_from;		/* of all its coupons, infinite where not given */
	TimestampTz valid_until;
} Benefit;

/* benefit_define.c */
extern Benefit *ParseBenefit(const Jsonb *definition, const char *time_zone, Problems *problems);
extern void BenefitSpan(const Benefit *benefit, TimestampTz at, TimestampTz *valid_from, TimestampTz *valid_until);
extern TimestampTz GraceUntil(const Benefit *benefit, TimestampTz at);

/* benefit_cache.c */
extern void RefuseProblems(const Problems *problems, const char *at);
extern bool AnyBenefits(void);
extern const Benefit *FindBenefit(const char *name, TimestampTz at);
extern const Benefit *BenefitInForce(const char *name, TimestampTz at);
extern const Benefit *BenefitOfKind(const char *name, BenefitKind kind, TimestampTz at);
extern List *BenefitsOfKind(BenefitKind kind, TimestampTz at);
extern const Benefit *BenefitVersion(const char *name, int32 version);

/*
 * coupon_issue.c: for rooms to the right.  A coupon that is given is no act of
 * its own: whoever gives it has the row that guards it.  An SPI connection is
 * needed.
 */
typedef enum IssueAnswer
{
	ISSUE_DONE,
	ISSUE_MEMBER_LIMIT,			/* the member has as many as it may have */
	ISSUE_TOTAL,				/* all are given out */
	ISSUE_POOL_EMPTY
} IssueAnswer;

typedef struct CouponIssue
{
	int64		member_id;		/* under which number the coupon stands */
	const Benefit *benefit;		/* the version in force at the instant */
	TimestampTz at;
	TimestampTz valid_until;	/* infinity: as the definition says */
	const char *reference;		/* or NULL */
	/* results */
	int64		coupon_id;
	const char *code;			/* or NULL: none */
} CouponIssue;

extern IssueAnswer IssueCoupon(CouponIssue *issue);

#endif							/* LOYALTY_BENEFIT_H */
