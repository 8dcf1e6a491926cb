/*
 * spread.c
 *		Tables that a distributed engine (Citus) has spread over several machines.
 *
 * distribute() spreads them: rows of members go to the machine of their member,
 * small tables of settings are everywhere.  What a function of a member reads
 * and writes is then on one machine, and there it runs: its statements find all
 * they need in the same session, so that locks, guards and what a statement of
 * ours computes are what they are on one machine.  The engine sends a call there
 * when it sees one with a constant or parameter for the member; called otherwise
 * (by another function, in a join, by PERFORM) the function finds itself on the
 * wrong machine, and sends the call itself.
 *
 * What is not right yet on several machines is refused (LY007).  Functions know
 * nothing of that, and pay nothing for it on one machine: distribute() gives
 * those that are to be refused a setting of their own, loyalty.only_on, which
 * cannot be set where tables are spread.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"

/* A sequence of ours counts by this on each of several machines. */
#define SPREAD_INCREMENT	1024

static bool is_spread = false;
static bool is_coordinator = false;
static const char *numbering = NULL;
static char *only_on = NULL;

static bool
HasRows(const char *query)
{
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" failed", query);
	return SPI_processed > 0;
}

/*
 * Reads anew what the engine has noted of our tables.
 */
static void
ReadSpread(void)
{
	is_spread = OidIsValid(get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE)) &&
		HasRows("SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid OPERATOR(pg_catalog.=) ANY (ARRAY["
				"pg_catalog.to_regclass('loyalty.layout'), pg_catalog.to_regclass('loyalty.wallet')])");
	is_coordinator = is_spread && HasRows("SELECT FROM pg_catalog.pg_dist_local_group WHERE groupid OPERATOR(pg_catalog.=) 0");
}

/*
 * Whether our tables are spread over several machines, or are about to be.
 */
bool
TablesAreSpread(void)
{
	static Settings settings = {.tables = {"layout", "wallet"},.read = ReadSpread};

	return KnowSettings(&settings) && is_spread;
}

/*
 * Of a room: each machine draws its own numbers from this sequence.
 */
void
DrawOnEachMachine(const char *sequence)
{
	numbering = sequence;
}

/*
 * Raises LY007 unless distribute() has prepared this machine: from then on its
 * sequence draws numbers that no other machine draws.
 */
void
RequirePreparedMachine(void)
{
	HeapTuple	row = SearchSysCache1(SEQRELID, ObjectIdGetDatum(LoyaltyTable(numbering)));
	int64		increment;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "sequence \"%s\" does not exist", numbering);
	increment = ((Form_pg_sequence) GETSTRUCT(row))->seqincrement;
	ReleaseSysCache(row);
	if (increment != SPREAD_INCREMENT)
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("this machine is not prepared to write into tables that are spread over several"),
				 errdetail("Its numbers of entries could be those of another machine."),
				 errhint("CALL loyalty.distribute() on the coordinator, as also after a machine was added.")));
}

/*
 * What a setting of loyalty.only_on means: "coordinator post_many" for a
 * function that works there only, "one machine post_many" for one that does not
 * work where tables are spread.
 */
static bool
CheckOnlyOn(char **newval, void **extra, GucSource source)
{
	const char *value = *newval;
	const char *name = strrchr(value, ' ');
	bool		on_coordinator = strncmp(value, "coordinator ", strlen("coordinator ")) == 0;

	(void) extra;
	if (name == NULL || source == PGC_S_TEST || !IsTransactionState() || IsParallelWorker() || !TablesAreSpread() ||
		(on_coordinator && is_coordinator))
		return true;
	if (on_coordinator)
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("%s() works on the coordinator only", name + 1),
				 errdetail("The tables are spread over several machines, and this is one of the others."),
				 errhint("Call it in a session with the coordinator.")));
	ereport(ERROR,
			(errcode(ERRCODE_LY_SPREAD),
			 errmsg("%s() does not work on tables that are spread over several machines", name + 1),
			 errdetail("It reads or writes what belongs to several members, and one machine does not see all of it."),
			 errhint("Call functions of single members, or bring the tables back to one machine (undistribute_table()).")));
	return false;
}

/*
 * Part of CoreInit().
 */
void
SpreadInit(void)
{
	DefineCustomStringVariable("loyalty.only_on",
							   "Where a function works, once tables are spread over several machines.",
							   "Set by loyalty.distribute(), for functions.",
							   &only_on, "", PGC_USERSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL, CheckOnlyOn, NULL, NULL);
}

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
			 errhint("Call it by itself, as SELECT * FROM loyalty.%s(...), with a constant or parameter for the member; reconnect where a statement of the session has failed before.", name)));
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
		appendStringInfo(&query, "%s$%d", i > 0 ? ", " : "", i + 1);
		types[i] = argtypes[i];
		values[i] = fcinfo->args[i].value;
		nulls[i] = fcinfo->args[i].isnull ? 'n' : ' ';
	}
	appendStringInfoChar(&query, ')');

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(query.data, nargs, types, values, nulls, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "\"%s\" returned no row", query.data);
	if (is_row)
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
RunElsewhere(FunctionCallInfo fcinfo, Datum *result)
{
	static bool sending = false;
	const char *name;

	if (fcinfo->nargs == 0 || PG_ARGISNULL(0) || IsHere(PG_GETARG_INT64(0)))
		return false;
	name = get_func_name(fcinfo->flinfo->fn_oid);
	if (fcinfo->flinfo->fn_retset)
		RefuseElsewhere(name, "It returns rows, and was called for a member of another machine.");
	if (sending)
		RefuseElsewhere(name, "The engine did not send it: it does not send what is called by a call that it sent.");
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
			 errhint("Bring the tables back to one machine (undistribute_table()), or do without what this call needs.")));
}
