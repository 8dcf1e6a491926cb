/*
 * tier_household.c
 *		Levels of households that their persons hold, too.
 *
 * Where a ladder says "household": "best", the level of a person at an instant
 * is the better of the own and the household's, while in it; of equal ones the
 * own.  Nothing is copied: leaving ends it at that instant.  The household is a
 * member like any, and its facts are its own.  Who is in which household is
 * known to a room to the right, which says it through RegisterHouseholds().
 *
 * What is stored of a person (tier_state, and the events of its changes) is the
 * person's own.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "tier/tier_program.h"

static HouseholdReader read_spells = NULL;

/*
 * Called by the room of households when its library is loaded.
 */
void
RegisterHouseholds(HouseholdReader reader)
{
	read_spells = reader;
}

static const LadderDefinition *
DefinitionAt(const CachedLadder *ladder, TimestampTz t)
{
	int			version = VersionAt(ladder->versions, t);

	return version < 0 ? NULL : ladder->versions->version[version].definition;
}

static bool
AsksHousehold(const LadderDefinition *definition)
{
	return definition != NULL && definition->best_of_household && read_spells != NULL;
}

/*
 * Whether a version of a ladder asks for households.
 */
bool
LadderAsksHousehold(const CachedLadder *ladder)
{
	for (int i = 0; i < ladder->versions->nversions; i++)
	{
		if (AsksHousehold(ladder->versions->version[i].definition))
			return true;
	}
	return false;
}

/*
 * The code of the level that is a member's own; NULL for none.
 */
const char *
OwnLevel(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked)
{
	TierMachine machine;

	if (asked->known_at == TIMESTAMP_INFINITY)
	{
		StoredTier	stored;

		/* between the last step and the next one there is nothing to compute */
		ReadStored(member_id, ladder, STORED_AS_OF_QUERY, &stored);
		if (stored.evaluated && asked->as_of >= stored.event_at && asked->as_of < stored.columns.next_at &&
			(asked->as_of >= stored.evaluated_at || stored.event_at != TIMESTAMP_MINUS_INFINITY) &&
			stored.versions == ladder->versions->nversions)
			return stored.columns.level;
	}
	MachineAsOf(ladder, member_id, asked, &machine);
	return CodeOfRank(machine.definition, machine.state.effective);
}

/*
 * The tier that everybody sees of a member as of an instant: own is the code of
 * its own, NULL for none.
 */
const char *
BestTier(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, const char *own)
{
	const LadderDefinition *definition = DefinitionAt(ladder, asked->as_of);
	HouseholdSpell *spells;
	int			nspells;

	/* nothing is better than the highest */
	if (!AsksHousehold(definition) || (own != NULL && RankOfCode(definition, own) == definition->nlevels))
		return own;
	nspells = read_spells(member_id, asked->as_of, asked->known_at, &spells);
	for (int i = 0; i < nspells; i++)
	{
		const char *theirs;

		if (asked->as_of < spells[i].starts_at || asked->as_of >= spells[i].ends_at)
			continue;
		theirs = OwnLevel(ladder, spells[i].household_id, asked);
		if (theirs != NULL && RankOfCode(definition, theirs) > (own == NULL ? 0 : RankOfCode(definition, own)))
			return theirs;
	}
	return own;
}

/* What holds at an instant of a timeline; NULL before the first step. */
static const TierLog *
LogAt(const TierLog *logs, int nlogs, TimestampTz t)
{
	const TierLog *last = NULL;

	for (int i = 0; i < nlogs && logs[i].at <= t; i++)
		last = &logs[i];
	return last;
}

/* A household's timeline while the person was in it. */
typedef struct SpellLogs
{
	HouseholdSpell spell;
	TierLog    *logs;
	int			nlogs;
} SpellLogs;

/* The level that a log stands for in the version of another instant. */
static int
RankIn(const LadderDefinition *definition, const TierLog *log)
{
	return log == NULL || log->rank == 0 ? 0 : MappedRank(log->definition, definition, log->rank);
}

/*
 * The steps of a member with its households' laid over: own steps in, all steps
 * out, up to as_of.
 */
void
OverlayHouseholds(const CachedLadder *ladder, int64 member_id, const TierAsOf *asked, TierLog **logs, int *nlogs)
{
	HouseholdSpell *spells;
	SpellLogs  *of_spell;
	int			nspells;
	TimestampTz *instants;
	int			ninstants = 0;
	int			size = *nlogs + ladder->versions->nversions;
	TierLog    *all;
	int			nall = 0;
	bool		of_household = false;

	if (!LadderAsksHousehold(ladder) || (nspells = read_spells(member_id, asked->as_of, asked->known_at, &spells)) == 0)
		return;
	of_spell = palloc(nspells * sizeof(SpellLogs));
	for (int i = 0; i < nspells; i++)
	{
		TierMachine machine;

		ReplayHistory(ladder->versions, GatherHistory(ladder, spells[i].household_id, asked), asked->as_of, &machine);
		of_spell[i] = (SpellLogs) {spells[i], machine.logs, machine.nlogs};
		size += 2 + machine.nlogs;
	}

	/* every instant at which something may change */
	instants = palloc(size * sizeof(TimestampTz));
	for (int i = 0; i < *nlogs; i++)
		instants[ninstants++] = (*logs)[i].at;
	for (int i = 0; i < ladder->versions->nversions; i++)
		instants[ninstants++] = ladder->versions->version[i].from;
	for (int i = 0; i < nspells; i++)
	{
		const SpellLogs *s = &of_spell[i];

		instants[ninstants++] = s->spell.starts_at;
		instants[ninstants++] = s->spell.ends_at;
		for (int j = 0; j < s->nlogs; j++)
		{
			if (s->logs[j].at > s->spell.starts_at && s->logs[j].at < s->spell.ends_at)
				instants[ninstants++] = s->logs[j].at;
		}
	}
	qsort(instants, ninstants, sizeof(TimestampTz), CompareInstants);

	all = palloc(ninstants * sizeof(TierLog));
	for (int i = 0; i < ninstants; i++)
	{
		TimestampTz t = instants[i];
		const LadderDefinition *definition = DefinitionAt(ladder, t);
		const TierLog *chosen = LogAt(*logs, *nlogs, t);
		TimestampTz until = TIMESTAMP_INFINITY;
		bool		was_of_household = of_household;
		TierLog		log;
		int			before = nall == 0 ? 0 : RankIn(definition, &all[nall - 1]);

		CHECK_FOR_INTERRUPTS();
		if (definition == NULL || t > asked->as_of || (i + 1 < ninstants && instants[i + 1] == t))
			continue;
		of_household = false;
		for (int j = 0; AsksHousehold(definition) && j < nspells; j++)
		{
			const SpellLogs *s = &of_spell[j];
			const TierLog *theirs = t >= s->spell.starts_at && t < s->spell.ends_at ? LogAt(s->logs, s->nlogs, t) : NULL;

			if (RankIn(definition, theirs) > RankIn(definition, chosen))
			{
				chosen = theirs;
				until = s->spell.ends_at;
				of_household = true;
			}
		}
		if (chosen == NULL)
		{
			if (before == 0)
				continue;
			log = (TierLog) {.at = t, .definition = definition, .valid_until = TIMESTAMP_INFINITY};
		}
		else
		{
			/* steps of what is below are nobody's; neither is a version that changes nothing */
			if (was_of_household == of_household && chosen->at != t && RankIn(definition, chosen) == before)
				continue;
			log = *chosen;
			log.at = t;
			log.rank = RankIn(definition, chosen);
			log.definition = definition;
			log.valid_until = Min(chosen->valid_until, until);
		}
		if (of_household || was_of_household)
		{
			log.reason = REASON_HOUSEHOLD;
			log.event = log.rank == before ? TIER_NONE : before == 0 ? TIER_ENROLLED : log.rank == 0 ? TIER_EXPIRED :
				log.rank > before ? TIER_UPGRADED : TIER_DOWNGRADED;
			if (log.event == TIER_NONE && nall > 0 && was_of_household == of_household && log.valid_until == all[nall - 1].valid_until)
				continue;
		}
		all[nall++] = log;
	}
	*logs = all;
	*nlogs = nall;
}
