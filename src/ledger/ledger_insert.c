/*
 * ledger_insert.c
 *		Many rows at once into the ledger, as backfill() gathers them.
 *
 * Rows are gathered in batches.  Where the ledger is plain they go in by table
 * access, page by page; elsewhere by INSERT ... SELECT from a tuplestore, so
 * that triggers, row-level security, rules, partitions and further columns of
 * the ledger work as ever.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "core/plain.h"
#include "ledger/ledger_insert.h"

#define GATHERED	"loyalty_gathered_entries"
#define BATCH_ROWS	10000

/* A few pages of them: what has just been written is still at hand */
#define PLAIN_ROWS	256

struct LedgerInsert
{
	bool		begun;
	int64		member_id;		/* whose rows come in now */

	/* by table access */
	bool		plain;			/* the table is open */
	PlainAccess ledger;
	MemoryContext context;
	HeapTuple	rows[PLAIN_ROWS];
	int			nrows;

	/* by the statement */
	TupleDesc	desc;			/* of the ledger's columns */
	Tuplestorestate *gathered;
	int			count;			/* rows gathered */
	KeptPlan	statement;

	/* entries of the present member to tell of */
	MemoryContext posted_context;
	PostedEntry *posted;
	int			nposted;
	int			posted_size;
	int			nstored;		/* the first ones, whose rows are in the ledger */
};

/*
 * Sets up the place where rows are gathered, and the statement that inserts
 * them.  Needs an SPI connection, and lives as long as it.
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

	/* so large that it is not given back to the system each time it is emptied */
	insert->context = AllocSetContextCreate(CurrentMemoryContext, "loyalty gathered entries",
											1024 * 1024, 1024 * 1024, ALLOCSET_DEFAULT_MAXSIZE);
	insert->posted_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty entries to tell of", ALLOCSET_DEFAULT_SIZES);

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
	old = MemoryContextSwitchTo(insert->posted_context);
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
 * Opens the table that has the rows of a member, if it is plain.
 */
static void
BeginMemberRows(LedgerInsert *insert, int64 member_id)
{
	insert->begun = true;
	insert->member_id = member_id;
	if (insert->plain)
	{
		if (HasPlainRowsOf(&insert->ledger, member_id))
			return;
		FlushLedgerRows(insert);
		ClosePlain(&insert->ledger);
	}
	insert->plain = OpenPlain(&insert->ledger, &ledger_table, member_id, PLAIN_WRITE);
}

/*
 * Adds the row of a posting; it is in the ledger after the next flush.
 */
void
AddLedgerRow(LedgerInsert *insert, Posting *posting)
{
	Datum		values[LEDGER_NCOLUMNS];
	bool		nulls[LEDGER_NCOLUMNS];

	if (!insert->begun || insert->member_id != posting->row.member_id)
		BeginMemberRows(insert, posting->row.member_id);
	LedgerRowValues(posting, values, nulls);
	if (insert->plain)
	{
		MemoryContext old = MemoryContextSwitchTo(insert->context);

		insert->rows[insert->nrows++] = FormPlainRow(&insert->ledger, values, nulls);
		MemoryContextSwitchTo(old);
	}
	else
	{
		tuplestore_putvalues(insert->gathered, insert->desc, values, nulls);
		insert->count++;
	}
	NotePosted(insert, posting);
	if (insert->nrows == PLAIN_ROWS || insert->count == BATCH_ROWS)
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
	MemoryContextReset(insert->posted_context);
	insert->posted = NULL;
	insert->nposted = insert->posted_size = insert->nstored = 0;
}

/*
 * In the handler of an error: throws it on, and says what to do where a key was
 * used before.
 */
static void
RethrowUsedKey(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || error->constraint_name == NULL ||
		strstr(error->constraint_name, "idempotency_key") == NULL)
		PG_RE_THROW();
	FlushErrorState();
	error->hint = pstrdup(USED_KEY_HINT);
	ReThrowError(error);
}

/*
 * Puts the rows that were added into the ledger.
 */
void
FlushLedgerRows(LedgerInsert *insert)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	int			at;

	/* entries that are told of are of one member, and all wait in one place */
	CommandCounterIncrement();
	for (; insert->nstored < insert->nposted; insert->nstored++)
		insert->posted[insert->nstored].command = GetCurrentCommandId(false);
	PG_TRY();
	{
		if (insert->nrows > 0)
		{
			old = MemoryContextSwitchTo(insert->context);
			InsertPlainRows(&insert->ledger, insert->nrows, insert->rows, &at);
			MemoryContextSwitchTo(old);
			MemoryContextReset(insert->context);
			insert->nrows = 0;
		}
		if (insert->count > 0)
		{
			RunGuarded(&insert->statement, NULL, NULL, NULL);
			tuplestore_clear(insert->gathered);
			insert->count = 0;
		}
	}
	PG_CATCH();
	{
		RethrowUsedKey(context);
	}
	PG_END_TRY();
	CommandCounterIncrement();
}

/*
 * All rows have been added.
 */
void
EndLedgerInsert(LedgerInsert *insert)
{
	FlushLedgerRows(insert);
	if (insert->plain)
		ClosePlain(&insert->ledger);
}
