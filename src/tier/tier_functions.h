/*
 * tier_functions.h
 *		What the functions over values and those over tables share.
 */
#ifndef LOYALTY_TIER_FUNCTIONS_H
#define LOYALTY_TIER_FUNCTIONS_H

#include "funcapi.h"

#include "tier/tier_machine.h"

extern TimestampTz FiniteInstant(TimestampTz t, const char *name);
extern text *TextIn(MemoryContext context, const char *string);
extern Datum CodeOrNull(const char *code, bool *isnull);
extern Datum InstantOrNull(TimestampTz t, bool *isnull);
extern void PutTimeline(ReturnSetInfo *rsinfo, const TierLog *logs, int nlogs);

#endif							/* LOYALTY_TIER_FUNCTIONS_H */
