/*
 * rfm_score.c
 *		Scores of a member: rfm_score(summary, breaks, as_of, member_key).
 */
#include "rfm/rfm_score.h"

#include "access/htup_details.h"
#include "funcapi.h"

#include "core/errors.h"

/* What a dimension of a member is measured by; the member has a purchase. */
double
MemberValue(const rfm *s, const Breaks *b, Dimension dim, TimestampTz as_of)
{
	switch (dim)
	{
		case DIM_RECENCY:
			return RfmDaysBetween(s->last, as_of, b->zone);
		case DIM_FREQUENCY:
			return (double) s->purchases;
		case DIM_MONETARY:
			{
				double		total = RfmUnitsToDouble(RfmNet(s), s->decimals);

				return b->mean_reading ? total / (double) s->purchases : total;
			}
	}
	pg_unreachable();
}

/*
 * Does a value lie behind the cut?  One that equals it does not, unless the
 * breaks are keyed: then its key decides, in rising order.
 */
static bool
BehindCut(const Cut *cut, double value, bool falling, bool keyed, const char *key, int key_size)
{
	int			order;

	if (value != cut->value)
		return falling ? value < cut->value : value > cut->value;
	if (!keyed)
		return false;
	order = memcmp(key, cut->key, Min(key_size, cut->key_size));
	return order != 0 ? order > 0 : key_size > cut->key_size;
}

/*
 * The score, 1 to bins, the best member having the highest.  Methods differ in
 * where a value goes that equals a cut point:
 *
 *	quantile	to the bin below: (low, high], as the quantile closes its bin
 *	ntile		to the bin below; parted by keys, to where its rank lies
 *	threshold, rfmr	to the bin above: [low, high), as width_bucket has it
 *	mean		to the worse half: better than the mean means strictly better
 */
int
ScoreValue(const Breaks *b, Dimension dim, double value, const char *key, int key_size)
{
	int			ncuts = b->bins[dim] - 1;
	bool		falling = dim == DIM_RECENCY && RecencyCutsFall(b->method);
	bool		closed_below = b->method == METHOD_THRESHOLD || b->method == METHOD_RFMR;
	int			passed = 0;

	for (int i = 0; i < ncuts; i++)
	{
		const Cut  *cut = &b->cuts[dim][i];

		if (closed_below ? value >= cut->value : BehindCut(cut, value, falling, b->keyed, key, key_size))
			passed++;
	}
	/* few days are good: where the cuts rise, the count is turned round */
	return dim == DIM_RECENCY && !falling ? b->bins[dim] - passed : 1 + passed;
}

/* The breaks of a call, unpacked; those met last are kept in the cache. */
static const Breaks *
KeepBreaks(BreaksCache *cache, const StoredBreaks *stored, MemoryContext context)
{
	StoredBreaks *copy;

	if (likely(cache->stored != NULL && VARSIZE(stored) == VARSIZE(cache->stored) &&
			   memcmp(stored, cache->stored, VARSIZE(stored)) == 0))
		return &cache->breaks;

	if (stored->version == BREAKS_VERSION && !stored->has_cuts)
		ereport(ERROR,
				(errcode(ERRCODE_LY_RFM_BREAKS),
				 errmsg("breaks have no cut points yet"),
				 errdetail("They are a method only."),
				 errhint("Find the cut points among the members first: rfm_breaks(summary, as_of, method).")));

	/* until it is filled anew, the cache is empty */
	if (cache->stored != NULL)
		pfree(cache->stored);
	cache->stored = NULL;
	copy = MemoryContextAlloc(context, VARSIZE(stored));
	memcpy(copy, stored, VARSIZE(stored));
	UnpackBreaks(copy, &cache->breaks);
	/* the name is not needed any more, and lies in another context */
	cache->breaks.zone_name = NULL;
	cache->stored = copy;
	return &cache->breaks;
}

/*
 * Scores the member of a call whose arguments begin with summary, breaks and
 * as_of; false where one of them is NULL or there is no purchase.
 */
bool
ScoreMember(FunctionCallInfo fcinfo, int key_arg, BreaksCache *cache, int *scores)
{
	const char *key = "";
	int			key_size = 0;
	rfm		   *s;
	TimestampTz as_of;
	const Breaks *b;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return false;
	s = PG_GETARG_RFM_P(0);
	as_of = PG_GETARG_TIMESTAMPTZ(2);
	RfmCheckAsOf(s, as_of);
	if (!RFM_HAS_PURCHASE(s))
		return false;
	b = KeepBreaks(cache, (StoredBreaks *) PG_DETOAST_DATUM(PG_GETARG_DATUM(1)), fcinfo->flinfo->fn_mcxt);
	if (!PG_ARGISNULL(key_arg))
	{
		text	   *member_key = PG_GETARG_TEXT_PP(key_arg);

		key = VARDATA_ANY(member_key);
		key_size = (int) VARSIZE_ANY_EXHDR(member_key);
	}
	for (Dimension dim = DIM_RECENCY; dim < DIMENSIONS; dim++)
		scores[dim] = ScoreValue(b, dim, MemberValue(s, b, dim, as_of), key, key_size);
	return true;
}

/* What a call site keeps. */
typedef struct ScoreCache
{
	TupleDesc	desc;
	BreaksCache breaks;
} ScoreCache;

PG_FUNCTION_INFO_V1(loyalty_rfm_score);
/*
 * rfm_score(summary rfm, breaks rfm_breaks, as_of timestamptz, member_key text DEFAULT NULL,
 *			 OUT r integer, OUT f integer, OUT m integer)
 *
 * The scores of one member, 1 to the number of bins, the best highest; NULL
 * where summary, breaks or as_of is NULL or there is no purchase.  member_key
 * parts ties for breaks made by rfm_breaks_keyed; without it they go to the
 * lower score.  For a member with purchases, breaks without cut points are
 * refused (LY303), and an as_of before the last one (LY302).
 */
Datum
loyalty_rfm_score(PG_FUNCTION_ARGS)
{
	ScoreCache *cache = fcinfo->flinfo->fn_extra;
	int			scores[DIMENSIONS];
	Datum		values[DIMENSIONS];
	bool		nulls[DIMENSIONS] = {false, false, false};

	if (cache == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		cache = palloc0(sizeof(ScoreCache));
		if (get_call_result_type(fcinfo, NULL, &cache->desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "rfm_score must return a row");
		cache->desc = BlessTupleDesc(CreateTupleDescCopy(cache->desc));
		fcinfo->flinfo->fn_extra = cache;
		MemoryContextSwitchTo(old);
	}
	if (!ScoreMember(fcinfo, 3, &cache->breaks, scores))
		PG_RETURN_NULL();
	for (int dim = 0; dim < DIMENSIONS; dim++)
		values[dim] = Int32GetDatum(scores[dim]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->desc, values, nulls)));
}
