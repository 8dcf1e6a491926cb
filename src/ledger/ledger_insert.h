/*
 * ledger_insert.h
 *		Many rows at once into the ledger.
 */
#ifndef LOYALTY_LEDGER_INSERT_H
#define LOYALTY_LEDGER_INSERT_H

#include "postgres.h"

#include "ledger/post.h"

typedef struct LedgerInsert LedgerInsert;

extern LedgerInsert *BeginLedgerInsert(void);
extern void AddLedgerRow(LedgerInsert *insert, Posting *posting);
extern void EndMemberRows(LedgerInsert *insert);
extern void FlushLedgerRows(LedgerInsert *insert);
extern void EndLedgerInsert(LedgerInsert *insert);

#endif							/* LOYALTY_LEDGER_INSERT_H */
