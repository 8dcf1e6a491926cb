/*
 * ledger_init.c
 *		What room ledger sets up once per backend.
 */
#include "postgres.h"

#include "core/core.h"
#include "ledger/currency.h"

#define LEDGER_LAYOUT	1

void
LedgerInit(void)
{
	ExpectLayout("ledger", LEDGER_LAYOUT);
	CurrencyInit();
}
