/*
 * activity_decimals.c
 *		How fine the money of an activity is.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"

#include "activity/activity.h"
#include "core/compat.h"
#include "core/core.h"

/*
 * How many decimals the money of an activity has: where none is named, two, or
 * as many as its amounts have.
 */
int
MoneyDecimals(const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.money_decimals(0, $1)",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value;
	bool		isnull;

	if (activity->money == NULL)
		return Max(activity->decimals, 2);
	value = CStringGetTextDatum(activity->money);
	RunPlan(&plan, &value, NULL, 1);
	return Max(DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)), activity->decimals);
}
