-- Room trial: trials on the tables of the program.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.define_trial('t', '{}', '2026-01-01', '2026-02-01')$$, 'LY001', NULL, 'before setup()');
SELECT throws_ok($$SELECT loyalty.trial_report('t')$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

-- ---- definitions ----

SELECT throws_ok(format('SELECT loyalty.define_trial(%L, %L, %L, %L)', name, definition, starts, ends), code, NULL, why)
FROM (VALUES ('Spring', '{}', '2026-01-01', '2026-02-01', 'LY003', 'a name in capitals'), ('t', '{}', '2026-02-01', '2026-01-01', 'LY003', 'it ends before it starts'),
	('t', '{}', '-infinity', '2026-01-01', 'LY003', 'always'), ('t', '{"share": [0.5, 0.5]}', '2026-01-01', '2026-02-01', 'LY003', 'a key that is not known'),
	('t', '{"shares": [0.5, 0.6]}', '2026-01-01', '2026-02-01', 'LY802', 'shares of more than all'), ('t', '{"shares": 0.5}', '2026-01-01', '2026-02-01', 'LY003', 'a share alone'),
	('t', '{"shares": ["x", 1]}', '2026-01-01', '2026-02-01', 'LY003', 'no number'), ('t', '{"hash": "md5"}', '2026-01-01', '2026-02-01', 'LY003', 'another hash'),
	('t', '{"population": "everybody"}', '2026-01-01', '2026-02-01', 'LY003', 'another population'), ('t', '{"population": {"label": "x"}}', '2026-01-01', '2026-02-01', 'LY003', 'a population of nothing'),
	('t', '{"kinds": []}', '2026-01-01', '2026-02-01', 'LY003', 'no outcome'), ('t', '{"margin": 2}', '2026-01-01', '2026-02-01', 'LY003', 'more margin than amount'),
	('t', '{"primary": "margin"}', '2026-01-01', '2026-02-01', 'LY003', 'no margin'), ('t', '{"primary": "clicks"}', '2026-01-01', '2026-02-01', 'LY003', 'another measure'),
	('t', '{"analysed_at": "soon"}', '2026-01-01', '2026-02-01', 'LY003', 'no instant'), (NULL, '{}', '2026-01-01', '2026-02-01', 'LY003', 'no name')) v (name, definition, starts, ends, code, why);
SELECT is((SELECT count(*) FROM loyalty.trial), 0::bigint, 'nothing of that was defined');
SELECT is(loyalty.define_trial('later', '{"shares": [0.5, 0.5]}', '2100-01-01', '2100-02-01'), 'later', 'a trial');
SELECT is(loyalty.define_trial('later', '{"shares": [0.2, 0.8]}', '2100-01-01', '2100-02-01'), 'later', 'may be changed before it starts');
SELECT is((SELECT shares FROM loyalty.trial), '{0.2,0.8}', 'and is');
SELECT is(loyalty.define_trial('now', '{"shares": [0.5, 0.5]}', '2026-01-01', '2100-02-01'), 'now', 'one that has started');
SELECT throws_ok(format('SELECT loyalty.define_trial(%L, %L, %L, %L)', 'now', definition, starts, '2100-02-01'), 'LY804', 'trial "now" has started', why)
FROM (VALUES ('{"shares": [0.4, 0.6]}', '2026-01-01', 'shares'), ('{"shares": [0.5, 0.5], "hash": "growthbook_2"}', '2026-01-01', 'hash'),
	('{"shares": [0.5, 0.5], "population": "triggered"}', '2026-01-01', 'population'), ('{"shares": [0.5, 0.5]}', '2026-01-02', 'start')) v (definition, starts, why);
SELECT throws_ok($$UPDATE loyalty.trial SET shares = '{0.4,0.6}' WHERE trial = 'now'$$, 'LY804', NULL, 'whatever statement would change it');
SELECT is(loyalty.define_trial('now', '{"shares": [0.5, 0.5], "primary": "amount"}', '2026-01-01', '2027-02-01'), 'now', 'its end and its measure may change');
SELECT throws_ok($$SELECT loyalty.trial_arm(1, 'none')$$, 'LY801', 'there is no trial "none"', 'no such trial');

-- ---- exposures ----

-- of spring-2026 member 1 is at 5270, 2 at 7525, 42 at 4514
INSERT INTO loyalty.member (member_id, joined_at) SELECT i, '2025-06-01' FROM generate_series(1, 60) i;
SELECT loyalty.define_trial('spring-2026', '{"shares": [0.6, 0.4], "margin": 0.5}', '2026-03-01', '2026-04-01') \g /dev/null
SELECT is(loyalty.trial_arm(1, 'spring-2026'), 0, 'the control');
SELECT is(loyalty.trial_arm(2, 'spring-2026'), 1, 'the treated');
SELECT throws_ok($$SELECT loyalty.expose(1, 'spring-2026', 'app', '2026-03-02')$$, 'LY805', 'member 1 is in the control of trial "spring-2026"', 'the control is not treated');
SELECT throws_ok($$SELECT loyalty.expose(2, 'none', 'app', '2026-03-02')$$, 'LY801', NULL, 'no such trial');
SELECT throws_ok($$SELECT loyalty.expose(2, 'spring-2026', 'app', '2026-04-01')$$, 'LY003', NULL, 'it is over');
SELECT throws_ok($$SELECT loyalty.expose(2, 'spring-2026', '', '2026-03-02')$$, 'LY003', 'member_id, channel and at must be given', 'no channel');
SELECT is((SELECT (arm, replayed) FROM loyalty.expose(2, 'spring-2026', 'app', '2026-03-02', 'k')), (1, false), 'an exposure');
SELECT is((SELECT (arm, replayed) FROM loyalty.expose(2, 'spring-2026', 'app', '2026-03-02', 'k')), (1, true), 'once');
SELECT throws_ok($$SELECT loyalty.expose(2, 'spring-2026', 'e_mail', '2026-03-02', 'k')$$, 'LY004', NULL, 'not with another channel');
SELECT is((SELECT count(*) FROM loyalty.trial_exposure), 1::bigint, 'one row');

-- ---- outcomes ----

SELECT loyalty.record_activity(2, 'order', '2026-03-05', amount => 100.00, external_id => 'o1') \g /dev/null
SELECT loyalty.record_activity(2, 'order', '2026-03-06', amount => 40.00, external_id => 'o2') \g /dev/null
SELECT loyalty.record_activity(2, 'order', '2026-02-28', amount => 7.00, external_id => 'before') \g /dev/null
SELECT loyalty.record_activity(2, 'order', '2026-04-01', amount => 9.00, external_id => 'after') \g /dev/null
SELECT loyalty.record_activity(2, 'check_in', '2026-03-07') \g /dev/null
SELECT is((SELECT (arm, activities, amount) FROM loyalty.trial_outcomes('spring-2026') WHERE member_id = 2), (1, 2::bigint, 140.00), 'what lies within');
SELECT is((SELECT (arm, activities, amount) FROM loyalty.trial_outcomes('spring-2026', '2026-03-06') WHERE member_id = 2), (1, 1::bigint, 100.00), 'as of the 6th');
SELECT is((SELECT (arm, activities, amount) FROM loyalty.trial_outcomes('spring-2026') WHERE member_id = 1), (0, 0::bigint, 0::numeric), 'who did nothing has a row');
SELECT is((SELECT count(*) FROM loyalty.trial_outcomes('spring-2026')), 60::bigint, 'as everybody has');
SELECT loyalty.record_return(2, loyalty.find_activity(2, 'order', 'o1'), amount => 30.00, at => '2026-03-20') \g /dev/null
SELECT is((SELECT amount FROM loyalty.trial_outcomes('spring-2026') WHERE member_id = 2), 110.00, 'a return within lowers it');
SELECT loyalty.record_return(2, loyalty.find_activity(2, 'order', 'o1'), amount => 20.00, at => '2026-04-02') \g /dev/null
SELECT is((SELECT amount FROM loyalty.trial_outcomes('spring-2026') WHERE member_id = 2), 110.00, 'a later one does not');
SELECT loyalty.record_return(2, loyalty.find_activity(2, 'order', 'o2'), at => '2026-03-31 23:00') \g /dev/null
SELECT is((SELECT (activities, amount) FROM loyalty.trial_outcomes('spring-2026') WHERE member_id = 2), (1::bigint, 70.00), 'all of an order returned: it was none');
SELECT loyalty.revise_activity(2, loyalty.find_activity(2, 'order', 'o1'), cancelled => true) \g /dev/null
SELECT is((SELECT (activities, amount) FROM loyalty.trial_outcomes('spring-2026') WHERE member_id = 2), (0::bigint, 0::numeric), 'cancelled, whenever that is learned');
SELECT * FROM loyalty.check_all();

-- ---- the page's campaign: 13 of 100 against 10 of 100 ----

CREATE TABLE who AS SELECT i AS member_id, loyalty.arm_of('autumn', i, '{0.5,0.5}') AS arm FROM generate_series(1001, 1400) i;
CREATE TABLE picked AS SELECT member_id, arm, row_number() OVER (PARTITION BY arm ORDER BY member_id) AS n FROM who;
INSERT INTO loyalty.member (member_id, joined_at) SELECT member_id, '2026-05-01' FROM picked WHERE n <= 100;
DELETE FROM loyalty.member WHERE member_id <= 60;
SELECT loyalty.define_trial('autumn', '{"shares": [0.5, 0.5], "margin": 0.5}', '2026-06-01', '2026-07-01') \g /dev/null
SELECT loyalty.record_activity(member_id, 'order', '2026-06-10', amount => CASE arm WHEN 1 THEN 20.00 ELSE 10.00 END)
FROM picked WHERE n <= CASE arm WHEN 1 THEN 13 ELSE 10 END \g /dev/null
SELECT is((SELECT (members, mean, incremental, cost, broken, secondary) FROM loyalty.trial_report('autumn') WHERE arm = 1),
	(100::bigint, .13::double precision, 100 * (.13 - .1)::double precision, 0.00, false, false), '3 more than without');
SELECT is((SELECT (members, mean, secondary) FROM loyalty.trial_report('autumn', 'amount') WHERE arm = 1), (100::bigint, 2.6::double precision, true), '13 times 20.00');
SELECT is((SELECT (mean, round(difference::numeric, 6)) FROM loyalty.trial_report('autumn', 'margin') WHERE arm = 1), (1.3::double precision, .8), 'half of that, against 10 times 5.00');
SELECT is((SELECT mean FROM loyalty.trial_report('autumn', 'activities') WHERE arm = 0), .1::double precision, '10 orders');
SELECT throws_ok($$SELECT loyalty.trial_report('autumn', 'clicks')$$, 'LY003', 'trial "autumn" has no measure "clicks"', 'another measure');
SELECT throws_ok($$SELECT loyalty.trial_report('spring-2026', 'margin', strict => true, as_of => '2026-03-15')$$, 'LY803', NULL, 'too early');
SET client_min_messages = error;
SELECT lives_ok($$SELECT loyalty.trial_report('spring-2026', as_of => '2026-03-15')$$, 'only a warning otherwise');
RESET client_min_messages;
SET client_min_messages = warning;

-- two exposures by app, one by e-mail; what the channels cost in June
SELECT loyalty.expose(member_id, 'autumn', channel, '2026-06-05') FROM picked JOIN (VALUES (1, 'app'), (2, 'app'), (2, 'e_mail')) v (n, channel) USING (n) WHERE arm = 1 \g /dev/null
SELECT loyalty.set_channel_cost('app', '2026-06-01', '2026-07-01', 30.00) AS first \gset
SELECT is(loyalty.set_channel_cost('app', '2026-06-01', '2026-07-01', 30.00), :first::bigint, 'the same again');
SELECT isnt(loyalty.set_channel_cost('app', '2026-06-01', '2026-07-01', 20.00), :first::bigint, 'corrected');
SELECT loyalty.set_channel_cost('e_mail', '2026-06-01', '2026-07-01', 7.00) \g /dev/null
SELECT throws_ok($$SELECT loyalty.set_channel_cost('app', '2026-07-01', '2026-06-01', 1)$$, 'LY003', NULL, 'a period that ends before it begins');
SELECT throws_ok(format($$SELECT loyalty.set_channel_cost('app', '2026-06-01', '2026-07-01', %L)$$, amount), 'LY003', NULL, left('amount ' || amount, 40)) FROM unnest('{1e15,-1e131071,NaN,Infinity}'::numeric[]) amount;
SELECT throws_ok($$SELECT loyalty.set_channel_cost('app', '2026-06-01', '2026-07-01', 'NaN')$$, 'LY003', NULL, 'no amount');
SELECT throws_ok($$UPDATE loyalty.channel_cost SET amount = 1$$, 'LY005', NULL, 'append-only');
SELECT results_eq($$SELECT channel, arm, exposures, members, cost, cost_per_member FROM loyalty.channel_report('autumn')$$,
	$$VALUES ('app', 1, 2::bigint, 2::bigint, 20.00, 10.00), ('e_mail', 1, 1, 1, 7.00, 7.00)$$, 'by channel');
SELECT is((SELECT (exposed, cost, cost_per_incremental) FROM loyalty.trial_report('autumn') WHERE arm = 1), (2::bigint, 27.00, 9.00), '27.00 for 3 more orders');

-- ---- holdouts of campaigns ----

SELECT loyalty.define_trial('gift', '{"shares": [0.5, 0.5], "population": "triggered"}', '2026-08-01', '2026-09-01') \g /dev/null
SELECT loyalty.define_trial('choice', '{"shares": [0.4, 0.3, 0.3]}', '2026-08-01', '2026-09-01') \g /dev/null
SELECT loyalty.define_campaign('gift', '{"when": {"amount": {">=": 50}}, "treat": {"trial": "gift"}, "then": [{"points": 10}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_campaign('second', '{"on": ["review"], "treat": {"trial": {"choice": [2]}}, "then": [{"points": 3}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_campaign('double', '{"lane": "bonus", "then": [{"multiply": 2, "lane": "base"}]}', '2026-01-01') \g /dev/null
CREATE TABLE g AS SELECT i AS member_id, loyalty.arm_of('gift', i, '{0.5,0.5}') AS arm, loyalty.arm_of('choice', i, '{0.4,0.3,0.3}') AS choice FROM generate_series(2001, 2100) i;
INSERT INTO loyalty.member (member_id, joined_at) SELECT member_id, '2026-07-01' FROM g;
SELECT is((SELECT array_agg(DISTINCT r.points) FROM g, LATERAL loyalty.record_activity(g.member_id, 'order', '2026-08-10', amount => 60.00) r WHERE g.arm = 1), '{20}', 'treated: 10, and doubled');
SELECT is((SELECT array_agg(DISTINCT r.points) FROM g, LATERAL loyalty.record_activity(g.member_id, 'order', '2026-08-10', amount => 60.00) r WHERE g.arm = 0), '{0}', 'held out: nothing, and nothing doubled');
SELECT is((SELECT array_agg(DISTINCT (a.points, a.wanted, a.limited_by)::text) FROM g, LATERAL loyalty.awards(g.member_id) a WHERE g.arm = 0 AND a.campaign = 'gift'),
	ARRAY['(0,10,holdout)'], 'what it would have been is kept');
SELECT is((SELECT count(*) FROM g, LATERAL loyalty.record_activity(g.member_id, 'order', '2026-08-11', amount => 10.00) r WHERE r.points > 0), 0::bigint, 'who does not meet it is not in it');
SELECT is((SELECT array_agg(DISTINCT r.points) FROM g, LATERAL loyalty.record_activity(g.member_id, 'order', '2026-09-01', amount => 60.00) r), '{20}', 'when it is over, nobody is held out');
SELECT is((SELECT count(*) FROM g, LATERAL loyalty.record_activity(g.member_id, 'review', '2026-08-10') r WHERE r.points > 0 AND g.choice <> 2 OR r.points = 0 AND g.choice = 2), 0::bigint, 'one arm of three');
SELECT is((SELECT array_agg(DISTINCT r.points) FROM g, LATERAL loyalty.record_activity(g.member_id, 'review', '2026-09-10') r), '{0}', 'nobody is in an arm when it is over');
SELECT is((SELECT array_agg(members ORDER BY arm) FROM loyalty.trial_report('gift')), (SELECT array_agg(n ORDER BY arm) FROM (SELECT arm, count(*) AS n FROM g GROUP BY arm) x), 'in it is whoever met the campaign, in both arms');
SELECT is((SELECT (points_given, cost) FROM loyalty.trial_report('gift', cost_per_point => 0.01) WHERE arm = 1), (SELECT (10 * count(*), round(0.10 * count(*), 2)) FROM g WHERE arm = 1), 'what the campaign gave, and not what another doubled');
SELECT is((SELECT (points_given, cost) FROM loyalty.trial_report('gift') WHERE arm = 1), (SELECT (10 * count(*), NULL::numeric) FROM g WHERE arm = 1), 'what points cost is not known');
SELECT loyalty.set_point_value('points', 0.02, cost => 0.01), loyalty.set_redemption_estimate('points', 0.8) \g /dev/null
SELECT is((SELECT (points_given, cost) FROM loyalty.trial_report('gift') WHERE arm = 1), (SELECT (10 * count(*), round(0.08 * count(*), 2)) FROM g WHERE arm = 1), 'what a redeemed point costs, and how many will be');
SELECT is((SELECT (points_given, cost) FROM loyalty.trial_report('gift', cost_per_point => 0.01) WHERE arm = 0), (0::bigint, 0.00), 'nothing to the control');
SELECT is((SELECT count(*) FROM g, LATERAL loyalty.preview_activity(g.member_id, 'order', '2026-08-12', 60.00) p WHERE p.campaign = 'gift' AND p.points <> 10 * g.arm), 0::bigint, 'the preview says the same');
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'all is well');

-- what is taken back within the time costs nothing; later it does, as the order counts whose amount is lower now
SELECT member_id AS inside, (SELECT activity_id FROM loyalty.activities(g.member_id, 'order') ORDER BY at LIMIT 1) AS first FROM g WHERE arm = 1 ORDER BY 1 LIMIT 1 \gset
SELECT member_id AS later, (SELECT activity_id FROM loyalty.activities(g.member_id, 'order') ORDER BY at LIMIT 1) AS second FROM g WHERE arm = 1 ORDER BY 1 DESC LIMIT 1 \gset
SELECT loyalty.record_return(:inside, :first, at => '2026-08-31 23:59'), loyalty.record_return(:later, :second, at => '2026-09-01') \g /dev/null
SELECT is((SELECT points_given FROM loyalty.trial_report('gift') WHERE arm = 1), (SELECT 10 * (count(*) - 1) FROM g WHERE arm = 1), 'taken back within the time, and not later');
SELECT is((SELECT (activities, amount) FROM loyalty.trial_outcomes('gift') WHERE member_id = :later), (2::bigint, 70.00), 'as what it brought stays');

-- a campaign that names the trial in "when" costs as well
SELECT loyalty.define_campaign('asked', '{"on": ["check_in"], "when": {"trial": "gift"}, "then": [{"points": 7}]}', '2026-01-01') \g /dev/null
SELECT loyalty.record_activity(member_id, 'check_in', '2026-08-20') FROM g WHERE member_id IN (:inside, :later) OR arm = 0 \g /dev/null
SELECT is((SELECT points_given FROM loyalty.trial_report('gift') WHERE arm = 1), (SELECT 10 * (count(*) - 1) + 14 FROM g WHERE arm = 1), 'named in when');
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'all is well');

-- arms of nobody, and of one
SELECT loyalty.define_list('one', ARRAY(SELECT member_id FROM g WHERE choice = 1 ORDER BY 1 LIMIT 1), at => '2026-07-15'), loyalty.define_list('none', '{}', at => '2026-07-15') \g /dev/null
SELECT loyalty.define_trial(a || '-alone', format('{"shares": [0.2, 0.4, 0.4], "population": {"audience": "%s"}}', a)::jsonb, '2026-08-01', '2026-09-01') FROM unnest('{one,none}'::text[]) a \g /dev/null
SELECT is((SELECT array_agg(members ORDER BY arm) FROM loyalty.trial_report('none-alone')), '{0,0,0}', 'nobody: a row for each arm');
SELECT is((SELECT (count(*), sum(members), max(difference), bool_or(broken)) FROM loyalty.trial_report('one-alone', 'amount')), (3::bigint, 1::numeric, NULL::double precision, false), 'one member: nothing to compare');

-- an order that is revised stays as it was decided
SELECT member_id AS out FROM g WHERE arm = 0 ORDER BY 1 LIMIT 1 \gset
SELECT activity_id AS first FROM loyalty.activities(:out, 'order') ORDER BY at LIMIT 1 \gset
SELECT is((SELECT points FROM loyalty.revise_activity(:out, :first, amount => 70.00)), 0::bigint, 'held out, and revised');
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'all is well');

-- a campaign in a group, and one that says stop: whoever is held out has the next
SELECT loyalty.define_campaign('stopper', '{"on": ["share"], "priority": 1, "stop": true, "treat": {"trial": "gift"}, "then": [{"points": 9}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_campaign('rest', '{"on": ["share"], "then": [{"points": 1}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_campaign('best', '{"on": ["like"], "exclusive": {"group": "x"}, "treat": {"trial": "gift"}, "then": [{"points": 9}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_campaign('other', '{"on": ["like"], "exclusive": {"group": "x"}, "then": [{"points": 1}]}', '2026-01-01') \g /dev/null
SELECT is((SELECT count(*) FROM g, LATERAL loyalty.record_activity(g.member_id, kind, '2026-08-20', external_id => kind) r WHERE r.points <> CASE g.arm WHEN 1 THEN 9 ELSE 1 END), 0::bigint, 'of ' || kind)
FROM (VALUES ('share'), ('like')) v (kind);
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'all is well');

-- a trial that there is not
SELECT loyalty.define_campaign('typo', '{"on": ["survey"], "treat": {"trial": "gfit"}, "then": [{"points": 5}]}', '2026-01-01') \g /dev/null
SELECT is((SELECT array_agg(DISTINCT r.points) FROM g, LATERAL loyalty.record_activity(g.member_id, 'survey', '2026-08-20') r), '{0}', 'treats nobody');
SELECT is((SELECT detail FROM loyalty.check_trial()), 'campaign typo treats by trial gfit, which there is not, so that it gives nothing', 'and the check says so');
SELECT loyalty.end_campaign('typo') \g /dev/null
SELECT throws_ok(format('SELECT loyalty.define_campaign(%L, %L)', 'wrong', definition), 'LY521', NULL, definition)
FROM (VALUES ('{"treat": {"trial": 5}, "then": [{"points": 1}]}'), ('{"treat": {"trial": {}}, "then": [{"points": 1}]}'), ('{"treat": {"trial": {"gift": [64]}}, "then": [{"points": 1}]}'),
	('{"treat": {"trial": {"gift": []}}, "then": [{"points": 1}]}'), ('{"treat": {"trial": {"gift": 1}}, "then": [{"points": 1}]}'), ('{"treat": {"trial": {"gift": [1], "choice": [1]}}, "then": [{"points": 1}]}')) v (definition);

-- ---- merging and forgetting ----

CREATE TABLE pairs AS SELECT min(member_id) FILTER (WHERE arm = 1 AND n = 30) AS a, min(member_id) FILTER (WHERE arm = 0 AND n = 30) AS b,
	min(member_id) FILTER (WHERE arm = 1 AND n = 31) AS c, min(member_id) FILTER (WHERE arm = 1 AND n = 1) AS d FROM picked;
SELECT is((SELECT array_agg(members ORDER BY arm) FROM loyalty.trial_report('autumn')), '{100,100}', 'before');
SELECT loyalty.merge_members(c, d) FROM pairs \g /dev/null
SELECT is((SELECT array_agg((members, excluded)::text ORDER BY arm) FROM loyalty.trial_report('autumn')), ARRAY['(100,0)', '(99,0)'], 'merged within an arm: one member');
SELECT is((SELECT (arm, activities, amount) FROM loyalty.trial_outcomes('autumn') o JOIN pairs p ON o.member_id = p.c), (1, 1::bigint, 20.00), 'with what both did');
SELECT is((SELECT (exposed, cost) FROM loyalty.trial_report('autumn') WHERE arm = 1), (2::bigint, 27.00), 'and exposures of both');
SELECT merge_id AS across FROM pairs, LATERAL loyalty.merge_members(a, b) \gset
SELECT is((SELECT array_agg((members, excluded)::text ORDER BY arm) FROM loyalty.trial_report('autumn')), ARRAY['(99,1)', '(98,1)'], 'merged across arms: left out of both, and counted');
SELECT is((SELECT count(*) FROM loyalty.check_trial()), 0::bigint, 'all is well');
SELECT loyalty.unmerge_members(:across) \g /dev/null
SELECT is((SELECT array_agg((members, excluded)::text ORDER BY arm) FROM loyalty.trial_report('autumn')), ARRAY['(100,0)', '(99,0)'], 'undone: as if nothing had been');
SELECT loyalty.forget_member(d) FROM pairs \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.trial_exposure e JOIN pairs p ON e.member_id IN (p.c, p.d)), 0::bigint, 'forgotten: no exposure is left');

-- ---- an audience ----

SELECT loyalty.define_list('guests', ARRAY(SELECT member_id FROM g WHERE member_id <= 2020), at => '2026-07-15') \g /dev/null
SELECT throws_ok($$SELECT loyalty.define_trial('aud', '{"population": {"audience": "nobody"}}', '2026-08-01', '2026-09-01')$$, 'LY703', NULL, 'an audience that there is not');
SELECT loyalty.define_trial('aud', '{"shares": [0.5, 0.5], "population": {"audience": "guests"}}', '2026-08-01', '2026-09-01') \g /dev/null
SELECT loyalty.change_list('guests', add => '{2050}', at => '2026-08-02') \g /dev/null
SELECT is((SELECT array_agg(member_id ORDER BY member_id) FROM loyalty.trial_members('aud')), ARRAY(SELECT member_id::bigint FROM g WHERE member_id <= 2020 ORDER BY 1), 'who was in it at the start');

SELECT loyalty.define_audience('idle_guests', 'guests - {"count": {">=": 1}}', '2026-01-01') \g /dev/null
SELECT loyalty.define_trial('idle', '{"shares": [0.5, 0.5], "population": {"audience": "idle_guests"}}', '2026-08-11', '2026-09-01') \g /dev/null
SELECT loyalty.define_trial('later-idle', '{"shares": [0.5, 0.5], "population": {"audience": "idle_guests"}}', '2026-08-01', '2026-09-01') \g /dev/null
SELECT is((SELECT array_agg(member_id ORDER BY member_id) FROM loyalty.trial_members(t)), n, 'by an expression that nobody has refreshed: ' || t)
FROM (VALUES ('idle', (SELECT NULLIF(ARRAY(SELECT member_id::bigint FROM g WHERE (member_id <= 2020 OR member_id = 2050)
		AND NOT EXISTS (SELECT FROM loyalty.activity a WHERE a.member_id = g.member_id AND a.kind = 'order' AND a.at <= '2026-08-11' AND NOT a.cancelled AND NOT a.returned) ORDER BY 1), '{}'))),
	('later-idle', ARRAY(SELECT member_id::bigint FROM g WHERE member_id <= 2020 ORDER BY 1))) v (t, n);
SELECT is((SELECT count(*) FROM loyalty.trial_report('later-idle')), 2::bigint, 'and its report');

-- the time before is as long in any time zone of the session: clocks were put forward on 8 March
SELECT loyalty.define_trial('long', '{"shares": [0.5, 0.5], "adjusted": true}', '2026-03-10', '2026-03-14') \g /dev/null
SELECT loyalty.record_activity(2050, 'order', at::timestamptz, amount => 1) FROM unnest('{2026-03-05 23:59:59,2026-03-06 00:00,2026-03-06 00:30,2026-03-09 23:59}'::text[]) at \g /dev/null
UPDATE loyalty.member SET joined_at = '2026-01-01' WHERE member_id = 2050;
SET timezone = 'America/New_York';
SELECT is((SELECT activities_before FROM loyalty.trial_outcomes('long') WHERE member_id = 2050), 3::bigint, 'four days before');
SET timezone = 'UTC';

-- ---- what new members cost ----

SELECT loyalty.configure_program(time_zone => 'Asia/Shanghai') \g /dev/null
INSERT INTO loyalty.member (member_id, joined_at, joined_via) SELECT 3000 + i, '2026-01-01 00:00+08'::timestamptz + i * interval '17 hours', 'live_room' FROM generate_series(0, 39) i;
SELECT loyalty.set_channel_cost('live_room', '2026-01-01 00:00+08', '2026-02-01 00:00+08', 400.00) \g /dev/null
-- 4.00 in the first month of each, 4.50 in the second, 2.70 in the third
SELECT loyalty.record_activity(m.member_id, 'order', m.joined_at + v.after, amount => v.amount) FROM loyalty.member m, (VALUES (interval '1 day', 4.00), ('1 month 1 day', 4.50), ('2 months 2 days', 2.70)) v (after, amount)
WHERE m.joined_via = 'live_room' \g /dev/null
SELECT results_eq(format('SELECT channel, members, cost, cost_per_member, paid_back_after FROM loyalty.acquisition(%L, %L, %L) WHERE channel = %L', '2026-01-01 00:00+08', '2026-02-01 00:00+08', as_of, 'live_room'),
	format('VALUES (%L, 40::bigint, 400.00, 10.00, %L::integer)', 'live_room', after), 'as of ' || as_of)
FROM (VALUES ('2026-06-01 00:00+08', 3), ('2026-03-15 00:00+08', NULL), ('2026-04-01 00:00+08', 3), ('2026-03-31 23:00+08', NULL)) v (as_of, after);
SELECT is((SELECT margin_per_member FROM loyalty.acquisition('2026-01-01 00:00+08', '2026-02-01 00:00+08', '2026-06-01') WHERE channel = 'live_room'), 11.20, 'all they brought');
SELECT is((SELECT (cost_per_member, margin_per_member, paid_back_after) FROM loyalty.acquisition('2026-01-01 00:00+08', '2026-02-01 00:00+08', '2026-06-01', margin => 0.5) WHERE channel = 'live_room'), (10.00, 5.60, NULL::integer), 'half of it is margin');
SELECT loyalty.merge_members(3001, 3000) \g /dev/null
SELECT is((SELECT (members, cost_per_member) FROM loyalty.acquisition('2026-01-01 00:00+08', '2026-02-01 00:00+08', '2026-06-01') WHERE channel = 'live_room'), (39::bigint, 10.26), 'merged members joined once');
SELECT is((SELECT cost FROM loyalty.acquisition('2026-01-01 00:00+08', '2026-01-11 12:00+08', '2026-06-01') WHERE channel = 'live_room'), round(400.00 * 10.5 / 31, 2), 'a part of the period');
SELECT throws_ok($$SELECT loyalty.acquisition('2026-02-01', '2026-01-01')$$, 'LY003', 'a period must be given', 'no period');

-- what is returned lowers the margin from then on
SELECT loyalty.record_return(3005, (SELECT activity_id FROM loyalty.activities(3005, 'order') ORDER BY at LIMIT 1), at => '2026-05-20') \g /dev/null
-- 40 brought 11.20 each, and are 39; 4.00 of it are given back
SELECT is((SELECT margin_per_member FROM loyalty.acquisition('2026-01-01 00:00+08', '2026-02-01 00:00+08', t::timestamptz) WHERE channel = 'live_room'), round(brought / 39, 2), 'as of ' || t)
FROM (VALUES ('2026-05-19', 448.00), ('2026-06-01', 444.00)) v (t, brought);

-- ---- rights, and a snapshot ----

CREATE ROLE trial_reader;
CREATE ROLE trial_app;
SELECT loyalty.grant_access('trial_reader', 'reader'), loyalty.grant_access('trial_app', 'app') \g /dev/null
SET ROLE trial_reader;
SELECT lives_ok($$SELECT loyalty.trial_report('autumn')$$, 'a reader reads');
SELECT lives_ok($$SELECT loyalty.trial_report('later-idle')$$, 'of an audience, too');
SELECT throws_ok($$SELECT loyalty.expose(2, 'now', 'app')$$, '42501', NULL, 'and exposes nobody');
SET ROLE trial_app;
SELECT throws_ok($$SELECT loyalty.define_trial('x', '{}', '2026-01-01', '2026-02-01')$$, '42501', NULL, 'an application defines nothing');
SELECT throws_ok($$SELECT loyalty.set_channel_cost('x', '2026-01-01', '2026-02-01', 1)$$, '42501', NULL, 'nor what anything costs');
SELECT throws_ok($$INSERT INTO loyalty.trial_exposure (member_id, trial, channel, at) VALUES (1, 'now', 'app', now())$$, '42501', NULL, 'and writes into no table');
RESET ROLE;
DROP OWNED BY trial_reader, trial_app;
DROP ROLE trial_reader, trial_app;
SELECT * FROM finish();
