-- Room engagement: every rule of a streak's walk, each by days that only it decides.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
-- days of May 2026, of which the 1st is a Friday
CREATE FUNCTION may(VARIADIC days integer[]) RETURNS date[] LANGUAGE sql IMMUTABLE AS $$SELECT array_agg(date '2026-04-30' + d) FROM unnest(days) d$$;
CREATE FUNCTION line(r anyelement) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT translate(r::text, '()', '')$$;
CREATE FUNCTION complaint(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text;
BEGIN
	EXECUTE call;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' / ', SQLSTATE, m, d);
END $$;

-- days in any order, as often as they come; what lies after the day counts for nothing
SELECT is(line(loyalty.walk_streak(may(3, 1, 2, 2), '2026-05-03')), '3,3,t,2026-05-03,0,2026-05-04,"{2026-05-01,2026-05-02,2026-05-03}","{1,2,3}"', 'in any order');
SELECT is(line(loyalty.walk_streak(may(2, 1, 1), '2026-05-02')), '2,2,t,2026-05-02,0,2026-05-03,"{2026-05-01,2026-05-02}","{1,2}"', 'the first of them twice');
SELECT is(line(loyalty.walk_streak(may(1, 2, 5, 6), '2026-05-02')), '2,2,t,2026-05-02,0,2026-05-03,"{2026-05-01,2026-05-02,2026-05-05,2026-05-06}","{1,2,0,0}"', 'not after the day');
SELECT is(line(loyalty.walk_streak('{}', '2026-05-02')), '0,0,f,,0,,{},{}', 'of no days');
SELECT is(line(loyalty.walk_streak(NULL, '2026-05-02', free => 2, free_per => 'week')), '0,0,f,,2,,{},{}', 'nobody, who has free freezes');
SELECT is(line(loyalty.walk_streak('{2025-11-01,2026-01-02,2026-04-30}', '2026-05-02', 'quarter')), '3,3,t,2026-04-01,0,2026-09-30,"{2025-10-01,2026-01-01,2026-04-01}","{1,2,3}"', 'quarters');
SELECT is(line(loyalty.walk_streak('{2024-11-01,2025-01-02}', '2026-05-02', 'year')), '2,2,t,2025-01-01,0,2026-12-31,"{2024-01-01,2025-01-01}","{1,2}"', 'years');
-- saved days that count are days of the streak, also after the last activity
SELECT is(line(loyalty.walk_streak(may(1, 3), '2026-05-05', freeze_from => ARRAY[NULL, NULL]::date[], count_frozen => true)),
	'4,4,t,2026-05-04,0,2026-05-05,"{2026-05-01,2026-05-03}","{1,3}"', 'two freezes that count');
SELECT is(line(loyalty.walk_streak(may(1, 3), '2026-05-05', freeze_from => ARRAY[NULL, NULL]::date[], count_frozen => NULL)),
	'2,2,t,2026-05-03,0,2026-05-05,"{2026-05-01,2026-05-03}","{1,2}"', 'and that do not');

-- weekdays, before and after 2000-01-01, a Saturday: two days a week apart, of which only that weekday counts
SELECT is((loyalty.walk_streak(ARRAY[d::date, d::date + 7], d::date + 7, weekdays => ARRAY[extract(isodow FROM d)::integer])).length, 2, 'the ' || to_char(d, 'YYYY-MM-DD'))
FROM generate_series(timestamp '1999-12-18', '2000-01-05', '1 day') d;
SELECT is((loyalty.walk_streak('{1999-12-24,1999-12-25,1999-12-27,2000-01-01}', '1999-12-27', weekdays => '{1,2,3,4,5,6}')).length, 3, 'Friday, Saturday and Monday of 1999');
-- holidays and days on the way, in any order, some of them before the first activity; with or without activity they add nothing
SELECT is(line(w), c.expected, c.what)
FROM (VALUES
	(may(4, 7), 7, '{2026-05-06,2026-04-01,2026-05-05,2026-05-05,2026-05-20}'::date[], NULL::date[], '2,2,2026-05-08', 'over two holidays'),
	(may(4, 7), 7, may(5), may(6), '2,2,2026-05-08', 'over a holiday and a day on the way'),
	(may(4, 7), 7, may(5), NULL, '1,1,2026-05-08', 'not over the day after the holiday'),
	(may(4, 7), 7, NULL, may(6), '1,1,2026-05-08', 'nor the day before that on the way'),
	(may(4, 5, 6), 6, may(5), NULL, '2,2,2026-05-07', 'a holiday with activity'),
	(may(4, 5), 5, may(5), NULL, '1,1,2026-05-06', 'today is a holiday with activity'),
	(may(4, 5), 5, may(6, 7), NULL, '2,2,2026-05-08', 'the days after today are holidays'),
	(may(4, 5), 6, may(6), NULL, '2,2,2026-05-07', 'today is a holiday without activity'),
	(may(4, 5), 5, NULL, may(6), '2,2,2026-05-07', 'tomorrow is on the way')) c (days, day, holidays, bridged, expected, what),
	LATERAL (SELECT length, longest, due_day FROM loyalty.walk_streak(c.days, date '2026-04-30' + c.day, holidays => c.holidays, bridged => c.bridged)) w;
-- of longer periods all count
SELECT is((loyalty.walk_streak(c.days, c.day, c.period, weekdays => c.weekdays, holidays => c.holidays, bridged => c.bridged)).length, 2, format('%s %s', c.period, c.days))
FROM (VALUES (may(4, 11), '2026-05-11'::date, 'week', '{2}'::integer[], NULL::date[], NULL::date[]), (may(4, 11), '2026-05-11', 'week', NULL, may(4), NULL), (may(4, 11), '2026-05-11', 'week', NULL, NULL, may(4)),
	('{2026-04-10,2026-05-10}', '2026-05-10', 'month', NULL, '{2026-04-01,2026-05-01}', NULL), ('{2026-04-10,2026-05-10}', '2026-05-10', 'month', '{7}', NULL, NULL),
	(may(4, 6), '2026-05-06', '2 days', '{7}', NULL, NULL)) c (days, day, period, weekdays, holidays, bridged);

-- freezes: from when, until when, for which day; each may be left out
SELECT is((w.length, w.freezes_left)::text, c.expected, c.what)
FROM (VALUES
	(may(1, 2), 2, may(2), NULL::date[], NULL::date[], '(2,1)', 'from today on'),
	(may(1, 2), 2, may(3), NULL, NULL, '(2,0)', 'from tomorrow on'),
	(may(1, 2), 2, NULL, may(2), NULL, '(2,1)', 'until today'),
	(may(1, 2), 2, NULL, may(1), NULL, '(2,0)', 'until yesterday'),
	(may(1, 2), 2, NULL, NULL, may(2), '(2,0)', 'for a day, and no other'),
	(may(1, 3), 3, NULL, may(2), NULL, '(2,0)', 'until the missed day'),
	(may(1, 3), 3, NULL, may(1), NULL, '(1,0)', 'until the day before it'),
	(may(1, 3), 3, NULL, NULL, may(2), '(2,0)', 'for the missed day'),
	(may(1, 3), 3, NULL, NULL, may(3), '(1,0)', 'for the day after it'),
	(may(1, 3), 3, NULL, NULL, may(1), '(1,0)', 'for the day before it'),
	(may(1, 3), 3, may(1, 1), NULL, NULL, '(2,1)', 'two, of which one is used'),
	(may(1, 3), 3, may(1, 1), NULL, ARRAY['2026-05-02', NULL]::date[], '(2,1)', 'one for the day is used before those for any'),
	(may(1, 3), 3, may(1, 1), may(1, 9), NULL, '(2,0)', 'the first is over, and the second is used'),
	(may(1, 3), 3, may(1, 1), may(2, 9), NULL, '(2,1)', 'the first is used first'),
	(may(1, 3), 3, may(1, 1), may(9, 2), NULL, '(2,0)', 'also where the second would have gone with the day'),
	(may(1, 3, 5), 5, may(1), NULL, NULL, '(1,0)', 'a freeze is used once')) c (days, day, freeze_from, freeze_until, freeze_for, expected, what),
	LATERAL loyalty.walk_streak(c.days, date '2026-04-30' + c.day, freeze_from => c.freeze_from, freeze_until => c.freeze_until, freeze_for => c.freeze_for) w;
-- of weeks (Monday 4, 11 and 18 May) a repair is for the week of its day; a held freeze is there on the last day of the missed week
SELECT is((loyalty.walk_streak(may(4, 18), '2026-05-24', 'week', freeze_from => c.freeze_from, freeze_until => c.freeze_until, freeze_for => c.freeze_for)).length, c.length, c.what)
FROM (VALUES (NULL::date[], NULL::date[], may(11), 2, 'for Monday'), (NULL, NULL, may(17), 2, 'for Sunday'), (NULL, NULL, may(10), 1, 'for the Sunday before'), (NULL, NULL, may(18), 1, 'for the Monday after'),
	(may(17), may(17), NULL, 2, 'held on Sunday'), (may(11), may(16), NULL, 1, 'held until Saturday'), (may(18), may(18), NULL, 1, 'held from the Monday after')) c (freeze_from, freeze_until, freeze_for, length, what);
SELECT is((loyalty.walk_streak(may(4), '2026-05-04', 'week', freeze_from => c.freeze_from, freeze_until => c.freeze_until)).freezes_left, c.freezes_left, c.what)
FROM (VALUES (may(10), may(10), 1, 'what is held on the Sunday of a week could save it'), (may(4), may(9), 0, 'what is held until Saturday could not'), (may(11), NULL, 0, 'nor what is held from the week after')) c (freeze_from, freeze_until, freezes_left, what);
-- free freezes: so many of each period, which is that of the missed day; a repair comes before them, and those held after
SELECT is((w.length, w.freezes_left)::text, c.expected, c.what)
FROM (VALUES
	('{2026-06-01,2026-06-03}'::date[], '2026-06-03'::date, 2, NULL::date[], NULL::date[], '(2,1)', 'one of two is left'),
	('{2026-06-01,2026-06-03,2026-06-05}', '2026-06-05', 2, NULL, NULL, '(3,0)', 'none of two is left'),
	('{2026-06-01,2026-06-03,2026-06-05,2026-06-07}', '2026-06-07', 2, NULL, NULL, '(1,0)', 'the third missed day ends it'),
	('{2026-05-29,2026-05-31,2026-06-01}', '2026-06-01', 1, NULL, NULL, '(3,1)', 'that of May is used, that of June is left'),
	('{2026-05-29,2026-05-31,2026-06-02,2026-06-04}', '2026-06-04', 1, NULL, NULL, '(1,0)', 'that of June is used once'),
	('{2026-05-27,2026-05-29,2026-05-31,2026-06-02,2026-06-04}', '2026-06-04', 2, NULL, NULL, '(5,0)', 'two of May and two of June'),
	('{2026-06-01}', '2026-06-01', 1, '{2026-06-01}', NULL, '(1,2)', 'a free one and one held'),
	('{2026-06-01,2026-06-03}', '2026-06-03', 1, '{2026-06-01}', NULL, '(2,1)', 'the free one first'),
	('{2026-06-01,2026-06-03}', '2026-06-03', 1, NULL, '{2026-06-02}', '(2,1)', 'and a repair before it')) c (days, day, free, freeze_from, freeze_for, expected, what),
	LATERAL loyalty.walk_streak(c.days, c.day, freeze_from => c.freeze_from, freeze_for => c.freeze_for, free => c.free, free_per => 'month') w;
SELECT is((loyalty.walk_streak('{2000-01-01,2000-01-03}', '2000-01-03', free => 1, free_per => '1000 years')).length, 2, 'free ones of a long period');

-- the last days that dates know: what would be due later is not
SELECT is(line(w), c.expected, c.what)
FROM (VALUES
	('{5874897-12-31}'::date[], 'day', NULL::integer[], '1,5874897-12-31,', 'no day after the last'),
	('{5874897-12-31}', 'day', '{1,2,3,4,5,6}', '1,5874897-12-31,', 'whichever weekdays count'),
	('{5874897-12-31}', 'month', NULL, '1,5874897-12-01,', 'nor another month')) c (days, period, weekdays, expected, what),
	LATERAL (SELECT length, last_day, due_day FROM loyalty.walk_streak(c.days, '5874897-12-31', c.period, weekdays => c.weekdays)) w;
SELECT is(line(loyalty.walk_streak('{4714-11-24 BC,4714-11-25 BC}', '4714-11-25 BC')), '2,2,t,"4714-11-25 BC",0,"4714-11-26 BC","{""4714-11-24 BC"",""4714-11-25 BC""}","{1,2}"', 'the first days that dates know');
SELECT is(line(w), '1,{-infinity},"4714-12-31 BC"', 'a month that begins before them')
FROM (SELECT length, starts, due_day FROM loyalty.walk_streak('{4714-11-24 BC}', '4714-11-24 BC', 'month')) w;

-- of summaries
CREATE FUNCTION summary(days date[], period text DEFAULT 'day') RETURNS loyalty.activity_summary LANGUAGE sql IMMUTABLE AS $$
	SELECT loyalty.activity_agg(d::timestamp AT TIME ZONE 'UTC' + interval '9 hours', period, 'UTC') FROM unnest(days) d $$;
SELECT is(line(loyalty.streak_at(summary(may(1)), '2026-05-01', c.freezes, c.counted)), c.expected, c.what)
FROM (VALUES (NULL, NULL::boolean, '1,1,0', 'NULL freezes are none'), (100000, true, '1,1,100000', 'as many freezes as there may be'), (0, false, '1,1,0', 'none')) c (freezes, counted, expected, what);
SELECT is(line(loyalty.streak_at(summary(may(4, 7)), '2026-05-07', holidays => '{2026-05-06,2026-05-05}')), '2,2,0', 'holidays in any order');
SELECT is(line(loyalty.streak_at(summary(may(4, 11, 13), 'week'), '2026-05-17', weekdays => '{7}')), '2,2,0', 'weekdays say nothing of weeks');
SELECT is(line(loyalty.streak_at((SELECT loyalty.activity_agg(NULL, 'week', 'UTC')), '2026-05-24', 3)), '0,0,3', 'weeks of nobody');

-- what is refused, and why
SELECT is(complaint(c.call), c.answer, c.call)
FROM (VALUES
	($$SELECT loyalty.streak_at(summary(may(1)), NULL)$$, 'LY003 / on_date must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.streak_at(summary(may(1)), '-infinity')$$, 'LY003 / on_date must be a finite day / It is infinite.'),
	($$SELECT loyalty.streak_at(summary(may(1)), '2026-05-01', -1)$$, 'LY003 / freezes must be from 0 to 100000 / It is -1.'),
	($$SELECT loyalty.streak_at(summary(may(1)), '2026-05-01', 100001)$$, 'LY003 / freezes must be from 0 to 100000 / It is 100001.'),
	($$SELECT loyalty.streak_at(summary(may(1)), '2026-05-01', weekdays => '{0}')$$, 'LY003 / a weekday is from 1 to 7 / One is 0.'),
	($$SELECT loyalty.streak_at(summary(may(1)), '2026-05-01', weekdays => '{1,8}')$$, 'LY003 / a weekday is from 1 to 7 / One is 8.'),
	($$SELECT loyalty.streak_at(summary(may(1)), '2026-05-01', weekdays => '{}')$$, 'LY003 / weekdays must not be empty / No day would count.'),
	($$SELECT loyalty.streak_at(summary(may(1)), '2026-05-01', holidays => '{NULL}')$$, 'LY003 / holidays must not have elements that are NULL / One of them is.'),
	($$SELECT loyalty.walk_streak(may(1), NULL)$$, 'LY003 / on_date must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.walk_streak('{2026-05-01,NULL}', '2026-05-01')$$, 'LY003 / days must not have elements that are NULL / One of them is.'),
	($$SELECT loyalty.walk_streak('{-infinity}', '2026-05-01')$$, 'LY003 / days must be finite / One is not.'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', NULL)$$, 'LY340 / invalid period: "NULL" / A streak goes by periods of the calendar.'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', 'aeon')$$, 'LY340 / invalid period: "aeon" / A streak goes by periods of the calendar.'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', free => 1)$$, 'LY340 / invalid free_per: "NULL" / A streak goes by periods of the calendar.'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', free => -1)$$, 'LY003 / free must be from 0 to 100000 / It is -1.'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', free => 0, free_per => 'aeon')$$, 'none'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', bridged => '{NULL}')$$, 'LY003 / bridged must not have elements that are NULL / One of them is.'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', freeze_from => '{2026-05-01}', freeze_until => '{}')$$, 'LY003 / arrays of freezes must have one length / They have 1 and 0 elements.'),
	($$SELECT loyalty.walk_streak(may(1), '2026-05-01', freeze_from => '{}', freeze_for => '{2026-05-01}')$$, 'LY003 / arrays of freezes must have one length / They have 0 and 1 elements.')) c (call, answer);

-- conditions on activities of anybody's rows
SELECT is(loyalty.fact_holds(c.condition::jsonb, 'order', c.at::timestamptz, c.zone, 'app', c.amount, 'EUR', c.lines::jsonb, c.document::jsonb), c.holds, concat_ws(' ', c.condition, c.at, c.zone, c.amount, c.lines, c.document))
FROM (VALUES
	-- several of the same length, one after the other
	('{"amount": {">=": 50}}', '2026-05-02 12:00Z', 'UTC', 60, NULL, NULL, true),
	('{"amount": {">=": 70}}', '2026-05-02 12:00Z', 'UTC', 60, NULL, NULL, false),
	('{"amount": {">=": 50}}', '2026-05-02 12:00Z', 'UTC', 60, NULL, NULL, true),
	-- 20:00 on a Saturday in London is Sunday in Tokyo
	('{"weekday": [6]}', '2026-05-02 20:00Z', 'UTC', NULL, NULL, NULL, true),
	('{"weekday": [7]}', '2026-05-02 20:00Z', 'Asia/Tokyo', NULL, NULL, NULL, true),
	('{"hours": ["05:00", "06:00"]}', '2026-05-02 20:00Z', 'Asia/Tokyo', NULL, NULL, NULL, true),
	-- without an amount, lines or a document nothing is known of them, nor of the contrary
	('{"amount": {"<": 100}}', '2026-05-02 12:00Z', 'UTC', NULL, NULL, NULL, false),
	('{"not": {"amount": {">": 100}}}', '2026-05-02 12:00Z', 'UTC', NULL, NULL, NULL, false),
	('{"not": {"amount": {">": 100}}}', '2026-05-02 12:00Z', 'UTC', 60, NULL, NULL, true),
	('{"lines": {"sku": ["T1"]}}', '2026-05-02 12:00Z', 'UTC', 60, NULL, NULL, false),
	('{"path": "$.gift == true"}', '2026-05-02 12:00Z', 'UTC', 60, NULL, NULL, false),
	-- lines tell what they come to
	('{"amount": {"=": 61}}', '2026-05-02 12:00Z', 'UTC', NULL, '[{"sku": "T1", "amount": 60}, {"amount": 1}]', NULL, true),
	-- what never happened meets no condition, and no condition is met by whatever there is
	('{"amount": {">=": 50}}', 'infinity', 'UTC', 60, NULL, NULL, false),
	('{"amount": {">=": 50}}', '-infinity', 'UTC', 60, NULL, NULL, false),
	(NULL, 'infinity', 'UTC', NULL, NULL, NULL, true)) c (condition, at, zone, amount, lines, document, holds);
SELECT is(complaint(c.call), c.answer, c.call)
FROM (VALUES ($$SELECT loyalty.fact_holds('{"amount": 5}', NULL, '2026-05-02 12:00Z')$$, 'LY003 / kind must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.fact_holds('{"amount": 5}', 'order', NULL)$$, 'LY003 / at must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.fact_holds('{"bogus": 5}', 'order', '2026-05-02 12:00Z')$$, 'LY752 / invalid definition of a condition / when.bogus is no predicate.'),
	($$SELECT loyalty.fact_holds('[]', 'order', '2026-05-02 12:00Z')$$, 'LY752 / invalid definition of a condition / when must be an object.')) c (call, answer);
-- a condition that was refused is refused again, in a loop that goes on
CREATE FUNCTION refused(n integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	condition jsonb := '[1]';
	holds boolean;
	refused integer := 0;
BEGIN
	FOR i IN 1 .. n LOOP
		BEGIN
			holds := loyalty.fact_holds(condition, 'order', '2026-05-02 12:00Z');
		EXCEPTION WHEN SQLSTATE 'LY752' THEN
			refused := refused + 1;
		END;
	END LOOP;
	RETURN refused;
END $$;
SELECT is(refused(3), 3, 'each call with it is refused');
SELECT * FROM finish();
