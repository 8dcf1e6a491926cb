/*
 * liability_init.c
 *		What room liability sets up once per session.
 */
#include "postgres.h"

#include "liability/liability.h"

ROOM_INIT(Liability)
{
	ExpectLayout("liability", 1);
	RegisterState(&grid_state);
}
