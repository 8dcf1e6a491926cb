-- A year of a wholesale shop of gifts, from a fixed seed: a few customers buy
-- often and most once or twice, autumn is busy, one line in fifty comes back.
-- Every number is a hash of what it is for, so that the same data come out on
-- any version and with any plan.

-- uniform in (0, 1), one stream for each purpose
CREATE FUNCTION pg_temp.u(purpose text, n bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE
RETURN ((hashint8extended(n, hashtext(purpose)) & 9007199254740991) + 0.5) / 9007199254740992;

CREATE TEMP TABLE product AS
SELECT p, (20000 + p * 7)::text AS stock_code,
	   format('%s %s', (ARRAY['RED', 'WHITE', 'IVORY', 'RETRO', 'SMALL', 'LARGE', 'WOODEN', 'VINTAGE'])[1 + p % 8],
			  (ARRAY['LANTERN', 'TEA TOWEL', 'CAKE STAND', 'LUNCH BAG', 'PHOTO FRAME', 'MUG', 'DOORMAT', 'HEART',
					 'CANDLE', 'CUSHION', 'JAM JAR'])[1 + p % 11]) AS description,
	   round((0.4 + 6 * power(pg_temp.u('price', p), 3))::numeric, 2) AS unit_price
FROM generate_series(1, 600) p;

-- share of each of the 13 months in the orders
CREATE TEMP TABLE season AS
SELECT m, sum(w) OVER (ORDER BY m) / sum(w) OVER () AS upto,
	   timestamptz '2024-12-01' + (m - 1) * interval '1 month' AS starts,
	   CASE m WHEN 13 THEN 9 ELSE 28 END AS days
FROM unnest(ARRAY[1.0, .7, .7, .85, .75, .9, .85, .8, .8, 1.15, 1.3, 1.7, .5]) WITH ORDINALITY AS s(w, m);

CREATE TEMP TABLE visit AS
SELECT v.customer, v.key, s.starts + make_interval(
		   days => (s.days * pg_temp.u('day', v.key))::integer,
		   mins => (480 + 600 * pg_temp.u('minute', v.key))::integer) AS at
FROM (SELECT c AS customer, c * 1000 + k AS key
	  FROM generate_series(1, 4000) c,
		   generate_series(1, least(120, ceil(1.3 * power(pg_temp.u('loyal', c), -0.7)))::integer) k) v
JOIN LATERAL (SELECT * FROM season WHERE upto >= pg_temp.u('month', v.key) ORDER BY m LIMIT 1) s ON true;

CREATE TEMP TABLE line AS
SELECT v.*, l.line_key, p.stock_code, p.description, p.unit_price,
	   1 + floor(-14 * ln(pg_temp.u('quantity', l.line_key)))::integer AS quantity
FROM visit v
CROSS JOIN LATERAL (
	SELECT v.key * 100 + n AS line_key
	FROM generate_series(1, least(60, 1 + floor(-8 * ln(pg_temp.u('lines', v.key))))::integer) n) l
JOIN product p ON p.p = 1 + floor(600 * power(pg_temp.u('product', l.line_key), 2))::integer;

-- Returns: days later, all of a line or a part of it; and a few corrections
-- by hand that no purchase explains.
CREATE TEMP TABLE comeback AS
SELECT customer, key, line_key, stock_code, description, unit_price,
	   at + make_interval(hours => (24 * (2 + 28 * pg_temp.u('delay', line_key)))::integer) AS at,
	   -ceil(quantity * pg_temp.u('part', line_key))::integer AS quantity
FROM line WHERE pg_temp.u('return', line_key) < 0.02
UNION ALL
SELECT customer, key, line_key, 'M', 'Manual', 5 + round((40 * pg_temp.u('manual', line_key))::numeric, 2), at, -1
FROM line WHERE pg_temp.u('return', line_key) > 0.999;

-- one visit in eight is by somebody unknown
INSERT INTO shop.staging
SELECT (536364 + dense_rank() OVER (ORDER BY at, key))::text, stock_code, description, quantity, at, unit_price,
	   CASE WHEN pg_temp.u('known', key) < 0.875 THEN 12000 + customer END, 'United Kingdom'
FROM line
UNION ALL
SELECT 'C' || 700000 + dense_rank() OVER (ORDER BY at, key), stock_code, description, quantity, at, unit_price,
	   CASE WHEN pg_temp.u('known', key) < 0.875 THEN 12000 + customer END, 'United Kingdom'
FROM comeback WHERE at < timestamptz '2025-12-10';
