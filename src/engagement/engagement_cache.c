/*
 * engagement_cache.c
 *		Which kinds of activities concern what, as a session knows it: read once,
 *		and dropped when definitions change, told by the trigger forget_cached().
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "engagement/engagement.h"

typedef struct EngagedKind
{
	const char *kind;
	int			concerns;		/* CONCERNS_... */
} EngagedKind;

static MemoryContext cache = NULL;
static EngagedKind *kinds = NULL;
static int	nkinds = 0;

static int
ConcernOf(const char *what)
{
	if (strcmp(what, "board") == 0)
		return CONCERNS_BOARDS;
	if (strcmp(what, "referral") == 0)
		return CONCERNS_REFERRALS;
	if (strcmp(what, "journey") == 0)
		return CONCERNS_JOURNEYS;
	return CONCERNS_BADGES;
}

static void
ReadKinds(void)
{
	static KeptPlan plan = {
		.query = "SELECT kind, what FROM loyalty.engaged_kinds() ORDER BY kind"
	};
	EngagedKind *found;
	int			n = 0;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	if (cache == NULL)
		cache = AllocSetContextCreate(TopMemoryContext, "loyalty engaged kinds", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache);
	found = MemoryContextAlloc(cache, Max(SPI_processed, 1) * sizeof(EngagedKind));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *kind = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		if (n == 0 || strcmp(found[n - 1].kind, kind) != 0)
			found[n++] = (EngagedKind) {.kind = MemoryContextStrdup(cache, kind)};
		found[n - 1].concerns |= ConcernOf(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
	}
	SPI_freetuptable(SPI_tuptable);
	kinds = found;
	nkinds = n;
}

/*
 * What activities of a kind concern.
 */
int
ConcernsOfKind(const char *kind)
{
	static Settings settings = {.tables = {"engagement_version"}, .read = ReadKinds};

	if (!KnowSettings(&settings))
		return 0;
	for (int i = 0; i < nkinds; i++)
	{
		if (strcmp(kinds[i].kind, kind) == 0)
			return kinds[i].concerns;
	}
	return 0;
}
