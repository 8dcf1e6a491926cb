/*
 * match_run.c
 *		SQL functions over the records of a source.
 */
#include "postgres.h"

#include <math.h>


#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"

/* A source that is read, with its definition. */
typedef struct Source
{
	MatchDefinition definition;
	MatchRecords *records;
} Source;

/*
 * Reads a source by a definition; a model that was fitted says which blocks
 * were chosen then.
 */
static void
OpenSource(FunctionCallInfo fcinfo, const FittedModel *model, Source *source)
{
	RequireArgument(fcinfo, 0, "source");
	RequireArgument(fcinfo, 1, "definition");
	ReadMatchDefinition(PG_GETARG_JSONB_P(1), &source->definition);
	if (model != NULL)
	{
		bool		same = model->head.nfields == source->definition.ncompared;

		for (int p = 0; p < model->head.nfields && same; p++)
		{
			const MatchField *field = &source->definition.fields[source->definition.compared[p]];

			same = strcmp(model->head.names[p], field->name) == 0 && model->head.nlevels[p] == MatchLevels(field->kind);
		}
		if (!same)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("the model is not of the fields of the definition"),
					 errdetail("A model has the fields of its definition, in the order in which jsonb has them, with the levels of their kinds."),
					 errhint("Give a model that was fitted to this definition, or leave it out.")));
		for (int b = 0; b < model->head.nblocks && source->definition.chosen; b++)
		{
			int			fields[MATCH_BLOCK_FIELDS];
			int			n = 0;

			for (int p = 0; p < model->head.nfields && n < MATCH_BLOCK_FIELDS; p++)
			{
				if (model->head.blocks[b] & (1u << p))
					fields[n++] = source->definition.compared[p];
			}
			AddMatchBlock(&source->definition, fields, n);
		}
	}
	source->records = LoadMatchRecords(PG_GETARG_OID(0), &source->definition);
	if (source->definition.chosen && source->definition.nblocks == 0)
		ChooseMatchBlocks(source->records, &source->definition);
}

/*
 * preview_blocks(source regclass, definition jsonb) -> set of (block text,
 *		pairs bigint, keys bigint, largest_key text, largest bigint, oversized boolean)
 *		What blocks would make; only counted.  Errors: LY003, LY841, LY844.
 */
PG_FUNCTION_INFO_V1(loyalty_preview_blocks);
Datum
loyalty_preview_blocks(PG_FUNCTION_ARGS)
{
	Source	   *source = palloc(sizeof(Source));
	MatchBlockSize sizes[MATCH_MAX_BLOCKS];
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;

	InitReturnSet(fcinfo);
	OpenSource(fcinfo, NULL, source);
	MatchBlockSizes(source->records, sizes);
	for (int b = 0; b < source->definition.nblocks; b++)
	{
		const MatchBlock *block = &source->definition.blocks[b];
		Datum		values[6];
		bool		nulls[6] = {false};

		PutText(values, nulls, 0, MatchBlockName(&source->definition, block));
		values[1] = Int64GetDatum(sizes[b].pairs);
		values[2] = Int64GetDatum(sizes[b].keys);
		PutText(values, nulls, 3, sizes[b].largest > 0 ? MatchKeyText(source->records, block, sizes[b].witness) : NULL);
		values[4] = Int64GetDatum(sizes[b].largest);
		values[5] = BoolGetDatum(sizes[b].largest > source->definition.largest_key);
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	return (Datum) 0;
}

typedef struct Listing
{
	const MatchRecords *records;
	ReturnSetInfo *rows;
	MemoryContext context;		/* of one row */
} Listing;

static void
ListPair(void *arg, uint32 a, uint32 b, int block)
{
	Listing    *listing = arg;
	const MatchDefinition *definition = listing->records->definition;
	MemoryContext old = MemoryContextSwitchTo(listing->context);
	char		pattern[MATCH_MAX_FIELDS + 1];
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = CStringGetTextDatum(MatchRecordId(listing->records, a));
	values[1] = CStringGetTextDatum(MatchRecordId(listing->records, b));
	values[2] = Int32GetDatum(block + 1);
	values[3] = CStringGetTextDatum(MatchPatternText(ComparePair(listing->records, a, b), definition->ncompared, pattern));
	tuplestore_putvalues(listing->rows->setResult, listing->rows->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(listing->context);
}

/*
 * match_pairs(source regclass, definition jsonb) -> set of (a text, b text,
 *		block integer, pattern text)
 *		Each pair of the blocks once, in the first that makes it.
 *		Errors: LY003, LY841, LY844.
 */
PG_FUNCTION_INFO_V1(loyalty_match_pairs);
Datum
loyalty_match_pairs(PG_FUNCTION_ARGS)
{
	Source	   *source = palloc(sizeof(Source));
	Listing		listing;

	InitReturnSet(fcinfo);
	OpenSource(fcinfo, NULL, source);
	listing.records = source->records;
	listing.rows = (ReturnSetInfo *) fcinfo->resultinfo;
	listing.context = AllocSetContextCreate(CurrentMemoryContext, "pair", ALLOCSET_SMALL_SIZES);
	ForEachMatchPair(source->records, ListPair, &listing);
	return (Datum) 0;
}

static void
CountSource(const Source *source, MatchCounts *counts)
{
	const MatchDefinition *definition = &source->definition;
	MatchCells	cells;

	memset(counts, 0, sizeof(*counts));
	counts->records = source->records->n;
	counts->pairs = PairsOf(source->records->n);
	counts->nfields = definition->ncompared;
	counts->counted = true;
	for (int p = 0; p < definition->ncompared; p++)
	{
		const MatchField *field = &definition->fields[definition->compared[p]];

		counts->names[p] = field->name;
		counts->kinds[p] = field->kind;
		counts->nlevels[p] = MatchLevels(field->kind);
		counts->frequencies[p] = field->frequencies;
		SummarizeMatchField(source->records, definition->compared[p], &counts->summary[p]);
	}
	for (int b = 0; b < definition->nblocks; b++)
	{
		const MatchBlock *block = &definition->blocks[b];

		counts->has_keys = counts->has_keys || !block->by_levels;
		if (!block->by_levels)
			continue;
		for (int k = 0; k < block->nfields; k++)
			counts->blocks[counts->nblocks] |= 1u << definition->fields[block->fields[k]].place;
		counts->nblocks++;
	}
	CountMatchPatterns(source->records, &cells);
	counts->ncells = cells.ncells;
	counts->cells = cells.cells;
}

/*
 * match_patterns(source regclass, definition jsonb) -> jsonb
 *		How many pairs of the blocks have each pattern, and how often each field
 *		agrees over all pairs.  Errors: LY003, LY841, LY844.
 */
PG_FUNCTION_INFO_V1(loyalty_match_patterns);
Datum
loyalty_match_patterns(PG_FUNCTION_ARGS)
{
	Source	   *source = palloc(sizeof(Source));
	MatchCounts *counts = palloc(sizeof(MatchCounts));

	OpenSource(fcinfo, NULL, source);
	CountSource(source, counts);
	PG_RETURN_JSONB_P(WriteMatchCounts(counts));
}

/* ---------------------------------------------------------------------------
 * Matches
 * ---------------------------------------------------------------------------
 */

typedef struct Found
{
	uint32		a;
	uint32		b;
	MatchPattern pattern;
	MicroBits	weight;
	int			block;
} Found;

typedef struct Finding
{
	const MatchRecords *records;
	const FittedModel *model;
	MatchWeigher weigher;
	MicroBits  *shares[MATCH_MAX_FIELDS];	/* what frequencies add, by value */
	MicroBits	most_added;
	MicroBits	least;			/* a weight that is worth a look */
	Size		n;
	Size		room;
	Found	   *found;
} Finding;

/*
 * What the frequency of each value of a field adds; see match.h.
 */
static void
WeighFrequencies(Finding *finding, int place)
{
	const MatchRecords *records = finding->records;
	int			f = records->definition->compared[place];
	const MatchValues *values = &records->fields[f];
	const MatchFieldModel *field = &finding->model->fit.model.field[place];
	double		u = field->u[field->nlevels - 1];
	double		present = 0.0;
	MicroBits	most = 0;

	finding->shares[place] = palloc_extended(values->nvalues * sizeof(MicroBits), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (!records->definition->fields[f].frequencies || u <= 0.0)
		return;
	for (uint32 v = 1; v < values->nvalues; v++)
		present += values->counts[v];
	for (uint32 v = 1; v < values->nvalues; v++)
	{
		if (values->counts[v] < 2)
			continue;
		finding->shares[place][v] = FrequencyPart(&finding->weigher, &finding->model->fit.model, place,
												  (values->counts[v] - 1) / (present - 2.0 + 1.0 / u));
		most = Max(most, finding->shares[place][v]);
	}
	finding->most_added += most;
}

/*
 * What frequencies add to a pair, by field; returns the sum.
 */
static MicroBits
AddedByFrequencies(const Finding *finding, uint32 a, MatchPattern pattern, MicroBits *added)
{
	const MatchDefinition *definition = finding->records->definition;
	const uint32 *numbers = RecordNumbers(finding->records, a);
	MicroBits	sum = 0;

	for (int p = 0; p < definition->ncompared; p++)
	{
		int			f = definition->compared[p];
		bool		equal = PatternLevel(pattern, definition->ncompared, p) == MatchLevels(definition->fields[f].kind) - 1;

		added[p] = equal ? finding->shares[p][numbers[f]] : 0;
		sum += added[p];
	}
	return sum;
}

static void
FindPair(void *arg, uint32 a, uint32 b, int block)
{
	Finding    *finding = arg;
	MatchPattern pattern = ComparePair(finding->records, a, b);
	MicroBits	weight = WeighPattern(&finding->weigher, pattern);
	MicroBits	added[MATCH_MAX_FIELDS];
	Found	   *found;

	if (weight + finding->most_added < finding->least)
		return;
	weight += AddedByFrequencies(finding, a, pattern, added);
	if (weight < finding->least)
		return;
	if (finding->n == finding->room)
	{
		finding->room *= 2;
		finding->found = repalloc_huge(finding->found, finding->room * sizeof(Found));
	}
	found = &finding->found[finding->n++];
	found->a = a;
	found->b = b;
	found->pattern = pattern;
	found->weight = weight;
	found->block = block;
}

static int
CompareFound(const void *a, const void *b)
{
	const Found *x = a;
	const Found *y = b;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b ? 1 : 0;
}

/*
 * The least weight of a probability.
 */
static MicroBits
LeastWeight(double probability)
{
	if (probability <= 0.0)
		return PG_INT64_MIN / 2;
	if (probability >= 1.0)
		return PG_INT64_MAX / 2;
	return (MicroBits) ceil(1e6 * log2(probability / (1.0 - probability)) - 0.5);
}

static void
PutFound(const Finding *finding, const Found *found, MicroBits link, ReturnSetInfo *rows)
{
	const MatchRecords *records = finding->records;
	MicroBits	added[MATCH_MAX_FIELDS];
	char		pattern[MATCH_MAX_FIELDS + 1];
	Datum		values[8];
	bool		nulls[8] = {false};

	AddedByFrequencies(finding, found->a, found->pattern, added);
	PutText(values, nulls, 0, MatchRecordId(records, found->a));
	PutText(values, nulls, 1, MatchRecordId(records, found->b));
	values[2] = WeightNumeric(found->weight);
	values[3] = ProbabilityNumeric(found->weight);
	PutText(values, nulls, 4, found->weight >= link ? "link" : "review");
	values[5] = Int32GetDatum(found->block + 1);
	PutText(values, nulls, 6, MatchPatternText(found->pattern, records->definition->ncompared, pattern));
	values[7] = PartsJsonb(finding->model, &finding->weigher, found->pattern, added);
	tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
}

/*
 * find_matches(source regclass, definition jsonb, model jsonb, only_ids text[]) ->
 *		set of (a text, b text, weight numeric, probability numeric,
 *		decision text, block integer, pattern text, parts jsonb)
 *		Pairs that are probably the same, from the definition's "review" on, in
 *		the order of ids.  Without a model one is fitted first.  only: ids, of
 *		which one at least is in each pair.
 *		Errors: LY003, LY841, LY842, LY843, LY844.
 */
PG_FUNCTION_INFO_V1(loyalty_find_matches);
Datum
loyalty_find_matches(PG_FUNCTION_ARGS)
{
	Source	   *source = palloc(sizeof(Source));
	FittedModel *model = palloc(sizeof(FittedModel));
	bool		given = !PG_ARGISNULL(2);
	Finding		finding = {0};
	MicroBits	link;
	const char **ids;
	int			nids;
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext one;

	InitReturnSet(fcinfo);
	if (given)
		ReadMatchModel(PG_GETARG_JSONB_P(2), model);
	OpenSource(fcinfo, given ? model : NULL, source);
	if (!given)
	{
		MatchCounts *counts = palloc(sizeof(MatchCounts));
		FitOptions	options;

		CountSource(source, counts);
		DefaultFitOptions(&options);
		FitCounts(counts, &options, model);
	}
	if (TextsArgument(fcinfo, 3, "id", &ids, &nids))
		MarkWantedRecords(source->records, unconstify(char **, ids), nids);

	finding.records = source->records;
	finding.model = model;
	MakeMatchWeigher(&model->fit.model, &finding.weigher);
	for (int p = 0; p < source->definition.ncompared; p++)
		WeighFrequencies(&finding, p);
	finding.least = LeastWeight(source->definition.review);
	link = LeastWeight(source->definition.link);
	finding.room = 1024;
	finding.found = palloc(finding.room * sizeof(Found));
	ForEachMatchPair(source->records, FindPair, &finding);

	qsort(finding.found, finding.n, sizeof(Found), CompareFound);
	one = AllocSetContextCreate(CurrentMemoryContext, "match", ALLOCSET_DEFAULT_SIZES);
	for (Size i = 0; i < finding.n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(one);

		CHECK_FOR_INTERRUPTS();
		PutFound(&finding, &finding.found[i], link, rows);
		MemoryContextSwitchTo(old);
		MemoryContextReset(one);
	}
	return (Datum) 0;
}
