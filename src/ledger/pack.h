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
extern TimestampTz UnpackTime(PackReader *reader, TimestampTz base);
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
 * An unsigned integer.  Most are one or two bytes.
 */
static inline uint64
UnpackUnsigned(PackReader *reader)
{
	if (likely(reader->next < reader->end && *reader->next < 0x80))
		return *reader->next++;
	return UnpackUnsignedSlow(reader);
}

static inline int64
UnpackSigned(PackReader *reader)
{
	uint64		u = UnpackUnsigned(reader);

	return (int64) (u >> 1) ^ -(int64) (u & 1);
}

#endif							/* LOYALTY_PACK_H */
