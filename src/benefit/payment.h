/*
 * payment.h
 *		Paying with points: plain C.
 *
 * An amount is paid with whole steps of points, as far as the member has them,
 * the order allows and the amount reaches; the rest is money.  Fewer than the
 * least are none.
 */
#ifndef LOYALTY_PAYMENT_H
#define LOYALTY_PAYMENT_H

#include "postgres.h"

#include "activity/activity.h"

typedef struct PaymentTerms
{
	int64		points;			/* so many are worth */
	Micros		worth;			/* this */
	int64		step;
	int64		least;
	int64		most;			/* 0: no limit */
	Micros		share;			/* percent of the amount, in millionths; 0: all of it */
} PaymentTerms;

extern Micros WorthOfPoints(const PaymentTerms *terms, int64 points, int decimals);
extern int64 MostPoints(const PaymentTerms *terms, Micros amount, int64 available);

#endif							/* LOYALTY_PAYMENT_H */
