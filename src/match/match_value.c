/*
 * match_value.c
 *		What counts of a text that stands in a field, and comparing two texts.
 */
#include "postgres.h"

#include "common/unicode_norm.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "core/core.h"
#include "core/errors.h"
#include "match/compare.h"
#include "match/match.h"
#include "member/member_identifier.h"

/* A text longer than this is cut before it is looked at. */
#define MAX_TEXT_BYTES	(4 * MATCH_MAX_CHARS)

static bool
IsBlank(uint32 c)
{
	return c <= ' ' || c == 0x7F || c == 0xA0 || (c >= 0x2000 && c <= 0x200F) || (c >= 0x2028 && c <= 0x202F) ||
		c == 0x2060 || c == 0x3000 || c == 0xFEFF;
}

static bool
IsDigit(uint32 c)
{
	return c >= '0' && c <= '9';
}

/*
 * Whether a character is what NFKC and case folding make of it.
 */
static bool
IsPlain(uint32 c)
{
	return c < 0x80 || (c >= 0x4E00 && c <= 0x9FFF);
}

/*
 * Case-folded NFKC, blanks taken off both ends, and one blank for several.
 */
static int
FoldText(const char *utf8, int len, uint32 *chars)
{
	pg_wchar	raw[MAX_TEXT_BYTES + 1];
	pg_wchar   *from = raw;
	const unsigned char *next = (const unsigned char *) utf8;
	const unsigned char *end = next + len;
	bool		plain = true;
	int			nraw = 0;
	int			n = 0;

	while (next < end)
	{
		int			width = pg_utf_mblen(next);

		if (next + width > end || nraw == MAX_TEXT_BYTES)
			break;
		raw[nraw] = width == 1 ? *next : utf8_to_unicode(next);
		plain = plain && IsPlain(raw[nraw]);
		nraw++;
		next += width;
	}
	raw[nraw] = 0;
	if (!plain)
	{
		for (int i = 0; i < nraw; i++)
			raw[i] = FoldCharacter(raw[i]);
		from = unicode_normalize(UNICODE_NFKC, raw);
	}
	for (int i = 0; from[i] != 0 && n < MATCH_MAX_CHARS; i++)
	{
		if (!IsBlank(from[i]))
			chars[n++] = FoldCharacter(from[i]);
		else if (n > 0 && chars[n - 1] != ' ')
			chars[n++] = ' ';
	}
	if (n > 0 && chars[n - 1] == ' ')
		n--;
	if (from != raw)
		pfree(from);
	return n;
}

/*
 * Of a code only letters and digits count.
 */
static int
FoldCode(uint32 *chars, int n)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		if (chars[i] >= 0x80 || IsDigit(chars[i]) || (chars[i] >= 'a' && chars[i] <= 'z'))
			chars[kept++] = chars[i];
	}
	return kept;
}

/*
 * A date is eight digits where it is year, month and day, in this order, with
 * or without something between them; a time behind them does not count.
 */
static int
FoldDate(uint32 *chars, int n)
{
	uint32		digits[8];
	int			ndigits = 0;
	int			parts = 0;

	for (int i = 0; i < n && parts < 3;)
	{
		int			width = 0;
		int			wanted = parts == 0 ? 4 : 2;

		while (i + width < n && IsDigit(chars[i + width]))
			width++;
		if (width == 8 && parts == 0)
		{
			memmove(chars, chars + i, 8 * sizeof(uint32));
			return 8;
		}
		if (width == 0 || width > wanted || (parts == 0 && width < 4))
			return n;
		for (int k = width; k < wanted; k++)
			digits[ndigits++] = '0';
		for (int k = 0; k < width; k++)
			digits[ndigits++] = chars[i + k];
		parts++;
		i += width;
		while (i < n && !IsDigit(chars[i]))
			i++;
	}
	if (parts < 3)
		return n;
	memcpy(chars, digits, sizeof(digits));
	return 8;
}

static int
FoldIdentifier(IdentifierKind kind, const char *utf8, int len, const char *country, uint32 *chars)
{
	StringInfoData normal;
	int			n = 0;

	initStringInfo(&normal);
	if (NormalizeIdentifier(kind, utf8, Min(len, MAX_RAW_BYTES), country, true, true, &normal) == NULL)
	{
		const unsigned char *next = (const unsigned char *) normal.data;

		for (; *next != 0 && n < MATCH_MAX_CHARS; next += pg_utf_mblen(next))
			chars[n++] = utf8_to_unicode(next);
	}
	pfree(normal.data);
	return n;
}

/*
 * What counts of a text in UTF-8, as characters; none where it is missing.
 * chars has room for MATCH_MAX_CHARS.
 */
int
NormalizeMatchText(MatchKind kind, const char *utf8, int len, const char *country, uint32 *chars)
{
	int			n;

	switch (kind)
	{
		case MATCH_PHONE:
			return FoldIdentifier(IDENTIFIER_PHONE, utf8, len, country, chars);
		case MATCH_EMAIL:
			return FoldIdentifier(IDENTIFIER_EMAIL, utf8, len, NULL, chars);
		default:
			n = FoldText(utf8, len, chars);
	}
	if (kind == MATCH_CODE)
		return FoldCode(chars, n);
	if (kind == MATCH_DATE)
		return FoldDate(chars, n);
	return n;
}

/*
 * A text of the database in UTF-8; NULL where it is none.
 */
char *
MatchTextInUtf8(const char *text, int len)
{
	if (GetDatabaseEncoding() == PG_UTF8)
		return unconstify(char *, text);
	if (GetDatabaseEncoding() == PG_SQL_ASCII && !pg_verify_mbstr(PG_UTF8, text, len, true))
		return NULL;
	return pg_server_to_any(text, len, PG_UTF8);
}

/*
 * Characters as a text of the database; '?' for one that it does not have.
 */
char *
MatchTextOf(const uint32 *chars, int n)
{
	StringInfoData utf8;

	initStringInfo(&utf8);
	for (int i = 0; i < n; i++)
	{
		unsigned char one[8] = {0};

		unicode_to_utf8(chars[i], one);
		appendBinaryStringInfo(&utf8, (char *) one, pg_utf_mblen(one));
	}
	if (GetDatabaseEncoding() == PG_UTF8)
		return utf8.data;
	return pg_any_to_server(utf8.data, utf8.len, PG_UTF8);
}

/*
 * The kind of a name.
 */
MatchKind
MatchKindOf(const char *name)
{
	for (int i = 0; match_kinds[i] != NULL; i++)
	{
		if (strcmp(match_kinds[i], name) == 0)
			return (MatchKind) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("there is no kind of comparison \"%s\"", name),
			 errdetail("The kinds are name, address, date, code, phone, email, category and key."),
			 errhint("Give one of them.")));
}

/* A text that is compared by itself. */
typedef struct LoneText
{
	MatchValue	value;
	uint32		chars[MATCH_MAX_CHARS];
} LoneText;

static bool
ReadLoneText(FunctionCallInfo fcinfo, int n, MatchKind kind, const char *country, LoneText *lone)
{
	text	   *t;
	char	   *utf8;
	int			nchars = 0;

	if (PG_ARGISNULL(n))
		return false;
	t = PG_GETARG_TEXT_PP(n);
	utf8 = MatchTextInUtf8(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
	if (utf8 != NULL)
		nchars = NormalizeMatchText(kind, utf8, utf8 == VARDATA_ANY(t) ? (int) VARSIZE_ANY_EXHDR(t) : (int) strlen(utf8),
									country, lone->chars);
	DescribeMatchValue(lone->chars, nchars, &lone->value);
	lone->value.at = 0;
	return nchars > 0;
}

/*
 * compare_values(a text, b text, kind text, country text) -> text
 *		The level of two values, as compare.h has it; NULL where one is missing.
 *		Errors: LY003 kind, country.
 */
PG_FUNCTION_INFO_V1(loyalty_compare_values);
Datum
loyalty_compare_values(PG_FUNCTION_ARGS)
{
	LoneText	a;
	LoneText	b;
	MatchKind	kind;
	char	   *country = TextArgument(fcinfo, 3);
	char		texts[2 * MATCH_MAX_CHARS * sizeof(uint32)];
	int			level;

	RequireArgument(fcinfo, 2, "kind");
	kind = MatchKindOf(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (country != NULL && !IsPhoneCountry(country))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("unknown country \"%s\"", country),
				 errdetail("No numbering plan of that name is known."),
				 errhint("Pass a country code of two letters (ISO 3166-1), such as DE, or NULL.")));
	if (!ReadLoneText(fcinfo, 0, kind, country, &a) || !ReadLoneText(fcinfo, 1, kind, country, &b))
		PG_RETURN_NULL();
	if (a.value.nchars == b.value.nchars && memcmp(a.chars, b.chars, a.value.nchars * sizeof(uint32)) == 0)
		level = MatchLevels(kind) - 1;
	else
	{
		b.value.at = (uint32) PutCharacters(&a.value, a.chars, texts);
		PutCharacters(&b.value, b.chars, texts + b.value.at);
		level = CompareMatchValues(kind, &a.value, &b.value, texts);
	}
	PG_RETURN_TEXT_P(cstring_to_text(MatchLevelName(kind, level)));
}

/*
 * jaro_winkler(a text, b text) -> double precision
 *		The similarity of two names by their characters, from 0 to 1, without
 *		case and more than one blank; NULL where one is missing.
 */
PG_FUNCTION_INFO_V1(loyalty_jaro_winkler);
Datum
loyalty_jaro_winkler(PG_FUNCTION_ARGS)
{
	LoneText	a;
	LoneText	b;

	if (!ReadLoneText(fcinfo, 0, MATCH_NAME, NULL, &a) || !ReadLoneText(fcinfo, 1, MATCH_NAME, NULL, &b))
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(JaroWinkler(a.chars, a.value.nchars, b.chars, b.value.nchars));
}
