/*
 * member_alias.c
 *		Canonical members: canonical_member(), and what the ledger asks.
 *
 * loyalty.member_alias has a row for each absorbed member, which always names
 * its canonical member, so one look-up is enough however many
 * merges there were.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "core/plain.h"
#include "ledger/ledger.h"
#include "member/member.h"

/* ---------------------------------------------------------------------------
 * For the ledger
 * ---------------------------------------------------------------------------
 */

static const PlainColumn alias_columns[] = {
	{"member_id", INT8OID}, {"canonical_id", INT8OID}
};

static const char *const no_triggers[] = {NULL};

static const PlainTable alias_table = {
	.name = "member_alias",
	.ncolumns = lengthof(alias_columns),
	.columns = alias_columns,
	.nkeys = 2,
	.keys = {{1, {0}}, {2, {1, 0}}},
	.own_triggers = no_triggers
};

static const PlainColumn member_columns[] = {
	{"member_id", INT8OID}
};

static const PlainTable member_table = {
	.name = "member",
	.ncolumns = lengthof(member_columns),
	.columns = member_columns,
	.nkeys = 1,
	.keys = {{1, {0}}},
	.own_triggers = no_triggers
};

/*
 * Whether nobody was ever merged, or (false) somebody may have been.
 */
bool
NobodyWasMerged(void)
{
	Relation	rel = OpenLoyaltyTable("member_alias", AccessShareLock);
	bool		is_empty = rel->rd_rel->relkind == RELKIND_RELATION && RelationGetNumberOfBlocks(rel) == 0;

	table_close(rel, AccessShareLock);
	return is_empty;
}

/*
 * The member who stands for a member, and bigint[] of all for whom that one
 * stands, by table access, as of now; 0: it stands for itself only.  False, and
 * nothing is known, when the table is not plain, or spread over partitions.
 */
bool
FindPlainNumbers(int64 member_id, int64 *canonical, Datum *numbers)
{
	Datum		key = Int64GetDatum(member_id);
	PlainAccess alias;
	HeapTuple	row;
	HeapTuple  *rows;
	Datum	   *ids;
	bool		isnull;
	int			n;

	if (!OpenPlain(&alias, &alias_table, member_id, PLAIN_READ))
		return false;
	if (alias.top != NULL)
	{
		ClosePlain(&alias);
		return false;
	}
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	row = FetchPlainRow(&alias, 0, &key, GetActiveSnapshot());
	*canonical = row == NULL ? member_id : DatumGetInt64(PlainValue(&alias, row, 1, &isnull));
	n = FetchPlainRowsBy(&alias, 1, Int64GetDatum(*canonical), GetActiveSnapshot(), &rows);
	PopActiveSnapshot();
	*numbers = 0;
	if (n > 0)
	{
		ids = palloc((n + 1) * sizeof(Datum));
		for (int i = 0; i < n; i++)
			ids[i] = PlainValue(&alias, rows[i], 0, &isnull);
		ids[n] = Int64GetDatum(*canonical);
		*numbers = PointerGetDatum(construct_array(ids, n + 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	ClosePlain(&alias);
	return true;
}

/*
 * The canonical member of one member, by table access, as of now.  False, and
 * nothing is known, when the table is not plain.
 */
static bool
FindPlainCanonical(int64 *member_id)
{
	Datum		key = Int64GetDatum(*member_id);
	PlainAccess alias;
	HeapTuple	row;
	bool		isnull;

	if (!OpenPlain(&alias, &alias_table, *member_id, PLAIN_READ))
		return false;
	row = FetchLatestPlainRow(&alias, 0, &key);
	if (row != NULL)
		*member_id = DatumGetInt64(PlainValue(&alias, row, 1, &isnull));
	ClosePlain(&alias);
	return true;
}

/*
 * Replaces ids of absorbed members by those of their canonical
 * members.  Needs an SPI connection.
 */
static void
ReplaceByCanonical(int64 *member_ids, int n, bool read_only)
{
	static KeptPlan one = {
		.query = "SELECT canonical_id FROM loyalty.member_alias WHERE member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	static KeptPlan many = {
		.query = "SELECT member_id, canonical_id FROM loyalty.member_alias "
		"WHERE member_id OPERATOR(pg_catalog.=) ANY ($1)",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	KeptPlan   *plan = n == 1 ? &one : &many;
	Datum		value;
	bool		isnull;

	if (n == 1 && !read_only && (NobodyWasMerged() || FindPlainCanonical(member_ids)))
		return;
	if (n == 1)
		value = Int64GetDatum(member_ids[0]);
	else
	{
		Datum	   *ids = palloc(n * sizeof(Datum));

		for (int i = 0; i < n; i++)
			ids[i] = Int64GetDatum(member_ids[i]);
		value = PointerGetDatum(construct_array(ids, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	if (read_only)
		RunPlanReadOnly(plan, &value, NULL, 0);
	else
		RunPlan(plan, &value, NULL, 0);

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int64		first = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &isnull));
		int64		second;

		if (n == 1)
		{
			member_ids[0] = first;
			break;
		}
		second = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2, &isnull));
		for (int i = 0; i < n; i++)
		{
			if (member_ids[i] == first)
				member_ids[i] = second;
		}
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * bigint[] of all members that were ever merged with a member, over any number
 * of merges that stand or were undone; itself included.  Needs an SPI
 * connection.
 */
static Datum
MembersEverMergedWith(int64 member_id, bool read_only)
{
	static KeptPlan plan = {
		.query = "WITH RECURSIVE kin (member_id) AS (SELECT $1 UNION "
		"SELECT n.member_id FROM kin k, LATERAL ("
		"SELECT m.survivor_id FROM loyalty.member_merge m WHERE m.absorbed_id OPERATOR(pg_catalog.=) k.member_id "
		"UNION ALL SELECT m.absorbed_id FROM loyalty.member_merge m WHERE m.survivor_id OPERATOR(pg_catalog.=) k.member_id OFFSET 0"
		") n (member_id)) SELECT pg_catalog.array_agg(member_id) FROM kin",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(member_id);
	bool		isnull;

	if (read_only)
		RunPlanReadOnly(&plan, &value, NULL, 1);
	else
		RunPlan(&plan, &value, NULL, 1);
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
}

/*
 * Whether any member is absorbed.  Needs an SPI connection.
 */
static bool
AnybodyAbsorbed(void)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.member_alias LIMIT 1",
	};

	RunPlan(&plan, NULL, NULL, 1);
	return SPI_processed > 0;
}

/*
 * The last number of our own that was drawn; 0 where the caller may not know.
 */
static int64
LastOwnNumber(void)
{
	Oid			relid = LoyaltyTable("member_member_id_seq");
	LOCAL_FCINFO(fcinfo, 1);
	Datum		last;

	if (!OidIsValid(relid) || pg_class_aclcheck(relid, GetUserId(), ACL_SELECT | ACL_USAGE) != ACLCHECK_OK)
		return 0;
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(relid);
	fcinfo->args[0].isnull = false;
	last = pg_sequence_last_value(fcinfo);
	return fcinfo->isnull ? 0 : DatumGetInt64(last);
}

/*
 * Whether a member is known.  Needs an SPI connection.
 */
static bool
IsMember(int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.member WHERE member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		key = Int64GetDatum(member_id);
	PlainAccess member;
	bool		found;

	if (!OpenPlain(&member, &member_table, member_id, PLAIN_READ))
	{
		RunPlan(&plan, &key, NULL, 1);
		return SPI_processed > 0;
	}
	found = FetchLatestPlainRow(&member, 0, &key) != NULL;
	ClosePlain(&member);
	return found;
}

/*
 * A number under which points begin to stand.  Applications number members
 * themselves, too: the next number of our own is drawn beyond such a one, also
 * before anybody can see those points, unless it is that of a scheme so far off
 * that the two will not meet, or the caller may not.  Needs an SPI connection.
 */
#define NUMBERS		"'loyalty.member_member_id_seq'"
#define LAST_NUMBER	"coalesce(pg_catalog.pg_sequence_last_value(" NUMBERS "), 0)"

static void
WalletOpened(int64 member_id)
{
	static KeptPlan draw_beyond = {
		.query = "SELECT CASE WHEN pg_catalog.has_sequence_privilege(" NUMBERS ", 'UPDATE') AND "
		"pg_catalog.has_sequence_privilege(" NUMBERS ", 'USAGE') AND "
		"$1 OPERATOR(pg_catalog.>) " LAST_NUMBER " AND $1 OPERATOR(pg_catalog.-) " LAST_NUMBER
		" OPERATOR(pg_catalog.<) 1000000000000 THEN pg_catalog.setval(" NUMBERS ", $1) END",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(member_id);

	if (IsMember(member_id))
		return;
	if (GetProgram()->known_members_only)
		ereport(ERROR,
				(errcode(ERRCODE_LY_MEMBER_NOT_FOUND),
				 errmsg("there is no member " INT64_FORMAT, member_id),
				 errdetail("The program gives points to known members only."),
				 errhint("Members are made by loyalty.resolve_member().")));
	if (member_id > LastOwnNumber())
		RunPlan(&draw_beyond, &value, NULL, 1);
}

static MergedMembers merged = {
	.canonical = ReplaceByCanonical,
	.kin = MembersEverMergedWith,
	.any = AnybodyAbsorbed,
	.opened = WalletOpened,
	.table = "member_alias",
	.function = "loyalty.canonical_member"
};

/*
 * Part of MemberInit().
 */
void
AliasInit(void)
{
	merged_members = &merged;
}

/* ---------------------------------------------------------------------------
 * canonical_member()
 * ---------------------------------------------------------------------------
 */

/* So many calls of one query look into the index; then all aliases are read. */
#define CALLS_BEFORE_READING	16

/* Results of look-ups that are kept where the aliases do not fit in memory */
#define KEPT_RESULTS			8192	/* a power of two */

typedef struct MemberAlias
{
	int64		member_id;
	int64		canonical_id;	/* 0: an empty slot */
} MemberAlias;

/* What identifies the snapshot that the kept aliases belong to */
typedef struct SnapshotMark
{
	LocalTransactionId lxid;
	TransactionId xmin;
	TransactionId xmax;
	uint32		xcnt;
	int32		subxcnt;
	CommandId	curcid;
} SnapshotMark;

/* Lives as long as the expression that calls the function */
typedef struct AliasCache
{
	MemoryContext context;
	SnapshotMark mark;
	int64		calls;
	bool		complete;		/* table has all aliases: a miss is an answer */
	bool		too_many;		/* they do not fit: table is of KEPT_RESULTS */
	MemberAlias	   *table;			/* open addressing when complete, otherwise one
								 * result for each slot */
	uint64		mask;
	uint8	   *filter;			/* when complete: eight bits for each slot, set
								 * where there may be an alias; small enough to
								 * stay near the processor */
} AliasCache;

#define FILTER_BIT(hash, mask)	(((hash) >> 8) & ((mask) << 3 | 7))

static inline uint64
HashOfMember(int64 member_id)
{
	/* multiplication by 2^64 / golden ratio spreads consecutive ids */
	return (uint64) member_id * UINT64CONST(0x9E3779B97F4A7C15);
}

static inline uint64
SlotOf(int64 member_id, uint64 mask)
{
	return (HashOfMember(member_id) >> 32) & mask;
}

static inline bool
SameSnapshot(const SnapshotMark *mark, Snapshot snapshot)
{
	return mark->xmin == snapshot->xmin && mark->xmax == snapshot->xmax &&
		mark->xcnt == snapshot->xcnt && mark->subxcnt == snapshot->subxcnt &&
		mark->curcid == snapshot->curcid && mark->lxid == LOCAL_TRANSACTION_ID;
}

static void
MarkSnapshot(SnapshotMark *mark, Snapshot snapshot)
{
	mark->lxid = LOCAL_TRANSACTION_ID;
	mark->xmin = snapshot->xmin;
	mark->xmax = snapshot->xmax;
	mark->xcnt = snapshot->xcnt;
	mark->subxcnt = snapshot->subxcnt;
	mark->curcid = snapshot->curcid;
}

/*
 * Reads all aliases, unless they need more memory than a hash table may have.
 */
static void
ReadAliases(AliasCache *cache)
{
	static KeptPlan plan = {
		.query = "SELECT member_id, canonical_id FROM loyalty.member_alias LIMIT $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	uint64		limit = (uint64) work_mem * 1024 / (2 * sizeof(MemberAlias));
	Datum		value = Int64GetDatum((int64) limit + 1);
	uint64		size = 64;

	RunPlanReadOnly(&plan, &value, NULL, 0);
	if (SPI_processed > limit)
	{
		cache->too_many = true;
		size = KEPT_RESULTS;
	}
	while (size < SPI_processed * 3 / 2 && !cache->too_many)
		size *= 2;
	cache->table = MemoryContextAllocExtended(cache->context, size * sizeof(MemberAlias),
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	cache->mask = size - 1;
	cache->complete = !cache->too_many;
	if (cache->complete)
		cache->filter = MemoryContextAllocExtended(cache->context, size,
												   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < SPI_processed && cache->complete; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		int64		member_id = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
		uint64		slot = SlotOf(member_id, cache->mask);
		uint64		bit = FILTER_BIT(HashOfMember(member_id), cache->mask);

		cache->filter[bit / 8] |= 1 << bit % 8;
		while (cache->table[slot].canonical_id != 0)
			slot = (slot + 1) & cache->mask;
		cache->table[slot].member_id = member_id;
		cache->table[slot].canonical_id = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
	}
}

/*
 * A look-up in the index; the result is kept where not all are.
 */
static int64
LookUpAlias(AliasCache *cache, int64 member_id)
{
	int64		canonical = member_id;
	MemberAlias	   *kept = NULL;

	if (cache->too_many)
	{
		kept = &cache->table[SlotOf(member_id, cache->mask)];
		if (kept->canonical_id != 0 && kept->member_id == member_id)
			return kept->canonical_id;
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!cache->too_many && ++cache->calls > CALLS_BEFORE_READING)
		ReadAliases(cache);
	ReplaceByCanonical(&canonical, 1, true);
	SPI_finish();
	if (kept != NULL)
	{
		kept->member_id = member_id;
		kept->canonical_id = canonical;
	}
	return canonical;
}

/*
 * canonical_member(member_id bigint) -> bigint
 *
 * The first calls of a query look into the index; after some of them all
 * aliases of the query's snapshot are read into memory, if they fit in
 * work_mem, so that a join over millions of rows costs a probe for each.
 */
PG_FUNCTION_INFO_V1(loyalty_canonical_member);
Datum
loyalty_canonical_member(PG_FUNCTION_ARGS)
{
	int64		member_id = PG_GETARG_INT64(0);
	AliasCache *cache = fcinfo->flinfo->fn_extra;
	Snapshot	snapshot = GetActiveSnapshot();

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(AliasCache));
		cache->context = fcinfo->flinfo->fn_mcxt;
		fcinfo->flinfo->fn_extra = cache;
	}

	/* an expression that is kept may be called for another statement */
	if (!SameSnapshot(&cache->mark, snapshot))
	{
		if (cache->table != NULL)
			pfree(cache->table);
		if (cache->filter != NULL)
			pfree(cache->filter);
		cache->table = NULL;
		cache->filter = NULL;
		cache->complete = cache->too_many = false;
		cache->calls = 0;
		MarkSnapshot(&cache->mark, snapshot);
	}

	if (cache->complete)
	{
		uint64		slot = SlotOf(member_id, cache->mask);
		uint64		bit = FILTER_BIT(HashOfMember(member_id), cache->mask);

		if (!(cache->filter[bit / 8] & 1 << bit % 8))
			PG_RETURN_INT64(member_id);
		while (cache->table[slot].canonical_id != 0)
		{
			if (cache->table[slot].member_id == member_id)
				PG_RETURN_INT64(cache->table[slot].canonical_id);
			slot = (slot + 1) & cache->mask;
		}
		PG_RETURN_INT64(member_id);
	}
	PG_RETURN_INT64(LookUpAlias(cache, member_id));
}
