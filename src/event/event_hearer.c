/*
 * event_hearer.c
 *		Writes what happened into the outbox, where somebody subscribed to it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "core/happened.h"
#include "core/plain.h"
#include "event/event.h"
#include "ledger/post.h"

/* What sessions LISTEN to that are to be woken. */
#define WAKE_CHANNEL	"loyalty_event"

/* The one kind that has no rows: it is read from the ledger. */
#define POINTS_CHANGED	"points_changed"

/* The columns of event */
typedef enum EventColumn
{
	EVENT_MEMBER_ID,
	EVENT_EVENT_ID,
	EVENT_KIND,
	EVENT_AT,
	EVENT_RECORDED_AT,
	EVENT_PAYLOAD,
	EVENT_NCOLUMNS
} EventColumn;

static const PlainColumn columns[EVENT_NCOLUMNS] = {
	[EVENT_MEMBER_ID] = {"member_id", INT8OID},
	[EVENT_EVENT_ID] = {"event_id", INT8OID},
	[EVENT_KIND] = {"kind", TEXTOID},
	[EVENT_AT] = {"at", TIMESTAMPTZOID},
	[EVENT_RECORDED_AT] = {"recorded_at", TIMESTAMPTZOID},
	[EVENT_PAYLOAD] = {"payload", JSONBOID}
};

static const char *const own_triggers[] = {NULL};

static const PlainTable event_table = {
	.name = "event",
	.ncolumns = EVENT_NCOLUMNS,
	.columns = columns,
	.nkeys = 1,
	.keys = {{2, {EVENT_MEMBER_ID, EVENT_EVENT_ID}}},
	.own_triggers = own_triggers
};

/* A kind that somebody subscribed to */
typedef struct HeardKind
{
	char		name[NAMEDATALEN];
	bool		wakes;			/* somebody wants to be woken by it */
} HeardKind;

static HeardKind *heard_kinds = NULL;
static int	nheard_kinds = 0;
static bool points_wake = false;

static void
ReadKinds(void)
{
	static KeptPlan plan = {
		.query = "SELECT s.kind, pg_catalog.bool_or(c.wake) FROM loyalty.event_subscription s "
		"JOIN loyalty.event_consumer c ON c.consumer OPERATOR(pg_catalog.=) s.consumer GROUP BY s.kind"
	};
	HeardKind  *kinds;
	bool		isnull;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	kinds = MemoryContextAlloc(TopMemoryContext, (SPI_processed + 1) * sizeof(HeardKind));
	if (heard_kinds != NULL)
		pfree(heard_kinds);
	heard_kinds = kinds;
	nheard_kinds = 0;
	points_wake = false;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		const char *name = SPI_getvalue(row, SPI_tuptable->tupdesc, 1);
		bool		wakes = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));

		if (strcmp(name, POINTS_CHANGED) == 0)
		{
			points_wake = wakes;
			continue;
		}
		strlcpy(heard_kinds[nheard_kinds].name, name, NAMEDATALEN);
		heard_kinds[nheard_kinds++].wakes = wakes;
	}
}

/*
 * Sees to it that it is known who subscribed to what; false before setup().
 */
static bool
KnowKinds(void)
{
	/* whether a consumer is woken changes with its subscriptions */
	static Settings settings = {.tables = {"event_subscription"}, .read = ReadKinds};

	return KnowSettings(&settings);
}

static const HeardKind *
FindKind(const char *kind)
{
	for (int i = 0; i < nheard_kinds; i++)
	{
		if (strcmp(heard_kinds[i].name, kind) == 0)
			return &heard_kinds[i];
	}
	return NULL;
}

/*
 * Whether somebody subscribed to a kind.  From here on nobody does so until the
 * transaction ends; the lock brings word of whoever did before.
 */
static bool
EventHears(const char *kind)
{
	Oid			relid = LoyaltyTable("event_subscription");

	if (!OidIsValid(relid))
		return false;
	LockRelationOid(relid, RowExclusiveLock);
	return KnowKinds() && FindKind(kind) != NULL;
}

static bool
InsertPlainly(Datum *values, bool *nulls)
{
	PlainAccess event;
	HeapTuple	row;
	int			at;

	if (!OpenPlain(&event, &event_table, DatumGetInt64(values[EVENT_MEMBER_ID]), PLAIN_WRITE))
		return false;
	row = FormPlainRow(&event, values, nulls);
	InsertPlainRows(&event, 1, &row, &at);
	ClosePlain(&event);
	CommandCounterIncrement();
	return true;
}

static void
InsertByStatement(Datum *values)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.event (member_id, event_id, kind, at, recorded_at, payload) VALUES ($1, $2, $3, $4, $5, $6)",
		.nargs = EVENT_NCOLUMNS,
		.argtypes = {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID}
	};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlan(&plan, values, NULL, 0);
	SPI_finish();
}

/*
 * Writes what happened.  The table is locked before the id is drawn: see event.h.
 */
static void
EventHeard(const Happening *happening)
{
	Datum		values[EVENT_NCOLUMNS];
	bool		nulls[EVENT_NCOLUMNS] = {false};

	RequireWritable();
	LockRelationOid(LoyaltyTable("event"), RowExclusiveLock);
	values[EVENT_MEMBER_ID] = Int64GetDatum(happening->member_id);
	values[EVENT_EVENT_ID] = Int64GetDatum(DrawEntryId(happening->beyond_id));
	values[EVENT_KIND] = CStringGetTextDatum(happening->kind);
	values[EVENT_AT] = TimestampTzGetDatum(happening->at);
	values[EVENT_RECORDED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[EVENT_PAYLOAD] = happening->payload;
	if (!InsertPlainly(values, nulls))
		InsertByStatement(values);
	/* statements of users that were run may have changed who hears */
	if (KnowKinds() && FindKind(happening->kind) != NULL && FindKind(happening->kind)->wakes)
		Async_Notify(WAKE_CHANNEL, "");
}

/*
 * Points that change write nothing here, and wake whoever wants to be woken.
 */
static bool
WakesOfPoints(const char *currency)
{
	(void) currency;
	return KnowKinds() && points_wake;
}

static void
PointsChanged(PostedEntry *entry)
{
	(void) entry;
	Async_Notify(WAKE_CHANNEL, "");
}

/*
 * Part of EventInit().
 */
void
EventHearerInit(void)
{
	static const char *const kinds[] = {POINTS_CHANGED, NULL};
	static const Hearer hearer = {.hears = EventHears, .heard = EventHeard};
	static const EntryListener listener = {.wants = WakesOfPoints, .posted = PointsChanged};

	DeclareHappenings(kinds);
	OnHappening(&hearer);
	OnEntryPosted(&listener);
}
