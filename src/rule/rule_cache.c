/*
 * rule_cache.c
 *		Campaigns as a session knows them.  They are read once, and dropped when
 *		their table changes, told by the trigger forget_cached().
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "rule/rule.h"

static MemoryContext cache = NULL;
static RuleBook *known_book = NULL;
static int	users = 0;			/* calls that hold pointers into the cache */

/* What is known of the kinds that were asked for */
#define MAX_KNOWN_KINDS		32

typedef struct KnownKind
{
	char		kind[NAMEDATALEN];
	bool		concerns;		/* any version looks at it */
	List	   *currencies;		/* into which versions could pay that do, or
								 * look at what follows from it; in order */
	int			n;
	Campaign  **campaigns;		/* of the latest versions those that do */
} KnownKind;

static KnownKind known_kinds[MAX_KNOWN_KINDS];
static int	nknown_kinds = 0;

static void
EndUse(void *arg)
{
	(void) arg;
	users--;
}

static Campaign *
ReadVersion(HeapTuple tuple, TupleDesc tupdesc)
{
	char	   *code = SPI_getvalue(tuple, tupdesc, 1);
	bool		isnull;
	Datum		definition = SPI_getbinval(tuple, tupdesc, 4, &isnull);
	Campaign   *campaign;

	if (isnull)
	{
		campaign = palloc0(sizeof(Campaign));
		campaign->code = code;
	}
	else
	{
		Problems	problems = {0};
		Place		whole;

		/* the condition keeps pointers into it */
		WholeDefinition(&whole, DatumGetJsonbPCopy(definition), "", &problems);
		campaign = ParseCampaign(code, &whole);
		RefuseCampaign(code, &problems);
	}
	campaign->version = DatumGetInt32(SPI_getbinval(tuple, tupdesc, 2, &isnull));
	campaign->effective_from = DatumGetTimestampTz(SPI_getbinval(tuple, tupdesc, 3, &isnull));
	campaign->recorded_at = DatumGetTimestampTz(SPI_getbinval(tuple, tupdesc, 5, &isnull));
	return campaign;
}

static void
NoteLast(RuleBook *book)
{
	book->last_from = book->last_recorded = TIMESTAMP_MINUS_INFINITY;
	for (int i = 0; i < book->n; i++)
	{
		book->last_from = Max(book->last_from, book->versions[i]->effective_from);
		book->last_recorded = Max(book->last_recorded, book->versions[i]->recorded_at);
	}
}

static RuleBook *
ReadBook(void)
{
	static KeptPlan plan = {
		.query = "SELECT campaign, version, effective_from, definition, recorded_at FROM loyalty.campaign_version ORDER BY campaign, version"
	};
	MemoryContext target = CurrentMemoryContext;
	RuleBook   *book;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	MemoryContextSwitchTo(target);
	book = palloc0(sizeof(RuleBook));
	book->n = (int) SPI_processed;
	book->versions = palloc(Max(1, book->n) * sizeof(Campaign *));
	for (int i = 0; i < book->n; i++)
		book->versions[i] = ReadVersion(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	NoteLast(book);
	return book;
}

static void
ReadCampaigns(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "campaigns", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RuleBook   *book = ReadBook();

	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, TopMemoryContext);
	/* what others still look at stays until the session ends */
	if (cache != NULL && users == 0)
		MemoryContextDelete(cache);
	cache = context;
	known_book = book;
	nknown_kinds = 0;
}

/*
 * All campaigns.  They stay where they are until the current memory context is
 * reset or deleted.
 */
const RuleBook *
OpenRuleBook(void)
{
	static const RuleBook none = {0};
	static Settings settings = {.tables = {"campaign_version"}, .read = ReadCampaigns};
	MemoryContextCallback *callback;

	if (!KnowSettings(&settings))
		return &none;
	callback = palloc0(sizeof(MemoryContextCallback));
	callback->func = EndUse;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	users++;
	return known_book;
}

/*
 * The same campaigns, but for those that definitions has: they are in force
 * always, or, where it has null, never.
 */
RuleBook *
MakeDraft(const RuleBook *book, const Jsonb *definitions)
{
	RuleBook   *draft = palloc0(sizeof(RuleBook));
	int			nadded;
	Campaign  **added = ParseCampaigns(definitions, &nadded);
	JsonbValue	found;

	draft->versions = palloc(Max(1, book->n + nadded) * sizeof(Campaign *));
	for (int i = 0; i < book->n; i++)
	{
		const char *code = book->versions[i]->code;

		if (getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &definitions->root), code, strlen(code), &found) == NULL)
			draft->versions[draft->n++] = book->versions[i];
	}
	for (int i = 0; i < nadded; i++)
	{
		added[i]->effective_from = TIMESTAMP_MINUS_INFINITY;
		added[i]->recorded_at = TIMESTAMP_MINUS_INFINITY;
		draft->versions[draft->n++] = added[i];
	}
	NoteLast(draft);
	return draft;
}

/*
 * The version of a campaign in force at an instant, among those known at
 * another; NULL: none.
 */
const Campaign *
VersionInForce(const RuleBook *book, const char *code, TimestampTz at, TimestampTz known_at)
{
	const Campaign *in_force = NULL;

	for (int i = 0; i < book->n; i++)
	{
		const Campaign *version = book->versions[i];

		if (strcmp(version->code, code) == 0 && version->effective_from <= at && version->recorded_at <= known_at)
			in_force = version;
	}
	return in_force;
}

static int
CompareInForce(const void *a, const void *b)
{
	return CompareCampaigns(*(Campaign *const *) a, *(Campaign *const *) b);
}

static Campaign **
FindInForce(const RuleBook *book, const char *kind, TimestampTz at, TimestampTz known_at, int *n)
{
	Campaign  **campaigns = palloc(Max(1, book->n) * sizeof(Campaign *));

	*n = 0;
	for (int i = 0; i < book->n;)
	{
		const char *code = book->versions[i]->code;
		Campaign   *in_force = NULL;

		for (; i < book->n && strcmp(book->versions[i]->code, code) == 0; i++)
		{
			if (book->versions[i]->effective_from <= at && book->versions[i]->recorded_at <= known_at)
				in_force = book->versions[i];
		}
		if (in_force != NULL && ConcernsKind(in_force, kind))
			campaigns[(*n)++] = in_force;
	}
	qsort(campaigns, *n, sizeof(Campaign *), CompareInForce);
	return campaigns;
}

/* Whether a campaign looks at anything that activities could make happen. */
static bool
ConcernsCauses(const Campaign *campaign)
{
	for (int i = 0; i < campaign->nkinds; i++)
	{
		if (FindCause(campaign->kinds[i]) != NULL || IsBroughtAbout(campaign->kinds[i]))
			return true;
	}
	return false;
}

static List *
AddCurrency(List *currencies, const char *currency)
{
	ListCell   *lc;

	foreach(lc, currencies)
	{
		if (strcmp(lfirst(lc), currency) == 0)
			return currencies;
	}
	return lappend(currencies, unconstify(char *, currency));
}

static int
CompareCurrencies(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

static void
LookForKind(const RuleBook *book, const char *kind, KnownKind *known)
{
	memset(known, 0, sizeof(KnownKind));
	for (int i = 0; i < book->n; i++)
	{
		const Campaign *campaign = book->versions[i];

		known->concerns = known->concerns || ConcernsKind(campaign, kind);
		if (!ConcernsKind(campaign, kind) && !ConcernsCauses(campaign))
			continue;
		for (int e = 0; e < campaign->neffects; e++)
		{
			if (campaign->effects[e].currency != NULL)
				known->currencies = AddCurrency(known->currencies, campaign->effects[e].currency);
		}
	}
	list_sort(known->currencies, CompareCurrencies);
	known->campaigns = FindInForce(book, kind, DT_NOEND, DT_NOEND, &known->n);
}

/*
 * What is known of a kind.  room: for a book that is not kept, and for a kind of
 * too many.
 */
static const KnownKind *
KnowKind(const RuleBook *book, const char *kind, KnownKind *room)
{
	MemoryContext old;

	for (int i = 0; i < nknown_kinds && book == known_book; i++)
	{
		if (strcmp(known_kinds[i].kind, kind) == 0)
			return &known_kinds[i];
	}
	if (book != known_book || nknown_kinds == MAX_KNOWN_KINDS || strlen(kind) >= NAMEDATALEN)
	{
		LookForKind(book, kind, room);
		return room;
	}
	old = MemoryContextSwitchTo(cache);
	LookForKind(book, kind, &known_kinds[nknown_kinds]);
	strlcpy(known_kinds[nknown_kinds].kind, kind, NAMEDATALEN);
	MemoryContextSwitchTo(old);
	return &known_kinds[nknown_kinds++];
}

/*
 * Whether any version looks at activities of a kind.
 */
bool
BookConcerns(const RuleBook *book, const char *kind)
{
	KnownKind	room;

	return book->n > 0 && KnowKind(book, kind, &room)->concerns;
}

/*
 * The currencies into which campaigns of a kind could pay, chains included; in
 * order.
 */
const List *
CurrenciesOf(const RuleBook *book, const char *kind)
{
	KnownKind	room;

	return book->n > 0 ? KnowKind(book, kind, &room)->currencies : NIL;
}

/*
 * Whether any version gives to households.
 */
bool
BookPaysHouseholds(const RuleBook *book)
{
	for (int i = 0; i < book->n; i++)
	{
		if (book->versions[i]->to_household)
			return true;
	}
	return false;
}

/*
 * The campaigns that look at an activity of a kind, in order: of each the
 * version in force at its instant, among those known when it was recorded.
 */
Campaign  **
CampaignsInForce(const RuleBook *book, const char *kind, TimestampTz at, TimestampTz known_at, int *n)
{
	const KnownKind *known;
	KnownKind	room;

	if (book != known_book || at < book->last_from || known_at < book->last_recorded)
		return FindInForce(book, kind, at, known_at, n);
	known = KnowKind(book, kind, &room);
	*n = known->n;
	return known->campaigns;
}

/*
 * A version by its number; NULL: there is none.
 */
const Campaign *
FindVersion(const RuleBook *book, const char *code, int version)
{
	for (int i = 0; i < book->n; i++)
	{
		if (book->versions[i]->version == version && strcmp(book->versions[i]->code, code) == 0)
			return book->versions[i];
	}
	return NULL;
}

/* ---------------------------------------------------------------------------
 * Defining
 * ---------------------------------------------------------------------------
 */

static bool
IsThere(KeptPlan *plan, const char *name)
{
	Datum		value = CStringGetTextDatum(name);

	RunPlan(plan, &value, NULL, 1);
	return SPI_processed > 0;
}

static void
RequireNames(const Campaign *campaign)
{
	static KeptPlan currency = {
		.query = "SELECT FROM loyalty.currency WHERE code OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	static KeptPlan kind = {
		.query = "SELECT FROM loyalty.activity_kind WHERE kind OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};

	for (int i = 0; i < campaign->nkinds; i++)
	{
		if (FindCause(campaign->kinds[i]) == NULL && !IsThere(&kind, campaign->kinds[i]))
			ereport(ERROR,
					(errcode(ERRCODE_LY_UNKNOWN_ACTIVITY_KIND),
					 errmsg("kind \"%s\" of activities does not exist", campaign->kinds[i]),
					 errdetail("Campaign \"%s\" looks at it.", campaign->code),
					 errhint("Define it with loyalty.define_activity_kind().")));
	}
	for (int i = 0; i < campaign->neffects; i++)
	{
		const CampaignEffect *of = campaign->effects[i].of;
		EffectItem	item = {.name = campaign->effects[i].item,.terms = campaign->effects[i].terms,.campaign = campaign->code};

		if (of != NULL && of->require != NULL)
			of->require(&item);
		if (campaign->effects[i].currency != NULL && !IsThere(&currency, campaign->effects[i].currency))
			ereport(ERROR,
					(errcode(ERRCODE_LY_UNKNOWN_CURRENCY),
					 errmsg("currency \"%s\" does not exist", campaign->effects[i].currency),
					 errdetail("Campaign \"%s\" gives points of it.", campaign->code),
					 errhint("Create it with loyalty.create_currency().")));
	}
}

/*
 * require_campaign(campaign text, definition jsonb) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_require_campaign);
Datum
loyalty_require_campaign(PG_FUNCTION_ARGS)
{
	const char *code = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Problems	problems = {0};
	Place		whole;
	Campaign   *campaign;
	const RuleBook *book;
	Campaign  **latest;
	int			n = 0;

	WholeDefinition(&whole, PG_GETARG_JSONB_P(1), "", &problems);
	campaign = ParseCampaign(code, &whole);
	RefuseCampaign(code, &problems);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	book = OpenRuleBook();
	latest = palloc(Max(1, book->n) * sizeof(Campaign *));
	for (int i = 0; i < book->n; i++)
	{
		/* what an activity earned by itself would count in a window once more */
		if (strcmp(book->versions[i]->code, code) == 0 && book->versions[i]->nkinds > 0 &&
			book->versions[i]->has_window != campaign->has_window)
			ComplainAt(&problems, "window", "cannot come or go with another version: end this campaign, and define one of another name");
		if (i + 1 == book->n || strcmp(book->versions[i]->code, book->versions[i + 1]->code) != 0)
			latest[n++] = book->versions[i];
	}
	CheckTogether(latest, n, campaign, &problems);
	RefuseCampaign(code, &problems);
	RequireNames(campaign);
	SPI_finish();
	PG_RETURN_VOID();
}
