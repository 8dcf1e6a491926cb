-- rfm: against slow and obvious SQL, under workers, and against published figures.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- Amounts of every shape: digits, decimals, trailing zeros, signs, stored short
-- and long.  The summary must agree with sum() to the last displayed digit.
SELECT setseed(0.4);
CREATE TABLE event AS
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
CREATE INDEX ON event (member_id, at) WHERE amount >= 0;
ANALYZE event;

CREATE VIEW obvious AS
SELECT member_id, count(*) FILTER (WHERE amount >= 0) AS purchases, count(*) FILTER (WHERE amount < 0) AS refunds,
	   min(at) FILTER (WHERE amount >= 0) AS first, max(at) FILTER (WHERE amount >= 0) AS last,
	   sum(amount) AS total, coalesce(sum(amount) FILTER (WHERE amount < 0), 0) AS refunded,
	   (SELECT min(x.at) FROM event x WHERE x.member_id = e.member_id AND x.amount >= 0
		AND x.at > (SELECT min(y.at) FROM event y WHERE y.member_id = e.member_id AND y.amount >= 0)) AS second,
	   (SELECT max(x.at) FROM event x WHERE x.member_id = e.member_id AND x.amount >= 0
		AND x.at < (SELECT max(y.at) FROM event y WHERE y.member_id = e.member_id AND y.amount >= 0)) AS previous
FROM event e GROUP BY member_id;

PREPARE told AS
SELECT member_id, frequency(s), refund_count(s), first_purchase_at(s), last_purchase_at(s), monetary_total(s)::text,
	   refund_total(s), second_purchase_at(s), previous_purchase_at(s)
FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM event GROUP BY member_id) x;
PREPARE obvious AS
SELECT member_id, purchases, refunds, first, last, total::text, refunded, second, previous FROM obvious;
SELECT bag_eq('told', 'obvious', 'the summary agrees with plain SQL, to the displayed digit');

SELECT is_empty($$
	SELECT member_id FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM event GROUP BY member_id) x
	WHERE s::text::rfm IS DISTINCT FROM s OR monetary_mean(s) <> monetary_total(s) / frequency(s)$$,
	'text comes back the same; the mean is numeric division');

-- binary comes back the same
SELECT lives_ok(format('COPY (SELECT rfm_agg(at, amount) AS s, rfm_breaks(NULL::rfm, now(), ''ntile'') AS b FROM event GROUP BY member_id) TO %L (FORMAT binary)', current_setting('data_directory') || '/rfm.copy'),
	'binary output');
CREATE TABLE copied (s rfm, b rfm_breaks);
SELECT lives_ok(format('COPY copied FROM %L (FORMAT binary)', current_setting('data_directory') || '/rfm.copy'), 'binary input');
SELECT bag_eq('SELECT s::text FROM copied', 'SELECT rfm_agg(at, amount)::text FROM event GROUP BY member_id', 'binary comes back the same');

-- Any split of the rows, in any order, gives the same bits.
CREATE TABLE whole AS SELECT member_id, rfm_agg(at, amount) AS s FROM event GROUP BY member_id;
SELECT bag_eq($$SELECT member_id, rollup(s)::text FROM (SELECT member_id, rfm_agg(at, amount ORDER BY random()) AS s FROM event GROUP BY member_id, (random() * 5)::int) x GROUP BY member_id$$,
	'SELECT member_id, s::text FROM whole', 'rollup of random parts is the whole');
SELECT is((SELECT rollup(s ORDER BY random()) FROM whole), (SELECT rfm_agg(at, amount) FROM event), 'rollup of all members is the aggregate over all rows');
SELECT is_empty($$
	SELECT a.member_id FROM whole a JOIN whole b ON b.member_id = (a.member_id * 7) % 500 JOIN whole c ON c.member_id = (a.member_id * 11) % 500
	WHERE a.s + b.s <> b.s + a.s OR (a.s + b.s) + c.s <> a.s + (b.s + c.s)$$, '+ is commutative and associative');

SELECT bag_eq($$SELECT member_id, summary::text FROM rfm_members('event')$$, 'SELECT member_id, s::text FROM whole', 'rfm_members is GROUP BY');
CREATE TABLE many AS SELECT (g * 7919 % 60000) * 4294967296 - 5 + g % 2 AS member_id, timestamptz '2026-01-01' + g * interval '1 minute' AS at, g % 100 - 3 AS amount
FROM generate_series(1, 200000) g;
SELECT bag_eq($$SELECT member_id, summary::text FROM rfm_members('many', as_of => '2026-04-01')$$,
	$$SELECT member_id, rfm_agg(at, amount)::text FROM many WHERE at <= '2026-04-01' GROUP BY member_id$$, 'with many members, negative and huge ids, as of an instant');

-- The collapsing aggregates against a first GROUP BY, in three zones.
SELECT bag_eq(format($$SELECT member_id, s::text::jsonb - 'unit' FROM (SELECT member_id, rfm_agg_by(at, amount, %L, %L) AS s FROM event GROUP BY member_id) x$$, unit, zone),
	format($$SELECT member_id, rollup(s)::text::jsonb - 'unit' FROM (SELECT member_id, rfm_agg(date_trunc(%1$L, at, %2$L), amount) AS s FROM (
		SELECT member_id, date_trunc(%1$L, at, %2$L) AS at, sum(amount) AS amount FROM event GROUP BY 1, 2, amount < 0) y GROUP BY member_id) x GROUP BY member_id$$, unit, zone),
	format('collapsed by %s of %s', unit, zone))
FROM unnest('{hour,day,week,month}'::text[]) unit, unnest('{UTC,America/New_York,Asia/Kolkata}'::text[]) zone;
SELECT bag_eq($$SELECT member_id, s::text::jsonb - 'unit' FROM (SELECT member_id, rfm_agg_by_key(at, amount, order_id) AS s FROM event GROUP BY member_id) x$$,
	$$SELECT member_id, rfm_agg(at, amount)::text::jsonb - 'unit' FROM (SELECT member_id, min(at) AS at, sum(amount) AS amount FROM event GROUP BY member_id, order_id) y GROUP BY member_id$$,
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
	(1, 'SELECT rfm_agg(at, amount) FROM event'),
	(2, 'SELECT rollup(s) FROM whole'),
	(3, $$SELECT rfm_agg_by(at, amount, 'day', 'Europe/Paris') FROM event$$),
	(4, 'SELECT rfm_agg_by_key(at, amount, order_id) FROM event'),
	(5, $$SELECT rfm_breaks(s, '2026-01-01', 'quantile') FROM whole$$),
	(6, $$SELECT rfm_breaks(s, '2026-01-01', rfm_method('mean', 2, 'mean')) FROM whole$$),
	(7, $$SELECT rfm_breaks_keyed(s, '2026-01-01', 'ntile(7)', member_id::text) FROM whole$$),
	(8, $$SELECT string_agg(x, ',' ORDER BY x) FROM (SELECT member_id % 5 || rfm_agg(at, amount)::text AS x FROM event GROUP BY member_id % 5) y$$);
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

-- The built-in partitions take every code once.
SELECT is_empty(format('SELECT * FROM list_rfm_scheme_problems((SELECT definition FROM builtin_rfm_schemes() WHERE scheme = %L))', s), s || ' is a partition')
FROM unnest('{code125,rf_grid,cn_8_quadrant}'::text[]) s;

-- A local clock: summer time neither adds nor takes a day.
SELECT is(recency(rfm_agg('2026-03-28 00:00+01', 1), '2026-03-30 00:00+02', 'Europe/Paris'), 2, 'two days over the change to summer time');
SELECT is(recency(rfm_agg('2026-03-28 00:00+01', 1), '2026-03-30 00:00+02'), 1, '47 hours are one day in UTC');

-- A million equal rows, and none.
SELECT is((SELECT (frequency(s), monetary_total(s), recency(s, '2026-01-02'))::text FROM (SELECT rfm_agg('2026-01-01', 1.10) AS s FROM generate_series(1, 1000000)) x),
	'(1000000,1100000.00,1)', 'a million equal rows');
SELECT is((SELECT rfm_breaks(s, '2026-01-02', 'quantile')::text FROM (SELECT rfm_agg('2026-01-01', 1) AS s) x, generate_series(1, 100000)),
	'{"v":1,"method":"quantile","monetary":"total","time_zone":"UTC","bins":[5,5,5],"cuts":[[1,1,1,1],[1,1,1,1],[1,1,1,1]],"keys":null}', 'equal members make equal cuts');

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
