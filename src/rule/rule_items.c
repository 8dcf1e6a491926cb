/*
 * rule_items.c
 *		What awards give beside points, by the rooms that have it.
 */
#include "postgres.h"

#include "activity/effect.h"
#include "core/core.h"
#include "rule/rule.h"

/* What is left of an item for a member */
typedef struct KnownLeft
{
	const CampaignEffect *of;
	const char *name;
	int64		member_id;
	ItemsLeft	left;
} KnownLeft;

/* The room that an award is of. */
static const CampaignEffect *
RoomOf(const char *kind)
{
	const CampaignEffect *of = FindEffect(kind);

	if (of == NULL)
		elog(ERROR, "no room has effect \"%s\" of campaigns", kind);
	return of;
}

/*
 * How many more of an item the member may have; all effects that give it share
 * them.
 */
ItemsLeft *
AskWhatIsLeft(const EffectItem *item, const CampaignEffect *of, List **known)
{
	ListCell   *lc;
	KnownLeft  *it;

	foreach(lc, *known)
	{
		it = lfirst(lc);
		if (it->of == of && it->member_id == item->member_id && strcmp(it->name, item->name) == 0)
			return &it->left;
	}
	it = palloc0(sizeof(KnownLeft));
	it->of = of;
	it->name = item->name;
	it->member_id = item->member_id;
	it->left.limited_by = of->name;
	it->left.left = of->left(item, &it->left.limited_by);
	*known = lappend(*known, it);
	return &it->left;
}

static int
CompareItems(const void *a, const void *b)
{
	const HeldAward *x = *(HeldAward *const *) a;
	const HeldAward *y = *(HeldAward *const *) b;

	return x->item_id == y->item_id ? 0 : x->item_id < y->item_id ? -1 : 1;
}

/*
 * Finds out which items that are held cannot be taken back any more.
 */
void
AskWhatStays(const HeldAwards *held, int64 member_id, bool read_only)
{
	HeldAward **items = palloc(Max(1, held->n) * sizeof(HeldAward *));
	int			n = 0;

	for (int i = 0; i < held->n; i++)
	{
		if (held->awards[i]->item != NULL && held->awards[i]->points > 0 && RoomOf(held->awards[i]->kind)->keeps != NULL)
			items[n++] = held->awards[i];
	}
	qsort(items, n, sizeof(HeldAward *), CompareItems);
	for (int i = 0; i < n; i++)
	{
		EffectItem	item = {
			.name = items[i]->item,.member_id = member_id,.campaign = items[i]->campaign,.item_id = items[i]->item_id,
			.read_only = read_only
		};

		items[i]->stays = RoomOf(items[i]->kind)->keeps(&item);
	}
	pfree(items);
}

/*
 * Gives what a difference gives; returns its number.
 */
int64
GiveItem(const PostingFor *what, const Difference *difference)
{
	EffectItem	item = {
		.name = difference->item,
		.terms = difference->campaign->effects[difference->effect].terms,
		.member_id = what->member_id,
		.activity_id = what->activity_id,
		.campaign = difference->campaign_code,
		.at = difference->effective_at
	};

	if (!RoomOf(difference->kind)->give(&item))
		RestartCall("what was left was given to somebody else");
	return item.item_id;
}

/*
 * Takes back what a difference takes back: one item.
 */
void
TakeItemBack(const PostingFor *what, const Difference *difference, const HeldEntry *entry)
{
	const CampaignEffect *of = RoomOf(difference->kind);
	EffectItem	item = {
		.name = difference->item,
		.member_id = entry->member_id,
		.activity_id = what->activity_id,
		.campaign = difference->campaign_code,
		.at = what->taken_back_at,
		.item_id = entry->id
	};

	if (of->take_back != NULL)
		of->take_back(&item);
}
