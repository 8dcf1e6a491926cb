/*
 * own_triggers.c
 *		Nobody's triggers but the owner's run on our tables.
 *
 * Whoever may make a trigger on one of our tables makes the owner run what he
 * likes, as soon as we write there.  So nobody else may have the privilege: to
 * look at the triggers that are there would be too late for one that is
 * committed while we wait for the lock of its table.  And of what was made by
 * somebody who had the privilege once, nothing may run that is not the owner's
 * or a superuser's: neither the function, nor a condition, nor terms given to
 * a trigger function of ours, which are expressions (that of forget_cached() is
 * a name).
 *
 * The catalogs are asked by a session's first write, and again after each
 * change of one of our tables.  They are read as they lie: planning queries
 * for it would cost a session more than many postings.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "core/core.h"

/* One of our tables, or a partition of one in whatever schema. */
typedef struct OwnTable
{
	Oid			relid;
	Oid			schema;
	NameData	name;
	bool		has_triggers;
	bool		has_children;
} OwnTable;

/* Our tables, as they were when their triggers were looked at */
static Oid *watched_tables = NULL;
static int	nwatched_tables = 0;
static bool known = false;		/* all is as it was then, and was as it should be */
static uint64 nchanges = 0;		/* of them, as far as this session was told */

static void
NoticeChange(Oid relid)
{
	bool		ours = relid == InvalidOid;

	for (int i = 0; i < nwatched_tables && !ours; i++)
		ours = watched_tables[i] == relid;
	if (ours)
	{
		known = false;
		nchanges++;
	}
}

/*
 * Part of CoreInit().
 */
void
OwnTriggersInit(void)
{
	OnTableChange(NoticeChange);
}

/* By name, then by number. */
static int
CompareTables(const ListCell *a, const ListCell *b)
{
	const OwnTable *x = lfirst(a);
	const OwnTable *y = lfirst(b);
	int			order = strcmp(NameStr(x->name), NameStr(y->name));

	return order != 0 ? order : (x->relid > y->relid) - (x->relid < y->relid);
}

static OwnTable *
MakeTable(Form_pg_class class)
{
	OwnTable   *table = palloc0(sizeof(OwnTable));

	table->relid = class->oid;
	table->schema = class->relnamespace;
	table->name = class->relname;
	table->has_triggers = class->relhastriggers;
	table->has_children = class->relhassubclass;
	return table;
}

/*
 * The tables of a schema, and what inherits from them, as a list of OwnTable.
 */
static List *
TablesOfSchema(Oid schema)
{
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *tables = NIL;
	int			ntables;

	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(classes, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);

		/* into nothing else do we write */
		if (class->relkind == RELKIND_RELATION || class->relkind == RELKIND_PARTITIONED_TABLE || class->relkind == RELKIND_FOREIGN_TABLE)
			tables = lappend(tables, MakeTable(class));
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);

	ntables = list_length(tables);
	for (int i = 0; i < ntables; i++)
	{
		OwnTable   *table = list_nth(tables, i);
		ListCell   *cell;

		if (!table->has_children)
			continue;
		foreach(cell, find_all_inheritors(table->relid, NoLock, NULL))
		{
			tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));
			if (!HeapTupleIsValid(tuple))
				continue;		/* dropped meanwhile */
			if (((Form_pg_class) GETSTRUCT(tuple))->relnamespace != schema)
				tables = lappend(tables, MakeTable((Form_pg_class) GETSTRUCT(tuple)));
			ReleaseSysCache(tuple);
		}
	}
	list_sort(tables, CompareTables);
	return tables;
}

/*
 * Who, beside an owner and superusers, may make triggers on a table, as its row
 * of pg_class says: the first by name, or NULL.
 */
const char *
OtherTriggerMaker(const HeapTupleData *class, Oid owner, bool *is_public)
{
	bool		isnull;
	Datum		relacl = SysCacheGetAttr(RELOID, unconstify(HeapTupleData *, class), Anum_pg_class_relacl, &isnull);
	const char *other = NULL;
	Acl		   *acl;

	if (isnull)
		return NULL;
	acl = DatumGetAclP(relacl);
	for (int i = 0; i < ACL_NUM(acl); i++)
	{
		AclItem    *item = &ACL_DAT(acl)[i];
		const char *name;

		if ((ACLITEM_GET_PRIVS(*item) & ACL_TRIGGER) == 0 || item->ai_grantee == owner ||
			(item->ai_grantee != ACL_ID_PUBLIC && superuser_arg(item->ai_grantee)))
			continue;
		name = item->ai_grantee == ACL_ID_PUBLIC ? "PUBLIC" : GetUserNameFromId(item->ai_grantee, true);
		if (name == NULL)
			name = psprintf("%u", item->ai_grantee);	/* of a role that is gone */
		if (other == NULL || strcmp(name, other) < 0)
		{
			other = name;
			*is_public = item->ai_grantee == ACL_ID_PUBLIC;
		}
	}
	return other;
}

/*
 * Raises 42501 if somebody who is neither the owner nor a superuser may make
 * triggers on a table.
 */
static void
RequireNoOtherMaker(const OwnTable *table, Oid owner, Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table->relid));
	const char *other;
	bool		is_public = false;

	if (!HeapTupleIsValid(tuple))
		return;					/* dropped meanwhile */
	other = OtherTriggerMaker(tuple, owner, &is_public);
	ReleaseSysCache(tuple);
	if (other != NULL)
	{
		const char *shown = table->schema == schema ? "ALL TABLES IN SCHEMA loyalty" :
			quote_qualified_identifier(get_namespace_name(table->schema), NameStr(table->name));

		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s may make triggers on %s", other,
						quote_qualified_identifier(get_namespace_name(table->schema), NameStr(table->name))),
				 errdetail("What they do would be done as \"%s\", the owner of the tables of loyalty.",
						   GetUserNameFromId(owner, false)),
				 errhint("REVOKE TRIGGER ON %s FROM %s; Levels are given by loyalty.grant_access(), not by GRANT ALL.",
						 shown, is_public ? other : quote_identifier(other))));
	}
}

/*
 * Why a trigger may not run as the owner of our tables, or NULL.
 */
static const char *
WhyNot(HeapTuple tuple, TupleDesc tupdesc, Oid owner, Oid schema)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	HeapTuple	function;
	Form_pg_proc proc;
	const char *why = NULL;

	if (trigger->tgisinternal)
		return NULL;
	function = SearchSysCache1(PROCOID, ObjectIdGetDatum(trigger->tgfoid));
	if (!HeapTupleIsValid(function))
		return NULL;			/* dropped meanwhile, with the trigger */
	proc = (Form_pg_proc) GETSTRUCT(function);
	if (proc->proowner != owner && !superuser_arg(proc->proowner))
		why = psprintf("Its function belongs to role \"%s\"; the tables of loyalty belong to \"%s\".",
					   GetUserNameFromId(proc->proowner, false), GetUserNameFromId(owner, false));
	else if (!heap_attisnull(tuple, Anum_pg_trigger_tgqual, tupdesc))
		why = "It has a condition (WHEN), which would be evaluated as the owner of the tables.";
	else if (trigger->tgnargs > 0 && proc->pronamespace == schema && strcmp(NameStr(proc->proname), "forget_cached") != 0)
		why = "It gives terms to a function of loyalty, which would be evaluated as the owner of the tables.";
	ReleaseSysCache(function);
	return why;
}

/*
 * Raises 42501 if a table has a trigger that may not run as the owner.
 */
static void
RequireOwnTriggersOf(const OwnTable *table, Relation triggers, Oid owner, Oid schema)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table->relid));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		const char *why = WhyNot(tuple, RelationGetDescr(triggers), owner, schema);

		if (why == NULL)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("trigger \"%s\" of table \"%s\" may not run for loyalty",
						NameStr(((Form_pg_trigger) GETSTRUCT(tuple))->tgname), NameStr(table->name)),
				 errdetail_internal("%s", why),
				 errhint("Drop the trigger; or let it call a function that belongs to the owner of the tables, without condition and terms.")));
	}
	systable_endscan(scan);
}

/*
 * Raises 42501 unless the triggers of our tables are their owner's, and nobody
 * else may make one.
 */
void
RequireOwnTriggers(Oid owner)
{
	Oid			schema;
	MemoryContext context;
	MemoryContext before;
	List	   *tables;
	Oid		   *relids;
	uint64		changes_before;
	Relation	triggers;
	ListCell   *cell;

	if (known)
		return;
	schema = get_rel_namespace(RequireTables());
	context = AllocSetContextCreate(CurrentMemoryContext, "triggers of our tables", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(context);
	triggers = table_open(TriggerRelationId, AccessShareLock);
	tables = TablesOfSchema(schema);
	relids = MemoryContextAlloc(TopMemoryContext, (list_length(tables) + 1) * sizeof(Oid));
	foreach(cell, tables)
		relids[foreach_current_index(cell)] = ((OwnTable *) lfirst(cell))->relid;
	if (watched_tables != NULL)
		pfree(watched_tables);
	watched_tables = relids;
	nwatched_tables = list_length(tables);
	/* from here on changes are noticed */
	changes_before = nchanges;
	foreach(cell, tables)
		RequireNoOtherMaker(lfirst(cell), owner, schema);
	foreach(cell, tables)
	{
		if (((OwnTable *) lfirst(cell))->has_triggers)
			RequireOwnTriggersOf(lfirst(cell), triggers, owner, schema);
	}
	table_close(triggers, AccessShareLock);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	known = nchanges == changes_before;
}
