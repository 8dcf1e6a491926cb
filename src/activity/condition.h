/*
 * condition.h
 *		The language of conditions: typed predicates over an activity and facts
 *		of its member, as JSON.
 *
 *	{"all": [...]}, {"any": [...]}, {"not": {...}}		an object of several
 *		predicates asks for all of them
 *	{"amount": {">=": 50}}								also >, <=, <, =
 *	{"lines": {"sku": [...], "category": [...], "brand": [...], "grade": [...],
 *		"quantity": {...}, "amount": {...}}}			sku to grade select lines,
 *		quantity and amount are sums over those; without them one must be there
 *	{"channel": [...]}
 *	{"weekday": [6, 7]}, {"month_day": [8, 18]}, {"hours": ["17:00", "20:00"]}
 *	{"between": ["2026-06-01", "2026-09-01"]}			all by the local clock
 *	{"holiday": "de"}
 *	{"birthday": {"before": 3, "after": 3, "leap_day": "feb28"}}
 *	{"tier": {"club": ["gold"]}}, {"attribute": {"city": ["Bonn"]}}
 *	{"count": {"kind": "order", "within": "lifetime", "=": 0}}, {"spent": {...}}
 *		before this activity, in the day, week, month, quarter or year in which
 *		it lies
 *	{"reached": {"club": ["gold"]}}						of tier_changed: the level was
 *		reached, not fallen to
 *	{"path": "$.gift == true"}							over its document
 *	{"activities": {">=": 3}}							of a window: how many
 *	and what other rooms register (struct Predicate)
 *
 * A predicate is true, false, or unknown where what it reads is missing; what
 * is not true does not hold, and the negation of the unknown is unknown.  A
 * path means what jsonb_path_match() says, and NULL is unknown.
 *
 * A span of hours over midnight belongs to the day on which it begins, also for
 * the predicates of days beside it in the same object.
 *
 * Plain C over plain structs: facts of the member come through a callback, which
 * is asked only where the activity itself has not decided.
 */
#ifndef LOYALTY_CONDITION_H
#define LOYALTY_CONDITION_H

#include "postgres.h"

#include "activity/activity.h"
#include "activity/calendar.h"
#include "activity/definition.h"

typedef enum Truth
{
	TRUTH_NO,
	TRUTH_YES,
	TRUTH_UNKNOWN
} Truth;

static inline Truth
TruthOf(bool b)
{
	return b ? TRUTH_YES : TRUTH_NO;
}

typedef enum FactKind
{
	FACT_TIER,					/* name: the ladder; its level, a text */
	FACT_COUNT,					/* name: kind of activities; how many, a number */
	FACT_SPENT,					/* the same; the sum of their amounts */
	FACT_HOLIDAY,				/* name: of the list; yes or no */
	FACT_BIRTHDAY,				/* yes or no */
	FACT_ATTRIBUTE,				/* name; whether it is one of texts */
	FACT_REGISTERED				/* a predicate of another room; yes or no */
} FactKind;

typedef struct Predicate Predicate;

/* What is to be known of the member, before the activity. */
typedef struct FactQuestion
{
	FactKind	kind;
	const char *key;			/* the same for the same question */
	const char *name;
	Period		within;			/* of count and spent */
	int			before;			/* of birthday: days */
	int			after;
	bool		leap_on_mar1;
	int			ntexts;			/* of attribute */
	char	  **texts;
	const Predicate *predicate; /* of a registered one */
	void	   *detail;			/* what its parse() kept */
} FactQuestion;

/* The answer; which of the three it is follows from the question. */
typedef struct FactAnswer
{
	bool		known;
	const char *text;
	Micros		number;
	Truth		truth;
} FactAnswer;

/* day: the local day that counts for holidays and birthdays */
typedef void (*FactReader) (const FactQuestion *question, const Activity *activity, DateADT day,
							FactAnswer *answer, void *arg);

/*
 * A predicate that a room to the right adds in its Init, such as
 * {"audience": ["vip"]}.
 *
 * parse reads what stands behind the key, complains where it means nothing, and
 * may keep it in question->detail, in the current memory context; it returns a
 * text that is the same for the same question, or NULL where it complained.
 * read says whether it is so for a member as of activity->at, without the
 * activity itself; it may read tables.  The answer is frozen with the award.
 */
struct Predicate
{
	const char *key;
	const char *(*parse) (const Place *place, FactQuestion *question);
	Truth		(*read) (const FactQuestion *question, int64 member_id, const Activity *activity);
};

extern void RegisterPredicate(const Predicate *predicate);

typedef struct Condition Condition;

/* What a condition is about. */
typedef struct ConditionSubject
{
	const Activity *activity;
	const char *money;			/* amounts of another are unknown; NULL: of any */
	pg_tz	   *zone;			/* NULL: the activity's */
	FactReader	read;			/* NULL: nothing is known of the member */
	void	   *arg;
	int			nactivities;	/* of a window: how many it adds up */

	/* found out when first asked */
	bool		local_known;
	Timestamp	local;			/* at, by the local clock */
	const char *failed_at;		/* the place of what did not hold */
} ConditionSubject;

extern Condition *ParseCondition(const Place *place);
extern Condition *ParseWindowCondition(const Place *place);
extern Condition *ParseLineSelector(const Place *place);
extern Truth EvaluateCondition(const Condition *condition, ConditionSubject *subject);
extern bool SelectsLines(const Condition *condition);
extern void SelectLines(const Condition *condition, ConditionSubject *subject, bool *selected);
extern bool AsksOfMember(const Condition *condition);
extern void ForEachQuestion(const Condition *condition, void (*visit) (const FactQuestion *, void *), void *arg);

extern bool IsOneOfTexts(const FactQuestion *question, const JsonbValue *value);
extern Timestamp LocalOfSubject(ConditionSubject *subject);

#endif							/* LOYALTY_CONDITION_H */
