/*
 * tier_entry.c
 *		Entries of the ledger: facts of ladders that count points, and the tiers
 *		they lead to, in one commit.
 *
 * The ledger tells us of each entry (ledger/post.h) in a currency that a ladder
 * counts.  Whoever defines the first ladder that does so waits for all who are
 * posting, and others wait for its commit: see watch_facts().
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/happened.h"
#include "ledger/ledger.h"
#include "ledger/post.h"
#include "tier/tier_program.h"

static bool
CountsCurrency(const CachedLadder *ladder, int measure, const char *currency)
{
	return ladder->source[measure] == SOURCE_LEDGER && strcmp(ladder->currency[measure], currency) == 0;
}

/*
 * Whether a ladder counts points of a currency.
 */
static bool
TierWants(const char *currency)
{
	bool		wants = false;
	bool		connected = !LaddersAreKnown();

	if (connected)
		ConnectTier();
	for (const CachedLadder *ladder = AllLadders(); ladder != NULL && !wants; ladder = ladder->next)
	{
		for (int m = 0; m < ladder->versions->nmeasures && !wants; m++)
			wants = CountsCurrency(ladder, m, currency);
	}
	if (connected)
		SPI_finish();
	return wants;
}

/*
 * What a reversal takes back, or gives back; false when what it reverses was
 * neither earned nor adjusted.  See tier_points.sql.
 */
static bool
ReversedPoints(int64 member_id, int64 target_entry_id, PostedPoints *posted)
{
	static KeptPlan plan = {
		.query = "SELECT effective_at, available_at, taken_back FROM loyalty.reversed_points($1, $2, 'infinity')",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
	Datum		values[2] = {KinOfMember(member_id), Int64GetDatum(target_entry_id)};
	Datum		columns[3];
	bool		nulls[3];

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
		return false;
	heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, columns, nulls);
	posted->counts_at = DatumGetTimestampTz(columns[0]);
	posted->available_at = DatumGetTimestampTz(columns[1]);
	if (DatumGetBool(columns[2]))
		posted->points = -posted->points;
	return true;
}

/*
 * The points of an entry that has been posted; false where it is no fact.
 */
static bool
PointsOfEntry(const PostedEntry *entry, PostedPoints *posted)
{
	posted->at = posted->counts_at = entry->effective_at;
	posted->points = entry->requested;
	posted->available_at = entry->available_at;
	if (entry->kind == ENTRY_REVERSE)
		return ReversedPoints(entry->member_id, entry->target_entry_id, posted);
	if (posted->available_at == TIMESTAMP_MINUS_INFINITY)
		posted->available_at = posted->points > 0 ? TIMESTAMP_INFINITY : posted->at;
	return true;
}

static struct varlena *
CopyNote(const struct varlena *note, MemoryContext context)
{
	struct varlena *copy = MemoryContextAlloc(context, VARSIZE_ANY(note));

	memcpy(copy, note, VARSIZE_ANY(note));
	return copy;
}

/*
 * Brings the tiers of a member up to an entry, on all ladders that count it.
 * What an activate makes available may have been expected later: tiers are
 * replayed then.
 */
static void
TierEntryPosted(PostedEntry *entry)
{
	MemoryContext caller = CurrentMemoryContext;
	PostedPoints posted;
	TierFact	facts[VERSIONS_MAX_MEASURES];
	NewFacts	arrived = {
		.entry = entry,
		.facts = facts,
		.at = entry->effective_at,
		.commands_known = true,
		.first_command = entry->command,
		.last_command = entry->command
	};

	if (entry->kind != ENTRY_EARN && entry->kind != ENTRY_ADJUST && entry->kind != ENTRY_REVERSE &&
		entry->kind != ENTRY_ACTIVATE)
		return;
	if (WithinSlack(entry))
		return;
	ConnectTier();
	if (PointsOfEntry(entry, &posted))
	{
		for (CachedLadder *ladder = AllLadders(); ladder != NULL; ladder = ladder->next)
		{
			bool		waited_for = false;

			arrived.n = 0;
			for (int m = 0; m < ladder->versions->nmeasures; m++)
			{
				if (!CountsCurrency(ladder, m, entry->currency))
					continue;
				if (entry->kind == ENTRY_ACTIVATE)
					waited_for |= !ladder->counts_pending[m];
				else if (FactOfPoints(ladder, m, &posted, &facts[arrived.n]))
					arrived.n++;
			}
			if (arrived.n > 0 || waited_for)
				MaintainTier(ladder, entry->member_id, &arrived, arrived.at);
		}
	}
	if (entry->tiers != NULL)
		entry->tiers = CopyNote(entry->tiers, caller);
	SPI_finish();
}

/*
 * What is posted may lift a tier, or lower it.
 */
static void
TierEntryExpected(int64 member_id, const char *currency)
{
	ExpectHappening("tier_changed", member_id, currency);
}

/*
 * Part of TierInit().
 */
void
TierEntryInit(void)
{
	static const EntryListener listener = {.wants = TierWants,.expected = TierEntryExpected,.posted = TierEntryPosted};

	OnEntryPosted(&listener);
}
