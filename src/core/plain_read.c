/*
 * plain_read.c
 *		Rows of plain tables, read by table access.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/plain_leaf.h"

/* ---------------------------------------------------------------------------
 * Rows
 * ---------------------------------------------------------------------------
 */

/*
 * A copy of the version of a row that a scan's snapshot sees, among those that
 * an index entry leads to; NULL when it sees none.
 *
 * As a fetch by the executor, but for when it prunes the page: that does so as
 * soon as less is free than the fill factor leaves, which on a page whose rows
 * are updated is always.  Here one that is to be written prunes, when the page
 * has hardly room for its next version; or, where rows are few and updated all
 * the time, which is what a fill factor of less than a half says, when it is to
 * a quarter full of versions that each look-up goes through.
 */
static HeapTuple
FetchVersion(const PlainAccess *access, IndexScanDesc scan, ItemPointer tid)
{
	Buffer		buffer = ReadBuffer(access->rel, ItemPointerGetBlockNumber(tid));
	HeapTupleData found;
	HeapTuple	row = NULL;
	bool		all_dead;
	bool		crowded = false;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (heap_hot_search_buffer(tid, access->rel, buffer, scan->xs_snapshot, &found, &all_dead, true))
	{
		row = heap_copytuple(&found);
		pgstat_count_heap_fetch(scan->indexRelation);
		crowded = PageGetHeapFreeSpace(BufferGetPage(buffer)) <
			(RelationGetFillFactor(access->rel, HEAP_DEFAULT_FILLFACTOR) < 50 ? BLCKSZ / 4 * 3 : 2 * found.t_len);
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (crowded && access->use == PLAIN_WRITE)
		heap_page_prune_opt(access->rel, buffer);
	ReleaseBuffer(buffer);
	scan->kill_prior_tuple = all_dead && !scan->xactStartedInRecovery;
	return row;
}

/*
 * Copies of up to limit rows that have these values in the first columns of the
 * key, in the order of the others, or against it; how many it are.
 */
static int
FetchRows(const PlainAccess *access, int key, int ncolumns, const Datum *values, Snapshot snapshot,
		  ScanDirection direction, int limit, HeapTuple **rows)
{
	const PlainKey *columns = &access->table->keys[key];
	Relation	index = index_open(access->leaf->key_index[key], LockOf(access->use));
	ScanKeyData scankeys[PLAIN_KEY_COLUMNS];
	IndexScanDesc scan;
	ItemPointer tid;
	int			size = Min(limit, 32);
	int			n = 0;

	/* otherwise rows would be missed */
	if (access->top != NULL && (columns->column[0] != 0 || !HasPlainRowsOf(access, DatumGetInt64(values[0]))))
		elog(ERROR, "rows are looked for that are not all in \"%s\"", RelationGetRelationName(access->rel));
	*rows = palloc(size * sizeof(HeapTuple));
	for (int i = 0; i < ncolumns; i++)
	{
		Oid			opfamily;
		Oid			equal = EqualityOf(access->table->columns[columns->column[i]].type, &opfamily);

		ScanKeyEntryInitialize(&scankeys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], equal, values[i]);
	}
	scan = BeginIndexScan(access->rel, index, snapshot, ncolumns);
	index_rescan(scan, scankeys, ncolumns, NULL, 0);
	while (n < limit && (tid = index_getnext_tid(scan, direction)) != NULL)
	{
		HeapTuple	row = FetchVersion(access, scan, tid);

		CHECK_FOR_INTERRUPTS();
		if (row == NULL)
			continue;
		if (n == size)
			*rows = repalloc_huge(*rows, (size *= 2) * sizeof(HeapTuple));
		(*rows)[n++] = row;
	}
	index_endscan(scan);
	index_close(index, NoLock);
	return n;
}

/*
 * A copy of the row that has these values in the columns of the key; NULL when
 * there is none.
 */
HeapTuple
FetchPlainRow(const PlainAccess *access, int key, const Datum *values, Snapshot snapshot)
{
	HeapTuple  *rows;
	int			n = FetchRows(access, key, access->table->keys[key].ncolumns, values, snapshot, ForwardScanDirection, 1, &rows);
	HeapTuple	row = n > 0 ? rows[0] : NULL;

	pfree(rows);
	return row;
}

/*
 * The same as a statement of this moment finds it: with what this transaction
 * did, and, in READ COMMITTED, what others have committed.
 */
HeapTuple
FetchLatestPlainRow(const PlainAccess *access, int key, const Datum *values)
{
	HeapTuple	row;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	row = FetchPlainRow(access, key, values, GetActiveSnapshot());
	PopActiveSnapshot();
	return row;
}

/*
 * The last one, in the order of the primary key, of the rows that have these
 * values in all of its columns but the last; as FetchLatestPlainRow() finds it.
 */
HeapTuple
FetchLastPlainRow(const PlainAccess *access, const Datum *values)
{
	HeapTuple  *rows;
	HeapTuple	row = NULL;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (FetchRows(access, 0, access->table->keys[0].ncolumns - 1, values, GetActiveSnapshot(), BackwardScanDirection, 1, &rows) > 0)
		row = rows[0];
	PopActiveSnapshot();
	return row;
}

/*
 * Copies of all rows of a member, in the order of the primary key; how many it
 * are.
 */
int
FetchPlainRows(const PlainAccess *access, int64 member_id, Snapshot snapshot, HeapTuple **rows)
{
	return FetchPlainRowsBy(access, 0, Int64GetDatum(member_id), snapshot, rows);
}

/*
 * The same of all rows that have a value in the first column of a key, which of
 * a partitioned table is that of the member.
 */
int
FetchPlainRowsBy(const PlainAccess *access, int key, Datum value, Snapshot snapshot, HeapTuple **rows)
{
	return FetchRows(access, key, 1, &value, snapshot, ForwardScanDirection, INT_MAX, rows);
}

#define ST_SORT SortPlaces
#define ST_ELEMENT_TYPE PlainPlace
#define ST_COMPARE(a, b) ItemPointerCompare(&(a)->tid, &(b)->tid)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Begins to read the rows of all members from first to last, in the order of
 * the primary key.  False, and nothing is open, when they are not in one plain
 * table.
 */
bool
BeginPlainScan(PlainScan *scan, const PlainTable *table, int64 first, int64 last, Snapshot snapshot)
{
	ScanKeyData keys[2];

	memset(scan, 0, sizeof(PlainScan));
	if (!OpenPlain(&scan->access, table, first, PLAIN_READ))
		return false;
	if (scan->access.top != NULL)
	{
		ClosePlain(&scan->access);
		return false;
	}
	scan->index = index_open(scan->access.leaf->key_index[0], LockOf(PLAIN_READ));
	scan->slot = table_slot_create(scan->access.rel, NULL);
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(first));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(last));
	scan->scan = BeginIndexScan(scan->access.rel, scan->index, snapshot, 2);
	index_rescan(scan->scan, keys, 2, NULL, 0);
	return true;
}

/*
 * Begins to read all rows of a table, in no order.  False, and nothing is open,
 * where they are not in one plain table.
 */
bool
BeginWholePlainScan(PlainScan *scan, const PlainTable *table, Snapshot snapshot)
{
	memset(scan, 0, sizeof(PlainScan));
	if (!OpenPlain(&scan->access, table, 0, PLAIN_READ))
		return false;
	if (scan->access.top != NULL)
	{
		ClosePlain(&scan->access);
		return false;
	}
	scan->slot = table_slot_create(scan->access.rel, NULL);
	scan->whole = table_beginscan(scan->access.rel, snapshot, 0, NULL);
	return true;
}

/*
 * Before the first row: lets them come in the order in which they lie in the
 * table, which for many of them, recorded over a long time, is much faster; how
 * many they are at most.  The snapshot must be that of a query.
 */
int
OrderPlainRowsAsStored(PlainScan *scan)
{
	ItemPointer tid;
	int			size = 1024;

	scan->places = palloc(size * sizeof(PlainPlace));
	while ((tid = index_getnext_tid(scan->scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (scan->nplaces == size)
			scan->places = repalloc_huge(scan->places, (size *= 2) * sizeof(PlainPlace));
		scan->places[scan->nplaces].tid = *tid;
		scan->places[scan->nplaces].place = scan->nplaces;
		scan->nplaces++;
	}
	SortPlaces(scan->places, scan->nplaces);
	return scan->nplaces;
}

/*
 * Goes on to the next place that has a row.
 */
static bool
NextStoredRow(PlainScan *scan)
{
	Relation	rel = scan->access.rel;
	/* the row of a heap, where the slot keeps it */
	HeapTuple	row = &((BufferHeapTupleTableSlot *) scan->slot)->base.tupdata;

	while (scan->next < scan->nplaces)
	{
		PlainPlace *place = &scan->places[scan->next++];
		bool		found;

		scan->buffer = ReleaseAndReadBuffer(scan->buffer, rel, ItemPointerGetBlockNumber(&place->tid));
		LockBuffer(scan->buffer, BUFFER_LOCK_SHARE);
		found = heap_hot_search_buffer(&place->tid, rel, scan->buffer, scan->scan->xs_snapshot, row, NULL, true);
		LockBuffer(scan->buffer, BUFFER_LOCK_UNLOCK);
		if (found)
		{
			ExecStoreBufferHeapTuple(row, scan->slot, scan->buffer);
			scan->place = place->place;
			return true;
		}
	}
	return false;
}

/*
 * Goes to the next row; false behind the last.
 */
bool
NextPlainRow(PlainScan *scan)
{
	bool		isnull;

	CHECK_FOR_INTERRUPTS();
	if (scan->whole != NULL)
		scan->found = table_scan_getnextslot(scan->whole, ForwardScanDirection, scan->slot);
	else if (scan->places != NULL)
		scan->found = NextStoredRow(scan);
	else
		scan->found = index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
	if (scan->found)
		scan->member_id = DatumGetInt64(PlainScanValue(scan, 0, &isnull));
	return scan->found;
}

/*
 * A column of the row in the slot, by its number in the declaration; valid
 * until the next one.
 */
Datum
PlainScanValue(const PlainScan *scan, int column, bool *isnull)
{
	return slot_getattr(scan->slot, scan->access.leaf->attnum[column], isnull);
}

void
EndPlainScan(PlainScan *scan)
{
	ExecDropSingleTupleTableSlot(scan->slot);
	if (BufferIsValid(scan->buffer))
		ReleaseBuffer(scan->buffer);
	if (scan->whole != NULL)
		table_endscan(scan->whole);
	else
	{
		index_endscan(scan->scan);
		index_close(scan->index, NoLock);
	}
	ClosePlain(&scan->access);
}

/*
 * A column of a row, by its number in the declaration; it points into the row.
 */
Datum
PlainValue(const PlainAccess *access, HeapTuple row, int column, bool *isnull)
{
	return heap_getattr(row, access->leaf->attnum[column], RelationGetDescr(access->rel), isnull);
}

/*
 * All declared columns of a row, by their numbers.
 */
void
PlainValues(const PlainAccess *access, HeapTuple row, Datum *values, bool *nulls)
{
	TupleDesc	desc = RelationGetDescr(access->rel);
	Datum	   *row_values = palloc(desc->natts * sizeof(Datum));
	bool	   *row_nulls = palloc(desc->natts * sizeof(bool));

	heap_deform_tuple(row, desc, row_values, row_nulls);
	for (int i = 0; i < access->table->ncolumns; i++)
	{
		int			place = access->leaf->attnum[i] - 1;

		values[i] = row_values[place];
		nulls[i] = row_nulls[place];
	}
	pfree(row_values);
	pfree(row_nulls);
}
