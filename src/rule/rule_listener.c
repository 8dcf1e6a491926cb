/*
 * rule_listener.c
 *		Activities, and what else happens, as room rule hears of it.
 *
 * What happens while an activity is settled (a tier that its points lift) waits
 * until all of its awards are posted, and is settled then, breadth first; what
 * that makes happen after it, up to a depth.  What lies deeper gives nothing, and
 * a row says so.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "activity/activity.h"
#include "activity/activity_record.h"
#include "activity/effect.h"
#include "benefit/household.h"
#include "core/core.h"
#include "core/happened.h"
#include "ledger/post.h"
#include "ledger/wallet.h"
#include "rule/rule.h"

/* How deep what an award makes happen may earn another award. */
#define MAX_DEPTH	4

#define TIER_CHANGED	"tier_changed"

/* Something that happened, to be settled */
typedef struct Chained
{
	Activity	activity;		/* as which campaigns see it */
	int			depth;
} Chained;

/* What is being settled, with what it makes happen; NULL: nothing */
typedef struct RunningSettlement
{
	MemoryContext context;
	List	   *chained;
	int			depth;
	int64		activity_id;
	int32		revision;
	const char *reason;			/* why it is decided anew; NULL: it is not */
	TimestampTz at;				/* of the change */
} RunningSettlement;

static RunningSettlement *running = NULL;

/* ---------------------------------------------------------------------------
 * Locks
 * ---------------------------------------------------------------------------
 */

/*
 * Locks a wallet.  Where there is none, nobody opens it until UnlockMissing():
 * he would wait for what we lock after it, and we for him.
 */
static void
LockWalletOrNone(int64 member_id, const char *currency)
{
	if (LockWallet(member_id, currency))
		return;
	LockMissingWallet(member_id, currency);
	if (LockWallet(member_id, currency))
		UnlockMissingWallet(member_id, currency);
}

/*
 * Locks what decisions of members read and change: their wallets, and then
 * their states.
 */
static void
LockMembers(const int64 *member_ids, int n, const List *currencies)
{
	ListCell   *lc;

	for (int i = 0; i < n; i++)
	{
		foreach(lc, currencies)
			LockWalletOrNone(member_ids[i], lfirst(lc));
	}
	for (int i = 0; i < n; i++)
		LockAwardState(member_ids[i]);
}

/*
 * Lets others open the wallets of a member that are not there.  So that a
 * transaction may record as much as it likes, that does not wait for its end.
 */
static void
UnlockMissing(int64 member_id, const char *kind)
{
	const List *currencies = CurrenciesOf(OpenRuleBook(), kind);
	ListCell   *lc;

	member_id = CanonicalMember(member_id);
	foreach(lc, currencies)
		UnlockMissingWallet(member_id, lfirst(lc));
}

static bool
WantsActivity(const char *kind)
{
	return BookConcerns(OpenRuleBook(), kind);
}

/* A member to lock */
typedef struct ToLock
{
	int64		member_id;
	bool		is_household;	/* whose wallets are locked where there are any */
} ToLock;

static int
CompareToLock(const void *a, const void *b)
{
	int64		x = ((const ToLock *) a)->member_id;
	int64		y = ((const ToLock *) b)->member_id;

	return x == y ? 0 : x < y ? -1 : 1;
}

/*
 * The same as LockMembers(), together with the households that a decision may
 * change: those in which the member was at the activity, and those that have
 * what it was given before.
 */
static void
LockWithHouseholds(const ActivityChange *change, const int64 *member_ids, int n, const List *currencies)
{
	const Activity *versions[2] = {change->now, change->before};
	int			nheld;
	int64	   *held = WalletsOfHeld(change->before != NULL ? change->before->member_id : change->now->member_id,
									 change->now->activity_id, &nheld);
	ToLock	   *all = palloc0((n + nheld + 2) * sizeof(ToLock));
	int			nall = 0;

	for (int i = 0; i < n; i++)
		all[nall++].member_id = member_ids[i];
	for (int i = 0; i < nheld; i++)
		all[nall++] = (ToLock) {held[i], true};
	for (int i = 0; i < 2 && versions[i] != NULL; i++)
		all[nall++] = (ToLock) {HouseholdAsOf(versions[i]->member_id, versions[i]->at), true};
	qsort(all, nall, sizeof(ToLock), CompareToLock);
	for (int i = 0; i < nall; i++)
	{
		ListCell   *lc;

		foreach(lc, currencies)
		{
			if (!all[i].is_household)
				LockWalletOrNone(all[i].member_id, lfirst(lc));
			else if (all[i].member_id != 0)
				(void) LockWallet(all[i].member_id, lfirst(lc));
		}
	}
	for (int i = 0; i < nall; i++)
	{
		if (all[i].member_id != 0 && (i == 0 || all[i].member_id != all[i - 1].member_id))
			LockAwardState(all[i].member_id);
	}
}

static void
LockForActivity(ActivityChange *change)
{
	int64		home_ids[2] = {change->now->member_id, change->before != NULL ? change->before->member_id : change->now->member_id};
	int64		member_ids[2];
	int			n = home_ids[0] == home_ids[1] ? 1 : 2;
	const List *currencies;

	for (int i = 0; i < n; i++)
		member_ids[i] = CanonicalMember(home_ids[i]);
	if (n == 2 && member_ids[0] > member_ids[1])
	{
		int64		lower = member_ids[1];

		member_ids[1] = member_ids[0];
		member_ids[0] = lower;
	}
	if (n == 2 && member_ids[0] == member_ids[1])
		n = 1;
	currencies = CurrenciesOf(OpenRuleBook(), change->now->kind);
	if (BookPaysHouseholds(OpenRuleBook()))
		LockWithHouseholds(change, member_ids, n, currencies);
	else
		LockMembers(member_ids, n, currencies);
	for (int i = 0; i < (home_ids[0] == home_ids[1] ? 1 : 2); i++)
	{
		int64		canonical = CanonicalMember(home_ids[i]);

		if (canonical != member_ids[0] && canonical != member_ids[n - 1])
			RestartCall("members were merged or unmerged at this moment");
	}
}

/* ---------------------------------------------------------------------------
 * What happened
 * ---------------------------------------------------------------------------
 */

static bool
HearsOf(const char *kind)
{
	if (FindCause(kind) == NULL)
		return false;
	KeepDefinitions();
	return BookConcerns(OpenRuleBook(), kind);
}

static char *
PayloadText(Datum payload, const char *key)
{
	JsonbValue	found;

	if (getKeyJsonValueFromContainer(&DatumGetJsonbP(payload)->root, key, strlen(key), &found) == NULL)
		return NULL;
	if (found.type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(found.val.numeric)));
	return found.type == jbvString ? pnstrdup(found.val.string.val, found.val.string.len) : NULL;
}

/* An instant, as no setting of a session changes it. */
static char *
InstantName(TimestampTz at)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	tm.tm_isdst = 0;			/* so that it says +00 */
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, text);
	return pstrdup(text);
}

/* tier_changed:club:silver:2026-05-04 08:00:00+00 */
static char *
CauseName(const Activity *activity)
{
	const CampaignCause *cause = FindCause(activity->kind);
	StringInfoData name;

	initStringInfo(&name);
	appendStringInfo(&name, "%s:", activity->kind);
	for (const char *const *key = cause->keys; *key != NULL; key++)
	{
		char	   *text = PayloadText(activity->document, *key);

		appendStringInfo(&name, "%s:", text != NULL ? text : "");
	}
	appendStringInfoString(&name, InstantName(activity->at));
	return name.data;
}

/* What is held of the steps that are lost with a level. */
static void
LoadLostSteps(Settlement *settlement, const Activity *activity, const char *ladder, const char *from)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.lost_steps($1, $2, $3, $4, $5)",
		.nargs = 5,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	char	   *to = PayloadText(activity->document, "to");
	Datum		values[5] = {
		settlement->numbers, CStringGetTextDatum(ladder), CStringGetTextDatum(from), CStringGetTextDatum(to != NULL ? to : ""), TimestampTzGetDatum(activity->at)
	};
	MemoryContext target = CurrentMemoryContext;
	SPITupleTable *table;
	uint64		n;

	RunPlan(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
		LoadHeldByCause(&settlement->held, settlement->numbers, SPI_getvalue(table->vals[i], table->tupdesc, 1));
}

/*
 * A level that is lost because something was returned was not reached: what it
 * gave is given back, but for campaigns that keep it.
 */
static void
TakeBackOfStep(Settlement *settlement, const Activity *activity)
{
	char	   *ladder = PayloadText(activity->document, "ladder");
	char	   *from = PayloadText(activity->document, "from");
	char	   *reason = PayloadText(activity->document, "reason");

	if (strcmp(activity->kind, TIER_CHANGED) != 0 || ladder == NULL || from == NULL || reason == NULL || strcmp(reason, "returned") != 0)
		return;
	LoadLostSteps(settlement, activity, ladder, from);
	for (int i = 0; i < settlement->held.n; i++)
	{
		HeldAward  *award = settlement->held.awards[i];
		const Campaign *campaign = FindVersion(settlement->book, award->campaign, award->version);

		award->is_taken = campaign == NULL || campaign->keep;
	}
}

static Datum
OnlyNumber(int64 member_id)
{
	Datum		number = Int64GetDatum(member_id);

	return PointerGetDatum(construct_array(&number, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * Settles something that happened, as an activity of its kind.
 */
static void
SettleHappening(const Chained *chained, int64 *points, int *awards)
{
	Settlement	settlement;

	BeginSettlement(&settlement, OpenRuleBook(), chained->activity.member_id, &chained->activity);
	settlement.cause = CauseName(&chained->activity);
	settlement.cause_activity_id = running->activity_id;
	settlement.cause_revision = running->revision;
	settlement.reason = running->reason;
	settlement.at = Max(chained->activity.at, running->at);
	LoadHeldByCause(&settlement.held, OnlyNumber(settlement.home_id), settlement.cause);
	TakeBackOfStep(&settlement, &chained->activity);
	running->depth = chained->depth;
	settlement.too_deep = chained->depth > MAX_DEPTH;
	Settle(&settlement);
	*points += settlement.points;
	*awards += settlement.awards;
}

/* Settles what waits, and what that makes happen. */
static void
SettleChained(int64 *points, int *awards)
{
	while (running->chained != NIL)
	{
		Chained    *chained = linitial(running->chained);

		CHECK_FOR_INTERRUPTS();
		running->chained = list_delete_first(running->chained);
		SettleHappening(chained, points, awards);
	}
}

static Chained *
MakeChained(const Happening *happening, int depth)
{
	Chained    *chained = palloc0(sizeof(Chained));
	Activity   *activity = &chained->activity;

	activity->member_id = happening->member_id;
	activity->kind = pstrdup(happening->kind);
	activity->at = happening->at;
	activity->time_zone = FindTimeZone(NULL);
	activity->local_day = LocalDay(happening->at, activity->time_zone);
	activity->document = PointerGetDatum(DatumGetJsonbPCopy(happening->payload));
	activity->confirmed = true;
	chained->depth = depth;
	return chained;
}

/* Settles what happened with no activity being settled. */
static void
SettleAlone(void *arg)
{
	const Happening *happening = arg;
	RunningSettlement alone = {.context = CurrentMemoryContext};
	int64		member_id = CanonicalMember(happening->member_id);
	int64		points = 0;
	int			awards = 0;

	running = &alone;
	PG_TRY();
	{
		LockMembers(&member_id, 1, NIL);
		running->chained = lappend(NIL, MakeChained(happening, 1));
		SettleChained(&points, &awards);
	}
	PG_FINALLY();
	{
		running = NULL;
	}
	PG_END_TRY();
}

/*
 * Something happened: it is settled once what made it happen is settled.
 */
static void
HeardOf(const Happening *happening)
{
	if (running != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(running->context);

		running->chained = lappend(running->chained, MakeChained(happening, running->depth + 1));
		MemoryContextSwitchTo(old);
		return;
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunRestartable(SettleAlone, unconstify(Happening *, happening));
	SPI_finish();
}

/*
 * Something may happen: the wallets into which campaigns could pay then are
 * locked, as far as they come before one.
 */
static void
Expected(const char *kind, int64 member_id, const char *currency)
{
	const List *currencies;
	ListCell   *lc;

	/* those that a decision could pay into are locked since it began */
	if (running != NULL)
		return;
	member_id = CanonicalMember(member_id);
	currencies = CurrenciesOf(OpenRuleBook(), kind);
	foreach(lc, currencies)
	{
		if (currency == NULL || strcmp(lfirst(lc), currency) < 0)
			(void) LockWallet(member_id, lfirst(lc));
	}
}

/* ---------------------------------------------------------------------------
 * Activities
 * ---------------------------------------------------------------------------
 */

static void
SettleActivity(ActivityChange *change, int64 member_id, const Activity *activity)
{
	Settlement	settlement;

	BeginSettlement(&settlement, OpenRuleBook(), member_id, activity);
	settlement.before = change->before;
	settlement.is_return = change->is_return;
	settlement.at = change->at;
	Settle(&settlement);
	change->points += settlement.points;
	change->awards += settlement.awards;
}

static void
ActivityStored(ActivityChange *change)
{
	RunningSettlement settling = {
		.context = CurrentMemoryContext,.activity_id = change->now->activity_id,.revision = change->now->revision,.at = change->at
	};

	running = &settling;
	PG_TRY();
	{
		if (change->before != NULL && change->before->member_id != change->now->member_id)
		{
			Activity	gone = *change->before;

			/* nothing there, everything here */
			gone.cancelled = true;
			gone.revision = change->now->revision;
			SettleActivity(change, gone.member_id, &gone);
			/* the difference that is told is that of the member who has it now */
			change->points = 0;
			change->awards = 0;
		}
		SettleActivity(change, change->now->member_id, change->now);
		SettleChained(&change->points, &change->awards);
	}
	PG_FINALLY();
	{
		running = NULL;
	}
	PG_END_TRY();
	UnlockMissing(change->now->member_id, change->now->kind);
	if (change->before != NULL && change->before->member_id != change->now->member_id)
		UnlockMissing(change->before->member_id, change->now->kind);
}

/*
 * Decides a campaign anew for a stored activity, by what is known now, and posts
 * the difference.  *awards: how many were changed.
 */
void
SettleAgain(const Activity *activity, const char *campaign, const char *reason, bool take_back, int *awards)
{
	RunningSettlement settling = {
		.context = CurrentMemoryContext,.activity_id = activity->activity_id,.revision = activity->revision,.reason = reason,
		.at = GetCurrentTransactionStartTimestamp()
	};
	Settlement	settlement;
	int64		points = 0;

	running = &settling;
	PG_TRY();
	{
		BeginSettlement(&settlement, OpenRuleBook(), activity->member_id, activity);
		settlement.before = activity;
		settlement.reapplied = campaign;
		settlement.reason = reason;
		settlement.take_back = take_back;
		settlement.at = settling.at;
		Settle(&settlement);
		*awards = settlement.awards;
		SettleChained(&points, awards);
	}
	PG_FINALLY();
	{
		running = NULL;
	}
	PG_END_TRY();
}

static void
ActivityReplayed(ActivityChange *change)
{
	static KeptPlan plan = {
		.query = "SELECT coalesce(pg_catalog.sum(points) FILTER (WHERE currency OPERATOR(pg_catalog.=) 'points'), 0)::pg_catalog.int8, "
		"pg_catalog.count(DISTINCT (campaign, effect, window_start, cause)) FILTER (WHERE points OPERATOR(pg_catalog.<>) 0) "
		"FROM loyalty.award WHERE member_id OPERATOR(pg_catalog.=) ANY ($4) AND (member_id OPERATOR(pg_catalog.=) $1 OR window_start IS NOT NULL OR cause IS NOT NULL) "
		"AND activity_id OPERATOR(pg_catalog.=) $2 AND revision OPERATOR(pg_catalog.=) $3 AND reason IS NULL",
		.nargs = 4,
		.argtypes = {INT8OID, INT8OID, INT4OID, INT8ARRAYOID}
	};
	Datum		values[4] = {
		Int64GetDatum(change->now->member_id), Int64GetDatum(change->now->activity_id), Int32GetDatum(change->now->revision),
		NumbersOf(change->now->member_id, NULL)
	};
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	change->points += DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	change->awards += (int) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
}

/* A call of reapply_activity(), which may begin anew. */
typedef struct Reapplying
{
	int64		member_id;
	int64		activity_id;
	const char *campaign;
	const char *reason;
	bool		take_back;
	int			awards;
} Reapplying;

static void
Reapply(void *arg)
{
	Reapplying *call = arg;
	ActivityRow row;
	ActivityChange change = {.now = &row.activity};

	FindStoredActivity(call->member_id, call->activity_id, &row);
	LockForActivity(&change);
	/* as it is now that nobody else changes it */
	FindStoredActivity(call->member_id, call->activity_id, &row);
	SettleAgain(&row.activity, call->campaign, call->reason, call->take_back, &call->awards);
	UnlockMissing(row.activity.member_id, row.activity.kind);
}

/*
 * reapply_activity(member_id bigint, activity_id bigint, campaign text, reason text, take_back boolean) -> boolean
 */
PG_FUNCTION_INFO_V1(loyalty_reapply_activity);
Datum
loyalty_reapply_activity(PG_FUNCTION_ARGS)
{
	Reapplying	call = {
		.member_id = MemberArgument(fcinfo, 0, "member_id"),
		.activity_id = MemberArgument(fcinfo, 1, "activity_id"),
		.take_back = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4)
	};

	RequireOwner();
	RequireWritable();
	RequireArgument(fcinfo, 2, "campaign");
	RequireArgument(fcinfo, 3, "reason");
	call.campaign = TextArgument(fcinfo, 2);
	call.reason = TextArgument(fcinfo, 3);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	KeepDefinitions();
	RunRestartable(Reapply, &call);
	SPI_finish();
	PG_RETURN_BOOL(call.awards > 0);
}

/*
 * Part of RuleInit().
 */
void
RuleListenerInit(void)
{
	static const ActivityListener activities = {
		.wants = WantsActivity,
		.lock = LockForActivity,
		.stored = ActivityStored,
		.replayed = ActivityReplayed
	};
	static const Hearer hearer = {.hears = HearsOf,.heard = HeardOf,.expected = Expected};
	static const char *const of_step[] = {"ladder", "to", NULL};
	static const CampaignCause step = {.kind = TIER_CHANGED,.keys = of_step};

	OnActivityChange(&activities);
	OnHappening(&hearer);
	RegisterCause(&step);
}
