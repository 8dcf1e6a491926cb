/*
 * member_set_op.c
 *		Functions and operators of type member_set.
 */
#include "audience/member_set.h"

#include "miscadmin.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "core/core.h"

static Datum
Combine(FunctionCallInfo fcinfo, SetAlgebra operation)
{
	PG_RETURN_BYTEA_P(CombineSets(PG_GETARG_SET(0), PG_GETARG_SET(1), operation));
}

PG_FUNCTION_INFO_V1(loyalty_member_set_and);
/* member_set_and(member_set, member_set) -> member_set: who is in both; operator & */
Datum
loyalty_member_set_and(PG_FUNCTION_ARGS)
{
	return Combine(fcinfo, SET_AND);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_or);
/* member_set_or(member_set, member_set) -> member_set: who is in either; operator | */
Datum
loyalty_member_set_or(PG_FUNCTION_ARGS)
{
	return Combine(fcinfo, SET_OR);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_minus);
/* member_set_minus(member_set, member_set) -> member_set: who is in the first only; operator - */
Datum
loyalty_member_set_minus(PG_FUNCTION_ARGS)
{
	return Combine(fcinfo, SET_MINUS);
}

PG_FUNCTION_INFO_V1(loyalty_member_set_xor);
/* member_set_xor(member_set, member_set) -> member_set: who is in one of them only; operator # */
Datum
loyalty_member_set_xor(PG_FUNCTION_ARGS)
{
	return Combine(fcinfo, SET_XOR);
}

PG_FUNCTION_INFO_V1(loyalty_count_members);
/* count_members(set member_set) -> bigint */
Datum
loyalty_count_members(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(CountMembers(PG_GETARG_SET(0)));
}

PG_FUNCTION_INFO_V1(loyalty_overlap);
/*
 * overlap(a member_set, b member_set, OUT in_both bigint, OUT in_either bigint,
 *		   OUT jaccard numeric)
 *
 * jaccard is in_both / in_either, to six decimals; NULL of two empty sets.
 */
Datum
loyalty_overlap(PG_FUNCTION_ARGS)
{
	SetBytes	a = PG_GETARG_SET(0);
	SetBytes	b = PG_GETARG_SET(1);
	bytea	   *both = CombineSets(a, b, SET_AND);
	int64		in_both = CountMembers((SetBytes) {.bytes = VARDATA(both),.size = VARSIZE(both) - VARHDRSZ});
	int64		in_either = CountMembers(a) + CountMembers(b) - in_both;
	Datum		values[3] = {Int64GetDatum(in_both), Int64GetDatum(in_either)};
	bool		nulls[3] = {false, false, in_either == 0};
	TupleDesc	tupdesc;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (in_either > 0)
		values[2] = DirectFunctionCall2(numeric_round,
										DirectFunctionCall2(numeric_div, NumericGetDatum(int64_to_numeric(in_both)),
															NumericGetDatum(int64_to_numeric(in_either))),
										Int32GetDatum(6));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* ---------------------------------------------------------------------------
 * contains()
 * ---------------------------------------------------------------------------
 */

/* The last set that was not to be read as it came. */
typedef struct KeptSet
{
	struct varlena *packed;		/* as it came: a pointer to a table of TOAST, or
								 * compressed */
	struct varlena *unpacked;
	int			nbuckets;
	Bucket	   *buckets;
	MemoryContext context;
} KeptSet;

static void
KeepSet(KeptSet *kept, struct varlena *packed)
{
	MemoryContext old;
	SetReader	reader;

	MemoryContextReset(kept->context);
	kept->packed = NULL;
	old = MemoryContextSwitchTo(kept->context);
	kept->unpacked = pg_detoast_datum(packed);
	OpenSet(&reader, (SetBytes) {.bytes = VARDATA(kept->unpacked)});
	kept->buckets = MemoryContextAllocHuge(kept->context, reader.left * sizeof(Bucket));
	kept->nbuckets = 0;
	while (NextBucket(&reader))
		kept->buckets[kept->nbuckets++] = reader.bucket;
	kept->packed = memcpy(palloc(VARSIZE_ANY(packed)), packed, VARSIZE_ANY(packed));
	MemoryContextSwitchTo(old);
}

static bool
KeptSetContains(const KeptSet *kept, int64 member_id)
{
	int			from = 0;
	int			to = kept->nbuckets;
	uint32		high = (uint32) (member_id >> 32);

	while (from < to)
	{
		int			middle = (from + to) / 2;

		if (kept->buckets[middle].high < high)
			from = middle + 1;
		else
			to = middle;
	}
	return from < kept->nbuckets && kept->buckets[from].high == high && BucketContains(&kept->buckets[from], member_id);
}

PG_FUNCTION_INFO_V1(loyalty_contains);
/*
 * contains(set member_set, member_id bigint) -> boolean
 *
 * A set that is stored out of its row, or compressed, is unpacked once for all
 * calls that give the same one in a row.
 */
Datum
loyalty_contains(PG_FUNCTION_ARGS)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(PG_GETARG_DATUM(0));
	int64		member_id = PG_GETARG_INT64(1);
	KeptSet    *kept = fcinfo->flinfo->fn_extra;

	/* in memory as it is: nothing to unpack */
	if (!VARATT_IS_COMPRESSED(value) && !VARATT_IS_EXTERNAL_ONDISK(value))
		PG_RETURN_BOOL(SetContains(PG_GETARG_SET(0), member_id));
	if (kept == NULL)
	{
		kept = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(KeptSet));
		kept->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "loyalty member_set", ALLOCSET_DEFAULT_SIZES);
		fcinfo->flinfo->fn_extra = kept;
	}
	/* the same bytes unpack to the same set as long as this query's snapshot is there */
	if (kept->packed == NULL || VARSIZE_ANY(kept->packed) != VARSIZE_ANY(value) ||
		memcmp(kept->packed, value, VARSIZE_ANY(value)) != 0)
		KeepSet(kept, value);
	PG_RETURN_BOOL(KeptSetContains(kept, member_id));
}

PG_FUNCTION_INFO_V1(loyalty_split_set);
/*
 * split_set(set member_set, OUT chunk bigint, OUT members member_set) SETOF
 */
Datum
loyalty_split_set(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SetReader	reader;
	Chunk		chunk;

	InitReturnSet(fcinfo);
	OpenSet(&reader, PG_GETARG_SET(0));
	while (NextChunk(&reader, &chunk))
	{
		bytea	   *set = SetOfChunk(&chunk);
		Datum		row[2];
		bool		nulls[2] = {false, false};

		CHECK_FOR_INTERRUPTS();
		row[0] = Int64GetDatum(chunk.chunk);
		row[1] = PointerGetDatum(set);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
		pfree(set);
	}
	return (Datum) 0;
}
