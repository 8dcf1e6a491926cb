-- Room bi: goals and alerts.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok('CALL loyalty.evaluate_goals()', 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

CREATE FUNCTION pg_temp.crossings(name text) RETURNS SETOF text LANGUAGE sql AS
$$ SELECT format('%s %s %s %s', nullif(subject, ''), trim_scale(threshold), CASE WHEN reached THEN 'reached' ELSE 'left' END, trim_scale(figure)) FROM loyalty_bi.goal_crossing WHERE goal = name ORDER BY crossing_id $$;
CREATE FUNCTION pg_temp.told() RETURNS SETOF text LANGUAGE sql AS
$$ SELECT format('%s %s %s', kind, payload ->> 'goal', trim_scale((payload ->> 'threshold')::numeric)) FROM loyalty.poll_events('pager') $$;

-- ---- what is no goal
CREATE FUNCTION figure_of_house() RETURNS bigint LANGUAGE sql AS 'SELECT 7::bigint';
CREATE FUNCTION words() RETURNS text LANGUAGE sql AS $$SELECT 'seven'$$;
CREATE FUNCTION of_somebody() RETURNS numeric LANGUAGE sql AS 'SELECT 7.0';
CREATE ROLE bi_somebody;
GRANT CREATE ON SCHEMA public TO bi_somebody;
ALTER FUNCTION of_somebody() OWNER TO bi_somebody;
SELECT throws_ok(format('SELECT loyalty.define_goal(%L, %L, %L)', name, figure, thresholds), code, NULL, why)
FROM (VALUES ('Goal', '{"view": "member", "of": "count"}', '{1}', 'LY003', 'a name in capitals'), (NULL, '{"view": "member", "of": "count"}', '{1}', 'LY003', 'no name'),
	('g', NULL, '{1}', 'LY003', 'no figure'), ('g', '[]', '{1}', 'LY003', 'no object'), ('g', '{}', '{1}', 'LY003', 'nothing'),
	('g', '{"view": "member", "of": "count", "function": "f"}', '{1}', 'LY003', 'both'), ('g', '{"function": "public.figure_of_house", "of": "sum"}', '{1}', 'LY003', 'a function and more'),
	('g', '{"view": "members", "of": "count"}', '{1}', 'LY003', 'no such view'), ('g', '{"view": "member", "of": "median"}', '{1}', 'LY003', 'another aggregate'),
	('g', '{"view": "wallet"}', '{1}', 'LY003', 'no column'), ('g', '{"view": "wallet", "column": "points"}', '{1}', 'LY003', 'no such column'),
	('g', '{"view": "wallet", "column": "available", "where": {"x": 1}}', '{1}', 'LY003', 'no such column to compare'), ('g', '{"view": "wallet", "column": "available", "where": []}', '{1}', 'LY003', 'where is no object'),
	('g', '{"view": "wallet", "column": "available", "each": "x"}', '{1}', 'LY003', 'no such column to group by'), ('g', '{"view": "wallet", "column": "available", "last_days": 7}', '{1}', 'LY003', 'a view without days'),
	('g', '{"view": "points_by_day", "column": "points", "last_days": 0}', '{1}', 'LY003', 'no days'), ('g', '{"view": "points_by_day", "column": "points", "last_days": 1.5}', '{1}', 'LY003', 'half a day'),
	('g', '{"view": "points_by_day", "column": "points", "last_days": "7; DROP TABLE x"}', '{1}', 'LY003', 'days that are none'), ('g', '{"view": "member", "of": "count", "when": 1}', '{1}', 'LY003', 'a part that is not known'),
	('g', '{"view": "member", "of": "count"}', '{}', 'LY003', 'no threshold'), ('g', '{"view": "member", "of": "count"}', NULL, 'LY003', 'none given'), ('g', '{"view": "member", "of": "count"}', '{NaN}', 'LY003', 'no number'),
	('g', '{"function": "public.missing"}', '{1}', 'LY003', 'no such function'), ('g', '{"function": "public.words"}', '{1}', 'LY003', 'a function of words'),
	('g', '{"function": "public.of_somebody"}', '{1}', '42501', 'a function of somebody else''s')) v (name, figure, thresholds, code, why);
SELECT is((SELECT count(*) FROM loyalty.goal), 0::bigint, 'nothing of that was defined');
SELECT throws_ok($$SELECT loyalty.drop_goal('none')$$, 'LY003', 'there is no goal "none"', 'no such goal');
SELECT throws_ok($$SELECT loyalty.evaluate_goal('none')$$, 'LY003', 'there is no goal "none"', 'no such goal');
SELECT throws_ok($$SELECT * FROM loyalty.goal_figures('none')$$, 'LY003', 'there is no goal "none"', 'no such goal');

-- ---- a figure that rises and falls: once for each crossing
SELECT loyalty.subscribe('pager', '{goal_reached,goal_left}') \g /dev/null
SELECT is(loyalty.define_goal('outstanding', '{"view": "wallet", "column": "available", "where": {"currency": "points"}}', '{100,50}', name => 'Points out'), 1, 'a goal');
SELECT is((SELECT (name, subject, reached, evaluated_at) FROM loyalty_bi.goal WHERE threshold = 50), ('Points out'::text, NULL::text, false, NULL::timestamptz), 'not evaluated yet');
CALL loyalty.evaluate_goals();
SELECT is_empty($$SELECT pg_temp.crossings('outstanding')$$, 'nobody has points: the figure is NULL, and nothing is crossed');
SELECT loyalty.earn(1, 49) \g /dev/null
CALL loyalty.evaluate_goals();
SELECT is_empty($$SELECT pg_temp.crossings('outstanding')$$, 'one too few');
SELECT loyalty.earn(1, 1) \g /dev/null
CALL loyalty.evaluate_goals();
CALL loyalty.evaluate_goals();
SELECT results_eq($$SELECT pg_temp.crossings('outstanding')$$, $$VALUES (' 50 reached 50')$$, 'exactly the threshold, once however often it is evaluated');
SELECT loyalty.earn(2, 60) \g /dev/null
SELECT is(loyalty.evaluate_goal('outstanding'), 1::bigint, 'the other one');
SELECT loyalty.redeem(1, 50), loyalty.redeem(2, 40) \g /dev/null
SELECT is(loyalty.evaluate_goal('outstanding'), 2::bigint, 'and back over both');
SELECT loyalty.earn(2, 100) \g /dev/null
SELECT is(loyalty.evaluate_goal('outstanding'), 2::bigint, 'over both again');
SELECT results_eq($$SELECT pg_temp.crossings('outstanding')$$,
	$$VALUES (' 50 reached 50'), (' 100 reached 110'), (' 100 left 20'), (' 50 left 20'), (' 50 reached 120'), (' 100 reached 120')$$, 'in the order in which they are passed');
SELECT results_eq('SELECT pg_temp.told()', $$VALUES ('goal_reached outstanding 50'), ('goal_reached outstanding 100'), ('goal_left outstanding 100'), ('goal_left outstanding 50'),
	('goal_reached outstanding 50'), ('goal_reached outstanding 100')$$, 'an event for each');
SELECT is((SELECT payload - 'crossing_id' FROM loyalty.event ORDER BY event_id LIMIT 1), '{"version": 1, "goal": "outstanding", "subject": "", "threshold": 50, "figure": 50}', 'what an event says');
SELECT is((SELECT (status, result, done) FROM loyalty.job_run WHERE job = 'evaluate_goals' ORDER BY run_id LIMIT 1), ('finished'::text, 0::bigint, 1::bigint), 'the job says what it did');
SELECT is((SELECT figure FROM loyalty.goal_figures('outstanding')), 120::numeric, 'the figure of now');
SELECT is((SELECT (reached, figure) FROM loyalty_bi.goal WHERE threshold = 100), (true, 120::numeric), 'the state');

-- ---- defined again, and anew
SELECT is(loyalty.define_goal('outstanding', '{"view": "wallet", "column": "available", "where": {"currency": "points"}}', '{50,100,100}', name => 'Points outstanding'), 1, 'the same, by another name');
SELECT is(loyalty.evaluate_goal('outstanding'), 0::bigint, 'which changes nothing');
SELECT is(loyalty.define_goal('outstanding', '{"view": "wallet", "column": "available", "where": {"currency": "points"}}', '{50}', at_most => true), 2, 'the other way round it is another');
SELECT is(loyalty.evaluate_goal('outstanding'), 0::bigint, '120 is more than 50');
SELECT loyalty.redeem(2, 100) \g /dev/null
SELECT is(loyalty.evaluate_goal('outstanding'), 1::bigint, '20 is not');
SELECT is((SELECT (name, reached, at_most, figure) FROM loyalty_bi.goal), ('Points outstanding'::text, true, true, 20::numeric), 'only what it watches now');

-- ---- each budget and stock at 80 percent, and at its end
SELECT loyalty.define_goal('limits', '{"view": "global_limit", "column": "used_share", "of": "max", "each": "name"}', '{0.8,1}') \g /dev/null
SELECT loyalty.define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}], "limits": {"total": {"points": 100}}}', '2025-01-01') \g /dev/null
SELECT loyalty.define_benefit('mug', '{"kind": "reward", "points": 1, "stock": 5, "goods": {"item": "mug"}}') \g /dev/null
SELECT loyalty.record_activity(3, 'order', now(), 79) \g /dev/null
SELECT loyalty.order_reward(3, 'mug', 3) \g /dev/null
SELECT is(loyalty.evaluate_goal('limits'), 0::bigint, '79 of 100 and 3 of 5');
SELECT loyalty.record_activity(3, 'order', now(), 1), loyalty.order_reward(3, 'mug', 2) \g /dev/null
SELECT is(loyalty.evaluate_goal('limits'), 3::bigint, '80 of 100, and all');
SELECT activity_id AS last FROM loyalty.record_activity(3, 'order', now(), 1000) \gset
SELECT is(loyalty.evaluate_goal('limits'), 1::bigint, 'all of the budget');
SELECT loyalty.record_return(3, :last) \g /dev/null
SELECT is(loyalty.evaluate_goal('limits'), 1::bigint, 'and not all any more');
SELECT results_eq($$SELECT pg_temp.crossings('limits')$$, $$VALUES ('benefit/mug/stock 0.8 reached 1'), ('benefit/mug/stock 1 reached 1'), ('campaign/base/points 0.8 reached 0.8'),
	('campaign/base/points 1 reached 1'), ('campaign/base/points 1 left 0.8')$$, 'each by itself');

-- ---- of the last days, of a count, of nothing, of the house
SELECT loyalty.define_goal('sold', '{"view": "activity_by_day", "column": "activities", "where": {"kind": "order", "channel": null}, "last_days": 2}', '{4}') \g /dev/null
SELECT loyalty.record_activity(4, 'order', now() - interval '3 days', 1), loyalty.record_activity(4, 'order', now(), 1, channel => 'app') \g /dev/null
SELECT is((SELECT figure FROM loyalty.goal_figures('sold')), 2::numeric, 'today and yesterday, without a channel, and what was returned is none');
SELECT loyalty.define_goal('people', '{"view": "wallet", "of": "count"}', '{4}') \g /dev/null
SELECT is((SELECT figure FROM loyalty.goal_figures('people')), 4::numeric, 'how many rows');
SELECT loyalty.define_goal('house', '{"function": "public.figure_of_house"}', '{5}') \g /dev/null
SELECT is(loyalty.evaluate_goal('house'), 1::bigint, 'a function of the house');

-- ---- what cannot be told is no error, and the next ones are evaluated
CREATE OR REPLACE FUNCTION figure_of_house() RETURNS bigint LANGUAGE sql AS 'SELECT 7::bigint / 0';
UPDATE loyalty.goal SET goal_id = 0 WHERE goal = 'house';
SELECT is(loyalty.evaluate_goal('house'), 0::bigint, 'a function that fails');
SELECT is((SELECT (reached, problem) FROM loyalty_bi.goal WHERE goal = 'house'), (true, 'division by zero'::text), 'its state stays, and why is told');
DELETE FROM loyalty.goal_crossing WHERE goal = 'people';
CALL loyalty.evaluate_goals();
SELECT results_eq($$SELECT pg_temp.crossings('people')$$, $$VALUES (' 4 reached 4')$$, 'others are not held up');
ALTER FUNCTION figure_of_house() OWNER TO bi_somebody;
SELECT loyalty.evaluate_goal('house') \g /dev/null
SELECT matches((SELECT problem FROM loyalty_bi.goal WHERE goal = 'house'), 'may not run for loyalty', 'nor does a function run that became somebody else''s');

-- ---- rights, checks, the end
CREATE ROLE bi_reader;
SELECT loyalty.grant_access('bi_reader', 'reader') \g /dev/null
SET ROLE bi_reader;
SELECT is((SELECT count(*) FROM loyalty.goal_figures('people')), 1::bigint, 'a reader reads figures');
SELECT throws_ok($$SELECT loyalty.evaluate_goal('people')$$, '42501', NULL, 'evaluates nothing');
SELECT throws_ok($$SELECT loyalty.define_goal('mine', '{"view": "member", "of": "count"}', '{1}')$$, '42501', NULL, 'and defines nothing');
RESET ROLE;
DROP OWNED BY bi_reader, bi_somebody CASCADE;
DROP ROLE bi_reader; DROP ROLE bi_somebody;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
INSERT INTO loyalty.goal_crossing (goal, version, subject, threshold, reached, figure, at) VALUES ('people', 1, '', 4, true, 5, now()), ('gone', 1, '', 4, true, 5, now());
SELECT results_eq('SELECT detail FROM loyalty.check_bi() ORDER BY detail COLLATE "C"', format($$VALUES ('crossings of "gone" are of no goal'), ('goal "people", threshold 4 of "": crossing %s says what the one before said')$$,
	(SELECT max(crossing_id) - 1 FROM loyalty.goal_crossing)), 'what contradicts itself');
DELETE FROM loyalty.goal_crossing WHERE figure = 5;
SELECT loyalty.drop_goal('limits') \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.goal_crossing WHERE goal = 'limits'), 0::bigint, 'an end');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
