/*
 * rights.c
 *		Who may write through our functions, and as whom they write.
 *
 * The tables belong to whoever ran setup().  What somebody else may do follows
 * from what that owner has granted him on tables, so that a dump, a restore
 * and an upgrade keep it: INSERT on a view that takes no rows, one for each
 * right, means that he has it (may_post, may_consume, may_operate, may_define;
 * see grant_access()).  It is not SELECT, which whoever may read everything has,
 * by GRANT SELECT ON ALL TABLES or as a member of pg_read_all_data.
 *
 * A function that writes asks for its right, and then works as the owner of
 * the tables, as foreign keys do.  So whoever may post needs no right to write
 * into any table, and cannot.  Functions that only read work as their caller.
 * src/access/access_rights.sql says which function needs which right, and puts
 * one of the functions of behind.c before each.
 *
 * A trigger function of ours on somebody's table writes for the owner of that
 * table, who made the trigger: he needs the right, and not whoever writes into
 * the table.  Where somebody else may have made it, nobody knows who did, and
 * it writes for whoever writes into the table, as any trigger.
 *
 * An error needs no clean-up: the abort of the (sub)transaction restores the
 * user.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"

static const struct
{
	const char *view;			/* INSERT on it is the right */
	const char *or_view;		/* and so is INSERT on this one, if not NULL */
	const char *what;			/* "may not ..." */
	const char *level;			/* of grant_access() */
}			rights[] = {
	[RIGHT_POST] = {"may_post", NULL, "post points or resolve members", "app"},
	[RIGHT_CONSUME] = {"may_consume", NULL, "consume events and notices", "consumer"},
	[RIGHT_OPERATE] = {"may_operate", NULL, "adjust, merge, grant or forget", "clerk"},
	[RIGHT_CORRECT] = {"may_post", "may_operate", "reverse entries or link identifiers", "clerk"},
	[RIGHT_DEFINE] = {"may_define", NULL, "define currencies, ladders and the like", "admin"}
};

/* For whom the owner works at this moment: the role that called */
static Oid	caller = InvalidOid;

/*
 * The owner of the program's tables.
 */
static Oid
OwnerOfTables(void)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RequireTables()));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for the table of layouts");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Raises 42501 unless the current user has the rights of the owner of our tables: part of
 * functions that pass what guards their tables, whatever was granted on these.
 */
void
RequireOwner(void)
{
	Oid			owner = OwnerOfTables();

	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("this function is part of others and works for the owner of the tables only"),
				 errhint("Call the function that it is part of; role \"%s\" owns the tables.", GetUserNameFromId(owner, false))));
}

/*
 * owner_only() trigger: refuses whatever is written by somebody who has not
 * the rights of the owner of our tables, whoever granted him what.
 *
 *	CREATE TRIGGER owner_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON loyalty.layout
 *		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.owner_only();
 */
PG_FUNCTION_INFO_V1(loyalty_owner_only);
Datum
loyalty_owner_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = RequireTrigger(fcinfo, "owner_only", FIRED_BEFORE | FIRED_FOR_STATEMENT | FIRED_BY_INSERT |
										  FIRED_BY_UPDATE | FIRED_BY_DELETE | FIRED_BY_TRUNCATE);
	Oid			owner = OwnerOfTables();

	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not write into table \"%s\"",
						GetUserNameFromId(GetUserId(), false), RelationGetRelationName(trigger->tg_relation)),
				 errdetail("It has not the rights of role \"%s\", which owns the tables of loyalty; what was granted on them gives none.",
						   GetUserNameFromId(owner, false)),
				 errhint("Call the functions of loyalty; loyalty.grant_access() says which.")));
	return PointerGetDatum(NULL);
}

/*
 * Whether a role has INSERT on a view of ours, or NULL.
 */
static bool
MayInsert(const char *name, Oid role)
{
	Oid			view = name != NULL ? LoyaltyTable(name) : InvalidOid;

	return OidIsValid(view) && pg_class_aclcheck(view, role, ACL_INSERT) == ACLCHECK_OK;
}

/*
 * Raises 42501 unless a role has a right; shared is a table for which it needs
 * it, since others than the owner of that may make triggers there.
 */
static void
RequireRight(Oid role, Oid owner, Right right, Relation shared)
{
	if (role == owner || MayInsert(rights[right].view, role) || MayInsert(rights[right].or_view, role))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" may not %s", GetUserNameFromId(role, false), rights[right].what),
			 shared ? errdetail("Others than the owner of \"%s\" have the privilege TRIGGER there, so its triggers post for whoever writes into it.",
								RelationGetRelationName(shared)) : 0,
			 errhint("Role \"%s\", which owns the tables of loyalty, grants it by SELECT loyalty.grant_access('%s', '%s');",
					 GetUserNameFromId(owner, false), GetUserNameFromId(role, false), rights[right].level)));
}

/*
 * What ActAsOwner() and ActForTable() do; shared as for RequireRight().
 */
static void
BecomeOwner(Actor *actor, Oid role, Right right, Relation shared)
{
	Oid			owner = OwnerOfTables();

	RequireRight(role, owner, right, shared);
	GetUserIdAndSecContext(&actor->userid, &actor->sec_context);
	SetUserIdAndSecContext(owner, actor->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	RequireOwnTriggers(owner);
}

/*
 * From here on the owner of the tables acts, for a role that must have a right.
 */
void
ActAsOwner(Actor *actor, Oid role, Right right)
{
	BecomeOwner(actor, role, right, NULL);
}

/*
 * From here on the one who acted before ActAsOwner() does.
 */
void
ActAsBefore(const Actor *actor)
{
	SetUserIdAndSecContext(actor->userid, actor->sec_context);
}

/*
 * Whether nobody but a role (and superusers) may make triggers on a table.
 */
static bool
OnlyMakesTriggers(Oid role, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		only;
	bool		is_public;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	only = ((Form_pg_class) GETSTRUCT(tuple))->relowner == role && OtherTriggerMaker(tuple, role, &is_public) == NULL;
	ReleaseSysCache(tuple);
	return only;
}

/*
 * From here on the owner of the tables acts, for whoever made a trigger on
 * somebody's table: its owner, where nobody else can have made it, on it or on
 * a table that it is a partition of; or else whoever writes into it.
 */
void
ActForTable(Actor *actor, Relation rel)
{
	Oid			role = rel->rd_rel->relowner;
	bool		only = OnlyMakesTriggers(role, RelationGetRelid(rel));

	if (only && rel->rd_rel->relispartition)
	{
		List	   *ancestors = get_partition_ancestors(RelationGetRelid(rel));
		ListCell   *cell;

		foreach(cell, ancestors)
			only = only && OnlyMakesTriggers(role, lfirst_oid(cell));
		list_free(ancestors);
	}
	if (only)
		BecomeOwner(actor, role, RIGHT_POST, NULL);
	else
		BecomeOwner(actor, GetUserId(), RIGHT_POST, rel);
}

/*
 * The role that acts: the session's, or the one that SET ROLE chose, whoever's
 * functions are running.
 *
 * acting_role() -> text
 */
PG_FUNCTION_INFO_V1(loyalty_acting_role);
Datum
loyalty_acting_role(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(GetUserNameFromId(GetOuterUserId(), false)));
}

/*
 * Whom RequireOfCaller() asks about from now on; returns whom it asked before.
 */
Oid
ChangeCaller(Oid role)
{
	Oid			before = caller;

	caller = role;
	return before;
}

/*
 * Within a function that stands behind another: raises 42501 unless the role
 * that called has a further right.
 */
void
RequireOfCaller(Right right)
{
	RequireRight(OidIsValid(caller) ? caller : GetUserId(), OwnerOfTables(), right, NULL);
}

/*
 * require_operator() -> void
 */
PG_FUNCTION_INFO_V1(loyalty_require_operator);
Datum
loyalty_require_operator(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	RequireOfCaller(RIGHT_OPERATE);
	PG_RETURN_VOID();
}
