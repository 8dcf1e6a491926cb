/*
 * act.c
 *		Acts that somebody does by hand: adjusting, merging, granting,
 *		forgetting, reversing, defining.
 *
 * The room where an act is done says so when it is done, in the same
 * transaction.  The room that keeps who did it, and may refuse it, stands to
 * the right of all others, so it is called through a hook.  Postings that are
 * no acts (earn, redeem, hold and the like) never come here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "core/core.h"

void		(*KeepActHook) (const Act *act) = NULL;

/*
 * Keeps who does an act, or refuses it.  Runs as the owner of the tables.
 */
void
KeepAct(const Act *act)
{
	if (KeepActHook != NULL)
		KeepActHook(act);
}

/*
 * keep_act(act text, member_id bigint, object_id bigint, subject text) -> void;
 * NULL: none
 */
PG_FUNCTION_INFO_V1(loyalty_keep_act);
Datum
loyalty_keep_act(PG_FUNCTION_ARGS)
{
	Act			act = {0};

	RequireOwner();
	RequireArgument(fcinfo, 0, "act");
	act.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	act.member_id = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	act.object_id = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	if (!PG_ARGISNULL(3))
		act.subject = text_to_cstring(PG_GETARG_TEXT_PP(3));
	KeepAct(&act);
	PG_RETURN_VOID();
}
