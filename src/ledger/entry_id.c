/*
 * entry_id.c
 *		Ids of entries: unique in the ledger, rising within a wallet.
 *
 * A sequence alone does not see to the second.  Where several machines draw
 * from ranges of their own, or on a copy whose sequence was left behind, the
 * next number may be less than the wallet's last.  Then the sequence is drawn
 * forward past it, as a Lamport clock is.  It stays in its class: a sequence
 * that counts by n gives the same remainder as before.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "common/int.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

#include "core/core.h"
#include "ledger/post.h"

static int64
IncrementOf(Oid sequence)
{
	HeapTuple	row = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	int64		increment;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for sequence %u", sequence);
	increment = ((Form_pg_sequence) GETSTRUCT(row))->seqincrement;
	ReleaseSysCache(row);
	return increment;
}

/*
 * Draws an id for an entry of a wallet whose last one is given; under the
 * wallet's lock.  22003 when there is none beyond it.
 */
int64
DrawEntryId(int64 last_entry_id)
{
	Oid			sequence = LoyaltyTable("ledger_entry_id_seq");
	int64		id = nextval_internal(sequence, true);
	int64		increment;

	if (likely(id > last_entry_id))
		return id;

	/* one session at a time, and it asks again: another may have drawn it forward */
	LockRelationOid(sequence, ShareUpdateExclusiveLock);
	id = nextval_internal(sequence, true);
	if (id <= last_entry_id)
	{
		increment = IncrementOf(sequence);
		if (increment < 1 ||
			pg_add_s64_overflow(id, ((last_entry_id - id) / increment + 1) * increment, &id))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("no entry id is left beyond " INT64_FORMAT, last_entry_id),
					 errhint("Sequence loyalty.ledger_entry_id_seq must count upwards, and not far from the end of bigint.")));
		DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(id));
	}
	UnlockRelationOid(sequence, ShareUpdateExclusiveLock);
	return id;
}

/*
 * The last id that was drawn, by whomever on this machine; before the first, the
 * one that would come before it.  Needs an SPI connection.
 */
int64
LastDrawnEntryId(void)
{
	static KeptPlan plan = {
		.query = "SELECT last_value, is_called FROM loyalty.ledger_entry_id_seq"
	};
	bool		isnull;
	int64		last;

	RunPlan(&plan, NULL, NULL, 1);
	last = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) ? last :
		Max(0, last - IncrementOf(LoyaltyTable("ledger_entry_id_seq")));
}
