/*
 * chain.c
 *		The hash chain of a wallet.  See chain.h.
 */
#include "postgres.h"

#include "core/core.h"
#include "ledger/chain.h"

#define ROW_VERSION		1
#define TEXTS_VERSION	1

void
PreimageInit(Preimage *preimage, uint8 version)
{
	preimage->size = 512;
	preimage->data = palloc(preimage->size);
	preimage->data[0] = (char) version;
	preimage->used = 1;
}

/*
 * An integer: eight bytes, low byte first.
 */
static inline void
PutInt(Preimage *preimage, int64 value)
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

void
PreimageInt(Preimage *preimage, int64 value)
{
	PutInt(preimage, value);
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
		PutInt(preimage, value);
}

void
PreimageBytes(Preimage *preimage, const void *bytes, Size length)
{
	PutInt(preimage, (int64) length);
	PackBytes(preimage, bytes, length);
}

/*
 * A text, or a mark where it is NULL.
 */
void
PreimageText(Preimage *preimage, const char *value)
{
	if (value == NULL)
		PutInt(preimage, -1);
	else
		PreimageBytes(preimage, value, strlen(value));
}

static void
PreimageVarlena(Preimage *preimage, const struct varlena *value)
{
	if (value == NULL)
		PutInt(preimage, -1);
	else
		PreimageBytes(preimage, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/*
 * SHA-256 of what was put together.
 */
void
HashPreimage(const Preimage *preimage, uint8 hash[CHAIN_LENGTH])
{
	Sha256(preimage->data, preimage->used, hash);
}

/*
 * Fills in the hash of the texts of a row, if it has any, from them and the
 * salt.
 */
void
HashTexts(LedgerRow *row)
{
	Preimage	preimage;

	row->has_texts = row->reference != NULL || row->reason != NULL || row->details != NULL ||
		row->idempotency_key != NULL || row->fingerprint != NULL;
	if (!row->has_texts)
		return;
	PreimageInit(&preimage, TEXTS_VERSION);
	PreimageVarlena(&preimage, row->salt);
	PreimageText(&preimage, row->reference);
	PreimageText(&preimage, row->reason);
	PreimageText(&preimage, row->details);
	PreimageText(&preimage, row->idempotency_key);
	PreimageVarlena(&preimage, row->fingerprint);
	HashPreimage(&preimage, row->texts_hash);
	pfree(preimage.data);
}

/*
 * The hash of a row: of the hash of the row before it in its wallet (zeros
 * for the first) and of every column, the texts by their own hash.
 */
void
ChainHash(const LedgerRow *row, const uint8 previous[CHAIN_LENGTH], uint8 hash[CHAIN_LENGTH])
{
	Preimage	preimage;

	PreimageInit(&preimage, ROW_VERSION);
	PackBytes(&preimage, previous, CHAIN_LENGTH);
	PutInt(&preimage, row->member_id);
	PutInt(&preimage, row->entry_id);
	PreimageText(&preimage, row->currency);
	PutInt(&preimage, row->kind);
	PutInt(&preimage, row->points);
	PutInt(&preimage, row->requested);
	PutInt(&preimage, row->available);
	PutInt(&preimage, row->effective_at);
	PutInt(&preimage, row->recorded_at);
	PreimageNullableTime(&preimage, row->available_at);
	PreimageNullableTime(&preimage, row->expires_at);
	PreimageNullableTime(&preimage, row->hold_until);
	PreimageNullableTime(&preimage, row->extends_to);
	PreimageNullableTime(&preimage, row->expires_by);
	PutInt(&preimage, row->target_entry_id);
	PutInt(&preimage, row->counterparty_id);
	if (row->has_texts)
		PreimageBytes(&preimage, row->texts_hash, CHAIN_LENGTH);
	else
		PutInt(&preimage, -1);
	PreimageVarlena(&preimage, row->lots);
	if (row->home_id != 0)
		PutInt(&preimage, row->home_id);
	HashPreimage(&preimage, hash);
	pfree(preimage.data);
}
