/*
 * plan.c
 *		Statements planned once per backend and kept.
 *
 * All our statements name their tables with the schema and their operators
 * as OPERATOR(pg_catalog.=), so that the caller's search_path cannot steer
 * them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "core/core.h"

/*
 * Whether a distributed engine may have spread our tables.  It can plan joins
 * only with the parameters' values, by which it finds the machine.
 */
static bool
NeedsParameters(void)
{
	return OidIsValid(get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE));
}

/*
 * Plans a kept statement with index access preferred.
 *
 * Our tables may be empty when a long-lived connection first plans a
 * statement.  A generic plan made then would read the whole table for every
 * call once it has grown, until the next ANALYZE; or, of a join, all rows of a
 * member for each of them.  Every kept statement has an index to use, so what
 * goes without is switched off while planning.
 */
static void
PlanWithIndexes(KeptPlan *kept)
{
	static const char *const off[] = {
		"enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_material",
		/* what such a plan must scan all the same looks too costly not to compile */
		"jit"
	};
	int			nest = NewGUCNestLevel();
	CachedPlan *cplan;

	for (int i = 0; i < (int) lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	cplan = SPI_plan_get_cached_plan(kept->plan);
	if (cplan != NULL)
		ReleaseCachedPlan(cplan, CurrentResourceOwner);
	AtEOXact_GUC(true, nest);
}

/*
 * In the handler of an error: throws it on.  A refusal of our own (class LY)
 * says all that its reader can use; the statements and functions of ours in
 * which it came up are left out of its context, the caller's stay.
 */
void
RethrowRefusal(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != MAKE_SQLSTATE('L', 'Y', '0', '0', '0'))
		PG_RE_THROW();
	FlushErrorState();
	error->context = NULL;
	ThrowErrorData(error);
}

/* How a kept statement sees the rows of tables */
typedef enum SeenRows
{
	SEEN_BY_CALLER,				/* as the calling query does; it does not write */
	SEEN_BY_TRANSACTION,		/* in READ COMMITTED all that is committed by now */
	SEEN_BY_ALL					/* all that is committed by now; to change what
								 * the transaction does not see is 40001 */
} SeenRows;

/*
 * Whether a kept statement will be planned again when it is run.
 * SPI_plan_is_valid() looks at the tables that it names, and neither at those
 * that functions read whose bodies were put into the plan nor at the search_path
 * of the caller, another one than the last caller's.
 */
static bool
IsOutdated(SPIPlanPtr plan)
{
	ListCell   *cell;

	foreach(cell, SPI_plan_get_plan_sources(plan))
	{
		const CachedPlanSource *source = lfirst(cell);

		if (source->is_saved &&
			(!source->is_valid || (source->gplan != NULL && !source->gplan->is_valid) ||
			 (source->search_path != NULL && !SearchPathIsStill(source->search_path))))
			return true;
	}
	return false;
}

/*
 * A statement over all_entries() as a distributed engine can plan it: it plans
 * what is in views, and not what is in functions that return rows.  As it is on a
 * single machine.
 */
const char *
OverEntries(const char *query)
{
	static const char function[] = "loyalty.all_entries()";
	StringInfoData result;
	const char *next;

	if (!TablesAreSpread())
		return query;
	initStringInfo(&result);
	while ((next = strstr(query, function)) != NULL)
	{
		appendBinaryStringInfo(&result, query, (int) (next - query));
		appendStringInfoString(&result, "loyalty.every_entry");
		query = next + strlen(function);
	}
	appendStringInfoString(&result, query);
	return result.data;
}

static int
RunKept(KeptPlan *kept, Datum *values, const char *nulls, SeenRows seen, long limit)
{
	MemoryContext context = CurrentMemoryContext;
	volatile int rc = 0;
	volatile int nest = -1;
	bool		replan;

	if (kept->plan == NULL)
	{
		bool		generic = !NeedsParameters();
		SPIPlanPtr	plan = SPI_prepare_cursor(OverEntries(kept->query), kept->nargs, kept->argtypes,
											  generic ? CURSOR_OPT_GENERIC_PLAN : 0);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare of \"%s\" failed: %s",
				 kept->query, SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		kept->plan = plan;
		kept->generic = generic;
		replan = true;
	}
	else
		replan = IsOutdated(kept->plan);

	if (replan && kept->generic)
		PlanWithIndexes(kept);

	/* under a caller's wish for custom plans each call would be planned anew */
	if (plan_cache_mode == PLAN_CACHE_MODE_FORCE_CUSTOM_PLAN)
	{
		nest = NewGUCNestLevel();
		(void) set_config_option("plan_cache_mode", "auto", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	PG_TRY();
	{
		if (seen == SEEN_BY_ALL && IsolationUsesXactSnapshot())
			rc = SPI_execute_snapshot(kept->plan, values, nulls, GetLatestSnapshot(), GetTransactionSnapshot(), false, true, limit);
		else
			rc = SPI_execute_plan(kept->plan, values, nulls, seen == SEEN_BY_CALLER, limit);
	}
	PG_CATCH();
	{
		RethrowRefusal(context);
	}
	PG_END_TRY();
	if (nest >= 0)
		AtEOXact_GUC(true, nest);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan of \"%s\" failed: %s",
			 kept->query, SPI_result_code_string(rc));
	return rc;
}

/*
 * Runs a kept statement that writes, or that must see what other sessions
 * have committed up to now (a fresh snapshot in READ COMMITTED).  Needs an
 * SPI connection; results are in SPI_tuptable and SPI_processed.
 */
int
RunPlan(KeptPlan *kept, Datum *values, const char *nulls, long limit)
{
	return RunKept(kept, values, nulls, SEEN_BY_TRANSACTION, limit);
}

/*
 * Runs a kept statement that changes or deletes all rows that there are of
 * something, as foreign keys do: it also finds those that were committed since
 * the snapshot of a transaction in REPEATABLE READ or above, which then ends
 * with 40001.
 */
int
RunPlanOnCommitted(KeptPlan *kept, Datum *values)
{
	return RunKept(kept, values, NULL, SEEN_BY_ALL, 0);
}

/*
 * Runs a kept statement under the snapshot of the calling query.
 */
int
RunPlanReadOnly(KeptPlan *kept, Datum *values, const char *nulls, long limit)
{
	return RunKept(kept, values, nulls, SEEN_BY_CALLER, limit);
}
