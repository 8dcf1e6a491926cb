-- What activities earn, in the program: revisions, returns, limits, budgets,
-- windows, versions, chains. Numbers are worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.define_campaign('c', '{"then": [{"points": 1}]}')$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.create_currency('points', 'Points') \g /dev/null

CREATE FUNCTION define(campaign text, definition text, since timestamptz DEFAULT '2026-01-01') RETURNS integer
LANGUAGE sql AS $$ SELECT loyalty.define_campaign($1, $2::jsonb, $3) $$;
CREATE FUNCTION held(member_id bigint, campaign text DEFAULT NULL) RETURNS bigint
LANGUAGE sql AS $$ SELECT coalesce(sum(points), 0)::bigint FROM loyalty.award a WHERE a.member_id = $1 AND ($2 IS NULL OR a.campaign = $2) $$;
-- each test begins with no campaign
CREATE FUNCTION clear() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(loyalty.end_campaign(v.campaign, v.effective_from)) FROM (SELECT DISTINCT ON (campaign) * FROM loyalty.campaign_version ORDER BY campaign, version DESC) v
	WHERE v.definition IS NOT NULL
$$;

-- Definitions
SELECT throws_ok($$SELECT loyalty.define_campaign('c', '{"then": [{"points": 1.5}]}')$$, 'LY521', 'invalid definition of campaign "c"', 'a mistake');
SELECT throws_ok($$SELECT loyalty.define_campaign('C', '{"then": [{"points": 1}]}')$$, 'LY003', NULL, 'a name');
SELECT throws_ok($$SELECT loyalty.define_campaign('c', NULL)$$, 'LY003', NULL, 'no definition');
SELECT throws_ok($$SELECT loyalty.define_campaign('c', '{"then": [{"points": 1, "currency": "gems"}]}')$$, 'LY102', NULL, 'no such currency');
SELECT throws_ok($$SELECT loyalty.define_campaign('c', '{"on": ["yawn"], "then": [{"points": 1}]}')$$, 'LY501', NULL, 'no such kind');
SELECT throws_ok($$SELECT loyalty.end_campaign('c')$$, 'LY522', NULL, 'no such campaign');
SELECT throws_ok(call, state, message, call) FROM (VALUES
	($$SELECT loyalty.backtest_summary('{}', currency => 'gems')$$, 'LY102', NULL),
	($$SELECT loyalty.backtest_campaigns('{}', kinds => '{order,yawn}')$$, 'LY501', 'there is no kind of activity "yawn"'),
	($$SELECT loyalty.backtest_campaigns('{}', kinds => '{order,NULL}')$$, 'LY003', 'a kind must not be NULL'),
	($$SELECT loyalty.backtest_summary('{}', '2026-02-01', '2026-02-01')$$, 'LY003', 'until must be after from_at')) v (call, state, message);
SELECT is(define('c', '{"then": [{"points": 1}]}'), 1, 'a version');
SELECT is(define('c', '{"then": [{"points": 1}]}'), 1, 'the same again');
SELECT is(define('c', '{"then": [{"points": 2}]}', '2026-02-01'), 2, 'another');
SELECT throws_ok($$SELECT define('c', '{"then": [{"points": 3}]}')$$, 'LY523', NULL, 'one that begins before the last');
SELECT throws_ok($$SELECT loyalty.end_campaign('c', 'infinity')$$, 'LY003', 'at must be finite', 'an end that never comes');
SELECT is(loyalty.end_campaign('c', '2026-03-01'), 3, 'the end');
SELECT is((SELECT points FROM loyalty.record_activity(1, 'order', at)), points, 'at ' || at)
FROM (VALUES ('2025-12-31'::timestamptz, 0::bigint), ('2026-01-01', 1), ('2026-02-15', 2), ('2026-03-01', 0)) v (at, points);

-- 25. Whatever happened to the row
SELECT clear() \g /dev/null
SELECT define('base', '{"then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(10, 'order', '2026-05-01', 50.00) \gset
SELECT is(points, expected, step) FROM (VALUES
	((SELECT points FROM loyalty.revise_activity(10, :a, amount => 80.00)), 30::bigint, 'raised'),
	((SELECT points FROM loyalty.revise_activity(10, :a, amount => 20.00, cancelled => true)), -80, 'cancelled and lowered'),
	((SELECT points FROM loyalty.revise_activity(10, :a, amount => 60.00, cancelled => false)), 60, 'reopened'),
	((SELECT points FROM loyalty.revise_activity(10, :a, to_member_id => 11)), 60, 'moved'),
	((SELECT points FROM loyalty.record_return(11, :a, amount => 10.00, at => '2026-05-02')), -10, 'returned')) v (points, expected, step);
SELECT is(held(10), 0::bigint, 'nothing is left there');
SELECT is(held(11), 50::bigint, 'all is here');
SELECT is((SELECT available FROM loyalty.wallet w, LATERAL (SELECT loyalty.available(w.balance)) b (available) WHERE member_id = 11), 50::bigint, 'and in the wallet');

-- in whatever order the same things happen, the same is left: each revision says what the order is, by itself
SELECT loyalty.record_activity(200 + n, 'order', '2026-05-01', 50.00) FROM generate_series(1, 6) n \g /dev/null
CREATE FUNCTION happens(member_id bigint, step text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	a CONSTANT bigint := (SELECT t.activity_id FROM loyalty.activity t WHERE t.member_id = happens.member_id);
BEGIN
	RETURN CASE step WHEN 'u' THEN (SELECT points FROM loyalty.revise_activity(member_id, a, channel => 'app'))
		WHEN 'c' THEN (SELECT sum(points) FROM unnest('{t,f}'::boolean[]) c, loyalty.revise_activity(member_id, a, cancelled => c))
		WHEN 'r' THEN (SELECT points FROM loyalty.record_return(member_id, a, amount => 10.00, at => '2026-05-02')) END;
END
$$;
SELECT results_eq($$SELECT sum(happens(200 + n, step)) FROM unnest('{ucr,urc,cur,cru,ruc,rcu}'::text[]) WITH ORDINALITY o (steps, n),
	LATERAL regexp_split_to_table(o.steps, '') step GROUP BY n ORDER BY n$$, 'SELECT -10::numeric FROM generate_series(1, 6)', 'the same steps in any order');
SELECT is(held(200 + n), 40::bigint, 'ends alike') FROM generate_series(1, 6) n;

-- 18. A retry
SELECT activity_id AS a FROM loyalty.record_activity(12, 'order', '2026-05-01', 10.00, idempotency_key => 'k') \gset
SELECT results_eq($$SELECT activity_id, points, awards, replayed FROM loyalty.record_activity(12, 'order', '2026-05-01', 10.00, idempotency_key => 'k')$$,
	format('VALUES (%s::bigint, 10::bigint, 1, true)', :a), 'a retry');
SELECT throws_ok($$SELECT loyalty.record_activity(12, 'order', '2026-05-01', 10.01, idempotency_key => 'k')$$, 'LY004', NULL, 'with other arguments');
SELECT is(held(12), 10::bigint, 'nothing was written');

-- 11. Every 300 gives 50; 13. no drift
SELECT clear() \g /dev/null
SELECT define('every', '{"then": [{"points": {"give": 50, "every": 300}}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(20, 'order', '2026-05-01', 650.00) \gset
SELECT is(held(20), 100::bigint, '650.00');
SELECT is((SELECT points FROM loyalty.record_return(20, :a, amount => 100.00)), -50::bigint, '100.00 returned');
SELECT is((SELECT points FROM loyalty.record_return(20, :a, amount => 251.00)), -50::bigint, '251.00 more');
SELECT clear() \g /dev/null
SELECT define('base', '{"then": [{"points": {"give": 1, "per": 1}}]}'), define('more', '{"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base"}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(21, 'order', '2026-05-01', lines => '[{"amount": 33.33}, {"amount": 33.33}, {"amount": 33.34}]') \gset
SELECT is(held(21), 150::bigint, 'three thirds');
SELECT is((SELECT points FROM loyalty.record_return(21, :a, format('[{"line": %s}]', line)::jsonb)), -50::bigint, 'one returned') FROM generate_series(1, 3) line;

-- 12. Below a threshold; a group; a cap
SELECT clear() \g /dev/null
SELECT define('base', '{"then": [{"points": {"give": 1, "per": 1}}]}'), define('bonus', '{"when": {"amount": {">=": 300}}, "then": [{"points": 100}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(30, 'order', '2026-05-01', lines => '[{"amount": 290.00}, {"amount": 20.00}]') \gset
SELECT is(held(30), 410::bigint, '310.00');
SELECT is((SELECT points FROM loyalty.record_return(30, :a, '[{"line": 2}]')), -120::bigint, '20.00 returned');
SELECT is((SELECT points FROM loyalty.record_return(30, :a)), -290::bigint, 'the rest');
SELECT clear() \g /dev/null
SELECT define('a', '{"exclusive": {"group": "g"}, "when": {"amount": {">=": 300}}, "limits": {"award": 70}, "then": [{"points": 100}]}'),
	define('b', '{"exclusive": {"group": "g"}, "then": [{"points": 40}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(31, 'order', '2026-05-01', lines => '[{"amount": 290.00}, {"amount": 15.00}, {"amount": 5.00}]') \gset
SELECT is(held(31, 'a'), 70::bigint, 'a cap of one award');
SELECT is((SELECT points FROM loyalty.record_return(31, :a, '[{"line": 3}]')), 0::bigint, '305.00 is left');
SELECT is((SELECT points FROM loyalty.record_return(31, :a, '[{"line": 2}]')), -30::bigint, 'the other of the group wins');
SELECT is(held(31, 'b'), 40::bigint, 'b');

-- 9 and 24. Limits, by days of the member
SELECT clear() \g /dev/null
SELECT define('base', '{"limits": {"member": {"points": 500, "within": "day"}}, "then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(40, 'order', '2026-03-29 10:00Z', 430.00, time_zone => 'Europe/Berlin') \gset
SELECT is((SELECT points FROM loyalty.record_activity(40, 'order', '2026-03-29 21:59:59Z', 120.00, time_zone => 'Europe/Berlin')), 70::bigint, 'before midnight');
SELECT is((SELECT limited_by FROM loyalty.award WHERE member_id = 40 AND points = 70), 'member_day', 'by its limit');
SELECT is((SELECT points FROM loyalty.record_activity(40, 'order', '2026-03-29 22:00Z', 120.00, time_zone => 'Europe/Berlin')), 120::bigint, 'after midnight');
SELECT is((SELECT points FROM loyalty.record_return(40, :a, at => '2026-03-29 23:00Z')), -430::bigint, 'returned');
SELECT is((SELECT used FROM loyalty.award_counter WHERE member_id = 40 AND period = '2026-03-29'), 70::bigint, 'the counter');
SELECT is((SELECT points FROM loyalty.record_activity(40, 'order', '2026-03-29 12:00Z', 600.00, time_zone => 'Europe/Berlin')), 430::bigint, 'another that day');
SELECT activity_id AS a FROM loyalty.record_activity(41, 'order', '2026-05-01', 100.00) \gset
SELECT activity_id AS b, points AS first FROM loyalty.record_activity(41, 'order', '2026-05-01', 450.00) \gset
SELECT is(:first::bigint, 400::bigint, 'B');
SELECT is((SELECT points FROM loyalty.revise_activity(41, :b, amount => 380.00)), -20::bigint, 'B lowered');
SELECT is((SELECT points FROM loyalty.revise_activity(41, :b, amount => 450.00)), 20::bigint, 'B back');
SELECT is((SELECT points FROM loyalty.revise_activity(41, :a, cancelled => true)), -100::bigint, 'A cancelled');
SELECT is((SELECT points FROM loyalty.revise_activity(41, :b, channel => 'app')), 0::bigint, 'B without a change');
SELECT is((SELECT points FROM loyalty.record_activity(41, 'order', '2026-05-01', 600.00)), 100::bigint, 'C');
SELECT is((SELECT points FROM loyalty.revise_activity(41, :a, cancelled => false)), 0::bigint, 'A reopened');
SELECT is((SELECT points FROM loyalty.revise_activity(41, :b, amount => 500.00)), 0::bigint, 'B raised');
SELECT is((SELECT used FROM loyalty.award_counter WHERE member_id = 41), 500::bigint, 'the counter ends at 500');
-- an activity that moves to another day is counted there
SELECT activity_id AS a FROM loyalty.record_activity(42, 'order', '2026-05-01', 400.00) \gset
SELECT loyalty.record_activity(42, 'order', '2026-05-02', 300.00) \g /dev/null
SELECT is((SELECT points FROM loyalty.revise_activity(42, :a, at => '2026-05-02')), -200::bigint, 'on the other day 200 are left');
SELECT results_eq($$SELECT period, used FROM loyalty.award_counter WHERE member_id = 42 ORDER BY 1$$, $$VALUES ('2026-05-01'::date, 0::bigint), ('2026-05-02', 500)$$, 'both counters');

-- 29. A limit that is shared; 28. first, late
SELECT clear() \g /dev/null
SELECT define('liked', '{"on": ["like"], "limits": {"member": {"points": 100, "within": "day", "name": "daily"}}, "then": [{"points": 10}]}'),
	define('shared', '{"on": ["share"], "limits": {"member": {"points": 100, "within": "day", "name": "daily"}}, "then": [{"points": 50}]}') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(50, kind, '2026-05-01', external_id => n::text)), points, format('%s %s', kind, n))
FROM (VALUES (1, 'like', 10::bigint), (2, 'like', 10), (3, 'like', 10), (4, 'share', 50), (5, 'share', 20), (6, 'like', 0)) v (n, kind, points);
SELECT clear() \g /dev/null
SELECT define('first', '{"when": {"count": {"kind": "order", "within": "lifetime", "=": 0}}, "limits": {"member": {"times": 1, "within": "lifetime"}}, "then": [{"points": 200}]}') \g /dev/null
SELECT activity_id AS a, points AS first FROM loyalty.record_activity(51, 'order', '2026-05-05', 10.00) \gset
SELECT is(:first::bigint, 200::bigint, 'the first');
SELECT is((SELECT points FROM loyalty.record_activity(51, 'order', '2026-05-02', 10.00)), 0::bigint, 'an earlier one, late');
SELECT is((SELECT points FROM loyalty.record_return(51, :a)), -200::bigint, 'the first is returned');
SELECT is((SELECT points FROM loyalty.record_activity(51, 'order', '2026-05-09', 10.00)), 0::bigint, 'the next is not the first');

-- 10. A budget
SELECT clear() \g /dev/null
SELECT define('summer', '{"limits": {"total": {"points": 1000}}, "then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(60, 'order', '2026-05-01', 400.00) \gset
SELECT is((SELECT points FROM loyalty.record_activity(m, 'order', '2026-05-01', 400.00)), points, 'member ' || m) FROM (VALUES (61, 400::bigint), (62, 200), (63, 0)) v (m, points);
SELECT is(loyalty.campaign_budget_left('summer'), 0::bigint, 'nothing is left');
SELECT is((SELECT points FROM loyalty.revise_activity(60, :a, amount => 150.00)), -250::bigint, 'one is lowered');
SELECT is(loyalty.campaign_budget_left('summer'), 250::bigint, 'and what it frees is there');
SELECT is((SELECT points FROM loyalty.record_activity(64, 'order', '2026-05-01', 400.00)), 250::bigint, 'for whoever comes');
SELECT clear() \g /dev/null
SELECT define('all', '{"at_limit": "refuse", "limits": {"total": {"points": 1000}}, "then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(65, 'order', '2026-05-01', 400.00, external_id => n::text)), points, 'all or nothing') FROM (VALUES (1, 400::bigint), (2, 400), (3, 0)) v (n, points);
SELECT is(loyalty.campaign_budget_left('all'), 200::bigint, '200 are left');
SELECT define('all', '{"at_limit": "refuse", "limits": {"total": {"points": 1500}}, "then": [{"points": {"give": 1, "per": 1}}]}') \g /dev/null
SELECT is(loyalty.campaign_budget_left('all'), 700::bigint, 'a budget is raised');
-- 7. Stop only if it gave
SELECT clear() \g /dev/null
SELECT define('x', '{"stop": true, "priority": 1, "limits": {"total": {"points": 10}}, "then": [{"points": 10}]}'), define('y', '{"then": [{"points": 7}]}') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(66, 'order', '2026-05-01', 400.00, external_id => n::text)), points, 'stop') FROM (VALUES (1, 10::bigint), (2, 7)) v (n, points);

-- 14. Which version
SELECT clear() \g /dev/null
SELECT define('x', '{"then": [{"points": {"give": 1, "per": 1}}]}'), define('x', '{"then": [{"points": {"give": 2, "per": 1}}]}', '2026-03-01') \g /dev/null
SELECT loyalty.record_activity(70, 'order', '2026-02-28 23:59', 10.00) \g /dev/null
SELECT is(held(70, 'x'), 10::bigint, 'the version of its instant');
SELECT activity_id AS a FROM loyalty.record_activity(70, 'order', '2026-03-05', 10.00) \gset
SELECT define('x', '{"then": [{"points": {"give": 3, "per": 1}}]}', '2026-03-01') \g /dev/null
SELECT is((SELECT points FROM loyalty.revise_activity(70, :a, amount => 11.00)), 2::bigint, 'what was recorded before knows nothing of a later one');
SELECT is((SELECT points FROM loyalty.record_activity(70, 'order', '2026-03-02', 10.00)), 30::bigint, 'what is recorded now does');

-- 26. A window
SELECT clear() \g /dev/null
SELECT define('march', '{"window": "month", "having": {"amount": {">=": 1000}}, "then": [{"points": 200}]}'),
	define('kept', '{"window": "month", "having": {"amount": {">=": 1000}}, "on_return": "keep", "then": [{"points": 1}]}') \g /dev/null
SELECT activity_id AS a, points AS first FROM loyalty.record_activity(80, 'order', '2026-03-03', 600.00) \gset
SELECT is(:first::bigint, 0::bigint, '600.00');
SELECT is((SELECT points FROM loyalty.record_activity(80, 'order', '2026-03-20', 500.00)), 201::bigint, '1,100.00');
SELECT is((SELECT points FROM loyalty.record_return(80, :a, amount => 200.00, at => '2026-04-05')), -200::bigint, '900.00');
SELECT is((SELECT points FROM loyalty.record_activity(80, 'order', '2026-03-10', 150.00)), 200::bigint, '1,050.00, late');
SELECT is((SELECT max(effective_at) FROM loyalty.ledger WHERE member_id = 80 AND kind = 'earn'), '2026-03-20'::timestamptz, 'effective with the last of the window');
SELECT is((SELECT points FROM loyalty.record_activity(80, 'order', '2026-04-10', 950.00)), 0::bigint, 'another month');
-- 15. Brackets
SELECT loyalty.create_currency('cash', 'Cash') \g /dev/null
SELECT define('back', '{"window": "month", "then": [{"brackets": [[0, 1], [5000, 1.2], [7500, 1.5], [10000, 0]], "currency": "cash"}]}') \g /dev/null
SELECT loyalty.record_activity(81, 'order', '2026-05-01', 4800.00) \g /dev/null
SELECT is(held(81, 'back'), 4800::bigint, '4,800.00');
SELECT activity_id AS a FROM loyalty.record_activity(81, 'order', '2026-05-02', 400.00) \gset
SELECT is(held(81, 'back'), 5240::bigint, '5,200.00');
SELECT loyalty.record_return(81, :a) \g /dev/null
SELECT is(held(81, 'back'), 4800::bigint, 'returned');
SELECT loyalty.record_activity(82, 'order', '2026-05-03', 12000.00) \g /dev/null
SELECT is(held(82, 'back'), 11750::bigint, '12,000.00: 50 + 30 + 37.50, in cents');
-- orders of 4,800.00, 400.00 and 2,600.00 (7,800.00: 50 + 30 + 4.50), the last two returned in either order
SELECT loyalty.record_activity(m, 'order', at, amount, external_id => at::text)
FROM unnest('{83,84}'::bigint[]) m, (VALUES ('2026-05-04'::timestamptz, 4800.00), ('2026-05-05', 400.00), ('2026-05-06', 2600.00)) o (at, amount) \g /dev/null
SELECT is(held(m, 'back'), 8450::bigint, '7,800.00 of ' || m) FROM unnest('{83,84}'::bigint[]) m;
CREATE FUNCTION returned(member_id bigint, day timestamptz) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(loyalty.record_return($1, a.activity_id, at => '2026-05-20')) FROM loyalty.activity a WHERE a.member_id = $1 AND a.at = $2;
	SELECT held($1, 'back')
$$;
SELECT is(returned(m, day), expected, format('%s of %s returned', day::date, m))
FROM (VALUES (83, '2026-05-05'::timestamptz, 7880::bigint), (83, '2026-05-06', 4800), (84, '2026-05-06', 5240), (84, '2026-05-05', 4800)) v (m, day, expected);

-- 17. Once in 300 days, whatever becomes of the birthday; 30. a gift card in the order
SELECT clear() \g /dev/null
SELECT member_id AS m FROM loyalty.resolve_member('{"email": "born@example.com"}', attributes => '{"birthday": "1990-03-01"}') \gset
SELECT define('birthday', '{"when": {"birthday": {}}, "limits": {"member": {"times": 1, "within": "300 days"}}, "then": [{"points": 50}]}', '2025-01-01') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(:m, 'order', '2025-03-01 12:00', 10.00)), 50::bigint, 'the gift of March');
SELECT loyalty.resolve_member('{"email": "born@example.com"}', attributes => '{"birthday": "1990-06-01"}') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(:m, 'order', at, 10.00)), points, 'after the birthday has moved: ' || at)
FROM (VALUES ('2025-06-01 12:00'::timestamptz, 0::bigint), ('2026-03-01 12:00', 0), ('2026-06-01 12:00', 50)) v (at, points);
SELECT clear() \g /dev/null
SELECT define('base', '{"then": [{"points": {"give": 1, "per": 1}}]}'), define('from_100', '{"when": {"amount": {">=": 100}}, "then": [{"points": 7}]}') \g /dev/null
SELECT activity_id AS a, points AS first FROM loyalty.record_activity(85, 'order', '2026-05-01', lines => '[{"amount": 60.00}, {"amount": 40.00, "earns": false}]') \gset
SELECT is(:first::bigint, 67::bigint, 'it counts in the amount, and earns nothing');
SELECT is((SELECT points FROM loyalty.record_return(85, :a, '[{"line": 2}]')), -7::bigint, 'returned: the condition is lost, the base is not');

-- Points that wait, and expire by their own terms
SELECT clear() \g /dev/null
SELECT define('later', '{"available_after": "14 days", "expires_after": "3 months", "then": [{"points": 10}]}'),
	define('paid', '{"available_after": "confirmed", "then": [{"points": 5}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(90, 'order', '2026-05-01', 1, confirmed => false) \gset
SELECT results_eq($$SELECT points, available_at, expires_at FROM loyalty.ledger WHERE member_id = 90 ORDER BY points$$,
	$$VALUES (5::bigint, NULL::timestamptz, NULL::timestamptz), (10, '2026-05-15', '2026-08-15')$$, 'terms');
SELECT loyalty.revise_activity(90, :a, confirmed => true) \g /dev/null
SELECT is((SELECT loyalty.available(balance) FROM loyalty.wallet WHERE member_id = 90), 5::bigint, 'confirmed');
SELECT is((SELECT count(*) FROM loyalty.ledger WHERE member_id = 90 AND kind = 'activate'), 1::bigint, 'once');

-- Chains: a tier that an order lifts earns, in the same commit; taken back with it, unless it is kept
SELECT clear() \g /dev/null
SELECT loyalty.create_currency('status', 'Status') \g /dev/null
SELECT loyalty.define_measure('status', 'points', 'status') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status"}], "levels": [{"level": "silver", "all": {"status": 500}}]}', '2026-01-01') \g /dev/null
SELECT define('status', '{"then": [{"points": {"give": 1, "per": 1}, "currency": "status"}]}'),
	define('gift', '{"on": ["tier_changed"], "when": {"reached": {"club": ["silver"]}}, "then": [{"points": 100}]}'),
	define('keepsake', '{"on": ["tier_changed"], "when": {"reached": {"club": ["silver"]}}, "on_return": "keep", "then": [{"points": 7}]}') \g /dev/null
SELECT loyalty.record_activity(100, 'order', '2026-05-01', 300.00) \g /dev/null
SELECT activity_id AS a, points AS first FROM loyalty.record_activity(100, 'order', '2026-05-02', 300.00) \gset
SELECT is(:first::bigint, 107::bigint, 'the tier earns in the commit that lifts it');
SELECT is((SELECT count(*) FROM loyalty.award WHERE member_id = 100 AND cause LIKE 'tier_changed:club:silver:2026-05-02%'), 2::bigint, 'with their cause');
SELECT is((SELECT points FROM loyalty.record_return(100, :a, at => '2026-05-03')), -100::bigint, 'and is taken back with it, but for what is kept');
SELECT loyalty.earn(101, 600, 'status', '2026-05-01') \g /dev/null
SELECT is(held(101), 107::bigint, 'also where a posting of somebody lifts it');
-- what another order brought about is given back with all that it counted, and a retry says so
SELECT clear() \g /dev/null
SELECT define('status', '{"then": [{"points": {"give": 1, "per": 1}, "currency": "status"}]}'),
	define('once', '{"on": ["tier_changed"], "when": {"reached": {"club": ["silver"]}}, "limits": {"member": {"points": 40, "within": "year"}, "total": {"points": 90, "times": 2}}, "then": [{"points": 40}]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(102, 'order', '2026-05-01', 300.00) \gset
SELECT activity_id AS b, points AS first FROM loyalty.record_activity(102, 'order', '2026-05-02', 300.00) \gset
SELECT is(:first::bigint, 40::bigint, 'within limits');
SELECT results_eq(format($$SELECT revision, points, replayed FROM loyalty.record_return(102, %s, at => '2026-05-03', idempotency_key => 'r')$$, :a),
	$$VALUES (1, -40::bigint, false)$$, 'the other order is returned, and the tier is gone');
SELECT results_eq(format($$SELECT revision, points, replayed FROM loyalty.record_return(102, %s, at => '2026-05-03', idempotency_key => 'r')$$, :a),
	$$VALUES (1, -40::bigint, true)$$, 'a retry says what the first call said');
SELECT is(loyalty.campaign_budget_left('once'), 90::bigint, 'nothing of the budget is used');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'nor of what limits count');
SELECT is((SELECT points FROM loyalty.record_activity(102, 'order', '2026-05-04', 200.00)), 40::bigint, 'so it can be given again');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');

-- What lies deeper than four in a chain gives nothing, and a row says so
SELECT clear() \g /dev/null
SELECT loyalty.create_currency('s' || n, 'S' || n), loyalty.define_measure('s' || n, 'points', 's' || n),
	loyalty.define_ladder('l' || n, format('{"measures": [{"measure": "s%1$s"}], "levels": [{"level": "top", "all": {"s%1$s": 10}}]}', n)::jsonb, '2026-01-01')
FROM generate_series(1, 6) n \g /dev/null
SELECT define('d0', '{"then": [{"points": 10, "currency": "s1"}]}') \g /dev/null
SELECT define('d' || n, format('{"on": ["tier_changed"], "when": {"reached": {"l%s": ["top"]}}, "then": [{"points": 10, "currency": "s%s"}, {"points": 1}]}', n, n + 1)) FROM generate_series(1, 5) n \g /dev/null
SELECT activity_id AS a, points AS first FROM loyalty.record_activity(110, 'order', '2026-05-01', 1.00) \gset
SELECT is(:first::bigint, 4::bigint, 'four deep');
SELECT is((SELECT string_agg(concat_ws(' ', campaign, effect, points, wanted, limited_by), ', ' ORDER BY effect) FROM loyalty.award WHERE member_id = 110 AND limited_by IS NOT NULL),
	'd5 1 0 10 depth, d5 2 0 1 depth', 'the fifth is a row with nothing');
SELECT is((SELECT string_agg(campaign || ' ' || points || coalesce(' ' || limited_by, ''), ', ' ORDER BY campaign, effect) FROM loyalty.explain_award(110, :a) WHERE campaign IN ('d4', 'd5')),
	'd4 10, d4 1, d5 0 depth, d5 0 depth', 'which explain_award() shows');

-- Merged: limits count what either has; undone, each has its own
SELECT clear() \g /dev/null
SELECT define('once', '{"limits": {"member": {"times": 1, "within": "lifetime"}}, "then": [{"points": 10}]}') \g /dev/null
SELECT member_id AS m FROM loyalty.resolve_member('{"email": "a@example.com"}') \gset
SELECT member_id AS o FROM loyalty.resolve_member('{"email": "b@example.com"}') \gset
SELECT is((SELECT points FROM loyalty.record_activity(:m, 'order', '2026-05-01', 1)), 10::bigint, 'one');
SELECT merge_id FROM loyalty.merge_members(:o, :m) \gset
SELECT is((SELECT points FROM loyalty.record_activity(:o, 'order', '2026-05-01', 1)), 0::bigint, 'as one person it had it');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(:o, 'order', '2026-05-01', 1)), 10::bigint, 'as two it had not');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');

-- What a step earned before a merge, and what the merge lifted, is taken back once the order that lifted both is returned; a retry says so
SELECT clear() \g /dev/null
SELECT define('status', '{"then": [{"points": {"give": 1, "per": 1}, "currency": "status"}]}'),
	define('gift', '{"on": ["tier_changed"], "when": {"reached": {"club": ["silver"]}}, "limits": {"member": {"times": 3, "within": "year"}}, "then": [{"points": 50}]}') \g /dev/null
SELECT member_id AS m FROM loyalty.resolve_member('{"email": "c@example.com"}') \gset
SELECT member_id AS o FROM loyalty.resolve_member('{"email": "d@example.com"}') \gset
SELECT points FROM loyalty.record_activity(:m, 'order', '2026-05-01', 10) \g /dev/null
SELECT activity_id AS a, points AS first FROM loyalty.record_activity(:o, 'order', '2026-05-01', 600) \gset
SELECT is(:first::bigint, 50::bigint, 'one reaches it');
SELECT merge_id FROM loyalty.merge_members(:m, :o) \gset
SELECT is(held(:m, 'gift'), 50::bigint, 'the other by the merge');
SELECT results_eq(format($$SELECT points, replayed FROM loyalty.record_return(%s, %s, idempotency_key => 'gone')$$, :o, :a), 'VALUES (-100::bigint, false)', 'both are taken back');
SELECT results_eq(format($$SELECT points, replayed FROM loyalty.record_return(%s, %s, idempotency_key => 'gone')$$, :o, :a), 'VALUES (-100::bigint, true)', 'as a retry says');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(held(m, 'gift'), 0::bigint, 'of neither something is left') FROM (VALUES (:m), (:o)) v (m);
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');

-- A step that time ended long ago keeps its gift when a later one is lost with what was returned; what was one
-- order raised step by step loses all of them. Neither the settings of a session tell one step from another
SELECT clear() \g /dev/null
SELECT loyalty.create_currency('miles'), loyalty.define_measure('miles', 'points', 'miles') \g /dev/null
SELECT loyalty.define_ladder('air', '{"measures": [{"measure": "miles", "window": "rolling", "interval": "12 months"}], "validity": "interval", "validity_interval": "12 months",
	"levels": [{"level": "blue"}, {"level": "silver", "all": {"miles": 500}}, {"level": "gold", "all": {"miles": 2000}}]}', '2020-01-01') \g /dev/null
SELECT define('miles', '{"then": [{"points": {"give": 1, "per": 1}, "currency": "miles"}]}', '2020-01-01'),
	define('step', '{"on": ["tier_changed"], "when": {"reached": {"air": ["silver", "gold"]}}, "limits": {"member": {"times": 9, "within": "lifetime"}}, "then": [{"points": 50}]}', '2020-01-01'),
	define('memento', '{"on": ["tier_changed"], "when": {"reached": {"air": ["silver"]}}, "on_return": "keep", "then": [{"points": 3}]}', '2020-01-01') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(120, 'order', '2022-02-03', 600.00)), 53::bigint, 'silver, until 2023');
CALL loyalty.evaluate_tiers(as_of => '2024-06-01');
SELECT activity_id AS a, points AS first FROM loyalty.record_activity(120, 'order', '2025-02-03', 600.00) \gset
SELECT is(:first::bigint, 53::bigint, 'and again');
SELECT is((SELECT points FROM loyalty.record_return(120, :a, at => '2025-03-01')), -50::bigint, 'returned: that of 2022 stays, and what is kept');
SELECT is(held(120, 'step'), 50::bigint, 'one');
SELECT is((SELECT sum(used) FROM loyalty.award_counter WHERE member_id = 120), 1::numeric, 'and counted once');
SELECT activity_id AS a FROM loyalty.record_activity(121, 'order', '2025-02-03', 600.00) \gset
SELECT loyalty.revise_activity(121, :a, amount => 2100.00) \g /dev/null
SELECT is(held(121, 'step'), 100::bigint, 'silver, and gold');
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SELECT is((SELECT points FROM loyalty.record_return(121, :a, at => '2025-03-01 00:00Z')), -100::bigint, 'all of it is returned, and both are lost');
SELECT is((SELECT sum(used) FROM loyalty.award_counter WHERE member_id = 121), 0::numeric, 'and counted no more');
SELECT activity_id AS a FROM loyalty.record_activity(122, 'order', '2025-02-03 00:00Z', 600.00) \gset
RESET datestyle;
SET timezone = 'UTC';
SELECT is((SELECT cause FROM loyalty.award WHERE member_id = 122 AND campaign = 'memento'), 'tier_changed:air:silver:2025-02-03 00:00:00+00', 'as every session names it');
SELECT sum(points) FROM unnest('{t,f}'::boolean[]) c, loyalty.revise_activity(122, :a, cancelled => c) \g /dev/null
SELECT is(held(122, 'memento'), 3::bigint, 'what was kept is not given once more');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');
SELECT * FROM finish();
