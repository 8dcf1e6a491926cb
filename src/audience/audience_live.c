/*
 * audience_live.c
 *		Whether a member is in an audience, from the facts.
 *
 * A session keeps the versions of audiences, and of each that it was asked
 * about the statement that its expression makes.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "audience/audience.h"
#include "core/core.h"
#include "core/errors.h"
#include "label/label.h"
#include "member/member.h"

typedef struct AudienceVersion
{
	const char *audience;
	bool		is_list;
	int32		version;		/* 0 of a list */
	TimestampTz effective_from;
	KeptPlan	test;			/* query NULL: not asked yet */
	const char *label;			/* of an expression that is one label alone */
	struct AudienceVersion *next;
} AudienceVersion;

static MemoryContext cache = NULL;
static AudienceVersion *versions = NULL;	/* the latest of each first */

static AudienceVersion *
AddVersion(const char *audience)
{
	AudienceVersion *version = MemoryContextAllocZero(cache, sizeof(AudienceVersion));

	version->audience = MemoryContextStrdup(cache, audience);
	version->next = versions;
	versions = version;
	return version;
}

static void
ReadVersions(void)
{
	static KeptPlan plan = {
		.query = "SELECT v.audience, v.version, v.effective_from FROM loyalty.audience_version v ORDER BY v.version"
	};
	bool		isnull;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	if (cache == NULL)
		cache = AllocSetContextCreate(TopMemoryContext, "loyalty audiences", ALLOCSET_SMALL_SIZES);
	for (AudienceVersion *version = versions; version != NULL; version = version->next)
	{
		if (version->test.plan != NULL)
			SPI_freeplan(version->test.plan);
	}
	versions = NULL;
	MemoryContextReset(cache);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		AudienceVersion *version = AddVersion(SPI_getvalue(row, SPI_tuptable->tupdesc, 1));

		version->version = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
		version->effective_from = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
		if (isnull)
			version->effective_from = TIMESTAMP_MINUS_INFINITY;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Whether there is a list of this name. */
static bool
IsList(const char *audience)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.audience a WHERE a.audience OPERATOR(pg_catalog.=) $1 AND a.kind OPERATOR(pg_catalog.=) 'list'",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(audience);

	RunPlanReadOnly(&plan, &value, NULL, 1);
	return SPI_processed > 0;
}

/*
 * The version of an audience at an instant; NULL where it has none yet.  LY703
 * where there is no such audience.
 */
static AudienceVersion *
VersionInForce(const char *audience, TimestampTz as_of)
{
	static Settings settings = {.tables = {"audience_version"}, .read = ReadVersions};
	AudienceVersion *version;
	bool		found = false;

	if (KnowSettings(&settings))
	{
		for (version = versions; version != NULL; version = version->next)
		{
			if (strcmp(version->audience, audience) != 0)
				continue;
			if (version->is_list || version->effective_from <= as_of)
				return version;
			found = true;
		}
		if (found)
			return NULL;
		if (IsList(audience))
		{
			version = AddVersion(audience);
			version->is_list = true;
			return version;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_LY_UNKNOWN_AUDIENCE),
			 errmsg("there is no audience \"%s\"", audience),
			 errdetail("The table loyalty.audience has no row with this name."),
			 errhint("Define it with loyalty.define_audience() or define_list().")));
}

/*
 * Whether there is an audience of this name.
 */
bool
IsAudience(const char *audience)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.audience a WHERE a.audience OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(audience);

	RunPlanReadOnly(&plan, &value, NULL, 1);
	return SPI_processed > 0;
}

/* Asks SQL for the condition that an expression is. */
static void
MakeTest(AudienceVersion *version)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.audience_test($1, $2), (SELECT v.parsed OPERATOR(pg_catalog.->>) 'argument' FROM loyalty.audience_version v "
		"WHERE v.audience OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2 "
		"AND v.parsed OPERATOR(pg_catalog.->>) 'term' OPERATOR(pg_catalog.=) 'label' "
		"AND pg_catalog.jsonb_typeof(v.parsed OPERATOR(pg_catalog.->) 'argument') OPERATOR(pg_catalog.=) 'string')",
		.nargs = 2,
		.argtypes = {TEXTOID, INT4OID}
	};
	Datum		values[2] = {CStringGetTextDatum(version->audience), Int32GetDatum(version->version)};
	char	   *test;
	char	   *label;

	RunPlanReadOnly(&plan, values, NULL, 1);
	test = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	label = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (test == NULL)
		elog(ERROR, "audience \"%s\" has no version %d", version->audience, version->version);
	version->test.nargs = 4;
	version->test.argtypes[0] = version->test.argtypes[1] = INT8OID;
	version->test.argtypes[2] = version->test.argtypes[3] = TIMESTAMPTZOID;
	version->label = label == NULL ? NULL : MemoryContextStrdup(cache, label);
	version->test.query = MemoryContextStrdup(cache, psprintf("SELECT %s", test));
}

/*
 * Whether somebody who stands for itself is in an audience.
 */
bool
InAudience(int64 member_id, const char *audience, TimestampTz as_of, TimestampTz known_at)
{
	AudienceVersion *version = VersionInForce(audience, as_of);
	Datum		values[4] = {
		Int64GetDatum(member_id), Int64GetDatum(member_id), TimestampTzGetDatum(as_of), TimestampTzGetDatum(known_at)
	};
	bool		isnull;

	if (version == NULL)
		return false;
	if (version->test.query == NULL)
		MakeTest(version);
	if (version->label != NULL)
		return HasLabel(member_id, RequireLabel(version->label), NULL, 0, as_of, known_at);
	RunPlanReadOnly(&version->test, values, NULL, 1);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
}

PG_FUNCTION_INFO_V1(loyalty_is_in_audience);
/*
 * is_in_audience(member_id bigint, audience text, as_of timestamptz, known_at
 *				  timestamptz) -> boolean
 */
Datum
loyalty_is_in_audience(PG_FUNCTION_ARGS)
{
	bool		is_in;

	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			PG_RETURN_NULL();
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	is_in = InAudience(PG_GETARG_INT64(0), TextArgument(fcinfo, 1), PG_GETARG_TIMESTAMPTZ(2), PG_GETARG_TIMESTAMPTZ(3));
	SPI_finish();
	PG_RETURN_BOOL(is_in);
}

/*
 * Who stands for a member.
 */
int64
WhoStandsFor(int64 member_id)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.canonical_member($1)",
		.nargs = 1,
		.argtypes = {INT8OID}
	};
	Datum		value = Int64GetDatum(member_id);
	bool		isnull;

	if (NobodyWasMerged())
		return member_id;
	RunPlanReadOnly(&plan, &value, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Refuses what cannot be asked as known at an instant. */
static void
RequireKnown(text *audience, TimestampTz as_of)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.require_known(t.tree, $2) FROM loyalty.audience_tree($1, $2) t",
		.nargs = 2,
		.argtypes = {TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {PointerGetDatum(audience), TimestampTzGetDatum(as_of)};

	RunPlanReadOnly(&plan, values, NULL, 1);
}

PG_FUNCTION_INFO_V1(loyalty_in_audience);
/*
 * in_audience(member_id bigint, audience text, as_of timestamptz, known_at
 *			   timestamptz) -> boolean
 *
 * NULL instants are now.  Errors: LY703, LY705, LY003.
 */
Datum
loyalty_in_audience(PG_FUNCTION_ARGS)
{
	int64		member_id = MemberArgument(fcinfo, 0, "member_id");
	TimestampTz as_of = PG_ARGISNULL(2) ? GetCurrentStatementStartTimestamp() : PG_GETARG_TIMESTAMPTZ(2);
	TimestampTz known_at = PG_ARGISNULL(3) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(3);
	bool		is_in;

	RequireArgument(fcinfo, 1, "audience");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (!PG_ARGISNULL(3))
		RequireKnown(PG_GETARG_TEXT_PP(1), as_of);
	is_in = InAudience(WhoStandsFor(member_id), TextArgument(fcinfo, 1), as_of, known_at);
	SPI_finish();
	PG_RETURN_BOOL(is_in);
}
