/*
 * plain_write.c
 *		Rows of plain tables, locked, changed and added by table access.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "core/core.h"
#include "core/plain_leaf.h"

/*
 * Waits for a transaction that is changing the row, or has changed it since it
 * was fetched; false when there is none.
 * Afterwards the row is to be fetched again: what was computed of it would have
 * been for nothing.
 */
bool
WaitForPlainRow(const PlainAccess *access, HeapTuple row)
{
	TupleTableSlot *slot;
	SnapshotData dirty;
	bool		newest;

	if ((row->t_data->t_infomask & HEAP_XMAX_INVALID) || IsolationUsesXactSnapshot())
		return false;
	/* it is locked by ourselves */
	if (HEAP_XMAX_IS_LOCKED_ONLY(row->t_data->t_infomask) && !(row->t_data->t_infomask & HEAP_XMAX_IS_MULTI) &&
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(row->t_data)))
		return false;
	/* who changes it, as told under the page's lock: our copy was made without */
	slot = table_slot_create(access->rel, NULL);
	InitDirtySnapshot(dirty);
	newest = table_tuple_fetch_row_version(access->rel, &row->t_self, &dirty, slot);
	ExecDropSingleTupleTableSlot(slot);
	if (newest && !TransactionIdIsValid(dirty.xmax))
		return false;
	if (newest)
		XactLockTableWait(dirty.xmax, access->rel, &row->t_self, XLTW_Update);
	return true;
}

/*
 * How a row that was to be locked or changed was found: false when it was
 * changed since it was fetched.
 */
static bool
WasUnchanged(const PlainAccess *access, TM_Result result)
{
	if (result == TM_Ok)
		return true;
	if (result != TM_Updated && result != TM_Deleted)
		elog(ERROR, "unexpected result %u of a row of \"%s\"", result, RelationGetRelationName(access->rel));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent %s",
						result == TM_Updated ? "update" : "delete")));
	return false;
}

/*
 * Locks a row, as fetched under the active snapshot, until the transaction ends
 * (FOR NO KEY UPDATE).  False, and nothing is locked, when it was changed since:
 * fetch it again, with a new snapshot.  In REPEATABLE READ and above that is
 * error 40001.
 */
bool
LockPlainRow(const PlainAccess *access, HeapTuple row)
{
	TupleTableSlot *slot = table_slot_create(access->rel, NULL);
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(access->rel, &row->t_self, GetActiveSnapshot(), slot, GetCurrentCommandId(true),
							  LockTupleNoKeyExclusive, LockWaitBlock, 0, &failure);
	ExecDropSingleTupleTableSlot(slot);
	return WasUnchanged(access, result);
}

/*
 * Raises an error for a null in a column that has to have a value.
 */
static void
CheckNotNull(const PlainAccess *access, int column, bool isnull)
{
	Relation	named = access->top != NULL ? access->top : access->rel;

	if (isnull && TupleDescAttr(RelationGetDescr(access->rel), access->leaf->attnum[column] - 1)->attnotnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
						access->table->columns[column].name, RelationGetRelationName(named)),
				 errtablecolname(named, access->table->columns[column].name)));
}

/*
 * Puts rows that are in the table into its indexes, or into those only that
 * tell of blocks instead of rows.  One that has nothing to store is not opened.
 * *at is the row at work, for who describes an error.  False, with
 * UNIQUE_CHECK_PARTIAL, when another row has the key of one, or may have.
 */
static bool
InsertIntoIndexes(const PlainAccess *access, int nrows, TupleTableSlot **slots, bool only_summarizing,
				  IndexUniqueCheck check, int *at)
{
	bool		unique = true;

	for (int i = 0; i < access->leaf->nindexes; i++)
	{
		const PlainIndex *index = &access->leaf->indexes[i];
		Relation	rel = NULL;

		if (only_summarizing && !IndexSummarizes(index->info))
			continue;
		for (*at = 0; *at < nrows; (*at)++)
		{
			TupleTableSlot *slot = slots[*at];
			Datum		values[INDEX_MAX_KEYS];
			bool		nulls[INDEX_MAX_KEYS];

			if (index->not_null != 0 && slot_attisnull(slot, index->not_null))
				continue;
			if (rel == NULL)
			{
				rel = index_open(index->relid, RowExclusiveLock);
				/* what the access method keeps there is for one statement */
				index->info->ii_AmCache = NULL;
				index->info->ii_Context = CurrentMemoryContext;
			}
			FormIndexDatum(index->info, slot, NULL, values, nulls);
			if (!index_insert(rel, values, nulls, &slot->tts_tid, access->rel,
							  index->unique ? check : UNIQUE_CHECK_NO, false, index->info) &&
				index->unique && check == UNIQUE_CHECK_PARTIAL)
				unique = false;
		}
		if (rel != NULL)
		{
			IndexInsertCleanup(rel, index->info);
			index_close(rel, NoLock);
		}
	}
	return unique;
}

/*
 * Gives columns of a row, as fetched under the active snapshot, other values.
 * False when it was changed since: fetch it again, with a new snapshot.  In
 * REPEATABLE READ and above that is error 40001.
 */
bool
UpdatePlainRow(const PlainAccess *access, HeapTuple row, int ncolumns, const int *columns,
			   const Datum *values, const bool *nulls)
{
	int			attnums[PLAIN_MAX_COLUMNS];
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(access->rel), &TTSOpsHeapTuple);
	TM_FailureData failure;
	LockTupleMode lockmode;
	UpdatedIndexes updated;
	TM_Result	result;
	int			at;

	CheckCmdReplicaIdentity(access->rel, CMD_UPDATE);
	for (int i = 0; i < ncolumns; i++)
	{
		CheckNotNull(access, columns[i], nulls[i]);
		attnums[i] = access->leaf->attnum[columns[i]];
	}
	ExecStoreHeapTuple(heap_modify_tuple_by_cols(row, RelationGetDescr(access->rel), ncolumns, attnums,
												 unconstify(Datum *, values), unconstify(bool *, nulls)),
					   slot, false);
	slot->tts_tableOid = RelationGetRelid(access->rel);
	result = table_tuple_update(access->rel, &row->t_self, slot, GetCurrentCommandId(true), GetActiveSnapshot(),
								InvalidSnapshot, true, &failure, &lockmode, &updated);
	if (result == TM_Ok && updated != NO_INDEX_UPDATED)
		(void) InsertIntoIndexes(access, 1, &slot, OnlySummarizingIndexes(updated), UNIQUE_CHECK_YES, &at);
	ExecDropSingleTupleTableSlot(slot);
	return WasUnchanged(access, result);
}

/*
 * A row to be added; values and nulls are arrays by the declared columns.
 */
HeapTuple
FormPlainRow(const PlainAccess *access, const Datum *values, const bool *nulls)
{
	TupleDesc	desc = RelationGetDescr(access->rel);
	Datum		row_values[MaxHeapAttributeNumber];
	bool		row_nulls[MaxHeapAttributeNumber];

	if (!HasPlainRowsOf(access, DatumGetInt64(values[0])))
		elog(ERROR, "a row of member " INT64_FORMAT " does not belong into \"%s\"", DatumGetInt64(values[0]),
			 RelationGetRelationName(access->rel));
	memset(row_nulls, true, desc->natts * sizeof(bool));
	for (int i = 0; i < access->table->ncolumns; i++)
	{
		int			place = access->leaf->attnum[i] - 1;

		CheckNotNull(access, i, nulls[i]);
		row_values[place] = values[i];
		row_nulls[place] = nulls[i];
	}
	return heap_form_tuple(desc, row_values, row_nulls);
}

/*
 * A slot that takes over a row that was formed.
 */
static TupleTableSlot *
SlotOfRow(const PlainAccess *access, TupleDesc desc, HeapTuple row)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);

	ExecStoreHeapTuple(row, slot, true);
	slot->tts_tableOid = RelationGetRelid(access->rel);
	return slot;
}

static void
InsertOnePlainRow(const PlainAccess *access, HeapTuple row)
{
	TupleTableSlot *slot = SlotOfRow(access, RelationGetDescr(access->rel), row);
	int			at;

	table_tuple_insert(access->rel, slot, GetCurrentCommandId(true), 0, NULL);
	(void) InsertIntoIndexes(access, 1, &slot, false, UNIQUE_CHECK_YES, &at);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Adds rows that were formed.  *at is the one at work, or nrows while it is all of
 * them, for who describes an error.  What several need stays in the memory context.
 */
void
InsertPlainRows(const PlainAccess *access, int nrows, HeapTuple *rows, int *at)
{
	TupleTableSlot **slots;
	TupleDesc	desc;

	CheckCmdReplicaIdentity(access->rel, CMD_INSERT);
	*at = 0;
	if (nrows == 1)
	{
		InsertOnePlainRow(access, rows[0]);
		return;
	}
	/* of our own, as each slot would note that it uses the table's */
	desc = CreateTupleDescCopy(RelationGetDescr(access->rel));
	slots = palloc(nrows * sizeof(TupleTableSlot *));
	for (int row = 0; row < nrows; row++)
		slots[row] = SlotOfRow(access, desc, rows[row]);
	*at = nrows;
	table_multi_insert(access->rel, slots, nrows, GetCurrentCommandId(true), 0, NULL);
	(void) InsertIntoIndexes(access, nrows, slots, false, UNIQUE_CHECK_YES, at);
}

/*
 * Adds a row that was formed, and whose key is new.  False, and nothing is added, when another row
 * has it, or somebody is adding one: a statement can wait for him.
 */
bool
InsertNewPlainRow(const PlainAccess *access, HeapTuple row)
{
	TransactionId xid = GetCurrentTransactionId();
	TupleTableSlot *slot = SlotOfRow(access, RelationGetDescr(access->rel), row);
	uint32		token;
	bool		is_new;
	int			at;

	CheckCmdReplicaIdentity(access->rel, CMD_INSERT);
	token = SpeculativeInsertionLockAcquire(xid);
	table_tuple_insert_speculative(access->rel, slot, GetCurrentCommandId(true), 0, NULL, token);
	is_new = InsertIntoIndexes(access, 1, &slot, false, UNIQUE_CHECK_PARTIAL, &at);
	table_tuple_complete_speculative(access->rel, slot, token, is_new);
	SpeculativeInsertionLockRelease(xid);
	ExecDropSingleTupleTableSlot(slot);
	return is_new;
}

/*
 * One attempt of CountInPlainRow(); false when another session was at the row
 * meanwhile.  *is_made: that one is making it, and it cannot be waited for here.
 */
static bool
TryToCount(const PlainAccess *access, int64 member_id, bool *is_made)
{
	static const int counter[] = {1};
	Datum		values[2] = {Int64GetDatum(member_id), Int64GetDatum(1)};
	bool		nulls[2] = {false, false};
	HeapTuple	row;

	row = FetchPlainRow(access, 0, values, GetActiveSnapshot());
	if (row == NULL)
	{
		*is_made = !InsertNewPlainRow(access, FormPlainRow(access, values, nulls));
		return !*is_made;
	}
	if (WaitForPlainRow(access, row))
		return false;
	values[1] = Int64GetDatum(DatumGetInt64(PlainValue(access, row, 1, &nulls[1])) + 1);
	return UpdatePlainRow(access, row, 1, counter, &values[1], &nulls[1]);
}

/*
 * By table access; false, and nothing is done, when the table is not plain, or
 * another session is making the row: a statement can wait for it.
 */
static bool
CountInPlainRow(const PlainTable *table, int64 member_id)
{
	PlainAccess access;
	bool		is_made = false;
	bool		done = false;

	Assert(table->ncolumns == 2);
	if (!OpenPlain(&access, table, member_id, PLAIN_WRITE))
		return false;
	while (!done && !is_made)
	{
		CHECK_FOR_INTERRUPTS();
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		done = TryToCount(&access, member_id, &is_made);
		PopActiveSnapshot();
	}
	ClosePlain(&access);
	CommandCounterIncrement();
	return done;
}

/*
 * Counts in a table that has a row for each member, its number and a bigint: one
 * more, or a row with 1.  So the row is locked until the transaction ends.
 * otherwise is the statement that does it, of the member.  Needs an SPI connection.
 */
void
LockMemberRow(const PlainTable *table, KeptPlan *otherwise, int64 member_id)
{
	Datum		value = Int64GetDatum(member_id);

	if (!CountInPlainRow(table, member_id))
		RunPlan(otherwise, &value, NULL, 0);
}

/*
 * Waits for whoever is storing or changing a row, as a dirty snapshot says under
 * which it was found.
 */
void
WaitForDirtyRow(const PlainAccess *access, HeapTuple row, const SnapshotData *dirty)
{
	TransactionId xid = TransactionIdIsValid(dirty->xmin) ? dirty->xmin : dirty->xmax;

	/* what may be taken back at once is not waited for until its transaction ends */
	if (dirty->speculativeToken != 0)
		SpeculativeInsertionWait(xid, dirty->speculativeToken);
	else
		XactLockTableWait(xid, access->rel, &row->t_self, XLTW_InsertIndex);
}
