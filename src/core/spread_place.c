/*
 * spread_place.c
 *		Where functions work, once tables are spread over several machines.
 *
 * What is not right on several machines is refused (LY007).  Functions know
 * nothing of that, and pay nothing for it on one machine: distribute() gives
 * those that are to be refused a setting of their own, loyalty.only_on, which
 * cannot be set where tables are spread.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "utils/guc.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"

static char *only_on = NULL;

/*
 * What a setting of loyalty.only_on means: "coordinator post_many" for a
 * function that works there only, "one machine post_many" for one that does not
 * work where tables are spread.
 */
static bool
CheckOnlyOn(char **newval, void **extra, GucSource source)
{
	const char *value = *newval;
	const char *name = strrchr(value, ' ');
	bool		on_coordinator = strncmp(value, "coordinator ", strlen("coordinator ")) == 0;

	(void) extra;
	/* whatever looks at one part is right for its members */
	if (name == NULL || source == PGC_S_TEST || !IsTransactionState() || IsParallelWorker() || SeesPart() || !TablesAreSpread() ||
		(on_coordinator && IsCoordinator()))
		return true;
	if (on_coordinator)
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("%s() works on the coordinator only", name + 1),
				 errdetail("The tables are spread over several machines, and this is one of the others."),
				 errhint("Call it in a session with the coordinator.")));
	ereport(ERROR,
			(errcode(ERRCODE_LY_SPREAD),
			 errmsg("%s() does not work on tables that are spread over several machines", name + 1),
			 errdetail("It reads or writes what belongs to several members, and one machine does not see all of it."),
			 errhint("Call functions of single members, or run the program on one machine.")));
	return false;
}

/*
 * Part of CoreInit().
 */
void
SpreadPlaceInit(void)
{
	/* in a session that was there before an update, by the library of then */
	if (FindSetting("loyalty.only_on") == NULL)
		DefineCustomStringVariable("loyalty.only_on",
								   "Where a function works, once tables are spread over several machines.",
								   "Set by loyalty.distribute(), for functions.",
								   &only_on, "", PGC_USERSET, GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL, CheckOnlyOn, NULL, NULL);
}
