/*
 * ledger_init.c
 *		What room ledger sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "ledger/currency.h"

ROOM_INIT(Ledger)
{
	ExpectLayout("ledger", 1);
	CurrencyInit();
}
