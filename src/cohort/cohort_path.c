/*
 * cohort_path.c
 *		Patterns over a member's events.
 *
 * The pattern language is that which the documentation of ClickHouse gives
 * for sequenceMatch: (?N) is an event that meets condition N, . is any
 * event, .* any number of events, and (?t op seconds) bounds the time between
 * the event before and the event after it, with any events between them.
 * Only events that meet at least one condition take part.
 */
#include "postgres.h"

#include "common/int.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

/* ---- plain computing: reading a pattern ---- */

static bool
ReadNumber(const char **s, int64 *number)
{
	const char *from = *s;

	for (*number = 0; **s >= '0' && **s <= '9'; (*s)++)
	{
		if (*number > PG_INT64_MAX / USECS_PER_SEC / 10 - 1)
			return false;
		*number = *number * 10 + (**s - '0');
	}
	return *s > from;
}

/*
 * Reads a pattern.  Returns NULL, or what is wrong, with where it is.
 */
static const char *
ParsePath(const char *str, PathPattern *pattern, int *where)
{
	PathGap		gap = PATH_ADJACENT;
	int64		at_least = 0,
				at_most = PG_INT64_MAX;
	const char *s = str;

	memset(pattern, 0, sizeof(PathPattern));
	while (*s != '\0')
	{
		PathElement *element = &pattern->elements[pattern->n];
		uint32		mask = 0;
		int64		number;

		*where = s - str;
		if (strncmp(s, ".*", 2) == 0)
		{
			s += 2;
			if (gap == PATH_ADJACENT)
				gap = PATH_ANY;
			continue;
		}
		if (*s == '.')
			s++;
		else if (strncmp(s, "(?t", 3) == 0)
		{
			char		op = s[3];
			bool		strict = op != '\0' && s[4] != '=';

			if (pattern->n == 0)
				return "a time needs an event before it";
			if ((op != '<' && op != '>' && op != '=') || (op == '=' && strict))
				return "a time has one of the operators >=, >, <, <= and ==";
			s += strict ? 4 : 5;
			if (!ReadNumber(&s, &number) || *s != ')')
				return "a time ends with a whole number of seconds and a parenthesis";
			s++;
			gap = PATH_TIMED;
			if (op != '<')
				at_least = Max(at_least, number * USECS_PER_SEC + strict);
			if (op != '>')
				at_most = Min(at_most, number * USECS_PER_SEC - strict);
			continue;
		}
		else if (strncmp(s, "(?", 2) == 0)
		{
			s += 2;
			if (!ReadNumber(&s, &number) || *s != ')' || number < 1 || number > EVENTS_MAX_CONDITIONS)
				return "an event is (?N) with the number of a condition";
			s++;
			mask = ((uint32) 1) << (number - 1);
			pattern->highest = Max(pattern->highest, (int) number);
		}
		else
			return "only (?N), (?t op seconds), . and .* can stand here";

		if (pattern->n == PATH_MAX_ELEMENTS)
			return "the pattern is too long";
		element->mask = mask;
		element->gap = gap;
		element->at_least = at_least;
		element->at_most = at_most;
		pattern->n++;
		gap = PATH_ADJACENT;
		at_least = 0;
		at_most = PG_INT64_MAX;
	}
	*where = s - str;
	if (gap == PATH_TIMED)
		return "a time needs an event behind it";
	return NULL;
}

/* ---- plain computing: finding it ---- */

/*
 * Where the elements up to one of them can have been matched: at the last
 * event, anywhere so far, and, when the next gap is timed, at which instants
 * (ascending, each once).
 */
typedef struct PathProgress
{
	bool		at_last;
	bool		anywhere;
	int64		n;
	int64		first;			/* instants before this one are too old */
	int64		capacity;
	int64	   *instants;
} PathProgress;

/*
 * Is there an instant between from and until?
 */
static bool
HasInstant(PathProgress *p, int64 from, int64 until)
{
	int64		low,
				high;

	/* what is too old now stays too old */
	while (p->first < p->n && p->instants[p->first] < from)
		p->first++;
	low = p->first;
	high = p->n;
	if (low == high)
		return false;
	return p->instants[low] <= until;
}

static void
AddInstant(PathProgress *p, int64 at)
{
	if (p->n > 0 && p->instants[p->n - 1] == at)
		return;
	if (p->n == p->capacity)
	{
		if (p->first > p->n / 2)
		{
			memmove(p->instants, p->instants + p->first, (p->n - p->first) * sizeof(int64));
			p->n -= p->first;
			p->first = 0;
		}
		else if (p->capacity == 0)
		{
			p->capacity = 8;
			p->instants = palloc(p->capacity * sizeof(int64));
		}
		else
		{
			p->capacity *= 2;
			p->instants = repalloc_huge(p->instants, p->capacity * sizeof(int64));
		}
	}
	p->instants[p->n++] = at;
}

/*
 * The number of chains of events that match the pattern and do not overlap:
 * the search for the next one begins behind the event that completed the one
 * before.  With first_only, at most 1.  A pattern that takes no event is
 * matched by each event.  The list must be sorted.
 */
static int64
CountPaths(const EventList *list, const PathPattern *pattern, bool first_only)
{
	PathProgress *progress;
	int64		found = 0;
	int			n = pattern->n;

	if (n == 0)
	{
		for (Size i = 0; i < list->n; i++)
			found += list->events[i].count;
		return first_only ? Min(found, 1) : found;
	}

	progress = palloc0(n * sizeof(PathProgress));
	for (Size i = 0; i < list->n; i++)
	{
		const Event *e = &list->events[i];

		/* more repetitions than elements change nothing, unless they count */
		uint32		turns = first_only ? Min(e->count, (uint32) n + 1) : e->count;

		for (uint32 turn = 0; turn < turns; turn++)
		{
			bool		complete = false;

			CHECK_FOR_INTERRUPTS();
			/* from the end: each element sees what came before this event */
			for (int k = n - 1; k >= 0; k--)
			{
				const PathElement *element = &pattern->elements[k];
				bool		matched = element->mask == 0 || (e->mask & element->mask) != 0;

				if (matched && k > 0)
				{
					PathProgress *before = &progress[k - 1];

					if (element->gap == PATH_ADJACENT)
						matched = before->at_last;
					else if (element->gap == PATH_ANY)
						matched = before->anywhere;
					else
					{
						int64		from,
									until;

						if (pg_sub_s64_overflow(e->at, element->at_most, &from))
							from = PG_INT64_MIN;
						matched = !pg_sub_s64_overflow(e->at, element->at_least, &until) &&
							HasInstant(before, from, until);
					}
				}
				progress[k].at_last = matched;
				if (matched)
				{
					progress[k].anywhere = true;
					if (k < n - 1 && pattern->elements[k + 1].gap == PATH_TIMED)
						AddInstant(&progress[k], e->at);
					complete = complete || k == n - 1;
				}
			}
			if (complete)
			{
				found++;
				if (first_only)
					return found;
				for (int k = 0; k < n; k++)
				{
					progress[k].at_last = progress[k].anywhere = false;
					progress[k].n = progress[k].first = 0;
				}
			}
		}
	}
	return found;
}

/* ---- the aggregates ---- */

typedef struct PathState
{
	int			pattern_len;
	char	   *pattern_text;
	PathPattern *pattern;		/* only as many elements as it has */
	EventList	list;
} PathState;

static PathState *
MakePath(MemoryContext context, const char *str, int len)
{
	PathState  *state = MemoryContextAllocZero(context, sizeof(PathState));
	PathPattern pattern;
	int			where = 0;
	const char *problem;

	state->pattern_len = len;
	state->pattern_text = MemoryContextAlloc(context, len + 1);
	memcpy(state->pattern_text, str, len);
	state->pattern_text[len] = '\0';
	problem = ParsePath(state->pattern_text, &pattern, &where);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_PATTERN),
				 errmsg("invalid pattern \"%s\" at character %d: %s", state->pattern_text, where + 1, problem),
				 errdetail("A pattern has up to %d events: (?N) meets condition N, . is any event, .* any number, (?t<=60) bounds the seconds between two events.",
						   PATH_MAX_ELEMENTS),
				 errhint("Write for example '(?1).*(?2)(?t<=3600)(?3)'.")));
	state->pattern = MemoryContextAlloc(context, offsetof(PathPattern, elements) + pattern.n * sizeof(PathElement));
	memcpy(state->pattern, &pattern, offsetof(PathPattern, elements) + pattern.n * sizeof(PathElement));
	EventListInit(&state->list, context);
	return state;
}

static void
CheckPath(PathState *state, const char *str, int len, int nconditions)
{
	if (len != state->pattern_len || memcmp(str, state->pattern_text, len) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ARGUMENT_VARIES),
				 errmsg("the pattern of a path changes within a group"),
				 errdetail("It was \"%s\" and is \"%s\".",
						   state->pattern_text, pnstrdup(str, len)),
				 errhint("Pass a constant.")));
	CheckConditionCount(&state->list, nconditions);
	if (state->list.nconditions < state->pattern->highest)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_PATTERN),
				 errmsg("the pattern \"%s\" names condition %d, but there are %d",
						state->pattern_text, state->pattern->highest, state->list.nconditions),
				 errdetail("Conditions are counted from 1, in the order of the arguments."),
				 errhint("Pass the missing conditions, or correct the pattern.")));
}

/*
 * sequence_match_agg(pattern text, at timestamptz, VARIADIC conditions boolean[]) -> boolean
 * sequence_count_agg(pattern text, at timestamptz, VARIADIC conditions boolean[]) -> bigint
 *		Transition of both.  Rows with a NULL instant are skipped, NULL
 *		conditions are false.  LY346 for a pattern that is NULL or cannot be
 *		read; LY345 for more than 32 conditions; LY344 when the pattern or
 *		the number of conditions varies; LY342 for an infinite instant.
 */
PG_FUNCTION_INFO_V1(loyalty_sequence_trans);
Datum
loyalty_sequence_trans(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	PathState  *state = PG_ARGISNULL(0) ? NULL : (PathState *) PG_GETARG_POINTER(0);
	text	   *pattern;
	int			n;
	uint32		mask = GetConditions(fcinfo, 3, &n);

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_PATTERN),
				 errmsg("the pattern of a path is NULL"),
				 errdetail("There is nothing to look for."),
				 errhint("Write for example '(?1).*(?2)'.")));
	pattern = PG_GETARG_TEXT_PP(1);
	if (state == NULL)
		state = MakePath(context, VARDATA_ANY(pattern), VARSIZE_ANY_EXHDR(pattern));
	CheckPath(state, VARDATA_ANY(pattern), VARSIZE_ANY_EXHDR(pattern), n);
	if (!PG_ARGISNULL(2))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);

		CheckFiniteInstant(at, "the instant of an event");
		if (mask != 0)
			EventListAdd(&state->list, at, mask, 1);
	}
	PG_RETURN_POINTER(state);
}

/*
 * sequence_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_sequence_combine);
Datum
loyalty_sequence_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	PathState  *a = PG_ARGISNULL(0) ? NULL : (PathState *) PG_GETARG_POINTER(0);
	PathState  *b = PG_ARGISNULL(1) ? NULL : (PathState *) PG_GETARG_POINTER(1);

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakePath(context, b->pattern_text, b->pattern_len);
	CheckPath(a, b->pattern_text, b->pattern_len, b->list.nconditions);
	EventListAppend(&a->list, &b->list);
	PG_RETURN_POINTER(a);
}

/*
 * sequence_serialize
 *		The state field by field, for another process of the same server.
 */
PG_FUNCTION_INFO_V1(loyalty_sequence_serialize);
Datum
loyalty_sequence_serialize(PG_FUNCTION_ARGS)
{
	PathState  *state = (PathState *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	EventListSort(&state->list);
	pq_begintypsend(&buf);
	pq_sendint32(&buf, state->pattern_len);
	pq_sendbytes(&buf, state->pattern_text, state->pattern_len);
	EventListSend(&buf, &state->list);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * sequence_deserialize
 *		Reads what the serialization wrote; anything behind it is an error.
 */
PG_FUNCTION_INFO_V1(loyalty_sequence_deserialize);
Datum
loyalty_sequence_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	PathState  *state;
	StringInfoData buf;
	int			len;

	(void) AggregateContext(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	len = pq_getmsgint(&buf, 4);
	state = MakePath(CurrentMemoryContext, pq_getmsgbytes(&buf, len), len);
	EventListReceive(&buf, &state->list);
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(state);
}

/*
 * sequence_match_final(internal) -> boolean, sequence_count_final(internal) -> bigint
 *		NULL for a group without rows.
 */
PG_FUNCTION_INFO_V1(loyalty_sequence_match_final);
Datum
loyalty_sequence_match_final(PG_FUNCTION_ARGS)
{
	PathState  *state;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (PathState *) PG_GETARG_POINTER(0);
	EventListSort(&state->list);
	PG_RETURN_BOOL(CountPaths(&state->list, state->pattern, true) > 0);
}

/*
 * sequence_count_final(internal) -> bigint; NULL for a group without rows.
 */
PG_FUNCTION_INFO_V1(loyalty_sequence_count_final);
Datum
loyalty_sequence_count_final(PG_FUNCTION_ARGS)
{
	PathState  *state;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (PathState *) PG_GETARG_POINTER(0);
	EventListSort(&state->list);
	PG_RETURN_INT64(CountPaths(&state->list, state->pattern, false));
}
