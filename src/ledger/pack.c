/*
 * pack.c
 *		Bytes of the stored types.  See pack.h.
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"

#include "core/compat.h"
#include "ledger/pack.h"

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

/*
 * Starts a run of bytes, leaving reserve bytes at its head unwritten.
 */
void
PackInit(PackWriter *writer, Size reserve)
{
	writer->size = 120;
	writer->data = palloc(writer->size);
	writer->used = reserve;
}

static inline void
Reserve(PackWriter *writer, Size more)
{
	if (unlikely(writer->used + more > writer->size))
	{
		writer->size = Max(writer->size * 2, writer->used + more);
		writer->data = repalloc(writer->data, writer->size);
	}
}

void
PackBytes(PackWriter *writer, const void *bytes, Size length)
{
	Reserve(writer, length);
	memcpy(writer->data + writer->used, bytes, length);
	writer->used += length;
}

/* Room for more bytes, and where they go; then how far they went. */
static inline uint8 *
StartPut(PackWriter *writer, Size more)
{
	Reserve(writer, more);
	return (uint8 *) writer->data + writer->used;
}

static inline void
EndPut(PackWriter *writer, const uint8 *to)
{
	writer->used = (const char *) to - writer->data;
}

void
PackUnsigned(PackWriter *writer, uint64 value)
{
	EndPut(writer, PutUnsigned(StartPut(writer, 10), value));
}

void
PackSigned(PackWriter *writer, int64 value)
{
	PackUnsigned(writer, Zigzag(value));
}

void
PackTime(PackWriter *writer, TimestampTz value, TimestampTz base)
{
	EndPut(writer, PutTime(StartPut(writer, TIME_BYTES), value, base));
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

void
UnpackInit(PackReader *reader, const void *bytes, Size length)
{
	reader->next = bytes;
	reader->end = reader->next + length;
	reader->failed = false;
}

/*
 * An unsigned integer of any length.  Beyond the end it is 0, and the reader
 * has failed.
 */
uint64
UnpackUnsignedSlow(PackReader *reader)
{
	uint64		value = 0;
	int			shift = 0;

	while (reader->next < reader->end && shift < 64)
	{
		uint8		byte = *reader->next++;

		if (shift == 63 && byte > 1)
			break;
		value |= (uint64) (byte & 0x7F) << shift;
		if (byte < 0x80)
			return value;
		shift += 7;
	}
	reader->failed = true;
	reader->next = reader->end;
	return 0;
}

void
UnpackBytes(PackReader *reader, void *bytes, Size length)
{
	if ((Size) (reader->end - reader->next) < length)
	{
		reader->failed = true;
		reader->next = reader->end;
		memset(bytes, 0, length);
		return;
	}
	memcpy(bytes, reader->next, length);
	reader->next += length;
}

/*
 * An instant that is no difference: infinite, or in full.
 */
TimestampTz
UnpackSpecialTime(PackReader *reader, uint64 packed)
{
	if (packed == SPECIAL_INFINITY)
		return TIMESTAMP_INFINITY;
	if (packed == SPECIAL_MINUS_INFINITY)
		return TIMESTAMP_MINUS_INFINITY;
	if (packed == SPECIAL_ABSOLUTE)
	{
		uint8		bytes[8];
		uint64		absolute = 0;

		UnpackBytes(reader, bytes, 8);
		for (int i = 0; i < 8; i++)
			absolute |= (uint64) bytes[i] << (8 * i);
		if (IS_VALID_TIMESTAMP((TimestampTz) absolute))
			return (TimestampTz) absolute;
	}
	reader->failed = true;
	return 0;
}

/* ---------------------------------------------------------------------------
 * Lots
 * ---------------------------------------------------------------------------
 */

#define LOT_NEVER_EXPIRES		0x01
#define LOT_SAME_LIFETIME		0x02	/* as the lot behind */
#define LOT_AVAILABLE_AT_ONCE	0x04	/* available_at = earned_at */
#define LOT_HAS_HOLD			0x08
#define LOT_JOINED				0x10
#define LOT_HAS_HOME			0x20
#define LOT_APART				0x40
#define LOT_SLIDES				0x80	/* more flags follow */

/* The further flags */
#define SLIDES_EXTENDED			0x01	/* opened_until is not expires_at */
#define SLIDES_LIMITED			0x02	/* expires_by is not infinity */
#define SLIDES_TO_LIMIT			0x04	/* expires_by is expires_at */
#define SLIDES_GRACED			0x08
#define SLIDES_FLAGS			0x0F

/* Most lots have none of these. */
#define LOT_RARE	(LOT_HAS_HOLD | LOT_JOINED | LOT_HAS_HOME | LOT_APART | LOT_SLIDES)

static uint8
RareFlags(const Lot *lot, uint8 *slides)
{
	*slides = 0;
	if (lot->opened_until != lot->expires_at)
		*slides |= SLIDES_EXTENDED;
	if (lot->expires_by != TIMESTAMP_INFINITY)
		*slides |= lot->expires_by == lot->expires_at ? SLIDES_TO_LIMIT : SLIDES_LIMITED;
	if (lot->graced)
		*slides |= SLIDES_GRACED;
	return (lot->hold_id != 0 ? LOT_HAS_HOLD : 0) | (lot->joined ? LOT_JOINED : 0) |
		(lot->home_id != 0 ? LOT_HAS_HOME : 0) | (lot->apart ? LOT_APART : 0) | (*slides != 0 ? LOT_SLIDES : 0);
}

static uint8 *
PutRare(uint8 *to, const Lot *lot, uint8 flags, uint8 slides)
{
	if (flags & LOT_HAS_HOLD)
		to = PutUnsigned(to, Zigzag((int64) ((uint64) lot->hold_id - (uint64) lot->lot_id)));
	if (flags & LOT_HAS_HOME)
		to = PutUnsigned(to, Zigzag(lot->home_id));
	if (flags & LOT_SLIDES)
		*to++ = slides;
	if (slides & SLIDES_EXTENDED)
		to = PutTime(to, lot->opened_until, lot->earned_at);
	if (slides & SLIDES_LIMITED)
		to = PutTime(to, lot->expires_by, lot->earned_at);
	return to;
}

/*
 * A list of lots: how many, then each from the last on by its difference from
 * the one behind it, the last from lot_id and earned_at.  So what is appended
 * changes no bytes of the lots before the last.
 */
void
PackLots(PackWriter *writer, const LotList *list, int64 lot_id, TimestampTz earned_at)
{
	int64		lifetime = -1;

	PackUnsigned(writer, LotCount(list));
	for (int i = list->end - 1; i >= list->first; i--)
	{
		const Lot  *lot = &list->lots[i];
		int64		own = Lifetime(lot->earned_at, lot->expires_at);
		uint8		slides;
		uint8		flags = RareFlags(lot, &slides);
		uint8	   *to;

		if (lot->expires_at == TIMESTAMP_INFINITY)
			flags |= LOT_NEVER_EXPIRES;
		else if (own >= 0 && own == lifetime)
			flags |= LOT_SAME_LIFETIME;
		if (lot->available_at == lot->earned_at)
			flags |= LOT_AVAILABLE_AT_ONCE;

		to = StartPut(writer, 2 + 4 * 10 + 5 * TIME_BYTES);
		*to++ = flags;
		to = PutUnsigned(to, Zigzag((int64) ((uint64) lot->lot_id - (uint64) lot_id)));
		to = PutUnsigned(to, (uint64) lot->points);
		to = PutTime(to, lot->earned_at, earned_at);
		if (!(flags & LOT_AVAILABLE_AT_ONCE))
			to = PutTime(to, lot->available_at, lot->earned_at);
		if (!(flags & (LOT_NEVER_EXPIRES | LOT_SAME_LIFETIME)))
			to = PutTime(to, lot->expires_at, lot->earned_at);
		if (unlikely(flags & LOT_RARE))
			to = PutRare(to, lot, flags, slides);
		EndPut(writer, to);

		lot_id = lot->lot_id;
		earned_at = lot->earned_at;
		if (own >= 0)
			lifetime = own;
	}
}

static void
UnpackRare(PackReader *reader, uint8 flags, Lot *lot)
{
	uint8		slides = 0;

	lot->joined = (flags & LOT_JOINED) != 0;
	lot->apart = (flags & LOT_APART) != 0;
	if (flags & LOT_HAS_HOLD)
		lot->hold_id = (int64) ((uint64) lot->lot_id + (uint64) UnpackSigned(reader));
	if (flags & LOT_HAS_HOME)
		lot->home_id = UnpackSigned(reader);
	if (flags & LOT_SLIDES)
		slides = UnpackByte(reader);
	if (slides & SLIDES_EXTENDED)
		lot->opened_until = UnpackTime(reader, lot->earned_at);
	if (slides & SLIDES_LIMITED)
		lot->expires_by = UnpackTime(reader, lot->earned_at);
	else if (slides & SLIDES_TO_LIMIT)
		lot->expires_by = lot->expires_at;
	lot->graced = (slides & SLIDES_GRACED) != 0;
	if ((slides & ~SLIDES_FLAGS) || lot->hold_id < 0 ||
		lot->opened_until == TIMESTAMP_MINUS_INFINITY || lot->expires_by == TIMESTAMP_MINUS_INFINITY)
		reader->failed = true;
}

/*
 * Reads what PackLots() wrote.  A lot without points, with an id that is not
 * positive, or earned at an infinite instant fails the reader.
 */
void
UnpackLots(PackReader *reader, LotList *list, int64 lot_id, TimestampTz earned_at)
{
	uint64		count = UnpackUnsigned(reader);
	int64		lifetime = -1;
	Lot		   *place;

	memset(list, 0, sizeof(LotList));

	/* a lot takes four bytes at least: no count can make us allocate wildly */
	if (count > (uint64) (reader->end - reader->next) / 4)
	{
		reader->failed = true;
		return;
	}
	if (count == 0)
		return;
	list->size = (int) count + 1;
	list->lots = palloc_extended(list->size * sizeof(Lot), MCXT_ALLOC_HUGE);

	for (place = list->lots + count; place > list->lots; place--)
	{
		Lot			lot = {0};
		uint8		flags = UnpackByte(reader);
		int64		own;

		lot.lot_id = (int64) ((uint64) lot_id + (uint64) UnpackSigned(reader));
		lot.points = (int64) UnpackUnsigned(reader);
		lot.earned_at = lot.available_at = UnpackTime(reader, earned_at);
		if (!(flags & LOT_AVAILABLE_AT_ONCE))
			lot.available_at = UnpackTime(reader, lot.earned_at);
		if (flags & LOT_NEVER_EXPIRES)
			lot.expires_at = TIMESTAMP_INFINITY;
		else if (flags & LOT_SAME_LIFETIME)
		{
			if (lifetime < 0 ||
				pg_add_s64_overflow(lot.earned_at, lifetime, &lot.expires_at) ||
				!IS_VALID_TIMESTAMP(lot.expires_at))
				reader->failed = true;
		}
		else
			lot.expires_at = UnpackTime(reader, lot.earned_at);
		lot.opened_until = lot.expires_at;
		lot.expires_by = TIMESTAMP_INFINITY;
		if (unlikely(flags & LOT_RARE))
			UnpackRare(reader, flags, &lot);

		if (reader->failed || lot.points <= 0 || lot.lot_id <= 0 || TIMESTAMP_NOT_FINITE(lot.earned_at) ||
			lot.available_at == TIMESTAMP_MINUS_INFINITY || lot.expires_at == TIMESTAMP_MINUS_INFINITY)
		{
			reader->failed = true;
			break;
		}

		lot_id = lot.lot_id;
		earned_at = lot.earned_at;
		own = Lifetime(lot.earned_at, lot.expires_at);
		if (own >= 0)
			lifetime = own;
		place[-1] = lot;
	}
	list->first = (int) (place - list->lots);
	list->end = (int) count;
}

/* ---------------------------------------------------------------------------
 * Balances
 * ---------------------------------------------------------------------------
 */

#define BALANCE_OLDEST_FIRST	0x01
#define BALANCE_CHAINED			0x02
#define BALANCE_OWES			0x04	/* debt with a home elsewhere */
#define BALANCE_NEWEST			0x08	/* the expiry of the newest lot is known */
#define BALANCE_NEWEST_FIXED	0x10
#define BALANCE_FLAGS			0x1F

/*
 * A balance.  Equal balances have equal bytes.  What each entry changes comes
 * first, and the lots last, the latest of them first: an UPDATE of a row logs
 * what lies between the bytes that stay at its beginning and at its end.
 */
void
PackBalance(PackWriter *writer, const Balance *balance)
{
	uint8		head[2];
	uint32		mask = 0;

	head[0] = PACK_VERSION;
	head[1] = (balance->order == CONSUME_OLDEST_FIRST ? BALANCE_OLDEST_FIRST : 0) |
		(balance->chained ? BALANCE_CHAINED : 0) |
		(LotCount(&balance->owed) > 0 ? BALANCE_OWES : 0) |
		(balance->newest_expires_at != TIMESTAMP_MINUS_INFINITY ? BALANCE_NEWEST : 0) |
		(balance->newest_is_fixed ? BALANCE_NEWEST_FIXED : 0);
	PackBytes(writer, head, 2);
	if (balance->chained)
		PackBytes(writer, balance->chain, CHAIN_LENGTH);
	PackUnsigned(writer, (uint64) balance->entries);
	PackUnsigned(writer, (uint64) balance->last_entry_id);
	PackTime(writer, balance->last_effective_at, 0);
	PackTime(writer, balance->last_recorded_at, 0);
	PackTime(writer, balance->booked_through, 0);
	if (balance->newest_expires_at != TIMESTAMP_MINUS_INFINITY)
		PackTime(writer, balance->newest_expires_at, 0);
	for (int i = 0; i < TOTALS; i++)
	{
		if (balance->total[i] != 0)
			mask |= 1U << i;
	}
	PackUnsigned(writer, mask);
	for (int i = 0; i < TOTALS; i++)
	{
		if (balance->total[i] != 0)
			PackSigned(writer, balance->total[i]);
	}
	if (LotCount(&balance->owed) > 0)
	{
		PackUnsigned(writer, LotCount(&balance->owed));
		ForEachLot(part, &balance->owed)
		{
			PackSigned(writer, part->lot_id);
			PackUnsigned(writer, (uint64) part->points);
		}
	}
	PackLots(writer, &balance->lots, balance->last_entry_id, balance->last_effective_at);
}

/*
 * Reads what PackBalance() wrote, up to the end of the reader.  False when
 * the bytes are no balance.
 */
bool
UnpackBalance(PackReader *reader, Balance *balance)
{
	uint8		head[2];
	uint64		mask;

	UnpackBytes(reader, head, 2);
	if (head[0] != PACK_VERSION || (head[1] & ~BALANCE_FLAGS))
		return false;
	InitBalance(balance, head[1] & BALANCE_OLDEST_FIRST ?
				CONSUME_OLDEST_FIRST : CONSUME_EARLIEST_EXPIRY);
	balance->chained = (head[1] & BALANCE_CHAINED) != 0;
	if (balance->chained)
		UnpackBytes(reader, balance->chain, CHAIN_LENGTH);
	balance->entries = (int64) UnpackUnsigned(reader);
	balance->last_entry_id = (int64) UnpackUnsigned(reader);
	balance->last_effective_at = UnpackTime(reader, 0);
	balance->last_recorded_at = UnpackTime(reader, 0);
	balance->booked_through = UnpackTime(reader, 0);
	if (head[1] & BALANCE_NEWEST)
		balance->newest_expires_at = UnpackTime(reader, 0);
	balance->newest_is_fixed = (head[1] & BALANCE_NEWEST_FIXED) != 0;
	mask = UnpackUnsigned(reader);
	if (mask >= (1U << TOTALS))
		return false;
	for (int i = 0; i < TOTALS; i++)
	{
		if (mask & (1U << i))
			balance->total[i] = UnpackSigned(reader);
		if (balance->total[i] < 0 && i != TOTAL_BOOKED)
			return false;
	}
	if (head[1] & BALANCE_OWES)
	{
		uint64		count = UnpackUnsigned(reader);
		int64		left = balance->total[TOTAL_DEBT];

		if (count == 0 || count > (uint64) (reader->end - reader->next) / 2)
			return false;
		for (uint64 i = 0; i < count; i++)
		{
			Lot			part = {.expires_at = TIMESTAMP_INFINITY};

			part.lot_id = UnpackSigned(reader);
			part.points = (int64) UnpackUnsigned(reader);
			if (reader->failed || part.lot_id == 0 || part.points <= 0 || part.points > left ||
				(i > 0 && part.lot_id <= balance->owed.lots[balance->owed.end - 1].lot_id))
				return false;
			left -= part.points;
			AppendLot(&balance->owed, &part);
		}
	}
	UnpackLots(reader, &balance->lots, balance->last_entry_id, balance->last_effective_at);
	return !reader->failed && reader->next == reader->end &&
		balance->entries >= 0 && balance->last_entry_id >= 0 &&
		balance->last_effective_at != TIMESTAMP_INFINITY &&
		balance->last_recorded_at != TIMESTAMP_INFINITY &&
		balance->booked_through != TIMESTAMP_INFINITY;
}

/* ---------------------------------------------------------------------------
 * Entries
 * ---------------------------------------------------------------------------
 */

/* Bits of the optional part of an entry */
#define EXTENDED_TARGET			0x01
#define EXTENDED_EXTENDS_TO		0x02
#define EXTENDED_HOLD_UNTIL		0x04
#define EXTENDED_LOTS			0x08
#define EXTENDED_EXPIRES_BY		0x10
#define EXTENDED_BITS			0x1F

/*
 * An entry as asked for; results are not kept.
 */
void
PackEntry(PackWriter *writer, const Entry *entry, TimestampTz previous, int64 *lifetime)
{
	PlainEntry	plain = {
		.kind = entry->kind,
		.points = entry->requested,
		.effective_at = entry->effective_at,
		.available_at = entry->available_at,
		.expires_at = entry->expires_at
	};
	uint8		extended = 0;

	if (entry->target != 0)
		extended |= EXTENDED_TARGET;
	if (entry->extends_to != TIMESTAMP_MINUS_INFINITY)
		extended |= EXTENDED_EXTENDS_TO;
	if (entry->hold_until != TIMESTAMP_MINUS_INFINITY)
		extended |= EXTENDED_HOLD_UNTIL;
	if (entry->given != NULL)
		extended |= EXTENDED_LOTS;
	if (entry->expires_by != TIMESTAMP_INFINITY)
		extended |= EXTENDED_EXPIRES_BY;

	EndPut(writer, PutEntryHead(StartPut(writer, ENTRY_HEAD_BYTES), &plain, previous, lifetime,
								extended ? ENTRY_EXTENDED : 0));
	if (extended)
	{
		PackBytes(writer, &extended, 1);
		if (extended & EXTENDED_TARGET)
			PackUnsigned(writer, (uint64) entry->target);
		if (extended & EXTENDED_EXTENDS_TO)
			PackTime(writer, entry->extends_to, entry->effective_at);
		if (extended & EXTENDED_HOLD_UNTIL)
			PackTime(writer, entry->hold_until, entry->effective_at);
		if (extended & EXTENDED_LOTS)
			PackLots(writer, entry->given, 0, 0);
		if (extended & EXTENDED_EXPIRES_BY)
			PackTime(writer, entry->expires_by, entry->effective_at);
	}
}

/*
 * Reads the optional part of what PackEntry() wrote, whose head has been read
 * and set in the entry.  Checks the form, not the sense: what a kind needs is
 * checked by whoever takes entries from outside.
 */
void
UnpackEntryRest(PackReader *reader, uint8 head, Entry *entry)
{
	uint8		extended;

	if (reader->failed || !(head & ENTRY_EXTENDED))
		return;
	extended = UnpackByte(reader);
	if (extended & ~EXTENDED_BITS)
		reader->failed = true;
	if (extended & EXTENDED_TARGET)
		entry->target = (int64) UnpackUnsigned(reader);
	if (extended & EXTENDED_EXTENDS_TO)
		entry->extends_to = UnpackTime(reader, entry->effective_at);
	if (extended & EXTENDED_HOLD_UNTIL)
		entry->hold_until = UnpackTime(reader, entry->effective_at);
	if (extended & EXTENDED_LOTS)
	{
		LotList    *given = palloc(sizeof(LotList));

		UnpackLots(reader, given, 0, 0);
		entry->given = given;
	}
	if (extended & EXTENDED_EXPIRES_BY)
		entry->expires_by = UnpackTime(reader, entry->effective_at);
}
