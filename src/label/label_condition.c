/*
 * label_condition.c
 *		Labels in conditions: {"label": "vegan"}, {"label": ["vegan", "regular"]}
 *		(any of them), {"label": {"city": ["Bonn", "Ulm"]}} (all of them).
 *
 * A label that there is not leaves it unknown: no sale fails by it.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "activity/condition.h"
#include "core/compat.h"
#include "label/label.h"

/* A label, with one of these values, or with any. */
typedef struct LabelWanted
{
	const char *name;
	int			nvalues;
	char	  **values;
} LabelWanted;

typedef struct LabelQuestion
{
	bool		all;			/* otherwise any */
	int			n;
	LabelWanted wanted[FLEXIBLE_ARRAY_MEMBER];
} LabelQuestion;

static const char *
ParseLabelPredicate(const Place *place, FactQuestion *question)
{
	bool		is_object = IsObjectPlace(place);
	int			most = is_object || IsArrayPlace(place) ? Max(1, CountElements(place)) : 1;
	LabelQuestion *asked = palloc0(offsetof(LabelQuestion, wanted) + most * sizeof(LabelWanted));
	char	   *key = pstrdup(is_object ? "label all" : "label any");

	asked->all = is_object;
	if (is_object)
	{
		char	   *name;
		Place		part;
		int			i = 0;

		while (NextKey(place, &i, &name, &part))
		{
			LabelWanted *wanted = &asked->wanted[asked->n++];

			wanted->name = name;
			wanted->values = ReadTexts(&part, &wanted->nvalues);
			key = psprintf("%s %zu:%s(%d", key, strlen(name), name, wanted->nvalues);
			for (int v = 0; v < wanted->nvalues; v++)
				key = psprintf("%s %zu:%s", key, strlen(wanted->values[v]), wanted->values[v]);
		}
		if (asked->n == 0)
			Complain(place, "names no label");
	}
	else
	{
		int			n;
		char	  **names = ReadTexts(place, &n);

		for (int i = 0; i < n; i++)
		{
			asked->wanted[asked->n++].name = names[i];
			key = psprintf("%s %zu:%s", key, strlen(names[i]), names[i]);
		}
	}
	question->detail = asked;
	return asked->n == 0 ? NULL : key;
}

static Truth
ReadLabelPredicate(const FactQuestion *question, int64 member_id, const Activity *activity)
{
	const LabelQuestion *asked = question->detail;
	Truth		truth = TruthOf(asked->all);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < asked->n; i++)
	{
		const LabelWanted *wanted = &asked->wanted[i];
		const Label *label = FindLabel(wanted->name);
		bool		has;

		if (label == NULL)
		{
			truth = TRUTH_UNKNOWN;
			continue;
		}
		has = HasLabel(member_id, label, wanted->values, wanted->nvalues, activity->at, TIMESTAMP_INFINITY);
		if (has != asked->all)
		{
			truth = TruthOf(has);
			break;
		}
	}
	SPI_finish();
	return truth;
}

static const Predicate label_predicate = {
	.key = "label",
	.parse = ParseLabelPredicate,
	.read = ReadLabelPredicate
};

/*
 * Part of LabelInit().
 */
void
LabelConditionInit(void)
{
	RegisterPredicate(&label_predicate);
}
