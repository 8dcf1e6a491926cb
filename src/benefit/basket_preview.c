/*
 * basket_preview.c
 *		What coupons and points would do to a basket.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "benefit/basket_preview.h"
#include "benefit/coupon.h"
#include "benefit/gate.h"
#include "benefit/offer.h"
#include "benefit/payment.h"
#include "core/compat.h"
#include "ledger/currency.h"
#include "ledger/ledger.h"
#include "ledger/post.h"

/* A coupon that was not issued yet has a number behind all that were. */
#define FIRST_UNISSUED	(PG_INT64_MAX / 2)

/* ---------------------------------------------------------------------------
 * Refusals
 * ---------------------------------------------------------------------------
 */

/* What a call would be refused for. */
typedef struct Cause
{
	enum
	{
		NO_SUCH_CODE, GIVEN_TWICE, NO_BENEFIT, NOT_ISSUED, NOT_USABLE, NOT_ELIGIBLE, NOT_COMBINABLE, OF_NO_USE, TOO_FEW_POINTS
	}			kind;
	const char *text;			/* the code, the benefit, or the detail */
	TimestampTz at;
	const Coupon *coupon;
	const Coupon *other;
	CouponAnswer answer;
	const Benefit *benefit;
	int64		member_id;
	IssueAnswer issue;
	const PriceCoupon *priced;
	const Refused *refused;
} Cause;

/* A code that was found. */
typedef struct Shown
{
	CodePreview *preview;
	Coupon		coupon;
	bool		is_crowded;		/* others of this basket leave none of its benefit */
	bool		is_of_no_use;	/* beside others that were candidates then */
	bool		applies;
	PriceCoupon priced;
	Cause		cause;			/* of its refusal */
} Shown;

/* What is previewed. */
typedef struct Preview
{
	const Activity *activity;
	const char *basket;
	int			nshown;
	Shown	   *shown;
	int			ncandidates;	/* of those shown: they may be redeemed, as far as we know */
	Shown	  **candidates;
	int64		nunissued;
} Preview;

/* Raises the error of the call. */
static void
Raise(const Cause *cause)
{
	switch (cause->kind)
	{
		case NO_SUCH_CODE:
			RefuseCode(cause->text);
		case GIVEN_TWICE:
			RefuseTwice(cause->text);
		case NO_BENEFIT:
			(void) BenefitInForce(cause->text, cause->at);
			break;
		case NOT_ISSUED:
			RefuseIssue(cause->issue, cause->member_id, cause->benefit);
		case NOT_USABLE:
			RefuseCoupon(cause->answer, cause->coupon, cause->at);
		case NOT_ELIGIBLE:
			RefuseNotEligible(cause->coupon, cause->text);
		case NOT_COMBINABLE:
			RefuseCombination(cause->coupon, cause->other);
		case OF_NO_USE:
			RefuseVerdict(cause->coupon, cause->priced);
		case TOO_FEW_POINTS:
			RaiseRefusal(cause->refused);
	}
}

/*
 * The error that a call would raise.  Nothing is done but to raise it, so that
 * there is nothing to be rolled back.
 */
static const Refusal *
RefusalOf(const Cause *cause)
{
	MemoryContext context = CurrentMemoryContext;
	Refusal    *refusal = palloc(sizeof(Refusal));

	PG_TRY();
	{
		Raise(cause);
		elog(ERROR, "a call would be refused for no reason");
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		*refusal = (Refusal) {error->sqlerrcode, error->message, error->detail};
	}
	PG_END_TRY();
	return refusal;
}

static void
Refuse(Shown *shown, Cause cause)
{
	shown->cause = cause;
	shown->preview->refusal = RefusalOf(&shown->cause);
}

/* ---------------------------------------------------------------------------
 * Which coupons
 * ---------------------------------------------------------------------------
 */

/* Whether a code is one of those with which a coupon of a benefit would be issued. */
static bool
WouldIssue(const Shown *shown, const char *benefit)
{
	return shown->preview->is_issued && !shown->is_crowded && strcmp(shown->preview->benefit, benefit) == 0;
}

/* How many coupons of a benefit this basket would have issued. */
static int64
CountUnissued(const Preview *preview, const char *benefit)
{
	int64		n = 0;

	for (int i = 0; i < preview->ncandidates; i++)
		n += WouldIssue(preview->candidates[i], benefit);
	return n;
}

/*
 * The coupon that would be issued with a code on the spot.  held: one that the
 * member has already, and why_not it cannot be used; NULL: it has none.
 */
static void
LookAtUnissued(Preview *preview, const KnownCode *known, Shown *shown, const Coupon *held, CouponAnswer why_not)
{
	const Activity *activity = preview->activity;
	const Benefit *benefit = FindBenefit(known->benefit, activity->at);
	const char *limited_by = NULL;
	int64		left;

	if (benefit == NULL)
	{
		Refuse(shown, (Cause) {.kind = NO_BENEFIT,.text = known->benefit,.at = activity->at});
		return;
	}
	left = IssuesLeft(activity->member_id, benefit, activity->at, &limited_by);
	if (left <= CountUnissued(preview, benefit->name))
	{
		IssueAnswer answer = AnswerOfLimit(limited_by);

		if (answer == ISSUE_MEMBER_LIMIT && held != NULL)
			shown->cause = (Cause) {.kind = NOT_USABLE,.answer = why_not,.coupon = held,.at = activity->at};
		else
			shown->cause = (Cause) {.kind = NOT_ISSUED,.issue = answer,.member_id = activity->member_id,.benefit = benefit};
		if (left <= 0)
		{
			Refuse(shown, shown->cause);
			return;
		}
		shown->is_crowded = true;
	}
	shown->preview->is_issued = true;
	shown->coupon = (Coupon) {
		.member_id = activity->member_id,
		.coupon_id = FIRST_UNISSUED + preview->nunissued++,
		.benefit = benefit,
		.code = known->shown,
		.terms.times = benefit->times
	};
	BenefitSpan(benefit, activity->at, &shown->coupon.terms.valid_from, &shown->coupon.state.valid_until);
}

/* The coupon that the member has by a generic code, or would have. */
static void
LookAtGeneric(Preview *preview, const KnownCode *known, Shown *shown)
{
	const Activity *activity = preview->activity;
	CouponAnswer why_not = COUPON_USED;
	Coupon	   *held = NULL;
	int			n;
	int64	   *pairs = FindOfGeneric(activity->member_id, known, &n);

	for (int i = 0; i < n; i++)
	{
		Coupon	   *coupon = palloc(sizeof(Coupon));
		CouponAnswer answer;

		if (!LookAtCoupon(pairs[2 * i], pairs[2 * i + 1], coupon))
			continue;
		answer = MayRedeem(&coupon->state, &coupon->terms, preview->basket, activity->at);
		if (answer == COUPON_GOOD)
		{
			shown->coupon = *coupon;
			return;
		}
		if (answer != COUPON_USED && answer != COUPON_GONE)
		{
			why_not = answer;
			held = coupon;
		}
	}
	LookAtUnissued(preview, known, shown, held, why_not);
}

/*
 * Looks for the coupon of a code that was found, and whether it may be redeemed
 * with the activity.
 */
static void
LookAtCode(Preview *preview, const KnownCode *known, Shown *shown)
{
	const Activity *activity = preview->activity;
	const char *detail;
	CouponAnswer answer;

	if (known->is_generic)
		LookAtGeneric(preview, known, shown);
	else if (known->coupon_id == 0)
		LookAtUnissued(preview, known, shown, NULL, COUPON_USED);
	else
		(void) LookAtCoupon(known->member_id, known->coupon_id, &shown->coupon);
	if (shown->preview->refusal != NULL)
		return;
	answer = MayRedeem(&shown->coupon.state, &shown->coupon.terms, preview->basket, activity->at);
	detail = answer == COUPON_GOOD ? WhyNotAvailable(shown->coupon.benefit, activity, true) : NULL;
	if (answer != COUPON_GOOD)
		Refuse(shown, (Cause) {.kind = NOT_USABLE,.answer = answer,.coupon = &shown->coupon,.at = activity->at});
	else if (detail != NULL)
		Refuse(shown, (Cause) {.kind = NOT_ELIGIBLE,.coupon = &shown->coupon,.text = detail});
	else if (!shown->is_crowded)
		preview->candidates[preview->ncandidates++] = shown;
}

/*
 * Looks for the coupons of codes, in the order in which they would be taken.
 */
static void
LookAtCodes(Preview *preview, int ncodes, CodePreview *previews)
{
	KnownCode  *known = palloc(Max(ncodes, 1) * sizeof(KnownCode));
	int			nknown = 0;

	for (int i = 0; i < ncodes; i++)
	{
		KnownCode  *last = &known[nknown];
		bool		twice = false;

		if (!FindCodeFor(preview->activity->member_id, previews[i].code, last))
		{
			previews[i].refusal = RefusalOf(&(Cause) {.kind = NO_SUCH_CODE,.text = previews[i].code});
			continue;
		}
		previews[i].benefit = last->benefit;
		last->place = i;
		for (int j = 0; j < nknown; j++)
			twice = twice || strcmp(known[j].shown, last->shown) == 0;
		if (twice)
			previews[i].refusal = RefusalOf(&(Cause) {.kind = GIVEN_TWICE,.text = previews[i].code});
		else
			nknown++;
	}
	qsort(known, nknown, sizeof(KnownCode), CompareKnownCodes);
	preview->shown = palloc0(Max(nknown, 1) * sizeof(Shown));
	preview->candidates = palloc(Max(nknown, 1) * sizeof(Shown *));
	for (int i = 0; i < nknown; i++)
	{
		preview->shown[i].preview = &previews[known[i].place];
		preview->nshown++;
		LookAtCode(preview, &known[i], &preview->shown[i]);
	}
}

/* ---------------------------------------------------------------------------
 * What they take off
 * ---------------------------------------------------------------------------
 */

/*
 * Takes away the candidates whose pricing came to nothing, alone or beside others.
 * Returns whether there were any.
 */
static bool
DropThoseOfNoUse(Preview *preview, PriceCoupon *priced, bool alone)
{
	int			n = 0;
	bool		any = false;

	for (int i = 0; i < preview->ncandidates; i++)
	{
		Shown	   *shown = preview->candidates[i];

		shown->priced = priced[i];
		if (priced[i].verdict == PRICE_APPLIES || priced[i].verdict == PRICE_EXCLUDED)
		{
			priced[n] = priced[i];
			preview->candidates[n++] = shown;
			continue;
		}
		if (alone)
			Refuse(shown, (Cause) {.kind = OF_NO_USE,.coupon = &shown->coupon,.priced = &shown->priced});
		else
			shown->is_of_no_use = true;
		any = true;
	}
	preview->ncandidates = n;
	return any;
}

/*
 * What came to nothing beside others may have done so beside some that came to
 * nothing in turn.  So it is looked at beside those that apply: it applies, too, or
 * is refused as a call with all their codes would be.
 */
static void
LookAgain(const Preview *preview, const ActivityBasket *made, Shown *shown)
{
	PriceCoupon *priced = palloc0(preview->nshown * sizeof(PriceCoupon));
	Shown	  **together = palloc(preview->nshown * sizeof(Shown *));
	int			n = 0;

	for (int i = 0; i < preview->nshown; i++)
	{
		Shown	   *one = &preview->shown[i];

		if (one != shown && !one->applies)
			continue;
		if (one != shown && AreExclusive(one->coupon.benefit, shown->coupon.benefit))
		{
			Refuse(shown, (Cause) {.kind = NOT_COMBINABLE,.coupon = &shown->coupon,.other = &one->coupon});
			return;
		}
		SetTerms(&priced[n], made, one->coupon.benefit, one->coupon.coupon_id);
		together[n++] = one;
	}
	PriceCoupons(&made->basket, n, priced);
	for (int i = 0; i < n; i++)
	{
		if (priced[i].verdict != PRICE_APPLIES)
		{
			shown->priced = priced[i];
			Refuse(shown, (Cause) {.kind = OF_NO_USE,.coupon = &together[i]->coupon,.priced = &shown->priced});
			return;
		}
	}
	for (int i = 0; i < n; i++)
		together[i]->priced = priced[i];
	shown->applies = true;
}

/*
 * Prices the candidates: first each alone, then the best of those that shut each
 * other out.  Where the best comes to nothing beside the others, it is none any
 * more, and it is chosen again.
 */
static void
PriceCandidates(Preview *preview, const ActivityBasket *made)
{
	PriceCoupon *priced = palloc0(Max(preview->ncandidates, 1) * sizeof(PriceCoupon));

	for (int i = 0; i < preview->ncandidates; i++)
	{
		const Coupon *coupon = &preview->candidates[i]->coupon;

		SetTerms(&priced[i], made, coupon->benefit, coupon->coupon_id);
		PriceCoupons(&made->basket, 1, &priced[i]);
	}
	(void) DropThoseOfNoUse(preview, priced, true);
	do
	{
		ChooseCoupons(&made->basket, preview->ncandidates, priced);
	} while (DropThoseOfNoUse(preview, priced, false));
	for (int i = 0; i < preview->ncandidates; i++)
	{
		Shown	   *shown = preview->candidates[i];

		shown->applies = shown->priced.verdict == PRICE_APPLIES;
		if (!shown->applies)
			Refuse(shown, (Cause) {
				   .kind = NOT_COMBINABLE,.coupon = &shown->coupon,.other = &preview->candidates[shown->priced.lost_to]->coupon
				   });
	}
	for (int i = 0; i < preview->nshown; i++)
	{
		if (preview->shown[i].is_of_no_use)
			LookAgain(preview, made, &preview->shown[i]);
	}
}

/*
 * One that others of its benefit leave no coupon is refused for that; or, where
 * they do not apply, for the same reason.
 */
static void
RefuseCrowded(const Preview *preview, Shown *crowded)
{
	Cause		cause = crowded->cause;

	for (int i = 0; i < preview->nshown; i++)
	{
		const Shown *other = &preview->shown[i];

		if (other->preview->refusal != NULL && WouldIssue(other, crowded->preview->benefit))
		{
			cause = other->cause;
			cause.coupon = &crowded->coupon;
		}
	}
	Refuse(crowded, cause);
}

/*
 * What coupons of codes do to an activity that is not stored: what they take off
 * is written into it, as when they are redeemed with it.  Returns one for each
 * code.  Of those that shut each other out the best applies.  basket: under which
 * some are reserved, or NULL.  Needs an SPI connection; the member may be NOBODY.
 */
CodePreview *
PreviewCodes(Activity *activity, const char *basket, int ncodes, const char *const *codes)
{
	CodePreview *previews = palloc0(Max(ncodes, 1) * sizeof(CodePreview));
	Preview		preview = {.activity = activity,.basket = basket};
	Micros		beyond = activity->nlines > 0 ? BeyondLines(activity) : 0;
	ActivityBasket made;

	for (int i = 0; i < ncodes; i++)
		previews[i].code = codes[i];
	LookAtCodes(&preview, ncodes, previews);
	MakeBasket(&made, activity, Max(beyond, 0), MoneyDecimals(activity));
	PriceCandidates(&preview, &made);
	for (int i = 0; i < preview.nshown; i++)
	{
		if (preview.shown[i].is_crowded && preview.shown[i].preview->refusal == NULL)
			RefuseCrowded(&preview, &preview.shown[i]);
	}
	AddUpAmount(activity, beyond);
	for (int i = 0; i < preview.nshown; i++)
	{
		const Shown *shown = &preview.shown[i];

		if (!shown->applies)
			continue;
		shown->preview->discount = shown->priced.discount;
		shown->preview->spread = SpreadValue(&made, &shown->priced);
		WriteDiscount(activity, &made, &shown->priced);
	}
	return previews;
}

/* ---------------------------------------------------------------------------
 * Points
 * ---------------------------------------------------------------------------
 */

/*
 * Takes what points are worth by a payment, if that is more than what was found
 * before.
 */
static void
ConsiderPayment(PointsPreview *preview, const Benefit *benefit, const Activity *activity, int64 wanted, int decimals)
{
	const Offer *offer = benefit->offer;
	PaymentTerms terms = {offer->points, offer->worth, offer->step, offer->least, offer->most, offer->share};
	int64		points = MostPoints(&terms, activity->amount, Min(wanted, preview->available));
	Micros		worth = WorthOfPoints(&terms, points, decimals);

	if (preview->payment != NULL && worth <= preview->worth)
		return;
	preview->payment = benefit->name;
	preview->points = points;
	preview->worth = worth;
}

static bool
MayPayBy(const Benefit *benefit, const Asker *asker, const Activity *activity, const char *currency)
{
	return strcmp(benefit->offer->currency, currency) == 0 &&
		(benefit->money == NULL || activity->money == NULL || strcmp(benefit->money, activity->money) == 0) &&
		Meets(asker, benefit, benefit->available, NULL);
}

/*
 * What points do that somebody wants to spend on an activity, of which coupons
 * are off already: by the payment named, or (NULL) by that of those that the
 * member may use which makes them worth most.  Without any they can be spent, and
 * what for is the caller's affair.  Needs an SPI connection.
 */
PointsPreview *
PreviewPoints(const Activity *activity, int64 wanted, const char *currency, const char *payment)
{
	PointsPreview *preview = palloc0(sizeof(PointsPreview));
	int			decimals = MoneyDecimals(activity);
	int64		canonical = CanonicalMember(activity->member_id);
	Currency	settings;
	Balance		balance;
	BalanceAsOf sums;
	Entry		entry;
	Asker		asker;
	ListCell   *cell;

	FindCurrency(currency, &settings);
	if (!ReadWallet(canonical, currency, &balance))
		InitBalance(&balance, settings.fold.order);
	BalanceAt(&balance, activity->at, &sums);
	preview->available = sums.available;
	preview->points = Min(wanted, sums.available);
	if (wanted > sums.available)
	{
		bool		nobody = activity->member_id == NOBODY;
		Refused		refused = {FOLD_INSUFFICIENT, &entry, &balance, nobody ? 0 : canonical, nobody ? NULL : currency};

		InitEntry(&entry, ENTRY_REDEEM, activity->at);
		entry.requested = wanted;
		preview->refusal = RefusalOf(&(Cause) {.kind = TOO_FEW_POINTS,.refused = &refused});
	}
	InitAsker(&asker, activity->member_id, activity->at, true);
	if (payment != NULL)
		(void) BenefitOfKind(payment, BENEFIT_PAYMENT, activity->at);
	foreach(cell, BenefitsOfKind(BENEFIT_PAYMENT, activity->at))
	{
		const Benefit *benefit = lfirst(cell);

		if ((payment == NULL || strcmp(payment, benefit->name) == 0) && MayPayBy(benefit, &asker, activity, currency))
			ConsiderPayment(preview, benefit, activity, wanted, decimals);
	}
	if (preview->points < wanted)
		preview->limited_by = sums.available < wanted ? "balance" : "payment";
	return preview;
}
