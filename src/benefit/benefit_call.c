/*
 * benefit_call.c
 *		Arguments and results of functions of room benefit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "benefit/benefit_call.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"

/*
 * A finite instant that must be given.
 */
TimestampTz
InstantArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	RequireArgument(fcinfo, n, name);
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(n)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must be a finite instant", name),
				 errdetail("It is %s.", TimestampText(PG_GETARG_TIMESTAMPTZ(n))),
				 errhint("Leave it out for now.")));
	return PG_GETARG_TIMESTAMPTZ(n);
}

/*
 * A finite instant after another one.
 */
TimestampTz
LaterArgument(FunctionCallInfo fcinfo, int n, const char *name, TimestampTz at)
{
	TimestampTz later = InstantArgument(fcinfo, n, name);

	if (later <= at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must be after at", name),
				 errdetail("It is %s, and at is %s.", TimestampText(later), TimestampText(at)),
				 errhint("Give a later instant.")));
	return later;
}

/*
 * As of when is asked; NULL: now.
 */
TimestampTz
AsOfArgument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? GetCurrentStatementStartTimestamp() : InstantArgument(fcinfo, n, "as_of");
}

/*
 * How many, from 1 on.
 */
int64
QuantityArgument(FunctionCallInfo fcinfo, int n, int64 most)
{
	RequireArgument(fcinfo, n, "quantity");
	if (PG_GETARG_INT64(n) < 1 || PG_GETARG_INT64(n) > most)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("quantity must be from 1 to " INT64_FORMAT, most),
				 errdetail("It is " INT64_FORMAT ".", PG_GETARG_INT64(n)),
				 errhint("Leave it out for one.")));
	return PG_GETARG_INT64(n);
}

/*
 * An amount of money, which is not negative, and how many decimals it has.
 */
Micros
AmountArgument(FunctionCallInfo fcinfo, int n, const char *name, int *decimals)
{
	Datum		zero = DirectFunctionCall1(int8_numeric, Int64GetDatum(0));

	RequireArgument(fcinfo, n, name);
	*decimals = 0;
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, PG_GETARG_DATUM(n), zero)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must not be negative", name),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, PG_GETARG_DATUM(n)))),
				 errhint("Give what is to be paid.")));
	return MicrosFromNumeric(PG_GETARG_DATUM(n), name, decimals);
}

/*
 * Begins a call that writes, as the owner of the tables, with an SPI connection.
 */
void
BeginCall(void)
{
	RequireOwner();
	BeginRead();
}

/*
 * The same of one that reads.
 */
void
BeginRead(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/*
 * A row of results, beyond the SPI connection.
 */
Datum
ResultRow(FunctionCallInfo fcinfo, const Datum *values, const bool *nulls)
{
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), unconstify(Datum *, values), unconstify(bool *, nulls)));
}
