/*
 * ledger_errors.c
 *		What this room refuses, and how it says so.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger.h"

/*
 * "member 42, currency "points"", or "the ledger" where there is no wallet.
 */
static char *
WalletText(const Refused *refused)
{
	if (refused->currency == NULL)
		return pstrdup("the ledger");
	return psprintf("member " INT64_FORMAT ", currency \"%s\"",
					refused->member_id, refused->currency);
}

/*
 * Raises the error that belongs to a refusal of ApplyEntry().
 */
void
RaiseRefusal(const Refused *refused)
{
	const Entry *entry = refused->entry;
	const char *kind = EntryKindName(entry->kind);
	BalanceAsOf sums;

	switch (refused->refusal)
	{
		case FOLD_INSUFFICIENT:
			BalanceAt(refused->balance, entry->effective_at, &sums);
			ereport(ERROR,
					(errcode(ERRCODE_LY_INSUFFICIENT_POINTS),
					 errmsg("not enough points for %s of " INT64_FORMAT,
							kind, entry->requested < 0 ? -entry->requested : entry->requested),
					 errdetail("%s as of %s: " INT64_FORMAT " available, " INT64_FORMAT
							   " pending, " INT64_FORMAT " held.",
							   WalletText(refused), TimestampText(entry->effective_at),
							   sums.available, sums.pending, sums.held),
					 errhint("Ask for fewer points, or check the balance first.")));
			break;
		case FOLD_OVERFLOW:
			ereport(ERROR,
					(errcode(ERRCODE_LY_POINTS_OVERFLOW),
					 errmsg("%s of " INT64_FORMAT " points exceeds what a balance can hold",
							kind, entry->requested),
					 errdetail("%s: a lifetime total would leave the range of bigint.",
							   WalletText(refused)),
					 errhint("Check the number of points.")));
			break;
		case FOLD_HOLD_LAPSED:
			if (entry->kind == ENTRY_HOLD)
				ereport(ERROR,
						(errcode(ERRCODE_LY_HOLD_LAPSED),
						 errmsg("hold_until must be after effective_at"),
						 errdetail("hold_until is %s, effective_at is %s.",
								   TimestampText(entry->hold_until),
								   TimestampText(entry->effective_at)),
						 errhint("Give a later hold_until.")));
			ereport(ERROR,
					(errcode(ERRCODE_LY_HOLD_LAPSED),
					 errmsg("hold " INT64_FORMAT " has lapsed", entry->target),
					 errdetail("It lapsed at %s; the %s is effective at %s.",
							   TimestampText(entry->target_hold_until), kind,
							   TimestampText(entry->effective_at)),
					 errhint("Its points are in the balance again: redeem them, or hold them anew.")));
			break;
		case FOLD_HOLD_CLOSED:
			ereport(ERROR,
					(errcode(ERRCODE_LY_HOLD_CLOSED),
					 errmsg("nothing is left of hold " INT64_FORMAT, entry->target),
					 errdetail("It was captured or released before."),
					 errhint("Look at the entries that refer to it in loyalty.ledger.")));
			break;
		case FOLD_NOTHING_PENDING:
			ereport(ERROR,
					(errcode(ERRCODE_LY_ALREADY_ACTIVE),
					 errmsg("entry " INT64_FORMAT " has no pending points", entry->target),
					 errdetail("As of %s its points are available, held, expired, or gone.",
							   TimestampText(entry->effective_at)),
					 errhint("Only points that are still pending can be activated.")));
			break;
		case FOLD_ALREADY_REVERSED:
			ereport(ERROR,
					(errcode(ERRCODE_LY_ALREADY_REVERSED),
					 errmsg("entry " INT64_FORMAT " has only " INT64_FORMAT " points left to reverse",
							entry->target, entry->target_points - entry->target_reversed),
					 errdetail("Of its " INT64_FORMAT " points " INT64_FORMAT
							   " were reversed before; " INT64_FORMAT " were asked for.",
							   entry->target_points, entry->target_reversed, entry->requested),
					 errhint("Reverse no more than is left.")));
			break;
		case FOLD_WRONG_KIND:
			ereport(ERROR,
					(errcode(ERRCODE_LY_WRONG_KIND),
					 errmsg("%s cannot refer to entry " INT64_FORMAT " of kind %s",
							kind, entry->target, EntryKindName(entry->target_kind)),
					 errdetail("Entry " INT64_FORMAT " is effective at %s.", entry->target, TimestampText(entry->target_effective_at)),
					 entry->kind == ENTRY_REVERSE
					 ? errhint("An earn, redeem, capture, adjust, or the reversal of one can be reversed; release a hold, transfer a transfer back, and reverse an entry again whose reversal was undone.")
					 : entry->kind == ENTRY_ACTIVATE
					 ? errhint("Refer to the earn or adjust whose points are pending.")
					 : errhint("Refer to a hold.")));
			break;
		case FOLD_REVERSED_AGAIN:
			ereport(ERROR,
					(errcode(ERRCODE_LY_LATER_REVERSAL),
					 errmsg("reversal " INT64_FORMAT " is not the last one of its entry", entry->target),
					 errdetail("A later one, or its part in another wallet, has given back more of the same entry."),
					 errhint("Undo the later one first. Parts of one refund in several wallets are not undone one by one: take points back by loyalty.redeem() or loyalty.adjust().")));
			break;
		case FOLD_BEFORE_TARGET:
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("%s would be effective before entry " INT64_FORMAT " that it refers to",
							kind, entry->target),
					 errdetail("effective_at is %s; entry " INT64_FORMAT " is effective at %s.",
							   TimestampText(entry->effective_at), entry->target,
							   TimestampText(entry->target_effective_at)),
					 errhint("Give an effective_at that is not earlier.")));
			break;
		case FOLD_LOTS_MISMATCH:
			if (refused->currency == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_LY_INVALID_ARGUMENT),
						 errmsg("the lots given with entry " INT64_FORMAT " do not fit it", entry->entry_id),
						 errdetail("A %s of " INT64_FORMAT " points has lots of other points, or lots that are not in the balance.",
								   kind, entry->requested),
						 errhint("Give the very lots of the entry that they come from.")));
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the lots recorded with %s " INT64_FORMAT " are not in its balance",
							kind, entry->entry_id),
					 errdetail("%s.", WalletText(refused)),
					 errhint("Run SELECT * FROM loyalty.check_all();")));
			break;
		case FOLD_OK:
			break;
	}
	elog(ERROR, "unexpected refusal %d", refused->refusal);
}

static void
InvalidEntry(const Entry *entry, const char *what, const char *value, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("%s of %s must be %s", what, EntryKindName(entry->kind), expected),
			 errdetail("It is %s.", value),
			 strcmp(what, "points") == 0
			 ? errhint("Give another number of points.")
			 : errhint("Give another %s.", what)));
}

/*
 * Points as they are given, a numeric: LY003 unless they are a whole number of
 * bigint's range.
 */
int64
WholePoints(Datum numeric)
{
	char	   *given = DatumGetCString(DirectFunctionCall1(numeric_out, numeric));
	char	   *end;
	int64		points;

	errno = 0;
	points = strtoll(given, &end, 10);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0");
	if (end == given || *end != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("points must be a whole number"),
				 errdetail("It is %s.", given),
				 errhint("Round it, for example with floor(), or count in a smaller unit.")));
	if (errno == ERANGE)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("points are out of the range of bigint"),
				 errdetail("It is %s.", given),
				 errhint("Give another number of points.")));
	pfree(given);
	return points;
}

/*
 * Refuses what an entry of this kind has no use for: a caller who gives it
 * expects something of it.
 */
void
RefuseArgument(const Entry *entry, const char *what, const char *value)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("%s of %s must be absent", what, EntryKindName(entry->kind)),
			 errdetail("It is %s.", value),
			 errhint("Leave %s out.", what)));
}

/* The years 1900 to 9999, in UTC; outside lies a mistake, not a date. */
#define EARLIEST_INSTANT	(-(INT64CONST(36524) * USECS_PER_DAY))
#define LATEST_INSTANT		(INT64CONST(2921940) * USECS_PER_DAY - 1)

static void
CheckInstant(const Entry *entry, const char *what, TimestampTz t, bool infinity_allowed)
{
	if (t == TIMESTAMP_INFINITY && infinity_allowed)
		return;
	if (TIMESTAMP_NOT_FINITE(t))
		InvalidEntry(entry, what, t == TIMESTAMP_INFINITY ? "infinity" : "-infinity",
					 infinity_allowed ? "an instant or infinity" : "a finite instant");
	if (t < EARLIEST_INSTANT || t > LATEST_INSTANT)
		InvalidEntry(entry, what, TimestampText(t), "between the years 1900 and 9999");
}

/*
 * Checks what an entry of each kind needs, before it is applied.  Owns the
 * wording of every complaint about an argument of an entry.
 *
 * available_at may be infinity (the lot waits for an activate), expires_at
 * may be (the lot never expires); no other instant may.
 */
void
CheckEntry(const Entry *entry, bool in_program)
{
	bool		opens_lot = EntryOpensLot(entry->kind, entry->requested);

	CheckInstant(entry, "effective_at", entry->effective_at, false);
	switch (entry->kind)
	{
		case ENTRY_EARN:
		case ENTRY_REDEEM:
		case ENTRY_HOLD:
		case ENTRY_TRANSFER_OUT:
		case ENTRY_TRANSFER_IN:
			if (entry->requested <= 0)
				InvalidEntry(entry, "points", psprintf(INT64_FORMAT, entry->requested),
							 "positive");
			break;
		case ENTRY_ADJUST:
		case ENTRY_EXPIRE:
			if (entry->requested == 0 || entry->requested == PG_INT64_MIN)
				InvalidEntry(entry, "points", psprintf(INT64_FORMAT, entry->requested),
							 "positive or negative, and not zero");
			break;
		case ENTRY_RELEASE:
		case ENTRY_ACTIVATE:
			if (entry->requested != 0)
				RefuseArgument(entry, "points", psprintf(INT64_FORMAT, entry->requested));
			/* FALLTHROUGH */
		case ENTRY_CAPTURE:
		case ENTRY_REVERSE:
			if (entry->requested < 0)
				InvalidEntry(entry, "points", psprintf(INT64_FORMAT, entry->requested),
							 "positive, or absent for all");
			if (entry->target <= 0)
				InvalidEntry(entry, "entry_id", psprintf(INT64_FORMAT, entry->target),
							 "the id of an earlier entry");
			break;
	}
	if (entry->target != 0 && !EntryRefers(entry->kind))
		RefuseArgument(entry, "target", psprintf(INT64_FORMAT, entry->target));
	if (!opens_lot && entry->available_at != entry->effective_at)
		RefuseArgument(entry, "available_at", TimestampText(entry->available_at));
	if (!opens_lot && entry->kind != ENTRY_REVERSE && entry->kind != ENTRY_ACTIVATE &&
		entry->expires_at != ExpiryUnsaid(entry->kind))
		RefuseArgument(entry, "expires_at", TimestampText(entry->expires_at));
	if (!opens_lot && entry->expires_by != TIMESTAMP_INFINITY)
		RefuseArgument(entry, "expires_by", TimestampText(entry->expires_by));
	if (entry->kind != ENTRY_HOLD && entry->hold_until != TIMESTAMP_MINUS_INFINITY)
		RefuseArgument(entry, "hold_until", TimestampText(entry->hold_until));

	if (opens_lot)
	{
		CheckInstant(entry, "available_at", entry->available_at, true);
		CheckInstant(entry, "expires_at", entry->expires_at, true);
		CheckInstant(entry, "expires_by", entry->expires_by, true);
		if (entry->available_at < entry->effective_at)
			InvalidEntry(entry, "available_at", TimestampText(entry->available_at),
						 "not before effective_at");
		if (in_program && (entry->expires_at <= entry->effective_at ||
						   (entry->expires_at <= entry->available_at &&
							entry->available_at != TIMESTAMP_INFINITY)))
			InvalidEntry(entry, "expires_at", TimestampText(entry->expires_at),
						 "after effective_at and available_at");
	}
	if (entry->kind == ENTRY_ACTIVATE && entry->expires_at != ExpiryUnsaid(entry->kind))
		CheckInstant(entry, "expires_at", entry->expires_at, true);
	if (entry->kind == ENTRY_HOLD)
		CheckInstant(entry, "hold_until", entry->hold_until, false);
	if (entry->kind != ENTRY_TRANSFER_IN && entry->given != NULL && !in_program)
		RefuseArgument(entry, "lots", psprintf("a list of %d", LotCount(entry->given)));
	if (entry->kind == ENTRY_TRANSFER_IN && entry->given == NULL)
		InvalidEntry(entry, "lots", "absent", "the lots that arrive");
	if (entry->extends_to != TIMESTAMP_MINUS_INFINITY)
		CheckInstant(entry, "extends_to", entry->extends_to, false);
}

/*
 * A balance can be asked as of the instant of its last entry and later: what
 * it was before is no longer in it.
 */
void
CheckAsOf(const Balance *balance, TimestampTz as_of)
{
	if (as_of == TIMESTAMP_MINUS_INFINITY || as_of == TIMESTAMP_INFINITY)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("as_of must be a finite instant"),
				 errdetail("It is %s.", TimestampText(as_of)),
				 errhint("Give the instant as of which you want to know.")));
	if (as_of < balance->last_effective_at)
		ereport(ERROR,
				(errcode(ERRCODE_LY_AS_OF_TOO_EARLY),
				 errmsg("a balance cannot be asked as of %s, before its last entry",
						TimestampText(as_of)),
				 errdetail("Its last entry is effective at %s.",
						   TimestampText(balance->last_effective_at)),
				 errhint("Fold only the rows that were effective by then; what members may redeem as of any instant says loyalty.liability().")));
}
