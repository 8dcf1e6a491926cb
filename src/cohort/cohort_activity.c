/*
 * cohort_activity.c
 *		Type activity_summary: in which periods a member was active, as a sparse
 *		bitmap, with the number of events.  It is its own aggregate state.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

#define BLOCK_OF(period)	((period) >> 5)
#define BIT_OF(period)		(((uint32) 1) << ((period) & 31))

/* ---- plain computing ---- */

/*
 * What is wrong with a value, or NULL.
 */
static const char *
ActivitySummaryProblem(const ActivitySummary *a)
{
	Period		period = ActivitySummaryPeriod(a);

	if (!PeriodValid(a->base, a->step))
		return "unknown period";
	for (int i = 0; i < a->nblocks; i++)
	{
		if (a->blocks[i].bits == 0)
			return "empty block";
		if (i > 0 && a->blocks[i].key <= a->blocks[i - 1].key)
			return "blocks out of order";
	}
	if (a->nblocks > 0 &&
		(a->blocks[0].key < BLOCK_OF(PG_INT32_MIN) || a->blocks[a->nblocks - 1].key > BLOCK_OF(PG_INT32_MAX) ||
		 !PeriodExists(&period, ActivitySummaryFirst(a)) || !PeriodExists(&period, ActivitySummaryLast(a))))
		return "a period that holds no instant";
	if (a->nblocks == 0 ? (a->events != 0 || a->first_events != 0)
		: (a->first_events < 1 || a->events - a->first_events < ActivitySummaryCount(a) - 1))
		return "wrong number of events";
	return NULL;
}

Period
ActivitySummaryPeriod(const ActivitySummary *a)
{
	Period		period = {a->base, a->step, a->zone};

	return period;
}

/*
 * The first and the last active period; the value must not be empty.
 */
int32
ActivitySummaryFirst(const ActivitySummary *a)
{
	return a->blocks[0].key * 32 + pg_rightmost_one_pos32(a->blocks[0].bits);
}

int32
ActivitySummaryLast(const ActivitySummary *a)
{
	const ActivitySummaryBlock *b = &a->blocks[a->nblocks - 1];

	return b->key * 32 + pg_leftmost_one_pos32(b->bits);
}

/*
 * The number of active periods.
 */
int32
ActivitySummaryCount(const ActivitySummary *a)
{
	int32		count = 0;

	for (int i = 0; i < a->nblocks; i++)
		count += pg_popcount32(a->blocks[i].bits);
	return count;
}

/*
 * The position of a block, or where it would have to be inserted.
 */
static int
FindBlock(const ActivitySummary *a, int32 key, bool *found)
{
	int			low = 0,
				high = a->nblocks;

	/* mostly there are one or two, or the wanted one is the last */
	if (high > 0 && a->blocks[high - 1].key <= key)
	{
		*found = a->blocks[high - 1].key == key;
		return *found ? high - 1 : high;
	}
	while (low < high)
	{
		int			mid = low + (high - low) / 2;

		if (a->blocks[mid].key < key)
			low = mid + 1;
		else
			high = mid;
	}
	*found = low < a->nblocks && a->blocks[low].key == key;
	return low;
}

/*
 * Was the member active in a period?
 */
bool
ActivitySummaryHas(const ActivitySummary *a, int32 period)
{
	bool		found;
	int			i = FindBlock(a, BLOCK_OF(period), &found);

	return found && (a->blocks[i].bits & BIT_OF(period)) != 0;
}

void
ActivitySummaryRewind(ActivitySummaryCursor *cursor, const ActivitySummary *a)
{
	cursor->a = a;
	cursor->block = 0;
	cursor->bits = a->nblocks > 0 ? a->blocks[0].bits : 0;
}

/*
 * The next active period; false behind the last.
 */
bool
ActivitySummaryNext(ActivitySummaryCursor *cursor, int32 *period)
{
	while (cursor->bits == 0)
	{
		if (cursor->block + 1 >= cursor->a->nblocks)
			return false;
		cursor->bits = cursor->a->blocks[++cursor->block].bits;
	}
	*period = cursor->a->blocks[cursor->block].key * 32 +
		pg_rightmost_one_pos32(cursor->bits);
	cursor->bits &= cursor->bits - 1;
	return true;
}

/*
 * An empty summary with room for some blocks, in the current context.
 */
ActivitySummary *
MakeActivitySummary(const Period *period, int capacity)
{
	ActivitySummary *a = palloc0(ACTIVITY_SUMMARY_SIZE(capacity));

	SET_VARSIZE(a, ACTIVITY_SUMMARY_SIZE(capacity));
	a->version = ACTIVITY_SUMMARY_VERSION;
	a->base = period->base;
	a->step = period->step;
	a->zone = period->zone;
	return a;
}

/*
 * Counts one event.  Works in place while there is room, and otherwise on a
 * larger copy, which it returns.
 */
ActivitySummary *
ActivitySummaryAdd(ActivitySummary *a, int32 period)
{
	bool		found;
	int			i = FindBlock(a, BLOCK_OF(period), &found);
	int32		first = a->nblocks > 0 ? ActivitySummaryFirst(a) : PG_INT32_MAX;

	if (period < first)
		a->first_events = 0;
	if (period <= first)
		a->first_events++;
	a->events = AddCounts(a->events, 1);

	if (found)
	{
		a->blocks[i].bits |= BIT_OF(period);
		return a;
	}

	if (ACTIVITY_SUMMARY_SIZE((Size) a->nblocks + 1) > VARSIZE(a))
	{
		Period		p = ActivitySummaryPeriod(a);
		ActivitySummary *larger = MakeActivitySummary(&p, a->nblocks + Max(1, a->nblocks / 2));
		Size		size = VARSIZE(larger);

		memcpy(larger, a, ACTIVITY_SUMMARY_SIZE(a->nblocks));
		SET_VARSIZE(larger, size);
		a = larger;
	}
	memmove(&a->blocks[i + 1], &a->blocks[i], (a->nblocks - i) * sizeof(ActivitySummaryBlock));
	a->blocks[i].key = BLOCK_OF(period);
	a->blocks[i].bits = BIT_OF(period);
	a->nblocks++;
	return a;
}

/*
 * The union of two values, in fresh memory and without spare room.
 */
static ActivitySummary *
MergeActivitySummary(const ActivitySummary *a, const ActivitySummary *b)
{
	Period		pa = ActivitySummaryPeriod(a),
				pb = ActivitySummaryPeriod(b);
	ActivitySummary *m;
	int			i = 0,
				j = 0;

	CheckSamePeriod(&pa, &pb);
	m = MakeActivitySummary(&pa, a->nblocks + b->nblocks);
	while (i < a->nblocks || j < b->nblocks)
	{
		ActivitySummaryBlock *to = &m->blocks[m->nblocks++];

		CHECK_FOR_INTERRUPTS();
		if (j == b->nblocks || (i < a->nblocks && a->blocks[i].key < b->blocks[j].key))
			*to = a->blocks[i++];
		else if (i == a->nblocks || b->blocks[j].key < a->blocks[i].key)
			*to = b->blocks[j++];
		else
		{
			to->key = a->blocks[i].key;
			to->bits = a->blocks[i++].bits | b->blocks[j++].bits;
		}
	}
	SET_VARSIZE(m, ACTIVITY_SUMMARY_SIZE(m->nblocks));
	m->events = AddCounts(a->events, b->events);
	if (m->nblocks > 0)
	{
		int32		first = ActivitySummaryFirst(m);

		if (a->nblocks > 0 && ActivitySummaryFirst(a) == first)
			m->first_events += a->first_events;
		if (b->nblocks > 0 && ActivitySummaryFirst(b) == first)
			m->first_events += b->first_events;
	}
	return m;
}

/*
 * A copy without spare room: what is stored.
 */
static ActivitySummary *
TrimActivitySummary(const ActivitySummary *a)
{
	ActivitySummary *t = palloc(ACTIVITY_SUMMARY_SIZE(a->nblocks));

	memcpy(t, a, ACTIVITY_SUMMARY_SIZE(a->nblocks));
	SET_VARSIZE(t, ACTIVITY_SUMMARY_SIZE(a->nblocks));
	return t;
}

/*
 * Errors out on a value that another version of the extension wrote.
 */
ActivitySummary *
ActivitySummaryCheckVersion(ActivitySummary *a)
{
	if (VARSIZE(a) < ACTIVITY_SUMMARY_SIZE(0) || a->version != ACTIVITY_SUMMARY_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_COHORT_VALUE),
				 errmsg("this activity_summary has format %d", a->version),
				 errdetail("This version of the extension reads format %d.", ACTIVITY_SUMMARY_VERSION),
				 errhint("Run ALTER EXTENSION loyalty UPDATE.")));
#ifdef USE_ASSERT_CHECKING
	Assert(ACTIVITY_SUMMARY_SIZE((Size) a->nblocks) <= VARSIZE(a) && ActivitySummaryProblem(a) == NULL);
#endif
	return a;
}

static ActivitySummary *
CheckActivitySummary(ActivitySummary *a)
{
	const char *problem = ActivitySummaryProblem(a);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid activity_summary: %s", problem),
				 errdetail("An activity_summary holds a period, counts of events and a sorted set of periods."),
				 errhint("Compute it with activity_agg().")));
	return a;
}

/* ---- input and output ---- */

/*
 * activity_summary_in(cstring), activity_summary_out(activity_summary)
 *		The text form is period@zone:events:first_events:{periods}: the
 *		period's name, the hash of its time zone in hex, and the numbers of
 *		the active periods, with a..b for a run.  It is made for dump and
 *		restore; errors are 22P02.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_summary_in);
Datum
loyalty_activity_summary_in(PG_FUNCTION_ARGS)
{
	char	   *str = PG_GETARG_CSTRING(0);
	char	   *s = str;
	char	   *end;
	char	   *at = strchr(s, '@');
	Period		period;
	ActivitySummary *a;
	int64		events,
				first_events;
	int64		previous = PG_INT64_MIN;

	if (at == NULL || !ParsePeriod(s, at - s, &period))
		goto bad;
	period.zone = strtoul(at + 1, &end, 16);
	if (end == at + 1 || *end != ':')
		goto bad;
	s = end + 1;
	events = strtoll(s, &end, 10);
	if (end == s || *end != ':')
		goto bad;
	s = end + 1;
	first_events = strtoll(s, &end, 10);
	if (end == s || strncmp(end, ":{", 2) != 0)
		goto bad;
	s = end + 2;

	a = MakeActivitySummary(&period, 2);
	while (*s != '}')
	{
		int64		from,
					until;

		from = until = strtoll(s, &end, 10);
		if (end == s)
			goto bad;
		s = end;
		if (strncmp(s, "..", 2) == 0)
		{
			s += 2;
			until = strtoll(s, &end, 10);
			if (end == s)
				goto bad;
			s = end;
		}
		if (from <= previous || until < from || !PeriodExists(&period, from) || !PeriodExists(&period, until))
			goto bad;
		previous = until;
		for (int64 p = from; p <= until; p++)
		{
			CHECK_FOR_INTERRUPTS();
			a = ActivitySummaryAdd(a, (int32) p);
		}
		if (*s == ',')
			s++;
		else if (*s != '}')
			goto bad;
	}
	if (s[1] != '\0')
		goto bad;

	a->events = events;
	a->first_events = first_events;
	if (ActivitySummaryProblem(a) != NULL)
		goto bad;
	PG_RETURN_POINTER(TrimActivitySummary(a));

bad:
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type activity_summary: \"%s\"", str),
			 errdetail("The text form is period@zone:events:first_events:{periods}."),
			 errhint("Compute it with activity_agg().")));
	PG_RETURN_NULL();
}

/*
 * activity_summary_out
 *		Text output, for dump and restore.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_summary_out);
Datum
loyalty_activity_summary_out(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	Period		period = ActivitySummaryPeriod(a);
	char		name[32];
	StringInfoData buf;
	ActivitySummaryCursor cursor;
	int32		p;
	bool		more;
	const char *separator = "";

	FormatPeriod(&period, name, sizeof(name));
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s@%08x:" INT64_FORMAT ":" INT64_FORMAT ":{",
					 name, a->zone, a->events, a->first_events);
	ActivitySummaryRewind(&cursor, a);
	more = ActivitySummaryNext(&cursor, &p);
	while (more)
	{
		int32		from = p,
					until = p;

		CHECK_FOR_INTERRUPTS();
		while ((more = ActivitySummaryNext(&cursor, &p)) && p == until + 1)
			until = p;
		if (from == until)
			appendStringInfo(&buf, "%s%d", separator, from);
		else
			appendStringInfo(&buf, "%s%d..%d", separator, from, until);
		separator = ",";
	}
	appendStringInfoChar(&buf, '}');
	PG_RETURN_CSTRING(buf.data);
}

/*
 * activity_summary_recv(internal), activity_summary_send(activity_summary)
 *		Version byte, period, counts, and the blocks of the bitmap.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_summary_recv);
Datum
loyalty_activity_summary_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgbyte(buf);
	Period		period;
	int			n;
	int64		events,
				first_events;
	ActivitySummary *a;

	if (version != ACTIVITY_SUMMARY_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("this activity_summary has format %d", version),
				 errdetail("This version of the extension reads format %d.", ACTIVITY_SUMMARY_VERSION),
				 errhint("Send it from the same version of the extension.")));
	period.base = pq_getmsgbyte(buf);
	period.step = pq_getmsgint(buf, 2);
	period.zone = pq_getmsgint(buf, 4);
	n = pq_getmsgint(buf, 4);
	events = pq_getmsgint64(buf);
	first_events = pq_getmsgint64(buf);
	if ((Size) n > (Size) (buf->len - buf->cursor) / sizeof(ActivitySummaryBlock))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid activity_summary: the message is too short"),
				 errdetail("It promises %d blocks.", n),
				 errhint("Send it from the same version of the extension.")));
	a = MakeActivitySummary(&period, n);
	a->nblocks = n;
	a->events = events;
	a->first_events = first_events;
	for (int i = 0; i < n; i++)
	{
		a->blocks[i].key = pq_getmsgint(buf, 4);
		a->blocks[i].bits = pq_getmsgint(buf, 4);
	}
	PG_RETURN_POINTER(CheckActivitySummary(a));
}

/*
 * activity_summary_send
 *		Binary output; see the receiving function for the format.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_summary_send);
Datum
loyalty_activity_summary_send(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendbyte(&buf, a->version);
	pq_sendbyte(&buf, a->base);
	pq_sendint16(&buf, a->step);
	pq_sendint32(&buf, a->zone);
	pq_sendint32(&buf, a->nblocks);
	pq_sendint64(&buf, a->events);
	pq_sendint64(&buf, a->first_events);
	for (int i = 0; i < a->nblocks; i++)
	{
		pq_sendint32(&buf, a->blocks[i].key);
		pq_sendint32(&buf, a->blocks[i].bits);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---- the aggregates ---- */

/*
 * activity_agg(at timestamptz, period text, time_zone text) -> activity_summary
 *		Transition.  A row with a NULL instant counts for nothing, but makes
 *		an empty summary of a group that has no other row.  The state is
 *		changed in place; it is a plain value, so it needs no serialization.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_agg_trans);
Datum
loyalty_activity_agg_trans(PG_FUNCTION_ARGS)
{
	PeriodClock *clock = GetPeriodClock(fcinfo, 2, 3);
	ActivitySummary *a;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		a = MakeActivitySummary(&clock->period, 4);	/* as much as a chunk of memory takes */
	else
	{
		Period		period;

		a = DatumGetActivitySummary(PG_GETARG_DATUM(0));
		period = ActivitySummaryPeriod(a);
		CheckSamePeriod(&period, &clock->period);
	}

	if (!PG_ARGISNULL(1))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);

		CheckFiniteInstant(at, "the instant of an event");
		a = ActivitySummaryAdd(a, PeriodOfInstant(clock, at));
	}
	PG_RETURN_POINTER(a);
}

/*
 * activity_agg_final(activity_summary) -> activity_summary: the state without its spare room.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_agg_final);
Datum
loyalty_activity_agg_final(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(TrimActivitySummary(DatumGetActivitySummary(PG_GETARG_DATUM(0))));
}

/*
 * activity_summary_merge(activity_summary, activity_summary) -> activity_summary
 *		The union of two summaries of the same period and time zone (LY341
 *		otherwise); the numbers of events add up.  Also the combine function
 *		of activity_agg.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_summary_merge);
Datum
loyalty_activity_summary_merge(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(MergeActivitySummary(PG_GETARG_ACTIVITY_SUMMARY(0), PG_GETARG_ACTIVITY_SUMMARY(1)));
}

/* ---- accessors ---- */

/*
 * event_count(activity_summary) -> bigint, active_periods(activity_summary) -> integer
 *		How many events there were, and in how many different periods.
 */
PG_FUNCTION_INFO_V1(loyalty_event_count);
Datum
loyalty_event_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(PG_GETARG_ACTIVITY_SUMMARY(0)->events);
}

/*
 * active_periods(activity_summary) -> integer: in how many different periods.
 */
PG_FUNCTION_INFO_V1(loyalty_active_periods);
Datum
loyalty_active_periods(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(ActivitySummaryCount(PG_GETARG_ACTIVITY_SUMMARY(0)));
}

/*
 * first_active(activity_summary) -> date, last_active(activity_summary) -> date
 *		The first day of the first and of the last active period; NULL for an
 *		summary without events, and where that day is before the first date
 *		that PostgreSQL knows.
 */
PG_FUNCTION_INFO_V1(loyalty_first_active);
Datum
loyalty_first_active(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	Period		period = ActivitySummaryPeriod(a);

	if (a->nblocks == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PeriodStart(&period, ActivitySummaryFirst(a), &fcinfo->isnull));
}

/*
 * last_active(activity_summary) -> date: see first_active.
 */
PG_FUNCTION_INFO_V1(loyalty_last_active);
Datum
loyalty_last_active(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	Period		period = ActivitySummaryPeriod(a);

	if (a->nblocks == 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PeriodStart(&period, ActivitySummaryLast(a), &fcinfo->isnull));
}

/*
 * was_active(activity_summary, on_date date) -> boolean
 *		Was the member active in the period that holds the date?
 */
PG_FUNCTION_INFO_V1(loyalty_was_active);
Datum
loyalty_was_active(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	DateADT		date = PG_GETARG_DATEADT(1);
	Period		period = ActivitySummaryPeriod(a);

	if (DATE_NOT_FINITE(date))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(ActivitySummaryHas(a, PeriodOfDate(&period, date)));
}

/*
 * longest_streak(activity_summary) -> integer
 *		The largest number of consecutive active periods; 0 without events.
 */
PG_FUNCTION_INFO_V1(loyalty_longest_streak);
Datum
loyalty_longest_streak(PG_FUNCTION_ARGS)
{
	ActivitySummaryCursor cursor;
	int32		p,
				last = 0,
				streak = 0,
				longest = 0;

	ActivitySummaryRewind(&cursor, PG_GETARG_ACTIVITY_SUMMARY(0));
	while (ActivitySummaryNext(&cursor, &p))
	{
		streak = streak > 0 && p == last + 1 ? streak + 1 : 1;
		longest = Max(longest, streak);
		last = p;
	}
	PG_RETURN_INT32(longest);
}

/*
 * current_streak(activity_summary, on_date date) -> integer
 *		The number of consecutive active periods up to the one that holds the
 *		date.  That period may still be running: without activity in it, the
 *		streak that ended with the period before counts.  Otherwise 0.
 */
PG_FUNCTION_INFO_V1(loyalty_current_streak);
Datum
loyalty_current_streak(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	DateADT		date = PG_GETARG_DATEADT(1);
	Period		period = ActivitySummaryPeriod(a);
	int32		p;
	int32		streak = 0;

	if (DATE_NOT_FINITE(date))
		PG_RETURN_INT32(0);
	p = PeriodOfDate(&period, date);
	if (!ActivitySummaryHas(a, p))
		p--;
	for (; ActivitySummaryHas(a, p); p--)
		streak++;
	PG_RETURN_INT32(streak);
}

/*
 * repurchased_within(activity_summary, periods integer, as_of date) -> boolean
 *		Did a second event follow the first within so many periods?  NULL for
 *		a member whose first event is less than that before as_of (nothing can
 *		be said yet), and without events.  A second event in the same period
 *		counts.  Events after as_of are not left out: the first one decides
 *		who is eligible, and what follows within the span is known by then.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchased_within);
Datum
loyalty_repurchased_within(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	int32		within = PG_GETARG_INT32(1);
	DateADT		as_of = PG_GETARG_DATEADT(2);
	Period		period = ActivitySummaryPeriod(a);
	ActivitySummaryCursor cursor;
	int32		first,
				second;

	if (within < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("the number of periods is %d", within),
				 errdetail("A repurchase lies behind the first purchase."),
				 errhint("Pass a number of periods from 0 up.")));
	if (DATE_NOT_FINITE(as_of))
		CheckFiniteInstant(DATE_IS_NOEND(as_of) ? TIMESTAMP_INFINITY : TIMESTAMP_MINUS_INFINITY,
						   "as_of");
	ActivitySummaryRewind(&cursor, a);
	if (!ActivitySummaryNext(&cursor, &first) ||
		(int64) first + within > PeriodOfDate(&period, as_of))
		PG_RETURN_NULL();
	if (a->first_events > 1)
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(ActivitySummaryNext(&cursor, &second) && second - (int64) first <= within);
}

/*
 * active_dates(activity_summary) -> date[]
 *		The first days of the active periods, in order.
 */
PG_FUNCTION_INFO_V1(loyalty_active_dates);
Datum
loyalty_active_dates(PG_FUNCTION_ARGS)
{
	ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(0);
	Period		period = ActivitySummaryPeriod(a);
	ActivitySummaryCursor cursor;
	Datum	   *dates = palloc(sizeof(Datum) * ActivitySummaryCount(a));
	bool	   *nulls = palloc(sizeof(bool) * ActivitySummaryCount(a));
	int			n = 0;
	int			lower = 1;
	int32		p;

	ActivitySummaryRewind(&cursor, a);
	while (ActivitySummaryNext(&cursor, &p))
	{
		CHECK_FOR_INTERRUPTS();
		dates[n] = PeriodStart(&period, p, &nulls[n]);
		n++;
	}
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(DATEOID));
	PG_RETURN_ARRAYTYPE_P(construct_md_array(dates, nulls, 1, &n, &lower, DATEOID, 4, true, 'i'));
}

/*
 * streaks(activity_summary) -> setof (first_period date, last_period date, periods integer)
 *		Every run of consecutive active periods, in order; the dates are the
 *		first days of its first and last period.
 */
PG_FUNCTION_INFO_V1(loyalty_streaks);
Datum
loyalty_streaks(PG_FUNCTION_ARGS)
{
	typedef struct
	{
		ActivitySummaryCursor cursor;
		Period		period;
		bool		more;
		int32		next;
	} Walk;
	FuncCallContext *funcctx;
	Walk	   *walk;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc	tupdesc;
		ActivitySummary *a;

		funcctx = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "streaks returns rows");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);
		a = ActivitySummaryCheckVersion((ActivitySummary *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0)));
		walk = palloc(sizeof(Walk));
		ActivitySummaryRewind(&walk->cursor, a);
		walk->period = ActivitySummaryPeriod(a);
		walk->more = ActivitySummaryNext(&walk->cursor, &walk->next);
		funcctx->user_fctx = walk;
		MemoryContextSwitchTo(old);
	}
	funcctx = SRF_PERCALL_SETUP();
	walk = (Walk *) funcctx->user_fctx;

	if (walk->more)
	{
		int32		from = walk->next,
					until = walk->next;
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		while ((walk->more = ActivitySummaryNext(&walk->cursor, &walk->next)) && walk->next == until + 1)
			until = walk->next;
		values[0] = PeriodStart(&walk->period, from, &nulls[0]);
		values[1] = PeriodStart(&walk->period, until, &nulls[1]);
		values[2] = Int32GetDatum(until - from + 1);
		SRF_RETURN_NEXT(funcctx,
						HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(funcctx);
}
