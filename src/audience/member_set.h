/*
 * member_set.h
 *		Sets of members: type member_set.
 *
 * A value is a varlena whose bytes are the portable form of 64-bit Roaring
 * bitmaps (github.com/RoaringBitmap/RoaringFormatSpec), all little-endian:
 *
 *	count of buckets					uint64
 *	of each bucket, ascending:
 *		high half of its ids			uint32
 *		cookie 12346					uint32
 *		count of chunks					uint32
 *		of each chunk, ascending: key (bits 16 to 31 of its ids) and
 *			cardinality - 1				uint16, uint16
 *		of each chunk: its offset from the cookie	uint32
 *		the chunks: up to 4096 members as ascending uint16, more as 8192
 *			bytes of bits
 *
 * Of the forms that the specification allows we write this one only, and never
 * an empty chunk or bucket: so a set has one form, and equal sets have equal
 * bytes.  Ids are not negative, so no high half is that of a negative one.
 *
 * The bytes come from the library CRoaring: building and algebra are its own, a
 * bitmap for each bucket, since as Debian has it (0.2.66) it knows no sets of 64
 * bits.  What only looks (counting, probing, listing) reads the bytes where they
 * lie, since the library would copy them first.
 *
 * The library takes its memory from malloc.  So between an allocation of its and
 * the release of that no error may be raised, or the bitmap belongs to a
 * SetBuilder, whose memory context releases it, whatever ends that.
 *
 * The library trusts bytes, so ours come from itself, and those of others are
 * looked through before (WhyNoSet).
 */
#ifndef LOYALTY_MEMBER_SET_H
#define LOYALTY_MEMBER_SET_H

#include "postgres.h"

#include "fmgr.h"

#include "core/compat.h"

#ifdef WORDS_BIGENDIAN
#error "CRoaring writes the portable form on little-endian machines only"
#endif

#define CHUNK_BITS		16
#define CHUNK_MEMBERS	(1 << CHUNK_BITS)
#define LARGEST_ARRAY	4096	/* members; more are kept as bits */
#define BITMAP_BYTES	(CHUNK_MEMBERS / 8)
#define BITMAP_WORDS	(BITMAP_BYTES / 8)
#define ROARING_COOKIE	12346
#define ROARING_COOKIE_WITH_RUNS	12347
#define HasRuns(cookie)		(((cookie) & 0xFFFF) == ROARING_COOKIE_WITH_RUNS)
#define CHUNKS_WITH_OFFSETS	4	/* so many have them beside runs, too */

#define SET_HEAD_BYTES		8
#define BUCKET_HEAD_BYTES	12	/* high half, cookie, count */
#define CHUNK_HEAD_BYTES	8	/* key and cardinality, offset */

/* The bytes of a set. */
typedef struct SetBytes
{
	const char *bytes;
	Size		size;
} SetBytes;

/* Up to 65,536 members that have all bits but the lowest 16 in common. */
typedef struct Chunk
{
	int64		chunk;			/* member_id >> 16 */
	int			count;			/* at least 1 */
	const char *bytes;
} Chunk;

#define IsBitmap(count)		((count) > LARGEST_ARRAY)
#define ChunkBytes(count)	(IsBitmap(count) ? BITMAP_BYTES : 2 * (Size) (count))

/* A bucket of a set, as it lies there. */
typedef struct Bucket
{
	uint32		high;
	int			count;			/* of chunks */
	const char *keys;
	const char *offsets;
	const char *start;			/* the cookie, from where offsets count */
	Size		size;			/* from there on */
} Bucket;

typedef struct SetReader
{
	const char *at;				/* the next bucket */
	uint64		left;			/* how many there are from there on */
	Bucket		bucket;
	int			next;			/* chunk of it */
} SetReader;

typedef enum SetAlgebra
{
	SET_AND,
	SET_OR,
	SET_MINUS,
	SET_XOR
} SetAlgebra;

/* Numbers at any address. */
static inline uint16
GetUint16(const char *from)
{
	uint16		n;

	memcpy(&n, from, sizeof(n));
	return n;
}

static inline uint32
GetUint32(const char *from)
{
	uint32		n;

	memcpy(&n, from, sizeof(n));
	return n;
}

static inline uint64
GetUint64(const char *from)
{
	uint64		n;

	memcpy(&n, from, sizeof(n));
	return n;
}

/* Bit n of a bitmap's bytes. */
static inline bool
HasBit(const char *bitmap, int n)
{
	return (bitmap[n >> 3] >> (n & 7)) & 1;
}

/* member_set.c: reading */
extern SetBytes GetSet(FunctionCallInfo fcinfo, int n);
extern void OpenSet(SetReader *reader, SetBytes set);
extern bool NextBucket(SetReader *reader);
extern void GetChunk(const Bucket *bucket, int i, Chunk *chunk);
extern bool NextChunk(SetReader *reader, Chunk *chunk);
extern int64 CountMembers(SetBytes set);
extern bool BucketContains(const Bucket *bucket, int64 member_id);
extern bool SetContains(SetBytes set, int64 member_id);

/* member_set_foreign.c: bytes from elsewhere */
extern const char *WhyNoSet(const char *bytes, Size size);

/* member_set_algebra.c */
extern bytea *CombineSets(SetBytes a, SetBytes b, SetAlgebra operation);
extern bytea *SetOfChunk(const Chunk *chunk);

/* member_set_build.c: making */
typedef struct SetBuilder SetBuilder;

extern SetBuilder *MakeBuilder(MemoryContext context);
extern SetBuilder *GetSetBuilder(FunctionCallInfo fcinfo, int n);
extern SetBuilder *StartedBuilder(FunctionCallInfo fcinfo, SetBuilder *builder);
extern void AddMember(SetBuilder *builder, int64 member_id);
extern void AddSet(SetBuilder *builder, SetBytes set);
extern bytea *FinishSet(SetBuilder *builder);
extern void RegisterSetBuilder(void);

#define PG_GETARG_SET(n)	GetSet(fcinfo, n)

#endif							/* LOYALTY_MEMBER_SET_H */
