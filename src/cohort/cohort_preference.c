/*
 * cohort_preference.c
 *		What a member prefers: the most frequent hour, weekday or value, with
 *		its share; and how much a member buys at a discount.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

#define NSLOTS		24			/* hours; weekdays use 1 to 7 */

typedef struct SlotState
{
	int64		counts[NSLOTS];
} SlotState;

typedef struct ValueKey
{
	const char *data;
	int			len;
} ValueKey;

typedef struct ValueSlot
{
	ValueKey	key;
	uint32		hash;
	char		status;
	int64		n;
} ValueSlot;

#define SH_PREFIX values
#define SH_ELEMENT_TYPE ValueSlot
#define SH_KEY_TYPE ValueKey
#define SH_KEY key
#define SH_HASH_KEY(tb, k) \
	DatumGetUInt32(hash_any((const unsigned char *) (k).data, (k).len))
#define SH_EQUAL(tb, x, y) ((x).len == (y).len && memcmp((x).data, (y).data, (x).len) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, slot) ((slot)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct ValueState
{
	MemoryContext context;
	values_hash *hash;
} ValueState;

typedef struct DiscountState
{
	int64		orders;
	int64		discounted_orders;
	Numeric		amount;
	Numeric		discounted_amount;
	Numeric		discount;
} DiscountState;

/* ---- plain computing ---- */

static ValueState *
MakeValueState(MemoryContext context)
{
	ValueState *state = MemoryContextAlloc(context, sizeof(ValueState));

	state->context = context;
	state->hash = values_create(context, 4, NULL);
	return state;
}

static void
AddValue(ValueState *state, const char *data, int len, int64 n)
{
	ValueKey	key = {data, len};
	ValueSlot  *slot;
	bool		found;

	slot = values_insert(state->hash, key, &found);
	if (!found)
	{
		char	   *copy = MemoryContextAlloc(state->context, len);

		memcpy(copy, data, len);
		slot->key.data = copy;
		slot->n = 0;
	}
	slot->n += n;
}

/*
 * The most frequent value; of equally frequent ones the first in order of
 * their bytes.
 */
static ValueSlot *
MostFrequent(ValueState *state, int64 *total)
{
	values_iterator it;
	ValueSlot  *slot,
			   *best = NULL;

	*total = 0;
	values_start_iterate(state->hash, &it);
	while ((slot = values_iterate(state->hash, &it)) != NULL)
	{
		*total += slot->n;
		if (best != NULL && slot->n == best->n)
		{
			int			order = memcmp(slot->key.data, best->key.data,
									   Min(slot->key.len, best->key.len));

			if (order < 0 || (order == 0 && slot->key.len < best->key.len))
				best = slot;
		}
		else if (best == NULL || slot->n > best->n)
			best = slot;
	}
	return best;
}

static Datum
MakePreference(FunctionCallInfo fcinfo, Datum value, int64 n, int64 total)
{
	TupleDesc	tupdesc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a preference is a row");
	values[0] = value;
	values[1] = Int64GetDatum(n);
	values[2] = Int64GetDatum(total);
	values[3] = DirectFunctionCall2(numeric_div,
									NumericGetDatum(int64_to_numeric(n)),
									NumericGetDatum(int64_to_numeric(total)));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/* ---- hours and weekdays ---- */

static Datum
CountSlot(FunctionCallInfo fcinfo, int (*slot_of) (Timestamp local))
{
	MemoryContext context = AggregateContext(fcinfo);
	SlotState  *state = PG_ARGISNULL(0) ? NULL : (SlotState *) PG_GETARG_POINTER(0);
	PeriodClock *clock = GetPeriodClock(fcinfo, -1, 2);

	if (!PG_ARGISNULL(1))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);

		CheckFiniteInstant(at, "the instant of an event");
		if (state == NULL)
			state = MemoryContextAllocZero(context, sizeof(SlotState));
		state->counts[slot_of(LocalTime(clock, at))]++;
	}
	RETURN_STATE(state);
}

static int
HourOf(Timestamp local)
{
	int64		in_day = local % USECS_PER_DAY;

	if (in_day < 0)
		in_day += USECS_PER_DAY;
	return (int) (in_day / USECS_PER_HOUR);
}

static int
WeekdayOf(Timestamp local)
{
	int64		day = local / USECS_PER_DAY - (local % USECS_PER_DAY < 0 ? 1 : 0);

	/* 2000-01-01 was a Saturday, day 6 */
	return (int) (((day + 5) % 7 + 7) % 7) + 1;
}

/*
 * preferred_hour_agg(at timestamptz, time_zone text) -> preferred_number
 *		Transition.  The hour, 0 to 23, of the wall clock in the time zone
 *		(NULL: the program's) in which most events lie.  NULL instants are
 *		skipped; LY342 for infinite ones.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_hour_trans);
Datum
loyalty_preferred_hour_trans(PG_FUNCTION_ARGS)
{
	return CountSlot(fcinfo, HourOf);
}

/*
 * preferred_weekday_agg(at timestamptz, time_zone text) -> preferred_number
 *		Transition.  The weekday, 1 for Monday to 7 for Sunday, on which most
 *		events lie.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_weekday_trans);
Datum
loyalty_preferred_weekday_trans(PG_FUNCTION_ARGS)
{
	return CountSlot(fcinfo, WeekdayOf);
}

/*
 * preferred_slot_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_slot_combine);
Datum
loyalty_preferred_slot_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	SlotState  *a = PG_ARGISNULL(0) ? NULL : (SlotState *) PG_GETARG_POINTER(0);
	SlotState  *b = PG_ARGISNULL(1) ? NULL : (SlotState *) PG_GETARG_POINTER(1);

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MemoryContextAllocZero(context, sizeof(SlotState));
	for (int i = 0; i < NSLOTS; i++)
		a->counts[i] += b->counts[i];
	PG_RETURN_POINTER(a);
}

/*
 * preferred_slot_serialize
 *		The state field by field, for another process of the same server.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_slot_serialize);
Datum
loyalty_preferred_slot_serialize(PG_FUNCTION_ARGS)
{
	SlotState  *state = (SlotState *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	pq_begintypsend(&buf);
	for (int i = 0; i < NSLOTS; i++)
		pq_sendint64(&buf, state->counts[i]);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * preferred_slot_deserialize
 *		Reads what the serialization wrote; anything behind it is an error.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_slot_deserialize);
Datum
loyalty_preferred_slot_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	SlotState  *state = palloc(sizeof(SlotState));
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	for (int i = 0; i < NSLOTS; i++)
		state->counts[i] = pq_getmsgint64(&buf);
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(state);
}

/*
 * preferred_slot_final(internal) -> preferred_number
 *		Of equally frequent hours or weekdays the smallest; NULL without events.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_slot_final);
Datum
loyalty_preferred_slot_final(PG_FUNCTION_ARGS)
{
	SlotState  *state;
	int			best = 0;
	int64		total = 0;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (SlotState *) PG_GETARG_POINTER(0);
	for (int i = 0; i < NSLOTS; i++)
	{
		total += state->counts[i];
		if (state->counts[i] > state->counts[best])
			best = i;
	}
	return MakePreference(fcinfo, Int32GetDatum(best), state->counts[best], total);
}

/* ---- values: category, channel, shop, ... ---- */

/*
 * preferred_value_agg(value text) -> preference
 *		Transition.  The most frequent value: of categories, channels, shops.
 *		NULLs are skipped.  Values are equal when their bytes are; of equally
 *		frequent ones the first in byte order counts.  NULL without values.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_value_trans);
Datum
loyalty_preferred_value_trans(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	ValueState *state = PG_ARGISNULL(0) ? NULL : (ValueState *) PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(1))
	{
		text	   *value = PG_GETARG_TEXT_PP(1);

		if (state == NULL)
			state = MakeValueState(context);
		AddValue(state, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), 1);
	}
	RETURN_STATE(state);
}

/*
 * preferred_value_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_value_combine);
Datum
loyalty_preferred_value_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	ValueState *a = PG_ARGISNULL(0) ? NULL : (ValueState *) PG_GETARG_POINTER(0);
	ValueState *b = PG_ARGISNULL(1) ? NULL : (ValueState *) PG_GETARG_POINTER(1);
	values_iterator it;
	ValueSlot  *slot;

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakeValueState(context);
	values_start_iterate(b->hash, &it);
	while ((slot = values_iterate(b->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		AddValue(a, slot->key.data, slot->key.len, slot->n);
	}
	PG_RETURN_POINTER(a);
}

/*
 * preferred_value_serialize
 *		The state field by field, for another process of the same server.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_value_serialize);
Datum
loyalty_preferred_value_serialize(PG_FUNCTION_ARGS)
{
	ValueState *state = (ValueState *) PG_GETARG_POINTER(0);
	StringInfoData buf;
	values_iterator it;
	ValueSlot  *slot;

	(void) AggregateContext(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint64(&buf, state->hash->members);
	values_start_iterate(state->hash, &it);
	while ((slot = values_iterate(state->hash, &it)) != NULL)
	{
		pq_sendint64(&buf, slot->n);
		pq_sendint32(&buf, slot->key.len);
		pq_sendbytes(&buf, slot->key.data, slot->key.len);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * preferred_value_deserialize
 *		Reads what the serialization wrote; anything behind it is an error.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_value_deserialize);
Datum
loyalty_preferred_value_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	ValueState *state;
	StringInfoData buf;
	int64		n;

	(void) AggregateContext(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	state = MakeValueState(CurrentMemoryContext);
	n = pq_getmsgint64(&buf);
	for (int64 i = 0; i < n; i++)
	{
		int64		count = pq_getmsgint64(&buf);
		int			len = pq_getmsgint(&buf, 4);

		CHECK_FOR_INTERRUPTS();
		AddValue(state, pq_getmsgbytes(&buf, len), len, count);
	}
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(state);
}

/*
 * preferred_value_final
 *		Final function: leaves the state as it was; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_value_final);
Datum
loyalty_preferred_value_final(PG_FUNCTION_ARGS)
{
	ValueSlot  *best;
	int64		total;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	best = MostFrequent((ValueState *) PG_GETARG_POINTER(0), &total);
	return MakePreference(fcinfo,
						  PointerGetDatum(cstring_to_text_with_len(best->key.data, best->key.len)),
						  best->n, total);
}

/* ---- discounts ---- */

static void
AddTo(Numeric *sum, Numeric amount, MemoryContext context)
{
	Numeric		result = DatumGetNumeric(DirectFunctionCall2(numeric_add,
															 NumericGetDatum(*sum),
															 NumericGetDatum(amount)));
	Numeric		kept;

	if (VARSIZE(result) <= VARSIZE(*sum))
		kept = *sum;
	else
	{
		pfree(*sum);
		kept = MemoryContextAlloc(context, VARSIZE(result));
	}
	memcpy(kept, result, VARSIZE(result));
	*sum = kept;
	pfree(result);
}

static DiscountState *
MakeDiscountState(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	DiscountState *state = palloc0(sizeof(DiscountState));

	state->amount = int64_to_numeric(0);
	state->discounted_amount = int64_to_numeric(0);
	state->discount = int64_to_numeric(0);
	MemoryContextSwitchTo(old);
	return state;
}

/*
 * discount_agg(amount numeric, discount numeric) -> discount_profile
 *		Transition.  One row for each order: what was paid, after the
 *		discount, and the discount.  A NULL discount is none.  Rows with a
 *		NULL amount, and refunds (negative amounts), are skipped.  LY343 for
 *		NaN and infinite amounts, LY003 for a negative discount.
 */
PG_FUNCTION_INFO_V1(loyalty_discount_trans);
Datum
loyalty_discount_trans(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	DiscountState *state = PG_ARGISNULL(0) ? NULL : (DiscountState *) PG_GETARG_POINTER(0);
	Numeric		zero = int64_to_numeric(0);

	if (!PG_ARGISNULL(1))
	{
		Numeric		amount = PG_GETARG_NUMERIC(1);
		Numeric		discount = PG_ARGISNULL(2) ? zero : PG_GETARG_NUMERIC(2);
		int			sign;

		CheckFiniteAmount(amount, "the amount of an order");
		CheckFiniteAmount(discount, "the discount of an order");
		sign = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(discount),
												 NumericGetDatum(zero)));
		if (sign < 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("the discount of an order is %s",
							DatumGetCString(DirectFunctionCall1(numeric_out,
																NumericGetDatum(discount)))),
					 errdetail("A discount lowers what is paid; it is 0 or positive."),
					 errhint("Pass the amount of the discount, not the change of the price.")));
		if (DatumGetBool(DirectFunctionCall2(numeric_ge, NumericGetDatum(amount),
											 NumericGetDatum(zero))))
		{
			if (state == NULL)
				state = MakeDiscountState(context);
			state->orders++;
			AddTo(&state->amount, amount, context);
			if (sign > 0)
			{
				state->discounted_orders++;
				AddTo(&state->discounted_amount, amount, context);
				AddTo(&state->discount, discount, context);
			}
		}
	}
	RETURN_STATE(state);
}

/*
 * discount_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_discount_combine);
Datum
loyalty_discount_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = AggregateContext(fcinfo);
	DiscountState *a = PG_ARGISNULL(0) ? NULL : (DiscountState *) PG_GETARG_POINTER(0);
	DiscountState *b = PG_ARGISNULL(1) ? NULL : (DiscountState *) PG_GETARG_POINTER(1);

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakeDiscountState(context);
	a->orders += b->orders;
	a->discounted_orders += b->discounted_orders;
	AddTo(&a->amount, b->amount, context);
	AddTo(&a->discounted_amount, b->discounted_amount, context);
	AddTo(&a->discount, b->discount, context);
	PG_RETURN_POINTER(a);
}

static void
SendNumeric(StringInfo buf, Numeric n)
{
	bytea	   *sent = DatumGetByteaP(DirectFunctionCall1(numeric_send, NumericGetDatum(n)));

	pq_sendint32(buf, VARSIZE(sent) - VARHDRSZ);
	pq_sendbytes(buf, VARDATA(sent), VARSIZE(sent) - VARHDRSZ);
}

static Numeric
ReceiveNumeric(StringInfo buf)
{
	int			len = pq_getmsgint(buf, 4);
	StringInfoData piece;

	initStringInfo(&piece);
	appendBinaryStringInfo(&piece, pq_getmsgbytes(buf, len), len);
	return DatumGetNumeric(DirectFunctionCall3(numeric_recv, PointerGetDatum(&piece),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/*
 * discount_serialize
 *		The state field by field, for another process of the same server.
 */
PG_FUNCTION_INFO_V1(loyalty_discount_serialize);
Datum
loyalty_discount_serialize(PG_FUNCTION_ARGS)
{
	DiscountState *state = (DiscountState *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint64(&buf, state->orders);
	pq_sendint64(&buf, state->discounted_orders);
	SendNumeric(&buf, state->amount);
	SendNumeric(&buf, state->discounted_amount);
	SendNumeric(&buf, state->discount);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * discount_deserialize
 *		Reads what the serialization wrote; anything behind it is an error.
 */
PG_FUNCTION_INFO_V1(loyalty_discount_deserialize);
Datum
loyalty_discount_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	DiscountState *state = palloc0(sizeof(DiscountState));
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	state->orders = pq_getmsgint64(&buf);
	state->discounted_orders = pq_getmsgint64(&buf);
	state->amount = ReceiveNumeric(&buf);
	state->discounted_amount = ReceiveNumeric(&buf);
	state->discount = ReceiveNumeric(&buf);
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(state);
}

/*
 * discount_final(internal) -> discount_profile
 *		events are the discounted orders, total is all of them, share the
 *		quotient, as in a preference; depth is the discount over the
 *		undiscounted price of all orders, NULL when that is 0.
 */
PG_FUNCTION_INFO_V1(loyalty_discount_final);
Datum
loyalty_discount_final(PG_FUNCTION_ARGS)
{
	DiscountState *state;
	TupleDesc	tupdesc;
	Datum		values[7];
	bool		nulls[7] = {false};
	Datum		gross;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	state = (DiscountState *) PG_GETARG_POINTER(0);
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "a discount_profile is a row");

	gross = DirectFunctionCall2(numeric_add, NumericGetDatum(state->amount),
								NumericGetDatum(state->discount));
	values[0] = Int64GetDatum(state->discounted_orders);
	values[1] = Int64GetDatum(state->orders);
	values[2] = DirectFunctionCall2(numeric_div,
									NumericGetDatum(int64_to_numeric(state->discounted_orders)),
									NumericGetDatum(int64_to_numeric(state->orders)));
	values[3] = NumericGetDatum(state->amount);
	values[4] = NumericGetDatum(state->discounted_amount);
	values[5] = NumericGetDatum(state->discount);
	nulls[6] = DatumGetBool(DirectFunctionCall2(numeric_eq, gross,
												NumericGetDatum(int64_to_numeric(0))));
	values[6] = nulls[6] ? (Datum) 0
		: DirectFunctionCall2(numeric_div, NumericGetDatum(state->discount), gross);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}
