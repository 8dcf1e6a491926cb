/*
 * campaign.c
 *		Reading the definition of a campaign.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

#include "core/compat.h"
#include "core/errors.h"
#include "rule/campaign.h"

#define DEFAULT_CURRENCY	"points"
#define DEFAULT_KIND		"order"
#define DEFAULT_PRIORITY	100
#define MAX_PRIORITY		1000000
#define MAX_POINTS			INT64CONST(100000000000)
#define CAMPAIGN_MAX_KEYS	12

static const char *const lanes[] = {"base", "bonus", NULL};
static const char *const roundings[] = {"floor", "half_up", "half_even", "ceil", NULL};
static const char *const combinations[] = {"add", "multiply", "max", NULL};

/* ---------------------------------------------------------------------------
 * Effects
 * ---------------------------------------------------------------------------
 */

/* A currency; after a complaint any, so that the rest can be read. */
static const char *
ReadCurrency(const Place *place)
{
	const char *currency = ReadText(place);

	return currency != NULL ? currency : DEFAULT_CURRENCY;
}

/* {"give": 1, "per": 1}, per "unit", or {"give": 50, "every": 300} */
static void
ReadRate(const Place *place, Effect *effect)
{
	static const char *const known[] = {"give", "per", "every", NULL};
	Place		part;

	RefuseUnknownKeys(place, known);
	effect->kind = EFFECT_RATE;
	if (!GetPart(place, "give", &part))
		Complain(place, "needs \"give\": how many points");
	else if (ReadDecimal(&part, &effect->give) && effect->give == 0)
		Complain(&part, "gives nothing");
	if (GetPart(place, "every", &part))
		effect->kind = EFFECT_EVERY;
	else if (!GetPart(place, "per", &part))
	{
		Complain(place, "needs \"per\" or \"every\": for what");
		return;
	}
	else if (part.value.type == jbvString)
	{
		char	   *text = ReadText(&part);

		effect->kind = EFFECT_UNIT;
		if (text != NULL && strcmp(text, "unit") != 0)
			Complain(&part, "is \"%s\", and must be an amount or \"unit\"", text);
		return;
	}
	if (ReadDecimal(&part, &effect->per) && effect->per == 0)
		Complain(&part, "must be more than 0");
}

/* [[0, 0.01], [5000, 0.012]] */
static void
ReadBrackets(const Place *place, Effect *effect)
{
	if (!RequireArray(place))
		return;
	effect->brackets = palloc0(Max(1, CountElements(place)) * sizeof(Bracket));
	for (int i = 0; i < CountElements(place); i++)
	{
		Place		element;
		Place		from;
		Place		rate;
		Bracket    *bracket = &effect->brackets[effect->nbrackets];

		GetElementPlace(place, i, &element);
		if (!IsArrayPlace(&element) || CountElements(&element) != 2)
		{
			Complain(&element, "must be an array of two: from which amount on, and the rate");
			continue;
		}
		GetElementPlace(&element, 0, &from);
		GetElementPlace(&element, 1, &rate);
		if (!ReadDecimal(&from, &bracket->from) || !ReadDecimal(&rate, &bracket->rate))
			continue;
		if (effect->nbrackets > 0 && bracket->from <= bracket[-1].from)
			Complain(&from, "must be more than where the bracket before begins");
		effect->nbrackets++;
	}
	if (effect->nbrackets == 0)
		Complain(place, "is empty");
}

static void
ReadMultiplier(const Place *place, const Place *factor, Effect *effect, Lane lane)
{
	Place		part;

	effect->kind = EFFECT_MULTIPLY;
	if (ReadDecimal(factor, &effect->give) && effect->give < MICROS_PER_UNIT)
		Complain(factor, "must not be less than 1");
	else if (effect->give == MICROS_PER_UNIT)
		Warn(factor, "is 1, so it changes nothing");
	if (!GetPart(place, "lane", &part))
		Complain(place, "needs the \"lane\" that is multiplied");
	else
	{
		int			multiplied = ReadChoice(&part, lanes);

		if (multiplied >= (int) lane)
			Complain(&part, "must be a lane before the campaign's own, which is \"%s\"; give the campaign \"lane\": \"bonus\"",
					 lanes[lane]);
	}
	if (GetPart(place, "combine", &part))
		effect->combination = (Combination) Max(0, ReadChoice(&part, combinations));
}

/* ", coupon, message": all that rooms registered */
static char *
ItemNames(void)
{
	StringInfoData names;
	const CampaignEffect *of;

	initStringInfo(&names);
	for (int i = 0; (of = NextEffect(&i)) != NULL;)
		appendStringInfo(&names, ", %s", of->name);
	return names.data;
}

/*
 * {"coupon": "tea_5_off"}: an effect that a room registered.  Returns how many
 * the object names.
 */
static int
ReadItem(const Place *place, Effect *effect)
{
	static const char *const of_points[] = {"points", "brackets", "multiply", NULL};
	const char *known[CAMPAIGN_MAX_KEYS] = {NULL};
	const CampaignEffect *of;
	Place		part;
	int			nitems = 0;

	for (int i = 0; (of = NextEffect(&i)) != NULL;)
	{
		int			nkeys = 0;

		if (!GetPart(place, of->name, &part) || nitems++ > 0)
			continue;
		effect->kind = EFFECT_ITEM;
		effect->of = of;
		effect->currency = NULL;
		effect->terms = of->parse(place, &part, &effect->item);
		known[nkeys++] = of->name;
		for (int k = 0; of->keys != NULL && of->keys[k] != NULL && nkeys + 1 < CAMPAIGN_MAX_KEYS; k++)
			known[nkeys++] = of->keys[k];
	}
	for (int i = 0; nitems > 0 && of_points[i] != NULL; i++)
		nitems += GetPart(place, of_points[i], &part);
	if (nitems == 1)
		RefuseUnknownKeys(place, known);
	return nitems;
}

static void
ReadEffect(const Place *place, Effect *effect, Campaign *campaign)
{
	static const char *const known[] = {"points", "brackets", "multiply", "over", "round", "round_at",
	"currency", "lane", "combine", NULL};
	static const char *const overs[] = {"activity", "matching_lines", NULL};
	static const char *const places[] = {"activity", "line", NULL};
	Place		part;
	int			kinds;
	int64		points;

	effect->path = place->path;
	effect->currency = DEFAULT_CURRENCY;
	if (!RequireObject(place))
		return;
	kinds = ReadItem(place, effect);
	if (kinds > 0)
	{
		if (kinds > 1)
			Complain(place, "is more than one effect");
		return;
	}
	RefuseUnknownKeys(place, known);
	if (GetPart(place, "over", &part))
		effect->of_lines = ReadChoice(&part, overs) == 1;
	if (effect->of_lines && (campaign->when == NULL || !SelectsLines(campaign->when)))
		Complain(&part, "needs a predicate \"lines\" in \"when\", under no \"not\", that says which");
	if (GetPart(place, "points", &part))
	{
		kinds++;
		if (IsObjectPlace(&part))
			ReadRate(&part, effect);
		else if (ReadWhole(&part, 1, MAX_POINTS, &points))
			effect->give = points;
	}
	if (GetPart(place, "brackets", &part))
	{
		kinds++;
		effect->kind = EFFECT_BRACKETS;
		ReadBrackets(&part, effect);
	}
	if (GetPart(place, "multiply", &part))
	{
		kinds++;
		ReadMultiplier(place, &part, effect, campaign->lane);
	}
	else
	{
		if (GetPart(place, "lane", &part))
			Complain(&part, "belongs to a multiplier; of the campaign it stands outside \"then\"");
		if (GetPart(place, "combine", &part))
			Complain(&part, "belongs to a multiplier");
	}
	if (kinds != 1)
		Complain(place, "must be one of: points, brackets, multiply%s", ItemNames());
	if (GetPart(place, "round", &part))
		effect->rounding = (Rounding) Max(0, ReadChoice(&part, roundings));
	if (GetPart(place, "round_at", &part))
		effect->round_by_line = ReadChoice(&part, places) == 1;
	if (GetPart(place, "currency", &part))
		effect->currency = ReadCurrency(&part);
	if (effect->kind == EFFECT_FIXED && effect->of_lines)
		Complain(place, "gives a fixed number: say no \"over\"");
}

/*
 * What an effect gives, as awards say it: points, or as its room registered it.
 */
const char *
EffectName(const Effect *effect)
{
	return effect->of != NULL ? effect->of->name : "points";
}

/* ---------------------------------------------------------------------------
 * Limits
 * ---------------------------------------------------------------------------
 */

static const char *
CounterName(const char *code, const CampaignLimit *limit)
{
	const char *span = limit->scope == LIMIT_TOTAL ? "total" :
		limit->days > 0 ? psprintf("%ddays", limit->days) : period_names[limit->within];

	if (limit->in_times)
		return psprintf("%s/%s/times", code, span);
	if (strcmp(limit->currency, DEFAULT_CURRENCY) == 0)
		return psprintf("%s/%s", code, span);
	return psprintf("%s/%s/%s", code, span, limit->currency);
}

/*
 * {"points": 500, "within": "day", "name": "daily"}; of a total both points and
 * times may be given.
 */
static void
ReadLimit(const Place *place, LimitScope scope, Campaign *campaign)
{
	static const char *const known[] = {"points", "times", "currency", "within", "name", NULL};
	static const char *const known_of_total[] = {"points", "times", "currency", NULL};
	Place		part;
	const char *currency = DEFAULT_CURRENCY;
	const char *name = NULL;
	Period		within = PERIOD_LIFETIME;
	int			days = 0;
	int			n = 0;
	Interval	span;

	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, scope == LIMIT_MEMBER ? known : known_of_total);
	if (GetPart(place, "currency", &part))
		currency = ReadCurrency(&part);
	if (scope == LIMIT_MEMBER)
	{
		if (GetPart(place, "name", &part))
			name = ReadText(&part);
		if (!GetPart(place, "within", &part))
			Complain(place, "needs \"within\": day, week, month, quarter, year, lifetime, or days such as \"300 days\"");
		else if (part.value.type == jbvString && part.value.val.string.val[0] >= '0' && part.value.val.string.val[0] <= '9')
		{
			if (ReadSpan(&part, &span) && (span.month != 0 || span.time != 0))
				Complain(&part, "must be whole days, such as \"300 days\"");
			days = span.day;
			if (name != NULL)
				Complain(&part, "goes with no \"name\": what is shared is counted by calendar periods");
		}
		else
			within = (Period) Max(0, ReadChoice(&part, period_names));
	}
	for (int in_times = 0; in_times <= 1; in_times++)
	{
		CampaignLimit	   *limit;
		int64		most;

		if (!GetPart(place, in_times ? "times" : "points", &part))
			continue;
		n++;
		if (!ReadWhole(&part, 0, MAX_POINTS, &most))
			continue;
		if (in_times && scope == LIMIT_AWARD)
		{
			Complain(&part, "is no limit of one award");
			continue;
		}
		if (campaign->nlimits == CAMPAIGN_MAX_LIMITS)
		{
			Complain(place, "is one too many: a campaign has at most %d limits", CAMPAIGN_MAX_LIMITS);
			return;
		}
		limit = &campaign->limits[campaign->nlimits++];
		limit->scope = scope;
		limit->in_times = in_times;
		limit->most = most;
		limit->currency = currency;
		limit->within = within;
		limit->days = days;
		if (scope == LIMIT_AWARD)
			limit->name = "award";
		else if (scope == LIMIT_TOTAL)
			limit->name = "total";
		else if (name != NULL)
			limit->name = name;
		else
			limit->name = days > 0 ? psprintf("member_%d_days", days) : psprintf("member_%s", period_names[within]);
		limit->counter = name != NULL ? name : CounterName(campaign->code, limit);
	}
	if (n == 0 || (n == 2 && scope != LIMIT_TOTAL))
		Complain(place, "must be a limit in \"points\" or in \"times\"");
}

static void
ReadLimits(const Place *place, Campaign *campaign)
{
	static const char *const known[] = {"award", "member", "total", NULL};
	Place		part;

	campaign->limits = palloc0(CAMPAIGN_MAX_LIMITS * sizeof(CampaignLimit));
	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, known);
	if (GetPart(place, "award", &part))
	{
		CampaignLimit	   *limit = &campaign->limits[campaign->nlimits];

		if (IsObjectPlace(&part))
			ReadLimit(&part, LIMIT_AWARD, campaign);
		else if (ReadWhole(&part, 0, MAX_POINTS, &limit->most))
		{
			limit->scope = LIMIT_AWARD;
			limit->currency = DEFAULT_CURRENCY;
			limit->name = "award";
			limit->counter = "award";
			campaign->nlimits++;
		}
	}
	if (GetPart(place, "member", &part))
	{
		if (IsArrayPlace(&part))
		{
			for (int i = 0; i < CountElements(&part); i++)
			{
				Place		element;

				GetElementPlace(&part, i, &element);
				ReadLimit(&element, LIMIT_MEMBER, campaign);
			}
		}
		else
			ReadLimit(&part, LIMIT_MEMBER, campaign);
	}
	if (GetPart(place, "total", &part))
		ReadLimit(&part, LIMIT_TOTAL, campaign);
	for (int i = 0; i < campaign->nlimits; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (campaign->limits[i].scope == campaign->limits[j].scope &&
				campaign->limits[i].scope != LIMIT_AWARD &&
				strcmp(campaign->limits[i].counter, campaign->limits[j].counter) == 0)
				Complain(place, "has two limits that count the same, \"%s\"", campaign->limits[i].counter);
		}
	}
}

/* ---------------------------------------------------------------------------
 * The rest
 * ---------------------------------------------------------------------------
 */

static void
ReadGroup(const Place *place, Campaign *campaign)
{
	static const char *const known[] = {"group", "pick", "scope", "currency", NULL};
	static const char *const picks[] = {"best", "first", NULL};
	static const char *const scopes[] = {"activity", "line", NULL};
	Place		part;

	campaign->group_currency = DEFAULT_CURRENCY;
	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, known);
	if (GetPart(place, "group", &part))
		campaign->group = ReadText(&part);
	else
		Complain(place, "needs the name of a \"group\"");
	if (GetPart(place, "pick", &part))
		campaign->pick_first = ReadChoice(&part, picks) == 1;
	if (GetPart(place, "scope", &part))
		campaign->group_by_line = ReadChoice(&part, scopes) == 1;
	if (GetPart(place, "currency", &part))
		campaign->group_currency = ReadCurrency(&part);
}

static void
ReadZone(const Place *place, Campaign *campaign)
{
	char	   *name = ReadText(place);

	if (name == NULL || strcmp(name, "member") == 0)
		return;
	campaign->zone = ReadTimeZone(place, &campaign->zone_name);
}

static void
ReadSpanOfCampaign(const Place *place, Campaign *campaign)
{
	Place		end;

	if (!IsArrayPlace(place) || CountElements(place) != 2)
	{
		Complain(place, "must be an array of two: from, and until");
		return;
	}
	GetElementPlace(place, 0, &end);
	if (end.value.type != jbvNull)
		ReadLocalInstant(&end, &campaign->from);
	GetElementPlace(place, 1, &end);
	if (end.value.type != jbvNull)
		ReadLocalInstant(&end, &campaign->until);
	if (campaign->from >= campaign->until)
		Complain(place, "ends before it begins, so it can never hold");
}

static void
ReadWindow(const Place *place, Campaign *campaign)
{
	static const char *const windows[] = {"day", "week", "month", "quarter", "year", "between", NULL};
	int			choice = ReadChoice(place, windows);

	campaign->has_window = choice >= 0;
	campaign->window_is_between = choice == 5;
	campaign->window = choice == 5 ? PERIOD_LIFETIME : (Period) Max(0, choice);
	if (campaign->window_is_between && (TIMESTAMP_IS_NOBEGIN(campaign->from) || TIMESTAMP_IS_NOEND(campaign->until)))
		Complain(place, "needs \"between\" with two ends");
}

static void
ReadEffects(const Place *place, Campaign *campaign)
{
	if (!RequireArray(place))
		return;
	if (CountElements(place) == 0 || CountElements(place) > CAMPAIGN_MAX_EFFECTS)
	{
		Complain(place, "must have from 1 to %d effects", CAMPAIGN_MAX_EFFECTS);
		return;
	}
	campaign->neffects = CountElements(place);
	campaign->effects = palloc0(campaign->neffects * sizeof(Effect));
	for (int i = 0; i < campaign->neffects; i++)
	{
		Place		element;

		GetElementPlace(place, i, &element);
		ReadEffect(&element, &campaign->effects[i], campaign);
		if (campaign->group_by_line &&
			(!campaign->effects[i].of_lines || campaign->effects[i].kind == EFFECT_EVERY || campaign->effects[i].kind == EFFECT_BRACKETS ||
			 campaign->effects[i].kind == EFFECT_ITEM))
			Complain(&element, "cannot be won line by line: it must be a rate, units or a multiplier over matching_lines");
	}
}

/*
 * A limit in points of a currency that the campaign does not give would limit
 * nothing, without a word.
 */
static void
CheckLimitCurrencies(const Campaign *campaign, const Place *place)
{
	for (int l = 0; l < campaign->nlimits; l++)
	{
		const CampaignLimit *limit = &campaign->limits[l];
		const char *other = NULL;
		bool		is_given = false;

		for (int e = 0; e < campaign->neffects && !is_given; e++)
		{
			if (campaign->effects[e].currency == NULL)
				continue;
			is_given = strcmp(campaign->effects[e].currency, limit->currency) == 0;
			other = campaign->effects[e].currency;
		}
		if (!limit->in_times && !is_given && other != NULL)
			ComplainAt(place->problems, "limits", "counts points of currency \"%s\", and the campaign gives \"%s\": name the \"currency\" of the limit",
					   limit->currency, other);
	}
}

/*
 * A window is decided with each of its activities: what belongs to one of them
 * would make the result depend on which was recorded last.
 */
static void
CheckWindow(const Campaign *campaign, const Place *place)
{
	if (campaign->group != NULL)
		ComplainAt(place->problems, "exclusive", "wins or loses with one activity, and a window has many");
	if (campaign->stop)
		ComplainAt(place->problems, "stop", "ends what looks at one activity, and a window has many");
	if (campaign->when_confirmed)
		ComplainAt(place->problems, "available_after", "waits for one activity to be confirmed, and a window has many");
	if (campaign->treat != NULL && !AsksOfMember(campaign->treat))
		ComplainAt(place->problems, "treat", "asks of one activity, and a window has many: ask of the member alone");
	for (int i = 0; i < campaign->neffects; i++)
	{
		if (campaign->effects[i].kind == EFFECT_MULTIPLY)
			ComplainAt(place->problems, campaign->effects[i].path, "multiplies what one activity is worth, and a window has many");
	}
}

/*
 * Reads a definition; what is wrong is noted in the place's problems, and what
 * is returned is then not to be used.
 */
Campaign *
ParseCampaign(const char *code, const Place *place)
{
	static const char *const known[] = {"on", "lane", "priority", "exclusive", "stop", "between", "time_zone", "money",
	"when", "treat", "window", "having", "then", "limits", "at_limit", "on_return", "available_after", "expires_after", "to", NULL};
	static const char *const at_limits[] = {"trim", "refuse", NULL};
	static const char *const on_returns[] = {"reevaluate", "keep", NULL};
	static const char *const whose[] = {"member", "household", NULL};
	Campaign   *campaign = palloc0(sizeof(Campaign));
	Place		part;
	int64		priority;

	campaign->code = code;
	campaign->priority = DEFAULT_PRIORITY;
	campaign->from = DT_NOBEGIN;
	campaign->until = DT_NOEND;
	if (!RequireObject(place))
		return campaign;
	RefuseUnknownKeys(place, known);
	if (GetPart(place, "on", &part))
		campaign->kinds = ReadTexts(&part, &campaign->nkinds);
	else
	{
		campaign->kinds = palloc(sizeof(char *));
		campaign->kinds[0] = pstrdup(DEFAULT_KIND);
		campaign->nkinds = 1;
	}
	if (GetPart(place, "lane", &part))
		campaign->lane = (Lane) Max(0, ReadChoice(&part, lanes));
	if (GetPart(place, "priority", &part) && ReadWhole(&part, 0, MAX_PRIORITY, &priority))
		campaign->priority = (int) priority;
	if (GetPart(place, "exclusive", &part))
		ReadGroup(&part, campaign);
	if (GetPart(place, "stop", &part))
		campaign->stop = ReadBoolean(&part);
	if (GetPart(place, "between", &part))
		ReadSpanOfCampaign(&part, campaign);
	if (GetPart(place, "time_zone", &part))
		ReadZone(&part, campaign);
	if (GetPart(place, "money", &part))
		campaign->money = ReadText(&part);
	if (GetPart(place, "when", &part))
		campaign->when = ParseCondition(&part);
	if (GetPart(place, "treat", &part))
		campaign->treat = ParseCondition(&part);
	if (GetPart(place, "window", &part))
		ReadWindow(&part, campaign);
	if (GetPart(place, "having", &part))
	{
		campaign->having = ParseWindowCondition(&part);
		if (!campaign->has_window)
			Complain(&part, "needs a \"window\" over which it adds up");
	}
	if (GetPart(place, "limits", &part))
		ReadLimits(&part, campaign);
	if (GetPart(place, "then", &part))
		ReadEffects(&part, campaign);
	else
		Complain(place, "needs \"then\": what it gives");
	if (GetPart(place, "at_limit", &part))
		campaign->refuse = ReadChoice(&part, at_limits) == 1;
	if (GetPart(place, "on_return", &part))
		campaign->keep = ReadChoice(&part, on_returns) == 1;
	if (GetPart(place, "available_after", &part))
	{
		if (part.value.type == jbvString && part.value.val.string.len == 9 &&
			strncmp(part.value.val.string.val, "confirmed", 9) == 0)
			campaign->when_confirmed = true;
		else
		{
			campaign->available_after = palloc(sizeof(Interval));
			ReadSpan(&part, campaign->available_after);
		}
	}
	if (GetPart(place, "expires_after", &part))
	{
		campaign->expires_after = palloc(sizeof(Interval));
		ReadSpan(&part, campaign->expires_after);
	}
	if (GetPart(place, "to", &part))
		campaign->to_household = ReadChoice(&part, whose) == 1;
	CheckLimitCurrencies(campaign, place);
	if (campaign->has_window)
		CheckWindow(campaign, place);
	return campaign;
}

/*
 * Whether campaigns go together with one that is added: those of a group agree
 * how one is picked, multipliers of a lane how they combine, limits of one name
 * what they count.
 */
void
CheckTogether(Campaign *const *campaigns, int n, const Campaign *added, Problems *problems)
{
	for (int i = 0; i < n; i++)
	{
		const Campaign *other = campaigns[i];

		if (strcmp(other->code, added->code) == 0)
			continue;
		if (added->group != NULL && other->group != NULL && strcmp(added->group, other->group) == 0 &&
			(added->pick_first != other->pick_first || added->group_by_line != other->group_by_line ||
			 strcmp(added->group_currency, other->group_currency) != 0))
			ComplainAt(problems, "exclusive", "differs from that of campaign \"%s\" of the same group", other->code);
		for (int e = 0; e < added->neffects; e++)
		{
			for (int f = 0; f < other->neffects; f++)
			{
				if (added->effects[e].kind == EFFECT_MULTIPLY && other->effects[f].kind == EFFECT_MULTIPLY &&
					strcmp(added->effects[e].currency, other->effects[f].currency) == 0 &&
					added->effects[e].combination != other->effects[f].combination)
					ComplainAt(problems, added->effects[e].path, "combines otherwise than campaign \"%s\", which multiplies the same lane",
							   other->code);
			}
		}
		for (int l = 0; l < added->nlimits; l++)
		{
			for (int m = 0; m < other->nlimits; m++)
			{
				const CampaignLimit *a = &added->limits[l];
				const CampaignLimit *b = &other->limits[m];

				if (a->scope == LIMIT_MEMBER && b->scope == LIMIT_MEMBER && strcmp(a->counter, b->counter) == 0 &&
					(a->in_times != b->in_times || a->within != b->within || a->days != b->days ||
					 strcmp(a->currency, b->currency) != 0))
					ComplainAt(problems, "limits.member", "the limit \"%s\" counts otherwise than that of campaign \"%s\"",
							   a->counter, other->code);
			}
		}
	}
}

/*
 * The order in which campaigns are decided.
 */
int
CompareCampaigns(const Campaign *a, const Campaign *b)
{
	if (a->lane != b->lane)
		return a->lane < b->lane ? -1 : 1;
	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	return strcmp(a->code, b->code);
}

bool
ConcernsKind(const Campaign *campaign, const char *kind)
{
	for (int i = 0; i < campaign->nkinds; i++)
	{
		if (strcmp(campaign->kinds[i], kind) == 0)
			return true;
	}
	return false;
}

/*
 * Refuses a definition by the first of its mistakes.
 */
void
RefuseCampaign(const char *code, const Problems *problems)
{
	ListCell   *lc;

	foreach(lc, problems->list)
	{
		const Problem *problem = lfirst(lc);

		if (problem->is_error)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_CAMPAIGN),
					 errmsg("invalid definition of campaign \"%s\"", code),
					 errdetail("%s: %s.", problem->path[0] == '\0' ? "The definition" : problem->path, problem->text),
					 errhint("check_campaign() lists everything that is wrong with a definition.")));
	}
}
