/*
 * wallet.h
 *		The columns of loyalty.wallet.
 */
#ifndef LOYALTY_WALLET_H
#define LOYALTY_WALLET_H

#include "core/plain.h"
#include "ledger/fold.h"

typedef enum WalletColumn
{
	WALLET_MEMBER_ID,
	WALLET_CURRENCY,
	WALLET_OPENED_AT,
	WALLET_BALANCE,
	WALLET_MOVED,
	WALLET_ERASED,
	WALLET_ARCHIVED,
	WALLET_TIERS,
	WALLET_NCOLUMNS
} WalletColumn;

extern const PlainTable wallet_table;

extern bool OpenPlainWallet(int64 member_id, const char *currency, ConsumptionOrder order);
extern void LockMissingWallet(int64 member_id, const char *currency);
extern void UnlockMissingWallet(int64 member_id, const char *currency);
extern bool LockPlainWallet(int64 member_id, const char *currency, bool *found);
extern bool UpdatePlainWallet(int64 member_id, const char *currency, WalletColumn column, Datum value, bool isnull);
extern bool LockWalletRow(int64 member_id, const char *currency, struct varlena **tiers);
extern void NoteTiers(int64 member_id, const char *currency, struct varlena *tiers);

#endif							/* LOYALTY_WALLET_H */
