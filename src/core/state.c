/*
 * state.c
 *		States of aggregates, in memory and flat.  See state.h.
 */
#include "core/state.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define STATE_VERSION	1

static const StateKind *kinds[STATE_NUMBERS];

/*
 * Where the states of an aggregate's context live.
 */
typedef struct StateHome
{
	MemoryContext aggregate;
	MemoryContext states;		/* a child of it, with this struct */
	MemoryContextCallback gone;
	char	   *room;			/* what is left of the last block */
	Size		room_left;
	Size		block;			/* its size */
	struct StateHome *next;
} StateHome;

static StateHome *homes = NULL;

/*
 * A room tells of a kind of its own, in its Init function.
 */
void
RegisterState(const StateKind *kind)
{
	kinds[kind->number] = kind;
}

pg_noreturn static void
RefuseKind(const StateKind *kind, int number)
{
	const StateKind *other = number > 0 && number < STATE_NUMBERS ? kinds[number] : NULL;

	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("a state of %s is none of %s", other ? other->aggregate : "an unknown aggregate", kind->aggregate),
			 errdetail("Each aggregate has states of its own kind."),
			 errhint("Combine what one aggregate has made with the same aggregate.")));
}

/*
 * Refuses a flat state.
 */
void
RefuseState(const StateKind *kind, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid aggregate_state of %s: %s", kind->aggregate, why),
			 errdetail("It cannot have been made by the aggregate."),
			 errhint("Take it from the aggregate, of the same version of the extension.")));
}

/* ---- in memory ---- */

static void
ForgetHome(void *arg)
{
	for (StateHome **home = &homes; *home != NULL; home = &(*home)->next)
	{
		if (*home == arg)
		{
			*home = (*home)->next;
			return;
		}
	}
}

/*
 * The context for the states of the aggregate that is being called; refuses a
 * call outside an aggregate.
 */
MemoryContext
StateContext(FunctionCallInfo fcinfo)
{
	MemoryContext aggregate = AggregateContext(fcinfo);
	MemoryContext states;
	StateHome  *home;

	for (home = homes; home != NULL; home = home->next)
	{
		if (home->aggregate == aggregate)
			return home->states;
	}
	states = AllocSetContextCreate(aggregate, "loyalty aggregate states", ALLOCSET_DEFAULT_SIZES);
	home = MemoryContextAllocZero(states, sizeof(StateHome));
	home->aggregate = aggregate;
	home->states = states;
	home->next = homes;
	homes = home;
	home->gone.func = ForgetHome;
	home->gone.arg = home;
	MemoryContextRegisterResetCallback(states, &home->gone);
	return states;
}

#define LARGEST_BLOCK	8192

/*
 * Memory that is never freed by itself.  In StateContext() such pieces lie side
 * by side, since with a header for each, and its size rounded up, many small
 * groups would take a half more.
 */
void *
AllocForState(MemoryContext context, Size size)
{
	StateHome  *home = homes;
	void	   *piece;

	while (home != NULL && home->states != context)
		home = home->next;
	size = MAXALIGN(size);
	if (home == NULL || size > LARGEST_BLOCK / 8)
		return MemoryContextAlloc(context, size);
	if (size > home->room_left)
	{
		home->block = Min(Max(home->block * 2, size), LARGEST_BLOCK);
		home->room = MemoryContextAlloc(context, home->block);
		home->room_left = home->block;
	}
	piece = home->room;
	home->room += size;
	home->room_left -= size;
	return piece;
}

/*
 * A state of zeros, of that size with its header: in StateContext(), or, to be
 * read only, in any context.
 */
void *
MakeState(const StateKind *kind, Size size, MemoryContext context)
{
	ExpandedObjectHeader *header = AllocForState(context, size);

	memset(header, 0, size);
	EOH_init_header(header, &kind->methods, context);
	return header;
}

/*
 * The state in an argument of an aggregate's function, or NULL.  The first one
 * is in memory; another may be flat, and is read into the current context.
 */
void *
GetState(FunctionCallInfo fcinfo, int n, const StateKind *kind)
{
	Datum		value = PG_GETARG_DATUM(n);
	StringInfoData buf;

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(n))
		return NULL;
	if (VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(value)))
	{
		State	   *state = (State *) DatumGetEOHP(value);

		if (state->header.eoh_methods == &kind->methods)
		{
			if (kind->methods.get_flat_size == StateFlatSize && state->flat != NULL)
			{
				/* it is about to become another one */
				pfree(state->flat);
				state->flat = NULL;
			}
			return state;
		}
	}
	OpenFlatState(value, kind, &buf);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s does not begin with a state", kind->aggregate),
				 errdetail("What it adds to is a state that it has made in this query."),
				 errhint("Leave INITCOND out.")));
	return kind->read(&buf);
}

/* ---- flat ---- */

/*
 * Writes the head of a flat state of that size, and returns where it ends.
 */
char *
PutStateHead(char *to, const StateKind *kind, Size size)
{
	SET_VARSIZE(to, size);
	to[VARHDRSZ] = (char) kind->number;
	to[VARHDRSZ + 1] = STATE_VERSION;
	return to + STATE_HEAD_BYTES;
}

/*
 * For STATE_METHODS: the size of the flat form, which is made here.
 */
Size
StateFlatSize(ExpandedObjectHeader *header)
{
	State	   *state = (State *) header;

	if (state->flat == NULL)
	{
		const StateKind *kind = (const StateKind *) header->eoh_methods;
		MemoryContext old = MemoryContextSwitchTo(header->eoh_context);
		StringInfoData buf;

		initStringInfo(&buf);
		buf.len = STATE_HEAD_BYTES;
		kind->write(&buf, state);
		(void) PutStateHead(buf.data, kind, buf.len);
		state->flat = (struct varlena *) buf.data;
		MemoryContextSwitchTo(old);
	}
	return VARSIZE(state->flat);
}

/*
 * For STATE_METHODS: the flat form.
 */
void
StateFlatten(ExpandedObjectHeader *header, void *result, Size size)
{
	State	   *state = (State *) header;

	Assert(state->flat != NULL && size == VARSIZE(state->flat));
	memcpy(result, state->flat, size);
	pfree(state->flat);
	state->flat = NULL;
}

/*
 * Opens a flat state of a kind: buf reads what stands behind its head.
 */
void
OpenFlatState(Datum value, const StateKind *kind, StringInfo buf)
{
	struct varlena *flat = PG_DETOAST_DATUM_PACKED(value);
	const uint8 *head = (const uint8 *) VARDATA_ANY(flat);

	if (VARSIZE_ANY_EXHDR(flat) < 2)
		RefuseState(kind, "it has no head");
	if (head[0] != kind->number)
		RefuseKind(kind, head[0]);
	if (head[1] != STATE_VERSION)
		RefuseState(kind, "it has another version");
	buf->data = VARDATA_ANY(flat) + 2;
	buf->len = buf->maxlen = (int) VARSIZE_ANY_EXHDR(flat) - 2;
	buf->cursor = 0;
}

/*
 * A flat state out of bytes from outside, if it is one.
 */
static Datum
CheckedState(bytea *bytes)
{
	const uint8 *head = (const uint8 *) VARDATA(bytes);
	const StateKind *kind;
	StringInfoData buf;
	MemoryContext context;
	MemoryContext old;

	if (VARSIZE(bytes) < STATE_HEAD_BYTES || head[0] >= STATE_NUMBERS || kinds[head[0]] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid aggregate_state: of no known aggregate"),
				 errdetail("Its first byte says of which aggregate it is."),
				 errhint("Take it from an aggregate, of the same version of the extension.")));
	kind = kinds[head[0]];
	OpenFlatState(PointerGetDatum(bytes), kind, &buf);
	context = AllocSetContextCreate(CurrentMemoryContext, "loyalty state to check", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	(void) kind->read(&buf);
	if (buf.cursor != buf.len)
		RefuseState(kind, "there are bytes behind its end");
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return PointerGetDatum(bytes);
}

/*
 * aggregate_state_in(cstring) -> aggregate_state: bytes in hex, as of bytea.
 */
PG_FUNCTION_INFO_V1(loyalty_aggregate_state_in);
Datum
loyalty_aggregate_state_in(PG_FUNCTION_ARGS)
{
	return CheckedState(DatumGetByteaP(DirectFunctionCall1(byteain, PG_GETARG_DATUM(0))));
}

/*
 * aggregate_state_out(aggregate_state) -> cstring
 */
PG_FUNCTION_INFO_V1(loyalty_aggregate_state_out);
Datum
loyalty_aggregate_state_out(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	Size		length = VARSIZE_ANY_EXHDR(bytes);
	char	   *text = palloc_extended(2 * length + 3, MCXT_ALLOC_HUGE);

	/* always hex, whatever bytea_output says */
	text[0] = '\\';
	text[1] = 'x';
	text[2 + hex_encode(VARDATA_ANY(bytes), length, text + 2)] = '\0';
	PG_RETURN_CSTRING(text);
}

/*
 * aggregate_state_recv(internal) -> aggregate_state
 */
PG_FUNCTION_INFO_V1(loyalty_aggregate_state_recv);
Datum
loyalty_aggregate_state_recv(PG_FUNCTION_ARGS)
{
	return CheckedState(DatumGetByteaP(DirectFunctionCall1(bytearecv, PG_GETARG_DATUM(0))));
}

/*
 * aggregate_state_send(aggregate_state) -> bytea
 */
PG_FUNCTION_INFO_V1(loyalty_aggregate_state_send);
Datum
loyalty_aggregate_state_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}
