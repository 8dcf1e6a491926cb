/*
 * cohort_steps.c
 *		Which steps of a funnel a member made, and when: in order or in any,
 *		within a window, without an event between them that excludes.
 *
 * Plain computing; funnel_agg() stands in cohort_funnel.c.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "cohort/cohort.h"

/*
 * A chain that has made all steps up to one of them.  A later beginning leaves
 * more of the window, so only the latest is kept for each step.
 */
typedef struct StepChain
{
	bool		reached;
	int64		at[FUNNEL_MAX_STEPS];
} StepChain;

static inline bool
InWindow(int64 start, int64 at, int64 window)
{
	return (uint64) at - (uint64) start <= (uint64) window;
}

/*
 * Lengthens the chains by the steps met at an instant.  With increase, each
 * step must be later than the one before: then the last step is looked at
 * first, and sees what had been reached before this instant.
 */
static void
StepInOrder(StepChain *chains, int nsteps, uint32 met, int64 at, int64 window, bool increase)
{
	for (int i = 0; i < nsteps; i++)
	{
		int			step = increase ? nsteps - 1 - i : i;
		StepChain  *chain = &chains[step];
		const StepChain *before = step > 0 ? &chains[step - 1] : NULL;
		int64		start;

		if ((met & (((uint32) 1) << step)) == 0 || (before != NULL && !before->reached))
			continue;
		start = before != NULL ? before->at[0] : at;
		if (!InWindow(start, at, window) || (chain->reached && chain->at[0] >= start))
			continue;
		if (before != NULL)
			memcpy(chain->at, before->at, step * sizeof(int64));
		chain->at[step] = at;
		chain->reached = true;
	}
}

/* The longest chain, if it is longer than what there was before. */
static void
TakeLongest(const StepChain *chains, int nsteps, FunnelSteps *best)
{
	for (int step = nsteps - 1; step >= best->level; step--)
	{
		if (!chains[step].reached)
			continue;
		best->level = step + 1;
		for (int i = 0; i <= step; i++)
		{
			best->made[i] = true;
			best->at[i] = chains[step].at[i];
		}
	}
}

/* The steps whose latest instants lie within the window, if they are more than before. */
static void
TakeMost(const StepChain *latest, int nsteps, int64 at, int64 window, FunnelSteps *best)
{
	int			level = 0;

	for (int step = 0; step < nsteps; step++)
		level += latest[step].reached && InWindow(latest[step].at[0], at, window);
	if (level <= best->level)
		return;
	best->level = level;
	for (int step = 0; step < nsteps; step++)
	{
		best->made[step] = latest[step].reached && InWindow(latest[step].at[0], at, window);
		best->at[step] = latest[step].at[0];
	}
}

/*
 * The largest number of steps; of several ways to make as many the one that
 * was complete first, and of those the one that began last.  The list must be
 * sorted.  nsteps is at most FUNNEL_MAX_STEPS.
 */
void
FindFunnelSteps(const EventList *list, int nsteps, int64 window, int modes, FunnelSteps *best)
{
	StepChain	chains[FUNNEL_MAX_STEPS];	/* in any order only at[0] is used */
	bool		any_order = (modes & FUNNEL_ANY_ORDER) != 0;
	Size		i = 0;

	memset(best, 0, sizeof(FunnelSteps));
	memset(chains, 0, sizeof(chains));
	while (i < list->n && best->level < nsteps)
	{
		int64		at = list->events[i].at;
		uint32		met = 0;

		CHECK_FOR_INTERRUPTS();
		for (; i < list->n && list->events[i].at == at; i++)
			met |= list->events[i].mask;

		if (any_order)
		{
			for (int step = 0; step < nsteps; step++)
				if (met & (((uint32) 1) << step))
				{
					chains[step].reached = true;
					chains[step].at[0] = at;
				}
			TakeMost(chains, nsteps, at, window, best);
		}
		else
		{
			StepInOrder(chains, nsteps, met, at, window, (modes & FUNNEL_STRICT_INCREASE) != 0);
			TakeLongest(chains, nsteps, best);
		}

		/* nothing that began before goes on behind it */
		if (met & FUNNEL_EXCLUDES)
			for (int step = 0; step < nsteps; step++)
				chains[step].reached = chains[step].reached && chains[step].at[0] == at;
	}
}
