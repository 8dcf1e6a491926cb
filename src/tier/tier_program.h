/*
 * tier_program.h
 *		The program's ladders as a session knows them, and members' histories
 *		read from its tables.
 */
#ifndef LOYALTY_TIER_PROGRAM_H
#define LOYALTY_TIER_PROGRAM_H

#include "core/core.h"
#include "tier/tier_row.h"

typedef enum MeasureSource
{
	SOURCE_LEDGER,				/* points of a currency */
	SOURCE_EVENT				/* rows of tier_event, sampled functions too */
} MeasureSource;

/* A row of loyalty.ladder with its versions, as a session keeps it. */
typedef struct CachedLadder
{
	struct CachedLadder *next;
	char		code[NAMEDATALEN];
	LadderVersions *versions;
	MeasureSource source[VERSIONS_MAX_MEASURES];
	char		currency[VERSIONS_MAX_MEASURES][NAMEDATALEN];
	bool		counts_pending[VERSIONS_MAX_MEASURES]; /* points that are not
													 * available yet */
	Datum		currencies;		/* text[] of all that its measures count */
	Datum		events;			/* text[] of event measures */
	bool		counts_ledger;
	bool		counts_events;
	bool		leaves_slack;	/* see tier_slack.c */
	/* whose history was replayed last, and in which transaction: a hint */
	int64		replayed_member;
	int64		replayed_in;
} CachedLadder;

/*
 * What an entry of the ledger gives, or a reversal takes back.
 */
typedef struct PostedPoints
{
	TimestampTz at;				/* effective_at */
	TimestampTz counts_at;		/* that of the entry which gave them */
	TimestampTz available_at;	/* when that made them available; infinity:
								 * they wait for an event */
	int64		points;			/* negative for what is taken back */
} PostedPoints;

/*
 * Facts that have just been recorded in a member's tables, all by the same
 * row.
 */
typedef struct NewFacts
{
	struct PostedEntry *entry;	/* of the ledger, or NULL */
	const TierFact *facts;		/* of the row's instant or later */
	int			n;				/* 0: facts of earlier rows that waited for it */
	TimestampTz at;				/* of the row */
	bool		commands_known;
	CommandId	first_command;	/* of this transaction, which recorded them */
	CommandId	last_command;
} NewFacts;

/* How a member's rows are read. */
typedef enum StoredRead
{
	STORED_AS_OF_QUERY,			/* with the calling query's snapshot */
	STORED_FRESH,				/* as they are committed now */
	STORED_LOCKED				/* and stay; of a row of tier_state */
} StoredRead;

/* Which history is asked for. */
typedef struct TierAsOf
{
	TimestampTz as_of;			/* with merges up to here */
	TimestampTz known_at;		/* as it was recorded by then */
	StoredRead	how;
} TierAsOf;

/* All that is recorded, as it is committed now, or as the calling query sees it. */
static const TierAsOf TIER_NOW = {TIMESTAMP_INFINITY, TIMESTAMP_INFINITY, STORED_FRESH};
static const TierAsOf TIER_OF_QUERY = {TIMESTAMP_INFINITY, TIMESTAMP_INFINITY, STORED_AS_OF_QUERY};

/* tier_cache.c */
extern void ConnectTier(void);
extern bool LaddersAreKnown(void);
extern int64 LadderGeneration(void);
extern CachedLadder *AllLadders(void);
extern CachedLadder *FindLadder(const char *code, TimestampTz known_at);

extern CachedLadder *CopyOfLadder(const char *code, MemoryContext context);
extern CachedLadder *PreviewLadder(const CachedLadder *ladder, Jsonb *definition, TimestampTz as_of, bool whole_history);

/* tier_entry.c */
extern void TierEntryInit(void);

/* tier_gather.c */
extern int64 CanonicalAsOf(int64 member_id, const TierAsOf *asked);
extern bool FactOfPoints(const CachedLadder *ladder, int measure, const PostedPoints *posted, TierFact *fact);
extern TierFact *GatherLater(const CachedLadder *ladder, int64 member_id, StoredRead how, int64 after, int64 before, int *nfacts);
extern TierHistory *GatherHistory(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked);

/* tier_household.c */
typedef struct HouseholdSpell
{
	int64		household_id;
	TimestampTz starts_at;
	TimestampTz ends_at;		/* infinity: it goes on */
} HouseholdSpell;

/*
 * The times that a member, under whichever number, was in households up to an
 * instant, as known at another, in their order; returns how many.
 */
typedef int (*HouseholdReader) (int64 member_id, TimestampTz as_of, TimestampTz known_at, HouseholdSpell **spells);

extern void RegisterHouseholds(HouseholdReader reader);
extern bool LadderAsksHousehold(const CachedLadder *ladder);
extern const char *OwnLevel(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked);
extern const char *BestTier(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, const char *own);
extern void OverlayHouseholds(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, TierLog **logs, int *nlogs);

/* tier_program.c */
extern char *LevelOf(int64 member_id, const char *ladder_code, TimestampTz as_of, TimestampTz known_at);
extern char *LevelNow(int64 member_id, const char *ladder_code, TimestampTz as_of);

/* tier_slack.c */
typedef struct TierSlack
{
	int64		generation;		/* of the ladders that it was found with */
	int64		entry_id;		/* it is for entries after this one, */
	TimestampTz after;			/* effective after this instant */
	TimestampTz before;			/* and before this one, */
	int64		collected;		/* up to so many lifetime points of the wallet */
} TierSlack;

extern bool ReadSlack(const struct varlena *noted, TierSlack *slack);
extern struct varlena *SlackAsNote(const TierSlack *slack);
extern bool WithinSlack(const struct PostedEntry *entry);
extern bool FindSlack(const CachedLadder *ladder, const TierMachine *machine, TimestampTz next_at,
					  const struct PostedEntry *entry, TierSlack *slack);

/* tier_store.c */
extern bool ExpectLater(const CachedLadder *ladder, int64 member_id, StoredRead how, const StoredTier *stored,
						int64 before, TierMachine *machine);
extern bool NoteIsOfState(const struct varlena *noted, const StoredTier *stored);
extern bool SameColumns(const TierColumns *a, const TierColumns *b);
extern TierColumns ColumnsOf(const CachedLadder *ladder, int nversions, const TierMachine *machine);
extern void ReadStored(int64 member_id, const CachedLadder *ladder, StoredRead how, StoredTier *stored);
extern bool UnpackStored(const StoredTier *stored, const CachedLadder *ladder, TierMachine *machine);
extern int	SameSteps(const CachedLadder *ladder, int64 member_id, StoredRead how, const TierLog *logs, int nlogs);
extern bool StoredColumnsAgree(const StoredTier *stored, const CachedLadder *ladder, const TierMachine *machine);
extern void StateOfMachine(const CachedLadder *ladder, const TierMachine *machine, StoredTier *stored);
extern void MachineAsOf(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, TierMachine *machine);
extern bool MaintainTier(CachedLadder *ladder, int64 member_id, const NewFacts *arrived, TimestampTz as_of);

#endif							/* LOYALTY_TIER_PROGRAM_H */
