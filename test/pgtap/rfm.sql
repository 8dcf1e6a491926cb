-- rfm: against slow and obvious SQL, under workers, and against published figures.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- Amounts of every shape: digits, decimals, trailing zeros, signs, stored short
-- and long.  The summary must agree with sum() to the last displayed digit.
SELECT setseed(0.4);
CREATE TABLE sale AS
SELECT g % 500 AS member_id,
	   timestamptz '2020-01-01' + (random() * 2000)::int * interval '1 day' + (random() * 5)::int * interval '1 hour' AS at,
	   (CASE g % 7 WHEN 0 THEN -1 ELSE 1 END * (CASE g % 5
			WHEN 0 THEN round((random() * 100)::numeric, 2)
			WHEN 1 THEN round((random() * 1e9)::numeric, (random() * 9)::int)
			WHEN 2 THEN (random() * 10)::int
			WHEN 3 THEN round((random() * 100000)::numeric, 2) * 10000
			ELSE round(random()::numeric / 3, (random() * 16)::int) END))::numeric AS amount,
	   (g % 4000)::text AS order_id
FROM generate_series(1, 40000) g;
CREATE INDEX ON sale (member_id, at) WHERE amount >= 0;
ANALYZE sale;

CREATE VIEW obvious AS
SELECT member_id, count(*) FILTER (WHERE amount >= 0) AS purchases, count(*) FILTER (WHERE amount < 0) AS refunds,
	   min(at) FILTER (WHERE amount >= 0) AS first, max(at) FILTER (WHERE amount >= 0) AS last,
	   sum(amount) AS total, coalesce(sum(amount) FILTER (WHERE amount < 0), 0) AS refunded,
	   (SELECT min(x.at) FROM sale x WHERE x.member_id = e.member_id AND x.amount >= 0
		AND x.at > (SELECT min(y.at) FROM sale y WHERE y.member_id = e.member_id AND y.amount >= 0)) AS second,
	   (SELECT max(x.at) FROM sale x WHERE x.member_id = e.member_id AND x.amount >= 0
		AND x.at < (SELECT max(y.at) FROM sale y WHERE y.member_id = e.member_id AND y.amount >= 0)) AS previous
FROM sale e GROUP BY member_id;

PREPARE told AS
SELECT member_id, frequency(s), refund_count(s), first_purchase_at(s), last_purchase_at(s), monetary_total(s)::text,
	   refund_total(s), second_purchase_at(s), previous_purchase_at(s)
FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM sale GROUP BY member_id) x;
PREPARE obvious AS
SELECT member_id, purchases, refunds, first, last, total::text, refunded, second, previous FROM obvious;
SELECT bag_eq('told', 'obvious', 'the summary agrees with plain SQL, to the displayed digit');

SELECT is_empty($$
	SELECT member_id FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM sale GROUP BY member_id) x
	WHERE s::text::rfm IS DISTINCT FROM s OR monetary_mean(s) <> monetary_total(s) / frequency(s)$$,
	'text comes back the same; the mean is numeric division');

-- binary comes back the same
SELECT lives_ok(format('COPY (SELECT rfm_agg(at, amount) AS s, rfm_breaks(NULL::rfm, now(), ''ntile'') AS b FROM sale GROUP BY member_id) TO %L (FORMAT binary)', current_setting('data_directory') || '/rfm.copy'),
	'binary output');
CREATE TABLE copied (s rfm, b rfm_breaks);
SELECT lives_ok(format('COPY copied FROM %L (FORMAT binary)', current_setting('data_directory') || '/rfm.copy'), 'binary input');
SELECT bag_eq('SELECT s::text FROM copied', 'SELECT rfm_agg(at, amount)::text FROM sale GROUP BY member_id', 'binary comes back the same');

-- Any split of the rows, in any order, gives the same bits.
CREATE TABLE whole AS SELECT member_id, rfm_agg(at, amount) AS s FROM sale GROUP BY member_id;
SELECT bag_eq($$SELECT member_id, rollup(s)::text FROM (SELECT member_id, rfm_agg(at, amount ORDER BY random()) AS s FROM sale GROUP BY member_id, (random() * 5)::int) x GROUP BY member_id$$,
	'SELECT member_id, s::text FROM whole', 'rollup of random parts is the whole');
SELECT is((SELECT rollup(s ORDER BY random()) FROM whole), (SELECT rfm_agg(at, amount) FROM sale), 'rollup of all members is the aggregate over all rows');
SELECT is_empty($$
	SELECT a.member_id FROM whole a JOIN whole b ON b.member_id = (a.member_id * 7) % 500 JOIN whole c ON c.member_id = (a.member_id * 11) % 500
	WHERE a.s + b.s <> b.s + a.s OR (a.s + b.s) + c.s <> a.s + (b.s + c.s)$$, '+ is commutative and associative');

SELECT bag_eq($$SELECT member_id, summary::text FROM rfm_members('sale')$$, 'SELECT member_id, s::text FROM whole', 'rfm_members is GROUP BY');
CREATE TABLE many AS SELECT (g * 7919 % 60000) * 4294967296 - 5 + g % 2 AS member_id, timestamptz '2026-01-01' + g * interval '1 minute' AS at, g % 100 - 3 AS amount
FROM generate_series(1, 200000) g;
SELECT bag_eq($$SELECT member_id, summary::text FROM rfm_members('many', as_of => '2026-04-01')$$,
	$$SELECT member_id, rfm_agg(at, amount)::text FROM many WHERE at <= '2026-04-01' GROUP BY member_id$$, 'with many members, negative and huge ids, as of an instant');

-- The collapsing aggregates against a first GROUP BY, in three zones.
SELECT bag_eq(format($$SELECT member_id, s::text::jsonb - 'unit' FROM (SELECT member_id, rfm_agg_by(at, amount, %L, %L) AS s FROM sale GROUP BY member_id) x$$, unit, zone),
	format($$SELECT member_id, rollup(s)::text::jsonb - 'unit' FROM (SELECT member_id, rfm_agg(date_trunc(%1$L, at, %2$L), amount) AS s FROM (
		SELECT member_id, date_trunc(%1$L, at, %2$L) AS at, sum(amount) AS amount FROM sale GROUP BY 1, 2, amount < 0) y GROUP BY member_id) x GROUP BY member_id$$, unit, zone),
	format('collapsed by %s of %s', unit, zone))
FROM unnest('{hour,day,week,month}'::text[]) unit, unnest('{UTC,America/New_York,Asia/Kolkata}'::text[]) zone;
SELECT bag_eq($$SELECT member_id, s::text::jsonb - 'unit' FROM (SELECT member_id, rfm_agg_by_key(at, amount, order_id) AS s FROM sale GROUP BY member_id) x$$,
	$$SELECT member_id, rfm_agg(at, amount)::text::jsonb - 'unit' FROM (SELECT member_id, min(at) AS at, sum(amount) AS amount FROM sale GROUP BY member_id, order_id HAVING sum(amount) <> 0) y GROUP BY member_id$$,
	'collapsed by order');

-- With workers: partial aggregation must be in the plan, and give the same bits.
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP plan := plan || line || E'\n'; END LOOP;
	RETURN plan;
END $$;
CREATE TABLE query (n int, q text, alone text);
INSERT INTO query VALUES
	(1, 'SELECT rfm_agg(at, amount) FROM sale'),
	(2, 'SELECT rollup(s) FROM whole'),
	(3, $$SELECT rfm_agg_by(at, amount, 'day', 'Europe/Paris') FROM sale$$),
	(4, 'SELECT rfm_agg_by_key(at, amount, order_id) FROM sale'),
	(5, $$SELECT rfm_breaks(s, '2026-01-01', 'quantile') FROM whole$$),
	(6, $$SELECT rfm_breaks(s, '2026-01-01', rfm_method('mean', 2, 'mean')) FROM whole$$),
	(7, $$SELECT rfm_breaks_keyed(s, '2026-01-01', 'ntile(7)', member_id::text) FROM whole$$),
	(8, $$SELECT string_agg(x, ',' ORDER BY x) FROM (SELECT member_id % 5 || rfm_agg(at, amount)::text AS x FROM sale GROUP BY member_id % 5) y$$);
DO $$ DECLARE i record; r text; BEGIN
	FOR i IN SELECT * FROM query LOOP EXECUTE 'SELECT (' || i.q || ')::text' INTO r; UPDATE query SET alone = r WHERE n = i.n; END LOOP; END $$;
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
CREATE FUNCTION run(q text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r rfm; b text; BEGIN EXECUTE q INTO b; RETURN b; END $$;
SELECT matches(plan_of(q), 'Partial', 'is aggregated in workers: ' || q) FROM query ORDER BY n;
SELECT is(run(q), alone, 'gives the same bits with workers: ' || q) FROM query ORDER BY n;
SELECT is(run($$SELECT string_agg(rfm_segment(x.r, x.f, x.m), ',' ORDER BY member_id) FROM whole, rfm_score(s, rfm_thresholds('{1,2,3,4}', '{1,2,3,4}', '{1,2,3,4}'), '2026-01-01') x$$),
		  run($$SELECT string_agg(rfm_segment_of(s, rfm_thresholds('{1,2,3,4}', '{1,2,3,4}', '{1,2,3,4}'), '2026-01-01'), ',' ORDER BY member_id) FROM whole$$),
	'segments are named in workers, in one call or two');
RESET ALL;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';

-- The planner, whose costs decide where workers pay, takes rfm_agg for as costly as what it is instead of.
CREATE TABLE long AS SELECT g % 8000 AS m8000, g % 10000 AS m10000, g % 12000 AS m12000, g % 13000 AS m13000, timestamptz '2026-01-01' AS at, 1.5 AS amount
FROM generate_series(1, 400000) g;
ANALYZE long;
SET max_parallel_workers_per_gather = 2;
SELECT is(plan_of(format('SELECT rfm_agg(at, amount) FROM long GROUP BY %I', c)) ~ 'Partial', plan_of(format('SELECT max(at), count(*), sum(amount) FROM long GROUP BY %I', c)) ~ 'Partial',
	'is planned in workers where max, count and sum are: grouped by ' || c)
FROM unnest('{m8000,m10000,m12000,m13000}'::text[]) c;
RESET ALL;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';

-- ntile is SQL's ntile; quantile is percentile_cont; for every number of bins.
SELECT is_empty(format($$
	WITH b AS (SELECT rfm_breaks_keyed(s, '2026-01-01', 'ntile(%1$s)', lpad(member_id::text, 5)) AS b FROM whole),
	n AS (SELECT *, ntile(%1$s) OVER (ORDER BY recency(s, '2026-01-01') DESC, member_id) AS r,
				 ntile(%1$s) OVER (ORDER BY frequency(s), member_id) AS f, ntile(%1$s) OVER (ORDER BY monetary_total(s), member_id) AS m FROM whole)
	SELECT n.member_id FROM n, b, rfm_score(n.s, b.b, '2026-01-01', lpad(member_id::text, 5)) x
	WHERE (x.r, x.f, x.m) IS DISTINCT FROM (n.r, n.f, n.m)$$, bins), format('ntile(%s) is what SQL gives', bins))
FROM generate_series(2, 10) bins;
SELECT is((SELECT array_agg(round(x::numeric, 9)) FROM unnest(rfm_cuts(rfm_breaks(s, '2026-01-01', rfm_method('quantile', bins)), 'frequency')) x),
		  (SELECT array_agg(round(x::numeric, 9)) FROM unnest(percentile_cont(array(SELECT k::float8 / bins FROM generate_series(1, bins - 1) k)) WITHIN GROUP (ORDER BY frequency(s))) x),
		  format('quantile(%s) is percentile_cont', bins))
FROM whole, generate_series(2, 10) bins GROUP BY bins ORDER BY bins;
SELECT is_empty($$
	WITH b AS (SELECT rfm_breaks(s, '2026-01-01', 'quantile') AS b FROM whole)
	SELECT 1 FROM whole, b, rfm_score(s, b.b, '2026-01-01') x GROUP BY frequency(s) HAVING count(DISTINCT x.f) > 1$$, 'equal members have equal scores');
SELECT is_empty($$
	WITH t AS (SELECT rfm_thresholds('{50,100}', '{5,10,20}', '{100,1000}') AS t)
	SELECT 1 FROM whole, t, rfm_score(s, t.t, '2026-01-01') x
	WHERE x.f <> 1 + width_bucket(frequency(s), '{5,10,20}'::bigint[]) OR x.m <> 1 + width_bucket(monetary_total(s), '{100,1000}'::numeric[])
	   OR x.r <> 3 - width_bucket(recency(s, '2026-01-01'), '{50,100}')$$, 'thresholds are width_bucket');

-- Where most values tie, every way to a score is what plain SQL says: whole
-- numbers, so that a value on a cut lies on it exactly.
CREATE TABLE tie_one_order AS SELECT g AS member_id, timestamptz '2026-01-01' + (k + g % 28) * interval '1 day' AS at, 10 + g AS amount
FROM generate_series(1, 100) g, generate_series(1, CASE WHEN g <= 80 THEN 1 WHEN g <= 90 THEN 2 ELSE 3 END) k;
CREATE TABLE tie_one_member AS SELECT 1 AS member_id, timestamptz '2026-01-01' AS at, 100 AS amount;
CREATE TABLE tie_two_members AS SELECT g AS member_id, timestamptz '2026-01-01' + g * interval '1 day' AS at, g AS amount FROM generate_series(1, 2) g;
CREATE TABLE tie_all_equal AS SELECT g AS member_id, timestamptz '2026-01-05' AS at, 7 AS amount FROM generate_series(1, 23) g;
CREATE TABLE tie_few_values AS SELECT g AS member_id, timestamptz '2026-01-01' + (g * 7 % 5 + k) * interval '1 day' AS at, (g * 11 % 4 + 1) AS amount
FROM generate_series(1, 41) g, generate_series(1, 1 + g % 3) k;
CREATE TABLE tie_text_members AS SELECT CASE g WHEN 1 THEN '' ELSE repeat('x', g % 4) || g END AS member_id, timestamptz '2026-01-01' + g % 3 * interval '1 day' AS at, g % 2 AS amount
FROM generate_series(1, 11) g;
-- bins times the cut k is a whole number: type 7 lies at rank (n - 1) k / bins, linear between its neighbours
CREATE FUNCTION obvious_scores(orders regclass, method text, bins int, parted boolean) RETURNS TABLE (member text, r int, f int, m int) LANGUAGE plpgsql AS $$ BEGIN
	RETURN QUERY EXECUTE format($q$
	WITH v AS (
		SELECT member_id::text AS member, date '2026-03-01' - max(at)::date AS days, count(*) AS orders, sum(amount)::bigint AS total FROM %s GROUP BY 1
	), long AS (
		SELECT v.member, x.* FROM v, LATERAL (VALUES ('r', days::bigint), ('f', orders), ('m', total)) x(d, x)
	), placed AS (
		SELECT *, row_number() OVER (PARTITION BY d ORDER BY x) - 1 AS rank, count(*) OVER (PARTITION BY d) AS n, sum(x) OVER (PARTITION BY d) AS whole,
			   ntile($2) OVER (PARTITION BY d ORDER BY CASE d WHEN 'r' THEN -x ELSE x END, member COLLATE "C") AS tile
		FROM long
	), cut AS (
		SELECT low.d, low.x * ($2 - (low.n - 1) * k %% $2) + coalesce(high.x, 0) * ((low.n - 1) * k %% $2) AS times_bins
		FROM generate_series(1, $2 - 1) k JOIN placed low ON low.rank = (low.n - 1) * k / $2 LEFT JOIN placed high ON high.d = low.d AND high.rank = low.rank + 1
	), scored AS (
		SELECT member, d, CASE
			WHEN $1 = 'ntile' THEN CASE WHEN $3 THEN tile ELSE min(tile) OVER (PARTITION BY d, x) END
			WHEN $1 = 'mean' THEN 1 + (CASE d WHEN 'r' THEN x * n < whole ELSE x * n > whole END)::int
			ELSE abs(CASE d WHEN 'r' THEN $2 ELSE -1 END - (SELECT count(*) FROM cut c WHERE c.d = p.d AND
				CASE $1 WHEN 'rfmr' THEN x * $2 >= times_bins + $2 ELSE x * $2 > times_bins END)) END::int AS score
		FROM placed p
	)
	SELECT member, max(score) FILTER (WHERE d = 'r'), max(score) FILTER (WHERE d = 'f'), max(score) FILTER (WHERE d = 'm') FROM scored GROUP BY 1
	$q$, orders) USING method, bins, parted;
END $$;
CREATE FUNCTION scheme_of(bins int) RETURNS text LANGUAGE sql AS $$ SELECT format('{"bins": %s, "rules": [{"segment": "top", "r": %1$s}, {"segment": "others", "r": [1, %1$s]}]}', bins) $$;
CREATE TABLE way (way text, parted boolean, query text);
INSERT INTO way VALUES
	('rfm_table', true, $$SELECT member, r, f, m FROM rfm_table(%1$L, as_of => '2026-03-01', method => %2$L, scheme => scheme_of(%3$s))$$),
	('rfm_table by key', true, $$SELECT member, r, f, m FROM rfm_table(%1$L, as_of => '2026-03-01', method => %2$L, scheme => scheme_of(%3$s), key_column => 'at')$$),
	('rfm_breaks_keyed', true, $$SELECT member_id::text, (rfm_score(s, b, '2026-03-01', member_id::text)).* FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM %1$s GROUP BY 1) x,
		(SELECT rfm_breaks_keyed(s, '2026-03-01', %2$L, member_id::text) AS b FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM %1$s GROUP BY 1) x) y$$),
	('rfm_breaks', false, $$SELECT member_id::text, (rfm_score(s, b, '2026-03-01')).* FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM %1$s GROUP BY 1) x,
		(SELECT rfm_breaks(s, '2026-03-01', %2$L) AS b FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM %1$s GROUP BY 1) x) y$$),
	('rfm_breaks, scored with a key', false, $$SELECT member_id::text, (rfm_score(s, b::text::rfm_breaks, '2026-03-01', member_id::text)).* FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM %1$s GROUP BY 1) x,
		(SELECT rfm_breaks(s, '2026-03-01', %2$L) AS b FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM %1$s GROUP BY 1) x) y$$);
CREATE TABLE tie_case AS SELECT t, method, bins, format('%s(%s)', method, bins) AS call
FROM unnest('{tie_one_order,tie_one_member,tie_two_members,tie_all_equal,tie_few_values,tie_text_members}'::text[]) t, unnest('{quantile,ntile,rfmr,mean}'::text[]) method, generate_series(2, 10) bins
WHERE method <> 'mean' OR bins = 2;
CREATE TABLE obvious_score (t text, call text, parted boolean, member text, r int, f int, m int);
CREATE TABLE way_score (way text, t text, call text, parted boolean, member text, r int, f int, m int);
DO $$ DECLARE c record; w record; BEGIN
	FOR c IN SELECT * FROM tie_case LOOP
		INSERT INTO obvious_score SELECT c.t, c.call, true, o.* FROM obvious_scores(c.t, c.method, c.bins, true) o;
		IF c.method = 'ntile' THEN
			INSERT INTO obvious_score SELECT c.t, c.call, false, o.* FROM obvious_scores(c.t, c.method, c.bins, false) o;
		ELSE
			INSERT INTO obvious_score SELECT t, call, false, member, r, f, m FROM obvious_score WHERE t = c.t AND call = c.call;
		END IF;
		FOR w IN SELECT * FROM way LOOP
			-- a key for each line leaves out those whose amount is 0
			CONTINUE WHEN w.way = 'rfm_table by key' AND c.t = 'tie_text_members';
			EXECUTE format('INSERT INTO way_score SELECT %L, %L, %L, %L, x.* FROM (%s) x', w.way, c.t, c.call, w.parted, format(w.query, c.t, c.call, c.bins));
		END LOOP;
	END LOOP;
END $$;
SELECT is_empty(format('SELECT call, member, o, w FROM (SELECT * FROM obvious_score WHERE t = %L AND parted = %L) o FULL JOIN (SELECT * FROM way_score WHERE t = %1$L AND way = %3$L) w USING (t, call, parted, member, r, f, m) WHERE o IS NULL OR w IS NULL', t, parted, way),
	format('scores of %s by %s, every method, 2 to 10 bins', t, way)) FROM way, (SELECT DISTINCT t FROM tie_case) x WHERE way <> 'rfm_table by key' OR t <> 'tie_text_members' ORDER BY t, way;
SELECT is((SELECT count(*) FROM way_score), (SELECT 28 * (5 * (100 + 1 + 2 + 23 + 41) + 4 * 11))::bigint, 'all of them were asked');
-- what is built on the scores
CREATE TABLE top AS SELECT t, call, CASE r WHEN bins THEN 'top' ELSE 'others' END AS segment, count(*) AS members FROM obvious_score JOIN tie_case USING (t, call) WHERE parted AND bins IN (2, 5) GROUP BY 1, 2, 3;
DO $$ DECLARE c record; BEGIN
	CREATE TABLE built AS SELECT ''::text AS what, * FROM top WHERE false;
	FOR c IN SELECT * FROM tie_case WHERE bins IN (2, 5) LOOP
		INSERT INTO built SELECT 'rfm_segment_sizes', c.t, c.call, segment, members FROM rfm_segment_sizes(c.t, as_of => '2026-03-01', method => c.call::rfm_breaks, scheme => scheme_of(c.bins));
		INSERT INTO built SELECT 'rfm_transitions', c.t, c.call, CASE WHEN from_segment = to_segment THEN to_segment END, members
		FROM rfm_transitions(c.t, '2026-03-01', '2026-03-01', method => c.call::rfm_breaks, scheme => scheme_of(c.bins));
	END LOOP;
END $$;
SELECT bag_eq(format('SELECT t, call, segment, members FROM built WHERE what = %L', what), 'TABLE top', what || ' counts what scores say; without time, nobody moves') FROM unnest('{rfm_segment_sizes,rfm_transitions}'::text[]) what;
SELECT is_empty(format($$WITH s AS (SELECT member_id::text AS k, rfm_agg(at, amount) AS s FROM %1$s GROUP BY 1), b AS (SELECT rfm_breaks_keyed(s, '2026-03-01', %2$L, k) AS b FROM s)
	SELECT k FROM s, b, rfm_score(s, b, '2026-03-01', k) x WHERE rfm_segment_of(s, b, '2026-03-01', scheme_of(%3$s), 'en', k) <> rfm_segment(x.r, x.f, x.m, scheme_of(%3$s))$$, t, call, bins),
	format('rfm_segment_of names what rfm_score scores: %s, %s', t, call)) FROM tie_case WHERE bins = 5 ORDER BY 1;
SELECT is((SELECT ROW(r, f, m, segment) FROM rfm_table('tie_one_member', as_of => '2026-02-01'))::text, '(5,1,1,"New Customers")', 'one customer alone lies on every cut');
SELECT results_eq($$SELECT DISTINCT frequency, f FROM rfm_table('tie_one_order', as_of => '2026-03-01') ORDER BY 1$$, 'VALUES (1::bigint, 1), (2, 5), (3, 5)', 'most customers have one order: that is the lowest score');

-- The built-in partitions take every code once.
SELECT is_empty(format('SELECT * FROM list_rfm_scheme_problems((SELECT definition FROM builtin_rfm_schemes() WHERE scheme = %L))', s), s || ' is a partition')
FROM unnest('{code125,rf_grid,cn_8_quadrant}'::text[]) s;

-- A local clock: summer time neither adds nor takes a day.
SELECT is(recency(rfm_agg('2026-03-28 00:00+01', 1), '2026-03-30 00:00+02', 'Europe/Paris'), 2, 'two days over the change to summer time');
SELECT is(recency(rfm_agg('2026-03-28 00:00+01', 1), '2026-03-30 00:00+02'), 1, '47 hours are one day in UTC');

-- Columns without a zone: the difference of the dates, whatever the session's zone and its summer time.
CREATE TABLE on_date (member_id bigint, at date, amount numeric);
INSERT INTO on_date SELECT row_number() OVER (ORDER BY d), d, 10 FROM unnest('{2025-10-01,2025-10-25,2025-10-26,2025-11-02,2026-01-01,2026-03-08,2026-03-28,2026-03-29,2026-03-30}'::date[]) d;
INSERT INTO on_date VALUES (100, '2018-11-03', 10), (101, '2018-11-04', 10), (102, '2011-12-29', 10), (103, '2026-03-31', 10);	-- one is ahead of as_of
CREATE TABLE at_clock AS SELECT member_id, at + time '18:30' AS at, amount FROM on_date;
CREATE DOMAIN day AS date;
CREATE DOMAIN order_day AS day;
CREATE TABLE on_day (member_id text, at order_day, amount numeric, k int);
INSERT INTO on_day SELECT member_id::text, at, amount, member_id FROM on_date;
CREATE FUNCTION in_zone(zone text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
	PERFORM set_config('timezone', zone, true);
	RETURN QUERY EXECUTE query;
	PERFORM set_config('timezone', 'UTC', true);
END $$;
CREATE TABLE zone AS SELECT unnest('{UTC,Europe/Berlin,America/New_York,America/Sao_Paulo,Asia/Shanghai,Pacific/Apia,Asia/Kathmandu,Pacific/Kiritimati}'::text[]) AS zone;
SELECT bag_eq(format('SELECT * FROM in_zone(%L, %L)', zone, format(query, as_of)), format(want, as_of), format('as of %s in %s: %s', as_of, zone, what))
FROM zone, unnest('{2026-03-30,2018-11-05,2025-11-03}'::text[]) as_of, (VALUES
	('dates', $$SELECT member || ' ' || recency FROM rfm_table('on_date', as_of => %L)$$, $$SELECT member_id || ' ' || (date %L - at) FROM on_date WHERE at <= %1$L$$),
	('dates of a domain, text members, a key', $$SELECT member || ' ' || recency FROM rfm_table('on_day', as_of => %L, key_column => 'k')$$, $$SELECT member_id || ' ' || (date %L - at) FROM on_date WHERE at <= %1$L$$),
	('readings of a clock', $$SELECT member || ' ' || recency FROM rfm_table('at_clock', as_of => %L)$$, $$SELECT member_id || ' ' || floor(extract(epoch FROM timestamp %L - at) / 86400) FROM at_clock WHERE at <= %1$L$$),
	('rfm_members', $$SELECT member_id || ' ' || (last_purchase_at(summary) AT TIME ZONE 'UTC')::date FROM rfm_members('on_date', as_of => %L)$$, $$SELECT member_id || ' ' || at FROM on_date WHERE at <= %1$L$$),
	('mean recency', $$SELECT sum(mean_recency * members)::int::text FROM rfm_segment_sizes('on_date', as_of => %L)$$, $$SELECT sum(date %L - at)::text FROM on_date WHERE at <= %1$L$$),
	('who came later', $$SELECT members::text FROM rfm_transitions('on_date', '2018-11-04', %L) WHERE from_segment IS NULL$$, $$SELECT nullif(count(*), 0)::text FROM on_date WHERE at > '2018-11-04' AND at <= %L HAVING count(*) > 0$$)) v(what, query, want);
-- a zone that the method names reads as_of, whatever the session's
SELECT bag_eq(format('SELECT * FROM in_zone(%L, %L)', zone, $$SELECT member || ' ' || recency FROM rfm_table('on_date', as_of => '2026-03-29 20:00+00', method => rfm_method(time_zone => 'Asia/Shanghai'))$$),
	$$SELECT member_id || ' ' || (date '2026-03-30' - at) FROM on_date WHERE at <= '2026-03-30'$$, 'it is tomorrow in Shanghai, asked from ' || zone) FROM zone;
-- instants are counted by the clock of the method, in every zone of the session; UTC where it names none
CREATE TABLE at_instant AS SELECT member_id, at::timestamp AT TIME ZONE 'Europe/Berlin' AS at, amount FROM on_date;
SELECT bag_eq(format('SELECT * FROM in_zone(%L, %L)', zone, format($$SELECT member || ' ' || recency FROM rfm_table('at_instant', as_of => '2026-03-30 00:00+02', method => %L) WHERE member = '7'$$, method)),
	format('VALUES (%L)', want), format('instants, %s, asked from %s', what, zone))
FROM zone, (VALUES ('by the clock of Berlin', rfm_method(time_zone => 'Europe/Berlin')::text, '7 2'), ('by UTC', rfm_method(time_zone => 'UTC')::text, '7 1'), ('by no zone', 'quantile', '7 1')) v(what, method, want);
SELECT is(recency(rfm_agg('4713-01-01 00:00+00 BC', 1), '294276-12-31 00:00+00'), 109203489, 'more microseconds than a bigint holds');

-- Absorbed members count as who stands for them, when asked; before setup() that is refused.
SELECT throws_ok(q, 'LY001', 'the tables of loyalty do not exist in this database', q) FROM unnest(ARRAY[
	$$SELECT * FROM rfm_table('on_date', merged_once => true)$$, $$SELECT * FROM rfm_members('on_date', merged_once => true)$$,
	$$SELECT * FROM rfm_segment_sizes('on_date', merged_once => true)$$, $$SELECT * FROM rfm_transitions('on_date', '2026-01-01', merged_once => true)$$]) q;
SET client_min_messages = warning;
SELECT setup() \g /dev/null
RESET client_min_messages;
SELECT a.member_id AS ann, b.member_id AS bea, c.member_id AS cid FROM resolve_member('{"email": "ann@shop.example"}') a, resolve_member('{"email": "bea@shop.example"}') b, resolve_member('{"email": "cid@shop.example"}') c \gset
CREATE TABLE shared_order AS SELECT m AS member_id, timestamptz '2026-01-01' + i * interval '1 day' AS at, 10 * i AS amount, i AS k FROM (VALUES (:ann, 1), (:bea, 2), (:bea, 3), (:cid, 4), (NULL, 5)) v(m, i);
SELECT merge_id FROM merge_members(:ann, :bea) \gset
SELECT results_eq(format('SELECT member, recency, frequency, monetary FROM rfm_table(%L, as_of => %L%s) ORDER BY member::bigint', 'shared_order', '2026-01-10', more), format('VALUES %s', want), 'rfm_table' || more)
FROM (VALUES ('', format($$('%s', 8, 1::bigint, 10::numeric), ('%s', 6, 2, 50), ('%s', 5, 1, 40)$$, :ann, :bea, :cid)),
	(', merged_once => true', format($$('%s', 6, 3::bigint, 60::numeric), ('%s', 5, 1, 40)$$, :ann, :cid)),
	($$, key_column => 'k', merged_once => true$$, format($$('%s', 6, 3::bigint, 60::numeric), ('%s', 5, 1, 40)$$, :ann, :cid))) v(more, want);
SELECT is((SELECT sum(members) FROM rfm_segment_sizes('shared_order', as_of => '2026-01-10', merged_once => merged)), want::numeric, 'sizes count ' || want)
FROM (VALUES (false, 3), (true, 2)) v(merged, want);
SELECT is((SELECT sum(members) FROM rfm_transitions('shared_order', '2026-01-02', '2026-01-10', merged_once => merged) WHERE from_segment IS NOT NULL), 1::numeric, 'one was there before, with a fixed set of cuts') FROM (VALUES (true)) v(merged);
SELECT throws_ok($$SELECT * FROM rfm_table('on_day', merged_once => true)$$, 'LY003', 'merged_once needs member numbers in column member_id of loyalty.on_day', 'members that are no numbers are merged with nobody');

-- A wrong name says which argument it came from.
SELECT throws_ok(format('SELECT * FROM %s', call), 'LY003', format('loyalty.on_date has no column %s, which %s names', coalesce(wrong, 'NULL'), argument), call)
FROM (VALUES ('member_column', 'x'), ('at_column', '"At"'), ('amount_column', 'ctid'), ('amount_column', NULL), ('at_column', NULL)) w(argument, wrong),
	LATERAL (SELECT format(c, argument, coalesce(quote_literal(trim('"' FROM wrong)), 'NULL')) FROM unnest(ARRAY['rfm_table(''on_date'', %s => %s)', 'rfm_segment_sizes(''on_date'', %s => %s)',
		'rfm_members(''on_date'', %s => %s)', 'rfm_transitions(''on_date'', ''2026-01-01'', %s => %s)']) c) f(call);
SELECT throws_ok(format('SELECT * FROM %s', call), 'LY003', 'there is no table or view with OID 4294967295', call)
FROM unnest('{rfm_table(4294967295),rfm_segment_sizes(4294967295)}'::text[]) call;
SELECT is((SELECT array_agg(t ORDER BY member) FROM rfm_table('shared_order', as_of => NULL) t)::text, (SELECT array_agg(t ORDER BY member) FROM rfm_table('shared_order') t)::text, 'as of NULL is now');
SELECT is((SELECT count(*) FROM rfm_transitions('shared_order', '2026-01-02', NULL)), (SELECT count(*) FROM rfm_transitions('shared_order', '2026-01-02')), 'as the later instant, too');
SELECT throws_ok($$SELECT * FROM rfm_table('on_date', key_column => 'k')$$, 'LY003', 'loyalty.on_date has no column k, which key_column names', 'a key that there is not');
SELECT throws_ok(q, 'LY003', m, q) FROM (VALUES
	($$SELECT * FROM rfm_members(NULL)$$, 'orders and merged_once must not be null'),
	($$SELECT * FROM rfm_table('on_date', method => NULL)$$, 'method must not be null'), ($$SELECT * FROM rfm_table('on_date', merged_once => NULL)$$, 'orders and merged_once must not be null'),
	($$SELECT * FROM rfm_members('on_date', time_zone => 'Nowhere')$$, 'time zone "Nowhere" not recognized'), ($$SELECT rfm_method(time_zone => '')$$, 'time zone "" not recognized')) v(q, m);

-- A member's own mean time between purchases.
SELECT is(purchase_interval(rfm_agg(timestamptz '2026-01-01 00:00+00' + h * interval '1 hour', amount)), want, label) FROM (VALUES
	('none', 0, -1, NULL::interval), ('one', 0, 1, NULL), ('two at once', 0, 1, NULL), ('two at once', 0, 2, NULL), ('a day and a half', 0, 1, '1 day 12:00'), ('a day and a half', 36, 1, '1 day 12:00'),
	('two at once, then one', 0, 1, '10 days'), ('two at once, then one', 0, 1, '10 days'), ('two at once, then one', 240, 1, '10 days'), ('one, then two at once', 0, 1, '5 days'), ('one, then two at once', 240, 1, '5 days'), ('one, then two at once', 240, 1, '5 days'),
	('a refund in between', 0, 1, '10 days'), ('a refund in between', 100, -1, '10 days'), ('a refund in between', 240, 1, '10 days')) v(label, h, amount, want) GROUP BY label, want;
SELECT is(purchase_interval(rfm_agg(at, 1)), '109203489 days'::interval, 'from the first instant to the last') FROM unnest('{4713-01-01 00:00+00 BC,294276-12-31 00:00+00}'::timestamptz[]) at;

-- An order that was taken back line by line is no purchase; a summary of nothing is NULL.
SELECT is((SELECT ROW(frequency(s), refund_count(s), monetary_total(s), last_purchase_at(s)::date) FROM (SELECT rfm_agg_by_key(at::timestamptz, amount, k) AS s FROM (VALUES
	('2026-01-01', 10, 'a'), ('2026-01-02', 20, 'b'), ('2026-01-03', -20, 'b'), ('2026-01-04', -5, 'c'), ('2026-01-05', 0, 'd'), ('2026-01-06', 0.10, 'e'), ('2026-01-07', -0.1, 'e')) v(at, amount, k)) x)::text,
	'(1,1,5.00,2026-01-01)', 'lines that add up to nothing are no purchase, nor a refund');
SELECT is(rfm_agg_by_key(now(), amount, 'k'), NULL, 'nothing counts') FROM (VALUES (5), (-5)) v(amount);

-- A million equal rows, and none.
SELECT is((SELECT (frequency(s), monetary_total(s), recency(s, '2026-01-02'))::text FROM (SELECT rfm_agg('2026-01-01', 1.10) AS s FROM generate_series(1, 1000000)) x),
	'(1000000,1100000.00,1)', 'a million equal rows');
SELECT is((SELECT rfm_breaks(s, '2026-01-02', 'quantile')::text FROM (SELECT rfm_agg('2026-01-01', 1) AS s) x, generate_series(1, 100000)),
	'{"v":1,"method":"quantile","monetary":"total","time_zone":null,"bins":[5,5,5],"cuts":[[1,1,1,1],[1,1,1,1],[1,1,1,1]],"keys":null}', 'equal members make equal cuts');

-- Published figures: the data of the R package rfm, and Online Retail.
\if :{?data}
\else
\set data ''
\endif
SELECT :'data' <> '' AS have_data \gset
\if :have_data
CREATE TABLE r_order (customer_id text, order_date date, revenue numeric, first_name text, last_name text, email text);
\set copy '\\copy r_order FROM PROGRAM ''cat ' :data '/rfm_r/rfm_data_orders.csv'' CSV HEADER'
:copy
CREATE TABLE r_customer (customer_id text, revenue numeric, most_recent_visit date, number_of_orders int, recency_days int, first_name text, last_name text, email text);
\set copy '\\copy r_customer FROM PROGRAM ''gunzip -c ' :data '/rfm_r/rfm_data_customer.csv.gz'' CSV HEADER'
:copy
CREATE TABLE line (invoice text, stock_code text, description text, quantity int, at timestamp, price numeric, customer_id numeric, country text);
\set copy '\\copy line FROM PROGRAM ''gunzip -c ' :data '/online_retail/online_retail.csv.gz'' CSV HEADER'
:copy
CREATE TABLE cdnow (text text);
\set copy '\\copy cdnow FROM PROGRAM ''cat ' :data '/cdnow/CDNOW_sample.txt'''
:copy
CREATE TABLE expected_orders (customer_id text, recency_days int, frequency int, monetary numeric, r_rfmr int, f_rfmr int, m_rfmr int, v030_rfmr text, v022_rfmr text, putler_rfmr text, code125_rfmr text, grid_rfmr text, r_ntile int, f_ntile int, m_ntile int, v030_ntile text, v022_ntile text, putler_ntile text, code125_ntile text, grid_ntile text, r_qcut int, f_qcut int, m_qcut int, code125_qcut text, grid_qcut text, cn8_mean text);
CREATE TABLE expected_online (LIKE expected_orders);
\set copy '\\copy expected_orders FROM PROGRAM ''cat ' :data '/expected/rfm_rfm_data_orders.csv'' CSV HEADER'
:copy
\set copy '\\copy expected_online FROM PROGRAM ''gunzip -c ' :data '/expected/rfm_online_retail.csv.gz'' CSV HEADER'
:copy
CREATE TABLE expected_summary (dataset text, scoring text, segmentation text, segment text, customers bigint, orders numeric, revenue numeric, mean_recency numeric);
\set copy '\\copy expected_summary FROM PROGRAM ''cat ' :data '/expected/rfm_segment_summary.csv'' CSV HEADER'
:copy
CREATE TABLE cut (dataset text, r_low float8, r float8, f_low float8, f float8, m_low float8, m float8);
CREATE TABLE cut_in (r_low float8, r float8, f_low float8, f float8, m_low float8, m float8);
\set copy '\\copy cut_in FROM PROGRAM ''cat ' :data '/expected/rfm_rfm_data_orders_thresholds_rfmr.csv'' CSV HEADER'
:copy
INSERT INTO cut SELECT 'rfm_data_orders', * FROM cut_in; TRUNCATE cut_in;
\set copy '\\copy cut_in FROM PROGRAM ''cat ' :data '/expected/rfm_rfm_data_customer_thresholds_rfmr.csv'' CSV HEADER'
:copy
INSERT INTO cut SELECT 'rfm_data_customer', * FROM cut_in; TRUNCATE cut_in;
\set copy '\\copy cut_in FROM PROGRAM ''cat ' :data '/expected/rfm_cdnow_sample_thresholds_rfmr.csv'' CSV HEADER'
:copy
INSERT INTO cut SELECT 'cdnow_sample', * FROM cut_in;

-- A summary of so many purchases, the last one at an instant of UTC.
CREATE FUNCTION summary_of(purchases bigint, last timestamptz, amount numeric) RETURNS rfm LANGUAGE sql STABLE AS $$
	SELECT format('{"v":1,"unit":"row","purchases":%s,"refunds":0,"first_purchases":%1$s,"first":"%s","second":null,"previous":null,"last":"%2$s","bought":%s,"refunded":0,"first_bought":%3$s}',
		purchases, to_char(last, 'YYYY-MM-DD HH24:MI:SS') || '+00', amount)::rfm $$;

CREATE TABLE summary AS
SELECT 'rfm_data_orders' AS dataset, timestamptz '2006-12-31' AS as_of, customer_id, rfm_agg(order_date, revenue) AS s FROM r_order GROUP BY customer_id
UNION ALL
SELECT 'online_retail', '2011-12-11', (customer_id::int)::text, rfm_agg_by_key(at, quantity * price, invoice)
FROM line WHERE customer_id IS NOT NULL AND quantity > 0 AND price > 0 GROUP BY customer_id
UNION ALL
SELECT 'cdnow_sample', '1998-07-01', w[2], rfm_agg_by(to_date(w[3], 'YYYYMMDD'), w[5]::numeric, 'day', 'UTC')
FROM (SELECT regexp_split_to_array(trim(text), ' +') AS w FROM cdnow) x GROUP BY w[2]
UNION ALL
SELECT 'rfm_data_customer', '2007-01-01', lpad(customer_id, 5, '0'), summary_of(number_of_orders, timestamptz '2007-01-01' - recency_days * interval '1 day', revenue)
FROM r_customer;
CREATE VIEW expected AS
SELECT 'rfm_data_orders' AS dataset, e.* FROM expected_orders e UNION ALL SELECT 'online_retail', e.* FROM expected_online e;
CREATE VIEW published AS SELECT * FROM summary WHERE dataset IN (SELECT dataset FROM expected);	-- customer by customer

SELECT bag_eq('SELECT dataset, customer_id, recency(s, as_of), frequency(s)::int, round(monetary_total(s), 2) FROM published',
	'SELECT dataset, customer_id, recency_days, frequency, round(monetary, 2) FROM expected', 'recency, frequency, monetary of each customer');
-- "qcut" parts tied frequencies by customer: these are the quantiles of their ranks.
CREATE TABLE ranked AS
SELECT dataset, customer_id, summary_of(row_number() OVER (PARTITION BY dataset ORDER BY frequency(s), customer_id COLLATE "C"), as_of, 1) AS ranked FROM summary;
CREATE TABLE breaks AS
SELECT dataset, as_of, rfm_breaks(s, as_of, 'rfmr') AS rfmr, rfm_breaks_keyed(s, as_of, 'ntile', customer_id) AS ntile,
	   rfm_breaks(s, as_of, 'quantile') AS quantile, rfm_breaks(ranked, as_of, 'quantile') AS ranked, rfm_breaks(s, as_of, 'mean') AS mean
FROM summary JOIN ranked USING (dataset, customer_id) GROUP BY dataset, as_of;
-- stored breaks, read again from their text
UPDATE breaks SET rfmr = rfmr::text::rfm_breaks, ntile = ntile::text::rfm_breaks, quantile = quantile::text::rfm_breaks, mean = mean::text::rfm_breaks;
CREATE TABLE score AS
SELECT s.dataset, s.customer_id, s.s, s.as_of, x.r AS r_rfmr, x.f AS f_rfmr, x.m AS m_rfmr, n.r AS r_ntile, n.f AS f_ntile, n.m AS m_ntile,
	   q.r AS r_qcut, k.f AS f_qcut, q.m AS m_qcut, a.r AS r_mean, a.f AS f_mean, a.m AS m_mean
FROM summary s JOIN ranked USING (dataset, customer_id) JOIN breaks b USING (dataset, as_of),
	 rfm_score(s, rfmr, as_of) x, rfm_score(s, ntile, as_of, customer_id) n, rfm_score(s, quantile, as_of) q,
	 rfm_score(ranked.ranked, b.ranked, as_of) k, rfm_score(s, mean, as_of) a;
SELECT bag_eq(format('SELECT dataset, customer_id, r_%1$s, f_%1$s, m_%1$s FROM score WHERE dataset IN (SELECT dataset FROM expected)', scoring),
	format('SELECT dataset, customer_id, r_%1$s, f_%1$s, m_%1$s FROM expected', scoring), 'scores of each customer by ' || scoring)
FROM unnest('{rfmr,ntile,qcut}'::text[]) scoring;
CREATE TABLE scored AS
SELECT dataset, customer_id, s, as_of, v.scoring, v.r, v.f, v.m
FROM score o, LATERAL (VALUES ('rfmr', r_rfmr, f_rfmr, m_rfmr), ('ntile', r_ntile, f_ntile, m_ntile), ('qcut', r_qcut, f_qcut, m_qcut)) v (scoring, r, f, m);
SELECT bag_eq(format('SELECT dataset, customer_id, rfm_segment(r, f, m, %L) FROM scored WHERE scoring = %L AND dataset IN (SELECT dataset FROM expected)', scheme, scoring),
	format('SELECT dataset, customer_id, %I FROM expected', col || '_' || scoring), format('segments of %s by %s', scheme, scoring))
FROM (VALUES ('rfm_r_v030', 'v030', 'rfmr'), ('rfm_r_v022', 'v022', 'rfmr'), ('putler_ranges', 'putler', 'rfmr'), ('code125', 'code125', 'rfmr'), ('rf_grid', 'grid', 'rfmr'),
	('rfm_r_v030', 'v030', 'ntile'), ('rfm_r_v022', 'v022', 'ntile'), ('putler_ranges', 'putler', 'ntile'), ('code125', 'code125', 'ntile'), ('rf_grid', 'grid', 'ntile'),
	('code125', 'code125', 'qcut'), ('rf_grid', 'grid', 'qcut')) v (scheme, col, scoring);
SELECT bag_eq($$SELECT dataset, customer_id, rfm_segment(r_mean, f_mean, m_mean, 'cn_8_quadrant', 'zh') FROM score WHERE dataset IN (SELECT dataset FROM expected)$$,
	'SELECT dataset, customer_id, cn8_mean FROM expected', 'eight quadrants by the mean');

-- The same straight from the tables, whose columns are a date and a timestamp, wherever the session is.
CREATE TABLE retail_line AS SELECT (customer_id::int)::text AS customer_id, invoice, at, quantity * price AS amount FROM line WHERE customer_id IS NOT NULL AND quantity > 0 AND price > 0;
SELECT bag_eq(format('SELECT * FROM in_zone(%L, %L)', zone, format('SELECT concat_ws('' '', member, recency, frequency, round(monetary, 2), r, f, m, segment) FROM rfm_table(%s, as_of => %L, method => %L)', orders, as_of, method)),
	format('SELECT concat_ws('' '', customer_id, recency_days, frequency, round(monetary, 2), r_%1$s, f_%1$s, m_%1$s, code125_%1$s) FROM %2$s', method, expected), format('rfm_table of %s by %s in %s', expected, method, zone))
FROM (VALUES ($$'r_order', 'customer_id', 'order_date', 'revenue'$$, '2006-12-31', 'expected_orders'), ($$'retail_line', 'customer_id', key_column => 'invoice'$$, '2011-12-11', 'expected_online')) v(orders, as_of, expected),
	unnest('{rfmr,ntile}'::text[]) method, unnest('{UTC,Europe/Berlin}'::text[]) zone;

-- Every segment of every data set, scoring and scheme.
CREATE TABLE have AS
SELECT dataset, scoring, scheme, rfm_segment(r, f, m, scheme) AS segment, count(*) AS customers, frequency(rollup(s))::numeric AS orders,
	   round(monetary_total(rollup(s)), 2) AS revenue, round(round(avg(recency(s, as_of)), 4), 3) AS days
FROM scored, unnest('{rfm_r_v030,rfm_r_v022,putler_ranges,code125,rf_grid}'::text[]) scheme
GROUP BY dataset, scoring, scheme, segment
UNION ALL
SELECT dataset, 'mean', 'cn_8_quadrant', rfm_segment(r_mean, f_mean, m_mean, 'cn_8_quadrant', 'zh'), count(*), frequency(rollup(s)),
	   round(monetary_total(rollup(s)), 2), round(round(avg(recency(s, as_of)), 4), 3)
FROM score GROUP BY 1, 4;
SELECT bag_eq(
	format('SELECT scheme, segment, customers, orders, revenue, days FROM have WHERE dataset = %L AND scoring = %L', dataset, scoring),
	format('SELECT segmentation, segment, customers, orders, round(revenue, 2) AS revenue, round(mean_recency, 3) AS days FROM expected_summary WHERE dataset = %L AND scoring = %L', dataset, scoring),
	format('counts, orders, revenue and mean recency of the segments of %s by %s', dataset, scoring))
FROM (SELECT DISTINCT dataset, scoring FROM expected_summary) e ORDER BY dataset, scoring;

-- The rules of the schemes, as they are written elsewhere.
CREATE TABLE definition (scheme text, rule int, segment text, r text, f text, m text, note text, line serial);
\set copy '\\copy definition (scheme, rule, segment, r, f, m, note) FROM PROGRAM ''cat ' :data '/expected/segment_definitions.csv'' CSV HEADER'
:copy
CREATE FUNCTION within(score numeric, range text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT score BETWEEN split_part(range, '-', 1)::int AND split_part(range, '-', 2)::int $$;
SELECT bag_eq($$SELECT b.scheme, n, definition -> 'rules' -> (n - 1) ->> CASE b.scheme WHEN 'cn_8_quadrant' THEN 'zh' ELSE 'segment' END, c.code
	FROM builtin_rfm_schemes() b, rfm_scheme_codes(definition) c, unnest(c.rules) n$$,
	$$SELECT d.scheme, d.number, d.segment, c.code
	FROM (SELECT *, line - min(line) OVER (PARTITION BY scheme) + 1 AS number FROM definition) d,
		 (SELECT r, f, m, concat(r, f, m) AS code FROM generate_series(1, 5) r, generate_series(1, 5) f, generate_series(1, 5) m) c
	WHERE CASE
		WHEN scheme = 'code125' THEN c.code = ANY (string_to_array(d.note, ','))
		WHEN scheme = 'rf_grid' THEN left(c.code, 2) ~ d.r
		WHEN scheme = 'cn_8_quadrant' THEN greatest(c.r, c.f, c.m) <= 2 AND (d.r = 'high') = (c.r = 2) AND (d.f = 'high') = (c.f = 2) AND (d.m = 'high') = (c.m = 2)
		WHEN d.f LIKE 'FM %' THEN within(c.r, d.r) AND within((c.f + c.m) / 2.0, substr(d.f, 4))
		ELSE within(c.r, d.r) AND within(c.f, d.f) AND within(c.m, d.m) END$$, 'which rule of which scheme takes which codes');

-- Cut points of the R package's rule.
SELECT bag_eq(
	format('SELECT dataset, round(x::numeric, 6) FROM breaks, unnest(rfm_cuts(rfmr, %L)) x WHERE dataset IN (SELECT dataset FROM cut)', d),
	format('SELECT dataset, round(%1$I::numeric, 6) FROM cut c WHERE %1$I < (SELECT max(%1$I) FROM cut x WHERE x.dataset = c.dataset)', left(d, 1)),
	'cut points of ' || d)
FROM unnest('{recency,frequency,monetary}'::text[]) d;
\else
SELECT skip('the shared data are not here', 1);
\endif

SELECT * FROM finish();
