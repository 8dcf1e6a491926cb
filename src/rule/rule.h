/*
 * rule.h
 *		What the files of room rule share.
 *
 * rule_listener.c hears of activities, rule_settle.c brings what was given for
 * one to what it is to have, with the help of
 *
 *	rule_cache.c	the campaigns, as a session knows them
 *	rule_facts.c	what is known of the member
 *	rule_window.c	what activities of a window add up to
 *	rule_held.c		what awards hold, and what limits have counted
 *	rule_state.c	the rows of the member that decisions lock and change
 *	rule_post.c		postings, and the rows of awards
 *	rule_items.c	what is given beside points, by the rooms that have it
 */
#ifndef LOYALTY_RULE_H
#define LOYALTY_RULE_H

#include "postgres.h"

#include "access/htup.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "activity/activity_row.h"
#include "activity/member_fact.h"
#include "rule/decide.h"

/* rule_evaluate.c */
extern Campaign **ParseCampaigns(const Jsonb *definitions, int *n);

/* ---------------------------------------------------------------------------
 * rule_cache.c
 * ---------------------------------------------------------------------------
 */

/* All versions of all campaigns, those of one after another */
typedef struct RuleBook
{
	int			n;
	Campaign  **versions;
	TimestampTz last_from;		/* from then on the latest versions are in force */
	TimestampTz last_recorded;
} RuleBook;

extern const RuleBook *OpenRuleBook(void);
extern RuleBook *MakeDraft(const RuleBook *book, const Jsonb *definitions);
extern bool BookConcerns(const RuleBook *book, const char *kind);
extern const List *CurrenciesOf(const RuleBook *book, const char *kind);
extern bool BookPaysHouseholds(const RuleBook *book);
extern const Campaign *VersionInForce(const RuleBook *book, const char *code, TimestampTz at, TimestampTz known_at);
extern Campaign **CampaignsInForce(const RuleBook *book, const char *kind, TimestampTz at, TimestampTz known_at, int *n);
extern const Campaign *FindVersion(const RuleBook *book, const char *code, int version);

/* ---------------------------------------------------------------------------
 * rule_facts.c
 * ---------------------------------------------------------------------------
 */

typedef struct KnownFact
{
	const char *key;
	FactKind	kind;
	FactAnswer	answer;
	const char *campaign;		/* that alone knows it so; NULL: all do */
	bool		asked;			/* by the campaign that is looked at */
} KnownFact;

/* What is known of a member for one activity: frozen before, or read now */
typedef struct Facts
{
	AskedMember member;
	int			n;
	int			size;
	KnownFact  *facts;
	int			nread;			/* of them were not frozen */
	const char *campaign;		/* that asks; NULL: any */
	FactReader	history;		/* of counts and sums; NULL: as the tables have them */
	void	   *history_arg;
} Facts;

extern void InitFacts(Facts *facts, int64 member_id, Datum numbers);
/* To whom it is known what was frozen, where nothing else was before. */
typedef enum KnownTo
{
	KNOWN_TO_ALL,
	KNOWN_TO_ONE				/* it was decided anew */
} KnownTo;

extern void ThawFacts(Facts *facts, const Jsonb *inputs, const char *campaign, KnownTo known_to);
extern void ReadMemberFact(const FactQuestion *question, const Activity *activity, DateADT day,
						   FactAnswer *answer, void *facts);
extern void BeginAsking(Facts *facts, const char *campaign);
extern Datum FreezeFacts(const Facts *facts);

/* ---------------------------------------------------------------------------
 * rule_held.c
 * ---------------------------------------------------------------------------
 */

/*
 * An entry of the ledger, of which an award has points, or an item that it has.
 * Of a window those of merged members stand under the numbers that had them.
 */
typedef struct HeldEntry
{
	int64		id;				/* of the entry, or the item; 0: it has none */
	int64		points;
	int64		member_id;
	int64		wallet_id;		/* whose wallet has the entry; 0: the member's own */
} HeldEntry;

/* What an effect of a campaign holds: rows of table award that belong together */
typedef struct HeldAward
{
	const char *campaign;
	int32		version;		/* as of the last row, as the next two */
	DateADT		local_day;
	TimestampTz at;
	int			effect;			/* from 0 */
	const char *kind;			/* points, coupon, ... */
	const char *currency;		/* NULL: an item */
	const char *item;			/* which coupon, label, badge */
	const char *cause;
	bool		has_window;
	DateADT		window_start;
	int64		points;
	const char *kept_because;	/* it is, once it was to be taken back */
	const char *stays;			/* why it cannot be, as its room says now */
	bool		trimmed;
	int64		ceiling;
	const char *limited_by;
	int64		item_id;
	int			nentries;
	HeldEntry  *entries;		/* in their order */
	bool		is_taken;		/* by a candidate */
} HeldAward;

typedef struct HeldAwards
{
	int			n;
	HeldAward **awards;
} HeldAwards;

/* Counters of limits, as one decision needs them */
typedef struct Counters
{
	int64		alone;			/* whose: of this member, or (0) */
	Datum		numbers;		/* of all these */
	int			n;
	int			size;
	struct LimitCounter **counters;
} Counters;

typedef struct LimitCounter
{
	Counter		counter;
	bool		is_total;		/* of all members: an escrow */
	int			days;			/* counted from awards whenever it is asked; 0: by period */
	bool		in_times;
	const char *currency;
	const char *campaign;
	HeapTuple	row;			/* as it was read, or NULL */
	int64		before;			/* used before the decision */
	int64		given_back;		/* elsewhere, by windows */
	int64		taken;			/* from the escrow */
	bool		asked;
} LimitCounter;

extern void LoadHeld(HeldAwards *held, int64 member_id, int64 activity_id, TimestampTz at, Facts *facts);
extern void LoadHeldOfWindow(HeldAwards *held, Datum numbers, const char *campaign, DateADT window_start);
extern int64 *WalletsOfHeld(int64 member_id, int64 activity_id, int *n);
extern void LoadHeldByCause(HeldAwards *held, Datum numbers, const char *cause_prefix);
extern HeldAward *FindHeld(HeldAwards *held, const Campaign *campaign, int effect, bool has_window, DateADT window_start, const char *cause);
extern LimitCounter *CounterOf(Counters *counters, const Campaign *campaign, const CampaignLimit *limit, DateADT day);
extern void StoreCounters(const Counters *counters, int64 member_id, int64 canonical);

/* ---------------------------------------------------------------------------
 * rule_state.c
 * ---------------------------------------------------------------------------
 */

extern void LockAwardState(int64 member_id);
extern bool WasMergedSince(Datum numbers, TimestampTz since);
extern void RuleStateInit(void);
extern int64 ReadCounter(int64 alone, Datum numbers, const char *name, DateADT period, HeapTuple *row);
extern void AddToCounter(int64 member_id, const char *name, DateADT period, HeapTuple row, int64 by);

/* ---------------------------------------------------------------------------
 * rule_post.c
 * ---------------------------------------------------------------------------
 */

/* A difference that is to be posted, and to become rows of table award */
typedef struct Difference
{
	const Campaign *campaign;	/* the version that decided */
	int			effect;
	const char *campaign_code;
	int32		version;
	DateADT		local_day;
	TimestampTz at;
	HeldAward  *held;			/* NULL: nothing was held */
	int64		points;			/* more, or less */
	int64		wallet_id;		/* into whose wallet more goes; 0: the member's own */
	int64		wanted;
	const char *kind;			/* points, coupon, ... */
	const char *currency;		/* NULL: an item */
	const char *item;			/* which coupon, label, badge */
	const char *limited_by;
	const char *kept_because;
	const char *cause;
	bool		has_window;
	DateADT		window_start;
	TimestampTz effective_at;	/* of more */
	Datum		inputs;			/* 0: none */
} Difference;

/* What is posted for */
typedef struct PostingFor
{
	int64		member_id;		/* under whose number */
	int64		activity_id;	/* 0: none */
	int32		revision;
	const char *reference;
	bool		confirmed;
	TimestampTz taken_back_at;	/* when what is taken back is */
	const char *reason;			/* why it is decided anew; NULL: it is not */
} PostingFor;

/* rule_items.c */
extern ItemsLeft *AskWhatIsLeft(const EffectItem *item, const CampaignEffect *of, List **known);
extern void AskWhatStays(const HeldAwards *held, int64 member_id, bool read_only);
extern int64 GiveItem(const PostingFor *what, const Difference *difference);
extern void TakeItemBack(const PostingFor *what, const Difference *difference, const HeldEntry *entry);

extern void PostDifferences(const PostingFor *what, Difference *differences, int n);
extern void ActivateAwards(const PostingFor *what, const RuleBook *book, const HeldAwards *held);

/* ---------------------------------------------------------------------------
 * rule_settle.c
 * ---------------------------------------------------------------------------
 */

/* One settlement: of an activity of a member, or of something that happened */
typedef struct Settlement
{
	const RuleBook *book;
	int64		home_id;		/* under whose number the awards stand */
	int64		canonical;
	Datum		numbers;
	const Activity *activity;	/* as it is now */
	const Activity *before;		/* NULL: it is new */
	const char *cause;			/* of something that happened; NULL: an activity */
	int64		cause_activity_id;	/* that made it happen, and its revision */
	int32		cause_revision;
	bool		is_return;
	TimestampTz at;				/* when the change was */
	bool		dry;			/* nothing is written */
	const char *reapplied;		/* the campaign that is decided anew, by what is
								 * known now; NULL: none, all are decided */
	const char *reason;			/* why */
	bool		take_back;		/* what falls by that is taken back */
	bool		too_deep;		/* nothing is given: rows say what would be */
	int			nissued;		/* coupons that the activity would have issued */
	const char **issued;		/* before, of these benefits; of a preview */

	/* what comes of it */
	Facts		facts;
	Facts		facts_now;		/* of the campaign that is decided anew */
	HeldAwards	held;
	List	   *items_left;		/* what AskWhatIsLeft() knows */
	Counters	counters;
	int			ncandidates;
	Candidate **candidates;
	HeldAward ***holds;			/* of each candidate's effects; NULL where none */
	Datum	   *inputs;			/* of each candidate */
	DateADT    *window_starts;
	TimestampTz *effective_ats;
	int64		points;			/* of currency points */
	int			awards;
} Settlement;

extern void BeginSettlement(Settlement *settlement, const RuleBook *book, int64 member_id, const Activity *activity);
extern void DecideSettlement(Settlement *settlement);
extern void Settle(Settlement *settlement);

extern void SettleAgain(const Activity *activity, const char *campaign, const char *reason, bool take_back, int *awards);

/* ---------------------------------------------------------------------------
 * rule_window.c
 * ---------------------------------------------------------------------------
 */

/* A window of a campaign, by the version that decides over it */
typedef struct Window
{
	const Campaign *campaign;
	DateADT		start;
	DateADT		end;			/* exclusive */

	/* said by BeginWindow() */
	RuleBook	versions;		/* of the campaign */
	TimestampTz known_at;		/* and which of them are known */
} Window;

extern DateADT DayInCampaign(const Campaign *campaign, const Activity *activity);
extern bool FindWindow(const RuleBook *book, const char *code, const Activity *activity, TimestampTz known_at, Window *window);
extern void BeginWindow(const RuleBook *book, Window *window, TimestampTz known_at);
extern bool IsOfWindow(const Window *window, const Activity *activity);
extern Activity *BeginSum(Candidate *candidate, const Window *window, const Activity *activity);
extern void AddToSum(Candidate *candidate, Activity *sum, const Activity *activity, const bool *lines);
extern void SumWindow(const Settlement *settlement, Candidate *candidate, const Window *window);
extern TimestampTz WindowKnownAt(const Settlement *settlement, const char *code, const Activity *activity);

/* rule_explain.c */
extern void FindStoredActivity(int64 member_id, int64 activity_id, ActivityRow *row);

/* rule_effects.c */
extern void RuleEffectsInit(void);

/* rule_listener.c */
extern void RuleListenerInit(void);

#endif							/* LOYALTY_RULE_H */
