/*
 * compare.h
 *		Comparing two values of a field: plain C, without a database.
 *
 * A value is what is left of a text once blanks, case and spelling variants of
 * characters are gone.  Two values of a field are on one of a few levels, of
 * which 0 is different and the highest is equal:
 *
 *	kind		3			2								1							0
 *	name		equal		close: one typing error, or		similar: Jaro-Winkler		different
 *				Jaro-Winkler .92 or more		.80 or more
 *	  Chinese	equal		the same characters in			one character different,	different
 *							another order					of two or more
 *	address		equal		close, as of a name				similar, as of a name		different
 *	  Chinese	equal		the same street, one error, or	the same district			different
 *							one without what leads it
 *	date		equal		one typing error, or day and	two of year, month, day		different
 *							month exchanged					the same
 *	code, phone, email		equal (2)						one typing error			different
 *	category				equal (1)													different
 *	key			is not compared: it only makes blocks
 *
 * A typing error is a character too many, too few, another one, or two
 * neighbours exchanged.
 */
#ifndef LOYALTY_MATCH_COMPARE_H
#define LOYALTY_MATCH_COMPARE_H

#include "postgres.h"

typedef enum MatchKind
{
	MATCH_NAME,
	MATCH_ADDRESS,
	MATCH_DATE,
	MATCH_CODE,
	MATCH_PHONE,
	MATCH_EMAIL,
	MATCH_CATEGORY,
	MATCH_KEY
} MatchKind;

#define MATCH_MAX_LEVELS	4
#define MATCH_MAX_CHARS		255 /* of a value; what is longer is cut */

extern const char *const match_kinds[];

/*
 * A value, ready to be compared.  Its characters lie elsewhere: a byte each
 * where all are below 256, else four.
 */
typedef struct MatchValue
{
	uint64		letters;		/* which characters it has: two bits for each of
								 * 32 sorts, set once there is one, and two */
	uint32		at;				/* where its characters are */
	uint8		nchars;
	uint8		more;			/* characters that letters does not tell */
	uint8		first;			/* the last bits of the first character */
	bool		wide;
} MatchValue;

/* How many levels a kind has. */
extern int	MatchLevels(MatchKind kind);
extern const char *MatchLevelName(MatchKind kind, int level);

extern uint64 HashCharacters(const uint32 *chars, int n);
extern void DescribeMatchValue(const uint32 *chars, int n, MatchValue *value);
extern size_t PutCharacters(const MatchValue *value, const uint32 *chars, char *to);
extern void ReadCharacters(const MatchValue *value, const char *texts, uint32 *chars);
extern int	CompareMatchValues(MatchKind kind, const MatchValue *a, const MatchValue *b, const char *texts);
extern double JaroWinkler(const uint32 *a, int na, const uint32 *b, int nb);

#endif							/* LOYALTY_MATCH_COMPARE_H */
