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
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "activity/activity_record.h"
#include "core/compat.h"
#include "core/errors.h"

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

static JsonbValue *
FindKey(JsonbContainer *object, const char *key, JsonbValue *found)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, key, strlen(key), found);

	return value != NULL && value->type != jbvNull ? value : NULL;
}

static const char *
FindText(JsonbContainer *object, const char *key, int place)
{
	JsonbValue	found;

	if (FindKey(object, key, &found) == NULL)
		return NULL;
	if (found.type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(found.val.numeric)));
	if (found.type != jbvString)
		RefuseLine(place, psprintf("has a %s that is no text", key), "It is an object, an array or a boolean.");
	return pnstrdup(found.val.string.val, found.val.string.len);
}

/*
 * A number of a line; false where it has none of that name.
 */
bool
LineMicros(JsonbContainer *object, const char *key, int place, Micros *micros, int *decimals)
{
	JsonbValue	found;

	if (FindKey(object, key, &found) == NULL)
		return false;
	if (found.type != jbvNumeric)
		RefuseLine(place, psprintf("has a %s that is no number", key), "Numbers in JSON have no quotes.");
	*micros = MicrosFromNumeric(NumericGetDatum(found.val.numeric), psprintf("%s of line %d", key, place), decimals);
	return true;
}

/*
 * The number of a line; where it has none, its place.
 */
int32
LineNumber(JsonbContainer *object, int place)
{
	JsonbValue	found;

	if (FindKey(object, "line", &found) == NULL)
		return place;
	if (found.type == jbvNumeric)
	{
		char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(found.val.numeric)));

		/* a whole number that is not far off */
		if (strspn(text, "0123456789") == strlen(text) && strlen(text) < 10 && atoi(text) > 0)
			return atoi(text);
	}
	RefuseLine(place, "has no number", "\"line\" is a whole number, from 1 to 999999999.");
}

/*
 * What was sold, of a line of which a part was returned.
 */
static void
ReadSold(ActivityLine *line, JsonbContainer *object, int place, int *decimals)
{
	JsonbValue	found;
	int			ignored = 0;

	line->sold_quantity = line->quantity;
	line->sold_amount = line->amount;
	if (FindKey(object, "sold", &found) == NULL)
		return;
	if (found.type != jbvBinary || !JsonContainerIsObject(found.val.binary.data) ||
		!LineMicros(found.val.binary.data, "quantity", place, &line->sold_quantity, &ignored) ||
		(line->has_amount && !LineMicros(found.val.binary.data, "amount", place, &line->sold_amount, decimals)) ||
		line->sold_quantity < line->quantity || line->sold_amount < line->amount)
		RefuseLine(place, "has a wrong \"sold\"", "It is what the line was before parts of it were returned.");
}

static void
ReadLine(Activity *activity, ActivityLine *line, JsonbContainer *object, int place)
{
	JsonbValue	found;
	Micros		price;
	Micros		discount = 0;
	int			ignored = 0;

	line->number = LineNumber(object, place);
	line->given = object;
	line->sku = FindText(object, "sku", place);
	line->category = FindText(object, "category", place);
	line->brand = FindText(object, "brand", place);
	line->grade = FindText(object, "grade", place);
	line->earns_given = FindKey(object, "earns", &found) != NULL;
	if (line->earns_given && found.type != jbvBool)
		RefuseLine(place, "has an \"earns\" that is no boolean", "It is true or false.");
	line->earns = !line->earns_given || found.val.boolean;
	if (!LineMicros(object, "quantity", place, &line->quantity, &ignored))
		line->quantity = MICROS_PER_UNIT;
	line->has_amount = LineMicros(object, "amount", place, &line->amount, &activity->decimals);
	if (!line->has_amount && LineMicros(object, "price", place, &price, &activity->decimals))
	{
		(void) LineMicros(object, "discount", place, &discount, &activity->decimals);
		line->amount = MultiplyMicros(price, line->quantity) - discount;
		if (line->amount < 0)
			RefuseLine(place, "has a discount beyond its price",
					   psprintf("It is %s off %s.", MicrosText(discount), MicrosText(line->amount + discount)));
		line->has_amount = true;
		activity->lines_changed = true;
	}
	(void) LineMicros(object, "coupon_discount", place, &line->discount, &activity->decimals);
	ReadSold(line, object, place, &activity->decimals);
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

	for (int i = 0; i < activity->nlines; i++)
		numbers[i] = activity->lines[i].number;
	qsort(numbers, activity->nlines, sizeof(int32), CompareNumbers);
	for (int i = 1; i < activity->nlines; i++)
	{
		if (numbers[i] == numbers[i - 1])
			RefuseLine(numbers[i], "is there twice", "The number of a line is its \"line\", or else its place.");
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
		ReadLine(activity, &activity->lines[i], element->val.binary.data, i + 1);
		any_amount = any_amount || activity->lines[i].has_amount;
		sum = AddMicros(sum, activity->lines[i].amount);
	}
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
