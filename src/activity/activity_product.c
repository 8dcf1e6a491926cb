/*
 * activity_product.c
 *		What the catalogue knows of the lines of an activity.
 *
 * It is written into the lines, and stays there: a later version of a product
 * says nothing about what was sold before.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_type_d.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "activity/activity.h"
#include "core/compat.h"
#include "core/core.h"

/*
 * Whether there never was a product: the catalogue is an option.
 */
static bool
CatalogueIsEmpty(void)
{
	Relation	rel = OpenLoyaltyTable("product", AccessShareLock);
	bool		is_empty = rel->rd_rel->relkind == RELKIND_RELATION && RelationGetNumberOfBlocks(rel) == 0;

	table_close(rel, AccessShareLock);
	return is_empty;
}

/*
 * Whether the catalogue could add anything to a line.
 */
static bool
LacksSomething(const ActivityLine *line)
{
	return line->sku != NULL &&
		(line->category == NULL || line->brand == NULL || line->grade == NULL || !line->earns_given);
}

static void
FillIn(ActivityLine *line, const char *category, const char *brand, const char *grade, bool earns)
{
	if (line->category == NULL)
		line->category = category;
	if (line->brand == NULL)
		line->brand = brand;
	if (line->grade == NULL)
		line->grade = grade;
	if (!line->earns_given)
		line->earns = earns;
}

/*
 * The same line before a revision, of the same product: what was known of it
 * then still holds.
 */
static const ActivityLine *
SameLine(const Activity *before, const ActivityLine *line)
{
	if (before == NULL)
		return NULL;
	for (int i = 0; i < before->nlines; i++)
	{
		const ActivityLine *other = &before->lines[i];

		if (other->number == line->number && other->sku != NULL && strcmp(other->sku, line->sku) == 0)
			return other;
	}
	return NULL;
}

/*
 * Asks the catalogue, as of the activity's own instant, for products by their
 * place in lines.
 */
static void
LookUpProducts(Activity *activity, const int *places, int n)
{
	static KeptPlan plan = {
		.query = "SELECT s.place::pg_catalog.int4, p.category, p.brand, p.grade, p.earns "
		"FROM ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY s (sku, place), LATERAL ("
		"SELECT x.category, x.brand, x.grade, x.earns FROM loyalty.product x "
		"WHERE x.sku OPERATOR(pg_catalog.=) s.sku AND (x.effective_from IS NULL OR x.effective_from OPERATOR(pg_catalog.<=) $2) "
		"ORDER BY x.version DESC LIMIT 1) p",
		.nargs = 2,
		.argtypes = {TEXTARRAYOID, TIMESTAMPTZOID}
	};
	Datum	   *skus = palloc(n * sizeof(Datum));
	Datum		values[2];

	for (int i = 0; i < n; i++)
		skus[i] = CStringGetTextDatum(activity->lines[places[i]].sku);
	values[0] = PointerGetDatum(construct_array(skus, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = TimestampTzGetDatum(activity->at);
	RunPlan(&plan, values, NULL, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;
		int			place = DatumGetInt32(SPI_getbinval(tuple, tupdesc, 1, &isnull));
		bool		earns = DatumGetBool(SPI_getbinval(tuple, tupdesc, 5, &isnull));

		FillIn(&activity->lines[places[place - 1]], SPI_getvalue(tuple, tupdesc, 2), SPI_getvalue(tuple, tupdesc, 3),
			   SPI_getvalue(tuple, tupdesc, 4), earns);
		activity->lines_changed = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Fills in what lines with a sku do not say themselves.  Needs an SPI
 * connection, and leaves what it fills in where that is.
 */
void
FillInProducts(Activity *activity, const Activity *before)
{
	int		   *places;
	int			n = 0;

	if (activity->nlines == 0)
		return;
	places = palloc(activity->nlines * sizeof(int));
	for (int i = 0; i < activity->nlines; i++)
	{
		ActivityLine *line = &activity->lines[i];
		const ActivityLine *same;

		if (!LacksSomething(line))
			continue;
		same = SameLine(before, line);
		if (same != NULL)
		{
			FillIn(line, same->category, same->brand, same->grade, same->earns);
			activity->lines_changed = true;
		}
		else
			places[n++] = i;
	}
	if (n > 0 && !CatalogueIsEmpty())
		LookUpProducts(activity, places, n);
	pfree(places);
}
