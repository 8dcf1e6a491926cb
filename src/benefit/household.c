/*
 * household.c
 *		When a person was in which household: the fold of the acts of households.
 *
 * A membership begins with an act "joined" and ends with "left"; of acts of one
 * instant the later number holds.  Of merged persons of two households the
 * membership of the survivor holds from the merge on, and until then each has
 * its own.  Room tier asks by RegisterHouseholds().
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "benefit/household.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "core/plain.h"
#include "tier/tier_program.h"

/* A person, under one of its numbers, joins or leaves a household. */
typedef struct HouseholdAct
{
	int64		household_id;
	int64		person_id;
	int32		act;
	bool		joined;
	TimestampTz at;
	TimestampTz merged_at;		/* when another number came to stand for the
								 * person; infinity: never */
} HouseholdAct;

enum
{
	ACT_MEMBER_ID, ACT_ACT, ACT_PERSON_ID, ACT_KIND, ACT_AT, ACT_RECORDED_AT, ACT_NCOLUMNS
};

static const PlainColumn act_columns[ACT_NCOLUMNS] = {
	{"member_id", INT8OID}, {"act", INT4OID}, {"person_id", INT8OID}, {"kind", TEXTOID}, {"at", TIMESTAMPTZOID}, {"recorded_at", TIMESTAMPTZOID}
};

static const char *const no_triggers[] = {NULL};

static const PlainTable act_table = {
	.name = "household_act",
	.ncolumns = ACT_NCOLUMNS,
	.columns = act_columns,
	.nkeys = 2,
	.keys = {{2, {ACT_MEMBER_ID, ACT_ACT}}, {3, {ACT_PERSON_ID, ACT_MEMBER_ID, ACT_ACT}}},
	.own_triggers = no_triggers
};

static int
CompareActs(const void *a, const void *b)
{
	const HouseholdAct *x = a;
	const HouseholdAct *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->act == y->act ? 0 : x->act < y->act ? -1 : 1;
}

/*
 * What ReadActs() reads, of a person who is one number, by table access; false
 * where the table is not plain, or spread over partitions.
 */
static bool
ReadActsPlainly(int64 person_id, TimestampTz known_at, HouseholdAct **acts, int *nacts)
{
	PlainAccess access;
	HeapTuple  *rows;
	int			n;

	if (!OpenPlain(&access, &act_table, person_id, PLAIN_READ))
		return false;
	if (access.top != NULL)
	{
		ClosePlain(&access);
		return false;
	}
	n = FetchPlainRowsBy(&access, 1, Int64GetDatum(person_id), GetActiveSnapshot(), &rows);
	*acts = palloc(Max(1, n) * sizeof(HouseholdAct));
	*nacts = 0;
	for (int i = 0; i < n; i++)
	{
		Datum		values[ACT_NCOLUMNS];
		bool		nulls[ACT_NCOLUMNS];
		char	   *kind;

		CHECK_FOR_INTERRUPTS();
		PlainValues(&access, rows[i], values, nulls);
		kind = TextDatumGetCString(values[ACT_KIND]);
		if (strcmp(kind, "allowed") == 0 || DatumGetTimestampTz(values[ACT_RECORDED_AT]) > known_at)
			continue;
		(*acts)[(*nacts)++] = (HouseholdAct) {
			.household_id = DatumGetInt64(values[ACT_MEMBER_ID]),
			.person_id = person_id,
			.act = DatumGetInt32(values[ACT_ACT]),
			.joined = strcmp(kind, "joined") == 0,
			.at = DatumGetTimestampTz(values[ACT_AT]),
			.merged_at = TIMESTAMP_INFINITY
		};
	}
	ClosePlain(&access);
	qsort(*acts, *nacts, sizeof(HouseholdAct), CompareActs);
	return true;
}

/*
 * The acts about a person, under all its numbers, known at an instant, by time.
 */
static HouseholdAct *
ReadActs(Datum numbers, TimestampTz known_at, int *nacts)
{
	static KeptPlan plan = {
		.query = "SELECT a.member_id, a.person_id, a.act, a.kind OPERATOR(pg_catalog.=) 'joined', a.at, "
		"coalesce((SELECT pg_catalog.max(g.recorded_at) FROM loyalty.member_merge g "
		"WHERE g.absorbed_id OPERATOR(pg_catalog.=) a.person_id AND g.unmerged_at IS NULL), 'infinity') "
		"FROM loyalty.household_act a WHERE a.person_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND a.kind OPERATOR(pg_catalog.<>) 'allowed' AND a.recorded_at OPERATOR(pg_catalog.<=) $2 ORDER BY a.at, a.act",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	MemoryContext target = CurrentMemoryContext;
	Datum		values[2] = {numbers, TimestampTzGetDatum(known_at)};
	HouseholdAct *acts;

	RunPlanReadOnly(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	*nacts = (int) SPI_processed;
	acts = palloc(Max(1, *nacts) * sizeof(HouseholdAct));
	for (int i = 0; i < *nacts; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;

		acts[i].household_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 1, &isnull));
		acts[i].person_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 2, &isnull));
		acts[i].act = DatumGetInt32(SPI_getbinval(row, tupdesc, 3, &isnull));
		acts[i].joined = DatumGetBool(SPI_getbinval(row, tupdesc, 4, &isnull));
		acts[i].at = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 5, &isnull));
		acts[i].merged_at = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 6, &isnull));
	}
	return acts;
}

/* Whether an act is the last one of its person and household up to an instant. */
static bool
IsLast(const HouseholdAct *acts, int nacts, int n, TimestampTz t)
{
	for (int i = n + 1; i < nacts && acts[i].at <= t; i++)
	{
		if (acts[i].household_id == acts[n].household_id && acts[i].person_id == acts[n].person_id)
			return false;
	}
	return acts[n].at <= t;
}

/*
 * The household in which a person is at an instant; false for none.
 */
static bool
HouseholdAt(const HouseholdAct *acts, int nacts, int64 member_id, int64 canonical, TimestampTz t, int64 *household_id)
{
	const HouseholdAct *best = NULL;
	bool		best_is_own = false;

	for (int i = 0; i < nacts; i++)
	{
		/* before the merge, each number has its own */
		bool		is_own = acts[i].person_id == (acts[i].merged_at != TIMESTAMP_INFINITY && acts[i].merged_at > t ? member_id : canonical);

		if (!acts[i].joined || !IsLast(acts, nacts, i, t))
			continue;
		if (best == NULL || (is_own && !best_is_own) || (is_own == best_is_own && acts[i].person_id < best->person_id))
		{
			best = &acts[i];
			best_is_own = is_own;
		}
	}
	if (best != NULL)
		*household_id = best->household_id;
	return best != NULL;
}

/*
 * A HouseholdReader: all of them, whatever begins later than as_of left out.
 */
static int
ReadSpells(int64 member_id, TimestampTz as_of, TimestampTz known_at, HouseholdSpell **spells)
{
	int64		canonical;
	Datum		numbers;
	HouseholdAct *acts;
	int			nacts;
	TimestampTz *instants;
	int			ninstants = 0;
	int			nspells = 0;
	bool		open = false;

	if (FindNumbers(member_id, &canonical, &numbers) || !ReadActsPlainly(member_id, known_at, &acts, &nacts))
		acts = ReadActs(numbers != 0 ? numbers : NumbersOf(member_id, &canonical), known_at, &nacts);
	if (nacts == 0)
		return 0;
	instants = palloc(2 * nacts * sizeof(TimestampTz));
	for (int i = 0; i < nacts; i++)
	{
		instants[ninstants++] = acts[i].at;
		if (acts[i].merged_at != TIMESTAMP_INFINITY)
			instants[ninstants++] = acts[i].merged_at;
	}
	qsort(instants, ninstants, sizeof(TimestampTz), CompareInstants);
	*spells = palloc(ninstants * sizeof(HouseholdSpell));
	for (int i = 0; i < ninstants; i++)
	{
		int64		household_id;
		bool		is_in;

		CHECK_FOR_INTERRUPTS();
		if (i + 1 < ninstants && instants[i + 1] == instants[i])
			continue;
		is_in = HouseholdAt(acts, nacts, member_id, canonical, instants[i], &household_id);
		if (open && (!is_in || household_id != (*spells)[nspells - 1].household_id))
		{
			(*spells)[nspells - 1].ends_at = instants[i];
			open = false;
		}
		if (is_in && !open && instants[i] <= as_of)
		{
			(*spells)[nspells++] = (HouseholdSpell) {household_id, instants[i], TIMESTAMP_INFINITY};
			open = true;
		}
	}
	return nspells;
}

/*
 * The household in which a person is as of an instant, by all that is committed
 * by now; 0 for none.  Needs an SPI connection.
 */
int64
HouseholdAsOf(int64 member_id, TimestampTz at)
{
	HouseholdSpell *spells;
	int64		household_id = 0;
	int			nspells;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	nspells = ReadSpells(member_id, at, TIMESTAMP_INFINITY, &spells);
	PopActiveSnapshot();
	for (int i = 0; i < nspells; i++)
	{
		if (at >= spells[i].starts_at && at < spells[i].ends_at)
			household_id = spells[i].household_id;
	}
	return household_id;
}

/*
 * household_spells(member_id, known_at) -> (household_id, starts_at, ends_at)
 */
PG_FUNCTION_INFO_V1(loyalty_household_spells);
Datum
loyalty_household_spells(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;
	HouseholdSpell *spells = NULL;
	int			nspells;

	RequireArgument(fcinfo, 0, "member_id");
	InitReturnSet(fcinfo);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	nspells = ReadSpells(PG_GETARG_INT64(0), TIMESTAMP_INFINITY, PG_ARGISNULL(1) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(1), &spells);
	for (int i = 0; i < nspells; i++)
	{
		Datum		values[3] = {
			Int64GetDatum(spells[i].household_id), TimestampTzGetDatum(spells[i].starts_at), TimestampTzGetDatum(spells[i].ends_at)
		};
		bool		nulls[3] = {false, false, spells[i].ends_at == TIMESTAMP_INFINITY};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * Part of BenefitInit().
 */
void
HouseholdInit(void)
{
	RegisterHouseholds(ReadSpells);
}
