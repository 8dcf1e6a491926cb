-- Room member, measured against what a good engineer would write by hand.
-- psql -Xqf test/bench/member.sql [-v edges=5000000] [-v nodes=2000000]
-- pgr_connectedComponents is measured where pgRouting's library is installed.
\set ON_ERROR_STOP on
\if :{?edges} \else \set edges 5000000 \endif
\if :{?nodes} \else \set nodes 2000000 \endif
\set QUIET on
\pset footer off
SET client_min_messages = warning;
SET search_path = pg_catalog, pg_temp;

CREATE EXTENSION IF NOT EXISTS loyalty;
CREATE TEMP TABLE result (what text, edges bigint, run int, ms numeric, PRIMARY KEY (what, edges, run));
SELECT setseed(0.42) \g /dev/null
CREATE UNLOGGED TABLE public.bench_edge AS
	SELECT i AS id, floor(random() * :nodes)::bigint AS a, floor(random() * :nodes)::bigint AS b
	FROM generate_series(1, :edges) i;
ANALYZE public.bench_edge;
-- a small graph of the same density, for what does not finish on the large one
CREATE UNLOGGED TABLE public.bench_small AS
	SELECT i AS id, floor(random() * 1000)::bigint AS a, floor(random() * 1000)::bigint AS b
	FROM generate_series(1, 2500) i;
CREATE INDEX ON public.bench_small (a);
CREATE INDEX ON public.bench_small (b);
ANALYZE public.bench_small;

CREATE FUNCTION pg_temp.measure(what text, edges bigint, runs int, query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz;
BEGIN
	FOR run IN 1 .. runs LOOP
		started := clock_timestamp();
		EXECUTE query;
		INSERT INTO result VALUES (what, edges, run, 1000 * extract(epoch FROM clock_timestamp() - started));
	END LOOP;
END $$;

-- the program rather than its wrapper, which only prepares the query's text
DO $$
BEGIN
	CREATE FUNCTION pg_temp.pgr(edges_sql text, OUT seq bigint, OUT component bigint, OUT node bigint)
	RETURNS SETOF record LANGUAGE c IMMUTABLE STRICT AS '$libdir/libpgrouting-3.4', '_pgr_connectedcomponents';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'pgr_connectedComponents is not measured: %', SQLERRM;
END $$;

\set ours 'SELECT count(*) FROM (SELECT loyalty.components_agg(a, b) AS v FROM public.bench_edge) e, loyalty.expand_components(e.v)'
\set oursmall 'SELECT count(*) FROM (SELECT loyalty.components_agg(a, b) AS v FROM public.bench_small) e, loyalty.expand_components(e.v)'
\set distinct 'SELECT count(DISTINCT a) FROM public.bench_edge'
\set recursive 'WITH RECURSIVE link AS (SELECT a, b FROM public.bench_small UNION SELECT b, a FROM public.bench_small), reach(node, other) AS (SELECT a, a FROM link UNION SELECT r.node, l.b FROM reach r JOIN link l ON l.a = r.other) SELECT count(*) FROM (SELECT node, min(other) FROM reach GROUP BY node) c'
SET max_parallel_workers_per_gather = 0;
SELECT pg_temp.measure('components_agg + expand_components, one process', :edges, 3, :'ours') \g /dev/null
SELECT pg_temp.measure('count(DISTINCT a), one process', :edges, 3, :'distinct') \g /dev/null
SELECT pg_temp.measure('pgr_connectedComponents', :edges, 1,
	$$SELECT count(*) FROM pg_temp.pgr('SELECT id, a AS source, b AS target, 1::float8 AS cost FROM public.bench_edge')$$)
WHERE to_regprocedure('pg_temp.pgr(text)') IS NOT NULL \g /dev/null
SELECT pg_temp.measure('components_agg + expand_components', 2500, 3, :'oursmall') \g /dev/null
SELECT pg_temp.measure('recursive CTE', 2500, 1, :'recursive') \g /dev/null
RESET max_parallel_workers_per_gather;
SELECT pg_temp.measure('components_agg + expand_components, parallel', :edges, 3, :'ours') \g /dev/null
SELECT pg_temp.measure('count(DISTINCT a), default settings', :edges, 3, :'distinct') \g /dev/null

-- best of the runs, as a ratio of ours (in one process) on the same edges
WITH best AS (SELECT what, edges, min(ms) AS ms FROM result GROUP BY what, edges)
SELECT b.what, b.edges, round(b.ms, 1) AS ms, round(b.ms / o.ms, 2) AS "times ours",
	   CASE WHEN b.what LIKE 'count%' THEN 'at least 0.5'
			WHEN b.what LIKE 'pgr%' OR b.what LIKE 'recursive%' THEN 'at least 5' END AS promise
FROM best b JOIN best o ON o.edges = b.edges
	AND o.what = CASE WHEN b.edges = 2500 THEN 'components_agg + expand_components' ELSE 'components_agg + expand_components, one process' END
ORDER BY b.edges DESC, b.ms;

TRUNCATE result;
SELECT pg_temp.measure('normalize_identifier, e-mail', 500000, 3,
	$$SELECT count(loyalty.normalize_identifier('email', 'User.' || i || '@Example.com')) FROM generate_series(1, 500000) i$$) \g /dev/null
SELECT pg_temp.measure('lower(btrim(…))', 500000, 3,
	$$SELECT count(lower(btrim('User.' || i || '@Example.com'))) FROM generate_series(1, 500000) i$$) \g /dev/null
SELECT pg_temp.measure('normalize_identifier, telephone', 500000, 3,
	$$SELECT count(loyalty.normalize_identifier('phone', '0151 ' || i + 1000000, 'DE')) FROM generate_series(1, 500000) i$$) \g /dev/null
SELECT pg_temp.measure('regexp_replace twice', 500000, 3,
	$$SELECT count(regexp_replace(regexp_replace('0151 ' || i + 1000000, '[^0-9+]', '', 'g'), '^0', '+49')) FROM generate_series(1, 500000) i$$) \g /dev/null
SELECT what, edges AS calls, round(min(ms), 1) AS ms, round(min(ms) * 1000 / edges, 2) AS "µs a call"
FROM result GROUP BY what, edges ORDER BY what;

DROP TABLE public.bench_edge, public.bench_small;
