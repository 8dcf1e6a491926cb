/*
 * clv_math.c
 *		Special functions, quadrature and a small maximiser; see clv_math.h.
 */
#include <float.h>
#include <math.h>
#include <stddef.h>

#include "clv/clv_math.h"

/* Asymptotic series are used from here on; the error is below 1e-16. */
#define ASYMPTOTIC_FROM		12.0

/* The part of ln Gamma, digamma, trigamma that Stirling's leading terms lack. */
static double
LogGammaRest(double z)
{
	double		i = 1.0 / z;
	double		q = i * i;

	return i * (1.0 / 12 - q * (1.0 / 360 - q * (1.0 / 1260 - q * (1.0 / 1680
									- q * (1.0 / 1188 - q * (691.0 / 360360))))));
}

static double
DigammaRest(double z)
{
	double		i = 1.0 / z;
	double		q = i * i;

	return -0.5 * i - q * (1.0 / 12 - q * (1.0 / 120 - q * (1.0 / 252 - q * (1.0 / 240
									- q * (1.0 / 132 - q * (691.0 / 32760))))));
}

static double
TrigammaRest(double z)
{
	double		i = 1.0 / z;
	double		q = i * i;

	return q * (0.5 + i * (1.0 / 6 - q * (1.0 / 30 - q * (1.0 / 42 - q * (1.0 / 30
									- q * (5.0 / 66 - q * (691.0 / 2730)))))));
}

/*
 * ln of the rising factorial (y)_k = Gamma(y + k) / Gamma(y), y > 0, k >= 0
 * (k need not be whole), with its first two derivatives in y.
 *
 * Differences are taken term by term, so nothing cancels where y is huge and k
 * small, as it would in lgamma(y + k) - lgamma(y).  Formulas: Abramowitz and
 * Stegun, Handbook of Mathematical Functions (1972), 6.1.40, 6.3.18, 6.4.12,
 * and the recurrences 6.1.15, 6.3.5, 6.4.6.
 */
ClvPoch
ClvLogPoch(double y, double k)
{
	ClvPoch		p = {0.0, 0.0, 0.0};
	double		z = y;
	double		w;
	double		l;

	if (k <= 16.0 && k == floor(k))
	{
		int			n = (int) k;

		for (int i = 0; i < n; i++)
		{
			double		inv = 1.0 / (y + i);

			p.f += log(y + i);
			p.d1 += inv;
			p.d2 -= inv * inv;
		}
		return p;
	}

	for (; z < ASYMPTOTIC_FROM; z += 1.0)
	{
		double		far = z + k;

		p.f -= log1p(k / z);
		p.d1 += k / (z * far);
		p.d2 -= k * (z + far) / (z * z * far * far);
	}
	w = z + k;
	l = log1p(k / z);
	p.f += (z - 0.5) * l + k * (log(w) - 1.0) + (LogGammaRest(w) - LogGammaRest(z));
	p.d1 += l + (DigammaRest(w) - DigammaRest(z));
	p.d2 += -k / (z * w) + (TrigammaRest(w) - TrigammaRest(z));
	return p;
}

/*
 * Trigamma of y > 0 (second derivative of ln Gamma).
 */
double
ClvTrigamma(double y)
{
	double		sum = 0.0;

	for (; y < ASYMPTOTIC_FROM; y += 1.0)
		sum += 1.0 / (y * y);
	return sum + 1.0 / y + TrigammaRest(y);
}

/*
 * ln Beta(a, b), a > 0, b > 0; exact also where one of them is huge.
 */
double
ClvLogBeta(double a, double b)
{
	double		small = fmin(a, b);

	return lgamma(small) - ClvLogPoch(fmax(a, b), small).f;
}

/*
 * Gauss-Kronrod 7-15 rule on one panel; the difference of the two rules goes to
 * *error.  Nodes and weights: Piessens et al., QUADPACK (1983).
 */
static double
Kronrod15(ClvIntegrand f, const void *arg, double lo, double hi, double *error)
{
	static const double node[7] = {
		0.991455371120812639206854697526329, 0.949107912342758524526189684047851,
		0.864864423359769072789712788640926, 0.741531185599394439863864773280788,
		0.586087235467691130294144693693013, 0.405845151377397166906606412076961,
		0.207784955007898467600689403773245
	};
	static const double weight15[8] = {
		0.022935322010529224963732008058970, 0.063092092629978553290700663189204,
		0.104790010322250183839876322541518, 0.140653259715525918745189590510238,
		0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
		0.204432940075298892414161999234649, 0.209482141084727828012999174891714
	};
	static const double weight7[4] = {
		0.129484966168869693270611432679082, 0.279705391489276667901467771423780,
		0.381830050505118944950369775488975, 0.417959183673469387755102040816327
	};
	double		mid = 0.5 * (lo + hi);
	double		half = 0.5 * (hi - lo);
	double		centre = f(mid, arg);
	double		fine = weight15[7] * centre;
	double		coarse = weight7[3] * centre;

	for (int i = 0; i < 7; i++)
	{
		double		pair = f(mid - half * node[i], arg) + f(mid + half * node[i], arg);

		fine += weight15[i] * pair;
		if (i % 2 == 1)
			coarse += weight7[i / 2] * pair;
	}
	*error = fabs(fine - coarse) * half;
	return fine * half;
}

/* A panel is halved while no more than these wait, and while there are fewer. */
#define MAX_WAITING			40
#define MAX_PANELS			2000

/*
 * Integral of a smooth function over [lo, hi], by bisecting panels until each
 * one's error is below its share of 1e-12 of the whole.  The bounds above are
 * for hopeless integrands.
 */
double
ClvIntegrate(ClvIntegrand f, const void *arg, double lo, double hi, ClvPoll poll)
{
	struct
	{
		double		lo;
		double		hi;
	}			todo[MAX_WAITING + 2];
	int			ntodo = 0;
	int			npanels = 0;
	double		sum = 0.0;
	double		error;
	double		whole;

	if (!(hi > lo))
		return 0.0;
	whole = Kronrod15(f, arg, lo, hi, &error);
	if (error <= 1e-12 * fabs(whole))
		return whole;

	todo[ntodo].lo = lo;
	todo[ntodo++].hi = hi;
	while (ntodo > 0)
	{
		double		a = todo[--ntodo].lo;
		double		b = todo[ntodo].hi;
		double		part = Kronrod15(f, arg, a, b, &error);
		double		seen = fmax(fabs(sum), fabs(whole));

		poll();
		if (error <= 1e-12 * fabs(part) || error <= 1e-14 * seen ||
			ntodo > MAX_WAITING || npanels >= MAX_PANELS)
		{
			sum += part;
			npanels++;
			continue;
		}
		/* the left half is taken first: as many wait as it is halves deep */
		todo[ntodo].lo = 0.5 * (a + b);
		todo[ntodo++].hi = b;
		todo[ntodo].lo = a;
		todo[ntodo++].hi = 0.5 * (a + b);
	}
	return sum;
}

/*
 * Solves m x = g for a symmetric positive definite m by Cholesky; false when m
 * is not (numerically) positive definite.  inverse, when wanted, is m^-1.
 */
static bool
SolvePositive(int n, double m[CLV_MAX_PARAMS][CLV_MAX_PARAMS], const double *g,
			  double *x, double inverse[CLV_MAX_PARAMS][CLV_MAX_PARAMS])
{
	double		l[CLV_MAX_PARAMS][CLV_MAX_PARAMS];

	for (int i = 0; i < n; i++)
	{
		for (int j = 0; j <= i; j++)
		{
			double		sum = m[i][j];

			for (int k = 0; k < j; k++)
				sum -= l[i][k] * l[j][k];
			if (i == j)
			{
				if (!(sum > 1e-14 * fabs(m[i][i])) || !isfinite(sum))
					return false;
				l[i][i] = sqrt(sum);
			}
			else
				l[i][j] = sum / l[j][j];
		}
	}
	for (int column = (g != NULL ? -1 : 0); column < (inverse != NULL ? n : 0); column++)
	{
		double		y[CLV_MAX_PARAMS];

		for (int i = 0; i < n; i++)
		{
			/* cppcheck-suppress nullPointer ; column begins at 0 where there is no g */
			double		sum = column < 0 ? g[i] : (i == column ? 1.0 : 0.0);

			for (int k = 0; k < i; k++)
				sum -= l[i][k] * y[k];
			y[i] = sum / l[i][i];
		}
		for (int i = n - 1; i >= 0; i--)
		{
			for (int k = i + 1; k < n; k++)
				y[i] -= l[k][i] * y[k];
			y[i] /= l[i][i];
		}
		for (int i = 0; i < n; i++)
		{
			if (column < 0)
				x[i] = y[i];
			else
				inverse[i][column] = y[i];
		}
	}
	return true;
}

/* A log-parameter less certain than this is not identified by the data. */
#define MAX_LOG_STD_ERR		20.0
/* Newton decrement, in units of log-likelihood, at which we stop. */
#define DECREMENT_DONE		1e-9
/*
 * This many steps in a row that gain next to nothing, with a parameter as far
 * from its origin as this, in natural logarithms, creep along a flat ridge: it
 * counts as 0 or infinite.  Origins follow the units of time and money, so the
 * bound does too.
 */
#define CREEPING_STEPS		5
#define CREEPING_GAIN		1e-4
#define CREEPING_BOUND		9.0

static double
Dot(int n, const double *a, const double *b)
{
	double		sum = 0.0;

	for (int i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* No parameters, and why. */
void
ClvNoMaximum(ClvStatus status, ClvMaximum *result)
{
	result->status = status;
	result->iterations = 0;
	result->loglik = NAN;
	for (int i = 0; i < CLV_MAX_PARAMS; i++)
		result->theta[i] = result->std_err[i] = NAN;
}

/* A climb to a maximum: the best point so far, in logarithms. */
typedef struct Climb
{
	int			n;
	double		phi[CLV_MAX_PARAMS];
	double		grad[CLV_MAX_PARAMS];
	double		info[CLV_MAX_PARAMS][CLV_MAX_PARAMS];	/* minus the Hessian */
	double		damping;
} Climb;

/* Damps the next step more; false when no damping helps any more. */
static bool
Dampen(Climb *climb)
{
	climb->damping = climb->damping > 0.0 ? climb->damping * 4.0 : 1e-3;
	return climb->damping <= 1e12;
}

/*
 * The step from the best point so far; false when there is none.  *last says
 * that nothing is left to gain beyond it.
 */
static bool
DampedStep(Climb *climb, double *step, bool *last)
{
	int			n = climb->n;
	double		longest = 0.0;

	/*
	 * Damping that is left from farther out would hide that nothing is left to
	 * gain, as rounding may refuse the steps that reduce it.
	 */
	if (SolvePositive(n, climb->info, climb->grad, step, NULL) &&
		Dot(n, step, climb->grad) < DECREMENT_DONE)
		climb->damping = 0.0;
	for (;;)
	{
		double		m[CLV_MAX_PARAMS][CLV_MAX_PARAMS];

		for (int i = 0; i < n; i++)
		{
			for (int j = 0; j < n; j++)
				m[i][j] = climb->info[i][j];
			m[i][i] += climb->damping * (1.0 + fabs(climb->info[i][i]));
		}
		if (SolvePositive(n, m, climb->grad, step, NULL))
			break;
		if (!Dampen(climb))
			return false;
	}
	for (int i = 0; i < n; i++)
		longest = fmax(longest, fabs(step[i]));
	*last = climb->damping == 0.0 && longest <= 2.0 && Dot(n, step, climb->grad) < DECREMENT_DONE;
	if (longest > 2.0)
	{
		for (int i = 0; i < n; i++)
			step[i] *= 2.0 / longest;
	}
	return true;
}

/* Makes a point the best one, with derivatives turned to those in the logarithms. */
static void
Accept(Climb *climb, const double *phi, const double *theta, const double *g, double h[CLV_MAX_PARAMS][CLV_MAX_PARAMS])
{
	climb->damping = climb->damping > 1e-4 ? climb->damping * 0.2 : 0.0;
	for (int i = 0; i < climb->n; i++)
	{
		climb->phi[i] = phi[i];
		climb->grad[i] = theta[i] * g[i];
		for (int j = 0; j < climb->n; j++)
			climb->info[i][j] = -theta[i] * theta[j] * h[i][j];
	}
	for (int i = 0; i < climb->n; i++)
		climb->info[i][i] -= climb->grad[i];
}

static bool
IsFarOut(const Climb *climb, const double *phi, const double *origin)
{
	for (int i = 0; i < climb->n; i++)
		if (fabs(phi[i] - log(origin[i])) > CREEPING_BOUND)
			return true;
	return false;
}

/* The maximum is reached: standard errors, or what they say against it. */
static void
Finish(Climb *climb, ClvMaximum *result)
{
	double		covariance[CLV_MAX_PARAMS][CLV_MAX_PARAMS];

	if (!SolvePositive(climb->n, climb->info, NULL, NULL, covariance))
	{
		result->status = CLV_BOUNDARY;
		return;
	}
	result->status = CLV_CONVERGED;
	for (int i = 0; i < climb->n; i++)
	{
		double		se = sqrt(covariance[i][i]);

		if (!(se < MAX_LOG_STD_ERR))
			result->status = CLV_BOUNDARY;
		result->std_err[i] = result->theta[i] * se;
	}
}

/*
 * Maximises a log-likelihood over n positive parameters, in their logarithms,
 * from start (origin: a usual value of each, for CREEPING_BOUND): Newton's method
 * with the analytic Hessian, damped as by Levenberg and Marquardt wherever the
 * Hessian is not negative definite or a step does not help.  Ends when the
 * undamped step that is left would gain less than 1e-9 in log-likelihood, and
 * takes that step.
 *
 * Standard errors come from the observed information at the maximum: minus the
 * inverse Hessian in the logarithms, times the parameter (at a maximum, where
 * the gradient vanishes, that is the inverse Hessian in the parameters).
 */
void
ClvMaximize(ClvObjective objective, void *arg, int n, const double *start,
			const double *origin, int max_iterations, ClvMaximum *result)
{
	Climb		climb = {.n = n};
	int			creeping = 0;

	ClvNoMaximum(CLV_NOT_CONVERGED, result);
	for (int i = 0; i < n; i++)
		climb.phi[i] = log(start[i]);

	for (int pass = 0; pass <= max_iterations; pass++)
	{
		double		phi[CLV_MAX_PARAMS];
		double		theta[CLV_MAX_PARAMS] = {0};
		double		g[CLV_MAX_PARAMS];
		double		h[CLV_MAX_PARAMS][CLV_MAX_PARAMS];
		double		step[CLV_MAX_PARAMS] = {0};
		double		value;
		bool		last = false;

		if (pass > 0 && !DampedStep(&climb, step, &last))
			return;
		for (int i = 0; i < n; i++)
		{
			phi[i] = climb.phi[i] + step[i];
			theta[i] = exp(phi[i]);
		}
		value = objective(theta, g, h, arg);
		result->iterations = pass;

		/* the last, tiny step may lose what rounding loses */
		if (pass > 0 && !(value >= result->loglik) &&
			!(last && value >= result->loglik - 1e-9 - 1e-13 * fabs(result->loglik)))
		{
			if (last)
			{
				/* the best point is good enough: stay there */
				Finish(&climb, result);
				return;
			}
			if (!Dampen(&climb))
				return;
			continue;
		}
		if (!isfinite(value))
			return;

		creeping = IsFarOut(&climb, phi, origin) && value - result->loglik < CREEPING_GAIN ? creeping + 1 : 0;
		result->loglik = value;
		for (int i = 0; i < n; i++)
			result->theta[i] = theta[i];
		Accept(&climb, phi, theta, g, h);
		if (last)
		{
			Finish(&climb, result);
			return;
		}
		if (creeping >= CREEPING_STEPS)
		{
			result->status = CLV_BOUNDARY;
			return;
		}
	}
}
