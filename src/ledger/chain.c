/*
 * chain.c
 *		The hash chain of a wallet.  See chain.h.
 */
#include "postgres.h"

#ifdef USE_OPENSSL
#include <openssl/evp.h>
#else
#include "common/cryptohash.h"
#endif

#include "core/compat.h"
#include "ledger/chain.h"

#define ROW_VERSION		1

void
PreimageInit(Preimage *preimage, uint8 version)
{
	preimage->size = 512;
	preimage->data = palloc(preimage->size);
	preimage->data[0] = (char) version;
	preimage->used = 1;
}

void
PreimageInt(Preimage *preimage, int64 value)
{
	uint8	   *to;

	if (unlikely(preimage->used + 8 > preimage->size))
	{
		preimage->size *= 2;
		preimage->data = repalloc(preimage->data, preimage->size);
	}
	to = (uint8 *) preimage->data + preimage->used;
	for (int i = 0; i < 8; i++)
		to[i] = (uint8) ((uint64) value >> (8 * i));
	preimage->used += 8;
}

/*
 * An instant, or a mark where it is -infinity, which stands for NULL.
 */
void
PreimageNullableTime(Preimage *preimage, TimestampTz value)
{
	uint8		present = value != TIMESTAMP_MINUS_INFINITY;

	PackBytes(preimage, &present, 1);
	if (present)
		PreimageInt(preimage, value);
}

void
PreimageBytes(Preimage *preimage, const void *bytes, Size length)
{
	PreimageInt(preimage, (int64) length);
	PackBytes(preimage, bytes, length);
}

/*
 * A text, or a mark where it is NULL.
 */
void
PreimageText(Preimage *preimage, const char *value)
{
	if (value == NULL)
		PreimageInt(preimage, -1);
	else
		PreimageBytes(preimage, value, strlen(value));
}

static void
PreimageVarlena(Preimage *preimage, const struct varlena *value)
{
	if (value == NULL)
		PreimageInt(preimage, -1);
	else
		PreimageBytes(preimage, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * SHA-256 of what was put together.
 *
 * OpenSSL 3 looks the algorithm up each time that a context is begun with it
 * by its old name, as pg_cryptohash does; that takes twice as long as hashing
 * a row.  So it is looked up once, and its context kept: both are OpenSSL's
 * own memory, which no resource owner releases.
 */
#ifdef USE_OPENSSL
void
HashPreimage(const Preimage *preimage, uint8 hash[CHAIN_LENGTH])
{
	static const EVP_MD *sha256 = NULL;
	static EVP_MD_CTX *ctx = NULL;

	if (ctx == NULL)
		ctx = EVP_MD_CTX_new();
	if (sha256 == NULL)
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
#else
		sha256 = EVP_sha256();
#endif
	if (ctx == NULL || sha256 == NULL ||
		EVP_DigestInit_ex(ctx, sha256, NULL) <= 0 ||
		EVP_DigestUpdate(ctx, preimage->data, preimage->used) <= 0 ||
		EVP_DigestFinal_ex(ctx, hash, NULL) <= 0)
		elog(ERROR, "could not compute SHA-256");
}
#else
void
HashPreimage(const Preimage *preimage, uint8 hash[CHAIN_LENGTH])
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) preimage->data, preimage->used) < 0 ||
		pg_cryptohash_final(ctx, hash, CHAIN_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
}
#endif

/*
 * The hash of a row: of the hash of the row before it in its wallet (zeros
 * for the first) and of every column.
 */
void
ChainHash(const LedgerRow *row, const uint8 previous[CHAIN_LENGTH], uint8 hash[CHAIN_LENGTH])
{
	Preimage	preimage;

	PreimageInit(&preimage, ROW_VERSION);
	PackBytes(&preimage, previous, CHAIN_LENGTH);
	PreimageInt(&preimage, row->member_id);
	PreimageInt(&preimage, row->entry_id);
	PreimageText(&preimage, row->currency);
	PreimageInt(&preimage, row->kind);
	PreimageInt(&preimage, row->points);
	PreimageInt(&preimage, row->requested);
	PreimageInt(&preimage, row->available);
	PreimageInt(&preimage, row->effective_at);
	PreimageInt(&preimage, row->recorded_at);
	PreimageNullableTime(&preimage, row->available_at);
	PreimageNullableTime(&preimage, row->expires_at);
	PreimageNullableTime(&preimage, row->hold_until);
	PreimageNullableTime(&preimage, row->extends_to);
	PreimageInt(&preimage, row->target_entry_id);
	PreimageInt(&preimage, row->counterparty_id);
	PreimageText(&preimage, row->reference);
	PreimageText(&preimage, row->reason);
	PreimageText(&preimage, row->details);
	PreimageText(&preimage, row->idempotency_key);
	PreimageVarlena(&preimage, row->fingerprint);
	PreimageVarlena(&preimage, row->lots);
	if (row->home_id != 0)
		PreimageInt(&preimage, row->home_id);
	HashPreimage(&preimage, hash);
	pfree(preimage.data);
}
