/*
 * payment.c
 *		Paying with points: plain C.
 */
#include "postgres.h"

#include "benefit/payment.h"
#include "benefit/price.h"

/*
 * What points are worth, rounded down to the decimals of the money.
 */
Micros
WorthOfPoints(const PaymentTerms *terms, int64 points, int decimals)
{
	int64		unit = 1;

	for (int i = decimals; i < MICROS_DECIMALS; i++)
		unit *= 10;
	return (Micros) ((int128) points * terms->worth / terms->points / unit) * unit;
}

/*
 * How many points can be paid of an amount by who has so many; 0: none.  They
 * are worth no more than the amount.
 */
int64
MostPoints(const PaymentTerms *terms, Micros amount, int64 available)
{
	Micros		payable = terms->share == 0 ? amount : (Micros) ((int128) amount * terms->share / (100 * (int128) PERCENT_SCALE));
	int128		points = (int128) payable * terms->points / terms->worth;

	points = Min(points, available);
	if (terms->most > 0)
		points = Min(points, terms->most);
	points -= points % terms->step;
	return points < terms->least || points <= 0 ? 0 : (int64) points;
}
