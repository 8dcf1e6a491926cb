/*
 * program.c
 *		Settings of the program: the one row of loyalty.program.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "core/core.h"

static Program program;
static bool says_known_only = false; /* what the row says */

/*
 * Where setup() did not run, or has no row, those of a new program.
 */
static void
SetDefaults(void)
{
	memset(&program, 0, sizeof(program));
	says_known_only = false;
	strlcpy(program.time_zone, "UTC", sizeof(program.time_zone));
}

static void
ReadProgram(void)
{
	static KeptPlan plan = {
		.query = "SELECT time_zone, known_members_only FROM loyalty.program"
	};
	bool		isnull;

	SetDefaults();
	RunPlanReadOnly(&plan, NULL, NULL, 1);
	if (SPI_processed == 0)
		return;
	strlcpy(program.time_zone, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
			sizeof(program.time_zone));
	says_known_only = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
}

/*
 * The settings of the program; those of a new one where setup() did not run,
 * so that what needs no tables works without.  Stays where it is until the
 * caller runs a statement.  Of several machines none knows which numbers the
 * others' callers give to members, so that these have to be known.
 */
const Program *
GetProgram(void)
{
	static Settings settings = {.tables = {"program"}, .read = ReadProgram};

	if (!KnowSettings(&settings))
		SetDefaults();
	program.known_members_only = says_known_only || TablesAreSpread();
	return &program;
}

/*
 * program_time_zone() returns text
 */
PG_FUNCTION_INFO_V1(loyalty_program_time_zone);
Datum
loyalty_program_time_zone(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(GetProgram()->time_zone));
}
