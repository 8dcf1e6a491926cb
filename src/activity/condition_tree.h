/*
 * condition_tree.h
 *		A condition as it was read: for condition.c and condition_evaluate.c.
 */
#ifndef LOYALTY_CONDITION_TREE_H
#define LOYALTY_CONDITION_TREE_H

#include "activity/condition.h"

typedef enum ConditionKind
{
	CONDITION_ALL,
	CONDITION_ANY,
	CONDITION_NOT,
	CONDITION_AMOUNT,
	CONDITION_ACTIVITIES,
	CONDITION_CHANNEL,
	CONDITION_WEEKDAY,
	CONDITION_MONTH_DAY,
	CONDITION_HOURS,
	CONDITION_BETWEEN,
	CONDITION_LINES,
	CONDITION_REACHED,
	CONDITION_PATH,
	CONDITION_FACT
} ConditionKind;

/* Numbers from least to most, either of which may be absent or left out. */
typedef struct Range
{
	bool		has_least;
	bool		has_most;
	bool		above_least;
	bool		below_most;
	Micros		least;
	Micros		most;
} Range;

/* Which lines, by what they are of. */
enum
{
	LINE_SKU,
	LINE_CATEGORY,
	LINE_BRAND,
	LINE_GRADE,
	LINE_TRAITS
};

typedef struct Texts
{
	int			n;
	char	  **texts;
} Texts;

struct Condition
{
	ConditionKind kind;
	const char *path;			/* where it stands in its definition */
	int			cost;
	bool		negated;		/* stands under a not */

	int			nparts;			/* all, any, not */
	Condition **parts;
	const Condition *hours;		/* of days: those beside it */

	Range		range;			/* amount, activities, count, spent; of lines
								 * the quantity */
	Range		amount;			/* of lines */
	Texts		texts;			/* channel, levels */
	const char *ladder;			/* reached */
	Texts		traits[LINE_TRAITS];
	uint32		days;			/* bit of each weekday or day of the month */
	Timestamp	from;			/* between; hours: since midnight */
	Timestamp	until;
	Datum		jsonpath;
	FactQuestion question;
};

extern bool MatchPath(Datum document, Datum jsonpath, bool silent, bool *isnull);

#endif							/* LOYALTY_CONDITION_TREE_H */
