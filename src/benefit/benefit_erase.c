/*
 * benefit_erase.c
 *		Texts about a member who is forgotten, out of tables that are append-only.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"

#include "ledger/post.h"

#define ERASE(what) {.query = what, .nargs = 1, .argtypes = {INT8ARRAYOID}}

static KeptPlan erasures[] = {
	ERASE("UPDATE loyalty.coupon_act a SET reference = NULL, basket = CASE WHEN a.basket IS NOT NULL THEN '' END "
		  "WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND (a.reference IS NOT NULL OR a.basket OPERATOR(pg_catalog.<>) '')"),
	ERASE("UPDATE loyalty.entitlement_act a SET reference = NULL "
		  "WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.reference IS NOT NULL"),
	ERASE("UPDATE loyalty.reward_act a SET reference = NULL "
		  "WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.reference IS NOT NULL"),
	ERASE("UPDATE loyalty.gift_claim a SET reference = NULL "
		  "WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.reference IS NOT NULL")
};

/*
 * erase_benefit_texts(member_ids bigint[]) -> bigint
 */
PG_FUNCTION_INFO_V1(loyalty_erase_benefit_texts);
Datum
loyalty_erase_benefit_texts(PG_FUNCTION_ARGS)
{
	Datum		members = PG_GETARG_DATUM(0);
	int64		erased = 0;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireOwner();
	RequireWritable();
	for (size_t i = 0; i < lengthof(erasures); i++)
		erased += RunErasure(&erasures[i], &members);
	SPI_finish();
	PG_RETURN_INT64(erased);
}
