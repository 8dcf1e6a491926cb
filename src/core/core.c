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
