/*
 * condition_evaluate.c
 *		Whether a condition holds.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "activity/condition_tree.h"

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
		day = DayOf(LocalOfSubject(subject));
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
		case FACT_REGISTERED:
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

/*
 * Whether a condition asks of the member alone: of nothing that one activity is,
 * or that others before it were.
 */
bool
AsksOfMember(const Condition *condition)
{
	if (condition->kind == CONDITION_FACT)
		return condition->question.kind != FACT_COUNT && condition->question.kind != FACT_SPENT;
	for (int i = 0; i < condition->nparts; i++)
	{
		if (!AsksOfMember(condition->parts[i]))
			return false;
	}
	return condition->nparts > 0;
}
