/*
 * ledger_guard.c
 *		Guards on wallet and ledger: only postings write there; and the one
 *		way past append_only(), by which texts of forgotten members are erased and
 *		old entries archived.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/rel.h"

#include "core/errors.h"
#include "ledger/post.h"

static const char posting_kind[] = "posting";

/*
 * Runs one of our own writing statements, with a permit for its guard, on
 * behalf of a posting (or NULL).
 */
void
RunGuarded(KeptPlan *kept, Datum *values, const char *nulls, Posting *posting)
{
	Running		running = {.kind = posting_kind, .call = posting, .permits = 1};

	RunPlanOf(&running, kept, values, nulls);
}

/* A statement that is not kept; $1 is a member */
typedef struct Unkept
{
	const char *query;
	Datum		member_id;
} Unkept;

static void
RunUnkept(void *arg)
{
	Unkept	   *unkept = arg;
	Oid			type = INT8OID;
	int			rc = SPI_execute_with_args(unkept->query, 1, &type, &unkept->member_id, NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "\"%s\" failed: %s", unkept->query, SPI_result_code_string(rc));
}

/*
 * Runs one of our own writing statements that is not kept, with permits for
 * so many guards.  $1 is a member.
 */
void
ExecuteGuarded(const char *query, int64 member_id, int guards)
{
	Running		running = {.kind = posting_kind, .permits = guards};
	Unkept		unkept = {query, Int64GetDatum(member_id)};

	RunWhileNoted(&running, RunUnkept, &unkept);
}

/* What append_only() is to let pass once, or 0; set and taken back likewise. */
static int	permitted_change = 0;

/*
 * Runs one of our own statements that erases texts from a table of records,
 * past its trigger append_only.  Returns how many rows it changed.
 */
int64
RunErasure(KeptPlan *kept, Datum *values)
{
	PG_TRY();
	{
		permitted_change = FIRED_BY_UPDATE;
		RunPlanOnCommitted(kept, values);
	}
	PG_FINALLY();
	{
		permitted_change = 0;
	}
	PG_END_TRY();
	return (int64) SPI_processed;
}

/* A statement that moves entries of members ($1) recorded before an instant ($2) */
typedef struct Archiving
{
	const char *query;
	Datum		values[2];
	int64		moved;
} Archiving;

static void
RunMove(void *arg)
{
	Archiving  *archiving = arg;
	Oid			types[2] = {INT8ARRAYOID, TIMESTAMPTZOID};
	int			rc = SPI_execute_with_args(archiving->query, 2, types, archiving->values, NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "\"%s\" failed: %s", archiving->query, SPI_result_code_string(rc));
	archiving->moved = (int64) SPI_processed;
}

/*
 * Runs a statement that moves entries out of the ledger into its archive, with
 * a permit for the guard of the one and past append_only() of the other.
 * Returns how many.
 */
int64
RunArchiving(const char *query, Datum member_ids, Datum before)
{
	Running		running = {.kind = posting_kind, .permits = 1};
	Archiving	archiving = {query, {member_ids, before}, 0};

	PG_TRY();
	{
		permitted_change = FIRED_BY_DELETE;
		RunWhileNoted(&running, RunMove, &archiving);
	}
	PG_FINALLY();
	{
		permitted_change = 0;
	}
	PG_END_TRY();
	return archiving.moved;
}

/*
 * Whether append_only() is to let its statement pass, which is an UPDATE or a
 * DELETE (FIRED_BY_...): once.
 */
bool
IsPermittedChange(int change)
{
	bool		result = permitted_change == change;

	permitted_change = 0;
	return result;
}

/*
 * The posting whose statement is running; an error when there is none.
 */
Posting *
CurrentPosting(void)
{
	Posting    *posting = RunningCall(posting_kind);

	if (posting == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("this function is part of the writing functions and cannot be called by itself"),
				 errhint("Use loyalty.earn(), loyalty.redeem() and the like.")));
	return posting;
}

/*
 * guard() trigger: refuses statements that are not a posting's.
 *
 *	CREATE TRIGGER guard BEFORE INSERT ON loyalty.ledger
 *		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.guard();
 *	CREATE TRIGGER guard BEFORE INSERT OR UPDATE OF member_id, currency, opened_at, balance, moved, erased, archived, tiers
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

	if (TakePermit())
		return PointerGetDatum(NULL);
	if (TablesAreSpread() && RelationGetRelid(trigdata->tg_relation) != LoyaltyTable("wallet") &&
		RelationGetRelid(trigdata->tg_relation) != LoyaltyTable("ledger"))
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("points of a member are written on the machine of the member only"),
				 errdetail("A statement of another machine has reached \"%s\".", RelationGetRelationName(trigdata->tg_relation)),
				 errhint("Call functions of single members, with a constant or parameter for the member; triggers post for members whose rows fire them, in tables that are spread like loyalty.wallet.")));
	ereport(ERROR,
			(errcode(ERRCODE_LY_APPEND_ONLY),
			 errmsg("direct %s on \"%s\" is refused",
					TRIGGER_FIRED_BY_INSERT(event) ? "INSERT" :
					TRIGGER_FIRED_BY_UPDATE(event) ? "UPDATE" :
					TRIGGER_FIRED_BY_DELETE(event) ? "DELETE" : "TRUNCATE",
					RelationGetRelationName(trigdata->tg_relation)),
			 errdetail("Only the functions of loyalty write points into this table."),
			 errhint("Use loyalty.earn(), loyalty.adjust() and the like; restore a data-only dump with --disable-triggers.")));
	return PointerGetDatum(NULL);
}
