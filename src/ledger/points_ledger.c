/*
 * points_ledger.c
 *		The type points_ledger: a packed, append-only history of entries.
 *
 * Bytes: version, flags, number of entries, effective_at of the last one,
 * the lifetime that the next may share, then the entries.  Entries are
 * numbered from 1; an entry refers to an earlier one by its number.
 *
 * Whatever makes a ledger (text, bytes, ||, ledger_agg) folds it once, so
 * that every ledger that exists can be folded.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "ledger/activity_log.h"
#include "ledger/points_ledger.h"
#include "ledger/post.h"

/* How to fold a ledger when nothing else is said */
static const FoldPolicy default_policy = {
	.order = CONSUME_EARLIEST_EXPIRY,
	.clawback = CLAWBACK_ALLOW_DEBT,
	.burn_to_debt = true
};

/* ---------------------------------------------------------------------------
 * Building and reading
 * ---------------------------------------------------------------------------
 */

/*
 * Starts an empty ledger.
 */
void
BeginLedger(LedgerBuilder *builder)
{
	memset(builder, 0, sizeof(LedgerBuilder));
	PackInit(&builder->body, 0);
	builder->last_effective_at = 0;
	builder->lifetime = -1;
}

/*
 * Adds an entry behind the last one.
 */
void
AppendEntry(LedgerBuilder *builder, const Entry *entry)
{
	if (entry->target != 0)
		builder->flags |= LEDGER_HAS_TARGETS;
	if (builder->count > 0 && entry->effective_at < builder->last_effective_at)
		builder->flags |= LEDGER_HAS_LATE;
	if (entry->target >= builder->count + 1)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ENTRY_NOT_FOUND),
				 errmsg("entry " INT64_FORMAT " refers to entry " INT64_FORMAT ", which is not before it",
						builder->count + 1, entry->target),
				 errdetail("The entries before it have the numbers from 1 to " INT64_FORMAT ".", builder->count),
				 errhint("Entries of a ledger are numbered from 1 and refer to earlier ones.")));
	PackEntry(&builder->body, entry, builder->last_effective_at, &builder->lifetime);
	builder->last_effective_at = entry->effective_at;
	builder->count++;
}

/*
 * Ends a ledger and returns the value.
 */
PackedValue *
FinishLedger(LedgerBuilder *builder)
{
	PackWriter	writer;
	uint8		head[2] = {PACK_VERSION, builder->flags};

	PackInit(&writer, VARHDRSZ);
	PackBytes(&writer, head, 2);
	PackUnsigned(&writer, (uint64) builder->count);
	PackTime(&writer, builder->last_effective_at, 0);
	PackSigned(&writer, builder->lifetime);
	PackBytes(&writer, builder->body.data, builder->body.used);
	return FinishPacked(&writer);
}

/*
 * Reads the head of a ledger.  False when the bytes are none.
 */
static bool
OpenLedger(LedgerReader *reader, const void *bytes, Size length)
{
	uint8		head[2];

	UnpackInit(&reader->bytes, bytes, length);
	UnpackBytes(&reader->bytes, head, 2);
	if (head[0] != PACK_VERSION || (head[1] & ~LEDGER_FLAGS))
		return false;
	reader->flags = head[1];
	reader->count = (int64) UnpackUnsigned(&reader->bytes);
	reader->last_effective_at = UnpackTime(&reader->bytes, 0);
	reader->last_lifetime = UnpackSigned(&reader->bytes);
	reader->done = 0;
	reader->previous = 0;
	reader->lifetime = -1;

	/* an entry takes three bytes at least: no count can make us allocate wildly */
	return !reader->bytes.failed && reader->count >= 0 &&
		reader->count <= (reader->bytes.end - reader->bytes.next) / 3;
}

static void
OpenLedgerDatum(LedgerReader *reader, Datum datum)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);

	if (!OpenLedger(reader, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stored points_ledger is damaged")));
}

pg_noreturn static void
DamagedEntry(const LedgerReader *reader, int sqlstate)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("entry " INT64_FORMAT " of points_ledger is damaged", reader->done + 1)));
}

/*
 * The head of the next entry, and its first byte; 0 at the end.  Bytes that
 * are no entry raise an error.
 */
static inline uint8
NextEntryHead(LedgerReader *reader, PlainEntry *plain, int sqlstate)
{
	uint8		head;

	if (unlikely(reader->done >= reader->count))
	{
		if (reader->bytes.next != reader->bytes.end)
			ereport(ERROR,
					(errcode(sqlstate),
					 errmsg("points_ledger has bytes behind its last entry")));
		return 0;
	}
	head = UnpackEntryHead(&reader->bytes, plain, reader->previous, &reader->lifetime);
	if (unlikely(reader->bytes.failed))
		DamagedEntry(reader, sqlstate);
	reader->previous = plain->effective_at;
	reader->done++;
	return head;
}

/*
 * The whole entry of that head.
 */
static void
CompleteEntry(LedgerReader *reader, uint8 head, const PlainEntry *plain, Entry *entry, int sqlstate)
{
	InitPlainEntry(entry, plain);
	UnpackEntryRest(&reader->bytes, head, entry);
	if (unlikely(reader->bytes.failed))
	{
		reader->done--;
		DamagedEntry(reader, sqlstate);
	}
	entry->entry_id = reader->done;
}

/*
 * The next entry; false at the end.
 */
static bool
NextEntry(LedgerReader *reader, Entry *entry, int sqlstate)
{
	PlainEntry	plain;
	uint8		head = NextEntryHead(reader, &plain, sqlstate);

	if (head == 0)
		return false;
	CompleteEntry(reader, head, &plain, entry, sqlstate);
	return true;
}

/* What is remembered of an entry, for those that refer to it */
typedef struct PastEntry
{
	EntryKind	kind;
	int64		points;
	int64		posted;
	int64		reversed;		/* less what was undone of that */
	int64		target;
	bool		closed;			/* a hold that was captured or released */
	TimestampTz effective_at;
	TimestampTz hold_until;
	TimestampTz expires_at;
	LotList		touched;
} PastEntry;

/*
 * What an entry that undoes a reversal has to know: of the entry that was
 * reversed, and of the reversals of it that came later.
 */
static void
FillUndone(Entry *entry, const PastEntry *past)
{
	const PastEntry *reversal = &past[entry->target - 1];
	const PastEntry *undone = &past[reversal->target - 1];

	entry->target_undoes = undone->kind == ENTRY_REVERSE;
	entry->target_expires_at = undone->expires_at;
	for (int64 id = entry->target + 1; id < entry->entry_id && !entry->target_followed; id++)
	{
		const PastEntry *later = &past[id - 1];

		if ((id & 0xFFF) == 0)
			CHECK_FOR_INTERRUPTS();
		entry->target_followed = later->kind == ENTRY_REVERSE &&
			later->target == reversal->target && later->points > later->reversed;
	}
}

static void
FillTarget(Entry *entry, const PastEntry *history)
{
	const PastEntry *past = history;

	if (entry->target <= 0 || entry->target >= entry->entry_id)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ENTRY_NOT_FOUND),
				 errmsg("entry " INT64_FORMAT " refers to entry " INT64_FORMAT ", which is not before it",
						entry->entry_id, entry->target),
				 errdetail("The entries before it have the numbers from 1 to " INT64_FORMAT ".", entry->entry_id - 1),
				 errhint("Entries of a ledger are numbered from 1 and refer to earlier ones.")));
	past += entry->target - 1;
	entry->target_kind = past->kind;
	entry->target_points = past->points;
	entry->target_posted = past->posted;
	entry->target_reversed = past->reversed;
	entry->target_effective_at = past->effective_at;
	entry->target_hold_until = past->hold_until;
	entry->target_closed = past->closed;
	entry->target_lots = past->posted < 0 || past->kind == ENTRY_REVERSE ? &past->touched : NULL;
	if (entry->kind == ENTRY_REVERSE && past->kind == ENTRY_REVERSE)
		FillUndone(entry, history);
}

static void
Remember(PastEntry *past, const Entry *entry)
{
	PastEntry  *own = &past[entry->entry_id - 1];

	own->kind = entry->kind;
	own->posted = entry->posted;
	own->points = entry->requested < 0 ? -entry->requested : entry->requested;
	own->reversed = 0;
	own->target = entry->target;
	own->closed = false;
	own->effective_at = entry->effective_at;
	own->hold_until = entry->hold_until;
	own->expires_at = entry->expires_at;
	own->touched = entry->touched;
	if (entry->kind == ENTRY_REVERSE)
	{
		PastEntry  *target = &past[entry->target - 1];

		target->reversed += entry->requested;
		if (target->kind == ENTRY_REVERSE)
			past[target->target - 1].reversed -= entry->requested;
	}
	if (entry->kind == ENTRY_CAPTURE || entry->kind == ENTRY_RELEASE)
		past[entry->target - 1].closed = true;
}

pg_noreturn static void
RefuseEntry(FoldRefusal refusal, const Entry *entry, const Balance *balance)
{
	Refused		refused = {.refusal = refusal,.entry = entry,.balance = balance};

	RaiseRefusal(&refused);
}

/*
 * Folds the rest of a ledger whose entries refer to others.
 */
static void
FoldWithTargets(LedgerReader *reader, const FoldPolicy *policy, Balance *balance, int sqlstate)
{
	PastEntry  *past = palloc_extended(reader->count * sizeof(PastEntry), MCXT_ALLOC_HUGE);
	ActivityLog log;
	Entry		entry;

	InitActivities(&log);
	while (NextEntry(reader, &entry, sqlstate))
	{
		FoldRefusal refusal;

		if ((reader->done & 0xFFF) == 0)
			CHECK_FOR_INTERRUPTS();
		if (entry.target != 0)
		{
			FillTarget(&entry, past);
			SetActivities(&log, &entry);
		}
		refusal = ApplyEntry(balance, policy, &entry);
		if (refusal != FOLD_OK)
			RefuseEntry(refusal, &entry, balance);
		Remember(past, &entry);
		NoteActivity(&log, &entry);
	}
}

/*
 * Folds the rest of a ledger whose entries stand for themselves.
 */
static void
FoldWithoutTargets(LedgerReader *reader, const FoldPolicy *policy, Balance *balance, int sqlstate)
{
	PlainEntry	plain;
	Entry		entry;
	uint8		head;

	while ((head = NextEntryHead(reader, &plain, sqlstate)) != 0)
	{
		FoldRefusal refusal;

		if (unlikely((reader->done & 0xFFF) == 0))
			CHECK_FOR_INTERRUPTS();
		if (likely(!(head & ENTRY_EXTENDED)))
			refusal = ApplyPlainEntry(balance, policy, &plain, reader->done);
		else
		{
			CompleteEntry(reader, head, &plain, &entry, sqlstate);
			refusal = ApplyEntry(balance, policy, &entry);
			if (entry.touched.lots != NULL)
				pfree(entry.touched.lots);
		}
		if (unlikely(refusal != FOLD_OK))
		{
			if (!(head & ENTRY_EXTENDED))
				CompleteEntry(reader, head, &plain, &entry, sqlstate);
			RefuseEntry(refusal, &entry, balance);
		}
	}
}

/*
 * Folds the rest of a ledger into an empty balance.  Where no entry is late
 * and none refers to another, lots are dropped as they expire and nothing is remembered.
 */
static void
FoldLedger(LedgerReader *reader, const FoldPolicy *policy, Balance *balance, int sqlstate)
{
	FoldPolicy	own_policy = *policy;
	bool		has_targets = (reader->flags & LEDGER_HAS_TARGETS) != 0;

	own_policy.settle = !(reader->flags & (LEDGER_HAS_LATE | LEDGER_HAS_TARGETS));
	own_policy.forget = !has_targets;
	balance->may_heap = own_policy.settle && balance->order == CONSUME_EARLIEST_EXPIRY && !own_policy.join;
	if (has_targets)
		FoldWithTargets(reader, &own_policy, balance, sqlstate);
	else
		FoldWithoutTargets(reader, &own_policy, balance, sqlstate);
	SettleExpired(balance, balance->last_effective_at);
	EndHeap(balance);
}

/*
 * Folds a finished value once, so that no ledger is handed out that cannot be
 * folded.
 */
PackedValue *
CheckedLedger(PackedValue *value)
{
	LedgerReader reader;
	Balance		balance;

	OpenLedgerDatum(&reader, PointerGetDatum(value));
	InitBalance(&balance, default_policy.order);
	FoldLedger(&reader, &default_policy, &balance, ERRCODE_DATA_CORRUPTED);
	return value;
}

/* ---------------------------------------------------------------------------
 * Input and output
 * ---------------------------------------------------------------------------
 */

/*
 * points_ledger_in(cstring): a JSON array of entries.
 */
PG_FUNCTION_INFO_V1(loyalty_points_ledger_in);
Datum
loyalty_points_ledger_in(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = ParseJson(PG_GETARG_CSTRING(0));
	LedgerBuilder builder;

	if (!JsonContainerIsArray(&json->root) || JsonContainerIsScalar(&json->root))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("a points_ledger must be an array of entries")));

	BeginLedger(&builder);
	for (uint32 i = 0; i < JsonContainerSize(&json->root); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(&json->root, i);
		Entry		entry;

		CHECK_FOR_INTERRUPTS();
		if (element->type != jbvBinary)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("entry %u of a points_ledger must be an object", i + 1)));
		EntryFromJson(element->val.binary.data, &entry);
		CheckEntry(&entry, false);
		AppendEntry(&builder, &entry);
	}
	PG_RETURN_POINTER(CheckedLedger(FinishLedger(&builder)));
}

PG_FUNCTION_INFO_V1(loyalty_points_ledger_out);
Datum
loyalty_points_ledger_out(PG_FUNCTION_ARGS)
{
	LedgerReader reader;
	StringInfoData buf;
	Entry		entry;

	OpenLedgerDatum(&reader, PG_GETARG_DATUM(0));
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	while (NextEntry(&reader, &entry, ERRCODE_DATA_CORRUPTED))
	{
		CHECK_FOR_INTERRUPTS();
		if (reader.done > 1)
			appendStringInfoString(&buf, ", ");
		EntryToJson(&buf, &entry);
	}
	appendStringInfoChar(&buf, ']');
	PG_RETURN_CSTRING(buf.data);
}

/*
 * points_ledger_recv(internal): the stored bytes; they are read entry by
 * entry and written anew.
 */
PG_FUNCTION_INFO_V1(loyalty_points_ledger_recv);
Datum
loyalty_points_ledger_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			length = buf->len - buf->cursor;
	LedgerReader reader;
	LedgerBuilder builder;
	Entry		entry;

	if (!OpenLedger(&reader, pq_getmsgbytes(buf, length), length))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary format of points_ledger")));
	BeginLedger(&builder);
	while (NextEntry(&reader, &entry, ERRCODE_INVALID_BINARY_REPRESENTATION))
	{
		CHECK_FOR_INTERRUPTS();
		CheckEntry(&entry, false);
		AppendEntry(&builder, &entry);
	}
	PG_RETURN_POINTER(CheckedLedger(FinishLedger(&builder)));
}

/* ---------------------------------------------------------------------------
 * Functions
 * ---------------------------------------------------------------------------
 */

/*
 * ledger || entry: the ledger with one more entry.  The entry is an object as
 * ledger_entry() makes it.  Refuses what cannot be: a hold or capture of more
 * than there is, a reversal of more than is left.
 */
PG_FUNCTION_INFO_V1(loyalty_ledger_append);
Datum
loyalty_ledger_append(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = PG_GETARG_JSONB_P(1);
	LedgerReader reader;
	LedgerBuilder builder;
	Entry		entry;

	OpenLedgerDatum(&reader, PG_GETARG_DATUM(0));
	EntryFromJson(&json->root, &entry);
	CheckEntry(&entry, false);

	BeginLedger(&builder);
	PackBytes(&builder.body, reader.bytes.next, reader.bytes.end - reader.bytes.next);
	builder.flags = reader.flags;
	builder.count = reader.count;
	builder.last_effective_at = reader.last_effective_at;
	builder.lifetime = reader.last_lifetime;
	AppendEntry(&builder, &entry);
	PG_RETURN_POINTER(CheckedLedger(FinishLedger(&builder)));
}

/*
 * Policies by name; both raise an error for an unknown one.
 */
ConsumptionOrder
ConsumptionOrderFromText(const char *name)
{
	if (strcmp(name, "earliest_expiry") == 0)
		return CONSUME_EARLIEST_EXPIRY;
	if (strcmp(name, "oldest_first") == 0)
		return CONSUME_OLDEST_FIRST;
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("unknown consumption order \"%s\"", name),
			 errdetail("It is the order in which lots are consumed."),
			 errhint("Use earliest_expiry or oldest_first.")));
}

ClawbackPolicy
ClawbackPolicyFromText(const char *name)
{
	if (strcmp(name, "allow_debt") == 0)
		return CLAWBACK_ALLOW_DEBT;
	if (strcmp(name, "within_balance") == 0)
		return CLAWBACK_WITHIN_BALANCE;
	if (strcmp(name, "within_lot") == 0)
		return CLAWBACK_WITHIN_LOT;
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("unknown clawback policy \"%s\"", name),
			 errdetail("It says how far the reversal of an earn reaches."),
			 errhint("Use allow_debt, within_balance or within_lot.")));
}

/*
 * fold(ledger, consumption_order, clawback_policy): its balance.
 */
PG_FUNCTION_INFO_V1(loyalty_fold);
Datum
loyalty_fold(PG_FUNCTION_ARGS)
{
	FoldPolicy	policy = default_policy;
	LedgerReader reader;
	Balance    *balance;
	Datum		result;

	OpenLedgerDatum(&reader, PG_GETARG_DATUM(0));
	policy.order = ConsumptionOrderFromText(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	policy.clawback = ClawbackPolicyFromText(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	balance = NewBalanceDatum(policy.order, reader.count, &result);
	FoldLedger(&reader, &policy, balance, ERRCODE_DATA_CORRUPTED);
	PG_RETURN_DATUM(result);
}

/*
 * ledger_length(ledger): how many entries it has.
 */
PG_FUNCTION_INFO_V1(loyalty_ledger_length);
Datum
loyalty_ledger_length(PG_FUNCTION_ARGS)
{
	LedgerReader reader;

	OpenLedgerDatum(&reader, PG_GETARG_DATUM(0));
	PG_RETURN_INT64(reader.count);
}

/*
 * entries(ledger): one row for each entry.  expires_at NULL is never,
 * available_at NULL waits for an activate.
 */
PG_FUNCTION_INFO_V1(loyalty_entries);
Datum
loyalty_entries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LedgerReader reader;
	Entry		entry;

	OpenLedgerDatum(&reader, PG_GETARG_DATUM(0));
	InitReturnSet(fcinfo);
	while (NextEntry(&reader, &entry, ERRCODE_DATA_CORRUPTED))
	{
		Datum		values[11];
		bool		nulls[11] = {false};

		CHECK_FOR_INTERRUPTS();
		values[0] = Int64GetDatum(entry.entry_id);
		values[1] = CStringGetTextDatum(EntryKindName(entry.kind));
		values[2] = Int64GetDatum(entry.requested);
		values[3] = TimestampTzGetDatum(entry.effective_at);
		values[4] = TimestampTzGetDatum(entry.available_at);
		nulls[4] = TIMESTAMP_NOT_FINITE(entry.available_at);
		values[5] = TimestampTzGetDatum(entry.expires_at);
		nulls[5] = TIMESTAMP_NOT_FINITE(entry.expires_at);
		values[6] = TimestampTzGetDatum(entry.hold_until);
		nulls[6] = TIMESTAMP_NOT_FINITE(entry.hold_until);
		values[7] = TimestampTzGetDatum(entry.extends_to);
		nulls[7] = TIMESTAMP_NOT_FINITE(entry.extends_to);
		values[8] = Int64GetDatum(entry.target);
		nulls[8] = entry.target == 0;
		nulls[9] = entry.given == NULL;
		values[9] = nulls[9] ? (Datum) 0 : PointerGetDatum(PackLotsValue(entry.given));
		values[10] = TimestampTzGetDatum(entry.expires_by);
		nulls[10] = TIMESTAMP_NOT_FINITE(entry.expires_by);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * append_only()
 * ---------------------------------------------------------------------------
 */

static void
RefuseChange(Relation rel, const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_APPEND_ONLY),
			 errmsg("%s on \"%s\" is refused: it is append-only", what, RelationGetRelationName(rel)),
			 errdetail("%s", detail),
			 errhint("Correct by adding an entry that undoes the wrong one.")));
}

/*
 * Whether a ledger begins with all entries of another.
 */
static bool
LedgerExtends(Datum newer, Datum older)
{
	LedgerReader a;
	LedgerReader b;

	OpenLedgerDatum(&a, older);
	OpenLedgerDatum(&b, newer);
	return b.count >= a.count &&
		b.bytes.end - b.bytes.next >= a.bytes.end - a.bytes.next &&
		memcmp(a.bytes.next, b.bytes.next, a.bytes.end - a.bytes.next) == 0;
}

/*
 * append_only() trigger: nothing recorded is changed or removed.
 *
 * Without arguments it protects a table:
 *
 *	CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON history
 *		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.append_only();
 *
 * With names of columns of type points_ledger it lets rows be updated but
 * these columns only grow, and lets no row with entries in them be deleted:
 *
 *	CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON customer
 *		FOR EACH ROW EXECUTE FUNCTION loyalty.append_only('points');
 *	CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON customer
 *		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.append_only();
 */
PG_FUNCTION_INFO_V1(loyalty_append_only);
Datum
loyalty_append_only(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = RequireTrigger(fcinfo, "append_only",
										   FIRED_BEFORE | FIRED_FOR_ROW | FIRED_FOR_STATEMENT |
										   FIRED_BY_UPDATE | FIRED_BY_DELETE | FIRED_BY_TRUNCATE);
	Trigger    *trigger = trigdata->tg_trigger;
	TriggerEvent event = trigdata->tg_event;
	Relation	rel = trigdata->tg_relation;
	const char *what;

	what = TRIGGER_FIRED_BY_UPDATE(event) ? "UPDATE" :
		TRIGGER_FIRED_BY_DELETE(event) ? "DELETE" : "TRUNCATE";

	if (trigger->tgnargs == 0)
	{
		if (!TRIGGER_FIRED_BY_TRUNCATE(event) &&
			IsPermittedChange(TRIGGER_FIRED_BY_UPDATE(event) ? FIRED_BY_UPDATE : FIRED_BY_DELETE))
			return PointerGetDatum(NULL);
		RefuseChange(rel, what, "Rows of this table are never changed or removed.");
		return PointerGetDatum(NULL);	/* keep compiler quiet */
	}
	RequireTrigger(fcinfo, "append_only", FIRED_BEFORE | FIRED_FOR_ROW | FIRED_BY_UPDATE | FIRED_BY_DELETE);

	for (int i = 0; i < trigger->tgnargs; i++)
	{
		const char *column = trigger->tgargs[i];
		int			attnum = SPI_fnumber(RelationGetDescr(rel), column);
		char	   *type;
		Datum		older;
		Datum		newer;
		bool		isnull;

		if (attnum <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of \"%s\" does not exist", column,
							RelationGetRelationName(rel))));
		type = SPI_gettype(RelationGetDescr(rel), attnum);
		if (strcmp(type, "points_ledger") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of \"%s\" is of type %s, not points_ledger", column,
							RelationGetRelationName(rel), type)));

		older = heap_getattr(trigdata->tg_trigtuple, attnum, RelationGetDescr(rel), &isnull);
		if (isnull)
			continue;
		if (TRIGGER_FIRED_BY_DELETE(event))
			RefuseChange(rel, what, psprintf("Column \"%s\" has entries.", column));
		newer = heap_getattr(trigdata->tg_newtuple, attnum, RelationGetDescr(rel), &isnull);
		if (isnull || !LedgerExtends(newer, older))
			RefuseChange(rel, what,
						 psprintf("Column \"%s\" would be shortened or edited; it may only grow by ||.",
								  column));
	}
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(event) ?
						   trigdata->tg_newtuple : trigdata->tg_trigtuple);
}
