/*
 * spread_batch.c
 *		Calls with an element for each of several members, whose rows may be on
 *		several machines.
 *
 * Such a function, post_many(), takes arrays, of which the first is member_ids,
 * and answers with a row for each element, whose number comes first.  Where tables
 * are spread, post_many_apart() stands in for it: it calls post_many_of() for each
 * member, ascending, with the elements of the member, in their order, which the
 * engine sends to the machine of the member; and there that is post_many() again.
 * All is one transaction, and an error of one element undoes all.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"

/* Of the elements that are one member's: their numbers in the whole call */
static const Datum *numbers = NULL;

/*
 * Whether the elements of the call that is running are those of one member, here.
 */
bool
IsForOneMember(void)
{
	return numbers != NULL;
}

/*
 * The number, from 1 on, that an element has for whoever called.
 */
int64
ElementNumber(int i)
{
	return numbers != NULL ? DatumGetInt64(numbers[i]) : i + 1;
}

/* An array argument */
typedef struct Elements
{
	bool		given;
	Oid			type;
	int16		length;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			n;
} Elements;

static Elements
ReadArray(FunctionCallInfo fcinfo, int arg, Oid array_type)
{
	Elements	elements = {.given = !PG_ARGISNULL(arg)};

	elements.type = get_element_type(array_type);
	get_typlenbyvalalign(elements.type, &elements.length, &elements.byval, &elements.align);
	if (elements.given)
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), elements.type, elements.length, elements.byval, elements.align,
						  &elements.values, &elements.nulls, &elements.n);
	return elements;
}

static Datum
PickElements(const Elements *elements, const Datum *picked, int n)
{
	Datum	   *values = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	int			lower = 1;

	for (int i = 0; i < n; i++)
	{
		int64		from = DatumGetInt64(picked[i]) - 1;

		values[i] = elements->values[from];
		nulls[i] = elements->nulls[from];
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, elements->type, elements->length,
											  elements->byval, elements->align));
}

/*
 * Whether one of the kinds is an adjustment, which is kept with who does it.
 */
static bool
HasActByHand(const Elements *kinds)
{
	for (int i = 0; i < kinds->n; i++)
	{
		if (!kinds->nulls[i] && strcmp(TextDatumGetCString(kinds->values[i]), "adjust") == 0)
			return true;
	}
	return false;
}

/* An element, in the order in which they are sent */
typedef struct SentElement
{
	int64		member_id;
	int			number;
} SentElement;

static int
CompareSent(const void *a, const void *b)
{
	const SentElement *x = a;
	const SentElement *y = b;

	if (x->member_id != y->member_id)
		return x->member_id < y->member_id ? -1 : 1;
	return x->number - y->number;
}

/*
 * The elements of a call in the order in which they are sent.
 */
static SentElement *
OrderElements(const Elements *members)
{
	SentElement *sent = palloc_extended(Max(members->n, 1) * sizeof(SentElement), MCXT_ALLOC_HUGE);

	for (int i = 0; i < members->n; i++)
	{
		if (members->nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("element %d of \"member_ids\" must not be NULL", i + 1),
					 errdetail("NULL is nobody."),
					 errhint("Give a value for it.")));
		sent[i].member_id = DatumGetInt64(members->values[i]);
		sent[i].number = i + 1;
	}
	qsort(sent, members->n, sizeof(SentElement), CompareSent);
	return sent;
}

static char **
NamesOfArguments(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	char	  **names;
	char	   *modes;
	Oid		   *types;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	(void) get_func_arg_info(tuple, &types, &names, &modes);
	ReleaseSysCache(tuple);
	return names;
}

/*
 * <function>_apart(member_ids bigint[], ...): what stands in for a function with
 * the same arguments.
 */
PG_FUNCTION_INFO_V1(loyalty_by_member);
Datum
loyalty_by_member(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = get_func_name(fcinfo->flinfo->fn_oid);
	char	  **names = NamesOfArguments(fcinfo->flinfo->fn_oid);
	Oid		   *argtypes;
	Oid			types[FUNC_MAX_ARGS + 1];
	Datum		values[FUNC_MAX_ARGS + 1];
	char		nulls[FUNC_MAX_ARGS + 1];
	Elements   *arrays;
	SentElement *sent;
	HeapTuple  *rows;
	StringInfoData query;
	int			nargs;
	int			n;

	RequireArgument(fcinfo, 0, "member_ids");
	RequireArgument(fcinfo, 1, "kinds");
	InitReturnSet(fcinfo);
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &argtypes, &nargs);
	arrays = palloc(nargs * sizeof(Elements));
	for (int arg = 0; arg < nargs; arg++)
	{
		arrays[arg] = ReadArray(fcinfo, arg, argtypes[arg]);
		if (arrays[arg].given && arrays[arg].n != arrays[0].n)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("array \"%s\" has %d elements, \"member_ids\" has %d", names[arg], arrays[arg].n, arrays[0].n),
					 errdetail("There is one for each of member_ids."),
					 errhint("All arrays that are given must have the same length.")));
	}
	n = arrays[0].n;
	sent = OrderElements(&arrays[0]);
	if (HasActByHand(&arrays[1]))
		SendWhoActs(psprintf("%.*s", (int) (strlen(name) - strlen("_apart")), name));
	rows = palloc_extended(Max(n, 1) * sizeof(HeapTuple), MCXT_ALLOC_HUGE);

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT * FROM loyalty.%s($1, $2",
					 quote_identifier(psprintf("%.*s_of", (int) (strlen(name) - strlen("_apart")), name)));
	types[0] = INT8OID;
	types[1] = INT8ARRAYOID;
	nulls[0] = nulls[1] = ' ';
	for (int arg = 1; arg < nargs; arg++)
	{
		types[arg + 1] = argtypes[arg];
		nulls[arg + 1] = arrays[arg].given ? ' ' : 'n';
		appendStringInfo(&query, ", $%d", arg + 2);
	}
	appendStringInfoChar(&query, ')');

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int first = 0, count; first < n; first += count)
	{
		Datum	   *picked = palloc(n * sizeof(Datum));

		CHECK_FOR_INTERRUPTS();
		for (count = 0; first + count < n && sent[first + count].member_id == sent[first].member_id; count++)
			picked[count] = Int64GetDatum(sent[first + count].number);
		values[0] = Int64GetDatum(sent[first].member_id);
		values[1] = PointerGetDatum(construct_array(picked, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		for (int arg = 1; arg < nargs; arg++)
			values[arg + 1] = arrays[arg].given ? PickElements(&arrays[arg], picked, count) : (Datum) 0;
		if (SPI_execute_with_args(query.data, nargs + 1, types, values, nulls, false, 0) != SPI_OK_SELECT || SPI_processed != (uint64) count)
			elog(ERROR, "\"%s\" returned " UINT64_FORMAT " rows for %d elements", query.data, SPI_processed, count);
		for (int i = 0; i < count; i++)
		{
			bool		isnull;
			HeapTuple	row = SPI_tuptable->vals[i];

			rows[DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull)) - 1] = SPI_copytuple(row);
		}
		SPI_freetuptable(SPI_tuptable);
		pfree(picked);
	}
	SPI_finish();
	for (int i = 0; i < n; i++)
		tuplestore_puttuple(rsinfo->setResult, rows[i]);
	return (Datum) 0;
}

/*
 * <function>_of(member_id bigint, ordinals bigint[], ...): a function with
 * member_ids in place of these two, for elements that are all one member's, on the
 * machine of the member.
 */
PG_FUNCTION_INFO_V1(loyalty_of_one_member);
Datum
loyalty_of_one_member(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(inner, FUNC_MAX_ARGS);
	char	   *name = get_func_name(fcinfo->flinfo->fn_oid);
	const Datum *before = numbers;
	Oid		   *argtypes;
	Oid			types[FUNC_MAX_ARGS];
	Datum	   *ordinals;
	Datum	   *members;
	bool	   *nulls;
	FmgrInfo	function;
	int			nargs;
	int			n;
	volatile Datum result = 0;

	RequireArgument(fcinfo, 0, "member_id");
	RequireArgument(fcinfo, 1, "ordinals");
	RequireHere(PG_GETARG_INT64(0), name);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ordinals, &nulls, &n);
	members = palloc(Max(n, 1) * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("element %d of \"ordinals\" must not be NULL", i + 1),
					 errdetail("It numbers an element."),
					 errhint("Call the function that this is a part of.")));
		members[i] = PG_GETARG_DATUM(0);
	}

	(void) get_func_signature(fcinfo->flinfo->fn_oid, &argtypes, &nargs);
	types[0] = INT8ARRAYOID;
	for (int arg = 2; arg < nargs; arg++)
		types[arg - 1] = argtypes[arg];
	fmgr_info(LookupFuncName(list_make2(makeString("loyalty"), makeString(psprintf("%.*s", (int) (strlen(name) - strlen("_of")), name))),
							 nargs - 1, types, false), &function);
	InitFunctionCallInfoData(*inner, &function, nargs - 1, fcinfo->fncollation, NULL, fcinfo->resultinfo);
	inner->args[0].value = PointerGetDatum(construct_array(members, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	inner->args[0].isnull = false;
	for (int arg = 2; arg < nargs; arg++)
		inner->args[arg - 1] = fcinfo->args[arg];

	numbers = ordinals;
	PG_TRY();
	{
		result = FunctionCallInvoke(inner);
	}
	PG_FINALLY();
	{
		numbers = before;
	}
	PG_END_TRY();
	fcinfo->isnull = inner->isnull;
	return result;
}
