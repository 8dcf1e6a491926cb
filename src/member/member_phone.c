/*
 * member_phone.c
 *		Telephone numbers to E.164.
 *
 * What a numbering plan tells (member_phone_plans.c): how many digits its
 * numbers have, with which they may begin, and which prefixes belong to the way
 * of calling, not to the number.  Whether a number is assigned, or to whom, is
 * not known here.
 */
#include "postgres.h"

#include "core/compat.h"
#include "member/member_identifier.h"
#include "member/member_phone.h"

/* Digits of a number, in whole or in part; not terminated. */
typedef struct Digits
{
	const char *at;
	int			n;
} Digits;

/* A number as the plans have it. */
typedef struct Number
{
	int			code;			/* calling code */
	int			n;
	char		digits[MAX_PHONE_DIGITS + sizeof(((PhoneRule *) NULL)->insert)];
} Number;

#define MIN_DUMMY_DIGITS	6

static const char *const no_fit = "It fits no number of the country's numbering plan.";
static const char *const dummy = "Its digits are all the same, or count up or down: it stands for no number.";

/* Plan of a country code of two bytes, in any case; NULL if there is none. */
static const PhonePlan *
PlanOfCountry(const char *country)
{
	int			first = pg_ascii_toupper((unsigned char) country[0]) - 'A';
	int			second = pg_ascii_toupper((unsigned char) country[1]) - 'A';
	int			at;

	if (first < 0 || first >= 26 || second < 0 || second >= 26)
		return NULL;
	at = phone_plan_of_country[26 * first + second];
	return at < 0 ? NULL : &phone_plans[at];
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
 * Takes the calling code off international digits.  Returns the plan of the
 * code's main country, or NULL if no country has such a code.
 */
static const PhonePlan *
TakeCallingCode(Digits *digits)
{
	int			code = 0;

	/* no code is the beginning of another, and none begins with 0 */
	for (int i = 0; i < 3 && i < digits->n; i++)
	{
		code = code * 10 + (digits->at[i] - '0');
		if (code == 0)
			return NULL;
		if (phone_plan_of_code[code] >= 0)
		{
			digits->at += i + 1;
			digits->n -= i + 1;
			return &phone_plans[phone_plan_of_code[code]];
		}
	}
	return NULL;
}

static bool
Accepts(int state, Digits digits)
{
	for (int i = 0; i < digits.n; i++)
		state = phone_states[state][digits.at[i] - '0'];
	return state >= phone_first_accepting;
}

static Digits
DigitsOf(const Number *number)
{
	return (Digits) {number->digits, number->n};
}

static void
AppendDigits(Number *number, const char *digits, int n)
{
	memcpy(number->digits + number->n, digits, n);
	number->n += n;
}

/*
 * Do the digits all repeat the first, or count up or down (0 follows 9)?  That
 * is what people enter who have, or give, no number.  Among the short numbers
 * of small countries such digits come about by chance.
 */
static bool
IsDummy(Digits digits)
{
	int			step;

	if (digits.n < MIN_DUMMY_DIGITS)
		return false;
	step = (digits.at[1] - digits.at[0] + 10) % 10;
	for (int i = 2; i < digits.n; i++)
		if ((digits.at[i] - digits.at[i - 1] + 10) % 10 != step)
			return false;
	return step == 0 || step == 1 || step == 9;
}

/*
 * Reads digits that are a national number of the plan, written as at home or as
 * they follow the calling code.  Returns whether they are.
 */
static bool
ReadNational(const PhonePlan *plan, Digits written, Number *number)
{
	for (int i = 0; i < plan->n_trunk; i++)
	{
		const PhoneRule *rule = &phone_rules[plan->trunk + i];
		const char *rest = written.at + rule->drop;
		int			behind = rule->keep + rule->skip;
		Number		rewritten = {0};

		if (!Accepts(rule->applies, written))
			continue;
		AppendDigits(&rewritten, rule->insert, strlen(rule->insert));
		AppendDigits(&rewritten, rest, rule->keep);
		AppendDigits(&rewritten, rest + behind, written.n - rule->drop - behind);

		/* what comes out is read as the next caller will read it */
		if (Accepts(plan->numbers, DigitsOf(&rewritten)))
			return ReadNational(plan, DigitsOf(&rewritten), number);
	}
	number->code = plan->code;
	number->n = 0;
	AppendDigits(number, written.at, written.n);
	return Accepts(plan->numbers, written);
}

/*
 * Reads digits that begin with a calling code.  A trunk prefix between the two,
 * as in +44 (0)20, is taken out.
 */
static bool
ReadInternational(Digits written, Number *number)
{
	const PhonePlan *main_plan = TakeCallingCode(&written);

	return main_plan != NULL && ReadNational(main_plan, written, number);
}

/*
 * Reads digits without "+", as somebody in the country of "plan" may have
 * written them.
 *
 * Two readings can fit: in Germany, 49170... may be area code 4917 or a mobile
 * number behind the calling code.  Where the trunk prefix is always written at
 * home, digits without it are the second, elsewhere the first.
 */
static bool
ReadAtHome(const PhonePlan *plan, Digits written, Number *number)
{
	const PhonePlan *main_plan = &phone_plans[phone_plan_of_code[plan->code]];
	Digits		rest = written;
	Number		behind_code;
	bool		has_code;

	for (int i = 0; i < plan->n_abroad; i++)
	{
		const PhoneRule *rule = &phone_rules[plan->abroad + i];

		if (Accepts(rule->applies, written) &&
			ReadInternational((Digits) {written.at + rule->drop, written.n - rule->drop}, number))
			return true;
	}

	has_code = TakeCallingCode(&rest) == main_plan && ReadNational(main_plan, rest, &behind_code);
	if (!(has_code && plan->trunk_written) &&
		(ReadNational(plan, written, number) || ReadNational(main_plan, written, number)))
		return true;
	if (has_code)
		*number = behind_code;
	return has_code;
}

/*
 * Brings a telephone number to E.164, "+" and at most 15 digits.
 *
 * "text" is ASCII: digits, one "+" in front, and punctuation between.  "country",
 * an ISO code that IsPhoneCountry() knows or NULL, tells how to read a number
 * without "+"; 00 before a calling code is understood everywhere.  "result" has
 * room for PHONE_RESULT_SIZE bytes.  Returns NULL, or why it is garbage.
 */
const char *
NormalizePhone(const char *text, const char *country, char *result)
{
	const PhonePlan *plan = country == NULL ? NULL : PlanOfCountry(country);
	char		digits[MAX_PHONE_DIGITS];
	Digits		written = {digits, 0};
	Number		number;
	bool		has_code = false;	/* announced by "+" or 00 */
	bool		read;

	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p >= '0' && *p <= '9')
		{
			if (written.n >= MAX_PHONE_DIGITS)
				return "It has too many digits.";
			digits[written.n++] = *p;
		}
		else if (*p == '+' && written.n == 0 && !has_code)
			has_code = true;
		else if (strchr(" -./()[]~", *p) == NULL)
			return "It has characters that no telephone number has.";
	}
	if (written.n == 0)
		return "It has no digits.";
	if (IsDummy(written))
		return dummy;

	read = has_code ? ReadInternational(written, &number) :
		plan != NULL && ReadAtHome(plan, written, &number);
	if (!read && !has_code && written.n >= 2 && digits[0] == '0' && digits[1] == '0')
	{
		has_code = true;
		written.at += 2;
		written.n -= 2;
		read = ReadInternational(written, &number);
	}
	if (!read && has_code)
		return TakeCallingCode(&written) == NULL ? "No country has this calling code." : no_fit;
	if (!read)
		return plan != NULL ? no_fit :
			"It has no calling code, and no default country was given.";

	if (IsDummy(DigitsOf(&number)))
		return dummy;
	sprintf(result, "+%d%.*s", number.code, number.n, number.digits);
	return NULL;
}
