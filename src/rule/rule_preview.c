/*
 * rule_preview.c
 *		What an activity would earn, and what a basket would cost and earn:
 *		prepared, priced and decided as when it is recorded, and not stored.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/activity_row.h"
#include "benefit/basket_preview.h"
#include "benefit/coupon_price.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "rule/rule.h"

/*
 * Prepares an activity that is not to be recorded, of arguments that come in this
 * order: member_id, kind, at, amount, lines, channel, document, money, time_zone.
 */
static void
PreparePreview(FunctionCallInfo fcinfo, Recording *recording)
{
	Activity   *activity = &recording->row.activity;

	memset(recording, 0, sizeof(Recording));
	recording->previewed = true;
	RequireArgument(fcinfo, 1, "kind");
	activity->member_id = PG_ARGISNULL(0) ? NOBODY : PG_GETARG_INT64(0);
	activity->kind = TextArgument(fcinfo, 1);
	recording->at_given = !PG_ARGISNULL(2);
	if (recording->at_given)
		activity->at = PG_GETARG_TIMESTAMPTZ(2);
	activity->has_amount = !PG_ARGISNULL(3);
	if (activity->has_amount)
		activity->amount = MicrosFromNumeric(PG_GETARG_DATUM(3), "amount", &activity->decimals);
	activity->lines_value = PG_ARGISNULL(4) ? 0 : JsonbPGetDatum(PG_GETARG_JSONB_P(4));
	activity->channel = TextArgument(fcinfo, 5);
	activity->document = PG_ARGISNULL(6) ? 0 : JsonbPGetDatum(PG_GETARG_JSONB_P(6));
	activity->money = TextArgument(fcinfo, 7);
	activity->time_zone = TextArgument(fcinfo, 8);
	PrepareRecording(recording);
}

/* Begins to decide what it would earn, by the campaigns that are defined, or by others in place of them. */
static void
BeginPreview(Settlement *settlement, const Activity *activity, FunctionCallInfo fcinfo, int definitions)
{
	const RuleBook *book = OpenRuleBook();

	if (!PG_ARGISNULL(definitions))
		book = MakeDraft(book, PG_GETARG_JSONB_P(definitions));
	BeginSettlement(settlement, book, activity->member_id, activity);
	settlement->dry = true;
}

/* Why a campaign gives nothing; NULL: it gives something. */
static const char *
WhyNothing(const Candidate *candidate)
{
	if (candidate->failed_at != NULL)
		return psprintf("does not match: %s", candidate->failed_at);
	return candidate->lost_to != NULL ? psprintf("lost to %s", candidate->lost_to) : NULL;
}

/* An effect of a campaign that looks at the activity. */
typedef struct Foreseen
{
	const Candidate *candidate;
	int			effect;			/* from 0 */
	const Effect *terms;
	int64		points;			/* of a window what the activity would add */
	const Ruling *ruling;
} Foreseen;

/*
 * Calls show for each effect; of a campaign that does not match, for the first,
 * and for those that something is taken back of: its window may end to hold.
 */
static void
ForEachForeseen(const Settlement *settlement, void (*show) (const Foreseen *it, ReturnSetInfo *rsinfo), ReturnSetInfo *rsinfo)
{
	for (int c = 0; c < settlement->ncandidates; c++)
	{
		const Candidate *candidate = settlement->candidates[c];

		for (int e = 0; e < candidate->campaign->neffects; e++)
		{
			const Ruling *ruling = &candidate->rulings[e];

			if (candidate->matched || e == 0 || ruling->given != ruling->held.points)
				show(&(Foreseen) {candidate, e, &candidate->campaign->effects[e], ruling->given - ruling->held.points, ruling}, rsinfo);
		}
	}
}

/* ---------------------------------------------------------------------------
 * An activity
 * ---------------------------------------------------------------------------
 */

static void
PutForeseen(const Foreseen *it, ReturnSetInfo *rsinfo)
{
	bool		of_points = it->terms->currency != NULL;
	Datum		values[8] = {0};
	bool		nulls[8] = {false};

	PutText(values, nulls, 0, it->candidate->campaign->code);
	values[1] = Int32GetDatum(it->effect + 1);
	PutText(values, nulls, 2, it->terms->currency);
	values[3] = Int64GetDatum(it->points);
	values[4] = Int64GetDatum(it->ruling->wanted);
	nulls[3] = nulls[4] = !of_points;
	PutText(values, nulls, 5, it->ruling->given > 0 ? it->terms->item : NULL);
	PutText(values, nulls, 6, it->ruling->limited_by);
	PutText(values, nulls, 7, WhyNothing(it->candidate));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * preview_activity(member_id, kind, at, amount, lines, channel, document, money,
 * time_zone, confirmed, definitions)
 */
PG_FUNCTION_INFO_V1(loyalty_preview_activity);
Datum
loyalty_preview_activity(PG_FUNCTION_ARGS)
{
	Recording	recording;
	Settlement	settlement;

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PreparePreview(fcinfo, &recording);
	recording.row.activity.confirmed = PG_ARGISNULL(9) || PG_GETARG_BOOL(9);
	BeginPreview(&settlement, &recording.row.activity, fcinfo, 10);
	DecideSettlement(&settlement);
	ForEachForeseen(&settlement, PutForeseen, (ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * A basket
 * ---------------------------------------------------------------------------
 */

enum
{
	BASKET_WHAT, BASKET_LINE, BASKET_ITEM, BASKET_PRICE, BASKET_DISCOUNT, BASKET_DUE, BASKET_BENEFIT, BASKET_CAMPAIGN,
	BASKET_EFFECT, BASKET_CURRENCY, BASKET_POINTS, BASKET_WANTED, BASKET_LIMITED_BY, BASKET_REFUSAL, BASKET_WHY, BASKET_DETAILS,
	BASKET_COLUMNS
};

/* A row of results; all is NULL that is not put there. */
typedef struct BasketRow
{
	ReturnSetInfo *rsinfo;
	Datum		values[BASKET_COLUMNS];
	bool		nulls[BASKET_COLUMNS];
} BasketRow;

static void
BeginRow(BasketRow *row, ReturnSetInfo *rsinfo, const char *what)
{
	memset(row, 0, sizeof(BasketRow));
	row->rsinfo = rsinfo;
	memset(row->nulls, true, sizeof(row->nulls));
	PutText(row->values, row->nulls, BASKET_WHAT, what);
	row->nulls[BASKET_WHAT] = false;
}

static void
Put(BasketRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
PutName(BasketRow *row, int column, const char *text)
{
	if (text != NULL)
		Put(row, column, CStringGetTextDatum(text));
}

static void
EndRow(BasketRow *row)
{
	tuplestore_putvalues(row->rsinfo->setResult, row->rsinfo->setDesc, row->values, row->nulls);
}

/* What something costs before and after discounts. */
static void
PutPrices(BasketRow *row, Micros price, Micros discount, int decimals)
{
	Put(row, BASKET_PRICE, MicrosToNumeric(price, decimals));
	Put(row, BASKET_DISCOUNT, MicrosToNumeric(discount, decimals));
	Put(row, BASKET_DUE, MicrosToNumeric(price - discount, decimals));
}

static void
PutRefusal(BasketRow *row, const Refusal *refusal)
{
	if (refusal == NULL)
		return;
	PutName(row, BASKET_REFUSAL, unpack_sql_state(refusal->sqlerrcode));
	PutName(row, BASKET_WHY, refusal->message);
	if (refusal->detail != NULL)
	{
		StringInfoData json;

		initStringInfo(&json);
		appendStringInfoString(&json, "{\"detail\": ");
		escape_json(&json, refusal->detail);
		appendStringInfoChar(&json, '}');
		Put(row, BASKET_DETAILS, DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
	}
}

/* A text that price_lines() has written into a line, or NULL. */
static const char *
TextOfLine(const ActivityLine *line, const char *key)
{
	JsonbValue	found;

	if (getKeyJsonValueFromContainer(line->given, key, strlen(key), &found) == NULL || found.type != jbvString)
		return NULL;
	return pnstrdup(found.val.string.val, found.val.string.len);
}

static void
ShowLines(ReturnSetInfo *rsinfo, const Activity *activity, int decimals)
{
	Datum		stored = LinesValue(activity);

	for (int i = 0; i < activity->nlines; i++)
	{
		const ActivityLine *line = &activity->lines[i];
		const char *closed_by = TextOfLine(line, "members_only");
		BasketRow	row;

		CHECK_FOR_INTERRUPTS();
		BeginRow(&row, rsinfo, "line");
		Put(&row, BASKET_LINE, Int32GetDatum(line->number));
		PutName(&row, BASKET_ITEM, line->sku);
		if (line->has_amount)
			PutPrices(&row, line->amount + line->discount, line->discount, decimals);
		PutName(&row, BASKET_BENEFIT, TextOfLine(line, "member_price"));
		PutName(&row, BASKET_WHY, closed_by == NULL ? NULL : psprintf("only for those to whom %s is open", closed_by));
		Put(&row, BASKET_DETAILS, JsonbPGetDatum(JsonbValueToJsonb(getIthJsonbValueFromContainer(&DatumGetJsonbP(stored)->root, i))));
		EndRow(&row);
	}
}

/* What the amount has beyond the lines, or lacks. */
static void
ShowRest(ReturnSetInfo *rsinfo, Micros before, Micros discount, int decimals)
{
	BasketRow	row;

	BeginRow(&row, rsinfo, "rest");
	PutPrices(&row, before, discount, decimals);
	EndRow(&row);
}

static void
ShowCodes(ReturnSetInfo *rsinfo, const CodePreview *codes, int ncodes, int decimals)
{
	for (int i = 0; i < ncodes; i++)
	{
		BasketRow	row;

		BeginRow(&row, rsinfo, "coupon");
		PutName(&row, BASKET_ITEM, codes[i].code);
		PutName(&row, BASKET_BENEFIT, codes[i].benefit);
		Put(&row, BASKET_DISCOUNT, MicrosToNumeric(codes[i].discount, decimals));
		PutRefusal(&row, codes[i].refusal);
		if (codes[i].refusal == NULL)
			Put(&row, BASKET_DETAILS, codes[i].spread);
		EndRow(&row);
	}
}

static void
ShowPoints(ReturnSetInfo *rsinfo, const PointsPreview *points, int64 wanted, const char *currency, int decimals)
{
	BasketRow	row;

	BeginRow(&row, rsinfo, "points");
	PutName(&row, BASKET_BENEFIT, points->payment);
	PutName(&row, BASKET_CURRENCY, currency);
	Put(&row, BASKET_POINTS, Int64GetDatum(points->points));
	Put(&row, BASKET_WANTED, Int64GetDatum(wanted));
	if (points->payment != NULL)
		Put(&row, BASKET_DISCOUNT, MicrosToNumeric(points->worth, decimals));
	PutName(&row, BASKET_LIMITED_BY, points->limited_by);
	PutRefusal(&row, points->refusal);
	EndRow(&row);
}

static void
ShowTotal(ReturnSetInfo *rsinfo, const Activity *activity, Micros coupons, Micros worth, int decimals)
{
	BasketRow	row;

	if (!activity->has_amount)
		return;
	BeginRow(&row, rsinfo, "total");
	PutName(&row, BASKET_ITEM, activity->money);
	PutPrices(&row, activity->amount + coupons, coupons + worth, decimals);
	EndRow(&row);
}

static void
ShowAward(const Foreseen *it, ReturnSetInfo *rsinfo)
{
	BasketRow	row;

	BeginRow(&row, rsinfo, "award");
	PutName(&row, BASKET_CAMPAIGN, it->candidate->campaign->code);
	Put(&row, BASKET_EFFECT, Int32GetDatum(it->effect + 1));
	PutName(&row, BASKET_CURRENCY, it->terms->currency);
	Put(&row, BASKET_POINTS, Int64GetDatum(it->points));
	Put(&row, BASKET_WANTED, Int64GetDatum(it->ruling->wanted));
	PutName(&row, BASKET_ITEM, it->terms->item);
	PutName(&row, BASKET_LIMITED_BY, it->ruling->limited_by);
	PutName(&row, BASKET_WHY, WhyNothing(it->candidate));
	EndRow(&row);
}

/* Points that somebody wants to spend; 0: none. */
static int64
PointsArgument(FunctionCallInfo fcinfo, int n)
{
	int64		points = PG_ARGISNULL(n) ? 0 : PG_GETARG_INT64(n);

	if (points < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("use_points must not be negative"),
				 errdetail("It is " INT64_FORMAT ".", points),
				 errhint("Give how many points are to be spent, or leave it out.")));
	return points;
}

/*
 * preview_basket(member_id, kind, at, amount, lines, channel, document, money,
 * time_zone, codes, basket, confirmed, use_points, use_currency, payment, definitions)
 */
PG_FUNCTION_INFO_V1(loyalty_preview_basket);
Datum
loyalty_preview_basket(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		wanted = PointsArgument(fcinfo, 12);
	Recording	recording;
	Activity   *activity = &recording.row.activity;
	Settlement	settlement;
	CodePreview *codes;
	PointsPreview *points = NULL;
	Micros		beyond = 0;
	Micros		discount = 0;
	int			decimals;

	RequireArgument(fcinfo, 13, "use_currency");
	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PreparePreview(fcinfo, &recording);
	(void) TextsArgument(fcinfo, 9, "code", &recording.codes, &recording.ncodes);
	recording.basket = TextArgument(fcinfo, 10);
	activity->confirmed = PG_ARGISNULL(11) || PG_GETARG_BOOL(11);

	decimals = MoneyDecimals(activity);
	if (activity->nlines > 0 && activity->has_amount)
		beyond = BeyondLines(activity);
	codes = PreviewCodes(activity, recording.basket, recording.ncodes, recording.codes);
	BeginPreview(&settlement, activity, fcinfo, 15);
	settlement.issued = palloc(Max(recording.ncodes, 1) * sizeof(char *));
	for (int i = 0; i < recording.ncodes; i++)
	{
		discount += codes[i].discount;
		if (codes[i].is_issued && codes[i].refusal == NULL)
			settlement.issued[settlement.nissued++] = codes[i].benefit;
	}
	if (wanted > 0)
		points = PreviewPoints(activity, wanted, TextArgument(fcinfo, 13), TextArgument(fcinfo, 14));
	DecideSettlement(&settlement);

	ShowLines(rsinfo, activity, decimals);
	if (beyond != 0)
		ShowRest(rsinfo, beyond, beyond - BeyondLines(activity), decimals);
	ShowCodes(rsinfo, codes, recording.ncodes, decimals);
	if (points != NULL)
		ShowPoints(rsinfo, points, wanted, TextArgument(fcinfo, 13), decimals);
	ShowTotal(rsinfo, activity, discount, points == NULL ? 0 : points->worth, decimals);
	ForEachForeseen(&settlement, ShowAward, rsinfo);
	SPI_finish();
	return (Datum) 0;
}
