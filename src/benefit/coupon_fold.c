/*
 * coupon_fold.c
 *		The state of a coupon.
 */
#include "postgres.h"

#include "benefit/coupon_fold.h"

const char *const coupon_act_names[COUPON_ACT_KINDS] = {
	[COUPON_ISSUED] = "issued",
	[COUPON_RESERVED] = "reserved",
	[COUPON_REDEEMED] = "redeemed",
	[COUPON_REPRICED] = "repriced",
	[COUPON_RELEASED] = "released",
	[COUPON_RESTORED] = "restored",
	[COUPON_REDEEMED_AGAIN] = "redeemed_again",
	[COUPON_WITHDRAWN] = "withdrawn",
	[COUPON_DROPPED] = "dropped",
	[COUPON_REVOKED] = "revoked",
	[COUPON_TRANSFERRED] = "transferred"
};

/*
 * The kind of an act by its name.
 */
CouponActKind
CouponActOfName(const char *name)
{
	for (CouponActKind kind = 0; kind < COUPON_ACT_KINDS; kind++)
	{
		if (strcmp(coupon_act_names[kind], name) == 0)
			return kind;
	}
	elog(ERROR, "\"%s\" is no act of a coupon", name);
}

static void
EndReservation(CouponState *state)
{
	state->basket = NULL;
	state->reserved_until = 0;
}

/*
 * The state after an act.  Texts stay the act's.
 */
void
ApplyCouponAct(CouponState *state, const CouponAct *act)
{
	switch (act->kind)
	{
		case COUPON_ISSUED:
			memset(state, 0, sizeof(CouponState));
			state->valid_until = act->valid_until;
			break;
		case COUPON_RESERVED:
			state->basket = act->basket;
			state->reserved_until = act->reserved_until;
			break;
		case COUPON_REDEEMED:
		case COUPON_REDEEMED_AGAIN:
			state->uses++;
			EndReservation(state);
			break;
		case COUPON_REPRICED:
		case COUPON_DROPPED:
			break;
		case COUPON_RELEASED:
			EndReservation(state);
			break;
		case COUPON_RESTORED:
		case COUPON_WITHDRAWN:
			state->uses--;
			state->valid_until = act->valid_until;
			break;
		case COUPON_REVOKED:
			state->end = COUPON_WAS_REVOKED;
			state->given_back = state->uses == 0;
			EndReservation(state);
			break;
		case COUPON_TRANSFERRED:
			state->end = COUPON_WAS_TRANSFERRED;
			EndReservation(state);
			break;
	}
}

static bool
IsReservedBy(const CouponState *state, const char *basket, TimestampTz at)
{
	return state->basket != NULL && at < state->reserved_until && basket != NULL && strcmp(state->basket, basket) == 0;
}

static bool
IsReservedByOther(const CouponState *state, const char *basket, TimestampTz at)
{
	return state->basket != NULL && at < state->reserved_until && !IsReservedBy(state, basket, at);
}

/* Whether a basket may use it, if it is valid. */
static CouponAnswer
IsFree(const CouponState *state, const CouponTerms *terms, const char *basket, TimestampTz at)
{
	if (state->end != COUPON_LIVES)
		return COUPON_GONE;
	if (state->uses >= terms->times)
		return COUPON_USED;
	return IsReservedByOther(state, basket, at) ? COUPON_IS_RESERVED : COUPON_GOOD;
}

static CouponAnswer
IsValid(const CouponState *state, const CouponTerms *terms, TimestampTz at)
{
	if (at < terms->valid_from)
		return COUPON_NOT_YET;
	return at >= state->valid_until ? COUPON_EXPIRED : COUPON_GOOD;
}

/*
 * A reservation is made, or lengthened, while the coupon is valid.
 */
CouponAnswer
MayReserve(const CouponState *state, const CouponTerms *terms, const char *basket, TimestampTz at)
{
	CouponAnswer answer = IsFree(state, terms, basket, at);

	return answer == COUPON_GOOD ? IsValid(state, terms, at) : answer;
}

CouponAnswer
MayRedeem(const CouponState *state, const CouponTerms *terms, const char *basket, TimestampTz at)
{
	CouponAnswer answer = IsFree(state, terms, basket, at);

	if (answer != COUPON_GOOD || IsReservedBy(state, basket, at))
		return answer;
	return IsValid(state, terms, at);
}

/*
 * With an order that is reopened: whatever its validity, since it was promised.
 */
CouponAnswer
MayRedeemAgain(const CouponState *state, const CouponTerms *terms, TimestampTz at)
{
	return IsFree(state, terms, NULL, at);
}

/*
 * Also what a basket has reserved.
 */
CouponAnswer
MayRevoke(const CouponState *state, const CouponTerms *terms)
{
	if (state->end != COUPON_LIVES)
		return COUPON_GONE;
	return state->uses >= terms->times ? COUPON_USED : COUPON_GOOD;
}

/*
 * Only as it was issued: unused, reserved by nobody.
 */
CouponAnswer
MayTransfer(const CouponState *state, TimestampTz at)
{
	if (state->end != COUPON_LIVES)
		return COUPON_GONE;
	if (state->uses > 0)
		return COUPON_USED;
	if (IsReservedByOther(state, NULL, at))
		return COUPON_IS_RESERVED;
	return at >= state->valid_until ? COUPON_EXPIRED : COUPON_GOOD;
}

/*
 * What people call the state at an instant.
 */
const char *
CouponStateName(const CouponState *state, const CouponTerms *terms, TimestampTz at)
{
	if (state->end != COUPON_LIVES)
		return state->end == COUPON_WAS_REVOKED ? "revoked" : "transferred";
	if (state->uses >= terms->times)
		return "redeemed";
	if (IsReservedByOther(state, NULL, at))
		return "reserved";
	return at >= state->valid_until ? "expired" : "issued";
}
