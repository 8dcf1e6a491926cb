-- Room benefit: the level of a household, where a ladder says that its persons
-- hold it, too.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'UTC';
SELECT loyalty.define_measure('points_of_orders'), loyalty.define_measure('visits') \g /dev/null
SELECT loyalty.define_ladder(l.ladder, l.definition) FROM (VALUES
	('family', '{"time_zone": "UTC", "household": "best", "measures": [{"measure": "points_of_orders", "window": "lifetime"}],
		"levels": [{"level": "bronze", "any": {"points_of_orders": 100}}, {"level": "silver", "any": {"points_of_orders": 1000}}, {"level": "gold", "any": {"points_of_orders": 5000}}]}'::jsonb),
	('alone', '{"time_zone": "UTC", "household": "own", "measures": [{"measure": "points_of_orders", "window": "lifetime"}], "levels": [{"level": "silver", "any": {"points_of_orders": 1000}}]}')) l (ladder, definition) \g /dev/null
SELECT throws_ok($$SELECT loyalty.define_ladder('x', '{"household": "all", "measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "a", "any": {"visits": 1}}]}')$$,
	'LY401', NULL, 'a household''s level is the own one, or the best');
INSERT INTO loyalty.member (member_id, joined_at) SELECT generate_series(1, 9), '2026-01-01Z';
CREATE FUNCTION at(day text) RETURNS timestamptz LANGUAGE sql AS $$ SELECT (day || ' 00:00Z')::timestamptz $$;
SELECT household_id AS h FROM loyalty.create_household('H', 1, at => at('2026-03-01')) \gset
SELECT loyalty.join_household(:h, 2, at => at('2026-03-01')) \g /dev/null
-- 600 of one's orders and 500 of the other's went to the household
SELECT loyalty.record_qualification(:h, 'points_of_orders', 600, at => at('2026-04-01')), loyalty.record_qualification(:h, 'points_of_orders', 500, at => at('2026-05-01')) \g /dev/null
SELECT loyalty.record_qualification(2, 'points_of_orders', 100, at => at('2026-03-15')) \g /dev/null
CREATE FUNCTION held(member bigint, day text) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(loyalty.tier_of(member, 'family', at(day)), 'none') $$;
SELECT is(held(:h, '2026-05-02'), 'silver', 'the household is silver');
SELECT is(held(m, '2026-05-02'), 'silver', 'and so are its persons') FROM generate_series(1, 2) m;
SELECT is(loyalty.tier_of(1, 'alone', at('2026-05-02')), NULL, 'not where a ladder looks at persons alone');
SELECT is(held(3, '2026-05-02'), 'none', 'nor is anybody else');
SELECT is(held(1, '2026-04-15') || ' ' || held(1, '2026-03-15'), 'bronze none', 'as of earlier');
SELECT is(held(2, '2026-03-20') || ' ' || held(2, '2026-04-02'), 'bronze bronze', 'of equal ones the own');
SELECT is(loyalty.tier_of(1, 'family', at('2026-05-02'), at('2026-05-02')), NULL, 'as known then, nothing was recorded');
SELECT loyalty.leave_household(:h, 2, at => at('2026-06-01')) \g /dev/null
SELECT is(held(2, '2026-05-31') || ' ' || held(2, '2026-06-01'), 'silver bronze', 'who leaves keeps nothing');
-- 300 are returned on 10 June
SELECT loyalty.record_qualification(:h, 'points_of_orders', -300, at => at('2026-06-10'), counts_at => at('2026-05-01')) \g /dev/null
SELECT is(held(1, '2026-06-09') || ' ' || held(1, '2026-06-10'), 'silver bronze', 'what the household loses its persons lose');
-- better than the household's
SELECT loyalty.record_qualification(1, 'points_of_orders', 5000, at => at('2026-07-01')) \g /dev/null
SELECT is(held(1, '2026-07-02') || ' ' || held(:h, '2026-07-02'), 'gold bronze', 'a person''s own level is the person''s');
CREATE FUNCTION timeline(member bigint) RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(format('%s %s-%s %s %s', coalesce(t.level, 'none'), to_char(t.starts_at, 'MMDD'), to_char(t.ends_at, 'MMDD'), t.event, t.reason) ORDER BY t.starts_at)
	FROM loyalty.member_tiers(member, 'family', at('2026-08-01')) t $$;
SELECT is(timeline(1), '{"bronze 0401-0501 enrolled household","silver 0501-0610 upgraded household","bronze 0610-0701 downgraded household","gold 0701- upgraded household"}', 'its timeline');
SELECT is(timeline(2), '{"bronze 0315-0501 enrolled qualified","silver 0501-0601 upgraded household","bronze 0601- downgraded household"}', 'and of who left');
SELECT is(timeline(3), NULL, 'and of nobody');

-- at every instant the timeline is what tier_of() says
SELECT is_empty($$
	SELECT m, d FROM generate_series(1, 3) m, generate_series(at('2026-02-25'), at('2026-07-31'), interval '1 day') d
	WHERE loyalty.tier_of(m, 'family', d) IS DISTINCT FROM (SELECT t.level FROM loyalty.member_tiers(m, 'family', at('2026-08-01')) t
		WHERE t.starts_at <= d AND (t.ends_at IS NULL OR d < t.ends_at))$$, 'as the timeline has it');

-- conditions of campaigns and benefits ask for it, and progress is the own
SELECT loyalty.define_campaign('silver', '{"on": ["order"], "when": {"tier": {"family": ["silver"]}}, "then": [{"points": 7}]}', at('2026-01-01')) \g /dev/null
SELECT is((loyalty.record_activity(1, 'order', at('2026-05-05'), amount => 1)).points, 7::bigint, 'a campaign for silver');
SELECT is((loyalty.record_activity(1, 'order', at('2026-06-15'), amount => 1)).points, 0::bigint, 'and when it is over');
SELECT loyalty.define_benefit('lounge', '{"kind": "entitlement", "quota": [{"when": {"tier": {"family": ["silver"]}}, "uses": 1}], "period": "year"}') \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.entitlements(1, at('2026-05-20'))), 1::bigint, 'an entitlement of silver');

-- a grant of the household ends for who is in it when it ends
SELECT loyalty.grant_tier(:h, 'family', 'gold', starts_at => at('2026-09-01'), ends_at => at('2026-10-01'), reason => 'gift') \g /dev/null
SELECT loyalty.join_household(:h, 4, at => at('2026-09-10')) \g /dev/null
SELECT is(array_agg(held(4, d)), '{none,gold,gold,bronze}', 'granted to the household') FROM unnest('{2026-09-09,2026-09-10,2026-09-30,2026-10-01}'::text[]) d;
SELECT is((SELECT t.valid_until FROM loyalty.member_tiers(4, 'family', at('2026-09-15')) t ORDER BY t.starts_at DESC LIMIT 1), at('2026-10-01'), 'until then');

-- audiences and views know of it
SELECT loyalty.define_audience('silver', '{"tier": {"family": ["silver"]}}') \g /dev/null
SELECT is(loyalty.live_members('silver', 0, 9, at('2026-05-20'), 'infinity')::text, '{1,2}', 'an audience of silver');
SELECT is(loyalty.in_audience(2, 'silver', at('2026-05-20')), true, 'one of it');
SELECT is((SELECT array_agg(coalesce(v.level, 'none') || ' ' || coalesce(v.rank, 0) ORDER BY v.member_id) FROM loyalty_bi.member_level v WHERE v.ladder = 'family' AND v.member_id <= 3),
	(SELECT array_agg(coalesce(t.level, 'none') || ' ' || CASE t.level WHEN 'bronze' THEN 1 WHEN 'silver' THEN 2 WHEN 'gold' THEN 3 ELSE 0 END ORDER BY m)
		FROM generate_series(1, 3) m, LATERAL (SELECT loyalty.tier_of(m, 'family') AS level) t), 'and the view of levels');

-- of merged persons the household of the survivor holds
SELECT household_id AS k FROM loyalty.create_household('K', 5, at => at('2026-03-01')) \gset
SELECT loyalty.record_qualification(:k, 'points_of_orders', 1000, at => at('2026-03-02')) \g /dev/null
SELECT loyalty.join_household(:k, 6, at => at('2026-03-01')) \g /dev/null
SELECT is(held(6, '2026-11-01'), 'silver', 'of another household');
SELECT merge_id AS merge FROM loyalty.merge_members(7, 6) \gset
SELECT is(loyalty.tier_of(7, 'family', now() + interval '1 minute'), 'silver', 'who has absorbed one of its persons');
SELECT loyalty.unmerge_members(:merge) \g /dev/null
SELECT is(loyalty.tier_of(7, 'family', now() + interval '1 minute'), NULL, 'until they are two again');
SELECT results_eq(format('SELECT s.household_id, s.starts_at, s.ends_at FROM loyalty.household_spells(2) s'),
	format('VALUES (%s::bigint, at(''2026-03-01''), at(''2026-06-01''))', :h), 'when a person was in a household');

-- a version of a ladder that says otherwise
SELECT loyalty.define_ladder('family', (SELECT definition - 'household' FROM loyalty.ladder_version WHERE ladder = 'family' ORDER BY version DESC LIMIT 1), effective_from => at('2026-12-01')) \g /dev/null
SELECT is(held(6, '2026-11-30') || ' ' || held(6, '2026-12-01'), 'silver none', 'from then on everybody is alone');
SELECT is((SELECT t.starts_at FROM loyalty.member_tiers(6, 'family', at('2026-12-05')) t ORDER BY t.starts_at DESC LIMIT 1), at('2026-12-01'), 'also in the timeline');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
