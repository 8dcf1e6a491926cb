/*
 * activity_revise.c
 *		Revising activities: corrections, moves and returns.
 *
 * A revision is one row of loyalty.activity_revision, which keeps what the
 * activity was, and one change of its row.  The row is locked after the
 * wallets: so the activity is read first, listeners lock what its change could
 * post to, then its row is locked, and where somebody was faster the call begins
 * anew.
 *
 * An activity that moves to another member stays behind as cancelled, with
 * moved_to, and goes on under the same activity_id with the other.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "activity/activity_happened.h"
#include "activity/activity_record.h"
#include "activity/calendar.h"
#include "core/compat.h"
#include "core/errors.h"
#include "ledger/chain.h"

/* ---------------------------------------------------------------------------
 * Which activity, and was the call made before
 * ---------------------------------------------------------------------------
 */

/*
 * Reads the activity, under whichever number of the member it stands.
 */
static void
FindActivity(Revision *revision)
{
	static KeptPlan plan = {
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID}
	};
	Datum		values[2] = {NumbersOf(revision->member_id, NULL), Int64GetDatum(revision->activity_id)};

	if (plan.query == NULL)
		MakeActivityQuery(&plan, "a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.activity_id OPERATOR(pg_catalog.=) $2 "
						  "ORDER BY a.moved_to IS NOT NULL, a.member_id");
	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ACTIVITY_NOT_FOUND),
				 errmsg("member " INT64_FORMAT " has no activity " INT64_FORMAT, revision->member_id, revision->activity_id),
				 errdetail("No row of loyalty.activity has these numbers."),
				 errhint("See loyalty.activities().")));
	ReadActivityRow(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &revision->before);
	SPI_freetuptable(SPI_tuptable);
}

static struct varlena *
Fingerprint(const Revision *revision)
{
	struct varlena *result = palloc(VARHDRSZ + ACTIVITY_FINGERPRINT_LENGTH);
	uint8		hash[CHAIN_LENGTH];
	Preimage	preimage;

	PreimageInit(&preimage, 1);
	PreimageInt(&preimage, revision->is_return);
	PreimageText(&preimage, revision->has_amount ? MicrosText(revision->amount) : NULL);
	PreimageText(&preimage, JsonText(revision->lines));
	PreimageText(&preimage, JsonText(revision->document));
	PreimageNullableTime(&preimage, revision->has_at ? revision->at : TIMESTAMP_MINUS_INFINITY);
	PreimageText(&preimage, revision->channel);
	PreimageText(&preimage, revision->money);
	PreimageInt(&preimage, revision->has_cancelled ? revision->cancelled : -1);
	PreimageInt(&preimage, revision->has_confirmed ? revision->confirmed : -1);
	PreimageInt(&preimage, revision->to_member_id);
	PreimageText(&preimage, revision->reference);
	PreimageInt(&preimage, revision->codes_given ? revision->ncodes : -1);
	for (int i = 0; i < revision->ncodes; i++)
		PreimageText(&preimage, revision->codes[i]);
	PreimageText(&preimage, revision->basket);
	HashPreimage(&preimage, hash);
	pfree(preimage.data);

	SET_VARSIZE(result, VARHDRSZ + ACTIVITY_FINGERPRINT_LENGTH);
	memcpy(VARDATA(result), hash, ACTIVITY_FINGERPRINT_LENGTH);
	return result;
}

/*
 * Whether the same call was made before: then it is answered as it was then.
 */
static bool
FindReplay(Revision *revision, const struct varlena *fingerprint)
{
	static KeptPlan plan = {
		.query = "SELECT revision, fingerprint, at, to_member_id FROM loyalty.activity_revision "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND activity_id OPERATOR(pg_catalog.=) $2 "
		"AND idempotency_key OPERATOR(pg_catalog.=) $3",
		.nargs = 3,
		.argtypes = {INT8OID, INT8OID, TEXTOID}
	};
	const Activity *activity = &revision->before.activity;
	Datum		values[3];
	struct varlena *earlier;
	int64		moved_to;
	bool		isnull;

	if (revision->idempotency_key == NULL)
		return false;
	values[0] = Int64GetDatum(activity->member_id);
	values[1] = Int64GetDatum(activity->activity_id);
	values[2] = CStringGetTextDatum(revision->idempotency_key);
	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
	{
		if (IsForgotten(activity->member_id))
			ereport(ERROR,
					(errcode(ERRCODE_LY_KEYS_ERASED),
					 errmsg("whether idempotency key \"%s\" was used cannot be told", revision->idempotency_key),
					 errdetail("Member " INT64_FORMAT " was forgotten, and the keys of its activities were erased.", activity->member_id),
					 errhint("If you know that this call was never made, make it without a key.")));
		return false;
	}
	revision->revision = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	earlier = (struct varlena *) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	if (isnull || VARSIZE_ANY_EXHDR(earlier) != ACTIVITY_FINGERPRINT_LENGTH ||
		memcmp(VARDATA_ANY(earlier), VARDATA(fingerprint), ACTIVITY_FINGERPRINT_LENGTH) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_IDEMPOTENCY_MISMATCH),
				 errmsg("idempotency key \"%s\" was used with other arguments", revision->idempotency_key),
				 errdetail("Revision %d of activity " INT64_FORMAT " used it.", revision->revision, activity->activity_id),
				 errhint("Repeat a call with the very same arguments, or use a new key.")));
	revision->change.at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	moved_to = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	if (!isnull)
		revision->now.activity.member_id = moved_to;
	return true;
}

/* ---------------------------------------------------------------------------
 * What it becomes
 * ---------------------------------------------------------------------------
 */

static void
SetAt(ActivityRow *now, TimestampTz at)
{
	Activity   *activity = &now->activity;
	SameWhen	same_when = FindActivityKind(activity->kind);
	char	   *same_key = SameKey(same_when, activity);
	bool		by_kind = same_key != NULL && now->same_key != NULL && strcmp(same_key, now->same_key) == 0;

	CheckActivityAt(at);
	activity->at = at;
	activity->local_day = LocalDay(at, activity->time_zone);
	if (by_kind)
		now->same_key = SameKey(same_when, activity);
}

/*
 * Puts back into lines what coupons took off them.
 */
static Micros
LinesBeforeCoupons(Activity *activity)
{
	Micros		discount = 0;

	for (int i = 0; i < activity->nlines; i++)
	{
		ActivityLine *line = &activity->lines[i];

		if (line->discount == 0)
			continue;
		line->amount += line->discount;
		discount += line->discount;
		line->discount = 0;
		if (line->sold_quantity == line->quantity)
			line->sold_amount = line->amount;
		activity->lines_changed = true;
	}
	return discount;
}

/*
 * What a correction makes of an activity.
 */
static void
Correct(Revision *revision)
{
	const Activity *before = &revision->before.activity;
	Activity   *activity = &revision->now.activity;

	if (revision->has_at)
		SetAt(&revision->now, revision->at);
	if (revision->channel != NULL || revision->of_row)
		activity->channel = revision->channel;
	if (revision->money != NULL || revision->of_row)
		activity->money = revision->money;
	CheckMoney(activity->money);
	if (revision->document != 0 || revision->of_row)
		activity->document = revision->document;
	if (revision->has_amount || revision->lines != 0 || revision->of_row)
	{
		activity->returned = false;
		activity->has_amount = revision->has_amount;
		activity->amount = revision->amount;
		activity->decimals = revision->decimals;
		if (revision->lines != 0 || revision->of_row)
		{
			ReadLines(activity, revision->lines);
			if (revision->has_amount)
				(void) LinesBeforeCoupons(activity);
			else
				activity->amount += LinesBeforeCoupons(activity);
			FillInProducts(activity, before);
		}
	}
	if (revision->has_cancelled)
		activity->cancelled = revision->cancelled;
	if (revision->has_confirmed)
		activity->confirmed = revision->confirmed;
	if (revision->to_member_id != 0)
		activity->member_id = revision->to_member_id;
}

static void
Return(Revision *revision)
{
	Activity   *activity = &revision->now.activity;

	if (revision->has_at)
		revision->change.at = revision->at;
	CheckActivityAt(revision->change.at);
	if (revision->change.at < activity->at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ACTIVITY),
				 errmsg("a return cannot be before its activity"),
				 errdetail("Activity " INT64_FORMAT " was at %s, its return at %s.", activity->activity_id,
						   TimestampText(activity->at), TimestampText(revision->change.at)),
				 errhint("Give the instant of the return, or leave it out for now.")));
	TakeReturn(activity, revision, MoneyDecimals(activity));
}

/*
 * Begins with the activity as it is.
 */
static void
BeginRevision(Revision *revision)
{
	Activity   *activity = &revision->now.activity;

	revision->now = revision->before;
	activity->lines = palloc(Max(activity->nlines, 1) * sizeof(ActivityLine));
	if (activity->nlines > 0)
		memcpy(activity->lines, revision->before.activity.lines, activity->nlines * sizeof(ActivityLine));
	activity->amount += LinesBeforeCoupons(activity);
	activity->revision++;
	activity->revised_at = Max(GetCurrentTimestamp(), activity->revised_at);
	memset(&revision->change, 0, sizeof(ActivityChange));
	revision->change.before = &revision->before.activity;
	revision->change.now = activity;
	revision->change.is_return = revision->is_return;
	revision->change.codes_given = revision->codes_given;
	revision->change.ncodes = revision->ncodes;
	revision->change.codes = revision->codes;
	revision->change.basket = revision->basket;
	revision->change.amount_given = !revision->is_return &&
		(revision->has_amount || revision->lines != 0 || revision->of_row);
	revision->change.at = activity->revised_at;
	revision->revision = activity->revision;
	revision->replayed = false;
	revision->done = true;
}

static bool
SameJson(Datum a, Datum b)
{
	if (a == 0 || b == 0)
		return a == b;
	return compareJsonbContainers(&DatumGetJsonbP(a)->root, &DatumGetJsonbP(b)->root) == 0;
}

/*
 * Whether an activity is what it was.
 */
static bool
IsTheSame(const Revision *revision)
{
	const Activity *before = &revision->before.activity;
	const Activity *now = &revision->now.activity;

	return before->member_id == now->member_id && before->at == now->at && SameString(before->channel, now->channel) &&
		before->has_amount == now->has_amount && before->amount == now->amount && SameString(before->money, now->money) &&
		SameJson(LinesValue(before), LinesValue(now)) && SameJson(before->document, now->document) &&
		before->confirmed == now->confirmed && before->cancelled == now->cancelled && before->returned == now->returned;
}

/* ---------------------------------------------------------------------------
 * Storing
 * ---------------------------------------------------------------------------
 */

/*
 * Locks the row, which must still be as it was read.
 */
static void
LockActivity(const Activity *activity)
{
	static KeptPlan plan = {
		.query = "SELECT revision FROM loyalty.activity WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND activity_id OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
		.nargs = 2,
		.argtypes = {INT8OID, INT8OID}
	};
	Datum		values[2] = {Int64GetDatum(activity->member_id), Int64GetDatum(activity->activity_id)};
	bool		isnull;

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0 ||
		DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) != activity->revision)
		RestartCall("the activity was revised by another session");
}

/*
 * The revision is known from now on, as nobody else changes what it changes: so
 * revisions come in the order in which they were decided.
 */
static void
SetRevisedAt(Revision *revision)
{
	Activity   *activity = &revision->now.activity;
	TimestampTz now = Max(GetCurrentTimestamp(), activity->revised_at);

	if (!revision->is_return || !revision->has_at)
		revision->change.at = now;
	activity->revised_at = now;
}

/*
 * Stores the revision: what was done, and what the activity was.  to_member_id
 * is 0 where it stays.
 */
static void
StoreRevision(const Revision *revision, const struct varlena *fingerprint, int64 to_member_id)
{
#define COLUMN(symbol, name, type) ", was_" #name
#define OF_ACTIVITY(symbol, name, type) ", a." #name
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.activity_revision (member_id, activity_id, revision, is_return, at, reference, to_member_id, "
		"recorded_at, idempotency_key, fingerprint" ACTIVITY_STATE(COLUMN) ") "
		"SELECT a.member_id, a.activity_id, $3, $4, $5, $6, $7, $8, $9, $10" ACTIVITY_STATE(OF_ACTIVITY)
		" FROM loyalty.activity a WHERE a.member_id OPERATOR(pg_catalog.=) $1 AND a.activity_id OPERATOR(pg_catalog.=) $2",
		.nargs = 10,
		.argtypes = {INT8OID, INT8OID, INT4OID, BOOLOID, TIMESTAMPTZOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID, BYTEAOID}
	};
#undef COLUMN
#undef OF_ACTIVITY
	const Activity *before = &revision->before.activity;
	Datum		values[10] = {
		Int64GetDatum(before->member_id), Int64GetDatum(before->activity_id), Int32GetDatum(revision->revision),
		BoolGetDatum(revision->is_return), TimestampTzGetDatum(revision->change.at),
		revision->reference == NULL ? 0 : CStringGetTextDatum(revision->reference), Int64GetDatum(to_member_id),
		TimestampTzGetDatum(revision->now.activity.revised_at),
		revision->idempotency_key == NULL ? 0 : CStringGetTextDatum(revision->idempotency_key),
		PointerGetDatum(fingerprint)
	};
	bool		nulls[10] = {false};
	char		flags[10];

	nulls[5] = revision->reference == NULL;
	nulls[6] = to_member_id == 0;
	nulls[8] = nulls[9] = revision->idempotency_key == NULL;
	RunPlan(&plan, values, NullFlags(nulls, 10, flags), 0);
}

/*
 * Notes with the member to whom an activity moves that it was not there before;
 * the revisions until then go along, so that whoever reads needs no other
 * member.
 */
static void
StoreArrival(const Revision *revision, const struct varlena *fingerprint)
{
#define COLUMN(symbol, name, type) ", was_" #name
	static KeptPlan copy = {
		.query = "INSERT INTO loyalty.activity_revision (member_id, activity_id, revision, is_return, at, reference, from_member_id, "
		"recorded_at, idempotency_key, fingerprint" ACTIVITY_STATE(COLUMN) ") "
		"SELECT $1, activity_id, revision, is_return, at, reference, coalesce(from_member_id, member_id), "
		"recorded_at, idempotency_key, fingerprint" ACTIVITY_STATE(COLUMN)
		" FROM loyalty.activity_revision WHERE member_id OPERATOR(pg_catalog.=) $5 AND activity_id OPERATOR(pg_catalog.=) $2 "
		"AND revision OPERATOR(pg_catalog.<) $3 AND $4 IS NOT NULL ON CONFLICT DO NOTHING",
		.nargs = 5,
		.argtypes = {INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID}
	};
#undef COLUMN
	static KeptPlan arrive = {
		.query = "INSERT INTO loyalty.activity_revision (member_id, activity_id, revision, is_return, at, from_member_id, recorded_at, "
		"idempotency_key, fingerprint) VALUES ($1, $2, $3, false, $4, $5, $4, $6, $7)",
		.nargs = 7,
		.argtypes = {INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, INT8OID, TEXTOID, BYTEAOID}
	};
	const Activity *now = &revision->now.activity;
	bool		has_key = revision->idempotency_key != NULL;
	Datum		values[7] = {
		Int64GetDatum(now->member_id), Int64GetDatum(now->activity_id), Int32GetDatum(revision->revision),
		TimestampTzGetDatum(now->revised_at), Int64GetDatum(revision->before.activity.member_id),
		has_key ? CStringGetTextDatum(revision->idempotency_key) : 0, PointerGetDatum(fingerprint)
	};

	RunPlan(&copy, values, NULL, 0);
	RunPlan(&arrive, values, has_key ? NULL : "     nn", 0);
}

/*
 * Puts an activity into its row, or into one that it left behind when it moved
 * away before.
 */
static void
StoreRow(const ActivityRow *row)
{
	static KeptPlan plan = {.nargs = 0};
	Datum		values[ACTIVITY_NCOLUMNS];
	bool		nulls[ACTIVITY_NCOLUMNS];
	char		flags[ACTIVITY_NCOLUMNS];

	if (plan.query == NULL)
		MakeActivityInsert(&plan, "ON CONFLICT (member_id, activity_id) DO UPDATE SET "
#define COLUMN(symbol, name, type) #name " = excluded." #name ", "
						   ACTIVITY_STATE(COLUMN)
#undef COLUMN
						   "revision = excluded.revision, same_key = excluded.same_key, moved_to = excluded.moved_to");
	ActivityRowValues(row, values, nulls);
	RunPlan(&plan, values, NullFlags(nulls, ACTIVITY_NCOLUMNS, flags), 0);
}

/*
 * Raises LY506 where the member to whom an activity moves, or who is to have it
 * under another key, has the same already, under whichever number.  Nobody
 * records one until the transaction ends.  Comes before all other locks of
 * members.
 */
static void
RefuseSame(const Revision *revision)
{
	static KeptPlan plan = {
		.query = "SELECT activity_id FROM loyalty.activity WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND kind OPERATOR(pg_catalog.=) $2 AND same_key OPERATOR(pg_catalog.=) $3 AND activity_id OPERATOR(pg_catalog.<>) $4",
		.nargs = 4,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID, INT8OID}
	};
	const ActivityRow *now = &revision->now;
	const Activity *activity = &now->activity;
	int64		canonical;
	Datum		values[4];

	if (now->same_key == NULL ||
		(revision->before.activity.member_id == activity->member_id && SameString(revision->before.same_key, now->same_key)))
		return;
	values[0] = NumbersOf(activity->member_id, &canonical);
	LockActivityKey(canonical, activity->kind);
	values[1] = CStringGetTextDatum(activity->kind);
	values[2] = CStringGetTextDatum(now->same_key);
	values[3] = Int64GetDatum(activity->activity_id);
	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_EXTERNAL_ID_TAKEN),
				 errmsg("member " INT64_FORMAT " has %s \"%s\" already", activity->member_id, activity->kind,
						activity->external_id != NULL ? activity->external_id : now->same_key),
				 errdetail("It is activity %s.", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Cancel one of the two.")));
}

static void
StoreChange(Revision *revision, const struct varlena *fingerprint)
{
	const Activity *before = &revision->before.activity;
	ActivityRow left_behind = revision->before;

	if (before->member_id == revision->now.activity.member_id)
	{
		StoreRevision(revision, fingerprint, 0);
		StoreRow(&revision->now);
		return;
	}
	StoreRevision(revision, fingerprint, revision->now.activity.member_id);
	left_behind.activity.revision = revision->revision;
	left_behind.activity.revised_at = revision->now.activity.revised_at;
	left_behind.activity.cancelled = true;
	left_behind.same_key = NULL;
	left_behind.moved_to = revision->now.activity.member_id;
	StoreRow(&left_behind);
	StoreArrival(revision, fingerprint);
	/* the key of the call that recorded it is that of the other member */
	revision->now.idempotency_key = NULL;
	revision->now.fingerprint = NULL;
	StoreRow(&revision->now);
}

/*
 * Revises; run by RunRestartable().
 */
static void
Revise(void *call)
{
	Revision   *revision = call;
	const struct varlena *fingerprint = revision->idempotency_key != NULL ? Fingerprint(revision) : NULL;
	bool		wanted;

	FindActivity(revision);
	BeginRevision(revision);
	wanted = AnyoneWantsActivity(revision->now.activity.kind);
	if (FindReplay(revision, fingerprint))
	{
		revision->replayed = true;
		revision->now.activity.revision = revision->revision;
		if (wanted)
			TellAgainOfChange(&revision->change);
		return;
	}
	if (revision->before.moved_to != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ACTIVITY_NOT_FOUND),
				 errmsg("activity " INT64_FORMAT " is no longer that of member " INT64_FORMAT,
						revision->activity_id, revision->member_id),
				 errdetail("It was moved to member " INT64_FORMAT ".", revision->before.moved_to),
				 errhint("Name that member.")));
	if (revision->to_member_id != 0)
		RequireKnownMember(revision->to_member_id);
	if (revision->is_return)
		Return(revision);
	else
		Correct(revision);
	if (revision->of_row && IsTheSame(revision))
	{
		revision->done = false;
		return;
	}
	RefuseSame(revision);
	if (wanted)
		LockForChange(&revision->change);
	LockActivity(&revision->before.activity);
	SetRevisedAt(revision);
	if (wanted)
		PriceChange(&revision->change);
	StoreChange(revision, fingerprint);
	CommandCounterIncrement();
	if (wanted)
		TellOfChange(&revision->change);
	ActivityHappened(revision->is_return ? "activity_returned" : "activity_revised", &revision->change);
}

/*
 * Revises an activity.  Needs an SPI connection.
 */
void
ReviseActivity(Revision *revision)
{
	CheckActivityText("idempotency_key", revision->idempotency_key);
	KeepDefinitions();
	RunRestartable(Revise, revision);
}
