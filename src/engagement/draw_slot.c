/*
 * draw_slot.c
 *		Places of decks: what is left of them is an escrow, so that those who draw
 *		at the same time take from different slots.  Slot k has the places k,
 *		k + ESCROW_SLOTS and so on.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "core/core.h"
#include "core/escrow.h"

/*
 * take_place(name text) -> bigint: a place that nobody has, from 0; NULL where
 * all are taken
 */
PG_FUNCTION_INFO_V1(loyalty_take_place);
Datum
loyalty_take_place(PG_FUNCTION_ARGS)
{
	int			slot = 0;
	int64		place = 0;
	bool		found;

	RequireOwner();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	found = DrawFromEscrow(text_to_cstring(PG_GETARG_TEXT_PP(0)), &slot, &place);
	SPI_finish();
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_INT64(slot + ESCROW_SLOTS * (place - 1));
}
