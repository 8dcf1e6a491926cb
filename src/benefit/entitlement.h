/*
 * entitlement.h
 *		Entitlements: what a member may use how often, and its uses.
 *
 * Table entitlement_act has what was done to uses, append-only; a use is what
 * its acts fold to (quota.h).  Each first act keeps how many were allowed when
 * it was decided, so that it can be checked.  Uses stand for ever under the
 * number of the member that was named.
 */
#ifndef LOYALTY_ENTITLEMENT_H
#define LOYALTY_ENTITLEMENT_H

#include "postgres.h"

#include "benefit/gate.h"
#include "benefit/offer.h"

typedef struct NamedUse
{
	Use			use;
	int64		member_id;		/* under whose number it stands */
	const char *benefit;
	int64		allowed;		/* when it was decided; QUOTA_UNLIMITED */
	Span		period;			/* in which it lies */
} NamedUse;

typedef struct NamedUses
{
	int			n;
	NamedUse   *uses;
} NamedUses;

/* What a member has of a benefit at an instant. */
typedef struct Entitled
{
	Span		period;
	bool		open;			/* it may use it at all */
	const char *why;			/* open, used_up, or why not */
	int64		allowed;		/* with what was carried to the period; QUOTA_UNLIMITED */
	int64		used;
	int64		most;			/* used in the fullest period that contains the
								 * instant: another one than used of a rolling one */
	int64		left;			/* of the quota, for another use; 0 where not open */
	int64		granted_left;	/* of what was given beside it */
} Entitled;

/* entitlement_row.c */
extern NamedUses ReadUses(const Asker *asker, TimestampTz as_of, TimestampTz known_at);
extern void KeepUseAct(NamedUse *use, UseActKind kind, const Benefit *benefit, TimestampTz at, int64 order_id, const char *reference);

/* entitlement_decide.c */
extern void DecideEntitlement(const Asker *asker, const Benefit *benefit, const NamedUses *uses, Entitled *entitled);

/* entitlement_call.c: further uses, for what is bought or given */
extern int64 GrantUses(int64 member_id, const char *benefit, int64 quantity, TimestampTz at, int64 order_id);
extern void RevokeUses(int64 member_id, int64 use_id, TimestampTz at);

#endif							/* LOYALTY_ENTITLEMENT_H */
