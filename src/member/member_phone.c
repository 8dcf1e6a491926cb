/*
 * member_phone.c
 *		Telephone numbers to E.164.
 *
 * The table holds facts of national numbering plans (ITU-T E.164 and the
 * operational bulletins): calling code, prefixes, and how many digits a fixed
 * or mobile subscriber's number has behind the calling code.  Whether a number
 * is assigned, or to whom, is not known here.
 */
#include "postgres.h"

#include "core/compat.h"
#include "member/member_identifier.h"

typedef struct NumberingPlan
{
	char		country[3];		/* ISO 3166-1 alpha-2; "" without country */
	int			code;			/* country calling code */
	const char *trunk;			/* prefixes of national calls, a | b | c */
	const char *abroad;			/* prefixes of international calls, a | b | c */
	int			min;			/* digits of a national significant number */
	int			max;
	bool		zero;			/* such a number may begin with 0 */
} NumberingPlan;

static const NumberingPlan plans[] = {
	{"AC", 247, "", "00", 5, 6, false},
	{"AD", 376, "", "00", 6, 9, false},
	{"AE", 971, "0", "00", 8, 9, false},
	{"AF", 93, "0", "00", 9, 9, false},
	{"AG", 1, "1", "011", 10, 10, false},
	{"AI", 1, "1", "011", 10, 10, false},
	{"AL", 355, "0", "00", 8, 9, false},
	{"AM", 374, "0", "00", 8, 8, false},
	{"AO", 244, "", "00", 9, 9, false},
	{"AR", 54, "0", "00", 10, 11, false},
	{"AS", 1, "1", "011", 10, 10, false},
	{"AT", 43, "0", "00", 4, 13, false},
	{"AU", 61, "0", "0011", 9, 9, false},
	{"AW", 297, "", "00", 7, 7, false},
	{"AX", 358, "0", "00", 5, 12, false},
	{"AZ", 994, "0", "00", 9, 9, false},
	{"BA", 387, "0", "00", 8, 9, false},
	{"BB", 1, "1", "011", 10, 10, false},
	{"BD", 880, "0", "00", 8, 10, false},
	{"BE", 32, "0", "00", 8, 9, false},
	{"BF", 226, "", "00", 8, 8, true},
	{"BG", 359, "0", "00", 7, 9, false},
	{"BH", 973, "", "00", 8, 8, false},
	{"BI", 257, "", "00", 8, 8, false},
	{"BJ", 229, "", "00", 8, 10, true},
	{"BL", 590, "0", "00", 9, 9, false},
	{"BM", 1, "1", "011", 10, 10, false},
	{"BN", 673, "", "00", 7, 7, false},
	{"BO", 591, "0", "00", 8, 8, false},
	{"BQ", 599, "", "00", 7, 7, false},
	{"BR", 55, "0", "00", 10, 11, false},
	{"BS", 1, "1", "011", 10, 10, false},
	{"BT", 975, "", "00", 7, 8, false},
	{"BW", 267, "", "00", 7, 8, false},
	{"BY", 375, "80|8|0", "810", 9, 9, false},
	{"BZ", 501, "", "00", 7, 7, false},
	{"CA", 1, "1", "011", 10, 10, false},
	{"CC", 61, "0", "0011", 9, 9, false},
	{"CD", 243, "0", "00", 7, 9, false},
	{"CF", 236, "", "00", 8, 8, false},
	{"CG", 242, "", "00", 9, 9, true},
	{"CH", 41, "0", "00", 9, 9, false},
	{"CI", 225, "", "00", 10, 10, true},
	{"CK", 682, "", "00", 5, 5, false},
	{"CL", 56, "", "00", 9, 9, false},
	{"CM", 237, "", "00", 8, 9, false},
	{"CN", 86, "0", "00", 9, 11, false},
	{"CO", 57, "0", "00", 8, 10, false},
	{"CR", 506, "", "00", 8, 8, false},
	{"CU", 53, "0", "119", 6, 8, false},
	{"CV", 238, "", "00|0", 7, 7, false},
	{"CW", 599, "", "00", 7, 8, false},
	{"CX", 61, "0", "0011", 9, 9, false},
	{"CY", 357, "", "00", 8, 8, false},
	{"CZ", 420, "", "00", 9, 9, false},
	{"DE", 49, "0", "00", 5, 13, false},
	{"DJ", 253, "", "00", 8, 8, false},
	{"DK", 45, "", "00", 8, 8, false},
	{"DM", 1, "1", "011", 10, 10, false},
	{"DO", 1, "1", "011", 10, 10, false},
	{"DZ", 213, "0", "00", 8, 9, false},
	{"EC", 593, "0", "00", 8, 9, false},
	{"EE", 372, "", "00", 7, 8, false},
	{"EG", 20, "0", "00", 8, 10, false},
	{"EH", 212, "0", "00", 9, 9, false},
	{"ER", 291, "0", "00", 7, 7, false},
	{"ES", 34, "", "00", 9, 9, false},
	{"ET", 251, "0", "00", 9, 9, false},
	{"FI", 358, "0", "00", 5, 12, false},
	{"FJ", 679, "", "00", 7, 7, false},
	{"FK", 500, "", "00", 5, 5, false},
	{"FM", 691, "", "00", 7, 7, false},
	{"FO", 298, "", "00", 6, 6, false},
	{"FR", 33, "0", "00", 9, 9, false},
	{"GA", 241, "0", "00", 8, 8, false},
	{"GB", 44, "0", "00", 9, 10, false},
	{"GD", 1, "1", "011", 10, 10, false},
	{"GE", 995, "0", "00", 9, 9, false},
	{"GF", 594, "0", "00", 9, 9, false},
	{"GG", 44, "0", "00", 10, 10, false},
	{"GH", 233, "0", "00", 9, 9, false},
	{"GI", 350, "", "00", 8, 8, false},
	{"GL", 299, "", "00", 6, 6, false},
	{"GM", 220, "", "00", 7, 7, false},
	{"GN", 224, "", "00", 8, 9, false},
	{"GP", 590, "0", "00", 9, 9, false},
	{"GQ", 240, "", "00", 9, 9, false},
	{"GR", 30, "", "00", 10, 10, false},
	{"GT", 502, "", "00", 8, 8, false},
	{"GU", 1, "1", "011", 10, 10, false},
	{"GW", 245, "", "00", 7, 9, false},
	{"GY", 592, "", "001", 7, 7, false},
	{"HK", 852, "", "001", 8, 8, false},
	{"HN", 504, "", "00", 8, 8, false},
	{"HR", 385, "0", "00", 8, 9, false},
	{"HT", 509, "", "00", 8, 8, false},
	{"HU", 36, "06", "00", 8, 9, false},
	{"ID", 62, "0", "001|007|008|00", 7, 12, false},
	{"IE", 353, "0", "00", 7, 9, false},
	{"IL", 972, "0", "00|012|013|014|018|019", 8, 9, false},
	{"IM", 44, "0", "00", 10, 10, false},
	{"IN", 91, "0", "00", 10, 10, false},
	{"IO", 246, "", "00", 7, 7, false},
	{"IQ", 964, "0", "00", 8, 10, false},
	{"IR", 98, "0", "00", 10, 10, false},
	{"IS", 354, "", "00", 7, 9, false},
	{"IT", 39, "", "00", 6, 12, true},
	{"JE", 44, "0", "00", 10, 10, false},
	{"JM", 1, "1", "011", 10, 10, false},
	{"JO", 962, "0", "00", 8, 9, false},
	{"JP", 81, "0", "010", 9, 10, false},
	{"KE", 254, "0", "000", 7, 10, false},
	{"KG", 996, "0", "00", 9, 9, false},
	{"KH", 855, "0", "001|007|008|00", 8, 9, false},
	{"KI", 686, "", "00", 5, 8, false},
	{"KM", 269, "", "00", 7, 7, false},
	{"KN", 1, "1", "011", 10, 10, false},
	{"KP", 850, "0", "00|99", 8, 10, false},
	{"KR", 82, "0", "00700|001|002|005|006|008", 8, 10, false},
	{"KW", 965, "", "00", 8, 8, false},
	{"KY", 1, "1", "011", 10, 10, false},
	{"KZ", 7, "8", "810", 10, 10, false},
	{"LA", 856, "0", "00", 8, 10, false},
	{"LB", 961, "0", "00", 7, 8, false},
	{"LC", 1, "1", "011", 10, 10, false},
	{"LI", 423, "", "00", 7, 9, false},
	{"LK", 94, "0", "00", 9, 9, false},
	{"LR", 231, "0", "00", 7, 9, false},
	{"LS", 266, "", "00", 8, 8, false},
	{"LT", 370, "0|8", "00", 8, 8, false},
	{"LU", 352, "", "00", 5, 11, false},
	{"LV", 371, "", "00", 8, 8, false},
	{"LY", 218, "0", "00", 9, 9, false},
	{"MA", 212, "0", "00", 9, 9, false},
	{"MC", 377, "0", "00", 8, 9, false},
	{"MD", 373, "0", "00", 8, 8, false},
	{"ME", 382, "0", "00", 8, 9, false},
	{"MF", 590, "0", "00", 9, 9, false},
	{"MG", 261, "0", "00", 9, 9, false},
	{"MH", 692, "1", "011", 7, 7, false},
	{"MK", 389, "0", "00", 8, 8, false},
	{"ML", 223, "", "00", 8, 8, false},
	{"MM", 95, "0", "00", 7, 10, false},
	{"MN", 976, "0", "001|002", 8, 8, false},
	{"MO", 853, "", "00", 8, 8, false},
	{"MP", 1, "1", "011", 10, 10, false},
	{"MQ", 596, "0", "00", 9, 9, false},
	{"MR", 222, "", "00", 8, 8, false},
	{"MS", 1, "1", "011", 10, 10, false},
	{"MT", 356, "", "00", 8, 8, false},
	{"MU", 230, "", "00|020", 7, 8, false},
	{"MV", 960, "", "00", 7, 7, false},
	{"MW", 265, "0", "00", 7, 9, false},
	{"MX", 52, "044|045|01|1", "00", 10, 10, false},
	{"MY", 60, "0", "00", 8, 10, false},
	{"MZ", 258, "", "00", 8, 9, false},
	{"NA", 264, "0", "00", 8, 9, false},
	{"NC", 687, "", "00", 6, 6, false},
	{"NE", 227, "", "00", 8, 8, false},
	{"NF", 672, "", "00", 6, 6, false},
	{"NG", 234, "0", "009", 8, 10, false},
	{"NI", 505, "", "00", 8, 8, false},
	{"NL", 31, "0", "00", 9, 9, false},
	{"NO", 47, "", "00", 8, 8, false},
	{"NP", 977, "0", "00", 8, 10, false},
	{"NR", 674, "", "00", 7, 7, false},
	{"NU", 683, "", "00", 4, 7, false},
	{"NZ", 64, "0", "00", 8, 10, false},
	{"OM", 968, "", "00", 8, 8, false},
	{"PA", 507, "", "00", 7, 8, false},
	{"PE", 51, "0", "00", 8, 9, false},
	{"PF", 689, "", "00", 6, 8, false},
	{"PG", 675, "", "00", 7, 8, false},
	{"PH", 63, "0", "00", 8, 10, false},
	{"PK", 92, "0", "00", 9, 10, false},
	{"PL", 48, "", "00", 9, 9, false},
	{"PM", 508, "0", "00", 6, 9, false},
	{"PR", 1, "1", "011", 10, 10, false},
	{"PS", 970, "0", "00", 8, 9, false},
	{"PT", 351, "", "00", 9, 9, false},
	{"PW", 680, "", "011|012", 7, 7, false},
	{"PY", 595, "0", "00", 7, 9, false},
	{"QA", 974, "", "00", 8, 8, false},
	{"RE", 262, "0", "00", 9, 9, false},
	{"RO", 40, "0", "00", 9, 9, false},
	{"RS", 381, "0", "00", 8, 9, false},
	{"RU", 7, "8", "810", 10, 10, false},
	{"RW", 250, "0", "00", 8, 9, false},
	{"SA", 966, "0", "00", 8, 9, false},
	{"SB", 677, "", "00|01", 5, 7, false},
	{"SC", 248, "", "00", 7, 7, false},
	{"SD", 249, "0", "00", 9, 9, false},
	{"SE", 46, "0", "00", 7, 10, false},
	{"SG", 65, "", "000|001|002|008|018", 8, 8, false},
	{"SH", 290, "", "00", 4, 5, false},
	{"SI", 386, "0", "00", 8, 8, false},
	{"SJ", 47, "", "00", 8, 8, false},
	{"SK", 421, "0", "00", 9, 9, false},
	{"SL", 232, "0", "00", 8, 8, false},
	{"SM", 378, "", "00", 6, 10, true},
	{"SN", 221, "", "00", 9, 9, false},
	{"SO", 252, "0", "00", 6, 9, false},
	{"SR", 597, "", "00", 6, 7, false},
	{"SS", 211, "0", "00", 9, 9, false},
	{"ST", 239, "", "00", 7, 7, false},
	{"SV", 503, "", "00", 8, 8, false},
	{"SX", 1, "1", "011", 10, 10, false},
	{"SY", 963, "0", "00", 8, 9, false},
	{"SZ", 268, "", "00", 8, 8, false},
	{"TA", 290, "", "00", 4, 4, false},
	{"TC", 1, "1", "011", 10, 10, false},
	{"TD", 235, "", "00", 8, 8, false},
	{"TG", 228, "", "00", 8, 8, false},
	{"TH", 66, "0", "001|004|005|006|007|008|009", 8, 9, false},
	{"TJ", 992, "", "810|00", 9, 9, false},
	{"TK", 690, "", "00", 4, 7, false},
	{"TL", 670, "", "00", 7, 8, false},
	{"TM", 993, "8", "810", 8, 8, false},
	{"TN", 216, "", "00", 8, 8, false},
	{"TO", 676, "", "00", 5, 7, false},
	{"TR", 90, "0", "00", 10, 10, false},
	{"TT", 1, "1", "011", 10, 10, false},
	{"TV", 688, "", "00", 5, 7, false},
	{"TW", 886, "0", "002|005|006|007|009", 8, 9, false},
	{"TZ", 255, "0", "000|005|006|00", 9, 9, false},
	{"UA", 380, "0", "00", 9, 9, false},
	{"UG", 256, "0", "000|005|007|00", 9, 9, false},
	{"US", 1, "1", "011", 10, 10, false},
	{"UY", 598, "0", "00", 7, 8, false},
	{"UZ", 998, "8", "810|00", 9, 9, false},
	{"VA", 39, "", "00", 6, 12, true},
	{"VC", 1, "1", "011", 10, 10, false},
	{"VE", 58, "0", "00", 10, 10, false},
	{"VG", 1, "1", "011", 10, 10, false},
	{"VI", 1, "1", "011", 10, 10, false},
	{"VN", 84, "0", "00", 9, 10, false},
	{"VU", 678, "", "00", 5, 7, false},
	{"WF", 681, "", "00", 6, 6, false},
	{"WS", 685, "", "0", 5, 7, false},
	{"XK", 383, "0", "00", 8, 9, false},
	{"YE", 967, "0", "00", 7, 9, false},
	{"YT", 262, "0", "00", 9, 9, false},
	{"ZA", 27, "0", "00", 9, 9, false},
	{"ZM", 260, "0", "00", 9, 9, false},
	{"ZW", 263, "0", "00", 5, 10, false},
	{"", 800, "", "", 8, 8, false},
	{"", 808, "", "", 8, 8, false},
	{"", 870, "", "", 9, 12, false},
	{"", 878, "", "", 12, 12, false},
	{"", 881, "", "", 8, 9, false},
	{"", 882, "", "", 7, 12, false},
	{"", 883, "", "", 9, 12, false},
	{"", 888, "", "", 11, 11, false},
	{"", 979, "", "", 9, 9, false},
};

#define MAX_E164_DIGITS 15

/* Plan of a country code of two bytes, in any case; NULL if there is none. */
static const NumberingPlan *
PlanOfCountry(const char *country)
{
	for (int i = 0; i < (int) lengthof(plans); i++)
		if (plans[i].country[0] != '\0' &&
			plans[i].country[0] == (char) pg_ascii_toupper((unsigned char) country[0]) &&
			plans[i].country[1] == (char) pg_ascii_toupper((unsigned char) country[1]))
			return &plans[i];
	return NULL;
}

/*
 * Is there a numbering plan for this ISO 3166-1 alpha-2 code, in any case?
 */
bool
IsPhoneCountry(const char *country)
{
	return strlen(country) == 2 && PlanOfCountry(country) != NULL;
}

/*
 * Steps through prefixes "a|b|c"; returns the length of the next one, and the
 * one itself in *prefix, or -1 behind the last.
 */
static int
NextPrefix(const char **list, const char **prefix)
{
	const char *end;

	if (**list == '\0')
		return -1;
	*prefix = *list;
	end = strchr(*list, '|');
	if (end == NULL)
	{
		int			len = (int) strlen(*list);

		*list += len;
		return len;
	}
	*list = end + 1;
	return (int) (end - *prefix);
}

/*
 * Does a national significant number fit a plan?
 */
static bool
FitsPlan(const NumberingPlan *plan, const char *number, int len)
{
	if (len < plan->min || len > plan->max)
		return false;
	if (number[0] == '0' && !plan->zero)
		return false;
	/* North America: area code and exchange begin with 2 to 9 */
	if (plan->code == 1 && (number[0] < '2' || number[3] < '2'))
		return false;
	return true;
}

/*
 * Takes the trunk prefix off, when there is one and the rest fits the plan.
 * Returns whether the number fits.
 */
static bool
NationalNumber(const NumberingPlan *plan, const char **number, int *len)
{
	const char *list = plan->trunk;
	const char *prefix;
	int			plen;

	while ((plen = NextPrefix(&list, &prefix)) > 0)
		if (*len > plen && strncmp(*number, prefix, plen) == 0 &&
			FitsPlan(plan, *number + plen, *len - plen))
		{
			*number += plen;
			*len -= plen;
			return true;
		}
	return FitsPlan(plan, *number, *len);
}

/*
 * Digits behind "+": calling code and national number.  A trunk prefix written
 * between them, as in +44 (0)20, is taken out.
 */
static const char *
FormatInternational(const char *digits, int len, char *result)
{
	bool		known = false;
	int			leading[4] = {0, 0, 0, 0};	/* the first 1, 2, 3 digits */

	for (int i = 0; i < 3 && i < len; i++)
		leading[i + 1] = leading[i] * 10 + (digits[i] - '0');

	for (int i = 0; i < (int) lengthof(plans); i++)
	{
		int			codelen = plans[i].code < 10 ? 1 : plans[i].code < 100 ? 2 : 3;
		const char *number = digits + codelen;
		int			nlen = len - codelen;

		if (nlen <= 0 || plans[i].code != leading[codelen])
			continue;
		known = true;
		if (NationalNumber(&plans[i], &number, &nlen) && codelen + nlen <= MAX_E164_DIGITS)
		{
			sprintf(result, "+%d%.*s", plans[i].code, nlen, number);
			return NULL;
		}
	}
	return known ? "The number of digits does not fit the country's numbering plan." :
		"No country has this calling code.";
}

/*
 * Brings a telephone number to E.164, "+" and at most 15 digits.
 *
 * "text" is ASCII: digits, one "+" in front, and space - . / ( ) ~ between.
 * "country", an ISO code that IsPhoneCountry() knows or NULL, tells how to read
 * a number without "+"; without it only "+" and "00" are understood.  "result"
 * has room for PHONE_RESULT_SIZE bytes.  Returns NULL, or why it is garbage.
 */
const char *
NormalizePhone(const char *text, const char *country, char *result)
{
	const NumberingPlan *plan = country == NULL ? NULL : PlanOfCountry(country);
	char		digits[MAX_PHONE_DIGITS + 1];
	int			len = 0;
	bool		plus = false;
	const char *list = plan == NULL ? "00" : plan->abroad;
	const char *prefix;
	const char *reason = NULL;
	int			plen;
	const char *number = digits;
	int			nlen;

	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p >= '0' && *p <= '9')
		{
			if (len >= MAX_PHONE_DIGITS)
				return "It has too many digits.";
			digits[len++] = *p;
		}
		else if (*p == '+' && len == 0 && !plus)
			plus = true;
		else if (strchr(" -./()~", *p) == NULL)
			return "It has characters that no telephone number has.";
	}
	digits[len] = '\0';
	if (len == 0)
		return "It has no digits.";

	if (plus)
		return FormatInternational(digits, len, result);

	/* an international prefix, when a valid number follows */
	while ((plen = NextPrefix(&list, &prefix)) > 0)
		if (len > plen && strncmp(digits, prefix, plen) == 0)
		{
			reason = FormatInternational(digits + plen, len - plen, result);
			if (reason == NULL)
				return NULL;
		}
	if (plan == NULL)
		return reason != NULL ? reason : "It has no calling code, and no default country was given.";

	nlen = len;
	if (NationalNumber(plan, &number, &nlen))
	{
		sprintf(result, "+%d%.*s", plan->code, nlen, number);
		return NULL;
	}

	/* too long for a national number: a calling code without its plus */
	if (len > plan->max)
	{
		char		code[8];
		int			codelen = snprintf(code, sizeof(code), "%d", plan->code);

		if (strncmp(digits, code, codelen) == 0 &&
			FitsPlan(plan, digits + codelen, len - codelen))
		{
			sprintf(result, "+%s", digits);
			return NULL;
		}
	}
	return "The number of digits does not fit the country's numbering plan.";
}
