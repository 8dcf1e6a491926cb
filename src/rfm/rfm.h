/*
 * rfm.h
 *		The type rfm: what a member's purchases amount to, in 112 bytes.
 *
 * One value carries everything that recency, frequency, monetary, lifecycle
 * and customer value are computed from, for any as-of instant at or behind its
 * last purchase.  It is its own aggregate state: two values merge exactly and
 * in any order, so partial, parallel and stored aggregation give the same
 * bits as one pass over the rows.
 *
 * A row with amount >= 0 is a purchase (a free one, 0, is one too).  A row with
 * a negative amount is a refund: it lowers the net amount, and neither counts
 * as a purchase nor moves an instant.
 *
 * Amounts are whole numbers of 10^-RfmScale(decimals), held in 128 bits.
 * decimals is the largest number of decimals seen (0 to 36), as sum(numeric)
 * would display; the scale is that rounded up to a multiple of four, because
 * numeric keeps groups of four decimal digits.  So cents leave room for sums
 * up to 1.7e34, sixteen decimals for sums up to 1.7e22.
 */
#ifndef LOYALTY_RFM_H
#define LOYALTY_RFM_H

#include "core/compat.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#ifndef HAVE_INT128
#error "loyalty needs a compiler with 128-bit integers"
#endif

#define RFM_VERSION			1
#define RFM_MAX_DECIMALS	36

/* What was counted as one purchase. */
typedef enum RfmUnit
{
	RFM_UNIT_ROW = 0,			/* every row */
	RFM_UNIT_HOUR = 1,			/* all rows of one hour, day, ... of a zone */
	RFM_UNIT_DAY = 2,
	RFM_UNIT_WEEK = 3,
	RFM_UNIT_MONTH = 4,
	RFM_UNIT_KEY = 5,			/* all rows of one key, such as an order id */
	RFM_UNIT_MIXED = 6,			/* merged from values of different units */
	RFM_UNIT_SUNDAY_WEEK = 7	/* as WEEK, which begins on Monday */
} RfmUnit;

#define RFM_UNIT_LAST		RFM_UNIT_SUNDAY_WEEK

/*
 * Without a purchase, first and second are TIMESTAMP_INFINITY and previous and
 * last are TIMESTAMP_MINUS_INFINITY; with purchases at one instant only, that
 * still holds for second and previous.  So merging is taking minima and
 * maxima.  reserved is zero: equal values have equal bytes.
 */
typedef struct rfm
{
	uint8		version;		/* RFM_VERSION */
	uint8		unit;			/* RfmUnit */
	uint8		decimals;		/* most decimals seen, 0 to RFM_MAX_DECIMALS */
	uint8		reserved[5];
	int64		purchases;		/* number of purchases */
	int64		refunds;		/* number of refunds */
	int64		first_purchases;	/* purchases at the very instant first */
	TimestampTz first;			/* earliest purchase */
	TimestampTz second;			/* earliest purchase after first */
	TimestampTz previous;		/* latest purchase before last */
	TimestampTz last;			/* latest purchase */
	int128		bought;			/* sum of the purchases, >= 0 */
	int128		refunded;		/* sum of the refunds, <= 0 */
	int128		first_bought;	/* sum of the purchases at first */
} rfm;

StaticAssertDecl(sizeof(rfm) == 112, "rfm is a fixed-size stored type");

#define DatumGetRfmP(d)		((rfm *) DatumGetPointer(d))
#define PG_GETARG_RFM_P(n)	RfmCheckVersion(DatumGetRfmP(PG_GETARG_DATUM(n)))
#define PG_RETURN_RFM_P(p)	PG_RETURN_POINTER(p)

#define RFM_HAS_PURCHASE(s)	((s)->purchases > 0)
#define RFM_HAS_REPEAT(s)	((s)->last > (s)->first)	/* two instants or more */

/* rfm_value.c: plain computing */
extern void RfmInitEmpty(rfm *s);
extern void RfmAddEvent(rfm *s, TimestampTz at, int128 units, int decimals);
extern void RfmMerge(rfm *s, const rfm *other);
extern const char *RfmProblem(const rfm *s);	/* NULL when it is sound */

/* decimals rounded up to a whole number of numeric's groups of four */
static inline int
RfmScale(int decimals)
{
	return (decimals + 3) / 4 * 4;
}

/* bought + refunded, in units of the scale; cannot overflow (signs differ) */
static inline int128
RfmNet(const rfm *s)
{
	return s->bought + s->refunded;
}

/* rfm_amount.c: between numeric and units */
extern int	RfmUnitsFromNumeric(Numeric packed, int128 *units); /* gives decimals */
extern int128 RfmRescale(int128 units, int from_decimals, int to_decimals);
extern int128 RfmAddUnits(int128 a, int128 b);
extern double RfmUnitsToDouble(int128 units, int decimals);
extern void RfmUnitsToText(int128 units, int decimals, char *buf);	/* 48 bytes */
extern Numeric RfmUnitsToNumeric(int128 units, int decimals);

/* States of aggregates; see core/state.h. */
extern const struct StateKind rfm_collapse_state;
extern const struct StateKind rfm_breaks_state;

/* Errors out unless the instant of an event is finite. */
extern void RfmCheckInstant(TimestampTz at);

/* rfm_access.c: time by a local clock; a NULL zone is UTC */
extern pg_tz *RfmFindZone(text *name);
extern uint64 RfmElapsed(TimestampTz from, TimestampTz to, pg_tz *zone);
extern int	RfmDaysBetween(TimestampTz from, TimestampTz to, pg_tz *zone);

/* rfm_io.c */
extern const char *RfmUnitName(RfmUnit unit);
extern void RfmSendUnits(StringInfo buf, int128 units);
extern int128 RfmReceiveUnits(StringInfo buf);

/* Errors out unless as_of is finite and not before the last purchase. */
extern void RfmCheckAsOf(const rfm *s, TimestampTz as_of);

/* Errors out on a value that another version of the extension wrote. */
extern rfm *RfmCheckVersion(rfm *s);

#endif							/* LOYALTY_RFM_H */
