-- Room engagement: definitions.  One look names every mistake with its place, and nothing that is written is read over.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
CREATE FUNCTION complaint(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text;
BEGIN
	EXECUTE call;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, CASE WHEN SQLSTATE <> 'LY752' THEN m END, d);
END $$;
-- an array of so many elements; $ is the number of each
CREATE FUNCTION many(element text, n integer) RETURNS text LANGUAGE sql AS $$SELECT '[' || string_agg(replace(element, '$', i::text), ', ') || ']' FROM generate_series(1, n) i$$;

-- where everything is wrong, everything is named
SELECT is(complaint(format('SELECT loyalty.check_engagement_definition(%L, %L)', c.what, c.definition)), CASE WHEN c.detail = 'none' THEN 'none' ELSE 'LY752 ' || c.detail || '.' END,
	format('%s %s', c.what, c.definition))
FROM (VALUES
	('streak', '{"kind": 1, "when": 1, "money": 1, "period": 1, "at_least": 0, "amount": 0, "weekdays": 1, "holidays": 1, "max_gap": 1, "free": 0, "per": "day", "counts": 1, "repair_within": 1}',
		'kind must be a text; money must be a text; when must be an object; period must be a text; at_least must be a whole number from 1 to 1000000; amount must be positive; weekdays must be an array; '
		'holidays must be a text; max_gap must be a text; free must be a whole number from 1 to 1000; per is "day", and must be one of: week, month, quarter, year; counts must be true or false; repair_within must be a text'),
	('streak', '{"kind": "a", "weekdays": [0, 1, 7, 8]}', 'weekdays[0] must be a whole number from 1 to 7; weekdays[3] must be a whole number from 1 to 7'),
	('streak', '{"kind": "a", "per": "decade"}', 'per is "decade", and must be one of: week, month, quarter, year'),
	('streak', '{"kind": "a", "at_least": 1, "free": 1, "per": "year", "counts": false}', 'none'),
	('streak', '{"kind": "a", "amount": "x"}', 'amount must be a number'),
	('streak', '{"kind": "a", "amount": 0.000001}', 'none'),
	-- a condition: its own mistakes, or that it asks for the member, whatever else is wrong
	('streak', '{"kind": 1, "when": {"tier": {"club": ["gold"]}}}', 'kind must be a text; when asks for the member (tier:club); what counts is decided by the activity alone'),
	('streak', '{"kind": "a", "when": {"tier": {"club": []}}}', 'when.tier.club is empty, so nothing can ever be in it'),
	('streak', '{"kind": "a", "when": {"bogus": 1}}', 'when.bogus is no predicate'),
	('badge', '{"kind": 1, "streak": 1, "measure": "sum", "whole": 1, "levels": 1, "revocable": 1, "money": 1}',
		'the definition has both "kind" and "streak"; a badge goes by one of them; streak must be a text; kind must be a text; money must be a text; measure is "sum", and must be one of: count, amount, days; '
		'whole must be true or false; levels must be an array; revocable must be true or false'),
	('badge', '{"level": [1]}', 'level is not known here'),
	('badge', '{"kind": "a"}', 'the definition has no "levels", its thresholds'),
	('badge', '{"streak": "a"}', 'the definition has no "levels", its thresholds'),
	('badge', '{"streak": "a", "levels": [0.5, 1]}', 'none'),
	('badge', '{"levels": [1], "revocable": true, "measure": "days", "whole": true}', 'none'),
	('badge', '{"kind": "a", "levels": [0.000001, 0.000002]}', 'none'),
	('badge', '{"kind": "a", "levels": []}', 'levels must have from 1 to 1000 thresholds'),
	('badge', format('{"kind": "a", "levels": %s}', many('$', 1000)), 'none'),
	('badge', format('{"kind": "a", "levels": %s}', many('$', 1001)), 'levels must have from 1 to 1000 thresholds'),
	('badge', '{"kind": "a", "levels": [0, 1]}', 'levels[0] must be more than the one before it, and than 0'),
	('badge', '{"kind": "a", "levels": [5, "x", 3]}', 'levels[1] must be a number; levels[2] must be more than the one before it, and than 0'),
	('challenge', '{"kind": 1, "measure": 1, "target": 0, "from": "x", "until": "y", "time_zone": "Mars", "within": "x", "enrol": 1, "period": "hour", "times": 0, "x": 1}',
		'x is not known here; kind must be a text; measure must be a text; target must be positive; from is "x", which is no date; until is "y", which is no date; time_zone is "Mars", which is no time zone; '
		'within is "x", which is no interval; enrol must be true or false; period is "hour", and must be one of: day, week, month, quarter, year; times must be a whole number from 1 to 1000; '
		'within and "period" exclude each other; within is counted from the enrolment: it needs "enrol": true'),
	('challenge', '{"target": 1}', 'the definition has no "kind"'),
	('challenge', '{"kind": "a"}', 'the definition has no "target"'),
	('challenge', '{"kind": "a", "target": 1, "from": "2026-05-01", "until": "2026-05-02", "time_zone": "Asia/Tokyo", "period": "day", "times": 1}', 'none'),
	('challenge', '{"kind": "a", "target": 1, "from": "2026-05-02", "until": "2026-05-01"}', 'until must be after "from"'),
	('challenge', '{"kind": "a", "target": 1, "from": "2026-05-02"}', 'none'),
	('challenge', '{"kind": "a", "target": 1, "until": "2026-05-02"}', 'none'),
	('challenge', '{"kind": "a", "target": 1, "from": "x", "until": "2026-05-02"}', 'from is "x", which is no date'),
	('challenge', '{"kind": "a", "target": 1, "enrol": true, "within": "7 days"}', 'none'),
	('challenge', '{"kind": "a", "target": 1, "enrol": true}', 'none'),
	('challenge', '{"kind": "a", "target": 1, "enrol": false, "within": "7 days"}', 'within is counted from the enrolment: it needs "enrol": true'),
	('challenge', '{"kind": "a", "target": 1, "enrol": true, "within": "7 days", "period": "week"}', 'within and "period" exclude each other'),
	('challenge', '{"kind": [1, "challenge"], "target": 1}', 'kind[0] must be a text; kind is "challenge", which follows from it: it would go on without end'),
	('board', '{"kind": 1, "measure": 1, "whole": 1, "period": "hour", "time_zone": 1, "ties": 1, "places": 0, "club": 1, "x": 1}',
		'x is not known here; kind must be a text; measure must be a text; whole must be true or false; period is "hour", and must be one of: day, week, month, quarter, year, lifetime; time_zone must be a text; '
		'ties must be a text; places must be a whole number from 1 to 10000; club must be a text'),
	('board', '{"period": "lifetime"}', 'the definition has no "kind"'),
	('board', '{"kind": "a", "period": "lifetime", "time_zone": "UTC", "ties": "first", "places": 1, "club": "c"}', 'none'),
	('referral', '{"kind": 1, "minimum": 0, "within": 1, "orders": "last", "return_window": 1, "at_most": 0, "x": 1}',
		'x is not known here; kind must be a text; minimum must be positive; within must be a text; orders is "last", and must be one of: first, any; return_window must be a text; '
		'at_most must be a whole number from 1 to 1000000000000; the definition has no "per"'),
	('referral', '{}', 'the definition has no "within"'),
	('referral', '{"within": "30 days"}', 'none'),
	('referral', '{"within": "30 days", "at_most": 1, "per": "1 year", "orders": "any"}', 'none'),
	('referral', '{"within": "30 days", "per": "x"}', 'per is "x", which is no interval'),
	-- a club counts no activities
	('club', '{"join": "secret", "capacity": 0, "kind": "a"}', 'kind is not known here; join is "secret", and must be one of: open, invitation, approval; capacity must be a whole number from 1 to 1000000000000'),
	('club', '{"join": "approval", "capacity": 1}', 'none'),
	('club', '{}', 'none'),
	('journey', '{}', 'the definition has no "start"; the definition has no "steps"'),
	('journey', '{"start": 1, "while": 1, "repeat": 1, "steps": 1, "x": 1}', 'x is not known here; start must be an object; while must be an object; repeat must be a text; steps must be an array'),
	('journey', '{"start": {"x": 1}, "while": {"at_least": "x", "at_most": 0.5}, "steps": [1, {"step": 1, "after": 1, "if": 1, "do": 1, "list": 1, "x": 1}]}',
		'start.x is not known here; start has no "kind"; while has no "kind"; while.at_least must be a number; while.at_most must be a whole number from 0 to 1000000000000; steps[0] must be an object; '
		'steps[1].x is not known here; steps[1].step must be a text; steps[1].after must be a text; steps[1].if must be an object; steps[1].list must be true or false; steps[1].do must be an array'),
	('journey', '{"start": {"kind": "a"}, "steps": [{"after": "1 day"}, {"after": "1 day"}]}', 'steps[0] has no "step"; steps[1] has no "step"'),
	('journey', '{"start": {"kind": "a"}, "steps": [{"step": "a", "after": "1 day"}, {"step": "b", "after": "1 day"}, {"step": "a", "after": "1 day"}]}', 'steps[2] is the second step "a"'),
	('journey', format('{"start": {"kind": "a"}, "steps": %s}', many('{"step": "s$", "after": "1 day"}', 100)), 'none'),
	('journey', format('{"start": {"kind": "a"}, "steps": %s}', many('{"step": "s$", "after": "1 day"}', 101)), 'steps must have from 1 to 100 steps'),
	('journey', '{"start": {"kind": "a"}, "while": {"kind": "a", "at_least": 0}, "repeat": "1 day", "steps": [{"step": "a", "after": "1 day", "list": true, "if": {"kind": "a", "at_most": 0}}]}', 'none'),
	('journey', '{"start": {"kind": "a"}, "steps": [{"step": "a", "after": "1 day", "do": [1, {"coupon": 1, "points": 0, "currency": 1, "badge": 1, "level": 0, "freeze": 1, "spin": 1, "x": 1}]}]}',
		'steps[0].do[0] must be an object; steps[0].do[1].x is not known here; steps[0].do[1].coupon must be a text; steps[0].do[1].points must be a whole number from 1 to 1000000000000; '
		'steps[0].do[1].currency must be a text; steps[0].do[1].badge must be a text; steps[0].do[1].level must be a whole number from 1 to 1000; steps[0].do[1].freeze must be a text; '
		'steps[0].do[1].spin must be a text; steps[0].do[1] must have one of coupon, points, badge, freeze and spin'),
	('journey', '{"start": {"kind": "a"}, "steps": [{"step": "a", "after": "1 day", "do": [{"coupon": "c"}, {"points": 1, "currency": "miles"}, {"badge": "b", "level": 1}, {"freeze": "f"}, {"spin": "s"}]}]}',
		'none')) c (what, definition, detail);
-- of what an effect gives there is one, in every pair
SELECT is(complaint(format('SELECT loyalty.check_engagement_definition(%L, %L)', 'journey',
		jsonb_build_object('start', '{"kind": "a"}'::jsonb, 'steps', jsonb_build_array(jsonb_build_object('step', 'a', 'after', '1 day', 'do', jsonb_build_array(jsonb_build_object(a.key, a.value, b.key, b.value))))))),
	'LY752 steps[0].do[0] must have one of coupon, points, badge, freeze and spin.', format('%s and %s', a.key, b.key))
FROM jsonb_each('{"coupon": "c", "points": 1, "badge": "b", "freeze": "f", "spin": "s"}') a, jsonb_each('{"coupon": "c", "points": 1, "badge": "b", "freeze": "f", "spin": "s"}') b WHERE a.key < b.key;
SELECT is(complaint(format('SELECT loyalty.check_engagement_definition(%L, %L)', what, '[]')), 'LY752 the definition must be an object.', what || ' that is no object')
FROM unnest('{streak,badge,challenge,board,referral,club,journey}'::text[]) what;
SELECT is(loyalty.check_engagement_definition('club', '{"capacity": 1}'), '{"capacity": 1}', 'the answer is the definition');
SELECT is(complaint(call), answer, call)
FROM (VALUES ($$SELECT loyalty.check_engagement_definition(NULL, '{}')$$, 'LY003 what must not be NULL It has no default that NULL could stand for.'),
	($$SELECT loyalty.check_engagement_definition('club', NULL)$$, 'LY003 definition must not be NULL It has no default that NULL could stand for.'),
	($$SELECT loyalty.check_draw_definition(NULL)$$, 'LY003 definition must not be NULL It has no default that NULL could stand for.')) c (call, answer);
DO $$
BEGIN
	PERFORM loyalty.check_engagement_definition('club', '{"capacity": 0}');
EXCEPTION WHEN SQLSTATE 'LY752' THEN
	CREATE TABLE said AS SELECT SQLERRM AS message;
END $$;
SELECT is((SELECT message FROM said), 'invalid definition of a club', 'the message says of what');

-- draws
SELECT is(complaint(format('SELECT loyalty.check_draw_definition(%L)', c.definition)), CASE WHEN c.detail = 'none' THEN 'none' ELSE 'LY752 ' || c.detail || '.' END, c.definition)
FROM (VALUES
	('[]', 'the definition must be an object'),
	('{"tickets": 0, "client_seed": 1, "from": 1, "until": "x", "time_zone": "Mars", "x": 1, "prizes": {}}',
		'x is not known here; tickets must be a whole number from 1 to 1000000; client_seed must be true or false; from must be a text; until is "x", which is no date; time_zone is "Mars", which is no time zone; prizes must be an array'),
	('{"prizes": [{"prize": "a", "weight": 1}], "client_seed": true, "from": "2026-05-01", "until": "2026-06-01", "time_zone": "UTC"}', 'none'),
	('{"tickets": 2, "client_seed": true, "prizes": [{"prize": "a", "count": 2}]}', 'client_seed is of no use in a deck, which was shuffled before'),
	('{"tickets": 2, "client_seed": false, "prizes": [{"prize": "a", "count": 2}]}', 'none'),
	('{"tickets": 2, "prizes": [{"prize": "a", "count": 1}, {"prize": "b", "count": 2}]}', 'prizes are 3, of 2 tickets'),
	('{"tickets": 1, "prizes": [{"prize": "a", "count": 1}]}', 'none'),
	('{"prizes": [1]}', 'prizes[0] must be an object'),
	('{"prizes": [{"prize": 1, "weight": "x", "points": 0, "currency": 1, "benefit": 1, "count": 1}]}',
		'prizes[0].count is not known here; prizes[0].prize must be a text; prizes[0].weight must be a number; prizes[0].points must be a whole number from 1 to 1000000000000; prizes[0].currency must be a text; '
		'prizes[0].currency needs "points" beside it; prizes[0].benefit must be a text'),
	('{"prizes": [{"prize": "a", "weight": 1, "points": 1, "currency": "miles"}, {"prize": "b", "weight": 1, "stock": 0, "points": 1, "benefit": "tea"}]}', 'none'),
	('{"prizes": [{"prize": "a", "weight": 1}, {"prize": "b", "weight": 1, "stock": 0.5}]}', 'prizes[1].stock must be a whole number from 0 to 1000000000000'),
	('{"prizes": [{"prize": "a"}]}', 'prizes[0] has no "weight"'),
	('{"tickets": 3, "prizes": [{"prize": "a", "count": 1}, {"prize": "b", "weight": 1, "stock": 1}]}', 'prizes[1].stock is not known here; prizes[1].weight is not known here; prizes[1] has no "count"'),
	('{"tickets": 3, "prizes": [{"prize": "a", "count": 0}]}', 'prizes[0].count must be a whole number from 1 to 1000000'),
	('{"prizes": [{"weight": 1}, {"weight": 1}]}', 'prizes[0] has no "prize", its name; prizes[1] has no "prize", its name'),
	('{"prizes": [{"prize": "a", "weight": 1}, {"prize": "b", "weight": 1}, {"prize": "a", "weight": 1}]}', 'prizes[2] is the second prize "a"'),
	(format('{"prizes": %s}', many('{"prize": "p$", "weight": 1}', 1000)), 'none'),
	(format('{"prizes": %s}', many('{"prize": "p$", "weight": 1}', 1001)), 'prizes must have from 1 to 1000 prizes')) c (definition, detail);
SELECT is(loyalty.check_draw_definition('{"prizes": [{"prize": "a", "weight": 1}]}'), '{"prizes": [{"prize": "a", "weight": 1}]}', 'the answer is the definition of a draw');
SELECT * FROM finish();
