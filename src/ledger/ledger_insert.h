/*
 * ledger_insert.h
 *		Many rows at once into the ledger.
 */
#ifndef LOYALTY_LEDGER_INSERT_H
#define LOYALTY_LEDGER_INSERT_H

#include "postgres.h"

#include "ledger/post.h"

/* Of a key that was used before (23505) */
#define USED_KEY_HINT	"Leave out the rows whose entries are there already: a row of a history has a key of its own."

typedef struct LedgerInsert LedgerInsert;

extern LedgerInsert *BeginLedgerInsert(void);
extern void AddLedgerRow(LedgerInsert *insert, Posting *posting);
extern void EndMemberRows(LedgerInsert *insert);
extern void FlushLedgerRows(LedgerInsert *insert);
extern void EndLedgerInsert(LedgerInsert *insert);

#endif							/* LOYALTY_LEDGER_INSERT_H */
