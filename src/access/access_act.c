/*
 * access_act.c
 *		Who does an act by hand: kept with the act, in its transaction.
 *
 * Two things tell who it is.  The role of the session cannot be forged: it is
 * the one that logged in, whatever SET ROLE or functions have made of it.  But
 * an application has one role for many people, so it names the one who acts:
 *
 *		SET LOCAL loyalty.actor = 'alice';
 *
 * Anybody can set that, so it counts only for roles that the owner of the
 * tables trusts (trust_actors()); those must name one.  The person who acts is
 * the actor for such a role, and the role itself for all others.
 *
 * An actor is named for a transaction.  What is left of an earlier one, in a
 * connection that a pooler gives to somebody else, names nobody.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "access/access.h"
#include "core/core.h"
#include "core/errors.h"

#define MAX_ACTOR_LENGTH	200

static char *actor_setting = NULL;

/* The request whose act is being done, with the approval of another; or 0 */
static int64 approved_request = 0;

/*
 * An actor is one line of text of at most MAX_ACTOR_LENGTH bytes, without
 * blanks around it; the empty string names nobody.
 */
static bool
CheckActor(char **newval, void **extra, GucSource source)
{
	const char *name = *newval;
	size_t		length = name == NULL ? 0 : strlen(name);

	(void) extra;
	(void) source;
	if (length > MAX_ACTOR_LENGTH)
	{
		GUC_check_errdetail("It has %zu bytes, and may have %d.", length, MAX_ACTOR_LENGTH);
		return false;
	}
	for (size_t i = 0; i < length; i++)
	{
		bool		at_end = i == 0 || i == length - 1;

		if ((unsigned char) name[i] < ' ' || name[i] == 0x7f || (at_end && name[i] == ' '))
		{
			GUC_check_errdetail("It has a control character, or a blank at its beginning or end.");
			return false;
		}
	}
	return true;
}

/*
 * Who acts.
 */
typedef struct Who
{
	char	   *session_role;	/* that logged in */
	char	   *role;			/* that SET ROLE chose */
	const char *actor;			/* named in this transaction, or NULL */
	const char *person;			/* the actor, if the role is trusted, or the
								 * session's role */
} Who;

/* When another has to agree to an act */
typedef struct Policy
{
	bool		found;
	char	   *above;			/* points, as text */
	Datum		within;			/* interval over which they are added up, or 0 */
} Policy;

static Datum
OrNull(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/*
 * Finds out who acts, and which policy there is for an act (NULL: for none).
 * Both are read as they are now, whatever the age of the transaction's
 * snapshot.  Needs an SPI connection.
 */
static void
FindWho(Who *who, const char *act, const char *currency, Policy *policy)
{
	static KeptPlan plan = {
		.query = "SELECT t.role IS NOT NULL, p.above::pg_catalog.text, p.within FROM (VALUES (1)) one (row) "
		"LEFT JOIN LATERAL (SELECT r.role FROM loyalty.actor_role r WHERE r.role OPERATOR(pg_catalog.=) $1) t ON true "
		"LEFT JOIN LATERAL (SELECT a.above, a.within FROM loyalty.approval_policy a WHERE a.act OPERATOR(pg_catalog.=) $2 "
		"AND (a.currency OPERATOR(pg_catalog.=) $3 OR a.currency OPERATOR(pg_catalog.=) '*') "
		"ORDER BY a.currency OPERATOR(pg_catalog.=) '*' LIMIT 1) p ON true",
		.nargs = 3,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID}
	};
	Datum		values[3];
	char		nulls[3];
	HeapTuple	row;
	TupleDesc	tupdesc;
	bool		isnull;
	bool		trusted;

	who->session_role = GetUserNameFromId(GetSessionUserId(), false);
	who->role = GetUserNameFromId(GetOuterUserId(), false);
	who->actor = NamedActor();
	values[0] = CStringGetTextDatum(who->session_role);
	nulls[0] = ' ';
	values[1] = OrNull(act, &nulls[1]);
	values[2] = OrNull(currency, &nulls[2]);
	PushLatestSnapshot();
	RunPlanReadOnly(&plan, values, nulls, 1);
	PopActiveSnapshot();
	row = SPI_tuptable->vals[0];
	tupdesc = SPI_tuptable->tupdesc;
	trusted = DatumGetBool(SPI_getbinval(row, tupdesc, 1, &isnull));
	policy->above = SPI_getvalue(row, tupdesc, 2);
	policy->found = policy->above != NULL;
	policy->within = SPI_getbinval(row, tupdesc, 3, &isnull);
	if (isnull)
		policy->within = 0;

	if (trusted && who->actor == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ACTOR_NOT_NAMED),
				 errmsg("role \"%s\" must name who acts", who->session_role),
				 errdetail("It acts for many people, and this transaction has named none of them."),
				 errhint("In the same transaction, SET LOCAL loyalty.actor = '...', or SELECT set_config('loyalty.actor', $1, true).")));
	who->person = trusted ? who->actor : who->session_role;
}

/*
 * Whether a policy asks for the approval of another: its act has no amount, or
 * more points than it allows, with those of the same person's acts before, if
 * it adds up.  Acts that somebody else has approved are not among them; a name
 * in upper case is the same person's.
 */
static bool
NeedsApproval(const Act *act, const Who *who, const Policy *policy)
{
	static KeptPlan lock = {
		.query = "SELECT loyalty.lock_key(pg_catalog.format('acts of %s', pg_catalog.lower($1)))",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	static KeptPlan sum = {
		.query = "SELECT pg_catalog.abs($5::pg_catalog.numeric) OPERATOR(pg_catalog.+) coalesce(pg_catalog.sum(pg_catalog.abs(a.points::pg_catalog.numeric)), 0) "
		"OPERATOR(pg_catalog.>) $4::pg_catalog.numeric "
		"FROM loyalty.operator_act a WHERE pg_catalog.lower(a.person) OPERATOR(pg_catalog.=) pg_catalog.lower($1) AND a.act OPERATOR(pg_catalog.=) $2 "
		"AND a.currency OPERATOR(pg_catalog.=) $3 AND a.request_id IS NULL "
		"AND a.recorded_at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) $6)",
		.nargs = 6,
		.argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INTERVALOID}
	};
	Datum		values[6];
	char		nulls[6];
	bool		isnull;

	if (!policy->found)
		return false;
	if (act->currency == NULL)
		return true;
	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(who->person);
	values[1] = CStringGetTextDatum(act->name);
	values[2] = CStringGetTextDatum(act->currency);
	values[3] = CStringGetTextDatum(policy->above);
	values[4] = Int64GetDatum(act->points);
	values[5] = policy->within;
	if (policy->within == 0)
		nulls[5] = 'n';			/* adds up nothing */
	else
		RunPlan(&lock, values, NULL, 1);	/* acts of the same person at this moment */
	PushLatestSnapshot();
	RunPlanReadOnly(&sum, values, nulls, 1);
	PopActiveSnapshot();
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

pg_noreturn static void
RefuseWithoutApproval(const Act *act, const Who *who, const Policy *policy)
{
	char	   *limit;

	if (act->currency == NULL)
		limit = psprintf("By the policy for it, \"%s\" may not do it alone.", who->person);
	else if (policy->within == 0)
		limit = psprintf("By the policy for it, \"%s\" may do it alone up to %s points.", who->person, policy->above);
	else
		limit = psprintf("By the policy for it, \"%s\" may do it alone up to %s points within %s.", who->person, policy->above,
						 DatumGetCString(DirectFunctionCall1(interval_out, policy->within)));
	ereport(ERROR,
			(errcode(ERRCODE_LY_APPROVAL_NEEDED),
			 act->currency == NULL ? errmsg("%s needs the approval of another person", act->name) :
			 errmsg("%s of " INT64_FORMAT " points of currency \"%s\" needs the approval of another person",
					act->name, act->points, act->currency),
			 errdetail_internal("%s", limit),
			 errhint("Ask for it by loyalty.request_act('%s', arguments, reason); another person does it by loyalty.approve_act().",
					 act->name)));
}

/*
 * Keeps an act that was done in this transaction, or refuses it.
 */
static void
RecordAct(const Act *act)
{
	static KeptPlan asked = {
		.query = "SELECT session_role, role, actor, person FROM loyalty.act_request WHERE request_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.operator_act (act, member_id, object_id, currency, points, subject, "
		"session_role, role, actor, person, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		.nargs = 11,
		.argtypes = {TEXTOID, INT8OID, INT8OID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID}
	};
	Who			who;
	Policy		policy;
	Datum		values[11];
	char		nulls[11];

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	FindWho(&who, act->name, act->currency, &policy);
	if (approved_request == 0 && NeedsApproval(act, &who, &policy))
		RefuseWithoutApproval(act, &who, &policy);

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(act->name);
	values[1] = Int64GetDatum(act->member_id);
	values[2] = Int64GetDatum(act->object_id);
	values[3] = OrNull(act->currency, &nulls[3]);
	values[4] = Int64GetDatum(act->points);
	values[5] = OrNull(act->subject, &nulls[5]);
	values[6] = CStringGetTextDatum(who.session_role);
	values[7] = CStringGetTextDatum(who.role);
	values[8] = OrNull(who.actor, &nulls[8]);
	values[9] = CStringGetTextDatum(who.person);
	values[10] = Int64GetDatum(approved_request);
	nulls[10] = approved_request == 0 ? 'n' : ' ';
	if (approved_request != 0)
	{
		/* the act of a request is that of the one who asked for it */
		RunPlan(&asked, &values[10], NULL, 1);
		if (SPI_processed == 0)
			elog(ERROR, "request " INT64_FORMAT " does not exist", approved_request);
		for (int i = 0; i < 4; i++)
		{
			bool		isnull;

			values[6 + i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull);
			nulls[6 + i] = isnull ? 'n' : ' ';
		}
	}
	if (act->member_id == 0)
		nulls[1] = 'n';
	if (act->object_id == 0)
		nulls[2] = 'n';
	if (act->currency == NULL)
		nulls[4] = 'n';
	RunPlan(&plan, values, nulls, 0);
	if (SPI_processed != 1)
		elog(ERROR, "act \"%s\" was not kept", act->name);
	SPI_finish();
}

/*
 * acting_person() -> text: who acts in this session at this moment
 */
PG_FUNCTION_INFO_V1(loyalty_acting_person);
Datum
loyalty_acting_person(PG_FUNCTION_ARGS)
{
	Who			who;
	Policy		policy;
	MemoryContext context = CurrentMemoryContext;
	text	   *person;
	MemoryContext old;

	(void) fcinfo;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	FindWho(&who, NULL, NULL, &policy);
	old = MemoryContextSwitchTo(context);
	person = cstring_to_text(who.person);
	MemoryContextSwitchTo(old);
	SPI_finish();
	PG_RETURN_TEXT_P(person);
}

/*
 * named_actor() -> text: the actor that this transaction has named, or NULL
 */
PG_FUNCTION_INFO_V1(loyalty_named_actor);
Datum
loyalty_named_actor(PG_FUNCTION_ARGS)
{
	const char *actor = NamedActor();

	if (actor == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(actor));
}

/*
 * perform_act(request_id bigint, act text, arguments jsonb) -> jsonb
 *
 * Does what a request asks for, as approved: run_act(), whose act is kept with
 * the request and refused by no policy.
 */
PG_FUNCTION_INFO_V1(loyalty_perform_act);
Datum
loyalty_perform_act(PG_FUNCTION_ARGS)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.run_act($1, $2)",
		.nargs = 2,
		.argtypes = {TEXTOID, JSONBOID}
	};
	int64		outer = approved_request;
	MemoryContext context = CurrentMemoryContext;
	Datum		values[2];
	volatile Datum result = 0;
	volatile bool isnull = true;

	RequireOwner();
	values[0] = PG_GETARG_DATUM(1);
	values[1] = PG_GETARG_DATUM(2);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PG_TRY();
	{
		approved_request = PG_GETARG_INT64(0);
		RunPlan(&plan, values, NULL, 1);
		if (SPI_processed == 1)
		{
			bool		none;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none);
			MemoryContext old = MemoryContextSwitchTo(context);

			isnull = none;
			if (!none)
				result = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
			MemoryContextSwitchTo(old);
		}
	}
	PG_FINALLY();
	{
		approved_request = outer;
	}
	PG_END_TRY();
	SPI_finish();
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/*
 * Part of AccessInit().
 */
void
ActInit(void)
{
	/* in a session that was there before an update, by the library of then */
	if (FindSetting("loyalty.actor") == NULL)
		DefineCustomStringVariable("loyalty.actor",
								   "The person for whom this transaction acts; counts for roles that trust_actors() trusts.",
								   NULL, &actor_setting, "", PGC_USERSET, 0, CheckActor, NULL, NULL);
	KeepActHook = RecordAct;
}
