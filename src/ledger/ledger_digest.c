/*
 * ledger_digest.c
 *		ledger_digest() and block_digests(): a value to keep outside, against
 *		which the ledger can be checked later.
 *
 * A chain per wallet shows that an entry was edited, but not that a wallet or
 * the end of one was removed, nor that a chain was written anew from some
 * entry on.  The digest does: it is the SHA-256 over the hashes of all entries
 * up to a horizon, in the order of their ids, taken in blocks of ids so that a
 * difference can be located.
 *
 * The horizon is an id.  Ids are drawn by transactions that hold a lock on the
 * wallets (every posting updates one first), so: read how far the sequence
 * is, wait for all transactions that hold such a lock at that moment, as
 * CREATE INDEX CONCURRENTLY does, then read with a new snapshot.  Every id up
 * to the horizon is then committed or will never be; a transaction that
 * commits late has been waited for, and nobody was blocked.  Unlike
 * transaction ids, entry ids survive dump and restore.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "common/cryptohash.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/post.h"

#define FETCH_ROWS	10000
#define MACHINES	1024

static LOCKTAG *
LockOf(Oid relid)
{
	LOCKTAG    *tag = palloc(sizeof(LOCKTAG));

	SET_LOCKTAG_RELATION(*tag, MyDatabaseId, relid);
	return tag;
}

/*
 * Of tables that are spread, whoever posts locks what this machine has of the
 * wallets.
 */
static List *
LocksOfParts(List *locks)
{
	static const char query[] =
		"SELECT pg_catalog.to_regclass(pg_catalog.shard_name(s.logicalrelid, s.shardid)) FROM pg_catalog.pg_dist_shard s "
		"JOIN pg_catalog.pg_dist_placement p ON p.shardid OPERATOR(pg_catalog.=) s.shardid "
		"JOIN pg_catalog.pg_dist_local_group l ON l.groupid OPERATOR(pg_catalog.=) p.groupid "
		"WHERE s.logicalrelid OPERATOR(pg_catalog.=) 'loyalty.wallet'::pg_catalog.regclass";

	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" failed", query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		relid = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			locks = lappend(locks, LockOf(DatumGetObjectId(relid)));
	}
	return locks;
}

/*
 * settled_entry_id(): the horizon, an id such that whatever will ever be
 * recorded up to it is recorded and visible to the next statement.
 */
PG_FUNCTION_INFO_V1(loyalty_settled_entry_id);
Datum
loyalty_settled_entry_id(PG_FUNCTION_ARGS)
{
	int64		horizon;
	List	   *locks = NIL;

	(void) fcinfo;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("what is settled can only be told in READ COMMITTED"),
				 errdetail("It has to be seen what other transactions commit while they are waited for."),
				 errhint("Repeat it in a transaction of this isolation level.")));
	horizon = LastDrawnEntryId();

	locks = lappend(locks, LockOf(LoyaltyTable("wallet")));
	if (TablesAreSpread())
		locks = LocksOfParts(locks);
	WaitForLockersMultiple(locks, ShareLock, false);
	SPI_finish();
	PG_RETURN_INT64(horizon);
}

/* A block of ids that is being hashed */
typedef struct HashBlock
{
	pg_cryptohash_ctx *ctx;
	ReturnSetInfo *rsinfo;		/* where digests go */
	int64		number;
	int64		count;			/* entries in it so far */
} HashBlock;

/*
 * Returns the digest of a block, unless it has no entries.
 */
static void
CloseBlock(HashBlock *block)
{
	Datum		values[3];
	bool		nulls[3] = {false};
	bytea	   *digest;

	if (block->count == 0)
		return;
	digest = palloc(VARHDRSZ + CHAIN_LENGTH);
	SET_VARSIZE(digest, VARHDRSZ + CHAIN_LENGTH);
	if (pg_cryptohash_final(block->ctx, (uint8 *) VARDATA(digest), CHAIN_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(block->ctx));
	values[0] = Int64GetDatum(block->number);
	values[1] = Int64GetDatum(block->count);
	values[2] = PointerGetDatum(digest);
	tuplestore_putvalues(block->rsinfo->setResult, block->rsinfo->setDesc, values, nulls);
	block->count = 0;
}

/*
 * Adds an entry to a block, which is opened by its first.
 */
static void
AddToBlock(HashBlock *block, int64 number, int64 member_id, int64 entry_id, bytea *hash)
{
	Preimage	preimage;

	if (block->count == 0)
	{
		if (pg_cryptohash_init(block->ctx) < 0)
			elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(block->ctx));
		block->number = number;
	}
	PreimageInit(&preimage, 1);
	PreimageInt(&preimage, member_id);
	PreimageInt(&preimage, entry_id);
	PreimageBytes(&preimage, VARDATA_ANY(hash), VARSIZE_ANY_EXHDR(hash));
	if (pg_cryptohash_update(block->ctx, (uint8 *) preimage.data, preimage.used) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(block->ctx));
	pfree(preimage.data);
	block->count++;
}

/* An array with an id for each machine that may have drawn it; NULL: no bound */
const int64 *
HorizonsArgument(FunctionCallInfo fcinfo, int n)
{
	ArrayType  *array;

	if (PG_ARGISNULL(n))
		return NULL;
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != MACHINES || ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("horizons must be %d ids", MACHINES),
				 errdetail("The array has another size or dimension, or a NULL."),
				 errhint("Each is of the ids with one remainder when divided by %d.", MACHINES)));
	return (const int64 *) ARR_DATA_PTR(array);
}

/*
 * Whether an entry is not beyond what is settled on the machine that drew it.
 */
bool
IsSettled(const int64 *horizons, int64 entry_id)
{
	return horizons == NULL || entry_id <= horizons[entry_id % MACHINES];
}

/*
 * block_digests(after, up_to, width, behind, ahead, low, high): the SHA-256 of
 * each block of width ids, the first of which begins after the id given, as far
 * as up_to; blocks without entries are left out.  behind, ahead: only entries that
 * lie beyond the one and not beyond the other, of the machine that drew them; low
 * and high: of members whose hash is from the one to the other; NULL: of all.
 * Reads with a snapshot of its own, as verify_chain() does.
 */
PG_FUNCTION_INFO_V1(loyalty_block_digests);
Datum
loyalty_block_digests(PG_FUNCTION_ARGS)
{
	int64		after = PG_GETARG_INT64(0);
	int64		up_to = PG_GETARG_INT64(1);
	int64		width = PG_GETARG_INT64(2);
	const int64 *behind = HorizonsArgument(fcinfo, 3);
	const int64 *ahead = HorizonsArgument(fcinfo, 4);
	bool		of_all = PG_ARGISNULL(5) || PG_ARGISNULL(6);
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		bounds[2] = {Int64GetDatum(after), Int64GetDatum(up_to)};
	HashBlock	block = {.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	SPIPlanPtr	plan;
	Portal		portal;

	InitReturnSet(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;
	if (width <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("width of a block must be positive"),
				 errdetail("It is " INT64_FORMAT ".", width),
				 errhint("Give the number of ids in a block.")));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare_cursor(OverEntries("SELECT member_id, entry_id, hash FROM loyalty.all_entries() "
										  "WHERE entry_id OPERATOR(pg_catalog.>) $1 "
										  "AND entry_id OPERATOR(pg_catalog.<=) $2 "
										  "ORDER BY entry_id, member_id"), 2, types, 0);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	PushActiveSnapshot(GetLatestSnapshot());
	portal = SPI_cursor_open(NULL, plan, bounds, NULL, true);
	block.ctx = pg_cryptohash_create(PG_SHA256);

	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			Datum		values[3];
			bool		nulls[3];
			int64		entry_id;
			int64		number;

			heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
			entry_id = DatumGetInt64(values[1]);
			if (!IsSettled(ahead, entry_id) || (behind != NULL && IsSettled(behind, entry_id)))
				continue;
			if (!of_all)
			{
				int32		hash = DatumGetInt32(DirectFunctionCall1(hashint8, values[0]));

				if (hash < PG_GETARG_INT32(5) || hash > PG_GETARG_INT32(6))
					continue;
			}
			number = (entry_id - after - 1) / width;
			if (number != block.number)
				CloseBlock(&block);
			AddToBlock(&block, number, DatumGetInt64(values[0]), entry_id, DatumGetByteaPP(values[2]));
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	CloseBlock(&block);
	pg_cryptohash_free(block.ctx);
	SPI_cursor_close(portal);
	PopActiveSnapshot();
	SPI_finish();
	return (Datum) 0;
}
