/*
 * ledger_init.c
 *		What room ledger sets up once per session.
 */
#include "postgres.h"

#include "core/core.h"
#include "core/state.h"
#include "ledger/currency.h"
#include "ledger/ledger.h"

ROOM_INIT(Ledger)
{
	ExpectLayout("ledger", 1);
	DrawOnEachMachine("ledger_entry_id_seq");
	CurrencyInit();
	RegisterState(&entry_run_state);
}
