/*
 * rfm: recency, frequency, monetary.
 *
 * rfm_agg(at, amount) makes one summary of a member's events; accessors read
 * it, rollup and + merge it.  rfm_breaks finds the cut points of scores among
 * all members, rfm_score applies them, rfm_segment names the result.  None of
 * it needs a table; setup() adds one for segment schemes of one's own.
 */

CREATE TYPE rfm;

CREATE FUNCTION rfm_in(cstring) RETURNS rfm
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_in';
COMMENT ON FUNCTION rfm_in(cstring) IS 'Text input of type rfm: reads what rfm_out writes and refuses anything else.';

CREATE FUNCTION rfm_out(rfm) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_out';
COMMENT ON FUNCTION rfm_out(rfm) IS 'Text output of type rfm: one JSON object with fixed keys, instants in UTC.';

CREATE FUNCTION rfm_recv(internal) RETURNS rfm
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_recv';
COMMENT ON FUNCTION rfm_recv(internal) IS 'Binary input of type rfm; refuses what no events can have led to.';

CREATE FUNCTION rfm_send(rfm) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_send';
COMMENT ON FUNCTION rfm_send(rfm) IS 'Binary output of type rfm.';

CREATE TYPE rfm (
	INPUT = rfm_in,
	OUTPUT = rfm_out,
	RECEIVE = rfm_recv,
	SEND = rfm_send,
	INTERNALLENGTH = 112,
	ALIGNMENT = double,
	STORAGE = plain
);
COMMENT ON TYPE rfm IS
'Summary of a member''s purchases in 112 bytes: first, second, previous and last instant, number of purchases and refunds, exact sums. Made by rfm_agg, merged by rollup and +, read by accessors. Its own aggregate state, so partial aggregation and stored partials need nothing more.';

CREATE FUNCTION rfm_eq(rfm, rfm) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_eq';
COMMENT ON FUNCTION rfm_eq(rfm, rfm) IS 'Are the two summaries equal in everything, decimals included?';

CREATE FUNCTION rfm_ne(rfm, rfm) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_ne';
COMMENT ON FUNCTION rfm_ne(rfm, rfm) IS 'Do the two summaries differ in anything?';

CREATE FUNCTION rfm_hash(rfm) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_hash';
COMMENT ON FUNCTION rfm_hash(rfm) IS 'Hash of a summary, for grouping and hash joins.';

CREATE FUNCTION rfm_hash_extended(rfm, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_hash_extended';
COMMENT ON FUNCTION rfm_hash_extended(rfm, bigint) IS 'Seeded 64-bit hash of a summary, for hash partitioning.';

CREATE OPERATOR = (
	LEFTARG = rfm, RIGHTARG = rfm, FUNCTION = rfm_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR = (rfm, rfm) IS 'Are the two summaries equal in everything, decimals included?';

CREATE OPERATOR <> (
	LEFTARG = rfm, RIGHTARG = rfm, FUNCTION = rfm_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (rfm, rfm) IS 'Do the two summaries differ in anything?';

CREATE OPERATOR CLASS rfm_hash_ops DEFAULT FOR TYPE rfm USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 rfm_hash(rfm),
	FUNCTION 2 rfm_hash_extended(rfm, bigint);
COMMENT ON OPERATOR CLASS rfm_hash_ops USING hash IS 'Hash support of type rfm, for GROUP BY, DISTINCT and joins.';

CREATE FUNCTION rfm_merge(rfm, rfm) RETURNS rfm
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_merge';
COMMENT ON FUNCTION rfm_merge(rfm, rfm) IS
'The summary of the events of both: exact, in any order. Purchases are added up, so inputs that hold the same event, or parts of one collapsed purchase, count it twice. Sums out of range: LY301.';

CREATE OPERATOR + (
	LEFTARG = rfm, RIGHTARG = rfm, FUNCTION = rfm_merge, COMMUTATOR = +
);
COMMENT ON OPERATOR + (rfm, rfm) IS 'The summary of the events of both: exact, in any order.';

CREATE FUNCTION rfm_accum(state rfm, at timestamptz, amount numeric) RETURNS rfm
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_accum';
COMMENT ON FUNCTION rfm_accum(rfm, timestamptz, numeric) IS
'The summary with one more event; transition function of rfm_agg. An event whose instant or amount is NULL changes nothing.';

CREATE AGGREGATE rfm_agg(at timestamptz, amount numeric) (
	SFUNC = rfm_accum,
	STYPE = rfm,
	COMBINEFUNC = rfm_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_agg(timestamptz, numeric) IS
'Summary of a member''s events, every row one event. amount >= 0 is a purchase (0 too); a negative amount is a refund: it lowers the total, and neither counts as a purchase nor moves first or last. Rows with a NULL are left out; NULL when none is left. Sums are exact: 38 digits, decimals (as many as the finest amount has, at most 36) included. NaN, infinite amounts and sums out of range: LY301; infinite instants: LY302. Same bits in any row order and with any number of workers.';

CREATE AGGREGATE rollup(summary rfm) (
	SFUNC = rfm_merge,
	STYPE = rfm,
	COMBINEFUNC = rfm_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rollup(rfm) IS
'Merges summaries into one, exactly, as rfm_agg over all their events would (of days, members, shards). NULL summaries are left out. Sums out of range: LY301.';

CREATE FUNCTION recency(summary rfm, as_of timestamptz, time_zone text DEFAULT 'UTC') RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_recency';
COMMENT ON FUNCTION recency(rfm, timestamptz, text) IS
'Whole days from the last purchase to as_of, between the readings of the local clock, rounded down; NULL without a purchase. as_of before the last purchase: LY302.';

CREATE FUNCTION tenure(summary rfm, as_of timestamptz, time_zone text DEFAULT 'UTC') RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tenure';
COMMENT ON FUNCTION tenure(rfm, timestamptz, text) IS
'Whole days from the first purchase to as_of, between the readings of the local clock, rounded down; NULL without a purchase. as_of before the last purchase: LY302.';

CREATE FUNCTION frequency(summary rfm) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_frequency';
COMMENT ON FUNCTION frequency(rfm) IS 'Number of purchases; refunds do not count.';

CREATE FUNCTION monetary_total(summary rfm) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_monetary_total';
COMMENT ON FUNCTION monetary_total(rfm) IS 'Purchases less refunds, exact: equal to sum(amount) over the same rows.';

CREATE FUNCTION monetary_mean(summary rfm) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_monetary_mean';
COMMENT ON FUNCTION monetary_mean(rfm) IS 'monetary_total / frequency; NULL without a purchase.';

CREATE FUNCTION repeat_mean(summary rfm) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repeat_mean';
COMMENT ON FUNCTION repeat_mean(rfm) IS
'Mean amount of the purchases after the first instant, as models of spend want it, refunds aside; NULL without any.';

CREATE FUNCTION purchase_total(summary rfm) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_purchase_total';
COMMENT ON FUNCTION purchase_total(rfm) IS 'Sum of the purchases alone, exact.';

CREATE FUNCTION refund_total(summary rfm) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_refund_total';
COMMENT ON FUNCTION refund_total(rfm) IS 'Sum of the refunds, zero or negative, exact.';

CREATE FUNCTION refund_count(summary rfm) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_refund_count';
COMMENT ON FUNCTION refund_count(rfm) IS 'Number of refunds.';

CREATE FUNCTION first_purchase_at(summary rfm) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_first_purchase_at';
COMMENT ON FUNCTION first_purchase_at(rfm) IS 'Instant of the earliest purchase; NULL without one.';

CREATE FUNCTION second_purchase_at(summary rfm) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_second_purchase_at';
COMMENT ON FUNCTION second_purchase_at(rfm) IS 'Instant of the earliest purchase after the first instant; NULL without one.';

CREATE FUNCTION previous_purchase_at(summary rfm) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_previous_purchase_at';
COMMENT ON FUNCTION previous_purchase_at(rfm) IS 'Instant of the latest purchase before the last instant; NULL without one.';

CREATE FUNCTION last_purchase_at(summary rfm) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_last_purchase_at';
COMMENT ON FUNCTION last_purchase_at(rfm) IS 'Instant of the latest purchase; NULL without one.';

CREATE FUNCTION rfm_by_accum(state internal, at timestamptz, amount numeric, unit text, time_zone text) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_accum';
COMMENT ON FUNCTION rfm_by_accum(internal, timestamptz, numeric, text, text) IS 'Transition function of rfm_agg_by.';

CREATE FUNCTION rfm_by_key_accum(state internal, at timestamptz, amount numeric, key text) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_key_accum';
COMMENT ON FUNCTION rfm_by_key_accum(internal, timestamptz, numeric, text) IS 'Transition function of rfm_agg_by_key.';

CREATE FUNCTION rfm_by_combine(internal, internal) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_combine';
COMMENT ON FUNCTION rfm_by_combine(internal, internal) IS 'Combine function of rfm_agg_by and rfm_agg_by_key.';

CREATE FUNCTION rfm_by_serialize(internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_serialize';
COMMENT ON FUNCTION rfm_by_serialize(internal) IS 'Serialization function of rfm_agg_by and rfm_agg_by_key.';

CREATE FUNCTION rfm_by_deserialize(bytea, internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_deserialize';
COMMENT ON FUNCTION rfm_by_deserialize(bytea, internal) IS 'Deserialization function of rfm_agg_by and rfm_agg_by_key.';

CREATE FUNCTION rfm_by_final(state internal) RETURNS rfm
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_final';
COMMENT ON FUNCTION rfm_by_final(internal) IS 'Final function of rfm_agg_by and rfm_agg_by_key.';

CREATE AGGREGATE rfm_agg_by(at timestamptz, amount numeric, unit text, time_zone text) (
	SFUNC = rfm_by_accum,
	STYPE = internal,
	SSPACE = 512,
	FINALFUNC = rfm_by_final,
	COMBINEFUNC = rfm_by_combine,
	SERIALFUNC = rfm_by_serialize,
	DESERIALFUNC = rfm_by_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_agg_by(timestamptz, numeric, text, text) IS
'As rfm_agg, but all purchases of one hour, day, week (from Monday) or month of the time zone are one purchase, and all its refunds one refund, at the unit''s start. Its state keeps one entry for each unit, for a fixed size cannot count days exactly; the result is an rfm. Merging results that hold parts of one unit counts that unit twice. Unknown or changing unit: LY306.';

CREATE AGGREGATE rfm_agg_by_key(at timestamptz, amount numeric, key text) (
	SFUNC = rfm_by_key_accum,
	STYPE = internal,
	SSPACE = 1024,
	FINALFUNC = rfm_by_final,
	COMBINEFUNC = rfm_by_combine,
	SERIALFUNC = rfm_by_serialize,
	DESERIALFUNC = rfm_by_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_agg_by_key(timestamptz, numeric, text) IS
'As rfm_agg, but all rows of one key, such as the lines of an order, are one event: their amounts are added up, the sum decides whether it is a purchase or a refund, and it lies at their earliest instant. Rows with a NULL are left out. Its state keeps one entry for each key; the result is an rfm.';
