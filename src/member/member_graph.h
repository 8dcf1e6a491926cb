/*
 * member_graph.h
 *		Connected components of a graph that arrives edge by edge.
 */
#ifndef LOYALTY_MEMBER_GRAPH_H
#define LOYALTY_MEMBER_GRAPH_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef enum NodeKind
{
	NODE_BIGINT = 1,
	NODE_TEXT = 2
} NodeKind;

/* A text node: bytes in the database encoding, no terminator. */
typedef struct TextNode
{
	const char *data;
	uint32		len;
} TextNode;

struct bignode_hash;
struct textnode_hash;

/*
 * Nodes are numbered 0, 1, 2 ... as they are first seen; everything but the
 * two look-ups works on numbers only.
 *
 * parent[i] <= i for every i, and parent[r] == r for the root of a component.
 */
typedef struct Graph
{
	MemoryContext context;		/* holds everything below */
	NodeKind	kind;
	uint32		nnodes;
	uint32		capacity;		/* of parent and of the nodes' array */
	uint32	   *parent;

	/* NODE_BIGINT */
	int64	   *bignodes;
	struct bignode_hash *bighash;
	int			npending;		/* edges not yet worked in */
	int			maxpending;
	int64	   *pending;		/* 2 * maxpending ends of edges */

	/* NODE_TEXT */
	TextNode   *textnodes;
	struct textnode_hash *texthash;
	char	   *block;			/* where the bytes of new nodes go */
	Size		blockleft;
	Size		blocksize;
	uint64		textbytes;		/* of all nodes */
} Graph;

/* A node and the smallest node of its component, as numbers. */
typedef struct NodeComponent
{
	uint32		node;
	uint32		component;
} NodeComponent;

extern Graph *CreateGraph(MemoryContext context, NodeKind kind);
extern void AddBigEdge(Graph *graph, int64 a, int64 b);
extern void AddTextEdge(Graph *graph, const char *a, uint32 alen, const char *b, uint32 blen);
extern void MergeGraph(Graph *graph, Graph *other);
extern NodeComponent *ListComponents(Graph *graph);
extern void SerializeGraph(Graph *graph, StringInfo buf);
extern Graph *DeserializeGraph(MemoryContext context, StringInfo buf, const char **problem);

#endif							/* LOYALTY_MEMBER_GRAPH_H */
