/*
 * rule_window.c
 *		Campaigns that decide over a window: which window an activity is of, and
 *		what the activities of one add up to.
 *
 * A window is a function of the whole: the version that is in force at its begin
 * decides over all its activities, as known when it is decided, in whatever order
 * they were recorded.  An activity is of a window, and has it decided, where the
 * campaign is in force at its instant.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/activity_row.h"
#include "activity/calendar.h"
#include "core/core.h"
#include "rule/rule.h"

/*
 * The day on which an activity lies by the clock of a campaign.
 */
DateADT
DayInCampaign(const Campaign *campaign, const Activity *activity)
{
	return campaign->zone == NULL ? activity->local_day : DayOf(LocalInstant(activity->at, campaign->zone));
}

/* When a day begins by the clock of a zone. */
static TimestampTz
BeginOfDay(DateADT day, const char *time_zone)
{
	struct pg_tm tm = {0};
	int			offset;
	TimestampTz at;

	j2date(day + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	offset = DetermineTimeZoneOffset(&tm, FindZone(time_zone));
	if (tm2timestamp(&tm, 0, &offset, &at) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return at;
}

/*
 * The version that decides over a window: the one in force at its begin, or the
 * first that begins within.  otherwise: the one in force at an instant in it.
 */
static const Campaign *
VersionOfWindow(const RuleBook *versions, const Campaign *otherwise, TimestampTz begin, TimestampTz known_at)
{
	const Campaign *version = VersionInForce(versions, otherwise->code, begin, known_at);

	if (version != NULL && version->has_window)
		return version;
	for (int i = 0; i < versions->n; i++)
	{
		version = versions->versions[i];
		if (version->has_window && version->effective_from > begin && version->recorded_at <= known_at)
			return version;
	}
	return otherwise;
}

/*
 * The window of a campaign in which an activity lies, and the version that was
 * in force at its begin, or is the first that begins within, among those known
 * at an instant.  Days begin by the clock of the campaign, or of the program,
 * whatever the zones of activities.
 */
static bool
WindowOf(const RuleBook *versions, const Campaign *in_force, const Activity *activity, TimestampTz known_at, Window *window)
{
	for (int turn = 0; turn < 2; turn++)
	{
		const char *time_zone;

		if (!in_force->has_window)
			return false;
		window->campaign = in_force;
		if (in_force->window_is_between)
		{
			window->start = DayOf(in_force->from);
			window->end = DayOf(in_force->until - 1) + 1;
			return true;
		}
		window->start = FirstDayOf(in_force->window, DayInCampaign(in_force, activity));
		window->end = FirstDayAfter(in_force->window, DayInCampaign(in_force, activity));
		if (versions->n == 1)
			return true;
		time_zone = in_force->zone_name != NULL ? in_force->zone_name : FindTimeZone(NULL);
		in_force = VersionOfWindow(versions, in_force, BeginOfDay(window->start, time_zone), known_at);
	}
	return true;
}

/*
 * All versions of one campaign.
 */
static RuleBook
VersionsOf(const RuleBook *book, const char *code)
{
	RuleBook	versions = {0};

	for (int i = 0; i < book->n; i++)
	{
		if (strcmp(book->versions[i]->code, code) != 0)
			continue;
		if (versions.n++ == 0)
			versions.versions = &book->versions[i];
	}
	return versions;
}

/*
 * The window that an activity is of, among what is known at an instant; false:
 * of none, since the campaign is not in force at its instant.
 */
bool
FindWindow(const RuleBook *book, const char *code, const Activity *activity, TimestampTz known_at, Window *window)
{
	RuleBook	versions = VersionsOf(book, code);
	const Campaign *in_force = VersionInForce(&versions, code, activity->at, known_at);

	return in_force != NULL && ConcernsKind(in_force, activity->kind) &&
		WindowOf(&versions, in_force, activity, known_at, window);
}

/*
 * Begins asking which activities are of a window.
 */
void
BeginWindow(const RuleBook *book, Window *window, TimestampTz known_at)
{
	window->versions = VersionsOf(book, window->campaign->code);
	window->known_at = known_at;
}

/*
 * Whether an activity is of a window, for which BeginWindow() was called.
 */
bool
IsOfWindow(const Window *window, const Activity *activity)
{
	DateADT		day = DayInCampaign(window->campaign, activity);
	Window		own;

	if (day < window->start || day >= window->end)
		return false;
	return FindWindow(&window->versions, window->campaign->code, activity, window->known_at, &own) &&
		own.campaign == window->campaign && own.start == window->start;
}

/*
 * Begins what the activities of a window add up to, with none yet.  activity:
 * one of the member, whose else it is.
 */
Activity *
BeginSum(Candidate *candidate, const Window *window, const Activity *activity)
{
	Activity   *sum = palloc(sizeof(Activity));

	*sum = *activity;
	sum->local_day = window->start;
	sum->has_amount = false;
	sum->amount = 0;
	sum->channel = NULL;
	sum->nlines = 0;
	sum->lines = NULL;
	sum->document = 0;
	candidate->nactivities = 0;
	candidate->subject = sum;
	return sum;
}

/*
 * Takes an activity into what its window adds up to.
 */
void
AddToSum(Candidate *candidate, Activity *sum, const Activity *activity, const bool *lines)
{
	bool		selects = candidate->campaign->when != NULL && SelectsLines(candidate->campaign->when);

	if (activity->nlines > 0)
	{
		int			n = sum->nlines + activity->nlines;

		sum->lines = sum->lines == NULL ? palloc(n * sizeof(ActivityLine)) : repalloc(sum->lines, n * sizeof(ActivityLine));
		memcpy(&sum->lines[sum->nlines], activity->lines, activity->nlines * sizeof(ActivityLine));
		if (selects)
		{
			candidate->lines = candidate->lines == NULL ? palloc(n * sizeof(bool)) : repalloc(candidate->lines, n * sizeof(bool));
			for (int i = 0; i < activity->nlines; i++)
				candidate->lines[sum->nlines + i] = lines != NULL && lines[i];
		}
		sum->nlines = n;
	}
	sum->has_amount = sum->has_amount || activity->has_amount;
	sum->amount = AddMicros(sum->amount, activity->amount);
	sum->decimals = Max(sum->decimals, activity->decimals);
	if (candidate->nactivities == 0 || activity->at > sum->at)
		sum->at = activity->at;
	candidate->nactivities++;
}

/*
 * Until when definitions are known to who decides over the window of an activity.
 * What is decided once more is decided by what was known when it was decided
 * last: with the activity, or with another of the window.
 */
TimestampTz
WindowKnownAt(const Settlement *settlement, const char *code, const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.max(recorded_at) FROM loyalty.award WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND campaign OPERATOR(pg_catalog.=) $2 AND window_start OPERATOR(pg_catalog.=) $3",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, DATEOID}
	};
	Datum		values[3] = {settlement->numbers, CStringGetTextDatum(code)};
	TimestampTz known_at = activity->revised_at;
	bool		isnull;
	Datum		decided;
	Window		window;

	if (!settlement->dry || activity->activity_id == 0 || known_at == 0 || known_at >= settlement->book->last_recorded)
		return DT_NOEND;
	if (!FindWindow(settlement->book, code, activity, known_at, &window))
		return known_at;
	values[2] = DateADTGetDatum(window.start);
	RunPlan(&plan, values, NULL, 1);
	decided = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? known_at : Max(known_at, DatumGetTimestampTz(decided));
}

/* An activity that is previewed, among those that are stored */
typedef struct Previewed
{
	const Activity *activity;
	AskedMember *member;
} Previewed;

/*
 * Counts and sums before an activity that is stored; the one that is previewed may
 * be one of those.
 */
static void
ReadWithPreviewed(const FactQuestion *question, const Activity *activity, DateADT day, FactAnswer *answer, void *arg)
{
	const Previewed *previewed = arg;
	const Activity *before = previewed->activity;

	ReadFactOfMember(question, activity, day, previewed->member, answer);
	if (before->at >= activity->at || before->cancelled || strcmp(before->kind, question->name) != 0 ||
		before->local_day >= FirstDayAfter(question->within, activity->local_day) ||
		(question->within != PERIOD_LIFETIME && before->local_day < FirstDayOf(question->within, activity->local_day)))
		return;
	answer->number += question->kind == FACT_COUNT ? MICROS_PER_UNIT : before->amount;
}

/*
 * What the activities of a window add up to, each selected by its own facts.
 */
void
SumWindow(const Settlement *settlement, Candidate *candidate, const Window *window)
{
	static KeptPlan plan = {.nargs = 4,.argtypes = {INT8ARRAYOID, TEXTARRAYOID, DATEOID, DATEOID}};
	const Campaign *campaign = window->campaign;
	Activity   *sum = BeginSum(candidate, window, settlement->activity);
	Previewed	previewed = {.activity = settlement->activity};
	MemoryContext target = CurrentMemoryContext;
	Datum	   *kinds = palloc(campaign->nkinds * sizeof(Datum));
	Datum		values[4];
	SPITupleTable *table;
	uint64		n;

	if (plan.query == NULL)
		MakeActivityQuery(&plan, "a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.kind OPERATOR(pg_catalog.=) ANY ($2) "
						  "AND a.local_day OPERATOR(pg_catalog.>=) $3 AND a.local_day OPERATOR(pg_catalog.<) $4 "
						  "AND NOT a.cancelled AND NOT a.returned ORDER BY a.at, a.activity_id");
	for (int i = 0; i < campaign->nkinds; i++)
		kinds[i] = CStringGetTextDatum(campaign->kinds[i]);
	values[0] = settlement->numbers;
	values[1] = PointerGetDatum(construct_array(kinds, campaign->nkinds, TEXTOID, -1, false, TYPALIGN_INT));
	/* by another clock than the activity's a day may begin elsewhere */
	values[2] = DateADTGetDatum(window->start - 1);
	values[3] = DateADTGetDatum(window->end + 1);
	RunPlan(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n + settlement->dry; i++)
	{
		ActivityRow row;
		const Activity *activity = settlement->activity;
		Facts		facts;
		bool	   *lines = NULL;

		CHECK_FOR_INTERRUPTS();
		if (i < n)
		{
			ReadActivityRow(table->vals[i], table->tupdesc, &row);
			activity = &row.activity;
			/* the one that is previewed takes the place of the one that is stored */
			if (settlement->dry && activity->activity_id == settlement->activity->activity_id)
				continue;
		}
		if (!IsOfWindow(window, activity))
			continue;
		InitFacts(&facts, settlement->canonical, settlement->numbers);
		previewed.member = &facts.member;
		if (settlement->dry && settlement->activity->activity_id == 0 && activity != settlement->activity)
		{
			facts.history = ReadWithPreviewed;
			facts.history_arg = &previewed;
		}
		if (ActivityIsSelected(campaign, activity, &lines, ReadMemberFact, &facts))
			AddToSum(candidate, sum, activity, lines);
	}
}
