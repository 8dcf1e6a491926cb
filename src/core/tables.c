/*
 * tables.c
 *		The program's tables by name, and word of their changes.
 *
 * A backend may register ten relcache callbacks, for all libraries together:
 * ours is one.  What a room keeps of small tables of settings it declares as
 * Settings; for other things that it keeps of a table it asks with OnTableChange()
 * to be told when to forget them.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "core/core.h"

#define MAX_TABLE_CHANGE_CALLBACKS	16

static TableChangeCallback callbacks[MAX_TABLE_CHANGE_CALLBACKS];
static int	ncallbacks = 0;

/* Tables that were looked up by name, until they are dropped or renamed. */
#define MAX_KNOWN_TABLES	64

static struct
{
	const char *name;
	Oid			relid;
}			known_tables[MAX_KNOWN_TABLES];
static int	nknown_tables = 0;

/* Those that were ever asked for */
static Settings *all_settings = NULL;

static bool
AreOf(const Settings *settings, Oid relid)
{
	for (int i = 0; i < SETTINGS_MAX_TABLES && settings->tables[i] != NULL; i++)
	{
		if (relid == settings->relids[i])
			return true;
	}
	return relid == InvalidOid;
}

static void
TableChanged(Datum arg, Oid relid)
{
	(void) arg;
	for (int i = 0; i < nknown_tables; i++)
	{
		if (relid == InvalidOid || relid == known_tables[i].relid)
			known_tables[i].relid = InvalidOid;
	}
	for (Settings *settings = all_settings; settings != NULL; settings = settings->next)
	{
		if (AreOf(settings, relid))
		{
			settings->known = false;
			settings->nchanges++;
		}
	}
	for (int i = 0; i < ncallbacks; i++)
		callbacks[i] (relid);
}

/*
 * Part of CoreInit().
 */
void
TablesInit(void)
{
	CacheRegisterRelcacheCallback(TableChanged, (Datum) 0);
}

/*
 * From now on calls back whenever a table was changed: altered, dropped, or, as
 * forget_cached() tells of tables of settings, given other rows.  The callback
 * gets the table's OID, InvalidOid when it may be any.  It may be called at
 * nearly any time, so it only notes that something is to be read again.
 */
void
OnTableChange(TableChangeCallback callback)
{
	if (ncallbacks >= MAX_TABLE_CHANGE_CALLBACKS)
		elog(ERROR, "too many callbacks");
	callbacks[ncallbacks++] = callback;
}

/*
 * The place of a name in known_tables, or where the next one goes.  Mostly the
 * linker has made one constant of all that are alike.
 */
static int
PlaceOfTable(const char *name)
{
	int			i;

	for (i = 0; i < nknown_tables; i++)
	{
		if (known_tables[i].name == name)
			return i;
	}
	for (i = 0; i < nknown_tables; i++)
	{
		if (strcmp(known_tables[i].name, name) == 0)
			break;
	}
	return i;
}

/*
 * OID of a table or sequence in our schema, or InvalidOid.  The name must be a
 * constant.
 */
Oid
LoyaltyTable(const char *name)
{
	Oid			nspid;
	Oid			relid;
	int			i = PlaceOfTable(name);

	if (i < nknown_tables && OidIsValid(known_tables[i].relid))
		return known_tables[i].relid;

	nspid = get_namespace_oid("loyalty", true);
	relid = OidIsValid(nspid) ? get_relname_relid(name, nspid) : InvalidOid;
	if (i < MAX_KNOWN_TABLES)
	{
		known_tables[i].name = name;
		known_tables[i].relid = relid;
		nknown_tables = Max(nknown_tables, i + 1);
	}
	return relid;
}

/*
 * Opens a table in our schema; NULL where there is none.  One that was put in
 * its place while we waited for the lock is the one that is opened, as by a
 * statement.  The name must be a constant.
 */
Relation
OpenLoyaltyTable(const char *name, LOCKMODE mode)
{
	for (;;)
	{
		Oid			relid = LoyaltyTable(name);

		if (!OidIsValid(relid))
			return NULL;
		LockRelationOid(relid, mode);
		if (LoyaltyTable(name) == relid)
			return table_open(relid, NoLock);
		UnlockRelationOid(relid, mode);
	}
}

/*
 * Sees to it that settings are known; false where the tables are not there.
 * They are read with a snapshot of their own: in REPEATABLE READ the
 * transaction's may be older than the change that made us read again.
 */
bool
KnowSettings(Settings *settings)
{
	uint64		nchanges;

	if (settings->known)
		return true;
	if (!settings->listed)
	{
		settings->next = all_settings;
		all_settings = settings;
		settings->listed = true;
	}
	for (int i = 0; i < SETTINGS_MAX_TABLES && settings->tables[i] != NULL; i++)
		settings->relids[i] = LoyaltyTable(settings->tables[i]);
	if (!OidIsValid(settings->relids[0]))
		return false;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* what changes while we read may not be in what we read: read again */
	do
	{
		nchanges = settings->nchanges;
		PushLatestSnapshot();
		settings->read();
		PopActiveSnapshot();
	} while (nchanges != settings->nchanges);
	SPI_finish();
	settings->known = true;
	return true;
}

/*
 * forget_cached() trigger: sessions keep what they read of a small table of
 * settings; this tells them all, at commit, to read it again.  The argument is
 * the table's name: a distributed engine keeps the rows in tables of other
 * names, which fire the trigger, while sessions look at the one of this name.
 * The worker that applies changes of a logical replica fires only row triggers
 * that are enabled ALWAYS.
 *
 *	CREATE TRIGGER forget_cached AFTER INSERT OR DELETE OR UPDATE ON loyalty.layout
 *		FOR EACH ROW EXECUTE FUNCTION loyalty.forget_cached('layout');
 *	CREATE TRIGGER forget_all_cached AFTER TRUNCATE ON loyalty.layout
 *		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached('layout');
 */
PG_FUNCTION_INFO_V1(loyalty_forget_cached);
Datum
loyalty_forget_cached(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = RequireTrigger(fcinfo, "forget_cached",
										   FIRED_AFTER | FIRED_FOR_ROW | FIRED_FOR_STATEMENT | FIRED_BY_INSERT |
										   FIRED_BY_UPDATE | FIRED_BY_DELETE | FIRED_BY_TRUNCATE);
	Trigger    *trigger = trigdata->tg_trigger;

	CacheInvalidateRelcache(trigdata->tg_relation);
	if (trigger->tgnargs > 0)
	{
		Oid			relid = get_relname_relid(trigger->tgargs[0], get_namespace_oid("loyalty", false));

		if (OidIsValid(relid) && relid != RelationGetRelid(trigdata->tg_relation))
			CacheInvalidateRelcacheByRelid(relid);
	}
	return PointerGetDatum(NULL);
}

/*
 * A lock for what a member has under a name in one of our tables, also before
 * it is there.  Two with the same 48 bits wait for each other, which costs time
 * only.
 */
LOCKTAG
NamedLock(const char *table, int64 member_id, const char *name)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) name, strlen(name), (uint64) member_id));
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, LoyaltyTable(table), (uint32) hash, (uint16) (hash >> 32));
	return tag;
}
