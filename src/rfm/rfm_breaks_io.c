/*
 * rfm_breaks_io.c
 *		The type rfm_breaks: stored form, text, binary, construction, reading.
 *
 * The text is JSON, so that it can be kept anywhere, read by people and cast
 * to jsonb:
 * {"v":1,"method":"quantile","monetary":"total","time_zone":"UTC",
 *  "bins":[5,5,5],"cuts":[[...],[...],[...]],"keys":null}
 * with cuts null for a method alone, a cut null where no member reaches it,
 * keys where ntile parted ties by them, and time_zone null where none was
 * named.
 */
#include "rfm/rfm_breaks.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "core/errors.h"

const char *const dimension_names[DIMENSIONS] = {"recency", "frequency", "monetary"};
static const char *const method_names[] = {"quantile", "ntile", "threshold", "rfmr", "mean"};
static const char *const method_list = "The methods are quantile, ntile, rfmr and mean; thresholds are given to rfm_thresholds.";

static int
CountCuts(const uint8 *bins)
{
	int			count = 0;

	for (int dim = 0; dim < DIMENSIONS; dim++)
		count += bins[dim] - 1;
	return count;
}

/* The stored form of b. */
StoredBreaks *
PackBreaks(const Breaks *b)
{
	StoredBreaks *stored;
	size_t		zone_size = b->zone_name == NULL ? 0 : strlen(b->zone_name);
	size_t		size = offsetof(StoredBreaks, values);
	int			n = 0;
	char	   *keys;
	uint32	   *key_sizes;

	for (int dim = 0; b->has_cuts && dim < DIMENSIONS; dim++)
		for (int i = 0; i < b->bins[dim] - 1; i++, n++)
			size += sizeof(double) + sizeof(uint32) + b->cuts[dim][i].key_size;
	size += zone_size;

	stored = palloc0(size);
	SET_VARSIZE(stored, size);
	stored->version = BREAKS_VERSION;
	stored->method = (uint8) b->method;
	stored->mean_reading = b->mean_reading;
	stored->has_cuts = b->has_cuts;
	stored->keyed = b->keyed;
	stored->zone_size = (uint8) zone_size;
	key_sizes = (uint32 *) &stored->values[n];
	keys = (char *) &key_sizes[n];
	n = 0;
	for (int dim = 0; dim < DIMENSIONS; dim++)
	{
		stored->bins[dim] = (uint8) b->bins[dim];
		for (int i = 0; b->has_cuts && i < b->bins[dim] - 1; i++, n++)
		{
			const Cut  *cut = &b->cuts[dim][i];

			/* one zero: that of the text form has no sign */
			stored->values[n] = cut->value == 0 ? 0 : cut->value;
			key_sizes[n] = (uint32) cut->key_size;
			memcpy(keys, cut->key, cut->key_size);
			keys += cut->key_size;
		}
	}
	if (zone_size > 0)
		memcpy(keys, b->zone_name, zone_size);
	return stored;
}

/* The value at work; it points into the stored form, which must stay. */
void
UnpackBreaks(const StoredBreaks *stored, Breaks *b)
{
	int			ncuts = stored->has_cuts ? CountCuts(stored->bins) : 0;
	const uint32 *key_sizes = (const uint32 *) &stored->values[ncuts];
	const char *keys = (const char *) &key_sizes[ncuts];
	int			n = 0;

	if (stored->version != BREAKS_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("rfm_breaks value has version %d, expected %d", stored->version, BREAKS_VERSION),
				 errhint("Install the version of the extension that wrote it, or find the cut points again.")));
	b->method = (BreaksMethod) stored->method;
	b->mean_reading = stored->mean_reading;
	b->has_cuts = stored->has_cuts;
	b->keyed = stored->keyed;
	for (int dim = 0; dim < DIMENSIONS; dim++)
	{
		b->bins[dim] = stored->bins[dim];
		for (int i = 0; stored->has_cuts && i < b->bins[dim] - 1; i++, n++)
		{
			b->cuts[dim][i].value = stored->values[n];
			b->cuts[dim][i].key = keys;
			b->cuts[dim][i].key_size = (int) key_sizes[n];
			keys += key_sizes[n];
		}
	}
	b->zone_name = stored->zone_size == 0 ? NULL : pnstrdup(keys, stored->zone_size);
	b->zone = b->zone_name == NULL ? NULL : RfmFindZone(cstring_to_text(b->zone_name));
}

/* What is wrong with b, or NULL. */
static const char *
BreaksProblem(const Breaks *b)
{
	for (int dim = 0; dim < DIMENSIONS; dim++)
	{
		bool		falling = dim == DIM_RECENCY && RecencyCutsFall(b->method);

		if (b->bins[dim] < MIN_BINS || b->bins[dim] > MAX_BINS)
			return "there must be 2 to 10 bins";
		if (b->method == METHOD_MEAN && b->bins[dim] != 2)
			return "the mean makes 2 bins";
		for (int i = 0; b->has_cuts && i < b->bins[dim] - 1; i++)
		{
			double		value = b->cuts[dim][i].value;

			if (isnan(value))
				return "a cut point is no number";
			if (isinf(value) && (b->method != METHOD_NTILE || (value < 0) != falling))
				return "a cut point is infinite";
			if (i > 0 && (falling ? value > b->cuts[dim][i - 1].value : value < b->cuts[dim][i - 1].value))
				return "the cut points are out of order";
		}
	}
	if (b->keyed && b->method != METHOD_NTILE)
		return "only cut points of ntile have keys";
	if (!b->has_cuts && b->method == METHOD_THRESHOLD)
		return "thresholds are missing";
	return NULL;
}

static void
CheckBreaks(const Breaks *b)
{
	const char *problem = BreaksProblem(b);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_BREAKS),
				 errmsg("unusable breaks: %s", problem),
				 errdetail("Cut points part the members into bins."),
				 errhint("Use 2 to 10 bins, and finite cut points in rising order.")));
}

static bool
FindMethod(const char *name, size_t size, BreaksMethod *method)
{
	for (int i = 0; i <= METHOD_LAST; i++)
		if (strlen(method_names[i]) == size && strncmp(method_names[i], name, size) == 0)
		{
			*method = (BreaksMethod) i;
			return true;
		}
	return false;
}

/* total or mean */
static bool
ReadingIsMean(text *reading)
{
	char	   *name = text_to_cstring(reading);

	if (strcmp(name, "mean") == 0)
		return true;
	if (strcmp(name, "total") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_BREAKS),
				 errmsg("unknown reading of monetary \"%s\"", name),
				 errdetail("Monetary is the total of a member's amounts, or their mean for each purchase."),
				 errhint("Use total or mean.")));
	return false;
}

/* The name of a time zone that exists; LY003 otherwise. */
static char *
KnownZone(text *name)
{
	(void) RfmFindZone(name);
	return text_to_cstring(name);
}

/* A method with the same number of bins for all, not checked yet. */
static void
InitMethod(Breaks *b, BreaksMethod method, int bins)
{
	memset(b, 0, sizeof(Breaks));
	b->method = method;
	for (int dim = 0; dim < DIMENSIONS; dim++)
		b->bins[dim] = bins;
}

PG_FUNCTION_INFO_V1(loyalty_rfm_method);
/*
 * rfm_method(method text DEFAULT 'quantile', bins integer DEFAULT NULL,
 *			  monetary text DEFAULT 'total', time_zone text DEFAULT NULL) returns rfm_breaks
 *
 * A method for rfm_breaks, without cut points yet.  bins: 2 to 10, by default 5
 * (mean: always 2).  monetary: total, or mean for each purchase.  time_zone:
 * whose clock counts the days; NULL is UTC, where it is instants that are
 * counted.  LY303 on anything else, LY003 on an unknown zone.
 */
Datum
loyalty_rfm_method(PG_FUNCTION_ARGS)
{
	Breaks		b;
	char	   *name;
	BreaksMethod method;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("method and monetary must not be null"),
				 errdetail("They have the defaults quantile and total."),
				 errhint("Leave out what should have its default.")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!FindMethod(name, strlen(name), &method) || method == METHOD_THRESHOLD)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_BREAKS),
				 errmsg("unknown method \"%s\"", name),
				 errdetail("%s", method_list),
				 errhint("Make one with rfm_method(), or give one of these names.")));
	InitMethod(&b, method, PG_ARGISNULL(1) ? (method == METHOD_MEAN ? 2 : 5) : PG_GETARG_INT32(1));
	b.mean_reading = ReadingIsMean(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(3))
		b.zone_name = KnownZone(PG_GETARG_TEXT_PP(3));
	CheckBreaks(&b);
	PG_RETURN_POINTER(PackBreaks(&b));
}

/* Takes a dimension's cut points from an array. */
static void
TakeThresholds(Breaks *b, Dimension dim, ArrayType *array)
{
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) != 1 || n < MIN_BINS - 1 || n > MAX_CUTS || array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_BREAKS),
				 errmsg("thresholds of %s must be 1 to 9 numbers", dimension_names[dim]),
				 errdetail("Each is the lower bound of a bin."),
				 errhint("Pass the lower bounds of all bins but the first, in rising order.")));
	b->bins[dim] = n + 1;
	for (int i = 0; i < n; i++)
	{
		b->cuts[dim][i].value = ((float8 *) ARR_DATA_PTR(array))[i];
		b->cuts[dim][i].key = "";
	}
}

PG_FUNCTION_INFO_V1(loyalty_rfm_thresholds);
/*
 * rfm_thresholds(recency double precision[], frequency double precision[],
 *				  monetary double precision[], reading text DEFAULT 'total',
 *				  time_zone text DEFAULT NULL) returns rfm_breaks
 *
 * Breaks with given cut points, ready for rfm_score: n numbers, rising, make
 * n + 1 bins; a value equal to a cut belongs to the bin above.  Days, purchases
 * and amounts.  LY303 unless they are 1 to 9 finite numbers in rising order;
 * NULL when one of the first four is.
 */
Datum
loyalty_rfm_thresholds(PG_FUNCTION_ARGS)
{
	Breaks		b;

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	InitMethod(&b, METHOD_THRESHOLD, MIN_BINS);
	b.has_cuts = true;
	for (Dimension dim = DIM_RECENCY; dim < DIMENSIONS; dim++)
		TakeThresholds(&b, dim, PG_GETARG_ARRAYTYPE_P(dim));
	b.mean_reading = ReadingIsMean(PG_GETARG_TEXT_PP(3));
	if (!PG_ARGISNULL(4))
		b.zone_name = KnownZone(PG_GETARG_TEXT_PP(4));
	CheckBreaks(&b);
	PG_RETURN_POINTER(PackBreaks(&b));
}

PG_FUNCTION_INFO_V1(loyalty_rfm_cuts);
/*
 * rfm_cuts(breaks rfm_breaks, dimension text) returns double precision[]
 *
 * The cut points of recency, frequency or monetary, from score to score, with
 * infinity where no member reaches a bin; NULL for a method alone.
 */
Datum
loyalty_rfm_cuts(PG_FUNCTION_ARGS)
{
	Breaks		b;
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum		values[MAX_CUTS];

	UnpackBreaks((StoredBreaks *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0)), &b);
	for (int dim = 0; dim < DIMENSIONS; dim++)
	{
		if (strcmp(name, dimension_names[dim]) != 0)
			continue;
		if (!b.has_cuts)
			PG_RETURN_NULL();
		for (int i = 0; i < b.bins[dim] - 1; i++)
			values[i] = Float8GetDatum(b.cuts[dim][i].value);
		PG_RETURN_ARRAYTYPE_P(construct_array(values, b.bins[dim] - 1, FLOAT8OID, sizeof(float8),
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("unknown dimension \"%s\"", name),
			 errdetail("Members are scored in three dimensions."),
			 errhint("Use recency, frequency or monetary.")));
}

/* Appends the cuts, or their keys, as an array of three arrays. */
static void
AppendCuts(StringInfo buf, const Breaks *b, bool keys)
{
	appendStringInfoChar(buf, '[');
	for (int dim = 0; dim < DIMENSIONS; dim++)
	{
		appendStringInfoString(buf, dim > 0 ? ",[" : "[");
		for (int i = 0; i < b->bins[dim] - 1; i++)
		{
			const Cut  *cut = &b->cuts[dim][i];
			char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

			if (i > 0)
				appendStringInfoChar(buf, ',');
			if (keys)
				escape_json(buf, pnstrdup(cut->key, cut->key_size));
			else if (isinf(cut->value))
				appendStringInfoString(buf, "null");
			else
			{
				double_to_shortest_decimal_buf(cut->value, text);
				appendStringInfoString(buf, text);
			}
		}
		appendStringInfoChar(buf, ']');
	}
	appendStringInfoChar(buf, ']');
}

static char *
BreaksToText(const StoredBreaks *stored)
{
	Breaks		b;
	StringInfoData buf;

	UnpackBreaks(stored, &b);
	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"v\":%d,\"method\":\"%s\",\"monetary\":\"%s\",\"time_zone\":",
					 BREAKS_VERSION, method_names[b.method], b.mean_reading ? "mean" : "total");
	if (b.zone_name == NULL)
		appendStringInfoString(&buf, "null");
	else
		escape_json(&buf, b.zone_name);
	appendStringInfo(&buf, ",\"bins\":[%d,%d,%d],\"cuts\":", b.bins[0], b.bins[1], b.bins[2]);
	if (b.has_cuts)
		AppendCuts(&buf, &b, false);
	else
		appendStringInfoString(&buf, "null");
	appendStringInfoString(&buf, ",\"keys\":");
	if (b.keyed)
		AppendCuts(&buf, &b, true);
	else
		appendStringInfoString(&buf, "null");
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_out);
/* rfm_breaks_out(rfm_breaks) returns cstring: the JSON above. */
Datum
loyalty_rfm_breaks_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(BreaksToText((StoredBreaks *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0))));
}

/* Field of an object, or element of an array; false when it is of another kind. */
static bool
GetField(JsonbContainer *object, const char *name, enum jbvType type, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, name, (int) strlen(name), value) != NULL &&
		value->type == type;
}

static JsonbContainer *
GetArray(JsonbContainer *array, int i, int size)
{
	JsonbValue *value = getIthJsonbValueFromContainer(array, i);

	if (value == NULL || value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		(int) JsonContainerSize(value->val.binary.data) != size)
		return NULL;
	return value->val.binary.data;
}

static bool
GetInteger(const JsonbValue *value, int least, int most, int *result)
{
	double		number;

	if (value->type != jbvNumeric)
		return false;
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (!(number >= least && number <= most) || number != floor(number))
		return false;
	*result = (int) number;
	return true;
}

/* Reads the cuts, or the keys, of all dimensions. */
static bool
ReadCuts(Breaks *b, JsonbContainer *all, bool keys)
{
	if (!JsonContainerIsArray(all) || JsonContainerSize(all) != DIMENSIONS)
		return false;
	for (int dim = 0; dim < DIMENSIONS; dim++)
	{
		JsonbContainer *list = GetArray(all, dim, b->bins[dim] - 1);

		if (list == NULL)
			return false;
		for (int i = 0; i < b->bins[dim] - 1; i++)
		{
			JsonbValue *value = getIthJsonbValueFromContainer(list, i);
			Cut		   *cut = &b->cuts[dim][i];

			if (keys)
			{
				if (value->type != jbvString)
					return false;
				cut->key = value->val.string.val;
				cut->key_size = value->val.string.len;
			}
			else
			{
				cut->key = "";
				if (value->type == jbvNumeric)
					cut->value = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
																	NumericGetDatum(value->val.numeric)));
				else if (value->type == jbvNull)
					cut->value = dim == DIM_RECENCY ? -get_float8_infinity() : get_float8_infinity();
				else
					return false;
			}
		}
	}
	return true;
}

/* Reads the JSON form; false when it is none. */
static bool
ReadJson(Breaks *b, JsonbContainer *root)
{
	JsonbValue	value;
	int			number;

	memset(b, 0, sizeof(Breaks));
	if (!JsonContainerIsObject(root) || JsonContainerSize(root) != 7 ||
		!GetField(root, "v", jbvNumeric, &value) || !GetInteger(&value, BREAKS_VERSION, BREAKS_VERSION, &number) ||
		!GetField(root, "method", jbvString, &value) ||
		!FindMethod(value.val.string.val, value.val.string.len, &b->method) ||
		!GetField(root, "monetary", jbvString, &value))
		return false;
	b->mean_reading = value.val.string.len == 4 && memcmp(value.val.string.val, "mean", 4) == 0;
	if (!b->mean_reading && !(value.val.string.len == 5 && memcmp(value.val.string.val, "total", 5) == 0))
		return false;
	if (GetField(root, "time_zone", jbvString, &value))
		b->zone_name = pnstrdup(value.val.string.val, value.val.string.len);
	else if (!GetField(root, "time_zone", jbvNull, &value))
		return false;
	if (!GetField(root, "bins", jbvBinary, &value) || !JsonContainerIsArray(value.val.binary.data) ||
		JsonContainerSize(value.val.binary.data) != DIMENSIONS)
		return false;
	for (int dim = 0; dim < DIMENSIONS; dim++)
		if (!GetInteger(getIthJsonbValueFromContainer(value.val.binary.data, dim), MIN_BINS, MAX_BINS, &b->bins[dim]))
			return false;

	if (GetField(root, "cuts", jbvBinary, &value))
	{
		b->has_cuts = true;
		if (!ReadCuts(b, value.val.binary.data, false))
			return false;
	}
	else if (!GetField(root, "cuts", jbvNull, &value))
		return false;
	if (GetField(root, "keys", jbvBinary, &value))
	{
		b->keyed = true;
		return b->has_cuts && ReadCuts(b, value.val.binary.data, true);
	}
	return GetField(root, "keys", jbvNull, &value);
}

/* Reads the short form: a method's name, with the number of bins in brackets. */
static bool
ReadShort(Breaks *b, const char *text)
{
	size_t		size = strcspn(text, "(");
	BreaksMethod method;
	int			bins;

	if (!FindMethod(text, size, &method) || method == METHOD_THRESHOLD)
		return false;
	bins = method == METHOD_MEAN ? 2 : 5;
	if (text[size] == '(')
	{
		char	   *end;

		if (text[size + 1] < '0' || text[size + 1] > '9')
			return false;
		bins = (int) strtol(text + size + 1, &end, 10);
		if (strcmp(end, ")") != 0)
			return false;
	}
	InitMethod(b, method, bins);
	return true;
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_in);
/*
 * rfm_breaks_in(cstring) returns rfm_breaks
 *
 * Reads what rfm_breaks_out writes, and as a short form the name of a method
 * with the number of bins in brackets: quantile, ntile(10).  Anything else is
 * refused (22P02).
 */
Datum
loyalty_rfm_breaks_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	Breaks		b;
	bool		understood;
	const char *problem;

	if (text[strspn(text, " \t\r\n")] == '{')
	{
		Datum		json;

		if (!LY_INPUT_CALL(jsonb_in, text, LY_ESCONTEXT(fcinfo), &json))
			PG_RETURN_NULL();
		understood = ReadJson(&b, &DatumGetJsonbP(json)->root);
	}
	else
		understood = ReadShort(&b, text);

	if (!understood)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "rfm_breaks", text),
				 errhint("Use rfm_method() or rfm_thresholds(), or a method's name such as quantile or ntile(10).")));
	problem = BreaksProblem(&b);
	if (problem == NULL && b.zone_name != NULL && pg_strcasecmp(b.zone_name, "UTC") != 0 &&
		(strlen(b.zone_name) > TZ_STRLEN_MAX || pg_tzset(b.zone_name) == NULL))
		problem = "the time zone is unknown";
	if (problem != NULL)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid value for type %s: \"%s\"", "rfm_breaks", text),
				 errdetail("Unusable: %s.", problem)));
	PG_RETURN_POINTER(PackBreaks(&b));
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_send);
/* rfm_breaks_send(rfm_breaks) returns bytea: a version byte and the JSON text. */
Datum
loyalty_rfm_breaks_send(PG_FUNCTION_ARGS)
{
	char	   *text = BreaksToText((StoredBreaks *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0)));
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint8(&buf, BREAKS_VERSION);
	pq_sendtext(&buf, text, (int) strlen(text));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(loyalty_rfm_breaks_recv);
/* rfm_breaks_recv(internal) returns rfm_breaks: reads what rfm_breaks_send wrote. */
Datum
loyalty_rfm_breaks_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgbyte(buf);
	int			size;
	char	   *text;

	if (version != BREAKS_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("unknown binary version %d of type %s", version, "rfm_breaks")));
	text = pq_getmsgtext(buf, buf->len - buf->cursor, &size);
	return DirectFunctionCall1(loyalty_rfm_breaks_in, CStringGetDatum(text));
}
