-- Definitions of campaigns: every mistake is named, with its place, and what is
-- right is read as it is meant.  Those of conditions are tested beside these.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

CREATE FUNCTION problems(definition text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat_ws(' ', nullif(severity, 'error'), path) || ': ' || problem, ', '), 'good') FROM loyalty.check_campaign($1::jsonb)
$$;

\set ends 'must be an array of two: from, and until'
\set span 'and must be positive and at most 1000 years'
\set by_line 'cannot be won line by line: it must be a rate, units or a multiplier over matching_lines'
\set limit 'must be a limit in "points" or in "times"'
-- Effects
SELECT is(problems(format('{"lane": "bonus", "when": {"lines": {"sku": "T1"}}, "then": [%s]}', effect)), problems, effect)
FROM (VALUES
	('5', 'then[0]: must be an object'), ('{}', 'then[0]: must be one of: points, brackets, multiply, label, coupon, badge, freeze, spin, grant, message'),
	('{"points": 1}', 'good'), ('{"points": 100000000000}', 'good'), ('{"points": 0}', 'then[0].points: must be a whole number from 1 to 100000000000'),
	('{"points": 100000000001}', 'then[0].points: must be a whole number from 1 to 100000000000'), ('{"points": "1"}', 'then[0].points: must be a number'),
	('{"points": 1, "over": "matching_lines"}', 'then[0]: gives a fixed number: say no "over"'), ('{"points": 1, "over": "activity"}', 'good'), ('{"points": 1, "over": "lines"}', 'then[0].over: is "lines", and must be one of: activity, matching_lines'),
	('{"points": 1, "currency": 5}', 'then[0].currency: must be a text'), ('{"points": 1, "if": 5}', 'then[0].if: is not known here'),
	('{"points": 1, "round": "up"}', 'then[0].round: is "up", and must be one of: floor, half_up, half_even, ceil'), ('{"points": 1, "round_at": "end"}', 'then[0].round_at: is "end", and must be one of: activity, line'),
	('{"points": 1, "lane": "base"}', 'then[0].lane: belongs to a multiplier; of the campaign it stands outside "then"'), ('{"points": 1, "combine": "add"}', 'then[0].combine: belongs to a multiplier'),
	('{"points": 1, "brackets": [[0, 1]]}', 'then[0]: must be one of: points, brackets, multiply, label, coupon, badge, freeze, spin, grant, message'),
	('{"points": {"per": 1}}', 'then[0].points: needs "give": how many points'), ('{"points": {"give": 0, "per": 1}}', 'then[0].points.give: gives nothing'), ('{"points": {"give": "1", "per": 1}}', 'then[0].points.give: must be a number'),
	('{"points": {"give": 1}}', 'then[0].points: needs "per" or "every": for what'), ('{"points": {"give": 1, "per": 0}}', 'then[0].points.per: must be more than 0'), ('{"points": {"give": 1, "every": 0}}', 'then[0].points.every: must be more than 0'),
	('{"points": {"give": 1, "per": "unit"}}', 'good'), ('{"points": {"give": 1, "per": "units"}}', 'then[0].points.per: is "units", and must be an amount or "unit"'), ('{"points": {"give": 1, "per": ""}}', 'then[0].points.per: must be a text'),
	('{"points": {"give": 1, "for": 1}}', 'then[0].points.for: is not known here, then[0].points: needs "per" or "every": for what'), ('{"points": {"give": 1, "every": "x"}}', 'then[0].points.every: must be a number'),
	('{"points": {"give": 0.000001, "per": 0.000001}}', 'good'),
	('{"brackets": 5}', 'then[0].brackets: must be an array'), ('{"brackets": []}', 'then[0].brackets: is empty'), ('{"brackets": [5]}', 'then[0].brackets[0]: must be an array of two: from which amount on, and the rate, then[0].brackets: is empty'),
	('{"brackets": [[0, 1, 2]]}', 'then[0].brackets[0]: must be an array of two: from which amount on, and the rate, then[0].brackets: is empty'), ('{"brackets": [["0", 1]]}', 'then[0].brackets[0][0]: must be a number, then[0].brackets: is empty'),
	('{"brackets": [[0, "1"]]}', 'then[0].brackets[0][1]: must be a number, then[0].brackets: is empty'), ('{"brackets": [[0, 1], [5, 2], [5, 3]]}', 'then[0].brackets[2][0]: must be more than where the bracket before begins'),
	('{"brackets": [[5, 1]]}', 'good'), ('{"brackets": [[0, 1], [0.000001, 0]]}', 'good'), ('{"brackets": [[5, 1], [4, 1]]}', 'then[0].brackets[1][0]: must be more than where the bracket before begins'),
	('{"multiply": 2, "lane": "base"}', 'good'), ('{"multiply": 1, "lane": "base"}', 'warning then[0].multiply: is 1, so it changes nothing'), ('{"multiply": 0.999999, "lane": "base"}', 'then[0].multiply: must not be less than 1'),
	('{"multiply": 2}', 'then[0]: needs the "lane" that is multiplied'), ('{"multiply": 2, "lane": "bonus"}', 'then[0].lane: must be a lane before the campaign''s own, which is "bonus"; give the campaign "lane": "bonus"'),
	('{"multiply": 2, "lane": "basis"}', 'then[0].lane: is "basis", and must be one of: base, bonus'), ('{"multiply": 2, "lane": "base", "combine": "min"}', 'then[0].combine: is "min", and must be one of: add, multiply, max'),
	('{"multiply": "2", "lane": "base"}', 'then[0].multiply: must be a number'),
	('{"coupon": "x", "points": 1}', 'then[0]: is more than one effect'), ('{"coupon": "x", "message": "m"}', 'then[0]: is more than one effect'), ('{"message": "m", "data": {}}', 'good'), ('{"message": "m", "date": {}}', 'then[0].date: is not known here'),
	('{"coupon": "x", "brackets": [[0, 1]]}', 'then[0]: is more than one effect'), ('{"coupon": "x", "multiply": 2}', 'then[0]: is more than one effect')
) v (effect, problems);
SELECT is(problems('{"then": [{"multiply": 2, "lane": "base"}]}'), 'then[0].lane: must be a lane before the campaign''s own, which is "base"; give the campaign "lane": "bonus"', 'lane base multiplies nothing');
SELECT is(problems(format('{"then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]%s}', rest)), problems, 'matching lines' || rest)
FROM (VALUES ('', 'then[0].over: needs a predicate "lines" in "when", under no "not", that says which'), (', "when": {"not": {"lines": {"sku": "T1"}}}', 'then[0].over: needs a predicate "lines" in "when", under no "not", that says which'),
	(', "when": {"amount": {">": 1}}', 'then[0].over: needs a predicate "lines" in "when", under no "not", that says which'), (', "when": {"any": [{"amount": {">": 1}}, {"lines": {"sku": "T1"}}]}', 'good')) v (rest, problems);
SELECT is(problems(format('{"then": [%s]}', repeat('{"points": 1}, ', n - 1) || '{"points": 1}')), problems, n || ' effects')
FROM (VALUES (16, 'good'), (17, 'then: must have from 1 to 16 effects')) v (n, problems);
-- Won line by line
SELECT is(problems(format('{"lane": "bonus", "exclusive": {"group": "g", "scope": "line"}, "when": {"lines": {"sku": "T1"}}, "then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}, %s]}', effect)), problems, 'by line: ' || effect)
FROM (VALUES ('{"points": {"give": 1, "per": "unit"}, "over": "matching_lines"}', 'good'), ('{"multiply": 2, "lane": "base", "over": "matching_lines"}', 'good'), ('{"points": {"give": 1, "per": 1}}', 'then[1]: ' || :'by_line'),
	('{"points": {"give": 1, "every": 1}, "over": "matching_lines"}', 'then[1]: ' || :'by_line'), ('{"brackets": [[0, 1]], "over": "matching_lines"}', 'then[1]: ' || :'by_line'), ('{"coupon": "x"}', 'then[1]: ' || :'by_line')) v (effect, problems);

-- Limits
SELECT is(problems(format('{"limits": %s, "then": [{"points": 1}]}', limits)), problems, limits)
FROM (VALUES
	('5', 'limits: must be an object'), ('{}', 'good'), ('{"members": {}}', 'limits.members: is not known here'),
	('{"award": 5}', 'good'), ('{"award": 0}', 'good'), ('{"award": 100000000000}', 'good'), ('{"award": 100000000001}', 'limits.award: must be a whole number from 0 to 100000000000'), ('{"award": 1.5}', 'limits.award: must be a whole number from 0 to 100000000000'),
	('{"award": {"points": 5}}', 'good'), ('{"award": {}}', 'limits.award: ' || :'limit'), ('{"award": {"times": 1}}', 'limits.award.times: is no limit of one award'), ('{"award": {"points": 5, "within": "day"}}', 'limits.award.within: is not known here'),
	('{"award": {"points": 5, "name": "x"}}', 'limits.award.name: is not known here'),
	('{"member": 5}', 'limits.member: must be an object'), ('{"member": [5]}', 'limits.member[0]: must be an object'), ('{"member": []}', 'good'),
	('{"member": {"points": 5}}', 'limits.member: needs "within": day, week, month, quarter, year, lifetime, or days such as "300 days"'), ('{"member": {"within": "day"}}', 'limits.member: ' || :'limit'),
	('{"member": {"points": 5, "times": 1, "within": "day"}}', 'limits.member: ' || :'limit'), ('{"member": {"points": -1, "within": "day"}}', 'limits.member.points: is -1, and must be from 0 to 999999999999, with at most 6 decimals'),
	('{"member": {"points": 100000000001, "within": "day"}}', 'limits.member.points: must be a whole number from 0 to 100000000000'), ('{"member": {"times": 0, "within": "day"}}', 'good'),
	('{"member": {"points": 5, "within": "decade"}}', 'limits.member.within: is "decade", and must be one of: day, week, month, quarter, year, lifetime'), ('{"member": {"points": 5, "within": 300}}', 'limits.member.within: must be a text'),
	('{"member": {"points": 5, "within": "1 day"}}', 'good'), ('{"member": {"points": 5, "within": "9 days"}}', 'good'), ('{"member": {"points": 5, "within": "0 days"}}', 'limits.member.within: is "0 days", ' || :'span'),
	('{"member": {"points": 5, "within": "1 month"}}', 'limits.member.within: must be whole days, such as "300 days"'), ('{"member": {"points": 5, "within": "1 day 1 hour"}}', 'limits.member.within: must be whole days, such as "300 days"'),
	('{"member": {"points": 5, "within": "1 month 1 day"}}', 'limits.member.within: must be whole days, such as "300 days"'),
	('{"member": {"points": 5, "within": "9 days", "name": "x"}}', 'limits.member.within: goes with no "name": what is shared is counted by calendar periods'), ('{"member": {"points": 5, "within": "day", "name": "x"}}', 'good'),
	('{"member": {"points": 5, "within": "day", "name": 5}}', 'limits.member.name: must be a text'), ('{"member": {"points": 5, "within": "day", "currency": 5}}', 'limits.member.currency: must be a text'),
	('{"total": {"points": 5, "currency": 5}}', 'limits.total.currency: must be a text'), ('{"total": 5}', 'limits.total: must be an object'), ('{"total": {"points": 5, "times": 5}}', 'good'), ('{"total": {}}', 'limits.total: ' || :'limit'),
	('{"total": {"points": 5, "within": "day"}}', 'limits.total.within: is not known here'), ('{"total": {"points": 5, "name": "x"}}', 'limits.total.name: is not known here'),
	('{"member": [{"points": 5, "within": "day"}, {"points": 9, "within": "day"}]}', 'limits: has two limits that count the same, "campaign/day"'), ('{"member": [{"points": 5, "within": "day"}, {"times": 9, "within": "day"}]}', 'good'),
	('{"member": [{"points": 5, "within": "day"}, {"points": 9, "within": "week"}]}', 'good'), ('{"member": [{"points": 5, "within": "9 days"}, {"points": 9, "within": "9 days"}]}', 'limits: has two limits that count the same, "campaign/9days"'),
	('{"member": [{"points": 5, "within": "9 days"}, {"points": 9, "within": "8 days"}]}', 'good'), ('{"member": {"points": 5, "within": "lifetime", "name": "campaign/total"}, "total": {"points": 5}}', 'good'),
	('{"member": [{"points": 5, "within": "day", "name": "x"}, {"points": 9, "within": "week", "name": "x"}]}', 'limits: has two limits that count the same, "x"'),
	('{"award": 1, "member": [{"points": 1, "within": "day"}, {"points": 1, "within": "week"}, {"points": 1, "within": "month"}, {"points": 1, "within": "quarter"}, {"points": 1, "within": "year"}], "total": {"points": 5, "times": 5}}', 'good'),
	('{"award": 1, "member": [{"points": 1, "within": "day"}, {"points": 1, "within": "week"}, {"points": 1, "within": "month"}, {"points": 1, "within": "quarter"}, {"points": 1, "within": "year"}, {"points": 1, "within": "lifetime"}], "total": {"points": 5, "times": 5}}',
		'limits.total: is one too many: a campaign has at most 8 limits'),
	('{"award": {"points": 5, "currency": "miles"}}', 'limits: counts points of currency "miles", and the campaign gives "points": name the "currency" of the limit')
) v (limits, problems);
SELECT is(problems(format('{"limits": {"member": [%s]}, "then": [{"points": 1}, {"points": 1, "currency": "stars"}]}', limits)), problems, limits)
FROM (VALUES ('{"points": 5, "within": "day"}, {"points": 9, "within": "day"}', 'limits: has two limits that count the same, "campaign/day"'), ('{"points": 5, "within": "day"}, {"points": 9, "within": "day", "currency": "stars"}', 'good'),
	('{"points": 5, "within": "day", "currency": "stars"}, {"points": 9, "within": "day", "currency": "stars"}', 'limits: has two limits that count the same, "campaign/day/stars"'),
	('{"times": 5, "within": "9 days"}, {"times": 9, "within": "9 days"}', 'limits: has two limits that count the same, "campaign/9days/times"'), ('{"points": 5, "within": "day", "currency": "miles"}', 'limits: counts points of currency "miles", and the campaign gives "stars": name the "currency" of the limit'),
	('{"times": 5, "within": "day", "currency": "miles"}', 'good')) v (limits, problems);
SELECT is(problems(definition), problems, definition)
FROM (VALUES ('{"limits": {"total": {"points": 5}}, "then": [{"coupon": "x"}]}', 'good'), ('{"limits": {"total": {"points": 5}}, "then": [{"coupon": "x"}, {"points": 5}]}', 'good'),
	('{"limits": {"total": {"points": 5}}, "then": [{"coupon": "x"}, {"points": 5, "currency": "stars"}]}', 'limits: counts points of currency "points", and the campaign gives "stars": name the "currency" of the limit')) v (definition, problems);

-- The rest
SELECT is(problems(CASE WHEN part = '' THEN '{}' ELSE format('{%s, "then": [{"points": 1}]}', part) END), problems, part)
FROM (VALUES
	('', ': needs "then": what it gives'), ('"than": 1', 'than: is not known here'), ('"priority": 0', 'good'), ('"priority": 1.5', 'priority: must be a whole number from 0 to 1000000'),
	('"exclusive": "g"', 'exclusive: must be an object'), ('"exclusive": {}', 'exclusive: needs the name of a "group"'), ('"exclusive": {"group": 5}', 'exclusive.group: must be a text'), ('"exclusive": {"group": "g", "pick": "worst"}', 'exclusive.pick: is "worst", and must be one of: best, first'),
	('"exclusive": {"group": "g", "scope": "lines"}', 'exclusive.scope: is "lines", and must be one of: activity, line'), ('"exclusive": {"group": "g", "by": 1}', 'exclusive.by: is not known here'), ('"exclusive": {"group": "g", "currency": 5}', 'exclusive.currency: must be a text'),
	('"exclusive": {"group": "g", "pick": "first", "scope": "activity", "currency": "stars"}', 'good'),
	('"between": "2026-01-01"', 'between: ' || :'ends'), ('"between": ["2026-01-01"]', 'between: ' || :'ends'), ('"between": ["2026-01-01", "2026-01-01"]', 'between: ends before it begins, so it can never hold'),
	('"between": ["2026-01-02", "2026-01-01"]', 'between: ends before it begins, so it can never hold'), ('"between": ["x", null]', 'between[0]: is "x", which is no date'), ('"between": [null, "x"]', 'between[1]: is "x", which is no date'), ('"between": [null, null]', 'good'),
	('"time_zone": "Europe/Berlin"', 'good'), ('"money": 5', 'money: must be a text'),
	('"window": "hour"', 'window: is "hour", and must be one of: day, week, month, quarter, year, between'), ('"window": "between"', 'window: needs "between" with two ends'), ('"window": "between", "between": ["2026-01-01", null]', 'window: needs "between" with two ends'),
	('"window": "between", "between": [null, "2026-01-01"]', 'window: needs "between" with two ends'), ('"window": "between", "between": ["2026-01-01", "2026-02-01"]', 'good'), ('"window": "year"', 'good'),
	('"having": {"amount": {">": 1}}', 'having: needs a "window" over which it adds up'), ('"window": "day", "having": {"amount": {">": 1}}', 'good'), ('"treat": {}', 'treat: asks for nothing'),
	('"at_limit": "stop"', 'at_limit: is "stop", and must be one of: trim, refuse'), ('"on_return": "lose"', 'on_return: is "lose", and must be one of: reevaluate, keep'), ('"to": "club"', 'to: is "club", and must be one of: member, household'), ('"to": "household"', 'good'),
	('"available_after": "confirmed"', 'good'), ('"available_after": "confirmer"', 'available_after: is "confirmer", which is no interval'), ('"available_after": "confirmed!"', 'available_after: is "confirmed!", which is no interval'), ('"available_after": 5', 'available_after: must be a text'),
	('"expires_after": "0 days"', 'expires_after: is "0 days", ' || :'span'),
	('"window": "month", "exclusive": {"group": "g"}', 'exclusive: wins or loses with one activity, and a window has many'), ('"window": "month", "stop": true', 'stop: ends what looks at one activity, and a window has many'),
	('"window": "month", "available_after": "confirmed"', 'available_after: waits for one activity to be confirmed, and a window has many'), ('"window": "month", "treat": {"channel": "app"}', 'treat: asks of one activity, and a window has many: ask of the member alone'),
	('"window": "month", "treat": {"tier": {"club": "gold"}}', 'good')
) v (part, problems);
SELECT is(problems('[]'), ': must be an object', 'no object');
SELECT is(problems('{"window": "month", "lane": "bonus", "then": [{"points": 1}, {"multiply": 2, "lane": "base"}]}'), 'then[1]: multiplies what one activity is worth, and a window has many', 'a multiplier of a window');

-- Campaigns that go together, or do not
CREATE FUNCTION together(a text, b text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM * FROM loyalty.evaluate_campaigns(jsonb_build_object('a', a::jsonb, 'b', b::jsonb), '{}');
	RETURN 'good';
EXCEPTION WHEN SQLSTATE 'LY521' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END
$$;
SELECT is(together(format('{"exclusive": %s, "when": {"lines": {"sku": "T1"}}, "then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]}', a), format('{"exclusive": %s, "when": {"lines": {"sku": "T1"}}, "then": [{"points": {"give": 1, "per": 1}, "over": "matching_lines"}]}', b)),
	CASE WHEN fits THEN 'good' ELSE 'exclusive: differs from that of campaign "a" of the same group.' END, a || ' beside ' || b)
FROM (VALUES ('{"group": "g"}', '{"group": "g"}', true), ('{"group": "g"}', '{"group": "g", "pick": "best", "scope": "activity", "currency": "points"}', true), ('{"group": "g"}', '{"group": "g", "pick": "first"}', false),
	('{"group": "g", "scope": "line"}', '{"group": "g"}', false), ('{"group": "g"}', '{"group": "g", "currency": "stars"}', false), ('{"group": "g"}', '{"group": "h", "pick": "first", "scope": "line", "currency": "stars"}', true)) v (a, b, fits);
SELECT is(together(format('{"lane": "bonus", "then": [{"points": 1}, {"multiply": 2, "lane": "base", %s}]}', a), format('{"lane": "bonus", "then": [{"multiply": 2, "lane": "base", %s}]}', b)),
	CASE WHEN fits THEN 'good' ELSE 'then[0]: combines otherwise than campaign "a", which multiplies the same lane.' END, a || ' beside ' || b)
FROM (VALUES ('"combine": "add"', '"round": "floor"', true), ('"combine": "add"', '"combine": "max"', false), ('"combine": "multiply"', '"round": "floor"', false), ('"combine": "max", "currency": "stars"', '"combine": "add"', true)) v (a, b, fits);
SELECT is(together(format('{"limits": {"member": %s}, "then": [{"points": 1}, {"points": 1, "currency": "stars"}]}', a), format('{"limits": {"member": %s}, "then": [{"points": 1}, {"points": 1, "currency": "stars"}]}', b)),
	CASE WHEN fits THEN 'good' ELSE 'limits.member: the limit "x" counts otherwise than that of campaign "a".' END, a || ' beside ' || b)
FROM (VALUES ('{"points": 5, "within": "day", "name": "x"}', '{"points": 6, "within": "day", "name": "x"}', true), ('{"points": 5, "within": "day", "name": "x"}', '{"points": 5, "within": "week", "name": "x"}', false),
	('{"points": 5, "within": "day", "name": "x"}', '{"times": 5, "within": "day", "name": "x"}', false), ('{"points": 5, "within": "day", "name": "x"}', '{"points": 5, "within": "day", "name": "x", "currency": "stars"}', false),
	('{"points": 5, "within": "day", "name": "x"}', '{"points": 5, "within": "week", "name": "y"}', true), ('[{"points": 5, "within": "month"}, {"points": 5, "within": "day", "name": "x"}]', '[{"points": 5, "within": "year"}, {"times": 5, "within": "day", "name": "x"}]', false)) v (a, b, fits);
SELECT is(together('{"limits": {"total": {"points": 5}}, "then": [{"points": 1}]}', '{"limits": {"member": {"times": 5, "within": "day", "name": "a/total"}}, "then": [{"points": 1}]}'), 'good', 'a budget is no limit of members');
SELECT is(together('{"then": [{"points": 0}], "lanes": 1, "lane": "x"}', '{}'), 'lanes: is not known here.', 'the first mistake refuses it');
SELECT is(together('{}', '{"then": [{"points": 1}]}'), 'The definition: needs "then": what it gives.', 'one of the whole');
SELECT is(together('{"lane": "bonus", "then": [{"multiply": 1, "lane": "base"}]}', '{"then": [{"points": 1}]}'), 'good', 'a warning refuses nothing');
SELECT * FROM finish();
