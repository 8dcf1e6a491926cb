/*
 * ledger_parts.c
 *		PostEntry(): to one wallet, or, where lots that were one member's are
 *		several members' now, to each that is concerned.
 *
 * A redemption of merged members takes lots of each.  When the merge is undone,
 * the lots go home; what is given back later goes after them, to the very lots
 * it came from and so to the members they belong to.  The same holds for what
 * a hold set aside, and for the undoing of a reversal.
 *
 * So one call becomes an entry in each wallet concerned, all of them referring
 * to the entry that was named: each repays its own debt, slides its own lots,
 * and tells its own story.  The entry with the key of the call, whose number and
 * available points are returned, is that of the member addressed if he has a
 * part in it, otherwise of the first who has.
 *
 * A capture in parts is several entries that refer to one hold, which is
 * captured once: a reversal of any of them may reverse all.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "port.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/fold_lots.h"
#include "ledger/post.h"

/* What one wallet has to do with it: an entry of its own, to be posted */
typedef struct Part
{
	int64		member_id;
	int64		points;
	LotList		lots;			/* as its entry is to see them */
	int64		let_go;			/* of points: what a clawback had not reached */
	int64		owed;			/* of points: what was debt, or repaid some */
} Part;

typedef struct Parts
{
	Part	   *parts;			/* ascending by member */
	int			count;
	int			size;
} Parts;

static Part *
PartOf(Parts *parts, int64 member_id)
{
	int			at;

	for (at = 0; at < parts->count && parts->parts[at].member_id <= member_id; at++)
	{
		if (parts->parts[at].member_id == member_id)
			return &parts->parts[at];
	}
	if (parts->count == parts->size)
	{
		parts->size = Max(8, 2 * parts->size);
		parts->parts = parts->parts == NULL ? palloc(parts->size * sizeof(Part)) :
			repalloc(parts->parts, parts->size * sizeof(Part));
	}
	memmove(&parts->parts[at + 1], &parts->parts[at], (parts->count - at) * sizeof(Part));
	parts->count++;
	memset(&parts->parts[at], 0, sizeof(Part));
	parts->parts[at].member_id = member_id;
	return &parts->parts[at];
}

/* ---------------------------------------------------------------------------
 * Whose they are
 * ---------------------------------------------------------------------------
 */

/*
 * Whose wallets may be concerned, ascending: of the canonical members of the
 * homes of lots.
 */
static void
FindWallets(const Posting *posting, Parts *parts)
{
	Posting    *others;
	int			n = FindOtherCaptures(posting, &others);

	PartOf(parts, CanonicalMember(posting->asked_id));
	for (int i = -1; i < n; i++)
	{
		const Posting *target = i < 0 ? posting : &others[i];

		PartOf(parts, CanonicalMember(target->asked_id));
		ForEachLot(lot, target->target_taken)
		{
			PartOf(parts, CanonicalMember(HomeOfLot(target, lot)));
		}
	}
}

/*
 * The same as an array, for a call that posts to several wallets and has to
 * take all of them beforehand.  None when the posting is in no parts.
 */
int
FindParticipants(Posting *posting, int64 **member_ids)
{
	Parts		parts = {0};

	posting->taken_ids = NULL;
	posting->ntaken = 0;
	if (!HasParts(posting))
		return 0;

	FindWallets(posting, &parts);
	posting->ntaken = parts.count;
	posting->taken_ids = palloc(parts.count * sizeof(int64));
	for (int i = 0; i < parts.count; i++)
		posting->taken_ids[i] = parts.parts[i].member_id;
	*member_ids = posting->taken_ids;
	return posting->ntaken;
}

/*
 * Locks the wallets concerned in the order of everybody, and begins anew if
 * they are others by then.  A call that posts to several holds other wallets
 * and has taken these: it must not wait for one more.
 */
static void
LockParts(const Posting *posting)
{
	Parts		parts = {0};
	Parts		again = {0};
	bool		same;

	FindWallets(posting, &parts);
	same = posting->taken_ids == NULL || posting->ntaken == parts.count;
	for (int i = 0; i < parts.count && same && posting->taken_ids != NULL; i++)
		same = posting->taken_ids[i] == parts.parts[i].member_id;
	if (!same)
		RestartCall("members were merged or unmerged at this moment");
	for (int i = 0; i < parts.count; i++)
	{
		Posting		wallet;

		InitPosting(&wallet, ENTRY_EARN, parts.parts[i].member_id);
		wallet.currency = posting->currency;
		wallet.together = true;
		TakeWallet(&wallet);
	}
	FindWallets(posting, &again);
	same = again.count == parts.count;
	for (int i = 0; i < again.count && same; i++)
		same = again.parts[i].member_id == parts.parts[i].member_id;
	if (!same)
		RestartCall("members were merged or unmerged at this moment");
}

/* ---------------------------------------------------------------------------
 * Dividing
 * ---------------------------------------------------------------------------
 */

/*
 * Divides points of a reversal among those whose lots they are, in the order in
 * which the fold would go: what the target had let go, what it had owed, then
 * its lots from the last; target_reversed of them are done.
 */
static void
DivideReversal(const Posting *posting, int64 points, Parts *parts)
{
	const Entry *entry = &posting->entry;
	const LotList *taken = posting->target_taken;
	bool		gives = entry->target_kind != ENTRY_REVERSE || entry->target_posted <= 0;
	int64		done = entry->target_reversed;
	int64		left = points;
	Part	   *own = PartOf(parts, CanonicalMember(posting->asked_id));

	if (gives)
	{
		int64		posted = entry->target_kind == ENTRY_REVERSE ? -entry->target_posted : entry->target_points;
		int64		let_go = entry->target_points - posted;
		int64		owed = posted - SumLots(taken);

		own->let_go = Min(Max(let_go - done, 0), left);
		done = Max(done - let_go, 0);
		left -= own->let_go;
		own->owed = Min(Max(owed - done, 0), left);
		done = Max(done - owed, 0);
		left -= own->owed;
		own->points = own->let_go + own->owed;
	}
	for (int i = taken->end - 1; i >= taken->first && left > 0; i--)
	{
		Lot			lot = taken->lots[i];
		int64		home_id = HomeOfLot(posting, &lot);
		int64		skipped = Min(done, lot.points);
		Part	   *part;

		done -= skipped;
		lot.points = Min(lot.points - skipped, left);
		if (lot.points == 0)
			continue;
		left -= lot.points;
		part = PartOf(parts, CanonicalMember(home_id));
		lot.home_id = home_id == part->member_id ? 0 : home_id;
		part->points += lot.points;
		AppendLot(&part->lots, &lot);
	}
	/* a reversal that repaid debt is taken back beyond the lots it gave */
	own = PartOf(parts, CanonicalMember(posting->asked_id));
	own->owed += left;
	own->points += left;
}

/*
 * Posts the entry of one wallet.  The one that answers the call carries its
 * key, and names the member addressed.
 */
static void
PostPart(Posting *posting, Posting *target, const Part *part, bool answers_call)
{
	Posting		own = *target;

	own.part = own.together = true;
	own.batch = NULL;
	own.has_kin = true;
	own.target_taken = NULL;
	own.member_id = part->member_id;
	own.entry.requested = own.asked_points = own.entry.kind == ENTRY_RELEASE ? 0 : part->points;
	if (own.entry.kind == ENTRY_REVERSE)
	{
		own.entry.target_lots = &part->lots;
		own.entry.target_reversed = 0;
		own.entry.target_points = part->points;
		own.entry.target_posted = own.entry.target_posted > 0 ? part->points : part->let_go - part->points;
	}
	own.asked_id = CanonicalMember(posting->asked_id) == part->member_id ? posting->asked_id : part->member_id;
	SendPosting(&own, part->member_id);
	if (answers_call)
	{
		memcpy(own.fingerprint, posting->fingerprint, sizeof(own.fingerprint));
		if (own.idempotency_key != NULL)
			own.row.fingerprint = (struct varlena *) own.fingerprint;
	}
	else
	{
		own.idempotency_key = NULL;
		own.row.fingerprint = NULL;
	}
	SealTexts(&own);
	PostToWallet(&own);
	if (answers_call)
		posting->result = own.result;
}

/*
 * Posts parts, the one that answers the call first.
 */
static void
PostParts(Posting *posting, Posting *target, const Parts *parts, bool *called)
{
	int64		own = CanonicalMember(posting->asked_id);
	int			first = -1;

	for (int i = 0; i < parts->count && !*called; i++)
	{
		if (parts->parts[i].points > 0 && (first < 0 || parts->parts[i].member_id == own))
			first = i;
	}
	if (first >= 0)
	{
		PostPart(posting, target, &parts->parts[first], true);
		*called = true;
	}
	for (int i = 0; i < parts->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i != first && parts->parts[i].points > 0)
			PostPart(posting, target, &parts->parts[i], false);
	}
}

/* ---------------------------------------------------------------------------
 * Reversals
 * ---------------------------------------------------------------------------
 */

/*
 * The target, then the other captures of its hold, as far as points reach.
 * False when there are fewer than asked for.
 */
static bool
ReverseInParts(Posting *posting)
{
	Posting    *others;
	int			n = FindOtherCaptures(posting, &others);
	int64		left = 0;
	bool		called = false;

	for (int i = -1; i < n; i++)
	{
		Posting    *target = i < 0 ? posting : &others[i];

		target->has_kin = true;
		FindReversals(target);
		left += Max(target->entry.target_points - target->entry.target_reversed, 0);
	}
	if (left == 0 || posting->asked_points > left)
		return false;
	if (posting->asked_points > 0)
		left = posting->asked_points;
	for (int i = -1; i < n && left > 0; i++)
	{
		Posting    *target = i < 0 ? posting : &others[i];
		int64		points = Min(left, Max(target->entry.target_points - target->entry.target_reversed, 0));
		Parts		parts = {0};

		if (points == 0)
			continue;
		DivideReversal(target, points, &parts);
		PostParts(posting, target, &parts, &called);
		left -= points;
	}
	return true;
}

/* ---------------------------------------------------------------------------
 * Holds
 * ---------------------------------------------------------------------------
 */

/* A part of a hold, in the order in which it is consumed */
typedef struct HeldLot
{
	Lot			lot;
	int			part;
} HeldLot;

static int
CompareHeld(const void *a, const void *b, void *order)
{
	const HeldLot *x = a;
	const HeldLot *y = b;
	int			cmp = CompareLots(*(ConsumptionOrder *) order, &x->lot, &y->lot);

	return cmp != 0 ? cmp : x->part - y->part;
}

/*
 * Captures or releases what wallets hold together.  False when none of them
 * holds anything, or they hold less than asked for.
 */
static bool
SettleHoldInParts(Posting *posting)
{
	Parts		parts = {0};
	ConsumptionOrder order = posting->currency.fold.order;
	HeldLot    *held = NULL;
	int64		total = 0;
	int64		left;
	int			n = 0;
	bool		called = false;

	FindWallets(posting, &parts);
	for (int i = 0; i < parts.count; i++)
	{
		Balance		balance;

		if (!ReadWallet(parts.parts[i].member_id, posting->currency.code, &balance))
			continue;
		held = held == NULL ? palloc((LotCount(&balance.lots) + 1) * sizeof(HeldLot)) :
			repalloc(held, (n + LotCount(&balance.lots) + 1) * sizeof(HeldLot));
		ForEachLot(lot, &balance.lots)
		{
			if (lot->hold_id != posting->entry.target)
				continue;
			held[n].lot = *lot;
			held[n++].part = i;
			total += lot->points;
		}
	}
	if (n == 0 || posting->asked_points > total)
		return false;
	qsort_arg(held, n, sizeof(HeldLot), CompareHeld, &order);
	left = posting->entry.kind == ENTRY_CAPTURE && posting->asked_points > 0 ? posting->asked_points : total;
	for (int i = 0; i < n; i++)
	{
		int64		points = Min(left, held[i].lot.points);

		parts.parts[held[i].part].points += points;
		left -= points;
	}
	/* whoever captures nothing of what he holds releases it */
	PostParts(posting, posting, &parts, &called);
	for (int i = 0; i < parts.count && posting->entry.kind == ENTRY_CAPTURE; i++)
	{
		Posting		rest = *posting;
		bool		holds = false;

		for (int j = 0; j < n; j++)
			holds = holds || held[j].part == i;
		rest.entry.kind = ENTRY_RELEASE;
		if (holds && parts.parts[i].points == 0)
			PostPart(posting, &rest, &parts.parts[i], false);
	}
	return true;
}

/* ---------------------------------------------------------------------------
 * All together
 * ---------------------------------------------------------------------------
 */

static void
PostAllParts(void *call)
{
	Posting    *posting = call;
	bool		posted;

	LockParts(posting);
	posting->member_id = CanonicalMember(posting->asked_id);
	posting->has_kin = true;
	if (posting->idempotency_key != NULL &&
		SettledByKey(posting, KeysAreErased(posting->member_id, posting->currency.code)))
		return;
	posted = posting->entry.kind == ENTRY_REVERSE ? ReverseInParts(posting) : SettleHoldInParts(posting);
	if (!posted)
	{
		/* it cannot be: let the fold say what that means */
		posting->part = posting->together = true;
		posting->target_taken = NULL;
		SendPosting(posting, posting->member_id);
		PostToWallet(posting);
	}
}

/*
 * Posts an entry in parts.  The posting is prepared, and not yet routed.
 */
static void
PostInParts(Posting *posting)
{
	if (!posting->together)
		RunRestartable(PostAllParts, posting);
	else if (posting->taken_ids != NULL)
		PostAllParts(posting);
	else
		RestartCall("members were merged or unmerged at this moment");
}

/*
 * Posts an entry: changes the wallet, records it, and fills in the result.
 * Needs an SPI connection, a currency, and, where it refers to another entry,
 * FindTarget() before.  Raises an error for whatever is refused.
 */
void
PostEntry(Posting *posting)
{
	PreparePosting(posting);
	ExpectEntry(posting->asked_id, posting->currency.code);
	posting->in_parts = HasParts(posting);
	if (posting->in_parts || !PostToWallet(posting))
	{
		posting->in_parts = false;
		PostInParts(posting);
	}
}

/*
 * Posts the entries of a run, in their order, as PostEntry() each.
 */
void
PostRun(PostingRun *run)
{
	if (run->n > 1)
	{
		for (run->at = 0; run->at < run->n; run->at++)
			PreparePosting(run->postings[run->at]);
		if (PostRunToWallet(run))
			return;
	}
	for (run->at = 0; run->at < run->n; run->at++)
	{
		Posting    *posting = run->postings[run->at];

		/* as asked for: the run may have been settled, in a wallet that has changed since */
		if (run->n > 1)
			posting->entry.requested = posting->asked_points;
		if (run->n > 1 && posting->expires_given)
			posting->entry.expires_at = posting->entry.expires_by;
		PostEntry(posting);
	}
}
