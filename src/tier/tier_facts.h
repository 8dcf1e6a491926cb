/*
 * tier_facts.h
 *		Values of type tier_facts: the qualifying facts of one member, packed.
 */
#ifndef LOYALTY_TIER_FACTS_H
#define LOYALTY_TIER_FACTS_H

#include "tier/tier_machine.h"

/* Facts with the names of their measures, which fact.measure numbers. */
typedef struct FactSet
{
	int			nmeasures;
	char		(*measure)[NAMEDATALEN];
	int			n;
	int			size;
	TierFact   *facts;
} FactSet;

extern int	MeasureNumber(FactSet *set, const char *name, Size length);
extern void UnpackFactSet(struct varlena *value, FactSet *set);
extern void HistoryOfSet(const LadderVersions *versions, const FactSet *set, TierHistory *history);

#endif							/* LOYALTY_TIER_FACTS_H */
