/*
 * replay.c
 *		Folding recorded entries again, with the lots that they took.
 *
 * A policy may have been changed since, and a balance as of the past leaves
 * entries out; what an entry took stays what it took.  So a recorded entry is
 * applied with its recorded lots instead of choosing any.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/currency.h"
#include "ledger/replay.h"

/*
 * A recorded entry that was refused because what it refers to is not there.
 * As of a past instant that can be: a hold of a member that was merged later
 * may have been captured, after the merge, as of a time before it.  The hold
 * was in the other wallet then.  Or what was set aside had been left by later
 * entries.  A capture takes its points all the same, as debt if need be, so
 * that the sums are right; a release and an activate have nothing to do.
 */
static FoldRefusal
ReplayWithoutTarget(Balance *balance, const FoldPolicy *policy, Entry *entry, FoldRefusal refusal)
{
	Entry		plain;

	if (entry->kind == ENTRY_CAPTURE &&
		(refusal == FOLD_HOLD_CLOSED || refusal == FOLD_INSUFFICIENT))
	{
		if (refusal == FOLD_INSUFFICIENT)
		{
			plain = *entry;
			plain.kind = ENTRY_RELEASE;
			plain.given = NULL;
			refusal = ApplyEntry(balance, policy, &plain);
			if (refusal != FOLD_OK)
				return refusal;
			balance->entries--;
		}
		plain = *entry;
		plain.kind = ENTRY_REDEEM;
		plain.target = 0;
		return ApplyEntry(balance, policy, &plain);
	}
	if ((entry->kind == ENTRY_RELEASE && refusal == FOLD_HOLD_CLOSED) ||
		(entry->kind == ENTRY_ACTIVATE && refusal == FOLD_NOTHING_PENDING))
	{
		balance->entries++;
		balance->last_entry_id = entry->entry_id;
		balance->last_effective_at = Max(balance->last_effective_at, entry->effective_at);
		return FOLD_OK;
	}
	return refusal;
}

/*
 * Applies a recorded entry to a balance, without the hash chain.  With
 * whole_history, lots that are not there as recorded are refused; without,
 * the balance is as of a past instant and misses entries.  The log has the
 * activities of the entries so far.
 */
FoldRefusal
ReplayEntry(Balance *balance, ActivityLog *log, StoredEntry *stored, bool whole_history)
{
	FoldPolicy	policy = {
		.order = balance->order,
		.clawback = CLAWBACK_ALLOW_DEBT,
		.burn_to_debt = !whole_history,
		.join = true
	};
	Entry	   *entry = &stored->entry;
	const LotList *given = entry->given;
	FoldRefusal refusal;

	/* what was checked when it was recorded is not checked again */
	entry->target_effective_at = TIMESTAMP_MINUS_INFINITY;
	entry->target_hold_until = TIMESTAMP_INFINITY;
	entry->target_points = PG_INT64_MAX;
	entry->target_reversed = 0;
	switch (entry->kind)
	{
		case ENTRY_CAPTURE:
		case ENTRY_RELEASE:
			entry->target_kind = ENTRY_HOLD;
			break;
		case ENTRY_REVERSE:
			entry->target_kind = entry->posted > 0 ? ENTRY_REDEEM : ENTRY_EARN;
			break;
		case ENTRY_ACTIVATE:
			entry->target_kind = ENTRY_EARN;
			break;
		default:
			break;
	}

	SetActivities(log, entry);
	/* as of the past, a hold may have less to take from than it had then */
	if (entry->kind == ENTRY_CAPTURE && !whole_history)
		entry->given = NULL;
	refusal = ApplyEntry(balance, &policy, entry);
	if (refusal != FOLD_OK && !whole_history)
	{
		entry->given = given;
		refusal = ReplayWithoutTarget(balance, &policy, entry, refusal);
	}
	if (refusal != FOLD_OK)
		return refusal;
	NoteActivity(log, entry);
	balance->last_recorded_at = stored->row.recorded_at;
	return FOLD_OK;
}

/* An entry of the past, as columns of the ledger */
typedef struct PastEntry
{
	Datum		values[LEDGER_NCOLUMNS];
	bool		nulls[LEDGER_NCOLUMNS];
} PastEntry;

/* The entries of a wallet that were effective and recorded by then */
typedef struct PastEntries
{
	int64		member_id;
	const char *code;
	PastEntry  *entries;		/* in the order in which they were recorded */
	int			count;
	int			size;
	ConsumptionOrder order;
} PastEntries;

static PastEntry *
NewPastEntry(PastEntries *past)
{
	if (past->count == past->size)
	{
		past->size = Max(32, 2 * past->size);
		past->entries = past->entries == NULL ? palloc(past->size * sizeof(PastEntry)) :
			repalloc_huge(past->entries, past->size * sizeof(PastEntry));
	}
	return &past->entries[past->count++];
}

static int64
PastEntryId(const PastEntry *entry)
{
	return DatumGetInt64(entry->values[LEDGER_ENTRY_ID]);
}

static int
ComparePastEntries(const void *a, const void *b)
{
	int64		x = PastEntryId(a);
	int64		y = PastEntryId(b);

	return x < y ? -1 : x > y;
}

static bool
HappenedByThen(const PastEntry *entry, text *code, TimestampTz as_of, TimestampTz known_at)
{
	text	   *currency = DatumGetTextPP(entry->values[LEDGER_CURRENCY]);

	return VARSIZE_ANY_EXHDR(currency) == VARSIZE_ANY_EXHDR(code) &&
		memcmp(VARDATA_ANY(currency), VARDATA_ANY(code), VARSIZE_ANY_EXHDR(code)) == 0 &&
		DatumGetTimestampTz(entry->values[LEDGER_EFFECTIVE_AT]) <= as_of &&
		DatumGetTimestampTz(entry->values[LEDGER_RECORDED_AT]) <= known_at;
}

/*
 * Adds the entries of one table by table access; false, and nothing is added,
 * when it is not plain.
 */
static bool
AddPlainPast(PastEntries *past, const PlainTable *table, text *code, TimestampTz as_of, TimestampTz known_at)
{
	PlainAccess access;
	HeapTuple  *rows;
	int			n;

	if (!OpenPlain(&access, table, past->member_id, PLAIN_READ))
		return false;
	n = FetchPlainRows(&access, past->member_id, GetActiveSnapshot(), &rows);
	for (int i = 0; i < n; i++)
	{
		PastEntry  *entry = NewPastEntry(past);

		PlainValues(&access, rows[i], entry->values, entry->nulls);
		if (!HappenedByThen(entry, code, as_of, known_at))
			past->count--;
	}
	ClosePlain(&access);
	return true;
}

/*
 * The same by a statement, of ledger and archive.
 */
static void
AddPastByStatement(PastEntries *past, text *code, TimestampTz as_of, TimestampTz known_at)
{
	static KeptPlan plan = {
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {Int64GetDatum(past->member_id), PointerGetDatum(code),
	TimestampTzGetDatum(as_of), TimestampTzGetDatum(known_at)};
	uint64		n;

	if (plan.query == NULL)
		plan.query = MemoryContextStrdup(TopMemoryContext,
										 psprintf("SELECT %s FROM loyalty.all_entries() "
												  "WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2 "
												  "AND effective_at OPERATOR(pg_catalog.<=) $3 AND recorded_at OPERATOR(pg_catalog.<=) $4 "
												  "ORDER BY entry_id", LedgerColumnList()));
	RunPlanReadOnly(&plan, values, NULL, 0);
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		PastEntry  *entry = NewPastEntry(past);

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, entry->values, entry->nulls);
	}
}

/*
 * Reads them.  Needs an SPI connection, and lives as long as it.
 */
static void
ReadPast(int64 member_id, const char *code, TimestampTz as_of, TimestampTz known_at, PastEntries *past)
{
	text	   *currency_code = cstring_to_text(code);
	Currency	currency;

	FindCurrency(code, &currency);
	memset(past, 0, sizeof(PastEntries));
	past->member_id = member_id;
	past->code = code;
	past->order = currency.fold.order;
	if (!AddPlainPast(past, &archive_table, currency_code, as_of, known_at) ||
		!AddPlainPast(past, &ledger_table, currency_code, as_of, known_at))
	{
		past->count = 0;
		AddPastByStatement(past, currency_code, as_of, known_at);
	}
	for (int i = 1; i < past->count; i++)
	{
		if (PastEntryId(&past->entries[i]) > PastEntryId(&past->entries[i - 1]))
			continue;
		qsort(past->entries, past->count, sizeof(PastEntry), ComparePastEntries);
		break;
	}
}

/*
 * Applies one of them to a balance.
 */
static void
ApplyPast(const PastEntries *past, int i, Balance *balance, ActivityLog *log)
{
	StoredEntry stored;
	FoldRefusal refusal;

	CHECK_FOR_INTERRUPTS();
	ReadStoredValues(past->entries[i].values, past->entries[i].nulls, false, &stored);
	refusal = ReplayEntry(balance, log, &stored, false);
	if (refusal != FOLD_OK)
	{
		Refused		refused = {
			.refusal = refusal,.entry = &stored.entry,.balance = balance,
			.member_id = past->member_id,.currency = past->code
		};

		RaiseRefusal(&refused);
	}
}

/*
 * Folds the entries of a wallet that were effective and recorded by then.
 */
void
FoldPast(int64 member_id, const char *code, TimestampTz as_of, TimestampTz known_at, Balance *balance)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	PastEntries past;
	ActivityLog log;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ReadPast(member_id, code, as_of, known_at, &past);
	old = MemoryContextSwitchTo(context);
	InitBalance(balance, past.order);
	InitActivities(&log);
	for (int i = 0; i < past.count; i++)
		ApplyPast(&past, i, balance, &log);
	MemoryContextSwitchTo(old);
	SPI_finish();
}

/* A fold under way */
typedef struct PastFold
{
	Balance		balance;
	ActivityLog log;
} PastFold;

static void
CopyLots(const LotList *from, LotList *to)
{
	InitLots(to, LotCount(from) + 1);
	ForEachLot(lot, from)
		AppendLot(to, lot);
}

/*
 * A copy of its own in the current memory context.
 */
static void
CopyFold(const PastFold *from, PastFold *to)
{
	to->balance = from->balance;
	CopyLots(&from->balance.lots, &to->balance.lots);
	CopyLots(&from->balance.owed, &to->balance.owed);
	CopyActivities(&from->log, &to->log);
}

static int
CompareByInstant(const void *a, const void *b, void *arg)
{
	const TimestampTz *effective_at = arg;
	int			i = *(const int *) a;
	int			j = *(const int *) b;

	if (effective_at[i] != effective_at[j])
		return effective_at[i] < effective_at[j] ? -1 : 1;
	return i - j;
}

/*
 * Puts entries in the order of their instants, and says what is available as of
 * each: by those that are effective before it, and those at its instant that were
 * recorded before.
 *
 * They come one by one, by their instants, and are folded as they were
 * recorded: those before which none is missing by now for good, the others
 * behind them again whenever one has come that was recorded before.
 */
static void
AvailableAsOfEach(const PastEntries *past, int *by_instant, TimestampTz *effective_at, int64 *available)
{
	bool	   *has_come = palloc0(Max(past->count, 1) * sizeof(bool));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "loyalty past", ALLOCSET_DEFAULT_SIZES);
	PastFold	complete;
	PastFold	all;
	int			ncomplete = 0;
	int			latest = -1;	/* recorded last, of those that have come */

	for (int i = 0; i < past->count; i++)
	{
		effective_at[i] = DatumGetTimestampTz(past->entries[i].values[LEDGER_EFFECTIVE_AT]);
		by_instant[i] = i;
	}
	qsort_arg(by_instant, past->count, sizeof(int), CompareByInstant, effective_at);

	InitBalance(&complete.balance, past->order);
	InitActivities(&complete.log);
	for (int n = 0; n < past->count; n++)
	{
		int			i = by_instant[n];
		bool		in_order = i > latest && latest >= ncomplete;
		int			before = ncomplete;
		MemoryContext old;
		BalanceAsOf sums;

		has_come[i] = true;
		latest = Max(latest, i);
		while (ncomplete < past->count && has_come[ncomplete])
			ApplyPast(past, ncomplete++, &complete.balance, &complete.log);

		if (latest < ncomplete)
		{
			BalanceAt(&complete.balance, effective_at[i], &sums);
			available[i] = sums.available;
			continue;
		}
		if (!in_order || ncomplete > before)
		{
			MemoryContextReset(context);
			old = MemoryContextSwitchTo(context);
			CopyFold(&complete, &all);
			for (int j = ncomplete; j <= latest; j++)
			{
				if (has_come[j])
					ApplyPast(past, j, &all.balance, &all.log);
			}
		}
		else
		{
			old = MemoryContextSwitchTo(context);
			ApplyPast(past, i, &all.balance, &all.log);
		}
		BalanceAt(&all.balance, effective_at[i], &sums);
		available[i] = sums.available;
		MemoryContextSwitchTo(old);
	}
	MemoryContextDelete(context);
}

/*
 * The arguments member_id and currency, from the n-th on: neither may be NULL.
 */
void
RequireWallet(FunctionCallInfo fcinfo, int n)
{
	RequireArgument(fcinfo, n, "member_id");
	RequireArgument(fcinfo, n + 1, "currency");
}

/*
 * statement(member_id, currency, from_at, until_at, known_at): the entries that
 * are effective from from_at up to until_at, with what was available after each.
 */
PG_FUNCTION_INFO_V1(loyalty_statement);
Datum
loyalty_statement(PG_FUNCTION_ARGS)
{
	static const LedgerColumn columns[] = {
		LEDGER_ENTRY_ID, LEDGER_EFFECTIVE_AT, LEDGER_RECORDED_AT, LEDGER_KIND, LEDGER_POINTS,
		LEDGER_AVAILABLE, LEDGER_TARGET_ENTRY_ID, LEDGER_COUNTERPARTY_ID, LEDGER_REFERENCE, LEDGER_REASON
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PastEntries past;
	int		   *by_instant;
	TimestampTz *effective_at;
	int64	   *available;

	RequireWallet(fcinfo, 0);
	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ReadPast(PG_GETARG_INT64(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), TIMESTAMP_INFINITY,
			 PG_ARGISNULL(4) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(4), &past);
	by_instant = palloc(Max(past.count, 1) * sizeof(int));
	effective_at = palloc(Max(past.count, 1) * sizeof(TimestampTz));
	available = palloc(Max(past.count, 1) * sizeof(int64));
	AvailableAsOfEach(&past, by_instant, effective_at, available);
	for (int n = 0; n < past.count; n++)
	{
		int			i = by_instant[n];
		Datum		row[lengthof(columns)];
		bool		nulls[lengthof(columns)];

		if ((!PG_ARGISNULL(2) && effective_at[i] < PG_GETARG_TIMESTAMPTZ(2)) ||
			(!PG_ARGISNULL(3) && effective_at[i] >= PG_GETARG_TIMESTAMPTZ(3)))
			continue;
		for (int c = 0; c < (int) lengthof(columns); c++)
		{
			row[c] = past.entries[i].values[columns[c]];
			nulls[c] = past.entries[i].nulls[columns[c]];
			if (columns[c] == LEDGER_AVAILABLE)
				row[c] = Int64GetDatum(available[i]);
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * empty_balance(consumption_order): a balance without entries.
 */
PG_FUNCTION_INFO_V1(loyalty_empty_balance);
Datum
loyalty_empty_balance(PG_FUNCTION_ARGS)
{
	Balance		balance;

	InitBalance(&balance, PG_GETARG_INT32(0) == CONSUME_OLDEST_FIRST ?
				CONSUME_OLDEST_FIRST : CONSUME_EARLIEST_EXPIRY);
	PG_RETURN_POINTER(PackBalanceValue(&balance));
}
