/*
 * compat.h
 *		Every difference between the PostgreSQL versions we build for (14 to
 *		18) stands here, and nowhere else.
 */
#ifndef LOYALTY_COMPAT_H
#define LOYALTY_COMPAT_H

#include "postgres.h"

#include "utils/timestamp.h"

#if PG_VERSION_NUM < 140000
#error "loyalty needs PostgreSQL 14 or later"
#endif

/* 16 moved the varlena access macros out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 15 made the global PRNG state and its functions public */
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#endif

/* 17 gave the infinite timestamps function-like names of their own */
#ifndef TIMESTAMP_INFINITY
#define TIMESTAMP_INFINITY	PG_INT64_MAX
#define TIMESTAMP_MINUS_INFINITY PG_INT64_MIN
#endif

/* 16 brought soft errors: an input function may return instead of throwing */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define LY_ESCONTEXT(fcinfo)	((fcinfo)->context)
#define LyInputFunction(function, text, escontext, result) \
	DirectInputFunctionCallSafe(function, text, InvalidOid, -1, escontext, result)
#else
#define LY_ESCONTEXT(fcinfo)	NULL
#define ereturn(escontext, dummy, ...) \
	do { \
		(void) (escontext); \
		ereport(ERROR, __VA_ARGS__); \
		return dummy; \
	} while (0)
#define LyInputFunction(function, text, escontext, result) \
	((void) (escontext), *(result) = DirectFunctionCall1(function, CStringGetDatum(text)), true)
#endif

#endif							/* LOYALTY_COMPAT_H */
