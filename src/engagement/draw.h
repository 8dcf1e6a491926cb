/*
 * draw.h
 *		Draws: a wheel, whose spins are independent, or a deck, which has so
 *		many tickets, and exactly so many of them win.
 *
 *	{"prizes": [{"prize": "none", "weight": 5000},
 *		{"prize": "10 points", "weight": 3000, "points": 10, "currency": "points"},
 *		{"prize": "coupon", "weight": 499, "stock": 500, "benefit": "tea_5_off"}],
 *	 "client_seed": true, "from": ..., "until": ..., "time_zone": ...}
 *	{"tickets": 1000, "prizes": [{"prize": "car", "count": 1}, ...]}
 *
 * Prizes of a wheel stand in ascending order of what they are worth: where the
 * stock of the drawn one is gone, the one before it is given, and so on down; the
 * first has no stock.  In a deck prize i has the tickets after those of the
 * prizes before it, from 0 on, and all other tickets are blanks.
 */
#ifndef LOYALTY_DRAW_H
#define LOYALTY_DRAW_H

#include "postgres.h"

#include "activity/definition.h"
#include "engagement/ticket.h"

#define MAX_PRIZES	1000
#define NO_PRIZE	(-1)

typedef struct Prize
{
	const char *name;
	int64		weight;			/* of a wheel; of a deck its tickets */
	bool		has_stock;
	int64		stock;
	int64		points;			/* 0: none */
	const char *currency;		/* of the points */
	const char *benefit;		/* NULL: none */
} Prize;

typedef struct DrawTerms
{
	int32		tickets;		/* of a deck; 0: a wheel */
	int			nprizes;
	Prize	   *prizes;
	int64		total;			/* of the weights, or the tickets */
	bool		client_seed;	/* each spin has a seed of the member's */
	const char *from_text;		/* local times of time_zone; NULL: ever */
	const char *until_text;
	Timestamp	from;
	Timestamp	until;
	const char *time_zone;		/* NULL: the program's */
} DrawTerms;

/* A draw as a session knows it: all but whether it is closed, which never changes */
typedef struct KnownDraw
{
	const char *name;
	const DrawTerms *terms;
	TicketSeed	seed;
	int			ncurrencies;	/* of its prizes, ascending */
	const char **currencies;
	int64		lock_key;		/* of the lock that a spin shares, and reveal_draw() has */
} KnownDraw;

extern DrawTerms *ParseDraw(const Jsonb *definition, Problems *problems);
extern DrawTerms *RequireDraw(const Jsonb *definition);
extern int	PrizeOfTicket(const DrawTerms *terms, int64 ticket);
extern const KnownDraw *FindDraw(const char *name);
extern int	FindPrize(const DrawTerms *terms, const char *name);

#endif							/* LOYALTY_DRAW_H */
