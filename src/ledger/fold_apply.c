/*
 * fold_apply.c
 *		How entries become a balance.  See fold.h for the rules.
 */
#include "postgres.h"

#include "common/int.h"

#include "core/compat.h"
#include "ledger/fold_lots.h"

/*
 * What expires_at of an entry is where nothing is said about it: never, or, of
 * a kind that opens no lot, what it is already.
 */
TimestampTz
ExpiryUnsaid(EntryKind kind)
{
	return kind == ENTRY_REVERSE || kind == ENTRY_ACTIVATE ? TIMESTAMP_MINUS_INFINITY : TIMESTAMP_INFINITY;
}

/*
 * An empty balance.
 */
void
InitBalance(Balance *balance, ConsumptionOrder order)
{
	memset(balance, 0, sizeof(Balance));
	balance->order = order;
	balance->last_effective_at = TIMESTAMP_MINUS_INFINITY;
	balance->last_recorded_at = TIMESTAMP_MINUS_INFINITY;
	balance->booked_through = TIMESTAMP_MINUS_INFINITY;
	balance->newest_expires_at = TIMESTAMP_MINUS_INFINITY;
}

/*
 * An entry that is available at once and never expires.
 */
void
InitEntry(Entry *entry, EntryKind kind, TimestampTz effective_at)
{
	memset(entry, 0, sizeof(Entry));
	entry->kind = kind;
	entry->effective_at = effective_at;
	entry->available_at = effective_at;
	entry->expires_at = ExpiryUnsaid(kind);
	entry->expires_by = TIMESTAMP_INFINITY;
	entry->hold_until = TIMESTAMP_MINUS_INFINITY;
	entry->extends_to = TIMESTAMP_MINUS_INFINITY;
	entry->target_expires_at = TIMESTAMP_MINUS_INFINITY;
}

/*
 * An entry from its least form.
 */
void
InitPlainEntry(Entry *entry, const PlainEntry *plain)
{
	InitEntry(entry, plain->kind, plain->effective_at);
	entry->requested = plain->points;
	entry->available_at = plain->available_at;
	entry->expires_at = plain->expires_at;
	if (plain->kind == ENTRY_HOLD)
	{
		entry->hold_until = plain->expires_at;
		entry->expires_at = TIMESTAMP_INFINITY;
	}
}

/* ---------------------------------------------------------------------------
 * Entries
 * ---------------------------------------------------------------------------
 */

/*
 * Adds to a lifetime total; false when it would overflow.  What came in, all
 * together, must fit as well, since a balance may be all of it.
 */
static inline bool
AddTotal(Balance *balance, Total which, int64 points)
{
	int64		incoming = 0;

	if (unlikely(pg_add_s64_overflow(balance->total[which], points, &balance->total[which])))
		return false;
	if (which > TOTAL_RESTORED)
		return true;
	for (int i = TOTAL_EARNED; i <= TOTAL_RESTORED; i++)
	{
		if (pg_add_s64_overflow(incoming, balance->total[i], &incoming))
			return false;
	}
	return true;
}

/*
 * The debt of one home; 0 is the wallet's own member.
 */
int64
DebtOfHome(const Balance *balance, int64 home_id)
{
	int64		own = balance->total[TOTAL_DEBT];

	ForEachLot(part, &balance->owed)
	{
		if (part->lot_id == home_id)
			return part->points;
		own -= part->points;
	}
	return home_id == 0 ? own : 0;
}

/*
 * Adds to (or, with negative points, takes off) the debt of one home; false
 * when it would overflow.  Parts of debt differ in their home only, so that
 * those of one home are one.
 */
static bool
AddDebt(Balance *balance, int64 points, int64 home_id)
{
	Lot			part = {.lot_id = home_id,.points = points,.expires_at = TIMESTAMP_INFINITY};

	if (pg_add_s64_overflow(balance->total[TOTAL_DEBT], points, &balance->total[TOTAL_DEBT]))
		return false;
	if (home_id != 0)
	{
		InsertLot(&balance->owed, CONSUME_OLDEST_FIRST, &part);
		DropEmptyLots(&balance->owed);
	}
	return true;
}

/*
 * Repays debt with up to points: that of home_id first, then the wallet's own,
 * then the others by their homes.  Returns how many points it took.
 */
static int64
RepayDebt(Balance *balance, int64 points, int64 home_id)
{
	int64		left = Min(points, balance->total[TOTAL_DEBT]);
	int64		repaid = left;
	int64		part;

	part = Min(left, DebtOfHome(balance, home_id));
	AddDebt(balance, -part, home_id);
	left -= part;
	part = Min(left, DebtOfHome(balance, 0));
	AddDebt(balance, -part, 0);
	left -= part;
	while (left > 0)
	{
		Lot		   *first = &balance->owed.lots[balance->owed.first];

		part = Min(left, first->points);
		AddDebt(balance, -part, first->lot_id);
		left -= part;
	}
	return repaid;
}

/*
 * A lot whose instant has come repays debt, unless it had expired before.
 */
static inline void
RepayFromLot(Balance *balance, Lot *lot)
{
	if (unlikely(balance->total[TOTAL_DEBT] > 0) &&
		lot->available_at <= balance->last_effective_at && lot->available_at < lot->expires_at)
		lot->points -= RepayDebt(balance, lot->points, lot->home_id);
}

/*
 * Lots repay up to limit points of a debt that is owed at from: those that are
 * available then, and those that become so up to until, each at its instant.
 */
static void
RepayFromLots(Balance *balance, int64 limit, TimestampTz from, TimestampTz until)
{
	TimestampTz t = from;

	limit = Min(limit, balance->total[TOTAL_DEBT]);
	while (limit > 0 && t <= until)
	{
		TimestampTz next = TIMESTAMP_INFINITY;

		ForEachLot(lot, &balance->lots)
		{
			TimestampTz since = Max(lot->available_at, from);

			if (since > t)
				next = Min(next, since);
			else if (since == t && since < lot->expires_at)
			{
				int64		repaid = RepayDebt(balance, Min(lot->points, limit), lot->home_id);

				lot->points -= repaid;
				limit -= repaid;
			}
		}
		if (next == TIMESTAMP_INFINITY)
			break;
		t = next;
	}
	DropEmptyLots(&balance->lots);
}

/*
 * The clock goes on to t: what becomes available on the way repays debt.
 */
void
AdvanceBalance(Balance *balance, TimestampTz t)
{
	if (unlikely(balance->total[TOTAL_DEBT] > 0))
		RepayFromLots(balance, balance->total[TOTAL_DEBT], balance->last_effective_at, t);
}

/*
 * Oldest first, whether a lot that is opened is to stay apart from the one that
 * was opened before it, because they expire at different instants.  If they
 * were joined with what is before and after them, nobody could tell later
 * which of them goes first.
 */
static bool
IsApart(const Balance *balance, const Lot *lot, TimestampTz extends_to)
{
	TimestampTz before = balance->newest_expires_at;

	/* the entry that opens the lot is about to extend the one before it */
	if (!balance->newest_is_fixed && before > lot->earned_at)
		before = Max(before, extends_to);
	return before != lot->expires_at;
}

/*
 * Points come in as a lot, after repaying debt.  Only where debt was repaid is
 * what is left of the lot listed as opened; otherwise it is all of it.
 */
static inline FoldRefusal
OpenLot(Balance *balance, Total total, Lot *lot, TimestampTz extends_to, LotList *opened)
{
	if (unlikely(!AddTotal(balance, total, lot->points)))
		return FOLD_OVERFLOW;
	if (unlikely(balance->total[TOTAL_DEBT] > 0))
	{
		int64		points = lot->points;

		RepayFromLot(balance, lot);
		if (lot->points > 0 && lot->points < points && opened != NULL)
			AppendLot(opened, lot);
	}
	if (balance->order == CONSUME_OLDEST_FIRST)
	{
		if (lot->earned_at < balance->last_effective_at)
		{
			if (lot->points > 0)
				InsertLotApart(balance, lot);
			return FOLD_OK;
		}
		lot->apart = IsApart(balance, lot, extends_to);
		balance->newest_expires_at = lot->expires_at;
		balance->newest_is_fixed = lot->expires_by != TIMESTAMP_INFINITY;
	}
	if (likely(lot->points > 0))
		InsertNewestLot(balance, lot);
	return FOLD_OK;
}

/*
 * earn and adjust up.
 */
static FoldRefusal
ApplyIncome(Balance *balance, Entry *entry, Total total)
{
	Lot			lot = {
		.lot_id = entry->entry_id,
		.points = entry->requested,
		.home_id = entry->home_id,
		.earned_at = entry->effective_at,
		.available_at = entry->available_at,
		.expires_at = entry->expires_at,
		.opened_until = entry->expires_at,
		.expires_by = entry->expires_by
	};

	entry->posted = entry->requested;
	return OpenLot(balance, total, &lot, entry->extends_to, &entry->touched);
}

/*
 * Takes available lots for a burn or a hold: those recorded, or by the policy.
 * Without burn_to_debt, too few of them change nothing.
 */
static FoldRefusal
TakeAvailable(Balance *balance, const FoldPolicy *policy, Entry *entry,
			  int64 points, int64 *taken)
{
	TimestampTz t = entry->effective_at;

	if (entry->given != NULL)
	{
		int64		expected = entry->kind == ENTRY_TRANSFER_OUT ? SumLots(entry->given) : points;

		*taken = TakeGivenLots(balance, entry->given, &entry->touched);
		return *taken > points || (*taken < expected && !policy->burn_to_debt) ?
			FOLD_LOTS_MISMATCH : FOLD_OK;
	}
	if (!policy->burn_to_debt && SumPassing(balance, LOTS_AVAILABLE, 0, t) < points)
		return FOLD_INSUFFICIENT;
	*taken = TakeLots(balance, LOTS_AVAILABLE, 0, t, points,
					  policy->forget ? NULL : &entry->touched);
	return FOLD_OK;
}

/*
 * Points become owed at t.  Lots that have become available since then repay
 * them; so do those that are available at t where an entry did not take them:
 * one that is folded again, or that only moves debt.
 */
static bool
OweSince(Balance *balance, int64 points, int64 home_id, TimestampTz t)
{
	if (!AddDebt(balance, points, home_id))
		return false;
	RepayFromLots(balance, points, t, balance->last_effective_at);
	return true;
}

/*
 * Points go out: taken out of lots, or owed.
 */
static inline FoldRefusal
BookBurn(Balance *balance, Total total, int64 points, int64 taken, int64 home_id, TimestampTz t)
{
	if (unlikely(!AddTotal(balance, total, points)))
		return FOLD_OVERFLOW;
	if (unlikely(taken < points) && !OweSince(balance, points - taken, home_id, t))
		return FOLD_OVERFLOW;
	return FOLD_OK;
}

/*
 * redeem, transfer_out and adjust down: consumes available lots.
 */
static FoldRefusal
ApplyBurn(Balance *balance, const FoldPolicy *policy, Entry *entry, Total total, int64 points)
{
	int64		taken;
	FoldRefusal refusal = TakeAvailable(balance, policy, entry, points, &taken);

	if (refusal != FOLD_OK)
		return refusal;
	entry->posted = -points;
	return BookBurn(balance, total, points, taken, entry->home_id, entry->effective_at);
}

static FoldRefusal
ApplyHold(Balance *balance, const FoldPolicy *policy, Entry *entry)
{
	FoldPolicy	no_debt = *policy;
	FoldRefusal refusal;
	int64		taken;

	if (entry->hold_until <= entry->effective_at)
		return FOLD_HOLD_LAPSED;
	/* one that is folded again as of the past sets aside what is there */
	no_debt.burn_to_debt = policy->burn_to_debt && entry->given != NULL;
	no_debt.forget = false;
	refusal = TakeAvailable(balance, &no_debt, entry, entry->requested, &taken);
	if (refusal != FOLD_OK)
		return refusal;

	ForEachLot(part, &entry->touched)
	{
		Lot			held = *part;

		held.hold_id = entry->entry_id;
		held.available_at = entry->hold_until;
		InsertLot(&balance->lots, balance->order, &held);
	}
	return FOLD_OK;
}

/*
 * Lots of a balance become available at t, under the hands of the caller: they
 * repay debt, and the list is brought in order again.
 */
static void
MakeAvailable(Balance *balance, Lot *lot, TimestampTz t)
{
	lot->available_at = t;
	lot->hold_id = 0;
	RepayFromLot(balance, lot);
}

static void
EndMakingAvailable(Balance *balance)
{
	DropEmptyLots(&balance->lots);
	RestoreOrder(balance);
}

/*
 * Gives what is left of a hold back to its lots, available from now on.
 */
static int64
ReleaseHold(Balance *balance, int64 hold_id, TimestampTz t, LotList *released)
{
	int64		points = 0;

	ForEachLot(lot, &balance->lots)
	{
		if (!LotPasses(lot, LOTS_OF_HOLD, hold_id, t))
			continue;
		points += lot->points;
		if (released != NULL)
		{
			Lot		   *part;

			AppendLot(released, lot);
			part = &released->lots[released->end - 1];
			part->available_at = t;
			part->hold_id = 0;
		}
		MakeAvailable(balance, lot, t);
	}
	if (points > 0)
		EndMakingAvailable(balance);
	return points;
}

/*
 * What capture and release need: a hold that stands at effective_at.  One that
 * was captured or released before is closed for ever; of one that was not, the
 * points are in the balance again when it has lapsed.
 */
static FoldRefusal
CheckHold(const Balance *balance, const Entry *entry)
{
	if (entry->target_kind != ENTRY_HOLD)
		return FOLD_WRONG_KIND;
	if (entry->effective_at < entry->target_effective_at)
		return FOLD_BEFORE_TARGET;
	if (entry->target_closed)
		return FOLD_HOLD_CLOSED;
	if (entry->effective_at >= entry->target_hold_until)
		return FOLD_HOLD_LAPSED;
	ForEachLot(lot, &balance->lots)
	{
		if (LotPasses(lot, LOTS_OF_HOLD, entry->target, entry->effective_at))
			return FOLD_OK;
	}
	return FOLD_HOLD_CLOSED;
}

static FoldRefusal
ApplyCapture(Balance *balance, Entry *entry)
{
	FoldRefusal refusal = CheckHold(balance, entry);
	int64		held;

	if (refusal != FOLD_OK)
		return refusal;
	held = SumPassing(balance, LOTS_OF_HOLD, entry->target, entry->effective_at);
	if (entry->requested == 0)
		entry->requested = held;
	if (entry->requested > held)
		return FOLD_INSUFFICIENT;
	if (!AddTotal(balance, TOTAL_REDEEMED, entry->requested))
		return FOLD_OVERFLOW;
	if (entry->given != NULL)
	{
		if (TakeGivenLots(balance, entry->given, &entry->touched) != entry->requested)
			return FOLD_LOTS_MISMATCH;
	}
	else
		TakeLots(balance, LOTS_OF_HOLD, entry->target, entry->effective_at,
				 entry->requested, &entry->touched);
	ReleaseHold(balance, entry->target, entry->effective_at, NULL);
	entry->posted = -entry->requested;
	return FOLD_OK;
}

static FoldRefusal
ApplyRelease(Balance *balance, Entry *entry)
{
	FoldRefusal refusal = CheckHold(balance, entry);

	if (refusal != FOLD_OK)
		return refusal;
	entry->requested = ReleaseHold(balance, entry->target, entry->effective_at,
								   &entry->touched);
	return FOLD_OK;
}

/*
 * Where lots are extended, the expiry of the joined lot that holds what was
 * opened with an expiry: what was open together was extended together, so it
 * is the first that is not earlier.
 */
static TimestampTz
ExpiryOfJoined(const Balance *balance, TimestampTz opened_until, TimestampTz t)
{
	TimestampTz first = TIMESTAMP_INFINITY;

	ForEachLot(lot, &balance->lots)
	{
		if (lot->joined && lot->expires_at >= opened_until && !LotIsHeld(lot, t))
			first = Min(first, lot->expires_at);
	}
	return first;
}

/*
 * What a reversal gave back is taken again, out of the very lots it went into:
 * what it gave back last first.  What it had forgiven of a debt stands first
 * in its order, and where the debt was gone by then, as a lot of its own.
 */
static int64
TakeGivenBack(Balance *balance, Entry *entry, int64 points)
{
	const LotList *given = entry->target_lots;
	TimestampTz t = entry->effective_at;
	int64		skip = entry->target_reversed;
	int64		taken = 0;

	for (int i = given->end - 1; i >= given->first; i--)
	{
		const Lot  *lot = &given->lots[i];
		int64		part = lot->points;
		int64		skipped = Min(skip, part);
		int64		own;

		skip -= skipped;
		part = Min(part - skipped, points - taken);
		own = TakeLots(balance, LOTS_OF_LOT, lot->lot_id, t, part, &entry->touched);
		taken += own + TakeLots(balance, LOTS_JOINED, lot->expires_at, t, part - own, &entry->touched);
	}
	return taken;
}

/*
 * reverse of an earn, or of an adjust up: takes the points out of its lot,
 * whatever the state of that lot is (points that have expired are not taken a
 * second time from elsewhere), then as far as the clawback policy reaches out
 * of other lots, available ones first, pending ones next, and in the end as
 * debt.  Held points are out of reach.  A reversal that gave points back is
 * reversed likewise; its lots are those that it gave to.
 */
static FoldRefusal
ApplyClawback(Balance *balance, const FoldPolicy *policy, Entry *entry)
{
	TimestampTz t = entry->effective_at;
	int64		left = entry->requested;
	int64		debt = 0;

	if (entry->given != NULL)
		left -= TakeGivenLots(balance, entry->given, &entry->touched);
	else
	{
		if (entry->target_kind == ENTRY_REVERSE)
			left -= TakeGivenBack(balance, entry, left);
		else
			left -= TakeLots(balance, LOTS_OF_LOT, entry->target, t, left, &entry->touched);
		if (left > 0 && entry->target_kind != ENTRY_REVERSE && entry->target_expires_at != TIMESTAMP_MINUS_INFINITY)
			left -= TakeLots(balance, LOTS_JOINED,
							 policy->slides ? ExpiryOfJoined(balance, entry->target_expires_at, t) :
							 entry->target_expires_at,
							 t, left, &entry->touched);
		if (left > 0 && policy->clawback != CLAWBACK_WITHIN_LOT)
			left -= TakeLots(balance, LOTS_AVAILABLE, 0, t, left, &entry->touched);
		if (left > 0 && policy->clawback != CLAWBACK_WITHIN_LOT)
			left -= TakeLots(balance, LOTS_PENDING, 0, t, left, &entry->touched);
	}

	/* folding a recorded entry again: what it posted tells what became debt */
	if (entry->given != NULL)
		debt = -entry->posted - (entry->requested - left);
	else if (policy->clawback == CLAWBACK_ALLOW_DEBT)
		debt = left;
	if (debt < 0 || debt > left)
		return FOLD_LOTS_MISMATCH;
	left -= debt;

	if (!AddTotal(balance, TOTAL_REVOKED, entry->requested - left) ||
		!OweSince(balance, debt, entry->home_id, t))
		return FOLD_OVERFLOW;
	entry->posted = -(entry->requested - left);
	return FOLD_OK;
}

/*
 * A lot of a reversal's own: points that had been taken as debt, where that has
 * been repaid meanwhile.
 */
static void
ListOwnLot(Entry *entry, int64 points)
{
	TimestampTz until = entry->expires_at;
	Lot			lot = {
		.lot_id = entry->entry_id,
		.points = points,
		.home_id = entry->home_id,
		.earned_at = entry->effective_at,
		.available_at = entry->effective_at,
		.expires_by = TIMESTAMP_INFINITY,
		.apart = true
	};

	if (entry->target_kind == ENTRY_REVERSE)
		until = Max(until, entry->target_expires_at);
	if (until == TIMESTAMP_MINUS_INFINITY)
		until = TIMESTAMP_INFINITY;
	lot.expires_at = lot.opened_until = until;
	AppendLot(&entry->touched, &lot);
}

/*
 * reverse of a redeem, a capture, or an adjust down: gives points back to the
 * lots they came from, those consumed last first.  They expire as if they had
 * stayed there; only those that have by then may be granted longer.  What had been
 * taken as debt is taken off the debt; if that has been repaid meanwhile, it
 * comes back as a lot of the reversal's own.  A reversal that took points is
 * reversed likewise; what it had been asked for and could not reach is undone
 * first, and nothing comes of that.  A lot of its own then has the expiry of the
 * lot that was earned.
 */
static FoldRefusal
ApplyRestore(Balance *balance, Entry *entry)
{
	const LotList *taken = entry->target_lots;
	TimestampTz t = entry->effective_at;
	int64		skip = entry->target_reversed;
	int64		left = entry->requested;
	bool		undoes = entry->target_kind == ENTRY_REVERSE;
	int64		not_taken = 0;
	int64		as_debt = 0;
	Lot			lot;

	if (entry->given == NULL)
	{
		int64		target_taken = undoes ? -entry->target_posted : entry->target_points;

		/* what the policy had let go comes first, and is nothing to give back */
		as_debt = target_taken - SumLots(taken);
		not_taken = Min(Max(entry->target_points - target_taken - skip, 0), left);
		skip = Max(skip - (entry->target_points - target_taken), 0);
		left -= not_taken;
		entry->posted = left;
	}
	if (!AddTotal(balance, TOTAL_RESTORED, entry->posted))
		return FOLD_OVERFLOW;

	if (entry->given != NULL)
	{
		int64		points = entry->posted - SumLots(entry->given);

		if (points < 0)
			return FOLD_LOTS_MISMATCH;
		points -= RepayDebt(balance, points, entry->home_id);
		if (points > 0)
			ListOwnLot(entry, points);
		ForEachLot(part, entry->given)
			AppendLot(&entry->touched, part);
		left = 0;
	}
	else if (skip < as_debt)
	{
		int64		points = Min(left, as_debt - skip);
		int64		forgiven = RepayDebt(balance, points, entry->home_id);

		left -= points;
		skip = 0;
		if (points > forgiven)
			ListOwnLot(entry, points - forgiven);
	}
	else
		skip -= as_debt;

	for (int i = left > 0 ? taken->end - 1 : -1; left > 0 && i >= taken->first; i--)
	{
		int64		points = taken->lots[i].points;

		if (skip >= points)
		{
			skip -= points;
			continue;
		}
		points = Min(points - skip, left);
		skip = 0;
		left -= points;
		lot = taken->lots[i];
		lot.points = points;
		lot.hold_id = 0;
		lot.available_at = undoes ? Max(lot.available_at, t) : t;
		/* what happened meanwhile extended its lot, or does so no more */
		if (entry->activities != NULL && !entry->target_elsewhere)
			lot.expires_at = ExpiryAnew(&lot, entry);
		lot.graced = lot.expires_at <= t && lot.expires_at < entry->expires_at;
		if (lot.graced)
			lot.expires_at = lot.opened_until = entry->expires_at;
		AppendLot(&entry->touched, &lot);
	}
	if (left > 0)
		return FOLD_LOTS_MISMATCH;

	ForEachLot(part, &entry->touched)
	{
		lot = *part;
		lot.graced = false;
		if (lot.lot_id == entry->entry_id)
			balance->newest_expires_at = TIMESTAMP_MINUS_INFINITY;
		RepayFromLot(balance, &lot);
		if (lot.points > 0)
			InsertLot(&balance->lots, balance->order, &lot);
	}
	return FOLD_OK;
}

static FoldRefusal
ApplyReverse(Balance *balance, const FoldPolicy *policy, Entry *entry)
{
	int64		reversible = entry->target_points - entry->target_reversed;

	if (entry->target_kind != ENTRY_EARN && entry->target_kind != ENTRY_REDEEM &&
		entry->target_kind != ENTRY_CAPTURE && entry->target_kind != ENTRY_ADJUST &&
		(entry->target_kind != ENTRY_REVERSE || entry->target_undoes))
		return FOLD_WRONG_KIND;
	if (entry->effective_at < entry->target_effective_at)
		return FOLD_BEFORE_TARGET;
	if (entry->requested == 0)
		entry->requested = reversible;
	if (reversible <= 0 || entry->requested > reversible)
		return FOLD_ALREADY_REVERSED;
	/* what is given back is given in one order, and so taken again in that */
	if (entry->target_kind == ENTRY_REVERSE && entry->target_posted > 0 && entry->target_followed)
		return FOLD_REVERSED_AGAIN;

	switch (entry->target_kind)
	{
		case ENTRY_REDEEM:
		case ENTRY_CAPTURE:
			return ApplyRestore(balance, entry);
		case ENTRY_ADJUST:
			if (entry->target_lots != NULL)
				return ApplyRestore(balance, entry);
			return ApplyClawback(balance, policy, entry);
		case ENTRY_REVERSE:
			if (entry->target_posted <= 0)
				return ApplyRestore(balance, entry);
			return ApplyClawback(balance, policy, entry);
		default:
			return ApplyClawback(balance, policy, entry);
	}
}

/*
 * activate: pending points of a lot become available, and their life may begin.
 */
static FoldRefusal
ApplyActivate(Balance *balance, Entry *entry)
{
	int64		points = 0;

	if (entry->target_kind != ENTRY_EARN && entry->target_kind != ENTRY_ADJUST)
		return FOLD_WRONG_KIND;
	if (entry->effective_at < entry->target_effective_at)
		return FOLD_BEFORE_TARGET;
	ForEachLot(lot, &balance->lots)
	{
		if (lot->lot_id == entry->target &&
			LotPasses(lot, LOTS_PENDING, 0, entry->effective_at))
		{
			points += lot->points;
			if (entry->expires_at != TIMESTAMP_MINUS_INFINITY)
				lot->expires_at = lot->opened_until = Min(entry->expires_at, lot->expires_by);
			MakeAvailable(balance, lot, entry->effective_at);
		}
	}
	if (points == 0)
		return FOLD_NOTHING_PENDING;
	EndMakingAvailable(balance);
	entry->requested = points;
	return FOLD_OK;
}

/*
 * transfer_in: lots arrive as they left, available from the transfer on.  In
 * a merge they arrive exactly as given, and debt of home_id may be repaid.
 * What extended them where they were is theirs.
 */
static FoldRefusal
ApplyTransferIn(Balance *balance, Entry *entry)
{
	int64		repaid;

	if (!AddTotal(balance, TOTAL_TRANSFERRED_IN, entry->requested))
		return FOLD_OVERFLOW;
	if (entry->given == NULL)
		return FOLD_LOTS_MISMATCH;
	repaid = entry->requested - SumLots(entry->given);
	if (repaid < 0 || (repaid > 0 && (!entry->exact || repaid > DebtOfHome(balance, entry->home_id))))
		return FOLD_LOTS_MISMATCH;
	AddDebt(balance, -repaid, entry->home_id);
	ForEachLot(given, entry->given)
	{
		Lot			lot = *given;

		if (!entry->exact)
		{
			lot.hold_id = 0;
			lot.home_id = entry->home_id;
			lot.available_at = Max(lot.available_at, entry->effective_at);
		}
		lot.opened_until = lot.expires_at;
		AppendLot(&entry->touched, &lot);
		RepayFromLot(balance, &lot);
		if (lot.points == 0)
			continue;
		if (balance->order == CONSUME_OLDEST_FIRST)
			InsertLotApart(balance, &lot);
		else
			InsertLot(&balance->lots, balance->order, &lot);
	}
	entry->posted = entry->requested;
	return FOLD_OK;
}

/*
 * expire: books what has expired.  No lot changes by it.
 */
static FoldRefusal
ApplyExpire(Balance *balance, Entry *entry)
{
	if (!AddTotal(balance, TOTAL_BOOKED, entry->requested))
		return FOLD_OVERFLOW;
	balance->booked_through = Max(balance->booked_through, entry->effective_at);
	entry->posted = -entry->requested;
	return FOLD_OK;
}

/*
 * Brings a balance to the instant of an entry: debt is repaid, and where the
 * policy allows it, what has expired is settled.
 */
static inline void
BeginEntry(Balance *balance, const FoldPolicy *policy, TimestampTz t)
{
	AdvanceBalance(balance, t);
	balance->last_effective_at = Max(balance->last_effective_at, t);
	if (policy->settle && LotCount(&balance->lots) > 0 &&
		(balance->order != CONSUME_EARLIEST_EXPIRY ||
		 balance->lots.lots[balance->lots.first].expires_at <= t))
		SettleExpired(balance, t);
}

/*
 * What every entry that was applied leaves behind.
 */
static inline void
CountEntry(Balance *balance, const FoldPolicy *policy, int64 entry_id)
{
	balance->entries++;
	balance->last_entry_id = entry_id;
	if (policy->join && LotCount(&balance->lots) > JOIN_LOTS_ABOVE)
		JoinLots(balance);
}

/*
 * Applies one entry.  On any other result than FOLD_OK the balance is to be
 * thrown away.  Lots in entry->touched are allocated in the current memory
 * context.  The caller has checked that instants are finite where they must
 * be and that requested is positive where it must be.
 */
FoldRefusal
ApplyEntry(Balance *balance, const FoldPolicy *policy, Entry *entry)
{
	FoldRefusal refusal = FOLD_WRONG_KIND;

	EndHeap(balance);
	BeginEntry(balance, policy, entry->effective_at);
	switch (entry->kind)
	{
		case ENTRY_EARN:
			refusal = ApplyIncome(balance, entry, TOTAL_EARNED);
			break;
		case ENTRY_REDEEM:
			refusal = ApplyBurn(balance, policy, entry, TOTAL_REDEEMED, entry->requested);
			break;
		case ENTRY_HOLD:
			refusal = ApplyHold(balance, policy, entry);
			break;
		case ENTRY_CAPTURE:
			refusal = ApplyCapture(balance, entry);
			break;
		case ENTRY_RELEASE:
			refusal = ApplyRelease(balance, entry);
			break;
		case ENTRY_REVERSE:
			refusal = ApplyReverse(balance, policy, entry);
			break;
		case ENTRY_ACTIVATE:
			refusal = ApplyActivate(balance, entry);
			break;
		case ENTRY_TRANSFER_OUT:
			refusal = ApplyBurn(balance, policy, entry, TOTAL_TRANSFERRED_OUT, entry->requested);
			break;
		case ENTRY_TRANSFER_IN:
			refusal = ApplyTransferIn(balance, entry);
			break;
		case ENTRY_ADJUST:
			if (EntryOpensLot(entry->kind, entry->requested))
				refusal = ApplyIncome(balance, entry, TOTAL_ADJUSTED_UP);
			else
				refusal = ApplyBurn(balance, policy, entry, TOTAL_ADJUSTED_DOWN,
									-entry->requested);
			break;
		case ENTRY_EXPIRE:
			refusal = ApplyExpire(balance, entry);
			break;
	}
	if (refusal != FOLD_OK)
		return refusal;

	if (entry->extends_to != TIMESTAMP_MINUS_INFINITY)
	{
		ExtendLots(balance, entry->effective_at, entry->extends_to);
		if (balance->newest_expires_at > entry->effective_at && !balance->newest_is_fixed)
			balance->newest_expires_at = Max(balance->newest_expires_at, entry->extends_to);
	}
	if (entry->counts_less || entry->counts_again)
		ExtendLotsAnew(balance, entry);

	/* a late activity, or one that counts again, may revive what had expired */
	if (unlikely(balance->total[TOTAL_DEBT] > 0) &&
		(entry->extends_to != TIMESTAMP_MINUS_INFINITY || entry->activities != NULL))
		RepayFromLots(balance, balance->total[TOTAL_DEBT],
					  balance->last_effective_at, balance->last_effective_at);

	CountEntry(balance, policy, entry->entry_id);
	return FOLD_OK;
}

/*
 * The same for an entry in its least form, where nobody asks what it posted
 * and which lots it touched.
 */
FoldRefusal
ApplyPlainEntry(Balance *balance, const FoldPolicy *policy, const PlainEntry *plain, int64 entry_id)
{
	TimestampTz t = plain->effective_at;
	FoldRefusal refusal;

	if (plain->kind == ENTRY_EARN)
	{
		Lot			lot = {
			.lot_id = entry_id,
			.points = plain->points,
			.earned_at = t,
			.available_at = plain->available_at,
			.expires_at = plain->expires_at,
			.opened_until = plain->expires_at,
			.expires_by = TIMESTAMP_INFINITY
		};

		if (unlikely(plain->available_at != t))
			EndHeap(balance);
		BeginEntry(balance, policy, t);
		refusal = OpenLot(balance, TOTAL_EARNED, &lot, TIMESTAMP_MINUS_INFINITY, NULL);
	}
	else if (plain->kind == ENTRY_REDEEM && policy->burn_to_debt)
	{
		int64		taken;

		BeginEntry(balance, policy, t);
		taken = unlikely(balance->heaped) ? TakeFirstLots(balance, t, plain->points) :
			TakeLots(balance, LOTS_AVAILABLE, 0, t, plain->points, NULL);
		refusal = BookBurn(balance, TOTAL_REDEEMED, plain->points, taken, 0, t);
	}
	else
	{
		Entry		entry;

		InitPlainEntry(&entry, plain);
		entry.entry_id = entry_id;
		refusal = ApplyEntry(balance, policy, &entry);
		if (entry.touched.lots != NULL)
			pfree(entry.touched.lots);
		return refusal;
	}
	if (likely(refusal == FOLD_OK))
		CountEntry(balance, policy, entry_id);
	return refusal;
}
