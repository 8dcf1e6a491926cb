/*
 * coupon_call.c
 *		What the functions in benefit_write.sql do, without their idempotency
 *		keys.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "benefit/benefit_call.h"
#include "benefit/coupon.h"
#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"

/* A call, which may begin anew. */
typedef struct CouponCall
{
	int64		member_id;
	int64		coupon_id;
	TimestampTz at;
	const char *text;			/* benefit, code or basket */
	const char *reference;
	TimestampTz until;
	int			ncodes;
	const char **codes;
	bool		has_codes;
	int64		other_member_id;
	/* results */
	Coupon	   *coupons;
	int64		n;
	CouponIssue issue;
} CouponCall;

/* ---------------------------------------------------------------------------
 * Issuing and claiming
 * ---------------------------------------------------------------------------
 */

static void
RunIssue(void *arg)
{
	CouponCall *call = arg;
	IssueAnswer answer;

	call->issue = (CouponIssue) {
		.member_id = call->member_id,
		.benefit = BenefitOfKind(call->text, BENEFIT_COUPON, call->at),
		.at = call->at,
		.valid_until = call->until,
		.reference = call->reference
	};
	answer = IssueCoupon(&call->issue);
	if (answer != ISSUE_DONE)
		RefuseIssue(answer, call->member_id, call->issue.benefit);
}

/*
 * put_coupon(member_id bigint, benefit text, at timestamptz, valid_until timestamptz, reference text)
 * -> (coupon_id bigint, code text)
 */
PG_FUNCTION_INFO_V1(loyalty_put_coupon);
Datum
loyalty_put_coupon(PG_FUNCTION_ARGS)
{
	CouponCall	call = {.member_id = MemberArgument(fcinfo, 0, "member_id")};
	Datum		values[2];
	bool		nulls[2] = {false};

	RequireArgument(fcinfo, 1, "benefit");
	call.text = TextArgument(fcinfo, 1);
	call.at = InstantArgument(fcinfo, 2, "at");
	call.until = PG_ARGISNULL(3) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(3);
	call.reference = TextArgument(fcinfo, 4);
	if (call.until <= call.at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("valid_until must be after at"),
				 errdetail("A coupon of %s would end at %s.", TimestampText(call.at), TimestampText(call.until)),
				 errhint("Give a later instant, or leave it out for what the definition says.")));
	BeginCall();
	RunRestartable(RunIssue, &call);
	values[0] = Int64GetDatum(call.issue.coupon_id);
	nulls[1] = call.issue.code == NULL;
	values[1] = nulls[1] ? (Datum) 0 : SPI_datumTransfer(CStringGetTextDatum(call.issue.code), false, -1);
	SPI_finish();
	return ResultRow(fcinfo, values, nulls);
}

/* Whether the member has a coupon with a generic code that is still to be used. */
static bool
HoldsUnused(int64 member_id, const KnownCode *known)
{
	static KeptPlan plan = {
		.query = "SELECT c.version, c.uses FROM loyalty.coupon c WHERE c.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND c.benefit OPERATOR(pg_catalog.=) $2 AND c.code OPERATOR(pg_catalog.=) $3 AND c.ended IS NULL",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {NumbersOf(member_id, NULL), CStringGetTextDatum(known->benefit), CStringGetTextDatum(known->shown)};

	RunPlan(&plan, values, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int32		version = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		if (DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)) < BenefitVersion(known->benefit, version)->times)
			return true;
	}
	return false;
}

static void
RunClaim(void *arg)
{
	CouponCall *call = arg;
	KnownCode	known;
	IssueAnswer answer;

	if (!LookUpCode(call->text, &known) || BenefitVersion(known.benefit, 1)->kind != BENEFIT_COUPON)
		RefuseCode(call->text);
	call->issue = (CouponIssue) {
		.member_id = call->member_id,
		.benefit = BenefitInForce(known.benefit, call->at),
		.at = call->at,
		.valid_until = TIMESTAMP_INFINITY,
		.reference = call->reference
	};
	if (call->issue.benefit->codes != CODES_GENERIC)
	{
		if (known.coupon_id != 0)
			RefuseClaimed(known.shown, CanonicalMember(known.member_id) == CanonicalMember(call->member_id)
						  ? "This member has it." : "Somebody else has it.");
		ClaimBearerCode(&call->issue, known.shown);
		return;
	}
	if (HoldsUnused(call->member_id, &known))
		RefuseClaimed(known.shown, "This member has a coupon of it that is still to be used.");
	answer = IssueCouponWithCode(&call->issue, known.shown, false);
	if (answer != ISSUE_DONE)
		RefuseIssue(answer, call->member_id, call->issue.benefit);
}

/*
 * claim_coupon(member_id bigint, code text, at timestamptz, reference text) -> (coupon_id bigint, benefit text)
 */
PG_FUNCTION_INFO_V1(loyalty_claim_coupon);
Datum
loyalty_claim_coupon(PG_FUNCTION_ARGS)
{
	CouponCall	call = {.member_id = MemberArgument(fcinfo, 0, "member_id")};
	Datum		values[2];
	bool		nulls[2] = {false};

	RequireArgument(fcinfo, 1, "code");
	call.text = TextArgument(fcinfo, 1);
	call.at = InstantArgument(fcinfo, 2, "at");
	call.reference = TextArgument(fcinfo, 3);
	BeginCall();
	RunRestartable(RunClaim, &call);
	values[0] = Int64GetDatum(call.issue.coupon_id);
	values[1] = SPI_datumTransfer(CStringGetTextDatum(call.issue.benefit->name), false, -1);
	SPI_finish();
	return ResultRow(fcinfo, values, nulls);
}

/* ---------------------------------------------------------------------------
 * Reserving and releasing
 * ---------------------------------------------------------------------------
 */

static void
RunHold(void *arg)
{
	CouponCall *call = arg;

	call->coupons = palloc0(Max(call->ncodes, 1) * sizeof(Coupon));
	TakeCoupons(call->member_id, call->at, call->text, COUPON_RESERVED, call->ncodes, call->codes, call->coupons);
	for (int i = 0; i < call->ncodes; i++)
	{
		CouponAct	act = {.kind = COUPON_RESERVED, .at = call->at, .basket = call->text, .reserved_until = call->until};
		ActNote		note = {0};

		KeepCouponAct(&call->coupons[i], &act, &note);
	}
}

static void
BasketArgument(FunctionCallInfo fcinfo, int n, CouponCall *call)
{
	RequireArgument(fcinfo, n, "basket");
	call->text = TextArgument(fcinfo, n);
	if (call->text[0] == '\0' || strlen(call->text) > 200)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("basket must have from 1 to 200 bytes"),
				 errdetail("It has %zu.", strlen(call->text)),
				 errhint("It is the caller's own name of a basket, such as the number of a session.")));
}

/*
 * hold_coupons(member_id bigint, basket text, codes text[], until timestamptz, at timestamptz)
 * -> rows (code text, coupon_id bigint, benefit text, valid_until timestamptz)
 */
PG_FUNCTION_INFO_V1(loyalty_hold_coupons);
Datum
loyalty_hold_coupons(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	CouponCall	call = {.member_id = MemberArgument(fcinfo, 0, "member_id")};

	BasketArgument(fcinfo, 1, &call);
	RequireArgument(fcinfo, 2, "codes");
	call.has_codes = TextsArgument(fcinfo, 2, "code", &call.codes, &call.ncodes);
	call.until = InstantArgument(fcinfo, 3, "until");
	call.at = InstantArgument(fcinfo, 4, "at");
	if (call.until <= call.at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("until must be after at"),
				 errdetail("The reservation would begin at %s, and end at %s.", TimestampText(call.at), TimestampText(call.until)),
				 errhint("Give a later instant.")));
	InitReturnSet(fcinfo);
	BeginCall();
	RunRestartable(RunHold, &call);
	for (int i = 0; i < call.ncodes; i++)
	{
		const Coupon *coupon = &call.coupons[i];
		Datum		values[4] = {
			CStringGetTextDatum(coupon->code), Int64GetDatum(coupon->coupon_id), CStringGetTextDatum(coupon->benefit->name),
			TimestampTzGetDatum(coupon->state.valid_until)
		};
		bool		nulls[4] = {false, false, false, TIMESTAMP_NOT_FINITE(coupon->state.valid_until)};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

static bool
IsAmong(const CouponCall *call, const char *code)
{
	for (int i = 0; i < call->ncodes; i++)
	{
		if (code != NULL && IsSameCode(code, call->codes[i]))
			return true;
	}
	return !call->has_codes;
}

static void
RunLetGo(void *arg)
{
	static KeptPlan plan = {
		.query = "SELECT c.member_id, c.coupon_id FROM loyalty.coupon c WHERE c.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND c.basket OPERATOR(pg_catalog.=) $2 ORDER BY c.coupon_id",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TEXTOID}
	};
	CouponCall *call = arg;
	Datum		values[2] = {NumbersOf(call->member_id, NULL), CStringGetTextDatum(call->text)};
	SPITupleTable *found;
	uint64		nfound;

	call->n = 0;
	RunPlan(&plan, values, NULL, 0);
	found = SPI_tuptable;
	nfound = SPI_processed;
	for (uint64 i = 0; i < nfound; i++)
	{
		bool		isnull;
		CouponAct	act = {.kind = COUPON_RELEASED, .at = call->at};
		ActNote		note = {0};
		Coupon		coupon;

		LockCoupon(DatumGetInt64(SPI_getbinval(found->vals[i], found->tupdesc, 1, &isnull)),
				   DatumGetInt64(SPI_getbinval(found->vals[i], found->tupdesc, 2, &isnull)), &coupon);
		if (coupon.state.basket == NULL || strcmp(coupon.state.basket, call->text) != 0 || !IsAmong(call, coupon.code))
			continue;
		KeepCouponAct(&coupon, &act, &note);
		if (coupon.on_the_spot && coupon.state.uses == 0)
			EndCoupon(&coupon, call->at, "released");
		call->n++;
	}
}

/*
 * let_coupons_go(member_id bigint, basket text, codes text[], at timestamptz) -> bigint
 */
PG_FUNCTION_INFO_V1(loyalty_let_coupons_go);
Datum
loyalty_let_coupons_go(PG_FUNCTION_ARGS)
{
	CouponCall	call = {.member_id = MemberArgument(fcinfo, 0, "member_id")};

	BasketArgument(fcinfo, 1, &call);
	call.has_codes = TextsArgument(fcinfo, 2, "code", &call.codes, &call.ncodes);
	call.at = InstantArgument(fcinfo, 3, "at");
	BeginCall();
	RunRestartable(RunLetGo, &call);
	SPI_finish();
	PG_RETURN_INT64(call.n);
}

/* ---------------------------------------------------------------------------
 * Revoking and transferring
 * ---------------------------------------------------------------------------
 */

static void
RequireCoupon(int64 member_id, int64 coupon_id, Coupon *coupon)
{
	if (!LockCouponOf(member_id, coupon_id, coupon))
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_CODE),
				 errmsg("member " INT64_FORMAT " has no coupon " INT64_FORMAT, member_id, coupon_id),
				 errdetail("No row of loyalty.coupon has these numbers."),
				 errhint("See loyalty.coupons().")));
}

static void
RunEnd(void *arg)
{
	CouponCall *call = arg;
	Coupon		coupon;
	CouponAnswer answer;

	RequireCoupon(call->member_id, call->coupon_id, &coupon);
	answer = MayRevoke(&coupon.state, &coupon.terms);
	if (answer != COUPON_GOOD)
		RefuseCoupon(answer, &coupon, call->at);
	EndCoupon(&coupon, call->at, call->reference);
}

/*
 * end_coupon(member_id bigint, coupon_id bigint, at timestamptz, reason text) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_end_coupon);
Datum
loyalty_end_coupon(PG_FUNCTION_ARGS)
{
	CouponCall	call = {.member_id = MemberArgument(fcinfo, 0, "member_id"),.coupon_id = MemberArgument(fcinfo, 1, "coupon_id")};

	call.at = InstantArgument(fcinfo, 2, "at");
	call.reference = TextArgument(fcinfo, 3);
	BeginCall();
	RunRestartable(RunEnd, &call);
	SPI_finish();
	PG_RETURN_VOID();
}

static void
RunHandOver(void *arg)
{
	CouponCall *call = arg;
	Coupon		from;
	Coupon		to;
	CouponAnswer answer;
	CouponAct	act = {.kind = COUPON_TRANSFERRED, .at = call->at};
	ActNote		note = {.reference = call->reference};

	if (CanonicalMember(call->member_id) == CanonicalMember(call->other_member_id))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("members " INT64_FORMAT " and " INT64_FORMAT " are one", call->member_id, call->other_member_id),
				 errdetail("A coupon is transferred to somebody else."),
				 errhint("Name another member.")));
	RequireCoupon(call->member_id, call->coupon_id, &from);
	answer = MayTransfer(&from.state, call->at);
	if (answer != COUPON_GOOD)
		RefuseCoupon(answer, &from, call->at);
	to = from;
	to.member_id = call->other_member_id;
	to.on_the_spot = false;
	note.other_member_id = from.member_id;
	note.other_coupon_id = from.coupon_id;
	InsertCoupon(&to, call->at, &note);
	if (from.benefit->codes != CODES_GENERIC && to.code != NULL)
		AssignCode(&to);
	note.other_member_id = to.member_id;
	note.other_coupon_id = to.coupon_id;
	KeepCouponAct(&from, &act, &note);
	call->n = to.coupon_id;
}

/*
 * hand_over_coupon(from_member_id bigint, to_member_id bigint, coupon_id bigint, at timestamptz, reference text) -> bigint
 */
PG_FUNCTION_INFO_V1(loyalty_hand_over_coupon);
Datum
loyalty_hand_over_coupon(PG_FUNCTION_ARGS)
{
	CouponCall	call = {
		.member_id = MemberArgument(fcinfo, 0, "from_member_id"),
		.other_member_id = MemberArgument(fcinfo, 1, "to_member_id"),
		.coupon_id = MemberArgument(fcinfo, 2, "coupon_id")
	};

	call.at = InstantArgument(fcinfo, 3, "at");
	call.reference = TextArgument(fcinfo, 4);
	BeginCall();
	RunRestartable(RunHandOver, &call);
	SPI_finish();
	PG_RETURN_INT64(call.n);
}
