/*
 * board_cache.c
 *		Boards as a session knows them: read once, and dropped when definitions
 *		change, told by the trigger forget_cached().
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "engagement/board.h"
#include "engagement/engagement.h"

static MemoryContext cache = NULL;
static const Board **boards = NULL;
static int	nboards = 0;

static Board *
ReadBoard(const Jsonb *definition)
{
	static const char *const measures[] = {"count", "amount", "days", NULL};
	Problems	problems = {NULL, 0};
	Board	   *board = palloc0(sizeof(Board));
	Place		whole;
	Place		part;

	WholeDefinition(&whole, definition, "", &problems);
	if (GetPart(&whole, "kind", &part))
		board->kinds = ReadTexts(&part, &board->nkinds);
	if (GetPart(&whole, "when", &part))
		board->when = ParseCondition(&part);
	if (GetPart(&whole, "money", &part))
		board->money = ReadText(&part);
	if (GetPart(&whole, "measure", &part))
		board->measure = (Measure) ReadChoice(&part, measures);
	if (GetPart(&whole, "whole", &part))
		board->whole = ReadBoolean(&part);
	if (GetPart(&whole, "period", &part))
		board->period = (Period) ReadChoice(&part, period_names);
	board->time_zone = pstrdup(GetProgram()->time_zone);
	if (GetPart(&whole, "time_zone", &part))
		board->time_zone = ReadText(&part);
	board->of_club = GetPart(&whole, "club", &part);
	RefuseEngagement("board", &problems);
	return board;
}

static void
ReadBoards(void)
{
	static KeptPlan plan = {
		.query = "SELECT name, coalesce(effective_from, '-infinity'), definition FROM loyalty.engagement_version "
		"WHERE what OPERATOR(pg_catalog.=) 'board' ORDER BY name COLLATE \"C\", version DESC"
	};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "loyalty boards", ALLOCSET_SMALL_SIZES);
	const Board **found;
	int			n;
	MemoryContext old;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	n = (int) SPI_processed;
	old = MemoryContextSwitchTo(context);
	found = palloc(Max(n, 1) * sizeof(Board *));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;
		Board	   *board = ReadBoard(DatumGetJsonbPCopy(SPI_getbinval(row, tupdesc, 3, &isnull)));

		board->name = SPI_getvalue(row, tupdesc, 1);
		board->effective_from = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 2, &isnull));
		found[i] = board;
	}
	MemoryContextSwitchTo(old);
	/* what was known before stays until the transaction ends, for whoever uses it */
	if (cache != NULL)
		MemoryContextSetParent(cache, TopTransactionContext);
	MemoryContextSetParent(context, TopMemoryContext);
	cache = context;
	boards = found;
	nboards = n;
}

/*
 * Knows all versions of all boards: by their names, the latest version first.
 */
void
KnowBoards(void)
{
	static Settings settings = {.tables = {"engagement_version", "program"}, .read = ReadBoards};

	if (!KnowSettings(&settings))
		nboards = 0;
}

int
NumberOfBoards(void)
{
	return nboards;
}

const Board *
BoardVersion(int i)
{
	return boards[i];
}
