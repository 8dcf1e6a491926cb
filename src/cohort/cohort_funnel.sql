/*
 * Funnels and paths.
 */

CREATE FUNCTION window_funnel_trans(state internal, within interval, mode text, at timestamptz, VARIADIC conditions boolean[]) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_window_funnel_trans';
COMMENT ON FUNCTION window_funnel_trans(internal, interval, text, timestamptz, VARIADIC boolean[]) IS
'Transition function of window_funnel_agg.';

CREATE FUNCTION window_funnel_combine(a internal, b internal) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_window_funnel_combine';
COMMENT ON FUNCTION window_funnel_combine(internal, internal) IS
'Combine function of window_funnel_agg and funnel_agg.';

CREATE FUNCTION window_funnel_serialize(state internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_window_funnel_serialize';
COMMENT ON FUNCTION window_funnel_serialize(internal) IS
'Serialization of window_funnel_agg and funnel_agg.';

CREATE FUNCTION window_funnel_deserialize(bytes bytea, state internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_window_funnel_deserialize';
COMMENT ON FUNCTION window_funnel_deserialize(bytea, internal) IS
'Deserialization of window_funnel_agg and funnel_agg.';

CREATE FUNCTION window_funnel_final(state internal) RETURNS integer
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_window_funnel_final';
COMMENT ON FUNCTION window_funnel_final(internal) IS
'Final function of window_funnel_agg.';

CREATE AGGREGATE window_funnel_agg(within interval, mode text, at timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = window_funnel_trans,
	STYPE = internal,
	SSPACE = 256,
	FINALFUNC = window_funnel_final,
	COMBINEFUNC = window_funnel_combine,
	SERIALFUNC = window_funnel_serialize,
	DESERIALFUNC = window_funnel_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE window_funnel_agg(interval, text, timestamptz, VARIADIC boolean[]) IS
'How far one member went through a funnel: the largest number of conditions, from the first on, that events met one after the other, all at most within after the first; the semantics that ClickHouse documents for windowFunnel (SQL reference, Parametric aggregate functions). mode is NULL or a list of: strict_deduplication (a condition beyond the first that was met before ends the search), strict_order (once a chain has begun, an event that does not take it on ends the search, unless it repeats a condition beyond the first that the chain has met, or begins the chain anew while only the first is met; a chain whose window is over ends no search, the first condition may begin another), strict_increase (only events with strictly growing instants), strict_once (an event counts for one condition only), allow_reentry (with strict_order: events that meet some condition out of turn are passed over; one that meets none still ends the search). Events of one instant count in the order of the conditions, so row order never matters. within has a fixed length: days of 24 hours, no months. NULL instants are left out, NULL conditions are false. Unfit window or mode, more than 32 conditions: LY345; arguments that vary: LY344; infinite instant: LY342. Its state is the rows of a member themselves: no part of it is computed on another machine than the rest, unless that has all of them (GROUP BY the column by which they are distributed).';

CREATE TYPE funnel AS (level integer, first_at timestamptz, last_at timestamptz, took interval, steps timestamptz[]);
COMMENT ON TYPE funnel IS
'How far a member came: the number of steps made, the instants of the first and the last of them, the time between the two (the time to convert, where level is the number of conditions; in days of 24 hours), and the instant of each step in the order of the conditions, NULL for one that was not made.';

CREATE FUNCTION funnel_trans(state internal, within interval, mode text, at timestamptz, excludes boolean, VARIADIC conditions boolean[]) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_funnel_trans';
COMMENT ON FUNCTION funnel_trans(internal, interval, text, timestamptz, boolean, VARIADIC boolean[]) IS
'Transition function of funnel_agg.';

CREATE FUNCTION funnel_final(state internal) RETURNS funnel
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_funnel_final';
COMMENT ON FUNCTION funnel_final(internal) IS
'Final function of funnel_agg.';

CREATE AGGREGATE funnel_agg(within interval, mode text, at timestamptz, excludes boolean, VARIADIC conditions boolean[]) (
	SFUNC = funnel_trans,
	STYPE = internal,
	SSPACE = 256,
	FINALFUNC = funnel_final,
	COMBINEFUNC = window_funnel_combine,
	SERIALFUNC = window_funnel_serialize,
	DESERIALFUNC = window_funnel_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE funnel_agg(interval, text, timestamptz, boolean, VARIADIC boolean[]) IS
'How far one member went through a funnel, and when it made which step: as window_funnel_agg, with instants, exclusions and steps in any order. Steps are conditions that events meet, all at most within after the first of them. mode: NULL (each step at the instant of the one before, or later), strict_increase (later), any_order (the largest number of different steps, whichever comes first). excludes: an event between the first and the last step, at neither''s instant, for which it is true breaks them apart: no step before it counts together with one behind it. Of several ways to make as many steps the result is the one complete first, and of those the one that began last. within, NULLs and errors as in window_funnel_agg; at most 31 conditions. Its state is the rows of a member themselves: no part of it is computed on another machine than the rest, unless that has all of them (GROUP BY the column by which they are distributed).';

CREATE FUNCTION sequence_trans(state internal, pattern text, at timestamptz, VARIADIC conditions boolean[]) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_sequence_trans';
COMMENT ON FUNCTION sequence_trans(internal, text, timestamptz, VARIADIC boolean[]) IS
'Transition function of sequence_match_agg and sequence_count_agg.';

CREATE FUNCTION sequence_combine(a internal, b internal) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_sequence_combine';
COMMENT ON FUNCTION sequence_combine(internal, internal) IS
'Combine function of sequence_match_agg and sequence_count_agg.';

CREATE FUNCTION sequence_serialize(state internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_sequence_serialize';
COMMENT ON FUNCTION sequence_serialize(internal) IS
'Serialization of sequence_match_agg and sequence_count_agg.';

CREATE FUNCTION sequence_deserialize(bytes bytea, state internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_sequence_deserialize';
COMMENT ON FUNCTION sequence_deserialize(bytea, internal) IS
'Deserialization of sequence_match_agg and sequence_count_agg.';

CREATE FUNCTION sequence_match_final(state internal) RETURNS boolean
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_sequence_match_final';
COMMENT ON FUNCTION sequence_match_final(internal) IS
'Final function of sequence_match_agg.';

CREATE FUNCTION sequence_count_final(state internal) RETURNS bigint
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_sequence_count_final';
COMMENT ON FUNCTION sequence_count_final(internal) IS
'Final function of sequence_count_agg.';

CREATE AGGREGATE sequence_match_agg(pattern text, at timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = sequence_trans,
	STYPE = internal,
	SSPACE = 256,
	FINALFUNC = sequence_match_final,
	COMBINEFUNC = sequence_combine,
	SERIALFUNC = sequence_serialize,
	DESERIALFUNC = sequence_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE sequence_match_agg(text, timestamptz, VARIADIC boolean[]) IS
'Do the events of one member hold a chain that matches the pattern? The semantics that ClickHouse documents for sequenceMatch (SQL reference, Parametric aggregate functions): (?N) is an event that meets condition N, . any event, .* any number of events, (?t<=60) bounds the seconds between the events around it, with any events between them (operators >=, >, <, <=, ==; several all hold). Only events that meet a condition take part; events of one instant stand in the order of the conditions they meet. NULL instants are left out, NULL conditions are false. Unreadable pattern: LY346; more than 32 conditions: LY345; arguments that vary: LY344; infinite instant: LY342. Its state is the rows of a member themselves: no part of it is computed on another machine than the rest, unless that has all of them (GROUP BY the column by which they are distributed).';

CREATE AGGREGATE sequence_count_agg(pattern text, at timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = sequence_trans,
	STYPE = internal,
	SSPACE = 256,
	FINALFUNC = sequence_count_final,
	COMBINEFUNC = sequence_combine,
	SERIALFUNC = sequence_serialize,
	DESERIALFUNC = sequence_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE sequence_count_agg(text, timestamptz, VARIADIC boolean[]) IS
'How many chains that match the pattern, without overlap, do the events of one member hold? The semantics that ClickHouse documents for sequenceCount: the search for the next chain begins behind the event that completed the last. (?N) is an event that meets condition N, . any event, .* any number of events, (?t<=60) bounds the seconds between the events around it, with any events between them (operators >=, >, <, <=, ==; several all hold). Only events that meet a condition take part; events of one instant stand in the order of the conditions they meet. NULL instants are left out, NULL conditions are false. Unreadable pattern: LY346; more than 32 conditions: LY345; arguments that vary: LY344; infinite instant: LY342. Its state is the rows of a member themselves: no part of it is computed on another machine than the rest, unless that has all of them (GROUP BY the column by which they are distributed).';

CREATE FUNCTION retention_trans(state bigint, VARIADIC conditions boolean[]) RETURNS bigint
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_trans';
COMMENT ON FUNCTION retention_trans(bigint, VARIADIC boolean[]) IS
'Transition function of retention.';

CREATE FUNCTION retention_combine(a bigint, b bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_combine';
COMMENT ON FUNCTION retention_combine(bigint, bigint) IS
'Combine function of retention.';

CREATE FUNCTION retention_final(state bigint) RETURNS boolean[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_retention_final';
COMMENT ON FUNCTION retention_final(bigint) IS
'Final function of retention.';

CREATE AGGREGATE retention(VARIADIC conditions boolean[]) (
	SFUNC = retention_trans,
	STYPE = bigint,
	FINALFUNC = retention_final,
	COMBINEFUNC = retention_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE retention(VARIADIC boolean[]) IS
'Which conditions did the rows of one member meet? The first element tells it of the first condition, each further one whether both the first and that one were met: the semantics that ClickHouse documents for retention. NULL conditions are false; NULL without rows. Fewer than 1 or more than 32 conditions: LY345; a number that varies: LY344.';
