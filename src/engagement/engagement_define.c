/*
 * engagement_define.c
 *		Definitions of streaks, badges, challenges, boards, referrals, clubs and
 *		journeys, as check_engagement_definition() reads them; those of draws are
 *		in draw_define.c.
 *
 * What counts is said alike everywhere: "kind" (of activities), "when" (a
 * condition on the activity itself), "money" (of which alone), "measure" (count, amount, days) and "whole"
 * (amounts of activities are rounded down to whole ones).
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "activity/condition.h"
#include "core/core.h"
#include "core/errors.h"
#include "engagement/engagement.h"

#define FACT_KEYS		"kind", "when", "money"
#define MEASURE_KEYS	FACT_KEYS, "measure", "whole"

#define MOST			INT64CONST(1000000000000)

/* Which parts must be there */
typedef enum Need
{
	OPTIONAL,
	REQUIRED
} Need;

/*
 * Refuses a definition that has mistakes.
 */
void
RefuseEngagement(const char *what, const Problems *problems)
{
	StringInfoData text;
	ListCell   *cell;

	if (problems->nerrors == 0)
		return;
	initStringInfo(&text);
	foreach(cell, problems->list)
	{
		const Problem *problem = lfirst(cell);

		if (problem->is_error)
			appendStringInfo(&text, "%s%s %s", text.len > 0 ? "; " : "", problem->path[0] != '\0' ? problem->path : "the definition", problem->text);
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ENGAGEMENT),
			 errmsg("invalid definition of a %s", what),
			 errdetail("%s.", text.data),
			 errhint("See the comment of loyalty.define_%s().", what)));
}

/* A part of an object, which is complained of where it is needed and missing. */
static bool
Part(const Place *object, const char *key, Need need, Place *part)
{
	if (GetPart(object, key, part))
		return true;
	if (need == REQUIRED)
		Complain(object, "has no \"%s\"", key);
	return false;
}

static void
Whole(const Place *object, const char *key, Need need, int64 least, int64 most)
{
	Place		part;
	int64		number;

	if (Part(object, key, need, &part))
		(void) ReadWhole(&part, least, most, &number);
}

static void
Amount(const Place *object, const char *key, Need need)
{
	Place		part;
	Micros		number;

	if (Part(object, key, need, &part) && ReadDecimal(&part, &number) && number <= 0)
		Complain(&part, "must be positive");
}

static void
Span(const Place *object, const char *key, Need need)
{
	Place		part;
	Interval	span;

	if (Part(object, key, need, &part))
		(void) ReadSpan(&part, &span);
}

static void
Choice(const Place *object, const char *key, Need need, const char *const *choices)
{
	Place		part;

	if (Part(object, key, need, &part))
		(void) ReadChoice(&part, choices);
}

static bool
Flag(const Place *object, const char *key)
{
	Place		part;

	return GetPart(object, key, &part) && ReadBoolean(&part);
}

static void
Text(const Place *object, const char *key, Need need)
{
	Place		part;

	if (Part(object, key, need, &part))
		(void) ReadText(&part);
}

static void
Zone(const Place *object)
{
	Place		part;
	const char *name;

	if (GetPart(object, "time_zone", &part))
		(void) ReadTimeZone(&part, &name);
}

static void
LocalTimes(const Place *object)
{
	Place		part;
	Timestamp	from;
	Timestamp	until;
	bool		has_from = GetPart(object, "from", &part) && ReadLocalInstant(&part, &from);

	if (GetPart(object, "until", &part) && ReadLocalInstant(&part, &until) && has_from && until <= from)
		Complain(&part, "must be after \"from\"");
}

static void
RefuseQuestion(const FactQuestion *question, void *arg)
{
	Complain(arg, "asks for the member (%s); what counts is decided by the activity alone", question->key);
}

static void
Facts(const Place *object, Need need)
{
	Place		part;
	int			n;

	if (Part(object, "kind", need, &part))
		(void) ReadTexts(&part, &n);
	Text(object, "money", OPTIONAL);
	if (GetPart(object, "when", &part))
	{
		int			before = part.problems->nerrors;
		Condition  *condition = ParseCondition(&part);

		if (part.problems->nerrors == before)
			ForEachQuestion(condition, RefuseQuestion, &part);
	}
}

/* What follows from activities and is one itself, in that order */
typedef enum Follower
{
	REFERRALS,
	CHALLENGES,
	JOURNEYS
} Follower;

/*
 * Refuses kinds of activities that follow from what counts them: nothing counts
 * what it brings about, or what comes after that, so that nothing goes on
 * without end.
 */
static void
RefuseOwnKinds(const Place *object, Follower follower)
{
	static const char *const brought_about[] = {[REFERRALS] = "invite",[CHALLENGES] = "challenge",[JOURNEYS] = "journey"};
	Problems	known = {.list = NIL};
	Place		part;
	Place		again;
	char	  **kinds;
	int			n;

	if (!GetPart(object, "kind", &part))
		return;
	/* its mistakes were told by Facts() */
	again = part;
	again.problems = &known;
	kinds = ReadTexts(&again, &n);
	for (int i = 0; i < n; i++)
	{
		for (int j = follower; j < (int) lengthof(brought_about); j++)
		{
			if (strcmp(kinds[i], brought_about[j]) == 0)
				Complain(&part, "is \"%s\", which follows from it: it would go on without end", kinds[i]);
		}
	}
}

static void
Measure(const Place *object, Need need)
{
	static const char *const measures[] = {"count", "amount", "days", NULL};

	Facts(object, need);
	Choice(object, "measure", OPTIONAL, measures);
	(void) Flag(object, "whole");
}

static const char *const periods[] = {"day", "week", "month", "quarter", "year", NULL};
static const char *const board_periods[] = {"day", "week", "month", "quarter", "year", "lifetime", NULL};
static const char *const streak_periods[] = {"day", "week", "month", NULL};

static void
CheckStreak(const Place *whole)
{
	static const char *const keys[] = {
		FACT_KEYS, "period", "at_least", "amount", "weekdays", "holidays", "max_gap", "free", "per", "counts", "repair_within", NULL
	};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	Facts(whole, REQUIRED);
	Choice(whole, "period", OPTIONAL, streak_periods);
	Whole(whole, "at_least", OPTIONAL, 1, 1000000);
	Amount(whole, "amount", OPTIONAL);
	if (GetPart(whole, "weekdays", &part) && RequireArray(&part))
	{
		if (CountElements(&part) == 0)
			Complain(&part, "is empty, so that no day counts");
		for (int i = 0; i < CountElements(&part); i++)
		{
			Place		element;
			int64		day;

			GetElementPlace(&part, i, &element);
			(void) ReadWhole(&element, 1, 7, &day);
		}
	}
	Text(whole, "holidays", OPTIONAL);
	Span(whole, "max_gap", OPTIONAL);
	Whole(whole, "free", OPTIONAL, 1, 1000);
	Choice(whole, "per", GetPart(whole, "free", &part) ? REQUIRED : OPTIONAL, periods + 1);
	(void) Flag(whole, "counts");
	Span(whole, "repair_within", OPTIONAL);
}

static void
CheckLevels(const Place *whole)
{
	Place		part;
	Micros		before = 0;

	if (!Part(whole, "levels", OPTIONAL, &part) || !RequireArray(&part))
		return;
	if (CountElements(&part) < 1 || CountElements(&part) > 1000)
		Complain(&part, "must have from 1 to 1000 thresholds");
	for (int i = 0; i < CountElements(&part); i++)
	{
		Place		element;
		Micros		number;

		GetElementPlace(&part, i, &element);
		if (!ReadDecimal(&element, &number))
			continue;
		if (number <= before)
			Complain(&element, "must be more than the one before it, and than 0");
		before = number;
	}
}

static void
CheckBadge(const Place *whole)
{
	static const char *const keys[] = {MEASURE_KEYS, "streak", "levels", "revocable", NULL};
	Place		part;
	bool		of_streak = GetPart(whole, "streak", &part);
	bool		of_facts = GetPart(whole, "kind", &part);

	RefuseUnknownKeys(whole, keys);
	if (of_streak && of_facts)
		Complain(whole, "has both \"kind\" and \"streak\"; a badge goes by one of them");
	Text(whole, "streak", OPTIONAL);
	Measure(whole, OPTIONAL);
	CheckLevels(whole);
	if ((of_streak || of_facts) && !GetPart(whole, "levels", &part))
		Complain(whole, "has no \"levels\", its thresholds");
	(void) Flag(whole, "revocable");
}

static void
CheckChallenge(const Place *whole)
{
	static const char *const keys[] = {
		MEASURE_KEYS, "target", "from", "until", "time_zone", "within", "enrol", "period", "times", NULL
	};
	bool		enrols;
	Place		part;

	RefuseUnknownKeys(whole, keys);
	Measure(whole, REQUIRED);
	RefuseOwnKinds(whole, CHALLENGES);
	Amount(whole, "target", REQUIRED);
	LocalTimes(whole);
	Zone(whole);
	Span(whole, "within", OPTIONAL);
	enrols = Flag(whole, "enrol");
	Choice(whole, "period", OPTIONAL, periods);
	Whole(whole, "times", OPTIONAL, 1, 1000);
	if (GetPart(whole, "within", &part))
	{
		Place		other;

		if (GetPart(whole, "period", &other))
			Complain(&part, "and \"period\" exclude each other");
		if (!enrols)
			Complain(&part, "is counted from the enrolment: it needs \"enrol\": true");
	}
}

static void
CheckBoard(const Place *whole)
{
	static const char *const keys[] = {MEASURE_KEYS, "period", "time_zone", "ties", "places", "club", NULL};
	static const char *const ties[] = {"share", "dense", "first", NULL};

	RefuseUnknownKeys(whole, keys);
	Measure(whole, REQUIRED);
	Choice(whole, "period", REQUIRED, board_periods);
	Zone(whole);
	Choice(whole, "ties", OPTIONAL, ties);
	Whole(whole, "places", OPTIONAL, 1, 10000);
	Text(whole, "club", OPTIONAL);
}

static void
CheckReferral(const Place *whole)
{
	static const char *const keys[] = {FACT_KEYS, "minimum", "within", "orders", "return_window", "at_most", "per", NULL};
	static const char *const orders[] = {"first", "any", NULL};
	Place		part;

	RefuseUnknownKeys(whole, keys);
	Facts(whole, OPTIONAL);
	RefuseOwnKinds(whole, REFERRALS);
	Amount(whole, "minimum", OPTIONAL);
	Span(whole, "within", REQUIRED);
	Choice(whole, "orders", OPTIONAL, orders);
	Span(whole, "return_window", OPTIONAL);
	Whole(whole, "at_most", OPTIONAL, 1, MOST);
	Span(whole, "per", GetPart(whole, "at_most", &part) ? REQUIRED : OPTIONAL);
}

static void
CheckClub(const Place *whole)
{
	static const char *const keys[] = {"join", "capacity", NULL};
	static const char *const joins[] = {"open", "invitation", "approval", NULL};

	RefuseUnknownKeys(whole, keys);
	Choice(whole, "join", OPTIONAL, joins);
	Whole(whole, "capacity", OPTIONAL, 1, MOST);
}

/* A number of activities since the start of a run. */
static void
CheckCounted(const Place *object, const char *key)
{
	static const char *const keys[] = {FACT_KEYS, "at_least", "at_most", NULL};
	Place		part;
	Place		bound;

	if (!GetPart(object, key, &part) || !RequireObject(&part))
		return;
	RefuseUnknownKeys(&part, keys);
	Facts(&part, REQUIRED);
	RefuseOwnKinds(&part, JOURNEYS);
	Whole(&part, "at_least", OPTIONAL, 0, MOST);
	Whole(&part, "at_most", OPTIONAL, 0, MOST);
	if (!GetPart(&part, "at_least", &bound) && !GetPart(&part, "at_most", &bound))
		Complain(&part, "has neither \"at_least\" nor \"at_most\"");
}

static void
CheckEffect(const Place *effect)
{
	static const char *const keys[] = {"coupon", "points", "currency", "badge", "level", "freeze", "spin", NULL};
	Place		part;

	if (!RequireObject(effect))
		return;
	RefuseUnknownKeys(effect, keys);
	Text(effect, "coupon", OPTIONAL);
	Whole(effect, "points", OPTIONAL, 1, MOST);
	Text(effect, "currency", OPTIONAL);
	Text(effect, "badge", OPTIONAL);
	Whole(effect, "level", OPTIONAL, 1, 1000);
	Text(effect, "freeze", OPTIONAL);
	Text(effect, "spin", OPTIONAL);
	if (GetPart(effect, "coupon", &part) + GetPart(effect, "points", &part) + GetPart(effect, "badge", &part) +
		GetPart(effect, "freeze", &part) + GetPart(effect, "spin", &part) != 1)
		Complain(effect, "must have one of coupon, points, badge, freeze and spin");
}

/* A step; its name, NULL where it has none. */
static const char *
CheckStep(const Place *step)
{
	static const char *const keys[] = {"step", "after", "if", "do", "list", NULL};
	const char *name = NULL;
	Place		part;

	if (!RequireObject(step))
		return NULL;
	RefuseUnknownKeys(step, keys);
	if (Part(step, "step", REQUIRED, &part))
		name = ReadText(&part);
	Span(step, "after", REQUIRED);
	CheckCounted(step, "if");
	(void) Flag(step, "list");
	if (GetPart(step, "do", &part) && RequireArray(&part))
	{
		for (int i = 0; i < CountElements(&part); i++)
		{
			Place		effect;

			GetElementPlace(&part, i, &effect);
			CheckEffect(&effect);
		}
	}
	return name;
}

static void
CheckJourney(const Place *whole)
{
	static const char *const keys[] = {"start", "while", "repeat", "steps", NULL};
	static const char *const start_keys[] = {FACT_KEYS, NULL};
	const char **names;
	Place		part;

	RefuseUnknownKeys(whole, keys);
	if (Part(whole, "start", REQUIRED, &part) && RequireObject(&part))
	{
		RefuseUnknownKeys(&part, start_keys);
		Facts(&part, REQUIRED);
		RefuseOwnKinds(&part, JOURNEYS);
	}
	CheckCounted(whole, "while");
	Span(whole, "repeat", OPTIONAL);
	if (!Part(whole, "steps", REQUIRED, &part) || !RequireArray(&part))
		return;
	if (CountElements(&part) < 1 || CountElements(&part) > 100)
		Complain(&part, "must have from 1 to 100 steps");
	names = palloc0(CountElements(&part) * sizeof(char *));
	for (int i = 0; i < CountElements(&part); i++)
	{
		Place		step;

		GetElementPlace(&part, i, &step);
		names[i] = CheckStep(&step);
		for (int j = 0; j < i; j++)
		{
			if (names[i] != NULL && SameString(names[j], names[i]))
				Complain(&step, "is the second step \"%s\"", names[i]);
		}
	}
}

static const struct
{
	const char *what;
	void		(*check) (const Place *whole);
}			checks[] =
{
	{"streak", CheckStreak},
	{"badge", CheckBadge},
	{"challenge", CheckChallenge},
	{"board", CheckBoard},
	{"referral", CheckReferral},
	{"club", CheckClub},
	{"journey", CheckJourney}
};

/*
 * check_engagement_definition(what text, definition jsonb) -> jsonb
 */
PG_FUNCTION_INFO_V1(loyalty_check_engagement_definition);
Datum
loyalty_check_engagement_definition(PG_FUNCTION_ARGS)
{
	Problems	problems = {NULL, 0};
	Place		whole;
	char	   *what;

	RequireArgument(fcinfo, 0, "what");
	RequireArgument(fcinfo, 1, "definition");
	what = TextArgument(fcinfo, 0);
	WholeDefinition(&whole, PG_GETARG_JSONB_P(1), "", &problems);
	for (int i = 0; i < (int) lengthof(checks); i++)
	{
		if (strcmp(checks[i].what, what) != 0)
			continue;
		if (RequireObject(&whole))
			checks[i].check(&whole);
		RefuseEngagement(what, &problems);
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("nothing of room engagement is a \"%s\"", what),
			 errdetail("There are streak, badge, challenge, board, referral, club and journey."),
			 errhint("For draws see check_draw_definition().")));
}
