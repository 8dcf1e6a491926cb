/*
 * post_target.c
 *		The entry that a posting refers to: what is to be known of it, and of
 *		whom the lots are that it took.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"
#include "ledger/replay.h"

static int64
GetInt64(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/*
 * The target is a reversal itself: fills in what is needed of the entry that it
 * reversed.
 */
static void
FindUndone(Posting *posting)
{
	static KeptPlan plan = {
		.query = "SELECT kind, expires_at FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND entry_id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(posting->target_member_id), Int64GetDatum(posting->undone_id)};
	Entry	   *entry = &posting->entry;
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
	{
		values[0] = Int64GetDatum(MemberOfTarget(posting->asked_id, posting->undone_id));
		RunPlan(&plan, values, NULL, 1);
	}
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("entry " INT64_FORMAT " that entry " INT64_FORMAT " reverses does not exist",
						posting->undone_id, entry->target),
				 errhint("Run SELECT * FROM loyalty.check_all();")));
	entry->target_undoes = strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), "reverse") == 0;
	entry->target_expires_at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
																 SPI_tuptable->tupdesc, 2, &isnull));
	if (isnull)
		entry->target_expires_at = TIMESTAMP_INFINITY;
}

/*
 * Finds the entry that a capture, release, reverse or activate refers to and
 * fills in what does not change about it, the currency included.  LY103 when
 * this member has no such entry.
 */
void
FindTarget(Posting *posting, int64 entry_id)
{
	static KeptPlan plan = {
		.query = "SELECT currency, kind, points, requested, effective_at, hold_until, lots, "
		"coalesce((SELECT a.expires_at FROM loyalty.all_entries() a WHERE a.member_id OPERATOR(pg_catalog.=) $1 "
		"AND a.target_entry_id OPERATOR(pg_catalog.=) $2 AND a.kind OPERATOR(pg_catalog.=) 'activate' LIMIT 1), "
		"e.expires_at), home_id, target_entry_id, e.expires_by IS NOT NULL OR e.never_expires IS NOT NULL, e.extends_to IS NOT NULL "
		"FROM loyalty.all_entries() e WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND entry_id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	enum
	{
		TARGET_CURRENCY, TARGET_KIND, TARGET_POINTS, TARGET_REQUESTED, TARGET_EFFECTIVE_AT, TARGET_HOLD_UNTIL, TARGET_LOTS,
		TARGET_EXPIRES_AT, TARGET_HOME_ID, TARGET_TARGET, TARGET_EXPIRY_GIVEN, TARGET_IS_ACTIVITY,
		TARGET_COLUMNS
	};
	Datum		values[2] = {Int64GetDatum(posting->member_id), Int64GetDatum(entry_id)};
	Entry	   *entry = &posting->entry;
	Datum		target[TARGET_COLUMNS];
	bool		nulls[TARGET_COLUMNS];
	bool		found;

	entry->target = entry_id;
	posting->target_member_id = posting->member_id;
	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
	{
		/* merged members: it may be recorded in the wallet of another */
		posting->target_member_id = MemberOfTarget(posting->asked_id, entry_id);
		values[0] = Int64GetDatum(posting->target_member_id);
		RunPlan(&plan, values, NULL, 1);
	}
	found = SPI_processed > 0;
	if (found)
	{
		text	   *kind;

		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, target, nulls);
		kind = DatumGetTextPP(target[TARGET_KIND]);
		entry->target_kind = EntryKindFromName(VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind));
		found = MayReferTo(posting->asked_id, entry->target_kind,
						   nulls[TARGET_HOME_ID] ? posting->target_member_id : DatumGetInt64(target[TARGET_HOME_ID]));
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ENTRY_NOT_FOUND),
				 errmsg("member " INT64_FORMAT " has no entry " INT64_FORMAT,
						posting->member_id, entry_id),
				 errdetail("An entry_id belongs to one member, or to those who were merged with it."),
				 errhint("Check the entry_id that the posting returned; it belongs to one member.")));

	entry->target_points = DatumGetInt64(target[TARGET_REQUESTED]);
	if (entry->target_points < 0)
		entry->target_points = -entry->target_points;
	entry->target_effective_at = DatumGetTimestampTz(target[TARGET_EFFECTIVE_AT]);
	entry->target_hold_until = nulls[TARGET_HOLD_UNTIL] ? 0 : DatumGetTimestampTz(target[TARGET_HOLD_UNTIL]);
	entry->target_expires_at = nulls[TARGET_EXPIRES_AT] ? TIMESTAMP_INFINITY : DatumGetTimestampTz(target[TARGET_EXPIRES_AT]);
	posting->target_expiry_given = DatumGetBool(target[TARGET_EXPIRY_GIVEN]);
	posting->target_is_activity = DatumGetBool(target[TARGET_IS_ACTIVITY]);
	entry->target_posted = DatumGetInt64(target[TARGET_POINTS]);
	if (!nulls[TARGET_LOTS] &&
		(entry->target_posted < 0 || entry->target_kind == ENTRY_REVERSE || entry->target_kind == ENTRY_HOLD))
	{
		LotList    *taken = MemoryContextAlloc(posting->context, sizeof(LotList));
		MemoryContext old = MemoryContextSwitchTo(posting->context);

		UnpackLotsDatum(target[TARGET_LOTS], taken);
		MemoryContextSwitchTo(old);
		entry->target_lots = taken;
		posting->target_taken = taken;
	}
	posting->hold_id = entry->target_kind == ENTRY_CAPTURE ? DatumGetInt64(target[TARGET_TARGET]) : 0;
	posting->undone_id = entry->target_kind == ENTRY_REVERSE ? DatumGetInt64(target[TARGET_TARGET]) : 0;
	FindCurrency(TextDatumGetCString(target[TARGET_CURRENCY]), &posting->currency);
	if (entry->target_kind == ENTRY_REVERSE)
		FindUndone(posting);
}

/*
 * The wallets in which entries that refer to the target may be recorded.
 */
static Datum
WalletsOfTarget(const Posting *posting)
{
	Datum		own = Int64GetDatum(posting->member_id);

	if (posting->has_kin)
		return KinOfMember(posting->asked_id);
	return PointerGetDatum(construct_array(&own, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

#define UNDONE_OF(r) \
	"coalesce((SELECT pg_catalog.sum(u.requested) FROM loyalty.all_entries() u " \
	"WHERE u.member_id OPERATOR(pg_catalog.=) ANY ($1) " \
	"AND u.target_entry_id OPERATOR(pg_catalog.=) " r ".entry_id " \
	"AND u.kind OPERATOR(pg_catalog.=) 'reverse'), 0)"

/*
 * How much of the target is reversed as of now: by earlier reversals, less what
 * was undone of them.
 */
int64
ReversedOfTarget(const Posting *posting)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.sum(r.requested OPERATOR(pg_catalog.-) " UNDONE_OF("r") ")::pg_catalog.int8 "
		"FROM loyalty.all_entries() r WHERE r.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND r.target_entry_id OPERATOR(pg_catalog.=) $2 AND r.kind OPERATOR(pg_catalog.=) 'reverse'",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
	Datum		values[2] = {WalletsOfTarget(posting), Int64GetDatum(posting->entry.target)};

	RunPlan(&plan, values, NULL, 1);
	return GetInt64(1);
}

/*
 * Whether, after the target, which is a reversal, another one of the same
 * entry was recorded that stands, or one that gave a part to another wallet.
 */
static bool
TargetIsFollowed(const Posting *posting)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.all_entries() r WHERE r.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND r.target_entry_id OPERATOR(pg_catalog.=) $2 AND r.kind OPERATOR(pg_catalog.=) 'reverse' "
		"AND (r.entry_id OPERATOR(pg_catalog.>) $3 OR r.member_id OPERATOR(pg_catalog.<>) $4) "
		"AND r.requested OPERATOR(pg_catalog.>) " UNDONE_OF("r"),
		.nargs = 4,
		.argtypes = {INT8ARRAYOID, INT8OID, INT8OID, INT8OID}
	};
	Datum		values[4] = {WalletsOfTarget(posting), Int64GetDatum(posting->undone_id),
		Int64GetDatum(posting->entry.target), Int64GetDatum(posting->target_member_id)};

	RunPlan(&plan, values, NULL, 1);
	return SPI_processed > 0;
}

/*
 * What a reversal has to know of those before it.
 */
void
FindReversals(Posting *posting)
{
	Entry	   *entry = &posting->entry;

	entry->target_reversed = ReversedOfTarget(posting);
	entry->target_followed = entry->target_kind == ENTRY_REVERSE && entry->target_posted > 0 &&
		TargetIsFollowed(posting);
}

/*
 * Whether the hold that an entry refers to was captured or released.
 */
bool
HoldIsClosed(const Posting *posting)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.all_entries() "
		"WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND target_entry_id OPERATOR(pg_catalog.=) $2 "
		"AND (kind OPERATOR(pg_catalog.=) 'capture' OR kind OPERATOR(pg_catalog.=) 'release')",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
	Datum		values[2] = {KinOfMember(posting->asked_id), Int64GetDatum(posting->entry.target)};

	RunPlan(&plan, values, NULL, 1);
	return SPI_processed > 0;
}

/* ---------------------------------------------------------------------------
 * Lots that are several members'
 * ---------------------------------------------------------------------------
 */

/*
 * The member to whom a lot of the target first came.
 */
int64
HomeOfLot(const Posting *posting, const Lot *lot)
{
	return lot->home_id != 0 ? lot->home_id : posting->target_member_id;
}

/*
 * The other captures of the hold that the target captured.
 */
int
FindOtherCaptures(const Posting *posting, Posting **others)
{
	static KeptPlan plan = {
		.query = "SELECT coalesce(home_id, member_id), entry_id FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND target_entry_id OPERATOR(pg_catalog.=) $2 AND kind OPERATOR(pg_catalog.=) 'capture' "
		"AND entry_id OPERATOR(pg_catalog.<>) $3 ORDER BY entry_id",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, INT8OID, INT8OID}
	};
	Datum		values[3];
	SPITupleTable *found;
	int			count;
	bool		isnull;

	*others = NULL;
	if (posting->entry.kind != ENTRY_REVERSE || posting->entry.target_kind != ENTRY_CAPTURE)
		return 0;
	values[0] = KinOfMember(posting->asked_id);
	values[1] = Int64GetDatum(posting->hold_id);
	values[2] = Int64GetDatum(posting->entry.target);
	RunPlan(&plan, values, NULL, 0);
	found = SPI_tuptable;
	count = (int) SPI_processed;
	if (count > 0)
		*others = palloc(count * sizeof(Posting));
	for (int i = 0; i < count; i++)
	{
		Posting    *other = &(*others)[i];

		*other = *posting;
		other->member_id = other->asked_id =
			DatumGetInt64(SPI_getbinval(found->vals[i], found->tupdesc, 1, &isnull));
		other->entry.target_lots = other->target_taken = NULL;
		FindTarget(other, DatumGetInt64(SPI_getbinval(found->vals[i], found->tupdesc, 2, &isnull)));
	}
	return count;
}

/*
 * Whether a posting is one that may be divided: it acts on lots that its target
 * took, and members may be merged.
 */
static bool
GivesLotsBack(const Posting *posting)
{
	return !posting->part && posting->target_taken != NULL && merged_members != NULL &&
		(posting->entry.kind == ENTRY_REVERSE || posting->entry.target_kind == ENTRY_HOLD);
}

/*
 * Whether a posting concerns lots that first came to others than the member
 * that it addressed: they may be in other wallets.
 */
bool
MayHaveParts(const Posting *posting)
{
	if (!GivesLotsBack(posting))
		return false;
	ForEachLot(lot, posting->target_taken)
	{
		if (HomeOfLot(posting, lot) != posting->asked_id)
			return true;
	}
	return false;
}

/*
 * Whether a posting concerns lots in the wallets of others than the canonical
 * member of the one that it addressed.
 */
bool
HasParts(const Posting *posting)
{
	int64		own = 0;
	Posting    *others;

	if (!GivesLotsBack(posting))
		return false;
	ForEachLot(lot, posting->target_taken)
	{
		int64		home_id = HomeOfLot(posting, lot);

		if (home_id == posting->asked_id)
			continue;
		if (own == 0)
			own = CanonicalMember(posting->asked_id);
		if (home_id != own && CanonicalMember(home_id) != own)
			return true;
	}
	return FindOtherCaptures(posting, &others) > 0;
}
