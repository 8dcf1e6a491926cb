/*
 * argument.c
 *		Arguments of functions, and how messages write them.
 */
#include "postgres.h"

#include "fmgr.h"
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
 * An instant as the session shows it.
 */
char *
TimestampText(TimestampTz t)
{
	return pstrdup(timestamptz_to_str(t));
}
