-- Customer value: fits and forecasts, medians of some rounds.
--
--	psql -X -v members=23570 -v rounds=5 -f test/bench/clv.sql
--
-- in a database with the extension.  Members are simulated by the assumptions of
-- Pareto/NBD, first purchases fall on 84 days, and instants are whole days, as
-- in an orders table with dates.  With
-- -v exact=true instants keep their microseconds, so that no two histories are
-- equal: the most that a fit can have to do.
\set ON_ERROR_STOP 1
\set QUIET on
\if :{?members} \else \set members 23570 \endif
\if :{?rounds} \else \set rounds 5 \endif
\if :{?exact} \else \set exact false \endif
SET client_min_messages = warning;
SET timezone = 'UTC';
SET jit = off;
\pset format unaligned
\pset tuples_only on
DROP TABLE IF EXISTS clv_bench_member, clv_bench_model, clv_bench_run;
SELECT setseed(0.5) \g /dev/null
CREATE UNLOGGED TABLE clv_bench_member AS
SELECT member_id, loyalty.rfm_agg(CASE WHEN :exact THEN at ELSE date_trunc('day', at) END, (10 + spend * random())::numeric(10, 2)) AS summary
FROM (SELECT member_id, 20 - 30 * ln(1 - random()) AS spend, floor(ln(1 - random()) / ln(0.03 * active / (1 + 0.03 * active)))::int AS n, active, timestamptz '2025-01-01' + joined * interval '1 day' AS first
	FROM (SELECT i AS member_id, joined, least(365 - joined, 80 * (power(1 - random(), -1.6) - 1) + 0.001) AS active
		FROM (SELECT i, 84 * random() AS joined FROM generate_series(1, :members) i) j) u) v,
	generate_series(0, n) i, LATERAL (SELECT first + CASE WHEN i = 0 THEN 0 ELSE active * random() END * interval '1 day' AS at) w
GROUP BY member_id;
VACUUM ANALYZE clv_bench_member;
CREATE UNLOGGED TABLE clv_bench_model AS SELECT kind, loyalty.clv_fit(loyalty.clv_agg(summary, '2026-01-01'), kind) AS model
FROM clv_bench_member, unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) kind GROUP BY kind;
CREATE UNLOGGED TABLE clv_bench_run (n int, what text, workers int, seconds float8);

CREATE FUNCTION pg_temp.run(n int, what text, workers int, query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz;
BEGIN
	PERFORM set_config('max_parallel_workers_per_gather', workers::text, true);
	began := clock_timestamp();
	EXECUTE query;
	INSERT INTO clv_bench_run VALUES (n, what, workers, extract(epoch FROM clock_timestamp() - began));
END $$;
SELECT pg_temp.run(n, what, workers, query)
FROM generate_series(0, :rounds) round, unnest('{0,2}'::int[]) workers, (VALUES
	(1, 'sample of all members', $q$SELECT loyalty.clv_agg(summary, '2026-01-01') FROM clv_bench_member$q$),
	(2, 'sample and fit of BG/NBD, Gamma-Gamma', $q$SELECT loyalty.clv_fit(loyalty.clv_agg(summary, '2026-01-01'), 'bg/nbd') FROM clv_bench_member$q$),
	(3, 'sample and fit of MBG/NBD, Gamma-Gamma', $q$SELECT loyalty.clv_fit(loyalty.clv_agg(summary, '2026-01-01'), 'mbg/nbd') FROM clv_bench_member$q$),
	(4, 'sample and fit of Pareto/NBD, Gamma-Gamma', $q$SELECT loyalty.clv_fit(loyalty.clv_agg(summary, '2026-01-01'), 'pareto/nbd') FROM clv_bench_member$q$),
	(5, 'expected orders of all, BG/NBD', $q$SELECT sum(loyalty.expected_orders(summary, (SELECT model FROM clv_bench_model WHERE kind = 'bg/nbd'), '1 year', '2026-01-01')) FROM clv_bench_member$q$),
	(6, 'lifetime value of all, BG/NBD, discounted', $q$SELECT sum(loyalty.lifetime_value(summary, (SELECT model FROM clv_bench_model WHERE kind = 'bg/nbd'), '1 year', 0.1, '2026-01-01')) FROM clv_bench_member$q$),
	(7, 'lifetime value of all, Pareto/NBD, discounted', $q$SELECT sum(loyalty.lifetime_value(summary, (SELECT model FROM clv_bench_model WHERE kind = 'pareto/nbd'), '1 year', 0.1, '2026-01-01')) FROM clv_bench_member$q$)) q (n, what, query)
ORDER BY round, n, workers \g /dev/null

\pset tuples_only off
\pset format aligned
SELECT what, max(seconds) FILTER (WHERE workers = 0) AS serial_s, max(seconds) FILTER (WHERE workers = 2) AS two_workers_s
FROM (SELECT n, what, workers, round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds))::numeric, 4) AS seconds FROM clv_bench_run GROUP BY 1, 2, 3) m
GROUP BY n, what ORDER BY n;
SELECT kind, status, spend_status, members, repeat_members, (SELECT count(*) FROM loyalty.clv_histories((SELECT loyalty.clv_agg(summary, '2026-01-01') FROM clv_bench_member))) AS histories
FROM clv_bench_model, loyalty.clv_report(model) ORDER BY kind;
