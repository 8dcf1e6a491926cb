/*
 * behind.c
 *		Functions that stand before others: they check their caller, and run
 *		what stands behind them.
 *
 * src/access/access_rights.sql says before which function each of them is put.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_language_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/core.h"

/* The function behind one that was called */
typedef struct Behind
{
	Oid			called;
	Oid			function;
	bool		in_c;			/* it says itself what its errors are about */
	bool		of_member;		/* the first argument, whose rows it writes */
	Oid			apart;			/* what stands in for it where tables are spread, or none */
} Behind;

/* Those that were called, until any function is changed */
static HTAB *known = NULL;

/* Of one call */
typedef struct Call
{
	FmgrInfo	function;
	bool		in_c;
	bool		of_member;
	FmgrInfo   *apart;
} Call;

static void
ForgetBehind(Datum arg, int cache, uint32 hash)
{
	(void) arg;
	(void) cache;
	(void) hash;
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
}

/*
 * Part of CoreInit().
 */
void
BehindInit(void)
{
	CacheRegisterSyscacheCallback(PROCOID, ForgetBehind, (Datum) 0);
}

/*
 * Looks for the function of the same name and arguments in another schema.
 */
static Behind
LookUpBehind(Oid called, const char *schema)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(called));
	Behind		behind = {.called = called};
	Form_pg_proc proc;
	HeapTuple	found;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", called);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	found = SearchSysCache3(PROCNAMEARGSNSP, NameGetDatum(&proc->proname), PointerGetDatum(&proc->proargtypes),
							ObjectIdGetDatum(get_namespace_oid(schema, false)));
	if (!HeapTupleIsValid(found))
		elog(ERROR, "function %s.%s does not exist", schema, NameStr(proc->proname));
	proc = (Form_pg_proc) GETSTRUCT(found);
	behind.function = proc->oid;
	behind.in_c = proc->prolang == ClanguageId;
	behind.apart = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(psprintf("%s_apart", NameStr(proc->proname))),
								   PointerGetDatum(&proc->proargtypes), ObjectIdGetDatum(get_namespace_oid("loyalty", false)));
	ReleaseSysCache(found);
	ReleaseSysCache(tuple);
	behind.of_member = IsOfMember(called);
	return behind;
}

static Call *
PrepareCall(FmgrInfo *called, const char *schema)
{
	Call	   *call = MemoryContextAllocZero(called->fn_mcxt, sizeof(Call));
	Behind	   *behind = known == NULL ? NULL : hash_search(known, &called->fn_oid, HASH_FIND, NULL);

	if (behind == NULL)
	{
		Behind		found = LookUpBehind(called->fn_oid, schema);

		if (known == NULL)
		{
			HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(Behind)};

			known = hash_create("loyalty functions behind others", 64, &ctl, HASH_ELEM | HASH_BLOBS);
		}
		behind = hash_search(known, &called->fn_oid, HASH_ENTER, NULL);
		*behind = found;
	}
	call->in_c = behind->in_c;
	call->of_member = behind->of_member;
	if (OidIsValid(behind->apart))
	{
		call->apart = MemoryContextAlloc(called->fn_mcxt, sizeof(FmgrInfo));
		fmgr_info_cxt(behind->apart, call->apart, called->fn_mcxt);
		call->apart->fn_expr = called->fn_expr;
	}
	fmgr_info_cxt(behind->function, &call->function, called->fn_mcxt);
	call->function.fn_expr = called->fn_expr;
	return call;
}

static Call *
CallOf(FmgrInfo *called, const char *schema)
{
	if (called->fn_extra == NULL)
		called->fn_extra = PrepareCall(called, schema);
	return called->fn_extra;
}

/*
 * Runs the function behind the one that a role called.  The lines and statements
 * of PL/pgSQL in which a refusal came up are nothing to its reader.
 */
static Datum
RunBehind(FunctionCallInfo fcinfo, Oid role, bool spread)
{
	FmgrInfo   *called = fcinfo->flinfo;
	MemoryContext context = CurrentMemoryContext;
	Oid			outer;
	volatile Datum result = 0;

	fcinfo->flinfo = &((Call *) called->fn_extra)->function;
	outer = ChangeCaller(role);
	PG_TRY();
	{
		result = FunctionCallInvoke(fcinfo);
	}
	PG_CATCH();
	{
		fcinfo->flinfo = called;
		(void) ChangeCaller(outer);
		if (spread)
			RethrowUnplanned(context, get_func_name(called->fn_oid));
		if (((Call *) called->fn_extra)->in_c)
			PG_RE_THROW();
		RethrowRefusal(context);
	}
	PG_END_TRY();
	fcinfo->flinfo = called;
	(void) ChangeCaller(outer);
	return result;
}

/*
 * Runs what stands in for a function where tables are spread, as the caller: it
 * calls functions of members, each of which checks its caller.
 */
static Datum
RunApart(FunctionCallInfo fcinfo, Call *call)
{
	FmgrInfo   *called = fcinfo->flinfo;
	volatile Datum result = 0;

	fcinfo->flinfo = call->apart;
	PG_TRY();
	{
		result = FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		fcinfo->flinfo = called;
	}
	PG_END_TRY();
	return result;
}

/*
 * The same, as the owner of the tables, which must have the layout of now; of a
 * member whose rows are on another machine, there; of several, by what stands in
 * for it.
 */
static Datum
RunAsOwner(FunctionCallInfo fcinfo, Right right)
{
	Actor		before;
	Oid			role = GetUserId();
	Call	   *call = CallOf(fcinfo->flinfo, "loyalty_as_owner");
	bool		spread;
	Datum		result;

	ActAsOwner(&before, role, right);
	RequireWritable();
	spread = TablesAreSpread();
	if (unlikely(spread))
	{
		RequireSpreadSettings();
		if (XactReadOnly)
			PreventCommandIfReadOnly(psprintf("%s()", get_func_name(fcinfo->flinfo->fn_oid)));
	}
	if (unlikely(spread) && call->of_member)
	{
		ActAsBefore(&before);
		if (RunElsewhere(fcinfo, right, &result))
			return result;
		ActAsOwner(&before, role, right);
	}
	if (unlikely(spread) && call->apart != NULL && !IsForOneMember())
	{
		ActAsBefore(&before);
		return RunApart(fcinfo, call);
	}
	result = RunBehind(fcinfo, role, spread);
	ActAsBefore(&before);
	return result;
}

PG_FUNCTION_INFO_V1(loyalty_may_post);
Datum
loyalty_may_post(PG_FUNCTION_ARGS)
{
	return RunAsOwner(fcinfo, RIGHT_POST);
}

PG_FUNCTION_INFO_V1(loyalty_may_consume);
Datum
loyalty_may_consume(PG_FUNCTION_ARGS)
{
	return RunAsOwner(fcinfo, RIGHT_CONSUME);
}

PG_FUNCTION_INFO_V1(loyalty_may_operate);
Datum
loyalty_may_operate(PG_FUNCTION_ARGS)
{
	return RunAsOwner(fcinfo, RIGHT_OPERATE);
}

PG_FUNCTION_INFO_V1(loyalty_may_correct);
Datum
loyalty_may_correct(PG_FUNCTION_ARGS)
{
	return RunAsOwner(fcinfo, RIGHT_CORRECT);
}

/*
 * How many rows of our tables this transaction has written so far; -1 where
 * nobody counts them.
 */
static int64
CountWritten(void)
{
	static KeptPlan plan = {
		.query = "SELECT coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) OPERATOR(pg_catalog.+) "
		"pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) OPERATOR(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)), 0)::bigint "
		"FROM pg_catalog.pg_class c WHERE c.relnamespace OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) 'r'",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	Datum		schema = ObjectIdGetDatum(get_namespace_oid("loyalty", false));
	bool		isnull;
	int64		written;

	if (!pgstat_track_counts || TablesAreSpread())
		return -1;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlanReadOnly(&plan, &schema, NULL, 1);
	written = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return written;
}

/*
 * What defines something is an act by itself, kept with the first argument,
 * which names what is defined.  Said again, so that nothing is written, it is
 * none.
 */
PG_FUNCTION_INFO_V1(loyalty_may_define);
Datum
loyalty_may_define(PG_FUNCTION_ARGS)
{
	Oid			function = fcinfo->flinfo->fn_oid;
	int64		written = CountWritten();
	Datum		result = RunAsOwner(fcinfo, RIGHT_DEFINE);
	Act			act = {.name = get_func_name(function)};
	Actor		before;

	if (written >= 0 && CountWritten() == written)
		return result;
	if (fcinfo->nargs > 0 && !PG_ARGISNULL(0))
		act.subject = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ActAsOwner(&before, GetUserId(), RIGHT_DEFINE);
	KeepAct(&act);
	ActAsBefore(&before);
	return result;
}

/*
 * What reads runs as its caller.
 */
PG_FUNCTION_INFO_V1(loyalty_as_caller);
Datum
loyalty_as_caller(PG_FUNCTION_ARGS)
{
	(void) CallOf(fcinfo->flinfo, "loyalty_as_caller");
	return RunBehind(fcinfo, GetUserId(), false);
}
