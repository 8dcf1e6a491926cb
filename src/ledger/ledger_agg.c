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
 * The state: this head, then packed entries, in one allocation.  A zero byte
 * in place of an entry's first begins a part whose differences start anew.
 */
typedef struct EntryRun
{
	Size		used;			/* bytes, head included */
	Size		size;
	int64		count;			/* entries */
	TimestampTz previous;
	int64		lifetime;
} EntryRun;

#define RUN_START_SIZE	(256 - 16)	/* with the allocator's header, a power of two */

static EntryRun *
NewRun(MemoryContext context)
{
	EntryRun   *run = MemoryContextAlloc(context, RUN_START_SIZE);

	run->used = sizeof(EntryRun);
	run->size = RUN_START_SIZE;
	run->count = 0;
	run->previous = 0;
	run->lifetime = -1;
	return run;
}

/*
 * Adds an entry; returns the run, which may have moved.
 */
static inline EntryRun *
AddToRun(EntryRun *run, const PlainEntry *entry)
{
	PackWriter	writer = {(char *) run, run->used, run->size};

	PackPlainEntry(&writer, entry, run->previous, &run->lifetime);
	run = (EntryRun *) writer.data;
	run->used = writer.used;
	run->size = writer.size;
	run->previous = entry->effective_at;
	run->count++;
	return run;
}

/*
 * Adds all bytes of another run as a part of its own.
 */
static EntryRun *
AddPart(EntryRun *run, const char *bytes, Size length, int64 count)
{
	PackWriter	writer = {(char *) run, run->used, run->size};
	uint8		part = 0;

	PackBytes(&writer, &part, 1);
	PackBytes(&writer, bytes, length);
	PackBytes(&writer, &part, 1);
	run = (EntryRun *) writer.data;
	run->used = writer.used;
	run->size = writer.size;
	run->count += count;
	run->previous = 0;
	run->lifetime = -1;
	return run;
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

	UnpackInit(&reader, (const char *) run + sizeof(EntryRun), run->used - sizeof(EntryRun));
	for (int64 i = 0; i < run->count;)
	{
		if (reader.next < reader.end && *reader.next == 0)
		{
			reader.next++;
			previous = 0;
			lifetime = -1;
			continue;
		}
		UnpackPlainEntry(&reader, &entries[i], previous, &lifetime);
		if (reader.failed)
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

static EntryRun *
GetRun(FunctionCallInfo fcinfo, const char *name)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "%s called in non-aggregate context", name);
	return PG_ARGISNULL(0) ? NewRun(context) : (EntryRun *) PG_GETARG_POINTER(0);
}

/*
 * entry_run_combine(internal, internal): both runs, in the first.
 */
PG_FUNCTION_INFO_V1(loyalty_entry_run_combine);
Datum
loyalty_entry_run_combine(PG_FUNCTION_ARGS)
{
	EntryRun   *run;
	EntryRun   *other;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	run = GetRun(fcinfo, "entry_run_combine");
	other = (EntryRun *) PG_GETARG_POINTER(1);
	PG_RETURN_POINTER(AddPart(run, (char *) other + sizeof(EntryRun),
							  other->used - sizeof(EntryRun), other->count));
}

/*
 * entry_run_serialize(internal): number of entries, then their bytes.
 */
PG_FUNCTION_INFO_V1(loyalty_entry_run_serialize);
Datum
loyalty_entry_run_serialize(PG_FUNCTION_ARGS)
{
	EntryRun   *run = (EntryRun *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint64(&buf, run->count);
	pq_sendbytes(&buf, (char *) run + sizeof(EntryRun), run->used - sizeof(EntryRun));
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
	EntryRun   *run;
	int64		count;
	int			length;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(state), VARSIZE_ANY_EXHDR(state));
	count = pq_getmsgint64(&buf);
	length = buf.len - buf.cursor;
	run = AddPart(NewRun(CurrentMemoryContext), pq_getmsgbytes(&buf, length), length, count);
	pq_getmsgend(&buf);
	pfree(buf.data);
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
	EntryRun   *run = GetRun(fcinfo, "balance_agg_transfn");
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
	PG_RETURN_POINTER(AddToRun(run, &entry));
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
		.settle = true
	};
	EntryRun   *run;
	PlainEntry *entries;
	LotList		scratch = {0};
	Balance		balance;
	Entry		entry;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	run = (EntryRun *) PG_GETARG_POINTER(0);
	entries = SortedEntries(run);

	InitBalance(&balance, policy.order);
	for (int64 i = 0; i < run->count; i++)
	{
		FoldRefusal refusal;

		if ((i & 0xFFF) == 0xFFF)
			CHECK_FOR_INTERRUPTS();
		InitPlainEntry(&entry, &entries[i]);
		entry.entry_id = i + 1;
		scratch.first = scratch.end = 0;
		entry.touched = scratch;
		refusal = ApplyEntry(&balance, &policy, &entry);
		if (refusal != FOLD_OK)
		{
			Refused		refused = {.refusal = refusal,.entry = &entry,.balance = &balance};

			RaiseRefusal(&refused);
		}
		scratch = entry.touched;
	}
	SettleExpired(&balance, balance.last_effective_at);
	PG_RETURN_POINTER(PackBalanceValue(&balance));
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
	EntryRun   *run = GetRun(fcinfo, "ledger_agg_transfn");
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
	PG_RETURN_POINTER(AddToRun(run, &plain));
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
	run = (EntryRun *) PG_GETARG_POINTER(0);
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
