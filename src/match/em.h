/*
 * em.h
 *		The model of matches as plain C: weights, and fitting them to counts.
 *
 * Of two records drawn at random, they are of one person (a match) with
 * probability lambda.  Of a pair that has a field on both sides, level l of the
 * field has probability m[l] if it is a match and u[l] if not, whatever the
 * other fields are: I. Fellegi, A. Sunter, "A Theory for Record Linkage", JASA
 * 64 (1969) 1183-1210.  A field that is missing on a side says nothing.
 *
 * Pairs are looked at where blocks take them, so because they agree somewhere;
 * a fit to these alone finds nonsense.  Here all pairs are in the likelihood.
 * How many agree on which level is counted over all of them, so u is no free
 * parameter: u = (agreement - lambda m) / (1 - lambda).  What no block took is
 * one cell more, of known size; each step divides it by what the model expects
 * of pairs that agree in the fields of no block.  (Fields are missing there as
 * often as anywhere, whether it is a match or not.)
 *
 * Fitting is expectation and maximization: A. Dempster, N. Laird, D. Rubin,
 * "Maximum Likelihood from Incomplete Data via the EM Algorithm", JRSS B 39
 * (1977) 1-38.  Sums go over cells in the order given, so the same cells give
 * the same bits.
 */
#ifndef LOYALTY_MATCH_EM_H
#define LOYALTY_MATCH_EM_H

#include "postgres.h"

#include "match/compare.h"

#define MATCH_MAX_FIELDS	16	/* that are compared */

/*
 * A pattern is the levels of the fields, four bits for each, the first field in
 * the highest of those in use.
 */
typedef uint64 MatchPattern;

#define MATCH_MISSING		15

#define PatternLevel(pattern, nfields, f)	((int) ((pattern) >> (4 * ((nfields) - 1 - (f)))) & 15)

/* Pairs that have the same pattern. */
typedef struct MatchCell
{
	MatchPattern pattern;
	int64		pairs;
	int64		taken;			/* those in blocks of levels: the fit is to these */
} MatchCell;

typedef struct MatchFieldModel
{
	int			nlevels;
	double		m[MATCH_MAX_LEVELS];
	double		u[MATCH_MAX_LEVELS];
} MatchFieldModel;

typedef struct MatchModel
{
	int			nfields;
	MatchFieldModel field[MATCH_MAX_FIELDS];
	double		lambda;
	double		expected;		/* matches among all pairs; 0: not fitted */
	double		others;			/* and other pairs */
} MatchModel;

/* What is known of a field over all pairs. */
typedef struct MatchFieldCounts
{
	double		present;		/* share of all pairs that have it on both sides */
	double		agreement[MATCH_MAX_LEVELS];	/* of those: share on each level */
	double		resolution[MATCH_MAX_LEVELS];	/* the least share that can be told */
} MatchFieldCounts;

typedef struct MatchProblem
{
	int			ncells;
	const MatchCell *cells;
	double		pairs;			/* all that there are */
	MatchFieldCounts field[MATCH_MAX_FIELDS];
	int			nblocks;
	uint32		blocks[64];		/* fields that a block wants equal, as bits */
	double		clip[2];		/* of the highest level; 0 and 1: none */
	double		tolerance;		/* of the root of the sum of squared changes */
	int			max_iterations;
	void		(*poll) (void);
} MatchProblem;

typedef struct MatchFit
{
	MatchModel	model;
	int			iterations;
	bool		converged;
	double		matches_inside; /* in blocks of levels */
	double		pairs_inside;
	double		matches_outside;
	double		recall;			/* of these blocks: share of matches in them */
} MatchFit;

/*
 * How many pairs have two fields equal at once, of those that have all fields
 * and are in a block: those there are, and those that the model expects.
 */
typedef struct MatchTogether
{
	double		are[MATCH_MAX_FIELDS][MATCH_MAX_FIELDS];
	double		expected[MATCH_MAX_FIELDS][MATCH_MAX_FIELDS];
} MatchTogether;

extern void CountTogether(const MatchProblem *problem, const MatchModel *model, MatchTogether *together);
extern void SetHighest(double *share, int nlevels, double highest);
extern void FitMatchModel(const MatchProblem *problem, const MatchModel *start, MatchFit *fit);

/* The weight of a level in bits; see em.c for the bounds. */
extern double LevelWeight(const MatchModel *model, int f, int level);
extern double PriorWeight(const MatchModel *model);

#endif							/* LOYALTY_MATCH_EM_H */
