/*
 * member_set_build.c
 *		Sets of members in the making: the state of the aggregates.
 *
 * Ids wait in PostgreSQL's memory until there are many of them, and go to the
 * library in runs of those that have their high half in common.
 */
#include "audience/member_set.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "audience/member_set_library.h"
#include "core/errors.h"
#include "core/state.h"

#define FIRST_ROOM		4
#define MOST_WAITING	8192

/* A bucket in the making. */
typedef struct OpenBucket
{
	uint32		high;
	roaring_bitmap_t *bitmap;	/* NULL: not made yet */
	char		status;			/* of the hash table */
} OpenBucket;

#define SH_PREFIX buckets
#define SH_ELEMENT_TYPE OpenBucket
#define SH_KEY_TYPE uint32
#define SH_KEY high
#define SH_HASH_KEY(table, key) murmurhash32(key)
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct SetBuilder
{
	State		head;
	const Library *library;
	int64	   *waiting;		/* ids, as they came */
	int			nwaiting;
	int			room;
	buckets_hash *buckets;		/* NULL: none yet */
	MemoryContextCallback release;
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

	builder->library = RequireLibrary();
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

/*
 * Gives the library's memory back, where the builder's own goes.
 */
static void
ReleaseBitmaps(void *arg)
{
	SetBuilder *builder = arg;
	buckets_iterator it;
	OpenBucket *bucket;

	buckets_start_iterate(builder->buckets, &it);
	while ((bucket = buckets_iterate(builder->buckets, &it)) != NULL)
	{
		if (bucket->bitmap != NULL)
			builder->library->free(bucket->bitmap);
		bucket->bitmap = NULL;
	}
}

/*
 * The bucket of a high half.  What the library makes is put into it at once.
 */
static OpenBucket *
FindBucket(SetBuilder *builder, uint32 high)
{
	bool		found;
	OpenBucket *bucket;

	if (builder->buckets == NULL)
	{
		builder->buckets = buckets_create(StateMemory(builder), 1, NULL);
		builder->release.func = ReleaseBitmaps;
		builder->release.arg = builder;
		MemoryContextRegisterResetCallback(StateMemory(builder), &builder->release);
	}
	bucket = buckets_insert(builder->buckets, high, &found);
	if (!found)
		bucket->bitmap = NULL;
	return bucket;
}

static roaring_bitmap_t *
RequireBitmap(roaring_bitmap_t *bitmap)
{
	if (bitmap == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("A set of members could not be made.")));
	return bitmap;
}

/* Gives the library who waits. */
static void
AddWaiting(SetBuilder *builder)
{
	uint32		low[MOST_WAITING];

	for (int i = 0; i < builder->nwaiting;)
	{
		uint32		high = (uint32) (builder->waiting[i] >> 32);
		OpenBucket *bucket = FindBucket(builder, high);
		int			n = 0;

		if (bucket->bitmap == NULL)
			bucket->bitmap = RequireBitmap(builder->library->create_with_capacity(1));
		while (i < builder->nwaiting && (uint32) (builder->waiting[i] >> 32) == high)
			low[n++] = (uint32) builder->waiting[i++];
		builder->library->add_many(bucket->bitmap, n, low);
	}
	builder->nwaiting = 0;
}

/*
 * Adds a member, whose id is not negative.
 */
void
AddMember(SetBuilder *builder, int64 member_id)
{
	if (builder->nwaiting == builder->room)
	{
		if (builder->room == MOST_WAITING)
			AddWaiting(builder);
		else if (builder->room == 0)
		{
			builder->waiting = MemoryContextAlloc(StateMemory(builder), FIRST_ROOM * sizeof(int64));
			builder->room = FIRST_ROOM;
		}
		else
		{
			builder->waiting = repalloc(builder->waiting, 2 * builder->room * sizeof(int64));
			builder->room *= 2;
		}
	}
	builder->waiting[builder->nwaiting++] = member_id;
}

/* Adds a bucket without runs that starts, with its cookie, at an address, and returns where it ends. */
static const char *
AddBucket(SetBuilder *builder, uint32 high, const char *at, Size size)
{
	OpenBucket *bucket = FindBucket(builder, high);
	roaring_bitmap_t *bitmap = RequireBitmap(builder->library->portable_deserialize_safe(at, size));

	if (bucket->bitmap == NULL)
		bucket->bitmap = bitmap;
	else
	{
		builder->library->or_inplace(bucket->bitmap, bitmap);
		builder->library->free(bitmap);
	}
	return at + builder->library->portable_deserialize_size(at, size);
}

/* Writes what runs are, as an array or as bits. */
static void
ExpandRuns(const char *runs, int nruns, bool as_bits, char *to)
{
	if (as_bits)
		memset(to, 0, BITMAP_BYTES);
	for (int r = 0; r < nruns; r++)
	{
		int			first = GetUint16(runs + 4 * r);
		int			last = first + GetUint16(runs + 4 * r + 2);

		for (int low = first; low <= last; low++)
		{
			if (as_bits)
				to[low >> 3] |= (char) (1 << (low & 7));
			else
			{
				memcpy(to, &(uint16) {low}, 2);
				to += 2;
			}
		}
	}
}

/*
 * The same of a bucket with runs, written without them first.  The library is
 * not given them: version 0.2.66 writes beyond its memory where it takes a run
 * apart that has few members and ends with the last one of its chunk.
 */
static const char *
AddBucketWithRuns(SetBuilder *builder, uint32 high, const char *start)
{
	uint32		count = (GetUint32(start) >> 16) + 1;
	const char *is_run = start + 4;
	const char *keys = is_run + (count + 7) / 8;
	/* short lists have no offsets */
	const char *at = keys + (count < CHUNKS_WITH_OFFSETS ? 4 : 8) * count;
	Size		size = 8 + CHUNK_HEAD_BYTES * (Size) count;
	char	   *plain;
	char	   *offsets;
	char	   *to;

	for (uint32 i = 0; i < count; i++)
		size += ChunkBytes(GetUint16(keys + 4 * i + 2) + 1);
	plain = MemoryContextAllocHuge(CurrentMemoryContext, size);
	memcpy(plain, (uint32[]) {ROARING_COOKIE, count}, 8);
	memcpy(plain + 8, keys, 4 * (Size) count);
	offsets = plain + 8 + 4 * count;
	to = offsets + 4 * count;
	for (uint32 i = 0; i < count; i++)
	{
		int			members = GetUint16(keys + 4 * i + 2) + 1;

		CHECK_FOR_INTERRUPTS();
		memcpy(offsets + 4 * i, &(uint32) {to - plain}, 4);
		if (HasBit(is_run, i))
		{
			ExpandRuns(at + 2, GetUint16(at), IsBitmap(members), to);
			at += 2 + 4 * GetUint16(at);
		}
		else
		{
			memcpy(to, at, ChunkBytes(members));
			at += ChunkBytes(members);
		}
		to += ChunkBytes(members);
	}
	(void) AddBucket(builder, high, plain, size);
	pfree(plain);
	return at;
}

/*
 * Adds the members of a set, in whichever form that the specification allows.
 */
void
AddSet(SetBuilder *builder, SetBytes set)
{
	const char *at = set.bytes + SET_HEAD_BYTES;
	const char *end = set.bytes + set.size;

	while (at < end)
	{
		uint32		high = GetUint32(at);

		CHECK_FOR_INTERRUPTS();
		at += 4;
		at = HasRuns(GetUint32(at)) ? AddBucketWithRuns(builder, high, at) : AddBucket(builder, high, at, end - at);
	}
}

static int
CompareBuckets(const void *a, const void *b)
{
	/* each half is there once */
	return (*(OpenBucket *const *) a)->high < (*(OpenBucket *const *) b)->high ? -1 : 1;
}

/*
 * The set; more may be added afterwards.
 */
bytea *
FinishSet(SetBuilder *builder)
{
	OpenBucket **list = NULL;
	OpenBucket *bucket;
	int			n = 0;
	Size		size = VARHDRSZ + SET_HEAD_BYTES;
	bytea	   *result;
	char	   *at;

	if (builder->buckets == NULL && builder->nwaiting > 0)
	{
		/* among many small groups none shall keep memory of the library: what is made here goes with that of the call */
		SetBuilder *small = MakeBuilder(CurrentMemoryContext);

		small->waiting = builder->waiting;
		small->nwaiting = builder->nwaiting;
		builder = small;
	}
	AddWaiting(builder);
	if (builder->buckets != NULL)
	{
		buckets_iterator it;

		list = palloc(builder->buckets->members * sizeof(OpenBucket *));
		buckets_start_iterate(builder->buckets, &it);
		while ((bucket = buckets_iterate(builder->buckets, &it)) != NULL)
		{
			/* other writers may write empty ones */
			if (builder->library->is_empty(bucket->bitmap))
				continue;
			/* a chunk that is full may have become a run */
			(void) builder->library->remove_run_compression(bucket->bitmap);
			list[n++] = bucket;
			size += 4 + builder->library->portable_size_in_bytes(bucket->bitmap);
		}
		qsort(list, n, sizeof(OpenBucket *), CompareBuckets);
	}
	result = palloc(size);
	SET_VARSIZE(result, size);
	at = VARDATA(result);
	memcpy(at, &(uint64) {n}, SET_HEAD_BYTES);
	at += SET_HEAD_BYTES;
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		memcpy(at, &list[i]->high, 4);
		at += 4 + builder->library->portable_serialize(list[i]->bitmap, at + 4);
	}
	if (list != NULL)
		pfree(list);
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
	SetBytes	set = {.bytes = buf->data + buf->cursor,.size = buf->len - buf->cursor};
	const char *why = WhyNoSet(set.bytes, set.size);

	if (why != NULL)
		RefuseState(&member_set_state, why);
	AddSet(builder, set);
	buf->cursor = buf->len;
	return builder;
}
