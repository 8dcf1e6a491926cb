/*
 * condition.c
 *		Conditions: read from their definition, and evaluated.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"

#include "activity/condition.h"
#include "core/compat.h"

typedef enum ConditionKind
{
	CONDITION_ALL,
	CONDITION_ANY,
	CONDITION_NOT,
	CONDITION_AMOUNT,
	CONDITION_ACTIVITIES,
	CONDITION_CHANNEL,
	CONDITION_WEEKDAY,
	CONDITION_MONTH_DAY,
	CONDITION_HOURS,
	CONDITION_BETWEEN,
	CONDITION_LINES,
	CONDITION_REACHED,
	CONDITION_PATH,
	CONDITION_FACT
} ConditionKind;

/* What reading it costs: the cheap ones are looked at first. */
static const int costs[] = {
	[CONDITION_AMOUNT] = 1,
	[CONDITION_ACTIVITIES] = 1,
	[CONDITION_CHANNEL] = 1,
	[CONDITION_WEEKDAY] = 2,
	[CONDITION_MONTH_DAY] = 2,
	[CONDITION_HOURS] = 2,
	[CONDITION_BETWEEN] = 2,
	[CONDITION_LINES] = 3,
	[CONDITION_REACHED] = 3,
	[CONDITION_PATH] = 20,
	[CONDITION_FACT] = 1000
};

/* Numbers from least to most, either of which may be absent or left out. */
typedef struct Range
{
	bool		has_least;
	bool		has_most;
	bool		above_least;
	bool		below_most;
	Micros		least;
	Micros		most;
} Range;

/* Which lines, by what they are of. */
enum
{
	LINE_SKU,
	LINE_CATEGORY,
	LINE_BRAND,
	LINE_GRADE,
	LINE_TRAITS
};

static const char *const line_traits[] = {"sku", "category", "brand", "grade"};

typedef struct Texts
{
	int			n;
	char	  **texts;
} Texts;

struct Condition
{
	ConditionKind kind;
	const char *path;			/* where it stands in its definition */
	int			cost;
	bool		negated;		/* stands under a not */

	int			nparts;			/* all, any, not */
	Condition **parts;
	const Condition *hours;		/* of days: those beside it */

	Range		range;			/* amount, activities, count, spent; of lines
								 * the quantity */
	Range		amount;			/* of lines */
	Texts		texts;			/* channel, levels */
	const char *ladder;			/* reached */
	Texts		traits[LINE_TRAITS];
	uint32		days;			/* bit of each weekday or day of the month */
	Timestamp	from;			/* between; hours: since midnight */
	Timestamp	until;
	Datum		jsonpath;
	FactQuestion question;
};

const char *const period_names[] = {"day", "week", "month", "quarter", "year", "lifetime", NULL};

/* ---------------------------------------------------------------------------
 * Time
 * ---------------------------------------------------------------------------
 */

static int
IsoWeekday(DateADT day)
{
	return (int) (((int64) day + 5) % 7 + 7) % 7 + 1;
}

/*
 * The first day of the period in which a day lies; of the lifetime 2000-01-01,
 * which only stands for it.
 */
DateADT
FirstDayOf(Period period, DateADT day)
{
	int			year;
	int			month;
	int			dom;

	if (period == PERIOD_DAY)
		return day;
	if (period == PERIOD_WEEK)
		return day - (IsoWeekday(day) - 1);
	if (period == PERIOD_LIFETIME)
		return 0;
	j2date(day + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	if (period == PERIOD_QUARTER)
		month = (month - 1) / 3 * 3 + 1;
	else if (period == PERIOD_YEAR)
		month = 1;
	return date2j(year, month, 1) - POSTGRES_EPOCH_JDATE;
}

/*
 * The first day behind it.
 */
DateADT
FirstDayAfter(Period period, DateADT day)
{
	int			year;
	int			month;
	int			dom;
	int			months = period == PERIOD_MONTH ? 1 : period == PERIOD_QUARTER ? 3 : 12;

	if (period == PERIOD_DAY)
		return day + 1;
	if (period == PERIOD_WEEK)
		return FirstDayOf(period, day) + 7;
	if (period == PERIOD_LIFETIME)
		return DATEVAL_NOEND;
	j2date(FirstDayOf(period, day) + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	month += months;
	if (month > 12)
	{
		month -= 12;
		year++;
	}
	return date2j(year, month, 1) - POSTGRES_EPOCH_JDATE;
}

/*
 * Whether a day lies in the window around somebody's birthday.
 */
bool
IsBirthdayWindow(DateADT birthday, DateADT day, int before, int after, bool leap_on_mar1)
{
	int			year;
	int			month;
	int			dom;
	int			this_year;
	int			m;
	int			d;

	j2date(birthday + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
	j2date(day + POSTGRES_EPOCH_JDATE, &this_year, &m, &d);
	for (int y = this_year - 1; y <= this_year + 1; y++)
	{
		bool		moved = month == 2 && dom == 29 && !isleap(y);
		DateADT		in_year = date2j(y, moved && leap_on_mar1 ? 3 : month, !moved ? dom : leap_on_mar1 ? 1 : 28) - POSTGRES_EPOCH_JDATE;

		if (day >= in_year - before && day <= in_year + after)
			return true;
	}
	return false;
}

/*
 * Whether an attribute's value, which is a scalar, is one of those asked for.
 */
bool
IsOneOfTexts(const FactQuestion *question, const JsonbValue *value)
{
	const char *text = NULL;

	switch (value->type)
	{
		case jbvString:
			text = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			break;
		default:
			return false;
	}
	for (int i = 0; i < question->ntexts; i++)
	{
		if (strcmp(question->texts[i], text) == 0)
			return true;
	}
	return false;
}

/*
 * A time zone by its name; the caller has checked that there is one.
 */
pg_tz *
FindZone(const char *name)
{
	pg_tz	   *zone = pg_tzset(name);

	if (zone == NULL)
		elog(ERROR, "there is no time zone \"%s\"", name);
	return zone;
}

/*
 * What the clocks of a zone show at an instant.
 */
Timestamp
LocalInstant(TimestampTz at, pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	Timestamp	local;

	if (timestamp2tm(at, &offset, &tm, &fsec, NULL, zone) != 0 || tm2timestamp(&tm, fsec, NULL, &local) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return local;
}

/* ---------------------------------------------------------------------------
 * Reading a definition
 * ---------------------------------------------------------------------------
 */

static Condition *ParseObject(const Place *place, bool negated, bool of_window);

static Condition *
MakeCondition(ConditionKind kind, const Place *place, bool negated)
{
	Condition  *condition = palloc0(sizeof(Condition));

	condition->kind = kind;
	condition->path = place->path;
	condition->negated = negated;
	if (kind != CONDITION_ALL && kind != CONDITION_ANY && kind != CONDITION_NOT)
		condition->cost = costs[kind];
	return condition;
}

/* Adds a part behind those that cost as much. */
static void
AddPart(Condition *condition, Condition *part)
{
	int			i;

	if (condition->parts == NULL)
		condition->parts = palloc(sizeof(Condition *));
	else
		condition->parts = repalloc(condition->parts, (condition->nparts + 1) * sizeof(Condition *));
	for (i = condition->nparts; i > 0 && condition->parts[i - 1]->cost > part->cost; i--)
		condition->parts[i] = condition->parts[i - 1];
	condition->parts[i] = part;
	condition->nparts++;
	condition->cost += part->cost;
}

static bool
IsEmptyRange(const Range *range)
{
	return range->has_least && range->has_most &&
		(range->least > range->most ||
		 (range->least == range->most && (range->above_least || range->below_most)));
}

/* Narrows a range to what is in another, too. */
static void
Intersect(Range *range, const Range *other)
{
	if (other->has_least && (!range->has_least || other->least > range->least ||
							 (other->least == range->least && other->above_least)))
	{
		range->has_least = true;
		range->least = other->least;
		range->above_least = other->above_least;
	}
	if (other->has_most && (!range->has_most || other->most < range->most ||
							(other->most == range->most && other->below_most)))
	{
		range->has_most = true;
		range->most = other->most;
		range->below_most = other->below_most;
	}
}

static const char *const comparisons[] = {">=", ">", "<=", "<", "=", NULL};

/*
 * Reads the comparisons of an object; others says which further keys it may
 * have.
 */
static void
ReadRange(const Place *place, Range *range)
{
	bool		any = false;

	memset(range, 0, sizeof(Range));
	for (int i = 0; comparisons[i] != NULL; i++)
	{
		Place		part;
		Range		given = {0};
		Micros		number;

		if (!GetPart(place, comparisons[i], &part))
			continue;
		any = true;
		if (!ReadDecimal(&part, &number))
			continue;
		given.has_least = i == 0 || i == 1 || i == 4;
		given.has_most = i == 2 || i == 3 || i == 4;
		given.above_least = i == 1;
		given.below_most = i == 3;
		given.least = given.most = number;
		Intersect(range, &given);
	}
	if (!any)
		Complain(place, "needs a comparison: >=, >, <=, < or =");
	else if (IsEmptyRange(range))
		Complain(place, "can never hold");
}

static void
ReadRangeAlone(const Place *place, Range *range)
{
	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, comparisons);
	ReadRange(place, range);
}

static uint32
ReadDays(const Place *place, int most)
{
	uint32		days = 0;
	int64		day;

	if (!IsArrayPlace(place))
	{
		if (ReadWhole(place, 1, most, &day))
			days = (uint32) 1 << day;
		return days;
	}
	for (int i = 0; i < CountElements(place); i++)
	{
		Place		element;

		GetElementPlace(place, i, &element);
		if (ReadWhole(&element, 1, most, &day))
			days |= (uint32) 1 << day;
	}
	if (CountElements(place) == 0)
		Complain(place, "is empty, so it can never hold");
	return days;
}

/* The two ends of a span. */
static bool
GetEnds(const Place *place, Place *from, Place *until)
{
	if (!IsArrayPlace(place) || CountElements(place) != 2)
	{
		Complain(place, "must be an array of two: from, and until");
		return false;
	}
	GetElementPlace(place, 0, from);
	GetElementPlace(place, 1, until);
	return true;
}

static void
ReadBetween(const Place *place, Condition *condition)
{
	Place		from;
	Place		until;

	if (!GetEnds(place, &from, &until))
		return;
	condition->from = DT_NOBEGIN;
	condition->until = DT_NOEND;
	if (from.value.type != jbvNull)
		ReadLocalInstant(&from, &condition->from);
	if (until.value.type != jbvNull)
		ReadLocalInstant(&until, &condition->until);
	if (condition->from >= condition->until)
		Complain(place, "ends before it begins, so it can never hold");
}

static bool
ReadHour(const Place *place, Timestamp *hour)
{
	char	   *text = ReadText(place);
	Datum		time;

	if (text == NULL)
		return false;
	if (!TryInput(time_in, text, &time))
	{
		Complain(place, "is \"%s\", which is no time of the day", text);
		return false;
	}
	*hour = DatumGetTimeADT(time);
	return true;
}

static void
ReadHours(const Place *place, Condition *condition)
{
	Place		from;
	Place		until;

	if (GetEnds(place, &from, &until) && ReadHour(&from, &condition->from) && ReadHour(&until, &condition->until) &&
		condition->from == condition->until)
		Complain(place, "is empty, so it can never hold");
}

static void
ReadSelector(const Place *place, Condition *condition)
{
	static const char *const known[] = {"sku", "category", "brand", "grade", "quantity", "amount", NULL};
	Place		part;
	bool		any = false;

	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, known);
	for (int i = 0; i < LINE_TRAITS; i++)
	{
		if (!GetPart(place, line_traits[i], &part))
			continue;
		condition->traits[i].texts = ReadTexts(&part, &condition->traits[i].n);
		any = true;
	}
	if (GetPart(place, "quantity", &part))
	{
		ReadRangeAlone(&part, &condition->range);
		any = true;
	}
	if (GetPart(place, "amount", &part))
	{
		ReadRangeAlone(&part, &condition->amount);
		any = true;
	}
	if (!any)
		Complain(place, "asks for nothing");
}

/*
 * What jsonb_path_match() says, which may be NULL; silent says whether it may
 * raise errors instead.
 */
static bool
MatchPath(Datum document, Datum jsonpath, bool silent, bool *isnull)
{
	union
	{
		Jsonb		object;
		char		bytes[VARHDRSZ + sizeof(uint32)];
	}			no_variables;
	Datum		result;

	LOCAL_FCINFO(fcinfo, 4);

	SET_VARSIZE(&no_variables, sizeof(no_variables.bytes));
	no_variables.object.root.header = JB_FOBJECT;
	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = document;
	fcinfo->args[1].value = jsonpath;
	fcinfo->args[2].value = JsonbPGetDatum(&no_variables.object);
	fcinfo->args[3].value = BoolGetDatum(silent);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	result = jsonb_path_match(fcinfo);
	*isnull = fcinfo->isnull;
	return !*isnull && DatumGetBool(result);
}

/*
 * Whether a path gives a truth: tried on an empty object, since what gives none
 * there is no predicate.
 */
static bool
GivesTruth(Datum jsonpath)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool gives = true;
	bool		isnull;
	Datum		empty;

	TryInput(jsonb_in, "{}", &empty);
	PG_TRY();
	{
		MatchPath(empty, jsonpath, false, &isnull);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		gives = error->sqlerrcode != ERRCODE_SINGLETON_SQL_JSON_ITEM_REQUIRED;
		FreeErrorData(error);
	}
	PG_END_TRY();
	return gives;
}

static void
ReadPath(const Place *place, Condition *condition)
{
	char	   *text = ReadText(place);

	if (text == NULL)
		return;
	if (!TryInput(jsonpath_in, text, &condition->jsonpath))
	{
		Complain(place, "is no jsonpath: %s", text);
		return;
	}
	if (!GivesTruth(condition->jsonpath))
		Complain(place, "is no predicate: it must be true or false");
	for (const char *c = strchr(text, '!'); c != NULL; c = strchr(c + 1, '!'))
	{
		if (c[1] != '=' && strstr(c, "exists") == NULL)
		{
			Warn(place, "has a negation that holds where the field is missing; ask exists() as well, or use \"strict\"");
			break;
		}
	}
}

/* {"name": [texts]}, for tiers and attributes */
static bool
ReadNamedTexts(const Place *place, const char **name, Texts *texts)
{
	Place		part;
	char	   *key;
	int			i = 0;

	if (!RequireObject(place))
		return false;
	if (!NextKey(place, &i, &key, &part))
	{
		Complain(place, "asks for nothing");
		return false;
	}
	*name = key;
	texts->texts = ReadTexts(&part, &texts->n);
	if (NextKey(place, &i, &key, &part))
		Complain(&part, "is one too many; write {\"all\": [...]}");
	return texts->n > 0;
}

static void
ReadHistory(const Place *place, Condition *condition)
{
	static const char *const known[] = {"kind", "within", ">=", ">", "<=", "<", "=", NULL};
	FactQuestion *question = &condition->question;
	Place		part;

	question->within = PERIOD_LIFETIME;
	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, known);
	if (GetPart(place, "kind", &part))
		question->name = ReadText(&part);
	else
		Complain(place, "needs a kind of activities");
	if (GetPart(place, "within", &part))
		question->within = (Period) Max(0, ReadChoice(&part, period_names));
	ReadRange(place, &condition->range);
}

static void
ReadBirthday(const Place *place, FactQuestion *question)
{
	static const char *const known[] = {"before", "after", "leap_day", NULL};
	static const char *const leap_days[] = {"feb28", "mar1", NULL};
	Place		part;
	int64		days;

	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, known);
	if (GetPart(place, "before", &part) && ReadWhole(&part, 0, 180, &days))
		question->before = (int) days;
	if (GetPart(place, "after", &part) && ReadWhole(&part, 0, 180, &days))
		question->after = (int) days;
	if (GetPart(place, "leap_day", &part))
		question->leap_on_mar1 = ReadChoice(&part, leap_days) == 1;
}

/* What stands for the question in what is kept of its answer. */
static const char *
QuestionKey(const FactQuestion *question)
{
	char	   *key;

	switch (question->kind)
	{
		case FACT_TIER:
			return psprintf("tier:%s", question->name);
		case FACT_COUNT:
			return psprintf("count:%s:%s", question->name, period_names[question->within]);
		case FACT_SPENT:
			return psprintf("spent:%s:%s", question->name, period_names[question->within]);
		case FACT_HOLIDAY:
			return psprintf("holiday:%s", question->name);
		case FACT_BIRTHDAY:
			return psprintf("birthday:%d:%d:%s", question->before, question->after, question->leap_on_mar1 ? "mar1" : "feb28");
		case FACT_ATTRIBUTE:
			key = psprintf("attribute:%s", question->name);
			for (int i = 0; i < question->ntexts; i++)
				key = psprintf("%s:%s", key, question->texts[i]);
			return key;
	}
	return NULL;
}

static Condition *
MakeFact(FactKind kind, const Place *place, bool negated)
{
	Condition  *condition = MakeCondition(CONDITION_FACT, place, negated);
	FactQuestion *question = &condition->question;

	question->kind = kind;
	switch (kind)
	{
		case FACT_TIER:
			ReadNamedTexts(place, &question->name, &condition->texts);
			break;
		case FACT_COUNT:
		case FACT_SPENT:
			ReadHistory(place, condition);
			break;
		case FACT_HOLIDAY:
			question->name = ReadText(place);
			break;
		case FACT_BIRTHDAY:
			ReadBirthday(place, question);
			break;
		case FACT_ATTRIBUTE:
			ReadNamedTexts(place, &question->name, &condition->texts);
			question->ntexts = condition->texts.n;
			question->texts = condition->texts.texts;
			break;
	}
	if (question->name == NULL)
		question->name = "";
	question->key = QuestionKey(question);
	return condition;
}

static Condition *
ParseList(ConditionKind kind, const Place *place, bool negated, bool of_window)
{
	Condition  *condition = MakeCondition(kind, place, negated);

	if (!RequireArray(place))
		return condition;
	if (CountElements(place) == 0)
		Complain(place, "is empty");
	for (int i = 0; i < CountElements(place); i++)
	{
		Place		element;
		Condition  *part;

		GetElementPlace(place, i, &element);
		part = ParseObject(&element, negated, of_window);
		if (part != NULL)
			AddPart(condition, part);
	}
	return condition;
}

/* One predicate by its key; NULL where there is no such. */
static Condition *
ParsePredicate(const char *key, const Place *place, bool negated, bool of_window)
{
	static const struct
	{
		const char *key;
		FactKind	kind;
	}			facts[] = {
		{"tier", FACT_TIER}, {"count", FACT_COUNT}, {"spent", FACT_SPENT},
		{"holiday", FACT_HOLIDAY}, {"birthday", FACT_BIRTHDAY}, {"attribute", FACT_ATTRIBUTE}
	};
	Condition  *condition;

	if (strcmp(key, "all") == 0)
		return ParseList(CONDITION_ALL, place, negated, of_window);
	if (strcmp(key, "any") == 0)
		return ParseList(CONDITION_ANY, place, negated, of_window);
	if (strcmp(key, "not") == 0)
	{
		Condition  *part = ParseObject(place, true, of_window);

		condition = MakeCondition(CONDITION_NOT, place, negated);
		if (part != NULL)
			AddPart(condition, part);
		return condition;
	}
	if (strcmp(key, "amount") == 0)
	{
		condition = MakeCondition(CONDITION_AMOUNT, place, negated);
		ReadRangeAlone(place, &condition->range);
		return condition;
	}
	if (strcmp(key, "lines") == 0)
	{
		condition = MakeCondition(CONDITION_LINES, place, negated);
		ReadSelector(place, condition);
		return condition;
	}
	if (of_window)
	{
		if (strcmp(key, "activities") != 0)
			return NULL;
		condition = MakeCondition(CONDITION_ACTIVITIES, place, negated);
		ReadRangeAlone(place, &condition->range);
		return condition;
	}
	if (strcmp(key, "channel") == 0)
	{
		condition = MakeCondition(CONDITION_CHANNEL, place, negated);
		condition->texts.texts = ReadTexts(place, &condition->texts.n);
		return condition;
	}
	if (strcmp(key, "weekday") == 0)
	{
		condition = MakeCondition(CONDITION_WEEKDAY, place, negated);
		condition->days = ReadDays(place, 7);
		return condition;
	}
	if (strcmp(key, "month_day") == 0)
	{
		condition = MakeCondition(CONDITION_MONTH_DAY, place, negated);
		condition->days = ReadDays(place, 31);
		return condition;
	}
	if (strcmp(key, "hours") == 0)
	{
		condition = MakeCondition(CONDITION_HOURS, place, negated);
		ReadHours(place, condition);
		return condition;
	}
	if (strcmp(key, "between") == 0)
	{
		condition = MakeCondition(CONDITION_BETWEEN, place, negated);
		ReadBetween(place, condition);
		return condition;
	}
	if (strcmp(key, "reached") == 0)
	{
		condition = MakeCondition(CONDITION_REACHED, place, negated);
		ReadNamedTexts(place, &condition->ladder, &condition->texts);
		return condition;
	}
	if (strcmp(key, "path") == 0)
	{
		condition = MakeCondition(CONDITION_PATH, place, negated);
		ReadPath(place, condition);
		return condition;
	}
	for (int i = 0; i < (int) lengthof(facts); i++)
	{
		if (strcmp(facts[i].key, key) == 0)
			return MakeFact(facts[i].kind, place, negated);
	}
	return NULL;
}

/* Notes where parts that must hold together never do. */
static void
RefuseContradictions(const Condition *condition, const Place *place)
{
	Range		amount = {0};
	uint32		weekdays = ~(uint32) 0;
	uint32		month_days = ~(uint32) 0;

	for (int i = 0; i < condition->nparts; i++)
	{
		const Condition *part = condition->parts[i];

		if (part->kind == CONDITION_AMOUNT)
			Intersect(&amount, &part->range);
		if (part->kind == CONDITION_WEEKDAY)
			weekdays &= part->days;
		if (part->kind == CONDITION_MONTH_DAY)
			month_days &= part->days;
	}
	if (IsEmptyRange(&amount) || weekdays == 0 || month_days == 0)
		Complain(place, "can never hold: its parts contradict each other");
}

/*
 * An object of predicates, all of which must hold.
 */
static Condition *
ParseObject(const Place *place, bool negated, bool of_window)
{
	Condition  *condition;
	const Condition *hours = NULL;
	Place		part;
	char	   *key;
	int			problems_before = place->problems->nerrors;
	int			i = 0;

	check_stack_depth();
	if (!RequireObject(place))
		return NULL;
	condition = MakeCondition(CONDITION_ALL, place, negated);
	while (NextKey(place, &i, &key, &part))
	{
		Condition  *predicate;

		if (part.value.type == jbvNull)
			continue;
		predicate = ParsePredicate(key, &part, negated, of_window);
		if (predicate == NULL)
			Complain(&part, of_window ? "is not known of a window" : "is no predicate");
		else
			AddPart(condition, predicate);
	}
	for (i = 0; i < condition->nparts; i++)
	{
		if (condition->parts[i]->kind == CONDITION_HOURS)
			hours = condition->parts[i];
	}
	for (i = 0; i < condition->nparts; i++)
		condition->parts[i]->hours = hours;
	if (condition->nparts == 0 && place->problems->nerrors == problems_before)
		Complain(place, "asks for nothing");
	if (condition->nparts == 1 && condition->parts[0]->kind == CONDITION_ALL)
		condition = condition->parts[0];
	if (place->problems->nerrors == problems_before)
		RefuseContradictions(condition, place);
	return condition->nparts == 1 ? condition->parts[0] : condition;
}

/*
 * A condition on an activity.  Check the place's problems before it is used.
 */
Condition *
ParseCondition(const Place *place)
{
	return ParseObject(place, false, false);
}

/*
 * A condition on what a window's activities add up to.
 */
Condition *
ParseWindowCondition(const Place *place)
{
	return ParseObject(place, false, true);
}

/*
 * What {"lines": ...} says, without the word.
 */
Condition *
ParseLineSelector(const Place *place)
{
	Condition  *condition = MakeCondition(CONDITION_LINES, place, false);

	ReadSelector(place, condition);
	return condition;
}

/* ---------------------------------------------------------------------------
 * Evaluating
 * ---------------------------------------------------------------------------
 */

static bool
IsInRange(const Range *range, int128 number)
{
	if (range->has_least && (number < range->least || (number == range->least && range->above_least)))
		return false;
	if (range->has_most && (number > range->most || (number == range->most && range->below_most)))
		return false;
	return true;
}

/*
 * At, by the clock that counts.
 */
Timestamp
LocalOfSubject(ConditionSubject *subject)
{
	if (!subject->local_known)
	{
		pg_tz	   *zone = subject->zone;

		if (zone == NULL)
			zone = FindZone(subject->activity->time_zone);
		subject->local = LocalInstant(subject->activity->at, zone);
		subject->local_known = true;
	}
	return subject->local;
}

static Timestamp
TimeOfDay(Timestamp local)
{
	Timestamp	time = local % USECS_PER_DAY;

	return time < 0 ? time + USECS_PER_DAY : time;
}

/*
 * The local day for the predicates of days: in hours over midnight the one on
 * which they began.
 */
static DateADT
SubjectDay(const Condition *condition, ConditionSubject *subject)
{
	const Condition *hours = condition->hours;
	DateADT		day;

	if (subject->zone == NULL)
		day = subject->activity->local_day;
	else
		day = (DateADT) ((LocalOfSubject(subject) - TimeOfDay(LocalOfSubject(subject))) / USECS_PER_DAY);
	if (hours != NULL && hours->until < hours->from && TimeOfDay(LocalOfSubject(subject)) < hours->until)
		day--;
	return day;
}

static bool
IsHours(const Condition *condition, ConditionSubject *subject)
{
	Timestamp	time = TimeOfDay(LocalOfSubject(subject));

	if (condition->from < condition->until)
		return time >= condition->from && time < condition->until;
	return time >= condition->from || time < condition->until;
}

static bool
IsOneOf(const Texts *texts, const char *text)
{
	for (int i = 0; i < texts->n; i++)
	{
		if (strcmp(texts->texts[i], text) == 0)
			return true;
	}
	return false;
}

/* A category is also what lies under it. */
static bool
IsUnderOneOf(const Texts *texts, const char *path)
{
	for (int i = 0; i < texts->n; i++)
	{
		size_t		length = strlen(texts->texts[i]);

		if (strncmp(texts->texts[i], path, length) == 0 && (path[length] == '\0' || path[length] == '/'))
			return true;
	}
	return false;
}

static Truth
IsLineOf(const Condition *condition, const ActivityLine *line)
{
	const char *const traits[LINE_TRAITS] = {line->sku, line->category, line->brand, line->grade};
	Truth		truth = TRUTH_YES;

	for (int i = 0; i < LINE_TRAITS; i++)
	{
		if (condition->traits[i].n == 0)
			continue;
		if (traits[i] == NULL)
			truth = TRUTH_UNKNOWN;
		else if (i == LINE_CATEGORY ? !IsUnderOneOf(&condition->traits[i], traits[i]) : !IsOneOf(&condition->traits[i], traits[i]))
			return TRUTH_NO;
	}
	return truth;
}

/* Whether lines are there, or their sums are; selected is set for those, or is NULL. */
static Truth
EvaluateLines(const Condition *condition, const Activity *activity, bool *selected)
{
	int128		quantity = 0;
	int128		amount = 0;
	bool		any = false;
	bool		unsure = false;
	bool		sums = condition->range.has_least || condition->range.has_most ||
		condition->amount.has_least || condition->amount.has_most;
	bool		holds;

	if (activity->lines == NULL)
		return TRUTH_UNKNOWN;
	for (int i = 0; i < activity->nlines; i++)
	{
		const ActivityLine *line = &activity->lines[i];
		Truth		truth;

		/* one of which nothing is left is not there */
		if (line->quantity == 0 && line->amount == 0)
			continue;
		truth = IsLineOf(condition, line);
		unsure = unsure || truth == TRUTH_UNKNOWN;
		if (truth != TRUTH_YES)
			continue;
		any = true;
		quantity += line->quantity;
		if (line->has_amount)
			amount += line->amount;
		else if (condition->amount.has_least || condition->amount.has_most)
			unsure = true;
		if (selected != NULL)
			selected[i] = true;
	}
	if (!sums)
		return any ? TRUTH_YES : unsure ? TRUTH_UNKNOWN : TRUTH_NO;
	holds = IsInRange(&condition->range, quantity) && IsInRange(&condition->amount, amount);
	if (!unsure)
		return TruthOf(holds);
	/* more lines can only add to the sums */
	return holds && !condition->range.has_most && !condition->amount.has_most ? TRUTH_YES : TRUTH_UNKNOWN;
}

static Truth
EvaluatePath(const Condition *condition, const Activity *activity)
{
	bool		isnull;
	bool		holds;

	if (activity->document == 0)
		return TRUTH_UNKNOWN;
	holds = MatchPath(activity->document, condition->jsonpath, true, &isnull);
	return isnull ? TRUTH_UNKNOWN : TruthOf(holds);
}

/* A text of the document; NULL: it has none. */
static const char *
DocumentText(const Activity *activity, const char *key)
{
	JsonbValue	found;

	if (activity->document == 0 || !JB_ROOT_IS_OBJECT(DatumGetJsonbP(activity->document)) ||
		getKeyJsonValueFromContainer(&DatumGetJsonbP(activity->document)->root, key, strlen(key), &found) == NULL ||
		found.type != jbvString)
		return NULL;
	return pnstrdup(found.val.string.val, found.val.string.len);
}

static Truth
EvaluateReached(const Condition *condition, const Activity *activity)
{
	const char *ladder = DocumentText(activity, "ladder");
	const char *level = DocumentText(activity, "to");
	const char *event = DocumentText(activity, "event");

	if (ladder == NULL || event == NULL)
		return TRUTH_UNKNOWN;
	return TruthOf(strcmp(ladder, condition->ladder) == 0 && level != NULL && IsOneOf(&condition->texts, level) &&
				   (strcmp(event, "upgraded") == 0 || strcmp(event, "enrolled") == 0));
}

static Truth
EvaluateFact(const Condition *condition, ConditionSubject *subject)
{
	const FactQuestion *question = &condition->question;
	FactAnswer	answer = {0};

	if (subject->read == NULL)
		return TRUTH_UNKNOWN;
	subject->read(question, subject->activity, SubjectDay(condition, subject), &answer, subject->arg);
	if (!answer.known)
		return TRUTH_UNKNOWN;
	switch (question->kind)
	{
		case FACT_TIER:
			return answer.text == NULL ? TRUTH_UNKNOWN : TruthOf(IsOneOf(&condition->texts, answer.text));
		case FACT_COUNT:
		case FACT_SPENT:
			return TruthOf(IsInRange(&condition->range, answer.number));
		case FACT_HOLIDAY:
		case FACT_BIRTHDAY:
		case FACT_ATTRIBUTE:
			return answer.truth;
	}
	return TRUTH_UNKNOWN;
}

/* Whether all parts hold; once one does not, no more is read than needed. */
static Truth
EvaluateAll(const Condition *condition, ConditionSubject *subject)
{
	Truth		all = TRUTH_YES;

	for (int i = 0; i < condition->nparts; i++)
	{
		Truth		truth = EvaluateCondition(condition->parts[i], subject);

		if (truth == TRUTH_NO || (truth == TRUTH_UNKNOWN && !condition->negated))
			return truth;
		if (truth == TRUTH_UNKNOWN)
			all = TRUTH_UNKNOWN;
	}
	return all;
}

static Truth
EvaluateAny(const Condition *condition, ConditionSubject *subject)
{
	Truth		any = TRUTH_NO;

	for (int i = 0; i < condition->nparts; i++)
	{
		Truth		truth = EvaluateCondition(condition->parts[i], subject);

		if (truth == TRUTH_YES)
			return truth;
		if (truth == TRUTH_UNKNOWN)
			any = TRUTH_UNKNOWN;
	}
	return any;
}

static Truth
EvaluateLeaf(const Condition *condition, ConditionSubject *subject)
{
	const Activity *activity = subject->activity;
	int			year;
	int			month;
	int			dom;

	switch (condition->kind)
	{
		case CONDITION_AMOUNT:
			if (!activity->has_amount ||
				(subject->money != NULL && activity->money != NULL && strcmp(subject->money, activity->money) != 0))
				return TRUTH_UNKNOWN;
			return TruthOf(IsInRange(&condition->range, activity->amount));
		case CONDITION_ACTIVITIES:
			return TruthOf(IsInRange(&condition->range, (int128) subject->nactivities * MICROS_PER_UNIT));
		case CONDITION_CHANNEL:
			if (activity->channel == NULL)
				return TRUTH_UNKNOWN;
			return TruthOf(IsOneOf(&condition->texts, activity->channel));
		case CONDITION_WEEKDAY:
			return TruthOf((condition->days >> IsoWeekday(SubjectDay(condition, subject))) & 1);
		case CONDITION_MONTH_DAY:
			j2date(SubjectDay(condition, subject) + POSTGRES_EPOCH_JDATE, &year, &month, &dom);
			return TruthOf((condition->days >> dom) & 1);
		case CONDITION_HOURS:
			return TruthOf(IsHours(condition, subject));
		case CONDITION_BETWEEN:
			return TruthOf(LocalOfSubject(subject) >= condition->from && LocalOfSubject(subject) < condition->until);
		case CONDITION_LINES:
			return EvaluateLines(condition, activity, NULL);
		case CONDITION_REACHED:
			return EvaluateReached(condition, activity);
		case CONDITION_PATH:
			return EvaluatePath(condition, activity);
		case CONDITION_FACT:
			return EvaluateFact(condition, subject);
		default:
			elog(ERROR, "unexpected condition %d", (int) condition->kind);
	}
	return TRUTH_UNKNOWN;
}

/*
 * Whether a condition holds; where not, subject->failed_at is the place of
 * what failed first.
 */
Truth
EvaluateCondition(const Condition *condition, ConditionSubject *subject)
{
	Truth		truth;

	switch (condition->kind)
	{
		case CONDITION_ALL:
			return EvaluateAll(condition, subject);
		case CONDITION_ANY:
			truth = EvaluateAny(condition, subject);
			break;
		case CONDITION_NOT:
			truth = EvaluateCondition(condition->parts[0], subject);
			truth = truth == TRUTH_UNKNOWN ? truth : truth == TRUTH_YES ? TRUTH_NO : TRUTH_YES;
			break;
		default:
			truth = EvaluateLeaf(condition, subject);
	}
	if (truth != TRUTH_YES)
		subject->failed_at = condition->path;
	return truth;
}

/*
 * Whether a predicate of lines stands in the condition, under no "not".
 */
bool
SelectsLines(const Condition *condition)
{
	if (condition->kind == CONDITION_LINES)
		return !condition->negated;
	for (int i = 0; i < condition->nparts; i++)
	{
		if (SelectsLines(condition->parts[i]))
			return true;
	}
	return false;
}

/*
 * Sets selected for the lines that match: those that a predicate of lines
 * selects that holds and stands under no "not".
 */
void
SelectLines(const Condition *condition, ConditionSubject *subject, bool *selected)
{
	if (condition->kind == CONDITION_LINES && !condition->negated)
	{
		if (EvaluateLines(condition, subject->activity, NULL) == TRUTH_YES)
			EvaluateLines(condition, subject->activity, selected);
		return;
	}
	for (int i = 0; i < condition->nparts; i++)
		SelectLines(condition->parts[i], subject, selected);
}

/*
 * Calls visit for each question about the member.
 */
void
ForEachQuestion(const Condition *condition, void (*visit) (const FactQuestion *, void *), void *arg)
{
	if (condition->kind == CONDITION_FACT)
		visit(&condition->question, arg);
	for (int i = 0; i < condition->nparts; i++)
		ForEachQuestion(condition->parts[i], visit, arg);
}
