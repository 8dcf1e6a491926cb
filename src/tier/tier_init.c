/*
 * tier_init.c
 *		What room tier sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "tier/tier_program.h"

ROOM_INIT(Tier)
{
	ExpectLayout("tier", 1);
	LadderCacheInit();
	TierEntryInit();
}
