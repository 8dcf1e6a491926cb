/*
 * bi_init.c
 *		What room bi sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "core/happened.h"

ROOM_INIT(Bi)
{
	static const char *const happenings[] = {"goal_reached", "goal_left", NULL};

	ExpectLayout("bi", 1);
	DeclareHappenings(happenings);
}
