/*
 * definition.c
 *		Reading definitions: JSON whose every mistake is named with its place.
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "activity/definition.h"
#include "core/compat.h"

/*
 * Begins to read a definition.
 */
void
WholeDefinition(Place *place, const Jsonb *json, const char *path, Problems *problems)
{
	place->path = path;
	place->problems = problems;
	place->value.type = jbvBinary;
	place->value.val.binary.data = unconstify(JsonbContainer *, &json->root);
	place->value.val.binary.len = (int) VARSIZE(json) - VARHDRSZ;
}

static void pg_attribute_printf(4, 0)
AddProblem(Problems *problems, const char *path, bool is_error, const char *format, va_list args)
{
	Problem    *problem = palloc(sizeof(Problem));
	char		text[512];

	vsnprintf(text, sizeof(text), format, args);
	problem->path = path;
	problem->is_error = is_error;
	problem->text = pstrdup(text);
	problems->list = lappend(problems->list, problem);
	problems->nerrors += is_error;
}

/*
 * Notes a mistake.
 */
void
Complain(const Place *place, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	AddProblem(place->problems, place->path, true, format, args);
	va_end(args);
}

/*
 * Notes what is allowed and probably not meant.
 */
void
Warn(const Place *place, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	AddProblem(place->problems, place->path, false, format, args);
	va_end(args);
}

void
ComplainAt(Problems *problems, const char *path, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	AddProblem(problems, path, true, format, args);
	va_end(args);
}

/* ---------------------------------------------------------------------------
 * Parts
 * ---------------------------------------------------------------------------
 */

bool
IsObjectPlace(const Place *place)
{
	return place->value.type == jbvBinary && JsonContainerIsObject(place->value.val.binary.data);
}

bool
IsArrayPlace(const Place *place)
{
	return place->value.type == jbvBinary && JsonContainerIsArray(place->value.val.binary.data) &&
		!JsonContainerIsScalar(place->value.val.binary.data);
}

bool
RequireObject(const Place *place)
{
	if (!IsObjectPlace(place))
		Complain(place, "must be an object");
	return IsObjectPlace(place);
}

bool
RequireArray(const Place *place)
{
	if (!IsArrayPlace(place))
		Complain(place, "must be an array");
	return IsArrayPlace(place);
}

static const char *
PartPath(const Place *object, const char *key)
{
	return object->path[0] == '\0' ? pstrdup(key) : psprintf("%s.%s", object->path, key);
}

/*
 * The part of an object with a key.  One that is null counts as absent.
 */
bool
GetPart(const Place *object, const char *key, Place *part)
{
	if (getKeyJsonValueFromContainer(object->value.val.binary.data, key, strlen(key), &part->value) == NULL ||
		part->value.type == jbvNull)
		return false;
	part->path = PartPath(object, key);
	part->problems = object->problems;
	return true;
}

int
CountElements(const Place *array)
{
	return (int) JsonContainerSize(array->value.val.binary.data);
}

void
GetElementPlace(const Place *array, int i, Place *element)
{
	element->value = *getIthJsonbValueFromContainer(array->value.val.binary.data, i);
	element->path = psprintf("%s[%d]", array->path, i);
	element->problems = array->problems;
}

/*
 * The parts of an object one after the other; begin with *i = 0.
 */
bool
NextKey(const Place *object, int *i, char **key, Place *part)
{
	JsonbIterator *it = JsonbIteratorInit(object->value.val.binary.data);
	JsonbValue	v;
	JsonbIteratorToken token;
	int			n = 0;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token != WJB_KEY || n++ < *i)
			continue;
		*key = pnstrdup(v.val.string.val, v.val.string.len);
		JsonbIteratorNext(&it, &part->value, true);
		part->path = PartPath(object, *key);
		part->problems = object->problems;
		(*i)++;
		return true;
	}
	return false;
}

/*
 * A misspelt key would be a rule that silently does not hold.
 */
void
RefuseUnknownKeys(const Place *object, const char *const *known)
{
	char	   *key;
	Place		part;
	int			i = 0;

	while (NextKey(object, &i, &key, &part))
	{
		const char *const *k = known;

		while (*k != NULL && strcmp(*k, key) != 0)
			k++;
		if (*k == NULL)
			Complain(&part, "is not known here");
	}
}

/* ---------------------------------------------------------------------------
 * Values
 * ---------------------------------------------------------------------------
 */

/*
 * A text, or NULL after a complaint.
 */
char *
ReadText(const Place *place)
{
	if (place->value.type != jbvString || place->value.val.string.len == 0)
	{
		Complain(place, "must be a text");
		return NULL;
	}
	return pnstrdup(place->value.val.string.val, place->value.val.string.len);
}

/*
 * A text, or an array of texts.
 */
char	  **
ReadTexts(const Place *place, int *n)
{
	char	  **texts;

	*n = 0;
	if (!IsArrayPlace(place))
	{
		texts = palloc(sizeof(char *));
		texts[0] = ReadText(place);
		*n = texts[0] != NULL;
		return texts;
	}
	texts = palloc(Max(1, CountElements(place)) * sizeof(char *));
	for (int i = 0; i < CountElements(place); i++)
	{
		Place		element;

		GetElementPlace(place, i, &element);
		texts[*n] = ReadText(&element);
		if (texts[*n] != NULL)
			(*n)++;
	}
	if (CountElements(place) == 0)
		Complain(place, "is empty, so nothing can ever be in it");
	return texts;
}

/*
 * true or false, which it also is after a complaint.
 */
bool
ReadBoolean(const Place *place)
{
	if (place->value.type == jbvBool)
		return place->value.val.boolean;
	Complain(place, "must be true or false");
	return false;
}

/*
 * A number of at most 6 decimals.
 */
bool
ReadDecimal(const Place *place, Micros *number)
{
	char	   *text;
	const char *point;
	size_t		whole;
	int			decimals = 0;

	if (place->value.type != jbvNumeric)
	{
		Complain(place, "must be a number");
		return false;
	}
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(place->value.val.numeric)));
	point = strchr(text, '.');
	whole = point != NULL ? (size_t) (point - text) : strlen(text);
	if (text[0] == '-' || whole > 12 || (point != NULL && strlen(point + 1) > MICROS_DECIMALS))
	{
		Complain(place, "is %s, and must be from 0 to 999999999999, with at most %d decimals", text, MICROS_DECIMALS);
		return false;
	}
	*number = MicrosFromNumeric(NumericGetDatum(place->value.val.numeric), "number", &decimals);
	return true;
}

/*
 * A whole number within bounds.
 */
bool
ReadWhole(const Place *place, int64 least, int64 most, int64 *number)
{
	Micros		micros;

	if (!ReadDecimal(place, &micros))
		return false;
	if (micros % MICROS_PER_UNIT != 0 || micros / MICROS_PER_UNIT < least || micros / MICROS_PER_UNIT > most)
	{
		Complain(place, "must be a whole number from " INT64_FORMAT " to " INT64_FORMAT, least, most);
		return false;
	}
	*number = micros / MICROS_PER_UNIT;
	return true;
}

/*
 * Which of the choices, which end with NULL, it is; -1 after a complaint.
 */
int
ReadChoice(const Place *place, const char *const *choices)
{
	char	   *text = ReadText(place);
	char	   *list;

	if (text == NULL)
		return -1;
	for (int i = 0; choices[i] != NULL; i++)
	{
		if (strcmp(choices[i], text) == 0)
			return i;
	}
	list = pstrdup(choices[0]);
	for (int i = 1; choices[i] != NULL; i++)
		list = psprintf("%s, %s", list, choices[i]);
	Complain(place, "is \"%s\", and must be one of: %s", text, list);
	return -1;
}

/*
 * Reads a text by an input function; false where it refuses the text.  The
 * function must do nothing but read: what it raised is caught here.
 */
bool
TryInput(PGFunction input, const char *text, Datum *result)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool good = false;
	volatile Datum read = 0;

	PG_TRY();
	{
		read = DirectFunctionCall3(input, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		good = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != MAKE_SQLSTATE('4', '2', '0', '0', '0'))
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
	}
	PG_END_TRY();
	*result = read;
	return good;
}

/* Whether a text begins as dates do in ISO 8601, and so means the same in every session and on every day. */
static bool
IsIsoDate(const char *text)
{
	static const char form[] = "dddd-dd-dd";

	for (int i = 0; form[i] != '\0'; i++)
	{
		if (form[i] == 'd' ? !isdigit((unsigned char) text[i]) : text[i] != form[i])
			return false;
	}
	return !isdigit((unsigned char) text[strlen(form)]);
}

/*
 * Reads a date, such as 2026-05-10; false where the text is none.  What depends
 * on DateStyle or on the day, such as 05/10/2026 or today, is none.
 */
bool
TryDate(const char *text, DateADT *date)
{
	Datum		datum;

	if (!IsIsoDate(text) || !TryInput(date_in, text, &datum) || DATE_NOT_FINITE(DatumGetDateADT(datum)))
		return false;
	*date = DatumGetDateADT(datum);
	return true;
}

/*
 * An interval that is positive.
 */
bool
ReadSpan(const Place *place, Interval *span)
{
	char	   *text = ReadText(place);
	Datum		datum;

	if (text == NULL)
		return false;
	if (!TryInput(interval_in, text, &datum))
	{
		Complain(place, "is \"%s\", which is no interval", text);
		return false;
	}
	*span = *DatumGetIntervalP(datum);
	if (span->month < 0 || span->day < 0 || span->time < 0 ||
		(span->month == 0 && span->day == 0 && span->time == 0) ||
		span->month > 12000 || span->day > 365000 || span->time > 365000 * USECS_PER_DAY)
	{
		Complain(place, "is \"%s\", and must be positive and at most 1000 years", text);
		return false;
	}
	return true;
}

/*
 * A date, or a date with a time, by the clock of wherever it is compared.
 */
bool
ReadLocalInstant(const Place *place, Timestamp *instant)
{
	char	   *text = ReadText(place);
	Datum		datum;

	if (text == NULL)
		return false;
	if (!IsIsoDate(text) || !TryInput(timestamp_in, text, &datum) || TIMESTAMP_NOT_FINITE(DatumGetTimestamp(datum)))
	{
		Complain(place, "is \"%s\", which is no date", text);
		return false;
	}
	*instant = DatumGetTimestamp(datum);
	return true;
}

/*
 * A time zone, by its name, which is kept as given; NULL where there is none.
 */
pg_tz *
ReadTimeZone(const Place *place, const char **name)
{
	char	   *text = ReadText(place);
	pg_tz	   *zone = text == NULL ? NULL : pg_tzset(text);

	if (text != NULL && zone == NULL)
		Complain(place, "is \"%s\", which is no time zone", text);
	if (zone != NULL)
		*name = text;
	return zone;
}
