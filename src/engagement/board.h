/*
 * board.h
 *		Boards: scores of members by periods, and how they are kept.
 *
 * A score is the sum of what its measure gives the member's activities of the
 * period, kept in board_score in the commit of each of them.  A rank needs the
 * number of members above: board_bucket has it by ranges of scores, as of the
 * last fold, and board_change every change of a score since, so that nobody who
 * writes a score waits for another.  Now and then a writer folds the changes
 * into the buckets, and splits those that have become large; a rank is exact at
 * any time, whether that is done or not.
 */
#ifndef LOYALTY_BOARD_H
#define LOYALTY_BOARD_H

#include "postgres.h"

#include "activity/activity.h"
#include "activity/calendar.h"
#include "activity/condition.h"

typedef enum Measure
{
	MEASURE_COUNT,
	MEASURE_AMOUNT,
	MEASURE_DAYS
} Measure;

/* A version of a board, as a session knows it. */
typedef struct Board
{
	const char *name;
	TimestampTz effective_from; /* of periods that begin then or later */
	int			nkinds;
	char	  **kinds;
	Condition  *when;			/* NULL: always */
	const char *money;			/* of which alone; NULL: of any */
	Measure		measure;
	bool		whole;
	Period		period;
	const char *time_zone;
	bool		of_club;
} Board;

extern void PutScores(const ActivityChange *change, int64 member_id);
extern void KnowBoards(void);
extern int	NumberOfBoards(void);
extern const Board *BoardVersion(int i);

#endif							/* LOYALTY_BOARD_H */
