-- Room engagement, primitives: streaks of anybody's rows, and draws that anybody can recompute.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

-- Streaks by days of May 2026 (the 1st is a Friday).
CREATE FUNCTION may(VARIADIC days integer[]) RETURNS date[] LANGUAGE sql IMMUTABLE AS $$SELECT array_agg(date '2026-04-30' + d) FROM unnest(days) d$$;
CREATE FUNCTION summary(days date[], period text DEFAULT 'day') RETURNS loyalty.activity_summary LANGUAGE sql IMMUTABLE AS $$
	SELECT loyalty.activity_agg(d::timestamp AT TIME ZONE 'UTC' + interval '9 hours', period, 'UTC') FROM unnest(days) d $$;
CREATE FUNCTION line(r anyelement) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT translate(r::text, '()', '')$$;

-- days, as of, freezes, counted: length, longest, freezes left
SELECT is(line(loyalty.streak_at(summary(c.days), date '2026-04-30' + c.day, c.freezes, c.counted)), c.expected,
	format('%s as of %s, %s freezes%s', c.days, c.day, c.freezes, CASE WHEN c.counted THEN ' that count' END))
FROM (VALUES
	(may(1, 2, 3, 5, 6), 6, 0, false, '2,3,0'),
	(may(1, 2, 3, 5, 6), 7, 0, false, '2,3,0'),
	(may(1, 2, 3, 5, 6), 8, 0, false, '0,3,0'),
	(may(1, 2, 3, 5, 6), 6, 1, false, '5,5,0'),
	(may(1, 2, 3, 5, 6), 6, 1, true, '6,6,0'),
	(may(1, 2, 3, 5, 6), 8, 1, false, '0,5,0'),
	(may(1, 2, 3, 5, 6), 8, 2, false, '5,5,0'),
	(may(1, 2, 3, 5, 6), 9, 2, false, '0,5,0'),
	(may(1, 2, 5), 3, 1, false, '2,2,1'),
	(may(1, 2, 5), 4, 1, false, '2,2,0'),
	(may(1, 2, 5), 5, 1, false, '1,2,0'),
	(may(1, 2, 3, 5, 6, 8), 8, 1, false, '1,5,0'),
	(may(1, 2, 3, 4, 5, 6, 8), 8, 1, false, '7,7,0'),
	(may(1, 2, 3, 4, 5, 6, 8), 8, 1, true, '8,8,0'),
	(may(6, 2, 3, 2, 5, 1), 2, 0, false, '2,2,0'),
	(may(5), 4, 3, false, '0,0,3')) c (days, day, freezes, counted, expected);
-- published: 20 on Tuesday, nothing on Wednesday, activity on Thursday is 22 where the saved day counts; two missed days begin anew
SELECT is(line(loyalty.streak_at(summary(array_agg(d::date)), '2026-05-28', 1, true)), '22,22,0', 'a repaired day that counts')
FROM generate_series(timestamp '2026-05-07', '2026-05-28', '1 day') d WHERE d <> '2026-05-27';
SELECT is(line(loyalty.streak_at(summary(array_agg(d::date)), '2026-05-29', 1, true)), '1,21,0', 'two missed days')
FROM generate_series(timestamp '2026-05-07', '2026-05-29', '1 day') d WHERE d NOT IN ('2026-05-27', '2026-05-28');
-- days that do not count: weekdays, holidays
SELECT is(line(loyalty.streak_at(summary(c.days), date '2026-04-30' + c.day, 0, false, c.weekdays, c.holidays)), c.expected, c.what)
FROM (VALUES
	(may(1, 2, 4), 4, '{1,2,3,4,5,6}'::integer[], NULL::date[], '3,3,0', 'Friday, Saturday, Monday'),
	(may(1, 2, 5), 5, '{1,2,3,4,5,6}', may(4), '3,3,0', 'and a holiday on Monday'),
	(may(1, 2, 4), 4, NULL, NULL, '1,2,0', 'where all days count'),
	(may(1, 2, 3, 4), 4, '{1,2,3,4,5,6}', NULL, '3,3,0', 'Sunday adds nothing')) c (days, day, weekdays, holidays, expected, what);
-- weeks and months
SELECT is(line(loyalty.streak_at(summary('{2026-01-31,2026-02-01,2026-03-31}', 'month'), '2026-04-30')), '3,3,0', 'months');
SELECT is(line(loyalty.streak_at(summary(may(3, 4, 18), 'week'), '2026-05-24')), '1,2,0', 'weeks from Monday');
SELECT is(line(loyalty.streak_at((SELECT loyalty.activity_agg(NULL, 'day', 'UTC')), '2026-05-24', 2)), '0,0,2', 'nobody');
SELECT is(loyalty.streak_at(NULL, '2026-05-24') IS NULL, true, 'no summary');
SELECT throws_ok(format('SELECT loyalty.streak_at(summary(may(1)), %s)', c.arguments), 'LY003', NULL, c.arguments)
FROM (VALUES ('NULL'), ($$'infinity'$$), ($$'2026-05-01', -1$$), ($$'2026-05-01', 100001$$), ($$'2026-05-01', 0, false, '{}'$$),
	($$'2026-05-01', 0, false, '{8}'$$), ($$'2026-05-01', 0, false, '{NULL}'$$)) c (arguments);
-- zones: days of Berlin and of UTC
SELECT is(line(loyalty.streak_at((SELECT loyalty.activity_agg(at, 'day', c.zone) FROM unnest(c.ats) at), c.day)), c.expected, format('%s in %s', c.ats, c.zone))
FROM (VALUES
	('{2026-03-28T23:30Z,2026-03-29T22:30Z,2026-03-30T21:59Z}'::timestamptz[], 'Europe/Berlin', '2026-03-30'::date, '2,2,0'),
	('{2026-03-28T23:30Z,2026-03-29T22:30Z,2026-03-30T21:59Z}', 'UTC', '2026-03-30', '3,3,0'),
	('{2026-10-24T22:30Z,2026-10-25T22:59Z,2026-10-25T23:01Z}', 'Europe/Berlin', '2026-10-26', '2,2,0')) c (ats, zone, day, expected);

-- everything of a walk: length, longest, alive, last day, freezes left, due day, starts, lengths
SELECT is(line(loyalty.walk_streak(may(1, 2, 3, 5, 6), '2026-05-07')),
	'2,3,t,2026-05-06,0,2026-05-07,"{2026-05-01,2026-05-02,2026-05-03,2026-05-05,2026-05-06}","{1,2,3,1,2}"', 'alive until the end of the day');
SELECT is(line(loyalty.walk_streak(may(1, 2, 3, 5, 6), '2026-05-08')), '0,3,f,,0,,"{2026-05-01,2026-05-02,2026-05-03,2026-05-05,2026-05-06}","{1,2,3,1,2}"', 'and then no more');
SELECT is((loyalty.walk_streak(may(1, 2), '2026-05-02')).due_day, '2026-05-03'::date, 'with activity the next day is due');
SELECT is((loyalty.walk_streak(may(1, 2), '2026-05-02', weekdays => '{1,2,3,4,5,6}')).due_day, '2026-05-04'::date, 'the next that counts');
SELECT is((loyalty.walk_streak(may(1), '2026-05-01', 'month')).due_day, '2026-06-30'::date, 'of a month its last day');
-- a freeze saves days that end after it was granted, and before it lapses
SELECT is((loyalty.walk_streak(may(1, 2, 3, 5, 6), '2026-05-06', freeze_from => may(c.granted), freeze_until => may(c.until), freeze_for => ARRAY[c.for_day])).length,
	c.length, format('granted on %s until %s for %s', c.granted, c.until, c.for_day))
FROM (VALUES (4, NULL, NULL::date, 5), (5, NULL, NULL, 2), (1, 4, NULL, 5), (1, 3, NULL, 2), (9, NULL, '2026-05-04', 5), (1, NULL, '2026-05-05', 2)) c (granted, until, for_day, length);
-- free ones, of the month of the missed day, before those held
SELECT is((loyalty.walk_streak('{2026-05-29,2026-05-31,2026-06-01,2026-06-03}', '2026-06-03', free => 1, free_per => 'month')).length, 4, 'a free one of each month');
SELECT is((loyalty.walk_streak('{2026-06-01,2026-06-03,2026-06-05}', '2026-06-05', free => 1, free_per => 'month')).length, 1, 'one, and no second');
SELECT is(line(w), '3,0', 'the free one first, then the one held')
FROM (SELECT length, freezes_left FROM loyalty.walk_streak('{2026-06-01,2026-06-03,2026-06-05}', '2026-06-05', freeze_from => '{2026-06-01}', free => 1, free_per => 'month')) w;
SELECT is((loyalty.walk_streak(may(1, 3), '2026-05-03', bridged => may(2))).length, 2, 'a day lost on a flight');
SELECT throws_ok(format('SELECT loyalty.walk_streak(%s)', c.arguments), c.state, NULL, c.arguments)
FROM (VALUES ($$'{infinity}', '2026-05-01'$$, 'LY003'), ($$'{}', NULL$$, 'LY003'), ($$'{}', '2026-05-01', 'aeon'$$, 'LY340'),
	($$'{}', '2026-05-01', free => 1$$, 'LY340'), ($$'{}', '2026-05-01', freeze_from => '{2026-05-01}', freeze_until => '{}'$$, 'LY003')) c (arguments, state);

-- HMAC-SHA256: RFC 4231, cases 1 to 4, 6 and 7
SELECT is(encode(loyalty.hmac_sha256(c.key, c.data), 'hex'), c.mac, format('RFC 4231, case %s', c.n))
FROM (VALUES
	(1, decode(repeat('0b', 20), 'hex'), 'Hi There'::bytea, 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7'),
	(2, 'Jefe', 'what do ya want for nothing?', '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'),
	(3, decode(repeat('aa', 20), 'hex'), decode(repeat('dd', 50), 'hex'), '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe'),
	(4, decode('0102030405060708090a0b0c0d0e0f10111213141516171819', 'hex'), decode(repeat('cd', 50), 'hex'), '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b'),
	(6, decode(repeat('aa', 131), 'hex'), 'Test Using Larger Than Block-Size Key - Hash Key First', '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54'),
	(7, decode(repeat('aa', 131), 'hex'), 'This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.',
		'9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2')) c (n, key, data, mac);

-- the wheel: a seed, its commitment, tickets, prizes
\set seed '''00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'''
CREATE TABLE wheel AS SELECT '{"prizes": [{"prize": "none", "weight": 5000}, {"prize": "10 points", "weight": 3000, "points": 10},
	{"prize": "50 points", "weight": 1500, "points": 50}, {"prize": "coupon", "weight": 499, "stock": 500, "benefit": "tea"},
	{"prize": "grand", "weight": 1, "stock": 1}]}'::jsonb AS terms;
SELECT is(loyalty.commit_seed(:seed), '4773d12e2371bb935b9a0f5439b4a1c3ad3f2414b86980f8418d1cfabdfadfef', 'the commitment');
SELECT is(loyalty.commit_seed(upper(:seed)), loyalty.commit_seed(:seed), 'digits in upper case are the same');
SELECT is(t || ' ' || loyalty.prize_of_ticket(terms, t), c.expected, format('member %s, spin %s, %s', c.member_id, c.nonce, c.client_seed))
FROM (VALUES (42, 1, NULL, '3052 none'), (42, 2, NULL, '4254 none'), (42, 3, NULL, '6967 10 points'), (43, 1, NULL, '6838 10 points'), (44, 1, NULL, '5420 10 points'),
	(42, 1, 'lucky', '2864 none'), (42, 3, 'lucky', '5778 10 points')) c (member_id, nonce, client_seed, expected),
	wheel, LATERAL loyalty.draw_ticket(:seed, 'spring', c.member_id, c.nonce, 10000, c.client_seed) t;
CREATE TABLE spin AS
SELECT m AS member_id, 1::bigint AS nonce, loyalty.draw_ticket(:seed, 'spring', m, 1, 10000) AS ticket, NULL::text AS drawn, NULL::text AS prize FROM generate_series(1::bigint, 10000) m;
UPDATE spin SET drawn = loyalty.prize_of_ticket(terms, ticket), prize = loyalty.prize_of_ticket(terms, ticket) FROM wheel;
SELECT is(array_agg(n::text || ' ' || drawn ORDER BY n DESC, drawn), '{5018 none,2989 10 points,1434 50 points,558 coupon,1 grand}', 'ten thousand spins')
FROM (SELECT drawn, count(*) AS n FROM spin GROUP BY 1) x;
-- the stock: 500 of 558
UPDATE spin SET prize = '50 points' FROM (SELECT member_id, row_number() OVER (ORDER BY member_id DESC) AS n FROM spin WHERE drawn = 'coupon') o
WHERE o.member_id = spin.member_id AND o.n <= 58;
CREATE FUNCTION problems() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', v.member_id, v.nonce, v.problem) FROM (SELECT array_agg(member_id) AS m, array_agg(nonce) AS n, array_agg(ticket) AS t,
		array_agg(drawn) AS d, array_agg(prize) AS p FROM spin) s, wheel w,
	LATERAL loyalty.verify_draw('spring', w.terms, '4773d12e2371bb935b9a0f5439b4a1c3ad3f2414b86980f8418d1cfabdfadfef',
		'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', s.m, s.n, s.t, s.d, s.p) v $$;
SELECT is_empty('SELECT problems()', 'a draw in order');
BEGIN;
UPDATE spin SET prize = '50 points' WHERE member_id = (SELECT min(member_id) FROM spin WHERE prize = 'coupon');
SELECT is((SELECT count(*) FROM problems()), 59::bigint, 'one coupon was kept back: each lower prize instead of one is named');
SELECT ok((SELECT bool_and(p LIKE '% 1 prize "coupon" was still there, and "50 points" was given') FROM problems() p), 'and why');
ROLLBACK;
BEGIN;
UPDATE spin SET prize = 'coupon' WHERE member_id = (SELECT min(member_id) FROM spin WHERE drawn = 'coupon' AND prize = '50 points');
SELECT results_eq('SELECT problems()', $$VALUES ('prize "coupon" was given 501 times, of 500')$$, 'one too many');
ROLLBACK;
BEGIN;
UPDATE spin SET drawn = 'grand', prize = 'grand' WHERE member_id = 42;
SELECT set_eq('SELECT problems()', $$VALUES ('42 1 ticket 3052 draws "none", and not "grand"'), ('prize "grand" was given 2 times, of 1')$$, 'a friend of the house');
UPDATE spin SET ticket = 9999 WHERE member_id = 42;
SELECT ok('42 1 ticket 9999 was told, and the seed draws 3052' IN (SELECT problems()), 'with a ticket to it');
ROLLBACK;
BEGIN;
UPDATE spin SET nonce = 2, ticket = 4254 WHERE member_id = 42;
SELECT results_eq('SELECT problems()', $$VALUES ('42 2 its number is 2, and should be 1')$$, 'a spin that is not told');
ROLLBACK;
SELECT results_eq($$SELECT problem FROM wheel, loyalty.verify_draw('spring', terms, repeat('0', 64), '00112233', '{}', '{}', '{}', '{}', '{}')$$,
	$$VALUES ('the seed is that of the commitment ' || encode(sha256('\x00112233'), 'hex'))$$, 'another seed');
-- no bias
SELECT is(loyalty.ticket_of_bits('\xffffffffffffffff', 3), NULL, 'the last value is rejected');
SELECT is(loyalty.ticket_of_bits('\xfffffffffffffffe', 3), 2::bigint, 'the one before it is not');
SELECT is(loyalty.ticket_of_bits('\xffffffffffffffff', 4), 3::bigint, 'where 2^64 is a multiple none is');
SELECT is(loyalty.draw_ticket(:seed, 'spring', 42, 1, 1), 0::bigint, 'one ticket');
-- the deck
SELECT is(loyalty.shuffle_deck(:seed, 'scratch', 10), '{5,3,8,2,0,6,9,7,1,4}', 'a deck of ten');
SELECT is(loyalty.shuffle_deck(:seed, 'scratch', 1), '{0}', 'of one');
SELECT is((SELECT array_agg(t ORDER BY t) FROM unnest(loyalty.shuffle_deck(:seed, 'scratch', 1000)) t), (SELECT array_agg(i) FROM generate_series(0, 999) i), 'each ticket once');
CREATE TABLE deck AS SELECT '{"tickets": 10, "prizes": [{"prize": "car", "count": 1}, {"prize": "bicycle", "count": 1}]}'::jsonb AS terms;
CREATE FUNCTION deck_problems(places bigint[], drawn text[], prizes text[]) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', v.member_id, v.nonce, v.problem) FROM deck d, LATERAL loyalty.verify_draw('scratch', d.terms,
		'4773d12e2371bb935b9a0f5439b4a1c3ad3f2414b86980f8418d1cfabdfadfef', '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff',
		(SELECT array_agg(i) FROM generate_series(1::bigint, cardinality(places)) i), array_fill(1::bigint, ARRAY[cardinality(places)]), places, drawn, prizes) v $$;
SELECT is_empty($$SELECT deck_problems('{4,8,0}', '{car,bicycle,NULL}', '{car,bicycle,NULL}')$$, 'two prizes and a blank; the rest is not sold');
SELECT ok(EXISTS (SELECT FROM deck_problems('{4,4}', '{car,car}', '{car,car}') p WHERE p LIKE '_ 1 place 4 was sold twice'), 'a place is sold once');
SELECT results_eq($$SELECT deck_problems('{5,10}', '{car,NULL}', '{car,NULL}')$$,
	$$VALUES ('1 1 at place 5 lies nothing; "car" was drawn and "car" given'), ('2 1 place 10 is not in the deck')$$, 'what lies elsewhere');
-- what is refused
SELECT throws_ok(c.call, c.state, NULL, c.call)
FROM (VALUES ($$SELECT loyalty.commit_seed('0g')$$, 'LY003'), ($$SELECT loyalty.commit_seed('')$$, 'LY003'), ($$SELECT loyalty.commit_seed('123')$$, 'LY003'),
	($$SELECT loyalty.commit_seed(NULL)$$, 'LY003'), ($$SELECT loyalty.draw_ticket('00', 'd', 1, 1, 0)$$, 'LY003'), ($$SELECT loyalty.draw_ticket('00', 'd', NULL, 1, 9)$$, 'LY003'),
	($$SELECT loyalty.draw_ticket('00', 'd', 1, 1, 9, repeat('x', 65))$$, 'LY003'), ($$SELECT loyalty.shuffle_deck('00', 'd', 1000001)$$, 'LY003'),
	($$SELECT loyalty.ticket_of_bits('\x00', 3)$$, 'LY003'), ($$SELECT loyalty.prize_of_ticket(terms, 10000) FROM wheel$$, 'LY003'),
	($$SELECT loyalty.verify_draw('d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{}', '{0}', '{a}', '{a}')$$, 'LY003'),
	($$SELECT loyalty.verify_draw(NULL, '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{1}', '{0}', '{a}', '{a}')$$, 'LY003'),
	($$SELECT loyalty.verify_draw('d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', NULL, '{1}', '{0}', '{a}', '{a}')$$, 'LY003'),
	($$SELECT loyalty.fact_holds('{"amount": {">=": 5}}', 'order', NULL)$$, 'LY003'), ($$SELECT loyalty.fact_holds('{"amount": {">=": 5}}', NULL, '2026-05-02 12:00Z')$$, 'LY003')) c (call, state);
-- definitions of draws: each mistake with its place
CREATE FUNCTION complaint(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE d text;
BEGIN
	EXECUTE call;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || d;
END $$;
SELECT is(complaint(format('SELECT loyalty.check_draw_definition(%L)', c.definition)), 'LY752 ' || c.detail, c.detail)
FROM (VALUES
	('{}', 'the definition has no "prizes".'),
	('{"prizes": []}', 'prizes must have from 1 to 1000 prizes.'),
	('{"prizes": [{"prize": "a", "weight": 1, "stock": 1}]}', 'prizes[0] is the first prize, which is given where others are gone: it has no "stock".'),
	('{"prizes": [{"prize": "a", "weight": 0}, {"weight": 1, "hidden": 2}]}', 'prizes[0].weight must be a whole number from 1 to 1000000000; prizes[1].hidden is not known here; prizes[1] has no "prize", its name.'),
	('{"prizes": [{"prize": "a", "weight": 1}, {"prize": "a", "weight": 1}]}', 'prizes[1] is the second prize "a".'),
	('{"tickets": 2, "prizes": [{"prize": "a", "count": 3}]}', 'prizes are 3, of 2 tickets.'),
	('{"prizes": [{"prize": "a", "weight": 1, "currency": "points"}]}', 'prizes[0].currency needs "points" beside it.')) c (definition, detail);
-- definitions of the others
SELECT is(complaint(format('SELECT loyalty.check_engagement_definition(%L, %L)', c.what, c.definition)), c.answer, format('%s %s', c.what, c.definition))
FROM (VALUES
	('streak', '{"kind": "check_in"}', 'none'),
	('streak', '{"kind": ["check_in", "order"], "period": "week", "at_least": 2, "amount": 10.5, "when": {"channel": ["app"]}, "free": 1, "per": "month", "counts": true, "max_gap": "36 hours", "repair_within": "3 days", "weekdays": [1, 2], "holidays": "de"}', 'none'),
	('streak', '{}', 'LY752 the definition has no "kind".'),
	('streak', '{"kind": "a", "periods": "day", "at_least": 0, "free": 1}', 'LY752 periods is not known here; at_least must be a whole number from 1 to 1000000; the definition has no "per".'),
	('streak', '{"kind": "a", "period": "year", "weekdays": []}', 'LY752 period is "year", and must be one of: day, week, month; weekdays is empty, so that no day counts.'),
	('streak', '{"kind": "a", "when": {"tier": {"club": ["gold"]}}}', 'LY752 when asks for the member (tier:club); what counts is decided by the activity alone.'),
	('badge', '{"kind": "a", "levels": [1, 5, 25]}', 'none'),
	('badge', '{}', 'none'),
	('badge', '{"kind": "a", "levels": [1, 1]}', 'LY752 levels[1] must be more than the one before it, and than 0.'),
	('badge', '{"kind": "a", "streak": "b"}', 'LY752 the definition has both "kind" and "streak"; a badge goes by one of them; the definition has no "levels", its thresholds.'),
	('challenge', '{"kind": "a", "target": 5, "from": "2026-05-01", "until": "2026-05-01"}', 'LY752 until must be after "from".'),
	('challenge', '{"kind": "a", "target": 5, "within": "7 days"}', 'LY752 within is counted from the enrolment: it needs "enrol": true.'),
	('board', '{"kind": "a"}', 'LY752 the definition has no "period".'),
	('board', '{"kind": "a", "period": "month", "ties": "all"}', 'LY752 ties is "all", and must be one of: share, dense, first.'),
	('referral', '{"within": "30 days", "minimum": 0}', 'LY752 minimum must be positive.'),
	('club', '{"join": "open", "capacity": 0}', 'LY752 capacity must be a whole number from 1 to 1000000000000.'),
	('journey', '{"start": {"kind": "registration"}, "steps": []}', 'LY752 steps must have from 1 to 100 steps.'),
	('journey', '{"start": {"kind": "registration"}, "while": {"kind": "order"}, "steps": [{"step": "a", "do": [{}]}]}',
		'LY752 while has neither "at_least" nor "at_most"; steps[0] has no "after"; steps[0].do[0] must have one of coupon, points, badge, freeze and spin.'),
	('badge', '{"kind": "a", "levels": [1], "revocable": "yes"}', 'LY752 revocable must be true or false.'),
	('journey', '{"start": {"kind": "registration"}, "while": {"kind": "order", "at_most": 0, "at_mots": 1}, "steps": [{"step": "a", "after": "1 day", "do": [{"coupon": "x"}]}]}', 'LY752 while.at_mots is not known here.'),
	-- nothing counts what it brings about, or what comes after that
	('challenge', '{"kind": ["check_in", "challenge"], "target": 1}', 'LY752 kind is "challenge", which follows from it: it would go on without end.'),
	('challenge', '{"kind": "journey", "target": 1}', 'LY752 kind is "journey", which follows from it: it would go on without end.'),
	('challenge', '{"kind": ["invite", "club", "board_place"], "target": 1}', 'none'),
	('challenge', '{"kind": 1, "target": 1}', 'LY752 kind must be a text.'),
	('referral', '{"kind": "invite", "within": "1 day"}', 'LY752 kind is "invite", which follows from it: it would go on without end.'),
	('referral', '{"kind": "challenge", "within": "1 day"}', 'LY752 kind is "challenge", which follows from it: it would go on without end.'),
	('journey', '{"start": {"kind": "journey"}, "while": {"kind": "journey", "at_most": 0}, "repeat": "1 second", "steps": [{"step": "a", "after": "1 second", "if": {"kind": "journey", "at_most": 0}}]}',
		'LY752 start.kind is "journey", which follows from it: it would go on without end; while.kind is "journey", which follows from it: it would go on without end; steps[0].if.kind is "journey", which follows from it: it would go on without end.'),
	('journey', '{"start": {"kind": "challenge"}, "steps": [{"step": "a", "after": "1 second"}]}', 'none'),
	('badge', '{"kind": ["challenge", "journey", "invite"], "levels": [1]}', 'none'),
	('dance', '{}', 'LY003 There are streak, badge, challenge, board, referral, club and journey.')) c (what, definition, answer);
-- conditions over anybody's rows
SELECT is(loyalty.fact_holds(c.condition::jsonb, 'order', '2026-05-02 12:00Z', 'UTC', 'app', 60, 'EUR', '[{"sku": "T1", "amount": 60}]', '{"gift": true}'), c.holds, c.condition)
FROM (VALUES (NULL, true), ('{"amount": {">=": 50}}', true), ('{"amount": {">": 60}}', false), ('{"channel": ["app"], "weekday": [6]}', true), ('{"weekday": [5]}', false),
	('{"lines": {"sku": ["T1"]}}', true), ('{"path": "$.gift == true"}', true), ('{"tier": {"club": ["gold"]}}', false)) c (condition, holds);
SELECT * FROM finish();
