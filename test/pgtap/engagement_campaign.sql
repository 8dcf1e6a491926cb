-- Room engagement: what campaigns give of it, and ask for.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 20);
SELECT loyalty.define_streak('daily', '{"kind": "check_in"}'), loyalty.define_badge('founder', '{}'), loyalty.define_badge('regular', '{"kind": "check_in", "levels": [2, 3]}'),
	loyalty.define_draw('wheel', '{"prizes": [{"prize": "a", "weight": 1}]}'), loyalty.define_club('runners', '{}'),
	loyalty.define_board('top', '{"kind": "game", "measure": "amount", "period": "lifetime"}') \g /dev/null
SELECT throws_ok(format('SELECT loyalty.define_campaign(''x'', %L)', c.definition), c.state, NULL, c.definition)
FROM (VALUES ('{"then": [{"badge": "none"}]}', 'LY751'), ('{"then": [{"freeze": "none"}]}', 'LY751'), ('{"then": [{"spin": "none"}]}', 'LY751'), ('{"then": [{"badge": "founder", "level": 0}]}', 'LY521'),
	('{"when": {"streak": {"at_least": 2}}, "then": [{"points": 1}]}', 'LY521'), ('{"when": {"rank": {"board": "top", "most": 2}}, "then": [{"points": 1}]}', 'LY521')) c (definition, state);
CREATE PROCEDURE campaign(name text, definition jsonb) LANGUAGE sql AS $$SELECT loyalty.define_campaign(name, definition, effective_from => '2026-01-01Z')$$;
CALL campaign('gifts', '{"on": ["order"], "then": [{"badge": "founder", "level": 2}, {"freeze": "daily", "quantity": 2}, {"spin": "wheel", "quantity": 3}]}');
SELECT activity_id AS a, awards FROM loyalty.record_activity(1, 'order', '2026-05-01Z', amount => 10) \gset
SELECT is((SELECT array_agg(badge || ' ' || level) FROM loyalty.badges(1)) || ARRAY[(SELECT freezes_left::text FROM loyalty.streak_of(1, 'daily')), loyalty.spins_left(1, 'wheel')::text], '{"founder 2",2,3}', 'given');
SELECT loyalty.draw(1, 'wheel') \g /dev/null
SELECT loyalty.record_return(1, :a, at => '2026-05-03Z') \g /dev/null
SELECT is(concat_ws(', ', (SELECT count(*) FROM loyalty.badges(1)), (SELECT count(*) FROM loyalty.badges(1, '2026-05-02Z')), (SELECT freezes_left FROM loyalty.streak_of(1, 'daily')), loyalty.spins_left(1, 'wheel')),
	'0, 1, 0, -1', 'taken back, from the return on; a spin that was drawn is owed');
-- a badge is a cause, and a condition
CALL campaign('bonus', '{"on": ["badge_earned"], "when": {"path": "$.badge == \"regular\" && $.level == 2"}, "then": [{"points": 50}]}');
SELECT loyalty.record_activity(2, 'check_in', '2026-05-01Z'::timestamptz + d * interval '1 day') FROM generate_series(0, 2) d \g /dev/null
SELECT is((loyalty.balance(2)).available, 50::bigint, 'the badge earned a bonus');
CALL campaign('loyal', '{"on": ["review"], "when": {"streak": {"streak": "daily", "at_least": 3}, "badge": {"badge": "regular", "level": 2}, "club": ["runners", "others"]}, "then": [{"points": 7}]}');
SELECT loyalty.join_club(2, 'runners', '2026-05-01Z') \g /dev/null
CREATE FUNCTION earns(member_id bigint, kind text, at timestamptz) RETURNS bigint LANGUAGE sql AS $$SELECT points FROM loyalty.record_activity(member_id, kind, at)$$;
SELECT is(earns(2, 'review', '2026-05-03 12:00Z'), 7::bigint, 'a streak, a badge and a club');
SELECT is(earns(2, 'review', '2026-05-02 12:00Z'), 0::bigint, 'two days of it');
SELECT is(earns(2, 'review', '2026-05-06 12:00Z'), 0::bigint, 'at an end');
SELECT is(earns(3, 'review', '2026-05-03 12:00Z'), 0::bigint, 'nobody');
CALL campaign('top', '{"on": ["comment"], "when": {"rank": {"board": "top", "at_most": 2}}, "then": [{"points": 1}]}');
SELECT loyalty.record_activity(m, 'game', amount => m) FROM generate_series(10, 13) m \g /dev/null
SELECT is((SELECT array_agg(earns(m, 'comment', now()) ORDER BY m) FROM generate_series(10, 14) m), '{0,0,1,1,0}', 'the first two');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
