/*
 * program.c
 *		Settings of the program: the one row of loyalty.program.
 *
 * Each session keeps it and drops it when the table changes, told by the
 * trigger forget_cached().
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "core/core.h"

static Program program;
static bool program_known = false;
static Oid	program_relid = InvalidOid;
static uint64 changes_seen = 0;

static void
ForgetProgram(Oid relid)
{
	if (relid != InvalidOid && relid != program_relid)
		return;
	changes_seen++;
	program_known = false;
}

/*
 * Part of CoreInit().
 */
void
ProgramInit(void)
{
	OnTableChange(ForgetProgram);
}

/*
 * Reads the row with a snapshot of its own: in REPEATABLE READ the
 * transaction's may be older than the change that made us read again.
 */
static void
ReadProgram(void)
{
	static KeptPlan plan = {
		.query = "SELECT time_zone, known_members_only FROM loyalty.program"
	};
	bool		isnull;

	PushLatestSnapshot();
	RunPlanReadOnly(&plan, NULL, NULL, 1);
	PopActiveSnapshot();
	if (SPI_processed == 0)
		return;
	strlcpy(program.time_zone, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
			sizeof(program.time_zone));
	program.known_members_only = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
}

/*
 * The settings of the program; those of a new one where setup() did not run,
 * so that what needs no tables works without.  Stays where it is until the
 * caller runs a statement.
 */
const Program *
GetProgram(void)
{
	uint64		changes;

	if (program_known)
		return &program;

	memset(&program, 0, sizeof(program));
	strlcpy(program.time_zone, "UTC", sizeof(program.time_zone));
	program_relid = LoyaltyTable("program");
	if (!OidIsValid(program_relid))
		return &program;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* what changes while we read may not be in what we read: read again */
	do
	{
		changes = changes_seen;
		ReadProgram();
	} while (changes != changes_seen);
	SPI_finish();
	program_known = true;
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
