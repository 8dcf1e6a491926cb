-- What campaigns give beside points: coupons, levels, messages. Numbers are
-- worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.create_currency('points', 'Points') \g /dev/null

CREATE FUNCTION define(campaign text, definition text, since timestamptz DEFAULT '2026-01-01') RETURNS integer
LANGUAGE sql AS $$ SELECT loyalty.define_campaign($1, $2::jsonb, $3) $$;
CREATE FUNCTION benefit(benefit text, definition text) RETURNS integer
LANGUAGE sql AS $$ SELECT loyalty.define_benefit($1, $2::jsonb) $$;
-- what a member has: campaign, points, limit, why it was kept
CREATE FUNCTION held(member_id bigint) RETURNS text
LANGUAGE sql AS $$ SELECT string_agg(concat_ws(' ', campaign, points, limited_by, kept_because), ', ' ORDER BY campaign, activity_id, effect) FROM loyalty.awards($1) $$;
CREATE FUNCTION coupons(member_id bigint, as_of timestamptz DEFAULT '2026-05-20') RETURNS text
LANGUAGE sql AS $$ SELECT string_agg(concat_ws(' ', benefit, state), ', ' ORDER BY coupon_id) FROM loyalty.coupons($1, $2) $$;
CREATE FUNCTION clear() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(loyalty.end_campaign(v.campaign, v.effective_from)) FROM (SELECT DISTINCT ON (campaign) * FROM loyalty.campaign_version ORDER BY campaign, version DESC) v
	WHERE v.definition IS NOT NULL
$$;

-- Definitions
SELECT benefit('five', '{"kind": "coupon", "discount": {"amount": 5}, "valid": "30 days"}') \g /dev/null
SELECT results_eq(format('SELECT path, problem FROM loyalty.check_campaign(%L)', definition), format('VALUES (%L, %L)', path, problem), definition)
FROM (VALUES ('{"then": [{"points": 1, "coupon": "five"}]}', 'then[0]', 'is more than one effect'),
	('{"then": [{"coupon": "five", "message": "hello"}]}', 'then[0]', 'is more than one effect'),
	('{"then": [{"coupon": "five", "currency": "points"}]}', 'then[0].currency', 'is not known here'),
	('{"then": [{"coupon": 5}]}', 'then[0].coupon', 'must be a text'),
	('{"then": [{"grant": {"ladder": "club"}}]}', 'then[0].grant', 'needs a "level" of it'),
	('{"then": [{"message": "hello", "data": 5}]}', 'then[0].data', 'must be an object')) v (definition, path, problem);
SELECT throws_ok($$SELECT define('c', '{"then": [{"coupon": "ten"}]}')$$, 'LY601', 'there is no benefit "ten"', 'no such coupon');
SELECT throws_ok($$SELECT define('c', '{"then": [{"grant": {"ladder": "club", "level": "gold"}}]}')$$, 'LY402', NULL, 'no such ladder');

-- A coupon is given, and follows its order: 30 days from it on
SELECT define('welcome', '{"when": {"amount": {">=": 50}}, "then": [{"coupon": "five"}]}') \g /dev/null
SELECT results_eq($$SELECT campaign, points, item, limited_by FROM loyalty.preview_activity(10, 'order', '2026-05-02 10:00', 60.00)$$,
	$$VALUES ('welcome', NULL::bigint, 'five', NULL)$$, 'previewed');
SELECT activity_id AS a, points, awards FROM loyalty.record_activity(10, 'order', '2026-05-02 10:00', 60.00) \gset
SELECT is(:awards, 1, 'an award');
SELECT results_eq('SELECT benefit, state, valid_until FROM loyalty.coupons(10, ''2026-05-20'')', $$VALUES ('five', 'issued', '2026-06-01 10:00'::timestamptz)$$, 'a coupon');
SELECT results_eq($$SELECT kind, item, item_id, points FROM loyalty.awards(10)$$, $$SELECT 'coupon', 'five', coupon_id, 1::bigint FROM loyalty.coupon WHERE member_id = 10$$, 'and the award that gave it');
SELECT results_eq(format('SELECT campaign, matched, item, points FROM loyalty.explain_award(10, %s)', :a), $$VALUES ('welcome', true, 'five', 1::bigint)$$, 'explained');
SELECT loyalty.revise_activity(10, :a, channel => 'app') \g /dev/null
SELECT is(coupons(10), 'five issued', 'a revision that changes nothing');
SELECT loyalty.record_return(10, :a, amount => 20.00, at => '2026-05-03') \g /dev/null
SELECT is(coupons(10), 'five revoked', 'less than 50.00: taken back');
SELECT is(held(10), 'welcome 0', 'nothing is held');
SELECT loyalty.revise_activity(10, :a, amount => 90.00) \g /dev/null
SELECT is(coupons(10), 'five revoked, five issued', 'raised again: another one');
SELECT loyalty.revise_activity(10, :a, cancelled => true) \g /dev/null
SELECT is(coupons(10, '2200-01-01'), 'five revoked, five revoked', 'cancelled');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- One that was used stays, and goes on counting
SELECT clear() \g /dev/null
SELECT define('once', '{"when": {"amount": {">=": 50}}, "limits": {"member": {"times": 1, "within": "lifetime"}}, "then": [{"coupon": "five"}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(11, 'order', '2026-05-02', 60.00) \gset
SELECT code FROM loyalty.coupons(11, '2026-05-03') \gset
SELECT activity_id AS b FROM loyalty.record_activity(11, 'order', '2026-05-04', 20.00, codes => ARRAY[:'code']) \gset
SELECT loyalty.revise_activity(11, :a, cancelled => true) \g /dev/null
SELECT is(held(11), 'once 1 redeemed', 'kept, and why');
SELECT is((SELECT count(*) FROM loyalty.award WHERE member_id = 11), 2::bigint, 'in a row of its own');
SELECT loyalty.revise_activity(11, :a, channel => 'app') \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.award WHERE member_id = 11), 2::bigint, 'which is not written again');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and all is well');
SELECT loyalty.record_activity(11, 'order', '2026-05-05', 70.00) \g /dev/null
SELECT is(coupons(11), 'five redeemed', 'the limit counts it');
SELECT loyalty.revise_activity(11, :a, cancelled => false) \g /dev/null
SELECT is(coupons(11), 'five redeemed', 'the order is back, and has it still');
SELECT loyalty.revise_activity(11, :a, cancelled => true) \g /dev/null
SELECT loyalty.revise_activity(11, :b, cancelled => true) \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'free again, nobody was asked');
SELECT loyalty.revise_activity(11, :a, channel => 'web') \g /dev/null
SELECT is(coupons(11, '2200-01-01'), 'five revoked', 'once its order is asked again, it goes');
-- one that is in other hands
SELECT activity_id AS a FROM loyalty.record_activity(12, 'order', '2026-05-02', 60.00) \gset
SELECT loyalty.transfer_coupon(12, 13, coupon_id, '2026-05-03') FROM loyalty.coupons(12, '2026-05-03') \g /dev/null
SELECT loyalty.revise_activity(12, :a, cancelled => true) \g /dev/null
SELECT is(held(12), 'once 1 transferred', 'given away');
SELECT is(coupons(13), 'five issued', 'and it is there');
-- one that was revoked by hand
SELECT activity_id AS a FROM loyalty.record_activity(14, 'order', '2026-05-02', 60.00) \gset
SELECT loyalty.revoke_coupon(14, coupon_id, 'by hand') FROM loyalty.coupons(14, '2026-05-03') \g /dev/null
SELECT loyalty.revise_activity(14, :a, cancelled => true) \g /dev/null
SELECT is(held(14), 'once 0', 'taken back: there is nothing left to do');
-- an order that moves
SELECT activity_id AS a FROM loyalty.record_activity(15, 'order', '2026-05-02', 60.00) \gset
SELECT loyalty.revise_activity(15, :a, to_member_id => 16) \g /dev/null
SELECT is(coupons(15, '2200-01-01') || ' / ' || coupons(16), 'five revoked / five issued', 'nothing there, everything here');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Limits of the coupon itself
SELECT clear() \g /dev/null
SELECT benefit('rare', '{"kind": "coupon", "discount": {"amount": 5}, "member": 1, "total": 3}') \g /dev/null
SELECT define('a', '{"then": [{"coupon": "rare"}, {"points": 5}]}'), define('b', '{"then": [{"coupon": "rare"}]}') \g /dev/null
SELECT results_eq($$SELECT campaign, item, points, limited_by FROM loyalty.preview_activity(20, 'order', '2026-05-02', 60.00)$$,
	$$VALUES ('a', 'rare', NULL::bigint, NULL), ('a', NULL, 5, NULL), ('b', NULL, NULL, 'coupon_member')$$, 'two campaigns, one coupon');
SELECT loyalty.record_activity(20, 'order', '2026-05-02', 60.00) \g /dev/null
SELECT is(held(20), 'a 1, a 5, b 0 coupon_member', 'the first has it');
SELECT loyalty.record_activity(20, 'order', '2026-05-03', 60.00), loyalty.record_activity(21, 'order', '2026-05-03', 60.00),
	loyalty.record_activity(22, 'order', '2026-05-03', 60.00) \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(23, 'order', '2026-05-03', 60.00) \gset
SELECT is(held(23), 'a 0 coupon_total, a 5, b 0 coupon_total', 'all are given out');
SELECT activity_id AS b FROM loyalty.awards(22) WHERE item_id IS NOT NULL \gset
SELECT loyalty.revise_activity(22, :b, cancelled => true) \g /dev/null
SELECT loyalty.revise_activity(23, :a, channel => 'app') \g /dev/null
SELECT is(held(23), 'a 0 coupon_total, a 5, b 0 coupon_total', 'what was refused stays refused');
SELECT loyalty.record_activity(24, 'order', '2026-05-03', 60.00) \g /dev/null
SELECT is(held(24), 'a 1, a 5, b 0 coupon_member', 'what came back goes to whoever comes next');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT clear() \g /dev/null
SELECT benefit('pooled', '{"kind": "coupon", "discount": {"amount": 5}, "codes": "pool"}') \g /dev/null
SELECT loyalty.add_codes('pooled', ARRAY['ONE']) \g /dev/null
SELECT define('p', '{"at_limit": "refuse", "then": [{"coupon": "pooled"}, {"points": 5}]}') \g /dev/null
SELECT loyalty.record_activity(25, 'order', '2026-05-02', 1), loyalty.record_activity(26, 'order', '2026-05-02', 1) \g /dev/null
SELECT is(held(25), 'p 1, p 5', 'the only code');
SELECT is(held(26), 'p 0 coupon_codes, p 0 coupon_codes', 'all or nothing of the campaign');
-- in a group, a campaign of which nothing is left is no candidate
SELECT clear() \g /dev/null
SELECT define('p', '{"exclusive": {"group": "g", "pick": "first"}, "priority": 1, "then": [{"coupon": "pooled"}]}'), define('q', '{"exclusive": {"group": "g", "pick": "first"}, "then": [{"points": 5}]}') \g /dev/null
SELECT loyalty.record_activity(27, 'order', '2026-05-02', 1) \g /dev/null
SELECT is(held(27), 'q 5', 'so the other one wins');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Versions: an order that moves to another version has its coupon
SELECT clear() \g /dev/null
SELECT benefit('ten', '{"kind": "coupon", "discount": {"amount": 10}}') \g /dev/null
SELECT define('v', '{"then": [{"coupon": "five"}]}', '2020-01-01'), define('v', '{"then": [{"coupon": "ten"}]}', '2020-06-01') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(30, 'order', '2020-05-02', 1) \gset
SELECT loyalty.revise_activity(30, :a, at => '2020-06-02') \g /dev/null
SELECT is(coupons(30, '2200-01-01'), 'five revoked, ten issued', 'one for the other');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Windows: one for the month, taken back when the month has less
SELECT clear() \g /dev/null
SELECT define('w', '{"window": "month", "having": {"amount": {">=": 100}}, "then": [{"coupon": "ten"}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(31, 'order', '2026-05-02', 60) \gset
SELECT loyalty.record_activity(31, 'order', '2026-05-03', 60), loyalty.record_activity(31, 'order', '2026-05-04', 60) \g /dev/null
SELECT is(coupons(31), 'ten issued', 'once');
SELECT loyalty.revise_activity(31, :a, cancelled => true) \g /dev/null
SELECT is(coupons(31), 'ten issued', '120.00 are left');
SELECT loyalty.record_return(31, activity_id) FROM loyalty.activity WHERE member_id = 31 AND at = '2026-05-03' \g /dev/null
SELECT is(coupons(31, '2200-01-01'), 'ten revoked', '60.00 are not');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Levels: granted from the order on, in one commit with what that earns
SELECT clear() \g /dev/null
SELECT loyalty.create_currency('status', 'Status') \g /dev/null
SELECT loyalty.define_measure('status', 'points', 'status') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status"}], "levels": [{"level": "silver", "all": {"status": 500}}, {"level": "gold", "all": {"status": 2000}}]}', '2026-01-01') \g /dev/null
SELECT throws_ok($$SELECT define('c', '{"then": [{"grant": {"ladder": "club", "level": "tin"}}]}')$$, 'LY403', 'ladder "club" has no level "tin"', 'no such level');
SELECT define('try_gold', '{"when": {"amount": {">=": 1000}}, "then": [{"grant": {"ladder": "club", "level": "gold", "period": "10 years"}}]}'),
	define('gift', '{"on": ["tier_changed"], "when": {"reached": {"club": ["gold"]}}, "then": [{"points": 100}]}') \g /dev/null
SELECT activity_id AS a, points FROM loyalty.record_activity(40, 'order', '2026-05-02', 1200.00) \gset
SELECT is(:points, 100, 'the level earns, too');
SELECT results_eq($$SELECT level, kind, starts_at, ends_at, reason FROM loyalty.tier_grant WHERE member_id = 40$$,
	$$VALUES ('gold', 'awarded', '2026-05-02'::timestamptz, '2036-05-02'::timestamptz, 'try_gold')$$, 'a grant');
SELECT is(loyalty.tier_of(40, 'club', '2026-05-10'), 'gold', 'so it is gold');
SELECT is(loyalty.tier_of(40, 'club', '2036-05-02'), NULL, 'for ten years');
SELECT loyalty.record_return(40, :a, at => '2026-05-12') \g /dev/null
SELECT is(loyalty.tier_of(40, 'club', '2026-05-10'), 'gold', 'returned: it was gold');
SELECT is(loyalty.tier_of(40, 'club', '2026-05-13'), NULL, 'until then');
SELECT is((SELECT sum(points) FROM loyalty.award WHERE member_id = 40 AND kind = 'grant'), 0::numeric, 'taken back');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Messages: events with the row that gives them
SELECT clear() \g /dev/null
SELECT loyalty.subscribe('mailer', '{message_sent,message_withdrawn}') \g /dev/null
SELECT define('hello', '{"then": [{"message": "gold_box", "data": {"size": "L"}}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(50, 'order', '2026-05-02', 1) \gset
SELECT loyalty.record_return(50, :a, at => '2026-05-03') \g /dev/null
SELECT results_eq($$SELECT member_id, kind, at, payload FROM loyalty.event ORDER BY event_id$$,
	format($$VALUES (50::bigint, 'message_sent', '2026-05-02'::timestamptz, '{"version": 1, "message": "gold_box", "campaign": "hello", "activity_id": %1$s, "data": {"size": "L"}}'::jsonb),
		(50, 'message_withdrawn', '2026-05-03', '{"version": 1, "message": "gold_box", "campaign": "hello", "activity_id": %1$s}')$$, :a), 'and when it is withdrawn');
SELECT loyalty.unsubscribe('mailer') \g /dev/null
SELECT loyalty.record_activity(51, 'order', '2026-05-02', 1) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.event WHERE member_id = 51), 0::bigint, 'nobody reads, nothing is written');
SELECT is(held(51), 'hello 1', 'but that it was given');

-- Merged: what the absorbed one holds is taken back from him; limits count both
SELECT clear() \g /dev/null
SELECT benefit('single', '{"kind": "coupon", "discount": {"amount": 5}, "member": 1}') \g /dev/null
SELECT define('s', '{"then": [{"coupon": "single"}]}') \g /dev/null
SELECT member_id AS m FROM loyalty.resolve_member('{"email": "a@example.com"}') \gset
SELECT member_id AS o FROM loyalty.resolve_member('{"email": "b@example.com"}') \gset
SELECT activity_id AS a FROM loyalty.record_activity(:m, 'order', '2026-05-01', 1) \gset
SELECT merge_id FROM loyalty.merge_members(:o, :m) \gset
SELECT loyalty.record_activity(:o, 'order', '2026-05-01', 1) \g /dev/null
SELECT is(coupons(:o), 'single issued', 'as one person it has one');
SELECT loyalty.revise_activity(:o, :a, cancelled => true) \g /dev/null
SELECT is(coupons(:o, '2200-01-01'), 'single revoked', 'which goes with its order');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');

-- Whoever may post may post this, and nothing else
CREATE ROLE effects_clerk;
SELECT loyalty.grant_access('effects_clerk', 'app') \g /dev/null
SET ROLE effects_clerk;
SELECT lives_ok($$SELECT loyalty.record_activity(60, 'order', '2026-05-01', 1)$$, 'the till');
SELECT throws_ok($$SELECT loyalty.award_grant(60, 'club', 'gold', now(), NULL, 'x')$$, '42501', NULL, 'not by itself');
RESET ROLE;
SELECT is(coupons(60), 'single issued', 'it did');
SELECT * FROM finish();
