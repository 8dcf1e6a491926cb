/*
 * clv_value.c
 *		The type clv_model: text, binary form, checks, and what it tells.
 *
 * The text is one JSON object, so a model casts to jsonb and back; the order of
 * keys and unknown keys do not matter on the way in.
 */
#include "clv/clv.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/jsonb.h"

#include "core/errors.h"

const char *const clv_kind_name[CLV_KINDS + 1] = {NULL, "bg/nbd", "mbg/nbd", "pareto/nbd"};
const char *const clv_status_name[] = {
	"converged", "boundary", "not_converged", "too_few", "given"
};

/*
 * A model with nothing in it yet: numbers NaN, both parts "too_few".
 */
ClvModel *
ClvNewModel(void)
{
	ClvModel   *model = palloc0(sizeof(ClvModel));

	SET_VARSIZE(model, sizeof(ClvModel));
	model->version = CLV_MODEL_VERSION;
	model->kind = CLV_BG_NBD;
	model->status = CLV_TOO_FEW;
	model->spend_status = CLV_TOO_FEW;
	model->unit_days = 7.0;
	for (int i = 0; i < CLV_COUNT_PARAMS; i++)
		model->theta[i] = model->std_err[i] = get_float8_nan();
	for (int i = 0; i < CLV_SPEND_PARAMS; i++)
		model->spend[i] = model->spend_std_err[i] = get_float8_nan();
	model->loglik = model->spend_loglik = get_float8_nan();
	return model;
}

/* All or none of the numbers are there, those that are are finite and > 0. */
static bool
GoodParameters(const double *value, int n)
{
	int			present = 0;

	for (int i = 0; i < n; i++)
	{
		if (isnan(value[i]))
			continue;
		if (!isfinite(value[i]) || !(value[i] > 0.0))
			return false;
		present++;
	}
	return present == 0 || present == n;
}

/*
 * What is wrong with a model that came from outside; NULL if nothing.
 */
const char *
ClvModelProblem(const ClvModel *model)
{
	if (model->kind < CLV_BG_NBD || model->kind > CLV_PARETO_NBD)
		return "the model is none of bg/nbd, mbg/nbd, pareto/nbd";
	if (model->status > CLV_GIVEN || model->spend_status > CLV_GIVEN)
		return "the status is unknown";
	if (!(model->unit_days > 0.0) || !isfinite(model->unit_days))
		return "unit_days is not above zero";
	if (model->members < 0 || model->repeaters < 0 || model->spenders < 0 ||
		model->iterations < 0 || model->spend_iterations < 0)
		return "a count is negative";
	if (!GoodParameters(model->theta, CLV_COUNT_PARAMS))
		return "a parameter is missing or not above zero";
	if (!GoodParameters(model->spend, CLV_SPEND_PARAMS))
		return "a parameter of spend is missing or not above zero";
	for (int i = 0; i < CLV_COUNT_PARAMS; i++)
	{
		if (isinf(model->std_err[i]) || model->std_err[i] < 0.0)
			return "a standard error is negative or infinite";
	}
	for (int i = 0; i < CLV_SPEND_PARAMS; i++)
	{
		if (isinf(model->spend_std_err[i]) || model->spend_std_err[i] < 0.0)
			return "a standard error is negative or infinite";
	}
	if (isinf(model->loglik) || isinf(model->spend_loglik))
		return "a log-likelihood is infinite";
	return NULL;
}

/*
 * The gate of every stored model: errors out on one that another version of
 * the extension wrote; checks the invariant in builds with assertions.
 */
ClvModel *
ClvCheckModel(ClvModel *model)
{
	if (model->version != CLV_MODEL_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("clv_model value has version %d, expected %d", model->version, CLV_MODEL_VERSION),
				 errhint("Install the version of the extension that wrote it, or fit again.")));
	Assert(ClvModelProblem(model) == NULL);
	return model;
}

/*
 * The kind of model that a user named; errors out (LY003) on any other name.
 */
ClvKind
ClvParseKind(text *name)
{
	for (int i = 1; i <= CLV_KINDS; i++)
	{
		if (VARSIZE_ANY_EXHDR(name) == strlen(clv_kind_name[i]) &&
			pg_strncasecmp(VARDATA_ANY(name), clv_kind_name[i], strlen(clv_kind_name[i])) == 0)
			return (ClvKind) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("unknown model \"%s\"", text_to_cstring(name)),
			 errdetail("Known are bg/nbd, mbg/nbd and pareto/nbd."),
			 errhint("Pass model => 'bg/nbd'.")));
}

/*
 * A unit of time, in days, that a user gave; errors out (LY003) unless it is
 * between a second and a thousand years.
 */
void
ClvCheckUnitDays(double unit_days)
{
	if (!(unit_days >= 1.0 / 86400.0 && unit_days <= 365250.0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("unit_days must be between a second and a thousand years, not %g", unit_days),
				 errdetail("It is the unit of time of the parameters alpha and beta, in days."),
				 errhint("Pass unit_days => 7 for weeks, the usual unit, or 1 for days.")));
}

/* "key":number, with null for NaN */
static void
AppendNumber(StringInfo buf, const char *separator, const char *key, double value)
{
	char		number[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(value))
		strcpy(number, "null");
	else
		double_to_shortest_decimal_buf(value, number);
	appendStringInfo(buf, "%s\"%s\":%s", separator, key, number);
}

static void
AppendNumbers(StringInfo buf, const char *key, const char *const *names, const double *values, int n)
{
	appendStringInfo(buf, ",\"%s\":{", key);
	for (int i = 0; i < n; i++)
		AppendNumber(buf, i > 0 ? "," : "", names[i], values[i]);
	appendStringInfoChar(buf, '}');
}

PG_FUNCTION_INFO_V1(loyalty_clv_model_out);
/*
 * clv_model_out(clv_model) returns cstring: one JSON object on one line.
 */
Datum
loyalty_clv_model_out(PG_FUNCTION_ARGS)
{
	ClvModel   *m = PG_GETARG_CLV_MODEL_P(0);
	const char *const *names = clv_count_param[m->kind];
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"v\":%d,\"model\":\"%s\"", m->version, clv_kind_name[m->kind]);
	AppendNumber(&buf, ",", "unit_days", m->unit_days);
	appendStringInfo(&buf, ",\"status\":\"%s\",\"iterations\":%d", clv_status_name[m->status], m->iterations);
	appendStringInfo(&buf, ",\"members\":" INT64_FORMAT ",\"repeat_members\":" INT64_FORMAT,
					 m->members, m->repeaters);
	AppendNumbers(&buf, "parameters", names, m->theta, CLV_COUNT_PARAMS);
	AppendNumbers(&buf, "std_errors", names, m->std_err, CLV_COUNT_PARAMS);
	AppendNumber(&buf, ",", "loglik", m->loglik);
	appendStringInfo(&buf, ",\"spend_status\":\"%s\",\"spend_iterations\":%d,\"spend_members\":" INT64_FORMAT,
					 clv_status_name[m->spend_status], m->spend_iterations, m->spenders);
	AppendNumbers(&buf, "spend_parameters", clv_spend_param, m->spend, CLV_SPEND_PARAMS);
	AppendNumbers(&buf, "spend_std_errors", clv_spend_param, m->spend_std_err, CLV_SPEND_PARAMS);
	AppendNumber(&buf, ",", "spend_loglik", m->spend_loglik);
	appendStringInfoChar(&buf, '}');
	PG_RETURN_CSTRING(buf.data);
}

/* Looks a key up; false where it is missing or of another type. */
static bool
FindKey(JsonbContainer *object, const char *key, enum jbvType type, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, key, strlen(key), value) != NULL && value->type == type;
}

static bool
ReadNumber(JsonbContainer *object, const char *key, double *number)
{
	JsonbValue	value;

	if (FindKey(object, key, jbvNull, &value))
	{
		*number = get_float8_nan();
		return true;
	}
	if (!FindKey(object, key, jbvNumeric, &value))
		return false;
	*number = strtod(DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric))), NULL);
	return true;
}

static bool
ReadCount(JsonbContainer *object, const char *key, int64 most, int64 *count)
{
	double		number;

	if (!ReadNumber(object, key, &number) || !(number >= 0.0 && number <= (double) most) || number != floor(number))
		return false;
	*count = (int64) number;
	return true;
}

static bool
ReadName(JsonbContainer *object, const char *key, const char *const *names, int n, uint8 *which)
{
	JsonbValue	value;

	if (!FindKey(object, key, jbvString, &value))
		return false;
	for (int i = 0; i < n; i++)
	{
		if (names[i] != NULL && (size_t) value.val.string.len == strlen(names[i]) &&
			memcmp(value.val.string.val, names[i], value.val.string.len) == 0)
		{
			*which = (uint8) i;
			return true;
		}
	}
	return false;
}

static bool
ReadNumbers(JsonbContainer *object, const char *key, const char *const *names, double *values, int n)
{
	JsonbValue	value;

	if (!FindKey(object, key, jbvBinary, &value) || !JsonContainerIsObject(value.val.binary.data))
		return false;
	for (int i = 0; i < n; i++)
	{
		if (!ReadNumber(value.val.binary.data, names[i], &values[i]))
			return false;
	}
	return true;
}

/* Reads a model; returns the key that is missing or wrong, or NULL. */
static const char *
ReadModel(JsonbContainer *object, ClvModel *m)
{
	/* counts in JSON are exact up to here */
	const int64 most = INT64CONST(1) << 53;
	const char *const *names;
	int64		count;

	if (!JsonContainerIsObject(object) ||
		!ReadCount(object, "v", CLV_MODEL_VERSION, &count) || count != CLV_MODEL_VERSION)
		return "v";
	if (!ReadName(object, "model", clv_kind_name, lengthof(clv_kind_name), &m->kind))
		return "model";
	names = clv_count_param[m->kind];
	if (!ReadNumber(object, "unit_days", &m->unit_days))
		return "unit_days";
	if (!ReadName(object, "status", clv_status_name, lengthof(clv_status_name), &m->status))
		return "status";
	if (!ReadCount(object, "iterations", PG_INT32_MAX, &count))
		return "iterations";
	m->iterations = (int32) count;
	if (!ReadCount(object, "members", most, &m->members))
		return "members";
	if (!ReadCount(object, "repeat_members", most, &m->repeaters))
		return "repeat_members";
	if (!ReadNumbers(object, "parameters", names, m->theta, CLV_COUNT_PARAMS))
		return "parameters";
	if (!ReadNumbers(object, "std_errors", names, m->std_err, CLV_COUNT_PARAMS))
		return "std_errors";
	if (!ReadNumber(object, "loglik", &m->loglik))
		return "loglik";
	if (!ReadName(object, "spend_status", clv_status_name, lengthof(clv_status_name), &m->spend_status))
		return "spend_status";
	if (!ReadCount(object, "spend_iterations", PG_INT32_MAX, &count))
		return "spend_iterations";
	m->spend_iterations = (int32) count;
	if (!ReadCount(object, "spend_members", most, &m->spenders))
		return "spend_members";
	if (!ReadNumbers(object, "spend_parameters", clv_spend_param, m->spend, CLV_SPEND_PARAMS))
		return "spend_parameters";
	if (!ReadNumbers(object, "spend_std_errors", clv_spend_param, m->spend_std_err, CLV_SPEND_PARAMS))
		return "spend_std_errors";
	if (!ReadNumber(object, "spend_loglik", &m->spend_loglik))
		return "spend_loglik";
	return NULL;
}

PG_FUNCTION_INFO_V1(loyalty_clv_model_in);
/*
 * clv_model_in(cstring) returns clv_model: reads what clv_model_out writes, keys
 * in any order; refuses (22P02) anything else.
 */
Datum
loyalty_clv_model_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	ClvModel   *model = ClvNewModel();
	Datum		json = (Datum) 0;
	const char *key;
	const char *problem;

	if (!LY_INPUT_CALL(jsonb_in, text, LY_ESCONTEXT(fcinfo), &json))
		PG_RETURN_NULL();
	key = ReadModel(&DatumGetJsonbP(json)->root, model);
	if (key != NULL)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%.200s\"", "clv_model", text),
				 errdetail("Key \"%s\" is missing or has a value of the wrong kind.", key),
				 errhint("Build values with clv_fit() or make_clv_model().")));
	problem = ClvModelProblem(model);
	if (problem != NULL)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid value for type %s: \"%.200s\"", "clv_model", text),
				 errdetail("No fit leads to it: %s.", problem),
				 errhint("Build values with clv_fit() or make_clv_model().")));
	PG_RETURN_POINTER(model);
}

static void
SendNumbers(StringInfo buf, const double *values, int n)
{
	for (int i = 0; i < n; i++)
		pq_sendfloat8(buf, values[i]);
}

/*
 * A number from outside.  There are many NaNs, and one text for all: one is
 * stored.
 */
static double
ReceiveNumber(StringInfo buf)
{
	double		value = pq_getmsgfloat8(buf);

	return isnan(value) ? get_float8_nan() : value;
}

static void
ReceiveNumbers(StringInfo buf, double *values, int n)
{
	for (int i = 0; i < n; i++)
		values[i] = ReceiveNumber(buf);
}

PG_FUNCTION_INFO_V1(loyalty_clv_model_send);
/*
 * clv_model_send(clv_model) returns bytea: version, kind and both statuses as
 * bytes; then the other fields of ClvModel in order, in network order.
 */
Datum
loyalty_clv_model_send(PG_FUNCTION_ARGS)
{
	ClvModel   *m = PG_GETARG_CLV_MODEL_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint8(&buf, m->version);
	pq_sendint8(&buf, m->kind);
	pq_sendint8(&buf, m->status);
	pq_sendint8(&buf, m->spend_status);
	pq_sendint32(&buf, m->iterations);
	pq_sendint32(&buf, m->spend_iterations);
	pq_sendfloat8(&buf, m->unit_days);
	pq_sendint64(&buf, m->members);
	pq_sendint64(&buf, m->repeaters);
	pq_sendint64(&buf, m->spenders);
	SendNumbers(&buf, m->theta, CLV_COUNT_PARAMS);
	SendNumbers(&buf, m->std_err, CLV_COUNT_PARAMS);
	pq_sendfloat8(&buf, m->loglik);
	SendNumbers(&buf, m->spend, CLV_SPEND_PARAMS);
	SendNumbers(&buf, m->spend_std_err, CLV_SPEND_PARAMS);
	pq_sendfloat8(&buf, m->spend_loglik);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(loyalty_clv_model_recv);
/*
 * clv_model_recv(internal) returns clv_model: reads what clv_model_send wrote;
 * refuses (22P03) what no fit can have led to.
 */
Datum
loyalty_clv_model_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	ClvModel   *m = ClvNewModel();
	const char *problem = "the version is not known";

	if (pq_getmsgbyte(buf) == CLV_MODEL_VERSION)
	{
		m->kind = (uint8) pq_getmsgbyte(buf);
		m->status = (uint8) pq_getmsgbyte(buf);
		m->spend_status = (uint8) pq_getmsgbyte(buf);
		m->iterations = (int32) pq_getmsgint(buf, 4);
		m->spend_iterations = (int32) pq_getmsgint(buf, 4);
		m->unit_days = ReceiveNumber(buf);
		m->members = pq_getmsgint64(buf);
		m->repeaters = pq_getmsgint64(buf);
		m->spenders = pq_getmsgint64(buf);
		ReceiveNumbers(buf, m->theta, CLV_COUNT_PARAMS);
		ReceiveNumbers(buf, m->std_err, CLV_COUNT_PARAMS);
		m->loglik = ReceiveNumber(buf);
		ReceiveNumbers(buf, m->spend, CLV_SPEND_PARAMS);
		ReceiveNumbers(buf, m->spend_std_err, CLV_SPEND_PARAMS);
		m->spend_loglik = ReceiveNumber(buf);
		problem = ClvModelProblem(m);
	}
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary value for type %s", "clv_model"),
				 errdetail("No fit leads to it: %s.", problem),
				 errhint("Send what clv_model_send wrote.")));
	PG_RETURN_POINTER(m);
}

static void
TakeNumber(FunctionCallInfo fcinfo, int arg, double *value, int *given)
{
	if (PG_ARGISNULL(arg))
		return;
	*value = PG_GETARG_FLOAT8(arg);
	(*given)++;
}

PG_FUNCTION_INFO_V1(loyalty_make_clv_model);
/*
 * make_clv_model(model text, r, alpha, a, b, s, beta, p, q, v, unit_days
 *				  double precision) returns clv_model
 *
 * A model with given parameters: r, alpha and a, b or s, beta as the model has
 * them; p, q, v of Gamma-Gamma or none of them.  Errors out (LY003) when one is
 * missing, not above zero, or belongs to another model.
 */
Datum
loyalty_make_clv_model(PG_FUNCTION_ARGS)
{
	ClvModel   *m = ClvNewModel();
	bool		pareto;
	int			counts = 0;
	int			spends = 0;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(10))
		PG_RETURN_NULL();
	m->kind = ClvParseKind(PG_GETARG_TEXT_PP(0));
	pareto = m->kind == CLV_PARETO_NBD;
	m->unit_days = PG_GETARG_FLOAT8(10);
	ClvCheckUnitDays(m->unit_days);

	for (int i = 0; i < 2; i++)
	{
		TakeNumber(fcinfo, 1 + i, &m->theta[i], &counts);
		TakeNumber(fcinfo, (pareto ? 5 : 3) + i, &m->theta[2 + i], &counts);
	}
	for (int i = 0; i < CLV_SPEND_PARAMS; i++)
		TakeNumber(fcinfo, 7 + i, &m->spend[i], &spends);

	if (counts != CLV_COUNT_PARAMS || !GoodParameters(m->theta, CLV_COUNT_PARAMS) ||
		!PG_ARGISNULL(pareto ? 3 : 5) || !PG_ARGISNULL(pareto ? 4 : 6))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("parameters do not make a %s model", clv_kind_name[m->kind]),
				 errdetail("It has four, all of them finite and above zero: %s.",
						   pareto ? "r, alpha, s, beta" : "r, alpha, a, b"),
				 errhint("Pass just these, by name.")));
	if ((spends != 0 && spends != CLV_SPEND_PARAMS) || !GoodParameters(m->spend, CLV_SPEND_PARAMS))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("parameters do not make a Gamma-Gamma model"),
				 errdetail("It has three, all of them finite and above zero: p, q, v."),
				 errhint("Pass all three, or none of them.")));
	m->status = CLV_GIVEN;
	if (spends > 0)
		m->spend_status = CLV_GIVEN;
	PG_RETURN_POINTER(m);
}

/* A number or NULL for NaN. */
static void
PutNumber(Datum *values, bool *nulls, int column, double number)
{
	nulls[column] = isnan(number);
	values[column] = Float8GetDatum(number);
}

PG_FUNCTION_INFO_V1(loyalty_clv_report);
/*
 * clv_report(model clv_model) returns one row: how the fit went; see the SQL
 * comment.  Akaike's criterion is 2 k - 2 ln L, with k = 4 and 3 parameters.
 */
Datum
loyalty_clv_report(PG_FUNCTION_ARGS)
{
	ClvModel   *m = PG_GETARG_CLV_MODEL_P(0);
	TupleDesc	desc;
	Datum		values[15];
	bool		nulls[15] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(clv_kind_name[m->kind]);
	values[1] = Float8GetDatum(m->unit_days);
	values[2] = CStringGetTextDatum(clv_status_name[m->status]);
	values[3] = BoolGetDatum(m->status == CLV_CONVERGED);
	values[4] = Int64GetDatum(m->members);
	values[5] = Int64GetDatum(m->repeaters);
	values[6] = Int32GetDatum(m->iterations);
	PutNumber(values, nulls, 7, m->loglik);
	PutNumber(values, nulls, 8, 2.0 * CLV_COUNT_PARAMS - 2.0 * m->loglik);
	values[9] = CStringGetTextDatum(clv_status_name[m->spend_status]);
	values[10] = BoolGetDatum(m->spend_status == CLV_CONVERGED);
	values[11] = Int64GetDatum(m->spenders);
	values[12] = Int32GetDatum(m->spend_iterations);
	PutNumber(values, nulls, 13, m->spend_loglik);
	PutNumber(values, nulls, 14, 2.0 * CLV_SPEND_PARAMS - 2.0 * m->spend_loglik);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PG_FUNCTION_INFO_V1(loyalty_clv_parameters);
/*
 * clv_parameters(model clv_model) returns a row for each parameter: the part of
 * the model, name, estimate, standard error (NULL where there is none).
 */
Datum
loyalty_clv_parameters(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	ClvModel   *m = PG_GETARG_CLV_MODEL_P(0);
	int			i;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc	desc;

		funcctx = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(desc);
		MemoryContextSwitchTo(old);
	}
	funcctx = SRF_PERCALL_SETUP();
	i = (int) funcctx->call_cntr;
	if (i < CLV_COUNT_PARAMS + CLV_SPEND_PARAMS)
	{
		bool		spend = i >= CLV_COUNT_PARAMS;
		int			j = spend ? i - CLV_COUNT_PARAMS : i;
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(spend ? "gamma-gamma" : clv_kind_name[m->kind]);
		values[1] = CStringGetTextDatum(spend ? clv_spend_param[j] : clv_count_param[m->kind][j]);
		PutNumber(values, nulls, 2, spend ? m->spend[j] : m->theta[j]);
		PutNumber(values, nulls, 3, spend ? m->spend_std_err[j] : m->std_err[j]);
		SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(funcctx);
}
