/*
 * activity_kind.c
 *		Kinds of activities, and holidays: settings that a session keeps until
 *		their tables change, told by the trigger forget_cached().
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "activity/activity.h"
#include "activity/activity_row.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"

typedef struct ActivityKind
{
	const char *kind;
	SameWhen	same_when;
} ActivityKind;

static MemoryContext cache = NULL;
static ActivityKind *kinds = NULL;
static int	nkinds = 0;

static SameWhen
SameWhenFromName(const char *name)
{
	static const char *const names[] = {
		[SAME_NEVER] = "never",
		[SAME_EXTERNAL_ID] = "external_id",
		[SAME_EXTERNAL_ID_AND_DAY] = "external_id_and_day"
	};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return (SameWhen) i;
	}
	elog(ERROR, "activities of a kind are the same \"%s\"", name);
}

static void
ReadKinds(void)
{
	static KeptPlan plan = {
		.query = "SELECT kind, same_when FROM loyalty.activity_kind"
	};

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	if (cache == NULL)
		cache = AllocSetContextCreate(TopMemoryContext, "loyalty kinds of activities", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache);
	kinds = MemoryContextAlloc(cache, Max(SPI_processed, 1) * sizeof(ActivityKind));
	nkinds = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		kinds[nkinds].kind = MemoryContextStrdup(cache, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		kinds[nkinds].same_when = SameWhenFromName(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		nkinds++;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * When two activities of a kind are the same; LY501 for a kind that there is
 * not.
 */
SameWhen
FindActivityKind(const char *kind)
{
	static Settings settings = {.tables = {"activity_kind"}, .read = ReadKinds};

	(void) KnowSettings(&settings);
	for (int i = 0; i < nkinds; i++)
	{
		if (strcmp(kinds[i].kind, kind) == 0)
			return kinds[i].same_when;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_UNKNOWN_ACTIVITY_KIND),
			 errmsg("there is no kind of activity \"%s\"", kind),
			 errdetail("The kinds are in loyalty.activity_kind."),
			 errhint("Define it with loyalty.define_activity_kind().")));
}

/*
 * Whether a day is in a list of holidays.  Needs an SPI connection.
 */
bool
IsHoliday(const char *holidays, DateADT day)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.holiday WHERE holidays OPERATOR(pg_catalog.=) $1 AND day OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {TEXTOID, DATEOID}
	};
	Datum		values[2] = {CStringGetTextDatum(holidays), DateADTGetDatum(day)};

	RunPlanReadOnly(&plan, values, NULL, 1);
	return SPI_processed > 0;
}
