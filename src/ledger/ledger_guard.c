/*
 * ledger_guard.c
 *		Guards on wallet and ledger: only postings write there.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/rel.h"

#include "core/errors.h"
#include "ledger/post.h"

/*
 * The posting whose statement is running.  The functions in that statement
 * find it here, since SQL cannot pass a pointer.
 */
static Posting *current_posting = NULL;

/*
 * Set while a statement of our own is started, and taken back by the guards
 * that it meets, one for each table and kind of change: a trigger of the
 * user's that this statement fires has no permit any more.
 */
static int	permits = 0;

/*
 * Runs one of our own writing statements, with a permit for its guard, on
 * behalf of a posting (or NULL).
 */
int
RunGuarded(KeptPlan *kept, Datum *values, const char *nulls, Posting *posting)
{
	Posting    *outer = current_posting;
	int			rc;

	PG_TRY();
	{
		current_posting = posting;
		permits = 1;
		rc = RunPlan(kept, values, nulls, 0);
	}
	PG_FINALLY();
	{
		current_posting = outer;
		permits = 0;
	}
	PG_END_TRY();
	return rc;
}

/*
 * Runs one of our own writing statements that is not kept, with permits for
 * so many guards.  $1 is a member.
 */
void
ExecuteGuarded(const char *query, int64 member_id, int guards)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(member_id);
	int			rc;

	PG_TRY();
	{
		permits = guards;
		rc = SPI_execute_with_args(query, 1, &type, &value, NULL, false, 0);
		if (rc < 0)
			elog(ERROR, "\"%s\" failed: %s", query, SPI_result_code_string(rc));
	}
	PG_FINALLY();
	{
		permits = 0;
	}
	PG_END_TRY();
}

/*
 * The posting whose statement is running; an error when there is none.
 */
Posting *
CurrentPosting(void)
{
	if (current_posting == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("this function is part of the writing functions and cannot be called by itself"),
				 errhint("Use loyalty.earn(), loyalty.redeem() and the like.")));
	return current_posting;
}

/*
 * guard() trigger: refuses statements that are not a posting's.
 *
 *	CREATE TRIGGER guard BEFORE INSERT ON loyalty.ledger
 *		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.guard();
 *	CREATE TRIGGER guard BEFORE INSERT OR UPDATE OF member_id, currency, balance, opened_at, moved
 *		OR DELETE OR TRUNCATE ON loyalty.wallet
 *		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.guard();
 *
 * The columns are all of ours: those that users add are theirs to update.
 */
PG_FUNCTION_INFO_V1(loyalty_guard);
Datum
loyalty_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = RequireTrigger(fcinfo, "guard",
										   FIRED_BEFORE | FIRED_FOR_STATEMENT | FIRED_BY_INSERT |
										   FIRED_BY_UPDATE | FIRED_BY_DELETE | FIRED_BY_TRUNCATE);
	TriggerEvent event = trigdata->tg_event;

	if (permits <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_APPEND_ONLY),
				 errmsg("direct %s on \"%s\" is refused",
						TRIGGER_FIRED_BY_INSERT(event) ? "INSERT" :
						TRIGGER_FIRED_BY_UPDATE(event) ? "UPDATE" :
						TRIGGER_FIRED_BY_DELETE(event) ? "DELETE" : "TRUNCATE",
						RelationGetRelationName(trigdata->tg_relation)),
				 errdetail("Only the functions of loyalty write points into this table."),
				 errhint("Use loyalty.earn(), loyalty.adjust() and the like; restore a data-only dump with --disable-triggers.")));
	permits--;
	return PointerGetDatum(NULL);
}
