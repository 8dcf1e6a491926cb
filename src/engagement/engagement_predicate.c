/*
 * engagement_predicate.c
 *		What conditions can ask of this room:
 *
 *		{"streak": {"streak": "daily", "at_least": 7}}		its length
 *		{"badge": {"badge": "regular", "level": 2}}			that level or more
 *		{"rank": {"board": "may", "at_most": 10}}			now
 *		{"club": ["runners"]}								in one of them
 *
 * Streaks, badges and clubs are as they were before the activity.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/condition.h"
#include "core/core.h"
#include "engagement/engagement.h"

typedef struct Asked
{
	const char *name;
	int64		number;
} Asked;

/* An object of a name and a number. */
static const char *
ParseAsked(const Place *place, FactQuestion *question, const char *name_key, const char *number_key)
{
	const char *known[] = {name_key, number_key, NULL};
	Asked	   *asked = palloc0(sizeof(Asked));
	int			nerrors = place->problems->nerrors;
	Place		part;

	asked->number = 1;
	if (!RequireObject(place))
		return NULL;
	RefuseUnknownKeys(place, known);
	if (GetPart(place, name_key, &part))
		asked->name = ReadText(&part);
	else
		Complain(place, "has no \"%s\"", name_key);
	if (GetPart(place, number_key, &part))
		(void) ReadWhole(&part, 1, INT64CONST(1000000000), &asked->number);
	question->detail = asked;
	return place->problems->nerrors > nerrors ? NULL : psprintf("%s:" INT64_FORMAT, asked->name, asked->number);
}

static const char *
ParseStreakQuestion(const Place *place, FactQuestion *question)
{
	return ParseAsked(place, question, "streak", "at_least");
}

static const char *
ParseBadgeQuestion(const Place *place, FactQuestion *question)
{
	return ParseAsked(place, question, "badge", "level");
}

static const char *
ParseRankQuestion(const Place *place, FactQuestion *question)
{
	return ParseAsked(place, question, "board", "at_most");
}

static const char *
ParseClubQuestion(const Place *place, FactQuestion *question)
{
	int			nerrors = place->problems->nerrors;
	char	   *key = "";

	question->texts = ReadTexts(place, &question->ntexts);
	for (int i = 0; i < question->ntexts; i++)
		key = psprintf("%s%s%s", key, i > 0 ? "," : "", question->texts[i]);
	return place->problems->nerrors > nerrors ? NULL : key;
}

/* The answer of a statement of member, name, number and the instant before. */
static Truth
Ask(KeptPlan *plan, Datum name, int64 number, int64 member_id, const Activity *activity)
{
	Datum		values[4] = {Int64GetDatum(member_id), name, Int64GetDatum(number), TimestampTzGetDatum(activity->at - 1)};
	Datum		answer;
	bool		isnull;

	RunPlan(plan, values, NULL, 1);
	answer = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? TRUTH_NO : TruthOf(DatumGetBool(answer));
}

#define ASKED_ARGUMENTS	.nargs = 4, .argtypes = {INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID}

static Truth
ReadStreak(const FactQuestion *question, int64 member_id, const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT length OPERATOR(pg_catalog.>=) $3 FROM loyalty.streak_of($1, $2, $4)",
		ASKED_ARGUMENTS
	};
	const Asked *asked = question->detail;

	return Ask(&plan, CStringGetTextDatum(asked->name), asked->number, member_id, activity);
}

static Truth
ReadBadge(const FactQuestion *question, int64 member_id, const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.bool_or(badge OPERATOR(pg_catalog.=) $2 AND level OPERATOR(pg_catalog.>=) $3) FROM loyalty.badges($1, $4)",
		ASKED_ARGUMENTS
	};
	const Asked *asked = question->detail;

	return Ask(&plan, CStringGetTextDatum(asked->name), asked->number, member_id, activity);
}

static Truth
ReadRank(const FactQuestion *question, int64 member_id, const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT rank OPERATOR(pg_catalog.<=) $3 FROM loyalty.rank_on($2, $1, period_start => loyalty.board_period($2, $4))",
		ASKED_ARGUMENTS
	};
	const Asked *asked = question->detail;

	return Ask(&plan, CStringGetTextDatum(asked->name), asked->number, member_id, activity);
}

static Truth
ReadClub(const FactQuestion *question, int64 member_id, const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.bool_or(loyalty.is_in_club($1, c, $4)) FROM pg_catalog.unnest($2) c WHERE $3 OPERATOR(pg_catalog.=) 1",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTARRAYOID, INT8OID, TIMESTAMPTZOID}
	};
	Datum	   *clubs = palloc(Max(1, question->ntexts) * sizeof(Datum));

	for (int i = 0; i < question->ntexts; i++)
		clubs[i] = CStringGetTextDatum(question->texts[i]);
	return Ask(&plan, PointerGetDatum(construct_array(clubs, question->ntexts, TEXTOID, -1, false, TYPALIGN_INT)), 1, member_id, activity);
}

/*
 * Part of EngagementInit().
 */
void
EngagementPredicateInit(void)
{
	static const Predicate predicates[] = {
		{"streak", ParseStreakQuestion, ReadStreak},
		{"badge", ParseBadgeQuestion, ReadBadge},
		{"rank", ParseRankQuestion, ReadRank},
		{"club", ParseClubQuestion, ReadClub}
	};

	for (int i = 0; i < (int) lengthof(predicates); i++)
		RegisterPredicate(&predicates[i]);
}
