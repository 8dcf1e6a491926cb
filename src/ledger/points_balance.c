/*
 * points_balance.c
 *		The types points_balance and points_lots: input, output, accessors.
 */
#include "postgres.h"

#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/expandeddatum.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"

/*
 * Turns written bytes (after room for the header) into a value.
 */
PackedValue *
FinishPacked(PackWriter *writer)
{
	SET_VARSIZE(writer->data, writer->used);
	return (PackedValue *) writer->data;
}

PackedValue *
PackBalanceValue(const Balance *balance)
{
	PackWriter	writer;

	PackInit(&writer, VARHDRSZ);
	PackBalance(&writer, balance);
	return FinishPacked(&writer);
}

PackedValue *
PackLotsValue(const LotList *list)
{
	PackWriter	writer;
	uint8		version = PACK_VERSION;

	PackInit(&writer, VARHDRSZ);
	PackBytes(&writer, &version, 1);
	PackLots(&writer, list, 0, 0);
	return FinishPacked(&writer);
}

/* ---------------------------------------------------------------------------
 * Balances in memory
 *
 * What fold() and balance_agg() return is an expanded object: accessors read
 * the Balance where it is, and it is packed only when it is stored or sent.
 * Nobody changes it, so its datum is a read-only pointer to it, and it lives
 * as long as the memory context in which it was made.
 * ---------------------------------------------------------------------------
 */

typedef struct ExpandedBalance
{
	/* the datum; the executor wants it to begin a chunk of memory */
	char		pointer[MAXALIGN(EXPANDED_POINTER_SIZE)];
	ExpandedObjectHeader header;
	PackedValue *flat;			/* once it has been asked for */
	Balance		balance;
} ExpandedBalance;

static ExpandedBalance *
ExpandedBalanceOf(ExpandedObjectHeader *header)
{
	return (ExpandedBalance *) ((char *) header - offsetof(ExpandedBalance, header));
}

static Size
FlatBalanceSize(ExpandedObjectHeader *header)
{
	ExpandedBalance *expanded = ExpandedBalanceOf(header);

	if (expanded->flat == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(header->eoh_context);

		expanded->flat = PackBalanceValue(&expanded->balance);
		MemoryContextSwitchTo(old);
	}
	return VARSIZE(expanded->flat);
}

static void
FlattenBalance(ExpandedObjectHeader *header, void *result, Size allocated_size)
{
	ExpandedBalance *expanded = ExpandedBalanceOf(header);

	Assert(allocated_size == VARSIZE(expanded->flat));
	memcpy(result, expanded->flat, allocated_size);
}

static const ExpandedObjectMethods balance_methods = {
	.get_flat_size = FlatBalanceSize,
	.flatten_into = FlattenBalance
};

/*
 * An empty balance in the current memory context, and its datum.  The caller
 * fills it with about that many entries, in that context, before anybody else
 * sees the datum.
 */
Balance *
NewBalanceDatum(ConsumptionOrder order, int64 entries, Datum *datum)
{
	ExpandedBalance *expanded = palloc(sizeof(ExpandedBalance));

	EOH_init_header(&expanded->header, &balance_methods, CurrentMemoryContext);
	memcpy(expanded->pointer, expanded->header.eoh_ro_ptr, EXPANDED_POINTER_SIZE);
	expanded->flat = NULL;
	InitBalance(&expanded->balance, order);
	InitLots(&expanded->balance.lots, (int) Min(entries, 32));
	*datum = PointerGetDatum(expanded);
	return &expanded->balance;
}

/*
 * A balance to read: where it is, or unpacked into room.
 */
const Balance *
ReadBalanceDatum(Datum datum, Balance *room)
{
	if (VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(datum)))
		return &ExpandedBalanceOf(DatumGetEOHP(datum))->balance;
	UnpackBalanceDatum(datum, room);
	return room;
}

/*
 * Reads a balance, stored or expanded, into one of the caller's own.  Bytes
 * that are none mean a damaged table.
 */
void
UnpackBalanceDatum(Datum datum, Balance *balance)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);
	PackReader	reader;

	UnpackInit(&reader, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if (!UnpackBalance(&reader, balance))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stored points_balance is damaged")));
}

static bool
UnpackVersionedLots(PackReader *reader, LotList *list)
{
	if (UnpackByte(reader) != PACK_VERSION)
		reader->failed = true;
	UnpackLots(reader, list, 0, 0);
	return !reader->failed && reader->next == reader->end;
}

/*
 * Reads a stored list of lots.
 */
void
UnpackLotsDatum(Datum datum, LotList *list)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(datum);
	PackReader	reader;

	UnpackInit(&reader, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	if (!UnpackVersionedLots(&reader, list))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stored points_lots is damaged")));
}

/*
 * Checks a balance that comes from outside: the lots in order, no part twice,
 * every point accounted for, counts and totals not negative.
 */
static void
CheckOutsideBalance(Balance *balance, int sqlstate)
{
	const char *wrong = NULL;
	const Lot  *previous = NULL;

	if (balance->entries < 0 || balance->last_entry_id < 0)
		wrong = "A count is negative.";
	for (int i = 0; i < TOTALS; i++)
	{
		if (balance->total[i] < 0 && i != TOTAL_BOOKED)
			wrong = "A total is negative.";
	}
	ForEachLot(lot, &balance->lots)
	{
		if (previous != NULL && CompareLots(balance->order, previous, lot) >= 0)
			wrong = "Its lots are not in consumption order.";
		previous = lot;
	}
	if (balance->last_effective_at == TIMESTAMP_INFINITY ||
		balance->last_recorded_at == TIMESTAMP_INFINITY ||
		balance->booked_through == TIMESTAMP_INFINITY)
		wrong = "An instant of its last entries is infinite.";
	if (wrong == NULL && !BalanceIsConserved(balance))
		wrong = "Points that came in are not points that are there or went out.";
	if (wrong == NULL && balance->total[TOTAL_DEBT] > 0)
	{
		BalanceAsOf sums;

		BalanceAt(balance, balance->last_effective_at, &sums);
		if (sums.available > 0)
			wrong = "Points are available that ought to have repaid its debt.";
	}
	if (wrong != NULL)
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("invalid points_balance"),
				 errdetail("%s", wrong)));
}

/* ---------------------------------------------------------------------------
 * Input and output
 * ---------------------------------------------------------------------------
 */

/*
 * points_balance_in(cstring): the JSON form.
 */
PG_FUNCTION_INFO_V1(loyalty_points_balance_in);
Datum
loyalty_points_balance_in(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = ParseJson(PG_GETARG_CSTRING(0));
	Balance		balance;

	BalanceFromJson(&json->root, &balance);
	CheckOutsideBalance(&balance, ERRCODE_INVALID_TEXT_REPRESENTATION);
	PG_RETURN_POINTER(PackBalanceValue(&balance));
}

PG_FUNCTION_INFO_V1(loyalty_points_balance_out);
Datum
loyalty_points_balance_out(PG_FUNCTION_ARGS)
{
	Balance		room;
	StringInfoData buf;

	initStringInfo(&buf);
	BalanceToJson(&buf, PG_READARG_BALANCE(0, &room));
	PG_RETURN_CSTRING(buf.data);
}

/*
 * A balance from its bytes, which come from outside.
 */
static Datum
BalanceFromBytes(const char *bytes, int length)
{
	PackReader	reader;
	Balance		balance;

	UnpackInit(&reader, bytes, length);
	if (!UnpackBalance(&reader, &balance))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary format of points_balance")));
	CheckOutsideBalance(&balance, ERRCODE_INVALID_BINARY_REPRESENTATION);
	return PointerGetDatum(PackBalanceValue(&balance));
}

/*
 * points_balance_recv(internal): the bytes of pack.c, led by their version.
 */
PG_FUNCTION_INFO_V1(loyalty_points_balance_recv);
Datum
loyalty_points_balance_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			length = buf->len - buf->cursor;

	return BalanceFromBytes(pq_getmsgbytes(buf, length), length);
}

/*
 * rebuilt_balance(bytea): the same bytes as a balance.
 */
PG_FUNCTION_INFO_V1(loyalty_rebuilt_balance);
Datum
loyalty_rebuilt_balance(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	return BalanceFromBytes(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

/*
 * packed_send(any of our packed types): the stored bytes are the wire format.
 */
PG_FUNCTION_INFO_V1(loyalty_packed_send);
Datum
loyalty_packed_send(PG_FUNCTION_ARGS)
{
	struct varlena *value = PG_GETARG_VARLENA_PP(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendbytes(&buf, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

PG_FUNCTION_INFO_V1(loyalty_points_lots_in);
Datum
loyalty_points_lots_in(PG_FUNCTION_ARGS)
{
	Jsonb	   *json = ParseJson(PG_GETARG_CSTRING(0));
	LotList		list;

	LotsFromJson(&json->root, &list);
	PG_RETURN_POINTER(PackLotsValue(&list));
}

PG_FUNCTION_INFO_V1(loyalty_points_lots_out);
Datum
loyalty_points_lots_out(PG_FUNCTION_ARGS)
{
	LotList		list;
	StringInfoData buf;

	UnpackLotsDatum(PG_GETARG_DATUM(0), &list);
	initStringInfo(&buf);
	LotsToJson(&buf, &list);
	PG_RETURN_CSTRING(buf.data);
}

PG_FUNCTION_INFO_V1(loyalty_points_lots_recv);
Datum
loyalty_points_lots_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			length = buf->len - buf->cursor;
	PackReader	reader;
	LotList		list;

	UnpackInit(&reader, pq_getmsgbytes(buf, length), length);
	if (!UnpackVersionedLots(&reader, &list))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary format of points_lots")));
	PG_RETURN_POINTER(PackLotsValue(&list));
}

/* ---------------------------------------------------------------------------
 * Accessors
 *
 * All take (points_balance, as_of timestamptz) unless noted, are immutable
 * and strict, and raise LY110 for an as_of before the last entry.
 * ---------------------------------------------------------------------------
 */

static void
GetBalanceAt(FunctionCallInfo fcinfo, BalanceAsOf *sums)
{
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);
	Balance		room;
	const Balance *balance = PG_READARG_BALANCE(0, &room);

	CheckAsOf(balance, as_of);
	BalanceAt(balance, as_of, sums);
}

/*
 * available(balance, as_of): points that can be redeemed.
 */
PG_FUNCTION_INFO_V1(loyalty_available);
Datum
loyalty_available(PG_FUNCTION_ARGS)
{
	BalanceAsOf sums;

	GetBalanceAt(fcinfo, &sums);
	PG_RETURN_INT64(sums.available);
}

/*
 * pending(balance, as_of): points that become available later.
 */
PG_FUNCTION_INFO_V1(loyalty_pending);
Datum
loyalty_pending(PG_FUNCTION_ARGS)
{
	BalanceAsOf sums;

	GetBalanceAt(fcinfo, &sums);
	PG_RETURN_INT64(sums.pending);
}

/*
 * held(balance, as_of): points set aside by holds.
 */
PG_FUNCTION_INFO_V1(loyalty_held);
Datum
loyalty_held(PG_FUNCTION_ARGS)
{
	BalanceAsOf sums;

	GetBalanceAt(fcinfo, &sums);
	PG_RETURN_INT64(sums.held);
}

/*
 * debt(balance, as_of): points owed.
 */
PG_FUNCTION_INFO_V1(loyalty_debt);
Datum
loyalty_debt(PG_FUNCTION_ARGS)
{
	BalanceAsOf sums;

	GetBalanceAt(fcinfo, &sums);
	PG_RETURN_INT64(sums.debt);
}

/*
 * expired(balance, as_of): points that have expired since the beginning.
 */
PG_FUNCTION_INFO_V1(loyalty_expired);
Datum
loyalty_expired(PG_FUNCTION_ARGS)
{
	BalanceAsOf sums;

	GetBalanceAt(fcinfo, &sums);
	PG_RETURN_INT64(sums.expired);
}

/*
 * next_expiry_at(balance, as_of): when available points expire next; NULL
 * when none do.
 */
PG_FUNCTION_INFO_V1(loyalty_next_expiry_at);
Datum
loyalty_next_expiry_at(PG_FUNCTION_ARGS)
{
	BalanceAsOf sums;

	GetBalanceAt(fcinfo, &sums);
	if (sums.next_expiry_at == TIMESTAMP_INFINITY)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(sums.next_expiry_at);
}

/*
 * next_expiry_points(balance, as_of): how many points expire then; 0 when
 * none do.
 */
PG_FUNCTION_INFO_V1(loyalty_next_expiry_points);
Datum
loyalty_next_expiry_points(PG_FUNCTION_ARGS)
{
	BalanceAsOf sums;

	GetBalanceAt(fcinfo, &sums);
	PG_RETURN_INT64(sums.next_expiry_points);
}

/*
 * expiring_points(balance, until, as_of): points that are not expired as of as_of
 * and will have expired by until, if nobody touches them.
 */
PG_FUNCTION_INFO_V1(loyalty_expiring_points);
Datum
loyalty_expiring_points(PG_FUNCTION_ARGS)
{
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(2);
	Balance		room;
	const Balance *balance = PG_READARG_BALANCE(0, &room);

	CheckAsOf(balance, as_of);
	PG_RETURN_INT64(ExpiringBetween(balance, as_of, until));
}

/*
 * Accessors without as_of: what they tell does not change with time.
 */
#define TOTAL_ACCESSOR(name, which) \
PG_FUNCTION_INFO_V1(loyalty_##name); \
Datum \
loyalty_##name(PG_FUNCTION_ARGS) \
{ \
	Balance		room; \
	PG_RETURN_INT64(PG_READARG_BALANCE(0, &room)->total[which]); \
}

TOTAL_ACCESSOR(earned, TOTAL_EARNED)
TOTAL_ACCESSOR(adjusted_up, TOTAL_ADJUSTED_UP)
TOTAL_ACCESSOR(transferred_in, TOTAL_TRANSFERRED_IN)
TOTAL_ACCESSOR(restored, TOTAL_RESTORED)
TOTAL_ACCESSOR(redeemed, TOTAL_REDEEMED)
TOTAL_ACCESSOR(revoked, TOTAL_REVOKED)
TOTAL_ACCESSOR(adjusted_down, TOTAL_ADJUSTED_DOWN)
TOTAL_ACCESSOR(transferred_out, TOTAL_TRANSFERRED_OUT)
TOTAL_ACCESSOR(expiry_booked, TOTAL_BOOKED)

/*
 * entry_count(balance): how many entries it is the fold of.
 */
PG_FUNCTION_INFO_V1(loyalty_entry_count);
Datum
loyalty_entry_count(PG_FUNCTION_ARGS)
{
	Balance		room;

	PG_RETURN_INT64(PG_READARG_BALANCE(0, &room)->entries);
}

/*
 * last_effective_at(balance): the latest effective_at of its entries, the
 * earliest instant it can be asked as of; NULL when it has none.
 */
PG_FUNCTION_INFO_V1(loyalty_last_effective_at);
Datum
loyalty_last_effective_at(PG_FUNCTION_ARGS)
{
	Balance		room;
	const Balance *balance = PG_READARG_BALANCE(0, &room);

	if (balance->last_effective_at == TIMESTAMP_MINUS_INFINITY)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(balance->last_effective_at);
}

/*
 * next_unbooked_expiry(balance): the first instant at which book_expiries()
 * has something to do for it: something expires after what was booked, or
 * what was booked is no longer right.  NULL when there is nothing.
 */
PG_FUNCTION_INFO_V1(loyalty_next_unbooked_expiry);
Datum
loyalty_next_unbooked_expiry(PG_FUNCTION_ARGS)
{
	TimestampTz next = TIMESTAMP_INFINITY;
	Balance		room;
	Balance		advanced;
	const Balance *balance = PG_READARG_BALANCE(0, &room);
	int64		expired;

	/* what is to repay debt will not expire */
	balance = BalanceAdvanced(balance, TIMESTAMP_INFINITY, &advanced);
	expired = balance->total[TOTAL_SETTLED];
	ForEachLot(lot, &balance->lots)
	{
		TimestampTz expiry = lot->expires_at;

		if (lot->hold_id != 0 && lot->available_at > expiry)
			expiry = lot->available_at;
		if (expiry <= balance->booked_through)
			expired += lot->points;
		else if (expiry < next)
			next = expiry;
	}
	if (expired != balance->total[TOTAL_BOOKED])
		PG_RETURN_TIMESTAMPTZ(balance->booked_through);
	if (next == TIMESTAMP_INFINITY)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}

/* ---------------------------------------------------------------------------
 * Lots as rows
 * ---------------------------------------------------------------------------
 */

static const char *
LotState(const Lot *lot, TimestampTz t)
{
	if (LotIsHeld(lot, t))
		return "held";
	if (LotIsExpired(lot, t))
		return "expired";
	return LotIsAvailable(lot, t) ? "available" : "pending";
}

/*
 * One row for each part of a lot.  With as_of a state column stands first
 * behind the points; without, a column at the end says whether it is joined.
 */
void
ReturnLots(FunctionCallInfo fcinfo, const LotList *list, const TimestampTz *as_of)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitReturnSet(fcinfo);
	ForEachLot(lot, list)
	{
		Datum		values[7];
		bool		nulls[7] = {false};
		int			n = 0;

		CHECK_FOR_INTERRUPTS();
		values[n++] = Int64GetDatum(lot->lot_id);
		values[n++] = Int64GetDatum(lot->points);
		if (as_of != NULL)
			values[n++] = CStringGetTextDatum(LotState(lot, *as_of));
		values[n++] = TimestampTzGetDatum(lot->earned_at);
		nulls[n] = lot->available_at == TIMESTAMP_INFINITY;
		values[n++] = TimestampTzGetDatum(lot->available_at);
		nulls[n] = lot->expires_at == TIMESTAMP_INFINITY;
		values[n++] = TimestampTzGetDatum(lot->expires_at);
		nulls[n] = lot->hold_id == 0;
		values[n++] = Int64GetDatum(lot->hold_id);
		if (as_of == NULL)
			values[n++] = BoolGetDatum(lot->joined);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * balance_lots(balance, as_of): every lot with points left, in consumption order, and
 * its state as of an instant.
 */
PG_FUNCTION_INFO_V1(loyalty_balance_lots);
Datum
loyalty_balance_lots(PG_FUNCTION_ARGS)
{
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);
	Balance		room;
	Balance		advanced;
	const Balance *balance = PG_READARG_BALANCE(0, &room);

	CheckAsOf(balance, as_of);
	balance = BalanceAdvanced(balance, as_of, &advanced);
	ReturnLots(fcinfo, &balance->lots, &as_of);
	return (Datum) 0;
}

/*
 * unnest_lots(points_lots): its lots as rows, as they stand.
 */
PG_FUNCTION_INFO_V1(loyalty_unnest_lots);
Datum
loyalty_unnest_lots(PG_FUNCTION_ARGS)
{
	LotList		list;

	UnpackLotsDatum(PG_GETARG_DATUM(0), &list);
	ReturnLots(fcinfo, &list, NULL);
	return (Datum) 0;
}

/*
 * total_points(points_lots): the sum of its points.
 */
PG_FUNCTION_INFO_V1(loyalty_total_points);
Datum
loyalty_total_points(PG_FUNCTION_ARGS)
{
	LotList		list;

	UnpackLotsDatum(PG_GETARG_DATUM(0), &list);
	PG_RETURN_INT64(SumLots(&list));
}
