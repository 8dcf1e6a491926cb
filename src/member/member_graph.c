/*
 * member_graph.c
 *		Connected components by union-find, in plain C.
 *
 * Edges are not kept: each is worked in and forgotten, so memory goes with the
 * number of different nodes, not of edges.  Arrays and hash table grow by
 * doubling, so a bigint node costs 12 to 24 bytes in the arrays and 18 to 36
 * in the hash table; a text node 20 to 40 bytes, its own bytes, and 13 to 27
 * in the hash table.  While the hash table doubles, the old one is there too;
 * listing the components costs 24 bytes a node (text: 12) besides the result.
 *
 * All of it is in a memory context below the aggregate's, so that a hashed
 * GROUP BY counts it against work_mem * hash_mem_multiplier and spills further
 * groups; like the state of array_agg, one group's state is not limited by
 * work_mem and does not spill.
 *
 * The find step halves paths, the union step links to the node that was seen
 * first (Tarjan and van Leeuwen, "Worst-case analysis of set union
 * algorithms", 1984).  Which node is the root depends on the order of edges;
 * which nodes are together, and the smallest of them, does not.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/compat.h"
#include "member/member_graph.h"

#define MAX_NODES		(PG_UINT32_MAX - 1)
#define NO_NODE			PG_UINT32_MAX
#define FIRST_PENDING	4
#define MAX_PENDING		256
#define FIRST_BLOCK		256
#define MAX_BLOCK		(1024 * 1024)

#define GRAPH_WIRE_VERSION	1

/*
 * bigint nodes: the key is in the hash entry, since a second look-up elsewhere
 * would miss the CPU's cache a second time.
 */
typedef struct BigEntry
{
	int64		key;
	uint32		number;
	char		status;
} BigEntry;

static inline uint32
HashBig(int64 key)
{
	uint64		h = (uint64) key;

	h ^= h >> 32;
	h *= UINT64CONST(0xd6e8feb86659fd93);
	h ^= h >> 32;
	h *= UINT64CONST(0xd6e8feb86659fd93);
	h ^= h >> 32;
	return (uint32) h;
}

#define SH_PREFIX		bignode
#define SH_ELEMENT_TYPE BigEntry
#define SH_KEY_TYPE		int64
#define SH_KEY			key
#define SH_HASH_KEY(tb, k)	HashBig(k)
#define SH_EQUAL(tb, x, y)	((x) == (y))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * Text nodes: the key is a node's number.  To look a text up it is first put
 * where the next node would stand.
 */
typedef struct TextEntry
{
	uint32		number;
	uint32		hash;
	char		status;
} TextEntry;

static inline bool
SameText(const TextNode *nodes, uint32 x, uint32 y)
{
	return nodes[x].len == nodes[y].len &&
		memcmp(nodes[x].data, nodes[y].data, nodes[x].len) == 0;
}

static inline uint32
HashText(const TextNode *nodes, uint32 x)
{
	return hash_bytes((const unsigned char *) nodes[x].data, (int) nodes[x].len);
}

#define SH_PREFIX		textnode
#define SH_ELEMENT_TYPE TextEntry
#define SH_KEY_TYPE		uint32
#define SH_KEY			number
#define SH_HASH_KEY(tb, k)	HashText(((Graph *) (tb)->private_data)->textnodes, k)
#define SH_EQUAL(tb, x, y)	SameText(((Graph *) (tb)->private_data)->textnodes, x, y)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)	(a)->hash
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static inline int
CompareTextNodes(const TextNode *x, const TextNode *y)
{
	int			cmp = memcmp(x->data, y->data, Min(x->len, y->len));

	if (cmp != 0)
		return cmp;
	return (x->len > y->len) - (x->len < y->len);
}

typedef struct BigRef
{
	int64		key;
	uint32		number;
} BigRef;

#define ST_SORT			SortBigRefs
#define ST_ELEMENT_TYPE BigRef
#define ST_COMPARE(a, b)	(((a)->key > (b)->key) - ((a)->key < (b)->key))
#define ST_SCOPE		static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DECLARE
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT			SortTextNumbers
#define ST_ELEMENT_TYPE uint32
#define ST_COMPARE_ARG_TYPE const TextNode
#define ST_COMPARE(a, b, nodes) CompareTextNodes(&(nodes)[*(a)], &(nodes)[*(b)])
#define ST_SCOPE		static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DECLARE
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * An empty graph in a memory context.
 */
Graph *
CreateGraph(MemoryContext context, NodeKind kind)
{
	Graph	   *graph = MemoryContextAllocZero(context, sizeof(Graph));

	graph->context = context;
	graph->kind = kind;
	return graph;
}

/*
 * Room for one more node at least.
 */
static void
GrowNodes(Graph *graph, uint64 wanted)
{
	uint64		capacity = Max(graph->capacity, 8);
	Size		keysize = graph->kind == NODE_BIGINT ? sizeof(int64) : sizeof(TextNode);
	void	   *keys = graph->kind == NODE_BIGINT ? (void *) graph->bignodes : (void *) graph->textnodes;

	if (wanted <= graph->capacity)
		return;
	if (wanted > MAX_NODES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many nodes for connected components"),
				 errdetail("One graph can have at most %u nodes.", MAX_NODES),
				 errhint("Split the graph, for example with GROUP BY, where no edge crosses.")));

	while (capacity < wanted)
		capacity *= 2;
	capacity = Min(capacity, MAX_NODES);

	if (graph->capacity == 0)
	{
		graph->parent = MemoryContextAlloc(graph->context, capacity * sizeof(uint32));
		keys = MemoryContextAlloc(graph->context, capacity * keysize);
	}
	else
	{
		graph->parent = repalloc_huge(graph->parent, capacity * sizeof(uint32));
		keys = repalloc_huge(keys, capacity * keysize);
	}
	if (graph->kind == NODE_BIGINT)
		graph->bignodes = keys;
	else
		graph->textnodes = keys;
	graph->capacity = (uint32) capacity;
}

/*
 * Root of a node's component; shortens the path on the way.
 */
static inline uint32
FindRoot(uint32 *parent, uint32 node)
{
	while (parent[node] != node)
	{
		uint32		grand = parent[parent[node]];

		parent[node] = grand;
		node = grand;
	}
	return node;
}

static inline void
JoinNodes(uint32 *parent, uint32 a, uint32 b)
{
	a = FindRoot(parent, a);
	b = FindRoot(parent, b);
	if (a < b)
		parent[b] = a;
	else
		parent[a] = b;
}

/*
 * Number of a bigint node, new or known.
 */
static inline uint32
BigNodeNumber(Graph *graph, int64 key, uint32 hash)
{
	bool		found;
	BigEntry   *entry = bignode_insert_hash(graph->bighash, key, hash, &found);

	if (!found)
	{
		if (unlikely(graph->nnodes >= graph->capacity))
			GrowNodes(graph, (uint64) graph->nnodes + 1);
		entry->number = graph->nnodes++;
		graph->bignodes[entry->number] = key;
		graph->parent[entry->number] = entry->number;
	}
	return entry->number;
}

/*
 * Numbers of many bigint nodes.  The hash table of a large graph is far larger
 * than the CPU's cache, so the entries are asked for ahead of their use.
 */
static void
NumberBigNodes(Graph *graph, const int64 *keys, int nkeys, uint32 *numbers)
{
	uint32		hashes[2 * MAX_PENDING];

	Assert(nkeys <= 2 * MAX_PENDING);
	if (graph->bighash == NULL)
		graph->bighash = bignode_create(graph->context, nkeys, NULL);

	for (int i = 0; i < nkeys; i++)
	{
		hashes[i] = HashBig(keys[i]);
		PrefetchMemory(&graph->bighash->data[hashes[i] & graph->bighash->sizemask]);
	}
	for (int i = 0; i < nkeys; i++)
	{
		numbers[i] = BigNodeNumber(graph, keys[i], hashes[i]);
		PrefetchMemory(&graph->parent[numbers[i]]);
	}
}

static void
WorkInPending(Graph *graph)
{
	uint32		numbers[2 * MAX_PENDING];
	int			nends = 2 * graph->npending;

	CHECK_FOR_INTERRUPTS();
	NumberBigNodes(graph, graph->pending, nends, numbers);
	for (int i = 0; i < nends; i++)
		PrefetchMemory(&graph->parent[graph->parent[numbers[i]]]);
	for (int i = 0; i < nends; i += 2)
		JoinNodes(graph->parent, numbers[i], numbers[i + 1]);
	graph->npending = 0;
}

/*
 * One edge between bigint nodes; a == b only makes the node known.  Edges wait
 * a while to be worked in together: call FinishEdges() before reading.
 */
void
AddBigEdge(Graph *graph, int64 a, int64 b)
{
	if (graph->npending == graph->maxpending)
	{
		/* a small graph, one of many groups perhaps, waits in little room */
		if (graph->maxpending == 0)
		{
			graph->pending = MemoryContextAlloc(graph->context,
												2 * FIRST_PENDING * sizeof(int64));
			graph->maxpending = FIRST_PENDING;
		}
		else if (graph->maxpending < MAX_PENDING)
		{
			graph->pending = repalloc(graph->pending,
									  4 * graph->maxpending * sizeof(int64));
			graph->maxpending *= 2;
		}
		else
			WorkInPending(graph);
	}
	graph->pending[2 * graph->npending] = a;
	graph->pending[2 * graph->npending + 1] = b;
	graph->npending++;
}

/*
 * Copies the bytes of a new text node to where they stay.
 */
static const char *
KeepBytes(Graph *graph, const char *data, uint32 len)
{
	char	   *kept;

	if (len > graph->blockleft)
	{
		Size		size;

		graph->blocksize = graph->blocksize == 0 ? FIRST_BLOCK :
			Min(graph->blocksize * 2, MAX_BLOCK);
		size = Max(graph->blocksize, len);
		graph->block = MemoryContextAllocHuge(graph->context, size);
		graph->blockleft = size;
	}
	kept = graph->block;
	memcpy(kept, data, len);
	graph->block += len;
	graph->blockleft -= len;
	graph->textbytes += len;
	return kept;
}

/*
 * Number of a text node, new or known.  "data" is copied when it is new.
 */
static uint32
TextNodeNumber(Graph *graph, const char *data, uint32 len)
{
	uint32		next = graph->nnodes;
	bool		found;
	TextEntry  *entry;

	if (graph->texthash == NULL)
		graph->texthash = textnode_create(graph->context, 8, graph);
	GrowNodes(graph, (uint64) next + 1);
	graph->textnodes[next].data = data;
	graph->textnodes[next].len = len;
	entry = textnode_insert(graph->texthash, next, &found);
	if (!found)
	{
		graph->textnodes[next].data = KeepBytes(graph, data, len);
		graph->parent[next] = next;
		graph->nnodes++;
	}
	return entry->number;
}

/*
 * One edge between text nodes; nodes are the same when their bytes are.
 */
void
AddTextEdge(Graph *graph, const char *a, uint32 alen, const char *b, uint32 blen)
{
	uint32		x = TextNodeNumber(graph, a, alen);
	uint32		y = TextNodeNumber(graph, b, blen);

	JoinNodes(graph->parent, x, y);
}

/*
 * Works in all edges that still wait.  Needed before nodes or components are
 * read; more edges may follow.
 */
static void
FinishEdges(Graph *graph)
{
	if (graph->npending > 0)
		WorkInPending(graph);
}

/*
 * Adds all nodes and components of another graph.  Nothing of "other" is kept,
 * and its components stay as they are.
 */
void
MergeGraph(Graph *graph, Graph *other)
{
	uint32	   *numbers;

	Assert(graph->kind == other->kind);
	FinishEdges(graph);
	FinishEdges(other);
	if (graph->nnodes == 0)
	{
		/* grow once, to what is known to be needed */
		GrowNodes(graph, other->nnodes);
		if (graph->kind == NODE_BIGINT)
			graph->bighash = bignode_create(graph->context, other->nnodes, NULL);
		else
			graph->texthash = textnode_create(graph->context, other->nnodes, graph);
	}

	/*
	 * A node's parent has a smaller number, so one pass in the order of
	 * numbers always finds the parent's new number.
	 */
	numbers = MemoryContextAllocHuge(CurrentMemoryContext, (Size) other->nnodes * sizeof(uint32));
	for (uint32 start = 0; start < other->nnodes; start += 2 * MAX_PENDING)
	{
		uint32		end = Min((uint64) start + 2 * MAX_PENDING, other->nnodes);

		CHECK_FOR_INTERRUPTS();
		if (graph->kind == NODE_BIGINT)
			NumberBigNodes(graph, other->bignodes + start, end - start, numbers + start);
		else
			for (uint32 i = start; i < end; i++)
				numbers[i] = TextNodeNumber(graph, other->textnodes[i].data, other->textnodes[i].len);
		for (uint32 i = start; i < end; i++)
			JoinNodes(graph->parent, numbers[i], numbers[other->parent[i]]);
		if (end == other->nnodes)
			break;
	}
	pfree(numbers);
}

/*
 * All nodes in ascending order (bigint by value, text by bytes), each with the
 * smallest node of its component: nnodes pairs of node numbers, palloc'd in
 * the current memory context.  NULL when there is no node.
 */
NodeComponent *
ListComponents(Graph *graph)
{
	NodeComponent *list;
	uint32	   *least;
	uint32		n;

	FinishEdges(graph);
	n = graph->nnodes;
	if (n == 0)
		return NULL;

	list = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * sizeof(NodeComponent));
	if (graph->kind == NODE_BIGINT)
	{
		BigRef	   *refs = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * sizeof(BigRef));

		for (uint32 i = 0; i < n; i++)
		{
			refs[i].key = graph->bignodes[i];
			refs[i].number = i;
		}
		SortBigRefs(refs, n);
		for (uint32 i = 0; i < n; i++)
			list[i].node = refs[i].number;
		pfree(refs);
	}
	else
	{
		uint32	   *order = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * sizeof(uint32));

		for (uint32 i = 0; i < n; i++)
			order[i] = i;
		SortTextNumbers(order, n, graph->textnodes);
		for (uint32 i = 0; i < n; i++)
			list[i].node = order[i];
		pfree(order);
	}

	/* parents have smaller numbers, so one pass makes every path one step */
	for (uint32 i = 0; i < n; i++)
	{
		Assert(graph->parent[i] <= i);
		graph->parent[i] = graph->parent[graph->parent[i]];
	}

	/* in ascending order the first node of a component is its smallest */
	least = MemoryContextAllocHuge(CurrentMemoryContext, (Size) n * sizeof(uint32));
	memset(least, 0xff, (Size) n * sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
	{
		uint32		root = graph->parent[list[i].node];

		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		if (least[root] == NO_NODE)
			least[root] = list[i].node;
		list[i].component = least[root];
	}
	pfree(least);
	return list;
}

/*
 * Writes a graph for another process: version, kind, number of nodes, then for
 * each node its parent's number and its key (int64, or length and bytes).
 */
void
SerializeGraph(Graph *graph, StringInfo buf)
{
	uint64		size;

	FinishEdges(graph);
	size = graph->kind == NODE_BIGINT ? (uint64) graph->nnodes * 12 :
		(uint64) graph->nnodes * 8 + graph->textbytes;
	if (size + 64 > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("graph is too large to pass between parallel workers"),
				 errdetail("%u nodes need %llu bytes, and %llu are possible.", graph->nnodes,
						   (unsigned long long) size, (unsigned long long) MaxAllocSize),
				 errhint("Set max_parallel_workers_per_gather to 0 for this query.")));
	enlargeStringInfo(buf, (int) size + 16);

	pq_sendbyte(buf, GRAPH_WIRE_VERSION);
	pq_sendbyte(buf, graph->kind);
	pq_sendint32(buf, graph->nnodes);
	for (uint32 i = 0; i < graph->nnodes; i++)
	{
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		pq_sendint32(buf, graph->parent[i]);
		if (graph->kind == NODE_BIGINT)
			pq_sendint64(buf, graph->bignodes[i]);
		else
		{
			pq_sendint32(buf, graph->textnodes[i].len);
			pq_sendbytes(buf, graph->textnodes[i].data, graph->textnodes[i].len);
		}
	}
}

/*
 * Reads what SerializeGraph() wrote, or says what is wrong with it.  The result
 * has no hash table: it can be merged into another graph, but takes no edges
 * itself.
 */
Graph *
DeserializeGraph(MemoryContext context, StringInfo buf, const char **problem)
{
	int			version = pq_getmsgbyte(buf);
	int			kind = pq_getmsgbyte(buf);
	uint32		nnodes = pq_getmsgint(buf, 4);
	Graph	   *graph;

	*problem = "it has an unknown format";
	if (version != GRAPH_WIRE_VERSION || (kind != NODE_BIGINT && kind != NODE_TEXT) ||
		nnodes > (uint32) buf->len / 8)
		return NULL;

	graph = CreateGraph(context, kind);
	GrowNodes(graph, nnodes);
	for (uint32 i = 0; i < nnodes; i++)
	{
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		graph->parent[i] = pq_getmsgint(buf, 4);
		*problem = "the parent of a node stands behind it";
		if (graph->parent[i] > i)
			return NULL;
		if (kind == NODE_BIGINT)
			graph->bignodes[i] = pq_getmsgint64(buf);
		else
		{
			uint32		len = pq_getmsgint(buf, 4);
			const char *text = pq_getmsgbytes(buf, (int) len);

			*problem = "a node is no text";
			if (!pg_verify_mbstr(GetDatabaseEncoding(), text, (int) len, true))
				return NULL;
			graph->textnodes[i].len = len;
			graph->textnodes[i].data = KeepBytes(graph, text, len);
		}
	}
	graph->nnodes = nnodes;
	*problem = NULL;
	return graph;
}
