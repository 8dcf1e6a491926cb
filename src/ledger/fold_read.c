/*
 * fold_read.c
 *		What a balance says as of an instant.  See fold.h for the rules.
 */
#include "postgres.h"

#include "core/compat.h"
#include "ledger/fold.h"

/*
 * A balance as it is by t, when lots that have become available since its last
 * entry have repaid debt: itself where nothing has, otherwise a copy in room.
 */
const Balance *
BalanceAdvanced(const Balance *balance, TimestampTz t, Balance *room)
{
	if (likely(balance->total[TOTAL_DEBT] == 0) || t <= balance->last_effective_at)
		return balance;
	*room = *balance;
	memset(&room->lots, 0, sizeof(LotList));
	memset(&room->owed, 0, sizeof(LotList));
	ForEachLot(lot, &balance->lots)
		AppendLot(&room->lots, lot);
	ForEachLot(part, &balance->owed)
		AppendLot(&room->owed, part);
	AdvanceBalance(room, t);
	return room;
}

/*
 * Sums a balance up as of an instant.
 */
void
BalanceAt(const Balance *balance, TimestampTz as_of, BalanceAsOf *result)
{
	Balance		room;

	balance = BalanceAdvanced(balance, as_of, &room);
	memset(result, 0, sizeof(BalanceAsOf));
	result->debt = balance->total[TOTAL_DEBT];
	result->expired = balance->total[TOTAL_SETTLED];
	result->next_expiry_at = TIMESTAMP_INFINITY;

	ForEachLot(lot, &balance->lots)
	{
		if (LotIsHeld(lot, as_of))
			result->held += lot->points;
		else if (lot->expires_at <= as_of)
			result->expired += lot->points;
		else if (lot->available_at > as_of)
			result->pending += lot->points;
		else
		{
			result->available += lot->points;
			if (lot->expires_at < result->next_expiry_at)
			{
				result->next_expiry_at = lot->expires_at;
				result->next_expiry_points = 0;
			}
			if (lot->expires_at == result->next_expiry_at &&
				lot->expires_at != TIMESTAMP_INFINITY)
				result->next_expiry_points += lot->points;
		}
	}
}

/*
 * Points that are not expired as of from, and will have expired by until
 * (from < expiry <= until) if nobody touches them.  Held points count as of
 * the instant at which they would be given up.
 */
int64
ExpiringBetween(const Balance *balance, TimestampTz from, TimestampTz until)
{
	Balance		room;
	int64		points = 0;

	balance = BalanceAdvanced(balance, until, &room);
	ForEachLot(lot, &balance->lots)
	{
		if (!LotIsExpired(lot, from) && LotIsExpired(lot, until))
			points += lot->points;
	}
	return points;
}

/*
 * Whether the identity in fold.h's header holds.  It cannot fail by entries;
 * a value that comes from outside is checked with it.
 */
bool
BalanceIsConserved(const Balance *balance)
{
	const int64 *total = balance->total;
	uint64		in = (uint64) total[TOTAL_DEBT];
	uint64		out = 0;

	/* modulo 2^64, so that no sum on the way can overflow */
	for (int i = TOTAL_EARNED; i <= TOTAL_RESTORED; i++)
		in += (uint64) total[i];
	for (int i = TOTAL_REDEEMED; i <= TOTAL_SETTLED; i++)
		out += (uint64) total[i];
	ForEachLot(lot, &balance->lots)
		out += (uint64) lot->points;
	return in == out;
}
