/*
 * uplift_value.c
 *		Plain computing on the type uplift: add a member, merge, check.
 *
 * Nothing here knows the database beyond ereport.
 */
#include "trial/trial.h"

#include "core/core.h"
#include "core/errors.h"

/* A value with so many arms, of no members yet. */
Uplift *
MakeUplift(UpliftKind kind, int narms)
{
	Uplift	   *u = palloc0(UPLIFT_SIZE(narms));

	SET_VARSIZE(u, UPLIFT_SIZE(narms));
	u->version = UPLIFT_VERSION;
	u->kind = kind;
	u->narms = narms;
	return u;
}

/* A copy with room for more arms. */
Uplift *
UpliftWithArms(const Uplift *u, int narms)
{
	Uplift	   *copy = MakeUplift(u->kind, narms);

	Assert(narms >= u->narms);
	copy->decimals = u->decimals;
	copy->before_decimals = u->before_decimals;
	memcpy(copy->arms, u->arms, u->narms * sizeof(UpliftArm));
	return copy;
}

/* What a number is multiplied by that gets so many decimals: a group of four digits at a time. */
static uint64
ScaleFactor(int from_decimals, int to_decimals)
{
	return RfmScale(to_decimals) > RfmScale(from_decimals) ? 10000 : 1;
}

/*
 * Gives the amounts more decimals.  A group of four digits at a time, so that
 * the factor of a square fits.
 */
static void
RaiseDecimals(Uplift *u, int decimals)
{
	while (u->decimals < decimals)
	{
		int			next = Min(decimals, RfmScale(u->decimals) + 4);
		uint64		factor = ScaleFactor(u->decimals, next);

		for (int i = 0; i < u->narms; i++)
		{
			UpliftArm  *arm = &u->arms[i];

			arm->sum = RfmRescale(arm->sum, u->decimals, next);
			WideMultiply(&arm->squares, factor * factor);
			WideMultiply(&arm->products, factor);
		}
		u->decimals = (uint8) next;
	}
}

static void
RaiseDecimalsBefore(Uplift *u, int decimals)
{
	while (u->before_decimals < decimals)
	{
		int			next = Min(decimals, RfmScale(u->before_decimals) + 4);
		uint64		factor = ScaleFactor(u->before_decimals, next);

		for (int i = 0; i < u->narms; i++)
		{
			UpliftArm  *arm = &u->arms[i];

			arm->before = RfmRescale(arm->before, u->before_decimals, next);
			WideMultiply(&arm->before_squares, factor * factor);
			WideMultiply(&arm->products, factor);
		}
		u->before_decimals = (uint8) next;
	}
}

/*
 * Adds a member of an arm for which there is room: an amount, and one before,
 * each in units of its own decimals; of a share the amount is 0 or 1.
 */
void
UpliftAddMember(Uplift *u, int arm, int128 units, int decimals, int128 before, int before_decimals)
{
	UpliftArm  *a = &u->arms[arm];

	RaiseDecimals(u, decimals);
	units = RfmRescale(units, decimals, u->decimals);
	a->members = AddCounts(a->members, 1);
	if (units != 0)
	{
		a->sum = RfmAddUnits(a->sum, units);
		if (u->kind != UPLIFT_SHARE)
			WideAddProduct(&a->squares, units, units);
	}
	if (u->kind != UPLIFT_CUPED)
		return;

	RaiseDecimalsBefore(u, before_decimals);
	before = RfmRescale(before, before_decimals, u->before_decimals);
	if (before != 0)
	{
		a->before = RfmAddUnits(a->before, before);
		WideAddProduct(&a->before_squares, before, before);
		WideAddProduct(&a->products, units, before);
	}
}

/*
 * What the members of both did; exact, commutative and associative.  Values of
 * different kinds are refused: LY003.
 */
Uplift *
UpliftMerge(const Uplift *a, const Uplift *b)
{
	Uplift	   *sum;
	Uplift	   *more;

	if (a->kind != b->kind)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("values of type uplift are of different kinds"),
				 errdetail("Shares, amounts, and amounts with what was before do not add up."),
				 errhint("Add up values of one of uplift_agg(), uplift_agg_amount() and uplift_agg_cuped().")));

	sum = UpliftWithArms(a, Max(a->narms, b->narms));
	more = UpliftWithArms(b, b->narms);
	RaiseDecimals(sum, more->decimals);
	RaiseDecimals(more, sum->decimals);
	RaiseDecimalsBefore(sum, more->before_decimals);
	RaiseDecimalsBefore(more, sum->before_decimals);
	for (int i = 0; i < more->narms; i++)
	{
		UpliftArm  *to = &sum->arms[i];
		const UpliftArm *from = &more->arms[i];

		to->members = AddCounts(to->members, from->members);
		to->sum = RfmAddUnits(to->sum, from->sum);
		to->before = RfmAddUnits(to->before, from->before);
		WideAdd(&to->squares, &from->squares);
		WideAdd(&to->before_squares, &from->before_squares);
		WideAdd(&to->products, &from->products);
	}
	pfree(more);
	return sum;
}

static bool
WideIsZero(const Wide *number)
{
	return (number->part[0] | number->part[1] | number->part[2] | number->part[3]) == 0;
}

/* Whether numbers that have a sum and a sum of squares can be so many. */
static bool
SquaresFit(int64 members, int128 sum, const Wide *squares)
{
	double		of_sum = (double) sum * (double) sum;

	return !WideIsNegative(squares) &&
		(double) members * WideToDouble(squares) >= of_sum * (1 - 1e-12);
}

/*
 * The invariant: NULL when the value can have come from members, otherwise what
 * is wrong with it.  Everything that comes in from outside passes here.
 */
const char *
UpliftProblem(const Uplift *u)
{
	if (u->version != UPLIFT_VERSION)
		return "the version is unknown";
	if (u->kind < UPLIFT_SHARE || u->kind > UPLIFT_CUPED)
		return "the kind is unknown";
	if (u->reserved != 0)
		return "reserved bytes are in use";
	if (u->narms < 1 || u->narms > TRIAL_MAX_ARMS)
		return "it has no arm, or more than 64";
	if (u->decimals > RFM_MAX_DECIMALS || u->before_decimals > RFM_MAX_DECIMALS)
		return "there are more than 36 decimals";
	if ((u->kind < UPLIFT_AMOUNT && u->decimals != 0) || (u->kind < UPLIFT_CUPED && u->before_decimals != 0))
		return "there are decimals where there are no amounts";
	if (u->arms[u->narms - 1].members == 0)
		return "the last arm has no members";
	for (int i = 0; i < u->narms; i++)
	{
		const UpliftArm *a = &u->arms[i];

		if (a->members < 0)
			return "a count is negative";
		if (u->kind == UPLIFT_SHARE && (a->sum < 0 || a->sum > a->members || !WideIsZero(&a->squares)))
			return "more members have converted than there are";
		if (u->kind != UPLIFT_CUPED && (a->before != 0 || !WideIsZero(&a->before_squares) || !WideIsZero(&a->products)))
			return "there is something before, and it is no value of uplift_agg_cuped()";
		if (a->members == 0 && (a->sum != 0 || a->before != 0 || !WideIsZero(&a->squares) ||
								!WideIsZero(&a->before_squares) || !WideIsZero(&a->products)))
			return "there is an amount but no member";
		if (u->kind != UPLIFT_SHARE &&
			(!SquaresFit(a->members, a->sum, &a->squares) || !SquaresFit(a->members, a->before, &a->before_squares)))
			return "sums and sums of squares do not fit";
	}
	return NULL;
}
