/*
 * ledger_row.h
 *		The columns of loyalty.ledger, written once, and its rows as structs.
 */
#ifndef LOYALTY_LEDGER_ROW_H
#define LOYALTY_LEDGER_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "catalog/pg_type_d.h"

#include "core/core.h"
#include "core/plain.h"
#include "ledger/chain.h"
#include "ledger/fold.h"

/*
 * The columns that are ours, in the order in which setup() puts them into the
 * table: COLUMN(symbol, name, type).  A column more is a line more here and in
 * ledger_setup.sql; what it holds is said in LedgerRowValues() and
 * ReadStoredEntry().  Users may have added columns of their own behind them.
 */
#define LEDGER_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(ENTRY_ID, entry_id, INT8OID) \
	COLUMN(CURRENCY, currency, TEXTOID) \
	COLUMN(KIND, kind, TEXTOID) \
	COLUMN(POINTS, points, INT8OID) \
	COLUMN(REQUESTED, requested, INT8OID) \
	COLUMN(AVAILABLE, available, INT8OID) \
	COLUMN(EFFECTIVE_AT, effective_at, TIMESTAMPTZOID) \
	COLUMN(RECORDED_AT, recorded_at, TIMESTAMPTZOID) \
	COLUMN(AVAILABLE_AT, available_at, TIMESTAMPTZOID) \
	COLUMN(EXPIRES_AT, expires_at, TIMESTAMPTZOID) \
	COLUMN(HOLD_UNTIL, hold_until, TIMESTAMPTZOID) \
	COLUMN(EXTENDS_TO, extends_to, TIMESTAMPTZOID) \
	COLUMN(TARGET_ENTRY_ID, target_entry_id, INT8OID) \
	COLUMN(COUNTERPARTY_ID, counterparty_id, INT8OID) \
	COLUMN(REFERENCE, reference, TEXTOID) \
	COLUMN(REASON, reason, TEXTOID) \
	COLUMN(DETAILS, details, JSONBOID) \
	COLUMN(IDEMPOTENCY_KEY, idempotency_key, TEXTOID) \
	COLUMN(FINGERPRINT, fingerprint, BYTEAOID) \
	COLUMN(SALT, salt, BYTEAOID) \
	COLUMN(TEXTS_HASH, texts_hash, BYTEAOID) \
	COLUMN(LOTS, lots, InvalidOid)	/* points_lots: see LedgerColumnType() */ \
	COLUMN(HASH, hash, BYTEAOID) \
	COLUMN(HOME_ID, home_id, INT8OID) \
	COLUMN(EXPIRES_BY, expires_by, TIMESTAMPTZOID) \
	COLUMN(NEVER_EXPIRES, never_expires, BOOLOID)

/* LEDGER_MEMBER_ID, ...: places in arrays of values, from 0 */
typedef enum LedgerColumn
{
#define COLUMN(symbol, name, type) LEDGER_##symbol,
	LEDGER_COLUMNS(COLUMN)
#undef COLUMN
	LEDGER_NCOLUMNS
} LedgerColumn;

/* A recorded entry, read back. */
typedef struct StoredEntry
{
	LedgerRow	row;
	Entry		entry;			/* as it took effect: with the lots it took */
	LotList		lots;
	bool		has_hash;
	uint8		hash[CHAIN_LENGTH];
} StoredEntry;

struct Posting;

extern const PlainTable ledger_table;
extern const PlainTable archive_table;

extern const char *LedgerColumnName(LedgerColumn column);
extern Oid	LedgerColumnType(LedgerColumn column);
extern const char *LedgerColumnList(void);
extern void MakeLedgerInsert(KeptPlan *kept, const char *lots, const char *on_conflict);
extern void LedgerRowValues(struct Posting *posting, Datum values[LEDGER_NCOLUMNS], bool nulls[LEDGER_NCOLUMNS]);
extern void ReadStoredValues(const Datum values[LEDGER_NCOLUMNS], const bool nulls[LEDGER_NCOLUMNS], bool for_chain,
							 StoredEntry *stored);
extern void ReadStoredEntry(HeapTuple tuple, TupleDesc tupdesc, bool for_chain, StoredEntry *stored);

#endif							/* LOYALTY_LEDGER_ROW_H */
