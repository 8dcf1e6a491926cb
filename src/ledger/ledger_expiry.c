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
 * entry.  Returns the points booked; 0 when there was nothing to do.
 */
PG_FUNCTION_INFO_V1(loyalty_book_expiry);
Datum
loyalty_book_expiry(PG_FUNCTION_ARGS)
{
	Posting		posting;

	InitPosting(&posting, ENTRY_EXPIRE, PG_GETARG_INT64(0));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	FindCurrency(text_to_cstring(PG_GETARG_TEXT_PP(1)), &posting.currency);
	posting.this_wallet = true;
	posting.effective_now = false;
	posting.entry.effective_at = PG_GETARG_TIMESTAMPTZ(2);
	PostEntry(&posting);
	SPI_finish();
	PG_RETURN_INT64(posting.nothing_to_do ? 0 : posting.entry.requested);
}
