/*
 * ledger_row_key.c
 *		What SQL asks about award_points(): the names of rows, and the terms of
 *		a trigger.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

#include "core/core.h"
#include "core/errors.h"
#include "ledger/ledger_terms.h"

/*
 * row_key(source text, VARIADIC key text[]): the name of a row, as the entries
 * have it that were posted for it.
 */
PG_FUNCTION_INFO_V1(loyalty_row_key);
Datum
loyalty_row_key(PG_FUNCTION_ARGS)
{
	Datum	   *values;
	bool	   *nulls;
	char	  **parts;
	int			n;

	RequireArgument(fcinfo, 0, "source");
	RequireArgument(fcinfo, 1, "key");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	parts = palloc(Max(n, 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			PG_RETURN_NULL();
		parts[i] = TextDatumGetCString(values[i]);
	}
	PG_RETURN_TEXT_P(cstring_to_text(RowKey(text_to_cstring(PG_GETARG_TEXT_PP(0)), parts, n)));
}

/*
 * row_key_of(source text, key record): the same of values of any type, in the
 * text form that a trigger gives them.
 */
PG_FUNCTION_INFO_V1(loyalty_row_key_of);
Datum
loyalty_row_key_of(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(1);
	TupleDesc	tupdesc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};
	char	  **parts = palloc(Max(tupdesc->natts, 1) * sizeof(char *));
	bool		isnull = false;
	int			n = 0;

	while (n < tupdesc->natts && !isnull)
	{
		Datum		value = heap_getattr(&tuple, n + 1, tupdesc, &isnull);

		if (!isnull)
			parts[n] = KeyText(value, TupleDescAttr(tupdesc, n)->atttypid);
		n++;
	}
	ReleaseTupleDesc(tupdesc);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(RowKey(text_to_cstring(PG_GETARG_TEXT_PP(0)), parts, n)));
}

/*
 * trigger_term(arguments bytea, term text): the value of a term, out of
 * pg_trigger.tgargs; NULL when it is not given.
 */
PG_FUNCTION_INFO_V1(loyalty_trigger_term);
Datum
loyalty_trigger_term(PG_FUNCTION_ARGS)
{
	bytea	   *arguments = PG_GETARG_BYTEA_PP(0);
	char	   *wanted = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const char *end = VARDATA_ANY(arguments) + VARSIZE_ANY_EXHDR(arguments);

	/* each argument ends with a zero byte */
	for (const char *arg = VARDATA_ANY(arguments); arg < end; arg += strlen(arg) + 1)
	{
		char	   *value;

		if (TermValue(arg, wanted, &value))
			PG_RETURN_TEXT_P(cstring_to_text(value));
	}
	PG_RETURN_NULL();
}
