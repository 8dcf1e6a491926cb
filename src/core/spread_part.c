/*
 * spread_part.c
 *		A part of the members, seen as if there were no others.
 *
 * A distributed engine (Citus) keeps the rows of members in parts, by the hash
 * of the member; all rows of a member, of whatever table, are in one part, and
 * a part is on one machine.  After see_part() the statements of a transaction
 * read, in the place of each table that is spread, what this machine has of it:
 * of one part, or all rows where the table is on every machine.  They are then
 * statements over tables of this machine, planned and run as on a single one: so
 * whatever looks at each member by itself is right for the members of the part,
 * with no statement written for it.
 *
 * The tables are put in while a statement is planned, as the rewriter puts in
 * views.  Plans that are kept are made anew where a part is entered or left.
 */
#include "postgres.h"

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
#include "utils/fmgrprotos.h"
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

static PartTable *tables = NULL;
static int	ntables = 0;
static int32 low;				/* hashes of the part's members */
static int32 high;
static planner_hook_type next_planner = NULL;

/*
 * Whether statements read a part only.
 */
bool
SeesPart(void)
{
	return ntables > 0;
}

static Oid
PartOf(Oid table)
{
	for (int i = 0; i < ntables; i++)
	{
		if (tables[i].table == table)
			return tables[i].part;
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
	if (ntables > 0)
		(void) PutParts((Node *) parse, NULL);
	return next_planner != NULL ? next_planner(parse, query_string, options, params) :
		standard_planner(parse, query_string, options, params);
}

static void
LeavePart(void)
{
	if (tables == NULL)
		return;
	ntables = 0;
	pfree(tables);
	tables = NULL;
	ResetPlanCache();
}

static void
LeaveAtEnd(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		LeavePart();
}

/*
 * see_part(low integer) -> void: until the transaction ends, or another part
 * is asked for, statements read the part that begins with this hash of members;
 * NULL: all rows again.  LY007 where it is not on this machine.
 */
PG_FUNCTION_INFO_V1(loyalty_see_part);
Datum
loyalty_see_part(PG_FUNCTION_ARGS)
{
	static const char query[] =
		"SELECT d.logicalrelid, pg_catalog.to_regclass(pg_catalog.shard_name(d.logicalrelid, s.shardid)), s.shardmaxvalue::pg_catalog.int4 "
		"FROM pg_catalog.pg_dist_partition d JOIN pg_catalog.pg_dist_shard s ON s.logicalrelid OPERATOR(pg_catalog.=) d.logicalrelid "
		"JOIN pg_catalog.pg_dist_placement p ON p.shardid OPERATOR(pg_catalog.=) s.shardid "
		"JOIN pg_catalog.pg_dist_local_group l ON l.groupid OPERATOR(pg_catalog.=) p.groupid "
		"WHERE d.partmethod OPERATOR(pg_catalog.=) 'n' OR d.colocationid OPERATOR(pg_catalog.=) "
		"(SELECT w.colocationid FROM pg_catalog.pg_dist_partition w WHERE w.logicalrelid OPERATOR(pg_catalog.=) 'loyalty.wallet'::pg_catalog.regclass) "
		"AND s.shardminvalue::pg_catalog.int4 OPERATOR(pg_catalog.=) $1";
	static bool begun = false;
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {PG_GETARG_DATUM(0)};
	PartTable  *found;
	int			nfound = 0;
	Oid			wallet;

	LeavePart();
	if (PG_ARGISNULL(0))
		PG_RETURN_VOID();
	if (!TablesAreSpread())
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("there are no parts"),
				 errdetail("The tables are on this machine, whole."),
				 errhint("Parts are made by loyalty.distribute().")));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query, 1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" failed", query);
	wallet = LoyaltyTable("wallet");
	found = MemoryContextAlloc(TopMemoryContext, (SPI_processed + 1) * sizeof(PartTable));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		gone,
					isnull;
		HeapTuple	row = SPI_tuptable->vals[i];

		found[nfound].table = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		found[nfound].part = DatumGetObjectId(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &gone));
		if (gone)
			continue;
		if (found[nfound].table == wallet)
			high = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		nfound++;
	}
	SPI_finish();
	low = PG_GETARG_INT32(0);
	tables = found;
	ntables = nfound;
	if (!OidIsValid(PartOf(wallet)))
	{
		LeavePart();
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("the part of the members from hash %d on is not on this machine", PG_GETARG_INT32(0)),
				 errhint("Ask again: it has been moved.")));
	}
	if (!begun)
	{
		next_planner = planner_hook;
		planner_hook = PlanOverPart;
		RegisterXactCallback(LeaveAtEnd, NULL);
		begun = true;
	}
	ResetPlanCache();
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
	int32		hash;

	if (!SeesPart())
		PG_RETURN_BOOL(true);
	hash = DatumGetInt32(DirectFunctionCall1(hashint8, PG_GETARG_DATUM(0)));
	PG_RETURN_BOOL(hash >= low && hash <= high);
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
