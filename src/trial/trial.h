/*
 * trial.h
 *		Room trial: holdouts, and what a treatment brought.
 *
 * Primitives, which need no tables:
 *
 *		arm_of			the arm of a member: a pure function of the experiment's
 *						name and the member's number, so that nobody has to keep
 *						who is in which, and any past assignment is known
 *		uplift			what the members of each arm did, in sums: its own
 *						aggregate state, so that partial aggregation and stored
 *						parts need nothing more
 *		uplift_agg (shares), uplift_agg_amount (means), uplift_agg_cuped (means,
 *						with what was before), uplift_rollup
 *		uplift_report	each arm against arm 0, the control, with intervals
 *		sample_ratio	whether the arms are as large as they should be
 *
 * The program stands on these tables:
 *
 *		trial			its definition; what decides who is in which arm is
 *						fixed from its start on
 *		trial_exposure	that a treatment reached a member (its key begins with
 *						member_id); rows only of those who are treated
 *		channel_cost	what a channel cost in a period; append-only
 *
 * Invariants, which check_trial() checks: shares are multiples of .0001 and
 * sum to 1; an exposure is of a member whom the trial treats; no campaign that
 * leaves a trial's control out gives points to it.
 *
 * Who counts is who was assigned, whether a treatment reached him or not: of
 * those who took it we would only learn who takes such things.
 *
 * Amounts are whole numbers of a decimal unit, as those of type rfm, and their
 * squares and products are summed exactly in 256 bits: the same bits in any
 * order of the rows and with any number of workers.
 */
#ifndef LOYALTY_TRIAL_H
#define LOYALTY_TRIAL_H

#include "core/compat.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/numeric.h"

#include "rfm/rfm.h"

#define TRIAL_MAX_ARMS		64
#define TRIAL_POSITIONS		10000	/* of shares: multiples of .0001 */

/* ---------------------------------------------------------------------------
 * trial_wide.c: sums of products, exactly
 * ---------------------------------------------------------------------------
 */

/* A number of 256 bits in two's complement; all zeros is zero. */
typedef struct Wide
{
	uint64		part[4];		/* the least first */
} Wide;

extern void WideAdd(Wide *sum, const Wide *more);
extern void WideNegate(Wide *number);
extern void WideAddProduct(Wide *sum, int128 a, int128 b);
extern void WideMultiply(Wide *number, uint64 factor);
extern double WideToDouble(const Wide *number);
extern void WideToText(const Wide *number, char *text); /* 80 bytes */
extern bool WideFromText(const char **text, Wide *number);

static inline bool
WideIsNegative(const Wide *number)
{
	return (int64) number->part[3] < 0;
}

/* ---------------------------------------------------------------------------
 * uplift_value.c: the type uplift
 * ---------------------------------------------------------------------------
 */

/* What the figures of members are.  The numbers are stored. */
typedef enum UpliftKind
{
	UPLIFT_SHARE = 1,			/* converted or not; sum is how many */
	UPLIFT_AMOUNT = 2,
	UPLIFT_CUPED = 3			/* with what was before */
} UpliftKind;

typedef struct UpliftArm
{
	int64		members;
	int128		sum;			/* in units of RfmScale(decimals) */
	int128		before;			/* in units of RfmScale(before_decimals) */
	Wide		squares;
	Wide		before_squares;
	Wide		products;		/* of amount and before */
} UpliftArm;

#define UPLIFT_VERSION	1

/* Arms 0 to narms - 1, of which the last has members. */
typedef struct Uplift
{
	int32		vl_len_;		/* varlena header */
	uint8		version;		/* UPLIFT_VERSION */
	uint8		kind;			/* UpliftKind */
	uint8		decimals;		/* most decimals seen, 0 to RFM_MAX_DECIMALS */
	uint8		before_decimals;
	int32		narms;
	int32		reserved;
	UpliftArm	arms[FLEXIBLE_ARRAY_MEMBER];
} Uplift;

StaticAssertDecl(sizeof(UpliftArm) == 136, "arms of type uplift are stored as they are");

#define UPLIFT_SIZE(narms)	(offsetof(Uplift, arms) + (narms) * sizeof(UpliftArm))

extern Uplift *MakeUplift(UpliftKind kind, int narms);
extern Uplift *UpliftWithArms(const Uplift *u, int narms);
extern void UpliftAddMember(Uplift *u, int arm, int128 units, int decimals, int128 before, int before_decimals);
extern Uplift *UpliftMerge(const Uplift *a, const Uplift *b);
extern const char *UpliftProblem(const Uplift *u);	/* NULL when it is sound */

/* uplift_io.c */
extern Uplift *GetUplift(Datum d);

#define PG_GETARG_UPLIFT(n)	GetUplift(PG_GETARG_DATUM(n))

/* ---------------------------------------------------------------------------
 * uplift_math.c: distributions
 * ---------------------------------------------------------------------------
 */
extern double NormalBeyond(double z);
extern double NormalQuantile(double beyond);
extern double StudentBeyond(double t, double df);
extern double StudentQuantile(double beyond, double df);
extern double ChiSquareBeyond(double x, double df);

/* ---------------------------------------------------------------------------
 * uplift_compare.c: an arm against the control
 * ---------------------------------------------------------------------------
 */

/* Members of an arm, in figures; NaN: it cannot be told. */
typedef struct ArmFigures
{
	int64		members;
	double		mean;			/* of CUPED adjusted */
	double		variance;		/* of the members' figures, of CUPED adjusted */
} ArmFigures;

/* What one arm has more than the control; NaN: it cannot be told. */
typedef struct ArmDifference
{
	double		difference;
	double		low;
	double		high;
	double		p_value;
	double		relative;
	double		relative_low;
	double		relative_high;
} ArmDifference;

extern void DescribeArms(const Uplift *u, ArmFigures *figures);
extern void CompareArms(UpliftKind kind, const ArmFigures *arm, const ArmFigures *control, double level, ArmDifference *result);

/* ---------------------------------------------------------------------------
 * trial_arm.c: assignment
 * ---------------------------------------------------------------------------
 */
typedef enum HashKind
{
	HASH_SHA256,
	HASH_GROWTHBOOK_2
} HashKind;

typedef struct Experiment
{
	HashKind	kind;
	int			narms;
	int			until[TRIAL_MAX_ARMS];	/* the first position behind each arm */
	char	   *message;		/* what is hashed, with room for the member */
	int			length;			/* of it, without the member */
} Experiment;

extern int	ReadShares(ArrayType *shares, int *until);
extern void ReadExperiment(Experiment *experiment, text *name, ArrayType *shares, text *hash);
extern int	ArmOf(const Experiment *experiment, int64 member_id);

/* trial_predicate.c */
extern void TrialPredicateInit(void);

#endif							/* LOYALTY_TRIAL_H */
