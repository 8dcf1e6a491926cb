/*
 * member_identifier.c
 *		Normal form of identifiers: telephone numbers, e-mail addresses, and
 *		opaque ids.  Depends on nothing but its arguments: no locale, no
 *		setting, no table.
 */
#include "postgres.h"

#include "common/unicode_norm.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/errors.h"
#include "member/member_identifier.h"

#define MAX_LABEL_BYTES		63		/* of a domain, in ASCII */

static const char *const no_label = "A label of the domain is empty or longer than 63 bytes.";
#define FINAL_SIGMA		0x03C2
#define CAPITAL_I_WITH_DOT	0x0130
#define DOT_ABOVE		0x0307

static const char *const no_punycode = "A label of the domain begins with xn-- and is no Punycode.";

/* Providers whose mailboxes have many spellings. */
typedef struct MailProvider
{
	const char *domain;
	const char *canonical;		/* domain that stands for it */
	bool		dots;			/* dots in the local part mean nothing */
} MailProvider;

/* all of these deliver name+tag to name */
static const MailProvider mail_providers[] = {
	{"gmail.com", "gmail.com", true},
	{"googlemail.com", "gmail.com", true},
	{"outlook.com", "outlook.com", false},
	{"hotmail.com", "hotmail.com", false},
	{"live.com", "live.com", false},
	{"icloud.com", "icloud.com", false},
	{"me.com", "me.com", false},
	{"mac.com", "mac.com", false},
	{"fastmail.com", "fastmail.com", false},
	{"proton.me", "proton.me", false},
	{"protonmail.com", "protonmail.com", false},
	{"pm.me", "pm.me", false},
};

/* Zero of each script's decimal digits, 0 to 9 in a row; those NFKC leaves. */
static const uint32 digit_zeros[] = {
	0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6,
	0x0D66, 0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0,
	0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0,
	0xAA50, 0xABF0, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450,
	0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0,
	0x16A60, 0x16AC0, 0x16B50, 0x1E140, 0x1E2F0, 0x1E950,
};

static bool
IsSpace(pg_wchar c)
{
	return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
		(c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
		c == 0x205F || c == 0x3000;
}

/* what separates the labels of a domain (RFC 3490), beside what NFKC maps */
static bool
IsDot(pg_wchar c)
{
	return c == '.' || c == 0x3002;
}

static bool
IsControl(pg_wchar c)
{
	return c < 0x20 || (c >= 0x7F && c <= 0x9F);
}

/* Unicode's Default_Ignorable_Code_Point: nothing is seen of them. */
static bool
IsInvisible(pg_wchar c)
{
	return c == 0xAD || c == 0x34F || c == 0x61C || c == 0x115F || c == 0x1160 ||
		c == 0x17B4 || c == 0x17B5 || (c >= 0x180B && c <= 0x180F) ||
		(c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
		(c >= 0x2060 && c <= 0x206F) || c == 0x3164 || (c >= 0xFE00 && c <= 0xFE0F) ||
		c == 0xFEFF || c == 0xFFA0 || (c >= 0xFFF0 && c <= 0xFFF8) ||
		(c >= 0x1BCA0 && c <= 0x1BCA3) || (c >= 0x1D173 && c <= 0x1D17A) ||
		(c >= 0xE0000 && c <= 0xE0FFF);
}

/*
 * Takes white space and invisible characters off both ends, and invisible ones
 * out of the middle if asked; returns the new length.
 */
static int
TrimCharacters(pg_wchar *chars, int n, bool everywhere)
{
	int			start = 0;
	int			kept = 0;

	while (n > 0 && (IsSpace(chars[n - 1]) || IsInvisible(chars[n - 1])))
		n--;
	while (start < n && (IsSpace(chars[start]) || IsInvisible(chars[start])))
		start++;
	for (int i = start; i < n; i++)
		if (!everywhere || !IsInvisible(chars[i]))
			chars[kept++] = chars[i];
	chars[kept] = 0;
	return kept;
}

static int
CountCharacters(const pg_wchar *chars)
{
	int			n = 0;

	while (chars[n] != 0)
		n++;
	return n;
}

/*
 * Brings "*n" characters, terminated by 0, to the form in which they are
 * compared: NFKC, trimmed, and case-folded if asked.  The array returned may be
 * another one.
 *
 * Of an e-mail address, what stands behind the @ is of a domain.  There a final
 * sigma is another letter than a sigma, since the two make different domains;
 * and a capital I with a dot, which one-to-one folding leaves as it is, is an i
 * with a combining dot: the only domain that it makes (UTS #46).
 */
static pg_wchar *
MapCharacters(pg_wchar *chars, int *n, IdentifierKind kind, bool in_domain, bool fold)
{
	bool		ascii = true;

	for (int i = 0; i < *n; i++)
		ascii = ascii && chars[i] < 0x80;
	if (!ascii)
	{
		chars = unicode_normalize(UNICODE_NFKC, chars);
		*n = CountCharacters(chars);
	}
	*n = TrimCharacters(chars, *n, kind != IDENTIFIER_OPAQUE);
	if (fold)
	{
		/* beyond ASCII one may become two */
		pg_wchar   *folded = ascii ? chars : palloc((2 * *n + 1) * sizeof(pg_wchar));
		int			m = 0;

		for (int i = 0; i < *n; i++)
		{
			in_domain = in_domain || (kind == IDENTIFIER_EMAIL && chars[i] == '@');
			if (in_domain && chars[i] == CAPITAL_I_WITH_DOT)
			{
				folded[m++] = 'i';
				folded[m++] = DOT_ABOVE;
			}
			else
				folded[m++] = in_domain && chars[i] == FINAL_SIGMA ? FINAL_SIGMA : FoldCharacter(chars[i]);
		}
		folded[m] = 0;
		chars = folded;
		*n = m;
	}
	if (!ascii)
	{
		/* folding and taking out may leave parts that compose */
		chars = unicode_normalize(UNICODE_NFKC, chars);
		*n = CountCharacters(chars);
	}
	return chars;
}

static void
AppendCharacters(StringInfo buf, const pg_wchar *chars, int n)
{
	for (int i = 0; i < n; i++)
	{
		unsigned char utf8[8];

		unicode_to_utf8(chars[i], utf8);
		appendBinaryStringInfo(buf, (char *) utf8, pg_utf_mblen(utf8));
	}
}

/*
 * Do the characters, in any case, begin with a prefix in lower case?
 */
static bool
BeginsWith(const pg_wchar *chars, int n, const char *prefix)
{
	int			len = strlen(prefix);

	for (int i = 0; i < len; i++)
		if (i >= n || FoldCharacter(chars[i]) != (uint32) prefix[i])
			return false;
	return true;
}

/*
 * What stands in ASCII for a character beyond it in a telephone number; '?' if
 * it has no place there.
 */
static pg_wchar
AsciiOfPhone(pg_wchar c)
{
	if (IsSpace(c))
		return ' ';
	if ((c >= 0x2010 && c <= 0x2015) || c == 0x2212 || c == 0x30FC)
		return '-';
	if (c == 0x2053 || c == 0x223C || c == 0x301C)
		return '~';
	for (int i = 0; i < (int) lengthof(digit_zeros); i++)
		if (c >= digit_zeros[i] && c <= digit_zeros[i] + 9)
			return '0' + (c - digit_zeros[i]);
	return '?';
}

static const char *
NormalizePhoneCharacters(const pg_wchar *chars, int n, const char *country, StringInfo result)
{
	char		text[MAX_RAW_BYTES + 1];
	char		number[PHONE_RESULT_SIZE];
	int			len = 0;
	int			start = 0;
	const char *reason;

	if (BeginsWith(chars, n, "tel:"))
		start = 4;

	for (int i = start; i < n; i++)
	{
		pg_wchar	c = chars[i];

		if (c >= 0x80)
			c = AsciiOfPhone(c);
		else if (IsSpace(c))
			c = ' ';
		text[len++] = (char) c;
	}
	text[len] = '\0';

	reason = NormalizePhone(text, country, number);
	if (reason == NULL)
		appendStringInfoString(result, number);
	return reason;
}

/*
 * Appends a label of a domain in ASCII, the form in which mail servers see it
 * and which every encoding has.  Returns NULL, or what is wrong with the label.
 *
 * The label has been mapped.  One that came as "xn--..." is decoded, mapped and
 * encoded, so that all spellings of a label end as one.
 */
static const char *
AppendLabel(const pg_wchar *label, int n, StringInfo domain)
{
	int			start = domain->len;
	bool		ascii = true;

	if (n == 0 || n > MAX_LABEL_BYTES)
		return no_label;
	if (BeginsWith(label, n, "xn--"))
	{
		pg_wchar	decoded[MAX_LABEL_BYTES + 1];
		pg_wchar   *mapped;
		int			n_mapped = DecodePunycode(label + 4, n - 4, decoded);

		if (n_mapped <= 0)
			return no_punycode;
		decoded[n_mapped] = 0;
		mapped = MapCharacters(decoded, &n_mapped, IDENTIFIER_EMAIL, true, true);
		if (BeginsWith(mapped, n_mapped, "xn--"))
			return no_punycode;
		return AppendLabel(mapped, n_mapped, domain);
	}

	for (int i = 0; i < n; i++)
	{
		pg_wchar	c = label[i];

		ascii = ascii && c < 0x80;
		if (c < 0x80 ? !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-') :
			IsSpace(c) || IsControl(c) || IsDot(c))
			return "The domain has a character that no domain has.";
	}
	if (label[0] == '-' || label[n - 1] == '-')
		return "A label of the domain begins or ends with a hyphen.";
	if (ascii)
		AppendCharacters(domain, label, n);
	else
	{
		appendStringInfoString(domain, "xn--");
		EncodePunycode(label, n, domain);
	}
	return domain->len - start > MAX_LABEL_BYTES ? no_label : NULL;
}

/*
 * Appends a domain of two labels at least, in ASCII.  Returns NULL, or what is
 * wrong with it.
 */
static const char *
AppendDomain(const pg_wchar *chars, int n, StringInfo domain)
{
	int			start = 0;
	int			labels = 0;

	/* a fully qualified domain may end with a dot */
	if (n > 1 && IsDot(chars[n - 1]))
		n--;
	for (int i = 0; i <= n; i++)
	{
		const char *reason;

		if (i < n && !IsDot(chars[i]))
			continue;
		if (labels++ > 0)
			appendStringInfoChar(domain, '.');
		reason = AppendLabel(chars + start, i - start, domain);
		if (reason != NULL)
			return reason;
		start = i + 1;
	}
	if (labels < 2)
		return "The domain has no dot.";
	if (strspn(strrchr(domain->data, '.'), ".0123456789") == strlen(strrchr(domain->data, '.')))
		return "The domain ends with a number.";
	return NULL;
}

static const char *
NormalizeEmailCharacters(const pg_wchar *chars, int n, bool provider_rules, StringInfo result)
{
	StringInfoData local;
	StringInfoData domain;
	const char *reason;
	int			at = -1;

	if (BeginsWith(chars, n, "mailto:"))
	{
		chars += 7;
		n -= 7;
	}
	if (n > 2 && chars[0] == '<' && chars[n - 1] == '>')
	{
		chars++;
		n -= 2;
	}
	for (int i = 0; i < n; i++)
	{
		if (IsSpace(chars[i]) || IsControl(chars[i]))
			return "It has white space or a control character inside.";
		if (chars[i] == '@' && at >= 0)
			return "It has more than one @.";
		if (chars[i] == '@')
			at = i;
	}
	if (at < 0)
		return "It has no @.";
	if (at == 0)
		return "It has nothing before the @.";

	for (int i = 0; i < at; i++)
		if (chars[i] < 0x80 && strchr("\"(),:;<>[\\]", (int) chars[i]) != NULL)
			return "It has a character before the @ that only quoting would allow.";

	initStringInfo(&local);
	initStringInfo(&domain);
	AppendCharacters(&local, chars, at);
	reason = AppendDomain(chars + at + 1, n - at - 1, &domain);
	if (reason != NULL)
		return reason;

	if (provider_rules)
	{
		const MailProvider *provider = NULL;

		for (int i = 0; i < (int) lengthof(mail_providers); i++)
			if (strcmp(domain.data, mail_providers[i].domain) == 0)
				provider = &mail_providers[i];
		if (provider != NULL)
		{
			int			kept = 0;

			for (int i = 0; i < local.len && local.data[i] != '+'; i++)
				if (!provider->dots || local.data[i] != '.')
					local.data[kept++] = local.data[i];
			local.data[kept] = '\0';
			local.len = kept;
			if (kept == 0)
				return "It has nothing before the @ that counts for its provider.";
			resetStringInfo(&domain);
			appendStringInfoString(&domain, provider->canonical);
		}
	}

	if (local.len > 64)
		return "It has more than 64 bytes before the @.";
	if (local.len + 1 + domain.len > 254)
		return "It has more than 254 bytes.";
	appendStringInfo(result, "%s@%s", local.data, domain.data);
	return NULL;
}

static const char *
NormalizeOpaqueCharacters(const pg_wchar *chars, int n, StringInfo result)
{
	for (int i = 0; i < n; i++)
		if (IsControl(chars[i]))
			return "It has a control character inside.";
	AppendCharacters(result, chars, n);
	return NULL;
}

/*
 * What a namespace's values are: "phone" and "email" by name, all else opaque.
 */
IdentifierKind
KindOfNamespace(const char *name)
{
	if (strcmp(name, "phone") == 0)
		return IDENTIFIER_PHONE;
	if (strcmp(name, "email") == 0)
		return IDENTIFIER_EMAIL;
	return IDENTIFIER_OPAQUE;
}

/*
 * Appends the normal form of an identifier to "result", in UTF-8.
 *
 * "raw" is UTF-8, not terminated.  All kinds: Unicode NFKC, white space and
 * invisible characters off both ends.  Telephone and e-mail: invisible
 * characters out of the middle too.  E-mail always, opaque if "fold_case":
 * simple case folding.  Returns NULL, or why the identifier is garbage.
 */
const char *
NormalizeIdentifier(IdentifierKind kind, const char *raw, int rawlen,
					const char *country, bool provider_rules, bool fold_case,
					StringInfo result)
{
	const unsigned char *next = (const unsigned char *) raw;
	const unsigned char *end = next + rawlen;
	bool		fold = kind == IDENTIFIER_EMAIL || (kind == IDENTIFIER_OPAQUE && fold_case);
	pg_wchar   *chars;
	const char *reason;
	int			n = 0;

	if (rawlen > MAX_RAW_BYTES)
		return "It is far too long.";

	chars = palloc((rawlen + 1) * sizeof(pg_wchar));
	while (next < end)
	{
		chars[n++] = utf8_to_unicode(next);
		next += pg_utf_mblen(next);
	}
	chars[n] = 0;
	chars = MapCharacters(chars, &n, kind, false, fold);
	if (n == 0)
		return "Nothing is left of it without white space.";
	if (n > MAX_IDENTIFIER_BYTES)
		return "It is longer than 1024 bytes.";

	switch (kind)
	{
		case IDENTIFIER_PHONE:
			reason = NormalizePhoneCharacters(chars, n, country, result);
			break;
		case IDENTIFIER_EMAIL:
			reason = NormalizeEmailCharacters(chars, n, provider_rules, result);
			break;
		default:
			reason = NormalizeOpaqueCharacters(chars, n, result);
			break;
	}
	pfree(chars);
	if (reason == NULL && result->len > MAX_IDENTIFIER_BYTES)
		return "It is longer than 1024 bytes.";
	return reason;
}

/*
 * normalize_identifier(namespace text, raw text, default_country text,
 *						provider_rules boolean, fold_case boolean,
 *						on_garbage text) -> text
 *
 * NULL namespace or raw gives NULL.  Garbage gives NULL, or LY201 when
 * on_garbage is 'error'.  An unknown default_country or on_garbage is LY003
 * whatever the value, so that a misspelt setting is seen at once.
 */
PG_FUNCTION_INFO_V1(loyalty_normalize_identifier);
Datum
loyalty_normalize_identifier(PG_FUNCTION_ARGS)
{
	char	   *country = NULL;
	bool		provider_rules = PG_ARGISNULL(3) ? false : PG_GETARG_BOOL(3);
	bool		fold_case = PG_ARGISNULL(4) ? true : PG_GETARG_BOOL(4);
	char	   *on_garbage;
	char	   *name;
	char	   *raw;
	char	   *utf8;
	int			rawlen;
	const char *reason;
	StringInfoData result;

	if (!PG_ARGISNULL(2))
	{
		country = text_to_cstring(PG_GETARG_TEXT_PP(2));
		if (!IsPhoneCountry(country))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("unknown default_country \"%s\"", country),
					 errdetail("No numbering plan of that name is known."),
					 errhint("Pass a country code of two letters (ISO 3166-1), such as DE, or NULL.")));
	}
	on_garbage = PG_ARGISNULL(5) ? "null" : text_to_cstring(PG_GETARG_TEXT_PP(5));
	if (strcmp(on_garbage, "null") != 0 && strcmp(on_garbage, "error") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("unknown on_garbage \"%s\"", on_garbage),
				 errdetail("It says what a value that cannot be normalized gives."),
				 errhint("Pass 'null' or 'error'.")));
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();

	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	raw = text_to_cstring(PG_GETARG_TEXT_PP(1));
	rawlen = (int) strlen(raw);
	initStringInfo(&result);

	/* a database in SQL_ASCII says nothing about its bytes */
	if (GetDatabaseEncoding() == PG_SQL_ASCII &&
		!pg_verify_mbstr(PG_UTF8, raw, rawlen, true))
		reason = "It is not in UTF-8.";
	else
	{
		utf8 = pg_server_to_any(raw, rawlen, PG_UTF8);
		reason = NormalizeIdentifier(KindOfNamespace(name), utf8, (int) strlen(utf8),
									 country, provider_rules, fold_case, &result);
	}

	if (reason != NULL)
	{
		if (strcmp(on_garbage, "error") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_IDENTIFIER),
					 errmsg("\"%s\" is no valid identifier of namespace \"%s\"", raw, name),
					 errdetail_internal("%s", reason),
					 errhint("Correct the value, or pass on_garbage => 'null' to get NULL.")));
		PG_RETURN_NULL();
	}

	raw = pg_any_to_server(result.data, result.len, PG_UTF8);
	PG_RETURN_TEXT_P(cstring_to_text(raw));
}
