/*
 * rule: campaigns, and what they gave.
 */

CREATE FUNCTION campaign_totals(definition jsonb, OUT what text, OUT total bigint) RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT w, ($1 #>> ARRAY['limits', 'total', w])::bigint FROM unnest(ARRAY['points', 'times']) w WHERE $1 #>> ARRAY['limits', 'total', w] IS NOT NULL
$$;
COMMENT ON FUNCTION campaign_totals(jsonb) IS 'The limits of a definition for all members together. Part of define_campaign().';

CREATE FUNCTION store_campaign_version(campaign text, definition jsonb, effective_from timestamptz) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.campaign_version;
	t record;
	before bigint;
BEGIN
	IF effective_from = 'infinity' THEN
		RAISE EXCEPTION 'effective_from must be finite'
			USING ERRCODE = 'LY003', DETAIL = 'A version is in force from an instant on.', HINT = 'Leave it out for now.';
	END IF;
	SELECT * INTO last FROM loyalty.campaign_version v WHERE v.campaign = store_campaign_version.campaign ORDER BY v.version DESC LIMIT 1;
	effective_from := coalesce(effective_from, clock_timestamp());
	IF last.definition IS NOT DISTINCT FROM definition AND last.effective_from <= effective_from THEN
		RETURN last.version;
	END IF;
	IF last.effective_from > effective_from THEN
		RAISE EXCEPTION 'campaign "%" has a version that begins later', campaign
			USING ERRCODE = 'LY523', DETAIL = format('Version %s begins at %s, the new one would at %s.', last.version, last.effective_from, effective_from),
				HINT = 'A new version begins with the last one or after it; what was promised stays.';
	END IF;
	FOR t IN SELECT n.what, n.total, format('campaign/%s/%s', campaign, n.what) AS escrow FROM loyalty.campaign_totals(definition) n ORDER BY 1 LOOP
		-- a total that was there before, in whichever version, keeps what it counted
		SELECT l.total INTO before FROM loyalty.campaign_version v, loyalty.campaign_totals(v.definition) l
		WHERE v.campaign = store_campaign_version.campaign AND l.what = t.what ORDER BY v.version DESC LIMIT 1;
		IF NOT FOUND THEN
			PERFORM loyalty.open_escrow(t.escrow, t.total);
		ELSIF t.total <> before THEN
			PERFORM loyalty.change_escrow(t.escrow, t.total - before);
		END IF;
	END LOOP;
	INSERT INTO loyalty.campaign_version (campaign, version, effective_from, definition, recorded_at)
	VALUES (campaign, coalesce(last.version, 0) + 1, effective_from, definition, clock_timestamp());
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION store_campaign_version(text, jsonb, timestamptz) IS 'Adds a version of a campaign, while nobody else decides or defines; returns its number. Part of define_campaign() and end_campaign(). Errors: LY003, LY523.';

CREATE FUNCTION define_campaign(campaign text, definition jsonb, effective_from timestamptz DEFAULT NULL, name text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	w record;
BEGIN
	IF campaign IS NULL OR campaign !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a campaign: "%"', campaign
			USING ERRCODE = 'LY003', DETAIL = 'A name has up to 63 characters and begins with a letter.',
				HINT = 'Use lower-case letters, digits and underscores.';
	END IF;
	IF definition IS NULL THEN
		RAISE EXCEPTION 'definition must not be NULL'
			USING ERRCODE = 'LY003', DETAIL = 'A campaign is made of its definition.', HINT = 'To end a campaign, call loyalty.end_campaign().';
	END IF;
	PERFORM loyalty.require_campaign(campaign, definition);
	-- whoever decides has committed now, and who decides or defines after this knows of it
	PERFORM loyalty.lock_against_writers('loyalty.activity');
	PERFORM loyalty.require_campaign(campaign, definition);
	FOR w IN SELECT c.path, c.problem FROM loyalty.check_campaign(definition) c LOOP
		RAISE WARNING 'campaign "%": % %', campaign, w.path, w.problem;
	END LOOP;
	IF effective_from IS NULL AND jsonb_typeof(definition #> '{between,0}') = 'string'
		AND NOT EXISTS (SELECT FROM loyalty.campaign_version v WHERE v.campaign = define_campaign.campaign)
		AND (definition #>> '{between,0}')::timestamp AT TIME ZONE (SELECT p.time_zone FROM loyalty.program p) < clock_timestamp() THEN
		RAISE WARNING 'campaign "%": what has happened since % earns nothing by it, since it is in force from now on', campaign, definition #>> '{between,0}'
			USING HINT = 'Give effective_from, if it shall.';
	END IF;
	INSERT INTO loyalty.campaign AS c (campaign, name)
	VALUES (campaign, coalesce(name, initcap(replace(campaign, '_', ' '))))
	ON CONFLICT ON CONSTRAINT campaign_pkey DO UPDATE SET name = define_campaign.name WHERE c.name <> define_campaign.name;
	RETURN loyalty.store_campaign_version(campaign, definition,
		CASE WHEN effective_from IS NULL AND NOT EXISTS (SELECT FROM loyalty.campaign_version v WHERE v.campaign = define_campaign.campaign) THEN clock_timestamp()
			ELSE effective_from END);
END
$$;
COMMENT ON FUNCTION define_campaign(text, jsonb, timestamptz, text) IS
'Defines what activities earn: a version of a campaign, in force from effective_from on (NULL: now). An activity is judged by the version in force at its instant, among those known when it was recorded; so it waits for transactions that have recorded activities, and keeps others waiting until commit. doc/campaigns.md lists what a definition may say. Returns the number of the version; the same definition again makes none. Errors: LY521 with the place of the mistake, LY523 begins before the last version, LY102 no such currency, LY501 no such kind of activities, LY601 no such coupon, LY003.';

CREATE FUNCTION end_campaign(campaign text, at timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.campaign c WHERE c.campaign = end_campaign.campaign) THEN
		RAISE EXCEPTION 'campaign "%" does not exist', campaign
			USING ERRCODE = 'LY522', DETAIL = 'The table loyalty.campaign has no such row.', HINT = 'Campaigns are made by loyalty.define_campaign().';
	END IF;
	IF at = 'infinity' THEN
		RAISE EXCEPTION 'at must be finite'
			USING ERRCODE = 'LY003', DETAIL = 'A campaign ends at an instant.', HINT = 'Leave it out for now.';
	END IF;
	PERFORM loyalty.lock_against_writers('loyalty.activity');
	RETURN loyalty.store_campaign_version(campaign, NULL, at);
END
$$;
COMMENT ON FUNCTION end_campaign(text, timestamptz) IS
'Ends a campaign from an instant on (NULL: now): activities from then on earn nothing by it. What it gave stays. Returns the number of the version that says so. Errors: LY522 no such campaign, LY523, LY003.';

CREATE FUNCTION require_campaign(campaign text, definition jsonb) RETURNS void
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_require_campaign';
COMMENT ON FUNCTION require_campaign(text, jsonb) IS
'Refuses a definition that is wrong, or does not go together with the latest versions of other campaigns. Part of define_campaign(). Errors: LY521, LY102, LY501.';

CREATE FUNCTION reapply_activity(member_id bigint, activity_id bigint, campaign text, reason text, take_back boolean) RETURNS boolean
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_reapply_activity';
COMMENT ON FUNCTION reapply_activity(bigint, bigint, text, text, boolean) IS
'Decides one campaign anew for one activity; returns whether that changed an award. Part of reapply_campaign().';

CREATE FUNCTION reapply_campaign_of(member_ids bigint[], as_of timestamptz, scope text) RETURNS bigint
LANGUAGE sql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
	SELECT count(*) FILTER (WHERE loyalty.reapply_activity(d.member_id, d.activity_id, d.campaign, d.reason, d.take_back))
	FROM (SELECT a.member_id, a.activity_id, s.campaign, s.reason, s.take_back
		FROM jsonb_to_record($3::jsonb) s (campaign text, from_at timestamptz, until timestamptz, reason text, take_back boolean),
			loyalty.activity a
		WHERE a.member_id = ANY ($1) AND a.at >= s.from_at AND a.at < s.until AND a.moved_to IS NULL
			AND a.kind = ANY (loyalty.campaign_kinds(s.campaign))
		ORDER BY a.member_id, a.at, a.recorded_at, a.activity_id OFFSET 0) d
$$;
COMMENT ON FUNCTION reapply_campaign_of(bigint[], timestamptz, text) IS
'reapply_activity() of the activities of some members; returns how many were changed. Part of reapply_campaign(), by run_batch().';

CREATE FUNCTION campaign_kinds(campaign text) RETURNS text[]
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(DISTINCT k) FROM loyalty.campaign_version v, jsonb_array_elements_text(coalesce(v.definition -> 'on', '["order"]')) k
	WHERE v.campaign = $1 AND v.definition IS NOT NULL
$$;
COMMENT ON FUNCTION campaign_kinds(text) IS 'The kinds of activities that any version of a campaign looks at. Part of reapply_campaign().';

CREATE FUNCTION next_reapply_campaign(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	up_to := loyalty.next_members(behind, batch_size, '{activity}');
	SELECT count(*), array_agg(DISTINCT a.member_id) FILTER (WHERE a.at >= (scope::jsonb ->> 'from_at')::timestamptz AND a.at < (scope::jsonb ->> 'until')::timestamptz)
	INTO seen, members
	FROM loyalty.activity a WHERE (behind IS NULL OR a.member_id > behind) AND a.member_id <= up_to;
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.activity') END;
END
$$;
COMMENT ON FUNCTION next_reapply_campaign(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The next members with activities, and those with any in the span that is asked for. Part of reapply_campaign(), by run_job().';

CREATE FUNCTION reapply_terms(campaign text, from_at timestamptz, until timestamptz, reason text, take_back boolean) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.campaign c WHERE c.campaign = $1) THEN
		RAISE EXCEPTION 'campaign "%" does not exist', $1
			USING ERRCODE = 'LY522', DETAIL = 'The table loyalty.campaign has no such row.', HINT = 'Campaigns are made by loyalty.define_campaign().';
	ELSIF from_at IS NULL OR until IS NULL OR from_at >= until OR take_back IS NULL OR coalesce(reason, '') = '' THEN
		RAISE EXCEPTION 'from_at, until, reason and take_back must be given'
			USING ERRCODE = 'LY003', DETAIL = format('from_at is %s, until is %s, reason is %s.', coalesce(from_at::text, 'NULL'), coalesce(until::text, 'NULL'), coalesce(quote_literal(reason), 'NULL')),
				HINT = 'Name a span of time, and why history is changed.';
	END IF;
	PERFORM loyalty.keep_act('reapply_campaign', subject => campaign);
	RETURN jsonb_build_object('campaign', campaign, 'from_at', from_at, 'until', until, 'reason', reason, 'take_back', take_back);
END
$$;
COMMENT ON FUNCTION reapply_terms(text, timestamptz, timestamptz, text, boolean) IS 'The arguments of reapply_campaign(), checked; who calls it is kept. Errors: LY522, LY003. Part of reapply_campaign().';

CREATE PROCEDURE reapply_campaign(campaign text, from_at timestamptz, until timestamptz, reason text, take_back boolean DEFAULT false, batch_size integer DEFAULT 100)
LANGUAGE plpgsql
AS $$
DECLARE
	terms CONSTANT pg_catalog.jsonb := loyalty.reapply_terms(campaign, from_at, until, reason, take_back);
BEGIN
	CALL loyalty.run_job('reapply_campaign', NULL, batch_size, 'activities', 'activities changed', terms, terms::pg_catalog.text);
END
$$;
COMMENT ON PROCEDURE reapply_campaign(text, timestamptz, timestamptz, text, boolean, integer) IS
'Decides a campaign anew for the activities that happened from from_at until, not at, until (-infinity and infinity: all): by its version that is known now, and by what is known now of the member as of then. Posts the difference, with the reason; so a second call changes nothing. What other campaigns gave stands, and limits, groups and stop count it; what a limit refused stays refused. An activity that would lose something is left as it is, unless take_back. From then on revisions and returns decide by that version. Members go by their numbers, the activities of one by their instants. Commits after members with about batch_size activities; can be stopped at any time, and the same call goes on where it was. Progress is in the table job_run. Errors: LY522 no such campaign, LY003, LY006 it is running already, 25001 inside a transaction.';

CREATE FUNCTION campaign_budget_left(campaign text, what text DEFAULT 'points') RETURNS bigint
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.escrow_left(format('campaign/%s/%s', $1, $2))
$$;
COMMENT ON FUNCTION campaign_budget_left(text, text) IS 'What is left of a campaign''s limit for all members together, in points or times; NULL: it has none.';

CREATE FUNCTION forget_awards(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows($q$UPDATE loyalty.award a SET inputs = NULL WHERE a.member_id = ANY ($1) AND a.inputs IS NOT NULL$q$, $1)
$$;
COMMENT ON FUNCTION forget_awards(bigint[]) IS
'What forget_member() means here: what was known of the member is deleted; what was given stays, by number. Part of forget_member().';
