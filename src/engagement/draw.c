/*
 * draw.c
 *		draw(): a spin of a wheel, or a ticket of a deck, and its prize in the
 *		same commit.
 *
 * Locks come in the order of the house: the member's wallets into which the draw
 * pays, what is engaged of the member, coupons, the stock.  The lock of a member
 * numbers its spins and keeps them within what was granted; where another member
 * stands for it once that is held, the call begins anew.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "core/core.h"
#include "core/errors.h"
#include "core/escrow.h"
#include "core/plain.h"
#include "engagement/draw.h"
#include "engagement/engagement.h"
#include "ledger/post_together.h"

/* A call of draw() */
typedef struct Spin
{
	int64		asked_id;
	const KnownDraw *draw;
	const char *client_seed;	/* NULL: none */
	const char *client_seed_utf8;
	TimestampTz at;

	int64		home;			/* for whom it is drawn */
	int64		nonce;
	int64		ticket;
	const Prize *drawn;			/* NULL: a blank */
	const Prize *prize;
	int64		entry_id;		/* 0: none */
	int64		coupon_id;
} Spin;

static const char *const no_triggers[] = {NULL};

/* ---------------------------------------------------------------------------
 * Refusals
 * ---------------------------------------------------------------------------
 */

static void
CheckClientSeed(Spin *spin)
{
	bool		is_deck = spin->draw->terms->tickets > 0;

	if (spin->client_seed != NULL)
		spin->client_seed_utf8 = pg_server_to_any(spin->client_seed, strlen(spin->client_seed), PG_UTF8);
	if (spin->client_seed == NULL ? !spin->draw->terms->client_seed : !is_deck && strlen(spin->client_seed_utf8) <= MAX_CLIENT_SEED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("client_seed of draw \"%s\" must be %s", spin->draw->name, is_deck ? "left out" : "a text of at most 64 bytes"),
			 errdetail("It is %s.", spin->client_seed != NULL ? quote_literal_cstr(spin->client_seed) : "NULL"),
			 errhint("See \"client_seed\" of define_draw().")));
}

pg_noreturn static void
RefuseClosed(const KnownDraw *draw, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_DRAW_CLOSED),
			 errmsg("draw \"%s\" is closed", draw->name),
			 errdetail("%s", detail),
			 errhint("See loyalty.reveal_draw().")));
}

/*
 * Refuses a spin out of the time of its draw.
 */
static void
CheckTime(const KnownDraw *draw, TimestampTz at)
{
	const DrawTerms *terms = draw->terms;
	Datum		zone;

	if (terms->from_text == NULL && terms->until_text == NULL)
		return;
	zone = CStringGetTextDatum(terms->time_zone != NULL ? terms->time_zone : GetProgram()->time_zone);
	if ((terms->from_text != NULL && at < DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, TimestampGetDatum(terms->from)))) ||
		(terms->until_text != NULL && at >= DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, TimestampGetDatum(terms->until)))))
		RefuseClosed(draw, psprintf("It is open from %s until %s.", terms->from_text != NULL ? terms->from_text : "ever",
									terms->until_text != NULL ? terms->until_text : "it is closed"));
}

/* ---------------------------------------------------------------------------
 * Rows
 * ---------------------------------------------------------------------------
 */

/*
 * Refuses a draw that was closed by this moment, whatever the snapshot of the
 * transaction: since then its seed is known.
 */
static void
CheckOpen(const KnownDraw *draw)
{
	static const PlainColumn columns[] = {{"draw", TEXTOID}, {"closed_at", TIMESTAMPTZOID}};
	static const PlainTable table = {
		.name = "draw_commitment",.ncolumns = lengthof(columns),.columns = columns,.nkeys = 1,.keys = {{1, {0}}},.own_triggers = no_triggers
	};
	static KeptPlan plan = {
		.query = "SELECT closed_at FROM loyalty.draw_commitment WHERE draw OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(draw->name);
	Datum		closed_at = 0;
	bool		isnull = true;
	PlainAccess access;

	CommandCounterIncrement();
	PushLatestSnapshot();
	if (OpenPlain(&access, &table, 0, PLAIN_READ))
	{
		HeapTuple	row = FetchPlainRow(&access, 0, &value, GetActiveSnapshot());

		if (row != NULL)
			closed_at = PlainValue(&access, row, 1, &isnull);
		ClosePlain(&access);
	}
	else
	{
		RunPlanReadOnly(&plan, &value, NULL, 1);
		if (SPI_processed > 0)
			closed_at = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	}
	PopActiveSnapshot();
	if (!isnull)
		RefuseClosed(draw, psprintf("It was closed at %s.", TimestampText(DatumGetTimestampTz(closed_at))));
}

/* All columns of draw_spin */
#define SPIN_COLUMNS(COLUMN) \
	COLUMN(MEMBER_ID, member_id, INT8OID) \
	COLUMN(DRAW, draw, TEXTOID) \
	COLUMN(NONCE, nonce, INT8OID) \
	COLUMN(TICKET, ticket, INT8OID) \
	COLUMN(DRAWN, drawn, TEXTOID) \
	COLUMN(PRIZE, prize, TEXTOID) \
	COLUMN(CLIENT_SEED, client_seed, TEXTOID) \
	COLUMN(AT, at, TIMESTAMPTZOID) \
	COLUMN(ENTRY_ID, entry_id, INT8OID) \
	COLUMN(COUPON_ID, coupon_id, INT8OID) \
	COLUMN(RECORDED_AT, recorded_at, TIMESTAMPTZOID)

enum
{
#define COLUMN(symbol, name, type) SPIN_##symbol,
	SPIN_COLUMNS(COLUMN)
#undef COLUMN
	SPIN_NCOLUMNS
};

#define COLUMN(symbol, name, type) {#name, type},
static const PlainColumn spin_columns[] = {SPIN_COLUMNS(COLUMN)};
#undef COLUMN

static const PlainTable spin_table = {
	.name = "draw_spin",
	.ncolumns = SPIN_NCOLUMNS,
	.columns = spin_columns,
	.nkeys = 1,
	.keys = {{3, {SPIN_MEMBER_ID, SPIN_DRAW, SPIN_NONCE}}},
	.own_triggers = no_triggers
};

/*
 * How many spins were drawn for a member under this number: its last nonce.
 */
static int64
LastNonce(int64 home, const char *draw)
{
	static KeptPlan plan = {
		.query = "SELECT nonce FROM loyalty.draw_spin WHERE member_id OPERATOR(pg_catalog.=) $1 AND draw OPERATOR(pg_catalog.=) $2 "
		"ORDER BY nonce DESC LIMIT 1",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(home), CStringGetTextDatum(draw)};
	PlainAccess access;
	int64		nonce = 0;
	bool		isnull;

	if (OpenPlain(&access, &spin_table, home, PLAIN_WRITE))
	{
		HeapTuple	row = FetchLastPlainRow(&access, values);

		if (row != NULL)
			nonce = DatumGetInt64(PlainValue(&access, row, SPIN_NONCE, &isnull));
		ClosePlain(&access);
		return nonce;
	}
	RunPlan(&plan, values, NULL, 1);
	return SPI_processed == 0 ? 0 : DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * How many spins were granted to a member who has one number; false where that
 * cannot be said by table access.
 */
static bool
FindGranted(int64 home, const char *draw, int64 *granted)
{
	static const PlainColumn columns[] = {{"member_id", INT8OID}, {"grant_id", INT8OID}, {"draw", TEXTOID}, {"quantity", INT4OID}};
	static const PlainTable table = {
		.name = "draw_grant",.ncolumns = lengthof(columns),.columns = columns,.nkeys = 1,.keys = {{2, {0, 1}}},.own_triggers = no_triggers
	};
	PlainAccess access;
	HeapTuple  *rows;
	int			n;

	if (!OpenPlain(&access, &table, home, PLAIN_READ))
		return false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	n = FetchPlainRows(&access, home, GetActiveSnapshot(), &rows);
	PopActiveSnapshot();
	*granted = 0;
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		text	   *of = DatumGetTextPP(PlainValue(&access, rows[i], 2, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (VARSIZE_ANY_EXHDR(of) == strlen(draw) && memcmp(VARDATA_ANY(of), draw, strlen(draw)) == 0)
			*granted += DatumGetInt32(PlainValue(&access, rows[i], 3, &isnull));
	}
	ClosePlain(&access);
	return true;
}

/*
 * Numbers a spin; LY755 where the member has none left.
 */
static void
NumberSpin(Spin *spin)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.spins_left($1, $2)",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(spin->home), CStringGetTextDatum(spin->draw->name)};
	Datum		numbers;
	int64		canonical;
	int64		left;
	bool		isnull;

	spin->nonce = LastNonce(spin->home, spin->draw->name) + 1;
	if (!FindNumbers(spin->home, &canonical, &numbers) && FindGranted(spin->home, spin->draw->name, &left))
		/* they are numbered without holes */
		left -= spin->nonce - 1;
	else
	{
		RunPlan(&plan, values, NULL, 1);
		left = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	if (left < 1)
		ereport(ERROR,
				(errcode(ERRCODE_LY_NO_SPINS_LEFT),
				 errmsg("member " INT64_FORMAT " has no spins of draw \"%s\" left", spin->asked_id, spin->draw->name),
				 errdetail("All that were granted are drawn."),
				 errhint("See loyalty.grant_spin().")));
}

static void
StoreSpin(const Spin *spin)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.draw_spin (member_id, draw, nonce, ticket, drawn, prize, client_seed, at, entry_id, coupon_id, recorded_at) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		.nargs = SPIN_NCOLUMNS,
		.argtypes = {INT8OID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		values[SPIN_NCOLUMNS];
	bool		isnull[SPIN_NCOLUMNS] = {false};
	char		nulls[SPIN_NCOLUMNS];
	PlainAccess access;
	int			at;

	values[SPIN_MEMBER_ID] = Int64GetDatum(spin->home);
	values[SPIN_DRAW] = CStringGetTextDatum(spin->draw->name);
	values[SPIN_NONCE] = Int64GetDatum(spin->nonce);
	values[SPIN_TICKET] = Int64GetDatum(spin->ticket);
	PutText(values, isnull, SPIN_DRAWN, spin->drawn != NULL ? spin->drawn->name : NULL);
	PutText(values, isnull, SPIN_PRIZE, spin->prize != NULL ? spin->prize->name : NULL);
	PutText(values, isnull, SPIN_CLIENT_SEED, spin->client_seed);
	values[SPIN_AT] = TimestampTzGetDatum(spin->at);
	values[SPIN_ENTRY_ID] = Int64GetDatum(spin->entry_id);
	isnull[SPIN_ENTRY_ID] = spin->entry_id == 0;
	values[SPIN_COUPON_ID] = Int64GetDatum(spin->coupon_id);
	isnull[SPIN_COUPON_ID] = spin->coupon_id == 0;
	values[SPIN_RECORDED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (OpenPlain(&access, &spin_table, spin->home, PLAIN_WRITE))
	{
		HeapTuple	row = FormPlainRow(&access, values, isnull);

		InsertPlainRows(&access, 1, &row, &at);
		ClosePlain(&access);
		CommandCounterIncrement();
	}
	else
		RunPlan(&plan, values, NullFlags(isnull, SPIN_NCOLUMNS, nulls), 0);
}

/* ---------------------------------------------------------------------------
 * Drawing
 * ---------------------------------------------------------------------------
 */

static void
LockForSpin(const Spin *spin)
{
	for (int i = 0; i < spin->draw->ncurrencies; i++)
	{
		ExpectEntry(spin->home, spin->draw->currencies[i]);
		(void) LockWallet(spin->home, spin->draw->currencies[i]);
	}
	LockEngagement(spin->home);
	if (CanonicalMember(spin->asked_id) != spin->home)
		RestartCall("members were merged or unmerged at this moment");
	/* who closes the draw waits for this, and this for him */
	(void) DirectFunctionCall1(pg_advisory_xact_lock_shared_int8, Int64GetDatum(spin->draw->lock_key));
}

static char *
LimitOf(const KnownDraw *draw, const char *what)
{
	return psprintf("draw/%s/%s", draw->name, what);
}

/*
 * A ticket of a deck: a place that nobody has.  What is left of them is an
 * escrow, so that those who draw at the same time take from different slots:
 * slot k has the places k, k + ESCROW_SLOTS and so on.
 */
static void
DrawFromDeck(Spin *spin)
{
	static KeptPlan plan = {
		.query = "SELECT prize FROM loyalty.draw_place WHERE draw OPERATOR(pg_catalog.=) $1 AND place OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2];
	int			slot = 0;
	int64		place = 0;

	if (!DrawFromEscrow(LimitOf(spin->draw, "tickets"), &slot, &place))
		RefuseClosed(spin->draw, "All of its tickets are sold.");
	spin->ticket = slot + ESCROW_SLOTS * (place - 1);
	values[0] = CStringGetTextDatum(spin->draw->name);
	values[1] = Int64GetDatum(spin->ticket);
	RunPlan(&plan, values, NULL, 1);
	spin->drawn = NULL;
	if (SPI_processed > 0)
		spin->drawn = &spin->draw->terms->prizes[FindPrize(spin->draw->terms, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1))];
	spin->prize = spin->drawn;
}

/*
 * A spin of a wheel: its prize, or, where the stock of that is gone, the one
 * before it that is still there; the first has no stock.
 */
static void
DrawFromWheel(Spin *spin)
{
	const DrawTerms *terms = spin->draw->terms;
	int			i;

	spin->ticket = DrawTicket(&spin->draw->seed, spin->draw->name, spin->home, spin->nonce, terms->total, spin->client_seed_utf8);
	i = PrizeOfTicket(terms, spin->ticket);
	spin->drawn = &terms->prizes[i];
	while (terms->prizes[i].has_stock && TakeFromEscrow(LimitOf(spin->draw, terms->prizes[i].name), 1, ESCROW_ALL) == 0)
		i--;
	spin->prize = &terms->prizes[i];
}

static void
PushPair(JsonbParseState **state, const char *key, JsonbValue *value)
{
	JsonbValue	name = {.type = jbvString};

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &name);
	(void) pushJsonbValue(state, WJB_VALUE, value);
}

/* The details of the entry of a spin */
static Datum
DetailsOf(const Spin *spin)
{
	JsonbParseState *state = NULL;
	JsonbValue	draw = {.type = jbvString};
	JsonbValue	nonce = {.type = jbvNumeric};

	draw.val.string.val = unconstify(char *, spin->draw->name);
	draw.val.string.len = (int) strlen(spin->draw->name);
	nonce.val.numeric = int64_to_numeric(spin->nonce);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	PushPair(&state, "draw", &draw);
	PushPair(&state, "nonce", &nonce);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static int64
PayPoints(const Spin *spin)
{
	Posting		posting;

	InitPosting(&posting, ENTRY_EARN, spin->home);
	FindCurrency(spin->prize->currency, &posting.currency);
	posting.entry.requested = spin->prize->points;
	posting.effective_now = spin->at == GetCurrentStatementStartTimestamp();
	posting.entry.effective_at = spin->at;
	SetAvailability(&posting, NULL, false);
	posting.details = DetailsOf(spin);
	PostTogether(&posting);
	return posting.result.entry_id;
}

static int64
GiveCoupon(const Spin *spin)
{
	static KeptPlan plan = {
		.query = "SELECT coupon_id FROM loyalty.issue_coupon($1, $2, $3)",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		values[3] = {Int64GetDatum(spin->home), CStringGetTextDatum(spin->prize->benefit), TimestampTzGetDatum(spin->at)};
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * One attempt; see RunRestartable().
 */
static void
DrawOnce(void *call)
{
	Spin	   *spin = call;

	spin->home = CanonicalMember(spin->asked_id);
	LockForSpin(spin);
	CheckOpen(spin->draw);
	CheckTime(spin->draw, spin->at);
	NumberSpin(spin);
	if (spin->draw->terms->tickets > 0)
		DrawFromDeck(spin);
	else
		DrawFromWheel(spin);
	spin->entry_id = spin->prize != NULL && spin->prize->points > 0 ? PayPoints(spin) : 0;
	spin->coupon_id = spin->prize != NULL && spin->prize->benefit != NULL ? GiveCoupon(spin) : 0;
	StoreSpin(spin);
}

/* ---------------------------------------------------------------------------
 * The call
 * ---------------------------------------------------------------------------
 */

enum
{
	RESULT_NONCE, RESULT_TICKET, RESULT_DRAWN, RESULT_PRIZE, RESULT_ENTRY_ID, RESULT_COUPON_ID, RESULT_REPLAYED, RESULT_NCOLUMNS
};

/*
 * Whether a call with this key was made before, and then its results; the key
 * is claimed where it was not.
 */
static bool
FindEarlierSpin(const Spin *spin, const char *key, Datum *values, bool *nulls)
{
	static KeptPlan plan = {
		.query = "SELECT (e.r OPERATOR(pg_catalog.->>) 'nonce')::pg_catalog.int8, (e.r OPERATOR(pg_catalog.->>) 'ticket')::pg_catalog.int8, "
		"e.r OPERATOR(pg_catalog.->>) 'drawn', e.r OPERATOR(pg_catalog.->>) 'prize', "
		"(e.r OPERATOR(pg_catalog.->>) 'entry_id')::pg_catalog.int8, (e.r OPERATOR(pg_catalog.->>) 'coupon_id')::pg_catalog.int8 "
		"FROM (SELECT loyalty.claim_request('draw', loyalty.kept_members(loyalty.numbers_of($1)), $2, "
		"pg_catalog.jsonb_build_array($3, $4, EXTRACT(epoch FROM $5))) OFFSET 0) e (r) WHERE e.r IS NOT NULL",
		.nargs = 5,
		.argtypes = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
	};
	Datum		arguments[5] = {Int64GetDatum(spin->asked_id), CStringGetTextDatum(key), 0, 0, TimestampTzGetDatum(spin->at)};
	bool		isnull[5] = {false};
	char		flags[5];

	PutText(arguments, isnull, 2, spin->draw->name);
	PutText(arguments, isnull, 3, spin->client_seed);
	isnull[4] = spin->at == GetCurrentStatementStartTimestamp();
	RunPlan(&plan, arguments, NullFlags(isnull, 5, flags), 1);
	if (SPI_processed == 0)
		return false;
	for (int i = 0; i < RESULT_REPLAYED; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	return true;
}

static void
KeepSpin(const Spin *spin, const char *key, const Datum *results, const bool *nulls)
{
	static KeptPlan plan = {
		.query = "SELECT loyalty.finish_request('draw', $1, $2, pg_catalog.jsonb_build_object('nonce', $3, 'ticket', $4, "
		"'drawn', $5, 'prize', $6, 'entry_id', $7, 'coupon_id', $8))",
		.nargs = 8,
		.argtypes = {INT8OID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID}
	};
	Datum		values[8] = {Int64GetDatum(spin->asked_id), CStringGetTextDatum(key)};
	bool		isnull[8] = {false};
	char		flags[8];

	memcpy(&values[2], results, 6 * sizeof(Datum));
	memcpy(&isnull[2], nulls, 6 * sizeof(bool));
	RunPlan(&plan, values, NullFlags(isnull, 8, flags), 0);
}

/*
 * draw(member_id, draw, client_seed, at, idempotency_key) -> (nonce, ticket,
 * drawn, prize, entry_id, coupon_id, replayed)
 */
PG_FUNCTION_INFO_V1(loyalty_draw);
Datum
loyalty_draw(PG_FUNCTION_ARGS)
{
	static TupleDesc tupdesc = NULL;
	TupleDesc	type = ResultType(&tupdesc, fcinfo);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	char	   *key = TextArgument(fcinfo, 4);
	Spin		spin = {0};
	HeapTuple	row;
	Datum		values[RESULT_NCOLUMNS] = {0};
	bool		nulls[RESULT_NCOLUMNS] = {false};

	RequireOwner();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(3) || TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(3)))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("member_id and at must be given"),
				 errdetail("A spin is of a member, at a finite instant."),
				 errhint("Give both, or leave at out for now.")));
	spin.asked_id = PG_GETARG_INT64(0);
	spin.client_seed = TextArgument(fcinfo, 2);
	spin.at = PG_GETARG_TIMESTAMPTZ(3);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RequireWritable();
	spin.draw = FindDraw(TextArgument(fcinfo, 1));
	if (key != NULL && FindEarlierSpin(&spin, key, values, nulls))
		values[RESULT_REPLAYED] = BoolGetDatum(true);
	else
	{
		CheckClientSeed(&spin);
		RunRestartable(DrawOnce, &spin);
		values[RESULT_NONCE] = Int64GetDatum(spin.nonce);
		values[RESULT_TICKET] = Int64GetDatum(spin.ticket);
		values[RESULT_ENTRY_ID] = Int64GetDatum(spin.entry_id);
		nulls[RESULT_ENTRY_ID] = spin.entry_id == 0;
		values[RESULT_COUPON_ID] = Int64GetDatum(spin.coupon_id);
		nulls[RESULT_COUPON_ID] = spin.coupon_id == 0;
		PutText(values, nulls, RESULT_DRAWN, spin.drawn != NULL ? spin.drawn->name : NULL);
		PutText(values, nulls, RESULT_PRIZE, spin.prize != NULL ? spin.prize->name : NULL);
		if (key != NULL)
			KeepSpin(&spin, key, values, nulls);
		values[RESULT_REPLAYED] = BoolGetDatum(false);
	}
	/* texts are in the memory of SPI */
	old = MemoryContextSwitchTo(context);
	row = heap_form_tuple(type, values, nulls);
	MemoryContextSwitchTo(old);
	SPI_finish();
	return HeapTupleGetDatum(row);
}
