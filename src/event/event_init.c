/*
 * event_init.c
 *		What room event sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "event/event.h"

ROOM_INIT(Event)
{
	ExpectLayout("event", 1);
	EventHearerInit();
}
