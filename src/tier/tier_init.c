/*
 * tier_init.c
 *		What room tier sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "core/happened.h"
#include "tier/tier_program.h"

ROOM_INIT(Tier)
{
	static const char *const kinds[] = {"tier_changed", NULL};

	ExpectLayout("tier", 1);
	DeclareHappenings(kinds);
	TierEntryInit();
}
