/*
 * replay.h
 *		Folding recorded entries again.
 */
#ifndef LOYALTY_REPLAY_H
#define LOYALTY_REPLAY_H

#include "postgres.h"

#include "executor/spi.h"

#include "ledger/activity.h"
#include "ledger/chain.h"
#include "ledger/ledger.h"

/* The columns of a row of the ledger, in the order in which we select them */
#define LEDGER_COLUMNS \
	"member_id, entry_id, currency, kind, points, requested, available, effective_at, " \
	"recorded_at, available_at, expires_at, hold_until, extends_to, target_entry_id, " \
	"counterparty_id, reference, reason, details, idempotency_key, fingerprint, hash, home_id, expires_by, " \
	"never_expires, lots"
#define LEDGER_NCOLUMNS		25

/* A recorded entry, read back. */
typedef struct StoredEntry
{
	LedgerRow	row;
	Entry		entry;			/* as it took effect: with the lots it took */
	LotList		lots;
	bool		has_hash;
	uint8		hash[CHAIN_LENGTH];
} StoredEntry;

extern void ReadStoredEntry(HeapTuple tuple, TupleDesc tupdesc, bool for_chain, StoredEntry *stored);
extern FoldRefusal ReplayEntry(Balance *balance, ActivityLog *log, StoredEntry *stored, bool whole_history);

#endif							/* LOYALTY_REPLAY_H */
