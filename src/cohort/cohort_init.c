/*
 * cohort_init.c
 *		What room cohort sets up once per session.
 */
#include "postgres.h"

#include "cohort/cohort.h"

ROOM_INIT(Cohort)
{
	RegisterState(&tally_state);
	RegisterState(&members_state);
	RegisterState(&amounts_state);
	RegisterState(&slots_state);
	RegisterState(&values_state);
	RegisterState(&discount_state);
}
