/*
 * actor.c
 *		The person for whom a transaction acts, as it has named him: the setting
 *		loyalty.actor.  What that counts for, and where it is kept, is another
 *		room's: see src/access/access_act.c.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "core/core.h"

/*
 * The actor that this transaction has named, or NULL.
 */
const char *
NamedActor(void)
{
	const char *actor = GetConfigOption("loyalty.actor", true, false);

	return actor == NULL || *actor == '\0' || !ChangedInTransaction("loyalty.actor") ? NULL : actor;
}
