/*
 * cohort_lifecycle.c
 *		In which stage of its life a member is, by a policy.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "cohort/cohort.h"
#include "core/errors.h"
#include "rfm/rfm.h"

typedef enum PolicyKey
{
	KEY_NEW_DAYS,				/* new: first purchase at most so long ago */
	KEY_ACTIVE_DAYS,			/* active: last purchase at most so long ago */
	KEY_AT_RISK_DAYS,			/* at_risk, likewise */
	KEY_DORMANT_DAYS,			/* dormant, likewise; lost beyond */
	KEY_WON_BACK_DAYS,			/* won_back: came back after at least so long */
	KEY_LOYAL_ORDERS,			/* loyal: at least so many purchases */
	NPOLICY_KEYS
} PolicyKey;

static const struct
{
	const char *name;
	bool		may_be_null;	/* null: there is no such stage */
	int			otherwise;
}			policy_keys[NPOLICY_KEYS] =
{
	{"new_days", true, 30},
	{"active_days", false, 90},
	{"at_risk_days", false, 180},
	{"dormant_days", false, 365},
	{"won_back_days", true, 365},
	{"loyal_orders", true, 5}
};

/* What was read from the policy that came last. */
typedef struct KeptPolicy
{
	Size		size;
	char	   *bytes;
	int64		values[NPOLICY_KEYS];	/* -1 for null */
} KeptPolicy;

/* ---- plain computing ---- */

/*
 * Is an instant at most so many days of 24 hours before another, by the clock
 * of the zone?
 */
static bool
Within(TimestampTz earlier, TimestampTz later, int64 days, pg_tz *zone)
{
	return days >= 0 && RfmElapsed(earlier, later, zone) <= (uint64) days * USECS_PER_DAY;
}

static const char *
Stage(const rfm *s, TimestampTz as_of, const int64 *policy, pg_tz *zone)
{
	if (s == NULL || !RFM_HAS_PURCHASE(s))
		return "prospect";
	if (Within(s->first, as_of, policy[KEY_NEW_DAYS], zone))
		return "new";
	if (!Within(s->last, as_of, policy[KEY_DORMANT_DAYS], zone))
		return "lost";
	if (!Within(s->last, as_of, policy[KEY_AT_RISK_DAYS], zone))
		return "dormant";
	if (!Within(s->last, as_of, policy[KEY_ACTIVE_DAYS], zone))
		return "at_risk";
	if (policy[KEY_WON_BACK_DAYS] >= 0 && RFM_HAS_REPEAT(s) &&
		!Within(s->previous, s->last, policy[KEY_WON_BACK_DAYS], zone))
		return "won_back";
	if (policy[KEY_LOYAL_ORDERS] >= 0 && s->purchases >= policy[KEY_LOYAL_ORDERS])
		return "loyal";
	return "active";
}

/* ---- the policy ---- */

static int
FindPolicyKey(const char *name, int len)
{
	for (int k = 0; k < NPOLICY_KEYS; k++)
		if (strlen(policy_keys[k].name) == (Size) len &&
			memcmp(policy_keys[k].name, name, len) == 0)
			return k;
	return -1;
}

static void
ReadPolicy(Jsonb *policy, int64 *values)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;

	for (int k = 0; k < NPOLICY_KEYS; k++)
		values[k] = policy_keys[k].otherwise;

	if (!JB_ROOT_IS_OBJECT(policy))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_POLICY),
				 errmsg("a lifecycle policy is not an object"),
				 errdetail("A policy is a JSON object of whole numbers, such as {\"active_days\": 60}."),
				 errhint("Make it with lifecycle_policy().")));

	it = JsonbIteratorInit(&policy->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		int			k;

		if (token != WJB_KEY)
			continue;
		k = FindPolicyKey(v.val.string.val, v.val.string.len);
		if (k < 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_POLICY),
					 errmsg("\"%s\" is not part of a lifecycle policy",
							pnstrdup(v.val.string.val, v.val.string.len)),
					 errdetail("A policy has new_days, active_days, at_risk_days, dormant_days, won_back_days and loyal_orders."),
					 errhint("Make it with lifecycle_policy().")));
		(void) JsonbIteratorNext(&it, &v, true);
		if (v.type == jbvNull && policy_keys[k].may_be_null)
			values[k] = -1;
		else if (v.type == jbvNumeric &&
				 !numeric_is_nan(v.val.numeric) &&
				 DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(v.val.numeric),
												   NumericGetDatum(int64_to_numeric(0)))) >= 0 &&
				 DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(v.val.numeric),
												   NumericGetDatum(int64_to_numeric(1000000)))) <= 0 &&
				 DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(v.val.numeric),
												  DirectFunctionCall1(numeric_floor,
																	  NumericGetDatum(v.val.numeric)))))
			values[k] = DatumGetInt64(DirectFunctionCall1(numeric_int8,
														  NumericGetDatum(v.val.numeric)));
		else
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_POLICY),
					 errmsg("\"%s\" of a lifecycle policy is not a whole number from 0 to 1000000",
							policy_keys[k].name),
					 errdetail("Only new_days, won_back_days and loyal_orders may be null, for a stage that nobody is in."),
					 errhint("Make the policy with lifecycle_policy().")));
	}

	if (values[KEY_ACTIVE_DAYS] > values[KEY_AT_RISK_DAYS] ||
		values[KEY_AT_RISK_DAYS] > values[KEY_DORMANT_DAYS])
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_POLICY),
				 errmsg("the days of a lifecycle policy do not ascend"),
				 errdetail("active_days is " INT64_FORMAT ", at_risk_days " INT64_FORMAT ", dormant_days " INT64_FORMAT ".",
						   values[KEY_ACTIVE_DAYS], values[KEY_AT_RISK_DAYS], values[KEY_DORMANT_DAYS]),
				 errhint("Let active_days <= at_risk_days <= dormant_days.")));
}

static const int64 *
GetPolicy(FunctionCallInfo fcinfo, int argno)
{
	KeptPolicy *kept = (KeptPolicy *) fcinfo->flinfo->fn_extra;
	Jsonb	   *policy = PG_GETARG_JSONB_P(argno);

	if (kept != NULL && kept->size == VARSIZE(policy) &&
		memcmp(kept->bytes, policy, kept->size) == 0)
		return kept->values;

	if (kept == NULL)
	{
		kept = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(KeptPolicy));
		fcinfo->flinfo->fn_extra = kept;
	}
	kept->size = 0;				/* not usable until all is read */
	if (kept->bytes != NULL)
	{
		pfree(kept->bytes);
		kept->bytes = NULL;
	}
	ReadPolicy(policy, kept->values);
	kept->bytes = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, VARSIZE(policy));
	memcpy(kept->bytes, policy, VARSIZE(policy));
	kept->size = VARSIZE(policy);
	return kept->values;
}

/*
 * lifecycle_stage(summary rfm, as_of timestamptz, policy jsonb DEFAULT '{}',
 *				   time_zone text DEFAULT 'UTC') -> text
 *		The first of these that holds, with days of 24 hours by the clock of
 *		the zone, bounds inclusive: prospect (no purchase, or a NULL summary); new (first
 *		purchase at most new_days before as_of); lost (last purchase more
 *		than dormant_days before); dormant (more than at_risk_days); at_risk
 *		(more than active_days); won_back (the last purchase came more than
 *		won_back_days after the one before); loyal (loyal_orders purchases or
 *		more); active.  NULL for a NULL as_of, policy or zone.  What a policy
 *		leaves out has its default.  LY347 for an unfit policy, LY302 for an as_of
 *		before the last purchase or an infinite one.
 */
PG_FUNCTION_INFO_V1(loyalty_lifecycle_stage);
Datum
loyalty_lifecycle_stage(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_ARGISNULL(0) ? NULL : PG_GETARG_RFM_P(0);
	TimestampTz as_of;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	as_of = PG_GETARG_TIMESTAMPTZ(1);
	if (s != NULL)
		RfmCheckAsOf(s, as_of);
	PG_RETURN_TEXT_P(cstring_to_text(Stage(s, as_of, GetPolicy(fcinfo, 2),
										   RfmFindZone(PG_GETARG_TEXT_PP(3)))));
}
