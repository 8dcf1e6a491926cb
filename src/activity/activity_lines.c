/*
 * activity_lines.c
 *		The lines of an activity, as jsonb and as structs.
 *
 * Lines are an array of objects.  Of a line we know
 *
 *	line			its number; where it is not given, its place, from 1
 *	sku, category, brand, grade, earns
 *	quantity		1 where it is not given
 *	amount			or price (of one) and discount, which make it
 *	coupon_discount what coupons took off the amount
 *	sold			{"quantity": 3, "amount": 10.00}: both before a part of them
 *					was returned, so that what is left is always a share of that
 *
 * and whatever else it has is kept as it is.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "activity/activity_record.h"
#include "core/compat.h"
#include "core/errors.h"
#include "core/json.h"

#define MAX_LINES	10000

/* What stands in a line that we write ourselves */
static const char *const written_keys[] = {
	"line", "sku", "category", "brand", "grade", "earns", "quantity", "amount", "coupon_discount", "sold"
};

/*
 * jsonb as text; NULL where there is none.
 */
char *
JsonText(Datum jsonb)
{
	return jsonb == 0 ? NULL : JsonbToCString(NULL, &DatumGetJsonbP(jsonb)->root, VARSIZE(DatumGetPointer(jsonb)));
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

pg_noreturn static void
RefuseLine(int place, const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ACTIVITY),
			 errmsg("line %d of an activity %s", place, what),
			 errdetail("%s", detail),
			 errhint("Lines are objects such as {\"sku\": \"T1\", \"quantity\": 2, \"amount\": 8.50}.")));
}

/* What of a line is not what it should be: its value says so. */
pg_noreturn static void
RefuseValue(int place, const char *key, const JsonbValue *value, const char *should)
{
	JsonbValue	copy = *value;
	char	   *text = JsonbToCString(NULL, &JsonbValueToJsonb(&copy)->root, 0);

	text[pg_mbcliplen(text, strlen(text), 60)] = '\0';
	RefuseLine(place, psprintf("has a wrong \"%s\"", key), psprintf("It is %s, and must be %s.", text, should));
}

static JsonbValue *
FindKey(JsonbContainer *object, const char *key, JsonbValue *found)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), found);

	return value != NULL && value->type != jbvNull ? value : NULL;
}

/* What we know of a line */
enum
{
	LINE_LINE,
	LINE_SKU,
	LINE_CATEGORY,
	LINE_BRAND,
	LINE_GRADE,
	LINE_EARNS,
	LINE_QUANTITY,
	LINE_AMOUNT,
	LINE_PRICE,
	LINE_DISCOUNT,
	LINE_COUPON_DISCOUNT,
	LINE_SOLD,
	LINE_KEYS
};

static const JsonKey line_keys[LINE_KEYS] = {
	[LINE_LINE] = JSON_KEY("line"),
	[LINE_SKU] = JSON_KEY("sku"),
	[LINE_CATEGORY] = JSON_KEY("category"),
	[LINE_BRAND] = JSON_KEY("brand"),
	[LINE_GRADE] = JSON_KEY("grade"),
	[LINE_EARNS] = JSON_KEY("earns"),
	[LINE_QUANTITY] = JSON_KEY("quantity"),
	[LINE_AMOUNT] = JSON_KEY("amount"),
	[LINE_PRICE] = JSON_KEY("price"),
	[LINE_DISCOUNT] = JSON_KEY("discount"),
	[LINE_COUPON_DISCOUNT] = JSON_KEY("coupon_discount"),
	[LINE_SOLD] = JSON_KEY("sold")
};

static const char *
TextOf(const JsonbValue *values, int key, int place)
{
	const JsonbValue *value = &values[key];

	if (value->type == jbvNull)
		return NULL;
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	if (value->type != jbvString)
		RefuseValue(place, line_keys[key].key, value, "a text");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A number of a line; false where it is null. */
static bool
ReadMicros(const JsonbValue *value, const char *key, int place, Micros *micros, int *decimals)
{
	Datum		numeric;

	if (value->type == jbvNull)
		return false;
	if (value->type != jbvNumeric)
		RefuseValue(place, key, value, "a number; numbers in JSON have no quotes");
	numeric = NumericGetDatum(value->val.numeric);
	if (!UsualMicros(numeric, micros, decimals))
		*micros = MicrosFromNumeric(numeric, psprintf("%s of line %d", key, place), decimals);
	return true;
}

static bool
MicrosOf(const JsonbValue *values, int key, int place, Micros *micros, int *decimals)
{
	return ReadMicros(&values[key], line_keys[key].key, place, micros, decimals);
}

/*
 * A number of a line; false where it has none of that name.
 */
bool
LineMicros(JsonbContainer *object, const char *key, int place, Micros *micros, int *decimals)
{
	JsonbValue	found;

	return FindKey(object, key, &found) != NULL && ReadMicros(&found, key, place, micros, decimals);
}

static int32
NumberOf(const JsonbValue *value, int place)
{
	if (value->type == jbvNumeric)
	{
		char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));

		/* a whole number that is not far off */
		if (strspn(text, "0123456789") == strlen(text) && strlen(text) < 10 && atoi(text) > 0)
			return atoi(text);
	}
	RefuseValue(place, "line", value, "a whole number from 1 to 999999999");
}

/*
 * The number of a line at a place; 0: it has none.
 */
int32
LineNumber(JsonbContainer *object, int place)
{
	JsonbValue	found;

	return FindKey(object, "line", &found) == NULL ? 0 : NumberOf(&found, place);
}

/*
 * What was sold, of a line of which a part was returned.
 */
static void
ReadSold(ActivityLine *line, const JsonbValue *sold, int place, int *decimals)
{
	int			ignored = 0;

	line->sold_quantity = line->quantity;
	line->sold_amount = line->amount;
	if (sold->type == jbvNull)
		return;
	if (sold->type != jbvBinary || !JsonContainerIsObject(sold->val.binary.data) ||
		!LineMicros(sold->val.binary.data, "quantity", place, &line->sold_quantity, &ignored) ||
		(line->has_amount && !LineMicros(sold->val.binary.data, "amount", place, &line->sold_amount, decimals)) ||
		line->sold_quantity < line->quantity || line->sold_amount < line->amount)
		RefuseLine(place, "has a wrong \"sold\"", "It is what the line was before parts of it were returned.");
}

/* Reads a line; whether it has a number of its own. */
static bool
ReadLine(Activity *activity, ActivityLine *line, JsonbContainer *object, int place)
{
	JsonbValue	values[LINE_KEYS];
	Micros		price;
	Micros		discount = 0;
	int			ignored = 0;

	FindJsonKeys(object, line_keys, LINE_KEYS, values);
	line->number = values[LINE_LINE].type == jbvNull ? place : NumberOf(&values[LINE_LINE], place);
	line->given = object;
	line->sku = TextOf(values, LINE_SKU, place);
	line->category = TextOf(values, LINE_CATEGORY, place);
	line->brand = TextOf(values, LINE_BRAND, place);
	line->grade = TextOf(values, LINE_GRADE, place);
	line->earns_given = values[LINE_EARNS].type != jbvNull;
	if (line->earns_given && values[LINE_EARNS].type != jbvBool)
		RefuseLine(place, "has an \"earns\" that is no boolean", "It is true or false.");
	line->earns = !line->earns_given || values[LINE_EARNS].val.boolean;
	if (!MicrosOf(values, LINE_QUANTITY, place, &line->quantity, &ignored))
		line->quantity = MICROS_PER_UNIT;
	line->has_amount = MicrosOf(values, LINE_AMOUNT, place, &line->amount, &activity->decimals);
	if (!line->has_amount && MicrosOf(values, LINE_PRICE, place, &price, &activity->decimals))
	{
		(void) MicrosOf(values, LINE_DISCOUNT, place, &discount, &activity->decimals);
		line->amount = MultiplyMicros(price, line->quantity) - discount;
		if (line->amount < 0)
			RefuseLine(place, "has a discount beyond its price",
					   psprintf("It is %s off %s.", MicrosText(discount), MicrosText(line->amount + discount)));
		line->has_amount = true;
		activity->lines_changed = true;
	}
	(void) MicrosOf(values, LINE_COUPON_DISCOUNT, place, &line->discount, &activity->decimals);
	ReadSold(line, &values[LINE_SOLD], place, &activity->decimals);
	return values[LINE_LINE].type != jbvNull;
}

static int
CompareNumbers(const void *a, const void *b)
{
	int32		x = *(const int32 *) a;
	int32		y = *(const int32 *) b;

	return x < y ? -1 : x > y;
}

static void
CheckNumbers(const Activity *activity)
{
	int32	   *numbers = palloc(activity->nlines * sizeof(int32));
	int32		before = 0;		/* which no line has */

	for (int i = 0; i < activity->nlines; i++)
		numbers[i] = activity->lines[i].number;
	qsort(numbers, activity->nlines, sizeof(int32), CompareNumbers);
	for (int i = 0; i < activity->nlines; i++)
	{
		if (numbers[i] == before)
			RefuseLine(numbers[i], "is there twice", "The number of a line is its \"line\", or else its place.");
		before = numbers[i];
	}
	pfree(numbers);
}

/*
 * Reads the lines of an activity: checks them, and adds up its amount where
 * that is not known.  lines is jsonb, which has to stay, or 0.
 */
void
ReadLines(Activity *activity, Datum lines)
{
	JsonbContainer *array;
	bool		any_amount = false;
	bool		any_number = false;
	Micros		sum = 0;

	activity->lines_value = lines;
	activity->lines_changed = false;
	activity->nlines = 0;
	activity->lines = NULL;
	if (lines == 0)
		return;
	array = &DatumGetJsonbP(lines)->root;
	if (!JsonContainerIsArray(array) || JsonContainerIsScalar(array) || JsonContainerSize(array) > MAX_LINES)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_ACTIVITY),
				 errmsg("lines of an activity must be an array"),
				 errdetail("It is no array, or has more than %d elements.", MAX_LINES),
				 errhint("Lines are objects such as {\"sku\": \"T1\", \"quantity\": 2, \"amount\": 8.50}.")));
	activity->nlines = JsonContainerSize(array);
	activity->lines = palloc0(activity->nlines * sizeof(ActivityLine));
	for (int i = 0; i < activity->nlines; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);

		CHECK_FOR_INTERRUPTS();
		if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
			RefuseLine(i + 1, "is no object", "Each line is an object.");
		any_number |= ReadLine(activity, &activity->lines[i], element->val.binary.data, i + 1);
		any_amount = any_amount || activity->lines[i].has_amount;
		sum = AddMicros(sum, activity->lines[i].amount);
	}
	/* places are all different */
	if (any_number)
		CheckNumbers(activity);
	if (!activity->has_amount && any_amount)
	{
		activity->has_amount = true;
		activity->amount = sum;
	}
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

static void
PushKey(JsonbParseState **state, const char *key)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &value);
}

static void
PushText(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	if (text == NULL)
		return;
	PushKey(state, key);
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

static void
PushNumber(JsonbParseState **state, const char *key, Datum numeric)
{
	JsonbValue	value = {.type = jbvNumeric};

	PushKey(state, key);
	value.val.numeric = DatumGetNumeric(numeric);
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

static bool
IsWritten(const JsonbValue *key)
{
	for (int i = 0; i < (int) lengthof(written_keys); i++)
	{
		if (strlen(written_keys[i]) == (size_t) key->val.string.len &&
			strncmp(written_keys[i], key->val.string.val, key->val.string.len) == 0)
			return true;
	}
	return false;
}

/*
 * What the caller gave beyond what we write.
 */
static void
PushRest(JsonbParseState **state, JsonbContainer *object)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbValue	value;
	JsonbIteratorToken token;
	bool		skip = false;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			skip = IsWritten(&value);
		if ((token == WJB_KEY || token == WJB_VALUE) && !skip)
			(void) pushJsonbValue(state, token, &value);
	}
}

static void
PushLine(JsonbParseState **state, const Activity *activity, const ActivityLine *line, int place)
{
	JsonbValue	earns = {.type = jbvBool};

	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	PushRest(state, line->given);
	if (line->number != place)
		PushNumber(state, "line", NumericGetDatum(int64_to_numeric(line->number)));
	PushText(state, "sku", line->sku);
	PushText(state, "category", line->category);
	PushText(state, "brand", line->brand);
	PushText(state, "grade", line->grade);
	if (line->earns_given || !line->earns)
	{
		PushKey(state, "earns");
		earns.val.boolean = line->earns;
		(void) pushJsonbValue(state, WJB_VALUE, &earns);
	}
	PushNumber(state, "quantity", MicrosToNumeric(line->quantity, 0));
	if (line->has_amount)
		PushNumber(state, "amount", MicrosToNumeric(line->amount, activity->decimals));
	if (line->discount != 0)
		PushNumber(state, "coupon_discount", MicrosToNumeric(line->discount, activity->decimals));
	if (line->sold_quantity != line->quantity)
	{
		PushKey(state, "sold");
		(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		PushNumber(state, "quantity", MicrosToNumeric(line->sold_quantity, 0));
		if (line->has_amount)
			PushNumber(state, "amount", MicrosToNumeric(line->sold_amount, activity->decimals));
		(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * The lines as jsonb, to be stored; 0 where there are none.
 */
Datum
LinesValue(const Activity *activity)
{
	JsonbParseState *state = NULL;

	if (!activity->lines_changed)
		return activity->lines_value;
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < activity->nlines; i++)
		PushLine(&state, activity, &activity->lines[i], i + 1);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}
