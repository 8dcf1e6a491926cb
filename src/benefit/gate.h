/*
 * gate.h
 *		Whether a member may have something, at an instant.
 */
#ifndef LOYALTY_GATE_H
#define LOYALTY_GATE_H

#include "postgres.h"

#include "activity/member_fact.h"
#include "benefit/benefit.h"

/* A level that was read. */
typedef struct KnownLevel
{
	struct KnownLevel *next;
	int64		member_id;
	const char *ladder;
	TimestampTz at;
	const char *level;			/* NULL: none */
} KnownLevel;

/* What was read of who asks, once for all questions. */
typedef struct Known
{
	AskedMember member;
	KnownLevel *levels;
	bool		joined_was_read;	/* then: */
	bool		has_joined;
	TimestampTz joined_at;
} Known;

/* Who asks, and as of when.  An SPI connection is needed. */
typedef struct Asker
{
	int64		member_id;		/* as the caller named it */
	TimestampTz at;
	bool		read_only;		/* by the calling query's snapshot */
	int64		canonical;		/* who stands for it */
	Datum		numbers;		/* bigint[] of all who are one with it */
	bool		alone;			/* it is one number, the caller's */
	Known	   *known;			/* also of copies of the asker for other instants */
} Asker;

extern void InitAsker(Asker *asker, int64 member_id, TimestampTz at, bool read_only);
extern bool TryToLockBenefitOf(Asker *asker, const char *benefit);
extern void LockBenefitOf(Asker *asker, const char *benefit);
extern void LetAsk(ConditionSubject *subject, const Asker *asker);
extern bool Meets(const Asker *asker, const Benefit *benefit, const Condition *condition, const char **failed_at);
extern const char *LevelHeld(const Asker *asker, const char *ladder, TimestampTz at);
extern void ForEachLevelHeld(const Asker *asker, const char *ladder, TimestampTz from, TimestampTz until,
							 void (*visit) (const char *level, void *arg), void *arg);
extern bool JoinedAt(const Asker *asker, TimestampTz *joined_at);
extern bool MembershipBegan(const Asker *asker, const char *ladder, TimestampTz at, TimestampTz *began_at);

#endif							/* LOYALTY_GATE_H */
