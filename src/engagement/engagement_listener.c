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
#include "engagement/board.h"
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

/*
 * Who referred a member, as long as what the member does may reward that one;
 * 0: nobody.
 */
static int64
ReferrerOf(int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT referrer_id FROM loyalty.referral WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND (decision IS NULL AND why IS NULL OR decision OPERATOR(pg_catalog.=) 'accept') ORDER BY at, referral_id LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		value = KinOfMember(member_id);
	bool		isnull;

	RunPlan(&plan, &value, NULL, 1);
	return SPI_processed == 0 ? 0 : CanonicalMember(DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
}

/* Locks for the invitation of a member that an activity of another may bring about. */
static void
LockForInvitation(int64 member_id, const ActivityChange *change)
{
	Activity	invitation = {.member_id = member_id,.kind = "invite",.at = change->at};
	ActivityChange invited = {.now = &invitation,.at = change->at};

	LockForChange(&invited);
}

/* Locks for those who referred the members of a change, who come before or after them. */
static void
LockReferrers(const ActivityChange *change, bool before)
{
	int64		member_ids[2];
	int			n;

	if ((ConcernsOfKind(change->now->kind) & CONCERNS_REFERRALS) == 0)
		return;
	n = MembersOfChange(change, member_ids);
	for (int i = 0; i < n; i++)
	{
		int64		referrer_id = ReferrerOf(member_ids[i]);

		if (referrer_id != 0 && referrer_id != member_ids[i] && (referrer_id < member_ids[0]) == before)
			LockForInvitation(referrer_id, change);
	}
}

/* Takes what is due of journeys, before anything is locked or decided. */
static void
TakeSteps(const ActivityChange *change)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.take_steps_of(ARRAY[$1], pg_catalog.clock_timestamp())",
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
LockBefore(ActivityChange *change)
{
	if ((ConcernsOfKind(change->now->kind) & CONCERNS_JOURNEYS) != 0)
		TakeSteps(change);
	LockReferrers(change, true);
}

static void
LockLast(ActivityChange *change)
{
	int64		member_ids[2];
	int			n = MembersOfChange(change, member_ids);

	for (int i = 0; i < n; i++)
		LockEngagement(member_ids[i]);
	LockReferrers(change, false);
}

/* Badges, challenges and referrals of a member, which are read and put by SQL */
static void
Engage(const ActivityChange *change, int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.engage($1, $2)",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(change->now->kind)};

	RunPlan(&plan, values, NULL, 0);
}

static void
ActivityStored(ActivityChange *change)
{
	int64		member_ids[2];
	int			n = MembersOfChange(change, member_ids);
	int			concerns = ConcernsOfKind(change->now->kind);

	for (int i = 0; i < n; i++)
	{
		if ((concerns & CONCERNS_BOARDS) != 0)
			PutScores(change, member_ids[i]);
		if ((concerns & (CONCERNS_BADGES | CONCERNS_REFERRALS)) != 0)
			Engage(change, member_ids[i]);
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
		.lock = LockBefore,
		.lock_last = LockLast,
		.stored = ActivityStored
	};

	DeclareHappenings(kinds);
	OnActivityChange(&activities);
	BringAboutActivities("challenge");
	BringAboutActivities("invite");
	BringAboutActivities("journey");
	BringAboutActivities("club");
	BringAboutActivities("board_place");
}
