/*
 * snapshot.c
 *		What settings are read with.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

#include "core/core.h"

/*
 * A snapshot of this moment for RunPlanReadOnly(), to be popped.  What a session
 * keeps of settings is read with it, since that is read again when other
 * sessions have changed them, which the snapshot of a transaction or statement
 * may be too old to see.
 *
 * GetLatestSnapshot() refuses in a parallel query, where all processes have to
 * see the same rows.  Settings are no such rows: they are seen as catalogs
 * are, from the moment that somebody commits.
 */
void
PushLatestSnapshot(void)
{
	PushActiveSnapshot(IsInParallelMode() ? GetCatalogSnapshot(InvalidOid) : GetLatestSnapshot());
}
