/*
 * rule_simulate.h
 *		What campaigns would have given for a history, event by event: limits,
 *		budgets and what is held are kept in memory.
 *
 * Everything is decided by Decide(), as the write path does; what differs is
 * only where counters and what is held are kept.  Nothing is read from tables
 * here, but for facts of members that no event tells (rule_facts.c).
 */
#ifndef LOYALTY_RULE_SIMULATE_H
#define LOYALTY_RULE_SIMULATE_H

#include "postgres.h"

#include "rule/rule.h"

/* An activity as it was once recorded or revised, or something that happened */
typedef struct SimEvent
{
	Activity	activity;
	int64		canonical;		/* who stands for its member */
	bool		is_return;
	bool		is_revised;		/* once, or it will be */
	bool		has_before;
	Activity	before;			/* what it was, where windows are asked for */
} SimEvent;

typedef struct Simulation Simulation;

/* What a simulation needs of activities beside their columns of fixed size */
typedef struct SimNeeds
{
	bool		document;
	bool		tier_changes;	/* campaigns look at what happens */
} SimNeeds;

/* What came of a simulation for a member */
typedef struct SimTotals
{
	int64		member_id;
	int64		activities;
	int64		points[2];
} SimTotals;

/* A budget: what is left of it, and when it ended; of each book */
typedef struct SimBudget
{
	const char *name;
	int64		left[2];		/* -1: it has none */
	TimestampTz ended_at[2];	/* 0: it has not */
} SimBudget;

/* rule_simulate.c */
extern Simulation *BeginSimulation(const RuleBook *const books[2], TimestampTz from_at, TimestampTz until, const char *currency);
extern SimNeeds NeedsOfSimulation(const Simulation *simulation);
extern void ExpectMember(const Simulation *simulation, int64 canonical);
extern void ExpectUses(const Simulation *simulation, int64 canonical);
extern void Simulate(Simulation *simulation, SimEvent *event);
extern bool NextSimTotals(Simulation *simulation, uint32 *place, SimTotals *totals);
extern bool NextSimBudget(const Simulation *simulation, int *place, SimBudget *budget);
extern int64 SimulatedAwards(const Simulation *simulation, int book);
extern int64 SimulatedTrims(const Simulation *simulation, int book);

/* rule_history.c */
extern void SimulateHistory(Simulation *simulation, Datum kinds);

#endif							/* LOYALTY_RULE_SIMULATE_H */
