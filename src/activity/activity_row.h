/*
 * activity_row.h
 *		The columns of loyalty.activity and loyalty.activity_revision, written
 *		once, and how an activity is stored and read.
 */
#ifndef LOYALTY_ACTIVITY_ROW_H
#define LOYALTY_ACTIVITY_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"

#include "activity/activity.h"
#include "core/core.h"
#include "core/plain.h"

#define ACTIVITY_FINGERPRINT_LENGTH	16

/* What a revision can change, and keeps: COLUMN(symbol, name, type) */
#define ACTIVITY_STATE(COLUMN) \
	COLUMN(AT, at, TIMESTAMPTZOID) \
	COLUMN(LOCAL_DAY, local_day, DATEOID) \
	COLUMN(TIME_ZONE, time_zone, TEXTOID) \
	COLUMN(CHANNEL, channel, TEXTOID) \
	COLUMN(AMOUNT, amount, NUMERICOID) \
	COLUMN(MONEY, money, TEXTOID) \
	COLUMN(LINES, lines, JSONBOID) \
	COLUMN(DOCUMENT, document, JSONBOID) \
	COLUMN(CONFIRMED, confirmed, BOOLOID) \
	COLUMN(CANCELLED, cancelled, BOOLOID) \
	COLUMN(RETURNED, returned, BOOLOID) \
	COLUMN(REVISED_AT, revised_at, TIMESTAMPTZOID)

/* All columns that are ours, in the order in which setup() puts them there */
#define ACTIVITY_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(ACTIVITY_ID, activity_id, INT8OID) \
	COLUMN(REVISION, revision, INT4OID) \
	COLUMN(KIND, kind, TEXTOID) \
	ACTIVITY_STATE(COLUMN) \
	COLUMN(EXTERNAL_ID, external_id, TEXTOID) \
	COLUMN(SAME_KEY, same_key, TEXTOID) \
	COLUMN(RECORDED_AT, recorded_at, TIMESTAMPTZOID) \
	COLUMN(IDEMPOTENCY_KEY, idempotency_key, TEXTOID) \
	COLUMN(FINGERPRINT, fingerprint, BYTEAOID) \
	COLUMN(MOVED_TO, moved_to, INT8OID)

/* ACTIVITY_MEMBER_ID, ...: places in arrays of values, from 0 */
typedef enum ActivityColumn
{
#define COLUMN(symbol, name, type) ACTIVITY_##symbol,
	ACTIVITY_COLUMNS(COLUMN)
#undef COLUMN
	ACTIVITY_NCOLUMNS
} ActivityColumn;

/* The keys of activity_table */
#define ACTIVITY_BY_SAME_KEY		1
#define ACTIVITY_BY_IDEMPOTENCY_KEY	2

extern const PlainTable activity_table;

/* An activity and what else its row has; texts are NULL where there are none */
typedef struct ActivityRow
{
	Activity	activity;
	const char *same_key;		/* what no other activity of the member and kind
								 * has */
	const char *idempotency_key;
	struct varlena *fingerprint;	/* of the arguments of the call with the key */
	int64		moved_to;		/* 0: it was not */
} ActivityRow;

extern void ActivityRowValues(const ActivityRow *row, Datum values[ACTIVITY_NCOLUMNS], bool nulls[ACTIVITY_NCOLUMNS]);
extern void ReadActivityRow(HeapTuple tuple, TupleDesc tupdesc, ActivityRow *row);
extern void ReadPlainActivity(const PlainAccess *access, HeapTuple tuple, ActivityRow *row);
extern void MakeActivityQuery(KeptPlan *plan, const char *where);
extern void MakeActivityInsert(KeptPlan *plan, const char *on_conflict);

/* activity_kind.c */

#endif							/* LOYALTY_ACTIVITY_ROW_H */
