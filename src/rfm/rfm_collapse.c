/*
 * rfm_collapse.c
 *		Aggregates that collapse rows into purchases: rfm_agg_by(at, amount,
 *		unit, time_zone) and rfm_agg_by_key(at, amount, key).
 *
 * How many different days (or orders) unordered rows fall on cannot be counted
 * exactly in a state of fixed size.  So the state is a list of collapsed
 * events, one for each unit or key seen, and only the result is an rfm.  Rows
 * are appended; when the list is full it is sorted, equal units are merged, and
 * it grows only if that freed less than half of it.
 *
 * A unit of time: all purchases of one day are one purchase at the day's start,
 * all refunds of that day one refund.  A key: the amounts of all its rows are
 * added up, and their sum decides whether it is a purchase or a refund, at the
 * earliest instant of its rows (a discount line of an order is no refund); a
 * sum of nothing is neither, for such an order was taken back line by line.
 */
#include "rfm/rfm.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/state.h"

typedef struct Event
{
	TimestampTz at;				/* start of the unit, or earliest of the key */
	int128		units;			/* in units of the state's decimals */
} Event;

/* The same, with what it is collapsed by. */
typedef struct KeyedEvent
{
	Event		event;
	char	   *key;
	int			key_size;
} KeyedEvent;

typedef struct CollapseState
{
	State		head;
	RfmUnit		unit;
	int			decimals;
	pg_tz	   *zone;			/* NULL is UTC; not there in what is only merged */
	text	   *unit_name;		/* as given, to compare later rows with */
	text	   *zone_name;
	int64		size;			/* events in the list */
	int64		room;
	char	   *list;			/* of Event, or of KeyedEvent for RFM_UNIT_KEY */
} CollapseState;

#define FIRST_ROOM	8
#define EVENT_SIZE(state) \
	((state)->unit == RFM_UNIT_KEY ? sizeof(KeyedEvent) : sizeof(Event))
#define EVENT_AT(state, i) \
	((Event *) ((state)->list + (i) * EVENT_SIZE(state)))

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind rfm_collapse_state = {
	.methods = STATE_METHODS,
	.number = STATE_COLLAPSED,
	.aggregate = "rfm_agg_by or rfm_agg_by_key",
	.write = WriteState,
	.read = ReadState
};

static CollapseState *
NewState(MemoryContext context, RfmUnit unit)
{
	CollapseState *state = MakeState(&rfm_collapse_state, sizeof(CollapseState), context);

	state->unit = unit;
	state->room = FIRST_ROOM;
	state->list = MemoryContextAlloc(context, FIRST_ROOM * EVENT_SIZE(state));
	return state;
}

/* Are the texts the same, byte by byte? */
static bool
SameText(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

static text *
CopyText(MemoryContext context, const text *source)
{
	text	   *copy = AllocForState(context, VARSIZE_ANY(source));

	memcpy(copy, source, VARSIZE_ANY(source));
	return copy;
}

static RfmUnit
FindUnit(const text *name)
{
	for (RfmUnit unit = RFM_UNIT_HOUR; unit <= RFM_UNIT_LAST; unit++)
	{
		const char *known = RfmUnitName(unit);

		if (unit != RFM_UNIT_KEY && unit != RFM_UNIT_MIXED &&
			VARSIZE_ANY_EXHDR(name) == strlen(known) &&
			pg_strncasecmp(VARDATA_ANY(name), known, strlen(known)) == 0)
			return unit;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_RFM_UNIT),
			 errmsg("unknown unit \"%s\"", text_to_cstring(name)),
			 errdetail("The units are hour, day, week, sunday week and month."),
			 errhint("To collapse by order, use rfm_agg_by_key(at, amount, key).")));
}

static int64
FloorTo(int64 value, int64 step)
{
	int64		rest = value % step;

	return value - (rest < 0 ? rest + step : rest);
}

/* The instant at which the unit began on the clock of the zone, as date_trunc. */
static TimestampTz
StartOfUnit(TimestampTz at, RfmUnit unit, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			behind = 0;
	TimestampTz start;

	if (zone == NULL && unit != RFM_UNIT_MONTH)
	{
		/* 2000-01-03 was a Monday, the day before a Sunday */
		const int64 weekday = (unit == RFM_UNIT_SUNDAY_WEEK ? 1 : 2) * USECS_PER_DAY;

		switch (unit)
		{
			case RFM_UNIT_HOUR:
				return FloorTo(at, USECS_PER_HOUR);
			case RFM_UNIT_DAY:
				return FloorTo(at, USECS_PER_DAY);
			default:
				start = FloorTo(at - weekday, 7 * USECS_PER_DAY) + weekday;
				if (!IS_VALID_TIMESTAMP(start))
					break;
				return start;
		}
	}

	if (timestamp2tm(at, &behind, &tm, &fsec, NULL, zone == NULL ? pg_tzset("UTC") : zone) == 0)
	{
		if (unit == RFM_UNIT_HOUR)
			start = FloorTo(at - behind * USECS_PER_SEC, USECS_PER_HOUR) + behind * USECS_PER_SEC;
		else
		{
			tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
			if (unit == RFM_UNIT_MONTH)
				tm.tm_mday = 1;
			else if (unit == RFM_UNIT_WEEK || unit == RFM_UNIT_SUNDAY_WEEK)
			{
				int			day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);

				/* j2day() counts from Sunday */
				day -= (j2day(day) + (unit == RFM_UNIT_WEEK ? 6 : 0)) % 7;
				j2date(day, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
			}
			if (zone != NULL)
				behind = DetermineTimeZoneOffset(&tm, zone);
			if (tm2timestamp(&tm, 0, &behind, &start) != 0)
				start = TIMESTAMP_INFINITY;
		}
		if (IS_VALID_TIMESTAMP(start))
			return start;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp out of range")));
}

static int
CompareEvents(const Event *x, const Event *y)
{
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return (x->units < 0) - (y->units < 0);
}

static int
CompareKeys(const KeyedEvent *x, const KeyedEvent *y)
{
	int			order = memcmp(x->key, y->key, Min(x->key_size, y->key_size));

	return order != 0 ? order : (x->key_size > y->key_size) - (x->key_size < y->key_size);
}

#define ST_SORT SortByInstant
#define ST_ELEMENT_TYPE Event
#define ST_COMPARE(a, b) CompareEvents(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT SortByKey
#define ST_ELEMENT_TYPE KeyedEvent
#define ST_COMPARE(a, b) CompareKeys(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* Sorts the list and merges what belongs together. */
static void
Compact(CollapseState *state)
{
	bool		keyed = state->unit == RFM_UNIT_KEY;
	size_t		width = EVENT_SIZE(state);
	int64		kept = 0;

	if (state->size < 2)
		return;
	if (keyed)
		SortByKey((KeyedEvent *) state->list, state->size);
	else
		SortByInstant((Event *) state->list, state->size);
	for (int64 i = 1; i < state->size; i++)
	{
		Event	   *last = EVENT_AT(state, kept);
		Event	   *next = EVENT_AT(state, i);

		CHECK_FOR_INTERRUPTS();
		if (keyed ? CompareKeys((KeyedEvent *) last, (KeyedEvent *) next) == 0 : CompareEvents(last, next) == 0)
		{
			last->units = RfmAddUnits(last->units, next->units);
			last->at = Min(last->at, next->at);
			if (keyed)
				pfree(((KeyedEvent *) next)->key);
		}
		else if (++kept < i)
			memcpy(EVENT_AT(state, kept), next, width);
	}
	state->size = kept + 1;
}

/* Brings state and amount to the same decimals. */
static int128
AlignDecimals(CollapseState *state, int128 units, int decimals)
{
	if (decimals > state->decimals)
	{
		for (int64 i = 0; i < state->size; i++)
			EVENT_AT(state, i)->units = RfmRescale(EVENT_AT(state, i)->units, state->decimals, decimals);
		state->decimals = decimals;
	}
	return RfmRescale(units, decimals, state->decimals);
}

/* Appends an event; its key is copied. */
static void
AppendEvent(CollapseState *state, TimestampTz at, int128 units, const char *key, int key_size)
{
	Event	   *last;

	/* rows of one order or day often follow each other */
	if (state->size > 0)
	{
		last = EVENT_AT(state, state->size - 1);
		if (state->unit == RFM_UNIT_KEY ?
			((KeyedEvent *) last)->key_size == key_size &&
			memcmp(((KeyedEvent *) last)->key, key, key_size) == 0 :
			last->at == at && (last->units < 0) == (units < 0))
		{
			last->units = RfmAddUnits(last->units, units);
			last->at = Min(last->at, at);
			return;
		}
	}

	if (state->size == state->room)
	{
		Compact(state);
		if (state->size > state->room / 2)
		{
			state->list = repalloc_huge(state->list, state->room * 2 * EVENT_SIZE(state));
			state->room *= 2;
		}
	}
	last = EVENT_AT(state, state->size);
	last->at = at;
	last->units = units;
	if (state->unit == RFM_UNIT_KEY)
	{
		KeyedEvent *keyed = (KeyedEvent *) last;

		keyed->key = MemoryContextAlloc(StateMemory(state), Max(key_size, 1));
		memcpy(keyed->key, key, key_size);
		keyed->key_size = key_size;
	}
	state->size++;
}

/* Instant and amount of a row, checked; what both transition functions begin with. */
static TimestampTz
ReadRow(FunctionCallInfo fcinfo, int128 *units, int *decimals)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);

	RfmCheckInstant(at);
	*decimals = RfmUnitsFromNumeric((Numeric) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(2)), units);
	return at;
}

PG_FUNCTION_INFO_V1(loyalty_rfm_by_accum);
/*
 * rfm_by_accum(aggregate_state, at timestamptz, amount numeric, unit text, time_zone text) returns aggregate_state
 *
 * Transition function of rfm_agg_by.  Rows with a NULL instant or amount change
 * nothing; unit and time_zone must be given (LY003), known, and the same in
 * every row of a group (LY306).
 */
Datum
loyalty_rfm_by_accum(PG_FUNCTION_ARGS)
{
	CollapseState *state = GetState(fcinfo, 0, &rfm_collapse_state);
	text	   *unit_name;
	text	   *zone_name;
	int128		units;
	int			decimals;
	TimestampTz at;

	if (PG_ARGISNULL(3) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("unit and time_zone must not be null"),
				 errdetail("The rows of one unit of time are one purchase."),
				 errhint("For example rfm_agg_by(at, amount, 'day', 'UTC').")));
	unit_name = PG_GETARG_TEXT_PP(3);
	zone_name = PG_GETARG_TEXT_PP(4);
	if (state == NULL)
	{
		state = NewState(StateContext(fcinfo), FindUnit(unit_name));
		state->zone = RfmFindZone(zone_name);
		state->unit_name = CopyText(StateMemory(state), unit_name);
		state->zone_name = CopyText(StateMemory(state), zone_name);
	}
	else if (!SameText(unit_name, state->unit_name) || !SameText(zone_name, state->zone_name))
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_UNIT),
				 errmsg("unit and time_zone must be the same in all rows of a group"),
				 errdetail("There are \"%s\" in \"%s\" and \"%s\" in \"%s\".",
						   text_to_cstring(state->unit_name), text_to_cstring(state->zone_name),
						   text_to_cstring(unit_name), text_to_cstring(zone_name)),
				 errhint("Pass constants, or group by them.")));

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		RETURN_STATE(state);
	at = ReadRow(fcinfo, &units, &decimals);
	if (decimals != state->decimals)
		units = AlignDecimals(state, units, decimals);
	AppendEvent(state, StartOfUnit(at, state->unit, state->zone), units, NULL, 0);
	RETURN_STATE(state);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_by_key_accum);
/*
 * rfm_by_key_accum(aggregate_state, at timestamptz, amount numeric, key text) returns aggregate_state
 *
 * Transition function of rfm_agg_by_key.  Rows with a NULL change nothing.
 */
Datum
loyalty_rfm_by_key_accum(PG_FUNCTION_ARGS)
{
	CollapseState *state = GetState(fcinfo, 0, &rfm_collapse_state);
	text	   *key;
	int128		units;
	int			decimals;
	TimestampTz at;

	if (state == NULL)
		state = NewState(StateContext(fcinfo), RFM_UNIT_KEY);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		RETURN_STATE(state);
	key = PG_GETARG_TEXT_PP(3);
	at = ReadRow(fcinfo, &units, &decimals);
	if (decimals != state->decimals)
		units = AlignDecimals(state, units, decimals);
	AppendEvent(state, at, units, VARDATA_ANY(key), (int) VARSIZE_ANY_EXHDR(key));
	RETURN_STATE(state);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_by_combine);
/*
 * rfm_by_combine(aggregate_state, aggregate_state) returns aggregate_state
 *
 * Merges two states of rfm_agg_by or of rfm_agg_by_key; everything kept is
 * copied into the aggregate's context.
 */
Datum
loyalty_rfm_by_combine(PG_FUNCTION_ARGS)
{
	CollapseState *state = GetState(fcinfo, 0, &rfm_collapse_state);
	CollapseState *other = GetState(fcinfo, 1, &rfm_collapse_state);

	if (other == NULL)
		RETURN_STATE(state);
	if (state == NULL)
	{
		state = NewState(StateContext(fcinfo), other->unit);
		if (other->unit != RFM_UNIT_KEY)
		{
			state->unit_name = CopyText(StateMemory(state), other->unit_name);
			state->zone_name = CopyText(StateMemory(state), other->zone_name);
		}
	}
	else if (state->unit != other->unit ||
			 (state->unit != RFM_UNIT_KEY && !SameText(state->zone_name, other->zone_name)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_UNIT),
				 errmsg("unit and time_zone must be the same in all rows of a group"),
				 errdetail("They say which rows of a group are one purchase."),
				 errhint("Pass constants, or group by them.")));

	for (int64 i = 0; i < other->size; i++)
	{
		Event	   *event = EVENT_AT(other, i);
		KeyedEvent *keyed = other->unit == RFM_UNIT_KEY ? (KeyedEvent *) event : NULL;

		CHECK_FOR_INTERRUPTS();
		AppendEvent(state, event->at, AlignDecimals(state, event->units, other->decimals),
			   keyed ? keyed->key : NULL, keyed ? keyed->key_size : 0);
	}
	RETURN_STATE(state);
}

static void
SendText(StringInfo buf, const text *t)
{
	pq_sendint32(buf, VARSIZE_ANY_EXHDR(t));
	pq_sendbytes(buf, VARDATA_ANY(t), (int) VARSIZE_ANY_EXHDR(t));
}

static void
WriteState(StringInfo buf, void *collapse_state)
{
	CollapseState *state = collapse_state;

	Compact(state);
	pq_sendint8(buf, state->unit);
	pq_sendint8(buf, state->decimals);
	if (state->unit != RFM_UNIT_KEY)
	{
		SendText(buf, state->unit_name);
		SendText(buf, state->zone_name);
	}
	pq_sendint64(buf, state->size);
	for (int64 i = 0; i < state->size; i++)
	{
		Event	   *event = EVENT_AT(state, i);

		CHECK_FOR_INTERRUPTS();
		pq_sendint64(buf, event->at);
		RfmSendUnits(buf, event->units);
		if (state->unit == RFM_UNIT_KEY)
		{
			KeyedEvent *keyed = (KeyedEvent *) event;

			pq_sendint32(buf, keyed->key_size);
			pq_sendbytes(buf, keyed->key, keyed->key_size);
		}
	}
}

static text *
ReceiveText(StringInfo buf)
{
	int			size = (int) pq_getmsgint(buf, 4);
	const char *bytes = pq_getmsgbytes(buf, size);

	if (!pg_verify_mbstr(GetDatabaseEncoding(), bytes, size, true))
		RefuseState(&rfm_collapse_state, "a name is no text");
	return cstring_to_text_with_len(bytes, size);
}

static void *
ReadState(StringInfo buf)
{
	CollapseState *state;
	int			unit = pq_getmsgbyte(buf);
	int64		size;

	if (unit == RFM_UNIT_ROW || unit == RFM_UNIT_MIXED || unit > RFM_UNIT_LAST)
		RefuseState(&rfm_collapse_state, "its unit is unknown");
	state = NewState(CurrentMemoryContext, (RfmUnit) unit);
	state->decimals = pq_getmsgbyte(buf);
	if (state->decimals > RFM_MAX_DECIMALS)
		RefuseState(&rfm_collapse_state, "its amounts have too many decimals");
	if (state->unit != RFM_UNIT_KEY)
	{
		state->unit_name = ReceiveText(buf);
		state->zone_name = ReceiveText(buf);
	}
	size = pq_getmsgint64(buf);
	for (int64 i = 0; i < size; i++)
	{
		TimestampTz at = pq_getmsgint64(buf);
		int128		units = RfmReceiveUnits(buf);
		const char *key = NULL;
		int			key_size = 0;

		CHECK_FOR_INTERRUPTS();
		if (TIMESTAMP_NOT_FINITE(at) || !IS_VALID_TIMESTAMP(at))
			RefuseState(&rfm_collapse_state, "an event is at no instant");
		if (state->unit == RFM_UNIT_KEY)
		{
			key_size = (int) pq_getmsgint(buf, 4);
			key = pq_getmsgbytes(buf, key_size);
		}
		AppendEvent(state, at, units, key, key_size);
	}
	return state;
}

PG_FUNCTION_INFO_V1(loyalty_rfm_by_final);
/*
 * rfm_by_final(aggregate_state) returns rfm
 *
 * The summary of the collapsed events; NULL when none counts.  The state
 * stays valid: compacting it does not change what it means.
 */
Datum
loyalty_rfm_by_final(PG_FUNCTION_ARGS)
{
	CollapseState *state = GetState(fcinfo, 0, &rfm_collapse_state);
	rfm		   *s;

	if (state == NULL || state->size == 0)
		PG_RETURN_NULL();
	Compact(state);
	s = palloc(sizeof(rfm));
	RfmInitEmpty(s);
	s->unit = (uint8) state->unit;
	for (int64 i = 0; i < state->size; i++)
	{
		Event	   *event = EVENT_AT(state, i);

		CHECK_FOR_INTERRUPTS();
		if (state->unit != RFM_UNIT_KEY || event->units != 0)
			RfmAddEvent(s, event->at, event->units, state->decimals);
	}
	if (s->purchases == 0 && s->refunds == 0)
		PG_RETURN_NULL();
	PG_RETURN_RFM_P(s);
}
