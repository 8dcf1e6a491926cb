/*
 * tier_replay.c
 *		The replay of a member's history: facts, versions, grants, merges and
 *		returns, in time.  See tier.h for the rules.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "core/compat.h"
#include "tier/tier_machine.h"

/* By instant; what follows makes the order total. */
static inline int
CompareFacts(const TierFact *a, const TierFact *b)
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

#define ST_SORT SortFacts
#define ST_ELEMENT_TYPE TierFact
#define ST_COMPARE(a, b) CompareFacts(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Facts that are still to come, in order. */
typedef struct FactStream
{
	int			n;
	int			next;
	TierFact   *facts;
} FactStream;

static bool
TakenBack(const TierPlan *plan, const TierFact *fact)
{
	int			v;

	if (fact->counts_at >= fact->at)
		return false;
	v = VersionAt(plan, fact->at);
	return v >= 0 && plan->version[v].ladder->take_back;
}

/*
 * The facts known in the business at until.  What is taken back goes to the
 * date of its order.
 */
static void
OpenStream(FactStream *stream, const TierPlan *plan, const TierHistory *history, TimestampTz until)
{
	stream->n = stream->next = 0;
	stream->facts = palloc_extended(Max(history->nfacts, 1) * sizeof(TierFact), MCXT_ALLOC_HUGE);
	for (int i = 0; i < history->nfacts; i++)
	{
		TierFact	fact = history->facts[i];

		if (fact.at > until)
			continue;
		if (TakenBack(plan, &fact))
			fact.at = fact.counts_at;
		stream->facts[stream->n++] = fact;
	}
	SortFacts(stream->facts, stream->n);
}

/*
 * What the absorbed has to come, joins the survivor's.
 */
static void
JoinStreams(FactStream *stream, const FactStream *other)
{
	int			left = stream->n - stream->next;
	int			more = other->n - other->next;
	TierFact   *facts;

	if (more == 0)
		return;
	facts = palloc_extended((left + more) * sizeof(TierFact), MCXT_ALLOC_HUGE);
	memcpy(facts, stream->facts + stream->next, left * sizeof(TierFact));
	memcpy(facts + left, other->facts + other->next, more * sizeof(TierFact));
	SortFacts(facts, left + more);
	stream->facts = facts;
	stream->next = 0;
	stream->n = left + more;
}

static TimestampTz
JoinedAt(const TierHistory *history, TimestampTz until)
{
	TimestampTz joined_at = history->joined_at;

	if (joined_at != TIMESTAMP_INFINITY)
		return joined_at;
	for (int i = 0; i < history->nfacts; i++)
		if (history->facts[i].at <= until)
			joined_at = Min(joined_at, history->facts[i].at);
	for (int i = 0; i < history->ngrants; i++)
		if (history->grants[i].from <= until)
			joined_at = Min(joined_at, history->grants[i].from);
	return joined_at;
}

/* Fills the windows anew, for another ladder or with another's facts. */
static void
RebuildSlots(TierMachine *machine)
{
	for (int i = 0; i < TIER_MAX_MEASURES; i++)
	{
		machine->slot[i].n = 0;
		machine->slot[i].base = 0;
		machine->slot[i].latest = 0;
		machine->slot[i].latest_at = TIMESTAMP_MINUS_INFINITY;
	}
	for (int i = 0; i < machine->ndone; i++)
	{
		TierFact	fact = machine->done[i];
		int			slot = machine->plan->version[machine->version].slot[fact.measure];

		if (slot >= 0)
			CountFact(machine, slot, &fact);
	}
}

/* A change of the effective tier that no step of the state machine made. */
static void
NoteChange(TierMachine *machine, TimestampTz t, int before, const char *before_code, TierReason reason)
{
	TierStep	step = {t, TIER_NONE, reason, false};
	int			after = machine->state.effective;

	if (strcmp(before_code, after > 0 ? machine->ladder->level[after - 1].code : "") == 0)
		return;
	step.event = after == 0 ? TIER_EXPIRED : before == 0 ? TIER_ENROLLED :
		after > before ? TIER_UPGRADED : TIER_DOWNGRADED;
	machine->state.effective_since = t;
	LogTierStep(machine, &step);
}

static const char *
EffectiveCode(const TierMachine *machine)
{
	return machine->state.effective > 0 ?
		machine->ladder->level[machine->state.effective - 1].code : "";
}

static void
SwitchVersion(TierMachine *machine, int version, TimestampTz t)
{
	const TierLadder *before = machine->ladder;
	const TierLadder *after = machine->plan->version[version].ladder;
	TierState  *state = &machine->state;
	const char *code = before ? EffectiveCode(machine) : "";
	int			effective;

	machine->version = version;
	machine->ladder = after;
	if (before != NULL)
	{
		int			pending = MappedRank(before, after, state->pending);

		effective = MappedRank(before, after, state->effective);
		if (state->effective > 0 && effective == 0)
			effective = after->nlevels + 1; /* whatever comes is less */
		state->level = MappedRank(before, after, state->level);
		if (state->level == 0)
		{
			TierState	none;

			InitTierState(&none, state->joined_at);
			none.effective_since = state->effective_since;
			*state = none;
		}
		state->pending = state->level > 0 && pending > state->level ? pending : 0;
		if (state->pending == 0)
			state->pending_at = TIMESTAMP_INFINITY;
	}
	else
		effective = 0;
	for (int i = 0; i < TIER_MAX_MEASURES; i++)
	{
		machine->slot[i].carry = 0;
		machine->slot[i].carry_from = TIMESTAMP_MINUS_INFINITY;
	}
	RebuildSlots(machine);
	PlanCarryOver(machine, t);
	state->granted = GrantedRank(machine, t);
	machine->granted_at = t;
	state->effective = Max(state->level, state->granted);
	/* a level that vanished counts as one step down */
	if (before != NULL && strcmp(code, EffectiveCode(machine)) != 0 && effective == state->effective)
		effective++;
	NoteChange(machine, t, effective, code, REASON_LADDER_CHANGED);

	if (machine->ndone > 0 || state->level > 0)
	{
		machine->because = REASON_LADDER_CHANGED;
		StepTierMachine(machine, t, true);
		machine->because = REASON_NONE;
	}
}

static void ReplayRun(const TierPlan *plan, const TierHistory *history, TimestampTz until,
					  TimestampTz facts_until, TimestampTz known_until, bool keep_done,
					  TierMachine *machine, FactStream *stream);

/*
 * Joins the absorbed's state and facts to the survivor's at t.
 */
static void
MergeMachines(TierMachine *machine, FactStream *stream, const TierMerge *merge, TimestampTz known_until)
{
	TimestampTz t = merge->at;
	TierMachine other;
	FactStream	others;
	TierState  *state = &machine->state;
	const char *code = machine->ladder ? EffectiveCode(machine) : "";
	int			effective = state->effective;
	TierGrant  *grants;

	ReplayRun(machine->plan, merge->absorbed, t, t - 1, known_until, true, &other, &others);
	if (other.state.level > state->level ||
		(other.state.level == state->level && other.state.valid_until > state->valid_until))
	{
		TimestampTz joined_at = state->joined_at;

		*state = other.state;
		state->joined_at = joined_at;
		machine->window_from = other.window_from;
		for (int i = 0; i < TIER_MAX_MEASURES; i++)
		{
			machine->slot[i].carry = other.slot[i].carry;
			machine->slot[i].carry_from = other.slot[i].carry_from;
		}
	}
	state->joined_at = Min(state->joined_at, other.state.joined_at);

	if (other.ndone > 0)
	{
		TierFact   *done = palloc_extended((machine->ndone + other.ndone) * sizeof(TierFact), MCXT_ALLOC_HUGE);

		memcpy(done, machine->done, machine->ndone * sizeof(TierFact));
		memcpy(done + machine->ndone, other.done, other.ndone * sizeof(TierFact));
		machine->done = done;
		machine->ndone += other.ndone;
		machine->done_size = machine->ndone;
		SortFacts(machine->done, machine->ndone);
	}
	JoinStreams(stream, &others);
	grants = palloc(Max(1, machine->ngrants + other.ngrants) * sizeof(TierGrant));
	memcpy(grants, machine->grants, machine->ngrants * sizeof(TierGrant));
	memcpy(grants + machine->ngrants, other.grants, other.ngrants * sizeof(TierGrant));
	machine->grants = grants;
	machine->ngrants += other.ngrants;

	if (machine->ladder == NULL)
		return;
	RebuildSlots(machine);
	PlanCarryOver(machine, t);
	state->granted = GrantedRank(machine, t);
	machine->granted_at = t;
	state->effective = Max(state->level, state->granted);
	NoteChange(machine, t, effective, code, REASON_MERGED);
	if (machine->ndone > 0 || state->level > 0)
	{
		machine->because = REASON_MERGED;
		StepTierMachine(machine, t, true);
		machine->because = REASON_NONE;
	}
}

/*
 * One run: the clock goes to until, facts are taken up to facts_until, and
 * what is known in the business is what has happened by known_until.  The rest
 * of the facts stays in the stream.
 */
static void
ReplayRun(const TierPlan *plan, const TierHistory *history, TimestampTz until, TimestampTz facts_until,
		  TimestampTz known_until, bool keep_done, TierMachine *machine, FactStream *stream)
{
	int			merge = 0;

	OpenStream(stream, plan, history, known_until);
	InitMachine(machine, plan, JoinedAt(history, known_until));
	machine->keep_done = keep_done || history->nmerges > 0 || plan->nversions > 1 || machine->version < 0;
	machine->logging = true;
	machine->ngrants = history->ngrants;
	machine->grants = history->grants;

	for (;;)
	{
		TimestampTz version_at = machine->version + 1 < plan->nversions ?
			plan->version[machine->version + 1].from : TIMESTAMP_INFINITY;
		TimestampTz merge_at = merge < history->nmerges ? history->merges[merge].at : TIMESTAMP_INFINITY;
		TimestampTz fact_at = stream->next < stream->n &&
			stream->facts[stream->next].at <= facts_until ?
			stream->facts[stream->next].at : TIMESTAMP_INFINITY;
		TimestampTz t = Min(Min(version_at, merge_at), fact_at);

		CHECK_FOR_INTERRUPTS();
		if (t == TIMESTAMP_INFINITY || t > until)
			break;
		if (t == version_at)
		{
			AdvanceMachine(machine, t);
			SwitchVersion(machine, machine->version + 1, t);
		}
		else if (t == merge_at)
		{
			AdvanceMachine(machine, t);
			MergeMachines(machine, stream, &history->merges[merge++], known_until);
		}
		else
		{
			int			n = 1;

			while (stream->next + n < stream->n && stream->facts[stream->next + n].at == t)
				n++;
			ApplyFacts(machine, stream->facts + stream->next, n);
			stream->next += n;
		}
	}
	AdvanceMachine(machine, until);
}

/*
 * The machine as of until, without the steps that led there where returns
 * were taken back.
 */
void
ReplayLatest(const TierPlan *plan, const TierHistory *history, TimestampTz until, TierMachine *machine)
{
	FactStream	stream;

	ReplayRun(plan, history, until, until, until, false, machine, &stream);
}

static void
CollectReturns(const TierPlan *plan, const TierHistory *history, TimestampTz until, TimestampTz **at, int *n)
{
	for (int i = 0; i < history->nfacts; i++)
	{
		const TierFact *fact = &history->facts[i];

		if (fact->at > until || !TakenBack(plan, fact))
			continue;
		if ((*n & (*n - 1)) == 0)
			*at = *at ? repalloc(*at, Max(1, *n * 2) * sizeof(TimestampTz)) : palloc(sizeof(TimestampTz));
		(*at)[(*n)++] = fact->at;
	}
	for (int i = 0; i < history->nmerges; i++)
		if (history->merges[i].at <= until)
			CollectReturns(plan, history->merges[i].absorbed, until, at, n);
}

static int
CompareInstants(const void *a, const void *b)
{
	TimestampTz x = *(const TimestampTz *) a;
	TimestampTz y = *(const TimestampTz *) b;

	return x < y ? -1 : x > y;
}

static const char *
CodeOfLog(const TierLog *log)
{
	return log != NULL && log->rank > 0 ? log->ladder->level[log->rank - 1].code : "";
}

/*
 * The machine as of until, with all steps that led there: between two returns
 * the history is the one that was known in the business then.
 */
void
ReplayHistory(const TierPlan *plan, const TierHistory *history, TimestampTz until, TierMachine *machine)
{
	TimestampTz *returns = NULL;
	int			nreturns = 0;
	int			distinct = 0;
	TierLog    *logs;
	int			nlogs;

	CollectReturns(plan, history, until, &returns, &nreturns);
	if (nreturns == 0)
	{
		ReplayLatest(plan, history, until, machine);
		return;
	}
	qsort(returns, nreturns, sizeof(TimestampTz), CompareInstants);
	for (int i = 0; i < nreturns; i++)
		if (i == 0 || returns[i] != returns[distinct - 1])
			returns[distinct++] = returns[i];

	ReplayLatest(plan, history, returns[0] - 1, machine);
	logs = machine->logs;
	nlogs = machine->nlogs;
	for (int i = 0; i < distinct; i++)
	{
		TimestampTz from = returns[i];
		const TierLog *before = NULL;
		const TierLog *last = nlogs > 0 ? &logs[nlogs - 1] : NULL;
		TierLog    *joined;
		int			n = nlogs;
		int			first = 0;

		ReplayLatest(plan, history, i + 1 < distinct ? returns[i + 1] - 1 : until, machine);
		while (first < machine->nlogs && machine->logs[first].at < from)
			before = &machine->logs[first++];
		joined = palloc((nlogs + 1 + machine->nlogs - first) * sizeof(TierLog));
		if (nlogs > 0)
			memcpy(joined, logs, nlogs * sizeof(TierLog));
		if (strcmp(CodeOfLog(last), CodeOfLog(before)) != 0)
		{
			TierLog    *log = &joined[n++];
			int			was = last ? last->rank : 0;

			*log = before ? *before : *last;
			if (before == NULL)
			{
				log->rank = 0;
				log->valid_until = TIMESTAMP_INFINITY;
			}
			log->at = from;
			log->reason = REASON_RETURNED;
			log->event = log->rank == 0 ? TIER_EXPIRED : was == 0 ? TIER_ENROLLED :
				log->rank > was ? TIER_UPGRADED : TIER_DOWNGRADED;
		}
		if (first < machine->nlogs)
			memcpy(joined + n, machine->logs + first, (machine->nlogs - first) * sizeof(TierLog));
		n += machine->nlogs - first;
		logs = joined;
		nlogs = n;
	}
	machine->logs = logs;
	machine->nlogs = machine->log_size = nlogs;
}
