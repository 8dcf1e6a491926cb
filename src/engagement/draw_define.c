/*
 * draw_define.c
 *		Definitions of draws.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

#include "core/core.h"
#include "core/errors.h"
#include "engagement/draw.h"
#include "engagement/engagement.h"

#define MAX_WEIGHT	INT64CONST(1000000000)

static void
ParsePrize(const Place *place, bool is_deck, Prize *prize)
{
	static const char *const of_wheel[] = {"prize", "weight", "stock", "points", "currency", "benefit", NULL};
	static const char *const of_deck[] = {"prize", "count", "points", "currency", "benefit", NULL};
	Place		part;

	if (!RequireObject(place))
		return;
	RefuseUnknownKeys(place, is_deck ? of_deck : of_wheel);
	if (!GetPart(place, "prize", &part))
		Complain(place, "has no \"prize\", its name");
	else
		prize->name = ReadText(&part);
	if (!GetPart(place, is_deck ? "count" : "weight", &part))
		Complain(place, "has no \"%s\"", is_deck ? "count" : "weight");
	else
		(void) ReadWhole(&part, 1, is_deck ? MAX_DECK : MAX_WEIGHT, &prize->weight);
	prize->has_stock = GetPart(place, "stock", &part);
	if (prize->has_stock)
		(void) ReadWhole(&part, 0, INT64CONST(1000000000000), &prize->stock);
	if (GetPart(place, "points", &part))
		(void) ReadWhole(&part, 1, INT64CONST(1000000000000), &prize->points);
	if (GetPart(place, "currency", &part))
	{
		prize->currency = ReadText(&part);
		if (prize->points == 0)
			Complain(&part, "needs \"points\" beside it");
	}
	else
		prize->currency = "points";
	if (GetPart(place, "benefit", &part))
		prize->benefit = ReadText(&part);
}

static void
ParsePrizes(const Place *place, DrawTerms *terms)
{
	int			n = CountElements(place);

	if (n < 1 || n > MAX_PRIZES)
	{
		Complain(place, "must have from 1 to %d prizes", MAX_PRIZES);
		return;
	}
	terms->prizes = palloc0(n * sizeof(Prize));
	for (int i = 0; i < n; i++)
	{
		Place		element;
		Prize	   *prize = &terms->prizes[i];

		GetElementPlace(place, i, &element);
		ParsePrize(&element, terms->tickets > 0, prize);
		if (i == 0 && prize->has_stock)
			Complain(&element, "is the first prize, which is given where others are gone: it has no \"stock\"");
		if (prize->name != NULL && FindPrize(terms, prize->name) != NO_PRIZE)
			Complain(&element, "is the second prize \"%s\"", prize->name);
		terms->total += prize->weight;
		terms->nprizes++;
	}
}

/*
 * Reads the definition of a draw.
 */
DrawTerms *
ParseDraw(const Jsonb *definition, Problems *problems)
{
	static const char *const keys[] = {"tickets", "prizes", "client_seed", "from", "until", "time_zone", NULL};
	DrawTerms  *terms = palloc0(sizeof(DrawTerms));
	Place		whole;
	Place		part;
	int64		tickets = 0;

	WholeDefinition(&whole, definition, "", problems);
	if (!RequireObject(&whole))
		return terms;
	RefuseUnknownKeys(&whole, keys);
	if (GetPart(&whole, "tickets", &part) && ReadWhole(&part, 1, MAX_DECK, &tickets))
		terms->tickets = (int32) tickets;
	if (GetPart(&whole, "client_seed", &part))
	{
		terms->client_seed = ReadBoolean(&part);
		if (terms->client_seed && tickets > 0)
			Complain(&part, "is of no use in a deck, which was shuffled before");
	}
	if (GetPart(&whole, "from", &part) && ReadLocalInstant(&part, &terms->from))
		terms->from_text = ReadText(&part);
	if (GetPart(&whole, "until", &part) && ReadLocalInstant(&part, &terms->until))
		terms->until_text = ReadText(&part);
	if (GetPart(&whole, "time_zone", &part))
		(void) ReadTimeZone(&part, &terms->time_zone);
	if (!GetPart(&whole, "prizes", &part))
		Complain(&whole, "has no \"prizes\"");
	else if (RequireArray(&part))
	{
		ParsePrizes(&part, terms);
		if (terms->tickets > 0 && terms->total > terms->tickets)
			Complain(&part, "are " INT64_FORMAT ", of %d tickets", terms->total, terms->tickets);
	}
	if (terms->tickets > 0)
		terms->total = terms->tickets;
	return terms;
}

/*
 * The same, of one that has no mistakes.
 */
DrawTerms *
RequireDraw(const Jsonb *definition)
{
	Problems	problems = {NULL, 0};
	DrawTerms  *terms = ParseDraw(definition, &problems);

	RefuseEngagement("draw", &problems);
	return terms;
}

/*
 * The prize of a ticket, which is below the total; NO_PRIZE for a blank.
 */
int
PrizeOfTicket(const DrawTerms *terms, int64 ticket)
{
	for (int i = 0; i < terms->nprizes; i++)
	{
		if (ticket < terms->prizes[i].weight)
			return i;
		ticket -= terms->prizes[i].weight;
	}
	return NO_PRIZE;
}

int
FindPrize(const DrawTerms *terms, const char *name)
{
	for (int i = 0; i < terms->nprizes; i++)
	{
		if (SameString(terms->prizes[i].name, name))
			return i;
	}
	return NO_PRIZE;
}
