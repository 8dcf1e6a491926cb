/*
 * tier: the tables, and the trigger for tables of facts.
 */

CREATE FUNCTION evaluate_tier() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_evaluate_tier';
COMMENT ON FUNCTION evaluate_tier() IS
'Trigger function (AFTER, FOR EACH ROW): keeps tiers current in the commit of the fact. On anybody''s table (INSERT, UPDATE, DELETE), with the names of the member and time columns, then measure=column or measure=number, and counts_at=column for returns. Measures are those of define_measure(), but for points (LY404); of a score (window latest) insert a row for each value. What is updated or deleted is taken back at the date that it counted at.';

CREATE FUNCTION watch_facts(source text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- whoever has recorded a fact that no ladder counted has committed now, and
	-- whoever is going to waits, and will know of the ladder
	PERFORM loyalty.lock_against_writers(CASE source WHEN 'points' THEN 'loyalty.ledger'::regclass ELSE 'loyalty.tier_event' END);
END
$$;
COMMENT ON FUNCTION watch_facts(text) IS
'Waits for transactions that have recorded facts of a source (points or event) that a ladder begins to count, and keeps others waiting until commit. Part of define_ladder().';

CREATE FUNCTION tier_triggers(OUT table_name text, OUT trigger_name text, OUT fired text, OUT level text, OUT function_name text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('tier_measure', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('tier_measure', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached'),
		('ladder', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('ladder', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached'),
		('ladder_version', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('ladder_version', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached'),
		('ladder_version', 'append_only', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'STATEMENT', 'append_only'),
		('tier_event', 'append_only', 'BEFORE DELETE OR UPDATE OR TRUNCATE', 'STATEMENT', 'append_only')
$$;
COMMENT ON FUNCTION tier_triggers() IS 'The triggers of the tables of room tier; see program_triggers().';

CREATE FUNCTION setup_tier(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.tier_measure (
			measure text COLLATE "C" PRIMARY KEY CHECK (measure ~ '^[a-z][a-z0-9_]{0,62}$'),
			source text NOT NULL CHECK (source IN ('points', 'event', 'function')),
			currency text COLLATE "C",
			function_name text,
			pending boolean NOT NULL DEFAULT false,
			created_at timestamptz NOT NULL DEFAULT now(),
			CHECK ((source = 'points') = (currency IS NOT NULL)),
			CHECK (source = 'points' OR NOT pending),
			CHECK ((source = 'function') = (function_name IS NOT NULL))
		);
		COMMENT ON TABLE loyalty.tier_measure IS 'What members qualify by; made by define_measure().';
		COMMENT ON COLUMN loyalty.tier_measure.measure IS 'Short name that ladders use.';
		COMMENT ON COLUMN loyalty.tier_measure.source IS 'points: earned in a currency; event: facts in tier_event; function: sampled by evaluate_tiers() into tier_event.';
		COMMENT ON COLUMN loyalty.tier_measure.currency IS 'The currency (points).';
		COMMENT ON COLUMN loyalty.tier_measure.function_name IS 'Name of a function (member_id bigint, as_of timestamptz) returning a number.';
		COMMENT ON COLUMN loyalty.tier_measure.pending IS 'Whether points count from when they are earned on; otherwise from when they become available on.';
		COMMENT ON COLUMN loyalty.tier_measure.created_at IS 'When the measure was defined.';

		CREATE TABLE loyalty.ladder (
			ladder text COLLATE "C" PRIMARY KEY CHECK (ladder ~ '^[a-z][a-z0-9_]{0,62}$'),
			name text NOT NULL,
			created_at timestamptz NOT NULL DEFAULT now()
		);
		COMMENT ON TABLE loyalty.ladder IS 'Ladders of tiers; made by define_ladder().';
		COMMENT ON COLUMN loyalty.ladder.ladder IS 'Short name that applications use.';
		COMMENT ON COLUMN loyalty.ladder.name IS 'Name that people read.';
		COMMENT ON COLUMN loyalty.ladder.created_at IS 'When the ladder was created.';

		CREATE TABLE loyalty.ladder_version (
			ladder text COLLATE "C" NOT NULL,
			version integer NOT NULL,
			effective_from timestamptz CHECK (isfinite(effective_from)),
			definition jsonb NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (ladder, version),
			UNIQUE (ladder, effective_from)
		);
		COMMENT ON TABLE loyalty.ladder_version IS 'The definitions of ladders, each in force from an instant on; made by define_ladder(), never changed.';
		COMMENT ON COLUMN loyalty.ladder_version.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.ladder_version.version IS 'Number of the version, from 1.';
		COMMENT ON COLUMN loyalty.ladder_version.effective_from IS 'From when on it is in force; NULL is always, of a first version.';
		COMMENT ON COLUMN loyalty.ladder_version.definition IS 'See define_ladder().';
		COMMENT ON COLUMN loyalty.ladder_version.recorded_at IS 'When the database learned of it.';

		CREATE TABLE loyalty.tier_level (
			ladder text COLLATE "C" NOT NULL,
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
			measure text COLLATE "C" NOT NULL,
			at timestamptz NOT NULL CHECK (isfinite(at)),
			counts_at timestamptz NOT NULL CHECK (isfinite(counts_at)),
			amount numeric NOT NULL,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			reference text,
			PRIMARY KEY (member_id, event_id)
		);
		COMMENT ON TABLE loyalty.tier_event IS 'Qualifying facts that are not in the ledger: spend, orders, visits, scores. Append-only.';
		COMMENT ON COLUMN loyalty.tier_event.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_event.event_id IS 'Number of the fact.';
		COMMENT ON COLUMN loyalty.tier_event.measure IS 'What it is an amount of.';
		COMMENT ON COLUMN loyalty.tier_event.at IS 'When it happened in the business.';
		COMMENT ON COLUMN loyalty.tier_event.counts_at IS 'The date it counts at: at, or of a return the date of its order.';
		COMMENT ON COLUMN loyalty.tier_event.amount IS 'How much, with four decimals; negative for a return.';
		COMMENT ON COLUMN loyalty.tier_event.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.tier_event.reference IS 'The caller''s own reference, or the table whose trigger recorded it.';

		CREATE TABLE loyalty.tier_joined (
			member_id bigint NOT NULL,
			joined_at timestamptz NOT NULL CHECK (isfinite(joined_at)),
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (member_id, recorded_at)
		);
		COMMENT ON TABLE loyalty.tier_joined IS 'From when on the anniversaries of a member count, where that is not its first fact; written by set_joined().';
		COMMENT ON COLUMN loyalty.tier_joined.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_joined.joined_at IS 'When it joined.';
		COMMENT ON COLUMN loyalty.tier_joined.recorded_at IS 'When the database learned of it; the last one holds.';

		CREATE TABLE loyalty.tier_grant (
			member_id bigint NOT NULL,
			grant_id bigint GENERATED BY DEFAULT AS IDENTITY,
			ladder text COLLATE "C" NOT NULL,
			level text NOT NULL,
			kind text NOT NULL CHECK (kind IN ('manual', 'invited', 'matched', 'paid', 'awarded')),
			starts_at timestamptz NOT NULL CHECK (isfinite(starts_at)),
			ends_at timestamptz CHECK (isfinite(ends_at)),
			period interval,
			fee numeric NOT NULL DEFAULT 0 CHECK (fee >= 0),
			fee_currency text,
			fee_decimals integer NOT NULL DEFAULT 2,
			renews_grant_id bigint,
			reason text,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			ended_at timestamptz,
			ended_recorded_at timestamptz,
			refunded numeric,
			end_reason text,
			PRIMARY KEY (member_id, grant_id),
			CHECK (ends_at IS NULL OR ends_at > starts_at),
			CHECK ((ended_at IS NULL) = (ended_recorded_at IS NULL))
		);
		COMMENT ON TABLE loyalty.tier_grant IS 'Levels that were granted: each is a floor from its start to its end; written by grant_tier(), renew_grant() and end_grant().';
		COMMENT ON COLUMN loyalty.tier_grant.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_grant.grant_id IS 'Number of the grant.';
		COMMENT ON COLUMN loyalty.tier_grant.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.tier_grant.level IS 'The level granted.';
		COMMENT ON COLUMN loyalty.tier_grant.kind IS 'manual, invited, matched (from another program), paid, or awarded (by a campaign, which is the reason).';
		COMMENT ON COLUMN loyalty.tier_grant.starts_at IS 'From when on.';
		COMMENT ON COLUMN loyalty.tier_grant.ends_at IS 'Until when, as granted; NULL: without end.';
		COMMENT ON COLUMN loyalty.tier_grant.period IS 'What renew_grant() adds.';
		COMMENT ON COLUMN loyalty.tier_grant.fee IS 'What was paid for it, for its whole time.';
		COMMENT ON COLUMN loyalty.tier_grant.fee_currency IS 'Of what money, a code of ISO 4217.';
		COMMENT ON COLUMN loyalty.tier_grant.fee_decimals IS 'How many decimals that has; refunds are rounded to them.';
		COMMENT ON COLUMN loyalty.tier_grant.renews_grant_id IS 'The grant that it follows.';
		COMMENT ON COLUMN loyalty.tier_grant.reason IS 'Why it was granted.';
		COMMENT ON COLUMN loyalty.tier_grant.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.tier_grant.ended_at IS 'When it was ended early.';
		COMMENT ON COLUMN loyalty.tier_grant.ended_recorded_at IS 'When the database learned of that.';
		COMMENT ON COLUMN loyalty.tier_grant.refunded IS 'What of the fee is to be paid back.';
		COMMENT ON COLUMN loyalty.tier_grant.end_reason IS 'Why it was ended.';

		CREATE TABLE loyalty.tier_merge (
			absorbed_id bigint NOT NULL,
			merge_id bigint NOT NULL,
			survivor_id bigint NOT NULL CHECK (survivor_id <> absorbed_id),
			merged_at timestamptz NOT NULL CHECK (isfinite(merged_at)),
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
			ladder text COLLATE "C" NOT NULL,
			level text,
			earned_level text,
			since timestamptz,
			valid_until timestamptz,
			grace_until timestamptz,
			event_at timestamptz,
			next_at timestamptz,
			versions integer,
			replayed_before integer,
			replayed_in bigint,
			merged_into bigint,
			-- last, since each fact changes these and no other
			counted_to bigint,
			evaluated_at timestamptz,
			machine bytea,
			PRIMARY KEY (member_id, ladder)
		) WITH (fillfactor = 70);
		CREATE INDEX tier_state_next_at ON loyalty.tier_state (next_at);
		COMMENT ON TABLE loyalty.tier_state IS 'The tier of a member on a ladder as of its last fact, in whose commit it is kept. Read it with tier_of(), which is right at any instant.';
		COMMENT ON COLUMN loyalty.tier_state.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_state.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.tier_state.level IS 'The tier at evaluated_at: the better of the earned and the granted level; NULL for none.';
		COMMENT ON COLUMN loyalty.tier_state.earned_level IS 'The earned level at evaluated_at.';
		COMMENT ON COLUMN loyalty.tier_state.since IS 'Since when it is the tier.';
		COMMENT ON COLUMN loyalty.tier_state.valid_until IS 'Until when it holds as things stand; NULL without end.';
		COMMENT ON COLUMN loyalty.tier_state.grace_until IS 'When its grace ends; NULL when it is in none.';
		COMMENT ON COLUMN loyalty.tier_state.event_at IS 'When the last step happened.';
		COMMENT ON COLUMN loyalty.tier_state.next_at IS 'Until then nothing changes without new facts; NULL: never.';
		COMMENT ON COLUMN loyalty.tier_state.versions IS 'How many versions the ladder had.';
		COMMENT ON COLUMN loyalty.tier_state.replayed_in IS 'The transaction that last computed it from all facts.';
		COMMENT ON COLUMN loyalty.tier_state.replayed_before IS 'The first command of that transaction whose own facts were not in it.';
		COMMENT ON COLUMN loyalty.tier_state.merged_into IS 'The member for whom this one''s facts count.';
		COMMENT ON COLUMN loyalty.tier_state.counted_to IS 'Entries of the ledger after this one may not be counted here yet: those that change nothing but the progress. NULL: all are.';
		COMMENT ON COLUMN loyalty.tier_state.evaluated_at IS 'As of when this row is.';
		COMMENT ON COLUMN loyalty.tier_state.machine IS 'The state of the replay, packed.';

		CREATE TABLE loyalty.tier_history (
			member_id bigint NOT NULL,
			ladder text COLLATE "C" NOT NULL,
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
			CONSTRAINT tier_history_no_overlap EXCLUDE USING gist (member_id WITH =, ladder WITH =, during WITH &&)
		);
		COMMENT ON TABLE loyalty.tier_history IS 'The tiers of members in time, as ranges that cannot overlap: one row for each step, up to the last fact or booking. member_tiers() computes them for any instant.';
		COMMENT ON COLUMN loyalty.tier_history.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.tier_history.ladder IS 'The ladder.';
		COMMENT ON COLUMN loyalty.tier_history.starts_at IS 'From when on.';
		COMMENT ON COLUMN loyalty.tier_history.ends_at IS 'Until when, exclusive; NULL: until the next step.';
		COMMENT ON COLUMN loyalty.tier_history.during IS 'starts_at to ends_at.';
		COMMENT ON COLUMN loyalty.tier_history.level IS 'The tier; NULL for none any more.';
		COMMENT ON COLUMN loyalty.tier_history.event IS 'enrolled, upgraded, renewed, grace_started, downgraded, locked or expired.';
		COMMENT ON COLUMN loyalty.tier_history.reason IS 'Why.';
		COMMENT ON COLUMN loyalty.tier_history.valid_until IS 'Until when it held as things stood then.';
		COMMENT ON COLUMN loyalty.tier_history.recorded_at IS 'When this row was written.';
	END IF;
	PERFORM loyalty.put_merge_handler('tier', '{tier_event,tier_grant,tier_history,tier_joined,tier_state}',
		'loyalty.merge_member_tiers', 'loyalty.unmerge_member_tiers', 'loyalty.preview_member_tiers', 'loyalty.forget_member_tiers');
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_tier(integer) IS 'Creates and migrates the tables of room tier; called by setup().';

CREATE FUNCTION tier_growing() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{tier_event, tier_state, tier_history}'::text[]
$$;
COMMENT ON FUNCTION tier_growing() IS 'The tables of room tier that grow with members and what they do; see growing_tables(). Part of partition_tables().';
