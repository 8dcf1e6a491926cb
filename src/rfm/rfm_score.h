/*
 * rfm_score.h
 *		Applying cut points to members.
 */
#ifndef LOYALTY_RFM_SCORE_H
#define LOYALTY_RFM_SCORE_H

#include "rfm/rfm_breaks.h"

/* What a call site keeps of the breaks it met last; zero to begin with. */
typedef struct BreaksCache
{
	StoredBreaks *stored;
	Breaks		breaks;
} BreaksCache;

extern double MemberValue(const rfm *s, const Breaks *b, Dimension dim, TimestampTz as_of);
extern int	ScoreValue(const Breaks *b, Dimension dim, double value, const char *key, int key_size);
extern bool ScoreMember(FunctionCallInfo fcinfo, int key_arg, BreaksCache *cache, int *scores);

#endif							/* LOYALTY_RFM_SCORE_H */
