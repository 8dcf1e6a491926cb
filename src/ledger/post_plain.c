/*
 * post_plain.c
 *		A posting into plain tables, by table access.
 *
 * What the two statements of post.c do, in the same order and with the same
 * results: the wallet's new balance is computed from its row and stored, and
 * begun anew if another transaction was there first; then the entry goes into
 * the ledger.  Two things are better.  Who meets a transaction that is at the
 * row waits for its end, and computes once, of what it leaves.  And a key is
 * looked for under the snapshot that shows the row: who uses a key changes the
 * wallet, so where that row is still the newest, so is the answer, and a repeat
 * writes nothing.
 *
 * Several postings into one wallet, as post_many() has them, are a run: one
 * update of the wallet for all.  The rows of its runs are a batch, and go into
 * the ledger together: before anybody is told of one, before whatever might
 * look for them there, and at the end.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "core/plain.h"
#include "ledger/post.h"
#include "ledger/wallet.h"

/*
 * Opens wallet and ledger; false, and nothing is open, when one is not plain.
 */
static bool
OpenPlainTables(PlainAccess *wallet, PlainAccess *ledger, int64 member_id)
{
	if (!OpenPlain(wallet, &wallet_table, member_id, PLAIN_WRITE))
		return false;
	if (OpenPlain(ledger, &ledger_table, member_id, PLAIN_WRITE))
		return true;
	ClosePlain(wallet);
	return false;
}

static bool
KeyIsUsed(const Posting *posting, const PlainAccess *ledger)
{
	Datum		key[3];

	if (posting->idempotency_key == NULL)
		return false;
	key[0] = Int64GetDatum(posting->member_id);
	key[1] = CStringGetTextDatum(posting->currency.code);
	key[2] = CStringGetTextDatum(posting->idempotency_key);
	return FetchPlainRow(ledger, 1, key, GetActiveSnapshot()) != NULL;
}

typedef enum WalletFound
{
	WALLET_MISSING,				/* there is none, or its points have moved */
	WALLET_CHANGED,				/* by another transaction: look again */
	WALLET_SETTLED
} WalletFound;

/*
 * Settles the postings of a run in the wallet that the active snapshot shows, as
 * far as the first that is refused.
 */
static WalletFound
SettleInRow(PostingRun *run, const PlainAccess *wallet, const PlainAccess *ledger)
{
	static const int balance_column[] = {WALLET_BALANCE};
	static const bool not_null[] = {false};
	const Posting *first = run->postings[0];
	Datum		key[2] = {Int64GetDatum(first->member_id), CStringGetTextDatum(first->currency.code)};
	HeapTuple	row = FetchPlainRow(wallet, 0, key, GetActiveSnapshot());
	Balance		balance;
	Datum		stored;
	bool		never_merged;	/* nor archived in part */
	bool		keys_there;
	bool		all_there;
	bool		isnull;
	bool		moved;
	Datum		noted;
	struct varlena *tiers;
	int			nposted = 0;

	if (row == NULL)
		return WALLET_MISSING;
	moved = DatumGetBool(PlainValue(wallet, row, WALLET_MOVED, &never_merged)) && !never_merged;
	(void) PlainValue(wallet, row, WALLET_ERASED, &keys_there);
	/* keys of archived entries are not here, as those of merged members */
	(void) PlainValue(wallet, row, WALLET_ARCHIVED, &all_there);
	never_merged = never_merged && all_there;
	if ((moved && !first->this_wallet) || (run->n > 1 && !(never_merged && keys_there)))
		return WALLET_MISSING;
	if (WaitForPlainRow(wallet, row))
		return WALLET_CHANGED;
	/* keys are looked for in the ledgers of others, too */
	if (first->batch != NULL && !(never_merged && keys_there))
		FlushBatch(first->batch);

	noted = PlainValue(wallet, row, WALLET_TIERS, &isnull);
	tiers = isnull ? NULL : PG_DETOAST_DATUM_PACKED(noted);
	UnpackBalanceDatum(PlainValue(wallet, row, WALLET_BALANCE, &isnull), &balance);
	for (run->at = 0; run->at < run->n; run->at++)
	{
		Posting    *posting = run->postings[run->at];

		if (!(KeyIsUsed(posting, ledger) && FindReplay(posting)))
			posting->result.outcome = SettleUnderLock(posting, !never_merged, !keys_there, &balance);
		MemoryContextSwitchTo(posting->context);
		if (posting->result.outcome == POSTING_REFUSED)
		{
			nposted = 0;
			break;
		}
		nposted += posting->result.outcome == POSTING_POSTED;
		posting->collected = balance.total[TOTAL_EARNED] + balance.total[TOTAL_ADJUSTED_UP];
		posting->tiers = tiers;
	}
	if (nposted > 0)
		stored = PointerGetDatum(PackBalanceValue(&balance));
	else if (!IsolationUsesXactSnapshot() &&
			 (first->result.outcome != POSTING_REFUSED || !EntryRefers(first->entry.kind)))
		return WALLET_SETTLED;
	/*
	 * Otherwise what a snapshot of the past says must still be so, or the
	 * ledger, in which more was looked up since, may be ahead of the row: an
	 * update tells.
	 */
	return UpdatePlainRow(wallet, row, nposted > 0 ? 1 : 0, balance_column, &stored, not_null) ?
		WALLET_SETTLED : WALLET_CHANGED;
}

/*
 * Puts the rows of postings into the ledger that has them; *at is the one at
 * work.
 */
static void
InsertPlainEntries(const PlainAccess *ledger, int n, Posting *const *postings, int *at)
{
	HeapTuple  *rows = palloc(n * sizeof(HeapTuple));

	for (*at = 0; *at < n; (*at)++)
	{
		Datum		values[LEDGER_NCOLUMNS];
		bool		nulls[LEDGER_NCOLUMNS];

		LedgerRowValues(postings[*at], values, nulls);
		rows[*at] = FormPlainRow(ledger, values, nulls);
		postings[*at]->command = GetCurrentCommandId(true);
	}
	InsertPlainRows(ledger, n, rows, at);
}

/*
 * Puts the rows of the first posting of a batch, and of all others that go into
 * the same table, into the ledger.
 */
static void
FlushTable(PostingBatch *batch)
{
	Posting    *together[2 * MAX_RUN];
	PlainAccess ledger;
	int			nleft = 0;

	batch->nstoring = 0;
	batch->at = 0;
	batch->storing = together;
	if (OpenPlain(&ledger, &ledger_table, batch->postings[0]->member_id, PLAIN_WRITE))
	{
		for (int i = 0; i < batch->n; i++)
		{
			if (HasPlainRowsOf(&ledger, batch->postings[i]->member_id))
				together[batch->nstoring++] = batch->postings[i];
			else
				batch->postings[nleft++] = batch->postings[i];
		}
		InsertPlainEntries(&ledger, batch->nstoring, together, &batch->at);
		ClosePlain(&ledger);
		batch->n = nleft;
	}
	else
	{
		/* it was plain when they were settled: somebody builds an index */
		together[batch->nstoring++] = batch->postings[0];
		if (!InsertEntry(batch->postings[0]))
			elog(ERROR, "idempotency key \"%s\" was used although the wallet was locked", together[0]->idempotency_key);
		batch->n--;
		memmove(batch->postings, &batch->postings[1], batch->n * sizeof(Posting *));
	}
	batch->storing = NULL;
}

/*
 * Puts the rows of a batch into the ledger.
 */
void
FlushBatch(PostingBatch *batch)
{
	if (batch->n == 0)
		return;
	while (batch->n > 0)
		FlushTable(batch);
	CommandCounterIncrement();
}

/*
 * Records the postings of a run that are to be posted: at once, or, in a batch,
 * when nobody can wait any longer.
 */
static void
RecordPlainly(const PostingRun *run, const PlainAccess *ledger)
{
	PostingBatch *batch = run->postings[0]->batch;
	int			at;

	if (batch == NULL)
	{
		if (run->postings[0]->result.outcome == POSTING_POSTED)
			InsertPlainEntries(ledger, 1, run->postings, &at);
		return;
	}
	for (int i = 0; i < run->n; i++)
	{
		if (run->postings[i]->result.outcome == POSTING_POSTED)
			batch->postings[batch->n++] = run->postings[i];
	}
	if (AnyoneWants(run->postings[0]->currency.code))
		FlushBatch(batch);
}

/*
 * Settles the postings of a run, which go into one wallet, and records what is
 * to be posted, unless one is refused: run->at says which.  False when wallet
 * and ledger are not plain, and nothing was done.  *found: there is such a
 * wallet, its points have not moved to another in a merge, and, for a run of
 * several, it never took part in one.
 */
bool
StorePlainly(PostingRun *run, bool *found)
{
	MemoryContext old;
	PlainAccess wallet;
	PlainAccess ledger;
	WalletFound result;

	if (!OpenPlainTables(&wallet, &ledger, run->postings[0]->member_id))
	{
		if (run->postings[0]->batch != NULL)
			FlushBatch(run->postings[0]->batch);
		return false;
	}
	old = MemoryContextSwitchTo(run->postings[0]->context);
	do
	{
		CHECK_FOR_INTERRUPTS();
		/* as a statement: what this transaction did is seen, and what others have committed */
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		result = SettleInRow(run, &wallet, &ledger);
		PopActiveSnapshot();
	} while (result == WALLET_CHANGED);
	*found = result == WALLET_SETTLED;
	if (*found && run->at == run->n)
		RecordPlainly(run, &ledger);
	ClosePlain(&ledger);
	ClosePlain(&wallet);
	CommandCounterIncrement();
	MemoryContextSwitchTo(old);
	return true;
}
