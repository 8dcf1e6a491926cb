/*
 * ledger_check.c
 *		check_wallets(), rebuild_wallets_of() and verify_chain(): every entry of
 *		the wallets of some members or of all, folded and hashed again.
 *
 * The ledger is read once in the order (member, currency, entry), beside the
 * wallets in the same order; memory is that of one wallet.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/post.h"
#include "ledger/replay.h"

#define FETCH_ROWS	1000

/* Rows of a query, fetched in batches */
typedef struct RowSource
{
	Portal		portal;
	SPITupleTable *table;
	uint64		count;
	uint64		next;
} RowSource;

/* The wallet that is being read */
typedef struct WalletScan
{
	RowSource	entries;
	RowSource	wallets;
	MemoryContext context;		/* of one wallet */
	MemoryContext row_context;	/* of one row */

	int64		member_id;
	char	   *currency;
	bool		has_wallet;
	PackedValue *stored;		/* its balance, detoasted */
	Balance		balance;		/* folded again */
	ActivityLog log;
	bool		folded;			/* no entry was refused */

	/* where violations go; NULL: they are errors */
	ReturnSetInfo *rsinfo;
	bool		chain_only;
	bool		rebuilding;		/* what is stored does not matter */
	bool		skip_unsound;	/* a violation is no error: */
	bool		unsound;		/* there was one in this wallet */
	int64		up_to;			/* entries beyond this id do not count, */
	const int64 *settled;		/* nor those beyond these, of the machine
								 * that drew them */
} WalletScan;

static void
OpenSource(RowSource *source, const char *query, const NullableDatum *behind, const NullableDatum *up_to)
{
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		values[2] = {behind->value, up_to->value};
	char		nulls[2] = {behind->isnull ? 'n' : ' ', up_to->isnull ? 'n' : ' '};
	/* planned with these bounds, since it is used once */
	SPIPlanPtr	plan = SPI_prepare_cursor(OverEntries(query), 2, types, 0);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare of \"%s\" failed: %s", query, SPI_result_code_string(SPI_result));
	memset(source, 0, sizeof(RowSource));
	source->portal = SPI_cursor_open(NULL, plan, values, nulls, true);
}

/*
 * The row that is next, without taking it; NULL at the end.
 */
static HeapTuple
PeekRow(RowSource *source)
{
	if (source->next >= source->count)
	{
		if (source->table != NULL)
			SPI_freetuptable(source->table);
		SPI_cursor_fetch(source->portal, true, FETCH_ROWS);
		source->table = SPI_tuptable;
		source->count = SPI_processed;
		source->next = 0;
		CHECK_FOR_INTERRUPTS();
	}
	return source->count == 0 ? NULL : source->table->vals[source->next];
}

static void
Violation(WalletScan *scan, const char *invariant, int64 entry_id, char *detail)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	scan->unsound = true;
	if (scan->skip_unsound)
		return;
	if (scan->rsinfo == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invariant \"%s\" is violated in the wallet of member " INT64_FORMAT ", currency \"%s\"",
						invariant, scan->member_id, scan->currency),
				 errdetail("Entry " INT64_FORMAT ": %s", entry_id, detail),
				 errhint("Run SELECT * FROM loyalty.check_all();")));
	values[0] = CStringGetTextDatum(invariant);
	values[1] = Int64GetDatum(scan->member_id);
	values[2] = CStringGetTextDatum(scan->currency);
	values[3] = Int64GetDatum(entry_id);
	nulls[3] = entry_id == 0;
	values[4] = CStringGetTextDatum(detail);
	tuplestore_putvalues(scan->rsinfo->setResult, scan->rsinfo->setDesc, values, nulls);
}

/*
 * Reads the members behind one, as far as another; NULL is no bound.
 */
static void
BeginScan(WalletScan *scan, const NullableDatum *behind, const NullableDatum *up_to)
{
	/* of one member the machine is known where tables are spread */
	bool		of_one = !behind->isnull && !up_to->isnull && DatumGetInt64(behind->value) == DatumGetInt64(up_to->value) - 1;
	const char *which = of_one ? "WHERE member_id OPERATOR(pg_catalog.=) $2 AND $1 OPERATOR(pg_catalog.<) $2" :
		"WHERE ($1 IS NULL OR member_id OPERATOR(pg_catalog.>) $1) AND ($2 IS NULL OR member_id OPERATOR(pg_catalog.<=) $2)";

	OpenSource(&scan->entries, psprintf("SELECT %s FROM loyalty.all_entries() "
										"%s ORDER BY member_id, currency COLLATE pg_catalog.\"C\", entry_id",
										LedgerColumnList(), which), behind, up_to);
	OpenSource(&scan->wallets, psprintf("SELECT member_id, currency, balance FROM loyalty.wallet "
										"%s ORDER BY member_id, currency COLLATE pg_catalog.\"C\"", which), behind, up_to);
	scan->context = AllocSetContextCreate(CurrentMemoryContext, "loyalty wallet scan",
										  ALLOCSET_DEFAULT_SIZES);
	scan->row_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty row",
											  ALLOCSET_DEFAULT_SIZES);
}

/*
 * A cursor that stays open keeps its tables from being altered until the
 * transaction ends.
 */
static void
EndScan(WalletScan *scan)
{
	SPI_cursor_close(scan->entries.portal);
	SPI_cursor_close(scan->wallets.portal);
}

/* The (member, currency) of a row; both queries have them somewhere */
static void
RowKey(RowSource *source, HeapTuple row, int currency_column, int64 *member_id, char **currency)
{
	bool		isnull;

	*member_id = DatumGetInt64(SPI_getbinval(row, source->table->tupdesc, 1, &isnull));
	*currency = TextDatumGetCString(SPI_getbinval(row, source->table->tupdesc,
												  currency_column, &isnull));
}

static int
CompareKeys(int64 a_member, const char *a_currency, int64 b_member, const char *b_currency)
{
	if (a_member != b_member)
		return a_member < b_member ? -1 : 1;
	return strcmp(a_currency, b_currency);
}

/*
 * One entry of the wallet: its hash, its place, and what it did.
 */
static void
ScanEntry(WalletScan *scan, HeapTuple row, bool *chain_broken)
{
	Balance    *balance = &scan->balance;
	StoredEntry stored;
	uint8		hash[CHAIN_LENGTH];
	FoldRefusal refusal;
	BalanceAsOf sums;
	MemoryContext old;

	MemoryContextReset(scan->row_context);
	old = MemoryContextSwitchTo(scan->row_context);
	ReadStoredEntry(row, scan->entries.table->tupdesc, true, &stored);

	if (stored.row.entry_id > scan->up_to || !IsSettled(scan->settled, stored.row.entry_id))
	{
		MemoryContextSwitchTo(old);
		return;
	}
	ChainHash(&stored.row, balance->chain, hash);
	if (!*chain_broken &&
		(!stored.has_hash || memcmp(hash, stored.hash, CHAIN_LENGTH) != 0))
	{
		*chain_broken = true;
		Violation(scan, "chain", stored.row.entry_id,
				  "its hash is not that of itself and of the entry before it: it was changed, inserted, or follows one that was removed");
	}
	memcpy(balance->chain, stored.hash, CHAIN_LENGTH);
	balance->chained = true;
	if (scan->chain_only)
	{
		MemoryContextSwitchTo(old);
		return;
	}

	if (stored.row.recorded_at < balance->last_recorded_at ||
		stored.row.entry_id <= balance->last_entry_id)
		Violation(scan, "order", stored.row.entry_id,
				  psprintf("recorded at %s, before the entry before it",
						   TimestampText(stored.row.recorded_at)));
	if (!scan->folded)
	{
		MemoryContextSwitchTo(old);
		return;
	}

	refusal = ReplayEntry(balance, &scan->log, &stored, true);
	if (refusal != FOLD_OK)
	{
		scan->folded = false;
		Violation(scan, "fold", stored.row.entry_id,
				  psprintf("%s of " INT64_FORMAT " points cannot follow the entries before it",
						   EntryKindName(stored.row.kind), stored.row.requested));
		MemoryContextSwitchTo(old);
		return;
	}
	BalanceAt(balance, Max(stored.row.recorded_at, balance->last_effective_at), &sums);
	if (stored.entry.posted != stored.row.points || stored.entry.requested != stored.row.requested ||
		sums.available != stored.row.available)
		Violation(scan, "entry", stored.row.entry_id,
				  psprintf("posted " INT64_FORMAT " of " INT64_FORMAT ", leaving " INT64_FORMAT
						   " available; it should be " INT64_FORMAT " of " INT64_FORMAT ", leaving " INT64_FORMAT,
						   stored.row.points, stored.row.requested, stored.row.available,
						   stored.entry.posted, stored.entry.requested, sums.available));
	if (sums.available > 0 && sums.debt > 0)
		Violation(scan, "debt", stored.row.entry_id,
				  psprintf(INT64_FORMAT " points are available and " INT64_FORMAT " owed after it",
						   sums.available, sums.debt));
	MemoryContextSwitchTo(old);
}

/*
 * Reads the next wallet with all its entries; false at the end.
 */
static bool
NextWallet(WalletScan *scan)
{
	MemoryContext old;
	HeapTuple	entry;
	HeapTuple	wallet;
	int64		entry_member = 0,
				wallet_member = 0;
	char	   *entry_currency = NULL,
			   *wallet_currency = NULL;
	bool		chain_broken = false;
	bool		isnull;
	int			cmp;

	MemoryContextReset(scan->context);
	old = MemoryContextSwitchTo(scan->context);
	entry = PeekRow(&scan->entries);
	wallet = PeekRow(&scan->wallets);
	if (entry == NULL && wallet == NULL)
	{
		MemoryContextSwitchTo(old);
		return false;
	}
	if (entry != NULL)
		RowKey(&scan->entries, entry, LEDGER_CURRENCY + 1, &entry_member, &entry_currency);
	if (wallet != NULL)
		RowKey(&scan->wallets, wallet, 2, &wallet_member, &wallet_currency);
	cmp = entry == NULL ? 1 : wallet == NULL ? -1 :
		CompareKeys(entry_member, entry_currency, wallet_member, wallet_currency);

	scan->member_id = cmp <= 0 ? entry_member : wallet_member;
	scan->currency = cmp <= 0 ? entry_currency : wallet_currency;
	scan->has_wallet = cmp >= 0;
	scan->stored = NULL;
	scan->folded = true;
	scan->unsound = false;
	if (scan->has_wallet)
	{
		Balance		stored;

		scan->stored = PG_DETOAST_DATUM_COPY(SPI_getbinval(wallet, scan->wallets.table->tupdesc, 3, &isnull));
		scan->wallets.next++;
		UnpackBalanceDatum(PointerGetDatum(scan->stored), &stored);
		InitBalance(&scan->balance, stored.order);
		if (!scan->chain_only && !scan->rebuilding && !BalanceIsConserved(&stored))
			Violation(scan, "conservation", 0,
					  "points that came in are not points that are there or went out");
	}
	else
	{
		Currency	currency;

		FindCurrency(scan->currency, &currency);
		InitBalance(&scan->balance, currency.fold.order);
	}

	ReserveLots(&scan->balance.lots);
	ReserveLots(&scan->balance.owed);
	InitActivities(&scan->log);

	while (entry != NULL && cmp <= 0)
	{
		ScanEntry(scan, entry, &chain_broken);
		scan->entries.next++;
		entry = PeekRow(&scan->entries);
		if (entry == NULL)
			break;
		MemoryContextReset(scan->row_context);
		MemoryContextSwitchTo(scan->row_context);
		RowKey(&scan->entries, entry, LEDGER_CURRENCY + 1, &entry_member, &entry_currency);
		MemoryContextSwitchTo(scan->context);
		cmp = CompareKeys(entry_member, entry_currency, scan->member_id, scan->currency);
		if (cmp != 0)
			break;
	}
	MemoryContextSwitchTo(old);
	return true;
}

static bool
WalletIsFold(const WalletScan *scan, const PackedValue *folded)
{
	return scan->has_wallet && VARSIZE(folded) == VARSIZE(scan->stored) &&
		memcmp(folded, scan->stored, VARSIZE(folded)) == 0;
}

/*
 * check_wallets(behind, up_to): a row for each violated invariant of an entry or
 * a wallet of the members behind one, as far as another (NULL: no bound).
 */
PG_FUNCTION_INFO_V1(loyalty_check_wallets);
Datum
loyalty_check_wallets(PG_FUNCTION_ARGS)
{
	WalletScan	scan = {.up_to = PG_INT64_MAX};

	InitReturnSet(fcinfo);
	scan.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	BeginScan(&scan, &fcinfo->args[0], &fcinfo->args[1]);
	while (NextWallet(&scan))
	{
		MemoryContext old = MemoryContextSwitchTo(scan.context);

		if (!scan.has_wallet)
			Violation(&scan, "wallet", 0, "the ledger has entries, but there is no wallet");
		else if (scan.folded && !WalletIsFold(&scan, PackBalanceValue(&scan.balance)))
			Violation(&scan, "wallet", 0, "the wallet is not the fold of its entries");
		MemoryContextSwitchTo(old);
	}
	EndScan(&scan);
	SPI_finish();
	return (Datum) 0;
}

/*
 * verify_chain(up_to, ahead): a row for each wallet whose chain is broken by an
 * entry with an id up to up_to, and not beyond what ahead has for the machine
 * that drew it (NULL: no such bound), naming the first such entry.  Reads with a snapshot
 * of its own: a digest that was taken in the same statement, or after this
 * transaction began, covers entries that the statement does not see.
 */
PG_FUNCTION_INFO_V1(loyalty_verify_chain);
Datum
loyalty_verify_chain(PG_FUNCTION_ARGS)
{
	WalletScan	scan = {.chain_only = true,.up_to = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0),.settled = HorizonsArgument(fcinfo, 1)};
	NullableDatum everybody = {.isnull = true};

	InitReturnSet(fcinfo);
	scan.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetLatestSnapshot());
	BeginScan(&scan, &everybody, &everybody);
	while (NextWallet(&scan))
		;
	EndScan(&scan);
	PopActiveSnapshot();
	SPI_finish();
	return (Datum) 0;
}

/*
 * Makes the wallets of a member the fold of their entries again, under their
 * locks, and counts those that had to be changed; false when it has to be done
 * again, since somebody else made one of them at this moment.
 */
static bool
RebuildMember(int64 member_id, bool skip_unsound, int64 *changed)
{
	static KeptPlan lock = {
		.query = "SELECT FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"ORDER BY currency COLLATE pg_catalog.\"C\" FOR NO KEY UPDATE",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	/* two statements: one with ON CONFLICT DO UPDATE would meet two guards */
	static KeptPlan update = {
		.query = "UPDATE loyalty.wallet SET balance = loyalty.rebuilt_balance($3), tiers = NULL "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, BYTEAOID}
	};
	static KeptPlan insert = {
		.query = "INSERT INTO loyalty.wallet (member_id, currency, balance) "
		"VALUES ($1, $2, loyalty.rebuilt_balance($3)) ON CONFLICT DO NOTHING",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, BYTEAOID}
	};
	WalletScan	scan = {.up_to = PG_INT64_MAX,.rebuilding = true,.skip_unsound = skip_unsound};
	NullableDatum behind = {.value = Int64GetDatum(member_id - 1),.isnull = member_id == PG_INT64_MIN};
	NullableDatum up_to = {.value = Int64GetDatum(member_id)};
	bool		done = true;

	RunPlan(&lock, &up_to.value, NULL, 0);
	PushActiveSnapshot(GetLatestSnapshot());
	BeginScan(&scan, &behind, &up_to);
	while (done && NextWallet(&scan))
	{
		MemoryContext old = MemoryContextSwitchTo(scan.context);
		PackedValue *folded = PackBalanceValue(&scan.balance);

		if (!scan.unsound && !WalletIsFold(&scan, folded))
		{
			Datum		values[3] = {Int64GetDatum(scan.member_id),
				CStringGetTextDatum(scan.currency),
			PointerGetDatum(folded)};

			RunGuarded(scan.has_wallet ? &update : &insert, values, NULL, NULL);
			done = SPI_processed > 0;
			*changed += SPI_processed;
		}
		MemoryContextSwitchTo(old);
	}
	EndScan(&scan);
	PopActiveSnapshot();
	return done;
}

/*
 * rebuild_wallets_of(member_ids, as_of, scope): makes the wallets of some
 * members the fold of their entries again; returns how many had to be changed.
 * scope 'sound' leaves those alone whose entries themselves are not sound, which
 * is an error otherwise; as_of is not used: see run_batch().
 */
PG_FUNCTION_INFO_V1(loyalty_rebuild_wallets_of);
Datum
loyalty_rebuild_wallets_of(PG_FUNCTION_ARGS)
{
	ArrayType  *array;
	Datum	   *member_ids;
	bool	   *nulls;
	int			n;
	bool		skip_unsound = !PG_ARGISNULL(2) && strcmp(text_to_cstring(PG_GETARG_TEXT_PP(2)), "sound") == 0;
	int64		total = 0;

	RequireArgument(fcinfo, 0, "member_ids");
	array = PG_GETARG_ARRAYTYPE_P(0);
	deconstruct_array(array, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &member_ids, &nulls, &n);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	for (int i = 0; i < n; i++)
		while (!nulls[i] && !RebuildMember(DatumGetInt64(member_ids[i]), skip_unsound, &total))
			CHECK_FOR_INTERRUPTS();
	if (total > 0)
		KeepAct(&(Act) {.name = "rebuild_wallets", .subject = psprintf(INT64_FORMAT " wallets", total)});
	SPI_finish();
	PG_RETURN_INT64(total);
}
