/*
 * match_definition.c
 *		What is compared, and how: reading a definition.
 *
 *	{"id": "customer_id",					column that tells records apart; default: the primary key
 *	 "in": "attributes",					jsonb column whose keys the fields are; default: columns
 *	 "fields": {"surname": "name",			kinds: see compare.h
 *		"city": {"kind": "category", "frequencies": false}},
 *	 "blocks": [["surname", "born"], ...],	default: chosen by their sizes
 *	 "pairs_per_record": 20,				at most so many, of blocks that are chosen
 *	 "largest_key": 1000,					records that may share a key
 *	 "oversized": "refuse",					or "skip"
 *	 "garbage": ["unknown", ...],			values that are none
 *	 "country": "GB",						of telephone numbers
 *	 "link": 0.99, "review": 0.5}			probabilities from which on
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "activity/definition.h"
#include "core/core.h"
#include "core/errors.h"
#include "match/match.h"
#include "member/member_identifier.h"

static char *usual_garbage[] = {"unknown", "none", "null", "n/a", "undefined", "anonymous", "-", "--", "?", "."};

int
FindMatchField(const MatchDefinition *definition, const char *name)
{
	for (int f = 0; f < definition->nfields; f++)
	{
		if (strcmp(definition->fields[f].name, name) == 0)
			return f;
	}
	return -1;
}

/*
 * Adds a block; false where there is one of these fields already.
 */
bool
AddMatchBlock(MatchDefinition *definition, const int *fields, int nfields)
{
	MatchBlock *block = &definition->blocks[definition->nblocks];

	memset(block, 0, sizeof(*block));
	block->nfields = nfields;
	block->by_levels = true;
	for (int i = 0; i < nfields; i++)
	{
		block->fields[i] = fields[i];
		block->mask |= 1u << fields[i];
		block->by_levels = block->by_levels && definition->fields[fields[i]].place >= 0;
	}
	for (int b = 0; b < definition->nblocks; b++)
	{
		if (definition->blocks[b].mask == block->mask)
			return false;
	}
	definition->nblocks++;
	return true;
}

/*
 * A block as people name it: its fields.
 */
char *
MatchBlockName(const MatchDefinition *definition, const MatchBlock *block)
{
	StringInfoData name;

	initStringInfo(&name);
	for (int i = 0; i < block->nfields; i++)
		appendStringInfo(&name, "%s%s", i > 0 ? " + " : "", definition->fields[block->fields[i]].name);
	return name.data;
}

static bool
ReadProbability(const Place *place, double *number)
{
	Micros		micros;

	if (!ReadDecimal(place, &micros))
		return false;
	if (micros > MICROS_PER_UNIT)
	{
		Complain(place, "must be a probability, from 0 to 1");
		return false;
	}
	*number = (double) micros / MICROS_PER_UNIT;
	return true;
}

static void
ReadField(const Place *place, const char *name, MatchDefinition *definition)
{
	static const char *const known[] = {"kind", "frequencies", NULL};
	MatchField *field = &definition->fields[definition->nfields];
	Place		part;
	int			kind = -1;

	if (definition->nfields == MATCH_ALL_FIELDS)
	{
		Complain(place, "is one field too many; there may be %d, and %d keys", MATCH_MAX_FIELDS, MATCH_MAX_KEYS);
		return;
	}
	field->name = name;
	field->frequencies = true;
	field->place = -1;
	if (IsObjectPlace(place))
	{
		RefuseUnknownKeys(place, known);
		if (GetPart(place, "kind", &part))
			kind = ReadChoice(&part, match_kinds);
		else
			Complain(place, "has no kind");
		if (GetPart(place, "frequencies", &part))
			field->frequencies = ReadBoolean(&part);
	}
	else
		kind = ReadChoice(place, match_kinds);
	if (kind < 0)
		return;
	field->kind = (MatchKind) kind;
	if (field->kind != MATCH_KEY)
	{
		if (definition->ncompared == MATCH_MAX_FIELDS)
		{
			Complain(place, "is one field too many; %d may be compared", MATCH_MAX_FIELDS);
			return;
		}
		field->place = definition->ncompared;
		definition->compared[definition->ncompared++] = definition->nfields;
	}
	definition->nfields++;
}

static void
ReadBlock(const Place *place, MatchDefinition *definition)
{
	char	  **names;
	int			nnames;
	int			fields[MATCH_BLOCK_FIELDS];
	uint32		mask = 0;

	names = ReadTexts(place, &nnames);
	if (nnames > MATCH_BLOCK_FIELDS)
	{
		Complain(place, "has %d fields, and %d are possible", nnames, MATCH_BLOCK_FIELDS);
		return;
	}
	for (int i = 0; i < nnames; i++)
	{
		fields[i] = FindMatchField(definition, names[i]);
		if (fields[i] < 0)
		{
			Complain(place, "has \"%s\", which is no field", names[i]);
			return;
		}
		if (mask & (1u << fields[i]))
		{
			Complain(place, "has \"%s\" twice", names[i]);
			return;
		}
		mask |= 1u << fields[i];
	}
	if (definition->nblocks == MATCH_MAX_BLOCKS)
		Complain(place, "is one block too many; there may be %d", MATCH_MAX_BLOCKS);
	else if (nnames > 0 && !AddMatchBlock(definition, fields, nnames))
		Complain(place, "is there twice");
}

static void
ReadParts(const Place *whole, MatchDefinition *definition)
{
	static const char *const oversized[] = {"refuse", "skip", NULL};
	Place		part;
	Place		element;
	char	   *name;
	int			i = 0;

	if (GetPart(whole, "id", &part))
		definition->id = ReadText(&part);
	if (GetPart(whole, "in", &part))
		definition->in = ReadText(&part);
	if (GetPart(whole, "country", &part))
	{
		definition->country = ReadText(&part);
		if (definition->country != NULL && !IsPhoneCountry(definition->country))
			Complain(&part, "is \"%s\", and must be a country code of two letters", definition->country);
	}
	if (!GetPart(whole, "fields", &part))
		Complain(whole, "has no fields");
	else if (RequireObject(&part))
	{
		while (NextKey(&part, &i, &name, &element))
			ReadField(&element, name, definition);
	}
	definition->chosen = !GetPart(whole, "blocks", &part);
	if (!definition->chosen && RequireArray(&part))
	{
		if (CountElements(&part) == 0)
			Complain(&part, "is empty, so no pair is ever looked at");
		for (i = 0; i < CountElements(&part); i++)
		{
			GetElementPlace(&part, i, &element);
			ReadBlock(&element, definition);
		}
	}
	if (GetPart(whole, "pairs_per_record", &part))
		ReadWhole(&part, 1, 10000, &definition->pairs_per_record);
	if (GetPart(whole, "largest_key", &part))
		ReadWhole(&part, 2, 1000000, &definition->largest_key);
	if (GetPart(whole, "oversized", &part))
		definition->skip_oversized = ReadChoice(&part, oversized) == 1;
	if (GetPart(whole, "garbage", &part) && RequireArray(&part))
	{
		definition->ngarbage = 0;
		if (CountElements(&part) > 0)
			definition->garbage = ReadTexts(&part, &definition->ngarbage);
	}
	if (GetPart(whole, "link", &part))
		ReadProbability(&part, &definition->link);
	if (GetPart(whole, "review", &part) && ReadProbability(&part, &definition->review) && definition->review > definition->link)
		Complain(&part, "is above link");
}

/*
 * Reads a definition.  Error: LY844, with the place of each mistake.
 */
void
ReadMatchDefinition(Jsonb *json, MatchDefinition *definition)
{
	static const char *const known[] = {"id", "in", "fields", "blocks", "pairs_per_record", "largest_key", "oversized",
	"garbage", "country", "link", "review", NULL};
	Problems	problems = {0};
	Place		whole;
	bool		by_levels = false;

	memset(definition, 0, sizeof(*definition));
	definition->pairs_per_record = 20;
	definition->largest_key = 1000;
	definition->garbage = usual_garbage;
	definition->ngarbage = lengthof(usual_garbage);
	definition->link = 0.99;
	definition->review = 0.5;

	WholeDefinition(&whole, json, "", &problems);
	if (RequireObject(&whole))
	{
		RefuseUnknownKeys(&whole, known);
		ReadParts(&whole, definition);
		for (int b = 0; b < definition->nblocks; b++)
			by_levels = by_levels || definition->blocks[b].by_levels;
		if (problems.nerrors == 0 && definition->ncompared == 0)
			Complain(&whole, "has no fields that are compared");
		else if (problems.nerrors == 0 && !definition->chosen && !by_levels)
			Complain(&whole, "has blocks of keys only, and how many matches they miss would be unknown: one of compared fields is needed");
	}
	if (problems.nerrors > 0)
	{
		StringInfoData detail;
		ListCell   *cell;

		initStringInfo(&detail);
		foreach(cell, problems.list)
		{
			Problem    *problem = lfirst(cell);

			appendStringInfo(&detail, "%s%s %s.", detail.len > 0 ? " " : "",
							 problem->path[0] == '\0' ? "It" : problem->path, problem->text);
		}
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_MATCH),
				 errmsg("invalid definition of a match"),
				 errdetail_internal("%s", detail.data),
				 errhint("doc/match.md has an example.")));
	}
}

/*
 * match_fields(definition jsonb) -> text[]
 *		The compared fields, in the order of patterns.  Error: LY844.
 */
PG_FUNCTION_INFO_V1(loyalty_match_fields);
Datum
loyalty_match_fields(PG_FUNCTION_ARGS)
{
	MatchDefinition *definition = palloc(sizeof(MatchDefinition));
	Datum		names[MATCH_MAX_FIELDS];

	ReadMatchDefinition(PG_GETARG_JSONB_P(0), definition);
	for (int p = 0; p < definition->ncompared; p++)
		names[p] = CStringGetTextDatum(definition->fields[definition->compared[p]].name);
	PG_RETURN_ARRAYTYPE_P(construct_array(names, definition->ncompared, TEXTOID, -1, false, TYPALIGN_INT));
}
