/*
 * ordered.c
 *		Records in the order of three numbers: see ordered.h.
 *
 * Records are gathered one behind the other in memory.  Where it is full, they
 * are ordered and written to a file as a run; in the end the runs are merged.
 */
#include "postgres.h"

#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "storage/buffile.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/ordered.h"

#define LEAST_BUFFER	(64 * 1024)
#define MOST_BUFFER		(256 * 1024)	/* of a run: what a processor keeps near */

/* A record in memory */
typedef struct OrderedPlace
{
	int64		key;			/* the first */
	OrderedRecord *record;
} OrderedPlace;

/* Records in their order in the file, read piece by piece */
typedef struct Run
{
	int			fileno;			/* where what is not read yet begins */
	off_t		offset;
	Size		left;			/* how much that is */
	char	   *buffer;
	Size		size;
	Size		next;			/* of the record in the buffer that comes next */
	Size		filled;
} Run;

struct OrderedRecords
{
	MemoryContext context;
	Size		allowed;		/* memory */
	char	   *arena;
	Size		size;
	Size		used;
	OrderedPlace *places;
	int			nplaces;
	int			places_size;
	int			next;
	BufFile    *file;			/* NULL: everything is in memory */
	int			nruns;
	int			runs_size;
	Run		   *runs;
	binaryheap *heap;			/* of runs */
	Run		   *last;			/* the one whose record was handed out */
};

static inline int
CompareRecords(const OrderedRecord *a, const OrderedRecord *b)
{
	for (int i = 0; i < 3; i++)
	{
		if (a->key[i] != b->key[i])
			return a->key[i] < b->key[i] ? -1 : 1;
	}
	return 0;
}

static inline int
ComparePlaces(const OrderedPlace *a, const OrderedPlace *b)
{
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return CompareRecords(a->record, b->record);
}

#define ST_SORT SortPlaces
#define ST_ELEMENT_TYPE OrderedPlace
#define ST_COMPARE(a, b) ComparePlaces(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Begins without records, in the current memory context.
 */
OrderedRecords *
BeginOrdered(void)
{
	OrderedRecords *records = palloc0(sizeof(OrderedRecords));

	records->context = CurrentMemoryContext;
	records->allowed = Max((Size) work_mem * 1024, 16 * LEAST_BUFFER);
	return records;
}

/* ---------------------------------------------------------------------------
 * Gathering
 * ---------------------------------------------------------------------------
 */

static void
OrderPlaces(OrderedRecords *records)
{
	char	   *record = records->arena;

	for (int i = 0; i < records->nplaces; i++)
	{
		records->places[i].record = (OrderedRecord *) record;
		records->places[i].key = records->places[i].record->key[0];
		record += records->places[i].record->size;
	}
	SortPlaces(records->places, records->nplaces);
}

/* Writes what is in memory to the file, in order. */
static void
WriteRun(OrderedRecords *records)
{
	Run		   *run;

	if (records->file == NULL)
		records->file = BufFileCreateTemp(false);
	if (records->nruns == records->runs_size)
	{
		records->runs_size = Max(16, 2 * records->runs_size);
		records->runs = records->runs == NULL ? palloc(records->runs_size * sizeof(Run)) :
			repalloc(records->runs, records->runs_size * sizeof(Run));
	}
	run = &records->runs[records->nruns++];
	memset(run, 0, sizeof(Run));
	BufFileTell(records->file, &run->fileno, &run->offset);
	run->left = records->used;
	OrderPlaces(records);
	for (int i = 0; i < records->nplaces; i++)
	{
		CHECK_FOR_INTERRUPTS();
		BufFileWrite(records->file, records->places[i].record, records->places[i].record->size);
	}
	records->used = 0;
	records->nplaces = 0;
}

static void
GrowArena(OrderedRecords *records, Size needed)
{
	/* what begins small grows by doubling */
	records->size = Max(Max(needed, 2 * records->size), LEAST_BUFFER);
	records->arena = records->arena == NULL ? MemoryContextAllocHuge(records->context, records->size) :
		repalloc_huge(records->arena, records->size);
}

/*
 * A record of so many bytes, to be filled in before the next call.  It stays
 * aligned where its size is so.
 */
OrderedRecord *
NewOrderedRecord(OrderedRecords *records, Size size)
{
	MemoryContext old = MemoryContextSwitchTo(records->context);
	OrderedRecord *record;

	size = MAXALIGN(size);
	if (records->nplaces > 0 && records->used + size + (records->nplaces + 1) * sizeof(OrderedPlace) > records->allowed)
		WriteRun(records);
	if (records->used + size > records->size)
		GrowArena(records, records->used + size);
	if (records->nplaces == records->places_size)
	{
		records->places_size = Max(1024, 2 * records->places_size);
		records->places = records->places == NULL ? palloc(records->places_size * sizeof(OrderedPlace)) :
			repalloc_huge(records->places, records->places_size * sizeof(OrderedPlace));
	}
	record = (OrderedRecord *) (records->arena + records->used);
	record->size = (uint32) size;
	records->used += size;
	records->nplaces++;
	MemoryContextSwitchTo(old);
	return record;
}

/* ---------------------------------------------------------------------------
 * Handing out
 * ---------------------------------------------------------------------------
 */

/* Reads on, until a record of so many bytes is in the buffer. */
static void
FillRun(OrderedRecords *records, Run *run, Size needed)
{
	Size		rest = run->filled - run->next;
	Size		more;

	memmove(run->buffer, run->buffer + run->next, rest);
	run->next = 0;
	run->filled = rest;
	if (needed > run->size)
	{
		run->size = needed;
		run->buffer = repalloc_huge(run->buffer, run->size);
	}
	more = Min(run->size - rest, run->left);
	if (BufFileSeek(records->file, run->fileno, run->offset, SEEK_SET) != 0 ||
		BufFileRead(records->file, run->buffer + rest, more) != more)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from a temporary file: %m")));
	BufFileTell(records->file, &run->fileno, &run->offset);
	run->left -= more;
	run->filled += more;
}

/* The record of a run that comes next; NULL: there is none. */
static const OrderedRecord *
RecordOfRun(OrderedRecords *records, Run *run)
{
	if (run->filled - run->next < sizeof(OrderedRecord))
	{
		if (run->filled == run->next && run->left == 0)
			return NULL;
		FillRun(records, run, sizeof(OrderedRecord));
	}
	if (run->filled - run->next < ((OrderedRecord *) (run->buffer + run->next))->size)
		FillRun(records, run, ((OrderedRecord *) (run->buffer + run->next))->size);
	return (OrderedRecord *) (run->buffer + run->next);
}

static int
CompareRuns(Datum a, Datum b, void *arg)
{
	const Run  *x = (const Run *) DatumGetPointer(a);
	const Run  *y = (const Run *) DatumGetPointer(b);

	(void) arg;
	/* the heap has the greatest on top */
	return CompareRecords((const OrderedRecord *) (y->buffer + y->next), (const OrderedRecord *) (x->buffer + x->next));
}

/*
 * All records are there: from now on they are handed out.
 */
void
OrderRecords(OrderedRecords *records)
{
	MemoryContext old = MemoryContextSwitchTo(records->context);

	if (records->file == NULL)
		OrderPlaces(records);
	else
	{
		Size		each;

		WriteRun(records);
		pfree(records->arena);
		pfree(records->places);
		records->arena = NULL;
		records->places = NULL;
		each = MAXALIGN_DOWN(Min(Max(records->allowed / records->nruns, LEAST_BUFFER), MOST_BUFFER));
		records->heap = binaryheap_allocate(records->nruns, CompareRuns, NULL);
		for (int i = 0; i < records->nruns; i++)
		{
			Run		   *run = &records->runs[i];

			run->size = Min(each, run->left);
			run->buffer = MemoryContextAllocHuge(records->context, run->size);
			(void) RecordOfRun(records, run);
			binaryheap_add_unordered(records->heap, PointerGetDatum(run));
		}
		binaryheap_build(records->heap);
	}
	MemoryContextSwitchTo(old);
}

/*
 * The next record, until the next call; NULL behind the last.
 */
const OrderedRecord *
NextOrderedRecord(OrderedRecords *records)
{
	if (records->file == NULL)
	{
		/* their order in memory is another: ask for one that is to come soon */
		if (records->next + 8 < records->nplaces)
			PrefetchMemory(records->places[records->next + 8].record);
		return records->next < records->nplaces ? records->places[records->next++].record : NULL;
	}
	if (records->last != NULL)
	{
		Run		   *run = records->last;

		run->next += ((OrderedRecord *) (run->buffer + run->next))->size;
		if (RecordOfRun(records, run) != NULL)
			binaryheap_replace_first(records->heap, PointerGetDatum(run));
		else
			(void) binaryheap_remove_first(records->heap);
		records->last = NULL;
	}
	if (binaryheap_empty(records->heap))
		return NULL;
	records->last = (Run *) DatumGetPointer(binaryheap_first(records->heap));
	return (OrderedRecord *) (records->last->buffer + records->last->next);
}

/*
 * Gives back what it takes.
 */
void
EndOrdered(OrderedRecords *records)
{
	if (records->file != NULL)
		BufFileClose(records->file);
	if (records->arena != NULL)
		pfree(records->arena);
	if (records->places != NULL)
		pfree(records->places);
	for (int i = 0; i < records->nruns; i++)
	{
		if (records->runs[i].buffer != NULL)
			pfree(records->runs[i].buffer);
	}
	if (records->runs != NULL)
		pfree(records->runs);
	if (records->heap != NULL)
		binaryheap_free(records->heap);
	pfree(records);
}
