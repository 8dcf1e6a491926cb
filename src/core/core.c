/*
 * core.c
 *		Module entry point.
 */
#include "postgres.h"

#include "fmgr.h"

#include "core/core.h"
#include "core/plain.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Core's part of _PG_init().
 */
void
CoreInit(void)
{
	TablesInit();
	LayoutInit();
	RightsInit();
	PlainInit();
	ProgramInit();
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
