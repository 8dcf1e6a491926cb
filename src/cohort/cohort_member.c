/*
 * cohort_member.c
 *		Retention from events in one step: the aggregate keeps the members
 *		itself, in a hash table of 32 bytes for each, instead of a group of the
 *		query for each.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

/*
 * The active periods of one member: those near the first one seen in a bitmap,
 * period base + i in bit i, and the others in a summary of their own.
 */
typedef struct MemberSlot
{
	int64		member;
	uint64		bits;
	ActivitySummary *others;	/* or NULL */
	int32		base;
	char		status;
} MemberSlot;

static inline uint32
HashMember(int64 member)
{
	uint64		h = (uint64) member;

	/* Stafford's mix of 64 bits, variant 13 */
	h = (h ^ (h >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return (uint32) (h ^ (h >> 31));
}

#define SH_PREFIX members
#define SH_ELEMENT_TYPE MemberSlot
#define SH_KEY_TYPE int64
#define SH_KEY member
#define SH_HASH_KEY(tb, key) HashMember(key)
#define SH_EQUAL(tb, x, y) ((x) == (y))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * The table is larger than the processor's caches, so a member is looked up
 * only some rows after its slot has been asked for.
 */
#define NWAITING	16			/* a power of two */

typedef struct WaitingEvent
{
	int64		member;
	int32		period;
} WaitingEvent;

typedef struct MemberState
{
	State		head;
	Period		period;
	members_hash *hash;
	uint32		arrived;		/* events since the last flush */
	WaitingEvent waiting[NWAITING];
} MemberState;

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind members_state = {
	.methods = STATE_METHODS,
	.number = STATE_MEMBERS,
	.aggregate = "retention_events_agg",
	.write = WriteState,
	.read = ReadState
};

/* ---- plain computing ---- */

static MemberState *
MakeMemberState(MemoryContext context, const Period *period)
{
	MemberState *state = MakeState(&members_state, sizeof(MemberState), context);

	state->period = *period;
	state->hash = members_create(context, 256, NULL);
	return state;
}

static void
AddPeriod(MemberState *state, MemberSlot *slot, int32 period)
{
	int64		i = (int64) period - slot->base;
	MemoryContext old;

	if (i >= 0 && i < 64)
	{
		slot->bits |= UINT64CONST(1) << i;
		return;
	}

	old = MemoryContextSwitchTo(StateMemory(state));
	if (slot->others == NULL)
		slot->others = MakeActivitySummary(&state->period, 1);
	if (!ActivitySummaryHas(slot->others, period))
	{
		ActivitySummary *larger = ActivitySummaryAdd(slot->others, period);

		if (larger != slot->others)
		{
			pfree(slot->others);
			slot->others = larger;
		}
	}
	MemoryContextSwitchTo(old);
}

static MemberSlot *
FindMember(MemberState *state, int64 member, int32 period)
{
	bool		found;
	MemberSlot *slot = members_insert(state->hash, member, &found);

	if (!found)
	{
		slot->bits = 0;
		slot->others = NULL;
		slot->base = period - 32;
	}
	return slot;
}

static void
CountEvent(MemberState *state, const WaitingEvent *event)
{
	AddPeriod(state, FindMember(state, event->member, event->period), event->period);
}

/*
 * Takes one event; it is counted when NWAITING more have come, or at the next
 * flush.
 */
static void
TakeEvent(MemberState *state, int64 member, int32 period)
{
	WaitingEvent *event = &state->waiting[state->arrived % NWAITING];
	MemberSlot *slot = &state->hash->data[HashMember(member) & state->hash->sizemask];

	PrefetchForWrite(slot);
	if (state->arrived >= NWAITING)
		CountEvent(state, event);
	event->member = member;
	event->period = period;
	state->arrived++;
	if (state->arrived == 2 * NWAITING)	/* the same place in the ring */
		state->arrived = NWAITING;
}

static void
FlushEvents(MemberState *state)
{
	uint32		n = Min(state->arrived, NWAITING);

	for (uint32 i = 0; i < n; i++)
		CountEvent(state, &state->waiting[i]);
	state->arrived = 0;
}

/*
 * Calls back for each active period of a member, in order.
 */
static void
WalkPeriods(const MemberSlot *slot, void (*callback) (void *arg, int32 period), void *arg)
{
	uint64		bits = slot->bits;
	ActivitySummaryCursor cursor;
	int32		other = 0;
	bool		more = false;

	if (slot->others != NULL)
	{
		ActivitySummaryRewind(&cursor, slot->others);
		more = ActivitySummaryNext(&cursor, &other);
	}
	while (bits != 0 || more)
	{
		if (bits != 0)
		{
			int32		p = slot->base + pg_rightmost_one_pos64(bits);

			if (!more || p < other)
			{
				callback(arg, p);
				bits &= bits - 1;
				continue;
			}
		}
		CHECK_FOR_INTERRUPTS();
		callback(arg, other);
		more = ActivitySummaryNext(&cursor, &other);
	}
}

static int32
FirstPeriod(const MemberSlot *slot)
{
	int32		first = slot->base + pg_rightmost_one_pos64(slot->bits);

	return slot->others != NULL ? Min(first, ActivitySummaryFirst(slot->others)) : first;
}

static void
Count(void *arg, int32 period)
{
	CountPeriod((MemberCount *) arg, period);
}

typedef struct MergeTarget
{
	MemberState *state;
	MemberSlot *slot;
} MergeTarget;

static void
Merge(void *arg, int32 period)
{
	MergeTarget *target = (MergeTarget *) arg;

	AddPeriod(target->state, target->slot, period);
}

static void
Send(void *arg, int32 period)
{
	pq_sendint32((StringInfo) arg, period);
}

static int
PeriodsOf(const MemberSlot *slot)
{
	return pg_popcount64(slot->bits) + (slot->others ? ActivitySummaryCount(slot->others) : 0);
}

/* ---- the aggregate ---- */

/*
 * retention_events_agg(member_id bigint, at timestamptz, period text, time_zone text)
 *		-> cohort_matrix
 *		Transition.  One row for each event, in any order.  Rows with a NULL
 *		member or instant are skipped.  Periods, time zones and errors as in
 *		activity_agg: LY340, LY341, LY342.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_events_trans);
Datum
loyalty_retention_events_trans(PG_FUNCTION_ARGS)
{
	MemberState *state = GetState(fcinfo, 0, &members_state);
	PeriodClock *clock = GetPeriodClock(fcinfo, 3, 4);

	if (state == NULL)
		state = MakeMemberState(StateContext(fcinfo), &clock->period);
	CheckSamePeriod(&state->period, &clock->period);
	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);

		CheckFiniteInstant(at, "the instant of an event");
		TakeEvent(state, PG_GETARG_INT64(1), PeriodOfInstant(clock, at));
	}
	RETURN_STATE(state);
}

/*
 * retention_events_combine
 *		Combine function: what it keeps of the second state is copied into the
 *		aggregate's context.  A NULL state stands for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_events_combine);
Datum
loyalty_retention_events_combine(PG_FUNCTION_ARGS)
{
	MemberState *a = GetState(fcinfo, 0, &members_state);
	MemberState *b = GetState(fcinfo, 1, &members_state);
	members_iterator it;
	MemberSlot *slot;

	if (b == NULL)
		RETURN_STATE(a);
	if (a == NULL)
		a = MakeMemberState(StateContext(fcinfo), &b->period);
	CheckSamePeriod(&a->period, &b->period);
	FlushEvents(b);
	members_start_iterate(b->hash, &it);
	while ((slot = members_iterate(b->hash, &it)) != NULL)
	{
		MergeTarget target = {a, FindMember(a, slot->member, slot->base + 32)};

		CHECK_FOR_INTERRUPTS();
		if (target.slot->base == slot->base && slot->others == NULL)
			target.slot->bits |= slot->bits;
		else
			WalkPeriods(slot, Merge, &target);
	}
	RETURN_STATE(a);
}

static void
WriteState(StringInfo buf, void *member_state)
{
	MemberState *state = member_state;
	members_iterator it;
	MemberSlot *slot;

	FlushEvents(state);
	pq_sendbyte(buf, state->period.base);
	pq_sendint16(buf, state->period.step);
	pq_sendint32(buf, state->period.zone);
	pq_sendint64(buf, state->hash->members);
	members_start_iterate(state->hash, &it);
	while ((slot = members_iterate(state->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		pq_sendint64(buf, slot->member);
		if (slot->others == NULL)
		{
			/* mostly: the bitmap as it is */
			pq_sendint32(buf, 0);
			pq_sendint32(buf, slot->base);
			pq_sendint64(buf, slot->bits);
		}
		else
		{
			pq_sendint32(buf, PeriodsOf(slot));
			WalkPeriods(slot, Send, buf);
		}
	}
}

static void
RequirePeriod(const Period *period, int64 p)
{
	if (!PeriodExists(period, p))
		RefuseState(&members_state, "a period holds no instant");
}

static void *
ReadState(StringInfo buf)
{
	MemberState *state;
	Period		period;
	int64		n;

	memset(&period, 0, sizeof(period));
	period.base = pq_getmsgbyte(buf);
	period.step = pq_getmsgint(buf, 2);
	period.zone = pq_getmsgint(buf, 4);
	if (!PeriodValid(period.base, period.step))
		RefuseState(&members_state, "its period is unknown");
	state = MakeMemberState(CurrentMemoryContext, &period);
	n = pq_getmsgint64(buf);
	for (int64 i = 0; i < n; i++)
	{
		int64		member = pq_getmsgint64(buf);
		int			periods = pq_getmsgint(buf, 4);
		MemberSlot *slot = NULL;

		CHECK_FOR_INTERRUPTS();
		if (periods == 0)
		{
			int32		base = pq_getmsgint(buf, 4);
			uint64		bits = pq_getmsgint64(buf);

			if (bits == 0)
				RefuseState(&members_state, "a member was never active");
			RequirePeriod(&period, (int64) base + pg_rightmost_one_pos64(bits));
			RequirePeriod(&period, (int64) base + pg_leftmost_one_pos64(bits));
			slot = FindMember(state, member, 0);
			slot->base = base;
			slot->bits = bits;
		}
		for (int k = 0; k < periods; k++)
		{
			int32		p = pq_getmsgint(buf, 4);

			RequirePeriod(&period, p);
			if (slot == NULL)
				slot = FindMember(state, member, p);
			AddPeriod(state, slot, p);
		}
		if (slot == NULL || state->hash->members != i + 1)
			RefuseState(&members_state, "a member is there twice, or not at all");
	}
	return state;
}

/*
 * retention_events_final(aggregate_state) -> cohort_matrix; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_events_final);
Datum
loyalty_retention_events_final(PG_FUNCTION_ARGS)
{
	MemberState *state = GetState(fcinfo, 0, &members_state);
	TallyState *tally;
	members_iterator it;
	MemberSlot *slot;

	if (state == NULL)
		PG_RETURN_NULL();
	FlushEvents(state);
	tally = TallyStateMake(CurrentMemoryContext, TALLY_COHORT_MATRIX);
	TallySetPeriod(tally, &state->period);
	members_start_iterate(state->hash, &it);
	while ((slot = members_iterate(state->hash, &it)) != NULL)
	{
		MemberCount count;

		CHECK_FOR_INTERRUPTS();
		CountMember(&count, tally, FirstPeriod(slot));
		WalkPeriods(slot, Count, &count);
	}
	PG_RETURN_POINTER(TallyFinish(tally));
}
