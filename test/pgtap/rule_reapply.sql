-- Campaigns that are decided anew by an explicit act. Numbers are worked out by
-- hand.
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
CREATE FUNCTION held(member_id bigint) RETURNS text
LANGUAGE sql AS $$ SELECT string_agg(concat_ws(' ', campaign, 'v' || version, points, limited_by), ', ' ORDER BY at, activity_id, campaign, effect) FROM loyalty.awards($1) $$;
CREATE FUNCTION changed() RETURNS text
LANGUAGE sql AS $$ SELECT status || ': ' || message FROM loyalty.job_run WHERE job = 'reapply_campaign' ORDER BY run_id DESC LIMIT 1 $$;
CREATE FUNCTION clear() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(loyalty.end_campaign(v.campaign, v.effective_from)) FROM (SELECT DISTINCT ON (campaign) * FROM loyalty.campaign_version ORDER BY campaign, version DESC) v
	WHERE v.definition IS NOT NULL
$$;

-- 14. The act of history
SELECT define('x', '{"then": [{"points": {"give": 1, "per": 1}}]}'), define('x', '{"then": [{"points": {"give": 2, "per": 1}}]}', '2026-03-01') \g /dev/null
SELECT loyalty.record_activity(1, 'order', '2026-02-28 23:59', 100.00) \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(1, 'order', '2026-03-02', 30.00) \gset
SELECT activity_id AS b FROM loyalty.record_activity(1, 'order', '2026-03-05', 10.00) \gset
SELECT loyalty.record_activity(2, 'order', '2026-03-03', 5.00) \g /dev/null
SELECT define('x', '{"then": [{"points": {"give": 3, "per": 1}}]}', '2026-03-01') \g /dev/null
SELECT loyalty.record_activity(1, 'order', '2026-03-06', 1.00) \g /dev/null
SELECT is(held(1), 'x v1 100, x v2 60, x v2 20, x v3 3', 'what was promised stays');
SELECT throws_ok($$CALL loyalty.reapply_campaign('y', '2026-03-01', 'infinity', 'r')$$, 'LY522', NULL, 'no such campaign');
SELECT throws_ok($$CALL loyalty.reapply_campaign('x', '2026-03-01', 'infinity', '')$$, 'LY003', NULL, 'no reason');
SELECT throws_ok($$CALL loyalty.reapply_campaign('x', '2026-03-01', '2026-03-01', 'r')$$, 'LY003', NULL, 'no time');
SELECT throws_ok($$CALL loyalty.reapply_campaign('x', '2026-03-01', 'infinity', 'r')$$, '25001', NULL, 'within a transaction');
CALL loyalty.reapply_campaign('x', '2026-03-01', 'infinity', 'three for March');
SELECT is(held(1), 'x v1 100, x v3 90, x v3 30, x v3 3', 'until somebody says so');
SELECT is(held(2), 'x v3 15', 'for all members');
SELECT is(changed(), 'finished: 3 activities changed', 'a job');
SELECT results_eq('SELECT points, reason FROM loyalty.award WHERE member_id = 1 AND reason IS NOT NULL ORDER BY award_id', $$VALUES (30::bigint, 'three for March'), (10, 'three for March')$$, 'with the reason');
SELECT results_eq('SELECT points, effective_at, details ->> ''activity_id'' FROM loyalty.ledger WHERE member_id = 1 ORDER BY entry_id DESC LIMIT 1',
	format($$VALUES (10::bigint, '2026-03-05'::timestamptz, '%s')$$, :b), 'at the instant of the activity');
CALL loyalty.reapply_campaign('x', '2026-03-01', 'infinity', 'three for March');
SELECT is(changed(), 'finished: 0 activities changed', 'once');
SELECT is((SELECT count(*) FROM loyalty.award WHERE reason IS NOT NULL), 3::bigint, 'and nothing is written');
SELECT is((SELECT points FROM loyalty.record_return(1, :a, amount => 10.00)), -30::bigint, 'a return decides by that version');
SELECT is((SELECT points FROM loyalty.revise_activity(1, :a, cancelled => true)), -60::bigint, 'and so does a revision');
SELECT is((SELECT points FROM loyalty.revise_activity(1, :a, cancelled => false)), 60::bigint, 'and another');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- What would lose is left as it is, unless it is said
SELECT define('x', '{"then": [{"points": {"give": 1, "per": 1}}]}', '2026-03-01') \g /dev/null
CALL loyalty.reapply_campaign('x', '-infinity', 'infinity', 'less');
SELECT is(held(1), 'x v1 100, x v3 60, x v3 30, x v3 3', 'nobody loses');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
CALL loyalty.reapply_campaign('x', '-infinity', 'infinity', 'less', take_back => true);
SELECT is(held(1), 'x v1 100, x v4 20, x v4 10, x v4 1', 'as it was said');
SELECT is((SELECT loyalty.available(balance) FROM loyalty.wallet WHERE member_id = 1), 131::bigint, 'in the wallet, too');
SELECT loyalty.end_campaign('x', '2026-03-01') \g /dev/null
CALL loyalty.reapply_campaign('x', '2026-03-05', 'infinity', 'a mistake', take_back => true);
SELECT is(held(1), 'x v1 100, x v4 20, x v5 0, x v5 0', 'it was never there');
SELECT is((SELECT points FROM loyalty.revise_activity(1, :b, amount => 99.00)), 0::bigint, 'also not for what comes of it');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- A campaign that was not there; what others gave stands, and counts
SELECT clear() \g /dev/null
SELECT define('a', '{"exclusive": {"group": "g"}, "when": {"amount": {">=": 50}}, "then": [{"points": 10}]}') \g /dev/null
SELECT loyalty.record_activity(10, 'order', '2026-05-01', 60.00), loyalty.record_activity(10, 'order', '2026-05-02', 40.00) \g /dev/null
SELECT define('a', '{"exclusive": {"group": "g"}, "when": {"amount": {">=": 50}}, "then": [{"points": 70}]}'), define('b', '{"exclusive": {"group": "g"}, "then": [{"points": 25}]}') \g /dev/null
CALL loyalty.reapply_campaign('b', '2026-05-01', 'infinity', 'new');
SELECT is(held(10), 'a v1 10, b v1 25', 'in a group, who holds something has won');
SELECT define('s', '{"stop": true, "priority": 1, "when": {"amount": {">=": 30}}, "limits": {"member": {"points": 60, "within": "month"}}, "then": [{"points": 50}]}') \g /dev/null
CALL loyalty.reapply_campaign('s', '2026-05-01', 'infinity', 'new');
SELECT is(held(10), 'a v1 10, s v1 50, b v1 25, s v1 10 member_month', 'limits count, in the order of the activities, and the others stand');
SELECT define('c', '{"then": [{"points": 1}]}') \g /dev/null
CALL loyalty.reapply_campaign('c', '2026-05-01', 'infinity', 'new');
SELECT is(held(10), 'a v1 10, s v1 50, b v1 25, s v1 10 member_month', 'behind one that stopped there is nothing');
SELECT is_empty('SELECT * FROM loyalty.check_rule()', 'all is well');
CALL loyalty.reapply_campaign('s', '2026-05-01', 'infinity', 'again');
SELECT is(changed(), 'finished: 0 activities changed', 'the same again');

-- Multipliers: of the lane as the activity has it
SELECT clear() \g /dev/null
SELECT define('base', '{"then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT loyalty.record_activity(20, 'order', '2026-05-01', 19.99) \g /dev/null
SELECT define('more', '{"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base"}]}') \g /dev/null
CALL loyalty.reapply_campaign('more', '2026-05-01', 'infinity', 'new');
SELECT is(held(20), 'base v1 19, more v1 10', '29 in all');

-- What is known now of then: the other half of a member
SELECT clear() \g /dev/null
SELECT define('first', '{"when": {"count": {"kind": "order", "within": "lifetime", "=": 0}}, "then": [{"points": 100}]}'),
	define('second', '{"when": {"count": {"kind": "order", "within": "lifetime", "=": 1}}, "then": [{"points": 5}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(30, 'order', '2026-05-02', 1) \gset
SELECT loyalty.record_activity(30, 'order', '2026-05-01', 1) \g /dev/null
SELECT is(held(30), 'first v1 100, first v1 100', 'each was the first when it came');
CALL loyalty.reapply_campaign('first', '2026-05-01', 'infinity', 'count again', take_back => true);
SELECT is(held(30), 'first v1 100, first v1 0', 'it is not');
SELECT is_empty($$SELECT * FROM loyalty.check_rule()$$, 'all is well');
CALL loyalty.reapply_campaign('second', '2026-05-01', 'infinity', 'count again');
SELECT is(held(30), 'first v1 100, first v1 0, second v1 5', 'it is the second');
SELECT is((SELECT points FROM loyalty.revise_activity(30, :a, channel => 'app')), 0::bigint, 'and stays so');
SELECT is(held(20), 'base v1 19, first v1 100, more v1 10', 'the other member has it, too; what multiplies stands');
SELECT is_empty($$SELECT * FROM loyalty.check_rule()$$, 'all is well');

-- Windows, budgets, coupons, chains
SELECT clear() \g /dev/null
SELECT loyalty.define_benefit('five', '{"kind": "coupon", "discount": {"amount": 5}}') \g /dev/null
SELECT loyalty.record_activity(40, 'order', '2026-06-01', 60.00), loyalty.record_activity(40, 'order', '2026-06-02', 60.00),
	loyalty.record_activity(41, 'order', '2026-06-02', 60.00) \g /dev/null
SELECT define('w', '{"window": "month", "having": {"amount": {">=": 100}}, "then": [{"coupon": "five"}]}'),
	define('b', '{"limits": {"total": {"points": 130}}, "then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
CALL loyalty.reapply_campaign('w', '2026-06-01', 'infinity', 'new');
CALL loyalty.reapply_campaign('b', '2026-06-01', 'infinity', 'new');
SELECT is((SELECT count(*) FROM loyalty.coupons(40)), 1::bigint, 'a coupon of the month');
SELECT is(loyalty.campaign_budget_left('b'), 0::bigint, 'a budget');
SELECT is((SELECT sum(points) FROM loyalty.award WHERE campaign = 'b' AND member_id = 41), 10::numeric, 'that ends');
SELECT is_empty($$SELECT * FROM loyalty.check_rule()$$, 'all is well');

-- A total that a version brings counts all that an activity holds once it is decided by that version, and not what was held before
SELECT clear() \g /dev/null
SELECT define('counts', '{"then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT loyalty.record_activity(50, 'order', '2026-07-01', 87.00), loyalty.record_activity(50, 'order', '2026-07-02', 9.00), loyalty.record_activity(51, 'order', '2026-07-02', 20.00) \g /dev/null
SELECT define('counts', '{"limits": {"member": {"points": 50, "within": "day"}, "total": {"points": 100}}, "then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT is(loyalty.campaign_budget_left('counts'), 100::bigint, 'what was promised before is no part of it');
SELECT is_empty($$SELECT * FROM loyalty.check_rule()$$, 'all is well');
CALL loyalty.reapply_campaign('counts', '2026-07-01', 'infinity', 'new', take_back => true);
SELECT is(held(50) || '; ' || held(51), 'counts v2 50 member_day, counts v2 9; counts v2 20', 'decided again');
SELECT is(loyalty.campaign_budget_left('counts'), 21::bigint, 'and counted');
SELECT is_empty($$SELECT * FROM loyalty.check_rule()$$, 'all is well');

-- Who may not
CREATE ROLE reapply_clerk;
SELECT loyalty.grant_access('reapply_clerk', 'app') \g /dev/null
SET ROLE reapply_clerk;
SELECT throws_ok($$SELECT loyalty.reapply_activity(1, 1, 'b', 'r', true)$$, '42501', NULL, 'the till changes no history');
RESET ROLE;
SELECT * FROM finish();
