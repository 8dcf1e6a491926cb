/*
 * plain.c
 *		Rows of plain tables, read and written by table access.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_type_d.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/plain.h"

#define PLAIN_MAX_INDEXES	16

/* the operators of date and timestamps, which have no symbol */
#define DATETIME_BTREE_FAM_OID	434

/* An index, and how to make what it stores. */
typedef struct PlainIndex
{
	Oid			relid;
	AttrNumber	not_null;		/* it stores rows where this one is not null; 0: all */
	bool		unique;
	IndexInfo  *info;
} PlainIndex;

/* What was found out about a table, until it is changed. */
struct PlainLeaf
{
	Oid			relid;
	bool		known;
	bool		changed;		/* since we began to look */
	bool		readable;
	bool		writable;
	Oid			may_read;		/* this role may */
	Oid			may_write;
	AttrNumber	attnum[PLAIN_MAX_COLUMNS];
	Oid			key_index[PLAIN_MAX_KEYS];
	int			nindexes;
	PlainIndex	indexes[PLAIN_MAX_INDEXES];
	MemoryContext context;
};

static HTAB *leaves = NULL;
static bool table_access = true;

static void
ForgetLeaf(Oid relid)
{
	PlainLeaf  *leaf;

	if (leaves == NULL)
		return;
	if (relid == InvalidOid)
	{
		HASH_SEQ_STATUS scan;

		hash_seq_init(&scan, leaves);
		while ((leaf = hash_seq_search(&scan)) != NULL)
		{
			leaf->known = false;
			leaf->changed = true;
		}
		return;
	}
	leaf = hash_search(leaves, &relid, HASH_FIND, NULL);
	if (leaf != NULL)
	{
		leaf->known = false;
		leaf->changed = true;
	}
}

/*
 * Part of CoreInit().
 */
void
PlainInit(void)
{
	DefineCustomBoolVariable("loyalty.table_access",
							 "Reads and writes plain tables of loyalty without statements.",
							 "Off: always by statements, so that tools that watch statements see all of them.",
							 &table_access, true, PGC_USERSET, 0, NULL, NULL, NULL);
	OnTableChange(ForgetLeaf);
}

/* ---------------------------------------------------------------------------
 * Is it plain?
 * ---------------------------------------------------------------------------
 */

/*
 * Whether a trigger may be left out: it is off, or one of our own that does
 * nothing to what we write ourselves.
 */
static bool
MayLeaveOut(const Trigger *trigger, const PlainTable *table)
{
	char	   *function;

	if (trigger->tgenabled == TRIGGER_DISABLED)
		return true;
	if (trigger->tgisinternal || get_func_namespace(trigger->tgfoid) != get_namespace_oid("loyalty", true))
		return false;
	function = get_func_name(trigger->tgfoid);
	if (strcmp(function, "owner_only") == 0)
		return true;			/* MayUse() asks that of who writes */
	for (int i = 0; table->own_triggers[i] != NULL; i++)
	{
		if (strcmp(function, table->own_triggers[i]) == 0)
			return true;
	}
	return false;
}

/*
 * Whether all CHECK constraints are such as what we write ourselves meets.
 */
static bool
HasOwnChecksOnly(const TupleConstr *constr, const PlainTable *table)
{
	for (int i = 0; i < constr->num_check; i++)
	{
		const char *const *own = table->own_checks;

		while (own != NULL && *own != NULL && strcmp(*own, constr->check[i].ccname) != 0)
			own++;
		if (own == NULL || *own == NULL)
			return false;
	}
	return true;
}

/*
 * What holds for a table and for a partition alike.  Fills in the numbers of
 * the columns.
 */
static void
ExamineTable(Relation rel, const PlainTable *table, PlainLeaf *leaf)
{
	TriggerDesc *triggers;
	TupleDesc	desc;
	TupleConstr *constr;
	int			found = 0;

	leaf->readable = leaf->writable = !rel->rd_rel->relrowsecurity && !rel->rd_rel->relhasrules;
	/* of our own, as the table's may be replaced while we look */
	triggers = CopyTriggerDesc(rel->trigdesc);
	if (triggers != NULL)
	{
		for (int i = 0; i < triggers->numtriggers; i++)
		{
			if (!MayLeaveOut(&triggers->triggers[i], table))
				leaf->writable = false;
		}
		FreeTriggerDesc(triggers);
	}
	desc = RelationGetDescr(rel);
	constr = desc->constr;
	if (constr != NULL && (!HasOwnChecksOnly(constr, table) || HasGeneratedColumns(constr)))
		leaf->writable = false;

	memset(leaf->attnum, 0, sizeof(leaf->attnum));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int			column;

		if (att->attisdropped)
			continue;
		for (column = 0; column < table->ncolumns; column++)
		{
			if (strcmp(NameStr(att->attname), table->columns[column].name) == 0)
				break;
		}
		if (column == table->ncolumns)
		{
			/* somebody's own column: stays NULL, which a domain may not be */
			if (att->atthasdef || att->attidentity || att->attnotnull || get_typtype(att->atttypid) == TYPTYPE_DOMAIN)
				leaf->writable = false;
			continue;
		}
		if (OidIsValid(table->columns[column].type) &&
			(att->atttypid != table->columns[column].type || att->atttypmod != -1))
			leaf->readable = leaf->writable = false;
		leaf->attnum[column] = att->attnum;
		found++;
	}
	if (found != table->ncolumns)
		leaf->readable = leaf->writable = false;
}

/*
 * The column that a predicate wants to be not null: 0 for no predicate, -1 for
 * one that wants something else.  Of a row, all columns would have to be.
 */
static AttrNumber
ColumnWanted(const List *predicate)
{
	NullTest   *test;

	if (predicate == NIL)
		return 0;
	test = linitial(predicate);
	if (list_length(predicate) != 1 || !IsA(test, NullTest) || test->nulltesttype != IS_NOT_NULL ||
		test->argisrow || !IsA(test->arg, Var))
		return -1;
	return ((Var *) test->arg)->varattno;
}

/*
 * The function by which a column of a key is the same, and its family of
 * operators, which is that of the type.
 */
static Oid
EqualityOf(Oid type, Oid *opfamily)
{
	switch (type)
	{
		case TEXTOID:
			*opfamily = TEXT_BTREE_FAM_OID;
			return F_TEXTEQ;
		case INT4OID:
			*opfamily = INTEGER_BTREE_FAM_OID;
			return F_INT4EQ;
		case DATEOID:
			*opfamily = DATETIME_BTREE_FAM_OID;
			return F_DATE_EQ;
		default:
			Assert(type == INT8OID);
			*opfamily = INTEGER_BTREE_FAM_OID;
			return F_INT8EQ;
	}
}

/*
 * Whether a unique btree index is that of a key, and means by equal what the
 * columns mean.
 */
static bool
IndexHasKey(Relation indexrel, const PlainIndex *index, Relation rel, const PlainTable *table, const PlainLeaf *leaf,
			const PlainKey *key)
{
	if (!index->unique || index->info->ii_NumIndexKeyAttrs != key->ncolumns)
		return false;
	for (int i = 0; i < key->ncolumns; i++)
	{
		AttrNumber	attnum = leaf->attnum[key->column[i]];
		Oid			opfamily;

		(void) EqualityOf(table->columns[key->column[i]].type, &opfamily);
		if (attnum == 0 || index->info->ii_IndexAttrNumbers[i] != attnum ||
			indexrel->rd_indcollation[i] != TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attcollation ||
			indexrel->rd_opfamily[i] != opfamily)
			return false;
	}
	return index->not_null == 0 || index->not_null == leaf->attnum[key->column[key->ncolumns - 1]];
}

static void
ExamineIndexes(Relation rel, const PlainTable *table, PlainLeaf *leaf)
{
	List	   *relids = RelationGetIndexList(rel);
	ListCell   *cell;

	memset(leaf->key_index, 0, sizeof(leaf->key_index));
	leaf->nindexes = 0;
	foreach(cell, relids)
	{
		Relation	indexrel = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = indexrel->rd_index;
		PlainIndex *index = &leaf->indexes[leaf->nindexes];
		MemoryContext old;

		if (leaf->nindexes == PLAIN_MAX_INDEXES || !form->indisready)
		{
			leaf->writable = false;
			index_close(indexrel, AccessShareLock);
			continue;
		}
		leaf->nindexes++;
		old = MemoryContextSwitchTo(leaf->context);
		index->relid = RelationGetRelid(indexrel);
		index->info = BuildIndexInfo(indexrel);
		index->unique = form->indisunique;
		index->not_null = ColumnWanted(index->info->ii_Predicate);
		MemoryContextSwitchTo(old);
		if (index->not_null < 0 || index->info->ii_Expressions != NIL || form->indisexclusion ||
			(form->indisunique && !form->indimmediate))
			leaf->writable = false;
		if (form->indisvalid && form->indimmediate && indexrel->rd_rel->relam == BTREE_AM_OID)
		{
			for (int i = 0; i < table->nkeys; i++)
			{
				if (IndexHasKey(indexrel, index, rel, table, leaf, &table->keys[i]))
					leaf->key_index[i] = index->relid;
			}
		}
		index_close(indexrel, AccessShareLock);
	}
	list_free(relids);
	for (int i = 0; i < table->nkeys; i++)
	{
		if (!OidIsValid(leaf->key_index[i]))
			leaf->readable = leaf->writable = false;
	}
}

/*
 * What is known of an open table.
 */
static PlainLeaf *
LeafOf(Relation rel, const PlainTable *table)
{
	Oid			relid = RelationGetRelid(rel);
	PlainLeaf  *leaf;
	bool		found;

	if (leaves == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(PlainLeaf);
		leaves = hash_create("loyalty plain tables", 32, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	leaf = hash_search(leaves, &relid, HASH_ENTER, &found);
	if (!found)
	{
		leaf->known = false;
		leaf->context = NULL;
	}
	if (leaf->known)
		return leaf;

	if (leaf->context == NULL)
		leaf->context = AllocSetContextCreate(TopMemoryContext, "loyalty plain table", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(leaf->context);
	leaf->changed = false;
	leaf->may_read = leaf->may_write = InvalidOid;
	ExamineTable(rel, table, leaf);
	if (rel->rd_rel->relkind == RELKIND_RELATION)
	{
		if (rel->rd_rel->relam != HEAP_TABLE_AM_OID || rel->rd_rel->relhassubclass)
			leaf->readable = leaf->writable = false;
		ExamineIndexes(rel, table, leaf);
	}
	else if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		leaf->readable = leaf->writable = false;
	if (OidIsValid(get_extension_oid("citus", true)))
		leaf->readable = leaf->writable = false;
	/* after an error we come here again, with half of it */
	leaf->known = !leaf->changed;
	return leaf;
}

/*
 * The partition that has a member's rows, by hash of the first column;
 * InvalidOid where the partitions are other ones.  One that is being detached
 * is seen as the executor sees it.
 */
static Oid
PartitionOf(Relation top, const PlainLeaf *leaf, int64 member_id, PlainUse use)
{
	PartitionKey key = RelationGetPartitionKey(top);
	PartitionDesc partitions;
	Datum		value = Int64GetDatum(member_id);
	bool		isnull = false;
	int			place;

	if (key->strategy != PARTITION_STRATEGY_HASH || key->partnatts != 1 || key->partattrs[0] != leaf->attnum[0] ||
		key->parttypid[0] != INT8OID)
		return InvalidOid;
	partitions = RelationGetPartitionDesc(top, use == PLAIN_READ || !IsolationUsesXactSnapshot());
	if (partitions->nparts == 0)
		return InvalidOid;
	place = partitions->boundinfo->indexes[compute_partition_hash_value(1, key->partsupfunc, key->partcollation, &value, &isnull) %
										   partitions->boundinfo->nindexes];
	return place >= 0 ? partitions->oids[place] : InvalidOid;
}

/*
 * Whether a table's own list gives a role all of some privileges: by its name,
 * and not as a member of another role.
 */
static bool
IsGranted(Oid relid, Oid role, AclMode mode)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		isnull;
	Datum		relacl;
	AclMode		granted = ACL_NO_RIGHTS;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	relacl = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (isnull)
	{
		if (((Form_pg_class) GETSTRUCT(tuple))->relowner == role)
			granted = mode;
	}
	else
	{
		Acl		   *acl = DatumGetAclP(relacl);

		for (int i = 0; i < ACL_NUM(acl); i++)
		{
			if (ACL_DAT(acl)[i].ai_grantee == role)
				granted |= ACLITEM_GET_PRIVS(ACL_DAT(acl)[i]);
		}
	}
	ReleaseSysCache(tuple);
	return (granted & mode) == mode;
}

static bool
MayUse(Relation rel, PlainLeaf *leaf, PlainUse use)
{
	Oid			role = GetUserId();
	Oid		   *may = use == PLAIN_READ ? &leaf->may_read : &leaf->may_write;
	AclMode		mode = use == PLAIN_READ ? ACL_SELECT : ACL_SELECT | ACL_INSERT | ACL_UPDATE;

	if (*may == role)
		return true;
	if (use == PLAIN_WRITE && !has_privs_of_role(role, rel->rd_rel->relowner))
		return false;
	if (pg_class_aclmask(RelationGetRelid(rel), role, mode, ACLMASK_ALL) != mode)
		return false;
	/* what he was granted himself changes with the table only */
	if (IsGranted(RelationGetRelid(rel), role, mode))
		*may = role;
	return true;
}

/*
 * What tables and indexes are locked with, until the transaction ends: to let
 * go of the lock of an index earlier costs more than to keep it.
 */
static inline LOCKMODE
LockOf(PlainUse use)
{
	return use == PLAIN_READ ? AccessShareLock : RowExclusiveLock;
}

/*
 * Opens the table that has the rows of a member.  False, and nothing is open,
 * when it is not plain.
 */
bool
OpenPlain(PlainAccess *access, const PlainTable *table, int64 member_id, PlainUse use)
{
	LOCKMODE	mode = LockOf(use);
	Oid			relid = LoyaltyTable(table->name);
	PlainLeaf  *leaf;

	if (!table_access || !OidIsValid(relid) || ExecutorCheckPerms_hook != NULL ||
		(use == PLAIN_WRITE && (XactReadOnly || IsInParallelMode())))
		return false;

	access->table = table;
	access->use = use;
	access->top = NULL;
	access->rel = table_open(relid, mode);
	leaf = LeafOf(access->rel, table);
	if ((use == PLAIN_READ ? leaf->readable : leaf->writable) && !access->rel->rd_rel->relispartition &&
		MayUse(access->rel, leaf, use))
	{
		access->leaf = leaf;
		if (access->rel->rd_rel->relkind == RELKIND_RELATION)
			return true;
		relid = PartitionOf(access->rel, leaf, member_id, use);
		if (OidIsValid(relid))
		{
			access->top = access->rel;
			access->rel = table_open(relid, mode);
			access->leaf = leaf = LeafOf(access->rel, table);
			if (access->rel->rd_rel->relkind == RELKIND_RELATION &&
				(use == PLAIN_READ ? leaf->readable : leaf->writable))
				return true;
		}
	}
	ClosePlain(access);
	return false;
}

/*
 * Whether the table that is open is also the one that has the rows of another
 * member.
 */
bool
HasPlainRowsOf(const PlainAccess *access, int64 member_id)
{
	return access->top == NULL ||
		PartitionOf(access->top, LeafOf(access->top, access->table), member_id, PLAIN_WRITE) == RelationGetRelid(access->rel);
}

/*
 * Closes it; the locks stay until the transaction ends, as those of statements.
 */
void
ClosePlain(PlainAccess *access)
{
	table_close(access->rel, NoLock);
	if (access->top != NULL)
		table_close(access->top, NoLock);
}

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
 * key, in the order of the others; how many it are.
 */
static int
FetchRows(const PlainAccess *access, int key, int ncolumns, const Datum *values, Snapshot snapshot,
		  int limit, HeapTuple **rows)
{
	const PlainKey *columns = &access->table->keys[key];
	Relation	index = index_open(access->leaf->key_index[key], LockOf(access->use));
	ScanKeyData scankeys[PLAIN_KEY_COLUMNS];
	IndexScanDesc scan;
	ItemPointer tid;
	int			size = Min(limit, 32);
	int			n = 0;

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
	while (n < limit && (tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
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
	int			n = FetchRows(access, key, access->table->keys[key].ncolumns, values, snapshot, 1, &rows);
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
 * Copies of all rows of a member, in the order of the primary key; how many it
 * are.
 */
int
FetchPlainRows(const PlainAccess *access, int64 member_id, Snapshot snapshot, HeapTuple **rows)
{
	Datum		value = Int64GetDatum(member_id);

	return FetchRows(access, 0, 1, &value, snapshot, INT_MAX, rows);
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
