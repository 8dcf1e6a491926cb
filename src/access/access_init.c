/*
 * access_init.c
 *		What room access sets up once per session.
 */
#include "postgres.h"

#include "access/access.h"
#include "core/core.h"

ROOM_INIT(Access)
{
	ExpectLayout("access", 1);
	ActInit();
}
