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
#include "core/json.h"
#include "rule/decide.h"
#include "rule/rule.h"

/*
 * Definitions that were read, kept as long as the call stays the same; and what
 * is used again for one activity after the other.
 */
typedef struct KeptCampaigns
{
	MemoryContext context;
	MemoryContext scratch;
	Jsonb	   *source;
	int			n;
	Campaign  **campaigns;		/* in order */
	Candidate  *candidates;		/* of each */
	Datum	   *codes;			/* text */
	Datum	  **currencies;		/* likewise, of their effects; 0: none */
	int			ncandidates;	/* that look at the activity */
	Candidate **looking;
	Counter    *counters;
	int			ncounters;
} KeptCampaigns;

/* What an activity may say */
enum
{
	ACTIVITY_HAS_KIND,
	ACTIVITY_HAS_AT,
	ACTIVITY_HAS_TIME_ZONE,
	ACTIVITY_HAS_CHANNEL,
	ACTIVITY_HAS_MONEY,
	ACTIVITY_HAS_EXTERNAL_ID,
	ACTIVITY_HAS_CONFIRMED,
	ACTIVITY_HAS_CANCELLED,
	ACTIVITY_HAS_DOCUMENT,
	ACTIVITY_HAS_AMOUNT,
	ACTIVITY_HAS_LINES,
	ACTIVITY_KEYS
};

static const JsonKey activity_keys[ACTIVITY_KEYS] = {
	[ACTIVITY_HAS_KIND] = JSON_KEY("kind"),
	[ACTIVITY_HAS_AT] = JSON_KEY("at"),
	[ACTIVITY_HAS_TIME_ZONE] = JSON_KEY("time_zone"),
	[ACTIVITY_HAS_CHANNEL] = JSON_KEY("channel"),
	[ACTIVITY_HAS_MONEY] = JSON_KEY("money"),
	[ACTIVITY_HAS_EXTERNAL_ID] = JSON_KEY("external_id"),
	[ACTIVITY_HAS_CONFIRMED] = JSON_KEY("confirmed"),
	[ACTIVITY_HAS_CANCELLED] = JSON_KEY("cancelled"),
	[ACTIVITY_HAS_DOCUMENT] = JSON_KEY("document"),
	[ACTIVITY_HAS_AMOUNT] = JSON_KEY("amount"),
	[ACTIVITY_HAS_LINES] = JSON_KEY("lines")
};

/* What may be known of a member */
enum
{
	MEMBER_TIER,
	MEMBER_ATTRIBUTES,
	MEMBER_COUNT,
	MEMBER_SPENT,
	MEMBER_HOLIDAYS,
	MEMBER_FACTS,
	MEMBER_HELD,
	MEMBER_CEILINGS,
	MEMBER_USED,
	MEMBER_WINDOWS,
	MEMBER_KEYS
};

static const JsonKey member_keys[MEMBER_KEYS] = {
	[MEMBER_TIER] = JSON_KEY("tier"),
	[MEMBER_ATTRIBUTES] = JSON_KEY("attributes"),
	[MEMBER_COUNT] = JSON_KEY("count"),
	[MEMBER_SPENT] = JSON_KEY("spent"),
	[MEMBER_HOLIDAYS] = JSON_KEY("holidays"),
	[MEMBER_FACTS] = JSON_KEY("facts"),
	[MEMBER_HELD] = JSON_KEY("held"),
	[MEMBER_CEILINGS] = JSON_KEY("ceilings"),
	[MEMBER_USED] = JSON_KEY("used"),
	[MEMBER_WINDOWS] = JSON_KEY("windows")
};

typedef struct KnownMember
{
	JsonbContainer *parts[MEMBER_KEYS]; /* NULL: it is no object */
} KnownMember;

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

static void
MakeCandidates(KeptCampaigns *kept)
{
	int			n = Max(1, kept->n);

	kept->scratch = AllocSetContextCreate(kept->context, "evaluation of an activity", ALLOCSET_DEFAULT_SIZES);
	kept->candidates = palloc(n * sizeof(Candidate));
	kept->looking = palloc(n * sizeof(Candidate *));
	kept->counters = palloc(n * CAMPAIGN_MAX_LIMITS * sizeof(Counter));
	kept->codes = palloc(n * sizeof(Datum));
	kept->currencies = palloc(n * sizeof(Datum *));
	for (int c = 0; c < kept->n; c++)
	{
		const Campaign *campaign = kept->campaigns[c];

		InitCandidate(&kept->candidates[c], campaign, NULL);
		kept->codes[c] = CStringGetTextDatum(campaign->code);
		kept->currencies[c] = palloc(Max(1, campaign->neffects) * sizeof(Datum));
		for (int e = 0; e < campaign->neffects; e++)
			kept->currencies[c][e] = campaign->effects[e].currency == NULL ? 0 : CStringGetTextDatum(campaign->effects[e].currency);
	}
}

/*
 * The campaigns of a call: read once, as long as it is the same definitions.
 */
static KeptCampaigns *
KeepCampaigns(FunctionCallInfo fcinfo, const Jsonb *definitions)
{
	KeptCampaigns *before = fcinfo->flinfo->fn_extra;
	KeptCampaigns *kept;
	MemoryContext context;
	MemoryContext old;

	if (before != NULL && VARSIZE(before->source) == VARSIZE(definitions) &&
		memcmp(before->source, definitions, VARSIZE(definitions)) == 0)
		return before;
	context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "campaigns", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	kept = palloc0(sizeof(KeptCampaigns));
	kept->context = context;
	kept->source = (Jsonb *) memcpy(palloc(VARSIZE(definitions)), definitions, VARSIZE(definitions));
	kept->campaigns = ParseCampaigns(kept->source, &kept->n);
	MakeCandidates(kept);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = kept;
	if (before != NULL)
		MemoryContextDelete(before->context);
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

static const char *
TextOf(const JsonbValue *value)
{
	return value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

static bool
BooleanOf(const JsonbValue *value, bool otherwise)
{
	return value->type == jbvBool ? value->val.boolean : otherwise;
}

/* A jsonb of its own, which a part of another becomes; 0: it is null. */
static Datum
JsonbOf(JsonbValue *value)
{
	return value->type == jbvNull ? 0 : JsonbPGetDatum(JsonbValueToJsonb(value));
}

static TimestampTz
InstantOf(const JsonbValue *value)
{
	TimestampTz at;

	if (value->type != jbvString)
		return GetCurrentStatementStartTimestamp();
	if (ReadJsonInstant(value->val.string.val, value->val.string.len, &at))
		return at;
	at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(TextOf(value)), ObjectIdGetDatum(InvalidOid),
												 Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(at))
		RefuseJson("activity", "Its \"at\" must be finite.");
	return at;
}

static void
ReadActivity(JsonbContainer *object, Activity *activity)
{
	JsonbValue	values[ACTIVITY_KEYS];

	FindJsonKeys(object, activity_keys, ACTIVITY_KEYS, values);
	memset(activity, 0, sizeof(Activity));
	activity->kind = TextOf(&values[ACTIVITY_HAS_KIND]);
	if (activity->kind == NULL)
		activity->kind = "order";
	activity->at = InstantOf(&values[ACTIVITY_HAS_AT]);
	activity->time_zone = FindTimeZone(TextOf(&values[ACTIVITY_HAS_TIME_ZONE]));
	activity->local_day = LocalDay(activity->at, activity->time_zone);
	activity->channel = TextOf(&values[ACTIVITY_HAS_CHANNEL]);
	activity->money = TextOf(&values[ACTIVITY_HAS_MONEY]);
	activity->external_id = TextOf(&values[ACTIVITY_HAS_EXTERNAL_ID]);
	activity->confirmed = BooleanOf(&values[ACTIVITY_HAS_CONFIRMED], true);
	activity->cancelled = BooleanOf(&values[ACTIVITY_HAS_CANCELLED], false);
	activity->document = JsonbOf(&values[ACTIVITY_HAS_DOCUMENT]);
	activity->has_amount = values[ACTIVITY_HAS_AMOUNT].type == jbvNumeric;
	if (activity->has_amount)
		activity->amount = MicrosFromNumeric(NumericGetDatum(values[ACTIVITY_HAS_AMOUNT].val.numeric), "amount", &activity->decimals);
	ReadLines(activity, JsonbOf(&values[ACTIVITY_HAS_LINES]));
}

static void
ReadMember(JsonbContainer *object, KnownMember *member)
{
	JsonbValue	values[MEMBER_KEYS];

	FindJsonKeys(object, member_keys, MEMBER_KEYS, values);
	for (int i = 0; i < MEMBER_KEYS; i++)
		member->parts[i] = values[i].type == jbvBinary && JsonContainerIsObject(values[i].val.binary.data) ? values[i].val.binary.data : NULL;
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
	return text != NULL && TryDate(text, day);
}

/*
 * What is known of a member: a FactReader over JSON.
 */
static void
ReadFact(const FactQuestion *question, const Activity *activity, DateADT day, FactAnswer *answer, void *arg)
{
	JsonbContainer *const *parts = ((KnownMember *) arg)->parts;
	JsonbContainer *attributes = parts[MEMBER_ATTRIBUTES];
	JsonbValue	found;
	DateADT		birthday;
	int			decimals = 0;

	(void) activity;
	switch (question->kind)
	{
		case FACT_TIER:
			answer->text = FindText(parts[MEMBER_TIER], question->name);
			answer->known = answer->text != NULL;
			break;
		case FACT_COUNT:
		case FACT_SPENT:
			answer->known = FindMicros(FindObject(parts[question->kind == FACT_COUNT ? MEMBER_COUNT : MEMBER_SPENT], question->name),
									   period_names[question->within], &answer->number, &decimals);
			break;
		case FACT_HOLIDAY:
			if (parts[MEMBER_HOLIDAYS] == NULL || Find(parts[MEMBER_HOLIDAYS], question->name, &found) == NULL ||
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
			answer->known = parts[MEMBER_FACTS] != NULL && Find(parts[MEMBER_FACTS], question->key, &found) != NULL && found.type == jbvBool;
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
FindCounter(KeptCampaigns *kept, const char *name, JsonbContainer *used)
{
	JsonbValue	found;
	Counter    *counter;

	for (int i = 0; i < kept->ncounters; i++)
	{
		if (strcmp(kept->counters[i].name, name) == 0)
			return &kept->counters[i];
	}
	counter = &kept->counters[kept->ncounters++];
	memset(counter, 0, sizeof(Counter));
	counter->name = name;
	if (used != NULL && Find(used, name, &found) != NULL && found.type == jbvNumeric)
		counter->used = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(found.val.numeric)));
	return counter;
}

/* Begins a candidate anew, with what its campaign holds of the activity. */
static void
BeginCandidate(KeptCampaigns *kept, Candidate *candidate, const Activity *activity, KnownMember *member)
{
	const Campaign *campaign = candidate->campaign;

	candidate->subject = activity;
	candidate->nactivities = 1;
	candidate->lines = NULL;
	memset(candidate->rulings, 0, campaign->neffects * sizeof(Ruling));
	if (campaign->has_window)
		AddToWindow(candidate, activity, FindObject(member->parts[MEMBER_WINDOWS], campaign->code), ReadFact, member);
	for (int e = 0; e < campaign->neffects; e++)
	{
		Held	   *held = &candidate->rulings[e].held;

		FindPoints(member->parts[MEMBER_HELD], campaign->code, e, &held->points);
		held->trimmed = FindPoints(member->parts[MEMBER_CEILINGS], campaign->code, e, &held->ceiling);
		held->limited_by = "ceiling";
	}
	for (int l = 0; l < campaign->nlimits; l++)
	{
		if (campaign->limits[l].scope != LIMIT_AWARD)
			candidate->counters[l] = FindCounter(kept, campaign->limits[l].counter, member->parts[MEMBER_USED]);
	}
}

/*
 * Decides for the arguments definitions, activity and member.  What comes of it
 * stays until the next call.
 */
static KeptCampaigns *
DecideForArguments(FunctionCallInfo fcinfo)
{
	KeptCampaigns *kept = KeepCampaigns(fcinfo, PG_GETARG_JSONB_P(0));
	JsonbContainer *given = &PG_GETARG_JSONB_P(1)->root;
	JsonbContainer *known = &PG_GETARG_JSONB_P(2)->root;
	MemoryContext old;
	Activity   *activity;
	KnownMember member;

	if (!JsonContainerIsObject(given) || !JsonContainerIsObject(known))
		RefuseJson(JsonContainerIsObject(given) ? "member" : "activity", "It must be an object.");
	MemoryContextReset(kept->scratch);
	old = MemoryContextSwitchTo(kept->scratch);
	activity = palloc(sizeof(Activity));
	ReadActivity(given, activity);
	ReadMember(known, &member);
	kept->ncandidates = 0;
	kept->ncounters = 0;
	for (int c = 0; c < kept->n; c++)
	{
		Candidate  *candidate = &kept->candidates[c];

		if (!ConcernsKind(candidate->campaign, activity->kind))
			continue;
		BeginCandidate(kept, candidate, activity, &member);
		MatchCandidate(candidate, ReadFact, &member);
		kept->looking[kept->ncandidates++] = candidate;
	}
	Decide(kept->looking, kept->ncandidates);
	MemoryContextSwitchTo(old);
	return kept;
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

	InitReturnSet(fcinfo);
	kept = DecideForArguments(fcinfo);
	for (int i = 0; i < kept->ncandidates; i++)
	{
		const Candidate *candidate = kept->looking[i];
		int			c = (int) (candidate - kept->candidates);

		for (int e = 0; e < candidate->campaign->neffects && candidate->matched; e++)
		{
			const Effect *effect = &candidate->campaign->effects[e];
			const Ruling *ruling = &candidate->rulings[e];
			Datum		values[9];
			bool		nulls[9] = {false};

			if (ruling->wanted == 0 && candidate->lost_to == NULL)
				continue;
			values[0] = kept->codes[c];
			values[1] = Int32GetDatum(e + 1);
			values[2] = CStringGetTextDatum(EffectName(effect));
			values[3] = kept->currencies[c][e];
			nulls[3] = effect->currency == NULL;
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
 * campaign_points(definitions jsonb, activity jsonb, member jsonb, currency text)
 */
PG_FUNCTION_INFO_V1(loyalty_campaign_points);
Datum
loyalty_campaign_points(PG_FUNCTION_ARGS)
{
	KeptCampaigns *kept = DecideForArguments(fcinfo);
	const text *currency = PG_GETARG_TEXT_PP(3);
	int64		points = 0;

	for (int i = 0; i < kept->ncandidates; i++)
	{
		const Candidate *candidate = kept->looking[i];

		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			const char *of = candidate->campaign->effects[e].currency;

			if (of != NULL && strlen(of) == VARSIZE_ANY_EXHDR(currency) &&
				memcmp(of, VARDATA_ANY(currency), VARSIZE_ANY_EXHDR(currency)) == 0 &&
				pg_add_s64_overflow(points, candidate->rulings[e].given, &points))
				CountsOverflow();
		}
	}
	PG_RETURN_INT64(points);
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
