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

#include "access/tupdesc.h"
#include "access/xact.h"
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
	KeptPlan	statement;

	/* entries of the present member to tell of */
	MemoryContext context;
	PostedEntry *posted;
	int			nposted;
	int			posted_size;
	int			nstored;		/* the first ones, whose rows are in the ledger */
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

	insert->desc = CreateTemplateTupleDesc(LEDGER_NCOLUMNS);
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
		TupleDescInitEntry(insert->desc, i + 1, LedgerColumnName(i), LedgerColumnType(i), -1, 0);
	insert->gathered = tuplestore_begin_heap(false, false, work_mem);

	insert->context = AllocSetContextCreate(CurrentMemoryContext, "loyalty entries to tell of", ALLOCSET_DEFAULT_SIZES);

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
 * Notes what is to be told of a posting once its row is in the ledger.
 */
static void
NotePosted(LedgerInsert *insert, const Posting *posting)
{
	MemoryContext old;
	PostedEntry *entry;

	if (!AnyoneWants(posting->row.currency))
		return;
	old = MemoryContextSwitchTo(insert->context);
	if (insert->nposted == insert->posted_size)
	{
		insert->posted_size = Max(64, insert->posted_size * 2);
		insert->posted = insert->posted ?
			repalloc_huge(insert->posted, insert->posted_size * sizeof(PostedEntry)) :
			palloc(insert->posted_size * sizeof(PostedEntry));
	}
	entry = &insert->posted[insert->nposted++];
	DescribePosted(posting, entry);
	entry->currency = pstrdup(entry->currency);
	MemoryContextSwitchTo(old);
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
	NotePosted(insert, posting);
	if (++insert->count >= BATCH_ROWS)
		FlushLedgerRows(insert);
}

/*
 * All rows of a member have been added, and all its wallets are locked.  Who is
 * told of its entries may lock its state rows, which come before the next
 * member's wallets.
 */
void
EndMemberRows(LedgerInsert *insert)
{
	if (insert->nposted == 0)
		return;
	FlushLedgerRows(insert);
	for (int i = 0; i < insert->nposted; i++)
	{
		CHECK_FOR_INTERRUPTS();
		TellOfEntry(&insert->posted[i]);
	}
	MemoryContextReset(insert->context);
	insert->posted = NULL;
	insert->nposted = insert->posted_size = insert->nstored = 0;
}

/*
 * Puts the rows that were added into the ledger.
 */
void
FlushLedgerRows(LedgerInsert *insert)
{
	if (insert->count == 0)
		return;
	CommandCounterIncrement();
	for (; insert->nstored < insert->nposted; insert->nstored++)
		insert->posted[insert->nstored].command = GetCurrentCommandId(false);
	RunGuarded(&insert->statement, NULL, NULL, NULL);
	tuplestore_clear(insert->gathered);
	insert->count = 0;
}
