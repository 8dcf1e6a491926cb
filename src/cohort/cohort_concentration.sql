/*
 * Concentration: Gini coefficient, share of the top, Pareto curve.
 */

CREATE TYPE concentration;

CREATE FUNCTION concentration_in(cstring) RETURNS concentration
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_in';
COMMENT ON FUNCTION concentration_in(cstring) IS 'Text input of type concentration: reads what concentration_out writes.';

CREATE FUNCTION concentration_out(concentration) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_out';
COMMENT ON FUNCTION concentration_out(concentration) IS 'Text output of type concentration, for dump and restore.';

CREATE FUNCTION concentration_recv(internal) RETURNS concentration
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_recv';
COMMENT ON FUNCTION concentration_recv(internal) IS 'Binary input of type concentration; refuses what cannot have been computed.';

CREATE FUNCTION concentration_send(concentration) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_send';
COMMENT ON FUNCTION concentration_send(concentration) IS 'Binary output of type concentration.';

CREATE TYPE concentration (
	INPUT = concentration_in,
	OUTPUT = concentration_out,
	RECEIVE = concentration_recv,
	SEND = concentration_send,
	INTERNALLENGTH = variable,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE concentration IS
'Which amounts members have, and how many members each: what Gini coefficient, shares of the top and Pareto curve are read from. Exact; its size grows with the number of different amounts. Made by concentration_agg, merged by concentration_rollup.';

CREATE FUNCTION concentration_combine(a aggregate_state, b aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_combine';
COMMENT ON FUNCTION concentration_combine(aggregate_state, aggregate_state) IS
'Combine function of concentration_agg and concentration_rollup.';

CREATE FUNCTION concentration_final(state aggregate_state) RETURNS concentration
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_final';
COMMENT ON FUNCTION concentration_final(aggregate_state) IS
'Final function of concentration_agg and concentration_rollup.';

CREATE FUNCTION concentration_trans(state aggregate_state, amount numeric) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_trans';
COMMENT ON FUNCTION concentration_trans(aggregate_state, numeric) IS
'Transition function of concentration_agg.';

CREATE FUNCTION concentration_rollup_trans(state aggregate_state, summary concentration) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_concentration_rollup_trans';
COMMENT ON FUNCTION concentration_rollup_trans(aggregate_state, concentration) IS
'Transition function of concentration_rollup.';

CREATE AGGREGATE concentration_agg(amount numeric) (
	SFUNC = concentration_trans,
	STYPE = aggregate_state,
	SSPACE = 65536,
	FINALFUNC = concentration_final,
	COMBINEFUNC = concentration_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE concentration_agg(numeric) IS
'How amounts (revenue, orders, points) are spread over members, one row for each member. NULLs are left out; negative amounts are taken as they are; NaN and infinite amounts: LY343. Exact, the same in any row order and with any number of workers; memory grows with the number of different amounts. NULL over no row, an empty value when no row counts.';

CREATE AGGREGATE concentration_rollup(summary concentration) (
	SFUNC = concentration_rollup_trans,
	STYPE = aggregate_state,
	SSPACE = 65536,
	FINALFUNC = concentration_final,
	COMBINEFUNC = concentration_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE concentration_rollup(concentration) IS
'Adds up values that were made of different members. NULLs are left out.';

CREATE FUNCTION member_count(summary concentration) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_count';
COMMENT ON FUNCTION member_count(concentration) IS
'Number of members.';

CREATE FUNCTION amount_total(summary concentration) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_amount_total';
COMMENT ON FUNCTION amount_total(concentration) IS
'Sum of all amounts, exact.';

CREATE FUNCTION gini(summary concentration) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_gini';
COMMENT ON FUNCTION gini(concentration) IS
'Gini coefficient: the sum over i of (2 i - n - 1) x_i, divided by n times the sum of all x, for amounts x_1 <= ... <= x_n. 0 when all are equal, (n - 1) / n when one member has all; above 1 only with negative amounts. NULL when the sum is not positive. (Corrado Gini, Variabilita e mutabilita, 1912.)';

CREATE FUNCTION top_share(summary concentration, percent numeric) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_top_share';
COMMENT ON FUNCTION top_share(concentration, numeric) IS
'Part of the whole amount, from 0 to 1, that the top percent of the members have; their number is rounded up to a whole one. Ties do not matter. NULL when the whole amount is not positive; percent outside 0 to 100: LY003.';

CREATE FUNCTION members_for_share(summary concentration, percent numeric) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_members_for_share';
COMMENT ON FUNCTION members_for_share(concentration, numeric) IS
'Smallest number of top members who together have at least that percentage of the whole amount. NULL when it is not positive; percent outside 0 to 100: LY003.';

CREATE FUNCTION pareto_curve(summary concentration, points integer DEFAULT 100, OUT member_share numeric, OUT members bigint, OUT amount numeric, OUT amount_share numeric) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_pareto_curve';
COMMENT ON FUNCTION pareto_curve(concentration, integer) IS
'For i from 1 to points: what the top i / points of the members have together; their number is rounded up to a whole one. amount_share is NULL when the whole amount is not positive. No rows without members. points outside 1 to 10000: LY003.';

/* ---- equality ---- */

CREATE FUNCTION concentration_eq(concentration, concentration) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_eq';
COMMENT ON FUNCTION concentration_eq(concentration, concentration) IS 'Are the two values of type concentration equal in everything?';

CREATE FUNCTION concentration_ne(concentration, concentration) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_ne';
COMMENT ON FUNCTION concentration_ne(concentration, concentration) IS 'Do the two values of type concentration differ in anything?';

CREATE FUNCTION concentration_hash(concentration) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash';
COMMENT ON FUNCTION concentration_hash(concentration) IS 'Hash of a value of type concentration, for grouping and hash joins.';

CREATE FUNCTION concentration_hash_extended(concentration, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash_extended';
COMMENT ON FUNCTION concentration_hash_extended(concentration, bigint) IS 'Seeded 64-bit hash of a value of type concentration, for hash partitioning.';

CREATE OPERATOR = (
	LEFTARG = concentration, RIGHTARG = concentration, FUNCTION = concentration_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR = (concentration, concentration) IS 'Are the two values of type concentration equal in everything?';

CREATE OPERATOR <> (
	LEFTARG = concentration, RIGHTARG = concentration, FUNCTION = concentration_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (concentration, concentration) IS 'Do the two values of type concentration differ in anything?';

CREATE OPERATOR CLASS concentration_hash_ops DEFAULT FOR TYPE concentration USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 concentration_hash(concentration),
	FUNCTION 2 concentration_hash_extended(concentration, bigint);
COMMENT ON OPERATOR CLASS concentration_hash_ops USING hash IS 'Hash support of type concentration, for GROUP BY, DISTINCT and joins.';
