/*
 * effect.c
 *		What campaigns give beside points, and look at beside activities.
 */
#include "postgres.h"

#include "activity/effect.h"

#define MAX_EFFECTS		16

static const CampaignEffect *effects[MAX_EFFECTS];
static int	neffects = 0;

#define MAX_CAUSES		16

static const CampaignCause *causes[MAX_CAUSES];
static int	ncauses = 0;

/*
 * From now on campaigns may look at what happens of a kind; it stays where it is.
 */
void
RegisterCause(const CampaignCause *cause)
{
	if (ncauses >= MAX_CAUSES)
		elog(ERROR, "too many causes of awards");
	causes[ncauses++] = cause;
}

/*
 * A kind of what happens; NULL: campaigns do not look at it.
 */
const CampaignCause *
FindCause(const char *kind)
{
	for (int i = 0; i < ncauses; i++)
	{
		if (strcmp(causes[i]->kind, kind) == 0)
			return causes[i];
	}
	return NULL;
}

/*
 * From now on campaigns may have an effect; it stays where it is.
 */
void
RegisterEffect(const CampaignEffect *effect)
{
	if (neffects >= MAX_EFFECTS)
		elog(ERROR, "too many effects of campaigns");
	effects[neffects++] = effect;
}

/*
 * An effect by its name; NULL: there is none.
 */
const CampaignEffect *
FindEffect(const char *name)
{
	for (int i = 0; i < neffects; i++)
	{
		if (strcmp(effects[i]->name, name) == 0)
			return effects[i];
	}
	return NULL;
}

/*
 * All effects, one after the other, from *i = 0; NULL: that was the last.
 */
const CampaignEffect *
NextEffect(int *i)
{
	return *i < neffects ? effects[(*i)++] : NULL;
}
