/*
 * member_components.c
 *		SQL functions for connected components: two aggregates, and functions
 *		that list components as rows.
 *
 * An aggregate's value is an array of pairs [node, component], sorted by node,
 * the component named by its smallest node.  It is a list of edges itself, so
 * that stored components and new edges are joined by the same aggregate.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "catalog/pg_type_d.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "core/errors.h"
#include "core/state.h"
#include "member/member.h"
#include "member/member_graph.h"

typedef struct GraphState
{
	State		head;
	Graph	   *graph;
} GraphState;

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind components_state = {
	.methods = STATE_METHODS,
	.number = STATE_COMPONENTS,
	.aggregate = "components_agg or components_text_agg",
	.write = WriteState,
	.read = ReadState
};

/*
 * A state in an argument, or NULL, whose nodes must be of that kind.
 */
static GraphState *
GetGraphState(FunctionCallInfo fcinfo, int n, NodeKind kind)
{
	GraphState *state = GetState(fcinfo, n, &components_state);

	if (state != NULL && state->graph->kind != kind)
		RefuseState(&components_state, "its nodes are of the other type");
	return state;
}

/*
 * The state of an aggregate, made at the first row.
 */
static GraphState *
GraphStateOf(FunctionCallInfo fcinfo, NodeKind kind)
{
	GraphState *state = GetGraphState(fcinfo, 0, kind);

	if (state == NULL)
	{
		state = MakeState(&components_state, sizeof(GraphState), StateContext(fcinfo));
		state->graph = CreateGraph(StateMemory(state), kind);
	}
	return state;
}

/*
 * components_accum(aggregate_state, a bigint, b bigint) -> aggregate_state
 *		Transition function of components_agg.  A row with one NULL makes the
 *		other end known as a node; a row of two NULLs adds nothing.
 */
PG_FUNCTION_INFO_V1(loyalty_components_accum);
Datum
loyalty_components_accum(PG_FUNCTION_ARGS)
{
	GraphState *state = GraphStateOf(fcinfo, NODE_BIGINT);

	if (!PG_ARGISNULL(1) || !PG_ARGISNULL(2))
	{
		int64		a = PG_ARGISNULL(1) ? PG_GETARG_INT64(2) : PG_GETARG_INT64(1);
		int64		b = PG_ARGISNULL(2) ? a : PG_GETARG_INT64(2);

		AddBigEdge(state->graph, a, b);
	}
	RETURN_STATE(state);
}

static void
AddTextDatums(Graph *graph, Datum a, bool anull, Datum b, bool bnull)
{
	text	   *x;
	text	   *y;

	if (anull && bnull)
		return;
	x = DatumGetTextPP(anull ? b : a);
	y = anull || bnull ? x : DatumGetTextPP(b);
	AddTextEdge(graph, VARDATA_ANY(x), VARSIZE_ANY_EXHDR(x), VARDATA_ANY(y), VARSIZE_ANY_EXHDR(y));
}

/*
 * components_text_accum(aggregate_state, a text, b text) -> aggregate_state
 *		The same for text.  Texts are compared byte by byte, whatever their
 *		collation.
 */
PG_FUNCTION_INFO_V1(loyalty_components_text_accum);
Datum
loyalty_components_text_accum(PG_FUNCTION_ARGS)
{
	GraphState *state = GraphStateOf(fcinfo, NODE_TEXT);

	AddTextDatums(state->graph, PG_GETARG_DATUM(1), PG_ARGISNULL(1), PG_GETARG_DATUM(2), PG_ARGISNULL(2));
	RETURN_STATE(state);
}

/*
 * components_combine(aggregate_state, aggregate_state) -> aggregate_state
 *		Joins two partial graphs; everything kept is in the first one's memory.
 */
PG_FUNCTION_INFO_V1(loyalty_components_combine);
Datum
loyalty_components_combine(PG_FUNCTION_ARGS)
{
	GraphState *other = GetState(fcinfo, 1, &components_state);
	GraphState *state;

	if (other == NULL)
		state = GetState(fcinfo, 0, &components_state);
	else
	{
		state = GraphStateOf(fcinfo, other->graph->kind);
		MergeGraph(state->graph, other->graph);
	}
	RETURN_STATE(state);
}

static void
WriteState(StringInfo buf, void *state)
{
	SerializeGraph(((GraphState *) state)->graph, buf);
}

static void *
ReadState(StringInfo buf)
{
	GraphState *state = MakeState(&components_state, sizeof(GraphState), CurrentMemoryContext);
	const char *problem;

	state->graph = DeserializeGraph(CurrentMemoryContext, buf, &problem);
	if (problem != NULL)
		RefuseState(&components_state, problem);
	return state;
}

static void
CheckArraySize(uint32 nnodes, uint64 size)
{
	if (size > MaxAllocSize || nnodes > INT_MAX / 4)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("connected components are too large for one array"),
				 errdetail("%u nodes need %llu bytes, and %llu are possible.", nnodes,
						   (unsigned long long) size, (unsigned long long) MaxAllocSize),
				 errhint("Split the graph, for example with GROUP BY, where no edge crosses.")));
}

/*
 * components_final(aggregate_state) -> bigint[]
 *		Array of pairs [node, component], ascending; '{}' without nodes.  The
 *		state may take more rows afterwards.
 */
PG_FUNCTION_INFO_V1(loyalty_components_final);
Datum
loyalty_components_final(PG_FUNCTION_ARGS)
{
	GraphState *state = GetGraphState(fcinfo, 0, NODE_BIGINT);
	Graph	   *graph = state == NULL ? NULL : state->graph;
	NodeComponent *list = graph == NULL ? NULL : ListComponents(graph);
	ArrayType  *array;
	int64	   *value;
	Size		size;

	if (list == NULL)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT8OID));

	size = ARR_OVERHEAD_NONULLS(2) + (uint64) graph->nnodes * 2 * sizeof(int64);
	CheckArraySize(graph->nnodes, size);
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 2;
	array->elemtype = INT8OID;
	ARR_DIMS(array)[0] = (int) graph->nnodes;
	ARR_DIMS(array)[1] = 2;
	ARR_LBOUND(array)[0] = 1;
	ARR_LBOUND(array)[1] = 1;
	value = (int64 *) ARR_DATA_PTR(array);
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		*value++ = graph->bignodes[list[i].node];
		*value++ = graph->bignodes[list[i].component];
	}
	pfree(list);
	PG_RETURN_ARRAYTYPE_P(array);
}

/*
 * components_text_final(aggregate_state) -> text[]
 *		The same for text, in the order of bytes.
 */
PG_FUNCTION_INFO_V1(loyalty_components_text_final);
Datum
loyalty_components_text_final(PG_FUNCTION_ARGS)
{
	GraphState *state = GetGraphState(fcinfo, 0, NODE_TEXT);
	Graph	   *graph = state == NULL ? NULL : state->graph;
	NodeComponent *list = graph == NULL ? NULL : ListComponents(graph);
	ArrayType  *array;
	char	   *value;
	uint64		size;

	if (list == NULL)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));

	size = ARR_OVERHEAD_NONULLS(2);
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		size += INTALIGN(VARHDRSZ + (uint64) graph->textnodes[list[i].node].len) +
			INTALIGN(VARHDRSZ + (uint64) graph->textnodes[list[i].component].len);
	}
	CheckArraySize(graph->nnodes, size);
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 2;
	array->elemtype = TEXTOID;
	ARR_DIMS(array)[0] = (int) graph->nnodes;
	ARR_DIMS(array)[1] = 2;
	ARR_LBOUND(array)[0] = 1;
	ARR_LBOUND(array)[1] = 1;
	value = ARR_DATA_PTR(array);
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		uint32		pair[2] = {list[i].node, list[i].component};

		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < 2; j++)
		{
			TextNode   *node = &graph->textnodes[pair[j]];

			SET_VARSIZE(value, VARHDRSZ + node->len);
			memcpy(VARDATA(value), node->data, node->len);
			value += INTALIGN(VARHDRSZ + node->len);
		}
	}
	pfree(list);
	PG_RETURN_ARRAYTYPE_P(array);
}

/*
 * Raises an error unless an array is empty or a list of pairs; returns the
 * number of pairs.
 */
static int
CheckPairs(ArrayType *array, const char *name, bool nulls_allowed)
{
	if (ARR_NDIM(array) == 0)
		return 0;
	if (ARR_NDIM(array) != 2 || ARR_DIMS(array)[1] != 2)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("\"%s\" must be an array of pairs", name),
				 ARR_NDIM(array) == 2 ?
				 errdetail("It has 2 dimensions, of %d by %d.", ARR_DIMS(array)[0], ARR_DIMS(array)[1]) :
				 errdetail("It has %d dimension(s).", ARR_NDIM(array)),
				 errhint("Pass an n by 2 array such as '{{1,2},{2,3}}'.")));
	if (!nulls_allowed && array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("\"%s\" must not contain NULL", name),
				 errdetail("Every node belongs to a component."),
				 errhint("Pass a value of components_agg or components_text_agg.")));
	return ARR_DIMS(array)[0];
}

/*
 * expand_components(components bigint[]) -> set of (node bigint, component bigint)
 *		The pairs of a value of components_agg as rows, in its order.
 */
PG_FUNCTION_INFO_V1(loyalty_expand_components);
Datum
loyalty_expand_components(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			npairs = CheckPairs(array, "components", false);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	int64	   *value = (int64 *) ARR_DATA_PTR(array);

	InitReturnSet(fcinfo);
	for (int i = 0; i < npairs; i++)
	{
		Datum		values[2] = {Int64GetDatum(value[2 * i]), Int64GetDatum(value[2 * i + 1])};
		bool		nulls[2] = {false, false};

		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * expand_components_text(components text[]) -> set of (node text, component text)
 *		The pairs of a value of components_text_agg as rows, in its order.
 */
PG_FUNCTION_INFO_V1(loyalty_expand_components_text);
Datum
loyalty_expand_components_text(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			npairs = CheckPairs(array, "components", false);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *value = ARR_DATA_PTR(array);

	InitReturnSet(fcinfo);
	for (int i = 0; i < npairs; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < 2; j++)
		{
			values[j] = PointerGetDatum(value);
			value += VARSIZE_ANY(value);
			value = (char *) att_align_nominal(value, TYPALIGN_INT);
		}
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * connected_components(pairs bigint[]) -> set of (node bigint, component bigint)
 *		Components of the edges in an n by 2 array; NULL as in components_agg.
 */
PG_FUNCTION_INFO_V1(loyalty_connected_components);
Datum
loyalty_connected_components(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			npairs = CheckPairs(array, "pairs", true);
	Graph	   *graph = CreateGraph(CurrentMemoryContext, NODE_BIGINT);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	NodeComponent *list;
	Datum	   *ends;
	bool	   *endnulls;
	int			nends;

	InitReturnSet(fcinfo);
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ends, &endnulls, &nends);
	Assert(nends == 2 * npairs);
	for (int i = 0; i < npairs; i++)
	{
		Datum	   *end = &ends[2 * i];
		bool	   *null = &endnulls[2 * i];

		if (!null[0] || !null[1])
			AddBigEdge(graph, DatumGetInt64(null[0] ? end[1] : end[0]),
					   DatumGetInt64(null[1] ? end[0] : end[1]));
	}

	list = ListComponents(graph);
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		Datum		values[2] = {Int64GetDatum(graph->bignodes[list[i].node]),
		Int64GetDatum(graph->bignodes[list[i].component])};
		bool		nulls[2] = {false, false};

		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * connected_components_text(pairs text[]) -> set of (node text, component text)
 *		The same for text.
 */
PG_FUNCTION_INFO_V1(loyalty_connected_components_text);
Datum
loyalty_connected_components_text(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	int			npairs = CheckPairs(array, "pairs", true);
	Graph	   *graph = CreateGraph(CurrentMemoryContext, NODE_TEXT);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	NodeComponent *list;
	Datum	   *ends;
	bool	   *endnulls;
	int			nends;

	InitReturnSet(fcinfo);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &ends, &endnulls, &nends);
	Assert(nends == 2 * npairs);
	for (int i = 0; i < npairs; i++)
	{
		if ((i & 0xff) == 0)
			CHECK_FOR_INTERRUPTS();
		AddTextDatums(graph, ends[2 * i], endnulls[2 * i], ends[2 * i + 1], endnulls[2 * i + 1]);
	}

	list = ListComponents(graph);
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		TextNode   *node = &graph->textnodes[list[i].node];
		TextNode   *component = &graph->textnodes[list[i].component];
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		values[0] = PointerGetDatum(cstring_to_text_with_len(node->data, (int) node->len));
		values[1] = PointerGetDatum(cstring_to_text_with_len(component->data, (int) component->len));
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
		pfree(DatumGetPointer(values[0]));
		pfree(DatumGetPointer(values[1]));
	}
	return (Datum) 0;
}
