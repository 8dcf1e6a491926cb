/*
 * event_horizon.c
 *		How far what happened is settled: see event.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/post.h"

/* How long to sleep before looking again, at first and at most: milliseconds. */
#define FIRST_SLEEP		1
#define LONGEST_SLEEP	20

/*
 * Those who write into a table at this moment, but us.
 */
static VirtualTransactionId *
WritersOf(const char *table)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, LoyaltyTable(table));
	return GetLockConflicts(&tag, ShareLock, NULL);
}

/*
 * Waits until transactions have ended, though no longer than up to an instant;
 * whether they have.
 */
static bool
HaveEnded(VirtualTransactionId *writers, TimestampTz deadline)
{
	long		sleep = FIRST_SLEEP;

	for (VirtualTransactionId *writer = writers; VirtualTransactionIdIsValid(*writer); writer++)
	{
		while (!VirtualXactLock(*writer, false))
		{
			if (GetCurrentTimestamp() >= deadline)
				return false;
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
			sleep = Min(sleep * 2, LONGEST_SLEEP);
		}
	}
	return true;
}

static TimestampTz
DeadlineOf(Interval *patience)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
												   IntervalPGetDatum(patience)));
}

/*
 * writers_have_ended(tables text[], patience interval) -> boolean: waits until
 * those who write into tables of ours at this moment have ended; false where
 * one has not after patience.  LY003 for a NULL, or a name of no table.
 */
PG_FUNCTION_INFO_V1(loyalty_writers_have_ended);
Datum
loyalty_writers_have_ended(PG_FUNCTION_ARGS)
{
	const char **tables;
	int			n;
	TimestampTz deadline;
	bool		ended = true;

	RequireArgument(fcinfo, 0, "tables");
	RequireArgument(fcinfo, 1, "patience");
	(void) TextsArgument(fcinfo, 0, "table", &tables, &n);
	deadline = DeadlineOf(PG_GETARG_INTERVAL_P(1));
	for (int i = 0; i < n && ended; i++)
	{
		Oid			relid = get_relname_relid(tables[i], get_namespace_oid("loyalty", false));
		LOCKTAG		tag;

		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("there is no table \"%s\"", tables[i]),
					 errdetail("Schema loyalty has none of this name."),
					 errhint("Give tables of the program, without their schema.")));
		SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
		ended = HaveEnded(GetLockConflicts(&tag, ShareLock, NULL), deadline);
	}
	PG_RETURN_BOOL(ended);
}

/*
 * settled_event_id(patience interval) -> bigint: an id such that whatever will
 * ever be recorded up to it is recorded, and visible to the next statement;
 * NULL where somebody who writes has not ended after patience.  The twin of
 * settled_entry_id(), which waits as long as it takes, for the ledger alone.
 */
PG_FUNCTION_INFO_V1(loyalty_settled_event_id);
Datum
loyalty_settled_event_id(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	int64		last;
	VirtualTransactionId *writers[2];

	RequireArgument(fcinfo, 0, "patience");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("what is settled can only be told in READ COMMITTED"),
				 errdetail("It has to be seen what other transactions commit while they are waited for."),
				 errhint("Repeat it in a transaction of this isolation level.")));
	deadline = DeadlineOf(PG_GETARG_INTERVAL_P(0));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	last = LastDrawnEntryId();
	SPI_finish();
	writers[0] = WritersOf("wallet");
	writers[1] = WritersOf("event");
	if (!HaveEnded(writers[0], deadline) || !HaveEnded(writers[1], deadline))
		PG_RETURN_NULL();
	PG_RETURN_INT64(last);
}
