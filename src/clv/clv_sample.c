/*
 * clv_sample.c
 *		The type clv_sample and the aggregates that build one.
 *
 * The state of the aggregates collects histories as they come, and sorts and
 * merges equal ones whenever its array is full, so that memory follows the
 * number of distinct histories.  The final order is that of the values, so
 * neither the order of rows nor the way they were divided among workers leaves
 * a trace in it, nor in any sum that is taken over it.
 */
#include "clv/clv.h"

#include <math.h>

#include "common/int.h"
#include "common/shortest_dec.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/errors.h"
#include "core/state.h"

#define FIRST_CAPACITY		64

static int
CompareHistories(const ClvHistory *a, const ClvHistory *b)
{
	if (a->x != b->x)
		return a->x < b->x ? -1 : 1;
	if (a->t != b->t)
		return a->t < b->t ? -1 : 1;
	if (a->t_x != b->t_x)
		return a->t_x < b->t_x ? -1 : 1;
	if (a->m != b->m)
		return a->m < b->m ? -1 : 1;
	if (a->held_x != b->held_x)
		return a->held_x < b->held_x ? -1 : 1;
	if (a->held_amount != b->held_amount)
		return a->held_amount < b->held_amount ? -1 : 1;
	return 0;
}

#define ST_SORT SortHistories
#define ST_ELEMENT_TYPE ClvHistory
#define ST_COMPARE(a, b) CompareHistories(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

typedef struct SampleState
{
	State		head;
	int64		horizon;		/* -1 before the first row */
	int64		members;		/* of all histories */
	int64		count;
	int64		capacity;
	ClvHistory *history;
} SampleState;

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind sample_state = {
	.methods = STATE_METHODS,
	.number = STATE_SAMPLE,
	.aggregate = "clv_agg, clv_holdout_agg or clv_rollup",
	.write = WriteState,
	.read = ReadState
};

static SampleState *
MakeSampleState(MemoryContext context)
{
	SampleState *state = MakeState(&sample_state, sizeof(SampleState), context);

	state->horizon = -1;
	return state;
}

/* Sorts the histories of a state and merges equal ones. */
static void
Collapse(SampleState *state)
{
	int64		kept = 0;

	if (state->count < 2)
		return;
	SortHistories(state->history, state->count);
	for (int64 i = 1; i < state->count; i++)
	{
		if (CompareHistories(&state->history[kept], &state->history[i]) == 0)
			state->history[kept].n += state->history[i].n;
		else
			state->history[++kept] = state->history[i];
	}
	state->count = kept + 1;
}

static void
AddHistory(SampleState *state, const ClvHistory *history)
{
	if (state->count >= state->capacity)
	{
		/* a state that came from a worker is sorted, and merged with equals */
		Collapse(state);
		if (state->count >= state->capacity / 4 * 3)
		{
			int64		capacity = state->capacity == 0 ? FIRST_CAPACITY : state->capacity * 2;
			Size		size = capacity * sizeof(ClvHistory);

			state->history = state->history == NULL ?
				MemoryContextAllocHuge(StateMemory(state), size) :
				repalloc_huge(state->history, size);
			state->capacity = capacity;
		}
	}
	/* no history has more members than all together */
	state->members = AddCounts(state->members, history->n);
	state->history[state->count++] = *history;
}

static void
UseHorizon(SampleState *state, int64 horizon)
{
	if (state->horizon < 0)
		state->horizon = horizon;
	else if (state->horizon != horizon)
		ereport(ERROR,
				(errcode(ERRCODE_LY_CLV_HOLDOUT),
				 errmsg("holdouts of one sample must have the same length"),
				 errdetail("One is %.6f days long, another %.6f days.",
						   state->horizon / CLV_USECS_PER_DAY, horizon / CLV_USECS_PER_DAY),
				 errhint("Pass the same distance from as_of to until for every member.")));
}

/*
 * The history in a summary as of an instant; false where there is no purchase.
 * Purchases at the very instant of the first are part of the first.  Errors out
 * (LY302) when as_of is not finite or before the last purchase.
 */
bool
ClvHistoryOf(const rfm *summary, TimestampTz as_of, ClvHistory *history)
{
	RfmCheckAsOf(summary, as_of);
	if (!RFM_HAS_PURCHASE(summary))
		return false;
	memset(history, 0, sizeof(*history));
	history->n = 1;
	history->x = summary->purchases - summary->first_purchases;
	history->t_x = summary->last - summary->first;
	if (pg_sub_s64_overflow(as_of, summary->first, &history->t))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("as_of is too far from the first purchase"),
				 errdetail("They are more than 292,000 years apart."),
				 errhint("Pass the instant as of which to ask, for example now().")));
	/* the mean amount of the purchases after the first instant; refunds are left aside */
	if (history->x > 0)
		history->m = RfmUnitsToDouble(summary->bought - summary->first_bought, summary->decimals) / (double) history->x;
	return true;
}

/* The state of an aggregate that is being called, made at the first row. */
static SampleState *
SampleStateOf(FunctionCallInfo fcinfo)
{
	SampleState *state = GetState(fcinfo, 0, &sample_state);

	return state != NULL ? state : MakeSampleState(StateContext(fcinfo));
}

PG_FUNCTION_INFO_V1(loyalty_clv_accum);
/*
 * clv_accum(state aggregate_state, summary rfm, as_of timestamptz) returns aggregate_state
 *
 * Transition function of clv_agg.  A member whose summary is NULL or has no
 * purchase, or whose as_of is NULL, is left out.
 */
Datum
loyalty_clv_accum(PG_FUNCTION_ARGS)
{
	SampleState *state = SampleStateOf(fcinfo);
	ClvHistory	history;

	if (!PG_ARGISNULL(1) && !PG_ARGISNULL(2) &&
		ClvHistoryOf(PG_GETARG_RFM_P(1), PG_GETARG_TIMESTAMPTZ(2), &history))
	{
		UseHorizon(state, 0);
		AddHistory(state, &history);
	}
	RETURN_STATE(state);
}

PG_FUNCTION_INFO_V1(loyalty_clv_holdout_accum);
/*
 * clv_holdout_accum(state aggregate_state, summary rfm, as_of timestamptz, held rfm,
 *					 until timestamptz) returns aggregate_state
 *
 * Transition function of clv_holdout_agg.  Left out are members as in clv_accum
 * and those whose until is NULL; held may be NULL: nothing bought in the
 * holdout.  Errors (LY320): until not finite or not after as_of; a held-out
 * purchase at or before as_of or after until.
 */
Datum
loyalty_clv_holdout_accum(PG_FUNCTION_ARGS)
{
	SampleState *state = SampleStateOf(fcinfo);
	ClvHistory	history;
	TimestampTz as_of;
	TimestampTz until;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		RETURN_STATE(state);
	as_of = PG_GETARG_TIMESTAMPTZ(2);
	until = PG_GETARG_TIMESTAMPTZ(4);
	if (!ClvHistoryOf(PG_GETARG_RFM_P(1), as_of, &history))
		RETURN_STATE(state);
	if (TIMESTAMP_NOT_FINITE(until) || until <= as_of)
		ereport(ERROR,
				(errcode(ERRCODE_LY_CLV_HOLDOUT),
				 errmsg("a holdout must end after it begins"),
				 errdetail("It begins behind as_of and ends at until, %s.", timestamptz_to_str(until)),
				 errhint("Pass an until that is finite and after as_of.")));
	UseHorizon(state, until - as_of);
	if (!PG_ARGISNULL(3))
	{
		rfm		   *held = PG_GETARG_RFM_P(3);

		if (RFM_HAS_PURCHASE(held))
		{
			if (held->first <= as_of || held->last > until)
				ereport(ERROR,
						(errcode(ERRCODE_LY_CLV_HOLDOUT),
						 errmsg("held-out purchases lie outside the holdout"),
						 errdetail("One is at %s.",
								   timestamptz_to_str(held->first <= as_of ? held->first : held->last)),
						 errhint("Aggregate them with rfm_agg(at, amount) FILTER (WHERE at > as_of AND at <= until).")));
			history.held_x = held->purchases;
			history.held_amount = RfmUnitsToDouble(held->bought, held->decimals);
		}
	}
	AddHistory(state, &history);
	RETURN_STATE(state);
}

static void
MergeInto(SampleState *state, int64 horizon, const ClvHistory *history, int64 count)
{
	if (horizon >= 0)
		UseHorizon(state, horizon);
	for (int64 i = 0; i < count; i++)
	{
		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		AddHistory(state, &history[i]);
	}
}

PG_FUNCTION_INFO_V1(loyalty_clv_combine);
/*
 * clv_combine(aggregate_state, aggregate_state) returns aggregate_state: combine function of the
 * aggregates; copies what it takes from the second state.
 */
Datum
loyalty_clv_combine(PG_FUNCTION_ARGS)
{
	SampleState *state;
	SampleState *other = GetState(fcinfo, 1, &sample_state);

	if (other == NULL)
		state = GetState(fcinfo, 0, &sample_state);
	else
	{
		state = SampleStateOf(fcinfo);
		MergeInto(state, other->horizon, other->history, other->count);
	}
	RETURN_STATE(state);
}

PG_FUNCTION_INFO_V1(loyalty_clv_rollup_accum);
/*
 * clv_rollup_accum(state aggregate_state, sample clv_sample) returns aggregate_state:
 * transition function of clv_rollup; a NULL sample is left out.
 */
Datum
loyalty_clv_rollup_accum(PG_FUNCTION_ARGS)
{
	SampleState *state = SampleStateOf(fcinfo);

	if (!PG_ARGISNULL(1))
	{
		ClvSample  *sample = PG_GETARG_CLV_SAMPLE_P(1);

		MergeInto(state, sample->horizon, sample->history, sample->nhistories);
	}
	RETURN_STATE(state);
}

static void
SendHistory(StringInfo buf, const ClvHistory *h, bool holdout)
{
	pq_sendint64(buf, h->n);
	pq_sendint64(buf, h->x);
	pq_sendint64(buf, h->t_x);
	pq_sendint64(buf, h->t);
	pq_sendfloat8(buf, h->m);
	if (holdout)
	{
		pq_sendint64(buf, h->held_x);
		pq_sendfloat8(buf, h->held_amount);
	}
}

static void
ReceiveHistory(StringInfo buf, ClvHistory *h, bool holdout)
{
	memset(h, 0, sizeof(*h));
	h->n = pq_getmsgint64(buf);
	h->x = pq_getmsgint64(buf);
	h->t_x = pq_getmsgint64(buf);
	h->t = pq_getmsgint64(buf);
	h->m = pq_getmsgfloat8(buf);
	if (holdout)
	{
		h->held_x = pq_getmsgint64(buf);
		h->held_amount = pq_getmsgfloat8(buf);
	}
}

static void
SendHistories(StringInfo buf, int64 horizon, const ClvHistory *history, int64 count)
{
	pq_sendint8(buf, CLV_SAMPLE_VERSION);
	pq_sendint64(buf, horizon);
	pq_sendint64(buf, count);
	for (int64 i = 0; i < count; i++)
	{
		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		SendHistory(buf, &history[i], horizon > 0);
	}
}

static void
WriteState(StringInfo buf, void *written)
{
	SampleState *state = written;

	Collapse(state);
	SendHistories(buf, state->horizon, state->history, state->count);
}

static ClvSample *
MakeSample(int64 horizon, const ClvHistory *history, int64 count)
{
	Size		size = offsetof(ClvSample, history) + count * sizeof(ClvHistory);
	ClvSample  *sample;

	if (!AllocSizeIsValid(size))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many distinct histories for one sample"),
				 errdetail("There are " INT64_FORMAT "; a sample holds " INT64_FORMAT ".", count,
						   (int64) ((MaxAllocSize - offsetof(ClvSample, history)) / sizeof(ClvHistory))),
				 errhint("Round instants to days with date_trunc, or fit to every tenth member.")));
	sample = palloc0(size);
	SET_VARSIZE(sample, size);
	sample->version = CLV_SAMPLE_VERSION;
	sample->horizon = horizon;
	sample->nhistories = count;
	if (count > 0)
		memcpy(sample->history, history, count * sizeof(ClvHistory));
	return sample;
}

PG_FUNCTION_INFO_V1(loyalty_clv_final);
/*
 * clv_final(aggregate_state) returns clv_sample: final function of the aggregates;
 * NULL without a member.  Leaves the state fit for use.
 */
Datum
loyalty_clv_final(PG_FUNCTION_ARGS)
{
	SampleState *state = GetState(fcinfo, 0, &sample_state);

	if (state == NULL || state->count == 0)
		PG_RETURN_NULL();
	Collapse(state);
	PG_RETURN_POINTER(MakeSample(state->horizon, state->history, state->count));
}

/* What is wrong with a history that came from outside; NULL if nothing. */
static const char *
HistoryProblem(const ClvHistory *h, bool holdout)
{
	if (h->n < 1 || h->x < 0 || h->held_x < 0)
		return "a count is negative, or no member has the history";
	if (h->t_x < 0 || h->t < h->t_x)
		return "the last purchase is not between the first and the end";
	if ((h->x == 0) != (h->t_x == 0))
		return "x and t_x disagree on whether there was a repeat purchase";
	if (!isfinite(h->m) || !(h->m >= 0.0) || (h->x == 0 && h->m != 0.0))
		return "a mean amount is negative, no number, or has no purchase";
	if (!isfinite(h->held_amount) || !(h->held_amount >= 0.0) ||
		(h->held_x == 0 && h->held_amount != 0.0) || (!holdout && h->held_x != 0))
		return "a held-out amount is negative, no number, or has no purchase";
	return NULL;
}

static void *
ReadState(StringInfo buf)
{
	SampleState *state = MakeSampleState(CurrentMemoryContext);
	int			version = pq_getmsgbyte(buf);
	int64		horizon = pq_getmsgint64(buf);
	int64		count = pq_getmsgint64(buf);

	if (version != CLV_SAMPLE_VERSION || horizon < -1 || (horizon == -1 && count != 0))
		RefuseState(&sample_state, "its horizon cannot be");
	state->horizon = horizon;
	for (int64 i = 0; i < count; i++)
	{
		ClvHistory	history;
		const char *problem;

		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		ReceiveHistory(buf, &history, horizon > 0);
		problem = HistoryProblem(&history, horizon > 0);
		if (problem != NULL)
			RefuseState(&sample_state, problem);
		AddHistory(state, &history);
	}
	return state;
}

/* The invariant of a sample; NULL when it holds. */
static const char *
SampleProblem(const ClvSample *sample)
{
	int64		members = 0;

	if (sample->horizon < 0)
		return "the horizon is negative";
	if (sample->nhistories < 1)
		return "it has no member";
	for (int64 i = 0; i < sample->nhistories; i++)
	{
		const char *problem = HistoryProblem(&sample->history[i], sample->horizon > 0);

		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		if (problem != NULL)
			return problem;
		if (i > 0 && CompareHistories(&sample->history[i - 1], &sample->history[i]) >= 0)
			return "histories are not in order";
		if (__builtin_add_overflow(members, sample->history[i].n, &members))
			return "the number of members is out of range";
	}
	return NULL;
}

/*
 * The gate of every stored sample: errors out on one that another version of
 * the extension wrote; checks the invariant in builds with assertions.
 */
ClvSample *
ClvCheckSample(ClvSample *sample)
{
	if (sample->version != CLV_SAMPLE_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("clv_sample value has version %d, expected %d", sample->version, CLV_SAMPLE_VERSION),
				 errhint("Install the version of the extension that wrote it, or aggregate again.")));
	Assert(SampleProblem(sample) == NULL);
	return sample;
}

PG_FUNCTION_INFO_V1(loyalty_clv_sample_send);
/*
 * clv_sample_send(clv_sample) returns bytea: version, horizon, number of
 * histories; then of each n, x, t_x, t, m and, with a horizon, held_x and
 * held_amount, in network order.
 */
Datum
loyalty_clv_sample_send(PG_FUNCTION_ARGS)
{
	ClvSample  *sample = PG_GETARG_CLV_SAMPLE_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	SendHistories(&buf, sample->horizon, sample->history, sample->nhistories);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(loyalty_clv_sample_recv);
/*
 * clv_sample_recv(aggregate_state) returns clv_sample: reads what clv_sample_send
 * wrote; refuses (22P03) what no members can have led to.
 */
Datum
loyalty_clv_sample_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	ClvSample  *sample = NULL;
	const char *problem = "the version is not known";

	if (pq_getmsgbyte(buf) == CLV_SAMPLE_VERSION)
	{
		int64		horizon = pq_getmsgint64(buf);
		int64		count = pq_getmsgint64(buf);
		Size		width = horizon > 0 ? 56 : 40;

		if (count < 0 || (uint64) count > (uint64) (buf->len - buf->cursor) / width)
			problem = "the number of histories does not match";
		else
		{
			ClvHistory *history = MemoryContextAllocHuge(CurrentMemoryContext,
														 Max(count, 1) * sizeof(ClvHistory));

			for (int64 i = 0; i < count; i++)
				ReceiveHistory(buf, &history[i], horizon > 0);
			sample = MakeSample(horizon, history, count);
			problem = SampleProblem(sample);
		}
	}
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary value for type %s", "clv_sample"),
				 errdetail("No members lead to it: %s.", problem),
				 errhint("Send what clv_sample_send wrote.")));
	PG_RETURN_POINTER(sample);
}

PG_FUNCTION_INFO_V1(loyalty_clv_sample_out);
/*
 * clv_sample_out(clv_sample) returns cstring: one JSON object,
 * {"v":1,"horizon":0,"histories":[[n,x,t_x,t,m],...]}, times in microseconds;
 * with a horizon, each history ends in held_x and held_amount.
 */
Datum
loyalty_clv_sample_out(PG_FUNCTION_ARGS)
{
	ClvSample  *sample = PG_GETARG_CLV_SAMPLE_P(0);
	StringInfoData buf;
	char		number[DOUBLE_SHORTEST_DECIMAL_LEN];

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"v\":%d,\"horizon\":" INT64_FORMAT ",\"histories\":[",
					 sample->version, sample->horizon);
	for (int64 i = 0; i < sample->nhistories; i++)
	{
		const ClvHistory *h = &sample->history[i];

		if (i % 4096 == 0)
			CHECK_FOR_INTERRUPTS();
		double_to_shortest_decimal_buf(h->m, number);
		appendStringInfo(&buf, "%s[" INT64_FORMAT "," INT64_FORMAT "," INT64_FORMAT "," INT64_FORMAT ",%s",
						 i > 0 ? "," : "", h->n, h->x, h->t_x, h->t, number);
		if (sample->horizon > 0)
		{
			double_to_shortest_decimal_buf(h->held_amount, number);
			appendStringInfo(&buf, "," INT64_FORMAT ",%s", h->held_x, number);
		}
		appendStringInfoChar(&buf, ']');
	}
	appendStringInfoString(&buf, "]}");
	PG_RETURN_CSTRING(buf.data);
}

/* Reads one literal piece of the text, white space before it aside. */
static bool
ReadPiece(const char **at, const char *piece)
{
	while (**at == ' ' || **at == '\t' || **at == '\n' || **at == '\r')
		(*at)++;
	if (strncmp(*at, piece, strlen(piece)) != 0)
		return false;
	*at += strlen(piece);
	return true;
}

static bool
ReadWhole(const char **at, int64 *value)
{
	char	   *end;

	ReadPiece(at, "");
	if (!(**at >= '0' && **at <= '9'))
		return false;
	errno = 0;
	*value = strtoll(*at, &end, 10);
	*at = end;
	return errno == 0;
}

static bool
ReadDouble(const char **at, double *value)
{
	char	   *end;

	ReadPiece(at, "");
	if (!(**at >= '0' && **at <= '9'))
		return false;
	errno = 0;
	*value = strtod(*at, &end);
	*at = end;
	/* an amount too small for a double is 0 */
	return isfinite(*value);
}

PG_FUNCTION_INFO_V1(loyalty_clv_sample_in);
/*
 * clv_sample_in(cstring) returns clv_sample: reads what clv_sample_out writes;
 * refuses (22P02) anything else, and what no members can have led to.
 */
Datum
loyalty_clv_sample_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	const char *at = text;
	int64		version;
	int64		horizon;
	int64		count = 0;
	int64		capacity = FIRST_CAPACITY;
	ClvHistory *history = palloc(capacity * sizeof(ClvHistory));
	ClvSample  *sample;
	const char *problem;
	bool		good;

	good = ReadPiece(&at, "{") && ReadPiece(&at, "\"v\"") && ReadPiece(&at, ":") &&
		ReadWhole(&at, &version) && version == CLV_SAMPLE_VERSION && ReadPiece(&at, ",") &&
		ReadPiece(&at, "\"horizon\"") && ReadPiece(&at, ":") && ReadWhole(&at, &horizon) &&
		ReadPiece(&at, ",") && ReadPiece(&at, "\"histories\"") && ReadPiece(&at, ":") &&
		ReadPiece(&at, "[");
	while (good)
	{
		ClvHistory *h;

		CHECK_FOR_INTERRUPTS();
		if (count >= capacity)
		{
			capacity *= 2;
			history = repalloc_huge(history, capacity * sizeof(ClvHistory));
		}
		h = &history[count];
		memset(h, 0, sizeof(*h));
		good = ReadPiece(&at, "[") && ReadWhole(&at, &h->n) && ReadPiece(&at, ",") &&
			ReadWhole(&at, &h->x) && ReadPiece(&at, ",") && ReadWhole(&at, &h->t_x) &&
			ReadPiece(&at, ",") && ReadWhole(&at, &h->t) && ReadPiece(&at, ",") &&
			ReadDouble(&at, &h->m) &&
			(horizon == 0 || (ReadPiece(&at, ",") && ReadWhole(&at, &h->held_x) &&
							  ReadPiece(&at, ",") && ReadDouble(&at, &h->held_amount))) &&
			ReadPiece(&at, "]");
		count++;
		if (good && !ReadPiece(&at, ","))
			break;
	}
	good = good && ReadPiece(&at, "]") && ReadPiece(&at, "}") && (ReadPiece(&at, ""), *at == '\0');
	if (!good)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%.200s\"", "clv_sample", text),
				 errdetail("Not understood from position %d on.", (int) (at - text) + 1),
				 errhint("Build values with clv_agg(summary, as_of).")));
	sample = MakeSample(horizon, history, count);
	problem = SampleProblem(sample);
	if (problem != NULL)
		ereturn(LY_ESCONTEXT(fcinfo), (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid value for type %s: \"%.200s\"", "clv_sample", text),
				 errdetail("No members lead to it: %s.", problem),
				 errhint("Build values with clv_agg(summary, as_of).")));
	PG_RETURN_POINTER(sample);
}
