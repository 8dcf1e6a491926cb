/*
 * rfm_io.c
 *		Text and binary form of the type rfm, equality and hash.
 *
 * The text is one JSON object with fixed keys in a fixed order, instants in
 * UTC, so it reads back to the same bytes under any setting and can be cast to
 * jsonb.  Input takes just that, white space aside, and checks the invariant.
 */
#include "rfm/rfm.h"

#include "common/hashfn.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "core/errors.h"

static const char *const unit_names[] = {"row", "hour", "day", "week", "month", "key", "mixed", "sunday week"};

const char *
RfmUnitName(RfmUnit unit)
{
	return unit_names[unit];
}

/* A broken-down instant of UTC as text, whatever the settings. */
static void
WriteInstant(struct pg_tm *tm, fsec_t fsec, char *text)
{
	tm->tm_isdst = 0;			/* below zero, the zone would not be written */
	EncodeDateTime(tm, fsec, true, 0, NULL, USE_ISO_DATES, text);
}

/* Appends "key":"instant in UTC", or null for an infinite one. */
static void
AppendInstant(StringInfo buf, const char *key, TimestampTz instant)
{
	struct pg_tm tm;
	fsec_t		fsec;
	char		text[MAXDATELEN + 1];

	if (TIMESTAMP_NOT_FINITE(instant))
	{
		appendStringInfo(buf, ",\"%s\":null", key);
		return;
	}
	if (timestamp2tm(instant, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "instant of an rfm value is out of range");
	WriteInstant(&tm, fsec, text);
	appendStringInfo(buf, ",\"%s\":\"%s\"", key, text);
}

static void
AppendAmount(StringInfo buf, const char *key, int128 units, int decimals)
{
	char		text[64];

	RfmUnitsToText(units, decimals, text);
	appendStringInfo(buf, ",\"%s\":%s", key, text);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_out);
/*
 * rfm_out(rfm) returns cstring
 *
 * The text form, for example
 * {"v":1,"unit":"row","purchases":1,"refunds":0,"first_purchases":1,
 * "first":"2026-01-02 00:00:00+00","second":null,"previous":null,
 * "last":"2026-01-02 00:00:00+00","bought":9.90,"refunded":0.00,
 * "first_bought":9.90} on one line.
 */
Datum
loyalty_rfm_out(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"v\":%d,\"unit\":\"%s\"", s->version, unit_names[s->unit]);
	appendStringInfo(&buf, ",\"purchases\":" INT64_FORMAT, s->purchases);
	appendStringInfo(&buf, ",\"refunds\":" INT64_FORMAT, s->refunds);
	appendStringInfo(&buf, ",\"first_purchases\":" INT64_FORMAT, s->first_purchases);
	AppendInstant(&buf, "first", s->first);
	AppendInstant(&buf, "second", s->second);
	AppendInstant(&buf, "previous", s->previous);
	AppendInstant(&buf, "last", s->last);
	AppendAmount(&buf, "bought", s->bought, s->decimals);
	AppendAmount(&buf, "refunded", s->refunded, s->decimals);
	AppendAmount(&buf, "first_bought", s->first_bought, s->decimals);
	appendStringInfoChar(&buf, '}');
	PG_RETURN_CSTRING(buf.data);
}

/* A place in the text; every reader returns false on what it does not expect. */
typedef struct Scanner
{
	const char *at;
} Scanner;

static void
SkipSpace(Scanner *in)
{
	while (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')
		in->at++;
}

static bool
ReadChar(Scanner *in, char wanted)
{
	SkipSpace(in);
	if (*in->at != wanted)
		return false;
	in->at++;
	return true;
}

static bool
ReadWord(Scanner *in, const char *word)
{
	size_t		len = strlen(word);

	SkipSpace(in);
	if (strncmp(in->at, word, len) != 0)
		return false;
	in->at += len;
	return true;
}

static bool
ReadKey(Scanner *in, const char *key)
{
	return ReadChar(in, '"') && strncmp(in->at, key, strlen(key)) == 0 &&
		(in->at += strlen(key), *in->at == '"') && (in->at++, ReadChar(in, ':'));
}

static bool
ReadCount(Scanner *in, int64 *count)
{
	int64		value = 0;
	const char *start;

	SkipSpace(in);
	for (start = in->at; *in->at >= '0' && *in->at <= '9'; in->at++)
		if (__builtin_mul_overflow(value, (int64) 10, &value) ||
			__builtin_add_overflow(value, (int64) (*in->at - '0'), &value))
			return false;
	*count = value;
	return in->at > start && (*start != '0' || in->at == start + 1);
}

/* Reads an amount in units of its scale, and how many decimals it has. */
static bool
ReadAmount(Scanner *in, int128 *units, int *decimals)
{
	int128		value = 0;
	bool		negative;
	bool		point = false;
	int			ndigits = 0;

	SkipSpace(in);
	negative = *in->at == '-';
	in->at += negative;
	*decimals = 0;
	for (;; in->at++)
	{
		if (*in->at == '.' && !point && ndigits > 0)
			point = true;
		else if (*in->at >= '0' && *in->at <= '9')
		{
			/* no leading zeros */
			if (!point && ndigits == 1 && value == 0)
				return false;
			if (__builtin_mul_overflow(value, (int128) 10, &value) ||
				__builtin_add_overflow(value, (int128) (*in->at - '0'), &value))
				return false;
			ndigits++;
			*decimals += point;
			if (*decimals > RFM_MAX_DECIMALS)
				return false;
		}
		else
			break;
	}
	if (ndigits == 0 || (point && *decimals == 0) || (negative && value == 0))
		return false;
	for (int i = RfmScale(*decimals) - *decimals; i > 0; i--)
		if (__builtin_mul_overflow(value, (int128) 10, &value))
			return false;
	*units = negative ? -value : value;
	return true;
}

static bool
ReadNumber(const char **at, int least, int most, int *value)
{
	int			n = 0;

	*value = 0;
	for (; **at >= '0' && **at <= '9' && n < most; n++)
		*value = *value * 10 + (*(*at)++ - '0');
	return n >= least;
}

/*
 * Reads an instant as AppendInstant writes it, or null, which stands for
 * absent.  What does not come out the same when written again is refused: the
 * 30th of February, hour 25, a seventh decimal.
 */
static bool
ReadInstant(Scanner *in, TimestampTz absent, TimestampTz *instant)
{
	const char *at;
	const char *start;
	struct pg_tm tm = {0};
	fsec_t		fsec = 0;
	int			zone = 0;
	char		text[MAXDATELEN + 1];

	if (ReadWord(in, "null"))
	{
		*instant = absent;
		return true;
	}
	if (!ReadChar(in, '"'))
		return false;
	start = at = in->at;
	if (!ReadNumber(&at, 4, 6, &tm.tm_year) || *at++ != '-' ||
		!ReadNumber(&at, 2, 2, &tm.tm_mon) || *at++ != '-' ||
		!ReadNumber(&at, 2, 2, &tm.tm_mday) || *at++ != ' ' ||
		!ReadNumber(&at, 2, 2, &tm.tm_hour) || *at++ != ':' ||
		!ReadNumber(&at, 2, 2, &tm.tm_min) || *at++ != ':' ||
		!ReadNumber(&at, 2, 2, &tm.tm_sec))
		return false;
	if (*at == '.')
	{
		int			unit = 1000000;

		for (at++; *at >= '0' && *at <= '9'; at++)
		{
			unit /= 10;
			fsec += (*at - '0') * unit;
		}
	}
	if (strncmp(at, "+00", 3) != 0)
		return false;
	at += 3;
	if (strncmp(at, " BC", 3) == 0)
	{
		at += 3;
		tm.tm_year = 1 - tm.tm_year;
	}
	if (*at != '"' || at - start >= (ptrdiff_t) sizeof(text))
		return false;
	if (tm.tm_mon < 1 || tm.tm_mon > MONTHS_PER_YEAR || tm.tm_mday < 1 || tm.tm_mday > 31 ||
		tm2timestamp(&tm, fsec, &zone, instant) != 0)
		return false;

	if (timestamp2tm(*instant, NULL, &tm, &fsec, NULL, NULL) != 0)
		return false;
	WriteInstant(&tm, fsec, text);
	if (strlen(text) != (size_t) (at - start) || memcmp(text, start, at - start) != 0)
		return false;
	in->at = at + 1;
	return true;
}

static bool
ReadUnit(Scanner *in, uint8 *unit)
{
	if (!ReadChar(in, '"'))
		return false;
	for (int i = 0; i < (int) lengthof(unit_names); i++)
	{
		size_t		len = strlen(unit_names[i]);

		if (strncmp(in->at, unit_names[i], len) == 0 && in->at[len] == '"')
		{
			in->at += len + 1;
			*unit = (uint8) i;
			return true;
		}
	}
	return false;
}

static bool
ReadRfm(Scanner *in, rfm *s)
{
	int64		version;
	int			decimals[3];

	memset(s, 0, sizeof(rfm));
	if (!(ReadChar(in, '{') &&
		  ReadKey(in, "v") && ReadCount(in, &version) && version == RFM_VERSION && ReadChar(in, ',') &&
		  ReadKey(in, "unit") && ReadUnit(in, &s->unit) && ReadChar(in, ',') &&
		  ReadKey(in, "purchases") && ReadCount(in, &s->purchases) && ReadChar(in, ',') &&
		  ReadKey(in, "refunds") && ReadCount(in, &s->refunds) && ReadChar(in, ',') &&
		  ReadKey(in, "first_purchases") && ReadCount(in, &s->first_purchases) && ReadChar(in, ',') &&
		  ReadKey(in, "first") && ReadInstant(in, TIMESTAMP_INFINITY, &s->first) && ReadChar(in, ',') &&
		  ReadKey(in, "second") && ReadInstant(in, TIMESTAMP_INFINITY, &s->second) && ReadChar(in, ',') &&
		  ReadKey(in, "previous") && ReadInstant(in, TIMESTAMP_MINUS_INFINITY, &s->previous) && ReadChar(in, ',') &&
		  ReadKey(in, "last") && ReadInstant(in, TIMESTAMP_MINUS_INFINITY, &s->last) && ReadChar(in, ',') &&
		  ReadKey(in, "bought") && ReadAmount(in, &s->bought, &decimals[0]) && ReadChar(in, ',') &&
		  ReadKey(in, "refunded") && ReadAmount(in, &s->refunded, &decimals[1]) && ReadChar(in, ',') &&
		  ReadKey(in, "first_bought") && ReadAmount(in, &s->first_bought, &decimals[2]) && ReadChar(in, '}')))
		return false;
	SkipSpace(in);
	if (*in->at != '\0' || decimals[0] != decimals[1] || decimals[0] != decimals[2])
		return false;
	s->version = RFM_VERSION;
	s->decimals = (uint8) decimals[0];
	return true;
}

PG_FUNCTION_INFO_V1(loyalty_rfm_in);
/*
 * rfm_in(cstring) returns rfm
 *
 * Reads what rfm_out writes.  Anything else is refused (22P02): wrong keys or
 * order, differing decimals, values that no events can have led to.
 */
Datum
loyalty_rfm_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	Scanner		in = {text};
	rfm		   *s = palloc(sizeof(rfm));
	const char *problem;

	if (!ReadRfm(&in, s))
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "rfm", text),
				 errdetail("Not understood from position %d on.", (int) (in.at - text) + 1),
				 errhint("Build values with rfm_agg(at, amount); their text is JSON with fixed keys.")));
	problem = RfmProblem(s);
	if (problem != NULL)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid value for type %s: \"%s\"", "rfm", text),
				 errdetail("No events lead to it: %s.", problem),
				 errhint("Build values with rfm_agg(at, amount).")));
	PG_RETURN_RFM_P(s);
}

/* A sum in 16 bytes, high half first. */
void
RfmSendUnits(StringInfo buf, int128 units)
{
	pq_sendint64(buf, (int64) (units >> 64));
	pq_sendint64(buf, (int64) (uint64) units);
}

int128
RfmReceiveUnits(StringInfo buf)
{
	uint64		high = (uint64) pq_getmsgint64(buf);
	uint64		low = (uint64) pq_getmsgint64(buf);

	return (int128) (((uint128) high << 64) | low);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_send);
/*
 * rfm_send(rfm) returns bytea
 *
 * Version, unit and decimals as bytes; three counts, four instants and three
 * sums (two 64-bit halves each, high first) in network order.
 */
Datum
loyalty_rfm_send(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint8(&buf, s->version);
	pq_sendint8(&buf, s->unit);
	pq_sendint8(&buf, s->decimals);
	pq_sendint64(&buf, s->purchases);
	pq_sendint64(&buf, s->refunds);
	pq_sendint64(&buf, s->first_purchases);
	pq_sendint64(&buf, s->first);
	pq_sendint64(&buf, s->second);
	pq_sendint64(&buf, s->previous);
	pq_sendint64(&buf, s->last);
	RfmSendUnits(&buf, s->bought);
	RfmSendUnits(&buf, s->refunded);
	RfmSendUnits(&buf, s->first_bought);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(loyalty_rfm_recv);
/*
 * rfm_recv(internal) returns rfm
 *
 * Reads what rfm_send writes and refuses what no events can have led to
 * (22P03).
 */
Datum
loyalty_rfm_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	rfm		   *s = palloc0(sizeof(rfm));
	const char *problem;

	s->version = (uint8) pq_getmsgbyte(buf);
	if (s->version == RFM_VERSION)
	{
		s->unit = (uint8) pq_getmsgbyte(buf);
		s->decimals = (uint8) pq_getmsgbyte(buf);
		s->purchases = pq_getmsgint64(buf);
		s->refunds = pq_getmsgint64(buf);
		s->first_purchases = pq_getmsgint64(buf);
		s->first = pq_getmsgint64(buf);
		s->second = pq_getmsgint64(buf);
		s->previous = pq_getmsgint64(buf);
		s->last = pq_getmsgint64(buf);
		s->bought = RfmReceiveUnits(buf);
		s->refunded = RfmReceiveUnits(buf);
		s->first_bought = RfmReceiveUnits(buf);
	}
	problem = RfmProblem(s);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary value for type %s", "rfm"),
				 errdetail("No events lead to it: %s.", problem),
				 errhint("Send what rfm_send wrote.")));
	PG_RETURN_RFM_P(s);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_eq);
/*
 * rfm_eq(rfm, rfm) returns boolean: all that the two values hold is equal,
 * decimals included.
 */
Datum
loyalty_rfm_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(memcmp(PG_GETARG_RFM_P(0), PG_GETARG_RFM_P(1), sizeof(rfm)) == 0);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_ne);
/* rfm_ne(rfm, rfm) returns boolean: not rfm_eq. */
Datum
loyalty_rfm_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(memcmp(PG_GETARG_RFM_P(0), PG_GETARG_RFM_P(1), sizeof(rfm)) != 0);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_hash);
/* rfm_hash(rfm) returns integer, for hash joins, grouping and hash indexes. */
Datum
loyalty_rfm_hash(PG_FUNCTION_ARGS)
{
	return hash_any((unsigned char *) PG_GETARG_RFM_P(0), sizeof(rfm));
}

PG_FUNCTION_INFO_V1(loyalty_rfm_hash_extended);
/* rfm_hash_extended(rfm, bigint) returns bigint, for hash partitioning. */
Datum
loyalty_rfm_hash_extended(PG_FUNCTION_ARGS)
{
	return hash_any_extended((unsigned char *) PG_GETARG_RFM_P(0), sizeof(rfm), PG_GETARG_INT64(1));
}
