/*
 * coupon.h
 *		What the parts of room benefit that are about coupons share.
 */
#ifndef LOYALTY_COUPON_H
#define LOYALTY_COUPON_H

#include "activity/activity.h"
#include "benefit/coupon_price.h"
#include "benefit/coupon_row.h"

/* coupon_issue.c */
extern int64 IssuesLeft(int64 member_id, const Benefit *benefit, TimestampTz at, const char **limited_by);
extern void NewCode(char *shown);
extern IssueAnswer AnswerOfLimit(const char *limited_by);
extern IssueAnswer IssueCouponWithCode(CouponIssue *issue, const char *code, bool on_the_spot);
extern void ClaimBearerCode(CouponIssue *issue, const char *shown);
pg_noreturn extern void RefuseClaimed(const char *shown, const char *detail);
extern void EndCoupon(Coupon *coupon, TimestampTz at, const char *reason);
pg_noreturn extern void RefuseIssue(IssueAnswer answer, int64 member_id, const Benefit *benefit);

/* A code that was asked for, as the directory has it. */
typedef struct KnownCode
{
	const char *shown;
	const char *benefit;
	int64		member_id;		/* and coupon_id: 0 where it is of no coupon yet */
	int64		coupon_id;
	bool		in_pool;
	bool		is_generic;
	int			place;			/* among those asked for */
} KnownCode;

/* coupon_directory.c */
extern bool LookUpCode(const char *code, KnownCode *known);
extern const char *CodeAtPlace(const char *benefit, int slot, int64 place);
extern void AssignCode(const Coupon *coupon);

/* coupon_code.c */
extern bool IsSameCode(const char *a, const char *b);
extern bool FindCodeFor(int64 member_id, const char *code, KnownCode *known);
extern int	CompareKnownCodes(const void *a, const void *b);
extern int64 *FindOfGeneric(int64 member_id, const KnownCode *known, int *n);
extern void TakeCoupons(int64 member_id, TimestampTz at, const char *basket, CouponActKind to_be,
						int ncodes, const char *const *codes, Coupon *coupons);
pg_noreturn extern void RefuseCode(const char *code);
pg_noreturn extern void RefuseTwice(const char *code);

/* coupon_refuse.c */
extern const char *WhyNotAvailable(const Benefit *benefit, const Activity *activity, bool read_only);
extern bool AreExclusive(const Benefit *a, const Benefit *b);
pg_noreturn extern void RefuseNotEligible(const Coupon *coupon, const char *detail);
pg_noreturn extern void RefuseCombination(const Coupon *one, const Coupon *other);
pg_noreturn extern void RefuseVerdict(const Coupon *coupon, const PriceCoupon *priced);

/* coupon_effect.c */
extern void CouponEffectInit(void);

/* coupon_activity.c */
extern void CouponListenerInit(void);

#endif							/* LOYALTY_COUPON_H */
