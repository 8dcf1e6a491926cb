/*
 * match_erase.c
 *		What is erased of members who are forgotten.
 */
#include "postgres.h"

#include "fmgr.h"

#include "core/core.h"
#include "ledger/post.h"

/*
 * erase_match_texts(member_ids bigint[]) -> bigint
 *		Erases reasons of decisions about members, and the evidence of their
 *		merges; returns of how many.
 */
PG_FUNCTION_INFO_V1(loyalty_erase_match_texts);
Datum
loyalty_erase_match_texts(PG_FUNCTION_ARGS)
{
	static KeptPlan reviews = {
		.query = "UPDATE loyalty.match_review r SET reason = NULL "
		"WHERE (r.member_id OPERATOR(pg_catalog.=) ANY ($1) OR r.other_id OPERATOR(pg_catalog.=) ANY ($1)) AND r.reason IS NOT NULL",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	static KeptPlan links = {
		.query = "UPDATE loyalty.match_link l SET parts = NULL "
		"WHERE (l.member_id OPERATOR(pg_catalog.=) ANY ($1) OR l.other_id OPERATOR(pg_catalog.=) ANY ($1)) AND l.parts IS NOT NULL",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		members = PG_GETARG_DATUM(0);
	int64		erased;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireOwner();
	RequireWritable();
	erased = RunErasure(&reviews, &members);
	erased += RunErasure(&links, &members);
	SPI_finish();
	PG_RETURN_INT64(erased);
}
