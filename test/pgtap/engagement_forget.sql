-- Room engagement: members who are forgotten keep nobody else from anything.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 9);
SELECT loyalty.define_referral('friends', '{"within": "30 days", "minimum": 50}') \g /dev/null
SELECT loyalty.define_campaign('friends', '{"on": ["invite"], "then": [{"points": 500}]}', '2026-01-01Z') \g /dev/null
SELECT loyalty.create_referral_code(m, 'friends', 'CODE' || m) FROM generate_series(1, 3) m \g /dev/null
CREATE FUNCTION buy(member_id bigint, at timestamptz, amount numeric DEFAULT 60) RETURNS bigint LANGUAGE sql AS $$SELECT activity_id FROM loyalty.record_activity(member_id, 'order', at, amount => amount)$$;
CREATE FUNCTION points(member_ids bigint[]) RETURNS text LANGUAGE sql AS $$SELECT string_agg(b.available::text, ' ' ORDER BY o) FROM unnest(member_ids) WITH ORDINALITY m (m, o), loyalty.balance(m) b$$;

-- whoever referred somebody is forgotten before that one buys
SELECT loyalty.refer(4, 'CODE1', '2026-05-01Z'), loyalty.forget_member(1) \g /dev/null
SELECT lives_ok($$SELECT buy(4, '2026-05-02Z')$$, 'an order of somebody whom a forgotten member has referred');
SELECT is(points('{1,4}'), '0 500', 'earns the referee its points, and nobody forgotten any');
-- and after it, before the order is returned
SELECT loyalty.refer(5, 'CODE2', '2026-05-01Z'), buy(5, '2026-05-02Z') AS o \gset
SELECT is(points('{2,5}'), '500 500', 'both have it');
SELECT loyalty.forget_member(2) \g /dev/null
SELECT lives_ok(format('SELECT loyalty.revise_activity(5, %s, cancelled => true)', :'o'), 'the order is returned');
SELECT is(points('{5}'), '0', 'and the points of the referee go');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
-- the referee is forgotten, and its order came late
SELECT loyalty.refer(6, 'CODE3', '2026-05-01Z'), loyalty.forget_member(6) \g /dev/null
SELECT lives_ok($$SELECT buy(6, '2026-05-02Z')$$, 'an order that comes in after its member was forgotten');
SELECT is(points('{3,6}'), '500 0', 'earns whoever referred it');

-- a challenge that is defined afterwards, over what a forgotten member did
SELECT buy(m, '2026-06-01Z') FROM unnest('{7,8}'::bigint[]) m \g /dev/null
SELECT loyalty.forget_member(7) \g /dev/null
SELECT loyalty.define_challenge('june', '{"kind": "order", "target": 1}', effective_from => '2026-01-01Z') \g /dev/null
CALL loyalty.refresh_engagements();
SELECT results_eq($$SELECT member_id FROM loyalty.activity WHERE kind = 'challenge' ORDER BY 1$$, 'VALUES (4::bigint), (8)', 'completed by those who are not forgotten');

-- a place on a board that is closed afterwards
SELECT loyalty.define_board('may', '{"kind": "order", "measure": "amount", "period": "month", "time_zone": "UTC", "places": 3}', effective_from => '2026-01-01Z') \g /dev/null
SELECT buy(m, '2026-05-10Z', 100 * m) FROM generate_series(7, 9) m \g /dev/null
SELECT loyalty.forget_member(9) \g /dev/null
CALL loyalty.refresh_engagements();
CALL loyalty.close_board('may', '2026-05-01');
SELECT results_eq($$SELECT member_id FROM loyalty.activity WHERE kind = 'board_place' ORDER BY 1$$, $$VALUES (8::bigint)$$, 'places are rewarded to those who are not forgotten');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
