/*
 * tier_slack.c
 *		Slack: postings that change no tier leave tier_state alone.
 *
 * Most postings take a member somewhat nearer to the next level, and no more.
 * So a step notes on the wallet (its column tiers) what entries will change
 * nothing: those effective after the instant up to which the state is
 * evaluated and before next_at, as long as the wallet's lifetime points are
 * below the number with which the next level could be reached.  A posting has
 * the wallet in hand; it finds its entry within the slack, and is done.
 *
 * The state says by counted_to that later entries may be missing in it.  Its
 * columns say what they would with these, up to next_at, so tier_of() has
 * nothing to do; what needs the machine reads the missing facts after that
 * entry from the ledger, and takes it further (ExpectLater()).  That is what a
 * replay gives, since all of them lie after what the machine has counted.
 *
 * A note holds for one state.  Who writes that state has the wallet's lock, as
 * a posting has, and writes the note with it or takes it away.  A new version
 * of any ladder makes all notes void.  There is slack only where the ladder
 * counts this currency alone and no other ladder does, and where wallet, ledger
 * and state are plain tables: no trigger posts in between then.
 */
#include "postgres.h"

#include "ledger/post.h"
#include "tier/tier_program.h"

#define SLACK_VERSION	1

/* It is worth noting for so many postings like the one that notes it. */
#define SLACK_POSTINGS	8

/*
 * A note as it was found on a wallet; false where it is void.
 */
bool
ReadSlack(const struct varlena *noted, TierSlack *slack)
{
	PackReader	reader;

	if (noted == NULL)
		return false;
	UnpackInit(&reader, VARDATA_ANY(noted), VARSIZE_ANY_EXHDR(noted));
	if (UnpackUnsigned(&reader) != SLACK_VERSION)
		return false;
	slack->generation = UnpackSigned(&reader);
	slack->entry_id = UnpackSigned(&reader);
	slack->after = UnpackTime(&reader, 0);
	slack->before = UnpackTime(&reader, slack->after);
	slack->collected = UnpackSigned(&reader);
	return !reader.failed && slack->generation == LadderGeneration();
}

struct varlena *
SlackAsNote(const TierSlack *slack)
{
	PackWriter	writer;

	PackInit(&writer, VARHDRSZ);
	PackUnsigned(&writer, SLACK_VERSION);
	PackSigned(&writer, slack->generation);
	PackSigned(&writer, slack->entry_id);
	PackTime(&writer, slack->after, 0);
	PackTime(&writer, slack->before, slack->after);
	PackSigned(&writer, slack->collected);
	SET_VARSIZE(writer.data, writer.used);
	return (struct varlena *) writer.data;
}

/*
 * Whether an entry is an ordinary one: its points count at its own instant.
 */
static bool
CountsAtOnce(const PostedEntry *entry)
{
	return (entry->kind == ENTRY_EARN || entry->kind == ENTRY_ADJUST) &&
		(entry->requested < 0 || entry->available_at == entry->effective_at);
}

/*
 * Whether an entry changes no tier, by what is noted on its wallet.
 */
bool
WithinSlack(const PostedEntry *entry)
{
	TierSlack	slack;

	return entry->plain && entry->tiers != NULL && CountsAtOnce(entry) && ReadSlack(entry->tiers, &slack) &&
		entry->entry_id > slack.entry_id && entry->effective_at > slack.after &&
		entry->effective_at < slack.before && entry->collected <= slack.collected;
}

/*
 * The most that a measure may amount to at any instant from now on to the next
 * step of the clock, without further facts.  What leaves a window may be
 * negative, so it is the greatest sum of all windows that begin at its start or
 * later.
 */
static int64
GreatestValue(const TierMachine *machine, int measure)
{
	const TierSlot *slot = &machine->slot[measure];
	TierWindow	window = machine->definition->measure[measure].window;
	int64		total = slot->n > 0 ? slot->sum[slot->n - 1] : slot->base;
	TimestampTz from;
	int64		greatest = 0;

	if (window == WINDOW_LIFETIME)
		return Max(total, 0);
	from = WindowBegin(machine, measure);
	for (int i = 0; i < slot->n; i++)
	{
		if (slot->at[i] >= from)
			greatest = Max(greatest, total - (i > 0 ? slot->sum[i - 1] : slot->base));
	}
	return greatest + Max(slot->carry, 0);
}

/*
 * How much every measure may rise from now on without making a higher level
 * qualified for; negative: not even nothing.
 */
static int64
RoomBelowNextLevel(const TierMachine *machine)
{
	const LadderDefinition *ladder = machine->definition;
	int64		greatest[TIER_MAX_MEASURES];
	int64		room = PG_INT64_MAX;

	for (int i = 0; i < ladder->nmeasures; i++)
	{
		if (ladder->measure[i].window == WINDOW_LATEST)
			return -1;
		greatest[i] = GreatestValue(machine, i);
	}
	if (QualifiedRank(ladder, greatest) > machine->state.level)
		return -1;
	for (int rank = machine->state.level + 1; rank <= ladder->nlevels; rank++)
	{
		const TierCriteria *criteria = &ladder->level[rank - 1].qualify;

		for (int i = 0; i < ladder->nmeasures; i++)
		{
			if ((criteria->asked & (1U << i)) && criteria->at_least[i] > greatest[i])
				room = Min(room, criteria->at_least[i] - greatest[i] - 1);
		}
	}
	return room;
}

/*
 * The slack that there is after a step that an entry brought about; next_at is
 * of the columns of its state.  False where there is none worth noting.
 */
bool
FindSlack(const CachedLadder *ladder, const TierMachine *machine, TimestampTz next_at, const PostedEntry *entry,
		  TierSlack *slack)
{
	const TierState *state = &machine->state;
	int64		room;

	if (!ladder->leaves_slack || entry == NULL || !entry->plain || !CountsAtOnce(entry) || machine->definition == NULL ||
		state->joined_at == TIMESTAMP_INFINITY || state->grace_until != TIMESTAMP_MINUS_INFINITY ||
		state->pending != 0 || machine->next_coming < machine->ncoming)
		return false;
	room = RoomBelowNextLevel(machine);
	if (room < 0 || room / TIER_SCALE / SLACK_POSTINGS < Max(entry->requested, 1))
		return false;
	slack->generation = LadderGeneration();
	slack->entry_id = entry->entry_id;
	slack->after = machine->now;
	slack->before = next_at;
	if (room == PG_INT64_MAX || pg_add_s64_overflow(entry->collected, room / TIER_SCALE, &slack->collected))
		slack->collected = PG_INT64_MAX;
	return true;
}
