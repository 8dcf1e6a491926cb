/*
 * plain.h
 *		Rows of plain tables, read and written by table access.
 *
 * Most of what a short statement costs is the start and the end of the
 * executor.  Where a table of ours has nothing but what setup() put there, we
 * do what the executor would do, and leave the rest out.  Everywhere else
 * OpenPlain() answers false, and the caller runs the statement: a table is
 * plain as long as nobody would notice the difference.  Not plain is a table
 * with
 *
 *	- triggers, foreign keys, rules or policies (row-level security) of others
 *	  (of ours, owner_only() is left out, and what the room names);
 *	- CHECK constraints of others (of ours what the room names is left out), or
 *	  exclusion constraints, deferrable keys, generated columns;
 *	- further columns that have a default, are NOT NULL, or of a domain;
 *	- columns of other types than declared;
 *	- indexes on expressions, or partial ones but for "column IS NOT NULL";
 *	- children, or partitions other than by hash of the first column;
 *	- another access method than heap; or that a distributed engine may have
 *	  spread;
 *
 * and nothing is plain for a role without the privilege on the whole table, in
 * a transaction that may only read (writing), where a library checks privileges
 * of its own, or when loyalty.table_access is off.  All of it is found out once,
 * and again after a change of the table.
 */
#ifndef LOYALTY_PLAIN_H
#define LOYALTY_PLAIN_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tableam.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "core/core.h"

#define PLAIN_MAX_COLUMNS	32
#define PLAIN_MAX_KEYS		3
#define PLAIN_KEY_COLUMNS	3

typedef struct PlainColumn
{
	const char *name;
	Oid			type;			/* InvalidOid: any, being one of ours */
} PlainColumn;

/* The columns of a unique index, by their numbers in columns: of type bigint,
 * integer, text or date. */
typedef struct PlainKey
{
	int			ncolumns;
	int			column[PLAIN_KEY_COLUMNS];
} PlainKey;

/* A table as its room declares it; static. */
typedef struct PlainTable
{
	const char *name;			/* in schema loyalty */
	int			ncolumns;
	const PlainColumn *columns; /* the first is the member, of rows of members */
	int			nkeys;
	PlainKey	keys[PLAIN_MAX_KEYS];	/* the first is the primary key */
	const char *const *own_triggers;	/* trigger functions of ours that may be
										 * left out; ends with NULL */
	const char *const *own_checks;	/* CHECK constraints of ours that all we
									 * write meets, likewise; NULL: none */
} PlainTable;

typedef struct PlainLeaf PlainLeaf;

typedef enum PlainUse
{
	PLAIN_READ,
	PLAIN_WRITE
} PlainUse;

/* A table that is open: the one that has the member's rows. */
typedef struct PlainAccess
{
	const PlainTable *table;
	const PlainLeaf *leaf;
	PlainUse	use;
	Relation	top;			/* of which rel is a partition, or NULL */
	Relation	rel;
} PlainAccess;

/* Where a row is, in the table and in the order of the primary key. */
typedef struct PlainPlace
{
	ItemPointerData tid;
	int			place;
} PlainPlace;

/* A scan over the rows of many members, or of all. */
typedef struct PlainScan
{
	PlainAccess access;
	Relation	index;			/* NULL: it goes over the whole table */
	struct IndexScanDescData *scan;
	struct TableScanDescData *whole;
	struct TupleTableSlot *slot;
	bool		found;			/* there is a row in the slot */
	int64		member_id;		/* whose */
	PlainPlace *places;			/* NULL: in the order of the primary key */
	int			nplaces;
	int			next;
	int			place;			/* of the row in the slot */
	Buffer		buffer;
} PlainScan;

extern void PlainInit(void);
extern bool OpenPlain(PlainAccess *access, const PlainTable *table, int64 member_id, PlainUse use);
extern bool HasPlainRowsOf(const PlainAccess *access, int64 member_id);
extern void ClosePlain(PlainAccess *access);
extern HeapTuple FetchPlainRow(const PlainAccess *access, int key, const Datum *values, Snapshot snapshot);
extern HeapTuple FetchLatestPlainRow(const PlainAccess *access, int key, const Datum *values);
extern HeapTuple FetchLastPlainRow(const PlainAccess *access, const Datum *values);
extern int	FetchPlainRows(const PlainAccess *access, int64 member_id, Snapshot snapshot, HeapTuple **rows);
extern int	FetchPlainRowsBy(const PlainAccess *access, int key, Datum value, Snapshot snapshot, HeapTuple **rows);
extern bool BeginPlainScan(PlainScan *scan, const PlainTable *table, int64 first, int64 last, Snapshot snapshot);
extern bool BeginWholePlainScan(PlainScan *scan, const PlainTable *table, Snapshot snapshot);
extern int	OrderPlainRowsAsStored(PlainScan *scan);
extern bool NextPlainRow(PlainScan *scan);
extern Datum PlainScanValue(const PlainScan *scan, int column, bool *isnull);
extern void EndPlainScan(PlainScan *scan);
extern Datum PlainValue(const PlainAccess *access, HeapTuple row, int column, bool *isnull);
extern void PlainValues(const PlainAccess *access, HeapTuple row, Datum *values, bool *nulls);
extern bool LockPlainRow(const PlainAccess *access, HeapTuple row);
extern bool WaitForPlainRow(const PlainAccess *access, HeapTuple row);
extern bool UpdatePlainRow(const PlainAccess *access, HeapTuple row, int ncolumns, const int *columns,
						   const Datum *values, const bool *nulls);
extern HeapTuple FormPlainRow(const PlainAccess *access, const Datum *values, const bool *nulls);
extern bool InsertNewPlainRow(const PlainAccess *access, HeapTuple row);
extern void InsertPlainRows(const PlainAccess *access, int nrows, HeapTuple *rows, int *at);
extern void LockMemberRow(const PlainTable *table, KeptPlan *otherwise, int64 member_id);
extern void WaitForDirtyRow(const PlainAccess *access, HeapTuple row, const SnapshotData *dirty);

#endif							/* LOYALTY_PLAIN_H */
