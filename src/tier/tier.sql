/*
 * tier: ladders that members climb.
 *
 * Here are the primitives, which need no tables: the type tier_facts, the
 * aggregates that make it, the state machine, and the replay.  The program
 * stands in the other files:
 *
 *	tier_check		its invariants
 *	tier_define		measures, ladders, previews of a changed ladder
 *	tier_evaluate	facts, and the tiers that are stored of them
 *	tier_grant		levels that are granted
 *	tier_merge		merged members
 *	tier_points		what entries of the ledger mean
 *	tier_read		tiers as of any instant
 *	tier_setup		tables, and the trigger on the ledger
 */

-- ---------------------------------------------------------------------------
-- tier_facts
-- ---------------------------------------------------------------------------

CREATE TYPE tier_facts;

CREATE FUNCTION tier_facts_in(cstring) RETURNS tier_facts
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_in';
COMMENT ON FUNCTION tier_facts_in(cstring) IS 'Input of tier_facts: its JSON text form.';

CREATE FUNCTION tier_facts_out(tier_facts) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_out';
COMMENT ON FUNCTION tier_facts_out(tier_facts) IS 'Output of tier_facts: its JSON text form, instants in UTC.';

CREATE FUNCTION tier_facts_recv(internal) RETURNS tier_facts
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_recv';
COMMENT ON FUNCTION tier_facts_recv(internal) IS 'Binary input of tier_facts: a version byte and packed fields.';

CREATE FUNCTION tier_facts_send(tier_facts) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_send';
COMMENT ON FUNCTION tier_facts_send(tier_facts) IS 'Binary output of tier_facts.';

CREATE TYPE tier_facts (
	INPUT = tier_facts_in, OUTPUT = tier_facts_out, RECEIVE = tier_facts_recv, SEND = tier_facts_send,
	INTERNALLENGTH = VARIABLE, STORAGE = extended
);
COMMENT ON TYPE tier_facts IS
'The qualifying facts of one member: measure, at, amount, and where it differs the date that it counts at. Text form: a JSON array of such objects. Amounts have four decimals.';

CREATE CAST (tier_facts AS jsonb) WITH INOUT;
COMMENT ON CAST (tier_facts AS jsonb) IS 'The JSON text form of tier_facts as jsonb.';

CREATE FUNCTION tier_facts_transfn(internal, text, timestamptz, numeric, timestamptz) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_transfn';
COMMENT ON FUNCTION tier_facts_transfn(internal, text, timestamptz, numeric, timestamptz) IS 'Transition function of tier_facts_agg.';

CREATE FUNCTION tier_points_transfn(internal, text, timestamptz, bigint, timestamptz) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_points_transfn';
COMMENT ON FUNCTION tier_points_transfn(internal, text, timestamptz, bigint, timestamptz) IS 'Transition function of tier_points_agg.';

CREATE FUNCTION tier_facts_combine(internal, internal) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_combine';
COMMENT ON FUNCTION tier_facts_combine(internal, internal) IS 'Combines two states of tier_facts_agg.';

CREATE FUNCTION tier_facts_serialize(internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_serialize';
COMMENT ON FUNCTION tier_facts_serialize(internal) IS 'A state of tier_facts_agg as bytes.';

CREATE FUNCTION tier_facts_deserialize(bytea, internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_deserialize';
COMMENT ON FUNCTION tier_facts_deserialize(bytea, internal) IS 'A state of tier_facts_agg from bytes.';

CREATE FUNCTION tier_facts_finalfn(internal) RETURNS tier_facts
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_facts_finalfn';
COMMENT ON FUNCTION tier_facts_finalfn(internal) IS 'Final function of tier_facts_agg.';

CREATE AGGREGATE tier_facts_agg(measure text, at timestamptz, amount numeric, counts_at timestamptz) (
	SFUNC = tier_facts_transfn, STYPE = internal, SSPACE = 512, FINALFUNC = tier_facts_finalfn,
	COMBINEFUNC = tier_facts_combine, SERIALFUNC = tier_facts_serialize, DESERIALFUNC = tier_facts_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE tier_facts_agg(text, timestamptz, numeric, timestamptz) IS
'Collects qualifying facts of any table into tier_facts. amount has four decimals; a return is a negative amount with counts_at, the date of its order (NULL: at). Rows with a NULL measure, at or amount are ignored. Needs no ORDER BY; the same bits in any order and with any number of workers. Its state is the rows of a member themselves: no part of it is computed on another machine than the rest, unless that has all of them (GROUP BY the column by which they are distributed).';

CREATE AGGREGATE tier_points_agg(measure text, at timestamptz, points bigint, counts_at timestamptz) (
	SFUNC = tier_points_transfn, STYPE = internal, SSPACE = 512, FINALFUNC = tier_facts_finalfn,
	COMBINEFUNC = tier_facts_combine, SERIALFUNC = tier_facts_serialize, DESERIALFUNC = tier_facts_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE tier_points_agg(text, timestamptz, bigint, timestamptz) IS
'As tier_facts_agg, of whole numbers, and faster. Its state is the rows of a member themselves: no part of it is computed on another machine than the rest, unless that has all of them (GROUP BY the column by which they are distributed).';

-- ---------------------------------------------------------------------------
-- State machine and replay
-- ---------------------------------------------------------------------------

CREATE FUNCTION tier_evaluate(definition jsonb, at timestamptz, level text DEFAULT NULL,
	since timestamptz DEFAULT NULL, valid_until timestamptz DEFAULT NULL, grace_until timestamptz DEFAULT NULL,
	qualified text DEFAULT NULL, renewed text DEFAULT NULL, granted text DEFAULT NULL,
	granted_before text DEFAULT NULL, pending text DEFAULT NULL, pending_at timestamptz DEFAULT NULL,
	joined_at timestamptz DEFAULT NULL,
	OUT tier text, OUT level text, OUT since timestamptz, OUT valid_until timestamptz, OUT grace_until timestamptz,
	OUT pending text, OUT pending_at timestamptz, OUT event text, OUT reason text, OUT happened_at timestamptz,
	OUT next_at timestamptz) RETURNS record
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_evaluate';
COMMENT ON FUNCTION tier_evaluate(jsonb, timestamptz, text, timestamptz, timestamptz, timestamptz, text, text, text, text, text, timestamptz, timestamptz) IS
'One step of the tier state machine: the state (level earned and since when, the end of its term, of its grace, a pending upgrade), the level that is qualified for at an instant, the one whose renewal criteria are met (NULL: the same), the level granted then and before, and a ladder''s definition (see define_ladder). Returns the next state, the tier (the better of earned and granted level), what happened (none, enrolled, upgraded, renewed, grace_started, downgraded, locked, expired), why and when, and when the clock matters next. What is due before at goes first: repeat while next_at is not after at. joined_at: anniversaries count from here (NULL: since). Errors: LY401 definition, LY403 level, LY003 argument.';

CREATE FUNCTION tier_timeline(facts tier_facts, definition jsonb, as_of timestamptz DEFAULT statement_timestamp(),
	OUT level text, OUT name text, OUT starts_at timestamptz, OUT ends_at timestamptz,
	OUT valid_until timestamptz, OUT event text, OUT reason text) RETURNS SETOF record
LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'loyalty_tier_timeline';
COMMENT ON FUNCTION tier_timeline(tier_facts, jsonb, timestamptz) IS
'The tiers of one history under a ladder''s definition, one row for each step up to as_of: from starts_at to, not at, ends_at (NULL: still), how long it was valid then, what happened and why. level NULL: none any more. Between two returns it is as it was known then.';

CREATE FUNCTION tier_at(facts tier_facts, definition jsonb, as_of timestamptz DEFAULT statement_timestamp()) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_at';
COMMENT ON FUNCTION tier_at(tier_facts, jsonb, timestamptz) IS
'The tier of one history under a ladder''s definition at an instant; NULL for none.';

CREATE FUNCTION qualified_level(facts tier_facts, definition jsonb, as_of timestamptz DEFAULT statement_timestamp()) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_qualified_level';
COMMENT ON FUNCTION qualified_level(tier_facts, jsonb, timestamptz) IS
'The highest level whose criteria the facts meet in their windows as of an instant, whatever was held before; NULL for none.';

CREATE FUNCTION read_ladder(definition jsonb) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_read_ladder';
COMMENT ON FUNCTION read_ladder(jsonb) IS 'Answers with the definition of a ladder (see define_ladder); LY401 says what is wrong with it.';

CREATE FUNCTION ladder_levels(definition jsonb, OUT rank integer, OUT level text, OUT name text) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'loyalty_ladder_levels';
COMMENT ON FUNCTION ladder_levels(jsonb) IS
'The levels of a ladder''s definition, the lowest first. Error: LY401, with what is wrong with it.';
