-- Retention matrix: ours against SQL that one would write by hand.
--
--	psql -X -v orders=10000000 -v members=500000 -v rounds=3 -f test/bench/cohort.sql
--
-- in a database with the extension.  Ours are
--	one step	retention_events_agg over the events
--	two steps	retention_agg over activity_agg of each member
-- Rivals, all with the same answer:
--	self-join	first month of each member joined to its distinct months, the
--				way it is usually written
--	window		the best plain SQL we know: one grouping by member and month,
--				the cohort by a window function over it
-- Each statement runs in turn, rounds times, serial and with two workers.
-- The table at the end has medians, ratios (ours / rival) and the peak of the
-- backend's private memory, where /proc tells it (serial runs; in parallel
-- it is the leader's alone).  Table cohort_bench_order stays.
\set ON_ERROR_STOP 1
\set QUIET on
\if :{?orders} \else \set orders 10000000 \endif
\if :{?members} \else \set members 500000 \endif
\if :{?rounds} \else \set rounds 3 \endif
\if :{?steps} \else \set steps /tmp/cohort_bench_steps.sql \endif
\if :{?work_mem} \else \set work_mem 256MB \endif
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset format unaligned
\pset tuples_only on

-- Members join over three years, buy more often at first, and some far more
-- often than others.
DROP TABLE IF EXISTS cohort_bench_order, cohort_bench_run;
SELECT setseed(0.5) \g /dev/null
CREATE UNLOGGED TABLE cohort_bench_order AS
SELECT member_id, timestamptz '2022-01-01 00:00+00' + (joined + (1095 - joined) * power(random(), 1.3)) * interval '1 day' AS at,
	round((random() * 200)::numeric, 2) AS amount
FROM (SELECT m.member_id, m.member_id * 7919 % 1000 AS joined
	FROM (SELECT CASE WHEN i % 3 = 0 THEN i % :members ELSE (random() * random() * (:members - 1))::bigint END + 1 AS member_id
		FROM generate_series(1, :orders) i) m) x;
VACUUM ANALYZE cohort_bench_order;
CREATE UNLOGGED TABLE cohort_bench_run (workers int, what text, seconds float8, answer text, private_kb bigint);

CREATE FUNCTION pg_temp.status_kb(field text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RETURN substring(pg_read_file('/proc/' || pg_backend_pid() || '/status') FROM field || ':\s+(\d+) kB')::bigint;
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END $$;

CREATE FUNCTION pg_temp.run(workers int, what text, query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
	answer text;
	took float8;
BEGIN
	EXECUTE query INTO answer;
	took := extract(epoch FROM clock_timestamp() - began);
	INSERT INTO cohort_bench_run VALUES (workers, what, took, answer, pg_temp.status_kb('VmHWM') - pg_temp.status_kb('RssShmem'));
END $$;

-- a digest of all cells, so that every statement has to compute them all
\set onestep 'SELECT md5(string_agg(concat_ws('','', cohort, period_start, active), '';'' ORDER BY cohort, period_start)) FROM (SELECT loyalty.retention_events_agg(member_id, at, ''month'', ''UTC'') AS r FROM cohort_bench_order) y, loyalty.retention_matrix(r, fill => false)'
\set twosteps 'SELECT md5(string_agg(concat_ws('','', cohort, period_start, active), '';'' ORDER BY cohort, period_start)) FROM (SELECT loyalty.retention_agg(a) AS r FROM (SELECT loyalty.activity_agg(at, ''month'', ''UTC'') AS a FROM cohort_bench_order GROUP BY member_id) x) y, loyalty.retention_matrix(r, fill => false)'
\set selfjoin 'WITH first AS (SELECT member_id, date_trunc(''month'', min(at)) AS cohort FROM cohort_bench_order GROUP BY 1), active AS (SELECT DISTINCT member_id, date_trunc(''month'', at) AS period FROM cohort_bench_order), cell AS (SELECT cohort, period, count(*) AS active FROM first JOIN active USING (member_id) GROUP BY 1, 2) SELECT md5(string_agg(concat_ws('','', cohort::date, period::date, active), '';'' ORDER BY cohort, period)) FROM cell'
\set window 'WITH active AS (SELECT date_trunc(''month'', at) AS period, min(date_trunc(''month'', at)) OVER (PARTITION BY member_id) AS cohort FROM cohort_bench_order GROUP BY member_id, 1), cell AS (SELECT cohort, period, count(*) AS active FROM active GROUP BY 1, 2) SELECT md5(string_agg(concat_ws('','', cohort::date, period::date, active), '';'' ORDER BY cohort, period)) FROM cell'

-- a connection of its own for each statement, so that peaks of memory do not mix
SELECT format($s$
\c
SET client_min_messages = warning;
SET timezone = 'UTC';
SET work_mem = %4$L;
SET jit = off;
SET max_parallel_workers_per_gather = %1$s;
CREATE FUNCTION pg_temp.status_kb(field text) RETURNS bigint LANGUAGE plpgsql AS %5$L;
CREATE FUNCTION pg_temp.run(workers int, what text, query text) RETURNS void LANGUAGE plpgsql AS %6$L;
SELECT pg_temp.run(%1$s, %2$L, %3$L) \g /dev/null
$s$, workers, what, query, :'work_mem',
	(SELECT prosrc FROM pg_proc WHERE oid = 'pg_temp.status_kb(text)'::regprocedure),
	(SELECT prosrc FROM pg_proc WHERE oid = 'pg_temp.run(int,text,text)'::regprocedure))
FROM generate_series(1, :rounds) round, unnest('{0,2}'::int[]) workers,
	(VALUES (1, 'one step', :'onestep'), (2, 'self-join', :'selfjoin'), (3, 'two steps', :'twosteps'), (4, 'window', :'window')) q(n, what, query)
ORDER BY workers, round, CASE WHEN round % 2 = 1 THEN n ELSE -n END
\g :steps
\i :steps

\pset format aligned
\pset tuples_only off
SELECT DISTINCT answer IS NOT DISTINCT FROM (SELECT answer FROM cohort_bench_run LIMIT 1) AS "all answers are the same" FROM cohort_bench_run;
WITH median AS (
	SELECT workers, what, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds, max(private_kb) / 1024 AS mb
	FROM cohort_bench_run GROUP BY 1, 2)
SELECT o.workers, o.what AS ours, r.what AS rival, round(o.seconds::numeric, 2) AS "ours, s", round(r.seconds::numeric, 2) AS "rival, s",
	round((o.seconds / r.seconds)::numeric, 2) AS ratio, round((r.seconds / o.seconds)::numeric, 2) AS "times faster",
	CASE WHEN r.what = 'self-join' AND o.what = 'one step' THEN 'at least 3' END AS target, o.mb AS "ours, MB", r.mb AS "rival, MB"
FROM median r JOIN median o USING (workers) WHERE o.what ~ 'step' AND r.what !~ 'step' ORDER BY 1, 2, 3;
