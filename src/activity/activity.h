/*
 * activity.h
 *		What members did: orders with lines, check-ins, reviews, and the like.
 *
 * An activity is what it is now: a row of loyalty.activity.  Every change of
 * it, a return included, is a revision: a row of loyalty.activity_revision says
 * what was done and keeps what the activity was before.  Whoever posts for
 * activities (rooms benefit and rule) registers an ActivityListener, and posts
 * what the activity as it is now is worth, less what was posted before.
 */
#ifndef LOYALTY_ACTIVITY_H
#define LOYALTY_ACTIVITY_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/date.h"
#include "utils/jsonb.h"

/*
 * An amount or a quantity, exactly: so many millionths.  At the border it is
 * numeric; what has more decimals, or is beyond 9.2 trillion, is LY505.
 */
typedef int64 Micros;

#define MICROS_DECIMALS		6
#define MICROS_PER_UNIT		INT64CONST(1000000)

/* The member of an activity that is previewed for whoever comes; no number */
#define NOBODY	PG_INT64_MIN

typedef struct ActivityLine
{
	int32		number;
	const char *sku;			/* texts are NULL where there is none */
	const char *category;		/* a path, such as food/tea/green */
	const char *brand;
	const char *grade;
	bool		earns;			/* false: counts in the activity's amount, and
								 * earns nothing */
	bool		earns_given;	/* by the caller: the catalogue does not say it */
	bool		has_amount;
	Micros		quantity;		/* as it is now: what was returned is off */
	Micros		amount;			/* likewise, less discount; 0 where unknown */
	Micros		discount;		/* of coupons, taken off the amount */
	Micros		sold_quantity;	/* before parts of it were returned */
	Micros		sold_amount;	/* likewise, and before coupons */
	JsonbContainer *given;		/* the line as the caller gave it */
} ActivityLine;

/* An activity, as it is or was after one of its revisions */
typedef struct Activity
{
	int64		member_id;		/* under which it stands */
	int64		activity_id;	/* 0: not stored yet */
	int32		revision;		/* 0: as it was recorded */
	const char *kind;
	TimestampTz at;
	DateADT		local_day;		/* of at, in time_zone; fixed when recorded */
	const char *time_zone;
	const char *channel;		/* NULL where there is none, as these texts */
	bool		has_amount;
	Micros		amount;			/* without lines' amounts the caller's; 0 where
								 * unknown */
	int			decimals;		/* of the amounts, as they are shown */
	const char *money;			/* ISO 4217 */
	int			nlines;
	ActivityLine *lines;
	Datum		lines_value;	/* jsonb, as stored; 0: none */
	bool		lines_changed;	/* lines_value is to be made of lines */
	Datum		document;		/* jsonb; 0: none */
	const char *external_id;
	bool		confirmed;		/* paid, shipped, approved */
	bool		cancelled;		/* it does not count */
	bool		returned;		/* nothing is left of it by returns */
	TimestampTz recorded_at;	/* when the first revision was */
	TimestampTz revised_at;		/* when this one was */
} Activity;

/*
 * A change of an activity: it is recorded, or revised.  before is NULL where it
 * is new.  Where it moves to another member, before->member_id is the one who
 * had it.
 */
typedef struct ActivityChange
{
	const Activity *before;
	Activity   *now;
	bool		is_return;
	TimestampTz at;				/* when: of a new one its own instant, of a return
								 * that of the return, else that of recording */
	bool		codes_given;	/* otherwise it keeps the coupons that it has */
	int			ncodes;			/* of all coupons that it is to have */
	const char **codes;
	const char *basket;			/* under which some are reserved; NULL: none */
	bool		amount_given;	/* the caller says what its amount is; otherwise
								 * it is what it was, less what coupons took */

	/* what listeners have to say */
	Micros		discount;		/* that coupons took off */
	int64		points;			/* of currency points: given, or the difference */
	int			awards;			/* how many were made or changed */
} ActivityChange;

/*
 * What a room registers that has to do with activities, in order of the rooms.
 * wants() says whether those of a kind concern it; where no room wants a kind,
 * to record an activity is one INSERT and nothing else.  Any function may be
 * NULL.  All but wants() run in a subtransaction that begins anew where one
 * calls RestartCall(), as the owner of the tables and with an SPI connection:
 *
 * lock()	locks what the change could post to, in the lock order of the house:
 *			wallets, then a member's state rows.  Of many changes it is called
 *			for all, members ascending, before anything is stored.  The row of a
 *			revised activity is locked after it.
 * lock_last()	the same, once lock() of all rooms has locked what it does: for
 *			rows that come after those of rooms to the right.
 * price()	takes the coupons of codes, and writes their discount into the lines,
 *			whose amounts are before coupons until then: amount and discount of
 *			the line, amount of the activity, lines_changed.
 * stored() posts; the activity is in its table, and has its number.
 * replayed() says once more what stored() said of this revision.
 */
typedef struct ActivityListener
{
	bool		(*wants) (const char *kind);
	void		(*lock) (ActivityChange *change);
	void		(*lock_last) (ActivityChange *change);
	void		(*price) (ActivityChange *change);
	void		(*stored) (ActivityChange *change);
	void		(*replayed) (ActivityChange *change);
} ActivityListener;

/* activity_listener.c */
extern void OnActivityChange(const ActivityListener *listener);
extern void KeepDefinitions(void);
extern bool AnyoneWantsActivity(const char *kind);
extern void BringAboutActivities(const char *kind);
extern bool IsBroughtAbout(const char *kind);
extern void LockForChange(ActivityChange *change);
extern void PriceChange(ActivityChange *change);
extern void TellOfChange(ActivityChange *change);
extern void TellAgainOfChange(ActivityChange *change);

/* activity_amount.c: plain C but for its refusals */
extern bool UsualMicros(Datum numeric, Micros *micros, int *decimals);
extern Micros MicrosFromNumeric(Datum numeric, const char *what, int *decimals);
extern Datum MicrosToNumeric(Micros micros, int decimals);
extern char *MicrosText(Micros micros);
extern Micros AddMicros(Micros a, Micros b);
extern Micros MultiplyMicros(Micros a, Micros b);
extern Micros ShareOfMicros(Micros amount, Micros part, Micros whole, int decimals);

/* activity_lines.c: the lines of an activity, as jsonb and as structs */
extern void ReadLines(Activity *activity, Datum lines);
extern Datum LinesValue(const Activity *activity);

/* activity_decimals.c */
extern int	MoneyDecimals(const Activity *activity);

/* activity_product.c: what the catalogue knows of them */
extern void FillInProducts(Activity *activity, const Activity *before);

/* activity_kind.c: settings that a session keeps */
typedef enum SameWhen
{
	SAME_NEVER,
	SAME_EXTERNAL_ID,
	SAME_EXTERNAL_ID_AND_DAY
} SameWhen;

extern SameWhen FindActivityKind(const char *kind);
extern bool IsHoliday(const char *holidays, DateADT day);

#endif							/* LOYALTY_ACTIVITY_H */
