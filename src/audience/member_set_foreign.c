/*
 * member_set_foreign.c
 *		Bytes that are to be a set of members, and come from elsewhere.
 */
#include "audience/member_set.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

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
static const char *const other_number = "a chunk has another number of members than its head says";

static const char *
WhyNoRuns(int count, Foreign *from)
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
		total += last - first + 1;
		behind = last;
	}
	return total == count ? NULL : other_number;
}

static const char *
WhyNoChunk(int count, Foreign *from)
{
	const char *bytes = Take(from, ChunkBytes(count));

	if (bytes == NULL)
		return ends_early;
	if (IsBitmap(count))
		return pg_popcount(bytes, BITMAP_BYTES) == (uint64) count ? NULL : other_number;
	for (int i = 1; i < count; i++)
	{
		if (GetUint16(bytes + 2 * i) <= GetUint16(bytes + 2 * (i - 1)))
			return "an array is not ascending";
	}
	return NULL;
}

static const char *
WhyNoBucket(Foreign *from)
{
	const char *start = from->at;
	const char *head = Take(from, 4);
	uint32		cookie = head == NULL ? 0 : GetUint32(head);
	bool		runs = HasRuns(cookie);
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
	if ((!runs || count >= CHUNKS_WITH_OFFSETS) && (offsets = Take(from, 4 * (Size) count)) == NULL)
		return ends_early;
	for (uint32 i = 0; i < count; i++)
	{
		int			key = GetUint16(keys + 4 * i);
		int			members = GetUint16(keys + 4 * i + 2) + 1;
		const char *why;

		CHECK_FOR_INTERRUPTS();
		if (key <= behind)
			return "keys are not ascending";
		if (offsets != NULL && GetUint32(offsets + 4 * i) != (uint32) (from->at - start))
			return "an offset is wrong";
		if (is_run != NULL && HasBit(is_run, i))
			why = WhyNoRuns(members, from);
		else
			why = WhyNoChunk(members, from);
		if (why != NULL)
			return why;
		behind = key;
	}
	return NULL;
}

/*
 * Why bytes, which may come from anywhere, are no set, or NULL where they are
 * one, in whichever form that the specification allows.
 */
const char *
WhyNoSet(const char *bytes, Size size)
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
		if ((why = WhyNoBucket(&from)) != NULL)
			return why;
		behind = high;
	}
	return from.left == 0 ? NULL : "there are bytes behind their end";
}
