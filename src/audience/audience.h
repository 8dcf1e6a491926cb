/*
 * audience.h
 *		Sets of members by name: lists, and expressions over what is known.
 *
 * Tables
 * ------
 *
 * audience: a name.  A list has who was put on it (audience_list); an expression
 * has versions (audience_version), each in force from an instant on.
 *
 * audience_chunk, audience_change: what refresh_audience() recorded.
 *
 *
 * Two answers
 * -----------
 *
 * in_audience() evaluates the expression from the facts, in the version in force
 * at the instant, as known at another: late facts move it.  audience_set() and
 * its kin read the record: the membership that the last refresh at or before an
 * instant saw.  Nothing mixes the two.
 *
 * Both come from the same terms (audience_term.sql): each is SQL for the members
 * of a range, and a test of one member; an expression joins them, as sets or as
 * a condition (audience_define.sql).
 *
 *
 * Refreshing
 * ----------
 *
 * A refresh evaluates the expression as of one instant, and as known at its
 * beginning, chunk by chunk (65,536 numbers of members), and writes those chunks
 * that differ under the next snapshot number, with a row of audience_change for
 * each member who entered or left.  It commits by batches; readers see nothing of
 * it until its end, which is one UPDATE of audience.  One that was stopped goes
 * on, with the same instants.
 *
 *
 * Merging
 * -------
 *
 * Sets hold those who stand for others.  Rows of lists keep the number that was
 * given, and somebody is on a list if one of the numbers is, so there is nothing
 * to undo.  Readers of a recorded set put who was merged since in the place of
 * whom it stands for; an unmerge since shows at the next refresh.
 *
 *
 * Invariants: check_audience()
 * ----------------------------
 *
 * Every member of a chunk belongs into it; the members are as many as the
 * audience says; they are those who entered and did not leave; who entered comes
 * before who left; of forgotten members there is nothing.
 */
#ifndef LOYALTY_AUDIENCE_H
#define LOYALTY_AUDIENCE_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* audience_live.c; needs an SPI connection */
extern bool InAudience(int64 member_id, const char *audience, TimestampTz as_of, TimestampTz known_at);
extern bool IsAudience(const char *audience);
extern int64 WhoStandsFor(int64 member_id);

/* audience_condition.c */
extern void AudienceConditionInit(void);

#endif							/* LOYALTY_AUDIENCE_H */
