-- A history of everything that campaigns can say, replayed: what is defined gives
-- what the write path has given, whatever became of the activities.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.create_currency('points'), loyalty.create_currency('stars'), loyalty.define_activity_kind('visit') \g /dev/null
CREATE FUNCTION define(campaign text, definition text, since timestamptz DEFAULT '2025-01-01') RETURNS integer
LANGUAGE sql AS $$ SELECT loyalty.define_campaign($1, $2::jsonb, $3) $$;

-- limits of all periods, alone, shared, of currencies, in times, and of all members
SELECT define('l_' || within, format('{"limits": {"member": {"points": %s, "within": "%s"}}, "then": [{"points": {"give": 1, "per": 1}}]}', most, within))
FROM (VALUES ('day', 150), ('week', 300), ('month', 700), ('quarter', 1100), ('year', 2000), ('lifetime', 2500)) v (within, most) \g /dev/null
SELECT define('days', '{"limits": {"member": [{"points": 400, "within": "20 days"}, {"times": 3, "within": "40 days"}, {"points": 6, "within": "20 days", "currency": "stars"}]}, "then": [{"points": {"give": 1, "per": 1}}, {"points": 2, "currency": "stars"}]}'),
	define('shared_a', '{"limits": {"member": {"points": 500, "within": "month", "name": "shared"}}, "then": [{"points": {"give": 1, "per": 1}}]}'), define('shared_b', '{"limits": {"member": {"points": 450, "within": "month", "name": "shared"}}, "then": [{"points": {"give": 2, "per": 1}}]}'),
	define('times', '{"at_limit": "refuse", "limits": {"member": {"times": 2, "within": "month"}, "total": {"times": 40, "points": 2000}}, "then": [{"points": 30}, {"points": {"give": 1, "per": 5}}]}'),
	define('total', '{"limits": {"award": 120, "total": {"points": 5000}}, "then": [{"points": {"give": 1, "per": 1}}]}'),
	define('kept', '{"on_return": "keep", "limits": {"member": {"points": 300, "within": "week"}}, "then": [{"points": {"give": 1, "per": 2}}]}'),
-- what competes and what multiplies
	define('best_a', '{"exclusive": {"group": "g"}, "when": {"amount": {">=": 60}}, "limits": {"member": {"points": 200, "within": "week", "name": "best"}}, "then": [{"points": 50}]}'), define('best_b', '{"exclusive": {"group": "g"}, "limits": {"member": {"points": 200, "within": "week", "name": "best"}}, "then": [{"points": {"give": 1, "per": 2}}]}'),
	define('line_a', '{"exclusive": {"group": "l", "scope": "line"}, "when": {"lines": {"sku": ["tea", "mug"]}}, "then": [{"points": {"give": 5, "per": "unit"}, "over": "matching_lines"}]}'), define('line_b', '{"exclusive": {"group": "l", "scope": "line"}, "when": {"lines": {"sku": "tea"}}, "then": [{"points": {"give": 1, "per": 3}, "over": "matching_lines"}]}'),
	define('twice', '{"lane": "bonus", "priority": 1, "when": {"count": {"kind": "order", "within": "month", ">=": 2}}, "then": [{"multiply": 2, "lane": "base"}]}'), define('more', '{"lane": "bonus", "when": {"spent": {"kind": "order", "within": "quarter", ">=": 400}}, "then": [{"multiply": 1.5, "lane": "base"}]}'),
	define('first', '{"lane": "bonus", "when": {"count": {"kind": "order", "=": 0}}, "then": [{"points": 77}]}'), define('city', '{"lane": "bonus", "when": {"attribute": {"city": "Bonn"}}, "then": [{"points": 3}]}'),
	define('held_out', '{"treat": {"attribute": {"city": "Bonn"}}, "then": [{"points": 9}]}'),
	define('stopper', '{"lane": "bonus", "priority": 50, "stop": true, "when": {"amount": {">=": 150}}, "then": [{"points": 1}]}'),
-- versions: another number, another currency, no more
	define('version', '{"limits": {"member": {"points": 60, "within": "month"}}, "then": [{"points": 20}, {"points": 1}]}'), define('version', '{"limits": {"member": {"points": 50, "within": "week"}}, "then": [{"points": 30}, {"points": 2, "currency": "stars"}]}', '2025-04-01'),
	define('ends', '{"limits": {"member": {"times": 4, "within": "year"}, "total": {"points": 400}}, "then": [{"points": 11}]}'), loyalty.end_campaign('ends', '2025-05-01') \g /dev/null
-- windows of all lengths
SELECT define('w_' || period, format('{"window": "%s", "having": {"amount": {">=": %s}}, "limits": {"member": [{"times": 3, "within": "year"}, {"points": %s, "within": "year"}], "total": {"points": 4000}}, "then": [{"points": %s}, {"points": 1, "currency": "stars"}]}', period, least, 2 * given + 5, given))
FROM (VALUES ('day', 100, 10), ('week', 150, 20), ('month', 400, 40), ('quarter', 900, 80), ('year', 1500, 160)) v (period, least, given) \g /dev/null
SELECT define('w_between', '{"window": "between", "between": ["2025-02-10", "2025-04-20"], "having": {"activities": {">=": 4}}, "then": [{"points": 25}]}'),
	define('w_lines', '{"window": "month", "time_zone": "Asia/Tokyo", "when": {"lines": {"sku": "tea"}}, "having": {"lines": {"quantity": {">=": 4}}}, "limits": {"member": {"points": 50, "within": "90 days"}}, "then": [{"points": {"give": 1, "per": 4}, "over": "matching_lines"}]}'),
	define('w_kept', '{"window": "month", "on_return": "keep", "having": {"amount": {">=": 300}}, "then": [{"points": 7}]}'),
	define('w_rate', '{"window": "month", "when": {"channel": "app"}, "then": [{"brackets": [[0, 0.1], [100, 0.2], [300, 0]]}]}'), define('w_rate', '{"window": "month", "when": {"channel": "app"}, "then": [{"brackets": [[0, 0.3]]}]}', '2025-04-10') \g /dev/null
-- more names than there was room for at first
SELECT define('v_' || n, format('{"on": ["visit"], "limits": {"member": [{"points": %s, "within": "month"}, {"times": %s, "within": "month"}], "total": {"points": %s}}, "then": [{"points": %s}]}', 3 * n, 1 + n % 4, 20 * n, n)) FROM generate_series(1, 45) n \g /dev/null

SELECT loyalty.resolve_member(format('{"email": "m%s@example.com"}', n)::jsonb, attributes => jsonb_build_object('city', CASE WHEN n % 2 = 0 THEN 'Bonn' ELSE 'Ulm' END), effective_at => '2024-01-01') FROM generate_series(1, 7) n \g /dev/null
SELECT loyalty.record_activity(1 + i % 7, 'order', timestamptz '2025-01-03' + i * 53 % 149 * interval '1 day' + i * 5 % 24 * interval '1 hour', CASE WHEN i % 3 = 0 THEN 10 + i * 37 % 170 END,
	CASE WHEN i % 3 <> 0 THEN jsonb_build_array(jsonb_build_object('sku', 'tea', 'quantity', 1 + i % 4, 'amount', i * 29 % 90 + 0.5), jsonb_build_object('sku', CASE WHEN i % 2 = 0 THEN 'mug' ELSE 'card' END, 'amount', i * 31 % 70, 'earns', i % 5 <> 0)) END,
	external_id => 'o' || i, channel => CASE WHEN i % 4 = 0 THEN 'app' END, time_zone => CASE WHEN i % 6 = 0 THEN 'America/New_York' END) FROM generate_series(1, 140) i \g /dev/null
SELECT loyalty.record_activity(1 + i % 7, 'visit', timestamptz '2025-02-01' + i * interval '31 hours') FROM generate_series(1, 40) i \g /dev/null
CREATE FUNCTION revise(modulo integer, rest integer, arguments text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	a record;
	n bigint := 0;
BEGIN
	FOR a IN SELECT * FROM loyalty.activity t WHERE t.activity_id % modulo = rest AND t.moved_to IS NULL AND NOT t.returned AND NOT t.cancelled ORDER BY t.activity_id LOOP
		EXECUTE format('SELECT loyalty.%s', replace(arguments, '{a}', format('%s, %s', a.member_id, a.activity_id))) USING a.at, a.amount;
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;
CREATE FUNCTION replayed(currency text, definitions text DEFAULT '{}') RETURNS TABLE (member_id bigint, points numeric) LANGUAGE sql AS $$
	SELECT b.member_id, b.points_now::numeric FROM loyalty.backtest_campaigns($2::jsonb, currency => $1) b WHERE b.points_now <> 0 ORDER BY 1
$$;
CREATE FUNCTION given(currency text) RETURNS TABLE (member_id bigint, points numeric) LANGUAGE sql AS $$
	SELECT a.member_id, sum(a.points) FROM loyalty.award a WHERE a.currency = $1 GROUP BY 1 HAVING sum(a.points) <> 0 ORDER BY 1
$$;
SELECT results_eq(format('SELECT * FROM replayed(%L)', c), format('SELECT * FROM given(%L)', c), 'as recorded: ' || c) FROM unnest('{points,stars}'::text[]) c;
SELECT ok((SELECT count(DISTINCT campaign) FROM loyalty.award WHERE points > 0) > 70, 'nearly all of them gave something');
SELECT ok((SELECT count(*) FROM loyalty.award WHERE limited_by IS NOT NULL) > 200, 'and limits had their say');
SELECT is(revise(m, r, call) > 0, true, call) FROM (VALUES (5, 1, 'revise_activity({a}, amount => coalesce($2, 0) / 2)')) v (m, r, call);
SELECT results_eq(format('SELECT * FROM replayed(%L)', c), format('SELECT * FROM given(%L)', c), 'after amounts changed: ' || c) FROM unnest('{points,stars}'::text[]) c;
SELECT is(revise(m, r, call) > 0, true, call) FROM (VALUES (7, 2, 'record_return({a})'), (9, 3, 'revise_activity({a}, cancelled => true)'), (11, 4, 'revise_activity({a}, at => $1 + interval ''9 days'')'), (11, 5, 'revise_activity({a}, at => $1 - interval ''40 days'', amount => 99)')) v (m, r, call);
SELECT results_eq(format('SELECT * FROM replayed(%L)', c), format('SELECT * FROM given(%L)', c), 'after returns, cancellations and other days: ' || c) FROM unnest('{points,stars}'::text[]) c;
SELECT loyalty.revise_activity(member_id, activity_id, cancelled => false) FROM loyalty.activity WHERE cancelled AND moved_to IS NULL AND activity_id % 2 = 0 ORDER BY activity_id \g /dev/null
SELECT is(revise(m, r, call) > 0, true, call) FROM (VALUES (11, 5, 'revise_activity({a}, at => $1 + interval ''40 days'')'), (13, 6, 'revise_activity({a}, channel => ''app'')'), (6, 1, 'revise_activity({a}, confirmed => true)')) v (m, r, call);
SELECT results_eq(format('SELECT * FROM replayed(%L)', c), format('SELECT * FROM given(%L)', c), 'and back: ' || c) FROM unnest('{points,stars}'::text[]) c;
SELECT loyalty.revise_activity(a.member_id, a.activity_id, to_member_id => a.member_id % 7 + 1) FROM loyalty.activity a WHERE a.activity_id % 17 = 8 AND a.moved_to IS NULL ORDER BY a.activity_id \g /dev/null
SELECT results_eq(format('SELECT * FROM replayed(%L)', c), format('SELECT * FROM given(%L)', c), 'with somebody else: ' || c) FROM unnest('{points,stars}'::text[]) c;
SELECT loyalty.revise_activity(a.member_id, a.activity_id, to_member_id => (a.member_id + 5) % 7 + 1) FROM loyalty.activity a WHERE a.activity_id % 34 = 8 AND a.moved_to IS NULL ORDER BY a.activity_id \g /dev/null
SELECT results_eq(format('SELECT * FROM replayed(%L)', c), format('SELECT * FROM given(%L)', c), 'some of them back: ' || c) FROM unnest('{points,stars}'::text[]) c;
-- and as drafts, beside what there is, of which some is not there
SELECT results_eq($$SELECT member_id, points_then FROM loyalty.backtest_campaigns((SELECT jsonb_object_agg(campaign, NULL) FROM loyalty.campaign_version WHERE campaign NOT LIKE 'l\_%')) WHERE points_then <> 0 ORDER BY 1$$,
	$$SELECT member_id, sum(points)::bigint FROM loyalty.award WHERE campaign LIKE 'l\_%' GROUP BY 1 HAVING sum(points) <> 0 ORDER BY 1$$, 'limits alone: those of others change nothing');
-- budgets end where they ended, and as much is left
SELECT is((SELECT string_agg(measure || ' ' || value_now, ', ' ORDER BY measure COLLATE "C") FROM loyalty.backtest_summary('{}') WHERE measure LIKE 'budget %'),
	(SELECT string_agg(budget || ' ' || loyalty.escrow_left(name), ', ' ORDER BY budget COLLATE "C") FROM (SELECT DISTINCT name, 'budget ' || regexp_replace(substr(name, 10), '/points$', '') FROM loyalty.escrow WHERE starts_with(name, 'campaign/')) e (name, budget)), 'what is left of budgets');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
