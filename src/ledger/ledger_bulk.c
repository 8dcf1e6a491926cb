/*
 * ledger_bulk.c
 *		backfill(): a whole history in one statement.
 *
 * The rows of the source are read in the order of wallets and time.  Each
 * wallet is opened and locked, its entries are folded in memory just as a
 * posting folds one, and the rows of the ledger are gathered and inserted
 * many at once (ledger_insert.c).
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "core/compat.h"
#include "core/errors.h"
#include "ledger/ledger_insert.h"
#include "ledger/post.h"
#include "ledger/wallet.h"

#define FETCH_ROWS		1000

/* Columns of the source, in the order in which we select them */
enum
{
	COL_MEMBER_ID, COL_CURRENCY, COL_KIND, COL_POINTS, COL_EFFECTIVE_AT,
	COL_AVAILABLE_AT, COL_EXPIRES_AT, COL_HOLD_UNTIL, COL_TARGET_KEY,
	COL_REFERENCE, COL_REASON, COL_IDEMPOTENCY_KEY, COL_DETAILS, COL_PENDING, COLUMNS
};

#define TEXT_TO_SORT	"text COLLATE pg_catalog.\"C\""

static const struct
{
	const char *name;
	const char *type;
	bool		required;
}			source_columns[COLUMNS] = {
	{"member_id", "int8", true},
	{"currency", TEXT_TO_SORT, false},
	{"kind", TEXT_TO_SORT, false},
	{"points", "int8", true},
	{"effective_at", "timestamptz", true},
	{"available_at", "timestamptz", false},
	{"expires_at", "timestamptz", false},
	{"hold_until", "timestamptz", false},
	{"target_key", "text", false},
	{"reference", TEXT_TO_SORT, false},
	{"reason", "text", false},
	{"idempotency_key", TEXT_TO_SORT, false},
	{"details", "jsonb", false},
	{"pending", "bool", false}
};

/* In which order rows are posted; at one instant what comes in first */
static const int posting_order[] = {
	COL_MEMBER_ID, COL_CURRENCY, COL_EFFECTIVE_AT, COL_KIND, COL_EXPIRES_AT,
	COL_POINTS, COL_IDEMPOTENCY_KEY, COL_REFERENCE
};

/* An entry of the present wallet that a later one may refer to by its key */
typedef struct KeyedEntry
{
	char		key[256];		/* hash key */
	int64		entry_id;
	EntryKind	kind;
	int64		points;
	int64		reversed;
	int			number;			/* of postings for the row that it names */
	TimestampTz effective_at;
	TimestampTz hold_until;
	TimestampTz expires_at;
	bool		expiry_given;
	bool		burned;
	bool		closed;			/* a hold that was captured or released */
	LotList		touched;
} KeyedEntry;

typedef struct Backfill
{
	bool		has[COLUMNS];	/* columns of the history */
	bool		numeric_points; /* otherwise bigint */
	const char *source;			/* whose rows the keys name, or NULL */
	LedgerInsert *insert;

	/* the present wallet */
	bool		open;
	int64		asked_id;		/* as the source names the member */
	int64		member_id;		/* its canonical member */
	Currency	currency;
	Balance		balance;
	ActivityLog log;			/* activities of the wallet */
	bool		log_is_complete;
	bool		keys_erased;	/* its member was forgotten */
	bool		archived;		/* entries of it are, with their keys */
	HTAB	   *keyed;
	MemoryContext wallet_context;
	MemoryContext row_context;

	/* the row that an error is about; NULL while it is about no single one */
	const Datum *values;
	const bool *nulls;

	/* results */
	int64		entries;
	int64		wallets;
	int64		first_entry_id;
	int64		last_entry_id;
} Backfill;

/*
 * A column of the source, cast to the type that we read.  Fractions are not
 * rounded to whole numbers but refused: points by us, members by the input
 * function of the integer.
 */
static const char *
SourceColumn(Backfill *state, TupleDesc tupdesc, int i)
{
	const char *name = source_columns[i].name;
	const char *type = source_columns[i].type;
	const char *column = psprintf("s.%s", quote_identifier(name));
	Oid			own = SPI_gettypeid(tupdesc, SPI_fnumber(tupdesc, name));
	bool		fractional = own == NUMERICOID || own == FLOAT8OID || own == FLOAT4OID;

	if (state->source != NULL && (i == COL_IDEMPOTENCY_KEY || i == COL_TARGET_KEY))
		column = psprintf(own == TEXTARRAYOID ? "loyalty.row_key(%s, VARIADIC %s)" : "loyalty.row_key_of(%s, ROW(%s))",
						  quote_literal_cstr(state->source), column);
	else if (i == COL_POINTS && fractional)
	{
		state->numeric_points = true;
		type = "numeric";
	}
	else if (i == COL_MEMBER_ID && fractional)
		column = psprintf("pg_catalog.trim_scale(%s::pg_catalog.numeric)::pg_catalog.text", column);
	return psprintf("%s::pg_catalog.%s", column, type);
}

/*
 * The query that reads the source: those of our columns that it has, in the
 * order of posting; before that in the order of the wallets of those who stand
 * for its members, where somebody does.  No other columns, nor any twice: all
 * of it is sorted.
 */
static char *
SourceQuery(Backfill *state, Oid source)
{
	Relation	rel = try_relation_open(source, AccessShareLock);
	TupleDesc	tupdesc;
	StringInfoData query;
	int			n = 0;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("there is no table or view with OID %u", source),
				 errdetail("A history is read from one."),
				 errhint("Name the source: 'history', or 'schema.history'.")));
	tupdesc = RelationGetDescr(rel);
	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT * FROM (SELECT ");
	for (int i = 0; i < COLUMNS; i++)
	{
		state->has[i] = SPI_fnumber(tupdesc, source_columns[i].name) > 0;
		if (!state->has[i] && source_columns[i].required)
			ereport(ERROR,
					(errcode(ERRCODE_LY_INVALID_ARGUMENT),
					 errmsg("\"%s\" has no column \"%s\"", RelationGetRelationName(rel),
							source_columns[i].name),
					 errdetail("These columns are needed: member_id, points, effective_at."),
					 errhint("A history needs member_id, points and effective_at.")));
		if (state->has[i])
			appendStringInfo(&query, "%s%s AS c%d", n++ > 0 ? ", " : "", SourceColumn(state, tupdesc, i), i);
	}
	appendStringInfo(&query, " FROM %s s) q ORDER BY",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel)));
	if (merged_members != NULL && merged_members->any())
		appendStringInfo(&query, " %s(c%d),%s", merged_members->function, COL_MEMBER_ID,
						 state->has[COL_CURRENCY] ? " c1," : "");
	for (int i = 0; i < (int) lengthof(posting_order); i++)
	{
		if (posting_order[i] != COL_KIND)
		{
			if (state->has[posting_order[i]])
				appendStringInfo(&query, " c%d,", posting_order[i]);
		}
		else if (state->has[COL_KIND])
			appendStringInfoString(&query, " CASE WHEN c2 IS NULL THEN c3 OPERATOR(pg_catalog.<) 0 "
								   "WHEN c2 OPERATOR(pg_catalog.=) 'earn' THEN false "
								   "WHEN c2 OPERATOR(pg_catalog.=) 'adjust' THEN c3 OPERATOR(pg_catalog.<) 0 "
								   "ELSE true END,");
		else
			appendStringInfoString(&query, " c3 OPERATOR(pg_catalog.<) 0,");
	}
	query.data[--query.len] = '\0';
	relation_close(rel, NoLock);
	return query.data;
}

/*
 * Reads a row of the source; a column that it does not have is NULL.
 */
static void
ReadSourceRow(const Backfill *state, HeapTuple row, TupleDesc tupdesc, Datum *values, bool *nulls)
{
	Datum		given[COLUMNS];
	bool		given_nulls[COLUMNS];
	int			n = 0;

	heap_deform_tuple(row, tupdesc, given, given_nulls);
	for (int i = 0; i < COLUMNS; i++)
	{
		nulls[i] = !state->has[i] || given_nulls[n];
		if (state->has[i])
			values[i] = given[n++];
	}
}

/*
 * Ends the present wallet: stores its balance.
 */
static void
CloseWallet(Backfill *state)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.wallet SET balance = loyalty.rebuilt_balance($3) "
		"WHERE member_id OPERATOR(pg_catalog.=) $1 AND currency OPERATOR(pg_catalog.=) $2",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, BYTEAOID}
	};
	MemoryContext old;
	Datum		values[3];

	if (!state->open)
		return;
	old = MemoryContextSwitchTo(state->wallet_context);
	values[0] = Int64GetDatum(state->member_id);
	values[1] = CStringGetTextDatum(state->currency.code);
	values[2] = PointerGetDatum(PackBalanceValue(&state->balance));
	if (!UpdatePlainWallet(state->member_id, state->currency.code, WALLET_BALANCE, values[2], false))
		RunGuarded(&plan, values, NULL, NULL);
	MemoryContextSwitchTo(old);
	state->open = false;
	state->wallets++;
}

/*
 * Ends the present wallet and its member.
 */
static void
EndMember(Backfill *state)
{
	const Datum *row = state->values;

	CloseWallet(state);
	/* what is refused now is not said of the row that is being read */
	state->values = NULL;
	EndMemberRows(state->insert);
	state->values = row;
}

/*
 * Opens and locks the wallet of the next row.
 */
static void
OpenWalletOf(Backfill *state, int64 member_id, const char *code)
{
	static KeptPlan plan = {
		.query = "SELECT balance, erased IS NOT NULL, archived IS NOT NULL FROM loyalty.wallet WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 FOR NO KEY UPDATE",
		.nargs = 2,
		.argtypes = {INT8OID, TEXTOID}
	};
	Posting		posting;
	MemoryContext old;

	CloseWallet(state);
	MemoryContextReset(state->wallet_context);
	state->keyed = NULL;
	state->asked_id = member_id;
	member_id = CanonicalMember(member_id);
	if (member_id != state->member_id)
		EndMember(state);
	state->member_id = member_id;
	FindCurrency(code, &state->currency);

	InitPosting(&posting, ENTRY_EARN, member_id);
	posting.currency = state->currency;
	/* whoever waits for one that we have opened keeps others from opening it */
	if (!LockWallet(member_id, code) && OpenWallet(&posting))
	{
		old = MemoryContextSwitchTo(state->wallet_context);
		InitBalance(&state->balance, state->currency.fold.order);
		state->log_is_complete = true;
		state->keys_erased = state->archived = false;
	}
	else
	{
		Datum		values[2] = {Int64GetDatum(member_id), CStringGetTextDatum(code)};
		bool		isnull;

		RunPlan(&plan, values, NULL, 1);
		if (SPI_processed == 0)
			elog(ERROR, "wallet of member " INT64_FORMAT " vanished", member_id);
		old = MemoryContextSwitchTo(state->wallet_context);
		UnpackBalanceDatum(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull),
						   &state->balance);
		state->keys_erased = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
		state->archived = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
		state->log_is_complete = false;
	}
	InitActivities(&state->log);
	ReserveLots(&state->balance.lots);
	ReserveLots(&state->balance.owed);
	if (state->has[COL_TARGET_KEY])
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(((KeyedEntry *) 0)->key);
		ctl.entrysize = sizeof(KeyedEntry);
		ctl.hcxt = state->wallet_context;
		state->keyed = hash_create("loyalty backfill keys", 64, &ctl,
								   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	MemoryContextSwitchTo(old);
	state->open = true;
}

/*
 * Puts the rows gathered so far into the ledger.  What the table refuses then
 * is not said of the row that is being read.
 */
static void
FlushRows(Backfill *state)
{
	const Datum *row = state->values;

	state->values = NULL;
	FlushLedgerRows(state->insert);
	state->values = row;
}

/*
 * The key of an archived entry is not in the index of the ledger, which refuses
 * others that were used.
 */
static void
RequireNewKey(const Posting *posting)
{
	static KeptPlan plan = {
		.query = "SELECT FROM loyalty.ledger_archive WHERE member_id OPERATOR(pg_catalog.=) $1 "
		"AND currency OPERATOR(pg_catalog.=) $2 AND idempotency_key OPERATOR(pg_catalog.=) $3",
		.nargs = 3,
		.argtypes = {INT8OID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {Int64GetDatum(posting->member_id), CStringGetTextDatum(posting->currency.code),
	CStringGetTextDatum(posting->idempotency_key)};

	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("idempotency key \"%s\" was used before", posting->idempotency_key),
				 errdetail("Member " INT64_FORMAT " has an entry with it, which is archived.", posting->member_id),
				 errhint(USED_KEY_HINT)));
}

/*
 * Fills in what an entry refers to: an earlier row of this backfill, or an
 * entry that was recorded before.
 */
static void
ResolveTarget(Backfill *state, Posting *posting, const char *key)
{
	static KeptPlan plan = {
		.query = "SELECT entry_id FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) "
		"AND currency OPERATOR(pg_catalog.=) $2 AND idempotency_key OPERATOR(pg_catalog.=) $3 "
		"ORDER BY member_id OPERATOR(pg_catalog.=) $4 DESC, entry_id DESC",
		.nargs = 4,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID, INT8OID}
	};
	Entry	   *entry = &posting->entry;
	Datum		values[4] = {KinOfMember(posting->asked_id), CStringGetTextDatum(posting->currency.code),
	CStringGetTextDatum(key), Int64GetDatum(posting->member_id)};
	KeyedEntry *found = NULL;
	bool		isnull;

	if (strlen(key) < sizeof(found->key))
		found = hash_search(state->keyed, key, HASH_FIND, NULL);
	if (found != NULL)
	{
		entry->target = found->entry_id;
		entry->target_kind = found->kind;
		entry->target_points = found->points;
		entry->target_reversed = found->reversed;
		entry->target_effective_at = found->effective_at;
		entry->target_hold_until = found->hold_until;
		entry->target_expires_at = found->expires_at;
		posting->target_expiry_given = found->expiry_given;
		entry->target_closed = found->closed;
		entry->target_lots = found->burned ? &found->touched : NULL;
		return;
	}
	FlushRows(state);
	RunPlan(&plan, values, NULL, 1);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_LY_ENTRY_NOT_FOUND),
				 errmsg("member " INT64_FORMAT " has no earlier entry with idempotency key \"%s\"",
						posting->member_id, key),
				 errdetail("Only entries of the same wallet that came before in this call can be referred to."),
				 errhint("target_key names the idempotency_key of the row that is referred to; it must be effective before.")));
	FindTarget(posting, DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
	if (HasParts(posting))
		ereport(ERROR,
				(errcode(ERRCODE_LY_WRONG_KIND),
				 errmsg("the lots of entry " INT64_FORMAT " belong to several members", entry->target),
				 errdetail("They were merged when it was recorded, and are others now."),
				 errhint("Post it with reverse(), capture() or release(), which give each his own.")));
	PlaceTarget(posting);
	posting->has_kin = merged_members != NULL;
	FindReversals(posting);
	entry->target_closed = entry->target_kind == ENTRY_HOLD && HoldIsClosed(posting);
}

/*
 * The number of the next posting for a row that a key names: the first entry
 * with that key has none, the n-th is marked by n.
 */
static int
NextOfRow(Backfill *state, const Posting *posting, const char *key)
{
	static KeptPlan plan = {
		.query = "SELECT pg_catalog.max(pg_catalog.substr(idempotency_key, pg_catalog.length($3) OPERATOR(pg_catalog.+) 2)::pg_catalog.int4) "
		"FROM loyalty.all_entries() WHERE member_id OPERATOR(pg_catalog.=) ANY ($1) AND currency OPERATOR(pg_catalog.=) $2 "
		"AND idempotency_key OPERATOR(pg_catalog.>) ($3 OPERATOR(pg_catalog.||) '~') "
		"AND idempotency_key OPERATOR(pg_catalog.<) ($3 OPERATOR(pg_catalog.||) '\177')",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TEXTOID, TEXTOID}
	};
	Datum		values[3] = {KinOfMember(posting->asked_id), CStringGetTextDatum(posting->currency.code),
	CStringGetTextDatum(key)};
	KeyedEntry *found = NULL;
	int			number = 1;
	bool		isnull;

	if (strlen(key) < sizeof(found->key))
		found = hash_search(state->keyed, key, HASH_FIND, NULL);
	if (found != NULL && found->number > 0)
		return ++found->number;
	if (found == NULL)
	{
		RunPlan(&plan, values, NULL, 1);
		number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		if (isnull)
			number = 1;
	}
	else
		found->number = 2;
	return number + 1;
}

/*
 * A reversal was undone: its own target, if it is remembered, has more left to
 * reverse again.
 */
static void
ReturnUndone(Backfill *state, const Posting *posting)
{
	HASH_SEQ_STATUS seq;
	KeyedEntry *known;

	hash_seq_init(&seq, state->keyed);
	while ((known = hash_seq_search(&seq)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (known->entry_id == posting->undone_id)
			known->reversed -= posting->entry.requested;
	}
}

/*
 * What an entry of a sliding currency has to know: the activities of its
 * wallet, those that were recorded before this backfill included.
 */
static void
ReadActivities(Backfill *state, Posting *posting)
{
	posting->log = &state->log;
	if (state->log_is_complete)
		return;
	if (posting->entry.kind != ENTRY_REVERSE && posting->entry.kind != ENTRY_RELEASE)
	{
		posting->log = NULL;
		return;
	}
	FlushRows(state);
	LoadActivities(posting, &state->log);
	state->log_is_complete = true;
}

/*
 * Remembers an entry that later rows may refer to.
 */
static void
RememberKey(Backfill *state, const Posting *posting, const char *target_key)
{
	const Entry *entry = &posting->entry;
	KeyedEntry *own;

	if (target_key != NULL && strlen(target_key) < sizeof(own->key))
	{
		KeyedEntry *target = hash_search(state->keyed, target_key, HASH_FIND, NULL);

		if (target != NULL && entry->kind == ENTRY_REVERSE)
			target->reversed += entry->requested;
		else if (entry->kind == ENTRY_REVERSE && entry->target_kind == ENTRY_REVERSE)
			ReturnUndone(state, posting);
		if (target != NULL && (entry->kind == ENTRY_CAPTURE || entry->kind == ENTRY_RELEASE))
			target->closed = true;
		if (target != NULL && entry->kind == ENTRY_ACTIVATE && entry->expires_at != ExpiryUnsaid(entry->kind))
			target->expires_at = entry->expires_at;
	}
	/* what undoes a reversal looks in the ledger for it and all about it */
	if (entry->kind == ENTRY_REVERSE || posting->idempotency_key == NULL || strlen(posting->idempotency_key) >= sizeof(own->key))
		return;
	own = hash_search(state->keyed, posting->idempotency_key, HASH_ENTER, NULL);
	own->entry_id = entry->entry_id;
	own->kind = entry->kind;
	own->points = entry->requested < 0 ? -entry->requested : entry->requested;
	own->reversed = 0;
	own->number = 1;
	own->effective_at = entry->effective_at;
	own->hold_until = entry->hold_until;
	own->expires_at = entry->expires_at;
	own->expiry_given = posting->expires_given;
	own->closed = false;
	own->burned = entry->posted < 0;
	memset(&own->touched, 0, sizeof(LotList));
	if (own->burned)
	{
		MemoryContext old = MemoryContextSwitchTo(state->wallet_context);

		ForEachLot(lot, &entry->touched)
			AppendLot(&own->touched, lot);
		MemoryContextSwitchTo(old);
	}
}

static void
RequireColumn(const bool *nulls, int column)
{
	if (nulls[column])
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ARGUMENT),
				 errmsg("%s of a row to backfill must not be NULL", source_columns[column].name),
				 errdetail("An entry cannot be made without it."),
				 errhint("Give the source a value for it, or leave such rows out.")));
}

static char *
TextColumn(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

/*
 * Posts one row of the source into the present wallet.
 */
static void
BackfillRow(Backfill *state, const Datum *values, const bool *nulls, TimestampTz now)
{
	EntryKind	kind;
	Posting		posting;
	Entry	   *entry = &posting.entry;
	bool		opens_lot;
	char	   *target_key = TextColumn(values, nulls, COL_TARGET_KEY);
	int64		points = 0;

	if (!nulls[COL_POINTS])
		points = state->numeric_points ? WholePoints(values[COL_POINTS]) : DatumGetInt64(values[COL_POINTS]);
	if (nulls[COL_KIND])
	{
		/* without a kind, the sign tells */
		RequireColumn(nulls, COL_POINTS);
		kind = points < 0 ? ENTRY_REDEEM : ENTRY_EARN;
		if (points < 0 && points != PG_INT64_MIN)
			points = -points;
	}
	else
	{
		char	   *name = TextDatumGetCString(values[COL_KIND]);

		kind = EntryKindFromName(name, strlen(name));
		if (kind == 0 || kind == ENTRY_TRANSFER_OUT || kind == ENTRY_TRANSFER_IN || kind == ENTRY_EXPIRE)
			ereport(ERROR,
					(errcode(ERRCODE_LY_WRONG_KIND),
					 errmsg("backfill cannot post kind \"%s\"", name),
					 errdetail("Transfers take two wallets, and expiries are booked by a job."),
					 errhint("The kinds are earn, redeem, hold, capture, release, reverse, activate and adjust; post transfers with transfer(), and book expiries with book_expiries().")));
	}

	InitPosting(&posting, kind, state->member_id);
	posting.asked_id = state->asked_id;
	if (state->asked_id != state->member_id)
		entry->home_id = state->asked_id;
	posting.currency = state->currency;
	posting.effective_now = false;
	entry->requested = points;
	entry->effective_at = DatumGetTimestampTz(values[COL_EFFECTIVE_AT]);
	/* as in any table of rows: what does not concern a kind is not looked at */
	opens_lot = EntryOpensLot(kind, points);
	if (opens_lot)
		SetAvailability(&posting, nulls[COL_AVAILABLE_AT] ? NULL : &values[COL_AVAILABLE_AT],
						!nulls[COL_PENDING] && DatumGetBool(values[COL_PENDING]));
	posting.expires_given = opens_lot && !nulls[COL_EXPIRES_AT];
	if (posting.expires_given)
		entry->expires_at = DatumGetTimestampTz(values[COL_EXPIRES_AT]);
	if (kind == ENTRY_HOLD && !nulls[COL_HOLD_UNTIL])
		entry->hold_until = DatumGetTimestampTz(values[COL_HOLD_UNTIL]);
	posting.reference = TextColumn(values, nulls, COL_REFERENCE);
	posting.reason = TextColumn(values, nulls, COL_REASON);
	posting.idempotency_key = TextColumn(values, nulls, COL_IDEMPOTENCY_KEY);
	posting.details = nulls[COL_DETAILS] ? (Datum) 0 : values[COL_DETAILS];
	/* the entries of a row have its name as reference */
	if (state->source != NULL && posting.reference == NULL)
		posting.reference = EntryRefers(kind) ? target_key : posting.idempotency_key;
	if (EntryRefers(kind))
	{
		RequireColumn(nulls, COL_TARGET_KEY);
		ResolveTarget(state, &posting, target_key);
		if (state->source != NULL && kind == ENTRY_REVERSE && posting.idempotency_key == NULL)
			posting.idempotency_key = psprintf("%s~%d", target_key, NextOfRow(state, &posting, target_key));
	}
	else
		RequireColumn(nulls, COL_POINTS);

	if (posting.idempotency_key != NULL && state->keys_erased)
		RefuseErasedKeys(&posting);
	if (posting.idempotency_key != NULL && state->archived)
		RequireNewKey(&posting);
	PreparePosting(&posting);
	if (state->currency.fold.slides || ConcernsActivity(&posting))
		ReadActivities(state, &posting);
	if (RecordEntry(&posting, &state->balance, now) == POSTING_REFUSED)
		RaisePostingRefusal(&posting);

	if (kind == ENTRY_ADJUST)
	{
		Act			act = {
			.name = EntryKindName(kind),
			.member_id = posting.member_id,
			.object_id = posting.result.entry_id,
			.currency = posting.currency.code,
			.points = points
		};

		KeepAct(&act);
	}
	/* what the table refuses now may be any of the rows that were gathered */
	state->values = NULL;
	AddLedgerRow(state->insert, &posting);
	state->entries++;
	if (state->first_entry_id == 0)
		state->first_entry_id = posting.result.entry_id;
	state->last_entry_id = posting.result.entry_id;
	if (state->has[COL_TARGET_KEY])
		RememberKey(state, &posting, target_key);
}

/*
 * Says in an error which row it is about.
 */
static void
DescribeRow(void *arg)
{
	const Backfill *state = arg;

	if (state->values == NULL)
		return;
	if (state->nulls[COL_MEMBER_ID] || state->nulls[COL_EFFECTIVE_AT])
		errcontext("a row of backfill without member_id or effective_at");
	else
		errcontext("row of backfill for member " INT64_FORMAT ", effective at %s%s%s",
				   DatumGetInt64(state->values[COL_MEMBER_ID]),
				   TimestampText(DatumGetTimestampTz(state->values[COL_EFFECTIVE_AT])),
				   state->nulls[COL_IDEMPOTENCY_KEY] ? "" : ", idempotency key ",
				   state->nulls[COL_IDEMPOTENCY_KEY] ? "" : TextDatumGetCString(state->values[COL_IDEMPOTENCY_KEY]));
}

/*
 * backfill(history regclass, source text): posts all rows of a table or view;
 * returns how many entries, in how many wallets, and their first and last id.
 * With source, the keys in it are those of rows (row_key()).
 */
PG_FUNCTION_INFO_V1(loyalty_backfill);
Datum
loyalty_backfill(PG_FUNCTION_ARGS)
{
	Backfill	state = {0};
	ErrorContextCallback context;
	char	   *query;
	SPIPlanPtr	plan;
	Portal		portal;
	TupleDesc	tupdesc;
	Datum		result[4];
	bool		nulls[4] = {false};
	Actor		reader;

	RequireArgument(fcinfo, 0, "history");
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tupdesc = BlessTupleDesc(tupdesc);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* the caller reads the history, the owner of the tables writes it */
	ActAsOwner(&reader, GetUserId(), RIGHT_DEFINE);
	RequireWritable();
	state.wallet_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty backfill wallet",
												 ALLOCSET_DEFAULT_SIZES);
	state.row_context = AllocSetContextCreate(CurrentMemoryContext, "loyalty backfill row",
											  ALLOCSET_DEFAULT_SIZES);
	if (!PG_ARGISNULL(1))
		state.source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	LockMerges(ShareLock);
	state.insert = BeginLedgerInsert();
	ActAsBefore(&reader);
	query = SourceQuery(&state, PG_GETARG_OID(0));
	plan = SPI_prepare_cursor(query, 0, NULL, CURSOR_OPT_NO_SCROLL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	context.callback = DescribeRow;
	context.arg = &state;
	context.previous = error_context_stack;
	error_context_stack = &context;

	for (;;)
	{
		SPITupleTable *table;
		uint64		count;
		TimestampTz now = GetCurrentTimestamp();

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		table = SPI_tuptable;
		count = SPI_processed;
		ActAsOwner(&reader, GetUserId(), RIGHT_DEFINE);
		if (count == 0)
			break;
		for (uint64 i = 0; i < count; i++)
		{
			MemoryContext old;
			Datum		values[COLUMNS];
			bool		isnull[COLUMNS];
			char	   *code;

			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(state.row_context);
			old = MemoryContextSwitchTo(state.row_context);
			ReadSourceRow(&state, table->vals[i], table->tupdesc, values, isnull);
			state.values = values;
			state.nulls = isnull;
			RequireColumn(isnull, COL_MEMBER_ID);
			RequireColumn(isnull, COL_EFFECTIVE_AT);
			code = isnull[COL_CURRENCY] ? "points" : TextDatumGetCString(values[COL_CURRENCY]);
			if (!state.open || state.asked_id != DatumGetInt64(values[COL_MEMBER_ID]) ||
				strcmp(state.currency.code, code) != 0)
				OpenWalletOf(&state, DatumGetInt64(values[COL_MEMBER_ID]), code);
			BackfillRow(&state, values, isnull, now);
			MemoryContextSwitchTo(old);
		}
		SPI_freetuptable(table);
		ActAsBefore(&reader);
	}
	EndMember(&state);
	EndLedgerInsert(state.insert);
	KeepAct(&(Act) {.name = "backfill", .subject = get_rel_name(PG_GETARG_OID(0))});
	ActAsBefore(&reader);
	error_context_stack = context.previous;
	SPI_cursor_close(portal);
	SPI_finish();

	result[0] = Int64GetDatum(state.entries);
	result[1] = Int64GetDatum(state.wallets);
	result[2] = Int64GetDatum(state.first_entry_id);
	result[3] = Int64GetDatum(state.last_entry_id);
	nulls[2] = nulls[3] = state.entries == 0;
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, result, nulls));
}
