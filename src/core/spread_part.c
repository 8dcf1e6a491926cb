/*
 * spread_part.c
 *		A part of the members, seen as if there were no others.
 *
 * A distributed engine (Citus) keeps the rows of members in parts, by the hash
 * of the member; all rows of a member, of whatever table, are in one part, and
 * a part is on one machine.  Where loyalty.part is set, statements
 * read, in the place of each table that is spread, what this machine has of it:
 * of one part, or all rows where the table is on every machine.  They are then
 * statements over tables of this machine, planned and run as on a single one: so
 * whatever looks at each member by itself is right for the members of the part,
 * with no statement written for it.
 *
 * The tables are put in while a statement is planned, as the rewriter puts in
 * views.  Plans that are kept are made anew where a part is entered or left.  A
 * setting it is since the end of a function or transaction, by whatever error,
 * then brings back what was before.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"

/* A table of the program, and what is read in its place */
typedef struct PartTable
{
	Oid			table;
	Oid			part;
} PartTable;

/* A part of the members: those whose hashes are from low to high */
typedef struct Part
{
	int32		low;
	int32		high;
	int			ntables;
	PartTable	tables[FLEXIBLE_ARRAY_MEMBER];
} Part;

/* that statements read, instead of all members; of the setting */
static const Part *seen = NULL;
static char *part_setting = NULL;
static bool asked_for = false;	/* by SeePart() */
static planner_hook_type next_planner = NULL;

/*
 * Whether statements read a part only.
 */
bool
SeesPart(void)
{
	return seen != NULL;
}

static Oid
PartOf(Oid table)
{
	for (int i = 0; i < seen->ntables; i++)
	{
		if (seen->tables[i].table == table)
			return seen->tables[i].part;
	}
	return InvalidOid;
}

/*
 * The query that reads a part: its columns are those of the table, in their
 * places.  The rights are those that the table asks for.
 */
static Query *
QueryOfPart(RangeTblEntry *of, Oid part)
{
	Query	   *query = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Relation	table = RelationIdGetRelation(of->relid);
	Relation	rel;
	List	   *names = NIL;

	LockRelationOid(part, AccessShareLock);
	rel = RelationIdGetRelation(part);
	if (!RelationIsValid(table) || !RelationIsValid(rel))
		elog(ERROR, "could not open relation with OID %u", RelationIsValid(table) ? part : of->relid);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
		names = lappend(names, makeString(pstrdup(NameStr(TupleDescAttr(RelationGetDescr(rel), i)->attname))));
	rte->rtekind = RTE_RELATION;
	rte->relid = part;
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = AccessShareLock;
	rte->eref = makeAlias(RelationGetRelationName(rel), names);
	rte->inFromCl = true;
	PassRights(of, rte);
	PassRightsOfColumn(of, InvalidAttrNumber, rte, InvalidAttrNumber);
	for (int i = 0; i < RelationGetDescr(table)->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(table), i);
		AttrNumber	number = column->attisdropped ? InvalidAttrNumber : get_attnum(part, NameStr(column->attname));
		Expr	   *value;

		if (number == InvalidAttrNumber && !column->attisdropped)
			elog(ERROR, "\"%s\" has no column \"%s\"", RelationGetRelationName(rel), NameStr(column->attname));
		value = column->attisdropped ? (Expr *) makeNullConst(INT4OID, -1, InvalidOid) :
			(Expr *) makeVar(1, number, column->atttypid, column->atttypmod, column->attcollation, 0);
		PassRightsOfColumn(of, (AttrNumber) (i + 1), rte, number);
		query->targetList = lappend(query->targetList,
									makeTargetEntry(value, (AttrNumber) (i + 1), pstrdup(NameStr(column->attname)), false));
	}
	ref->rtindex = 1;
	query->commandType = CMD_SELECT;
	query->querySource = QSRC_ORIGINAL;
	query->canSetTag = true;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
	RelationClose(rel);
	RelationClose(table);
	return query;
}

/*
 * Puts parts in the places of tables, in a query and whatever is in it.
 */
static bool
PutParts(Node *node, void *context)
{
	Query	   *query = (Query *) node;
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, PutParts, context);
	if (query->resultRelation != 0 && OidIsValid(PartOf(rt_fetch(query->resultRelation, query->rtable)->relid)))
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a part of the members is read, and not written"),
				 errdetail("Statements read what this machine has of the tables that are spread over several."),
				 errhint("Leave the part first, by loyalty.see_part(NULL).")));
	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst(cell);
		Oid			part = rte->rtekind == RTE_RELATION ? PartOf(rte->relid) : InvalidOid;

		if (OidIsValid(part))
		{
			rte->subquery = QueryOfPart(rte, part);
			rte->rtekind = RTE_SUBQUERY;
			rte->inh = false;
			rte->tablesample = NULL;
			DropRights(rte);
		}
	}
	return query_tree_walker(query, PutParts, context, 0);
}

static PlannedStmt *
PlanOverPart(Query *parse, const char *query_string, int options, ParamListInfo params)
{
	if (seen != NULL)
	{
		(void) PutParts((Node *) parse, NULL);
		/* a worker would not know of the part */
		options &= ~CURSOR_OPT_PARALLEL_OK;
	}
	return next_planner != NULL ? next_planner(parse, query_string, options, params) :
		standard_planner(parse, query_string, options, params);
}

/*
 * What this machine has of the part that begins with a hash; NULL when it has
 * not got it.  In memory of the setting.
 */
static Part *
FindPart(int32 low)
{
	static const char query[] =
		"SELECT d.logicalrelid, pg_catalog.to_regclass(pg_catalog.shard_name(d.logicalrelid, s.shardid)), s.shardmaxvalue::pg_catalog.int4 "
		"FROM pg_catalog.pg_dist_partition d JOIN pg_catalog.pg_dist_shard s ON s.logicalrelid OPERATOR(pg_catalog.=) d.logicalrelid "
		"JOIN pg_catalog.pg_dist_placement p ON p.shardid OPERATOR(pg_catalog.=) s.shardid "
		"JOIN pg_catalog.pg_dist_local_group l ON l.groupid OPERATOR(pg_catalog.=) p.groupid "
		"WHERE d.partmethod OPERATOR(pg_catalog.=) 'n' OR d.colocationid OPERATOR(pg_catalog.=) "
		"(SELECT w.colocationid FROM pg_catalog.pg_dist_partition w WHERE w.logicalrelid OPERATOR(pg_catalog.=) 'loyalty.wallet'::pg_catalog.regclass) "
		"AND s.shardminvalue::pg_catalog.int4 OPERATOR(pg_catalog.=) $1";
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(low)};
	Oid			wallet = LoyaltyTable("wallet");
	bool		found = false;
	Part	   *part;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" failed", query);
	part = SETTING_ALLOC(offsetof(Part, tables) + SPI_processed * sizeof(PartTable));
	if (part == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	part->low = low;
	part->ntables = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		PartTable  *table = &part->tables[part->ntables];
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		gone,
					isnull;

		table->table = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		table->part = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &gone));
		if (gone)
			continue;
		if (table->table == wallet)
		{
			found = true;
			part->high = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		}
		part->ntables++;
	}
	SPI_finish();
	if (found)
		return part;
	SETTING_FREE(part);
	return NULL;
}

/*
 * What a setting of loyalty.part means: the first hash of the members that
 * statements read; nothing for all members.
 */
static bool
CheckPart(char **newval, void **extra, GucSource source)
{
	if (**newval == '\0' || source == PGC_S_TEST)
		return true;
	if (!asked_for || !IsTransactionState() || IsParallelWorker() || !TablesAreSpread())
	{
		GUC_check_errdetail("Functions of loyalty set it, until they end, where tables are spread over several machines.");
		return false;
	}
	*extra = FindPart(pg_strtoint32(*newval));
	if (*extra == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("the members from hash %s on are not on this machine", *newval),
				 errdetail("Their rows are on another, where it has to be called."),
				 errhint("Call functions of a member by themselves, as SELECT * FROM loyalty.f(...), with a constant or parameter for the member; ask again where they are being moved.")));
	return true;
}

static void
AssignPart(const char *newval, void *extra)
{
	(void) newval;
	if (seen == extra)
		return;
	if (next_planner == NULL && planner_hook != PlanOverPart)
	{
		next_planner = planner_hook;
		planner_hook = PlanOverPart;
	}
	seen = extra;
	/* plans that were made over something else */
	ResetPlanCache();
}

static void
SeePart(const char *part)
{
	PG_TRY();
	{
		asked_for = true;
		(void) set_config_option("loyalty.part", part, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	}
	PG_FINALLY();
	{
		asked_for = false;
	}
	PG_END_TRY();
}

/*
 * see_part(low integer) -> void: until the transaction, or a function that has
 * the setting, ends, or another part is asked for, statements read the part that
 * begins with this hash of members; NULL: all rows again.  LY007 where it is not on
 * this machine.
 */
PG_FUNCTION_INFO_V1(loyalty_see_part);
Datum
loyalty_see_part(PG_FUNCTION_ARGS)
{
	SeePart(PG_ARGISNULL(0) ? "" : psprintf("%d", PG_GETARG_INT32(0)));
	PG_RETURN_VOID();
}

static bool
IsHere(int64 member_id)
{
	int32		hash = DatumGetInt32(DirectFunctionCall1(hashint8, Int64GetDatum(member_id)));

	return seen == NULL || (hash >= seen->low && hash <= seen->high);
}

/*
 * see_part_of(member_id bigint) -> void: the same of the part of a member; not
 * where tables are on one machine.
 */
PG_FUNCTION_INFO_V1(loyalty_see_part_of);
Datum
loyalty_see_part_of(PG_FUNCTION_ARGS)
{
	static const char query[] =
		"SELECT s.shardminvalue FROM pg_catalog.pg_dist_shard s "
		"WHERE s.shardid OPERATOR(pg_catalog.=) pg_catalog.get_shard_id_for_distribution_column('loyalty.wallet', $1)";
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {PG_GETARG_DATUM(0)};
	MemoryContext context = CurrentMemoryContext;
	char	   *low;

	if (PG_ARGISNULL(0) || !TablesAreSpread() || (SeesPart() && IsHere(PG_GETARG_INT64(0))))
		PG_RETURN_VOID();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 1, types, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "\"%s\" failed", query);
	low = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	SeePart(low);
	PG_RETURN_VOID();
}

/*
 * is_here(member_id bigint) -> boolean: whether statements read rows of this
 * member; always, unless they read another part.
 */
PG_FUNCTION_INFO_V1(loyalty_is_here);
Datum
loyalty_is_here(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(IsHere(PG_GETARG_INT64(0)));
}

/*
 * sees_part() -> boolean: whether statements read a part only.
 */
PG_FUNCTION_INFO_V1(loyalty_sees_part);
Datum
loyalty_sees_part(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(SeesPart());
}

/*
 * tables_are_spread() -> boolean: whether the tables are spread over machines,
 * and statements see all of them.
 */
PG_FUNCTION_INFO_V1(loyalty_tables_are_spread);
Datum
loyalty_tables_are_spread(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(!SeesPart() && TablesAreSpread());
}

/*
 * Part of CoreInit().
 */
void
SpreadPartInit(void)
{
	if (FindSetting("loyalty.part") == NULL)
		DefineCustomStringVariable("loyalty.part",
								   "First hash of the members that statements read, of tables that are spread over several machines.",
								   "Set by functions of loyalty; empty: of all members.",
								   &part_setting, "", PGC_USERSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL, CheckPart, AssignPart, NULL);
}
