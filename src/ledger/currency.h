/*
 * currency.h
 *		Currencies: kinds of points and their policies.
 */
#ifndef LOYALTY_CURRENCY_H
#define LOYALTY_CURRENCY_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "ledger/fold.h"

/* When the lots of a currency expire. */
typedef enum ExpiryPolicy
{
	EXPIRY_NONE,				/* never */
	EXPIRY_ROLLING,				/* an interval after they were earned */
	EXPIRY_CALENDAR,			/* at the end of a fixed day of the year */
	EXPIRY_SLIDING				/* an interval after the last activity */
} ExpiryPolicy;

/* A row of loyalty.currency, as this session knows it. */
typedef struct Currency
{
	char		code[NAMEDATALEN];	/* hash key */
	ExpiryPolicy expiry;
	Interval	lifetime;		/* expiry_interval; minimum_life of calendar */
	char		rounding[NAMEDATALEN];	/* none, day, month, quarter, year, or
										 * the name of a month */
	int			expiry_month;	/* calendar: 1 to 12 */
	int			expiry_day;
	bool		life_from_earned;	/* the life of points that wait is counted
									 * from when they were earned */
	Interval	refund_grace;
	bool		grants_grace;	/* refund_grace is not zero */
	uint32		qualifying;		/* sliding: bit (1 << kind) of each kind that
								 * extends the lots */
	char		time_zone[128];
	FoldPolicy	fold;
} Currency;

extern void CurrencyInit(void);
extern void FindCurrency(const char *code, Currency *currency);
extern TimestampTz CurrencyExpiry(const Currency *currency, TimestampTz effective_at);
extern TimestampTz CurrencyGrace(const Currency *currency, TimestampTz effective_at);

#endif							/* LOYALTY_CURRENCY_H */
