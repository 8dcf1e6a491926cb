/*
 * clv_model.h
 *		The customer value models as plain C: likelihoods, fits, forecasts.
 *
 * A member's history is (x, t_x, T): x repeat purchases after the first one, the
 * last of them at age t_x, observed until age T; ages count from the first
 * purchase, in the model's unit of time.  x = 0 goes with t_x = 0.  Spend is
 * (x, m): m is the mean amount of those x repeat purchases.
 *
 * Count models (all: while alive a member buys at random with rate lambda,
 * lambda ~ Gamma(r, alpha) over members):
 *
 * BG/NBD		after each repeat purchase the member drops out with probability
 *				p ~ Beta(a, b).  P. Fader, B. Hardie, K. Lee, "Counting Your
 *				Customers the Easy Way", Marketing Science 24 (2005) 275-284.
 * MBG/NBD		the same, and the member may drop out after the first purchase
 *				too.  E. Batislam, M. Denizel, A. Filiztekin, "Empirical
 *				validation and comparison of models for customer base analysis",
 *				Int. J. of Research in Marketing 24 (2007) 201-209.
 * Pareto/NBD	the member dies at an exponential age with rate mu ~ Gamma(s,
 *				beta).  D. Schmittlein, D. Morrison, R. Colombo, "Counting Your
 *				Customers: Who Are They and What Will They Do Next?", Management
 *				Science 33 (1987) 1-24; P. Fader, B. Hardie, "A Note on Deriving
 *				the Pareto/NBD Model and Related Expressions" (2005).
 *
 * Spend model: Gamma-Gamma(p, q, v).  R. Colombo, W. Jiang, "A stochastic RFM
 * model", J. of Interactive Marketing 13 (1999) 2-12; P. Fader, B. Hardie, "The
 * Gamma-Gamma Model of Monetary Value" (2013).
 */
#ifndef LOYALTY_CLV_MODEL_H
#define LOYALTY_CLV_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clv/clv_math.h"

typedef enum ClvKind
{
	CLV_BG_NBD = 1,
	CLV_MBG_NBD = 2,
	CLV_PARETO_NBD = 3
} ClvKind;

#define CLV_KINDS			3
#define CLV_COUNT_PARAMS	4
#define CLV_SPEND_PARAMS	3

/* (x, t_x, T) of n members who have the same */
typedef struct ClvCell
{
	double		x;
	double		t_x;
	double		t;
	double		n;
} ClvCell;

/* (x, m) of n members who have the same; x > 0 and m > 0 */
typedef struct ClvSpendCell
{
	double		x;
	double		m;
	double		n;
} ClvSpendCell;

/*
 * theta is r, alpha, a, b for BG/NBD and MBG/NBD and r, alpha, s, beta for
 * Pareto/NBD; alpha and beta have the unit of t_x and T.
 */
typedef struct ClvCountModel
{
	ClvKind		kind;
	double		theta[CLV_COUNT_PARAMS];
	ClvPoll		poll;
} ClvCountModel;

extern const char *const clv_count_param[CLV_KINDS + 1][CLV_COUNT_PARAMS];
extern const char *const clv_spend_param[CLV_SPEND_PARAMS];

/* clv_fit.c; cells must be sorted by x */
extern void ClvFitCount(ClvKind kind, const ClvCell *cell, size_t ncells,
						int max_iterations, ClvPoll poll, ClvMaximum *result);
extern void ClvFitSpend(const ClvSpendCell *cell, size_t ncells,
						int max_iterations, ClvPoll poll, ClvMaximum *result);

/* clv_forecast.c */
extern double ClvPAlive(const ClvCountModel *model, double x, double t_x, double t);
extern double ClvExpectedOrders(const ClvCountModel *model, double x, double t_x,
								double t, double horizon);
extern double ClvDiscountedOrders(const ClvCountModel *model, double x, double t_x,
								  double t, double horizon, double discount);
extern double ClvOrderAgain(const ClvCountModel *model, double x, double t_x, double t);
extern double ClvNextOrder(const ClvCountModel *model, double x, double t, double quantile);
extern double ClvNewMemberOrders(const ClvCountModel *model, double horizon);
extern double ClvNewMemberProbability(const ClvCountModel *model, double n, double horizon);
extern double ClvExpectedSpend(const double *pqv, double x, double m);

/* shared by the two: ln of the odds dead : alive, with derivatives when wanted */
extern double ClvParetoLogOdds(const double *theta, double x, double t_x, double t,
							   double grad[CLV_COUNT_PARAMS],
							   double hess[CLV_COUNT_PARAMS][CLV_COUNT_PARAMS]);

#endif							/* LOYALTY_CLV_MODEL_H */
