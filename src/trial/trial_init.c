/*
 * trial_init.c
 *		What room trial sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "trial/trial.h"

ROOM_INIT(Trial)
{
	ExpectLayout("trial", 1);
	TrialPredicateInit();
}
