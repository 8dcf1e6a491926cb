/*
 * rfm_agg.c
 *		rfm_agg(at, amount), rollup(rfm) and rfm + rfm.
 *
 * The state of both aggregates is an rfm, updated in place.
 */
#include "rfm/rfm.h"

#include "core/errors.h"

pg_noreturn static void
InstantRefused(TimestampTz at)
{
	ereport(ERROR,
			(errcode(ERRCODE_LY_RFM_INSTANT),
			 errmsg("instant of a purchase must be finite, not %s",
					at == TIMESTAMP_INFINITY ? "infinity" : "-infinity"),
			 errdetail("A purchase has a time."),
			 errhint("Leave such rows out: FILTER (WHERE isfinite(at)).")));
}

void
RfmCheckInstant(TimestampTz at)
{
	if (unlikely(TIMESTAMP_NOT_FINITE(at)))
		InstantRefused(at);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_accum);
/*
 * rfm_accum(state rfm, at timestamptz, amount numeric) returns rfm
 *
 * Transition function of rfm_agg.  A row whose instant or amount is NULL
 * changes nothing.  An infinite instant is refused (LY302), an amount that is
 * no finite number or does not fit is refused too (LY301).
 */
Datum
loyalty_rfm_accum(PG_FUNCTION_ARGS)
{
	rfm		   *s;
	TimestampTz at;
	int128		units;
	int			decimals;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}

	if (PG_ARGISNULL(0))
	{
		/* the executor copies it into the aggregate's context */
		s = palloc(sizeof(rfm));
		RfmInitEmpty(s);
	}
	else if (likely(AggCheckCallContext(fcinfo, NULL)))
	{
		s = DatumGetRfmP(PG_GETARG_DATUM(0));

		/*
		 * With many groups their states are in no cache: fetch this one while
		 * the amount is read.
		 */
		PrefetchForWrite(s);
		PrefetchForWrite((char *) s + sizeof(rfm) / 2);
		PrefetchForWrite((char *) s + sizeof(rfm) - 1);
	}
	else
	{
		s = palloc(sizeof(rfm));
		*s = *PG_GETARG_RFM_P(0);
	}

	at = PG_GETARG_TIMESTAMPTZ(1);
	if (unlikely(TIMESTAMP_NOT_FINITE(at)))
		InstantRefused(at);
	decimals = RfmUnitsFromNumeric((Numeric) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(2)), &units);
	RfmAddEvent(s, at, units, decimals);
	PG_RETURN_RFM_P(s);
}

PG_FUNCTION_INFO_V1(loyalty_rfm_merge);
/*
 * rfm_merge(rfm, rfm) returns rfm
 *
 * The summary of the events of both; exact, commutative and associative.  The
 * function of operator +, transition function of rollup, and combine function
 * of both aggregates.  Sums out of range are an error (LY301).
 */
Datum
loyalty_rfm_merge(PG_FUNCTION_ARGS)
{
	rfm		   *s = PG_GETARG_RFM_P(0);
	rfm		   *other = PG_GETARG_RFM_P(1);

	if (!AggCheckCallContext(fcinfo, NULL))
	{
		rfm		   *copy = palloc(sizeof(rfm));

		*copy = *s;
		s = copy;
	}
	RfmMerge(s, other);
	PG_RETURN_RFM_P(s);
}
