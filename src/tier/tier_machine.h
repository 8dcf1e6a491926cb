/*
 * tier_machine.h
 *		Facts in, tiers out: windows over facts, and the replay of a history.
 *		Plain C over plain structs.
 */
#ifndef LOYALTY_TIER_MACHINE_H
#define LOYALTY_TIER_MACHINE_H

#include "tier/tier.h"

#define VERSIONS_MAX_MEASURES	32

/* A ladder from an instant on. */
typedef struct LadderVersion
{
	TimestampTz from;			/* -infinity of the first one, usually */
	LadderDefinition *definition;
	int16		slot[VERSIONS_MAX_MEASURES];	/* of each measure; -1: none */
} LadderVersion;

/* A ladder through time: its versions, and the measures of all of them. */
typedef struct LadderVersions
{
	int			nmeasures;
	char		measure[VERSIONS_MAX_MEASURES][NAMEDATALEN];
	int			nversions;
	LadderVersion *version;		/* by from */
} LadderVersions;

typedef struct TierFact
{
	TimestampTz at;				/* when it happened; of points that wait, when
								 * they become available */
	TimestampTz counts_at;		/* the date it counts at: at, or, of a return,
								 * its order's */
	int64		amount;			/* in ten-thousandths */
	int			measure;		/* its number in LadderVersions */
} TierFact;

/* By instant; what follows makes the order total. */
static inline int
CompareTierFacts(const TierFact *a, const TierFact *b)
{
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	if (a->measure != b->measure)
		return a->measure < b->measure ? -1 : 1;
	if (a->counts_at != b->counts_at)
		return a->counts_at < b->counts_at ? -1 : 1;
	if (a->amount != b->amount)
		return a->amount < b->amount ? -1 : 1;
	return 0;
}

/* Any of these, at the same instant or not, may overlap. */
typedef struct TierGrant
{
	char		code[NAMEDATALEN];
	TimestampTz from;
	TimestampTz until;
} TierGrant;

typedef struct TierMerge TierMerge;

/* All that there is to know of a member on a ladder. */
typedef struct TierHistory
{
	TimestampTz joined_at;		/* infinity: with its first fact or grant */
	int			nfacts;
	TierFact   *facts;			/* in any order */
	int			ngrants;
	TierGrant  *grants;
	int			nmerges;
	TierMerge  *merges;			/* by at */
} TierHistory;

struct TierMerge
{
	TimestampTz at;
	TierHistory *absorbed;
};

/* A step as it is recorded: until the next one, this is the tier. */
typedef struct TierLog
{
	TimestampTz at;
	TierEvent	event;
	TierReason	reason;
	int			rank;			/* effective; 0 for none */
	const LadderDefinition *definition;
	TimestampTz valid_until;
} TierLog;

/* One measure in its window: what counts when, and the sum up to there. */
typedef struct TierSlot
{
	int			n;
	int			size;
	TimestampTz *at;
	int64	   *sum;			/* with base and all before */
	int64		base;			/* WINDOW_LIFETIME: of what is kept no more */
	TimestampTz latest_at;		/* WINDOW_LATEST */
	int64		latest;
	int64		carry;			/* brought into the period that begins at
								 * carry_from */
	TimestampTz carry_from;
} TierSlot;

typedef struct TierMachine
{
	const LadderVersions *versions;
	int			version;		/* -1 before the first */
	const LadderDefinition *definition; /* NULL before the first */
	TierState	state;
	TimestampTz now;			/* all that happened up to here is in it */
	TimestampTz window_from;	/* WINDOW_TERM */
	TimestampTz carry_next;		/* the next end of a period that matters */
	TimestampTz granted_at;		/* when grants were last looked at */
	TierSlot	slot[TIER_MAX_MEASURES];
	int			ngrants;
	TierGrant  *grants;
	int			ncoming;		/* facts to come, in order, from next_coming on */
	int			next_coming;
	TierFact   *coming;
	bool		keep_done;		/* collect facts in done */
	int			ndone;
	int			done_size;
	TierFact   *done;
	TierReason	because;		/* of the next step, where something outside
								 * of facts caused it */
	/* Where steps go; NULL: nowhere */
	int			nlogs;
	int			log_size;
	TierLog    *logs;
	bool		logging;
} TierMachine;

extern void InitMachine(TierMachine *machine, const LadderVersions *versions, TimestampTz joined_at);
extern void ExpectFacts(TierMachine *machine, const TierFact *facts, int nfacts);
extern void AdvanceMachine(TierMachine *machine, TimestampTz until);
extern void AdvanceClock(TierMachine *machine, TimestampTz until);
extern void JoinLadder(TierMachine *machine, TimestampTz t);
extern void SortTierFacts(TierFact *facts, Size nfacts);
extern void CountFact(TierMachine *machine, int slot, const TierFact *fact);
/* What brings about a step: facts of its instant, which are counted, or not. */
typedef enum StepCause
{
	STEP_BY_CLOCK,
	STEP_BY_FACTS
} StepCause;

extern void StepTierMachine(TierMachine *machine, TimestampTz t, StepCause cause);
extern void LogTierStep(TierMachine *machine, const TierStep *step);
extern void PlanCarryOver(TierMachine *machine, TimestampTz t);
extern int	MappedRank(const LadderDefinition *from, const LadderDefinition *to, int rank);
extern int	GrantedRank(const TierMachine *machine, TimestampTz t);
extern TimestampTz NextChange(const TierMachine *machine);
extern void MachineValues(const TierMachine *machine, TimestampTz t, PeriodAsked period, int64 *values);
extern TimestampTz WindowBegin(const TierMachine *machine, int measure);
extern TimestampTz MachineValidUntil(const TierMachine *machine);
extern int	VersionAt(const LadderVersions *versions, TimestampTz t);
extern void ReplayHistory(const LadderVersions *versions, const TierHistory *history, TimestampTz until, TierMachine *machine);
extern void ReplayLatest(const LadderVersions *versions, const TierHistory *history, TimestampTz until, TierMachine *machine);
extern int	DropEmptySteps(TierLog *logs, int nlogs);
extern TimestampTz LatestFact(const TierHistory *history, TimestampTz now);
extern int	CountFacts(const TierHistory *history);
extern LadderVersions *OnlyVersion(LadderDefinition *ladder);
extern int	FindMeasure(const LadderVersions *versions, const char *code);
extern void BindMeasures(LadderVersions *versions);

extern void PackMachine(PackWriter *writer, const TierMachine *machine);
extern bool UnpackMachine(PackReader *reader, const LadderVersions *versions, TierMachine *machine);
extern struct varlena *StoredMachine(const TierMachine *machine);
extern bool SameMachine(const struct varlena *stored, const TierMachine *machine);

#endif							/* LOYALTY_TIER_MACHINE_H */
