/*
 * condition.c
 *		Conditions are read from their definition.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"

#include "activity/condition_tree.h"
#include "core/compat.h"

/* What reading it costs: the cheap ones are looked at first.  Lists cost what their parts do. */
static const int costs[] = {
	[CONDITION_ALL] = 0,
	[CONDITION_ANY] = 0,
	[CONDITION_NOT] = 0,
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

static const char *const line_traits[] = {"sku", "category", "brand", "grade"};

static Condition *ParseObject(const Place *place, bool negated, bool of_window);

static Condition *
MakeCondition(ConditionKind kind, const Place *place, bool negated)
{
	Condition  *condition = palloc0(sizeof(Condition));

	condition->kind = kind;
	condition->path = place->path;
	condition->negated = negated;
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
	/* now is another one in each session */
	if (text[0] < '0' || text[0] > '9' || !TryInput(time_in, text, &time))
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
bool
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

/*
 * Whether a path has !(...), which holds where the field is missing, and looks
 * at that nowhere.  PostgreSQL writes it without blanks, comments and capitals.
 */
static bool
IsLaxNegation(Datum jsonpath)
{
	const char *path = DatumGetCString(DirectFunctionCall1(jsonpath_out, jsonpath));

	return strncmp(path, "strict ", strlen("strict ")) != 0 && strstr(path, "!(") != NULL && strstr(path, "exists (") == NULL;
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
	if (IsLaxNegation(condition->jsonpath))
		Warn(place, "has a negation that holds where the field is missing; ask exists() as well, or use \"strict\"");
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
		case FACT_REGISTERED:
			break;
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
		case FACT_REGISTERED:
			break;
	}
	if (question->name == NULL)
		question->name = "";
	question->key = QuestionKey(question);
	return condition;
}

/* Predicates of other rooms. */
static const Predicate *predicates[16];
static int	npredicates = 0;

/*
 * Adds a predicate to the language, in a room's Init.
 */
void
RegisterPredicate(const Predicate *predicate)
{
	if (npredicates == lengthof(predicates))
		elog(ERROR, "too many predicates");
	predicates[npredicates++] = predicate;
}

static Condition *
MakeRegistered(const Predicate *predicate, const Place *place, bool negated)
{
	Condition  *condition = MakeCondition(CONDITION_FACT, place, negated);
	FactQuestion *question = &condition->question;
	const char *same;

	question->kind = FACT_REGISTERED;
	question->name = predicate->key;
	question->predicate = predicate;
	same = predicate->parse(place, question);
	question->key = psprintf("%s:%s", predicate->key, same == NULL ? "" : same);
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
	for (int i = 0; i < npredicates; i++)
	{
		if (strcmp(predicates[i]->key, key) == 0)
			return MakeRegistered(predicates[i], place, negated);
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
