/*
 * activity_listener.c
 *		Rooms to which activities mean something, and word of changes to them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/lmgr.h"

#include "activity/activity.h"
#include "core/core.h"

#define MAX_ACTIVITY_LISTENERS	8
#define MAX_KINDS_BROUGHT_ABOUT	8

static const ActivityListener *listeners[MAX_ACTIVITY_LISTENERS];
static int	nlisteners = 0;

static const char *brought_about[MAX_KINDS_BROUGHT_ABOUT];
static int	nbrought_about = 0;

/*
 * From now on a room, whose Init function calls this, is told of changes of
 * activities.
 */
void
OnActivityChange(const ActivityListener *listener)
{
	if (nlisteners >= MAX_ACTIVITY_LISTENERS)
		elog(ERROR, "too many listeners to activities");
	listeners[nlisteners++] = listener;
}

/*
 * An activity of any kind may bring about one of this kind, in the commit of
 * the former: who locks for that one locks for this one, too.
 */
void
BringAboutActivities(const char *kind)
{
	if (nbrought_about >= MAX_KINDS_BROUGHT_ABOUT)
		elog(ERROR, "too many kinds of activities are brought about");
	brought_about[nbrought_about++] = kind;
}

bool
IsBroughtAbout(const char *kind)
{
	for (int i = 0; i < nbrought_about; i++)
	{
		if (strcmp(brought_about[i], kind) == 0)
			return true;
	}
	return false;
}

/*
 * From here until the transaction ends nobody changes what activities mean: who
 * defines it waits for us, or we for him; the lock brings word of what was
 * defined before.  It comes before all others, and who defines waits for nothing
 * else once he has it.
 */
void
KeepDefinitions(void)
{
	Oid			relid = LoyaltyTable("activity");

	if (!XactReadOnly && OidIsValid(relid))
		LockRelationOid(relid, RowExclusiveLock);
}

bool
AnyoneWantsActivity(const char *kind)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i]->wants(kind))
			return true;
	}
	return false;
}

/*
 * Calls one function of each listener that wants the kind and has it.
 */
#define TELL(function, change) \
	do { \
		for (int i = 0; i < nlisteners; i++) \
		{ \
			if (listeners[i]->function != NULL && listeners[i]->wants((change)->now->kind)) \
				listeners[i]->function(change); \
		} \
	} while (0)

void
LockForChange(ActivityChange *change)
{
	TELL(lock, change);
	TELL(lock_last, change);
}

void
PriceChange(ActivityChange *change)
{
	Activity   *now = change->now;

	TELL(price, change);
	/* what was taken off a line was never sold */
	for (int i = 0; i < now->nlines; i++)
	{
		if (now->lines[i].sold_quantity == now->lines[i].quantity)
			now->lines[i].sold_amount = now->lines[i].amount;
	}
}

void
TellOfChange(ActivityChange *change)
{
	TELL(stored, change);
}

void
TellAgainOfChange(ActivityChange *change)
{
	TELL(replayed, change);
}
