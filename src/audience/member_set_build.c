/*
 * member_set_build.c
 *		Sets of members in the making: the state of the aggregates, and bytes
 *		that come from elsewhere.
 */
#include "audience/member_set.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/state.h"

#define FIRST_ROOM	4

/* A chunk in the making: an ascending array, or bits. */
typedef struct OpenChunk
{
	int64		chunk;
	int			count;
	int			room;			/* of values */
	uint16	   *values;
	uint64	   *bits;			/* or NULL */
	char		status;			/* of the hash table */
} OpenChunk;

#define SH_PREFIX chunks
#define SH_ELEMENT_TYPE OpenChunk
#define SH_KEY_TYPE int64
#define SH_KEY chunk
#define SH_HASH_KEY(table, key) murmurhash32((uint32) (key) ^ (uint32) ((key) >> 32) * 0x9E3779B9)
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct SetBuilder
{
	State		head;
	chunks_hash *chunks;
	OpenChunk  *last;			/* that something was added to, or NULL */
};

static void WriteBuilder(StringInfo buf, void *state);
static void *ReadBuilder(StringInfo buf);

static const StateKind member_set_state = {
	.methods = STATE_METHODS,
	.number = STATE_MEMBER_SET,
	.aggregate = "member_set_agg or member_set_rollup",
	.write = WriteBuilder,
	.read = ReadBuilder
};

void
RegisterSetBuilder(void)
{
	RegisterState(&member_set_state);
}

/*
 * A set without members, to be added to.
 */
SetBuilder *
MakeBuilder(MemoryContext context)
{
	SetBuilder *builder = MakeState(&member_set_state, sizeof(SetBuilder), context);

	builder->chunks = chunks_create(context, 1, NULL);
	return builder;
}

/*
 * The set in an argument of an aggregate's function, or NULL.
 */
SetBuilder *
GetSetBuilder(FunctionCallInfo fcinfo, int n)
{
	return GetState(fcinfo, n, &member_set_state);
}

/*
 * The aggregate's set, which begins with the first member.
 */
SetBuilder *
StartedBuilder(FunctionCallInfo fcinfo, SetBuilder *builder)
{
	return builder != NULL ? builder : MakeBuilder(StateContext(fcinfo));
}

static OpenChunk *
FindChunk(SetBuilder *builder, int64 number)
{
	bool		found;
	OpenChunk  *chunk = builder->last;

	if (likely(chunk != NULL && chunk->chunk == number))
		return chunk;
	chunk = chunks_insert(builder->chunks, number, &found);
	if (!found)
	{
		chunk->count = chunk->room = 0;
		chunk->values = NULL;
		chunk->bits = NULL;
	}
	builder->last = chunk;
	return chunk;
}

static void
MakeRoom(SetBuilder *builder, OpenChunk *chunk, int room)
{
	if (chunk->room >= room)
		return;
	chunk->room = Min(Max(Max(room, 2 * chunk->room), FIRST_ROOM), LARGEST_ARRAY);
	if (chunk->values == NULL)
		chunk->values = MemoryContextAlloc(StateMemory(builder), chunk->room * sizeof(uint16));
	else
		chunk->values = repalloc(chunk->values, chunk->room * sizeof(uint16));
}

static inline bool
SetBit(uint64 *words, uint16 low)
{
	char	   *byte = (char *) words + (low >> 3);
	char		bit = 1 << (low & 7);
	bool		is_new = (*byte & bit) == 0;

	*byte |= bit;
	return is_new;
}

static void
TurnIntoBits(SetBuilder *builder, OpenChunk *chunk)
{
	if (chunk->bits != NULL)
		return;
	chunk->bits = MemoryContextAllocZero(StateMemory(builder), BITMAP_BYTES);
	for (int i = 0; i < chunk->count; i++)
		(void) SetBit(chunk->bits, chunk->values[i]);
	if (chunk->values != NULL)
		pfree(chunk->values);
	chunk->values = NULL;
	chunk->room = 0;
}

static void
AddToChunk(SetBuilder *builder, OpenChunk *chunk, uint16 low)
{
	int			from = chunk->count;

	if (chunk->bits != NULL)
	{
		chunk->count += SetBit(chunk->bits, low);
		return;
	}
	if (chunk->count > 0 && low <= chunk->values[chunk->count - 1])
	{
		int			to = chunk->count - 1;

		from = 0;
		while (from < to)
		{
			int			middle = (from + to) / 2;

			if (chunk->values[middle] < low)
				from = middle + 1;
			else
				to = middle;
		}
		if (chunk->values[from] == low)
			return;
	}
	if (chunk->count == LARGEST_ARRAY)
	{
		TurnIntoBits(builder, chunk);
		chunk->count += SetBit(chunk->bits, low);
		return;
	}
	MakeRoom(builder, chunk, chunk->count + 1);
	memmove(chunk->values + from + 1, chunk->values + from, (chunk->count - from) * sizeof(uint16));
	chunk->values[from] = low;
	chunk->count++;
}

/*
 * Adds a member, whose id is not negative.
 */
void
AddMember(SetBuilder *builder, int64 member_id)
{
	AddToChunk(builder, FindChunk(builder, member_id >> CHUNK_BITS), (uint16) member_id);
}

static void
AddBits(SetBuilder *builder, OpenChunk *chunk, const char *bytes)
{
	TurnIntoBits(builder, chunk);
	for (int i = 0; i < BITMAP_WORDS; i++)
	{
		uint64		word;

		memcpy(&word, bytes + 8 * i, sizeof(word));
		chunk->bits[i] |= word;
	}
	chunk->count = (int) pg_popcount((char *) chunk->bits, BITMAP_BYTES);
}

/*
 * Adds the members of a set.
 */
void
AddSet(SetBuilder *builder, SetBytes set)
{
	SetReader	reader;
	Chunk		chunk;

	OpenSet(&reader, set);
	while (NextChunk(&reader, &chunk))
	{
		OpenChunk  *open = FindChunk(builder, chunk.chunk);

		CHECK_FOR_INTERRUPTS();
		if (IsBitmap(chunk.count))
		{
			AddBits(builder, open, chunk.bytes);
			continue;
		}
		for (int i = 0; i < chunk.count; i++)
			AddToChunk(builder, open, GetUint16(chunk.bytes + 2 * i));
	}
}

static int
CompareChunks(const void *a, const void *b)
{
	int64		x = (*(OpenChunk *const *) a)->chunk;
	int64		y = (*(OpenChunk *const *) b)->chunk;

	return (x > y) - (x < y);
}

static void
WriteOpenChunk(BucketWriter *writer, const OpenChunk *chunk)
{
	if (chunk->bits != NULL)
		(void) WriteBits(chunk->bits, writer->at);
	else
	{
		for (int i = 0; i < chunk->count; i++)
			PutUint16(writer->at + 2 * i, chunk->values[i]);
	}
	PutChunk(writer, chunk->chunk, chunk->count);
}

/*
 * The set; more may be added afterwards.
 */
bytea *
FinishSet(const SetBuilder *builder)
{
	int			n = (int) builder->chunks->members;
	OpenChunk **chunks = palloc(Max(n, 1) * sizeof(OpenChunk *));
	chunks_iterator it;
	OpenChunk  *chunk;
	Size		size = VARHDRSZ + SET_HEAD_BYTES;
	bytea	   *result;
	char	   *at;
	uint64		nbuckets = 0;

	n = 0;
	chunks_start_iterate(builder->chunks, &it);
	while ((chunk = chunks_iterate(builder->chunks, &it)) != NULL)
	{
		/* what refused bytes began is left out */
		if (chunk->count == 0)
			continue;
		chunks[n++] = chunk;
		size += BUCKET_HEAD_BYTES + CHUNK_HEAD_BYTES + ChunkBytes(chunk->count);
	}
	qsort(chunks, n, sizeof(OpenChunk *), CompareChunks);
	result = palloc(size);
	at = VARDATA(result) + SET_HEAD_BYTES;
	for (int i = 0; i < n;)
	{
		BucketWriter writer;
		uint32		high = (uint32) (chunks[i]->chunk >> 16);
		int			end = i;

		CHECK_FOR_INTERRUPTS();
		while (end < n && (uint32) (chunks[end]->chunk >> 16) == high)
			end++;
		BeginBucket(&writer, at, high, end - i);
		for (; i < end; i++)
			WriteOpenChunk(&writer, chunks[i]);
		at = EndBucket(&writer);
		nbuckets++;
	}
	PutUint64(VARDATA(result), nbuckets);
	SET_VARSIZE(result, at - (char *) result);
	pfree(chunks);
	return result;
}

static void
WriteBuilder(StringInfo buf, void *state)
{
	bytea	   *set = FinishSet(state);

	appendBinaryStringInfo(buf, VARDATA(set), (int) VARSIZE(set) - VARHDRSZ);
	pfree(set);
}

static void *
ReadBuilder(StringInfo buf)
{
	SetBuilder *builder = MakeBuilder(CurrentMemoryContext);
	const char *why = AddForeignSet(builder, buf->data + buf->cursor, buf->len - buf->cursor);

	if (why != NULL)
		RefuseState(&member_set_state, why);
	buf->cursor = buf->len;
	return builder;
}

/* ---------------------------------------------------------------------------
 * Bytes from elsewhere
 * ---------------------------------------------------------------------------
 */

/* What is left of foreign bytes. */
typedef struct Foreign
{
	const char *at;
	Size		left;
} Foreign;

static const char *
Take(Foreign *from, Size size)
{
	const char *taken = from->at;

	if (from->left < size)
		return NULL;
	from->at += size;
	from->left -= size;
	return taken;
}

static const char *const ends_early = "they end early";

static const char *
AddForeignRuns(SetBuilder *builder, OpenChunk *chunk, int count, Foreign *from)
{
	const char *head = Take(from, 2);
	const char *runs;
	int			nruns;
	int			total = 0;
	int			behind = -1;

	if (head == NULL)
		return ends_early;
	nruns = GetUint16(head);
	runs = Take(from, 4 * (Size) nruns);
	if (runs == NULL)
		return ends_early;
	for (int i = 0; i < nruns; i++)
	{
		int			first = GetUint16(runs + 4 * i);
		int			last = first + GetUint16(runs + 4 * i + 2);

		if (first <= behind || last >= CHUNK_MEMBERS)
			return "runs are not ascending";
		for (int low = first; low <= last; low++)
			AddToChunk(builder, chunk, (uint16) low);
		total += last - first + 1;
		behind = last;
	}
	return total == count ? NULL : "a chunk has another number of members than its head says";
}

static const char *
AddForeignChunk(SetBuilder *builder, OpenChunk *chunk, int count, Foreign *from)
{
	const char *bytes = Take(from, ChunkBytes(count));

	if (bytes == NULL)
		return ends_early;
	if (IsBitmap(count))
	{
		AddBits(builder, chunk, bytes);
		return chunk->count == count ? NULL : "a chunk has another number of members than its head says";
	}
	for (int i = 0; i < count; i++)
	{
		if (i > 0 && GetUint16(bytes + 2 * i) <= GetUint16(bytes + 2 * (i - 1)))
			return "an array is not ascending";
		AddToChunk(builder, chunk, GetUint16(bytes + 2 * i));
	}
	return NULL;
}

static const char *
AddForeignBucket(SetBuilder *builder, uint32 high, Foreign *from)
{
	const char *start = from->at;
	const char *head = Take(from, 4);
	uint32		cookie = head == NULL ? 0 : GetUint32(head);
	bool		runs = (cookie & 0xFFFF) == ROARING_COOKIE_WITH_RUNS;
	const char *is_run = NULL;
	const char *keys;
	const char *offsets = NULL;
	uint32		count;
	int			behind = -1;

	if (runs)
	{
		count = (cookie >> 16) + 1;
		if ((is_run = Take(from, (count + 7) / 8)) == NULL)
			return ends_early;
	}
	else
	{
		if (cookie != ROARING_COOKIE || (head = Take(from, 4)) == NULL)
			return head == NULL ? ends_early : "a bucket begins with no cookie";
		count = GetUint32(head);
	}
	if (count > CHUNK_MEMBERS)
		return "a bucket has too many chunks";
	if ((keys = Take(from, 4 * (Size) count)) == NULL)
		return ends_early;
	/* with runs, short lists have no offsets */
	if ((!runs || count >= 4) && (offsets = Take(from, 4 * (Size) count)) == NULL)
		return ends_early;
	for (uint32 i = 0; i < count; i++)
	{
		int			key = GetUint16(keys + 4 * i);
		int			members = GetUint16(keys + 4 * i + 2) + 1;
		const char *why;
		OpenChunk  *chunk;

		CHECK_FOR_INTERRUPTS();
		if (key <= behind)
			return "keys are not ascending";
		if (offsets != NULL && GetUint32(offsets + 4 * i) != (uint32) (from->at - start))
			return "an offset is wrong";
		chunk = FindChunk(builder, ((int64) high << 16) | key);
		if (is_run != NULL && HasBit(is_run, i))
			why = AddForeignRuns(builder, chunk, members, from);
		else
			why = AddForeignChunk(builder, chunk, members, from);
		if (why != NULL)
			return why;
		behind = key;
	}
	return NULL;
}

/*
 * Adds a set to an empty one, whose bytes may come from anywhere; returns why
 * they are none, or NULL.  They may have any form that the specification
 * allows.
 */
const char *
AddForeignSet(SetBuilder *builder, const char *bytes, Size size)
{
	Foreign		from = {.at = bytes,.left = size};
	const char *head = Take(&from, SET_HEAD_BYTES);
	uint64		count;
	int64		behind = -1;

	if (head == NULL)
		return ends_early;
	count = GetUint64(head);
	for (uint64 i = 0; i < count; i++)
	{
		const char *why;
		uint32		high;

		if ((head = Take(&from, 4)) == NULL)
			return ends_early;
		high = GetUint32(head);
		if (high > PG_INT32_MAX)
			return "an id is negative";
		if (high <= behind)
			return "high halves are not ascending";
		if ((why = AddForeignBucket(builder, high, &from)) != NULL)
			return why;
		behind = high;
	}
	return from.left == 0 ? NULL : "there are bytes behind their end";
}
