/*
 * rule_history.c
 *		All states that activities had, and what happened, in the order in which
 *		they were recorded: for a simulation.
 *
 * Most activities were never revised.  Where their table is plain they are read
 * as they lie there, and put in order as small records; what was revised comes by
 * a statement, and is merged with them.  Elsewhere everything comes by it.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity_row.h"
#include "activity/effect.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "core/ordered.h"
#include "core/plain.h"
#include "rule/rule_simulate.h"

#define BATCH	1000
#define AHEAD	8				/* records that are seen to come */

/* A text that stands for itself from row to row */
typedef struct KeptText
{
	const char *bytes;			/* ends with a zero, which does not count */
	int			length;
	uint32		hash;
	int			number;			/* from 1 */
	char		status;
} KeptText;

#define SH_PREFIX kepttexts
#define SH_ELEMENT_TYPE KeptText
#define SH_KEY_TYPE const char *
#define SH_KEY bytes
#define SH_HASH_KEY(table, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(table, a, b) (strcmp(a, b) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(table, element) (element)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Columns of texts that are the same in many rows */
typedef enum RepeatedColumn
{
	REPEATED_KIND,
	REPEATED_TIME_ZONE,
	REPEATED_CHANNEL,
	REPEATED_MONEY,
	REPEATED_COLUMNS
} RepeatedColumn;

static const int repeated_columns[REPEATED_COLUMNS] = {
	[REPEATED_KIND] = ACTIVITY_KIND,
	[REPEATED_TIME_ZONE] = ACTIVITY_TIME_ZONE,
	[REPEATED_CHANNEL] = ACTIVITY_CHANNEL,
	[REPEATED_MONEY] = ACTIVITY_MONEY
};

/* An activity that was never revised; behind it lines and document, aligned */
typedef struct RecordedActivity
{
	OrderedRecord head;			/* by revised_at, at, activity_id */
	int16		decimals;
	bool		has_amount;
	bool		confirmed;
	bool		has_lines;
	bool		has_document;
	int64		member_id;
	TimestampTz recorded_at;
	Micros		amount;
	DateADT		local_day;
	int			texts[REPEATED_COLUMNS];	/* by their numbers; 0: none */
} RecordedActivity;

typedef struct MemberAlias
{
	int64		member_id;
	int64		canonical_id;
} MemberAlias;

typedef struct History
{
	Simulation *simulation;
	SimNeeds	needs;
	MemoryContext context;
	MemoryContext row_context;
	int			nkinds;			/* -1: all */
	const char **kinds;
	HTAB	   *aliases;		/* of members; NULL: there are none */

	kepttexts_hash *texts;
	int			ntexts;
	int			texts_size;
	const char **by_number;
	int			last_texts[REPEATED_COLUMNS];
	int			last_kind;		/* of which is known whether it is wanted */
	bool		last_is_wanted;

	OrderedRecords *records;	/* NULL: the statement has all */
	RecordedActivity **ahead;	/* those that come next, in a ring */
	Size		ahead_sizes[AHEAD];
	int64		next;			/* the first of them */
	int64		end;
	bool		any_revised;

	Portal		portal;			/* NULL: it is not needed */
	SPITupleTable *table;
	uint64		nrows;
	uint64		row;			/* that comes next */
} History;

/* ---------------------------------------------------------------------------
 * Members, kinds and texts
 * ---------------------------------------------------------------------------
 */

static void
ReadAliases(History *history)
{
	static KeptPlan plan = {
		.query = "SELECT member_id, canonical_id FROM loyalty.member_alias"
	};
	HASHCTL		control = {.keysize = sizeof(int64),.entrysize = sizeof(MemberAlias),.hcxt = history->context};
	bool		isnull;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	if (SPI_processed > 0)
		history->aliases = hash_create("members that were merged", (long) SPI_processed, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64		member_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		MemberAlias *alias = hash_search(history->aliases, &member_id, HASH_ENTER, NULL);

		alias->canonical_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
}

static int64
CanonicalInHistory(const History *history, int64 member_id)
{
	MemberAlias *alias = history->aliases == NULL ? NULL : hash_search(history->aliases, &member_id, HASH_FIND, NULL);

	return alias == NULL ? member_id : alias->canonical_id;
}

static bool
IsWanted(const History *history, const char *kind)
{
	for (int i = 0; i < history->nkinds; i++)
	{
		if (strcmp(history->kinds[i], kind) == 0)
			return true;
	}
	return history->nkinds < 0;
}

static bool
TextIs(const text *value, const char *word)
{
	Size		length = VARSIZE_ANY_EXHDR(value);

	return memcmp(VARDATA_ANY(value), word, length) == 0 && word[length] == '\0';
}

/* The number of a text of a column; 0: it is NULL. */
static int
TextNumber(History *history, const PlainScan *scan, RepeatedColumn column)
{
	bool		isnull;
	Datum		datum = PlainScanValue(scan, repeated_columns[column], &isnull);
	text	   *value;
	char	   *bytes;
	KeptText   *kept;
	bool		found;
	int			last = history->last_texts[column];

	if (isnull)
		return 0;
	value = DatumGetTextPP(datum);
	/* nearly always that of the row before */
	if (last != 0 && strlen(history->by_number[last]) == VARSIZE_ANY_EXHDR(value) && TextIs(value, history->by_number[last]))
		return last;
	bytes = text_to_cstring(value);
	kept = kepttexts_insert(history->texts, bytes, &found);
	if (!found)
	{
		kept->bytes = MemoryContextStrdup(history->context, bytes);
		kept->number = ++history->ntexts;
		if (kept->number >= history->texts_size)
		{
			history->texts_size = Max(64, 2 * history->texts_size);
			history->by_number = history->by_number == NULL ? MemoryContextAlloc(history->context, history->texts_size * sizeof(char *)) :
				repalloc_huge(history->by_number, history->texts_size * sizeof(char *));
		}
		history->by_number[kept->number] = kept->bytes;
	}
	history->last_texts[column] = kept->number;
	return kept->number;
}

/* ---------------------------------------------------------------------------
 * Activities as they lie in their table
 * ---------------------------------------------------------------------------
 */

static struct varlena *
WholeValue(const PlainScan *scan, int column, bool needed)
{
	bool		isnull;
	Datum		value = needed ? PlainScanValue(scan, column, &isnull) : 0;

	return !needed || isnull ? NULL : PG_DETOAST_DATUM(value);
}

static void
KeepRecorded(History *history, const PlainScan *scan)
{
	bool		isnull;
	bool		no_amount;
	int			texts[REPEATED_COLUMNS];
	struct varlena *lines;
	struct varlena *document;
	RecordedActivity *kept;
	Size		size = MAXALIGN(sizeof(RecordedActivity));
	Datum		amount;
	int			decimals = 0;

	if (DatumGetInt32(PlainScanValue(scan, ACTIVITY_REVISION, &isnull)) > 0)
	{
		history->any_revised = true;
		return;
	}
	for (int i = 0; i < REPEATED_COLUMNS; i++)
		texts[i] = TextNumber(history, scan, (RepeatedColumn) i);
	if (texts[REPEATED_KIND] != history->last_kind)
	{
		history->last_kind = texts[REPEATED_KIND];
		history->last_is_wanted = IsWanted(history, history->by_number[history->last_kind]);
	}
	if (!history->last_is_wanted)
		return;
	lines = WholeValue(scan, ACTIVITY_LINES, true);
	document = WholeValue(scan, ACTIVITY_DOCUMENT, history->needs.document);
	kept = (RecordedActivity *) NewOrderedRecord(history->records, size + (lines == NULL ? 0 : MAXALIGN(VARSIZE(lines))) +
												 (document == NULL ? 0 : VARSIZE(document)));
	kept->head.key[0] = DatumGetTimestampTz(PlainScanValue(scan, ACTIVITY_REVISED_AT, &isnull));
	kept->head.key[1] = DatumGetTimestampTz(PlainScanValue(scan, ACTIVITY_AT, &isnull));
	kept->head.key[2] = DatumGetInt64(PlainScanValue(scan, ACTIVITY_ACTIVITY_ID, &isnull));
	kept->member_id = scan->member_id;
	kept->recorded_at = DatumGetTimestampTz(PlainScanValue(scan, ACTIVITY_RECORDED_AT, &isnull));
	amount = PlainScanValue(scan, ACTIVITY_AMOUNT, &no_amount);
	kept->has_amount = !no_amount;
	kept->amount = no_amount ? 0 : MicrosFromNumeric(amount, "amount", &decimals);
	kept->decimals = decimals;
	kept->local_day = DatumGetDateADT(PlainScanValue(scan, ACTIVITY_LOCAL_DAY, &isnull));
	/* one that was never revised is neither cancelled nor returned */
	kept->confirmed = DatumGetBool(PlainScanValue(scan, ACTIVITY_CONFIRMED, &isnull));
	memcpy(kept->texts, texts, sizeof(texts));
	kept->has_lines = lines != NULL;
	kept->has_document = document != NULL;
	if (lines != NULL)
	{
		memcpy((char *) kept + size, lines, VARSIZE(lines));
		size += MAXALIGN(VARSIZE(lines));
	}
	if (document != NULL)
		memcpy((char *) kept + size, document, VARSIZE(document));
}

/* The record that comes next; NULL: there is none. */
static const RecordedActivity *
NextRecorded(const History *history)
{
	return history->next < history->end ? history->ahead[history->next % AHEAD] : NULL;
}

/*
 * Sees the next record to come.  Those that come are copied, so that what they
 * need can be asked for before it is their turn.
 */
static void
LookAhead(History *history)
{
	const OrderedRecord *record = NextOrderedRecord(history->records);
	int			place = history->end % AHEAD;

	if (record != NULL)
	{
		if (record->size > history->ahead_sizes[place])
		{
			if (history->ahead[place] != NULL)
				pfree(history->ahead[place]);
			history->ahead_sizes[place] = record->size;
			history->ahead[place] = MemoryContextAllocHuge(history->context, record->size);
		}
		memcpy(history->ahead[place], record, record->size);
		ExpectMember(history->simulation, CanonicalInHistory(history, history->ahead[place]->member_id));
		history->end++;
	}
	if (history->next + AHEAD / 2 < history->end)
		ExpectUses(history->simulation,
				   CanonicalInHistory(history, history->ahead[(history->next + AHEAD / 2) % AHEAD]->member_id));
}

/* Reads what was never revised; false: it has to come by the statement. */
static bool
ReadRecorded(History *history)
{
	PlainScan	scan;
	MemoryContext old = MemoryContextSwitchTo(history->context);

	if (!BeginWholePlainScan(&scan, &activity_table, GetActiveSnapshot()))
		return false;
	history->texts = kepttexts_create(history->context, 64, NULL);
	history->records = BeginOrdered();
	MemoryContextSwitchTo(history->row_context);
	for (int64 n = 1; NextPlainRow(&scan); n++)
	{
		KeepRecorded(history, &scan);
		if (n % BATCH == 0)
			MemoryContextReset(history->row_context);
	}
	MemoryContextSwitchTo(history->context);
	EndPlainScan(&scan);
	OrderRecords(history->records);
	history->ahead = palloc0(AHEAD * sizeof(RecordedActivity *));
	for (int i = 0; i < AHEAD; i++)
		LookAhead(history);
	MemoryContextSwitchTo(old);
	return true;
}

static const char *
TextOf(const History *history, int number)
{
	return number == 0 ? NULL : history->by_number[number];
}

static void
SimulateRecord(History *history)
{
	const RecordedActivity *kept = NextRecorded(history);
	SimEvent	event;
	Activity   *activity = &event.activity;
	Size		size = MAXALIGN(sizeof(RecordedActivity));

	memset(activity, 0, sizeof(Activity));
	event.is_return = event.is_revised = event.has_before = false;
	activity->revised_at = kept->head.key[0];
	activity->at = kept->head.key[1];
	activity->activity_id = kept->head.key[2];
	activity->member_id = kept->member_id;
	activity->recorded_at = kept->recorded_at;
	activity->has_amount = kept->has_amount;
	activity->amount = kept->amount;
	activity->decimals = kept->decimals;
	activity->local_day = kept->local_day;
	activity->confirmed = kept->confirmed;
	activity->kind = TextOf(history, kept->texts[REPEATED_KIND]);
	activity->time_zone = TextOf(history, kept->texts[REPEATED_TIME_ZONE]);
	activity->channel = TextOf(history, kept->texts[REPEATED_CHANNEL]);
	activity->money = TextOf(history, kept->texts[REPEATED_MONEY]);
	if (kept->has_lines)
	{
		ReadLines(activity, PointerGetDatum((const char *) kept + size));
		size += MAXALIGN(VARSIZE(DatumGetPointer(activity->lines_value)));
	}
	if (kept->has_document)
		activity->document = PointerGetDatum((const char *) kept + size);
	event.canonical = CanonicalInHistory(history, kept->member_id);
	Simulate(history->simulation, &event);
	history->next++;
	LookAhead(history);
}

/* ---------------------------------------------------------------------------
 * Activities by a statement
 * ---------------------------------------------------------------------------
 */

/* Which state of an activity: as it is now, as it was before a revision, or as
 * the revision left it behind that moved it away */
typedef enum StateKind
{
	STATE_NOW,
	STATE_BEFORE,
	STATE_GONE
} StateKind;

static char *
StateColumns(const History *history, StateKind kind)
{
#define COLUMN(symbol, name, type) #name,
	static const char *const columns[] = {ACTIVITY_COLUMNS(COLUMN) NULL};
#undef COLUMN
#define COLUMN(symbol, name, type) ACTIVITY_##symbol,
	static const int states[] = {ACTIVITY_STATE(COLUMN) -1};
#undef COLUMN
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; columns[i] != NULL; i++)
	{
		bool		was = false;

		for (int s = 0; kind != STATE_NOW && states[s] >= 0; s++)
			was = was || states[s] == i;
		if (i > 0)
			appendStringInfoString(&list, ", ");
		if (i == ACTIVITY_DOCUMENT && !history->needs.document)
			appendStringInfoString(&list, "NULL::pg_catalog.jsonb");
		else if (i == ACTIVITY_FINGERPRINT)
			appendStringInfoString(&list, "NULL::pg_catalog.bytea");
		else if (i == ACTIVITY_EXTERNAL_ID || i == ACTIVITY_SAME_KEY || i == ACTIVITY_IDEMPOTENCY_KEY)
			appendStringInfoString(&list, "NULL::pg_catalog.text");
		else if (kind == STATE_BEFORE && i == ACTIVITY_REVISION)
			appendStringInfoString(&list, "r.revision OPERATOR(pg_catalog.-) 1");
		else if (kind == STATE_GONE && i == ACTIVITY_REVISION)
			appendStringInfoString(&list, "r.revision");
		else if (kind == STATE_GONE && i == ACTIVITY_REVISED_AT)
			appendStringInfoString(&list, "r.recorded_at");
		else if (kind == STATE_GONE && i == ACTIVITY_CANCELLED)
			appendStringInfoString(&list, "true");
		else
			appendStringInfo(&list, "%s.%s%s", was ? "r" : "a", was ? "was_" : "", columns[i]);
	}
	return list.data;
}

/*
 * All states that are not among the records, in order; behind each whether it
 * came by a return, and whether the activity was ever revised.  Of one that moves
 * to another member it is gone there before it is here; what it was before it
 * came, it was not here.
 */
static char *
HistoryQuery(const History *history)
{
	return psprintf("SELECT * FROM (SELECT %s, coalesce(r.is_return, false), a.revision OPERATOR(pg_catalog.>) 0, false AS gone "
					"FROM loyalty.activity a LEFT JOIN loyalty.activity_revision r ON r.member_id OPERATOR(pg_catalog.=) a.member_id "
					"AND r.activity_id OPERATOR(pg_catalog.=) a.activity_id AND r.revision OPERATOR(pg_catalog.=) a.revision "
					"WHERE a.moved_to IS NULL %s"
					"UNION ALL SELECT %s, coalesce(p.is_return, false), true, false "
					"FROM loyalty.activity_revision r JOIN loyalty.activity a ON a.member_id OPERATOR(pg_catalog.=) r.member_id "
					"AND a.activity_id OPERATOR(pg_catalog.=) r.activity_id "
					"LEFT JOIN loyalty.activity_revision p ON p.member_id OPERATOR(pg_catalog.=) r.member_id "
					"AND p.activity_id OPERATOR(pg_catalog.=) r.activity_id AND p.revision OPERATOR(pg_catalog.=) (r.revision OPERATOR(pg_catalog.-) 1) "
					"WHERE r.was_at IS NOT NULL AND r.from_member_id IS NULL "
					"UNION ALL SELECT %s, false, true, true "
					"FROM loyalty.activity_revision r JOIN loyalty.activity a ON a.member_id OPERATOR(pg_catalog.=) r.member_id "
					"AND a.activity_id OPERATOR(pg_catalog.=) r.activity_id WHERE r.to_member_id IS NOT NULL) h ORDER BY h.revised_at, h.at, h.activity_id, NOT h.gone, h.revision",
					StateColumns(history, STATE_NOW), history->records == NULL ? "" : "AND a.revision OPERATOR(pg_catalog.>) 0 ",
					StateColumns(history, STATE_BEFORE), StateColumns(history, STATE_GONE));
}

static void
FetchRows(History *history)
{
	if (history->table != NULL)
		SPI_freetuptable(history->table);
	SPI_cursor_fetch(history->portal, true, BATCH);
	history->table = SPI_tuptable;
	history->nrows = SPI_processed;
	history->row = 0;
}

static void
OpenStatement(History *history)
{
	SPIPlanPtr	plan;

	if (history->records != NULL && !history->any_revised)
		return;
	plan = SPI_prepare(HistoryQuery(history), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	history->portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	FetchRows(history);
}

static void
SimulateRow(History *history)
{
	HeapTuple	tuple = history->table->vals[history->row++];
	TupleDesc	tupdesc = history->table->tupdesc;
	MemoryContext old = MemoryContextSwitchTo(history->row_context);
	SimEvent	event = {0};
	ActivityRow row;
	bool		isnull;

	ReadActivityRow(tuple, tupdesc, &row);
	event.activity = row.activity;
	event.is_return = DatumGetBool(SPI_getbinval(tuple, tupdesc, ACTIVITY_NCOLUMNS + 1, &isnull));
	event.is_revised = DatumGetBool(SPI_getbinval(tuple, tupdesc, ACTIVITY_NCOLUMNS + 2, &isnull));
	if (IsWanted(history, event.activity.kind))
	{
		event.canonical = CanonicalInHistory(history, event.activity.member_id);
		Simulate(history->simulation, &event);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(history->row_context);
	if (history->row == history->nrows)
		FetchRows(history);
}

/* Whether the row that comes next was recorded before the record that does. */
static bool
RowIsFirst(const History *history)
{
	static const int columns[3] = {ACTIVITY_REVISED_AT, ACTIVITY_AT, ACTIVITY_ACTIVITY_ID};
	const RecordedActivity *kept = NextRecorded(history);

	if (history->portal == NULL || history->row >= history->nrows)
		return false;
	for (int i = 0; kept != NULL && i < 3; i++)
	{
		bool		isnull;
		int64		key = DatumGetInt64(SPI_getbinval(history->table->vals[history->row], history->table->tupdesc, columns[i] + 1, &isnull));

		if (key != kept->head.key[i])
			return key < kept->head.key[i];
	}
	return true;
}

/* ---------------------------------------------------------------------------
 * The whole
 * ---------------------------------------------------------------------------
 */

/* Steps of tiers that earned something, or are in the history. */
static void
ReplayHappenings(History *history)
{
	static KeptPlan plan = {
		.query = "SELECT DISTINCT ON (s.member_id, s.ladder, s.level, s.at) s.member_id, s.at, pg_catalog.jsonb_build_object('ladder', s.ladder, 'to', s.level, 'event', s.event), s.recorded_at "
		"FROM (SELECT h.member_id, h.ladder, h.level, h.starts_at AS at, h.event, h.recorded_at FROM loyalty.tier_history h WHERE h.event OPERATOR(pg_catalog.=) ANY ('{upgraded,enrolled}') "
		"UNION ALL SELECT w.member_id, pg_catalog.split_part(w.cause, ':', 2), pg_catalog.split_part(w.cause, ':', 3), w.at, 'upgraded', w.recorded_at "
		"FROM loyalty.award w WHERE pg_catalog.starts_with(w.cause, 'tier_changed:')) s ORDER BY s.member_id, s.ladder, s.level, s.at, s.recorded_at"
	};
	SPITupleTable *table;
	uint64		n;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		SimEvent	event = {0};
		bool		isnull;
		MemoryContext old = MemoryContextSwitchTo(history->row_context);

		CHECK_FOR_INTERRUPTS();
		event.activity.member_id = DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		event.activity.kind = "tier_changed";
		event.activity.at = DatumGetTimestampTz(SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull));
		event.activity.time_zone = FindTimeZone(NULL);
		event.activity.local_day = LocalDay(event.activity.at, event.activity.time_zone);
		event.activity.document = SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull);
		event.activity.recorded_at = DatumGetTimestampTz(SPI_getbinval(table->vals[i], table->tupdesc, 4, &isnull));
		event.activity.confirmed = true;
		event.canonical = CanonicalInHistory(history, event.activity.member_id);
		Simulate(history->simulation, &event);
		MemoryContextSwitchTo(old);
		MemoryContextReset(history->row_context);
	}
}

static void
TakeKinds(History *history, Datum kinds)
{
	Datum	   *elements;
	bool	   *nulls;

	history->nkinds = -1;
	if (kinds == 0)
		return;
	deconstruct_array(DatumGetArrayTypeP(kinds), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &history->nkinds);
	history->kinds = palloc(Max(1, history->nkinds) * sizeof(char *));
	for (int i = 0; i < history->nkinds; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("a kind must not be NULL"),
					 errdetail("It is kind %d of %d.", i + 1, history->nkinds),
					 errhint("Leave kinds out for all.")));
		history->kinds[i] = TextDatumGetCString(elements[i]);
		/* one that nobody has defined would come to nothing, without a word */
		if (FindCause(history->kinds[i]) == NULL)
			(void) FindActivityKind(history->kinds[i]);
	}
}

/*
 * Replays all activities of some kinds, or (0) of all, and what happened.
 * Needs an SPI connection.
 */
void
SimulateHistory(Simulation *simulation, Datum kinds)
{
	History		history = {.simulation = simulation};

	history.needs = NeedsOfSimulation(simulation);
	history.context = CurrentMemoryContext;
	history.row_context = AllocSetContextCreate(CurrentMemoryContext, "rows of the history", ALLOCSET_DEFAULT_SIZES);
	TakeKinds(&history, kinds);
	ReadAliases(&history);
	(void) ReadRecorded(&history);
	OpenStatement(&history);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (RowIsFirst(&history))
			SimulateRow(&history);
		else if (NextRecorded(&history) != NULL)
			SimulateRecord(&history);
		else
			break;
	}
	if (history.portal != NULL)
		SPI_cursor_close(history.portal);
	if (history.records != NULL)
		EndOrdered(history.records);
	if (history.needs.tier_changes)
		ReplayHappenings(&history);
	MemoryContextDelete(history.row_context);
}
