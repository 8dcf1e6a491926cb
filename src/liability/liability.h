/*
 * liability.h
 *		Room liability: what the points outstanding are worth, how much of them
 *		will never be used, and what was earned by them when.
 *
 * Primitives, which need no tables:
 *
 *		redemption_triangle_agg		what was issued in a period and redeemed at
 *						which age: an array of triangle_cell, read by
 *						triangle_cells, development_factors, hazards and
 *						ultimate_rate
 *		outstanding_agg		what lots of balances have left, by the period in
 *						which they were issued and the last in which they
 *						live: an array of outstanding_cell
 *		allocate_price, recognised
 *
 * The program stands on these tables, none of which is a member's:
 *
 *		point_value		what a point is worth and costs, from an instant on;
 *						append-only
 *		redemption_estimate		how much will be redeemed: a rate of what is issued,
 *						or hazards by age; append-only
 *		liability_close	figures of closed months, each with a digest over
 *						itself and the one before; append-only
 *
 * Everything else follows from wallets, entries, awards and activities as of an
 * instant and as known at another.  A lot belongs to the month of its earn, in
 * the currency's time zone, for ever: through transfer, merge and activation.
 * Its age is counted in months from there.  The end of a month is the first
 * instant of the next one, as balance() has it then.
 *
 * Invariants, which check_liability() checks: the figures of closed months are
 * those of their digests, months are closed one after the other, and what is
 * computed once more, as known when a month was closed, is what was stored.
 */
#ifndef LOYALTY_LIABILITY_H
#define LOYALTY_LIABILITY_H

#include "cohort/cohort.h"
#include "core/core.h"
#include "core/state.h"

/* States of aggregates; see core/state.h. */
extern const StateKind grid_state;

#endif							/* LOYALTY_LIABILITY_H */
