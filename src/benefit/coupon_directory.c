/*
 * coupon_directory.c
 *		The directory of codes, by table access or statements.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "benefit/code.h"
#include "benefit/coupon.h"
#include "core/compat.h"
#include "core/core.h"
#include "core/plain.h"

enum
{
	CODE_CODE, CODE_SHOWN_AS, CODE_BENEFIT, CODE_SLOT, CODE_PLACE, CODE_MEMBER_ID, CODE_COUPON_ID, CODE_NCOLUMNS
};

static const PlainColumn code_columns[CODE_NCOLUMNS] = {
	{"code", TEXTOID}, {"shown", TEXTOID}, {"benefit", TEXTOID}, {"slot", INT4OID}, {"place", INT8OID}, {"member_id", INT8OID},
	{"coupon_id", INT8OID}
};

static const char *const no_triggers[] = {NULL};

static const PlainTable code_table = {
	.name = "coupon_code",
	.ncolumns = CODE_NCOLUMNS,
	.columns = code_columns,
	.nkeys = 2,
	.keys = {{1, {CODE_CODE}}, {3, {CODE_BENEFIT, CODE_SLOT, CODE_PLACE}}},
	.own_triggers = no_triggers
};

static void
ReadPlainCode(const PlainAccess *access, HeapTuple row, KnownCode *known)
{
	Datum		values[CODE_NCOLUMNS];
	bool		nulls[CODE_NCOLUMNS];

	PlainValues(access, row, values, nulls);
	known->shown = TextDatumGetCString(values[CODE_SHOWN_AS]);
	known->benefit = TextDatumGetCString(values[CODE_BENEFIT]);
	known->member_id = nulls[CODE_MEMBER_ID] ? 0 : DatumGetInt64(values[CODE_MEMBER_ID]);
	known->coupon_id = nulls[CODE_COUPON_ID] ? 0 : DatumGetInt64(values[CODE_COUPON_ID]);
	known->in_pool = !nulls[CODE_PLACE];
}

/*
 * Finds a code in the directory; false where it is not there, or in a pool.
 */
bool
LookUpCode(const char *code, KnownCode *known)
{
	static KeptPlan plan = {
		.query = "SELECT k.shown, k.benefit, coalesce(k.member_id, 0), coalesce(k.coupon_id, 0), k.place IS NOT NULL "
		"FROM loyalty.coupon_code k WHERE k.code OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		value = CStringGetTextDatum(NormalizeCode(code, (int) strlen(code)));
	PlainAccess access;
	HeapTuple	row;
	TupleDesc	tupdesc;
	bool		isnull;

	if (OpenPlain(&access, &code_table, 0, PLAIN_READ))
	{
		row = FetchLatestPlainRow(&access, 0, &value);
		if (row != NULL)
			ReadPlainCode(&access, row, known);
		ClosePlain(&access);
		return row != NULL && !known->in_pool;
	}
	RunPlan(&plan, &value, NULL, 1);
	if (SPI_processed == 0)
		return false;
	row = SPI_tuptable->vals[0];
	tupdesc = SPI_tuptable->tupdesc;
	known->shown = SPI_getvalue(row, tupdesc, 1);
	known->benefit = SPI_getvalue(row, tupdesc, 2);
	known->member_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 3, &isnull));
	known->coupon_id = DatumGetInt64(SPI_getbinval(row, tupdesc, 4, &isnull));
	known->in_pool = DatumGetBool(SPI_getbinval(row, tupdesc, 5, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return !known->in_pool;
}

/*
 * The code at a place of a pool, which the caller has drawn: as it is shown.
 */
const char *
CodeAtPlace(const char *benefit, int slot, int64 place)
{
	static KeptPlan plan = {
		.query = "SELECT k.shown FROM loyalty.coupon_code k WHERE k.benefit OPERATOR(pg_catalog.=) $1 "
		"AND k.slot OPERATOR(pg_catalog.=) $2 AND k.place OPERATOR(pg_catalog.=) $3",
		.nargs = 3,
		.argtypes = {TEXTOID, INT4OID, INT8OID}
	};
	Datum		values[3] = {CStringGetTextDatum(benefit), Int32GetDatum(slot), Int64GetDatum(place)};
	PlainAccess access;
	const char *shown = NULL;

	if (OpenPlain(&access, &code_table, 0, PLAIN_READ))
	{
		HeapTuple	row = FetchLatestPlainRow(&access, 1, values);
		bool		isnull;

		if (row != NULL)
			shown = TextDatumGetCString(PlainValue(&access, row, CODE_SHOWN_AS, &isnull));
		ClosePlain(&access);
	}
	else
	{
		RunPlan(&plan, values, NULL, 1);
		if (SPI_processed > 0)
			shown = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	}
	if (shown == NULL)
		elog(ERROR, "pool \"%s\" has no code at place " INT64_FORMAT " of slot %d", benefit, place, slot);
	return shown;
}

/*
 * By table access; false, and nothing is done, where it cannot be.
 */
static bool
AssignPlainly(Datum code, const Coupon *coupon)
{
	static const int columns[] = {CODE_SLOT, CODE_PLACE, CODE_MEMBER_ID, CODE_COUPON_ID};
	static const bool nulls[] = {true, true, false, false};
	Datum		values[] = {0, 0, Int64GetDatum(coupon->member_id), Int64GetDatum(coupon->coupon_id)};
	PlainAccess access;
	HeapTuple	row;
	bool		done;

	if (!OpenPlain(&access, &code_table, 0, PLAIN_WRITE))
		return false;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	row = FetchPlainRow(&access, 0, &code, GetActiveSnapshot());
	done = row != NULL && UpdatePlainRow(&access, row, lengthof(columns), columns, values, nulls);
	PopActiveSnapshot();
	ClosePlain(&access);
	CommandCounterIncrement();
	return done;
}

/*
 * From now on a code is that of a coupon, and in no pool.
 */
void
AssignCode(const Coupon *coupon)
{
	static KeptPlan plan = {
		.query = "UPDATE loyalty.coupon_code k SET member_id = $2, coupon_id = $3, slot = NULL, place = NULL "
		"WHERE k.code OPERATOR(pg_catalog.=) $1",
		.nargs = 3,
		.argtypes = {TEXTOID, INT8OID, INT8OID}
	};
	Datum		values[3] = {
		CStringGetTextDatum(NormalizeCode(coupon->code, (int) strlen(coupon->code))),
		Int64GetDatum(coupon->member_id), Int64GetDatum(coupon->coupon_id)
	};

	if (!AssignPlainly(values[0], coupon))
		RunPlan(&plan, values, NULL, 0);
}
