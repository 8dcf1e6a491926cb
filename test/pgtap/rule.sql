-- Campaigns as pure functions: what an activity earns, from the semantics in
-- src/rule/decide.h, and the refusals of definitions.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

-- "campaign:points" of each effect that gives, or was limited; the limit and
-- what was wanted behind it, and who won instead.
CREATE FUNCTION earns(definitions jsonb, activity jsonb, member jsonb DEFAULT '{}') RETURNS text
LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('%s:%s', campaign, coalesce(item, points::text)) || CASE WHEN limited_by IS NOT NULL THEN coalesce(' of ' || wanted, '') || ' by ' || limited_by ELSE '' END
		|| coalesce(' ' || why, ''), ', ' ORDER BY n), '')
	FROM loyalty.evaluate_campaigns($1, $2, $3) WITH ORDINALITY e (campaign, effect, kind, currency, points, wanted, item, limited_by, why, n)
$$;
CREATE FUNCTION total(definitions jsonb, activity jsonb, member jsonb DEFAULT '{}', wanted_currency text DEFAULT 'points') RETURNS bigint
LANGUAGE sql AS $$
	-- NULL where the two functions differ
	SELECT nullif(loyalty.campaign_points($1, $2, $3, $4), nullif(loyalty.campaign_points($1, $2, $3, $4), coalesce(sum(points), 0)::bigint)) FROM loyalty.evaluate_campaigns($1, $2, $3) WHERE currency = $4
$$;
CREATE FUNCTION holds(condition jsonb, activity jsonb, member jsonb DEFAULT '{}') RETURNS boolean
LANGUAGE sql AS $$
	SELECT total(jsonb_build_object('c', jsonb_build_object('when', condition, 'then', '[{"points": 1}]'::jsonb)), activity, member) = 1
$$;

-- 1. A rate
SELECT is(total('{"c": {"then": [{"points": {"give": 1, "per": 10}}]}}', '{"amount": 105.00}'), 10::bigint, '1 per 10.00 of 105.00');

-- 2. Where to round
SELECT is(total(format('{"c": {"then": [{"points": {"give": 1, "per": 1}, "round_at": "%s"}]}}', place)::jsonb,
	'{"lines": [{"amount": 10.50}, {"amount": 10.50}]}'), points, 'rounded by ' || place)
FROM (VALUES ('activity', 21::bigint), ('line', 20)) v (place, points);

-- 3. How to round
SELECT is(total(format('{"c": {"then": [{"points": {"give": 0.5, "per": 1}, "round": "%s"}]}}', mode)::jsonb,
	format('{"amount": %s}', amount)::jsonb), points, format('%s at half a point: %s', amount, mode))
FROM (VALUES (5.00, 'floor', 2::bigint), (5.00, 'half_up', 3), (5.00, 'half_even', 2), (5.00, 'ceil', 3),
	(7.00, 'floor', 3), (7.00, 'half_up', 4), (7.00, 'half_even', 4), (7.00, 'ceil', 4)) v (amount, mode, points);

-- 4. What is multiplied: the base before it was rounded
SELECT is(total('{"base": {"then": [{"points": {"give": 1, "per": 1}}]}, "more": {"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base"}]}}',
	'{"amount": 19.99}'), 29::bigint, '19.99 at 1.5');

-- 5. Two multipliers of 100
SELECT is(total(format('{"base": {"then": [{"points": 100}]}, "twice": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base", "combine": "%1$s"}]},
	"thrice": {"lane": "bonus", "then": [{"multiply": 3, "lane": "base", "combine": "%1$s"}]}}', combine)::jsonb, '{"amount": 1}'), points, combine)
FROM (VALUES ('add', 400::bigint), ('multiply', 600), ('max', 300)) v (combine, points);

-- 6. The best of a group
SELECT is(earns('{"base": {"then": [{"points": {"give": 1, "per": 1}}]},
	"a": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"points": 50}]},
	"b": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"multiply": 2, "lane": "base"}]}}',
	format('{"amount": %s}', amount)::jsonb), given, format('best of %s', amount))
FROM (VALUES (60.00, 'base:60, a:0 lost to b, b:60'), (50.00, 'base:50, a:50, b:0 lost to a'), (40.00, 'base:40, a:50, b:0 lost to a')) v (amount, given);
SELECT is(earns('{"base": {"then": [{"points": {"give": 1, "per": 1}}]},
	"a": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"points": 50}]},
	"b": {"lane": "bonus", "priority": 99, "exclusive": {"group": "g"}, "then": [{"multiply": 2, "lane": "base"}]}}',
	'{"amount": 50.00}'), 'base:50, b:50, a:0 lost to b', 'a tie goes to the smaller priority');
SELECT is(earns('{"a": {"exclusive": {"group": "g", "pick": "first"}, "then": [{"points": 5}]}, "b": {"exclusive": {"group": "g", "pick": "first"}, "then": [{"points": 50}]}}',
	'{"amount": 1}'), 'a:5, b:0 lost to a', 'the first of a group');
SELECT is(earns('{"a": {"exclusive": {"group": "g", "pick": "first"}, "limits": {"total": {"points": 10}}, "then": [{"points": 5}]}, "b": {"exclusive": {"group": "g", "pick": "first"}, "then": [{"points": 50}]}}',
	'{"amount": 1}', '{"used": {"a/total": 10}}'), 'a:0 lost to b, b:50', 'one of which nothing is left is no candidate');

SELECT is(total('{"base": {"then": [{"points": {"give": 1, "per": 1}}]}, "a": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"points": 100}]},
	"x": {"lane": "bonus", "exclusive": {"group": "g"}, "then": [{"multiply": 3, "lane": "base"}]}}', format('{"amount": %s}', amount)::jsonb), points::bigint, 'what multiplies, by what it adds: of ' || amount)
FROM (VALUES (40, 140), (60, 180)) v (amount, points);

-- 7. Stop, only if it gave
SELECT is(earns('{"x": {"stop": true, "priority": 1, "limits": {"total": {"points": 100}}, "then": [{"points": 10}]}, "y": {"then": [{"points": 7}]}}',
	'{"amount": 1}', format('{"used": {"x/total": %s}}', used)::jsonb), given, format('stop with %s of 100 used', used))
FROM (VALUES (0, 'x:10, y:0 lost to x'), (95, 'x:5 of 10 by total, y:0 lost to x'), (100, 'x:0 of 10 by total, y:7')) v (used, given);

-- 8. No order, no name changes anything: 10.50 and 21.00, in cents
SELECT is(total(format('{"%s": {"then": [{"points": {"give": 10, "per": 1}}]}, "%s": {"when": {"amount": {">=": 100}}, "then": [{"points": {"give": 20, "per": 1}}]}}', a, b)::jsonb,
	'{"amount": 105.00}'), 3150::bigint, a || ' before ' || b)
FROM (VALUES ('a', 'b'), ('b', 'a'), ('z', 'm')) v (a, b);

-- 9. A day's cap: what is left of it
SELECT is(earns('{"base": {"limits": {"member": [{"points": 500, "within": "day"}]}, "then": [{"points": {"give": 1, "per": 1}}]}}',
	format('{"amount": %s}', amount)::jsonb, member::jsonb), given, 'a cap of 500 a day: ' || given)
FROM (VALUES (120, '{"used": {"base/day": 430}}', 'base:70 of 120 by member_day'), (120, '{}', 'base:120'),
	(120, '{"used": {"base/day": 70}, "held": {"base": [70]}, "ceilings": {"base": [70]}}', 'base:70 of 120 by ceiling'),
	(600, '{"used": {"base/day": 70}}', 'base:430 of 600 by member_day')) v (amount, member, given);

-- 10. A budget
SELECT is(earns(format('{"base": {"at_limit": "%s", "limits": {"total": {"points": 1000}}, "then": [{"points": {"give": 1, "per": 1}}]}}', at_limit)::jsonb,
	'{"amount": 400}', '{"used": {"base/total": 800}}'), given, at_limit)
FROM (VALUES ('trim', 'base:200 of 400 by total'), ('refuse', 'base:0 of 400 by total')) v (at_limit, given);

-- 11. Every 300 gives 50
SELECT is(total('{"c": {"then": [{"points": {"give": 50, "every": 300}}]}}', format('{"amount": %s}', amount)::jsonb), points, format('every 300 of %s', amount))
FROM (VALUES (650.00, 100::bigint), (550.00, 50), (299.00, 0), (300.00, 50), (299.999999, 0)) v (amount, points);

-- 12. Below a threshold, with a group and a cap
SELECT is(earns('{"base": {"then": [{"points": {"give": 1, "per": 1}}]}, "bonus": {"when": {"amount": {">=": 300}}, "then": [{"points": 100}]}}',
	format('{"lines": %s}', lines)::jsonb), given, given)
FROM (VALUES ('[{"amount": 290.00}, {"amount": 20.00}]', 'base:310, bonus:100'), ('[{"amount": 290.00}]', 'base:290'), ('[]', '')) v (lines, given);
SELECT is(earns('{"a": {"exclusive": {"group": "g"}, "when": {"amount": {">=": 300}}, "then": [{"points": 100}], "limits": {"award": 70}},
	"b": {"exclusive": {"group": "g"}, "then": [{"points": 40}]}}', format('{"amount": %s}', amount)::jsonb,
	'{"held": {"a": [70]}, "ceilings": {"a": [70]}}'), given, 'a group with a cap: ' || given)
FROM (VALUES (305, 'a:70 of 100 by ceiling, b:0 lost to a'), (290, 'b:40')) v (amount, given);

-- 13. No drift
SELECT is(total('{"base": {"then": [{"points": {"give": 1, "per": 1}}]}, "more": {"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base"}]}}',
	format('{"lines": %s}', lines)::jsonb), points, format('%s with factor 1.5', lines))
FROM (VALUES ('[{"amount": 33.33}, {"amount": 33.33}, {"amount": 33.34}]', 150::bigint), ('[{"amount": 33.33}, {"amount": 33.34}]', 100),
	('[{"amount": 33.34}]', 50), ('[]', 0)) v (lines, points);
SELECT is(total('{"third": {"then": [{"points": {"give": 1, "per": 3}}]}, "more": {"lane": "bonus", "then": [{"multiply": 1.5, "lane": "base"}]}}',
	'{"amount": 10}'), 5::bigint, 'a third of 10 with factor 1.5 is 5 exactly');

-- 15. Brackets over a month: 4,800 before
SELECT is(total('{"c": {"window": "month", "then": [{"brackets": [[0, 1], [5000, 1.2], [7500, 1.5], [10000, 0]], "currency": "cash"}]}}',
	format('{"amount": %s}', amount)::jsonb, format('{"windows": {"c": {"amount": %s, "activities": 1}}}', before)::jsonb, 'cash'), points,
	format('brackets of %s and %s', before, amount))
FROM (VALUES (0, 12000, 11750::bigint), (4800, 400, 5240), (4800, 0, 4800), (9000, 1000, 11750), (12000, 1, 11750)) v (before, amount, points);

-- 16. Paths, as PostgreSQL answers
SELECT is(holds(jsonb_build_object('path', path), jsonb_build_object('document', document)), expected, format('%s over %s', path, document))
FROM (VALUES ('$.amount > 10', '{}'::jsonb, false), ('!($.amount > 10)', '{}', true), ('strict !($.amount > 10)', '{}', false),
	('$.amount > 10', '{"amount": "100"}', false), ('!($.amount > 10)', '{"amount": "100"}', false),
	('$.amount > 10', '{"amount": null}', false), ('!($.amount > 10)', '{"amount": null}', true),
	('!exists($.amount)', '{}', true), ('$.lines[*].q > 2', '{"lines": [{"q": "x"}, {"q": 3}]}', true),
	('strict $.lines[*].q > 2', '{"lines": [{"q": "x"}, {"q": 3}]}', false)) v (path, document, expected);
SELECT is(holds(jsonb_build_object('not', jsonb_build_object('path', '$.amount > 10')), '{"document": {"amount": "100"}}'), false, 'the negation of a NULL is no');

-- Three values
SELECT is(holds(condition::jsonb, activity::jsonb, member::jsonb), expected, condition || ' of ' || activity || ' and ' || member)
FROM (VALUES
	('{"amount": {">": 10}}', '{}', '{}', false),
	('{"not": {"amount": {">": 10}}}', '{}', '{}', false),
	('{"not": {"amount": {">": 10}}}', '{"amount": 10}', '{}', true),
	('{"amount": {">=": 10, "<": 20}}', '{"amount": 20}', '{}', false),
	('{"amount": {"=": 20}}', '{"amount": 20.00}', '{}', true),
	('{"attribute": {"city": ["Bonn"]}}', '{}', '{"attributes": {"city": "Bonn"}}', true),
	('{"not": {"attribute": {"city": ["Bonn"]}}}', '{}', '{"attributes": {"city": "Ulm"}}', true),
	('{"not": {"attribute": {"city": ["Bonn"]}}}', '{}', '{"attributes": {}}', false),
	('{"not": {"attribute": {"city": ["Bonn"]}}}', '{}', '{}', false),
	('{"any": [{"attribute": {"city": ["Bonn"]}}, {"amount": {">": 10}}]}', '{"amount": 11}', '{}', true),
	('{"not": {"all": [{"attribute": {"city": ["Bonn"]}}, {"amount": {">": 10}}]}}', '{"amount": 1}', '{}', true),
	('{"not": {"all": [{"attribute": {"city": ["Bonn"]}}, {"amount": {">": 10}}]}}', '{"amount": 11}', '{}', false),
	('{"tier": {"club": ["gold", "platinum"]}}', '{}', '{"tier": {"club": "gold"}}', true),
	('{"tier": {"club": ["gold"]}}', '{}', '{"tier": {"other": "gold"}}', false),
	('{"channel": ["app", "web"]}', '{"channel": "web"}', '{}', true),
	('{"not": {"channel": ["app"]}}', '{}', '{}', false),
	('{"count": {"kind": "order", "within": "lifetime", "=": 0}}', '{}', '{"count": {"order": {"lifetime": 0}}}', true),
	('{"count": {"kind": "order", "within": "month", ">=": 3}}', '{}', '{"count": {"order": {"month": 2}}}', false),
	('{"spent": {"kind": "order", "within": "year", ">=": 99.5}}', '{}', '{"spent": {"order": {"year": 99.50}}}', true),
	('{"lines": {"category": ["tea"]}}', '{"lines": [{"category": "tea/green", "amount": 1}]}', '{}', true),
	('{"lines": {"category": ["tea"]}}', '{"lines": [{"category": "teapot", "amount": 1}]}', '{}', false),
	('{"not": {"lines": {"category": ["tea"]}}}', '{"lines": [{"category": "teapot", "amount": 1}]}', '{}', true),
	('{"not": {"lines": {"category": ["tea"]}}}', '{"lines": [{"sku": "x", "amount": 1}]}', '{}', false),
	('{"lines": {"category": ["tea"], "quantity": {">=": 2}}}', '{"lines": [{"category": "tea"}, {"category": "tea"}, {"category": "mug", "quantity": 9}]}', '{}', true),
	('{"lines": {"category": ["tea"], "quantity": {">=": 3}}}', '{"lines": [{"category": "tea"}, {"category": "tea"}, {"category": "mug", "quantity": 9}]}', '{}', false),
	('{"lines": {"brand": ["acme"], "amount": {">": 5}}}', '{"lines": [{"brand": "acme", "amount": 3}, {"brand": "acme", "amount": 2.01}]}', '{}', true),
	('{"holiday": "de"}', '{"at": "2026-12-25T10:00Z"}', '{"holidays": {"de": ["2026-12-25"]}}', true),
	('{"holiday": "de"}', '{"at": "2026-12-24T10:00Z"}', '{"holidays": {"de": ["2026-12-25"]}}', false)
) v (condition, activity, member, expected);

-- Time is local: that of the activity, or the campaign's own
SELECT is(holds(condition::jsonb, jsonb_build_object('at', at, 'time_zone', zone)), expected, format('%s at %s in %s', condition, at, zone))
FROM (VALUES
	('{"weekday": [6]}', '2026-05-02T21:59:59Z', 'Europe/Berlin', true),
	('{"weekday": [6]}', '2026-05-02T22:00:00Z', 'Europe/Berlin', false),
	('{"weekday": [7]}', '2026-05-02T22:00:00Z', 'Europe/Berlin', true),
	('{"month_day": [3]}', '2026-05-02T22:00:00Z', 'Europe/Berlin', true),
	('{"hours": ["17:00", "20:00"]}', '2026-05-02T15:00:00Z', 'Europe/Berlin', true),
	('{"hours": ["17:00", "20:00"]}', '2026-05-02T18:00:00Z', 'Europe/Berlin', false),
	('{"hours": ["22:00", "02:00"]}', '2026-05-02T23:59:59Z', 'Europe/Berlin', true),
	('{"hours": ["22:00", "02:00"]}', '2026-05-03T00:00:00Z', 'Europe/Berlin', false),
	('{"hours": ["22:00", "02:00"], "weekday": [6]}', '2026-05-02T23:00:00Z', 'Europe/Berlin', true),
	('{"hours": ["22:00", "02:00"], "weekday": [7]}', '2026-05-02T23:00:00Z', 'Europe/Berlin', false),
	('{"between": ["2026-06-01", "2026-09-01"]}', '2026-05-31T22:00:00Z', 'Europe/Berlin', true),
	('{"between": ["2026-06-01", "2026-09-01"]}', '2026-08-31T22:00:00Z', 'Europe/Berlin', false),
	('{"between": ["2026-06-01", null]}', '2027-08-31T22:00:00Z', 'Europe/Berlin', true)
) v (condition, at, zone, expected);
SELECT is(total('{"c": {"time_zone": "America/New_York", "when": {"weekday": [5]}, "then": [{"points": 1}]}}', '{"at": "2026-05-02T03:00:00Z", "time_zone": "Europe/Berlin"}'), 1::bigint, 'a zone of the campaign''s own');
SELECT is(total('{"c": {"between": ["2026-06-01", "2026-09-01"], "then": [{"points": 1}]}}', '{"at": "2026-05-31T22:00:00Z", "time_zone": "Europe/Berlin"}'), 1::bigint, 'it begins by the local clock');
SELECT is(total('{"c": {"money": "EUR", "then": [{"points": 1}]}}', format('{"amount": 1, "money": "%s"}', money)::jsonb), points, 'money of ' || money)
FROM (VALUES ('EUR', 1::bigint), ('CHF', 0)) v (money, points);

-- 17. A birthday on 29 February, three days either side
SELECT is((SELECT min(day)::text || ' ' || max(day) FROM generate_series((year || '-02-01')::date, (year || '-03-31')::date, '1 day') g (d), LATERAL (SELECT d::date AS day) x
	WHERE holds(jsonb_build_object('birthday', jsonb_build_object('before', 3, 'after', 3, 'leap_day', leap)), jsonb_build_object('at', day || 'T12:00Z'), '{"attributes": {"birthday": "2000-02-29"}}')),
	days, format('%s in %s', leap, year))
FROM (VALUES ('feb28', 2027, '2027-02-25 2027-03-03'), ('mar1', 2027, '2027-02-26 2027-03-04'), ('feb28', 2028, '2028-02-26 2028-03-03'), ('mar1', 2028, '2028-02-26 2028-03-03')) v (leap, year, days);
SELECT is(holds('{"birthday": {"before": 3, "after": 3}}', '{"at": "2026-12-29T12:00Z"}', '{"attributes": {"birthday": "1990-01-01"}}'), true, 'the window of a birthday begins in the year before');
SELECT is(holds('{"not": {"birthday": {}}}', '{"at": "2026-12-29T12:00Z"}'), false, 'a birthday that nobody knows is unknown');

-- 22. The walk, as far as it is pure
SELECT is(earns('{"base": {"then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}, "currency": "status"}]},
	"weekend": {"lane": "bonus", "when": {"weekday": [6, 7]}, "then": [{"multiply": 2, "lane": "base"}]},
	"welcome": {"when": {"all": [{"amount": {">=": 50}}, {"count": {"kind": "order", "within": "lifetime", "=": 0}}]}, "then": [{"coupon": "tea_5_off"}]}}',
	'{"at": "2026-05-02T08:00Z", "time_zone": "Europe/Berlin", "lines": [{"category": "tea", "amount": 40.50}, {"category": "book", "amount": 80.00}]}',
	'{"count": {"order": {"lifetime": 0}}}'), 'base:120, base:120, welcome:tea_5_off, weekend:121', 'the first order of the walk');

-- 23. Multipliers over lines
SELECT is(earns(format('{"base": {"then": [{"points": {"give": 1, "per": 1}}]},
	"tea": {"lane": "bonus", "when": {"lines": {"category": ["tea"]}}, "then": [{"multiply": 2, "lane": "base", "over": "matching_lines", "combine": "%1$s"}]},
	"weekend": {"lane": "bonus", "priority": %2$s, "then": [{"multiply": 2, "lane": "base", "combine": "%1$s"}]}}', combine, priority)::jsonb,
	'{"lines": [{"category": "tea", "amount": 40.50}, {"category": "book", "amount": 80.00}]}'), given, format('%s, %s', combine, priority))
FROM (VALUES ('add', 100, 'base:120, tea:41, weekend:120'), ('multiply', 100, 'base:120, tea:41, weekend:161'), ('max', 100, 'base:120, tea:41, weekend:80'),
	('add', 1, 'base:120, weekend:121, tea:40'), ('multiply', 1, 'base:120, weekend:121, tea:81'), ('max', 1, 'base:120, weekend:121')) v (combine, priority, given);

-- 24. A limit and revisions: 500 a day
SELECT is(earns('{"base": {"limits": {"member": {"points": 500, "within": "day"}}, "then": [{"points": {"give": 1, "per": 1}}]}}',
	format('{"amount": %s}', amount)::jsonb, member::jsonb), given, step)
FROM (VALUES
	('A', 100, '{}', 'base:100'),
	('B', 450, '{"used": {"base/day": 100}}', 'base:400 of 450 by member_day'),
	('B lowered', 380, '{"used": {"base/day": 500}, "held": {"base": [400]}, "ceilings": {"base": [400]}}', 'base:380'),
	('B back', 450, '{"used": {"base/day": 480}, "held": {"base": [380]}, "ceilings": {"base": [400]}}', 'base:400 of 450 by ceiling'),
	('B after A is cancelled', 450, '{"used": {"base/day": 400}, "held": {"base": [400]}, "ceilings": {"base": [400]}}', 'base:400 of 450 by ceiling'),
	('C', 600, '{"used": {"base/day": 400}}', 'base:100 of 600 by member_day'),
	('A reopened', 100, '{"used": {"base/day": 500}}', 'base:0 of 100 by member_day'),
	('B raised', 500, '{"used": {"base/day": 500}, "held": {"base": [400]}, "ceilings": {"base": [400]}}', 'base:400 of 500 by ceiling')
) v (step, amount, member, given);

-- 27. A group by line
SELECT is(earns(format('{"a": {"exclusive": {"group": "g", "scope": "%1$s"}, "when": {"lines": {"quantity": {">": 0}}}, "then": [{"points": {"give": 2, "per": "unit"}, "over": "matching_lines"}]},
	"b": {"exclusive": {"group": "g", "scope": "%1$s"}, "when": {"lines": {"quantity": {">": 0}}}, "then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]}}', scope)::jsonb,
	lines::jsonb), given, format('%s of %s', scope, lines))
FROM (VALUES ('line', '{"lines": [{"quantity": 3, "amount": 5.00}, {"quantity": 1, "amount": 9.00}]}', 'a:6, b:9'),
	('activity', '{"lines": [{"quantity": 3, "amount": 5.00}, {"quantity": 1, "amount": 9.00}]}', 'a:0 lost to b, b:14'),
	('line', '{"lines": [{"quantity": 3, "amount": 5.00}]}', 'a:6, b:0 lost to a')) v (scope, lines, given);

-- 29. A limit that two campaigns share
SELECT is(earns('{"like": {"on": ["like"], "limits": {"member": {"points": 100, "within": "day", "name": "daily"}}, "then": [{"points": 10}]},
	"share": {"on": ["share"], "limits": {"member": {"points": 100, "within": "day", "name": "daily"}}, "then": [{"points": 50}]}}',
	format('{"kind": "%s"}', kind)::jsonb, format('{"used": {"daily": %s}}', used)::jsonb), given, format('%s after %s', kind, used))
FROM (VALUES ('like', 20, 'like:10'), ('share', 30, 'share:50'), ('share', 80, 'share:20 of 50 by daily'), ('like', 100, 'like:0 of 10 by daily')) v (kind, used, given);

-- 30. A line that earns nothing
SELECT is(earns('{"base": {"when": {"amount": {">=": 100}}, "then": [{"points": {"give": 1, "per": 1}}]}, "weekend": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}}',
	'{"lines": [{"amount": 60.00}, {"amount": 40.00, "earns": false}]}'), 'base:60, weekend:60', 'a gift card counts in the amount and earns nothing');

-- What belongs to no line
SELECT is(earns('{"base": {"then": [{"points": {"give": 1, "per": 1}}]}, "fixed": {"then": [{"points": 10}]}, "tea": {"lane": "bonus", "when": {"lines": {"sku": ["tea"]}}, "then": [{"multiply": 3, "lane": "base", "over": "matching_lines"}]}}',
	'{"amount": 30, "lines": [{"sku": "tea", "amount": 5.00}, {"sku": "mug", "amount": 20.00}]}'), 'base:30, fixed:10, tea:10', 'shipping and fixed points are reached only by multipliers of everything');

-- Limits of one award, in times, refused, and shared between effects
SELECT is(earns(definition::jsonb, '{"amount": 80}', member::jsonb), given, given)
FROM (VALUES
	('{"c": {"limits": {"award": 50}, "then": [{"points": {"give": 1, "per": 1}}]}}', '{}', 'c:50 of 80 by award'),
	('{"c": {"limits": {"award": 100}, "then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}}]}}', '{}', 'c:80, c:20 of 80 by award'),
	('{"c": {"at_limit": "refuse", "limits": {"award": 100}, "then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}}]}}', '{}', 'c:0 of 80 by award, c:0 of 80 by award'),
	('{"c": {"limits": {"member": {"times": 1, "within": "lifetime"}}, "then": [{"points": 5}, {"coupon": "x"}]}}', '{"used": {"c/lifetime/times": 1}}', 'c:0 of 5 by member_lifetime, c: by member_lifetime'),
	('{"c": {"limits": {"member": {"times": 1, "within": "lifetime"}}, "then": [{"points": 5}, {"coupon": "x"}]}}', '{"used": {"c/lifetime/times": 1}, "held": {"c": [5, 0]}}', 'c:5, c:x'),
	('{"c": {"limits": {"member": {"points": 60, "within": "day"}}, "then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}, "currency": "status"}]}}', '{}', 'c:60 of 80 by member_day, c:80')
) v (definition, member, given);

-- Definitions that are refused, or warned of, with their place
SELECT is((SELECT coalesce(string_agg(format('%s %s', severity, path), ', '), '') FROM loyalty.check_campaign(definition::jsonb)), problems, definition)
FROM (VALUES
	('{"then": [{"points": 1}]}', ''),
	('{}', 'error '),
	('[]', 'error '),
	('{"than": [], "then": [{"points": 1}]}', 'error than'),
	('{"then": []}', 'error then'),
	('{"then": [{"points": 1.5}]}', 'error then[0].points'),
	('{"then": [{"points": -1}]}', 'error then[0].points'),
	('{"then": [{"points": 1, "coupon": "x"}]}', 'error then[0]'),
	('{"then": [{"points": {"give": 1}}]}', 'error then[0].points'),
	('{"then": [{"points": {"give": 1, "per": 0}}]}', 'error then[0].points.per'),
	('{"then": [{"points": {"give": 1, "per": "piece"}}]}', 'error then[0].points.per'),
	('{"then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]}', 'error then[0].over'),
	('{"when": {"not": {"lines": {"sku": ["x"]}}}, "then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]}', 'error then[0].over'),
	('{"lane": "extra", "then": [{"points": 1}]}', 'error lane'),
	('{"then": [{"multiply": 2, "lane": "base"}]}', 'error then[0].lane'),
	('{"lane": "bonus", "then": [{"multiply": 0.5, "lane": "base"}]}', 'error then[0].multiply'),
	('{"lane": "bonus", "then": [{"multiply": 1, "lane": "base"}]}', 'warning then[0].multiply'),
	('{"lane": "bonus", "then": [{"multiply": 2}]}', 'error then[0]'),
	('{"then": [{"brackets": [[0, 1], [0, 2]]}]}', 'error then[0].brackets[1][0]'),
	('{"when": {"amount": {">=": 100, "<": 50}}, "then": [{"points": 1}]}', 'error when.amount'),
	('{"when": {"all": [{"amount": {">=": 100}}, {"amount": {"<": 50}}]}, "then": [{"points": 1}]}', 'error when'),
	('{"when": {"amount": {"=>": 100}}, "then": [{"points": 1}]}', 'error when.amount.=>, error when.amount'),
	('{"when": {"weekday": [0]}, "then": [{"points": 1}]}', 'error when.weekday[0]'),
	('{"when": {"channel": []}, "then": [{"points": 1}]}', 'error when.channel'),
	('{"when": {"any": [{"chanel": ["app"]}]}, "then": [{"points": 1}]}', 'error when.any[0].chanel'),
	('{"when": {"hours": ["20:00", "20:00"]}, "then": [{"points": 1}]}', 'error when.hours'),
	('{"when": {"hours": ["20:00", "27:00"]}, "then": [{"points": 1}]}', 'error when.hours[1]'),
	('{"between": ["2026-06-01", "2026-06-01"], "then": [{"points": 1}]}', 'error between'),
	('{"between": ["soon", null], "then": [{"points": 1}]}', 'error between[0]'),
	('{"time_zone": "Mars/Crater", "then": [{"points": 1}]}', 'error time_zone'),
	('{"when": {"path": "$.a"}, "then": [{"points": 1}]}', 'error when.path'),
	('{"when": {"path": "$.a >"}, "then": [{"points": 1}]}', 'error when.path'),
	('{"when": {"path": "!($.a > 1)"}, "then": [{"points": 1}]}', 'warning when.path'),
	('{"when": {"path": "!exists($.a)"}, "then": [{"points": 1}]}', ''),
	('{"when": {"count": {"within": "month", "=": 0}}, "then": [{"points": 1}]}', 'error when.count'),
	('{"having": {"amount": {">=": 1}}, "then": [{"points": 1}]}', 'error having'),
	('{"window": "month", "having": {"channel": ["app"]}, "then": [{"points": 1}]}', 'error having.channel'),
	('{"window": "between", "then": [{"points": 1}]}', 'error window'),
	('{"limits": {"member": {"points": 5}}, "then": [{"points": 1}]}', 'error limits.member'),
	('{"limits": {"member": {"points": 5, "times": 1, "within": "day"}}, "then": [{"points": 1}]}', 'error limits.member'),
	('{"limits": {"member": {"times": 1, "within": "300 days"}}, "then": [{"points": 1}]}', ''),
	('{"limits": {"member": {"times": 1, "within": "3 months"}}, "then": [{"points": 1}]}', 'error limits.member.within'),
	('{"limits": {"member": {"times": 1, "within": "300 days", "name": "shared"}}, "then": [{"points": 1}]}', 'error limits.member.within'),
	('{"limits": {"award": {"times": 1}}, "then": [{"points": 1}]}', 'error limits.award.times'),
	('{"limits": {"member": [{"points": 5, "within": "day"}, {"points": 9, "within": "day"}]}, "then": [{"points": 1}]}', 'error limits'),
	('{"limits": {"member": [{"points": 5, "within": "day"}, {"times": 9, "within": "day"}, {"points": 50, "within": "month"}], "total": {"points": 500, "times": 50}}, "then": [{"points": 1}]}', ''),
	('{"exclusive": {"pick": "best"}, "then": [{"points": 1}]}', 'error exclusive'),
	('{"exclusive": {"group": "g", "scope": "line"}, "then": [{"points": 1}]}', 'error then[0]'),
	('{"available_after": "soon", "then": [{"points": 1}]}', 'error available_after')
) v (definition, problems);
SELECT throws_ok($$SELECT * FROM loyalty.evaluate_campaigns('{"a": {"exclusive": {"group": "g", "pick": "first"}, "then": [{"points": 1}]}, "b": {"exclusive": {"group": "g"}, "then": [{"points": 1}]}}', '{}')$$,
	'LY521', 'invalid definition of campaign "b"', 'campaigns of a group that do not agree');
SELECT throws_ok($$SELECT * FROM loyalty.evaluate_campaigns('{"a": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}, "b": {"lane": "bonus", "then": [{"multiply": 2, "lane": "base", "combine": "max"}]}}', '{}')$$,
	'LY521', 'invalid definition of campaign "b"', 'multipliers that combine differently');
SELECT throws_ok($$SELECT * FROM loyalty.evaluate_campaigns('{"a": {"limits": {"member": {"points": 5, "within": "day", "name": "shared"}}, "then": [{"points": 1}]}, "b": {"limits": {"member": {"times": 5, "within": "day", "name": "shared"}}, "then": [{"points": 1}]}}', '{}')$$,
	'LY521', 'invalid definition of campaign "b"', 'a limit that two share, and count otherwise');
SELECT throws_ok($$SELECT * FROM loyalty.evaluate_campaigns('{"b": {"limits": {"total": {"points": 100}}, "then": [{"points": 5, "currency": "miles"}]}}', '{}')$$,
	'LY521', 'invalid definition of campaign "b"', 'a limit of a currency that is not given');
SELECT throws_ok($$SELECT * FROM loyalty.evaluate_campaigns('{"b": {"limits": {"award": 100}, "then": [{"points": 5, "currency": "miles"}]}}', '{}')$$,
	'LY521', 'invalid definition of campaign "b"', 'nor one of an award');
-- Instants and amounts in whatever way they are written: local days and sums say
-- whether they are read as PostgreSQL reads them
SELECT is(loyalty.campaign_points('{"a": {"when": {"between": ["2026-03-29 01:59:59.5", "2026-03-29 03:00:00.5"]}, "then": [{"points": 1}]}}',
	jsonb_build_object('at', at, 'time_zone', 'Europe/Berlin')), expected::bigint, at)
FROM (VALUES ('2026-03-29T00:59:59.5+00:00', 1), ('2026-03-29T00:59:59.499999+00:00', 0), ('2026-03-29T01:00:00+00:00', 1), ('2026-03-29T01:00:00.5+00:00', 0), ('2026-03-29T03:00:00.4+02:00', 1),
	('2026-03-28T21:29:59.5-03:30', 1), ('2026-03-29 01:59:59.5+01', 1), ('29 March 2026 01:59:59.5 CET', 1), ('2026-03-29T00:59:59.5Z', 1), ('2026-03-29 00:59:59.6 UTC', 1)) v (at, expected);
SELECT throws_ok(format($$SELECT loyalty.campaign_points('{}', '{"at": %s}')$$, to_json(at)), sqlstate, NULL, at)
FROM (VALUES ('2026-02-29T00:00:00+00:00', '22008'), ('2026-13-01T00:00:00+00:00', '22008'), ('2026-01-01T24:00:01+00:00', '22008'), ('infinity', 'LY003'), ('2026-01-01T00:00:00+00:00 x', '22007')) v (at, sqlstate);
SELECT is((SELECT wanted FROM loyalty.evaluate_campaigns('{"a": {"then": [{"points": {"give": 1000000, "per": 1}}]}}', jsonb_build_object('amount', amount))), expected::bigint, amount::text)
FROM (VALUES (0.000001, 1), (0.01, 10000), (0.5, 500000), (1.10, 1100000), (9999, 9999000000), (10000, 10000000000), (12345.678901, 12345678901), (99999999.999999, 99999999999999),
	(100000000, 100000000000000), (123456789012.000001, 123456789012000001), (1000000000000, 1000000000000000000)) v (amount, expected);
SELECT is((SELECT count(*) FROM generate_series(0, 20000) i, LATERAL (SELECT (i * 7919 % 20011)::numeric * 10.0 ^ (i % 9 - 5) + (i % 3) * 0.000001 AS amount) a
	WHERE loyalty.campaign_points('{"a": {"then": [{"points": {"give": 1000000, "per": 1}}]}}', jsonb_build_object('amount', round(amount, i % 7))) <> round(amount, i % 7) * 1000000), 0::bigint, 'amounts of all lengths');
SELECT throws_ok(format($$SELECT loyalty.campaign_points('{}', '{"amount": %s}')$$, amount), 'LY505', NULL, amount) FROM unnest('{-1,0.0000001,9300000000000}'::text[]) amount;
SELECT results_eq($$SELECT loyalty.campaign_points('{"a": {"on": ["order", "visit"], "then": [{"points": 5}, {"points": 3, "currency": "stars"}]}, "b": {"lane": "bonus", "when": {"tier": {"club": ["gold"]}}, "limits": {"member": {"points": 4, "within": "day"}}, "then": [{"points": 9}]}}', activity, member, currency)
	FROM (VALUES (1, '{}'::jsonb, '{}'::jsonb, 'points'), (2, '{}', '{"tier": {"club": "gold"}}', 'points'), (3, '{}', '{"tier": {"club": "gold"}, "used": {"b/day": 3}}', 'points'),
		(4, '{"kind": "visit"}', '{"tier": {"club": "gold"}}', 'points'), (5, '{}', '{}', 'stars'), (6, '{"cancelled": true}', '{}', 'points'), (7, '{"kind": "other"}', '{}', 'points')) v (n, activity, member, currency) ORDER BY n$$,
	'VALUES (5::bigint), (9), (6), (5), (3), (0), (0)', 'one activity after the other, each by itself');
SELECT throws_ok($$SELECT * FROM loyalty.evaluate_campaigns('[]', '{}')$$, 'LY003', 'definitions cannot be read', 'definitions that are no object');
SELECT throws_ok($$SELECT * FROM loyalty.evaluate_campaigns('{}', '[]')$$, 'LY003', 'activity cannot be read', 'an activity that is no object');
SELECT * FROM finish();
