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
 * Settles a posting in the wallet that the active snapshot shows.
 */
static WalletFound
SettleInRow(Posting *posting, const PlainAccess *wallet, const PlainAccess *ledger)
{
	static const int balance_column[] = {WALLET_BALANCE};
	static const bool not_null[] = {false};
	Datum		key[2] = {Int64GetDatum(posting->member_id), CStringGetTextDatum(posting->currency.code)};
	HeapTuple	row = FetchPlainRow(wallet, 0, key, GetActiveSnapshot());
	Balance		balance;
	Datum		stored;
	bool		never_merged;
	bool		keys_there;
	bool		isnull;
	bool		moved;
	int			changed = 0;

	if (row == NULL)
		return WALLET_MISSING;
	moved = DatumGetBool(PlainValue(wallet, row, WALLET_MOVED, &never_merged)) && !never_merged;
	if (moved && !posting->this_wallet)
		return WALLET_MISSING;
	(void) PlainValue(wallet, row, WALLET_ERASED, &keys_there);
	if (WaitForPlainRow(wallet, row))
		return WALLET_CHANGED;

	if (!(KeyIsUsed(posting, ledger) && FindReplay(posting)))
		posting->result.outcome = SettleUnderLock(posting, PlainValue(wallet, row, WALLET_BALANCE, &isnull),
												  !never_merged, !keys_there, &balance);
	if (posting->result.outcome == POSTING_POSTED)
	{
		stored = PointerGetDatum(PackBalanceValue(&balance));
		changed = 1;
	}
	else if (!IsolationUsesXactSnapshot())
		return WALLET_SETTLED;
	/* otherwise what a snapshot of the past says must still be so: an update tells */
	return UpdatePlainRow(wallet, row, changed, balance_column, &stored, not_null) ? WALLET_SETTLED : WALLET_CHANGED;
}

static void
InsertPlainEntry(Posting *posting, const PlainAccess *ledger)
{
	Datum		values[LEDGER_NCOLUMNS];
	bool		nulls[LEDGER_NCOLUMNS];
	Datum	   *row = values;
	bool	   *row_nulls = nulls;

	LedgerRowValues(posting, values, nulls);
	InsertPlainRows(ledger, 1, &row, &row_nulls);
}

/*
 * Settles a posting and, if it is to be posted, records it.  False when wallet
 * and ledger are not plain, and nothing was done.  *found: there is such a
 * wallet, and its points have not moved to another in a merge.
 */
bool
StorePlainly(Posting *posting, bool *found)
{
	MemoryContext old;
	PlainAccess wallet;
	PlainAccess ledger;
	WalletFound result;

	if (!OpenPlainTables(&wallet, &ledger, posting->member_id))
		return false;
	old = MemoryContextSwitchTo(posting->context);
	do
	{
		CHECK_FOR_INTERRUPTS();
		/* as a statement: what this transaction did is seen, and what others have committed */
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		result = SettleInRow(posting, &wallet, &ledger);
		PopActiveSnapshot();
	} while (result == WALLET_CHANGED);
	*found = result == WALLET_SETTLED;
	if (*found && posting->result.outcome == POSTING_POSTED)
		InsertPlainEntry(posting, &ledger);
	ClosePlain(&ledger);
	ClosePlain(&wallet);
	CommandCounterIncrement();
	MemoryContextSwitchTo(old);
	return true;
}
