/*
 * engagement_lock.c
 *		The lock of what follows from the activities of a member.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"

#include "core/core.h"
#include "core/plain.h"
#include "engagement/engagement.h"

enum
{
	STATE_MEMBER_ID, STATE_CHANGES, STATE_NCOLUMNS
};

static const PlainColumn state_columns[STATE_NCOLUMNS] = {
	{"member_id", INT8OID}, {"changes", INT8OID}
};

static const char *const no_triggers[] = {NULL};

static const PlainTable state_table = {
	.name = "engagement_state",
	.ncolumns = STATE_NCOLUMNS,
	.columns = state_columns,
	.nkeys = 1,
	.keys = {{1, {STATE_MEMBER_ID}}},
	.own_triggers = no_triggers
};

/*
 * Locks what follows from the activities of a member until the transaction
 * ends.  Needs an SPI connection.
 */
void
LockEngagement(int64 member_id)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.engagement_state AS s (member_id, changes) VALUES ($1, 1) "
		"ON CONFLICT ON CONSTRAINT engagement_state_pkey DO UPDATE SET changes = s.changes OPERATOR(pg_catalog.+) 1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};

	LockMemberRow(&state_table, &plan, member_id);
}

/*
 * lock_engagement(member_id bigint) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_lock_engagement);
Datum
loyalty_lock_engagement(PG_FUNCTION_ARGS)
{
	RequireOwner();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	LockEngagement(PG_GETARG_INT64(0));
	SPI_finish();
	PG_RETURN_VOID();
}
