/*
 * rfm_members.c
 *		rfm_members(): the summaries of all members of an orders table, faster
 *		than GROUP BY.
 *
 * With hundreds of thousands of groups, GROUP BY spends most of its time
 * waiting for memory: for each row it follows a pointer to the hash bucket,
 * then one to the group's key, then one to its state.  Here the rows are taken
 * from the scan in batches; a small index tells where each member's entry
 * lies, the entries of a whole batch are fetched at once, and key and state
 * lie together.
 */
#include "rfm/rfm.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "core/errors.h"

/* A member's summary. */
typedef struct Entry
{
	int64		member;
	rfm			summary;
} Entry;

/* Entries lie in chunks, so that growing moves none of them. */
#define CHUNK_BITS		13
#define CHUNK_SIZE		(1 << CHUNK_BITS)
#define FIRST_SLOTS		1024
#define MAX_MEMBERS		(INT64CONST(1) << 31)

/* A slot of the index: part of the hash, and the number of the entry plus one. */
typedef struct Slot
{
	uint32		tag;
	uint32		entry;			/* 0: free */
} Slot;

/* A row whose entry is still on its way from memory. */
typedef struct PendingRow
{
	int64		member;
	uint64		hash;
	TimestampTz at;
	int128		units;
	int			decimals;
} PendingRow;

#define BATCH	32

typedef struct MemberTable
{
	DestReceiver receiver;		/* first, as it is passed around as one */
	MemoryContext context;
	Entry	  **chunks;
	int64		nchunks;
	int64		size;
	Slot	   *slots;
	uint64		mask;			/* number of slots - 1 */
	int			npending;
	PendingRow	pending[BATCH];
} MemberTable;

static inline Entry *
GetEntry(const MemberTable *table, int64 number)
{
	return &table->chunks[number >> CHUNK_BITS][number & (CHUNK_SIZE - 1)];
}

/* The finalizer of MurmurHash3: every bit of the member reaches every bit. */
static inline uint64
HashMember(int64 member)
{
	uint64		h = (uint64) member;

	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return h;
}

/* Doubles the index. */
static void
GrowIndex(MemberTable *table)
{
	uint64		nslots = (table->mask + 1) * 2;
	Slot	   *slots = MemoryContextAllocExtended(table->context, nslots * sizeof(Slot),
												   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int64 i = 0; i < table->size; i++)
	{
		uint64		hash = HashMember(GetEntry(table, i)->member);
		uint64		at = hash & (nslots - 1);

		CHECK_FOR_INTERRUPTS();
		while (slots[at].entry != 0)
			at = (at + 1) & (nslots - 1);
		slots[at].tag = (uint32) (hash >> 32);
		slots[at].entry = (uint32) (i + 1);
	}
	pfree(table->slots);
	table->slots = slots;
	table->mask = nslots - 1;
}

static Entry *
AddEntry(MemberTable *table, int64 member)
{
	Entry	   *entry;

	if ((table->size & (CHUNK_SIZE - 1)) == 0)
	{
		int64		n = table->size >> CHUNK_BITS;

		if (n == table->nchunks)
		{
			table->nchunks *= 2;
			table->chunks = repalloc_huge(table->chunks, table->nchunks * sizeof(Entry *));
		}
		table->chunks[n] = MemoryContextAlloc(table->context, CHUNK_SIZE * sizeof(Entry));
	}
	if (table->size >= MAX_MEMBERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than 2 billion members"),
				 errhint("Use GROUP BY with rfm_agg.")));
	entry = GetEntry(table, table->size++);
	entry->member = member;
	RfmInitEmpty(&entry->summary);
	return entry;
}

/* The entry of a member, made if need be. */
static Entry *
FindEntry(MemberTable *table, int64 member, uint64 hash)
{
	uint32		tag = (uint32) (hash >> 32);
	uint64		at;
	Entry	   *entry;

	/* at most half full */
	if (table->size * 2 >= (int64) (table->mask + 1))
		GrowIndex(table);
	for (at = hash & table->mask; table->slots[at].entry != 0; at = (at + 1) & table->mask)
		if (table->slots[at].tag == tag)
		{
			entry = GetEntry(table, (int64) table->slots[at].entry - 1);
			if (entry->member == member)
				return entry;
		}
	entry = AddEntry(table, member);
	table->slots[at].tag = tag;
	table->slots[at].entry = (uint32) table->size;
	return entry;
}

/* Adds the rows of the batch, having fetched their entries all at once. */
static void
FlushBatch(MemberTable *table)
{
	/* the entries that the index suggests, right in all but a few cases */
	for (int i = 0; i < table->npending; i++)
	{
		PendingRow *row = &table->pending[i];
		uint64		at = row->hash & table->mask;
		uint32		tag = (uint32) (row->hash >> 32);

		while (table->slots[at].entry != 0 && table->slots[at].tag != tag)
			at = (at + 1) & table->mask;
		if (table->slots[at].entry != 0)
		{
			char	   *entry = (char *) GetEntry(table, (int64) table->slots[at].entry - 1);

			PrefetchForWrite(entry);
			PrefetchForWrite(entry + 64);
			PrefetchForWrite(entry + sizeof(Entry) - 1);
		}
	}
	for (int i = 0; i < table->npending; i++)
	{
		PendingRow *row = &table->pending[i];

		RfmAddEvent(&FindEntry(table, row->member, row->hash)->summary,
					row->at, row->units, row->decimals);
	}
	table->npending = 0;
}

/* Takes a row of the scan: member, instant, amount; those with a NULL are left out. */
static bool
TakeRow(TupleTableSlot *slot, DestReceiver *self)
{
	MemberTable *table = (MemberTable *) self;
	PendingRow *row = &table->pending[table->npending];

	slot_getallattrs(slot);
	if (slot->tts_isnull[0] || slot->tts_isnull[1] || slot->tts_isnull[2])
		return true;
	row->member = DatumGetInt64(slot->tts_values[0]);
	row->at = DatumGetTimestampTz(slot->tts_values[1]);
	RfmCheckInstant(row->at);
	row->decimals = RfmUnitsFromNumeric((Numeric) PG_DETOAST_DATUM_PACKED(slot->tts_values[2]), &row->units);
	row->hash = HashMember(row->member);
	PrefetchMemory(&table->slots[row->hash & table->mask]);
	if (++table->npending == BATCH)
		FlushBatch(table);
	return true;
}

static void
StartRows(DestReceiver *self, int operation, TupleDesc desc)
{
	(void) self;
	(void) operation;
	(void) desc;
}

static void
EndRows(DestReceiver *self)
{
	(void) self;
}

static MemberTable *
NewTable(MemoryContext context)
{
	MemberTable *table = MemoryContextAllocZero(context, sizeof(MemberTable));

	table->receiver.receiveSlot = TakeRow;
	table->receiver.rStartup = StartRows;
	table->receiver.rShutdown = EndRows;
	table->receiver.rDestroy = EndRows;
	table->receiver.mydest = DestTuplestore;
	table->context = context;
	table->nchunks = 16;
	table->chunks = MemoryContextAlloc(context, table->nchunks * sizeof(Entry *));
	table->slots = MemoryContextAllocZero(context, FIRST_SLOTS * sizeof(Slot));
	table->mask = FIRST_SLOTS - 1;
	return table;
}

/* What rfm_reading() says of an orders table. */
typedef struct Reading
{
	char	   *member;			/* SQL of the member, */
	char	   *at;				/* and of the instant */
	TimestampTz as_of;			/* as that is compared with it */
} Reading;

/* Asks rfm_reading(), which refuses what cannot be read; arguments as rfm_members(). */
static void
AskReading(FunctionCallInfo fcinfo, Reading *reading)
{
	static KeptPlan plan = {
		.query = "SELECT member, at, as_of_read FROM loyalty.rfm_reading($1, $2, $3, $4, NULL, $5, $6, $7)",
		.nargs = 7,
		.argtypes = {REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, BOOLOID}
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[7];
	char		nulls[7];
	HeapTuple	row;
	bool		isnull;

	for (int i = 0; i < 7; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlanReadOnly(&plan, values, nulls, 1);
	row = SPI_tuptable->vals[0];
	reading->member = MemoryContextStrdup(caller, SPI_getvalue(row, SPI_tuptable->tupdesc, 1));
	reading->at = MemoryContextStrdup(caller, SPI_getvalue(row, SPI_tuptable->tupdesc, 2));
	reading->as_of = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
	SPI_finish();
}

PG_FUNCTION_INFO_V1(loyalty_rfm_members);
/*
 * rfm_members(orders regclass, member_column text DEFAULT 'member_id',
 *			   at_column text DEFAULT 'at', amount_column text DEFAULT 'amount',
 *			   as_of timestamptz DEFAULT now(), time_zone text DEFAULT NULL,
 *			   merged_once boolean DEFAULT false,
 *			   OUT member_id bigint, OUT summary rfm) returns setof record
 *
 * rfm_agg(at, amount) of each member, over the rows up to as_of, with the
 * caller's rights.  How the columns are read says rfm_reading(), in SQL.  The
 * member column must cast to bigint; rows with a NULL are left out.  Takes 120 bytes of memory for each member, and 16 to 32 for the
 * index, whatever work_mem says.  Errors as those of rfm_agg.
 */
Datum
loyalty_rfm_members(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	char	   *relation;
	Reading		reading;
	SPIExecuteOptions options = {0};
	ParamListInfo params = makeParamList(1);
	MemoryContext context;
	MemberTable *table;
	char	   *query;

	if (!PG_ARGISNULL(5))
		(void) RfmFindZone(PG_GETARG_TEXT_PP(5));
	AskReading(fcinfo, &reading);
	relation = get_rel_name(relid);
	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	query = psprintf("SELECT %s::pg_catalog.int8, %s, o.%s::pg_catalog.numeric "
					 "FROM %s o WHERE %s OPERATOR(pg_catalog.<=) $1",
					 reading.member, reading.at, quote_identifier(text_to_cstring(PG_GETARG_TEXT_PP(3))),
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), relation), reading.at);
	params->params[0].value = TimestampTzGetDatum(reading.as_of);
	params->params[0].isnull = false;
	params->params[0].pflags = PARAM_FLAG_CONST;
	params->params[0].ptype = TIMESTAMPTZOID;

	InitReturnSet(fcinfo);
	context = AllocSetContextCreate(CurrentMemoryContext, "members of orders", ALLOCSET_DEFAULT_SIZES);
	table = NewTable(context);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	options.params = params;
	options.read_only = true;
	options.dest = &table->receiver;
	if (SPI_execute_extended(query, &options) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_extended failed");
	FlushBatch(table);
	SPI_finish();

	for (int64 i = 0; i < table->size; i++)
	{
		Entry	   *entry = GetEntry(table, i);
		Datum		values[2] = {Int64GetDatum(entry->member), PointerGetDatum(&entry->summary)};
		bool		nulls[2] = {false, false};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	MemoryContextDelete(context);
	return (Datum) 0;
}
