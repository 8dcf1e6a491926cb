/*
 * rule_facts.c
 *		What is known of a member: frozen when an award was decided, or read now.
 *
 * Frozen facts are an object with a key for each question: a text, a number (of
 * millionths nothing is lost), true or false, or null where nobody knew.  Of
 * birthdays and attributes the answer is kept and not the value.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "rule/rule.h"

void
InitFacts(Facts *facts, int64 member_id, Datum numbers)
{
	memset(facts, 0, sizeof(Facts));
	facts->member_id = member_id;
	facts->numbers = numbers;
}

static KnownFact *
AddFact(Facts *facts, const char *key, FactKind kind, const char *campaign)
{
	KnownFact  *fact;

	if (facts->n == facts->size)
	{
		facts->size = Max(8, 2 * facts->size);
		facts->facts = facts->facts == NULL ? palloc(facts->size * sizeof(KnownFact)) :
			repalloc(facts->facts, facts->size * sizeof(KnownFact));
	}
	fact = &facts->facts[facts->n++];
	memset(fact, 0, sizeof(KnownFact));
	fact->key = key;
	fact->kind = kind;
	fact->campaign = campaign;
	return fact;
}

/* What is known to all campaigns, or to one alone; NULL: nothing. */
static KnownFact *
FindFact(Facts *facts, const char *key, const char *campaign)
{
	for (int i = 0; i < facts->n; i++)
	{
		if ((facts->facts[i].key == key || strcmp(facts->facts[i].key, key) == 0) &&
			SameString(facts->facts[i].campaign, campaign))
			return &facts->facts[i];
	}
	return NULL;
}

static bool
SameAnswer(const FactAnswer *a, const FactAnswer *b)
{
	return a->known == b->known && SameString(a->text, b->text) && a->number == b->number && a->truth == b->truth;
}

/*
 * Takes over what was frozen for a campaign.  Where it was decided anew, with
 * other knowledge than before, that is known to it alone.
 */
void
ThawFacts(Facts *facts, const Jsonb *inputs, const char *campaign)
{
	JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, &inputs->root));
	JsonbValue	v;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char	   *key;
		KnownFact	thawed = {.kind = FACT_TIER};
		KnownFact  *fact;
		int			decimals = 0;

		if (token != WJB_KEY)
			continue;
		key = pnstrdup(v.val.string.val, v.val.string.len);
		(void) JsonbIteratorNext(&it, &v, true);
		thawed.answer.known = v.type != jbvNull;
		if (v.type == jbvString)
			thawed.answer.text = pnstrdup(v.val.string.val, v.val.string.len);
		else if (v.type == jbvNumeric)
		{
			thawed.kind = FACT_COUNT;
			thawed.answer.number = MicrosFromNumeric(NumericGetDatum(v.val.numeric), "fact", &decimals);
		}
		else if (v.type == jbvBool)
		{
			thawed.kind = FACT_HOLIDAY;
			thawed.answer.truth = v.val.boolean ? TRUTH_YES : TRUTH_NO;
		}
		fact = FindFact(facts, key, campaign);
		if (fact == NULL)
			fact = FindFact(facts, key, NULL);
		if (fact != NULL && SameAnswer(&fact->answer, &thawed.answer))
			continue;
		if (fact == NULL || fact->campaign == NULL)
			fact = AddFact(facts, key, thawed.kind, fact == NULL ? NULL : campaign);
		fact->answer = thawed.answer;
	}
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static void
ReadTier(const FactQuestion *question, const Activity *activity, int64 member_id, FactAnswer *answer)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.tier_of($1, $2, $3)",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	MemoryContext target = CurrentMemoryContext;
	Datum		values[3] = {Int64GetDatum(member_id), CStringGetTextDatum(question->name), TimestampTzGetDatum(activity->at)};
	char	   *level;

	RunPlan(&plan, values, NULL, 1);
	MemoryContextSwitchTo(target);
	level = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	/* of no level is known that it is none of those asked for */
	answer->known = true;
	answer->text = level != NULL ? level : "";
}

/*
 * How many activities of a kind there were before this one in its period, or
 * what they add up to.
 */
static void
ReadHistory(const FactQuestion *question, const Activity *activity, Datum numbers, FactAnswer *answer)
{
#define EARLIER_ACTIVITIES \
		"FROM loyalty.activity a WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.kind OPERATOR(pg_catalog.=) $2 " \
		"AND NOT a.cancelled AND NOT a.returned AND a.local_day OPERATOR(pg_catalog.>=) $3 AND a.local_day OPERATOR(pg_catalog.<) $4 " \
		"AND a.at OPERATOR(pg_catalog.<=) $5 AND a.activity_id OPERATOR(pg_catalog.<>) $7 " \
		"AND (a.at OPERATOR(pg_catalog.<) $5 OR a.recorded_at OPERATOR(pg_catalog.<) $6 " \
		"OR (a.recorded_at OPERATOR(pg_catalog.=) $6 AND a.activity_id OPERATOR(pg_catalog.<) $7))"
#define HISTORY_ARGUMENTS .nargs = 7, .argtypes = {INT8ARRAYOID, TEXTOID, DATEOID, DATEOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
	static KeptPlan count = {
		.query = "SELECT pg_catalog.count(*) " EARLIER_ACTIVITIES,
		HISTORY_ARGUMENTS
	};
	static KeptPlan spent = {
		.query = "SELECT coalesce(pg_catalog.sum(a.amount), 0) " EARLIER_ACTIVITIES,
		HISTORY_ARGUMENTS
	};
	bool		lifetime = question->within == PERIOD_LIFETIME;
	Datum		values[7] = {
		numbers, CStringGetTextDatum(question->name),
		DateADTGetDatum(lifetime ? DATEVAL_NOBEGIN : FirstDayOf(question->within, activity->local_day)),
		DateADTGetDatum(FirstDayAfter(question->within, activity->local_day)),
		TimestampTzGetDatum(activity->at),
		TimestampTzGetDatum(activity->recorded_at != 0 ? activity->recorded_at : DT_NOEND),
		Int64GetDatum(activity->activity_id)
	};
	MemoryContext target = CurrentMemoryContext;
	int			decimals = 0;
	bool		isnull;
	Datum		value;

	RunPlan(question->kind == FACT_COUNT ? &count : &spent, values, NULL, 1);
	MemoryContextSwitchTo(target);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	answer->known = true;
	if (question->kind == FACT_COUNT)
		answer->number = DatumGetInt64(value) * MICROS_PER_UNIT;
	else
		answer->number = MicrosFromNumeric(value, "what was spent", &decimals);
}

/* An attribute of the member; false where it has none. */
static bool
ReadAttribute(int64 member_id, const char *name, JsonbValue *value)
{
	static KeptPlan plan = {
		.query = "SELECT attributes FROM loyalty.member WHERE member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	MemoryContext target = CurrentMemoryContext;
	Datum		values[1] = {Int64GetDatum(member_id)};
	Datum		attributes;
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	MemoryContextSwitchTo(target);
	if (SPI_processed == 0)
		return false;
	attributes = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return !isnull && getKeyJsonValueFromContainer(&DatumGetJsonbP(attributes)->root, name, strlen(name), value) != NULL &&
		value->type != jbvNull && value->type != jbvBinary;
}

static void
ReadNow(const FactQuestion *question, const Activity *activity, DateADT day, Facts *facts, FactAnswer *answer)
{
	JsonbValue	value;
	Datum		date;

	switch (question->kind)
	{
		case FACT_TIER:
			ReadTier(question, activity, facts->member_id, answer);
			break;
		case FACT_COUNT:
		case FACT_SPENT:
			if (facts->history != NULL)
				facts->history(question, activity, day, answer, facts->history_arg);
			else
				ReadHistory(question, activity, facts->numbers, answer);
			break;
		case FACT_HOLIDAY:
			answer->known = true;
			answer->truth = TruthOf(IsHoliday(question->name, day));
			break;
		case FACT_BIRTHDAY:
			answer->known = ReadAttribute(facts->member_id, "birthday", &value) && value.type == jbvString &&
				TryInput(date_in, pnstrdup(value.val.string.val, value.val.string.len), &date) &&
				!DATE_NOT_FINITE(DatumGetDateADT(date));
			if (answer->known)
				answer->truth = TruthOf(IsBirthdayWindow(DatumGetDateADT(date), day, question->before, question->after,
														 question->leap_on_mar1));
			break;
		case FACT_ATTRIBUTE:
			answer->known = ReadAttribute(facts->member_id, question->name, &value);
			if (answer->known)
				answer->truth = TruthOf(IsOneOfTexts(question, &value));
			break;
		case FACT_REGISTERED:
			answer->truth = question->predicate->read(question, facts->member_id, activity);
			answer->known = answer->truth != TRUTH_UNKNOWN;
			break;
	}
}

/*
 * A FactReader: what was frozen, or what is known now.
 */
void
ReadMemberFact(const FactQuestion *question, const Activity *activity, DateADT day, FactAnswer *answer, void *arg)
{
	Facts	   *facts = arg;
	const char *key = question->key;
	KnownFact  *fact;

	/* by another clock than the activity's it may be another day */
	if (day != activity->local_day && (question->kind == FACT_HOLIDAY || question->kind == FACT_BIRTHDAY))
		key = psprintf("%s@%d", key, (int) day);
	fact = facts->campaign == NULL ? NULL : FindFact(facts, key, facts->campaign);
	if (fact == NULL)
		fact = FindFact(facts, key, NULL);
	if (fact == NULL)
	{
		fact = AddFact(facts, key, question->kind, NULL);
		ReadNow(question, activity, day, facts, &fact->answer);
		facts->nread++;
	}
	fact->asked = true;
	*answer = fact->answer;
}

/*
 * From now on a campaign asks, and it is noted for what.
 */
void
BeginAsking(Facts *facts, const char *campaign)
{
	facts->campaign = campaign;
	for (int i = 0; i < facts->n; i++)
		facts->facts[i].asked = false;
}

/*
 * What was asked for since, as jsonb; 0: nothing.
 */
Datum
FreezeFacts(const Facts *facts)
{
	JsonbParseState *state = NULL;
	bool		any = false;

	for (int i = 0; i < facts->n; i++)
	{
		const KnownFact *fact = &facts->facts[i];
		JsonbValue	key = {.type = jbvString};
		JsonbValue	value = {.type = jbvNull};

		if (!fact->asked)
			continue;
		if (!any)
			(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		any = true;
		key.val.string.val = unconstify(char *, fact->key);
		key.val.string.len = strlen(fact->key);
		if (!fact->answer.known)
			value.type = jbvNull;
		else if (fact->answer.text != NULL)
		{
			value.type = jbvString;
			value.val.string.val = unconstify(char *, fact->answer.text);
			value.val.string.len = strlen(fact->answer.text);
		}
		else if (fact->kind == FACT_COUNT || fact->kind == FACT_SPENT)
		{
			value.type = jbvNumeric;
			value.val.numeric = DatumGetNumeric(MicrosToNumeric(fact->answer.number, 0));
		}
		else
		{
			value.type = jbvBool;
			value.val.boolean = fact->answer.truth == TRUTH_YES;
		}
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return any ? JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL))) : 0;
}
