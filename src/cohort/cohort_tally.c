/*
 * cohort_tally.c
 *		Tallies: counts by (kind, a, b), as an aggregate's state and as the
 *		stored value behind the types cohort_matrix and repurchase.
 *
 * Counts are whole numbers and add up in any order, and a stored tally is
 * sorted: so the same rows give the same bits whatever the plan.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/errors.h"

typedef struct TallySlot
{
	TallyEntry	entry;
	char		status;
} TallySlot;

static inline uint32
HashTallyKey(TallyEntry key)
{
	uint64		h = ((uint64) key.a << 24) ^ ((uint64) (uint32) key.b << 4) ^ (uint64) key.kind;

	h *= UINT64CONST(0x9e3779b97f4a7c15);
	return (uint32) (h >> 32) ^ (uint32) (h >> 17);
}

#define SH_PREFIX tally
#define SH_ELEMENT_TYPE TallySlot
#define SH_KEY_TYPE TallyEntry
#define SH_KEY entry
#define SH_HASH_KEY(tb, key) HashTallyKey(key)
#define SH_EQUAL(tb, x, y) ((x).a == (y).a && (x).b == (y).b && (x).kind == (y).kind)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static const char *const tally_names[] = {"", "cohort_matrix", "repurchase"};

static void WriteState(StringInfo buf, void *state);
static void *ReadState(StringInfo buf);

const StateKind tally_state = {
	.methods = STATE_METHODS,
	.number = STATE_TALLY,
	.aggregate = "retention_agg, repurchase_agg or their kin",
	.write = WriteState,
	.read = ReadState
};

/* ---- plain computing ---- */

TallyState *
TallyStateMake(MemoryContext context, TallyType type)
{
	TallyState *state = MakeState(&tally_state, sizeof(TallyState), context);

	state->type = type;
	state->hash = tally_create(context, 64, NULL);
	return state;
}

/*
 * The state of an aggregate that is being called, made at the first row.
 */
TallyState *
TallyStateOf(FunctionCallInfo fcinfo, TallyType type)
{
	TallyState *state = GetState(fcinfo, 0, &tally_state);

	if (state == NULL)
		return TallyStateMake(StateContext(fcinfo), type);
	if (state->type != type)
		RefuseState(&tally_state, "its counts are of the other kind");
	return state;
}

/*
 * Notes the period of a value that is going to be counted; all of them must
 * have the same.
 */
void
TallySetPeriod(TallyState *state, const Period *period)
{
	if (state->has_period)
		CheckSamePeriod(&state->period, period);
	else
	{
		state->period = *period;
		state->has_period = true;
	}
}

void
AddToTally(TallyState *state, TallyKind kind, int64 a, int32 b, int64 n)
{
	TallyEntry	key = {0, a, b, kind};
	TallySlot  *slot;
	bool		found;

	slot = tally_insert(state->hash, key, &found);
	if (!found)
		slot->entry = key;
	/* no count is larger than all of its kind together */
	state->totals[kind] = AddCounts(state->totals[kind], n);
	slot->entry.n += n;
}

static int
CompareEntries(const TallyEntry *a, const TallyEntry *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->a != b->a)
		return a->a < b->a ? -1 : 1;
	if (a->b != b->b)
		return a->b < b->b ? -1 : 1;
	return 0;
}

#define ST_SORT SortEntries
#define ST_ELEMENT_TYPE TallyEntry
#define ST_COMPARE(a, b) CompareEntries(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * The state as a stored value, in the current context.
 */
Tally *
TallyFinish(TallyState *state)
{
	Size		n = state->hash->members;
	Tally	   *t;
	tally_iterator it;
	TallySlot  *slot;

	if (!AllocSizeIsValid(TALLY_SIZE_OF(n)))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("this %s would need %zu bytes", tally_names[state->type], TALLY_SIZE_OF(n)),
				 errdetail("It has %zu cells; a value can hold 1 GB.", n),
				 errhint("Choose a longer period.")));
	t = palloc0(TALLY_SIZE_OF(n));
	SET_VARSIZE(t, TALLY_SIZE_OF(n));
	t->version = TALLY_VERSION;
	t->type = state->type;
	if (state->has_period)
	{
		t->base = state->period.base;
		t->step = state->period.step;
		t->zone = state->period.zone;
	}

	tally_start_iterate(state->hash, &it);
	while ((slot = tally_iterate(state->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		t->entries[t->nentries++] = slot->entry;
	}
	SortEntries(t->entries, t->nentries);
	return t;
}

static void
MergeTally(TallyState *state, const Tally *t)
{
	if (t->base != 0)
	{
		Period		period = TallyPeriod(t);

		TallySetPeriod(state, &period);
	}
	for (int i = 0; i < t->nentries; i++)
	{
		CHECK_FOR_INTERRUPTS();
		AddToTally(state, t->entries[i].kind, t->entries[i].a, t->entries[i].b, t->entries[i].n);
	}
}

static const char *
TallyProblem(const Tally *t, TallyType type)
{
	Period		period = TallyPeriod(t);

	if (t->version != TALLY_VERSION || t->type != type)
		return "unknown version";
	if (t->base == 0 ? t->nentries != 0
		: !PeriodValid(t->base, t->step))
		return "unknown period";
	for (int i = 0; i < t->nentries; i++)
	{
		const TallyEntry *e = &t->entries[i];

		if (e->n < 1)
			return "a count below one";
		if (type == TALLY_COHORT_MATRIX ? (e->kind < TALLY_SIZE || e->kind > TALLY_FIRST)
			: (e->kind < TALLY_ORDERS || e->kind > TALLY_INTERVAL))
			return "an unknown kind of count";
		if (e->b < 0 ||
			(type == TALLY_COHORT_MATRIX &&
			 (!PeriodExists(&period, e->a) || !PeriodExists(&period, e->a + e->b))))
			return "a period that holds no instant";
		if (i > 0 && CompareEntries(e - 1, e) >= 0)
			return "counts out of order";
	}
	return NULL;
}

Period
TallyPeriod(const Tally *t)
{
	Period		period = {t->base, t->step, t->zone};

	return period;
}

/*
 * The position of the first entry that is not before (kind, a, b).
 */
int
TallyFind(const Tally *t, TallyKind kind, int64 a, int32 b)
{
	TallyEntry	key = {0, a, b, kind};
	int			low = 0,
				high = t->nentries;

	while (low < high)
	{
		int			mid = low + (high - low) / 2;

		if (CompareEntries(&t->entries[mid], &key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * The count of (kind, a, b), 0 where there is none.
 */
int64
TallyCount(const Tally *t, TallyKind kind, int64 a, int32 b)
{
	int			i = TallyFind(t, kind, a, b);

	if (i < t->nentries && t->entries[i].kind == (int32) kind &&
		t->entries[i].a == a && t->entries[i].b == b)
		return t->entries[i].n;
	return 0;
}

/*
 * A stored value; errors out on one of another version.
 */
Tally *
GetTally(Datum d, TallyType type)
{
	Tally	   *t = (Tally *) PG_DETOAST_DATUM(d);

	if (VARSIZE(t) < TALLY_SIZE_OF(0) || t->version != TALLY_VERSION || t->type != type)
		ereport(ERROR,
				(errcode(ERRCODE_LY_INVALID_COHORT_VALUE),
				 errmsg("this %s has format %d", tally_names[type], t->version),
				 errdetail("This version of the extension reads format %d.", TALLY_VERSION),
				 errhint("Run ALTER EXTENSION loyalty UPDATE.")));
#ifdef USE_ASSERT_CHECKING
	Assert(TALLY_SIZE_OF((Size) t->nentries) == VARSIZE(t) && TallyProblem(t, type) == NULL);
#endif
	return t;
}

/* ---- input and output ---- */

static Tally *
TallyIn(const char *str, TallyType type)
{
	const char *s = str;
	char	   *end;
	const char *at = strchr(s, '@');
	TallyState *state = TallyStateMake(CurrentMemoryContext, type);
	Tally	   *t;

	if (strcmp(s, "{}") == 0)
		return TallyFinish(state);

	if (at == NULL || !ParsePeriod(s, at - s, &state->period))
		goto bad;
	state->has_period = true;
	state->period.zone = strtoul(at + 1, &end, 16);
	if (end == at + 1 || strncmp(end, ":{", 2) != 0)
		goto bad;
	s = end + 2;
	while (*s != '}')
	{
		int64		numbers[4];
		static const char follows[] = "//=";

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < 4; i++)
		{
			numbers[i] = strtoll(s, &end, 10);
			if (end == s || (i < 3 && *end != follows[i]))
				goto bad;
			s = i < 3 ? end + 1 : end;
		}
		if (numbers[0] < 0 || numbers[0] > TALLY_INTERVAL ||
			numbers[2] < 0 || numbers[2] > PG_INT32_MAX || numbers[3] < 1)
			goto bad;
		AddToTally(state, (TallyKind) numbers[0], numbers[1], (int32) numbers[2], numbers[3]);
		if (*s == ',')
			s++;
		else if (*s != '}')
			goto bad;
	}
	if (s[1] != '\0')
		goto bad;
	t = TallyFinish(state);
	if (TallyProblem(t, type) != NULL)
		goto bad;
	return t;

bad:
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type %s: \"%s\"", tally_names[type], str),
			 errdetail("The text form is period@zone:{kind/a/b=count,...}."),
			 errhint("Compute it with %s().",
					 type == TALLY_COHORT_MATRIX ? "retention_agg" : "repurchase_agg")));
	return NULL;
}

static char *
TallyOut(const Tally *t)
{
	StringInfoData buf;
	Period		period = TallyPeriod(t);
	char		name[32];

	if (t->base == 0)
		return pstrdup("{}");
	FormatPeriod(&period, name, sizeof(name));
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s@%08x:{", name, t->zone);
	for (int i = 0; i < t->nentries; i++)
	{
		const TallyEntry *e = &t->entries[i];

		CHECK_FOR_INTERRUPTS();
		appendStringInfo(&buf, "%s%d/" INT64_FORMAT "/%d=" INT64_FORMAT,
						 i > 0 ? "," : "", e->kind, e->a, e->b, e->n);
	}
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

static void
TallySendTo(StringInfo buf, const Tally *t)
{
	pq_sendbyte(buf, t->version);
	pq_sendbyte(buf, t->type);
	pq_sendbyte(buf, t->base);
	pq_sendint16(buf, t->step);
	pq_sendint32(buf, t->zone);
	pq_sendint32(buf, t->nentries);
	for (int i = 0; i < t->nentries; i++)
	{
		const TallyEntry *e = &t->entries[i];

		pq_sendint32(buf, e->kind);
		pq_sendint64(buf, e->a);
		pq_sendint32(buf, e->b);
		pq_sendint64(buf, e->n);
	}
}

static Tally *
TallyReceive(StringInfo buf, TallyType type)
{
	Tally		head;
	Tally	   *t;
	const char *problem;

	memset(&head, 0, sizeof(head));
	head.version = pq_getmsgbyte(buf);
	head.type = pq_getmsgbyte(buf);
	head.base = pq_getmsgbyte(buf);
	head.step = pq_getmsgint(buf, 2);
	head.zone = pq_getmsgint(buf, 4);
	head.nentries = pq_getmsgint(buf, 4);
	if ((Size) head.nentries > (Size) (buf->len - buf->cursor) / 24)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid %s: the message is too short", tally_names[type]),
				 errdetail("It promises %d counts.", head.nentries),
				 errhint("Send it from the same version of the extension.")));

	t = palloc0(TALLY_SIZE_OF(head.nentries));
	memcpy(t, &head, offsetof(Tally, entries));
	SET_VARSIZE(t, TALLY_SIZE_OF(head.nentries));
	for (int i = 0; i < t->nentries; i++)
	{
		t->entries[i].kind = pq_getmsgint(buf, 4);
		t->entries[i].a = pq_getmsgint64(buf);
		t->entries[i].b = pq_getmsgint(buf, 4);
		t->entries[i].n = pq_getmsgint64(buf);
	}
	problem = TallyProblem(t, type);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid %s: %s", tally_names[type], problem),
				 errdetail("A tally holds sorted counts, each at least one."),
				 errhint("Send it from the same version of the extension.")));
	return t;
}

/*
 * Input and output of cohort_matrix and repurchase.
 *		The text form is period@zone:{kind/a/b=count,...}, or {} for an empty
 *		value; it is made for dump and restore, errors are 22P02.
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_matrix_in);
Datum
loyalty_cohort_matrix_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(TallyIn(PG_GETARG_CSTRING(0), TALLY_COHORT_MATRIX));
}

/*
 * cohort_matrix_out
 *		Text output, for dump and restore.
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_matrix_out);
Datum
loyalty_cohort_matrix_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(TallyOut(GetTally(PG_GETARG_DATUM(0), TALLY_COHORT_MATRIX)));
}

/*
 * A value that came in bytes, if these are the one form that its text has;
 * otherwise 22P03.
 */
static Tally *
CanonicalTally(Tally *t, TallyType type)
{
	Tally	   *canonical = TallyIn(TallyOut(t), type);

	/* each has as many counts as the other */
	if (memcmp(canonical, t, VARSIZE(t)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary format: not the form in which such a value is computed")));
	return canonical;
}

/*
 * cohort_matrix_recv
 *		Binary input; errors with 22P03 on what cannot have been computed.
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_matrix_recv);
Datum
loyalty_cohort_matrix_recv(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(CanonicalTally(TallyReceive((StringInfo) PG_GETARG_POINTER(0), TALLY_COHORT_MATRIX),
									 TALLY_COHORT_MATRIX));
}

/*
 * cohort_matrix_send
 *		Binary output; see the receiving function for the format.
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_matrix_send);
Datum
loyalty_cohort_matrix_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	TallySendTo(&buf, GetTally(PG_GETARG_DATUM(0), TALLY_COHORT_MATRIX));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * repurchase_in
 *		Text input; errors with 22P02.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchase_in);
Datum
loyalty_repurchase_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(TallyIn(PG_GETARG_CSTRING(0), TALLY_REPURCHASE));
}

/*
 * repurchase_out
 *		Text output, for dump and restore.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchase_out);
Datum
loyalty_repurchase_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(TallyOut(GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE)));
}

/*
 * repurchase_recv
 *		Binary input; errors with 22P03 on what cannot have been computed.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchase_recv);
Datum
loyalty_repurchase_recv(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(CanonicalTally(TallyReceive((StringInfo) PG_GETARG_POINTER(0), TALLY_REPURCHASE),
									 TALLY_REPURCHASE));
}

/*
 * repurchase_send
 *		Binary output; see the receiving function for the format.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchase_send);
Datum
loyalty_repurchase_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	TallySendTo(&buf, GetTally(PG_GETARG_DATUM(0), TALLY_REPURCHASE));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---- what the aggregates over tallies share ---- */

/*
 * tally_combine(aggregate_state, aggregate_state) -> aggregate_state
 *		Combine function of retention_agg, retention_signup_agg, repurchase_agg
 *		and the rollups.  Counts are copied into the first state, which lives
 *		in the aggregate's context.
 */
PG_FUNCTION_INFO_V1(loyalty_tally_combine);
Datum
loyalty_tally_combine(PG_FUNCTION_ARGS)
{
	TallyState *a;
	TallyState *b = GetState(fcinfo, 1, &tally_state);
	tally_iterator it;
	TallySlot  *slot;

	if (b == NULL)
	{
		a = GetState(fcinfo, 0, &tally_state);
		RETURN_STATE(a);
	}
	a = TallyStateOf(fcinfo, (TallyType) b->type);
	if (b->has_period)
		TallySetPeriod(a, &b->period);
	tally_start_iterate(b->hash, &it);
	while ((slot = tally_iterate(b->hash, &it)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		AddToTally(a, slot->entry.kind, slot->entry.a, slot->entry.b, slot->entry.n);
	}
	RETURN_STATE(a);
}

static void
WriteState(StringInfo buf, void *state)
{
	TallySendTo(buf, TallyFinish(state));
}

static void *
ReadState(StringInfo buf)
{
	TallyType	type = buf->len > 1 && buf->data[1] == TALLY_REPURCHASE ? TALLY_REPURCHASE : TALLY_COHORT_MATRIX;
	TallyState *state = TallyStateMake(CurrentMemoryContext, type);

	MergeTally(state, TallyReceive(buf, type));
	return state;
}

/*
 * tally_final(aggregate_state) -> cohort_matrix or repurchase; NULL where no row
 * was counted.
 */
PG_FUNCTION_INFO_V1(loyalty_tally_final);
Datum
loyalty_tally_final(PG_FUNCTION_ARGS)
{
	TallyState *state = GetState(fcinfo, 0, &tally_state);

	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(TallyFinish(state));
}

static Datum
RollupTrans(FunctionCallInfo fcinfo, TallyType type)
{
	TallyState *state;

	if (PG_ARGISNULL(1))
		state = GetState(fcinfo, 0, &tally_state);
	else
	{
		state = TallyStateOf(fcinfo, type);
		MergeTally(state, GetTally(PG_GETARG_DATUM(1), type));
	}
	RETURN_STATE(state);
}

/*
 * cohort_rollup(cohort_matrix), repurchase_rollup(repurchase)
 *		Transition.  Adds up values that were computed over different
 *		members; NULLs are skipped; LY341 when periods or time zones differ.
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_rollup_trans);
Datum
loyalty_cohort_rollup_trans(PG_FUNCTION_ARGS)
{
	return RollupTrans(fcinfo, TALLY_COHORT_MATRIX);
}

/*
 * repurchase_rollup(repurchase): as cohort_rollup.
 */
PG_FUNCTION_INFO_V1(loyalty_repurchase_rollup_trans);
Datum
loyalty_repurchase_rollup_trans(PG_FUNCTION_ARGS)
{
	return RollupTrans(fcinfo, TALLY_REPURCHASE);
}
