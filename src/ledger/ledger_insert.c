/*
 * ledger_insert.c
 *		Many rows at once into the ledger, as backfill() gathers them.
 *
 * Rows go in by INSERT ... SELECT from a tuplestore, in batches, so that
 * triggers, row-level security, rules, partitions and further columns of the
 * ledger work as ever.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tupdesc.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "core/compat.h"
#include "ledger/ledger_insert.h"

#define GATHERED	"loyalty_gathered_entries"
#define BATCH_ROWS	10000

/*
 * The columns in the order in which setup() puts them into the table: rows
 * that are gathered so are stored as they are, without being taken apart.
 */
static const struct
{
	const char *name;
	Oid			type;
	int			source;			/* its place in LEDGER_COLUMNS */
}			columns[LEDGER_NCOLUMNS] = {
	{"member_id", INT8OID, 0},
	{"entry_id", INT8OID, 1},
	{"currency", TEXTOID, 2},
	{"kind", TEXTOID, 3},
	{"points", INT8OID, 4},
	{"requested", INT8OID, 5},
	{"available", INT8OID, 6},
	{"effective_at", TIMESTAMPTZOID, 7},
	{"recorded_at", TIMESTAMPTZOID, 8},
	{"available_at", TIMESTAMPTZOID, 9},
	{"expires_at", TIMESTAMPTZOID, 10},
	{"hold_until", TIMESTAMPTZOID, 11},
	{"extends_to", TIMESTAMPTZOID, 12},
	{"target_entry_id", INT8OID, 13},
	{"counterparty_id", INT8OID, 14},
	{"reference", TEXTOID, 15},
	{"reason", TEXTOID, 16},
	{"details", JSONBOID, 17},
	{"idempotency_key", TEXTOID, 18},
	{"fingerprint", BYTEAOID, 19},
	{"lots", InvalidOid, 24},	/* see LotsType() */
	{"hash", BYTEAOID, 20},
	{"home_id", INT8OID, 21},
	{"expires_by", TIMESTAMPTZOID, 22},
	{"never_expires", BOOLOID, 23}
};

struct LedgerInsert
{
	Tuplestorestate *gathered;
	TupleDesc	desc;			/* of columns */
	int			count;			/* rows gathered */
	bool		by_member;		/* a member's rows at once, before the next's */
	KeptPlan	statement;
};

/*
 * The type points_lots.
 */
static Oid
LotsType(void)
{
	if (SPI_execute("SELECT lots FROM loyalty.ledger LIMIT 0", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the ledger");
	return SPI_gettypeid(SPI_tuptable->tupdesc, 1);
}

/*
 * Sets up the place where rows are gathered, and the statement that inserts
 * them from there.  Needs an SPI connection, and lives as long as it.
 */
LedgerInsert *
BeginLedgerInsert(void)
{
	LedgerInsert *insert = palloc0(sizeof(LedgerInsert));
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	StringInfoData names;
	Relation	ledger;

	initStringInfo(&names);
	insert->desc = CreateTemplateTupleDesc(LEDGER_NCOLUMNS);
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", columns[i].name);
		TupleDescInitEntry(insert->desc, i + 1, columns[i].name,
						   OidIsValid(columns[i].type) ? columns[i].type : LotsType(), -1, 0);
	}
	insert->gathered = tuplestore_begin_heap(false, false, work_mem);

	/*
	 * A trigger that fires after each row may take more locks (tiers).
	 * Postings take those of a member after all of its wallets, and before
	 * the next member's.
	 */
	ledger = table_open(LoyaltyTable("ledger"), AccessShareLock);
	insert->by_member = ledger->trigdesc != NULL && ledger->trigdesc->trig_insert_after_row;
	table_close(ledger, NoLock);

	enr->md.name = GATHERED;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = insert->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = BATCH_ROWS;
	enr->reldata = insert->gathered;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the gathered entries");

	insert->statement.query = psprintf("INSERT INTO loyalty.ledger (%s) SELECT %s FROM " GATHERED,
									   names.data, names.data);
	insert->statement.plan = SPI_prepare(insert->statement.query, 0, NULL);
	if (insert->statement.plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return insert;
}

/*
 * Adds the row of a posting; it is in the ledger after the next flush.
 */
void
AddLedgerRow(LedgerInsert *insert, Posting *posting)
{
	Datum		values[LEDGER_NCOLUMNS];
	bool		nulls[LEDGER_NCOLUMNS];
	Datum		row[LEDGER_NCOLUMNS];
	bool		row_nulls[LEDGER_NCOLUMNS];

	LedgerRowValues(posting, values, nulls);
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		row[i] = values[columns[i].source];
		row_nulls[i] = nulls[columns[i].source];
	}
	tuplestore_putvalues(insert->gathered, insert->desc, row, row_nulls);
	if (++insert->count >= BATCH_ROWS && !insert->by_member)
		FlushLedgerRows(insert);
}

/*
 * All rows of a member have been added.
 */
void
EndMemberRows(LedgerInsert *insert)
{
	if (insert->by_member)
		FlushLedgerRows(insert);
}

/*
 * Puts the rows that were added into the ledger.
 */
void
FlushLedgerRows(LedgerInsert *insert)
{
	if (insert->count == 0)
		return;
	RunGuarded(&insert->statement, NULL, NULL, NULL);
	tuplestore_clear(insert->gathered);
	insert->count = 0;
}
