/*
 * cohort_events.c
 *		The list of a member's events that funnels and paths are found in.
 *
 * Rows arrive in any order.  The list is sorted by instant; events of one
 * instant stand in the order of their first condition, then of the next, so
 * the order never depends on that of the rows.  Equal events are merged
 * whenever the list is full, so memory grows with the number of different
 * ones.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"

#include "cohort/cohort.h"
#include "core/errors.h"

void
EventListInit(EventList *list, MemoryContext context)
{
	memset(list, 0, sizeof(EventList));
	list->context = context;
	list->sorted = true;
}

static int
CompareEvents(const Event *a, const Event *b)
{
	uint32		differing;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	differing = a->mask ^ b->mask;
	if (differing == 0)
		return 0;
	/* the lowest condition that only one of them meets */
	return (a->mask & differing & -differing) != 0 ? -1 : 1;
}

#define ST_SORT SortEvents
#define ST_ELEMENT_TYPE Event
#define ST_COMPARE(a, b) CompareEvents(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Sorts the list and merges equal events.
 */
void
EventListSort(EventList *list)
{
	Size		to = 0;

	if (list->sorted)
		return;
	SortEvents(list->events, list->n);
	for (Size i = 1; i < list->n; i++)
	{
		Event	   *last = &list->events[to];

		CHECK_FOR_INTERRUPTS();
		if (CompareEvents(last, &list->events[i]) == 0 &&
			(uint64) last->count + list->events[i].count <= PG_UINT32_MAX)
			last->count += list->events[i].count;
		else
			list->events[++to] = list->events[i];
	}
	list->n = to + 1;
	list->sorted = true;
}

void
EventListAdd(EventList *list, int64 at, uint32 mask, uint32 count)
{
	Event		event = {at, mask, count};

	/* a repetition of the last one needs no room */
	if (list->n > 0)
	{
		Event	   *last = &list->events[list->n - 1];
		int			order = CompareEvents(last, &event);

		if (order == 0 && (uint64) last->count + count <= PG_UINT32_MAX)
		{
			last->count += count;
			return;
		}
		if (order >= 0)
			list->sorted = false;
	}

	if (list->n == list->capacity)
	{
		if (!list->sorted)
			EventListSort(list);
		if (list->capacity == 0)
		{
			list->capacity = 4;
			list->events = MemoryContextAlloc(list->context, list->capacity * sizeof(Event));
		}
		else if (list->n > list->capacity / 2)
		{
			list->capacity *= 2;
			list->events = repalloc_huge(list->events, list->capacity * sizeof(Event));
		}
		if (list->n > 0 && CompareEvents(&list->events[list->n - 1], &event) >= 0)
			list->sorted = false;
	}
	list->events[list->n++] = event;
}

/*
 * Adds the events of another list.
 */
void
EventListAppend(EventList *list, const EventList *other)
{
	for (Size i = 0; i < other->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		EventListAdd(list, other->events[i].at, other->events[i].mask, other->events[i].count);
	}
}

void
EventListSend(StringInfo buf, const EventList *list)
{
	pq_sendint32(buf, list->nconditions);
	pq_sendint64(buf, list->n);
	for (Size i = 0; i < list->n; i++)
	{
		pq_sendint64(buf, list->events[i].at);
		pq_sendint32(buf, list->events[i].mask);
		pq_sendint32(buf, list->events[i].count);
	}
}

void
EventListReceive(StringInfo buf, EventList *list)
{
	int64		n;

	list->nconditions = pq_getmsgint(buf, 4);
	n = pq_getmsgint64(buf);
	for (int64 i = 0; i < n; i++)
	{
		int64		at = pq_getmsgint64(buf);
		uint32		mask = pq_getmsgint(buf, 4);
		uint32		count = pq_getmsgint(buf, 4);

		CHECK_FOR_INTERRUPTS();
		EventListAdd(list, at, mask, count);
	}
}

/*
 * Reads an argument boolean[]: bit i is set when condition i + 1 is true.
 * NULL conditions count as false.  LY345 unless there are 1 to 32.
 */
uint32
GetConditions(FunctionCallInfo fcinfo, int argno, int *nconditions)
{
	ArrayType  *array = PG_ARGISNULL(argno) ? NULL : PG_GETARG_ARRAYTYPE_P(argno);
	int			n = array ? ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) : 0;
	bits8	   *nulls;
	const char *data;
	uint32		mask = 0;

	if (n < 1 || n > EVENTS_MAX_CONDITIONS)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_FUNNEL),
				 errmsg("there are %d conditions", n),
				 errdetail("A funnel, a path and a retention have 1 to %d conditions.",
						   EVENTS_MAX_CONDITIONS),
				 errhint("Pass boolean expressions, for example event = 'view', event = 'buy'.")));

	nulls = ARR_NULLBITMAP(array);
	data = ARR_DATA_PTR(array);
	for (int i = 0; i < n; i++)
	{
		if (nulls != NULL && (nulls[i / 8] & (1 << (i % 8))) == 0)
			continue;
		if (*data++)
			mask |= ((uint32) 1) << i;
	}
	*nconditions = n;
	return mask;
}

/*
 * All rows of a group must have the same number of conditions (LY344).
 */
void
CheckConditionCount(EventList *list, int nconditions)
{
	if (list->nconditions == 0)
		list->nconditions = nconditions;
	else if (nconditions != 0 && list->nconditions != nconditions)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ARGUMENT_VARIES),
				 errmsg("the number of conditions changes from %d to %d",
						list->nconditions, nconditions),
				 errdetail("All rows of a group must have the same conditions."),
				 errhint("Pass the conditions one by one, not as an array that varies.")));
}
