/*
 * rfm_breaks.h
 *		The type rfm_breaks: cut points of scores, and their method.
 *
 * A value of type rfm_breaks is a method with its options and, once the
 * aggregate of the same name has seen the members, the cut points.
 */
#ifndef LOYALTY_RFM_BREAKS_H
#define LOYALTY_RFM_BREAKS_H

#include "rfm/rfm.h"

#define BREAKS_VERSION	1
#define MIN_BINS		2
#define MAX_BINS		10
#define MAX_CUTS		(MAX_BINS - 1)

typedef enum BreaksMethod
{
	METHOD_QUANTILE = 0,
	METHOD_NTILE = 1,
	METHOD_THRESHOLD = 2,
	METHOD_RFMR = 3,
	METHOD_MEAN = 4
} BreaksMethod;

#define METHOD_LAST		METHOD_MEAN

typedef enum Dimension
{
	DIM_RECENCY = 0,
	DIM_FREQUENCY = 1,
	DIM_MONETARY = 2
} Dimension;

#define DIMENSIONS		3

/*
 * A cut point.  The key tells apart members of the same value; it counts for
 * nothing unless the breaks are keyed.
 */
typedef struct Cut
{
	double		value;
	const char *key;
	int			key_size;
} Cut;

/* The value at work; the stored form is packed by PackBreaks. */
typedef struct Breaks
{
	BreaksMethod method;
	bool		mean_reading;	/* monetary is the mean, not the total */
	bool		has_cuts;
	bool		keyed;			/* ntile, which parted ties by the cuts' keys */
	int			bins[DIMENSIONS];
	Cut			cuts[DIMENSIONS][MAX_CUTS];
	pg_tz	   *zone;			/* NULL is UTC */
	const char *zone_name;		/* NULL: none was named, which is UTC for instants */
} Breaks;

/*
 * The stored form.  Behind it: the cuts as doubles (one less than bins, by
 * dimension), the sizes of their keys as uint32, the keys, the zone's name
 * (empty: none).
 */
typedef struct StoredBreaks
{
	int32		vl_len_;		/* varlena header (do not touch directly!) */
	uint8		version;
	uint8		method;
	uint8		mean_reading;
	uint8		has_cuts;
	uint8		bins[DIMENSIONS];
	uint8		zone_size;
	uint8		keyed;
	uint8		reserved[3];
	double		values[FLEXIBLE_ARRAY_MEMBER];
} StoredBreaks;

/* rfm_breaks_io.c */
extern const char *const dimension_names[DIMENSIONS];
extern StoredBreaks *PackBreaks(const Breaks *b);
extern void UnpackBreaks(const StoredBreaks *stored, Breaks *b);
extern Datum loyalty_rfm_breaks_in(PG_FUNCTION_ARGS);
extern Datum loyalty_rfm_breaks_out(PG_FUNCTION_ARGS);

/*
 * Whether recency cuts fall from the oldest member to the latest, as ntile and
 * mean have them, or rise.
 */
static inline bool
RecencyCutsFall(BreaksMethod method)
{
	return method == METHOD_NTILE || method == METHOD_MEAN;
}

#endif							/* LOYALTY_RFM_BREAKS_H */
