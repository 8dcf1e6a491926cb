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
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
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

/* Our tables, whose triggers are known to be the owner's; NULL: not known */
static Oid *watched_tables = NULL;
static uint64 nwatched_tables = 0;

static void
ForgetTriggers(Oid relid)
{
	bool		ours = relid == InvalidOid;

	for (uint64 i = 0; watched_tables != NULL && i < nwatched_tables && !ours; i++)
		ours = watched_tables[i] == relid;
	if (ours && watched_tables != NULL)
	{
		pfree(watched_tables);
		watched_tables = NULL;
	}
}

/*
 * Part of CoreInit().
 */
void
RightsInit(void)
{
	OnTableChange(ForgetTriggers);
}

/* Our tables, and partitions of them that stand in other schemas. */
#define OUR_TABLES \
	"WITH RECURSIVE ours (oid) AS (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace OPERATOR(pg_catalog.=) $1 " \
	"UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN ours ON ours.oid OPERATOR(pg_catalog.=) i.inhparent) "

/*
 * Whoever may make a trigger on one of our tables makes the owner run what he
 * likes, as soon as we write there.  So nobody else may have the privilege: to
 * look at the triggers that are there would be too late for one that is
 * committed while we wait for the lock of its table.  And of what was made by
 * somebody who had the privilege once, nothing may run that is not the owner's
 * or a superuser's: neither the function, nor a condition, nor terms given to
 * a trigger function of ours, which are expressions (that of forget_cached() is
 * a name).  Asked again after each
 * change of a table.
 */
static void
RequireOwnTriggers(Oid owner)
{
	static KeptPlan tables = {
		.query = OUR_TABLES "SELECT oid FROM ours",
		.nargs = 1,
		.argtypes = {OIDOID}
	};
	static KeptPlan grants = {
		.query = OUR_TABLES "SELECT c.oid::pg_catalog.regclass::pg_catalog.text, coalesce(r.rolname, 'PUBLIC'), "
		"pg_catalog.format('REVOKE TRIGGER ON %s FROM %s;', CASE WHEN c.relnamespace OPERATOR(pg_catalog.=) $1 "
		"THEN 'ALL TABLES IN SCHEMA loyalty' ELSE c.oid::pg_catalog.regclass::pg_catalog.text END, "
		"coalesce(pg_catalog.quote_ident(r.rolname), 'PUBLIC')) "
		"FROM ours JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) ours.oid "
		"CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a "
		"LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee "
		"WHERE a.privilege_type OPERATOR(pg_catalog.=) 'TRIGGER' AND a.grantee OPERATOR(pg_catalog.<>) $2 "
		"AND r.rolsuper IS NOT TRUE ORDER BY c.relname, 2 LIMIT 1",
		.nargs = 2,
		.argtypes = {OIDOID, OIDOID}
	};
	static KeptPlan triggers = {
		.query = OUR_TABLES "SELECT t.tgname, c.relname, CASE WHEN p.proowner OPERATOR(pg_catalog.<>) $2 AND NOT r.rolsuper "
		"THEN pg_catalog.format('Its function belongs to role \"%s\"; the tables of loyalty belong to \"%s\".', "
		"r.rolname, pg_catalog.pg_get_userbyid($2)) "
		"WHEN t.tgqual IS NOT NULL THEN 'It has a condition (WHEN), which would be evaluated as the owner of the tables.' "
		"ELSE 'It gives terms to a function of loyalty, which would be evaluated as the owner of the tables.' END "
		"FROM ours JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) ours.oid "
		"JOIN pg_catalog.pg_trigger t ON t.tgrelid OPERATOR(pg_catalog.=) c.oid "
		"JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid "
		"JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.proowner "
		"WHERE NOT t.tgisinternal AND (p.proowner OPERATOR(pg_catalog.<>) $2 AND NOT r.rolsuper OR t.tgqual IS NOT NULL "
		"OR t.tgnargs OPERATOR(pg_catalog.>) 0 AND p.pronamespace OPERATOR(pg_catalog.=) $1 "
		"AND p.proname OPERATOR(pg_catalog.<>) 'forget_cached') ORDER BY 2, 1 LIMIT 1",
		.nargs = 2,
		.argtypes = {OIDOID, OIDOID}
	};
	Oid			schema = get_rel_namespace(RequireTables());
	Datum		values[2] = {ObjectIdGetDatum(schema), ObjectIdGetDatum(owner)};
	Oid		   *found;
	uint64		nfound;
	bool		isnull;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* which tables: before their triggers, so that a change meanwhile is noticed */
	RunPlan(&tables, values, NULL, 0);
	nfound = SPI_processed;
	found = MemoryContextAlloc(TopMemoryContext, (nfound + 1) * sizeof(Oid));
	for (uint64 i = 0; i < nfound; i++)
		found[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	ForgetTriggers(InvalidOid);
	watched_tables = found;
	nwatched_tables = nfound;
	RunPlan(&grants, values, NULL, 1);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;

		ForgetTriggers(InvalidOid);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s may make triggers on %s", SPI_getvalue(row, tupdesc, 2), SPI_getvalue(row, tupdesc, 1)),
				 errdetail("What they do would be done as \"%s\", the owner of the tables of loyalty.",
						   GetUserNameFromId(owner, false)),
				 errhint("%s Levels are given by loyalty.grant_access(), not by GRANT ALL.", SPI_getvalue(row, tupdesc, 3))));
	}
	RunPlan(&triggers, values, NULL, 1);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;

		ForgetTriggers(InvalidOid);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("trigger \"%s\" of table \"%s\" may not run for loyalty",
						SPI_getvalue(row, tupdesc, 1), SPI_getvalue(row, tupdesc, 2)),
				 errdetail_internal("%s", SPI_getvalue(row, tupdesc, 3)),
				 errhint("Drop the trigger; or let it call a function that belongs to the owner of the tables, without condition and terms.")));
	}
	SPI_finish();
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
	if (watched_tables == NULL)
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
	Datum		relacl;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	only = ((Form_pg_class) GETSTRUCT(tuple))->relowner == role;
	relacl = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (only && !isnull)
	{
		Acl		   *acl = DatumGetAclP(relacl);

		for (int i = 0; only && i < ACL_NUM(acl); i++)
		{
			AclItem    *item = &ACL_DAT(acl)[i];

			only = (ACLITEM_GET_PRIVS(*item) & ACL_TRIGGER) == 0 || item->ai_grantee == role ||
				(item->ai_grantee != ACL_ID_PUBLIC && superuser_arg(item->ai_grantee));
		}
	}
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
