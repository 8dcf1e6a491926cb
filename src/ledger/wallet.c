/*
 * wallet.c
 *		Reading a wallet: balance(), lots(), expiring(), and what room tier notes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/plain.h"
#include "ledger/currency.h"
#include "ledger/post.h"
#include "ledger/replay.h"
#include "ledger/wallet.h"

static const PlainColumn columns[WALLET_NCOLUMNS] = {
	[WALLET_MEMBER_ID] = {"member_id", INT8OID},
	[WALLET_CURRENCY] = {"currency", TEXTOID},
	[WALLET_OPENED_AT] = {"opened_at", TIMESTAMPTZOID},
	[WALLET_BALANCE] = {"balance", InvalidOid},
	[WALLET_MOVED] = {"moved", BOOLOID},
	[WALLET_ERASED] = {"erased", BOOLOID},
	[WALLET_ARCHIVED] = {"archived", BOOLOID},
	[WALLET_TIERS] = {"tiers", BYTEAOID}
};

/* What we write is not for guard() to look at. */
static const char *const own_triggers[] = {"guard", NULL};

const PlainTable wallet_table = {
	.name = "wallet",
	.ncolumns = WALLET_NCOLUMNS,
	.columns = columns,
	.nkeys = 1,
	.keys = {{2, {WALLET_MEMBER_ID, WALLET_CURRENCY}}},
	.own_triggers = own_triggers
};

/*
 * Reads the balance of a wallet under the snapshot of the calling query; false
 * when there is no such wallet.  moved: the member is absorbed in another.
 */
static bool
ReadStoredBalance(int64 member_id, text *currency, Balance *balance, bool *moved)
{
	static KeptPlan plan = {
		.query = "SELECT balance, moved FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		key[2] = {Int64GetDatum(member_id), PointerGetDatum(currency)};
	MemoryContext context = CurrentMemoryContext;
	PlainAccess wallet;
	HeapTuple	row;
	bool		isnull;
	bool		found;

	if (OpenPlain(&wallet, &wallet_table, member_id, PLAIN_READ))
	{
		row = FetchPlainRow(&wallet, 0, key, GetActiveSnapshot());
		found = row != NULL;
		if (found)
		{
			UnpackBalanceDatum(PlainValue(&wallet, row, WALLET_BALANCE, &isnull), balance);
			*moved = DatumGetBool(PlainValue(&wallet, row, WALLET_MOVED, &isnull)) && !isnull;
		}
		ClosePlain(&wallet);
		return found;
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlanReadOnly(&plan, key, NULL, 1);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		UnpackBalanceDatum(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull), balance);
		*moved = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) && !isnull;
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return found;
}

/*
 * The member in whom another is absorbed; himself otherwise.
 */
static int64
CanonicalOf(int64 member_id)
{
	if (merged_members == NULL)
		return member_id;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	merged_members->canonical(&member_id, 1, true);
	SPI_finish();
	return member_id;
}

static bool
MeansNow(TimestampTz as_of)
{
	return as_of == GetCurrentTransactionStartTimestamp();
}

/*
 * An argument as_of of a reader: NULL, as the default, is now.
 */
static TimestampTz
AsOfArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(n);
}

static void
CheckAskedInstant(TimestampTz t, const char *name)
{
	if (TIMESTAMP_NOT_FINITE(t))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must be a finite instant", name),
				 errdetail("It is %s.", TimestampText(t)),
				 errhint("Give the instant as of which you want to know.")));
}

/*
 * Whether a balance tells what is asked: nothing was effective or recorded
 * after these instants.
 */
static bool
TellsAsOf(const Balance *balance, TimestampTz as_of, TimestampTz known_at)
{
	return (MeansNow(as_of) || as_of >= balance->last_effective_at) && known_at >= balance->last_recorded_at;
}

/*
 * The balance of a wallet as of an instant and as known at another: its present
 * balance where that tells it, otherwise the fold of the entries effective and
 * recorded by then.  Of an absorbed member whose own wallet is empty it is that
 * of the member in whom he is absorbed.
 */
static void
ReadBalance(FunctionCallInfo fcinfo, int as_of_arg, TimestampTz as_of, Balance *balance)
{
	int64		member_id;
	text	   *currency;
	TimestampTz known_at = TIMESTAMP_INFINITY;
	bool		moved;

	RequireTables();
	RequireWallet(fcinfo, 0);
	member_id = PG_GETARG_INT64(0);
	currency = PG_GETARG_TEXT_PP(1);
	CheckAskedInstant(as_of, "as_of");
	if (!PG_ARGISNULL(as_of_arg + 1))
	{
		known_at = PG_GETARG_TIMESTAMPTZ(as_of_arg + 1);
		CheckAskedInstant(known_at, "known_at");
	}

	if (!ReadStoredBalance(member_id, currency, balance, &moved))
	{
		Currency	found;

		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		FindCurrency(text_to_cstring(currency), &found);
		SPI_finish();
		InitBalance(balance, found.fold.order);
		return;
	}
	if (!TellsAsOf(balance, as_of, known_at))
	{
		FoldPast(member_id, text_to_cstring(currency), MeansNow(as_of) ? TIMESTAMP_INFINITY : as_of, known_at, balance);
		return;
	}
	if (moved && LotCount(&balance->lots) == 0 && balance->total[TOTAL_DEBT] == 0)
	{
		int64		canonical_id = CanonicalOf(member_id);
		Balance		canonical;

		/* one that has moved on since has a past of its own, which is not asked */
		if (canonical_id != member_id && ReadStoredBalance(canonical_id, currency, &canonical, &moved) &&
			TellsAsOf(&canonical, as_of, known_at))
			*balance = canonical;
	}
}

/*
 * The same from arguments: member_id and currency come first, as_of and
 * known_at from the n-th on.  Returns as_of; where that is now, or the last
 * entry if that is later, since an entry of the same transaction is effective
 * after now().
 */
static TimestampTz
BalanceOfArguments(FunctionCallInfo fcinfo, int n, Balance *balance)
{
	TimestampTz as_of = AsOfArgument(fcinfo, n);

	ReadBalance(fcinfo, n, as_of, balance);
	if (MeansNow(as_of))
		as_of = Max(as_of, balance->last_effective_at);
	CheckAsOf(balance, as_of);
	return as_of;
}

/*
 * balance(member_id, currency, as_of, known_at) returns wallet_figures
 */
PG_FUNCTION_INFO_V1(loyalty_balance);
Datum
loyalty_balance(PG_FUNCTION_ARGS)
{
	TimestampTz as_of;
	TupleDesc	tupdesc;
	Datum		values[15];
	bool		nulls[15] = {false};
	HeapTuple	row;
	Balance		balance;
	BalanceAsOf sums;
	int			n = 0;

	as_of = BalanceOfArguments(fcinfo, 2, &balance);
	BalanceAt(&balance, as_of, &sums);

	values[n++] = Int64GetDatum(sums.available);
	values[n++] = Int64GetDatum(sums.pending);
	values[n++] = Int64GetDatum(sums.held);
	values[n++] = Int64GetDatum(sums.debt);
	nulls[n] = sums.next_expiry_at == TIMESTAMP_INFINITY;
	values[n++] = TimestampTzGetDatum(sums.next_expiry_at);
	values[n++] = Int64GetDatum(sums.next_expiry_points);
	values[n++] = Int64GetDatum(balance.total[TOTAL_EARNED]);
	values[n++] = Int64GetDatum(balance.total[TOTAL_REDEEMED]);
	values[n++] = Int64GetDatum(sums.expired);
	values[n++] = Int64GetDatum(balance.total[TOTAL_REVOKED]);
	values[n++] = Int64GetDatum(balance.total[TOTAL_RESTORED]);
	values[n++] = Int64GetDatum(balance.total[TOTAL_ADJUSTED_UP]);
	values[n++] = Int64GetDatum(balance.total[TOTAL_ADJUSTED_DOWN]);
	values[n++] = Int64GetDatum(balance.total[TOTAL_TRANSFERRED_IN]);
	values[n++] = Int64GetDatum(balance.total[TOTAL_TRANSFERRED_OUT]);

	tupdesc = lookup_rowtype_tupdesc(get_func_rettype(fcinfo->flinfo->fn_oid), -1);
	row = heap_form_tuple(tupdesc, values, nulls);
	ReleaseTupleDesc(tupdesc);
	return HeapTupleGetDatum(row);
}

/*
 * lots(member_id, currency, as_of, known_at): as balance_lots() of its balance.
 */
PG_FUNCTION_INFO_V1(loyalty_lots);
Datum
loyalty_lots(PG_FUNCTION_ARGS)
{
	Balance		balance;
	Balance		advanced;
	TimestampTz as_of = BalanceOfArguments(fcinfo, 2, &balance);

	ReturnLots(fcinfo, &BalanceAdvanced(&balance, as_of, &advanced)->lots, &as_of);
	return (Datum) 0;
}

static int
CompareExpiries(const void *a, const void *b)
{
	const Lot  *x = a;
	const Lot  *y = b;

	return (x->expires_at > y->expires_at) - (x->expires_at < y->expires_at);
}

/*
 * expiring(member_id, currency, until, as_of, known_at): a row for each instant
 * at which lots expire after as_of, up to until, with their points and number.
 */
PG_FUNCTION_INFO_V1(loyalty_expiring);
Datum
loyalty_expiring(PG_FUNCTION_ARGS)
{
	/* what is to repay debt by the end of time will not expire */
	const TimestampTz end_of_time = (date2j(10000, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY - 1;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz until = PG_ARGISNULL(2) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(2);
	Balance		balance;
	Balance		advanced;
	TimestampTz as_of = BalanceOfArguments(fcinfo, 3, &balance);
	const LotList *list = &BalanceAdvanced(&balance, Max(as_of, end_of_time), &advanced)->lots;
	LotList		expiring = {0};
	Lot		   *next;

	InitReturnSet(fcinfo);
	ForEachLot(lot, list)
	{
		CHECK_FOR_INTERRUPTS();
		if (lot->expires_at != TIMESTAMP_INFINITY && lot->expires_at > as_of && lot->expires_at <= until &&
			(lot->hold_id == 0 || lot->available_at <= as_of))
			AppendLot(&expiring, lot);
	}
	if (LotCount(&expiring) > 1)
		qsort(expiring.lots, LotCount(&expiring), sizeof(Lot), CompareExpiries);

	for (int i = expiring.first; i < expiring.end; i = next - expiring.lots)
	{
		const Lot  *first = &expiring.lots[i];
		int64		points = 0;
		Datum		values[3];
		bool		nulls[3] = {false};

		for (next = &expiring.lots[i]; next < expiring.lots + expiring.end && next->expires_at == first->expires_at; next++)
			points += next->points;
		values[0] = TimestampTzGetDatum(first->expires_at);
		values[1] = Int64GetDatum(points);
		values[2] = Int64GetDatum(next - first);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

/* What stands for the row of a wallet that is not there */
static LOCKTAG
MissingWallet(int64 member_id, const char *currency)
{
	return NamedLock("wallet", member_id, currency);
}

/*
 * Keeps others from opening a wallet that is not there, until
 * UnlockMissingWallet() or the transaction ends.
 */
void
LockMissingWallet(int64 member_id, const char *currency)
{
	LOCKTAG		tag = MissingWallet(member_id, currency);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/*
 * Lets others open it, where we kept them from it.
 */
void
UnlockMissingWallet(int64 member_id, const char *currency)
{
	LOCKTAG		tag = MissingWallet(member_id, currency);

	if (HoldsLock(&tag, ExclusiveLock))
		(void) LockRelease(&tag, ExclusiveLock, false);
}

/*
 * Makes an empty wallet by table access.  False, and nothing is done, when
 * there is one, or may be; or the table is not plain.
 */
bool
OpenPlainWallet(int64 member_id, const char *currency, ConsumptionOrder order)
{
	Datum		values[WALLET_NCOLUMNS];
	bool		nulls[WALLET_NCOLUMNS];
	PlainAccess wallet;
	Balance		balance;
	bool		opened;

	if (!OpenPlain(&wallet, &wallet_table, member_id, PLAIN_WRITE))
		return false;
	memset(nulls, true, sizeof(nulls));
	nulls[WALLET_MEMBER_ID] = nulls[WALLET_CURRENCY] = nulls[WALLET_BALANCE] = nulls[WALLET_OPENED_AT] = false;
	values[WALLET_MEMBER_ID] = Int64GetDatum(member_id);
	values[WALLET_CURRENCY] = CStringGetTextDatum(currency);
	InitBalance(&balance, order);
	values[WALLET_BALANCE] = PointerGetDatum(PackBalanceValue(&balance));
	values[WALLET_OPENED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	PushActiveSnapshot(GetTransactionSnapshot());
	opened = FetchPlainRow(&wallet, 0, values, GetActiveSnapshot()) == NULL &&
		InsertNewPlainRow(&wallet, FormPlainRow(&wallet, values, nulls));
	PopActiveSnapshot();
	ClosePlain(&wallet);
	CommandCounterIncrement();
	return opened;
}

/*
 * Waits for whoever opens a wallet at this moment; false where nobody does.
 */
static bool
WaitForOpening(const PlainAccess *wallet, const Datum *key)
{
	SnapshotData dirty;
	HeapTuple	row;

	InitDirtySnapshot(dirty);
	row = FetchPlainRow(wallet, 0, key, &dirty);
	if (row == NULL || !TransactionIdIsValid(dirty.xmin))
		return false;
	WaitForDirtyRow(wallet, row, &dirty);
	return true;
}

/*
 * Locks a wallet by table access, unless it is not there or its points have
 * moved: *found says; who opens it at this moment is waited for.  False, and
 * nothing is done, when the table is not plain.
 */
bool
LockPlainWallet(int64 member_id, const char *currency, bool *found)
{
	Datum		key[2] = {Int64GetDatum(member_id), CStringGetTextDatum(currency)};
	PlainAccess wallet;
	bool		done;

	if (!OpenPlain(&wallet, &wallet_table, member_id, PLAIN_WRITE))
		return false;
	do
	{
		HeapTuple	row;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		row = FetchPlainRow(&wallet, 0, key, GetActiveSnapshot());
		*found = row != NULL && !(DatumGetBool(PlainValue(&wallet, row, WALLET_MOVED, &isnull)) && !isnull);
		done = row == NULL ? !WaitForOpening(&wallet, key) : !*found || LockPlainRow(&wallet, row);
		PopActiveSnapshot();
	} while (!done);
	ClosePlain(&wallet);
	return true;
}

/*
 * Gives a column of a wallet, which is locked, another value by table access.
 * False, and nothing is done, when the table is not plain.
 */
bool
UpdatePlainWallet(int64 member_id, const char *currency, WalletColumn column, Datum value, bool isnull)
{
	int			columns_set[] = {column};
	Datum		key[2] = {Int64GetDatum(member_id), CStringGetTextDatum(currency)};
	PlainAccess wallet;
	HeapTuple	row;

	if (!OpenPlain(&wallet, &wallet_table, member_id, PLAIN_WRITE))
		return false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	row = FetchPlainRow(&wallet, 0, key, GetActiveSnapshot());
	if (row != NULL && !UpdatePlainRow(&wallet, row, 1, columns_set, &value, &isnull))
		elog(ERROR, "wallet of member " INT64_FORMAT " was changed although it was locked", member_id);
	PopActiveSnapshot();
	ClosePlain(&wallet);
	CommandCounterIncrement();
	return true;
}

/* ---------------------------------------------------------------------------
 * What room tier notes
 * ---------------------------------------------------------------------------
 */

/*
 * Locks a wallet as a posting does, and reads what is noted there; false when
 * there is none.  Needs an SPI connection.
 */
bool
LockWalletRow(int64 member_id, const char *currency, struct varlena **tiers)
{
	static KeptPlan plan = {
		.query = "SELECT tiers FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(currency)};
	bool		isnull = true;
	Datum		noted = (Datum) 0;

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed > 0)
		noted = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	*tiers = isnull ? NULL : PG_DETOAST_DATUM_COPY(noted);
	return SPI_processed > 0;
}

/*
 * Notes something on a wallet, which is locked, or (NULL) takes it away.  Needs
 * an SPI connection.
 */
void
NoteTiers(int64 member_id, const char *currency, struct varlena *tiers)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.wallet SET tiers = $3 WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, BYTEAOID}
	};
	Datum		values[3] = {Int64GetDatum(member_id), CStringGetTextDatum(currency), PointerGetDatum(tiers)};
	bool		isnull = tiers == NULL;

	if (!UpdatePlainWallet(member_id, currency, WALLET_TIERS, values[2], isnull))
		RunGuarded(&plan, values, isnull ? "  n" : NULL, NULL);
}
