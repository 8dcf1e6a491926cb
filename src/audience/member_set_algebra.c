/*
 * member_set_algebra.c
 *		Sets of members: algebra, bucket by bucket.
 */
#include "audience/member_set.h"

#include "miscadmin.h"

#include "audience/member_set_library.h"

/*
 * Writes what an operation makes of two buckets of the same high half, and
 * returns where that ends; where it was to begin if nobody is left.
 */
static char *
CombineBuckets(const Bucket *a, const Bucket *b, SetAlgebra operation, char *to)
{
	const Library *library = RequireLibrary();

	/* from here on no error may be raised until both are released */
	roaring_bitmap_t *x = library->portable_deserialize_safe(a->start, a->size);
	roaring_bitmap_t *y = library->portable_deserialize_safe(b->start, b->size);
	bool		is_done = x != NULL && y != NULL;

	if (is_done)
	{
		switch (operation)
		{
			case SET_AND:
				library->and_inplace(x, y);
				break;
			case SET_OR:
				library->or_inplace(x, y);
				break;
			case SET_MINUS:
				library->andnot_inplace(x, y);
				break;
			case SET_XOR:
				library->xor_inplace(x, y);
				break;
		}
		if (!library->is_empty(x))
		{
			/* a chunk that is full may have become a run */
			(void) library->remove_run_compression(x);
			memcpy(to, &a->high, 4);
			to += 4 + library->portable_serialize(x, to + 4);
		}
	}
	if (x != NULL)
		library->free(x);
	if (y != NULL)
		library->free(y);
	if (!is_done)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Two sets of members could not be read.")));
	return to;
}

static char *
CopyBucket(const Bucket *bucket, char *to)
{
	memcpy(to, bucket->start - 4, 4 + bucket->size);
	return to + 4 + bucket->size;
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
				at = CopyBucket(&x.bucket, at);
			has_x = NextBucket(&x);
		}
		else
		{
			if (operation == SET_OR || operation == SET_XOR)
				at = CopyBucket(&y.bucket, at);
			has_y = NextBucket(&y);
		}
		nbuckets += at > began;
	}
	memcpy(VARDATA(result), &nbuckets, SET_HEAD_BYTES);
	SET_VARSIZE(result, at - (char *) result);
	return result;
}

/*
 * The set of the members of one chunk.
 */
bytea *
SetOfChunk(const Chunk *chunk)
{
	Size		head = SET_HEAD_BYTES + BUCKET_HEAD_BYTES + CHUNK_HEAD_BYTES;
	Size		size = head + ChunkBytes(chunk->count);
	bytea	   *set = palloc(VARHDRSZ + size);
	char	   *to = VARDATA(set);
	uint64		nbuckets = 1;
	uint32		bucket[] = {(uint32) (chunk->chunk >> 16), ROARING_COOKIE, 1};
	uint16		key[] = {(uint16) chunk->chunk, (uint16) (chunk->count - 1)};
	uint32		offset = 8 + CHUNK_HEAD_BYTES;

	SET_VARSIZE(set, VARHDRSZ + size);
	memcpy(to, &nbuckets, SET_HEAD_BYTES);
	memcpy(to + SET_HEAD_BYTES, bucket, BUCKET_HEAD_BYTES);
	memcpy(to + SET_HEAD_BYTES + BUCKET_HEAD_BYTES, key, 4);
	memcpy(to + head - 4, &offset, 4);
	memcpy(to + head, chunk->bytes, ChunkBytes(chunk->count));
	return set;
}
