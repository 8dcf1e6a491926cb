/*
 * household.h
 *		Households: see household.sql.
 */
#ifndef LOYALTY_HOUSEHOLD_H
#define LOYALTY_HOUSEHOLD_H

#include "postgres.h"

#include "datatype/timestamp.h"

extern int64 HouseholdAsOf(int64 member_id, TimestampTz at);
extern void HouseholdInit(void);

#endif							/* LOYALTY_HOUSEHOLD_H */
