/*
 * rule_explain.c
 *		Why an activity earned what it earned, and whether all of it is what it
 *		should be: settlements that write nothing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/activity_row.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "rule/rule.h"

/*
 * Reads an activity, under whichever number of the member it stands.
 */
void
FindStoredActivity(int64 member_id, int64 activity_id, ActivityRow *row)
{
	static KeptPlan plan = {.nargs = 2,.argtypes = {INT8ARRAYOID, INT8OID}};
	MemoryContext target = CurrentMemoryContext;
	Datum		values[2] = {NumbersOf(member_id, NULL), Int64GetDatum(activity_id)};

	if (plan.query == NULL)
		MakeActivityQuery(&plan, "a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.activity_id OPERATOR(pg_catalog.=) $2 "
						  "ORDER BY a.moved_to IS NOT NULL, a.member_id");
	RunPlan(&plan, values, NULL, 1);
	MemoryContextSwitchTo(target);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ACTIVITY_NOT_FOUND),
				 errmsg("member " INT64_FORMAT " has no activity " INT64_FORMAT, member_id, activity_id),
				 errdetail("No row of loyalty.activity has these numbers."),
				 errhint("See loyalty.activities().")));
	ReadActivityRow(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, row);
}

/* Decides once more what a stored activity is to have. */
static void
DecideAgain(Settlement *settlement, const RuleBook *book, const Activity *activity)
{
	BeginSettlement(settlement, book, activity->member_id, activity);
	settlement->before = activity;
	settlement->dry = true;
	DecideSettlement(settlement);
}

/* ---------------------------------------------------------------------------
 * Explaining
 * ---------------------------------------------------------------------------
 */

#define EXPLAIN_COLUMNS	11

/* Awards of what the activity made happen, with their cause. */
static void
ExplainChained(ReturnSetInfo *rsinfo, const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT campaign, pg_catalog.max(version), effect, pg_catalog.sum(points)::pg_catalog.int8, pg_catalog.max(wanted), "
		"pg_catalog.max(limited_by), cause, item FROM loyalty.award WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND activity_id OPERATOR(pg_catalog.=) $2 AND cause IS NOT NULL GROUP BY campaign, effect, cause, item ORDER BY campaign, effect",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		arguments[2] = {Int64GetDatum(activity->member_id), Int64GetDatum(activity->activity_id)};
	SPITupleTable *table;
	uint64		n;

	RunPlan(&plan, arguments, NULL, 0);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		HeapTuple	tuple = table->vals[i];
		Datum		values[EXPLAIN_COLUMNS] = {0};
		bool		nulls[EXPLAIN_COLUMNS] = {false};

		values[0] = SPI_getbinval(tuple, table->tupdesc, 1, &nulls[0]);
		values[1] = SPI_getbinval(tuple, table->tupdesc, 2, &nulls[1]);
		values[2] = BoolGetDatum(true);
		nulls[3] = true;
		values[4] = SPI_getbinval(tuple, table->tupdesc, 3, &nulls[4]);
		values[5] = SPI_getbinval(tuple, table->tupdesc, 8, &nulls[5]);
		values[6] = SPI_getbinval(tuple, table->tupdesc, 4, &nulls[6]);
		values[7] = SPI_getbinval(tuple, table->tupdesc, 5, &nulls[7]);
		values[8] = SPI_getbinval(tuple, table->tupdesc, 6, &nulls[8]);
		nulls[9] = true;
		values[10] = DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("{\"cause\": \"%s\"}", SPI_getvalue(tuple, table->tupdesc, 7))));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * explain_award(member_id bigint, activity_id bigint)
 */
PG_FUNCTION_INFO_V1(loyalty_explain_award);
Datum
loyalty_explain_award(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ActivityRow row;
	Settlement	settlement;

	RequireArgument(fcinfo, 0, "member_id");
	RequireArgument(fcinfo, 1, "activity_id");
	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	FindStoredActivity(PG_GETARG_INT64(0), PG_GETARG_INT64(1), &row);
	DecideAgain(&settlement, OpenRuleBook(), &row.activity);
	for (int c = 0; c < settlement.ncandidates; c++)
	{
		const Candidate *candidate = settlement.candidates[c];

		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			const Ruling *ruling = &candidate->rulings[e];
			const HeldAward *held = settlement.holds[c][e];
			Datum		values[EXPLAIN_COLUMNS] = {0};
			bool		nulls[EXPLAIN_COLUMNS] = {false};

			/* one row says that it does not look at it */
			if (!candidate->matched && e > 0 && held == NULL)
				continue;
			PutText(values, nulls, 0, candidate->campaign->code);
			values[1] = Int32GetDatum(candidate->campaign->version);
			values[2] = BoolGetDatum(candidate->matched);
			PutText(values, nulls, 3, candidate->failed_at);
			values[4] = Int32GetDatum(e + 1);
			PutText(values, nulls, 5, candidate->campaign->effects[e].item);
			values[6] = Int64GetDatum(held == NULL ? 0 : held->points);
			values[7] = Int64GetDatum(ruling->wanted);
			PutText(values, nulls, 8, ruling->limited_by);
			PutText(values, nulls, 9, candidate->lost_to);
			values[10] = settlement.inputs[c];
			nulls[10] = settlement.inputs[c] == 0;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	ExplainChained(rsinfo, &row.activity);
	SPI_finish();
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * Checking
 * ---------------------------------------------------------------------------
 */

static void
NoteQuestion(const FactQuestion *question, void *arg)
{
	(void) question;
	*(bool *) arg = true;
}

/*
 * Whether a settlement that is decided once more must come out as it did.  Not
 * where something is asked of the member that was not kept, since that was
 * denied then; nor where limits, which are something else by now, have a say in
 * which campaigns win; nor where one of several that look at each
 * other was decided anew, and what the others gave stands.
 */
static bool
IsDecidedForEver(const Settlement *settlement)
{
	bool		limited = false;
	bool		competes = false;
	bool		multiplies = false;
	bool		anew = false;
	bool		asks = settlement->facts.nread > 0;

	for (int c = 0; c < settlement->ncandidates; c++)
	{
		const Campaign *campaign = settlement->candidates[c]->campaign;

		limited = limited || campaign->nlimits > 0;
		competes = competes || campaign->group != NULL || campaign->stop;
		anew = anew || campaign->recorded_at > settlement->activity->recorded_at;
		for (int e = 0; e < campaign->neffects; e++)
			multiplies = multiplies || campaign->effects[e].kind == EFFECT_MULTIPLY;
		if (campaign->has_window && campaign->when != NULL)
			ForEachQuestion(campaign->when, NoteQuestion, &asks);
		if (campaign->has_window && campaign->treat != NULL)
			ForEachQuestion(campaign->treat, NoteQuestion, &asks);
	}
	return !asks && !(limited && competes) && !(anew && (competes || multiplies));
}

/* Whether what an effect holds is what is decided. */
static bool
IsAsDecided(const Settlement *settlement, int c, int e)
{
	const Candidate *candidate = settlement->candidates[c];
	const HeldAward *held = settlement->holds[c][e];

	if (candidate->keep || candidate->campaign->keep)
		return true;
	if (held == NULL && candidate->campaign->has_window)
		return true;
	/* the next of its activities decides over it, as of one person or of two */
	if (candidate->campaign->has_window && WasMergedSince(settlement->numbers, settlement->activity->revised_at))
		return true;
	/* it could not be taken back then */
	if (held != NULL && held->kept_because != NULL)
		return true;
	return candidate->rulings[e].given == candidate->rulings[e].held.points;
}

/*
 * award_violations(member_id bigint, activity_id bigint): what its awards hold
 * and should not, or should and do not.
 */
PG_FUNCTION_INFO_V1(loyalty_award_violations);
Datum
loyalty_award_violations(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ActivityRow row;
	Settlement	settlement;

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	FindStoredActivity(PG_GETARG_INT64(0), PG_GETARG_INT64(1), &row);
	DecideAgain(&settlement, OpenRuleBook(), &row.activity);
	for (int c = 0; IsDecidedForEver(&settlement) && c < settlement.ncandidates; c++)
	{
		const Candidate *candidate = settlement.candidates[c];

		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			Datum		values[2];
			bool		nulls[2] = {false};

			if (IsAsDecided(&settlement, c, e))
				continue;
			values[0] = CStringGetTextDatum(candidate->campaign->code);
			values[1] = CStringGetTextDatum(psprintf("activity " INT64_FORMAT ", campaign %s, effect %d: it holds " INT64_FORMAT ", and " INT64_FORMAT " is decided",
													 row.activity.activity_id, candidate->campaign->code, e + 1,
													 candidate->rulings[e].held.points, candidate->rulings[e].given));
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	for (int i = 0; i < settlement.held.n; i++)
	{
		const HeldAward *award = settlement.held.awards[i];
		Datum		values[2];
		bool		nulls[2] = {false};

		if (award->is_taken || award->points == 0 || award->kept_because != NULL)
			continue;
		values[0] = CStringGetTextDatum(award->campaign);
		values[1] = CStringGetTextDatum(psprintf("activity " INT64_FORMAT ": it holds " INT64_FORMAT " of campaign %s, which does not look at it",
												 row.activity.activity_id, award->points, award->campaign));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * campaign_limits(campaign text, definition jsonb): its limits by member.
 */
PG_FUNCTION_INFO_V1(loyalty_campaign_limits);
Datum
loyalty_campaign_limits(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *code = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Problems	problems = {0};
	Place		whole;
	Campaign   *campaign;

	InitReturnSet(fcinfo);
	WholeDefinition(&whole, PG_GETARG_JSONB_P(1), "", &problems);
	campaign = ParseCampaign(code, &whole);
	RefuseCampaign(code, &problems);
	for (int i = 0; i < campaign->nlimits; i++)
	{
		const CampaignLimit *limit = &campaign->limits[i];
		Datum		values[6];
		bool		nulls[6] = {false};

		if (limit->scope != LIMIT_MEMBER || limit->days > 0)
			continue;
		values[0] = CStringGetTextDatum(limit->counter);
		values[1] = BoolGetDatum(limit->in_times);
		values[2] = CStringGetTextDatum(limit->currency);
		values[3] = CStringGetTextDatum(period_names[limit->within]);
		values[4] = Int64GetDatum(limit->most);
		values[5] = CStringGetTextDatum(limit->name);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
