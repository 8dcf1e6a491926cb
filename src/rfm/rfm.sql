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

CREATE TYPE rfm_breaks;

CREATE FUNCTION rfm_breaks_in(cstring) RETURNS rfm_breaks
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_in';
COMMENT ON FUNCTION rfm_breaks_in(cstring) IS
'Text input of type rfm_breaks: its JSON, or a method''s name with the number of bins in brackets: quantile, ntile(10).';

CREATE FUNCTION rfm_breaks_out(rfm_breaks) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_out';
COMMENT ON FUNCTION rfm_breaks_out(rfm_breaks) IS 'Text output of type rfm_breaks: one JSON object.';

CREATE FUNCTION rfm_breaks_recv(internal) RETURNS rfm_breaks
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_recv';
COMMENT ON FUNCTION rfm_breaks_recv(internal) IS 'Binary input of type rfm_breaks.';

CREATE FUNCTION rfm_breaks_send(rfm_breaks) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_send';
COMMENT ON FUNCTION rfm_breaks_send(rfm_breaks) IS 'Binary output of type rfm_breaks: a version byte and its JSON.';

CREATE TYPE rfm_breaks (
	INPUT = rfm_breaks_in,
	OUTPUT = rfm_breaks_out,
	RECEIVE = rfm_breaks_recv,
	SEND = rfm_breaks_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE rfm_breaks IS
'A scoring method with its options and, once the aggregate rfm_breaks has seen the members, its cut points; can be stored and applied later by rfm_score.';

CREATE FUNCTION rfm_method(method text DEFAULT 'quantile', bins integer DEFAULT NULL, monetary text DEFAULT 'total', time_zone text DEFAULT 'UTC') RETURNS rfm_breaks
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_method';
COMMENT ON FUNCTION rfm_method(text, integer, text, text) IS
'A scoring method for rfm_breaks, without cut points yet. method: quantile (type 7; a value equal to a cut goes below it, so ties stay together), ntile (equal numbers of members, as SQL''s ntile), rfmr (the rule of the R package rfm: type 7 plus one, a value equal to a cut goes above it), mean (two bins: strictly better than the mean, or not). bins: 2 to 10, 5 when NULL. monetary: total, or mean of a purchase. time_zone: whose clock counts days. Errors: LY303.';

CREATE FUNCTION rfm_thresholds(recency double precision[], frequency double precision[], monetary double precision[], reading text DEFAULT 'total', time_zone text DEFAULT 'UTC') RETURNS rfm_breaks
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_thresholds';
COMMENT ON FUNCTION rfm_thresholds(double precision[], double precision[], double precision[], text, text) IS
'Breaks with given cut points, ready for rfm_score: n rising numbers (days, purchases, amount) make n + 1 bins, and a value equal to a cut goes above it, as with width_bucket. reading: monetary is total or mean. Errors: LY303.';

CREATE FUNCTION rfm_cuts(breaks rfm_breaks, dimension text) RETURNS double precision[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_cuts';
COMMENT ON FUNCTION rfm_cuts(rfm_breaks, text) IS
'The cut points of dimension recency (days), frequency or monetary; infinity where no member reaches a bin; NULL for a method alone.';

CREATE FUNCTION rfm_breaks_accum(state internal, summary rfm, as_of timestamptz, method rfm_breaks) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_accum';
COMMENT ON FUNCTION rfm_breaks_accum(internal, rfm, timestamptz, rfm_breaks) IS 'Transition function of rfm_breaks.';

CREATE FUNCTION rfm_breaks_keyed_accum(state internal, summary rfm, as_of timestamptz, method rfm_breaks, member_key text) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_keyed_accum';
COMMENT ON FUNCTION rfm_breaks_keyed_accum(internal, rfm, timestamptz, rfm_breaks, text) IS 'Transition function of rfm_breaks_keyed.';

CREATE FUNCTION rfm_breaks_combine(internal, internal) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_combine';
COMMENT ON FUNCTION rfm_breaks_combine(internal, internal) IS 'Combine function of rfm_breaks and rfm_breaks_keyed.';

CREATE FUNCTION rfm_breaks_serialize(internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_serialize';
COMMENT ON FUNCTION rfm_breaks_serialize(internal) IS 'Serialization function of rfm_breaks and rfm_breaks_keyed.';

CREATE FUNCTION rfm_breaks_deserialize(bytea, internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_deserialize';
COMMENT ON FUNCTION rfm_breaks_deserialize(bytea, internal) IS 'Deserialization function of rfm_breaks and rfm_breaks_keyed.';

CREATE FUNCTION rfm_breaks_final(state internal) RETURNS rfm_breaks
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_final';
COMMENT ON FUNCTION rfm_breaks_final(internal) IS 'Final function of rfm_breaks and rfm_breaks_keyed.';

CREATE AGGREGATE rfm_breaks(summary rfm, as_of timestamptz, method rfm_breaks) (
	SFUNC = rfm_breaks_accum,
	STYPE = internal,
	FINALFUNC = rfm_breaks_final,
	COMBINEFUNC = rfm_breaks_combine,
	SERIALFUNC = rfm_breaks_serialize,
	DESERIALFUNC = rfm_breaks_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_breaks(rfm, timestamptz, rfm_breaks) IS
'The cut points that the method finds among the members as of an instant, for rfm_score; method is rfm_method(...) or just a name such as ''quantile'' or ''ntile(4)''. Summaries that are NULL or without a purchase are left out; NULL without any. With ntile, members of equal value stay together in the lowest tile that any of them falls into; rfm_breaks_keyed parts them. The result does not depend on row order or workers. Errors: LY302 (as_of before a last purchase), LY303.';

CREATE AGGREGATE rfm_breaks_keyed(summary rfm, as_of timestamptz, method rfm_breaks, member_key text) (
	SFUNC = rfm_breaks_keyed_accum,
	STYPE = internal,
	FINALFUNC = rfm_breaks_final,
	COMBINEFUNC = rfm_breaks_combine,
	SERIALFUNC = rfm_breaks_serialize,
	DESERIALFUNC = rfm_breaks_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_breaks_keyed(rfm, timestamptz, rfm_breaks, text) IS
'As rfm_breaks, but with ntile members of equal value are parted by their key, in byte order: exactly what ntile(n) OVER (ORDER BY value, key COLLATE "C") gives, when rfm_score is given the key too.';

CREATE FUNCTION rfm_score(summary rfm, breaks rfm_breaks, as_of timestamptz, member_key text DEFAULT NULL, OUT r integer, OUT f integer, OUT m integer) RETURNS record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_score';
COMMENT ON FUNCTION rfm_score(rfm, rfm_breaks, timestamptz, text) IS
'Recency, frequency and monetary score of a member, 1 to the number of bins, the best highest; NULL without a purchase. member_key: only for breaks made by rfm_breaks_keyed. Errors: LY302 (as_of before the last purchase), LY303 (breaks without cut points).';
