/*
 * match_init.c
 *		What room match sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"

ROOM_INIT(Match)
{
	ExpectLayout("match", 1);
}
