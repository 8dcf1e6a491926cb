/*
 * replay.h
 *		Folding recorded entries again.
 */
#ifndef LOYALTY_REPLAY_H
#define LOYALTY_REPLAY_H

#include "postgres.h"

#include "ledger/activity.h"
#include "ledger/ledger.h"
#include "ledger/ledger_row.h"

extern FoldRefusal ReplayEntry(Balance *balance, ActivityLog *log, StoredEntry *stored, bool whole_history);

#endif							/* LOYALTY_REPLAY_H */
