/*
 * match_count.c
 *		Comparing pairs of records, and counting how they agree.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "match/match.h"

/*
 * Of a field with more values, pairs of so many of them are compared for how
 * often values that differ are nearly the same: 2 million pairs.
 */
#define MOST_COMPARED	2001

/*
 * How two records agree, field by field.
 */
MatchPattern
ComparePair(const MatchRecords *records, uint32 a, uint32 b)
{
	const MatchDefinition *definition = records->definition;
	const uint32 *x = RecordNumbers(records, a);
	const uint32 *y = RecordNumbers(records, b);
	MatchPattern pattern = 0;

	for (int place = 0; place < definition->ncompared; place++)
	{
		int			f = definition->compared[place];
		const MatchValues *values = &records->fields[f];
		int			level;

		if (x[f] == 0 || y[f] == 0)
			level = MATCH_MISSING;
		else if (x[f] == y[f])
			level = MatchLevels(definition->fields[f].kind) - 1;
		else
			level = CompareMatchValues(definition->fields[f].kind, &values->values[x[f]], &values->values[y[f]], values->texts);
		pattern = pattern << 4 | (MatchPattern) level;
	}
	return pattern;
}

/*
 * A pattern in text: a digit for each field, its level; - where it is missing.
 */
char *
MatchPatternText(MatchPattern pattern, int nfields, char *text)
{
	for (int f = 0; f < nfields; f++)
	{
		int			level = PatternLevel(pattern, nfields, f);

		text[f] = level == MATCH_MISSING ? '-' : (char) ('0' + level);
	}
	text[nfields] = '\0';
	return text;
}

/* ---------------------------------------------------------------------------
 * Patterns
 * ---------------------------------------------------------------------------
 */

static uint32
SlotOfPattern(const MatchCells *cells, MatchPattern pattern)
{
	uint64		hash = (pattern ^ (pattern >> 31)) * UINT64CONST(0x9E3779B97F4A7C15);
	uint32		slot = (uint32) (hash >> 32) & (cells->nslots - 1);

	while (cells->slots[slot] != 0 && cells->cells[cells->slots[slot] - 1].pattern != pattern)
		slot = (slot + 1) & (cells->nslots - 1);
	return slot;
}

static void
GrowCells(MatchCells *cells)
{
	cells->room = cells->room == 0 ? 1024 : 2 * cells->room;
	cells->cells = cells->cells == NULL ? palloc(cells->room * sizeof(MatchCell)) :
		repalloc_huge(cells->cells, cells->room * sizeof(MatchCell));
	if (cells->slots != NULL)
		pfree(cells->slots);
	cells->nslots = 4 * cells->room;
	cells->slots = palloc_extended(cells->nslots * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < cells->ncells; i++)
		cells->slots[SlotOfPattern(cells, cells->cells[i].pattern)] = i + 1;
}

/*
 * The cell of a pattern; a new one, of no pairs, where there is none.
 */
static MatchCell *
CellOfPattern(MatchCells *cells, MatchPattern pattern)
{
	uint32		slot;
	MatchCell  *cell;

	if (cells->ncells == cells->room)
		GrowCells(cells);
	slot = SlotOfPattern(cells, pattern);
	if (cells->slots[slot] != 0)
		return &cells->cells[cells->slots[slot] - 1];
	cell = &cells->cells[cells->ncells++];
	cells->slots[slot] = cells->ncells;
	cell->pattern = pattern;
	cell->pairs = 0;
	cell->taken = 0;
	return cell;
}

typedef struct Counting
{
	const MatchRecords *records;
	MatchCells *cells;
} Counting;

static void
CountPair(void *arg, uint32 a, uint32 b, int block)
{
	Counting   *counting = arg;
	const MatchRecords *records = counting->records;
	MatchCell  *cell = CellOfPattern(counting->cells, ComparePair(records, a, b));

	cell->pairs++;
	cell->taken += records->definition->blocks[block].by_levels || LevelBlockTakes(records, a, b);
}

/* By pattern. */
int
CompareMatchCells(const void *a, const void *b)
{
	const MatchCell *x = a;
	const MatchCell *y = b;

	return x->pattern < y->pattern ? -1 : x->pattern > y->pattern ? 1 : 0;
}

/*
 * How many pairs of the blocks have each pattern; cells ascending by pattern.
 */
void
CountMatchPatterns(const MatchRecords *records, MatchCells *cells)
{
	Counting	counting = {records, cells};

	memset(cells, 0, sizeof(*cells));
	GrowCells(cells);
	ForEachMatchPair(records, CountPair, &counting);
	qsort(cells->cells, cells->ncells, sizeof(MatchCell), CompareMatchCells);
}

/* ---------------------------------------------------------------------------
 * Agreement over all pairs
 * ---------------------------------------------------------------------------
 */

typedef struct HashedValue
{
	uint64		hash;
	uint32		number;
} HashedValue;

static int
CompareHashes(const void *a, const void *b)
{
	const HashedValue *x = a;
	const HashedValue *y = b;

	return x->hash < y->hash ? -1 : x->hash > y->hash ? 1 : 0;
}

/*
 * Values in the order of their hashes, which is the same wherever they come
 * from.
 */
static HashedValue *
ValuesByHash(const MatchValues *values)
{
	HashedValue *list = palloc_extended(values->nvalues * sizeof(HashedValue), MCXT_ALLOC_HUGE);
	uint32		chars[MATCH_MAX_CHARS];

	for (uint32 v = 1; v < values->nvalues; v++)
	{
		ReadCharacters(&values->values[v], values->texts, chars);
		list[v - 1].hash = HashCharacters(chars, values->values[v].nchars);
		list[v - 1].number = v;
	}
	qsort(list, values->nvalues - 1, sizeof(HashedValue), CompareHashes);
	return list;
}

/*
 * How often a field is there on both sides of a pair, and agrees, of all pairs.
 * Equal values are counted.  Of values that differ the pairs of distinct ones
 * are compared, each weighing as many pairs of records as it stands for; where
 * there are too many, those of the values whose hashes are smallest.
 */
void
SummarizeMatchField(const MatchRecords *records, int field, MatchFieldSummary *summary)
{
	const MatchValues *values = &records->fields[field];
	MatchKind	kind = records->definition->fields[field].kind;
	int			top = MatchLevels(kind) - 1;
	double		n = 0.0;
	double		equal = 0.0;
	double		others;
	int64		looked_at = 0;
	int64		weight = 0;
	int64		on_level[MATCH_MAX_LEVELS] = {0};
	HashedValue *list;
	uint32		ncompared;

	memset(summary, 0, sizeof(*summary));
	for (uint32 v = 1; v < values->nvalues; v++)
	{
		n += values->counts[v];
		equal += PairsOf(values->counts[v]);
		summary->values += values->counts[v] > 0;
	}
	summary->counts.present = records->n > 1 ? PairsOf(n) / PairsOf(records->n) : 0.0;
	if (n < 2.0)
	{
		summary->counts.agreement[0] = 1.0;
		return;
	}
	others = PairsOf(n) - equal;
	summary->counts.agreement[top] = equal / PairsOf(n);
	summary->counts.agreement[0] = others / PairsOf(n);
	summary->counts.resolution[top] = 0.5 / PairsOf(n);
	if (top == 1 || others <= 0.0)
	{
		for (int l = 0; l < top; l++)
			summary->counts.resolution[l] = 0.5 / PairsOf(n);
		return;
	}

	list = ValuesByHash(values);
	ncompared = Min(values->nvalues - 1, MOST_COMPARED);
	summary->compared = ncompared;
	for (uint32 i = 0; i < ncompared; i++)
	{
		const MatchValue *a = &values->values[list[i].number];
		int64		count = values->counts[list[i].number];

		CHECK_FOR_INTERRUPTS();
		for (uint32 k = i + 1; k < ncompared; k++)
		{
			int64		both = count * values->counts[list[k].number];

			on_level[CompareMatchValues(kind, a, &values->values[list[k].number], values->texts)] += both;
			weight += both;
		}
		looked_at += ncompared - 1 - i;
	}
	pfree(list);
	for (int l = 0; l < top; l++)
	{
		summary->counts.agreement[l] = weight > 0 ? others / PairsOf(n) * ((double) on_level[l] / weight) : 0.0;
		summary->counts.resolution[l] = 0.5 / Min((double) Max(looked_at, 1), PairsOf(n));
	}
}
