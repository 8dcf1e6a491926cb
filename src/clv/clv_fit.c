/*
 * clv_fit.c
 *		Likelihoods of the customer value models and their maximum; the models
 *		and their sources stand in clv_model.h.
 *
 * A likelihood is written as that of being alive at T, times one plus the odds
 * of having dropped out before T against being alive: ln L = A + ln(1 + e^D).
 * All of it stays in logarithms, so that no history under- or overflows, and
 * the gradient and Hessian follow from those of A and D.
 */
#include <math.h>
#include <string.h>

#include "clv/clv_model.h"

const char *const clv_count_param[CLV_KINDS + 1][CLV_COUNT_PARAMS] = {
	{NULL, NULL, NULL, NULL},
	{"r", "alpha", "a", "b"},
	{"r", "alpha", "a", "b"},
	{"r", "alpha", "s", "beta"}
};
const char *const clv_spend_param[CLV_SPEND_PARAMS] = {"p", "q", "v"};

typedef struct CountProblem
{
	ClvKind		kind;
	const ClvCell *cell;
	size_t		ncells;
	size_t		stride;			/* look at every so many cells */
	ClvPoll		poll;
} CountProblem;

/* How many cells go by between two calls of poll. */
#define POLL_EVERY			4096

/* With more cells than this, every so many of them tell where to start. */
#define THIN_FROM			4000
#define THIN_STRIDE			4
#define THINNER_FROM		20000
#define THINNER_STRIDE		16

/*
 * BG/NBD and MBG/NBD.  With k = x chances to drop out (BG) or k = x + 1 (MBG),
 *
 *	A = ln (r)_x + ln (b)_k - ln (a+b)_k - r ln(1 + T/alpha) - x ln(alpha + T)
 *	D = ln a - ln(b+k-1) + (r+x) ln((alpha+T) / (alpha+t_x))
 *
 * and no D where k = 0: who never bought again is alive by BG/NBD.
 */
static double
BetaGeometric(const double *theta, double grad[CLV_MAX_PARAMS],
			  double hess[CLV_MAX_PARAMS][CLV_MAX_PARAMS], void *arg)
{
	const CountProblem *problem = arg;
	double		r = theta[0];
	double		alpha = theta[1];
	double		a = theta[2];
	double		b = theta[3];
	int			extra = problem->kind == CLV_MBG_NBD ? 1 : 0;
	double		last_x = -1.0;
	double		k = 0.0;
	double		by_x = 0.0;
	double		log_odds = 0.0;
	double		inv = 0.0;
	ClvPoch		poch_r = {0};
	ClvPoch		poch_b = {0};
	ClvPoch		poch_ab = {0};
	ClvSum		total = {0.0, 0.0};

	memset(grad, 0, sizeof(double) * CLV_MAX_PARAMS);
	memset(hess, 0, sizeof(double) * CLV_MAX_PARAMS * CLV_MAX_PARAMS);

	for (size_t i = 0; i < problem->ncells; i += problem->stride)
	{
		const ClvCell *c = &problem->cell[i];
		double		x = c->x;
		double		n = c->n;
		double		end = alpha + c->t;
		double		inv_end = 1.0 / end;
		double		log_grown = log1p(c->t / alpha);
		double		rx = r + x;
		double		ll;

		if (i / problem->stride % POLL_EVERY == 0)
			problem->poll();

		/* cells come sorted by x: gamma functions once for each x */
		if (x != last_x)
		{
			last_x = x;
			k = x + extra;
			poch_r = ClvLogPoch(r, x);
			poch_b = ClvLogPoch(b, k);
			poch_ab = ClvLogPoch(a + b, k);
			by_x = poch_r.f + poch_b.f - poch_ab.f - x * log(alpha);
			if (k > 0.0)
			{
				inv = 1.0 / (b + k - 1.0);
				log_odds = log(a * inv);
			}
		}

		ll = by_x - rx * log_grown;
		grad[0] += n * (poch_r.d1 - log_grown);
		grad[1] += n * (r / alpha - rx * inv_end);
		grad[2] -= n * poch_ab.d1;
		grad[3] += n * (poch_b.d1 - poch_ab.d1);
		hess[0][0] += n * poch_r.d2;
		hess[0][1] += n * (1.0 / alpha - inv_end);
		hess[1][1] += n * (rx * inv_end * inv_end - r / (alpha * alpha));
		hess[2][2] -= n * poch_ab.d2;
		hess[2][3] -= n * poch_ab.d2;
		hess[3][3] += n * (poch_b.d2 - poch_ab.d2);

		if (k > 0.0)
		{
			double		gap = (c->t - c->t_x) / (alpha + c->t_x);
			double		inv_last = 1.0 / (alpha + c->t_x);
			double		log_gap = log1p(gap);
			double		d = log_odds + rx * log_gap;
			double		e = exp(-fabs(d));
			double		dead = (d > 0.0 ? 1.0 : e) / (1.0 + e);
			double		spread = e / ((1.0 + e) * (1.0 + e));
			double		d0 = log_gap;
			double		d01 = inv_end - inv_last;
			double		d1 = rx * d01;
			double		d2 = 1.0 / a;
			double		d3 = -inv;
			double		nd = n * dead;
			double		ns = n * spread;

			ll += fmax(d, 0.0) + log1p(e);
			grad[0] += nd * d0;
			grad[1] += nd * d1;
			grad[2] += nd * d2;
			grad[3] += nd * d3;
			hess[0][0] += ns * d0 * d0;
			hess[0][1] += ns * d0 * d1 + nd * d01;
			hess[0][2] += ns * d0 * d2;
			hess[0][3] += ns * d0 * d3;
			hess[1][1] += ns * d1 * d1 +
				nd * rx * (inv_last * inv_last - inv_end * inv_end);
			hess[1][2] += ns * d1 * d2;
			hess[1][3] += ns * d1 * d3;
			hess[2][2] += (ns - nd) * d2 * d2;
			hess[2][3] += ns * d2 * d3;
			hess[3][3] += (ns + nd) * d3 * d3;
		}
		ClvAdd(&total, n * ll);
	}

	for (int i = 0; i < CLV_COUNT_PARAMS; i++)
	{
		for (int j = 0; j < i; j++)
			hess[i][j] = hess[j][i];
	}
	return ClvTotal(&total);
}

/* Nodes and weights of the 16-point Gauss-Legendre rule on [-1, 1], one half. */
#define HALF_NODES			8
static const double legendre_node[HALF_NODES] = {
	0.0950125098376374401853193354249581, 0.281603550779258913230460501460496,
	0.458016777657227386342419442983578, 0.617876244402643748446671764048791,
	0.755404408355003033895101194847442, 0.865631202387831743880467897712393,
	0.944575023073232576077988415534608, 0.989400934991649932596154173450333
};
static const double legendre_weight[HALF_NODES] = {
	0.189450610455068496285396723208283, 0.182603415044923588866763667969220,
	0.169156519395002538189312079030360, 0.149595988816576732081501730547479,
	0.124628971255533872052476282192016, 0.095158511682492784809925107602246,
	0.062253523938647892862843836994378, 0.027152459411754094851780572456018
};

/* A panel is no wider than this, and the integrand falls by no more on it. */
#define PANEL_WIDTH			3.0
#define PANEL_FALL			16.0

/*
 * Pareto/NBD: ln of the odds of having died in (t_x, T) against being alive,
 *
 *	D = ln  integral from t_x to T of
 *		((alpha+T)/(alpha+u))^(r+x) ((beta+T)/(beta+u))^s  s/(beta+u)  du
 *
 * which is the difference of two hypergeometric functions in the published
 * likelihood, without their cancellation.  The integrand falls steadily; it is
 * taken in v = ln(min(alpha, beta) + u), where its nearest singularity is pi
 * away, on panels short enough for the rule to be exact to rounding, until the
 * rest is below 1e-17 of the sum.  Derivatives of D are the mean of the derivatives of
 * the integrand's logarithm, and their mean second derivatives plus their
 * covariance, on the same nodes.  grad and the upper triangle of hess are set,
 * not added to; both may be NULL, or neither.  -Infinity where t_x = T.
 */
double
ClvParetoLogOdds(const double *theta, double x, double t_x, double t,
				 double grad[CLV_COUNT_PARAMS],
				 double hess[CLV_COUNT_PARAMS][CLV_COUNT_PARAMS])
{
	double		rx = theta[0] + x;
	double		alpha = theta[1];
	double		s = theta[2];
	double		beta = theta[3];
	double		base = fmin(alpha, beta);
	double		v_start = log(base + t_x);
	double		v = v_start;
	double		v_end = log(base + t);
	double		inv_end_a = 1.0 / (alpha + t);
	double		inv_end_b = 1.0 / (beta + t);
	double		inv_start_a = 1.0 / (alpha + t_x);
	double		inv_start_b = 1.0 / (beta + t_x);
	double		head;
	double		sum = 0.0;
	double		la = 0.0,
				lb = 0.0,
				ia = 0.0,
				ib = 0.0;
	double		lala = 0.0,
				lalb = 0.0,
				laia = 0.0,
				laib = 0.0,
				lblb = 0.0,
				lbia = 0.0,
				lbib = 0.0,
				iaia = 0.0,
				iaib = 0.0,
				ibib = 0.0;

	if (!(v_end > v))
	{
		if (grad != NULL)
		{
			memset(grad, 0, sizeof(double) * CLV_COUNT_PARAMS);
			memset(hess, 0, sizeof(double) * CLV_COUNT_PARAMS * CLV_COUNT_PARAMS);
		}
		return -INFINITY;
	}

	/* logarithms of the ratios are relative to u = t_x: ln((alpha+t_x)/(alpha+u)) */
	head = rx * log1p((t - t_x) * inv_start_a) + s * log1p((t - t_x) * inv_start_b) +
		log(s * inv_start_b);

	while (v < v_end)
	{
		double		width = fmin(v_end - v, PANEL_WIDTH);
		double		slope;
		double		far;
		double		mid;
		double		half;
		double		before = sum;

		/* the fall is steepest at the end of the panel */
		far = exp(v + width);
		slope = rx * far / (far + alpha - base) + (s + 1.0) * far / (far + beta - base);
		width = fmin(width, PANEL_FALL / slope);
		half = 0.5 * width;
		mid = v + half;
		v = fmin(v + width, v_end);

		for (int i = 0; i < 2 * HALF_NODES; i++)
		{
			int			j = i / 2;
			double		at = mid + (i % 2 == 0 ? half : -half) * legendre_node[j];
			double		du = exp(at);
			double		inv_a = 1.0 / (du + (alpha - base));
			double		inv_b = 1.0 / (du + (beta - base));
			double		log_a = alpha <= beta ? v_start - at : log(inv_a / inv_start_a);
			double		log_b = alpha >= beta ? v_start - at : log(inv_b / inv_start_b);
			double		w = exp(rx * log_a + (s + 1.0) * log_b) * du * half * legendre_weight[j];

			sum += w;
			if (grad != NULL)
			{
				double		wla = w * log_a;
				double		wlb = w * log_b;
				double		wia = w * inv_a;
				double		wib = w * inv_b;

				la += wla;
				lb += wlb;
				ia += wia;
				ib += wib;
				lala += wla * log_a;
				lalb += wla * log_b;
				laia += wla * inv_a;
				laib += wla * inv_b;
				lblb += wlb * log_b;
				lbia += wlb * inv_a;
				lbib += wlb * inv_b;
				iaia += wia * inv_a;
				iaib += wia * inv_b;
				ibib += wib * inv_b;
			}
		}
		if (sum - before < 1e-17 * sum)
			break;
	}

	if (grad != NULL)
	{
		double		one = 1.0 / sum;
		double		rise_a;
		double		rise_b;

		/* means */
		la *= one;
		lb *= one;
		ia *= one;
		ib *= one;
		rise_a = log1p((t - t_x) * inv_start_a);
		rise_b = log1p((t - t_x) * inv_start_b);
		grad[0] = rise_a + la;
		grad[1] = rx * (inv_end_a - ia);
		grad[2] = rise_b + lb + 1.0 / s;
		grad[3] = s * inv_end_b - (s + 1.0) * ib;

		/* covariances, and the mean second derivatives */
		hess[0][0] = lala * one - la * la;
		hess[0][1] = -rx * (laia * one - la * ia) + (inv_end_a - ia);
		hess[0][2] = lalb * one - la * lb;
		hess[0][3] = -(s + 1.0) * (laib * one - la * ib);
		hess[1][1] = rx * rx * (iaia * one - ia * ia) +
			rx * (iaia * one - inv_end_a * inv_end_a);
		hess[1][2] = -rx * (lbia * one - lb * ia);
		hess[1][3] = rx * (s + 1.0) * (iaib * one - ia * ib);
		hess[2][2] = lblb * one - lb * lb - 1.0 / (s * s);
		hess[2][3] = -(s + 1.0) * (lbib * one - lb * ib) + (inv_end_b - ib);
		hess[3][3] = (s + 1.0) * (s + 1.0) * (ibib * one - ib * ib) +
			(s + 1.0) * ibib * one - s * inv_end_b * inv_end_b;
	}
	return head + log(sum);
}

/*
 * Pareto/NBD.  A = ln (r)_x - r ln(1 + T/alpha) - x ln(alpha+T) - s ln(1 + T/beta),
 * and D as above.
 */
static double
ParetoNbd(const double *theta, double grad[CLV_MAX_PARAMS],
		  double hess[CLV_MAX_PARAMS][CLV_MAX_PARAMS], void *arg)
{
	const CountProblem *problem = arg;
	double		r = theta[0];
	double		alpha = theta[1];
	double		s = theta[2];
	double		beta = theta[3];
	double		last_x = -1.0;
	double		by_x = 0.0;
	ClvPoch		poch_r = {0};
	ClvSum		total = {0.0, 0.0};

	memset(grad, 0, sizeof(double) * CLV_MAX_PARAMS);
	memset(hess, 0, sizeof(double) * CLV_MAX_PARAMS * CLV_MAX_PARAMS);

	for (size_t i = 0; i < problem->ncells; i += problem->stride)
	{
		const ClvCell *c = &problem->cell[i];
		double		n = c->n;
		double		rx = r + c->x;
		double		inv_a = 1.0 / (alpha + c->t);
		double		inv_b = 1.0 / (beta + c->t);
		double		log_a = log1p(c->t / alpha);
		double		log_b = log1p(c->t / beta);
		double		dg[CLV_COUNT_PARAMS];
		double		dh[CLV_COUNT_PARAMS][CLV_COUNT_PARAMS];
		double		d;
		double		e;
		double		dead;
		double		spread;

		if (i / problem->stride % (POLL_EVERY / 16) == 0)
			problem->poll();
		if (c->x != last_x)
		{
			last_x = c->x;
			poch_r = ClvLogPoch(r, last_x);
			by_x = poch_r.f - last_x * log(alpha);
		}

		d = ClvParetoLogOdds(theta, c->x, c->t_x, c->t, dg, dh);
		e = exp(-fabs(d));
		dead = (d > 0.0 ? 1.0 : e) / (1.0 + e);
		spread = e / ((1.0 + e) * (1.0 + e));

		grad[0] += n * (poch_r.d1 - log_a);
		grad[1] += n * (r / alpha - rx * inv_a);
		grad[2] -= n * log_b;
		grad[3] += n * s * (1.0 / beta - inv_b);
		hess[0][0] += n * poch_r.d2;
		hess[0][1] += n * (1.0 / alpha - inv_a);
		hess[1][1] += n * (rx * inv_a * inv_a - r / (alpha * alpha));
		hess[2][3] += n * (1.0 / beta - inv_b);
		hess[3][3] += n * s * (inv_b * inv_b - 1.0 / (beta * beta));
		for (int j = 0; j < CLV_COUNT_PARAMS; j++)
		{
			grad[j] += n * dead * dg[j];
			for (int k = j; k < CLV_COUNT_PARAMS; k++)
				hess[j][k] += n * (spread * dg[j] * dg[k] + dead * dh[j][k]);
		}
		ClvAdd(&total, n * (by_x - rx * log_a - s * log_b +
						   fmax(d, 0.0) + log1p(e)));
	}

	for (int i = 0; i < CLV_COUNT_PARAMS; i++)
	{
		for (int j = 0; j < i; j++)
			hess[i][j] = hess[j][i];
	}
	return ClvTotal(&total);
}

/* Keeps the better of two results, the first of which did not converge. */
static void
KeepBetter(ClvMaximum *best, const ClvMaximum *other)
{
	if (other->status == CLV_CONVERGED || !(best->loglik >= other->loglik))
		*best = *other;
}

/*
 * Fits a count model by maximum likelihood.  cell: sorted by x, ncells of them,
 * unit of time as the caller likes (alpha and beta come out in it).  Fewer than
 * two members, or none that bought again, is CLV_TOO_FEW: without a repeat
 * purchase the likelihood grows without end as r goes to zero.
 *
 * Starts from the mean rate of purchase with moderate spread; other starts are
 * tried only when that does not converge.  Where there are many cells, that is
 * done with some of them, and few steps are left to do over all.
 */
void
ClvFitCount(ClvKind kind, const ClvCell *cell, size_t ncells,
			int max_iterations, ClvPoll poll, ClvMaximum *result)
{
	static const double spread[3][3] = {	/* r, then a and b (or s) */
		{0.6, 0.8, 2.0}, {2.0, 0.2, 2.0}, {0.2, 1.5, 1.0}
	};
	CountProblem problem = {kind, cell, ncells, 1, poll};
	ClvObjective objective = kind == CLV_PARETO_NBD ? ParetoNbd : BetaGeometric;
	double		start[CLV_COUNT_PARAMS];
	double		first[CLV_COUNT_PARAMS] = {0};
	double		members = 0.0;
	double		orders = 0.0;
	double		time = 0.0;

	for (size_t i = 0; i < ncells; i++)
	{
		members += cell[i].n;
		orders += cell[i].n * cell[i].x;
		time += cell[i].n * cell[i].t;
	}
	if (members < 2.0 || !(orders > 0.0))
	{
		ClvNoMaximum(CLV_TOO_FEW, result);
		return;
	}

	if (ncells > THIN_FROM)
		problem.stride = ncells > THINNER_FROM ? THINNER_STRIDE : THIN_STRIDE;
	ClvNoMaximum(CLV_NOT_CONVERGED, result);
	for (int i = 0; i < 3; i++)
	{
		ClvMaximum	attempt;

		start[0] = spread[i][0];
		start[1] = spread[i][0] * 0.5 * time / orders;
		start[2] = spread[i][1];
		start[3] = kind == CLV_PARETO_NBD ? time / members : spread[i][2];
		if (i == 0)
			memcpy(first, start, sizeof(first));
		ClvMaximize(objective, &problem, CLV_COUNT_PARAMS, start, start, max_iterations, &attempt);
		KeepBetter(result, &attempt);
		if (result->status == CLV_CONVERGED)
			break;
	}
	if (problem.stride > 1)
	{
		bool		usable = result->status == CLV_CONVERGED || result->status == CLV_BOUNDARY;

		memcpy(start, usable ? result->theta : first, sizeof(start));
		problem.stride = 1;
		ClvMaximize(objective, &problem, CLV_COUNT_PARAMS, start, first, max_iterations, result);
	}
}

typedef struct SpendProblem
{
	const ClvSpendCell *cell;
	size_t		ncells;
	ClvPoll		poll;
} SpendProblem;

/*
 * Gamma-Gamma: with P = p x and S = x m (the spend of all repeat purchases),
 *
 *	ln L = -ln Beta(P, q) + P ln(S / (v + S)) + q ln(v / (v + S)) - ln m
 *
 * which is the published density of the mean m (Fader and Hardie 2013, 1a).
 */
static double
GammaGamma(const double *theta, double grad[CLV_MAX_PARAMS],
		   double hess[CLV_MAX_PARAMS][CLV_MAX_PARAMS], void *arg)
{
	const SpendProblem *problem = arg;
	double		p = theta[0];
	double		q = theta[1];
	double		v = theta[2];
	double		last_x = -1.0;
	double		by_x = 0.0;
	double		psi2_sum = 0.0;
	ClvPoch		poch_p = {0};
	ClvPoch		poch_q = {0};
	ClvSum		total = {0.0, 0.0};

	memset(grad, 0, sizeof(double) * CLV_MAX_PARAMS);
	memset(hess, 0, sizeof(double) * CLV_MAX_PARAMS * CLV_MAX_PARAMS);

	for (size_t i = 0; i < problem->ncells; i++)
	{
		const ClvSpendCell *c = &problem->cell[i];
		double		x = c->x;
		double		n = c->n;
		double		spent = x * c->m;
		double		inv = 1.0 / (v + spent);
		double		log_s = -log1p(v / spent);	/* ln(S / (v+S)) */
		double		log_v = -log1p(spent / v);	/* ln(v / (v+S)) */

		if (i % POLL_EVERY == 0)
			problem->poll();
		if (x != last_x)
		{
			last_x = x;
			poch_p = ClvLogPoch(p * x, q);
			poch_q = ClvLogPoch(q, p * x);
			psi2_sum = ClvTrigamma(p * x + q);
			by_x = -ClvLogBeta(p * x, q);
		}

		grad[0] += n * x * (poch_p.d1 + log_s);
		grad[1] += n * (poch_q.d1 + log_v);
		grad[2] += n * (q / v - (p * x + q) * inv);
		hess[0][0] += n * x * x * poch_p.d2;
		hess[0][1] += n * x * psi2_sum;
		hess[0][2] -= n * x * inv;
		hess[1][1] += n * poch_q.d2;
		hess[1][2] += n * (1.0 / v - inv);
		hess[2][2] += n * ((p * x + q) * inv * inv - q / (v * v));
		ClvAdd(&total, n * (by_x + p * x * log_s + q * log_v - log(c->m)));
	}
	for (int i = 0; i < CLV_SPEND_PARAMS; i++)
	{
		for (int j = 0; j < i; j++)
			hess[i][j] = hess[j][i];
	}
	return ClvTotal(&total);
}

/*
 * Fits Gamma-Gamma by maximum likelihood.  cell: x > 0, m > 0, sorted by x.
 * Fewer than three members is CLV_TOO_FEW.  v comes out in the currency of m.
 */
void
ClvFitSpend(const ClvSpendCell *cell, size_t ncells,
			int max_iterations, ClvPoll poll, ClvMaximum *result)
{
	static const double spread[3][2] = {{4.0, 3.0}, {1.0, 2.0}, {20.0, 10.0}};
	SpendProblem problem = {cell, ncells, poll};
	double		members = 0.0;
	double		log_m = 0.0;

	for (size_t i = 0; i < ncells; i++)
	{
		members += cell[i].n;
		log_m += cell[i].n * log(cell[i].m);
	}
	if (members < 3.0)
	{
		ClvNoMaximum(CLV_TOO_FEW, result);
		return;
	}

	ClvNoMaximum(CLV_NOT_CONVERGED, result);
	for (int i = 0; i < 3; i++)
	{
		double		start[CLV_SPEND_PARAMS];
		ClvMaximum	attempt;

		/* v so that the model's mean, p v / (q - 1), is the geometric one seen */
		start[0] = spread[i][0];
		start[1] = spread[i][1];
		start[2] = exp(log_m / members) * (spread[i][1] - 1.0) / spread[i][0];
		ClvMaximize(GammaGamma, &problem, CLV_SPEND_PARAMS, start, start, max_iterations, &attempt);
		KeepBetter(result, &attempt);
		if (result->status == CLV_CONVERGED)
			break;
	}
}
