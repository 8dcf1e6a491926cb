/*
 * price.c
 *		What coupons take off a basket.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "benefit/price.h"

/*
 * Spreads a total over parts in proportion to their weights, exactly: each gets
 * its share rounded down, and what is left goes, one each, to the largest
 * remainders, the first of equal ones.  The sum of the weights is not 0 unless
 * the total is.  No part gets more than its weight where the total is not more
 * than their sum.
 */
void
SpreadByWeight(int64 total, int n, const int64 *weights, int64 *shares)
{
	int128		sum = 0;
	int64		left = total;
	int128	   *remainder = palloc(Max(n, 1) * sizeof(int128));

	for (int i = 0; i < n; i++)
		sum += weights[i];
	for (int i = 0; i < n; i++)
	{
		int128		product = (int128) total * weights[i];

		shares[i] = sum > 0 ? (int64) (product / sum) : 0;
		remainder[i] = sum > 0 ? product % sum : 0;
		left -= shares[i];
	}
	for (; left > 0; left--)
	{
		int			largest = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 1; i < n; i++)
		{
			if (remainder[i] > remainder[largest])
				largest = i;
		}
		shares[largest]++;
		remainder[largest] = -1;
	}
	pfree(remainder);
}

/* n / d of numbers that are not negative, half up */
static int64
RoundedQuotient(int128 n, int128 d)
{
	return (int64) ((2 * n + d) / (2 * d));
}

/*
 * What is left of a share of a line when now is left of what the line was then:
 * never more than the share, in units, half up.
 */
int64
RoundedShare(int64 share, int64 now, int64 then, int64 unit)
{
	if (now >= then)
		return share;
	if (now <= 0)
		return 0;
	return Min(share, RoundedQuotient((int128) share * now, (int128) then * unit) * unit);
}

/* Of so many units of a line, in order of the price of one. */
typedef struct Units
{
	int			line;
	int64		amount;			/* of the line: what is left of it */
	int64		quantity;
	int64		n;				/* whole ones */
} Units;

/* Cheaper ones first, of equal ones the first line. */
static int
CompareUnits(const void *a, const void *b)
{
	const Units *x = a;
	const Units *y = b;
	int128		left = (int128) x->amount * y->quantity;
	int128		right = (int128) y->amount * x->quantity;

	if (left != right)
		return left < right ? -1 : 1;
	return x->line - y->line;
}

/*
 * Picks so many units of lines, in the order in which they stand; their prices
 * are added to weights, by line.
 */
static void
PickUnits(const Units *units, int n, bool from_the_end, int64 wanted, int64 unit, int64 *weights)
{
	for (int i = 0; i < n && wanted > 0; i++)
	{
		const Units *u = &units[from_the_end ? n - 1 - i : i];
		int64		picked = Min(wanted, u->n);

		weights[u->line] += RoundedQuotient((int128) u->amount * picked * PRICE_SCALE, (int128) u->quantity * unit);
		wanted -= picked;
	}
}

/*
 * Finds out what one coupon gives, at the prices that the classes before have
 * left (left, of which the last is of shipping), in units.
 */
static void
PriceOne(const PriceBasket *basket, const int64 *left, PriceCoupon *coupon)
{
	const DiscountTerms *terms = &coupon->terms;
	int			nparts = basket->nlines + 1;
	int64	   *weights = palloc0(nparts * sizeof(int64));
	int64	   *shares = palloc0(nparts * sizeof(int64));
	Units	   *units = palloc(nparts * sizeof(Units));
	int			nunits = 0;
	int128		given = 0;		/* what the lines that are meant were before all coupons */
	int128		remaining = 0;	/* and are now */
	int128		whole_units = 0;
	int128		total = 0;
	int128		sum = 0;

	coupon->discount = 0;
	memset(coupon->share, 0, nparts * sizeof(int64));
	for (int i = 0; i < basket->nlines; i++)
	{
		const PriceLine *line = &basket->lines[i];

		if (!coupon->eligible[i])
			continue;
		given += line->amount;
		remaining += left[i];
		if (line->quantity >= PRICE_SCALE)
		{
			units[nunits].line = i;
			units[nunits].amount = left[i];
			units[nunits].quantity = line->quantity;
			units[nunits].n = line->quantity / PRICE_SCALE;
			whole_units += units[nunits].n;
			nunits++;
		}
		if (terms->kind == DISCOUNT_PERCENT || terms->kind == DISCOUNT_AMOUNT)
			weights[i] = left[i] / basket->unit;
	}
	if (given <= 0)
	{
		coupon->verdict = PRICE_NO_LINES;
		return;
	}
	if (terms->minimum_after)
		given = remaining;
	if (given < terms->minimum || (terms->kind == DISCOUNT_AMOUNT && given < terms->every))
	{
		coupon->verdict = PRICE_MINIMUM;
		return;
	}

	if (terms->class == CLASS_SHIPPING)
	{
		memset(weights, 0, nparts * sizeof(int64));
		weights[basket->nlines] = left[basket->nlines] / basket->unit;
	}
	else if (terms->kind == DISCOUNT_UNITS)
	{
		qsort(units, nunits, sizeof(Units), CompareUnits);
		PickUnits(units, nunits, terms->dearest, (int64) Min(whole_units / terms->units, PG_INT64_MAX), basket->unit, weights);
	}
	else if (terms->kind == DISCOUNT_FREE)
		PickUnits(units, nunits, false, terms->units, basket->unit, weights);

	for (int i = 0; i < nparts; i++)
	{
		weights[i] = Min(weights[i], left[i] / basket->unit);
		sum += weights[i];
	}
	switch (terms->kind)
	{
		case DISCOUNT_PERCENT:
		case DISCOUNT_UNITS:
			total = RoundedQuotient(sum * terms->percent, (int128) 100 * PERCENT_SCALE);
			if (terms->at_most > 0)
				total = Min(total, terms->at_most / basket->unit);
			break;
		case DISCOUNT_AMOUNT:
			total = (int128) (terms->amount / basket->unit) * (terms->every > 0 ? given / terms->every : 1);
			break;
		case DISCOUNT_FREE:
			total = sum;
			break;
	}
	total = Min(total, sum);
	if (total <= 0)
	{
		coupon->verdict = PRICE_NOTHING;
		return;
	}
	SpreadByWeight((int64) total, nparts, weights, shares);
	for (int i = 0; i < nparts; i++)
		coupon->share[i] = shares[i] * basket->unit;
	coupon->discount = (int64) total * basket->unit;
	coupon->verdict = PRICE_APPLIES;
	pfree(weights);
	pfree(shares);
	pfree(units);
}

static void
KeepShares(const PriceBasket *basket, PriceCoupon *coupon)
{
	coupon->discount = 0;
	for (int i = 0; i <= basket->nlines; i++)
	{
		coupon->share[i] = coupon->kept[i];
		coupon->discount += coupon->kept[i];
	}
	coupon->verdict = coupon->discount > 0 ? PRICE_APPLIES : PRICE_NOTHING;
}

/* Takes a coupon's shares off, as far as they go. */
static void
TakeOff(const PriceBasket *basket, int64 *left, PriceCoupon *coupon)
{
	coupon->discount = 0;
	for (int i = 0; i <= basket->nlines; i++)
	{
		coupon->share[i] = Min(coupon->share[i], left[i]);
		left[i] -= coupon->share[i];
		coupon->discount += coupon->share[i];
	}
	if (coupon->verdict == PRICE_APPLIES && coupon->discount == 0)
		coupon->verdict = PRICE_NOTHING;
}

static int
CompareCoupons(const void *a, const void *b)
{
	const PriceCoupon *x = *(PriceCoupon *const *) a;
	const PriceCoupon *y = *(PriceCoupon *const *) b;

	if (x->terms.priority != y->terms.priority)
		return x->terms.priority < y->terms.priority ? -1 : 1;
	if (x->coupon_id != y->coupon_id)
		return x->coupon_id < y->coupon_id ? -1 : 1;
	return x < y ? -1 : x > y;
}

/*
 * Prices a basket with coupons, all of which are wanted: whether two of them
 * shut each other out is not asked.  Those that PRICE_EXCLUDED are left alone.
 */
void
PriceCoupons(const PriceBasket *basket, int ncoupons, PriceCoupon *coupons)
{
	int64	   *left = palloc((basket->nlines + 1) * sizeof(int64));
	PriceCoupon **ordered = palloc(Max(ncoupons, 1) * sizeof(PriceCoupon *));

	for (int i = 0; i < basket->nlines; i++)
		left[i] = Max(basket->lines[i].amount, 0);
	left[basket->nlines] = Max(basket->shipping, 0);
	for (int i = 0; i < ncoupons; i++)
	{
		coupons[i].share = palloc0((basket->nlines + 1) * sizeof(int64));
		ordered[i] = &coupons[i];
	}
	qsort(ordered, ncoupons, sizeof(PriceCoupon *), CompareCoupons);
	for (DiscountClass class = CLASS_LINES; class <= CLASS_SHIPPING; class++)
	{
		for (int i = 0; i < ncoupons; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (ordered[i]->terms.class != class || ordered[i]->verdict == PRICE_EXCLUDED)
				continue;
			if (ordered[i]->kept != NULL)
				KeepShares(basket, ordered[i]);
			else
				PriceOne(basket, left, ordered[i]);
		}
		for (int i = 0; i < ncoupons; i++)
		{
			if (ordered[i]->terms.class == class && ordered[i]->verdict != PRICE_EXCLUDED)
				TakeOff(basket, left, ordered[i]);
		}
	}
	pfree(left);
	pfree(ordered);
}

static bool
ShutOut(const PriceCoupon *a, const PriceCoupon *b)
{
	return a->terms.exclusive != NULL && b->terms.exclusive != NULL && strcmp(a->terms.exclusive, b->terms.exclusive) == 0;
}

/*
 * Prices a basket with those of the coupons that are best: of each group the
 * one that would give most alone, of equal ones the first by (priority,
 * coupon).  The others are EXCLUDED, and lost_to says by which.
 */
void
ChooseCoupons(const PriceBasket *basket, int ncoupons, PriceCoupon *coupons)
{
	for (int i = 0; i < ncoupons; i++)
	{
		coupons[i].verdict = PRICE_APPLIES;
		PriceCoupons(basket, 1, &coupons[i]);
	}
	for (int i = 0; i < ncoupons; i++)
	{
		const PriceCoupon *self = &coupons[i];
		int			best = i;

		for (int j = 0; j < ncoupons; j++)
		{
			const PriceCoupon *other = &coupons[j];
			const PriceCoupon *leader = &coupons[best];

			if (j != best && ShutOut(self, other) &&
				(other->discount > leader->discount ||
				 (other->discount == leader->discount && CompareCoupons(&other, &leader) < 0)))
				best = j;
		}
		coupons[i].lost_to = best;
	}
	for (int i = 0; i < ncoupons; i++)
	{
		if (coupons[i].lost_to != i && coupons[coupons[i].lost_to].discount > 0 && coupons[i].verdict == PRICE_APPLIES)
			coupons[i].verdict = PRICE_EXCLUDED;
	}
	for (int i = 0; i < ncoupons; i++)
	{
		if (coupons[i].verdict == PRICE_EXCLUDED)
			coupons[i].discount = 0;
	}
	PriceCoupons(basket, ncoupons, coupons);
}
