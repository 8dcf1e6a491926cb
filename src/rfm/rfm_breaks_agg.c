/*
 * rfm_breaks_agg.c
 *		Aggregates that find cut points: rfm_breaks(summary, as_of, method) and
 *		rfm_breaks_keyed(summary, as_of, method, member_key).
 *
 * The state is a list of what the members' dimensions measure; the cut points
 * come from the sorted lists, so neither row order nor workers matter.
 */
#include "rfm/rfm_score.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/state.h"

typedef struct Key
{
	char	   *text;
	int			size;
} Key;

typedef struct BreaksState
{
	State		head;
	StoredBreaks *method;
	Breaks		breaks;			/* of method */
	TimestampTz as_of;
	bool		keyed;			/* ties are parted by keys: by ntile alone */
	int64		size;
	int64		room;
	double	   *values[DIMENSIONS];
	Key		   *keys;			/* of each member, or NULL */
} BreaksState;

/* A member's place in the order of one dimension. */
typedef struct Place
{
	double		value;
	Key			key;
} Place;

static int
ComparePlaces(const Place *a, const Place *b)
{
	int			order;

	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	order = memcmp(a->key.text, b->key.text, Min(a->key.size, b->key.size));
	return order != 0 ? order : (a->key.size > b->key.size) - (a->key.size < b->key.size);
}

#define ST_SORT SortValues
#define ST_ELEMENT_TYPE double
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT SortPlaces
#define ST_ELEMENT_TYPE Place
#define ST_COMPARE(a, b) ComparePlaces(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

#define FIRST_ROOM	64

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind rfm_breaks_state = {
	.methods = STATE_METHODS,
	.number = STATE_BREAKS,
	.aggregate = "rfm_breaks or rfm_breaks_keyed",
	.write = WriteState,
	.read = ReadState
};

static BreaksState *
NewState(MemoryContext context, const StoredBreaks *method, TimestampTz as_of, bool keyed)
{
	BreaksState *state = MakeState(&rfm_breaks_state, sizeof(BreaksState), context);
	MemoryContext old = MemoryContextSwitchTo(context);

	state->method = palloc(VARSIZE(method));
	memcpy(state->method, method, VARSIZE(method));
	UnpackBreaks(state->method, &state->breaks);
	state->as_of = as_of;
	state->keyed = keyed && state->breaks.method == METHOD_NTILE;
	state->room = FIRST_ROOM;
	for (int dim = 0; dim < DIMENSIONS; dim++)
		state->values[dim] = palloc(FIRST_ROOM * sizeof(double));
	if (state->keyed)
		state->keys = palloc(FIRST_ROOM * sizeof(Key));
	MemoryContextSwitchTo(old);
	return state;
}

/* Adds a member; the key is copied. */
static void
AddMember(BreaksState *state, const double *values, const char *key, int key_size)
{
	if (state->size == state->room)
	{
		state->room *= 2;
		for (int dim = 0; dim < DIMENSIONS; dim++)
			state->values[dim] = repalloc_huge(state->values[dim], state->room * sizeof(double));
		if (state->keyed)
			state->keys = repalloc_huge(state->keys, state->room * sizeof(Key));
	}
	for (int dim = 0; dim < DIMENSIONS; dim++)
		state->values[dim][state->size] = values[dim];
	if (state->keyed)
	{
		Key		   *copy = &state->keys[state->size];

		copy->text = MemoryContextAlloc(StateMemory(state), key_size);
		memcpy(copy->text, key, key_size);
		copy->size = key_size;
	}
	state->size++;
}

/* The transition of both aggregates. */
static Datum
Accumulate(FunctionCallInfo fcinfo, bool keyed)
{
	BreaksState *state = GetState(fcinfo, 0, &rfm_breaks_state);
	const StoredBreaks *method;
	TimestampTz as_of;
	rfm		   *s;
	double		values[DIMENSIONS];
	const char *key = "";
	int			key_size = 0;

	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("as_of and method must not be null"),
				 errdetail("Cut points are found as of an instant, by a method."),
				 errhint("For example rfm_breaks(summary, now(), 'quantile').")));
	as_of = PG_GETARG_TIMESTAMPTZ(2);
	method = (StoredBreaks *) PG_DETOAST_DATUM(PG_GETARG_DATUM(3));
	if (state == NULL)
		state = NewState(StateContext(fcinfo), method, as_of, keyed);
	else if (state->as_of != as_of || VARSIZE(method) != VARSIZE(state->method) ||
			 memcmp(method, state->method, VARSIZE(method)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_BREAKS),
				 errmsg("as_of and method must be the same in all rows of a group"),
				 errdetail("They make one set of cut points for all members of a group."),
				 errhint("Pass constants, or group by them.")));

	if (PG_ARGISNULL(1))
		RETURN_STATE(state);
	s = PG_GETARG_RFM_P(1);
	RfmCheckAsOf(s, as_of);
	if (!RFM_HAS_PURCHASE(s))
		RETURN_STATE(state);
	if (state->keyed && !PG_ARGISNULL(4))
	{
		text	   *member_key = PG_GETARG_TEXT_PP(4);

		key = VARDATA_ANY(member_key);
		key_size = (int) VARSIZE_ANY_EXHDR(member_key);
		if (memchr(key, '\0', key_size) != NULL)
			elog(ERROR, "text with a zero byte");
	}
	for (Dimension dim = DIM_RECENCY; dim < DIMENSIONS; dim++)
		values[dim] = MemberValue(s, &state->breaks, dim, as_of);
	AddMember(state, values, key, key_size);
	RETURN_STATE(state);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_accum);
/*
 * rfm_breaks_accum(aggregate_state, summary rfm, as_of timestamptz, method rfm_breaks) returns aggregate_state
 *
 * Transition function of rfm_breaks.  A NULL summary, or one without a
 * purchase, changes nothing; as_of and method must be given (LY003) and the
 * same in every row of a group (LY303), as_of not before a last purchase (LY302).
 */
Datum
loyalty_rfm_breaks_accum(PG_FUNCTION_ARGS)
{
	return Accumulate(fcinfo, false);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_keyed_accum);
/*
 * rfm_breaks_keyed_accum(aggregate_state, summary rfm, as_of timestamptz, method rfm_breaks,
 *						  member_key text) returns aggregate_state
 *
 * Transition function of rfm_breaks_keyed; as above.
 */
Datum
loyalty_rfm_breaks_keyed_accum(PG_FUNCTION_ARGS)
{
	return Accumulate(fcinfo, true);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_combine);
/* rfm_breaks_combine(aggregate_state, aggregate_state) returns aggregate_state: the members of both. */
Datum
loyalty_rfm_breaks_combine(PG_FUNCTION_ARGS)
{
	BreaksState *state = GetState(fcinfo, 0, &rfm_breaks_state);
	BreaksState *other = GetState(fcinfo, 1, &rfm_breaks_state);

	if (other == NULL)
		RETURN_STATE(state);
	if (state == NULL)
		state = NewState(StateContext(fcinfo), other->method, other->as_of, other->keyed);
	else if (state->as_of != other->as_of || state->keyed != other->keyed || VARSIZE(state->method) != VARSIZE(other->method) ||
			 memcmp(state->method, other->method, VARSIZE(other->method)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_BREAKS),
				 errmsg("as_of and method must be the same in all rows of a group"),
				 errdetail("They make one set of cut points for all members of a group."),
				 errhint("Pass constants, or group by them.")));
	for (int64 i = 0; i < other->size; i++)
	{
		double		values[DIMENSIONS] = {other->values[0][i], other->values[1][i], other->values[2][i]};

		CHECK_FOR_INTERRUPTS();
		AddMember(state, values, other->keyed ? other->keys[i].text : "",
				  other->keyed ? other->keys[i].size : 0);
	}
	RETURN_STATE(state);
}

static void
WriteState(StringInfo buf, void *breaks_state)
{
	BreaksState *state = breaks_state;
	char	   *method = DatumGetCString(DirectFunctionCall1(loyalty_rfm_breaks_out, PointerGetDatum(state->method)));

	pq_sendint32(buf, strlen(method));
	pq_sendbytes(buf, method, strlen(method));
	pq_sendint64(buf, state->as_of);
	pq_sendint8(buf, state->keyed);
	pq_sendint64(buf, state->size);
	for (int64 i = 0; i < state->size; i++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int dim = 0; dim < DIMENSIONS; dim++)
			pq_sendfloat8(buf, state->values[dim][i]);
		if (state->keyed)
		{
			pq_sendint32(buf, state->keys[i].size);
			pq_sendbytes(buf, state->keys[i].text, state->keys[i].size);
		}
	}
}

static void *
ReadState(StringInfo buf)
{
	int			method_size = (int) pq_getmsgint(buf, 4);
	char	   *method = pnstrdup(pq_getmsgbytes(buf, method_size), method_size);
	TimestampTz as_of = pq_getmsgint64(buf);
	bool		keyed = pq_getmsgbyte(buf) != 0;
	int64		size = pq_getmsgint64(buf);
	BreaksState *state;

	if (!pg_verify_mbstr(GetDatabaseEncoding(), method, strlen(method), true))
		RefuseState(&rfm_breaks_state, "its method is no text");
	state = NewState(CurrentMemoryContext,
					 (StoredBreaks *) DatumGetPointer(DirectFunctionCall1(loyalty_rfm_breaks_in, CStringGetDatum(method))),
					 as_of, keyed);
	for (int64 i = 0; i < size; i++)
	{
		double		values[DIMENSIONS];
		const char *key = "";
		int			key_size = 0;

		CHECK_FOR_INTERRUPTS();
		for (int dim = 0; dim < DIMENSIONS; dim++)
		{
			values[dim] = pq_getmsgfloat8(buf);
			if (!isfinite(values[dim]))
				RefuseState(&rfm_breaks_state, "what a member measures is no number");
		}
		if (state->keyed)
		{
			key_size = (int) pq_getmsgint(buf, 4);
			key = pq_getmsgbytes(buf, key_size);
			if (!pg_verify_mbstr(GetDatabaseEncoding(), key, key_size, true))
				RefuseState(&rfm_breaks_state, "the key of a member is no text");
		}
		AddMember(state, values, key, key_size);
	}
	return state;
}

/*
 * Quantile k/n of sorted values by type 7 (Hyndman and Fan 1996): linear
 * between the values at ranks below and above 1 + (size - 1) k / n.  The rank is
 * computed in whole numbers, so no rounding moves it.
 */
static double
Quantile(const double *sorted, int64 size, int k, int n)
{
	int64		rank = (size - 1) * k / n;
	int64		rest = (size - 1) * k % n;

	if (rest == 0)
		return sorted[rank];
	return sorted[rank] + (sorted[rank + 1] - sorted[rank]) * (double) rest / n;
}

/* Mean of sorted values, with compensation (Neumaier 1974). */
static double
Mean(const double *sorted, int64 size)
{
	double		sum = 0;
	double		lost = 0;

	for (int64 i = 0; i < size; i++)
	{
		double		next = sum + sorted[i];

		CHECK_FOR_INTERRUPTS();
		lost += fabs(sum) >= fabs(sorted[i]) ? (sum - next) + sorted[i] : (sorted[i] - next) + sum;
		sum = next;
	}
	return (sum + lost) / (double) size;
}

/*
 * The members in the order of one dimension and their keys, the oldest first
 * where it is recency.  Its value is negated then, and the keys rise all the
 * same.
 */
static Place *
SortMembers(const BreaksState *state, Dimension dim)
{
	Place	   *places = MemoryContextAllocHuge(CurrentMemoryContext, state->size * sizeof(Place));

	for (int64 i = 0; i < state->size; i++)
	{
		CHECK_FOR_INTERRUPTS();
		places[i].value = dim == DIM_RECENCY ? -state->values[dim][i] : state->values[dim][i];
		places[i].key = state->keys[i];
	}
	SortPlaces(places, state->size);
	return places;
}

/*
 * The last member of each of n tiles, as SQL's ntile deals them out: sizes
 * differ by at most one, the larger tiles come first.  Behind the last member,
 * cuts are infinite.  Without keys, sorted has the rising values.
 */
static void
FindTiles(const BreaksState *state, Dimension dim, const double *sorted, Cut *cuts, int n)
{
	bool		falling = dim == DIM_RECENCY;
	Place	   *places = state->keyed ? SortMembers(state, dim) : NULL;
	int64		end = 0;

	for (int k = 0; k < n - 1; k++)
	{
		Cut		   *cut = &cuts[k];

		cut->key = "";
		cut->key_size = 0;
		end += state->size / n + (k < state->size % n);
		if (end >= state->size)
			cut->value = falling ? -get_float8_infinity() : get_float8_infinity();
		else if (places == NULL)
			cut->value = sorted[falling ? state->size - end : end - 1];
		else
		{
			/* subtracting from zero leaves no negative zero */
			cut->value = falling ? 0.0 - places[end - 1].value : places[end - 1].value;
			cut->key = places[end - 1].key.text;
			cut->key_size = places[end - 1].key.size;
		}
	}
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_final);
/*
 * rfm_breaks_final(aggregate_state) returns rfm_breaks
 *
 * The method with its cut points; NULL without a member.  Thresholds come out
 * as they went in.  Sorting leaves the state as good as it was.
 */
Datum
loyalty_rfm_breaks_final(PG_FUNCTION_ARGS)
{
	BreaksState *state = GetState(fcinfo, 0, &rfm_breaks_state);
	Breaks		b;

	if (state == NULL || state->size == 0)
		PG_RETURN_NULL();
	b = state->breaks;
	b.keyed = state->keyed;
	if (b.method != METHOD_THRESHOLD)
	{
		for (Dimension dim = DIM_RECENCY; dim < DIMENSIONS; dim++)
		{
			int			n = b.bins[dim];
			Cut		   *cuts = b.cuts[dim];
			double	   *sorted = state->values[dim];

			/* where members have keys, values must stay with them */
			if (state->keyed)
			{
				sorted = MemoryContextAllocHuge(CurrentMemoryContext, state->size * sizeof(double));
				memcpy(sorted, state->values[dim], state->size * sizeof(double));
			}
			SortValues(sorted, state->size);
			if (b.method == METHOD_NTILE)
			{
				FindTiles(state, dim, sorted, cuts, n);
				continue;
			}
			for (int k = 1; k < n; k++)
			{
				cuts[k - 1].key = "";
				if (b.method == METHOD_MEAN)
					cuts[k - 1].value = Mean(sorted, state->size);
				else
					cuts[k - 1].value = Quantile(sorted, state->size, k, n) + (b.method == METHOD_RFMR ? 1 : 0);
			}
		}
		b.has_cuts = true;
	}
	PG_RETURN_POINTER(PackBreaks(&b));
}
