/*
 * activity_member.c
 *		Whose an activity is.
 *
 * An activity stands under the number that was given for its member, for ever;
 * so undoing a merge is exact, without moving anything.  Whoever reads asks for
 * all numbers of the person.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "activity/activity_record.h"
#include "core/compat.h"
#include "core/errors.h"
#include "core/plain.h"
#include "member/member.h"

static const PlainColumn request_columns[] = {
	{"member_id", INT8OID}, {"call", TEXTOID}, {"idempotency_key", TEXTOID}
};

static const char *const no_triggers[] = {NULL};

/* Where forget_member() leaves its mark. */
static const PlainTable request_table = {
	.name = "request",
	.ncolumns = lengthof(request_columns),
	.columns = request_columns,
	.nkeys = 1,
	.keys = {{3, {0, 1, 2}}},
	.own_triggers = no_triggers
};

/*
 * The member who stands for a member, and bigint[] of all for whom that one
 * stands.  False where the member stands for itself only.  Needs an SPI
 * connection.
 */
bool
FindNumbers(int64 member_id, int64 *canonical, Datum *numbers)
{
	static KeptPlan plan = {
		.query = "SELECT c.id, pg_catalog.array_append(pg_catalog.array_agg(a.member_id), c.id) "
		"FROM (SELECT coalesce((SELECT s.canonical_id FROM loyalty.member_alias s "
		"WHERE s.member_id OPERATOR(pg_catalog.=) $1), $1) OFFSET 0) c (id), LATERAL "
		"(SELECT x.member_id FROM loyalty.member_alias x WHERE x.canonical_id OPERATOR(pg_catalog.=) c.id OFFSET 0) a "
		"GROUP BY c.id",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(member_id);
	bool		isnull;

	*canonical = member_id;
	*numbers = 0;
	if (NobodyWasMerged())
		return false;
	if (FindPlainNumbers(member_id, canonical, numbers))
		return *numbers != 0;
	RunPlan(&plan, &value, NULL, 1);
	if (SPI_processed == 0)
		return false;
	*canonical = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	*numbers = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
	return true;
}

/*
 * bigint[] of all numbers of whoever stands for a member, who is told if asked
 * for.  Needs an SPI connection.
 */
Datum
NumbersOf(int64 member_id, int64 *canonical)
{
	Datum		self = Int64GetDatum(member_id);
	int64		stands;
	Datum		numbers;

	if (!FindNumbers(member_id, &stands, &numbers))
		numbers = PointerGetDatum(construct_array(&self, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	if (canonical != NULL)
		*canonical = stands;
	return numbers;
}

/*
 * Whether a member was forgotten, and keys of its activities with it.
 */
bool
IsForgotten(int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.request WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND call OPERATOR(pg_catalog.=) 'forget_member' AND idempotency_key OPERATOR(pg_catalog.=) ''",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		key[3] = {Int64GetDatum(member_id), CStringGetTextDatum("forget_member"), CStringGetTextDatum("")};
	PlainAccess request;
	bool		found;

	if (!OpenPlain(&request, &request_table, member_id, PLAIN_READ))
	{
		RunPlan(&plan, key, NULL, 1);
		return SPI_processed > 0;
	}
	found = FetchPlainRow(&request, 0, key, SnapshotSelf) != NULL;
	ClosePlain(&request);
	return found;
}

/*
 * Where the program knows its members: raises LY202 for another one.
 */
void
RequireKnownMember(int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.member WHERE member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(member_id);

	if (!GetProgram()->known_members_only)
		return;
	RunPlan(&plan, &value, NULL, 1);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_MEMBER_NOT_FOUND),
				 errmsg("there is no member " INT64_FORMAT, member_id),
				 errdetail("The program records activities of known members only."),
				 errhint("Members are made by loyalty.resolve_member().")));
}

/*
 * What two calls take that could record the same activity.
 */
static LOCKTAG
ActivityLock(int64 member_id, const char *kind)
{
	return NamedLock("activity", member_id, kind);
}

/*
 * Keeps other calls from recording an activity of a kind for a member, until
 * the transaction ends or UnlockActivityKey().
 */
void
LockActivityKey(int64 member_id, const char *kind)
{
	LOCKTAG		tag = ActivityLock(member_id, kind);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
UnlockActivityKey(int64 member_id, const char *kind)
{
	LOCKTAG		tag = ActivityLock(member_id, kind);

	(void) LockRelease(&tag, ExclusiveLock, false);
}
