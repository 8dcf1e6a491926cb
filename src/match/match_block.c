/*
 * match_block.c
 *		Blocks: which pairs are looked at.
 *
 * A block makes every pair of records that have the same values in all its
 * fields, none of them missing.  Its records are brought together by counting,
 * last field first, so that each key is a run of them in the order of ids.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"

/* The records of a block, those of a key together. */
typedef struct Runs
{
	uint32		n;
	uint32	   *record;
	int			nfields;		/* of the block */
	uint32	   *numbers[MATCH_BLOCK_FIELDS];	/* of every record, field by field:
												 * they are read in the order of
												 * keys, and so stay in the cache */
} Runs;

static bool
HasKey(const uint32 *numbers, const MatchBlock *block)
{
	for (int k = 0; k < block->nfields; k++)
	{
		if (numbers[block->fields[k]] == 0)
			return false;
	}
	return true;
}

static bool
SameKey(const uint32 *a, const uint32 *b, const MatchBlock *block)
{
	for (int k = 0; k < block->nfields; k++)
	{
		if (a[block->fields[k]] != b[block->fields[k]] || a[block->fields[k]] == 0)
			return false;
	}
	return true;
}

static void
MakeRuns(const MatchRecords *records, const MatchBlock *block, Runs *runs)
{
	uint32	   *from = palloc_extended(Max(records->n, 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	uint32	   *to = palloc_extended(Max(records->n, 1) * sizeof(uint32), MCXT_ALLOC_HUGE);

	runs->n = 0;
	runs->nfields = block->nfields;
	for (int k = 0; k < block->nfields; k++)
		runs->numbers[k] = palloc_extended(Max(records->n, 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < records->n; i++)
	{
		const uint32 *numbers = RecordNumbers(records, i);

		for (int k = 0; k < block->nfields; k++)
			runs->numbers[k][i] = numbers[block->fields[k]];
		if (HasKey(numbers, block))
			from[runs->n++] = i;
	}
	for (int k = block->nfields - 1; k >= 0; k--)
	{
		const uint32 *numbers = runs->numbers[k];
		uint32		nvalues = records->fields[block->fields[k]].nvalues;
		uint32	   *start = palloc_extended((nvalues + 1) * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
		uint32	   *swap;

		CHECK_FOR_INTERRUPTS();
		for (uint32 i = 0; i < runs->n; i++)
			start[numbers[from[i]] + 1]++;
		for (uint32 v = 0; v < nvalues; v++)
			start[v + 1] += start[v];
		for (uint32 i = 0; i < runs->n; i++)
			to[start[numbers[from[i]]]++] = from[i];
		pfree(start);
		swap = from;
		from = to;
		to = swap;
	}
	pfree(to);
	runs->record = from;
}

/*
 * The end of the run that begins at a place.
 */
static uint32
RunEnd(const Runs *runs, uint32 start)
{
	uint32		first = runs->record[start];
	uint32		end = start + 1;

	for (; end < runs->n; end++)
	{
		for (int k = 0; k < runs->nfields; k++)
		{
			if (runs->numbers[k][first] != runs->numbers[k][runs->record[end]])
				return end;
		}
	}
	return end;
}

static void
FreeRuns(Runs *runs)
{
	for (int k = 0; k < runs->nfields; k++)
		pfree(runs->numbers[k]);
	pfree(runs->record);
}

static void
SizeOfBlock(const MatchRecords *records, const MatchBlock *block, MatchBlockSize *size)
{
	Runs		runs;
	uint32		end;

	memset(size, 0, sizeof(*size));
	MakeRuns(records, block, &runs);
	for (uint32 start = 0; start < runs.n; start = end)
	{
		int64		n;

		end = RunEnd(&runs, start);
		n = end - start;
		if (n < 2)
			continue;
		size->keys++;
		size->pairs += n * (n - 1) / 2;
		/* of two that are as large, that of the smaller id */
		if (n > size->largest || (n == size->largest && runs.record[start] < size->witness))
		{
			size->largest = n;
			size->witness = runs.record[start];
		}
	}
	FreeRuns(&runs);
}

void
MatchBlockSizes(const MatchRecords *records, MatchBlockSize *sizes)
{
	for (int b = 0; b < records->definition->nblocks; b++)
		SizeOfBlock(records, &records->definition->blocks[b], &sizes[b]);
}

/*
 * The key of a record in a block, as people read it.
 */
char *
MatchKeyText(const MatchRecords *records, const MatchBlock *block, uint32 record)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int k = 0; k < block->nfields; k++)
	{
		const MatchValues *values = &records->fields[block->fields[k]];
		const MatchValue *value = &values->values[RecordNumbers(records, record)[block->fields[k]]];
		uint32		chars[MATCH_MAX_CHARS];

		ReadCharacters(value, values->texts, chars);
		appendStringInfo(&text, "%s%s", k > 0 ? " + " : "", MatchTextOf(chars, value->nchars));
	}
	return text.data;
}

/* ---------------------------------------------------------------------------
 * Choosing
 * ---------------------------------------------------------------------------
 */

typedef struct Candidate
{
	int			nfields;
	int			fields[3];
	uint32		mask;
	int64		pairs;
} Candidate;

/* How many blocks of three fields are counted. */
#define MOST_OF_THREE	12

static int
CompareCandidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->pairs != y->pairs)
		return x->pairs < y->pairs ? -1 : 1;
	return x->mask < y->mask ? -1 : x->mask > y->mask ? 1 : 0;
}

/*
 * The sizes of all blocks of two fields: one pass over the records for each
 * first field, in which the values of each second are counted.
 */
static void
SizesOfTwo(MatchRecords *records, int f, MatchBlockSize *sizes)
{
	const MatchDefinition *definition = records->definition;
	MatchBlock	block = {.nfields = 1,.fields = {f}};
	uint32	   *counts[MATCH_ALL_FIELDS] = {NULL};
	Runs		runs;
	uint32		end;

	memset(sizes, 0, sizeof(MatchBlockSize) * MATCH_ALL_FIELDS);
	for (int g = f + 1; g < definition->nfields; g++)
		counts[g] = palloc_extended(records->fields[g].nvalues * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	MakeRuns(records, &block, &runs);
	for (uint32 start = 0; start < runs.n; start = end)
	{
		end = RunEnd(&runs, start);
		if (end - start == 1)
			continue;
		CHECK_FOR_INTERRUPTS();
		for (uint32 i = start; i < end; i++)
		{
			const uint32 *numbers = RecordNumbers(records, runs.record[i]);

			for (int g = f + 1; g < definition->nfields; g++)
			{
				if (numbers[g] != 0)
				{
					sizes[g].pairs += counts[g][numbers[g]]++;
					sizes[g].largest = Max(sizes[g].largest, counts[g][numbers[g]]);
				}
			}
		}
		for (uint32 i = start; i < end; i++)
		{
			const uint32 *numbers = RecordNumbers(records, runs.record[i]);

			for (int g = f + 1; g < definition->nfields; g++)
				counts[g][numbers[g]] = 0;
		}
	}
	for (int g = f + 1; g < definition->nfields; g++)
		pfree(counts[g]);
	FreeRuns(&runs);
}

/*
 * Takes candidates, the smallest first, that no block makes already, as long as
 * all blocks together make no more pairs than they may.
 */
static void
TakeCandidates(MatchDefinition *definition, Candidate *candidates, int n, int64 most, int64 *pairs)
{
	qsort(candidates, n, sizeof(Candidate), CompareCandidates);
	for (int i = 0; i < n; i++)
	{
		if (*pairs + candidates[i].pairs > most || definition->nblocks == MATCH_MAX_BLOCKS)
			return;
		AddMatchBlock(definition, candidates[i].fields, candidates[i].nfields);
		*pairs += candidates[i].pairs;
	}
}

static bool
IsMadeAlready(const MatchDefinition *definition, uint32 mask)
{
	for (int b = 0; b < definition->nblocks; b++)
	{
		if ((definition->blocks[b].mask & mask) == definition->blocks[b].mask)
			return true;
	}
	return false;
}

/*
 * Takes blocks of three fields.  There are many: they are counted in the order
 * of the pairs that they would make if their fields were independent, as long
 * as these fit, and no more than MOST_OF_THREE.
 */
static void
TakeThree(MatchRecords *records, MatchDefinition *definition, Candidate *candidates, int64 most, int64 pairs)
{
	int			n = definition->ncompared;
	double		agreement[MATCH_ALL_FIELDS];
	int			ncandidates = 0;

	for (int i = 0; i < n; i++)
	{
		const MatchValues *values = &records->fields[definition->compared[i]];

		agreement[i] = 0.0;
		for (uint32 v = 1; v < values->nvalues; v++)
			agreement[i] += PairsOf(values->counts[v]);
		agreement[i] /= Max(PairsOf(records->n), 1.0);
	}
	for (int i = 0; i < n; i++)
	{
		for (int k = i + 1; k < n; k++)
		{
			for (int l = k + 1; l < n; l++)
			{
				Candidate	three = {.nfields = 3,.fields = {definition->compared[i], definition->compared[k], definition->compared[l]}};
				double		expected = PairsOf(records->n) * agreement[i] * agreement[k] * agreement[l];

				three.mask = 1u << three.fields[0] | 1u << three.fields[1] | 1u << three.fields[2];
				three.pairs = (int64) Min(expected, 1e18);
				if (!IsMadeAlready(definition, three.mask) && three.pairs <= most / 4)
					candidates[ncandidates++] = three;
			}
		}
	}
	qsort(candidates, ncandidates, sizeof(Candidate), CompareCandidates);
	for (int i = 0; i < ncandidates && i < MOST_OF_THREE && pairs + candidates[i].pairs <= most; i++)
	{
		MatchBlock	block = {.nfields = 3,.fields = {candidates[i].fields[0], candidates[i].fields[1], candidates[i].fields[2]}};
		MatchBlockSize size;

		SizeOfBlock(records, &block, &size);
		if (pairs + size.pairs <= most && size.largest <= definition->largest_key && definition->nblocks < MATCH_MAX_BLOCKS)
		{
			AddMatchBlock(definition, block.fields, 3);
			pairs += size.pairs;
		}
	}
}

/*
 * Chooses blocks of one, two and three compared fields by their sizes: single
 * fields that make no more than a quarter of the pairs that are allowed, then
 * two fields of which neither is a block, then three of which no two are, as
 * long as there is room.  A block that has an oversized key is none.
 */
void
ChooseMatchBlocks(MatchRecords *records, MatchDefinition *definition)
{
	int			n = definition->ncompared;
	int64		most = definition->pairs_per_record * Max((int64) records->n, 100);
	int64		pairs = 0;
	Candidate  *candidates = palloc(sizeof(Candidate) * (n + n * n + n * n * n));
	int			ncandidates = 0;

	for (int i = 0; i < n; i++)
	{
		Candidate	one = {.nfields = 1,.fields = {definition->compared[i]}};
		const MatchValues *values = &records->fields[one.fields[0]];
		int64		largest = 0;

		one.mask = 1u << one.fields[0];
		for (uint32 v = 1; v < values->nvalues; v++)
		{
			one.pairs += (int64) values->counts[v] * (values->counts[v] - 1) / 2;
			largest = Max(largest, values->counts[v]);
		}
		if (one.pairs <= most / 4 && largest <= definition->largest_key)
			candidates[ncandidates++] = one;
	}
	TakeCandidates(definition, candidates, ncandidates, most, &pairs);

	ncandidates = 0;
	for (int i = 0; i < n; i++)
	{
		MatchBlockSize sizes[MATCH_ALL_FIELDS];
		int			f = definition->compared[i];

		SizesOfTwo(records, f, sizes);
		for (int k = i + 1; k < n; k++)
		{
			int			g = definition->compared[k];
			Candidate	two = {.nfields = 2,.fields = {f, g},.mask = 1u << f | 1u << g,.pairs = sizes[g].pairs};

			if (!IsMadeAlready(definition, two.mask) && sizes[g].largest <= definition->largest_key && two.pairs <= most / 4)
				candidates[ncandidates++] = two;
		}
	}
	TakeCandidates(definition, candidates, ncandidates, most, &pairs);

	TakeThree(records, definition, candidates, most, pairs);
	pfree(candidates);
	if (definition->nblocks == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_BLOCK_TOO_LARGE),
				 errmsg("no block of the fields is small enough"),
				 errdetail("Whatever one, two or three fields are taken, they make more than " INT64_FORMAT " pairs, or %lld records share a key.",
						   most / 4, (long long) definition->largest_key + 1),
				 errhint("Compare more fields, or name blocks, with a larger largest_key or pairs_per_record.")));
}

/* ---------------------------------------------------------------------------
 * Pairs
 * ---------------------------------------------------------------------------
 */

/*
 * Whether a pair is in a block of compared fields.
 */
bool
LevelBlockTakes(const MatchRecords *records, uint32 a, uint32 b)
{
	const MatchDefinition *definition = records->definition;

	for (int k = 0; k < definition->nblocks; k++)
	{
		if (definition->blocks[k].by_levels &&
			SameKey(RecordNumbers(records, a), RecordNumbers(records, b), &definition->blocks[k]))
			return true;
	}
	return false;
}

/* Records whose key in a block is left out, being too large. */
typedef struct Skipped
{
	uint8	   *bits[MATCH_MAX_BLOCKS];
} Skipped;

static void
RefuseOversized(const MatchRecords *records, const MatchBlock *block, uint32 record, int64 n)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_BLOCK_TOO_LARGE),
			 errmsg("block %s has a key that " INT64_FORMAT " records share", MatchBlockName(records->definition, block), n),
			 errdetail("The key is \"%s\"; largest_key is " INT64_FORMAT ".", MatchKeyText(records, block, record), records->definition->largest_key),
			 errhint("Add the value to \"garbage\", add a field to the block, or set \"oversized\": \"skip\"; preview_blocks() shows the sizes.")));
}

static void
SkipRun(const MatchRecords *records, const Runs *runs, uint32 start, uint32 end, uint8 **bits)
{
	if (*bits == NULL)
		*bits = palloc0(records->n / 8 + 1);
	for (uint32 i = start; i < end; i++)
		(*bits)[runs->record[i] / 8] |= (uint8) (1 << (runs->record[i] % 8));
}

/*
 * Whether an earlier block makes the pair.
 */
static bool
MadeEarlier(const MatchRecords *records, const Skipped *skipped, int block, uint32 a, uint32 b)
{
	const MatchDefinition *definition = records->definition;
	const uint32 *x = RecordNumbers(records, a);
	const uint32 *y = RecordNumbers(records, b);
	uint32		same = 0;

	for (int f = 0; f < definition->nfields; f++)
		same |= (uint32) (x[f] == y[f] && x[f] != 0) << f;
	for (int k = 0; k < block; k++)
	{
		if ((definition->blocks[k].mask & ~same) == 0 &&
			(skipped->bits[k] == NULL || !(skipped->bits[k][a / 8] & (1 << (a % 8)))))
			return true;
	}
	return false;
}

static void
PairsOfRun(const MatchRecords *records, const Skipped *skipped, int block, uint32 *record, uint32 n,
		   MatchPairFunction function, void *arg)
{
	uint32		first = n;

	/* those who are looked for come first, and meet everybody behind them */
	if (records->wanted != NULL)
	{
		first = 0;
		for (uint32 i = 0; i < n; i++)
		{
			if (records->wanted[record[i]])
			{
				uint32		swap = record[first];

				record[first++] = record[i];
				record[i] = swap;
			}
		}
	}
	for (uint32 i = 0; i < first; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (uint32 j = i + 1; j < n; j++)
		{
			uint32		a = Min(record[i], record[j]);
			uint32		b = Max(record[i], record[j]);

			if (block == 0 || !MadeEarlier(records, skipped, block, a, b))
				function(arg, a, b, block);
		}
	}
}

/*
 * Calls a function for each pair that the blocks make, once, in the first block
 * that makes it.  Error: LY841 where a key is oversized, and is not left out.
 */
void
ForEachMatchPair(const MatchRecords *records, MatchPairFunction function, void *arg)
{
	const MatchDefinition *definition = records->definition;
	Skipped		skipped = {{NULL}};

	for (int b = 0; b < definition->nblocks; b++)
	{
		const MatchBlock *block = &definition->blocks[b];
		MatchBlockSize size = {0};
		Runs		runs;
		uint32		end;

		CHECK_FOR_INTERRUPTS();
		MakeRuns(records, block, &runs);
		for (uint32 start = 0; start < runs.n && !definition->skip_oversized; start = end)
		{
			end = RunEnd(&runs, start);
			if (end - start > size.largest || (end - start == size.largest && runs.record[start] < size.witness))
			{
				size.largest = end - start;
				size.witness = runs.record[start];
			}
		}
		if (size.largest > definition->largest_key)
			RefuseOversized(records, block, size.witness, size.largest);
		for (uint32 start = 0; start < runs.n; start = end)
		{
			end = RunEnd(&runs, start);
			if (end - start > definition->largest_key)
				SkipRun(records, &runs, start, end, &skipped.bits[b]);
			else
				PairsOfRun(records, &skipped, b, runs.record + start, end - start, function, arg);
		}
		FreeRuns(&runs);
	}
}
