/*
 * ledger_insert.c
 *		Many rows at once into the ledger, as backfill() gathers them.
 *
 * Rows go in by INSERT ... SELECT from a tuplestore, in batches, so that
 * triggers, row-level security, rules and partitions of the ledger work as
 * ever.  Where the ledger is just the plain table that setup() made, with
 * whatever indexes and CHECK constraints, none of these can notice the
 * difference, and rows go in page by page instead, as COPY does it.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "ledger/ledger_insert.h"

#define GATHERED		"loyalty_gathered_entries"

/* How many rows a batch has */
#define STATEMENT_ROWS	10000
#define PAGE_ROWS		1000

struct LedgerInsert
{
	TupleDesc	desc;			/* of LEDGER_COLUMNS */
	int			count;			/* rows gathered */

	/* by statement */
	Tuplestorestate *gathered;
	KeptPlan	statement;

	/* page by page; rel is NULL otherwise */
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *target;
	BulkInsertState bulk;
	AttrNumber	column[LEDGER_NCOLUMNS];	/* of the table, from 0 */
	TupleTableSlot *slots[PAGE_ROWS];
};

/*
 * Whether a trigger other than our guard, which lets our own statements pass,
 * wants to know of an INSERT.
 */
static bool
HasInsertTrigger(Relation rel)
{
	Oid			guard = LookupFuncName(list_make2(makeString("loyalty"), makeString("guard")),
									   0, NULL, true);

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (TRIGGER_FOR_INSERT(trigger->tgtype) && trigger->tgfoid != guard)
			return true;
	}
	return false;
}

/*
 * Whether the ledger has our columns, and none besides that has to be computed
 * or filled in.  Says where they are.
 */
static bool
HasOurColumns(Relation rel, LedgerInsert *insert)
{
	TupleDesc	desc = RelationGetDescr(rel);

	if (desc->constr != NULL && (desc->constr->num_defval > 0 || desc->constr->has_generated_stored))
		return false;
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		int			attnum = SPI_fnumber(desc, NameStr(TupleDescAttr(insert->desc, i)->attname));

		if (attnum <= 0 || TupleDescAttr(desc, attnum - 1)->atttypid != TupleDescAttr(insert->desc, i)->atttypid)
			return false;
		insert->column[i] = attnum - 1;
	}
	return true;
}

/*
 * Whether an INSERT into the ledger does nothing but what we do when we insert
 * page by page: check constraints, store the rows, and index them.
 *
 * Whoever may not write the whole row, or is watched by a module that checks
 * permissions or distributes tables, is left to the statement as well.
 */
static bool
InsertIsPlain(Relation rel, LedgerInsert *insert)
{
	return rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rules == NULL &&
		!HasInsertTrigger(rel) &&
		HasOurColumns(rel, insert) &&
		check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED &&
		pg_class_aclcheck(RelationGetRelid(rel), GetUserId(), ACL_INSERT) == ACLCHECK_OK &&
		ExecutorCheckPerms_hook == NULL &&
		!XactReadOnly &&
		!OidIsValid(get_extension_oid("citus", true));
}

/*
 * Opens the ledger for writing page by page; false where that is not right.
 */
static bool
BeginPages(LedgerInsert *insert)
{
	Oid			relid = LoyaltyTable("ledger");
	Relation	rel;

	if (!OidIsValid(relid))
		return false;
	rel = table_open(relid, RowExclusiveLock);
	if (!InsertIsPlain(rel, insert))
	{
		table_close(rel, NoLock);
		return false;
	}
	insert->rel = rel;
	insert->estate = CreateExecutorState();
	insert->target = makeNode(ResultRelInfo);
	InitResultRelInfo(insert->target, rel, 0, NULL, 0);
	ExecOpenIndices(insert->target, false);
	insert->bulk = GetBulkInsertState();
	for (int i = 0; i < PAGE_ROWS; i++)
		insert->slots[i] = table_slot_create(rel, NULL);
	return true;
}

static void
BeginStatement(LedgerInsert *insert)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	insert->gathered = tuplestore_begin_heap(false, false, work_mem);
	enr->md.name = GATHERED;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = insert->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = STATEMENT_ROWS;
	enr->reldata = insert->gathered;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the gathered entries");

	insert->statement.query = "INSERT INTO loyalty.ledger (" LEDGER_COLUMNS ") "
		"SELECT " LEDGER_COLUMNS " FROM " GATHERED;
	insert->statement.plan = SPI_prepare(insert->statement.query, 0, NULL);
	if (insert->statement.plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
}

/*
 * Starts; needs an SPI connection, and lives as long as it.
 */
LedgerInsert *
BeginLedgerInsert(void)
{
	LedgerInsert *insert = palloc0(sizeof(LedgerInsert));

	if (SPI_execute("SELECT " LEDGER_COLUMNS " FROM loyalty.ledger LIMIT 0", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the ledger");
	insert->desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
	if (!BeginPages(insert))
		BeginStatement(insert);
	return insert;
}

static void
StoreInSlot(LedgerInsert *insert, TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		slot->tts_values[insert->column[i]] = values[i];
		slot->tts_isnull[insert->column[i]] = nulls[i];
	}
	ExecStoreVirtualTuple(slot);
	if (insert->rel->rd_att->constr != NULL)
		ExecConstraints(insert->target, slot, insert->estate);
	ExecMaterializeSlot(slot);
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
	if (insert->rel != NULL)
		StoreInSlot(insert, insert->slots[insert->count], values, nulls);
	else
		tuplestore_putvalues(insert->gathered, insert->desc, values, nulls);
	insert->count++;
	if (insert->count == (insert->rel != NULL ? PAGE_ROWS : STATEMENT_ROWS))
		FlushLedgerRows(insert);
}

static void
FlushPages(LedgerInsert *insert)
{
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(insert->estate));

	table_multi_insert(insert->rel, insert->slots, insert->count,
					   GetCurrentCommandId(true), 0, insert->bulk);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < insert->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ResetPerTupleExprContext(insert->estate);
		if (insert->target->ri_NumIndices > 0)
			InsertIndexTuples(insert->target, insert->slots[i], insert->estate);
		ExecClearTuple(insert->slots[i]);
	}
	CommandCounterIncrement();
}

/*
 * Puts the rows that were added into the ledger.
 */
void
FlushLedgerRows(LedgerInsert *insert)
{
	if (insert->count == 0)
		return;
	if (insert->rel != NULL)
		FlushPages(insert);
	else
	{
		RunGuarded(&insert->statement, NULL, NULL, NULL);
		tuplestore_clear(insert->gathered);
	}
	insert->count = 0;
}

/*
 * Flushes, and ends.
 */
void
EndLedgerInsert(LedgerInsert *insert)
{
	FlushLedgerRows(insert);
	if (insert->rel == NULL)
		return;
	FreeBulkInsertState(insert->bulk);
	table_finish_bulk_insert(insert->rel, 0);
	for (int i = 0; i < PAGE_ROWS; i++)
		ExecDropSingleTupleTableSlot(insert->slots[i]);
	ExecCloseIndices(insert->target);
	FreeExecutorState(insert->estate);
	table_close(insert->rel, NoLock);
}
