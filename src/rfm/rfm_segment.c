/*
 * rfm_segment.c
 *		Names for scores: rfm_segment(r, f, m, scheme, language).
 *
 * A scheme is data: a JSON object with the number of bins and a list of rules,
 * each naming a segment and the scores it takes.  Of the rules that take a
 * member's scores, the first gives its name.
 *
 *	{"bins": 5,
 *	 "rules": [{"segment": "Champions", "zh": "...", "codes": ["555", "554"]},
 *			   {"segment": "Loyal", "r": [2, 5], "f": [3, 5], "m": [3, 5]},
 *			   {"segment": "Lost", "r": 1, "fm": [1, 2.5]}],
 *	 "otherwise": {"segment": "Others", "zh": "..."}}
 *
 * codes lists scores one by one, as digits or, for ten bins, with dashes
 * (10-9-1).  Otherwise r, f, m and fm, the mean of f and m, are numbers or
 * pairs of least and most, and what is missing may have any score.
 */
#include "rfm/rfm_score.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "core/errors.h"

#define MAX_CODES	(MAX_BINS * MAX_BINS * MAX_BINS)
#define MAX_RULES	1000

/* What a rule limits: the three scores, and the mean of f and m. */
#define LIMITS		(DIMENSIONS + 1)

static const char *const limit_names[LIMITS] = {"r", "f", "m", "fm"};

typedef struct Rule
{
	text	   *segment;
	text	   *chinese;		/* NULL: the same */
	bool		by_code;
	bool		codes[MAX_CODES];
	double		least[LIMITS];
	double		most[LIMITS];
} Rule;

typedef struct Scheme
{
	int			bins;
	int			nrules;
	Rule	   *rules;
	Rule	   *otherwise;		/* or NULL */
	int16		first[MAX_CODES];	/* first rule that takes the code, or -1 */
} Scheme;

static int
CodeOf(const Scheme *scheme, int r, int f, int m)
{
	return ((r - 1) * scheme->bins + (f - 1)) * scheme->bins + (m - 1);
}

static bool
RuleTakes(const Scheme *scheme, const Rule *rule, int r, int f, int m)
{
	const double scores[LIMITS] = {r, f, m, (f + m) / 2.0};

	if (rule->by_code)
		return rule->codes[CodeOf(scheme, r, f, m)];
	for (int i = 0; i < LIMITS; i++)
		if (scores[i] < rule->least[i] || scores[i] > rule->most[i])
			return false;
	return true;
}

pg_noreturn static void
InvalidScheme(int rule, const char *why)
{
	if (rule < 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_SCHEME),
				 errmsg("invalid segment scheme: %s", why),
				 errdetail("It is the definition as a whole."),
				 errhint("A scheme has bins (2 to 10), rules (a list) and, where codes may be left over, otherwise.")));
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_SCHEME),
			 errmsg("invalid segment scheme: rule %d %s", rule + 1, why),
			 errdetail("Rules are counted from 1, in the order given."),
			 errhint("A rule has segment and either codes or limits r, f, m, fm, each a number or [least, most].")));
}

static bool
NameIs(const JsonbValue *key, const char *name)
{
	return key->val.string.len == (int) strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

static double
NumberOf(const JsonbValue *value)
{
	if (value == NULL || value->type != jbvNumeric)
		return get_float8_nan();
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
}

static text *
TextOf(const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0)
		return NULL;
	return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

/* Reads a code, digits or numbers with dashes; false when it is none. */
static bool
ReadCode(const Scheme *scheme, const JsonbValue *value, int *code)
{
	char	   *text;
	int			scores[DIMENSIONS];
	int			used = 0;

	if (value->type != jbvString)
		return false;
	text = pnstrdup(value->val.string.val, value->val.string.len);
	if (strchr(text, '-') == NULL)
	{
		if (strlen(text) != DIMENSIONS)
			return false;
		for (int i = 0; i < DIMENSIONS; i++)
			scores[i] = text[i] - '0';
	}
	else if (sscanf(text, "%2d-%2d-%2d%n", &scores[0], &scores[1], &scores[2], &used) != DIMENSIONS ||
			 text[used] != '\0')
		return false;
	for (int i = 0; i < DIMENSIONS; i++)
		if (scores[i] < 1 || scores[i] > scheme->bins)
			return false;
	*code = CodeOf(scheme, scores[0], scores[1], scores[2]);
	return true;
}

/* Reads a limit: a number, or a pair of least and most. */
static bool
ReadLimit(const Scheme *scheme, const JsonbValue *value, double *least, double *most)
{
	if (value->type == jbvNumeric)
		*least = *most = NumberOf(value);
	else if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) &&
			 JsonContainerSize(value->val.binary.data) == 2)
	{
		*least = NumberOf(getIthJsonbValueFromContainer(value->val.binary.data, 0));
		*most = NumberOf(getIthJsonbValueFromContainer(value->val.binary.data, 1));
	}
	else
		return false;
	/* bounds outside the scores are harmless; published rules have them */
	return *least <= *most && *least <= scheme->bins && *most >= 1;
}

/* Reads one rule, or what holds otherwise (rule -1), which only has names. */
static void
ReadRule(Scheme *scheme, Rule *rule, JsonbContainer *object, int number)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbIteratorToken token;
	bool		limited = false;

	memset(rule, 0, sizeof(Rule));
	for (int i = 0; i < LIMITS; i++)
		rule->most[i] = MAX_BINS;

	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		JsonbValue	value;
		bool		known = false;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if (NameIs(&key, "segment"))
		{
			rule->segment = TextOf(&value);
			known = true;
		}
		else if (NameIs(&key, "zh"))
		{
			if ((rule->chinese = TextOf(&value)) == NULL)
				InvalidScheme(number, "has a Chinese name that is no text");
			known = true;
		}
		else if (number >= 0 && NameIs(&key, "codes"))
		{
			if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
				InvalidScheme(number, "has codes that are no list");
			for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
			{
				int			code;

				if (!ReadCode(scheme, getIthJsonbValueFromContainer(value.val.binary.data, i), &code))
					InvalidScheme(number, psprintf("has a code (number %u) that is no text of three scores", i + 1));
				rule->codes[code] = true;
			}
			rule->by_code = true;
			known = true;
		}
		for (int i = 0; number >= 0 && i < LIMITS; i++)
			if (NameIs(&key, limit_names[i]))
			{
				if (!ReadLimit(scheme, &value, &rule->least[i], &rule->most[i]))
					InvalidScheme(number, psprintf("has no usable limit of %s", limit_names[i]));
				limited = known = true;
			}
		if (!known)
			InvalidScheme(number, psprintf("has an unknown key \"%s\"",
										   pnstrdup(key.val.string.val, key.val.string.len)));
	}
	if (rule->segment == NULL)
		InvalidScheme(number, "has no segment name");
	if (number >= 0 && rule->by_code == limited)
		InvalidScheme(number, "must have either codes or limits");
}

/* Reads a scheme into the current memory context; LY305 when it is none. */
static Scheme *
ReadScheme(Jsonb *definition)
{
	Scheme	   *scheme = palloc0(sizeof(Scheme));
	JsonbContainer *root = &definition->root;
	JsonbValue *value;
	uint32		known = 2;

	if (!JsonContainerIsObject(root))
		InvalidScheme(-1, "it is no JSON object");
	value = getKeyJsonValueFromContainer(root, "bins", 4, NULL);
	scheme->bins = MIN_BINS;
	if (value == NULL || value->type != jbvNumeric ||
		!(NumberOf(value) >= MIN_BINS && NumberOf(value) <= MAX_BINS) ||
		NumberOf(value) != floor(NumberOf(value)))
		InvalidScheme(-1, "bins is no number from 2 to 10");
	scheme->bins = (int) NumberOf(value);

	value = getKeyJsonValueFromContainer(root, "rules", 5, NULL);
	if (value == NULL || value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		JsonContainerSize(value->val.binary.data) < 1 || JsonContainerSize(value->val.binary.data) > MAX_RULES)
		InvalidScheme(-1, "rules is no list of 1 to 1000 rules");
	scheme->nrules = (int) JsonContainerSize(value->val.binary.data);
	scheme->rules = palloc(scheme->nrules * sizeof(Rule));
	for (int i = 0; i < scheme->nrules; i++)
	{
		JsonbValue *rule = getIthJsonbValueFromContainer(value->val.binary.data, i);

		if (rule->type != jbvBinary || !JsonContainerIsObject(rule->val.binary.data))
			InvalidScheme(i, "is no object");
		ReadRule(scheme, &scheme->rules[i], rule->val.binary.data, i);
	}

	value = getKeyJsonValueFromContainer(root, "otherwise", 9, NULL);
	if (value != NULL)
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			InvalidScheme(-1, "otherwise is no object with segment");
		scheme->otherwise = palloc(sizeof(Rule));
		ReadRule(scheme, scheme->otherwise, value->val.binary.data, -1);
		known++;
	}
	if (JsonContainerSize(root) != known)
		InvalidScheme(-1, "it has an unknown key");

	for (int r = 1; r <= scheme->bins; r++)
		for (int f = 1; f <= scheme->bins; f++)
			for (int m = 1; m <= scheme->bins; m++)
			{
				int16	   *first = &scheme->first[CodeOf(scheme, r, f, m)];

				*first = -1;
				for (int i = 0; i < scheme->nrules && *first < 0; i++)
					if (RuleTakes(scheme, &scheme->rules[i], r, f, m))
						*first = (int16) i;
			}
	return scheme;
}

/* Finds the definition of a named scheme, ours or the user's; LY304 if there is none. */
static Jsonb *
FindScheme(text *name)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.find_rfm_scheme($1)",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		value = PointerGetDatum(name);
	bool		isnull;
	Jsonb	   *found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlanReadOnly(&plan, &value, NULL, 1);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (isnull)
		elog(ERROR, "no definition of a segment scheme");
	found = DatumGetJsonbPCopy(value);
	found = memcpy(MemoryContextAlloc(caller, VARSIZE(found)), found, VARSIZE(found));
	SPI_finish();
	return found;
}

/* What a call site keeps: the scheme and the breaks it met last. */
typedef struct SegmentCache
{
	MemoryContext context;		/* holds name and scheme */
	text	   *name;
	Scheme	   *scheme;
	BreaksCache breaks;
} SegmentCache;

/* The scheme of a name, or of a definition in place (it begins with a brace). */
static Scheme *
GetScheme(FunctionCallInfo fcinfo, SegmentCache *cache, const text *name)
{
	MemoryContext old;
	int			size = (int) VARSIZE_ANY_EXHDR(name);
	Scheme	   *scheme;

	if (likely(cache->scheme != NULL && (int) VARSIZE_ANY_EXHDR(cache->name) == size &&
			   memcmp(VARDATA_ANY(cache->name), VARDATA_ANY(name), size) == 0))
		return cache->scheme;

	cache->scheme = NULL;
	if (cache->context == NULL)
		cache->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "segment scheme", ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache->context);
	old = MemoryContextSwitchTo(cache->context);
	cache->name = cstring_to_text_with_len(VARDATA_ANY(name), size);
	if (size > 0 && *VARDATA_ANY(name) == '{')
		scheme = ReadScheme(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															   CStringGetDatum(text_to_cstring(name)))));
	else
		scheme = ReadScheme(FindScheme(cache->name));
	MemoryContextSwitchTo(old);
	cache->scheme = scheme;
	return scheme;
}

static SegmentCache *
GetCache(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(SegmentCache));
	return fcinfo->flinfo->fn_extra;
}

/* A copy of the name of the segment of scores, or NULL where no rule takes them. */
static text *
NameSegment(const Scheme *scheme, const int *scores, const text *language)
{
	const Rule *rule;
	const text *name;
	text	   *copy;
	int			first;
	bool		chinese;

	for (int dim = 0; dim < DIMENSIONS; dim++)
		if (scores[dim] < 1 || scores[dim] > scheme->bins)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("%s score %d is not between 1 and %d", dimension_names[dim], scores[dim], scheme->bins),
					 errdetail("The scheme has %d bins.", scheme->bins),
					 errhint("Score with as many bins as the scheme has: rfm_method('quantile', %d).", scheme->bins)));
	chinese = VARSIZE_ANY_EXHDR(language) == 2 && memcmp(VARDATA_ANY(language), "zh", 2) == 0;
	if (!chinese && !(VARSIZE_ANY_EXHDR(language) == 2 && memcmp(VARDATA_ANY(language), "en", 2) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("unknown language \"%s\"", text_to_cstring(language)),
				 errdetail("Segments have names in two languages."),
				 errhint("Use en or zh.")));

	first = scheme->first[CodeOf(scheme, scores[0], scores[1], scores[2])];
	rule = first >= 0 ? &scheme->rules[first] : scheme->otherwise;
	if (rule == NULL)
		return NULL;
	name = chinese && rule->chinese != NULL ? rule->chinese : rule->segment;

	/* the caller may keep it longer than this call site keeps the scheme */
	copy = palloc(VARSIZE(name));
	memcpy(copy, name, VARSIZE(name));
	return copy;
}

PG_FUNCTION_INFO_V1(loyalty_rfm_segment);
/*
 * rfm_segment(r integer, f integer, m integer, scheme text DEFAULT 'code125',
 *			   language text DEFAULT 'en') returns text
 *
 * The segment that the scheme gives to scores; NULL for NULL scores, or where
 * the scheme takes no such code and has no otherwise.  scheme: a name (LY304
 * if unknown) or a definition in place (LY305 if invalid).  language: en or zh;
 * where a rule has no Chinese name, its name.  Scores beyond the bins of the
 * scheme are refused (LY003).
 */
Datum
loyalty_rfm_segment(PG_FUNCTION_ARGS)
{
	const int	scores[DIMENSIONS] = {PG_GETARG_INT32(0), PG_GETARG_INT32(1), PG_GETARG_INT32(2)};
	Scheme	   *scheme = GetScheme(fcinfo, GetCache(fcinfo), PG_GETARG_TEXT_PP(3));
	text	   *name = NameSegment(scheme, scores, PG_GETARG_TEXT_PP(4));

	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(name);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_segment_of);
/*
 * rfm_segment_of(summary rfm, breaks rfm_breaks, as_of timestamptz,
 *				  scheme text DEFAULT 'code125', language text DEFAULT 'en',
 *				  member_key text DEFAULT NULL) returns text
 *
 * rfm_score and rfm_segment in one call, for long lists of members.  NULL where
 * one of the first five is NULL or there is no purchase; errors as theirs.
 */
Datum
loyalty_rfm_segment_of(PG_FUNCTION_ARGS)
{
	SegmentCache *cache = GetCache(fcinfo);
	int			scores[DIMENSIONS];
	text	   *name;

	if (PG_ARGISNULL(3) || PG_ARGISNULL(4) || !ScoreMember(fcinfo, 5, &cache->breaks, scores))
		PG_RETURN_NULL();
	name = NameSegment(GetScheme(fcinfo, cache, PG_GETARG_TEXT_PP(3)), scores, PG_GETARG_TEXT_PP(4));
	if (name == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(name);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_scheme_codes);
/*
 * rfm_scheme_codes(definition jsonb, OUT r integer, OUT f integer, OUT m integer,
 *					OUT code text, OUT rules integer[]) returns setof record
 *
 * Every combination of scores, with the numbers of the rules that take it, in
 * order; the first counts.  LY305 when the definition is none.
 */
Datum
loyalty_rfm_scheme_codes(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	Scheme	   *scheme;
	int			r;
	int			f;
	int			m;
	int			n = 0;
	Datum	   *numbers;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		context = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		scheme = ReadScheme(DatumGetJsonbPCopy(PG_GETARG_DATUM(0)));
		context->user_fctx = scheme;
		context->max_calls = (uint64) scheme->bins * scheme->bins * scheme->bins;
		if (get_call_result_type(fcinfo, NULL, &context->tuple_desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "rfm_scheme_codes must return rows");
		context->tuple_desc = BlessTupleDesc(context->tuple_desc);
		MemoryContextSwitchTo(old);
	}

	context = SRF_PERCALL_SETUP();
	scheme = context->user_fctx;
	if (context->call_cntr >= context->max_calls)
		SRF_RETURN_DONE(context);

	r = (int) context->call_cntr / (scheme->bins * scheme->bins) + 1;
	f = (int) context->call_cntr / scheme->bins % scheme->bins + 1;
	m = (int) context->call_cntr % scheme->bins + 1;
	numbers = palloc(scheme->nrules * sizeof(Datum));
	for (int i = 0; i < scheme->nrules; i++)
		if (RuleTakes(scheme, &scheme->rules[i], r, f, m))
			numbers[n++] = Int32GetDatum(i + 1);
	values[0] = Int32GetDatum(r);
	values[1] = Int32GetDatum(f);
	values[2] = Int32GetDatum(m);
	values[3] = CStringGetTextDatum(psprintf(scheme->bins < 10 ? "%d%d%d" : "%d-%d-%d", r, f, m));
	values[4] = PointerGetDatum(construct_array(numbers, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	SRF_RETURN_NEXT(context, HeapTupleGetDatum(heap_form_tuple(context->tuple_desc, values, nulls)));
}
