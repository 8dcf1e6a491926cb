/*
 * code.h
 *		Codes of coupons: plain C.
 *
 * Codes of ours have eleven random characters and one that checks them, of an
 * alphabet of 31 without 0, O, 1, I and L, in three groups: 7KQ4-XH2M-9TPA.
 * 31 is a prime, so a wrong character, or two that changed places, is noticed.
 * Any code is compared in upper case, without blanks and dashes.
 */
#ifndef LOYALTY_CODE_H
#define LOYALTY_CODE_H

#include "postgres.h"

#define CODE_LENGTH		12
#define CODE_RANDOM		(CODE_LENGTH - 1)	/* characters, each of a random byte */
#define CODE_SHOWN		(CODE_LENGTH + 2)	/* with the dashes */

typedef enum CodeForm
{
	CODE_OF_OURS,
	CODE_MISTYPED,				/* it has the form of ours, and checks wrong */
	CODE_OF_OTHERS
} CodeForm;

extern char *NormalizeCode(const char *code, int length);
extern CodeForm FormOfCode(const char *normalized);
extern bool MakeCode(const uint8 random[CODE_RANDOM], char shown[CODE_SHOWN + 1]);

#endif							/* LOYALTY_CODE_H */
