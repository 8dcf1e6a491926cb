/*
 * trial_arm.c
 *		arm_of(): in which arm of an experiment a member is.
 *
 * A position from 0 to 9,999 follows from the experiment's name and the member
 * alone; the arms share these positions out, in their order.  Two experiments
 * have different names, so that their arms have nothing to do with each other.
 *
 *	sha256			the first 64 bits, without sign, of SHA-256 over a byte 1, the
 *					length of the name in bytes (32 bits), the name in UTF-8 and
 *					the member (64 bits), numbers in network order, modulo 10,000
 *	growthbook_2	hash version 2 of GrowthBook: FNV-1a (32 bits) over the name
 *					and the member's decimal digits, and once more over that in
 *					decimal digits, modulo 10,000
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "core/core.h"
#include "core/errors.h"
#include "trial/trial.h"

/* What a call site asked last, read */
typedef struct KnownExperiment
{
	MemoryContext context;		/* of all that it points to */
	struct varlena *arguments[3];	/* experiment, shares, hash, as they came */
	Experiment	experiment;
} KnownExperiment;

/* ---- plain computing ---- */

static uint32
Fnv1a(uint32 hash, const char *bytes, int length)
{
	for (int i = 0; i < length; i++)
		hash = (hash ^ (uint8) bytes[i]) * 0x01000193U;
	return hash;
}

#define FNV1A_BEGIN	0x811C9DC5U

/* The position of a unit, given the hash of the name. */
static int
GrowthBookPosition(uint32 named, const char *unit, int length)
{
	char		digits[16];

	length = snprintf(digits, sizeof(digits), "%u", Fnv1a(named, unit, length));
	return Fnv1a(FNV1A_BEGIN, digits, length) % TRIAL_POSITIONS;
}

static int
PositionOf(const Experiment *experiment, int64 member_id)
{
	if (experiment->kind == HASH_GROWTHBOOK_2)
	{
		char		digits[24];
		int			length = pg_lltoa(member_id, digits);

		return GrowthBookPosition(Fnv1a(FNV1A_BEGIN, experiment->message, experiment->length), digits, length);
	}
	else
	{
		uint8		hash[SHA256_LENGTH];
		uint64		number = 0;

		for (int i = 0; i < 8; i++)
			experiment->message[experiment->length + i] = (char) ((uint64) member_id >> (56 - 8 * i));
		Sha256(experiment->message, experiment->length + 8, hash);
		for (int i = 0; i < 8; i++)
			number = number << 8 | hash[i];
		return number % TRIAL_POSITIONS;
	}
}

/* The arm of a member: the first whose positions reach as far as the member's. */
int
ArmOf(const Experiment *experiment, int64 member_id)
{
	int			position = PositionOf(experiment, member_id);
	int			arm = 0;

	while (position >= experiment->until[arm])
		arm++;
	return arm;
}

/* ---- arguments ---- */

pg_noreturn static void
RefuseShares(ArrayType *shares, const char *why)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(NUMERICARRAYOID, &output, &varlena);
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_SHARES),
			 errmsg("shares %s cannot be those of arms", OidOutputFunctionCall(output, PointerGetDatum(shares))),
			 errdetail("%s", why),
			 errhint("Give two to 64 shares, multiples of .0001 that sum to 1, the control first, such as {0.1,0.9}.")));
}

/*
 * Reads the shares of arms: how many there are; until (room for 64) gets the
 * first position behind each.  LY802 where they are no shares.
 */
int
ReadShares(ArrayType *shares, int *until)
{
	Datum	   *elements;
	bool	   *nulls;
	int			narms;
	int			sum = 0;

	if (ARR_NDIM(shares) > 1)
		RefuseShares(shares, "It has more than one dimension.");
	deconstruct_array(shares, NUMERICOID, -1, false, TYPALIGN_INT, &elements, &nulls, &narms);
	if (narms < 2 || narms > TRIAL_MAX_ARMS)
		RefuseShares(shares, "There is nothing to compare, or more than 64 arms.");
	for (int i = 0; i < narms; i++)
	{
		Datum		positions;

		if (nulls[i] || numeric_is_nan(DatumGetNumeric(elements[i])) || numeric_is_inf(DatumGetNumeric(elements[i])))
			RefuseShares(shares, "One of them is no number.");
		positions = DirectFunctionCall2(numeric_mul, elements[i], NumericGetDatum(int64_to_numeric(TRIAL_POSITIONS)));
		if (!DatumGetBool(DirectFunctionCall2(numeric_eq, positions, DirectFunctionCall2(numeric_trunc, positions, Int32GetDatum(0)))))
			RefuseShares(shares, "One of them is no multiple of .0001.");
		if (DatumGetBool(DirectFunctionCall2(numeric_le, positions, NumericGetDatum(int64_to_numeric(0)))) ||
			DatumGetBool(DirectFunctionCall2(numeric_gt, positions, NumericGetDatum(int64_to_numeric(TRIAL_POSITIONS)))))
			RefuseShares(shares, "One of them is not above 0, or above 1.");
		sum += DatumGetInt32(DirectFunctionCall1(numeric_int4, positions));
		until[i] = sum;
	}
	if (sum != TRIAL_POSITIONS)
		RefuseShares(shares, "They do not sum to 1.");
	return narms;
}

static HashKind
ReadHash(const char *name)
{
	if (strcmp(name, "sha256") == 0)
		return HASH_SHA256;
	if (strcmp(name, "growthbook_2") == 0)
		return HASH_GROWTHBOOK_2;
	ereport(ERROR,
			(errcode(ERRCODE_LY_INVALID_ARGUMENT),
			 errmsg("unknown hash \"%s\"", name),
			 errdetail("A hash tells the position of a member in an experiment."),
			 errhint("It is sha256 or growthbook_2.")));
}

/* A text in UTF-8, whatever the encoding of the database; its length. */
static char *
InUtf8(text *t, int *length)
{
	char	   *own = text_to_cstring(t);
	char	   *utf8 = (char *) pg_do_encoding_conversion((unsigned char *) own, strlen(own), GetDatabaseEncoding(), PG_UTF8);

	*length = strlen(utf8);
	return utf8;
}

/*
 * Reads an experiment; what it points to is in the current memory context.
 */
void
ReadExperiment(Experiment *experiment, text *name, ArrayType *shares, text *hash)
{
	int			length;
	char	   *utf8 = InUtf8(name, &length);

	experiment->narms = ReadShares(shares, experiment->until);
	experiment->kind = ReadHash(text_to_cstring(hash));
	if (experiment->kind == HASH_SHA256)
	{
		experiment->message = palloc(5 + length + 8);
		experiment->message[0] = 1;
		for (int i = 0; i < 4; i++)
			experiment->message[1 + i] = (char) ((uint32) length >> (24 - 8 * i));
		memcpy(experiment->message + 5, utf8, length);
		experiment->length = 5 + length;
	}
	else
	{
		experiment->message = utf8;
		experiment->length = length;
	}
}

/*
 * The experiment of a call, which is read once for all calls with the same
 * arguments.
 */
static KnownExperiment *
ExperimentOfCall(FunctionCallInfo fcinfo)
{
	static const int places[] = {0, 2, 3};
	KnownExperiment *known = fcinfo->flinfo->fn_extra;
	struct varlena *arguments[3];
	bool		same = known != NULL;
	MemoryContext context;
	MemoryContext old;

	for (int i = 0; i < 3; i++)
	{
		arguments[i] = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(places[i]));
		same = same && datumIsEqual(PointerGetDatum(arguments[i]), PointerGetDatum(known->arguments[i]), false, -1);
	}
	if (same)
		return known;

	context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "experiment", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	if (known != NULL)
	{
		fcinfo->flinfo->fn_extra = NULL;
		MemoryContextDelete(known->context);
	}
	known = palloc0(sizeof(KnownExperiment));
	known->context = context;
	for (int i = 0; i < 3; i++)
	{
		known->arguments[i] = palloc(VARSIZE_ANY(arguments[i]));
		memcpy(known->arguments[i], arguments[i], VARSIZE_ANY(arguments[i]));
	}
	ReadExperiment(&known->experiment, (text *) known->arguments[0], DatumGetArrayTypeP(PointerGetDatum(known->arguments[1])),
				   (text *) known->arguments[2]);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = known;
	return known;
}

/*
 * arm_of(experiment text, member_id bigint, shares numeric[], hash text)
 * returns integer
 *		The arm of a member, from 0, which is the control.  Errors: LY802 for
 *		shares that are none, LY003 for an unknown hash.
 */
PG_FUNCTION_INFO_V1(loyalty_arm_of);
Datum
loyalty_arm_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(ArmOf(&ExperimentOfCall(fcinfo)->experiment, PG_GETARG_INT64(1)));
}

/*
 * growthbook_position(experiment text, unit text) returns integer
 *		Where GrowthBook's hash version 2 puts a unit, such as the id of a
 *		device: from 0 to 9,999.
 */
PG_FUNCTION_INFO_V1(loyalty_growthbook_position);
Datum
loyalty_growthbook_position(PG_FUNCTION_ARGS)
{
	int			name_length;
	int			unit_length;
	char	   *name = InUtf8(PG_GETARG_TEXT_PP(0), &name_length);
	char	   *unit = InUtf8(PG_GETARG_TEXT_PP(1), &unit_length);

	PG_RETURN_INT32(GrowthBookPosition(Fnv1a(FNV1A_BEGIN, name, name_length), unit, unit_length));
}
