/*
 * cohort.h
 *		Room cohort: activity of members by period, retention, repurchase,
 *		concentration, preferences, funnels and paths, lifecycle stages.
 *
 * The computing is plain C over the structs below; the Datum functions stand
 * over it, at the bottom of each file.
 */
#ifndef LOYALTY_COHORT_H
#define LOYALTY_COHORT_H

#include "core/state.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/*
 * A period is a whole number of days or of months.  Periods of days are
 * counted from Monday 2000-01-03, periods of months from January of the
 * astronomical year 0, so weeks begin on Monday and quarters in January.
 * Weeks that begin on Sunday are counted in days from Sunday 2000-01-02.
 */
typedef enum PeriodBase
{
	PERIOD_DAYS = 1,
	PERIOD_MONTHS = 2,
	PERIOD_SUNDAYS = 3			/* days, a whole number of weeks */
} PeriodBase;

typedef struct Period
{
	uint8		base;			/* PeriodBase */
	uint16		step;			/* days or months, at least 1 */
	uint32		zone;			/* hash of the time zone's name */
} Period;

#define PERIOD_MAX_STEP		36500

pg_noreturn extern void PeriodsDiffer(const Period *a, const Period *b);

/* Errors out when two values count in different periods or time zones. */
static inline void
CheckSamePeriod(const Period *a, const Period *b)
{
	if (unlikely(a->base != b->base || a->step != b->step || a->zone != b->zone))
		PeriodsDiffer(a, b);
}

/* cohort_period.c: plain computing */
extern bool PeriodValid(int base, int step);
extern bool ParsePeriod(const char *str, int len, Period *period);
extern void FormatPeriod(const Period *period, char *buf, size_t size);
extern int32 PeriodOfDate(const Period *period, int32 date);
extern bool PeriodExists(const Period *period, int64 number);
extern Datum PeriodStart(const Period *period, int32 number, bool *isnull);

/*
 * Translates instants into period numbers, with what is expensive kept: the
 * parsed arguments, the spans of time in which the zone's offset from UTC is
 * constant, and the months of dates.
 */
#define PERIOD_CLOCK_SPANS	64
#define PERIOD_CLOCK_DATES	1024	/* a power of two */

typedef struct ZoneSpan
{
	TimestampTz from;			/* inclusive */
	TimestampTz until;			/* exclusive */
	int64		offset;			/* microseconds east of UTC */
} ZoneSpan;

typedef struct DatedPeriod
{
	int32		date;
	int32		number;
} DatedPeriod;

typedef struct PeriodClock
{
	Period		period;
	pg_tz	   *tz;
	int			nspans;
	int			last;			/* the span that served last */
	ZoneSpan	spans[PERIOD_CLOCK_SPANS];
	/* periods of months, each date at its remainder */
	DatedPeriod dates[PERIOD_CLOCK_DATES];
	/* the arguments that period and tz were made from */
	int			period_len;
	int			zone_len;		/* -1 for NULL */
	char		period_arg[64];
	char		zone_arg[TZ_STRLEN_MAX + 1];
} PeriodClock;

extern PeriodClock *GetPeriodClock(FunctionCallInfo fcinfo, int period_argno, int zone_argno);
extern Timestamp LocalTime(PeriodClock *clock, TimestampTz at);
extern int32 PeriodOfInstant(PeriodClock *clock, TimestampTz at);

/* The checkers: they own the SQLSTATE and the wording. */
extern void CheckFiniteInstant(TimestampTz at, const char *what);
extern void CheckFiniteAmount(Numeric amount, const char *what);

/*
 * The set of periods in which a member was active, and how often.  Blocks are
 * sorted by key and hold at least one bit; block key k holds periods 32k to
 * 32k + 31.  A value that is an aggregate's state may have room behind its
 * last block; a stored one has none.
 */
typedef struct ActivitySummaryBlock
{
	int32		key;
	uint32		bits;
} ActivitySummaryBlock;

#define ACTIVITY_SUMMARY_VERSION	1

typedef struct ActivitySummary
{
	int32		vl_len_;		/* varlena header */
	uint8		version;		/* ACTIVITY_SUMMARY_VERSION */
	uint8		base;			/* the period: PeriodBase, */
	uint16		step;			/* its length, */
	uint32		zone;			/* and the hash of its time zone */
	int32		nblocks;
	int64		events;			/* all events */
	int64		first_events;	/* those in the first active period */
	ActivitySummaryBlock blocks[FLEXIBLE_ARRAY_MEMBER];
} ActivitySummary;

#define ACTIVITY_SUMMARY_SIZE(n)	(offsetof(ActivitySummary, blocks) + (n) * sizeof(ActivitySummaryBlock))
#define DatumGetActivitySummary(d) ((ActivitySummary *) PG_DETOAST_DATUM(d))
#define PG_GETARG_ACTIVITY_SUMMARY(n) ActivitySummaryCheckVersion(DatumGetActivitySummary(PG_GETARG_DATUM(n)))

extern ActivitySummary *ActivitySummaryCheckVersion(ActivitySummary *a);
extern Period ActivitySummaryPeriod(const ActivitySummary *a);
extern int32 ActivitySummaryFirst(const ActivitySummary *a);
extern int32 ActivitySummaryLast(const ActivitySummary *a);
extern int32 ActivitySummaryCount(const ActivitySummary *a);
extern bool ActivitySummaryHas(const ActivitySummary *a, int32 period);
extern ActivitySummary *MakeActivitySummary(const Period *period, int capacity);
extern ActivitySummary *ActivitySummaryAdd(ActivitySummary *a, int32 period);

/* Walks through the active periods, in order. */
typedef struct ActivitySummaryCursor
{
	const ActivitySummary *a;
	int			block;
	uint32		bits;			/* what is left of the block */
} ActivitySummaryCursor;

extern void ActivitySummaryRewind(ActivitySummaryCursor *cursor, const ActivitySummary *a);
extern bool ActivitySummaryNext(ActivitySummaryCursor *cursor, int32 *period);

/*
 * A tally: counts by (kind, a, b), sorted.  Types cohort_matrix and
 * repurchase are tallies with different kinds.
 */
typedef enum TallyKind
{
	/* cohort_matrix; a is a cohort or a period, b an offset in periods */
	TALLY_SIZE = 0,				/* members of cohort a */
	TALLY_CELL = 1,				/* of cohort a, active b periods later */
	TALLY_ACTIVE = 2,			/* active in period a */
	TALLY_KEPT = 3,				/* active in period a and in a - 1 */
	TALLY_FIRST = 4,			/* active for the first time in period a */
	/* repurchase */
	TALLY_ORDERS = 8,			/* members with a orders */
	TALLY_INTERVAL = 9			/* pairs of consecutive orders a periods apart */
} TallyKind;

#define TALLY_KINDS		(TALLY_INTERVAL + 1)

typedef enum TallyType
{
	TALLY_COHORT_MATRIX = 1,
	TALLY_REPURCHASE = 2
} TallyType;

typedef struct TallyEntry
{
	int64		n;
	int64		a;
	int32		b;
	int32		kind;
} TallyEntry;

#define TALLY_VERSION	1

typedef struct Tally
{
	int32		vl_len_;		/* varlena header */
	uint8		version;		/* TALLY_VERSION */
	uint8		type;			/* TallyType */
	uint8		base;			/* the period, as in ActivitySummary; 0 when empty */
	uint8		reserved;
	uint32		zone;
	uint16		step;
	uint16		reserved2;
	int32		nentries;
	int32		reserved3;
	TallyEntry	entries[FLEXIBLE_ARRAY_MEMBER];
} Tally;

#define TALLY_SIZE_OF(n)	(offsetof(Tally, entries) + (n) * sizeof(TallyEntry))

/* cohort_tally.c */
struct tally_hash;
typedef struct TallyState
{
	State		head;
	uint8		type;
	bool		has_period;
	Period		period;
	int64		totals[TALLY_KINDS];	/* all counts of a kind */
	struct tally_hash *hash;
} TallyState;

extern TallyState *TallyStateMake(MemoryContext context, TallyType type);
extern TallyState *TallyStateOf(FunctionCallInfo fcinfo, TallyType type);
extern void TallySetPeriod(TallyState *state, const Period *period);
extern void AddToTally(TallyState *state, TallyKind kind, int64 a, int32 b, int64 n);
extern Tally *TallyFinish(TallyState *state);

/* cohort_retention.c: counts the active periods of one member, in order */
typedef struct MemberCount
{
	TallyState *state;
	int32		cohort;
	int32		previous;
	bool		any;
} MemberCount;

extern void CountMember(MemberCount *count, TallyState *state, int32 cohort);
extern void CountPeriod(MemberCount *count, int32 period);

extern Tally *GetTally(Datum d, TallyType type);
extern Period TallyPeriod(const Tally *t);
extern int	TallyFind(const Tally *t, TallyKind kind, int64 a, int32 b);
extern int64 TallyCount(const Tally *t, TallyKind kind, int64 a, int32 b);

/*
 * Events of one member with the conditions that hold for each: what funnels
 * and paths are found in.  Equal events are kept once, with their number.
 */
#define EVENTS_MAX_CONDITIONS	32

typedef struct Event
{
	int64		at;				/* microseconds since 2000-01-01 UTC */
	uint32		mask;			/* bit i: condition i + 1 holds */
	uint32		count;
} Event;

typedef struct EventList
{
	MemoryContext context;
	int			nconditions;	/* 0 until known */
	bool		sorted;
	Size		n;
	Size		capacity;
	Event	   *events;
} EventList;

extern void EventListInit(EventList *list, MemoryContext context);
extern void EventListAdd(EventList *list, int64 at, uint32 mask, uint32 count);
extern void EventListSort(EventList *list);
extern void EventListAppend(EventList *list, const EventList *other);
extern void EventListSend(StringInfo buf, const EventList *list);
extern void EventListReceive(StringInfo buf, EventList *list);
extern uint32 GetConditions(FunctionCallInfo fcinfo, int argno, int *nconditions);
extern void CheckConditionCount(EventList *list, int nconditions);

/* Modes of a window funnel, as a set of bits. */
#define FUNNEL_STRICT_DEDUPLICATION 1
#define FUNNEL_STRICT_ORDER			2
#define FUNNEL_STRICT_INCREASE		4
#define FUNNEL_STRICT_ONCE			8
#define FUNNEL_ALLOW_REENTRY		16
#define FUNNEL_ANY_ORDER			32

extern int	FunnelLevel(const EventList *list, int64 window, int modes);

/*
 * funnel_agg: which steps a member made, and when.  An event that excludes has
 * the highest bit.
 */
#define FUNNEL_MAX_STEPS			(EVENTS_MAX_CONDITIONS - 1)
#define FUNNEL_EXCLUDES				(((uint32) 1) << FUNNEL_MAX_STEPS)

typedef struct FunnelSteps
{
	int			level;			/* number of steps made */
	bool		made[FUNNEL_MAX_STEPS];
	int64		at[FUNNEL_MAX_STEPS];	/* of those */
} FunnelSteps;

/* cohort_steps.c */
extern void FindFunnelSteps(const EventList *list, int nsteps, int64 window, int modes, FunnelSteps *best);

/*
 * A path pattern: elements that take one event each, and what may lie between
 * an element and the one before it.
 */
#define PATH_MAX_ELEMENTS	64

typedef enum PathGap
{
	PATH_ADJACENT,				/* nothing */
	PATH_ANY,					/* any number of events */
	PATH_TIMED					/* any number of events, and a span of time */
} PathGap;

typedef struct PathElement
{
	uint32		mask;			/* the condition, or 0 for any event */
	PathGap		gap;
	int64		at_least;		/* microseconds; for PATH_TIMED */
	int64		at_most;
} PathElement;

typedef struct PathPattern
{
	int			n;
	int			highest;		/* highest condition named */
	PathElement elements[PATH_MAX_ELEMENTS];
} PathPattern;

/* States of aggregates; see core/state.h. */
extern const StateKind tally_state;
extern const StateKind members_state;
extern const StateKind amounts_state;
extern const StateKind slots_state;
extern const StateKind values_state;
extern const StateKind discount_state;

#endif							/* LOYALTY_COHORT_H */
