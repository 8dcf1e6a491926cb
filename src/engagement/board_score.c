/*
 * board_score.c
 *		Scores, as activities change them.
 *
 * A new activity adds what it is worth.  Whatever else happens to one makes the
 * scores of its periods anew: put_scores() in board.sql, which always can.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "engagement/board.h"

/* So often on average a writer folds what others wrote. */
#define FOLD_EVERY	128

static bool
IsOfKind(const Board *board, const char *kind)
{
	for (int i = 0; i < board->nkinds; i++)
	{
		if (strcmp(board->kinds[i], kind) == 0)
			return true;
	}
	return false;
}

static TimestampTz
BeginningOf(const Board *board, DateADT day)
{
	if (board->period == PERIOD_LIFETIME)
		return DT_NOBEGIN;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, CStringGetTextDatum(board->time_zone),
												   TimestampGetDatum((Timestamp) day * USECS_PER_DAY)));
}

static DateADT
PeriodOf(const Board *board, TimestampTz at)
{
	return FirstDayOf(board->period, DayOf(LocalInstant(at, FindZone(board->time_zone))));
}

static bool
HasBegun(const Board *board, DateADT period)
{
	return board->effective_from == DT_NOBEGIN || BeginningOf(board, period) >= board->effective_from;
}

/* Whether a version is the one by which its period of an instant is scored: no later one has begun by then. */
static bool
IsInForce(int version, TimestampTz at)
{
	const Board *board = BoardVersion(version);
	DateADT		period = PeriodOf(board, at);

	for (int i = version - 1; i >= 0 && strcmp(BoardVersion(i)->name, board->name) == 0; i--)
	{
		if (HasBegun(BoardVersion(i), period))
			return false;
	}
	return HasBegun(board, period);
}

static bool
Counts(const Board *board, const Activity *activity)
{
	ConditionSubject subject = {.activity = activity};

	if (activity->cancelled || activity->returned || (board->money != NULL && !SameString(board->money, activity->money)))
		return false;
	return board->when == NULL || EvaluateCondition(board->when, &subject) == TRUTH_YES;
}

static Datum
ValueOf(const Board *board, const Activity *activity)
{
	if (board->measure == MEASURE_COUNT)
		return DirectFunctionCall1(int8_numeric, Int64GetDatum(1));
	if (board->whole)
		return DirectFunctionCall1(int8_numeric, Int64GetDatum(activity->amount / MICROS_PER_UNIT));
	return MicrosToNumeric(activity->amount, activity->decimals);
}

static void
FoldNow(const Board *board, DateADT period)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.fold_board($1, $2)",
		.nargs = 2,
		.argtypes = {TEXTOID, DATEOID}
	};
	Datum		values[2] = {CStringGetTextDatum(board->name), DateADTGetDatum(period)};

	RunPlan(&plan, values, NULL, 0);
}

/* Adds what a new activity is worth to the score of its member. */
static void
AddToScore(const Board *board, const Activity *activity, int64 member_id)
{
	static KeptPlan plan = {
		.query = "WITH s AS (INSERT INTO loyalty.board_score AS s (member_id, board, period_start, score, activities, reached_at) VALUES ($1, $2, $3, $4, 1, $5) "
		"ON CONFLICT ON CONSTRAINT board_score_pkey DO UPDATE SET score = s.score OPERATOR(pg_catalog.+) excluded.score, "
		"activities = s.activities OPERATOR(pg_catalog.+) 1, reached_at = greatest(s.reached_at, excluded.reached_at) "
		"RETURNING s.score, s.activities) "
		"INSERT INTO loyalty.board_change AS c (board, period_start, was, score) "
		"SELECT $2, $3, CASE WHEN s.activities OPERATOR(pg_catalog.>) 1 THEN s.score OPERATOR(pg_catalog.-) $4 END, s.score FROM s "
		"RETURNING c.change_id",
		.nargs = 5,
		.argtypes = {INT8OID, TEXTOID, DATEOID, NUMERICOID, TIMESTAMPTZOID}
	};
	DateADT		period = PeriodOf(board, activity->at);
	Datum		values[5] = {
		Int64GetDatum(member_id), CStringGetTextDatum(board->name), DateADTGetDatum(period), ValueOf(board, activity),
		TimestampTzGetDatum(activity->at)
	};
	bool		isnull;

	RunPlan(&plan, values, NULL, 0);
	if (DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) % FOLD_EVERY == 0)
		FoldNow(board, period);
}

/* Makes the scores of a member anew, of the period in which an instant lies. */
static void
MakeAnew(const Board *board, TimestampTz at, int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.put_scores($1, ARRAY[$2], $3)",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, DATEOID}
	};
	Datum		values[3] = {Int64GetDatum(member_id), CStringGetTextDatum(board->name), DateADTGetDatum(PeriodOf(board, at))};

	RunPlan(&plan, values, NULL, 0);
}

/*
 * Keeps the scores of a member, who has the activity or had it, what the
 * activities say.  The member is canonical, and locked.
 */
void
PutScores(const ActivityChange *change, int64 member_id)
{
	const Activity *now = change->now;

	KnowBoards();
	for (int i = 0; i < NumberOfBoards(); i++)
	{
		const Board *board = BoardVersion(i);
		bool		is_new = change->before == NULL;

		if (!IsOfKind(board, now->kind))
			continue;
		if (IsInForce(i, now->at))
		{
			if (!is_new || board->of_club || board->measure == MEASURE_DAYS)
				MakeAnew(board, now->at, member_id);
			else if (Counts(board, now))
				AddToScore(board, now, member_id);
		}
		if (!is_new && change->before->at != now->at && IsInForce(i, change->before->at))
			MakeAnew(board, change->before->at, member_id);
	}
}
