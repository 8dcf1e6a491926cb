/*
 * ledger_agg.c
 *		Aggregates that fold rows of any table: balance_agg and ledger_agg.
 *
 * Rows arrive in any order.  The state is a run of packed entries, about ten
 * bytes a row; the final function unpacks, sorts and folds them.  The order
 * is total over all that a row says, so the result has the same bits for any
 * input order, plan and number of workers.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/points_ledger.h"

/*
 * The state of one group: a run of packed entries.  A zero byte in place of an
 * entry's first begins a part whose differences start anew.
 */
typedef struct EntryRun
{
	PackWriter	bytes;
	int64		count;			/* entries */
	TimestampTz previous;
	int64		lifetime;
	struct RowBuffer *buffer;	/* where rows of this group may still be */
} EntryRun;

/*
 * Rows on their way to their groups.
 *
 * With many groups, each row meets a run that is not in the processor's
 * caches, and waiting for it would be most of the work.  So rows are gathered
 * in a buffer that all groups of an aggregate share, and handed out together:
 * while one row is packed, the memory of the next ones is already being
 * fetched.  Whoever reads a run empties its buffer first.
 */
#define BUFFER_ROWS		256
#define FETCH_RUN_AHEAD	16
#define FETCH_END_AHEAD	8

typedef struct BufferedRow
{
	EntryRun   *run;
	PlainEntry	entry;
} BufferedRow;

typedef struct RowBuffer
{
	struct RowBuffers *owner;
	MemoryContext context;		/* the aggregate's */
	MemoryContext runs;			/* a child of it: apart from the groups' keys,
								 * which so lie close together */
	MemoryContextCallback gone;
	int			count;
	BufferedRow rows[BUFFER_ROWS];
} RowBuffer;

/*
 * The buffers of one aggregate in a query: one for each of its memory contexts
 * (there are several with GROUPING SETS), dropped when that is reset.
 */
typedef struct RowBuffers
{
	int			count;
	int			size;
	RowBuffer **buffers;
} RowBuffers;

static void
EmptyBuffer(RowBuffer *buffer)
{
	int			count = buffer->count;

	for (int i = 0; i < count; i++)
	{
		BufferedRow *row = &buffer->rows[i];
		EntryRun   *run = row->run;

		if (i + FETCH_RUN_AHEAD < count)
			PrefetchMemory(buffer->rows[i + FETCH_RUN_AHEAD].run);
		if (i + FETCH_END_AHEAD < count)
		{
			EntryRun   *ahead = buffer->rows[i + FETCH_END_AHEAD].run;

			PrefetchMemory(ahead->bytes.data + ahead->bytes.used);
		}
		PackPlainEntry(&run->bytes, &row->entry, run->previous, &run->lifetime);
		run->previous = row->entry.effective_at;
		run->count++;
	}
	buffer->count = 0;
}

/*
 * The context of a buffer is being reset: its groups are gone.
 */
static void
ForgetBuffer(void *arg)
{
	RowBuffer  *buffer = arg;
	RowBuffers *owner = buffer->owner;

	for (int i = 0; i < owner->count; i++)
	{
		if (owner->buffers[i] == buffer)
		{
			owner->buffers[i] = owner->buffers[--owner->count];
			return;
		}
	}
}

static RowBuffer *
NewBuffer(RowBuffers *owner, MemoryContext context)
{
	RowBuffer  *buffer;

	if (owner->count >= owner->size)
	{
		owner->size *= 2;
		owner->buffers = repalloc(owner->buffers, owner->size * sizeof(RowBuffer *));
	}
	buffer = MemoryContextAlloc(context, sizeof(RowBuffer));
	buffer->owner = owner;
	buffer->context = context;
	buffer->runs = AllocSetContextCreate(context, "loyalty entry runs", ALLOCSET_DEFAULT_SIZES);
	buffer->count = 0;
	buffer->gone.func = ForgetBuffer;
	buffer->gone.arg = buffer;
	MemoryContextRegisterResetCallback(context, &buffer->gone);
	owner->buffers[owner->count++] = buffer;
	return buffer;
}

/*
 * The buffer of the context in which an aggregate works now.
 */
static inline RowBuffer *
BufferOf(FunctionCallInfo fcinfo, MemoryContext context)
{
	RowBuffers *owner = fcinfo->flinfo->fn_extra;

	if (unlikely(owner == NULL))
	{
		owner = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(RowBuffers));
		owner->size = 4;
		owner->buffers = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, owner->size * sizeof(RowBuffer *));
		fcinfo->flinfo->fn_extra = owner;
	}
	for (int i = 0; i < owner->count; i++)
	{
		if (owner->buffers[i]->context == context)
			return owner->buffers[i];
	}
	return NewBuffer(owner, context);
}

static EntryRun *
NewRun(RowBuffer *buffer)
{
	EntryRun   *run = MemoryContextAlloc(buffer->runs, sizeof(EntryRun));

	run->bytes.size = 64;
	run->bytes.data = MemoryContextAlloc(buffer->runs, run->bytes.size);
	run->bytes.used = 0;
	run->count = 0;
	run->previous = 0;
	run->lifetime = -1;
	run->buffer = buffer;
	return run;
}

/*
 * Adds a row to the run of its group, without touching the run's memory.
 */
static inline void
AddRow(RowBuffer *buffer, EntryRun *run, const PlainEntry *entry)
{
	if (unlikely(buffer->count >= BUFFER_ROWS))
		EmptyBuffer(buffer);
	buffer->rows[buffer->count].run = run;
	buffer->rows[buffer->count].entry = *entry;
	buffer->count++;
}

/*
 * A state, with all its rows in it.
 */
static EntryRun *
CompleteRun(EntryRun *run)
{
	if (run->buffer != NULL && run->buffer->count > 0)
		EmptyBuffer(run->buffer);
	return run;
}

/*
 * Adds all bytes of another run as a part of its own.
 */
static void
AddPart(EntryRun *run, const char *bytes, Size length, int64 count)
{
	uint8		part = 0;

	if (run->bytes.used > 0)
		PackBytes(&run->bytes, &part, 1);
	PackBytes(&run->bytes, bytes, length);
	PackBytes(&run->bytes, &part, 1);
	run->count += count;
	run->previous = 0;
	run->lifetime = -1;
}

/* ---------------------------------------------------------------------------
 * Order
 * ---------------------------------------------------------------------------
 */

static inline bool
IsIncome(const PlainEntry *entry)
{
	return entry->kind == ENTRY_EARN ||
		(entry->kind == ENTRY_ADJUST && entry->points > 0);
}

/*
 * By time; at one instant what comes in goes before what goes out, then by
 * expiry, then by amount, then by whatever else tells two rows apart.
 */
static inline int
ComparePlainEntries(const PlainEntry *a, const PlainEntry *b)
{
	if (a->effective_at != b->effective_at)
		return a->effective_at < b->effective_at ? -1 : 1;
	if (IsIncome(a) != IsIncome(b))
		return IsIncome(a) ? -1 : 1;
	if (a->expires_at != b->expires_at)
		return a->expires_at < b->expires_at ? -1 : 1;
	if (a->points != b->points)
		return a->points < b->points ? -1 : 1;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->available_at != b->available_at)
		return a->available_at < b->available_at ? -1 : 1;
	return 0;
}

#define ST_SORT SortPlainEntries
#define ST_ELEMENT_TYPE PlainEntry
#define ST_COMPARE(a, b) ComparePlainEntries(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * All entries of a run, in order.
 */
static PlainEntry *
SortedEntries(const EntryRun *run)
{
	PlainEntry *entries = palloc_extended(Max(run->count, 1) * sizeof(PlainEntry),
										  MCXT_ALLOC_HUGE);
	TimestampTz previous = 0;
	int64		lifetime = -1;
	bool		sorted = true;
	PackReader	reader;

	UnpackInit(&reader, run->bytes.data, run->bytes.used);
	for (int64 i = 0; i < run->count;)
	{
		if (reader.next < reader.end && *reader.next == 0)
		{
			reader.next++;
			previous = 0;
			lifetime = -1;
			continue;
		}
		if ((UnpackEntryHead(&reader, &entries[i], previous, &lifetime) & ENTRY_EXTENDED) ||
			reader.failed)
			elog(ERROR, "state of a points aggregate is damaged");
		previous = entries[i].effective_at;
		if (sorted && i > 0 && ComparePlainEntries(&entries[i - 1], &entries[i]) > 0)
			sorted = false;
		i++;
	}
	if (!sorted)
		SortPlainEntries(entries, run->count);
	return entries;
}

/* ---------------------------------------------------------------------------
 * Functions of both aggregates
 * ---------------------------------------------------------------------------
 */

/*
 * The buffer and the run of an aggregate that is being called; a group that
 * has no run yet gets one.
 */
static inline EntryRun *
RunOf(FunctionCallInfo fcinfo, RowBuffer **buffer)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	*buffer = BufferOf(fcinfo, context);
	return PG_ARGISNULL(0) ? NewRun(*buffer) : (EntryRun *) PG_GETARG_POINTER(0);
}

/*
 * entry_run_combine(internal, internal): both runs, in the first.
 */
PG_FUNCTION_INFO_V1(loyalty_entry_run_combine);
Datum
loyalty_entry_run_combine(PG_FUNCTION_ARGS)
{
	RowBuffer  *buffer;
	EntryRun   *run;
	EntryRun   *other;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	run = CompleteRun(RunOf(fcinfo, &buffer));
	other = CompleteRun((EntryRun *) PG_GETARG_POINTER(1));
	AddPart(run, other->bytes.data, other->bytes.used, other->count);
	PG_RETURN_POINTER(run);
}

/*
 * entry_run_serialize(internal): number of entries, then their bytes.
 */
PG_FUNCTION_INFO_V1(loyalty_entry_run_serialize);
Datum
loyalty_entry_run_serialize(PG_FUNCTION_ARGS)
{
	EntryRun   *run = CompleteRun((EntryRun *) PG_GETARG_POINTER(0));
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint64(&buf, run->count);
	pq_sendbytes(&buf, run->bytes.data, run->bytes.used);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * entry_run_deserialize(bytea, internal)
 */
PG_FUNCTION_INFO_V1(loyalty_entry_run_deserialize);
Datum
loyalty_entry_run_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *state = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	EntryRun   *run = palloc(sizeof(EntryRun));

	/* read in place: combining copies what it keeps */
	buf.data = VARDATA_ANY(state);
	buf.len = buf.maxlen = VARSIZE_ANY_EXHDR(state);
	buf.cursor = 0;
	memset(run, 0, sizeof(EntryRun));
	run->count = pq_getmsgint64(&buf);
	run->bytes.used = buf.len - buf.cursor;
	run->bytes.data = unconstify(char *, pq_getmsgbytes(&buf, run->bytes.used));
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(run);
}

/* ---------------------------------------------------------------------------
 * balance_agg
 * ---------------------------------------------------------------------------
 */

/*
 * balance_agg_transfn(internal, points bigint, at timestamptz, expires_at
 * timestamptz): positive points earn, negative ones burn; rows with NULL or
 * zero points say nothing; expires_at NULL is never.
 */
PG_FUNCTION_INFO_V1(loyalty_balance_agg_transfn);
Datum
loyalty_balance_agg_transfn(PG_FUNCTION_ARGS)
{
	RowBuffer  *buffer;
	EntryRun   *run = RunOf(fcinfo, &buffer);
	int64		points = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	PlainEntry	entry;

	if (points == 0)
		PG_RETURN_POINTER(run);
	if (PG_ARGISNULL(2) || TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("balance_agg needs a finite instant for each row"),
				 errdetail("A row of " INT64_FORMAT " points has %s.", points,
						   PG_ARGISNULL(2) ? "none" : "an infinite one"),
				 errhint("Leave such rows out with FILTER (WHERE isfinite(at)).")));
	if (points == PG_INT64_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_LY_POINTS_OVERFLOW),
				 errmsg("points out of range: " INT64_FORMAT, points)));

	entry.effective_at = PG_GETARG_TIMESTAMPTZ(2);
	entry.available_at = entry.effective_at;
	if (points > 0)
	{
		entry.kind = ENTRY_EARN;
		entry.points = points;
		entry.expires_at = PG_ARGISNULL(3) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(3);
	}
	else
	{
		entry.kind = ENTRY_REDEEM;
		entry.points = -points;
		entry.expires_at = TIMESTAMP_INFINITY;
	}
	AddRow(buffer, run, &entry);
	PG_RETURN_POINTER(run);
}

pg_noreturn static void
RefusePlainEntry(FoldRefusal refusal, const PlainEntry *plain, const Balance *balance)
{
	Entry		entry;
	Refused		refused = {.refusal = refusal,.entry = &entry,.balance = balance};

	InitPlainEntry(&entry, plain);
	RaiseRefusal(&refused);
}

/*
 * balance_agg_finalfn(internal): the fold of the rows; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_balance_agg_finalfn);
Datum
loyalty_balance_agg_finalfn(PG_FUNCTION_ARGS)
{
	static const FoldPolicy policy = {
		.order = CONSUME_EARLIEST_EXPIRY,
		.clawback = CLAWBACK_ALLOW_DEBT,
		.burn_to_debt = true,
		.settle = true,
		.forget = true
	};
	EntryRun   *run;
	PlainEntry *entries;
	Datum		result;
	Balance    *balance;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run = CompleteRun((EntryRun *) PG_GETARG_POINTER(0));
	entries = SortedEntries(run);

	balance = NewBalanceDatum(policy.order, run->count, &result);
	for (int64 i = 0; i < run->count; i++)
	{
		FoldRefusal refusal;

		if ((i & 0xFFF) == 0xFFF)
			CHECK_FOR_INTERRUPTS();
		refusal = ApplyPlainEntry(balance, &policy, &entries[i], i + 1);
		if (unlikely(refusal != FOLD_OK))
			RefusePlainEntry(refusal, &entries[i], balance);
	}
	SettleExpired(balance, balance->last_effective_at);
	PG_RETURN_DATUM(result);
}

/* ---------------------------------------------------------------------------
 * ledger_agg
 * ---------------------------------------------------------------------------
 */

/*
 * ledger_agg_transfn(internal, kind text, points bigint, effective_at,
 * available_at, expires_at timestamptz).  available_at NULL is effective_at,
 * expires_at NULL is never; of a hold, expires_at is its hold_until.
 */
PG_FUNCTION_INFO_V1(loyalty_ledger_agg_transfn);
Datum
loyalty_ledger_agg_transfn(PG_FUNCTION_ARGS)
{
	RowBuffer  *buffer;
	EntryRun   *run = RunOf(fcinfo, &buffer);
	PlainEntry	plain;
	Entry		entry;
	text	   *name;

	for (int i = 1; i <= 3; i++)
	{
		static const char *const names[] = {"kind", "points", "effective_at"};

		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("%s of an entry must not be NULL", names[i - 1]),
					 errhint("Leave such rows out with FILTER.")));
	}
	name = PG_GETARG_TEXT_PP(1);
	plain.kind = EntryKindFromName(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	if (plain.kind == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_KIND),
				 errmsg("unknown kind of entry \"%s\"", text_to_cstring(name)),
				 errhint("The kinds are earn, redeem, hold, adjust, expire, transfer_out; others are appended with ||.")));
	if ((plain.kind >= ENTRY_CAPTURE && plain.kind <= ENTRY_ACTIVATE) ||
		plain.kind == ENTRY_TRANSFER_IN)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_KIND),
				 errmsg("ledger_agg cannot take an entry of kind %s", EntryKindName(plain.kind)),
				 errdetail("It refers to other entries, and rows without order have none."),
				 errhint("Append it with || to the ledger that the aggregate gives.")));

	plain.points = PG_GETARG_INT64(2);
	plain.effective_at = PG_GETARG_TIMESTAMPTZ(3);
	plain.available_at = PG_ARGISNULL(4) ? plain.effective_at : PG_GETARG_TIMESTAMPTZ(4);
	plain.expires_at = PG_ARGISNULL(5) ? TIMESTAMP_INFINITY : PG_GETARG_TIMESTAMPTZ(5);
	if (!IsIncome(&plain))
	{
		plain.available_at = plain.effective_at;
		if (plain.kind != ENTRY_HOLD)
			plain.expires_at = TIMESTAMP_INFINITY;
	}
	InitPlainEntry(&entry, &plain);
	CheckEntry(&entry, false);
	AddRow(buffer, run, &plain);
	PG_RETURN_POINTER(run);
}

/*
 * ledger_agg_finalfn(internal): the rows as a ledger; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_ledger_agg_finalfn);
Datum
loyalty_ledger_agg_finalfn(PG_FUNCTION_ARGS)
{
	EntryRun   *run;
	PlainEntry *entries;
	LedgerBuilder builder;
	Entry		entry;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run = CompleteRun((EntryRun *) PG_GETARG_POINTER(0));
	entries = SortedEntries(run);

	BeginLedger(&builder);
	for (int64 i = 0; i < run->count; i++)
	{
		if ((i & 0xFFF) == 0xFFF)
			CHECK_FOR_INTERRUPTS();
		InitPlainEntry(&entry, &entries[i]);
		AppendEntry(&builder, &entry);
	}
	PG_RETURN_POINTER(CheckedLedger(FinishLedger(&builder)));
}
