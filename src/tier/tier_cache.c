/*
 * tier_cache.c
 *		Ladders as a session knows them.  They are read once and dropped when
 *		their tables change, told by the trigger forget_cached().
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "tier/tier_program.h"

static MemoryContext cache = NULL;
static CachedLadder *ladders = NULL;
static int64 generation = 0;
static int	users = 0;			/* calls that hold pointers into the cache */

static void
EndTierUse(void *arg)
{
	(void) arg;
	users--;
}

/*
 * Connects to SPI.  Until that connection ends, by SPI_finish() or an error,
 * what AllLadders() and FindLadder() give stays where it is, even if another
 * session changes a ladder meanwhile.
 */
void
ConnectTier(void)
{
	MemoryContextCallback *callback;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* the connection's own context is current */
	callback = palloc0(sizeof(MemoryContextCallback));
	callback->func = EndTierUse;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	users++;
}

static Datum
NamesArray(char (*names)[NAMEDATALEN], int n)
{
	Datum	   *datums = palloc(Max(1, n) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(names[i]);
	return PointerGetDatum(construct_array(datums, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Where the facts of each measure are. */
static void
BindSources(CachedLadder *ladder)
{
	static KeptPlan plan = {
		.query = "SELECT source, currency, pending FROM loyalty.tier_measure WHERE measure OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	char		currencies[VERSIONS_MAX_MEASURES][NAMEDATALEN];
	char		events[VERSIONS_MAX_MEASURES][NAMEDATALEN];
	int			ncurrencies = 0;
	int			nevents = 0;
	MemoryContext target = CurrentMemoryContext;

	for (int i = 0; i < ladder->versions->nmeasures; i++)
	{
		Datum		value = CStringGetTextDatum(ladder->versions->measure[i]);

		RunPlanReadOnly(&plan, &value, NULL, 1);
		ladder->source[i] = SOURCE_EVENT;
		if (SPI_processed > 0 &&
			strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), "points") == 0)
		{
			bool		isnull;

			ladder->source[i] = SOURCE_LEDGER;
			ladder->counts_pending[i] = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
			strlcpy(ladder->currency[i], SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2), NAMEDATALEN);
			strlcpy(currencies[ncurrencies++], ladder->currency[i], NAMEDATALEN);
		}
		else
			strlcpy(events[nevents++], ladder->versions->measure[i], NAMEDATALEN);
	}
	MemoryContextSwitchTo(target);	/* SPI has left it */
	ladder->currencies = NamesArray(currencies, ncurrencies);
	ladder->events = NamesArray(events, nevents);
	ladder->counts_ledger = ncurrencies > 0;
	ladder->counts_events = nevents > 0;
}

/*
 * Reads a ladder as known at an instant (infinity: now) into the current
 * context; NULL when there is none.
 */
static CachedLadder *
ReadLadder(const char *code, TimestampTz known_at)
{
	static KeptPlan plan = {
		.query = "SELECT effective_from, definition FROM loyalty.ladder_version "
		"WHERE ladder OPERATOR(pg_catalog.=) $1 AND recorded_at OPERATOR(pg_catalog.<=) $2 ORDER BY version",
		.nargs = 2,
		.argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	MemoryContext target = CurrentMemoryContext;
	Datum		values[2] = {CStringGetTextDatum(code), TimestampTzGetDatum(known_at)};
	CachedLadder *ladder;
	MemoryContext old;

	RunPlanReadOnly(&plan, values, NULL, 0);
	if (SPI_processed == 0)
		return NULL;
	old = MemoryContextSwitchTo(target);
	ladder = palloc0(sizeof(CachedLadder));
	strlcpy(ladder->code, code, NAMEDATALEN);
	ladder->versions = palloc0(sizeof(LadderVersions));
	ladder->versions->nversions = (int) SPI_processed;
	ladder->versions->version = palloc0(SPI_processed * sizeof(LadderVersion));
	for (int i = 0; i < ladder->versions->nversions; i++)
	{
		bool		isnull;
		HeapTuple	tuple = SPI_tuptable->vals[i];

		ladder->versions->version[i].from = DatumGetTimestampTz(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		if (isnull)
			ladder->versions->version[i].from = TIMESTAMP_MINUS_INFINITY;
		ladder->versions->version[i].definition = ParseLadder(DatumGetJsonbP(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull)), "UTC");
	}
	BindMeasures(ladder->versions);
	BindSources(ladder);
	MemoryContextSwitchTo(old);
	return ladder;
}

/*
 * How many versions all ladders have, of those that AllLadders() gave last:
 * another number with each definition.
 */
int64
LadderGeneration(void)
{
	return generation;
}

/*
 * Whether a ladder counts points of one currency and nothing else, and is the
 * only one that counts that.
 */
static bool
CountsOneCurrencyAlone(const CachedLadder *ladder, const CachedLadder *all)
{
	if (ladder->counts_events || !ladder->counts_ledger)
		return false;
	for (; all != NULL; all = all->next)
	{
		for (int m = 0; m < all->versions->nmeasures; m++)
		{
			if (all->source[m] != SOURCE_LEDGER)
				continue;
			if ((strcmp(all->currency[m], ladder->currency[0]) == 0) != (all == ladder))
				return false;
		}
	}
	return true;
}

static void
ReadLadders(void)
{
	static KeptPlan plan = {
		.query = "SELECT ladder FROM loyalty.ladder ORDER BY ladder"
	};
	MemoryContext fresh = AllocSetContextCreate(TopMemoryContext, "loyalty ladders", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	CachedLadder *list = NULL;
	CachedLadder **end = &list;
	SPITupleTable *table;
	uint64		n;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContextSwitchTo(fresh);
		*end = ReadLadder(SPI_getvalue(table->vals[i], table->tupdesc, 1), TIMESTAMP_INFINITY);
		if (*end != NULL)
			end = &(*end)->next;
	}
	MemoryContextSwitchTo(old);
	generation = 0;
	for (CachedLadder *ladder = list; ladder != NULL; ladder = ladder->next)
	{
		generation += ladder->versions->nversions;
		ladder->leaves_slack = CountsOneCurrencyAlone(ladder, list);
	}
	/* a caller further up may still hold what was read before */
	if (cache != NULL && users <= 1)
		MemoryContextDelete(cache);
	cache = fresh;
	ladders = list;
}

static Settings settings = {.tables = {"ladder", "ladder_version", "tier_measure"}, .read = ReadLadders};

/*
 * Whether AllLadders() answers at once; then it needs no ConnectTier(), unless
 * the caller runs a statement while it looks at them.
 */
bool
LaddersAreKnown(void)
{
	return settings.known;
}

/*
 * All ladders, by code.  Needs ConnectTier().
 */
CachedLadder *
AllLadders(void)
{
	if (!KnowSettings(&settings))
		ereport(ERROR,
				(errcode(ERRCODE_LY_NOT_SET_UP),
				 errmsg("the tables of loyalty do not exist in this database"),
				 errdetail("The extension brings types and functions; tables belong to the user."),
				 errhint("Run SELECT loyalty.setup();")));
	return ladders;
}

/*
 * A ladder by its code, as it is now or, with a finite known_at, as it was
 * known then; LY402 when there is none.  Needs ConnectTier().
 */
CachedLadder *
FindLadder(const char *code, TimestampTz known_at)
{
	CachedLadder *ladder;

	for (ladder = AllLadders(); ladder != NULL; ladder = ladder->next)
		if (strcmp(ladder->code, code) == 0)
			break;
	if (ladder == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_LADDER),
				 errmsg("ladder \"%s\" does not exist", code),
				 errdetail("The table loyalty.ladder has no row with this code."),
				 errhint("Create it with loyalty.define_ladder(), or see the table loyalty.ladder.")));
	return known_at == TIMESTAMP_INFINITY ? ladder : ReadLadder(code, known_at);
}

/*
 * A ladder of one's own, in a context; LY402 when there is none.  Needs an SPI
 * connection.
 */
CachedLadder *
CopyOfLadder(const char *code, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	CachedLadder *ladder = ReadLadder(code, TIMESTAMP_INFINITY);

	MemoryContextSwitchTo(old);
	if (ladder == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_UNKNOWN_LADDER),
				 errmsg("ladder \"%s\" does not exist", code),
				 errdetail("The table loyalty.ladder has no row with this code."),
				 errhint("Create it with loyalty.define_ladder(), or see the table loyalty.ladder.")));
	return ladder;
}

/*
 * A ladder with one more version from as_of on, or with that one alone, in the
 * current context.
 */
CachedLadder *
PreviewLadder(const CachedLadder *ladder, Jsonb *definition, TimestampTz as_of, bool whole_history)
{
	CachedLadder *preview = palloc0(sizeof(CachedLadder));
	int			n = whole_history ? 0 : VersionAt(ladder->versions, as_of) + 1;

	strlcpy(preview->code, ladder->code, NAMEDATALEN);
	preview->versions = palloc0(sizeof(LadderVersions));
	preview->versions->version = palloc0((n + 1) * sizeof(LadderVersion));
	for (int i = 0; i < n; i++)
		preview->versions->version[i] = ladder->versions->version[i];
	preview->versions->version[n].from = whole_history ? TIMESTAMP_MINUS_INFINITY : as_of;
	preview->versions->version[n].definition = ParseLadder(definition, GetProgram()->time_zone);
	preview->versions->nversions = n + 1;
	BindMeasures(preview->versions);
	BindSources(preview);
	return preview;
}
