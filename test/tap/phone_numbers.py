# Numbers of every country, fixed and mobile, in the ways people write them, and
# how Google's libphonenumber (python3-phonenumbers) reads them:
#
#	phone_numbers.py HOW_MANY SEED
#
# prints way, country, default country, as written, E.164, the library's E.164.
import random
import re
import re._parser
import sys

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberFormat

how_many, seed = map(int, sys.argv[1:])
random.seed(seed)
countries = sorted(phonenumbers.SUPPORTED_REGIONS)
plans = {c: PhoneMetadata.metadata_for_region(c) for c in countries}
with_00 = [c for c in countries if plans[c].international_prefix == '00']
# to the library 00 is how people in Hong Kong call abroad: it never is alone
callers = [c for c in countries if c != 'HK']
carriers = {'AR': '', 'BR': '15', 'CO': '5'}


def some_match(expression):
    """A string that a parsed regular expression over digits matches."""
    text = ''
    for op, arg in expression:
        op = str(op)
        if op == 'LITERAL':
            text += chr(arg)
        elif op == 'IN':
            text += random.choice([d for d in '0123456789' if any(in_class(d, str(kind), value) for kind, value in arg)])
        elif op == 'SUBPATTERN':
            text += some_match(arg[3])
        elif op == 'BRANCH':
            text += some_match(random.choice(arg[1]))
        elif op == 'MAX_REPEAT':
            text += ''.join(some_match(arg[2]) for _ in range(random.randint(arg[0], arg[1])))
        else:
            raise ValueError(op)
    return text


def in_class(digit, kind, value):
    return {'LITERAL': lambda: ord(digit) == value,
            'RANGE': lambda: value[0] <= ord(digit) <= value[1],
            'CATEGORY': lambda: True}[kind]()


def library(text, country):
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return ''
    if not phonenumbers.is_possible_number(number):
        return ''
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def ways(number, country):
    code = str(number.country_code)
    national = phonenumbers.national_significant_number(number)
    international = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
    at_home = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    trunk = plans[country].national_prefix
    caller = random.choice([c for c in callers if c != country])
    yield 'E.164', None, '+' + code + national
    yield 'international', None, international
    yield 'URI', None, phonenumbers.format_number(number, PhoneNumberFormat.RFC3966)
    yield '00 for +', random.choice(with_00), '00' + international[1:].replace(' ', '-')
    yield 'called from abroad', caller, phonenumbers.format_out_of_country_calling_number(number, caller)
    yield 'at home', country, at_home
    yield 'at home, digits', country, re.sub(r'\D', '', at_home)
    yield 'at home, dots', country, re.sub(r'\D+', '.', at_home).strip('.')
    yield 'without trunk prefix', country, national
    yield 'calling code without +', country, code + national
    if trunk:
        yield 'trunk prefix behind calling code', None, '+%s (%s)%s' % (code, trunk, national)
    if country in carriers:
        yield 'carrier', country, phonenumbers.format_national_number_with_carrier_code(number, carriers[country])


for country in countries:
    seen = set()
    for kind in plans[country].fixed_line, plans[country].mobile:
        if kind is None or not kind.national_number_pattern:
            continue
        expression = re._parser.parse(kind.national_number_pattern)
        for attempt in range(how_many):
            try:
                number = phonenumbers.parse('+%d%s' % (plans[country].country_code, some_match(expression)))
            except phonenumbers.NumberParseException:
                continue
            written = phonenumbers.format_number(number, PhoneNumberFormat.E164)
            # the library's plan of Germany has numbers too long for E.164
            if len(written) > 16 or written in seen or not phonenumbers.is_valid_number_for_region(number, country):
                continue
            seen.add(written)
            for way, default, text in ways(number, country):
                print(way, country, default or '', text, written, library(text, default), sep='\t')
