/*
 * ledger_erase.c
 *		Erasing what entries say of a person: see chain.h for how the chain
 *		stays whole.
 *
 * What is erased of an entry: reference, reason, details, idempotency_key and
 * fingerprint, all at once, and the salt.  Who, when and how many points stay.
 *
 * With the keys it is lost which calls were made.  So that none is made a
 * second time, the wallets of the member are marked: there a key that is not
 * found is refused (LY115), and rows with award_points() post no more.  The
 * mark is read with the wallet by its own UPDATE and costs nothing elsewhere.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "core/compat.h"
#include "core/core.h"
#include "ledger/chain.h"
#include "ledger/post.h"

/*
 * texts_hash(salt bytea, reference text, reason text, details jsonb,
 * idempotency_key text, fingerprint bytea) -> bytea, NULL without texts.
 */
PG_FUNCTION_INFO_V1(loyalty_texts_hash);
Datum
loyalty_texts_hash(PG_FUNCTION_ARGS)
{
	LedgerRow	row = {0};
	bytea	   *hash;

	if (!PG_ARGISNULL(0))
		row.salt = PG_GETARG_BYTEA_PP(0);
	if (!PG_ARGISNULL(1))
		row.reference = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(2))
		row.reason = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(3))
		row.details = JsonbToCString(NULL, &PG_GETARG_JSONB_P(3)->root, 0);
	if (!PG_ARGISNULL(4))
		row.idempotency_key = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (!PG_ARGISNULL(5))
		row.fingerprint = PG_GETARG_BYTEA_PP(5);
	HashTexts(&row);
	if (!row.has_texts)
		PG_RETURN_NULL();
	hash = palloc(VARHDRSZ + CHAIN_LENGTH);
	SET_VARSIZE(hash, VARHDRSZ + CHAIN_LENGTH);
	memcpy(VARDATA(hash), row.texts_hash, CHAIN_LENGTH);
	PG_RETURN_BYTEA_P(hash);
}

/*
 * mark_erased(member_ids bigint[]) -> bigint
 *
 * Locks all wallets of members, in the order of everybody, and marks them:
 * what is posted afterwards knows that keys are gone, and what was posted
 * before is seen by the next statement; or else, where the snapshot of the
 * transaction is too old for a wallet, it ends with 40001.  Returns how many.
 */
PG_FUNCTION_INFO_V1(loyalty_mark_erased);
Datum
loyalty_mark_erased(PG_FUNCTION_ARGS)
{
	static KeptPlan lock = {
		.query = "SELECT FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"ORDER BY member_id, currency COLLATE pg_catalog.\"C\" FOR NO KEY UPDATE",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	static KeptPlan mark = {
		.query = "UPDATE loyalty.wallet SET erased = true WHERE member_id OPERATOR(pg_catalog.=) ANY ($1)",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		members = PG_GETARG_DATUM(0);
	int64		locked;
	int64		marked;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireOwner();
	RequireWritable();
	RunPlanOnCommitted(&lock, &members);
	locked = (int64) SPI_processed;
	RunGuarded(&mark, &members, NULL, NULL);
	marked = (int64) SPI_processed;
	if (marked < locked)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errdetail("A wallet of the member was opened meanwhile."),
				 errhint("Repeat the transaction.")));
	SPI_finish();
	PG_RETURN_INT64(marked);
}

/*
 * erase_entries(member_ids bigint[], entry_ids bigint[]) -> bigint
 *
 * Erases the texts of entries, each named by the member in whose wallet it is
 * and its id.  Returns how many had any.
 */
PG_FUNCTION_INFO_V1(loyalty_erase_entries);
Datum
loyalty_erase_entries(PG_FUNCTION_ARGS)
{
#define ERASE(relation) \
	"UPDATE " relation " e SET texts_hash = loyalty.texts_hash(e.salt, e.reference, e.reason, " \
	"e.details, e.idempotency_key, e.fingerprint), salt = NULL, reference = NULL, reason = NULL, " \
	"details = NULL, idempotency_key = NULL, fingerprint = NULL " \
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) p (member_id, entry_id) " \
	"WHERE e.member_id OPERATOR(pg_catalog.=) p.member_id AND e.entry_id OPERATOR(pg_catalog.=) p.entry_id " \
	"AND e.salt IS NOT NULL"
	static KeptPlan in_ledger = {
		.query = ERASE("loyalty.ledger"),
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	static KeptPlan in_archive = {
		.query = ERASE("loyalty.ledger_archive"),
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	int64		erased;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireOwner();
	RequireWritable();
	erased = RunErasure(&in_ledger, values);
	erased += RunErasure(&in_archive, values);
	SPI_finish();
	PG_RETURN_INT64(erased);
}
