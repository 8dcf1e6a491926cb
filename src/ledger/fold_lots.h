/*
 * fold_lots.h
 *		Lists of lots, as the fold changes them.
 *
 * For fold*.c only.  What runs for each entry of a history stands here, to
 * become part of the loop that needs it.
 */
#ifndef LOYALTY_FOLD_LOTS_H
#define LOYALTY_FOLD_LOTS_H

#include "postgres.h"

#include "ledger/fold.h"

/* Which lots a taking may touch. */
typedef enum LotFilter
{
	LOTS_AVAILABLE,				/* available at t */
	LOTS_PENDING,				/* pending at t, and earned by then */
	LOTS_OF_HOLD,				/* of hold id, held at t */
	LOTS_OF_LOT,				/* parts of lot id that are not held at t */
	LOTS_JOINED					/* joined lots that expire at instant id */
} LotFilter;

static inline bool
LotPasses(const Lot *lot, LotFilter filter, int64 id, TimestampTz t)
{
	switch (filter)
	{
		case LOTS_AVAILABLE:
			return LotIsAvailable(lot, t);
		case LOTS_PENDING:
			return lot->hold_id == 0 && lot->available_at > t &&
				lot->expires_at > t && lot->earned_at <= t;
		case LOTS_OF_HOLD:
			return lot->hold_id == id && lot->available_at > t;
		case LOTS_OF_LOT:
			return lot->lot_id == id && !LotIsHeld(lot, t);
		case LOTS_JOINED:
			return lot->joined && lot->expires_at == id && !LotIsHeld(lot, t);
	}
	return false;
}

extern void DropEmptyLots(LotList *list);
extern void RestoreOrder(Balance *balance);
extern int64 TakeGivenLots(Balance *balance, const LotList *given, LotList *touched);
extern int64 SumPassing(const Balance *balance, LotFilter filter, int64 id, TimestampTz t);
extern void ExtendLots(Balance *balance, TimestampTz t, TimestampTz extends_to);
extern TimestampTz ExpiryAnew(const Lot *lot, const Entry *entry);
extern void ExtendLotsAnew(Balance *balance, const Entry *entry);
extern void InsertLotApart(Balance *balance, Lot *lot);
extern void JoinLots(Balance *balance);
extern void PushLot(Balance *balance, const Lot *lot);
extern int64 TakeFirstLots(Balance *balance, TimestampTz t, int64 points);

/* How many lots are moved up for one rather than kept as a heap. */
#define HEAP_LOTS_ABOVE	64

/*
 * InsertLot() for a lot that is probably the last one: most are newer than all
 * others, and expire no earlier.
 */
static inline void
InsertNewestLot(Balance *balance, const Lot *lot)
{
	LotList    *list = &balance->lots;
	int			end = list->end;

	if (likely(end > list->first && end < list->size && !balance->heaped &&
			   list->lots[end - 1].earned_at < lot->earned_at &&
			   (balance->order == CONSUME_OLDEST_FIRST ||
				list->lots[end - 1].expires_at <= lot->expires_at)))
		list->lots[list->end++] = *lot;
	else if (balance->may_heap && LotCount(list) > HEAP_LOTS_ABOVE)
		PushLot(balance, lot);
	else
		InsertLot(list, balance->order, lot);
}

/*
 * Takes up to points out of the lots that pass, in consumption order, and
 * lists them in touched, if that is wanted, as they stood.  Returns how many
 * points were taken.
 */
static pg_attribute_always_inline int64
TakeLots(Balance *balance, LotFilter filter, int64 id, TimestampTz t,
		 int64 points, LotList *touched)
{
	LotList    *list = &balance->lots;
	int64		left = points;
	bool		emptied = false;

	for (int i = list->first; i < list->end && left > 0; i++)
	{
		Lot		   *lot = &list->lots[i];
		int64		taken;

		if (!LotPasses(lot, filter, id, t))
			continue;
		taken = Min(lot->points, left);
		left -= taken;
		if (touched != NULL)
		{
			AppendLot(touched, lot);
			touched->lots[touched->end - 1].points = taken;
		}
		lot->points -= taken;
		if (lot->points == 0)
		{
			if (i == list->first)
				list->first++;
			else
				emptied = true;
		}
	}
	if (emptied)
		DropEmptyLots(list);
	return points - left;
}

#endif							/* LOYALTY_FOLD_LOTS_H */
