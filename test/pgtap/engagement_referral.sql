-- Room engagement: referrals.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 90);
SELECT loyalty.define_referral('friends', '{"within": "30 days", "minimum": 50, "return_window": "14 days", "at_most": 3, "per": "1 day"}') \g /dev/null
SELECT loyalty.define_referral('any', '{"within": "30 days", "minimum": 50, "return_window": "14 days", "orders": "any"}') \g /dev/null
SELECT loyalty.define_campaign('friends', '{"on": ["invite"], "then": [{"points": 500}], "available_after": "14 days"}', effective_from => '2026-01-01Z') \g /dev/null

SELECT throws_ok($$SELECT loyalty.create_referral_code(1, 'none')$$, 'LY751', NULL, 'no such programme');
SELECT is(loyalty.create_referral_code(1, 'friends', 'ANNA-1'), 'ANNA-1', 'a code');
SELECT is(loyalty.create_referral_code(1, 'friends', 'anna 1'), 'ANNA-1', 'asked for again');
SELECT throws_ok($$SELECT loyalty.create_referral_code(2, 'friends', 'Anna1')$$, 'LY003', NULL, 'another''s');
SELECT matches(loyalty.create_referral_code(2, 'friends'), '^([2-9A-Z]{4}-){2}[2-9A-Z]{4}$', 'a random one');
SELECT is(loyalty.create_referral_code(2, 'friends'), loyalty.create_referral_code(2, 'friends'), 'which stays');
SELECT loyalty.create_referral_code(m, 'friends', 'CODE' || m) FROM generate_series(3, 90) m \g /dev/null
SELECT loyalty.create_referral_code(1, 'any', 'ANY1') \g /dev/null

-- orders of B, referred by A on 1 May; who has how many points pending or available
CREATE FUNCTION day(d integer, hours integer DEFAULT 12) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$SELECT (date '2026-04-30' + d)::timestamp AT TIME ZONE 'UTC' + hours * interval '1 hour'$$;
CREATE FUNCTION state(member_id bigint, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', r.status, r.why) FROM loyalty.referrals(member_id, as_of) r WHERE r.role = 'referee' $$;
CREATE FUNCTION pay(member_ids bigint[], as_of timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s+%s', b.available, b.pending), ' ' ORDER BY o) FROM unnest(member_ids) WITH ORDINALITY m (m, o), loyalty.balance(m, as_of => as_of) b $$;
CREATE FUNCTION buy(member_id bigint, at timestamptz, amount numeric) RETURNS bigint LANGUAGE sql AS $$SELECT activity_id FROM loyalty.record_activity(member_id, 'order', at, amount => amount)$$;
CREATE FUNCTION referred(member_id bigint, code text, at timestamptz DEFAULT '2026-05-01 12:00Z') RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', r.status, r.why) FROM loyalty.refer(member_id, code, at) r $$;
SELECT is((SELECT (status, why, replayed)::text FROM loyalty.refer(10, 'anna-1', day(1), '{"ip": "x"}', 'k')), '(lapsed,,f)', 'a referral of long ago');
SELECT is((SELECT (why, replayed)::text FROM loyalty.refer(10, 'anna-1', day(1), '{"ip": "x"}', 'k')), '(,t)', 'once');
SELECT is(state(10, day(5)), 'waiting', 'waiting for an order');
SELECT buy(10, day(6), 60) AS o \gset
SELECT is(state(10, day(7)) || '; ' || pay('{1,10}', day(7)), 'qualified; 0+500 0+500', 'both have it, pending');
SELECT is(state(10, day(20)) || '; ' || pay('{1,10}', day(20)), 'final; 500+0 500+0', 'and available after the return window');
SELECT loyalty.record_return(10, :o, amount => 20, at => day(11)) \g /dev/null
SELECT is(state(10, day(10)) || ', ' || state(10, day(12)) || '; ' || pay('{1,10}', now()), 'qualified, reversed returned; 0+0 0+0', 'returned within the window');

-- windows: amounts and days of orders, of the return, what is left
SELECT referred(m, 'CODE' || (m - 9)) FROM generate_series(20, 28) m \g /dev/null
SELECT buy(20, day(4), 30), buy(20, day(10), 60) \g /dev/null
SELECT is(state(20, day(30)), 'waiting', 'the first order is too small');
SELECT referred(30, 'ANY1') \g /dev/null
SELECT buy(30, day(4), 30), buy(30, day(10), 60) \g /dev/null
SELECT is(state(30, day(30)) || ' ' || (SELECT qualified_at = day(10) FROM loyalty.referrals(30)), 'final true', 'where any order does, the second one');
SELECT buy(21, day(30), 60) \g /dev/null
SELECT is(state(21, day(40)), 'qualified', 'on day 29, whenever it was told');
SELECT buy(22, day(31), 60) \g /dev/null
SELECT is(state(22, day(40)), 'lapsed', 'on day 30 too late');
SELECT buy(23, day(4), 60) AS o \gset
SELECT loyalty.record_return(23, :o, amount => 20, at => day(17)) \g /dev/null
SELECT is(state(23, day(40)), 'reversed returned', 'a return on day 13');
SELECT buy(24, day(4), 60) AS o \gset
SELECT loyalty.record_return(24, :o, amount => 20, at => day(18)) \g /dev/null
SELECT is(state(24, day(40)) || '; ' || pay('{24,15}', day(40)), 'final; 500+0 500+0', 'a return on day 14');
SELECT buy(25, day(4), 60) AS o \gset
SELECT loyalty.record_return(25, :o, amount => 10, at => day(5)) \g /dev/null
SELECT is(state(25, day(40)), 'final', '50 are left');
-- an earlier order that comes late takes nothing back
SELECT buy(26, day(6), 60), buy(26, day(5), 10) \g /dev/null
SELECT is(state(26, day(40)) || '; ' || pay('{26,17}', day(40)), 'final; 500+0 500+0', 'what was promised stays');
-- with any order, another may qualify instead
SELECT referred(31, 'ANY1') \g /dev/null
SELECT buy(31, day(4), 60) AS o \gset
SELECT buy(31, day(6), 70) \g /dev/null
SELECT loyalty.record_return(31, :o, at => day(7)) \g /dev/null
SELECT is((SELECT status || ' ' || (qualified_at = day(6)) FROM loyalty.referrals(31, day(10))) || '; ' || pay('{31}', day(40)), 'qualified true; 500+0', 'the other order');

-- refusals
SELECT is(referred(1, 'ANNA1'), 'refused self', 'oneself');
SELECT buy(40, day(0), 10) \g /dev/null
SELECT is(referred(40, 'CODE3'), 'refused known', 'who has ordered before');
SELECT is(referred(10, 'CODE3'), 'refused referred already', 'once for ever');
SELECT is(referred(41, 'CODE42') || ', ' || referred(42, 'CODE43') || ', ' || referred(43, 'CODE41'), 'lapsed, lapsed, refused cycle', 'a circle');
SELECT is(string_agg(referred(m, 'CODE50', day(1, m::integer - 44)), ', ' ORDER BY m), 'lapsed, lapsed, lapsed, refused velocity', 'too many a day') FROM generate_series(45, 48) m;
SELECT is(referred(49, 'CODE50', day(2, 23)), 'lapsed', 'the next day');
SELECT throws_ok($$SELECT loyalty.refer(60, 'nobody')$$, 'LY751', 'there is no code "nobody" of a referral', 'no such code');
SELECT throws_ok($$SELECT loyalty.refer(NULL, 'CODE3')$$, 'LY003', NULL, 'nobody');
SELECT throws_ok($$SELECT loyalty.refer(61, 'CODE3', now() + interval '1 hour')$$, 'LY003', NULL, 'not yet');
-- reviews: a decision stands
SELECT buy(43, day(3), 60), buy(41, day(3), 60) \g /dev/null
SELECT is(pay('{41,43}', day(40)), '500+0 0+0', 'refused, nothing');
SELECT is(loyalty.review_referral(43, 'accept', 'they are cousins'), 'final', 'accepted');
SELECT is(pay('{41,43}', day(40)), '1000+0 500+0', 'and paid');
SELECT throws_ok($$SELECT loyalty.review_referral(43, 'refuse')$$, 'LY754', 'the referral of member 43 was reviewed already', 'once');
SELECT is(loyalty.review_referral(41, 'refuse', 'fraud') || '; ' || pay('{41,42}', now()), 'refused; 500+0 0+0', 'refused after all');
SELECT is(state(41, day(40)), 'refused fraud', 'for a reason');
SELECT throws_ok(format('SELECT loyalty.review_referral(%s)', c.arguments), c.state, NULL, c.arguments)
FROM (VALUES ($$1000, 'accept'$$, 'LY751'), ($$45, 'maybe'$$, 'LY003'), ('45, NULL', 'LY003')) c (arguments, state);

-- merged members
SELECT referred(70, 'CODE71') \g /dev/null
SELECT buy(70, day(3), 60) \g /dev/null
SELECT merge_id FROM loyalty.merge_members(71, 70) \gset
SELECT is(state(70, day(40)) || '; ' || pay('{71}', now()), 'reversed self; 0+0', 'who referred himself');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(state(70, day(40)) || '; ' || pay('{70,71}', now()), 'final; 500+0 500+0', 'and did not');
SELECT referred(72, 'CODE74', day(1)), referred(73, 'CODE75', day(2)) \g /dev/null
SELECT buy(72, day(3), 60), buy(73, day(3), 60) \g /dev/null
SELECT merge_id FROM loyalty.merge_members(72, 73) \gset
SELECT is(pay('{72,74,75}', now()), '500+0 500+0 0+0', 'of two referrals of one the earlier stands');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(pay('{72,73,74,75}', now()), '500+0 500+0 500+0 500+0', 'and both apart');
SELECT is((SELECT array_agg(format('%s %s %s', role, referrer_id, referee_id)) FROM loyalty.referrals(42)), '{"referrer 42 41","referee 43 42"}', 'both sides');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
