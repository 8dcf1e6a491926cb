/*
 * ticket.h
 *		What a draw draws: numbers that anybody can recompute.
 *
 * A number below total is the first 64 bits of an HMAC-SHA256 under the draw's
 * seed, modulo total.  Values from the last, incomplete multiple of total on are
 * rejected, and the counter goes on, so that every number is as likely.  What is
 * authenticated (all numbers big-endian):
 *
 *		version		1 byte		1, or 2 where the member gave a seed, too
 *		length		4 bytes		of the name
 *		name					of the draw
 *		member_id	8 bytes
 *		nonce		8 bytes		number of the member's spin, from 1
 *		counter		8 bytes		from 0
 *		length		4 bytes		version 2: of the member's seed
 *		seed					version 2
 *
 * Plain C.
 */
#ifndef LOYALTY_TICKET_H
#define LOYALTY_TICKET_H

#include "postgres.h"

#include "core/core.h"

#define MAX_CLIENT_SEED		64
#define MAX_SEED			1024
#define MAX_DECK			1000000

typedef struct TicketSeed
{
	const uint8 *bytes;
	int			length;
} TicketSeed;

extern void HmacSha256(const uint8 *key, int key_length, const uint8 *data, int length, uint8 mac[SHA256_LENGTH]);
extern int64 NumberOfBits(uint64 bits, int64 total);
extern int64 DrawTicket(const TicketSeed *seed, const char *draw, int64 member_id, int64 nonce, int64 total,
						const char *client_seed);
extern void ShuffleDeck(const TicketSeed *seed, const char *draw, int32 n, int32 *deck);
extern void ReadSeed(const char *hex, TicketSeed *seed);
extern char *HexOf(const uint8 *bytes, int length);

#endif							/* LOYALTY_TICKET_H */
