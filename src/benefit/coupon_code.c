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

#include "activity/activity_record.h"
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
 * Refuses a code that is given twice.
 */
void
RefuseTwice(const char *code)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("code \"%s\" is given twice", code),
			 errdetail("A coupon is redeemed once with an order."),
			 errhint("Give each code once.")));
}

/*
 * Finds a code that a member may use; false where there is none.  Codes of
 * others are as unknown to it as those that are not there.
 */
bool
FindCodeFor(int64 member_id, const char *code, KnownCode *known)
{
	if (!LookUpCode(code, known) || BenefitVersion(known->benefit, 1)->kind != BENEFIT_COUPON)
		return false;
	/* the same in all versions */
	known->is_generic = BenefitVersion(known->benefit, 1)->codes == CODES_GENERIC;
	return known->coupon_id == 0 || known->member_id == member_id ||
		CanonicalMember(known->member_id) == CanonicalMember(member_id);
}

/*
 * The order in which the coupons of codes are taken.
 */
int
CompareKnownCodes(const void *a, const void *b)
{
	const KnownCode *x = a;
	const KnownCode *y = b;

	/* what is there before what is to be issued, in order of its benefit */
	if ((x->coupon_id == 0) != (y->coupon_id == 0))
		return x->coupon_id == 0 ? 1 : -1;
	if (x->coupon_id != y->coupon_id)
		return x->coupon_id < y->coupon_id ? -1 : 1;
	if (strcmp(x->benefit, y->benefit) != 0)
		return strcmp(x->benefit, y->benefit);
	return x->place - y->place;
}

static CouponAnswer
MayTake(const Coupon *coupon, CouponActKind to_be, const char *basket, TimestampTz at)
{
	return to_be == COUPON_RESERVED ? MayReserve(&coupon->state, &coupon->terms, basket, at)
		: MayRedeem(&coupon->state, &coupon->terms, basket, at);
}

/* A coupon that may be taken, to be locked with all others by its number. */
typedef struct Takable
{
	int64		member_id;
	int64		coupon_id;
	const KnownCode *known;
	Coupon		coupon;			/* once it is locked */
} Takable;

typedef struct Takables
{
	int			n;
	Takable    *takables;
} Takables;

static void
AddTakable(Takables *all, int64 member_id, int64 coupon_id, const KnownCode *known)
{
	all->takables = all->takables == NULL ? palloc(sizeof(Takable)) : repalloc(all->takables, (all->n + 1) * sizeof(Takable));
	all->takables[all->n++] = (Takable) {
		.member_id = member_id,.coupon_id = coupon_id,.known = known
	};
}

/*
 * The coupons that a member has by a generic code, as pairs of whose number they
 * stand under and their own, in the order of those.
 */
int64 *
FindOfGeneric(int64 member_id, const KnownCode *known, int *n)
{
	static KeptPlan plan = {
		.query = "SELECT c.member_id, c.coupon_id FROM loyalty.coupon c WHERE c.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND c.benefit OPERATOR(pg_catalog.=) $2 AND c.code OPERATOR(pg_catalog.=) $3 AND c.ended IS NULL ORDER BY c.coupon_id",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {NumbersOf(member_id, NULL), CStringGetTextDatum(known->benefit), CStringGetTextDatum(known->shown)};
	int64	   *pairs;

	RunPlan(&plan, values, NULL, 0);
	*n = (int) SPI_processed;
	pairs = palloc(Max(*n, 1) * 2 * sizeof(int64));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;

		pairs[2 * i] = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		pairs[2 * i + 1] = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
	}
	return pairs;
}

static void
AddOfGeneric(Takables *all, int64 member_id, const KnownCode *known)
{
	int			n;
	int64	   *pairs = FindOfGeneric(member_id, known, &n);

	for (int i = 0; i < n; i++)
		AddTakable(all, pairs[2 * i], pairs[2 * i + 1], known);
}

static int
CompareTakables(const void *a, const void *b)
{
	const Takable *x = a;
	const Takable *y = b;

	return x->coupon_id < y->coupon_id ? -1 : x->coupon_id > y->coupon_id;
}

/* A coupon that was just issued; by its definition it may begin later, or be over. */
static void
TakeIssued(const CouponIssue *issue, const char *basket, CouponActKind to_be, Coupon *coupon)
{
	CouponAnswer answer;

	LockCoupon(issue->member_id, issue->coupon_id, coupon);
	answer = MayTake(coupon, to_be, basket, issue->at);
	if (answer != COUPON_GOOD)
		RefuseCoupon(answer, coupon, issue->at);
}

/*
 * Takes the coupon that a member has by a generic code and may use, of those
 * that are locked; or issues one.
 */
static void
TakeGeneric(int64 member_id, TimestampTz at, const char *basket, CouponActKind to_be, const KnownCode *known, const Takables *all, Coupon *coupon)
{
	CouponIssue issue = {.member_id = member_id, .at = at, .valid_until = TIMESTAMP_INFINITY};
	CouponAnswer why_not = COUPON_USED;
	const Coupon *held = NULL;
	IssueAnswer answer;

	for (int i = 0; i < all->n; i++)
	{
		CouponAnswer answer_here;

		if (all->takables[i].known != known)
			continue;
		answer_here = MayTake(&all->takables[i].coupon, to_be, basket, at);
		if (answer_here == COUPON_GOOD)
		{
			*coupon = all->takables[i].coupon;
			return;
		}
		if (answer_here != COUPON_USED && answer_here != COUPON_GONE)
		{
			why_not = answer_here;
			held = &all->takables[i].coupon;
		}
	}
	issue.benefit = BenefitInForce(known->benefit, at);
	answer = IssueCouponWithCode(&issue, known->shown, true);
	if (answer == ISSUE_MEMBER_LIMIT && why_not != COUPON_USED)
		RefuseCoupon(why_not, held, at);
	if (answer != ISSUE_DONE)
		RefuseIssue(answer, member_id, issue.benefit);
	TakeIssued(&issue, basket, to_be, coupon);
}

/*
 * The code of a voucher that nobody has claimed: whoever uses it first has it.
 */
static void
TakeBearer(int64 member_id, TimestampTz at, const char *basket, CouponActKind to_be, const KnownCode *known, Coupon *coupon)
{
	CouponIssue issue = {
		.member_id = member_id,
		.benefit = BenefitInForce(known->benefit, at),
		.at = at,
		.valid_until = TIMESTAMP_INFINITY
	};

	ClaimBearerCode(&issue, known->shown);
	TakeIssued(&issue, basket, to_be, coupon);
}

/*
 * Locks the coupons that are meant by codes, and issues those that are to be
 * issued on the spot; all may be used by the basket (NULL: none) at the instant.
 * They come in the order of the codes.  Coupons are locked by their numbers, and
 * those that are to be issued come after them, by their benefits.
 */
void
TakeCoupons(int64 member_id, TimestampTz at, const char *basket, CouponActKind to_be,
			int ncodes, const char *const *codes, Coupon *coupons)
{
	KnownCode  *known = palloc(Max(ncodes, 1) * sizeof(KnownCode));
	Takables	all = {0};

	for (int i = 0; i < ncodes; i++)
	{
		if (!FindCodeFor(member_id, codes[i], &known[i]))
			RefuseCode(codes[i]);
		known[i].place = i;
		for (int j = 0; j < i; j++)
		{
			if (strcmp(known[i].shown, known[j].shown) == 0)
				RefuseTwice(codes[i]);
		}
	}
	qsort(known, ncodes, sizeof(KnownCode), CompareKnownCodes);
	for (int i = 0; i < ncodes; i++)
	{
		if (known[i].is_generic)
			AddOfGeneric(&all, member_id, &known[i]);
		else if (known[i].coupon_id != 0)
			AddTakable(&all, known[i].member_id, known[i].coupon_id, &known[i]);
	}
	if (all.n > 1)
		qsort(all.takables, all.n, sizeof(Takable), CompareTakables);
	for (int i = 0; i < all.n; i++)
		LockCoupon(all.takables[i].member_id, all.takables[i].coupon_id, &all.takables[i].coupon);
	for (int i = 0; i < ncodes; i++)
	{
		Coupon	   *coupon = &coupons[known[i].place];

		if (known[i].is_generic)
			TakeGeneric(member_id, at, basket, to_be, &known[i], &all, coupon);
		else if (known[i].coupon_id == 0)
			TakeBearer(member_id, at, basket, to_be, &known[i], coupon);
		else
		{
			CouponAnswer answer;

			for (int j = 0; j < all.n; j++)
			{
				if (all.takables[j].known == &known[i])
					*coupon = all.takables[j].coupon;
			}
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
