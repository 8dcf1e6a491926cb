/*
 * compare.c
 *		Comparing two values of a field; the levels are in compare.h.
 *
 * Jaro and Winkler: M. Jaro, "Advances in Record-Linkage Methodology as Applied
 * to Matching the 1985 Census of Tampa, Florida", JASA 84 (1989) 414-420;
 * W. Winkler, "String Comparator Metrics and Enhanced Decision Rules in the
 * Fellegi-Sunter Model of Record Linkage" (1990).
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "match/compare.h"

#define CLOSE_ENOUGH	0.92
#define SIMILAR_ENOUGH	0.80
#define ROUNDING		1e-9

const char *const match_kinds[] = {"name", "address", "date", "code", "phone", "email", "category", "key", NULL};

static const char *const level_names[] = {"different", "similar", "close", "equal"};

int
MatchLevels(MatchKind kind)
{
	switch (kind)
	{
		case MATCH_NAME:
		case MATCH_ADDRESS:
		case MATCH_DATE:
			return 4;
		case MATCH_CODE:
		case MATCH_PHONE:
		case MATCH_EMAIL:
			return 3;
		default:
			return 2;
	}
}

/*
 * A level in words: between different and equal, close where there is one only.
 */
const char *
MatchLevelName(MatchKind kind, int level)
{
	int			n = MatchLevels(kind);

	if (level == 0)
		return level_names[0];
	return level_names[MATCH_MAX_LEVELS - n + level];
}

static bool
IsChinese(uint32 c)
{
	return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
		(c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}

/*
 * A hash of characters that is the same on every machine (FNV-1a).
 */
uint64
HashCharacters(const uint32 *chars, int n)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (int i = 0; i < n; i++)
		hash = (hash ^ chars[i]) * UINT64CONST(0x100000001b3);
	return hash ^ (hash >> 29);
}

/*
 * Describes a value by its characters; "at" is the caller's.
 */
void
DescribeMatchValue(const uint32 *chars, int n, MatchValue *value)
{
	value->letters = 0;
	value->nchars = (uint8) n;
	value->more = 0;
	value->first = n > 0 ? (uint8) chars[0] : 0;
	value->wide = false;
	for (int i = 0; i < n; i++)
	{
		uint64		one = UINT64CONST(1) << (2 * (chars[i] % 32));

		value->wide = value->wide || chars[i] > 0xFF;
		if ((value->letters & one) == 0)
			value->letters |= one;
		else if ((value->letters & (one << 1)) == 0)
			value->letters |= one << 1;
		else
			value->more++;
	}
}

/*
 * Writes the characters of a value where they are to lie; returns how many
 * bytes they are.
 */
size_t
PutCharacters(const MatchValue *value, const uint32 *chars, char *to)
{
	if (value->wide)
	{
		memcpy(to, chars, value->nchars * sizeof(uint32));
		return value->nchars * sizeof(uint32);
	}
	for (int i = 0; i < value->nchars; i++)
		to[i] = (char) chars[i];
	return value->nchars;
}

/*
 * Reads the characters of a value; chars has room for MATCH_MAX_CHARS.
 */
void
ReadCharacters(const MatchValue *value, const char *texts, uint32 *chars)
{
	if (value->wide)
		memcpy(chars, texts + value->at, value->nchars * sizeof(uint32));
	else
	{
		const uint8 *bytes = (const uint8 *) texts + value->at;

		for (int i = 0; i < value->nchars; i++)
			chars[i] = bytes[i];
	}
}

/*
 * What follows is compiled twice: for characters of a byte, and of four.
 */
static inline uint32
At(const void *chars, int i, bool wide)
{
	return wide ? ((const uint32 *) chars)[i] : ((const uint8 *) chars)[i];
}

/*
 * Whether two texts that differ do so by one typing error.
 */
static pg_attribute_always_inline bool
DifferByOne(const void *a, int na, const void *b, int nb, const bool wide)
{
	int			head = 0;
	int			tail = 0;
	int			left;
	int			right;

	if (na - nb > 1 || nb - na > 1)
		return false;
	while (head < na && head < nb && At(a, head, wide) == At(b, head, wide))
		head++;
	while (tail < na - head && tail < nb - head && At(a, na - 1 - tail, wide) == At(b, nb - 1 - tail, wide))
		tail++;
	left = na - head - tail;
	right = nb - head - tail;
	if (left <= 1 && right <= 1)
		return true;
	return left == 2 && right == 2 &&
		At(a, head, wide) == At(b, head + 1, wide) && At(a, head + 1, wide) == At(b, head, wide);
}

static bool
IsOneError(const uint32 *a, int na, const uint32 *b, int nb)
{
	return DifferByOne(a, na, b, nb, true);
}

/*
 * The similarity of Jaro, of so many common characters of which some moved,
 * raised by Winkler for up to four first characters that are the same.
 */
static pg_attribute_always_inline double
RaiseJaro(const void *a, int na, const void *b, int nb, int ncommon, int moved, const bool wide)
{
	double		jaro;
	int			prefix = 0;

	if (ncommon == 0)
		return 0.0;
	jaro = ((double) ncommon / na + (double) ncommon / nb + (ncommon - moved / 2.0) / ncommon) / 3.0;
	while (prefix < 4 && prefix < na && prefix < nb && At(a, prefix, wide) == At(b, prefix, wide))
		prefix++;
	return jaro + prefix * 0.1 * (1.0 - jaro);
}

/*
 * Two empty texts are the same.
 */
static pg_attribute_always_inline double
JaroWinklerOf(const void *a, int na, const void *b, int nb, const bool wide)
{
	bool		used[MATCH_MAX_CHARS] = {false};
	uint32		common[MATCH_MAX_CHARS];
	int			window = Max(Max(na, nb) / 2 - 1, 0);
	int			ncommon = 0;
	int			moved = 0;

	if (na == 0 || nb == 0)
		return na == nb ? 1.0 : 0.0;
	for (int i = 0; i < na; i++)
	{
		int			last = Min(i + window, nb - 1);

		for (int j = Max(i - window, 0); j <= last; j++)
		{
			if (!used[j] && At(a, i, wide) == At(b, j, wide))
			{
				used[j] = true;
				common[ncommon++] = At(a, i, wide);
				break;
			}
		}
	}
	for (int j = 0, k = 0; j < nb; j++)
	{
		if (used[j] && At(b, j, wide) != common[k++])
			moved++;
	}
	return RaiseJaro(a, na, b, nb, ncommon, moved, wide);
}

double
JaroWinkler(const uint32 *a, int na, const uint32 *b, int nb)
{
	return JaroWinklerOf(a, na, b, nb, true);
}

/*
 * The same for up to 64 characters of a byte: the places of each character in
 * the second text are bits of a word, so that the next one is found at once.
 */
static double
JaroWinklerShort(const uint8 *a, int na, const uint8 *b, int nb)
{
	static uint64 places[256];	/* zero between calls */
	int			window = Max(Max(na, nb) / 2 - 1, 0);
	uint64		used = 0;
	uint8		common[64];
	int			ncommon = 0;
	int			moved = 0;

	for (int j = 0; j < nb; j++)
		places[b[j]] |= UINT64CONST(1) << j;
	for (int i = 0; i < na; i++)
	{
		int			first = i - window;
		int			last = i + window;
		uint64		near = places[a[i]] & ~used;

		if (first > 0)
			near &= ~UINT64CONST(0) << first;
		if (last < 63)
			near &= (UINT64CONST(1) << (last + 1)) - 1;
		if (near != 0)
		{
			used |= near & -near;
			common[ncommon++] = a[i];
		}
	}
	for (int j = 0; j < nb; j++)
		places[b[j]] = 0;
	for (int k = 0; used != 0; k++, used &= used - 1)
		/* cppcheck-suppress uninitvar ; as many are common as bits are used */
		moved += b[pg_rightmost_one_pos64(used)] != common[k];
	return RaiseJaro(a, na, b, nb, ncommon, moved, false);
}

/*
 * Whether values with these characters, in whatever order, may be similar, or
 * one typing error apart.  Most pairs of different values end here.
 */
static bool
MayBeSimilar(const MatchValue *a, const MatchValue *b)
{
	int			common = pg_popcount64(a->letters & b->letters) + Min(a->more, b->more);
	int			na = a->nchars;
	int			nb = b->nchars;

	/* what Jaro must be at least, whatever Winkler adds: .8, or 2/3 with four */
	if (common * (na + nb) * 5 >= (a->first == b->first ? 5 : 7) * na * nb)
		return true;
	return common >= Max(na, nb) - 1 && na - nb <= 1 && nb - na <= 1;
}

static int
LevelOfSimilarity(double similarity)
{
	return similarity >= CLOSE_ENOUGH - ROUNDING ? 2 : similarity >= SIMILAR_ENOUGH - ROUNDING ? 1 : 0;
}

static int
CompareLatin(const uint32 *a, int na, const uint32 *b, int nb)
{
	return IsOneError(a, na, b, nb) ? 2 : LevelOfSimilarity(JaroWinkler(a, na, b, nb));
}

static int
CompareLatinBytes(const uint8 *a, int na, const uint8 *b, int nb)
{
	if (DifferByOne(a, na, b, nb, false))
		return 2;
	return LevelOfSimilarity(na <= 64 && nb <= 64 ? JaroWinklerShort(a, na, b, nb) : JaroWinklerOf(a, na, b, nb, false));
}

static bool
AreChinese(const uint32 *chars, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!IsChinese(chars[i]))
			return false;
	}
	return n > 0;
}

static int
CompareChineseNames(const uint32 *a, int na, const uint32 *b, int nb)
{
	bool		used[MATCH_MAX_CHARS] = {false};
	int			common = 0;
	int			differ = 0;

	if (na != nb || na < 2)
		return 0;
	for (int i = 0; i < na; i++)
	{
		differ += a[i] != b[i];
		for (int j = 0; j < nb; j++)
		{
			if (!used[j] && a[i] == b[j])
			{
				used[j] = true;
				common++;
				break;
			}
		}
	}
	return common == na ? 2 : differ == 1 ? 1 : 0;
}

static bool
IsOneOf(uint32 c, const uint32 *list)
{
	while (*list != 0 && *list != c)
		list++;
	return *list != 0;
}

static int
CompareChineseAddresses(const uint32 *a, int na, const uint32 *b, int nb)
{
	/* what ends a street, a lane, a village; and a city, a district, a county */
	static const uint32 streets[] = {0x8DEF, 0x8857, 0x9053, 0x5DF7, 0x5F04, 0x6751, 0x9547, 0x4E61, 0};
	static const uint32 districts[] = {0x533A, 0x53BF, 0x65D7, 0x5E02, 0};
	int			same = 0;
	int			tail = 0;
	bool		street = false;
	bool		district = false;

	if (IsOneError(a, na, b, nb))
		return 2;
	/* one without province or city */
	while (tail < na && tail < nb && a[na - 1 - tail] == b[nb - 1 - tail])
		tail++;
	if (tail >= 4 && tail == Min(na, nb))
		return 2;
	while (same < na && same < nb && a[same] == b[same])
	{
		/* a city alone is where millions live, a district behind it is not */
		street = street || IsOneOf(a[same], streets);
		district = district || IsOneOf(a[same], districts);
		same++;
	}
	return street ? 2 : district ? 1 : 0;
}

/*
 * Dates are eight digits, year first, or what somebody wrote instead.
 */
static int
CompareDates(const uint8 *a, int na, const uint8 *b, int nb)
{
	bool		year;
	bool		month;
	bool		day;

	if (DifferByOne(a, na, b, nb, false))
		return 2;
	if (na != 8 || nb != 8)
		return 0;
	year = memcmp(a, b, 4) == 0;
	month = memcmp(a + 4, b + 4, 2) == 0;
	day = memcmp(a + 6, b + 6, 2) == 0;
	if (year && memcmp(a + 4, b + 6, 2) == 0 && memcmp(a + 6, b + 4, 2) == 0)
		return 2;
	return year + month + day == 2 ? 1 : 0;
}

/*
 * The level of two values that are not equal.
 */
int
CompareMatchValues(MatchKind kind, const MatchValue *a, const MatchValue *b, const char *texts)
{
	uint32		x[MATCH_MAX_CHARS];
	uint32		y[MATCH_MAX_CHARS];
	int			na = a->nchars;
	int			nb = b->nchars;

	if (kind >= MATCH_CATEGORY)
		return 0;
	/* of Chinese the order says more than how much they have in common */
	if (kind <= MATCH_ADDRESS && !(a->wide && b->wide) && !MayBeSimilar(a, b))
		return 0;
	if (!a->wide && !b->wide)
	{
		const uint8 *p = (const uint8 *) texts + a->at;
		const uint8 *q = (const uint8 *) texts + b->at;

		if (kind == MATCH_DATE)
			return CompareDates(p, na, q, nb);
		return kind <= MATCH_ADDRESS ? CompareLatinBytes(p, na, q, nb) : DifferByOne(p, na, q, nb, false);
	}
	ReadCharacters(a, texts, x);
	ReadCharacters(b, texts, y);
	switch (kind)
	{
		case MATCH_NAME:
			if (AreChinese(x, na) && AreChinese(y, nb))
				return CompareChineseNames(x, na, y, nb);
			return CompareLatin(x, na, y, nb);
		case MATCH_ADDRESS:
			if (IsChinese(x[0]) && IsChinese(y[0]))
				return CompareChineseAddresses(x, na, y, nb);
			return CompareLatin(x, na, y, nb);
		case MATCH_DATE:
			return IsOneError(x, na, y, nb) ? 2 : 0;
		default:
			return IsOneError(x, na, y, nb);
	}
}
