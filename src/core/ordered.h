/*
 * ordered.h
 *		Records in the order of three numbers, however many they are: what does
 *		not fit into work_mem goes to a temporary file.
 *
 * For records that are many, small and made in passing; rows that are there as
 * tuples are the affair of a Sort.
 */
#ifndef LOYALTY_ORDERED_H
#define LOYALTY_ORDERED_H

#include "postgres.h"

/* How each begins; the rest is the caller's, without pointers to itself */
typedef struct OrderedRecord
{
	int64		key[3];
	uint32		size;			/* of the whole */
} OrderedRecord;

typedef struct OrderedRecords OrderedRecords;

extern OrderedRecords *BeginOrdered(void);
extern OrderedRecord *NewOrderedRecord(OrderedRecords *records, Size size);
extern void OrderRecords(OrderedRecords *records);
extern const OrderedRecord *NextOrderedRecord(OrderedRecords *records);
extern void EndOrdered(OrderedRecords *records);

#endif							/* LOYALTY_ORDERED_H */
