/*
 * rfm_init.c
 *		What room rfm sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "core/state.h"
#include "rfm/rfm.h"

ROOM_INIT(Rfm)
{
	ExpectLayout("rfm", 1);
	RegisterState(&rfm_collapse_state);
	RegisterState(&rfm_breaks_state);
}
