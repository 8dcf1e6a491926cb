-- Room engagement: streaks of members.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok('SELECT loyalty.streak_of(1, ''daily'')', 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'Asia/Kathmandu';
SELECT loyalty.configure_program(time_zone => 'UTC') \g /dev/null

SELECT throws_ok('SELECT loyalty.streak_of(1, ''daily'')', 'LY751', 'there is no streak "daily"', 'no such streak');
SELECT is(loyalty.define_streak('daily', '{"kind": "check_in"}'), 1, 'a streak');
SELECT is(loyalty.define_streak('daily', '{"kind": "check_in"}'), 1, 'the same again is no new version');
SELECT throws_ok($$SELECT loyalty.define_streak('Daily', '{"kind": "check_in"}')$$, 'LY003', NULL, 'a name');
SELECT throws_ok($$SELECT loyalty.define_streak('d', '{}')$$, 'LY752', NULL, 'a definition');
SELECT loyalty.define_streak('counted', '{"kind": "check_in", "counts": true}');
SELECT loyalty.define_streak('repaired', '{"kind": "check_in", "repair_within": "2 days"}');
SELECT loyalty.define_streak('travelled', '{"kind": "check_in", "max_gap": "36 hours"}');
SELECT loyalty.define_streak('weekdays', '{"kind": "check_in", "weekdays": [1, 2, 3, 4, 5, 6], "holidays": "shop"}');

-- a member checks in on days of May 2026, at nine
CREATE PROCEDURE check_in(member_id bigint, VARIADIC days integer[]) LANGUAGE sql AS $$
	SELECT loyalty.record_activity(member_id, 'check_in', (date '2026-04-30' + d)::timestamp AT TIME ZONE 'UTC' + interval '9 hours') FROM unnest(days) d $$;
CREATE FUNCTION state(member_id bigint, streak text, day integer, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(',', s.length, s.longest, CASE WHEN s.alive THEN 'alive' ELSE 'at an end' END, s.freezes_left, to_char(s.due_at AT TIME ZONE 'UTC', 'DD HH24:MI'))
	FROM loyalty.streak_of(member_id, streak, (date '2026-04-30' + day)::timestamp AT TIME ZONE 'UTC' + interval '12 hours', known_at) s $$;
CALL check_in(1, 1, 2, 3, 5, 6);
SELECT is(state(1, c.streak, c.day), c.expected, format('%s as of %s', c.streak, c.day))
FROM (VALUES ('daily', 6, '2,3,alive,0,08 00:00'), ('daily', 7, '2,3,alive,0,08 00:00'), ('daily', 8, '0,3,at an end,0'), ('daily', 2, '2,2,alive,0,04 00:00'),
	('daily', 0, '0,0,at an end,0')) c (streak, day, expected);
-- the last day of a streak is a day
SELECT is((SELECT last_day FROM loyalty.streak_of(1, 'daily', '2026-05-07 12:00Z')), '2026-05-06'::date, 'its last day');
-- freezes, granted when; numbers of members say how many and on which day
CREATE PROCEDURE freeze(member_id bigint, streak text, day integer, quantity integer DEFAULT 1, valid_until timestamptz DEFAULT NULL) LANGUAGE sql AS $$
	SELECT loyalty.grant_freeze(member_id, streak, quantity, NULL, valid_until, (date '2026-04-30' + day)::timestamp AT TIME ZONE 'UTC' + interval '10 hours') $$;
CALL check_in(2, 1, 2, 3, 5, 6); CALL freeze(2, 'daily', 1); CALL freeze(2, 'counted', 1);
CALL check_in(3, 1, 2, 3, 5, 6); CALL freeze(3, 'daily', 1, 2);
CALL check_in(4, 1, 2, 3, 5, 6); CALL freeze(4, 'daily', 4);
CALL check_in(5, 1, 2, 3, 5, 6); CALL freeze(5, 'daily', 5);
CALL check_in(6, 1, 2, 5); CALL freeze(6, 'daily', 1);
CALL check_in(7, 1, 2, 3, 5, 6); CALL freeze(7, 'daily', 1, 1, '2026-05-04 12:00Z');
CALL check_in(8, 1, 2, 3, 5, 6); CALL freeze(8, 'daily', 1, 1, '2026-05-05 00:00Z');
SELECT is(state(c.member_id, c.streak, c.day), c.expected, format('member %s, %s as of %s', c.member_id, c.streak, c.day))
FROM (VALUES (2, 'daily', 6, '5,5,alive,0,08 00:00'), (2, 'counted', 6, '6,6,alive,0,08 00:00'), (2, 'daily', 8, '0,5,at an end,0'),
	(3, 'daily', 8, '5,5,alive,0,09 00:00'), (3, 'daily', 9, '0,5,at an end,0'),
	(4, 'daily', 6, '5,5,alive,0,08 00:00'), (5, 'daily', 6, '2,3,alive,1,08 00:00'),
	(6, 'daily', 3, '2,2,alive,1,04 00:00'), (6, 'daily', 4, '2,2,alive,0,05 00:00'), (6, 'daily', 5, '1,2,alive,0,07 00:00'),
	(7, 'daily', 6, '2,3,alive,0,08 00:00'), (8, 'daily', 6, '5,5,alive,0,08 00:00')) c (member_id, streak, day, expected);
-- late: day 4 took the freeze, day 7 ended it; then day 4 is told
CALL check_in(9, 1, 2, 3, 5, 6, 8); CALL freeze(9, 'daily', 1); CALL freeze(9, 'counted', 1);
SELECT is(state(9, 'daily', 8), '1,5,alive,0,10 00:00', 'day 7 was one too many');
SELECT clock_timestamp() AS before_that \gset
CALL check_in(9, 4);
SELECT is(state(9, c.streak, 8, c.known_at), c.expected, c.what)
FROM (VALUES ('daily', NULL::timestamptz, '7,7,alive,0,10 00:00', 'day 4 gives its freeze back, and day 7 has it'), ('counted', NULL, '8,8,alive,0,10 00:00', 'which counts'),
	('daily', :'before_that', '1,5,alive,0,10 00:00', 'it was not known before')) c (streak, known_at, expected, what);
-- a return of what counted is none
SELECT loyalty.revise_activity(9, (SELECT activity_id FROM loyalty.activities(9, 'check_in') WHERE local_day = '2026-05-04'), cancelled => true) \g /dev/null
SELECT is(state(9, 'daily', 8), '1,5,alive,0,10 00:00', 'and not once it is taken back');
-- repairs
CALL check_in(10, 1, 2, 4);
SELECT throws_ok(format($$SELECT loyalty.grant_freeze(10, 'repaired', for_day => %L, at => %L)$$, c.day, c.at), 'LY003', 'day ' || c.day || ' cannot be repaired', c.what)
FROM (VALUES ('2026-05-03', '2026-05-06 00:01Z', 'too late'), ('2026-05-04', '2026-05-04 12:00Z', 'not over')) c (day, at, what);
SELECT throws_ok($$SELECT loyalty.grant_freeze(10, 'daily', for_day => '2026-05-03', at => '2026-05-04 12:00Z')$$, 'LY003', NULL, 'where there are no repairs');
SELECT is((SELECT replayed FROM loyalty.grant_freeze(10, 'repaired', for_day => '2026-05-03', at => '2026-05-06 00:00Z', idempotency_key => 'r')), false, 'a repair');
SELECT is((SELECT replayed FROM loyalty.grant_freeze(10, 'repaired', for_day => '2026-05-03', at => '2026-05-06 00:00Z', idempotency_key => 'r')), true, 'once');
SELECT is((SELECT length FROM loyalty.streak_of(10, 'repaired', c.at::timestamptz)), c.length, c.at)
FROM (VALUES ('2026-05-04 12:00Z', 1), ('2026-05-05 23:59Z', 1), ('2026-05-06 00:00Z', 0)) c (at, length);
SELECT is((SELECT length FROM loyalty.streak_of(11, 'repaired', '2026-05-05 12:00Z')), 0, 'nobody');
SELECT is(state(10, 'repaired', 5), '1,2,alive,0,06 00:00', 'before it was repaired');
CALL check_in(10, 5, 6);
SELECT is(state(10, 'repaired', 6), '5,5,alive,0,08 00:00', 'and after');
SELECT throws_ok(format('SELECT loyalty.grant_freeze(%s)', c.arguments), c.state, NULL, c.arguments)
FROM (VALUES ('NULL, ''daily''', 'LY003'), ('1, ''daily'', 0', 'LY003'), ('1, ''none''', 'LY751'), ('1, NULL', 'LY751'),
	($$1, 'daily', at => 'infinity'$$, 'LY003'), ($$1, 'daily', valid_until => '2020-01-01'$$, 'LY003'), ($$1, 'repaired', 2, '2026-05-03'$$, 'LY003')) c (arguments, state);

-- zones: days of the zone in which it was recorded
CREATE PROCEDURE seen(member_id bigint, at timestamptz, zone text) LANGUAGE sql AS $$SELECT loyalty.record_activity(member_id, 'check_in', at, time_zone => zone)$$;
CALL seen(20, '2026-03-28 23:30Z', 'Europe/Berlin'); CALL seen(20, '2026-03-29 22:30Z', 'Europe/Berlin'); CALL seen(20, '2026-03-30 21:59Z', 'Europe/Berlin');
SELECT is((SELECT length FROM loyalty.streak_of(20, 'daily', '2026-03-30 21:59:30Z')), 2, 'a day of 23 hours');
CALL seen(21, '2026-10-24 22:30Z', 'Europe/Berlin'); CALL seen(21, '2026-10-25 22:59Z', 'Europe/Berlin'); CALL seen(21, '2026-10-25 23:01Z', 'Europe/Berlin');
SELECT is((SELECT length FROM loyalty.streak_of(21, 'daily', '2026-10-26 12:00Z')), 2, 'a day of 25 hours');
-- Tokyo on 1 May 23:30, then Los Angeles on 1 May 20:00
CALL seen(22, '2026-05-01 23:30+09', 'Asia/Tokyo');
SELECT is((SELECT (alive, last_day, due_at AT TIME ZONE 'UTC')::text FROM loyalty.streak_of(22, 'daily', '2026-05-02 05:00Z')), '(t,2026-05-01,"2026-05-02 15:00:00")', 'whose today');
CALL seen(22, '2026-05-01 20:00-07', 'America/Los_Angeles');
SELECT is((SELECT length FROM loyalty.streak_of(22, 'daily', '2026-05-02 04:00Z')), 1, 'west a day comes twice, and counts once');
CALL seen(22, '2026-05-02 12:00-07', 'America/Los_Angeles');
SELECT is((SELECT length FROM loyalty.streak_of(22, 'daily', '2026-05-02 20:00Z')), 2, 'then the next');
CALL seen(23, '2026-05-01 20:00-07', 'America/Los_Angeles'); CALL seen(23, '2026-05-03 09:00+09', 'Asia/Tokyo');
CALL seen(24, '2026-05-01 23:59+02', 'Europe/Berlin'); CALL seen(24, '2026-05-03 00:01+02', 'Europe/Berlin');
SELECT is((SELECT length FROM loyalty.streak_of(c.member_id, c.streak, c.at::timestamptz)), c.length, c.what)
FROM (VALUES (23, 'daily', '2026-05-03 02:00Z', 1, 'east a day is lost'), (23, 'travelled', '2026-05-03 02:00Z', 2, 'but for who allows for travel'),
	(24, 'daily', '2026-05-03 12:00Z', 1, 'a day missed at home'), (24, 'travelled', '2026-05-03 12:00Z', 1, 'is missed')) c (member_id, streak, at, length, what);
-- a day on the way that was not missed adds 1: Tokyo on 3 May, then Los Angeles, where it was the 2nd, then Tokyo on the 4th
SELECT loyalty.record_activity(17, 'check_in', c.at::timestamptz, time_zone => c.zone)
FROM (VALUES ('2026-05-03 00:00Z', 'Asia/Tokyo'), ('2026-05-03 01:00Z', 'America/Los_Angeles'), ('2026-05-04 03:00Z', 'Asia/Tokyo')) c (at, zone) \g /dev/null
SELECT is((SELECT length || ' ' || longest FROM loyalty.streak_of(17, 'travelled', '2026-05-04 05:00Z')), '3 3', 'Los Angeles on 2 May, Tokyo on 3 and 4 May');
-- freezes that are left could save the period of then: this one lapses on a Thursday
SELECT loyalty.define_streak('by_weeks', '{"kind": "check_in", "period": "week"}') \g /dev/null
SELECT loyalty.record_activity(18, 'check_in', '2026-05-05 12:00Z'), loyalty.grant_freeze(18, 'by_weeks', 1, NULL, '2026-05-14 12:00Z', '2026-05-05 12:00Z') \g /dev/null
SELECT is((SELECT array_agg(freezes_left ORDER BY d) FROM unnest('{2026-05-08,2026-05-12}'::date[]) d, loyalty.streak_of(18, 'by_weeks', d + time '12:00' AT TIME ZONE 'UTC')), '{1,0}', 'of this week, and not of the next');
-- days that do not count
CALL check_in(25, 1, 2, 4); CALL check_in(26, 1, 2, 5);
SELECT loyalty.define_holidays('shop', '{2026-05-04}') \g /dev/null
SELECT is(state(26, 'weekdays', 5), '3,3,alive,0,07 00:00', 'over Sunday and a holiday');
SELECT loyalty.define_holidays('shop', '{}') \g /dev/null
SELECT is(state(25, 'weekdays', 4), '3,3,alive,0,06 00:00', 'over Sunday');
SELECT is(state(26, 'weekdays', 5), '1,2,alive,0,07 00:00', 'where there was no holiday');

-- months, with so many orders and so much money in each
SELECT loyalty.define_streak('monthly', '{"kind": "order", "period": "month", "at_least": 2, "amount": 50, "money": "EUR"}');
SELECT loyalty.record_activity(30, 'order', c.at::timestamptz, amount => c.amount, money => c.money)
FROM (VALUES ('2026-01-05', 40, 'EUR'), ('2026-01-06', 10, 'EUR'), ('2026-02-05', 60, 'EUR'), ('2026-03-05', 30, 'EUR'), ('2026-03-06', 30, 'EUR'), ('2026-04-01', 30, 'EUR'), ('2026-04-02', 30, 'USD')) c (at, amount, money) \g /dev/null
SELECT is((SELECT (length, longest, last_day, due_at AT TIME ZONE 'UTC')::text FROM loyalty.streak_of(30, 'monthly', '2026-04-30 12:00Z')), '(1,1,2026-03-01,"2026-05-01 00:00:00")',
	'two orders of at least 50 in a month');

-- merged members: their days are united, their freezes are one's; unmerged they are apart again
CALL check_in(40, 1, 3); CALL check_in(41, 2, 4);
INSERT INTO loyalty.member (member_id) SELECT generate_series(40, 41);
SELECT merge_id FROM loyalty.merge_members(40, 41) \gset
SELECT is(state(41, 'daily', 4), '4,4,alive,0,06 00:00', 'merged');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(state(40, 'daily', 4) || ' ' || state(41, 'daily', 4), '1,1,alive,0,05 00:00 1,1,alive,0,06 00:00', 'and not');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
