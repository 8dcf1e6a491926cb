/*
 * job.c
 *		Locks that are no table's and no row's: that a job is running, and that
 *		somebody is at a key.
 *
 * A job is a procedure that commits in batches.  Its lock is a session's lock,
 * on an object that SQL cannot name: nobody without rights on our functions
 * can take it, a commit keeps it, and whatever ends the job, an error or a
 * cancel included, gives it back, as it does those of VACUUM.
 *
 * A key is locked until the transaction ends.  Advisory locks would not do:
 * whoever may connect can take any of them, and hold it.
 */
#include "postgres.h"

#include "access/hash.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/core.h"

/*
 * require_autocommit(job text) -> void
 *
 * Asked by a procedure itself, since whatever it calls is part of a statement:
 * raises 25001 where it may not end its transaction.
 */
PG_FUNCTION_INFO_V1(loyalty_require_autocommit);
Datum
loyalty_require_autocommit(PG_FUNCTION_ARGS)
{
	if (!SPI_inside_nonatomic_context())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errdetail("It commits after each batch."),
				 errhint("Call it outside BEGIN, functions and blocks with EXCEPTION; with a driver, turn autocommit on.")));
	PG_RETURN_VOID();
}

static LOCKTAG
JobLock(const char *job)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, LoyaltyTable("job_run"),
					   DatumGetUInt32(hash_any((const unsigned char *) job, strlen(job))), 1);
	return tag;
}

/*
 * lock_job(job text) -> boolean
 *
 * Takes the lock of a job for this session, until unlock_job() or an error;
 * false when another session has it.
 */
PG_FUNCTION_INFO_V1(loyalty_lock_job);
Datum
loyalty_lock_job(PG_FUNCTION_ARGS)
{
	char	   *job = text_to_cstring(PG_GETARG_TEXT_PP(0));
	LOCKTAG		tag;

	PreventCommandDuringRecovery(job);
	tag = JobLock(job);
	PG_RETURN_BOOL(LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL);
}

/*
 * unlock_job(job text) -> boolean
 */
PG_FUNCTION_INFO_V1(loyalty_unlock_job);
Datum
loyalty_unlock_job(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag = JobLock(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_BOOL(LockRelease(&tag, ExclusiveLock, true));
}

/*
 * lock_key(key text) -> void
 *
 * Locks a key until the transaction ends, for whoever writes into our tables
 * or, where there are none, may make them.  Two keys with the same 48 bits wait
 * for each other, which costs time only.
 */
PG_FUNCTION_INFO_V1(loyalty_lock_key);
Datum
loyalty_lock_key(PG_FUNCTION_ARGS)
{
	text	   *key = PG_GETARG_TEXT_PP(0);
	Oid			schema = get_namespace_oid("loyalty", false);
	Oid			layout = LoyaltyTable("layout");
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), 0));
	LOCKTAG		tag;
	AclResult	allowed;

	allowed = OidIsValid(layout) ? pg_class_aclcheck(layout, GetUserId(), ACL_INSERT) :
		NamespaceAclCheck(schema, GetUserId(), ACL_CREATE);
	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OidIsValid(layout) ? OBJECT_TABLE : OBJECT_SCHEMA, OidIsValid(layout) ? "layout" : "loyalty");
	/* nobody writes on a standby, and it has no such locks */
	if (RecoveryInProgress())
		PG_RETURN_VOID();
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, schema, (uint32) hash, (uint16) (hash >> 32));
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	PG_RETURN_VOID();
}
