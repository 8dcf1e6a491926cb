/*
 * layout.c
 *		The layout of the program's tables: which version this library
 *		expects, and the guard that every writing function passes first.
 *
 * The tables are made and migrated by setup() and belong to the user, so they
 * can be older than the library (ALTER EXTENSION ... UPDATE without setup())
 * or newer (a session that loaded the library before an upgrade).  Writing
 * with the wrong idea of a table is refused in both cases.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/supportnodes.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "core/core.h"
#include "core/errors.h"

#define MAX_LAYOUTS		32
#define CORE_LAYOUT		1

typedef struct Layout
{
	const char *room;
	int32		version;
} Layout;

static Layout layouts[MAX_LAYOUTS];
static int	nlayouts = 0;

/* The layout table as last found to be right; InvalidOid means look again. */
static Oid	checked_layout_relid = InvalidOid;

/*
 * A room states the table layout that its code is written for.
 */
void
ExpectLayout(const char *room, int32 version)
{
	if (nlayouts >= MAX_LAYOUTS)
		elog(ERROR, "too many rooms");
	layouts[nlayouts].room = room;
	layouts[nlayouts].version = version;
	nlayouts++;
}

static void
ForgetCheckedLayout(Oid relid)
{
	if (relid == InvalidOid || relid == checked_layout_relid)
		checked_layout_relid = InvalidOid;
}

/*
 * Part of CoreInit().
 */
void
LayoutInit(void)
{
	ExpectLayout("core", CORE_LAYOUT);
	OnTableChange(ForgetCheckedLayout);
}

/*
 * layout_version(room text) returns integer
 */
PG_FUNCTION_INFO_V1(loyalty_layout_version);
Datum
loyalty_layout_version(PG_FUNCTION_ARGS)
{
	char	   *room = text_to_cstring(PG_GETARG_TEXT_PP(0));

	for (int i = 0; i < nlayouts; i++)
	{
		if (strcmp(layouts[i].room, room) == 0)
			PG_RETURN_INT32(layouts[i].version);
	}
	PG_RETURN_NULL();
}

static int32
StoredLayout(const char *room)
{
	static KeptPlan plan = {
		.query = "SELECT version FROM loyalty.layout WHERE room OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(room);
	bool		isnull;

	RunPlan(&plan, &value, NULL, 1);
	if (SPI_processed == 0)
		return 0;
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									   1, &isnull));
}

/*
 * Raises LY001 unless setup() has made the program's tables; answers with the
 * one that stores the layout of all.
 */
Oid
RequireTables(void)
{
	Oid			relid = LoyaltyTable("layout");

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_LY_NOT_SET_UP),
				 errmsg("the tables of loyalty do not exist in this database"),
				 errdetail("The extension brings types and functions; tables belong to the user."),
				 errhint("Run SELECT loyalty.setup();")));
	return relid;
}

/*
 * require_setup(internal): support function of every function that needs the
 * program's tables.  The planner asks it before it looks at the body of the
 * function, whatever its language, which would fail on a table or a row type
 * that is not there.  Of tables that are spread, it is where a call becomes one
 * that is right on any machine.
 */
PG_FUNCTION_INFO_V1(loyalty_require_setup);
Datum
loyalty_require_setup(PG_FUNCTION_ARGS)
{
	SupportRequestSimplify *request = (SupportRequestSimplify *) PG_GETARG_POINTER(0);

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	(void) RequireTables();
	if (likely(!TablesAreSpread()))
		PG_RETURN_POINTER(NULL);	/* nothing to be simplified */
	RequireSpreadSettings();
	PG_RETURN_POINTER(KeepCallHere(request->root, request->fcall));
}

/*
 * Raises a precise error unless this session may write the program's tables:
 * not on a standby, not before setup(), not with another table layout, not on a
 * machine of several that distribute() has not prepared.  After
 * the first call it costs a few instructions.
 */
void
RequireWritable(void)
{
	Oid			relid;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("loyalty cannot write on a standby server"),
				 errhint("Send writing calls to the primary; every reading function works here.")));

	if (unlikely(TablesAreSpread()))
		RequirePreparedMachine();
	if (OidIsValid(checked_layout_relid))
		return;

	relid = RequireTables();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < nlayouts; i++)
	{
		int32		stored = StoredLayout(layouts[i].room);

		if (stored < layouts[i].version)
			ereport(ERROR,
					(errcode(ERRCODE_LY_OUTDATED_LAYOUT),
					 errmsg("the tables of loyalty have an older layout than this library writes"),
					 errdetail("Room \"%s\": tables have layout %d, the library needs %d.",
							   layouts[i].room, stored, layouts[i].version),
					 errhint("Run ALTER EXTENSION loyalty UPDATE; SELECT loyalty.setup(); to migrate them.")));
		if (stored > layouts[i].version)
			ereport(ERROR,
					(errcode(ERRCODE_LY_OUTDATED_LAYOUT),
					 errmsg("the tables of loyalty have a newer layout than this session's library writes"),
					 errdetail("Room \"%s\": tables have layout %d, the library knows %d.",
							   layouts[i].room, stored, layouts[i].version),
					 errhint("Reconnect, so that the session loads the installed library.")));
	}
	SPI_finish();
	checked_layout_relid = relid;
}
