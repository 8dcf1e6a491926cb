/*
 * label_cache.c
 *		What there is to say: the table label, which a session keeps until it
 *		changes.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "core/errors.h"
#include "label/label.h"

static MemoryContext cache = NULL;
static Label *labels = NULL;
static int	nlabels = 0;

static LabelKind
KindFromName(const char *name)
{
	static const char *const names[] = {
		[LABEL_FLAG] = "flag",
		[LABEL_SINGLE] = "single",
		[LABEL_SET] = "set",
		[LABEL_NUMBER] = "number",
		[LABEL_CONSENT] = "consent"
	};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return (LabelKind) i;
	}
	elog(ERROR, "a label has the kind \"%s\"", name);
}

static void
ReadRanks(Label *label, Datum sources, Datum ranks)
{
	Datum	   *names;
	Datum	   *numbers;

	deconstruct_array(DatumGetArrayTypeP(sources), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &label->nranks);
	deconstruct_array(DatumGetArrayTypeP(ranks), INT4OID, sizeof(int32), true, TYPALIGN_INT, &numbers, NULL, &label->nranks);
	label->ranks = MemoryContextAlloc(cache, Max(label->nranks, 1) * sizeof(SourceRank));
	for (int i = 0; i < label->nranks; i++)
	{
		label->ranks[i].source = MemoryContextStrdup(cache, TextDatumGetCString(names[i]));
		label->ranks[i].rank = DatumGetInt32(numbers[i]);
	}
}

static void
ReadLabels(void)
{
	static KeptPlan plan = {
		.query = "SELECT l.label, l.kind, l.at_least, "
		"ARRAY(SELECT r.key FROM pg_catalog.jsonb_each_text(l.ranks) r ORDER BY r.key), "
		"ARRAY(SELECT r.value::pg_catalog.int4 FROM pg_catalog.jsonb_each_text(l.ranks) r ORDER BY r.key) FROM loyalty.label l"
	};
	bool		isnull;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	if (cache == NULL)
		cache = AllocSetContextCreate(TopMemoryContext, "loyalty labels", ALLOCSET_SMALL_SIZES);
	nlabels = 0;
	MemoryContextReset(cache);
	labels = MemoryContextAlloc(cache, Max(SPI_processed, 1) * sizeof(Label));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Label	   *label = &labels[nlabels];
		int			decimals = 0;

		label->name = MemoryContextStrdup(cache, SPI_getvalue(row, desc, 1));
		label->kind = KindFromName(SPI_getvalue(row, desc, 2));
		label->at_least = MicrosFromNumeric(SPI_getbinval(row, desc, 3, &isnull), "at_least", &decimals);
		ReadRanks(label, SPI_getbinval(row, desc, 4, &isnull), SPI_getbinval(row, desc, 5, &isnull));
		nlabels++;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * A label by its name, or NULL.  It is there until the next call.
 */
const Label *
FindLabel(const char *name)
{
	static Settings settings = {.tables = {"label"}, .read = ReadLabels};

	if (!KnowSettings(&settings))
		return NULL;
	for (int i = 0; i < nlabels; i++)
	{
		if (strcmp(labels[i].name, name) == 0)
			return &labels[i];
	}
	return NULL;
}

/*
 * A label by its name; LY701 where there is none.
 */
const Label *
RequireLabel(const char *name)
{
	const Label *label = FindLabel(name);

	if (label == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_LABEL),
				 errmsg("there is no label \"%s\"", name),
				 errdetail("The labels are in loyalty.label."),
				 errhint("Define it with loyalty.define_label().")));
	return label;
}
