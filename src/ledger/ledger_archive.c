/*
 * ledger_archive.c
 *		Moving old entries into the archive.
 *
 * ledger_archive has the columns of the ledger.  An entry that is moved there
 * is, hash and all, what it was: whoever reads entries reads both tables, by
 * all_entries(), so that balances as of the past, statements, reversals, tiers,
 * awards, checks and digests answer as before.  Who gains is who posts: the
 * ledger and its indexes stay small, and the archive can have another
 * tablespace, partitions, compression, and a dump of its own.
 *
 * Only the index of keys does not reach that far.  A wallet with archived
 * entries is marked, and a key for it is looked for in both tables.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/post.h"

/*
 * "member_id, entry_id, ...": the columns of the ledger, those that users have
 * added included, which the archive must have, too.
 */
static char *
ColumnsToMove(void)
{
	Relation	ledger = OpenLoyaltyTable("ledger", RowExclusiveLock);
	Relation	archive = OpenLoyaltyTable("ledger_archive", RowExclusiveLock);
	TupleDesc	tupdesc = RelationGetDescr(ledger);
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (att->attisdropped || att->attgenerated)
			continue;
		if (SPI_fnumber(RelationGetDescr(archive), NameStr(att->attname)) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("the archive has no column \"%s\"", NameStr(att->attname)),
					 errdetail("The ledger has it, and entries are moved whole."),
					 errhint("Add it by ALTER TABLE loyalty.ledger_archive.")));
		appendStringInfo(&columns, "%s%s", columns.len > 0 ? ", " : "", quote_identifier(NameStr(att->attname)));
	}
	table_close(archive, NoLock);
	table_close(ledger, NoLock);
	return columns.data;
}

/*
 * archive_entries_of(member_ids bigint[], before timestamptz, scope text) -> bigint
 *
 * Moves the entries of members that were recorded before an instant, under the
 * locks of their wallets.  Returns how many.
 */
PG_FUNCTION_INFO_V1(loyalty_archive_entries_of);
Datum
loyalty_archive_entries_of(PG_FUNCTION_ARGS)
{
	static KeptPlan lock = {
		.query = "SELECT FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"ORDER BY member_id, currency COLLATE pg_catalog.\"C\" FOR NO KEY UPDATE",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};

	/* all of them, marked or not: who looked for a key before looks again */
	static KeptPlan mark = {
		.query = "UPDATE loyalty.wallet w SET archived = true WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND EXISTS (SELECT FROM loyalty.ledger e WHERE e.member_id OPERATOR(pg_catalog.=) w.member_id "
		"AND e.currency OPERATOR(pg_catalog.=) w.currency AND e.recorded_at OPERATOR(pg_catalog.<) $2)",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	char	   *columns;
	int64		moved;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireOwner();
	RequireWritable();
	RunPlan(&lock, values, NULL, 0);
	RunGuarded(&mark, values, NULL, NULL);
	columns = ColumnsToMove();
	moved = RunArchiving(psprintf("WITH moved AS (DELETE FROM loyalty.ledger WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
								  "AND recorded_at OPERATOR(pg_catalog.<) $2 RETURNING %s) "
								  "INSERT INTO loyalty.ledger_archive (%s) SELECT %s FROM moved",
								  columns, columns, columns), values[0], values[1]);
	SPI_finish();
	PG_RETURN_INT64(moved);
}
