/*
 * coupon_row.h
 *		Coupons and their acts as rows.
 *
 * A row of loyalty.coupon has, beside what never changes, the state that its
 * acts fold to, and is the lock of the coupon.  Where the tables are plain it is
 * locked when it is changed: who finds then that it has other acts than those he
 * has read begins anew.  It stands for ever under the
 * number of the member to whom it was issued; who else is one with that member
 * is found out when it is read.
 */
#ifndef LOYALTY_COUPON_ROW_H
#define LOYALTY_COUPON_ROW_H

#include "catalog/pg_type_d.h"

#include "benefit/benefit.h"
#include "benefit/coupon_fold.h"
#include "core/plain.h"

/* All columns, in the order in which setup() puts them there */
#define COUPON_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(COUPON_ID, coupon_id, INT8OID) \
	COLUMN(BENEFIT, benefit, TEXTOID) \
	COLUMN(VERSION, version, INT4OID) \
	COLUMN(CODE, code, TEXTOID) \
	COLUMN(ON_THE_SPOT, on_the_spot, BOOLOID) \
	COLUMN(FROM_MEMBER_ID, from_member_id, INT8OID) \
	COLUMN(FROM_COUPON_ID, from_coupon_id, INT8OID) \
	COLUMN(VALID_FROM, valid_from, TIMESTAMPTZOID) \
	COLUMN(VALID_UNTIL, valid_until, TIMESTAMPTZOID) \
	COLUMN(ACTS, acts, INT4OID) \
	COLUMN(USES, uses, INT4OID) \
	COLUMN(BASKET, basket, TEXTOID) \
	COLUMN(RESERVED_UNTIL, reserved_until, TIMESTAMPTZOID) \
	COLUMN(ENDED, ended, TEXTOID) \
	COLUMN(GIVEN_BACK, given_back, BOOLOID)

#define COUPON_ACT_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(COUPON_ID, coupon_id, INT8OID) \
	COLUMN(ACT, act, INT4OID) \
	COLUMN(KIND, kind, TEXTOID) \
	COLUMN(AT, at, TIMESTAMPTZOID) \
	COLUMN(RECORDED_AT, recorded_at, TIMESTAMPTZOID) \
	COLUMN(BASKET, basket, TEXTOID) \
	COLUMN(RESERVED_UNTIL, reserved_until, TIMESTAMPTZOID) \
	COLUMN(VALID_UNTIL, valid_until, TIMESTAMPTZOID) \
	COLUMN(ACTIVITY_ID, activity_id, INT8OID) \
	COLUMN(REVISION, revision, INT4OID) \
	COLUMN(DISCOUNT, discount, NUMERICOID) \
	COLUMN(SPREAD, spread, JSONBOID) \
	COLUMN(REFERENCE, reference, TEXTOID) \
	COLUMN(OTHER_MEMBER_ID, other_member_id, INT8OID) \
	COLUMN(OTHER_COUPON_ID, other_coupon_id, INT8OID)

typedef enum CouponColumn
{
#define COLUMN(symbol, name, type) COUPON_##symbol,
	COUPON_COLUMNS(COLUMN)
#undef COLUMN
	COUPON_NCOLUMNS
} CouponColumn;

typedef enum CouponActColumn
{
#define COLUMN(symbol, name, type) ACT_##symbol,
	COUPON_ACT_COLUMNS(COLUMN)
#undef COLUMN
	ACT_NCOLUMNS
} CouponActColumn;

typedef struct Coupon
{
	int64		member_id;
	int64		coupon_id;
	const Benefit *benefit;		/* the version that it was issued under */
	const char *code;			/* as it is shown; NULL: none */
	bool		on_the_spot;	/* issued for a basket or an order, by a generic code */
	bool		transferred;	/* here: the limits count it where it was issued */
	CouponTerms terms;
	CouponState state;
	int32		nacts;
} Coupon;

/* What an act says beside what it does to the state; 0 or NULL: nothing. */
typedef struct ActNote
{
	int64		activity_id;
	int32		revision;		/* of the activity */
	Micros		discount;
	Datum		spread;			/* jsonb */
	const char *reference;
	int64		other_member_id;
	int64		other_coupon_id;
} ActNote;

extern void CouponHappeningsInit(void);
extern bool LookAtCoupon(int64 member_id, int64 coupon_id, Coupon *coupon);
extern bool LockCouponOf(int64 member_id, int64 coupon_id, Coupon *coupon);
extern bool LockCoupon(int64 member_id, int64 coupon_id, Coupon *coupon);
extern void InsertCoupon(Coupon *coupon, TimestampTz at, const ActNote *note);
extern void KeepCouponAct(Coupon *coupon, const CouponAct *act, const ActNote *note);
pg_noreturn extern void RefuseCoupon(CouponAnswer answer, const Coupon *coupon, TimestampTz at);

#endif							/* LOYALTY_COUPON_ROW_H */
