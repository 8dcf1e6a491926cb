/*
 * rfm_value.c
 *		Plain computing on the type rfm: add an event, merge, check.
 *
 * Nothing here knows the database beyond ereport.  RfmAddEvent is the inner
 * loop of rfm_agg.
 */
#include "rfm/rfm.h"

#include "core/core.h"
#include "core/errors.h"

/* The value that changes nothing when it is merged. */
void
RfmInitEmpty(rfm *s)
{
	memset(s, 0, sizeof(rfm));
	s->version = RFM_VERSION;
	s->first = TIMESTAMP_INFINITY;
	s->second = TIMESTAMP_INFINITY;
	s->previous = TIMESTAMP_MINUS_INFINITY;
	s->last = TIMESTAMP_MINUS_INFINITY;
}

/*
 * Gives s room for this many decimals.  Whether it overflows depends only on
 * the sums and the decimals reached in the end, not on the order: no sum ever
 * shrinks, and no scale does.
 */
static void
RaiseDecimals(rfm *s, int decimals)
{
	s->bought = RfmRescale(s->bought, s->decimals, decimals);
	s->refunded = RfmRescale(s->refunded, s->decimals, decimals);
	s->first_bought = RfmRescale(s->first_bought, s->decimals, decimals);
	s->decimals = (uint8) decimals;
}

/*
 * Adds one event: an amount in units of its own decimals, at a finite instant.
 */
void
RfmAddEvent(rfm *s, TimestampTz at, int128 units, int decimals)
{
	if (decimals != s->decimals)
	{
		if (decimals > s->decimals)
			RaiseDecimals(s, decimals);
		else
			units = RfmRescale(units, decimals, s->decimals);
	}

	if (units < 0)
	{
		s->refunds = AddCounts(s->refunds, 1);
		s->refunded = RfmAddUnits(s->refunded, units);
		return;
	}

	s->purchases = AddCounts(s->purchases, 1);
	s->bought = RfmAddUnits(s->bought, units);

	if (at > s->last)
	{
		s->previous = s->last;
		s->last = at;
	}
	else if (at > s->previous && at < s->last)
		s->previous = at;

	if (at < s->first)
	{
		s->second = s->first;
		s->first = at;
		s->first_purchases = 1;
		s->first_bought = units;
	}
	else if (at == s->first)
	{
		s->first_purchases++;
		s->first_bought += units;	/* at most bought, which was checked */
	}
	else if (at < s->second)
		s->second = at;
}

/* Merges other into s: the same as adding the events of both. */
void
RfmMerge(rfm *s, const rfm *other)
{
	int128		bought = other->bought;
	int128		refunded = other->refunded;
	int128		first_bought = other->first_bought;
	TimestampTz first;

	if (other->purchases == 0 && other->refunds == 0)
		return;
	if (s->purchases == 0 && s->refunds == 0)
	{
		*s = *other;
		return;
	}

	if (s->unit != other->unit)
		s->unit = RFM_UNIT_MIXED;
	if (s->decimals < other->decimals)
		RaiseDecimals(s, other->decimals);
	else if (s->decimals > other->decimals)
	{
		bought = RfmRescale(bought, other->decimals, s->decimals);
		refunded = RfmRescale(refunded, other->decimals, s->decimals);
		first_bought = RfmRescale(first_bought, other->decimals, s->decimals);
	}

	s->bought = RfmAddUnits(s->bought, bought);
	s->refunded = RfmAddUnits(s->refunded, refunded);
	s->purchases = AddCounts(s->purchases, other->purchases);
	s->refunds = AddCounts(s->refunds, other->refunds);

	/* the two smallest different instants of four, and the two largest */
	first = Min(s->first, other->first);
	s->second = Min(Min(s->first > first ? s->first : s->second,
						other->first > first ? other->first : other->second),
					Min(s->second, other->second));
	if (other->first < s->first)
	{
		s->first_purchases = other->first_purchases;
		s->first_bought = first_bought;
	}
	else if (other->first == s->first)
	{
		s->first_purchases += other->first_purchases;
		s->first_bought += first_bought;
	}
	s->first = first;

	if (other->last > s->last)
	{
		s->previous = Max(s->last, other->previous);
		s->last = other->last;
	}
	else if (other->last < s->last)
		s->previous = Max(s->previous, other->last);
	else
		s->previous = Max(s->previous, other->previous);
	Assert(RfmProblem(s) == NULL);
}

/* How many of the last decimals of the scale must be zero. */
static bool
IsMultiple(int128 units, int decimals)
{
	static const int power[] = {1, 10, 100, 1000};

	return units % power[RfmScale(decimals) - decimals] == 0;
}

/*
 * The invariant: NULL when the value can have come from events, otherwise what
 * is wrong with it.  Everything that comes in from outside passes here.
 */
const char *
RfmProblem(const rfm *s)
{
	static const uint8 zeros[sizeof(s->reserved)] = {0};

	if (s->version != RFM_VERSION)
		return "the version is unknown";
	if (s->unit > RFM_UNIT_LAST)
		return "the unit is unknown";
	if (s->decimals > RFM_MAX_DECIMALS)
		return "there are more than 36 decimals";
	if (memcmp(s->reserved, zeros, sizeof(zeros)) != 0)
		return "reserved bytes are in use";
	if (s->purchases < 0 || s->refunds < 0 || s->first_purchases < 0)
		return "a count is negative";
	if (s->bought < 0 || s->first_bought < 0 || s->refunded > 0)
		return "a sum has the wrong sign";
	if (!IsMultiple(s->bought, s->decimals) || !IsMultiple(s->refunded, s->decimals) ||
		!IsMultiple(s->first_bought, s->decimals))
		return "a sum has more decimals than stated";
	if (s->refunded > -(int128) s->refunds || (s->refunds == 0 && s->refunded != 0))
		return "number and sum of the refunds do not fit";

	if (s->purchases == 0)
	{
		if (s->first != TIMESTAMP_INFINITY || s->second != TIMESTAMP_INFINITY ||
			s->previous != TIMESTAMP_MINUS_INFINITY || s->last != TIMESTAMP_MINUS_INFINITY)
			return "there is an instant but no purchase";
		if (s->bought != 0 || s->first_purchases != 0 || s->first_bought != 0)
			return "there is an amount but no purchase";
		if (s->refunds == 0 && (s->decimals != 0 || s->unit != RFM_UNIT_ROW))
			return "the empty value has no decimals and no unit";
		return NULL;
	}

	if (!IS_VALID_TIMESTAMP(s->first) || !IS_VALID_TIMESTAMP(s->last) || s->first > s->last)
		return "first and last do not fit";
	if (s->first_purchases < 1 || s->first_purchases > s->purchases || s->first_bought > s->bought)
		return "the purchases at the first instant do not fit";
	if (s->first == s->last)
	{
		if (s->second != TIMESTAMP_INFINITY || s->previous != TIMESTAMP_MINUS_INFINITY)
			return "second and previous need a later purchase";
		if (s->first_purchases != s->purchases || s->first_bought != s->bought)
			return "all purchases are at the first instant";
		return NULL;
	}
	if (s->second <= s->first || s->second > s->last ||
		s->previous < s->first || s->previous >= s->last)
		return "second and previous do not fit";
	if ((s->second == s->last) != (s->previous == s->first))
		return "second and previous do not fit";
	if (s->second < s->last && s->second > s->previous)
		return "second and previous do not fit";
	if (s->purchases - s->first_purchases <
		1 + (s->second < s->last) + (s->second < s->previous && s->previous < s->last))
		return "there are fewer purchases than instants";
	return NULL;
}

/*
 * Errors out unless as_of is finite and not before the last purchase: a
 * summary knows nothing of what came before its last purchase.
 */
void
RfmCheckAsOf(const rfm *s, TimestampTz as_of)
{
	if (unlikely(TIMESTAMP_NOT_FINITE(as_of)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_INSTANT),
				 errmsg("as_of must be a finite instant"),
				 errdetail("Recency is counted up to an instant."),
				 errhint("Pass the instant as of which to ask, for example now().")));
	if (unlikely(as_of < s->last))
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_INSTANT),
				 errmsg("as_of %s is before the last purchase of the summary",
						timestamptz_to_str(as_of)),
				 errdetail("A summary cannot be asked as of an instant that its events have passed."),
				 errhint("Leave later events out when aggregating: rfm_agg(at, amount) FILTER (WHERE at <= as_of).")));
}

/* Errors out on a value that another version of the extension wrote. */
rfm *
RfmCheckVersion(rfm *s)
{
	if (unlikely(s->version != RFM_VERSION))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("rfm value has version %d, expected %d", s->version, RFM_VERSION),
				 errhint("Install the version of the extension that wrote it, or build the summary again.")));
	return s;
}
