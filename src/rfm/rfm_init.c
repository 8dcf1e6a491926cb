/*
 * rfm_init.c
 *		What room rfm sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"

ROOM_INIT(Rfm)
{
	ExpectLayout("rfm", 1);
}
