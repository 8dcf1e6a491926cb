/*
 * cohort: activity by period, retention, repurchase, lifecycle.  Concentration,
 * preferences, funnels and paths have files of their own.
 *
 * One row of orders goes in, at most two steps come out.  activity_agg() makes
 * one small value of each member's events; retention_agg() and
 * repurchase_agg() make one value of all members; functions read both.
 *
 * Aggregates take no defaults and no named arguments in PostgreSQL, so period
 * and time zone are written out there.  A time zone of NULL is the program's.
 * Columns of type date and timestamp become timestamptz by the session's: for
 * them it is current_setting('TimeZone').
 */

/* ---- activity ---- */

CREATE TYPE activity_summary;

CREATE FUNCTION activity_summary_in(cstring) RETURNS activity_summary
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_summary_in';
COMMENT ON FUNCTION activity_summary_in(cstring) IS 'Text input of type activity_summary: reads what activity_summary_out writes.';

CREATE FUNCTION activity_summary_out(activity_summary) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_summary_out';
COMMENT ON FUNCTION activity_summary_out(activity_summary) IS 'Text output of type activity_summary, for dump and restore.';

CREATE FUNCTION activity_summary_recv(internal) RETURNS activity_summary
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_summary_recv';
COMMENT ON FUNCTION activity_summary_recv(internal) IS 'Binary input of type activity_summary; refuses what cannot have been computed.';

CREATE FUNCTION activity_summary_send(activity_summary) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_summary_send';
COMMENT ON FUNCTION activity_summary_send(activity_summary) IS 'Binary output of type activity_summary.';

CREATE TYPE activity_summary (
	INPUT = activity_summary_in,
	OUTPUT = activity_summary_out,
	RECEIVE = activity_summary_recv,
	SEND = activity_summary_send,
	INTERNALLENGTH = variable,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE activity_summary IS
'In which periods (days, weeks, months, ...) a member had events, and how many events: a sparse bitmap of about 40 bytes and 8 for each block of 32 periods. Made by activity_agg, merged by activity_rollup, read by functions. Its own aggregate state, so partial aggregation and stored partials need nothing more.';

CREATE FUNCTION activity_summary_merge(a activity_summary, b activity_summary) RETURNS activity_summary
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_summary_merge';
COMMENT ON FUNCTION activity_summary_merge(activity_summary, activity_summary) IS
'The events of both: the union of their periods, the sum of their numbers. LY341 when periods or time zones differ.';

CREATE FUNCTION activity_agg_trans(state activity_summary, at timestamptz, period text, time_zone text) RETURNS activity_summary
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_agg_trans';
COMMENT ON FUNCTION activity_agg_trans(activity_summary, timestamptz, text, text) IS
'Transition function of activity_agg.';

CREATE FUNCTION activity_agg_final(state activity_summary) RETURNS activity_summary
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_agg_final';
COMMENT ON FUNCTION activity_agg_final(activity_summary) IS
'Final function of activity_agg: the state without spare room.';

CREATE AGGREGATE activity_agg(at timestamptz, period text, time_zone text) (
	SFUNC = activity_agg_trans,
	STYPE = activity_summary,
	SSPACE = 64,
	FINALFUNC = activity_agg_final,
	COMBINEFUNC = activity_summary_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE activity_agg(timestamptz, text, text) IS
'In which periods one member had events; one row for each event. period is day, week (from Monday), sunday week (from Sunday), month, quarter or year, or a multiple such as 2 weeks (counted from Monday 2000-01-03) or 6 months (counted from January of the year 0). time_zone is where days begin, by name; NULL is the program''s. Columns of type date and timestamp become instants by the session''s: give current_setting(''TimeZone'') for them. Rows with a NULL instant count for nothing, and a group of only such rows has an empty summary. Unknown period or zone: LY340; infinite instant: LY342. Exact, the same in any row order and with any number of workers.';

CREATE AGGREGATE activity_rollup(summary activity_summary) (
	SFUNC = activity_summary_merge,
	STYPE = activity_summary,
	SSPACE = 64,
	COMBINEFUNC = activity_summary_merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE activity_rollup(activity_summary) IS
'Merges summaries of one member (of shops, of years, of shards), as activity_agg over all their events would. NULLs are left out. Periods or time zones that differ: LY341.';

CREATE FUNCTION event_count(summary activity_summary) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_event_count';
COMMENT ON FUNCTION event_count(activity_summary) IS
'Number of events.';

CREATE FUNCTION active_periods(summary activity_summary) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_active_periods';
COMMENT ON FUNCTION active_periods(activity_summary) IS
'Number of different periods with events.';

CREATE FUNCTION active_dates(summary activity_summary) RETURNS date[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_active_dates';
COMMENT ON FUNCTION active_dates(activity_summary) IS
'First days of the periods with events, in order; NULL for one before the first date that PostgreSQL knows.';

CREATE FUNCTION first_active(summary activity_summary) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_first_active';
COMMENT ON FUNCTION first_active(activity_summary) IS
'First day of the first period with events; NULL without events.';

CREATE FUNCTION last_active(summary activity_summary) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_last_active';
COMMENT ON FUNCTION last_active(activity_summary) IS
'First day of the last period with events; NULL without events.';

CREATE FUNCTION was_active(summary activity_summary, on_date date) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_was_active';
COMMENT ON FUNCTION was_active(activity_summary, date) IS
'Were there events in the period that holds the date (a date of the time zone that the summary was made with)? False for an infinite date.';

CREATE FUNCTION longest_streak(summary activity_summary) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_longest_streak';
COMMENT ON FUNCTION longest_streak(activity_summary) IS
'Largest number of consecutive periods with events; 0 without events.';

CREATE FUNCTION current_streak(summary activity_summary, on_date date) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_current_streak';
COMMENT ON FUNCTION current_streak(activity_summary, date) IS
'Number of consecutive periods with events up to the one that holds the date. That one may still be running: without events in it, the streak that ended with the period before counts. 0 when neither has events, and for an infinite date.';

CREATE FUNCTION streaks(summary activity_summary, OUT first_period date, OUT last_period date, OUT periods integer) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_streaks';
COMMENT ON FUNCTION streaks(activity_summary) IS
'Every run of consecutive periods with events, in order: the first days of its first and last period, and its length.';

CREATE FUNCTION repurchased_within(summary activity_summary, periods integer, as_of date) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchased_within';
COMMENT ON FUNCTION repurchased_within(activity_summary, integer, date) IS
'Did a second event follow the first within so many periods (days, for a summary by day)? NULL for a member whose first event is fewer periods before as_of, as nothing can be said yet, and without events. So count of it is the number of members that can be judged, and avg of it, cast to integer, their rate. A second event in the same period counts. Negative number of periods: LY003.';

/* ---- retention ---- */

CREATE TYPE cohort_matrix;

CREATE FUNCTION cohort_matrix_in(cstring) RETURNS cohort_matrix
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_matrix_in';
COMMENT ON FUNCTION cohort_matrix_in(cstring) IS 'Text input of type cohort_matrix: reads what cohort_matrix_out writes.';

CREATE FUNCTION cohort_matrix_out(cohort_matrix) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_matrix_out';
COMMENT ON FUNCTION cohort_matrix_out(cohort_matrix) IS 'Text output of type cohort_matrix, for dump and restore.';

CREATE FUNCTION cohort_matrix_recv(internal) RETURNS cohort_matrix
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_matrix_recv';
COMMENT ON FUNCTION cohort_matrix_recv(internal) IS 'Binary input of type cohort_matrix; refuses what cannot have been computed.';

CREATE FUNCTION cohort_matrix_send(cohort_matrix) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_matrix_send';
COMMENT ON FUNCTION cohort_matrix_send(cohort_matrix) IS 'Binary output of type cohort_matrix.';

CREATE TYPE cohort_matrix (
	INPUT = cohort_matrix_in,
	OUTPUT = cohort_matrix_out,
	RECEIVE = cohort_matrix_recv,
	SEND = cohort_matrix_send,
	INTERNALLENGTH = variable,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE cohort_matrix IS
'How many members of each cohort were active in each period after, and how many stayed, came and went from period to period; exact counts. Made by retention_agg and retention_signup_agg, merged by cohort_rollup, read by retention_matrix and activity_growth.';

CREATE FUNCTION tally_combine(a aggregate_state, b aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tally_combine';
COMMENT ON FUNCTION tally_combine(aggregate_state, aggregate_state) IS
'Combine function of the aggregates that make a cohort_matrix or a repurchase.';

CREATE FUNCTION cohort_matrix_final(state aggregate_state) RETURNS cohort_matrix
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tally_final';
COMMENT ON FUNCTION cohort_matrix_final(aggregate_state) IS
'Final function of the aggregates that make a cohort_matrix.';

CREATE FUNCTION retention_agg_trans(state aggregate_state, summary activity_summary) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_agg_trans';
COMMENT ON FUNCTION retention_agg_trans(aggregate_state, activity_summary) IS
'Transition function of retention_agg.';

CREATE FUNCTION retention_signup_trans(state aggregate_state, signup_at timestamptz, summary activity_summary, period text, time_zone text) RETURNS aggregate_state
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_signup_trans';
COMMENT ON FUNCTION retention_signup_trans(aggregate_state, timestamptz, activity_summary, text, text) IS
'Transition function of retention_signup_agg.';

CREATE FUNCTION cohort_rollup_trans(state aggregate_state, cohorts cohort_matrix) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_rollup_trans';
COMMENT ON FUNCTION cohort_rollup_trans(aggregate_state, cohort_matrix) IS
'Transition function of cohort_rollup.';

CREATE AGGREGATE retention_agg(summary activity_summary) (
	SFUNC = retention_agg_trans,
	STYPE = aggregate_state,
	SSPACE = 16384,
	FINALFUNC = cohort_matrix_final,
	COMBINEFUNC = tally_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention_agg(activity_summary) IS
'Retention of cohorts, one row for each member; the cohort of a member is the period of its first event. NULL and empty summaries are left out. Periods or time zones that differ: LY341. Exact, the same in any row order and with any number of workers. NULL over no row, an empty value when no row counts.';

CREATE AGGREGATE retention_signup_agg(signup_at timestamptz, summary activity_summary, period text, time_zone text) (
	SFUNC = retention_signup_trans,
	STYPE = aggregate_state,
	SSPACE = 16384,
	FINALFUNC = cohort_matrix_final,
	COMBINEFUNC = tally_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention_signup_agg(timestamptz, activity_summary, text, text) IS
'Retention of cohorts, one row for each member; the cohort of a member is the period in which it signed up. A member without activity (NULL) counts in the size of its cohort, one without signup_at not at all. Activity before the period of signing up is in no cell of the matrix. period and time_zone as in activity_agg, and the same as there: LY341 otherwise. Infinite signup_at: LY342.';

CREATE FUNCTION retention_events_trans(state aggregate_state, member_id bigint, at timestamptz, period text, time_zone text) RETURNS aggregate_state
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_events_trans';
COMMENT ON FUNCTION retention_events_trans(aggregate_state, bigint, timestamptz, text, text) IS
'Transition function of retention_events_agg.';

CREATE FUNCTION retention_events_combine(a aggregate_state, b aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_events_combine';
COMMENT ON FUNCTION retention_events_combine(aggregate_state, aggregate_state) IS
'Combine function of retention_events_agg.';

CREATE FUNCTION retention_events_final(state aggregate_state) RETURNS cohort_matrix
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_events_final';
COMMENT ON FUNCTION retention_events_final(aggregate_state) IS
'Final function of retention_events_agg.';

CREATE AGGREGATE retention_events_agg(member_id bigint, at timestamptz, period text, time_zone text) (
	SFUNC = retention_events_trans,
	STYPE = aggregate_state,
	SSPACE = 8388608,
	FINALFUNC = retention_events_final,
	COMBINEFUNC = retention_events_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention_events_agg(bigint, timestamptz, text, text) IS
'Retention of cohorts in one step, one row for each event, where members have a number: what retention_agg answers over activity_agg of each member, to the bit, and faster. It holds all members in memory, 40 to 80 bytes for each, 64 periods included; with tens of millions of members group by member instead. Rows with a NULL member or instant are left out. period, time_zone and errors as in activity_agg.';

CREATE AGGREGATE cohort_rollup(cohorts cohort_matrix) (
	SFUNC = cohort_rollup_trans,
	STYPE = aggregate_state,
	SSPACE = 16384,
	FINALFUNC = cohort_matrix_final,
	COMBINEFUNC = tally_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE cohort_rollup(cohort_matrix) IS
'Adds up matrices that were made of different members (of shops, countries, shards). NULLs are left out. Periods or time zones that differ: LY341.';

CREATE FUNCTION retention_matrix(cohorts cohort_matrix, until date DEFAULT NULL, fill boolean DEFAULT true, OUT cohort date, OUT cohort_size bigint, OUT offset_periods integer, OUT period_start date, OUT active bigint, OUT rate numeric, OUT finished boolean) RETURNS SETOF record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_matrix';
COMMENT ON FUNCTION retention_matrix(cohort_matrix, date, boolean) IS
'The cells of a matrix, sorted: for each cohort and each period from its own on, how many of its members were active, and the rate (active / cohort_size). cohort and period_start are first days of periods. Up to the period that holds until; by default up to the last one that has activity or a cohort. finished is false for the period that until (today, say) still lies in, which is not to be compared with the others, and NULL without until. With fill false, only cells in which somebody was active.';

CREATE FUNCTION activity_growth(cohorts cohort_matrix, until date DEFAULT NULL, OUT period_start date, OUT active bigint, OUT new_members bigint, OUT returning_members bigint, OUT kept bigint, OUT won_back bigint, OUT churned bigint, OUT kept_rate numeric, OUT churn_rate numeric, OUT growth_rate numeric, OUT finished boolean) RETURNS SETOF record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_activity_growth';
COMMENT ON FUNCTION activity_growth(cohort_matrix, date) IS
'Period by period: active members; new ones (first event ever) and returning ones (active = new_members + returning_members); of the returning, those kept (active in the period before as well) and those won back (not active in it); churned (active in the period before, not in this one). kept_rate and churn_rate are shares of the members active in the period before, growth_rate is active / active before - 1; NULL when nobody was. Up to the period that holds until; by default up to the last active one. finished is false for the period that until (today, say) still lies in, and NULL without until.';

CREATE FUNCTION growth(current_value numeric, previous_value numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$SELECT current_value / nullif(previous_value, 0) - 1$$;
COMMENT ON FUNCTION growth(numeric, numeric) IS
'current_value / previous_value - 1, for figures of two periods, for example with lag(); NULL when the previous one is 0 or NULL.';

/* ---- repurchase ---- */

CREATE TYPE repurchase;

CREATE FUNCTION repurchase_in(cstring) RETURNS repurchase
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchase_in';
COMMENT ON FUNCTION repurchase_in(cstring) IS 'Text input of type repurchase: reads what repurchase_out writes.';

CREATE FUNCTION repurchase_out(repurchase) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchase_out';
COMMENT ON FUNCTION repurchase_out(repurchase) IS 'Text output of type repurchase, for dump and restore.';

CREATE FUNCTION repurchase_recv(internal) RETURNS repurchase
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchase_recv';
COMMENT ON FUNCTION repurchase_recv(internal) IS 'Binary input of type repurchase; refuses what cannot have been computed.';

CREATE FUNCTION repurchase_send(repurchase) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchase_send';
COMMENT ON FUNCTION repurchase_send(repurchase) IS 'Binary output of type repurchase.';

CREATE TYPE repurchase (
	INPUT = repurchase_in,
	OUTPUT = repurchase_out,
	RECEIVE = repurchase_recv,
	SEND = repurchase_send,
	INTERNALLENGTH = variable,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE repurchase IS
'How many members have how many orders, and how many pairs of consecutive orders are how far apart; exact counts. Made by repurchase_agg, merged by repurchase_rollup, read by functions.';

CREATE FUNCTION repurchase_final(state aggregate_state) RETURNS repurchase
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tally_final';
COMMENT ON FUNCTION repurchase_final(aggregate_state) IS
'Final function of the aggregates that make a repurchase.';

CREATE FUNCTION repurchase_agg_trans(state aggregate_state, summary activity_summary) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchase_agg_trans';
COMMENT ON FUNCTION repurchase_agg_trans(aggregate_state, activity_summary) IS
'Transition function of repurchase_agg.';

CREATE FUNCTION repurchase_rollup_trans(state aggregate_state, summary repurchase) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchase_rollup_trans';
COMMENT ON FUNCTION repurchase_rollup_trans(aggregate_state, repurchase) IS
'Transition function of repurchase_rollup.';

CREATE AGGREGATE repurchase_agg(summary activity_summary) (
	SFUNC = repurchase_agg_trans,
	STYPE = aggregate_state,
	SSPACE = 16384,
	FINALFUNC = repurchase_final,
	COMBINEFUNC = tally_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE repurchase_agg(activity_summary) IS
'Repurchase figures of all members, one row for each member, of summaries with one event for each order. Intervals are counted in periods of the summary, so its period is mostly day; orders of one day are 0 days apart. NULL and empty summaries are left out. Periods or time zones that differ: LY341. NULL over no row, an empty value when no row counts.';

CREATE AGGREGATE repurchase_rollup(summary repurchase) (
	SFUNC = repurchase_rollup_trans,
	STYPE = aggregate_state,
	SSPACE = 16384,
	FINALFUNC = repurchase_final,
	COMBINEFUNC = tally_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE repurchase_rollup(repurchase) IS
'Adds up values that were made of different members. NULLs are left out. Periods or time zones that differ: LY341.';

CREATE FUNCTION buyers(summary repurchase, min_orders integer DEFAULT 1) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_buyers';
COMMENT ON FUNCTION buyers(repurchase, integer) IS
'Number of members with at least so many orders.';

CREATE FUNCTION repurchase_rate(summary repurchase, after_orders integer DEFAULT 1) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_repurchase_rate';
COMMENT ON FUNCTION repurchase_rate(repurchase, integer) IS
'Of the members with at least after_orders orders, the share that has one more: with 1 the repurchase rate, with k the probability of order k + 1 given order k. NULL when there are no such members; fewer than 1: LY003.';

CREATE FUNCTION order_count(summary repurchase) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_order_count';
COMMENT ON FUNCTION order_count(repurchase) IS
'Number of orders of all members.';

CREATE FUNCTION mean_orders(summary repurchase) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_mean_orders';
COMMENT ON FUNCTION mean_orders(repurchase) IS
'Orders per member; NULL without members.';

CREATE FUNCTION mean_interval(summary repurchase) RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_mean_interval';
COMMENT ON FUNCTION mean_interval(repurchase) IS
'Mean distance between consecutive orders of a member, in periods, over all such pairs; NULL without any.';

CREATE FUNCTION interval_percentile(summary repurchase, fraction double precision) RETURNS double precision
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_interval_percentile';
COMMENT ON FUNCTION interval_percentile(repurchase, double precision) IS
'Quantile of the distances between consecutive orders, in periods, interpolated as percentile_cont does (type 7 of Hyndman and Fan, Sample Quantiles in Statistical Packages, 1996); NULL without any. Fraction outside 0 to 1: LY003.';

/* ---- lifecycle ---- */

CREATE FUNCTION lifecycle_stage(summary rfm, as_of timestamptz, policy jsonb DEFAULT '{}', time_zone text DEFAULT 'UTC') RETURNS text
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_lifecycle_stage';
COMMENT ON FUNCTION lifecycle_stage(rfm, timestamptz, jsonb, text) IS
'Stage of a member at an instant, the first of these that holds; days have 24 hours by the clock of the time zone (for a column of type date: the zone that it was read in), bounds are inclusive. prospect: no purchase, or a NULL summary. new: first purchase at most new_days ago. lost: last purchase more than dormant_days ago. dormant: more than at_risk_days ago. at_risk: more than active_days ago. won_back: the last purchase came more than won_back_days after the one before. loyal: loyal_orders purchases or more. active: all others. What the policy leaves out has the default of lifecycle_policy. NULL for a NULL as_of, policy or time_zone. Unfit policy: LY347; as_of infinite or before the last purchase: LY302.';

CREATE FUNCTION lifecycle_policy(
	new_days integer DEFAULT 30,
	active_days integer DEFAULT 90,
	at_risk_days integer DEFAULT 180,
	dormant_days integer DEFAULT 365,
	won_back_days integer DEFAULT 365,
	loyal_orders integer DEFAULT 5
) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('new_days', new_days, 'active_days', active_days, 'at_risk_days', at_risk_days,
		'dormant_days', dormant_days, 'won_back_days', won_back_days, 'loyal_orders', loyal_orders)
$$;
COMMENT ON FUNCTION lifecycle_policy(integer, integer, integer, integer, integer, integer) IS
'A policy for lifecycle_stage, to be stored or passed on. new_days, won_back_days and loyal_orders may be NULL: then nobody is new, won back or loyal. lifecycle_stage checks it.';

/* ---- equality: DISTINCT, GROUP BY and joins on stored values ---- */

CREATE FUNCTION activity_summary_eq(activity_summary, activity_summary) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_eq';
COMMENT ON FUNCTION activity_summary_eq(activity_summary, activity_summary) IS 'Are the two values of type activity_summary equal in everything?';

CREATE FUNCTION activity_summary_ne(activity_summary, activity_summary) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_ne';
COMMENT ON FUNCTION activity_summary_ne(activity_summary, activity_summary) IS 'Do the two values of type activity_summary differ in anything?';

CREATE FUNCTION activity_summary_hash(activity_summary) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash';
COMMENT ON FUNCTION activity_summary_hash(activity_summary) IS 'Hash of a value of type activity_summary, for grouping and hash joins.';

CREATE FUNCTION activity_summary_hash_extended(activity_summary, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash_extended';
COMMENT ON FUNCTION activity_summary_hash_extended(activity_summary, bigint) IS 'Seeded 64-bit hash of a value of type activity_summary, for hash partitioning.';

CREATE OPERATOR = (
	LEFTARG = activity_summary, RIGHTARG = activity_summary, FUNCTION = activity_summary_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR = (activity_summary, activity_summary) IS 'Are the two values of type activity_summary equal in everything?';

CREATE OPERATOR <> (
	LEFTARG = activity_summary, RIGHTARG = activity_summary, FUNCTION = activity_summary_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (activity_summary, activity_summary) IS 'Do the two values of type activity_summary differ in anything?';

CREATE OPERATOR CLASS activity_summary_hash_ops DEFAULT FOR TYPE activity_summary USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 activity_summary_hash(activity_summary),
	FUNCTION 2 activity_summary_hash_extended(activity_summary, bigint);
COMMENT ON OPERATOR CLASS activity_summary_hash_ops USING hash IS 'Hash support of type activity_summary, for GROUP BY, DISTINCT and joins.';

CREATE FUNCTION cohort_matrix_eq(cohort_matrix, cohort_matrix) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_eq';
COMMENT ON FUNCTION cohort_matrix_eq(cohort_matrix, cohort_matrix) IS 'Are the two values of type cohort_matrix equal in everything?';

CREATE FUNCTION cohort_matrix_ne(cohort_matrix, cohort_matrix) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_ne';
COMMENT ON FUNCTION cohort_matrix_ne(cohort_matrix, cohort_matrix) IS 'Do the two values of type cohort_matrix differ in anything?';

CREATE FUNCTION cohort_matrix_hash(cohort_matrix) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash';
COMMENT ON FUNCTION cohort_matrix_hash(cohort_matrix) IS 'Hash of a value of type cohort_matrix, for grouping and hash joins.';

CREATE FUNCTION cohort_matrix_hash_extended(cohort_matrix, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash_extended';
COMMENT ON FUNCTION cohort_matrix_hash_extended(cohort_matrix, bigint) IS 'Seeded 64-bit hash of a value of type cohort_matrix, for hash partitioning.';

CREATE OPERATOR = (
	LEFTARG = cohort_matrix, RIGHTARG = cohort_matrix, FUNCTION = cohort_matrix_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR = (cohort_matrix, cohort_matrix) IS 'Are the two values of type cohort_matrix equal in everything?';

CREATE OPERATOR <> (
	LEFTARG = cohort_matrix, RIGHTARG = cohort_matrix, FUNCTION = cohort_matrix_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (cohort_matrix, cohort_matrix) IS 'Do the two values of type cohort_matrix differ in anything?';

CREATE OPERATOR CLASS cohort_matrix_hash_ops DEFAULT FOR TYPE cohort_matrix USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 cohort_matrix_hash(cohort_matrix),
	FUNCTION 2 cohort_matrix_hash_extended(cohort_matrix, bigint);
COMMENT ON OPERATOR CLASS cohort_matrix_hash_ops USING hash IS 'Hash support of type cohort_matrix, for GROUP BY, DISTINCT and joins.';

CREATE FUNCTION repurchase_eq(repurchase, repurchase) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_eq';
COMMENT ON FUNCTION repurchase_eq(repurchase, repurchase) IS 'Are the two values of type repurchase equal in everything?';

CREATE FUNCTION repurchase_ne(repurchase, repurchase) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_ne';
COMMENT ON FUNCTION repurchase_ne(repurchase, repurchase) IS 'Do the two values of type repurchase differ in anything?';

CREATE FUNCTION repurchase_hash(repurchase) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash';
COMMENT ON FUNCTION repurchase_hash(repurchase) IS 'Hash of a value of type repurchase, for grouping and hash joins.';

CREATE FUNCTION repurchase_hash_extended(repurchase, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_cohort_value_hash_extended';
COMMENT ON FUNCTION repurchase_hash_extended(repurchase, bigint) IS 'Seeded 64-bit hash of a value of type repurchase, for hash partitioning.';

CREATE OPERATOR = (
	LEFTARG = repurchase, RIGHTARG = repurchase, FUNCTION = repurchase_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR = (repurchase, repurchase) IS 'Are the two values of type repurchase equal in everything?';

CREATE OPERATOR <> (
	LEFTARG = repurchase, RIGHTARG = repurchase, FUNCTION = repurchase_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (repurchase, repurchase) IS 'Do the two values of type repurchase differ in anything?';

CREATE OPERATOR CLASS repurchase_hash_ops DEFAULT FOR TYPE repurchase USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 repurchase_hash(repurchase),
	FUNCTION 2 repurchase_hash_extended(repurchase, bigint);
COMMENT ON OPERATOR CLASS repurchase_hash_ops USING hash IS 'Hash support of type repurchase, for GROUP BY, DISTINCT and joins.';
