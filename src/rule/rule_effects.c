/*
 * rule_effects.c
 *		Effects of campaigns whose rooms know nothing of activities: a level that
 *		is granted, and a message to consumers of events.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/effect.h"
#include "core/core.h"
#include "core/happened.h"
#include "rule/rule.h"

/* ---------------------------------------------------------------------------
 * {"grant": {"ladder": "club", "level": "gold", "period": "30 days"}}
 * ---------------------------------------------------------------------------
 */

typedef struct GrantTerms
{
	const char *ladder;
	const char *level;
	Interval   *period;			/* NULL: without end */
} GrantTerms;

static void *
ParseGrant(const Place *effect, const Place *value, const char **name)
{
	static const char *const known[] = {"ladder", "level", "period", NULL};
	GrantTerms *terms = palloc0(sizeof(GrantTerms));
	Place		part;

	(void) effect;
	if (!RequireObject(value))
		return NULL;
	RefuseUnknownKeys(value, known);
	if (GetPart(value, "ladder", &part))
		terms->ladder = ReadText(&part);
	else
		Complain(value, "needs a \"ladder\"");
	if (GetPart(value, "level", &part))
		terms->level = ReadText(&part);
	else
		Complain(value, "needs a \"level\" of it");
	if (GetPart(value, "period", &part))
	{
		terms->period = palloc(sizeof(Interval));
		ReadSpan(&part, terms->period);
	}
	if (terms->ladder != NULL && terms->level != NULL)
		*name = psprintf("%s:%s", terms->ladder, terms->level);
	return terms;
}

static void
RequireLevel(const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.require_level($1, $2)",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	const GrantTerms *terms = item->terms;
	Datum		values[2] = {CStringGetTextDatum(terms->ladder), CStringGetTextDatum(terms->level)};

	RunPlan(&plan, values, NULL, 1);
}

static bool
GiveGrant(EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.award_grant($1, $2, $3, $4, $5, $6)",
		.nargs = 6,
		.argtypes = {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INTERVALOID, TEXTOID}
	};
	const GrantTerms *terms = item->terms;
	bool		isnull;
	Datum		values[6] = {
		Int64GetDatum(item->member_id), CStringGetTextDatum(terms->ladder), CStringGetTextDatum(terms->level),
		TimestampTzGetDatum(item->at), IntervalPGetDatum(terms->period), CStringGetTextDatum(item->campaign)
	};

	RunPlan(&plan, values, terms->period == NULL ? "    n " : NULL, 1);
	item->item_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return true;
}

static void
TakeGrantBack(const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.take_grant_back($1, $2, $3, $4)",
		.nargs = 4,
		.argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[4] = {
		Int64GetDatum(item->member_id), Int64GetDatum(item->item_id), TimestampTzGetDatum(item->at), CStringGetTextDatum(item->campaign)
	};

	RunPlan(&plan, values, NULL, 1);
}

/* ---------------------------------------------------------------------------
 * {"message": "gold_box", "data": {"size": "L"}}
 * ---------------------------------------------------------------------------
 */

static void *
ParseMessage(const Place *effect, const Place *value, const char **name)
{
	Place		part;

	*name = ReadText(value);
	if (!GetPart(effect, "data", &part) || !RequireObject(&part))
		return NULL;
	return JsonbValueToJsonb(&part.value);
}

static void
SayMessage(const char *kind, const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('version', 1, 'message', $1, 'campaign', $2, 'activity_id', $3)) "
		"OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}' ELSE pg_catalog.jsonb_build_object('data', $4) END",
		.nargs = 4,
		.argtypes = {TEXTOID, TEXTOID, INT8OID, JSONBOID}
	};
	Datum		values[4] = {
		CStringGetTextDatum(item->name), CStringGetTextDatum(item->campaign), Int64GetDatum(item->activity_id), PointerGetDatum(item->terms)
	};
	char		nulls[4] = {' ', ' ', item->activity_id == 0 ? 'n' : ' ', item->terms == NULL ? 'n' : ' '};
	bool		isnull;

	if (!IsHeard(kind))
		return;
	RunPlan(&plan, values, nulls, 1);
	Happen(&(Happening) {
		.kind = kind,
		.member_id = item->member_id,
		.at = item->at,
		.payload = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)
	});
}

static bool
SendMessage(EffectItem *item)
{
	SayMessage("message_sent", item);
	return true;
}

static void
WithdrawMessage(const EffectItem *item)
{
	SayMessage("message_withdrawn", item);
}

/*
 * Part of RuleInit().
 */
void
RuleEffectsInit(void)
{
	static const char *const happenings[] = {"message_sent", "message_withdrawn", NULL};
	static const char *const message_keys[] = {"data", NULL};
	static const CampaignEffect grant = {
		.name = "grant",.parse = ParseGrant,.require = RequireLevel,.give = GiveGrant,.take_back = TakeGrantBack
	};
	static const CampaignEffect message = {
		.name = "message",.keys = message_keys,.parse = ParseMessage,.give = SendMessage,.take_back = WithdrawMessage
	};

	DeclareHappenings(happenings);
	RegisterEffect(&grant);
	RegisterEffect(&message);
}
