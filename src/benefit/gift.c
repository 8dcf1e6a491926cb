/*
 * gift.c
 *		Gifts without a clock: the windows that facts of a member open.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "benefit/benefit_call.h"
#include "benefit/gate.h"
#include "benefit/offer.h"
#include "core/compat.h"
#include "core/errors.h"

/* How long a span one may ask for windows. */
#define MOST_DAYS	1000

/* What windows are derived from; read once it is asked for. */
typedef struct GiftFacts
{
	const Asker *asker;
	bool		member_read;
	bool		is_person;
	bool		has_birthday;
	DateADT		birthday;
	bool		joined_read;
	bool		has_joined;
	TimestampTz joined_at;
} GiftFacts;

static void
ReadMember(GiftFacts *facts)
{
	static KeptPlan plan = {
		.query = "SELECT m.attributes OPERATOR(pg_catalog.->>) 'birthday', m.status OPERATOR(pg_catalog.<>) 'no_person' "
		"FROM loyalty.member m WHERE m.member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(facts->asker->canonical);
	char	   *text = NULL;

	if (facts->member_read)
		return;
	facts->member_read = true;
	facts->is_person = true;
	RunPlan(&plan, &value, NULL, 1);
	if (SPI_processed > 0)
	{
		bool		isnull;

		text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		facts->is_person = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	facts->has_birthday = text != NULL && TryDate(text, &facts->birthday);
}

static bool
KnowsBirthday(GiftFacts *facts)
{
	ReadMember(facts);
	return facts->has_birthday;
}

static bool
KnowsJoined(GiftFacts *facts)
{
	if (!facts->joined_read)
	{
		facts->joined_read = true;
		facts->has_joined = JoinedAt(facts->asker, &facts->joined_at);
	}
	return facts->has_joined;
}

/* Whether a day is that of an occasion. */
static bool
IsOccasion(const Window *window, GiftFacts *facts, pg_tz *zone, DateADT day)
{
	DateADT		joined = 0;
	int			year;
	int			month;
	int			dom;

	if ((window->occasion == OCCASION_JOINED || window->occasion == OCCASION_WELCOME) && KnowsJoined(facts))
		joined = DayOf(LocalInstant(facts->joined_at, zone));
	switch (window->occasion)
	{
		case OCCASION_BIRTHDAY:
			return KnowsBirthday(facts) && day > facts->birthday && IsBirthdayWindow(facts->birthday, day, 0, 0, window->leap_on_mar1);
		case OCCASION_JOINED:
			return facts->has_joined && day > joined && IsBirthdayWindow(joined, day, 0, 0, window->leap_on_mar1);
		case OCCASION_WELCOME:
			return facts->has_joined && day == joined;
		case OCCASION_YEARLY:
			return IsBirthdayWindow(date2j(2000, window->month, window->day) - POSTGRES_EPOCH_JDATE, day, 0, 0, window->leap_on_mar1);
		case OCCASION_MONTHLY:
			j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
			return dom == Min(window->day, day_tab[isleap(year)][month - 1]);
		case OCCASION_HOLIDAY:
			return IsHoliday(window->holidays, day);
		case OCCASION_DAYS:
			return day == window->from;
	}
	return false;
}

/* The key of an occasion: of what comes once a year its year. */
static char *
PeriodKey(const Window *window, DateADT day)
{
	int			year;
	int			month;
	int			dom;

	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	switch (window->occasion)
	{
		case OCCASION_BIRTHDAY:
		case OCCASION_JOINED:
		case OCCASION_YEARLY:
			return psprintf("%d", year);
		case OCCASION_MONTHLY:
			return psprintf("%d-%02d", year, month);
		case OCCASION_WELCOME:
			return pstrdup("once");
		case OCCASION_HOLIDAY:
		case OCCASION_DAYS:
			break;
	}
	return psprintf("%d-%02d-%02d", year, month, dom);
}

static bool
IsOneOf(const List *keys, const char *key)
{
	ListCell   *cell;

	foreach(cell, keys)
	{
		if (strcmp(lfirst(cell), key) == 0)
			return true;
	}
	return false;
}

/*
 * Puts the windows of a version that is in force up to ends, but for those that
 * an earlier one has opened.  Points are of the version under which their window
 * opened, or of the first one after that; all else is of the version in force
 * when it is claimed (ends is infinity).
 */
static void
PutWindows(ReturnSetInfo *rsinfo, const Benefit *benefit, TimestampTz ends, GiftFacts *facts, List **opened, TimestampTz from, TimestampTz until)
{
	const Window *window = &benefit->offer->window;
	bool		gives_points = benefit->offer->goods.kind == GOODS_POINTS;
	pg_tz	   *zone = pg_tzset(benefit->time_zone);
	DateADT		last = DayOf(LocalInstant(until, zone)) + window->before;

	for (DateADT day = DayOf(LocalInstant(from, zone)) - window->after; day <= last; day++)
	{
		TimestampTz opens_at;
		TimestampTz closes_at;
		char	   *key;
		Asker		then;
		Datum		values[6];
		bool		nulls[6] = {false};

		CHECK_FOR_INTERRUPTS();
		if (!IsOccasion(window, facts, zone, day))
			continue;
		opens_at = InstantOfDay(day - window->before, zone);
		closes_at = InstantOfDay(day + window->after + 1, zone);
		/* nobody has a right before joining */
		if (KnowsJoined(facts))
			opens_at = Max(opens_at, facts->joined_at);
		key = PeriodKey(window, day);
		if (IsOneOf(*opened, key))
			continue;
		if (gives_points)
			opens_at = Max(opens_at, benefit->effective_from);
		if (opens_at >= ends || opens_at >= closes_at || opens_at > until || closes_at <= from)
			continue;
		ReadMember(facts);
		if (!facts->is_person)
			return;
		if (gives_points)
			*opened = lappend(*opened, key);
		/* points are there from the beginning on, all else when it is claimed */
		then = *facts->asker;
		then.at = gives_points ? opens_at : Min(until, closes_at - 1);
		values[0] = CStringGetTextDatum(benefit->name);
		values[1] = Int32GetDatum(benefit->version);
		values[2] = CStringGetTextDatum(key);
		values[3] = TimestampTzGetDatum(opens_at);
		values[4] = TimestampTzGetDatum(closes_at);
		values[5] = BoolGetDatum(Meets(&then, benefit, benefit->available, NULL));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * gift_windows(member_id bigint, from_at timestamptz, until_at timestamptz)
 * -> rows (gift text, version integer, period_key text, opens_at timestamptz,
 * closes_at timestamptz, available boolean): those that are open at some instant
 * from from_at to until_at, by the definitions in force at until_at, and of
 * points by those in force when they opened; none of who is no person
 */
PG_FUNCTION_INFO_V1(loyalty_gift_windows);
Datum
loyalty_gift_windows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz from = InstantArgument(fcinfo, 1, "from_at");
	TimestampTz until = InstantArgument(fcinfo, 2, "until_at");
	GiftFacts	facts = {0};
	List	   *benefits;
	ListCell   *cell;
	Asker		asker;

	if (from > until || until - from > MOST_DAYS * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("until_at must lie from 0 to %d days after from_at", MOST_DAYS),
				 errdetail("They are %s and %s.", TimestampText(until), TimestampText(from)),
				 errhint("Ask for a shorter span.")));
	InitReturnSet(fcinfo);
	BeginRead();
	benefits = BenefitsOfKind(BENEFIT_GIFT, until);
	if (benefits != NIL)
	{
		InitAsker(&asker, member_id, until, true);
		facts.asker = &asker;
		foreach(cell, benefits)
		{
			const Benefit *current = lfirst(cell);
			List	   *opened = NIL;

			for (int32 version = 1; version < current->version; version++)
			{
				const Benefit *earlier = BenefitVersion(current->name, version);
				TimestampTz ends = BenefitVersion(current->name, version + 1)->effective_from;

				if (earlier->offer->goods.kind == GOODS_POINTS)
					PutWindows(rsinfo, earlier, ends, &facts, &opened, from, until);
			}
			PutWindows(rsinfo, current, TIMESTAMP_INFINITY, &facts, &opened, from, until);
		}
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * lock_benefit(member_id bigint, benefit text) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_lock_benefit);
Datum
loyalty_lock_benefit(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	Asker		asker;

	RequireArgument(fcinfo, 1, "benefit");
	BeginCall();
	RequireWritable();
	/* in PL/pgSQL locks stay: where another member stands for it by now, both are locked */
	do
		InitAsker(&asker, member_id, 0, false);
	while (!TryToLockBenefitOf(&asker, TextArgument(fcinfo, 1)));
	SPI_finish();
	PG_RETURN_VOID();
}
