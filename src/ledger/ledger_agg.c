/*
 * ledger_agg.c
 *		Aggregates that fold rows of any table: balance_agg and ledger_agg.
 *
 * Rows arrive in any order.  The state is a run of packed entries, about ten
 * bytes a row; the final function unpacks them, brings them in order and folds
 * them.  The order is total over all that a row says, so the result has the
 * same bits for any input order, plan and number of workers.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/points_ledger.h"

/*
 * Packed entries of another run of the same group.  A zero byte in place of an
 * entry's first begins a stretch whose differences start anew.
 */
typedef struct RunPart
{
	struct RunPart *next;
	int64		count;			/* entries */
	uint32		used;
	uint8		bytes[FLEXIBLE_ARRAY_MEMBER];
} RunPart;

/*
 * The state of one group: a run of packed entries, and those that were
 * combined with it.
 *
 * The first bytes lie right behind the rest: a small group is one or two lines
 * of the processor's caches, at the beginning of which it is allocated.
 */
#define RUN_ALIGNMENT	64

typedef struct EntryRun
{
	uint8	   *bytes;			/* first, or memory of its own */
	uint32		used;
	uint32		size;
	int64		count;			/* entries, those of the parts included */
	TimestampTz previous;
	int64		lifetime;
	struct RowBuffer *buffer;	/* where rows of this group may still be */
	RunPart    *parts;
	uint8		first[72];
} EntryRun;

StaticAssertDecl(sizeof(void *) != 8 || sizeof(EntryRun) % RUN_ALIGNMENT == 0,
				 "runs are whole cache lines");

/*
 * Rows on their way to their groups.
 *
 * With many groups, each row meets a run that is not in the processor's
 * caches, and waiting for it would be most of the work.  So a row waits while
 * BUFFER_ROWS more arrive, in a ring that all groups of an aggregate share:
 * when it comes in, its run begins to be fetched; half way through, the end of
 * the run's bytes.  Whoever reads a run empties its buffer first.
 */
#define BUFFER_ROWS		16
#define PART_BLOCK		8192

typedef struct BufferedRow
{
	EntryRun   *run;
	RunPart    *part;			/* a part instead of an entry, or NULL */
	PlainEntry	entry;
} BufferedRow;

typedef struct RowBuffer
{
	struct RowBuffers *owner;
	MemoryContext context;		/* the aggregate's */
	MemoryContext runs;			/* a child of it: apart from the groups' keys,
								 * which so lie close together */
	MemoryContextCallback gone;
	EntryRun   *spare;			/* runs allocated ahead */
	int			spares;
	int			block;			/* how many were allocated last */
	char	   *room;			/* for parts */
	Size		room_left;
	uint64		arrived;		/* rows so far; one is at its number modulo
								 * BUFFER_ROWS */
	uint64		packed;			/* of these, how many are in their runs */
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

/*
 * Makes room for that many more bytes in a run.
 */
static void
GrowRun(EntryRun *run, Size more)
{
	Size		size = Max((Size) run->size * 2, 256);

	while (size < run->used + more)
		size *= 2;
	if (size > MaxAllocSize)
		size = MaxAllocSize;
	if (run->used + more > size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many rows in one group of a points aggregate"),
				 errdetail("Its packed rows exceed %zu bytes.", (Size) MaxAllocSize)));
	if (run->bytes == run->first)
	{
		run->bytes = MemoryContextAlloc(run->buffer->runs, size);
		memcpy(run->bytes, run->first, run->used);
	}
	else
		run->bytes = repalloc(run->bytes, size);
	run->size = size;
}

/*
 * Packs the row, or links the part, that has waited longest into its run.
 */
static inline void
PackRow(RowBuffer *buffer)
{
	const BufferedRow *row = &buffer->rows[buffer->packed++ % BUFFER_ROWS];
	EntryRun   *run = row->run;

	if (row->part != NULL)
	{
		row->part->next = run->parts;
		run->parts = row->part;
		run->count += row->part->count;
		return;
	}
	if (unlikely(run->size - run->used < ENTRY_HEAD_BYTES))
		GrowRun(run, ENTRY_HEAD_BYTES);
	run->used = PutEntryHead(run->bytes + run->used, &row->entry,
							 run->previous, &run->lifetime, 0) - run->bytes;
	run->previous = row->entry.effective_at;
	run->count++;
}

/*
 * A place in the ring for a row of a group, whose run's memory is not touched
 * yet.
 */
static inline BufferedRow *
NextRow(RowBuffer *buffer, EntryRun *run)
{
	BufferedRow *row = &buffer->rows[buffer->arrived % BUFFER_ROWS];

	if (likely(buffer->arrived - buffer->packed == BUFFER_ROWS))
	{
		const EntryRun *ahead = buffer->rows[(buffer->arrived + BUFFER_ROWS / 2) % BUFFER_ROWS].run;

		PrefetchMemory(ahead->bytes + ahead->used);
		PackRow(buffer);
	}
	PrefetchMemory(run);
	buffer->arrived++;
	row->run = run;
	row->part = NULL;
	return row;
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
	buffer->spares = buffer->block = 0;
	buffer->room_left = 0;
	buffer->arrived = buffer->packed = 0;
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
	EntryRun   *run;

	if (buffer->spares == 0)
	{
		/* 1, 3, 7, ... 31: with the alignment just below a power of two */
		buffer->block = Min(buffer->block * 2 + 1, 31);
		buffer->spares = buffer->block;
		buffer->spare = (EntryRun *) TYPEALIGN(RUN_ALIGNMENT,
											   MemoryContextAlloc(buffer->runs,
																  buffer->block * sizeof(EntryRun) + RUN_ALIGNMENT));
	}
	run = buffer->spare++;
	buffer->spares--;
	run->bytes = run->first;
	run->size = sizeof(run->first);
	run->used = 0;
	run->count = 0;
	run->previous = 0;
	run->lifetime = -1;
	run->buffer = buffer;
	run->parts = NULL;
	return run;
}

/*
 * A state, with all its rows in it.
 */
static EntryRun *
CompleteRun(EntryRun *run)
{
	RowBuffer  *buffer = run->buffer;

	while (buffer != NULL && buffer->packed < buffer->arrived)
		PackRow(buffer);
	return run;
}

/*
 * A part of that many bytes.  Parts lie side by side.
 */
static RunPart *
NewPart(RowBuffer *buffer, Size length)
{
	Size		size = MAXALIGN(offsetof(RunPart, bytes) + length);
	RunPart    *part;

	if (size > PART_BLOCK / 4)
		return MemoryContextAlloc(buffer->runs, size);
	if (size > buffer->room_left)
	{
		buffer->room = MemoryContextAlloc(buffer->runs, PART_BLOCK);
		buffer->room_left = PART_BLOCK;
	}
	part = (RunPart *) buffer->room;
	buffer->room += size;
	buffer->room_left -= size;
	return part;
}

/*
 * How many bytes a run has, its parts included, each begun by a zero.
 */
static Size
RunLength(const EntryRun *run)
{
	Size		length = run->used;

	for (const RunPart *part = run->parts; part != NULL; part = part->next)
		length += 1 + part->used;
	return length;
}

/*
 * Copies them, and returns where they end.
 */
static uint8 *
CopyRun(const EntryRun *run, uint8 *to)
{
	memcpy(to, run->bytes, run->used);
	to += run->used;
	for (const RunPart *part = run->parts; part != NULL; part = part->next)
	{
		*to++ = 0;
		memcpy(to, part->bytes, part->used);
		to += part->used;
	}
	return to;
}

/* ---------------------------------------------------------------------------
 * Order
 * ---------------------------------------------------------------------------
 */

static inline bool
IsIncome(const PlainEntry *entry)
{
	return EntryOpensLot(entry->kind, entry->points);
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
 * The entries of a run, to be taken in order.
 *
 * Rows mostly arrive in order, or in a few stretches that are: one for each
 * worker, one for each time a table was loaded.  A few stretches are merged
 * as they are taken; many are sorted into one.
 */
#define MAX_STRETCHES	8

typedef struct OrderedEntries
{
	int			stretches;
	const PlainEntry *next[MAX_STRETCHES];
	const PlainEntry *end[MAX_STRETCHES];
	TimestampTz time[MAX_STRETCHES];	/* of next; infinity at the end */
} OrderedEntries;

/*
 * Unpacks bytes of a run behind the entries before, which end at to, and
 * returns where they end now.
 */
static PlainEntry *
UnpackStretches(const uint8 *bytes, uint32 used, OrderedEntries *ordered,
				PlainEntry *to, const PlainEntry *end)
{
	TimestampTz previous = 0;
	int64		lifetime = -1;
	PackReader	reader;

	UnpackInit(&reader, bytes, used);
	while (reader.next < reader.end)
	{
		if (*reader.next == 0)
		{
			reader.next++;
			previous = 0;
			lifetime = -1;
			continue;
		}
		if (to == end ||
			(UnpackEntryHead(&reader, to, previous, &lifetime) & ENTRY_EXTENDED) ||
			reader.failed)
			elog(ERROR, "state of a points aggregate is damaged");
		previous = to->effective_at;
		if (ordered->stretches == 0 || ComparePlainEntries(to - 1, to) > 0)
		{
			if (ordered->stretches < MAX_STRETCHES)
				ordered->next[ordered->stretches] = to;
			ordered->stretches++;
		}
		to++;
	}
	return to;
}

static void
OrderEntries(const EntryRun *run, OrderedEntries *ordered)
{
	PlainEntry *entries = palloc_extended(Max(run->count, 1) * sizeof(PlainEntry),
										  MCXT_ALLOC_HUGE);
	const PlainEntry *end = entries + run->count;
	PlainEntry *to;

	ordered->stretches = 0;
	to = UnpackStretches(run->bytes, run->used, ordered, entries, end);
	for (const RunPart *part = run->parts; part != NULL; part = part->next)
		to = UnpackStretches(part->bytes, part->used, ordered, to, end);
	if (to != end)
		elog(ERROR, "state of a points aggregate is damaged");

	if (ordered->stretches > MAX_STRETCHES)
	{
		SortPlainEntries(entries, run->count);
		ordered->stretches = 1;
	}
	for (int i = 0; i < ordered->stretches; i++)
	{
		ordered->end[i] = i + 1 < ordered->stretches ? ordered->next[i + 1] : end;
		ordered->time[i] = ordered->next[i]->effective_at;
	}
}

/*
 * The stretch with the least next entry, where the least time is that of
 * several.
 */
static int
LeastStretch(const OrderedEntries *ordered, TimestampTz time)
{
	int			least = -1;

	for (int i = 0; i < ordered->stretches; i++)
	{
		if (ordered->time[i] == time &&
			(least < 0 || ComparePlainEntries(ordered->next[i], ordered->next[least]) < 0))
			least = i;
	}
	return least;
}

/*
 * The next entry in order; there must be one.  Which stretch it comes from is
 * not predictable, so the search has no branches.
 */
static inline const PlainEntry *
NextOrdered(OrderedEntries *ordered)
{
	TimestampTz time = ordered->time[0];
	int			least = 0;
	int			equal = 0;
	const PlainEntry *entry;

	if (ordered->stretches == 1)
		return ordered->next[0]++;
	for (int i = 1; i < ordered->stretches; i++)
	{
		bool		less = ordered->time[i] < time;

		time = less ? ordered->time[i] : time;
		least = less ? i : least;
	}
	for (int i = 0; i < ordered->stretches; i++)
		equal += ordered->time[i] == time;
	if (unlikely(equal > 1))
		least = LeastStretch(ordered, time);
	entry = ordered->next[least]++;
	ordered->time[least] = entry + 1 < ordered->end[least] ?
		entry[1].effective_at : TIMESTAMP_INFINITY;
	return entry;
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
	RunPart    *part;
	Size		length;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	run = RunOf(fcinfo, &buffer);
	other = CompleteRun((EntryRun *) PG_GETARG_POINTER(1));
	length = RunLength(other);
	if (length > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many rows in one group of a points aggregate")));
	part = NewPart(buffer, length);
	part->count = other->count;
	part->used = (uint32) length;
	CopyRun(other, part->bytes);
	NextRow(buffer, run)->part = part;
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
	bytea	   *state = palloc(VARHDRSZ + 10 + RunLength(run));
	uint8	   *to = (uint8 *) VARDATA(state);

	to = PutUnsigned(to, (uint64) run->count);
	to = CopyRun(run, to);
	SET_VARSIZE(state, (char *) to - (char *) state);
	PG_RETURN_BYTEA_P(state);
}

/*
 * entry_run_deserialize(bytea, internal)
 */
PG_FUNCTION_INFO_V1(loyalty_entry_run_deserialize);
Datum
loyalty_entry_run_deserialize(PG_FUNCTION_ARGS)
{
	bytea	   *state = PG_GETARG_BYTEA_PP(0);
	EntryRun   *run = palloc(sizeof(EntryRun));
	PackReader	reader;

	/* read in place: combining copies what it keeps */
	UnpackInit(&reader, VARDATA_ANY(state), VARSIZE_ANY_EXHDR(state));
	run->count = (int64) UnpackUnsigned(&reader);
	run->bytes = unconstify(uint8 *, reader.next);
	run->used = run->size = reader.end - reader.next;
	run->buffer = NULL;
	run->parts = NULL;
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
				 errmsg("points out of range: " INT64_FORMAT, points),
				 errdetail("Points are whole numbers from " INT64_FORMAT " to " INT64_FORMAT ".", -PG_INT64_MAX, PG_INT64_MAX),
				 errhint("Check the number of points.")));

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
	NextRow(buffer, run)->entry = entry;
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
	OrderedEntries ordered;
	Datum		result;
	Balance    *balance;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run = CompleteRun((EntryRun *) PG_GETARG_POINTER(0));
	OrderEntries(run, &ordered);

	balance = NewBalanceDatum(policy.order, run->count, &result);
	for (int64 i = 0; i < run->count; i++)
	{
		const PlainEntry *plain = NextOrdered(&ordered);
		FoldRefusal refusal;

		if ((i & 0xFFF) == 0xFFF)
			CHECK_FOR_INTERRUPTS();
		refusal = ApplyPlainEntry(balance, &policy, plain, i + 1);
		if (unlikely(refusal != FOLD_OK))
			RefusePlainEntry(refusal, plain, balance);
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
					 errdetail("Kind, points and effective_at make an entry."),
					 errhint("Leave such rows out with FILTER.")));
	}
	name = PG_GETARG_TEXT_PP(1);
	plain.kind = EntryKindFromName(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	if (plain.kind == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_KIND),
				 errmsg("unknown kind of entry \"%s\"", text_to_cstring(name)),
				 errdetail("Only entries that stand for themselves are gathered from rows."),
				 errhint("The kinds are earn, redeem, hold, adjust, expire, transfer_out; others are appended with ||.")));
	if (EntryRefers(plain.kind) || plain.kind == ENTRY_TRANSFER_IN)
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
	NextRow(buffer, run)->entry = plain;
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
	OrderedEntries ordered;
	LedgerBuilder builder;
	Entry		entry;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run = CompleteRun((EntryRun *) PG_GETARG_POINTER(0));
	OrderEntries(run, &ordered);

	BeginLedger(&builder);
	for (int64 i = 0; i < run->count; i++)
	{
		if ((i & 0xFFF) == 0xFFF)
			CHECK_FOR_INTERRUPTS();
		InitPlainEntry(&entry, NextOrdered(&ordered));
		AppendEntry(&builder, &entry);
	}
	PG_RETURN_POINTER(CheckedLedger(FinishLedger(&builder)));
}
