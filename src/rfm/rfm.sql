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

-- One call takes about as long as those of max, count and sum together; said so,
-- the planner goes parallel where it would for them.
CREATE FUNCTION rfm_accum(state rfm, at timestamptz, amount numeric) RETURNS rfm
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 3 AS 'MODULE_PATHNAME', 'loyalty_rfm_accum';
COMMENT ON FUNCTION rfm_accum(rfm, timestamptz, numeric) IS
'The summary with one more event; transition function of rfm_agg. An event whose instant or amount is NULL changes nothing.';

CREATE AGGREGATE rfm_agg(at timestamptz, amount numeric) (
	SFUNC = rfm_accum,
	STYPE = rfm,
	COMBINEFUNC = rfm_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_agg(timestamptz, numeric) IS
'Summary of a member''s events, every row one event. A column of type date or timestamp is read in the session''s time zone: count days in that one, or pass at::timestamp AT TIME ZONE ''UTC'' and count in UTC. amount >= 0 is a purchase (0 too); a negative amount is a refund: it lowers the total, and neither counts as a purchase nor moves first or last. Rows with a NULL are left out; NULL when none is left. Sums are exact: 38 digits, decimals (as many as the finest amount has, at most 36) included. NaN, infinite amounts and sums out of range: LY301; infinite instants: LY302. Same bits in any row order and with any number of workers.';

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
'Whole days from the last purchase to as_of, between the readings of the local clock, rounded down; NULL without a purchase. Of a summary of dates, pass the time zone that they were read in. as_of before the last purchase: LY302.';

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

CREATE FUNCTION purchase_interval(summary rfm) RETURNS interval
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_purchase_interval';
COMMENT ON FUNCTION purchase_interval(rfm) IS
'The member''s own mean time from one purchase to the next: (last - first) / purchases after the first instant, in days of 24 hours; NULL without any. A look back: next_order() looks ahead.';

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

CREATE FUNCTION rfm_by_accum(state aggregate_state, at timestamptz, amount numeric, unit text, time_zone text) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_accum';
COMMENT ON FUNCTION rfm_by_accum(aggregate_state, timestamptz, numeric, text, text) IS 'Transition function of rfm_agg_by.';

CREATE FUNCTION rfm_by_key_accum(state aggregate_state, at timestamptz, amount numeric, key text) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_key_accum';
COMMENT ON FUNCTION rfm_by_key_accum(aggregate_state, timestamptz, numeric, text) IS 'Transition function of rfm_agg_by_key.';

CREATE FUNCTION rfm_by_combine(aggregate_state, aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_combine';
COMMENT ON FUNCTION rfm_by_combine(aggregate_state, aggregate_state) IS 'Combine function of rfm_agg_by and rfm_agg_by_key.';

CREATE FUNCTION rfm_by_final(state aggregate_state) RETURNS rfm
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_by_final';
COMMENT ON FUNCTION rfm_by_final(aggregate_state) IS 'Final function of rfm_agg_by and rfm_agg_by_key.';

CREATE AGGREGATE rfm_agg_by(at timestamptz, amount numeric, unit text, time_zone text) (
	SFUNC = rfm_by_accum,
	STYPE = aggregate_state,
	SSPACE = 512,
	FINALFUNC = rfm_by_final,
	COMBINEFUNC = rfm_by_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_agg_by(timestamptz, numeric, text, text) IS
'As rfm_agg, but all purchases of one hour, day, week (from Monday), sunday week or month of the time zone are one purchase, and all its refunds one refund, at the unit''s start. Its state keeps one entry for each unit, for a fixed size cannot count days exactly; the result is an rfm. Merging results that hold parts of one unit counts that unit twice. Unknown or changing unit: LY306.';

CREATE AGGREGATE rfm_agg_by_key(at timestamptz, amount numeric, key text) (
	SFUNC = rfm_by_key_accum,
	STYPE = aggregate_state,
	SSPACE = 1024,
	FINALFUNC = rfm_by_final,
	COMBINEFUNC = rfm_by_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_agg_by_key(timestamptz, numeric, text) IS
'As rfm_agg, but all rows of one key, such as the lines of an order, are one event: their amounts are added up, the sum decides whether it is a purchase or a refund, and it lies at their earliest instant. A key whose rows add up to nothing is neither (so a free order counts in rfm_agg alone). Rows with a NULL are left out; NULL when nothing counts. Its state keeps one entry for each key; the result is an rfm.';

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

CREATE FUNCTION rfm_method(method text DEFAULT 'quantile', bins integer DEFAULT NULL, monetary text DEFAULT 'total', time_zone text DEFAULT NULL) RETURNS rfm_breaks
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_method';
COMMENT ON FUNCTION rfm_method(text, integer, text, text) IS
'A scoring method for rfm_breaks, without cut points yet. method: quantile (type 7; a value equal to a cut goes below it, so ties stay together), ntile (equal numbers of members, as SQL''s ntile), rfmr (the rule of the R package rfm: type 7 plus one, a value equal to a cut goes above it), mean (two bins: strictly better than the mean, or not). bins: 2 to 10, 5 when NULL. monetary: total, or mean of a purchase. time_zone: whose clock counts days; NULL: UTC, or for rfm_table over a column of type date or timestamp the clock that as_of was read by. Errors: LY303.';

CREATE FUNCTION rfm_thresholds(recency double precision[], frequency double precision[], monetary double precision[], reading text DEFAULT 'total', time_zone text DEFAULT NULL) RETURNS rfm_breaks
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_thresholds';
COMMENT ON FUNCTION rfm_thresholds(double precision[], double precision[], double precision[], text, text) IS
'Breaks with given cut points, ready for rfm_score: n rising numbers (days, purchases, amount) make n + 1 bins, and a value equal to a cut goes above it, as with width_bucket. reading: monetary is total or mean. time_zone as in rfm_method. NULL when one of the others is. Errors: LY303.';

CREATE FUNCTION rfm_cuts(breaks rfm_breaks, dimension text) RETURNS double precision[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_cuts';
COMMENT ON FUNCTION rfm_cuts(rfm_breaks, text) IS
'The cut points of dimension recency (days), frequency or monetary; infinity where no member reaches a bin; NULL for a method alone.';

CREATE FUNCTION rfm_breaks_accum(state aggregate_state, summary rfm, as_of timestamptz, method rfm_breaks) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_accum';
COMMENT ON FUNCTION rfm_breaks_accum(aggregate_state, rfm, timestamptz, rfm_breaks) IS 'Transition function of rfm_breaks.';

CREATE FUNCTION rfm_breaks_keyed_accum(state aggregate_state, summary rfm, as_of timestamptz, method rfm_breaks, member_key text) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_keyed_accum';
COMMENT ON FUNCTION rfm_breaks_keyed_accum(aggregate_state, rfm, timestamptz, rfm_breaks, text) IS 'Transition function of rfm_breaks_keyed.';

CREATE FUNCTION rfm_breaks_combine(aggregate_state, aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_combine';
COMMENT ON FUNCTION rfm_breaks_combine(aggregate_state, aggregate_state) IS 'Combine function of rfm_breaks and rfm_breaks_keyed.';

CREATE FUNCTION rfm_breaks_final(state aggregate_state) RETURNS rfm_breaks
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_breaks_final';
COMMENT ON FUNCTION rfm_breaks_final(aggregate_state) IS 'Final function of rfm_breaks and rfm_breaks_keyed.';

CREATE AGGREGATE rfm_breaks(summary rfm, as_of timestamptz, method rfm_breaks) (
	SFUNC = rfm_breaks_accum,
	STYPE = aggregate_state,
	FINALFUNC = rfm_breaks_final,
	COMBINEFUNC = rfm_breaks_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_breaks(rfm, timestamptz, rfm_breaks) IS
'The cut points that the method finds among the members as of an instant, for rfm_score; method is rfm_method(...) or just a name such as ''quantile'' or ''ntile(4)''. Summaries that are NULL or without a purchase are left out; NULL without any. With ntile, members of equal value stay together in the lowest tile that any of them falls into; rfm_breaks_keyed parts them. The result does not depend on row order or workers. Errors: LY302 (as_of before a last purchase), LY303.';

CREATE AGGREGATE rfm_breaks_keyed(summary rfm, as_of timestamptz, method rfm_breaks, member_key text) (
	SFUNC = rfm_breaks_keyed_accum,
	STYPE = aggregate_state,
	FINALFUNC = rfm_breaks_final,
	COMBINEFUNC = rfm_breaks_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE rfm_breaks_keyed(rfm, timestamptz, rfm_breaks, text) IS
'As rfm_breaks, but with ntile members of equal value are parted by their key, in byte order: exactly what ntile(n) OVER (ORDER BY value, key COLLATE "C") gives, when rfm_score is given the key too.';

CREATE FUNCTION rfm_score(summary rfm, breaks rfm_breaks, as_of timestamptz, member_key text DEFAULT NULL, OUT r integer, OUT f integer, OUT m integer) RETURNS record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_score';
COMMENT ON FUNCTION rfm_score(rfm, rfm_breaks, timestamptz, text) IS
'Recency, frequency and monetary score of a member, 1 to the number of bins, the best highest; NULL without a purchase. member_key: only for breaks made by rfm_breaks_keyed. Errors: LY302 (as_of before the last purchase), LY303 (breaks without cut points).';

CREATE FUNCTION builtin_rfm_schemes(OUT scheme text, OUT note text, OUT definition jsonb) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 6 SET search_path = pg_catalog, pg_temp
AS $schemes$
-- EUC_CN and UTF8 have the Chinese names
SELECT b.scheme, b.note, (CASE WHEN getdatabaseencoding() IN ('UTF8', 'EUC_CN') THEN b.definition
	ELSE regexp_replace(b.definition, '"zh": "[^"]*", |, "zh": "[^"]*"', '', 'g') END)::jsonb
FROM (VALUES
('code125', '125 codes, one by one; a partition', $def${"bins": 5, "rules": [
	{"segment": "Champions", "zh": "冠军客户", "codes": ["555", "554", "544", "545", "454", "455", "445"]},
	{"segment": "Loyal", "zh": "忠诚客户", "codes": ["543", "444", "435", "355", "354", "345", "344", "335"]},
	{"segment": "Potential Loyalist", "zh": "潜在忠诚客户", "codes": ["553", "551", "552", "541", "542", "533", "532", "531", "452", "451", "442", "441", "431", "453", "433", "432", "423", "353", "352", "351", "342", "341", "333", "323"]},
	{"segment": "New Customers", "zh": "新客户", "codes": ["512", "511", "422", "421", "412", "411", "311"]},
	{"segment": "Promising", "zh": "有望客户", "codes": ["525", "524", "523", "522", "521", "515", "514", "513", "425", "424", "413", "414", "415", "315", "314", "313"]},
	{"segment": "Need Attention", "zh": "需关注客户", "codes": ["535", "534", "443", "434", "343", "334", "325", "324"]},
	{"segment": "About To Sleep", "zh": "即将沉睡客户", "codes": ["331", "321", "312", "221", "213", "231", "241", "251"]},
	{"segment": "At Risk", "zh": "有流失风险客户", "codes": ["255", "254", "245", "244", "253", "252", "243", "242", "235", "234", "225", "224", "153", "152", "145", "143", "142", "135", "134", "133", "125", "124"]},
	{"segment": "Cannot Lose Them", "zh": "不可流失客户", "codes": ["155", "154", "144", "214", "215", "115", "114", "113"]},
	{"segment": "Hibernating customers", "zh": "沉睡客户", "codes": ["332", "322", "233", "232", "223", "222", "132", "123", "122", "212", "211"]},
	{"segment": "Lost customers", "zh": "流失客户", "codes": ["111", "112", "121", "131", "141", "151"]}]}$def$),
('rfm_r_v030', 'the rules in the documentation of the R package rfm, version 0.3.0', $def${"bins": 5, "rules": [
	{"segment": "Champions", "zh": "冠军客户", "r": [5, 5], "f": [5, 5], "m": [5, 5]},
	{"segment": "Potential Loyalist", "zh": "潜在忠诚客户", "r": [3, 5], "f": [3, 5], "m": [2, 5]},
	{"segment": "Loyal Customers", "zh": "忠诚客户", "r": [2, 4], "f": [2, 4], "m": [2, 4]},
	{"segment": "Promising", "zh": "有望客户", "r": [3, 4], "f": [1, 3], "m": [3, 5]},
	{"segment": "New Customers", "zh": "新客户", "r": [4, 5], "f": [1, 3], "m": [1, 5]},
	{"segment": "Can't Lose Them", "zh": "不可流失客户", "r": [1, 2], "f": [3, 4], "m": [4, 5]},
	{"segment": "At Risk", "zh": "有流失风险客户", "r": [1, 2], "f": [2, 5], "m": [4, 5]},
	{"segment": "Need Attention", "zh": "需关注客户", "r": [1, 3], "f": [3, 5], "m": [3, 5]},
	{"segment": "About To Sleep", "zh": "即将沉睡客户", "r": [2, 3], "f": [1, 3], "m": [1, 4]},
	{"segment": "Lost", "zh": "流失客户", "r": [1, 1], "f": [1, 5], "m": [1, 5]}],
	"otherwise": {"segment": "Others", "zh": "其他客户"}}$def$),
('rfm_r_v022', 'the same, version 0.2.2', $def${"bins": 5, "rules": [
	{"segment": "Champions", "zh": "冠军客户", "r": [4, 5], "f": [4, 5], "m": [4, 5]},
	{"segment": "Loyal Customers", "zh": "忠诚客户", "r": [2, 5], "f": [3, 5], "m": [3, 5]},
	{"segment": "Potential Loyalist", "zh": "潜在忠诚客户", "r": [3, 5], "f": [1, 3], "m": [1, 3]},
	{"segment": "New Customers", "zh": "新客户", "r": [4, 5], "f": [1, 1], "m": [1, 1]},
	{"segment": "Promising", "zh": "有望客户", "r": [3, 4], "f": [1, 1], "m": [1, 1]},
	{"segment": "Need Attention", "zh": "需关注客户", "r": [2, 3], "f": [2, 3], "m": [2, 3]},
	{"segment": "About To Sleep", "zh": "即将沉睡客户", "r": [2, 3], "f": [1, 2], "m": [1, 2]},
	{"segment": "At Risk", "zh": "有流失风险客户", "r": [1, 2], "f": [2, 5], "m": [2, 5]},
	{"segment": "Can't Lose Them", "zh": "不可流失客户", "r": [1, 1], "f": [4, 5], "m": [4, 5]},
	{"segment": "Lost", "zh": "流失客户", "r": [1, 2], "f": [1, 2], "m": [1, 2]}],
	"otherwise": {"segment": "Others", "zh": "其他客户"}}$def$),
('putler_ranges', 'ranges of R and of the mean of F and M', $def${"bins": 5, "rules": [
	{"segment": "Champions", "zh": "冠军客户", "r": [4, 5], "fm": [4, 5]},
	{"segment": "Loyal Customers", "zh": "忠诚客户", "r": [2, 5], "fm": [3, 5]},
	{"segment": "Potential Loyalist", "zh": "潜在忠诚客户", "r": [3, 5], "fm": [1, 3]},
	{"segment": "Recent Customers", "zh": "近期客户", "r": [4, 5], "fm": [0, 1]},
	{"segment": "Promising", "zh": "有望客户", "r": [3, 4], "fm": [0, 1]},
	{"segment": "Customers Needing Attention", "zh": "需关注客户", "r": [2, 3], "fm": [2, 3]},
	{"segment": "About To Sleep", "zh": "即将沉睡客户", "r": [2, 3], "fm": [0, 2]},
	{"segment": "Can't Lose Them", "zh": "不可流失客户", "r": [0, 1], "fm": [4, 5]},
	{"segment": "At Risk", "zh": "有流失风险客户", "r": [0, 2], "fm": [2, 5]},
	{"segment": "Hibernating", "zh": "沉睡客户", "r": [1, 2], "fm": [1, 2]},
	{"segment": "Lost", "zh": "流失客户", "r": [0, 2], "fm": [0, 2]}],
	"otherwise": {"segment": "Others", "zh": "其他客户"}}$def$),
('rf_grid', 'R by F; M does not matter', $def${"bins": 5, "rules": [
	{"segment": "hibernating", "zh": "沉睡客户", "r": [1, 2], "f": [1, 2]},
	{"segment": "at_risk", "zh": "有流失风险客户", "r": [1, 2], "f": [3, 4]},
	{"segment": "cant_loose", "zh": "不可流失客户", "r": [1, 2], "f": 5},
	{"segment": "about_to_sleep", "zh": "即将沉睡客户", "r": 3, "f": [1, 2]},
	{"segment": "need_attention", "zh": "需关注客户", "r": 3, "f": 3},
	{"segment": "loyal_customers", "zh": "忠诚客户", "r": [3, 4], "f": [4, 5]},
	{"segment": "promising", "zh": "有望客户", "r": 4, "f": 1},
	{"segment": "new_customers", "zh": "新客户", "r": 5, "f": 1},
	{"segment": "potential_loyalists", "zh": "潜在忠诚客户", "r": [4, 5], "f": [2, 3]},
	{"segment": "champions", "zh": "冠军客户", "r": 5, "f": [4, 5]}]}$def$),
('cn_8_quadrant', 'eight quadrants of two bins each; score with method mean or quantile(2)', $def${"bins": 2, "rules": [
	{"segment": "Important Value", "zh": "重要价值客户", "r": 2, "f": 2, "m": 2},
	{"segment": "Important Retain", "zh": "重要保持客户", "r": 1, "f": 2, "m": 2},
	{"segment": "Important Develop", "zh": "重要发展客户", "r": 2, "f": 1, "m": 2},
	{"segment": "Important Win Back", "zh": "重要挽留客户", "r": 1, "f": 1, "m": 2},
	{"segment": "General Value", "zh": "一般价值客户", "r": 2, "f": 2, "m": 1},
	{"segment": "General Retain", "zh": "一般保持客户", "r": 1, "f": 2, "m": 1},
	{"segment": "General Develop", "zh": "一般发展客户", "r": 2, "f": 1, "m": 1},
	{"segment": "General Win Back", "zh": "一般挽留客户", "r": 1, "f": 1, "m": 1}]}$def$)
) b (scheme, note, definition)
$schemes$;
COMMENT ON FUNCTION builtin_rfm_schemes() IS
'The segment schemes that come with the extension: name, what it is, and its definition (bins, rules in order, otherwise). Its segments have Chinese names, too, in databases with the encoding UTF8 or EUC_CN.';

CREATE FUNCTION rfm_scheme_codes(definition jsonb, OUT r integer, OUT f integer, OUT m integer, OUT code text, OUT rules integer[]) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 125 AS 'MODULE_PATHNAME', 'loyalty_rfm_scheme_codes';
COMMENT ON FUNCTION rfm_scheme_codes(jsonb) IS
'Every combination of scores of a segment scheme, with the numbers of the rules that take it; the first counts. An invalid definition: LY305.';

CREATE FUNCTION list_rfm_scheme_problems(definition jsonb, OUT problem text, OUT rule integer, OUT segment text, OUT codes text[]) RETURNS SETOF record
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	WITH code AS MATERIALIZED (
		SELECT c.code, c.rules FROM loyalty.rfm_scheme_codes(definition) c
	), rule AS (
		SELECT e.number::integer AS number, e.rule ->> 'segment' AS segment
		FROM jsonb_array_elements(definition -> 'rules') WITH ORDINALITY AS e (rule, number)
	), found AS (
		SELECT 1 AS kind, 'unreachable' AS problem, r.number, r.segment,
			   (SELECT array_agg(c.code ORDER BY c.code) FROM code c WHERE r.number = ANY (c.rules)) AS codes
		FROM rule r
		WHERE NOT EXISTS (SELECT FROM code c WHERE c.rules[1] = r.number)
		UNION ALL
		SELECT 2, 'overlapping', r.number, r.segment, array_agg(c.code ORDER BY c.code)
		FROM rule r JOIN code c ON r.number = ANY (c.rules[2:])
		GROUP BY r.number, r.segment
		UNION ALL
		SELECT 3, 'left over', NULL, definition -> 'otherwise' ->> 'segment', array_agg(c.code ORDER BY c.code)
		FROM code c WHERE c.rules = '{}'
		HAVING count(*) > 0
	)
	SELECT found.problem, found.number, found.segment, coalesce(found.codes, '{}') FROM found ORDER BY kind, number
$$;
COMMENT ON FUNCTION list_rfm_scheme_problems(jsonb) IS
'Checks a segment scheme: unreachable rules (earlier rules take all their codes), overlapping ones (with the codes that an earlier rule takes), and codes left over, which become otherwise or NULL. No rows: an exact partition. An invalid definition: LY305.';

CREATE FUNCTION find_rfm_scheme(scheme text) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found jsonb;
BEGIN
	SELECT b.definition INTO found FROM loyalty.builtin_rfm_schemes() b WHERE b.scheme = find_rfm_scheme.scheme;
	IF found IS NULL AND to_regclass('loyalty.rfm_scheme') IS NOT NULL THEN
		SELECT s.definition INTO found FROM loyalty.rfm_scheme s WHERE s.scheme = find_rfm_scheme.scheme;
	END IF;
	IF found IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'LY304',
			MESSAGE = format('unknown segment scheme "%s"', scheme),
			DETAIL = 'It is neither one that comes with the extension nor one''s own.',
			HINT = 'Use one of SELECT scheme FROM loyalty.builtin_rfm_schemes(), or define it with define_rfm_scheme().';
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION find_rfm_scheme(text) IS
'Definition of a segment scheme by name: one that comes with the extension, or one defined by define_rfm_scheme. Unknown: LY304.';

CREATE FUNCTION rfm_segment(r integer, f integer, m integer, scheme text DEFAULT 'code125', language text DEFAULT 'en') RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_segment';
COMMENT ON FUNCTION rfm_segment(integer, integer, integer, text, text) IS
'The segment that a scheme gives to scores: of the rules that take them, the first. scheme: code125, rfm_r_v030, rfm_r_v022, putler_ranges, rf_grid, cn_8_quadrant, one''s own (define_rfm_scheme), or a definition in place. language: en or zh. NULL where no rule takes the scores and there is no otherwise. Errors: LY003 (scores beyond the scheme''s bins), LY304 (unknown scheme), LY305 (invalid definition).';

CREATE FUNCTION rfm_segment_of(summary rfm, breaks rfm_breaks, as_of timestamptz, scheme text DEFAULT 'code125', language text DEFAULT 'en', member_key text DEFAULT NULL) RETURNS text
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rfm_segment_of';
COMMENT ON FUNCTION rfm_segment_of(rfm, rfm_breaks, timestamptz, text, text, text) IS
'The segment of a member: rfm_score and rfm_segment in one call, for long lists. NULL without a purchase. Errors: LY003, LY302 to LY305, as of those.';

CREATE FUNCTION define_rfm_scheme(scheme text, definition jsonb, strict boolean DEFAULT false, OUT problem text, OUT rule integer, OUT segment text, OUT codes text[]) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	listed text;
	differences text;
BEGIN
	IF define_rfm_scheme.scheme IS NULL OR scheme !~ '^[a-z][a-z0-9_]{0,62}$' OR definition IS NULL OR strict IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'LY003',
			MESSAGE = format('a segment scheme cannot be named "%s"', scheme),
			DETAIL = 'A name has up to 63 characters.',
			HINT = 'Use lower-case letters, digits and underscores, beginning with a letter, and pass a definition.';
	END IF;
	IF EXISTS (SELECT FROM loyalty.builtin_rfm_schemes() b WHERE b.scheme = define_rfm_scheme.scheme) THEN
		RAISE EXCEPTION USING ERRCODE = 'LY305',
			MESSAGE = format('segment scheme "%s" comes with the extension', scheme),
			DETAIL = 'Its rules are the same in every database.',
			HINT = 'Define yours under another name.';
	END IF;
	SELECT string_agg(format('%s: rule %s, %s codes', p.problem, coalesce(p.rule::text, '-'), cardinality(p.codes)), '; ')
	INTO listed
	FROM loyalty.list_rfm_scheme_problems(definition) p;
	IF strict AND listed IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'LY305',
			MESSAGE = format('segment scheme "%s" is no exact partition', scheme),
			DETAIL = listed,
			HINT = 'See list_rfm_scheme_problems(definition), or pass strict => false.';
	END IF;
	INSERT INTO loyalty.rfm_scheme AS s (scheme, definition)
	VALUES (define_rfm_scheme.scheme, define_rfm_scheme.definition)
	ON CONFLICT ON CONSTRAINT rfm_scheme_pkey DO NOTHING;
	IF NOT FOUND THEN
		SELECT string_agg(DISTINCT k, ', ') INTO differences
		FROM loyalty.rfm_scheme s, LATERAL jsonb_object_keys(s.definition || define_rfm_scheme.definition) k
		WHERE s.scheme = define_rfm_scheme.scheme AND s.definition -> k IS DISTINCT FROM define_rfm_scheme.definition -> k;
		IF differences IS NOT NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'LY305',
				MESSAGE = format('segment scheme "%s" is defined already, otherwise', scheme),
				DETAIL = format('What differs: %s.', differences),
				HINT = 'Define yours under another name, or remove it first by drop_rfm_scheme().';
		END IF;
	END IF;
	RETURN QUERY SELECT p.* FROM loyalty.list_rfm_scheme_problems(definition) p;
END
$$;
COMMENT ON FUNCTION define_rfm_scheme(text, jsonb, boolean) IS
'Defines a segment scheme of one''s own and returns what list_rfm_scheme_problems finds: unreachable rules, overlapping codes, codes left over. strict: refuse it then (LY305). With the same arguments it may be repeated; to change a scheme, drop it first. Other errors: LY003 (name), LY305 (invalid definition, a name of ours, or defined otherwise).';

CREATE FUNCTION drop_rfm_scheme(scheme text) RETURNS boolean
LANGUAGE plpgsql STRICT SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM loyalty.rfm_scheme s WHERE s.scheme = drop_rfm_scheme.scheme;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION drop_rfm_scheme(text) IS
'Removes a segment scheme of one''s own; false when there was none.';

CREATE FUNCTION setup_rfm(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.rfm_scheme (
			scheme text CONSTRAINT rfm_scheme_pkey PRIMARY KEY,
			definition jsonb NOT NULL,
			defined_at timestamptz NOT NULL DEFAULT clock_timestamp()
		);
		COMMENT ON TABLE loyalty.rfm_scheme IS 'Segment schemes of one''s own; kept by define_rfm_scheme().';
		COMMENT ON COLUMN loyalty.rfm_scheme.scheme IS 'Name of the scheme, as rfm_segment takes it.';
		COMMENT ON COLUMN loyalty.rfm_scheme.definition IS 'Bins, rules in order, and otherwise.';
		COMMENT ON COLUMN loyalty.rfm_scheme.defined_at IS 'When this definition was given.';
	END IF;
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_rfm(integer) IS 'Creates and migrates the table of room rfm (rfm_scheme); called by setup().';

CREATE FUNCTION check_rfm(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	stored record;
BEGIN
	invariant := 'segment scheme is valid';
	FOR stored IN SELECT s.scheme, s.definition FROM loyalty.rfm_scheme s ORDER BY s.scheme LOOP
		BEGIN
			PERFORM FROM loyalty.rfm_scheme_codes(stored.definition);
		EXCEPTION WHEN SQLSTATE 'LY305' THEN
			detail := format('%s: %s', stored.scheme, SQLERRM);
			RETURN NEXT;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION check_rfm() IS 'Invariants of room rfm, for check_all(): every stored segment scheme can be used.';

/* The type of a column of an orders table, below its domains; for rfm_reading. */
CREATE FUNCTION check_orders_column(orders regclass, argument text, column_name text) RETURNS regtype
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found oid;
BEGIN
	SELECT a.atttypid INTO found FROM pg_attribute a
	WHERE a.attrelid = orders AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped;
	IF found IS NULL AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = orders) THEN
		RAISE EXCEPTION USING ERRCODE = 'LY003',
			MESSAGE = format('there is no table or view with OID %s', coalesce(orders::oid::text, 'NULL')),
			DETAIL = 'Orders are read from one.',
			HINT = 'Name it: ''orders'', or ''schema.orders''.';
	ELSIF found IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'LY003',
			MESSAGE = format('%s has no column %s, which %s names', orders, coalesce(quote_ident(column_name), 'NULL'), argument),
			DETAIL = (SELECT format('Its columns are %s.', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
					  FROM pg_attribute a WHERE a.attrelid = orders AND a.attnum > 0 AND NOT a.attisdropped),
			HINT = format('Pass %s => ''...'', the name of a column.', argument);
	END IF;
	WHILE EXISTS (SELECT FROM pg_type t WHERE t.oid = found AND t.typtype = 'd') LOOP
		SELECT t.typbasetype INTO found FROM pg_type t WHERE t.oid = found;
	END LOOP;
	RETURN found::regtype;
END
$$;
COMMENT ON FUNCTION check_orders_column(regclass, text, text) IS
'Base type of a column of an orders table; where there is none, says which argument names it (LY003). rfm_table and its kin call it.';

/*
 * A column of type date or timestamp has no time zone: it is what a clock
 * showed.  So as_of is read on such a clock too, that of time_zone or else of
 * the session, which is what its literal said; and both are taken for UTC,
 * where no clock is ever put on.
 */
CREATE FUNCTION rfm_reading(
	orders regclass,
	member_column text,
	at_column text,
	amount_column text,
	key_column text,
	as_of timestamptz,
	time_zone text,
	merged_once boolean,
	OUT member text, OUT whole_numbers boolean, OUT at text, OUT summary text,
	OUT as_of_read timestamptz, OUT counted_in text
) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	as_of := coalesce(as_of, now());
	IF orders IS NULL OR merged_once IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'LY003',
			MESSAGE = 'orders and merged_once must not be null',
			DETAIL = 'Members are read from a table, as of an instant.',
			HINT = 'Leave out what should have its default.';
	END IF;
	whole_numbers := loyalty.check_orders_column(orders, 'member_column', member_column)
		IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype);
	member := format('o.%I', member_column);
	IF merged_once THEN
		IF to_regclass('loyalty.member_alias') IS NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'LY001',
				MESSAGE = 'the tables of loyalty do not exist in this database',
				DETAIL = 'Which members were merged stands in them.',
				HINT = 'Run SELECT loyalty.setup();, or leave out merged_once.';
		ELSIF NOT whole_numbers THEN
			RAISE EXCEPTION USING ERRCODE = 'LY003',
				MESSAGE = format('merged_once needs member numbers in column %I of %s', member_column, orders),
				DETAIL = 'Merged members are known by the number that room member gave them.',
				HINT = 'Pass a column of type bigint that holds member_id, or leave out merged_once.';
		END IF;
		member := format('loyalty.canonical_member(o.%I::pg_catalog.int8)', member_column);
	END IF;

	IF loyalty.check_orders_column(orders, 'at_column', at_column) IN ('date'::regtype, 'timestamp'::regtype) THEN
		at := format('pg_catalog.timezone(''UTC'', o.%I::pg_catalog.timestamp)', at_column);
		as_of_read := (as_of AT TIME ZONE coalesce(time_zone, current_setting('TimeZone'))) AT TIME ZONE 'UTC';
		counted_in := 'UTC';
	ELSE
		at := format('o.%I::pg_catalog.timestamptz', at_column);
		as_of_read := as_of;
		counted_in := coalesce(time_zone, 'UTC');
	END IF;

	PERFORM loyalty.check_orders_column(orders, 'amount_column', amount_column);
	IF key_column IS NULL THEN
		summary := format('loyalty.rfm_agg(%s, o.%I::pg_catalog.numeric)', at, amount_column);
	ELSE
		PERFORM loyalty.check_orders_column(orders, 'key_column', key_column);
		summary := format('loyalty.rfm_agg_by_key(%s, o.%I::pg_catalog.numeric, o.%I::pg_catalog.text)', at, amount_column, key_column);
	END IF;
END
$$;
COMMENT ON FUNCTION rfm_reading(regclass, text, text, text, text, timestamptz, text, boolean) IS
'How rfm_members, rfm_table and their kin read an orders table o: SQL of its member, instant and summary; whether members are whole numbers; as_of as that instant is compared with it, and the zone in which days are counted then. Columns that do not exist, or arguments that are NULL: LY003; merged_once before setup(): LY001.';

CREATE FUNCTION rfm_members(
	orders regclass,
	member_column text DEFAULT 'member_id',
	at_column text DEFAULT 'at',
	amount_column text DEFAULT 'amount',
	as_of timestamptz DEFAULT now(),
	time_zone text DEFAULT NULL,
	merged_once boolean DEFAULT false,
	OUT member_id bigint, OUT summary rfm
) RETURNS SETOF record
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 100000 AS 'MODULE_PATHNAME', 'loyalty_rfm_members';
COMMENT ON FUNCTION rfm_members(regclass, text, text, text, timestamptz, text, boolean) IS
'rfm_agg(at, amount) of every member of an orders table, over the rows up to as_of (NULL: now): the same as GROUP BY, but faster where there are many members. The member column must cast to bigint; rows with a NULL are left out. Instants of a column of type date or timestamp are taken for UTC, and as_of is read by the clock of time_zone (NULL: the session''s). merged_once: absorbed members count as who stands for them (canonical_member). Keeps about 150 bytes of memory for each member, whatever work_mem says. Reads with the caller''s rights. Errors: LY001 (merged_once before setup()), LY003 (a column that there is not, or NULL), LY301, LY302.';

/* A grid of other scores than the scheme's would name members without a word, and wrongly. */
CREATE FUNCTION check_rfm_bins(method rfm_breaks, scheme text) RETURNS void
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found jsonb := method::text::jsonb -> 'bins';
	wanted jsonb := (CASE WHEN scheme LIKE '{%' THEN scheme::jsonb ELSE loyalty.find_rfm_scheme(scheme) END) -> 'bins';
BEGIN
	IF NOT found @> wanted THEN
		RAISE EXCEPTION USING ERRCODE = 'LY003',
			MESSAGE = format('the method makes other scores than the scheme takes, which has %s bins', wanted),
			DETAIL = format('Bins of recency, frequency and monetary: %s.', found),
			HINT = format('Pass a method of as many bins: method => ''quantile(%s)''.', wanted);
	END IF;
END
$$;
COMMENT ON FUNCTION check_rfm_bins(rfm_breaks, text) IS
'Refuses a scoring method none of whose scores has as many bins as a segment scheme (LY003); rfm_table and its kin call it.';

/* The method with the zone that rfm_reading counts days in. */
CREATE FUNCTION rfm_method_in(method rfm_breaks, time_zone text) RETURNS rfm_breaks
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (method::text::jsonb || jsonb_build_object('time_zone', time_zone))::text::loyalty.rfm_breaks
$$;
COMMENT ON FUNCTION rfm_method_in(rfm_breaks, text) IS 'A scoring method, or breaks, with another time zone.';

CREATE FUNCTION rfm_table(
	orders regclass,
	member_column text DEFAULT 'member_id',
	at_column text DEFAULT 'at',
	amount_column text DEFAULT 'amount',
	key_column text DEFAULT NULL,
	as_of timestamptz DEFAULT now(),
	method rfm_breaks DEFAULT 'quantile',
	scheme text DEFAULT 'code125',
	language text DEFAULT 'en',
	merged_once boolean DEFAULT false,
	OUT member text, OUT recency integer, OUT frequency bigint, OUT monetary numeric,
	OUT r integer, OUT f integer, OUT m integer, OUT segment text
) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	time_zone text := method::text::jsonb ->> 'time_zone';
	reading record;
BEGIN
	IF method IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'LY003',
			MESSAGE = 'method must not be null',
			DETAIL = 'It says how members are scored.',
			HINT = 'Leave it out for its default, quantile.';
	END IF;
	PERFORM loyalty.check_rfm_bins(method, scheme);
	as_of := coalesce(as_of, now());
	reading := loyalty.rfm_reading(orders, member_column, at_column, amount_column, key_column, as_of, time_zone, merged_once);
	RETURN QUERY EXECUTE format($query$
		WITH s AS (%s), b AS (
			SELECT coalesce(loyalty.rfm_breaks_keyed(s.summary, $1, $2, s.member), $2) AS breaks FROM s
		)
		SELECT s.member, loyalty.recency(s.summary, $1, $5), loyalty.frequency(s.summary),
			   loyalty.monetary_total(s.summary), x.r, x.f, x.m, loyalty.rfm_segment(x.r, x.f, x.m, $3, $4)
		FROM s CROSS JOIN b CROSS JOIN LATERAL loyalty.rfm_score(s.summary, b.breaks, $1, s.member) x
		WHERE s.summary IS NOT NULL
		$query$,
		CASE WHEN key_column IS NULL AND reading.whole_numbers THEN
			format('SELECT o.member_id::text AS member, o.summary FROM loyalty.rfm_members(%L::regclass, %L, %L, %L, $6, %L, %L) o',
				   orders::oid, member_column, at_column, amount_column, time_zone, merged_once)
		ELSE
			format('SELECT (%1$s)::text AS member, %2$s AS summary FROM %3$s o WHERE %1$s IS NOT NULL AND %4$s <= $1 GROUP BY %1$s',
				   reading.member, reading.summary, orders, reading.at)
		END)
	USING reading.as_of_read, loyalty.rfm_method_in(method, reading.counted_in), scheme, language, reading.counted_in, as_of;
END
$$;
COMMENT ON FUNCTION rfm_table(regclass, text, text, text, text, timestamptz, rfm_breaks, text, text, boolean) IS
'Recency (days), frequency, monetary (total), scores and segment of every member of an orders table, as of an instant: rows up to it count, those without a member do not. key_column: collapses the lines of one order. method: rfm_method(...), rfm_thresholds(...) or a name such as ''ntile'' (ties parted by member, in byte order), of as many bins as the scheme has (LY003). Scores are those that rfm_score gives. NULL scores for members with refunds only. Days: whole days by the clock of the method''s time_zone (UTC where it names none); a column of type date or timestamp is what a clock showed, so its days are the difference from as_of as that clock shows it, the clock of the method''s time_zone or else of the session, in which the literal of as_of was read. merged_once: absorbed members count as who stands for them. Reads with the caller''s rights. Errors: LY001 (merged_once before setup()), LY003 (names the argument that names no column), those of rfm_agg, rfm_breaks and rfm_segment.';

CREATE FUNCTION rfm_segment_sizes(
	orders regclass,
	member_column text DEFAULT 'member_id',
	at_column text DEFAULT 'at',
	amount_column text DEFAULT 'amount',
	key_column text DEFAULT NULL,
	as_of timestamptz DEFAULT now(),
	method rfm_breaks DEFAULT 'quantile',
	scheme text DEFAULT 'code125',
	language text DEFAULT 'en',
	merged_once boolean DEFAULT false,
	OUT segment text, OUT members bigint, OUT orders_placed numeric, OUT revenue numeric,
	OUT mean_recency numeric, OUT member_share numeric, OUT revenue_share numeric
) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.segment, count(*), sum(t.frequency), sum(t.monetary), round(avg(t.recency), 4),
		   round(count(*) / sum(count(*)) OVER (), 4),
		   round(sum(t.monetary) / nullif(sum(sum(t.monetary)) OVER (), 0), 4)
	FROM loyalty.rfm_table(orders, member_column, at_column, amount_column, key_column,
						   as_of, method, scheme, language, merged_once) t
	GROUP BY t.segment
	ORDER BY sum(t.monetary) DESC, t.segment
$$;
COMMENT ON FUNCTION rfm_segment_sizes(regclass, text, text, text, text, timestamptz, rfm_breaks, text, text, boolean) IS
'Members, orders, revenue, mean recency (days) and shares of each segment of an orders table as of an instant; arguments and errors as rfm_table. Segment NULL: members that no rule takes, or with refunds only.';

CREATE FUNCTION rfm_transitions(
	orders regclass,
	from_as_of timestamptz,
	to_as_of timestamptz DEFAULT now(),
	member_column text DEFAULT 'member_id',
	at_column text DEFAULT 'at',
	amount_column text DEFAULT 'amount',
	key_column text DEFAULT NULL,
	method rfm_breaks DEFAULT 'quantile',
	scheme text DEFAULT 'code125',
	language text DEFAULT 'en',
	refit boolean DEFAULT false,
	merged_once boolean DEFAULT false,
	OUT from_segment text, OUT to_segment text, OUT members bigint, OUT share numeric
) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	time_zone text := method::text::jsonb ->> 'time_zone';
	earlier record;
	later record;
BEGIN
	to_as_of := coalesce(to_as_of, now());
	IF from_as_of IS NULL OR method IS NULL OR from_as_of > to_as_of THEN
		RAISE EXCEPTION USING ERRCODE = 'LY003',
			MESSAGE = 'from_as_of and method must not be null, nor from_as_of after to_as_of',
			DETAIL = 'Members are compared at two instants, the second the later one.',
			HINT = 'Pass the earlier instant as from_as_of.';
	END IF;
	PERFORM loyalty.check_rfm_bins(method, scheme);
	earlier := loyalty.rfm_reading(orders, member_column, at_column, amount_column, key_column, from_as_of, time_zone, merged_once);
	later := loyalty.rfm_reading(orders, member_column, at_column, amount_column, key_column, to_as_of, time_zone, merged_once);
	RETURN QUERY EXECUTE format($query$
		WITH s AS (
			SELECT (%1$s)::text AS member, %2$s AS later, %2$s FILTER (WHERE %4$s <= $1) AS earlier
			FROM %3$s o WHERE %1$s IS NOT NULL AND %4$s <= $2 GROUP BY %1$s
		), first AS (
			SELECT loyalty.rfm_breaks_keyed(s.earlier, $1, $3, s.member) AS breaks FROM s
		), second AS (
			SELECT CASE WHEN $6 OR first.breaks IS NULL THEN (SELECT loyalty.rfm_breaks_keyed(s.later, $2, $3, s.member) FROM s)
						ELSE first.breaks END AS breaks FROM first
		), named AS (
			SELECT loyalty.rfm_segment(x.r, x.f, x.m, $4, $5) AS from_segment,
				   loyalty.rfm_segment(y.r, y.f, y.m, $4, $5) AS to_segment
			FROM s CROSS JOIN first CROSS JOIN second
			CROSS JOIN LATERAL loyalty.rfm_score(s.earlier, first.breaks, $1, s.member) x
			CROSS JOIN LATERAL loyalty.rfm_score(s.later, second.breaks, $2, s.member) y
			WHERE s.later IS NOT NULL
		)
		SELECT n.from_segment, n.to_segment, count(*),
			   round(count(*) / sum(count(*)) OVER (PARTITION BY n.from_segment), 4)
		FROM named n
		GROUP BY n.from_segment, n.to_segment
		ORDER BY n.from_segment NULLS FIRST, count(*) DESC, n.to_segment
		$query$,
		later.member, later.summary, orders, later.at)
	USING earlier.as_of_read, later.as_of_read, loyalty.rfm_method_in(method, later.counted_in), scheme, language, refit;
END
$$;
COMMENT ON FUNCTION rfm_transitions(regclass, timestamptz, timestamptz, text, text, text, text, rfm_breaks, text, text, boolean, boolean) IS
'How many members went from which segment to which between two instants; from_segment NULL: they came after the first. share: of those that were in from_segment. Both instants are scored by the cut points of the first, so that a move means that the member changed, not the others; refit finds new ones for the second, as happens where nobody had bought at the first. Other arguments and errors as rfm_table.';
