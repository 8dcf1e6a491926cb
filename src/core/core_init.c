/*
 * core_init.c
 *		Module entry point, and what room core sets up once per session.
 */
#include "postgres.h"

#include "fmgr.h"

#include "core/core.h"
#include "core/plain.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

ROOM_INIT(Core)
{
	TablesInit();
	LayoutInit();
	BehindInit();
	OwnTriggersInit();
	SpreadPlaceInit();
	SpreadPartInit();
	PlainInit();
}

/*
 * Called once when the library is loaded into a session: <Room>Init() of every
 * room that has one, in install order.  The Makefile makes the list, of ROOMS
 * and the files <room>_init.c: INIT(Core) INIT(Ledger) ...
 */
#define INIT(room) extern void room##Init(void);
ROOM_INITS
#undef INIT

void
_PG_init(void)
{
#define INIT(room) room##Init();
	ROOM_INITS
#undef INIT
}
