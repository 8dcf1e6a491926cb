/*
 * pack.h
 *		Bytes of the stored types: balances, lists of lots, ledgers.
 *
 * Integers are written in groups of seven bits, low group first, signed ones
 * zigzagged; instants as differences, in days or whole seconds where they are
 * such.  Nothing depends on alignment or byte order, so the same bytes serve
 * as value on disk, as binary format on the wire, and as serialized state of
 * an aggregate.  Every reader checks its bounds: bytes from outside end in an
 * error, never in a crash.
 */
#ifndef LOYALTY_PACK_H
#define LOYALTY_PACK_H

#include "postgres.h"

#include "common/int.h"
#include "port/pg_bitutils.h"

#include "ledger/fold.h"

/* A growing run of bytes; data may begin with room for a varlena header. */
typedef struct PackWriter
{
	char	   *data;
	Size		used;
	Size		size;
} PackWriter;

typedef struct PackReader
{
	const uint8 *next;
	const uint8 *end;
	bool		failed;			/* went beyond the end, or met nonsense */
} PackReader;

/* One version byte leads every stored value; old versions stay readable. */
#define PACK_VERSION	1

extern void PackInit(PackWriter *writer, Size reserve);
extern void PackBytes(PackWriter *writer, const void *bytes, Size length);
extern void PackUnsigned(PackWriter *writer, uint64 value);
extern void PackSigned(PackWriter *writer, int64 value);
extern void PackTime(PackWriter *writer, TimestampTz value, TimestampTz base);

extern void UnpackInit(PackReader *reader, const void *bytes, Size length);
extern uint64 UnpackUnsignedSlow(PackReader *reader);
extern TimestampTz UnpackSpecialTime(PackReader *reader, uint64 packed);
extern void UnpackBytes(PackReader *reader, void *bytes, Size length);

extern void PackLots(PackWriter *writer, const LotList *list);
extern void UnpackLots(PackReader *reader, LotList *list);
extern void PackBalance(PackWriter *writer, const Balance *balance);
extern bool UnpackBalance(PackReader *reader, Balance *balance);

extern void PackPlainEntry(PackWriter *writer, const PlainEntry *entry, TimestampTz previous, int64 *lifetime);
extern void UnpackPlainEntry(PackReader *reader, PlainEntry *entry, TimestampTz previous, int64 *lifetime);
extern void PackEntry(PackWriter *writer, const Entry *entry, TimestampTz previous, int64 *lifetime);
extern void UnpackEntry(PackReader *reader, Entry *entry, TimestampTz previous, int64 *lifetime);

/*
 * An unsigned integer.
 *
 * Up to eight bytes are taken at once where the machine's byte order allows:
 * the lowest byte without its high bit set is the last one; the groups of
 * seven bits are then pushed together pairwise.
 */
static inline uint64
UnpackUnsigned(PackReader *reader)
{
	if (likely(reader->next < reader->end && *reader->next < 0x80))
		return *reader->next++;
#ifndef WORDS_BIGENDIAN
	if (likely(reader->end - reader->next >= 8))
	{
		uint64		word;
		uint64		last;

		memcpy(&word, reader->next, 8);
		last = ~word & UINT64CONST(0x8080808080808080);
		if (likely(last != 0))
		{
			int			length = pg_rightmost_one_pos64(last) / 8 + 1;

			reader->next += length;
			word &= UINT64CONST(0x7F7F7F7F7F7F7F7F) >> (64 - 8 * length);
			word = (word & UINT64CONST(0x007F007F007F007F)) | (word & UINT64CONST(0x7F007F007F007F00)) >> 1;
			word = (word & UINT64CONST(0x00003FFF00003FFF)) | (word & UINT64CONST(0x3FFF00003FFF0000)) >> 2;
			return (word & UINT64CONST(0x000000000FFFFFFF)) | (word & UINT64CONST(0x0FFFFFFF00000000)) >> 4;
		}
	}
#endif
	return UnpackUnsignedSlow(reader);
}

static inline int64
UnpackSigned(PackReader *reader)
{
	uint64		u = UnpackUnsigned(reader);

	return (int64) (u >> 1) ^ -(int64) (u & 1);
}

/* The low two bits of a packed instant tell how the rest is meant. */
#define TIME_SPECIAL	0
#define TIME_SECONDS	1
#define TIME_MICROS		2
#define TIME_DAYS		3

/*
 * An instant, given as difference from base, which must be a valid one.
 * Nonsense fails the reader.
 */
static inline TimestampTz
UnpackTime(PackReader *reader, TimestampTz base)
{
	static const int64 units[] = {
		[TIME_SECONDS] = USECS_PER_SEC,[TIME_MICROS] = 1,[TIME_DAYS] = USECS_PER_DAY
	};
	uint64		packed = UnpackUnsigned(reader);
	uint64		rest = packed >> 2;
	int64		delta = (int64) (rest >> 1) ^ -(int64) (rest & 1);
	TimestampTz value;

	if (unlikely((packed & 3) == TIME_SPECIAL))
		return UnpackSpecialTime(reader, rest);
	if (unlikely(pg_mul_s64_overflow(delta, units[packed & 3], &delta) ||
				 pg_add_s64_overflow(base, delta, &value) ||
				 !IS_VALID_TIMESTAMP(value)))
	{
		reader->failed = true;
		return 0;
	}
	return value;
}

#endif							/* LOYALTY_PACK_H */
