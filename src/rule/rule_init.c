/*
 * rule_init.c
 *		What room rule sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"

ROOM_INIT(Rule)
{
}
