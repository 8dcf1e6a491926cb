/*
 * match_fit.c
 *		Fitting a model to counts, and saying what is wrong with the fit.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/jsonb.h"

#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"

#define UNSAFE		"unsafe: "

/* A fit of fewer matches is luck. */
#define ENOUGH_MATCHES	50.0

/* Blocks should have so many of the matches. */
#define ENOUGH_RECALL	0.95

/* Fields should agree together no more than so many times as often as expected. */
#define TOO_OFTEN	2.0

void
DefaultFitOptions(FitOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->m = 0.9;
	options->clip[1] = 1.0;
	options->tolerance = 1e-12;
	options->max_iterations = 10000;
}

static void
Poll(void)
{
	CHECK_FOR_INTERRUPTS();
}

/*
 * Where a fit begins: equal is what matches mostly are, nearly equal is more
 * likely than different, and others are as all pairs are.
 */
static void
BeginModel(const MatchCounts *counts, const FitOptions *options, MatchModel *model)
{
	memset(model, 0, sizeof(*model));
	model->nfields = counts->nfields;
	model->lambda = options->lambda > 0.0 ? options->lambda :
		counts->records > 20 ? 1.0 / counts->records : 0.05;
	for (int f = 0; f < counts->nfields; f++)
	{
		MatchFieldModel *field = &model->field[f];

		field->nlevels = counts->nlevels[f];
		for (int l = 0; l < field->nlevels; l++)
		{
			field->m[l] = 1 << l;
			field->u[l] = Max(counts->summary[f].counts.agreement[l], counts->summary[f].counts.resolution[l]);
		}
		SetHighest(field->m, field->nlevels, options->m);
		if (options->has_u)
			SetHighest(field->u, field->nlevels, options->u);
	}
}

/*
 * Agreement of the patterns, where they are all pairs.
 */
static void
CountAgreement(MatchCounts *counts)
{
	for (int f = 0; f < counts->nfields; f++)
	{
		MatchFieldCounts *field = &counts->summary[f].counts;
		double		on_level[MATCH_MAX_LEVELS] = {0.0};
		double		present = 0.0;

		for (int i = 0; i < counts->ncells; i++)
		{
			int			level = PatternLevel(counts->cells[i].pattern, counts->nfields, f);

			if (level == MATCH_MISSING)
				continue;
			on_level[level] += counts->cells[i].taken;
			present += counts->cells[i].taken;
		}
		for (int l = 0; l < counts->nlevels[f]; l++)
			field->agreement[l] = present > 0.0 ? on_level[l] / present : 0.0;
		field->present = counts->pairs > 0.0 ? present / counts->pairs : 0.0;
	}
}

static void pg_attribute_printf(2, 3)
Remark(FittedModel *model, const char *format,...)
{
	char		text[512];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (model->nremarks < MATCH_MAX_REMARKS)
		model->remarks[model->nremarks++] = pstrdup(text);
}

bool
IsUnsafe(const FittedModel *model)
{
	for (int i = 0; i < model->nremarks; i++)
	{
		if (strncmp(model->remarks[i], UNSAFE, strlen(UNSAFE)) == 0)
			return true;
	}
	return false;
}

static void
RemarkOnField(FittedModel *model, int f)
{
	const MatchFieldModel *field = &model->fit.model.field[f];
	int			top = field->nlevels - 1;
	const char *name = model->head.names[f];

	if (model->head.summary[f].counts.present <= 0.0)
		return;
	if (field->m[top] <= field->u[top])
		Remark(model, UNSAFE "field \"%s\" is equal no more often in matches (%.6f) than in other pairs (%.6f)", name, field->m[top], field->u[top]);
	if (field->m[top] >= 0.99999)
		Remark(model, "field \"%s\" is equal in all matches, so that one that differs is hardly ever found", name);
}

/*
 * What is wrong with a fit, or should be known of it.
 */
static void
RemarkOnFit(const MatchProblem *problem, FittedModel *model)
{
	const MatchFit *fit = &model->fit;
	MatchTogether together;

	if (!fit->converged)
		Remark(model, UNSAFE "not converged after %d iterations", fit->iterations);
	if (fit->model.expected < ENOUGH_MATCHES)
		Remark(model, UNSAFE "%.1f matches are expected, and a fit to fewer than %.0f is luck", fit->model.expected, ENOUGH_MATCHES);
	if (fit->recall < ENOUGH_RECALL)
		Remark(model, UNSAFE "the blocks have %.1f %% of the matches that are expected", 100.0 * fit->recall);
	if (model->head.has_keys)
		Remark(model, "how many matches only blocks with keys find is not known");
	for (int f = 0; f < fit->model.nfields; f++)
		RemarkOnField(model, f);

	CountTogether(problem, &fit->model, &together);
	for (int f = 0; f < fit->model.nfields; f++)
	{
		for (int g = f + 1; g < fit->model.nfields; g++)
		{
			double		more = together.are[f][g] - together.expected[f][g];

			if (together.are[f][g] > TOO_OFTEN * together.expected[f][g] && more > Max(10.0, 0.05 * fit->model.expected))
				Remark(model, "fields \"%s\" and \"%s\" are equal together in %.0f pairs, where %.0f are expected: they say the same twice",
					   model->head.names[f], model->head.names[g], together.are[f][g], together.expected[f][g]);
		}
	}
}

/*
 * Fits a model to counts.  Errors: LY842 fewer than three fields, LY843 what
 * came out as matches agrees less than other pairs do.
 */
void
FitCounts(MatchCounts *counts, const FitOptions *options, FittedModel *model)
{
	MatchProblem problem;
	MatchModel	start;
	bool		swapped = true;

	if (counts->nfields < 3)
		ereport(ERROR,
				(errcode(ERRCODE_LY_NOT_IDENTIFIED),
				 errmsg("%d fields do not tell matches from other pairs", counts->nfields),
				 errdetail("With fewer than three fields, different models fit the same counts."),
				 errhint("Compare three fields or more, or make a model by hand.")));
	if (!counts->counted)
		CountAgreement(counts);

	memset(&problem, 0, sizeof(problem));
	problem.ncells = counts->ncells;
	problem.cells = counts->cells;
	problem.pairs = counts->pairs;
	problem.nblocks = counts->nblocks;
	memcpy(problem.blocks, counts->blocks, sizeof(counts->blocks));
	for (int f = 0; f < counts->nfields; f++)
		problem.field[f] = counts->summary[f].counts;
	memcpy(problem.clip, options->clip, sizeof(problem.clip));
	problem.tolerance = options->tolerance;
	problem.max_iterations = options->max_iterations;
	problem.poll = Poll;
	BeginModel(counts, options, &start);

	memset(model, 0, sizeof(*model));
	model->head = *counts;
	model->head.ncells = 0;
	model->head.cells = NULL;
	model->fitted = true;
	FitMatchModel(&problem, &start, &model->fit);
	for (int f = 0; f < counts->nfields; f++)
	{
		const MatchFieldModel *field = &model->fit.model.field[f];

		swapped = swapped && field->m[field->nlevels - 1] <= field->u[field->nlevels - 1];
	}
	if (swapped)
		ereport(ERROR,
				(errcode(ERRCODE_LY_SWAPPED),
				 errmsg("the fit took other pairs for matches"),
				 errdetail("In no field are its matches equal more often than other pairs are."),
				 errhint("There may be no matches to be found, or too few; begin elsewhere, with a smaller \"lambda\" in the options.")));
	RemarkOnFit(&problem, model);
}

/*
 * match_fit(patterns jsonb, options jsonb) -> jsonb
 *		The model that fits counts of patterns.  Errors: LY003, LY842, LY843.
 */
PG_FUNCTION_INFO_V1(loyalty_match_fit);
Datum
loyalty_match_fit(PG_FUNCTION_ARGS)
{
	MatchCounts *counts = palloc(sizeof(MatchCounts));
	FittedModel *model = palloc(sizeof(FittedModel));
	FitOptions	options;

	RequireArgument(fcinfo, 0, "patterns");
	ReadMatchCounts(PG_GETARG_JSONB_P(0), counts);
	DefaultFitOptions(&options);
	if (!PG_ARGISNULL(1))
		ReadFitOptions(PG_GETARG_JSONB_P(1), &options);
	FitCounts(counts, &options, model);
	PG_RETURN_JSONB_P(WriteMatchModel(model));
}
