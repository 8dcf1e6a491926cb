/*
 * ledger_route.c
 *		Where postings go whose members are merged.
 *
 * A member that is absorbed in another keeps its id, its ledger and its
 * wallets; the wallets are empty and marked as moved.  An UPDATE of a wallet
 * leaves out those, so that an ordinary posting pays nothing for all this.  A
 * posting that updated no wallet asks for the canonical member, and goes
 * there; its entry names the member addressed as home, and so does the lot
 * that it opens.
 *
 * The canonical member of a member (who it is after all merges that stand) is
 * known to room member, which sets merged_members.
 *
 * Locks: everybody takes live wallets in one order, ascending by member and
 * currency (as bytes), and whoever finds that a wallet's points have moved lets
 * go of all of them before going on to another:
 *
 * - a merge or its undoing takes wallets marked as moved first, which no
 *	 posting takes, then live ones in that order, one by one; those that are
 *	 missing it makes in their turn, so that no posting opens one unseen;
 * - a posting takes one wallet.  One that goes elsewhere locks that wallet, asks
 *	 again under the lock, and lets go when the answer is another;
 * - a call that posts to several wallets knows their order beforehand, and
 *	 begins anew when it changes under way (RunRestartable());
 * - a backfill keeps merges off, and takes its wallets in that order, too;
 * - no posting keeps a lock on a wallet that it found marked (ReplaceByMoved()).
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"

MergedMembers *merged_members = NULL;

/*
 * The canonical member of a member as of now; see member.h.
 */
int64
CanonicalMember(int64 member_id)
{
	if (merged_members != NULL)
		merged_members->canonical(&member_id, 1, false);
	return member_id;
}

static Datum
FindKin(int64 member_id, bool read_only)
{
	Datum		self = Int64GetDatum(member_id);

	if (merged_members != NULL)
		return merged_members->kin(member_id, read_only);
	return PointerGetDatum(construct_array(&self, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * bigint[] of the members that were ever merged with a member as of now, and
 * itself: in their wallets may be what belongs to it.
 */
Datum
KinOfMember(int64 member_id)
{
	return FindKin(member_id, false);
}

/*
 * The same as the calling query sees it.
 */
Datum
KinAsOfQuery(int64 member_id)
{
	return FindKin(member_id, true);
}

/*
 * member_kin(member_id): the members who were ever merged with a member, and
 * itself.
 */
PG_FUNCTION_INFO_V1(loyalty_member_kin);
Datum
loyalty_member_kin(PG_FUNCTION_ARGS)
{
	Datum		kin;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	kin = SPI_datumTransfer(KinAsOfQuery(PG_GETARG_INT64(0)), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(kin);
}

/*
 * For a call that posts to several wallets: replaces the ids of members by
 * those of their canonical members.
 */
void
FindRoutes(int64 *member_ids, int n)
{
	if (merged_members != NULL && n > 0)
		merged_members->canonical(member_ids, n, false);
}

/*
 * Before any wallet is locked: a merge, or its undoing, says that it is under
 * way (RowExclusiveLock); who posts to so many wallets that it could not begin
 * anew keeps all of them off until its transaction ends (ShareLock).
 */
void
LockMerges(LOCKMODE mode)
{
	if (merged_members != NULL)
		LockRelationOid(LoyaltyTable(merged_members->table), mode);
}

/*
 * Sends a posting to the wallet of a member, the canonical one of the one that
 * it addressed.
 */
void
SendPosting(Posting *posting, int64 member_id)
{
	posting->member_id = member_id;
	posting->entry.home_id = member_id == posting->asked_id ? 0 : posting->asked_id;
}

/*
 * The member in whose wallet an entry is recorded, where that is not the
 * member who was asked for it: one of those it was merged with.
 */
int64
MemberOfTarget(int64 asked_id, int64 entry_id)
{
	static KeptPlan plan = {
		.query = "SELECT member_id FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND entry_id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
	Datum		values[2] = {KinOfMember(asked_id), Int64GetDatum(entry_id)};
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
		return asked_id;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Whether an entry of this home can be referred to through a member: they are
 * one now.  A hold is found through everybody it was merged with, since its
 * parts go where their lots go.
 */
bool
MayReferTo(int64 asked_id, EntryKind kind, int64 home_id)
{
	return home_id == asked_id || kind == ENTRY_HOLD ||
		CanonicalMember(home_id) == CanonicalMember(asked_id);
}

/*
 * The lots that a reversal gives back, as the wallet of the posting has to
 * call their homes.  Lots of others are no business of this wallet: see
 * ledger_parts.c.
 */
void
PlaceTarget(Posting *posting)
{
	MemoryContext old;
	LotList    *placed;
	bool		elsewhere = posting->target_member_id != posting->member_id;

	if (posting->target_taken == NULL || posting->entry.kind != ENTRY_REVERSE)
		return;
	ForEachLot(lot, posting->target_taken)
	{
		if (lot->home_id != 0)
			elsewhere = true;
	}
	if (!elsewhere)
	{
		posting->entry.target_lots = posting->target_taken;
		return;
	}

	old = MemoryContextSwitchTo(posting->context);
	placed = palloc0(sizeof(LotList));
	ForEachLot(lot, posting->target_taken)
	{
		Lot			part = *lot;
		int64		home_id = lot->home_id != 0 ? lot->home_id : posting->target_member_id;

		part.home_id = home_id == posting->member_id ? 0 : home_id;
		AppendLot(placed, &part);
	}
	MemoryContextSwitchTo(old);
	posting->entry.target_lots = placed;
}

/*
 * The balance of a wallet; false when there is none.
 */
bool
ReadWallet(int64 member_id, const char *code, Balance *balance)
{
	static KeptPlan plan = {
		.query = "SELECT balance FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(code)};
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
		return false;
	UnpackBalanceDatum(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull), balance);
	return true;
}
