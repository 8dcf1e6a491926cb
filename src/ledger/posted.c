/*
 * posted.c
 *		Word of entries that are in the ledger, for rooms on our right.
 */
#include "postgres.h"

#include "ledger/post.h"

#define MAX_ENTRY_LISTENERS	8

static const EntryListener *listeners[MAX_ENTRY_LISTENERS];
static int	nlisteners = 0;

/*
 * From now on a room, whose Init function calls this, is told of each entry.
 */
void
OnEntryPosted(const EntryListener *listener)
{
	if (nlisteners >= MAX_ENTRY_LISTENERS)
		elog(ERROR, "too many listeners to entries");
	listeners[nlisteners++] = listener;
}

/*
 * Whether entries in a currency concern any room.
 */
bool
AnyoneWants(const char *currency)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i]->wants(currency))
			return true;
	}
	return false;
}

/*
 * A wallet is to be locked, for an entry.
 */
void
ExpectEntry(int64 member_id, const char *currency)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i]->expected != NULL && listeners[i]->wants(currency))
			listeners[i]->expected(member_id, currency);
	}
}

/*
 * What is told of a posting that is posted; the currency stays the posting's.
 */
void
DescribePosted(const Posting *posting, PostedEntry *entry)
{
	const LedgerRow *row = &posting->row;

	entry->member_id = row->member_id;
	entry->currency = row->currency;
	entry->kind = row->kind;
	entry->requested = row->requested;
	entry->effective_at = row->effective_at;
	entry->available_at = row->available_at;
	entry->target_entry_id = row->target_entry_id;
	entry->entry_id = row->entry_id;
	entry->command = posting->command;
	entry->plain = posting->plain;
	entry->collected = posting->collected;
	entry->tiers = posting->tiers;
}

/*
 * Tells the rooms that want it of an entry whose row can be seen.
 */
void
TellOfEntry(PostedEntry *entry)
{
	for (int i = 0; i < nlisteners; i++)
	{
		if (listeners[i]->wants(entry->currency))
			listeners[i]->posted(entry);
	}
}

/*
 * The same of a posting.
 */
void
TellOfPosting(Posting *posting)
{
	PostedEntry entry;

	DescribePosted(posting, &entry);
	TellOfEntry(&entry);
	posting->tiers = entry.tiers;
}
