/*
 * uplift_agg.c
 *		uplift_agg, uplift_agg_amount, uplift_agg_cuped and uplift_rollup.
 *
 * The state of each is an uplift, updated in place; it is copied only when an
 * arm is seen for the first time.
 */
#include "postgres.h"

#include "core/core.h"
#include "core/errors.h"
#include "trial/trial.h"

/*
 * The state of a transition, of which the first argument is the state and the
 * second the arm, with room for the arm.
 */
static Uplift *
StateWithArm(FunctionCallInfo fcinfo, UpliftKind kind)
{
	int32		arm = PG_GETARG_INT32(1);
	Uplift	   *u;

	if (unlikely(arm < 0 || arm >= TRIAL_MAX_ARMS))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("arm must be from 0 to %d, not %d", TRIAL_MAX_ARMS - 1, arm),
				 errdetail("Arms are numbered from 0, which is the control."),
				 errhint("arm_of() gives the arm of a member; leave others out with NULL.")));
	if (PG_ARGISNULL(0))
		return MakeUplift(kind, arm + 1);
	if (likely(AggCheckCallContext(fcinfo, NULL)))
		u = (Uplift *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	else
		u = (Uplift *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));
	if (unlikely(u->kind != kind || u->version != UPLIFT_VERSION))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("this value of type uplift is of another kind"),
				 errdetail("Shares, amounts, and amounts with what was before do not add up."),
				 errhint("Let the aggregate make its state.")));
	return arm < u->narms ? u : UpliftWithArms(u, arm + 1);
}

/* A transition without an arm leaves the state as it is. */
static Datum
StateAsItIs(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* An amount in units; NULL is 0. */
static int
AmountArgument(FunctionCallInfo fcinfo, int n, int128 *units)
{
	*units = 0;
	if (PG_ARGISNULL(n))
		return 0;
	return RfmUnitsFromNumeric((Numeric) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(n)), units);
}

/*
 * uplift_accum(state uplift, arm integer, converted boolean) returns uplift
 *		Transition of uplift_agg.  Without an arm nothing changes; converted
 *		NULL is false: whoever did nothing did not convert.
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_accum);
Datum
loyalty_uplift_accum(PG_FUNCTION_ARGS)
{
	Uplift	   *u;

	if (PG_ARGISNULL(1))
		return StateAsItIs(fcinfo);
	u = StateWithArm(fcinfo, UPLIFT_SHARE);
	UpliftAddMember(u, PG_GETARG_INT32(1), !PG_ARGISNULL(2) && PG_GETARG_BOOL(2), 0, 0, 0);
	PG_RETURN_POINTER(u);
}

/*
 * uplift_accum_amount(state uplift, arm integer, amount numeric) returns uplift
 *		Transition of uplift_agg_amount; an amount NULL is 0.  LY301 for amounts
 *		that are no finite numbers, or have more than 36 decimals.
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_accum_amount);
Datum
loyalty_uplift_accum_amount(PG_FUNCTION_ARGS)
{
	Uplift	   *u;
	int128		units;
	int			decimals;

	if (PG_ARGISNULL(1))
		return StateAsItIs(fcinfo);
	u = StateWithArm(fcinfo, UPLIFT_AMOUNT);
	decimals = AmountArgument(fcinfo, 2, &units);
	UpliftAddMember(u, PG_GETARG_INT32(1), units, decimals, 0, 0);
	PG_RETURN_POINTER(u);
}

/*
 * uplift_accum_cuped(state uplift, arm integer, amount numeric, before numeric)
 * returns uplift
 *		Transition of uplift_agg_cuped; NULL of either is 0.
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_accum_cuped);
Datum
loyalty_uplift_accum_cuped(PG_FUNCTION_ARGS)
{
	Uplift	   *u;
	int128		units;
	int128		before;
	int			decimals;
	int			before_decimals;

	if (PG_ARGISNULL(1))
		return StateAsItIs(fcinfo);
	u = StateWithArm(fcinfo, UPLIFT_CUPED);
	decimals = AmountArgument(fcinfo, 2, &units);
	before_decimals = AmountArgument(fcinfo, 3, &before);
	UpliftAddMember(u, PG_GETARG_INT32(1), units, decimals, before, before_decimals);
	PG_RETURN_POINTER(u);
}

/*
 * uplift_merge(uplift, uplift) returns uplift
 *		What the members of both did; transition of uplift_rollup, and combine
 *		function of all.  Values of different kinds: LY003.
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_merge);
Datum
loyalty_uplift_merge(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(UpliftMerge(PG_GETARG_UPLIFT(0), PG_GETARG_UPLIFT(1)));
}
