/*
 * ledger_apart.c
 *		Halves of a transfer between members whose wallets are on two machines.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"
#include "ledger/wallet.h"

/*
 * A posting of one of the two: member, other one, points, currency.
 */
static void
BeginHalf(FunctionCallInfo fcinfo, Posting *posting, EntryKind kind, const char *own, const char *other)
{
	RequireArgument(fcinfo, 0, own);
	RequireArgument(fcinfo, 1, other);
	RequireArgument(fcinfo, 2, "points");
	RequireArgument(fcinfo, 3, "currency");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	InitPosting(posting, kind, PG_GETARG_INT64(0));
	posting->counterparty_id = PG_GETARG_INT64(1);
	posting->entry.requested = WholePoints(PG_GETARG_DATUM(2));
	FindCurrency(text_to_cstring(PG_GETARG_TEXT_PP(3)), &posting->currency);
}

/*
 * take_wallet(member_id bigint, currency text) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_take_wallet);
Datum
loyalty_take_wallet(PG_FUNCTION_ARGS)
{
	Posting		posting;

	RequireArgument(fcinfo, 0, "member_id");
	RequireArgument(fcinfo, 1, "currency");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	InitPosting(&posting, ENTRY_TRANSFER_IN, PG_GETARG_INT64(0));
	FindCurrency(text_to_cstring(PG_GETARG_TEXT_PP(1)), &posting.currency);
	SendPosting(&posting, CanonicalMember(posting.asked_id));
	TakeWallet(&posting);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * post_transfer_out(member_id, to_member_id, points, currency, effective_at,
 * reference, idempotency_key, details) -> (entry_id, available, replayed,
 * happened_at, lots); effective_at NULL is now.
 */
PG_FUNCTION_INFO_V1(loyalty_post_transfer_out);
Datum
loyalty_post_transfer_out(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	TupleDesc	tupdesc;
	Posting		out;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	BeginHalf(fcinfo, &out, ENTRY_TRANSFER_OUT, "from_member_id", "to_member_id");
	out.effective_now = PG_ARGISNULL(4);
	if (!out.effective_now)
		out.entry.effective_at = PG_GETARG_TIMESTAMPTZ(4);
	out.reference = TextArgument(fcinfo, 5);
	out.idempotency_key = TextArgument(fcinfo, 6);
	out.details = PG_ARGISNULL(7) ? 0 : PG_GETARG_DATUM(7);
	PostEntry(&out);

	values[0] = Int64GetDatum(out.result.entry_id);
	values[1] = Int64GetDatum(out.result.available);
	values[2] = BoolGetDatum(out.result.outcome == POSTING_REPLAYED);
	values[3] = TimestampTzGetDatum(out.entry.effective_at);
	nulls[3] = nulls[4] = out.result.outcome == POSTING_REPLAYED;
	/* outlives the SPI connection */
	(void) MemoryContextSwitchTo(context);
	values[4] = nulls[4] ? (Datum) 0 : PointerGetDatum(PackLotsValue(&out.entry.touched));
	SPI_finish();
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/*
 * post_transfer_in(member_id, from_member_id, points, currency, effective_at,
 * is_now, reference, details, lots) -> bigint, its entry
 */
PG_FUNCTION_INFO_V1(loyalty_post_transfer_in);
Datum
loyalty_post_transfer_in(PG_FUNCTION_ARGS)
{
	Posting		in;
	LotList		lots;

	RequireArgument(fcinfo, 4, "effective_at");
	RequireArgument(fcinfo, 5, "is_now");
	RequireArgument(fcinfo, 8, "lots");
	BeginHalf(fcinfo, &in, ENTRY_TRANSFER_IN, "to_member_id", "from_member_id");
	in.entry.effective_at = PG_GETARG_TIMESTAMPTZ(4);
	in.effective_now = PG_GETARG_BOOL(5);
	in.reference = TextArgument(fcinfo, 6);
	in.details = PG_ARGISNULL(7) ? 0 : PG_GETARG_DATUM(7);
	UnpackLotsDatum(PG_GETARG_DATUM(8), &lots);
	if (SumLots(&lots) != in.entry.requested)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("lots have " INT64_FORMAT " points, and not " INT64_FORMAT, SumLots(&lots), in.entry.requested),
				 errdetail("What arrives is what was sent."),
				 errhint("Call loyalty.transfer().")));
	in.entry.given = &lots;
	PostEntry(&in);
	SPI_finish();
	PG_RETURN_INT64(in.result.entry_id);
}
