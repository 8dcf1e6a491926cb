/*
 * argument.c
 *		Arguments of functions, how messages write them, and types of results.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "core/errors.h"

/*
 * An argument that must be given.
 */
void
RequireArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must not be NULL", name),
				 errdetail("It has no default that NULL could stand for."),
				 errhint("Give a value for %s.", name)));
}

/*
 * The member that a call addresses.
 */
int64
MemberArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	RequireArgument(fcinfo, n, name);
	return PG_GETARG_INT64(n);
}

/*
 * A text, or NULL.
 */
char *
TextArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * Texts, none of which is NULL; false where the whole is.  what says in messages
 * what each is.
 */
bool
TextsArgument(FunctionCallInfo fcinfo, int n, const char *what, const char ***texts, int *ntexts)
{
	Datum	   *values;
	bool	   *nulls;

	if (PG_ARGISNULL(n))
		return false;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, ntexts);
	*texts = palloc(Max(*ntexts, 1) * sizeof(char *));
	for (int i = 0; i < *ntexts; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("a %s must not be NULL", what),
					 errdetail("It is %s %d of %d.", what, i + 1, *ntexts),
					 errhint("Leave it out.")));
		(*texts)[i] = TextDatumGetCString(values[i]);
	}
	return true;
}

/*
 * Puts a text, or NULL, into a column of a row that is made.
 */
void
PutText(Datum *values, bool *nulls, int column, const char *text)
{
	values[column] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
	nulls[column] = text == NULL;
}

/*
 * An instant as the session shows it.
 */
char *
TimestampText(TimestampTz t)
{
	return pstrdup(timestamptz_to_str(t));
}

/*
 * The order of instants, for qsort().
 */
int
CompareInstants(const void *a, const void *b)
{
	TimestampTz x = *(const TimestampTz *) a;
	TimestampTz y = *(const TimestampTz *) b;

	return x < y ? -1 : x > y;
}

/*
 * The row type of a function's results, which is the same for every call.
 */
TupleDesc
ResultType(TupleDesc *kept, FunctionCallInfo fcinfo)
{
	if (*kept == NULL)
	{
		TupleDesc	tupdesc;
		MemoryContext old;

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		old = MemoryContextSwitchTo(TopMemoryContext);
		*kept = BlessTupleDesc(CreateTupleDescCopy(tupdesc));
		MemoryContextSwitchTo(old);
	}
	return *kept;
}
