/*
 * coupon_issue.c
 *		Coupons are issued: limits, and codes.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "benefit/code.h"
#include "benefit/coupon.h"
#include "core/compat.h"
#include "core/errors.h"
#include "core/escrow.h"
#include "ledger/ledger.h"

/* How many lapsed reservations are taken back at once. */
#define LAPSED_BATCH	16

/*
 * The names of a benefit's limits.  Total is taken from first.
 */
static const char *
TotalName(const Benefit *benefit)
{
	return psprintf("benefit/%s/total", benefit->name);
}

static const char *
PoolName(const Benefit *benefit)
{
	return psprintf("benefit/%s/unused_codes", benefit->name);
}

/*
 * How many coupons of a benefit the member has, under all its numbers, as far as
 * limits count them.
 */
static int64
CountCoupons(int64 member_id, const Benefit *benefit)
{
	static KeptPlan plan = {
		.query = "SELECT count(*) FROM loyalty.coupon c WHERE c.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND c.benefit OPERATOR(pg_catalog.=) $2 AND NOT c.given_back AND c.from_coupon_id IS NULL",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TEXTOID}
	};
	Datum		values[2] = {NumbersOf(member_id, NULL), CStringGetTextDatum(benefit->name)};
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Whether the member, under all its numbers, may have one more.  Locks a row of
 * whoever stands for it, so that calls through different numbers wait for each
 * other.
 */
static bool
IsWithinMemberLimit(int64 member_id, const Benefit *benefit)
{
	static KeptPlan lock = {
		.query = "INSERT INTO loyalty.coupon_limit AS l (member_id, benefit) VALUES ($1, $2) "
		"ON CONFLICT ON CONSTRAINT coupon_limit_pkey DO UPDATE SET asked = l.asked OPERATOR(pg_catalog.+) 1",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	int64		canonical;
	Datum		values[2];

	if (benefit->member_limit == 0)
		return true;
	canonical = CanonicalMember(member_id);
	values[0] = Int64GetDatum(canonical);
	values[1] = CStringGetTextDatum(benefit->name);
	RunPlan(&lock, values, NULL, 0);
	if (CanonicalMember(member_id) != canonical)
		RestartCall("another member stands for it");
	return CountCoupons(member_id, benefit) < benefit->member_limit;
}

/*
 * Takes back coupons that were issued for a basket which has let its time pass,
 * some of them; whoever is using one is left alone, and all are where tables
 * are spread: those of other members are on other machines.  Returns how many.
 */
static int
TakeBackLapsed(const Benefit *benefit, TimestampTz at)
{
	static KeptPlan plan = {
		.query = "SELECT c.member_id, c.coupon_id FROM loyalty.coupon c WHERE c.benefit OPERATOR(pg_catalog.=) $1 "
		"AND c.reserved_until OPERATOR(pg_catalog.<=) $2 AND c.on_the_spot AND c.uses OPERATOR(pg_catalog.=) 0 AND c.ended IS NULL "
		"ORDER BY c.reserved_until LIMIT $3 FOR UPDATE SKIP LOCKED",
		.nargs = 3,
		.argtypes = {TEXTOID, TIMESTAMPTZOID, INT4OID}
	};
	/* what the caller takes for now may lie in the future */
	TimestampTz now = Min(at, GetCurrentTimestamp());
	Datum		values[3] = {CStringGetTextDatum(benefit->name), TimestampTzGetDatum(now), Int32GetDatum(LAPSED_BATCH)};
	int64		ids[LAPSED_BATCH][2];
	int			n;

	if (TablesAreSpread())
		return 0;
	RunPlan(&plan, values, NULL, LAPSED_BATCH);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		for (int j = 0; j < 2; j++)
			ids[i][j] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 1, &isnull));
	}
	for (int i = 0; i < n; i++)
	{
		Coupon		coupon;

		LockCoupon(ids[i][0], ids[i][1], &coupon);
		EndCoupon(&coupon, now, "reservation lapsed");
	}
	return n;
}

/* How many coupons TakeBackLapsed() could take back. */
static int64
CountLapsed(const Benefit *benefit, TimestampTz at)
{
	static KeptPlan plan = {
		.query = "SELECT count(*) FROM loyalty.coupon c WHERE c.benefit OPERATOR(pg_catalog.=) $1 "
		"AND c.reserved_until OPERATOR(pg_catalog.<=) $2 AND c.on_the_spot AND c.uses OPERATOR(pg_catalog.=) 0 AND c.ended IS NULL",
		.nargs = 2,
		.argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {CStringGetTextDatum(benefit->name), TimestampTzGetDatum(Min(at, GetCurrentTimestamp()))};
	bool		isnull;

	if (TablesAreSpread())
		return 0;
	RunPlan(&plan, values, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static const char *const limit_names[] = {
	[ISSUE_DONE] = NULL,
	[ISSUE_MEMBER_LIMIT] = "coupon_member",
	[ISSUE_TOTAL] = "coupon_total",
	[ISSUE_POOL_EMPTY] = "coupon_codes"
};

/*
 * How many more coupons of a benefit can be issued to a member, and by which
 * limit; reads only, so that in another moment it may be less.
 */
int64
IssuesLeft(int64 member_id, const Benefit *benefit, TimestampTz at, const char **limited_by)
{
	int64		least = PG_INT64_MAX;
	int64		left;

	if (benefit->member_limit > 0)
	{
		least = Max(benefit->member_limit - CountCoupons(member_id, benefit), 0);
		*limited_by = limit_names[ISSUE_MEMBER_LIMIT];
	}
	if (benefit->has_total)
	{
		left = Max(EscrowLeft(TotalName(benefit)), 0);
		if (left == 0)
			left = CountLapsed(benefit, at);
		if (left < least)
			*limited_by = limit_names[ISSUE_TOTAL];
		least = Min(least, left);
	}
	if (benefit->codes == CODES_POOL)
	{
		left = EscrowLeft(PoolName(benefit));
		if (left < least)
			*limited_by = limit_names[ISSUE_POOL_EMPTY];
		least = Min(least, left);
	}
	return least;
}

/*
 * What is answered to whom such a limit leaves none.
 */
IssueAnswer
AnswerOfLimit(const char *limited_by)
{
	IssueAnswer answer = ISSUE_MEMBER_LIMIT;

	while (strcmp(limit_names[answer], limited_by) != 0)
		answer++;
	return answer;
}

static bool
TakeFromTotal(const Benefit *benefit, TimestampTz at)
{
	do
	{
		if (TakeFromEscrow(TotalName(benefit), 1, ESCROW_ALL) > 0)
			return true;
	} while (TakeBackLapsed(benefit, at) > 0);
	return false;
}

/*
 * A new code of ours, as it is shown.
 */
void
NewCode(char *shown)
{
	uint8		random[CODE_RANDOM];

	do
	{
		if (!pg_strong_random(random, sizeof(random)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
	} while (!MakeCode(random, shown));
}

/*
 * Puts a code of our own making into the directory; as it is shown.
 */
static char *
MakeUniqueCode(const Benefit *benefit)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.coupon_code (code, shown, benefit) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		.nargs = 3,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID}
	};
	char	   *shown = palloc(CODE_SHOWN + 1);
	Datum		values[3];

	do
	{
		NewCode(shown);
		values[0] = CStringGetTextDatum(NormalizeCode(shown, CODE_SHOWN));
		values[1] = CStringGetTextDatum(shown);
		values[2] = CStringGetTextDatum(benefit->name);
		RunPlan(&plan, values, NULL, 0);
	} while (SPI_processed == 0);
	return shown;
}

/*
 * Draws the next code of a pool; NULL where there is none any more.  It leaves
 * the pool by AssignCode().
 */
static const char *
DrawCode(const Benefit *benefit)
{
	int			slot;
	int64		place;

	return DrawFromEscrow(PoolName(benefit), &slot, &place) ? CodeAtPlace(benefit->name, slot, place) : NULL;
}

/*
 * Refuses a code that was claimed before.
 */
void
RefuseClaimed(const char *shown, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_ALREADY_CLAIMED),
			 errmsg("code \"%s\" was claimed before", shown),
			 errdetail("%s", detail),
			 errhint("A code is claimed once; see loyalty.coupons().")));
}

/*
 * Issues the coupon of a code that is on a voucher, to whoever claims it first.
 */
void
ClaimBearerCode(CouponIssue *issue, const char *shown)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.coupon_code k WHERE k.code OPERATOR(pg_catalog.=) $1 AND k.coupon_id IS NULL FOR UPDATE",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(NormalizeCode(shown, (int) strlen(shown)));
	IssueAnswer answer;

	RunPlan(&plan, &value, NULL, 1);
	if (SPI_processed == 0)
		RefuseClaimed(shown, "Somebody else was faster.");
	answer = IssueCouponWithCode(issue, shown, false);
	if (answer != ISSUE_DONE)
		RefuseIssue(answer, issue->member_id, issue->benefit);
}

/*
 * Issues a coupon, with the code that is given, or with one that it is to have
 * by its definition.  Of a coupon that is refused nothing stays.
 */
IssueAnswer
IssueCouponWithCode(CouponIssue *issue, const char *code, bool on_the_spot)
{
	const Benefit *benefit = issue->benefit;
	Coupon		coupon = {.member_id = issue->member_id, .benefit = benefit, .code = code, .on_the_spot = on_the_spot};
	ActNote		note = {.reference = issue->reference};

	if (!IsWithinMemberLimit(issue->member_id, benefit))
		return ISSUE_MEMBER_LIMIT;
	if (benefit->has_total && !TakeFromTotal(benefit, issue->at))
		return ISSUE_TOTAL;
	if (code == NULL && benefit->codes == CODES_POOL && (coupon.code = DrawCode(benefit)) == NULL)
	{
		if (benefit->has_total)
			PutIntoEscrow(TotalName(benefit), 1);
		return ISSUE_POOL_EMPTY;
	}
	if (code == NULL && benefit->codes == CODES_UNIQUE)
		coupon.code = MakeUniqueCode(benefit);
	BenefitSpan(benefit, issue->at, &coupon.terms.valid_from, &coupon.state.valid_until);
	if (!TIMESTAMP_NOT_FINITE(issue->valid_until))
		coupon.state.valid_until = Min(issue->valid_until, benefit->valid_until);
	InsertCoupon(&coupon, issue->at, &note);
	if (benefit->codes != CODES_GENERIC)
		AssignCode(&coupon);
	issue->coupon_id = coupon.coupon_id;
	issue->code = coupon.code;
	return ISSUE_DONE;
}

/*
 * Issues a coupon to a member, with the code that it is to have.
 */
IssueAnswer
IssueCoupon(CouponIssue *issue)
{
	return IssueCouponWithCode(issue, NULL, false);
}

/*
 * Refuses a coupon that cannot be issued.
 */
void
RefuseIssue(IssueAnswer answer, int64 member_id, const Benefit *benefit)
{
	switch (answer)
	{
		case ISSUE_DONE:
			break;
		case ISSUE_MEMBER_LIMIT:
			ereport(ERROR,
					(errcode(ERRCODE_LY_MEMBER_LIMIT_REACHED),
					 errmsg("member " INT64_FORMAT " can have no further coupon of benefit \"%s\"", member_id, benefit->name),
					 errdetail("A member may have " INT64_FORMAT ", and has had as many.", benefit->member_limit),
					 errhint("The definition says so under \"member\".")));
		case ISSUE_TOTAL:
			ereport(ERROR,
					(errcode(ERRCODE_LY_TOTAL_REACHED),
					 errmsg("all coupons of benefit \"%s\" are given out", benefit->name),
					 errdetail("The total of its definition is reached, and nobody has let one go."),
					 errhint("Define a version with a larger \"total\".")));
		case ISSUE_POOL_EMPTY:
			ereport(ERROR,
					(errcode(ERRCODE_LY_POOL_EMPTY),
					 errmsg("benefit \"%s\" has no codes any more", benefit->name),
					 errdetail("All codes of its pool were given out."),
					 errhint("Bring more with loyalty.add_codes().")));
	}
	elog(ERROR, "a coupon of benefit \"%s\" was refused for no reason", benefit->name);
}

/*
 * Revokes a coupon that is locked, and gives back what it counted for, where
 * it was not used.
 */
void
EndCoupon(Coupon *coupon, TimestampTz at, const char *reason)
{
	CouponAct	revoked = {.kind = COUPON_REVOKED, .at = at};
	ActNote		note = {.reference = reason};

	KeepCouponAct(coupon, &revoked, &note);
	if (coupon->state.given_back && coupon->benefit->has_total && !coupon->transferred)
		PutIntoEscrow(TotalName(coupon->benefit), 1);
}
