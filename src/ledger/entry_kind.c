/*
 * entry_kind.c
 *		Kinds of entries: their names, and what they have.
 */
#include "postgres.h"

#include "ledger/fold.h"

static const char *const entry_kind_names[] = {
	[ENTRY_EARN] = "earn",
	[ENTRY_REDEEM] = "redeem",
	[ENTRY_HOLD] = "hold",
	[ENTRY_CAPTURE] = "capture",
	[ENTRY_RELEASE] = "release",
	[ENTRY_REVERSE] = "reverse",
	[ENTRY_ACTIVATE] = "activate",
	[ENTRY_TRANSFER_OUT] = "transfer_out",
	[ENTRY_TRANSFER_IN] = "transfer_in",
	[ENTRY_ADJUST] = "adjust",
	[ENTRY_EXPIRE] = "expire"
};

/*
 * Name of a kind, as users write it.
 */
const char *
EntryKindName(EntryKind kind)
{
	Assert(kind >= ENTRY_EARN && kind <= ENTRY_KIND_MAX);
	return entry_kind_names[kind];
}

/*
 * Kind of a name of len bytes; 0 when there is none of that name.
 */
EntryKind
EntryKindFromName(const char *name, size_t len)
{
	for (int kind = ENTRY_EARN; kind <= ENTRY_KIND_MAX; kind++)
	{
		if (strlen(entry_kind_names[kind]) == len &&
			memcmp(entry_kind_names[kind], name, len) == 0)
			return (EntryKind) kind;
	}
	return 0;
}

/*
 * Whether entries of this kind name the lots that they took or gave.
 */
bool
EntryTakesLots(EntryKind kind)
{
	return kind != ENTRY_EARN && kind != ENTRY_ACTIVATE && kind != ENTRY_EXPIRE;
}

/*
 * Whether entries of a kind refer to an earlier one.
 */
bool
EntryRefers(EntryKind kind)
{
	return kind >= ENTRY_CAPTURE && kind <= ENTRY_ACTIVATE;
}
