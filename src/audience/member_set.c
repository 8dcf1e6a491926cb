/*
 * member_set.c
 *		Sets of members: reading their bytes, and algebra.  See member_set.h.
 */
#include "audience/member_set.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

/*
 * An argument of type member_set.
 */
SetBytes
GetSet(FunctionCallInfo fcinfo, int n)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(n));

	return (SetBytes) {.bytes = VARDATA_ANY(value), .size = VARSIZE_ANY_EXHDR(value)};
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

void
OpenSet(SetReader *reader, SetBytes set)
{
	memset(reader, 0, sizeof(SetReader));
	reader->left = GetUint64(set.bytes);
	reader->at = set.bytes + SET_HEAD_BYTES;
}

/*
 * Goes to the next bucket; false where there is none.
 */
bool
NextBucket(SetReader *reader)
{
	Bucket	   *bucket = &reader->bucket;
	int			last;
	int			last_count;

	if (reader->left == 0)
		return false;
	reader->left--;
	bucket->high = GetUint32(reader->at);
	bucket->start = reader->at + 4;
	bucket->count = (int) GetUint32(bucket->start + 4);
	bucket->keys = bucket->start + 8;
	bucket->offsets = bucket->keys + 4 * bucket->count;
	last = bucket->count - 1;
	last_count = GetUint16(bucket->keys + 4 * last + 2) + 1;
	reader->at = bucket->start + GetUint32(bucket->offsets + 4 * last) + ChunkBytes(last_count);
	reader->next = 0;
	return true;
}

void
GetChunk(const Bucket *bucket, int i, Chunk *chunk)
{
	chunk->chunk = ((int64) bucket->high << 16) | GetUint16(bucket->keys + 4 * i);
	chunk->count = GetUint16(bucket->keys + 4 * i + 2) + 1;
	chunk->bytes = bucket->start + GetUint32(bucket->offsets + 4 * i);
}

/*
 * The next chunk, of whatever bucket; false where there is none.
 */
bool
NextChunk(SetReader *reader, Chunk *chunk)
{
	if (reader->next == reader->bucket.count && !NextBucket(reader))
		return false;
	GetChunk(&reader->bucket, reader->next++, chunk);
	return true;
}

int64
CountMembers(SetBytes set)
{
	SetReader	reader;
	int64		n = 0;

	OpenSet(&reader, set);
	while (NextBucket(&reader))
	{
		for (int i = 0; i < reader.bucket.count; i++)
			n += GetUint16(reader.bucket.keys + 4 * i + 2) + 1;
	}
	return n;
}

/*
 * Whether a member whose id has the bucket's high half is in it.
 */
bool
BucketContains(const Bucket *bucket, int64 member_id)
{
	uint16		key = (uint16) (member_id >> CHUNK_BITS);
	uint16		low = (uint16) member_id;
	int			from = 0;
	int			to = bucket->count;
	Chunk		chunk;

	while (from < to)
	{
		int			middle = (from + to) / 2;

		if (GetUint16(bucket->keys + 4 * middle) < key)
			from = middle + 1;
		else
			to = middle;
	}
	if (from == bucket->count || GetUint16(bucket->keys + 4 * from) != key)
		return false;
	GetChunk(bucket, from, &chunk);
	if (IsBitmap(chunk.count))
		return HasBit(chunk.bytes, low);
	from = 0;
	to = chunk.count;
	while (from < to)
	{
		int			middle = (from + to) / 2;

		if (GetUint16(chunk.bytes + 2 * middle) < low)
			from = middle + 1;
		else
			to = middle;
	}
	return from < chunk.count && GetUint16(chunk.bytes + 2 * from) == low;
}

bool
SetContains(SetBytes set, int64 member_id)
{
	SetReader	reader;

	OpenSet(&reader, set);
	while (NextBucket(&reader))
	{
		if (reader.bucket.high == (uint32) (member_id >> 32))
			return member_id >= 0 && BucketContains(&reader.bucket, member_id);
	}
	return false;
}

/* ---------------------------------------------------------------------------
 * Algebra of chunks
 * ---------------------------------------------------------------------------
 */

/* The members of a chunk as bits. */
static void
SpreadBits(const Chunk *chunk, uint64 *words)
{
	char	   *bitmap = (char *) words;

	if (IsBitmap(chunk->count))
	{
		memcpy(words, chunk->bytes, BITMAP_BYTES);
		return;
	}
	memset(words, 0, BITMAP_BYTES);
	for (int i = 0; i < chunk->count; i++)
	{
		uint16		low = GetUint16(chunk->bytes + 2 * i);

		bitmap[low >> 3] |= 1 << (low & 7);
	}
}

/*
 * Writes members that are bits in the form that their number has; returns that.
 */
int
WriteBits(const uint64 *words, char *to)
{
	int			n = (int) pg_popcount((const char *) words, BITMAP_BYTES);

	if (IsBitmap(n))
		memcpy(to, words, BITMAP_BYTES);
	else
	{
		char	   *next = to;

		for (int i = 0; i < BITMAP_WORDS; i++)
		{
			uint64		word = GetUint64((const char *) &words[i]);

			while (word != 0)
			{
				PutUint16(next, (uint16) (64 * i + pg_rightmost_one_pos64(word)));
				next += 2;
				word &= word - 1;
			}
		}
	}
	return n;
}

/*
 * Those of an array that are (wanted) in another chunk, or not.  Written in
 * place of each other, so that no branch has to be guessed.
 */
static int
FilterArray(const Chunk *array, const Chunk *by, bool wanted, char *to)
{
	int			n = 0;
	int			at = 0;

	if (IsBitmap(by->count))
	{
		for (int i = 0; i < array->count; i++)
		{
			uint16		low = GetUint16(array->bytes + 2 * i);

			PutUint16(to + 2 * n, low);
			n += HasBit(by->bytes, low) == wanted;
		}
		return n;
	}
	for (int i = 0; i < array->count; i++)
	{
		uint16		low = GetUint16(array->bytes + 2 * i);

		/* far behind: by doubled steps, then by halves */
		if (at + 8 < by->count && GetUint16(by->bytes + 2 * (at + 8)) < low)
		{
			int			step = 8;
			int			to_at;

			while (at + 2 * step < by->count && GetUint16(by->bytes + 2 * (at + 2 * step)) < low)
				step *= 2;
			to_at = Min(at + 2 * step, by->count);
			at += step;
			while (at < to_at)
			{
				int			middle = (at + to_at) / 2;

				if (GetUint16(by->bytes + 2 * middle) < low)
					at = middle + 1;
				else
					to_at = middle;
			}
		}
		else
		{
			while (at < by->count && GetUint16(by->bytes + 2 * at) < low)
				at++;
		}
		PutUint16(to + 2 * n, low);
		n += (at < by->count && GetUint16(by->bytes + 2 * at) == low) == wanted;
	}
	return n;
}

/* Two arrays, of which 4096 members together; both: whether common ones are kept. */
static int
MergeArrays(const Chunk *a, const Chunk *b, bool both, char *to)
{
	int			i = 0;
	int			j = 0;
	int			n = 0;

	while (i < a->count && j < b->count)
	{
		uint16		x = GetUint16(a->bytes + 2 * i);
		uint16		y = GetUint16(b->bytes + 2 * j);

		PutUint16(to + 2 * n, Min(x, y));
		n += x != y || both;
		i += x <= y;
		j += y <= x;
	}
	memcpy(to + 2 * n, a->bytes + 2 * i, 2 * (a->count - i));
	n += a->count - i;
	memcpy(to + 2 * n, b->bytes + 2 * j, 2 * (b->count - j));
	return n + b->count - j;
}

/*
 * What an operation makes of two chunks of the same place, written to where
 * both have room together; returns how many members it has.
 */
static int
CombineChunks(const Chunk *a, const Chunk *b, SetAlgebra operation, char *to)
{
	uint64		left[BITMAP_WORDS];
	uint64		right[BITMAP_WORDS];

	/* there is room for the smaller one alone */
	if (operation == SET_AND && !IsBitmap(Min(a->count, b->count)))
		return a->count <= b->count ? FilterArray(a, b, true, to) : FilterArray(b, a, true, to);
	if (operation == SET_MINUS && !IsBitmap(a->count))
		return FilterArray(a, b, false, to);
	if ((operation == SET_OR || operation == SET_XOR) && a->count + b->count <= LARGEST_ARRAY)
		return MergeArrays(a, b, operation == SET_OR, to);

	SpreadBits(a, left);
	SpreadBits(b, right);
	switch (operation)
	{
		case SET_AND:
			for (int i = 0; i < BITMAP_WORDS; i++)
				left[i] &= right[i];
			break;
		case SET_OR:
			for (int i = 0; i < BITMAP_WORDS; i++)
				left[i] |= right[i];
			break;
		case SET_MINUS:
			for (int i = 0; i < BITMAP_WORDS; i++)
				left[i] &= ~right[i];
			break;
		case SET_XOR:
			for (int i = 0; i < BITMAP_WORDS; i++)
				left[i] ^= right[i];
			break;
	}
	return WriteBits(left, to);
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

/*
 * Begins a bucket of at most so many chunks.
 */
void
BeginBucket(BucketWriter *writer, char *to, uint32 high, int room)
{
	PutUint32(to, high);
	writer->start = to + 4;
	writer->room = room;
	writer->count = 0;
	writer->at = writer->start + 8 + CHUNK_HEAD_BYTES * room;
}

/*
 * A chunk of so many members was written at writer->at.
 */
void
PutChunk(BucketWriter *writer, int64 chunk, int count)
{
	char	   *key = writer->start + 8 + 4 * writer->count;

	if (count == 0)
		return;
	PutUint16(key, (uint16) chunk);
	PutUint16(key + 2, (uint16) (count - 1));
	/* offsets are found out at the end */
	writer->at += ChunkBytes(count);
	writer->count++;
}

/*
 * Returns where the bucket ends; where it was to begin if it has no chunk.
 */
char *
EndBucket(BucketWriter *writer)
{
	char	   *keys = writer->start + 8;
	char	   *chunks = keys + CHUNK_HEAD_BYTES * writer->room;
	int			spare = CHUNK_HEAD_BYTES * (writer->room - writer->count);
	uint32		offset = 8 + CHUNK_HEAD_BYTES * writer->count;

	if (writer->count == 0)
		return writer->start - 4;
	if (spare > 0)
		memmove(chunks - spare, chunks, writer->at - chunks);
	PutUint32(writer->start, ROARING_COOKIE);
	PutUint32(writer->start + 4, writer->count);
	for (int i = 0; i < writer->count; i++)
	{
		PutUint32(keys + 4 * writer->count + 4 * i, offset);
		offset += ChunkBytes(GetUint16(keys + 4 * i + 2) + 1);
	}
	return writer->at - spare;
}

/* ---------------------------------------------------------------------------
 * Algebra of sets
 * ---------------------------------------------------------------------------
 */

/* How many places two buckets have between them, or in common. */
static int
CountPlaces(const Bucket *a, const Bucket *b, SetAlgebra operation)
{
	int			common = 0;
	int			i = 0;
	int			j = 0;

	if (operation == SET_MINUS)
		return a->count;
	while (i < a->count && j < b->count)
	{
		uint16		x = GetUint16(a->keys + 4 * i);
		uint16		y = GetUint16(b->keys + 4 * j);

		common += x == y;
		i += x <= y;
		j += y <= x;
	}
	return operation == SET_AND ? common : a->count + b->count - common;
}

static void
CopyChunk(BucketWriter *writer, const Chunk *chunk)
{
	memcpy(writer->at, chunk->bytes, ChunkBytes(chunk->count));
	PutChunk(writer, chunk->chunk, chunk->count);
}

static char *
CombineBuckets(const Bucket *a, const Bucket *b, SetAlgebra operation, char *to)
{
	BucketWriter writer;
	int			i = 0;
	int			j = 0;

	BeginBucket(&writer, to, a->high, CountPlaces(a, b, operation));
	while (i < a->count || j < b->count)
	{
		Chunk		x = {0};
		Chunk		y = {0};
		bool		has_x = i < a->count;
		bool		has_y = j < b->count;

		CHECK_FOR_INTERRUPTS();
		if (has_x)
			GetChunk(a, i, &x);
		if (has_y)
			GetChunk(b, j, &y);
		if (has_x && has_y && x.chunk == y.chunk)
		{
			PutChunk(&writer, x.chunk, CombineChunks(&x, &y, operation, writer.at));
			i++;
			j++;
		}
		else if (has_x && (!has_y || x.chunk < y.chunk))
		{
			if (operation != SET_AND)
				CopyChunk(&writer, &x);
			i++;
		}
		else
		{
			if (operation == SET_OR || operation == SET_XOR)
				CopyChunk(&writer, &y);
			j++;
		}
	}
	return EndBucket(&writer);
}

static char *
CopyBucket(const SetReader *reader, char *to)
{
	const char *from = reader->bucket.start - 4;
	Size		size = reader->at - from;

	memcpy(to, from, size);
	return to + size;
}

/*
 * The set that an operation makes of two.
 */
bytea *
CombineSets(SetBytes a, SetBytes b, SetAlgebra operation)
{
	/* no chunk takes more bytes than the one, or the two, that it is made of */
	Size		bound = operation == SET_AND ? Min(a.size, b.size) : operation == SET_MINUS ? a.size : a.size + b.size;
	bytea	   *result = palloc(VARHDRSZ + bound);
	char	   *at = VARDATA(result) + SET_HEAD_BYTES;
	uint64		nbuckets = 0;
	SetReader	x;
	SetReader	y;
	bool		has_x;
	bool		has_y;

	OpenSet(&x, a);
	OpenSet(&y, b);
	has_x = NextBucket(&x);
	has_y = NextBucket(&y);
	while (has_x || has_y)
	{
		char	   *began = at;

		CHECK_FOR_INTERRUPTS();
		if (has_x && has_y && x.bucket.high == y.bucket.high)
		{
			at = CombineBuckets(&x.bucket, &y.bucket, operation, at);
			has_x = NextBucket(&x);
			has_y = NextBucket(&y);
		}
		else if (has_x && (!has_y || x.bucket.high < y.bucket.high))
		{
			if (operation != SET_AND)
				at = CopyBucket(&x, at);
			has_x = NextBucket(&x);
		}
		else
		{
			if (operation == SET_OR || operation == SET_XOR)
				at = CopyBucket(&y, at);
			has_y = NextBucket(&y);
		}
		nbuckets += at > began;
	}
	PutUint64(VARDATA(result), nbuckets);
	SET_VARSIZE(result, at - (char *) result);
	return result;
}
