/*
 * engagement_effect.c
 *		What campaigns give of this room: {"badge": "founder", "level": 2},
 *		{"freeze": "daily", "quantity": 1} and {"spin": "wheel", "quantity": 1};
 *		and {"on": ["badge_earned"]}.
 *
 * What is taken back is a row of its own that says so.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/effect.h"
#include "core/core.h"
#include "engagement/engagement.h"

/* The number beside the name: of a level, or how many; 1 where there is none. */
static void *
ParseNumber(const Place *effect, const char *key, int64 most)
{
	int64	   *number = palloc(sizeof(int64));
	Place		part;

	*number = 1;
	if (GetPart(effect, key, &part))
		(void) ReadWhole(&part, 1, most, number);
	return number;
}

static void *
ParseBadge(const Place *effect, const Place *value, const char **name)
{
	*name = ReadText(value);
	return ParseNumber(effect, "level", 1000);
}

static void *
ParseQuantity(const Place *effect, const Place *value, const char **name)
{
	*name = ReadText(value);
	return ParseNumber(effect, "quantity", 1000);
}

static void
RequireEngagement(const char *what, const char *name)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.engagement_in_force($1, $2, 'infinity')",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	Datum		values[2] = {CStringGetTextDatum(what), CStringGetTextDatum(name)};

	RunPlan(&plan, values, NULL, 1);
}

static void
RequireBadge(const EffectItem *item)
{
	RequireEngagement("badge", item->name);
}

static void
RequireStreak(const EffectItem *item)
{
	RequireEngagement("streak", item->name);
}

static void
RequireDrawOf(const EffectItem *item)
{
	RequireEngagement("draw", item->name);
}

/* Runs the statement of an effect: of member, name, number, instant and campaign. */
static bool
Give(KeptPlan *plan, EffectItem *item)
{
	Datum		values[5] = {
		Int64GetDatum(item->member_id), CStringGetTextDatum(item->name), Int32GetDatum((int32) *(const int64 *) item->terms),
		TimestampTzGetDatum(item->at), CStringGetTextDatum(item->campaign)
	};
	bool		isnull;

	RunPlan(plan, values, NULL, 1);
	item->item_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return true;
}

static void
TakeBack(KeptPlan *plan, const EffectItem *item)
{
	Datum		values[4] = {
		Int64GetDatum(item->member_id), Int64GetDatum(item->item_id), TimestampTzGetDatum(item->at), CStringGetTextDatum(item->campaign)
	};

	RunPlan(plan, values, NULL, 0);
}

#define GIVE_ARGUMENTS		.nargs = 5, .argtypes = {INT8OID, TEXTOID, INT4OID, TIMESTAMPTZOID, TEXTOID}
#define TAKE_BACK_ARGUMENTS	.nargs = 4, .argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID}

static bool
GiveBadge(EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT act_id FROM loyalty.put_badge_act($1, $2, $3, 'given', $4, $5, NULL)",
		GIVE_ARGUMENTS
	};

	return Give(&plan, item);
}

static void
TakeBadgeBack(const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.member_badge (member_id, badge, level, act, earned_at, at, reason) "
		"SELECT b.member_id, b.badge, b.level, 'taken', b.earned_at, greatest($3, b.at), $4 FROM loyalty.member_badge b "
		"WHERE b.member_id OPERATOR(pg_catalog.=) $1 AND b.act_id OPERATOR(pg_catalog.=) $2",
		TAKE_BACK_ARGUMENTS
	};

	TakeBack(&plan, item);
}

static bool
GiveFreeze(EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT freeze_id FROM loyalty.grant_freeze($1, $2, $3, at => $4, reference => $5)",
		GIVE_ARGUMENTS
	};

	return Give(&plan, item);
}

static void
TakeFreezeBack(const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.streak_freeze (member_id, streak, quantity, of_freeze_id, at, from_day, reference) "
		"SELECT f.member_id, f.streak, OPERATOR(pg_catalog.-) f.quantity, f.freeze_id, greatest($3, f.at), f.from_day, $4 FROM loyalty.streak_freeze f "
		"WHERE f.member_id OPERATOR(pg_catalog.=) $1 AND f.freeze_id OPERATOR(pg_catalog.=) $2",
		TAKE_BACK_ARGUMENTS
	};

	TakeBack(&plan, item);
}

static bool
GiveSpin(EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.put_spin($1, $2, $3, $4, $5)",
		GIVE_ARGUMENTS
	};

	return Give(&plan, item);
}

static void
TakeSpinBack(const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.draw_grant (member_id, draw, quantity, at, reference) "
		"SELECT g.member_id, g.draw, OPERATOR(pg_catalog.-) g.quantity, greatest($3, g.at), $4 FROM loyalty.draw_grant g "
		"WHERE g.member_id OPERATOR(pg_catalog.=) $1 AND g.grant_id OPERATOR(pg_catalog.=) $2",
		TAKE_BACK_ARGUMENTS
	};

	TakeBack(&plan, item);
}

/*
 * Part of EngagementInit().
 */
void
EngagementEffectInit(void)
{
	static const char *const level[] = {"level", NULL};
	static const char *const quantity[] = {"quantity", NULL};
	static const char *const payload[] = {"badge", "level", NULL};
	static const CampaignEffect badge = {
		.name = "badge",.keys = level,.parse = ParseBadge,.require = RequireBadge,.give = GiveBadge,.take_back = TakeBadgeBack
	};
	static const CampaignEffect freeze = {
		.name = "freeze",.keys = quantity,.parse = ParseQuantity,.require = RequireStreak,.give = GiveFreeze,.take_back = TakeFreezeBack
	};
	static const CampaignEffect spin = {
		.name = "spin",.keys = quantity,.parse = ParseQuantity,.require = RequireDrawOf,.give = GiveSpin,.take_back = TakeSpinBack
	};
	static const CampaignCause earned = {.kind = "badge_earned",.keys = payload};

	RegisterEffect(&badge);
	RegisterEffect(&freeze);
	RegisterEffect(&spin);
	RegisterCause(&earned);
}
