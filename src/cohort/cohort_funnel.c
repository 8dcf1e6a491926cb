/*
 * cohort_funnel.c
 *		How far a member went through a chain of conditions within a window,
 *		and whether it met several conditions.
 *
 * The semantics are those that the documentation of ClickHouse gives for
 * windowFunnel and retention ("Parametric aggregate functions" and
 * "Aggregate functions" of its SQL reference).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

static const struct
{
	const char *name;
	int			bit;
}			funnel_modes[] =
{
	{"strict_deduplication", FUNNEL_STRICT_DEDUPLICATION},
	{"strict_order", FUNNEL_STRICT_ORDER},
	{"strict_increase", FUNNEL_STRICT_INCREASE},
	{"strict_once", FUNNEL_STRICT_ONCE},
	{"allow_reentry", FUNNEL_ALLOW_REENTRY},
	{"any_order", FUNNEL_ANY_ORDER}
};

#define WINDOW_FUNNEL_MODES	(FUNNEL_STRICT_DEDUPLICATION | FUNNEL_STRICT_ORDER | FUNNEL_STRICT_INCREASE | \
							 FUNNEL_STRICT_ONCE | FUNNEL_ALLOW_REENTRY)
#define FUNNEL_MODES		(FUNNEL_STRICT_INCREASE | FUNNEL_ANY_ORDER)

/* ---- plain computing ---- */

/*
 * A chain that has reached some level: when it began.  A later beginning
 * leaves more of the window, so only the latest is kept for each level.
 */
typedef struct Chain
{
	bool		reached;
	int64		start;
} Chain;

static inline bool
InWindow(int64 start, int64 at, int64 window)
{
	return (uint64) at - (uint64) start <= (uint64) window;
}

static inline void
Reach(Chain *chain, int64 start)
{
	if (!chain->reached || start > chain->start)
	{
		chain->reached = true;
		chain->start = start;
	}
}

/*
 * Finds a row of its own for one more level: an augmenting path in the
 * bipartite graph of levels and rows.
 */
static bool
Augment(const Event *rows, int nrows, int level, uint32 *used,
		uint32 *capacity_left, bool *tried)
{
	for (int r = 0; r < nrows; r++)
	{
		if ((rows[r].mask & (((uint32) 1) << level)) == 0 || tried[r])
			continue;
		tried[r] = true;
		if (capacity_left[r] > 0)
		{
			capacity_left[r]--;
			used[r] |= ((uint32) 1) << level;
			return true;
		}
		for (int other = 0; other < EVENTS_MAX_CONDITIONS; other++)
		{
			if ((used[r] & (((uint32) 1) << other)) == 0)
				continue;
			/* could that level take another row? */
			if (Augment(rows, nrows, other, used, capacity_left, tried))
			{
				used[r] &= ~(((uint32) 1) << other);
				used[r] |= ((uint32) 1) << level;
				return true;
			}
		}
	}
	return false;
}

/*
 * strict_once: the rows of one instant lengthen the chains, each row taking
 * one level at most.  The order of rows of one instant does not matter.
 */
static void
StepOnce(Chain *chains, int levels, const Event *rows, int nrows, int64 window)
{
	Chain		before[EVENTS_MAX_CONDITIONS + 1];
	int64		at = rows[0].at;
	bool	   *tried = palloc(sizeof(bool) * nrows);
	uint32	   *capacity = palloc(sizeof(uint32) * nrows);
	uint32	   *used = palloc(sizeof(uint32) * nrows);

	/* before[l]: a chain that has reached level l; level 0 starts here */
	before[0].reached = true;
	before[0].start = at;
	memcpy(&before[1], chains, levels * sizeof(Chain));

	for (int from = 0; from < levels; from++)
	{
		if (!before[from].reached || !InWindow(before[from].start, at, window))
			continue;
		for (int r = 0; r < nrows; r++)
		{
			capacity[r] = rows[r].count;
			used[r] = 0;
		}
		for (int level = from; level < levels; level++)
		{
			CHECK_FOR_INTERRUPTS();
			memset(tried, 0, sizeof(bool) * nrows);
			if (!Augment(rows, nrows, level, used, capacity, tried))
				break;
			Reach(&chains[level], before[from].start);
		}
	}
	pfree(tried);
	pfree(capacity);
	pfree(used);
}

/*
 * The level without strict_order: any events may lie between those of a chain.
 */
static int
FreeLevel(const EventList *list, int64 window, int modes)
{
	int			levels = list->nconditions;
	Chain		chains[EVENTS_MAX_CONDITIONS];
	int			best = 0;
	Size		i = 0;

	memset(chains, 0, sizeof(chains));
	while (i < list->n && best < levels)
	{
		const Event *rows = &list->events[i];
		int64		at = rows[0].at;
		uint32		met = 0;	/* conditions met at this instant, */
		uint32		repeated = 0;	/* and those met more than once */
		Size		n = 0;

		CHECK_FOR_INTERRUPTS();
		for (; i + n < list->n && rows[n].at == at; n++)
		{
			repeated |= (met | (rows[n].count > 1 ? rows[n].mask : 0)) & rows[n].mask;
			met |= rows[n].mask;
		}

		if (modes & FUNNEL_STRICT_DEDUPLICATION)
		{
			/* the first condition starts anew, it does not repeat */
			for (int level = 1; level < levels; level++)
				if ((met & (((uint32) 1) << level)) && chains[level].reached)
					return best;
		}

		if ((modes & FUNNEL_STRICT_ONCE) && !(modes & FUNNEL_STRICT_INCREASE))
			StepOnce(chains, levels, rows, (int) n, window);
		else
		{
			/*
			 * Upwards one row may take several levels; downwards each level
			 * sees what was reached before this instant.
			 */
			for (int k = 0; k < levels; k++)
			{
				int			level = (modes & FUNNEL_STRICT_INCREASE) ? levels - 1 - k : k;

				if ((met & (((uint32) 1) << level)) == 0)
					continue;
				if (level == 0)
					Reach(&chains[0], at);
				else if (chains[level - 1].reached &&
						 InWindow(chains[level - 1].start, at, window))
					Reach(&chains[level], chains[level - 1].start);
			}
		}

		for (int level = best; level < levels; level++)
			if (chains[level].reached)
				best = level + 1;
		if (modes & FUNNEL_STRICT_DEDUPLICATION)
		{
			for (int level = 1; level < levels; level++)
				if ((repeated & (((uint32) 1) << level)) && chains[level].reached)
					return best;
		}
		i += n;
	}
	return best;
}

/*
 * The level with strict_order: once a chain has begun, an event may take it
 * on, begin it anew while only the first condition is met, or repeat a later
 * condition that it has met.  Any other ends the search; allow_reentry passes
 * over those that meet some condition out of turn, the first one included.  A
 * chain whose window is over ends too, and the first condition begins the next.
 */
static int
OrderedLevel(const EventList *list, int64 window, int modes)
{
	int			levels = list->nconditions;
	bool		one_at_once = (modes & (FUNNEL_STRICT_INCREASE | FUNNEL_STRICT_ONCE)) != 0;
	int			best = 0;
	int			level = 0;		/* what the current chain has reached */
	int64		start = 0;
	int64		last = 0;

	for (Size i = 0; i < list->n && best < levels; i++)
	{
		const Event *e = &list->events[i];
		uint32		turns = Min(e->count, EVENTS_MAX_CONDITIONS + 1);
		bool		first = (e->mask & 1) != 0;

		CHECK_FOR_INTERRUPTS();
		for (uint32 turn = 0; turn < turns && best < levels; turn++)
		{
			if (level > 0 && !InWindow(start, e->at, window))
				level = 0;

			if (level == 0)
			{
				if (!first)
					continue;
				start = e->at;
			}
			else if ((modes & FUNNEL_STRICT_INCREASE) && e->at <= last)
				continue;
			else
			{
				/* the conditions met, without the first */
				uint32		met = ((((uint32) 1) << level) - 1) & ~((uint32) 1);

				if ((modes & FUNNEL_STRICT_DEDUPLICATION) && (e->mask & met))
					return best;
				if ((e->mask & (((uint32) 1) << level)) == 0)
				{
					if (first && level == 1)
						start = last = e->at;	/* begins anew, with a later window */
					else if ((e->mask & met) == 0 &&
							 (e->mask == 0 || !(modes & FUNNEL_ALLOW_REENTRY)))
						return best;
					continue;
				}
			}

			do
				level++;
			while (!one_at_once && level < levels && (e->mask & (((uint32) 1) << level)));
			last = e->at;
			best = Max(best, level);
		}
	}
	return best;
}

/*
 * The longest chain: the number of conditions, from the first on, that events
 * met one after the other, all within window microseconds of the first.  The
 * list must be sorted.
 */
int
FunnelLevel(const EventList *list, int64 window, int modes)
{
	if (modes & FUNNEL_STRICT_ORDER)
		return OrderedLevel(list, window, modes);
	return FreeLevel(list, window, modes);
}

/* ---- arguments ---- */

typedef struct FunnelState
{
	int64		window;
	int32		modes;
	EventList	list;
} FunnelState;

/*
 * The modes named in a text, separated by commas, of those allowed; NULL and
 * '' are none.
 */
static int
ReadModes(FunctionCallInfo fcinfo, int argno, int allowed)
{
	text	   *arg;
	const char *s;
	const char *end;
	int			modes = 0;

	if (PG_ARGISNULL(argno))
		return 0;
	arg = PG_GETARG_TEXT_PP(argno);
	s = VARDATA_ANY(arg);
	end = s + VARSIZE_ANY_EXHDR(arg);
	while (s < end)
	{
		const char *name;
		size_t		len;
		bool		found = false;

		if (*s == ' ' || *s == ',')
		{
			s++;
			continue;
		}
		name = s;
		while (s < end && *s != ',' && *s != ' ')
			s++;
		len = s - name;
		for (size_t m = 0; m < lengthof(funnel_modes); m++)
		{
			if ((funnel_modes[m].bit & allowed) && strlen(funnel_modes[m].name) == len &&
				memcmp(funnel_modes[m].name, name, len) == 0)
			{
				modes |= funnel_modes[m].bit;
				found = true;
			}
		}
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_FUNNEL),
					 errmsg("\"%s\" is not a mode of a funnel", pnstrdup(name, len)),
					 allowed == WINDOW_FUNNEL_MODES ?
					 errdetail("Modes are strict_deduplication, strict_order, strict_increase, strict_once and allow_reentry.") :
					 errdetail("Modes are any_order and strict_increase."),
					 errhint("Pass NULL, one mode, or several separated by commas.")));
	}
	if (modes == FUNNEL_MODES)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_FUNNEL),
				 errmsg("any_order and strict_increase stand together"),
				 errdetail("Steps in any order have none in which they could increase."),
				 errhint("Pass one of the two.")));
	if ((modes & FUNNEL_ALLOW_REENTRY) && !(modes & FUNNEL_STRICT_ORDER))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_FUNNEL),
				 errmsg("allow_reentry stands without strict_order"),
				 errdetail("It relaxes strict_order and has no effect by itself."),
				 errhint("Pass 'strict_order, allow_reentry'.")));
	return modes;
}

/*
 * The window in microseconds; a day counts 24 hours.
 */
static int64
ReadWindow(FunctionCallInfo fcinfo, int argno)
{
	Interval   *window;
	int64		days;
	int64		result;

	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_FUNNEL),
				 errmsg("the window of a funnel is NULL"),
				 errdetail("A chain must end within the window of its first event."),
				 errhint("Pass an interval, for example '7 days'.")));
	window = PG_GETARG_INTERVAL_P(argno);
	days = (int64) window->day * USECS_PER_DAY;
	if (window->month != 0 ||
		pg_add_s64_overflow(days, window->time, &result) || result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_FUNNEL),
				 errmsg("the window of a funnel is %s",
						DatumGetCString(DirectFunctionCall1(interval_out,
															IntervalPGetDatum(window)))),
				 errdetail("A window has a fixed length of 0 or more: days of 24 hours, hours, minutes and seconds, no months."),
				 errhint("Pass for example '30 days' instead of '1 month'.")));
	return result;
}

/* What was read last from the arguments that are the same for every row. */
typedef struct FunnelArguments
{
	bool		valid;
	Interval	window;
	int			modes_len;		/* -1: NULL */
	char		modes_text[128];
	int64		microseconds;
	int			modes;
} FunnelArguments;

static FunnelArguments *
ReadArguments(FunctionCallInfo fcinfo, int allowed)
{
	FunnelArguments *kept = (FunnelArguments *) fcinfo->flinfo->fn_extra;
	text	   *modes = PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2);
	int			modes_len = modes == NULL ? -1 : (int) VARSIZE_ANY_EXHDR(modes);

	if (kept == NULL)
		kept = fcinfo->flinfo->fn_extra =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(FunnelArguments));
	if (kept->valid && !PG_ARGISNULL(1) &&
		memcmp(&kept->window, PG_GETARG_INTERVAL_P(1), sizeof(Interval)) == 0 &&
		kept->modes_len == modes_len &&
		(modes == NULL || memcmp(kept->modes_text, VARDATA_ANY(modes), modes_len) == 0))
		return kept;

	kept->valid = false;
	kept->microseconds = ReadWindow(fcinfo, 1);
	kept->modes = ReadModes(fcinfo, 2, allowed);
	kept->window = *PG_GETARG_INTERVAL_P(1);
	kept->modes_len = modes_len;
	if (modes_len <= (int) sizeof(kept->modes_text))
	{
		if (modes != NULL)
			memcpy(kept->modes_text, VARDATA_ANY(modes), modes_len);
		kept->valid = true;
	}
	return kept;
}

static void
CheckSameFunnel(const FunnelState *state, int64 window, int modes)
{
	if (state->window != window || state->modes != modes)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ARGUMENT_VARIES),
				 errmsg("the window or the mode of a funnel changes within a group"),
				 errdetail("All rows of a group must have the same window and mode."),
				 errhint("Pass constants.")));
}

static FunnelState *
MakeFunnel(MemoryContext context, int64 window, int modes)
{
	FunnelState *state = MemoryContextAlloc(context, sizeof(FunnelState));

	state->window = window;
	state->modes = modes;
	EventListInit(&state->list, context);
	return state;
}

/* ---- the aggregates ---- */

/*
 * window_funnel_agg(within interval, mode text, at timestamptz, VARIADIC conditions boolean[])
 *		-> integer
 *		Transition.  Rows with a NULL instant are skipped, NULL conditions are
 *		false.  LY345 for an unfit window, an unknown mode, or more than 32
 *		conditions; LY344 when window, mode or number of conditions varies
 *		within a group; LY342 for an infinite instant.
 */
PG_FUNCTION_INFO_V1(loyalty_window_funnel_trans);
Datum
loyalty_window_funnel_trans(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	FunnelState *state = PG_ARGISNULL(0) ? NULL : (FunnelState *) PG_GETARG_POINTER(0);
	FunnelArguments *args = ReadArguments(fcinfo, WINDOW_FUNNEL_MODES);
	int			n;
	uint32		mask = GetConditions(fcinfo, 4, &n);

	if (state == NULL)
		state = MakeFunnel(context, args->microseconds, args->modes);
	CheckSameFunnel(state, args->microseconds, args->modes);
	CheckConditionCount(&state->list, n);
	if (!PG_ARGISNULL(3))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(3);

		CheckFiniteInstant(at, "the instant of an event");
		/* an event that meets no condition only ever breaks the order */
		if (mask != 0 || (state->modes & FUNNEL_STRICT_ORDER))
			EventListAdd(&state->list, at, mask, 1);
	}
	PG_RETURN_POINTER(state);
}

/*
 * window_funnel_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_window_funnel_combine);
Datum
loyalty_window_funnel_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	FunnelState *a = PG_ARGISNULL(0) ? NULL : (FunnelState *) PG_GETARG_POINTER(0);
	FunnelState *b = PG_ARGISNULL(1) ? NULL : (FunnelState *) PG_GETARG_POINTER(1);

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakeFunnel(context, b->window, b->modes);
	CheckSameFunnel(a, b->window, b->modes);
	CheckConditionCount(&a->list, b->list.nconditions);
	EventListAppend(&a->list, &b->list);
	PG_RETURN_POINTER(a);
}

/*
 * window_funnel_serialize
 *		The state field by field, for another process of the same server.
 */
PG_FUNCTION_INFO_V1(loyalty_window_funnel_serialize);
Datum
loyalty_window_funnel_serialize(PG_FUNCTION_ARGS)
{
	FunnelState *state = (FunnelState *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	EventListSort(&state->list);
	pq_begintypsend(&buf);
	pq_sendint64(&buf, state->window);
	pq_sendint32(&buf, state->modes);
	EventListSend(&buf, &state->list);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * window_funnel_deserialize
 *		Reads what the serialization wrote; anything behind it is an error.
 */
PG_FUNCTION_INFO_V1(loyalty_window_funnel_deserialize);
Datum
loyalty_window_funnel_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	FunnelState *state = MakeFunnel(CurrentMemoryContext, 0, 0);
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	state->window = pq_getmsgint64(&buf);
	state->modes = pq_getmsgint(&buf, 4);
	EventListReceive(&buf, &state->list);
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(state);
}

/*
 * window_funnel_final(internal) -> integer: 0 when the first condition was
 * never met; NULL for a group without rows.
 */
PG_FUNCTION_INFO_V1(loyalty_window_funnel_final);
Datum
loyalty_window_funnel_final(PG_FUNCTION_ARGS)
{
	FunnelState *state;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (FunnelState *) PG_GETARG_POINTER(0);
	EventListSort(&state->list);
	PG_RETURN_INT32(FunnelLevel(&state->list, state->window, state->modes));
}

/*
 * funnel_agg(within interval, mode text, at timestamptz, excludes boolean, VARIADIC conditions boolean[])
 *		-> funnel
 *		Transition.  Rows with a NULL instant are skipped, NULL conditions are
 *		false, and so is a NULL excludes.  Errors as of window_funnel_agg;
 *		LY345 for more than 31 conditions too.
 */
PG_FUNCTION_INFO_V1(loyalty_funnel_trans);
Datum
loyalty_funnel_trans(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	FunnelState *state = PG_ARGISNULL(0) ? NULL : (FunnelState *) PG_GETARG_POINTER(0);
	FunnelArguments *args = ReadArguments(fcinfo, FUNNEL_MODES);
	int			n;
	uint32		mask = GetConditions(fcinfo, 5, &n);

	if (n > FUNNEL_MAX_STEPS)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_FUNNEL),
				 errmsg("there are %d conditions", n),
				 errdetail("A funnel with an exclusion has 1 to %d conditions.", FUNNEL_MAX_STEPS),
				 errhint("Leave conditions out.")));
	if (!PG_ARGISNULL(4) && PG_GETARG_BOOL(4))
		mask |= FUNNEL_EXCLUDES;
	if (state == NULL)
		state = MakeFunnel(context, args->microseconds, args->modes);
	CheckSameFunnel(state, args->microseconds, args->modes);
	CheckConditionCount(&state->list, n);
	if (!PG_ARGISNULL(3))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(3);

		CheckFiniteInstant(at, "the instant of an event");
		if (mask != 0)
			EventListAdd(&state->list, at, mask, 1);
	}
	PG_RETURN_POINTER(state);
}

/*
 * funnel_final(internal) -> funnel (level integer, first_at timestamptz, last_at
 *		timestamptz, took interval, steps timestamptz[]); NULL for a group
 *		without rows.
 */
PG_FUNCTION_INFO_V1(loyalty_funnel_final);
Datum
loyalty_funnel_final(PG_FUNCTION_ARGS)
{
	FunnelState *state;
	FunnelSteps found;
	TupleDesc	desc;
	TimestampTz first = PG_INT64_MAX;
	TimestampTz last = PG_INT64_MIN;
	Datum		steps[FUNNEL_MAX_STEPS];
	bool		missing[FUNNEL_MAX_STEPS];
	int			lower = 1;
	Datum		values[5] = {0};
	bool		nulls[5] = {false};

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (FunnelState *) PG_GETARG_POINTER(0);
	EventListSort(&state->list);
	FindFunnelSteps(&state->list, state->list.nconditions, state->window, state->modes, &found);

	for (int i = 0; i < state->list.nconditions; i++)
	{
		missing[i] = !found.made[i];
		steps[i] = TimestampTzGetDatum(found.at[i]);
		if (found.made[i])
		{
			first = Min(first, found.at[i]);
			last = Max(last, found.at[i]);
		}
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "funnel_final must return a row");
	values[0] = Int32GetDatum(found.level);
	nulls[1] = nulls[2] = nulls[3] = found.level == 0;
	values[1] = TimestampTzGetDatum(first);
	values[2] = TimestampTzGetDatum(last);
	if (found.level > 0)
		values[3] = DirectFunctionCall2(timestamp_mi, values[2], values[1]);
	values[4] = PointerGetDatum(construct_md_array(steps, missing, 1, &state->list.nconditions, &lower,
												   TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * The state of retention() is a bigint: bit i for condition i + 1, and the
 * number of conditions from bit 32 on.  Anybody may make an aggregate of his
 * own of its functions, so no bigint is trusted.
 */
static int64
MakeRetention(int nconditions, uint32 met)
{
	return (int64) nconditions << 32 | met;
}

static int
ReadRetention(int64 state, uint32 *met)
{
	int64		nconditions = state >> 32;

	if (nconditions < 1 || nconditions > EVENTS_MAX_CONDITIONS)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_FUNNEL),
				 errmsg(INT64_FORMAT " is no state of retention()", state),
				 errdetail("It would have " INT64_FORMAT " conditions.", nconditions),
				 errhint("Call retention(VARIADIC conditions), not its parts.")));
	*met = (uint32) state;
	return (int) nconditions;
}

/*
 * retention(VARIADIC conditions boolean[]) -> boolean[]
 *		Transition.  LY345 unless there are 1 to 32 conditions, LY344 when
 *		their number varies.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_trans);
Datum
loyalty_retention_trans(PG_FUNCTION_ARGS)
{
	uint32		met = 0;
	EventList	list = {.nconditions = 0};
	int			n;
	uint32		mask = GetConditions(fcinfo, 1, &n);

	(void) AggregateContext(fcinfo);
	if (!PG_ARGISNULL(0))
		list.nconditions = ReadRetention(PG_GETARG_INT64(0), &met);
	CheckConditionCount(&list, n);
	PG_RETURN_INT64(MakeRetention(n, met | mask));
}

/*
 * retention_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_combine);
Datum
loyalty_retention_combine(PG_FUNCTION_ARGS)
{
	uint32		met;
	uint32		also_met;
	EventList	list = {.nconditions = 0};

	(void) AggregateContext(fcinfo);
	list.nconditions = ReadRetention(PG_GETARG_INT64(0), &met);
	CheckConditionCount(&list, ReadRetention(PG_GETARG_INT64(1), &also_met));
	PG_RETURN_INT64(MakeRetention(list.nconditions, met | also_met));
}

/*
 * retention_final(bigint) -> boolean[]
 *		The first element tells whether the first condition was met by any
 *		row, each further one whether both the first and that one were.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_final);
Datum
loyalty_retention_final(PG_FUNCTION_ARGS)
{
	uint32		met;
	int			n;
	Datum		values[EVENTS_MAX_CONDITIONS];

	(void) AggregateContext(fcinfo);
	n = ReadRetention(PG_GETARG_INT64(0), &met);
	for (int i = 0; i < n; i++)
		values[i] = BoolGetDatum((met & 1) && (met & (((uint32) 1) << i)));
	PG_RETURN_ARRAYTYPE_P(construct_array(values, n, BOOLOID, 1, true, 'c'));
}
