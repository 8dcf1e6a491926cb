/*
 * activity_record.h
 *		Recording activities, and revising them.
 */
#ifndef LOYALTY_ACTIVITY_RECORD_H
#define LOYALTY_ACTIVITY_RECORD_H

#include "postgres.h"

#include "activity/activity_row.h"

/* How the recording of an activity ended. */
typedef enum RecordOutcome
{
	RECORD_OPEN,				/* not yet */
	RECORD_STORED,
	RECORD_REPLAYED,			/* its key was used by the same call */
	RECORD_THERE,				/* it is there already, and may be */
	RECORD_FORGOTTEN			/* it may be, and nobody can tell whether it is */
} RecordOutcome;

typedef struct Recording
{
	/* what is asked for; of row.activity what a caller can say */
	ActivityRow row;
	bool		at_given;		/* otherwise it is now */
	bool		of_row;			/* row.same_key names a row of somebody's table */
	bool		may_be_there;	/* one that is there already is no error */
	bool		silent;			/* history without awards: nobody is told */
	bool		previewed;		/* not to be recorded: its instant may lie ahead,
								 * and its member may be NOBODY */
	int			ncodes;
	const char **codes;
	const char *basket;

	RecordOutcome outcome;
	ActivityChange change;		/* what listeners said of it */
	ActivityRow stored;			/* the activity as it is in the table; or, where
								 * it is there already, as that one is */
	int64		canonical;		/* who stands for the member */
	Datum		numbers;		/* bigint[] of all for whom it does; 0: itself only */
	bool		wanted;			/* a room wants to be told */
	bool		locked;			/* its key, by this call */
} Recording;

extern void PrepareRecording(Recording *recording);
extern char *SameKey(SameWhen same_when, const Activity *activity);
extern void RecordActivity(Recording *recording);
extern void RecordActivities(Recording *recordings, int n);

/* What is to become of an activity; what is not given stays as it is */
typedef struct Revision
{
	int64		member_id;
	int64		activity_id;
	bool		has_amount;		/* of a return: what is returned of it */
	Micros		amount;
	int			decimals;		/* of amount */
	Datum		lines;			/* jsonb; of a return: what is returned */
	Datum		document;
	bool		has_at;
	TimestampTz at;				/* of a return: when it was; otherwise now */
	const char *channel;
	const char *money;
	bool		has_cancelled;
	bool		cancelled;
	bool		has_confirmed;
	bool		confirmed;
	int64		to_member_id;	/* 0: it is not moved */
	bool		codes_given;
	int			ncodes;
	const char **codes;
	const char *basket;
	bool		is_return;
	bool		of_row;			/* of somebody's table, as it stands: all is given,
								 * and what is as it was is no revision */
	const char *reference;
	const char *idempotency_key;

	bool		done;			/* false: of a row that is as it was */
	bool		replayed;
	int32		revision;
	ActivityRow before;
	ActivityRow now;
	ActivityChange change;		/* what listeners said of it */
} Revision;

extern void ReviseActivity(Revision *revision);

/* activity_return.c */
extern void TakeReturn(Activity *activity, const Revision *revision, int money_decimals);

/* activity_lines.c */
extern bool LineMicros(JsonbContainer *object, const char *key, int place, Micros *micros, int *decimals);
extern int32 LineNumber(JsonbContainer *object, int place);
extern char *JsonText(Datum jsonb);

/* activity_member.c */
extern bool FindNumbers(int64 member_id, int64 *canonical, Datum *numbers);
extern Datum NumbersOf(int64 member_id, int64 *canonical);
extern bool IsForgotten(int64 member_id);
extern void RequireKnownMember(int64 member_id);
extern void LockActivityKey(int64 member_id, const char *kind);
extern void UnlockActivityKey(int64 member_id, const char *kind);

/* activity_argument.c: what arguments may be */
extern void CheckActivityAt(TimestampTz at);
extern void CheckActivityText(const char *what, const char *text);
extern void CheckMoney(const char *money);

#endif							/* LOYALTY_ACTIVITY_RECORD_H */
