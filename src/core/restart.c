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
 *				NULL;
 *			END;
 *		END LOOP;
 *
 * The signal has an SQLSTATE of its own, which no refusal has: neither ours nor
 * one that a trigger of users raises is taken for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "core/core.h"
#include "core/errors.h"

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
 * Runs a function in a subtransaction; and again from its beginning when it
 * asks for that by RestartCall().  Then nothing that it locked stays locked.
 */
void
RunRestartable(void (*run) (void *), void *call)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

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
			FreeErrorData(error);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
}
