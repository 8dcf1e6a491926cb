/*
 * spread_call.c
 *		Calls for members whose rows are on another machine.
 *
 * What a function of a member reads and writes is on one machine, and there it
 * runs: its statements find all they need in the same session, so that locks,
 * guards and what a statement of ours computes are what they are on one machine.
 * The engine sends a call there when it sees one with a constant or parameter for
 * the member; called otherwise (by another function, in a join, by PERFORM) the
 * function finds itself on the wrong machine, and sends the call itself.
 *
 * The engine sends arguments as they are written, so that the other machine would
 * compute them with its own settings: '2026-07-01'::date would be midnight there.
 * What is more than a value, or the clock, is kept from it, and computed here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "core/errors.h"

/* While a call of ours is sent, which the engine must not keep here */
static bool sending = false;

/*
 * Whether the first argument of a function is the member whose function it is.
 */
bool
IsOfMember(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	char	  **names;
	char	   *modes;
	Oid		   *types;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	result = get_func_arg_info(tuple, &types, &names, &modes) > 0 && types[0] == INT8OID && names != NULL &&
		strcmp(names[0], "member_id") == 0 && (modes == NULL || modes[0] == PROARGMODE_IN);
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Raises LY007 where a setting of the session would make values others on their
 * way to another machine, which gets them as texts, or where the engine could not
 * plan statements of ours: it finds the machine by the values of parameters.
 */
void
RequireSpreadSettings(void)
{
	static const struct
	{
		const char *name;
		const char *needed;
	}			settings[] = {
		{"DateStyle", "ISO"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"standard_conforming_strings", "on"},
		{"plan_cache_mode", "auto"}
	};
	bool		wrong[] = {
		DateStyle != USE_ISO_DATES,
		IntervalStyle == INTSTYLE_SQL_STANDARD,
		extra_float_digits < 1,
		!standard_conforming_strings,
		plan_cache_mode == PLAN_CACHE_MODE_FORCE_GENERIC_PLAN
	};

	StaticAssertStmt(lengthof(settings) == lengthof(wrong), "a setting and whether it is wrong");
	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		if (wrong[i])
			ereport(ERROR,
					(errcode(ERRCODE_LY_SPREAD),
					 errmsg("%s cannot be \"%s\" where tables are spread over several machines",
							settings[i].name, GetConfigOption(settings[i].name, false, false)),
					 errdetail("Values go from one to the other as texts, and plans go by values: others would come of it."),
					 errhint("SET %s = %s;", settings[i].name, settings[i].needed)));
	}
}

/*
 * An expression with a constant in each place that asks the clock.
 */
static Node *
StopClock(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if ((IsA(node, FuncExpr) && (((FuncExpr *) node)->funcid == F_NOW || ((FuncExpr *) node)->funcid == F_STATEMENT_TIMESTAMP ||
								 ((FuncExpr *) node)->funcid == F_TRANSACTION_TIMESTAMP)) ||
		(IsA(node, SQLValueFunction) && ((SQLValueFunction *) node)->op == SVFOP_CURRENT_TIMESTAMP))
		return (Node *) makeNullConst(TIMESTAMPTZOID, -1, InvalidOid);
	return expression_tree_mutator(node, StopClock, context);
}

/*
 * Whether a function does an act by hand, which is kept with who does it.
 */
static bool
IsActByHand(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		isnull;
	char	   *source;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	source = TextDatumGetCString(SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull));
	ReleaseSysCache(tuple);
	return strcmp(source, "loyalty_may_operate") == 0 || strcmp(source, "loyalty_may_correct") == 0;
}

/*
 * Whether there is something beside a function in a query, and no table.  The
 * engine crashes where it sends the call of such a query.
 */
static bool
HasCompany(PlannerInfo *root)
{
	ListCell   *cell;

	if (root == NULL || list_length(root->parse->rtable) < 2)
		return false;
	foreach(cell, root->parse->rtable)
	{
		if (((RangeTblEntry *) lfirst(cell))->rtekind == RTE_RELATION)
			return false;
	}
	return true;
}

static Node *
ComputedHere(Node *argument)
{
	Oid			any = ANYELEMENTOID;

	return (Node *) makeFuncExpr(LookupFuncName(list_make2(makeString("loyalty"), makeString("computed_here")), 1, &any, false),
								 exprType(argument), list_make1(copyObject(argument)), InvalidOid, exprCollation(argument), COERCE_EXPLICIT_CALL);
}

/*
 * Of tables that are spread: a call of a function of a member such that the
 * engine does not send it: where it would leave something to compute to the other
 * machine, where who acts has to be sent along (see SendWhoActs()), where it is to
 * be refused, since the engine does not say there that the transaction reads only,
 * and where it would crash.  NULL where it may send it as it is.
 */
Node *
KeepCallHere(PlannerInfo *root, FuncExpr *call)
{
	FuncExpr   *kept = NULL;
	bool		stays;
	ListCell   *cell;

	if (sending || !IsOfMember(call->funcid))
		return NULL;
	stays = HasCompany(root) || IsActByHand(call->funcid) || (XactReadOnly && func_volatile(call->funcid) == PROVOLATILE_VOLATILE);
	foreach(cell, call->args)
	{
		Node	   *argument = lfirst(cell);
		bool		first = cell == list_head(call->args);

		if (contain_volatile_functions(argument) ||
			!(contain_mutable_functions(StopClock(argument, NULL)) ||
			  (stays && first && (IsA(argument, Const) || IsA(argument, Param)))))
			continue;
		if (kept == NULL)
			kept = copyObject(call);
		lfirst(list_nth_cell(kept->args, foreach_current_index(cell))) = ComputedHere(argument);
	}
	return (Node *) kept;
}

/*
 * computed_here(value anyelement) -> anyelement: its argument, of which the engine
 * does not know that it could be computed elsewhere.
 */
PG_FUNCTION_INFO_V1(loyalty_computed_here);
Datum
loyalty_computed_here(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/*
 * Whether the rows of a member are on this machine.
 */
static bool
IsHere(int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT FROM pg_catalog.pg_dist_placement p JOIN pg_catalog.pg_dist_local_group l "
		"ON p.groupid OPERATOR(pg_catalog.=) l.groupid "
		"WHERE p.shardid OPERATOR(pg_catalog.=) pg_catalog.get_shard_id_for_distribution_column('loyalty.wallet', $1)",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(member_id);
	bool		found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlan(&plan, &value, NULL, 1);
	found = SPI_processed > 0;
	SPI_finish();
	return found;
}

pg_noreturn static void
RefuseElsewhere(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_SPREAD),
			 errmsg("%s() cannot be sent to the machine of the member from here", name),
			 errdetail("%s", detail),
			 errhint("Call it by itself, as SELECT * FROM loyalty.%s(...), with a constant or parameter for the member; repeat it where members are being moved, and reconnect where a statement of the session has failed before.", name)));
}

/*
 * Refuses to run a function of a member on another machine than the member's.
 */
void
RequireHere(int64 member_id, const char *name)
{
	if (TablesAreSpread() && !IsHere(member_id))
		RefuseElsewhere(name, "The engine did not send it.");
}

/*
 * Before a call that does an act by hand: the machine of the member gets to know
 * who acts, which is the role that logged in there, or whom this transaction has
 * named.  The engine repeats there what SET LOCAL sets here.
 */
void
SendWhoActs(const char *name)
{
	const char *actor = NamedActor();
	int			level;

	if (GetSessionUserId() != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("%s() for a member of another machine works only in a session of the role that calls it", name),
				 errdetail("It is kept who did it, and there that would be \"%s\" instead of \"%s\".",
						   GetUserNameFromId(GetUserId(), false), GetUserNameFromId(GetSessionUserId(), false)),
				 errhint("Log in as \"%s\", or call it on the machine of the member.", GetUserNameFromId(GetUserId(), false))));
	level = NewGUCNestLevel();
	(void) set_config_option("citus.propagate_set_commands", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(psprintf("SET LOCAL loyalty.actor = %s", quote_literal_cstr(actor != NULL ? actor : "")), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "SET LOCAL failed");
	SPI_finish();
	AtEOXact_GUC(true, level);
}

/*
 * Calls a function with the arguments that it was called with, such that the
 * engine sends the call to the machine of the member.
 */
static Datum
SendCall(FunctionCallInfo fcinfo, const char *name)
{
	StringInfoData query;
	TupleDesc	tupdesc;
	bool		is_row = get_call_result_type(fcinfo, NULL, &tupdesc) == TYPEFUNC_COMPOSITE;
	Oid			types[FUNC_MAX_ARGS];
	Datum		values[FUNC_MAX_ARGS];
	char		nulls[FUNC_MAX_ARGS];
	MemoryContext context = CurrentMemoryContext;
	Datum		result;
	Oid		   *argtypes;
	int			nargs;

	(void) get_func_signature(fcinfo->flinfo->fn_oid, &argtypes, &nargs);
	initStringInfo(&query);
	/* in FROM: the engine does not look into what PL/pgSQL takes for an expression */
	appendStringInfo(&query, "SELECT * FROM loyalty.%s(", quote_identifier(name));
	for (int i = 0; i < nargs; i++)
	{
		/* now is now there, too, and no instant that was given */
		if (argtypes[i] == TIMESTAMPTZOID && !fcinfo->args[i].isnull &&
			DatumGetTimestampTz(fcinfo->args[i].value) == GetCurrentStatementStartTimestamp())
			appendStringInfo(&query, "%spg_catalog.statement_timestamp()", i > 0 ? ", " : "");
		else
			appendStringInfo(&query, "%s$%d", i > 0 ? ", " : "", i + 1);
		types[i] = argtypes[i];
		values[i] = fcinfo->args[i].value;
		nulls[i] = fcinfo->args[i].isnull ? 'n' : ' ';
	}
	appendStringInfoChar(&query, ')');

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query.data, nargs, types, values, nulls, false, 0) != SPI_OK_SELECT ||
		(SPI_processed != 1 && !fcinfo->flinfo->fn_retset))
		elog(ERROR, "\"%s\" returned no row", query.data);
	if (fcinfo->flinfo->fn_retset)
	{
		InitReturnSet(fcinfo);
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(((ReturnSetInfo *) fcinfo->resultinfo)->setResult, SPI_tuptable->vals[i]);
		result = (Datum) 0;
	}
	else if (is_row)
	{
		Datum	   *columns = palloc(tupdesc->natts * sizeof(Datum));
		bool	   *isnull = palloc(tupdesc->natts * sizeof(bool));
		MemoryContext old;

		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, columns, isnull);
		old = MemoryContextSwitchTo(context);
		result = HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), columns, isnull));
		MemoryContextSwitchTo(old);
		fcinfo->isnull = false;
	}
	else
	{
		Oid			type = SPI_gettypeid(SPI_tuptable->tupdesc, 1);

		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &fcinfo->isnull);
		if (!fcinfo->isnull && type != VOIDOID)
			result = SPI_datumTransfer(result, get_typbyval(type), get_typlen(type));
	}
	SPI_finish();
	return result;
}

/*
 * Of tables that are spread: a function of a member that was called where its
 * rows are not.  Runs it where they are, and answers true; false when it can run
 * here.
 */
bool
RunElsewhere(FunctionCallInfo fcinfo, Right right, Datum *result)
{
	const char *name;

	if (fcinfo->nargs == 0 || PG_ARGISNULL(0) || IsHere(PG_GETARG_INT64(0)))
		return false;
	name = get_func_name(fcinfo->flinfo->fn_oid);
	if (sending)
		RefuseElsewhere(name, "The engine did not send it: it does not send what is called by a call that it sent.");
	if (right == RIGHT_OPERATE || right == RIGHT_CORRECT)
		SendWhoActs(name);
	PG_TRY();
	{
		sending = true;
		*result = SendCall(fcinfo, name);
	}
	PG_FINALLY();
	{
		sending = false;
	}
	PG_END_TRY();
	return true;
}

/*
 * In the handler of an error, where tables are spread: what the engine cannot
 * plan is refused like all that does not work there.  Returns for any other.
 */
void
RethrowUnplanned(MemoryContext context, const char *name)
{
	ErrorData  *error;

	if (geterrcode() != ERRCODE_FEATURE_NOT_SUPPORTED)
		return;
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	ereport(ERROR,
			(errcode(ERRCODE_LY_SPREAD),
			 errmsg("%s() cannot do this on tables that are spread over several machines", name),
			 errdetail("The engine says: %s.", error->message),
			 errhint("Do without what this call needs, or run the program on one machine.")));
}
