-- cohort: every function but funnels against plain SQL, published cases and real data.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();
-- the same rows, each as often, in any order
CREATE FUNCTION pg_temp.same(a text, b text, label text) RETURNS text LANGUAGE sql AS
$$SELECT is_empty(format('((%1$s) EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL (%1$s))', a, b), label)$$;

-- ---- periods: against date_trunc, in zones with odd offsets and histories
SELECT setseed(0.4);
CREATE TEMP TABLE instant AS
SELECT timestamptz '1885-01-01 00:00+00' + random() * interval '215 years' AS at FROM generate_series(1, 3000);
INSERT INTO instant SELECT timestamptz '2011-10-30 00:00+00' + i * interval '10 minutes' FROM generate_series(0, 300) i;
INSERT INTO instant SELECT timestamptz '2011-12-28 00:00+00' + i * interval '1 hour' FROM generate_series(0, 100) i;
INSERT INTO instant SELECT timestamptz '1999-12-31 18:00+00' + i * interval '1 hour' FROM generate_series(0, 100) i;

SELECT is_empty(format($$
	SELECT at, z, u, first_active(a), date_trunc(u, at, z) AT TIME ZONE z
	FROM unnest(%L::text[]) z, unnest('{day,week,month,quarter,year}'::text[]) u,
		LATERAL (SELECT at, activity_agg(at, u, z) AS a FROM instant GROUP BY at) x
	WHERE first_active(a) IS DISTINCT FROM (date_trunc(u, at, z) AT TIME ZONE z)::date$$, zones),
	'periods begin where date_trunc says, in ' || zones::text)
FROM (VALUES ('{UTC,Asia/Shanghai,America/New_York}'::text[]), ('{America/St_Johns,Asia/Kathmandu,Pacific/Apia}'),
	('{Europe/London,Africa/Casablanca,Australia/Lord_Howe}'), ('{America/Sao_Paulo,Asia/Tehran,+05:45}')) v(zones);

SELECT is(first_active(activity_agg(at::timestamptz, period, 'UTC')), want::date, period || ' of ' || at)
FROM (VALUES
	('2000-01-03 00:00+00', 'week', '2000-01-03'), ('2000-01-02 23:59+00', 'week', '1999-12-27'),
	('2000-01-16 12:00+00', '2 weeks', '2000-01-03'), ('2000-01-17 12:00+00', '2 weeks', '2000-01-17'),
	('2000-01-16 12:00+00', '14 days', '2000-01-03'), ('2011-08-31 12:00+00', '6 months', '2011-07-01'),
	('2011-08-31 12:00+00', ' 2 Quarters ', '2011-07-01'), ('2011-08-31 12:00+00', '5 years', '2010-01-01'),
	('0044-03-15 12:00+00 BC', 'month', '0044-03-01 BC'), ('4713-01-01 00:00+00 BC', 'year', '4713-01-01 BC'),
	('0001-01-01 12:00+00', 'year', '0001-01-01'), ('0001-12-31 12:00+00 BC', 'year', '0001-01-01 BC'),
	('294276-12-31 23:59+00', 'quarter', '294276-10-01'), ('4714-11-24 00:00+00 BC', 'day', '4714-11-24 BC'), ('4714-11-24 00:00+00 BC', 'month', NULL)) v(at, period, want)
GROUP BY at, period, want;

SELECT is(first_active(activity_agg(at::timestamptz, 'day', zone)), want::date, at || ' in ' || coalesce(zone, 'NULL'))
FROM (VALUES ('2011-01-31 23:30+00', 'UTC', '2011-01-31'), ('2011-01-31 23:30+00', 'Asia/Shanghai', '2011-02-01'),
	('2011-02-01 04:30+00', 'America/New_York', '2011-01-31'), ('2011-01-31 23:30+00', NULL, '2011-01-31')) v(at, zone, want)
GROUP BY at, zone, want;

-- dates become instants by the session's zone, and keep their day in it only
SET timezone = 'Asia/Shanghai';
SELECT is(first_active(activity_agg(date '2011-01-01', 'day', current_setting('TimeZone'))), '2011-01-01', 'dates keep their day with the session''s zone');
SELECT is(first_active(activity_agg(date '2011-01-01', 'day', 'UTC')), '2010-12-31', 'and may lose it with another zone');
SELECT is(first_active(activity_agg('2011-01-01 00:00+08', 'day', NULL)), '2010-12-31', 'a NULL zone is never the session''s');
SET timezone = 'UTC';

SELECT throws_ok(format('SELECT activity_agg(now(), %L, %L)', period, zone), state, NULL,
	format('period %L in %L is refused', period, zone))
FROM (VALUES ('fortnight', 'UTC', 'LY340'), ('0 days', 'UTC', 'LY340'), ('-1 days', 'UTC', 'LY340'), ('', 'UTC', 'LY340'),
	('99999 days', 'UTC', 'LY340'), ('months2', 'UTC', 'LY340'), (NULL, 'UTC', 'LY340'), ('day', 'Mars/Olympus', 'LY340'),
	('day', '', 'LY340'), ('day', repeat('x', 300), 'LY340'), (repeat('1', 100) || ' days', 'UTC', 'LY340')) v(period, zone, state);
SELECT throws_ok($$SELECT activity_agg('infinity', 'day', 'UTC')$$, 'LY342', NULL, 'infinity is refused');
SELECT throws_ok($$SELECT activity_agg('-infinity', 'day', 'UTC')$$, 'LY342', NULL, '-infinity is refused');
SELECT throws_ok($$SELECT activity_agg(at, u, 'UTC') FROM (VALUES (now(), 'day'), (now(), 'month')) v(at, u)$$, 'LY341', NULL,
	'a period that varies is refused');
SELECT throws_ok(format('SELECT activity_agg(now(), u, z) FROM unnest(%L::text[]) u, unnest(%L::text[]) z', us, zs), 'LY341', NULL, format('%s in %s is refused', us, zs)) FROM (VALUES
	('{week,year}', '{UTC}'), ('{day}', '{Asia/Tokyo,Asia/Dubai}'), ('{day}', '{Etc/GMT+1,Etc/GMT+12}'), ('{day}', '{Etc/GMT+12,Etc/GMT+1}'), ('{day}', '{Etc/UTC,Etc/GMT}'), ('{day}', '{Etc/GMT+1,NULL}'), ('{day}', '{NULL,Etc/GMT+1}')) v(us, zs);
SELECT is(activity_agg(at, u, 'UTC')::text, 'week@c06e567d:4:3:{1..2}', 'different words for one period') FROM (VALUES (timestamptz '2000-01-10 00:00+00', 'week'), ('2000-01-11 00:00+00', 'weeks'), ('2000-01-12 00:00+00', '7 days'), ('2000-01-17 00:00+00', '1 week')) v(at, u);
SELECT throws_ok($$SELECT activity_agg(now(), 'day', z) FROM (VALUES ('UTC'), ('Asia/Shanghai')) v(z)$$, 'LY341', NULL,
	'a zone that varies is refused');

-- ---- the orders that the rest works on
CREATE TEMP TABLE o AS
SELECT member_id, at, round((random() * 300 - 20)::numeric, (random() * 3)::int) AS amount,
	('{web,app,store,phone}'::text[])[1 + (random() * 3.49)::int] AS channel,
	CASE WHEN random() < 0.3 THEN round((random() * 20)::numeric, 2) END AS discount
FROM (SELECT (random() * random() * 400)::bigint AS member_id,
		timestamptz '2023-01-01 00:00+00' + random() * random() * interval '700 days' AS at
	FROM generate_series(1, 6000)) x;
CREATE TEMP TABLE member AS
SELECT m AS member_id, timestamptz '2022-11-01 00:00+00' + random() * interval '500 days' AS joined_at FROM generate_series(0, 420) m;
UPDATE member SET joined_at = NULL WHERE member_id % 50 = 7;
CREATE TEMP TABLE act AS SELECT member_id, activity_agg(at, 'month', 'Europe/London') AS a,
	activity_agg(at, 'day', 'Europe/London') AS d, activity_agg(at, 'week', 'Europe/London') AS w FROM o GROUP BY 1;
CREATE TEMP VIEW month_active AS SELECT DISTINCT member_id, date_trunc('month', at AT TIME ZONE 'Europe/London')::date AS p FROM o;

SELECT pg_temp.same('SELECT member_id, unnest(active_dates(a)) FROM act', 'SELECT * FROM month_active', 'active_dates');
SELECT pg_temp.same('SELECT member_id, event_count(a), active_periods(a), first_active(a), last_active(a) FROM act',
	'SELECT member_id, (SELECT count(*) FROM o WHERE o.member_id = m.member_id), count(*)::int, min(p), max(p) FROM month_active m GROUP BY 1',
	'event_count, active_periods, first_active, last_active');
SELECT pg_temp.same($$SELECT member_id, was_active(a, '2023-03-31') FROM act$$,
	$$SELECT member_id, bool_or(p = '2023-03-01') FROM month_active GROUP BY 1$$, 'was_active');
SELECT is(was_active(a, 'infinity'), false, 'nobody was active at infinity') FROM act LIMIT 1;

-- weeks from Monday and from Sunday, and two of them
SELECT pg_temp.same(format($$SELECT member_id, unnest(active_dates(activity_agg(at, %L, 'Europe/London'))) FROM o GROUP BY 1$$, period),
	format($$SELECT DISTINCT member_id, (%s) FROM (SELECT member_id, (at AT TIME ZONE 'Europe/London')::date AS d FROM o) x$$, start), period)
FROM (VALUES ('week', $$date_trunc('week', d)::date$$), ('sunday week', $$date_trunc('week', d + 1)::date - 1$$), ('Sunday weeks', $$date_trunc('week', d + 1)::date - 1$$),
	('2 weeks', $$d - (d - date '2000-01-03') % 14$$), ('2 sunday weeks', $$d - (d - date '2000-01-02') % 14$$)) v(period, start);
SELECT is(activity_agg(d, 'sunday week', 'UTC')::text ~ '^sunday week@', true, 'a period of its own') FROM (SELECT date '2024-01-06' AS d) x;
SELECT is(active_dates(activity_agg(d, 'sunday week', 'UTC')), '{2023-12-31,2024-01-07}'::date[], 'Saturday and Sunday lie in different weeks') FROM unnest('{2024-01-06,2024-01-07}'::date[]) d;
SELECT is(active_dates(activity_agg(d, 'sunday week', 'UTC')), '{1999-12-26}'::date[], 'before 2000') FROM unnest('{1999-12-26,2000-01-01}'::date[]) d;
SELECT throws_ok($$SELECT activity_summary_merge(activity_agg('2024-01-06', 'sunday week', 'UTC'), activity_agg('2024-01-06', 'week', 'UTC'))$$, 'LY341', NULL, 'weeks of different beginnings are not put together');
SELECT throws_ok(format('SELECT %L::activity_summary', v), '22P02', NULL, v || ' is refused') FROM unnest(ARRAY['sunday@0:1:1:{1}', 'sunday day@0:1:1:{1}', '5215 sunday weeks@0:1:1:{1}']) v;
SELECT pg_temp.same($$SELECT member_id, rfm_agg_by(at, 1, 'sunday week', z)::text, z FROM o, unnest('{UTC,America/New_York}'::text[]) z GROUP BY 1, z$$,
	$$SELECT member_id, rfm_agg_by((date_trunc('week', (at AT TIME ZONE z) + interval '1 day') - interval '1 day') AT TIME ZONE z, 1, 'sunday week', z)::text, z FROM o, unnest('{UTC,America/New_York}'::text[]) z GROUP BY 1, z$$, 'summaries by weeks from Sunday');
SELECT is(first_purchase_at(rfm_agg_by(at, 1, 'sunday week', z)), want, 'the week of ' || at || ' in ' || z)
FROM (VALUES (timestamptz '2024-01-06 23:30+00', 'UTC', timestamptz '2023-12-31 00:00+00'), ('2024-01-07 00:00+00', 'UTC', '2024-01-07 00:00+00'), ('2024-01-06 23:30+00', 'Europe/Berlin', '2024-01-06 23:00+00'), ('2024-01-07 23:30+00', 'UTC', '2024-01-07 00:00+00')) v(at, z, want) GROUP BY at, z, want;
SELECT is(rfm_agg_by(now(), 1, 'sunday week', 'UTC')::text::rfm = rfm_agg_by(now(), 1, 'sunday week', 'UTC'), true, 'its text comes back');
SELECT throws_ok(format('SELECT rfm_agg_by(now(), 1, %L, %L)', u, 'UTC'), 'LY306', NULL, u || ' is no unit') FROM unnest('{key,mixed,row,sunday}'::text[]) u;

-- ---- streaks: against gaps and islands
CREATE TEMP VIEW island AS
SELECT member_id, min(p) AS first_period, max(p) AS last_period, count(*)::int AS periods
FROM (SELECT *, p - (row_number() OVER (PARTITION BY member_id ORDER BY p) * interval '1 month') AS g FROM month_active) x
GROUP BY member_id, g;
SELECT pg_temp.same('SELECT member_id, s.* FROM act, streaks(a) s', 'SELECT * FROM island', 'streaks');
SELECT pg_temp.same('SELECT member_id, longest_streak(a) FROM act', 'SELECT member_id, max(periods) FROM island GROUP BY 1', 'longest_streak');
SELECT pg_temp.same($$SELECT member_id, current_streak(a, '2023-05-17') FROM act$$,
	$$SELECT member_id, coalesce(max(CASE WHEN last_period >= '2023-05-01' THEN
		(extract(month FROM age('2023-05-01', first_period)) + 12 * extract(year FROM age('2023-05-01', first_period)) + 1)::int
		ELSE periods END) FILTER (WHERE first_period <= '2023-05-01' AND last_period >= '2023-04-01'), 0)
	FROM island GROUP BY 1$$, 'current_streak');
SELECT is(current_streak(activity_agg(d::timestamptz, 'day', 'UTC'), on_date::date), want, 'current streak on ' || on_date)
FROM unnest('{2024-01-01,2024-01-02,2024-01-03,2024-01-06}'::date[]) d,
	(VALUES ('2024-01-03', 3), ('2024-01-04', 3), ('2024-01-05', 0), ('2024-01-06', 1), ('2024-01-07', 1), ('2024-01-08', 0),
		('2023-12-31', 0), ('infinity', 0), ('-infinity', 0)) v(on_date, want)
GROUP BY on_date, want;

-- ---- retention: against the self-join
CREATE TEMP VIEW joined AS
SELECT f.c AS cohort, (extract(year FROM age(p, f.c)) * 12 + extract(month FROM age(p, f.c)))::int AS k, p, count(*) AS n
FROM month_active JOIN (SELECT member_id, min(p) AS c FROM month_active GROUP BY 1) f USING (member_id) GROUP BY 1, 2, 3;
CREATE TEMP TABLE wide AS SELECT (random() * 20)::bigint AS m, timestamptz '4000-01-01 00:00+00 BC' + random() * interval '2190000 days' AS at FROM generate_series(1, 300);
INSERT INTO wide SELECT m, at + i * interval '30 days' FROM wide, generate_series(-3, 3) i;
CREATE TEMP TABLE matrix AS SELECT retention_agg(a) AS r FROM act;
SELECT is(retention_events_agg(member_id, at, 'month', 'Europe/London')::text, (SELECT r::text FROM matrix), 'retention_events_agg is the same in one step') FROM o;
SELECT is((SELECT retention_events_agg(member_id, at, u, z)::text FROM o), (SELECT retention_agg(a)::text FROM (SELECT activity_agg(at, u, z) AS a FROM o GROUP BY member_id) x), 'by ' || u)
FROM (VALUES ('day', 'UTC'), ('3 days', 'Asia/Tokyo'), ('week', 'America/New_York'), ('year', 'UTC')) v(u, z);
SELECT is((SELECT retention_events_agg(m, at, 'day', 'UTC')::text FROM wide), (SELECT retention_agg(a)::text FROM (SELECT activity_agg(at, 'day', 'UTC') AS a FROM wide GROUP BY m) x), 'over six thousand years')
FROM (SELECT 1) one;
SELECT is((SELECT m.cohort_size FROM (SELECT retention_events_agg(m, at, 'day', 'UTC') AS r FROM (VALUES (NULL::bigint, now()), (1, NULL), (1, now()), (-9223372036854775808, now())) v(m, at)) x, retention_matrix(r) m), 2::bigint, 'NULL members and instants are left out');
SELECT is(retention_events_agg(1, at, 'day', 'UTC')::text, NULL, 'no rows, no matrix') FROM (SELECT now() WHERE false) v(at);
SELECT throws_ok($$SELECT retention_events_agg(1, 'infinity', 'day', 'UTC')$$, 'LY342', NULL, 'infinity is refused');
SELECT throws_ok($$SELECT retention_events_agg(1, now(), 'eon', 'UTC')$$, 'LY340', NULL, 'an unknown period is refused');
SELECT throws_ok($$SELECT retention_events_agg(1, now(), u, 'UTC') FROM unnest('{day,week}'::text[]) u$$, 'LY341', NULL, 'a period that varies is refused');
SELECT results_eq('SELECT cohort, offset_periods, period_start, active FROM matrix, retention_matrix(r, fill => false)',
	'SELECT cohort, k, p, n FROM joined ORDER BY 1, 2', 'retention_matrix without filling is the self-join');
SELECT results_eq('SELECT cohort, cohort_size, offset_periods, active, rate FROM matrix, retention_matrix(r)',
	$$SELECT c.cohort, c.n, x.k, coalesce(j.n, 0), coalesce(j.n, 0)::numeric / c.n
	FROM (SELECT cohort, n FROM joined WHERE k = 0) c
		CROSS JOIN LATERAL generate_series(0, (extract(year FROM age((SELECT max(p) FROM joined), c.cohort)) * 12
			+ extract(month FROM age((SELECT max(p) FROM joined), c.cohort)))::int) x(k)
		LEFT JOIN joined j ON j.cohort = c.cohort AND j.k = x.k ORDER BY 1, 3$$,
	'retention_matrix fills up to the last active period');
SELECT results_eq($$SELECT cohort, offset_periods, active FROM matrix, retention_matrix(r, '2023-04-15') $$,
	$$SELECT cohort, offset_periods, active FROM matrix, retention_matrix(r) WHERE period_start <= '2023-04-01'$$, 'until cuts off');
SELECT is((SELECT count(*) FROM matrix, retention_matrix(r, 'infinity')), (SELECT count(*) FROM matrix, retention_matrix(r)), 'until infinity is all');
SELECT is_empty($$SELECT * FROM matrix, retention_matrix(r, '-infinity')$$, 'until -infinity is nothing');
SELECT is_empty('SELECT * FROM retention_matrix(NULL)', 'no matrix, no rows');
-- the period in which until lies is not over
SELECT is_empty(format($$SELECT * FROM matrix, retention_matrix(r, %L) WHERE finished IS DISTINCT FROM (period_start + interval '1 month' <= %1$L)$$, until), 'finished by ' || until) FROM unnest('{2023-04-01,2023-04-15,2023-04-30,2025-01-01}'::text[]) until;
SELECT is((SELECT count(*) FROM matrix, retention_matrix(r) WHERE finished IS NOT NULL), 0::bigint, 'without until nothing is known of it');
SELECT is((SELECT bool_and(finished) FROM matrix, retention_matrix(r, 'infinity')), true, 'at the end of time all is finished');
SELECT is_empty(format($$SELECT * FROM matrix, activity_growth(r, %L) WHERE finished IS DISTINCT FROM (period_start + interval '1 month' <= %1$L)$$, until), 'growth, finished by ' || until) FROM unnest('{2023-04-01,2023-04-15,2023-04-30,2025-01-01}'::text[]) until;
SELECT results_eq($$SELECT period_start, active, churned FROM matrix, activity_growth(r, '2023-04-15')$$, $$SELECT period_start, active, churned FROM matrix, activity_growth(r) WHERE period_start <= '2023-04-01'$$, 'growth up to until');
SELECT results_eq($$SELECT period_start, active, churned, finished FROM activity_growth((SELECT retention_agg(activity_agg) FROM (SELECT activity_agg('2024-01-15', 'month', 'UTC')) x), '2024-03-31')$$,
	$$VALUES (date '2024-01-01', 1::bigint, 0::bigint, true), ('2024-02-01', 0, 1, true), ('2024-03-01', 0, 0, false)$$, 'growth goes on where nobody comes');
SELECT is_empty($$SELECT * FROM matrix, activity_growth(r, '-infinity')$$, 'growth until -infinity is nothing');
SELECT is((SELECT count(*) FROM matrix, activity_growth(r, 'infinity') WHERE finished), (SELECT count(*) FROM matrix, activity_growth(r)), 'growth until infinity is all');
SELECT is((SELECT count(*) FROM matrix, activity_growth(r) WHERE finished IS NOT NULL), 0::bigint, 'nothing is known of it without until');
SELECT is_empty('SELECT * FROM activity_growth(NULL)', 'no matrix, no growth');

SELECT results_eq('SELECT period_start, active, new_members, returning_members, kept, won_back, churned FROM matrix, activity_growth(r)',
	$$WITH f AS (SELECT member_id, min(p) AS c FROM month_active GROUP BY 1),
	p AS (SELECT generate_series(min(p), max(p), '1 month')::date AS p FROM month_active),
	x AS (SELECT p.p, m.member_id, f.c, EXISTS (SELECT FROM month_active b WHERE b.member_id = m.member_id AND b.p = p.p - interval '1 month') AS before
		FROM p JOIN month_active m USING (p) JOIN f USING (member_id)),
	churned AS (SELECT p.p, count(*) AS n FROM p JOIN month_active b ON b.p = p.p - interval '1 month'
		WHERE NOT EXISTS (SELECT FROM month_active m WHERE m.member_id = b.member_id AND m.p = p.p) GROUP BY 1)
	SELECT p.p, count(member_id), count(*) FILTER (WHERE c = p.p), count(*) FILTER (WHERE c < p.p), count(*) FILTER (WHERE before),
		count(*) FILTER (WHERE c < p.p AND NOT before), coalesce((SELECT n FROM churned WHERE churned.p = p.p), 0)
	FROM p LEFT JOIN x USING (p) GROUP BY p.p ORDER BY 1$$, 'activity_growth');
SELECT is_empty($$SELECT * FROM (SELECT *, lag(active) OVER w AS b FROM matrix, activity_growth(r) WINDOW w AS (ORDER BY period_start)) x
	WHERE kept_rate IS DISTINCT FROM kept::numeric / nullif(b, 0) OR churn_rate IS DISTINCT FROM churned::numeric / nullif(b, 0)
	   OR abs(growth_rate - growth(active, b)) > 1e-15 OR (growth_rate IS NULL) <> (growth(active, b) IS NULL)$$, 'and its rates');
SELECT is(growth(a, b), want, format('growth from %s to %s', b, a)) FROM (VALUES (3, 2, 0.5), (3, 0, NULL), (3, NULL, NULL), (NULL, 3, NULL), (-1, 2, -1.5)) v(a, b, want);

CREATE TEMP VIEW signup AS
SELECT m.member_id, date_trunc('month', joined_at AT TIME ZONE 'Europe/London')::date AS c FROM member m WHERE joined_at IS NOT NULL;
CREATE TEMP TABLE signup_matrix AS
SELECT retention_signup_agg(joined_at, a, 'month', 'Europe/London') AS r FROM member LEFT JOIN act USING (member_id);
SELECT results_eq('SELECT cohort, period_start, active FROM signup_matrix, retention_matrix(r, fill => false)',
	$$SELECT c, p, count(*) FROM signup JOIN month_active USING (member_id) WHERE p >= c GROUP BY 1, 2 ORDER BY 1, 2$$, 'cohorts by signing up');
SELECT results_eq('SELECT DISTINCT cohort, cohort_size FROM signup_matrix, retention_matrix(r) ORDER BY 1',
	'SELECT c, count(*) FROM signup GROUP BY 1 ORDER BY 1', 'members without orders count in the size');
SELECT results_eq('SELECT period_start, active, new_members FROM signup_matrix, activity_growth(r)',
	$$SELECT p::date, count(m.p), count(*) FILTER (WHERE m.p = c) FROM (SELECT generate_series(min(p), max(p), '1 month')::date AS p FROM month_active JOIN signup USING (member_id)) g
	LEFT JOIN (SELECT ma.*, min(ma.p) OVER (PARTITION BY member_id) AS c FROM month_active ma JOIN signup USING (member_id)) m USING (p) GROUP BY 1 ORDER BY 1$$,
	'activity before signing up is still activity');
SELECT is((SELECT string_agg(concat_ws(' ', to_char(m.cohort, 'MM'), m.cohort_size, m.offset_periods, m.active), ', ' ORDER BY m.cohort, m.offset_periods)
	FROM (SELECT retention_signup_agg(joined_at, a::activity_summary, 'month', 'UTC') AS r FROM (VALUES (timestamptz '2000-01-05 00:00+00', 'month@c06e567d:2:1:{24000,24002}'), ('2000-04-09 00:00+00', NULL), ('2000-04-10 00:00+00', 'month@c06e567d:1:1:{24001}')) v(joined_at, a)) x, retention_matrix(r) m),
	'01 1 0 1, 01 1 1 0, 01 1 2 1, 01 1 3 0, 04 2 0 0', 'up to the last cohort, which nobody of has come yet');
SELECT throws_ok($$SELECT retention_signup_agg(joined_at, a, 'month', 'UTC') FROM member JOIN act USING (member_id)$$, 'LY341', NULL, 'another zone than the summary''s is refused');
SELECT throws_ok($$SELECT retention_signup_agg('infinity', a, 'month', 'Europe/London') FROM act$$, 'LY342', NULL, 'infinite signing up is refused');
SELECT throws_ok($$SELECT retention_agg(x) FROM (SELECT a FROM act UNION ALL SELECT d FROM act) y(x)$$, 'LY341', NULL, 'periods are not mixed');

-- rollups: parts add up to the whole
SELECT is((SELECT cohort_rollup(r)::text FROM (SELECT retention_agg(a) AS r FROM act GROUP BY member_id % 7) x), r::text, 'cohort_rollup') FROM matrix;
SELECT is((SELECT repurchase_rollup(r)::text FROM (SELECT repurchase_agg(d) AS r FROM act GROUP BY member_id % 7) x),
	(SELECT repurchase_agg(d)::text FROM act), 'repurchase_rollup');
SELECT pg_temp.same($$SELECT member_id, activity_rollup(a)::text FROM (SELECT member_id, activity_agg(at, 'month', 'Europe/London') AS a FROM o GROUP BY 1, channel) x GROUP BY 1$$,
	'SELECT member_id, a::text FROM act', 'activity_rollup');

-- ---- repurchase: against window functions
CREATE TEMP VIEW gap AS
SELECT member_id, row_number() OVER w AS k, d - lag(d) OVER w AS gap
FROM (SELECT member_id, (at AT TIME ZONE 'Europe/London')::date AS d FROM o) x WINDOW w AS (PARTITION BY member_id ORDER BY d);
CREATE TEMP TABLE rep AS SELECT repurchase_agg(d) AS r FROM act;
SELECT results_eq('SELECT buyers(r), buyers(r, 2), buyers(r, 5), order_count(r), round(mean_orders(r), 12), round(mean_interval(r), 12),
		interval_percentile(r, 0), interval_percentile(r, 0.5), interval_percentile(r, 0.9), interval_percentile(r, 0.123), interval_percentile(r, 1) FROM rep',
	$$SELECT count(*) FILTER (WHERE k = 1), count(*) FILTER (WHERE k = 2), count(*) FILTER (WHERE k = 5), count(*)::numeric,
		round(count(*)::numeric / count(*) FILTER (WHERE k = 1), 12), round(avg(gap), 12),
		percentile_cont(0) WITHIN GROUP (ORDER BY gap), percentile_cont(0.5) WITHIN GROUP (ORDER BY gap), percentile_cont(0.9) WITHIN GROUP (ORDER BY gap),
		percentile_cont(0.123) WITHIN GROUP (ORDER BY gap), percentile_cont(1) WITHIN GROUP (ORDER BY gap) FROM gap$$, 'repurchase figures');
SELECT results_eq('SELECT k, repurchase_rate(r, k) FROM rep, generate_series(1, 60) k',
	'SELECT s.k::int, (count(*) FILTER (WHERE g.k = s.k + 1))::numeric / nullif(count(*) FILTER (WHERE g.k = s.k), 0) FROM gap g, generate_series(1, 60) s(k) GROUP BY s.k ORDER BY 1',
	'repurchase_rate after k orders');
SELECT pg_temp.same($$SELECT member_id, n, repurchased_within(d, n, '2023-06-01') FROM act, unnest('{0,7,30,90}'::int[]) n$$,
	$$SELECT member_id, n, CASE WHEN min(d) + n <= '2023-06-01' THEN count(*) > 1 AND (array_agg(d ORDER BY d))[2] - min(d) <= n END
	FROM (SELECT member_id, (at AT TIME ZONE 'Europe/London')::date AS d FROM o) x, unnest('{0,7,30,90}'::int[]) n GROUP BY 1, 2$$, 'repurchased_within');
SELECT throws_ok('SELECT repurchased_within(d, -1, now()::date) FROM act', 'LY003', NULL, 'a negative span is refused');
SELECT throws_ok($$SELECT repurchased_within(d, 1, 'infinity') FROM act$$, 'LY342', NULL, 'as of infinity is refused');
SELECT throws_ok('SELECT repurchase_rate(r, 0) FROM rep', 'LY003', NULL, 'after 0 orders is refused');
SELECT throws_ok(format('SELECT interval_percentile(r, %L) FROM rep', f), 'LY003', NULL, 'fraction ' || f || ' is refused') FROM unnest('{-0.1,1.1,NaN}'::float8[]) f;

-- ---- concentration: against window functions
CREATE TEMP TABLE spent AS SELECT member_id, sum(amount) AS x FROM o GROUP BY 1;
UPDATE spent SET x = round(x, 0) WHERE member_id % 3 = 0;
CREATE TEMP TABLE con AS SELECT concentration_agg(x) AS c FROM spent;
SELECT results_eq('SELECT member_count(c), amount_total(c), round(gini(c), 15) FROM con',
	$$SELECT count(*), sum(x), round(sum((2 * i - n - 1) * x) / (max(n) * sum(x)), 15)
	FROM (SELECT x, row_number() OVER (ORDER BY x) AS i, count(*) OVER () AS n FROM spent) y$$, 'members, total, Gini');
SELECT pg_temp.same($$SELECT p, round(top_share(c, p), 15) FROM con, unnest('{0,0.1,1,10,20,33.3,50,99.99,100}'::numeric[]) p$$,
	$$SELECT p, round(coalesce(sum(x) FILTER (WHERE i <= ceil(n * p / 100)), 0) / sum(x), 15)
	FROM (SELECT x, row_number() OVER (ORDER BY x DESC) AS i, count(*) OVER () AS n FROM spent) y, unnest('{0,0.1,1,10,20,33.3,50,99.99,100}'::numeric[]) p GROUP BY p$$,
	'top_share');
SELECT pg_temp.same($$SELECT p, members_for_share(c, p) FROM con, unnest('{0,1,10,50,80,99,100}'::numeric[]) p$$,
	$$SELECT p, CASE WHEN p = 0 THEN 0 ELSE min(i) FILTER (WHERE s * 100 >= t * p) END
	FROM (SELECT row_number() OVER w AS i, sum(x) OVER w AS s, sum(x) OVER () AS t FROM spent WINDOW w AS (ORDER BY x DESC, member_id ROWS UNBOUNDED PRECEDING)) y,
		unnest('{0,1,10,50,80,99,100}'::numeric[]) p GROUP BY p$$, 'members_for_share');
SELECT results_eq('SELECT members, amount, round(amount_share, 15) FROM con, pareto_curve(c, 7)',
	$$SELECT ceil(n * i / 7.0)::bigint, sum(x) FILTER (WHERE r <= ceil(n * i / 7.0)), round(sum(x) FILTER (WHERE r <= ceil(n * i / 7.0)) / sum(x), 15)
	FROM (SELECT x, row_number() OVER (ORDER BY x DESC) AS r, count(*) OVER () AS n FROM spent) y, generate_series(1, 7) i GROUP BY i, n ORDER BY i$$, 'pareto_curve');
SELECT is((SELECT concentration_rollup(c)::text FROM (SELECT concentration_agg(x) AS c FROM spent GROUP BY member_id % 5) y), c::text, 'concentration_rollup') FROM con;
SELECT is(round(gini(concentration_agg(x)), 10), want, 'Gini of ' || array_agg(x)::text)
FROM (VALUES (1, 1, 0.0), (2, 1, 0.0), (2, 1, 0.0), (3, 0, 0.75), (3, 0, 0.75), (3, 0, 0.75), (3, 10, 0.75), (4, 1, 0.25), (4, 2, 0.25), (4, 3, 0.25), (4, 4, 0.25),
	(5, 0, NULL), (5, 0, NULL), (6, -5, NULL), (6, 4, NULL), (7, -1, 1.0), (7, 3, 1.0)) v(g, x, want) GROUP BY g, want;
SELECT is(concentration_agg(x)::text, '{-2=1,1.5=3,100=1}', 'equal amounts are kept once, whatever their zeros') FROM (VALUES (1.5), (1.50), (1.500), (100), (-2.00)) v(x);
SELECT is(amount_total(concentration_agg(x)), 3e100 - 1e-50, 'huge and tiny amounts are exact') FROM (VALUES (1e100), (2e100), (-1e-50)) v(x);
SELECT is(concentration_agg(x)::text, NULL, 'no rows, no concentration') FROM (SELECT 1::numeric WHERE false) v(x);
SELECT is(concentration_agg(NULL)::text, '{}', 'only NULLs: nobody');
SELECT is_empty('SELECT pareto_curve(concentration_agg(NULL))', 'nobody has no curve');
SELECT is(gini(concentration_agg(NULL)), NULL, 'nor a Gini coefficient');
SELECT throws_ok(format('SELECT concentration_agg(%L)', x), 'LY343', NULL, x || ' is refused') FROM unnest('{NaN,Infinity,-Infinity}'::text[]) x;
SELECT throws_ok(format('SELECT top_share(c, %L) FROM con', p), 'LY003', NULL, p || ' percent is refused') FROM unnest('{-1,100.1,NaN,Infinity}'::text[]) p;
SELECT throws_ok('SELECT members_for_share(c, 101) FROM con', 'LY003', NULL, 'members for 101 percent are refused');
SELECT throws_ok(format('SELECT pareto_curve(c, %s) FROM con', n), 'LY003', NULL, n || ' points are refused') FROM unnest('{0,10001}'::int[]) n;

-- ---- preferences: against mode() and counting
SELECT pg_temp.same($$SELECT member_id, (h).value, (h).events, (h).total, (d).value, (d).events FROM
	(SELECT member_id, preferred_hour_agg(at, 'Asia/Shanghai') AS h, preferred_weekday_agg(at, 'Asia/Shanghai') AS d FROM o GROUP BY 1) x$$,
	$$WITH l AS (SELECT member_id, at AT TIME ZONE 'Asia/Shanghai' AS t FROM o),
	h AS (SELECT DISTINCT ON (member_id) member_id, extract(hour FROM t)::int AS v, count(*) AS n FROM l GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2),
	d AS (SELECT DISTINCT ON (member_id) member_id, extract(isodow FROM t)::int AS v, count(*) AS n FROM l GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2)
	SELECT h.member_id, h.v, h.n, (SELECT count(*) FROM o WHERE o.member_id = h.member_id), d.v, d.n FROM h JOIN d USING (member_id)$$, 'preferred hour and weekday');
SELECT pg_temp.same($$SELECT member_id, (c).value, (c).events, (c).total, (c).share FROM (SELECT member_id, preferred_value_agg(channel) AS c FROM o GROUP BY 1) x$$,
	$$SELECT DISTINCT ON (member_id) member_id, channel, count(*), sum(count(*)) OVER w::bigint, count(*) / sum(count(*)) OVER w
	FROM o GROUP BY 1, 2 WINDOW w AS (PARTITION BY member_id) ORDER BY 1, 3 DESC, channel COLLATE "C"$$, 'preferred channel');
SELECT is(preferred_value_agg(v)::text, want, array_agg(v)::text) FROM (VALUES (1, 'b', '(a,1,2,0.50000000000000000000)'), (1, 'a', '(a,1,2,0.50000000000000000000)'),
	(2, NULL, NULL), (3, '', '("",1,1,1.00000000000000000000)'), (4, 'ab', '(a,1,2,0.50000000000000000000)'), (4, 'a', '(a,1,2,0.50000000000000000000)')) x(g, v, want) GROUP BY g, want;
SELECT is(preferred_hour_agg(at, 'UTC')::text, want, 'preferred hour of ' || coalesce(at::text, 'NULL'))
FROM (VALUES ('0044-03-15 13:59:59.999999+00 BC'::timestamptz, '(13,1,1,1.00000000000000000000)'), (NULL, NULL), ('1999-12-31 23:00+00', '(23,1,1,1.00000000000000000000)')) v(at, want) GROUP BY at, want;
SELECT is((preferred_weekday_agg(d, 'UTC')).value, extract(isodow FROM d)::int, 'weekday of ' || d) FROM unnest('{1999-12-31,2000-01-01,2000-01-02,2000-01-03,1582-10-15,0044-03-15 BC}'::date[]) d GROUP BY d;
SELECT throws_ok($$SELECT preferred_hour_agg('infinity', 'UTC')$$, 'LY342', NULL, 'an hour of infinity is refused');
SELECT throws_ok($$SELECT preferred_weekday_agg(now(), 'Nowhere')$$, 'LY340', NULL, 'an unknown zone is refused');

SELECT pg_temp.same($$SELECT member_id, (d).* FROM (SELECT member_id, discount_agg(amount, discount) AS d FROM o GROUP BY 1) x WHERE d IS NOT NULL$$,
	$$SELECT member_id, count(*) FILTER (WHERE discount > 0), count(*), count(*) FILTER (WHERE discount > 0) / count(*)::numeric, sum(amount),
		coalesce(sum(amount) FILTER (WHERE discount > 0), 0), coalesce(sum(discount), 0), coalesce(sum(discount), 0) / nullif(sum(amount) + coalesce(sum(discount), 0), 0)
	FROM o WHERE amount >= 0 GROUP BY 1$$, 'discount_agg');
SELECT is(discount_agg(a, d)::text, want, label) FROM (VALUES
	('free order', 0::numeric, NULL::numeric, '(0,1,0.00000000000000000000,0,0,0,)'), ('a gift', 0, 5, '(1,1,1.00000000000000000000,0,0,5,1.00000000000000000000)'),
	('refund', -3, 1, NULL), ('unknown amount', NULL, 1, NULL)) v(label, a, d, want) GROUP BY label, want;
SELECT is((SELECT ROW((d).events, (d).total, (d).share, (v).events, (v).total, (v).share, (h).events, (h).total, (h).share) FROM (SELECT discount_agg(10, CASE WHEN g = 1 THEN 1 END) AS d, preferred_value_agg(CASE WHEN g = 1 THEN 'a' ELSE 'b' || g END) AS v, preferred_hour_agg(timestamptz '2024-01-01 00:00+00' + g * interval '1 hour', 'UTC') AS h FROM generate_series(1, 4) g) x)::text,
	'(1,4,0.25000000000000000000,1,4,0.25000000000000000000,1,4,0.25000000000000000000)', 'the same names for the same things');
SELECT throws_ok(format('SELECT discount_agg(%L, %L)', a, d), state, NULL, format('amount %s, discount %s', a, d))
FROM (VALUES ('1', '-1', 'LY003'), ('NaN', '0', 'LY343'), ('1', 'NaN', 'LY343'), ('Infinity', '0', 'LY343')) v(a, d, state);

-- ---- lifecycle_stage
SELECT is(lifecycle_stage(CASE WHEN days IS NOT NULL THEN (SELECT rfm_agg('2024-01-01 12:00+00'::timestamptz - d * interval '1 day', 10) FROM unnest(days::numeric[]) d) END, '2024-01-01 12:00+00'), want,
	'purchases ' || coalesce(days, 'never') || ' days ago')
FROM (VALUES (NULL, 'prospect'), ('{30}', 'new'), ('{30.001}', 'active'), ('{0}', 'new'), ('{90,91}', 'active'), ('{90.001}', 'at_risk'), ('{180}', 'at_risk'), ('{180.001}', 'dormant'), ('{365}', 'dormant'), ('{365.001}', 'lost'),
	('{1,40,50,60,70}', 'loyal'), ('{1,40,50,60}', 'active'), ('{10,375}', 'active'), ('{10,375.001}', 'won_back'), ('{10,375.001,400,500,600,700}', 'won_back'), ('{10,11,400}', 'active'), ('{100,1000}', 'at_risk')) v(days, want);
SELECT is(lifecycle_stage(r, '2024-01-01', p), want, 'policy ' || p::text)
FROM (SELECT rfm_agg(d, 10) AS r FROM unnest('{2023-01-01,2023-12-01}'::timestamptz[]) d) x,
	(VALUES ('{}'::jsonb, 'active'), ('{"loyal_orders": 2}', 'loyal'), (lifecycle_policy(loyal_orders => 2), 'loyal'), (lifecycle_policy(won_back_days => 300, loyal_orders => 2), 'won_back'),
		('{"active_days": 20}', 'at_risk'), ('{"active_days": 0, "at_risk_days": 0, "dormant_days": 0}', 'lost'), ('{"new_days": 1000}', 'new'), (lifecycle_policy(NULL, 1000, 1000, 1000, NULL, NULL), 'active')) v(p, want);
SELECT is(lifecycle_stage(NULL, NULL), NULL, 'no instant, no stage');
SELECT is(lifecycle_stage(NULL, now(), NULL), NULL, 'no policy, no stage');
SELECT is(lifecycle_stage(rfm_agg('2024-01-01', -5), '2024-06-01'), 'prospect', 'refunds alone make no customer');
SELECT throws_ok(format('SELECT lifecycle_stage(r, %L, %L) FROM (SELECT rfm_agg(%L, 1) r) x', '2024-01-01', p, '2023-01-01'), 'LY347', NULL, 'policy ' || p)
FROM unnest(ARRAY['[]', '1', '{"days": 1}', '{"new_days": -1}', '{"new_days": "30"}', '{"new_days": 1.5}', '{"active_days": null}', '{"active_days": 181}', '{"at_risk_days": 400}', '{"loyal_orders": 1e30}', '{"new_days": {"a": 1}}']) p;
SELECT is(lifecycle_stage(rfm_agg('2024-10-01 00:00+02', 1), '2024-10-31 00:00+01', time_zone => zone), want, 'thirty dates, over the end of summer time, in ' || coalesce(zone, 'no zone'))
FROM (VALUES ('UTC', 'active'), ('Europe/Berlin', 'new'), (NULL, NULL)) v(zone, want) GROUP BY zone, want;
SELECT throws_ok($$SELECT lifecycle_stage(rfm_agg('2024-01-01', 1), '2024-02-01', time_zone => 'Nowhere')$$, 'LY003', NULL, 'an unknown zone is refused');
SELECT throws_ok($$SELECT lifecycle_stage(rfm_agg('2024-01-01', 1), '2023-01-01')$$, 'LY302', NULL, 'as of before the last purchase is refused');

-- ---- the same bits in any order, plan and number of workers
CREATE TABLE po (LIKE o);
INSERT INTO po SELECT * FROM o;
ALTER TABLE po SET (parallel_workers = 2);
CREATE TABLE pact AS SELECT member_id, a, d FROM act;
ALTER TABLE pact SET (parallel_workers = 2);
ANALYZE po, pact;
CREATE VIEW answer AS
SELECT activity_agg(at, 'week', 'America/New_York')::text AS a, preferred_hour_agg(at, 'UTC')::text AS h, preferred_weekday_agg(at, NULL)::text AS wd, preferred_value_agg(channel)::text AS ch,
	discount_agg(amount, discount)::text AS di, concentration_agg(amount)::text AS c, window_funnel_agg('30 days', 'strict_increase', at, channel = 'web', channel = 'app', amount > 200, channel = 'store')::text AS f,
	window_funnel_agg('1 day', 'strict_order', at, channel = 'web', channel = 'app', amount > 200)::text AS fo, sequence_count_agg('(?1).*(?2)(?t<86400)(?1)', at, channel = 'web', channel = 'app')::text AS s,
	sequence_match_agg('(?1)(?2)(?1)(?2)(?2)', at, channel = 'web', channel = 'app')::text AS sm, retention(amount > 279.9, channel = 'phone', amount < -20)::text AS r, retention_events_agg(member_id, at, 'day', 'UTC')::text AS e,
	funnel_agg('30 days', 'any_order', at, amount < -19, channel = 'web', channel = 'app', amount > 279, amount < -19.5)::text AS fa, funnel_agg('1 day', NULL, at, NULL, channel = 'web', amount > 279, amount > 279.5)::text AS fi FROM po;
CREATE VIEW answer2 AS SELECT retention_agg(a)::text AS m, repurchase_agg(d)::text AS r, retention_signup_agg('2023-01-05', a, 'month', 'Europe/London')::text AS s, activity_rollup(a)::text AS ar FROM pact;
CREATE VIEW answer3 AS SELECT cohort_rollup(m)::text AS m, repurchase_rollup(r)::text AS r, concentration_rollup(c)::text AS c FROM
	(SELECT retention_agg(a) AS m, repurchase_agg(d) AS r, concentration_agg(event_count(a)) AS c FROM pact GROUP BY member_id % 100) x;
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE serial AS SELECT * FROM answer;
CREATE TEMP TABLE serial2 AS SELECT * FROM answer2;
CREATE TEMP TABLE serial3 AS SELECT * FROM answer3;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS off) ' || query; END$$;
SELECT matches((SELECT string_agg(l, E'\n') FROM pg_temp.plan('SELECT * FROM ' || v) l), 'Partial Aggregate', v || ' is computed in parallel') FROM unnest('{answer,answer2}'::text[]) v;
-- pgTAP's own functions keep a query from workers: it is run by itself
CREATE FUNCTION pg_temp.run(query text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN EXECUTE query INTO answer; RETURN answer; END $$;
SELECT is(pg_temp.run('SELECT w::text FROM answer w'), (SELECT w::text FROM serial w), 'the same bits with two workers');
SELECT is(pg_temp.run('SELECT w::text FROM answer2 w'), (SELECT w::text FROM serial2 w), 'the same bits with two workers, second step');
SELECT results_eq('SELECT * FROM answer3', 'SELECT * FROM serial3', 'the same bits of rollups');
SET parallel_leader_participation = off;
SELECT is(pg_temp.run('SELECT w::text FROM answer w'), (SELECT w::text FROM serial w), 'the same bits without the leader');
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE shuffled AS SELECT * FROM po ORDER BY random();
TRUNCATE po;
INSERT INTO po SELECT * FROM shuffled;
SELECT results_eq('SELECT * FROM answer', 'SELECT * FROM serial', 'the same bits in another order');
TRUNCATE po;
INSERT INTO po SELECT * FROM shuffled ORDER BY at DESC;
SELECT results_eq('SELECT * FROM answer', 'SELECT * FROM serial', 'the same bits from the last to the first');
-- partitionwise and by hashing or sorting
SET enable_hashagg = off;
SELECT pg_temp.same($$SELECT member_id, activity_agg(at, 'month', 'Europe/London')::text FROM po GROUP BY 1$$, 'SELECT member_id, a::text FROM act', 'the same bits by sorting');
RESET enable_hashagg;
-- a window frame that grows calls the final function again and again
SELECT results_eq($$SELECT event_count(activity_agg(at, 'day', 'UTC') OVER w), window_funnel_agg('1 day', NULL, at, true, true) OVER w, member_count(concentration_agg(amount) OVER w) FROM po WINDOW w AS (ORDER BY at ROWS UNBOUNDED PRECEDING) LIMIT 300$$,
	'SELECT i::bigint, 2, i::bigint FROM generate_series(1, 300) i', 'as window functions');

-- ---- nothing, one row, NULLs, a million equal rows
SELECT is(activity_agg(at, 'day', 'UTC')::text, NULL, 'no rows, no summary') FROM (SELECT now() WHERE false) v(at);
SELECT is(event_count(activity_agg(NULL, 'day', 'UTC')), 0::bigint, 'a NULL alone: an empty summary');
SELECT results_eq($$SELECT event_count(a), active_periods(a), first_active(a), last_active(a), longest_streak(a), current_streak(a, '2024-01-01'), active_dates(a), repurchased_within(a, 1, '2024-01-01')
	FROM (SELECT activity_agg(NULL, 'day', 'UTC') AS a) x$$, $$VALUES (0::bigint, 0, NULL::date, NULL::date, 0, 0, '{}'::date[], NULL::bool)$$, 'an empty summary');
SELECT is_empty($$SELECT streaks(activity_agg(NULL, 'day', 'UTC'))$$, 'has no streaks');
SELECT is(retention_agg(NULL)::text, '{}', 'retention of nobody');
SELECT is_empty('SELECT m.* FROM (SELECT retention_agg(NULL) AS r) x, retention_matrix(r) m', 'has no cells');
SELECT is_empty('SELECT m.* FROM (SELECT retention_agg(NULL) AS r) x, activity_growth(r) m', 'and no growth');
SELECT is(retention_agg(a)::text, NULL, 'no rows, no matrix') FROM act WHERE false;
SELECT results_eq($$SELECT m.* FROM (SELECT retention_agg(activity_agg) AS r FROM (SELECT activity_agg('2024-01-15', 'month', 'UTC')) x) y, retention_matrix(r) m$$,
	$$VALUES (date '2024-01-01', 1::bigint, 0, date '2024-01-01', 1::bigint, 1.00000000000000000000, NULL::boolean)$$, 'one member, one event');
SELECT results_eq('SELECT buyers(r), repurchase_rate(r), order_count(r), mean_orders(r), mean_interval(r), interval_percentile(r, 0.5) FROM (SELECT repurchase_agg(NULL) AS r) x',
	'VALUES (0::bigint, NULL::numeric, 0::numeric, NULL::numeric, NULL::numeric, NULL::float8)', 'repurchase of nobody');
SELECT results_eq($$SELECT m.* FROM (SELECT retention_agg(a) AS r FROM (SELECT activity_agg(at, 'year', 'UTC') AS a FROM unnest('{4713-01-01 00:00+00 BC,294276-01-01 00:00+00}'::timestamptz[]) at) x) y, retention_matrix(r, fill => false) m$$,
	$$VALUES (date '4713-01-01 BC', 1::bigint, 0, date '4713-01-01 BC', 1::bigint, 1.0, NULL::boolean), (date '4713-01-01 BC', 1::bigint, 298988, date '294276-01-01', 1::bigint, 1.0, NULL)$$, 'from the first to the last date');
CREATE TEMP TABLE million AS SELECT timestamptz '2024-01-01 12:00+00' AS at, 7.50 AS x, 'web' AS v FROM generate_series(1, 1000000);
SELECT is(ROW(a, h, w, v, d, c, gini(c), f, o, s, r)::text,
	'(day@c06e567d:1000000:1000000:{8764},"(12,1000000,1000000,1.00000000000000000000)","(1,1000000,1000000,1.00000000000000000000)","(web,1000000,1000000,1.00000000000000000000)","(0,1000000,0.000000000000000000000000,7500000.00,0,0,0.000000000000000000000000)",{7.5=1000000},0.00000000000000000000000000000000,2,1,500000,{t})', 'a million equal rows')
FROM (SELECT activity_agg(at, 'day', 'UTC') AS a, preferred_hour_agg(at, 'UTC') AS h, preferred_weekday_agg(at, 'UTC') AS w, preferred_value_agg(v) AS v, discount_agg(x, 0) AS d, concentration_agg(x) AS c,
	window_funnel_agg('1 day', NULL, at, true, x > 1) AS f, window_funnel_agg('1 day', 'strict_order,strict_once', at, true, false) AS o, sequence_count_agg('(?1)(?1)', at, true) AS s, retention(x > 1) AS r FROM million) y;
SELECT is(window_funnel_agg('1 day', 'strict_deduplication', at, true, x > 1), 2, 'a million equal rows, deduplicated') FROM million;
SELECT results_eq($$SELECT order_count(r), mean_interval(r), interval_percentile(r, 0.5) FROM (SELECT repurchase_agg(a) AS r FROM (SELECT activity_agg(at, 'day', 'UTC') AS a FROM million) x) y$$, 'VALUES (1000000::numeric, 0::numeric, 0::float8)', 'a million orders on one day');

-- ---- types: text and binary forms, and what they refuse
CREATE TABLE kept AS SELECT a, d, (SELECT r FROM matrix) AS m, (SELECT r FROM rep) AS r, (SELECT c FROM con) AS c FROM act;
SELECT is_empty($$SELECT * FROM kept WHERE a::text::activity_summary::text <> a::text OR d::text::activity_summary::text <> d::text OR m::text::cohort_matrix::text <> m::text OR r::text::repurchase::text <> r::text OR c::text::concentration::text <> c::text$$, 'text forms are read back');
SELECT format('COPY kept TO %L (FORMAT binary)', current_setting('data_directory') || '/cohort_test.copy') \gexec
CREATE TABLE kept_again (LIKE kept);
SELECT format('COPY kept_again FROM %L (FORMAT binary)', current_setting('data_directory') || '/cohort_test.copy') \gexec
SELECT pg_temp.same('SELECT a::text, d::text, m::text, r::text, c::text FROM kept_again', 'SELECT a::text, d::text, m::text, r::text, c::text FROM kept', 'binary forms are read back');
SELECT throws_ok(format('SELECT %L::%s', value, type), '22P02', NULL, format('%s %L is refused', type, value))
FROM (VALUES ('activity_summary', ''), ('activity_summary', 'day@0:1:1:{}'), ('activity_summary', 'day@0:0:0:{1}'), ('activity_summary', 'day@0:1:1:{2,1}'), ('activity_summary', 'day@0:2:1:{1,1}'), ('activity_summary', 'day@0:1:2:{1}'), ('activity_summary', 'eon@0:1:1:{1}'), ('activity_summary', 'day@0:1:1:{1'), ('activity_summary', 'day@0:1:1:{1}x'), ('activity_summary', 'day@0:1:1:{2..1}'), ('activity_summary', 'day@0:1:1:{99999999999}'),
	('cohort_matrix', ''), ('cohort_matrix', 'month@0:{8/1/0=1}'), ('cohort_matrix', 'month@0:{0/1/0=0}'), ('cohort_matrix', 'month@0:{0/1/-1=1}'), ('cohort_matrix', 'month@0:{0/1/0=1'), ('cohort_matrix', 'month@0:{0/99999999999/0=1}'), ('repurchase', 'day@0:{1/1/0=1}'), ('repurchase', '{}x'),
	('concentration', ''), ('concentration', '{1}'), ('concentration', '{1=0}'), ('concentration', '{NaN=1}'), ('concentration', '{x=1}'), ('concentration', '{1=1')) v(type, value);
SELECT throws_ok($$SELECT 'day@00000000:5000000000:1:{-2147483648..2147483647}'::activity_summary$$, '22P02', NULL, 'periods that hold no instant are refused before they are counted');
SELECT lives_ok(format('SELECT %L::activity_summary', format('%s@0:1:1:{%s}', period, n)), format('%s %s can hold an instant', period, n))
FROM (VALUES ('day', -2451548), ('day', 106751981), ('month', -56546), ('month', 3531324), ('36500 days', -68), ('year', -4713), ('year', 294277)) v(period, n);
SELECT throws_ok(format('SELECT %L::activity_summary', format('%s@0:1:1:{%s}', period, n)), '22P02', NULL, format('%s %s can not', period, n))
FROM (VALUES ('day', -2451549), ('day', 106751982), ('month', -56547), ('month', 3531325), ('year', -4714), ('year', 294278)) v(period, n);
-- counts that no bigint holds: refused, not wrapped around, for what wraps would not be read again
SELECT throws_ok(format('SELECT %s FROM (SELECT %L::%s AS v) x, generate_series(1, 2)', call, value, type), '22003', 'the counts add up to more than a bigint holds', call)
FROM (VALUES ('activity_rollup(v)', 'activity_summary', 'day@0:9223372036854775807:1:{1,2}'), ('activity_summary_merge(v, v)', 'activity_summary', 'day@0:9223372036854775807:1:{1,2}'),
	('cohort_rollup(v)', 'cohort_matrix', 'month@0:{0/24288/0=9223372036854775807}'), ('repurchase_rollup(v)', 'repurchase', 'month@0:{8/10/0=9223372036854775807}'),
	('concentration_rollup(v)', 'concentration', '{1=9223372036854775807}'), ('rollup(v)', 'rfm', '{"v":1,"unit":"row","purchases":9223372036854775807,"refunds":0,"first_purchases":1,"first":"2024-01-01 00:00:00+00","second":"2024-01-02 00:00:00+00","previous":"2024-01-03 00:00:00+00","last":"2024-01-04 00:00:00+00","bought":9,"refunded":0,"first_bought":1}'),
	('rfm_accum(v, now(), 1)', 'rfm', '{"v":1,"unit":"row","purchases":9223372036854775807,"refunds":0,"first_purchases":1,"first":"2024-01-01 00:00:00+00","second":"2024-01-02 00:00:00+00","previous":"2024-01-03 00:00:00+00","last":"2024-01-04 00:00:00+00","bought":9,"refunded":0,"first_bought":1}'),
	('clv_rollup(v)', 'clv_sample', '{"v":1,"horizon":0,"histories":[[9223372036854775807,9,14850000000000,63008400000000,100]]}')) v(call, type, value);
SELECT throws_ok($$SELECT '{1=9223372036854775807,2=1}'::concentration$$, '22003', NULL, 'nor may the counts of one value');
SELECT throws_ok($$SELECT 'day@0:{8/1/0=9223372036854775807,8/2/0=1}'::repurchase$$, '22003', NULL, 'nor the members of one value');
SELECT is((SELECT ROW(buyers(r), interval_percentile(r, 1), interval_percentile(r, 0)) FROM (SELECT 'day@0:{8/1/0=1,9/3/0=9007199254740995,9/4/0=1}'::repurchase AS r) x)::text, '(1,4,3)', 'the last of more pairs than a double counts');
-- the parts of retention() are not for calling, and trust no state
SELECT throws_ok(format('SELECT %s(%s)', f, args), '0A000', f || ' was called outside an aggregate', f) FROM (VALUES ('retention_final', '1000000000000'), ('retention_combine', '1, 1'), ('retention_trans', '1, true'), ('activity_agg_trans', $$NULL, now(), 'day', 'UTC'$$)) v(f, args);
CREATE AGGREGATE pg_temp.own_retention(bigint) (SFUNC = int8pl, STYPE = bigint, INITCOND = '0', FINALFUNC = retention_final);
SELECT throws_ok(format('SELECT pg_temp.own_retention(%s)', state), 'LY345', NULL, 'no state of retention: ' || state) FROM unnest('{1000000000000,-1,0,4294967295,141733920768,9223372036854775807}'::bigint[]) state;
SELECT is(pg_temp.own_retention(state), want, 'a state of retention: ' || state) FROM (VALUES (4294967296, '{f}'::bool[]), (4294967297, '{t}'), (8589934594, '{f,f}'), (8589934595, '{t,t}'), (12884901893, '{t,f,t}')) v(state, want) GROUP BY state, want;

SELECT is_empty('SELECT FROM kept WHERE a <> a::text::activity_summary OR m <> m::text::cohort_matrix OR r <> r::text::repurchase OR c <> c::text::concentration OR NOT a = a OR a = d', 'equality');
SELECT is((SELECT ROW(count(DISTINCT a::text), (SELECT count(*) FROM (SELECT a FROM kept GROUP BY a) x), (SELECT count(*) FROM (SELECT m, r, c FROM kept GROUP BY 1, 2, 3) x)) FROM kept)::text,
	(SELECT ROW(count(DISTINCT a::text), count(DISTINCT a::text), 1) FROM kept)::text, 'grouping');
SELECT ok(max(pg_column_size(a)) <= 56, 'a summary by month takes at most 56 bytes over two years') FROM act;

-- ---- real data: Online Retail
SELECT coalesce(nullif(:'data', ''), '') <> '' AS has_data \gset
\if :has_data
\set expected :data '/expected'
CREATE TEMP TABLE line (invoice text, stock text, description text, quantity integer, invoice_date timestamp, price numeric, customer text, country text);
\set copy_lines 'COPY line FROM PROGRAM ' '''gzip -dc ' :data '/online_retail/online_retail.csv.gz''' ' (FORMAT csv, HEADER)'
:copy_lines;
CREATE TEMP TABLE retail AS SELECT customer::numeric::bigint AS customer_id, invoice, min(invoice_date) AS at, sum(quantity * price) AS amount
FROM line WHERE customer <> '' AND quantity > 0 AND price > 0 GROUP BY 1, 2;
CREATE TEMP TABLE expected_matrix (cohort date, size bigint, "0" bigint, "1" bigint, "2" bigint, "3" bigint, "4" bigint, "5" bigint, "6" bigint, "7" bigint, "8" bigint, "9" bigint, "10" bigint, "11" bigint, "12" bigint);
CREATE TEMP TABLE expected_figure (metric text, value numeric);
\set copy_matrix '\\copy expected_matrix from ' '''' :expected '/cohort_online_retail_matrix.csv''' ' csv header'
\set copy_figures '\\copy expected_figure from ' '''' :expected '/repurchase_online_retail.csv''' ' csv header'
:copy_matrix
:copy_figures
SELECT results_eq($$SELECT cohort, cohort_size, offset_periods, active FROM (SELECT retention_agg(a) AS r FROM (SELECT activity_agg(at, 'month', NULL) AS a FROM retail GROUP BY customer_id) x) y, retention_matrix(r)$$,
	$$SELECT cohort, size, k::int, v FROM expected_matrix e, LATERAL (SELECT key::int AS k, value::bigint AS v FROM jsonb_each_text(to_jsonb(e) - 'cohort' - 'size') WHERE value IS NOT NULL) c ORDER BY 1, 3$$, 'Online Retail: every cell of the cohort matrix');
CREATE TEMP TABLE retail_day AS SELECT customer_id, activity_agg(at, 'day', NULL) AS a, rfm_agg(at, amount) AS r FROM retail GROUP BY 1;
CREATE TEMP TABLE figure AS
SELECT f.* FROM (SELECT repurchase_agg(a) AS r FROM retail_day) x, LATERAL (VALUES ('customers', buyers(r)::numeric), ('orders', order_count(r)), ('repeat_customers(orders>=2)', buyers(r, 2)), ('repurchase_rate', repurchase_rate(r)), ('mean_orders', mean_orders(r)),
	('mean_interpurchase_days', mean_interval(r)), ('median_interpurchase_days', interval_percentile(r, 0.5)::numeric), ('p90_interpurchase_days', interval_percentile(r, 0.9)::numeric)) f(metric, value)
UNION ALL SELECT format('P(order %s | order %s)', k + 1, k), repurchase_rate(r, k) FROM (SELECT repurchase_agg(a) AS r FROM retail_day) x, generate_series(1, 5) k
UNION ALL SELECT format('repurchase_within_%sd_of_first (eligible=%s)', n, count(w)), avg(w::int) FROM (SELECT n, repurchased_within(a, n, '2011-12-10') AS w FROM retail_day, unnest('{30,60,90,180}'::int[]) n) x GROUP BY n
UNION ALL SELECT 'lifecycle_' || CASE s WHEN 'at_risk' THEN 'cooling' WHEN 'lost' THEN 'churned' ELSE s END, count(*) FROM (SELECT lifecycle_stage(r, '2011-12-10', lifecycle_policy(30, 30, 90, 180, NULL, NULL)) AS s FROM retail_day) x GROUP BY s;
SELECT is_empty($$SELECT * FROM figure f FULL JOIN expected_figure e USING (metric) WHERE abs(f.value - e.value) <= 5e-10 * greatest(1, e.value) IS NOT TRUE$$, 'Online Retail: every repurchase and lifecycle figure');
SELECT is((SELECT count(*) FROM figure), 22::bigint, 'Online Retail: 22 figures');
\else
SELECT skip('Online Retail: no data beside the checkout', 3);
\endif

SELECT * FROM finish();
