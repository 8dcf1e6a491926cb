/*
 * activity_init.c
 *		What room activity sets up once per session.
 */
#include "postgres.h"

#include "activity/activity_row.h"
#include "core/core.h"
#include "core/happened.h"

ROOM_INIT(Activity)
{
	static const char *const happenings[] = {"activity_recorded", "activity_revised", "activity_returned", NULL};

	ExpectLayout("activity", 1);
	DeclareHappenings(happenings);
}
