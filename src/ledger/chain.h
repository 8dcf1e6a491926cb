/*
 * chain.h
 *		The hash chain of a wallet, and fingerprints of arguments.
 *
 * What is hashed is unambiguous: a version byte, then each field led by the
 * number of bytes it has, or by a mark that it is NULL.  Integers are eight
 * bytes, low byte first.
 */
#ifndef LOYALTY_CHAIN_H
#define LOYALTY_CHAIN_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "ledger/fold.h"
#include "ledger/pack.h"

/* A row of the ledger, as it is hashed; texts are NULL where the column is. */
typedef struct LedgerRow
{
	int64		member_id;
	int64		entry_id;
	const char *currency;
	EntryKind	kind;
	int64		points;
	int64		requested;
	int64		available;
	TimestampTz effective_at;
	TimestampTz recorded_at;
	TimestampTz available_at;	/* these five: -infinity is NULL */
	TimestampTz expires_at;
	TimestampTz hold_until;
	TimestampTz extends_to;
	TimestampTz expires_by;		/* infinity is never_expires */
	int64		target_entry_id;	/* 0 is NULL */
	int64		counterparty_id;	/* 0 is NULL, except of a transfer */
	int64		home_id;		/* 0 is NULL */
	const char *reference;
	const char *reason;
	const char *details;
	const char *idempotency_key;
	const struct varlena *fingerprint;	/* bytea */
	const struct varlena *lots; /* points_lots */
} LedgerRow;

/* What has been put together to be hashed. */
typedef PackWriter Preimage;

extern void PreimageInit(Preimage *preimage, uint8 version);
extern void PreimageInt(Preimage *preimage, int64 value);
extern void PreimageNullableTime(Preimage *preimage, TimestampTz value);
extern void PreimageText(Preimage *preimage, const char *value);
extern void PreimageBytes(Preimage *preimage, const void *bytes, Size length);
extern void HashPreimage(const Preimage *preimage, uint8 hash[CHAIN_LENGTH]);

extern void ChainHash(const LedgerRow *row, const uint8 previous[CHAIN_LENGTH],
					  uint8 hash[CHAIN_LENGTH]);

#endif							/* LOYALTY_CHAIN_H */
