/*
 * definition.h
 *		Reading definitions: JSON whose every mistake is named with its place.
 *
 * A Place is a value within a definition and the way to it, such as
 * "when.all[1].amount".  What is wrong is noted, and reading goes on, so that
 * one look finds all mistakes.
 */
#ifndef LOYALTY_DEFINITION_H
#define LOYALTY_DEFINITION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "pgtime.h"
#include "utils/jsonb.h"

#include "activity/activity.h"

typedef struct Problem
{
	const char *path;
	bool		is_error;		/* otherwise a warning */
	const char *text;
} Problem;

typedef struct Problems
{
	List	   *list;			/* of Problem */
	int			nerrors;
} Problems;

typedef struct Place
{
	const char *path;			/* "" for the whole */
	JsonbValue	value;
	Problems   *problems;
} Place;

extern void WholeDefinition(Place *place, const Jsonb *json, const char *path, Problems *problems);
extern void Complain(const Place *place, const char *format,...) pg_attribute_printf(2, 3);
extern void Warn(const Place *place, const char *format,...) pg_attribute_printf(2, 3);
extern void ComplainAt(Problems *problems, const char *path, const char *format,...) pg_attribute_printf(3, 4);

extern bool IsObjectPlace(const Place *place);
extern bool IsArrayPlace(const Place *place);
extern bool RequireObject(const Place *place);
extern bool RequireArray(const Place *place);
extern bool GetPart(const Place *object, const char *key, Place *part);
extern int	CountElements(const Place *array);
extern void GetElementPlace(const Place *array, int i, Place *element);
extern bool NextKey(const Place *object, int *i, char **key, Place *part);
extern void RefuseUnknownKeys(const Place *object, const char *const *known);

extern char *ReadText(const Place *place);
extern char **ReadTexts(const Place *place, int *n);
extern bool ReadBoolean(const Place *place);
extern bool ReadDecimal(const Place *place, Micros *number);
extern bool ReadWhole(const Place *place, int64 least, int64 most, int64 *number);
extern int	ReadChoice(const Place *place, const char *const *choices);
extern bool ReadSpan(const Place *place, Interval *span);
extern bool ReadLocalInstant(const Place *place, Timestamp *instant);
extern pg_tz *ReadTimeZone(const Place *place, const char **name);
extern bool TryInput(PGFunction input, const char *text, Datum *result);
extern bool TryDate(const char *text, DateADT *date);

#endif							/* LOYALTY_DEFINITION_H */
