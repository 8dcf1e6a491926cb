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
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

#define NSLOTS		24			/* hours; weekdays use 1 to 7 */

typedef struct SlotState
{
	State		head;
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
	State		head;
	values_hash *hash;
} ValueState;

typedef struct DiscountState
{
	State		head;
	int64		orders;
	int64		discounted_orders;
	Numeric		amount;
	Numeric		discounted_amount;
	Numeric		discount;
} DiscountState;

static void WriteSlots(StringInfo buf, void *state);
static void *ReadSlots(StringInfo buf);
static void WriteValues(StringInfo buf, void *state);
static void *ReadValues(StringInfo buf);
static void WriteDiscount(StringInfo buf, void *state);
static void *ReadDiscount(StringInfo buf);

const StateKind slots_state = {
	.methods = STATE_METHODS,
	.number = STATE_SLOTS,
	.aggregate = "preferred_hour_agg or preferred_weekday_agg",
	.write = WriteSlots,
	.read = ReadSlots
};

const StateKind values_state = {
	.methods = STATE_METHODS,
	.number = STATE_VALUES,
	.aggregate = "preferred_value_agg",
	.write = WriteValues,
	.read = ReadValues
};

const StateKind discount_state = {
	.methods = STATE_METHODS,
	.number = STATE_DISCOUNT,
	.aggregate = "discount_agg",
	.write = WriteDiscount,
	.read = ReadDiscount
};

/* ---- plain computing ---- */

static ValueState *
MakeValueState(MemoryContext context)
{
	ValueState *state = MakeState(&values_state, sizeof(ValueState), context);

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
		char	   *copy = AllocForState(StateMemory(state), len);

		memcpy(copy, data, len);
		slot->key.data = copy;
		slot->n = 0;
	}
	slot->n = AddCounts(slot->n, n);
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
		*total = AddCounts(*total, slot->n);
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
	SlotState  *state = GetState(fcinfo, 0, &slots_state);
	PeriodClock *clock = GetPeriodClock(fcinfo, -1, 2);

	if (!PG_ARGISNULL(1))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);

		CheckFiniteInstant(at, "the instant of an event");
		if (state == NULL)
			state = MakeState(&slots_state, sizeof(SlotState), StateContext(fcinfo));
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
	SlotState  *a = GetState(fcinfo, 0, &slots_state);
	SlotState  *b = GetState(fcinfo, 1, &slots_state);

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakeState(&slots_state, sizeof(SlotState), StateContext(fcinfo));
	for (int i = 0; i < NSLOTS; i++)
		a->counts[i] = AddCounts(a->counts[i], b->counts[i]);
	RETURN_STATE(a);
}

static void
WriteSlots(StringInfo buf, void *state)
{
	for (int i = 0; i < NSLOTS; i++)
		pq_sendint64(buf, ((SlotState *) state)->counts[i]);
}

static void *
ReadSlots(StringInfo buf)
{
	SlotState  *state = MakeState(&slots_state, sizeof(SlotState), CurrentMemoryContext);
	int64		total = 0;

	for (int i = 0; i < NSLOTS; i++)
	{
		state->counts[i] = pq_getmsgint64(buf);
		if (state->counts[i] < 0)
			RefuseState(&slots_state, "a count is negative");
		total = AddCounts(total, state->counts[i]);
	}
	if (total == 0)
		RefuseState(&slots_state, "nothing was counted");
	return state;
}

/*
 * preferred_slot_final(aggregate_state) -> preferred_number
 *		Of equally frequent hours or weekdays the smallest; NULL without events.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_slot_final);
Datum
loyalty_preferred_slot_final(PG_FUNCTION_ARGS)
{
	SlotState  *state = GetState(fcinfo, 0, &slots_state);
	int			best = 0;
	int64		total = 0;

	if (state == NULL)
		PG_RETURN_NULL();
	for (int i = 0; i < NSLOTS; i++)
	{
		total = AddCounts(total, state->counts[i]);
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
	ValueState *state = GetState(fcinfo, 0, &values_state);

	if (!PG_ARGISNULL(1))
	{
		text	   *value = PG_GETARG_TEXT_PP(1);

		if (state == NULL)
			state = MakeValueState(StateContext(fcinfo));
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
	ValueState *a = GetState(fcinfo, 0, &values_state);
	ValueState *b = GetState(fcinfo, 1, &values_state);
	values_iterator it;
	ValueSlot  *slot;

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakeValueState(StateContext(fcinfo));
	values_start_iterate(b->hash, &it);
	while ((slot = values_iterate(b->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		AddValue(a, slot->key.data, slot->key.len, slot->n);
	}
	RETURN_STATE(a);
}

static void
WriteValues(StringInfo buf, void *value_state)
{
	ValueState *state = value_state;
	values_iterator it;
	ValueSlot  *slot;

	pq_sendint64(buf, state->hash->members);
	values_start_iterate(state->hash, &it);
	while ((slot = values_iterate(state->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		pq_sendint64(buf, slot->n);
		pq_sendint32(buf, slot->key.len);
		pq_sendbytes(buf, slot->key.data, slot->key.len);
	}
}

static void *
ReadValues(StringInfo buf)
{
	ValueState *state = MakeValueState(CurrentMemoryContext);
	int64		n = pq_getmsgint64(buf);

	if (n < 1)
		RefuseState(&values_state, "it has no value");
	for (int64 i = 0; i < n; i++)
	{
		int64		count = pq_getmsgint64(buf);
		int			len = pq_getmsgint(buf, 4);
		const char *value = pq_getmsgbytes(buf, len);

		CHECK_FOR_INTERRUPTS();
		if (count < 1)
			RefuseState(&values_state, "a value was counted less than once");
		if (!pg_verify_mbstr(GetDatabaseEncoding(), value, len, true))
			RefuseState(&values_state, "a value is no text");
		AddValue(state, value, len, count);
	}
	return state;
}

/*
 * preferred_value_final
 *		Final function: leaves the state as it was; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_preferred_value_final);
Datum
loyalty_preferred_value_final(PG_FUNCTION_ARGS)
{
	ValueState *state = GetState(fcinfo, 0, &values_state);
	ValueSlot  *best;
	int64		total;

	if (state == NULL)
		PG_RETURN_NULL();
	best = MostFrequent(state, &total);
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
	DiscountState *state = MakeState(&discount_state, sizeof(DiscountState), context);

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
	DiscountState *state = GetState(fcinfo, 0, &discount_state);
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
				state = MakeDiscountState(StateContext(fcinfo));
			state->orders++;
			AddTo(&state->amount, amount, StateMemory(state));
			if (sign > 0)
			{
				state->discounted_orders++;
				AddTo(&state->discounted_amount, amount, StateMemory(state));
				AddTo(&state->discount, discount, StateMemory(state));
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
	DiscountState *a = GetState(fcinfo, 0, &discount_state);
	DiscountState *b = GetState(fcinfo, 1, &discount_state);

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakeDiscountState(StateContext(fcinfo));
	a->orders = AddCounts(a->orders, b->orders);
	a->discounted_orders = AddCounts(a->discounted_orders, b->discounted_orders);
	AddTo(&a->amount, b->amount, StateMemory(a));
	AddTo(&a->discounted_amount, b->discounted_amount, StateMemory(a));
	AddTo(&a->discount, b->discount, StateMemory(a));
	RETURN_STATE(a);
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
	Numeric		amount;

	initStringInfo(&piece);
	appendBinaryStringInfo(&piece, pq_getmsgbytes(buf, len), len);
	amount = DatumGetNumeric(DirectFunctionCall3(numeric_recv, PointerGetDatum(&piece),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (numeric_is_nan(amount) || numeric_is_inf(amount))
		RefuseState(&discount_state, "an amount is not finite");
	return amount;
}

static void
WriteDiscount(StringInfo buf, void *written)
{
	DiscountState *state = written;

	pq_sendint64(buf, state->orders);
	pq_sendint64(buf, state->discounted_orders);
	SendNumeric(buf, state->amount);
	SendNumeric(buf, state->discounted_amount);
	SendNumeric(buf, state->discount);
}

static void *
ReadDiscount(StringInfo buf)
{
	DiscountState *state = MakeState(&discount_state, sizeof(DiscountState), CurrentMemoryContext);

	state->orders = pq_getmsgint64(buf);
	state->discounted_orders = pq_getmsgint64(buf);
	if (state->orders < 1 || state->discounted_orders < 0 || state->discounted_orders > state->orders)
		RefuseState(&discount_state, "a number of orders cannot be");
	state->amount = ReceiveNumeric(buf);
	state->discounted_amount = ReceiveNumeric(buf);
	state->discount = ReceiveNumeric(buf);
	return state;
}

/*
 * discount_final(aggregate_state) -> discount_profile
 *		events are the discounted orders, total is all of them, share the
 *		quotient, as in a preference; depth is the discount over the
 *		undiscounted price of all orders, NULL when that is 0.
 */
PG_FUNCTION_INFO_V1(loyalty_discount_final);
Datum
loyalty_discount_final(PG_FUNCTION_ARGS)
{
	DiscountState *state = GetState(fcinfo, 0, &discount_state);
	TupleDesc	tupdesc;
	Datum		values[7];
	bool		nulls[7] = {false};
	Datum		gross;

	if (state == NULL)
		PG_RETURN_NULL();
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
