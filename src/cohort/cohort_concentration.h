/*
 * cohort_concentration.h
 *		Type concentration as it is stored: what makes it and what reads it
 *		share.
 */
#ifndef LOYALTY_COHORT_CONCENTRATION_H
#define LOYALTY_COHORT_CONCENTRATION_H

#include "cohort/cohort.h"

#define CONCENTRATION_VERSION	1

/*
 * The stored value.  Behind the head follow, in ascending order of amounts
 * and each at a multiple of eight bytes, the number of members (int64) and
 * the amount (a numeric with a four-byte header).
 */
typedef struct Concentration
{
	int32		vl_len_;		/* varlena header */
	uint8		version;		/* CONCENTRATION_VERSION */
	uint8		reserved[3];
	int64		members;
	int64		values;			/* different amounts */
} Concentration;

#define CONCENTRATION_HEAD	MAXALIGN(sizeof(Concentration))

/* Walks through the amounts from the smallest up. */
typedef struct AmountCursor
{
	const char *next;
	const char *end;
	int64		members;
	Numeric		amount;
} AmountCursor;

static inline void
AmountsRewind(AmountCursor *cursor, const Concentration *c)
{
	cursor->next = (const char *) c + CONCENTRATION_HEAD;
	cursor->end = (const char *) c + VARSIZE(c);
}

/* Reads the amount that stands at a place. */
static inline void
AmountsReadAt(AmountCursor *cursor, const char *start)
{
	cursor->members = *(const int64 *) start;
	cursor->amount = (Numeric) (start + sizeof(int64));
}

/* The next amount; false behind the last. */
static inline bool
AmountsNext(AmountCursor *cursor)
{
	if (cursor->next >= cursor->end)
		return false;
	AmountsReadAt(cursor, cursor->next);
	cursor->next += MAXALIGN(sizeof(int64) + VARSIZE(cursor->amount));
	return true;
}

extern Concentration *GetConcentration(Datum d);

#endif							/* LOYALTY_COHORT_CONCENTRATION_H */
