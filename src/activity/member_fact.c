/*
 * member_fact.c
 *		What is known of a member now, for conditions.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "activity/calendar.h"
#include "activity/member_fact.h"
#include "core/core.h"
#include "tier/tier_program.h"

static void
Run(const AskedMember *member, KeptPlan *plan, Datum *values)
{
	MemoryContext target = CurrentMemoryContext;

	if (member->read_only)
		RunPlanReadOnly(plan, values, NULL, 1);
	else
		RunPlan(plan, values, NULL, 1);
	MemoryContextSwitchTo(target);
}

static void
ReadTier(const FactQuestion *question, const Activity *activity, const AskedMember *member, FactAnswer *answer)
{
	const char *level = member->read_only ? LevelOf(member->member_id, question->name, activity->at, TIMESTAMP_INFINITY) :
		LevelNow(member->member_id, question->name, activity->at);

	/* of no level is known that it is none of those asked for */
	answer->known = true;
	answer->text = level != NULL ? level : "";
}

/*
 * How many activities of a kind there were before this one in its period, or
 * what they add up to.
 */
static void
ReadHistory(const FactQuestion *question, const Activity *activity, const AskedMember *member, FactAnswer *answer)
{
#define EARLIER_ACTIVITIES \
		"FROM loyalty.activity a WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.kind OPERATOR(pg_catalog.=) $2 " \
		"AND NOT a.cancelled AND NOT a.returned AND a.local_day OPERATOR(pg_catalog.>=) $3 AND a.local_day OPERATOR(pg_catalog.<) $4 " \
		"AND a.at OPERATOR(pg_catalog.<=) $5 AND a.activity_id OPERATOR(pg_catalog.<>) $7 " \
		"AND (a.at OPERATOR(pg_catalog.<) $5 OR a.recorded_at OPERATOR(pg_catalog.<) $6 " \
		"OR (a.recorded_at OPERATOR(pg_catalog.=) $6 AND a.activity_id OPERATOR(pg_catalog.<) $7))"
#define HISTORY_ARGUMENTS .nargs = 7, .argtypes = {INT8ARRAYOID, TEXTOID, DATEOID, DATEOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
	static KeptPlan count = {
		.query = "SELECT pg_catalog.count(*) " EARLIER_ACTIVITIES,
		HISTORY_ARGUMENTS
	};
	static KeptPlan spent = {
		.query = "SELECT coalesce(pg_catalog.sum(a.amount), 0) " EARLIER_ACTIVITIES,
		HISTORY_ARGUMENTS
	};
	bool		lifetime = question->within == PERIOD_LIFETIME;
	Datum		values[7] = {
		member->numbers, CStringGetTextDatum(question->name),
		DateADTGetDatum(lifetime ? DATEVAL_NOBEGIN : FirstDayOf(question->within, activity->local_day)),
		DateADTGetDatum(FirstDayAfter(question->within, activity->local_day)),
		TimestampTzGetDatum(activity->at),
		TimestampTzGetDatum(activity->recorded_at != 0 ? activity->recorded_at : DT_NOEND),
		Int64GetDatum(activity->activity_id)
	};
	int			decimals = 0;
	bool		isnull;
	Datum		value;

	Run(member, question->kind == FACT_COUNT ? &count : &spent, values);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	answer->known = true;
	if (question->kind == FACT_COUNT)
		answer->number = DatumGetInt64(value) * MICROS_PER_UNIT;
	else
		answer->number = MicrosFromNumeric(value, "what was spent", &decimals);
}

/* What the member has of attributes, for all questions about them. */
static void
ReadAttributes(AskedMember *member)
{
	static KeptPlan plan = {
		.query = "SELECT attributes FROM loyalty.member WHERE member_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		values[1] = {Int64GetDatum(member->member_id)};

	Run(member, &plan, values);
	member->attributes = NULL;
	if (SPI_processed > 0)
	{
		bool		isnull;
		Datum		attributes = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			member->attributes = DatumGetJsonbPCopy(attributes);
	}
	member->was_read = true;
}

/* An attribute of the member; false where it has none. */
static bool
GetAttribute(AskedMember *member, const char *name, JsonbValue *value)
{
	if (!member->was_read)
		ReadAttributes(member);
	return member->attributes != NULL && getKeyJsonValueFromContainer(&member->attributes->root, name, strlen(name), value) != NULL &&
		value->type != jbvNull && value->type != jbvBinary;
}

/*
 * Answers a question about a member before an activity, as it is known now.
 */
void
ReadFactOfMember(const FactQuestion *question, const Activity *activity, DateADT day, AskedMember *member, FactAnswer *answer)
{
	JsonbValue	value;
	DateADT		birthday = 0;

	switch (question->kind)
	{
		case FACT_TIER:
			ReadTier(question, activity, member, answer);
			break;
		case FACT_COUNT:
		case FACT_SPENT:
			ReadHistory(question, activity, member, answer);
			break;
		case FACT_HOLIDAY:
			answer->known = true;
			answer->truth = TruthOf(IsHoliday(question->name, day));
			break;
		case FACT_BIRTHDAY:
			answer->known = GetAttribute(member, "birthday", &value) && value.type == jbvString &&
				TryDate(pnstrdup(value.val.string.val, value.val.string.len), &birthday);
			if (answer->known)
				answer->truth = TruthOf(IsBirthdayWindow(birthday, day, question->before, question->after,
														 question->leap_on_mar1));
			break;
		case FACT_ATTRIBUTE:
			answer->known = GetAttribute(member, question->name, &value);
			if (answer->known)
				answer->truth = TruthOf(IsOneOfTexts(question, &value));
			break;
		case FACT_REGISTERED:
			answer->truth = question->predicate->read(question, member->member_id, activity);
			answer->known = answer->truth != TRUTH_UNKNOWN;
			break;
	}
}
