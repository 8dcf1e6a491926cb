/*
 * state.h
 *		States of aggregates: the type aggregate_state.
 *
 * A distributed engine pushes an aggregate down to its nodes only where the
 * state has a public type.  In memory ours is an expanded object: the struct
 * that the aggregate works on, behind a header, so that a row costs no more
 * than with a state of type internal.  On its way to another process or node it
 * is flat: the number of its kind, a version, and what the kind writes.
 *
 * The states of all groups of an aggregate lie in one memory context, since one
 * for each would take a kilobyte a group.  The executor deletes the context of
 * a state that is given back as another one: so a function that is given a
 * state in memory changes it in place, and returns it.
 */
#ifndef LOYALTY_STATE_H
#define LOYALTY_STATE_H

#include "core/core.h"

#include "lib/stringinfo.h"
#include "utils/expandeddatum.h"

/* Kinds of states.  The numbers are stored: never change or reuse one. */
typedef enum StateNumber
{
	STATE_ENTRIES = 1,			/* balance_agg, ledger_agg */
	STATE_COMPONENTS = 2,		/* components_agg, components_text_agg */
	STATE_COLLAPSED = 3,		/* rfm_agg_by, rfm_agg_by_key */
	STATE_BREAKS = 4,			/* rfm_breaks, rfm_breaks_keyed */
	STATE_SAMPLE = 5,			/* clv_agg, clv_holdout_agg, clv_rollup */
	STATE_TALLY = 6,			/* retention_agg and its kin, repurchase_agg */
	STATE_MEMBERS = 7,			/* retention_events_agg */
	STATE_AMOUNTS = 8,			/* concentration_agg, concentration_rollup */
	STATE_SLOTS = 9,			/* preferred_hour_agg, preferred_weekday_agg */
	STATE_VALUES = 10,			/* preferred_value_agg */
	STATE_DISCOUNT = 11,		/* discount_agg */
	STATE_MEMBER_SET = 20,		/* member_set_agg, member_set_rollup */
	STATE_GRID = 21,			/* redemption_triangle_agg, outstanding_agg */
	STATE_NUMBERS
} StateNumber;

typedef struct StateKind
{
	ExpandedObjectMethods methods;	/* STATE_METHODS, or its own */
	StateNumber number;
	const char *aggregate;		/* which makes such states: for messages */

	/* writes what is not in the head of a flat state */
	void		(*write) (StringInfo buf, void *state);

	/*
	 * Reads it into a state in the current memory context, to be combined with
	 * another.  It may come from anywhere, and is refused where it cannot have
	 * been written.
	 */
	void	   *(*read) (StringInfo buf);
} StateKind;

/* What every state begins with. */
typedef struct State
{
	ExpandedObjectHeader header;
	struct varlena *flat;		/* its flat form, from when its size was asked
								 * for until it is taken */
} State;

/* The memory of a state and of all that it points to. */
#define StateMemory(state)	(((const State *) (state))->header.eoh_context)

#define STATE_METHODS	{StateFlatSize, StateFlatten}

extern Size StateFlatSize(ExpandedObjectHeader *header);
extern void StateFlatten(ExpandedObjectHeader *header, void *result, Size size);

extern void RegisterState(const StateKind *kind);
extern MemoryContext StateContext(FunctionCallInfo fcinfo);
extern void *AllocForState(MemoryContext context, Size size);
extern void *MakeState(const StateKind *kind, Size size, MemoryContext context);
extern void *GetState(FunctionCallInfo fcinfo, int n, const StateKind *kind);
extern char *PutStateHead(char *to, const StateKind *kind, Size size);
extern void OpenFlatState(Datum value, const StateKind *kind, StringInfo buf);
pg_noreturn extern void RefuseState(const StateKind *kind, const char *why);

#define STATE_HEAD_BYTES	(VARHDRSZ + 2)

/* Returns an aggregate's state, which may be NULL: no row has counted yet. */
#define RETURN_STATE(state) \
	do { \
		if ((state) == NULL) \
			PG_RETURN_NULL(); \
		PG_RETURN_DATUM(EOHPGetRWDatum((ExpandedObjectHeader *) (state))); \
	} while (0)

#endif							/* LOYALTY_STATE_H */
