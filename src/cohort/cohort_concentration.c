/*
 * cohort_concentration.c
 *		Type concentration: how many members have which amount, and what
 *		follows: Gini coefficient, share of the top members, Pareto curve.
 *
 * Amounts are numeric and stay so: sums are exact, and every ratio is one
 * division of exact numbers.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "cohort/cohort.h"
#include "core/errors.h"

typedef struct AmountSlot
{
	Numeric		amount;			/* without trailing zeros */
	int64		members;
	uint32		hash;
	char		status;
} AmountSlot;

#define SH_PREFIX amounts
#define SH_ELEMENT_TYPE AmountSlot
#define SH_KEY_TYPE Numeric
#define SH_KEY amount
#define SH_HASH_KEY(tb, key) \
	DatumGetUInt32(DirectFunctionCall1(hash_numeric, NumericGetDatum(key)))
#define SH_EQUAL(tb, x, y) \
	DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(x), NumericGetDatum(y)))
#define SH_STORE_HASH
#define SH_GET_HASH(tb, slot) ((slot)->hash)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct AmountState
{
	MemoryContext context;
	amounts_hash *hash;
	int64		members;
} AmountState;

#define CONCENTRATION_VERSION	1

/*
 * The stored value.  Behind the head follow, in ascending order of amounts
 * and each at a multiple of eight bytes, the number of members (int64) and
 * the amount (a numeric with a four-byte header).
 */
typedef struct Concentration
{
	int32		vl_len_;		/* varlena header */
	uint8		version;		/* CONCENTRATION_VERSION */
	uint8		reserved[3];
	int64		members;
	int64		values;			/* different amounts */
} Concentration;

#define CONCENTRATION_HEAD	MAXALIGN(sizeof(Concentration))

/* Walks through the amounts from the smallest up. */
typedef struct AmountCursor
{
	const char *next;
	const char *end;
	int64		members;
	Numeric		amount;
} AmountCursor;

/* ---- plain computing ---- */

static void
Rewind(AmountCursor *cursor, const Concentration *c)
{
	cursor->next = (const char *) c + CONCENTRATION_HEAD;
	cursor->end = (const char *) c + VARSIZE(c);
}

static bool
Next(AmountCursor *cursor)
{
	if (cursor->next >= cursor->end)
		return false;
	cursor->members = *(const int64 *) cursor->next;
	cursor->amount = (Numeric) (cursor->next + sizeof(int64));
	cursor->next += MAXALIGN(sizeof(int64) + VARSIZE(cursor->amount));
	return true;
}

static AmountState *
MakeAmountState(MemoryContext context)
{
	AmountState *state = MemoryContextAllocZero(context, sizeof(AmountState));

	state->context = context;
	state->hash = amounts_create(context, 64, NULL);
	return state;
}

static void
AddAmount(AmountState *state, Numeric amount, int64 members)
{
	AmountSlot *slot;
	bool		found;

	slot = amounts_insert(state->hash, amount, &found);
	if (!found)
	{
		MemoryContext old = MemoryContextSwitchTo(state->context);

		/* 1.0 and 1.00 are equal: keep the one form that both have */
		slot->amount = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
														   NumericGetDatum(amount)));
		slot->members = 0;
		MemoryContextSwitchTo(old);
	}
	slot->members += members;
	state->members += members;
}

/* Sorting by a double first spares most of the comparisons of numerics. */
typedef struct SortItem
{
	double		approximate;
	AmountSlot *slot;
} SortItem;

static int
CompareItems(const void *pa, const void *pb)
{
	const SortItem *a = pa;
	const SortItem *b = pb;

	if (a->approximate != b->approximate)
		return a->approximate < b->approximate ? -1 : 1;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp,
											 NumericGetDatum(a->slot->amount),
											 NumericGetDatum(b->slot->amount)));
}

static SortItem *
SortAmounts(AmountState *state)
{
	SortItem   *items = MemoryContextAllocHuge(CurrentMemoryContext,
											   Max(1, state->hash->members) * sizeof(SortItem));
	amounts_iterator it;
	AmountSlot *slot;
	Size		n = 0;

	amounts_start_iterate(state->hash, &it);
	while ((slot = amounts_iterate(state->hash, &it)) != NULL)
	{
		items[n].approximate =
			DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											   NumericGetDatum(slot->amount)));
		items[n++].slot = slot;
	}
	qsort(items, n, sizeof(SortItem), CompareItems);
	return items;
}

/*
 * The state as a stored value, in the current context.
 */
static Concentration *
FinishAmounts(AmountState *state)
{
	SortItem   *items = SortAmounts(state);
	Size		n = state->hash->members;
	Size		size = CONCENTRATION_HEAD;
	Concentration *c;
	char	   *to;

	for (Size i = 0; i < n; i++)
		size += MAXALIGN(sizeof(int64) + VARSIZE(items[i].slot->amount));
	if (!AllocSizeIsValid(size))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("this concentration would need %zu bytes", size),
				 errdetail("There are %zu different amounts; a value can hold 1 GB.", n),
				 errhint("Round the amounts, for example to whole units.")));
	c = palloc0(size);
	SET_VARSIZE(c, size);
	c->version = CONCENTRATION_VERSION;
	c->members = state->members;
	c->values = n;
	to = (char *) c + CONCENTRATION_HEAD;
	for (Size i = 0; i < n; i++)
	{
		*(int64 *) to = items[i].slot->members;
		memcpy(to + sizeof(int64), items[i].slot->amount, VARSIZE(items[i].slot->amount));
		to += MAXALIGN(sizeof(int64) + VARSIZE(items[i].slot->amount));
	}
	pfree(items);
	return c;
}

static inline Numeric
FromInt(int64 i)
{
	return int64_to_numeric(i);
}

static inline Numeric
Add(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
Multiply(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
Subtract(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
Divide(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline int
Compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/*
 * A scratch context for long sums.  Every so often what the sums have reached
 * is carried over into a fresh one.
 */
#define CARRY_EVERY		4096

static Numeric
Carry(Numeric n, MemoryContext to)
{
	Numeric		copy = MemoryContextAlloc(to, VARSIZE(n));

	memcpy(copy, n, VARSIZE(n));
	return copy;
}

/*
 * The sum of all amounts and, when wanted, the sum of rank times amount, with
 * ranks from 1 for the smallest amount.
 */
static Numeric
SumAmounts(const Concentration *c, Numeric *ranked)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(outer, "concentration", ALLOCSET_DEFAULT_SIZES);
	AmountCursor cursor;
	Numeric		sum = FromInt(0),
				weighted = FromInt(0);
	int64		before = 0;
	int			n = 0;

	MemoryContextSwitchTo(work);
	Rewind(&cursor, c);
	while (Next(&cursor))
	{
		sum = Add(sum, Multiply(cursor.amount, FromInt(cursor.members)));
		if (ranked != NULL)
		{
			/* twice the sum of the ranks before + 1 to before + members */
			Numeric		ranks = Multiply(FromInt(cursor.members),
										 FromInt(2 * before + cursor.members + 1));

			weighted = Add(weighted, Multiply(cursor.amount, ranks));
			before += cursor.members;
		}
		if (++n % CARRY_EVERY == 0)
		{
			CHECK_FOR_INTERRUPTS();
			sum = Carry(sum, outer);
			weighted = Carry(weighted, outer);
			MemoryContextReset(work);
		}
	}
	MemoryContextSwitchTo(outer);
	sum = Carry(sum, outer);
	if (ranked != NULL)
		*ranked = Carry(weighted, outer);
	MemoryContextDelete(work);
	return sum;
}

/* Where each amount stands, so that they can be walked from the top. */
static const char **
Positions(const Concentration *c)
{
	const char **starts = MemoryContextAllocHuge(CurrentMemoryContext,
												 Max(1, c->values) * sizeof(char *));
	AmountCursor cursor;
	int64		n = 0;

	Rewind(&cursor, c);
	for (const char *at = cursor.next; Next(&cursor); at = cursor.next)
		starts[n++] = at;
	return starts;
}

static void
ReadAt(AmountCursor *cursor, const char *start)
{
	cursor->members = *(const int64 *) start;
	cursor->amount = (Numeric) (start + sizeof(int64));
}

/*
 * The sums of the largest k amounts, for n values of k in ascending order.
 */
static void
SumTop(const Concentration *c, const int64 *k, int n, Numeric *sums)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(outer, "concentration", ALLOCSET_DEFAULT_SIZES);
	const char **starts = Positions(c);
	AmountCursor cursor;
	int64		seen = 0;
	int			next = 0;
	Numeric		sum = FromInt(0);

	MemoryContextSwitchTo(work);
	while (next < n && k[next] <= 0)
		sums[next++] = Carry(sum, outer);
	for (int64 v = c->values - 1; next < n && v >= 0; v--)
	{
		ReadAt(&cursor, starts[v]);
		while (next < n && k[next] <= seen + cursor.members)
		{
			sums[next] = Carry(Add(sum, Multiply(cursor.amount, FromInt(k[next] - seen))), outer);
			next++;
		}
		sum = Add(sum, Multiply(cursor.amount, FromInt(cursor.members)));
		seen += cursor.members;
		if (v % CARRY_EVERY == 0)
		{
			CHECK_FOR_INTERRUPTS();
			sum = Carry(sum, outer);
			MemoryContextReset(work);
		}
	}
	Assert(next == n);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(work);
	pfree(starts);
}

/*
 * The smallest number of top members with at least percent of the sum of all,
 * which must be positive.
 */
static int64
CountTop(const Concentration *c, Numeric total, Numeric percent)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(outer, "concentration", ALLOCSET_DEFAULT_SIZES);
	const char **starts = Positions(c);
	Numeric		wanted = Multiply(total, percent);
	Numeric		hundred = FromInt(100);
	Numeric		sum = FromInt(0);
	int64		seen = 0;

	MemoryContextSwitchTo(work);
	if (Compare(wanted, sum) > 0)
	{
		for (int64 v = c->values - 1; v >= 0; v--)
		{
			AmountCursor cursor;
			Numeric		with_all;

			ReadAt(&cursor, starts[v]);
			with_all = Add(sum, Multiply(cursor.amount, FromInt(cursor.members)));
			if (Compare(Multiply(with_all, hundred), wanted) >= 0)
			{
				int64		low = 1,
							high = cursor.members;

				while (low < high)
				{
					int64		mid = low + (high - low) / 2;
					Numeric		with_mid = Add(sum, Multiply(cursor.amount, FromInt(mid)));

					if (Compare(Multiply(with_mid, hundred), wanted) >= 0)
						high = mid;
					else
						low = mid + 1;
				}
				seen += low;
				break;
			}
			sum = with_all;
			seen += cursor.members;
			if (v % CARRY_EVERY == 0)
			{
				CHECK_FOR_INTERRUPTS();
				sum = Carry(sum, outer);
				MemoryContextReset(work);
			}
		}
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(work);
	pfree(starts);
	return seen;
}

/*
 * The smallest whole number of members that is at least a share of all.
 */
static int64
MembersOf(const Concentration *c, Numeric percent)
{
	/* times 0.01 is exact; a division by 100 might round */
	Numeric		hundredth = DatumGetNumeric(DirectFunctionCall3(numeric_in,
																CStringGetDatum("0.01"),
																ObjectIdGetDatum(InvalidOid),
																Int32GetDatum(-1)));
	Numeric		k = Multiply(Multiply(FromInt(c->members), percent), hundredth);

	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 DirectFunctionCall1(numeric_ceil, NumericGetDatum(k))));
}

#ifdef USE_ASSERT_CHECKING
static const char *
ConcentrationProblem(const Concentration *c)
{
	AmountCursor cursor;
	Numeric		previous = NULL;
	int64		members = 0,
				values = 0;

	if (VARSIZE(c) < CONCENTRATION_HEAD || c->version != CONCENTRATION_VERSION)
		return "unknown version";
	Rewind(&cursor, c);
	while (Next(&cursor))
	{
		if (cursor.members < 1)
			return "an amount without members";
		if (previous != NULL && Compare(previous, cursor.amount) >= 0)
			return "amounts out of order";
		previous = cursor.amount;
		members += cursor.members;
		values++;
	}
	if (members != c->members || values != c->values)
		return "wrong number of members";
	return NULL;
}
#endif

static Concentration *
GetConcentration(Datum d)
{
	Concentration *c = (Concentration *) PG_DETOAST_DATUM(d);

	if (VARSIZE(c) < CONCENTRATION_HEAD || c->version != CONCENTRATION_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_COHORT_VALUE),
				 errmsg("this concentration has format %d", c->version),
				 errdetail("This version of the extension reads format %d.", CONCENTRATION_VERSION),
				 errhint("Run ALTER EXTENSION loyalty UPDATE.")));
#ifdef USE_ASSERT_CHECKING
	Assert(ConcentrationProblem(c) == NULL);
#endif
	return c;
}

static void
CheckPercent(Numeric percent)
{
	if (numeric_is_nan(percent) || numeric_is_inf(percent) ||
		Compare(percent, FromInt(0)) < 0 || Compare(percent, FromInt(100)) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s is not a percentage",
						DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(percent)))),
				 errdetail("Shares are counted from 0 to 100."),
				 errhint("Pass 20 for one fifth.")));
}

/* ---- input and output ---- */

/*
 * concentration_in(cstring), concentration_out(concentration)
 *		The text form is {amount=members,...}, amounts ascending; it is made
 *		for dump and restore, errors are 22P02.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_in);
Datum
loyalty_concentration_in(PG_FUNCTION_ARGS)
{
	char	   *str = PG_GETARG_CSTRING(0);
	char	   *s = pstrdup(str);
	AmountState *state = MakeAmountState(CurrentMemoryContext);

	if (*s++ != '{')
		goto bad;
	while (*s != '}')
	{
		char	   *equals = strchr(s, '=');
		char	   *end;
		int64		members;
		Numeric		amount;

		CHECK_FOR_INTERRUPTS();
		if (equals == NULL)
			goto bad;
		*equals = '\0';
		amount = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(s),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
		members = strtoll(equals + 1, &end, 10);
		if (end == equals + 1 || members < 1 || numeric_is_nan(amount) || numeric_is_inf(amount))
			goto bad;
		AddAmount(state, amount, members);
		s = end;
		if (*s == ',')
			s++;
		else if (*s != '}')
			goto bad;
	}
	if (s[1] != '\0')
		goto bad;
	PG_RETURN_POINTER(FinishAmounts(state));

bad:
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type concentration: \"%s\"", str),
			 errdetail("The text form is {amount=members,...}."),
			 errhint("Compute it with concentration_agg().")));
	PG_RETURN_NULL();
}

/*
 * concentration_out
 *		Text output, for dump and restore.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_out);
Datum
loyalty_concentration_out(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	StringInfoData buf;
	AmountCursor cursor;
	const char *separator = "";

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	Rewind(&cursor, c);
	while (Next(&cursor))
	{
		char	   *amount = DatumGetCString(DirectFunctionCall1(numeric_out,
																 NumericGetDatum(cursor.amount)));

		CHECK_FOR_INTERRUPTS();
		appendStringInfo(&buf, "%s%s=" INT64_FORMAT, separator, amount, cursor.members);
		pfree(amount);
		separator = ",";
	}
	appendStringInfoChar(&buf, '}');
	PG_RETURN_CSTRING(buf.data);
}

static void
SendAmount(StringInfo buf, Numeric amount, int64 members)
{
	bytea	   *sent = DatumGetByteaP(DirectFunctionCall1(numeric_send, NumericGetDatum(amount)));

	pq_sendint64(buf, members);
	pq_sendint32(buf, VARSIZE(sent) - VARHDRSZ);
	pq_sendbytes(buf, VARDATA(sent), VARSIZE(sent) - VARHDRSZ);
	pfree(sent);
}

static AmountState *
ReceiveAmounts(StringInfo buf, MemoryContext context)
{
	AmountState *state = MakeAmountState(context);
	int			version = pq_getmsgbyte(buf);
	int64		values;

	if (version != CONCENTRATION_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("this concentration has format %d", version),
				 errdetail("This version of the extension reads format %d.", CONCENTRATION_VERSION),
				 errhint("Send it from the same version of the extension.")));
	values = pq_getmsgint64(buf);
	for (int64 i = 0; i < values; i++)
	{
		int64		members = pq_getmsgint64(buf);
		int			len = pq_getmsgint(buf, 4);
		StringInfoData piece;
		Numeric		amount;

		CHECK_FOR_INTERRUPTS();
		initStringInfo(&piece);
		appendBinaryStringInfo(&piece, pq_getmsgbytes(buf, len), len);
		amount = DatumGetNumeric(DirectFunctionCall3(numeric_recv, PointerGetDatum(&piece),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
		if (members < 1 || numeric_is_nan(amount) || numeric_is_inf(amount))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("invalid concentration: amount without members, or not finite"),
					 errdetail("Each amount has at least one member."),
					 errhint("Send it from the same version of the extension.")));
		AddAmount(state, amount, members);
		pfree(amount);
		pfree(piece.data);
	}
	return state;
}

/*
 * concentration_recv(internal), concentration_send(concentration)
 *		Version byte, number of amounts, and for each the members and the
 *		amount as numeric_send writes it.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_recv);
Datum
loyalty_concentration_recv(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(FinishAmounts(ReceiveAmounts((StringInfo) PG_GETARG_POINTER(0),
												   CurrentMemoryContext)));
}

/*
 * concentration_send
 *		Binary output; see the receiving function for the format.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_send);
Datum
loyalty_concentration_send(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	StringInfoData buf;
	AmountCursor cursor;

	pq_begintypsend(&buf);
	pq_sendbyte(&buf, CONCENTRATION_VERSION);
	pq_sendint64(&buf, c->values);
	Rewind(&cursor, c);
	while (Next(&cursor))
		SendAmount(&buf, cursor.amount, cursor.members);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---- the aggregates ---- */

/*
 * concentration_agg(amount numeric) -> concentration
 *		Transition.  One row for each member, with its amount; NULLs are
 *		skipped, negative amounts are taken as they are; LY343 for NaN and
 *		infinite amounts.  Memory grows with the number of different amounts.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_trans);
Datum
loyalty_concentration_trans(PG_FUNCTION_ARGS)
{
	MemoryContext context = NeedAggContext(fcinfo, "concentration_trans");
	AmountState *state = PG_ARGISNULL(0) ? NULL : (AmountState *) PG_GETARG_POINTER(0);

	if (state == NULL)
		state = MakeAmountState(context);
	if (!PG_ARGISNULL(1))
	{
		Numeric		amount = PG_GETARG_NUMERIC(1);

		CheckFiniteAmount(amount, "the amount of a member");
		AddAmount(state, amount, 1);
	}
	PG_RETURN_POINTER(state);
}

/*
 * concentration_rollup(concentration): adds up values of different members.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_rollup_trans);
Datum
loyalty_concentration_rollup_trans(PG_FUNCTION_ARGS)
{
	MemoryContext context = NeedAggContext(fcinfo, "concentration_rollup_trans");
	AmountState *state = PG_ARGISNULL(0) ? NULL : (AmountState *) PG_GETARG_POINTER(0);

	if (state == NULL)
		state = MakeAmountState(context);
	if (!PG_ARGISNULL(1))
	{
		AmountCursor cursor;

		Rewind(&cursor, GetConcentration(PG_GETARG_DATUM(1)));
		while (Next(&cursor))
		{
			CHECK_FOR_INTERRUPTS();
			AddAmount(state, cursor.amount, cursor.members);
		}
	}
	PG_RETURN_POINTER(state);
}

/*
 * concentration_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_combine);
Datum
loyalty_concentration_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context = NeedAggContext(fcinfo, "concentration_combine");
	AmountState *a = PG_ARGISNULL(0) ? NULL : (AmountState *) PG_GETARG_POINTER(0);
	AmountState *b = PG_ARGISNULL(1) ? NULL : (AmountState *) PG_GETARG_POINTER(1);
	amounts_iterator it;
	AmountSlot *slot;

	if (b == NULL)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	if (a == NULL)
		a = MakeAmountState(context);
	amounts_start_iterate(b->hash, &it);
	while ((slot = amounts_iterate(b->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		AddAmount(a, slot->amount, slot->members);
	}
	PG_RETURN_POINTER(a);
}

/*
 * concentration_serialize
 *		The state field by field, for another process of the same server.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_serialize);
Datum
loyalty_concentration_serialize(PG_FUNCTION_ARGS)
{
	AmountState *state = (AmountState *) PG_GETARG_POINTER(0);
	StringInfoData buf;
	amounts_iterator it;
	AmountSlot *slot;

	(void) NeedAggContext(fcinfo, "concentration_serialize");
	pq_begintypsend(&buf);
	pq_sendbyte(&buf, CONCENTRATION_VERSION);
	pq_sendint64(&buf, state->hash->members);
	amounts_start_iterate(state->hash, &it);
	while ((slot = amounts_iterate(state->hash, &it)) != NULL)
		SendAmount(&buf, slot->amount, slot->members);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * concentration_deserialize
 *		Reads what the serialization wrote; anything behind it is an error.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_deserialize);
Datum
loyalty_concentration_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	AmountState *state;

	(void) NeedAggContext(fcinfo, "concentration_deserialize");
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	state = ReceiveAmounts(&buf, CurrentMemoryContext);
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(state);
}

/*
 * concentration_final
 *		Final function: leaves the state as it was; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_final);
Datum
loyalty_concentration_final(PG_FUNCTION_ARGS)
{
	(void) NeedAggContext(fcinfo, "concentration_final");
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(FinishAmounts((AmountState *) PG_GETARG_POINTER(0)));
}

/* ---- accessors ---- */

/*
 * member_count(concentration) -> bigint, amount_total(concentration) -> numeric
 */
PG_FUNCTION_INFO_V1(loyalty_member_count);
Datum
loyalty_member_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(GetConcentration(PG_GETARG_DATUM(0))->members);
}

/*
 * amount_total(concentration) -> numeric: the exact sum of all amounts.
 */
PG_FUNCTION_INFO_V1(loyalty_amount_total);
Datum
loyalty_amount_total(PG_FUNCTION_ARGS)
{
	PG_RETURN_NUMERIC(SumAmounts(GetConcentration(PG_GETARG_DATUM(0)), NULL));
}

/*
 * gini(concentration) -> numeric
 *		The Gini coefficient: sum over i of (2 i - n - 1) x_i / (n sum of x),
 *		with amounts x_1 <= ... <= x_n.  0 when all are equal, (n - 1) / n when
 *		one has all.  With negative amounts it can exceed 1.  NULL without
 *		members, and when the sum is not positive.
 */
PG_FUNCTION_INFO_V1(loyalty_gini);
Datum
loyalty_gini(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	Numeric		sum,
				ranked,
				n = FromInt(c->members);

	sum = SumAmounts(c, &ranked);
	if (Compare(sum, FromInt(0)) <= 0)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(Divide(Subtract(ranked, Multiply(FromInt(c->members + 1), sum)),
							 Multiply(n, sum)));
}

/*
 * top_share(concentration, percent numeric) -> numeric
 *		The part of the whole amount, from 0 to 1, that the top percent of
 *		the members have.  Their number is rounded up to a whole one.  NULL
 *		when the whole amount is not positive.
 */
PG_FUNCTION_INFO_V1(loyalty_top_share);
Datum
loyalty_top_share(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	Numeric		percent = PG_GETARG_NUMERIC(1);
	Numeric		sum,
				top;
	int64		k;

	CheckPercent(percent);
	sum = SumAmounts(c, NULL);
	if (Compare(sum, FromInt(0)) <= 0)
		PG_RETURN_NULL();
	k = MembersOf(c, percent);
	SumTop(c, &k, 1, &top);
	PG_RETURN_NUMERIC(Divide(top, sum));
}

/*
 * members_for_share(concentration, percent numeric) -> bigint
 *		The smallest number of top members who together have at least that
 *		percentage of the whole amount; NULL when that is not positive.
 */
PG_FUNCTION_INFO_V1(loyalty_members_for_share);
Datum
loyalty_members_for_share(PG_FUNCTION_ARGS)
{
	Concentration *c = GetConcentration(PG_GETARG_DATUM(0));
	Numeric		percent = PG_GETARG_NUMERIC(1);
	Numeric		sum;

	CheckPercent(percent);
	sum = SumAmounts(c, NULL);
	if (Compare(sum, FromInt(0)) <= 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(CountTop(c, sum, percent));
}

/*
 * pareto_curve(concentration, points integer DEFAULT 100)
 *		-> setof (member_share numeric, members bigint, amount numeric, amount_share numeric)
 *		For i from 1 to points, what the top i / points of the members have.
 *		Their number is rounded up to a whole one.  amount_share is NULL when
 *		the whole amount is not positive.  No rows without members.
 */
PG_FUNCTION_INFO_V1(loyalty_pareto_curve);
Datum
loyalty_pareto_curve(PG_FUNCTION_ARGS)
{
	typedef struct
	{
		int64	   *k;
		Numeric    *sums;
		Numeric		total;
	} Curve;
	FuncCallContext *funcctx;
	Curve	   *curve;
	int32		points = PG_GETARG_INT32(1);

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc	tupdesc;
		Concentration *c;

		if (points < 1 || points > 10000)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("the number of points is %d", points),
					 errdetail("A curve has 1 to 10000 points."),
					 errhint("Pass 100 for one point for each percent.")));
		funcctx = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "pareto_curve returns rows");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);
		c = GetConcentration(PG_GETARG_DATUM(0));
		curve = palloc(sizeof(Curve));
		curve->k = palloc(points * sizeof(int64));
		curve->sums = palloc(points * sizeof(Numeric));
		for (int i = 1; i <= points; i++)
			curve->k[i - 1] = (int64) (((int128) c->members * i + points - 1) / points);
		curve->total = SumAmounts(c, NULL);
		SumTop(c, curve->k, points, curve->sums);
		funcctx->user_fctx = curve;
		funcctx->max_calls = c->members > 0 ? points : 0;
		MemoryContextSwitchTo(old);
	}
	funcctx = SRF_PERCALL_SETUP();
	curve = (Curve *) funcctx->user_fctx;

	if (funcctx->call_cntr < funcctx->max_calls)
	{
		int			i = (int) funcctx->call_cntr;
		Datum		values[4];
		bool		nulls[4] = {false, false, false, false};

		values[0] = NumericGetDatum(Divide(FromInt(i + 1), FromInt(points)));
		values[1] = Int64GetDatum(curve->k[i]);
		values[2] = NumericGetDatum(curve->sums[i]);
		nulls[3] = Compare(curve->total, FromInt(0)) <= 0;
		values[3] = nulls[3] ? (Datum) 0 : NumericGetDatum(Divide(curve->sums[i], curve->total));
		SRF_RETURN_NEXT(funcctx,
						HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(funcctx);
}
