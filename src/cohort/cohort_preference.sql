/*
 * What a member prefers: hour, weekday, category or channel; discounts.
 */

CREATE TYPE preference AS (value text, events bigint, total bigint, share numeric);
COMMENT ON TYPE preference IS
'Most frequent value, how many events have it, how many there are, and the quotient of the two.';

CREATE TYPE preferred_number AS (value integer, events bigint, total bigint, share numeric);
COMMENT ON TYPE preferred_number IS
'Most frequent hour or weekday, how many events have it, how many there are, and the quotient of the two.';

CREATE TYPE discount_profile AS (
	events bigint,
	total bigint,
	share numeric,
	amount numeric,
	discounted_amount numeric,
	discount numeric,
	depth numeric
);
COMMENT ON TYPE discount_profile IS
'How much a member buys at a discount: how many orders have one, how many there are, and the quotient of the two, named as in preference; what was paid in all and for the discounted ones; the discount, and its depth: its part of the undiscounted price of all orders (NULL when that is 0).';

CREATE FUNCTION preferred_hour_trans(state aggregate_state, at timestamptz, time_zone text) RETURNS aggregate_state
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preferred_hour_trans';
COMMENT ON FUNCTION preferred_hour_trans(aggregate_state, timestamptz, text) IS
'Transition function of preferred_hour_agg.';

CREATE FUNCTION preferred_weekday_trans(state aggregate_state, at timestamptz, time_zone text) RETURNS aggregate_state
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preferred_weekday_trans';
COMMENT ON FUNCTION preferred_weekday_trans(aggregate_state, timestamptz, text) IS
'Transition function of preferred_weekday_agg.';

CREATE FUNCTION preferred_slot_combine(a aggregate_state, b aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preferred_slot_combine';
COMMENT ON FUNCTION preferred_slot_combine(aggregate_state, aggregate_state) IS
'Combine function of preferred_hour_agg and preferred_weekday_agg.';

CREATE FUNCTION preferred_slot_final(state aggregate_state) RETURNS preferred_number
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preferred_slot_final';
COMMENT ON FUNCTION preferred_slot_final(aggregate_state) IS
'Final function of preferred_hour_agg and preferred_weekday_agg.';

CREATE AGGREGATE preferred_hour_agg(at timestamptz, time_zone text) (
	SFUNC = preferred_hour_trans,
	STYPE = aggregate_state,
	SSPACE = 200,
	FINALFUNC = preferred_slot_final,
	COMBINEFUNC = preferred_slot_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE preferred_hour_agg(timestamptz, text) IS
'Hour of the day, 0 to 23, in which most events lie, by the wall clock of the time zone, with its share; of equally frequent ones the smallest. NULL instants are left out, NULL when none is left; a NULL time zone is the program''s. Unknown zone: LY340; infinite instant: LY342.';

CREATE AGGREGATE preferred_weekday_agg(at timestamptz, time_zone text) (
	SFUNC = preferred_weekday_trans,
	STYPE = aggregate_state,
	SSPACE = 200,
	FINALFUNC = preferred_slot_final,
	COMBINEFUNC = preferred_slot_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE preferred_weekday_agg(timestamptz, text) IS
'Weekday on which most events lie, 1 for Monday to 7 for Sunday, in the time zone, with its share; of equally frequent ones the smallest. NULL instants are left out, NULL when none is left; a NULL time zone is the program''s. Unknown zone: LY340; infinite instant: LY342.';

CREATE FUNCTION preferred_value_trans(state aggregate_state, value text) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preferred_value_trans';
COMMENT ON FUNCTION preferred_value_trans(aggregate_state, text) IS
'Transition function of preferred_value_agg.';

CREATE FUNCTION preferred_value_combine(a aggregate_state, b aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preferred_value_combine';
COMMENT ON FUNCTION preferred_value_combine(aggregate_state, aggregate_state) IS
'Combine function of preferred_value_agg.';

CREATE FUNCTION preferred_value_final(state aggregate_state) RETURNS preference
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preferred_value_final';
COMMENT ON FUNCTION preferred_value_final(aggregate_state) IS
'Final function of preferred_value_agg.';

CREATE AGGREGATE preferred_value_agg(value text) (
	SFUNC = preferred_value_trans,
	STYPE = aggregate_state,
	SSPACE = 400,
	FINALFUNC = preferred_value_final,
	COMBINEFUNC = preferred_value_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE preferred_value_agg(text) IS
'Most frequent value (category, channel, shop, ...) with its share. Values are equal when their bytes are; of equally frequent ones the first in the order of bytes. NULLs are left out, NULL when none is left. Memory grows with the number of different values.';

CREATE FUNCTION discount_trans(state aggregate_state, amount numeric, discount numeric) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_discount_trans';
COMMENT ON FUNCTION discount_trans(aggregate_state, numeric, numeric) IS
'Transition function of discount_agg.';

CREATE FUNCTION discount_combine(a aggregate_state, b aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_discount_combine';
COMMENT ON FUNCTION discount_combine(aggregate_state, aggregate_state) IS
'Combine function of discount_agg.';

CREATE FUNCTION discount_final(state aggregate_state) RETURNS discount_profile
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_discount_final';
COMMENT ON FUNCTION discount_final(aggregate_state) IS
'Final function of discount_agg.';

CREATE AGGREGATE discount_agg(amount numeric, discount numeric) (
	SFUNC = discount_trans,
	STYPE = aggregate_state,
	SSPACE = 200,
	FINALFUNC = discount_final,
	COMBINEFUNC = discount_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE discount_agg(numeric, numeric) IS
'Discount sensitivity of a member, one row for each order: amount is what was paid, after the discount; a NULL discount is none. Rows with a NULL amount and refunds (negative amounts) are left out, NULL when no row is left. Sums are exact. NaN and infinite amounts: LY343; negative discount: LY003.';
