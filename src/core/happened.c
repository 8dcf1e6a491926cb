/*
 * happened.c
 *		Word that something happened, for rooms to the right.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "core/core.h"
#include "core/happened.h"

#define MAX_DECLARED	16
#define MAX_HEARERS		4

static const char *const *declared[MAX_DECLARED];
static int	ndeclared = 0;

static const Hearer *hearers[MAX_HEARERS];
static int	nhearers = 0;

/*
 * A room states what can happen there; a list that ends with NULL, and stays.
 */
void
DeclareHappenings(const char *const *kinds)
{
	if (ndeclared >= MAX_DECLARED)
		elog(ERROR, "too many lists of what can happen");
	declared[ndeclared++] = kinds;
}

/*
 * From now on a hearer is told of the kinds that it hears.  hears() may be asked
 * at each call, and more than once; it is told in the order of the rooms.
 */
void
OnHappening(const Hearer *hearer)
{
	if (nhearers >= MAX_HEARERS)
		elog(ERROR, "too many hearers");
	hearers[nhearers++] = hearer;
}

/*
 * Whether anybody hears of a kind.
 */
bool
IsHeard(const char *kind)
{
	for (int i = 0; i < nhearers; i++)
	{
		if (hearers[i]->hears(kind))
			return true;
	}
	return false;
}

/*
 * In this call it may happen to a member: see happened.h.  Needs an SPI
 * connection.
 */
void
ExpectHappening(const char *kind, int64 member_id, const char *currency)
{
	for (int i = 0; i < nhearers; i++)
	{
		if (hearers[i]->expected != NULL && hearers[i]->hears(kind))
			hearers[i]->expected(kind, member_id, currency);
	}
}

/*
 * Tells whoever hears of it.
 */
void
Happen(const Happening *happening)
{
	for (int i = 0; i < nhearers; i++)
	{
		if (hearers[i]->hears(happening->kind))
			hearers[i]->heard(happening);
	}
}

/*
 * declared_happenings() -> text[]
 */
PG_FUNCTION_INFO_V1(loyalty_declared_happenings);
Datum
loyalty_declared_happenings(PG_FUNCTION_ARGS)
{
	ArrayBuildState *names = initArrayResult(TEXTOID, CurrentMemoryContext, false);

	(void) fcinfo;
	for (int i = 0; i < ndeclared; i++)
	{
		for (const char *const *kind = declared[i]; *kind != NULL; kind++)
			(void) accumArrayResult(names, CStringGetTextDatum(*kind), false, TEXTOID, CurrentMemoryContext);
	}
	return makeArrayResult(names, CurrentMemoryContext);
}

/*
 * is_heard(kind text) -> boolean
 */
PG_FUNCTION_INFO_V1(loyalty_is_heard);
Datum
loyalty_is_heard(PG_FUNCTION_ARGS)
{
	RequireOwner();
	RequireArgument(fcinfo, 0, "kind");
	PG_RETURN_BOOL(IsHeard(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * expect_happening(kind text, member_id bigint) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_expect_happening);
Datum
loyalty_expect_happening(PG_FUNCTION_ARGS)
{
	RequireOwner();
	RequireArgument(fcinfo, 0, "kind");
	RequireArgument(fcinfo, 1, "member_id");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ExpectHappening(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT64(1), NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * happen(kind text, member_id bigint, at timestamptz, payload jsonb) -> void
 */
PG_FUNCTION_INFO_V1(loyalty_happen);
Datum
loyalty_happen(PG_FUNCTION_ARGS)
{
	Happening	happening = {0};

	RequireOwner();
	RequireArgument(fcinfo, 0, "kind");
	RequireArgument(fcinfo, 1, "member_id");
	RequireArgument(fcinfo, 2, "at");
	RequireArgument(fcinfo, 3, "payload");
	happening.kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	happening.member_id = PG_GETARG_INT64(1);
	happening.at = PG_GETARG_TIMESTAMPTZ(2);
	happening.payload = PG_GETARG_DATUM(3);
	Happen(&happening);
	PG_RETURN_VOID();
}
