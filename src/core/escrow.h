/*
 * escrow.h
 *		Global limits: budgets, totals, stock.
 *
 * What is left of a limit is spread over slots, rows of table escrow, so that
 * those who take from it at the same time mostly lock different rows.  Whoever
 * takes asks the slot of his backend for all he wants, and, where that has too
 * little, all slots in their order for as much as each has.  So the limit is
 * never overrun, and the last unit is sold: who is refused has seen all slots,
 * and waited for those who had taken and not yet committed.
 *
 * One slot that has all is enough: where the own one has too little, another is
 * looked for that has, by each backend another one if there are several.
 *
 * A take that fails leaves no row locked.  By table access that is so.  An UPDATE
 * that waited and then finds too little would keep it: so each take by statements
 * is a subtransaction, and begins anew.
 *
 * Slots are locked last of all, those of several limits by (name, slot).  All
 * functions need an SPI connection, and the rights of the owner of the tables.
 */
#ifndef LOYALTY_ESCROW_H
#define LOYALTY_ESCROW_H

#include "postgres.h"

/* How many slots a limit has; slot s has one more than the others where s is
 * below the rest of the division. */
#define ESCROW_SLOTS	16

typedef enum EscrowTake
{
	ESCROW_ALL,					/* nothing where there is less */
	ESCROW_WHAT_THERE_IS
} EscrowTake;

extern void OpenEscrow(const char *name, int64 total);
extern void ChangeEscrow(const char *name, int64 by);
extern int64 TakeFromEscrow(const char *name, int64 n, EscrowTake take);
extern bool DrawFromEscrow(const char *name, int *slot, int64 *place);
extern void PutIntoEscrow(const char *name, int64 n);
extern int64 EscrowLeft(const char *name);

#endif							/* LOYALTY_ESCROW_H */
