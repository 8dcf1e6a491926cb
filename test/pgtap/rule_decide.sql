-- What is decided: src/rule/decide.h, rule by rule, where nothing is stored.
-- Numbers are worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

-- "campaign:points" of each effect that gives, or was limited; the limit and
-- what was wanted behind it, and who won instead.
CREATE FUNCTION earns(definitions text, activity text, member text DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('%s:%s', campaign, coalesce(item, points::text)) || CASE WHEN limited_by IS NOT NULL THEN coalesce(' of ' || wanted, '') || ' by ' || limited_by ELSE '' END
		|| coalesce(' ' || why, ''), ', ' ORDER BY n), '')
	FROM loyalty.evaluate_campaigns(('{' || $1 || '}')::jsonb, $2::jsonb, $3::jsonb) WITH ORDINALITY e (campaign, effect, kind, currency, points, wanted, item, limited_by, why, n)
$$;
\set rate '{"points": {"give": 1, "per": 1}}'
\set lines_rate '{"points": {"give": 1, "per": 1}, "over": "matching_lines"}'
\set base '"base": {"then": [{"points": {"give": 1, "per": 1}}]}'

-- ---------------------------------------------------------------------------
-- What matches
-- ---------------------------------------------------------------------------

SELECT is(earns(format('"c": {%s "then": [{"points": 1}]}', part), activity), expected, part || ' of ' || activity)
FROM (VALUES ('', '{}', 'c:1'), ('', '{"cancelled": true}', ''), ('', '{"cancelled": false}', 'c:1'), ('', '{"kind": "visit"}', ''), ('"on": ["visit", "like"],', '{"kind": "like"}', 'c:1'), ('"on": ["visit", "like"],', '{}', ''),
	('"money": "EUR",', '{"money": "EUR"}', 'c:1'), ('"money": "EUR",', '{"money": "CHF"}', ''), ('"money": "EUR",', '{}', 'c:1'),
	('"between": ["2026-06-01", "2026-06-02"],', '{"at": "2026-06-01T00:00Z"}', 'c:1'), ('"between": ["2026-06-01", "2026-06-02"],', '{"at": "2026-05-31T23:59:59Z"}', ''), ('"between": ["2026-06-01", "2026-06-02"],', '{"at": "2026-06-02T00:00Z"}', ''),
	('"between": [null, "2026-06-02"],', '{"at": "2026-06-02T00:00Z"}', ''), ('"between": [null, "2026-06-02"],', '{"at": "2026-06-01T00:00Z"}', 'c:1'), ('"between": ["2026-06-01", null],', '{"at": "2026-05-01T00:00Z"}', ''),
	('"between": ["2026-06-01", null],', '{"at": "2027-05-01T00:00Z"}', 'c:1'), ('"between": ["2026-06-01", "2026-06-02"], "time_zone": "Asia/Tokyo",', '{"at": "2026-05-31T15:00Z"}', 'c:1')) v (part, activity, expected);
SELECT is(earns('"a": null, "b": {"then": [{"points": 1}]}', '{}'), 'b:1', 'one that is null is left out');
SELECT is(earns('"z": {"then": [{"points": 1}]}, "a": {"priority": 101, "then": [{"points": 2}]}, "b": {"lane": "bonus", "priority": 1, "then": [{"points": 3}]}, "y": {"priority": 0, "then": [{"points": 4}]}, "m": {"then": [{"points": 5}]}', '{}'),
	'y:4, m:5, z:1, a:2, b:3', 'by lane, by priority, and by name');

-- ---------------------------------------------------------------------------
-- What it is worth
-- ---------------------------------------------------------------------------

\set tea '{"amount": 100, "lines": [{"sku": "tea", "quantity": 3, "amount": 20.50}, {"sku": "card", "quantity": 2, "amount": 40, "earns": false}, {"sku": "mug", "quantity": 1.5, "amount": 10.25}]}'
SELECT is(earns(format('"c": {"when": {"lines": {"sku": ["tea", "card"]}}, "then": [%s]}', effect), activity), expected, effect || ' of ' || activity)
FROM (VALUES
	-- 100.00 but for the card; matching lines are the tea, since the card earns nothing
	(:'rate', :'tea', 'c:60'), (:'lines_rate', :'tea', 'c:20'), ('{"points": {"give": 1, "per": 1}, "over": "matching_lines", "round": "ceil"}', :'tea', 'c:21'),
	('{"points": {"give": 2.5, "per": "unit"}}', :'tea', 'c:11'), ('{"points": {"give": 2.5, "per": "unit"}, "over": "matching_lines"}', :'tea', 'c:7'), ('{"points": {"give": 2.5, "per": "unit"}, "over": "matching_lines", "round": "ceil"}', :'tea', 'c:8'),
	('{"points": {"give": 5, "every": 20}}', :'tea', 'c:15'), ('{"points": {"give": 5, "every": 20}, "over": "matching_lines"}', :'tea', 'c:5'), ('{"points": {"give": 0.5, "every": 20}, "round": "half_up"}', :'tea', 'c:2'),
	('{"brackets": [[0, 1], [20, 2], [50, 3]]}', :'tea', 'c:110'), ('{"brackets": [[10, 1], [20, 0.5]], "over": "matching_lines"}', :'tea', 'c:10'), ('{"brackets": [[60, 1]]}', :'tea', ''), ('{"brackets": [[59, 1]]}', :'tea', 'c:1'),
	('{"points": 7}', :'tea', 'c:7'),
	-- by line each is rounded by itself, and the rest, here 29.25
	('{"points": {"give": 1, "per": 1}, "round_at": "line"}', :'tea', 'c:59'), ('{"points": {"give": 1, "per": 1}, "round_at": "line", "round": "ceil"}', :'tea', 'c:62'), ('{"points": {"give": 2.5, "per": "unit"}, "round_at": "line"}', :'tea', 'c:10'),
	('{"points": {"give": 1.5, "every": 20}, "round_at": "line"}', :'tea', 'c:4'),
	-- less than its lines, and less than what of them earns nothing
	(:'rate', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20}]}', 'c:10'), (:'rate', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20, "earns": false}]}', ''), ('{"points": {"give": 1, "every": 1}}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20, "earns": false}]}', ''),
	('{"points": {"give": 1, "per": 1}, "round_at": "line"}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20}]}', 'c:10'), ('{"points": {"give": 1, "per": 1}, "round_at": "line"}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20, "earns": false}]}', ''),
	(:'lines_rate', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20}]}', 'c:20'),
	-- the rest, -10.50, down to -11, or up to -10; halves go up, or to the even one
	('{"points": {"give": 1, "per": 1}, "round_at": "line"}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20.50}]}', 'c:9'), ('{"points": {"give": 1, "per": 1}, "round_at": "line", "round": "ceil"}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20.50}]}', 'c:11'),
	('{"points": {"give": 1, "per": 1}, "round_at": "line", "round": "half_up"}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20.50}]}', 'c:11'), ('{"points": {"give": 1, "per": 1}, "round_at": "line", "round": "half_even"}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 20.50}]}', 'c:10'),
	('{"points": {"give": 1, "per": 1}, "round_at": "line", "round": "half_even"}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 21.50}]}', 'c:10')
) v (effect, activity, expected);
-- halves, also of what is negative before it is added up, and of many digits
SELECT is(earns(format('"c": {"then": [{"points": {"give": %s, "per": 1}, "round": "%s"}]}', give, round), format('{"amount": %s}', amount)), 'c:' || expected, format('%s of %s, %s', give, amount, round))
FROM (VALUES (0.5, 'half_up', '1', 1::bigint), (0.5, 'ceil', '1', 1), (0.5, 'half_even', '3', 2), (0.5, 'half_even', '5', 2), (0.499999, 'half_up', '3', 1), (0.5, 'half_even', '5.000002', 3), (0.5, 'half_even', '3.000002', 2), (1, 'ceil', '2', 2), (1, 'ceil', '2.000001', 3),
	(1000000, 'floor', '4611686018427.387903', 4611686018427387903), (0.5, 'half_up', '9000000000000', 4500000000000), (333333.333333, 'ceil', '3.000003', 1000001), (333333.333333, 'half_even', '4500000000000', 1499999999998500000)) v (give, round, amount, expected);
-- what cannot be computed is refused
SELECT throws_ok(format('SELECT earns(%L, %L)', definitions, activity), 'LY109', 'what an activity is worth is out of range', name)
FROM (VALUES ('less than nothing', '"c": {"then": [{"points": {"give": 1000000, "per": 1}, "round_at": "line"}]}', '{"amount": 0, "lines": [{"amount": 9000000000000, "earns": false}]}'), ('rounded', '"c": {"then": [{"points": {"give": 1000000, "per": 1}}]}', '{"amount": 4611686018427.387904}'),
	('multiplied', '"a": {"then": [{"points": {"give": 999999999999.999999, "per": 999999999999.999998}}]}, "m": {"lane": "bonus", "then": [{"multiply": 999999999999, "lane": "base"}]}', '{"amount": 9000000000000}'),
	('added', '"a": {"then": [{"points": {"give": 1, "per": 999999999999.999989}}, {"points": {"give": 1, "per": 999999999999.999961}}, {"points": {"give": 1, "per": 999999999999.999937}}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 9000000000000}')) v (name, definitions, activity);
SELECT is(earns('"a": {"then": [{"points": {"give": 999999999999, "per": 999999999999}}]}, "m": {"lane": "bonus", "then": [{"multiply": 1000, "lane": "base"}]}', '{"amount": 9000000000000}'), 'a:9000000000000, m:8991000000000000', 'in lowest terms it fits');
SELECT is(earns('"a": {"then": [{"points": {"give": 1, "per": 999999999999.999989}}, {"points": {"give": 1, "per": 999999999999.999961}}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 9000000000000}'), 'a:9, a:9, m:18', 'and so do sums');
SELECT is(earns('"a": {"then": [{"points": {"give": 999999999999, "per": 999999999999}}]}, "m": {"lane": "bonus", "then": [{"multiply": 1000, "lane": "base"}]}', '{"amount": 1, "lines": [{"amount": 9000000000000}]}'), 'a:1, m:999', 'also where the rest is less than nothing');
SELECT throws_ok($$SELECT loyalty.campaign_points('{"c": {"then": [{"points": {"give": 1000000, "per": 1}}, {"points": {"give": 1000000, "per": 1}}, {"points": {"give": 1000000, "per": 1}}]}}', '{"amount": 4000000000000}')$$, '22003', NULL, 'sums of campaigns, too');

-- ---------------------------------------------------------------------------
-- Multipliers
-- ---------------------------------------------------------------------------

SELECT is(earns(definitions, activity), expected, name)
FROM (VALUES
	('each lane but the base is not multiplied', :'base' || ', "gift": {"lane": "bonus", "priority": 1, "then": [{"points": 10}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 30}', 'base:30, gift:10, m:30'),
	('of its own currency', :'base' || ', "stars": {"then": [{"points": 5, "currency": "stars"}]}, "m": {"lane": "bonus", "then": [{"multiply": 3, "lane": "base", "currency": "stars"}]}', '{"amount": 30}', 'base:30, stars:5, m:10'),
	('nothing of nothing', '"m": {"lane": "bonus", "then": [{"multiply": 3, "lane": "base"}]}', '{"amount": 30}', ''),
	('those of another currency do not count', :'base' || ', "m": {"lane": "bonus", "then": [{"multiply": 3, "lane": "base", "currency": "stars", "combine": "max"}, {"multiply": 2, "lane": "base"}]}', '{"amount": 30}', 'base:30, m:30'),
	('what does not match neither multiplies nor is multiplied', :'base' || ', "no": {"when": {"amount": {">": 50}}, "then": [{"points": 10}]}, "a": {"lane": "bonus", "when": {"amount": {">": 50}}, "then": [{"multiply": 5, "lane": "base"}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 30}', 'base:30, m:30'),
	('two of one campaign', :'base' || ', "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}, {"multiply": 3, "lane": "base"}]}', '{"amount": 30}', 'base:30, m:30, m:60'),
	('the largest so far', :'base' || ', "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base", "combine": "max"}, {"multiply": 1.5, "lane": "base", "combine": "max"}, {"multiply": 3, "lane": "base", "combine": "max"}]}', '{"amount": 30}', 'base:30, m:30, m:30'),
	('rounded by line', :'base' || ', "m": {"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base", "round_at": "line"}]}', '{"lines": [{"amount": 10.90}, {"amount": 10.90}]}', 'base:21, m:12'),
	('or all of it', :'base' || ', "m": {"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base"}]}', '{"lines": [{"amount": 10.90}, {"amount": 10.90}]}', 'base:21, m:11'),
	('or up', :'base' || ', "m": {"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base", "round": "ceil"}]}', '{"amount": 10.5}', 'base:10, m:5'),
	('a line that earns nothing stays out', :'base' || ', "m": {"lane": "bonus", "when": {"lines": {"sku": ["tea", "card"]}}, "then": [{"multiply": 2, "lane": "base", "over": "matching_lines"}]}', :'tea', 'base:60, m:20'),
	('units of lines and what belongs to none', '"u": {"then": [{"points": {"give": 2, "per": "unit"}}, {"points": {"give": 5, "every": 20}}]}, "m": {"lane": "bonus", "when": {"lines": {"sku": "tea"}}, "then": [{"multiply": 3, "lane": "base", "over": "matching_lines"}]}, "n": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', :'tea', 'u:9, u:15, m:12, n:24'),
	('its lines are worth more than it', :'base' || ', "m": {"lane": "bonus", "when": {"lines": {"sku": "tea"}}, "then": [{"multiply": 3, "lane": "base", "over": "matching_lines"}]}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 15}, {"sku": "card", "amount": 30, "earns": false}]}', 'm:10'),
	('a factor of what is missing takes nothing away', :'base' || ', "m": {"lane": "bonus", "when": {"lines": {"sku": "tea"}}, "then": [{"multiply": 3, "lane": "base", "over": "matching_lines"}]}, "n": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 10, "lines": [{"sku": "tea", "amount": 15}, {"sku": "card", "amount": 30, "earns": false}]}', 'm:10'),
	('it multiplies what limits took', '"base": {"limits": {"award": 5}, "then": [{"points": {"give": 1, "per": 1}}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 30}', 'base:5 of 30 by award, m:30'),
	('a coupon is nothing that is multiplied', '"base": {"then": [{"coupon": "x"}, {"points": 3}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 30}', 'base:x, base:3, m:3')
) v (name, definitions, activity, expected);

-- ---------------------------------------------------------------------------
-- Limits
-- ---------------------------------------------------------------------------

SELECT is(earns(definitions, activity, member), expected, name)
FROM (VALUES
	('two that share points', '"a": {"limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}, "b": {"limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}', '{}', '{}', 'a:60, b:40 of 60 by d'),
	('each looks at what is left when it comes', '"a": {"limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}, "b": {"limits": {"member": {"points": 50, "within": "day", "name": "d"}}, "then": [{"points": 60}]}', '{}', '{"used": {"d": 10}}', 'a:60, b:0 of 60 by d'),
	('what is held stays in its room', '"a": {"limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}, "b": {"limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}', '{}', '{"used": {"d": 100}, "held": {"b": [30]}}', 'a:0 of 60 by d, b:30 of 60 by d'),
	('what no longer matches is given back first', '"a": {"limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}, "b": {"when": {"amount": {">": 5}}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}', '{"amount": 5}', '{"used": {"d": 100}, "held": {"b": [30]}}', 'a:30 of 60 by d'),
	('points of one currency are not those of another', '"a": {"limits": {"member": [{"points": 10, "within": "day"}, {"points": 3, "within": "day", "currency": "stars"}]}, "then": [{"points": 5, "currency": "stars"}, {"points": 8}, {"points": 8}]}', '{}', '{}', 'a:3 of 5 by member_day, a:8, a:2 of 8 by member_day'),
	('the tightest says so', '"a": {"limits": {"member": [{"points": 10, "within": "day"}, {"points": 8, "within": "week"}, {"points": 9, "within": "month"}], "total": {"points": 20}}, "then": [{"points": 50}]}', '{}', '{}', 'a:8 of 50 by member_week'),
	('of two alike the first', '"a": {"limits": {"member": [{"points": 8, "within": "day"}, {"points": 8, "within": "week"}]}, "then": [{"points": 50}]}', '{}', '{}', 'a:8 of 50 by member_day'),
	('any days', '"a": {"limits": {"member": {"points": 8, "within": "9 days"}}, "then": [{"points": 50}]}', '{}', '{"used": {"a/9days": 3}}', 'a:5 of 50 by member_9_days'),
	('times: activities that got anything', '"a": {"limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 5}, {"coupon": "x"}]}, "b": {"limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 6}]}', '{}', '{}', 'a:5, a:x, b:6'),
	('of which there was one', '"a": {"limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 5}]}, "b": {"limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 6}]}', '{}', '{"used": {"d": 1}}', 'a:0 of 5 by d, b:0 of 6 by d'),
	('this one', '"a": {"limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 5}]}, "b": {"limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 6}]}', '{}', '{"used": {"d": 1}, "held": {"b": [6]}}', 'a:5, b:6'),
	('this one, by what no longer matches', '"a": {"limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 5}]}, "b": {"when": {"amount": {">": 5}}, "limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 6}]}', '{}', '{"used": {"d": 1}, "held": {"b": [6]}}', 'a:5'),
	('twice, of which once is used', '"a": {"limits": {"member": {"times": 2, "within": "day"}}, "then": [{"points": 5}]}', '{}', '{"used": {"a/day/times": 1}}', 'a:5'),
	('a window is a time of its own', '"a": {"window": "month", "limits": {"member": {"times": 1, "within": "year", "name": "d"}}, "then": [{"points": 5}]}, "b": {"window": "year", "limits": {"member": {"times": 1, "within": "year", "name": "d"}}, "then": [{"points": 6}]}', '{}', '{}', 'a:5, b:0 of 6 by d'),
	('and keeps it', '"a": {"window": "month", "limits": {"member": {"times": 1, "within": "year", "name": "d"}}, "then": [{"points": 5}]}, "b": {"window": "year", "limits": {"member": {"times": 1, "within": "year", "name": "d"}}, "then": [{"points": 6}]}', '{}', '{"used": {"d": 1}, "held": {"b": [6]}}', 'a:0 of 5 by d, b:6'),
	('once it has nothing more, somebody else has it', '"a": {"window": "month", "limits": {"member": {"times": 1, "within": "year", "name": "d"}}, "then": [{"points": 5}]}, "b": {"window": "year", "having": {"amount": {">": 5}}, "limits": {"member": {"times": 1, "within": "year", "name": "d"}}, "then": [{"points": 6}]}', '{"amount": 5}', '{"used": {"d": 1}, "held": {"b": [6]}}', 'a:5'),
	('one award, whatever of it is there', '"a": {"limits": {"award": 10}, "then": [{"points": 7}, {"points": 7}, {"points": 7}]}', '{}', '{}', 'a:7, a:3 of 7 by award, a:0 of 7 by award'),
	('what its later effects hold is theirs', '"a": {"limits": {"award": 10}, "then": [{"points": 7}, {"points": 7}]}', '{}', '{"held": {"a": [0, 6]}}', 'a:4 of 7 by award, a:6 of 7 by award'),
	('of one currency', '"a": {"limits": {"award": {"points": 4, "currency": "stars"}}, "then": [{"points": 7}, {"points": 7, "currency": "stars"}]}', '{}', '{}', 'a:7, a:4 of 7 by award'),
	('nothing at all', '"a": {"limits": {"award": 0}, "then": [{"points": 7}]}', '{}', '{}', 'a:0 of 7 by award'),
	('where it was trimmed it stays', '"a": {"then": [{"points": 7}, {"points": 7}]}', '{}', '{"held": {"a": [5, 5]}, "ceilings": {"a": [5, null]}}', 'a:5 of 7 by ceiling, a:7'),
	('or below', '"a": {"limits": {"award": 2}, "then": [{"points": 7}]}', '{}', '{"ceilings": {"a": [5]}}', 'a:2 of 7 by award'),
	('a ceiling above is none', '"a": {"then": [{"points": 7}]}', '{}', '{"ceilings": {"a": [7]}}', 'a:7'),
	('all or nothing', '"a": {"at_limit": "refuse", "limits": {"total": {"points": 10}}, "then": [{"coupon": "x"}, {"points": 7}, {"points": 7}]}, "b": {"then": [{"points": 1}]}', '{}', '{}', 'a: by total, a:0 of 7 by total, a:0 of 7 by total, b:1'),
	('all', '"a": {"at_limit": "refuse", "limits": {"total": {"points": 14}}, "then": [{"coupon": "x"}, {"points": 7}, {"points": 7}]}', '{}', '{}', 'a:x, a:7, a:7'),
	('what is refused is left to others', '"a": {"at_limit": "refuse", "limits": {"member": {"points": 10, "within": "day", "name": "d"}}, "then": [{"points": 7}, {"points": 7}]}, "b": {"limits": {"member": {"points": 10, "within": "day", "name": "d"}}, "then": [{"points": 9}]}', '{}', '{}', 'a:0 of 7 by d, a:0 of 7 by d, b:9'),
	('and so is its time', '"a": {"at_limit": "refuse", "limits": {"member": {"times": 1, "within": "year", "name": "d"}, "award": 6}, "window": "month", "then": [{"points": 7}]}, "b": {"window": "month", "limits": {"member": {"times": 1, "within": "year", "name": "d"}}, "then": [{"points": 9}]}', '{}', '{}', 'a:0 of 7 by award, b:9'),
	('an effect that wants nothing is not limited', '"a": {"at_limit": "refuse", "limits": {"award": 6}, "then": [{"points": 7}, {"points": {"give": 1, "per": 1}}]}', '{"amount": 0}', '{}', 'a:0 of 7 by award'),
	-- whom a trial holds out
	('held out', '"a": {"treat": {"attribute": {"arm": "yes"}}, "then": [{"points": 7}, {"coupon": "x"}]}', '{}', '{"attributes": {"arm": "no"}}', 'a:0 of 7 by holdout, a: by holdout'),
	('not held out', '"a": {"treat": {"attribute": {"arm": "yes"}}, "then": [{"points": 7}]}', '{}', '{"attributes": {"arm": "yes"}}', 'a:7'),
	('held out of what does not match', '"a": {"when": {"amount": {">": 5}}, "treat": {"attribute": {"arm": "yes"}}, "then": [{"points": 7}]}', '{}', '{}', ''),
	('nobody multiplies it', '"a": {"treat": {"attribute": {"arm": "yes"}}, "then": [{"points": 7}]}, "b": {"then": [{"points": 1}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{}', '{}', 'a:0 of 7 by holdout, b:1, m:1'),
	('nor does it multiply', :'base' || ', "m": {"lane": "bonus", "treat": {"attribute": {"arm": "yes"}}, "then": [{"multiply": 2, "lane": "base"}]}, "n": {"lane": "bonus", "then": [{"multiply": 3, "lane": "base", "combine": "add"}]}', '{"amount": 10}', '{}', 'base:10, m:0 of 10 by holdout, n:20'),
	('nor stop', '"a": {"stop": true, "treat": {"attribute": {"arm": "yes"}}, "then": [{"points": 7}]}, "b": {"then": [{"points": 1}]}', '{}', '{}', 'a:0 of 7 by holdout, b:1'),
	('and is no candidate of its group', '"a": {"exclusive": {"group": "g"}, "treat": {"attribute": {"arm": "yes"}}, "then": [{"points": 7}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 1}]}', '{}', '{}', 'a:0 lost to b, b:1'),
	-- stop
	('one that stops stops all behind it', :'base' || ', "s": {"priority": 1, "stop": true, "then": [{"points": 5}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 10}', '{}', 's:5, base:0 lost to s, m:0 lost to s'),
	('what is stopped gives back what it holds', '"s": {"priority": 1, "stop": true, "then": [{"points": 5}]}, "a": {"limits": {"member": {"points": 9, "within": "day", "name": "d"}}, "then": [{"points": 5}]}, "w": {"window": "month", "limits": {"member": {"points": 9, "within": "day", "name": "d"}}, "then": [{"points": 20}]}', '{}', '{"used": {"d": 9}, "held": {"a": [5]}}', 's:5, a:0 lost to s, w:5 of 20 by d'),
	('the first that stops', '"s": {"priority": 1, "stop": true, "then": [{"points": 5}]}, "t": {"priority": 2, "stop": true, "then": [{"points": 5}]}, "a": {"then": [{"points": 1}]}', '{}', '{}', 's:5, t:0 lost to s, a:0 lost to s')
) v (name, definitions, activity, member, expected);

-- ---------------------------------------------------------------------------
-- Groups
-- ---------------------------------------------------------------------------

SELECT is(earns(definitions, activity, member), expected, name)
FROM (VALUES
	('the best, by the currency of the group', '"a": {"exclusive": {"group": "g", "currency": "stars"}, "then": [{"points": 50}, {"points": 1, "currency": "stars"}]}, "b": {"exclusive": {"group": "g", "currency": "stars"}, "then": [{"points": 5}, {"points": 2, "currency": "stars"}]}', '{}', '{}', 'a:0 lost to b, a:0 lost to b, b:5, b:2'),
	('all effects of it', '"a": {"exclusive": {"group": "g"}, "then": [{"points": 5}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 3}, {"coupon": "x"}, {"points": 3}]}', '{}', '{}', 'a:0 lost to b, b:3, b:x, b:3'),
	('the earlier one at a tie', '"a": {"exclusive": {"group": "g"}, "then": [{"points": 5}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 5}]}', '{}', '{}', 'a:5, b:0 lost to a'),
	('one that gives no points of the group is worth 0', '"a": {"exclusive": {"group": "g"}, "then": [{"coupon": "x"}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 1}]}', '{}', '{}', 'a: lost to b, b:1'),
	('and wins where nobody else is', '"a": {"exclusive": {"group": "g"}, "then": [{"coupon": "x"}]}, "b": {"exclusive": {"group": "g"}, "when": {"amount": {">": 5}}, "then": [{"points": 1}]}', '{}', '{}', 'a:x'),
	('another group is another', '"a": {"exclusive": {"group": "g"}, "then": [{"points": 5}]}, "b": {"exclusive": {"group": "h"}, "then": [{"points": 6}]}, "c": {"then": [{"points": 7}]}', '{}', '{}', 'a:5, b:6, c:7'),
	-- what each would give alone: as if no other had anything of this activity
	('points that another of the activity holds do not stand in the way', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 80}]}, "b": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 70}]}', '{}', '{"used": {"d": 60}, "held": {"b": [60]}}', 'a:80, b:0 lost to a'),
	('nor do those of one outside the group', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 80}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 70}]}, "o": {"priority": 1, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}', '{}', '{"used": {"d": 60}, "held": {"o": [60]}}', 'o:60, a:40 of 80 by d, b:0 lost to a'),
	('what it holds itself counts', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 100}]}, "b": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 150}]}', '{}', '{"used": {"d": 60}, "held": {"b": [60]}}', 'a:100, b:0 lost to a'),
	('what other activities used does, too', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day"}}, "then": [{"points": 80}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 70}]}', '{}', '{"used": {"a/day": 40}}', 'a:0 lost to b, b:70'),
	('limits of other currencies leave it alone', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 10, "within": "day", "currency": "stars"}}, "then": [{"points": 80}, {"points": 9, "currency": "stars"}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 70}]}', '{}', '{"used": {"a/day/stars": 9}, "held": {"a": [80, 9]}}', 'a:80, a:9, b:0 lost to a'),
	('times that this activity has stay', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 80}]}, "b": {"exclusive": {"group": "g"}, "limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 70}]}', '{}', '{"used": {"d": 1}, "held": {"b": [70]}}', 'a:80, b:0 lost to a'),
	('times that are used up by others do not', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"times": 1, "within": "day", "name": "d"}}, "then": [{"points": 80}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 70}]}', '{}', '{"used": {"d": 1}}', 'a:0 lost to b, b:70'),
	('what was asked leaves nothing behind', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 60}]}, "b": {"exclusive": {"group": "g"}, "limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 70}]}, "c": {"limits": {"member": {"points": 100, "within": "day", "name": "d"}}, "then": [{"points": 40}]}', '{}', '{}', 'a:0 lost to b, b:70, c:30 of 40 by d'),
	('nor of times', '"a": {"exclusive": {"group": "g"}, "limits": {"member": {"times": 1, "within": "day"}}, "then": [{"points": 60}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 50}]}', '{}', '{}', 'a:60, b:0 lost to a'),
	('of nothing left by all nobody wins', '"a": {"exclusive": {"group": "g"}, "limits": {"award": 0}, "then": [{"points": 60}]}, "b": {"exclusive": {"group": "g"}, "limits": {"award": 0}, "then": [{"points": 50}]}', '{}', '{}', 'a:0 of 60 by award, b:0 of 50 by award'),
	('a multiplier, by what it adds to no other', :'base' || ', "a": {"lane": "bonus", "then": [{"multiply": 3, "lane": "base", "combine": "max"}]}, "b": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"multiply": 2, "lane": "base", "combine": "max"}]}, "c": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"points": 9}]}', '{"amount": 10}', '{}', 'base:10, a:20, c:0 lost to b'),
	-- groups are settled one after the other
	('nobody multiplies what a later group gives, until it is settled', '"a": {"priority": 1, "exclusive": {"group": "g"}, "then": [{"points": 15}]}, "m": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"multiply": 2, "lane": "base"}]}, "b": {"priority": 2, "exclusive": {"group": "h"}, "then": [{"points": 50}]}, "c": {"then": [{"points": 10}]}', '{}', '{}', 'a:15, b:50, c:10, m:0 lost to a'),
	('then it does', '"a": {"priority": 1, "exclusive": {"group": "g"}, "then": [{"points": 5}]}, "m": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"multiply": 2, "lane": "base"}]}, "b": {"priority": 2, "exclusive": {"group": "h"}, "then": [{"points": 50}]}, "c": {"then": [{"points": 10}]}', '{}', '{}', 'a:0 lost to m, b:50, c:10, m:60'),
	('what lost is not multiplied', '"a": {"exclusive": {"group": "g"}, "then": [{"points": 5}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 50}]}, "m": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{}', '{}', 'a:0 lost to b, b:50, m:50'),
	('nor does what lost multiply', :'base' || ', "a": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"multiply": 2, "lane": "base"}]}, "b": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"multiply": 3, "lane": "base"}]}, "c": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '{"amount": 10}', '{}', 'base:10, a:0 lost to b, b:20, c:10')
) v (name, definitions, activity, member, expected);

-- Line by line
CREATE FUNCTION by_line(pick text, lane text, sku text, then_effects text, priority integer DEFAULT 100) RETURNS text LANGUAGE sql AS $$
	SELECT format('{"lane": "%s", "priority": %s, "exclusive": {"group": "g", "pick": "%s", "scope": "line"}, "when": {"lines": {"sku": [%s]}}, "then": [%s]}', lane, priority, pick, sku, then_effects)
$$;
\set two '{"lines": [{"sku": "tea", "quantity": 3, "amount": 5}, {"sku": "mug", "quantity": 1, "amount": 9}]}'
SELECT is(earns(definitions, activity), expected, name)
FROM (VALUES
	('the best of each', '"a": ' || by_line('best', 'base', '"tea", "mug"', '{"points": {"give": 2, "per": "unit"}, "over": "matching_lines"}') || ', "b": ' || by_line('best', 'base', '"tea", "mug"', :'lines_rate'), :'two', 'a:6, b:9'),
	('the first of each', '"a": ' || by_line('first', 'base', '"tea"', '{"points": {"give": 1, "per": "unit"}, "over": "matching_lines"}') || ', "b": ' || by_line('first', 'base', '"tea", "mug"', :'lines_rate'), :'two', 'a:3, b:9'),
	('the earlier at a tie', '"a": ' || by_line('best', 'base', '"tea", "mug"', :'lines_rate') || ', "b": ' || by_line('best', 'base', '"tea", "mug"', :'lines_rate'), :'two', 'a:14, b:0 lost to a'),
	('all effects of one in the group''s currency', '"a": ' || by_line('best', 'base', '"tea"', :'lines_rate') || ', "b": ' || by_line('best', 'base', '"tea"', '{"points": {"give": 1, "per": "unit"}, "over": "matching_lines"}, {"points": {"give": 1, "per": "unit"}, "over": "matching_lines"}'), :'two', 'a:0 lost to b, b:3, b:3'),
	('other currencies do not count', '"a": ' || by_line('best', 'base', '"tea"', :'lines_rate') || ', "b": ' || by_line('best', 'base', '"tea"', '{"points": {"give": 1, "per": "unit"}, "over": "matching_lines"}, {"points": {"give": 9, "per": "unit"}, "over": "matching_lines", "currency": "stars"}'), :'two', 'a:5, b:0 lost to a, b:0 lost to a'),
	('a line that nobody wants is nobody''s', '"a": ' || by_line('best', 'base', '"mug"', :'lines_rate') || ', "b": ' || by_line('best', 'base', '"mug"', '{"points": {"give": 2, "per": 1}, "over": "matching_lines"}'), :'two', 'a:0 lost to b, b:18'),
	('the loser says who has the first line', '"a": ' || by_line('best', 'base', '"mug"', :'lines_rate') || ', "b": ' || by_line('best', 'base', '"mug"', '{"points": {"give": 2, "per": 1}, "over": "matching_lines"}') || ', "c": ' || by_line('best', 'base', '"tea"', :'lines_rate'), :'two', 'a:0 lost to c, b:18, c:5'),
	('a multiplier and an amount', :'base' || ', "a": ' || by_line('best', 'bonus', '"tea", "mug"', '{"multiply": 2, "lane": "base", "over": "matching_lines"}') || ', "b": ' || by_line('best', 'bonus', '"tea", "mug"', '{"points": {"give": 2, "per": "unit"}, "over": "matching_lines"}'), :'two', 'base:14, a:9, b:6'),
	('one that is alone has what was worth something then', '"x": {"when": {"lines": {"sku": "tea"}}, "then": [' || :'lines_rate' || ']}, "y": {"priority": 2, "exclusive": {"group": "h"}, "when": {"lines": {"sku": "mug"}}, "then": [' || :'lines_rate' || ']}, "a": ' || by_line('best', 'base', '"none"', :'lines_rate', 1)
		|| ', "m": ' || by_line('best', 'bonus', '"tea", "mug"', '{"multiply": 2, "lane": "base", "over": "matching_lines"}'), :'two', 'y:9, x:5, m:5'),
	('of nothing left nobody has a line', '"a": {"limits": {"award": 0}, ' || substr(by_line('best', 'base', '"tea"', :'lines_rate'), 2), :'two', 'a:0 of 5 by award'),
	('a limit leaves part of what was won', '"a": {"limits": {"award": 2}, ' || substr(by_line('best', 'base', '"tea", "mug"', :'lines_rate'), 2) || ', "b": ' || by_line('best', 'base', '"tea"', '{"points": {"give": 2, "per": "unit"}, "over": "matching_lines"}'), :'two', 'a:2 of 9 by award, b:6'),
	('lines there are none', '"a": ' || by_line('best', 'base', '"tea"', :'lines_rate'), '{"amount": 5}', '')
) v (name, definitions, activity, expected);

-- ---------------------------------------------------------------------------
-- Windows, and what is known of a member
-- ---------------------------------------------------------------------------

SELECT is(earns(definitions, activity, member), expected, name)
FROM (VALUES
	('a window adds up', '"w": {"window": "month", "then": [{"points": {"give": 1, "per": 1}}]}', '{"amount": 5}', '{"windows": {"w": {"amount": 20, "activities": 2}}}', 'w:25'),
	('without what does not belong to it', '"w": {"window": "month", "when": {"channel": "app"}, "then": [{"points": {"give": 1, "per": 1}}]}', '{"amount": 5, "lines": [{"amount": 5}], "channel": "web"}', '{"windows": {"w": {"amount": 20, "activities": 2}}}', 'w:20'),
	('nothing of nothing', '"w": {"window": "month", "when": {"channel": "app"}, "then": [{"points": 7}]}', '{"amount": 5, "channel": "web"}', '{}', ''),
	('how many there were', '"w": {"window": "month", "having": {"activities": {"=": 3}}, "then": [{"points": 7}]}', '{}', '{"windows": {"w": {"activities": 2}}}', 'w:7'),
	('one of them is not counted', '"w": {"window": "month", "when": {"channel": "app"}, "having": {"activities": {"=": 2}}, "then": [{"points": 7}]}', '{}', '{"windows": {"w": {"activities": 2}}}', 'w:7'),
	('what of them has an amount', '"w": {"window": "month", "having": {"amount": {"=": 20}}, "then": [{"points": 7}]}', '{}', '{"windows": {"w": {"amount": 20}}}', 'w:7'),
	('too little', '"w": {"window": "month", "having": {"amount": {">=": 26}}, "then": [{"points": 7}]}', '{"amount": 5}', '{"windows": {"w": {"amount": 20, "activities": 2}, "v": {"amount": 30}}}', ''),
	('its own lines alone', '"w": {"window": "month", "when": {"lines": {"sku": "tea"}}, "then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]}', :'two', '{}', 'w:5'),
	('what is held is an array of a number for each effect', '"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}, {"points": 5}]}', '{}', '{"used": {"a/day": 9}, "held": {"a": [4, 5]}}', 'a:4 of 5 by member_day, a:5'),
	('or what is not known', '"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}, {"points": 5}]}', '{}', '{"used": {"a/day": 9}, "held": {"a": ["4"], "b": [5, 5]}}', 'a:0 of 5 by member_day, a:0 of 5 by member_day'),
	('or is no array', '"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}]}', '{}', '{"used": {"a/day": "8"}, "held": {"a": 5}}', 'a:5'),
	('nor objects', '"a": {"when": {"tier": {"club": "gold"}}, "then": [{"points": 5}]}', '{}', '{"tier": ["club"], "held": [5], "used": 5}', '')
) v (name, definitions, activity, member, expected);
-- One activity after the other, each by itself, and by its own definitions
SELECT results_eq($$SELECT (SELECT string_agg(points || coalesce(' by ' || limited_by, ''), ', ' ORDER BY effect) FROM loyalty.evaluate_campaigns(definitions, '{}', member)) FROM (VALUES
	(1, '{"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}, {"points": 4}]}}'::jsonb, '{"used": {"a/day": 9}, "held": {"a": [5, 4]}, "ceilings": {"a": [3, 4]}}'::jsonb),
	(2, '{"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}, {"points": 4}]}}', '{"used": {"a/day": 9}}'), (3, '{"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}, {"points": 4}]}}', '{}'),
	(4, '{"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 6}, {"points": 4}]}}', '{}'), (5, '{"a": {"then": [{"points": 5}]}}', '{}')) v (n, definitions, member) ORDER BY n$$,
	$$VALUES ('3 by ceiling, 4'), ('0 by member_day, 0 by member_day'), ('5, 4'), ('6, 3 by member_day'), ('5')$$, 'what one has is not the next one''s');
SELECT results_eq($$SELECT loyalty.campaign_points(definitions, '{}', member) FROM (VALUES (1, '{"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}]}}'::jsonb, '{"used": {"a/day": 9}, "held": {"a": [5]}}'::jsonb),
	(2, '{"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 5}]}}', '{"used": {"a/day": 9}}'), (3, '{"a": {"limits": {"member": {"points": 9, "within": "day"}}, "then": [{"points": 4}]}}', '{}')) v (n, definitions, member) ORDER BY n$$,
	'VALUES (5::bigint), (0), (4)', 'nor where points are added up');
SELECT is(loyalty.campaign_points('{"a": {"then": [{"points": 5}, {"points": 3, "currency": "point"}, {"points": 2, "currency": "pointz"}, {"coupon": "x"}]}}', '{}', '{}', currency), points::bigint, 'points of ' || currency)
FROM (VALUES ('points', 5), ('point', 3), ('pointz', 2), ('poin', 0), ('pointss', 0)) v (currency, points);
SELECT throws_ok(format('SELECT * FROM loyalty.evaluate_campaigns(%L, %L, %L)', definitions, activity, member), 'LY003', message, message || ': ' || definitions || activity || member)
FROM (VALUES ('5', '{}', '{}', 'definitions cannot be read'), ('{}', '5', '{}', 'activity cannot be read'), ('{}', '{}', '[]', 'member cannot be read'), ('{}', '[]', '[]', 'activity cannot be read')) v (definitions, activity, member, message);
-- What an activity says, read or not
SELECT is(earns(format('"c": {"when": %s, "then": [{"points": 1}]}', condition), activity), expected, condition || ' of ' || activity)
FROM (VALUES ('{"amount": {"=": 5}}', '{"amount": "5"}', ''), ('{"amount": {"=": 5}}', '{"amount": 5}', 'c:1'), ('{"amount": {"=": 7}}', '{"amount": 7, "lines": [{"amount": 5}]}', 'c:1'), ('{"amount": {"=": 5}}', '{"lines": [{"amount": 5}]}', 'c:1'), ('{"channel": "app"}', '{"channel": ["app"]}', ''),
	('{"path": "$.a == 1"}', '{"document": {"a": 1}}', 'c:1'), ('{"path": "$ == 1"}', '{"document": 1}', 'c:1'), ('{"path": "$ == null"}', '{"document": null}', ''), ('{"weekday": 6}', '{"at": "2026-05-02T12:00Z"}', 'c:1'), ('{"weekday": [1, 2, 3, 4, 5, 6, 7]}', '{"at": 5}', 'c:1')) v (condition, activity, expected);
SELECT * FROM finish();
