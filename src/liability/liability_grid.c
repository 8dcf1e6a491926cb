/*
 * liability_grid.c
 *		redemption_triangle_agg, entry_triangle_agg and outstanding_agg: points by
 *		two periods.
 *
 * The state of each is a grid: four sums for periods and an age.  Sums are
 * whole numbers and add up in any order, and a grid is sorted before it is given
 * out: so the same rows give the same bits whatever the plan.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "core/errors.h"
#include "ledger/ledger.h"
#include "ledger/replay.h"
#include "liability/liability.h"

#define GRID_VERSION	1
#define GRID_SUMS		4

/* of a triangle */
#define ISSUED			0
#define REDEEMED		1
#define EXPIRED			2

/* of what is outstanding */
#define AVAILABLE		0
#define PENDING			1
#define HELD			2
#define OWED			3

#define NEVER			PG_INT32_MAX	/* the last period of what never expires */
#define NO_PERIOD		PG_INT32_MIN	/* of what is owed */

typedef struct GridCell
{
	int32		a;				/* the period in which points were issued */
	int32		b;				/* the last in which they live */
	int32		age;			/* at which they were redeemed, in periods */
	int64		sums[GRID_SUMS];
} GridCell;

typedef struct GridSlot
{
	GridCell	cell;
	char		status;
} GridSlot;


static inline uint32
HashGridKey(GridCell key)
{
	uint64		h = (((uint64) (uint32) key.a << 32) | (uint32) key.b) + (uint64) (uint32) key.age * UINT64CONST(0x100000001b3);

	h *= UINT64CONST(0x9e3779b97f4a7c15);
	return (uint32) (h >> 32) ^ (uint32) (h >> 17);
}

#define SH_PREFIX grid
#define SH_ELEMENT_TYPE GridSlot
#define SH_KEY_TYPE GridCell
#define SH_KEY cell
#define SH_HASH_KEY(tb, key) HashGridKey(key)
#define SH_EQUAL(tb, x, y) ((x).a == (y).a && (x).b == (y).b && (x).age == (y).age)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct GridState
{
	State		head;
	bool		has_period;
	Period		period;
	grid_hash  *hash;
} GridState;

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind grid_state = {
	.methods = STATE_METHODS,
	.number = STATE_GRID,
	.aggregate = "redemption_triangle_agg, entry_triangle_agg or outstanding_agg",
	.write = WriteState,
	.read = ReadState
};

/* ---- plain computing ---- */

static GridState *
MakeGrid(MemoryContext context)
{
	GridState  *grid = MakeState(&grid_state, sizeof(GridState), context);

	grid->hash = grid_create(context, 64, NULL);
	return grid;
}

static void
SetPeriod(GridState *grid, const Period *period)
{
	if (grid->has_period)
		CheckSamePeriod(&grid->period, period);
	grid->period = *period;
	grid->has_period = true;
}

static void
AddToGrid(GridState *grid, int32 a, int32 b, int32 age, int which, int64 points)
{
	GridCell	key = {a, b, age, {0}};
	bool		found;
	GridSlot   *slot = grid_insert(grid->hash, key, &found);

	if (!found)
		slot->cell = key;
	slot->cell.sums[which] = AddCounts(slot->cell.sums[which], points);
}

static int
CompareCells(const GridCell *x, const GridCell *y)
{
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	if (x->b != y->b)
		return x->b < y->b ? -1 : 1;
	return x->age < y->age ? -1 : x->age > y->age;
}

#define ST_SORT SortCells
#define ST_ELEMENT_TYPE GridCell
#define ST_COMPARE(x, y) CompareCells(x, y)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* The cells in order, in the current memory context. */
static GridCell *
CellsOf(GridState *grid, int *ncells)
{
	GridCell   *cells = palloc(Max(1, grid->hash->members) * sizeof(GridCell));
	grid_iterator it;
	GridSlot   *slot;
	int			n = 0;

	grid_start_iterate(grid->hash, &it);
	while ((slot = grid_iterate(grid->hash, &it)) != NULL)
		cells[n++] = slot->cell;
	SortCells(cells, n);
	*ncells = n;
	return cells;
}

/* ---- states ---- */

static GridState *
GridOfCall(FunctionCallInfo fcinfo)
{
	GridState  *grid = GetState(fcinfo, 0, &grid_state);

	return grid != NULL ? grid : MakeGrid(StateContext(fcinfo));
}

static void
WriteState(StringInfo buf, void *state)
{
	GridState  *grid = state;
	int			n;
	GridCell   *cells = CellsOf(grid, &n);

	pq_sendbyte(buf, GRID_VERSION);
	pq_sendbyte(buf, grid->has_period);
	pq_sendbyte(buf, grid->period.base);
	pq_sendint16(buf, grid->period.step);
	pq_sendint32(buf, grid->period.zone);
	pq_sendint32(buf, n);
	for (int i = 0; i < n; i++)
	{
		pq_sendint32(buf, cells[i].a);
		pq_sendint32(buf, cells[i].b);
		pq_sendint32(buf, cells[i].age);
		for (int s = 0; s < GRID_SUMS; s++)
			pq_sendint64(buf, cells[i].sums[s]);
	}
	pfree(cells);
}

static void *
ReadState(StringInfo buf)
{
	GridState  *grid = MakeGrid(CurrentMemoryContext);
	int			n;

	if (pq_getmsgbyte(buf) != GRID_VERSION)
		RefuseState(&grid_state, "its version is unknown");
	grid->has_period = pq_getmsgbyte(buf) != 0;
	grid->period.base = pq_getmsgbyte(buf);
	grid->period.step = pq_getmsgint(buf, 2);
	grid->period.zone = pq_getmsgint(buf, 4);
	if (grid->has_period && !PeriodValid(grid->period.base, grid->period.step))
		RefuseState(&grid_state, "its period is unknown");
	n = pq_getmsgint(buf, 4);
	for (int i = 0; i < n; i++)
	{
		int32		a = pq_getmsgint(buf, 4);
		int32		b = pq_getmsgint(buf, 4);
		int32		age = pq_getmsgint(buf, 4);

		CHECK_FOR_INTERRUPTS();
		for (int s = 0; s < GRID_SUMS; s++)
			AddToGrid(grid, a, b, age, s, pq_getmsgint64(buf));
	}
	return grid;
}

/*
 * grid_combine(aggregate_state, aggregate_state) returns aggregate_state
 *		Combine function of all three aggregates.
 */
PG_FUNCTION_INFO_V1(loyalty_grid_combine);
Datum
loyalty_grid_combine(PG_FUNCTION_ARGS)
{
	GridState  *from = GetState(fcinfo, 1, &grid_state);
	GridState  *grid;
	grid_iterator it;
	GridSlot   *slot;

	if (from == NULL)
	{
		grid = GetState(fcinfo, 0, &grid_state);
		RETURN_STATE(grid);
	}
	grid = GridOfCall(fcinfo);
	if (from->has_period)
		SetPeriod(grid, &from->period);
	grid_start_iterate(from->hash, &it);
	while ((slot = grid_iterate(from->hash, &it)) != NULL)
	{
		for (int s = 0; s < GRID_SUMS; s++)
			AddToGrid(grid, slot->cell.a, slot->cell.b, slot->cell.age, s, slot->cell.sums[s]);
	}
	RETURN_STATE(grid);
}

/* ---- the triangle ---- */

/* The last period in which what was issued in a cohort lives. */
static int32
LastPeriod(PeriodClock *clock, int32 cohort, TimestampTz expires_at)
{
	return TIMESTAMP_NOT_FINITE(expires_at) ? NEVER : Max(PeriodOfInstant(clock, expires_at - 1), cohort);
}

static void
AddIssue(GridState *grid, PeriodClock *clock, TimestampTz issued_at, TimestampTz expires_at, int64 points)
{
	int32		cohort = PeriodOfInstant(clock, issued_at);

	AddToGrid(grid, cohort, LastPeriod(clock, cohort, expires_at), 0, ISSUED, points);
}

static void
AddRedemption(GridState *grid, PeriodClock *clock, TimestampTz issued_at, TimestampTz expires_at, TimestampTz at, int64 points)
{
	int32		cohort = PeriodOfInstant(clock, issued_at);

	AddToGrid(grid, cohort, LastPeriod(clock, cohort, expires_at), Max(PeriodOfInstant(clock, at) - cohort, 0), REDEEMED, points);
}

/* The period of a triangle, which is of months. */
static PeriodClock *
ClockOfTriangle(FunctionCallInfo fcinfo, GridState *grid, int period, int time_zone)
{
	PeriodClock *clock = GetPeriodClock(fcinfo, period, time_zone);

	if (clock->period.base != PERIOD_MONTHS)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("the period of a triangle must be of months"),
				 errdetail("Ages are counted in calendar months, or several of them."),
				 errhint("Give month, quarter or year.")));
	SetPeriod(grid, &clock->period);
	return clock;
}

/*
 * redemption_triangle_trans(state, issued_at timestamptz, issued bigint,
 * redeemed_at timestamptz, redeemed bigint, expires_at timestamptz, period text,
 * time_zone text)
 *		Transition of redemption_triangle_agg.  A row says what was issued, or
 *		what was redeemed of what was issued at issued_at; LY003 where it says
 *		both, or the period is none of months.  expires_at, of either, is when
 *		the lot expires; NULL or infinity is never.  Rows without issued_at are
 *		left out.
 */
PG_FUNCTION_INFO_V1(loyalty_redemption_triangle_trans);
Datum
loyalty_redemption_triangle_trans(PG_FUNCTION_ARGS)
{
	GridState  *grid = GridOfCall(fcinfo);
	PeriodClock *clock;
	TimestampTz expires_at;

	if (PG_ARGISNULL(1) || (PG_ARGISNULL(2) && (PG_ARGISNULL(3) || PG_ARGISNULL(4))))
		RETURN_STATE(grid);
	if (!PG_ARGISNULL(2) && (!PG_ARGISNULL(3) || !PG_ARGISNULL(4)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("a row of a triangle says what was issued, or what was redeemed"),
				 errdetail("A lot in a row with each of its redemptions would count as often as it was used."),
				 errhint("Give issues and redemptions as rows of their own, by UNION ALL.")));
	clock = ClockOfTriangle(fcinfo, grid, 6, 7);
	CheckFiniteInstant(PG_GETARG_TIMESTAMPTZ(1), "issued_at");
	expires_at = PG_ARGISNULL(5) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(5);
	if (!PG_ARGISNULL(2))
		AddIssue(grid, clock, PG_GETARG_TIMESTAMPTZ(1), expires_at, PG_GETARG_INT64(2));
	else
	{
		CheckFiniteInstant(PG_GETARG_TIMESTAMPTZ(3), "redeemed_at");
		AddRedemption(grid, clock, PG_GETARG_TIMESTAMPTZ(1), expires_at, PG_GETARG_TIMESTAMPTZ(3), PG_GETARG_INT64(4));
	}
	RETURN_STATE(grid);
}

/* The kind of an entry in an argument; 0 for NULL and for what is none. */
static int
KindArgument(FunctionCallInfo fcinfo, int n)
{
	text	   *name;

	if (PG_ARGISNULL(n))
		return 0;
	name = PG_GETARG_TEXT_PP(n);
	return EntryKindFromName(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

/*
 * entry_triangle_trans(state, kind text, points bigint, effective_at
 * timestamptz, expires_at timestamptz, lots points_lots, of_kind text, origin_at
 * timestamptz, period text, time_zone text)
 *		Transition of entry_triangle_agg: what an entry of the ledger is to the
 *		triangle.  Of a reversal of_kind is the kind of the entry that it
 *		undoes, and origin_at when that was; of the reversal of a reversal when
 *		that was of which that is.  Entries without points or an instant are left
 *		out, as are those of other kinds.
 */
PG_FUNCTION_INFO_V1(loyalty_entry_triangle_trans);
Datum
loyalty_entry_triangle_trans(PG_FUNCTION_ARGS)
{
	GridState  *grid = GridOfCall(fcinfo);
	int			kind = KindArgument(fcinfo, 1);
	PeriodClock *clock;
	LotList		lots = {0};
	TimestampTz at;
	TimestampTz expires_at;
	int64		points;
	int64		size;
	bool		issue;			/* the lots are of what is issued, or of what is redeemed */

	if (PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_GETARG_INT64(2) == 0)
		RETURN_STATE(grid);
	points = PG_GETARG_INT64(2);
	/* an overflow is refused */
	size = points > 0 ? points : AddCounts(-(points + 1), 1);
	at = PG_GETARG_TIMESTAMPTZ(3);
	CheckFiniteInstant(at, "effective_at");
	clock = ClockOfTriangle(fcinfo, grid, 8, 9);
	expires_at = PG_ARGISNULL(4) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(4);
	if (!PG_ARGISNULL(5))
		UnpackLotsDatum(PG_GETARG_DATUM(5), &lots);

	switch (kind)
	{
		case ENTRY_EARN:
		case ENTRY_ADJUST:
			if (points > 0)
			{
				AddIssue(grid, clock, at, expires_at, points);
				/* earned into debt: redeemed at that instant */
				if (!PG_ARGISNULL(5))
					AddRedemption(grid, clock, at, expires_at, at, AddCounts(points, -SumLots(&lots)));
				RETURN_STATE(grid);
			}
			/* taken away by a correction: never issued */
			issue = true;
			break;
		case ENTRY_REDEEM:
		case ENTRY_CAPTURE:
			issue = false;
			break;
		case ENTRY_REVERSE:
			{
				int			of_kind = KindArgument(fcinfo, 6);

				issue = of_kind == ENTRY_EARN || of_kind == ENTRY_ADJUST || (of_kind == ENTRY_REVERSE && points > 0);
				if (!issue && of_kind != ENTRY_REDEEM && of_kind != ENTRY_CAPTURE && of_kind != ENTRY_REVERSE)
					RETURN_STATE(grid);
				/* what had been redeemed already is owed instead */
				size = AddCounts(size, -SumLots(&lots));
				if (issue && size > 0 && !PG_ARGISNULL(7))
				{
					CheckFiniteInstant(PG_GETARG_TIMESTAMPTZ(7), "origin_at");
					AddIssue(grid, clock, PG_GETARG_TIMESTAMPTZ(7), TIMESTAMP_INFINITY, points > 0 ? size : -size);
					AddRedemption(grid, clock, PG_GETARG_TIMESTAMPTZ(7), TIMESTAMP_INFINITY, at, points > 0 ? size : -size);
				}
				break;
			}
		default:
			RETURN_STATE(grid);
	}
	ForEachLot(lot, &lots)
	{
		CHECK_FOR_INTERRUPTS();
		if (issue)
			AddIssue(grid, clock, lot->earned_at, lot->expires_at, points > 0 ? lot->points : -lot->points);
		else
			AddRedemption(grid, clock, lot->earned_at, lot->expires_at, at, kind == ENTRY_REVERSE && points > 0 ? -lot->points : lot->points);
	}
	RETURN_STATE(grid);
}

/*
 * The cells of a triangle: what expires together goes together, and what is left
 * of it then has expired at that age.  What is given back later has expired when
 * it was.
 */
static GridState *
TriangleOf(GridState *grid)
{
	GridState  *triangle = MakeGrid(CurrentMemoryContext);
	int			n;
	GridCell   *cells = CellsOf(grid, &n);
	int64		left = 0;

	triangle->period = grid->period;
	triangle->has_period = grid->has_period;
	for (int i = 0; i < n; i++)
	{
		const GridCell *cell = &cells[i];
		bool		expires = cell->b != NEVER;
		int			life = expires ? cell->b - cell->a : 0;

		AddToGrid(triangle, cell->a, 0, cell->age, ISSUED, cell->sums[ISSUED]);
		AddToGrid(triangle, cell->a, 0, cell->age, REDEEMED, cell->sums[REDEEMED]);
		if (!expires)
			continue;
		if (cell->age > life)
			AddToGrid(triangle, cell->a, 0, cell->age, EXPIRED, -cell->sums[REDEEMED]);
		else
			left = AddCounts(left, AddCounts(cell->sums[ISSUED], -cell->sums[REDEEMED]));
		if (i + 1 < n && cells[i + 1].a == cell->a && cells[i + 1].b == cell->b)
			continue;
		if (left > 0)
			AddToGrid(triangle, cell->a, 0, life, EXPIRED, left);
		left = 0;
	}
	return triangle;
}

/* An array of rows, of the type that the function returns. */
static Datum
ArrayOfRows(FunctionCallInfo fcinfo, const GridState *grid, const GridCell *cells, int n,
			void (*fill) (const GridState *grid, const GridCell *cell, Datum *values, bool *nulls))
{
	Oid			row_type = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
	TupleDesc	tupdesc = lookup_rowtype_tupdesc(row_type, -1);
	Datum	   *rows = palloc(Max(1, n) * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		Datum		values[8];
		bool		nulls[8] = {false};

		fill(grid, &cells[i], values, nulls);
		rows[i] = HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
	}
	ReleaseTupleDesc(tupdesc);
	return PointerGetDatum(construct_array(rows, n, row_type, -1, false, TYPALIGN_DOUBLE));
}

static void
FillTriangleCell(const GridState *grid, const GridCell *cell, Datum *values, bool *nulls)
{
	values[0] = PeriodStart(&grid->period, cell->a, &nulls[0]);
	values[1] = Int32GetDatum(grid->period.step);
	values[2] = Int32GetDatum(cell->age);
	values[3] = Int64GetDatum(cell->sums[ISSUED]);
	values[4] = Int64GetDatum(cell->sums[REDEEMED]);
	values[5] = Int64GetDatum(cell->sums[EXPIRED]);
}

static void
FillOutstandingCell(const GridState *grid, const GridCell *cell, Datum *values, bool *nulls)
{
	nulls[0] = cell->a == NO_PERIOD;
	if (!nulls[0])
		values[0] = PeriodStart(&grid->period, cell->a, &nulls[0]);
	nulls[1] = cell->a == NO_PERIOD || cell->b == NEVER;
	if (!nulls[1])
		values[1] = PeriodStart(&grid->period, cell->b, &nulls[1]);
	for (int s = 0; s < GRID_SUMS; s++)
		values[2 + s] = Int64GetDatum(cell->sums[s]);
}

/*
 * redemption_triangle_final(aggregate_state) returns triangle_cell[]
 *		NULL where there was no row.
 */
PG_FUNCTION_INFO_V1(loyalty_redemption_triangle_final);
Datum
loyalty_redemption_triangle_final(PG_FUNCTION_ARGS)
{
	GridState  *grid = GetState(fcinfo, 0, &grid_state);
	GridCell   *cells;
	int			n;

	if (grid == NULL)
		PG_RETURN_NULL();
	grid = TriangleOf(grid);
	cells = CellsOf(grid, &n);
	return ArrayOfRows(fcinfo, grid, cells, n, FillTriangleCell);
}

/* ---- what is outstanding ---- */

/*
 * outstanding_trans(state, balance points_balance, as_of timestamptz, period
 * text, time_zone text)
 *		Transition of outstanding_agg: adds the lots of a balance that have not
 *		expired as of an instant; as_of NULL is now, or the balance's last entry
 *		if that is later: a posting of meanwhile is no error.  LY110 for an
 *		instant that is given and lies before the last entry.
 */
PG_FUNCTION_INFO_V1(loyalty_outstanding_trans);
Datum
loyalty_outstanding_trans(PG_FUNCTION_ARGS)
{
	GridState  *grid = GridOfCall(fcinfo);
	PeriodClock *clock = GetPeriodClock(fcinfo, 3, 4);
	Balance		room;
	Balance		advanced;
	const Balance *balance;
	TimestampTz as_of;

	SetPeriod(grid, &clock->period);
	if (PG_ARGISNULL(1))
		RETURN_STATE(grid);
	balance = PG_READARG_BALANCE(1, &room);
	if (PG_ARGISNULL(2))
		as_of = Max(GetCurrentStatementStartTimestamp(), balance->last_effective_at);
	else
	{
		as_of = PG_GETARG_TIMESTAMPTZ(2);
		CheckAsOf(balance, as_of);
	}
	balance = BalanceAdvanced(balance, as_of, &advanced);
	if (balance->total[TOTAL_DEBT] != 0)
		AddToGrid(grid, NO_PERIOD, 0, 0, OWED, balance->total[TOTAL_DEBT]);
	ForEachLot(lot, &balance->lots)
	{
		CHECK_FOR_INTERRUPTS();
		if (LotIsExpired(lot, as_of))
			continue;
		AddToGrid(grid, PeriodOfInstant(clock, lot->earned_at),
				  lot->expires_at == TIMESTAMP_INFINITY ? NEVER : PeriodOfInstant(clock, lot->expires_at - 1), 0,
				  LotIsHeld(lot, as_of) ? HELD : LotIsAvailable(lot, as_of) ? AVAILABLE : PENDING, lot->points);
	}
	RETURN_STATE(grid);
}

/*
 * outstanding_final(aggregate_state) returns outstanding_cell[]
 *		NULL where there was no balance.
 */
PG_FUNCTION_INFO_V1(loyalty_outstanding_final);
Datum
loyalty_outstanding_final(PG_FUNCTION_ARGS)
{
	GridState  *grid = GetState(fcinfo, 0, &grid_state);
	GridCell   *cells;
	int			n;

	if (grid == NULL)
		PG_RETURN_NULL();
	cells = CellsOf(grid, &n);
	return ArrayOfRows(fcinfo, grid, cells, n, FillOutstandingCell);
}

/*
 * past_balance(stored points_balance, member_id bigint, currency text, as_of
 * timestamptz, known_at timestamptz) returns points_balance
 *		The balance of a wallet, given as it is now, of the entries that were
 *		effective by as_of and recorded by known_at, NULL of either: all.  Of the
 *		wallet of that number alone: whoever was merged has had his own before.
 */
PG_FUNCTION_INFO_V1(loyalty_past_balance);
Datum
loyalty_past_balance(PG_FUNCTION_ARGS)
{
	TimestampTz as_of = PG_ARGISNULL(3) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(3);
	TimestampTz known_at = PG_ARGISNULL(4) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(4);
	Balance		room;
	Balance		past;
	const Balance *stored;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	if (as_of == TIMESTAMP_INFINITY && known_at == TIMESTAMP_INFINITY)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	stored = PG_READARG_BALANCE(0, &room);
	if (stored->last_effective_at <= as_of && stored->last_recorded_at <= known_at)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	RequireTables();
	FoldPast(PG_GETARG_INT64(1), text_to_cstring(PG_GETARG_TEXT_PP(2)), as_of, known_at, &past);
	PG_RETURN_POINTER(PackBalanceValue(&past));
}
