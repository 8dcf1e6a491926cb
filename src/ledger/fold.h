/*
 * fold.h
 *		The fold: how entries of a points ledger become a balance.
 *
 * This is the one place where the rules of points are written.  The write
 * path applies one entry to a wallet's balance, the aggregates fold rows of
 * any table, the checker folds again and compares; all call ApplyEntry().
 * Plain C over plain structs: no catalog, no SPI, no clock.
 *
 * A balance is a list of lots in consumption order, a debt, and lifetime
 * totals.  Nothing in it says "now"; every question is asked as of an
 * instant t.  What a lot is at t follows from its two instants alone:
 *
 *		held		hold_id <> 0 and t < available_at
 *		expired		not held, and expires_at <= t
 *		pending		not held, not expired, and t < available_at
 *		available	not held, not expired, and available_at <= t
 *
 * A hold sets points aside by giving them an available_at at the instant at
 * which the hold lapses: a lapse needs nobody to do anything.  While it is
 * held a part of a lot does not expire; when it comes back after its expiry,
 * it has expired.  One lot may thus stand in the list in several parts, with
 * the same lot_id and different available_at or hold_id.
 *
 * Debt and available points never stand side by side.  A lot meets a debt at
 * the first instant at which it is available and the debt is owed, and repays
 * it then: what comes in, comes back or is set free repays when it becomes
 * available; what a late entry owes is repaid by what has become available
 * since; and when only the clock goes on, what becomes available repays in the
 * order in which it does (AdvanceBalance()).  A lot that had expired before its
 * instant came repays nothing.  A balance is stored as of its last instant,
 * last_effective_at, with all debt repaid by then; whoever asks as of a later
 * one looks at it advanced.  A lot that is recorded late repays what is owed
 * when it is recorded.
 *
 * At every instant:
 *
 *		earned + adjusted_up + transferred_in + restored
 *		  = available + pending + held + expired
 *		  + redeemed + revoked + adjusted_down + transferred_out - debt
 *
 * A wallet that very many earns go into would carry very many lots.  Beyond
 * JOIN_LOTS_ABOVE of them, lots that are available and expire at the same
 * instant, neighbours in consumption order, are joined: points that no member
 * and no policy can tell apart.  Only the reversal of an earn could; it takes
 * its points out of the joined lot with the expiry of its own.  A joined lot
 * is there from when the last of its points were: a late entry may find fewer
 * points than without joining, or take them from another lot, never more.
 * When lots are joined follows from the entries alone, in their order, so
 * every fold of them joins alike.  By expiry, whatever comes back between two
 * of them expires with them.  Oldest first, something else may: so a lot stays
 * apart from what is before it unless the lot opened right before it expires
 * at the same instant, and so does one that comes late or by transfer, and the
 * one behind it.
 *
 * Sliding expiry: an entry with extends_to lets every lot that has not expired
 * live until then, but none beyond its expires_by, the end that was given with
 * it.  What was undone is no activity.  An entry that leaves nothing of one
 * comes with the activities that remain, and no lot lives longer than those
 * extend it, from opened_until on, in the order in which they were recorded; an
 * entry that makes one count again does the opposite.  What is given back lives
 * as long as if it had stayed in its lot.  What extended a lot before it was
 * transferred is not undone any more, and what happened where it arrived before
 * that does not extend it; of a joined lot the latest opened_until counts.
 *
 * Entries are applied in the order in which they were recorded, each seeing
 * the lots as of its own effective_at.  What an earlier entry consumed is
 * never assigned anew, so parts that became available later than an entry's
 * effective_at (a refund, for one) are out of its reach.
 *
 * As of a past instant counts what was effective by then: the recorded entries
 * up to it are folded again, with the lots that they took (replay.c).  Where
 * one took lots that later entries had left, and these are not counted, the
 * sums are right all the same: what is lacking is owed, and what is there
 * repays it.
 *
 * Members may be merged, and the merge undone.  So each lot and each part of a
 * debt knows its home, the member to whom it first came; a wallet's own are 0.
 * A merge moves lots with their homes, and debt: a transfer_out beyond the
 * lots it names makes debt of its home_id, and the transfer_in on the other
 * side repays debt of that home there.  What one had repays what the other
 * owed, as ever.
 */
#ifndef LOYALTY_FOLD_H
#define LOYALTY_FOLD_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Kinds of entries.  The numbers are stored: never change or reuse one.
 */
typedef enum EntryKind
{
	ENTRY_EARN = 1,				/* opens a lot; repays debt first */
	ENTRY_REDEEM = 2,			/* consumes available lots */
	ENTRY_HOLD = 3,				/* sets available lots aside until hold_until */
	ENTRY_CAPTURE = 4,			/* redeems (part of) a hold, releases the rest */
	ENTRY_RELEASE = 5,			/* gives a hold back to its lots */
	ENTRY_REVERSE = 6,			/* undoes (part of) an earlier entry, which may
								 * be a reversal */
	ENTRY_ACTIVATE = 7,			/* makes a pending lot available */
	ENTRY_TRANSFER_OUT = 8,		/* lots leave for another wallet */
	ENTRY_TRANSFER_IN = 9,		/* lots arrive from another wallet */
	ENTRY_ADJUST = 10,			/* an operator's correction, up or down */
	ENTRY_EXPIRE = 11			/* books what has expired already */
} EntryKind;

#define ENTRY_KIND_MAX	ENTRY_EXPIRE

/* Which available lot is consumed first. */
typedef enum ConsumptionOrder
{
	CONSUME_EARLIEST_EXPIRY = 0,	/* ties: the oldest */
	CONSUME_OLDEST_FIRST = 1
} ConsumptionOrder;

/* How far the reversal of an earn reaches. */
typedef enum ClawbackPolicy
{
	CLAWBACK_ALLOW_DEBT = 0,	/* its lot, then other lots, then debt */
	CLAWBACK_WITHIN_BALANCE = 1,	/* its lot, then other lots */
	CLAWBACK_WITHIN_LOT = 2		/* its lot only */
} ClawbackPolicy;

typedef struct FoldPolicy
{
	ConsumptionOrder order;
	ClawbackPolicy clawback;
	bool		burn_to_debt;	/* a burn beyond the balance becomes debt
								 * instead of being refused */
	bool		settle;			/* drop lots as they expire: only where no
								 * entry can reach back before the last one */
	bool		join;			/* join lots beyond JOIN_LOTS_ABOVE */
	bool		slides;			/* lots may live longer than they were opened
								 * for: sliding expiry */
	bool		forget;			/* do not list the lots that an entry takes:
								 * only where nobody will ask */
} FoldPolicy;

typedef struct Lot
{
	int64		lot_id;			/* id of the entry that first opened it */
	int64		points;			/* what is left; always positive */
	int64		hold_id;		/* id of the hold entry, or 0 */
	int64		home_id;		/* the member to whom it first came, where that
								 * is not the wallet's own; otherwise 0 */
	TimestampTz earned_at;		/* effective_at of that first entry */
	TimestampTz available_at;	/* infinity: waits for an activate */
	TimestampTz expires_at;		/* infinity: never */

	/* sliding expiry */
	TimestampTz opened_until;	/* its expiry without any activity since */
	TimestampTz expires_by;		/* no activity extends it beyond that */

	bool		joined;			/* holds the points of several lots */
	bool		apart;			/* oldest first: not to be joined with what is
								 * before it */
	bool		graced;			/* of an entry's lots, not of a balance's: given
								 * back with days of grace */
} Lot;

typedef struct LotList
{
	Lot		   *lots;			/* lots[first .. end - 1] */
	int			first;
	int			end;
	int			size;			/* allocated */
} LotList;

#define LotCount(list)	((list)->end - (list)->first)
#define ForEachLot(lot, list) \
	for (Lot *lot = (list)->lots + (list)->first; lot < (list)->lots + (list)->end; lot++)

#define JOIN_LOTS_ABOVE	64

#define CHAIN_LENGTH	32		/* SHA-256 */

/* The lifetime totals, in the order in which they are stored. */
typedef enum Total
{
	TOTAL_EARNED,
	TOTAL_ADJUSTED_UP,
	TOTAL_TRANSFERRED_IN,
	TOTAL_RESTORED,
	TOTAL_REDEEMED,
	TOTAL_REVOKED,
	TOTAL_ADJUSTED_DOWN,
	TOTAL_TRANSFERRED_OUT,
	TOTAL_SETTLED,				/* expired lots that have left the list */
	TOTAL_BOOKED,				/* expiry booked by expire entries; may exceed
								 * what is expired after a late entry */
	TOTAL_DEBT,
	TOTALS
} Total;

typedef struct Balance
{
	int64		entries;		/* how many were applied */
	int64		last_entry_id;
	TimestampTz last_effective_at;	/* the latest; -infinity when none */
	TimestampTz last_recorded_at;	/* -infinity where not recorded */
	TimestampTz booked_through; /* effective_at of the last expire entry */
	TimestampTz newest_expires_at;	/* oldest first: the expiry of the newest
									 * lot, there or not; -infinity: unknown */
	bool		newest_is_fixed;	/* no activity extends it */
	ConsumptionOrder order;		/* in which the lots stand */
	bool		chained;		/* chain is set */
	bool		may_heap;		/* nobody sees the lots before EndHeap(), and so
								 * far each was available at once */
	bool		heaped;			/* they are a heap: the first one goes first, the
								 * others are in no order */
	int64		total[TOTALS];
	LotList		lots;
	LotList		owed;			/* the parts of the debt with a home elsewhere:
								 * lot_id is the home, ascending */
	uint8		chain[CHAIN_LENGTH];	/* hash of the last entry */
} Balance;

/*
 * An entry that extended the lots, and that nobody has undone; or a lot that
 * arrived by transfer, or with days of grace, which nothing before extended.
 */
typedef struct LoggedActivity
{
	int64		entry_id;
	TimestampTz effective_at;
	TimestampTz extends_to;		/* -infinity: an arrival */
	int64		arrived_id;		/* the lot */
	TimestampTz arrived_until;	/* its expiry then */
} LoggedActivity;

/*
 * An entry, as asked for and, after ApplyEntry(), as it took effect.
 */
typedef struct Entry
{
	EntryKind	kind;
	int64		entry_id;
	int64		requested;		/* points asked for: positive; signed for
								 * adjust and expire; 0 for "all that there
								 * is" of capture, release, reverse, activate */
	TimestampTz effective_at;
	TimestampTz available_at;	/* of the lot that it opens */
	TimestampTz expires_at;		/* of the lot that it opens; of an activate: of
								 * what becomes available; of a reverse: of
								 * what it gives back and has expired; of these
								 * two -infinity leaves it as it is */
	TimestampTz expires_by;		/* of the lot that it opens: no activity
								 * extends it beyond that */
	TimestampTz hold_until;		/* of a hold; otherwise -infinity */
	TimestampTz extends_to;		/* sliding expiry: every open lot lives at
								 * least until then; -infinity: no extension */
	int64		target;			/* id of the entry it refers to, or 0 */
	int64		home_id;		/* of the lot that it opens and the debt that it
								 * makes or repays: as Lot.home_id */

	/* What the caller knows of the target of a capture or reverse. */
	EntryKind	target_kind;
	int64		target_points;	/* how much of it there was to reverse */
	int64		target_reversed;	/* how much of that is reversed already */
	int64		target_posted;	/* of a reversal: what it gave (> 0) or took */
	bool		target_undoes;	/* a reversal: of another reversal */
	bool		target_followed;	/* a reversal: a later one of the same entry
									 * stands */
	TimestampTz target_effective_at;
	TimestampTz target_hold_until;
	TimestampTz target_expires_at;	/* of the lot that it opened */
	const LotList *target_lots; /* the lots that it took, or, a reversal, gave */
	bool		target_closed;	/* a hold that was captured or released */
	bool		target_elsewhere;	/* it is recorded in another wallet, and the
									 * activities there are not known here */

	/*
	 * A reverse that gives points back, leaves nothing of an activity, or makes
	 * one count again: the activities that remain, in the order in which they
	 * were recorded.  Otherwise NULL.
	 */
	const LoggedActivity *activities;
	int			nactivities;
	bool		counts_less;	/* it leaves nothing of one */
	bool		counts_again;	/* it makes one count again */

	/*
	 * The lots of a transfer_in.  For any other kind that takes lots: NULL to
	 * choose them by the policy, or the lots that were recorded, to take just
	 * those.
	 */
	const LotList *given;
	bool		exact;			/* transfer_in: the lots arrive just as given,
								 * holds and homes included; what requested is
								 * more than their sum repays debt of home_id */

	/* Results */
	int64		posted;			/* signed change of the balance; 0 before */
	LotList		touched;		/* lots taken, set aside, given back, opened */
} Entry;

/*
 * An entry that refers to no other, in its least form: what the aggregates
 * collect, sort and fold.
 */
typedef struct PlainEntry
{
	EntryKind	kind;
	int64		points;
	TimestampTz effective_at;
	TimestampTz available_at;
	TimestampTz expires_at;		/* of a hold: its hold_until */
} PlainEntry;

/* Why an entry cannot be applied. */
typedef enum FoldRefusal
{
	FOLD_OK = 0,
	FOLD_INSUFFICIENT,			/* fewer points available than asked for */
	FOLD_OVERFLOW,				/* a sum leaves the range of bigint */
	FOLD_HOLD_LAPSED,			/* hold_until is not after effective_at */
	FOLD_HOLD_CLOSED,			/* nothing of the hold is left */
	FOLD_NOTHING_PENDING,		/* the lot of an activate is not pending */
	FOLD_ALREADY_REVERSED,		/* more asked for than is left to reverse */
	FOLD_WRONG_KIND,			/* the target is of a kind that this entry
								 * cannot refer to */
	FOLD_BEFORE_TARGET,			/* effective before its target was */
	FOLD_REVERSED_AGAIN,		/* a later reversal of the same entry stands */
	FOLD_LOTS_MISMATCH			/* recorded lots are not there */
} FoldRefusal;

/* A balance as of an instant, summed up. */
typedef struct BalanceAsOf
{
	int64		available;
	int64		pending;
	int64		held;
	int64		debt;
	int64		expired;		/* since the beginning */
	TimestampTz next_expiry_at; /* of available lots; infinity when none */
	int64		next_expiry_points;
} BalanceAsOf;

extern void InitBalance(Balance *balance, ConsumptionOrder order);
extern FoldRefusal ApplyEntry(Balance *balance, const FoldPolicy *policy, Entry *entry);
extern FoldRefusal ApplyPlainEntry(Balance *balance, const FoldPolicy *policy,
								   const PlainEntry *plain, int64 entry_id);
extern void InitEntry(Entry *entry, EntryKind kind, TimestampTz effective_at);
extern void InitPlainEntry(Entry *entry, const PlainEntry *plain);
extern void EndHeap(Balance *balance);
extern void BalanceAt(const Balance *balance, TimestampTz as_of, BalanceAsOf *result);
extern int64 ExpiringBetween(const Balance *balance, TimestampTz from, TimestampTz until);
extern void SettleExpired(Balance *balance, TimestampTz as_of);
extern void AdvanceBalance(Balance *balance, TimestampTz t);
extern const Balance *BalanceAdvanced(const Balance *balance, TimestampTz t, Balance *room);
extern bool BalanceIsConserved(const Balance *balance);
extern bool EntryTakesLots(EntryKind kind);
extern bool EntryRefers(EntryKind kind);
extern TimestampTz ExpiryUnsaid(EntryKind kind);
extern const char *EntryKindName(EntryKind kind);
extern EntryKind EntryKindFromName(const char *name, size_t len);

extern int	CompareLots(ConsumptionOrder order, const Lot *a, const Lot *b);
extern void InitLots(LotList *list, int size);
extern void ReserveLots(LotList *list);
extern void AppendLot(LotList *list, const Lot *lot);
extern void InsertLot(LotList *list, ConsumptionOrder order, const Lot *lot);
extern int64 SumLots(const LotList *list);
extern int64 DebtOfHome(const Balance *balance, int64 home_id);

static inline bool
LotIsHeld(const Lot *lot, TimestampTz t)
{
	return lot->hold_id != 0 && t < lot->available_at;
}

static inline bool
LotIsExpired(const Lot *lot, TimestampTz t)
{
	return lot->expires_at <= t && !LotIsHeld(lot, t);
}

static inline bool
LotIsAvailable(const Lot *lot, TimestampTz t)
{
	return lot->available_at <= t && t < lot->expires_at;
}

/*
 * Whether an entry opens a lot, points being what is asked for.
 */
static inline bool
EntryOpensLot(EntryKind kind, int64 points)
{
	return kind == ENTRY_EARN || (kind == ENTRY_ADJUST && points > 0);
}

#endif							/* LOYALTY_FOLD_H */
