/*
 * post.c
 *		Posting an entry: what is computed, and by which statements it is stored.
 *
 * A posting is, from above: PostEntry() in ledger_parts.c, to one wallet or to
 * several; PostToWallet() in post_wallet.c, which finds the wallet; then this,
 * or for plain tables post_plain.c, which writes them by table access.
 *
 * UpdateWallet() is one UPDATE of the wallet, in which wallet_apply() computes
 * the new balance from the one under the row's lock, and InsertEntry() one
 * INSERT into the ledger.  If another session changed the wallet meanwhile, the executor
 * evaluates wallet_apply() anew on the newer row; whatever it has to look up
 * (how much of an entry is reversed) it looks up with a fresh snapshot each
 * time, so the last evaluation, the one that counts, has seen every entry of
 * this wallet that comes before.
 *
 * An idempotency key is not looked up beforehand: most are new.  If the INSERT
 * finds that it was used, or the posting is refused, the entry that used it is
 * looked up and the wallet put back as it was.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/post.h"
#include "ledger/replay.h"
#include "ledger/wallet.h"

/*
 * A posting of a kind, with nothing optional in it.
 */
void
InitPosting(Posting *posting, EntryKind kind, int64 member_id)
{
	memset(posting, 0, sizeof(Posting));
	posting->member_id = member_id;
	posting->asked_id = member_id;
	InitEntry(&posting->entry, kind, 0);
	posting->effective_now = true;
	posting->context = CurrentMemoryContext;
}

/* ---------------------------------------------------------------------------
 * Look-ups
 * ---------------------------------------------------------------------------
 */

/*
 * Whether what an entry undoes may be an activity, or make one count again, or
 * have taken points out of lots that activities extend.
 */
bool
ConcernsActivity(const Posting *posting)
{
	EntryKind	kind = posting->entry.kind;

	return (kind == ENTRY_REVERSE || kind == ENTRY_RELEASE) &&
		(posting->target_is_activity || posting->entry.target_kind == ENTRY_REVERSE || posting->currency.fold.slides);
}

/*
 * The activities of a wallet, as its ledger has them.
 */
void
LoadActivities(const Posting *posting, ActivityLog *log)
{
	static KeptPlan plan = {
		.query = "SELECT entry_id, kind, requested, effective_at, extends_to, target_entry_id, "
		"points, expires_at, CASE WHEN kind OPERATOR(pg_catalog.=) 'transfer_in' "
		"OR points OPERATOR(pg_catalog.>) 0 AND expires_at IS NOT NULL THEN lots END FROM loyalty.all_entries() "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2 "
		"AND (extends_to IS NOT NULL OR kind OPERATOR(pg_catalog.=) 'reverse' "
		"OR kind OPERATOR(pg_catalog.=) 'release' OR kind OPERATOR(pg_catalog.=) 'transfer_in') ORDER BY entry_id",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(posting->member_id), CStringGetTextDatum(posting->currency.code)};

	RunPlan(&plan, values, NULL, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		char	   *kind = SPI_getvalue(row, tupdesc, 2);
		Entry		entry;
		Datum		value;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		value = SPI_getbinval(row, tupdesc, 4, &isnull);
		InitEntry(&entry, EntryKindFromName(kind, strlen(kind)), DatumGetTimestampTz(value));
		entry.entry_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 1, &isnull));
		entry.requested = DatumGetInt64(SPI_getbinval(row, tupdesc, 3, &isnull));
		value = SPI_getbinval(row, tupdesc, 5, &isnull);
		if (!isnull)
			entry.extends_to = DatumGetTimestampTz(value);
		value = SPI_getbinval(row, tupdesc, 6, &isnull);
		if (!isnull)
			entry.target = DatumGetInt64(value);
		entry.posted = DatumGetInt64(SPI_getbinval(row, tupdesc, 7, &isnull));
		value = SPI_getbinval(row, tupdesc, 8, &isnull);
		if (!isnull)
			entry.expires_at = DatumGetTimestampTz(value);
		value = SPI_getbinval(row, tupdesc, 9, &isnull);
		if (!isnull)
			UnpackLotsDatum(value, &entry.touched);
		NoteActivity(log, &entry);
	}
}

/*
 * Fingerprint of all arguments of a call, told by the row that it makes but for
 * the instants that were given: -infinity is none.  "Now" counts as an argument
 * of its own, so that a call may be repeated later.
 */
static void
FingerprintOf(const LedgerRow *row, TimestampTz effective_at, TimestampTz available_at, char fingerprint[FINGERPRINT_LENGTH])
{
	uint8		hash[CHAIN_LENGTH];
	Preimage	preimage;

	PreimageInit(&preimage, 1);
	PreimageInt(&preimage, row->kind);
	PreimageText(&preimage, row->currency);
	PreimageInt(&preimage, row->requested);
	PreimageNullableTime(&preimage, effective_at);
	PreimageNullableTime(&preimage, available_at);
	PreimageNullableTime(&preimage, row->expires_by);
	PreimageNullableTime(&preimage, row->hold_until);
	PreimageInt(&preimage, row->target_entry_id);
	PreimageInt(&preimage, row->counterparty_id);
	PreimageText(&preimage, row->reference);
	PreimageText(&preimage, row->reason);
	PreimageText(&preimage, row->details);
	HashPreimage(&preimage, hash);
	pfree(preimage.data);
	memcpy(fingerprint, hash, FINGERPRINT_LENGTH);
}

static void
ComputeFingerprint(Posting *posting)
{
	const Entry *entry = &posting->entry;
	LedgerRow	asked = {
		.kind = entry->kind,
		.currency = posting->currency.code,
		.requested = posting->asked_points,
		.expires_by = posting->expires_given ? entry->expires_by : TIMESTAMP_MINUS_INFINITY,
		.hold_until = entry->hold_until,
		.target_entry_id = entry->target,
		.counterparty_id = posting->counterparty_id,
		.reference = posting->reference,
		.reason = posting->reason,
		.details = posting->row.details
	};

	SET_VARSIZE(posting->fingerprint, sizeof(posting->fingerprint));
	FingerprintOf(&asked, posting->effective_now ? TIMESTAMP_MINUS_INFINITY : entry->effective_at,
				  posting->available_given ? entry->available_at : TIMESTAMP_MINUS_INFINITY,
				  VARDATA(posting->fingerprint));
}

/*
 * Whether the row of a posting tells all that was asked for, so that no
 * fingerprint needs to be stored: it does not tell which instants were given,
 * nor, of what refers to another entry, whether "all there is" was asked for.
 */
static bool
RowTellsAll(const Posting *posting)
{
	EntryKind	kind = posting->entry.kind;

	return posting->effective_now && !posting->available_given &&
		(kind == ENTRY_EARN || kind == ENTRY_REDEEM || kind == ENTRY_HOLD || kind == ENTRY_ADJUST);
}

/*
 * Whether an entry was asked for with the arguments of a posting.
 */
static bool
WasAskedAlike(const LedgerRow *row, const Posting *posting)
{
	char		fingerprint[FINGERPRINT_LENGTH];

	if (row->fingerprint == NULL)
		FingerprintOf(row, TIMESTAMP_MINUS_INFINITY, TIMESTAMP_MINUS_INFINITY, fingerprint);
	else if (VARSIZE_ANY_EXHDR(row->fingerprint) == FINGERPRINT_LENGTH)
		memcpy(fingerprint, VARDATA_ANY(row->fingerprint), FINGERPRINT_LENGTH);
	else
		return false;
	return memcmp(fingerprint, VARDATA(posting->fingerprint), FINGERPRINT_LENGTH) == 0;
}

/*
 * Looks for an entry that was posted with the same key.  If it was asked for
 * with the same arguments, its result is this posting's, and the answer true;
 * otherwise LY004.
 */
bool
FindReplay(Posting *posting)
{
#define WITH_KEY \
	"AND currency OPERATOR(pg_catalog.=) $2 " \
	"AND idempotency_key OPERATOR(pg_catalog.=) $3"
	static KeptPlan plan = {
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TEXTOID}
	};
	static KeptPlan kin_plan = {
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {Int64GetDatum(posting->member_id), CStringGetTextDatum(posting->currency.code),
	CStringGetTextDatum(posting->idempotency_key)};
	SPITupleTable *found;
	uint64		nfound;
	bool		is_used = false;
	LedgerRow	other = {0};
	int64		others_id = posting->member_id;

	if (plan.query == NULL)
	{
		const char *select = psprintf("SELECT %s FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=)",
									  LedgerColumnList());

		kin_plan.query = MemoryContextStrdup(TopMemoryContext,
											 psprintf("%s ANY ($1) " WITH_KEY " ORDER BY entry_id DESC", select));
		plan.query = MemoryContextStrdup(TopMemoryContext, psprintf("%s $1 " WITH_KEY, select));
	}
	if (posting->row.fingerprint == NULL)
		ComputeFingerprint(posting);
	if (posting->has_kin)
	{
		values[0] = KinOfMember(posting->asked_id);
		RunPlan(&kin_plan, values, NULL, 0);
	}
	else
		RunPlan(&plan, values, NULL, 1);
	found = SPI_tuptable;
	nfound = SPI_processed;

	for (uint64 i = 0; i < nfound; i++)
	{
		StoredEntry stored;
		const LedgerRow *row = &stored.row;
		int64		home_id;
		bool		same;
		bool		is_others;

		ReadStoredEntry(found->vals[i], found->tupdesc, true, &stored);
		home_id = row->home_id != 0 ? row->home_id : row->member_id;
		same = WasAskedAlike(row, posting);

		/* of somebody who was merged once, and is another member again; who refers to one entry twice repeats himself */
		if (row->member_id != posting->member_id && CanonicalMember(home_id) != posting->member_id &&
			!(same && posting->entry.target != 0))
			continue;
		if (posting->of_row)
		{
			posting->result.outcome = POSTING_REPLAYED;
			return true;
		}
		/* it stands in this wallet, since its member stood for another then, who is another again */
		is_others = row->member_id == posting->member_id && home_id != row->member_id && posting->entry.target == 0 &&
			CanonicalMember(home_id) != posting->member_id;
		if (same && !is_others)
		{
			posting->result.outcome = POSTING_REPLAYED;
			posting->result.entry_id = row->entry_id;
			posting->result.available = row->available;
			return true;
		}
		if (home_id == posting->asked_id || row->member_id == posting->member_id)
		{
			is_used = true;
			other = *row;
			others_id = is_others ? home_id : posting->member_id;
		}
	}
	if (is_used && others_id != posting->member_id)
		ereport(ERROR,
				(errcode(ERRCODE_LY_IDEMPOTENCY_MISMATCH),
				 errmsg("idempotency key \"%s\" was used for member " INT64_FORMAT, posting->idempotency_key, others_id),
				 errdetail("Member " INT64_FORMAT " stood for it when entry " INT64_FORMAT ", of kind %s, was posted, and does not any more.",
						   posting->member_id, other.entry_id, EntryKindName(other.kind)),
				 errhint("Use a new key.")));
	if (is_used)
		ereport(ERROR,
				(errcode(ERRCODE_LY_IDEMPOTENCY_MISMATCH),
				 errmsg("idempotency key \"%s\" was used with other arguments", posting->idempotency_key),
				 errdetail("Member " INT64_FORMAT " used it for entry " INT64_FORMAT ", of kind %s.",
						   posting->member_id, other.entry_id, EntryKindName(other.kind)),
				 errhint("Repeat a call with the very same arguments, or use a new key.")));
	return false;
}

/*
 * Whether keys of a wallet were erased, with all texts of a forgotten member.
 */
bool
KeysAreErased(int64 member_id, const char *code)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 AND erased",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(code)};

	RunPlan(&plan, values, NULL, 1);
	return SPI_processed > 0;
}

/*
 * A key that is not there, in a wallet whose keys were erased: it may have been
 * used, and nobody can tell.
 */
void
RefuseErasedKeys(const Posting *posting)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_KEYS_ERASED),
			 errmsg("whether idempotency key \"%s\" was used cannot be told", posting->idempotency_key),
			 errdetail("Member " INT64_FORMAT " was forgotten, and the keys of its entries in currency \"%s\" were erased.",
					   posting->member_id, posting->currency.code),
			 errhint("If you know that this call was never made, make it without a key.")));
}

/*
 * Whether the key of a posting settles what becomes of it, as its outcome says:
 * it was used; or, where keys were erased, nobody can tell, and a call is
 * refused, a row left alone.
 */
bool
SettledByKey(Posting *posting, bool keys_erased)
{
	if (FindReplay(posting))
		return true;
	if (!keys_erased)
		return false;
	if (!posting->of_row)
		RefuseErasedKeys(posting);
	posting->result.outcome = POSTING_NOTHING;
	return true;
}

/*
 * From when on the points of a lot are available: an instant, whenever they
 * are activated, or (neither given) at once.
 */
void
SetAvailability(Posting *posting, const Datum *available_at, bool pending)
{
	Entry	   *entry = &posting->entry;

	posting->available_given = available_at != NULL || pending;
	if (pending && !EntryOpensLot(entry->kind, entry->requested))
		RefuseArgument(entry, "pending", "true");
	if (pending)
		entry->available_at = TIMESTAMP_INFINITY;
	if (available_at == NULL)
		return;
	if (pending)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("pending points have no available_at"),
				 errdetail("It is %s.", TimestampText(DatumGetTimestampTz(*available_at))),
				 errhint("Give available_at, or pending for points that wait for activate().")));
	entry->available_at = DatumGetTimestampTz(*available_at);
	if (entry->available_at == TIMESTAMP_INFINITY)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("available_at of %s must be a finite instant", EntryKindName(entry->kind)),
				 errdetail("It is infinity."),
				 errhint("For points that wait for activate(), give pending => true.")));
}

/*
 * Checks what is asked for beside the entry itself, which CheckEntry() does.
 */
void
CheckPosting(const Posting *posting)
{
	const char *key = posting->idempotency_key;
	const Entry *entry = &posting->entry;

	if (key != NULL && key[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("idempotency_key must not be empty"),
				 errdetail("An empty key would make different calls the same."),
				 errhint("Give a key of the caller's own choice, such as the order number, or leave it out.")));
	if (key != NULL && strlen(key) > MAX_KEY_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("idempotency_key is longer than %d bytes", MAX_KEY_LENGTH),
				 errdetail("It has %zu bytes and begins with \"%.*s\".", strlen(key),
						   pg_mbcliplen(key, strlen(key), 40), key),
				 errhint("Give a shorter one, such as a hash of it.")));
	if (entry->kind == ENTRY_ADJUST && (posting->reason == NULL || posting->reason[0] == '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("reason of adjust must not be %s", posting->reason == NULL ? "NULL" : "empty"),
				 errdetail("An adjust is an operator's act, and the ledger keeps why."),
				 errhint("Say why the balance is corrected.")));
	/* of a reversal, the entry's own expires_at is the grace that is granted */
	if (entry->kind == ENTRY_REVERSE && posting->expires_given)
		RefuseArgument(entry, "expires_at", TimestampText(entry->expires_at));
}

/*
 * Random bytes for a salt.  They are drawn for many at once, since to ask for
 * some costs more than to hash the texts; what is drawn is forgotten here.
 */
static void
DrawSalt(uint8 salt[SALT_LENGTH])
{
	static uint8 drawn[64][SALT_LENGTH];
	static int	left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(drawn, sizeof(drawn)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random bytes")));
		left = lengthof(drawn);
	}
	left--;
	memcpy(salt, drawn[left], SALT_LENGTH);
	memset(drawn[left], 0, SALT_LENGTH);
}

/*
 * Puts the texts into the row that is to be stored, with a salt and their
 * hash: when they are erased one day, the hash stays.
 */
void
SealTexts(Posting *posting)
{
	LedgerRow  *row = &posting->row;

	row->reference = posting->reference;
	row->reason = posting->reason;
	row->idempotency_key = posting->idempotency_key;
	row->salt = NULL;
	row->has_texts = row->reference != NULL || row->reason != NULL || row->details != NULL ||
		row->idempotency_key != NULL;
	if (!row->has_texts)
		return;
	SET_VARSIZE(posting->salt, sizeof(posting->salt));
	DrawSalt((uint8 *) VARDATA(posting->salt));
	row->salt = (struct varlena *) posting->salt;
	HashTexts(row);
}

/*
 * Checks and prepares what does not depend on the wallet: the text of details,
 * the fingerprint of a call with a key where its row does not tell its
 * arguments, and the hash of all texts.
 */
void
PreparePosting(Posting *posting)
{
	CheckPosting(posting);
	if (posting->expires_given)
		posting->entry.expires_by = posting->entry.expires_at;
	posting->asked_points = posting->entry.requested;
	if (posting->details != 0)
		posting->row.details = JsonbToCString(NULL, &DatumGetJsonbP(posting->details)->root, 0);
	if (posting->idempotency_key != NULL && !RowTellsAll(posting))
	{
		ComputeFingerprint(posting);
		posting->row.fingerprint = (struct varlena *) posting->fingerprint;
	}
	SealTexts(posting);
}

/* ---------------------------------------------------------------------------
 * The entry itself
 * ---------------------------------------------------------------------------
 */

/*
 * When the points that an activate makes available expire: their life begins
 * now, unless an end was given to them.
 */
static TimestampTz
ExpiryOfActivated(const Posting *posting)
{
	const Currency *currency = &posting->currency;
	TimestampTz until = CurrencyExpiry(currency, posting->entry.effective_at);

	if (until == TIMESTAMP_INFINITY ||
		(posting->target_expiry_given && currency->expiry != EXPIRY_SLIDING))
		return ExpiryUnsaid(ENTRY_ACTIVATE);
	return until;
}

/*
 * Raises LY003 where an entry is effective later than a caller's clock may run
 * ahead of the server's.
 */
void
RefuseFuture(const Entry *entry, TimestampTz now)
{
	if (!TIMESTAMP_NOT_FINITE(entry->effective_at) && entry->effective_at > now + CLOCK_SKEW_ALLOWED)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("effective_at of %s lies in the future", EntryKindName(entry->kind)),
				 errdetail("effective_at is %s, the server's clock says %s.",
						   TimestampText(entry->effective_at), TimestampText(now)),
				 errhint("For points that become available later, give available_at.")));
}

/*
 * Settles what the caller left open: when it is effective, when its lot opens
 * and expires, by the currency's policies.
 */
static void
CompleteEntry(Posting *posting, const Balance *balance, TimestampTz recorded_at)
{
	const Currency *currency = &posting->currency;
	Entry	   *entry = &posting->entry;

	if (posting->effective_now)
		entry->effective_at = Max(recorded_at, balance->last_effective_at);
	else
		RefuseFuture(entry, recorded_at);
	if (!posting->available_given)
		entry->available_at = entry->effective_at;

	if (EntryOpensLot(entry->kind, entry->requested))
	{
		TimestampTz until = CurrencyExpiry(currency, currency->life_from_earned ?
										   entry->effective_at : entry->available_at);

		if (!posting->expires_given)
			entry->expires_at = until;
		else if (currency->expiry == EXPIRY_SLIDING && entry->expires_by != TIMESTAMP_INFINITY)
			entry->expires_at = Min(entry->expires_by, until);
	}
	else if (entry->kind == ENTRY_REVERSE)
		entry->expires_at = entry->target_kind == ENTRY_REVERSE ? TIMESTAMP_MINUS_INFINITY :
			CurrencyGrace(currency, entry->effective_at);
	else if (entry->kind == ENTRY_ACTIVATE && !currency->life_from_earned)
		entry->expires_at = ExpiryOfActivated(posting);

	entry->extends_to = TIMESTAMP_MINUS_INFINITY;
	if (currency->expiry == EXPIRY_SLIDING && !posting->is_move && (currency->qualifying & (1U << entry->kind)) &&
		!TIMESTAMP_NOT_FINITE(entry->effective_at))
		entry->extends_to = CurrencyExpiry(currency, entry->effective_at);
}

/*
 * The lots that are stored with an entry: those it touched.  An earn stores
 * its own lot only where debt has taken from it; otherwise it is all of it.
 */
static PackedValue *
StoredLots(const Posting *posting, const Balance *balance)
{
	const Entry *entry = &posting->entry;

	if (EntryTakesLots(entry->kind) && !(entry->kind == ENTRY_ADJUST && entry->posted > 0))
		return PackLotsValue(&entry->touched);
	if (entry->posted > 0 && posting->before.total[TOTAL_DEBT] > balance->total[TOTAL_DEBT])
		return PackLotsValue(&entry->touched);
	return NULL;
}

/*
 * Applies a posting's entry to a balance, draws its id, and fills in the row
 * that is to be stored, its hash included.  Says whether it is posted or
 * refused; then the balance is to be thrown away.
 */
PostingOutcome
RecordEntry(Posting *posting, Balance *balance, TimestampTz now)
{
	Entry	   *entry = &posting->entry;
	LedgerRow  *row = &posting->row;
	TimestampTz recorded_at = Max(now, balance->last_recorded_at);
	BalanceAsOf sums;
	bool		opens_lot;

	CompleteEntry(posting, balance, recorded_at);
	CheckEntry(entry, true);
	AdvanceBalance(balance, entry->effective_at);
	entry->entry_id = DrawEntryId(balance->last_entry_id);
	memset(&entry->touched, 0, sizeof(LotList));
	entry->posted = 0;

	posting->before = *balance;
	if (posting->log != NULL)
		SetActivities(posting->log, entry);
	posting->result.refusal = ApplyEntry(balance, &posting->currency.fold, entry);
	if (posting->result.refusal != FOLD_OK)
		return POSTING_REFUSED;
	if (posting->log != NULL)
		NoteActivity(posting->log, entry);

	balance->last_recorded_at = recorded_at;
	BalanceAt(balance, Max(recorded_at, balance->last_effective_at), &sums);
	posting->result.entry_id = entry->entry_id;
	posting->result.available = sums.available;

	opens_lot = EntryOpensLot(entry->kind, entry->requested);
	row->member_id = posting->member_id;
	row->entry_id = entry->entry_id;
	row->currency = posting->currency.code;
	row->kind = entry->kind;
	row->points = entry->posted;
	row->requested = entry->requested;
	row->available = sums.available;
	row->effective_at = entry->effective_at;
	row->recorded_at = recorded_at;
	row->available_at = TIMESTAMP_MINUS_INFINITY;
	if (opens_lot && entry->available_at != TIMESTAMP_INFINITY)
		row->available_at = entry->available_at;
	row->expires_at = TIMESTAMP_MINUS_INFINITY;
	if ((opens_lot || entry->kind == ENTRY_REVERSE || entry->kind == ENTRY_ACTIVATE) &&
		!TIMESTAMP_NOT_FINITE(entry->expires_at))
		row->expires_at = entry->expires_at;
	row->expires_by = posting->expires_given ? entry->expires_by : TIMESTAMP_MINUS_INFINITY;
	row->hold_until = entry->hold_until;
	row->extends_to = entry->extends_to;
	row->target_entry_id = entry->target;
	row->counterparty_id = posting->counterparty_id;
	row->home_id = entry->home_id;
	row->lots = StoredLots(posting, balance);

	ChainHash(row, balance->chain, balance->chain);
	balance->chained = true;
	SET_VARSIZE(posting->hash, sizeof(posting->hash));
	memcpy(VARDATA(posting->hash), balance->chain, CHAIN_LENGTH);
	return POSTING_POSTED;
}

/*
 * Raises the error that belongs to a posting that is refused.
 */
void
RaisePostingRefusal(const Posting *posting)
{
	Refused		refused = {
		.refusal = posting->result.refusal,.entry = &posting->entry,.balance = &posting->before,
		.member_id = posting->member_id,.currency = posting->currency.code
	};

	RaiseRefusal(&refused);
}

/*
 * What a posting does to the balance that its wallet has under the lock; it may
 * run again on a newer one.  *balance is the result of one that is posted.
 */
PostingOutcome
SettleUnderLock(Posting *posting, bool has_kin, bool keys_erased, Balance *balance)
{
	Entry	   *entry = &posting->entry;
	bool		look_for_key;	/* the index sees neither those of merged members nor those erased */

	/* "all there is" may be another number now than when this ran before */
	entry->requested = posting->asked_points;
	entry->target_elsewhere = entry->target != 0 && posting->target_member_id != posting->member_id;
	posting->has_kin = has_kin || entry->home_id != 0 || entry->target_elsewhere;
	look_for_key = posting->idempotency_key != NULL && (posting->has_kin || keys_erased);
	if (look_for_key || entry->kind == ENTRY_REVERSE)
	{
		bool		settled;

		SPI_connect();
		settled = look_for_key && SettledByKey(posting, keys_erased);
		if (entry->kind == ENTRY_REVERSE && !posting->part && !settled)
			FindReversals(posting);
		SPI_finish();
		if (settled)
			return posting->result.outcome;
	}
	if (ConcernsActivity(posting))
	{
		posting->log = palloc(sizeof(ActivityLog));
		InitActivities(posting->log);
		SPI_connect();
		LoadActivities(posting, posting->log);
		SPI_finish();
	}
	if (entry->kind == ENTRY_EXPIRE)
	{
		/* what there is to book is known only now */
		BalanceAsOf sums;

		BalanceAt(balance, entry->effective_at, &sums);
		entry->requested = sums.expired - balance->total[TOTAL_BOOKED];
		if (entry->requested == 0)
			return POSTING_NOTHING;
	}
	return RecordEntry(posting, balance, GetCurrentTimestamp());
}

/*
 * wallet_apply(balance points_balance, has_kin boolean, keys_erased boolean):
 * the balance after the posting whose statement is running.  has_kin says that
 * the wallet took part in a merge, keys_erased that its member was forgotten.
 * Called by the UPDATE of UpdateWallet(), nowhere else.
 */
PG_FUNCTION_INFO_V1(loyalty_wallet_apply);
Datum
loyalty_wallet_apply(PG_FUNCTION_ARGS)
{
	Datum		result = PG_GETARG_DATUM(0);
	Posting    *posting = CurrentPosting();
	MemoryContext old = MemoryContextSwitchTo(posting->context);
	Balance		balance;

	UnpackBalanceDatum(result, &balance);
	posting->result.outcome = SettleUnderLock(posting, PG_GETARG_BOOL(1), PG_GETARG_BOOL(2), &balance);
	if (posting->result.outcome == POSTING_POSTED)
	{
		/* its key may turn out to be used */
		if (posting->idempotency_key != NULL)
			posting->stored = PG_DETOAST_DATUM_COPY(result);
		result = PointerGetDatum(PackBalanceValue(&balance));
	}
	MemoryContextSwitchTo(old);
	PG_RETURN_DATUM(result);
}

/*
 * wallet_unapply(): the balance before the posting whose statement is running.
 * Called by the UPDATE of UndoWallet(), nowhere else.
 */
PG_FUNCTION_INFO_V1(loyalty_wallet_unapply);
Datum
loyalty_wallet_unapply(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_POINTER(CurrentPosting()->stored);
}

/*
 * posted_lots(): the lots to be stored with the entry.  Called by the INSERT of InsertEntry(), nowhere else.
 */
PG_FUNCTION_INFO_V1(loyalty_posted_lots);
Datum
loyalty_posted_lots(PG_FUNCTION_ARGS)
{
	Posting    *posting = CurrentPosting();

	if (posting->row.lots == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(posting->row.lots);
}

/* ---------------------------------------------------------------------------
 * Statements
 * ---------------------------------------------------------------------------
 */

/*
 * Updates the wallet; false when there is none yet, or when its points have
 * moved to another in a merge.
 */
bool
UpdateWallet(Posting *posting)
{
#define UPDATE_WALLET \
	"UPDATE loyalty.wallet SET balance = loyalty.wallet_apply(balance, moved IS NOT NULL OR archived IS NOT NULL, erased IS NOT NULL) " \
	"WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2"
	static KeptPlan plan = {
		.query = UPDATE_WALLET " AND moved IS NOT TRUE",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	static KeptPlan plan_this_wallet = {
		.query = UPDATE_WALLET,
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(posting->member_id),
	CStringGetTextDatum(posting->currency.code)};

	RunGuarded(posting->this_wallet ? &plan_this_wallet : &plan, values, NULL, posting);
	return SPI_processed > 0;
}

/*
 * Gives the wallet back the balance it had: its key turned out to be used.
 */
void
UndoWallet(Posting *posting)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.wallet SET balance = loyalty.wallet_unapply() "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Datum		values[2] = {Int64GetDatum(posting->member_id),
	CStringGetTextDatum(posting->currency.code)};

	RunGuarded(&plan, values, NULL, posting);
}

/*
 * Makes an empty wallet, unless there is one; true when it was made.
 */
bool
OpenWallet(const Posting *posting)
{
	static KeptPlan plan = {
		.query = "INSERT INTO loyalty.wallet (member_id, currency, balance) "
		"VALUES ($1, $2, loyalty.empty_balance($3)) ON CONFLICT DO NOTHING",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, INT4OID}
	};
	Datum		values[3] = {Int64GetDatum(posting->member_id),
		CStringGetTextDatum(posting->currency.code),
	Int32GetDatum(posting->currency.fold.order)};

	bool		opened;

	/* whoever has counted on it that there is none opens it first */
	LockMissingWallet(posting->member_id, posting->currency.code);
	opened = OpenPlainWallet(posting->member_id, posting->currency.code, posting->currency.fold.order);
	if (!opened)
	{
		RunGuarded(&plan, values, NULL, NULL);
		opened = SPI_processed > 0;
	}
	UnlockMissingWallet(posting->member_id, posting->currency.code);
	if (!opened)
		return false;
	if (merged_members != NULL)
		merged_members->opened(posting->member_id);
	return true;
}

/*
 * Records the entry; false when its key was used before.
 */
bool
InsertEntry(Posting *posting)
{
	static KeptPlan plan;
	static KeptPlan plan_with_key;
	Datum		values[LEDGER_NCOLUMNS];
	bool		isnull[LEDGER_NCOLUMNS];
	char		nulls[LEDGER_NCOLUMNS];

	if (plan.query == NULL)
	{
		MakeLedgerInsert(&plan, "loyalty.posted_lots()", "");
		MakeLedgerInsert(&plan_with_key, "loyalty.posted_lots()",
						 " ON CONFLICT (member_id, currency, idempotency_key) "
						 "WHERE idempotency_key IS NOT NULL DO NOTHING");
	}
	LedgerRowValues(posting, values, isnull);
	CommandCounterIncrement();
	posting->command = GetCurrentCommandId(false);
	RunGuarded(posting->idempotency_key ? &plan_with_key : &plan, values,
			   NullFlags(isnull, LEDGER_NCOLUMNS, nulls), posting);
	return SPI_processed > 0;
}
