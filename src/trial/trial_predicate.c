/*
 * trial_predicate.c
 *		The predicate "trial" of conditions, such as of "treat" in a campaign.
 *
 *	{"trial": "spring"}				the member is in a treated arm; while the trial
 *									does not run nobody is held out, and it holds
 *	{"trial": {"spring": [1, 2]}}	the member is in one of these arms; while the
 *									trial does not run nobody is in any
 *
 * Of a trial that there is not nobody knows, and nobody is treated.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "activity/condition.h"
#include "core/core.h"
#include "trial/trial.h"

/* What a condition asks */
typedef struct ArmQuestion
{
	const char *trial;
	bool		any_treated;
	uint64		arms;			/* otherwise: bit of each arm */
} ArmQuestion;

/* A row of table trial, as sessions keep it */
typedef struct KnownTrial
{
	const char *trial;
	TimestampTz starts_at;
	TimestampTz ends_at;
	Experiment	experiment;
} KnownTrial;

static MemoryContext cache = NULL;
static KnownTrial *trials = NULL;
static int	ntrials = 0;

static void
ReadTrials(void)
{
	static KeptPlan plan = {
		.query = "SELECT trial, starts_at, ends_at, shares, hash FROM loyalty.trial"
	};
	MemoryContext old;

	RunPlanReadOnly(&plan, NULL, NULL, 0);
	if (cache == NULL)
		cache = AllocSetContextCreate(TopMemoryContext, "loyalty trials", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache);
	ntrials = 0;
	old = MemoryContextSwitchTo(cache);
	trials = palloc(Max(SPI_processed, 1) * sizeof(KnownTrial));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		KnownTrial *known = &trials[i];
		bool		isnull;
		Datum		name = SPI_getbinval(row, desc, 1, &isnull);

		known->trial = TextDatumGetCString(name);
		known->starts_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &isnull));
		known->ends_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull));
		ReadExperiment(&known->experiment, DatumGetTextPP(name), DatumGetArrayTypeP(SPI_getbinval(row, desc, 4, &isnull)),
					   DatumGetTextPP(SPI_getbinval(row, desc, 5, &isnull)));
		ntrials++;
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

static KnownTrial *
FindTrial(const char *trial)
{
	static Settings settings = {.tables = {"trial"}, .read = ReadTrials};

	if (!KnowSettings(&settings))
		return NULL;
	for (int i = 0; i < ntrials; i++)
	{
		if (strcmp(trials[i].trial, trial) == 0)
			return &trials[i];
	}
	return NULL;
}

/* "spring", or {"spring": [1, 2]} */
static const char *
ParseTrial(const Place *place, FactQuestion *question)
{
	ArmQuestion *asked = palloc0(sizeof(ArmQuestion));
	Place		arms;
	char	   *name;
	int			i = 0;

	question->detail = asked;
	if (!IsObjectPlace(place))
	{
		asked->any_treated = true;
		return asked->trial = ReadText(place);
	}
	if (!NextKey(place, &i, &name, &arms))
	{
		Complain(place, "is empty");
		return NULL;
	}
	asked->trial = name;
	if (!RequireArray(&arms))
		return NULL;
	if (CountElements(&arms) == 0)
		Complain(&arms, "is empty");
	for (int a = 0; a < CountElements(&arms); a++)
	{
		Place		element;
		int64		arm;

		GetElementPlace(&arms, a, &element);
		if (ReadWhole(&element, 0, TRIAL_MAX_ARMS - 1, &arm))
			asked->arms |= UINT64CONST(1) << arm;
	}
	if (NextKey(place, &i, &name, &arms))
		Complain(place, "names more than one trial");
	return psprintf("%s:" UINT64_FORMAT, asked->trial, asked->arms);
}

static Truth
ReadTrialArm(const FactQuestion *question, int64 member_id, const Activity *activity)
{
	const ArmQuestion *asked = question->detail;
	const KnownTrial *known = FindTrial(asked->trial);
	int			arm;

	if (known == NULL)
		return TRUTH_UNKNOWN;
	if (activity->at < known->starts_at || activity->at >= known->ends_at)
		return TruthOf(asked->any_treated);
	arm = ArmOf(&known->experiment, member_id);
	return TruthOf(asked->any_treated ? arm > 0 : (asked->arms >> arm & 1) != 0);
}

void
TrialPredicateInit(void)
{
	static const Predicate predicate = {"trial", ParseTrial, ReadTrialArm};

	RegisterPredicate(&predicate);
}
