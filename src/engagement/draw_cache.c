/*
 * draw_cache.c
 *		Draws as a session knows them: each read when it is first drawn, and all
 *		dropped when definitions change, told by the trigger forget_cached().
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/core.h"
#include "core/errors.h"
#include "engagement/draw.h"

static MemoryContext cache = NULL;
static List *draws = NIL;

static void
ForgetDraws(void)
{
	/* what was known before stays until the transaction ends, for whoever uses it */
	if (cache != NULL)
		MemoryContextSetParent(cache, TopTransactionContext);
	cache = AllocSetContextCreate(TopMemoryContext, "loyalty draws", ALLOCSET_SMALL_SIZES);
	draws = NIL;
}

static int
CompareNames(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* The currencies of the prizes of a draw, each once. */
static void
ListCurrencies(KnownDraw *draw)
{
	const DrawTerms *terms = draw->terms;
	int			n = 0;

	draw->currencies = palloc(terms->nprizes * sizeof(char *));
	for (int i = 0; i < terms->nprizes; i++)
	{
		if (terms->prizes[i].points > 0)
			draw->currencies[n++] = terms->prizes[i].currency;
	}
	qsort(draw->currencies, n, sizeof(char *), CompareNames);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || strcmp(draw->currencies[i], draw->currencies[i - 1]) != 0)
			draw->currencies[draw->ncurrencies++] = draw->currencies[i];
	}
}

static const KnownDraw *
ReadDraw(const char *name)
{
	static KeptPlan plan = {
		.query = "SELECT v.definition, s.seed FROM loyalty.engagement_version v, loyalty.draw_seed s "
		"WHERE v.what OPERATOR(pg_catalog.=) 'draw' AND v.name OPERATOR(pg_catalog.=) $1 AND s.draw OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(name);
	KnownDraw  *draw = NULL;

	CommandCounterIncrement();
	PushLatestSnapshot();
	RunPlanReadOnly(&plan, &value, NULL, 1);
	PopActiveSnapshot();
	if (SPI_processed > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(cache);
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;

		draw = palloc0(sizeof(KnownDraw));
		draw->name = pstrdup(name);
		draw->terms = RequireDraw(DatumGetJsonbPCopy(SPI_getbinval(row, tupdesc, 1, &isnull)));
		ReadSeed(TextDatumGetCString(SPI_getbinval(row, tupdesc, 2, &isnull)), &draw->seed);
		ListCurrencies(draw);
		draw->lock_key = DatumGetInt64(DirectFunctionCall2Coll(hashtextextended, DEFAULT_COLLATION_OID,
															   CStringGetTextDatum(psprintf("loyalty draw %s", name)), Int64GetDatum(0)));
		draws = lappend(draws, draw);
		MemoryContextSwitchTo(old);
	}
	return draw;
}

/*
 * A draw that was defined; LY751 where there is none of the name, which may be
 * NULL.  Needs an SPI connection, and the rights of the owner of the tables.
 */
const KnownDraw *
FindDraw(const char *name)
{
	static Settings settings = {.tables = {"engagement_version"}, .read = ForgetDraws};
	const KnownDraw *draw = NULL;
	ListCell   *cell;

	if (name != NULL && KnowSettings(&settings))
	{
		foreach(cell, draws)
		{
			draw = lfirst(cell);
			if (strcmp(draw->name, name) == 0)
				return draw;
		}
		draw = ReadDraw(name);
	}
	if (draw == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_ENGAGEMENT),
				 errmsg("there is no draw \"%s\"", name != NULL ? name : "<NULL>"),
				 errdetail("The table loyalty.engagement_version has no row of it that is in force then."),
				 errhint("Define it with loyalty.define_draw().")));
	return draw;
}
