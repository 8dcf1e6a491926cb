/*
 * ticket.c
 *		Numbers of draws, by HMAC-SHA256 (RFC 2104, FIPS 180-4).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"

#include "core/errors.h"
#include "engagement/ticket.h"

#define SHA256_BLOCK	64

/*
 * The HMAC-SHA256 of bytes under a key.
 */
void
HmacSha256(const uint8 *key, int key_length, const uint8 *data, int length, uint8 mac[SHA256_LENGTH])
{
	uint8		block[SHA256_BLOCK] = {0};
	uint8		outer[SHA256_BLOCK + SHA256_LENGTH];
	uint8	   *inner = palloc(SHA256_BLOCK + length);

	if (key_length > SHA256_BLOCK)
		Sha256(key, key_length, block);
	else
		memcpy(block, key, key_length);
	for (int i = 0; i < SHA256_BLOCK; i++)
	{
		inner[i] = block[i] ^ 0x36;
		outer[i] = block[i] ^ 0x5c;
	}
	memcpy(inner + SHA256_BLOCK, data, length);
	Sha256(inner, SHA256_BLOCK + length, outer + SHA256_BLOCK);
	Sha256(outer, sizeof(outer), mac);
	pfree(inner);
}

/*
 * A number below total of 64 bits; -1 where they are rejected.
 */
int64
NumberOfBits(uint64 bits, int64 total)
{
	/* 2^64 modulo total */
	uint64		rest = (PG_UINT64_MAX % (uint64) total + 1) % (uint64) total;

	if (bits > PG_UINT64_MAX - rest)
		return -1;
	return (int64) (bits % (uint64) total);
}

static uint8 *
Put32(uint8 *to, uint32 n)
{
	n = pg_hton32(n);
	memcpy(to, &n, sizeof(n));
	return to + sizeof(n);
}

static uint8 *
Put64(uint8 *to, uint64 n)
{
	n = pg_hton64(n);
	memcpy(to, &n, sizeof(n));
	return to + sizeof(n);
}

static uint8 *
PutString(uint8 *to, const char *text)
{
	Size		length = strlen(text);

	to = Put32(to, (uint32) length);
	memcpy(to, text, length);	/* NOLINT: its length stands before it, no zero after it */
	return to + length;
}

/*
 * The number, from 0 and below total, of a member's spin.  client_seed: NULL
 * where the member gave none.
 */
int64
DrawTicket(const TicketSeed *seed, const char *draw, int64 member_id, int64 nonce, int64 total, const char *client_seed)
{
	uint8	   *preimage = palloc(strlen(draw) + (client_seed != NULL ? strlen(client_seed) : 0) + 40);
	uint8		mac[SHA256_LENGTH];
	int64		number = -1;

	for (uint64 counter = 0; number < 0; counter++)
	{
		uint8	   *to = preimage;
		uint64		bits;

		CHECK_FOR_INTERRUPTS();
		*to++ = client_seed != NULL ? 2 : 1;
		to = PutString(to, draw);
		to = Put64(to, (uint64) member_id);
		to = Put64(to, (uint64) nonce);
		to = Put64(to, counter);
		if (client_seed != NULL)
			to = PutString(to, client_seed);
		HmacSha256(seed->bytes, seed->length, preimage, (int) (to - preimage), mac);
		memcpy(&bits, mac, sizeof(bits));
		number = NumberOfBits(pg_ntoh64(bits), total);
	}
	pfree(preimage);
	return number;
}

/*
 * The tickets 0 to n - 1 in the order in which they lie in a deck (Fisher and
 * Yates, from the end): the number of member 0, whose nonce is the place.
 */
void
ShuffleDeck(const TicketSeed *seed, const char *draw, int32 n, int32 *deck)
{
	for (int32 i = 0; i < n; i++)
		deck[i] = i;
	for (int32 i = n - 1; i > 0; i--)
	{
		int32		other = (int32) DrawTicket(seed, draw, 0, i, (int64) i + 1, NULL);
		int32		ticket = deck[i];

		deck[i] = deck[other];
		deck[other] = ticket;
	}
}

static int
HexDigit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * A seed from its hexadecimal digits.
 */
void
ReadSeed(const char *hex, TicketSeed *seed)
{
	Size		length = strlen(hex);
	uint8	   *bytes = palloc(length / 2);
	bool		valid = length > 0 && length % 2 == 0 && length / 2 <= MAX_SEED;

	for (Size i = 0; valid && i < length; i += 2)
	{
		int			high = HexDigit(hex[i]);
		int			low = HexDigit(hex[i + 1]);

		valid = high >= 0 && low >= 0;
		bytes[i / 2] = (uint8) (high << 4 | low);
	}
	if (!valid)
		/* the seed is a secret: it is not in the message */
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("a seed must be from 1 to %d bytes in hexadecimal digits", MAX_SEED),
				 errdetail("It has %zu characters.", length),
				 errhint("Such as encode(sha256('...'), 'hex'), or leave it out of define_draw() for a random one.")));
	seed->bytes = bytes;
	seed->length = (int) (length / 2);
}

/*
 * Bytes as hexadecimal digits.
 */
char *
HexOf(const uint8 *bytes, int length)
{
	static const char digits[] = "0123456789abcdef";
	char	   *hex = palloc(2 * length + 1);

	for (int i = 0; i < length; i++)
	{
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 0x0F];
	}
	hex[2 * length] = '\0';
	return hex;
}
