/*
 * tier: ladders that members climb.
 *
 * First the primitives, which need no tables: the type tier_facts, the
 * aggregates that make it, the state machine, and the replay.  Then the
 * program.
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
'Collects qualifying facts of any table into tier_facts. amount has four decimals; a return is a negative amount with counts_at, the date of its order (NULL: at). Rows with a NULL measure, at or amount are ignored. Needs no ORDER BY; the same bits in any order and with any number of workers.';

CREATE AGGREGATE tier_points_agg(measure text, at timestamptz, points bigint, counts_at timestamptz) (
	SFUNC = tier_points_transfn, STYPE = internal, SSPACE = 512, FINALFUNC = tier_facts_finalfn,
	COMBINEFUNC = tier_facts_combine, SERIALFUNC = tier_facts_serialize, DESERIALFUNC = tier_facts_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE tier_points_agg(text, timestamptz, bigint, timestamptz) IS
'As tier_facts_agg, of whole numbers, and faster.';

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

CREATE FUNCTION ladder_levels(definition jsonb, OUT rank integer, OUT level text, OUT name text) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'loyalty_ladder_levels';
COMMENT ON FUNCTION ladder_levels(jsonb) IS
'The levels of a ladder''s definition, the lowest first. Error: LY401, with what is wrong with it.';

-- ---------------------------------------------------------------------------
-- Program: tables
-- ---------------------------------------------------------------------------

CREATE FUNCTION evaluate_tier() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_evaluate_tier';
COMMENT ON FUNCTION evaluate_tier() IS
'Trigger function (AFTER, FOR EACH ROW): keeps tiers current in the commit of the fact. On the ledger, without arguments (define_ladder() does it). On anybody''s table (INSERT, UPDATE, DELETE), with the names of the member and time columns, then measure=column or measure=number, and counts_at=column for returns. What is updated or deleted is taken back at the date that it counted at.';

CREATE FUNCTION ledger_is_unwatched() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM loyalty.ladder_version v, jsonb_array_elements(v.definition->'measures') d
			JOIN loyalty.tier_measure m ON m.measure = d->>'measure' AND m.source = 'points')
		AND NOT EXISTS (SELECT FROM pg_trigger t
			WHERE t.tgrelid = 'loyalty.ledger'::regclass AND t.tgfoid = 'loyalty.evaluate_tier()'::regprocedure AND t.tgenabled IN ('O', 'A'))
$$;
COMMENT ON FUNCTION ledger_is_unwatched() IS 'Whether a ladder counts points and the ledger lacks the trigger evaluate_tier; part of define_ladder(), setup() and check().';

CREATE FUNCTION watch_facts(source text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- whoever has recorded a fact that no ladder counted has committed now, and
	-- whoever is going to waits, and will know of the ladder
	IF source = 'points' THEN
		LOCK TABLE loyalty.ledger IN SHARE ROW EXCLUSIVE MODE;
		IF loyalty.ledger_is_unwatched() THEN
			-- without WHEN: that would be parsed anew for each posting
			CREATE OR REPLACE TRIGGER evaluate_tier AFTER INSERT ON loyalty.ledger
				FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier();
		END IF;
	ELSE
		LOCK TABLE loyalty.tier_event IN SHARE ROW EXCLUSIVE MODE;
	END IF;
END
$$;
COMMENT ON FUNCTION watch_facts(text) IS
'Waits for transactions that have recorded facts of a source (points or event) that a ladder begins to count, keeps others waiting until commit, and puts the trigger evaluate_tier on the ledger where it is missing. Part of define_ladder() and setup().';

CREATE FUNCTION setup_tier() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.layout l WHERE l.room = 'tier') THEN
		CREATE TABLE loyalty.tier_measure (
			measure text PRIMARY KEY CHECK (measure ~ '^[a-z][a-z0-9_]{0,62}$'),
			source text NOT NULL CHECK (source IN ('points', 'event', 'function')),
			currency text,
			function_name text,
			created_at timestamptz NOT NULL DEFAULT now(),
			CHECK ((source = 'points') = (currency IS NOT NULL)),
			CHECK ((source = 'function') = (function_name IS NOT NULL))
		);
		COMMENT ON TABLE loyalty.tier_measure IS 'What members qualify by; made by define_measure().';
		COMMENT ON COLUMN loyalty.tier_measure.measure IS 'Short name that ladders use.';
		COMMENT ON COLUMN loyalty.tier_measure.source IS 'points: earned in a currency; event: facts in tier_event; function: sampled by evaluate_tiers() into tier_event.';
		COMMENT ON COLUMN loyalty.tier_measure.currency IS 'The currency (points).';
		COMMENT ON COLUMN loyalty.tier_measure.function_name IS 'Name of a function (member_id bigint, as_of timestamptz) returning numeric.';
		COMMENT ON COLUMN loyalty.tier_measure.created_at IS 'When the measure was defined.';
		CREATE TRIGGER forget_cached AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON loyalty.tier_measure
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();

		CREATE TABLE loyalty.ladder (
			ladder text PRIMARY KEY CHECK (ladder ~ '^[a-z][a-z0-9_]{0,62}$'),
			ladder_number integer GENERATED BY DEFAULT AS IDENTITY UNIQUE,
			name text NOT NULL,
			created_at timestamptz NOT NULL DEFAULT now()
		);
		COMMENT ON TABLE loyalty.ladder IS 'Ladders of tiers; made by define_ladder().';
		COMMENT ON COLUMN loyalty.ladder.ladder IS 'Short name that applications use.';
		COMMENT ON COLUMN loyalty.ladder.ladder_number IS 'Number of the ladder.';
		COMMENT ON COLUMN loyalty.ladder.name IS 'Name that people read.';
		COMMENT ON COLUMN loyalty.ladder.created_at IS 'When the ladder was created.';
		CREATE TRIGGER forget_cached AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON loyalty.ladder
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();

		CREATE TABLE loyalty.ladder_version (
			ladder text NOT NULL,
			version integer NOT NULL,
			effective_from timestamptz NOT NULL,
			definition jsonb NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (ladder, version),
			UNIQUE (ladder, effective_from)
		);
		COMMENT ON TABLE loyalty.ladder_version IS 'The definitions of ladders, each in force from an instant on; made by define_ladder(), never changed.';
		COMMENT ON COLUMN loyalty.ladder_version.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.ladder_version.version IS 'Number of the version, from 1.';
		COMMENT ON COLUMN loyalty.ladder_version.effective_from IS 'From when on it is in force; -infinity of the first, usually.';
		COMMENT ON COLUMN loyalty.ladder_version.definition IS 'See define_ladder().';
		COMMENT ON COLUMN loyalty.ladder_version.recorded_at IS 'When the database learned of it.';
		CREATE TRIGGER forget_cached AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON loyalty.ladder_version
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();
		CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.ladder_version
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.append_only();

		CREATE TABLE loyalty.tier_level (
			ladder text NOT NULL,
			version integer NOT NULL,
			rank integer NOT NULL,
			level text NOT NULL,
			name text NOT NULL,
			PRIMARY KEY (ladder, version, rank),
			UNIQUE (ladder, version, level)
		);
		COMMENT ON TABLE loyalty.tier_level IS 'The levels of each version of a ladder, for joins; from its definition.';
		COMMENT ON COLUMN loyalty.tier_level.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.tier_level.version IS 'The version.';
		COMMENT ON COLUMN loyalty.tier_level.rank IS '1 is the lowest.';
		COMMENT ON COLUMN loyalty.tier_level.level IS 'Code of the level.';
		COMMENT ON COLUMN loyalty.tier_level.name IS 'Name that people read.';

		CREATE TABLE loyalty.tier_event (
			member_id bigint NOT NULL,
			event_id bigint GENERATED BY DEFAULT AS IDENTITY,
			measure text NOT NULL,
			at timestamptz NOT NULL,
			counts_at timestamptz NOT NULL,
			amount numeric NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			reference text,
			idempotency_key text,
			PRIMARY KEY (member_id, event_id)
		);
		CREATE UNIQUE INDEX tier_event_idempotency_key ON loyalty.tier_event (member_id, idempotency_key)
			WHERE idempotency_key IS NOT NULL;
		COMMENT ON TABLE loyalty.tier_event IS 'Qualifying facts that are not in the ledger: spend, orders, visits, scores. Append-only.';
		COMMENT ON COLUMN loyalty.tier_event.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_event.event_id IS 'Number of the fact.';
		COMMENT ON COLUMN loyalty.tier_event.measure IS 'What it is an amount of.';
		COMMENT ON COLUMN loyalty.tier_event.at IS 'When it happened in the business.';
		COMMENT ON COLUMN loyalty.tier_event.counts_at IS 'The date it counts at: at, or of a return the date of its order.';
		COMMENT ON COLUMN loyalty.tier_event.amount IS 'How much, with four decimals; negative for a return.';
		COMMENT ON COLUMN loyalty.tier_event.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.tier_event.reference IS 'The caller''s own reference, or the table whose trigger recorded it.';
		COMMENT ON COLUMN loyalty.tier_event.idempotency_key IS 'Unique within a member, for ever.';
		CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loyalty.tier_event
			FOR EACH STATEMENT EXECUTE FUNCTION loyalty.append_only();

		CREATE TABLE loyalty.tier_joined (
			member_id bigint PRIMARY KEY,
			joined_at timestamptz NOT NULL CHECK (isfinite(joined_at))
		);
		COMMENT ON TABLE loyalty.tier_joined IS 'From when on the anniversaries of a member count, where that is not its first fact; written by set_joined().';
		COMMENT ON COLUMN loyalty.tier_joined.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_joined.joined_at IS 'When it joined.';

		CREATE TABLE loyalty.tier_grant (
			member_id bigint NOT NULL,
			grant_id bigint GENERATED BY DEFAULT AS IDENTITY,
			ladder text NOT NULL,
			level text NOT NULL,
			kind text NOT NULL CHECK (kind IN ('manual', 'invited', 'matched', 'paid')),
			starts_at timestamptz NOT NULL,
			ends_at timestamptz,
			period interval,
			fee numeric NOT NULL DEFAULT 0 CHECK (fee >= 0),
			renews_grant_id bigint,
			reason text,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			ended_at timestamptz,
			ended_recorded_at timestamptz,
			refunded numeric,
			end_reason text,
			idempotency_key text,
			PRIMARY KEY (member_id, grant_id),
			CHECK (ends_at IS NULL OR ends_at > starts_at),
			CHECK ((ended_at IS NULL) = (ended_recorded_at IS NULL))
		);
		CREATE UNIQUE INDEX tier_grant_idempotency_key ON loyalty.tier_grant (member_id, idempotency_key)
			WHERE idempotency_key IS NOT NULL;
		COMMENT ON TABLE loyalty.tier_grant IS 'Levels that were granted: each is a floor from its start to its end; written by grant_tier(), renew_grant() and end_grant().';
		COMMENT ON COLUMN loyalty.tier_grant.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_grant.grant_id IS 'Number of the grant.';
		COMMENT ON COLUMN loyalty.tier_grant.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.tier_grant.level IS 'The level granted.';
		COMMENT ON COLUMN loyalty.tier_grant.kind IS 'manual, invited, matched (from another program) or paid.';
		COMMENT ON COLUMN loyalty.tier_grant.starts_at IS 'From when on.';
		COMMENT ON COLUMN loyalty.tier_grant.ends_at IS 'Until when, as granted; NULL: without end.';
		COMMENT ON COLUMN loyalty.tier_grant.period IS 'What renew_grant() adds.';
		COMMENT ON COLUMN loyalty.tier_grant.fee IS 'What was paid for it, for its whole time.';
		COMMENT ON COLUMN loyalty.tier_grant.renews_grant_id IS 'The grant that it follows.';
		COMMENT ON COLUMN loyalty.tier_grant.reason IS 'Why it was granted.';
		COMMENT ON COLUMN loyalty.tier_grant.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.tier_grant.ended_at IS 'When it was ended early.';
		COMMENT ON COLUMN loyalty.tier_grant.ended_recorded_at IS 'When the database learned of that.';
		COMMENT ON COLUMN loyalty.tier_grant.refunded IS 'What of the fee is to be paid back.';
		COMMENT ON COLUMN loyalty.tier_grant.end_reason IS 'Why it was ended.';
		COMMENT ON COLUMN loyalty.tier_grant.idempotency_key IS 'Unique within a member, for ever.';

		CREATE TABLE loyalty.tier_merge (
			absorbed_id bigint NOT NULL,
			merge_id bigint NOT NULL,
			survivor_id bigint NOT NULL CHECK (survivor_id <> absorbed_id),
			merged_at timestamptz NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			unmerged_at timestamptz,
			PRIMARY KEY (absorbed_id, merge_id)
		);
		CREATE UNIQUE INDEX tier_merge_standing ON loyalty.tier_merge (absorbed_id) WHERE unmerged_at IS NULL;
		CREATE INDEX tier_merge_survivor ON loyalty.tier_merge (survivor_id);
		COMMENT ON TABLE loyalty.tier_merge IS 'Merges of members as tiers see them; written by merge_tier() and unmerge_tier().';
		COMMENT ON COLUMN loyalty.tier_merge.absorbed_id IS 'The member whose facts count for another.';
		COMMENT ON COLUMN loyalty.tier_merge.merge_id IS 'Number of the merge, the caller''s.';
		COMMENT ON COLUMN loyalty.tier_merge.survivor_id IS 'The member for whom they count.';
		COMMENT ON COLUMN loyalty.tier_merge.merged_at IS 'From when on, in the business.';
		COMMENT ON COLUMN loyalty.tier_merge.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.tier_merge.unmerged_at IS 'When it was taken back; NULL while it stands.';

		CREATE TABLE loyalty.tier_state (
			member_id bigint NOT NULL,
			ladder text NOT NULL,
			level text,
			earned_level text,
			since timestamptz,
			valid_until timestamptz,
			grace_until timestamptz,
			event_at timestamptz,
			evaluated_at timestamptz,
			next_at timestamptz,
			versions integer,
			changes bigint NOT NULL DEFAULT 0,
			replayed_in bigint,
			merged_into bigint,
			machine bytea,
			PRIMARY KEY (member_id, ladder)
		) WITH (fillfactor = 70);
		CREATE INDEX tier_state_next_at ON loyalty.tier_state (next_at);
		COMMENT ON TABLE loyalty.tier_state IS 'The tier of a member on a ladder as of its last fact, kept by evaluate_tier(). Read it with tier_of(), which is right at any instant.';
		COMMENT ON COLUMN loyalty.tier_state.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_state.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.tier_state.level IS 'The tier at evaluated_at: the better of the earned and the granted level; NULL for none.';
		COMMENT ON COLUMN loyalty.tier_state.earned_level IS 'The earned level at evaluated_at.';
		COMMENT ON COLUMN loyalty.tier_state.since IS 'Since when it is the tier.';
		COMMENT ON COLUMN loyalty.tier_state.valid_until IS 'Until when it holds as things stand; NULL without end.';
		COMMENT ON COLUMN loyalty.tier_state.grace_until IS 'When its grace ends; NULL when it is in none.';
		COMMENT ON COLUMN loyalty.tier_state.event_at IS 'When the last step happened.';
		COMMENT ON COLUMN loyalty.tier_state.evaluated_at IS 'As of when this row is.';
		COMMENT ON COLUMN loyalty.tier_state.next_at IS 'Until then nothing changes without new facts; NULL: never.';
		COMMENT ON COLUMN loyalty.tier_state.versions IS 'How many versions the ladder had.';
		COMMENT ON COLUMN loyalty.tier_state.changes IS 'Rises with each change of the row.';
		COMMENT ON COLUMN loyalty.tier_state.replayed_in IS 'The transaction that last computed it from all facts.';
		COMMENT ON COLUMN loyalty.tier_state.merged_into IS 'The member for whom this one''s facts count.';
		COMMENT ON COLUMN loyalty.tier_state.machine IS 'The state of the replay, packed.';

		CREATE TABLE loyalty.tier_history (
			member_id bigint NOT NULL,
			ladder text NOT NULL,
			ladder_number integer NOT NULL,
			starts_at timestamptz NOT NULL,
			ends_at timestamptz,
			during tstzrange GENERATED ALWAYS AS (tstzrange(starts_at, ends_at)) STORED,
			level text,
			event text NOT NULL,
			reason text NOT NULL,
			valid_until timestamptz,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (member_id, ladder, starts_at),
			CHECK (ends_at > starts_at),
			CONSTRAINT tier_history_no_overlap EXCLUDE USING gist (
				int8range(member_id, member_id, '[]') WITH &&,
				int4range(ladder_number, ladder_number, '[]') WITH &&,
				during WITH &&) DEFERRABLE INITIALLY IMMEDIATE
		);
		COMMENT ON TABLE loyalty.tier_history IS 'The tiers of members in time, as ranges that cannot overlap: one row for each step, up to the last fact or booking. member_tiers() computes them for any instant.';
		COMMENT ON COLUMN loyalty.tier_history.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_history.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.tier_history.ladder_number IS 'Number of the ladder.';
		COMMENT ON COLUMN loyalty.tier_history.starts_at IS 'From when on.';
		COMMENT ON COLUMN loyalty.tier_history.ends_at IS 'Until when, exclusive; NULL: until the next step.';
		COMMENT ON COLUMN loyalty.tier_history.during IS 'starts_at to ends_at.';
		COMMENT ON COLUMN loyalty.tier_history.level IS 'The tier; NULL for none any more.';
		COMMENT ON COLUMN loyalty.tier_history.event IS 'enrolled, upgraded, renewed, grace_started, downgraded, locked or expired.';
		COMMENT ON COLUMN loyalty.tier_history.reason IS 'Why.';
		COMMENT ON COLUMN loyalty.tier_history.valid_until IS 'Until when it held as things stood then.';
		COMMENT ON COLUMN loyalty.tier_history.recorded_at IS 'When this row was written.';

		INSERT INTO loyalty.layout (room, version) VALUES ('tier', 1);
		PERFORM loyalty.register_merge_handler('tier', '{tier_event,tier_grant,tier_history,tier_joined,tier_state}',
			'loyalty.merge_member_tiers', 'loyalty.unmerge_member_tiers', 'loyalty.preview_member_tiers', 'loyalty.forget_member_tiers');
	END IF;
	-- ladders may have come as rows, from a dump without its schema
	IF loyalty.ledger_is_unwatched() THEN
		PERFORM loyalty.watch_facts('points');
	END IF;
END
$$;
COMMENT ON FUNCTION setup_tier() IS 'Creates and migrates the tables of room tier; called by setup().';

-- ---------------------------------------------------------------------------
-- Program: measures and ladders
-- ---------------------------------------------------------------------------

CREATE FUNCTION define_measure(measure text, source text DEFAULT 'event', currency text DEFAULT NULL,
	function_name text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF source = 'points' AND NOT EXISTS (SELECT FROM loyalty.currency c WHERE c.code = define_measure.currency) THEN
		RAISE EXCEPTION 'currency "%" does not exist', currency
			USING ERRCODE = 'LY102', HINT = 'Create it with loyalty.create_currency().';
	END IF;
	IF source = 'function' AND to_regprocedure(format('%s(bigint, timestamptz)', function_name)) IS NULL THEN
		RAISE EXCEPTION 'function "%" does not exist', function_name
			USING ERRCODE = 'LY003', HINT = 'It takes (member_id bigint, as_of timestamptz) and returns numeric; name its schema.';
	END IF;
	INSERT INTO loyalty.tier_measure AS m (measure, source, currency, function_name)
	VALUES (measure, source, currency, function_name);
	RETURN measure;
EXCEPTION
	WHEN unique_violation THEN
		RAISE EXCEPTION 'measure "%" exists already', measure USING ERRCODE = 'LY003';
	WHEN check_violation OR not_null_violation THEN
		RAISE EXCEPTION 'invalid measure "%"', measure
			USING ERRCODE = 'LY003', DETAIL = SQLERRM,
				HINT = 'source points needs currency, function needs function_name; see the comments of loyalty.tier_measure.';
END
$$;
COMMENT ON FUNCTION define_measure(text, text, text, text) IS
'Defines what members can qualify by. source: points (earned or adjusted in a currency, less what is reversed), event (facts recorded by record_qualification() or by evaluate_tier() on a table), function (function_name(member_id, as_of) returning numeric, sampled by evaluate_tiers(); use window latest). Returns the measure. Errors: LY003, LY102.';

CREATE FUNCTION define_ladder(ladder text, definition jsonb, effective_from timestamptz DEFAULT NULL,
	name text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.ladder_version;
	unknown text;
BEGIN
	PERFORM loyalty.ladder_levels(definition);
	SELECT m->>'measure' INTO unknown FROM jsonb_array_elements(definition->'measures') m
	WHERE NOT EXISTS (SELECT FROM loyalty.tier_measure t WHERE t.measure = m->>'measure') LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'measure "%" does not exist', unknown
			USING ERRCODE = 'LY404', HINT = 'Define it with loyalty.define_measure().';
	END IF;
	IF ladder IS NULL OR ladder !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a ladder: "%"', ladder
			USING ERRCODE = 'LY003', HINT = 'Use lower-case letters, digits and underscores.';
	END IF;
	INSERT INTO loyalty.ladder AS l (ladder, name)
	VALUES (ladder, coalesce(name, initcap(replace(ladder, '_', ' '))))
	ON CONFLICT DO NOTHING;
	PERFORM FROM loyalty.ladder l WHERE l.ladder = define_ladder.ladder FOR UPDATE;
	SELECT * INTO last FROM loyalty.ladder_version v WHERE v.ladder = define_ladder.ladder ORDER BY v.version DESC LIMIT 1;
	IF last.version IS NULL THEN
		effective_from := coalesce(effective_from, '-infinity');
	ELSE
		effective_from := coalesce(effective_from, clock_timestamp());
		IF effective_from <= last.effective_from OR effective_from = 'infinity' THEN
			RAISE EXCEPTION 'effective_from must be after the last version''s'
				USING ERRCODE = 'LY003',
					DETAIL = format('It is %s; version %s is in force from %s.', effective_from, last.version, last.effective_from);
		END IF;
	END IF;
	INSERT INTO loyalty.ladder_version AS v (ladder, version, effective_from, definition)
	VALUES (ladder, coalesce(last.version, 0) + 1, effective_from, definition);
	INSERT INTO loyalty.tier_level AS t (ladder, version, rank, level, name)
	SELECT define_ladder.ladder, coalesce(last.version, 0) + 1, x.rank, x.level, x.name FROM loyalty.ladder_levels(definition) x;
	PERFORM loyalty.watch_facts(x.source) FROM (SELECT DISTINCT CASE WHEN m.source = 'points' THEN 'points' ELSE 'event' END AS source
		FROM jsonb_array_elements(definition->'measures') d JOIN loyalty.tier_measure m ON m.measure = d->>'measure' ORDER BY 1 DESC) x;
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION define_ladder(text, jsonb, timestamptz, text) IS
'Defines a ladder, or a new version of it from effective_from on (default: always, of the first; now, of a later one). Returns the version. The definition: {"time_zone", "measures": [{"measure", "window": rolling (with "interval"), month, quarter, year, anniversary, term, lifetime or latest}], "levels" (the lowest first): [{"level", "name", "any" | "all": {measure: threshold} | "need": n, "of": {...} (none: whoever has a fact), "renew": {the same; default: as to reach it}, and of the following what differs}], "validity": forever, interval (with "validity_interval") or period (to the end of the following "period": month, quarter, year or anniversary), "at_end": reassess, soft_landing or never_down, "grace": interval, "minimum": level, "carry_over": boolean, "upgrade": at_once or next_period, "returns": take_back or keep}. Whoever qualifies for more under a new version rises at once; nobody falls before the term ends. All facts recorded before count too: tier_of() knows of them at once, evaluate_tiers() stores what they give. Waits for transactions that are posting, and they for its commit; the first ladder that counts points puts the trigger evaluate_tier on the ledger. Errors: LY401 definition, LY404 measure, LY003.';

-- ---------------------------------------------------------------------------
-- Program: reading
-- ---------------------------------------------------------------------------

CREATE FUNCTION tier_of(member_id bigint, ladder text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_of';
COMMENT ON FUNCTION tier_of(bigint, text, timestamptz, timestamptz) IS
'The tier of a member at an instant (NULL: now), as known at another (NULL: now); NULL for none. Right whether or not any job ever ran. Error: LY402 ladder.';

CREATE FUNCTION member_tiers(member_id bigint, ladder text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT level text, OUT name text, OUT starts_at timestamptz, OUT ends_at timestamptz,
	OUT valid_until timestamptz, OUT event text, OUT reason text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'loyalty_member_tiers';
COMMENT ON FUNCTION member_tiers(bigint, text, timestamptz, timestamptz) IS
'The tiers of a member up to an instant (NULL: now), as known at another (NULL: now): rows as of tier_timeline(), computed from the facts. Error: LY402 ladder.';

CREATE FUNCTION tier_progress(member_id bigint, ladder text DEFAULT NULL, as_of timestamptz DEFAULT NULL,
	OUT ladder text, OUT goal text, OUT level text, OUT measure text, OUT have numeric, OUT needed numeric,
	OUT missing numeric, OUT measures_needed integer, OUT due_at timestamptz) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 4 AS 'MODULE_PATHNAME', 'loyalty_tier_progress';
COMMENT ON FUNCTION tier_progress(bigint, text, timestamptz) IS
'What a member lacks, in each measure: to reach the next level, and to keep the earned one (then have is what will still count at the end of its term); measures_needed of the measures must be met, before due_at (NULL: no end). ladder NULL: on each ladder.';

-- ---------------------------------------------------------------------------
-- Program: writing
-- ---------------------------------------------------------------------------

CREATE FUNCTION insert_tier_event(member_id bigint, measure text, at timestamptz, counts_at timestamptz, amount numeric,
	reference text, idempotency_key text) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_insert_tier_event';
COMMENT ON FUNCTION insert_tier_event(bigint, text, timestamptz, timestamptz, numeric, text, text) IS 'Part of record_qualification().';

CREATE FUNCTION record_qualification(member_id bigint, measure text, amount numeric, at timestamptz DEFAULT statement_timestamp(),
	counts_at timestamptz DEFAULT NULL, reference text DEFAULT NULL, idempotency_key text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier loyalty.tier_event;
BEGIN
	IF member_id IS NULL OR amount IS NULL OR at IS NULL OR amount IN ('NaN', 'Infinity', '-Infinity') THEN
		RAISE EXCEPTION 'member_id, amount and at must be given' USING ERRCODE = 'LY003';
	END IF;
	IF NOT EXISTS (SELECT FROM loyalty.tier_measure m WHERE m.measure = record_qualification.measure AND m.source <> 'points') THEN
		RAISE EXCEPTION 'measure "%" takes no facts', measure
			USING ERRCODE = 'LY404', HINT = 'Define it with loyalty.define_measure(); points are earned with loyalty.earn().';
	END IF;
	IF idempotency_key IS NOT NULL THEN
		PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.tier_event ' || idempotency_key, member_id));
		SELECT * INTO earlier FROM loyalty.tier_event e
		WHERE e.member_id = record_qualification.member_id AND e.idempotency_key = record_qualification.idempotency_key;
		IF FOUND THEN
			IF (earlier.measure, earlier.amount) IS DISTINCT FROM (measure, trim_scale(round(amount, 4))) THEN
				RAISE EXCEPTION 'idempotency key "%" was used for another fact', idempotency_key
					USING ERRCODE = 'LY004', DETAIL = format('It recorded %s of %s.', earlier.amount, earlier.measure),
						HINT = 'Use a new key for a new fact.';
			END IF;
			RETURN false;
		END IF;
	END IF;
	PERFORM loyalty.insert_tier_event(member_id, measure, at, counts_at, amount, reference, idempotency_key);
	RETURN true;
END
$$;
COMMENT ON FUNCTION record_qualification(bigint, text, numeric, timestamptz, timestamptz, text, text) IS
'Records a qualifying fact and brings the tiers up to it in the same commit. counts_at: of a return (amount negative) the date of its order. Returns whether it is new: false for a repeated idempotency_key. Errors: LY404 measure, LY003, LY004.';

CREATE FUNCTION step_tier(machine bytea, evaluated_at timestamptz, versions integer, replayed_in bigint) RETURNS bytea
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_step_tier';
COMMENT ON FUNCTION step_tier(bytea, timestamptz, integer, bigint) IS
'The stored machine one fact further; part of evaluate_tier(), cannot be called by itself.';

CREATE FUNCTION maintain_tier(member_id bigint, ladder text, as_of timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_maintain_tier';
COMMENT ON FUNCTION maintain_tier(bigint, text, timestamptz) IS
'Computes the tier of one member from all its facts and stores it; whether that changed anything. Part of evaluate_tiers().';

CREATE FUNCTION maintain_member(member_id bigint) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.maintain_tier(maintain_member.member_id, l.ladder)
	FROM (SELECT x.ladder FROM loyalty.ladder x ORDER BY x.ladder) l
$$;
COMMENT ON FUNCTION maintain_member(bigint) IS 'maintain_tier() on each ladder.';

CREATE FUNCTION set_joined(member_id bigint, joined_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF member_id IS NULL OR joined_at IS NULL OR NOT isfinite(joined_at) THEN
		RAISE EXCEPTION 'member_id and joined_at must be given, and finite' USING ERRCODE = 'LY003';
	END IF;
	INSERT INTO loyalty.tier_joined AS j (member_id, joined_at) VALUES (member_id, joined_at)
	ON CONFLICT ON CONSTRAINT tier_joined_pkey DO UPDATE SET joined_at = excluded.joined_at;
	PERFORM loyalty.maintain_member(member_id);
END
$$;
COMMENT ON FUNCTION set_joined(bigint, timestamptz) IS
'Sets from when on the anniversaries of a member count; otherwise from its first fact or grant.';

CREATE FUNCTION sample_measures(member_id bigint, ladder text, as_of timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	m record;
	n bigint;
	total bigint := 0;
BEGIN
	FOR m IN SELECT DISTINCT t.measure, to_regprocedure(format('%s(bigint, timestamptz)', t.function_name))::oid::regproc AS fn
		FROM loyalty.ladder_version v, jsonb_array_elements(v.definition->'measures') d
		JOIN loyalty.tier_measure t ON t.measure = d->>'measure' AND t.source = 'function'
		WHERE v.ladder = sample_measures.ladder
	LOOP
		EXECUTE format($q$
			SELECT count(x.done) FROM (SELECT loyalty.insert_tier_event(s.member_id, $1, $2, NULL, s.value, 'sampled', NULL)::text AS done
			FROM (SELECT w.member_id, round(%s(w.member_id, $2), 4) AS value
				FROM (SELECT DISTINCT t.member_id FROM loyalty.tier_state t WHERE $3 IS NULL
					UNION SELECT DISTINCT l.member_id FROM loyalty.wallet l WHERE $3 IS NULL
					UNION SELECT $3 WHERE $3 IS NOT NULL) w) s
			LEFT JOIN LATERAL (SELECT e.amount FROM loyalty.tier_event e
				WHERE e.member_id = s.member_id AND e.measure = $1 ORDER BY e.at DESC, e.event_id DESC LIMIT 1) p ON true
			WHERE s.value IS NOT NULL AND s.value IS DISTINCT FROM p.amount ORDER BY s.member_id OFFSET 0) x$q$, m.fn)
		INTO n USING m.measure, as_of, member_id;
		total := total + n;
	END LOOP;
	RETURN total;
END
$$;
COMMENT ON FUNCTION sample_measures(bigint, text, timestamptz) IS
'Asks the functions behind a ladder''s measures and records what has changed as facts; part of evaluate_tiers().';

CREATE FUNCTION stored_tier_is(facts tier_facts, machine bytea, versions integer, ladder text, as_of timestamptz) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_stored_tier_is';
COMMENT ON FUNCTION stored_tier_is(tier_facts, bytea, integer, text, timestamptz) IS
'Whether a stored state is what a member''s facts give at an instant; part of evaluate_tiers().';

CREATE FUNCTION first_tier(facts tier_facts, ladder text, as_of timestamptz,
	OUT machine bytea, OUT versions integer, OUT event_at timestamptz, OUT evaluated_at timestamptz, OUT next_at timestamptz,
	OUT level text, OUT earned_level text, OUT since timestamptz, OUT valid_until timestamptz, OUT grace_until timestamptz,
	OUT step_starts timestamptz[], OUT step_levels text[], OUT step_events text[], OUT step_reasons text[], OUT step_valid_untils timestamptz[]) RETURNS record
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_first_tier';
COMMENT ON FUNCTION first_tier(tier_facts, text, timestamptz) IS
'What is to be stored of a member of whom nothing is stored yet: the columns of tier_state, and those of tier_history as arrays; part of evaluate_tiers().';

CREATE FUNCTION ladder_facts(ladder text, OUT points boolean, OUT query text) RETURNS record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	-- each measure is a branch of its own, and one scan: a reversal looks up its
	-- entry; that of a redemption gives NULL, which the aggregates ignore
	SELECT bool_and(m.source = 'points'), string_agg(
		CASE WHEN m.source = 'points' THEN format($q$
			SELECT e.member_id, %1$L::text AS measure, e.effective_at AS at,
				CASE e.kind WHEN 'reverse' THEN (SELECT CASE WHEN t.requested > 0 THEN -e.requested ELSE e.requested END FROM loyalty.ledger t
					WHERE t.member_id = e.member_id AND t.entry_id = e.target_entry_id AND t.kind IN ('earn', 'adjust'))
				ELSE e.requested END AS amount,
				CASE e.kind WHEN 'reverse' THEN (SELECT t.effective_at FROM loyalty.ledger t
					WHERE t.member_id = e.member_id AND t.entry_id = e.target_entry_id) END AS counts_at
			FROM loyalty.ledger e
			WHERE e.currency = %2$L AND e.kind IN ('earn', 'adjust', 'reverse')$q$, m.measure, m.currency)
		ELSE format($q$
			SELECT e.member_id, e.measure, e.at, e.amount, e.counts_at FROM loyalty.tier_event e WHERE e.measure = %1$L$q$, m.measure)
		END, ' UNION ALL ')
	FROM (SELECT DISTINCT d->>'measure' AS measure FROM loyalty.ladder_version v, jsonb_array_elements(v.definition->'measures') d
		WHERE v.ladder = $1) used
	JOIN loyalty.tier_measure m ON m.measure = used.measure
$$;
COMMENT ON FUNCTION ladder_facts(text) IS
'The query that reads all facts of a ladder, of members who were never merged, and whether they are points alone; NULL for a ladder without measures. Part of evaluate_tiers().';

CREATE FUNCTION store_first_tiers(ladder text, as_of timestamptz, OUT stored bigint, OUT others bigint[]) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	facts record;
BEGIN
	SELECT * INTO facts FROM loyalty.ladder_facts(ladder);
	-- Members with grants, merges or a date of their own are computed one by one.
	-- Where somebody is faster, with a fact that this statement does not see, the
	-- state is there, and is left.
	EXECUTE format($q$
		WITH alone AS MATERIALIZED (
			SELECT g.member_id FROM loyalty.tier_grant g WHERE g.ladder = $1
			UNION
			SELECT u.member_id FROM loyalty.tier_merge g, LATERAL (VALUES (g.absorbed_id), (g.survivor_id)) u(member_id)
			UNION
			SELECT j.member_id FROM loyalty.tier_joined j
		), differing AS MATERIALIZED (
			SELECT f.member_id, s.member_id IS NULL AS is_first, loyalty.first_tier(CASE WHEN s.member_id IS NULL THEN f.facts END, $1, $2) AS t
			FROM (SELECT x.member_id, %s(x.measure, x.at, x.amount, x.counts_at) AS facts FROM (%s) x GROUP BY x.member_id) f
			LEFT JOIN loyalty.tier_state s ON s.member_id = f.member_id AND s.ladder = $1
			WHERE f.member_id NOT IN (SELECT a.member_id FROM alone a)
				AND (s.member_id IS NULL OR NOT loyalty.stored_tier_is(f.facts, s.machine, s.versions, $1, $2))
		), first AS (
			INSERT INTO loyalty.tier_state (member_id, ladder, level, earned_level, since, valid_until, grace_until, event_at,
				evaluated_at, next_at, versions, replayed_in, machine)
			SELECT d.member_id, $1, (d.t).level, (d.t).earned_level, (d.t).since, (d.t).valid_until, (d.t).grace_until, (d.t).event_at,
				(d.t).evaluated_at, (d.t).next_at, (d.t).versions, $3, (d.t).machine
			FROM differing d WHERE d.is_first
			ON CONFLICT DO NOTHING RETURNING member_id
		), steps AS (
			INSERT INTO loyalty.tier_history (member_id, ladder, ladder_number, starts_at, ends_at, level, event, reason, valid_until)
			SELECT d.member_id, $1, l.ladder_number, p.starts_at, (d.t).step_starts[p.n + 1], p.level, p.event, p.reason, p.valid_until
			FROM first JOIN differing d ON d.member_id = first.member_id
			CROSS JOIN (SELECT x.ladder_number FROM loyalty.ladder x WHERE x.ladder = $1) l
			CROSS JOIN LATERAL unnest((d.t).step_starts, (d.t).step_levels, (d.t).step_events, (d.t).step_reasons, (d.t).step_valid_untils)
				WITH ORDINALITY p(starts_at, level, event, reason, valid_until, n)
		)
		SELECT (SELECT count(*) FROM first), ARRAY(
			SELECT a.member_id FROM alone a
			UNION
			SELECT d.member_id FROM differing d WHERE NOT d.is_first
			UNION
			SELECT s.member_id FROM loyalty.tier_state s WHERE s.ladder = $1 AND (s.next_at <= $2 OR s.machine IS NULL)
			ORDER BY 1)$q$,
		CASE WHEN facts.points THEN 'loyalty.tier_points_agg' ELSE 'loyalty.tier_facts_agg' END,
		coalesce(facts.query, 'SELECT NULL::bigint, NULL::text, NULL::timestamptz, NULL::numeric, NULL::timestamptz WHERE false'))
	INTO stored, others USING ladder, as_of, pg_current_xact_id()::text::bigint;
END
$$;
COMMENT ON FUNCTION store_first_tiers(text, timestamptz) IS
'Stores tiers and histories of all members with facts of whom nothing is stored on a ladder, in one go, and returns how many these were; others: those whose stored tier is, or may be, not what their facts give. Part of evaluate_tiers().';

CREATE FUNCTION check_ladder_exists(ladder text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF ladder IS NULL OR NOT EXISTS (SELECT FROM loyalty.ladder l WHERE l.ladder = check_ladder_exists.ladder) THEN
		RAISE EXCEPTION 'ladder "%" does not exist', ladder
			USING ERRCODE = 'LY402', HINT = 'Create it with loyalty.define_ladder(), or see the table loyalty.ladder.';
	END IF;
END
$$;
COMMENT ON FUNCTION check_ladder_exists(text) IS 'Raises LY402 when there is no such ladder.';

CREATE FUNCTION evaluate_tiers(member_id bigint DEFAULT NULL, ladder text DEFAULT NULL, as_of timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	until CONSTANT timestamptz := coalesce(as_of, clock_timestamp());
	one text;
	n bigint;
	total bigint := 0;
BEGIN
	IF NOT isfinite(until) OR until > clock_timestamp() THEN
		RAISE EXCEPTION 'as_of must be a finite instant that is not in the future'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', until);
	END IF;
	IF ladder IS NOT NULL THEN
		PERFORM loyalty.check_ladder_exists(ladder);
	END IF;
	FOR one IN SELECT l.ladder FROM loyalty.ladder l WHERE evaluate_tiers.ladder IN (l.ladder) OR evaluate_tiers.ladder IS NULL ORDER BY 1 LOOP
		PERFORM loyalty.sample_measures(member_id, one, until);
		IF member_id IS NOT NULL THEN
			n := loyalty.maintain_tier(member_id, one, until)::integer;
		ELSE
			SELECT f.stored + (SELECT count(*) FILTER (WHERE loyalty.maintain_tier(m.member_id, one, until)) FROM unnest(f.others) m(member_id))
			INTO n FROM loyalty.store_first_tiers(one, until) f;
		END IF;
		total := total + n;
	END LOOP;
	RETURN total;
END
$$;
COMMENT ON FUNCTION evaluate_tiers(bigint, text, timestamptz) IS
'Computes the tiers of a member (NULL: of all who have facts) on a ladder (NULL: on each) from the facts, samples measures that are functions, and stores what differs; returns how many states that were. as_of: not in the future (NULL: now). Errors: LY402 ladder, LY003.';

CREATE PROCEDURE book_tiers(as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 1000)
LANGUAGE plpgsql
AS $$
DECLARE
	until CONSTANT timestamptz := coalesce(book_tiers.as_of, pg_catalog.now());
	run loyalty.job_run;
	batch record;
	last_member bigint;
	last_ladder text;
BEGIN
	IF NOT pg_catalog.isfinite(until) OR until OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN
		RAISE EXCEPTION 'as_of must be a finite instant that is not in the future'
			USING ERRCODE = 'LY003', DETAIL = pg_catalog.format('It is %s.', until);
	END IF;
	IF batch_size IS NULL OR batch_size OPERATOR(pg_catalog.<=) 0 THEN
		RAISE EXCEPTION 'batch_size must be positive' USING ERRCODE = 'LY003';
	END IF;
	IF NOT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended('loyalty.book_tiers', 0)) THEN
		RAISE EXCEPTION 'book_tiers is running in another session'
			USING ERRCODE = 'LY006', HINT = 'See the table loyalty.job_run.';
	END IF;
	UPDATE loyalty.job_run j SET status = 'interrupted', finished_at = pg_catalog.clock_timestamp()
	WHERE j.job OPERATOR(pg_catalog.=) 'book_tiers' AND j.status OPERATOR(pg_catalog.=) 'running';
	INSERT INTO loyalty.job_run (job, as_of, unit, total)
	SELECT 'book_tiers', until, 'tiers', pg_catalog.count(*)
	FROM loyalty.tier_state s WHERE s.next_at OPERATOR(pg_catalog.<=) until
	RETURNING * INTO run;
	COMMIT;

	-- what is booked is no longer due, so a stopped run goes on by itself
	LOOP
		SELECT pg_catalog.count(*) AS tiers, pg_catalog.max(d.member_id) AS member_id,
			pg_catalog.max(d.ladder) AS ladder,
			pg_catalog.count(*) FILTER (WHERE loyalty.maintain_tier(d.member_id, d.ladder, until)) AS changed
		INTO batch
		FROM (SELECT s.member_id, s.ladder FROM loyalty.tier_state s
			WHERE s.next_at OPERATOR(pg_catalog.<=) until
				AND (last_member IS NULL OR s.member_id OPERATOR(pg_catalog.>) last_member)
			ORDER BY s.member_id, s.ladder LIMIT batch_size) d;
		EXIT WHEN batch.tiers OPERATOR(pg_catalog.=) 0;
		UPDATE loyalty.job_run j
		SET done = j.done OPERATOR(pg_catalog.+) batch.tiers, updated_at = pg_catalog.clock_timestamp(), last_key = batch.member_id
		WHERE j.run_id OPERATOR(pg_catalog.=) run.run_id;
		COMMIT;
	END LOOP;

	UPDATE loyalty.job_run j
	SET status = 'finished', finished_at = pg_catalog.clock_timestamp(), updated_at = pg_catalog.clock_timestamp(),
		message = pg_catalog.format('%s tiers booked', j.done)
	WHERE j.run_id OPERATOR(pg_catalog.=) run.run_id;
	PERFORM pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('loyalty.book_tiers', 0));
	COMMIT;
END
$$;
COMMENT ON PROCEDURE book_tiers(timestamptz, integer) IS
'Books what the clock did to tiers by as_of (default: now): states and history of those whose next_at has come. No answer of tier_of() changes by it. Commits after each batch_size members; can be stopped at any time; progress is in the table job_run. LY006 when it is running already.';

-- ---------------------------------------------------------------------------
-- Program: grants
-- ---------------------------------------------------------------------------

CREATE FUNCTION grant_tier(member_id bigint, ladder text, level text, kind text DEFAULT 'manual',
	starts_at timestamptz DEFAULT statement_timestamp(), ends_at timestamptz DEFAULT NULL, period interval DEFAULT NULL,
	fee numeric DEFAULT 0, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	renews_grant_id bigint DEFAULT NULL,
	OUT grant_id bigint, OUT valid_until timestamptz, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier loyalty.tier_grant;
	zone text;
	missing text;
BEGIN
	PERFORM loyalty.check_ladder_exists(ladder);
	IF idempotency_key IS NOT NULL THEN
		PERFORM pg_advisory_xact_lock(hashtextextended('loyalty.tier_grant ' || idempotency_key, member_id));
		SELECT * INTO earlier FROM loyalty.tier_grant g
		WHERE g.member_id = grant_tier.member_id AND g.idempotency_key = grant_tier.idempotency_key;
		IF FOUND THEN
			IF (earlier.ladder, earlier.level, earlier.kind, earlier.fee) IS DISTINCT FROM (ladder, level, kind, fee) THEN
				RAISE EXCEPTION 'idempotency key "%" was used for another grant', idempotency_key
					USING ERRCODE = 'LY004', DETAIL = format('It granted %s on %s.', earlier.level, earlier.ladder),
						HINT = 'Use a new key for a new grant.';
			END IF;
			grant_id := earlier.grant_id;
			valid_until := earlier.ends_at;
			replayed := true;
			RETURN;
		END IF;
	END IF;
	IF NOT EXISTS (SELECT FROM loyalty.tier_level t WHERE t.ladder = grant_tier.ladder AND t.level = grant_tier.level) THEN
		RAISE EXCEPTION 'ladder "%" has no level "%"', ladder, level
			USING ERRCODE = 'LY403', HINT = 'See the table loyalty.tier_level.';
	END IF;
	SELECT coalesce(v.definition->>'time_zone', 'UTC') INTO zone FROM loyalty.ladder_version v
	WHERE v.ladder = grant_tier.ladder ORDER BY v.version DESC LIMIT 1;
	-- months and days by the wall clock of the ladder
	valid_until := coalesce(ends_at, (starts_at AT TIME ZONE zone + period) AT TIME ZONE zone);
	missing := CASE WHEN member_id IS NULL THEN 'member_id must be given.'
		WHEN kind IS NULL OR kind NOT IN ('manual', 'invited', 'matched', 'paid') THEN 'kind is manual, invited, matched or paid.'
		WHEN starts_at IS NULL OR NOT isfinite(starts_at) THEN 'starts_at must be a finite instant.'
		WHEN valid_until <= starts_at THEN 'It must end after it starts.'
		WHEN NOT isfinite(valid_until) THEN 'ends_at is finite, or NULL for no end.'
		WHEN fee IS NULL OR fee < 0 OR fee = 'NaN' THEN 'fee must not be negative.'
		WHEN fee > 0 AND kind <> 'paid' THEN 'Only a paid grant has a fee.'
		WHEN kind = 'paid' AND valid_until IS NULL THEN 'A paid grant needs period or ends_at.' END;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION 'invalid grant' USING ERRCODE = 'LY003', DETAIL = missing;
	END IF;
	INSERT INTO loyalty.tier_grant AS g (member_id, ladder, level, kind, starts_at, ends_at, period, fee, renews_grant_id, reason, idempotency_key)
	VALUES (member_id, ladder, level, kind, starts_at, valid_until, period, fee, renews_grant_id, reason, idempotency_key)
	RETURNING g.grant_id INTO grant_id;
	replayed := false;
	PERFORM loyalty.maintain_tier(member_id, ladder);
END
$$;
COMMENT ON FUNCTION grant_tier(bigint, text, text, text, timestamptz, timestamptz, interval, numeric, text, text, bigint) IS
'Grants a level from starts_at to ends_at, or for a period, or (neither) without end: a floor that never shortens what was earned. kind: manual, invited, matched (from another program) or paid, with its fee. Returns the number of the grant, its end, and whether it is the first result of a repeated idempotency_key. Errors: LY402 ladder, LY403 level, LY003, LY004.';

CREATE FUNCTION open_grant(member_id bigint, grant_id bigint,
	OUT of_member_id bigint, OUT number bigint, OUT ladder text, OUT level text, OUT kind text, OUT starts_at timestamptz,
	OUT ends_at timestamptz, OUT period interval, OUT fee numeric) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	g loyalty.tier_grant;
BEGIN
	SELECT * INTO g FROM loyalty.tier_grant t
	WHERE t.member_id = open_grant.member_id AND t.grant_id = open_grant.grant_id FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'member % has no grant %', member_id, grant_id
			USING ERRCODE = 'LY405', HINT = 'See the table loyalty.tier_grant.';
	END IF;
	IF g.ended_at IS NOT NULL THEN
		RAISE EXCEPTION 'grant % was ended', grant_id
			USING ERRCODE = 'LY406', DETAIL = format('It ended at %s.', g.ended_at), HINT = 'Grant the level anew.';
	END IF;
	of_member_id := g.member_id; number := g.grant_id; ladder := g.ladder; level := g.level; kind := g.kind;
	starts_at := g.starts_at; ends_at := g.ends_at; period := g.period; fee := g.fee;
END
$$;
COMMENT ON FUNCTION open_grant(bigint, bigint) IS 'A grant that was not ended early, locked; LY405 or LY406 otherwise. Part of renew_grant() and end_grant().';

CREATE FUNCTION renew_grant(member_id bigint, grant_id bigint, fee numeric DEFAULT NULL, period interval DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	OUT new_grant_id bigint, OUT valid_until timestamptz, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	g record;
BEGIN
	SELECT * INTO g FROM loyalty.open_grant(member_id, grant_id);
	IF g.ends_at IS NULL THEN
		RAISE EXCEPTION 'grant % has no end', grant_id USING ERRCODE = 'LY406', HINT = 'It needs no renewal.';
	END IF;
	SELECT r.grant_id, r.valid_until, r.replayed INTO new_grant_id, valid_until, replayed
	FROM loyalty.grant_tier(member_id => member_id, ladder => g.ladder, level => g.level, kind => g.kind,
		starts_at => g.ends_at, period => coalesce(period, g.period, g.ends_at - g.starts_at), fee => coalesce(fee, g.fee),
		reason => 'renewal', idempotency_key => idempotency_key, renews_grant_id => grant_id) r;
END
$$;
COMMENT ON FUNCTION renew_grant(bigint, bigint, numeric, interval, text) IS
'Grants the same level for one more period (default: the grant''s) from its end on, at a fee (default: the same). Errors: LY405 no such grant, LY406 ended early or without end, LY003, LY004.';

CREATE FUNCTION refund_due(fee numeric, starts_at timestamptz, ends_at timestamptz, at timestamptz, mode text DEFAULT 'pro_rata',
	decimals integer DEFAULT 2) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE mode WHEN 'none' THEN 0 WHEN 'full' THEN fee
	WHEN 'pro_rata' THEN round(fee * extract(epoch FROM ends_at - least(greatest(at, starts_at), ends_at))::numeric
		/ extract(epoch FROM ends_at - starts_at)::numeric, decimals) END;
COMMENT ON FUNCTION refund_due(numeric, timestamptz, timestamptz, timestamptz, text, integer) IS
'What of a fee is to be paid back when its time is ended at an instant: mode full, none, or pro_rata: fee * time left / whole time, rounded to decimals.';

CREATE FUNCTION end_grant(member_id bigint, grant_id bigint, refund text DEFAULT 'none', at timestamptz DEFAULT statement_timestamp(),
	reason text DEFAULT NULL, OUT refunded numeric, OUT ended_at timestamptz) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	g record;
BEGIN
	IF refund IS NULL OR refund NOT IN ('none', 'full', 'pro_rata') OR at IS NULL OR NOT isfinite(at) THEN
		RAISE EXCEPTION 'refund is none, full or pro_rata, and at is a finite instant' USING ERRCODE = 'LY003';
	END IF;
	SELECT * INTO g FROM loyalty.open_grant(member_id, grant_id);
	IF g.ends_at IS NOT NULL AND at >= g.ends_at AND refund <> 'full' THEN
		RAISE EXCEPTION 'grant % has ended', grant_id
			USING ERRCODE = 'LY406', DETAIL = format('It ended at %s.', g.ends_at);
	END IF;
	-- a grant that has not begun never was
	ended_at := greatest(at, g.starts_at);
	refunded := coalesce(loyalty.refund_due(g.fee, g.starts_at, g.ends_at, at, refund), 0);
	UPDATE loyalty.tier_grant t SET ended_at = least(end_grant.ended_at, t.ends_at), ended_recorded_at = clock_timestamp(),
		refunded = end_grant.refunded, end_reason = reason
	WHERE t.member_id = end_grant.member_id AND t.grant_id = end_grant.grant_id;
	PERFORM loyalty.maintain_tier(member_id, g.ladder);
END
$$;
COMMENT ON FUNCTION end_grant(bigint, bigint, text, timestamptz, text) IS
'Ends a grant early, or refunds it: refund none, full, or pro_rata (see refund_due). The tier falls to what was earned. Returns what is to be paid back and when it ended. Errors: LY405 no such grant, LY406 ended, LY003.';

-- ---------------------------------------------------------------------------
-- Program: merges
-- ---------------------------------------------------------------------------

CREATE FUNCTION merge_tier(merge_id bigint, survivor_id bigint, absorbed_id bigint, merged_at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF merge_id IS NULL OR survivor_id IS NULL OR absorbed_id IS NULL OR survivor_id = absorbed_id THEN
		RAISE EXCEPTION 'a merge needs a number and two members' USING ERRCODE = 'LY003';
	END IF;
	INSERT INTO loyalty.tier_merge AS t (absorbed_id, merge_id, survivor_id, merged_at)
	VALUES (absorbed_id, merge_id, survivor_id, coalesce(merged_at, clock_timestamp()));
	PERFORM loyalty.maintain_member(m) FROM unnest(ARRAY[least(survivor_id, absorbed_id), greatest(survivor_id, absorbed_id)]) m;
END
$$;
COMMENT ON FUNCTION merge_tier(bigint, bigint, bigint, timestamptz) IS
'What a merge of members means here: from merged_at (NULL: now) on the survivor has the better of both states (the higher earned level, then the later end) and the facts and grants of both count. Called with the number of the merge; an absorbed member may not be absorbed again while it stands.';

CREATE FUNCTION unmerge_tier(merge_id bigint, root_id bigint DEFAULT NULL, subtree bigint[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	merge loyalty.tier_merge;
BEGIN
	UPDATE loyalty.tier_merge t SET unmerged_at = clock_timestamp()
	WHERE t.merge_id = unmerge_tier.merge_id AND t.unmerged_at IS NULL
	RETURNING * INTO merge;
	IF FOUND THEN
		PERFORM loyalty.maintain_member(m) FROM (SELECT unnest(ARRAY[merge.absorbed_id, merge.survivor_id] || coalesce(root_id, merge.survivor_id)
			|| coalesce(subtree, '{}')) ORDER BY 1) x(m);
	END IF;
END
$$;
COMMENT ON FUNCTION unmerge_tier(bigint, bigint, bigint[]) IS
'Takes a merge out of the facts: both members'' tiers are as if it had never been. root_id and subtree are given by the room that merges; they are not needed.';

-- What room member calls, in the form that it calls.
CREATE FUNCTION merge_member_tiers(merge_id bigint, survivor_id bigint, absorbed_id bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.merge_tier($1, $2, $3);
	RETURN jsonb_build_object('ladders', (SELECT count(*) FROM loyalty.tier_state s WHERE s.member_id = $3));
END
$$;
COMMENT ON FUNCTION merge_member_tiers(bigint, bigint, bigint) IS
'merge_tier(), as merge_members() calls it; returns in how many ladders the absorbed member had a state.';

CREATE FUNCTION unmerge_member_tiers(merge_id bigint, root_id bigint, member_id bigint, subtree bigint[]) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.unmerge_tier($1, $2, $4);
	RETURN jsonb_build_object('ladders', (SELECT count(*) FROM loyalty.tier_state s WHERE s.member_id = $3));
END
$$;
COMMENT ON FUNCTION unmerge_member_tiers(bigint, bigint, bigint, bigint[]) IS
'unmerge_tier(), as unmerge_members() calls it; returns in how many ladders the separated member has a state.';

CREATE FUNCTION tier_if_merged(survivor_id bigint, absorbed_id bigint, ladder text, as_of timestamptz DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_if_merged';
COMMENT ON FUNCTION tier_if_merged(bigint, bigint, text, timestamptz) IS
'The tier that a member would have at an instant (NULL: now), if another were merged into it then. Nothing is written. Error: LY402 ladder.';

CREATE FUNCTION preview_member_tiers(survivor_id bigint, absorbed_id bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_object_agg(t.ladder, jsonb_build_object('survivor', t.survivor, 'absorbed', t.absorbed, 'together', t.together))
	FROM (SELECT l.ladder, loyalty.tier_of($1, l.ladder) AS survivor, loyalty.tier_of($2, l.ladder) AS absorbed,
			loyalty.tier_if_merged($1, $2, l.ladder) AS together
		FROM loyalty.ladder l OFFSET 0) t
	WHERE t.together IS NOT NULL
$$;
COMMENT ON FUNCTION preview_member_tiers(bigint, bigint) IS
'What merge_members() would do to tiers, as preview_merge() shows it: for each ladder the tiers of the survivor, of the absorbed, and the one that they would have together.';

CREATE FUNCTION forget_member_tiers(member_ids bigint[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
AS $$
	UPDATE loyalty.tier_grant g SET reason = NULL, end_reason = NULL
	WHERE g.member_id = ANY ($1) AND (g.reason IS NOT NULL OR g.end_reason IS NOT NULL)
$$;
COMMENT ON FUNCTION forget_member_tiers(bigint[]) IS
'What forget_member() means here: the reasons of grants are deleted. Levels, dates and amounts stay with the number of the member, as the ledger does, and so do references, which are the caller''s.';

-- ---------------------------------------------------------------------------
-- Program: previews
-- ---------------------------------------------------------------------------

CREATE FUNCTION preview_tier(member_id bigint, ladder text, definition jsonb, as_of timestamptz DEFAULT NULL, whole_history boolean DEFAULT false,
	OUT level_now text, OUT rank_now integer, OUT valid_until_now timestamptz,
	OUT level_then text, OUT rank_then integer, OUT valid_until_then timestamptz) RETURNS record
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_preview_tier';
COMMENT ON FUNCTION preview_tier(bigint, text, jsonb, timestamptz, boolean) IS
'The tier of a member on a ladder, and under a new definition of it: in force from as_of on, or (whole_history) as if it had been so always. Nothing is written. Errors: LY401 definition, LY402 ladder.';

CREATE FUNCTION preview_ladder(ladder text, definition jsonb, as_of timestamptz DEFAULT NULL, whole_history boolean DEFAULT false,
	OUT member_id bigint, OUT level_now text, OUT level_then text, OUT move text, OUT valid_until_then timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.member_id, p.level_now, p.level_then,
		CASE WHEN p.rank_now = 0 AND p.rank_then = 0 THEN 'none' WHEN p.rank_now = 0 THEN 'enters' WHEN p.rank_then = 0 THEN 'leaves'
			WHEN p.level_now = p.level_then THEN 'stays'
			WHEN coalesce(n.rank, p.rank_then) > coalesce(o.rank, n.rank, p.rank_now) THEN 'up'
			WHEN p.rank_then > p.rank_now THEN 'up' ELSE 'down' END,
		p.valid_until_then
	FROM loyalty.tier_state s
	CROSS JOIN LATERAL loyalty.preview_tier(s.member_id, $1, $2, $3, $4) p
	LEFT JOIN loyalty.ladder_levels($2) n ON n.level = p.level_then
	LEFT JOIN loyalty.ladder_levels($2) o ON o.level = p.level_now
	WHERE s.ladder = $1 AND s.merged_into IS NULL
$$;
COMMENT ON FUNCTION preview_ladder(text, jsonb, timestamptz, boolean) IS
'Who would move where under a new definition of a ladder: move is enters, up, stays, down, leaves or none. From as_of (NULL: now) on as define_ladder() would do it, where nobody falls before the term ends; or, with whole_history, as if it had been so always, which also shows who would not have climbed. Nothing is written. Errors: LY401 definition, LY402 ladder.';

-- ---------------------------------------------------------------------------
-- Program: proof
-- ---------------------------------------------------------------------------

CREATE FUNCTION tier_problem(member_id bigint, ladder text) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_problem';
COMMENT ON FUNCTION tier_problem(bigint, text) IS
'What is wrong with the stored tier and history of a member, against a replay of all facts; NULL when nothing is.';

CREATE FUNCTION check_tier(OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'state', p.member_id, NULL::text, NULL::bigint, format('%s: %s', p.ladder, p.problem)
	FROM (SELECT s.member_id, s.ladder, loyalty.tier_problem(s.member_id, s.ladder) AS problem FROM loyalty.tier_state s) p
	WHERE p.problem IS NOT NULL
	UNION ALL
	SELECT 'history', h.member_id, NULL, NULL, format('%s: the row from %s ends at %s, the next begins at %s', h.ladder, h.starts_at, h.ends_at, h.next_at)
	FROM (SELECT x.*, lead(x.starts_at) OVER (PARTITION BY x.member_id, x.ladder ORDER BY x.starts_at) AS next_at FROM loyalty.tier_history x) h
	WHERE h.ends_at IS DISTINCT FROM h.next_at
	UNION ALL
	SELECT 'state', h.member_id, NULL, NULL, format('%s: history without a state', h.ladder)
	FROM (SELECT DISTINCT x.member_id, x.ladder FROM loyalty.tier_history x) h
	WHERE NOT EXISTS (SELECT FROM loyalty.tier_state s WHERE s.member_id = h.member_id AND s.ladder = h.ladder)
	UNION ALL
	SELECT 'grant', g.member_id, NULL, NULL, format('grant %s: no level %s on ladder %s', g.grant_id, g.level, g.ladder)
	FROM loyalty.tier_grant g
	WHERE NOT EXISTS (SELECT FROM loyalty.tier_level t WHERE t.ladder = g.ladder AND t.level = g.level)
	UNION ALL
	SELECT 'version', NULL, NULL, NULL, format('%s: version %s is not after the one before it', v.ladder, v.version)
	FROM (SELECT x.*, lag(x.effective_from) OVER (PARTITION BY x.ladder ORDER BY x.version) AS before FROM loyalty.ladder_version x) v
	WHERE v.effective_from <= v.before
	UNION ALL
	SELECT 'trigger', NULL, NULL, NULL, 'a ladder counts points, and the ledger lacks the trigger evaluate_tier; setup() puts it there, evaluate_tiers() makes up for what it missed'
	WHERE loyalty.ledger_is_unwatched()
$$;
COMMENT ON FUNCTION check_tier() IS
'Every invariant of room tier: a row for each violation; part of check(). Stored states and histories are what a replay of all facts gives; histories have no gaps (no overlaps: that is a constraint); the ledger has its trigger once a ladder counts points.';

-- ---------------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION
	evaluate_tier(), watch_facts(text), setup_tier(), define_measure(text, text, text, text), define_ladder(text, jsonb, timestamptz, text),
	insert_tier_event(bigint, text, timestamptz, timestamptz, numeric, text, text),
	record_qualification(bigint, text, numeric, timestamptz, timestamptz, text, text),
	step_tier(bytea, timestamptz, integer, bigint), maintain_tier(bigint, text, timestamptz), maintain_member(bigint), set_joined(bigint, timestamptz),
	sample_measures(bigint, text, timestamptz), store_first_tiers(text, timestamptz), evaluate_tiers(bigint, text, timestamptz),
	grant_tier(bigint, text, text, text, timestamptz, timestamptz, interval, numeric, text, text, bigint),
	open_grant(bigint, bigint), renew_grant(bigint, bigint, numeric, interval, text),
	end_grant(bigint, bigint, text, timestamptz, text), merge_tier(bigint, bigint, bigint, timestamptz),
	unmerge_tier(bigint, bigint, bigint[])
	FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE book_tiers(timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	evaluate_tier(), watch_facts(text), setup_tier(), define_measure(text, text, text, text), define_ladder(text, jsonb, timestamptz, text),
	insert_tier_event(bigint, text, timestamptz, timestamptz, numeric, text, text),
	record_qualification(bigint, text, numeric, timestamptz, timestamptz, text, text),
	step_tier(bytea, timestamptz, integer, bigint), maintain_tier(bigint, text, timestamptz), maintain_member(bigint), set_joined(bigint, timestamptz),
	sample_measures(bigint, text, timestamptz), store_first_tiers(text, timestamptz), evaluate_tiers(bigint, text, timestamptz),
	grant_tier(bigint, text, text, text, timestamptz, timestamptz, interval, numeric, text, text, bigint),
	open_grant(bigint, bigint), renew_grant(bigint, bigint, numeric, interval, text),
	end_grant(bigint, bigint, text, timestamptz, text), merge_tier(bigint, bigint, bigint, timestamptz),
	unmerge_tier(bigint, bigint, bigint[])
	TO @extowner@;
GRANT EXECUTE ON PROCEDURE book_tiers(timestamptz, integer) TO @extowner@;

REVOKE EXECUTE ON FUNCTION merge_member_tiers(bigint, bigint, bigint), unmerge_member_tiers(bigint, bigint, bigint, bigint[]),
	forget_member_tiers(bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION merge_member_tiers(bigint, bigint, bigint), unmerge_member_tiers(bigint, bigint, bigint, bigint[]),
	forget_member_tiers(bigint[]) TO @extowner@;
