/*
 * label_effect.c
 *		Labels that campaigns give: {"label": "regular", "valid_for": "90 days"},
 *		{"label": "likes", "value": "tea", "confidence": 0.8}.
 *
 * The source is the campaign with what earned it, so that each award's label is
 * one of its own: where one is taken back, what another earned stays.  It lapses
 * by itself.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "activity/effect.h"
#include "core/core.h"
#include "label/label.h"

typedef struct LabelTerms
{
	const char *label;
	const char *value;			/* or NULL */
	Interval   *valid_for;		/* NULL: no end */
	Micros		confidence;
} LabelTerms;

static void *
ParseLabelEffect(const Place *effect, const Place *value, const char **name)
{
	LabelTerms *terms = palloc0(sizeof(LabelTerms));
	Place		part;

	terms->label = ReadText(value);
	terms->confidence = MICROS_PER_UNIT;
	if (GetPart(effect, "value", &part))
		terms->value = ReadText(&part);
	if (GetPart(effect, "valid_for", &part))
	{
		terms->valid_for = palloc(sizeof(Interval));
		if (!ReadSpan(&part, terms->valid_for))
			terms->valid_for = NULL;
	}
	if (GetPart(effect, "confidence", &part) && ReadDecimal(&part, &terms->confidence) && terms->confidence > MICROS_PER_UNIT)
		Complain(&part, "must be from 0 to 1");
	*name = terms->label != NULL && terms->value != NULL ? psprintf("%s=%s", terms->label, terms->value) : terms->label;
	return terms;
}

/* Refuses a label that there is not, or a value that it cannot have: LY701, LY702. */
static void
RequireLabelOfEffect(const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.label_value($1, $2)",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID}
	};
	const LabelTerms *terms = item->terms;
	Datum		values[2];
	bool		isnull[2] = {false, false};
	char		nulls[2];

	PutText(values, isnull, 0, terms->label);
	PutText(values, isnull, 1, terms->value);
	RunPlan(&plan, values, NullFlags(isnull, 2, nulls), 1);
}

/* Of who was forgotten nothing is said. */
static int64
LabelsLeft(const EffectItem *item, const char **limited_by)
{
	if (IsForgotten(item->member_id))
	{
		*limited_by = "forgotten";
		return 0;
	}
	return PG_INT64_MAX;
}

static bool
GiveLabel(EffectItem *item)
{
	static KeptPlan plan = {
		.query = "WITH put AS (INSERT INTO loyalty.member_label AS m (member_id, label, value, says, source, confidence, valid_from, valid_until, evidence) "
		"SELECT $1, l.label, CASE WHEN l.kind OPERATOR(pg_catalog.<>) 'flag' THEN v.value END, "
		"CASE WHEN l.kind OPERATOR(pg_catalog.=) 'flag' AND v.value OPERATOR(pg_catalog.=) 'false' THEN 'no' ELSE 'yes' END, "
		"pg_catalog.concat('rule:', $4, '/', coalesce(nullif($5, 0)::pg_catalog.text, pg_catalog.date_part('epoch', $6)::pg_catalog.text)), $7, $6, "
		"pg_catalog.timezone(loyalty.program_time_zone(), pg_catalog.timezone(loyalty.program_time_zone(), $6) OPERATOR(pg_catalog.+) $8), "
		"pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('campaign', $4, 'activity_id', nullif($5, 0))) "
		"FROM loyalty.label l, LATERAL (SELECT loyalty.label_value($2, $3) AS value) v WHERE l.label OPERATOR(pg_catalog.=) $2 "
		"RETURNING m.*) SELECT p.assertion_no, CASE WHEN loyalty.is_heard('label_set') THEN "
		"loyalty.happen('label_set', p.member_id, p.valid_from, pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('version', 1, 'label', p.label, "
		"'value', p.value, 'says', p.says, 'source', p.source, 'confidence', p.confidence, 'valid_until', p.valid_until))) END FROM put p",
		.nargs = 8,
		.argtypes = {INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, NUMERICOID, INTERVALOID}
	};
	const LabelTerms *terms = item->terms;
	Datum		values[8];
	bool		isnull[8] = {false};
	char		nulls[8];

	values[0] = Int64GetDatum(item->member_id);
	PutText(values, isnull, 1, terms->label);
	PutText(values, isnull, 2, terms->value);
	PutText(values, isnull, 3, item->campaign);
	values[4] = Int64GetDatum(item->activity_id);
	values[5] = TimestampTzGetDatum(item->at);
	values[6] = MicrosToNumeric(terms->confidence, 0);
	values[7] = IntervalPGetDatum(terms->valid_for);
	isnull[7] = terms->valid_for == NULL;
	RunPlan(&plan, values, NullFlags(isnull, 8, nulls), 1);
	if (SPI_processed == 0)
		elog(ERROR, "label \"%s\" of campaign \"%s\" was not set", terms->label, item->campaign);
	item->item_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull[0]));
	return true;
}

static void
TakeLabelBack(const EffectItem *item)
{
	static KeptPlan plan = {
		.query = "WITH put AS (INSERT INTO loyalty.member_label AS n (member_id, label, value, says, source, confidence, valid_from, reason) "
		"SELECT m.member_id, m.label, CASE WHEN l.kind OPERATOR(pg_catalog.=) 'set' THEN m.value END, 'nothing', m.source, 1, m.valid_from, 'not earned any more' "
		"FROM loyalty.member_label m JOIN loyalty.label l ON l.label OPERATOR(pg_catalog.=) m.label "
		"WHERE m.member_id OPERATOR(pg_catalog.=) $1 AND m.assertion_no OPERATOR(pg_catalog.=) $2 RETURNING n.*) "
		"SELECT CASE WHEN loyalty.is_heard('label_retracted') THEN loyalty.happen('label_retracted', p.member_id, $3, "
		"pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('version', 1, 'label', p.label, 'value', p.value, 'says', p.says, 'source', p.source))) END FROM put p",
		.nargs = 3,
		.argtypes = {INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int64GetDatum(item->member_id), Int64GetDatum(item->item_id), TimestampTzGetDatum(item->at)};

	/* of who was forgotten nothing is there */
	RunPlan(&plan, values, NULL, 1);
}

/*
 * Part of LabelInit().
 */
void
LabelEffectInit(void)
{
	static const char *const keys[] = {"value", "valid_for", "confidence", NULL};
	static const CampaignEffect effect = {
		.name = "label",
		.keys = keys,
		.parse = ParseLabelEffect,
		.require = RequireLabelOfEffect,
		.left = LabelsLeft,
		.give = GiveLabel,
		.take_back = TakeLabelBack
	};

	RegisterEffect(&effect);
}
