/*
 * uplift_io.c
 *		Text and binary form of the type uplift.
 *
 * The text is one JSON object with fixed keys in a fixed order:
 *
 *	{"v":1,"kind":"amount","decimals":2,"before_decimals":0,
 *	 "arms":[[members,sum,before,squares,before_squares,products],...]}
 *
 * on one line; all sums are whole numbers of the finest unit.  Input takes just
 * that and checks the invariant.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "utils/builtins.h"

#include "core/errors.h"
#include "trial/trial.h"

static const char *const kind_names[] = {NULL, "share", "amount", "cuped"};

/*
 * A stored value; errors out on one that another version of the extension wrote.
 */
Uplift *
GetUplift(Datum d)
{
	Uplift	   *u = (Uplift *) PG_DETOAST_DATUM(d);

	if (unlikely(VARSIZE(u) < UPLIFT_SIZE(1) || u->version != UPLIFT_VERSION))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("uplift value has version %d, expected %d", u->version, UPLIFT_VERSION),
				 errhint("Install the version of the extension that wrote it, or build the value again.")));
	Assert(UpliftProblem(u) == NULL);
	return u;
}

/* A sum of 128 bits as one of 256, for which there is a text form. */
static Wide
Widened(int128 number)
{
	Wide		wide;

	wide.part[0] = (uint64) number;
	wide.part[1] = (uint64) (number >> 64);
	wide.part[2] = wide.part[3] = number < 0 ? PG_UINT64_MAX : 0;
	return wide;
}

static void
AppendWide(StringInfo buf, char before, const Wide *number)
{
	char		text[80];

	WideToText(number, text);
	appendStringInfo(buf, "%c%s", before, text);
}

/*
 * uplift_out(uplift) returns cstring
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_out);
Datum
loyalty_uplift_out(PG_FUNCTION_ARGS)
{
	Uplift	   *u = PG_GETARG_UPLIFT(0);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"v\":%d,\"kind\":\"%s\",\"decimals\":%d,\"before_decimals\":%d,\"arms\":",
					 u->version, kind_names[u->kind], u->decimals, u->before_decimals);
	for (int i = 0; i < u->narms; i++)
	{
		const UpliftArm *a = &u->arms[i];
		Wide		members = Widened(a->members);
		Wide		sum = Widened(a->sum);
		Wide		before = Widened(a->before);

		appendStringInfoChar(&buf, i == 0 ? '[' : ',');
		AppendWide(&buf, '[', &members);
		AppendWide(&buf, ',', &sum);
		AppendWide(&buf, ',', &before);
		AppendWide(&buf, ',', &a->squares);
		AppendWide(&buf, ',', &a->before_squares);
		AppendWide(&buf, ',', &a->products);
		appendStringInfoChar(&buf, ']');
	}
	appendStringInfoString(&buf, "]}");
	PG_RETURN_CSTRING(buf.data);
}

static bool
ReadWord(const char **at, const char *word)
{
	size_t		length = strlen(word);

	if (strncmp(*at, word, length) != 0)
		return false;
	*at += length;
	return true;
}

/* A number that fits into 128 bits. */
static bool
ReadNumber(const char **at, int128 *number)
{
	Wide		wide;
	Wide		same;

	if (!WideFromText(at, &wide))
		return false;
	*number = (int128) ((uint128) wide.part[1] << 64 | wide.part[0]);
	same = Widened(*number);
	return memcmp(&wide, &same, sizeof(Wide)) == 0;
}

static bool
ReadSmall(const char **at, int most, uint8 *number)
{
	int128		value;

	if (!ReadNumber(at, &value) || value < 0 || value > most)
		return false;
	*number = (uint8) value;
	return true;
}

static bool
ReadArm(const char **at, UpliftArm *a)
{
	int128		members;

	if (!ReadWord(at, "[") || !ReadNumber(at, &members) || members != (int64) members ||
		!ReadWord(at, ",") || !ReadNumber(at, &a->sum) ||
		!ReadWord(at, ",") || !ReadNumber(at, &a->before) ||
		!ReadWord(at, ",") || !WideFromText(at, &a->squares) ||
		!ReadWord(at, ",") || !WideFromText(at, &a->before_squares) ||
		!ReadWord(at, ",") || !WideFromText(at, &a->products) || !ReadWord(at, "]"))
		return false;
	a->members = (int64) members;
	return true;
}

/* Reads a value; NULL: it is something else, from there on. */
static Uplift *
ReadUplift(const char **at)
{
	Uplift	   *u = MakeUplift(UPLIFT_SHARE, TRIAL_MAX_ARMS);
	int			narms = 0;

	if (!ReadWord(at, "{\"v\":1,\"kind\":\""))
		return NULL;
	for (u->kind = UPLIFT_SHARE; !ReadWord(at, kind_names[u->kind]); u->kind++)
		if (u->kind == UPLIFT_CUPED)
			return NULL;
	if (!ReadWord(at, "\",\"decimals\":") || !ReadSmall(at, RFM_MAX_DECIMALS, &u->decimals) ||
		!ReadWord(at, ",\"before_decimals\":") || !ReadSmall(at, RFM_MAX_DECIMALS, &u->before_decimals) ||
		!ReadWord(at, ",\"arms\":["))
		return NULL;
	do
	{
		if (narms == TRIAL_MAX_ARMS || !ReadArm(at, &u->arms[narms++]))
			return NULL;
	} while (ReadWord(at, ","));
	if (!ReadWord(at, "]}") || **at != '\0')
		return NULL;
	u->narms = narms;
	SET_VARSIZE(u, UPLIFT_SIZE(narms));
	return u;
}

/*
 * uplift_in(cstring) returns uplift
 *		Reads what uplift_out writes.  Anything else is refused (22P02), and so
 *		is what no members can have led to.
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_in);
Datum
loyalty_uplift_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	const char *at = text;
	Uplift	   *u = ReadUplift(&at);
	const char *problem;

	if (u == NULL)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "uplift", text),
				 errdetail("Not understood from position %d on.", (int) (at - text) + 1),
				 errhint("Build values with uplift_agg() and its kin; their text is JSON with fixed keys.")));
	problem = UpliftProblem(u);
	if (problem != NULL)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid value for type %s: \"%s\"", "uplift", text),
				 errdetail("No members lead to it: %s.", problem),
				 errhint("Build values with uplift_agg() and its kin.")));
	PG_RETURN_POINTER(u);
}

static void
SendWide(StringInfo buf, const Wide *number)
{
	for (int i = 3; i >= 0; i--)
		pq_sendint64(buf, (int64) number->part[i]);
}

static void
ReceiveWide(StringInfo buf, Wide *number)
{
	for (int i = 3; i >= 0; i--)
		number->part[i] = (uint64) pq_getmsgint64(buf);
}

/*
 * uplift_send(uplift) returns bytea
 *		Version, kind, two decimals and the number of arms as bytes; of each arm
 *		a count and five sums, in network order.
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_send);
Datum
loyalty_uplift_send(PG_FUNCTION_ARGS)
{
	Uplift	   *u = PG_GETARG_UPLIFT(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint8(&buf, u->version);
	pq_sendint8(&buf, u->kind);
	pq_sendint8(&buf, u->decimals);
	pq_sendint8(&buf, u->before_decimals);
	pq_sendint8(&buf, (uint8) u->narms);
	for (int i = 0; i < u->narms; i++)
	{
		const UpliftArm *a = &u->arms[i];

		pq_sendint64(&buf, a->members);
		RfmSendUnits(&buf, a->sum);
		RfmSendUnits(&buf, a->before);
		SendWide(&buf, &a->squares);
		SendWide(&buf, &a->before_squares);
		SendWide(&buf, &a->products);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * uplift_recv(internal) returns uplift
 *		Reads what uplift_send writes and refuses what no members can have led
 *		to (22P03).
 */
PG_FUNCTION_INFO_V1(loyalty_uplift_recv);
Datum
loyalty_uplift_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgbyte(buf);
	int			kind = pq_getmsgbyte(buf);
	int			decimals = pq_getmsgbyte(buf);
	int			before_decimals = pq_getmsgbyte(buf);
	int			narms = pq_getmsgbyte(buf);
	Uplift	   *u = MakeUplift((UpliftKind) kind, Min(narms, TRIAL_MAX_ARMS));
	const char *problem;

	u->version = (uint8) version;
	u->decimals = (uint8) decimals;
	u->before_decimals = (uint8) before_decimals;
	for (int i = 0; i < u->narms; i++)
	{
		UpliftArm  *a = &u->arms[i];

		a->members = pq_getmsgint64(buf);
		a->sum = RfmReceiveUnits(buf);
		a->before = RfmReceiveUnits(buf);
		ReceiveWide(buf, &a->squares);
		ReceiveWide(buf, &a->before_squares);
		ReceiveWide(buf, &a->products);
	}
	problem = narms > TRIAL_MAX_ARMS ? "it has more than 64 arms" : UpliftProblem(u);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary value for type %s", "uplift"),
				 errdetail("No members lead to it: %s.", problem),
				 errhint("Send what uplift_send wrote.")));
	PG_RETURN_POINTER(u);
}
