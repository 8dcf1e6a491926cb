/*
 * decide.h
 *		What an activity earns: a pure function of the campaigns that look at
 *		it, the activity as it is, what its awards hold and what limits leave.
 *
 * The write path, the preview, the back-test, the explanation and the check
 * all call Decide().  Its rules:
 *
 * 1. A campaign matches by the activity as it happened, never by what another
 *	  made of it.  Those that match go by (lane, priority, code), their effects
 *	  as written.
 * 2. An additive effect is worth an exact amount, never below 0, and is rounded
 *	  once, by itself.
 * 3. A multiplier multiplies what the additive effects of the lane were worth
 *	  before rounding and before limits, line by line; what belongs to no line
 *	  (fixed and stepped parts, shipping) is reached only by multipliers of the
 *	  whole activity.  With m a line's factor after the k-th multiplier,
 *	  V_k = sum of line * m, the k-th gives round(V_k) - round(V_k-1).
 * 4. Of a group one wins: of the activity, or of each line.  "First" by order.
 *	  "Best" by what each would give alone in the group's currency, of the
 *	  activity after its limits, of a line exactly; the earlier one at a tie.  A
 *	  campaign of which limits leave nothing is no candidate.  Groups are settled
 *	  one after the other, by their first campaigns; until a group is settled
 *	  nobody multiplies what its campaigns give.
 * 5. First what no longer matches, or lost in its group, is given back.  Then
 *	  in order: given = min(wanted, ceiling, held + left now).  The ceiling is
 *	  what an award got when a limit first trimmed it.
 *	  Of items (coupons and the like) the wanted is one, and what their room
 *	  leaves of them is one more limit.  What was given and cannot be taken back
 *	  any more is kept, and goes on counting.
 * 6. Whom a trial holds out is told last: a campaign that matches gives nothing
 *	  then, as if a limit had left nothing, and nobody multiplies what it is
 *	  worth.  So what it would have given is known of both arms.
 * 7. A campaign that says stop, and gave something, ends everything behind it
 *	  that looks at the activity.  Windows are not of one activity: nothing ends
 *	  them, and they neither stop nor stand in groups.
 * 8. Of candidates that are fixed what is held stands.  Limits, groups of the
 *	  activity and stop count it; in a group one that holds something has won.
 */
#ifndef LOYALTY_DECIDE_H
#define LOYALTY_DECIDE_H

#include "postgres.h"

#include "rule/campaign.h"

/* What a limit counts in one period, before and after the decision */
typedef struct Counter
{
	const char *name;
	DateADT		period;
	int64		used;			/* what this activity's awards hold included */
	int64		by_windows;		/* said by Decide(): the part of the change that
								 * is due to windows */
	int64		most_used;		/* said by Decide(): at any moment of it */

	/* working space: of this activity's awards */
	int64		held_here;		/* points */
	int			holders;		/* how many hold something; in times they count
								 * once */
} Counter;

/* How many more of an item the member may have, as its room says */
typedef struct ItemsLeft
{
	int64		left;
	const char *limited_by;		/* the name of that limit */
	int64		given;			/* said by Decide(): of them, by this decision */
} ItemsLeft;

/* What an effect has of this activity, before the decision */
typedef struct Held
{
	int64		points;			/* of an item 1 */
	bool		stays;			/* it cannot be taken back any more */
	bool		counts_elsewhere;	/* in counters of other periods: it is free
									 * of limits here, and given back there */
	bool		trimmed;
	int64		ceiling;		/* where it was trimmed */
	const char *limited_by;
} Held;

/* What an effect is to have */
typedef struct Ruling
{
	Held		held;
	ItemsLeft  *left;			/* NULL: any number; as of points */
	int64		wanted;
	int64		given;
	const char *limited_by;		/* where less is given than wanted */
	bool		stayed;			/* given is what could not be taken back */
} Ruling;

/* Whether a ruling changes what is held or where it counts, or refuses something
 * for the first time: then it is written down, with what was known of the member. */
static inline bool
RulingIsNews(const Ruling *ruling)
{
	return ruling->given != ruling->held.points || (ruling->held.counts_elsewhere && ruling->given != 0) ||
		(ruling->limited_by != NULL && !ruling->held.trimmed);
}

/* A campaign that looks at an activity */
typedef struct Candidate
{
	const Campaign *campaign;
	const Activity *subject;	/* the activity, or what its window adds up to */
	int			nactivities;
	bool		keep;			/* what it holds does not fall */
	bool		fixed;			/* what it holds stands: another campaign is
								 * decided anew */
	Counter    *counters[CAMPAIGN_MAX_LIMITS];	/* of its limits but that of one award */
	Ruling	   *rulings;		/* of its effects */

	/* said by MatchCandidate() */
	bool		matched;
	bool		held_out;		/* of a trial: it matches, and gives nothing */
	const char *failed_at;		/* otherwise: the place in its definition */
	bool	   *lines;			/* of the subject that match; NULL: all */

	/* said by Decide() */
	const char *lost_to;		/* the campaign that won instead, or stopped it */

	/* working space */
	bool		is_settled;
	bool	   *won;			/* lines, of a group that is won by line */
	int			window_holders[CAMPAIGN_MAX_LIMITS];
} Candidate;

extern void InitCandidate(Candidate *candidate, const Campaign *campaign, const Activity *subject);
extern bool ActivityIsSelected(const Campaign *campaign, const Activity *activity, bool **lines, FactReader read, void *arg);
extern bool MatchCandidate(Candidate *candidate, FactReader read, void *arg);
extern void Decide(Candidate *const *candidates, int n);

#endif							/* LOYALTY_DECIDE_H */
