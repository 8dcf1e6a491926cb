-- Room engagement: badges and challenges.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 60);

SELECT loyalty.define_badge('regular', '{"kind": "check_in", "levels": [1, 5, 25]}') \g /dev/null
SELECT loyalty.define_badge('spender', '{"kind": "order", "measure": "amount", "levels": [100], "revocable": true}') \g /dev/null
SELECT loyalty.define_badge('buyer', '{"kind": "order", "levels": [1, 2]}') \g /dev/null
SELECT loyalty.define_badge('founder', '{}') \g /dev/null
CREATE PROCEDURE check_in(member_id bigint, VARIADIC days integer[]) LANGUAGE sql AS $$
	SELECT loyalty.record_activity(member_id, 'check_in', (date '2026-04-30' + d)::timestamp AT TIME ZONE 'UTC' + interval '9 hours') FROM unnest(days) d $$;
CREATE FUNCTION held(member_id bigint, badge text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(b.level || ' on ' || to_char(b.earned_at AT TIME ZONE 'UTC', 'FMDD FMMon'), ', ' ORDER BY b.level), 'none')
	FROM loyalty.badges(member_id, as_of, known_at) b WHERE b.badge = held.badge $$;

-- check-ins on 1, 2, 8, 10 May, and then one on 3 May
CALL check_in(1, 1, 2, 8, 10);
SELECT is(held(1, 'regular'), '1 on 1 May', 'four');
SELECT clock_timestamp() AS before_that \gset
CALL check_in(1, 3);
SELECT is(held(1, 'regular', c.as_of, c.known_at), c.expected, c.what)
FROM (VALUES (NULL::timestamptz, NULL::timestamptz, '1 on 1 May, 2 on 10 May', 'the fifth by its instant'), (NULL, :'before_that', '1 on 1 May', 'as known before'),
	('2026-05-09Z', NULL, '1 on 1 May', 'as of the day before'), ('2026-05-10 09:00Z', NULL, '1 on 1 May, 2 on 10 May', 'at the instant'), ('2026-04-30Z', NULL, 'none', 'at the beginning')) c (as_of, known_at, expected, what);
CALL check_in(1, 4);
SELECT is(held(1, 'regular'), '1 on 1 May, 2 on 8 May', 'a late one moves it to an earlier instant');
SELECT loyalty.revise_activity(1, activity_id, cancelled => true) FROM loyalty.activities(1, 'check_in') WHERE local_day IN ('2026-05-01', '2026-05-02') \g /dev/null
SELECT is(held(1, 'regular'), '1 on 1 May, 2 on 8 May', 'what was promised stays');

-- revocable: lost from the return on
SELECT activity_id AS a FROM loyalty.record_activity(2, 'order', '2026-05-01Z', amount => 120) \gset
SELECT is(held(2, 'spender') || '; ' || held(2, 'buyer'), '1 on 1 May; 1 on 1 May', 'an order');
SELECT loyalty.record_return(2, :a, amount => 30, at => '2026-05-06Z') \g /dev/null
SELECT is(held(2, 'spender', c.as_of) , c.expected, c.as_of::text)
FROM (VALUES ('2026-05-05Z'::timestamptz, '1 on 1 May'), ('2026-05-06Z', 'none'), (NULL, 'none')) c (as_of, expected);
SELECT is(held(2, 'buyer'), '1 on 1 May', 'the other one is kept');
SELECT loyalty.record_activity(2, 'order', '2026-05-07Z', amount => 10) \g /dev/null
SELECT is(held(2, 'spender') || '; ' || held(2, 'buyer'), '1 on 7 May; 1 on 1 May, 2 on 7 May', 'and earned anew by another');
SELECT activity_id AS a FROM loyalty.record_activity(7, 'order', '2026-05-01Z', amount => 120) \gset
SELECT is(held(7, 'spender'), '1 on 1 May', 'an order');
SELECT loyalty.revise_activity(7, :a, cancelled => true) \g /dev/null
SELECT is(held(7, 'spender') || '; ' || held(7, 'spender', '2026-05-02Z'), 'none; none', 'an order that never was gave nothing');

-- by a streak
SELECT loyalty.define_streak('daily', '{"kind": "check_in"}') \g /dev/null
SELECT loyalty.define_badge('faithful', '{"streak": "daily", "levels": [3, 7]}') \g /dev/null
CALL check_in(3, 1, 2, 4, 5, 6);
SELECT is(held(3, 'faithful'), '1 on 6 May', 'three days in a row');
CALL check_in(3, 3);
SELECT is(held(3, 'faithful'), '1 on 3 May', 'told late, earlier');
-- different days
SELECT loyalty.define_badge('days', '{"kind": "game", "measure": "days", "levels": [2]}') \g /dev/null
SELECT loyalty.record_activity(4, 'game', c.at::timestamptz) FROM (VALUES ('2026-05-01 01:00Z'), ('2026-05-01 02:00Z'), ('2026-05-02 03:00Z')) c (at) \g /dev/null
SELECT is(held(4, 'days'), '1 on 2 May', 'two days, not two games');
-- with a condition
SELECT loyalty.define_badge('app', '{"kind": ["game", "order"], "when": {"channel": ["app"]}, "levels": [2]}') \g /dev/null
SELECT loyalty.record_activity(5, c.kind, c.at::timestamptz, channel => c.channel)
FROM (VALUES ('game', '2026-05-01', 'app'), ('order', '2026-05-02', 'store'), ('order', '2026-05-03', 'app')) c (kind, at, channel) \g /dev/null
SELECT is((SELECT earned_at FROM loyalty.badges(5) WHERE badge = 'app'), '2026-05-03'::timestamptz, 'two in the app');

-- given and taken
SELECT is((SELECT replayed FROM loyalty.give_badge(6, 'founder', at => '2026-05-01Z', idempotency_key => 'f')), false, 'given');
SELECT is((SELECT replayed FROM loyalty.give_badge(6, 'founder', at => '2026-05-01Z', idempotency_key => 'f')), true, 'once');
SELECT is((SELECT replayed FROM loyalty.take_badge(6, 'founder', at => '2026-05-05Z')), false, 'and taken');
SELECT is(held(6, 'founder', '2026-05-04Z') || ', ' || held(6, 'founder'), '1 on 1 May, none', 'from then on');
-- once more, twice, and once taken; taken before it was given; before it was ever given
SELECT loyalty.give_badge(6, 'founder', at => '2026-05-10Z'), loyalty.give_badge(6, 'founder', at => '2026-05-11Z') \g /dev/null
SELECT is(held(6, 'founder', '2026-05-11Z') || ', ' || held(6, 'founder', '2026-05-04Z'), '1 on 10 May, 1 on 1 May', 'held since it was given again');
SELECT is((SELECT replayed FROM loyalty.take_badge(6, 'founder', at => '2026-05-10 12:00Z')), false, 'taken late, before the second time');
SELECT is(held(6, 'founder'), '1 on 11 May', 'what is given later stays');
SELECT is((SELECT replayed FROM loyalty.take_badge(6, 'founder', at => '2026-05-12Z')), false, 'taken');
SELECT is(held(6, 'founder'), 'none', 'all of it');
SELECT throws_ok(c.call, c.state, NULL, c.call)
FROM (VALUES ($$SELECT loyalty.take_badge(6, 'founder', at => '2026-04-01Z')$$, 'LY003'), ($$SELECT loyalty.take_badge(6, 'founder')$$, 'LY003'), ($$SELECT loyalty.give_badge(6, 'none')$$, 'LY751'), ($$SELECT loyalty.give_badge(NULL, 'founder')$$, 'LY003'),
	($$SELECT loyalty.give_badge(6, 'founder', 0)$$, 'LY003'), ($$SELECT loyalty.take_badge(1, 'regular')$$, 'LY003')) c (call, state);
-- a version that asks more leaves what was earned; one that comes later is earned with the next activity, or when it is refreshed
SELECT loyalty.define_badge('regular', '{"kind": "check_in", "levels": [10]}') \g /dev/null
CALL check_in(1, 12);
SELECT is(held(1, 'regular'), '1 on 1 May, 2 on 8 May', 'a later version asks more');
SELECT loyalty.define_badge('late', '{"kind": "check_in", "levels": [3]}') \g /dev/null
SELECT is(held(1, 'late'), 'none', 'defined later');
SELECT loyalty.refresh_engagement(1) \g /dev/null
SELECT is(held(1, 'late'), '1 on 8 May', 'and refreshed');

-- merged members earn together what neither has alone, and have it no more apart
CALL check_in(10, 1, 3); CALL check_in(11, 2);
SELECT merge_id FROM loyalty.merge_members(10, 11) \gset
SELECT is(held(11, 'late'), '1 on 3 May', 'together');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(held(10, 'late') || ' ' || held(11, 'late'), 'none none', 'and apart');
SELECT merge_id FROM loyalty.merge_members(10, 3) \gset
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(held(10, 'late') || ' ' || held(3, 'late') || ' ' || held(3, 'faithful'), 'none 1 on 3 May 1 on 3 May', 'what one had alone it keeps');

-- what one earned alone, and kept when it was undone, is no affair of a merge
SELECT loyalty.define_badge('reader', '{"kind": "review", "levels": [1, 2]}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(44, 'review', '2026-05-05Z') \gset
SELECT loyalty.revise_activity(44, :a, cancelled => true), loyalty.record_activity(45, 'review', '2026-05-03Z'), loyalty.record_activity(45, 'review', '2026-05-04Z') \g /dev/null
SELECT merge_id FROM loyalty.merge_members(44, 45) \gset
SELECT loyalty.record_activity(44, 'review', '2026-05-02Z') \g /dev/null
SELECT is((SELECT array_agg(level || ' ' || (earned_at AT TIME ZONE 'UTC')::date ORDER BY level) FROM loyalty.badges(44) WHERE badge = 'reader'), '{"1 2026-05-02","2 2026-05-03"}', 'together');
SELECT loyalty.revise_activity(44, (SELECT activity_id FROM loyalty.activities(44, 'review') WHERE local_day = '2026-05-02'), cancelled => true) \g /dev/null
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((SELECT array_agg(level || ' ' || (earned_at AT TIME ZONE 'UTC')::date ORDER BY level) FROM loyalty.badges(44) WHERE badge = 'reader'), '{"1 2026-05-05"}', 'what it had before');
SELECT is((SELECT array_agg(level || ' ' || (earned_at AT TIME ZONE 'UTC')::date ORDER BY level) FROM loyalty.badges(45) WHERE badge = 'reader'), '{"1 2026-05-03","2 2026-05-04"}', 'and the other');
-- nor what it earned alone before it joined those whom another merge had joined, when that is undone
SELECT merge_id AS first FROM loyalty.merge_members(56, 57) \gset
SELECT activity_id AS a FROM loyalty.record_activity(58, 'review', '2026-05-06Z') \gset
SELECT loyalty.revise_activity(58, :a, cancelled => true) \g /dev/null
SELECT merge_id FROM loyalty.merge_members(58, 56) \gset
SELECT loyalty.record_activity(57, 'review', '2026-05-01Z'), loyalty.record_activity(58, 'review', '2026-05-09Z') \g /dev/null
SELECT is((SELECT array_agg(level || ' ' || (earned_at AT TIME ZONE 'UTC')::date ORDER BY level) FROM loyalty.badges(57) WHERE badge = 'reader'), '{"1 2026-05-01","2 2026-05-09"}', 'the three of them');
SELECT loyalty.unmerge_members(:first) \g /dev/null
SELECT is((SELECT array_agg(level || ' ' || (earned_at AT TIME ZONE 'UTC')::date ORDER BY level) FROM loyalty.badges(58) WHERE badge = 'reader'), '{"1 2026-05-06"}', 'without one of the first two: as before');
SELECT is((SELECT array_agg(level || ' ' || (earned_at AT TIME ZONE 'UTC')::date ORDER BY level) FROM loyalty.badges(57) WHERE badge = 'reader'), '{"1 2026-05-01"}', 'who has its own');
-- challenges: five check-ins in May
SELECT loyalty.create_currency('stars') \g /dev/null
SELECT loyalty.define_campaign('prize', '{"on": ["challenge"], "then": [{"points": 100, "currency": "stars"}]}', effective_from => '2026-01-01Z') \g /dev/null
SELECT loyalty.define_challenge('may', '{"kind": "check_in", "target": 5, "from": "2026-05-01", "until": "2026-06-01", "times": 2}') \g /dev/null
CREATE FUNCTION state(member_id bigint, challenge text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s of %s until %s, %s times, last on %s', trim_scale(p.have), trim_scale(p.needed), to_char(p.due_at AT TIME ZONE 'UTC', 'FMDD FMMon'), p.times,
		to_char(p.completed_at AT TIME ZONE 'UTC', 'FMDD FMMon'))
	FROM loyalty.progress(member_id, challenge, as_of, known_at) p $$;
CALL check_in(20, 1, 2, 3, 8);
SELECT is(state(20, 'may'), '4 of 5 until 1 Jun, 0 times, last on ', 'four of five');
CALL check_in(20, 31);
SELECT is(state(20, 'may') || '; ' || (loyalty.balance(20, 'stars')).available, '5 of 5 until 1 Jun, 1 times, last on 31 May; 100', 'completed, and rewarded');
CALL check_in(20, 32);
SELECT is(state(20, 'may'), '5 of 5 until 1 Jun, 1 times, last on 31 May', 'June is too late');
SELECT is(state(20, 'may', '2026-05-04'), '3 of 5 until 1 Jun, 0 times, last on ', 'as of then');
SELECT loyalty.revise_activity(20, activity_id, cancelled => true) FROM loyalty.activities(20, 'check_in') WHERE local_day = '2026-05-02' \g /dev/null
SELECT is(state(20, 'may') || '; ' || (loyalty.balance(20, 'stars')).available, '4 of 5 until 1 Jun, 0 times, last on ; 0', 'undone, and taken back');
CALL check_in(20, 4, 5, 6, 7, 9, 10);
SELECT is(state(20, 'may') || '; ' || (loyalty.balance(20, 'stars')).available, '10 of 5 until 1 Jun, 2 times, last on 31 May; 200', 'twice');
SELECT is((SELECT array_agg(external_id || ' on ' || to_char(at AT TIME ZONE 'UTC', 'FMDD') ORDER BY external_id) FROM loyalty.activities(20, 'challenge') WHERE NOT cancelled),
	'{"may 1 1 on 6","may 1 2 on 31"}', 'each has its activity, at its instant');
-- anew each week, by the amount
SELECT loyalty.define_challenge('weekly', '{"kind": "order", "measure": "amount", "target": 50, "period": "week"}') \g /dev/null
SELECT loyalty.record_activity(21, 'order', c.at::timestamptz, amount => c.amount)
FROM (VALUES ('2026-05-04 12:00Z', 30), ('2026-05-10 12:00Z', 20), ('2026-05-11 12:00Z', 60), ('2026-05-18 12:00Z', 49.99)) c (at, amount) \g /dev/null
SELECT is(state(21, 'weekly', c.as_of), c.expected, c.as_of::text)
FROM (VALUES ('2026-05-09 12:00Z'::timestamptz, '30 of 50 until 11 May, 0 times, last on '), ('2026-05-10 12:00Z', '50 of 50 until 11 May, 1 times, last on 10 May'),
	('2026-05-12 12:00Z', '60 of 50 until 18 May, 1 times, last on 11 May'), ('2026-05-20 12:00Z', '49.99 of 50 until 25 May, 0 times, last on '),
	('2026-05-26 12:00Z', '0 of 50 until 1 Jun, 0 times, last on ')) c (as_of, expected);
SELECT is((loyalty.balance(21, 'stars')).available, 200::bigint, 'two weeks');
-- by enrolment, for a week
SELECT loyalty.define_challenge('sprint', '{"kind": "check_in", "measure": "days", "target": 3, "enrol": true, "within": "7 days"}') \g /dev/null
SELECT throws_ok($$SELECT loyalty.progress(22, 'sprint')$$, 'LY753', 'member 22 is not enrolled in challenge "sprint"', 'not enrolled');
SELECT throws_ok($$SELECT loyalty.enrol(22, 'may')$$, 'LY003', NULL, 'where everybody takes part');
CALL check_in(22, 1, 2, 3);
SELECT entry_id AS e, until_at FROM loyalty.enrol(22, 'sprint', '2026-05-03 08:00Z', 'e') \gset
SELECT is(:'until_at'::timestamptz, '2026-05-10 08:00Z', 'enrolled for a week');
SELECT is((SELECT (entry_id, replayed)::text FROM loyalty.enrol(22, 'sprint', '2026-05-03 08:00Z', 'e')), format('(%s,t)', :e), 'once');
SELECT is((SELECT entry_id FROM loyalty.enrol(22, 'sprint', '2026-05-05 08:00Z')), :e::bigint, 'who is in it is in it');
SELECT is(state(22, 'sprint', '2026-05-04'), '1 of 3 until 10 May, 0 times, last on ', 'what comes after it counts, also where it is known already');
CALL check_in(22, 4, 10, 11);
SELECT is(state(22, 'sprint'), '2 of 3 until 10 May, 0 times, last on ', 'and nothing after the week');
CALL check_in(22, 5);
SELECT is(state(22, 'sprint'), '3 of 3 until 10 May, 1 times, last on 5 May', 'three days');
SELECT isnt((SELECT entry_id FROM loyalty.enrol(22, 'sprint', '2026-05-12Z')), :e::bigint, 'and again');
SELECT is(state(22, 'sprint', '2026-05-12Z'), '0 of 3 until 19 May, 0 times, last on ', 'from nothing');
-- who is in it is in it, in whichever order that is told, and for both numbers of a merged member: one activity counts once
SELECT loyalty.define_challenge('told_late', '{"kind": "survey", "target": 1, "enrol": true, "within": "7 days", "time_zone": "UTC"}') \g /dev/null
SELECT loyalty.enrol(47, 'told_late', '2026-05-04Z') \g /dev/null
SELECT loyalty.record_activity(47, 'survey', '2026-05-05 12:00Z') \g /dev/null
SELECT is((SELECT array_agg((at AT TIME ZONE 'UTC')::text || cancelled) FROM loyalty.activities(47, 'challenge')), '{"2026-05-05 12:00:00false"}', 'completed');
SELECT is((SELECT until_at AT TIME ZONE 'UTC' FROM loyalty.enrol(47, 'told_late', '2026-05-01Z')), '2026-05-08'::timestamp, 'it was in it before');
SELECT is((SELECT array_agg(cancelled ORDER BY cancelled) FROM loyalty.activities(47, 'challenge')), '{f,t}', 'completed once');
SELECT is((SELECT (p.have, p.due_at AT TIME ZONE 'UTC', p.times)::text FROM loyalty.progress(47, 'told_late', '2026-05-06Z') p), '(1,"2026-05-08 00:00:00",1)', 'from its first enrolment on');
SELECT is((SELECT until_at AT TIME ZONE 'UTC' FROM loyalty.enrol(47, 'told_late', '2026-05-09Z')), '2026-05-16'::timestamp, 'which is over on the 8th');
SELECT is((SELECT p.have FROM loyalty.progress(47, 'told_late', '2026-05-10Z') p), 0::numeric, 'a new round');
SELECT loyalty.enrol(48, 'told_late', '2026-05-02Z'), loyalty.enrol(49, 'told_late', '2026-05-03Z'), loyalty.record_activity(49, 'survey', '2026-05-05 12:00Z') \g /dev/null
SELECT merge_id FROM loyalty.merge_members(48, 49) \gset
SELECT is((SELECT count(*) FROM loyalty.activities(48, 'challenge') WHERE NOT cancelled), 1::bigint, 'merged: once');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.activities(49, 'challenge') WHERE NOT cancelled) || ' ' || (SELECT count(*) FROM loyalty.activities(48, 'challenge') WHERE NOT cancelled), '1 0', 'and apart');
-- merged: both have completed it, one reward stands; unmerged both do
CALL check_in(23, 1, 2, 3, 4, 5); CALL check_in(24, 1, 2, 3, 4, 6);
SELECT is((loyalty.balance(23, 'stars')).available + (loyalty.balance(24, 'stars')).available, 200::bigint, 'two members');
SELECT merge_id FROM loyalty.merge_members(23, 24) \gset
SELECT is((SELECT count(*) FROM loyalty.activities(23, 'challenge') WHERE NOT cancelled), 2::bigint, 'ten check-ins are two completions');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((loyalty.balance(23, 'stars')).available || ' ' || (loyalty.balance(24, 'stars')).available, '100 100', 'and one each apart');
-- what begins later asks for nothing yet, and stops nothing
SELECT loyalty.define_badge('ahead', '{"kind": "game", "levels": [1]}', now() + interval '1 day'), loyalty.define_challenge('ahead', '{"kind": "game", "target": 1}', now() + interval '1 day'),
	loyalty.define_streak('ahead', '{"kind": "game"}', now() + interval '1 day') \g /dev/null
SELECT loyalty.define_badge('ahead_streak', '{"streak": "ahead", "levels": [1], "revocable": true}') \g /dev/null
SELECT lives_ok($$SELECT loyalty.record_activity(30, 'game', '2026-05-01Z')$$, 'an activity of which something is announced');
SELECT is((SELECT count(*) FROM loyalty.badges(30)), 0::bigint, 'earns nothing of it');
SELECT throws_ok($$SELECT loyalty.define_badge('streakless', '{"streak": "none", "levels": [1]}')$$, 'LY751', 'there is no streak "none"', 'a streak that there is not');
-- a round goes by the version with which it began
SELECT loyalty.define_challenge('monthly', '{"kind": "review", "target": 2, "period": "month"}') \g /dev/null
SELECT loyalty.record_activity(31, 'review', c.at::timestamptz) FROM (VALUES ('2026-05-03 12:00Z'), ('2026-05-04 12:00Z')) c (at) \g /dev/null
SELECT loyalty.define_challenge('monthly', '{"kind": "review", "target": 3, "period": "month"}', '2026-06-01Z') \g /dev/null
SELECT loyalty.record_activity(31, 'review', c.at::timestamptz) FROM (VALUES ('2026-06-03 12:00Z'), ('2026-06-04 12:00Z')) c (at) \g /dev/null
SELECT is(state(31, 'monthly', '2026-05-20Z') || '; ' || state(31, 'monthly', '2026-06-20Z') || '; ' || (loyalty.balance(31, 'stars')).available,
	'2 of 2 until 1 Jun, 1 times, last on 4 May; 2 of 3 until 1 Jul, 0 times, last on ; 100', 'May keeps what it paid, June asks for more');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
