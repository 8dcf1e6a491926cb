/*
 * tier_facts.c
 *		The type tier_facts and the aggregates that make it.
 *
 * A value is a version byte, the names of its measures in order of name, and
 * the facts in order of time, as differences: the same bits for the same
 * facts, in whatever order they came.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"
#include "tier/tier_facts.h"

#define FACTS_VERSION	1

pg_noreturn static void
InvalidFacts(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_FACTS),
			 errmsg("invalid value of type tier_facts"),
			 errdetail("%s", detail),
			 errhint("Make one with loyalty.tier_facts_agg().")));
}

/*
 * The number of a measure in a set; a new one is added.
 */
int
MeasureNumber(FactSet *set, const char *name, Size length)
{
	for (int i = 0; i < set->nmeasures; i++)
		if (strncmp(set->measure[i], name, length) == 0 && set->measure[i][length] == '\0')
			return i;
	if (length == 0 || length >= NAMEDATALEN)
		InvalidFacts(psprintf("The name of a measure has 1 to %d bytes.", NAMEDATALEN - 1));
	if (set->nmeasures >= VERSIONS_MAX_MEASURES)
		InvalidFacts(psprintf("It has more than %d measures.", VERSIONS_MAX_MEASURES));
	/* room for one, two, four, ... names */
	if ((set->nmeasures & (set->nmeasures - 1)) == 0 && set->nmeasures > 0)
		set->measure = repalloc(set->measure, 2 * set->nmeasures * NAMEDATALEN);
	memcpy(set->measure[set->nmeasures], name, length);
	set->measure[set->nmeasures][length] = '\0';
	return set->nmeasures++;
}

static void
AddFactToSet(FactSet *set, const TierFact *fact)
{
	if (set->n == set->size)
	{
		if ((Size) set->n * 2 * sizeof(TierFact) > MaxAllocHugeSize / 2)
			InvalidFacts("It has too many facts.");
		set->size *= 2;
		set->facts = repalloc_huge(set->facts, set->size * sizeof(TierFact));
	}
	set->facts[set->n++] = *fact;
}

static FactSet *
NewSet(MemoryContext context)
{
	FactSet    *set = MemoryContextAlloc(context, sizeof(FactSet));

	set->nmeasures = 0;
	set->n = 0;
	set->size = 4;
	set->facts = MemoryContextAlloc(context, set->size * sizeof(TierFact));
	set->measure = MemoryContextAlloc(context, NAMEDATALEN);
	return set;
}

/* Measures by name, facts by time. */
static void
SortSet(FactSet *set)
{
	int			order[VERSIONS_MAX_MEASURES];
	int			number[VERSIONS_MAX_MEASURES];
	char		(*names)[NAMEDATALEN];
	bool		renamed = false;
	int			sorted = 1;

	for (int i = 0; i < set->nmeasures; i++)
	{
		int			j = i;

		for (; j > 0 && strcmp(set->measure[order[j - 1]], set->measure[i]) > 0; j--)
			order[j] = order[j - 1];
		order[j] = i;
	}
	for (int i = 0; i < set->nmeasures; i++)
	{
		number[order[i]] = i;
		renamed |= order[i] != i;
	}
	if (renamed)
	{
		/* the names of an aggregate's state are not ours to move */
		names = palloc(set->nmeasures * NAMEDATALEN);
		for (int i = 0; i < set->nmeasures; i++)
			memcpy(names[i], set->measure[order[i]], NAMEDATALEN);
		set->measure = names;
		for (int i = 0; i < set->n; i++)
			set->facts[i].measure = number[set->facts[i].measure];
	}
	while (sorted < set->n && CompareTierFacts(&set->facts[sorted - 1], &set->facts[sorted]) <= 0)
		sorted++;
	if (sorted < set->n)
		SortTierFacts(set->facts, set->n);
}

/*
 * A set as a value; sorts it.
 */
static struct varlena *
PackFactSet(FactSet *set)
{
	PackWriter	writer;
	TimestampTz at = 0;

	SortSet(set);
	PackInit(&writer, VARHDRSZ);
	PackUnsigned(&writer, FACTS_VERSION);
	PackUnsigned(&writer, set->nmeasures);
	for (int i = 0; i < set->nmeasures; i++)
	{
		Size		length = strlen(set->measure[i]);

		PackUnsigned(&writer, length);
		PackBytes(&writer, set->measure[i], length);
	}
	PackUnsigned(&writer, set->n);
	for (int i = 0; i < set->n; i++)
	{
		const TierFact *fact = &set->facts[i];

		PackUnsigned(&writer, fact->measure * 2 + (fact->counts_at != fact->at));
		PackTime(&writer, fact->at, at);
		at = fact->at;
		if (fact->counts_at != at)
			PackTime(&writer, fact->counts_at, at);
		PackSigned(&writer, fact->amount);
	}
	SET_VARSIZE(writer.data, writer.used);
	return (struct varlena *) writer.data;
}

/*
 * A value as a set; bytes that are none raise LY407.
 */
void
UnpackFactSet(struct varlena *value, FactSet *set)
{
	PackReader	reader;
	TimestampTz at = 0;
	uint64		n;

	UnpackInit(&reader, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if (UnpackUnsigned(&reader) != FACTS_VERSION)
		InvalidFacts("It is of an unknown version.");
	n = UnpackUnsigned(&reader);
	if (reader.failed || n > VERSIONS_MAX_MEASURES)
		InvalidFacts("It is damaged.");
	set->nmeasures = (int) n;
	set->measure = palloc(Max(n, 1) * NAMEDATALEN);
	for (int i = 0; i < set->nmeasures; i++)
	{
		uint64		length = UnpackUnsigned(&reader);

		if (reader.failed || length == 0 || length >= NAMEDATALEN)
			InvalidFacts("It is damaged.");
		UnpackBytes(&reader, set->measure[i], length);
		set->measure[i][length] = '\0';
	}
	n = UnpackUnsigned(&reader);
	if (reader.failed || n > (uint64) (reader.end - reader.next))
		InvalidFacts("It is damaged.");
	set->n = (int) n;
	set->size = Max(set->n, 1);
	set->facts = palloc_extended(set->size * sizeof(TierFact), MCXT_ALLOC_HUGE);
	for (int i = 0; i < set->n; i++)
	{
		TierFact   *fact = &set->facts[i];
		uint64		measure = UnpackUnsigned(&reader);

		fact->at = at = UnpackTime(&reader, at);
		fact->counts_at = measure & 1 ? UnpackTime(&reader, at) : at;
		fact->amount = UnpackSigned(&reader);
		fact->measure = (int) (measure >> 1);
		if (reader.failed || measure >> 1 >= (uint64) set->nmeasures ||
			!IS_VALID_TIMESTAMP(fact->at) || !IS_VALID_TIMESTAMP(fact->counts_at))
			InvalidFacts("It is damaged.");
	}
	if (reader.next != reader.end)
		InvalidFacts("It is damaged.");
}

/*
 * A set as a history on a ladder: facts of measures that none of its versions
 * has are left out.
 */
void
HistoryOfSet(const LadderVersions *versions, const FactSet *set, TierHistory *history)
{
	int			number[VERSIONS_MAX_MEASURES];

	memset(history, 0, sizeof(TierHistory));
	history->joined_at = TIMESTAMP_INFINITY;
	history->facts = palloc_extended(Max(1, set->n) * sizeof(TierFact), MCXT_ALLOC_HUGE);
	for (int i = 0; i < set->nmeasures; i++)
		number[i] = FindMeasure(versions, set->measure[i]);
	for (int i = 0; i < set->n; i++)
	{
		TierFact	fact = set->facts[i];

		fact.measure = number[fact.measure];
		if (fact.measure >= 0)
			history->facts[history->nfacts++] = fact;
	}
}

/* ---------------------------------------------------------------------------
 * Text and binary form
 * ---------------------------------------------------------------------------
 */

PG_FUNCTION_INFO_V1(loyalty_tier_facts_out);
Datum
loyalty_tier_facts_out(PG_FUNCTION_ARGS)
{
	FactSet		set;
	StringInfoData buf;

	UnpackFactSet(PG_GETARG_VARLENA_PP(0), &set);
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	for (int i = 0; i < set.n; i++)
	{
		const TierFact *fact = &set.facts[i];
		char	   *amount = DatumGetCString(DirectFunctionCall1(numeric_out, UnscaleAmount(fact->amount)));

		CHECK_FOR_INTERRUPTS();
		appendStringInfo(&buf, "%s{\"measure\": ", i > 0 ? ", " : "");
		escape_json(&buf, set.measure[fact->measure]);
		appendStringInfo(&buf, ", \"at\": \"%s\", \"amount\": %s", TimestampText(fact->at), amount);
		if (fact->counts_at != fact->at)
			appendStringInfo(&buf, ", \"counts_at\": \"%s\"", TimestampText(fact->counts_at));
		appendStringInfoChar(&buf, '}');
	}
	appendStringInfoChar(&buf, ']');
	PG_RETURN_CSTRING(buf.data);
}

static TimestampTz
InstantOf(JsonbContainer *json, const char *key, TimestampTz otherwise)
{
	JsonbValue	found;
	char	   *text;

	if (getKeyJsonValueFromContainer(json, key, strlen(key), &found) == NULL)
		return otherwise;
	if (found.type != jbvString)
		InvalidFacts(psprintf("\"%s\" must be an instant.", key));
	text = pnstrdup(found.val.string.val, found.val.string.len);
	/* no words that depend on the clock */
	if (!(text[0] >= '0' && text[0] <= '9'))
		InvalidFacts(psprintf("\"%s\" must be an instant.", key));
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

PG_FUNCTION_INFO_V1(loyalty_tier_facts_in);
Datum
loyalty_tier_facts_in(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, PG_GETARG_DATUM(0)));
	FactSet    *set = NewSet(CurrentMemoryContext);

	if (!JB_ROOT_IS_ARRAY(json) || JB_ROOT_IS_SCALAR(json))
		InvalidFacts("It must be an array of objects.");
	for (uint32 i = 0; i < JB_ROOT_COUNT(json); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&json->root, i);
		JsonbContainer *object;
		JsonbValue	found;
		TierFact	fact;

		if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
			InvalidFacts("It must be an array of objects.");
		object = element->val.binary.data;
		if (getKeyJsonValueFromContainer(object, "measure", 7, &found) == NULL || found.type != jbvString)
			InvalidFacts("\"measure\" must be a text.");
		fact.measure = MeasureNumber(set, found.val.string.val, found.val.string.len);
		if (getKeyJsonValueFromContainer(object, "amount", 6, &found) == NULL || found.type != jbvNumeric)
			InvalidFacts("\"amount\" must be a number.");
		fact.amount = ScaleAmount(NumericGetDatum(found.val.numeric));
		fact.at = InstantOf(object, "at", TIMESTAMP_INFINITY);
		if (TIMESTAMP_NOT_FINITE(fact.at))
			InvalidFacts("\"at\" must be an instant.");
		fact.counts_at = InstantOf(object, "counts_at", fact.at);
		AddFactToSet(set, &fact);
	}
	PG_RETURN_POINTER(PackFactSet(set));
}

/*
 * tier_facts_recv(internal): the stored bytes, in the one form that they have
 * when facts are collected; 22P03 for any other.
 */
PG_FUNCTION_INFO_V1(loyalty_tier_facts_recv);
Datum
loyalty_tier_facts_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			length = buf->len - buf->cursor;
	struct varlena *value = palloc(VARHDRSZ + length);
	struct varlena *canonical;
	Datum		text;
	FactSet		set;

	SET_VARSIZE(value, VARHDRSZ + length);
	memcpy(VARDATA(value), pq_getmsgbytes(buf, length), length);
	UnpackFactSet(value, &set);
	text = DirectFunctionCall1(loyalty_tier_facts_out, PointerGetDatum(PackFactSet(&set)));
	canonical = (struct varlena *) DatumGetPointer(DirectFunctionCall1(loyalty_tier_facts_in, text));
	if (VARSIZE(canonical) != VARSIZE(value) || memcmp(canonical, value, VARSIZE(value)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary format of tier_facts")));
	PG_RETURN_POINTER(canonical);
}

PG_FUNCTION_INFO_V1(loyalty_tier_facts_send);
Datum
loyalty_tier_facts_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0)));
}

/* ---------------------------------------------------------------------------
 * Aggregates
 * ---------------------------------------------------------------------------
 */

static FactSet *
FactsTransition(FunctionCallInfo fcinfo, bool points)
{
	MemoryContext context;
	FactSet    *set;
	TierFact	fact;
	text	   *measure;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	set = PG_ARGISNULL(0) ? NULL : (FactSet *) PG_GETARG_POINTER(0);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		return set;
	if (set == NULL)
		set = NewSet(context);

	measure = PG_GETARG_TEXT_PP(1);
	fact.measure = MeasureNumber(set, VARDATA_ANY(measure), VARSIZE_ANY_EXHDR(measure));
	fact.at = PG_GETARG_TIMESTAMPTZ(2);
	fact.counts_at = PG_ARGISNULL(4) ? fact.at : PG_GETARG_TIMESTAMPTZ(4);
	if (TIMESTAMP_NOT_FINITE(fact.at) || TIMESTAMP_NOT_FINITE(fact.counts_at))
		InvalidFacts("Instants must be finite.");
	if (points)
	{
		int64		n = PG_GETARG_INT64(3);

		if (n > PG_INT64_MAX / TIER_SCALE || n < PG_INT64_MIN / TIER_SCALE)
			InvalidFacts("An amount is out of range.");
		fact.amount = n * TIER_SCALE;
	}
	else
		fact.amount = ScaleAmount(PG_GETARG_DATUM(3));
	AddFactToSet(set, &fact);
	return set;
}

PG_FUNCTION_INFO_V1(loyalty_tier_facts_transfn);
Datum
loyalty_tier_facts_transfn(PG_FUNCTION_ARGS)
{
	FactSet    *set = FactsTransition(fcinfo, false);

	if (set == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(set);
}

PG_FUNCTION_INFO_V1(loyalty_tier_points_transfn);
Datum
loyalty_tier_points_transfn(PG_FUNCTION_ARGS)
{
	FactSet    *set = FactsTransition(fcinfo, true);

	if (set == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(set);
}

PG_FUNCTION_INFO_V1(loyalty_tier_facts_combine);
Datum
loyalty_tier_facts_combine(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	FactSet    *into;
	FactSet    *from;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_POINTER(PG_GETARG_POINTER(0));
	}
	from = (FactSet *) PG_GETARG_POINTER(1);
	into = PG_ARGISNULL(0) ? NewSet(context) : (FactSet *) PG_GETARG_POINTER(0);
	for (int i = 0; i < from->n; i++)
	{
		TierFact	fact = from->facts[i];
		const char *name = from->measure[fact.measure];

		fact.measure = MeasureNumber(into, name, strlen(name));
		AddFactToSet(into, &fact);
	}
	PG_RETURN_POINTER(into);
}

/* The value of an aggregate's state, which itself stays as it is. */
static struct varlena *
PackCopy(const FactSet *set)
{
	FactSet		copy = *set;

	copy.facts = palloc_extended(copy.n * sizeof(TierFact), MCXT_ALLOC_HUGE);
	memcpy(copy.facts, set->facts, copy.n * sizeof(TierFact));
	return PackFactSet(&copy);
}

PG_FUNCTION_INFO_V1(loyalty_tier_facts_serialize);
Datum
loyalty_tier_facts_serialize(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PackCopy((FactSet *) PG_GETARG_POINTER(0)));
}

PG_FUNCTION_INFO_V1(loyalty_tier_facts_deserialize);
Datum
loyalty_tier_facts_deserialize(PG_FUNCTION_ARGS)
{
	FactSet    *set = palloc(sizeof(FactSet));

	UnpackFactSet(PG_GETARG_VARLENA_PP(0), set);
	PG_RETURN_POINTER(set);
}

PG_FUNCTION_INFO_V1(loyalty_tier_facts_finalfn);
Datum
loyalty_tier_facts_finalfn(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(PackCopy((FactSet *) PG_GETARG_POINTER(0)));
}
