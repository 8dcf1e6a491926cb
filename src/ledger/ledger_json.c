/*
 * ledger_json.c
 *		The text form of the stored types.
 *
 * A points_ledger is an array of entries, a points_lots an array of lots, a
 * points_balance an object.  Instants are ISO 8601 in UTC, whatever the
 * session's settings; what has its default value is left out.  Text is read
 * by PostgreSQL's own JSON parser.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "core/compat.h"
#include "ledger/ledger.h"

/* Keys of the lifetime totals, in the order of enum Total */
static const char *const total_keys[TOTALS] = {
	"earned", "adjusted_up", "transferred_in", "restored",
	"redeemed", "revoked", "adjusted_down", "transferred_out",
	"settled", "booked", "debt"
};

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

static void
PutInstant(StringInfo buf, const char *key, TimestampTz value)
{
	char		text[MAXDATELEN + 1];
	int			utc = 0;

	JsonEncodeDateTime(text, TimestampTzGetDatum(value), TIMESTAMPTZOID, &utc);
	appendStringInfo(buf, "\"%s\": \"%s\"", key, text);
}

/*
 * A list of lots, as array.
 */
void
LotsToJson(StringInfo buf, const LotList *list)
{
	bool		first = true;

	appendStringInfoChar(buf, '[');
	ForEachLot(lot, list)
	{
		appendStringInfo(buf, "%s{\"lot_id\": " INT64_FORMAT ", \"points\": " INT64_FORMAT ", ",
						 first ? "" : ", ", lot->lot_id, lot->points);
		PutInstant(buf, "earned_at", lot->earned_at);
		if (lot->available_at != lot->earned_at)
		{
			appendStringInfoString(buf, ", ");
			PutInstant(buf, "available_at", lot->available_at);
		}
		if (lot->expires_at != TIMESTAMP_INFINITY)
		{
			appendStringInfoString(buf, ", ");
			PutInstant(buf, "expires_at", lot->expires_at);
		}
		if (lot->hold_id != 0)
			appendStringInfo(buf, ", \"hold_id\": " INT64_FORMAT, lot->hold_id);
		if (lot->home_id != 0)
			appendStringInfo(buf, ", \"home_id\": " INT64_FORMAT, lot->home_id);
		if (lot->opened_until != lot->expires_at)
		{
			appendStringInfoString(buf, ", ");
			PutInstant(buf, "opened_until", lot->opened_until);
		}
		if (lot->expires_by != TIMESTAMP_INFINITY)
		{
			appendStringInfoString(buf, ", ");
			PutInstant(buf, "expires_by", lot->expires_by);
		}
		if (lot->joined)
			appendStringInfoString(buf, ", \"joined\": true");
		if (lot->apart)
			appendStringInfoString(buf, ", \"apart\": true");
		if (lot->graced)
			appendStringInfoString(buf, ", \"graced\": true");
		appendStringInfoChar(buf, '}');
		first = false;
	}
	appendStringInfoChar(buf, ']');
}

/*
 * A balance, as object.
 */
void
BalanceToJson(StringInfo buf, const Balance *balance)
{
	appendStringInfo(buf, "{\"entries\": " INT64_FORMAT, balance->entries);
	if (balance->last_entry_id != 0)
		appendStringInfo(buf, ", \"last_entry_id\": " INT64_FORMAT, balance->last_entry_id);
	if (balance->last_effective_at != TIMESTAMP_MINUS_INFINITY)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "last_effective_at", balance->last_effective_at);
	}
	if (balance->last_recorded_at != TIMESTAMP_MINUS_INFINITY)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "last_recorded_at", balance->last_recorded_at);
	}
	if (balance->booked_through != TIMESTAMP_MINUS_INFINITY)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "booked_through", balance->booked_through);
	}
	if (balance->order == CONSUME_OLDEST_FIRST)
		appendStringInfoString(buf, ", \"order\": \"oldest_first\"");
	if (balance->newest_expires_at != TIMESTAMP_MINUS_INFINITY)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "newest_expires_at", balance->newest_expires_at);
	}
	if (balance->newest_is_fixed)
		appendStringInfoString(buf, ", \"newest_is_fixed\": true");
	for (int i = 0; i < TOTALS; i++)
	{
		if (balance->total[i] != 0)
			appendStringInfo(buf, ", \"%s\": " INT64_FORMAT, total_keys[i], balance->total[i]);
	}
	appendStringInfoString(buf, ", \"lots\": ");
	LotsToJson(buf, &balance->lots);
	if (LotCount(&balance->owed) > 0)
	{
		bool		first = true;

		appendStringInfoString(buf, ", \"owed\": [");
		ForEachLot(part, &balance->owed)
		{
			appendStringInfo(buf, "%s{\"home_id\": " INT64_FORMAT ", \"points\": " INT64_FORMAT "}",
							 first ? "" : ", ", part->lot_id, part->points);
			first = false;
		}
		appendStringInfoChar(buf, ']');
	}
	if (balance->chained)
	{
		appendStringInfoString(buf, ", \"chain\": \"");
		for (int i = 0; i < CHAIN_LENGTH; i++)
			appendStringInfo(buf, "%02x", balance->chain[i]);
		appendStringInfoChar(buf, '"');
	}
	appendStringInfoChar(buf, '}');
}

/*
 * An entry, as object.
 */
void
EntryToJson(StringInfo buf, const Entry *entry)
{
	appendStringInfo(buf, "{\"kind\": \"%s\", \"points\": " INT64_FORMAT ", ",
					 EntryKindName(entry->kind), entry->requested);
	PutInstant(buf, "effective_at", entry->effective_at);
	if (entry->available_at != entry->effective_at)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "available_at", entry->available_at);
	}
	if (entry->expires_at != ExpiryUnsaid(entry->kind))
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "expires_at", entry->expires_at);
	}
	if (entry->expires_by != TIMESTAMP_INFINITY)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "expires_by", entry->expires_by);
	}
	if (entry->hold_until != TIMESTAMP_MINUS_INFINITY)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "hold_until", entry->hold_until);
	}
	if (entry->extends_to != TIMESTAMP_MINUS_INFINITY)
	{
		appendStringInfoString(buf, ", ");
		PutInstant(buf, "extends_to", entry->extends_to);
	}
	if (entry->target != 0)
		appendStringInfo(buf, ", \"target\": " INT64_FORMAT, entry->target);
	if (entry->given != NULL)
	{
		appendStringInfoString(buf, ", \"lots\": ");
		LotsToJson(buf, entry->given);
	}
	appendStringInfoChar(buf, '}');
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

static void
MalformedValue(const char *key, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("key \"%s\" of a points value must be %s", key, expected)));
}

/*
 * Parses JSON text; a syntax error is PostgreSQL's own.
 */
Jsonb *
ParseJson(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

static JsonbValue *
GetKey(JsonbContainer *json, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(json, key, strlen(key), value);
}

static int64
GetInteger(JsonbContainer *json, const char *key, bool required)
{
	JsonbValue	found;
	Datum		whole;

	if (GetKey(json, key, &found) == NULL)
	{
		if (required)
			MalformedValue(key, "present");
		return 0;
	}
	if (found.type != jbvNumeric)
		MalformedValue(key, "a whole number");
	whole = DirectFunctionCall1(numeric_int8, NumericGetDatum(found.val.numeric));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(found.val.numeric),
										  DirectFunctionCall1(int8_numeric, whole))))
		MalformedValue(key, "a whole number");
	return DatumGetInt64(whole);
}

/*
 * An instant.  The words that depend on the clock ("now", "today") are not
 * taken: a stored value must mean the same whenever it is read.
 */
static TimestampTz
GetInstant(JsonbContainer *json, const char *key, TimestampTz otherwise)
{
	JsonbValue	found;
	char	   *text;

	if (GetKey(json, key, &found) == NULL)
		return otherwise;
	if (found.type != jbvString)
		MalformedValue(key, "an instant");
	text = pnstrdup(found.val.string.val, found.val.string.len);
	if (!(text[0] >= '0' && text[0] <= '9') &&
		strcmp(text, "infinity") != 0 && strcmp(text, "-infinity") != 0)
		MalformedValue(key, "an instant");
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

static bool
GetBoolean(JsonbContainer *json, const char *key)
{
	JsonbValue	found;

	if (GetKey(json, key, &found) == NULL)
		return false;
	if (found.type != jbvBool)
		MalformedValue(key, "true or false");
	return found.val.boolean;
}

static JsonbContainer *
GetContainer(JsonbContainer *json, const char *key)
{
	JsonbValue	found;

	if (GetKey(json, key, &found) == NULL)
		return NULL;
	if (found.type != jbvBinary || !JsonContainerIsArray(found.val.binary.data))
		MalformedValue(key, "an array");
	return found.val.binary.data;
}

/*
 * Member i of an array, which must be an object.
 */
static JsonbContainer *
GetElement(JsonbContainer *json, uint32 i)
{
	JsonbValue *element = getIthJsonbValueFromContainer(json, i);

	if (element == NULL || element->type != jbvBinary ||
		!JsonContainerIsObject(element->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("element %u of a points value must be an object", i + 1)));
	return element->val.binary.data;
}

/*
 * A list of lots from an array of objects, in any order given.
 */
void
LotsFromJson(JsonbContainer *json, LotList *list)
{
	memset(list, 0, sizeof(LotList));
	if (!JsonContainerIsArray(json) || JsonContainerIsScalar(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("a list of lots must be an array")));

	for (uint32 i = 0; i < JsonContainerSize(json); i++)
	{
		JsonbContainer *element = GetElement(json, i);
		Lot			lot;

		lot.lot_id = GetInteger(element, "lot_id", true);
		lot.points = GetInteger(element, "points", true);
		lot.hold_id = GetInteger(element, "hold_id", false);
		lot.home_id = GetInteger(element, "home_id", false);
		lot.earned_at = GetInstant(element, "earned_at", TIMESTAMP_INFINITY);
		lot.available_at = GetInstant(element, "available_at", lot.earned_at);
		lot.expires_at = GetInstant(element, "expires_at", TIMESTAMP_INFINITY);
		lot.opened_until = GetInstant(element, "opened_until", lot.expires_at);
		lot.expires_by = GetInstant(element, "expires_by", TIMESTAMP_INFINITY);
		lot.joined = GetBoolean(element, "joined");
		lot.apart = GetBoolean(element, "apart");
		lot.graced = GetBoolean(element, "graced");
		if (lot.lot_id <= 0)
			MalformedValue("lot_id", "positive");
		if (lot.points <= 0)
			MalformedValue("points", "positive");
		if (lot.hold_id < 0)
			MalformedValue("hold_id", "positive");
		if (TIMESTAMP_NOT_FINITE(lot.earned_at))
			MalformedValue("earned_at", "a finite instant");
		if (lot.available_at == TIMESTAMP_MINUS_INFINITY)
			MalformedValue("available_at", "an instant or infinity");
		if (lot.expires_at == TIMESTAMP_MINUS_INFINITY)
			MalformedValue("expires_at", "an instant or infinity");
		if (lot.opened_until == TIMESTAMP_MINUS_INFINITY)
			MalformedValue("opened_until", "an instant or infinity");
		if (lot.expires_by == TIMESTAMP_MINUS_INFINITY)
			MalformedValue("expires_by", "an instant or infinity");
		AppendLot(list, &lot);
	}
}

/*
 * The parts of a debt with a home elsewhere, ascending by home.
 */
static void
OwedFromJson(JsonbContainer *json, Balance *balance)
{
	JsonbContainer *owed = GetContainer(json, "owed");
	int64		left = balance->total[TOTAL_DEBT];

	for (uint32 i = 0; owed != NULL && i < JsonContainerSize(owed); i++)
	{
		JsonbContainer *element = GetElement(owed, i);
		Lot			part = {.expires_at = TIMESTAMP_INFINITY};

		part.lot_id = GetInteger(element, "home_id", true);
		part.points = GetInteger(element, "points", true);
		if (part.lot_id == 0 ||
			(i > 0 && part.lot_id <= balance->owed.lots[balance->owed.end - 1].lot_id))
			MalformedValue("home_id", "another member, ascending");
		if (part.points <= 0 || part.points > left)
			MalformedValue("points", "a part of the debt");
		left -= part.points;
		AppendLot(&balance->owed, &part);
	}
}

static void
ChainFromJson(JsonbContainer *json, Balance *balance)
{
	JsonbValue	found;

	if (GetKey(json, "chain", &found) == NULL)
		return;
	if (found.type != jbvString || found.val.string.len != 2 * CHAIN_LENGTH)
		MalformedValue("chain", "64 hexadecimal digits");
	for (int i = 0; i < CHAIN_LENGTH; i++)
	{
		int			byte = 0;

		for (int j = 0; j < 2; j++)
		{
			char		c = found.val.string.val[2 * i + j];

			if (c >= '0' && c <= '9')
				byte = byte << 4 | (c - '0');
			else if (c >= 'a' && c <= 'f')
				byte = byte << 4 | (c - 'a' + 10);
			else
				MalformedValue("chain", "64 hexadecimal digits");
		}
		balance->chain[i] = (uint8) byte;
	}
	balance->chained = true;
}

/*
 * A balance from an object.  Whether it is sound is the caller's to check.
 */
void
BalanceFromJson(JsonbContainer *json, Balance *balance)
{
	JsonbValue	found;
	JsonbContainer *lots;
	LotList		list;

	if (!JsonContainerIsObject(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("a points_balance must be an object")));

	InitBalance(balance, CONSUME_EARLIEST_EXPIRY);
	if (GetKey(json, "order", &found) != NULL)
	{
		if (found.type != jbvString || found.val.string.len != strlen("oldest_first") ||
			memcmp(found.val.string.val, "oldest_first", found.val.string.len) != 0)
			MalformedValue("order", "\"oldest_first\", or absent");
		balance->order = CONSUME_OLDEST_FIRST;
	}
	balance->entries = GetInteger(json, "entries", true);
	balance->last_entry_id = GetInteger(json, "last_entry_id", false);
	balance->last_effective_at = GetInstant(json, "last_effective_at", TIMESTAMP_MINUS_INFINITY);
	balance->last_recorded_at = GetInstant(json, "last_recorded_at", TIMESTAMP_MINUS_INFINITY);
	balance->booked_through = GetInstant(json, "booked_through", TIMESTAMP_MINUS_INFINITY);
	balance->newest_expires_at = GetInstant(json, "newest_expires_at", TIMESTAMP_MINUS_INFINITY);
	balance->newest_is_fixed = GetBoolean(json, "newest_is_fixed");
	for (int i = 0; i < TOTALS; i++)
		balance->total[i] = GetInteger(json, total_keys[i], false);
	lots = GetContainer(json, "lots");
	if (lots != NULL)
	{
		LotsFromJson(lots, &list);
		ForEachLot(lot, &list)
			AppendLot(&balance->lots, lot);
	}
	OwedFromJson(json, balance);
	ChainFromJson(json, balance);
}

/*
 * An entry from an object.  Its kind must be known; what else the kind needs
 * is the caller's to check.
 */
void
EntryFromJson(JsonbContainer *json, Entry *entry)
{
	JsonbValue	found;
	JsonbContainer *lots;
	EntryKind	kind = 0;

	if (!JsonContainerIsObject(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("an entry of a points_ledger must be an object"),
				 errhint("Build one with loyalty.ledger_entry().")));
	if (GetKey(json, "kind", &found) != NULL && found.type == jbvString)
		kind = EntryKindFromName(found.val.string.val, found.val.string.len);
	if (kind == 0)
		MalformedValue("kind", "a kind of entry");

	InitEntry(entry, kind, GetInstant(json, "effective_at", TIMESTAMP_INFINITY));
	entry->requested = GetInteger(json, "points", false);
	entry->available_at = GetInstant(json, "available_at", entry->effective_at);
	entry->expires_at = GetInstant(json, "expires_at", ExpiryUnsaid(kind));
	entry->expires_by = GetInstant(json, "expires_by", TIMESTAMP_INFINITY);
	entry->hold_until = GetInstant(json, "hold_until", TIMESTAMP_MINUS_INFINITY);
	entry->extends_to = GetInstant(json, "extends_to", TIMESTAMP_MINUS_INFINITY);
	entry->target = GetInteger(json, "target", false);
	lots = GetContainer(json, "lots");
	if (lots != NULL)
	{
		LotList    *given = palloc(sizeof(LotList));

		LotsFromJson(lots, given);
		entry->given = given;
	}
}
