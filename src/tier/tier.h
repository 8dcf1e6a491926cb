/*
 * tier.h
 *		Room tier: ladders that members climb.
 *
 * A member's tier at an instant is a function of facts: qualifying facts
 * (points earned, money spent, visits, scores), grants, merges, and the
 * versions of the ladder.  It is computed by replaying them; nothing else is
 * ever asked, and no job has to have run.  What is stored (tier_state) is such
 * a replay, stopped at the last fact, and can be taken further from there.
 *
 *
 * State
 * -----
 *
 *		level			earned level, 0 for none
 *		since			when it was reached
 *		valid_until		when its term ends; infinity: never
 *		grace_until		in grace: when the grace ends; otherwise -infinity
 *		pending			level that waits for the next period, from pending_at
 *		granted			the highest level granted at this instant, 0 for none
 *		effective		max(level, granted): the tier that everybody sees
 *
 * The earned level lives its own life below a grant: a grant is a floor until
 * its end, and never shortens or renews what was earned.
 *
 *
 * Steps
 * -----
 *
 * TierEvaluate() makes one step.  The first line that applies is taken:
 *
 *		pending_at is due			level = pending					upgraded
 *		the term or grace is over:
 *		  requalified for the level	next term						renewed
 *		  at_end = never_down		next term						locked
 *		  lands on the minimum that
 *		  it stands on				next term						locked
 *		  grace not yet given		grace begins					grace_started
 *		  otherwise					lands on the level that it
 *									qualifies for (reassess), or at
 *									most one below (soft_landing),
 *									not below the minimum			downgraded,
 *									or leaves the ladder			expired
 *		otherwise:
 *		  none, and qualifies		level = qualified				enrolled
 *		  qualifies for more		at once							upgraded
 *									or pending						none
 *		  in grace and requalified	next term						renewed
 *		  else						nothing							none
 *
 * Then the grant is laid over: where the effective level changed, its change
 * names the event; where the earned level fell and the grant held the tier,
 * the event is locked; what happens below a grant and changes nothing that
 * anybody sees is none.
 *
 * A level that is qualified for again, or a lower one, never shortens or
 * resets the term of the level that is held.
 *
 * The term that follows an end begins at that end, also where a grace lay
 * between; only where the grace has outlasted all of it, it begins at the end
 * of the grace.  Interval terms are counted from the first one's start, so that
 * month ends do not drift.  A term "to the end of the following period" which
 * begins at an end follows the period that ends there.
 *
 *
 * Instants
 * --------
 *
 * Every range is half-open: at valid_until the next state holds.  At one
 * instant: first the clock (pending, end of term, carry-over, grants), then a
 * new version of the ladder, then merges, then facts; all facts of one instant
 * count together.  So a fact exactly at an end belongs to the time after it.
 * Calendar arithmetic is in the ladder's time zone: months and days by the
 * wall clock, smaller units by the stop-watch, as timestamptz + interval.
 *
 *
 * Windows
 * -------
 *
 *		rolling			(t - interval, t]
 *		month, quarter, year	the period of t
 *		anniversary		the year of membership of t, counted from joined_at
 *		term			since the last term began; the facts that began it are
 *						in the term before
 *		lifetime		everything
 *		latest			not a sum: the last value (scores)
 *
 * At an end the period that ends there is assessed; in grace it goes on to the
 * end of the grace.  With carry_over, what exceeded the threshold of the level
 * held counts in the next period or term: never more than was collected in it.
 *
 *
 * Returns
 * -------
 *
 * A fact counts at counts_at, the date of the order that a return belongs to,
 * and is known in the business from its own date on.  With returns = keep it
 * lowers its window and nothing else; the level stays to its end.  With
 * take_back, from the return on the member's state is the one that there would
 * be, had the order been smaller from the start: a tier that was reached only
 * through it goes, with the return's date.  The time before stays as it was.
 *
 *
 * Versions, merges
 * ----------------
 *
 * A new version of a ladder takes the state and the grants over by level code;
 * a code that is gone becomes the next lower one that is left.  Whoever
 * qualifies for more rises at once; nobody falls before the term ends.  What
 * was carried over stays where it was brought, of measures that are counted in
 * the same window as before.
 *
 * A merge takes the better state of both: the higher earned level, then the
 * later valid_until, then the survivor's; from then on the facts of both
 * count together.  Unmerging removes the merge from the facts, and with it
 * all that it did.
 *
 *
 * Invariants (AssertTierState)
 * ----------------------------
 *
 * level 0 has no term, no grace and nothing pending; since <= valid_until;
 * grace_until is -infinity or after valid_until; pending is 0 or above level;
 * effective = max(level, granted).
 *
 * Amounts are in ten-thousandths (TIER_SCALE), sums are exact, so the result
 * does not depend on the order in which facts are read.
 */
#ifndef LOYALTY_TIER_H
#define LOYALTY_TIER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/jsonb.h"

#include "ledger/pack.h"

#define TIER_MAX_LEVELS		32
#define TIER_MAX_MEASURES	8
#define TIER_SCALE			10000

typedef enum TierWindow
{
	WINDOW_ROLLING,
	WINDOW_MONTH,
	WINDOW_QUARTER,
	WINDOW_YEAR,
	WINDOW_ANNIVERSARY,
	WINDOW_TERM,
	WINDOW_LIFETIME,
	WINDOW_LATEST
} TierWindow;

typedef enum TierValidity
{
	VALID_INTERVAL,				/* an interval, term after term */
	VALID_PERIOD,				/* to the end of the following period */
	VALID_FOREVER
} TierValidity;

typedef enum TierEnd
{
	END_REASSESS,
	END_SOFT_LANDING,
	END_NEVER_DOWN
} TierEnd;

/* Of an instant at which a period ends: the one that begins, or that ends. */
typedef enum PeriodAsked
{
	PERIOD_BEGUN,
	PERIOD_ENDED
} PeriodAsked;

/* What happened.  The numbers are stored: never change or reuse one. */
typedef enum TierEvent
{
	TIER_NONE = 0,
	TIER_ENROLLED,
	TIER_UPGRADED,
	TIER_RENEWED,
	TIER_GRACE_STARTED,
	TIER_DOWNGRADED,
	TIER_LOCKED,
	TIER_EXPIRED
} TierEvent;

typedef enum TierReason
{
	REASON_NONE = 0,
	REASON_QUALIFIED,			/* criteria met by facts */
	REASON_NEXT_PERIOD,			/* an upgrade waits, or has waited */
	REASON_REQUALIFIED,			/* at the end of a term */
	REASON_REQUALIFIED_IN_GRACE,
	REASON_NOT_REQUALIFIED,
	REASON_SOFT_LANDING,
	REASON_NEVER_DOWN,
	REASON_MINIMUM,
	REASON_GRANTED,
	REASON_GRANT_ENDED,
	REASON_RETURNED,			/* an order was returned */
	REASON_MERGED,
	REASON_LADDER_CHANGED,
	REASON_HOUSEHOLD			/* of the household, whose level is the better */
} TierReason;

/* An interval: months and days by the wall clock, the rest by the stop-watch. */
typedef struct TierSpan
{
	int32		months;
	int32		days;
	int64		micros;
} TierSpan;

/* need of the measures asked for must reach at_least; need 0 is always met */
typedef struct TierCriteria
{
	int			need;
	uint32		asked;			/* bit (1 << measure) */
	int64		at_least[TIER_MAX_MEASURES];
} TierCriteria;

typedef struct TierLevel
{
	char		code[NAMEDATALEN];
	char		name[NAMEDATALEN];
	TierCriteria qualify;
	TierCriteria renew;
	TierValidity validity;
	TierSpan	interval;
	TierEnd		at_end;
	TierSpan	grace;
	bool		has_grace;
} TierLevel;

typedef struct TierMeasure
{
	char		code[NAMEDATALEN];
	TierWindow	window;
	TierSpan	interval;
} TierMeasure;

/* A definition of a ladder: rank r is level[r - 1]. */
typedef struct LadderDefinition
{
	pg_tz	   *zone;
	bool		fixed_offset;	/* the zone has always been so far east: */
	int64		offset;			/* microseconds */
	int			nmeasures;
	TierMeasure measure[TIER_MAX_MEASURES];
	int			nlevels;
	TierLevel	level[TIER_MAX_LEVELS];
	TierWindow	period;			/* month, quarter, year or anniversary */
	int			minimum;		/* rank, or 0 */
	bool		carry_over;
	bool		next_period;	/* upgrades wait */
	bool		take_back;		/* returns */
	bool		best_of_household;	/* see tier_household.c */
} LadderDefinition;

typedef struct TierState
{
	int			level;
	TimestampTz joined_at;
	TimestampTz since;
	TimestampTz anchor;			/* interval terms are counted from here */
	int			terms;
	TimestampTz valid_until;
	TimestampTz grace_until;
	int			pending;
	TimestampTz pending_at;
	int			granted;
	int			effective;
	TimestampTz effective_since;
} TierState;

/* What is known at the instant of a step. */
typedef struct TierInput
{
	TimestampTz at;
	int			qualified;		/* highest rank whose criteria are met, or 0 */
	int			renewed;		/* highest rank, up to the level held, whose
								 * renewal criteria are met */
	int			granted;		/* highest rank granted, or 0 */
} TierInput;

typedef struct TierStep
{
	TimestampTz at;				/* when it happened */
	TierEvent	event;
	TierReason	reason;
	bool		term_began;
} TierStep;

/* tier_clock.c */
extern TimestampTz AddSpan(const LadderDefinition *ladder, TimestampTz t, const TierSpan *span, int times);
extern TimestampTz TierPeriodStart(const LadderDefinition *ladder, TierWindow period, TimestampTz joined_at, TimestampTz t);
extern TimestampTz TierPeriodEnd(const LadderDefinition *ladder, TierWindow period, TimestampTz joined_at, TimestampTz t);

/* tier_evaluate.c */
extern void InitTierState(TierState *state, TimestampTz joined_at);
extern void TierEvaluate(TierState *state, const TierInput *input, const LadderDefinition *ladder, TierStep *step);
extern TimestampTz TierNext(const TierState *state);
extern int	QualifiedRank(const LadderDefinition *ladder, const int64 *values);
extern int	RenewedRank(const LadderDefinition *ladder, int level, const int64 *values);
extern bool TierStateIsSound(const TierState *state);
extern const char *TierEventName(TierEvent event);
extern const char *TierReasonName(TierReason reason);

/* tier_ladder.c */
extern LadderDefinition *ParseLadder(Jsonb *definition, const char *time_zone);
extern int	RankOfCode(const LadderDefinition *ladder, const char *code);
extern const char *CodeOfRank(const LadderDefinition *ladder, int rank);
extern int64 ScaleAmount(Datum numeric);
extern int64 ScalePoints(int64 points);
extern Datum UnscaleAmount(int64 amount);

#endif							/* LOYALTY_TIER_H */
