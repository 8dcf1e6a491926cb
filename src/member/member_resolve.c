/*
 * member_resolve.c
 *		resolve_member(): the fast path, for somebody who is known.
 *
 * Most calls name identifiers that are all known, of one member, with nothing
 * to note.  They are answered here, by one index look-up for each identifier
 * and without a write.  Everything else goes to resolve_member_fully().
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "member/member.h"

#define MAX_FAST_IDENTIFIERS	8
#define MAX_NAMESPACES			64

/* A row of loyalty.identifier_namespace, as this session knows it */
typedef struct Namespace
{
	char		name[NAMEDATALEN];
	IdentifierKind kind;
	char	   *country;		/* or NULL */
	bool		provider_rules;
	bool		fold_case;
	bool		shared;
	bool		merge_unverified;
	int32		priority;
	int32		shared_above;	/* or 0 */
} Namespace;

static Namespace *namespaces = NULL;
static int	nnamespaces = 0;
static HTAB *blocked = NULL;	/* of uint64 hashes; a collision costs time only */
static MemoryContext settings_context = NULL;
static bool too_many = false;	/* namespaces, to be kept */

static uint64
HashOfValue(const char *name, const char *value, int len)
{
	return hash_bytes_extended((const unsigned char *) value, len, 0) ^
		hash_bytes_extended((const unsigned char *) name, (int) strlen(name), 1);
}

/*
 * Reads the settings of namespaces and the blocked values.
 */
static void
ReadSettings(void)
{
	static KeptPlan namespace_plan = {
		.query = "SELECT namespace, kind, default_country, provider_rules, fold_case, shared, merge_unverified, priority, "
		"coalesce(shared_above, 0) "
		"FROM loyalty.identifier_namespace ORDER BY namespace",
	};
	static KeptPlan blocked_plan = {
		.query = "SELECT namespace, value FROM loyalty.blocked_identifier",
	};
	HASHCTL		ctl = {0};
	bool		isnull;

	if (settings_context == NULL)
		settings_context = AllocSetContextCreate(TopMemoryContext, "loyalty namespaces", ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(settings_context);
	namespaces = NULL;
	nnamespaces = 0;
	RunPlanReadOnly(&namespace_plan, NULL, NULL, 0);
	too_many = SPI_processed > MAX_NAMESPACES;
	if (too_many)
		return;
	namespaces = MemoryContextAllocZero(settings_context, (SPI_processed + 1) * sizeof(Namespace));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Namespace  *n = &namespaces[nnamespaces++];
		char	   *country = SPI_getvalue(row, desc, 3);

		strlcpy(n->name, SPI_getvalue(row, desc, 1), NAMEDATALEN);
		n->kind = KindOfNamespace(SPI_getvalue(row, desc, 2));
		n->country = country ? MemoryContextStrdup(settings_context, country) : NULL;
		n->provider_rules = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
		n->fold_case = DatumGetBool(SPI_getbinval(row, desc, 5, &isnull));
		n->shared = DatumGetBool(SPI_getbinval(row, desc, 6, &isnull));
		n->merge_unverified = DatumGetBool(SPI_getbinval(row, desc, 7, &isnull));
		n->priority = DatumGetInt32(SPI_getbinval(row, desc, 8, &isnull));
		n->shared_above = DatumGetInt32(SPI_getbinval(row, desc, 9, &isnull));
	}

	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(uint64);
	ctl.hcxt = settings_context;
	blocked = hash_create("loyalty blocked identifiers", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	RunPlanReadOnly(&blocked_plan, NULL, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		char	   *value = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		uint64		hash = HashOfValue(name, value, (int) strlen(value));

		hash_search(blocked, &hash, HASH_ENTER, NULL);
	}
}

/*
 * Sees to it that these are known; false when there are more namespaces than
 * are kept.
 */
static bool
KnowNamespaces(void)
{
	static Settings settings = {.tables = {"identifier_namespace", "blocked_identifier"}, .read = ReadSettings};

	return KnowSettings(&settings) && !too_many;
}

static bool
IsBlocked(const char *name, const char *value, int len)
{
	uint64		hash = HashOfValue(name, value, len);
	uint64		everywhere = HashOfValue("*", value, len);

	return hash_search(blocked, &hash, HASH_FIND, NULL) != NULL ||
		hash_search(blocked, &everywhere, HASH_FIND, NULL) != NULL;
}

/* An identifier as given, and what was found */
typedef struct Given
{
	const Namespace *space;
	StringInfoData value;
	bool		verified;
	bool		proven;			/* shows that the member is whoever gave it */
	int64		identifier_id;
	int64		member_id;
	int64		home_id;
} Given;

/*
 * Takes one identifier; false when the fast path is not for it.
 */
static bool
TakeIdentifier(Given *given, int n, const JsonbValue *name, const JsonbValue *value, const JsonbValue *country,
			   bool verified)
{
	Given	   *own = &given[n];
	char	   *raw;
	char	   *own_country;
	int			from = 0;
	int			to = value->val.string.len;

	if (name->type != jbvString || value->type != jbvString)
		return false;
	own->space = NULL;
	for (int i = 0; i < nnamespaces; i++)
	{
		if ((int) strlen(namespaces[i].name) == name->val.string.len &&
			memcmp(namespaces[i].name, name->val.string.val, name->val.string.len) == 0)
			own->space = &namespaces[i];
	}
	if (own->space == NULL || own->space->shared)
		return false;
	own_country = own->space->country;
	if (country != NULL)
	{
		own_country = pnstrdup(country->val.string.val, country->val.string.len);
		if (!IsPhoneCountry(own_country))
			return false;
	}

	raw = pnstrdup(value->val.string.val, value->val.string.len);
	initStringInfo(&own->value);
	if (NormalizeIdentifier(own->space->kind, raw, to, own_country,
							own->space->provider_rules, own->space->fold_case, &own->value) != NULL)
		return false;

	/* blocked as it is stored, or as it is written */
	if (IsBlocked(own->space->name, own->value.data, own->value.len))
		return false;
	while (from < to && raw[from] == ' ')
		from++;
	while (to > from && raw[to - 1] == ' ')
		to--;
	for (int i = from; i < to; i++)
	{
		if (IS_HIGHBIT_SET(raw[i]))
			return false;
		raw[i] = pg_ascii_tolower((unsigned char) raw[i]);
	}
	if (IsBlocked(own->space->name, raw + from, to - from))
		return false;

	for (int i = 0; i < n; i++)
	{
		if (given[i].space == own->space && strcmp(given[i].value.data, own->value.data) == 0)
			return false;
	}
	own->verified = verified;
	return true;
}

/*
 * Reads the identifiers; their number, or -1 when the fast path is not for
 * them.
 */
static int
TakeIdentifiers(Jsonb *json, Given *given)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	JsonbValue	name;
	JsonbValue	value;
	JsonbValue	country;
	JsonbValue	key;
	bool		has_country = false;
	bool		verified = false;
	bool		is_array = JB_ROOT_IS_ARRAY(json) && !JB_ROOT_IS_SCALAR(json);
	int			n = 0;

	if (!is_array && !JB_ROOT_IS_OBJECT(json))
		return -1;
	if (JB_ROOT_COUNT(json) == 0 || JB_ROOT_COUNT(json) > MAX_FAST_IDENTIFIERS)
		return -1;
	it = JsonbIteratorInit(&json->root);
	memset(&name, 0, sizeof(name));
	memset(&value, 0, sizeof(value));
	memset(&country, 0, sizeof(country));
	(void) JsonbIteratorNext(&it, &v, false);
	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		if (!is_array)
		{
			if (token == WJB_END_OBJECT)
				break;
			if (token != WJB_KEY)
				return -1;
			name = v;
			if (JsonbIteratorNext(&it, &v, true) != WJB_VALUE || !TakeIdentifier(given, n, &name, &v, NULL, false))
				return -1;
			n++;
			continue;
		}
		switch (token)
		{
			case WJB_BEGIN_OBJECT:
				name.type = value.type = jbvNull;
				has_country = verified = false;
				break;
			case WJB_KEY:
				key = v;
				if (JsonbIteratorNext(&it, &v, true) != WJB_VALUE)
					return -1;
				if (key.val.string.len == 9 && memcmp(key.val.string.val, "namespace", 9) == 0)
					name = v;
				else if (key.val.string.len == 5 && memcmp(key.val.string.val, "value", 5) == 0)
					value = v;
				else if (key.val.string.len == 8 && memcmp(key.val.string.val, "verified", 8) == 0)
				{
					if (v.type != jbvBool)
						return -1;
					verified = v.val.boolean;
				}
				else if (key.val.string.len == 7 && memcmp(key.val.string.val, "country", 7) == 0)
				{
					if (v.type != jbvString)
						return -1;
					country = v;
					has_country = true;
				}
				else
					return -1;
				break;
			case WJB_END_OBJECT:
				if (!TakeIdentifier(given, n, &name, &value, has_country ? &country : NULL, verified))
					return -1;
				n++;
				break;
			case WJB_END_ARRAY:
				return n;
			default:
				return -1;
		}
	}
	return n;
}

static int
CompareGiven(const void *a, const void *b)
{
	const Given *x = a;
	const Given *y = b;

	if (x->proven != y->proven)
		return x->proven ? -1 : 1;
	if (x->space->priority != y->space->priority)
		return x->space->priority < y->space->priority ? -1 : 1;
	return x->identifier_id < y->identifier_id ? -1 : 1;
}

/*
 * The statement that looks up n identifiers: n index scans, started once.
 */
static KeptPlan *
LookUpPlan(int n)
{
	static KeptPlan plans[MAX_FAST_IDENTIFIERS + 1];
	KeptPlan   *plan = &plans[n];

	if (plan->query == NULL)
	{
		StringInfoData query;

		initStringInfo(&query);
		for (int i = 0; i < n; i++)
		{
			appendStringInfo(&query, "%sSELECT %d, identifier_id, member_id, home_member_id, verified, last_seen, claimed "
							 "FROM loyalty.identifier WHERE exclusive AND namespace OPERATOR(pg_catalog.=) $%d "
							 "AND value OPERATOR(pg_catalog.=) $%d", i > 0 ? " UNION ALL " : "", i, 2 * i + 1, 2 * i + 2);
			plan->argtypes[2 * i] = plan->argtypes[2 * i + 1] = TEXTOID;
		}
		plan->nargs = 2 * n;
		plan->query = MemoryContextStrdup(TopMemoryContext, query.data);
	}
	return plan;
}

/*
 * Whether so many came with a value, or verified it, that it counts as shared.
 */
static bool
IsCrowded(const Given *given, bool verified)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.members_with_value($1, $2, $3)",
		.nargs = 3,
		.argtypes = {TEXTOID, TEXTOID, BOOLOID}
	};
	Datum		values[3] = {CStringGetTextDatum(given->space->name),
		PointerGetDatum(cstring_to_text_with_len(given->value.data, given->value.len)), BoolGetDatum(verified)};
	bool		isnull;

	RunPlanReadOnly(&plan, values, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) >
		given->space->shared_above;
}

/*
 * Looks all of them up; false unless all are known, of one member, and there
 * is nothing to note.
 */
static bool
LookUpGiven(Given *given, int n, TimestampTz effective_at)
{
	Datum		values[2 * MAX_FAST_IDENTIFIERS];
	bool		now[MAX_FAST_IDENTIFIERS];

	for (int i = 0; i < n; i++)
	{
		now[i] = given[i].verified;
		values[2 * i] = CStringGetTextDatum(given[i].space->name);
		values[2 * i + 1] = PointerGetDatum(cstring_to_text_with_len(given[i].value.data, given[i].value.len));
	}
	RunPlanReadOnly(LookUpPlan(n), values, NULL, 0);
	if (SPI_processed != (uint64) n)
		return false;
	for (int i = 0; i < n; i++)
	{
		Datum		row[7];
		bool		nulls[7];
		Given	   *own;

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		own = &given[DatumGetInt32(row[0])];
		own->identifier_id = DatumGetInt64(row[1]);
		own->member_id = DatumGetInt64(row[2]);
		own->home_id = DatumGetInt64(row[3]);
		/* what was proven before proves the member; for the first time it may not */
		own->proven = (own->verified || own->space->merge_unverified) && !DatumGetBool(row[6]);
		if (DatumGetBool(row[4]))
			own->verified = true;
		else if (own->verified)
			return false;
		if (DatumGetTimestampTz(row[5]) < effective_at - USECS_PER_DAY)
			return false;
	}
	for (int i = 1; i < n; i++)
	{
		if (given[i].member_id != given[0].member_id)
			return false;
	}
	for (int i = 0; i < n; i++)
	{
		if (given[i].space->shared_above > 0 && IsCrowded(&given[i], now[i]))
			return false;
	}
	return true;
}

static void
PushKey(JsonbParseState **state, const char *key)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, key);
	v.val.string.len = (int) strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
}

static void
PushNumber(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	v = {.type = jbvNumeric};

	v.val.numeric = int64_to_numeric(number);
	PushKey(state, key);
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
PushBoolean(JsonbParseState **state, const char *key, bool boolean)
{
	JsonbValue	v = {.type = jbvBool};

	v.val.boolean = boolean;
	PushKey(state, key);
	pushJsonbValue(state, WJB_VALUE, &v);
}

/*
 * why, as resolve_member_fully() tells it: what was found.
 */
static Datum
WhyFound(const Given *given, int n)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	PushKey(&state, "found");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue	v = {.type = jbvString};

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		PushNumber(&state, "identifier_id", given[i].identifier_id);
		PushNumber(&state, "member_id", given[i].member_id);
		PushNumber(&state, "priority", given[i].space->priority);
		PushBoolean(&state, "proven", given[i].proven);
		PushBoolean(&state, "verified", given[i].verified);
		PushKey(&state, "namespace");
		v.val.string.val = pstrdup(given[i].space->name);
		v.val.string.len = (int) strlen(given[i].space->name);
		pushJsonbValue(&state, WJB_VALUE, &v);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/*
 * The row type of the result: the query knows it already where the function
 * stands in FROM.
 */
static TupleDesc
ResultDesc(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TupleDesc	tupdesc;

	if (rsinfo != NULL && IsA(rsinfo, ReturnSetInfo) && rsinfo->expectedDesc != NULL &&
		rsinfo->expectedDesc->natts == 6)
		return BlessTupleDesc(rsinfo->expectedDesc);
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return BlessTupleDesc(tupdesc);
}

/*
 * resolve_member(identifiers jsonb, channel text, attributes jsonb,
 *				  on_conflict text, effective_at timestamptz,
 *				  idempotency_key text)
 *		-> (member_id, outcome, why jsonb, merge_id, home_member_id, replayed)
 */
PG_FUNCTION_INFO_V1(loyalty_resolve_member);
Datum
loyalty_resolve_member(PG_FUNCTION_ARGS)
{
	static KeptPlan plan = {
		.query = "SELECT member_id, outcome, why, merge_id, home_member_id, replayed "
		"FROM loyalty.resolve_member_fully($1, $2, $3, $4, $5, $6)",
		.nargs = 6,
		.argtypes = {JSONBOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
	};
	TupleDesc	tupdesc;
	Datum		values[6] = {0};
	bool		isnull[6] = {false};
	char		nulls[6];
	HeapTuple	result;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	Given		given[MAX_FAST_IDENTIFIERS];
	int			n = -1;

	tupdesc = ResultDesc(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!RecoveryInProgress())
		RequireWritable();

	if (!PG_ARGISNULL(0) && PG_ARGISNULL(2) && !PG_ARGISNULL(3) && !PG_ARGISNULL(4) && PG_ARGISNULL(5) &&
		!TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(4)) && GetDatabaseEncoding() == PG_UTF8)
	{
		char	   *on_conflict = text_to_cstring(PG_GETARG_TEXT_PP(3));

		if ((strcmp(on_conflict, "merge") == 0 || strcmp(on_conflict, "first") == 0 ||
			 strcmp(on_conflict, "refuse") == 0) && KnowNamespaces())
			n = TakeIdentifiers(PG_GETARG_JSONB_P(0), given);
	}

	if (n > 0 && LookUpGiven(given, n, PG_GETARG_TIMESTAMPTZ(4)))
	{
		qsort(given, n, sizeof(Given), CompareGiven);
		values[0] = Int64GetDatum(given[0].member_id);
		values[1] = CStringGetTextDatum("matched");
		values[2] = WhyFound(given, n);
		isnull[3] = true;
		values[4] = Int64GetDatum(given[0].home_id);
		values[5] = BoolGetDatum(false);
	}
	else
	{
		RequireWritable();
		for (int i = 0; i < 6; i++)
		{
			nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
			values[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
		}
		RunPlan(&plan, values, nulls, 1);
		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, isnull);
	}
	old = MemoryContextSwitchTo(caller);
	result = heap_form_tuple(tupdesc, values, isnull);
	MemoryContextSwitchTo(old);
	SPI_finish();
	return HeapTupleGetDatum(result);
}
