/*
 * audience_init.c
 *		What room audience sets up once per session.
 */
#include "postgres.h"

#include "audience/audience.h"
#include "audience/member_set.h"
#include "core/core.h"
#include "core/happened.h"

static const char *const happenings[] = {"audience_entered", "audience_left", NULL};

ROOM_INIT(Audience)
{
	ExpectLayout("audience", 1);
	RegisterSetBuilder();
	DeclareHappenings(happenings);
	AudienceConditionInit();
}
