/*
 * ledger_expiry.c
 *		Booking what has expired, for the accountants.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"

/*
 * book_expiry(member_id, currency, as_of): books what has expired by as_of and
 * was not booked yet, or takes back what was booked too much after a late
 * entry.  Returns the points booked; 0 when there was nothing to do, as where
 * there is no wallet.
 */
PG_FUNCTION_INFO_V1(loyalty_book_expiry);
Datum
loyalty_book_expiry(PG_FUNCTION_ARGS)
{
	Posting		posting;
	TimestampTz as_of;

	RequireArgument(fcinfo, 0, "member_id");
	RequireArgument(fcinfo, 1, "currency");
	RequireArgument(fcinfo, 2, "as_of");
	as_of = PG_GETARG_TIMESTAMPTZ(2);
	if (TIMESTAMP_NOT_FINITE(as_of) || as_of > GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("as_of must be a finite instant that is not in the future"),
				 errdetail("It is %s.", TimestampText(as_of)),
				 errhint("Only what has expired already can be booked.")));

	InitPosting(&posting, ENTRY_EXPIRE, PG_GETARG_INT64(0));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	FindCurrency(text_to_cstring(PG_GETARG_TEXT_PP(1)), &posting.currency);
	posting.this_wallet = true;
	posting.effective_now = false;
	posting.entry.effective_at = as_of;
	PostEntry(&posting);
	SPI_finish();
	PG_RETURN_INT64(posting.result.outcome == POSTING_NOTHING ? 0 : posting.entry.requested);
}
