/*
 * clv_forecast.c
 *		What a fitted model says of one member: chance of being alive, expected
 *		orders, spend.  The models and their sources stand in clv_model.h.
 *
 * The published expectations are differences of large terms, with gaps at a = 1
 * and s = 1.  The forms here are sums and integrals of positive terms that mean
 * the same: nothing cancels, nothing overflows, no parameter is special.
 */
#include <math.h>

#include "clv/clv_model.h"

/* A series longer than this is left to quadrature. */
#define MAX_TERMS			3000.0
/* Sums are rescaled by this before they overflow. */
#define HUGE_TERM			1e270
#define LOG_HUGE_TERM		(270.0 * 2.302585092994045684)

/*
 * What a living member of a beta-geometric model does next is governed by
 *	shape	r + x, and z = horizon / (alpha + T): the coming purchases, were there
 *			no dropout, are negative binomial with weights
 *			nb(n) = (shape)_n / n! w^n (1-w)^shape, w = z / (1+z);
 *	a, b	the beta distribution of the dropout probability p, by now.
 */
typedef struct Future
{
	double		shape;
	double		z;
	double		a;
	double		b;
	double		log_beta;
	ClvPoll		poll;
} Future;

/*
 * sum over n of nb(n) M(n), with m(k) = (b)_k / (a+b)_k the chance of outliving k
 * purchases: M(n) = m(0) + ... + m(n-1), the expected number of purchases made
 * of n intended, or with "at" M(n) = m(n), the chance to be alive after n.
 *
 * This is the hypergeometric function of the published expectation (Fader,
 * Hardie and Lee 2005, eq. 10, after Pfaff's transformation) summed in another
 * order.  The common factor (1-w)^shape and any rescaling stay in logarithms
 * until the end.
 */
static double
SumSeries(const Future *f, bool at)
{
	double		w = f->z / (1.0 + f->z);
	double		log_scale = -f->shape * log1p(f->z);
	double		mean = f->shape * f->z;
	double		nb = 1.0;
	double		m = 1.0;
	double		made = 0.0;
	double		sum = at ? 1.0 : 0.0;

	for (double n = 0.0;; n += 1.0)
	{
		double		outlives = (f->b + n) / (f->a + f->b + n);
		double		ratio;
		double		term;

		made += m;
		m *= outlives;
		nb *= w * (f->shape + n) / (n + 1.0);
		/* nb may go beyond all bounds while m comes to nothing: both in one */
		if (at)
			nb *= outlives;
		term = at ? nb : nb * made;
		sum += term;
		ratio = w * (f->shape + n + 1.0) / (n + 2.0) * (at ? 1.0 : (n + 2.0) / (n + 1.0));
		if (n > mean && ratio < 1.0 && term * ratio <= 1e-17 * sum * (1.0 - ratio))
			break;
		if (sum > HUGE_TERM)
		{
			nb /= HUGE_TERM;
			sum /= HUGE_TERM;
			log_scale += LOG_HUGE_TERM;
		}
	}
	return exp(log_scale + log(sum));
}

/*
 * The same two figures as integrals over p, taken in u = ln(p / (1-p)):
 *	of p^a (1-p)^b / Beta(a, b) times (1 - (1+pz)^-shape) / p, or
 *	(with "at") times (1+pz)^-shape.
 */
static double
LogDensity(const Future *f, double u)
{
	/* ln p and ln(1-p), exact in both tails */
	double		log_p = u < 0.0 ? u - log1p(exp(u)) : -log1p(exp(-u));
	double		log_q = u < 0.0 ? -log1p(exp(u)) : -u - log1p(exp(-u));

	return f->a * log_p + f->b * log_q - f->log_beta;
}

static double
MadeIntegrand(double u, const void *arg)
{
	const Future *f = arg;
	double		p = u < 0.0 ? exp(u) / (1.0 + exp(u)) : 1.0 / (1.0 + exp(-u));
	double		log_grown = log1p(p * f->z);
	double		g;

	if (p > 1e-290)
		g = -expm1(-f->shape * log_grown) / p;
	else
		g = f->shape * f->z;
	return exp(LogDensity(f, u)) * g;
}

static double
AtIntegrand(double u, const void *arg)
{
	const Future *f = arg;
	double		p = u < 0.0 ? exp(u) / (1.0 + exp(u)) : 1.0 / (1.0 + exp(-u));

	return exp(LogDensity(f, u) - f->shape * log1p(p * f->z));
}

/*
 * Integrates over the whole line a function with one peak and exponential tails
 * of rate a to the left and b or more to the right: walks outward from where
 * the beta distribution has its mode, in steps that grow with the distance,
 * until the integrand is negligible, and integrates each step.
 */
static double
IntegrateLine(ClvIntegrand integrand, const Future *f)
{
	double		start = log(f->a / f->b);
	double		first = fmin(2.0 * sqrt(1.0 / f->a + 1.0 / f->b), 4.0);
	double		sum = 0.0;

	for (int side = -1; side <= 1; side += 2)
	{
		double		here = start;
		double		step = first;

		for (int i = 0; i < 400; i++)
		{
			double		next = here + side * step;
			double		part = side < 0 ? ClvIntegrate(integrand, f, next, here, f->poll)
				: ClvIntegrate(integrand, f, here, next, f->poll);

			sum += part;
			/* past the peak, each further step adds less by a growing factor */
			if (part <= 1e-17 * sum && (sum > 0.0 || i > 100))
				break;
			here = next;
			step *= 1.25;
		}
	}
	return sum;
}

static double
SumOrIntegrate(Future *f, bool at)
{
	double		mean = f->shape * f->z;

	/* the series runs past its mean, then falls by w each term */
	if (mean + 10.0 * sqrt(mean * (1.0 + f->z)) + 40.0 * (1.0 + f->z) < MAX_TERMS)
		return SumSeries(f, at);
	f->log_beta = ClvLogBeta(f->a, f->b);
	return IntegrateLine(at ? AtIntegrand : MadeIntegrand, f);
}

/* Chances to drop out that x repeat purchases have been. */
static inline double
Chances(const ClvCountModel *model, double x)
{
	return model->kind == CLV_MBG_NBD ? x + 1.0 : x;
}

/* ln of the odds dead : alive at T */
static double
LogOddsDead(const ClvCountModel *model, double x, double t_x, double t)
{
	const double *theta = model->theta;
	double		k;

	if (model->kind == CLV_PARETO_NBD)
		return ClvParetoLogOdds(theta, x, t_x, t, NULL, NULL);
	k = Chances(model, x);
	if (k <= 0.0)
		return -INFINITY;
	return log(theta[2] / (theta[3] + k - 1.0)) +
		(theta[0] + x) * log1p((t - t_x) / (theta[1] + t_x));
}

/*
 * Probability that a member with history (x, t_x, T) is still active at T.
 * BG/NBD: Fader, Hardie and Lee, "Computing P(alive) Using the BG/NBD Model"
 * (2008); MBG/NBD: Batislam et al. (2007); Pareto/NBD: Schmittlein et al. (1987),
 * as alive / (alive + died in (t_x, T)).
 */
double
ClvPAlive(const ClvCountModel *model, double x, double t_x, double t)
{
	double		d = LogOddsDead(model, x, t_x, t);

	return d > 0.0 ? exp(-d) / (1.0 + exp(-d)) : 1.0 / (1.0 + exp(d));
}

/* (1 - e^(-c l)) / c, also at c = 0 */
static double
Relax(double c, double l)
{
	return fabs(c * l) < 1e-300 ? l : -expm1(-c * l) / c;
}

/*
 * Expected orders within the horizon (unit of T) behind T, of a living member.
 */
static double
OrdersIfAlive(const ClvCountModel *model, double x, double t, double horizon)
{
	const double *theta = model->theta;
	double		shape = theta[0] + x;
	Future		f;

	if (model->kind == CLV_PARETO_NBD)
		return shape / (theta[1] + t) * (theta[3] + t) *
			Relax(theta[2] - 1.0, log1p(horizon / (theta[3] + t)));

	f = (Future) {
		.shape = shape,
		.z = horizon / (theta[1] + t),
		.a = theta[2],
		.b = theta[3] + Chances(model, x),
		.poll = model->poll,
	};
	return SumOrIntegrate(&f, false);
}

/*
 * Expected number of orders in the next "horizon" of a member with history
 * (x, t_x, T), whether alive or not: P(alive) times the above.  Fader, Hardie
 * and Lee (2005), eq. 10; Batislam et al. (2007); Fader and Hardie (2005), eq. 41.
 */
double
ClvExpectedOrders(const ClvCountModel *model, double x, double t_x, double t, double horizon)
{
	return ClvPAlive(model, x, t_x, t) * OrdersIfAlive(model, x, t, horizon);
}

typedef struct Discounting
{
	const ClvCountModel *model;
	double		x;
	double		t;
	double		discount;
	double		scale;
} Discounting;

/*
 * Rate of orders of a member alive at T, at T + u, times e^(-discount u) du/dy,
 * where u = scale (e^y - 1).
 */
static double
DiscountedRate(double y, const void *arg)
{
	const Discounting *d = arg;
	const double *theta = d->model->theta;
	double		shape = theta[0] + d->x;
	double		u = d->scale * expm1(y);
	double		rate = shape / (theta[1] + d->t);

	if (d->model->kind == CLV_PARETO_NBD)
		rate *= exp(-theta[2] * log1p(u / (theta[3] + d->t)));
	else
	{
		Future		f = {
			.shape = shape + 1.0,
			.z = u / (theta[1] + d->t),
			.a = theta[2],
			.b = theta[3] + Chances(d->model, d->x),
			.poll = d->model->poll,
		};

		rate *= SumOrIntegrate(&f, true);
	}
	return rate * exp(-d->discount * u) * (d->scale + u);
}

/*
 * As ClvExpectedOrders, each order weighted by e^(-discount u), u the time from
 * T to it: the discounted expected transactions of Fader, Hardie and Lee, "RFM
 * and CLV: Using Iso-Value Curves for Customer Base Analysis", J. of Marketing
 * Research 42 (2005) 415-430, over a finite horizon.  discount is per unit of T,
 * compounded continuously, not negative.
 */
double
ClvDiscountedOrders(const ClvCountModel *model, double x, double t_x,
					double t, double horizon, double discount)
{
	Discounting d;

	if (!(discount > 0.0))
		return ClvExpectedOrders(model, x, t_x, t, horizon);
	d.model = model;
	d.x = x;
	d.t = t;
	d.discount = discount;
	d.scale = (model->kind == CLV_PARETO_NBD ? model->theta[3] : model->theta[1]) + t;
	return ClvPAlive(model, x, t_x, t) *
		ClvIntegrate(DiscountedRate, &d, 0.0, log1p(horizon / d.scale), model->poll);
}

/*
 * When a member alive at T orders next.  Given that, lambda is Gamma(r + x,
 * alpha + T): what was seen of a living member is x purchases in T, whatever the
 * model.  Let w = ((alpha + T) / (alpha + T + u))^(r + x), the chance that a
 * member who cannot die has not ordered by T + u; it falls from 1 to 0.
 *
 * BG/NBD and MBG/NBD: members drop out only with a purchase, so who is alive
 * orders again for certain, and by T + u with probability 1 - w.
 *
 * Pareto/NBD: mu is Gamma(s, beta + T) by then, independent of lambda, and the
 * order counts only if the member lives until it comes: with probability the
 * integral over w, from w to 1, of ((beta + T) / (beta + T + u(w)))^s.
 */
typedef struct NextOrder
{
	double		shape;			/* r + x */
	double		s;
	double		ratio;			/* (alpha + T) / (beta + T) */
} NextOrder;

/* The chance to live until the order, by Pareto/NBD. */
static double
LivesUntil(double w, const void *arg)
{
	const NextOrder *n = arg;

	return exp(-n->s * log1p(n->ratio * expm1(-log(w) / n->shape)));
}

static NextOrder
NextOrderOf(const ClvCountModel *model, double x, double t)
{
	NextOrder	n;

	n.shape = model->theta[0] + x;
	n.s = model->theta[2];
	n.ratio = (model->theta[1] + t) / (model->theta[3] + t);
	return n;
}

/*
 * Probability that a member with history (x, t_x, T) orders ever again.
 */
double
ClvOrderAgain(const ClvCountModel *model, double x, double t_x, double t)
{
	double		alive = ClvPAlive(model, x, t_x, t);

	if (model->kind == CLV_PARETO_NBD)
	{
		NextOrder	n = NextOrderOf(model, x, t);

		alive *= ClvIntegrate(LivesUntil, &n, 0.0, 1.0, model->poll);
	}
	return alive;
}

/*
 * The time u after T by which the next order has come with probability quantile
 * (above 0, below 1), given that there is a next one.
 */
double
ClvNextOrder(const ClvCountModel *model, double x, double t, double quantile)
{
	NextOrder	n = NextOrderOf(model, x, t);
	double		log_w = log1p(-quantile);

	if (model->kind == CLV_PARETO_NBD)
	{
		double		missing = quantile * ClvIntegrate(LivesUntil, &n, 0.0, 1.0, model->poll);
		double		lo = 0.0;
		double		hi = 1.0;

		/* the integral from hi to 1 plus what is missing stays the same */
		while (hi - lo > 1e-13 * hi)
		{
			double		mid = 0.5 * (lo + hi);
			double		part = ClvIntegrate(LivesUntil, &n, mid, hi, model->poll);

			if (part > missing)
				lo = mid;
			else
			{
				hi = mid;
				missing -= part;
			}
		}
		log_w = log(hi);
	}
	return (model->theta[1] + t) * expm1(-log_w / n.shape);
}

/*
 * Expected number of repeat orders of a new member within the horizon behind the
 * first purchase.
 */
double
ClvNewMemberOrders(const ClvCountModel *model, double horizon)
{
	return ClvExpectedOrders(model, 0.0, 0.0, 0.0, horizon);
}

/* ln of the negative binomial weight of n purchases in t, no dropout */
static double
LogNegativeBinomial(double r, double alpha, double n, double t)
{
	double		f = ClvLogPoch(r, n).f - lgamma(n + 1.0) - r * log1p(t / alpha);

	/* t / (alpha+t), to the power of n */
	return n > 0.0 ? f - n * log1p(alpha / t) : f;
}

/* How many terms go by between two calls of poll. */
#define POLL_EVERY			4096

/* P(N >= n) of the same */
static double
NegativeBinomialTail(double r, double alpha, double n, double t, ClvPoll poll)
{
	double		w = t / (alpha + t);
	double		term;
	double		sum;

	if (n <= 0.0)
		return 1.0;
	if (n <= r * t / alpha)
	{
		term = exp(-r * log1p(t / alpha));
		sum = 0.0;
		if (term > 1e-280)
		{
			for (double j = 0.0; j < n; j += 1.0)
			{
				sum += term;
				term *= w * (r + j) / (j + 1.0);
			}
		}
		else
		{
			for (double j = n - 1.0; j >= 0.0; j -= 1.0)
			{
				term = exp(LogNegativeBinomial(r, alpha, j, t));
				sum += term;
				if (term <= 1e-18 * sum)
					break;
			}
		}
		return sum < 1.0 ? 1.0 - sum : 0.0;
	}
	term = exp(LogNegativeBinomial(r, alpha, n, t));
	sum = term;
	for (double j = n; term > 1e-17 * sum; j += 1.0)
	{
		if (fmod(j, POLL_EVERY) == 0.0)
			poll();
		term *= w * (r + j) / (j + 1.0);
		sum += term;
	}
	return sum;
}

typedef struct Dying
{
	const double *theta;
	double		n;
} Dying;

/* density of death at age u times P(n purchases by then), du/dv as below */
static double
DyingIntegrand(double v, const void *arg)
{
	const Dying *d = arg;
	double		u = d->theta[3] * expm1(v);

	if (u <= 0.0)
		return d->n > 0.0 ? 0.0 : d->theta[2];
	return d->theta[2] * exp(LogNegativeBinomial(d->theta[0], d->theta[1], d->n, u) -
							 d->theta[2] * v);
}

/*
 * Probability that a new member makes n repeat orders within the horizon.
 * BG/NBD: Fader, Hardie and Lee (2005), eq. 8; MBG/NBD likewise with one more
 * chance to drop out; Pareto/NBD: Fader and Hardie, "Deriving an Expression for
 * P(X(t) = x) Under the Pareto/NBD Model" (2006), as an integral over the age at
 * death u = beta (e^v - 1).
 */
double
ClvNewMemberProbability(const ClvCountModel *model, double n, double horizon)
{
	const double *theta = model->theta;
	double		alive;
	double		k;
	double		p;

	alive = LogNegativeBinomial(theta[0], theta[1], n, horizon);
	if (model->kind == CLV_PARETO_NBD)
	{
		Dying		d = {theta, n};
		double		v = log1p(horizon / theta[3]);

		return exp(alive - theta[2] * v) + ClvIntegrate(DyingIntegrand, &d, 0.0, v, model->poll);
	}
	k = Chances(model, n);
	p = ClvLogPoch(theta[3], k).f - ClvLogPoch(theta[2] + theta[3], k).f;
	alive = exp(p + alive);
	if (k <= 0.0)
		return alive;
	return alive + exp(p + log(theta[2] / (theta[3] + k - 1.0))) *
		NegativeBinomialTail(theta[0], theta[1], n, horizon, model->poll);
}

/*
 * Expected mean amount of an order of a member with x repeat purchases of mean
 * amount m (0 where x = 0): the mean of the population and the member's own,
 * weighted.  Fader and Hardie (2013), eq. 5.
 * NaN where the model has no finite mean (p x + q <= 1).
 */
double
ClvExpectedSpend(const double *pqv, double x, double m)
{
	double		weight = pqv[0] * x + pqv[1] - 1.0;

	if (!(weight > 0.0))
		return NAN;
	return pqv[0] * (pqv[2] + x * m) / weight;
}
