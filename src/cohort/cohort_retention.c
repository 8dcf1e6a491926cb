/*
 * cohort_retention.c
 *		Retention by cohort, and what happens to the active members from one
 *		period to the next.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

/* ---- plain computing ---- */

/*
 * Counts one member of a cohort; its active periods follow, in order, one call
 * of CountPeriod each.
 */
void
CountMember(MemberCount *count, TallyState *state, int32 cohort)
{
	count->state = state;
	count->cohort = cohort;
	count->previous = 0;
	count->any = false;
	AddToTally(state, TALLY_SIZE, cohort, 0, 1);
}

/*
 * Counts one active period of the member.  One before the cohort's is counted
 * as activity, but in no cell.
 */
void
CountPeriod(MemberCount *count, int32 period)
{
	if (period >= count->cohort)
		AddToTally(count->state, TALLY_CELL, count->cohort, period - count->cohort, 1);
	AddToTally(count->state, TALLY_ACTIVE, period, 0, 1);
	if (!count->any)
		AddToTally(count->state, TALLY_FIRST, period, 0, 1);
	else if (period == count->previous + 1)
		AddToTally(count->state, TALLY_KEPT, period, 0, 1);
	count->any = true;
	count->previous = period;
}

static void
CountActivity(TallyState *state, int32 cohort, const ActivitySummary *a)
{
	MemberCount count;
	ActivitySummaryCursor cursor;
	int32		p;

	CountMember(&count, state, cohort);
	if (a == NULL)
		return;
	ActivitySummaryRewind(&cursor, a);
	while (ActivitySummaryNext(&cursor, &p))
	{
		CHECK_FOR_INTERRUPTS();
		CountPeriod(&count, p);
	}
}

/*
 * The exact quotient of two counts, as numeric division rounds it.
 */
static Datum
Ratio(int64 a, int64 b)
{
	return DirectFunctionCall2(numeric_div,
							   NumericGetDatum(int64_to_numeric(a)),
							   NumericGetDatum(int64_to_numeric(b)));
}

/*
 * The last active period of a matrix; false when there is none.
 */
static bool
LastActive(const Tally *t, int32 *period)
{
	int			i = TallyFind(t, TALLY_KEPT, PG_INT64_MIN, 0);

	if (i == 0 || t->entries[i - 1].kind != TALLY_ACTIVE)
		return false;
	*period = (int32) t->entries[i - 1].a;
	return true;
}

/* ---- the aggregates ---- */

/*
 * retention_agg(activity_summary) -> cohort_matrix
 *		Transition.  One row for each member; a member's cohort is the period
 *		of its first event.  NULL and empty summaries are skipped.  LY341
 *		when periods or time zones differ.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_agg_trans);
Datum
loyalty_retention_agg_trans(PG_FUNCTION_ARGS)
{
	TallyState *state = TallyStateOf(fcinfo, TALLY_COHORT_MATRIX);

	if (!PG_ARGISNULL(1))
	{
		ActivitySummary *a = PG_GETARG_ACTIVITY_SUMMARY(1);
		Period		period = ActivitySummaryPeriod(a);

		TallySetPeriod(state, &period);
		if (a->nblocks > 0)
			CountActivity(state, ActivitySummaryFirst(a), a);
	}
	RETURN_STATE(state);
}

/*
 * retention_signup_agg(signup_at timestamptz, activity_summary, period text, time_zone text)
 *		-> cohort_matrix
 *		Transition.  One row for each member; a member's cohort is the period
 *		of signup_at.  A member without activity (NULL or empty) counts in
 *		the size of its cohort; one without signup_at is skipped.  Activity
 *		before the period of signing up is in no cell of the matrix.  LY341
 *		when the summary was computed with another period or time zone;
 *		LY342 for an infinite signup_at.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_signup_trans);
Datum
loyalty_retention_signup_trans(PG_FUNCTION_ARGS)
{
	TallyState *state = TallyStateOf(fcinfo, TALLY_COHORT_MATRIX);
	PeriodClock *clock = GetPeriodClock(fcinfo, 3, 4);

	TallySetPeriod(state, &clock->period);
	if (!PG_ARGISNULL(1))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(1);
		ActivitySummary *a = PG_ARGISNULL(2) ? NULL : PG_GETARG_ACTIVITY_SUMMARY(2);

		CheckFiniteInstant(at, "the instant of signing up");
		if (a != NULL)
		{
			Period		period = ActivitySummaryPeriod(a);

			CheckSamePeriod(&clock->period, &period);
		}
		CountActivity(state, PeriodOfInstant(clock, at), a);
	}
	RETURN_STATE(state);
}

/* ---- reading a matrix ---- */

/*
 * The period that an argument until lies in, which was still running then: all
 * before it are finished.  False when the argument is NULL.
 */
static bool
ReadUntil(FunctionCallInfo fcinfo, int argno, const Period *period, int64 *running)
{
	DateADT		until;

	*running = PG_INT64_MAX;
	if (PG_ARGISNULL(argno))
		return false;
	until = PG_GETARG_DATEADT(argno);
	if (DATE_IS_NOBEGIN(until))
		*running = PG_INT64_MIN;
	else if (!DATE_IS_NOEND(until))
		*running = PeriodOfDate(period, until);
	return true;
}

typedef struct MatrixWalk
{
	Tally	   *t;
	Period		period;
	bool		fill;			/* also cells in which nobody was active */
	bool		has_until;
	int64		running;		/* the period of until */
	int64		until;			/* the last period to show */
	int			size_at;		/* entry of the current cohort's size */
	int			cell_at;		/* entry of its next cell */
	int64		offset;			/* the next offset to show */
} MatrixWalk;

/*
 * retention_matrix(cohorts cohort_matrix, until date DEFAULT NULL, fill boolean DEFAULT true)
 *		-> setof (cohort date, cohort_size bigint, offset_periods integer,
 *				  period_start date, active bigint, rate numeric, finished boolean)
 *		One row for each cohort and each period from the cohort's own up to
 *		the one that holds until (by default and for infinity the last one
 *		that has activity or a cohort).  cohort and period_start are the first
 *		days of their periods, rate is active / cohort_size; finished tells
 *		whether until lies behind the period (NULL without until).  With fill
 *		false, only the rows in which somebody was active.  Sorted by cohort
 *		and offset.
 */
PG_FUNCTION_INFO_V1(loyalty_retention_matrix);
Datum
loyalty_retention_matrix(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	MatrixWalk *walk;
	Tally	   *t;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc	tupdesc;

		funcctx = SRF_FIRSTCALL_INIT();
		if (PG_ARGISNULL(0))
			SRF_RETURN_DONE(funcctx);
		old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "retention_matrix returns rows");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);

		walk = palloc0(sizeof(MatrixWalk));
		walk->t = t = GetTally(PointerGetDatum(PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0))),
							   TALLY_COHORT_MATRIX);
		walk->period = TallyPeriod(t);
		walk->fill = PG_ARGISNULL(2) || PG_GETARG_BOOL(2);
		if (t->nentries > 0)
		{
			int			cells = TallyFind(t, TALLY_CELL, PG_INT64_MIN, 0);
			int32		last;

			/* up to the last activity, and at least to the last cohort */
			walk->until = LastActive(t, &last) ? last : PG_INT32_MIN;
			if (cells > 0)
				walk->until = Max(walk->until, t->entries[cells - 1].a);
			walk->has_until = ReadUntil(fcinfo, 1, &walk->period, &walk->running);
			if (walk->running != PG_INT64_MAX)
				walk->until = walk->running;
			walk->cell_at = cells;
		}
		funcctx->user_fctx = walk;
		MemoryContextSwitchTo(old);
	}
	funcctx = SRF_PERCALL_SETUP();
	walk = (MatrixWalk *) funcctx->user_fctx;
	t = walk->t;

	while (walk->size_at < t->nentries && t->entries[walk->size_at].kind == TALLY_SIZE)
	{
		const TallyEntry *size = &t->entries[walk->size_at];
		const TallyEntry *cell = NULL;
		Datum		values[7];
		bool		nulls[7] = {false, false, false, false, false, false, false};

		CHECK_FOR_INTERRUPTS();
		while (walk->cell_at < t->nentries && t->entries[walk->cell_at].kind == TALLY_CELL &&
			   (t->entries[walk->cell_at].a < size->a ||
				(t->entries[walk->cell_at].a == size->a &&
				 t->entries[walk->cell_at].b < walk->offset)))
			walk->cell_at++;
		if (walk->cell_at < t->nentries && t->entries[walk->cell_at].kind == TALLY_CELL &&
			t->entries[walk->cell_at].a == size->a)
			cell = &t->entries[walk->cell_at];

		if (!walk->fill)
			walk->offset = cell != NULL ? cell->b : (int64) PG_INT32_MAX * 4;
		if (size->a + walk->offset > walk->until)
		{
			walk->size_at++;
			walk->offset = 0;
			continue;
		}

		values[0] = PeriodStart(&walk->period, (int32) size->a, &nulls[0]);
		values[1] = Int64GetDatum(size->n);
		values[2] = Int32GetDatum((int32) walk->offset);
		values[3] = PeriodStart(&walk->period, (int32) (size->a + walk->offset), &nulls[3]);
		values[4] = Int64GetDatum(cell != NULL && cell->b == walk->offset ? cell->n : 0);
		values[5] = Ratio(DatumGetInt64(values[4]), size->n);
		nulls[6] = !walk->has_until;
		values[6] = BoolGetDatum(size->a + walk->offset < walk->running);
		walk->offset++;
		SRF_RETURN_NEXT(funcctx,
						HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(funcctx);
}

typedef struct GrowthWalk
{
	Tally	   *t;
	Period		period;
	int64		next;			/* the next period */
	int64		last;
	bool		has_until;
	int64		running;		/* the period of until */
} GrowthWalk;

/*
 * activity_growth(cohorts cohort_matrix, until date DEFAULT NULL)
 *		-> setof (period_start date, active bigint, new_members bigint,
 *				  returning_members bigint, kept bigint, won_back bigint,
 *				  churned bigint, kept_rate numeric, churn_rate numeric,
 *				  growth_rate numeric, finished boolean)
 *		One row for each period from the first active one to the one that holds
 *		until (by default and for infinity the last active one).  new:
 *		first event ever; returning: active, but not new; kept: active in
 *		the period before as well; won back: returning, but not kept;
 *		churned: active in the period before, not in this one.  The rates
 *		are kept / active before, churned / active before, and
 *		active / active before - 1; NULL when nobody was active before.
 *		finished: until lies behind the period; NULL without until.
 */
PG_FUNCTION_INFO_V1(loyalty_activity_growth);
Datum
loyalty_activity_growth(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	GrowthWalk *walk;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc	tupdesc;
		int32		last;

		funcctx = SRF_FIRSTCALL_INIT();
		if (PG_ARGISNULL(0))
			SRF_RETURN_DONE(funcctx);
		old = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "activity_growth returns rows");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);
		walk = palloc0(sizeof(GrowthWalk));
		walk->t = GetTally(PointerGetDatum(PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0))),
						   TALLY_COHORT_MATRIX);
		walk->period = TallyPeriod(walk->t);
		if (LastActive(walk->t, &last))
		{
			walk->next = walk->t->entries[TallyFind(walk->t, TALLY_ACTIVE, PG_INT64_MIN, 0)].a;
			walk->has_until = ReadUntil(fcinfo, 1, &walk->period, &walk->running);
			walk->last = walk->running != PG_INT64_MAX ? walk->running : last;
		}
		else
			walk->next = 1;
		funcctx->user_fctx = walk;
		MemoryContextSwitchTo(old);
	}
	funcctx = SRF_PERCALL_SETUP();
	walk = (GrowthWalk *) funcctx->user_fctx;

	if (walk->next <= walk->last)
	{
		int64		p = walk->next++;
		int64		active = TallyCount(walk->t, TALLY_ACTIVE, p, 0);
		int64		before = TallyCount(walk->t, TALLY_ACTIVE, p - 1, 0);
		int64		first = TallyCount(walk->t, TALLY_FIRST, p, 0);
		int64		kept = TallyCount(walk->t, TALLY_KEPT, p, 0);
		Datum		values[11];
		bool		nulls[11] = {false};

		values[0] = PeriodStart(&walk->period, (int32) p, &nulls[0]);
		values[1] = Int64GetDatum(active);
		values[2] = Int64GetDatum(first);
		values[3] = Int64GetDatum(active - first);
		values[4] = Int64GetDatum(kept);
		values[5] = Int64GetDatum(active - first - kept);
		values[6] = Int64GetDatum(before - kept);
		nulls[7] = nulls[8] = nulls[9] = before == 0;
		if (before > 0)
		{
			values[7] = Ratio(kept, before);
			values[8] = Ratio(before - kept, before);
			values[9] = Ratio(active - before, before);
		}
		nulls[10] = !walk->has_until;
		values[10] = BoolGetDatum(p < walk->running);
		SRF_RETURN_NEXT(funcctx,
						HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(funcctx);
}
