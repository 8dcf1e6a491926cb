/*
 * plain.c
 *		Which tables are plain, so that their rows may be read and written by
 *		table access: see plain.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_type_d.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "core/core.h"
#include "core/plain_leaf.h"

/* the operators of date and timestamps, which have no symbol */
#define DATETIME_BTREE_FAM_OID	434

static HTAB *leaves = NULL;
static bool table_access_here = true;
static const bool *table_access = &table_access_here;

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
	const struct config_generic *defined = FindSetting("loyalty.table_access");

	/* by the library of another version, before an update in this session */
	if (defined != NULL)
		table_access = ((const struct config_bool *) defined)->variable;
	else
		DefineCustomBoolVariable("loyalty.table_access",
								 "Reads and writes plain tables of loyalty without statements.",
								 "Off: always by statements, so that tools that watch statements see all of them.",
								 &table_access_here, true, PGC_USERSET, 0, NULL, NULL, NULL);
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
Oid
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
 * Opens the table that has the rows of a member.  False, and nothing is open,
 * when it is not plain.
 */
bool
OpenPlain(PlainAccess *access, const PlainTable *table, int64 member_id, PlainUse use)
{
	LOCKMODE	mode = LockOf(use);
	PlainLeaf  *leaf;
	Oid			relid;

	if (!*table_access || ExecutorCheckPerms_hook != NULL ||
		(use == PLAIN_WRITE && (XactReadOnly || IsInParallelMode())))
		return false;

	access->table = table;
	access->use = use;
	access->top = NULL;
	access->rel = OpenLoyaltyTable(table->name, mode);
	if (access->rel == NULL)
		return false;
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
