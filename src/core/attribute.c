/*
 * attribute.c
 *		Columns of tables whose columns we know by name.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "core/core.h"

/*
 * The number of a column, or SPI_ERROR_NOATTRIBUTE when there is none.  A
 * partition, and a table that was altered, may have it elsewhere; where it was
 * last time is kept in *known, which is 0 at first.
 */
AttrNumber
FindAttribute(TupleDesc tupdesc, const char *name, AttrNumber *known)
{
	if (*known <= 0 || *known > tupdesc->natts ||
		TupleDescAttr(tupdesc, *known - 1)->attisdropped ||
		namestrcmp(&TupleDescAttr(tupdesc, *known - 1)->attname, name) != 0)
		*known = SPI_fnumber(tupdesc, name);
	return *known;
}
