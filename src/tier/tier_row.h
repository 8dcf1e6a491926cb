/*
 * tier_row.h
 *		The columns of loyalty.tier_state, written once, and its rows as structs.
 */
#ifndef LOYALTY_TIER_ROW_H
#define LOYALTY_TIER_ROW_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_type_d.h"

#include "core/plain.h"
#include "tier/tier_machine.h"

/*
 * The columns that are ours, in the order in which setup() puts them into the
 * table: COLUMN(symbol, name, type).  A column more is a line more here and in
 * tier_setup.sql; what it holds is said in StoredTier, PutStored() and
 * GetStored().  Users may have added columns of their own behind them.
 */
#define TIER_STATE_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(LADDER, ladder, TEXTOID) \
	COLUMN(LEVEL, level, TEXTOID) \
	COLUMN(EARNED_LEVEL, earned_level, TEXTOID) \
	COLUMN(SINCE, since, TIMESTAMPTZOID) \
	COLUMN(VALID_UNTIL, valid_until, TIMESTAMPTZOID) \
	COLUMN(GRACE_UNTIL, grace_until, TIMESTAMPTZOID) \
	COLUMN(EVENT_AT, event_at, TIMESTAMPTZOID) \
	COLUMN(NEXT_AT, next_at, TIMESTAMPTZOID) \
	COLUMN(VERSIONS, versions, INT4OID) \
	COLUMN(REPLAYED_BEFORE, replayed_before, INT4OID) \
	COLUMN(REPLAYED_IN, replayed_in, INT8OID) \
	COLUMN(MERGED_INTO, merged_into, INT8OID) \
	COLUMN(COUNTED_TO, counted_to, INT8OID) \
	COLUMN(EVALUATED_AT, evaluated_at, TIMESTAMPTZOID) \
	COLUMN(MACHINE, machine, BYTEAOID)

/* STATE_MEMBER_ID, ...: places in arrays of values, from 0 */
typedef enum TierStateColumn
{
#define COLUMN(symbol, name, type) STATE_##symbol,
	TIER_STATE_COLUMNS(COLUMN)
#undef COLUMN
	STATE_NCOLUMNS
} TierStateColumn;

/* What the columns say of a machine. */
typedef struct TierColumns
{
	const char *level;			/* NULL: none */
	const char *earned_level;
	/* an instant that is NULL is infinite here */
	TimestampTz since;
	TimestampTz valid_until;
	TimestampTz grace_until;
	TimestampTz next_at;
} TierColumns;

/* A row, without its key */
typedef struct StoredTier
{
	bool		found;
	bool		evaluated;		/* the machine is there */
	int64		merged_into;	/* 0: none */
	int64		replayed_in;	/* transaction of the last replay; 0: none */
	CommandId	replayed_before;	/* it counted what earlier commands of this
									 * transaction had recorded */
	int			versions;		/* of the ladder, when it was written */
	int64		counted_to;		/* entries after this one may be missing, and
								 * change no column; 0: none is missing */
	TimestampTz event_at;		/* infinite where it is NULL */
	TimestampTz evaluated_at;
	TierColumns columns;
	struct varlena *machine;
} StoredTier;

extern const PlainTable tier_state_table;

extern const char *StateColumnList(void);
extern const char *StateAssignments(void);
extern void InitStored(StoredTier *stored);
extern void PutStored(int64 member_id, const char *ladder, const StoredTier *stored, Datum *values, bool *nulls);
extern void GetStored(const Datum *values, const bool *nulls, StoredTier *stored);
extern void GetStoredRecord(Datum record, StoredTier *stored);
extern const Oid *StateColumnTypes(void);
extern Datum FormState(TupleDesc tupdesc, const Datum *values, const bool *nulls);

#endif							/* LOYALTY_TIER_ROW_H */
