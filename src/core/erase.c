/*
 * erase.c
 *		Rows of forgotten members, erased by the rooms that keep them.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "core/core.h"

/*
 * erase_rows(statement text, member_ids bigint[]) -> bigint
 *
 * Runs a statement of members ($1) on all rows that are committed, and returns
 * how many it changed.
 */
PG_FUNCTION_INFO_V1(loyalty_erase_rows);
Datum
loyalty_erase_rows(PG_FUNCTION_ARGS)
{
	KeptPlan	erase = {.nargs = 1, .argtypes = {INT8ARRAYOID}};
	Datum		members;
	int64		erased;

	RequireOwner();
	RequireWritable();
	RequireArgument(fcinfo, 0, "statement");
	RequireArgument(fcinfo, 1, "member_ids");
	erase.query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	members = PG_GETARG_DATUM(1);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlanOnCommitted(&erase, &members);
	erased = (int64) SPI_processed;
	SPI_freeplan(erase.plan);
	SPI_finish();
	PG_RETURN_INT64(erased);
}
