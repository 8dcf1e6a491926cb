/*
 * coupon_row.c
 *		Coupons and their acts as rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity_record.h"
#include "benefit/coupon_row.h"
#include "core/compat.h"
#include "core/errors.h"
#include "core/happened.h"

#define COLUMN(symbol, name, type) {#name, type},
static const PlainColumn coupon_columns[] = {COUPON_COLUMNS(COLUMN)};
static const PlainColumn act_columns[] = {COUPON_ACT_COLUMNS(COLUMN)};
#undef COLUMN

static const char *const own_triggers[] = {"append_only", NULL};

static const PlainTable coupon_table = {
	.name = "coupon",
	.ncolumns = COUPON_NCOLUMNS,
	.columns = coupon_columns,
	.nkeys = 1,
	.keys = {{2, {COUPON_MEMBER_ID, COUPON_COUPON_ID}}},
	.own_triggers = own_triggers
};

static const PlainTable act_table = {
	.name = "coupon_act",
	.ncolumns = ACT_NCOLUMNS,
	.columns = act_columns,
	.nkeys = 1,
	.keys = {{3, {ACT_MEMBER_ID, ACT_COUPON_ID, ACT_ACT}}},
	.own_triggers = own_triggers
};

/* What acts change. */
#define CHANGED_COLUMNS		7

static const int changed_columns[CHANGED_COLUMNS] = {
	COUPON_VALID_UNTIL, COUPON_ACTS, COUPON_USES, COUPON_BASKET, COUPON_RESERVED_UNTIL, COUPON_ENDED, COUPON_GIVEN_BACK
};

static const char *const end_names[] = {NULL, "revoked", "transferred"};

static Datum
OptionalInstant(TimestampTz t, bool *isnull)
{
	*isnull = TIMESTAMP_NOT_FINITE(t);
	return TimestampTzGetDatum(t);
}

static const char *const happenings[] = {
	"coupon_issued", "coupon_reserved", "coupon_redeemed", "coupon_released", "coupon_restored", "coupon_revoked",
	"coupon_transferred", NULL
};

/* What is said of each act; NULL: nothing. */
static const char *const happening_of[COUPON_ACT_KINDS] = {
	[COUPON_ISSUED] = "coupon_issued",
	[COUPON_RESERVED] = "coupon_reserved",
	[COUPON_REDEEMED] = "coupon_redeemed",
	[COUPON_RELEASED] = "coupon_released",
	[COUPON_RESTORED] = "coupon_restored",
	[COUPON_REDEEMED_AGAIN] = "coupon_redeemed",
	[COUPON_WITHDRAWN] = "coupon_restored",
	[COUPON_REVOKED] = "coupon_revoked",
	[COUPON_TRANSFERRED] = "coupon_transferred"
};

/*
 * Part of BenefitInit().
 */
void
CouponHappeningsInit(void)
{
	DeclareHappenings(happenings);
}

/*
 * Says that an act was done, to whoever hears.
 */
static void
SayCouponAct(const Coupon *coupon, const CouponAct *act, const ActNote *note)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('version', 1, 'coupon_id', $1, 'benefit', $2, "
		"'valid_until', $3, 'reserved_until', $4, 'activity_id', $5, 'discount', $6, 'other_member_id', $7, 'other_coupon_id', $8))",
		.nargs = 8,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, NUMERICOID, INT8OID, INT8OID}
	};
	const char *kind = happening_of[act->kind];
	Datum		values[8];
	bool		isnull[8] = {false};
	char		nulls[8];

	if (kind == NULL || !IsHeard(kind))
		return;
	values[0] = Int64GetDatum(coupon->coupon_id);
	values[1] = CStringGetTextDatum(coupon->benefit->name);
	values[2] = OptionalInstant(coupon->state.valid_until, &isnull[2]);
	values[3] = TimestampTzGetDatum(coupon->state.reserved_until);
	isnull[3] = coupon->state.basket == NULL;
	values[4] = Int64GetDatum(note->activity_id);
	isnull[4] = note->activity_id == 0;
	values[5] = MicrosToNumeric(note->discount, 0);
	isnull[5] = note->spread == 0;
	values[6] = Int64GetDatum(note->other_member_id);
	values[7] = Int64GetDatum(note->other_coupon_id);
	isnull[6] = isnull[7] = note->other_coupon_id == 0;
	RunPlan(&plan, values, NullFlags(isnull, 8, nulls), 1);
	Happen(&(Happening) {
		.kind = kind,
		.member_id = coupon->member_id,
		.at = act->at,
		.payload = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull[0])
	});
}

static char *
TextOf(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

static TimestampTz
InstantOf(const Datum *values, const bool *nulls, int column, TimestampTz otherwise)
{
	return nulls[column] ? otherwise : DatumGetTimestampTz(values[column]);
}

static void
ReadCoupon(const Datum *values, const bool *nulls, Coupon *coupon)
{
	CouponState *state = &coupon->state;
	char	   *ended = TextOf(values, nulls, COUPON_ENDED);

	memset(coupon, 0, sizeof(Coupon));
	coupon->member_id = DatumGetInt64(values[COUPON_MEMBER_ID]);
	coupon->coupon_id = DatumGetInt64(values[COUPON_COUPON_ID]);
	coupon->code = TextOf(values, nulls, COUPON_CODE);
	coupon->on_the_spot = DatumGetBool(values[COUPON_ON_THE_SPOT]);
	coupon->transferred = !nulls[COUPON_FROM_COUPON_ID];
	coupon->terms.valid_from = DatumGetTimestampTz(values[COUPON_VALID_FROM]);
	coupon->nacts = DatumGetInt32(values[COUPON_ACTS]);
	state->uses = DatumGetInt32(values[COUPON_USES]);
	state->basket = TextOf(values, nulls, COUPON_BASKET);
	state->reserved_until = InstantOf(values, nulls, COUPON_RESERVED_UNTIL, 0);
	state->valid_until = InstantOf(values, nulls, COUPON_VALID_UNTIL, TIMESTAMP_INFINITY);
	state->end = ended == NULL ? COUPON_LIVES :
		strcmp(ended, end_names[COUPON_WAS_REVOKED]) == 0 ? COUPON_WAS_REVOKED : COUPON_WAS_TRANSFERRED;
	state->given_back = DatumGetBool(values[COUPON_GIVEN_BACK]);
	coupon->benefit = BenefitVersion(TextOf(values, nulls, COUPON_BENEFIT), DatumGetInt32(values[COUPON_VERSION]));
	coupon->terms.times = coupon->benefit->times;
}

/*
 * The row of a coupon in a plain table, as this transaction sees it now; NULL
 * where there is none.  Waits for whoever is changing it.
 */
static HeapTuple
FetchCoupon(const PlainAccess *access, int64 member_id, int64 coupon_id)
{
	Datum		key[2] = {Int64GetDatum(member_id), Int64GetDatum(coupon_id)};
	HeapTuple	row;
	bool		again;

	do
	{
		CHECK_FOR_INTERRUPTS();
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		row = FetchPlainRow(access, 0, key, GetActiveSnapshot());
		again = row != NULL && WaitForPlainRow(access, row);
		PopActiveSnapshot();
	} while (again);
	return row;
}

static bool
LockByStatement(int64 member_id, int64 coupon_id, Datum *values, bool *nulls)
{
#define COLUMN(symbol, name, type) ", c." #name
	static KeptPlan plan = {
		.query = "SELECT NULL" COUPON_COLUMNS(COLUMN) " FROM loyalty.coupon c "
		"WHERE c.member_id OPERATOR(pg_catalog.=) $1 AND c.coupon_id OPERATOR(pg_catalog.=) $2 FOR UPDATE",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
#undef COLUMN
	Datum		key[2] = {Int64GetDatum(member_id), Int64GetDatum(coupon_id)};

	RunPlan(&plan, key, NULL, 1);
	if (SPI_processed == 0)
		return false;
	for (int i = 0; i < COUPON_NCOLUMNS; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 2, &nulls[i]);
	return true;
}

/*
 * Locks a coupon and reads it as it is then; false where there is none.
 */
bool
LockCoupon(int64 member_id, int64 coupon_id, Coupon *coupon)
{
	Datum		values[COUPON_NCOLUMNS];
	bool		nulls[COUPON_NCOLUMNS];
	PlainAccess access;
	bool		found;

	if (OpenPlain(&access, &coupon_table, member_id, PLAIN_WRITE))
	{
		HeapTuple	row = FetchCoupon(&access, member_id, coupon_id);

		found = row != NULL;
		if (found)
			PlainValues(&access, row, values, nulls);
		ClosePlain(&access);
	}
	else
		found = LockByStatement(member_id, coupon_id, values, nulls);
	if (found)
		ReadCoupon(values, nulls, coupon);
	return found;
}

/*
 * Reads a coupon of a member, under whichever number it stands, and locks
 * nothing; false where there is none.
 */
bool
LookAtCoupon(int64 member_id, int64 coupon_id, Coupon *coupon)
{
#define COLUMN(symbol, name, type) ", c." #name
	static KeptPlan plan = {
		.query = "SELECT NULL" COUPON_COLUMNS(COLUMN) " FROM loyalty.coupon c "
		"WHERE c.member_id OPERATOR(pg_catalog.=) ANY ($1) AND c.coupon_id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
#undef COLUMN
	Datum		key[2] = {NumbersOf(member_id, NULL), Int64GetDatum(coupon_id)};
	Datum		values[COUPON_NCOLUMNS];
	bool		nulls[COUPON_NCOLUMNS];

	RunPlan(&plan, key, NULL, 1);
	if (SPI_processed == 0)
		return false;
	for (int i = 0; i < COUPON_NCOLUMNS; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 2, &nulls[i]);
	ReadCoupon(values, nulls, coupon);
	return true;
}

/*
 * Locks a coupon of a member, under whichever number it stands.
 */
bool
LockCouponOf(int64 member_id, int64 coupon_id, Coupon *coupon)
{
	return LookAtCoupon(member_id, coupon_id, coupon) && LockCoupon(coupon->member_id, coupon_id, coupon);
}

/* The columns that an act changes. */
static void
ChangedValues(const Coupon *coupon, Datum values[CHANGED_COLUMNS], bool nulls[CHANGED_COLUMNS])
{
	const CouponState *state = &coupon->state;

	memset(nulls, false, CHANGED_COLUMNS * sizeof(bool));
	values[0] = OptionalInstant(state->valid_until, &nulls[0]);
	values[1] = Int32GetDatum(coupon->nacts);
	values[2] = Int32GetDatum(state->uses);
	PutText(values, nulls, 3, state->basket);
	values[4] = TimestampTzGetDatum(state->reserved_until);
	nulls[4] = state->basket == NULL;
	PutText(values, nulls, 5, end_names[state->end]);
	values[6] = BoolGetDatum(state->given_back);
}

static void
ActValues(const Coupon *coupon, const CouponAct *act, const ActNote *note, Datum values[ACT_NCOLUMNS], bool nulls[ACT_NCOLUMNS])
{
	memset(nulls, false, ACT_NCOLUMNS * sizeof(bool));
	values[ACT_MEMBER_ID] = Int64GetDatum(coupon->member_id);
	values[ACT_COUPON_ID] = Int64GetDatum(coupon->coupon_id);
	values[ACT_ACT] = Int32GetDatum(coupon->nacts);
	values[ACT_KIND] = CStringGetTextDatum(coupon_act_names[act->kind]);
	values[ACT_AT] = TimestampTzGetDatum(act->at);
	values[ACT_RECORDED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	PutText(values, nulls, ACT_BASKET, act->basket);
	values[ACT_RESERVED_UNTIL] = TimestampTzGetDatum(act->reserved_until);
	nulls[ACT_RESERVED_UNTIL] = act->kind != COUPON_RESERVED;
	values[ACT_VALID_UNTIL] = OptionalInstant(act->valid_until, &nulls[ACT_VALID_UNTIL]);
	nulls[ACT_VALID_UNTIL] |= act->kind != COUPON_ISSUED && act->kind != COUPON_RESTORED && act->kind != COUPON_WITHDRAWN;
	values[ACT_ACTIVITY_ID] = Int64GetDatum(note->activity_id);
	values[ACT_REVISION] = Int32GetDatum(note->revision);
	nulls[ACT_ACTIVITY_ID] = nulls[ACT_REVISION] = note->activity_id == 0;
	values[ACT_DISCOUNT] = MicrosToNumeric(note->discount, 0);
	values[ACT_SPREAD] = note->spread;
	nulls[ACT_DISCOUNT] = nulls[ACT_SPREAD] = note->spread == 0;
	PutText(values, nulls, ACT_REFERENCE, note->reference);
	values[ACT_OTHER_MEMBER_ID] = Int64GetDatum(note->other_member_id);
	values[ACT_OTHER_COUPON_ID] = Int64GetDatum(note->other_coupon_id);
	nulls[ACT_OTHER_MEMBER_ID] = nulls[ACT_OTHER_COUPON_ID] = note->other_coupon_id == 0;
}

/*
 * Inserts the row of a coupon and its first act; gives it its number.
 */
static void
InsertByStatement(Coupon *coupon, TimestampTz at, const ActNote *note)
{
	static KeptPlan plan = {
		.query = "WITH coupon AS (INSERT INTO loyalty.coupon AS c (member_id, benefit, version, code, on_the_spot, valid_from, valid_until, "
		"from_member_id, from_coupon_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $10, $11) RETURNING c.coupon_id) "
		"INSERT INTO loyalty.coupon_act AS a (member_id, coupon_id, act, kind, at, valid_until, reference, other_member_id, other_coupon_id) "
		"SELECT $1, coupon.coupon_id, 1, 'issued', $8, $7, $9, $10, $11 FROM coupon RETURNING a.coupon_id",
		.nargs = 11,
		.argtypes = {INT8OID, TEXTOID, INT4OID, TEXTOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID}
	};
	Datum		values[11];
	bool		isnull[11] = {false};
	char		nulls[11];

	values[0] = Int64GetDatum(coupon->member_id);
	values[1] = CStringGetTextDatum(coupon->benefit->name);
	values[2] = Int32GetDatum(coupon->benefit->version);
	PutText(values, isnull, 3, coupon->code);
	values[4] = BoolGetDatum(coupon->on_the_spot);
	values[5] = TimestampTzGetDatum(coupon->terms.valid_from);
	values[6] = OptionalInstant(coupon->state.valid_until, &isnull[6]);
	values[7] = TimestampTzGetDatum(at);
	PutText(values, isnull, 8, note->reference);
	values[9] = Int64GetDatum(note->other_member_id);
	values[10] = Int64GetDatum(note->other_coupon_id);
	isnull[9] = isnull[10] = note->other_coupon_id == 0;
	RunPlan(&plan, values, NullFlags(isnull, 11, nulls), 1);
	coupon->coupon_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull[0]));
	SPI_freetuptable(SPI_tuptable);
}

static void
InsertRow(const PlainAccess *access, const Datum *values, const bool *nulls)
{
	HeapTuple	row = FormPlainRow(access, values, nulls);
	int			at;

	InsertPlainRows(access, 1, &row, &at);
}

/*
 * The same into plain tables; false, and nothing is done, where they are not.
 */
static bool
InsertPlainly(Coupon *coupon, const CouponAct *issued, const ActNote *note)
{
	PlainAccess coupons;
	PlainAccess acts;
	Datum		changed[CHANGED_COLUMNS];
	bool		changed_nulls[CHANGED_COLUMNS];
	Datum		row[COUPON_NCOLUMNS];
	bool		row_nulls[COUPON_NCOLUMNS] = {false};
	Datum		act[ACT_NCOLUMNS];
	bool		act_nulls[ACT_NCOLUMNS];

	if (!OpenPlain(&coupons, &coupon_table, coupon->member_id, PLAIN_WRITE))
		return false;
	if (!OpenPlain(&acts, &act_table, coupon->member_id, PLAIN_WRITE))
	{
		ClosePlain(&coupons);
		return false;
	}
	coupon->coupon_id = nextval_internal(LoyaltyTable("coupon_coupon_id_seq"), true);
	row[COUPON_MEMBER_ID] = Int64GetDatum(coupon->member_id);
	row[COUPON_COUPON_ID] = Int64GetDatum(coupon->coupon_id);
	row[COUPON_BENEFIT] = CStringGetTextDatum(coupon->benefit->name);
	row[COUPON_VERSION] = Int32GetDatum(coupon->benefit->version);
	PutText(row, row_nulls, COUPON_CODE, coupon->code);
	row[COUPON_ON_THE_SPOT] = BoolGetDatum(coupon->on_the_spot);
	row[COUPON_FROM_MEMBER_ID] = Int64GetDatum(note->other_member_id);
	row[COUPON_FROM_COUPON_ID] = Int64GetDatum(note->other_coupon_id);
	row_nulls[COUPON_FROM_MEMBER_ID] = row_nulls[COUPON_FROM_COUPON_ID] = note->other_coupon_id == 0;
	row[COUPON_VALID_FROM] = TimestampTzGetDatum(coupon->terms.valid_from);
	ChangedValues(coupon, changed, changed_nulls);
	for (int i = 0; i < CHANGED_COLUMNS; i++)
	{
		row[changed_columns[i]] = changed[i];
		row_nulls[changed_columns[i]] = changed_nulls[i];
	}
	ActValues(coupon, issued, note, act, act_nulls);
	InsertRow(&coupons, row, row_nulls);
	InsertRow(&acts, act, act_nulls);
	ClosePlain(&acts);
	ClosePlain(&coupons);
	CommandCounterIncrement();
	return true;
}

/*
 * Makes the row of a coupon that is issued, and its first act; member, benefit,
 * code, on_the_spot, valid_from and valid_until are given.
 */
void
InsertCoupon(Coupon *coupon, TimestampTz at, const ActNote *note)
{
	CouponAct	issued = {.kind = COUPON_ISSUED, .at = at, .valid_until = coupon->state.valid_until};

	ApplyCouponAct(&coupon->state, &issued);
	coupon->terms.times = coupon->benefit->times;
	coupon->nacts = 1;
	if (!InsertPlainly(coupon, &issued, note))
		InsertByStatement(coupon, at, note);
	SayCouponAct(coupon, &issued, note);
}

/*
 * Keeps an act in plain tables; false, and nothing is done, where they are not.
 * *kept: the coupon had the acts that were read.
 */
static bool
KeepPlainly(const Coupon *coupon, const Datum *changed, const bool *changed_nulls, const Datum *values, const bool *nulls, bool *kept)
{
	PlainAccess coupons;
	PlainAccess acts;
	HeapTuple	row;
	bool		isnull;

	if (!OpenPlain(&coupons, &coupon_table, coupon->member_id, PLAIN_WRITE))
		return false;
	if (!OpenPlain(&acts, &act_table, coupon->member_id, PLAIN_WRITE))
	{
		ClosePlain(&coupons);
		return false;
	}
	row = FetchCoupon(&coupons, coupon->member_id, coupon->coupon_id);
	PushActiveSnapshot(GetTransactionSnapshot());
	*kept = row != NULL && DatumGetInt32(PlainValue(&coupons, row, COUPON_ACTS, &isnull)) == coupon->nacts - 1 &&
		UpdatePlainRow(&coupons, row, CHANGED_COLUMNS, changed_columns, changed, changed_nulls);
	if (*kept)
		InsertRow(&acts, values, nulls);
	PopActiveSnapshot();
	ClosePlain(&acts);
	ClosePlain(&coupons);
	CommandCounterIncrement();
	return true;
}

/*
 * The same by a statement, of $1 to $7, what is changed, and the columns of the
 * act behind them.  Returns whether the coupon had the acts that were read.
 */
static bool
KeepByStatement(const Datum *changed, const bool *changed_nulls, const Datum *values, const bool *nulls)
{
	static KeptPlan plan = {
		.query = "WITH coupon AS (UPDATE loyalty.coupon SET valid_until = $1, acts = $2, uses = $3, basket = $4, reserved_until = $5, "
		"ended = $6, given_back = $7 WHERE member_id OPERATOR(pg_catalog.=) $8 AND coupon_id OPERATOR(pg_catalog.=) $9 "
		"AND acts OPERATOR(pg_catalog.=) ($2 OPERATOR(pg_catalog.-) 1) RETURNING 1) "
		"INSERT INTO loyalty.coupon_act (member_id, coupon_id, act, kind, at, recorded_at, basket, reserved_until, valid_until, "
		"activity_id, revision, discount, spread, reference, other_member_id, other_coupon_id) "
		"SELECT $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23 FROM coupon",
		.nargs = CHANGED_COLUMNS + ACT_NCOLUMNS,
#define COLUMN(symbol, name, type) type,
		.argtypes = {
			TIMESTAMPTZOID, INT4OID, INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, BOOLOID, COUPON_ACT_COLUMNS(COLUMN)
		}
#undef COLUMN
	};
	Datum		all[CHANGED_COLUMNS + ACT_NCOLUMNS];
	bool		all_nulls[CHANGED_COLUMNS + ACT_NCOLUMNS];
	char		flags[CHANGED_COLUMNS + ACT_NCOLUMNS];

	memcpy(all, changed, CHANGED_COLUMNS * sizeof(Datum));
	memcpy(all + CHANGED_COLUMNS, values, ACT_NCOLUMNS * sizeof(Datum));
	memcpy(all_nulls, changed_nulls, CHANGED_COLUMNS * sizeof(bool));
	memcpy(all_nulls + CHANGED_COLUMNS, nulls, ACT_NCOLUMNS * sizeof(bool));
	RunPlan(&plan, all, NullFlags(all_nulls, CHANGED_COLUMNS + ACT_NCOLUMNS, flags), 0);
	return SPI_processed > 0;
}

/*
 * Applies an act to a coupon as it was read, and keeps both; the call begins
 * anew where another session was faster.
 */
void
KeepCouponAct(Coupon *coupon, const CouponAct *act, const ActNote *note)
{
	Datum		changed[CHANGED_COLUMNS];
	bool		changed_nulls[CHANGED_COLUMNS];
	Datum		values[ACT_NCOLUMNS];
	bool		nulls[ACT_NCOLUMNS];
	bool		kept;

	ApplyCouponAct(&coupon->state, act);
	coupon->nacts++;
	ChangedValues(coupon, changed, changed_nulls);
	ActValues(coupon, act, note, values, nulls);
	if (!KeepPlainly(coupon, changed, changed_nulls, values, nulls, &kept))
		kept = KeepByStatement(changed, changed_nulls, values, nulls);
	if (!kept)
		RestartCall("another session has changed the coupon");
	SayCouponAct(coupon, act, note);
}

/*
 * Refuses what a coupon does not allow at an instant.
 */
void
RefuseCoupon(CouponAnswer answer, const Coupon *coupon, TimestampTz at)
{
	char	   *name = coupon->code != NULL ? psprintf("coupon \"%s\"", coupon->code) : psprintf("coupon " INT64_FORMAT, coupon->coupon_id);

	switch (answer)
	{
		case COUPON_GOOD:
			break;
		case COUPON_GONE:
			ereport(ERROR,
					(errcode(ERRCODE_LY_COUPON_REVOKED),
					 errmsg("%s was %s", name, end_names[coupon->state.end]),
					 errdetail("It is coupon " INT64_FORMAT " of member " INT64_FORMAT ".", coupon->coupon_id, coupon->member_id),
					 errhint("See the table loyalty.coupon_act.")));
		case COUPON_USED:
			ereport(ERROR,
					(errcode(ERRCODE_LY_COUPON_USED),
					 errmsg("%s is used", name),
					 errdetail("It was redeemed %d of %d times.", coupon->state.uses, coupon->terms.times),
					 errhint("It can be used again when an order that used it is cancelled.")));
		case COUPON_IS_RESERVED:
			ereport(ERROR,
					(errcode(ERRCODE_LY_COUPON_RESERVED),
					 errmsg("%s is reserved by another basket", name),
					 errdetail("It is so until %s.", TimestampText(coupon->state.reserved_until)),
					 errhint("Wait, or release it with loyalty.release_coupons().")));
		case COUPON_NOT_YET:
			ereport(ERROR,
					(errcode(ERRCODE_LY_COUPON_NOT_VALID_YET),
					 errmsg("%s is not valid yet", name),
					 errdetail("It is valid from %s on, and was to be used at %s.", TimestampText(coupon->terms.valid_from), TimestampText(at)),
					 errhint("Use it then.")));
		case COUPON_EXPIRED:
			ereport(ERROR,
					(errcode(ERRCODE_LY_COUPON_EXPIRED),
					 errmsg("%s has expired", name),
					 errdetail("It was valid until %s, and was to be used at %s.", TimestampText(coupon->state.valid_until), TimestampText(at)),
					 errhint("Issue another one with loyalty.issue_coupon().")));
	}
	elog(ERROR, "%s was refused for no reason", name);
}
