/*
 * tier_machine.c
 *		Windows over facts, and the clock between them.
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"

#include "core/compat.h"
#include "tier/tier_machine.h"

/* ---------------------------------------------------------------------------
 * Versions
 * ---------------------------------------------------------------------------
 */

/*
 * Number of a measure among those of all versions; -1 when none has it.
 */
int
FindMeasure(const LadderVersions *versions, const char *code)
{
	for (int i = 0; i < versions->nmeasures; i++)
		if (strcmp(versions->measure[i], code) == 0)
			return i;
	return -1;
}

static void
AddMeasure(LadderVersions *versions, const char *code)
{
	if (FindMeasure(versions, code) >= 0)
		return;
	if (versions->nmeasures >= VERSIONS_MAX_MEASURES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the versions of a ladder use more than %d measures", VERSIONS_MAX_MEASURES)));
	strlcpy(versions->measure[versions->nmeasures], code, NAMEDATALEN);
	versions->nmeasures++;
}

/*
 * Numbers the measures of all versions, and says which slot of each version they
 * are in.
 */
void
BindMeasures(LadderVersions *versions)
{
	for (int v = 0; v < versions->nversions; v++)
		for (int i = 0; i < versions->version[v].definition->nmeasures; i++)
			AddMeasure(versions, versions->version[v].definition->measure[i].code);
	for (int v = 0; v < versions->nversions; v++)
	{
		LadderVersion *version = &versions->version[v];

		memset(version->slot, -1, sizeof(version->slot));
		for (int i = 0; i < version->definition->nmeasures; i++)
			version->slot[FindMeasure(versions, version->definition->measure[i].code)] = i;
	}
}

/*
 * A ladder that never changed.
 */
LadderVersions *
OnlyVersion(LadderDefinition *ladder)
{
	LadderVersions *versions = palloc0(sizeof(LadderVersions));

	versions->nversions = 1;
	versions->version = palloc0(sizeof(LadderVersion));
	versions->version[0].from = TIMESTAMP_MINUS_INFINITY;
	versions->version[0].definition = ladder;
	BindMeasures(versions);
	return versions;
}

/*
 * The version in force at an instant; -1 before the first.
 */
int
VersionAt(const LadderVersions *versions, TimestampTz t)
{
	int			v = versions->nversions - 1;

	while (v >= 0 && versions->version[v].from > t)
		v--;
	return v;
}

/* ---------------------------------------------------------------------------
 * Windows
 * ---------------------------------------------------------------------------
 */

static int64
AddAmounts(int64 a, int64 b)
{
	int64		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a qualifying sum is out of range")));
	return sum;
}

/* Number of entries before t */
static int
EntriesBefore(const TierSlot *slot, TimestampTz t)
{
	int			low = 0;
	int			high = slot->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (slot->at[middle] < t)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Sum of the first i entries, and of what is kept no more before them */
static int64
SumOfFirst(const TierSlot *slot, int i)
{
	return i > 0 ? slot->sum[i - 1] : slot->base;
}

static int64
SumFrom(const TierSlot *slot, TimestampTz from)
{
	return SumOfFirst(slot, slot->n) - SumOfFirst(slot, EntriesBefore(slot, from));
}

static void
AddToSlot(TierSlot *slot, TimestampTz counts_at, int64 amount)
{
	int			i;

	/* what a score is does not add up */
	if (counts_at >= slot->latest_at)
	{
		slot->latest_at = counts_at;
		slot->latest = amount;
	}

	i = slot->n;
	while (i > 0 && slot->at[i - 1] > counts_at)
		i--;
	if (i > 0 && slot->at[i - 1] == counts_at)
		i--;
	else
	{
		if (slot->n == slot->size)
		{
			slot->size = Max(8, slot->size * 2);
			slot->at = slot->at ? repalloc(slot->at, slot->size * sizeof(TimestampTz)) :
				palloc(slot->size * sizeof(TimestampTz));
			slot->sum = slot->sum ? repalloc(slot->sum, slot->size * sizeof(int64)) :
				palloc(slot->size * sizeof(int64));
		}
		memmove(slot->at + i + 1, slot->at + i, (slot->n - i) * sizeof(TimestampTz));
		memmove(slot->sum + i + 1, slot->sum + i, (slot->n - i) * sizeof(int64));
		slot->n++;
		slot->at[i] = counts_at;
		slot->sum[i] = SumOfFirst(slot, i);
	}
	for (; i < slot->n; i++)
		slot->sum[i] = AddAmounts(slot->sum[i], amount);
}

static bool
IsPeriod(TierWindow window)
{
	return window >= WINDOW_MONTH && window <= WINDOW_ANNIVERSARY;
}

/*
 * The instant from which on facts count as of t in a measure's window, which is
 * a period or term.  At the end of a term, and in the grace after it, the
 * period that ended counts.
 */
static TimestampTz
WindowStart(const TierMachine *machine, int i, TimestampTz t, PeriodAsked period)
{
	const LadderDefinition *ladder = machine->definition;
	const TierMeasure *measure = &ladder->measure[i];
	const TierState *state = &machine->state;

	if (measure->window == WINDOW_TERM)
		return machine->window_from;
	Assert(IsPeriod(measure->window));
	if (state->grace_until != TIMESTAMP_MINUS_INFINITY)
		t = state->valid_until - 1;
	else if (period == PERIOD_ENDED)
		t = t - 1;
	return TierPeriodStart(ladder, measure->window, state->joined_at, t);
}

/*
 * An instant before which no fact counts in a measure's window any more, now or
 * later in the present term.  Month arithmetic may go back by a day, and the
 * clock of a time zone by hours.
 */
TimestampTz
WindowBegin(const TierMachine *machine, int measure)
{
	const TierMeasure *m = &machine->definition->measure[measure];

	if (m->window == WINDOW_ROLLING)
		return AddSpan(machine->definition, machine->now, &m->interval, -1) - 4 * USECS_PER_DAY;
	return WindowStart(machine, measure, machine->now, PERIOD_BEGUN);
}

/*
 * What lies in a rolling window as of t.  Where exactly it begins needs
 * calendar arithmetic, and matters only when a fact lies near there.
 */
static int64
SumRolling(const TierMachine *machine, int i, TimestampTz t)
{
	const TierSlot *slot = &machine->slot[i];
	const TierSpan *span = &machine->definition->measure[i].interval;
	/* so many months never differ by more than these days from the average */
	double		slack = 6.0 * USECS_PER_DAY;
	double		start = t - ((span->months * (365.2425 / 12) + span->days) * USECS_PER_DAY + span->micros);
	int			first = EntriesBefore(slot, (TimestampTz) Max(start - slack, (double) MIN_TIMESTAMP));

	if (first < slot->n && slot->at[first] <= start + slack)
		return SumFrom(slot, AddSpan(machine->definition, t, span, -1) + 1);
	return SumOfFirst(slot, slot->n) - SumOfFirst(slot, first);
}

/*
 * What each measure amounts to in its window as of t, which is not before now.
 */
void
MachineValues(const TierMachine *machine, TimestampTz t, PeriodAsked period, int64 *values)
{
	for (int i = 0; i < machine->definition->nmeasures; i++)
	{
		const TierSlot *slot = &machine->slot[i];
		TierWindow	window = machine->definition->measure[i].window;

		if (window == WINDOW_LATEST)
			values[i] = slot->latest;
		else if (window == WINDOW_LIFETIME)
			values[i] = SumOfFirst(slot, slot->n);
		else if (window == WINDOW_ROLLING)
			values[i] = SumRolling(machine, i, t);
		else
		{
			TimestampTz from = WindowStart(machine, i, t, period);

			values[i] = SumFrom(slot, from);
			if (slot->carry != 0 && slot->carry_from == from)
				values[i] = AddAmounts(values[i], slot->carry);
		}
	}
}

/* What of a measure is left over when a level has taken its threshold. */
static int64
Excess(const TierCriteria *criteria, int i, int64 value, int64 own)
{
	if (!(criteria->asked & (1U << i)))
		return 0;
	return Max(0, Min(value - criteria->at_least[i], own));
}

/*
 * Finds the next end of a calendar window after t, where that matters.
 */
void
PlanCarryOver(TierMachine *machine, TimestampTz t)
{
	machine->carry_next = TIMESTAMP_INFINITY;
	if (machine->definition == NULL || !machine->definition->carry_over)
		return;
	for (int i = 0; i < machine->definition->nmeasures; i++)
		if (IsPeriod(machine->definition->measure[i].window))
			machine->carry_next = Min(machine->carry_next,
									  TierPeriodEnd(machine->definition, machine->definition->measure[i].window,
												machine->state.joined_at, t));
}

/*
 * At the end of a calendar period: what exceeded the threshold of the level
 * that is held goes into the next one.
 */
static void
CarryOver(TierMachine *machine, TimestampTz end)
{
	const LadderDefinition *ladder = machine->definition;
	const TierState *state = &machine->state;

	for (int i = 0; i < ladder->nmeasures; i++)
	{
		TierSlot   *slot = &machine->slot[i];
		TierWindow	window = ladder->measure[i].window;
		TimestampTz from;
		int64		own;
		int64		value;

		if (!IsPeriod(window) || TierPeriodStart(ladder, window, state->joined_at, end) != end)
			continue;
		from = TierPeriodStart(ladder, window, state->joined_at, end - 1);
		own = SumFrom(slot, from);
		value = slot->carry_from == from ? AddAmounts(own, slot->carry) : own;
		slot->carry = state->level > 0 ?
			Excess(&ladder->level[state->level - 1].qualify, i, value, own) : 0;
		slot->carry_from = end;
	}
	PlanCarryOver(machine, end);
}

/* ---------------------------------------------------------------------------
 * Steps
 * ---------------------------------------------------------------------------
 */

/*
 * The rank of a level in a new version: its own, or the next lower one's left.
 */
int
MappedRank(const LadderDefinition *from, const LadderDefinition *to, int rank)
{
	for (; rank > 0; rank--)
	{
		int			mapped = RankOfCode(to, from->level[rank - 1].code);

		if (mapped > 0)
			return mapped;
	}
	return 0;
}

/*
 * The rank of a grant's level.  Where this version lacks it, it became a lower
 * one with the last version that had it, as an earned level does.
 */
static int
RankOfGrant(const TierMachine *machine, const TierGrant *grant)
{
	const LadderVersion *version = machine->versions->version;
	int			v = machine->version;
	int			rank;

	while ((rank = RankOfCode(version[v].definition, grant->code)) == 0 && v > 0)
		v--;
	for (; v < machine->version; v++)
		rank = MappedRank(version[v].definition, version[v + 1].definition, rank);
	return rank;
}

/*
 * The highest rank granted at an instant; 0 for none.
 */
int
GrantedRank(const TierMachine *machine, TimestampTz t)
{
	int			granted = 0;

	for (int i = 0; i < machine->ngrants; i++)
		if (machine->grants[i].from <= t && t < machine->grants[i].until)
			granted = Max(granted, RankOfGrant(machine, &machine->grants[i]));
	return granted;
}

static TimestampTz
NextGrant(const TierMachine *machine)
{
	TimestampTz next = TIMESTAMP_INFINITY;

	for (int i = 0; i < machine->ngrants; i++)
	{
		if (machine->grants[i].from > machine->granted_at)
			next = Min(next, machine->grants[i].from);
		if (machine->grants[i].until > machine->granted_at)
			next = Min(next, machine->grants[i].until);
	}
	return next;
}

/*
 * Until when the effective tier is held as things stand; infinity without end.
 */
TimestampTz
MachineValidUntil(const TierMachine *machine)
{
	const TierState *state = &machine->state;
	TimestampTz until = TIMESTAMP_MINUS_INFINITY;

	if (state->effective == 0)
		return TIMESTAMP_INFINITY;
	if (state->level == state->effective)
		until = state->valid_until;
	/* those that have ended did so before any that has not */
	if (state->granted == state->effective)
		for (int i = 0; i < machine->ngrants; i++)
			if (machine->grants[i].from <= machine->granted_at &&
				RankOfGrant(machine, &machine->grants[i]) == state->granted)
				until = Max(until, machine->grants[i].until);
	return until;
}

/*
 * Records a step, where steps are recorded and something happened.
 */
void
LogTierStep(TierMachine *machine, const TierStep *step)
{
	TierLog    *log;

	if (!machine->logging || step->event == TIER_NONE)
		return;
	if (machine->nlogs == machine->log_size)
	{
		machine->log_size = Max(16, machine->log_size * 2);
		machine->logs = machine->logs ? repalloc(machine->logs, machine->log_size * sizeof(TierLog)) :
			palloc(machine->log_size * sizeof(TierLog));
	}
	log = &machine->logs[machine->nlogs++];
	log->at = step->at;
	log->event = step->event;
	log->reason = step->reason;
	log->rank = machine->state.effective;
	log->definition = machine->definition;
	log->valid_until = MachineValidUntil(machine);
}

/*
 * A step at t, with what is qualified for there.
 */
void
StepTierMachine(TierMachine *machine, TimestampTz t, StepCause cause)
{
	const LadderDefinition *ladder = machine->definition;
	int64		values[TIER_MAX_MEASURES];
	TierInput	input;
	TierStep	step;

	MachineValues(machine, t, cause == STEP_BY_FACTS ? PERIOD_BEGUN : PERIOD_ENDED, values);
	input.at = t;
	input.qualified = QualifiedRank(ladder, values);
	input.renewed = RenewedRank(ladder, machine->state.level, values);
	input.granted = cause == STEP_BY_FACTS ? machine->state.granted : GrantedRank(machine, t);
	machine->granted_at = t;
	TierEvaluate(&machine->state, &input, ladder, &step);
	if (step.reason == REASON_QUALIFIED && machine->because != REASON_NONE)
		step.reason = machine->because;
	if (step.term_began)
	{
		/* facts that began the term are in the one before */
		TimestampTz from = cause == STEP_BY_FACTS ? t + 1 : t;

		for (int i = 0; i < ladder->nmeasures; i++)
		{
			TierSlot   *slot = &machine->slot[i];

			if (ladder->measure[i].window != WINDOW_TERM)
				continue;
			slot->carry = ladder->carry_over && machine->state.level > 0 ?
				Excess(&ladder->level[machine->state.level - 1].qualify, i, values[i],
					   SumFrom(slot, machine->window_from)) : 0;
			slot->carry_from = from;
		}
		machine->window_from = from;
	}
	LogTierStep(machine, &step);
}

/*
 * Whoever has not joined yet does so with its first fact or grant.
 */
void
JoinLadder(TierMachine *machine, TimestampTz t)
{
	if (machine->state.joined_at != TIMESTAMP_INFINITY)
		return;
	for (int i = 0; i < machine->ngrants; i++)
		t = Min(t, machine->grants[i].from);
	machine->state.joined_at = t;
	PlanCarryOver(machine, t);
}

/* A step that only looks at grants. */
static void
StepGrants(TierMachine *machine, TimestampTz t)
{
	TierInput	input = {t, 0, 0, GrantedRank(machine, t)};
	TierStep	step;

	JoinLadder(machine, t);
	machine->granted_at = t;
	TierEvaluate(&machine->state, &input, machine->definition, &step);
	LogTierStep(machine, &step);
}

/*
 * A machine that knows nothing yet, on the first version if that has no
 * beginning.
 */
void
InitMachine(TierMachine *machine, const LadderVersions *versions, TimestampTz joined_at)
{
	memset(machine, 0, sizeof(TierMachine));
	machine->versions = versions;
	machine->version = VersionAt(versions, TIMESTAMP_MINUS_INFINITY);
	machine->definition = machine->version < 0 ? NULL : versions->version[machine->version].definition;
	machine->now = TIMESTAMP_MINUS_INFINITY;
	machine->window_from = TIMESTAMP_MINUS_INFINITY;
	machine->granted_at = TIMESTAMP_MINUS_INFINITY;
	machine->carry_next = TIMESTAMP_INFINITY;
	for (int i = 0; i < TIER_MAX_MEASURES; i++)
	{
		machine->slot[i].latest_at = TIMESTAMP_MINUS_INFINITY;
		machine->slot[i].carry_from = TIMESTAMP_MINUS_INFINITY;
	}
	InitTierState(&machine->state, joined_at);
}

/* The next instant of the clock: a term or grant ends, a period, ... */
static TimestampTz
NextOfClock(const TierMachine *machine)
{
	if (machine->definition == NULL)
		return TIMESTAMP_INFINITY;
	return Min(Min(TierNext(&machine->state), machine->carry_next), NextGrant(machine));
}

static TimestampTz
NextFact(const TierMachine *machine)
{
	return machine->next_coming < machine->ncoming ?
		machine->coming[machine->next_coming].at : TIMESTAMP_INFINITY;
}

/*
 * The next instant at which something changes without further facts, other
 * than by a new version of the ladder; infinity for never.
 */
TimestampTz
NextChange(const TierMachine *machine)
{
	return Min(NextOfClock(machine), NextFact(machine));
}

#define ST_SORT SortFacts
#define ST_ELEMENT_TYPE TierFact
#define ST_COMPARE(a, b) CompareTierFacts(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Brings facts into their order.
 */
void
SortTierFacts(TierFact *facts, Size nfacts)
{
	SortFacts(facts, nfacts);
}

/*
 * Adds facts, which are after now, to those that are to come.
 */
void
ExpectFacts(TierMachine *machine, const TierFact *facts, int nfacts)
{
	int			left = machine->ncoming - machine->next_coming;
	TierFact   *coming;

	if (nfacts == 0)
		return;
	coming = palloc_extended((left + nfacts) * sizeof(TierFact), MCXT_ALLOC_HUGE);
	if (left > 0)
		memcpy(coming, machine->coming + machine->next_coming, left * sizeof(TierFact));
	memcpy(coming + left, facts, nfacts * sizeof(TierFact));
	SortTierFacts(coming, left + nfacts);
	machine->coming = coming;
	machine->next_coming = 0;
	machine->ncoming = left + nfacts;
}

/*
 * Counts a fact in a window, without a step.
 */
void
CountFact(TierMachine *machine, int slot, const TierFact *fact)
{
	AddToSlot(&machine->slot[slot], fact->counts_at, fact->amount);
}

static void
AddFact(TierMachine *machine, const TierFact *fact)
{
	int			slot;

	if (machine->keep_done)
	{
		if (machine->ndone == machine->done_size)
		{
			machine->done_size = Max(16, machine->done_size * 2);
			machine->done = machine->done ? repalloc(machine->done, machine->done_size * sizeof(TierFact)) :
				palloc(machine->done_size * sizeof(TierFact));
		}
		machine->done[machine->ndone++] = *fact;
	}
	if (machine->version < 0)
		return;
	slot = machine->versions->version[machine->version].slot[fact->measure];
	if (slot >= 0)
		AddToSlot(&machine->slot[slot], fact->counts_at, fact->amount);
}

/*
 * All facts of the instant t, which is the next one that facts come at.
 */
static void
TakeFacts(TierMachine *machine, TimestampTz t)
{
	JoinLadder(machine, t);
	while (NextFact(machine) == t)
		AddFact(machine, &machine->coming[machine->next_coming++]);
	if (machine->definition == NULL)
		return;
	if (machine->carry_next == TIMESTAMP_INFINITY)
		PlanCarryOver(machine, t);
	StepTierMachine(machine, t, STEP_BY_FACTS);
}

/* Lets the clock run up to and including until, facts up to facts_until. */
static void
RunMachine(TierMachine *machine, TimestampTz until, TimestampTz facts_until)
{
	for (;;)
	{
		TimestampTz clock = NextOfClock(machine);
		TimestampTz fact = NextFact(machine);

		CHECK_FOR_INTERRUPTS();
		if (clock > until)
			clock = TIMESTAMP_INFINITY;
		if (fact > facts_until)
			fact = TIMESTAMP_INFINITY;
		if (clock == TIMESTAMP_INFINITY && fact == TIMESTAMP_INFINITY)
			break;
		if (fact < clock)
			TakeFacts(machine, fact);
		else if (TierNext(&machine->state) <= clock)
			StepTierMachine(machine, clock, STEP_BY_CLOCK);
		else if (machine->carry_next <= clock)
			CarryOver(machine, clock);
		else
			StepGrants(machine, clock);
	}
	machine->now = Max(machine->now, until);
}

/*
 * Takes a machine to until: the clock runs, and facts that were to come are
 * taken, those of until included.  No new version and no merge may lie
 * between.
 */
void
AdvanceMachine(TierMachine *machine, TimestampTz until)
{
	RunMachine(machine, until, until);
}

/*
 * The same without the facts of until itself: what else happens then goes
 * before them.
 */
void
AdvanceClock(TierMachine *machine, TimestampTz until)
{
	RunMachine(machine, until, until - 1);
}

/* ---------------------------------------------------------------------------
 * Bytes
 * ---------------------------------------------------------------------------
 */

#define MACHINE_VERSION	1

/*
 * The instant before which no window will ever begin again.  It never goes
 * back, so machines that say the same are the same bytes; month arithmetic
 * would, to the day, but not from the first of a month.
 */
static TimestampTz
KeepFrom(const TierMachine *machine, int i)
{
	const LadderDefinition *ladder = machine->definition;
	const TierMeasure *measure = &ladder->measure[i];

	if (measure->window == WINDOW_ROLLING)
		return AddSpan(ladder, TierPeriodStart(ladder, WINDOW_MONTH, machine->now, machine->now),
					   &measure->interval, -1);
	return WindowStart(machine, i, machine->now, PERIOD_ENDED);
}

static void
PackSlot(PackWriter *writer, const TierMachine *machine, int i)
{
	const TierSlot *slot = &machine->slot[i];
	TierWindow	window = machine->definition->measure[i].window;
	int			first;
	int64		previous;
	TimestampTz at = machine->now;

	if (window == WINDOW_LATEST)
	{
		PackTime(writer, slot->latest_at, at);
		PackSigned(writer, slot->latest);
		return;
	}
	first = window == WINDOW_LIFETIME ? slot->n : EntriesBefore(slot, KeepFrom(machine, i));
	previous = SumOfFirst(slot, first);
	PackSigned(writer, window == WINDOW_LIFETIME ? previous : 0);
	PackTime(writer, slot->carry_from, at);
	PackSigned(writer, slot->carry);
	PackUnsigned(writer, slot->n - first);
	for (int j = first; j < slot->n; j++)
	{
		PackTime(writer, slot->at[j], at);
		PackSigned(writer, slot->sum[j] - previous);
		at = slot->at[j];
		previous = slot->sum[j];
	}
}

/*
 * A machine as bytes: its state, its grants that have not ended, its facts to
 * come, and of the others those that can still count.
 */
void
PackMachine(PackWriter *writer, const TierMachine *machine)
{
	const TierState *state = &machine->state;
	TimestampTz now = machine->now;
	int			ngrants = 0;

	PackUnsigned(writer, MACHINE_VERSION);
	PackSigned(writer, machine->version);
	PackTime(writer, now, 0);
	PackTime(writer, machine->window_from, now);
	PackTime(writer, machine->carry_next, now);
	PackTime(writer, machine->granted_at, now);
	PackUnsigned(writer, state->level);
	PackTime(writer, state->joined_at, now);
	PackTime(writer, state->since, now);
	PackTime(writer, state->anchor, now);
	PackUnsigned(writer, state->terms);
	PackTime(writer, state->valid_until, now);
	PackTime(writer, state->grace_until, now);
	PackUnsigned(writer, state->pending);
	PackTime(writer, state->pending_at, now);
	PackUnsigned(writer, state->granted);
	PackUnsigned(writer, state->effective);
	PackTime(writer, state->effective_since, now);
	for (int i = 0; i < machine->ngrants; i++)
		ngrants += machine->grants[i].until > machine->granted_at;
	PackUnsigned(writer, ngrants);
	for (int i = 0; i < machine->ngrants; i++)
	{
		const TierGrant *grant = &machine->grants[i];

		if (grant->until <= machine->granted_at)
			continue;
		PackUnsigned(writer, strlen(grant->code));
		PackBytes(writer, grant->code, strlen(grant->code));
		PackTime(writer, grant->from, now);
		PackTime(writer, grant->until, now);
	}
	PackUnsigned(writer, machine->ncoming - machine->next_coming);
	for (int i = machine->next_coming; i < machine->ncoming; i++)
	{
		const TierFact *fact = &machine->coming[i];

		PackTime(writer, fact->at, now);
		PackTime(writer, fact->counts_at, fact->at);
		PackSigned(writer, fact->amount);
		PackUnsigned(writer, fact->measure);
	}
	if (machine->definition != NULL)
		for (int i = 0; i < machine->definition->nmeasures; i++)
			PackSlot(writer, machine, i);
}

static void
UnpackSlot(PackReader *reader, TierMachine *machine, int i)
{
	TierSlot   *slot = &machine->slot[i];
	TimestampTz at = machine->now;
	int64		sum;
	uint64		n;

	if (machine->definition->measure[i].window == WINDOW_LATEST)
	{
		slot->latest_at = UnpackTime(reader, at);
		slot->latest = UnpackSigned(reader);
		return;
	}
	slot->base = sum = UnpackSigned(reader);
	slot->carry_from = UnpackTime(reader, at);
	slot->carry = UnpackSigned(reader);
	n = UnpackUnsigned(reader);
	if (reader->failed || n > (uint64) (reader->end - reader->next))
	{
		reader->failed = true;
		return;
	}
	slot->n = (int) n;
	slot->size = (int) n + 4;
	slot->at = palloc(slot->size * sizeof(TimestampTz));
	slot->sum = palloc(slot->size * sizeof(int64));
	for (int j = 0; j < slot->n; j++)
	{
		slot->at[j] = at = UnpackTime(reader, at);
		slot->sum[j] = sum = AddAmounts(sum, UnpackSigned(reader));
	}
}

/*
 * A machine from its bytes; false when they are nonsense, of another version,
 * or of a ladder version that is not there.
 */
bool
UnpackMachine(PackReader *reader, const LadderVersions *versions, TierMachine *machine)
{
	TierState  *state = &machine->state;
	TimestampTz now;
	int			version;
	uint64		ngrants;
	uint64		ncoming;

	InitMachine(machine, versions, TIMESTAMP_INFINITY);
	if (UnpackUnsigned(reader) != MACHINE_VERSION)
		return false;
	version = (int) UnpackSigned(reader);
	if (reader->failed || version < -1 || version >= versions->nversions)
		return false;
	machine->version = version;
	machine->definition = version < 0 ? NULL : versions->version[version].definition;
	machine->now = now = UnpackTime(reader, 0);
	machine->window_from = UnpackTime(reader, now);
	machine->carry_next = UnpackTime(reader, now);
	machine->granted_at = UnpackTime(reader, now);
	state->level = (int) UnpackUnsigned(reader);
	state->joined_at = UnpackTime(reader, now);
	state->since = UnpackTime(reader, now);
	state->anchor = UnpackTime(reader, now);
	state->terms = (int) UnpackUnsigned(reader);
	state->valid_until = UnpackTime(reader, now);
	state->grace_until = UnpackTime(reader, now);
	state->pending = (int) UnpackUnsigned(reader);
	state->pending_at = UnpackTime(reader, now);
	state->granted = (int) UnpackUnsigned(reader);
	state->effective = (int) UnpackUnsigned(reader);
	state->effective_since = UnpackTime(reader, now);
	ngrants = UnpackUnsigned(reader);
	if (reader->failed || ngrants > (uint64) (reader->end - reader->next))
		return false;
	machine->ngrants = (int) ngrants;
	machine->grants = palloc0(ngrants * sizeof(TierGrant));
	for (int i = 0; i < machine->ngrants; i++)
	{
		uint64		length = UnpackUnsigned(reader);

		if (reader->failed || length >= NAMEDATALEN)
			return false;
		UnpackBytes(reader, machine->grants[i].code, length);
		machine->grants[i].from = UnpackTime(reader, now);
		machine->grants[i].until = UnpackTime(reader, now);
	}
	ncoming = UnpackUnsigned(reader);
	if (reader->failed || ncoming > (uint64) (reader->end - reader->next))
		return false;
	machine->ncoming = (int) ncoming;
	machine->coming = palloc(ncoming * sizeof(TierFact));
	for (int i = 0; i < machine->ncoming; i++)
	{
		TierFact   *fact = &machine->coming[i];

		fact->at = UnpackTime(reader, now);
		fact->counts_at = UnpackTime(reader, fact->at);
		fact->amount = UnpackSigned(reader);
		fact->measure = (int) UnpackUnsigned(reader);
		if (reader->failed || fact->at <= now || fact->measure < 0 || fact->measure >= versions->nmeasures)
			return false;
	}
	if (machine->definition != NULL)
	{
		int			top = machine->definition->nlevels;

		if (state->level > top || state->pending > top || state->granted > top || !TierStateIsSound(state))
			return false;
		for (int i = 0; i < machine->definition->nmeasures; i++)
			UnpackSlot(reader, machine, i);
	}
	return !reader->failed;
}

/*
 * A machine as it is stored.
 */
struct varlena *
StoredMachine(const TierMachine *machine)
{
	PackWriter	writer;

	PackInit(&writer, VARHDRSZ);
	PackMachine(&writer, machine);
	SET_VARSIZE(writer.data, writer.used);
	return (struct varlena *) writer.data;
}

/*
 * Whether stored bytes are a machine: in all that can make a difference from
 * now on.
 */
bool
SameMachine(const struct varlena *stored, const TierMachine *machine)
{
	struct varlena *bytes = StoredMachine(machine);

	return VARSIZE_ANY_EXHDR(stored) == VARSIZE_ANY_EXHDR(bytes) &&
		memcmp(VARDATA_ANY(stored), VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)) == 0;
}
