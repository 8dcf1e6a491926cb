/*
 * effect.h
 *		What campaigns give beside points, and look at beside activities,
 *		registered by the rooms that have it.
 *
 * In a definition it is an effect by the name under which it was registered,
 * {"coupon": "tea_5_off"}.  A room left of rule registers it when it is set up
 * for a session:
 *
 *		static const CampaignEffect coupon = {.name = "coupon", ...};
 *		RegisterEffect(&coupon);
 *
 * It is an award as points are: an activity, or a window, has one of each such
 * effect or none.  Limits in times count it, it is explained and previewed, and
 * what the activity does not earn any more is taken back.  A row of table award
 * guards it, so that give() and take_back() need no keys; they are called with
 * the member's wallets and state locked, as the owner of the tables and with an
 * SPI connection.
 */
#ifndef LOYALTY_EFFECT_H
#define LOYALTY_EFFECT_H

#include "postgres.h"

#include "activity/definition.h"

/* What is given, or is to be */
typedef struct EffectItem
{
	const char *name;			/* of the coupon, label or badge; as parse() said */
	const void *terms;			/* what parse() returned; NULL where it is taken back */
	int64		member_id;		/* under whose number the award stands */
	int64		activity_id;	/* that earns it, or made it happen; 0: none */
	const char *campaign;
	TimestampTz at;				/* when it is earned; when it is taken back */
	int64		item_id;		/* which one was given; 0: it has no number */
	bool		read_only;		/* of left() and keeps(): nothing is locked */
	int64		taken;			/* of left(): so many are taken before it, which
								 * nothing says yet */
} EffectItem;

/*
 * parse()		reads {"coupon": value}: effect is the whole, with the keys that
 *				it knows, value that of its name.  What is wrong is noted.  Sets
 *				the name of what is given, a text of the definition.  Returns
 *				whatever else it wants to remember, or NULL.
 * require()	refuses a campaign that gives what does not exist, when it is
 *				defined; NULL: nothing to be asked.
 * left()		how many more the member may have, with the name of the limit
 *				that says so; an award has that name in limited_by.  NULL: any
 *				number.
 * give()		gives it and sets item_id.  false: it is gone, though left() had
 *				said otherwise a moment ago, so it is decided anew.
 * keeps()		why the member keeps what is to be taken back (it was redeemed),
 *				or NULL; an award has that in kept_because, and is counted on.
 *				Called by item_id ascending.  NULL: nothing is kept.
 * take_back()	takes it back.  NULL: what was given stays, such as a message.
 */
typedef struct CampaignEffect
{
	const char *name;
	const char *const *keys;	/* what the effect may say beside its name; ends
								 * with NULL; NULL: nothing */
	void	   *(*parse) (const Place *effect, const Place *value, const char **name);
	void		(*require) (const EffectItem *item);
	int64		(*left) (const EffectItem *item, const char **limited_by);
	bool		(*give) (EffectItem *item);
	const char *(*keeps) (const EffectItem *item);
	void		(*take_back) (const EffectItem *item);
} CampaignEffect;

/*
 * What campaigns may look at beside activities: a kind of what happened
 * (core/happened.h), such as {"on": ["badge_earned"]}.  keys: texts and numbers
 * of its payload that tell one from another; with them and its instant an award
 * is known by its cause.
 */
typedef struct CampaignCause
{
	const char *kind;
	const char *const *keys;	/* ends with NULL */
} CampaignCause;

extern void RegisterCause(const CampaignCause *cause);
extern const CampaignCause *FindCause(const char *kind);

extern void RegisterEffect(const CampaignEffect *effect);
extern const CampaignEffect *FindEffect(const char *name);
extern const CampaignEffect *NextEffect(int *i);

#endif							/* LOYALTY_EFFECT_H */
