/*
 * match_json.c
 *		Counts of patterns, and models, as jsonb.
 *
 * Counts, as match_patterns() gives them; what a hand may leave out is in
 * parentheses:
 *
 *	{("records": 1000, "pairs": 499500,)
 *	 ("fields": [{"field": "surname", ("kind": "name", "levels": 4, "frequencies": true, "values": 300, "compared": 300,)
 *		("present": 0.98, "agreement": [0.9, 0.05, 0.03, 0.02], "resolution": [...])}, ...],)
 *	 ("blocks": [["surname", "born"], ...], "keys": true,)
 *	 "patterns": {"3-2": 15, ...} (, "beside": {"3-0": 2})}
 *
 * patterns are pairs that blocks of compared fields take, beside those that
 * only blocks with keys take.  Levels stand from 0, different, upwards.
 * Without agreement it is that of the patterns, which must then be of all pairs.
 *
 * A model:
 *
 *	{"lambda": 0.001, "fields": [{"field": "surname", ("kind", "levels", "frequencies",)
 *		"m": [0.01, 0.02, 0.07, 0.9], "u": [...]}, ...],
 *	 and, where it was fitted, what FittedModel has}
 *
 * A number is written as short as reads back to the same bits.
 */
#include "postgres.h"

#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "activity/definition.h"
#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

static void
PutNumber(StringInfo out, double number)
{
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(number, text);
	appendStringInfoString(out, text);
}

static void
PutKey(StringInfo out, const char *key)
{
	char		last = out->data[out->len - 1];

	if (last != '{' && last != '[')
		appendStringInfoString(out, ", ");
	appendStringInfo(out, "\"%s\": ", key);
}

static void
PutNumberAt(StringInfo out, const char *key, double number)
{
	PutKey(out, key);
	PutNumber(out, number);
}

static void
PutNumbers(StringInfo out, const char *key, const double *numbers, int n)
{
	PutKey(out, key);
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(out, i == 0 ? "[" : ", ");
		PutNumber(out, numbers[i]);
	}
	appendStringInfoChar(out, ']');
}

static void
PutTextAt(StringInfo out, const char *key, const char *text)
{
	PutKey(out, key);
	escape_json(out, text);
}

static void
PutBlocks(StringInfo out, const MatchCounts *counts)
{
	PutKey(out, "blocks");
	appendStringInfoChar(out, '[');
	for (int b = 0; b < counts->nblocks; b++)
	{
		bool		first = true;

		appendStringInfoString(out, b == 0 ? "[" : ", [");
		for (int f = 0; f < counts->nfields; f++)
		{
			if ((counts->blocks[b] & (1u << f)) == 0)
				continue;
			appendStringInfoString(out, first ? "" : ", ");
			escape_json(out, counts->names[f]);
			first = false;
		}
		appendStringInfoChar(out, ']');
	}
	appendStringInfoChar(out, ']');
	if (counts->has_keys)
	{
		PutKey(out, "keys");
		appendStringInfoString(out, "true");
	}
}

/*
 * What counts and models say of a field alike.
 */
static void
BeginField(StringInfo out, const MatchCounts *counts, int f)
{
	appendStringInfoString(out, f == 0 ? "{" : ", {");
	PutTextAt(out, "field", counts->names[f]);
	if (counts->kinds[f] >= 0)
		PutTextAt(out, "kind", match_kinds[counts->kinds[f]]);
	PutNumberAt(out, "levels", counts->nlevels[f]);
	PutKey(out, "frequencies");
	appendStringInfoString(out, counts->frequencies[f] ? "true" : "false");
	PutNumberAt(out, "values", (double) counts->summary[f].values);
	PutNumberAt(out, "compared", (double) counts->summary[f].compared);
	PutNumberAt(out, "present", counts->summary[f].counts.present);
}

static void
PutPatterns(StringInfo out, const MatchCounts *counts, const char *key, bool beside)
{
	bool		first = true;

	PutKey(out, key);
	appendStringInfoChar(out, '{');
	for (int i = 0; i < counts->ncells; i++)
	{
		int64		n = beside ? counts->cells[i].pairs - counts->cells[i].taken : counts->cells[i].taken;
		char		text[MATCH_MAX_FIELDS + 1];

		if (n == 0)
			continue;
		appendStringInfo(out, "%s\"%s\": " INT64_FORMAT, first ? "" : ", ",
						 MatchPatternText(counts->cells[i].pattern, counts->nfields, text), n);
		first = false;
	}
	appendStringInfoChar(out, '}');
}

static Jsonb *
JsonbOf(StringInfo out)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(out->data)));
}

Jsonb *
WriteMatchCounts(const MatchCounts *counts)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	PutNumberAt(&out, "records", (double) counts->records);
	PutNumberAt(&out, "pairs", counts->pairs);
	PutKey(&out, "fields");
	appendStringInfoChar(&out, '[');
	for (int f = 0; f < counts->nfields; f++)
	{
		BeginField(&out, counts, f);
		PutNumbers(&out, "agreement", counts->summary[f].counts.agreement, counts->nlevels[f]);
		PutNumbers(&out, "resolution", counts->summary[f].counts.resolution, counts->nlevels[f]);
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, ']');
	PutBlocks(&out, counts);
	PutPatterns(&out, counts, "patterns", false);
	if (counts->has_keys)
		PutPatterns(&out, counts, "beside", true);
	appendStringInfoChar(&out, '}');
	return JsonbOf(&out);
}

Jsonb *
WriteMatchModel(const FittedModel *model)
{
	StringInfoData out;
	const MatchCounts *head = &model->head;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	PutNumberAt(&out, "lambda", model->fit.model.lambda);
	PutNumberAt(&out, "records", (double) head->records);
	PutNumberAt(&out, "pairs", head->pairs);
	PutKey(&out, "fields");
	appendStringInfoChar(&out, '[');
	for (int f = 0; f < head->nfields; f++)
	{
		BeginField(&out, head, f);
		PutNumbers(&out, "m", model->fit.model.field[f].m, head->nlevels[f]);
		PutNumbers(&out, "u", model->fit.model.field[f].u, head->nlevels[f]);
		appendStringInfoChar(&out, '}');
	}
	appendStringInfoChar(&out, ']');
	PutBlocks(&out, head);
	PutNumberAt(&out, "expected_matches", model->fit.model.expected);
	PutNumberAt(&out, "matches_in_blocks", model->fit.matches_inside);
	PutNumberAt(&out, "pairs_in_blocks", model->fit.pairs_inside);
	PutNumberAt(&out, "matches_outside", model->fit.matches_outside);
	PutNumberAt(&out, "recall_of_blocks", model->fit.recall);
	PutNumberAt(&out, "iterations", model->fit.iterations);
	PutKey(&out, "converged");
	appendStringInfoString(&out, model->fit.converged ? "true" : "false");
	PutKey(&out, "remarks");
	appendStringInfoChar(&out, '[');
	for (int i = 0; i < model->nremarks; i++)
	{
		appendStringInfoString(&out, i == 0 ? "" : ", ");
		escape_json(&out, model->remarks[i]);
	}
	appendStringInfoString(&out, "]}");
	return JsonbOf(&out);
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static bool
ReadNumber(const Place *place, double least, double most, double *number)
{
	if (place->value.type != jbvNumeric)
	{
		Complain(place, "must be a number");
		return false;
	}
	*number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(place->value.val.numeric)));
	if (*number >= least && *number <= most)
		return true;
	Complain(place, "must be from %g to %g", least, most);
	return false;
}

static void
ReadNumberAt(const Place *object, const char *key, double least, double most, double *number)
{
	Place		part;

	if (GetPart(object, key, &part))
		ReadNumber(&part, least, most, number);
}

/*
 * The shares of the levels of a field; how many there are, or 0 where they are
 * not given.
 */
static int
ReadShares(const Place *field, const char *key, double *shares)
{
	Place		part;
	Place		element;
	int			n;

	if (!GetPart(field, key, &part) || !RequireArray(&part))
		return 0;
	n = CountElements(&part);
	if (n < 2 || n > MATCH_MAX_LEVELS)
	{
		Complain(&part, "must have from 2 to %d levels", MATCH_MAX_LEVELS);
		return 0;
	}
	for (int l = 0; l < n; l++)
	{
		GetElementPlace(&part, l, &element);
		ReadNumber(&element, 0.0, 1.0, &shares[l]);
	}
	return n;
}

static void
ReadFieldHead(const Place *place, MatchCounts *counts, int f)
{
	Place		part;
	double		number = 0.0;

	counts->kinds[f] = -1;
	counts->names[f] = "";
	counts->summary[f].counts.present = 1.0;
	if (!RequireObject(place))
		return;
	if (GetPart(place, "field", &part))
	{
		const char *name = ReadText(&part);

		if (name != NULL)
			counts->names[f] = name;
	}
	else
		Complain(place, "has no \"field\", its name");
	if (GetPart(place, "kind", &part))
		counts->kinds[f] = ReadChoice(&part, match_kinds);
	if (GetPart(place, "frequencies", &part))
		counts->frequencies[f] = ReadBoolean(&part);
	if (counts->kinds[f] >= 0)
		counts->nlevels[f] = MatchLevels(counts->kinds[f]);
	ReadNumberAt(place, "present", 0.0, 1.0, &counts->summary[f].counts.present);
	ReadNumberAt(place, "values", 0.0, 1e18, &number);
	counts->summary[f].values = (int64) number;
	number = 0.0;
	ReadNumberAt(place, "compared", 0.0, 1e18, &number);
	counts->summary[f].compared = (int64) number;
}

static void
HasLevels(const Place *place, MatchCounts *counts, int f, int n)
{
	if (n == 0)
		return;
	if (counts->nlevels[f] == 0)
		counts->nlevels[f] = n;
	else if (counts->nlevels[f] != n)
		Complain(place, "has %d levels in one place and %d in another", counts->nlevels[f], n);
}

/*
 * The fields, and of each what the caller reads of it.
 */
static void
ReadFields(const Place *whole, MatchCounts *counts, void (*read) (const Place *, MatchCounts *, int, void *), void *arg)
{
	Place		part;
	Place		element;

	if (!GetPart(whole, "fields", &part) || !RequireArray(&part))
		return;
	if (CountElements(&part) > MATCH_MAX_FIELDS)
	{
		Complain(&part, "has more than %d fields", MATCH_MAX_FIELDS);
		return;
	}
	for (int f = 0; f < CountElements(&part); f++)
	{
		GetElementPlace(&part, f, &element);
		ReadFieldHead(&element, counts, f);
		/* blocks, frequencies and parts of a weight know a field by its name */
		for (int g = 0; g < f; g++)
		{
			if (strcmp(counts->names[g], counts->names[f]) == 0)
				Complain(&element, "has the name \"%s\", as an earlier one has", counts->names[f]);
		}
		counts->nfields++;
		if (IsObjectPlace(&element))
			read(&element, counts, f, arg);
	}
}

static void
ReadBlocksOf(const Place *whole, MatchCounts *counts)
{
	Place		part;
	Place		element;

	if (GetPart(whole, "keys", &part))
		counts->has_keys = ReadBoolean(&part);
	if (!GetPart(whole, "blocks", &part) || !RequireArray(&part))
		return;
	if (CountElements(&part) > MATCH_MAX_BLOCKS)
	{
		Complain(&part, "has more than %d blocks", MATCH_MAX_BLOCKS);
		return;
	}
	for (int b = 0; b < CountElements(&part); b++)
	{
		char	  **names;
		int			nnames;

		GetElementPlace(&part, b, &element);
		names = ReadTexts(&element, &nnames);
		counts->nblocks++;
		for (int i = 0; i < nnames; i++)
		{
			int			f = 0;

			while (f < counts->nfields && strcmp(counts->names[f], names[i]) != 0)
				f++;
			if (f == counts->nfields)
				Complain(&element, "has \"%s\", which is no field", names[i]);
			else
				counts->blocks[b] |= 1u << f;
		}
	}
}

/*
 * A pattern of so many fields; false where it is none.
 */
bool
ReadMatchPattern(const char *text, size_t len, int nfields, MatchPattern *pattern)
{
	*pattern = 0;
	if (len != (size_t) nfields || len > MATCH_MAX_FIELDS)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] != '-' && (text[i] < '0' || text[i] >= '0' + MATCH_MAX_LEVELS))
			return false;
		*pattern = *pattern << 4 | (MatchPattern) (text[i] == '-' ? MATCH_MISSING : text[i] - '0');
	}
	return true;
}

/*
 * Fields that have no names, where there are patterns only.
 */
static void
NumberFields(MatchCounts *counts, int n)
{
	counts->nfields = Min(n, MATCH_MAX_FIELDS);
	for (int f = 0; f < counts->nfields; f++)
	{
		counts->names[f] = psprintf("%d", f + 1);
		counts->kinds[f] = -1;
		counts->summary[f].counts.present = 1.0;
	}
}

static void
ReadPatterns(const Place *whole, MatchCounts *counts)
{
	Place		part;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	key;

	if (!GetPart(whole, "patterns", &part))
	{
		Complain(whole, "has no patterns");
		return;
	}
	if (!RequireObject(&part))
		return;
	counts->cells = palloc(Max(JsonContainerSize(part.value.val.binary.data), 1) * sizeof(MatchCell));
	it = JsonbIteratorInit(part.value.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		MatchCell  *cell = &counts->cells[counts->ncells];
		Place		count = part;
		int64		n = 0;

		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&it, &count.value, true);
		if (counts->nfields == 0)
			NumberFields(counts, key.val.string.len);
		if (!ReadMatchPattern(key.val.string.val, key.val.string.len, counts->nfields, &cell->pattern))
		{
			Complain(&part, "has \"%s\", which is no pattern of %d fields", pnstrdup(key.val.string.val, key.val.string.len), counts->nfields);
			return;
		}
		if (!ReadWhole(&count, 0, PG_INT64_MAX / MICROS_PER_UNIT, &n))
			return;
		cell->pairs = n;
		cell->taken = n;
		counts->ncells++;
		for (int f = 0; f < counts->nfields; f++)
		{
			int			level = PatternLevel(cell->pattern, counts->nfields, f);

			if (level == MATCH_MISSING)
				continue;
			if ((counts->kinds[f] >= 0 || counts->counted) && level >= counts->nlevels[f])
			{
				Complain(&part, "has level %d of field \"%s\", which has %d levels", level, counts->names[f], counts->nlevels[f]);
				return;
			}
			counts->nlevels[f] = Max(counts->nlevels[f], level + 1);
		}
	}
	for (int f = 0; f < counts->nfields; f++)
		counts->nlevels[f] = Max(counts->nlevels[f], 2);
	qsort(counts->cells, counts->ncells, sizeof(MatchCell), CompareMatchCells);
}

static void
ReadAgreement(const Place *place, MatchCounts *counts, int f, void *arg)
{
	static const char *const known[] = {"field", "kind", "levels", "frequencies", "values", "compared", "present", "agreement", "resolution", NULL};
	int			n = ReadShares(place, "agreement", counts->summary[f].counts.agreement);
	bool	   *all = arg;

	RefuseUnknownKeys(place, known);
	HasLevels(place, counts, f, n);
	HasLevels(place, counts, f, ReadShares(place, "resolution", counts->summary[f].counts.resolution));
	*all = *all && n > 0;
}

static void
RefuseJson(const Problems *problems, const char *what, const char *hint)
{
	const Problem *problem;

	if (problems->nerrors == 0)
		return;
	problem = linitial(problems->list);
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("invalid %s", what),
			 errdetail_internal("%s %s.", problem->path[0] == '\0' ? "It" : problem->path, problem->text),
			 errhint("%s", hint)));
}

/*
 * Reads counts of patterns.  Error: LY003.
 */
void
ReadMatchCounts(Jsonb *json, MatchCounts *counts)
{
	static const char *const known[] = {"records", "pairs", "fields", "blocks", "keys", "patterns", "beside", NULL};
	Problems	problems = {0};
	Place		whole;
	double		records = 0.0;
	double		taken = 0.0;
	bool		all = true;

	memset(counts, 0, sizeof(*counts));
	WholeDefinition(&whole, json, "", &problems);
	if (RequireObject(&whole))
	{
		RefuseUnknownKeys(&whole, known);
		ReadFields(&whole, counts, ReadAgreement, &all);
		counts->counted = counts->nfields > 0 && all;
		ReadBlocksOf(&whole, counts);
		ReadPatterns(&whole, counts);
		for (int i = 0; i < counts->ncells; i++)
			taken += counts->cells[i].taken;
		counts->pairs = taken;
		ReadNumberAt(&whole, "pairs", taken, 1e30, &counts->pairs);
		ReadNumberAt(&whole, "records", 0.0, 1e15, &records);
		counts->records = (int64) records;
		if (counts->pairs > taken && !counts->counted)
			Complain(&whole, "has more pairs than its patterns, and not the agreement of each field over all pairs");
	}
	RefuseJson(&problems, "counts of patterns", "Give what match_patterns() returns, or {\"patterns\": {\"10\": 5, ...}} of all pairs.");
}

static void
ReadFieldModel(const Place *place, MatchCounts *head, int f, void *arg)
{
	static const char *const known[] = {"field", "kind", "levels", "frequencies", "values", "compared", "present", "m", "u", NULL};
	FittedModel *model = arg;
	MatchFieldModel *field = &model->fit.model.field[f];
	int			n = ReadShares(place, "m", field->m);

	RefuseUnknownKeys(place, known);
	if (n == 0)
		Complain(place, "has no m");
	HasLevels(place, head, f, n);
	n = ReadShares(place, "u", field->u);
	if (n == 0)
		Complain(place, "has no u");
	HasLevels(place, head, f, n);
	field->nlevels = head->nlevels[f];
}

/*
 * Reads a model, fitted or made by hand.  Error: LY003.
 */
void
ReadMatchModel(Jsonb *json, FittedModel *model)
{
	static const char *const known[] = {"lambda", "records", "pairs", "fields", "blocks", "keys", "expected_matches", "matches_in_blocks",
	"pairs_in_blocks", "matches_outside", "recall_of_blocks", "iterations", "converged", "remarks", NULL};
	Problems	problems = {0};
	Place		whole;
	Place		part;
	Place		element;
	double		number = 0.0;

	memset(model, 0, sizeof(*model));
	WholeDefinition(&whole, json, "", &problems);
	if (RequireObject(&whole))
	{
		RefuseUnknownKeys(&whole, known);
		model->fit.model.lambda = -1.0;
		ReadNumberAt(&whole, "lambda", 0.0, 1.0, &model->fit.model.lambda);
		if (model->fit.model.lambda < 0.0 && problems.nerrors == 0)
			Complain(&whole, "has no lambda");
		ReadFields(&whole, &model->head, ReadFieldModel, model);
		model->fit.model.nfields = model->head.nfields;
		if (model->head.nfields == 0)
			Complain(&whole, "has no fields");
		ReadBlocksOf(&whole, &model->head);
		ReadNumberAt(&whole, "records", 0.0, 1e15, &number);
		model->head.records = (int64) number;
		ReadNumberAt(&whole, "pairs", 0.0, 1e30, &model->head.pairs);
		ReadNumberAt(&whole, "expected_matches", 0.0, 1e30, &model->fit.model.expected);
		if (model->fit.model.expected > model->head.pairs)
			Complain(&whole, "expects more matches than it has pairs");
		ReadNumberAt(&whole, "matches_in_blocks", 0.0, 1e30, &model->fit.matches_inside);
		ReadNumberAt(&whole, "pairs_in_blocks", 0.0, 1e30, &model->fit.pairs_inside);
		ReadNumberAt(&whole, "matches_outside", 0.0, 1e30, &model->fit.matches_outside);
		model->fit.recall = 1.0;
		ReadNumberAt(&whole, "recall_of_blocks", 0.0, 1.0, &model->fit.recall);
		number = 0.0;
		ReadNumberAt(&whole, "iterations", 0.0, 1e9, &number);
		model->fit.iterations = (int) number;
		if (GetPart(&whole, "converged", &part))
			model->fit.converged = ReadBoolean(&part);
		model->fitted = GetPart(&whole, "remarks", &part) && RequireArray(&part);
		for (int i = 0; model->fitted && i < CountElements(&part) && i < (int) lengthof(model->remarks); i++)
		{
			GetElementPlace(&part, i, &element);
			model->remarks[model->nremarks++] = ReadText(&element);
		}
		model->fit.model.others = model->head.pairs - model->fit.model.expected;
	}
	RefuseJson(&problems, "model", "Give what match_fit() returns, or {\"lambda\": 0.001, \"fields\": [{\"field\": \"surname\", \"m\": [0.1, 0.9], \"u\": [0.99, 0.01]}, ...]}.");
}

/*
 * Reads the options of a fit.  Error: LY003.
 */
void
ReadFitOptions(Jsonb *json, FitOptions *options)
{
	static const char *const known[] = {"lambda", "m", "u", "clip", "tolerance", "max_iterations", NULL};
	Problems	problems = {0};
	Place		whole;
	Place		part;
	Place		element;
	double		number = options->max_iterations;

	WholeDefinition(&whole, json, "", &problems);
	if (RequireObject(&whole))
	{
		RefuseUnknownKeys(&whole, known);
		ReadNumberAt(&whole, "lambda", 1e-18, 1.0, &options->lambda);
		ReadNumberAt(&whole, "m", 0.0, 1.0, &options->m);
		options->has_u = GetPart(&whole, "u", &part) && ReadNumber(&part, 0.0, 1.0, &options->u);
		ReadNumberAt(&whole, "tolerance", 0.0, 1.0, &options->tolerance);
		ReadNumberAt(&whole, "max_iterations", 1.0, 1000000.0, &number);
		options->max_iterations = (int) number;
		if (GetPart(&whole, "clip", &part) && RequireArray(&part))
		{
			if (CountElements(&part) != 2)
				Complain(&part, "must be two bounds");
			for (int i = 0; i < 2 && CountElements(&part) == 2; i++)
			{
				GetElementPlace(&part, i, &element);
				ReadNumber(&element, 0.0, 1.0, &options->clip[i]);
			}
			if (options->clip[0] > options->clip[1])
				Complain(&part, "must be a lower bound and an upper one");
		}
	}
	RefuseJson(&problems, "options", "They are {\"lambda\", \"m\", \"u\": where to begin, \"clip\": [0.0001, 0.999], \"tolerance\": 1e-12, \"max_iterations\": 10000}.");
}
