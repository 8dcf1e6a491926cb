/*
 * running.c
 *		The call whose statement is running.
 *
 * Our writing functions compute within their own statements, under the lock of
 * the row that is updated, by functions that SQL cannot pass a pointer to; and
 * our guards have to know our statements from others.  So a call notes itself
 * while its statement runs.
 *
 * A trigger of the user's that this statement fires may make calls of its own:
 * those are noted above it, and taken off again however they end, also by an
 * error that the trigger catches.  Nothing else that it does is part of the
 * call: functions of the statement itself run as deep in triggers as the call,
 * its guards one deeper.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "core/core.h"

static Running *innermost = NULL;

static int
TriggerDepth(void)
{
	return DatumGetInt32(pg_trigger_depth(NULL));
}

/*
 * Runs a function whose statement belongs to a call.
 */
void
RunWhileNoted(Running *running, void (*run) (void *), void *arg)
{
	running->outer = innermost;
	running->trigger_depth = TriggerDepth();
	PG_TRY();
	{
		innermost = running;
		run(arg);
	}
	PG_FINALLY();
	{
		innermost = running->outer;
	}
	PG_END_TRY();
}

/* A kept statement to run */
typedef struct Statement
{
	KeptPlan   *kept;
	Datum	   *values;
	const char *nulls;
} Statement;

static void
RunStatement(void *arg)
{
	Statement  *statement = arg;

	RunPlan(statement->kept, statement->values, statement->nulls, 0);
}

/*
 * RunPlan() of a statement that belongs to a call.
 */
void
RunPlanOf(Running *running, KeptPlan *kept, Datum *values, const char *nulls)
{
	Statement	statement = {kept, values, nulls};

	RunWhileNoted(running, RunStatement, &statement);
}

/*
 * The call of a kind whose statement is running, for a function in that
 * statement; NULL when another's is, or none.
 */
void *
RunningCall(const char *kind)
{
	if (innermost == NULL || innermost->kind != kind || innermost->trigger_depth != TriggerDepth())
		return NULL;
	return innermost->call;
}

/*
 * For a guard: whether it meets a statement of ours, which it may do so many
 * times as the call has said.
 */
bool
TakePermit(void)
{
	if (innermost == NULL || innermost->permits <= 0 || innermost->trigger_depth + 1 != TriggerDepth())
		return false;
	innermost->permits--;
	return true;
}
