/*
 * member_fact.h
 *		What is known of a member now, for conditions.
 */
#ifndef LOYALTY_MEMBER_FACT_H
#define LOYALTY_MEMBER_FACT_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "activity/condition.h"

/* A member about whom questions are asked; what is read of him once */
typedef struct AskedMember
{
	int64		member_id;		/* who stands for the member */
	Datum		numbers;		/* bigint[] of all for whom he does */
	bool		read_only;		/* read as the calling query sees it */
	bool		was_read;		/* then: */
	Jsonb	   *attributes;		/* NULL: none */
} AskedMember;

extern void ReadFactOfMember(const FactQuestion *question, const Activity *activity, DateADT day, AskedMember *member, FactAnswer *answer);

#endif							/* LOYALTY_MEMBER_FACT_H */
