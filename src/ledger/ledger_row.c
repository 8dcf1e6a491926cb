/*
 * ledger_row.c
 *		Rows of the ledger: their columns, how they are written and read.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "ledger/ledger_row.h"
#include "ledger/post.h"

static const PlainColumn columns[LEDGER_NCOLUMNS] = {
#define COLUMN(symbol, name, type) {#name, type},
	LEDGER_COLUMNS(COLUMN)
#undef COLUMN
};

StaticAssertDecl((int) LEDGER_NCOLUMNS <= KEPT_PLAN_MAX_ARGS, "a row of the ledger is inserted by one statement");

/* What we write is not for guard() to look at. */
static const char *const own_triggers[] = {"guard", "append_only", NULL};

const PlainTable ledger_table = {
	.name = "ledger",
	.ncolumns = LEDGER_NCOLUMNS,
	.columns = columns,
	.nkeys = 2,
	.keys = {{2, {LEDGER_MEMBER_ID, LEDGER_ENTRY_ID}}, {3, {LEDGER_MEMBER_ID, LEDGER_CURRENCY, LEDGER_IDEMPOTENCY_KEY}}},
	.own_triggers = own_triggers
};

/* As setup() made it, like the ledger; we only read it. */
const PlainTable archive_table = {
	.name = "ledger_archive",
	.ncolumns = LEDGER_NCOLUMNS,
	.columns = columns,
	.nkeys = 1,
	.keys = {{2, {LEDGER_MEMBER_ID, LEDGER_ENTRY_ID}}},
	.own_triggers = own_triggers
};

/* ---------------------------------------------------------------------------
 * Columns
 * ---------------------------------------------------------------------------
 */

const char *
LedgerColumnName(LedgerColumn column)
{
	return columns[column].name;
}

/*
 * The type of a column; that of points_lots is the table's.  Needs an SPI
 * connection.
 */
Oid
LedgerColumnType(LedgerColumn column)
{
	if (OidIsValid(columns[column].type))
		return columns[column].type;
	if (SPI_execute("SELECT lots FROM loyalty.ledger LIMIT 0", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the ledger");
	return SPI_gettypeid(SPI_tuptable->tupdesc, 1);
}

/*
 * "member_id, entry_id, ...": all columns, for SELECT and INSERT.
 */
const char *
LedgerColumnList(void)
{
	static const char *list = NULL;

	if (list == NULL)
	{
		StringInfoData names;

		initStringInfo(&names);
		for (int i = 0; i < LEDGER_NCOLUMNS; i++)
			appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", columns[i].name);
		list = MemoryContextStrdup(TopMemoryContext, names.data);
		pfree(names.data);
	}
	return list;
}

/*
 * Makes a kept statement that inserts a row: $1, $2, ... are what
 * LedgerRowValues() gives.  Lots are of a type of our own, which a parameter
 * cannot name for good, so an expression takes their place.
 */
void
MakeLedgerInsert(KeptPlan *kept, const char *lots, const char *on_conflict)
{
	StringInfoData query;

	initStringInfo(&query);
	appendStringInfo(&query, "INSERT INTO loyalty.ledger (%s) VALUES (", LedgerColumnList());
	for (int i = 0; i < LEDGER_NCOLUMNS; i++)
	{
		if (i > 0)
			appendStringInfoString(&query, ", ");
		if (i == LEDGER_LOTS)
			appendStringInfoString(&query, lots);
		else
			appendStringInfo(&query, "$%d", i + 1);
		kept->argtypes[i] = OidIsValid(columns[i].type) ? columns[i].type : BYTEAOID;
	}
	appendStringInfo(&query, ")%s", on_conflict);
	kept->nargs = LEDGER_NCOLUMNS;
	kept->query = MemoryContextStrdup(TopMemoryContext, query.data);
	pfree(query.data);
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

static inline void
PutTimeColumn(LedgerColumn column, TimestampTz t, Datum *values, bool *nulls)
{
	values[column] = TimestampTzGetDatum(t);
	nulls[column] = t == TIMESTAMP_MINUS_INFINITY;
}

static inline void
PutIdColumn(LedgerColumn column, int64 id, Datum *values, bool *nulls)
{
	values[column] = Int64GetDatum(id);
	nulls[column] = id == 0;
}

static inline void
PutValueColumn(LedgerColumn column, const void *value, Datum *values, bool *nulls)
{
	values[column] = PointerGetDatum(value);
	nulls[column] = value == NULL;
}

/*
 * The columns of the row that a posting is to store.
 */
void
LedgerRowValues(Posting *posting, Datum values[LEDGER_NCOLUMNS], bool nulls[LEDGER_NCOLUMNS])
{
	const LedgerRow *row = &posting->row;

	memset(nulls, false, LEDGER_NCOLUMNS * sizeof(bool));
	values[LEDGER_MEMBER_ID] = Int64GetDatum(row->member_id);
	values[LEDGER_ENTRY_ID] = Int64GetDatum(row->entry_id);
	PutText(values, nulls, LEDGER_CURRENCY, row->currency);
	PutText(values, nulls, LEDGER_KIND, EntryKindName(row->kind));
	values[LEDGER_POINTS] = Int64GetDatum(row->points);
	values[LEDGER_REQUESTED] = Int64GetDatum(row->requested);
	values[LEDGER_AVAILABLE] = Int64GetDatum(row->available);
	values[LEDGER_EFFECTIVE_AT] = TimestampTzGetDatum(row->effective_at);
	values[LEDGER_RECORDED_AT] = TimestampTzGetDatum(row->recorded_at);
	PutTimeColumn(LEDGER_AVAILABLE_AT, row->available_at, values, nulls);
	PutTimeColumn(LEDGER_EXPIRES_AT, row->expires_at, values, nulls);
	PutTimeColumn(LEDGER_HOLD_UNTIL, row->hold_until, values, nulls);
	PutTimeColumn(LEDGER_EXTENDS_TO, row->extends_to, values, nulls);
	PutIdColumn(LEDGER_TARGET_ENTRY_ID, row->target_entry_id, values, nulls);
	PutIdColumn(LEDGER_COUNTERPARTY_ID, row->counterparty_id, values, nulls);
	/* there may be a member 0 */
	if (row->kind == ENTRY_TRANSFER_OUT || row->kind == ENTRY_TRANSFER_IN)
		nulls[LEDGER_COUNTERPARTY_ID] = false;
	PutText(values, nulls, LEDGER_REFERENCE, row->reference);
	PutText(values, nulls, LEDGER_REASON, row->reason);
	PutValueColumn(LEDGER_DETAILS, DatumGetPointer(posting->details), values, nulls);
	PutText(values, nulls, LEDGER_IDEMPOTENCY_KEY, row->idempotency_key);
	PutValueColumn(LEDGER_FINGERPRINT, row->fingerprint, values, nulls);
	PutValueColumn(LEDGER_SALT, row->salt, values, nulls);
	PutValueColumn(LEDGER_TEXTS_HASH, NULL, values, nulls);
	PutValueColumn(LEDGER_LOTS, row->lots, values, nulls);
	PutValueColumn(LEDGER_HASH, posting->hash, values, nulls);
	PutIdColumn(LEDGER_HOME_ID, row->home_id, values, nulls);
	values[LEDGER_EXPIRES_BY] = TimestampTzGetDatum(row->expires_by);
	nulls[LEDGER_EXPIRES_BY] = TIMESTAMP_NOT_FINITE(row->expires_by);
	values[LEDGER_NEVER_EXPIRES] = BoolGetDatum(true);
	nulls[LEDGER_NEVER_EXPIRES] = row->expires_by != TIMESTAMP_INFINITY;
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static TimestampTz
GetTimeColumn(LedgerColumn column, const Datum *values, const bool *nulls)
{
	return nulls[column] ? TIMESTAMP_MINUS_INFINITY : DatumGetTimestampTz(values[column]);
}

static int64
GetIdColumn(LedgerColumn column, const Datum *values, const bool *nulls)
{
	return nulls[column] ? 0 : DatumGetInt64(values[column]);
}

static char *
GetTextColumn(LedgerColumn column, const Datum *values, const bool *nulls)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

static struct varlena *
GetValueColumn(LedgerColumn column, const Datum *values, const bool *nulls)
{
	return nulls[column] ? NULL : PG_DETOAST_DATUM_PACKED(values[column]);
}

/*
 * Reads what only the hash chain needs.
 */
static void
ReadForChain(const Datum *values, const bool *nulls, StoredEntry *stored)
{
	LedgerRow  *row = &stored->row;
	struct varlena *hash = GetValueColumn(LEDGER_HASH, values, nulls);
	struct varlena *texts_hash = GetValueColumn(LEDGER_TEXTS_HASH, values, nulls);

	row->currency = GetTextColumn(LEDGER_CURRENCY, values, nulls);
	row->reference = GetTextColumn(LEDGER_REFERENCE, values, nulls);
	row->reason = GetTextColumn(LEDGER_REASON, values, nulls);
	if (!nulls[LEDGER_DETAILS])
		row->details = JsonbToCString(NULL, &DatumGetJsonbP(values[LEDGER_DETAILS])->root, 0);
	row->idempotency_key = GetTextColumn(LEDGER_IDEMPOTENCY_KEY, values, nulls);
	row->fingerprint = GetValueColumn(LEDGER_FINGERPRINT, values, nulls);
	row->salt = GetValueColumn(LEDGER_SALT, values, nulls);
	row->lots = GetValueColumn(LEDGER_LOTS, values, nulls);
	HashTexts(row);
	stored->has_hash = hash != NULL && VARSIZE_ANY_EXHDR(hash) == CHAIN_LENGTH;
	if (stored->has_hash)
		memcpy(stored->hash, VARDATA_ANY(hash), CHAIN_LENGTH);
	/* nothing may stand where texts were erased, nor a salt without texts */
	if (texts_hash != NULL ? row->has_texts || row->salt != NULL : row->salt != NULL && !row->has_texts)
		stored->has_hash = false;
	if (texts_hash != NULL && VARSIZE_ANY_EXHDR(texts_hash) == CHAIN_LENGTH)
	{
		row->has_texts = true;
		memcpy(row->texts_hash, VARDATA_ANY(texts_hash), CHAIN_LENGTH);
	}
}

/*
 * Reads a row of LedgerColumnList().
 */
void
ReadStoredEntry(HeapTuple tuple, TupleDesc tupdesc, bool for_chain, StoredEntry *stored)
{
	Datum		values[LEDGER_NCOLUMNS];
	bool		nulls[LEDGER_NCOLUMNS];

	Assert(tupdesc->natts == LEDGER_NCOLUMNS);
	heap_deform_tuple(tuple, tupdesc, values, nulls);
	ReadStoredValues(values, nulls, for_chain, stored);
}

/*
 * Reads the columns of a row.  The texts, which only the hash chain needs, are
 * read for_chain only.
 */
void
ReadStoredValues(const Datum values[LEDGER_NCOLUMNS], const bool nulls[LEDGER_NCOLUMNS], bool for_chain, StoredEntry *stored)
{
	LedgerRow  *row = &stored->row;
	Entry	   *entry = &stored->entry;
	text	   *kind;

	memset(stored, 0, sizeof(StoredEntry));
	row->member_id = DatumGetInt64(values[LEDGER_MEMBER_ID]);
	row->entry_id = DatumGetInt64(values[LEDGER_ENTRY_ID]);
	kind = DatumGetTextPP(values[LEDGER_KIND]);
	row->kind = EntryKindFromName(VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind));
	if (row->kind == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("entry " INT64_FORMAT " has the unknown kind \"%s\"",
						row->entry_id, text_to_cstring(kind))));
	row->points = DatumGetInt64(values[LEDGER_POINTS]);
	row->requested = DatumGetInt64(values[LEDGER_REQUESTED]);
	row->available = DatumGetInt64(values[LEDGER_AVAILABLE]);
	row->effective_at = DatumGetTimestampTz(values[LEDGER_EFFECTIVE_AT]);
	row->recorded_at = DatumGetTimestampTz(values[LEDGER_RECORDED_AT]);
	row->available_at = GetTimeColumn(LEDGER_AVAILABLE_AT, values, nulls);
	row->expires_at = GetTimeColumn(LEDGER_EXPIRES_AT, values, nulls);
	row->hold_until = GetTimeColumn(LEDGER_HOLD_UNTIL, values, nulls);
	row->extends_to = GetTimeColumn(LEDGER_EXTENDS_TO, values, nulls);
	row->target_entry_id = GetIdColumn(LEDGER_TARGET_ENTRY_ID, values, nulls);
	row->counterparty_id = GetIdColumn(LEDGER_COUNTERPARTY_ID, values, nulls);
	row->home_id = GetIdColumn(LEDGER_HOME_ID, values, nulls);
	row->expires_by = nulls[LEDGER_NEVER_EXPIRES] ? GetTimeColumn(LEDGER_EXPIRES_BY, values, nulls) : TIMESTAMP_INFINITY;
	if (for_chain)
		ReadForChain(values, nulls, stored);

	InitEntry(entry, row->kind, row->effective_at);
	entry->entry_id = row->entry_id;
	entry->requested = row->requested;
	if (!nulls[LEDGER_AVAILABLE_AT])
		entry->available_at = row->available_at;
	else if (EntryOpensLot(row->kind, row->requested))
		entry->available_at = TIMESTAMP_INFINITY;
	if (!nulls[LEDGER_EXPIRES_AT])
		entry->expires_at = row->expires_at;
	if (!nulls[LEDGER_EXPIRES_BY])
		entry->expires_by = row->expires_by;
	entry->hold_until = row->hold_until;
	entry->extends_to = row->extends_to;
	entry->target = row->target_entry_id;
	entry->home_id = row->home_id;
	entry->exact = true;
	entry->posted = row->points;
	if (!nulls[LEDGER_LOTS] && EntryTakesLots(row->kind) &&
		!(row->kind == ENTRY_ADJUST && row->points > 0))
	{
		UnpackLotsDatum(values[LEDGER_LOTS], &stored->lots);
		entry->given = &stored->lots;
	}
}
