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

#include "core/compat.h"
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

/* One version byte leads every stored value; what is released stays readable. */
#define PACK_VERSION	2

extern void PackInit(PackWriter *writer, Size reserve);
extern void PackBytes(PackWriter *writer, const void *bytes, Size length);
extern void PackUnsigned(PackWriter *writer, uint64 value);
extern void PackSigned(PackWriter *writer, int64 value);
extern void PackTime(PackWriter *writer, TimestampTz value, TimestampTz base);

extern void UnpackInit(PackReader *reader, const void *bytes, Size length);
extern uint64 UnpackUnsignedSlow(PackReader *reader);
extern TimestampTz UnpackSpecialTime(PackReader *reader, uint64 packed);
extern void UnpackBytes(PackReader *reader, void *bytes, Size length);

extern void PackLots(PackWriter *writer, const LotList *list, int64 lot_id, TimestampTz earned_at);
extern void UnpackLots(PackReader *reader, LotList *list, int64 lot_id, TimestampTz earned_at);
extern void PackBalance(PackWriter *writer, const Balance *balance);
extern bool UnpackBalance(PackReader *reader, Balance *balance);

extern void PackEntry(PackWriter *writer, const Entry *entry, TimestampTz previous, int64 *lifetime);
extern void UnpackEntryRest(PackReader *reader, uint8 head, Entry *entry);

/* The high bit of each of eight bytes: set where the integer goes on. */
#define HIGH_BITS	UINT64CONST(0x8080808080808080)

/*
 * All bits up to the lowest one that is set.
 */
static inline uint64
UpToLowest(uint64 bits)
{
	return bits ^ (bits - 1);
}

/*
 * Pushes the groups of seven bits in eight bytes together, pairwise.
 */
static inline uint64
JoinGroups(uint64 word)
{
	word &= ~HIGH_BITS;
	word = (word & UINT64CONST(0x007F007F007F007F)) | (word & UINT64CONST(0x7F007F007F007F00)) >> 1;
	word = (word & UINT64CONST(0x00003FFF00003FFF)) | (word & UINT64CONST(0x3FFF00003FFF0000)) >> 2;
	return (word & UINT64CONST(0x000000000FFFFFFF)) | (word & UINT64CONST(0x0FFFFFFF00000000)) >> 4;
}

/*
 * Pulls 56 bits apart into eight bytes of seven.
 */
static inline uint64
SplitGroups(uint64 value)
{
	value = (value & UINT64CONST(0x000000000FFFFFFF)) | (value & UINT64CONST(0x00FFFFFFF0000000)) << 4;
	value = (value & UINT64CONST(0x00003FFF00003FFF)) | (value & UINT64CONST(0x0FFFC0000FFFC000)) << 2;
	return (value & UINT64CONST(0x007F007F007F007F)) | (value & UINT64CONST(0x3F803F803F803F80)) << 1;
}

static inline uint64
Zigzag(int64 value)
{
	return ((uint64) value << 1) ^ (uint64) (value >> 63);
}

static inline int64
Unzigzag(uint64 u)
{
	return (int64) (u >> 1) ^ -(int64) (u & 1);
}

/*
 * Writes an unsigned integer and returns where it ends.  There must be room
 * for ten bytes, however few it takes.
 */
static inline uint8 *
PutUnsigned(uint8 *to, uint64 value)
{
#ifndef WORDS_BIGENDIAN
	if (likely(value < UINT64CONST(1) << 56))
	{
		int			more = pg_leftmost_one_pos64(value | 1) / 7;
		uint64		word = SplitGroups(value) | (HIGH_BITS & ((UINT64CONST(1) << (8 * more)) - 1));

		memcpy(to, &word, 8);
		return to + more + 1;
	}
#endif
	while (value >= 0x80)
	{
		*to++ = (uint8) value | 0x80;
		value >>= 7;
	}
	*to++ = (uint8) value;
	return to;
}

/*
 * An unsigned integer.
 *
 * Up to eight bytes are taken at once where the machine's byte order allows:
 * the lowest byte without its high bit set is the last one.
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
		last = ~word & HIGH_BITS;
		if (likely(last != 0))
		{
			reader->next += pg_rightmost_one_pos64(last) / 8 + 1;
			return JoinGroups(word & UpToLowest(last));
		}
	}
#endif
	return UnpackUnsignedSlow(reader);
}

/*
 * A byte; beyond the end it is 0, and the reader has failed.
 */
static inline uint8
UnpackByte(PackReader *reader)
{
	if (likely(reader->next < reader->end))
		return *reader->next++;
	reader->failed = true;
	return 0;
}

static inline int64
UnpackSigned(PackReader *reader)
{
	return Unzigzag(UnpackUnsigned(reader));
}

/* The low two bits of a packed instant tell how the rest is meant. */
#define TIME_SPECIAL	0
#define TIME_SECONDS	1
#define TIME_MICROS		2
#define TIME_DAYS		3

/* What a special instant is */
#define SPECIAL_INFINITY		0
#define SPECIAL_MINUS_INFINITY	1
#define SPECIAL_ABSOLUTE		2	/* eight bytes follow */

/*
 * Writes an instant, as difference from base: at most TIME_BYTES, for which
 * there must be room.
 */
#define TIME_BYTES	10

static inline uint8 *
PutTime(uint8 *to, TimestampTz value, TimestampTz base)
{
	int64		delta;

	if (unlikely(value == TIMESTAMP_INFINITY))
		return PutUnsigned(to, SPECIAL_INFINITY << 2 | TIME_SPECIAL);
	if (unlikely(value == TIMESTAMP_MINUS_INFINITY))
		return PutUnsigned(to, SPECIAL_MINUS_INFINITY << 2 | TIME_SPECIAL);
	if (unlikely(pg_sub_s64_overflow(value, base, &delta) ||
				 delta >= (INT64CONST(1) << 60) || delta <= -(INT64CONST(1) << 60)))
	{
		*to++ = SPECIAL_ABSOLUTE << 2 | TIME_SPECIAL;
		for (int i = 0; i < 8; i++)
			*to++ = (uint8) ((uint64) value >> (8 * i));
		return to;
	}
	if (delta % USECS_PER_SEC != 0)
		return PutUnsigned(to, Zigzag(delta) << 2 | TIME_MICROS);
	if (delta % USECS_PER_DAY != 0)
		return PutUnsigned(to, Zigzag(delta / USECS_PER_SEC) << 2 | TIME_SECONDS);
	return PutUnsigned(to, Zigzag(delta / USECS_PER_DAY) << 2 | TIME_DAYS);
}

/*
 * An instant from its packed form, as difference from base, which must be a
 * valid one.  Nonsense fails the reader.
 */
static inline TimestampTz
TimeFromPacked(PackReader *reader, uint64 packed, TimestampTz base)
{
	static const int64 units[] = {
		[TIME_SECONDS] = USECS_PER_SEC,[TIME_MICROS] = 1,[TIME_DAYS] = USECS_PER_DAY
	};
	int64		delta = Unzigzag(packed >> 2);
	TimestampTz value;

	if (unlikely((packed & 3) == TIME_SPECIAL))
		return UnpackSpecialTime(reader, packed >> 2);
	if (unlikely(pg_mul_s64_overflow(delta, units[packed & 3], &delta) ||
				 pg_add_s64_overflow(base, delta, &value) ||
				 !IS_VALID_TIMESTAMP(value)))
	{
		reader->failed = true;
		return 0;
	}
	return value;
}

static inline TimestampTz
UnpackTime(PackReader *reader, TimestampTz base)
{
	return TimeFromPacked(reader, UnpackUnsigned(reader), base);
}

/* The low four bits of an entry's first byte are its kind. */
#define ENTRY_KIND_MASK			0x0F
#define ENTRY_AVAILABLE_LATER	0x10	/* available_at follows */
#define ENTRY_NEVER_EXPIRES		0x20
#define ENTRY_SAME_LIFETIME		0x40	/* as the last entry that had one */
#define ENTRY_EXTENDED			0x80	/* an optional part follows */

/* expires_at - effective_at, or -1 where that is not a proper number */
static inline int64
Lifetime(TimestampTz from, TimestampTz until)
{
	if (TIMESTAMP_NOT_FINITE(from) || TIMESTAMP_NOT_FINITE(until) || until < from)
		return -1;
	return until - from;
}

/*
 * Writes the part that every entry has: kind, points, instants; relative to
 * the effective_at of the entry before and to the lifetime of the last lot that
 * had one.  Returns where it ends; there must be room for ENTRY_HEAD_BYTES.
 */
#define ENTRY_HEAD_BYTES	(1 + 10 + 3 * TIME_BYTES)

static inline uint8 *
PutEntryHead(uint8 *to, const PlainEntry *entry, TimestampTz previous, int64 *lifetime, uint8 flags)
{
	int64		own = Lifetime(entry->effective_at, entry->expires_at);
	uint8		head = (uint8) entry->kind | flags;

	if (unlikely(entry->available_at != entry->effective_at))
		head |= ENTRY_AVAILABLE_LATER;
	if (entry->expires_at == TIMESTAMP_INFINITY)
		head |= ENTRY_NEVER_EXPIRES;
	else if (own >= 0 && own == *lifetime)
		head |= ENTRY_SAME_LIFETIME;

	*to++ = head;
	to = PutUnsigned(to, Zigzag(entry->points));
	to = PutTime(to, entry->effective_at, previous);
	if (unlikely(head & ENTRY_AVAILABLE_LATER))
		to = PutTime(to, entry->available_at, entry->effective_at);
	if (!(head & (ENTRY_NEVER_EXPIRES | ENTRY_SAME_LIFETIME)))
		to = PutTime(to, entry->expires_at, entry->effective_at);
	if (own >= 0)
		*lifetime = own;
	return to;
}

/*
 * Reads what PutEntryHead() wrote.  Returns its first byte; the caller looks whether the reader has failed.
 *
 * Points and effective_at are mostly short enough to be taken out of one word
 * together: the second of them ends at the second byte whose high bit is not
 * set.  Where the next entry begins is then known without a branch.
 */
static inline uint8
UnpackEntryHead(PackReader *reader, PlainEntry *entry, TimestampTz previous, int64 *lifetime)
{
	uint64		time;
	uint8		head;

	if (unlikely(reader->next >= reader->end))
	{
		reader->failed = true;
		return 0;
	}
	head = *reader->next++;
	entry->kind = (EntryKind) (head & ENTRY_KIND_MASK);
	if (unlikely(entry->kind < ENTRY_EARN || entry->kind > ENTRY_KIND_MAX))
		reader->failed = true;

#ifndef WORDS_BIGENDIAN
	if (likely(reader->end - reader->next >= 8))
	{
		uint64		word;
		uint64		last;
		uint64		second;

		memcpy(&word, reader->next, 8);
		last = ~word & HIGH_BITS;
		second = last & (last - 1);
		if (likely(second != 0))
		{
			reader->next += pg_rightmost_one_pos64(second) / 8 + 1;
			entry->points = Unzigzag(JoinGroups(word & UpToLowest(last)));
			time = JoinGroups((word & UpToLowest(second)) >> (pg_rightmost_one_pos64(last) + 1));
			goto have_both;
		}
	}
#endif
	entry->points = UnpackSigned(reader);
	time = UnpackUnsigned(reader);
have_both:
	entry->effective_at = TimeFromPacked(reader, time, previous);
	if (unlikely(TIMESTAMP_NOT_FINITE(entry->effective_at)))
		reader->failed = true;
	if (unlikely(reader->failed))
		return 0;

	entry->available_at = entry->effective_at;
	if (unlikely(head & ENTRY_AVAILABLE_LATER))
		entry->available_at = UnpackTime(reader, entry->effective_at);
	if (head & ENTRY_NEVER_EXPIRES)
		entry->expires_at = TIMESTAMP_INFINITY;
	else if (head & ENTRY_SAME_LIFETIME)
	{
		if (unlikely(*lifetime < 0 ||
					 pg_add_s64_overflow(entry->effective_at, *lifetime, &entry->expires_at) ||
					 !IS_VALID_TIMESTAMP(entry->expires_at)))
			reader->failed = true;
	}
	else
	{
		int64		own;

		entry->expires_at = UnpackTime(reader, entry->effective_at);
		own = Lifetime(entry->effective_at, entry->expires_at);
		if (own >= 0)
			*lifetime = own;
	}
	return head;
}

#endif							/* LOYALTY_PACK_H */
