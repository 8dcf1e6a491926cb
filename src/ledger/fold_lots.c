/*
 * fold_lots.c
 *		Lists of lots: their order, and what is done to them.  See fold.h for
 *		the rules.
 */
#include "postgres.h"

#include "core/compat.h"
#include "ledger/fold_lots.h"

/*
 * Consumption order: negative where a goes first.  Total, so that a list has
 * one order only.
 */
int
CompareLots(ConsumptionOrder order, const Lot *a, const Lot *b)
{
#define COMPARE(field) \
	if (a->field != b->field) \
		return a->field < b->field ? -1 : 1

	if (order == CONSUME_EARLIEST_EXPIRY)
		COMPARE(expires_at);
	COMPARE(earned_at);
	COMPARE(lot_id);
	COMPARE(expires_at);
	COMPARE(available_at);
	COMPARE(hold_id);
	COMPARE(home_id);
	COMPARE(opened_until);
	COMPARE(expires_by);
	return 0;
#undef COMPARE
}

/*
 * Makes room for one lot at the end.  Room that consumption has left at the
 * front is used again before more is allocated.
 */
static void
ReserveLot(LotList *list)
{
	int			count = LotCount(list);

	if (list->end < list->size)
		return;
	if (list->first > count)
	{
		memmove(list->lots, list->lots + list->first, count * sizeof(Lot));
		list->first = 0;
		list->end = count;
		return;
	}
	if (list->lots == NULL)
	{
		list->size = 8;
		list->lots = palloc(list->size * sizeof(Lot));
	}
	else
	{
		list->size *= 2;
		list->lots = repalloc_huge(list->lots, list->size * sizeof(Lot));
	}
}

/*
 * Makes sure that a list has memory of its own in the current context; it
 * stays there however the list grows.
 */
void
ReserveLots(LotList *list)
{
	if (list->lots == NULL)
		ReserveLot(list);
}

/*
 * An empty list with room for that many lots at once.
 */
void
InitLots(LotList *list, int size)
{
	list->first = list->end = 0;
	list->size = Max(size, 1);
	list->lots = palloc(list->size * sizeof(Lot));
}

/*
 * Adds a lot at the end of a list.
 */
void
AppendLot(LotList *list, const Lot *lot)
{
	ReserveLot(list);
	list->lots[list->end++] = *lot;
}

/*
 * Adds a lot at its place in consumption order.  A part of the same lot with
 * the same instants and hold is joined with it.
 */
void
InsertLot(LotList *list, ConsumptionOrder order, const Lot *lot)
{
	int			low = list->first;
	int			high = list->end;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			cmp = CompareLots(order, &list->lots[middle], lot);

		if (cmp == 0)
		{
			list->lots[middle].points += lot->points;
			return;
		}
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle;
	}

	low -= list->first;
	ReserveLot(list);
	low += list->first;
	memmove(list->lots + low + 1, list->lots + low, (list->end - low) * sizeof(Lot));
	list->lots[low] = *lot;
	list->end++;
}

/*
 * Adds a lot that was earned before others came: neither it nor the lot behind
 * it is to be joined with what stands before.
 */
void
InsertLotApart(Balance *balance, Lot *lot)
{
	LotList    *list = &balance->lots;

	lot->apart = true;
	InsertLot(list, balance->order, lot);
	ForEachLot(other, list)
	{
		if (CompareLots(balance->order, other, lot) > 0)
		{
			other->apart = true;
			break;
		}
	}
}

/*
 * Sum of the points of a list.  Callers keep lists whose sum is in range.
 */
int64
SumLots(const LotList *list)
{
	int64		sum = 0;

	ForEachLot(lot, list)
		sum += lot->points;
	return sum;
}

/*
 * Drops lots with no points left.
 */
void
DropEmptyLots(LotList *list)
{
	int			to;

	while (list->first < list->end && list->lots[list->first].points == 0)
		list->first++;
	to = list->first;
	for (int from = list->first; from < list->end; from++)
	{
		if (list->lots[from].points != 0)
		{
			if (to != from)
				list->lots[to] = list->lots[from];
			to++;
		}
	}
	list->end = to;
}

static int
CompareLotsByExpiry(const void *a, const void *b)
{
	return CompareLots(CONSUME_EARLIEST_EXPIRY, a, b);
}

static int
CompareLotsByAge(const void *a, const void *b)
{
	return CompareLots(CONSUME_OLDEST_FIRST, a, b);
}

/*
 * Brings a list into consumption order again after instants in it were
 * changed, and joins parts that have become alike.
 */
void
RestoreOrder(Balance *balance)
{
	LotList    *list = &balance->lots;
	int			to;

	if (LotCount(list) < 2)
		return;
	qsort(list->lots + list->first, LotCount(list), sizeof(Lot),
		  balance->order == CONSUME_EARLIEST_EXPIRY ? CompareLotsByExpiry : CompareLotsByAge);

	to = list->first;
	for (int from = list->first + 1; from < list->end; from++)
	{
		if (CompareLots(balance->order, &list->lots[to], &list->lots[from]) == 0)
			list->lots[to].points += list->lots[from].points;
		else
			list->lots[++to] = list->lots[from];
	}
	list->end = to + 1;
}

/*
 * Where lots come in any order of expiry, moving those up that go behind would
 * take the square of their number.  So where nobody sees their order before the
 * end, and each is available at once, a long list becomes a heap.  One in order
 * is a heap already.
 *
 * Adds a lot to the heap.
 */
void
PushLot(Balance *balance, const Lot *lot)
{
	LotList    *list = &balance->lots;
	Lot		   *heap;
	int			at = LotCount(list);

	balance->heaped = true;
	AppendLot(list, lot);
	heap = list->lots + list->first;
	while (at > 0)
	{
		int			parent = (at - 1) / 2;

		if (CompareLots(balance->order, &heap[parent], lot) <= 0)
			break;
		heap[at] = heap[parent];
		at = parent;
	}
	heap[at] = *lot;
}

/*
 * Drops the first lot of a heap.
 */
static void
PopLot(Balance *balance)
{
	LotList    *list = &balance->lots;
	Lot		   *heap = list->lots + list->first;
	const Lot  *last = &list->lots[--list->end];
	int			count = LotCount(list);
	int			at = 0;

	for (;;)
	{
		int			child = 2 * at + 1;

		if (child + 1 < count && CompareLots(balance->order, &heap[child + 1], &heap[child]) < 0)
			child++;
		if (child >= count || CompareLots(balance->order, last, &heap[child]) <= 0)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = *last;
}

/*
 * TakeLots() of available ones out of a heap.
 */
int64
TakeFirstLots(Balance *balance, TimestampTz t, int64 points)
{
	LotList    *list = &balance->lots;
	int64		left = points;

	while (left > 0 && LotCount(list) > 0 && LotIsAvailable(&list->lots[list->first], t))
	{
		Lot		   *first = &list->lots[list->first];
		int64		taken = Min(first->points, left);

		left -= taken;
		first->points -= taken;
		if (first->points == 0)
			PopLot(balance);
	}
	return points - left;
}

/*
 * The lots are seen from now on: they are brought in order.
 */
void
EndHeap(Balance *balance)
{
	if (balance->heaped)
		RestoreOrder(balance);
	balance->may_heap = balance->heaped = false;
}

/*
 * Takes just the lots that were recorded with an entry.  Where a part is not
 * there with these very instants (a balance as of the past is folded without
 * entries that were effective later), other parts of its lot serve, and for a
 * joined lot those with its expiry.  Returns how many points were there to
 * take.
 */
int64
TakeGivenLots(Balance *balance, const LotList *given, LotList *touched)
{
	LotList    *list = &balance->lots;
	int64		taken = 0;

	ForEachLot(wanted, given)
	{
		int64		left = wanted->points;

		for (int likeness = 2; likeness >= 0 && left > 0; likeness--)
		{
			for (int i = list->first; i < list->end && left > 0; i++)
			{
				Lot		   *lot = &list->lots[i];
				Lot			part;

				if (likeness > 0 ? lot->lot_id != wanted->lot_id :
					!wanted->joined || lot->expires_at != wanted->expires_at)
					continue;
				if (likeness == 2 && CompareLots(CONSUME_OLDEST_FIRST, lot, wanted) != 0)
					continue;
				part = *lot;
				part.points = Min(lot->points, left);
				lot->points -= part.points;
				left -= part.points;
				taken += part.points;
				AppendLot(touched, &part);
			}
			DropEmptyLots(list);
		}
	}
	return taken;
}

/*
 * Points of the lots that pass.
 */
int64
SumPassing(const Balance *balance, LotFilter filter, int64 id, TimestampTz t)
{
	int64		sum = 0;

	ForEachLot(lot, &balance->lots)
	{
		if (LotPasses(lot, filter, id, t))
			sum += lot->points;
	}
	return sum;
}

/*
 * When a lot expires after an activity at t that extends it.
 */
static inline TimestampTz
ExtendedExpiry(TimestampTz expires_at, TimestampTz expires_by, TimestampTz t, TimestampTz extends_to)
{
	return expires_at > t ? Max(expires_at, Min(extends_to, expires_by)) : expires_at;
}

/*
 * Sliding expiry: what has not expired by t lives at least until extends_to,
 * or as long as it may.
 */
void
ExtendLots(Balance *balance, TimestampTz t, TimestampTz extends_to)
{
	bool		changed = false;

	ForEachLot(lot, &balance->lots)
	{
		TimestampTz until = ExtendedExpiry(lot->expires_at, lot->expires_by, t, extends_to);

		if (until != lot->expires_at)
		{
			lot->expires_at = until;
			changed = true;
		}
	}
	if (changed)
		RestoreOrder(balance);
}

/*
 * Sliding expiry: how long a lot lives, from its own expiry on, by the
 * activities that come with an entry.
 */
TimestampTz
ExpiryAnew(const Lot *lot, const Entry *entry)
{
	TimestampTz until = lot->opened_until;
	bool		arrived = false;

	for (int i = 0; i < entry->nactivities; i++)
	{
		const LoggedActivity *activity = &entry->activities[i];

		/* what happened before the lot was there did nothing to it */
		if (activity->extends_to == TIMESTAMP_MINUS_INFINITY)
		{
			if (activity->arrived_id != lot->lot_id || activity->arrived_until != lot->opened_until)
				continue;
			until = lot->opened_until;
			arrived = true;
		}
		else if (arrived || activity->entry_id >= lot->lot_id)
			until = ExtendedExpiry(until, lot->expires_by, activity->effective_at, activity->extends_to);
	}
	return until;
}

/*
 * Sliding expiry: an activity was undone, or counts again, and those that come
 * with the entry are all.  No lot lives longer, or, where one counts again,
 * less long, than they extend it from its own expiry on.
 */
void
ExtendLotsAnew(Balance *balance, const Entry *entry)
{
	ForEachLot(lot, &balance->lots)
	{
		TimestampTz until = ExpiryAnew(lot, entry);

		lot->expires_at = entry->counts_again ? Max(lot->expires_at, until) : Min(lot->expires_at, until);
	}
	balance->newest_expires_at = TIMESTAMP_MINUS_INFINITY;
	RestoreOrder(balance);
}

/*
 * Joins neighbours that are available and expire at the same instant.  The
 * joined lot is available from when the last of them was, so that no late
 * entry can reach points before they were there.  Oldest first, a lot that is
 * apart stays so: something else may come back between it and the one before.
 */
void
JoinLots(Balance *balance)
{
	LotList    *list = &balance->lots;
	TimestampTz t = balance->last_effective_at;
	int			to = list->first;

	for (int from = list->first + 1; from < list->end; from++)
	{
		Lot		   *lot = &list->lots[from];
		Lot		   *before = &list->lots[to];

		if (lot->expires_at == before->expires_at &&
			lot->expires_by == before->expires_by && !lot->apart &&
			lot->hold_id == 0 && before->hold_id == 0 && lot->home_id == before->home_id &&
			LotIsAvailable(lot, t) && LotIsAvailable(before, t))
		{
			before->points += lot->points;
			before->available_at = Max(before->available_at, lot->available_at);
			before->opened_until = Max(before->opened_until, lot->opened_until);
			before->joined = true;
		}
		else
			list->lots[++to] = *lot;
	}
	list->end = to + 1;
}

/*
 * Moves lots that have expired by as_of out of the list.  Allowed only where
 * nothing can reach back before as_of any more.
 */
void
SettleExpired(Balance *balance, TimestampTz as_of)
{
	LotList    *list = &balance->lots;
	bool		emptied = false;

	while (balance->heaped && LotCount(list) > 0 && list->lots[list->first].expires_at <= as_of)
	{
		balance->total[TOTAL_SETTLED] += list->lots[list->first].points;
		PopLot(balance);
	}
	if (balance->heaped)
		return;

	for (int i = list->first; i < list->end; i++)
	{
		Lot		   *lot = &list->lots[i];

		/* the list is by expiry: nothing behind has expired either */
		if (balance->order == CONSUME_EARLIEST_EXPIRY && lot->expires_at > as_of)
			break;
		if (!LotIsExpired(lot, as_of))
			continue;
		balance->total[TOTAL_SETTLED] += lot->points;
		lot->points = 0;
		if (i == list->first)
			list->first++;
		else
			emptied = true;
	}
	if (emptied)
		DropEmptyLots(list);
}
