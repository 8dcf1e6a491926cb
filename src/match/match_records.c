/*
 * match_records.c
 *		Reading a source: records as numbers of their values.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"

#define ROWS_AT_ONCE	10000

double
PairsOf(double n)
{
	return n * (n - 1.0) / 2.0;
}

/* ---------------------------------------------------------------------------
 * The query
 * ---------------------------------------------------------------------------
 */

pg_noreturn static void
RefuseColumn(Relation rel, const char *column, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_MATCH),
			 errmsg("invalid definition of a match"),
			 errdetail("%s \"%s\", which %s has not.", what, column, RelationGetRelationName(rel)),
			 errhint("A field is a column of the source, or a key of the jsonb column that \"in\" names.")));
}

static Oid
ColumnType(Relation rel, const char *column, const char *what)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column);

	if (attnum <= 0)
		RefuseColumn(rel, column, what);
	return get_atttype(RelationGetRelid(rel), attnum);
}

/*
 * The column that tells records apart: the one that is given, or the primary
 * key where that is one column.
 */
static const char *
IdColumn(Relation rel, const MatchDefinition *definition)
{
	Bitmapset  *key;

	if (definition->id != NULL)
		return definition->id;
	key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	if (bms_num_members(key) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_MATCH),
				 errmsg("invalid definition of a match"),
				 errdetail("It has no \"id\", and the primary key of %s is not one column.", RelationGetRelationName(rel)),
				 errhint("Add the column that tells records apart: {\"id\": \"customer_id\", ...}.")));
	return get_attname(RelationGetRelid(rel), bms_singleton_member(key) + FirstLowInvalidHeapAttributeNumber, false);
}

static char *
SourceQuery(Relation rel, const MatchDefinition *definition, bool *by_number)
{
	StringInfoData query;
	const char *id = IdColumn(rel, definition);
	Oid			type = ColumnType(rel, id, "\"id\" is");

	*by_number = type == INT8OID || type == INT4OID || type == INT2OID;
	initStringInfo(&query);
	appendStringInfo(&query, "SELECT s.%s::pg_catalog.%s", quote_identifier(id), *by_number ? "int8" : "text");
	if (definition->in != NULL && ColumnType(rel, definition->in, "\"in\" is") != JSONBOID)
		RefuseColumn(rel, definition->in, "\"in\" must be a jsonb column; it is");
	for (int f = 0; f < definition->nfields; f++)
	{
		const MatchField *field = &definition->fields[f];
		const char *column = quote_identifier(field->name);

		if (definition->in != NULL)
		{
			appendStringInfo(&query, ", s.%s OPERATOR(pg_catalog.->>) %s",
							 quote_identifier(definition->in), quote_literal_cstr(field->name));
			continue;
		}
		type = ColumnType(rel, field->name, "\"fields\" has");
		/* a date must not read as the session writes it */
		if (type == DATEOID || type == TIMESTAMPOID)
			appendStringInfo(&query, ", pg_catalog.to_char(s.%s::pg_catalog.timestamp, 'YYYYMMDD')", column);
		else if (type == TIMESTAMPTZOID)
			appendStringInfo(&query, ", pg_catalog.to_char(s.%s AT TIME ZONE 'UTC', 'YYYYMMDD')", column);
		else
			appendStringInfo(&query, ", s.%s::pg_catalog.text", column);
	}
	appendStringInfo(&query, " FROM %s s", quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
																	   RelationGetRelationName(rel)));
	return query.data;
}

/* ---------------------------------------------------------------------------
 * Values
 * ---------------------------------------------------------------------------
 */

static void
BeginValues(MatchValues *values)
{
	values->room = 1024;
	values->values = palloc0(values->room * sizeof(MatchValue));
	values->counts = palloc0(values->room * sizeof(uint32));
	values->nvalues = 1;
	values->textroom = 8192;
	values->texts = palloc(values->textroom);
	values->nslots = 4096;
	values->slots = palloc0(values->nslots * sizeof(uint32));
}

static void *
GrowArray(void *array, Size size)
{
	return repalloc_huge(array, size);
}

static void
GrowValues(MatchValues *values)
{
	uint32		nslots = values->nslots * 2;
	uint32	   *slots = MemoryContextAllocExtended(CurrentMemoryContext, nslots * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	uint32		chars[MATCH_MAX_CHARS];

	values->room *= 2;
	values->values = GrowArray(values->values, values->room * sizeof(MatchValue));
	values->counts = GrowArray(values->counts, values->room * sizeof(uint32));
	for (uint32 v = 1; v < values->nvalues; v++)
	{
		uint32		slot;

		ReadCharacters(&values->values[v], values->texts, chars);
		slot = (uint32) HashCharacters(chars, values->values[v].nchars) & (nslots - 1);
		while (slots[slot] != 0)
			slot = (slot + 1) & (nslots - 1);
		slots[slot] = v;
	}
	pfree(values->slots);
	values->slots = slots;
	values->nslots = nslots;
}

/*
 * The number of a value, a new one where it was not seen before.
 */
static uint32
NumberOfValue(MatchValues *values, const uint32 *chars, int n)
{
	char		bytes[MATCH_MAX_CHARS * sizeof(uint32)];
	MatchValue	value;
	size_t		nbytes;
	uint32		slot = (uint32) HashCharacters(chars, n) & (values->nslots - 1);

	DescribeMatchValue(chars, n, &value);
	nbytes = PutCharacters(&value, chars, bytes);
	while (values->slots[slot] != 0)
	{
		const MatchValue *other = &values->values[values->slots[slot]];

		if (other->nchars == n && other->letters == value.letters && other->wide == value.wide &&
			memcmp(values->texts + other->at, bytes, nbytes) == 0)
			return values->slots[slot];
		slot = (slot + 1) & (values->nslots - 1);
	}
	/* characters of four bytes lie where they can be read as such */
	values->ntexts = TYPEALIGN(sizeof(uint32), values->ntexts);
	if (values->ntexts + nbytes > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a field has more than 4 GB of different values"),
				 errhint("Match parts of the source one after the other.")));
	if (values->ntexts + nbytes > values->textroom)
	{
		values->textroom *= 2;
		values->texts = GrowArray(values->texts, values->textroom);
	}
	value.at = (uint32) values->ntexts;
	memcpy(values->texts + values->ntexts, bytes, nbytes);
	values->ntexts += nbytes;
	values->values[values->nvalues] = value;
	values->counts[values->nvalues] = 0;
	values->slots[slot] = values->nvalues;
	values->nvalues++;
	if (values->nvalues == values->room)
	{
		GrowValues(values);
		return values->nvalues - 1;
	}
	return values->nvalues - 1;
}

/* ---------------------------------------------------------------------------
 * Records
 * ---------------------------------------------------------------------------
 */

typedef struct Garbage
{
	int			n;
	int		   *nchars;
	uint32	  **chars;
} Garbage;

static void
ReadGarbage(const MatchDefinition *definition, Garbage *garbage)
{
	garbage->n = definition->ngarbage;
	garbage->nchars = palloc(Max(garbage->n, 1) * sizeof(int));
	garbage->chars = palloc(Max(garbage->n, 1) * sizeof(uint32 *));
	for (int i = 0; i < garbage->n; i++)
	{
		char	   *utf8 = MatchTextInUtf8(definition->garbage[i], (int) strlen(definition->garbage[i]));

		garbage->chars[i] = palloc(MATCH_MAX_CHARS * sizeof(uint32));
		garbage->nchars[i] = utf8 == NULL ? 0 :
			NormalizeMatchText(MATCH_CATEGORY, utf8, (int) strlen(utf8), NULL, garbage->chars[i]);
	}
}

static bool
IsGarbage(const Garbage *garbage, const uint32 *chars, int n)
{
	for (int i = 0; i < garbage->n; i++)
	{
		if (garbage->nchars[i] == n && memcmp(garbage->chars[i], chars, n * sizeof(uint32)) == 0)
			return true;
	}
	return false;
}

static void
GrowRecords(MatchRecords *records)
{
	int			nfields = records->definition->nfields;

	if (records->room > PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the source has too many records"),
				 errhint("Match parts of the source one after the other.")));
	records->room *= 2;
	records->numbers = GrowArray(records->numbers, (Size) records->room * nfields * sizeof(uint32));
	records->ids = GrowArray(records->ids, (Size) records->room * sizeof(int64));
}

/*
 * Takes a row.  One that has none of the fields is no record.
 */
static void
AddRecord(MatchRecords *records, const Garbage *garbage, HeapTuple row, TupleDesc tupdesc)
{
	const MatchDefinition *definition = records->definition;
	uint32	   *numbers;
	bool		any = false;
	bool		isnull;
	Datum		id = SPI_getbinval(row, tupdesc, 1, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("a record of the source has no id"),
				 errdetail("Pairs are named by the ids of their records."),
				 errhint("Name another column as \"id\", or leave such rows out in a view.")));
	if (records->n == records->room)
		GrowRecords(records);
	numbers = RecordNumbers(records, records->n);
	for (int f = 0; f < definition->nfields; f++)
	{
		Datum		value = SPI_getbinval(row, tupdesc, f + 2, &isnull);
		uint32		chars[MATCH_MAX_CHARS];
		text	   *t;
		char	   *utf8;
		int			len;
		int			n = 0;

		numbers[f] = 0;
		if (isnull)
			continue;
		t = DatumGetTextPP(value);
		len = (int) VARSIZE_ANY_EXHDR(t);
		utf8 = MatchTextInUtf8(VARDATA_ANY(t), len);
		if (utf8 != NULL)
			n = NormalizeMatchText(definition->fields[f].kind, utf8, utf8 == VARDATA_ANY(t) ? len : (int) strlen(utf8),
								   definition->country, chars);
		if (n > 0 && !IsGarbage(garbage, chars, n))
		{
			numbers[f] = NumberOfValue(&records->fields[f], chars, n);
			any = true;
		}
		if (utf8 != NULL && utf8 != VARDATA_ANY(t))
			pfree(utf8);
		if ((Pointer) t != DatumGetPointer(value))
			pfree(t);
	}
	if (!any)
		return;
	for (int f = 0; f < definition->nfields; f++)
		records->fields[f].counts[numbers[f]]++;
	if (records->by_number)
		records->ids[records->n] = DatumGetInt64(id);
	else
	{
		text	   *t = DatumGetTextPP(id);

		records->ids[records->n] = records->idtexts.len;
		appendBinaryStringInfo(&records->idtexts, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
		appendStringInfoChar(&records->idtexts, '\0');
	}
	records->n++;
}

static int
CompareIds(const void *a, const void *b, void *arg)
{
	const MatchRecords *records = arg;
	int64		x = records->ids[*(const uint32 *) a];
	int64		y = records->ids[*(const uint32 *) b];

	if (!records->by_number)
		return strcmp(records->idtexts.data + x, records->idtexts.data + y);
	return x < y ? -1 : x > y ? 1 : 0;
}

/*
 * Puts records in the order of their ids.
 */
static void
OrderRecords(MatchRecords *records)
{
	int			nfields = records->definition->nfields;
	uint32	   *order = palloc_extended(Max(records->n, 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	uint32	   *numbers = palloc_extended(Max((Size) records->n * nfields, 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	int64	   *ids = palloc_extended(Max(records->n, 1) * sizeof(int64), MCXT_ALLOC_HUGE);

	for (uint32 i = 0; i < records->n; i++)
		order[i] = i;
	qsort_arg(order, records->n, sizeof(uint32), CompareIds, records);
	for (uint32 i = 0; i < records->n; i++)
	{
		if (i > 0 && CompareIds(&order[i - 1], &order[i], records) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("two records of the source have the same id, %s", MatchRecordId(records, order[i])),
					 errdetail("Pairs are named by the ids of their records."),
					 errhint("Name another column as \"id\", or leave repeated rows out in a view.")));
		memcpy(numbers + (Size) i * nfields, RecordNumbers(records, order[i]), nfields * sizeof(uint32));
		ids[i] = records->ids[order[i]];
	}
	pfree(order);
	pfree(records->numbers);
	pfree(records->ids);
	records->numbers = numbers;
	records->ids = ids;
	records->room = records->n;
}

/*
 * Reads a source, as its caller.
 */
MatchRecords *
LoadMatchRecords(Oid source, const MatchDefinition *definition)
{
	MatchRecords *records = palloc0(sizeof(MatchRecords));
	MemoryContext context = CurrentMemoryContext;
	Relation	rel = try_relation_open(source, AccessShareLock);
	char	   *query;
	Garbage		garbage;
	SPIPlanPtr	plan;
	Portal		portal;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("there is no table or view with OID %u", source),
				 errdetail("Records are read from one."),
				 errhint("Name the source: 'customers', or 'schema.customers'.")));
	query = SourceQuery(rel, definition, &records->by_number);
	records->definition = definition;
	records->context = context;
	records->room = 1024;
	records->numbers = palloc((Size) records->room * definition->nfields * sizeof(uint32));
	records->ids = palloc(records->room * sizeof(int64));
	initStringInfo(&records->idtexts);
	for (int f = 0; f < definition->nfields; f++)
		BeginValues(&records->fields[f]);
	ReadGarbage(definition, &garbage);

	SPI_connect();
	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	do
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
		old = MemoryContextSwitchTo(context);
		for (uint64 i = 0; i < SPI_processed; i++)
			AddRecord(records, &garbage, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	relation_close(rel, NoLock);
	OrderRecords(records);
	return records;
}

/*
 * The id of a record.
 */
char *
MatchRecordId(const MatchRecords *records, uint32 i)
{
	if (records->by_number)
		return psprintf(INT64_FORMAT, records->ids[i]);
	return records->idtexts.data + records->ids[i];
}

/*
 * Notes who is looked for: pairs without any of them are left out.  Ids that no
 * record has are of nobody.
 */
void
MarkWantedRecords(MatchRecords *records, char **ids, int nids)
{
	records->wanted = palloc0(Max(records->n, 1) * sizeof(bool));
	for (int k = 0; k < nids; k++)
	{
		uint32		low = 0;
		uint32		high = records->n;
		char	   *end;
		int64		number = 0;

		if (records->by_number)
		{
			errno = 0;
			number = strtoll(ids[k], &end, 10);
			if (errno != 0 || *ids[k] == '\0' || *end != '\0')
				ereport(ERROR,
						(errcode(ERRCODE_LY_INVALID_ARGUMENT),
						 errmsg("\"%s\" is no id of the source", ids[k]),
						 errdetail("Its ids are whole numbers."),
						 errhint("Give ids as texts of them.")));
		}
		while (low < high)
		{
			uint32		middle = (low + high) / 2;

			if (records->by_number ? records->ids[middle] < number :
				strcmp(records->idtexts.data + records->ids[middle], ids[k]) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < records->n && (records->by_number ? records->ids[low] == number :
								 strcmp(records->idtexts.data + records->ids[low], ids[k]) == 0))
			records->wanted[low] = true;
	}
}
