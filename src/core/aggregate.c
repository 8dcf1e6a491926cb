/*
 * aggregate.c
 *		What aggregates of all rooms need: the context that their state lives
 *		in, and sums of counts.
 */
#include "core/core.h"

#include "fmgr.h"
#include "utils/lsyscache.h"

/*
 * The context that an aggregate's state lives in; errors out when the function
 * was called outside an aggregate.
 */
MemoryContext
AggregateContext(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s was called outside an aggregate", get_func_name(fcinfo->flinfo->fn_oid)),
				 errdetail("It is a part of an aggregate, no function for itself."),
				 errhint("Call the aggregate that its comment names.")));
	return context;
}

/*
 * The error of AddCounts: 22003, as sum(bigint) has it.
 */
void
CountsOverflow(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("the counts add up to more than a bigint holds"),
			 errdetail("The largest count is " INT64_FORMAT ".", PG_INT64_MAX),
			 errhint("Look for values that were not computed, but written by hand.")));
}
