/*
 * coupon_read.c
 *		The state of coupons, as their acts fold to it.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "benefit/coupon_row.h"
#include "core/compat.h"

/* A coupon whose acts are read. */
typedef struct Folded
{
	int64		member_id;
	int64		coupon_id;
	CouponState state;
	CouponTerms terms;
	int32		nacts;
} Folded;

static void
PutFolded(ReturnSetInfo *rsinfo, const Folded *folded, TimestampTz at)
{
	const CouponState *state = &folded->state;
	Datum		values[9] = {
		Int64GetDatum(folded->member_id), Int64GetDatum(folded->coupon_id),
		CStringGetTextDatum(CouponStateName(state, &folded->terms, at)),
		Int32GetDatum(folded->nacts), Int32GetDatum(state->uses),
		state->basket == NULL ? (Datum) 0 : CStringGetTextDatum(state->basket), TimestampTzGetDatum(state->reserved_until),
		TimestampTzGetDatum(state->valid_until), BoolGetDatum(state->given_back)
	};
	bool		nulls[9] = {false};

	nulls[5] = nulls[6] = state->basket == NULL;
	nulls[7] = TIMESTAMP_NOT_FINITE(state->valid_until);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static TimestampTz
InstantOf(HeapTuple row, TupleDesc tupdesc, int column, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, tupdesc, column, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(value);
}

/*
 * fold_coupons(member_ids bigint[], as_of timestamptz, known_at timestamptz)
 * -> rows (member_id bigint, coupon_id bigint, state text, acts integer, uses integer,
 * basket text, reserved_until timestamptz, valid_until timestamptz, given_back boolean);
 * member_ids NULL: of all; the state is as of as_of, by the acts that were
 * effective by then
 */
PG_FUNCTION_INFO_V1(loyalty_fold_coupons);
Datum
loyalty_fold_coupons(PG_FUNCTION_ARGS)
{
	static KeptPlan plan = {
		.query = "SELECT a.member_id, a.coupon_id, c.benefit, c.version, c.valid_from, a.kind, a.at, a.basket, a.reserved_until, a.valid_until "
		"FROM loyalty.coupon c JOIN loyalty.coupon_act a ON a.member_id OPERATOR(pg_catalog.=) c.member_id "
		"AND a.coupon_id OPERATOR(pg_catalog.=) c.coupon_id "
		"WHERE ($1 IS NULL OR c.member_id OPERATOR(pg_catalog.=) ANY ($1)) AND a.at OPERATOR(pg_catalog.<=) $2 "
		"AND a.recorded_at OPERATOR(pg_catalog.<=) $3 ORDER BY a.member_id, a.coupon_id, a.act",
		.nargs = 3,
		.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz as_of = PG_GETARG_TIMESTAMPTZ(1);
	Datum		values[3] = {PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	bool		isnull[3] = {PG_ARGISNULL(0)};
	char		nulls[3];
	Folded		folded = {0};

	InitReturnSet(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	RunPlanReadOnly(&plan, values, NullFlags(isnull, 3, nulls), 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	tupdesc = SPI_tuptable->tupdesc;
		bool		null;
		int64		member_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 1, &null));
		int64		coupon_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 2, &null));
		CouponAct	act = {
			.kind = CouponActOfName(SPI_getvalue(row, tupdesc, 6)),
			.at = InstantOf(row, tupdesc, 7, 0),
			.basket = SPI_getvalue(row, tupdesc, 8),
			.reserved_until = InstantOf(row, tupdesc, 9, 0),
			.valid_until = InstantOf(row, tupdesc, 10, TIMESTAMP_INFINITY)
		};

		CHECK_FOR_INTERRUPTS();
		if (folded.nacts == 0 || folded.member_id != member_id || folded.coupon_id != coupon_id)
		{
			if (folded.nacts > 0)
				PutFolded(rsinfo, &folded, as_of);
			memset(&folded, 0, sizeof(Folded));
			folded.member_id = member_id;
			folded.coupon_id = coupon_id;
			folded.terms.valid_from = InstantOf(row, tupdesc, 5, TIMESTAMP_MINUS_INFINITY);
			folded.terms.times = BenefitVersion(SPI_getvalue(row, tupdesc, 3), DatumGetInt32(SPI_getbinval(row, tupdesc, 4, &null)))->times;
		}
		ApplyCouponAct(&folded.state, &act);
		folded.nacts++;
	}
	if (folded.nacts > 0)
		PutFolded(rsinfo, &folded, as_of);
	SPI_finish();
	return (Datum) 0;
}
