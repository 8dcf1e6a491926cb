/*
 * rule: tables.
 */

CREATE FUNCTION rule_triggers(OUT table_name text, OUT trigger_name text, OUT fired text, OUT level text, OUT function_name text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('campaign_version', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('campaign_version', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached')
$$;
COMMENT ON FUNCTION rule_triggers() IS 'The triggers of the tables of room rule; see program_triggers().';

CREATE FUNCTION setup_rule(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.campaign (
			campaign text COLLATE "C" PRIMARY KEY CHECK (campaign ~ '^[a-z][a-z0-9_]{0,62}$'),
			name text NOT NULL,
			created_at timestamptz NOT NULL DEFAULT now()
		);
		COMMENT ON TABLE loyalty.campaign IS 'Campaigns: what activities earn; made by define_campaign().';
		COMMENT ON COLUMN loyalty.campaign.campaign IS 'Short name that applications use.';
		COMMENT ON COLUMN loyalty.campaign.name IS 'Name that people read.';
		COMMENT ON COLUMN loyalty.campaign.created_at IS 'When it was created.';

		CREATE TABLE loyalty.campaign_version (
			campaign text COLLATE "C" NOT NULL,
			version integer NOT NULL,
			effective_from timestamptz NOT NULL,
			definition jsonb,
			recorded_at timestamptz NOT NULL,
			PRIMARY KEY (campaign, version)
		);
		COMMENT ON TABLE loyalty.campaign_version IS 'Definitions of campaigns, each in force from an instant on; made by define_campaign() and end_campaign(), never changed.';
		COMMENT ON COLUMN loyalty.campaign_version.campaign IS 'The campaign.';
		COMMENT ON COLUMN loyalty.campaign_version.version IS 'Number of the version, from 1.';
		COMMENT ON COLUMN loyalty.campaign_version.effective_from IS 'From when on it is in force; -infinity is always.';
		COMMENT ON COLUMN loyalty.campaign_version.definition IS 'See define_campaign(); NULL: the campaign has ended.';
		COMMENT ON COLUMN loyalty.campaign_version.recorded_at IS 'When the database learned of it; activities that were recorded before know nothing of it.';

		CREATE SEQUENCE loyalty.award_award_id_seq START WITH 64 INCREMENT BY 64;
		COMMENT ON SEQUENCE loyalty.award_award_id_seq IS 'Ids of awards: of each number drawn the 63 before it, and this one.';
		CREATE TABLE loyalty.award (
			member_id bigint NOT NULL,
			award_id bigint NOT NULL DEFAULT nextval('loyalty.award_award_id_seq'),
			activity_id bigint NOT NULL,
			revision integer NOT NULL,
			at timestamptz NOT NULL,
			local_day date NOT NULL,
			campaign text COLLATE "C" NOT NULL,
			version integer NOT NULL,
			effect integer NOT NULL,
			kind text NOT NULL,
			currency text,
			points bigint NOT NULL,
			wanted bigint NOT NULL,
			limited_by text,
			kept_because text,
			cause text COLLATE "C",
			window_start date,
			entry_id bigint,
			of_entry_id bigint,
			wallet_id bigint,
			item text,
			item_id bigint,
			inputs jsonb,
			reason text,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (member_id, activity_id, award_id)
		);
		ALTER SEQUENCE loyalty.award_award_id_seq OWNED BY loyalty.award.award_id;
		CREATE INDEX award_window ON loyalty.award (member_id, campaign, window_start) WHERE window_start IS NOT NULL;
		CREATE INDEX award_cause ON loyalty.award (member_id, cause) WHERE cause IS NOT NULL;
		COMMENT ON TABLE loyalty.award IS 'What activities earned, by campaigns: one row for each difference; what an award holds is their sum. Append-only. Read it with awards().';
		COMMENT ON COLUMN loyalty.award.member_id IS 'The member, under the number under which the activity stands.';
		COMMENT ON COLUMN loyalty.award.award_id IS 'Number of the row; those of a member rise in the order of decisions.';
		COMMENT ON COLUMN loyalty.award.activity_id IS 'The activity that earned it, or changed it; 0: something else that happened, see cause.';
		COMMENT ON COLUMN loyalty.award.revision IS 'The revision of the activity that made the difference.';
		COMMENT ON COLUMN loyalty.award.at IS 'When the activity happened, as it was when this was decided.';
		COMMENT ON COLUMN loyalty.award.local_day IS 'The day in whose periods limits count it.';
		COMMENT ON COLUMN loyalty.award.campaign IS 'The campaign.';
		COMMENT ON COLUMN loyalty.award.version IS 'The version of it that decided.';
		COMMENT ON COLUMN loyalty.award.effect IS 'Number of the effect in the definition, from 1.';
		COMMENT ON COLUMN loyalty.award.kind IS 'points, or what else it gives: coupon, grant, message and what other rooms have.';
		COMMENT ON COLUMN loyalty.award.currency IS 'Currency of points; NULL: it is no points.';
		COMMENT ON COLUMN loyalty.award.points IS 'Points given, or taken back; of what is no points 1 or -1. 0: a limit left nothing, limits count it elsewhere from now on, or what should have been taken back was kept.';
		COMMENT ON COLUMN loyalty.award.wanted IS 'What the whole award would be without limits.';
		COMMENT ON COLUMN loyalty.award.limited_by IS 'The limit by which it is less: award, total, depth, member_day and the like, the name of a limit, holdout (a trial holds the member out), or what the room says that has it: coupon_member, coupon_total, coupon_codes, coupon_version.';
		COMMENT ON COLUMN loyalty.award.kept_because IS 'Why what should have been taken back was not: redeemed, transferred.';
		COMMENT ON COLUMN loyalty.award.cause IS 'What happened, of an award that no activity earned by itself: tier_changed, the ladder, the level, and when.';
		COMMENT ON COLUMN loyalty.award.window_start IS 'First day of the window, of a campaign that decides over one.';
		COMMENT ON COLUMN loyalty.award.entry_id IS 'The entry of the ledger that posted it.';
		COMMENT ON COLUMN loyalty.award.of_entry_id IS 'Of points taken back: the entry that had given them.';
		COMMENT ON COLUMN loyalty.award.wallet_id IS 'Whose wallet has the entry, of points that went to the household; NULL: the member''s own.';
		COMMENT ON COLUMN loyalty.award.item IS 'What is given beside points: which coupon, level or message.';
		COMMENT ON COLUMN loyalty.award.item_id IS 'Number of what was given, such as that of the coupon; NULL: it has none.';
		COMMENT ON COLUMN loyalty.award.inputs IS 'What was known of the member when it was decided, as far as the campaign asks; decides again when the activity changes.';
		COMMENT ON COLUMN loyalty.award.reason IS 'Why it was decided anew, as reapply_campaign() was told; NULL: it was decided with the activity.';
		COMMENT ON COLUMN loyalty.award.recorded_at IS 'When it was decided.';

		CREATE TABLE loyalty.award_state (
			member_id bigint PRIMARY KEY,
			decisions bigint NOT NULL
		) WITH (fillfactor = 80);
		COMMENT ON TABLE loyalty.award_state IS 'One row for each member with awards: decisions lock it, so that each sees what the one before gave.';
		COMMENT ON COLUMN loyalty.award_state.member_id IS 'The member.';
		COMMENT ON COLUMN loyalty.award_state.decisions IS 'How many decisions there were.';

		CREATE TABLE loyalty.award_counter (
			member_id bigint NOT NULL,
			counter text COLLATE "C" NOT NULL,
			period date NOT NULL,
			used bigint NOT NULL,
			PRIMARY KEY (member_id, counter, period)
		) WITH (fillfactor = 80);
		COMMENT ON TABLE loyalty.award_counter IS 'What limits by member have counted, by period; check_rule() counts again.';
		COMMENT ON COLUMN loyalty.award_counter.member_id IS 'The member, under the number that its awards have.';
		COMMENT ON COLUMN loyalty.award_counter.counter IS 'The limit: its name, or campaign and period.';
		COMMENT ON COLUMN loyalty.award_counter.period IS 'First day of the period; of a lifetime 2000-01-01.';
		COMMENT ON COLUMN loyalty.award_counter.used IS 'Points that are held, or activities with an award.';
	END IF;
	PERFORM loyalty.put_merge_handler('rule', '{award,award_state,award_counter}', NULL, NULL, NULL, 'loyalty.forget_awards');
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_rule(integer) IS 'Creates and migrates the tables of room rule; called by setup().';

CREATE FUNCTION rule_growing() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{award_state, award_counter, award}'::text[]
$$;
COMMENT ON FUNCTION rule_growing() IS 'The tables of room rule that grow with members and what they do; see growing_tables(). Part of partition_tables().';
