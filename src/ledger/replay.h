/*
 * replay.h
 *		Folding recorded entries again.
 */
#ifndef LOYALTY_REPLAY_H
#define LOYALTY_REPLAY_H

#include "postgres.h"

#include "ledger/activity_log.h"
#include "ledger/ledger.h"
#include "ledger/ledger_row.h"

extern FoldRefusal ReplayEntry(Balance *balance, ActivityLog *log, StoredEntry *stored, bool whole_history);
extern void FoldPast(int64 member_id, const char *code, TimestampTz as_of, TimestampTz known_at, Balance *balance);
extern void RequireWallet(FunctionCallInfo fcinfo, int n);

#endif							/* LOYALTY_REPLAY_H */
