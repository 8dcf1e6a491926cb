/*
 * match_weigh.c
 *		What a model says of a pattern, and of its fields.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "activity/definition.h"
#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"

#define PROBABILITY_DECIMALS	9

static MicroBits
MicroBitsOf(double weight)
{
	return (MicroBits) llrint(weight * 1e6);
}

void
MakeMatchWeigher(const MatchModel *model, MatchWeigher *weigher)
{
	weigher->nfields = model->nfields;
	weigher->prior = MicroBitsOf(PriorWeight(model));
	weigher->most = model->expected > 0.0 ? MicroBitsOf(log2(model->others + 1.0)) : MicroBitsOf(1074.0);
	for (int f = 0; f < model->nfields; f++)
	{
		for (int l = 0; l < model->field[f].nlevels; l++)
			weigher->level[f][l] = MicroBitsOf(LevelWeight(model, f, l));
	}
}

MicroBits
WeighPattern(const MatchWeigher *weigher, MatchPattern pattern)
{
	MicroBits	weight = weigher->prior;

	for (int f = weigher->nfields - 1; f >= 0; f--, pattern >>= 4)
	{
		if ((pattern & 15) != MATCH_MISSING)
			weight += weigher->level[f][pattern & 15];
	}
	return weight;
}

/*
 * What an equal value adds that so large a share of the records has, where the
 * model has equal values in u of the pairs that are none: log2(u / share).
 */
MicroBits
FrequencyPart(const MatchWeigher *weigher, const MatchModel *model, int f, double share)
{
	int			top = model->field[f].nlevels - 1;
	double		u = model->field[f].u[top];

	if (u <= 0.0 || share <= 0.0)
		return 0;
	return Min(MicroBitsOf(log2(u / share)), weigher->most - weigher->level[f][top]);
}

Datum
WeightNumeric(MicroBits weight)
{
	return NumericGetDatum(int64_div_fast_to_numeric(weight, MICRO_BITS_DECIMALS));
}

Datum
ProbabilityNumeric(MicroBits weight)
{
	double		probability = 1.0 / (1.0 + exp2(-weight / 1e6));

	return NumericGetDatum(int64_div_fast_to_numeric(llrint(probability * 1e9), PROBABILITY_DECIMALS));
}

static char *
LevelText(const MatchCounts *head, int f, int level)
{
	if (level == MATCH_MISSING)
		return "missing";
	if (head->kinds[f] >= 0)
		return unconstify(char *, MatchLevelName(head->kinds[f], level));
	if (level == 0)
		return "different";
	return level == head->nlevels[f] - 1 ? "equal" : psprintf("level %d", level);
}

static void
PutWeight(StringInfo out, MicroBits weight)
{
	appendStringInfoString(out, DatumGetCString(DirectFunctionCall1(numeric_out, WeightNumeric(weight))));
}

/*
 * The parts of a weight: {"prior": -9.9, "fields": {"surname": {"level":
 * "equal", "weight": 6.5, "frequency": 1.2}, ...}}; frequency where it counts.
 */
Datum
PartsJsonb(const FittedModel *model, const MatchWeigher *weigher, MatchPattern pattern, const MicroBits *frequencies)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, "{\"prior\": ");
	PutWeight(&out, weigher->prior);
	appendStringInfoString(&out, ", \"fields\": {");
	for (int f = 0; f < weigher->nfields; f++)
	{
		int			level = PatternLevel(pattern, weigher->nfields, f);

		appendStringInfoString(&out, f == 0 ? "" : ", ");
		escape_json(&out, model->head.names[f]);
		appendStringInfo(&out, ": {\"level\": \"%s\", \"weight\": ", LevelText(&model->head, f, level));
		PutWeight(&out, level == MATCH_MISSING ? 0 : weigher->level[f][level]);
		if (frequencies[f] != 0)
		{
			appendStringInfoString(&out, ", \"frequency\": ");
			PutWeight(&out, frequencies[f]);
		}
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoString(&out, "}}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data));
}

/* The model that a statement asks about, read once. */
typedef struct KnownModel
{
	Size		size;
	char	   *bytes;
	FittedModel model;
	MatchWeigher weigher;
} KnownModel;

static const KnownModel *
ModelArgument(FunctionCallInfo fcinfo, int n)
{
	KnownModel *known = fcinfo->flinfo->fn_extra;
	Jsonb	   *json;
	MemoryContext old;

	RequireArgument(fcinfo, n, "model");
	json = PG_GETARG_JSONB_P(n);
	if (known != NULL && known->size == VARSIZE(json) && memcmp(known->bytes, json, known->size) == 0)
		return known;
	fcinfo->flinfo->fn_extra = NULL;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	known = palloc(sizeof(KnownModel));
	known->size = VARSIZE(json);
	known->bytes = palloc(known->size);
	memcpy(known->bytes, json, known->size);
	ReadMatchModel((Jsonb *) known->bytes, &known->model);
	MakeMatchWeigher(&known->model.fit.model, &known->weigher);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = known;
	return known;
}

/*
 * Shares of records that have the values of a pair, by field; null, as left
 * out, says nothing of a field.
 */
static void
ReadFrequencies(FunctionCallInfo fcinfo, int n, const KnownModel *known, MatchPattern pattern, MicroBits *frequencies)
{
	Problems	problems = {0};
	Place		whole;
	Place		part;

	if (PG_ARGISNULL(n))
		return;
	WholeDefinition(&whole, PG_GETARG_JSONB_P(n), "", &problems);
	if (!IsObjectPlace(&whole))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("frequencies must be an object"),
				 errdetail("They are by the name of a field."),
				 errhint("Give {\"surname\": 0.0001}, the share of the records that have the value.")));
	for (int f = 0; f < known->weigher.nfields; f++)
	{
		double		share;

		if (!GetPart(&whole, known->model.head.names[f], &part))
			continue;
		if (part.value.type != jbvNumeric)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("a frequency must be a number"),
					 errdetail("That of \"%s\" is none.", known->model.head.names[f]),
					 errhint("It is the share of the records that have the value.")));
		share = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(part.value.val.numeric)));
		if (!(share > 0.0) || share > 1.0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("a frequency must be above 0, and at most 1"),
					 errdetail("That of \"%s\" is %g.", known->model.head.names[f], share),
					 errhint("It is the share of the records that have the value.")));
		if (PatternLevel(pattern, known->weigher.nfields, f) == known->model.head.nlevels[f] - 1)
			frequencies[f] = FrequencyPart(&known->weigher, &known->model.fit.model, f, share);
	}
}

/*
 * match_weight(model jsonb, pattern text, frequencies jsonb) -> (weight numeric,
 *		probability numeric, parts jsonb)
 *		What a model says of a pattern, in bits.  Error: LY003.
 */
PG_FUNCTION_INFO_V1(loyalty_match_weight);
Datum
loyalty_match_weight(PG_FUNCTION_ARGS)
{
	const KnownModel *known = ModelArgument(fcinfo, 0);
	MatchPattern pattern;
	MicroBits	frequencies[MATCH_MAX_FIELDS] = {0};
	MicroBits	weight;
	text	   *given;
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {false};
	bool		good;

	RequireArgument(fcinfo, 1, "pattern");
	given = PG_GETARG_TEXT_PP(1);
	good = ReadMatchPattern(VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given), known->weigher.nfields, &pattern);
	for (int f = 0; f < known->weigher.nfields && good; f++)
	{
		int			level = PatternLevel(pattern, known->weigher.nfields, f);

		good = level == MATCH_MISSING || level < known->model.head.nlevels[f];
	}
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("\"%s\" is no pattern of this model", text_to_cstring(given)),
				 errdetail("It has %d fields.", known->weigher.nfields),
				 errhint("A pattern has a digit for each field, its level from 0 on, or - where it is missing; match_levels() lists them.")));
	ReadFrequencies(fcinfo, 2, known, pattern, frequencies);
	weight = WeighPattern(&known->weigher, pattern);
	for (int f = 0; f < known->weigher.nfields; f++)
		weight += frequencies[f];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = WeightNumeric(weight);
	values[1] = ProbabilityNumeric(weight);
	values[2] = PartsJsonb(&known->model, &known->weigher, pattern, frequencies);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/*
 * match_levels(model jsonb) -> set of (field text, level integer, meaning text,
 *		m numeric, u numeric, weight numeric)
 *		Each level of each field.  Error: LY003.
 */
PG_FUNCTION_INFO_V1(loyalty_match_levels);
Datum
loyalty_match_levels(PG_FUNCTION_ARGS)
{
	const KnownModel *known = ModelArgument(fcinfo, 0);
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;

	InitReturnSet(fcinfo);
	for (int f = 0; f < known->weigher.nfields; f++)
	{
		const MatchFieldModel *field = &known->model.fit.model.field[f];

		for (int l = field->nlevels - 1; l >= 0; l--)
		{
			Datum		values[6];
			bool		nulls[6] = {false};

			PutText(values, nulls, 0, known->model.head.names[f]);
			values[1] = Int32GetDatum(l);
			PutText(values, nulls, 2, LevelText(&known->model.head, f, l));
			values[3] = DirectFunctionCall1(float8_numeric, Float8GetDatum(field->m[l]));
			values[4] = DirectFunctionCall1(float8_numeric, Float8GetDatum(field->u[l]));
			values[5] = WeightNumeric(known->weigher.level[f][l]);
			tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

static void
PutItem(ReturnSetInfo *rows, const char *item, double value, const char *remark)
{
	Datum		values[3];
	bool		nulls[3] = {false};

	PutText(values, nulls, 0, item);
	values[1] = DirectFunctionCall1(float8_numeric, Float8GetDatum(value));
	nulls[1] = value < 0.0;
	PutText(values, nulls, 2, remark);
	tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
}

/*
 * match_report(model jsonb) -> set of (item text, value numeric, remark text)
 *		How a fit went, and what is wrong with it.  Error: LY003.
 */
PG_FUNCTION_INFO_V1(loyalty_match_report);
Datum
loyalty_match_report(PG_FUNCTION_ARGS)
{
	const FittedModel *model = &ModelArgument(fcinfo, 0)->model;
	const MatchFit *fit = &model->fit;
	ReturnSetInfo *rows = (ReturnSetInfo *) fcinfo->resultinfo;

	InitReturnSet(fcinfo);
	PutItem(rows, "verdict", -1.0, !model->fitted ? "given, not fitted" : IsUnsafe(model) ? "unsafe" : "safe");
	PutItem(rows, "lambda", fit->model.lambda, "share of matches among all pairs");
	if (model->fitted)
	{
		PutItem(rows, "records", (double) model->head.records, NULL);
		PutItem(rows, "pairs", model->head.pairs, "of all records");
		PutItem(rows, "expected matches", fit->model.expected, NULL);
		PutItem(rows, "pairs in blocks", fit->pairs_inside, "that are a function of levels");
		PutItem(rows, "lambda in blocks", fit->pairs_inside > 0.0 ? fit->matches_inside / fit->pairs_inside : 0.0, "share of matches among their pairs");
		PutItem(rows, "matches outside", fit->matches_outside, "expected where no block looks");
		PutItem(rows, "recall of blocks", fit->recall, "share of the expected matches that are in blocks");
		PutItem(rows, "iterations", fit->iterations, fit->converged ? "converged" : "not converged");
	}
	for (int f = 0; f < model->head.nfields; f++)
	{
		const MatchFieldSummary *summary = &model->head.summary[f];

		if (summary->compared > 0)
			PutItem(rows, psprintf("values of %s compared", model->head.names[f]), (double) summary->compared / Max(summary->values, summary->compared),
					"share of its values of which pairs were compared for u of nearly equal ones");
	}
	for (int i = 0; i < model->nremarks; i++)
		PutItem(rows, "remark", -1.0, model->remarks[i]);
	return (Datum) 0;
}
