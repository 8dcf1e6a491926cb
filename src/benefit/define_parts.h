/*
 * define_parts.h
 *		Parts of definitions of benefits, read.
 */
#ifndef LOYALTY_DEFINE_PARTS_H
#define LOYALTY_DEFINE_PARTS_H

#include "postgres.h"

#include "activity/definition.h"

extern int64 ReadAmount(const Place *object, const char *key);
extern int64 ReadCount(const Place *object, const char *key, int64 most);
extern Interval *ReadInterval(const Place *object, const char *key);
extern int	ReadKeyword(const Place *object, const char *key, const char *const *choices, int otherwise);
extern void ReadSpanBetween(const Place *object, const char *key, const char *time_zone, TimestampTz *from, TimestampTz *until);
extern const char *ReadMoney(const Place *object);

#endif							/* LOYALTY_DEFINE_PARTS_H */
