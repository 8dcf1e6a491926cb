/*
 * member_punycode.c
 *		Punycode (RFC 3492): labels of international domains in ASCII.
 */
#include "postgres.h"

#include "member/member_identifier.h"

/* parameters of RFC 3492, section 5 */
#define BASE			36
#define T_MIN			1
#define T_MAX			26
#define SKEW			38
#define DAMP			700
#define INITIAL_BIAS	72
#define INITIAL_N		0x80

#define MAX_CODE_POINT	0x10FFFF

/* Digits beyond this value end a number whose next digit has weight k. */
static int
Threshold(int k, int bias)
{
	return Min(Max(k - bias, T_MIN), T_MAX);
}

static int
AdaptBias(int64 delta, int n_points, bool first)
{
	int			k = 0;

	delta /= first ? DAMP : 2;
	delta += delta / n_points;
	while (delta > (BASE - T_MIN) * T_MAX / 2)
	{
		delta /= BASE - T_MIN;
		k += BASE;
	}
	return k + (int) ((BASE - T_MIN + 1) * delta / (delta + SKEW));
}

static void
AppendDigit(StringInfo result, int digit)
{
	appendStringInfoChar(result, (char) (digit < 26 ? 'a' + digit : '0' + digit - 26));
}

/*
 * Appends the Punycode of a label of n characters, without "xn--".
 */
void
EncodePunycode(const pg_wchar *label, int n, StringInfo result)
{
	int			bias = INITIAL_BIAS;
	int64		delta = 0;
	pg_wchar	next = INITIAL_N;
	int			n_basic = 0;
	int			done;

	for (int i = 0; i < n; i++)
		if (label[i] < INITIAL_N)
		{
			appendStringInfoChar(result, (char) label[i]);
			n_basic++;
		}
	if (n_basic > 0)
		appendStringInfoChar(result, '-');

	for (done = n_basic; done < n; next++)
	{
		pg_wchar	least = MAX_CODE_POINT;

		for (int i = 0; i < n; i++)
			if (label[i] >= next && label[i] < least)
				least = label[i];
		delta += (int64) (least - next) * (done + 1);
		next = least;

		for (int i = 0; i < n; i++)
		{
			int64		q = delta;

			if (label[i] < next)
				delta++;
			if (label[i] != next)
				continue;
			for (int k = BASE;; k += BASE)
			{
				int			t = Threshold(k, bias);

				if (q < t)
					break;
				AppendDigit(result, (int) (t + (q - t) % (BASE - t)));
				q = (q - t) / (BASE - t);
			}
			AppendDigit(result, (int) q);
			bias = AdaptBias(delta, done + 1, done == n_basic);
			delta = 0;
			done++;
		}
		delta++;
	}
}

/*
 * Decodes Punycode of n characters, without "xn--" and in lower case, into
 * "label", which has room for n.  Returns the length of the label, or -1 if it
 * is no Punycode.
 */
int
DecodePunycode(const pg_wchar *code, int n, pg_wchar *label)
{
	int			bias = INITIAL_BIAS;
	int64		next = INITIAL_N;
	int64		at = 0;
	int			in = n;
	int			done;

	/* characters of ASCII stand before the last hyphen */
	while (in > 0 && code[in - 1] != '-')
		in--;
	for (done = 0; done < in - 1; done++)
	{
		if (code[done] >= INITIAL_N)
			return -1;
		label[done] = code[done];
	}

	for (; in < n; at++)
	{
		int64		before = at;
		int64		weight = 1;

		for (int k = BASE;; k += BASE)
		{
			int			t = Threshold(k, bias);
			int			digit;

			if (in == n)
				return -1;
			if (code[in] >= 'a' && code[in] <= 'z')
				digit = code[in] - 'a';
			else if (code[in] >= '0' && code[in] <= '9')
				digit = code[in] - '0' + 26;
			else
				return -1;
			in++;
			at += digit * weight;
			if (digit < t)
				break;
			weight *= BASE - t;		/* not above at times BASE */
			if (at > (int64) MAX_CODE_POINT * (n + 1))
				return -1;
		}
		bias = AdaptBias(at - before, done + 1, before == 0);
		next += at / (done + 1);
		at %= done + 1;
		if (next > MAX_CODE_POINT || (next >= 0xD800 && next <= 0xDFFF))
			return -1;
		memmove(label + at + 1, label + at, (done - at) * sizeof(pg_wchar));
		label[at] = (pg_wchar) next;
		done++;
	}
	return done;
}
