/*
 * engagement_init.c
 *		What room engagement sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "engagement/engagement.h"

ROOM_INIT(Engagement)
{
	ExpectLayout("engagement", 1);
	EngagementListenerInit();
	EngagementEffectInit();
	EngagementPredicateInit();
}
