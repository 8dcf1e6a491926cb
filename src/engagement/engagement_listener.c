/*
 * engagement_listener.c
 *		What follows from activities, in their commits.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "core/core.h"
#include "core/happened.h"
#include "engagement/engagement.h"
#include "ledger/ledger.h"

static bool
WantsActivity(const char *kind)
{
	return ConcernsOfKind(kind) != 0;
}

/* Those whom a change concerns: ascending, each once. */
static int
MembersOfChange(const ActivityChange *change, int64 member_ids[2])
{
	int64		now_id = CanonicalMember(change->now->member_id);
	int64		before_id = change->before != NULL ? CanonicalMember(change->before->member_id) : now_id;

	member_ids[0] = Min(now_id, before_id);
	member_ids[1] = Max(now_id, before_id);
	return now_id == before_id ? 1 : 2;
}

static void
LockStates(ActivityChange *change)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.lock_engagement($1)",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	int64		member_ids[2];
	int			n = MembersOfChange(change, member_ids);

	for (int i = 0; i < n; i++)
	{
		Datum		value = Int64GetDatum(member_ids[i]);

		RunPlan(&plan, &value, NULL, 0);
	}
}

static void
ActivityStored(ActivityChange *change)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.engage($1, $2, $3)",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	int64		member_ids[2];
	int			n = MembersOfChange(change, member_ids);
	int			concerns = ConcernsOfKind(change->now->kind);

	for (int i = 0; i < n; i++)
	{
		Datum		values[3] = {Int64GetDatum(member_ids[i]), CStringGetTextDatum(change->now->kind), TimestampTzGetDatum(change->at)};

		if ((concerns & CONCERNS_BADGES) != 0)
			RunPlan(&plan, values, NULL, 0);
	}
}

/*
 * Part of EngagementInit().
 */
void
EngagementListenerInit(void)
{
	static const char *const kinds[] = {"badge_earned", NULL};
	static const ActivityListener activities = {
		.wants = WantsActivity,
		.lock_last = LockStates,
		.stored = ActivityStored
	};

	DeclareHappenings(kinds);
	OnActivityChange(&activities);
	BringAboutActivities("challenge");
}
