/*
 * exact.h
 *		Fractions, so that what an activity is worth is exact until it is
 *		rounded, once.
 */
#ifndef LOYALTY_EXACT_H
#define LOYALTY_EXACT_H

#include "core/compat.h"

typedef enum Rounding
{
	ROUND_FLOOR,
	ROUND_HALF_UP,
	ROUND_HALF_EVEN,
	ROUND_CEIL
} Rounding;

/* num / den; den is positive */
typedef struct Exact
{
	int128		num;
	int128		den;
} Exact;

#define EXACT_ZERO	((Exact) {0, 1})
#define EXACT_ONE	((Exact) {1, 1})

static inline Exact
MakeExact(int128 num, int128 den)
{
	return (Exact)
	{
		num, den
	};
}

extern Exact ReduceExact(Exact a);
extern Exact AddExact(Exact a, Exact b);
extern Exact MultiplyExact(Exact a, Exact b);
extern bool ExceedsExact(Exact a, Exact b);
extern int64 RoundExact(Exact a, Rounding rounding);

#endif							/* LOYALTY_EXACT_H */
