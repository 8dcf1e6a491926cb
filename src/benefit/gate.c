/*
 * gate.c
 *		Whether a member may have something, at an instant.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/calendar.h"
#include "benefit/gate.h"
#include "core/compat.h"
#include "tier/tier_program.h"

/* Whatever is asked is read anew. */
static void
KnowNothing(Asker *asker)
{
	memset(asker->known, 0, sizeof(Known));
	asker->known->member = (AskedMember) {
		.member_id = asker->canonical,.numbers = asker->numbers,.read_only = asker->read_only
	};
}

/*
 * Makes who asks, as of an instant.
 */
void
InitAsker(Asker *asker, int64 member_id, TimestampTz at, bool read_only)
{
	memset(asker, 0, sizeof(Asker));
	asker->member_id = member_id;
	asker->at = at;
	asker->read_only = read_only;
	asker->alone = !FindNumbers(member_id, &asker->canonical, &asker->numbers);
	if (asker->alone)
	{
		Datum		self = Int64GetDatum(member_id);

		asker->numbers = PointerGetDatum(construct_array(&self, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	asker->known = palloc(sizeof(Known));
	KnowNothing(asker);
}

/*
 * Locks what a member, under all its numbers, has of a benefit; whoever asks for
 * it through another number waits as well.  False where another member stands
 * for it by then.
 */
bool
TryToLockBenefitOf(Asker *asker, const char *benefit)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.coupon_limit AS l (member_id, benefit) VALUES ($1, $2) "
		"ON CONFLICT ON CONSTRAINT coupon_limit_pkey DO UPDATE SET asked = l.asked OPERATOR(pg_catalog.+) 1",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(asker->canonical), CStringGetTextDatum(benefit)};
	int64		canonical;

	RunPlan(&plan, values, NULL, 0);
	/* others may have changed it while this one waited */
	KnowNothing(asker);
	(void) FindNumbers(asker->member_id, &canonical, &values[0]);
	return canonical == asker->canonical;
}

/*
 * The same; the call begins anew in that case.
 */
void
LockBenefitOf(Asker *asker, const char *benefit)
{
	if (!TryToLockBenefitOf(asker, benefit))
		RestartCall("another member stands for it");
}

static void
Run(const Asker *asker, KeptPlan *plan, Datum *values, long limit)
{
	if (asker->read_only)
		RunPlanReadOnly(plan, values, NULL, limit);
	else
		RunPlan(plan, values, NULL, limit);
}

/* The level of a member, read once. */
static const char *
LevelOfNumber(const Asker *asker, int64 member_id, const char *ladder, TimestampTz at)
{
	KnownLevel *known;

	for (known = asker->known->levels; known != NULL; known = known->next)
	{
		if (known->at == at && known->member_id == member_id && strcmp(known->ladder, ladder) == 0)
			return known->level;
	}
	known = palloc(sizeof(KnownLevel));
	known->next = asker->known->levels;
	known->member_id = member_id;
	known->ladder = ladder;
	known->at = at;
	known->level = asker->read_only ? LevelOf(member_id, ladder, at, TIMESTAMP_INFINITY) : LevelNow(member_id, ladder, at);
	asker->known->levels = known;
	return known->level;
}

static void
ReadFact(const FactQuestion *question, const Activity *activity, DateADT day, FactAnswer *answer, void *arg)
{
	const Asker *asker = arg;

	if (question->kind == FACT_TIER)
	{
		const char *level = LevelOfNumber(asker, asker->canonical, question->name, activity->at);

		/* of no level is known that it is none of those asked for */
		answer->known = true;
		answer->text = level != NULL ? level : "";
		return;
	}
	ReadFactOfMember(question, activity, day, &asker->known->member, answer);
}

/*
 * From now on a condition on a subject may ask for facts of the member.
 */
void
LetAsk(ConditionSubject *subject, const Asker *asker)
{
	subject->read = ReadFact;
	subject->arg = unconstify(Asker *, asker);
}

/*
 * Whether a condition on the member holds, as of the asker's instant; what is
 * not known does not hold.  *failed_at: the place of what did not.
 */
bool
Meets(const Asker *asker, const Benefit *benefit, const Condition *condition, const char **failed_at)
{
	Activity	nothing = {
		.member_id = asker->member_id,
		.kind = "",
		.at = asker->at,
		.time_zone = benefit->time_zone
	};
	ConditionSubject subject = {.activity = &nothing};

	if (condition == NULL)
		return true;
	LetAsk(&subject, asker);
	nothing.local_day = LocalDay(asker->at, benefit->time_zone);
	if (EvaluateCondition(condition, &subject) == TRUTH_YES)
		return true;
	if (failed_at != NULL)
		*failed_at = subject.failed_at;
	return false;
}

/*
 * The level of the member on a ladder at an instant; NULL for none.
 */
const char *
LevelHeld(const Asker *asker, const char *ladder, TimestampTz at)
{
	return LevelOfNumber(asker, asker->member_id, ladder, at);
}

/*
 * Calls visit for each level that was held between two instants.
 */
void
ForEachLevelHeld(const Asker *asker, const char *ladder, TimestampTz from, TimestampTz until,
				 void (*visit) (const char *level, void *arg), void *arg)
{
	static KeptPlan plan = {
		.query = "SELECT t.level FROM loyalty.member_tiers($1, $2, $4) t WHERE t.level IS NOT NULL "
		"AND t.starts_at OPERATOR(pg_catalog.<=) $4 AND coalesce(t.ends_at, 'infinity') OPERATOR(pg_catalog.>) $3",
		.nargs = 4,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	Datum		values[4] = {
		Int64GetDatum(asker->member_id), CStringGetTextDatum(ladder), TimestampTzGetDatum(from), TimestampTzGetDatum(until)
	};

	Run(asker, &plan, values, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		visit(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), arg);
}

static bool
ReadInstant(TimestampTz *instant)
{
	bool		isnull = SPI_processed == 0;
	Datum		value = isnull ? (Datum) 0 : SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

	if (!isnull)
		*instant = DatumGetTimestampTz(value);
	return !isnull;
}

/*
 * When the member joined: as set_joined() says, or when the first of its numbers
 * was made; false where nobody knows.
 */
bool
JoinedAt(const Asker *asker, TimestampTz *joined_at)
{
	static KeptPlan of_tiers = {
		.query = "SELECT j.joined_at FROM loyalty.tier_joined j WHERE j.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"ORDER BY j.joined_at LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	static KeptPlan of_member = {
		.query = "SELECT m.joined_at FROM loyalty.member m WHERE m.member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"ORDER BY m.joined_at LIMIT 1",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID}
	};
	Datum		values[1] = {asker->numbers};
	Known	   *known = asker->known;

	if (!known->joined_was_read)
	{
		Run(asker, &of_tiers, values, 1);
		known->has_joined = ReadInstant(&known->joined_at);
		if (!known->has_joined)
		{
			Run(asker, &of_member, values, 1);
			known->has_joined = ReadInstant(&known->joined_at);
		}
		known->joined_was_read = true;
	}
	*joined_at = known->joined_at;
	return known->has_joined;
}

/*
 * When the membership began that gives the member a level of a ladder at an
 * instant: the first of the grants that follow each other without a gap; false
 * where no grant holds then.
 */
bool
MembershipBegan(const Asker *asker, const char *ladder, TimestampTz at, TimestampTz *began_at)
{
	static KeptPlan plan = {
		.query = "WITH RECURSIVE g AS (SELECT t.starts_at, coalesce(t.ended_at, t.ends_at, 'infinity') AS until FROM loyalty.tier_grant t "
		"WHERE t.member_id OPERATOR(pg_catalog.=) ANY ($1) AND t.ladder OPERATOR(pg_catalog.=) $2), "
		"line AS (SELECT g.starts_at FROM g WHERE g.starts_at OPERATOR(pg_catalog.<=) $3 AND g.until OPERATOR(pg_catalog.>) $3 "
		"UNION SELECT g.starts_at FROM line l JOIN g ON g.starts_at OPERATOR(pg_catalog.<) l.starts_at AND g.until OPERATOR(pg_catalog.>=) l.starts_at) "
		"SELECT pg_catalog.min(l.starts_at) FROM line l",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {asker->numbers, CStringGetTextDatum(ladder), TimestampTzGetDatum(at)};

	Run(asker, &plan, values, 1);
	return ReadInstant(began_at);
}
