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
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/currency.h"
#include "ledger/replay.h"

static TimestampTz
NullableTime(const Datum *values, const bool *nulls, int i)
{
	return nulls[i] ? TIMESTAMP_MINUS_INFINITY : DatumGetTimestampTz(values[i]);
}

static char *
NullableText(const Datum *values, const bool *nulls, int i)
{
	return nulls[i] ? NULL : TextDatumGetCString(values[i]);
}

/*
 * Reads a row of LEDGER_COLUMNS.  The texts, which only the hash chain needs,
 * are read for_chain only.
 */
void
ReadStoredEntry(HeapTuple tuple, TupleDesc tupdesc, bool for_chain, StoredEntry *stored)
{
	Datum		values[LEDGER_NCOLUMNS];
	bool		nulls[LEDGER_NCOLUMNS];
	LedgerRow  *row = &stored->row;
	Entry	   *entry = &stored->entry;
	text	   *kind;

	heap_deform_tuple(tuple, tupdesc, values, nulls);
	memset(stored, 0, sizeof(StoredEntry));
	row->member_id = DatumGetInt64(values[0]);
	row->entry_id = DatumGetInt64(values[1]);
	kind = DatumGetTextPP(values[3]);
	row->kind = EntryKindFromName(VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind));
	if (row->kind == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("entry " INT64_FORMAT " has the unknown kind \"%s\"",
						row->entry_id, text_to_cstring(kind))));
	row->points = DatumGetInt64(values[4]);
	row->requested = DatumGetInt64(values[5]);
	row->available = DatumGetInt64(values[6]);
	row->effective_at = DatumGetTimestampTz(values[7]);
	row->recorded_at = DatumGetTimestampTz(values[8]);
	row->available_at = NullableTime(values, nulls, 9);
	row->expires_at = NullableTime(values, nulls, 10);
	row->hold_until = NullableTime(values, nulls, 11);
	row->extends_to = NullableTime(values, nulls, 12);
	row->target_entry_id = nulls[13] ? 0 : DatumGetInt64(values[13]);
	row->counterparty_id = nulls[14] ? 0 : DatumGetInt64(values[14]);
	row->home_id = nulls[21] ? 0 : DatumGetInt64(values[21]);
	if (for_chain)
	{
		row->currency = NullableText(values, nulls, 2);
		row->reference = NullableText(values, nulls, 15);
		row->reason = NullableText(values, nulls, 16);
		if (!nulls[17])
			row->details = JsonbToCString(NULL, &DatumGetJsonbP(values[17])->root, 0);
		row->idempotency_key = NullableText(values, nulls, 18);
		if (!nulls[19])
			row->fingerprint = PG_DETOAST_DATUM_PACKED(values[19]);
		if (!nulls[20])
		{
			bytea	   *hash = DatumGetByteaPP(values[20]);

			stored->has_hash = VARSIZE_ANY_EXHDR(hash) == CHAIN_LENGTH;
			if (stored->has_hash)
				memcpy(stored->hash, VARDATA_ANY(hash), CHAIN_LENGTH);
		}
		if (!nulls[22])
			row->lots = PG_DETOAST_DATUM_PACKED(values[22]);
	}

	InitEntry(entry, row->kind, row->effective_at);
	entry->entry_id = row->entry_id;
	entry->requested = row->requested;
	if (!nulls[9])
		entry->available_at = row->available_at;
	else if (EntryOpensLot(row->kind, row->requested))
		entry->available_at = TIMESTAMP_INFINITY;
	entry->expires_at = nulls[10] ? TIMESTAMP_INFINITY : row->expires_at;
	entry->hold_until = row->hold_until;
	entry->extends_to = row->extends_to;
	entry->target = row->target_entry_id;
	entry->home_id = row->home_id;
	entry->exact = true;
	entry->posted = row->points;
	if (!nulls[22] && EntryTakesLots(row->kind) &&
		!(row->kind == ENTRY_ADJUST && row->points > 0))
	{
		UnpackLotsDatum(values[22], &stored->lots);
		entry->given = &stored->lots;
	}
}

/*
 * A recorded entry that was refused because what it refers to is not there.
 * As of a past instant that can be: a hold of a member that was merged later
 * may have been captured, after the merge, as of a time before it.  The hold
 * was in the other wallet then.  A capture takes its points all the same, as
 * debt if need be, so that both wallets together are right; a release and an
 * activate have nothing to do.
 */
static FoldRefusal
ReplayWithoutTarget(Balance *balance, const FoldPolicy *policy, Entry *entry, FoldRefusal refusal)
{
	Entry		plain;

	if (entry->kind == ENTRY_CAPTURE &&
		(refusal == FOLD_HOLD_CLOSED || refusal == FOLD_INSUFFICIENT))
	{
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
 * the balance is as of a past instant and misses entries.
 */
FoldRefusal
ReplayEntry(Balance *balance, StoredEntry *stored, bool whole_history)
{
	FoldPolicy	policy = {
		.order = balance->order,
		.clawback = CLAWBACK_ALLOW_DEBT,
		.burn_to_debt = !whole_history,
		.join = true
	};
	Entry	   *entry = &stored->entry;
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

	refusal = ApplyEntry(balance, &policy, entry);
	if (refusal != FOLD_OK && !whole_history)
		refusal = ReplayWithoutTarget(balance, &policy, entry, refusal);
	if (refusal == FOLD_OK)
		balance->last_recorded_at = stored->row.recorded_at;
	return refusal;
}

/*
 * Folds the entries of a wallet that were effective and recorded by then.
 * With rsinfo, adds a row (entry_id, available) after each of them.
 */
static void
FoldPast(int64 member_id, const char *code, TimestampTz as_of, TimestampTz known_at,
		 Balance *balance, ReturnSetInfo *rsinfo)
{
	static KeptPlan plan = {
		.query = "SELECT " LEDGER_COLUMNS " FROM loyalty.ledger "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2 "
		"AND effective_at OPERATOR(pg_catalog.<=) $3 AND recorded_at OPERATOR(pg_catalog.<=) $4 "
		"ORDER BY entry_id",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {Int64GetDatum(member_id), CStringGetTextDatum(code),
	TimestampTzGetDatum(as_of), TimestampTzGetDatum(known_at)};
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	Currency	currency;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	FindCurrency(code, &currency);
	RunPlanReadOnly(&plan, values, NULL, 0);
	old = MemoryContextSwitchTo(context);
	InitBalance(balance, currency.fold.order);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		StoredEntry stored;
		FoldRefusal refusal;

		CHECK_FOR_INTERRUPTS();
		ReadStoredEntry(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, false, &stored);
		refusal = ReplayEntry(balance, &stored, false);
		if (refusal != FOLD_OK)
		{
			Refused		refused = {
				.refusal = refusal,.entry = &stored.entry,.balance = balance,
				.member_id = member_id,.currency = code
			};

			RaiseRefusal(&refused);
		}
		if (rsinfo != NULL)
		{
			BalanceAsOf sums;
			Datum		row[2];
			bool		nulls[2] = {false};

			BalanceAt(balance, balance->last_effective_at, &sums);
			row[0] = Int64GetDatum(stored.row.entry_id);
			row[1] = Int64GetDatum(sums.available);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
		}
	}
	MemoryContextSwitchTo(old);
	SPI_finish();
}

/*
 * The present balance of a member that was absorbed in a merge is that of the
 * member who stands for it now: its own wallet is empty.  False when it has
 * not been absorbed.
 */
static bool
BalanceOfCanonical(int64 member_id, const char *code, Datum *result)
{
	static KeptPlan plan = {
		.query = "SELECT balance FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	int64		canonical = member_id;
	bool		isnull;

	if (merged_members == NULL)
		return false;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	merged_members->canonical(&canonical, 1, true);
	if (canonical != member_id)
	{
		Datum		values[2] = {Int64GetDatum(canonical), CStringGetTextDatum(code)};

		RunPlanReadOnly(&plan, values, NULL, 1);
		if (SPI_processed > 0)
			*result = SPI_datumTransfer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull),
										false, -1);
		else
			canonical = member_id;
	}
	SPI_finish();
	return canonical != member_id;
}

/*
 * The arguments member_id and currency, from the n-th on: neither may be NULL.
 */
static void
RequireWallet(FunctionCallInfo fcinfo, int n)
{
	RequireArgument(fcinfo, n, "member_id");
	RequireArgument(fcinfo, n + 1, "currency");
}

/*
 * running_balance(member_id, currency, known_at): for each entry recorded by
 * known_at, what was available after it, as of the latest effective_at so far.
 */
PG_FUNCTION_INFO_V1(loyalty_running_balance);
Datum
loyalty_running_balance(PG_FUNCTION_ARGS)
{
	Balance		balance;
	TimestampTz known_at = PG_ARGISNULL(2) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(2);

	RequireWallet(fcinfo, 0);
	InitReturnSet(fcinfo);
	FoldPast(PG_GETARG_INT64(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), TIMESTAMP_INFINITY,
			 known_at, &balance, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

static bool
MeansNow(TimestampTz as_of)
{
	return as_of == GetCurrentTransactionStartTimestamp();
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
 * wallet_as_of(balance, member_id, currency, as_of, known_at)
 */
PG_FUNCTION_INFO_V1(loyalty_wallet_as_of);
Datum
loyalty_wallet_as_of(PG_FUNCTION_ARGS)
{
	TimestampTz as_of;
	TimestampTz known_at = TIMESTAMP_INFINITY;
	Balance		balance;
	char	   *code;

	RequireWallet(fcinfo, 1);
	RequireArgument(fcinfo, 3, "as_of");
	as_of = PG_GETARG_TIMESTAMPTZ(3);
	CheckAskedInstant(as_of, "as_of");
	if (!PG_ARGISNULL(4))
	{
		known_at = PG_GETARG_TIMESTAMPTZ(4);
		CheckAskedInstant(known_at, "known_at");
	}

	if (PG_ARGISNULL(0))
	{
		Currency	currency;

		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		FindCurrency(text_to_cstring(PG_GETARG_TEXT_PP(2)), &currency);
		SPI_finish();
		InitBalance(&balance, currency.fold.order);
		PG_RETURN_POINTER(PackBalanceValue(&balance));
	}

	UnpackBalanceDatum(PG_GETARG_DATUM(0), &balance);
	code = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if ((MeansNow(as_of) || as_of >= balance.last_effective_at) &&
		known_at >= balance.last_recorded_at)
	{
		Datum		canonical = 0;

		if (LotCount(&balance.lots) == 0 && balance.total[TOTAL_DEBT] == 0 &&
			BalanceOfCanonical(PG_GETARG_INT64(1), code, &canonical))
		{
			UnpackBalanceDatum(canonical, &balance);
			if (MeansNow(as_of) || (as_of >= balance.last_effective_at && known_at >= balance.last_recorded_at))
				PG_RETURN_DATUM(canonical);
			/* that member's wallet has moved on since: its own past is asked */
			UnpackBalanceDatum(PG_GETARG_DATUM(0), &balance);
		}
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}

	FoldPast(PG_GETARG_INT64(1), code,
			 MeansNow(as_of) ? TIMESTAMP_INFINITY : as_of, known_at, &balance, NULL);
	PG_RETURN_POINTER(PackBalanceValue(&balance));
}

/*
 * asked_instant(balance, as_of)
 */
PG_FUNCTION_INFO_V1(loyalty_asked_instant);
Datum
loyalty_asked_instant(PG_FUNCTION_ARGS)
{
	TimestampTz as_of;
	Balance		balance;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	as_of = PG_GETARG_TIMESTAMPTZ(1);
	if (MeansNow(as_of))
	{
		PG_GETARG_BALANCE(0, &balance);
		as_of = Max(as_of, balance.last_effective_at);
	}
	PG_RETURN_TIMESTAMPTZ(as_of);
}

/*
 * summarize(balance, as_of): a row of type balance_summary.
 */
PG_FUNCTION_INFO_V1(loyalty_summarize);
Datum
loyalty_summarize(PG_FUNCTION_ARGS)
{
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);
	TupleDesc	tupdesc;
	Datum		values[15];
	bool		nulls[15] = {false};
	HeapTuple	row;
	Balance		balance;
	BalanceAsOf sums;
	int			n = 0;

	PG_GETARG_BALANCE(0, &balance);
	if (MeansNow(as_of))
		as_of = Max(as_of, balance.last_effective_at);
	CheckAsOf(&balance, as_of);
	BalanceAt(&balance, as_of, &sums);

	values[n++] = Int64GetDatum(sums.available);
	values[n++] = Int64GetDatum(sums.pending);
	values[n++] = Int64GetDatum(sums.held);
	values[n++] = Int64GetDatum(balance.total[TOTAL_DEBT]);
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
	/* the only one that may be NULL is the last: what is behind a NULL is found slowly */
	nulls[n] = sums.next_expiry_at == TIMESTAMP_INFINITY;
	values[n++] = TimestampTzGetDatum(sums.next_expiry_at);

	tupdesc = lookup_rowtype_tupdesc(get_func_rettype(fcinfo->flinfo->fn_oid), -1);
	row = heap_form_tuple(tupdesc, values, nulls);
	ReleaseTupleDesc(tupdesc);
	return HeapTupleGetDatum(row);
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
