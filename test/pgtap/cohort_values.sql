-- cohort: the types' values one by one, what their text and bytes may be, and
-- states that are merged part by part.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- What a query answers, or the SQLSTATE and the message it ends with.
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
	EXECUTE query INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END $$;

-- Any bytes as the binary form of a type: a column of bytea is written as they are.
CREATE FUNCTION receive(type text, bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE file text := current_setting('data_directory') || '/cohort_values.copy'; value text;
BEGIN
	EXECUTE format('COPY (SELECT %L::bytea) TO %L (FORMAT binary)', bytes, file);
	EXECUTE format('CREATE TEMP TABLE received (value %s)', type);
	EXECUTE format('COPY received FROM %L (FORMAT binary)', file);
	SELECT r.value::text INTO value FROM received r;
	DROP TABLE received;
	RETURN value;
END $$;

-- ---- Text: what comes out of what goes in; '' where it is refused.
SELECT is(outcome(format('SELECT %L::%s', t, type)), CASE want WHEN '' THEN format('22P02 invalid input syntax for type %s: "%s"', type, t) ELSE coalesce(want, t) END, format('%s %s', type, t)) FROM (VALUES
	('activity_summary', 'day@00000000:1:1:{1}', NULL), ('activity_summary', 'day@c06e567d:2:1:{-5,3}', NULL), ('activity_summary', 'day@00000000:0:0:{}', NULL), ('activity_summary', 'day@0:9:9:{1}', 'day@00000000:9:9:{1}'), ('activity_summary', 'day@FF:3:1:{1,2,3}', 'day@000000ff:3:1:{1..3}'),
	('activity_summary', '7 days@0:1:1:{1}', 'week@00000000:1:1:{1}'), ('activity_summary', '14 days@0:1:1:{1}', '2 weeks@00000000:1:1:{1}'), ('activity_summary', '10 days@00000000:1:1:{1}', NULL), ('activity_summary', '3 months@0:1:1:{1}', 'quarter@00000000:1:1:{1}'), ('activity_summary', '18 months@0:1:1:{1}', '6 quarters@00000000:1:1:{1}'), ('activity_summary', '24 months@0:1:1:{1}', '2 years@00000000:1:1:{1}'), ('activity_summary', '2 months@00000000:1:1:{1}', NULL),
	('activity_summary', 'day@00000000:4:1:{-33..-30}', NULL), ('activity_summary', 'day@00000000:2:1:{31..32}', NULL), ('activity_summary', 'day@00000000:9:1:{-65,-32..-31,0,31..33,63,96}', NULL),
	('activity_summary', 'day@00000000:2:1:{1..2}', NULL), ('activity_summary', 'day@0:1:1:{1..2}', ''), ('activity_summary', 'day@0:2:2:{1..2}', ''), ('activity_summary', 'day@00000000:3:2:{1..2}', NULL), ('activity_summary', 'day@0:1:0:{1}', ''), ('activity_summary', 'day@0:1:0:{}', ''), ('activity_summary', 'day@0:0:1:{}', ''),
	('activity_summary', '@0:1:1:{1}', ''), ('activity_summary', 'day0:1:1:{1}', ''), ('activity_summary', 'day@:1:1:{1}', ''), ('activity_summary', 'day@0;1:1:{1}', ''), ('activity_summary', 'day@0:1:1', ''), ('activity_summary', 'day@0::1:{1}', ''), ('activity_summary', 'day@0:1;1:{1}', ''), ('activity_summary', 'day@0:1::{1}', ''), ('activity_summary', 'day@0:1:1{1}', ''), ('activity_summary', 'day@0:1:1:1}', ''), ('activity_summary', 'day@0:1:1:{x}', ''), ('activity_summary', 'day@0:1:1:{,1}', ''), ('activity_summary', 'day@0:2:1:{,1}', ''),
	('activity_summary', 'day@0:1:1:{1..}', ''), ('activity_summary', 'day@0:3:1:{1..2 3}', ''), ('activity_summary', 'day@0:2:1:{1 2}', ''), ('activity_summary', 'day@0:2:1:{2,2}', ''), ('activity_summary', 'day@0:3:1:{1..2,2}', ''), ('activity_summary', 'day@0:2:1:{2..1}', ''), ('activity_summary', 'day@00000000:3:1:{1,3..4}', NULL), ('activity_summary', 'day@0:1:1:{1}}', ''), ('activity_summary', 'day@0:1:1:{1} ', ''), ('activity_summary', 'day@0:3:1:{1..106751982}', ''), ('activity_summary', 'day@0:1:1:{-2451549..1}', ''), ('activity_summary', 'day@00000000:1:1:{-2451548}', NULL), ('activity_summary', 'day@0:1:1:{-2451549}', ''), ('activity_summary', 'day@00000000:1:1:{106751981}', NULL), ('activity_summary', 'day@0:1:1:{106751982}', ''),
	('cohort_matrix', '{}', NULL), ('cohort_matrix', 'month@00000000:{0/24288/0=2,1/24288/3=1,2/24288/0=2,3/24289/0=1,4/24288/0=1}', NULL), ('cohort_matrix', 'month@0:{1/1/0=1,0/1/0=1}', 'month@00000000:{0/1/0=1,1/1/0=1}'), ('cohort_matrix', 'month@0:{0/1/0=1,0/1/0=2}', 'month@00000000:{0/1/0=3}'),
	('cohort_matrix', 'month@0:{1/2/1=1,1/2/0=1,1/1/5=1}', 'month@00000000:{1/1/5=1,1/2/0=1,1/2/1=1}'), ('cohort_matrix', 'month@00000000:{}', NULL),
	('cohort_matrix', 'month@0:{5/1/0=1}', ''), ('cohort_matrix', 'month@0:{8/1/0=1}', ''), ('cohort_matrix', 'month@0:{-1/1/0=1}', ''), ('cohort_matrix', 'month@0:{10/1/0=1}', ''), ('cohort_matrix', 'month@0:{0/1/-1=1}', ''), ('cohort_matrix', 'month@0:{0/1/2147483648=1}', ''), ('cohort_matrix', 'month@0:{0/1/0=0}', ''), ('cohort_matrix', 'month@0:{0/1/0=-1}', ''),
	('cohort_matrix', 'month@0:{1/3531324/0=1}', 'month@00000000:{1/3531324/0=1}'), ('cohort_matrix', 'month@0:{1/3531325/0=1}', ''), ('cohort_matrix', 'month@0:{1/3531324/1=1}', ''), ('cohort_matrix', 'month@0:{1/-56547/1=1}', ''), ('cohort_matrix', 'month@0:{1/-56546/1=1}', 'month@00000000:{1/-56546/1=1}'),
	('cohort_matrix', 'month0:{0/1/0=1}', ''), ('cohort_matrix', '@0:{0/1/0=1}', ''), ('cohort_matrix', 'month@:{0/1/0=1}', ''), ('cohort_matrix', 'month@0{0/1/0=1}', ''), ('cohort_matrix', 'month@0:0/1/0=1}', ''), ('cohort_matrix', 'month@0:{0-1/0=1}', ''), ('cohort_matrix', 'month@0:{0/1/0/1}', ''), ('cohort_matrix', 'month@0:{0/1=0=1}', ''), ('cohort_matrix', 'month@0:{0/1/0=}', ''), ('cohort_matrix', 'month@0:{/1/0=1}', ''), ('cohort_matrix', 'month@0:{0/1/0=1 0/2/0=1}', ''), ('cohort_matrix', 'month@0:{0/1/0=1}}', ''), ('cohort_matrix', '{} ', ''),
	('repurchase', '{}', NULL), ('repurchase', 'day@00000000:{8/1/0=3,8/2/0=1,9/30/0=1}', NULL), ('repurchase', 'day@0:{7/1/0=1}', ''), ('repurchase', 'day@0:{4/1/0=1}', ''), ('repurchase', 'day@0:{10/1/0=1}', ''), ('repurchase', 'day@00000000:{9/0/0=1}', NULL), ('repurchase', 'day@00000000:{8/99999999999/0=1}', NULL),
	('concentration', '{}', NULL), ('concentration', '{-1.5=2,0=1,3=9}', NULL), ('concentration', '{3=1,1=1,2.50=1}', '{1=1,2.5=1,3=1}'), ('concentration', '{1=1,1.0=2}', '{1=3}'), ('concentration', '{1=0}', ''), ('concentration', '{1=-1}', ''), ('concentration', '{1=}', ''), ('concentration', '{1}', ''), ('concentration', '1=1}', ''), ('concentration', '{Infinity=1}', ''), ('concentration', '{-Infinity=1}', ''), ('concentration', '{NaN=1}', ''),
	('concentration', '{1=1 2=1}', ''), ('concentration', '{1=1}}', ''), ('concentration', '{100000000000000000001=1,100000000000000000000=1}', '{100000000000000000000=1,100000000000000000001=1}')) v(type, t, want);

-- ---- Bytes.
CREATE FUNCTION activity_bytes(version int, base int, step int, events bigint, first_events bigint, VARIADIC blocks bigint[] DEFAULT '{}') RETURNS bytea LANGUAGE sql AS $$
	SELECT int2send((version * 256 + base)::smallint) || substr(int4send(step), 3) || '\x00000000' || int4send(cardinality(blocks) / 2) || int8send(events) || int8send(first_events)
		|| coalesce((SELECT string_agg(substr(int8send(b), 5), '' ORDER BY i) FROM unnest(blocks) WITH ORDINALITY u(b, i)), '') $$;
SELECT is(outcome(format('SELECT receive(''activity_summary'', %L)', bytes)), want, 'bytes of an activity_summary: ' || want) FROM (VALUES
	(activity_bytes(1, 1, 1, 3, 1, 0, 3, 1, 2147483648), 'day@00000000:3:1:{0..1,63}'), (activity_bytes(1, 2, 12, 1, 1, 63, 1), 'year@00000000:1:1:{2016}'), (activity_bytes(1, 1, 1, 1, 1, -1, 2147483648), 'day@00000000:1:1:{-1}'),
	(activity_bytes(2, 1, 1, 1, 1, 0, 1), '22P03 this activity_summary has format 2'), (activity_bytes(1, 0, 1, 1, 1, 0, 1), '22P03 invalid activity_summary: unknown period'), (activity_bytes(1, 3, 1, 1, 1, 0, 1), '22P03 invalid activity_summary: unknown period'),
	(activity_bytes(1, 1, 0, 1, 1, 0, 1), '22P03 invalid activity_summary: unknown period'), (activity_bytes(1, 1, 36500, 1, 1, 0, 1), '36500 days@00000000:1:1:{0}'), (activity_bytes(1, 1, 36501, 1, 1, 0, 1), '22P03 invalid activity_summary: unknown period'),
	(activity_bytes(1, 1, 1, 2, 1, 0, 1, 1, 0), '22P03 invalid activity_summary: empty block'), (activity_bytes(1, 1, 1, 2, 1, 1, 1, 0, 1), '22P03 invalid activity_summary: blocks out of order'), (activity_bytes(1, 1, 1, 2, 1, 0, 1, 0, 2), '22P03 invalid activity_summary: blocks out of order'),
	(activity_bytes(1, 1, 1, 1, 1, 67108864, 1), '22P03 invalid activity_summary: a period that holds no instant'), (activity_bytes(1, 1, 1, 1, 1, -67108865, 1), '22P03 invalid activity_summary: a period that holds no instant'), (activity_bytes(1, 1, 1, 1, 1, 134217728, 1), '22P03 invalid activity_summary: a period that holds no instant'), (activity_bytes(1, 1, 1, 1, 1, -134217728, 1), '22P03 invalid activity_summary: a period that holds no instant'),
	(activity_bytes(1, 2, 12, 1, 1, -148, 4194304), '22P03 invalid activity_summary: a period that holds no instant'), (activity_bytes(1, 2, 12, 1, 1, 9196, 64), '22P03 invalid activity_summary: a period that holds no instant'), (activity_bytes(1, 2, 12, 2, 1, 0, 1, 9196, 64), '22P03 invalid activity_summary: a period that holds no instant'),
	(activity_bytes(1, 1, 1, 0, 0), 'day@00000000:0:0:{}'), (activity_bytes(1, 1, 1, 1, 1), '22P03 invalid activity_summary: wrong number of events'), (activity_bytes(1, 1, 1, 1, 1, 0, 3), '22P03 invalid activity_summary: wrong number of events'), (activity_bytes(1, 1, 1, 2, 2, 0, 3), '22P03 invalid activity_summary: wrong number of events'), (activity_bytes(1, 1, 1, 1, 0, 0, 1), '22P03 invalid activity_summary: wrong number of events')) v(bytes, want);
SELECT is(outcome(format('SELECT receive(%L, %L)', type, bytes)) ~ '^(08P01|22P03) ', true, format('%s with bytes to spare or missing', type)) FROM (SELECT type, CASE more WHEN 0 THEN sent || '\x00' ELSE substr(sent, 1, length(sent) - more) END AS bytes FROM (VALUES
	('activity_summary', activity_summary_send('day@0:3:1:{1..2,99}')), ('cohort_matrix', cohort_matrix_send('month@0:{0/1/0=1,1/1/0=1}')), ('repurchase', repurchase_send('day@0:{8/1/0=1}')), ('concentration', concentration_send('{1=1,2.5=3}'))) v(type, sent), generate_series(0, 9, 3) more) x;
SELECT is(receive(type, sent), t, format('bytes of %s %s', type, t)) FROM (SELECT 'activity_summary' AS type, activity_summary_send(t::activity_summary) AS sent, t FROM (VALUES ('day@00000000:0:0:{}'), ('2 weeks@0badcafe:103:4:{-99,0..40,200}')) v(t)
	UNION ALL SELECT 'cohort_matrix', cohort_matrix_send(t::cohort_matrix), t FROM (VALUES ('{}'), ('month@0badcafe:{}'), ('month@0badcafe:{0/24288/0=2,1/24288/3=1}')) v(t)
	UNION ALL SELECT 'repurchase', repurchase_send(t::repurchase), t FROM (VALUES ('{}'), ('day@0badcafe:{8/1/0=3,9/30/0=1}')) v(t)
	UNION ALL SELECT 'concentration', concentration_send(t::concentration), t FROM (VALUES ('{}'), ('{-1.5=2,0=1,3=9000000000}')) v(t)) x;
-- A message that promises more than comes with it; the last byte of the number, and its first, which makes it negative.
SELECT is(outcome(format('SELECT receive(%L, %L)', type, set_byte(sent, n, byte))), format('22P03 invalid %s: the message is too short', type), format('%s with %s in byte %s', sent, byte, n)) FROM (VALUES
	('activity_summary', activity_summary_send('day@0:0:0:{}'), 11, 1), ('activity_summary', activity_summary_send('day@0:0:0:{}'), 11, 5), ('activity_summary', activity_summary_send('day@0:0:0:{}'), 8, 255), ('activity_summary', activity_summary_send('day@0:3:1:{1..2,99}'), 11, 5),
	('cohort_matrix', cohort_matrix_send('month@0:{}'), 12, 1), ('cohort_matrix', cohort_matrix_send('month@0:{}'), 9, 255), ('repurchase', repurchase_send('day@0:{8/1/0=3,9/30/0=1}'), 12, 3)) v(type, sent, n, byte);
-- What another version of the extension may have stored: a function of the server's own that takes bytes as they are.
CREATE FUNCTION stored_activity_summary(bytea, int) RETURNS activity_summary LANGUAGE internal IMMUTABLE AS 'bytea_substr_no_len';
CREATE FUNCTION stored_cohort_matrix(bytea, int) RETURNS cohort_matrix LANGUAGE internal IMMUTABLE AS 'bytea_substr_no_len';
CREATE FUNCTION stored_repurchase(bytea, int) RETURNS repurchase LANGUAGE internal IMMUTABLE AS 'bytea_substr_no_len';
CREATE FUNCTION stored_concentration(bytea, int) RETURNS concentration LANGUAGE internal IMMUTABLE AS 'bytea_substr_no_len';
SELECT is(outcome(format('SELECT stored_%s(%L::bytea || %L, 1)', type, head, decode(repeat('00', more), 'hex'))), want, format('%s stored as %s and %s bytes', type, head, more)) FROM (VALUES
	('activity_summary', '\x01010101'::bytea, 24, '257 days@00000000:0:0:{}'), ('activity_summary', '\x01010101', 23, 'LY348 this activity_summary has format 1'), ('activity_summary', '\x02010101', 24, 'LY348 this activity_summary has format 2'), ('activity_summary', '\x02', 0, 'LY348 this activity_summary has format 2'),
	('cohort_matrix', '\x01010000', 16, '{}'), ('cohort_matrix', '\x01010000', 15, 'LY348 this cohort_matrix has format 1'), ('cohort_matrix', '\x02010000', 16, 'LY348 this cohort_matrix has format 2'), ('cohort_matrix', '\x01020000', 16, 'LY348 this cohort_matrix has format 1'),
	('repurchase', '\x01020000', 16, '{}'), ('repurchase', '\x01020000', 15, 'LY348 this repurchase has format 1'), ('repurchase', '\x00020000', 16, 'LY348 this repurchase has format 0'), ('repurchase', '\x01010000', 16, 'LY348 this repurchase has format 1'),
	('concentration', '\x01000000', 16, '{}'), ('concentration', '\x01000000', 15, 'LY348 this concentration has format 1'), ('concentration', '\x02000000', 16, 'LY348 this concentration has format 2')) v(type, head, more, want);
-- version, type, base, step, zone, number of counts; then kind, a, b, n of each
CREATE FUNCTION tally_bytes(version int, type int, base int, step int, VARIADIC counts bigint[] DEFAULT '{}') RETURNS bytea LANGUAGE sql AS $$
	SELECT substr(int4send(version * 65536 + type * 256 + base), 2) || substr(int4send(step), 3) || '\x00000000' || int4send(cardinality(counts) / 4)
		|| coalesce((SELECT string_agg(CASE i % 4 WHEN 1 THEN substr(int8send(c), 5) WHEN 3 THEN substr(int8send(c), 5) ELSE int8send(c) END, '' ORDER BY i) FROM unnest(counts) WITH ORDINALITY u(c, i)), '') $$;
SELECT is(outcome(format('SELECT receive(%L, %L)', type, bytes)), CASE WHEN want ~ '@|{}' THEN want ELSE format('22P03 invalid %s: %s', type, want) END, format('bytes of %s: %s', type, want)) FROM (VALUES
	('cohort_matrix', tally_bytes(1, 1, 2, 1, 0, 5, 0, 7, 1, 5, 2, 3), 'month@00000000:{0/5/0=7,1/5/2=3}'), ('cohort_matrix', tally_bytes(1, 1, 0, 0), '{}'), ('cohort_matrix', tally_bytes(2, 1, 2, 1, 0, 5, 0, 7), 'unknown version'), ('cohort_matrix', tally_bytes(1, 2, 2, 1, 8, 5, 0, 7), 'unknown version'), ('repurchase', tally_bytes(1, 1, 2, 1, 0, 5, 0, 7), 'unknown version'),
	('cohort_matrix', tally_bytes(1, 1, 0, 1, 0, 5, 0, 7), 'unknown period'), ('cohort_matrix', tally_bytes(1, 1, 3, 1, 0, 5, 0, 7), 'unknown period'), ('cohort_matrix', tally_bytes(1, 1, 2, 0, 0, 5, 0, 7), 'unknown period'), ('cohort_matrix', tally_bytes(1, 1, 2, 36501, 0, 5, 0, 7), 'unknown period'), ('cohort_matrix', tally_bytes(1, 1, 1, 36500, 0, 5, 0, 7), '36500 days@00000000:{0/5/0=7}'),
	('cohort_matrix', tally_bytes(1, 1, 2, 1, 0, 5, 0, 0), 'a count below one'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, -1, 5, 0, 1), 'an unknown kind of count'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 5, 5, 0, 1), 'an unknown kind of count'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 8, 5, 0, 1), 'an unknown kind of count'), ('repurchase', tally_bytes(1, 2, 2, 1, 7, 5, 0, 1), 'an unknown kind of count'), ('repurchase', tally_bytes(1, 2, 2, 1, 10, 5, 0, 1), 'an unknown kind of count'),
	('cohort_matrix', tally_bytes(1, 1, 2, 1, 0, 5, -1, 1), 'a period that holds no instant'), ('repurchase', tally_bytes(1, 2, 2, 1, 8, 5, -1, 1), 'a period that holds no instant'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 0, 3531325, 0, 1), 'a period that holds no instant'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 1, 3531324, 1, 1), 'a period that holds no instant'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 1, -56547, 1, 1), 'a period that holds no instant'),
	('cohort_matrix', tally_bytes(1, 1, 2, 1, 0, 5, 0, 7, 0, 5, 0, 7), 'counts out of order'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 1, 5, 0, 7, 0, 6, 0, 7), 'counts out of order'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 1, 6, 0, 7, 1, 5, 1, 7), 'counts out of order'), ('cohort_matrix', tally_bytes(1, 1, 2, 1, 1, 5, 1, 7, 1, 5, 0, 7), 'counts out of order')) v(type, bytes, want);
SELECT is(outcome(format('SELECT receive(''concentration'', %L)', bytes)), want, 'bytes of a concentration: ' || want) FROM (VALUES
	('\x02'::bytea || int8send(0), '22P03 this concentration has format 2'), ('\x01'::bytea || int8send(1) || int8send(0) || int4send(10) || numeric_send(1), '22P03 invalid concentration: amount without members, or not finite'), ('\x01'::bytea || int8send(1) || int8send(1) || int4send(8) || numeric_send('NaN'), '22P03 invalid concentration: amount without members, or not finite'),
	('\x01'::bytea || int8send(1) || int8send(1) || int4send(8) || numeric_send('-Infinity'), '22P03 invalid concentration: amount without members, or not finite'), ('\x01'::bytea || int8send(1) || int8send(2) || int4send(10) || numeric_send(1), '{1=2}')) v(bytes, want);

-- ---- Periods: names, and the days that they begin.
SELECT is(split_part(outcome(format('SELECT activity_agg(''2024-05-15 12:00+00'', %L, ''UTC'')', p)), '@', 1), want, format('the period "%s"', p)) FROM (VALUES
	('day', 'day'), ('DAYS', 'day'), ('  2 Weeks  ', '2 weeks'), ('2weeks', '2 weeks'), ('1 year', 'year'), ('36500 days', '36500 days'), ('3041 years', '3041 years'), ('12 months', 'year'), ('6 months', '2 quarters'), ('05 days', '5 days')) v(p, want);
SELECT matches(outcome(format('SELECT activity_agg(now(), %L, ''UTC'')', p)), '^LY340 ', format('the period "%s"', p)) FROM unnest('{"",0 days,36501 days,3042 years,-1 day,dayss,da,day x,dax,2,99999999999 days,100000 days,1 2 days,days2}'::text[]) p;
SELECT is((SELECT string_agg(d::text, ' ') FROM unnest(active_dates(t::activity_summary)) d), want, 'days of ' || t) FROM (VALUES
	('day@0:3:1:{-1..1}', '2000-01-02 2000-01-03 2000-01-04'), ('week@0:2:1:{-1,1}', '1999-12-27 2000-01-10'), ('10 days@0:2:1:{-1,1}', '1999-12-24 2000-01-13'), ('month@0:3:1:{24287..24288,24291}', '2023-12-01 2024-01-01 2024-04-01'), ('5 months@0:2:1:{4857..4858}', '2023-10-01 2024-03-01'), ('quarter@0:2:1:{-1,8096}', '0002-10-01 BC 2024-01-01'), ('year@0:3:1:{-1..1}', '0002-01-01 BC 0001-01-01 BC 0001-01-01')) v(t, want);
SELECT is(concat_ws(' ', event_count(a), active_periods(a), first_active(a), last_active(a), longest_streak(a)), want, 'figures of ' || t) FROM (SELECT t, t::activity_summary AS a, want FROM (VALUES
	('day@0:10:2:{0..2,4..5,40..43}', '10 9 2000-01-03 2000-02-15 4'), ('day@0:9:9:{31}', '9 1 2000-02-03 2000-02-03 1'), ('day@0:7:1:{-4..-3,-1..1}', '7 5 1999-12-30 2000-01-04 3'), ('day@0:0:0:{}', '0 0 0'), ('day@0:70:1:{0..69}', '70 70 2000-01-03 2000-03-12 70')) v(t, want)) x;
-- the dates of local clocks, whatever these did in the year, in either order of instants
CREATE TABLE instant AS SELECT at FROM unnest('{1880-01-01,1945-01-01,2011-06-01,2040-01-01}'::timestamptz[]) year, generate_series(year, year + interval '500 days', '23 hours 30 min') at;
SELECT is(got, want, format('dates of %s, %s', zone, way)) FROM (SELECT zone, active_dates(activity_agg(at, 'day', zone ORDER BY at)) AS up, active_dates(activity_agg(at, 'day', zone ORDER BY at DESC)) AS down, array_agg(DISTINCT (at AT TIME ZONE zone)::date) AS want
	FROM instant, unnest('{UTC,Europe/Rome,America/St_Johns,Asia/Tokyo,Asia/Kolkata,Pacific/Apia,+03:30}'::text[]) zone GROUP BY zone) x, LATERAL (VALUES ('forward', up), ('back', down)) w(way, got);
SELECT is((SELECT string_agg(concat_ws(':', first_period, last_period, periods), ' ') FROM streaks('day@0:9:2:{0..2,4,40..41}')), '2000-01-03:2000-01-05:3 2000-01-07:2000-01-07:1 2000-02-12:2000-02-13:2', 'streaks');
SELECT is((SELECT string_agg(concat_ws(':', was_active(a, date '2000-01-03' + d), current_streak(a, date '2000-01-03' + d)), ' ' ORDER BY d) FROM (SELECT 'day@0:9:2:{0..2,4}'::activity_summary AS a) x, generate_series(-1, 7) d),
	'f:0 t:1 t:2 t:3 f:3 t:1 f:1 f:0 f:0', 'day by day: a streak goes on until a day is over');
SELECT is((SELECT concat_ws(' ', was_active(a, 'infinity'), was_active(a, '-infinity'), current_streak(a, 'infinity'), current_streak(a, '-infinity')) FROM (SELECT 'day@0:9:2:{0..2,4}'::activity_summary AS a) x), 'f f 0 0', 'at no date');
SELECT is(repurchased_within(t::activity_summary, within, date '2000-01-03' + as_of), want, format('%s: again within %s, as of day %s', t, within, as_of)) FROM (VALUES
	('day@0:2:1:{0,3}', 3, 3, true), ('day@0:2:1:{0,3}', 3, 2, NULL), ('day@0:2:1:{0,3}', 2, 3, false), ('day@0:2:1:{0,3}', 2, 2, false), ('day@0:2:1:{0,3}', 2, 1, NULL), ('day@0:2:2:{0}', 0, 0, true), ('day@0:2:2:{0}', 5, 5, true), ('day@0:2:2:{0}', 5, 4, NULL), ('day@0:1:1:{0}', 5, 9, false), ('day@0:1:1:{0}', 0, 0, false), ('day@0:0:0:{}', 0, 9, NULL)) v(t, within, as_of, want);
SELECT throws_ok($$SELECT repurchased_within('day@0:1:1:{0}', -1, '2024-01-01')$$, 'LY003', 'the number of periods is -1', 'no periods below nought');
SELECT throws_ok(format($$SELECT repurchased_within('day@0:1:1:{0}', 1, %L)$$, d), 'LY342', NULL, 'as of ' || d) FROM unnest('{infinity,-infinity}'::text[]) d;
SELECT is(activity_summary_merge(a::activity_summary, b::activity_summary)::text, 'day@00000000:' || want, format('%s and %s', a, b)) FROM (VALUES
	('day@0:2:1:{1,40}', 'day@0:3:3:{1}', '5:4:{1,40}'), ('day@0:2:1:{1,40}', 'day@0:5:4:{0..1}', '7:4:{0..1,40}'), ('day@0:2:1:{-40,40}', 'day@0:3:1:{-1,99..100}', '5:1:{-40,-1,40,99..100}'), ('day@0:0:0:{}', 'day@0:3:3:{1}', '3:3:{1}'), ('day@0:3:3:{1}', 'day@0:0:0:{}', '3:3:{1}'), ('day@0:0:0:{}', 'day@0:0:0:{}', '0:0:{}')) v(a, b, want);
SELECT matches(outcome(format('SELECT activity_summary_merge(%L, %L)', a, b)), '^LY341 ', format('%s and %s are not one', a, b)) FROM (VALUES ('day@0:1:1:{1}', 'day@1:1:1:{1}'), ('day@0:1:1:{1}', 'week@0:1:1:{1}'), ('7 days@0:1:1:{1}', '7 months@0:1:1:{1}')) v(a, b);
SELECT is(outcome(format('SELECT activity_summary_merge(%L, %L)', a, b)), 'LY341 ' || want, format('%s and %s', a, b)) FROM (VALUES ('day@0:1:1:{1}', 'day@1:1:1:{1}', 'values of different time zones cannot be put together'), ('day@0:1:1:{1}', 'week@0:1:1:{1}', 'values of different periods cannot be put together'), ('7 days@0:1:1:{1}', '7 months@0:1:1:{1}', 'values of different periods cannot be put together'), ('day@0:1:1:{1}', '2 days@0:1:1:{1}', 'values of different periods cannot be put together')) v(a, b, want);
SELECT is(outcome(format('SELECT %s FROM (VALUES (%L::timestamptz)) v(at)', q, at)), 'LY342 the instant of ' || what || ' is ' || at, format('%s of %s', q, at)) FROM unnest('{infinity,-infinity}'::text[]) at, (VALUES ('activity_agg(at, ''day'', ''UTC'')', 'an event'), ('preferred_hour_agg(at, ''UTC'')', 'an event'), ('preferred_weekday_agg(at, ''UTC'')', 'an event'), ('retention_events_agg(1, at, ''day'', ''UTC'')', 'an event'), ('window_funnel_agg(''1 s'', NULL, at, true)', 'an event'), ('sequence_match_agg(''(?1)'', at, true)', 'an event'), ('retention_signup_agg(at, NULL::activity_summary, ''day'', ''UTC'')', 'signing up')) v(q, what);
-- the first event decides, whichever comes first
SELECT is(activity_agg(timestamptz '2000-01-03 00:00+00' + d * interval '1 day', 'day', 'UTC' ORDER BY i)::text, 'day@c06e567d:' || want, 'days ' || days::text) FROM (VALUES ('{5,5,3,3,3,9}'::int[], '6:3:{3,5,9}'), ('{3,5,3}', '3:2:{3,5}'), ('{100,-100,0,-100,64,32,-64}', '7:2:{-100,-64,0,32,64,100}'), ('{9}', '1:1:{9}')) v(days, want), unnest(days) WITH ORDINALITY u(d, i) GROUP BY days, want;

-- ---- Concentrations against their definitions, over the members one by one.
CREATE TABLE held AS SELECT what, concentration_agg(x) AS c, array_agg(x ORDER BY x DESC) AS xs FROM (VALUES ('one', '{5}'::numeric[]), ('equal ones', '{2,2,2,2,2,2}'), ('few', '{1,2,2,3.5,10}'), ('some in debt', '{-4,-0.5,0,0,7,7,12}'), ('one has all', '{0,0,0,9}'), ('many', (SELECT array_agg(g * g % 12007 * 0.25) FROM generate_series(1, 6000) g))) v(what, xs), unnest(xs) x GROUP BY what;
CREATE TABLE top AS SELECT what, cardinality(xs) AS n, k, x, sum(x) OVER (PARTITION BY what ORDER BY k) AS amount, sum(x) OVER (PARTITION BY what) AS total FROM held, unnest(xs) WITH ORDINALITY u(x, k);
SELECT is(ROW(member_count(c), amount_total(c), round(gini(c), 12))::text, (SELECT ROW(max(n), max(total), round(sum((n + 1 - 2 * k) * x) / (max(n) * max(total)), 12)) FROM top t WHERE t.what = h.what)::text, 'members, amount and Gini of ' || what) FROM held h;
SELECT is(members_for_share(c, p), CASE p WHEN 0 THEN 0 ELSE (SELECT min(k) FROM top t WHERE t.what = h.what AND amount * 100 >= p * total) END, format('members for %s percent of %s', p, what)) FROM held h, unnest('{0,0.1,20,33.3,50,99.99,100}'::numeric[]) p;
SELECT is(round(top_share(c, p), 12), CASE p WHEN 0 THEN 0 ELSE (SELECT round(amount / total, 12) FROM top t WHERE t.what = h.what AND k = ceil(n * p / 100)) END, format('share of the top %s percent of %s', p, what)) FROM held h, unnest('{0,0.1,20,33.3,50,99.99,100}'::numeric[]) p;
SELECT results_eq(format('SELECT round(member_share, 9), members, amount, round(amount_share, 9) FROM pareto_curve((SELECT c FROM held WHERE what = %L), %s)', what, points), format('SELECT round(i / %2$s.0, 9), k, amount, round(amount / total, 9) FROM top, generate_series(1, %2$s) i WHERE what = %1$L AND k = ceil(n * i / %2$s.0) ORDER BY i', what, points), format('%s points of %s', points, what)) FROM held, unnest('{1,3,100}'::int[]) points;
SELECT is(split_part(outcome(format('SELECT count(*) FROM pareto_curve(''{1=1}'', %s)', points)), ' ', 1), want, format('a curve of %s points', points)) FROM (VALUES (0, 'LY003'), (1, '1'), (10000, '10000'), (10001, 'LY003')) v(points, want);
SELECT is(ROW(gini(c), top_share(c, 50), members_for_share(c, 50), (SELECT max(amount_share) FROM pareto_curve(c, 2)))::text, '(,,,)', 'no whole, no shares of ' || c::text) FROM unnest('{"{-1=1,1=1}","{0=3}","{-5=1,2=2}"}'::concentration[]) c;

-- ---- Equal values have one hash, and its 64 bits with seed 0 go on where its 32 bits end, as of every type.
SELECT is(outcome(format('SELECT concat_ws('' '', a = a, a = b, a <> a, a <> b, %1$s_hash(a) = %1$s_hash(%2$L), %1$s_hash(a) = %1$s_hash(b), %1$s_hash_extended(a, 0)::bit(32) = %1$s_hash(a)::bit(32), %1$s_hash_extended(a, 1) = %1$s_hash_extended(%2$L, 1), %1$s_hash_extended(a, 1) = %1$s_hash_extended(a, 0)) FROM (VALUES (%2$L::%1$s, %3$L::%1$s)) v(a, b)', type, a, b)), 't f f t t f t t f', 'equality and hashes of ' || type)
FROM (VALUES ('activity_summary', 'day@0:1:1:{1}', 'day@0:1:1:{2}'), ('cohort_matrix', 'month@0:{0/1/0=1}', 'month@0:{0/1/0=2}'), ('repurchase', 'day@0:{8/1/0=3}', 'day@0:{8/1/0=4}'), ('concentration', '{1=1}', '{1=2}')) v(type, a, b);

-- ---- Preferences at the ends of hours and weeks, and of ties.
SELECT is((preferred_hour_agg(at, 'UTC')).value, want, 'the hour of ' || at) FROM (VALUES ('1999-12-31 23:59:59.999999+00'::timestamptz, 23), ('2000-01-01 00:00+00', 0), ('2000-01-01 00:59:59.999999+00', 0), ('2000-01-01 01:00+00', 1), ('1999-12-31 00:00+00', 0), ('1999-12-30 23:00+00', 23)) v(at, want) GROUP BY at, want;
SELECT is((preferred_weekday_agg(at, 'UTC')).value, extract(isodow FROM at)::int, 'the weekday of ' || at) FROM generate_series(timestamptz '1999-12-20 00:00+00', '2000-01-10', '1 day') d, unnest(ARRAY[d, d - interval '1 us']) at GROUP BY at;
SELECT is(preferred_hour_agg(timestamptz '2024-01-01 00:00+00' + h * interval '1 hour', 'UTC')::text, want, 'hours ' || hours::text) FROM (VALUES ('{7,7,3}'::int[], '(7,2,3,0.66666666666666666667)'), ('{7,3,3,7}', '(3,2,4,0.50000000000000000000)'), ('{0,23}', '(0,1,2,0.50000000000000000000)')) v(hours, want), unnest(hours) h GROUP BY hours, want;
SELECT is((preferred_value_agg(x)).value, want, 'values ' || xs::text) FROM (VALUES ('{b,a}'::text[], 'a'), ('{a,b}', 'a'), ('{a,b,b}', 'b'), ('{aa,a}', 'a'), ('{a,aa}', 'a'), ('{"",a}', ''), ('{z,é,é,z}', 'z'), ('{b,b,a,NULL,NULL,NULL}', 'b')) v(xs, want), unnest(xs) x GROUP BY xs, want;

-- ---- Policies whose bounds are nought: who buys once is loyal, who bought a day before is won back.
SELECT is(lifecycle_stage(s, '2026-01-03', ('{"new_days": null, ' || policy || '}')::jsonb), want, format('of %s purchases by %s', frequency(s), policy)) FROM (VALUES ('"loyal_orders": 0', 1, 'loyal'), ('"loyal_orders": 1', 1, 'loyal'), ('"loyal_orders": 2', 1, 'active'), ('"loyal_orders": null', 9, 'active'), ('"won_back_days": 0', 2, 'won_back'), ('"won_back_days": 1', 2, 'active'), ('"won_back_days": null', 2, 'active')) v(policy, n, want),
	LATERAL (SELECT rfm_agg(timestamptz '2026-01-03' - i * interval '1 day', 5) AS s FROM generate_series(1, n) i) x;

SELECT is(lifecycle_stage(rfm_agg('2026-01-01', 5), timestamptz '2026-01-01' + after, policy), want, format('%s after the only purchase by %s', after, policy)) FROM (VALUES
	('{"new_days": 0}'::jsonb, interval '0', 'new'), ('{"new_days": 0}', '1 us', 'active'), ('{"new_days": null}', '0', 'active'), ('{"new_days": null, "active_days": 0}', '0', 'active'), ('{"new_days": null, "active_days": 0}', '1 us', 'at_risk'), ('{"new_days": null, "active_days": 0, "at_risk_days": 0}', '1 us', 'dormant'), ('{"new_days": null, "active_days": 0, "at_risk_days": 0, "dormant_days": 0}', '0', 'active')) v(policy, after, want) GROUP BY policy, after, want;
SELECT is(split_part(outcome(format('SELECT lifecycle_stage(NULL, now(), %L)', policy)), ' ', 1), want, 'the policy ' || policy) FROM (VALUES ('{"dormant_days": 1000000}', 'prospect'), ('{"dormant_days": 1000001}', 'LY347'), ('{"new_days": 0}', 'prospect'), ('{"new_days": -1}', 'LY347'), ('{"loyal_orders": "NaN"}', 'LY347'), ('{"at_risk_days": null}', 'LY347'), ('{"new_days": true}', 'LY347'),
	('{"active_days": 180}', 'prospect'), ('{"active_days": 181}', 'LY347'), ('{"at_risk_days": 365}', 'prospect'), ('{"at_risk_days": 366}', 'LY347'), ('{"active_days": 5, "at_risk_days": 5, "dormant_days": 5}', 'prospect')) v(policy, want);

-- ---- Paths in a long list of instants, most of which are too old: who views each odd second and likes the one after, buys at the end.
SELECT is(sequence_count_agg(pattern, timestamptz '2026-01-01' + i * interval '1 s', i < 100 AND i % 2 = 1, i % 2 = 0, i = bought), want::bigint, format('%s, bought at %s', pattern, bought)) FROM (VALUES ('(?1)(?t<=1)(?2)(?t==1)(?3)', 101, 1), ('(?1)(?t<=1)(?2)(?t==1)(?3)', 102, 0), ('(?1)(?t<=1)(?2)(?t==1)(?3)', 201, 0), ('(?1)(?t==51)(?2)(?t==51)(?3)', 201, 1), ('(?1)(?t==50)(?2)(?t==51)(?3)', 201, 0), ('(?1)(?t<=1)(?2).*(?3)', 201, 1), ('(?1)(?t<=1)(?2)', 0, 50)) v(pattern, bought, want),
	generate_series(1, 201) i WHERE i <= 100 OR i % 50 <= 2 GROUP BY pattern, bought, want;

-- ---- States are merged whatever part had no row, NULLs, or rows of its own: a
-- part for each partition, the plan of which says so.
CREATE TABLE part (k int, member_id bigint, at timestamptz, amount numeric, discount numeric, channel text) PARTITION BY LIST (k);
CREATE TABLE part0 PARTITION OF part FOR VALUES IN (0);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
CREATE TABLE part3 PARTITION OF part FOR VALUES IN (3);
INSERT INTO part SELECT 1 + g % 2, g % 13, timestamptz '2024-01-01' + g * 37 % 100 * interval '7 hours', g % 11 - 1, nullif(g % 5, 4), nullif('c' || g * 7 % 6, 'c0') FROM generate_series(1, 120) g;
INSERT INTO part SELECT k, 99, NULL, NULL, NULL, NULL FROM generate_series(1, 2) k;
CREATE TABLE alone AS TABLE part;
CREATE FUNCTION one(at timestamptz) RETURNS activity_summary LANGUAGE sql AS $$ SELECT activity_agg(at, 'week', 'UTC') $$;
CREATE TABLE asked AS SELECT q FROM unnest(ARRAY['activity_agg(at, ''day'', ''Europe/Rome'')', 'activity_rollup(one(at))', 'retention_agg(one(at))', 'retention_signup_agg(at, one(at + amount * interval ''1 day''), ''week'', ''UTC'')', 'retention_events_agg(member_id, at, ''week'', ''UTC'')', 'retention_events_agg(member_id, at + amount * interval ''300 days'', ''week'', ''UTC'')',
	'cohort_rollup(''week@0:{0/1/0=1,1/1/0=1}'')', 'repurchase_agg(one(at))', 'repurchase_rollup(CASE WHEN amount > 0 THEN ''week@0:{8/1/0=1,9/3/0=2}''::repurchase END)', 'concentration_agg(amount)', 'concentration_rollup(CASE WHEN amount > 0 THEN ''{1=1,2=5}''::concentration END)', 'preferred_hour_agg(at, ''UTC'')', 'preferred_weekday_agg(at, ''UTC'')',
	'preferred_value_agg(channel)', 'discount_agg(amount, discount)', 'window_funnel_agg(''2 days'', ''strict_increase'', at, channel = ''c1'', channel = ''c3'', channel = ''c5'')', 'window_funnel_agg(''2 days'', ''strict_order'', at, channel = ''c1'', channel = ''c3'')', 'sequence_count_agg(''(?1).*(?2)'', at, channel = ''c1'', channel = ''c2'')', 'sequence_match_agg(''(?1)(?2)'', at, channel = ''c1'', channel = ''c2'')',
	'retention(amount > 8, amount < 0, channel = ''c3'')']) q;
SET enable_partitionwise_aggregate = on;
SET max_parallel_workers_per_gather = 0;
CREATE FUNCTION explained(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT ok(EXISTS (SELECT FROM explained(format('SELECT %s FROM part', q)) l WHERE l ~ 'Partial Aggregate'), 'computed in parts: ' || q) FROM asked;
SELECT is(outcome(format('SELECT (%s)::text FROM part WHERE %s', q, filter)), outcome(format('SELECT (%s)::text FROM alone WHERE %s', q, filter)), format('in parts: %s where %s', q, filter))
FROM asked, unnest('{true,k <> 1,k <> 2,false,at IS NULL,k = 1 OR at IS NULL,k = 2 OR at IS NULL,member_id = 3}'::text[]) filter;
SELECT matches(outcome(format('SELECT (%s)::text FROM part', q)), '^' || state || ' ', 'in parts: ' || q) FROM (VALUES
	('activity_agg(at, CASE k WHEN 1 THEN ''day'' ELSE ''week'' END, ''UTC'')', 'LY341'), ('activity_agg(at, ''day'', CASE k WHEN 1 THEN ''Europe/Rome'' ELSE ''UTC'' END)', 'LY341'), ('retention_agg(activity_agg)', '42703'),
	('cohort_rollup(CASE k WHEN 1 THEN ''week@0:{0/1/0=1}'' ELSE ''day@0:{0/1/0=1}'' END::cohort_matrix)', 'LY341'), ('window_funnel_agg(k * interval ''1 s'', NULL, at, true)', 'LY344'), ('window_funnel_agg(''1 s'', CASE k WHEN 1 THEN ''strict_order'' END, at, true)', 'LY344'), ('window_funnel_agg(''1 s'', NULL, at, VARIADIC array_fill(true, ARRAY[k]))', 'LY344'),
	('sequence_match_agg(CASE k WHEN 1 THEN ''.'' ELSE ''.*'' END, at, true)', 'LY344'), ('sequence_match_agg(''.'', at, VARIADIC array_fill(true, ARRAY[k]))', 'LY344'), ('retention(VARIADIC array_fill(true, ARRAY[k]))', 'LY344'), ('retention_events_agg(member_id, at, CASE k WHEN 1 THEN ''day'' ELSE ''week'' END, ''UTC'')', 'LY341')) v(q, state);
RESET enable_partitionwise_aggregate;

-- ---- What is a part of an aggregate is no function for itself, by whatever types it is called.
CREATE SCHEMA outside;
CREATE TABLE inside AS SELECT proname, probin, prosrc, string_agg(replace(t::regtype::text, 'internal', 'bigint'), ', ' ORDER BY i) AS types, string_agg(CASE t WHEN 'bytea'::regtype THEN '''''' ELSE 'NULL' END, ', ' ORDER BY i) AS args
FROM pg_proc, unnest(proargtypes) WITH ORDINALITY u(t, i) WHERE pronamespace = 'loyalty'::regnamespace AND proname ~ '^(activity|cohort|concentration|discount|funnel|preferred|repurchase|retention|sequence|tally|window)_' AND 'internal'::regtype = ANY (proargtypes) AND proname !~ '_recv$' GROUP BY pg_proc.oid;
DO $$ DECLARE f record; BEGIN FOR f IN TABLE inside LOOP EXECUTE format('CREATE FUNCTION outside.%I(%s) RETURNS text LANGUAGE c AS %L, %L', f.proname, f.types, f.probin, f.prosrc); END LOOP; END $$;
SELECT throws_ok(format('SELECT outside.%I(%s)', proname, args), '0A000', proname || ' was called outside an aggregate', proname) FROM inside ORDER BY proname;

SELECT * FROM finish();
