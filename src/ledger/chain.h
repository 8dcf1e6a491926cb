/*
 * chain.h
 *		The hash chain of a wallet, and fingerprints of arguments.
 *
 * What is hashed is unambiguous: a version byte, then each field led by the
 * number of bytes it has, or by a mark that it is NULL.  Integers are eight
 * bytes, low byte first.
 *
 * The texts of an entry, its key, and the fingerprint of its arguments may say
 * who somebody is.  So the hash of the entry does not take them themselves, but
 * one hash of all of them and of random bytes, the salt, which stands beside
 * them.  When the member is forgotten they are erased, the salt with them, and
 * their hash is stored in their place: the chain goes on to be verified, and
 * what was erased cannot be guessed from it, however few it may have been.
 */
#ifndef LOYALTY_CHAIN_H
#define LOYALTY_CHAIN_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "ledger/fold.h"
#include "ledger/pack.h"

#define SALT_LENGTH		16

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
	const struct varlena *salt; /* bytea */
	bool		has_texts;		/* or had, before they were erased */
	uint8		texts_hash[CHAIN_LENGTH];	/* of what is between here and home_id */
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

extern void HashTexts(LedgerRow *row);
extern void ChainHash(const LedgerRow *row, const uint8 previous[CHAIN_LENGTH],
					  uint8 hash[CHAIN_LENGTH]);

#endif							/* LOYALTY_CHAIN_H */
