/*
 * cohort_concentration.c
 *		Type concentration: how many members have which amount.  Its text and
 *		binary forms, and the aggregates that make it.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "cohort/cohort_concentration.h"
#include "core/core.h"
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
	State		head;
	amounts_hash *hash;
	int64		members;
} AmountState;

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind amounts_state = {
	.methods = STATE_METHODS,
	.number = STATE_AMOUNTS,
	.aggregate = "concentration_agg or concentration_rollup",
	.write = WriteState,
	.read = ReadState
};

/* ---- plain computing ---- */

static AmountState *
MakeAmountState(MemoryContext context)
{
	AmountState *state = MakeState(&amounts_state, sizeof(AmountState), context);

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
		MemoryContext old = MemoryContextSwitchTo(StateMemory(state));

		/* 1.0 and 1.00 are equal: keep the one form that both have */
		slot->amount = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
														   NumericGetDatum(amount)));
		slot->members = 0;
		MemoryContextSwitchTo(old);
	}
	/* no amount has more members than all together */
	state->members = AddCounts(state->members, members);
	slot->members += members;
}

/* Sorting by a double first spares most of the comparisons of numerics. */
typedef struct SortItem
{
	double		approximate;
	AmountSlot *slot;
} SortItem;

static int
CompareItems(const SortItem *a, const SortItem *b)
{
	if (a->approximate != b->approximate)
		return a->approximate < b->approximate ? -1 : 1;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp,
											 NumericGetDatum(a->slot->amount),
											 NumericGetDatum(b->slot->amount)));
}

#define ST_SORT SortItems
#define ST_ELEMENT_TYPE SortItem
#define ST_COMPARE(a, b) CompareItems(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

static SortItem *
SortAmounts(AmountState *state)
{
	SortItem   *items = MemoryContextAllocHuge(CurrentMemoryContext,
											   state->hash->members * sizeof(SortItem));
	amounts_iterator it;
	AmountSlot *slot;
	Size		n = 0;

	amounts_start_iterate(state->hash, &it);
	while ((slot = amounts_iterate(state->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		items[n].approximate =
			DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
											   NumericGetDatum(slot->amount)));
		items[n++].slot = slot;
	}
	SortItems(items, n);
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
		CHECK_FOR_INTERRUPTS();
		*(int64 *) to = items[i].slot->members;
		memcpy(to + sizeof(int64), items[i].slot->amount, VARSIZE(items[i].slot->amount));
		to += MAXALIGN(sizeof(int64) + VARSIZE(items[i].slot->amount));
	}
	pfree(items);
	return c;
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
	AmountsRewind(&cursor, c);
	while (AmountsNext(&cursor))
	{
		if (cursor.members < 1)
			return "an amount without members";
		if (previous != NULL &&
			DatumGetBool(DirectFunctionCall2(numeric_ge, NumericGetDatum(previous), NumericGetDatum(cursor.amount))))
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

/*
 * The stored value in an argument; errors out on one that another version of
 * the extension wrote.
 */
Concentration *
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
	AmountsRewind(&cursor, c);
	while (AmountsNext(&cursor))
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
ReceiveAmounts(StringInfo buf)
{
	AmountState *state = MakeAmountState(CurrentMemoryContext);
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
	PG_RETURN_POINTER(FinishAmounts(ReceiveAmounts((StringInfo) PG_GETARG_POINTER(0))));
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
	AmountsRewind(&cursor, c);
	while (AmountsNext(&cursor))
		SendAmount(&buf, cursor.amount, cursor.members);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---- the aggregates ---- */

/*
 * The state of an aggregate that is being called, made at the first row.
 */
static AmountState *
AmountStateOf(FunctionCallInfo fcinfo)
{
	AmountState *state = GetState(fcinfo, 0, &amounts_state);

	return state != NULL ? state : MakeAmountState(StateContext(fcinfo));
}

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
	AmountState *state = AmountStateOf(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		Numeric		amount = PG_GETARG_NUMERIC(1);

		CheckFiniteAmount(amount, "the amount of a member");
		AddAmount(state, amount, 1);
	}
	RETURN_STATE(state);
}

/*
 * concentration_rollup(concentration): adds up values of different members.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_rollup_trans);
Datum
loyalty_concentration_rollup_trans(PG_FUNCTION_ARGS)
{
	AmountState *state = AmountStateOf(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		AmountCursor cursor;

		AmountsRewind(&cursor, GetConcentration(PG_GETARG_DATUM(1)));
		while (AmountsNext(&cursor))
		{
			CHECK_FOR_INTERRUPTS();
			AddAmount(state, cursor.amount, cursor.members);
		}
	}
	RETURN_STATE(state);
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
	AmountState *a;
	AmountState *b = GetState(fcinfo, 1, &amounts_state);
	amounts_iterator it;
	AmountSlot *slot;

	if (b == NULL)
	{
		a = GetState(fcinfo, 0, &amounts_state);
		RETURN_STATE(a);
	}
	a = AmountStateOf(fcinfo);
	amounts_start_iterate(b->hash, &it);
	while ((slot = amounts_iterate(b->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		AddAmount(a, slot->amount, slot->members);
	}
	RETURN_STATE(a);
}

static void
WriteState(StringInfo buf, void *amount_state)
{
	AmountState *state = amount_state;
	amounts_iterator it;
	AmountSlot *slot;

	pq_sendbyte(buf, CONCENTRATION_VERSION);
	pq_sendint64(buf, state->hash->members);
	amounts_start_iterate(state->hash, &it);
	while ((slot = amounts_iterate(state->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		SendAmount(buf, slot->amount, slot->members);
	}
}

static void *
ReadState(StringInfo buf)
{
	return ReceiveAmounts(buf);
}

/*
 * concentration_final
 *		Final function: leaves the state as it was; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_concentration_final);
Datum
loyalty_concentration_final(PG_FUNCTION_ARGS)
{
	AmountState *state = GetState(fcinfo, 0, &amounts_state);

	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(FinishAmounts(state));
}
