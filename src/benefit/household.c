/*
 * household.c
 *		Tells room tier in which households a member was.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "benefit/household.h"
#include "core/core.h"
#include "tier/tier_program.h"

/*
 * A HouseholdReader: by household_spells(), of which most members have none.
 */
static int
ReadSpells(int64 member_id, TimestampTz as_of, TimestampTz known_at, HouseholdSpell **spells)
{
	static KeptPlan plan = {
		.query = "SELECT s.household_id, s.starts_at, coalesce(s.ends_at, 'infinity') FROM loyalty.household_spells($1, $3) s "
		"WHERE s.starts_at OPERATOR(pg_catalog.<=) $2",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	MemoryContext target = CurrentMemoryContext;
	Datum		values[3] = {Int64GetDatum(member_id), TimestampTzGetDatum(as_of), TimestampTzGetDatum(known_at)};
	int			n;

	RunPlanReadOnly(&plan, values, NULL, 0);
	MemoryContextSwitchTo(target);
	n = (int) SPI_processed;
	*spells = n == 0 ? NULL : palloc(n * sizeof(HouseholdSpell));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		isnull;

		(*spells)[i].household_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 1, &isnull));
		(*spells)[i].starts_at = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 2, &isnull));
		(*spells)[i].ends_at = DatumGetTimestampTz(SPI_getbinval(row, tupdesc, 3, &isnull));
	}
	return n;
}

/*
 * Part of BenefitInit().
 */
void
HouseholdInit(void)
{
	RegisterHouseholds(ReadSpells);
}
