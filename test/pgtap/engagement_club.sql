-- Room engagement: clubs and journeys.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 60);
CREATE FUNCTION day(d integer, hours integer DEFAULT 12) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$SELECT (date '2026-04-30' + d)::timestamp AT TIME ZONE 'UTC' + hours * interval '1 hour'$$;

-- in, out, in
SELECT loyalty.define_club('runners', '{}') \g /dev/null
SELECT loyalty.define_board('runners_may', '{"kind": "order", "measure": "amount", "period": "month", "time_zone": "UTC", "club": "runners"}') \g /dev/null
SELECT throws_ok($$SELECT loyalty.join_club(1, 'none')$$, 'LY751', NULL, 'no such club');
SELECT throws_ok($$SELECT loyalty.leave_club(1, 'runners')$$, 'LY759', NULL, 'not in it');
SELECT is((SELECT j::text FROM loyalty.join_club(1, 'runners', day(1, 0), 'k') j), '(in,,f)', 'joined');
SELECT is((SELECT j::text FROM loyalty.join_club(1, 'runners', day(1, 0), 'k') j), '(in,,t)', 'once');
SELECT loyalty.record_activity(1, 'order', day(5), amount => 100) \g /dev/null
SELECT is((loyalty.rank_on('runners_may', 1, period_start => '2026-05-01')).score, 100::numeric, 'ranked');
SELECT loyalty.leave_club(1, 'runners', day(10, 0), 'too far') \g /dev/null
SELECT loyalty.record_activity(1, 'order', day(15), amount => 100) \g /dev/null
SELECT is((loyalty.rank_on('runners_may', 1, period_start => '2026-05-01')).score, NULL, 'not ranked');
SELECT clock_timestamp() AS outside \gset
SELECT loyalty.join_club(1, 'runners', day(20, 0)) \g /dev/null
SELECT loyalty.record_activity(1, 'order', day(25), amount => 100) \g /dev/null
SELECT is((loyalty.rank_on('runners_may', 1, c.as_of, '2026-05-01')).score, c.score, c.what)
FROM (VALUES (day(9), 100::numeric, 'as of 9 May'), (day(12), NULL, 'as of 12 May'), (day(26), 200, 'as of 26 May'), (NULL, 200, 'now')) c (as_of, score, what);
SELECT is((loyalty.rank_on('runners_may', 1, day(26), '2026-05-01', known_at => :'outside')).score, NULL, 'it was not known to have come back');
SELECT is((SELECT f::text FROM loyalty.club_figures('runners', '2026-05-01Z', '2026-06-01Z', time_zone => 'UTC') f), '(2026-05-01,1,1,1,1,2,200)', 'the figures of May');
SELECT is((SELECT array_agg(c ORDER BY d) FROM unnest('{1,9,10,12,20}'::integer[]) d, LATERAL (SELECT count(*) AS c FROM loyalty.clubs(1, day(d, 1))) x), '{1,1,0,0,1}', 'in, out, in');
SELECT is((SELECT count(*) FROM loyalty.activities(1, 'club')), 2::bigint, 'joining is an activity');
SELECT throws_ok($$SELECT loyalty.leave_club(1, 'runners', day(19))$$, 'LY003', NULL, 'acts are told in their order');
-- the last place
SELECT loyalty.define_club('small', '{"capacity": 2}') \g /dev/null
SELECT is(string_agg(concat_ws(' ', j.status, j.why), ', ' ORDER BY m), 'in, in, refused full', 'two places') FROM generate_series(2, 4) m, loyalty.join_club(m, 'small', day(1)) j;
SELECT loyalty.leave_club(2, 'small', day(2)) \g /dev/null
SELECT is((SELECT status FROM loyalty.join_club(4, 'small', day(3))), 'in', 'one left');
SELECT is(ARRAY(SELECT loyalty.club_members('small')), '{3,4}', 'the members');
SELECT is(loyalty.define_club('small', '{"capacity": 3}'), 2, 'a larger one');
SELECT is((SELECT status FROM loyalty.join_club(5, 'small', day(3))), 'in', 'has place');
SELECT throws_ok($$SELECT loyalty.define_club('small', '{}')$$, 'LY752', NULL, 'with or without');
-- by invitation, by approval; bans
SELECT loyalty.define_club('invited', '{"join": "invitation"}'), loyalty.define_club('asked', '{"join": "approval", "capacity": 1}') \g /dev/null
SELECT is((SELECT concat_ws(' ', status, why) FROM loyalty.join_club(6, 'invited')), 'refused not invited', 'not invited');
SELECT loyalty.club_act(6, 'invited', 'invite') \g /dev/null
SELECT is((SELECT status FROM loyalty.join_club(6, 'invited')), 'in', 'invited');
SELECT is((SELECT status FROM loyalty.join_club(6, 'asked')), 'asked', 'asked');
SELECT loyalty.club_act(6, 'asked', 'approve') \g /dev/null
SELECT is((SELECT array_agg(club || ' ' || role) FROM loyalty.clubs(6)), '{"asked member","invited member"}', 'approved');
SELECT throws_ok($$SELECT loyalty.club_act(7, 'asked', 'approve')$$, 'LY758', 'club "asked" is full', 'full');
SELECT loyalty.club_act(6, 'asked', 'promote', role => 'host') \g /dev/null
SELECT is((SELECT role FROM loyalty.clubs(6) WHERE club = 'asked'), 'host', 'promoted');
SELECT loyalty.club_act(6, 'asked', 'ban', 'rude') \g /dev/null
SELECT is((SELECT concat_ws(' ', status, why) FROM loyalty.join_club(6, 'asked')), 'refused banned', 'banned');
SELECT loyalty.club_act(7, 'asked', 'approve') \g /dev/null
SELECT loyalty.club_act(6, 'asked', 'lift') \g /dev/null
SELECT is((SELECT status FROM loyalty.join_club(6, 'asked')), 'asked', 'no more');
SELECT throws_ok(format('SELECT loyalty.club_act(%s)', c.arguments), c.state, NULL, c.arguments)
FROM (VALUES ($$6, 'runners', 'dance'$$, 'LY003'), ($$6, 'runners', 'promote'$$, 'LY003'), ($$6, 'runners', 'remove'$$, 'LY759'), ($$1, 'runners', 'approve'$$, 'LY759'), ($$NULL, 'runners', 'ban'$$, 'LY003')) c (arguments, state);
-- merged members
SELECT loyalty.join_club(10, 'runners', day(1)), loyalty.join_club(11, 'runners', day(3)) \g /dev/null
SELECT loyalty.leave_club(11, 'runners', day(4)) \g /dev/null
SELECT merge_id FROM loyalty.merge_members(10, 11) \gset
SELECT is((SELECT joined_at FROM loyalty.clubs(11)), day(1), 'in since the first');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.clubs(10)) || ' ' || (SELECT count(*) FROM loyalty.clubs(11)), '1 0', 'and apart');
SELECT loyalty.club_act(11, 'runners', 'ban') \g /dev/null
SELECT merge_id FROM loyalty.merge_members(10, 11) \gset
SELECT is((SELECT count(*) FROM loyalty.clubs(10)), 0::bigint, 'a ban of either holds');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.clubs(10)) || ' ' || (SELECT count(*) FROM loyalty.clubs(11)), '1 0', 'and apart');

-- one left while the other was in: in without a gap since the first came
SELECT loyalty.join_club(12, 'runners', day(1)), loyalty.leave_club(12, 'runners', day(10)), loyalty.join_club(13, 'runners', day(5)) \g /dev/null
SELECT loyalty.merge_members(12, 13) \g /dev/null
SELECT is((SELECT joined_at FROM loyalty.clubs(12)), day(1), 'one after the other, without a gap');

-- journeys: registered on 1 March at 12:00 in Berlin, with no order since
SELECT loyalty.define_benefit('welcome', '{"kind": "coupon", "discount": {"amount": 5}, "valid": "30 days", "time_zone": "UTC"}') \g /dev/null
-- what happens is told when it happens
CREATE FUNCTION happens(member_id bigint, kind text, at timestamptz, recorded_at timestamptz DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE a bigint;
BEGIN
	SELECT r.activity_id INTO a FROM loyalty.record_activity($1, $2, $3, time_zone => 'Europe/Berlin') r;
	UPDATE loyalty.activity x SET recorded_at = coalesce($4, $3), revised_at = coalesce($4, $3) WHERE x.activity_id = a;
END $$;
CREATE FUNCTION run(member_id bigint, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s %s %s', state, step, to_char(due_at AT TIME ZONE 'UTC', 'FMDD.FMMM. HH24:MI'), given) FROM loyalty.journeys(member_id, as_of) $$;
SELECT happens(m, 'registration', '2026-03-01 11:00Z') FROM unnest('{30,31,34,35}'::bigint[]) m \g /dev/null
SELECT happens(32, 'registration', '2026-03-27 09:00Z'), happens(31, 'order', '2026-03-06 11:00Z'), happens(34, 'order', '2026-03-03 11:00Z', '2026-03-05 11:00Z') \g /dev/null
SELECT loyalty.define_journey('welcome', '{"start": {"kind": "registration"}, "while": {"kind": "order", "at_most": 0},
	"steps": [{"step": "nudge", "after": "3 days", "do": [{"coupon": "welcome"}]}, {"step": "call", "after": "7 days", "list": true}]}') \g /dev/null
SELECT is(run(30, c.as_of::timestamptz), c.expected, c.as_of)
FROM (VALUES ('2026-03-02', 'running nudge 4.3. 11:00 {}'), ('2026-03-04 11:00Z', 'running call 11.3. 11:00 {nudge}'), ('2026-03-11 11:00Z', 'done call 11.3. 11:00 {nudge,call}')) c (as_of, expected);
SELECT is((SELECT array_agg(member_id) FROM loyalty.call_list('welcome', 'call', '2026-03-11 11:00Z')), '{30,35}', 'on the list');
SELECT is((SELECT count(*) FROM loyalty.coupons(30)), 0::bigint, 'nobody took the step yet');
SELECT is(loyalty.take_steps_of('{30}', '2026-03-05Z'), 1::bigint, 'taken');
SELECT is(loyalty.take_steps_of('{30}', '2026-03-05Z'), 0::bigint, 'once');
SELECT is((SELECT (valid_from AT TIME ZONE 'UTC', valid_until AT TIME ZONE 'UTC')::text FROM loyalty.coupons(30)), '("2026-03-04 11:00:00","2026-04-03 11:00:00")', 'as of the instant at which it was due');
SELECT happens(30, 'order', '2026-03-12 11:00Z') \g /dev/null
SELECT is((SELECT array_agg(member_id) FROM loyalty.call_list('welcome', 'call', '2026-03-12 12:00Z')), '{35}', 'not called once it has ordered');
-- an order between the steps; clocks that change
SELECT is(run(31, '2026-03-20'), 'left call 11.3. 11:00 {nudge}', 'left');
SELECT is(run(32, '2026-03-28') || ', ' || run(32, '2026-03-31'), 'running nudge 30.3. 08:00 {}, running call 6.4. 08:00 {nudge}', 'ten in the morning, also in summer');
-- nobody looked until the order, which takes what was due before it
SELECT happens(33, 'registration', now() - interval '8 days'), loyalty.record_activity(33, 'order') \g /dev/null
SELECT is((SELECT array_agg(step || ' ' || outcome) FROM loyalty.journey_step WHERE member_id = 33), '{"nudge given"}', 'the write took the step');
-- what is told late was not known then
SELECT is(run(34, '2026-03-20'), 'left call 11.3. 11:00 {nudge}', 'a late order');
-- a job takes them all, with the same result; who runs jobs need not post
CREATE ROLE club_clerk;
SELECT loyalty.grant_access('club_clerk', 'clerk') \g /dev/null
SET SESSION AUTHORIZATION club_clerk;
CALL loyalty.take_steps('2026-04-30Z', 2);
RESET SESSION AUTHORIZATION;
SELECT is((SELECT array_agg(format('%s %s %s', member_id, step, outcome) ORDER BY member_id, due_at) FROM loyalty.journey_step),
	'{"30 nudge given","30 call given","31 nudge given","31 call left","32 nudge given","32 call given","33 nudge given","34 nudge given","34 call left","35 nudge given","35 call given"}', 'all steps');
SELECT is((SELECT array_agg(f::text) FROM loyalty.journey_funnel('welcome', '2026-03-01Z', '2026-04-01Z') f), '{"(nudge,5,5,0,0,0)","(call,5,3,0,2,0)"}', 'the funnel');
-- what a step gives must be there, or it would stop what is recorded when it is due; names of steps are different
SELECT throws_ok(format($$SELECT loyalty.define_journey('wrong', '{"start": {"kind": "game"}, "steps": [%s]}')$$, c.steps), c.state, NULL, c.steps)
FROM (VALUES ('{"step": "a", "after": "1 day", "do": [{"badge": "none"}]}', 'LY751'), ('{"step": "a", "after": "1 day", "do": [{"points": 1}, {"freeze": "none"}]}', 'LY751'),
	('{"step": "a", "after": "1 day", "do": [{"spin": "none"}]}', 'LY751'), ('{"step": "a", "after": "1 day", "do": [{"coupon": "none"}]}', 'LY601'),
	('{"step": "a", "after": "1 day", "do": [{"points": 1, "currency": "none"}]}', 'LY102'), ('{"step": "a", "after": "1 day", "if": {"kind": "none", "at_most": 0}}', 'LY501'),
	('{"step": "a", "after": "1 day"}, {"step": "a", "after": "1 day"}', 'LY752')) c (steps, state);
-- again after a month; skipped steps; other effects
SELECT loyalty.define_badge('loyal', '{}'), loyalty.define_streak('daily', '{"kind": "check_in"}'), loyalty.define_draw('wheel', '{"prizes": [{"prize": "a", "weight": 1}]}') \g /dev/null
SELECT loyalty.define_journey('gamer', '{"start": {"kind": "game"}, "repeat": "1 month", "steps": [{"step": "one", "after": "1 day", "if": {"kind": "review", "at_least": 1}, "do": [{"points": 5}]},
	{"step": "two", "after": "1 day", "do": [{"points": 7}, {"badge": "loyal"}, {"freeze": "daily"}, {"spin": "wheel"}]}]}') \g /dev/null
SELECT happens(40, 'game', '2026-03-01 11:00Z'), happens(40, 'game', '2026-03-10 11:00Z'), happens(40, 'game', '2026-04-01 11:00Z') \g /dev/null
SELECT is((SELECT string_agg(format('%s %s', to_char(started_at AT TIME ZONE 'UTC', 'FMDD.FMMM.'), given), ' ' ORDER BY started_at) FROM loyalty.journeys(40)), '1.3. {two} 1.4. {two}', 'twice');
SELECT loyalty.take_steps_of('{40}', now()) \g /dev/null
SELECT is((loyalty.balance(40)).available || ' ' || loyalty.spins_left(40, 'wheel') || ' ' || (SELECT freezes_left FROM loyalty.streak_of(40, 'daily')) || ' ' || (SELECT count(*) FROM loyalty.badges(40)),
	'14 2 2 1', 'what the steps gave');
-- merged: what either took is taken
SELECT happens(50, 'registration', '2026-03-01 11:00Z'), happens(51, 'registration', '2026-03-02 11:00Z') \g /dev/null
SELECT merge_id FROM loyalty.merge_members(50, 51) \gset
SELECT is(run(51, '2026-03-05'), 'running call 11.3. 11:00 {nudge}', 'the earlier run stands');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(run(51, '2026-03-06'), 'running call 12.3. 11:00 {nudge}', 'and apart');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
