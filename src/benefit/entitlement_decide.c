/*
 * entitlement_decide.c
 *		What a member has of an entitlement at an instant.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "benefit/entitlement.h"

/* Levels that were held, the best of which counts. */
typedef struct Best
{
	const Offer *offer;
	int64		uses;
} Best;

static int64
UsesOfLevel(const Offer *offer, const char *level)
{
	for (int i = 0; level != NULL && i < offer->nrows; i++)
	{
		if (strcmp(offer->rows[i].level, level) == 0)
			return offer->rows[i].uses;
	}
	return 0;
}

static void
VisitLevel(const char *level, void *arg)
{
	Best	   *best = arg;

	best->uses = Max(best->uses, UsesOfLevel(best->offer, level));
}

/*
 * How many uses a period has for whoever the member is at an instant in it;
 * *open: it may use it then.
 */
static int64
QuotaAt(const Asker *asker, const Benefit *benefit, const Span *period, TimestampTz at, bool *open)
{
	const Offer *offer = benefit->offer;
	Asker		then = *asker;
	Best		best = {.offer = offer};

	then.at = at;
	if (offer->ladder == NULL)
	{
		*open = false;
		for (int i = 0; i < offer->nrows; i++)
		{
			if (offer->rows[i].uses > best.uses && Meets(&then, benefit, offer->rows[i].when, NULL))
				best.uses = offer->rows[i].uses;
		}
		*open = best.uses > 0;
		return best.uses;
	}
	best.uses = UsesOfLevel(offer, LevelHeld(&then, offer->ladder, at));
	*open = best.uses > 0;
	if (offer->level == LEVEL_BEST)
		ForEachLevelHeld(&then, offer->ladder, period->from, at, VisitLevel, &best);
	else if (offer->level == LEVEL_AT_START)
		best.uses = period->from <= MIN_TIMESTAMP ? 0 : UsesOfLevel(offer, LevelHeld(&then, offer->ladder, period->from));
	return best.uses;
}

/* What uses of a benefit there are. */
static Use *
UsesOf(const NamedUses *uses, const char *benefit, int *n)
{
	Use		   *found = palloc(Max(uses->n, 1) * sizeof(Use));

	*n = 0;
	for (int i = 0; i < uses->n; i++)
	{
		if (strcmp(uses->uses[i].benefit, benefit) == 0)
			found[(*n)++] = uses->uses[i].use;
	}
	return found;
}

/*
 * What is carried to a period.  What a period leaves is its own, so what had been
 * carried to one of which nothing was used does not matter: from there on.
 */
static int64
CarriedTo(const Asker *asker, const Benefit *benefit, TimestampTz anchor, const Span *period, const Use *uses, int nuses)
{
	const Offer *offer = benefit->offer;
	int64		carried = 0;
	Span		span = *period;

	while (span.from > MIN_TIMESTAMP && (!offer->period.anchored || span.from > anchor))
	{
		CHECK_FOR_INTERRUPTS();
		span = PeriodBefore(&offer->period, anchor, &span);
		if (CountUses(uses, nuses, &span, asker->at).used == 0)
			break;
	}
	for (; span.from < period->from; span = PeriodOf(&offer->period, anchor, span.until))
	{
		bool		open;
		int64		allowed;

		CHECK_FOR_INTERRUPTS();
		allowed = QuotaAt(asker, benefit, &span, span.until - 1, &open);
		carried = LeftToCarry(allowed, carried, CountUses(uses, nuses, &span, asker->at).used, offer->carry_over);
	}
	return carried;
}

/*
 * How many of what a period leaves were carried on and are used already: of a
 * use that is recorded late, later periods have come first.  carried: to it;
 * allowed: of its own; used: of it.
 */
static int64
CarriedOnAndUsed(const Asker *asker, const Benefit *benefit, TimestampTz anchor, const Span *period, const Use *uses, int nuses,
				 int64 allowed, int64 carried, int64 used)
{
	const Offer *offer = benefit->offer;
	int64		needed = 0;
	Span		span = *period;

	/* the last of those that follow each other and were used */
	for (;;)
	{
		Span		next = PeriodOf(&offer->period, anchor, span.until);

		CHECK_FOR_INTERRUPTS();
		if (CountUses(uses, nuses, &next, asker->at).used == 0)
			break;
		span = next;
	}
	/* from there back: what each needs of the one before */
	for (; span.from > period->from; span = PeriodBefore(&offer->period, anchor, &span))
	{
		bool		open;
		int64		own = QuotaAt(asker, benefit, &span, span.until - 1, &open);
		int64		used_of_it = CountUses(uses, nuses, &span, asker->at).used;

		needed = own == QUOTA_UNLIMITED ? 0 : Max(0, Min(used_of_it, used_of_it - own + needed));
	}
	return Min(needed, LeftToCarry(allowed, carried, used, offer->carry_over));
}

/*
 * What a member has of a benefit at the asker's instant.
 */
void
DecideEntitlement(const Asker *asker, const Benefit *benefit, const NamedUses *uses, Entitled *entitled)
{
	const Offer *offer = benefit->offer;
	TimestampTz anchor = 0;
	QuotaCount	count;
	int			nuses;
	Use		   *own = UsesOf(uses, benefit->name, &nuses);

	memset(entitled, 0, sizeof(Entitled));
	entitled->period = (Span) {TIMESTAMP_MINUS_INFINITY, TIMESTAMP_INFINITY};
	if ((offer->anchor == ANCHOR_JOINED && !JoinedAt(asker, &anchor)) ||
		(offer->anchor == ANCHOR_MEMBERSHIP && !MembershipBegan(asker, offer->ladder, asker->at, &anchor)) ||
		(offer->anchor != ANCHOR_CALENDAR && anchor > asker->at))
	{
		entitled->why = "not_joined";
		count = CountUses(own, nuses, &entitled->period, asker->at);
		entitled->granted_left = Max(0, count.granted - count.granted_used);
		pfree(own);
		return;
	}
	entitled->period = PeriodOf(&offer->period, anchor, asker->at);
	count = CountUses(own, nuses, &entitled->period, asker->at);
	entitled->used = entitled->most = count.used;
	if (offer->period.rolling != NULL)
		entitled->used = CountRolling(own, nuses, &offer->period, asker->at, &entitled->most);
	entitled->granted_left = Max(0, count.granted - count.granted_used);
	entitled->allowed = QuotaAt(asker, benefit, &entitled->period, asker->at, &entitled->open);
	entitled->why = entitled->open ? "open" : "not_entitled";
	if (entitled->open && !Meets(asker, benefit, benefit->available, NULL))
	{
		entitled->open = false;
		entitled->why = "not_available";
	}
	if (entitled->allowed != QUOTA_UNLIMITED && offer->carry_over > 0)
	{
		int64		carried = CarriedTo(asker, benefit, anchor, &entitled->period, own, nuses);

		entitled->most += CarriedOnAndUsed(asker, benefit, anchor, &entitled->period, own, nuses, entitled->allowed, carried, entitled->used);
		entitled->allowed += carried;
	}
	if (entitled->open)
		entitled->left = entitled->allowed == QUOTA_UNLIMITED ? QUOTA_UNLIMITED : Max(0, entitled->allowed - entitled->most);
	if (entitled->open && entitled->left == 0 && entitled->granted_left == 0)
		entitled->why = "used_up";
	pfree(own);
}
