/*
 * spread.c
 *		Tables that a distributed engine (Citus) has spread over several machines.
 *
 * distribute() spreads them: rows of members go to the machine of their member,
 * small tables of settings are everywhere.  Functions of a member run where it is
 * (spread_call.c); what is not right on several machines is refused
 * (spread_place.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "core/core.h"
#include "core/errors.h"

/* A sequence of ours counts by this on each of several machines. */
#define SPREAD_INCREMENT	1024

static bool is_spread = false;
static int	machine = 0;		/* its number; the coordinator is 0 */
static const char *numbering = NULL;

static bool
HasRows(const char *query)
{
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "\"%s\" failed", query);
	return SPI_processed > 0;
}

/*
 * A machine that is told to prepare what another one has begun there must not have
 * begun anything itself on a third: the engine would forget that, so that what is
 * on every machine (budgets, scores, codes) would differ from then on.
 */
static void
RefuseToForget(XactEvent event, void *arg)
{
	dlist_head *begun;

	(void) arg;
	if (event != XACT_EVENT_PRE_PREPARE || !is_spread)
		return;
	begun = (dlist_head *) load_external_function("citus", "InProgressTransactions", false, NULL);
	if (begun == NULL || !dlist_is_empty(begun))
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("a transaction over several machines cannot write what is on every machine"),
				 errdetail("One of its calls has: a budget, a code, a score, who did an act by hand, or the like."),
				 errhint("Make each such call a transaction of its own; and leave preparing transactions to the engine.")));
}

/*
 * Reads anew what the engine has noted of our tables.
 */
static void
ReadSpread(void)
{
	static bool watching = false;

	is_spread = OidIsValid(get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE)) &&
		HasRows("SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid OPERATOR(pg_catalog.=) ANY (ARRAY["
				"pg_catalog.to_regclass('loyalty.layout'), pg_catalog.to_regclass('loyalty.wallet')])");
	if (is_spread && HasRows("SELECT groupid FROM pg_catalog.pg_dist_local_group"))
	{
		bool		isnull;

		machine = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	if (is_spread && !watching)
	{
		RegisterXactCallback(RefuseToForget, NULL);
		watching = true;
	}
}

/*
 * Whether our tables are spread over several machines, or are about to be.
 */
bool
TablesAreSpread(void)
{
	static Settings settings = {.tables = {"layout", "wallet"},.read = ReadSpread};

	return KnowSettings(&settings) && is_spread;
}

/*
 * Whether, of tables that are spread, this is the machine that knows where all
 * is.
 */
bool
IsCoordinator(void)
{
	return TablesAreSpread() && machine == 0;
}

/*
 * Of a room: each machine draws its own numbers from this sequence.
 */
void
DrawOnEachMachine(const char *sequence)
{
	numbering = sequence;
}

/*
 * Raises LY007 unless distribute() has prepared this machine: from then on its
 * sequence draws numbers that no other machine draws.
 */
void
RequirePreparedMachine(void)
{
	HeapTuple	row = SearchSysCache1(SEQRELID, ObjectIdGetDatum(LoyaltyTable(numbering)));
	Form_pg_sequence sequence;
	bool		prepared;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "sequence \"%s\" does not exist", numbering);
	sequence = (Form_pg_sequence) GETSTRUCT(row);
	/* the engine gives a machine that is added the increment of the others */
	prepared = sequence->seqincrement == SPREAD_INCREMENT && sequence->seqstart % SPREAD_INCREMENT == machine;
	ReleaseSysCache(row);
	if (!prepared)
		ereport(ERROR,
				(errcode(ERRCODE_LY_SPREAD),
				 errmsg("this machine is not prepared to write into tables that are spread over several"),
				 errdetail("Its numbers of entries could be those of another machine."),
				 errhint("CALL loyalty.distribute() on the coordinator, as also after a machine was added.")));
}
