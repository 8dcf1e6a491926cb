-- Campaigns over windows: what comes of one does not depend on the order in
-- which its activities are recorded, nor on merges that are undone. Numbers are
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
CREATE FUNCTION held(member_id bigint, campaign text) RETURNS bigint
LANGUAGE sql AS $$ SELECT coalesce(sum(points), 0)::bigint FROM loyalty.award a WHERE a.member_id = ANY (loyalty.numbers_of($1)) AND a.campaign = $2 $$;
-- records activities, given as (at, amount, zone), in their order for one member and the other way round for another
CREATE FUNCTION both_ways(kind text, activities text[], member_id bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	n CONSTANT integer := array_length(activities, 1);
	parts text[];
BEGIN
	FOR way IN 0 .. 1 LOOP
		FOR i IN 1 .. n LOOP
			parts := string_to_array(activities[CASE way WHEN 0 THEN i ELSE n + 1 - i END], ' ');
			PERFORM loyalty.record_activity(member_id + way, kind, parts[1]::timestamptz, parts[2]::numeric, external_id => parts[1] || '/' || parts[2], time_zone => parts[3]);
		END LOOP;
	END LOOP;
END
$$;

-- What belongs to one activity has no place in a campaign over a window
SELECT is((SELECT string_agg(severity || ' ' || path, ', ') FROM loyalty.check_campaign(definition::jsonb)), problems, definition)
FROM (VALUES
	('{"window": "month", "stop": true, "then": [{"points": 1}]}', 'error stop'),
	('{"window": "month", "stop": false, "then": [{"points": 1}]}', NULL),
	('{"window": "month", "exclusive": {"group": "g"}, "then": [{"points": 1}]}', 'error exclusive'),
	('{"window": "month", "available_after": "confirmed", "then": [{"points": 1}]}', 'error available_after'),
	('{"window": "month", "available_after": "1 day", "then": [{"points": 1}]}', NULL),
	('{"window": "month", "treat": {"channel": ["app"]}, "then": [{"points": 1}]}', 'error treat'),
	('{"window": "month", "treat": {"not": {"count": {"kind": "order", "within": "month", "=": 0}}}, "then": [{"points": 1}]}', 'error treat'),
	('{"window": "month", "treat": {"any": [{"attribute": {"city": ["Bonn"]}}, {"tier": {"club": ["gold"]}}]}, "then": [{"points": 1}]}', NULL),
	('{"window": "month", "lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', 'error then[0]')
) v (definition, problems);

-- Another campaign that says stop ends no window, whichever activity comes last
SELECT loyalty.define_activity_kind('visit') \g /dev/null
SELECT define('stopper', '{"on": ["visit"], "priority": 1, "stop": true, "when": {"amount": {">=": 70}}, "then": [{"points": 5}]}'),
	define('behind', '{"on": ["visit"], "then": [{"points": 1}]}'),
	define('sum', '{"on": ["visit"], "window": "month", "having": {"amount": {">=": 100}}, "then": [{"points": 20}]}') \g /dev/null
SELECT both_ways('visit', '{2026-03-02 80 UTC,2026-03-03 30 UTC}', 1) \g /dev/null
SELECT is(held(m, c), points, format('%s of %s', c, m)) FROM (VALUES (1, 'stopper', 5::bigint), (1, 'behind', 1), (1, 'sum', 20), (2, 'stopper', 5), (2, 'behind', 1), (2, 'sum', 20)) v (m, c, points);
SELECT is((SELECT string_agg(campaign || ' ' || points, ', ' ORDER BY campaign) FROM loyalty.preview_activity(3, 'visit', '2026-03-05', 100) WHERE points <> 0), 'stopper 5, sum 20', 'previewed likewise');
SELECT is((SELECT string_agg(campaign || ' ' || points || coalesce(' ' || why, ''), ', ' ORDER BY campaign) FROM loyalty.evaluate_campaigns(
	'{"a": {"stop": true, "priority": 1, "then": [{"points": 5}]}, "b": {"then": [{"points": 1}]}, "w": {"window": "month", "then": [{"points": 20}]}}', '{"amount": 5}')),
	'a 5, b 0 lost to a, w 20', 'and as a pure function');

-- It begins, and ends, in the middle of a window: what happened before and after does not count
SELECT define('begins', '{"on": ["like"], "window": "month", "having": {"amount": {">=": 100}}, "then": [{"points": 20}]}', '2026-03-10'),
	define('ends', '{"on": ["comment"], "window": "month", "having": {"amount": {">=": 100}}, "then": [{"points": 20}]}'), loyalty.end_campaign('ends', '2026-03-15') \g /dev/null
SELECT both_ways('like', '{2026-03-03 60 UTC,2026-03-12 50 UTC}', 11), both_ways('comment', '{2026-03-03 60 UTC,2026-03-16 50 UTC}', 13) \g /dev/null
SELECT is(held(m, 'begins') + held(m, 'ends'), 0::bigint, 'half of it: ' || m) FROM generate_series(11, 14) m;
SELECT loyalty.record_activity(11, 'like', '2026-03-13', 50, external_id => 'x'), loyalty.record_activity(13, 'comment', '2026-03-14', 40, external_id => 'x') \g /dev/null
SELECT is(held(11, 'begins'), 20::bigint, 'enough since it began');
SELECT is(held(13, 'ends'), 20::bigint, 'enough before it ended');

-- and where it begins again in the middle of one, what lies between does not count
SELECT loyalty.define_activity_kind('call') \g /dev/null
SELECT define('again', '{"on": ["call"], "window": "month", "having": {"amount": {">=": 100}}, "then": [{"points": 20}]}'), loyalty.end_campaign('again', '2026-02-10'),
	define('again', '{"on": ["call"], "window": "month", "having": {"amount": {">=": 100}}, "then": [{"points": 30}]}', '2026-03-10') \g /dev/null
SELECT both_ways('call', '{2026-03-03 60 UTC,2026-03-12 90 UTC}', 15) \g /dev/null
SELECT is(held(m, 'again'), 0::bigint, 'too little since it began again: ' || m) FROM generate_series(15, 16) m;
SELECT loyalty.record_activity(15, 'call', '2026-03-11', 10, external_id => 'x') \g /dev/null
SELECT is(held(15, 'again'), 30::bigint, 'and enough, by the version that begins then');

-- It is defined late: it counts what was recorded before, and hears what becomes of it
SELECT activity_id AS a FROM loyalty.record_activity(21, 'share', '2026-03-03', 60, external_id => 'a') \gset
SELECT define('late', '{"on": ["share"], "window": "month", "having": {"amount": {">=": 100}}, "then": [{"points": 20}]}', '2026-03-01') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(21, 'share', '2026-03-12', 50, external_id => 'b')), 20::bigint, 'together they are enough');
SELECT is((SELECT points FROM loyalty.record_return(21, :a, amount => 30, at => '2026-03-20')), -20::bigint, 'part of the first is returned');
SELECT is((SELECT value_now FROM loyalty.backtest_summary('{}', kinds => '{share}') WHERE measure = 'points'), 0::numeric, 'and so it is played back');

-- Months begin by the clock of the program, in whatever zones activities lie
SELECT define('zones', '{"on": ["review"], "window": "month", "then": [{"points": {"give": 1, "per": 1}}]}'),
	define('zones', '{"on": ["review"], "window": "month", "then": [{"points": {"give": 2, "per": 1}}]}', '2026-04-01 00:00Z') \g /dev/null
SELECT both_ways('review', '{2026-04-02T12:00Z 10 Asia/Tokyo,2026-04-03T12:00Z 10 America/New_York}', 31) \g /dev/null
SELECT is(held(m, 'zones'), 40::bigint, 'the version of April: ' || m) FROM generate_series(31, 32) m;

-- A campaign does not become one over windows, nor the other way round: what it gave would count twice
SELECT define('plain', '{"on": ["game"], "then": [{"points": 1}]}') \g /dev/null
SELECT throws_ok($$SELECT define('plain', '{"on": ["game"], "window": "month", "then": [{"points": 1}]}', '2026-02-01')$$, 'LY521', 'invalid definition of campaign "plain"', 'it gets no window');
SELECT throws_ok($$SELECT define('late', '{"on": ["share"], "then": [{"points": 1}]}', '2026-04-01')$$, 'LY521', 'invalid definition of campaign "late"', 'and keeps the one it has');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');

-- Two members of whom each has something of a window are one, and two again
SELECT loyalty.define_benefit('ten', '{"kind": "coupon", "discount": {"percent": 10}}') \g /dev/null
SELECT define('both', '{"on": ["survey"], "window": "month", "having": {"amount": {">=": 100}}, "limits": {"member": {"times": 2, "within": "year"}, "total": {"times": 10}}, "then": [{"points": 20}, {"coupon": "ten"}]}') \g /dev/null
SELECT member_id AS x FROM loyalty.resolve_member('{"email": "a@example.com"}') \gset
SELECT member_id AS y FROM loyalty.resolve_member('{"email": "b@example.com"}') \gset
CREATE FUNCTION times_of(member_id bigint) RETURNS numeric
LANGUAGE sql AS $$ SELECT coalesce(sum(used), 0) FROM loyalty.award_counter c WHERE c.member_id = ANY (loyalty.numbers_of($1)) AND counter = 'both/year/times' $$;
SELECT loyalty.record_activity(:x, 'survey', '2026-03-02', 150, external_id => 'x') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(:y, 'survey', '2026-03-03', 150, external_id => 'y') \gset
SELECT results_eq(format('SELECT times_of(%s), times_of(%s), loyalty.escrow_left(''campaign/both/times'')', :x, :y), 'VALUES (1::numeric, 1::numeric, 8::bigint)', 'each counts once');
SELECT merge_id FROM loyalty.merge_members(:x, :y) \gset
SELECT results_eq(format('SELECT times_of(%s), times_of(%s), loyalty.escrow_left(''campaign/both/times'')', :x, :y), 'VALUES (1::numeric, 1::numeric, 9::bigint)', 'together it is one time');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well as soon as they are one');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT results_eq(format('SELECT times_of(%s), times_of(%s), loyalty.escrow_left(''campaign/both/times'')', :x, :y), 'VALUES (1::numeric, 1::numeric, 8::bigint)', 'and two again');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well as soon as they are two');
SELECT merge_id FROM loyalty.merge_members(:x, :y) \gset
SELECT results_eq(format($$SELECT points, replayed FROM loyalty.record_activity(%s, 'survey', '2026-03-04', 10, external_id => 'z', idempotency_key => 'k')$$, :y), 'VALUES (-20::bigint, false)', 'the next of March decides for both');
SELECT results_eq(format($$SELECT points, replayed FROM loyalty.record_activity(%s, 'survey', '2026-03-04', 10, external_id => 'z', idempotency_key => 'k')$$, :y), 'VALUES (-20::bigint, true)', 'as a retry says');
SELECT is((SELECT points FROM loyalty.record_activity(:x, 'survey', '2026-04-04', 100, external_id => 'april')), 20::bigint, 'April is the second time');
SELECT is((SELECT points FROM loyalty.record_activity(:x, 'survey', '2026-05-04', 100, external_id => 'may')), 0::bigint, 'and the last');
SELECT is((SELECT count(*) FROM loyalty.coupons(:x) WHERE state = 'issued'), 2::bigint, 'a coupon of each');
SELECT is((SELECT available FROM loyalty.balance(:x)), 40::bigint, '20 of each');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');
-- what is taken back is taken from the number that had it
SELECT is((SELECT points FROM loyalty.record_return(:y, :a)), 0::bigint, 'the other order still is enough');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT results_eq(format('SELECT held(%s, ''both''), held(%s, ''both''), times_of(%1$s), times_of(%2$s), loyalty.escrow_left(''campaign/both/times'')', :x, :y),
	'VALUES (42::bigint, 0::bigint, 2::numeric, 0::numeric, 8::bigint)', 'each has what is left of its own');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');
SELECT is((SELECT points FROM loyalty.record_activity(:y, 'survey', '2026-03-08', 100, external_id => 'own')), 20::bigint, 'alone it has it again');
SELECT is((SELECT points FROM loyalty.record_activity(:x, 'survey', '2026-03-08', 1, external_id => 'own')), 0::bigint, 'and the other keeps it');
SELECT results_eq(format('SELECT (SELECT available FROM loyalty.balance(%s)), (SELECT available FROM loyalty.balance(%s)), loyalty.escrow_left(''campaign/both/times'')', :x, :y), 'VALUES (40::bigint, 20::bigint, 7::bigint)', 'in their wallets, too');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');
-- no points out of nothing, and no order refused, once what one had was taken back of both
SELECT member_id AS v FROM loyalty.resolve_member('{"email": "c@example.com"}') \gset
SELECT member_id AS w FROM loyalty.resolve_member('{"email": "d@example.com"}') \gset
SELECT activity_id AS a FROM loyalty.record_activity(:w, 'survey', '2026-03-03', 150, external_id => 'w') \gset
SELECT merge_id FROM loyalty.merge_members(:v, :w) \gset
SELECT is((SELECT points FROM loyalty.record_return(:w, :a)), -20::bigint, 'taken back');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(m, 'survey', '2026-03-09', 5, external_id => 'small')), 0::bigint, 'nothing for nothing') FROM (VALUES (:v), (:w)) v (m);
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');

-- An activity with which a window is not enough any more: each effect is foreseen, and taken back
SELECT define('second', '{"on": ["survey"], "window": "month", "when": {"count": {"kind": "survey", "within": "lifetime", "=": 1}}, "having": {"amount": {">=": 100}}, "then": [{"points": 20}, {"points": 7}, {"coupon": "ten"}]}') \g /dev/null
SELECT member_id AS x FROM loyalty.resolve_member('{"email": "e@example.com"}') \gset
SELECT loyalty.record_activity(:x, 'survey', '2026-03-01', 1, external_id => 'first') \g /dev/null
SELECT loyalty.record_activity(:x, 'survey', '2026-03-10', 150, external_id => 'second') \g /dev/null
SELECT is(held(:x, 'second'), 28::bigint, 'the second has 20 and 7 points, and a coupon');
SELECT results_eq(format($$SELECT effect, points, why FROM loyalty.preview_activity(%s, 'survey', '2026-03-05', 10) WHERE campaign = 'second' ORDER BY effect$$, :x),
	$$VALUES (1, -20::bigint, 'does not match: having.amount'), (2, -7, 'does not match: having.amount'), (3, NULL, 'does not match: having.amount')$$, 'one that comes between is the second, and is not enough');
SELECT loyalty.record_activity(:x, 'survey', '2026-03-05', 10, external_id => 'between') \g /dev/null
SELECT is(held(:x, 'second'), 0::bigint, 'and so it is recorded');
SELECT is((SELECT count(*) FROM loyalty.preview_activity(:x, 'survey', '2026-03-06', 10) WHERE campaign = 'second'), 1::bigint, 'one that takes back nothing has one row');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');
SELECT * FROM finish();
