/*
 * audience_condition.c
 *		Audiences in conditions: {"audience": ["vip", "press"]} (any of them),
 *		from the facts, as of the instant of the activity.
 *
 * An audience that there is not leaves it unknown: no sale fails by it.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "activity/condition.h"
#include "audience/audience.h"
#include "core/compat.h"

typedef struct AudienceQuestion
{
	int			n;
	char	  **names;
} AudienceQuestion;

static const char *
ParseAudiencePredicate(const Place *place, FactQuestion *question)
{
	AudienceQuestion *asked = palloc0(sizeof(AudienceQuestion));
	char	   *key = pstrdup("audience");

	asked->names = ReadTexts(place, &asked->n);
	for (int i = 0; i < asked->n; i++)
		key = psprintf("%s %s", key, asked->names[i]);
	question->detail = asked;
	return asked->n == 0 ? NULL : key;
}

static Truth
ReadAudiencePredicate(const FactQuestion *question, int64 member_id, const Activity *activity)
{
	const AudienceQuestion *asked = question->detail;
	Truth		truth = TRUTH_NO;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < asked->n && truth != TRUTH_YES; i++)
	{
		if (!IsAudience(asked->names[i]))
			truth = TRUTH_UNKNOWN;
		else if (InAudience(WhoStandsFor(member_id), asked->names[i], activity->at, TIMESTAMP_INFINITY))
			truth = TRUTH_YES;
	}
	SPI_finish();
	return truth;
}

static const Predicate audience_predicate = {
	.key = "audience",
	.parse = ParseAudiencePredicate,
	.read = ReadAudiencePredicate
};

/*
 * Part of AudienceInit().
 */
void
AudienceConditionInit(void)
{
	RegisterPredicate(&audience_predicate);
}
