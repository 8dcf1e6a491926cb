/*
 * quota.h
 *		How often a right may be used: periods, and what is left of them.  Plain C.
 *
 * A quota is so many uses a period.  Calendar periods are those of local days;
 * an anniversary is counted from its anchor, and not from the one before, so
 * that of 29 February is 28 February in three years of four, and the 29th again
 * in the fourth.  A rolling period has no beginning: at each instant it is what
 * lies less than its length before it.  Every span is half-open.
 *
 * A use is a row of acts.  What it counts for at an instant follows from the
 * acts that were effective by then: a reservation lapses by itself.  It stays in
 * the period in which it was first made, also when it is given back.
 *
 * What is left of a period, up to carry_over, is carried to the next one and
 * used there first; what was carried is carried no further.
 */
#ifndef LOYALTY_QUOTA_H
#define LOYALTY_QUOTA_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgtime.h"

#include "activity/calendar.h"

#define QUOTA_UNLIMITED		PG_INT64_MAX

typedef struct Span
{
	TimestampTz from;			/* -infinity, infinity: without end */
	TimestampTz until;
} Span;

typedef struct PeriodTerms
{
	Period		period;
	const Interval *rolling;	/* instead of it; NULL: none */
	pg_tz	   *zone;
	bool		anchored;		/* counted from an anchor */
} PeriodTerms;

/* What was done to a use. */
typedef enum UseActKind
{
	USE_USED,
	USE_RESERVED,
	USE_CONFIRMED,				/* what was reserved is used */
	USE_RESTORED,				/* it is given back, used or reserved */
	USE_GRANTED,				/* further uses are given, bought for example */
	USE_REVOKED					/* and taken back */
} UseActKind;

#define USE_ACT_KINDS	(USE_REVOKED + 1)

/* A use, or a grant of further ones, as its acts fold to it. */
typedef struct Use
{
	int64		use_id;
	bool		is_grant;
	int64		quantity;
	int64		granted;		/* how many of them are of grants */
	TimestampTz at;				/* of its first act */
	TimestampTz until;			/* reserved until; infinity: it does not lapse */
	bool		ended;			/* given back, or revoked */
	UseActKind	last;
	int32		nacts;
} Use;

/* What the uses of a period come to. */
typedef struct QuotaCount
{
	int64		used;			/* of the quota */
	int64		granted;		/* further uses that were given and hold at the instant */
	int64		granted_used;	/* of those */
} QuotaCount;

extern const char *const use_act_names[USE_ACT_KINDS];

extern UseActKind UseActOfName(const char *name);
extern void ApplyUseAct(Use *use, UseActKind kind, TimestampTz at, TimestampTz until);
extern bool UseCounts(const Use *use, TimestampTz at);
extern TimestampTz InstantOfDay(DateADT day, pg_tz *zone);
extern Span PeriodOf(const PeriodTerms *terms, TimestampTz anchor, TimestampTz at);
extern Span PeriodBefore(const PeriodTerms *terms, TimestampTz anchor, const Span *span);
extern QuotaCount CountUses(const Use *uses, int nuses, const Span *span, TimestampTz at);
extern int64 CountRolling(const Use *uses, int nuses, const PeriodTerms *terms, TimestampTz at, int64 *most);
extern int64 LeftToCarry(int64 allowed, int64 carried, int64 used, int64 carry_over);

#endif							/* LOYALTY_QUOTA_H */
