/*
 * clv_init.c
 *		What room clv sets up once per session.
 */
#include "postgres.h"

#include "clv/clv.h"
#include "core/state.h"

ROOM_INIT(Clv)
{
	RegisterState(&sample_state);
}
