/*
 * engagement.h
 *		What brings members back: streaks, badges, challenges, boards,
 *		referrals, draws, clubs, journeys.
 *
 * All of it is a function of what members did, and of a few acts of its own.
 */
#ifndef LOYALTY_ENGAGEMENT_H
#define LOYALTY_ENGAGEMENT_H

#include "postgres.h"

#include "activity/definition.h"

/* What activities of a kind concern, as a set of bits */
#define CONCERNS_BADGES		1	/* and challenges */
#define CONCERNS_BOARDS		2
#define CONCERNS_REFERRALS	4
#define CONCERNS_JOURNEYS	8

/* engagement_cache.c */
extern int	ConcernsOfKind(const char *kind);

/* engagement_lock.c */
extern void LockEngagement(int64 member_id);

/* engagement_listener.c */
extern void EngagementListenerInit(void);

/* engagement_effect.c, engagement_predicate.c */
extern void EngagementEffectInit(void);
extern void EngagementPredicateInit(void);

/* engagement_define.c */
extern void RefuseEngagement(const char *what, const Problems *problems);

#endif							/* LOYALTY_ENGAGEMENT_H */
