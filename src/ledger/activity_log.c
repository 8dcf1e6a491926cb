/*
 * activity_log.c
 *		Sliding expiry: which entries of a wallet count as activity.  See
 *		activity_log.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "core/compat.h"
#include "ledger/activity_log.h"

/*
 * An empty log in the current memory context.
 */
void
InitActivities(ActivityLog *log)
{
	memset(log, 0, sizeof(ActivityLog));
	log->context = CurrentMemoryContext;
}

/*
 * Adds an activity of which that many points are not undone.
 */
static void
AddActivity(ActivityLog *log, const LoggedActivity *activity, int64 points)
{
	if (log->count == log->size)
	{
		MemoryContext old = MemoryContextSwitchTo(log->context);

		if (log->size == 0)
		{
			log->size = 16;
			log->activities = palloc(log->size * sizeof(LoggedActivity));
			log->left = palloc(log->size * sizeof(int64));
		}
		else
		{
			log->size *= 2;
			log->activities = repalloc_huge(log->activities, log->size * sizeof(LoggedActivity));
			log->left = repalloc_huge(log->left, log->size * sizeof(int64));
		}
		MemoryContextSwitchTo(old);
	}
	log->activities[log->count] = *activity;
	log->left[log->count] = points;
	log->count++;
}

static void
AddUndoing(ActivityLog *log, int64 entry_id, int activity)
{
	if (log->nundoings == log->undoings_size)
	{
		MemoryContext old = MemoryContextSwitchTo(log->context);

		log->undoings_size = Max(log->undoings_size * 2, 8);
		if (log->undoings == NULL)
			log->undoings = palloc(log->undoings_size * sizeof(Undoing));
		else
			log->undoings = repalloc_huge(log->undoings, log->undoings_size * sizeof(Undoing));
		MemoryContextSwitchTo(old);
	}
	log->undoings[log->nundoings].entry_id = entry_id;
	log->undoings[log->nundoings].activity = activity;
	log->nundoings++;
}

/*
 * A copy of a log in the current memory context.
 */
void
CopyActivities(const ActivityLog *from, ActivityLog *to)
{
	InitActivities(to);
	for (int i = 0; i < from->count; i++)
		AddActivity(to, &from->activities[i], from->left[i]);
	for (int i = 0; i < from->nundoings; i++)
		AddUndoing(to, from->undoings[i].entry_id, from->undoings[i].activity);
}

/*
 * The place of an entry in the log, or -1.
 */
static int
FindActivity(const ActivityLog *log, int64 entry_id)
{
	int			low = 0;
	int			high = log->count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (log->activities[middle].entry_id < entry_id)
			low = middle + 1;
		else
			high = middle;
	}
	/* lots that arrived with an entry stand before what it extended */
	while (low < log->count && log->activities[low].entry_id == entry_id &&
		   log->activities[low].extends_to == TIMESTAMP_MINUS_INFINITY)
		low++;
	return low < log->count && log->activities[low].entry_id == entry_id ? low : -1;
}

/*
 * The place of the activity that a reversal undid, or -1.
 */
static int
FindUndone(const ActivityLog *log, int64 entry_id)
{
	for (int i = log->nundoings - 1; i >= 0; i--)
	{
		if (log->undoings[i].entry_id == entry_id)
			return log->undoings[i].activity;
	}
	return -1;
}

/*
 * How much of its target an entry undoes: a release all of a hold.
 */
static int64
PointsUndone(const Entry *entry, int64 left)
{
	if (entry->kind == ENTRY_RELEASE)
		return left;
	return entry->requested != 0 ? entry->requested : entry->target_points - entry->target_reversed;
}

/*
 * Whether an entry chooses what to give back.
 */
static bool
GivesBack(const Entry *entry)
{
	if (entry->kind != ENTRY_REVERSE || entry->given != NULL || entry->target_lots == NULL)
		return false;
	return entry->target_kind != ENTRY_REVERSE || entry->target_posted <= 0;
}

/*
 * Before an entry is applied: where it gives points back, leaves nothing of an
 * activity, or makes one count again, gives it those that count then.
 */
void
SetActivities(const ActivityLog *log, Entry *entry)
{
	LoggedActivity *counting;
	int			ncounting = 0;
	int			undone;
	int			again;

	entry->activities = NULL;
	entry->counts_less = entry->counts_again = false;
	if (entry->kind != ENTRY_REVERSE && entry->kind != ENTRY_RELEASE)
		return;
	undone = FindActivity(log, entry->target);
	if (undone >= 0 && PointsUndone(entry, log->left[undone]) < log->left[undone])
		undone = -1;
	again = FindUndone(log, entry->target);
	if (again >= 0 && log->left[again] > 0)
		again = -1;
	if (undone < 0 && again < 0 && !GivesBack(entry))
		return;
	counting = palloc_extended(log->count * sizeof(LoggedActivity), MCXT_ALLOC_HUGE);
	for (int i = 0; i < log->count; i++)
	{
		if (i == again || (i != undone && log->left[i] > 0))
			counting[ncounting++] = log->activities[i];
	}
	entry->activities = counting;
	entry->nactivities = ncounting;
	entry->counts_less = undone >= 0;
	entry->counts_again = again >= 0;
}

/*
 * Lots with an expiry that nothing before extended: transferred, or given back
 * with days of grace.
 */
static void
NoteArrivals(ActivityLog *log, const Entry *entry)
{
	bool		transferred = entry->kind == ENTRY_TRANSFER_IN;

	if (!transferred && (entry->kind != ENTRY_REVERSE || entry->posted <= 0))
		return;
	ForEachLot(lot, &entry->touched)
	{
		LoggedActivity added = {
			.entry_id = entry->entry_id,
			.effective_at = entry->effective_at,
			.extends_to = TIMESTAMP_MINUS_INFINITY,
			.arrived_id = lot->lot_id,
			.arrived_until = lot->expires_at
		};

		/* what never expires needs no activity */
		if (transferred ? lot->expires_at != TIMESTAMP_INFINITY : lot->graced)
			AddActivity(log, &added, 1);
	}
}

/*
 * After an entry was applied: what it did, and what it undid.
 */
void
NoteActivity(ActivityLog *log, const Entry *entry)
{
	if (entry->kind == ENTRY_REVERSE || entry->kind == ENTRY_RELEASE)
	{
		int			undone = FindActivity(log, entry->target);
		int			again = FindUndone(log, entry->target);

		if (undone >= 0)
		{
			log->left[undone] -= PointsUndone(entry, log->left[undone]);
			AddUndoing(log, entry->entry_id, undone);
		}
		if (again >= 0)
			log->left[again] += entry->requested;
	}
	NoteArrivals(log, entry);
	if (entry->extends_to != TIMESTAMP_MINUS_INFINITY)
	{
		LoggedActivity added = {
			.entry_id = entry->entry_id,
			.effective_at = entry->effective_at,
			.extends_to = entry->extends_to
		};

		AddActivity(log, &added, entry->requested < 0 ? -entry->requested : entry->requested);
	}
}
