/*
 * member_set_io.c
 *		Type member_set: text, bytes, arrays, equality.
 */
#include "audience/member_set.h"

#include <ctype.h>

#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/errors.h"
#include "core/state.h"

/* A set with more members than this is written as bytes. */
#define MOST_IN_TEXT	100

#define INVALID_SET(...) \
	(errcode(ERRCODE_LY_INVALID_SET), \
	 errmsg("invalid member_set"), \
	 errdetail(__VA_ARGS__), \
	 errhint("Make sets with loyalty.member_set_agg(), or of the 64-bit portable form of Roaring bitmaps."))

static void
RequireMemberId(int64 member_id)
{
	if (member_id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_SET),
				 errmsg("member " INT64_FORMAT " cannot be in a set", member_id),
				 errdetail("Ids of members are not negative."),
				 errhint("Leave it out.")));
}

/* The set in bytes from elsewhere, in the one form; an error is LY706. */
static Datum
SetFromBytes(const char *bytes, Size size, Node *escontext)
{
	SetBuilder *builder = MakeBuilder(CurrentMemoryContext);
	const char *why = WhyNoSet(bytes, size);

	if (why != NULL)
		ereturn(escontext, (Datum) 0, INVALID_SET("Its bytes are no set: %s.", why));
	AddSet(builder, (SetBytes) {.bytes = bytes,.size = size});
	return PointerGetDatum(FinishSet(builder));
}

/* {1,2,3}, in any order */
static Datum
SetFromList(const char *text, Node *escontext)
{
	SetBuilder *builder = MakeBuilder(CurrentMemoryContext);
	const char *at = text + 1;

	while (isspace((unsigned char) *at))
		at++;
	if (*at != '}')
	{
		for (;;)
		{
			char	   *end;
			long long	id;

			errno = 0;
			id = strtoll(at, &end, 10);
			if (end == at || errno != 0 || id < 0)
				ereturn(escontext, (Datum) 0, INVALID_SET("At character %d there is no id of a member.", (int) (at - text) + 1));
			CHECK_FOR_INTERRUPTS();
			AddMember(builder, id);
			at = end;
			while (isspace((unsigned char) *at))
				at++;
			if (*at != ',')
				break;
			at++;
		}
		if (*at != '}')
			ereturn(escontext, (Datum) 0, INVALID_SET("At character %d there is neither a comma nor a brace.", (int) (at - text) + 1));
	}
	at++;
	while (isspace((unsigned char) *at))
		at++;
	if (*at != '\0')
		ereturn(escontext, (Datum) 0, INVALID_SET("There is something behind its end."));
	return PointerGetDatum(FinishSet(builder));
}

PG_FUNCTION_INFO_V1(loyalty_member_set_in);
/*
 * member_set_in(cstring) -> member_set: {1,2,3}, or the portable form in hex as
 * of bytea.  Error: LY706.
 */
Datum
loyalty_member_set_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	Datum		bytes;

	while (isspace((unsigned char) *text))
		text++;
	if (*text == '{')
		return SetFromList(text, LY_ESCONTEXT(fcinfo));
	if (text[0] != '\\' || text[1] != 'x')
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0, INVALID_SET("\"%.40s\" begins neither with a brace nor with \\x.", text));
	if (!LY_INPUT_CALL(byteain, unconstify(char *, text), LY_ESCONTEXT(fcinfo), &bytes))
		PG_RETURN_NULL();
	return SetFromBytes(VARDATA(DatumGetPointer(bytes)), VARSIZE(DatumGetPointer(bytes)) - VARHDRSZ, LY_ESCONTEXT(fcinfo));
}

/* Adds the ids of a chunk to text or array; ascending. */
static void
ListChunk(const Chunk *chunk, int64 *ids)
{
	int64		first = chunk->chunk << CHUNK_BITS;
	int			n = 0;

	if (!IsBitmap(chunk->count))
	{
		for (int i = 0; i < chunk->count; i++)
			ids[i] = first + GetUint16(chunk->bytes + 2 * i);
		return;
	}
	for (int i = 0; i < BITMAP_WORDS; i++)
	{
		uint64		word = GetUint64(chunk->bytes + 8 * i);

		while (word != 0)
		{
			ids[n++] = first + 64 * i + pg_rightmost_one_pos64(word);
			word &= word - 1;
		}
	}
}

PG_FUNCTION_INFO_V1(loyalty_member_set_out);
/*
 * member_set_out(member_set) -> cstring: {1,2,3}, or, of more than 100 members,
 * the portable form in hex.
 */
Datum
loyalty_member_set_out(PG_FUNCTION_ARGS)
{
	SetBytes	set = PG_GETARG_SET(0);
	StringInfoData buf;
	SetReader	reader;
	Chunk		chunk;
	int64		ids[MOST_IN_TEXT];

	if (CountMembers(set) > MOST_IN_TEXT)
	{
		char	   *text = palloc_extended(2 * set.size + 3, MCXT_ALLOC_HUGE);

		text[0] = '\\';
		text[1] = 'x';
		text[2 + hex_encode(set.bytes, set.size, text + 2)] = '\0';
		PG_RETURN_CSTRING(text);
	}
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	OpenSet(&reader, set);
	while (NextChunk(&reader, &chunk))
	{
		ListChunk(&chunk, ids);
		for (int i = 0; i < chunk.count; i++)
			appendStringInfo(&buf, "%s" INT64_FORMAT, buf.len > 1 ? "," : "", ids[i]);
	}
	appendStringInfoChar(&buf, '}');
	PG_RETURN_CSTRING(buf.data);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_recv);
/*
 * member_set_recv(internal) -> member_set: the portable form.  Error: LY706.
 */
Datum
loyalty_member_set_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			size = buf->len - buf->cursor;

	return SetFromBytes(pq_getmsgbytes(buf, size), size, NULL);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_send);
/*
 * member_set_send(member_set) -> bytea: the portable form.
 */
Datum
loyalty_member_set_send(PG_FUNCTION_ARGS)
{
	SetBytes	set = PG_GETARG_SET(0);

	PG_RETURN_BYTEA_P(cstring_to_text_with_len(set.bytes, (int) set.size));
}

PG_FUNCTION_INFO_V1(loyalty_set_bytes);
/*
 * set_bytes(set member_set) -> bytea: the portable form.  Part of the cast.
 */
Datum
loyalty_set_bytes(PG_FUNCTION_ARGS)
{
	return loyalty_member_set_send(fcinfo);
}

PG_FUNCTION_INFO_V1(loyalty_set_from_bytes);
/*
 * set_from_bytes(bytes bytea) -> member_set: of the portable form, in any way
 * that it may be written.  Error: LY706.
 */
Datum
loyalty_set_from_bytes(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	return SetFromBytes(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), NULL);
}

PG_FUNCTION_INFO_V1(loyalty_set_from_members);
/*
 * set_from_members(member_ids bigint[]) -> member_set: in any order, however
 * often; NULLs are left out.  Error: LY706 a negative id.
 */
Datum
loyalty_set_from_members(PG_FUNCTION_ARGS)
{
	SetBuilder *builder = MakeBuilder(CurrentMemoryContext);
	Datum	   *ids;
	bool	   *nulls;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			continue;
		CHECK_FOR_INTERRUPTS();
		RequireMemberId(DatumGetInt64(ids[i]));
		AddMember(builder, DatumGetInt64(ids[i]));
	}
	PG_RETURN_BYTEA_P(FinishSet(builder));
}

PG_FUNCTION_INFO_V1(loyalty_set_members);
/*
 * set_members(set member_set) -> bigint[]: ascending.  Error: 54000 more than an
 * array holds.
 */
Datum
loyalty_set_members(PG_FUNCTION_ARGS)
{
	SetBytes	set = PG_GETARG_SET(0);
	int64		n = CountMembers(set);
	int			size;
	ArrayType  *array;
	SetReader	reader;
	Chunk		chunk;
	int64	   *at;

	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT8OID));
	if (n > (int64) ((MaxAllocSize - ARR_OVERHEAD_NONULLS(1)) / sizeof(int64)))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a set of " INT64_FORMAT " members does not fit into an array", n),
				 errdetail("An array has at most 1 GB."),
				 errhint("Read it with loyalty.unnest_members().")));
	size = (int) (ARR_OVERHEAD_NONULLS(1) + n * sizeof(int64));
	array = palloc(size);
	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = INT8OID;
	ARR_DIMS(array)[0] = (int) n;
	ARR_LBOUND(array)[0] = 1;
	at = (int64 *) ARR_DATA_PTR(array);
	OpenSet(&reader, set);
	while (NextChunk(&reader, &chunk))
	{
		CHECK_FOR_INTERRUPTS();
		ListChunk(&chunk, at);
		at += chunk.count;
	}
	PG_RETURN_ARRAYTYPE_P(array);
}

/* A set that is being listed. */
typedef struct Listing
{
	SetReader	reader;
	int			n;
	int			next;
	int64		ids[CHUNK_MEMBERS];
} Listing;

PG_FUNCTION_INFO_V1(loyalty_unnest_members);
/*
 * unnest_members(set member_set) -> SETOF bigint: the members, ascending.
 */
Datum
loyalty_unnest_members(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	Listing    *listing;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		context = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		listing = palloc(sizeof(Listing));
		listing->n = listing->next = 0;
		/* a copy, since what is detoasted lasts until the next row only */
		OpenSet(&listing->reader, (SetBytes) {.bytes = VARDATA(PG_GETARG_BYTEA_P_COPY(0))});
		context->user_fctx = listing;
		MemoryContextSwitchTo(old);
	}
	context = SRF_PERCALL_SETUP();
	listing = context->user_fctx;
	if (listing->next == listing->n)
	{
		Chunk		chunk;

		if (!NextChunk(&listing->reader, &chunk))
			SRF_RETURN_DONE(context);
		ListChunk(&chunk, listing->ids);
		listing->n = chunk.count;
		listing->next = 0;
	}
	SRF_RETURN_NEXT(context, Int64GetDatum(listing->ids[listing->next++]));
}

/* ---------------------------------------------------------------------------
 * Equality: that of bytes
 * ---------------------------------------------------------------------------
 */

static bool
SameSet(SetBytes a, SetBytes b)
{
	return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

PG_FUNCTION_INFO_V1(loyalty_member_set_eq);
/* member_set_eq(member_set, member_set) -> boolean */
Datum
loyalty_member_set_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(SameSet(PG_GETARG_SET(0), PG_GETARG_SET(1)));
}

PG_FUNCTION_INFO_V1(loyalty_member_set_ne);
/* member_set_ne(member_set, member_set) -> boolean */
Datum
loyalty_member_set_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!SameSet(PG_GETARG_SET(0), PG_GETARG_SET(1)));
}

PG_FUNCTION_INFO_V1(loyalty_member_set_hash);
/* member_set_hash(member_set) -> integer */
Datum
loyalty_member_set_hash(PG_FUNCTION_ARGS)
{
	SetBytes	set = PG_GETARG_SET(0);

	return hash_any((const unsigned char *) set.bytes, (int) set.size);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_hash_extended);
/* member_set_hash_extended(member_set, seed bigint) -> bigint */
Datum
loyalty_member_set_hash_extended(PG_FUNCTION_ARGS)
{
	SetBytes	set = PG_GETARG_SET(0);

	return hash_any_extended((const unsigned char *) set.bytes, (int) set.size, PG_GETARG_INT64(1));
}

/* ---------------------------------------------------------------------------
 * Aggregates
 * ---------------------------------------------------------------------------
 */

PG_FUNCTION_INFO_V1(loyalty_member_set_accum);
/*
 * member_set_accum(state aggregate_state, member_id bigint) -> aggregate_state:
 * transition function of member_set_agg; NULL adds nobody.  Error: LY706 a
 * negative id.
 */
Datum
loyalty_member_set_accum(PG_FUNCTION_ARGS)
{
	SetBuilder *builder = GetSetBuilder(fcinfo, 0);

	if (!PG_ARGISNULL(1))
	{
		int64		member_id = PG_GETARG_INT64(1);

		RequireMemberId(member_id);
		builder = StartedBuilder(fcinfo, builder);
		AddMember(builder, member_id);
	}
	RETURN_STATE(builder);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_rollup_accum);
/*
 * member_set_rollup_accum(state aggregate_state, set member_set) ->
 * aggregate_state: transition function of member_set_rollup; NULL adds nobody.
 */
Datum
loyalty_member_set_rollup_accum(PG_FUNCTION_ARGS)
{
	SetBuilder *builder = GetSetBuilder(fcinfo, 0);

	if (!PG_ARGISNULL(1))
	{
		builder = StartedBuilder(fcinfo, builder);
		AddSet(builder, PG_GETARG_SET(1));
	}
	RETURN_STATE(builder);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_combine);
/* member_set_combine(state aggregate_state, other aggregate_state) -> aggregate_state: the members of both. */
Datum
loyalty_member_set_combine(PG_FUNCTION_ARGS)
{
	SetBuilder *builder = GetSetBuilder(fcinfo, 0);
	SetBuilder *other = GetSetBuilder(fcinfo, 1);

	if (other != NULL)
	{
		bytea	   *set = FinishSet(other);

		builder = StartedBuilder(fcinfo, builder);
		AddSet(builder, (SetBytes) {.bytes = VARDATA(set),.size = VARSIZE(set) - VARHDRSZ});
	}
	RETURN_STATE(builder);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_final);
/* member_set_final(state aggregate_state) -> member_set: the empty set without rows. */
Datum
loyalty_member_set_final(PG_FUNCTION_ARGS)
{
	SetBuilder *builder = GetSetBuilder(fcinfo, 0);

	PG_RETURN_BYTEA_P(FinishSet(builder != NULL ? builder : MakeBuilder(CurrentMemoryContext)));
}
