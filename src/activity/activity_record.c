/*
 * activity_record.c
 *		Recording activities.
 *
 * Where no room wants the kind, a recording is one INSERT and nothing else.
 * Otherwise it runs in a subtransaction, which begins anew where a listener
 * says so: listeners lock, and price it, then it is stored, and they post.
 *
 * What may be there only once, an idempotency key and what makes two activities
 * of a kind the same, has unique indexes.  Most are new, so the row is stored;
 * where an index has it already, that one is looked up: also one that another
 * session has stored and not committed yet, whose end is waited for.
 *
 * That does not do where listeners take coupons, which they would have done before
 * the row is found, and where the members are merged, whose activities stand under several
 * numbers.  There it is looked up first, and two sessions that record for one
 * member and kind take turns, by a lock that is held until it is stored; or
 * until the transaction ends, where the look-up does not see what is not
 * committed: by statements, and under other numbers.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "activity/activity_happened.h"
#include "activity/activity_record.h"
#include "activity/calendar.h"
#include "core/compat.h"
#include "core/errors.h"
#include "ledger/chain.h"

/* ---------------------------------------------------------------------------
 * Preparing
 * ---------------------------------------------------------------------------
 */

/*
 * jsonb as it is stored, which is the same for the same value.
 */
static void
PreimageJsonb(Preimage *preimage, Datum jsonb)
{
	if (jsonb == 0)
		PreimageText(preimage, NULL);
	else
		PreimageBytes(preimage, VARDATA_ANY(DatumGetPointer(jsonb)), VARSIZE_ANY_EXHDR(DatumGetPointer(jsonb)));
}

/*
 * Fingerprint of all arguments.  "Now" counts as an argument of its own, so
 * that a call may be repeated later.
 */
static struct varlena *
Fingerprint(const Recording *recording)
{
	const Activity *activity = &recording->row.activity;
	struct varlena *result = palloc(VARHDRSZ + ACTIVITY_FINGERPRINT_LENGTH);
	uint8		hash[CHAIN_LENGTH];
	Preimage	preimage;

	PreimageInit(&preimage, 1);
	PreimageNullableTime(&preimage, recording->at_given ? activity->at : TIMESTAMP_MINUS_INFINITY);
	PreimageText(&preimage, activity->has_amount ? MicrosText(activity->amount) : NULL);
	PreimageJsonb(&preimage, activity->lines_value);
	PreimageText(&preimage, activity->channel);
	PreimageJsonb(&preimage, activity->document);
	PreimageText(&preimage, activity->external_id);
	PreimageText(&preimage, activity->money);
	PreimageText(&preimage, activity->time_zone);
	PreimageInt(&preimage, recording->ncodes);
	for (int i = 0; i < recording->ncodes; i++)
		PreimageText(&preimage, recording->codes[i]);
	PreimageText(&preimage, recording->basket);
	PreimageInt(&preimage, activity->confirmed);
	HashPreimage(&preimage, hash);
	pfree(preimage.data);

	SET_VARSIZE(result, VARHDRSZ + ACTIVITY_FINGERPRINT_LENGTH);
	memcpy(VARDATA(result), hash, ACTIVITY_FINGERPRINT_LENGTH);
	return result;
}

/*
 * Checks what is asked for, and completes it by what does not depend on other
 * activities.  Needs an SPI connection.
 */
void
PrepareRecording(Recording *recording)
{
	ActivityRow *row = &recording->row;
	Activity   *activity = &row->activity;
	SameWhen	same_when = FindActivityKind(activity->kind);

	CheckActivityText("external_id", activity->external_id);
	CheckActivityText("idempotency_key", row->idempotency_key);
	CheckMoney(activity->money);
	if (!recording->at_given)
		activity->at = GetCurrentTimestamp();
	if (!recording->previewed || TIMESTAMP_NOT_FINITE(activity->at))
		CheckActivityAt(activity->at);
	if (!recording->previewed || activity->member_id != NOBODY)
		RequireKnownMember(activity->member_id);
	if (row->idempotency_key != NULL)
		row->fingerprint = Fingerprint(recording);
	ReadLines(activity, activity->lines_value);
	FillInProducts(activity, NULL);
	activity->time_zone = FindTimeZone(activity->time_zone);
	activity->local_day = LocalDay(activity->at, activity->time_zone);
	if (!recording->of_row)
		row->same_key = SameKey(same_when, activity);
}

/*
 * What makes an activity the same as another of its kind; NULL: nothing.
 */
char *
SameKey(SameWhen same_when, const Activity *activity)
{
	if (same_when == SAME_NEVER || activity->external_id == NULL)
		return NULL;
	if (same_when == SAME_EXTERNAL_ID)
		return pstrdup(activity->external_id);
	return psprintf("%s %s", DatumGetCString(DirectFunctionCall1(date_out, DateADTGetDatum(activity->local_day))),
					activity->external_id);
}

/* ---------------------------------------------------------------------------
 * What is there already
 * ---------------------------------------------------------------------------
 */

/*
 * An activity with the key, under the member's own number, or whoever stores
 * one: then that was waited for, and it is to be looked up again.  *again says
 * that.
 */
static bool
FindInPlainTable(Recording *recording, const PlainAccess *access, int key, const char *text, bool *again)
{
	const Activity *activity = &recording->row.activity;
	Datum		values[3] = {Int64GetDatum(activity->member_id), CStringGetTextDatum(activity->kind), 0};
	SnapshotData dirty;
	HeapTuple	tuple;

	*again = false;
	if (text == NULL)
		return false;
	values[2] = CStringGetTextDatum(text);
	InitDirtySnapshot(dirty);
	tuple = FetchPlainRow(access, key, values, &dirty);
	if (tuple == NULL)
		return false;
	if (TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax))
	{
		if (recording->locked)
			UnlockActivityKey(recording->canonical, activity->kind);
		WaitForDirtyRow(access, tuple, &dirty);
		if (recording->locked)
			LockActivityKey(recording->canonical, activity->kind);
		*again = true;
		return false;
	}
	if (IsolationUsesXactSnapshot() && FetchPlainRow(access, key, values, GetTransactionSnapshot()) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	ReadPlainActivity(access, tuple, &recording->stored);
	return true;
}

/*
 * The same by a statement, under all numbers of the member.
 */
static bool
FindByStatement(Recording *recording, int key, const char *text)
{
	static KeptPlan by_same_key = {
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	static KeptPlan by_idempotency_key = {
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	KeptPlan   *plan = key == ACTIVITY_BY_SAME_KEY ? &by_same_key : &by_idempotency_key;
	const Activity *activity = &recording->row.activity;
	Datum		self = Int64GetDatum(activity->member_id);
	Datum		values[3];

	if (text == NULL)
		return false;
	if (plan->query == NULL)
		MakeActivityQuery(plan, key == ACTIVITY_BY_SAME_KEY ?
						  "a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.kind OPERATOR(pg_catalog.=) $2 "
						  "AND a.same_key OPERATOR(pg_catalog.=) $3 ORDER BY a.activity_id" :
						  "a.member_id OPERATOR(pg_catalog.=) ANY ($1) AND a.kind OPERATOR(pg_catalog.=) $2 "
						  "AND a.idempotency_key OPERATOR(pg_catalog.=) $3 ORDER BY a.activity_id");
	values[0] = recording->numbers != 0 ? recording->numbers :
		PointerGetDatum(construct_array(&self, 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[1] = CStringGetTextDatum(activity->kind);
	values[2] = CStringGetTextDatum(text);
	RunPlan(plan, values, NULL, 1);
	if (SPI_processed == 0)
		return false;
	ReadActivityRow(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &recording->stored);
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/*
 * An activity with a key of this one; access is NULL where the table is not
 * plain.
 */
static bool
FindByKey(Recording *recording, const PlainAccess *access, int key, const char *text, bool *again)
{
	*again = false;
	if (access != NULL && FindInPlainTable(recording, access, key, text, again))
		return true;
	if (*again || (access != NULL && recording->numbers == 0))
		return false;
	return FindByStatement(recording, key, text);
}

/*
 * A call with the key of an earlier one: its answer, or LY004.
 */
static void
Replay(Recording *recording)
{
	const struct varlena *earlier = recording->stored.fingerprint;
	const struct varlena *asked = recording->row.fingerprint;

	if (earlier == NULL || VARSIZE_ANY_EXHDR(earlier) != ACTIVITY_FINGERPRINT_LENGTH ||
		memcmp(VARDATA_ANY(earlier), VARDATA_ANY(asked), ACTIVITY_FINGERPRINT_LENGTH) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_IDEMPOTENCY_MISMATCH),
				 errmsg("idempotency key \"%s\" was used with other arguments", recording->row.idempotency_key),
				 errdetail("Member " INT64_FORMAT " used it for activity " INT64_FORMAT ", of kind %s.",
						   recording->stored.activity.member_id, recording->stored.activity.activity_id,
						   recording->stored.activity.kind),
				 errhint("Repeat a call with the very same arguments, or use a new key.")));
	recording->outcome = RECORD_REPLAYED;
}

static void
RefuseTwice(const Recording *recording)
{
	const Activity *earlier = &recording->stored.activity;

	ereport(ERROR,
			(errcode(ERRCODE_LY_EXTERNAL_ID_TAKEN),
			 errmsg("%s \"%s\" of member " INT64_FORMAT " was recorded before", earlier->kind,
					recording->row.activity.external_id, earlier->member_id),
			 errdetail("It is activity " INT64_FORMAT ", of %s.", earlier->activity_id, TimestampText(earlier->at)),
			 errhint("What has become of it, loyalty.revise_activity() or record_return() say; a repeated call has its idempotency_key.")));
}

static bool
HasKey(const Recording *recording)
{
	return recording->row.idempotency_key != NULL || recording->row.same_key != NULL;
}

static void
LockKey(Recording *recording)
{
	if (!recording->locked)
		LockActivityKey(recording->canonical, recording->row.activity.kind);
	recording->locked = true;
}

/*
 * Looks whether the activity is there already, by its keys.  True, and the
 * outcome is known, when it is.
 */
static bool
FindEarlier(Recording *recording, const PlainAccess *access)
{
	const ActivityRow *row = &recording->row;
	bool		again;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (FindByKey(recording, access, ACTIVITY_BY_IDEMPOTENCY_KEY, row->idempotency_key, &again))
		{
			Replay(recording);
			return true;
		}
		if (!again && FindByKey(recording, access, ACTIVITY_BY_SAME_KEY, row->same_key, &again))
		{
			if (!recording->may_be_there)
				RefuseTwice(recording);
			recording->outcome = RECORD_THERE;
			return true;
		}
	} while (again);
	return false;
}

/*
 * Keys of a forgotten member were erased, so that nobody can tell whether the
 * activity is there.
 */
static void
RefuseForgotten(Recording *recording)
{
	const ActivityRow *row = &recording->row;
	bool		has_key = row->idempotency_key != NULL;

	if (!recording->may_be_there)
		ereport(ERROR,
				(errcode(ERRCODE_LY_KEYS_ERASED),
				 errmsg("whether %s \"%s\" was used cannot be told", has_key ? "idempotency key" : "external id",
						has_key ? row->idempotency_key : row->activity.external_id),
				 errdetail("Member " INT64_FORMAT " was forgotten, and the keys of its activities were erased.",
						   row->activity.member_id),
				 errhint("If you know that this activity was never recorded, record it without a key and external_id.")));
	recording->outcome = RECORD_FORGOTTEN;
}

/*
 * Lets others record who wait for the key: what is stored, they find in a plain
 * table, where it stands under the member's own number.
 */
static void
UnlockKey(Recording *recording, const PlainAccess *access)
{
	if (recording->locked && access != NULL && recording->numbers == 0)
		UnlockActivityKey(recording->canonical, recording->row.activity.kind);
	recording->locked = false;
}

/* ---------------------------------------------------------------------------
 * Storing
 * ---------------------------------------------------------------------------
 */

/*
 * Stores the activity.  False when one with its keys is there, or is being
 * stored.
 */
static bool
Store(Recording *recording, const PlainAccess *access)
{
	static KeptPlan insert = {.nargs = 0};
	ActivityRow *stored = &recording->stored;
	Activity   *activity = &stored->activity;
	Datum		values[ACTIVITY_NCOLUMNS];
	bool		nulls[ACTIVITY_NCOLUMNS];
	char		flags[ACTIVITY_NCOLUMNS];

	activity->activity_id = nextval_internal(LoyaltyTable("activity_activity_id_seq"), true);
	activity->recorded_at = activity->revised_at = GetCurrentTimestamp();
	ActivityRowValues(stored, values, nulls);
	if (access != NULL)
		return InsertNewPlainRow(access, FormPlainRow(access, values, nulls));
	if (insert.query == NULL)
		MakeActivityInsert(&insert, "ON CONFLICT DO NOTHING");
	RunPlan(&insert, values, NullFlags(nulls, ACTIVITY_NCOLUMNS, flags), 0);
	return SPI_processed > 0;
}

/*
 * Begins with what was asked for, of which pricing may change the lines.
 */
static void
BeginStored(Recording *recording)
{
	Activity   *activity = &recording->stored.activity;

	recording->outcome = RECORD_OPEN;
	recording->stored = recording->row;
	activity->lines = palloc(Max(activity->nlines, 1) * sizeof(ActivityLine));
	if (activity->nlines > 0)
		memcpy(activity->lines, recording->row.activity.lines, activity->nlines * sizeof(ActivityLine));
	memset(&recording->change, 0, sizeof(ActivityChange));
	recording->change.now = activity;
	recording->change.at = activity->at;
	recording->change.codes_given = recording->ncodes > 0;
	recording->change.ncodes = recording->ncodes;
	recording->change.codes = recording->codes;
	recording->change.basket = recording->basket;
	recording->change.amount_given = true;
}

/*
 * Whether listeners change something before it is stored.
 */
static bool
TakesCoupons(const Recording *recording)
{
	return recording->wanted && (recording->ncodes > 0 || recording->basket != NULL);
}

/*
 * Whether it takes turns with others of its member and kind.
 */
static bool
NeedsTurn(Recording *recording)
{
	return HasKey(recording) &&
		(FindNumbers(recording->row.activity.member_id, &recording->canonical, &recording->numbers) || TakesCoupons(recording));
}

/*
 * The first half: is it there already, as far as it has to be known before it
 * is stored?
 */
static void
LookUpRecording(Recording *recording, const PlainAccess *access)
{
	BeginStored(recording);
	if (NeedsTurn(recording))
	{
		LockKey(recording);
		if (FindEarlier(recording, access))
		{
			UnlockKey(recording, access);
			return;
		}
	}
	if (HasKey(recording) && IsForgotten(recording->row.activity.member_id) && !FindEarlier(recording, access))
		RefuseForgotten(recording);
}

/*
 * The second half: it is stored, unless somebody else was faster.
 */
static void
StoreRecording(Recording *recording, const PlainAccess *access)
{
	while (recording->outcome == RECORD_OPEN)
	{
		CHECK_FOR_INTERRUPTS();
		if (Store(recording, access))
		{
			recording->outcome = RECORD_STORED;
			CommandCounterIncrement();
		}
		else if (FindEarlier(recording, access))
		{
			if (TakesCoupons(recording))
				RestartCall("the activity was recorded by another session");
		}
		else if (access == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					 errmsg("the activity was not stored"),
					 errdetail("A trigger or a rule of loyalty.activity has left its row out."),
					 errhint("Let it keep the row, or refuse it by an error.")));
	}
	UnlockKey(recording, access);
}

/*
 * Runs something on the table: access is NULL where it is not plain.
 */
static void
OnTable(Recording *recording, void (*run) (Recording *, const PlainAccess *))
{
	PlainAccess access;

	if (OpenPlain(&access, &activity_table, recording->row.activity.member_id, PLAIN_WRITE))
	{
		run(recording, &access);
		ClosePlain(&access);
	}
	else
		run(recording, NULL);
}

static void
LookUpAndStore(Recording *recording, const PlainAccess *access)
{
	LookUpRecording(recording, access);
	StoreRecording(recording, access);
}

/*
 * Says of a recording what is to be said, once it is stored.
 */
static void
TellOfRecording(Recording *recording)
{
	if (recording->outcome == RECORD_STORED)
	{
		if (recording->wanted)
			TellOfChange(&recording->change);
		if (!recording->silent)
			ActivityHappened("activity_recorded", &recording->change);
	}
	else if (recording->outcome == RECORD_REPLAYED)
	{
		recording->stored.activity.revision = 0;
		if (recording->wanted)
			TellAgainOfChange(&recording->change);
	}
}

/* Recordings that are stored together */
typedef struct Together
{
	Recording **by_member;		/* in the order in which members are locked */
	int			n;
} Together;

static int
CompareByMember(const void *a, const void *b)
{
	const Recording *x = *(Recording *const *) a;
	const Recording *y = *(Recording *const *) b;

	if (x->canonical != y->canonical)
		return x->canonical < y->canonical ? -1 : 1;
	return x < y ? -1 : x > y;
}

static int
CompareByKind(const void *a, const void *b)
{
	const Recording *x = *(Recording *const *) a;
	const Recording *y = *(Recording *const *) b;

	if (x->canonical != y->canonical)
		return x->canonical < y->canonical ? -1 : 1;
	return strcmp(x->row.activity.kind, y->row.activity.kind);
}

/*
 * Puts recordings into the order in which members are locked: of those who stand
 * for them; and locks the keys of those that take turns, where it are several.
 */
static void
BeginTogether(Together *together)
{
	Recording **by_kind;

	if (together->n == 1)
	{
		together->by_member[0]->locked = false;
		return;
	}
	by_kind = palloc(together->n * sizeof(Recording *));
	for (int i = 0; i < together->n; i++)
	{
		Recording  *recording = together->by_member[i];

		recording->locked = false;
		(void) FindNumbers(recording->row.activity.member_id, &recording->canonical, &recording->numbers);
	}
	qsort(together->by_member, together->n, sizeof(Recording *), CompareByMember);
	memcpy(by_kind, together->by_member, together->n * sizeof(Recording *));
	qsort(by_kind, together->n, sizeof(Recording *), CompareByKind);
	for (int i = 0; i < together->n; i++)
	{
		if (NeedsTurn(by_kind[i]))
			LockKey(by_kind[i]);
	}
	pfree(by_kind);
}

/*
 * Records activities that are wanted; run by RunRestartable().
 */
static void
RecordWanted(void *call)
{
	Together   *together = call;

	BeginTogether(together);
	for (int i = 0; i < together->n; i++)
		OnTable(together->by_member[i], LookUpRecording);
	for (int i = 0; i < together->n; i++)
	{
		if (together->by_member[i]->outcome == RECORD_OPEN && together->by_member[i]->wanted)
			LockForChange(&together->by_member[i]->change);
	}
	for (int i = 0; i < together->n; i++)
	{
		Recording  *recording = together->by_member[i];

		CHECK_FOR_INTERRUPTS();
		/* one before it may have been the same */
		if (i > 0 && recording->outcome == RECORD_OPEN)
			OnTable(recording, LookUpRecording);
		if (recording->wanted && recording->outcome == RECORD_OPEN)
			PriceChange(&recording->change);
		OnTable(recording, StoreRecording);
		TellOfRecording(recording);
	}
}

/*
 * Records activities that were prepared, all or none; those of a member in the
 * order given.  Needs an SPI connection.
 */
void
RecordActivities(Recording *recordings, int n)
{
	Together	together = {.n = n};
	bool		wanted = false;

	KeepDefinitions();
	together.by_member = palloc(n * sizeof(Recording *));
	for (int i = 0; i < n; i++)
	{
		together.by_member[i] = &recordings[i];
		recordings[i].wanted = !recordings[i].silent && AnyoneWantsActivity(recordings[i].row.activity.kind);
		wanted = wanted || recordings[i].wanted;
	}
	if (wanted)
	{
		RunRestartable(RecordWanted, &together);
		return;
	}
	BeginTogether(&together);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		OnTable(together.by_member[i], LookUpAndStore);
		TellOfRecording(together.by_member[i]);
	}
}

void
RecordActivity(Recording *recording)
{
	RecordActivities(recording, 1);
}
