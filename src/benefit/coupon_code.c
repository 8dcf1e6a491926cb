/*
 * coupon_code.c
 *		Codes of coupons: looked up, and what they are for taken.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "benefit/code.h"
#include "benefit/coupon.h"
#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"

/*
 * Whether two ways of writing a code mean the same; NULL is no code.
 */
bool
IsSameCode(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(NormalizeCode(a, (int) strlen(a)), NormalizeCode(b, (int) strlen(b))) == 0;
}

/*
 * Refuses a code that nobody has.
 */
void
RefuseCode(const char *code)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_UNKNOWN_CODE),
			 errmsg("there is no code \"%s\"", code),
			 FormOfCode(NormalizeCode(code, (int) strlen(code))) == CODE_MISTYPED
			 ? errdetail("A character of it is wrong, or two have changed places: its check character says so.")
			 : errdetail("It is no code of a coupon that this member could use."),
			 errhint("Upper and lower case, blanks and dashes do not matter; all else does.")));
}

/*
 * Finds a code that a member may use.  Codes of others are as unknown to it as
 * those that are not there.
 */
static void
FindCode(int64 member_id, const char *code, KnownCode *known)
{
	if (!LookUpCode(code, known) || BenefitVersion(known->benefit, 1)->kind != BENEFIT_COUPON)
		RefuseCode(code);
	/* the same in all versions */
	known->is_generic = BenefitVersion(known->benefit, 1)->codes == CODES_GENERIC;
	if (known->coupon_id != 0 && known->member_id != member_id && CanonicalMember(known->member_id) != CanonicalMember(member_id))
		RefuseCode(code);
}

static int
CompareKnown(const void *a, const void *b)
{
	const KnownCode *x = a;
	const KnownCode *y = b;

	/* what is there before what is to be issued, in order of its benefit */
	if ((x->coupon_id == 0) != (y->coupon_id == 0))
		return x->coupon_id == 0 ? 1 : -1;
	if (x->coupon_id != y->coupon_id)
		return x->coupon_id < y->coupon_id ? -1 : 1;
	return strcmp(x->benefit, y->benefit);
}

static CouponAnswer
MayTake(const Coupon *coupon, CouponActKind to_be, const char *basket, TimestampTz at)
{
	return to_be == COUPON_RESERVED ? MayReserve(&coupon->state, &coupon->terms, basket, at)
		: MayRedeem(&coupon->state, &coupon->terms, basket, at);
}

/*
 * Locks the coupon that a member has by a generic code and may use; or issues
 * one.
 */
static void
TakeGeneric(int64 member_id, TimestampTz at, const char *basket, CouponActKind to_be, const KnownCode *known, Coupon *coupon)
{
	static KeptPlan plan = {
		.query = "SELECT c.member_id, c.coupon_id FROM loyalty.coupon c WHERE c.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND c.benefit OPERATOR(pg_catalog.=) $2 AND c.code OPERATOR(pg_catalog.=) $3 AND c.ended IS NULL ORDER BY c.coupon_id",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	CouponIssue issue = {.member_id = member_id, .at = at, .valid_until = TIMESTAMP_INFINITY};
	Datum		values[3] = {NumbersOf(member_id), CStringGetTextDatum(known->benefit), CStringGetTextDatum(known->shown)};
	CouponAnswer why_not = COUPON_USED;
	Coupon		held = {0};
	int64	   *ids;
	uint64		n;
	IssueAnswer answer;

	RunPlan(&plan, values, NULL, 0);
	n = SPI_processed;
	ids = palloc(Max(n, 1) * 2 * sizeof(int64));
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		ids[2 * i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		ids[2 * i + 1] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	for (uint64 i = 0; i < n; i++)
	{
		CouponAnswer answer_here;

		LockCoupon(ids[2 * i], ids[2 * i + 1], coupon);
		answer_here = MayTake(coupon, to_be, basket, at);
		if (answer_here == COUPON_GOOD)
			return;
		if (answer_here != COUPON_USED && answer_here != COUPON_GONE)
		{
			why_not = answer_here;
			held = *coupon;
		}
	}
	issue.benefit = BenefitInForce(known->benefit, at);
	answer = IssueCouponWithCode(&issue, known->shown, true);
	if (answer == ISSUE_MEMBER_LIMIT && why_not != COUPON_USED)
		RefuseCoupon(why_not, &held, at);
	if (answer != ISSUE_DONE)
		RefuseIssue(answer, member_id, issue.benefit);
	LockCoupon(member_id, issue.coupon_id, coupon);
}

/*
 * The code of a voucher that nobody has claimed: whoever uses it first has it.
 */
static void
TakeBearer(int64 member_id, TimestampTz at, const KnownCode *known, Coupon *coupon)
{
	CouponIssue issue = {
		.member_id = member_id,
		.benefit = BenefitInForce(known->benefit, at),
		.at = at,
		.valid_until = TIMESTAMP_INFINITY
	};

	ClaimBearerCode(&issue, known->shown);
	LockCoupon(member_id, issue.coupon_id, coupon);
}

/*
 * Locks the coupons that are meant by codes, and issues those that are to be
 * issued on the spot; all may be used by the basket (NULL: none) at the instant.
 * They come in the order of the codes.
 */
void
TakeCoupons(int64 member_id, TimestampTz at, const char *basket, CouponActKind to_be,
			int ncodes, const char *const *codes, Coupon *coupons)
{
	KnownCode  *known = palloc(Max(ncodes, 1) * sizeof(KnownCode));

	for (int i = 0; i < ncodes; i++)
	{
		FindCode(member_id, codes[i], &known[i]);
		known[i].place = i;
		for (int j = 0; j < i; j++)
		{
			if (strcmp(known[i].shown, known[j].shown) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_LY_INVALID_ARGUMENT),
						 errmsg("code \"%s\" is given twice", codes[i]),
						 errdetail("A coupon is redeemed once with an order."),
						 errhint("Give each code once.")));
		}
	}
	qsort(known, ncodes, sizeof(KnownCode), CompareKnown);
	for (int i = 0; i < ncodes; i++)
	{
		Coupon	   *coupon = &coupons[known[i].place];

		if (known[i].is_generic)
			TakeGeneric(member_id, at, basket, to_be, &known[i], coupon);
		else if (known[i].coupon_id == 0)
			TakeBearer(member_id, at, &known[i], coupon);
		else
		{
			CouponAnswer answer;

			LockCoupon(known[i].member_id, known[i].coupon_id, coupon);
			if (coupon->state.end == COUPON_WAS_TRANSFERRED)
				RestartCall("the code has gone to another coupon");
			answer = MayTake(coupon, to_be, basket, at);
			if (answer != COUPON_GOOD)
				RefuseCoupon(answer, coupon, at);
		}
	}
}

/*
 * normalize_code(code text) -> text
 */
PG_FUNCTION_INFO_V1(loyalty_normalize_code);
Datum
loyalty_normalize_code(PG_FUNCTION_ARGS)
{
	text	   *code = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(cstring_to_text(NormalizeCode(VARDATA_ANY(code), (int) VARSIZE_ANY_EXHDR(code))));
}

/*
 * make_code() -> text
 */
PG_FUNCTION_INFO_V1(loyalty_make_code);
Datum
loyalty_make_code(PG_FUNCTION_ARGS)
{
	char		shown[CODE_SHOWN + 1];

	(void) fcinfo;
	NewCode(shown);
	PG_RETURN_TEXT_P(cstring_to_text(shown));
}
