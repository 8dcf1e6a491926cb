/*
 * benefit_cache.c
 *		Benefits as a session knows them: read once, and dropped when their
 *		table changes, told by the trigger forget_cached().
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "benefit/benefit.h"
#include "core/compat.h"
#include "core/errors.h"

static MemoryContext cache = NULL;
static const Benefit **benefits = NULL; /* by (name, version) */
static int	nbenefits = 0;

/*
 * Reads all versions of all benefits.  What was known before stays until the
 * transaction ends, for whoever uses it.
 */
static void
ReadBenefits(void)
{
	static KeptPlan plan = {
		.query = "SELECT benefit, version, coalesce(effective_from, '-infinity'), definition FROM loyalty.benefit_version "
		"ORDER BY benefit COLLATE \"C\", version"
	};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "loyalty benefits", ALLOCSET_DEFAULT_SIZES);
	const char *time_zone = GetProgram()->time_zone;
	const Benefit **found;
	int			n;
	MemoryContext old;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	n = (int) SPI_processed;
	old = MemoryContextSwitchTo(context);
	found = palloc(Max(n, 1) * sizeof(Benefit *));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		Problems	problems = {NULL, 0};
		bool		isnull;
		Benefit    *benefit = ParseBenefit(DatumGetJsonbPCopy(SPI_getbinval(row, tupdesc, 4, &isnull)),
										   pstrdup(time_zone), &problems);

		benefit->name = text_to_cstring(DatumGetTextPP(SPI_getbinval(row, tupdesc, 1, &isnull)));
		benefit->version = DatumGetInt32(SPI_getbinval(row, tupdesc, 2, &isnull));
		benefit->effective_from = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 3, &isnull));
		found[i] = benefit;
	}
	MemoryContextSwitchTo(old);
	if (cache != NULL)
		MemoryContextSetParent(cache, TopTransactionContext);
	MemoryContextSetParent(context, TopMemoryContext);
	cache = context;
	benefits = found;
	nbenefits = n;
}

static void
KnowBenefits(void)
{
	/* a definition without a time zone has that of the program */
	static Settings settings = {.tables = {"benefit_version", "program"}, .read = ReadBenefits};

	if (!KnowSettings(&settings))
		nbenefits = 0;
}

/*
 * Whether there is any benefit.
 */
bool
AnyBenefits(void)
{
	KnowBenefits();
	return nbenefits > 0;
}

/*
 * The version of a benefit that is in force at an instant, the latest that has
 * begun; NULL where there is none.  It stays where it is until the transaction
 * ends.
 */
const Benefit *
FindBenefit(const char *name, TimestampTz at)
{
	const Benefit *found = NULL;

	KnowBenefits();
	for (int i = 0; i < nbenefits; i++)
	{
		if (strcmp(benefits[i]->name, name) == 0 && benefits[i]->effective_from <= at)
			found = benefits[i];
	}
	return found;
}

/*
 * The same, refused where there is none.
 */
const Benefit *
BenefitInForce(const char *name, TimestampTz at)
{
	const Benefit *benefit = FindBenefit(name, at);

	if (benefit == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_BENEFIT),
				 errmsg("there is no benefit \"%s\"", name),
				 errdetail("No version of it is in force at %s.", TimestampText(at)),
				 errhint("Define it with loyalty.define_benefit(); see the table loyalty.benefit_version.")));
	return benefit;
}

/*
 * The same of one that must be of a kind.
 */
const Benefit *
BenefitOfKind(const char *name, BenefitKind kind, TimestampTz at)
{
	const Benefit *benefit = BenefitInForce(name, at);

	if (benefit->kind != kind)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_BENEFIT),
				 errmsg("benefit \"%s\" is of another kind", name),
				 errdetail("It is of kind %s, and this is for %s.", benefit_kind_names[benefit->kind], benefit_kind_names[kind]),
				 errhint("See the table loyalty.benefit.")));
	return benefit;
}

/*
 * All benefits of a kind that are in force at an instant, by their names.
 */
List *
BenefitsOfKind(BenefitKind kind, TimestampTz at)
{
	List	   *list = NIL;

	KnowBenefits();
	for (int i = 0; i < nbenefits; i++)
	{
		if (benefits[i]->kind == kind && benefits[i]->effective_from <= at &&
			(i + 1 == nbenefits || benefits[i + 1]->effective_from > at || strcmp(benefits[i + 1]->name, benefits[i]->name) != 0))
			list = lappend(list, unconstify(Benefit *, benefits[i]));
	}
	return list;
}

/*
 * A version of a benefit that is known to be there.
 */
const Benefit *
BenefitVersion(const char *name, int32 version)
{
	KnowBenefits();
	for (int i = 0; i < nbenefits; i++)
	{
		if (benefits[i]->version == version && strcmp(benefits[i]->name, name) == 0)
			return benefits[i];
	}
	elog(ERROR, "benefit \"%s\" has no version %d", name, version);
}

/*
 * Refuses a definition that has mistakes; at says where it stands.
 */
void
RefuseProblems(const Problems *problems, const char *at)
{
	StringInfoData text;
	ListCell   *cell;

	if (problems->nerrors == 0)
		return;
	initStringInfo(&text);
	foreach(cell, problems->list)
	{
		const Problem *problem = lfirst(cell);
		const char *dot = at[0] != '\0' && problem->path[0] != '\0' ? "." : "";

		if (problem->is_error)
			appendStringInfo(&text, "%s%s%s%s %s", text.len > 0 ? "; " : "", at, dot,
							 problem->path[0] != '\0' || at[0] != '\0' ? problem->path : "the definition", problem->text);
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_BENEFIT),
			 errmsg("invalid definition of a benefit"),
			 errdetail("%s.", text.data),
			 errhint("See the comment of loyalty.define_benefit().")));
}

/*
 * check_benefit_definition(definition jsonb) -> jsonb
 */
PG_FUNCTION_INFO_V1(loyalty_check_benefit_definition);
Datum
loyalty_check_benefit_definition(PG_FUNCTION_ARGS)
{
	Problems	problems = {NULL, 0};

	RequireArgument(fcinfo, 0, "definition");
	(void) ParseBenefit(PG_GETARG_JSONB_P(0), GetProgram()->time_zone, &problems);
	RefuseProblems(&problems, "");
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}
