-- Room liability: the triangle, what is outstanding, and deferral, without any
-- table.  Expected figures are published ones, or worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

-- ---- deferral ----

SELECT is(round(a.deferred), v.deferred::numeric, name) FROM (VALUES
	-- IFRS 15, IE267: goods of 100,000, 10,000 points of 1, 95 % expected
	('IE267', 100000, 100000, 10000, 1, 0.95, 8676),
	-- 2,000 with 170
	('2,000 with 170', 2000, 2000, 170, 1, 1, 157)) v (name, amount, goods, points, value, rate, deferred), LATERAL loyalty.allocate_price(amount, goods, points, value, rate) a;
SELECT is((SELECT (a.goods, a.deferred) FROM loyalty.allocate_price(100000, 100000, 10000, 1, 0.95, 0) a), (91324::numeric, 8676::numeric), 'IE267: goods and points');
SELECT is((SELECT (a.goods, a.deferred) FROM loyalty.allocate_price(100.00, 100, 10, 1, 0.95) a), (91.32, 8.68), 'an order of 100.00 with 10 points');
SELECT is((SELECT a.deferred FROM loyalty.allocate_price(100000, 100000, 10000, 1, 0.97, 2) a), 8842.30, 'KPMG 10A, which rounds the share to 9 %: exactly');
SELECT is((SELECT (a.goods, a.deferred) FROM loyalty.allocate_price(0, 0, 10, 1, 1) a), (0.00, 0.00), 'nothing to share');
SELECT is((SELECT sum(a.goods + a.deferred) FROM generate_series(1, 200) i, LATERAL loyalty.allocate_price(i * 0.37, i * 0.37, i % 7, 0.013, 0.8) a), (SELECT sum(i * 0.37) FROM generate_series(1, 200) i), 'the parts sum to the whole');
SELECT is(round(loyalty.recognised(deferred, redeemed, expected) - before), recognised::numeric, name) FROM (VALUES
	('IE269: year 1', 8676, 4500, 9500, 0, 4110), ('IE270: year 2, 9,700 expected', 8676, 8500, 9700, 4110, 3493),
	('KPMG 10A: year 1', 9000, 4500, 9700, 0, 4175), ('KPMG 10A: year 2', 9000, 8500, 9900, 4175, 3552), ('KPMG 10B: the estimate falls', 9000, 8500, 9200, 4175, 4140),
	('IFRIC 13: year 1', 100, 40, 80, 0, 50), ('IFRIC 13: year 2', 100, 81, 90, 50, 40), ('IFRIC 13: year 3', 100, 90, 90, 90, 10),
	('720,000: year 1', 720000, 4000, 8000, 0, 360000), ('720,000: year 2', 720000, 8100, 9000, 360000, 288000), ('720,000: the rest', 720000, 9000, 9000, 648000, 72000),
	('nothing more expected', 5, 0, 0, 0, 5)) v (name, deferred, redeemed, expected, before, recognised);

-- ---- the triangle: Taylor and Ashe, as chainladder has it (genins) ----

CREATE TABLE genins (origin integer, age integer, paid bigint);
INSERT INTO genins SELECT o.n, a.n - 1, a.paid
FROM unnest('{357848 766940 610542 482940 527326 574398 146342 139950 227229 67948,352118 884021 933894 1183289 445745 320996 527804 266172 425046,290507 1001799 926219 1016654 750816 146923 495992 280405,310608 1108250 776189 1562400 272482 352053 206286,443160 693190 991983 769488 504851 470639,396132 937085 847498 805037 705960,440832 847631 1131398 1063269,359480 1061648 1443370,376686 986608,344014}'::text[]) WITH ORDINALITY o (line, n),
	LATERAL (SELECT p::bigint AS paid, row_number() OVER () AS n FROM regexp_split_to_table(o.line, ' ') p) a;
CREATE TABLE t AS SELECT loyalty.redemption_triangle_agg(make_timestamptz(2000 + origin::int, 6, 1, 0, 0, 0, 'UTC'), NULL, make_timestamptz(2000 + (origin + age)::int, 6, 1, 0, 0, 0, 'UTC'), paid, NULL, 'year', 'UTC') AS t FROM genins;
SELECT is((SELECT array_agg(round(f.factor, 4) ORDER BY f.age) FROM t, loyalty.development_factors(t.t, '2011-01-01') f), '{3.4906,1.7473,1.4574,1.1739,1.1038,1.0863,1.0539,1.0766,1.0177}', 'development factors');
SELECT is((SELECT round(sum(u.ultimate - u.redeemed), 2) FROM t, loyalty.ultimate_rate(t.t, '2011-01-01') u), 18680855.61, 'the reserve');
SELECT is((SELECT count(*) FROM t, loyalty.triangle_cells(t.t, '2011-01-01') c), 55::bigint, 'cells of ages that are over');
SELECT is((SELECT count(*) FROM t, loyalty.triangle_cells(t.t, '2010-12-31') c), 45::bigint, 'a day before a diagonal less');

-- ---- the page's small triangle ----

CREATE TABLE small (issued_at timestamptz, issued bigint, redeemed_at timestamptz, redeemed bigint);
INSERT INTO small VALUES ('2026-01-10Z', 100000, NULL, NULL), ('2026-02-10Z', 120000, NULL, NULL), ('2026-03-10Z', 150000, NULL, NULL),
	('2026-01-10Z', NULL, '2026-01-20Z', 30000), ('2026-01-10Z', NULL, '2026-02-20Z', 20000), ('2026-01-10Z', NULL, '2026-03-20Z', 5000),
	('2026-02-10Z', NULL, '2026-02-20Z', 36000), ('2026-02-10Z', NULL, '2026-03-20Z', 25200), ('2026-03-10Z', NULL, '2026-03-20Z', 48000),
	-- of an age that is not over
	('2026-03-10Z', NULL, '2026-04-02Z', 7);
CREATE TABLE s AS SELECT loyalty.redemption_triangle_agg(issued_at, issued, redeemed_at, redeemed, NULL, 'month', 'UTC') AS t FROM small;
SELECT is((SELECT array_agg(round(f.factor, 6) ORDER BY f.age) FROM s, loyalty.development_factors(s.t, '2026-04-01') f), '{1.684848,1.100000}', 'factors 111,200 / 66,000 and 55 / 50');
SELECT is((SELECT array_agg((round(u.ultimate, 2), round(u.rate, 6))::text ORDER BY u.cohort) FROM s, loyalty.ultimate_rate(s.t, '2026-04-01') u), ARRAY['(55000.00,0.550000)', '(67320.00,0.561000)', '(88960.00,0.593067)'], 'ultimate rates');
SELECT is((SELECT array_agg(u.ultimate ORDER BY u.cohort) FROM s, loyalty.ultimate_rate(s.t, '2026-04-01', 'latest') u), '{55000,61200,48000}', 'or what there is');
SELECT is((SELECT array_agg(round(h.hazard, 6) ORDER BY h.age) FROM s, loyalty.hazards(s.t, '2026-04-01') h), '{0.308108,0.293506,0.100000}', 'hazards 114 / 370, 45.2 / 154, 5 / 50');
-- what will be redeemed in all: 55,000, 67,080, 85,143.90
SELECT is((SELECT array_agg(round(c.cumulative + (c.issued - c.cumulative) * loyalty.redeemed_share((SELECT array_agg(h.hazard ORDER BY h.age) FROM loyalty.hazards(s.t, '2026-04-01') h), 0, c.age + 1, NULL), 2) ORDER BY c.cohort)
	FROM s, LATERAL (SELECT DISTINCT ON (x.cohort) x.* FROM loyalty.triangle_cells(s.t, '2026-04-01') x ORDER BY x.cohort, x.age DESC) c), '{55000.00,67080.00,85143.90}', 'by hazards');
SELECT is(round(loyalty.redeemed_share('{0.2,0.1,0.05}', 0, f, u), 3), share, format('from age %s to %s', f, u))
FROM (VALUES (0, 2, .316), (0, NULL, .316), (1, 2, .145), (1, NULL, .145), (3, NULL, 0), (2, 1, 0), (0, 0, .2), (0, 9, .316)) v (f, u, share);
SELECT is(loyalty.redeemed_share('{0.2}', 0.5, 0, 2), 1 - 0.8 * 0.25, 'a tail beyond the oldest age, twice');
SELECT is(loyalty.redeemed_share('{0.2}', 0.5, 3, 4), 0.75, 'of points that are older');
SELECT is(loyalty.redeemed_share('{0.2}', 0.5, 0, NULL), 1::numeric, 'for ever: all');
SELECT is(loyalty.redeemed_share('{}', 0, 0, NULL), 0::numeric, 'no hazard: nothing');
SELECT throws_ok($$SELECT loyalty.ultimate_rate(s.t, '2026-04-01', 'mack') FROM s$$, 'LY003', 'unknown method "mack"', 'another method');
SET client_min_messages = error;
SELECT is((SELECT array_agg(u.ultimate ORDER BY u.cohort) FROM s, loyalty.ultimate_rate(s.t, '2026-03-01') u), '{50000,36000}', 'of two ages: what there is (and a warning)');
SET client_min_messages = warning;
SELECT throws_ok($$SELECT loyalty.redemption_triangle_agg('2026-01-01', 5, '2026-01-02', 3, NULL, 'month', 'UTC')$$, 'LY003', 'a row of a triangle says what was issued, or what was redeemed', 'both in a row');
SELECT throws_ok($$SELECT loyalty.redemption_triangle_agg('2026-01-01', 5, NULL, NULL, NULL, 'week', 'UTC')$$, 'LY003', 'the period of a triangle must be of months', 'weeks');
SELECT throws_ok($$SELECT loyalty.redemption_triangle_agg('infinity', 5, NULL, NULL, NULL, 'month', 'UTC')$$, 'LY342', NULL, 'never');
SELECT is((SELECT loyalty.redemption_triangle_agg(NULL, 5, NULL, NULL, NULL, 'month', 'UTC'))::text, '{}', 'no instant: no cell');
-- returns: 200 unspent points of 1,000 are taken back, 50 of the 100 redeemed refunded, in April
CREATE TABLE r AS SELECT loyalty.redemption_triangle_agg(a::timestamptz, b, c::timestamptz, d, NULL, 'month', 'UTC') AS t FROM (VALUES ('2026-03-05Z', 1000, NULL, NULL), ('2026-03-05Z', NULL, '2026-03-20Z', 100), ('2026-03-05Z', -200, NULL, NULL), ('2026-03-05Z', NULL, '2026-04-03Z', -50)) v (a, b, c, d);
SELECT is((SELECT array_agg((c.issued, c.cumulative)::text ORDER BY c.age) FROM r, loyalty.triangle_cells(r.t, '2026-05-01') c), ARRAY['(800,100)', '(800,50)'], 'returns in the triangle');
-- what has expired is no longer there: of 1,000 600 live for a month, of which 100 are redeemed
CREATE TABLE x AS SELECT loyalty.redemption_triangle_agg(a::timestamptz, b, c::timestamptz, d, e::timestamptz, 'month', 'UTC') AS t FROM (VALUES ('2026-01-05Z', 600, NULL, NULL, '2026-02-01Z'), ('2026-01-05Z', 400, NULL, NULL, NULL),
	('2026-01-05Z', NULL, '2026-01-20Z', 100, '2026-02-01Z'), ('2026-01-05Z', NULL, '2026-02-20Z', 100, NULL)) v (a, b, c, d, e);
SELECT is((SELECT array_agg((c.redeemed, c.cumulative, c.expired)::text ORDER BY c.age) FROM x, loyalty.triangle_cells(x.t, '2026-03-01') c), ARRAY['(100,100,500)', '(100,200,500)'], 'expired at the end of its life');
SELECT is((SELECT array_agg((h.outstanding, h.redeemed, round(h.hazard, 2))::text ORDER BY h.age) FROM x, loyalty.hazards(x.t, '2026-03-01') h), ARRAY['(1000,100,0.10)', '(400,100,0.25)'], 'a quarter of those that are there');
-- by the clock of a zone
SELECT is((SELECT c.cohort FROM unnest((SELECT loyalty.redemption_triangle_agg('2026-03-31 23:30Z', 5, NULL, NULL, NULL, 'month', 'Europe/Berlin'))) c), '2026-04-01', 'midnight of Berlin');
-- the same in any order and in parts
CREATE TABLE many AS SELECT '2020-01-01Z'::timestamptz + i * interval '7 hours' AS at, i % 97 AS n, i % 5 AS p FROM generate_series(1, 5000) i;
SELECT is((SELECT loyalty.redemption_triangle_agg(at, NULL, at + n * interval '1 day', n, NULL, 'month', 'UTC' ORDER BY n)::text FROM many), (SELECT loyalty.redemption_triangle_agg(at, NULL, at + n * interval '1 day', n, NULL, 'month', 'UTC' ORDER BY at DESC)::text FROM many), 'any order');
SELECT is((SELECT sum(c.redeemed) FROM unnest((SELECT loyalty.redemption_triangle_agg(at, NULL, at + n * interval '1 day', n, NULL, 'month', 'UTC') FROM many)) c), (SELECT sum(n)::numeric FROM many), 'nothing is lost');

SELECT is(array_agg(c.age ORDER BY c.n), array_agg(c.age ORDER BY c.cohort, c.age), 'cells are in order')
FROM unnest((SELECT loyalty.redemption_triangle_agg('2020-01-01Z', NULL, '2020-01-01Z'::timestamptz + (i * 37 % 101) * interval '31 days', 1, NULL, 'month', 'UTC') FROM generate_series(1, 101) i)) WITH ORDINALITY c (cohort, months, age, issued, redeemed, expired, n);

-- ---- entries of the ledger: what each is to the triangle ----

CREATE FUNCTION of_entry(kind text, points bigint, lots text DEFAULT NULL, of_kind text DEFAULT NULL, origin_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s+%s: %s/%s', c.cohort, c.age, c.issued, c.redeemed), ' ' ORDER BY c.cohort, c.age)
	FROM unnest((SELECT loyalty.entry_triangle_agg(kind, points, '2026-03-10Z', NULL, lots::loyalty.points_lots, of_kind, origin_at, 'month', 'UTC'))) c
$$;
SELECT is(of_entry(t.kind, t.points, t.lots, t.of_kind, t.origin_at::timestamptz), t.cells, t.what) FROM (VALUES
	('earn', 0, NULL, NULL, NULL, NULL, 'nothing was earned'),
	('earn', 1, NULL, NULL, NULL, '2026-03-01+0: 1/0', 'one point'),
	('earn', 10, '[{"lot_id": 5, "points": 7, "earned_at": "2026-03-10Z"}]', NULL, NULL, '2026-03-01+0: 10/3', 'earned into debt of 3'),
	('adjust', -4, '[{"lot_id": 1, "points": 4, "earned_at": "2026-01-10Z"}]', NULL, NULL, '2026-01-01+0: -4/0', 'corrected: never issued'),
	('redeem', -5, '[{"lot_id": 1, "points": 5, "earned_at": "2026-01-10Z"}]', NULL, NULL, '2026-01-01+2: 0/5', 'redeemed two months later'),
	('reverse', 5, '[{"lot_id": 1, "points": 5, "earned_at": "2026-01-10Z"}]', 'redeem', NULL, '2026-01-01+2: 0/-5', 'given back'),
	('reverse', -5, '[{"lot_id": 1, "points": 5, "earned_at": "2026-01-10Z"}]', 'reverse', NULL, '2026-01-01+2: 0/5', 'redeemed all the same'),
	('reverse', -5, '[{"lot_id": 1, "points": 5, "earned_at": "2026-01-10Z"}]', 'earn', '2026-01-10', '2026-01-01+0: -5/0', 'an earning that is undone'),
	('reverse', -5, '[{"lot_id": 1, "points": 3, "earned_at": "2026-01-10Z"}]', 'earn', '2026-01-10', '2026-01-01+0: -5/0 2026-01-01+2: 0/-2', 'of which 2 were redeemed already: they are owed'),
	('reverse', 1, NULL, 'reverse', '2026-01-10', '2026-01-01+0: 1/0 2026-01-01+2: 0/1', 'an earning that holds all the same, of which nothing is there'),
	('expire', -5, '[{"lot_id": 1, "points": 5, "earned_at": "2026-01-10Z"}]', NULL, NULL, NULL, 'what expires follows from lots')) t (kind, points, lots, of_kind, origin_at, cells, what);
SELECT throws_ok($$SELECT of_entry('earn', -9223372036854775808)$$, '22003', NULL, 'the least number has no size');

-- ---- by workers ----

CREATE TABLE spread AS SELECT timestamptz '2024-01-01Z' + (g % 900) * interval '1 day' AS at, g % 7 AS n, g % 2 = 0 AS issued, (g % 60) * interval '1 day' AS life, CASE g % 3 WHEN 0 THEN timestamptz '2026-12-01Z' END AS expires FROM generate_series(1, 100000) g;
CREATE TABLE held AS SELECT loyalty.balance_agg(n, at, at + life + interval '1 year') AS balance, g FROM (SELECT *, row_number() OVER () / 50 AS g FROM spread WHERE n > 0) s GROUP BY g;
INSERT INTO held SELECT NULL, -1 FROM generate_series(1, 20000);
ANALYZE spread, held;
CREATE TABLE asked (what text, query text);
INSERT INTO asked VALUES
	('a triangle', $q$SELECT loyalty.redemption_triangle_agg(at, CASE WHEN issued THEN n END, CASE WHEN NOT issued THEN at + life END, CASE WHEN NOT issued THEN n END, expires, 'month', 'UTC')::text FROM spread WHERE at < '2026-01-01'$q$),
	('a triangle of entries', $q$SELECT loyalty.entry_triangle_agg('earn', n, at, expires, NULL, NULL, NULL, 'quarter', 'UTC')::text FROM spread$q$),
	('what is outstanding', $q$SELECT loyalty.outstanding_agg(balance, '2027-01-01', 'month', 'UTC')::text FROM held$q$),
	('nothing', $q$SELECT loyalty.outstanding_agg(balance, '2027-01-01', 'month', 'UTC')::text FROM held WHERE g = -1$q$);
CREATE FUNCTION answer(query text, workers integer) RETURNS text LANGUAGE plpgsql SET parallel_setup_cost = 0 SET parallel_tuple_cost = 0 SET min_parallel_table_scan_size = 0 AS $$
DECLARE
	result text;
	plan text := '';
	line text;
BEGIN
	PERFORM set_config('max_parallel_workers_per_gather', workers::text, true);
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP plan := plan || line; END LOOP;
	IF (plan ~ 'Partial Aggregate') <> (workers > 0) THEN RAISE EXCEPTION 'another plan: %', plan; END IF;
	EXECUTE query INTO result;
	RETURN result;
END $$;
SELECT ok(answer(query, 3) = answer(query, 0), what || ' by workers') FROM asked;

-- ---- what is outstanding ----

CREATE TABLE b AS SELECT member, loyalty.balance_agg(points, at::timestamptz, expires::timestamptz) AS balance FROM (VALUES
	(1, 100, '2026-01-10Z', '2027-01-01Z'), (1, 50, '2026-02-10Z', NULL), (1, -30, '2026-02-20Z', NULL), (2, 7, '2026-01-31Z', '2026-03-01Z')) v (member, points, at, expires) GROUP BY member;
SELECT results_eq($$SELECT c.issued_in, c.lives_until, c.available, c.pending, c.held, c.owed FROM unnest((SELECT loyalty.outstanding_agg(balance, '2026-02-28Z', 'month', 'UTC') FROM b)) c$$,
	$$VALUES ('2026-01-01'::date, '2026-02-01'::date, 7::bigint, 0::bigint, 0::bigint, 0::bigint), ('2026-01-01', '2026-12-01', 70, 0, 0, 0), ('2026-02-01', NULL, 50, 0, 0, 0)$$, 'by month of issue and last month of life');
SELECT is((SELECT sum(c.available) FROM unnest((SELECT loyalty.outstanding_agg(balance, '2026-03-01Z', 'month', 'UTC') FROM b)) c), 120::numeric, 'expired is out');
SELECT throws_ok($$SELECT loyalty.outstanding_agg(balance, '2026-02-01Z', 'month', 'UTC') FROM b$$, 'LY110', NULL, 'before the last entry');
SELECT is((SELECT loyalty.outstanding_agg(NULL, now(), 'month', 'UTC'))::text, '{}', 'no balance');
-- given back after it had expired: until then it was redeemed, and there is nothing of it to be redeemed afterwards
CREATE TABLE late AS SELECT loyalty.redemption_triangle_agg(i, n, r, p, '2026-03-01Z', 'month', 'UTC') AS t
FROM (VALUES ('2026-01-10Z'::timestamptz, 100::bigint, NULL::timestamptz, NULL::bigint), ('2026-01-10Z', NULL, '2026-01-20Z', 40), ('2026-01-10Z', NULL, '2026-04-20Z', -40)) v (i, n, r, p);
SELECT results_eq($$SELECT c.age, c.cumulative, c.expired FROM late, loyalty.triangle_cells(t, '2026-06-01') c$$, $$VALUES (0, 40::bigint, 0::bigint), (1, 40, 60), (2, 40, 60), (3, 0, 100), (4, 0, 100)$$, 'given back after it had expired');
SELECT is((SELECT array_agg(h.hazard ORDER BY h.age) FROM late, loyalty.hazards(t, '2026-06-01') h), '{0.4,0,0,0,0}', 'and hazards of nothing');

-- a month is a month in any time zone of the session: in Amman the 1st of April 2016 began at one
SET timezone = 'Asia/Amman';
SELECT is((SELECT count(*) FROM loyalty.triangle_cells((SELECT loyalty.redemption_triangle_agg('2016-04-10Z', 100, NULL, NULL, NULL, 'month', 'UTC')), '2016-05-01')), 1::bigint, 'April is over in May');
SET timezone = 'UTC';
SELECT * FROM finish();
