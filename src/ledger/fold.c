/*
 * fold.c
 *		How entries become a balance.  See fold.h for the rules.
 */
#include "postgres.h"

#include "common/int.h"

#include "core/compat.h"
#include "ledger/fold_lots.h"

static const char *const entry_kind_names[] = {
	[ENTRY_EARN] = "earn",
	[ENTRY_REDEEM] = "redeem",
	[ENTRY_HOLD] = "hold",
	[ENTRY_CAPTURE] = "capture",
	[ENTRY_RELEASE] = "release",
	[ENTRY_REVERSE] = "reverse",
	[ENTRY_ACTIVATE] = "activate",
	[ENTRY_TRANSFER_OUT] = "transfer_out",
	[ENTRY_TRANSFER_IN] = "transfer_in",
	[ENTRY_ADJUST] = "adjust",
	[ENTRY_EXPIRE] = "expire"
};

/*
 * Name of a kind, as users write it.
 */
const char *
EntryKindName(EntryKind kind)
{
	Assert(kind >= ENTRY_EARN && kind <= ENTRY_KIND_MAX);
	return entry_kind_names[kind];
}

/*
 * Kind of a name of len bytes; 0 when there is none of that name.
 */
EntryKind
EntryKindFromName(const char *name, size_t len)
{
	for (int kind = ENTRY_EARN; kind <= ENTRY_KIND_MAX; kind++)
	{
		if (strlen(entry_kind_names[kind]) == len &&
			memcmp(entry_kind_names[kind], name, len) == 0)
			return (EntryKind) kind;
	}
	return 0;
}

/*
 * Whether entries of this kind name the lots that they took or gave.
 */
bool
EntryTakesLots(EntryKind kind)
{
	return kind != ENTRY_EARN && kind != ENTRY_ACTIVATE && kind != ENTRY_EXPIRE;
}

/*
 * Whether entries of a kind refer to an earlier one.
 */
bool
EntryRefers(EntryKind kind)
{
	return kind >= ENTRY_CAPTURE && kind <= ENTRY_ACTIVATE;
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
	entry->expires_at = TIMESTAMP_INFINITY;
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
	entry->hold_until = TIMESTAMP_MINUS_INFINITY;
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
 * when it would overflow.
 */
static bool
AddDebt(Balance *balance, int64 points, int64 home_id)
{
	LotList    *owed = &balance->owed;
	Lot			part = {.lot_id = home_id,.points = points,.available_at = 0,
		.expires_at = TIMESTAMP_INFINITY
	};
	int			at;

	if (pg_add_s64_overflow(balance->total[TOTAL_DEBT], points, &balance->total[TOTAL_DEBT]))
		return false;
	if (home_id == 0 || points == 0)
		return true;
	ForEachLot(old, owed)
	{
		if (old->lot_id == home_id)
		{
			old->points += points;
			if (old->points == 0)
				DropEmptyLots(owed);
			return true;
		}
	}
	AppendLot(owed, &part);
	for (at = owed->end - 1; at > owed->first && owed->lots[at - 1].lot_id > home_id; at--)
		owed->lots[at] = owed->lots[at - 1];
	owed->lots[at] = part;
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
 * Points come in as a lot, after repaying debt.  Only where debt was repaid is
 * what is left of the lot listed as opened; otherwise it is all of it.
 */
static inline FoldRefusal
OpenLot(Balance *balance, Total total, Lot *lot, LotList *opened)
{
	if (unlikely(!AddTotal(balance, total, lot->points)))
		return FOLD_OVERFLOW;
	if (unlikely(balance->total[TOTAL_DEBT] > 0))
	{
		lot->points -= RepayDebt(balance, lot->points, lot->home_id);
		if (lot->points == 0)
			return FOLD_OK;
		if (opened != NULL)
			AppendLot(opened, lot);
	}
	InsertNewestLot(&balance->lots, balance->order, lot);
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
		.expires_at = entry->expires_at
	};

	entry->posted = entry->requested;
	return OpenLot(balance, total, &lot, &entry->touched);
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
 * Points go out: taken out of lots, or owed.
 */
static inline FoldRefusal
BookBurn(Balance *balance, Total total, int64 points, int64 taken, int64 home_id)
{
	if (unlikely(!AddTotal(balance, total, points)))
		return FOLD_OVERFLOW;
	if (unlikely(taken < points) && !AddDebt(balance, points - taken, home_id))
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
	return BookBurn(balance, total, points, taken, entry->home_id);
}

static FoldRefusal
ApplyHold(Balance *balance, const FoldPolicy *policy, Entry *entry)
{
	FoldPolicy	no_debt = *policy;
	FoldRefusal refusal;
	int64		taken;

	if (entry->hold_until <= entry->effective_at)
		return FOLD_HOLD_LAPSED;
	no_debt.burn_to_debt = false;
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
	entry->posted = 0;
	return FOLD_OK;
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
		lot->available_at = t;
		lot->hold_id = 0;
		points += lot->points;
		if (released != NULL)
			AppendLot(released, lot);
	}
	if (points > 0)
		RestoreOrder(balance);
	return points;
}

/*
 * What capture and release need: a hold that stands at effective_at.
 */
static FoldRefusal
CheckHold(const Balance *balance, const Entry *entry)
{
	if (entry->target_kind != ENTRY_HOLD)
		return FOLD_WRONG_KIND;
	if (entry->effective_at < entry->target_effective_at)
		return FOLD_BEFORE_TARGET;
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
	entry->posted = 0;
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
		if (lot->joined && lot->expires_at >= opened_until && lot->expires_at < first && !LotIsHeld(lot, t))
			first = lot->expires_at;
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

	for (int i = given->end - 1; i >= given->first && taken < points; i--)
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
		!AddDebt(balance, debt, entry->home_id))
		return FOLD_OVERFLOW;
	entry->posted = -(entry->requested - left);
	return FOLD_OK;
}

/*
 * reverse of a redeem, a capture, or an adjust down: gives points back to the
 * lots they came from, those consumed last first.  They keep their expiry,
 * unless the entry grants a later one.  What had been taken as debt is taken
 * off the debt; if that has been repaid meanwhile, it comes back as a lot of
 * the reversal's own.  A reversal that took points is reversed likewise; what
 * it had been asked for and could not reach is undone first, and nothing comes
 * of that.  A lot of its own then has the expiry of the lot that was earned.
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
		int64		forgiven = entry->posted - SumLots(entry->given);

		if (forgiven < 0 || forgiven > balance->total[TOTAL_DEBT])
			return FOLD_LOTS_MISMATCH;
		RepayDebt(balance, forgiven, entry->home_id);
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
		{
			lot.lot_id = entry->entry_id;
			lot.points = points - forgiven;
			lot.hold_id = 0;
			lot.home_id = entry->home_id;
			lot.earned_at = t;
			lot.available_at = t;
			lot.expires_at = undoes ? Max(entry->target_expires_at, entry->expires_at) :
				entry->expires_at == TIMESTAMP_MINUS_INFINITY ?
				TIMESTAMP_INFINITY : entry->expires_at;
			lot.joined = false;
			AppendLot(&entry->touched, &lot);
		}
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
		lot.expires_at = Max(lot.expires_at, entry->expires_at);
		AppendLot(&entry->touched, &lot);
	}
	if (left > 0)
		return FOLD_LOTS_MISMATCH;

	ForEachLot(part, &entry->touched)
		InsertLot(&balance->lots, balance->order, part);
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
			lot->available_at = entry->effective_at;
			points += lot->points;
		}
	}
	if (points == 0)
		return FOLD_NOTHING_PENDING;
	RestoreOrder(balance);
	entry->requested = points;
	entry->posted = 0;
	return FOLD_OK;
}

/*
 * transfer_in: lots arrive as they left, available from the transfer on.  In
 * a merge they arrive exactly as given, and debt of home_id may be repaid.
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
		AppendLot(&entry->touched, &lot);
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
 * Settles, where the policy allows it, what expires before an entry.
 */
static inline void
SettleBefore(Balance *balance, const FoldPolicy *policy, TimestampTz t)
{
	if (policy->settle && LotCount(&balance->lots) > 0 &&
		(balance->order != CONSUME_EARLIEST_EXPIRY ||
		 balance->lots.lots[balance->lots.first].expires_at <= t))
		SettleExpired(balance, t);
}

/*
 * What every entry that was applied leaves behind.
 */
static inline void
CountEntry(Balance *balance, const FoldPolicy *policy, int64 entry_id, TimestampTz t)
{
	balance->entries++;
	balance->last_entry_id = entry_id;
	balance->last_effective_at = Max(balance->last_effective_at, t);
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

	SettleBefore(balance, policy, entry->effective_at);
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
			if (entry->requested > 0)
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
		ExtendLots(balance, entry->effective_at, entry->extends_to);

	CountEntry(balance, policy, entry->entry_id, entry->effective_at);
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
			.expires_at = plain->expires_at
		};

		SettleBefore(balance, policy, t);
		refusal = OpenLot(balance, TOTAL_EARNED, &lot, NULL);
	}
	else if (plain->kind == ENTRY_REDEEM && policy->burn_to_debt)
	{
		int64		taken;

		SettleBefore(balance, policy, t);
		taken = TakeLots(balance, LOTS_AVAILABLE, 0, t, plain->points, NULL);
		refusal = BookBurn(balance, TOTAL_REDEEMED, plain->points, taken, 0);
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
		CountEntry(balance, policy, entry_id, t);
	return refusal;
}
