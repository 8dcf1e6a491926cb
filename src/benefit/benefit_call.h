/*
 * benefit_call.h
 *		Arguments and results of functions of room benefit.
 */
#ifndef LOYALTY_BENEFIT_CALL_H
#define LOYALTY_BENEFIT_CALL_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "activity/activity.h"

extern TimestampTz InstantArgument(FunctionCallInfo fcinfo, int n, const char *name);
extern TimestampTz LaterArgument(FunctionCallInfo fcinfo, int n, const char *name, TimestampTz at);
extern TimestampTz AsOfArgument(FunctionCallInfo fcinfo, int n);
extern int64 QuantityArgument(FunctionCallInfo fcinfo, int n, int64 most);
extern Micros AmountArgument(FunctionCallInfo fcinfo, int n, const char *name, int *decimals);
extern void BeginCall(void);
extern void BeginRead(void);
extern Datum ResultRow(FunctionCallInfo fcinfo, const Datum *values, const bool *nulls);

#endif							/* LOYALTY_BENEFIT_CALL_H */
