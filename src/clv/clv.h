/*
 * clv.h
 *		Customer value in SQL: the types clv_sample and clv_model.
 *
 * A clv_sample is what a fit needs of any number of members, without their
 * names: a multiset of histories, sorted, equal ones counted.  A clv_model is a
 * fitted model.  Both are ordinary values: to be stored, sent and passed on.
 */
#ifndef LOYALTY_CLV_H
#define LOYALTY_CLV_H

#include "core/compat.h"

#include "fmgr.h"

#include "clv/clv_model.h"
#include "rfm/rfm.h"

#define CLV_SAMPLE_VERSION	1
#define CLV_MODEL_VERSION	1

/* Histories are kept in microseconds; a model has a unit of its own. */
#define CLV_USECS_PER_DAY	86400000000.0

/*
 * n members with one history: x repeat purchases, the last of them t_x
 * microseconds after the first purchase, observed for t microseconds, of mean
 * amount m (0 where x = 0).  With a holdout, purchases and their amount within
 * the horizon behind; otherwise zeros.
 */
typedef struct ClvHistory
{
	int64		n;
	int64		x;
	int64		t_x;
	int64		t;
	double		m;
	int64		held_x;
	double		held_amount;	/* of one member */
} ClvHistory;

/*
 * Histories are in strictly rising order of CompareHistories() and n > 0, so
 * equal samples have equal bytes.  horizon is 0 without a holdout.
 */
typedef struct ClvSample
{
	int32		vl_len_;
	uint8		version;
	uint8		reserved[3];
	int64		horizon;		/* length of the holdout, microseconds */
	int64		nhistories;
	ClvHistory	history[FLEXIBLE_ARRAY_MEMBER];
} ClvSample;

/* ClvStatus, continued: parameters that were given, not fitted; or absent */
#define CLV_GIVEN			4

/*
 * Parts that were not fitted have NaN for numbers.  The order of theta is that
 * of clv_count_param and clv_spend_param.
 */
typedef struct ClvModel
{
	int32		vl_len_;
	uint8		version;
	uint8		kind;			/* ClvKind */
	uint8		status;			/* ClvStatus or CLV_GIVEN */
	uint8		spend_status;
	int32		iterations;
	int32		spend_iterations;
	double		unit_days;		/* unit of time of alpha and beta */
	int64		members;
	int64		repeaters;		/* members with x > 0 */
	int64		spenders;		/* members that Gamma-Gamma was fitted to */
	double		theta[CLV_COUNT_PARAMS];
	double		std_err[CLV_COUNT_PARAMS];
	double		loglik;
	double		spend[CLV_SPEND_PARAMS];
	double		spend_std_err[CLV_SPEND_PARAMS];
	double		spend_loglik;
} ClvModel;

#define PG_GETARG_CLV_SAMPLE_P(n) \
	ClvCheckSample((ClvSample *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))
#define PG_GETARG_CLV_MODEL_P(n) \
	ClvCheckModel((ClvModel *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))

extern const char *const clv_kind_name[CLV_KINDS + 1];
extern const char *const clv_status_name[];

/* clv_sample.c */
extern ClvSample *ClvCheckSample(ClvSample *sample);
extern bool ClvHistoryOf(const rfm *summary, TimestampTz as_of, ClvHistory *history);

/* clv_value.c */
extern ClvModel *ClvCheckModel(ClvModel *model);
extern ClvModel *ClvNewModel(void);
extern ClvKind ClvParseKind(text *name);
extern void ClvCheckUnitDays(double unit_days);
extern const char *ClvModelProblem(const ClvModel *model);

/* The state of clv_agg and its kin; see core/state.h. */
extern const struct StateKind sample_state;

#endif							/* LOYALTY_CLV_H */
