/*
 * code.c
 *		Codes of coupons.
 */
#include "postgres.h"

#include "benefit/code.h"

static const char alphabet[] = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";

#define ALPHABET_SIZE	((int) sizeof(alphabet) - 1)
/* random bytes from here on are not used, so that all characters are as likely */
#define USABLE_BYTES	(256 / ALPHABET_SIZE * ALPHABET_SIZE)

/*
 * A code as it is compared: ASCII letters in upper case, without blanks and
 * dashes; all else as it is.  Empty where there is nothing else.
 */
char *
NormalizeCode(const char *code, int length)
{
	char	   *normalized = palloc(length + 1);
	char	   *end = normalized;

	for (int i = 0; i < length; i++)
	{
		char		c = code[i];

		if (c == '-' || c == ' ' || (c >= '\t' && c <= '\r'))
			continue;
		*end++ = c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
	}
	*end = '\0';
	return normalized;
}

/* Of the first characters of a code, so that all together add up to 0. */
static char
CheckCharacter(const char *code)
{
	int			sum = 0;

	for (int i = 0; i < CODE_RANDOM; i++)
		sum += (CODE_LENGTH - i) * (int) (strchr(alphabet, code[i]) - alphabet);
	return alphabet[(ALPHABET_SIZE - sum % ALPHABET_SIZE) % ALPHABET_SIZE];
}

/*
 * What a normalized code looks like.
 */
CodeForm
FormOfCode(const char *normalized)
{
	if (strlen(normalized) != CODE_LENGTH || strspn(normalized, alphabet) != CODE_LENGTH)
		return CODE_OF_OTHERS;
	return normalized[CODE_RANDOM] == CheckCharacter(normalized) ? CODE_OF_OURS : CODE_MISTYPED;
}

/*
 * Makes a code of random bytes, as it is shown; false where they are of no use.
 */
bool
MakeCode(const uint8 random[CODE_RANDOM], char shown[CODE_SHOWN + 1])
{
	char		code[CODE_LENGTH];
	char	   *end = shown;

	for (int i = 0; i < CODE_RANDOM; i++)
	{
		if (random[i] >= USABLE_BYTES)
			return false;
		code[i] = alphabet[random[i] % ALPHABET_SIZE];
	}
	code[CODE_RANDOM] = CheckCharacter(code);
	for (int i = 0; i < CODE_LENGTH; i++)
	{
		if (i > 0 && i % 4 == 0)
			*end++ = '-';
		*end++ = code[i];
	}
	*end = '\0';
	return true;
}
