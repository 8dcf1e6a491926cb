/*
 * household.h
 *		Households: see household.sql.
 */
#ifndef LOYALTY_HOUSEHOLD_H
#define LOYALTY_HOUSEHOLD_H

extern void HouseholdInit(void);

#endif							/* LOYALTY_HOUSEHOLD_H */
