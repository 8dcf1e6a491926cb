-- Back-tests: real orders, whose figures a script without this code has computed,
-- and histories of which the write path says what comes out.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null

-- A back-test of what is defined gives what was given
SELECT loyalty.define_campaign('base', '{"limits": {"member": {"points": 500, "within": "day"}}, "then": [{"points": {"give": 1, "per": 1}}]}', '2026-01-01'),
	loyalty.define_campaign('more', '{"lane": "bonus", "when": {"count": {"kind": "order", "within": "month", ">=": 2}}, "then": [{"multiply": 2, "lane": "base"}]}', '2026-01-01'),
	loyalty.define_campaign('march', '{"window": "month", "having": {"amount": {">=": 300}}, "then": [{"points": 70}]}', '2026-01-01') \g /dev/null
SELECT loyalty.record_activity(1 + i % 3, 'order', timestamptz '2026-03-01' + i * interval '7 hours', (i * 37 % 190)::numeric + 0.5) FROM generate_series(1, 90) i \g /dev/null
SELECT loyalty.record_return(member_id, activity_id, amount => least(a.amount, 20)) FROM loyalty.activity a WHERE activity_id % 5 = 0 \g /dev/null
SELECT loyalty.revise_activity(member_id, activity_id, cancelled => true) FROM loyalty.activity a WHERE activity_id % 11 = 0 \g /dev/null
SELECT loyalty.revise_activity(member_id, activity_id, amount => 333, at => a.at + interval '3 days') FROM loyalty.activity a WHERE activity_id % 13 = 0 \g /dev/null
SELECT results_eq('SELECT member_id, points_now, points_then FROM loyalty.backtest_campaigns(''{}'') ORDER BY 1',
	'SELECT member_id, sum(points)::bigint, sum(points)::bigint FROM loyalty.award GROUP BY 1 ORDER BY 1', 'the replay gives what was given');
SELECT results_eq('SELECT member_id, points_then FROM loyalty.backtest_campaigns(''{"more": null, "march": null}'') ORDER BY 1',
	'SELECT member_id, sum(points)::bigint FROM loyalty.award WHERE campaign = ''base'' GROUP BY 1 ORDER BY 1', 'one campaign by itself');
SELECT throws_ok($$SELECT * FROM loyalty.backtest_campaigns('{"x": {}}')$$, 'LY521', NULL, 'a draft that is wrong');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is well');

-- Days around another, windows by the campaign's clock and by the version at their
-- begin, and what a campaign does not look at any more: worked out by hand, through
-- the write path and in the replay.  2025-10-27 is 299 days after the new year.
SELECT loyalty.define_activity_kind(k) FROM unnest('{span,times,spring,day,version,late}'::text[]) k \g /dev/null
SELECT loyalty.create_currency('stars') \g /dev/null
SELECT loyalty.define_campaign('span', '{"on": ["span"], "limits": {"member": {"points": 500, "within": "300 days"}}, "then": [{"points": {"give": 1, "per": 1}}]}', '2025-01-01'),
	loyalty.define_campaign('times', '{"on": ["times"], "limits": {"member": {"times": 2, "within": "300 days"}}, "then": [{"points": 10}, {"points": 1, "currency": "stars"}]}', '2025-01-01'),
	loyalty.define_campaign('spring', '{"on": ["spring"], "window": "month", "having": {"amount": {">=": 300}}, "limits": {"member": {"points": 100, "within": "60 days"}}, "then": [{"points": 70}]}', '2025-01-01'),
	loyalty.define_campaign('day', '{"on": ["day"], "window": "day", "time_zone": "Australia/Sydney", "having": {"amount": {">=": 200}}, "then": [{"points": 50}]}', '2025-01-01'),
	loyalty.define_campaign('version', '{"on": ["version"], "window": "month", "then": [{"points": 50}]}', '2025-01-01'),
	loyalty.define_campaign('version', '{"on": ["version"], "window": "month", "then": [{"points": 500}]}', '2025-03-15'),
	loyalty.define_campaign('late', '{"on": ["late"], "then": [{"points": {"give": 1, "per": 1}}]}', '2025-02-01') \g /dev/null
CREATE FUNCTION earned(member_id bigint, kind text, at timestamptz, amount numeric) RETURNS bigint
LANGUAGE sql AS $$ SELECT points FROM loyalty.record_activity($1, $2, $3, $4, external_id => format('%s %s', $2, $3)) $$;
CREATE FUNCTION activity(member_id bigint, at timestamptz) RETURNS bigint
LANGUAGE sql AS $$ SELECT a.activity_id FROM loyalty.activity a WHERE a.member_id = $1 AND a.at = $2 $$;

SELECT is(earned(60, 'span', '2025-01-01', 300), 300::bigint, '300 of 500');
SELECT is(earned(60, 'span', '2025-10-27', 400), 200::bigint, 'of the same 300 days');
SELECT is(earned(60, 'span', '2025-10-28', 400), 300::bigint, 'a day later the first is out of them');
SELECT is(earned(60, 'span', '2025-06-01', 400), 0::bigint, 'one between, recorded last: in its days 800 are given');
SELECT is((SELECT points FROM loyalty.revise_activity(60, activity(60, '2025-10-28'), at => '2025-10-29')), 0::bigint, 'one that moves does not count against itself');
SELECT is((SELECT points FROM loyalty.record_return(60, activity(60, '2025-01-01'))), -300::bigint, 'a return');
SELECT is(earned(60, 'span', '2025-01-01 12:00', 100), 100::bigint, 'of its 300 days only 2025-10-27 is one, with 200');
SELECT is((SELECT array_agg(earned(61, 'times', at, 1) ORDER BY at) FROM unnest('{2025-01-01,2025-01-02,2025-01-03,2025-10-28}'::timestamptz[]) at),
	'{10,10,0,10}'::bigint[], 'twice, whatever number of currencies a time has');
SELECT is(earned(62, 'spring', '2025-03-05', 200), 0::bigint, 'March');
SELECT is(earned(62, 'spring', '2025-03-06', 100), 70::bigint, 'makes 300');
SELECT is((SELECT points FROM loyalty.record_return(62, activity(62, '2025-03-05'))), -70::bigint, 'and less, by another activity');
SELECT is(earned(62, 'spring', '2025-04-05', 300), 70::bigint, 'so April has all of it');
SELECT is(earned(62, 'spring', '2025-05-05', 300), 30::bigint, 'May is 30 days behind April');
SELECT is(earned(62, 'spring', '2025-06-05', 300), 70::bigint, 'June 61, and 31 behind May');
SELECT is((SELECT array_agg(earned(63, 'day', at, 150) ORDER BY at) FROM unnest('{2025-03-01 12:00,2025-03-01 14:00}'::timestamptz[]) at), '{0,0}'::bigint[], 'two days in Sydney');
SELECT is((SELECT array_agg(earned(64, 'day', at, 150) ORDER BY at) FROM unnest('{2025-03-01 14:00,2025-03-02 02:00}'::timestamptz[]) at), '{0,50}'::bigint[], 'one day there');
SELECT is((SELECT array_agg(earned(65, 'version', at, 1) ORDER BY at) FROM unnest('{2025-03-20,2025-04-02}'::timestamptz[]) at), '{50,500}'::bigint[], 'the version at the begin of the month');
SELECT is(earned(66, 'late', '2025-02-10', 100), 100::bigint, 'since February');
SELECT is((SELECT points FROM loyalty.revise_activity(66, activity(66, '2025-02-10'), at => '2025-01-20')), -100::bigint, 'before it was there');
SELECT results_eq('SELECT member_id, points_now, points_then FROM loyalty.backtest_campaigns(''{}'') WHERE member_id >= 60 ORDER BY 1',
	'VALUES (60::bigint, 600::bigint, 600::bigint), (61, 30, 30), (62, 170, 170), (63, 0, 0), (64, 50, 50), (65, 550, 550), (66, 0, 0)', 'the replay counts as the write path');
SELECT results_eq('SELECT member_id, points_now FROM loyalty.backtest_campaigns(''{}'', currency => ''stars'') WHERE points_now > 0', 'VALUES (61::bigint, 3::bigint)', 'another currency');
-- as drafts they are in force always
SELECT results_eq($$SELECT member_id, points_then FROM loyalty.backtest_campaigns('{"span": {"on": ["span"], "limits": {"member": {"points": 700, "within": "300 days"}}, "then": [{"points": {"give": 1, "per": 1}}]}}', kinds => '{span}') ORDER BY 1$$,
	'VALUES (60::bigint, 800::bigint)', 'a draft of 700: 300 and 400, then 300 of 400, none; 300 are returned, 100 come');
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE room <> 'member'$$, 'all is still well');

-- read by statements alone it is the same
CREATE TABLE plain AS SELECT * FROM loyalty.backtest_campaigns('{"more": null, "span": {"on": ["span"], "then": [{"points": {"give": 1, "per": 1}}]}}');
SET loyalty.table_access = off;
SELECT results_eq($$SELECT * FROM loyalty.backtest_campaigns('{"more": null, "span": {"on": ["span"], "then": [{"points": {"give": 1, "per": 1}}]}}') ORDER BY member_id$$,
	'TABLE plain ORDER BY member_id', 'where tables are read by statements');
RESET loyalty.table_access;

-- ---- Real orders
SELECT :'data' = '' AS no_data \gset
\if :no_data
SELECT pass('there is no real data');
SELECT * FROM finish();
\quit
\endif
DELETE FROM loyalty.activity; DELETE FROM loyalty.activity_revision; DELETE FROM loyalty.award; DELETE FROM loyalty.campaign_version;
CREATE TABLE line (invoice text, stock_code text, description text, quantity int, at timestamp, price numeric, customer_id numeric, country text);
\set copy '\\copy line FROM PROGRAM ''gunzip -c ' :data '/online_retail/online_retail.csv.gz'' CSV HEADER'
:copy
INSERT INTO loyalty.activity (member_id, kind, at, local_day, time_zone, amount, lines, external_id, recorded_at, revised_at)
SELECT max(customer_id)::bigint, 'order', min(at), min(at)::date, 'UTC', sum(quantity * price),
	jsonb_agg(jsonb_build_object('sku', stock_code, 'quantity', quantity, 'amount', quantity * price)), invoice, min(at), min(at)
FROM line WHERE customer_id IS NOT NULL AND quantity > 0 AND price > 0 GROUP BY invoice ORDER BY min(at), invoice;
SELECT is((SELECT count(*) FROM loyalty.activity), 18532::bigint, 'orders');

CREATE FUNCTION backtest(definitions text) RETURNS TABLE (measure text, value_then numeric, at_then timestamptz)
LANGUAGE sql AS $$ SELECT s.measure, s.value_then, s.at_then FROM loyalty.backtest_summary($1::jsonb) s $$;
CREATE FUNCTION points(definitions text) RETURNS numeric LANGUAGE sql AS $$ SELECT value_then FROM backtest($1) WHERE measure = 'points' $$;
\set base '"base": {"then": [{"points": {"give": 1, "per": 1}}]}'
SELECT is(points(format('{%s}', definitions)), expected::numeric, what)
FROM (VALUES ('base', :'base', 8902670),
	('November doubled', :'base' || ', "november": {"lane": "bonus", "between": ["2011-11-01", "2011-12-01"], "then": [{"multiply": 2, "lane": "base"}]}', 8902670 + 1161864),
	('100 from 500.00', '"bonus": {"when": {"amount": {">=": 500}}, "then": [{"points": 100}]}', 423800),
	('each 500 gives 50', '"every": {"then": [{"points": {"give": 50, "every": 500}}]}', 472850),
	('2 points a unit', '"unit": {"when": {"lines": {"sku": ["85123A"]}}, "then": [{"points": {"give": 2, "per": "unit"}, "over": "matching_lines"}]}', 73564),
	('first purchase', '"first": {"when": {"count": {"kind": "order", "within": "lifetime", "=": 0}}, "then": [{"points": 200}]}', 867600),
	('Saturdays', '"saturday": {"when": {"weekday": [6]}, "then": [{"points": 1}]}', 0),
	('5,000 a month', '"base": {"limits": {"member": {"points": 5000, "within": "month"}}, "then": [{"points": {"give": 1, "per": 1}}]}', 7428040),
	('500 a day', '"base": {"limits": {"member": {"points": 500, "within": "day"}}, "then": [{"points": {"give": 1, "per": 1}}]}', 5230831),
	('best of two', :'base' || ', "thursday": {"lane": "bonus", "exclusive": {"group": "g"}, "when": {"weekday": [4]}, "then": [{"multiply": 2, "lane": "base"}]},
		"big": {"lane": "bonus", "exclusive": {"group": "g"}, "when": {"amount": {">=": 300}}, "then": [{"points": 300}]}', 13122074),
	('both', :'base' || ', "thursday": {"lane": "bonus", "when": {"weekday": [4]}, "then": [{"multiply": 2, "lane": "base"}]},
		"big": {"lane": "bonus", "when": {"amount": {">=": 300}}, "then": [{"points": 300}]}', 13743074)) v (what, definitions, expected);
SELECT results_eq(format('SELECT measure, value_then FROM backtest(%L) WHERE measure IN (''awards'', ''trimmed'')', definition), format('VALUES (''awards'', %s::numeric), (''trimmed'', %s)', awards, trimmed), definition)
FROM (VALUES ('{"bonus": {"when": {"amount": {">=": 500}}, "then": [{"points": 100}]}}', 4238, 0),
	('{"unit": {"when": {"lines": {"sku": ["85123A"]}}, "then": [{"points": {"give": 2, "per": "unit"}, "over": "matching_lines"}]}}', 1978, 0)) v (definition, awards, trimmed);
SELECT is((SELECT value_then FROM backtest('{"base": {"limits": {"member": {"points": 5000, "within": "month"}}, "then": [{"points": {"give": 1, "per": 1}}]}}') WHERE measure = 'trimmed'), 573::numeric, 'orders trimmed in a month');
SELECT is((SELECT value_then FROM backtest('{"base": {"limits": {"member": {"points": 500, "within": "day"}}, "then": [{"points": {"give": 1, "per": 1}}]}}') WHERE measure = 'trimmed'), 4940::numeric, 'orders trimmed in a day');
SELECT results_eq($$SELECT value_then, at_then FROM backtest('{"base": {"limits": {"total": {"points": 1000000}}, "then": [{"points": {"give": 1, "per": 1}}]}}') WHERE measure = 'budget base'$$,
	$$VALUES (0::numeric, '2011-01-21 13:07+00'::timestamptz)$$, 'a budget of a million ends');
SELECT is(points('{"base": {"limits": {"total": {"points": 1000000}}, "then": [{"points": {"give": 1, "per": 1}}]}}'), 1000000::numeric, 'and no more than that is given');

-- 20. A draft beside what there is
SELECT loyalty.define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}]}', '2010-01-01') \g /dev/null
UPDATE loyalty.campaign_version SET recorded_at = '2010-01-01';
\set draft '{"base": {"then": [{"points": {"give": 0.9, "per": 1}}]}, "bonus": {"when": {"amount": {">=": 500}}, "then": [{"points": 100}]}}'
SELECT results_eq(format('SELECT measure, value_now::bigint, value_then::bigint FROM loyalty.backtest_summary(%L) WHERE measure IN (''points'', ''winners'', ''losers'', ''same'')', :'draft'),
	$$VALUES ('points', 8902670::bigint, 8434922::bigint), ('winners', NULL, 487), ('losers', NULL, 3842), ('same', NULL, 9)$$, 'a draft');
SELECT results_eq(format('SELECT member_id, points_then - points_now FROM loyalty.backtest_campaigns(%L) ORDER BY 2 DESC LIMIT 1', :'draft'), 'VALUES (17735::bigint, 290::bigint)', 'the best');
SELECT results_eq(format('SELECT member_id, points_then - points_now FROM loyalty.backtest_campaigns(%L) ORDER BY 2 LIMIT 1', :'draft'), 'VALUES (14646::bigint, -22719::bigint)', 'the worst');

-- by statements alone, and where the orders do not fit into memory, it is the same
CREATE TABLE whole AS SELECT * FROM loyalty.backtest_campaigns(:'draft');
SELECT isnt_empty('TABLE whole', 'members');
SET work_mem = '64kB';
SELECT results_eq(format('SELECT * FROM loyalty.backtest_campaigns(%L) ORDER BY member_id', :'draft'), 'TABLE whole ORDER BY member_id', 'with little memory');
RESET work_mem;
SET loyalty.table_access = off;
SELECT results_eq(format('SELECT * FROM loyalty.backtest_campaigns(%L) ORDER BY member_id', :'draft'), 'TABLE whole ORDER BY member_id', 'by statements');
RESET loyalty.table_access;

-- One that moves, there and back, is with nobody twice, and a budget knows it: 60, raised to 80,
-- is 80 of 100 wherever it is, and leaves 20 of 50
SELECT loyalty.define_activity_kind('trip') \g /dev/null
SELECT loyalty.define_campaign('trips', '{"on": ["trip"], "limits": {"total": {"points": 100}}, "then": [{"points": {"give": 1, "per": 1}}]}', '2026-01-01') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(501, 'trip', '2026-05-01', 60) \gset
SELECT loyalty.revise_activity(501, :a, amount => 80) \g /dev/null
SELECT is((SELECT points FROM loyalty.revise_activity(501, :a, to_member_id => 502, idempotency_key => 'm')), 80::bigint, 'moved');
SELECT results_eq(format($$SELECT revision, points, replayed FROM loyalty.revise_activity(501, %s, to_member_id => 502, idempotency_key => 'm')$$, :a),
	$$VALUES (2, 80::bigint, true)$$, 'a retry says what it has where it went');
SELECT is((SELECT points FROM loyalty.record_activity(503, 'trip', '2026-05-01', 50)), 20::bigint, 'what is left');
SELECT results_eq($$SELECT member_id, points_now FROM loyalty.backtest_campaigns('{}', kinds => '{trip}') WHERE points_now <> 0 ORDER BY 1$$,
	'VALUES (502::bigint, 80::bigint), (503, 20)', 'there');
SELECT loyalty.revise_activity(502, :a, to_member_id => 501) \g /dev/null
SELECT results_eq($$SELECT member_id, points_now FROM loyalty.backtest_campaigns('{}', kinds => '{trip}') WHERE points_now <> 0 ORDER BY 1$$,
	'VALUES (501::bigint, 80::bigint), (503, 20)', 'and back');
SELECT * FROM finish();
