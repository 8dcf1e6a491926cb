/*
 * label_speak.c
 *		Which assertion speaks: plain computing.  See label.h.
 */
#include "label/label.h"

#include "miscadmin.h"

/* The sources that a label need not rank, the first before the others. */
static const char *const usual_sources[] = {"self", "operator", "rule", "model", "import"};

/*
 * The rank of a source: the smaller, the more it counts.
 */
int
RankOfSource(const Label *label, const char *source)
{
	const char *colon = strchr(source, ':');
	size_t		length = colon == NULL ? strlen(source) : (size_t) (colon - source);

	for (int i = 0; i < label->nranks; i++)
	{
		if (strcmp(label->ranks[i].source, source) == 0)
			return label->ranks[i].rank;
	}
	for (int i = 0; i < label->nranks; i++)
	{
		if (strlen(label->ranks[i].source) == length && memcmp(label->ranks[i].source, source, length) == 0)
			return label->ranks[i].rank;
	}
	for (int i = 0; i < (int) lengthof(usual_sources); i++)
	{
		if (strlen(usual_sources[i]) == length && memcmp(usual_sources[i], source, length) == 0)
			return i + 1;
	}
	return PG_INT32_MAX;
}

/* Later recorded comes first. */
static int
CompareRecorded(const Assertion *a, const Assertion *b)
{
	if (a->recorded_at != b->recorded_at)
		return a->recorded_at > b->recorded_at ? -1 : 1;
	if (a->member_id != b->member_id)
		return a->member_id > b->member_id ? -1 : 1;
	return a->number > b->number ? -1 : a->number < b->number;
}

/* By value and source, and of each source the last one first. */
static int
CompareBySource(const void *p, const void *q)
{
	const Assertion *a = *(Assertion *const *) p;
	const Assertion *b = *(Assertion *const *) q;
	int			order = a->value == NULL || b->value == NULL ? 0 : strcmp(a->value, b->value);

	if (order == 0)
		order = strcmp(a->source, b->source);
	return order != 0 ? order : CompareRecorded(a, b);
}

/* Of a label with one value, values do not matter. */
static int
CompareSources(const void *p, const void *q)
{
	const Assertion *a = *(Assertion *const *) p;
	const Assertion *b = *(Assertion *const *) q;
	int			order = strcmp(a->source, b->source);

	return order != 0 ? order : CompareRecorded(a, b);
}

/* Whether a source's assertion comes before another's. */
static bool
ComesFirst(const Assertion *a, const Assertion *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank;
	if (a->confidence != b->confidence)
		return a->confidence > b->confidence;
	if (a->valid_from != b->valid_from)
		return a->valid_from > b->valid_from;
	return CompareRecorded(a, b) < 0;
}

/*
 * Leaves of the assertions of one label of a person those that speak at an
 * instant, as known at another: at most one, of a set one for each value, in
 * the order of their bytes.  Returns how many.
 */
int
Speak(Assertion **assertions, int n, LabelKind kind, TimestampTz as_of, TimestampTz known_at)
{
	bool		is_set = kind == LABEL_SET;
	int			nlast = 0;
	int			nspeak = 0;

	for (int i = 0; i < n; i++)
	{
		Assertion  *a = assertions[i];

		if (a->recorded_at <= known_at && a->valid_from <= as_of && as_of < a->valid_until)
			assertions[nlast++] = a;
	}
	n = nlast;
	if (n > 1)
		qsort(assertions, n, sizeof(Assertion *), is_set ? CompareBySource : CompareSources);

	/* of each source the last one, if it says anything */
	nlast = 0;
	for (int i = 0, first = 0; i < n; i++)
	{
		Assertion  *a = assertions[i];
		Assertion  *before = assertions[first];

		if (i > 0 && strcmp(a->source, before->source) == 0 && (!is_set || strcmp(a->value, before->value) == 0))
			continue;
		first = i;
		if (a->says != SAYS_NOTHING)
			assertions[nlast++] = a;
	}

	/* of these the first, by value */
	for (int i = 0; i < nlast; i++)
	{
		Assertion  *a = assertions[i];

		if (nspeak > 0 && (!is_set || strcmp(a->value, assertions[nspeak - 1]->value) == 0))
		{
			if (ComesFirst(a, assertions[nspeak - 1]))
				assertions[nspeak - 1] = a;
		}
		else
			assertions[nspeak++] = a;
	}
	return nspeak;
}
