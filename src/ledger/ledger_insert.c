/*
 * ledger_insert.c
 *		Many rows at once into the ledger, as backfill() gathers them.
 *
 * Rows go in by INSERT ... SELECT from a tuplestore, in batches, so that
 * triggers, row-level security, rules, partitions and further columns of the
 * ledger work as ever.  They are gathered in the order of the table, and so
 * stored as they are, without being taken apart.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tupdesc.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "ledger/ledger_insert.h"

#define GATHERED	"loyalty_gathered_entries"
#define BATCH_ROWS	10000

struct LedgerInsert
{
	Tuplestorestate *gathered;
	TupleDesc	desc;			/* of the ledger's columns */
	int			count;			/* rows gathered */
	bool		by_member;		/* a member's rows at once, before the next's */
	KeptPlan	statement;
};

/*
 * Sets up the place where rows are gathered, and the statement that inserts
 * them from there.  Needs an SPI connection, and lives as long as it.
 */
LedgerInsert *
BeginLedgerInsert(void)
{
	LedgerInsert *insert = palloc0(sizeof(LedgerInsert));
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	Relation	ledger;

	insert->desc = CreateTemplateTupleDesc(LEDGER_NCOLUMNS);
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
		TupleDescInitEntry(insert->desc, i + 1, LedgerColumnName(i), LedgerColumnType(i), -1, 0);
	insert->gathered = tuplestore_begin_heap(false, false, work_mem);

	/*
	 * A trigger that fires after each row may take more locks (tiers).
	 * Postings take those of a member after all of its wallets, and before
	 * the next member's.
	 */
	ledger = table_open(LoyaltyTable("ledger"), AccessShareLock);
	insert->by_member = ledger->trigdesc != NULL && ledger->trigdesc->trig_insert_after_row;
	table_close(ledger, NoLock);

	enr->md.name = GATHERED;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = insert->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = BATCH_ROWS;
	enr->reldata = insert->gathered;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the gathered entries");

	insert->statement.query = psprintf("INSERT INTO loyalty.ledger (%s) SELECT %s FROM " GATHERED,
									   LedgerColumnList(), LedgerColumnList());
	insert->statement.plan = SPI_prepare(insert->statement.query, 0, NULL);
	if (insert->statement.plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return insert;
}

/*
 * Adds the row of a posting; it is in the ledger after the next flush.
 */
void
AddLedgerRow(LedgerInsert *insert, Posting *posting)
{
	Datum		values[LEDGER_NCOLUMNS];
	bool		nulls[LEDGER_NCOLUMNS];

	LedgerRowValues(posting, values, nulls);
	tuplestore_putvalues(insert->gathered, insert->desc, values, nulls);
	if (++insert->count >= BATCH_ROWS && !insert->by_member)
		FlushLedgerRows(insert);
}

/*
 * All rows of a member have been added.
 */
void
EndMemberRows(LedgerInsert *insert)
{
	if (insert->by_member)
		FlushLedgerRows(insert);
}

/*
 * Puts the rows that were added into the ledger.
 */
void
FlushLedgerRows(LedgerInsert *insert)
{
	if (insert->count == 0)
		return;
	RunGuarded(&insert->statement, NULL, NULL, NULL);
	tuplestore_clear(insert->gathered);
	insert->count = 0;
}
