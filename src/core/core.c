/*
 * core.c
 *		Module entry point.
 */
#include "postgres.h"

#include "fmgr.h"

#include "core/core.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

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

/*
 * Called once when the library is loaded into a backend: a table of contents.
 */
void
_PG_init(void)
{
	CoreInit();
	LedgerInit();
	MemberInit();
	RfmInit();
	TierInit();
}
