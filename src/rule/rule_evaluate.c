/*
 * rule_evaluate.c
 *		evaluate_campaigns() and check_campaign(): campaigns over anybody's rows,
 *		without tables of ours.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "rule/decide.h"
#include "rule/rule.h"

/* Definitions that were read, kept as long as the call stays the same */
typedef struct KeptCampaigns
{
	MemoryContext context;
	Jsonb	   *source;
	int			n;
	Campaign  **campaigns;		/* in order */
} KeptCampaigns;

pg_noreturn static void
RefuseJson(const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("%s cannot be read", what),
			 errdetail("%s", detail),
			 errhint("See the comment of loyalty.evaluate_campaigns().")));
}

static int
CompareKept(const void *a, const void *b)
{
	return CompareCampaigns(*(Campaign *const *) a, *(Campaign *const *) b);
}

/*
 * Reads an object of definitions by their codes.  Those that are null are left
 * out.
 */
Campaign  **
ParseCampaigns(const Jsonb *definitions, int *n)
{
	Problems	problems = {0};
	Place		whole;
	Place		part;
	char	   *code;
	int			i = 0;
	Campaign  **campaigns = palloc(Max(1, JB_ROOT_COUNT(definitions)) * sizeof(Campaign *));

	WholeDefinition(&whole, definitions, "", &problems);
	if (!IsObjectPlace(&whole))
		RefuseJson("definitions", "They must be an object: {\"code\": {definition}, ...}.");
	*n = 0;
	while (NextKey(&whole, &i, &code, &part))
	{
		if (part.value.type == jbvNull)
			continue;
		part.path = "";
		campaigns[*n] = ParseCampaign(code, &part);
		RefuseCampaign(code, &problems);
		CheckTogether(campaigns, *n, campaigns[*n], &problems);
		RefuseCampaign(code, &problems);
		(*n)++;
	}
	qsort(campaigns, *n, sizeof(Campaign *), CompareKept);
	return campaigns;
}

/*
 * The campaigns of a call: read once, as long as it is the same definitions.
 */
static KeptCampaigns *
KeepCampaigns(FunctionCallInfo fcinfo, const Jsonb *definitions)
{
	KeptCampaigns *kept = fcinfo->flinfo->fn_extra;
	MemoryContext context;
	MemoryContext old;

	if (kept != NULL && VARSIZE(kept->source) == VARSIZE(definitions) &&
		memcmp(kept->source, definitions, VARSIZE(definitions)) == 0)
		return kept;
	if (kept != NULL)
	{
		fcinfo->flinfo->fn_extra = NULL;
		MemoryContextDelete(kept->context);
	}
	context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "campaigns", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	kept = palloc0(sizeof(KeptCampaigns));
	kept->context = context;
	kept->source = (Jsonb *) memcpy(palloc(VARSIZE(definitions)), definitions, VARSIZE(definitions));
	kept->campaigns = ParseCampaigns(kept->source, &kept->n);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = kept;
	return kept;
}

/* ---------------------------------------------------------------------------
 * An activity and a member as JSON
 * ---------------------------------------------------------------------------
 */

static JsonbValue *
Find(JsonbContainer *object, const char *key, JsonbValue *found)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), found);

	return value != NULL && value->type != jbvNull ? value : NULL;
}

static JsonbContainer *
FindObject(JsonbContainer *object, const char *key)
{
	JsonbValue	found;

	if (object == NULL || Find(object, key, &found) == NULL)
		return NULL;
	return found.type == jbvBinary && JsonContainerIsObject(found.val.binary.data) ? found.val.binary.data : NULL;
}

static char *
FindText(JsonbContainer *object, const char *key)
{
	JsonbValue	found;

	if (object == NULL || Find(object, key, &found) == NULL || found.type != jbvString)
		return NULL;
	return pnstrdup(found.val.string.val, found.val.string.len);
}

static bool
FindMicros(JsonbContainer *object, const char *key, Micros *micros, int *decimals)
{
	JsonbValue	found;

	if (object == NULL || Find(object, key, &found) == NULL || found.type != jbvNumeric)
		return false;
	*micros = MicrosFromNumeric(NumericGetDatum(found.val.numeric), key, decimals);
	return true;
}

static bool
FindBoolean(JsonbContainer *object, const char *key, bool otherwise)
{
	JsonbValue	found;

	if (Find(object, key, &found) == NULL || found.type != jbvBool)
		return otherwise;
	return found.val.boolean;
}

/* A jsonb of its own, which a part of another becomes. */
static Datum
FindJsonb(JsonbContainer *object, const char *key)
{
	JsonbValue	found;

	if (Find(object, key, &found) == NULL)
		return 0;
	return JsonbPGetDatum(JsonbValueToJsonb(&found));
}

static void
ReadActivity(JsonbContainer *object, Activity *activity)
{
	char	   *at = FindText(object, "at");

	memset(activity, 0, sizeof(Activity));
	activity->kind = FindText(object, "kind");
	if (activity->kind == NULL)
		activity->kind = "order";
	if (at == NULL)
		activity->at = GetCurrentStatementStartTimestamp();
	else
		activity->at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(at),
															   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(activity->at))
		RefuseJson("activity", "Its \"at\" must be finite.");
	activity->time_zone = FindTimeZone(FindText(object, "time_zone"));
	activity->local_day = LocalDay(activity->at, activity->time_zone);
	activity->channel = FindText(object, "channel");
	activity->money = FindText(object, "money");
	activity->external_id = FindText(object, "external_id");
	activity->confirmed = FindBoolean(object, "confirmed", true);
	activity->cancelled = FindBoolean(object, "cancelled", false);
	activity->document = FindJsonb(object, "document");
	activity->has_amount = FindMicros(object, "amount", &activity->amount, &activity->decimals);
	ReadLines(activity, FindJsonb(object, "lines"));
}

/* A number of points, in an array of which each effect has one. */
static bool
FindPoints(JsonbContainer *object, const char *code, int effect, int64 *points)
{
	JsonbValue	found;
	JsonbValue *element;

	if (object == NULL || Find(object, code, &found) == NULL || found.type != jbvBinary ||
		!JsonContainerIsArray(found.val.binary.data))
		return false;
	element = getIthJsonbValueFromContainer(found.val.binary.data, effect);
	if (element == NULL || element->type != jbvNumeric)
		return false;
	*points = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(element->val.numeric)));
	return true;
}

static bool
ReadDay(const char *text, DateADT *day)
{
	Datum		datum;

	if (text == NULL || !TryInput(date_in, text, &datum) || DATE_NOT_FINITE(DatumGetDateADT(datum)))
		return false;
	*day = DatumGetDateADT(datum);
	return true;
}

/*
 * What is known of a member: a FactReader over JSON.
 */
static void
ReadFact(const FactQuestion *question, const Activity *activity, DateADT day, FactAnswer *answer, void *arg)
{
	JsonbContainer *member = arg;
	JsonbContainer *attributes = FindObject(member, "attributes");
	JsonbContainer *facts;
	JsonbValue	found;
	DateADT		birthday;
	int			decimals = 0;

	(void) activity;
	switch (question->kind)
	{
		case FACT_TIER:
			answer->text = FindText(FindObject(member, "tier"), question->name);
			answer->known = answer->text != NULL;
			break;
		case FACT_COUNT:
		case FACT_SPENT:
			answer->known = FindMicros(FindObject(FindObject(member, question->kind == FACT_COUNT ? "count" : "spent"),
												  question->name),
									   period_names[question->within], &answer->number, &decimals);
			break;
		case FACT_HOLIDAY:
			if (FindObject(member, "holidays") == NULL ||
				Find(FindObject(member, "holidays"), question->name, &found) == NULL ||
				found.type != jbvBinary || !JsonContainerIsArray(found.val.binary.data))
				break;
			answer->known = true;
			answer->truth = TRUTH_NO;
			for (uint32 i = 0; i < JsonContainerSize(found.val.binary.data); i++)
			{
				JsonbValue *element = getIthJsonbValueFromContainer(found.val.binary.data, i);
				DateADT		holiday;

				if (element->type == jbvString &&
					ReadDay(pnstrdup(element->val.string.val, element->val.string.len), &holiday) && holiday == day)
					answer->truth = TRUTH_YES;
			}
			break;
		case FACT_BIRTHDAY:
			answer->known = ReadDay(FindText(attributes, "birthday"), &birthday);
			if (answer->known)
				answer->truth = IsBirthdayWindow(birthday, day, question->before, question->after, question->leap_on_mar1) ?
					TRUTH_YES : TRUTH_NO;
			break;
		case FACT_ATTRIBUTE:
			answer->known = attributes != NULL && Find(attributes, question->name, &found) != NULL &&
				found.type != jbvBinary;
			if (answer->known)
				answer->truth = IsOneOfTexts(question, &found) ? TRUTH_YES : TRUTH_NO;
			break;
		case FACT_REGISTERED:
			facts = FindObject(member, "facts");
			answer->known = facts != NULL && Find(facts, question->key, &found) != NULL && found.type == jbvBool;
			if (answer->known)
				answer->truth = TruthOf(found.val.boolean);
			break;
	}
}

/*
 * What a window adds up to with an activity that may belong to it.
 */
static void
AddToWindow(Candidate *candidate, const Activity *activity, JsonbContainer *window, FactReader read, void *arg)
{
	const Campaign *campaign = candidate->campaign;
	Activity   *sum = palloc(sizeof(Activity));
	Micros		amount;
	Micros		activities;
	int			decimals = 0;

	*sum = *activity;
	candidate->nactivities = 1;
	if (!ActivityIsSelected(campaign, activity, &candidate->lines, read, arg))
	{
		candidate->nactivities = 0;
		sum->nlines = 0;
		sum->lines = NULL;
		sum->amount = 0;
	}
	if (FindMicros(window, "amount", &amount, &decimals))
	{
		sum->amount = AddMicros(sum->amount, amount);
		sum->has_amount = true;
	}
	if (FindMicros(window, "activities", &activities, &decimals))
		candidate->nactivities += (int) (activities / MICROS_PER_UNIT);
	candidate->subject = sum;
}

static Counter *
FindCounter(Counter *counters, int *n, const char *name, JsonbContainer *used)
{
	JsonbValue	found;
	Counter    *counter;

	for (int i = 0; i < *n; i++)
	{
		if (strcmp(counters[i].name, name) == 0)
			return &counters[i];
	}
	counter = &counters[(*n)++];
	memset(counter, 0, sizeof(Counter));
	counter->name = name;
	if (used != NULL && Find(used, name, &found) != NULL && found.type == jbvNumeric)
		counter->used = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(found.val.numeric)));
	return counter;
}

/*
 * evaluate_campaigns(definitions jsonb, activity jsonb, member jsonb)
 */
PG_FUNCTION_INFO_V1(loyalty_evaluate_campaigns);
Datum
loyalty_evaluate_campaigns(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	KeptCampaigns *kept;
	JsonbContainer *given = &PG_GETARG_JSONB_P(1)->root;
	JsonbContainer *member = &PG_GETARG_JSONB_P(2)->root;
	Activity	activity;
	Candidate **candidates;
	Counter    *counters;
	int			ncounters = 0;
	int			n = 0;

	InitReturnSet(fcinfo);
	kept = KeepCampaigns(fcinfo, PG_GETARG_JSONB_P(0));
	if (!JsonContainerIsObject(given) || !JsonContainerIsObject(member))
		RefuseJson(JsonContainerIsObject(given) ? "member" : "activity", "It must be an object.");
	ReadActivity(given, &activity);
	candidates = palloc(Max(1, kept->n) * sizeof(Candidate *));
	counters = palloc(Max(1, kept->n) * CAMPAIGN_MAX_LIMITS * sizeof(Counter));
	for (int i = 0; i < kept->n; i++)
	{
		const Campaign *campaign = kept->campaigns[i];
		Candidate  *candidate;

		if (!ConcernsKind(campaign, activity.kind))
			continue;
		candidate = candidates[n++] = palloc(sizeof(Candidate));
		InitCandidate(candidate, campaign, &activity);
		if (campaign->has_window)
			AddToWindow(candidate, &activity, FindObject(FindObject(member, "windows"), campaign->code), ReadFact, member);
		for (int e = 0; e < campaign->neffects; e++)
		{
			Held	   *held = &candidate->rulings[e].held;

			FindPoints(FindObject(member, "held"), campaign->code, e, &held->points);
			held->trimmed = FindPoints(FindObject(member, "ceilings"), campaign->code, e, &held->ceiling);
			held->limited_by = "ceiling";
		}
		for (int l = 0; l < campaign->nlimits; l++)
		{
			if (campaign->limits[l].scope != LIMIT_AWARD)
				candidate->counters[l] = FindCounter(counters, &ncounters, campaign->limits[l].counter,
													 FindObject(member, "used"));
		}
		MatchCandidate(candidate, ReadFact, member);
	}
	Decide(candidates, n);
	for (int c = 0; c < n; c++)
	{
		const Candidate *candidate = candidates[c];

		if (!candidate->matched)
			continue;
		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			const Effect *effect = &candidate->campaign->effects[e];
			const Ruling *ruling = &candidate->rulings[e];
			Datum		values[9];
			bool		nulls[9] = {false};

			if (ruling->wanted == 0 && candidate->lost_to == NULL)
				continue;
			values[0] = CStringGetTextDatum(candidate->campaign->code);
			values[1] = Int32GetDatum(e + 1);
			values[2] = CStringGetTextDatum(EffectName(effect));
			PutText(values, nulls, 3, effect->currency);
			values[4] = Int64GetDatum(effect->currency != NULL ? ruling->given : 0);
			nulls[4] = effect->currency == NULL;
			values[5] = Int64GetDatum(ruling->wanted);
			nulls[5] = effect->currency == NULL;
			PutText(values, nulls, 6, ruling->given > 0 ? effect->item : NULL);
			PutText(values, nulls, 7, ruling->limited_by);
			PutText(values, nulls, 8, candidate->lost_to != NULL ? psprintf("lost to %s", candidate->lost_to) : NULL);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

/*
 * check_campaign(definition jsonb): everything that is wrong with it.
 */
PG_FUNCTION_INFO_V1(loyalty_check_campaign);
Datum
loyalty_check_campaign(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Problems	problems = {0};
	Place		whole;
	ListCell   *lc;

	InitReturnSet(fcinfo);
	WholeDefinition(&whole, PG_GETARG_JSONB_P(0), "", &problems);
	ParseCampaign("campaign", &whole);
	foreach(lc, problems.list)
	{
		const Problem *problem = lfirst(lc);
		Datum		values[3];
		bool		nulls[3] = {false};

		values[0] = CStringGetTextDatum(problem->path);
		values[1] = CStringGetTextDatum(problem->is_error ? "error" : "warning");
		values[2] = CStringGetTextDatum(problem->text);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
