/*
 * points_ledger.h
 *		Building and reading values of type points_ledger.
 */
#ifndef LOYALTY_POINTS_LEDGER_H
#define LOYALTY_POINTS_LEDGER_H

#include "ledger/ledger.h"

#define LEDGER_HAS_LATE		0x01	/* an entry is effective before one before it */
#define LEDGER_HAS_TARGETS	0x02	/* an entry refers to another */
#define LEDGER_FLAGS		0x03

typedef struct LedgerBuilder
{
	PackWriter	body;
	uint8		flags;
	int64		count;
	TimestampTz last_effective_at;
	int64		lifetime;
} LedgerBuilder;

typedef struct LedgerReader
{
	PackReader	bytes;
	uint8		flags;
	int64		count;
	TimestampTz last_effective_at;	/* of the whole ledger */
	int64		last_lifetime;
	int64		done;			/* entries read */
	TimestampTz previous;
	int64		lifetime;
} LedgerReader;

extern void BeginLedger(LedgerBuilder *builder);
extern void AppendEntry(LedgerBuilder *builder, const Entry *entry);
extern PackedValue *FinishLedger(LedgerBuilder *builder);
extern PackedValue *CheckedLedger(PackedValue *value);

extern ConsumptionOrder ConsumptionOrderFromText(const char *name);
extern ClawbackPolicy ClawbackPolicyFromText(const char *name);

#endif							/* LOYALTY_POINTS_LEDGER_H */
