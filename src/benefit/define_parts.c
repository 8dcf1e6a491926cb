/*
 * define_parts.c
 *		Parts of definitions of benefits, read.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "benefit/define_parts.h"
#include "core/compat.h"

/* The amount under a key, 0 where there is none. */
int64
ReadAmount(const Place *object, const char *key)
{
	Place		place;
	Micros		amount = 0;

	if (!GetPart(object, key, &place) || !ReadDecimal(&place, &amount))
		return 0;
	if (amount == 0)
		Complain(&place, "is 0, and must be more");
	return amount;
}

/* The whole number under a key, from 1 on; 0 where there is none. */
int64
ReadCount(const Place *object, const char *key, int64 most)
{
	Place		place;
	int64		count = 0;

	if (GetPart(object, key, &place))
		(void) ReadWhole(&place, 1, most, &count);
	return count;
}

/* The interval under a key; NULL where there is none. */
Interval *
ReadInterval(const Place *object, const char *key)
{
	Place		place;
	Interval	span;
	Interval   *kept;

	if (!GetPart(object, key, &place) || !ReadSpan(&place, &span))
		return NULL;
	kept = palloc(sizeof(Interval));
	*kept = span;
	return kept;
}

/* Which of the choices stands under a key. */
int
ReadKeyword(const Place *object, const char *key, const char *const *choices, int otherwise)
{
	Place		place;
	int			choice;

	if (!GetPart(object, key, &place))
		return otherwise;
	choice = ReadChoice(&place, choices);
	return choice < 0 ? otherwise : choice;
}

/*
 * [from, until], either of which may be null, by the clock of a time zone;
 * infinite where there is none.
 */
void
ReadSpanBetween(const Place *object, const char *key, const char *time_zone, TimestampTz *from, TimestampTz *until)
{
	TimestampTz *bounds[2] = {from, until};
	Place		between;

	*from = TIMESTAMP_MINUS_INFINITY;
	*until = TIMESTAMP_INFINITY;
	if (!GetPart(object, key, &between) || !RequireArray(&between))
		return;
	if (CountElements(&between) != 2)
	{
		Complain(&between, "must have two instants, either of which may be null");
		return;
	}
	for (int i = 0; i < 2; i++)
	{
		Place		element;
		Timestamp	local;

		GetElementPlace(&between, i, &element);
		if (element.value.type != jbvNull && ReadLocalInstant(&element, &local))
			*bounds[i] = DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, CStringGetTextDatum(time_zone), TimestampGetDatum(local)));
	}
	if (*from >= *until)
		Complain(&between, "ends before it begins");
}

/* The money, a code of ISO 4217, under "money"; NULL where there is none. */
const char *
ReadMoney(const Place *object)
{
	Place		part;
	const char *money;

	if (!GetPart(object, "money", &part))
		return NULL;
	money = ReadText(&part);
	if (money != NULL && (strlen(money) != 3 || strspn(money, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3))
		Complain(&part, "is \"%s\", which is no code of ISO 4217", money);
	return money;
}
