/*
 * member_set.c
 *		Sets of members: reading their bytes.  See member_set.h.
 */
#include "audience/member_set.h"

/*
 * An argument of type member_set.
 */
SetBytes
GetSet(FunctionCallInfo fcinfo, int n)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(n));

	return (SetBytes) {.bytes = VARDATA_ANY(value), .size = VARSIZE_ANY_EXHDR(value)};
}

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
	bucket->size = GetUint32(bucket->offsets + 4 * last) + ChunkBytes(last_count);
	reader->at = bucket->start + bucket->size;
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
			return BucketContains(&reader.bucket, member_id);
	}
	return false;
}
