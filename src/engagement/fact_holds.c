/*
 * fact_holds.c
 *		Whether an activity meets a condition, for statements over many of them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/calendar.h"
#include "activity/condition.h"
#include "core/core.h"
#include "core/errors.h"
#include "engagement/engagement.h"

/* The condition that a call used last, in the function's memory. */
typedef struct KnownCondition
{
	struct varlena *value;
	Condition  *condition;
} KnownCondition;

static const Condition *
ConditionArgument(FunctionCallInfo fcinfo, int n)
{
	KnownCondition *known = fcinfo->flinfo->fn_extra;
	struct varlena *value = PG_GETARG_VARLENA_PP(n);
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

	if (known == NULL)
		known = fcinfo->flinfo->fn_extra = palloc0(sizeof(KnownCondition));
	if (known->value == NULL || VARSIZE_ANY(known->value) != VARSIZE_ANY(value) || memcmp(known->value, value, VARSIZE_ANY(value)) != 0)
	{
		Problems	problems = {NULL, 0};
		Place		place;
		struct varlena *copy = palloc(VARSIZE_ANY(value));

		memcpy(copy, value, VARSIZE_ANY(value));
		WholeDefinition(&place, DatumGetJsonbPCopy(PointerGetDatum(copy)), "when", &problems);
		known->condition = ParseCondition(&place);
		/* one that is refused is not known: whoever catches that may call again */
		known->value = NULL;
		RefuseEngagement("condition", &problems);
		known->value = copy;
	}
	MemoryContextSwitchTo(old);
	return known->condition;
}

/*
 * fact_holds(condition jsonb, kind text, at timestamptz, time_zone text, channel text, amount numeric,
 *		money text, lines jsonb, document jsonb) -> boolean
 */
PG_FUNCTION_INFO_V1(loyalty_fact_holds);
Datum
loyalty_fact_holds(PG_FUNCTION_ARGS)
{
	Activity	activity;
	ConditionSubject subject = {.activity = &activity};
	const Condition *condition;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(true);
	RequireArgument(fcinfo, 1, "kind");
	RequireArgument(fcinfo, 2, "at");
	condition = ConditionArgument(fcinfo, 0);
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
		PG_RETURN_BOOL(false);
	activity = (Activity) {
		.kind = TextArgument(fcinfo, 1),
		.at = PG_GETARG_TIMESTAMPTZ(2),
		.time_zone = FindTimeZone(TextArgument(fcinfo, 3)),
		.channel = TextArgument(fcinfo, 4),
		.has_amount = !PG_ARGISNULL(5),
		.money = TextArgument(fcinfo, 6)
	};
	activity.local_day = LocalDay(activity.at, activity.time_zone);
	if (activity.has_amount)
		activity.amount = MicrosFromNumeric(PG_GETARG_DATUM(5), "amount", &activity.decimals);
	if (!PG_ARGISNULL(7))
		ReadLines(&activity, PG_GETARG_DATUM(7));
	if (!PG_ARGISNULL(8))
		activity.document = PG_GETARG_DATUM(8);
	PG_RETURN_BOOL(EvaluateCondition(condition, &subject) == TRUTH_YES);
}
