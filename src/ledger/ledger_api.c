/*
 * ledger_api.c
 *		The writing functions, as SQL calls them: earn(), redeem(), ...
 *
 * Each reads its arguments into a Posting, posts it, and returns a
 * posting_result.  NULL for an optional argument means its default; NULL for
 * any other raises LY003.  effective_at defaults to statement_timestamp(),
 * which stands for "now": the instant at which the entry is recorded.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"

/* ---------------------------------------------------------------------------
 * Arguments
 * ---------------------------------------------------------------------------
 */

static int64
IntArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	RequireArgument(fcinfo, n, name);
	return PG_GETARG_INT64(n);
}

static int64
PointsArgument(FunctionCallInfo fcinfo, int n)
{
	RequireArgument(fcinfo, n, "points");
	return WholePoints(PG_GETARG_DATUM(n));
}

static TimestampTz
InstantArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	RequireArgument(fcinfo, n, name);
	return PG_GETARG_TIMESTAMPTZ(n);
}

pg_noreturn static void
RefuseNoPoints(EntryKind kind, int64 points)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("points of %s must be positive, or absent for all", EntryKindName(kind)),
			 errdetail("It is " INT64_FORMAT ".", points),
			 errhint("Give points positive, or leave it out.")));
}

/*
 * points of a kind that takes "all there is" for NULL: 0 then, and never 0 or
 * less when given.
 */
static int64
OptionalPoints(FunctionCallInfo fcinfo, int n, EntryKind kind)
{
	int64		points;

	if (PG_ARGISNULL(n))
		return 0;
	points = WholePoints(PG_GETARG_DATUM(n));
	if (points <= 0)
		RefuseNoPoints(kind, points);
	return points;
}

static void
SetEffectiveAt(Posting *posting, TimestampTz effective_at)
{
	posting->effective_now = effective_at == GetCurrentStatementStartTimestamp();
	posting->entry.effective_at = effective_at;
}

static void
SetExpiresAt(Posting *posting, FunctionCallInfo fcinfo, int n)
{
	posting->expires_given = !PG_ARGISNULL(n);
	if (posting->expires_given)
		posting->entry.expires_at = PG_GETARG_TIMESTAMPTZ(n);
}

/*
 * From when on the points are available: an instant, or (argument pending)
 * whenever they are activated.
 */
static void
SetAvailableAt(Posting *posting, FunctionCallInfo fcinfo, int n, int pending)
{
	SetAvailability(posting, PG_ARGISNULL(n) ? NULL : &fcinfo->args[n].value,
					!PG_ARGISNULL(pending) && PG_GETARG_BOOL(pending));
}

/*
 * The arguments that every writing function ends with: reference,
 * idempotency_key, details.
 */
static void
SetCommon(Posting *posting, FunctionCallInfo fcinfo, int n)
{
	posting->reference = TextArgument(fcinfo, n);
	posting->idempotency_key = TextArgument(fcinfo, n + 1);
	posting->details = PG_ARGISNULL(n + 2) ? 0 : PG_GETARG_DATUM(n + 2);
}

static void
SetCurrency(Posting *posting, FunctionCallInfo fcinfo, int n)
{
	RequireArgument(fcinfo, n, "currency");
	FindCurrency(text_to_cstring(PG_GETARG_TEXT_PP(n)), &posting->currency);
}

/*
 * Starts a writing function.
 */
static void
BeginPosting(Posting *posting, EntryKind kind, int64 member_id)
{
	InitPosting(posting, kind, member_id);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
}

/*
 * A posting_result.
 */
static Datum
ResultRow(FunctionCallInfo fcinfo, const Posting *posting)
{
	TupleDesc	tupdesc = lookup_rowtype_tupdesc(get_func_rettype(fcinfo->flinfo->fn_oid), -1);
	Datum		values[3];
	bool		nulls[3] = {false};
	HeapTuple	row;

	values[0] = Int64GetDatum(posting->result.entry_id);
	values[1] = Int64GetDatum(posting->result.available);
	values[2] = BoolGetDatum(posting->result.outcome == POSTING_REPLAYED);
	row = heap_form_tuple(tupdesc, values, nulls);
	ReleaseTupleDesc(tupdesc);
	return HeapTupleGetDatum(row);
}

/*
 * Keeps who did it, where a posting is an act by hand.
 */
static void
KeepPosting(const Posting *posting)
{
	EntryKind	kind = posting->entry.kind;

	if ((kind == ENTRY_ADJUST || kind == ENTRY_REVERSE) && posting->result.outcome == POSTING_POSTED)
	{
		Act			act = {
			.name = EntryKindName(kind),
			.member_id = posting->member_id,
			.object_id = posting->result.entry_id,
			.currency = posting->currency.code,
			.points = posting->entry.requested
		};

		KeepAct(&act);
	}
}

/*
 * Posts, and returns the row of results.
 */
static Datum
FinishPosting(FunctionCallInfo fcinfo, Posting *posting)
{
	PostEntry(posting);
	KeepPosting(posting);
	SPI_finish();
	return ResultRow(fcinfo, posting);
}

/* ---------------------------------------------------------------------------
 * Functions
 * ---------------------------------------------------------------------------
 */

/*
 * earn(member_id, points, currency, effective_at, available_at, expires_at,
 * reference, idempotency_key, details, pending)
 */
PG_FUNCTION_INFO_V1(loyalty_earn);
Datum
loyalty_earn(PG_FUNCTION_ARGS)
{
	Posting		posting;

	BeginPosting(&posting, ENTRY_EARN, IntArgument(fcinfo, 0, "member_id"));
	posting.entry.requested = PointsArgument(fcinfo, 1);
	SetCurrency(&posting, fcinfo, 2);
	SetEffectiveAt(&posting, InstantArgument(fcinfo, 3, "effective_at"));
	SetAvailableAt(&posting, fcinfo, 4, 9);
	SetExpiresAt(&posting, fcinfo, 5);
	SetCommon(&posting, fcinfo, 6);
	return FinishPosting(fcinfo, &posting);
}

/*
 * redeem(member_id, points, currency, effective_at, reference,
 * idempotency_key, details)
 */
PG_FUNCTION_INFO_V1(loyalty_redeem);
Datum
loyalty_redeem(PG_FUNCTION_ARGS)
{
	Posting		posting;

	BeginPosting(&posting, ENTRY_REDEEM, IntArgument(fcinfo, 0, "member_id"));
	posting.entry.requested = PointsArgument(fcinfo, 1);
	SetCurrency(&posting, fcinfo, 2);
	SetEffectiveAt(&posting, InstantArgument(fcinfo, 3, "effective_at"));
	SetCommon(&posting, fcinfo, 4);
	return FinishPosting(fcinfo, &posting);
}

/*
 * hold(member_id, points, hold_until, currency, effective_at, reference,
 * idempotency_key, details)
 */
PG_FUNCTION_INFO_V1(loyalty_hold);
Datum
loyalty_hold(PG_FUNCTION_ARGS)
{
	Posting		posting;

	BeginPosting(&posting, ENTRY_HOLD, IntArgument(fcinfo, 0, "member_id"));
	posting.entry.requested = PointsArgument(fcinfo, 1);
	posting.entry.hold_until = InstantArgument(fcinfo, 2, "hold_until");
	SetCurrency(&posting, fcinfo, 3);
	SetEffectiveAt(&posting, InstantArgument(fcinfo, 4, "effective_at"));
	SetCommon(&posting, fcinfo, 5);
	return FinishPosting(fcinfo, &posting);
}

/*
 * capture(member_id, target_entry_id, points, effective_at, reference,
 * idempotency_key, details), and reverse() likewise; points NULL is all.
 */
static Datum
PostPartOfTarget(FunctionCallInfo fcinfo, EntryKind kind)
{
	Posting		posting;

	BeginPosting(&posting, kind, IntArgument(fcinfo, 0, "member_id"));
	FindTarget(&posting, IntArgument(fcinfo, 1, "target_entry_id"));
	posting.entry.requested = OptionalPoints(fcinfo, 2, kind);
	SetEffectiveAt(&posting, InstantArgument(fcinfo, 3, "effective_at"));
	SetCommon(&posting, fcinfo, 4);
	return FinishPosting(fcinfo, &posting);
}

PG_FUNCTION_INFO_V1(loyalty_capture);
Datum
loyalty_capture(PG_FUNCTION_ARGS)
{
	return PostPartOfTarget(fcinfo, ENTRY_CAPTURE);
}

PG_FUNCTION_INFO_V1(loyalty_reverse);
Datum
loyalty_reverse(PG_FUNCTION_ARGS)
{
	return PostPartOfTarget(fcinfo, ENTRY_REVERSE);
}

/*
 * release(member_id, target_entry_id, effective_at, reference, idempotency_key,
 * details), and activate() likewise
 */
static Datum
PostWholeTarget(FunctionCallInfo fcinfo, EntryKind kind)
{
	Posting		posting;

	BeginPosting(&posting, kind, IntArgument(fcinfo, 0, "member_id"));
	FindTarget(&posting, IntArgument(fcinfo, 1, "target_entry_id"));
	SetEffectiveAt(&posting, InstantArgument(fcinfo, 2, "effective_at"));
	SetCommon(&posting, fcinfo, 3);
	return FinishPosting(fcinfo, &posting);
}

PG_FUNCTION_INFO_V1(loyalty_release);
Datum
loyalty_release(PG_FUNCTION_ARGS)
{
	return PostWholeTarget(fcinfo, ENTRY_RELEASE);
}

PG_FUNCTION_INFO_V1(loyalty_activate);
Datum
loyalty_activate(PG_FUNCTION_ARGS)
{
	return PostWholeTarget(fcinfo, ENTRY_ACTIVATE);
}

/*
 * adjust(member_id, points, reason, currency, effective_at, available_at,
 * expires_at, reference, idempotency_key, details, pending); points may be
 * negative.
 */
PG_FUNCTION_INFO_V1(loyalty_adjust);
Datum
loyalty_adjust(PG_FUNCTION_ARGS)
{
	Posting		posting;

	BeginPosting(&posting, ENTRY_ADJUST, IntArgument(fcinfo, 0, "member_id"));
	posting.entry.requested = PointsArgument(fcinfo, 1);
	RequireArgument(fcinfo, 2, "reason");
	posting.reason = TextArgument(fcinfo, 2);
	SetCurrency(&posting, fcinfo, 3);
	SetEffectiveAt(&posting, InstantArgument(fcinfo, 4, "effective_at"));
	SetAvailableAt(&posting, fcinfo, 5, 10);
	SetExpiresAt(&posting, fcinfo, 6);
	SetCommon(&posting, fcinfo, 7);
	return FinishPosting(fcinfo, &posting);
}

/* Arguments of the statements on queued_earn */
enum
{
	QUEUED_MEMBER, QUEUED_CURRENCY, QUEUED_POINTS, QUEUED_EFFECTIVE_AT, QUEUED_REFERENCE, QUEUED_KEY, QUEUED_DETAILS, QUEUED_ARGUMENTS
};

/*
 * Puts an earn into the queue, or finds the one that waits there with the same
 * key; returns its number.
 */
static int64
QueueEarn(const Posting *posting)
{
#define QUEUED_TYPES {INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, JSONBOID}
	static KeptPlan insert = {
		.query = "INSERT INTO loyalty.queued_earn (member_id, currency, points, effective_at, reference, idempotency_key, details) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (member_id, currency, idempotency_key) DO NOTHING RETURNING queued_id",
		.nargs = QUEUED_ARGUMENTS,
		.argtypes = QUEUED_TYPES
	};
	static KeptPlan find = {
		.query = "SELECT queued_id, points OPERATOR(pg_catalog.=) $3 AND effective_at IS NOT DISTINCT FROM $4 "
		"AND reference IS NOT DISTINCT FROM $5 AND details IS NOT DISTINCT FROM $7 FROM loyalty.queued_earn "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2 AND idempotency_key OPERATOR(pg_catalog.=) $6",
		.nargs = QUEUED_ARGUMENTS,
		.argtypes = QUEUED_TYPES
	};
	Datum		values[QUEUED_ARGUMENTS] = {0};
	bool		is_null[QUEUED_ARGUMENTS] = {false};
	char		nulls[QUEUED_ARGUMENTS];
	bool		isnull;
	bool		same;
	int64		queued_id;

	values[QUEUED_MEMBER] = Int64GetDatum(posting->asked_id);
	values[QUEUED_CURRENCY] = CStringGetTextDatum(posting->currency.code);
	values[QUEUED_POINTS] = Int64GetDatum(posting->entry.requested);
	values[QUEUED_EFFECTIVE_AT] = TimestampTzGetDatum(posting->entry.effective_at);
	is_null[QUEUED_EFFECTIVE_AT] = posting->effective_now;
	PutText(values, is_null, QUEUED_REFERENCE, posting->reference);
	PutText(values, is_null, QUEUED_KEY, posting->idempotency_key);
	values[QUEUED_DETAILS] = posting->details;
	is_null[QUEUED_DETAILS] = posting->details == 0;
	(void) NullFlags(is_null, QUEUED_ARGUMENTS, nulls);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		RunPlan(&insert, values, nulls, 0);
		if (SPI_processed > 0)
			return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		RunPlan(&find, values, nulls, 1);
		if (SPI_processed > 0)
			break;
		/* it was taken out in between */
	}
	queued_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	same = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_LY_IDEMPOTENCY_MISMATCH),
				 errmsg("idempotency key \"%s\" was used with other arguments", posting->idempotency_key),
				 errdetail("Member " INT64_FORMAT " used it for queued earn " INT64_FORMAT ", which waits to be posted.",
						   posting->asked_id, queued_id),
				 errhint("Repeat a call with the very same arguments, or use a new key.")));
	return queued_id;
}

/*
 * queue_earn(member_id, points, currency, effective_at, reference,
 * idempotency_key, details) -> bigint
 *
 * Neither reads nor locks the wallet.  effective_at NULL is the instant at which
 * it is posted.
 */
PG_FUNCTION_INFO_V1(loyalty_queue_earn);
Datum
loyalty_queue_earn(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();
	Posting		posting;
	int64		queued_id;

	BeginPosting(&posting, ENTRY_EARN, IntArgument(fcinfo, 0, "member_id"));
	posting.entry.requested = PointsArgument(fcinfo, 1);
	SetCurrency(&posting, fcinfo, 2);
	posting.effective_now = PG_ARGISNULL(3);
	posting.entry.effective_at = posting.effective_now ? now : PG_GETARG_TIMESTAMPTZ(3);
	posting.entry.available_at = posting.entry.effective_at;
	SetCommon(&posting, fcinfo, 4);
	CheckPosting(&posting);
	RefuseFuture(&posting.entry, now);
	CheckEntry(&posting.entry, true);
	queued_id = QueueEarn(&posting);
	SPI_finish();
	PG_RETURN_INT64(queued_id);
}

/* A call of transfer() */
typedef struct Transfer
{
	FunctionCallInfo fcinfo;
	Posting		out;
	Posting		in;
} Transfer;

/*
 * Posts both entries; run by RunRestartable().
 */
static void
PostTransfer(void *call)
{
	Transfer   *transfer = call;
	FunctionCallInfo fcinfo = transfer->fcinfo;
	Posting    *out = &transfer->out;
	Posting    *in = &transfer->in;
	int64		members[2];

	InitPosting(out, ENTRY_TRANSFER_OUT, IntArgument(fcinfo, 0, "from_member_id"));
	out->counterparty_id = IntArgument(fcinfo, 1, "to_member_id");
	out->entry.requested = PointsArgument(fcinfo, 2);
	SetCurrency(out, fcinfo, 3);
	SetEffectiveAt(out, InstantArgument(fcinfo, 4, "effective_at"));
	SetCommon(out, fcinfo, 5);
	InitPosting(in, ENTRY_TRANSFER_IN, out->counterparty_id);
	in->currency = out->currency;

	members[0] = out->asked_id;
	members[1] = in->asked_id;
	FindRoutes(members, 2);
	out->together = in->together = true;
	SendPosting(out, members[0]);
	SendPosting(in, members[1]);
	if (members[0] == members[1])
	{
		/* a merge of the two may be undone at this moment */
		if (out->asked_id != in->asked_id)
		{
			TakeWallet(out);
			(void) RoutePosting(out);
			(void) RoutePosting(in);
		}
		ereport(ERROR,
				(errcode(ERRCODE_LY_SAME_WALLET),
				 errmsg("member " INT64_FORMAT " cannot transfer points to itself", out->asked_id),
				 errdetail("Member " INT64_FORMAT " is the same as member " INT64_FORMAT ".", in->asked_id, out->asked_id),
				 errhint("Give two different members.")));
	}
	if (in->member_id < out->member_id)
		TakeWallet(in);
	PostEntry(out);
	if (out->result.outcome == POSTING_REPLAYED)
		return;

	in->counterparty_id = out->member_id;
	in->entry.requested = out->entry.requested;
	in->entry.given = &out->entry.touched;
	in->effective_now = out->effective_now;
	in->entry.effective_at = out->entry.effective_at;
	in->reference = out->reference;
	in->details = out->details;
	PostEntry(in);
}

/*
 * transfer(from_member_id, to_member_id, points, currency, effective_at,
 * reference, idempotency_key, details): the result is that of the sender; the
 * key belongs to the sender.
 */
PG_FUNCTION_INFO_V1(loyalty_transfer);
Datum
loyalty_transfer(PG_FUNCTION_ARGS)
{
	Transfer	transfer = {.fcinfo = fcinfo};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	RunRestartable(PostTransfer, &transfer);
	SPI_finish();
	return ResultRow(fcinfo, &transfer.out);
}

/* ---------------------------------------------------------------------------
 * post_many()
 * ---------------------------------------------------------------------------
 */

/* An array argument, or no elements where it is NULL */
typedef struct Column
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
} Column;

static Column
ArrayArgument(FunctionCallInfo fcinfo, int n, Oid type, const char *name, int expected)
{
	Column		column = {0};
	int16		length;
	bool		byval;
	char		align;

	if (PG_ARGISNULL(n))
		return column;
	get_typlenbyvalalign(type, &length, &byval, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), type, length, byval, align,
					  &column.values, &column.nulls, &column.count);
	if (expected >= 0 && column.count != expected)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("array \"%s\" has %d elements, \"member_ids\" has %d",
						name, column.count, expected),
				 errdetail("An element of each array makes an entry."),
				 errhint("All arrays that are given must have the same length.")));
	return column;
}

static bool
Given(const Column *column, int i)
{
	return column->count > 0 && !column->nulls[i];
}

static void
RequireElement(const Column *column, int i, const char *name)
{
	if (!Given(column, i))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("element " INT64_FORMAT " of \"%s\" must not be NULL", ElementNumber(i), name),
				 errdetail("An entry cannot be made without it."),
				 errhint("Give a value for it.")));
}

/* One element, in the order of posting */
typedef struct ManyOrder
{
	int			index;
	int64		member_id;		/* canonical member of the one addressed */
	const char *currency;
} ManyOrder;

static int
CompareWallets(const ManyOrder *x, const ManyOrder *y)
{
	if (x->member_id != y->member_id)
		return x->member_id < y->member_id ? -1 : 1;
	return strcmp(x->currency, y->currency);
}

static int
CompareManyOrder(const void *a, const void *b)
{
	const ManyOrder *x = a;
	const ManyOrder *y = b;
	int			cmp = CompareWallets(x, y);

	return cmp != 0 ? cmp : x->index - y->index;
}

/* A call of post_many() */
typedef struct Many
{
	Column		members,
				kinds,
				points,
				currencies,
				effective,
				available,
				expires,
				holds,
				targets,
				reasons,
				references,
				keys,
				details,
				pending;
	int			n;
	ManyOrder  *order;
	int64	   *canonical;
	Posting    *results;		/* in the order given */
	MemoryContext per_batch;
	int			current;		/* the element that an error is about, or -1 */
	PostingRun	run;			/* of elements from order[first] on, or empty */
	int			first;
	PostingBatch batch;
} Many;

/*
 * Says in an error which element it is about.
 */
static void
DescribeElement(void *arg)
{
	const Many *many = arg;
	const PostingBatch *batch = &many->batch;
	int			element = many->current;

	if (batch->storing != NULL)
		element = batch->at < batch->nstoring ? (int) (batch->storing[batch->at] - many->results) : -1;
	else if (element < 0 && many->run.n > 0 && many->run.at < many->run.n)
		element = many->order[many->first + many->run.at].index;
	if (element >= 0)
		errcontext("element " INT64_FORMAT " of post_many", ElementNumber(element));
}

/*
 * Starts the posting of element i: its kind, and its currency, which may be
 * that of the entry that it refers to.
 */
static void
BeginElement(const Many *many, int i)
{
	Posting    *posting = &many->results[i];
	char	   *kind_name = TextDatumGetCString(many->kinds.values[i]);
	EntryKind	kind = EntryKindFromName(kind_name, strlen(kind_name));

	if (kind == 0 || kind == ENTRY_TRANSFER_OUT || kind == ENTRY_TRANSFER_IN || kind == ENTRY_EXPIRE)
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_KIND),
				 errmsg("post_many cannot post kind \"%s\" of element " INT64_FORMAT, kind_name, ElementNumber(i)),
				 errdetail("Transfers take two wallets, and expiries are booked by a job."),
				 errhint("The kinds are earn, redeem, hold, capture, release, reverse, activate and adjust.")));
	if (kind == ENTRY_ADJUST)
		RequireOfCaller(RIGHT_OPERATE);
	InitPosting(posting, kind, DatumGetInt64(many->members.values[i]));
	if (Given(&many->currencies, i) || !EntryRefers(kind))
		FindCurrency(Given(&many->currencies, i) ? TextDatumGetCString(many->currencies.values[i]) : "points",
					 &posting->currency);
	if (EntryRefers(kind))
	{
		char		given[NAMEDATALEN];

		strlcpy(given, posting->currency.code, sizeof(given));
		RequireElement(&many->targets, i, "target_entry_ids");
		FindTarget(posting, DatumGetInt64(many->targets.values[i]));
		if (given[0] != '\0' && strcmp(given, posting->currency.code) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("entry " INT64_FORMAT " is not of currency \"%s\"", posting->entry.target, given),
					 errdetail("It is of currency \"%s\".", posting->currency.code),
					 errhint("Leave the currency out: it is that of the entry referred to.")));
		if (Given(&many->points, i) && WholePoints(many->points.values[i]) == 0 &&
			(kind == ENTRY_CAPTURE || kind == ENTRY_REVERSE))
			RefuseNoPoints(kind, 0);
	}
	else
	{
		if (Given(&many->targets, i))
			RefuseArgument(&posting->entry, "target_entry_id",
						   psprintf(INT64_FORMAT, DatumGetInt64(many->targets.values[i])));
		RequireElement(&many->points, i, "points");
	}
}

/*
 * Fills in the posting of element i, which goes into the wallet of the
 * canonical member of its own.
 */
static void
FillElement(Many *many, int i, int64 member_id)
{
	Posting    *posting = &many->results[i];

	posting->context = CurrentMemoryContext;
	posting->together = true;
	posting->batch = &many->batch;
	SendPosting(posting, member_id);
	posting->entry.requested = Given(&many->points, i) ? WholePoints(many->points.values[i]) : 0;
	if (Given(&many->effective, i))
		SetEffectiveAt(posting, DatumGetTimestampTz(many->effective.values[i]));
	SetAvailability(posting, Given(&many->available, i) ? &many->available.values[i] : NULL,
					Given(&many->pending, i) && DatumGetBool(many->pending.values[i]));
	posting->expires_given = Given(&many->expires, i);
	if (posting->expires_given)
		posting->entry.expires_at = DatumGetTimestampTz(many->expires.values[i]);
	if (Given(&many->holds, i))
		posting->entry.hold_until = DatumGetTimestampTz(many->holds.values[i]);
	posting->reason = Given(&many->reasons, i) ? TextDatumGetCString(many->reasons.values[i]) : NULL;
	posting->reference = Given(&many->references, i) ? TextDatumGetCString(many->references.values[i]) : NULL;
	posting->idempotency_key = Given(&many->keys, i) ? TextDatumGetCString(many->keys.values[i]) : NULL;
	posting->details = Given(&many->details, i) ? many->details.values[i] : 0;
}

/*
 * Posts elements from order[k] on, as many as go into one wallet at once; how
 * many it were.
 */
static int
PostElementsOfWallet(Many *many, int k)
{
	PostingRun *run = &many->run;

	run->n = 0;
	many->first = k;
	while (k + run->n < many->n)
	{
		const ManyOrder *next = &many->order[k + run->n];
		Posting    *posting = &many->results[next->index];

		if (run->n > 0 && CompareWallets(next, &many->order[k]) != 0)
			break;
		many->current = next->index;
		FillElement(many, next->index, next->member_id);
		many->current = -1;
		if (!MayFollow(run, posting))
			break;
		run->postings[run->n++] = posting;
	}
	/* what it may refer to, or repeat, has to be in the ledger */
	if (EntryRefers(run->postings[0]->entry.kind) || (k > 0 && CompareWallets(&many->order[k - 1], &many->order[k]) == 0))
		FlushBatch(&many->batch);
	PostRun(run);
	k = run->n;
	run->n = 0;
	return k;
}

/*
 * Takes the other wallets of a member before its first entry, where there are
 * several: what the entries of one set off may be waiting for those of another.
 */
static void
TakeWalletsOfMember(const Many *many, int first)
{
	const ManyOrder *order = many->order;

	for (int k = first; k < many->n && order[k].member_id == order[first].member_id; k++)
	{
		Posting		posting;

		if (k > first && CompareWallets(&order[k], &order[k - 1]) == 0)
			continue;
		posting = many->results[order[k].index];
		posting.together = true;
		SendPosting(&posting, order[k].member_id);
		TakeWallet(&posting);
	}
}

/*
 * Takes all wallets before the first entry, where an element concerns lots that
 * are several members' now.
 */
static void
TakeWalletsOfParts(const Many *many)
{
	ManyOrder  *wallets = palloc(many->n * sizeof(ManyOrder));
	int			size = many->n;
	int			n = many->n;

	memcpy(wallets, many->order, many->n * sizeof(ManyOrder));
	for (int i = 0; i < many->n; i++)
	{
		Posting    *posting = &many->results[i];
		int64	   *ids;
		int			count = FindParticipants(posting, &ids);

		if (n + count > size)
			wallets = repalloc(wallets, (size = 2 * size + count) * sizeof(ManyOrder));
		for (int j = 0; j < count; j++)
		{
			wallets[n] = wallets[0];
			wallets[n].index = i;
			wallets[n].member_id = ids[j];
			wallets[n++].currency = posting->currency.code;
		}
	}
	if (n == many->n)
		return;
	qsort(wallets, n, sizeof(ManyOrder), CompareManyOrder);
	for (int k = 0; k < n; k++)
	{
		Posting		posting;

		if (k > 0 && CompareWallets(&wallets[k], &wallets[k - 1]) == 0)
			continue;
		InitPosting(&posting, ENTRY_EARN, wallets[k].member_id);
		posting.currency = many->results[wallets[k].index].currency;
		posting.together = true;
		TakeWallet(&posting);
	}
}

/*
 * Posts all elements; run by RunRestartable().
 */
static void
PostElements(void *call)
{
	Many	   *many = call;
	ManyOrder  *order = many->order;

	memset(&many->batch, 0, sizeof(PostingBatch));
	for (int i = 0; i < many->n; i++)
	{
		many->current = i;
		BeginElement(many, i);
		many->canonical[i] = many->results[i].asked_id;
	}
	many->current = -1;
	FindRoutes(many->canonical, many->n);
	for (int i = 0; i < many->n; i++)
	{
		order[i].index = i;
		order[i].member_id = many->canonical[i];
		order[i].currency = many->results[i].currency.code;
	}
	qsort(order, many->n, sizeof(ManyOrder), CompareManyOrder);
	TakeWalletsOfParts(many);

	for (int k = 0; k < many->n;)
	{
		MemoryContext old = MemoryContextSwitchTo(many->per_batch);

		CHECK_FOR_INTERRUPTS();
		if (k == 0 || order[k].member_id != order[k - 1].member_id)
		{
			int			last = k;

			while (last + 1 < many->n && order[last + 1].member_id == order[k].member_id)
				last++;
			if (CompareWallets(&order[k], &order[last]) != 0)
				TakeWalletsOfMember(many, k);
		}
		k += PostElementsOfWallet(many, k);
		if (k == many->n || many->batch.n >= MAX_RUN)
			FlushBatch(&many->batch);
		MemoryContextSwitchTo(old);
		if (many->batch.n == 0)
			MemoryContextReset(many->per_batch);
	}
}

/*
 * post_many(member_ids, kinds, points, currencies, effective_ats,
 * available_ats, expires_ats, hold_untils, target_entry_ids, reasons, refs,
 * idempotency_keys, details, pending): posts one entry for each element, all
 * or none.  Wallets are taken in the order of their ids, entries of one wallet in the
 * order given.  Returns one row for each element, in the order given.
 */
PG_FUNCTION_INFO_V1(loyalty_post_many);
Datum
loyalty_post_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Many		many = {0};
	ErrorContextCallback context;
	int			n;

	RequireArgument(fcinfo, 0, "member_ids");
	RequireArgument(fcinfo, 1, "kinds");
	RequireArgument(fcinfo, 2, "points");
	InitReturnSet(fcinfo);
	many.members = ArrayArgument(fcinfo, 0, INT8OID, "member_ids", -1);
	n = many.n = many.members.count;
	many.kinds = ArrayArgument(fcinfo, 1, TEXTOID, "kinds", n);
	many.points = ArrayArgument(fcinfo, 2, NUMERICOID, "points", n);
	many.currencies = ArrayArgument(fcinfo, 3, TEXTOID, "currencies", n);
	many.effective = ArrayArgument(fcinfo, 4, TIMESTAMPTZOID, "effective_ats", n);
	many.available = ArrayArgument(fcinfo, 5, TIMESTAMPTZOID, "available_ats", n);
	many.expires = ArrayArgument(fcinfo, 6, TIMESTAMPTZOID, "expires_ats", n);
	many.holds = ArrayArgument(fcinfo, 7, TIMESTAMPTZOID, "hold_untils", n);
	many.targets = ArrayArgument(fcinfo, 8, INT8OID, "target_entry_ids", n);
	many.reasons = ArrayArgument(fcinfo, 9, TEXTOID, "reasons", n);
	many.references = ArrayArgument(fcinfo, 10, TEXTOID, "refs", n);
	many.keys = ArrayArgument(fcinfo, 11, TEXTOID, "idempotency_keys", n);
	many.details = ArrayArgument(fcinfo, 12, JSONBOID, "details", n);
	many.pending = ArrayArgument(fcinfo, 13, BOOLOID, "pending", n);
	for (int i = 0; i < n; i++)
	{
		RequireElement(&many.members, i, "member_ids");
		RequireElement(&many.kinds, i, "kinds");
	}

	/* outlives the SPI connection */
	many.results = palloc_extended(Max(n, 1) * sizeof(Posting), MCXT_ALLOC_HUGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	many.order = palloc_extended(Max(n, 1) * sizeof(ManyOrder), MCXT_ALLOC_HUGE);
	many.canonical = palloc_extended(Max(n, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	many.per_batch = AllocSetContextCreate(CurrentMemoryContext, "loyalty post_many",
										   ALLOCSET_DEFAULT_SIZES);
	many.current = -1;
	context.callback = DescribeElement;
	context.arg = &many;
	context.previous = error_context_stack;
	error_context_stack = &context;
	RunRestartable(PostElements, &many);
	for (int i = 0; i < n; i++)
	{
		many.current = i;
		KeepPosting(&many.results[i]);
	}
	error_context_stack = context.previous;
	SPI_finish();

	for (int i = 0; i < n; i++)
	{
		const Posting *posting = &many.results[i];
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = Int64GetDatum(ElementNumber(i));
		values[1] = Int64GetDatum(posting->result.entry_id);
		values[2] = Int64GetDatum(posting->result.available);
		values[3] = BoolGetDatum(posting->result.outcome == POSTING_REPLAYED);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
