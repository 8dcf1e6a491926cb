/*
 * plain_leaf.h
 *		What is known of a plain table, for the files plain*.c.
 */
#ifndef LOYALTY_PLAIN_LEAF_H
#define LOYALTY_PLAIN_LEAF_H

#include "postgres.h"

#include "access/attnum.h"
#include "nodes/execnodes.h"
#include "storage/lockdefs.h"

#include "core/plain.h"

#define PLAIN_MAX_INDEXES	16

/* An index, and how to make what it stores. */
typedef struct PlainIndex
{
	Oid			relid;
	AttrNumber	not_null;		/* it stores rows where this one is not null; 0: all */
	bool		unique;
	IndexInfo  *info;
} PlainIndex;

/* What was found out about a table, until it is changed. */
struct PlainLeaf
{
	Oid			relid;
	bool		known;
	bool		changed;		/* since we began to look */
	bool		readable;
	bool		writable;
	Oid			may_read;		/* this role may */
	Oid			may_write;
	AttrNumber	attnum[PLAIN_MAX_COLUMNS];
	Oid			key_index[PLAIN_MAX_KEYS];
	int			nindexes;
	PlainIndex	indexes[PLAIN_MAX_INDEXES];
	MemoryContext context;
};

/*
 * What tables and indexes are locked with, until the transaction ends: to let
 * go of the lock of an index earlier costs more than to keep it.
 */
static inline LOCKMODE
LockOf(PlainUse use)
{
	return use == PLAIN_READ ? AccessShareLock : RowExclusiveLock;
}

extern Oid EqualityOf(Oid type, Oid *opfamily);

#endif							/* LOYALTY_PLAIN_LEAF_H */
