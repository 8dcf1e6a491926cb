/*
 * cohort_value.c
 *		Equality and hashing of the room's types.  Each has one form only for
 *		one content, so values are equal when their bytes are.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "cohort/cohort.h"

static bool
SameBytes(FunctionCallInfo fcinfo)
{
	struct varlena *a = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	struct varlena *b = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1));

	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/*
 * <type>_eq(a, b) -> boolean
 *		Are the two values equal in everything, period and time zone included?
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_value_eq);
Datum
loyalty_cohort_value_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(SameBytes(fcinfo));
}

/*
 * <type>_ne(a, b) -> boolean: do the two values differ in anything?
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_value_ne);
Datum
loyalty_cohort_value_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!SameBytes(fcinfo));
}

/*
 * <type>_hash(a) -> integer: for grouping and hash joins.
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_value_hash);
Datum
loyalty_cohort_value_hash(PG_FUNCTION_ARGS)
{
	struct varlena *a = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));

	return hash_any((const unsigned char *) VARDATA_ANY(a), VARSIZE_ANY_EXHDR(a));
}

/*
 * <type>_hash_extended(a, seed bigint) -> bigint: for hash partitioning.
 */
PG_FUNCTION_INFO_V1(loyalty_cohort_value_hash_extended);
Datum
loyalty_cohort_value_hash_extended(PG_FUNCTION_ARGS)
{
	struct varlena *a = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));

	return hash_any_extended((const unsigned char *) VARDATA_ANY(a), VARSIZE_ANY_EXHDR(a),
							 PG_GETARG_INT64(1));
}
