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
#include "core/state.h"
#include "ledger/points_ledger.h"

/*
 * The state of one group: packed entries.  A zero byte in place of an entry's
 * first begins a stretch whose differences start anew.
 *
 * A small group is two lines of the processor's caches, at the beginning of
 * which it is allocated: its bytes lie in the run itself.
 */
#define RUN_ALIGNMENT	64
#define NEAR_BYTES		48
#define FIRST_FAR_BYTES	128

typedef struct EntryRun
{
	ExpandedObjectHeader header;
	uint32		used;
	uint32		size;			/* NEAR_BYTES: the bytes are near */
	uint32		count;			/* entries */
	TimestampTz previous;
	int64		lifetime;
	union
	{
		uint8		near[NEAR_BYTES];
		uint8	   *far;
	}			bytes;
} EntryRun;

StaticAssertDecl(sizeof(void *) != 8 || sizeof(EntryRun) % RUN_ALIGNMENT == 0,
				 "runs are whole cache lines");

/* Entries that are only read. */
typedef struct PackedRun
{
	const uint8 *bytes;
	uint32		used;
	uint32		count;
} PackedRun;

/*
 * Rows on their way to their groups.
 *
 * With many groups, each row meets a run that is not in the processor's
 * caches, and waiting for it would be most of the work.  So a row waits while
 * WAITING_ROWS more arrive, in a ring that all groups share: when it comes in,
 * its run begins to be fetched; half way through, the end of the run's bytes.
 * Whoever reads a run empties the ring first.
 */
#define WAITING_ROWS	16
#define WAITING_BYTES	160

typedef struct WaitingRow
{
	EntryRun   *run;
	uint32		used;			/* 0: an entry; otherwise packed ones */
	uint32		count;
	union
	{
		PlainEntry	entry;
		uint8		packed[WAITING_BYTES];
	}			what;
} WaitingRow;

static WaitingRow waiting[WAITING_ROWS];
static uint64 arrived = 0;		/* rows so far; one is at its number modulo
								 * WAITING_ROWS */
static uint64 packed = 0;		/* of these, how many are in their runs */

/*
 * Where the runs of a context lie: in blocks, of which each is a fifth larger
 * than all before it together, once there are many.  So an address tells that
 * it is a run's, and the run need not be waited for to find out.
 */
#define MAX_BLOCKS	128

typedef struct RunBlock
{
	EntryRun   *first;
	EntryRun   *end;			/* of those in use */
} RunBlock;

typedef struct RunSource
{
	MemoryContext context;
	int			nblocks;
	int64		spares;			/* of the last block */
	int64		runs;			/* in all blocks */
	RunBlock	blocks[MAX_BLOCKS];
	MemoryContextCallback gone;
	struct RunSource *next;
} RunSource;

static RunSource *sources = NULL;

static inline uint8 *
RunBytes(EntryRun *run)
{
	return run->size == NEAR_BYTES ? run->bytes.near : run->bytes.far;
}

/*
 * Makes room for that many more bytes in a run.
 */
static void
GrowRun(EntryRun *run, Size more)
{
	Size		size = run->size == NEAR_BYTES ? FIRST_FAR_BYTES : (Size) run->size * 2;
	uint8	   *bytes;

	while (size < run->used + more)
		size *= 2;
	if (size > MaxAllocSize)
		size = MaxAllocSize;
	if (run->used + more > size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many rows in one group of a points aggregate"),
				 errdetail("Its packed rows exceed %zu bytes.", (Size) MaxAllocSize)));
	if (run->size == NEAR_BYTES)
	{
		bytes = MemoryContextAlloc(run->header.eoh_context, size);
		memcpy(bytes, run->bytes.near, run->used);
	}
	else
		bytes = repalloc(run->bytes.far, size);
	run->bytes.far = bytes;
	run->size = size;
}

static inline void
AppendBytes(EntryRun *run, const uint8 *bytes, uint32 length)
{
	if (unlikely(run->size - run->used < length))
		GrowRun(run, length);
	memcpy(RunBytes(run) + run->used, bytes, length);
	run->used += length;
}

static void
BeginStretch(EntryRun *run)
{
	static const uint8 mark = 0;

	AppendBytes(run, &mark, 1);
	run->previous = 0;
	run->lifetime = -1;
}

/*
 * Appends entries that are packed already.
 */
static void
AppendPacked(EntryRun *run, const PackedRun *other)
{
	if (run->previous != 0 || run->lifetime != -1)
		BeginStretch(run);
	AppendBytes(run, other->bytes, other->used);
	run->count += other->count;
	BeginStretch(run);
}

/*
 * Packs what has waited longest into its run.
 */
static inline void
PackRow(void)
{
	const WaitingRow *row = &waiting[packed++ % WAITING_ROWS];
	EntryRun   *run = row->run;

	if (row->used > 0)
	{
		PackedRun	other = {row->what.packed, row->used, row->count};

		AppendPacked(run, &other);
		return;
	}
	if (likely(run->size - run->used >= ENTRY_HEAD_BYTES))
	{
		uint8	   *bytes = RunBytes(run);

		run->used = PutEntryHead(bytes + run->used, &row->what.entry, run->previous, &run->lifetime, 0) - bytes;
	}
	else
	{
		uint8		head[ENTRY_HEAD_BYTES];

		AppendBytes(run, head, PutEntryHead(head, &row->what.entry, run->previous, &run->lifetime, 0) - head);
	}
	run->previous = row->what.entry.effective_at;
	run->count++;
}

/*
 * A place in the ring for a row of a group, whose run's memory is not touched
 * yet.
 */
static inline WaitingRow *
NextRow(EntryRun *run)
{
	WaitingRow *row = &waiting[arrived % WAITING_ROWS];

	if (likely(arrived - packed == WAITING_ROWS))
	{
		EntryRun   *ahead = waiting[(arrived + WAITING_ROWS / 2) % WAITING_ROWS].run;

		PrefetchMemory(RunBytes(ahead) + ahead->used);
		PackRow();
	}
	arrived++;
	row->run = run;
	row->used = 0;
	return row;
}

/*
 * Packs all rows that wait.
 */
static void
PackRows(void)
{
	while (packed < arrived)
		PackRow();
}

/*
 * A context is being reset: its groups are gone, and so are their rows.
 */
static void
ForgetSource(void *arg)
{
	RunSource  *gone = arg;
	uint64		kept = packed;

	for (uint64 i = packed; i < arrived; i++)
	{
		const WaitingRow *row = &waiting[i % WAITING_ROWS];

		if (row->run->header.eoh_context != gone->context)
			waiting[kept++ % WAITING_ROWS] = *row;
	}
	arrived = kept;
	for (RunSource **source = &sources; *source != NULL; source = &(*source)->next)
	{
		if (*source == gone)
		{
			*source = gone->next;
			return;
		}
	}
}

static RunSource *
SourceOf(MemoryContext context)
{
	RunSource  *source;

	for (source = sources; source != NULL; source = source->next)
	{
		if (source->context == context)
			return source;
	}
	source = MemoryContextAllocZero(context, sizeof(RunSource));
	source->context = context;
	source->gone.func = ForgetSource;
	source->gone.arg = source;
	MemoryContextRegisterResetCallback(context, &source->gone);
	source->next = sources;
	sources = source;
	return source;
}

static Size FlatRunSize(ExpandedObjectHeader *header);
static void FlattenRun(ExpandedObjectHeader *header, void *result, Size size);
static void *ReadFlatRun(StringInfo buf);

const StateKind entry_run_state = {
	.methods = {FlatRunSize, FlattenRun},
	.number = STATE_ENTRIES,
	.aggregate = "balance_agg or ledger_agg",
	.read = ReadFlatRun
};

/*
 * Adds a block: of 1, 3, 7, ... 31 runs (with the alignment just below a power
 * of two), then of a fifth of what there is.
 */
static void
AddBlock(RunSource *source)
{
	RunBlock   *block = &source->blocks[source->nblocks];
	int64		runs = source->nblocks < 5 ? (2 << source->nblocks) - 1 : Max(31, source->runs / 5);

	if (source->nblocks == MAX_BLOCKS)
		elog(ERROR, "too many groups of a points aggregate");
	block->first = (EntryRun *) TYPEALIGN(RUN_ALIGNMENT,
										  MemoryContextAllocHuge(source->context,
																 runs * sizeof(EntryRun) + RUN_ALIGNMENT));
	block->end = block->first;
	source->nblocks++;
	source->spares = runs;
	source->runs += runs;
}

/*
 * The run whose state a value is, found by its address; NULL where it is none
 * of ours.
 */
static inline EntryRun *
RunAt(Datum value)
{
	EntryRun   *run = (EntryRun *) (DatumGetPointer(value) - offsetof(EntryRun, header.eoh_rw_ptr));

	for (const RunSource *source = sources; source != NULL; source = source->next)
	{
		for (int i = source->nblocks - 1; i >= 0; i--)
		{
			const RunBlock *block = &source->blocks[i];

			if (run >= block->first && run < block->end)
				return ((char *) run - (char *) block->first) % sizeof(EntryRun) == 0 ? run : NULL;
		}
	}
	return NULL;
}

/*
 * A run without entries, in a context for states.
 */
static EntryRun *
NewRun(MemoryContext context)
{
	RunSource  *source = SourceOf(context);
	EntryRun   *run;

	if (source->spares == 0)
		AddBlock(source);
	run = source->blocks[source->nblocks - 1].end++;
	source->spares--;
	EOH_init_header(&run->header, &entry_run_state.methods, context);
	run->previous = 0;
	run->lifetime = -1;
	run->used = 0;
	run->size = NEAR_BYTES;
	run->count = 0;
	return run;
}

/* ---- the flat form: number of entries, then their bytes ---- */

static void
OpenFlatRun(StringInfo buf, PackedRun *run)
{
	PackReader	reader;

	UnpackInit(&reader, buf->data + buf->cursor, buf->len - buf->cursor);
	run->count = (uint32) UnpackUnsigned(&reader);
	run->bytes = reader.next;
	run->used = reader.end - reader.next;
	if (reader.failed || run->count > run->used)
		RefuseState(&entry_run_state, "its number of entries cannot be");
	buf->cursor = buf->len;
}

static inline Size
UnsignedLength(uint32 value)
{
	return pg_leftmost_one_pos32(value | 1) / 7 + 1;
}

static Size
FlatRunSize(ExpandedObjectHeader *header)
{
	EntryRun   *run = (EntryRun *) header;

	PackRows();
	return STATE_HEAD_BYTES + UnsignedLength(run->count) + run->used;
}

static void
FlattenRun(ExpandedObjectHeader *header, void *result, Size size)
{
	EntryRun   *run = (EntryRun *) header;
	uint8		count[10];		/* the room that PutUnsigned() wants */
	char	   *to = PutStateHead(result, &entry_run_state, size);

	(void) PutUnsigned(count, run->count);
	memcpy(to, count, UnsignedLength(run->count));
	memcpy(to + UnsignedLength(run->count), RunBytes(run), run->used);
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
 * Unpacks the entries of a run, and finds where stretches in order begin.
 */
static void
UnpackStretches(const PackedRun *run, OrderedEntries *ordered, PlainEntry *to)
{
	const PlainEntry *end = to + run->count;
	TimestampTz previous = 0;
	int64		lifetime = -1;
	PackReader	reader;

	ordered->stretches = 0;
	UnpackInit(&reader, run->bytes, run->used);
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
			RefuseState(&entry_run_state, "there are other entries than it says");
		previous = to->effective_at;
		if (ordered->stretches == 0 || ComparePlainEntries(to - 1, to) > 0)
		{
			if (ordered->stretches < MAX_STRETCHES)
				ordered->next[ordered->stretches] = to;
			ordered->stretches++;
		}
		to++;
	}
	if (to != end)
		RefuseState(&entry_run_state, "there are fewer entries than it says");
}

static void
OrderEntries(const PackedRun *run, OrderedEntries *ordered)
{
	PlainEntry *entries = palloc_extended(Max(run->count, 1) * sizeof(PlainEntry),
										  MCXT_ALLOC_HUGE);
	const PlainEntry *end = entries + run->count;

	UnpackStretches(run, ordered, entries);

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
 * The run of an aggregate that is being called, and a prefetch of it; a group
 * that has none yet gets one.
 */
static inline EntryRun *
RunOf(FunctionCallInfo fcinfo)
{
	EntryRun   *run;

	if (PG_ARGISNULL(0))
		return NewRun(StateContext(fcinfo));
	run = RunAt(PG_GETARG_DATUM(0));
	if (unlikely(run == NULL))
		return GetState(fcinfo, 0, &entry_run_state);
	PrefetchMemory(run);
	PrefetchMemory((char *) run + RUN_ALIGNMENT);
	return run;
}

/*
 * The entries in an argument, which may be flat; false where it is NULL.
 */
static bool
OpenRun(FunctionCallInfo fcinfo, int n, PackedRun *packed_run)
{
	Datum		value = PG_GETARG_DATUM(n);

	(void) AggregateContext(fcinfo);
	if (PG_ARGISNULL(n))
		return false;
	if (VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(value)) &&
		DatumGetEOHP(value)->eoh_methods == &entry_run_state.methods)
	{
		EntryRun   *run = (EntryRun *) DatumGetEOHP(value);

		PackRows();
		packed_run->bytes = RunBytes(run);
		packed_run->used = run->used;
		packed_run->count = run->count;
	}
	else
	{
		StringInfoData buf;

		OpenFlatState(value, &entry_run_state, &buf);
		OpenFlatRun(&buf, packed_run);
	}
	return true;
}

/*
 * A flat run from outside, whose entries are looked at.
 */
static void *
ReadFlatRun(StringInfo buf)
{
	PackedRun  *run = palloc(sizeof(PackedRun));
	OrderedEntries ordered;
	Entry		entry;

	OpenFlatRun(buf, run);
	OrderEntries(run, &ordered);
	for (uint32 i = 0; i < run->count; i++)
	{
		const PlainEntry *plain = NextOrdered(&ordered);

		if (EntryRefers(plain->kind) || plain->kind == ENTRY_TRANSFER_IN)
			RefuseState(&entry_run_state, "an entry refers to others");
		InitPlainEntry(&entry, plain);
		CheckEntry(&entry, false);
	}
	return run;
}

/*
 * entry_run_combine(aggregate_state, aggregate_state): both runs, in the first.
 */
PG_FUNCTION_INFO_V1(loyalty_entry_run_combine);
Datum
loyalty_entry_run_combine(PG_FUNCTION_ARGS)
{
	EntryRun   *run;
	PackedRun	other;

	if (!OpenRun(fcinfo, 1, &other))
	{
		run = GetState(fcinfo, 0, &entry_run_state);
		RETURN_STATE(run);
	}
	run = RunOf(fcinfo);
	if (other.used <= WAITING_BYTES && other.used > 0)
	{
		WaitingRow *row = NextRow(run);

		memcpy(row->what.packed, other.bytes, other.used);
		row->used = other.used;
		row->count = other.count;
	}
	else
	{
		PackRows();
		AppendPacked(run, &other);
	}
	RETURN_STATE(run);
}

/* ---------------------------------------------------------------------------
 * balance_agg
 * ---------------------------------------------------------------------------
 */

/*
 * balance_agg_transfn(aggregate_state, points bigint, at timestamptz, expires_at
 * timestamptz): positive points earn, negative ones burn; rows with NULL or
 * zero points say nothing; expires_at NULL is never.
 */
PG_FUNCTION_INFO_V1(loyalty_balance_agg_transfn);
Datum
loyalty_balance_agg_transfn(PG_FUNCTION_ARGS)
{
	EntryRun   *run = RunOf(fcinfo);
	int64		points = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	PlainEntry	entry;

	if (points == 0)
		RETURN_STATE(run);
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
	NextRow(run)->what.entry = entry;
	RETURN_STATE(run);
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
 * balance_agg_finalfn(aggregate_state): the fold of the rows; NULL for no rows.
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
	PackedRun	run;
	OrderedEntries ordered;
	Datum		result;
	Balance    *balance;

	if (!OpenRun(fcinfo, 0, &run))
		PG_RETURN_NULL();
	OrderEntries(&run, &ordered);

	balance = NewBalanceDatum(policy.order, run.count, &result);
	balance->may_heap = true;
	for (int64 i = 0; i < run.count; i++)
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
	EndHeap(balance);
	PG_RETURN_DATUM(result);
}

/* ---------------------------------------------------------------------------
 * ledger_agg
 * ---------------------------------------------------------------------------
 */

/*
 * ledger_agg_transfn(aggregate_state, kind text, points bigint, effective_at,
 * available_at, expires_at timestamptz).  available_at NULL is effective_at,
 * expires_at NULL is never; of a hold, expires_at is its hold_until.
 */
PG_FUNCTION_INFO_V1(loyalty_ledger_agg_transfn);
Datum
loyalty_ledger_agg_transfn(PG_FUNCTION_ARGS)
{
	EntryRun   *run = RunOf(fcinfo);
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
	NextRow(run)->what.entry = plain;
	RETURN_STATE(run);
}

/*
 * ledger_agg_finalfn(aggregate_state): the rows as a ledger; NULL for no rows.
 */
PG_FUNCTION_INFO_V1(loyalty_ledger_agg_finalfn);
Datum
loyalty_ledger_agg_finalfn(PG_FUNCTION_ARGS)
{
	PackedRun	run;
	OrderedEntries ordered;
	LedgerBuilder builder;
	Entry		entry;

	if (!OpenRun(fcinfo, 0, &run))
		PG_RETURN_NULL();
	OrderEntries(&run, &ordered);

	BeginLedger(&builder);
	for (int64 i = 0; i < run.count; i++)
	{
		if ((i & 0xFFF) == 0xFFF)
			CHECK_FOR_INTERRUPTS();
		InitPlainEntry(&entry, NextOrdered(&ordered));
		AppendEntry(&builder, &entry);
	}
	PG_RETURN_POINTER(CheckedLedger(FinishLedger(&builder)));
}
