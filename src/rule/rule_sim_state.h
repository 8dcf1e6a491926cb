/*
 * rule_sim_state.h
 *		What a simulation keeps in memory: for rule_simulate.c and
 *		rule_sim_state.c.
 */
#ifndef LOYALTY_RULE_SIM_STATE_H
#define LOYALTY_RULE_SIM_STATE_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/hsearch.h"

#include "rule/rule_simulate.h"

/* What a limit has counted of a member in a period */
typedef struct SimUse
{
	int32		name;			/* of the limit, by its number; -1: none */
	DateADT		period;
	int64		used;
} SimUse;

typedef struct SimMember
{
	int64		member_id;
	char		status;
	int64		activities;
	int64		points[2];
	int			nuses[2];
	int			size[2];		/* of uses: 0, or a power of 2 */
	SimUse	   *uses[2];		/* by hash */
	int			nseen;
	int			seen_size;
	Activity   *seen;			/* where windows or histories need them */
} SimMember;

/* A budget: a limit of all members */
typedef struct SimBudgetCounter
{
	Counter		counter;
	bool		is_open;
	int64		total;			/* what it began with */
	TimestampTz ended_at;
} SimBudgetCounter;

/* What a campaign gave a member, by days: for limits over days around one */
typedef struct SimDaysKey
{
	int64		member_id;
	int32		campaign;		/* its place among the names */
	int32		currency;		/* likewise; -1: times */
} SimDaysKey;

typedef struct SimDay
{
	DateADT		day;
	int64		used;
} SimDay;

typedef struct SimDays
{
	SimDaysKey	key;
	int			n;
	int			size;
	SimDay	   *days;
} SimDays;

/* What an effect holds of an activity that is revised, or of a window */
typedef struct SimHeldKey
{
	int64		member_id;
	int64		activity_id;	/* 0: of a window */
	int32		name;			/* the campaign's place among the names */
	int32		effect;
	DateADT		window_start;
} SimHeldKey;

typedef struct SimHeld
{
	SimHeldKey	key;
	int64		points;
	const Campaign *campaign;
	DateADT		local_day;
	int64		looked_at;		/* the last event that did */
	List	   *ceilings;		/* of SimCeiling */
} SimHeld;

/* Where an effect was trimmed first, of an activity at an instant, or of a window */
typedef struct SimCeiling
{
	TimestampTz at;				/* infinity: of a window */
	int64		points;
	const char *limited_by;
} SimCeiling;

/* What was frozen for an activity that is revised */
typedef struct SimFrozenKey
{
	int64		member_id;
	int64		activity_id;
	TimestampTz at;				/* when it was then */
} SimFrozenKey;

typedef struct SimFrozen
{
	SimFrozenKey key;
	List	   *inputs;			/* of Jsonb */
} SimFrozen;

/*
 * The campaigns that look at activities of a kind that happened in a span and
 * were recorded in another, as no version begins within them.
 */
typedef struct SimInForce
{
	MemoryContext context;
	const char *kind;			/* one of the names; NULL: not used yet */
	TimestampTz from;
	TimestampTz until;
	TimestampTz recorded_from;
	TimestampTz recorded_until;
	int			n;
	Campaign  **campaigns;
	Candidate  *candidates;		/* to be used again and again */
	int32	  **limit_names;	/* of each, those of its limits */
} SimInForce;

#define KEPT_IN_FORCE	16

/* A candidate of the event */
typedef struct SimCandidate
{
	DateADT		window_start;
	DateADT		local_day;
	Datum		inputs;
	const int32 *limit_names;
} SimCandidate;

/* What a limit of a member counts, while an event is decided */
typedef struct SimCounter
{
	Counter		counter;
	int32		name;
	int			other;			/* of the same limit, in another period; -1: none */
	int64		before;
} SimCounter;

/* One of the two: as it is defined, and as it would be */
typedef struct SimBook
{
	int			number;
	const RuleBook *book;
	bool		has_days;		/* some limit is over days around one */
	bool		has_windows;	/* some campaign decides over windows */
	SimInForce	in_force[KEPT_IN_FORCE];
	SimInForce *last_in_force;	/* the one that was asked for last */
	HTAB	   *days;
	HTAB	   *held;
	HTAB	   *frozen;
	int64		awards;
	int64		trimmed;

	/* by numbers of names */
	int			nnames;
	SimBudgetCounter *budgets;
	int		   *first_counters; /* of the event's; -1: none */

	/* of the event that is decided */
	int			n;
	int			size;
	Candidate **candidates;
	SimCandidate *of_candidates;
	int			ncounters;
	int			counters_size;
	SimCounter **counters;
	bool		counts;			/* it lies in the span that is asked for */
} SimBook;

struct Simulation
{
	MemoryContext context;
	MemoryContext event_context;
	SimBook		books[2];
	struct members_hash *members;
	int			nnames;
	int			names_size;
	const char **names;
	List	   *seen_kinds;		/* for whose windows or histories somebody asks */
	SimNeeds	needs;
	TimestampTz from_at;
	TimestampTz until;
	const char *currency;
	SimMember  *member;			/* of the event that is looked at */
	int64		event;			/* its number */
};

/* rule_sim_state.c */
extern void InitSimState(Simulation *simulation);
extern int NameNumber(Simulation *simulation, const char *name);
extern const char *KeepName(Simulation *simulation, const char *name);
extern void CountNames(Simulation *simulation, SimBook *book);
extern DateADT PeriodOfLimit(const CampaignLimit *limit, DateADT day);
extern int64 UsedBy(const SimMember *member, int book, int32 name, DateADT period);
extern void AddToUse(Simulation *simulation, SimMember *member, int book, int32 name, DateADT period, int64 by);
extern SimBudgetCounter *BudgetOf(SimBook *book, int32 name, const CampaignLimit *limit);
extern SimDays *DaysOfSim(Simulation *simulation, SimBook *book, int64 member_id, const char *campaign, const char *currency);
extern void AddToDay(Simulation *simulation, SimDays *days, DateADT day, int64 by);
extern Counter *CountAroundInSim(Simulation *simulation, SimBook *book, int64 member_id, const char *campaign, const CampaignLimit *limit, DateADT day);
extern SimMember *MemberOfSim(Simulation *simulation, int64 member_id);
extern void KeepKind(Simulation *simulation, const char *kind);
extern bool KindIsKept(const Simulation *simulation, const char *kind);
extern bool NoteSeen(Simulation *simulation, SimMember *member, const Activity *activity, bool may_be_there, Activity *before);
extern void InitSimFacts(Simulation *simulation, Facts *facts);
extern SimFrozen *FrozenOf(SimBook *book, const Activity *activity, HASHACTION action);

#endif							/* LOYALTY_RULE_SIM_STATE_H */
