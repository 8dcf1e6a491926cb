/*
 * campaign.h
 *		Campaigns: one version of a definition, read into structs.
 *
 * doc/campaigns.md lists what a definition may say.
 */
#ifndef LOYALTY_CAMPAIGN_H
#define LOYALTY_CAMPAIGN_H

#include "postgres.h"

#include "pgtime.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/condition.h"
#include "activity/definition.h"
#include "activity/effect.h"
#include "rule/exact.h"

/* Campaigns of a lane are decided before those of the next. */
typedef enum Lane
{
	LANE_BASE,
	LANE_BONUS
} Lane;

typedef enum EffectKind
{
	EFFECT_FIXED,				/* so many points */
	EFFECT_RATE,				/* for each part of an amount */
	EFFECT_UNIT,				/* for each unit of a line */
	EFFECT_EVERY,				/* for each whole part of an amount */
	EFFECT_BRACKETS,			/* by rates that change with the amount */
	EFFECT_MULTIPLY,			/* of what an earlier lane is worth */
	EFFECT_ITEM					/* what a room registered: a coupon, a badge */
} EffectKind;

/* How several multipliers of one lane go together. */
typedef enum Combination
{
	COMBINE_ADD,				/* 2 and 3 make 4 */
	COMBINE_MULTIPLY,			/* 6 */
	COMBINE_MAX					/* 3 */
} Combination;

typedef struct Bracket
{
	Micros		from;
	Micros		rate;			/* points for each 1.00 from there on */
} Bracket;

typedef struct Effect
{
	EffectKind	kind;
	const char *path;
	const char *currency;		/* of points; NULL: it is no points */
	bool		of_lines;		/* only over the matching lines */
	bool		round_by_line;
	Rounding	rounding;
	Micros		give;			/* the factor of a multiplier */
	Micros		per;
	int			nbrackets;
	Bracket    *brackets;
	Combination combination;
	const CampaignEffect *of;	/* of an item; NULL: points */
	const char *item;			/* which coupon, label, badge */
	const void *terms;			/* what else its room knows of it */
} Effect;

typedef enum LimitScope
{
	LIMIT_AWARD,				/* what one activity, or window, may get */
	LIMIT_MEMBER,				/* in a period */
	LIMIT_TOTAL					/* all members together */
} LimitScope;

typedef struct CampaignLimit
{
	LimitScope	scope;
	bool		in_times;		/* activities that got anything; otherwise points */
	int64		most;
	const char *currency;
	Period		within;
	int			days;			/* in any so many days, in place of a period; 0 */
	const char *name;			/* as an award says it was limited by */
	const char *counter;		/* what is counted together: it has one name */
} CampaignLimit;

#define CAMPAIGN_MAX_EFFECTS	16
#define CAMPAIGN_MAX_LIMITS		8

typedef struct Campaign
{
	const char *code;
	int			version;		/* 0: of a draft */
	TimestampTz effective_from;
	TimestampTz recorded_at;

	int			nkinds;			/* of activities; 0: it has ended */
	char	  **kinds;
	Lane		lane;
	int			priority;
	const char *group;			/* of which one wins; NULL: none */
	bool		pick_first;		/* otherwise the best */
	bool		group_by_line;
	const char *group_currency;
	bool		stop;
	Timestamp	from;			/* by the local clock */
	Timestamp	until;
	const char *zone_name;		/* NULL: the activity's */
	pg_tz	   *zone;
	const char *money;
	Condition  *when;			/* NULL: always */
	Condition  *treat;			/* who does not meet it gets nothing; NULL: all do */

	bool		has_window;		/* decides over what activities add up to */
	bool		window_is_between;	/* from its begin to its end */
	Period		window;
	Condition  *having;

	int			neffects;
	Effect	   *effects;
	int			nlimits;
	CampaignLimit	   *limits;
	bool		refuse;			/* what does not fit is not given at all */
	bool		keep;			/* a return takes nothing back */
	bool		when_confirmed; /* its points wait for that */
	Interval   *available_after;
	Interval   *expires_after;
	bool		to_household;	/* its points are the household's, of who is in one */
} Campaign;

extern Campaign *ParseCampaign(const char *code, const Place *place);
extern void CheckTogether(Campaign *const *campaigns, int n, const Campaign *added, Problems *problems);
extern int	CompareCampaigns(const Campaign *a, const Campaign *b);
extern const char *EffectName(const Effect *effect);
extern bool ConcernsKind(const Campaign *campaign, const char *kind);
extern void RefuseCampaign(const char *code, const Problems *problems);

#endif							/* LOYALTY_CAMPAIGN_H */
