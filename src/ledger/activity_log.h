/*
 * activity_log.h
 *		Sliding expiry: which entries of a wallet count as activity.
 *
 * An entry that was undone is no activity.  To know what the lots live without
 * it, one needs the activities that remain; whoever folds a history keeps a log
 * of them, and hands them to the fold with an entry that leaves nothing of one,
 * or that gives back what was not in its lot when they extended it.  An entry
 * counts as long as anything is left of it.
 */
#ifndef LOYALTY_ACTIVITY_LOG_H
#define LOYALTY_ACTIVITY_LOG_H

#include "postgres.h"

#include "ledger/fold.h"

/* A reversal of an activity, which may be undone itself */
typedef struct Undoing
{
	int64		entry_id;
	int			activity;		/* its place in the log */
} Undoing;

typedef struct ActivityLog
{
	LoggedActivity *activities;	/* in the order in which they were recorded */
	int64	   *left;			/* how many points of each are not undone */
	int			count;
	int			size;
	Undoing    *undoings;		/* likewise */
	int			nundoings;
	int			undoings_size;
	MemoryContext context;
} ActivityLog;

extern void InitActivities(ActivityLog *log);
extern void CopyActivities(const ActivityLog *from, ActivityLog *to);
extern void SetActivities(const ActivityLog *log, Entry *entry);
extern void NoteActivity(ActivityLog *log, const Entry *entry);

#endif							/* LOYALTY_ACTIVITY_LOG_H */
