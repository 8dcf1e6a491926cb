/*
 * rule_facts.c
 *		What is known of a member: frozen when an award was decided, or read now.
 *
 * Frozen facts are an object with a key for each question: a text, a number (of
 * millionths nothing is lost), true or false, or null where nobody knew.  Of
 * birthdays and attributes the answer is kept and not the value.
 */
#include "postgres.h"

#include "activity/member_fact.h"
#include "rule/rule.h"

void
InitFacts(Facts *facts, int64 member_id, Datum numbers)
{
	memset(facts, 0, sizeof(Facts));
	facts->member.member_id = member_id;
	facts->member.numbers = numbers;
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
 * Takes over what was frozen for a campaign.  Where it was decided anew, by what
 * was known later, that is known to it alone.
 */
void
ThawFacts(Facts *facts, const Jsonb *inputs, const char *campaign, KnownTo known_to)
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
			fact = AddFact(facts, key, thawed.kind, fact == NULL && known_to == KNOWN_TO_ALL ? NULL : campaign);
		fact->answer = thawed.answer;
	}
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static void
ReadNow(const FactQuestion *question, const Activity *activity, DateADT day, Facts *facts, FactAnswer *answer)
{
	if (facts->history != NULL && (question->kind == FACT_COUNT || question->kind == FACT_SPENT))
		facts->history(question, activity, day, answer, facts->history_arg);
	else
		ReadFactOfMember(question, activity, day, &facts->member, answer);
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
