/*
 * match_cluster.c
 *		Persons, of pairs that are one and pairs that are not.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"

typedef struct ClusterEdge
{
	int64		a;
	int64		b;
	Datum		weight;			/* numeric */
	bool		accepted;
	bool		in_the_way;		/* two would be one who are not */
	int64		way_a;
	int64		way_b;
} ClusterEdge;

/* A node, in a forest of those that are one. */
typedef struct ClusterNode
{
	int64		id;
	int			parent;
	int			size;
	int			weakest;		/* edge that was taken last, at the root; -1 */
	int			refused;		/* first of its refusals, at the root; -1 */
	int			last_refused;
} ClusterNode;

/* That a node is not the same as another: a list at each root. */
typedef struct Refusal
{
	int			self;
	int			other;
	int			next;
} Refusal;

typedef struct Clustering
{
	int			nnodes;
	ClusterNode	   *nodes;
	ClusterEdge	   *edges;
	int			nedges;
	Refusal    *refusals;
} Clustering;

static int
CompareEdges(const void *a, const void *b)
{
	const ClusterEdge *x = a;
	const ClusterEdge *y = b;
	int			order;

	if (x->accepted != y->accepted)
		return x->accepted ? -1 : 1;
	order = DatumGetInt32(DirectFunctionCall2(numeric_cmp, y->weight, x->weight));
	if (order != 0)
		return order;
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b ? 1 : 0;
}

static int
CompareIds(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

static int
NodeOf(const Clustering *c, int64 id)
{
	int			low = 0;
	int			high = c->nnodes - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (c->nodes[middle].id == id)
			return middle;
		if (c->nodes[middle].id < id)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return -1;
}

static int
RootOf(Clustering *c, int n)
{
	while (c->nodes[n].parent != n)
	{
		c->nodes[n].parent = c->nodes[c->nodes[n].parent].parent;
		n = c->nodes[n].parent;
	}
	return n;
}

/*
 * A refusal between two clusters, the smallest by its ids; NULL: none.
 */
static const Refusal *
RefusalBetween(Clustering *c, int a, int b)
{
	int			small = c->nodes[a].size < c->nodes[b].size ? a : b;
	int			large = small == a ? b : a;
	const Refusal *found = NULL;

	for (int r = c->nodes[small].refused; r >= 0; r = c->refusals[r].next)
	{
		const Refusal *refusal = &c->refusals[r];

		if (RootOf(c, refusal->other) == large &&
			(found == NULL || Min(refusal->self, refusal->other) < Min(found->self, found->other) ||
			 (Min(refusal->self, refusal->other) == Min(found->self, found->other) &&
			  Max(refusal->self, refusal->other) < Max(found->self, found->other))))
			found = refusal;
	}
	return found;
}

static void
TakeEdge(Clustering *c, int e)
{
	ClusterEdge	   *edge = &c->edges[e];
	int			a = RootOf(c, NodeOf(c, edge->a));
	int			b = RootOf(c, NodeOf(c, edge->b));
	const Refusal *refusal;
	ClusterNode	   *root;
	ClusterNode	   *other;

	if (a == b)
		return;
	refusal = RefusalBetween(c, a, b);
	if (refusal != NULL)
	{
		edge->in_the_way = true;
		edge->way_a = c->nodes[Min(refusal->self, refusal->other)].id;
		edge->way_b = c->nodes[Max(refusal->self, refusal->other)].id;
		return;
	}
	root = &c->nodes[c->nodes[a].size >= c->nodes[b].size ? a : b];
	other = &c->nodes[c->nodes[a].size >= c->nodes[b].size ? b : a];
	other->parent = (int) (root - c->nodes);
	root->size += other->size;
	root->weakest = e;
	if (other->refused >= 0)
	{
		if (root->refused < 0)
			root->refused = other->refused;
		else
			c->refusals[root->last_refused].next = other->refused;
		root->last_refused = other->last_refused;
	}
}

static int64 *
BigintsArgument(FunctionCallInfo fcinfo, int n, const char *name, int *count)
{
	ArrayType  *array;

	*count = 0;
	if (PG_ARGISNULL(n))
		return NULL;
	array = PG_GETARG_ARRAYTYPE_P(n);
	if (ARR_NDIM(array) == 0)
		return NULL;
	if (ARR_NDIM(array) != 1 || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s must be a list without NULL", name),
				 errdetail("Its elements are ids."),
				 errhint("Leave such pairs out.")));
	*count = ARR_DIMS(array)[0];
	return (int64 *) ARR_DATA_PTR(array);
}

static void
RequireSameLength(const char *name, int n, int expected)
{
	if (n != expected)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s has %d elements, and must have %d", name, n, expected),
				 errdetail("The lists belong together: a pair has an element in each."),
				 errhint("Make them by array_agg() over the same rows.")));
}

static void
ReadEdges(FunctionCallInfo fcinfo, Clustering *c)
{
	int			n;
	int64	   *a = BigintsArgument(fcinfo, 0, "a", &c->nedges);
	int64	   *b = BigintsArgument(fcinfo, 1, "b", &n);
	Datum	   *weights = NULL;
	Datum	   *accepted = NULL;
	bool	   *weight_nulls;
	bool	   *nulls;

	RequireSameLength("b", n, c->nedges);
	n = 0;
	if (!PG_ARGISNULL(2))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), NUMERICOID, -1, false, TYPALIGN_INT, &weights, &weight_nulls, &n);
	RequireSameLength("weights", n, c->nedges);
	if (!PG_ARGISNULL(3))
	{
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), BOOLOID, 1, true, TYPALIGN_CHAR, &accepted, &nulls, &n);
		RequireSameLength("accepted", n, c->nedges);
	}
	c->edges = palloc_extended(Max(c->nedges, 1) * sizeof(ClusterEdge), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < c->nedges; i++)
	{
		if (weight_nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("a weight must not be NULL"),
					 errdetail("It is that of pair (" INT64_FORMAT ", " INT64_FORMAT ").", a[i], b[i]),
					 errhint("Leave such pairs out.")));
		c->edges[i].a = Min(a[i], b[i]);
		c->edges[i].b = Max(a[i], b[i]);
		c->edges[i].weight = weights[i];
		c->edges[i].accepted = accepted != NULL && !nulls[i] && DatumGetBool(accepted[i]);
	}
	qsort(c->edges, c->nedges, sizeof(ClusterEdge), CompareEdges);
}

static void
MakeNodes(Clustering *c)
{
	int64	   *ids = palloc_extended(Max(2 * (Size) c->nedges, 1) * sizeof(int64), MCXT_ALLOC_HUGE);

	for (int i = 0; i < c->nedges; i++)
	{
		ids[2 * i] = c->edges[i].a;
		ids[2 * i + 1] = c->edges[i].b;
	}
	qsort(ids, 2 * (Size) c->nedges, sizeof(int64), CompareIds);
	c->nodes = palloc_extended(Max(2 * (Size) c->nedges, 1) * sizeof(ClusterNode), MCXT_ALLOC_HUGE);
	for (Size i = 0; i < 2 * (Size) c->nedges; i++)
	{
		ClusterNode	   *node = &c->nodes[c->nnodes];

		if (i > 0 && ids[i] == ids[i - 1])
			continue;
		node->id = ids[i];
		node->parent = c->nnodes++;
		node->size = 1;
		node->weakest = -1;
		node->refused = -1;
		node->last_refused = -1;
	}
	pfree(ids);
}

/*
 * Refusals of nodes that have edges; the others stand in nobody's way.
 */
static void
ReadRefusals(FunctionCallInfo fcinfo, Clustering *c)
{
	int			n;
	int			nb;
	int64	   *a = BigintsArgument(fcinfo, 4, "refused_a", &n);
	int64	   *b = BigintsArgument(fcinfo, 5, "refused_b", &nb);
	int			nrefusals = 0;

	RequireSameLength("refused_b", nb, n);
	c->refusals = palloc_extended(Max(2 * (Size) n, 1) * sizeof(Refusal), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		int			x = NodeOf(c, a[i]);
		int			y = NodeOf(c, b[i]);

		if (x < 0 || y < 0 || x == y)
			continue;
		for (int side = 0; side < 2; side++)
		{
			Refusal    *refusal = &c->refusals[nrefusals];
			ClusterNode	   *self = &c->nodes[side == 0 ? x : y];

			refusal->self = side == 0 ? x : y;
			refusal->other = side == 0 ? y : x;
			refusal->next = self->refused;
			if (self->refused < 0)
				self->last_refused = nrefusals;
			self->refused = nrefusals++;
		}
	}
}

/*
 * cluster_pairs(a bigint[], b bigint[], weights numeric[], accepted boolean[],
 *		refused_a bigint[], refused_b bigint[]) -> set of (node bigint,
 *		cluster bigint, weakest_a bigint, weakest_b bigint, weight numeric,
 *		refused_a bigint, refused_b bigint)
 *		Takes pairs, accepted ones first, then by weight downwards, then by their
 *		ids; but none that would bring two together who are refused.  A row for
 *		each node, and one without a node for each pair that was not taken, with
 *		the refusal in its way.  Error: LY003.
 */
PG_FUNCTION_INFO_V1(loyalty_cluster_pairs);
Datum
loyalty_cluster_pairs(PG_FUNCTION_ARGS)
{
	Clustering	c = {0};
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;
	int64	   *smallest;

	InitReturnSet(fcinfo);
	ReadEdges(fcinfo, &c);
	MakeNodes(&c);
	ReadRefusals(fcinfo, &c);
	for (int e = 0; e < c.nedges; e++)
	{
		if ((e & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		TakeEdge(&c, e);
	}

	smallest = palloc_extended(Max(c.nnodes, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	for (int i = c.nnodes - 1; i >= 0; i--)
		smallest[RootOf(&c, i)] = c.nodes[i].id;
	for (int i = 0; i < c.nnodes; i++)
	{
		int			root = RootOf(&c, i);
		int			weakest = c.nodes[root].weakest;
		Datum		values[7] = {0};
		bool		nulls[7] = {false, false, weakest < 0, weakest < 0, weakest < 0, true, true};

		values[0] = Int64GetDatum(c.nodes[i].id);
		values[1] = Int64GetDatum(smallest[root]);
		if (weakest >= 0)
		{
			values[2] = Int64GetDatum(c.edges[weakest].a);
			values[3] = Int64GetDatum(c.edges[weakest].b);
			values[4] = c.edges[weakest].weight;
		}
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	for (int e = 0; e < c.nedges; e++)
	{
		const ClusterEdge *edge = &c.edges[e];
		Datum		values[7] = {0, 0, Int64GetDatum(edge->a), Int64GetDatum(edge->b), edge->weight,
		Int64GetDatum(edge->way_a), Int64GetDatum(edge->way_b)};
		bool		nulls[7] = {true, true, false, false, false, false, false};

		if (edge->in_the_way)
			tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
	return (Datum) 0;
}
