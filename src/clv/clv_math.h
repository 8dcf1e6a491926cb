/*
 * clv_math.h
 *		Special functions, quadrature and a small maximiser for the customer
 *		value models.  Plain C: no memory is allocated and nothing here knows of
 *		the database.
 *
 * Everything is computed from its arguments alone, in one fixed order of
 * operations, so equal arguments give equal bits.
 */
#ifndef LOYALTY_CLV_MATH_H
#define LOYALTY_CLV_MATH_H

#include <math.h>
#include <stdbool.h>

#define CLV_MAX_PARAMS		4

/* A logarithm of a gamma ratio and its first two derivatives in y. */
typedef struct ClvPoch
{
	double		f;				/* ln Gamma(y + k) - ln Gamma(y) */
	double		d1;				/* digamma(y + k) - digamma(y) */
	double		d2;				/* trigamma(y + k) - trigamma(y) */
} ClvPoch;

extern ClvPoch ClvLogPoch(double y, double k);
extern double ClvTrigamma(double y);
extern double ClvLogBeta(double a, double b);

/* Called now and then from long loops; may not return. */
typedef void (*ClvPoll) (void);

typedef double (*ClvIntegrand) (double u, const void *arg);
extern double ClvIntegrate(ClvIntegrand f, const void *arg, double lo, double hi, ClvPoll poll);

/* A sum that keeps what rounding loses (Neumaier 1974). */
typedef struct ClvSum
{
	double		sum;
	double		lost;
} ClvSum;

static inline void
ClvAdd(ClvSum *s, double value)
{
	double		sum = s->sum + value;

	if (fabs(s->sum) >= fabs(value))
		s->lost += (s->sum - sum) + value;
	else
		s->lost += (value - sum) + s->sum;
	s->sum = sum;
}

static inline double
ClvTotal(const ClvSum *s)
{
	return s->sum + s->lost;
}

/* How a maximisation ended. */
typedef enum ClvStatus
{
	CLV_CONVERGED = 0,			/* at a maximum inside the parameter space */
	CLV_BOUNDARY = 1,			/* a parameter tends to zero or to infinity */
	CLV_NOT_CONVERGED = 2,		/* out of iterations, or no usable curvature */
	CLV_TOO_FEW = 3				/* not enough members to fit anything */
} ClvStatus;

/*
 * Log-likelihood at theta (all positive), with gradient and Hessian in theta;
 * the Hessian is filled in fully.  -Infinity or NaN means "not there".
 */
typedef double (*ClvObjective) (const double *theta, double grad[CLV_MAX_PARAMS],
								double hess[CLV_MAX_PARAMS][CLV_MAX_PARAMS], void *arg);

typedef struct ClvMaximum
{
	ClvStatus	status;
	int			iterations;
	double		loglik;
	double		theta[CLV_MAX_PARAMS];
	double		std_err[CLV_MAX_PARAMS];	/* NaN where there is none */
} ClvMaximum;

extern void ClvNoMaximum(ClvStatus status, ClvMaximum *result);
extern void ClvMaximize(ClvObjective objective, void *arg, int n,
						const double *start, const double *origin, int max_iterations,
						ClvMaximum *result);

#endif							/* LOYALTY_CLV_MATH_H */
