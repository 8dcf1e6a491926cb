/*
 * tier_ladder.c
 *		Ladders from their JSON definition.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "tier/tier.h"

/* a term or window shorter than this would be a mistake */
#define SHORTEST_SPAN	USECS_PER_DAY

pg_noreturn static void
InvalidLadder(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_LADDER),
			 errmsg("invalid definition of a ladder"),
			 errdetail("%s", detail),
			 errhint("See the comment of loyalty.define_ladder().")));
}

/*
 * An amount, which must be finite, in ten-thousandths; what is finer is
 * rounded.
 */
int64
ScaleAmount(Datum numeric)
{
	Numeric		n = DatumGetNumeric(numeric);

	if (numeric_is_nan(n) || numeric_is_inf(n))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("an amount must be finite"),
				 errdetail("It is infinite or not a number."),
				 errhint("Leave such facts out.")));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 DirectFunctionCall2(numeric_mul, numeric,
																 DirectFunctionCall1(int4_numeric, Int32GetDatum(TIER_SCALE)))));
}

/*
 * Points in ten-thousandths.
 */
int64
ScalePoints(int64 points)
{
	if (points > PG_INT64_MAX / TIER_SCALE || points < PG_INT64_MIN / TIER_SCALE)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a qualifying sum is out of range")));
	return points * TIER_SCALE;
}

/*
 * An amount in ten-thousandths as numeric, without zeros behind.
 */
Datum
UnscaleAmount(int64 amount)
{
	Datum		n = DirectFunctionCall2(numeric_div, DirectFunctionCall1(int8_numeric, Int64GetDatum(amount)),
										DirectFunctionCall1(int4_numeric, Int32GetDatum(TIER_SCALE)));

	return DirectFunctionCall1(numeric_trim_scale, n);
}

static JsonbValue *
GetKey(JsonbContainer *json, const char *key, JsonbValue *found)
{
	if (getKeyJsonValueFromContainer(json, key, strlen(key), found) == NULL || found->type == jbvNull)
		return NULL;
	return found;
}

static char *
GetText(JsonbContainer *json, const char *key, const char *otherwise)
{
	JsonbValue	found;

	if (GetKey(json, key, &found) == NULL)
		return otherwise ? pstrdup(otherwise) : NULL;
	if (found.type != jbvString)
		InvalidLadder(psprintf("\"%s\" must be a text.", key));
	return pnstrdup(found.val.string.val, found.val.string.len);
}

static bool
GetBoolean(JsonbContainer *json, const char *key, bool otherwise)
{
	JsonbValue	found;

	if (GetKey(json, key, &found) == NULL)
		return otherwise;
	if (found.type != jbvBool)
		InvalidLadder(psprintf("\"%s\" must be true or false.", key));
	return found.val.boolean;
}

static JsonbContainer *
GetObject(JsonbContainer *json, const char *key)
{
	JsonbValue	found;

	if (GetKey(json, key, &found) == NULL)
		return NULL;
	if (found.type != jbvBinary || !JsonContainerIsObject(found.val.binary.data))
		InvalidLadder(psprintf("\"%s\" must be an object.", key));
	return found.val.binary.data;
}

static JsonbContainer *
GetArray(JsonbContainer *json, const char *key)
{
	JsonbValue	found;

	if (GetKey(json, key, &found) == NULL || found.type != jbvBinary ||
		!JsonContainerIsArray(found.val.binary.data))
		InvalidLadder(psprintf("\"%s\" must be an array of objects.", key));
	return found.val.binary.data;
}

static JsonbContainer *
GetElement(JsonbContainer *array, uint32 i, const char *key)
{
	JsonbValue *element = getIthJsonbValueFromContainer(array, i);

	if (element == NULL || element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		InvalidLadder(psprintf("\"%s\" must be an array of objects.", key));
	return element->val.binary.data;
}

/* A misspelt key would be a rule that silently does not hold. */
static void
CheckKeys(JsonbContainer *json, const char *what, const char *const *known, int nknown)
{
	JsonbIterator *it = JsonbIteratorInit(json);
	JsonbValue	v;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		bool		found = false;
		char	   *key;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(v.val.string.val, v.val.string.len);
		for (int i = 0; i < nknown && !found; i++)
			found = strcmp(key, known[i]) == 0;
		if (!found)
			InvalidLadder(psprintf("%s has an unknown key \"%s\".", what, key));
	}
}

/* Whether json has the key; then the interval, which must be positive. */
static bool
GetSpan(JsonbContainer *json, const char *key, TierSpan *span)
{
	char	   *text = GetText(json, key, NULL);
	Interval   *interval;

	if (text == NULL)
		return false;
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	span->months = interval->month;
	span->days = interval->day;
	span->micros = interval->time;
	if (span->months < 0 || span->days < 0 || span->micros < 0 ||
		(span->months == 0 && span->days == 0 && span->micros < SHORTEST_SPAN))
		InvalidLadder(psprintf("\"%s\" is \"%s\"; it must be a day or longer.", key, text));
	if (span->months > 12000 || span->days > 365000 || span->micros > 365000 * USECS_PER_DAY)
		InvalidLadder(psprintf("\"%s\" is \"%s\"; it must be at most 1000 years.", key, text));
	return true;
}

static int
GetChoice(JsonbContainer *json, const char *key, const char *const *choices, int nchoices, int otherwise)
{
	char	   *text = GetText(json, key, NULL);

	if (text == NULL)
		return otherwise;
	for (int i = 0; i < nchoices; i++)
		if (strcmp(text, choices[i]) == 0)
			return i;
	InvalidLadder(psprintf("\"%s\" cannot be \"%s\".", key, text));
}

static void
GetCode(JsonbContainer *json, const char *key, char code[NAMEDATALEN])
{
	char	   *text = GetText(json, key, NULL);

	if (text == NULL || text[0] == '\0' || strlen(text) >= NAMEDATALEN)
		InvalidLadder(psprintf("\"%s\" must be a name of 1 to %d bytes.", key, NAMEDATALEN - 1));
	strlcpy(code, text, NAMEDATALEN);
}

static int
MeasureOfCode(const LadderDefinition *ladder, const char *code)
{
	for (int i = 0; i < ladder->nmeasures; i++)
		if (strcmp(ladder->measure[i].code, code) == 0)
			return i;
	InvalidLadder(psprintf("Measure \"%s\" is not among \"measures\".", code));
}

/*
 * The rank of a level's code; 0 when the ladder has no such level.
 */
int
RankOfCode(const LadderDefinition *ladder, const char *code)
{
	for (int i = 0; i < ladder->nlevels; i++)
		if (strcmp(ladder->level[i].code, code) == 0)
			return i + 1;
	return 0;
}

/*
 * The code of a rank; NULL for 0, which is none.
 */
const char *
CodeOfRank(const LadderDefinition *ladder, int rank)
{
	return rank > 0 ? ladder->level[rank - 1].code : NULL;
}

static int
ParseThresholds(const LadderDefinition *ladder, JsonbContainer *json, TierCriteria *criteria)
{
	JsonbIterator *it = JsonbIteratorInit(json);
	JsonbValue	v;
	JsonbIteratorToken token;
	int			measure = 0;
	int			count = 0;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			measure = MeasureOfCode(ladder, pnstrdup(v.val.string.val, v.val.string.len));
		else if (token == WJB_VALUE)
		{
			if (v.type != jbvNumeric)
				InvalidLadder(psprintf("The threshold of \"%s\" must be a number.", ladder->measure[measure].code));
			criteria->asked |= 1U << measure;
			criteria->at_least[measure] = ScaleAmount(NumericGetDatum(v.val.numeric));
			count++;
		}
	}
	return count;
}

/*
 * {"any": {...}}, {"all": {...}}, or {"need": n, "of": {...}}; none of them:
 * always met.
 */
static void
ParseCriteria(const LadderDefinition *ladder, JsonbContainer *json, TierCriteria *criteria)
{
	JsonbContainer *any = GetObject(json, "any");
	JsonbContainer *all = GetObject(json, "all");
	JsonbContainer *of = GetObject(json, "of");
	JsonbValue	need;
	int			count;

	memset(criteria, 0, sizeof(TierCriteria));
	if ((any != NULL) + (all != NULL) + (of != NULL) > 1)
		InvalidLadder("A level has one of \"any\", \"all\" and \"of\".");
	if ((of != NULL) != (GetKey(json, "need", &need) != NULL))
		InvalidLadder("\"need\" and \"of\" go together.");
	if (any == NULL && all == NULL && of == NULL)
		return;
	count = ParseThresholds(ladder, any ? any : all ? all : of, criteria);
	criteria->need = any ? 1 : count;
	if (of != NULL)
	{
		int64		n = need.type == jbvNumeric ?
			ScaleAmount(NumericGetDatum(need.val.numeric)) : 0;

		if (n % TIER_SCALE != 0 || n < TIER_SCALE || n > (int64) count * TIER_SCALE)
			InvalidLadder(psprintf("\"need\" must be a whole number from 1 to %d.", count));
		criteria->need = (int) (n / TIER_SCALE);
	}
	if (count == 0)
		InvalidLadder("Criteria name no measure.");
}

/* Keys that a ladder gives for all its levels, and a level for itself. */
static void
ParseTerm(const LadderDefinition *ladder, JsonbContainer *json, TierLevel *level)
{
	static const char *const validities[] = {"interval", "period", "forever"};
	static const char *const ends[] = {"reassess", "soft_landing", "never_down"};
	bool		given;

	level->validity = GetChoice(json, "validity", validities, lengthof(validities), level->validity);
	level->at_end = GetChoice(json, "at_end", ends, lengthof(ends), level->at_end);
	given = GetSpan(json, "validity_interval", &level->interval);
	if (given)
	{
		if (level->validity != VALID_INTERVAL)
			InvalidLadder("\"validity_interval\" goes with \"validity\" \"interval\".");
	}
	else if (level->validity == VALID_INTERVAL && level->interval.months == 0 &&
			 level->interval.days == 0 && level->interval.micros == 0)
		InvalidLadder("\"validity\" \"interval\" needs \"validity_interval\".");
	if (level->validity == VALID_PERIOD && ladder->period == WINDOW_LIFETIME)
		InvalidLadder("\"validity\" \"period\" needs \"period\".");
	if (GetSpan(json, "grace", &level->grace))
		level->has_grace = true;
}

static void
ParseMeasures(LadderDefinition *ladder, JsonbContainer *json)
{
	static const char *const keys[] = {"measure", "window", "interval"};
	static const char *const windows[] = {
		"rolling", "month", "quarter", "year", "anniversary", "term", "lifetime", "latest"
	};
	JsonbContainer *array = GetArray(json, "measures");

	if (JsonContainerSize(array) > TIER_MAX_MEASURES)
		InvalidLadder(psprintf("A ladder has at most %d measures.", TIER_MAX_MEASURES));
	for (uint32 i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbContainer *element = GetElement(array, i, "measures");
		TierMeasure *measure = &ladder->measure[i];

		CheckKeys(element, "A measure", keys, lengthof(keys));
		GetCode(element, "measure", measure->code);
		for (uint32 j = 0; j < i; j++)
			if (strcmp(measure->code, ladder->measure[j].code) == 0)
				InvalidLadder(psprintf("Measure \"%s\" is given twice.", measure->code));
		measure->window = GetChoice(element, "window", windows, lengthof(windows), WINDOW_LIFETIME);
		if (GetSpan(element, "interval", &measure->interval) != (measure->window == WINDOW_ROLLING))
			InvalidLadder(psprintf("Measure \"%s\": \"interval\" goes with \"window\" \"rolling\".", measure->code));
		ladder->nmeasures = i + 1;
	}
}

static void
ParseLevels(LadderDefinition *ladder, JsonbContainer *json, const TierLevel *defaults)
{
	static const char *const keys[] = {
		"level", "name", "any", "all", "need", "of", "renew",
		"validity", "validity_interval", "at_end", "grace"
	};
	static const char *const renew_keys[] = {"any", "all", "need", "of"};
	JsonbContainer *array = GetArray(json, "levels");
	uint32		count = JsonContainerSize(array);

	if (count < 1 || count > TIER_MAX_LEVELS)
		InvalidLadder(psprintf("A ladder has 1 to %d levels.", TIER_MAX_LEVELS));
	for (uint32 i = 0; i < count; i++)
	{
		JsonbContainer *element = GetElement(array, i, "levels");
		TierLevel  *level = &ladder->level[i];
		JsonbContainer *renew = GetObject(element, "renew");
		char	   *name;

		CheckKeys(element, "A level", keys, lengthof(keys));
		*level = *defaults;
		GetCode(element, "level", level->code);
		if (RankOfCode(ladder, level->code) != 0)
			InvalidLadder(psprintf("Level \"%s\" is given twice.", level->code));
		name = GetText(element, "name", level->code);
		if (strlen(name) >= NAMEDATALEN)
			InvalidLadder(psprintf("A name has at most %d bytes.", NAMEDATALEN - 1));
		strlcpy(level->name, name, NAMEDATALEN);
		ParseCriteria(ladder, element, &level->qualify);
		level->renew = level->qualify;
		if (renew != NULL)
		{
			CheckKeys(renew, "\"renew\"", renew_keys, lengthof(renew_keys));
			ParseCriteria(ladder, renew, &level->renew);
		}
		ParseTerm(ladder, element, level);
		ladder->nlevels = i + 1;
	}
}

/*
 * A ladder from its definition (see define_ladder()), in the time zone given
 * where it names none, in the current memory context; LY401 tells what is
 * wrong with it.
 */
LadderDefinition *
ParseLadder(Jsonb *definition, const char *time_zone)
{
	static const char *const keys[] = {
		"time_zone", "measures", "levels", "period", "validity", "validity_interval", "at_end",
		"grace", "minimum", "carry_over", "upgrade", "returns", "household"
	};
	static const char *const periods[] = {"month", "quarter", "year", "anniversary"};
	static const char *const upgrades[] = {"at_once", "next_period"};
	static const char *const returns[] = {"take_back", "keep"};
	static const char *const households[] = {"own", "best"};
	JsonbContainer *json = &definition->root;
	LadderDefinition *ladder = palloc0(sizeof(LadderDefinition));
	TierLevel	defaults = {0};
	char	   *text;
	int			period;
	long		offset = 0;

	if (!JsonContainerIsObject(json))
		InvalidLadder("It must be an object.");
	CheckKeys(json, "The ladder", keys, lengthof(keys));

	text = GetText(json, "time_zone", time_zone);
	ladder->zone = pg_tzset(text);
	if (ladder->zone == NULL || !pg_tz_acceptable(ladder->zone))
		InvalidLadder(psprintf("\"time_zone\" \"%s\" does not exist.", text));
	ladder->fixed_offset = pg_get_timezone_offset(ladder->zone, &offset);
	ladder->offset = offset * USECS_PER_SEC;
	period = GetChoice(json, "period", periods, lengthof(periods), -1);
	ladder->period = period < 0 ? WINDOW_LIFETIME : WINDOW_MONTH + period;
	ladder->carry_over = GetBoolean(json, "carry_over", false);
	ladder->next_period = GetChoice(json, "upgrade", upgrades, lengthof(upgrades), 0) == 1;
	ladder->take_back = GetChoice(json, "returns", returns, lengthof(returns), 0) == 0;
	ladder->best_of_household = GetChoice(json, "household", households, lengthof(households), 0) == 1;
	if (ladder->next_period && period < 0)
		InvalidLadder("\"upgrade\" \"next_period\" needs \"period\".");

	defaults.validity = VALID_FOREVER;
	ParseTerm(ladder, json, &defaults);
	ParseMeasures(ladder, json);
	ParseLevels(ladder, json, &defaults);
	text = GetText(json, "minimum", NULL);
	if (text != NULL && (ladder->minimum = RankOfCode(ladder, text)) == 0)
		InvalidLadder(psprintf("\"minimum\" \"%s\" is none of the levels.", text));
	return ladder;
}
