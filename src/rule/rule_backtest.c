/*
 * rule_backtest.c
 *		backtest_campaigns() and backtest_summary(): what campaigns would have
 *		given for all that is recorded.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/currency.h"
#include "rule/rule_simulate.h"

/* Replays the history of the arguments; needs an SPI connection. */
static Simulation *
RunBacktest(FunctionCallInfo fcinfo)
{
	TimestampTz from_at = PG_ARGISNULL(1) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz until = PG_ARGISNULL(2) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(2);
	const RuleBook *books[2];
	Currency	currency;
	Simulation *simulation;

	RequireArgument(fcinfo, 0, "definitions");
	RequireArgument(fcinfo, 4, "currency");
	if (from_at >= until)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("until must be after from_at"),
				 errdetail("from_at is %s, until is %s.", TimestampText(from_at), TimestampText(until)),
				 errhint("Leave both out for all there ever was.")));
	FindCurrency(TextArgument(fcinfo, 4), &currency);
	books[0] = OpenRuleBook();
	books[1] = MakeDraft(books[0], PG_GETARG_JSONB_P(0));
	simulation = BeginSimulation(books, from_at, until, TextArgument(fcinfo, 4));
	SimulateHistory(simulation, PG_ARGISNULL(3) ? 0 : PG_GETARG_DATUM(3));
	return simulation;
}

/*
 * backtest_campaigns(definitions, from_at, until, kinds, currency)
 */
PG_FUNCTION_INFO_V1(loyalty_backtest_campaigns);
Datum
loyalty_backtest_campaigns(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Simulation *simulation;
	SimTotals	member;
	uint32		place = 0;

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	simulation = RunBacktest(fcinfo);
	while (NextSimTotals(simulation, &place, &member))
	{
		Datum		values[4] = {
			Int64GetDatum(member.member_id), Int64GetDatum(member.activities), Int64GetDatum(member.points[0]), Int64GetDatum(member.points[1])
		};
		bool		nulls[4] = {false};

		if (member.activities > 0 || member.points[0] != 0 || member.points[1] != 0)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

static void
PutMeasure(ReturnSetInfo *rsinfo, const char *measure, const int64 *numbers, const TimestampTz *instants)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(measure);
	for (int s = 0; s < 2; s++)
	{
		nulls[1 + s] = numbers[s] < 0;
		values[1 + s] = NumericGetDatum(int64_to_numeric(numbers[s]));
		nulls[3 + s] = instants == NULL || instants[s] == 0;
		if (!nulls[3 + s])
			values[3 + s] = TimestampTzGetDatum(instants[s]);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
PutBudgets(ReturnSetInfo *rsinfo, const Simulation *simulation)
{
	SimBudget	budget;
	int			place = 0;

	while (NextSimBudget(simulation, &place, &budget))
		PutMeasure(rsinfo, psprintf("budget %s", budget.name), budget.left, budget.ended_at);
}

/*
 * backtest_summary(definitions, from_at, until, kinds, currency)
 */
PG_FUNCTION_INFO_V1(loyalty_backtest_summary);
Datum
loyalty_backtest_summary(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Simulation *simulation;
	SimTotals	member;
	uint32		place = 0;
	int64		points[2] = {0, 0};
	int64		members[2] = {0, 0};
	int64		winners[2] = {-1, 0};
	int64		losers[2] = {-1, 0};
	int64		same[2] = {-1, 0};
	int64		awards[2];
	int64		trimmed[2];

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	simulation = RunBacktest(fcinfo);
	while (NextSimTotals(simulation, &place, &member))
	{
		for (int s = 0; s < 2; s++)
		{
			points[s] += member.points[s];
			members[s] += member.points[s] > 0;
		}
		if (member.activities == 0)
			continue;
		winners[1] += member.points[1] > member.points[0];
		losers[1] += member.points[1] < member.points[0];
		same[1] += member.points[1] == member.points[0];
	}
	for (int s = 0; s < 2; s++)
	{
		awards[s] = SimulatedAwards(simulation, s);
		trimmed[s] = SimulatedTrims(simulation, s);
	}
	PutMeasure(rsinfo, "points", points, NULL);
	PutMeasure(rsinfo, "awards", awards, NULL);
	PutMeasure(rsinfo, "trimmed", trimmed, NULL);
	PutMeasure(rsinfo, "members", members, NULL);
	PutMeasure(rsinfo, "winners", winners, NULL);
	PutMeasure(rsinfo, "losers", losers, NULL);
	PutMeasure(rsinfo, "same", same, NULL);
	PutBudgets(rsinfo, simulation);
	SPI_finish();
	return (Datum) 0;
}
