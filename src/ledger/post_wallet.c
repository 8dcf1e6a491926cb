/*
 * post_wallet.c
 *		Posting an entry to a wallet, wherever it is: plainly or by statements,
 *		in the wallet of the canonical member, which is opened where need be.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"
#include "ledger/wallet.h"

/*
 * Locks a wallet, unless it is not there or its points have moved; true when it
 * did.  Needs an SPI connection.
 */
bool
LockWallet(int64 member_id, const char *currency)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 AND moved IS NOT TRUE FOR NO KEY UPDATE",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(currency)};
	bool		found;

	if (LockPlainWallet(member_id, currency, &found))
		return found;
	RunPlan(&plan, values, NULL, 0);
	return SPI_processed > 0;
}

/*
 * Sends a posting to the wallet of the canonical member of the one that it
 * addressed.  True when that is another wallet than before.
 */
bool
RoutePosting(Posting *posting)
{
	int64		canonical = CanonicalMember(posting->asked_id);

	CHECK_FOR_INTERRUPTS();
	if (canonical == posting->member_id)
		return false;
	if (posting->together)
		RestartCall("members were merged or unmerged at this moment");
	SendPosting(posting, canonical);
	return true;
}

/*
 * Locks the wallet of a posting, and begins anew if another member is
 * canonical by then, or its lots are several members'.
 */
static void
LockAndAskAgain(void *call)
{
	Posting    *posting = call;

	/* it has begun anew, and holds no lock */
	if (posting->in_parts)
		return;
	if (!posting->together)
		SendPosting(posting, CanonicalMember(posting->asked_id));
	(void) LockWallet(posting->member_id, posting->currency.code);
	if (CanonicalMember(posting->asked_id) != posting->member_id)
		RestartCall("members were merged or unmerged at this moment");
	if (MayHaveParts(posting) && HasParts(posting))
	{
		posting->in_parts = true;
		RestartCall("the lots are of several members now");
	}
}

/*
 * Locks the wallet of a posting that was sent there, or the one to which it is
 * to be sent by now.
 */
static void
LockRoute(Posting *posting)
{
	if (posting->together)
		LockAndAskAgain(posting);
	else
		RunRestartable(LockAndAskAgain, posting);
}

/*
 * Locks the wallet of a posting ahead of it, or opens it; for a call that posts
 * to several.
 */
void
TakeWallet(Posting *posting)
{
	ExpectEntry(posting->member_id, posting->currency.code);
	while (!LockWallet(posting->member_id, posting->currency.code))
	{
		if (OpenWallet(posting))
			return;
		/* somebody else opened it, or a merge has marked it */
		(void) RoutePosting(posting);
	}
}

static bool
MayOpenWallet(const Entry *entry)
{
	return entry->kind == ENTRY_TRANSFER_IN || EntryOpensLot(entry->kind, entry->requested);
}

/*
 * What a posting is that needs a wallet and has none.
 */
static PostingOutcome
SettleWithoutWallet(Posting *posting)
{
	Balance		balance;

	if (posting->entry.kind == ENTRY_EXPIRE)
		return POSTING_NOTHING;
	/* it has nothing: let the fold say what that means */
	InitBalance(&balance, posting->currency.fold.order);
	if (RecordEntry(posting, &balance, GetCurrentTimestamp()) != POSTING_REFUSED)
		elog(ERROR, "entry on a wallet that does not exist was not refused");
	return POSTING_REFUSED;
}

/*
 * Settles a posting in its wallet and, if it is to be posted, records it.  False
 * when there is no wallet yet, or its points have moved to another in a merge.
 */
static bool
StorePosting(Posting *posting)
{
	PostingRun	alone = {.postings = {posting},.n = 1};
	bool		found;

	posting->plain = StorePlainly(&alone, &found);
	if (!posting->plain)
	{
		found = UpdateWallet(posting);
		if (found && posting->result.outcome == POSTING_POSTED && !InsertEntry(posting))
		{
			UndoWallet(posting);
			if (!FindReplay(posting))
				elog(ERROR, "entry with idempotency key \"%s\" vanished", posting->idempotency_key);
		}
	}
	if (found && posting->result.outcome == POSTING_POSTED)
		TellOfPosting(posting);
	return found;
}

/*
 * Settles a posting in the wallet, wherever it is by now, and opens it where need be.  False
 * when the lots of the posting are several members' since a merge was undone.
 */
static bool
SettleInWallet(Posting *posting)
{
	/* each turn but the first two is due to a merge, or the undoing of one */
	for (int attempt = 1; attempt <= 1000; attempt++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!posting->is_move && (posting->entry.home_id != 0 || MayHaveParts(posting)))
			LockRoute(posting);
		if (posting->in_parts)
			return false;
		PlaceTarget(posting);
		if (StorePosting(posting))
			return true;
		if (!posting->this_wallet && RoutePosting(posting))
			continue;
		if (MayOpenWallet(&posting->entry))
			OpenWallet(posting);
		else if (attempt > 1 || merged_members == NULL)
		{
			posting->result.outcome = SettleWithoutWallet(posting);
			return true;
		}
		/* else a merge may have been undone just after that statement began */
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the wallet of member " INT64_FORMAT ", currency \"%s\", is marked as moved, but the member is not absorbed",
					posting->member_id, posting->currency.code),
			 errhint("Run SELECT * FROM loyalty.check_all();")));
}

/*
 * Raises the error of a posting that was refused, unless its key was used.
 */
static void
RaiseIfRefused(Posting *posting)
{
	if (posting->result.outcome != POSTING_REFUSED || (posting->idempotency_key != NULL && FindReplay(posting)))
		return;
	/* the wallet forgets a hold of which nothing is left */
	if (posting->result.refusal == FOLD_HOLD_LAPSED && posting->entry.kind != ENTRY_HOLD &&
		HoldIsClosed(posting))
		posting->result.refusal = FOLD_HOLD_CLOSED;
	RaisePostingRefusal(posting);
}

/*
 * Posts an entry to one wallet, the main part of PostEntry().  False, and
 * nothing is done, when the lots of the posting are several members'.
 */
bool
PostToWallet(Posting *posting)
{
	if (!SettleInWallet(posting))
		return false;
	RaiseIfRefused(posting);
	return true;
}

/*
 * Whether a posting asks for nothing in the ledger but its key.
 */
static bool
StandsAlone(const Posting *posting)
{
	return !EntryRefers(posting->entry.kind) && posting->entry.home_id == 0;
}

/*
 * Whether a posting can be stored together with those of a run: it goes into
 * the same wallet, and asks for nothing that those before it change in the
 * ledger.
 */
bool
MayFollow(const PostingRun *run, const Posting *posting)
{
	if (run->n == 0)
		return true;
	if (run->n == MAX_RUN || !StandsAlone(run->postings[0]) || !StandsAlone(posting) ||
		posting->member_id != run->postings[0]->member_id ||
		strcmp(posting->currency.code, run->postings[0]->currency.code) != 0)
		return false;
	for (int i = 0; posting->idempotency_key != NULL && i < run->n; i++)
	{
		if (run->postings[i]->idempotency_key != NULL &&
			strcmp(run->postings[i]->idempotency_key, posting->idempotency_key) == 0)
			return false;
	}
	return true;
}

/*
 * Posts the entries of a run at once.  False, and nothing is done, when they
 * have to be posted one by one.
 */
bool
PostRunToWallet(PostingRun *run)
{
	struct varlena *tiers = NULL;
	bool		told = false;
	bool		found;

	if (run->n == 1)
		return false;
	for (;;)
	{
		if (!StorePlainly(run, &found) || !found)
			return false;
		if (run->at == run->n)
			break;
		/* unless it comes back: the key was used just now, which leaves the others to post */
		RaiseIfRefused(run->postings[run->at]);
	}
	for (run->at = 0; run->at < run->n; run->at++)
	{
		Posting    *posting = run->postings[run->at];

		if (posting->result.outcome != POSTING_POSTED)
			continue;
		posting->plain = true;
		/* the one before may have changed what is noted */
		if (told)
			posting->tiers = tiers;
		TellOfPosting(posting);
		tiers = posting->tiers;
		told = true;
	}
	return true;
}
