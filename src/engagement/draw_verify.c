/*
 * draw_verify.c
 *		Draws as anybody can recompute them, without tables.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/compat.h"
#include "core/core.h"
#include "core/errors.h"
#include "engagement/draw.h"

pg_noreturn static void
RefuseDraw(const char *what, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("%s", what),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

static void
SeedArgument(FunctionCallInfo fcinfo, int n, TicketSeed *seed)
{
	RequireArgument(fcinfo, n, "seed");
	ReadSeed(TextArgument(fcinfo, n), seed);
}

/* Texts are hashed as UTF-8, whatever the encoding of the database. */
static char *
Utf8Of(char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

static char *
DrawArgument(FunctionCallInfo fcinfo, int n)
{
	RequireArgument(fcinfo, n, "draw");
	return Utf8Of(TextArgument(fcinfo, n));
}

static char *
ClientSeed(char *given)
{
	char	   *text = given != NULL ? Utf8Of(given) : NULL;

	if (text != NULL && strlen(text) > MAX_CLIENT_SEED)
		RefuseDraw(psprintf("client_seed must have at most %d bytes", MAX_CLIENT_SEED), psprintf("It has %zu.", strlen(text)),
				   "Give a shorter one.");
	return text;
}

/*
 * hmac_sha256(key bytea, data bytea) -> bytea
 */
PG_FUNCTION_INFO_V1(loyalty_hmac_sha256);
Datum
loyalty_hmac_sha256(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	bytea	   *data = PG_GETARG_BYTEA_PP(1);
	bytea	   *mac = palloc(VARHDRSZ + SHA256_LENGTH);

	SET_VARSIZE(mac, VARHDRSZ + SHA256_LENGTH);
	HmacSha256((uint8 *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), (uint8 *) VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data),
			   (uint8 *) VARDATA(mac));
	PG_RETURN_BYTEA_P(mac);
}

static char *
CommitmentOf(const TicketSeed *seed)
{
	uint8		hash[SHA256_LENGTH];

	Sha256(seed->bytes, seed->length, hash);
	return HexOf(hash, SHA256_LENGTH);
}

/*
 * commit_seed(seed text) -> text
 */
PG_FUNCTION_INFO_V1(loyalty_commit_seed);
Datum
loyalty_commit_seed(PG_FUNCTION_ARGS)
{
	TicketSeed	seed;

	SeedArgument(fcinfo, 0, &seed);
	PG_RETURN_TEXT_P(cstring_to_text(CommitmentOf(&seed)));
}

/*
 * draw_ticket(seed text, draw text, member_id bigint, nonce bigint, total bigint, client_seed text) -> bigint
 */
PG_FUNCTION_INFO_V1(loyalty_draw_ticket);
Datum
loyalty_draw_ticket(PG_FUNCTION_ARGS)
{
	TicketSeed	seed;
	char	   *draw = DrawArgument(fcinfo, 1);
	int64		member_id = MemberArgument(fcinfo, 2, "member_id");

	SeedArgument(fcinfo, 0, &seed);
	RequireArgument(fcinfo, 3, "nonce");
	RequireArgument(fcinfo, 4, "total");
	if (PG_GETARG_INT64(4) < 1)
		RefuseDraw("total must be positive", psprintf("It is " INT64_FORMAT ".", PG_GETARG_INT64(4)), "It is the sum of the weights.");
	PG_RETURN_INT64(DrawTicket(&seed, draw, member_id, PG_GETARG_INT64(3), PG_GETARG_INT64(4), ClientSeed(TextArgument(fcinfo, 5))));
}

/*
 * ticket_of_bits(bits bytea, total bigint) -> bigint: NULL where they are rejected
 */
PG_FUNCTION_INFO_V1(loyalty_ticket_of_bits);
Datum
loyalty_ticket_of_bits(PG_FUNCTION_ARGS)
{
	bytea	   *given = PG_GETARG_BYTEA_PP(0);
	uint64		bits = 0;
	int64		number;

	if (VARSIZE_ANY_EXHDR(given) != sizeof(bits) || PG_GETARG_INT64(1) < 1)
		RefuseDraw("bits must have 8 bytes, and total be positive",
				   psprintf("They have %d, and it is " INT64_FORMAT ".", (int) VARSIZE_ANY_EXHDR(given), PG_GETARG_INT64(1)),
				   "Give the first 8 bytes of an HMAC.");
	for (int i = 0; i < (int) sizeof(bits); i++)
		bits = bits << 8 | ((uint8 *) VARDATA_ANY(given))[i];
	number = NumberOfBits(bits, PG_GETARG_INT64(1));
	if (number < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(number);
}

static int32 *
DeckOf(const TicketSeed *seed, const char *draw, int32 n)
{
	int32	   *deck = palloc(n * sizeof(int32));

	ShuffleDeck(seed, draw, n, deck);
	return deck;
}

/*
 * shuffle_deck(seed text, draw text, n integer) -> integer[]
 */
PG_FUNCTION_INFO_V1(loyalty_shuffle_deck);
Datum
loyalty_shuffle_deck(PG_FUNCTION_ARGS)
{
	TicketSeed	seed;
	char	   *draw = DrawArgument(fcinfo, 1);
	int32		n;
	int32	   *deck;
	Datum	   *tickets;

	SeedArgument(fcinfo, 0, &seed);
	RequireArgument(fcinfo, 2, "n");
	n = PG_GETARG_INT32(2);
	if (n < 1 || n > MAX_DECK)
		RefuseDraw(psprintf("n must be from 1 to %d", MAX_DECK), psprintf("It is %d.", n), "It is the number of tickets.");
	deck = DeckOf(&seed, draw, n);
	tickets = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
		tickets[i] = Int32GetDatum(deck[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(tickets, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/*
 * check_draw_definition(definition jsonb) -> jsonb
 */
PG_FUNCTION_INFO_V1(loyalty_check_draw_definition);
Datum
loyalty_check_draw_definition(PG_FUNCTION_ARGS)
{
	RequireArgument(fcinfo, 0, "definition");
	(void) RequireDraw(PG_GETARG_JSONB_P(0));
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/*
 * prize_of_ticket(definition jsonb, ticket bigint) -> text; NULL for a blank
 */
PG_FUNCTION_INFO_V1(loyalty_prize_of_ticket);
Datum
loyalty_prize_of_ticket(PG_FUNCTION_ARGS)
{
	DrawTerms  *terms = RequireDraw(PG_GETARG_JSONB_P(0));
	int			prize;

	if (PG_GETARG_INT64(1) < 0 || PG_GETARG_INT64(1) >= terms->total)
		RefuseDraw(psprintf("ticket must be from 0 to " INT64_FORMAT, terms->total - 1),
				   psprintf("It is " INT64_FORMAT ".", PG_GETARG_INT64(1)), "See draw_ticket().");
	prize = PrizeOfTicket(terms, PG_GETARG_INT64(1));
	if (prize == NO_PRIZE)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(terms->prizes[prize].name));
}

/* ---------------------------------------------------------------------------
 * Verifying
 * ---------------------------------------------------------------------------
 */

/* A spin as it is told, and its place among all. */
typedef struct Spin
{
	int64		member_id;
	int64		nonce;
	int64		ticket;
	const char *drawn;
	const char *given;
	char	   *client_seed;
	int			drawn_prize;
	int			given_prize;
} Spin;

typedef struct Verification
{
	FunctionCallInfo fcinfo;
	const DrawTerms *terms;
	const char *draw;
	TicketSeed	seed;
	int			n;
	Spin	   *spins;
} Verification;

static void
Report(const Verification *verification, const Spin *spin, const char *problem)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) verification->fcinfo->resultinfo;
	Datum		values[3] = {[2] = CStringGetTextDatum(problem)};
	bool		nulls[3] = {spin == NULL, spin == NULL, false};

	if (spin != NULL)
	{
		values[0] = Int64GetDatum(spin->member_id);
		values[1] = Int64GetDatum(spin->nonce);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static Datum *
ColumnArgument(FunctionCallInfo fcinfo, int n, const char *name, Oid type, int width, bool by_value, char align, bool **nulls, int *count)
{
	Datum	   *values;

	RequireArgument(fcinfo, n, name);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), type, width, by_value, align, &values, nulls, count);
	return values;
}

static void
ReadSpins(Verification *verification)
{
	static const char *const names[] = {"member_ids", "nonces", "tickets", "drawn", "prizes", "client_seeds"};
	FunctionCallInfo fcinfo = verification->fcinfo;
	Datum	   *columns[6];
	bool	   *nulls[6];
	int			counts[6];

	for (int i = 0; i < 6; i++)
	{
		if (i == 5 && PG_ARGISNULL(9))
			break;
		columns[i] = i < 3 ? ColumnArgument(fcinfo, 4 + i, names[i], INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE, &nulls[i], &counts[i]) :
			ColumnArgument(fcinfo, 4 + i, names[i], TEXTOID, -1, false, TYPALIGN_INT, &nulls[i], &counts[i]);
		if (counts[i] != counts[0])
			RefuseDraw(psprintf("%s must have as many elements as member_ids", names[i]), psprintf("They have %d and %d.", counts[i], counts[0]),
					   "Give an element of each for each spin.");
	}
	verification->n = counts[0];
	verification->spins = palloc0(counts[0] * sizeof(Spin));
	for (int s = 0; s < counts[0]; s++)
	{
		Spin	   *spin = &verification->spins[s];

		if (nulls[0][s] || nulls[1][s] || nulls[2][s])
			RefuseDraw("a spin must have a member, a nonce and a ticket", psprintf("Number %d has not.", s + 1), "Give all three.");
		spin->member_id = DatumGetInt64(columns[0][s]);
		spin->nonce = DatumGetInt64(columns[1][s]);
		spin->ticket = DatumGetInt64(columns[2][s]);
		spin->drawn = nulls[3][s] ? NULL : TextDatumGetCString(columns[3][s]);
		spin->given = nulls[4][s] ? NULL : TextDatumGetCString(columns[4][s]);
		spin->client_seed = PG_ARGISNULL(9) || nulls[5][s] ? NULL : ClientSeed(TextDatumGetCString(columns[5][s]));
		spin->drawn_prize = spin->drawn == NULL ? NO_PRIZE : FindPrize(verification->terms, spin->drawn);
		spin->given_prize = spin->given == NULL ? NO_PRIZE : FindPrize(verification->terms, spin->given);
	}
}

static int
CompareSpins(const void *a, const void *b)
{
	const Spin *x = a;
	const Spin *y = b;

	if (x->member_id != y->member_id)
		return x->member_id < y->member_id ? -1 : 1;
	return x->nonce < y->nonce ? -1 : x->nonce > y->nonce;
}

static int
CompareTickets(const void *a, const void *b)
{
	int64		x = (*(const Spin *const *) a)->ticket;
	int64		y = (*(const Spin *const *) b)->ticket;

	return x < y ? -1 : x > y;
}

static const char *
Quoted(const char *prize)
{
	return prize == NULL ? "nothing" : psprintf("\"%s\"", prize);
}

/* The numbers of each member's spins are 1, 2, ...; the spins are in order. */
static void
VerifyNonces(const Verification *verification)
{
	for (int i = 0; i < verification->n; i++)
	{
		const Spin *spin = &verification->spins[i];
		bool		first = i == 0 || spin[-1].member_id != spin->member_id;
		int64		expected = first ? 1 : spin[-1].nonce + 1;

		if (spin->nonce != expected)
			Report(verification, spin, psprintf("its number is " INT64_FORMAT ", and should be " INT64_FORMAT, spin->nonce, expected));
	}
}

/* What the seed draws for each spin of a wheel is what is told. */
static void
VerifyWheelTickets(const Verification *verification)
{
	for (int i = 0; i < verification->n; i++)
	{
		const Spin *spin = &verification->spins[i];
		int64		ticket = DrawTicket(&verification->seed, verification->draw, spin->member_id, spin->nonce, verification->terms->total,
										spin->client_seed);

		if (verification->terms->client_seed && spin->client_seed == NULL)
			Report(verification, spin, "the member gave no seed");
		if (ticket != spin->ticket)
			Report(verification, spin, psprintf("ticket " INT64_FORMAT " was told, and the seed draws " INT64_FORMAT, spin->ticket, ticket));
		else if (spin->drawn_prize != PrizeOfTicket(verification->terms, ticket))
			Report(verification, spin, psprintf("ticket " INT64_FORMAT " draws %s, and not %s", ticket,
												Quoted(verification->terms->prizes[PrizeOfTicket(verification->terms, ticket)].name), Quoted(spin->drawn)));
	}
}

/*
 * No prize is given more often than it is there, and none is passed over that
 * is still there.
 */
static void
VerifyStock(const Verification *verification)
{
	const DrawTerms *terms = verification->terms;
	int64	   *given = palloc0(terms->nprizes * sizeof(int64));

	for (int i = 0; i < verification->n; i++)
	{
		const Spin *spin = &verification->spins[i];

		if (spin->given_prize != NO_PRIZE)
			given[spin->given_prize]++;
	}
	for (int p = 0; p < terms->nprizes; p++)
	{
		if (terms->prizes[p].has_stock && given[p] > terms->prizes[p].stock)
			Report(verification, NULL, psprintf("prize \"%s\" was given " INT64_FORMAT " times, of " INT64_FORMAT, terms->prizes[p].name,
												given[p], terms->prizes[p].stock));
	}
	for (int i = 0; i < verification->n; i++)
	{
		const Spin *spin = &verification->spins[i];

		if (spin->given_prize == NO_PRIZE || spin->given_prize > spin->drawn_prize)
		{
			Report(verification, spin, psprintf("it draws %s, and %s was given", Quoted(spin->drawn), Quoted(spin->given)));
			continue;
		}
		for (int p = spin->drawn_prize; p > spin->given_prize; p--)
		{
			if (terms->prizes[p].has_stock && given[p] >= terms->prizes[p].stock)
				continue;
			Report(verification, spin, psprintf("prize \"%s\" was still there, and \"%s\" was given", terms->prizes[p].name, spin->given));
			break;
		}
	}
}

/* Each place of a deck goes to one spin, with the prize that lies there. */
static void
VerifyDeck(const Verification *verification)
{
	const DrawTerms *terms = verification->terms;
	int32	   *deck = DeckOf(&verification->seed, verification->draw, terms->tickets);
	Spin	  **by_place = palloc(verification->n * sizeof(Spin *));

	for (int i = 0; i < verification->n; i++)
		by_place[i] = &verification->spins[i];
	qsort(by_place, verification->n, sizeof(Spin *), CompareTickets);
	for (int i = 0; i < verification->n; i++)
	{
		const Spin *spin = by_place[i];
		int			prize;

		if (spin->ticket < 0 || spin->ticket >= terms->tickets)
		{
			Report(verification, spin, psprintf("place " INT64_FORMAT " is not in the deck", spin->ticket));
			continue;
		}
		if (i > 0 && by_place[i - 1]->ticket == spin->ticket)
			Report(verification, spin, psprintf("place " INT64_FORMAT " was sold twice", spin->ticket));
		prize = PrizeOfTicket(terms, deck[spin->ticket]);
		if (spin->drawn_prize != prize || spin->given_prize != prize || (prize == NO_PRIZE && (spin->drawn != NULL || spin->given != NULL)))
			Report(verification, spin, psprintf("at place " INT64_FORMAT " lies %s; %s was drawn and %s given", spin->ticket,
												Quoted(prize == NO_PRIZE ? NULL : terms->prizes[prize].name), Quoted(spin->drawn), Quoted(spin->given)));
	}
}

/*
 * verify_draw(draw text, definition jsonb, commitment text, seed text, member_ids bigint[], nonces bigint[],
 *		tickets bigint[], drawn text[], prizes text[], client_seeds text[])
 * -> rows (member_id bigint, nonce bigint, problem text)
 */
PG_FUNCTION_INFO_V1(loyalty_verify_draw);
Datum
loyalty_verify_draw(PG_FUNCTION_ARGS)
{
	Verification verification = {.fcinfo = fcinfo};
	char	   *commitment;

	verification.draw = DrawArgument(fcinfo, 0);
	RequireArgument(fcinfo, 1, "definition");
	verification.terms = RequireDraw(PG_GETARG_JSONB_P(1));
	RequireArgument(fcinfo, 2, "commitment");
	commitment = TextArgument(fcinfo, 2);
	SeedArgument(fcinfo, 3, &verification.seed);
	ReadSpins(&verification);
	InitReturnSet(fcinfo);
	if (pg_strcasecmp(commitment, CommitmentOf(&verification.seed)) != 0)
		Report(&verification, NULL, psprintf("the seed is that of the commitment %s", CommitmentOf(&verification.seed)));
	qsort(verification.spins, verification.n, sizeof(Spin), CompareSpins);
	VerifyNonces(&verification);
	if (verification.terms->tickets > 0)
		VerifyDeck(&verification);
	else
	{
		VerifyWheelTickets(&verification);
		VerifyStock(&verification);
	}
	return (Datum) 0;
}
