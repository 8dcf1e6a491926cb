/*
 * member_fact.h
 *		What is known of a member now, for conditions.
 */
#ifndef LOYALTY_MEMBER_FACT_H
#define LOYALTY_MEMBER_FACT_H

#include "postgres.h"

#include "activity/condition.h"

extern void ReadFactOfMember(const FactQuestion *question, const Activity *activity, DateADT day, int64 member_id, Datum numbers,
							 FactAnswer *answer);

#endif							/* LOYALTY_MEMBER_FACT_H */
