/*
 * em.c
 *		Weights of matches, and fitting them to counts of patterns; the model
 *		stands in em.h.
 */
#include "postgres.h"

#include <math.h>

#include "match/em.h"

/* One step: the sums of the expectation, in the order of the fields. */
typedef struct Sums
{
	double		matches;		/* expected, in cells and outside */
	double		inside;
	double		outside;
	double		on_level[MATCH_MAX_FIELDS][MATCH_MAX_LEVELS];
} Sums;

/* Which pairs no block takes, by the fields of blocks in which they agree. */
typedef struct Outside
{
	double		pairs;
	int			nfields;		/* that are in blocks */
	int			field[MATCH_MAX_FIELDS];
	bool	   *taken;			/* by state: which of these fields agree */
	double	   *share;			/* of matches, by state */
} Outside;

static void
BeginOutside(const MatchProblem *problem, int nfields, Outside *outside)
{
	uint32		used = 0;
	int			place[MATCH_MAX_FIELDS] = {0};

	memset(outside, 0, sizeof(*outside));
	outside->pairs = problem->pairs;
	for (int i = 0; i < problem->ncells; i++)
		outside->pairs -= problem->cells[i].taken;
	for (int b = 0; b < problem->nblocks; b++)
		used |= problem->blocks[b];
	for (int f = 0; f < nfields; f++)
	{
		if (used & (1u << f))
		{
			place[f] = outside->nfields;
			outside->field[outside->nfields++] = f;
		}
	}
	outside->taken = palloc0(sizeof(bool) << outside->nfields);
	outside->share = palloc(sizeof(double) << outside->nfields);
	for (uint32 state = 0; state < (1u << outside->nfields); state++)
	{
		for (int b = 0; b < problem->nblocks && !outside->taken[state]; b++)
		{
			bool		all = true;

			for (int f = 0; f < nfields && all; f++)
				all = (problem->blocks[b] & (1u << f)) == 0 || (state & (1u << place[f])) != 0;
			outside->taken[state] = all;
		}
		outside->taken[state] = outside->taken[state] || problem->nblocks == 0;
	}
}

/*
 * The probability that no block takes a pair whose fields agree with these
 * probabilities; and, where asked for, that none does and a field agrees.
 */
static double
ShareOutside(Outside *outside, const double *agrees, double *and_agrees)
{
	double		sum = 0.0;
	uint32		nstates = 1u << outside->nfields;

	outside->share[0] = 1.0;
	for (int k = 0; k < outside->nfields; k++)
	{
		double		p = agrees[outside->field[k]];

		for (uint32 state = 0; state < (1u << k); state++)
		{
			outside->share[state | (1u << k)] = outside->share[state] * p;
			outside->share[state] *= 1.0 - p;
		}
	}
	if (and_agrees != NULL)
		memset(and_agrees, 0, sizeof(double) * outside->nfields);
	for (uint32 state = 0; state < nstates; state++)
	{
		if (outside->taken[state])
			continue;
		sum += outside->share[state];
		for (int k = 0; and_agrees != NULL && k < outside->nfields; k++)
		{
			if (state & (1u << k))
				and_agrees[k] += outside->share[state];
		}
	}
	return sum;
}

/*
 * Adds what the model expects of the pairs that no block took.
 */
static void
AddOutside(const MatchProblem *problem, const MatchModel *model, Outside *outside, Sums *sums)
{
	double		agrees_m[MATCH_MAX_FIELDS];
	double		agrees_u[MATCH_MAX_FIELDS];
	double		and_agrees[MATCH_MAX_FIELDS];
	double		share_m;
	double		share_u;
	int			k = 0;

	if (!(outside->pairs > 0.0))
		return;
	for (int f = 0; f < model->nfields; f++)
	{
		const MatchFieldModel *field = &model->field[f];

		agrees_m[f] = problem->field[f].present * field->m[field->nlevels - 1];
		agrees_u[f] = problem->field[f].present * field->u[field->nlevels - 1];
	}
	share_u = ShareOutside(outside, agrees_u, NULL);
	share_m = ShareOutside(outside, agrees_m, and_agrees);
	if (!(share_m > 0.0))
		return;
	sums->outside = outside->pairs * model->lambda * share_m /
		(model->lambda * share_m + (1.0 - model->lambda) * share_u);
	sums->matches += sums->outside;

	for (int f = 0; f < model->nfields; f++)
	{
		const MatchFieldModel *field = &model->field[f];
		int			top = field->nlevels - 1;
		double		agree = agrees_m[f] * sums->outside;
		double		rest;

		if (k < outside->nfields && outside->field[k] == f)
			agree = sums->outside * and_agrees[k++] / share_m;
		sums->on_level[f][top] += agree;
		rest = agrees_m[f] < 1.0 ? (sums->outside - agree) * problem->field[f].present / (1.0 - agrees_m[f]) : 0.0;
		for (int l = 0; l < top; l++)
			sums->on_level[f][l] += rest * field->m[l];
	}
}

static void
Expect(const MatchProblem *problem, const MatchModel *model, Outside *outside, Sums *sums)
{
	memset(sums, 0, sizeof(*sums));
	for (int i = 0; i < problem->ncells; i++)
	{
		const MatchCell *cell = &problem->cells[i];
		double		by_m = model->lambda;
		double		by_u = 1.0 - model->lambda;
		double		matches;

		if (cell->taken == 0)
			continue;
		for (int f = 0; f < model->nfields; f++)
		{
			int			level = PatternLevel(cell->pattern, model->nfields, f);

			if (level != MATCH_MISSING)
			{
				by_m *= model->field[f].m[level];
				by_u *= model->field[f].u[level];
			}
		}
		matches = by_m > 0.0 ? cell->taken * (by_m / (by_m + by_u)) : 0.0;
		sums->inside += matches;
		for (int f = 0; f < model->nfields; f++)
		{
			int			level = PatternLevel(cell->pattern, model->nfields, f);

			if (level != MATCH_MISSING)
				sums->on_level[f][level] += matches;
		}
	}
	sums->matches = sums->inside;
	AddOutside(problem, model, outside, sums);
}

/*
 * Sets the share of the highest level; the others keep their proportions.
 */
void
SetHighest(double *share, int nlevels, double highest)
{
	double		rest = 0.0;

	for (int l = 0; l < nlevels - 1; l++)
		rest += share[l];
	for (int l = 0; l < nlevels - 1; l++)
		share[l] = rest > 0.0 ? share[l] * (1.0 - highest) / rest : (1.0 - highest) / (nlevels - 1);
	share[nlevels - 1] = highest;
}

/* Puts it between bounds. */
static void
Clip(double *share, int nlevels, const double *clip)
{
	SetHighest(share, nlevels, Min(Max(share[nlevels - 1], clip[0]), clip[1]));
}

/*
 * The model of the sums; returns by how much it differs from the one before.
 */
static double
Maximize(const MatchProblem *problem, const Sums *sums, const MatchModel *before, MatchModel *after)
{
	double		change = 0.0;

	*after = *before;
	after->lambda = sums->matches / problem->pairs;
	for (int f = 0; f < before->nfields; f++)
	{
		const MatchFieldCounts *counts = &problem->field[f];
		const MatchFieldModel *old = &before->field[f];
		MatchFieldModel *new = &after->field[f];
		double		sum = 0.0;

		for (int l = 0; l < new->nlevels; l++)
			sum += sums->on_level[f][l];
		for (int l = 0; l < new->nlevels; l++)
		{
			if (sum > 0.0)
				new->m[l] = sums->on_level[f][l] / sum;
			new->u[l] = (counts->agreement[l] - after->lambda * new->m[l]) / (1.0 - after->lambda);
			/* a share, also where nearly all pairs match and rounding decides */
			new->u[l] = Min(Max(new->u[l], counts->resolution[l]), 1.0);
		}
		if (problem->clip[0] > 0.0 || problem->clip[1] < 1.0)
		{
			Clip(new->m, new->nlevels, problem->clip);
			Clip(new->u, new->nlevels, problem->clip);
		}
		/* the lowest level is what the others leave */
		for (int l = 1; l < new->nlevels; l++)
			change += (new->m[l] - old->m[l]) * (new->m[l] - old->m[l]) + (new->u[l] - old->u[l]) * (new->u[l] - old->u[l]);
	}
	return sqrt(change);
}

/*
 * Fits a model to counts, from a start.  Its last step is an expectation, by
 * which lambda and the matches are those of the m and u that are returned.
 */
void
FitMatchModel(const MatchProblem *problem, const MatchModel *start, MatchFit *fit)
{
	Outside		outside;
	Sums		sums;

	memset(fit, 0, sizeof(*fit));
	fit->model = *start;
	BeginOutside(problem, start->nfields, &outside);
	for (int i = 0; i < problem->ncells; i++)
		fit->pairs_inside += problem->cells[i].taken;

	while (fit->iterations < problem->max_iterations && !fit->converged)
	{
		MatchModel	before = fit->model;

		problem->poll();
		Expect(problem, &before, &outside, &sums);
		if (!(sums.matches > 0.0) || !(sums.matches < problem->pairs))
			break;
		fit->converged = Maximize(problem, &sums, &before, &fit->model) < problem->tolerance;
		fit->iterations++;
	}
	Expect(problem, &fit->model, &outside, &sums);
	fit->matches_inside = sums.inside;
	fit->matches_outside = sums.outside;
	fit->recall = sums.matches > 0.0 ? sums.inside / sums.matches : 1.0;
	/* sums may be a last digit above */
	fit->model.expected = Min(sums.matches, problem->pairs);
	fit->model.lambda = problem->pairs > 0.0 ? fit->model.expected / problem->pairs : 0.0;
	fit->model.others = problem->pairs - fit->model.expected;
}

/*
 * Adds, for each two fields, how many of so many pairs are complete, in a block,
 * and equal in both, if fields are equal with these probabilities.
 */
static void
AddTogether(const MatchProblem *problem, const MatchModel *model, Outside *blocks, double pairs, const double *equal, MatchTogether *together)
{
	int			place[MATCH_MAX_FIELDS];

	for (int f = 0; f < model->nfields; f++)
	{
		pairs *= problem->field[f].present;
		place[f] = -1;
	}
	for (int k = 0; k < blocks->nfields; k++)
		place[blocks->field[k]] = k;
	ShareOutside(blocks, equal, NULL);
	for (int f = 0; f < model->nfields; f++)
	{
		for (int g = f + 1; g < model->nfields; g++)
		{
			uint32		both = (place[f] >= 0 ? 1u << place[f] : 0) | (place[g] >= 0 ? 1u << place[g] : 0);
			double		share = 0.0;

			for (uint32 state = 0; state < (1u << blocks->nfields); state++)
			{
				if (blocks->taken[state] && (state & both) == both)
					share += blocks->share[state];
			}
			if (place[f] < 0)
				share *= equal[f];
			if (place[g] < 0)
				share *= equal[g];
			together->expected[f][g] += pairs * share;
		}
	}
}

void
CountTogether(const MatchProblem *problem, const MatchModel *model, MatchTogether *together)
{
	Outside		blocks;
	double		equal_m[MATCH_MAX_FIELDS];
	double		equal_u[MATCH_MAX_FIELDS];

	memset(together, 0, sizeof(*together));
	BeginOutside(problem, model->nfields, &blocks);
	for (int f = 0; f < model->nfields; f++)
	{
		equal_m[f] = model->field[f].m[model->field[f].nlevels - 1];
		equal_u[f] = model->field[f].u[model->field[f].nlevels - 1];
	}
	AddTogether(problem, model, &blocks, problem->pairs * model->lambda, equal_m, together);
	AddTogether(problem, model, &blocks, problem->pairs * (1.0 - model->lambda), equal_u, together);
	for (int i = 0; i < problem->ncells; i++)
	{
		const MatchCell *cell = &problem->cells[i];
		bool		complete = true;
		bool		equal[MATCH_MAX_FIELDS];

		for (int f = 0; f < model->nfields; f++)
		{
			int			level = PatternLevel(cell->pattern, model->nfields, f);

			complete = complete && level != MATCH_MISSING;
			equal[f] = level == model->field[f].nlevels - 1;
		}
		for (int f = 0; f < model->nfields && complete; f++)
		{
			for (int g = f + 1; g < model->nfields; g++)
				together->are[f][g] += equal[f] && equal[g] ? cell->taken : 0;
		}
	}
}

/*
 * log2(m/u) of a level.  What was fitted to so many matches and other pairs
 * says no more than they can: a level that none of M matches had may be that of
 * the next, so it takes away at most log2(M + 1) bits, and gives at most as many
 * as there are other pairs.
 */
double
LevelWeight(const MatchModel *model, int f, int level)
{
	double		m = model->field[f].m[level];
	double		u = model->field[f].u[level];
	double		least = -1074.0;
	double		most = 1074.0;

	if (model->expected > 0.0)
	{
		least = -log2(model->expected + 1.0);
		most = log2(model->others + 1.0);
	}
	if (m <= 0.0 && u <= 0.0)
		return 0.0;
	return Min(Max(log2(m / u), least), most);
}

/*
 * What is known of a pair before it is looked at: log2 of the odds.
 */
double
PriorWeight(const MatchModel *model)
{
	return Min(Max(log2(model->lambda / (1.0 - model->lambda)), -1074.0), 1074.0);
}
