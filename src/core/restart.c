/*
 * restart.c
 *		Calls that give back what they have locked, and run again.
 *
 * A call may find, once rows are locked, that they are the wrong ones: members
 * were merged, or an identifier has changed hands.  Whoever would wait for the
 * right ones now, holding these, could wait in a circle.  So the call does its
 * work in a subtransaction; it raises a signal, the subtransaction is rolled
 * back, which gives its locks back, and the work begins anew.  In C:
 *
 *		RunRestartable(post, &call);	... RestartCall("why") within post()
 *
 * and in PL/pgSQL:
 *
 *		LOOP
 *			BEGIN
 *				... PERFORM loyalty.restart_call('why');
 *				EXIT;
 *			EXCEPTION WHEN SQLSTATE 'LX001' THEN
 *				restarts := loyalty.count_restart(restarts, SQLERRM);
 *			END;
 *		END LOOP;
 *
 * The signal has an SQLSTATE of its own, which no refusal has: neither ours nor
 * one that a trigger of users raises is taken for it.  Should somebody raise it
 * who is not us, or should it be a fault of ours, the call ends all the same:
 * each time that is right, another session has committed a change.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "core/core.h"
#include "core/errors.h"

#define MAX_RESTARTS	1000

/*
 * The call that is running begins anew; why is said to nobody but a reader of
 * the source, or to whoever calls by hand a part of a writing function.
 */
void
RestartCall(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_RESTART_CALL),
			 errmsg_internal("%s", why),
			 errhint("Repeat the call.")));
}

/*
 * restart_call(why text) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_restart_call);
Datum
loyalty_restart_call(PG_FUNCTION_ARGS)
{
	RestartCall(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/*
 * Counts how often a call began anew: 54000 when that will have no end.
 */
static int
CountRestart(int restarts, const char *why)
{
	if (restarts >= MAX_RESTARTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a call began anew %d times, and did not come to its end", MAX_RESTARTS),
				 errdetail("The last time because of: %s", why),
				 errhint("Look for a trigger or function of your own that raises SQLSTATE LX001, which is for loyalty alone.")));
	return restarts + 1;
}

/*
 * count_restart(restarts integer, why text) -> integer
 */
PG_FUNCTION_INFO_V1(loyalty_count_restart);
Datum
loyalty_count_restart(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(CountRestart(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/*
 * Runs a function in a subtransaction; and again from its beginning when it
 * asks for that by RestartCall().  Then nothing that it locked stays locked.
 */
void
RunRestartable(void (*run) (void *), void *call)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;
	volatile int restarts = 0;

	while (!done)
	{
		CHECK_FOR_INTERRUPTS();
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			run(call);
			ReleaseCurrentSubTransaction();
			done = true;
		}
		PG_CATCH();
		{
			ErrorData  *error;

			/* whoever catches it shall find the subtransaction that he left */
			MemoryContextSwitchTo(context);
			error = CopyErrorData();
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
			if (error->sqlerrcode != ERRCODE_RESTART_CALL)
				ReThrowError(error);
			restarts = CountRestart(restarts, error->message);
			FreeErrorData(error);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
}
