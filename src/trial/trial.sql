/*
 * trial: holdouts, and what a treatment brought.
 *
 * First the primitives, which need no tables: arm_of() assigns, uplift_agg()
 * and its kin sum up what the members of each arm did, uplift_report() compares
 * the arms, sample_ratio() checks their sizes.  Then the program.
 */

-- ---------------------------------------------------------------------------
-- Assignment
-- ---------------------------------------------------------------------------

CREATE FUNCTION arm_of(experiment text, member_id bigint, shares numeric[] DEFAULT ARRAY[0.1, 0.9], hash text DEFAULT 'sha256') RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_arm_of';
COMMENT ON FUNCTION arm_of(text, bigint, numeric[], text) IS
'The arm of a member in an experiment, from 0, which is the control: a pure function, so that nobody keeps a list, and any past assignment is known. shares are those of the arms in their order, 2 to 64 multiples of .0001 that sum to 1. hash sha256: the first 64 bits of SHA-256 over a byte 1, the length of the name in bytes (32 bits), the name (UTF-8) and the member (64 bits), in network order, modulo 10,000, and each arm has the next shares of these positions; growthbook_2: GrowthBook''s hash version 2 of the member''s decimal digits. Errors: LY802 invalid shares, LY003 unknown hash.';

CREATE FUNCTION growthbook_position(experiment text, unit text) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_growthbook_position';
COMMENT ON FUNCTION growthbook_position(text, text) IS
'Where GrowthBook''s hash version 2 puts a unit, such as the id of a device, in an experiment: from 0 to 9,999. For those who are assigned elsewhere before they are members.';

-- ---------------------------------------------------------------------------
-- Type uplift
-- ---------------------------------------------------------------------------

CREATE TYPE uplift;

CREATE FUNCTION uplift_in(cstring) RETURNS uplift
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_uplift_in';
COMMENT ON FUNCTION uplift_in(cstring) IS 'Text input of type uplift: reads what uplift_out writes and refuses anything else.';

CREATE FUNCTION uplift_out(uplift) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_uplift_out';
COMMENT ON FUNCTION uplift_out(uplift) IS 'Text output of type uplift: one JSON object with fixed keys.';

CREATE FUNCTION uplift_recv(internal) RETURNS uplift
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_uplift_recv';
COMMENT ON FUNCTION uplift_recv(internal) IS 'Binary input of type uplift; refuses what no members can have led to.';

CREATE FUNCTION uplift_send(uplift) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_uplift_send';
COMMENT ON FUNCTION uplift_send(uplift) IS 'Binary output of type uplift.';

CREATE TYPE uplift (
	INPUT = uplift_in,
	OUTPUT = uplift_out,
	RECEIVE = uplift_recv,
	SEND = uplift_send,
	INTERNALLENGTH = variable,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE uplift IS
'What the members of each arm of a trial did, in exact sums: shares (uplift_agg), amounts (uplift_agg_amount), or amounts with what was before (uplift_agg_cuped). Merged by uplift_rollup, read by uplift_report() and sample_ratio(). Its own aggregate state, so partial aggregation and stored partials need nothing more.';

CREATE FUNCTION uplift_eq(uplift, uplift) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_eq';
COMMENT ON FUNCTION uplift_eq(uplift, uplift) IS 'Are the two values equal in everything, decimals included?';

CREATE FUNCTION uplift_ne(uplift, uplift) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_ne';
COMMENT ON FUNCTION uplift_ne(uplift, uplift) IS 'Do the two values differ in anything?';

CREATE FUNCTION uplift_hash(uplift) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash';
COMMENT ON FUNCTION uplift_hash(uplift) IS 'Hash of a value, for grouping and hash joins.';

CREATE OPERATOR = (
	LEFTARG = uplift, RIGHTARG = uplift, FUNCTION = uplift_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR = (uplift, uplift) IS 'Are the two values equal in everything, decimals included?';

CREATE OPERATOR <> (
	LEFTARG = uplift, RIGHTARG = uplift, FUNCTION = uplift_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (uplift, uplift) IS 'Do the two values differ in anything?';

CREATE OPERATOR CLASS uplift_hash_ops DEFAULT FOR TYPE uplift USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 uplift_hash(uplift);
COMMENT ON OPERATOR CLASS uplift_hash_ops USING hash IS 'Hash support of type uplift, for GROUP BY, DISTINCT and joins.';

-- ---------------------------------------------------------------------------
-- Aggregates
-- ---------------------------------------------------------------------------

CREATE FUNCTION uplift_merge(uplift, uplift) RETURNS uplift
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_uplift_merge';
COMMENT ON FUNCTION uplift_merge(uplift, uplift) IS
'What the members of both did, who must not be the same: exact, in any order. Values of different kinds: LY003; sums out of range: LY301.';

CREATE FUNCTION uplift_accum(state uplift, arm integer, converted boolean) RETURNS uplift
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2 AS 'MODULE_PATHNAME', 'loyalty_uplift_accum';
COMMENT ON FUNCTION uplift_accum(uplift, integer, boolean) IS 'The value with one more member; transition function of uplift_agg.';

CREATE FUNCTION uplift_accum_amount(state uplift, arm integer, amount numeric) RETURNS uplift
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2 AS 'MODULE_PATHNAME', 'loyalty_uplift_accum_amount';
COMMENT ON FUNCTION uplift_accum_amount(uplift, integer, numeric) IS 'The value with one more member; transition function of uplift_agg_amount.';

CREATE FUNCTION uplift_accum_cuped(state uplift, arm integer, amount numeric, before numeric) RETURNS uplift
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 3 AS 'MODULE_PATHNAME', 'loyalty_uplift_accum_cuped';
COMMENT ON FUNCTION uplift_accum_cuped(uplift, integer, numeric, numeric) IS 'The value with one more member; transition function of uplift_agg_cuped.';

CREATE AGGREGATE uplift_agg(arm integer, converted boolean) (
	SFUNC = uplift_accum,
	STYPE = uplift,
	COMBINEFUNC = uplift_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE uplift_agg(integer, boolean) IS
'How many of the members of each arm converted; one row for each member that was assigned, whether anything reached it or not. converted NULL counts as false, as an outer join gives it for who did nothing; rows whose arm is NULL are left out. Arms from 0, the control, to 63 (LY003). NULL when no row is left.';

CREATE AGGREGATE uplift_agg_amount(arm integer, amount numeric) (
	SFUNC = uplift_accum_amount,
	STYPE = uplift,
	COMBINEFUNC = uplift_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE uplift_agg_amount(integer, numeric) IS
'What the members of each arm spent, or another figure of theirs: number, sum and sum of squares, exactly, so the same bits in any row order and with any number of workers. One row for each member that was assigned; an amount NULL counts as 0, as an outer join gives it for who did nothing; rows whose arm is NULL are left out. NaN, infinite amounts and sums out of range: LY301.';

CREATE AGGREGATE uplift_agg_cuped(arm integer, amount numeric, before numeric) (
	SFUNC = uplift_accum_cuped,
	STYPE = uplift,
	COMBINEFUNC = uplift_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE uplift_agg_cuped(integer, numeric, numeric) IS
'As uplift_agg_amount, with the same figure of each member before the trial, by which chance differences are taken out (CUPED). before NULL counts as 0.';

CREATE AGGREGATE uplift_rollup(u uplift) (
	SFUNC = uplift_merge,
	STYPE = uplift,
	COMBINEFUNC = uplift_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE uplift_rollup(uplift) IS
'Merges values of different members into one, exactly, as the aggregate over all of them would. NULL values are left out. Values of different kinds: LY003.';

CREATE FUNCTION uplift_report(u uplift, level double precision DEFAULT 0.95,
	OUT arm integer, OUT members bigint, OUT mean double precision, OUT variance double precision, OUT difference double precision,
	OUT low double precision, OUT high double precision, OUT p_value double precision, OUT relative double precision,
	OUT relative_low double precision, OUT relative_high double precision, OUT method text) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 2 AS 'MODULE_PATHNAME', 'loyalty_uplift_report';
COMMENT ON FUNCTION uplift_report(uplift, double precision) IS
'The arms of a trial, a row for each, and what each has more than arm 0, the control: difference of the means (of shares, of the shares), with the interval from low to high of a level, and p_value, how often chance alone would give a difference at least as large. relative is the difference as a part of the control''s mean, with its interval by the delta method on the logarithm. method newcombe, of shares: Newcombe''s hybrid score interval (Statistics in Medicine 17, 1998, method 10), and the test with a pooled variance; welch, of amounts: Welch''s interval and test; cuped: the same on amounts less theta times (what was before less its mean over all arms), theta pooled within the arms, so mean and variance are adjusted. variance is that of the members'' figures. What cannot be told is NULL: an arm of nobody, of one member, or where nobody differs. Error: LY003 level.';

CREATE FUNCTION sample_ratio(u uplift, shares numeric[], OUT chi_square double precision, OUT p_value double precision, OUT broken boolean) RETURNS record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_sample_ratio';
COMMENT ON FUNCTION sample_ratio(uplift, numeric[], OUT double precision, OUT double precision, OUT boolean) IS
'Whether the arms are as large as their shares say, by Pearson''s chi-square test: broken below p_value .001. Then members went missing from an arm, or came into it, by something else than the assignment, and no difference between the arms says anything. Errors: LY802 invalid shares, or fewer than there are arms.';
