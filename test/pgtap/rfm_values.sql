-- rfm: the types' values one by one: what their invariants refuse, what their
-- text and bytes may be, and amounts at the ends of every form of number.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- The DETAIL that a query ends with, and the number of its rows if it does not.
CREATE FUNCTION detail_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; n bigint;
BEGIN
	EXECUTE query;
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, nullif(detail, ''));
END $$;

-- Any bytes as the binary form of a type: a column of bytea is written as they are.
CREATE FUNCTION receive(type text, bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE file text := current_setting('data_directory') || '/rfm_values.copy'; value text;
BEGIN
	EXECUTE format('COPY (SELECT %L::bytea) TO %L (FORMAT binary)', bytes, file);
	EXECUTE format('CREATE TEMP TABLE received (value %s)', type);
	EXECUTE format('COPY received FROM %L (FORMAT binary)', file);
	SELECT r.value::text INTO value FROM received r;
	DROP TABLE received;
	RETURN value;
END $$;

-- ---- rfm: five purchases, two of them at the first instant, and two refunds;
-- instants in microseconds, sums in 10^-4, as two decimals have it.
CREATE FUNCTION rfm_bytes(change jsonb) RETURNS bytea LANGUAGE sql AS $$
	SELECT int2send(((v ->> 'v')::int * 256 + (v ->> 'unit')::int)::smallint) || substr(int2send((v ->> 'decimals')::smallint), 2)
		|| int8send((v ->> 'purchases')::bigint) || int8send((v ->> 'refunds')::bigint) || int8send((v ->> 'first_purchases')::bigint)
		|| int8send((v ->> 'first')::bigint) || int8send((v ->> 'second')::bigint) || int8send((v ->> 'previous')::bigint) || int8send((v ->> 'last')::bigint)
		|| int8send((v ->> 'bought')::bigint >> 63) || int8send((v ->> 'bought')::bigint)
		|| int8send((v ->> 'refunded')::bigint >> 63) || int8send((v ->> 'refunded')::bigint)
		|| int8send((v ->> 'first_bought')::bigint >> 63) || int8send((v ->> 'first_bought')::bigint)
	FROM (SELECT '{"v": 1, "unit": 0, "decimals": 2, "purchases": 5, "refunds": 2, "first_purchases": 2, "first": 10, "second": 20, "previous": 30, "last": 40,
		"bought": 50000, "refunded": -300, "first_bought": 20000}'::jsonb || change AS v) x $$;
SELECT is(receive('rfm', rfm_bytes('{}')),
	'{"v":1,"unit":"row","purchases":5,"refunds":2,"first_purchases":2,"first":"2000-01-01 00:00:00.00001+00","second":"2000-01-01 00:00:00.00002+00","previous":"2000-01-01 00:00:00.00003+00",'
	'"last":"2000-01-01 00:00:00.00004+00","bought":5.00,"refunded":-0.03,"first_bought":2.00}', 'bytes of an rfm');

-- Without a purchase, and with purchases at one instant.
\set inf 9223372036854775807
\set minf -9223372036854775808
\set none '"purchases": 0, "first_purchases": 0, "first": 9223372036854775807, "second": 9223372036854775807, "previous": -9223372036854775808, "last": -9223372036854775808, "bought": 0, "first_bought": 0'
\set once '"first": 40, "second": 9223372036854775807, "previous": -9223372036854775808, "first_purchases": 5, "first_bought": 50000'
\set two '"second": 40, "previous": 10, "purchases": 3'
CREATE TABLE problem (state text, change jsonb, problem text);
INSERT INTO problem SELECT state, change::jsonb, problem FROM (VALUES
	('', '{"v": 2}', 'the version is unknown'), ('', '{"v": 0}', 'the version is unknown'),
	('', '{"unit": 6}', NULL), ('', '{"unit": 7}', NULL), ('', '{"unit": 8}', 'the unit is unknown'),
	('', '{"decimals": 36}', NULL), ('', '{"decimals": 37}', 'there are more than 36 decimals'),
	('', '{"purchases": -1}', 'a count is negative'), ('', '{"refunds": -1}', 'a count is negative'), ('', '{"first_purchases": -1}', 'a count is negative'),
	('', '{"bought": -100}', 'a sum has the wrong sign'), ('', '{"first_bought": -100}', 'a sum has the wrong sign'), ('', '{"refunded": 100}', 'a sum has the wrong sign'),
	('', '{"bought": 0, "first_bought": 0}', NULL), ('', '{"first_bought": 0}', NULL),
	('', '{"bought": 50010}', 'a sum has more decimals than stated'), ('', '{"refunded": -310}', 'a sum has more decimals than stated'), ('', '{"first_bought": 20010}', 'a sum has more decimals than stated'),
	('', '{"decimals": 3, "bought": 50010}', NULL), ('', '{"decimals": 3, "bought": 50001}', 'a sum has more decimals than stated'), ('', '{"decimals": 4, "bought": 50001}', NULL),
	('', '{"decimals": 1, "refunded": -1000}', NULL), ('', '{"decimals": 1, "refunded": -1100}', 'a sum has more decimals than stated'), ('', '{"decimals": 0, "refunded": -3}', NULL),
	('', '{"refunds": 0}', 'number and sum of the refunds do not fit'), ('', '{"refunds": 0, "refunded": 0}', NULL), ('', '{"refunded": 0}', 'number and sum of the refunds do not fit'),
	('', '{"refunds": 300}', NULL), ('', '{"refunds": 301}', 'number and sum of the refunds do not fit'),
	('none', '{}', NULL), ('none', '{"first": 10}', 'there is an instant but no purchase'), ('none', '{"second": 10}', 'there is an instant but no purchase'),
	('none', '{"previous": 10}', 'there is an instant but no purchase'), ('none', '{"last": 10}', 'there is an instant but no purchase'),
	('none', '{"bought": 100}', 'there is an amount but no purchase'), ('none', '{"first_purchases": 1}', 'there is an amount but no purchase'), ('none', '{"first_bought": 100}', 'there is an amount but no purchase'),
	('none', '{"refunds": 0, "refunded": 0}', 'the empty value has no decimals and no unit'), ('none', '{"refunds": 0, "refunded": 0, "decimals": 0}', NULL),
	('none', '{"refunds": 0, "refunded": 0, "decimals": 0, "unit": 2}', 'the empty value has no decimals and no unit'), ('none', '{"unit": 2}', NULL),
	('', '{"first": 9223372036854775807}', 'first and last do not fit'), ('', '{"first": -9223372036854775808}', 'first and last do not fit'), ('', '{"last": 9223372036854775807}', 'first and last do not fit'),
	('', '{"first": 41}', 'first and last do not fit'),
	('', '{"first_purchases": 0}', 'the purchases at the first instant do not fit'), ('', '{"first_purchases": 6}', 'the purchases at the first instant do not fit'),
	('', '{"first_bought": 50100}', 'the purchases at the first instant do not fit'), ('', '{"first_bought": 50000}', NULL), ('', '{"first_purchases": 1}', NULL),
	('once', '{}', NULL), ('once', '{"second": 40}', 'second and previous need a later purchase'), ('once', '{"previous": 40}', 'second and previous need a later purchase'),
	('once', '{"first_purchases": 4}', 'all purchases are at the first instant'), ('once', '{"first_bought": 100}', 'all purchases are at the first instant'),
	('two', '{}', NULL), ('', '{"second": 10}', 'second and previous do not fit'), ('two', '{"second": 41}', 'second and previous do not fit'), ('two', '{"second": 30}', 'second and previous do not fit'),
	('two', '{"previous": 9}', 'second and previous do not fit'), ('two', '{"previous": 20}', 'second and previous do not fit'), ('', '{"previous": 40}', 'second and previous do not fit'),
	('', '{"second": 31}', 'second and previous do not fit'), ('', '{"second": 30}', NULL),
	('two', '{"first_purchases": 3}', 'there are fewer purchases than instants'), ('', '{"second": 30, "purchases": 4}', NULL), ('', '{"second": 30, "purchases": 3}', 'there are fewer purchases than instants'),
	('', '{"purchases": 4}', 'there are fewer purchases than instants')) v(state, change, problem);
SELECT is(detail_of(format('SELECT receive(''rfm'', %L)', rfm_bytes(state || change))), coalesce('22P03 No events lead to it: ' || problem || '.', '1'), format('an rfm with %s %s', name, change))
FROM (SELECT p.state AS name, CASE p.state WHEN '' THEN '{}' ELSE format('{%s}', CASE p.state WHEN 'none' THEN :'none' WHEN 'once' THEN :'once' ELSE :'two' END) END::jsonb AS state, change, problem FROM problem p) x;
-- what is sound comes out and in again as the same bytes, by way of text as well
SELECT is(rfm_send(text::rfm), bytes, 'and back: ' || text)
FROM (SELECT bytes, receive('rfm', bytes) AS text FROM (SELECT rfm_bytes(CASE p.state WHEN '' THEN '{}' ELSE format('{%s}', CASE p.state WHEN 'none' THEN :'none' WHEN 'once' THEN :'once' ELSE :'two' END) END::jsonb || change) AS bytes
	FROM problem p WHERE problem IS NULL) x) y;

-- Text: one purchase, and what may stand in its place.  Where the text is not
-- understood, the error names the place.
\set one '{"v":1,"unit":"day","purchases":1,"refunds":1,"first_purchases":1,"first":"2024-02-29 23:59:59.5+00","second":null,"previous":null,"last":"2024-02-29 23:59:59.5+00","bought":9.90,"refunded":-1.25,"first_bought":9.90}'
SELECT is(detail_of(format('SELECT %L::rfm', replace(:'one', part, other))) ~ '^22P02 Not understood', refused, format('%s in the place of %s', other, part)) FROM (VALUES
	('{"v":1,', E' {\t"v":\n1 ,\r', false), ('}', '} ', false), ('}', '}x', true), ('}', '', true), ('{"v"', '"v"', true), ('"v":1', '"v":2', true), ('"v":1', '"v":01', true), ('"v":1', '"v":', true), ('"v":1', '"w":1', true), ('"v":1', '"v"1', true), ('"v":1', 'v:1', true), ('"v":1', '"vv":1', true),
	('"day"', '"key"', false), ('"day"', '"da"', true), ('"day"', '"days"', true), ('"day"', 'day', true), ('"day"', 'day"', true), ('"day"', '"year"', true),
	('"refunds":1', '"refunds":-1', true), ('"refunds":1', '"refunds":9223372036854775808', true), ('"refunds":1', '"refunds":92233720368547758070', true), ('"refunds":1', '"refunds":1.', true), ('"refunds":1', '"refunds": ', true), ('"refunds":1', '"refunds":00', true),
	('9.90', '9,90', true), ('9.90', '09.90', true), ('9.90', '00', true), ('9.90', '.90', true), ('9.90', '9.', true), ('9.90', '', true), ('9.90', '-', true), ('9.90', '9.9.0', true), ('9.90', '9.9', true), ('9.90', '+9.90', true), ('9.90', '9e1', true),
	('-1.25', '-0.00', true), ('-1.25', '-1.250', true), ('-1.25', '-1.2', true), ('-1.25', '--1.25', true), ('-1.25', '0.00', false),
	('2024-02-29 23:59:59.5', '2024-02-29 23:59:59.50', true), ('2024-02-29 23:59:59.5', '2024-02-29 23:59:59.000001', false), ('2024-02-29 23:59:59.5', '2024-02-29 23:59:59.0000001', true), ('2024-02-29 23:59:59.5', '2024-02-29 23:59:59.', true),
	('2024-02-29 23:59:59.5', '2024-02-29 23:59:60', true), ('2024-02-29 23:59:59.5', '2024-02-29 23:60:00', true), ('2024-02-29 23:59:59.5', '2024-02-29 24:00:00', true), ('2024-02-29 23:59:59.5', '2023-02-29 00:00:00', true), ('2024-02-29 23:59:59.5', '2024-02-30 00:00:00', true),
	('2024-02-29 23:59:59.5', '2024-00-29 00:00:00', true), ('2024-02-29 23:59:59.5', '2024-13-01 00:00:00', true), ('2024-02-29 23:59:59.5', '2024-12-31 00:00:00', false), ('2024-02-29 23:59:59.5', '2024-01-01 00:00:00', false), ('2024-02-29 23:59:59.5', '2024-01-00 00:00:00', true), ('2024-02-29 23:59:59.5', '2024-01-32 00:00:00', true),
	('2024-02-29 23:59:59.5', '24-01-01 00:00:00', true), ('2024-02-29 23:59:59.5', '0024-01-01 00:00:00', false), ('2024-02-29 23:59:59.5', '294276-12-31 23:59:59.999999', false), ('2024-02-29 23:59:59.5', '294277-01-01 00:00:00', true), ('2024-02-29 23:59:59.5', '0000-01-01 00:00:00', true),
	('2024-02-29 23:59:59.5', '2024-2-01 00:00:00', true), ('2024-02-29 23:59:59.5', '2024-02-1 00:00:00', true), ('2024-02-29 23:59:59.5', '2024-02-01T00:00:00', true), ('2024-02-29 23:59:59.5', '2024-02-01 0:00:00', true), ('2024-02-29 23:59:59.5', '2024-02-01 00:0:00', true), ('2024-02-29 23:59:59.5', '2024-02-01 00:00:0', true),
	('2024-02-29 23:59:59.5', '2024/02/01 00:00:00', true), ('2024-02-29 23:59:59.5', '2024-02-01 00-00-00', true),
	('+00"', '+01"', true), ('+00"', '"', true), ('+00"', '+00 BC"', true), ('29 23:59:59.5+00"', '28 23:59:59.5+00 BC"', false), ('+00"', '+00 AD"', true), ('+00"', '+00', true),
	('"second":null', '"second":"null"', true), ('"second":null', '"second":nul', true)) v(part, other, refused);
SELECT is(detail_of(format('SELECT %L::rfm', replace(:'one', part, other))), format('22P02 Not understood from position %s on.', strpos(:'one', part) + more), 'the place of an error: ' || other) FROM (VALUES
	('{"v"', '["v"', 0), ('day"', 'dax"', 0), ('9.90,"ref', 'x,"ref', 0), ('"second":null', '"second":0', 9)) v(part, other, more);

-- ---- Amounts: what goes in comes out, for numbers that fill their groups of
-- four digits, to either side, short and long, and to the last digit of 128 bits.
CREATE TABLE amount AS SELECT DISTINCT ON (x, scale(x)) x FROM (
	SELECT sign * (('1e' || k)::numeric + d) * ('1e-' || s)::numeric AS x FROM generate_series(0, 37) k, generate_series(0, 36) s, unnest('{-1,0,1}'::int[]) d, unnest('{1,-1}'::int[]) sign WHERE s <= k AND (k - s + (s + 3) / 4 * 4) < 38
	UNION ALL SELECT unnest('{170141183460469231731687303715884105727,-170141183460469231731687303715884105727,0.0000,0,9999,10000,99999999,0.0001,0.9999,1.00010001}'::numeric[])
	UNION ALL SELECT trim_scale(x)::numeric(100, 65) FROM unnest('{1.5,-1.5,0.000000000000000000000000000000000001,12.5,0,-7}'::numeric[]) x
	UNION ALL SELECT 12::numeric(120, 100)) x;
SELECT is_empty($$SELECT x, t FROM (SELECT x, CASE WHEN x < 0 THEN refund_total(rfm_agg('2026-01-01', x)) ELSE purchase_total(rfm_agg('2026-01-01', x)) END AS t FROM amount GROUP BY x, scale(x)) a
	WHERE t::text <> CASE WHEN scale(x) > 36 THEN round(x, 36) ELSE x END::text$$, 'amounts come out as they went in, to 36 decimals');
CREATE TABLE kept_amount (x numeric);
ALTER TABLE kept_amount ALTER x SET STORAGE external;
INSERT INTO kept_amount TABLE amount;
SELECT is((SELECT rfm_agg('2026-01-01', x)::text FROM (SELECT x FROM kept_amount WHERE abs(x) < 1e20 AND scale(x) <= 8) y), (SELECT rfm_agg('2026-01-01', x)::text FROM (SELECT x FROM amount WHERE abs(x) < 1e20 AND scale(x) <= 8) y), 'stored ones as well');
SELECT is((SELECT monetary_total(rfm_agg('2026-01-01', x)) FROM (SELECT x FROM amount WHERE abs(x) < 1e20 AND scale(x) <= 8) y), (SELECT sum(x) FROM amount WHERE abs(x) < 1e20 AND scale(x) <= 8), 'their sum is that of numeric');
SELECT is(detail_of(format('SELECT rfm_agg(''2026-01-01'', %s)', x)), coalesce('LY301 ' || detail, '1'), 'amount ' || x) FROM (VALUES
	('170141183460469231731687303715884105727', NULL), ('170141183460469231731687303715884105728', 'It has more than 38 digits, decimals included.'), ('1e38', NULL), ('1e39', 'It has more than 38 digits, decimals included.'), ('1e43', 'It has more than 38 digits, decimals included.'),
	('99999999999999999999999999999999999999', NULL), ('1e34 + 0.0001', NULL), ('1e35 + 0.0001', 'It has more than 38 digits, decimals included.'), ('0.0000000000000000000000000000000000001', 'It has more than 36 decimals.'),
	('0.1000000000000000000000000000000000000', NULL), ('0.00000000000000000000000000000000000000000000', NULL), ('''NaN''', 'It is not a finite number.'), ('''-Infinity''', 'It is not a finite number.')) v(x, detail);
SELECT throws_ok(format('SELECT rfm_agg(''2026-01-01'', 1e%s)', k), 'LY301', format('amount %s cannot be summed exactly', CASE WHEN k < 60 THEN rpad('1', k + 1, '0') ELSE rpad('1', 57, '0') || '...' END), 'long numbers are cut short: 1e' || k) FROM unnest('{58,59,60,99}'::int[]) k;
-- sums of 128 bits
SELECT is(detail_of(format('SELECT rfm_agg(''2026-01-01'', x) FROM unnest(''%s''::numeric[]) x', xs)), CASE WHEN fits THEN '1' ELSE 'LY301 A sum keeps 38 digits, decimals included, in groups of four.' END, 'the sum of ' || xs) FROM (VALUES
	('{170141183460469231731687303715884105726,1}', true), ('{170141183460469231731687303715884105727,1}', false), ('{-170141183460469231731687303715884105727,-1,170141183460469231731687303715884105727}', true), ('{-170141183460469231731687303715884105727,-2}', false),
	('{17014118346046923173168730371588410,0.1}', true), ('{17014118346046923173168730371588411,0.1}', false), ('{0.1,17014118346046923173168730371588411}', false), ('{-17014118346046923173168730371588411,0.1}', false)) v(xs, fits);
-- the same as a double whatever decimals it carries: the mean of one member
SELECT is((rfm_cuts(rfm_breaks(s, '2026-01-02', 'mean'), 'monetary'))[1], want::numeric::float8, format('%s as a double', want))
FROM (SELECT want, rfm_agg('2026-01-01', want::numeric) AS s FROM unnest('{9007199254740991,9007199254740992,9007199254740993,9007199254740992.0000,90071992547409930000,90071992547409.9100,12345678901234567890.1234,0.1,0.10,0.000001,
	100000000000000000000000000000,0.00,123456789.987654321,9007199254740992.5,27021597764222979.0000}'::text[]) want GROUP BY want) x GROUP BY want;
SELECT is_empty($$SELECT n, narrow, wide FROM (SELECT n, (rfm_cuts(rfm_breaks(a, '2026-01-02', 'mean'), 'monetary'))[1] AS narrow, (rfm_cuts(rfm_breaks(b, '2026-01-02', 'mean'), 'monetary'))[1] AS wide
	FROM (SELECT n, rfm_agg('2026-01-01', n * 0.01) AS a, rfm_agg('2026-01-01', round(n * 0.01, 36)) AS b FROM generate_series(1, 999) n GROUP BY n) x GROUP BY n) y WHERE narrow <> wide OR narrow <> (n * 0.01)::float8$$, 'with 36 decimals as with two');

-- ---- Time by a local clock.
CREATE FUNCTION one(at timestamptz) RETURNS rfm LANGUAGE sql AS 'SELECT rfm_agg(at, 1)';
SELECT is(tenure(s, as_of), days, format('days to %s', as_of)) FROM one('2026-01-01 00:00+00') s, (VALUES ('2026-01-01 00:00+00'::timestamptz, 0), ('2026-01-01 23:59:59.999999+00', 0), ('2026-01-02 00:00+00', 1), ('2027-01-01 00:00+00', 365)) v(as_of, days);
SELECT is(recency(rfm_agg('2026-10-25 01:30+01', 1), '2026-10-25 01:15+00', 'Europe/Berlin'), 0, 'the clock was put back between the two');
SELECT is(recency(rfm_agg('2026-10-24 02:30+02', 1), '2026-10-25 02:15+01', 'Europe/Berlin'), 0, 'not yet a day by the clock');
SELECT is(recency(rfm_agg('2026-10-24 02:30+02', 1), '2026-10-25 02:30+02', 'Europe/Berlin'), 1, 'a day by the clock');

-- ---- The second and the last but one of any order of instants, rows or sums of rows.
CREATE TABLE instants AS SELECT g, array_agg(timestamptz '2026-01-01' + (random() * 3)::int * interval '1 day') AS ats FROM generate_series(1, 300) g, generate_series(1, 1 + g % 5) i GROUP BY g;
CREATE VIEW wanted AS SELECT g, min(at) AS first, min(at) FILTER (WHERE rank = 2) AS second, max(at) FILTER (WHERE back = 2) AS previous, max(at) AS last, count(*) FILTER (WHERE rank = 1) AS n
FROM (SELECT g, at, dense_rank() OVER (PARTITION BY g ORDER BY at) AS rank, dense_rank() OVER (PARTITION BY g ORDER BY at DESC) AS back FROM instants, unnest(ats) at) x GROUP BY g;
SELECT bag_eq(format($$SELECT g, first_purchase_at(s), second_purchase_at(s), previous_purchase_at(s), last_purchase_at(s), (s::text::jsonb ->> 'first_purchases')::bigint FROM (%s) x$$, q), 'TABLE wanted', 'first, second, last but one and last: ' || what) FROM (VALUES
	('by rows', 'SELECT g, rfm_agg(at, 1) AS s FROM instants, unnest(ats) at GROUP BY g'),
	('by sums', 'SELECT g, rollup(s) AS s FROM (SELECT g, rfm_agg(at, 1) AS s FROM instants, unnest(ats) WITH ORDINALITY u(at, i) GROUP BY g, i) x GROUP BY g'),
	('by sums of two', 'SELECT g, rollup(s) AS s FROM (SELECT g, rfm_agg(at, 1) AS s FROM instants, unnest(ats) WITH ORDINALITY u(at, i) GROUP BY g, i % 2) x GROUP BY g')) v(what, q);
-- a function call and an operator leave what they are given as it is
SELECT is((SELECT concat(rfm_accum(s, '2026-01-03', 1)::text::jsonb ->> 'purchases', s::text::jsonb ->> 'purchases') FROM one('2026-01-01') s), '21', 'a call adds to a copy');
SELECT is((SELECT concat((s + o)::text::jsonb ->> 'purchases', s::text::jsonb ->> 'purchases', o::text::jsonb ->> 'purchases') FROM one('2026-01-01') s, one('2026-01-02') o), '211', 'so does +');

-- equal values have one hash; with seed 0 its lower half is that of 32 bits, as of every type
SELECT is(got, want, what) FROM one('2026-01-01') s, LATERAL (VALUES (rfm_hash_extended(s, 0)::bit(32) = rfm_hash(s)::bit(32), true, 'the hash of 64 bits goes on where that of 32 ends'), (rfm_hash_extended(s, 1) = rfm_hash_extended(s, 0), false, 'its seed counts'),
	(rfm_hash_extended(s, 1) = rfm_hash_extended(s::text::rfm, 1), true, 'and nothing else but the value'), (rfm_hash(s) = rfm_hash(s + s), false, 'which counts')) v(got, want, what);

-- ---- rfm_breaks: what its text may be.
\set breaks '{"v":1,"method":"ntile","monetary":"mean","time_zone":"Asia/Tokyo","bins":[3,2,2],"cuts":[[2,1],[2],[3]],"keys":[["a","b"],["c"],[""]]}'
SELECT is(detail_of(format('SELECT %L::rfm_breaks', replace(:'breaks', part, other))), coalesce('22P02 ' || nullif(why, ''), CASE why WHEN '' THEN '22P02' ELSE '1' END), format('breaks with %s', other)) FROM (VALUES
	('ntile', 'ntile', NULL), ('"v":1', '"v":2', ''), ('"v":1', '"v":1.5', ''), ('"v":1', '"v":"1"', ''), ('"v":1', '"v":1,"w":1', ''), ('"v":1,', '', ''), ('"ntile"', '"ntil"', ''), ('"ntile"', '"ntiles"', ''), ('"ntile"', '5', ''),
	('"mean"', '"total"', NULL), ('"mean"', '"meen"', ''), ('"mean"', '"means"', ''), ('"mean"', '"totem"', ''), ('"mean"', 'null', ''), ('"Asia/Tokyo"', 'null', NULL), ('"Asia/Tokyo"', '"utc"', NULL), ('"Asia/Tokyo"', '9', ''),
	('"Asia/Tokyo"', '""', 'Unusable: the time zone is unknown.'), ('"Asia/Tokyo"', '"Asia/Nowhere"', 'Unusable: the time zone is unknown.'), ('"Asia/Tokyo"', to_json(repeat('x', 300))::text, 'Unusable: the time zone is unknown.'),
	('[3,2,2]', '[3,2]', ''), ('[3,2,2]', '[3,2,2,2]', ''), ('[3,2,2]', '[3,1,2]', ''), ('[3,2,2]', '[3,2,11]', ''), ('[3,2,2]', '[3,2.5,2]', ''), ('[3,2,2]', '[3,"2",2]', ''), ('[3,2,2]', '7', ''), ('[3,2,2]', '[4,2,2]', ''),
	('[[2,1],[2],[3]]', '[[2,1],[2]]', ''), ('[[2,1],[2],[3]]', '[[2,1],[2],3]', ''), ('[[2,1],[2],[3]]', '[[2,1],[2],["3"]]', ''), ('[[2,1],[2],[3]]', '[[2,1],[2],[null]]', NULL), ('[[2,1],[2],[3]]', '[[2,null],[2],[3]]', NULL), ('[[2,1],[2],[3]]', '7', ''), ('[[2,1],[2],[3]]', '{"a":[2,1],"b":[2],"c":[3]}', ''), ('[3,2,2]', '{"a":3,"b":2,"c":2}', ''), ('[["a","b"],["c"],[""]]', '{"a":["a","b"],"b":["c"],"c":[""]}', ''),
	('[[2,1],[2],[3]]', '[[null,1],[2],[3]]', 'Unusable: the cut points are out of order.'), ('[[2,1],[2],[3]]', '[[1,2],[2],[3]]', 'Unusable: the cut points are out of order.'), ('[[2,1],[2],[3]]', '[[1,1],[2],[3]]', NULL),
	('[["a","b"],["c"],[""]]', 'null', NULL), ('[["a","b"],["c"],[""]]', '7', ''), ('[["a","b"],["c"],[""]]', '[["a","b"],["c"]]', ''), ('[["a","b"],["c"],[""]]', '[["a","b"],["c"],[null]]', ''), ('[[2,1],[2],[3]]', 'null', ''),
	('ntile', 'quantile', 'Unusable: the cut points are out of order.'), ('ntile', 'mean', 'Unusable: the mean makes 2 bins.'), ('"ntile","monetary":"mean","time_zone":"Asia/Tokyo","bins":[3,2,2],"cuts":[[2,1]', '"rfmr","monetary":"mean","time_zone":"Asia/Tokyo","bins":[3,2,2],"cuts":[[1,2]', 'Unusable: only cut points of ntile have keys.')) v(part, other, why);
SELECT is(detail_of(format('SELECT %L::rfm_breaks', t)), CASE WHEN good THEN '1' ELSE '22P02' END, format('breaks of "%s"', t)) FROM (VALUES
	('quantile', true), ('ntile(10)', true), ('rfmr(2)', true), ('mean', true), ('mean(2)', true), ('threshold', false), ('threshold(5)', false), ('ntile(', false), ('ntile()', false), ('ntile(5', false), ('ntile(5))', false), ('ntile(-5)', false), ('ntile(+5)', false), ('ntile(x)', false), ('ntile 5', false), ('ntil', false), ('', false), ('{"v":1,"method":"ntile","monetary":"total","time_zone":null,"bins":[2,2,"2"],"cuts":null,"keys":null}', false)) v(t, good);
SELECT is(detail_of(format('SELECT %L::rfm_breaks', t)), '22P02 Unusable: ' || why || '.', format('breaks of "%s"', t)) FROM (VALUES ('ntile(1)', 'there must be 2 to 10 bins'), ('ntile(11)', 'there must be 2 to 10 bins'), ('mean(3)', 'the mean makes 2 bins'),
	('{"v":1,"method":"threshold","monetary":"total","time_zone":null,"bins":[2,2,2],"cuts":null,"keys":null}', 'thresholds are missing'), ('{"v":1,"method":"quantile","monetary":"total","time_zone":null,"bins":[2,2,2],"cuts":[[1],[null],[1]],"keys":null}', 'a cut point is infinite')) v(t, why);
SELECT is(t::rfm_breaks::text, want, 'the short form ' || t) FROM (VALUES ('mean', 'mean', '2,2,2'), ('rfmr', 'rfmr', '5,5,5'), ('ntile(10)', 'ntile', '10,10,10')) v(t, method, bins),
	LATERAL format('{"v":1,"method":"%s","monetary":"total","time_zone":null,"bins":[%s],"cuts":null,"keys":null}', method, bins) want;
SELECT is(:'breaks'::rfm_breaks::text, :'breaks', 'breaks come out as they went in');
SELECT is(receive('rfm_breaks', rfm_breaks_send(t::rfm_breaks)), t::rfm_breaks::text, 'bytes of ' || left(t, 20)) FROM unnest(ARRAY['ntile(3)', :'breaks', replace(:'breaks', '[[2,1],[2],[3]]', '[[2,null],[null],[3.25]]')]) t;
SELECT is(rfm_thresholds('{-0}', '{-0,0}', '{0,-0}')::text, rfm_thresholds('{0}', '{0,0}', '{0,0}')::text, 'a zero has no sign');
SELECT is(rfm_cuts(:'breaks', d)::text, want, 'cuts of ' || d) FROM (VALUES ('recency', '{2,1}'), ('frequency', '{2}'), ('monetary', '{3}')) v(d, want);
SELECT throws_ok(format('SELECT rfm_thresholds(%s)', args), 'LY303', m, args) FROM (VALUES
	($$'{1,2,3,4,5,6,7,8,9,10}', '{1}', '{1}'$$, 'thresholds of recency must be 1 to 9 numbers'), ($$'{1}', '{{1,2},{3,4}}', '{1}'$$, 'thresholds of frequency must be 1 to 9 numbers'), ($$'{1}', '{1}', '{}'$$, 'thresholds of monetary must be 1 to 9 numbers'), ($$'{1}', '{1}', '{1,NULL}'$$, 'thresholds of monetary must be 1 to 9 numbers'),
	($$'{1}', '{1}', '{Infinity}'$$, 'unusable breaks: a cut point is infinite'), ($$'{1}', '{1}', '{NaN}'$$, 'unusable breaks: a cut point is no number'), ($$'{2,1}', '{1}', '{1}'$$, 'unusable breaks: the cut points are out of order'), ($$'{1}', '{1}', '{1}', 'sum'$$, 'unknown reading of monetary "sum"')) v(args, m);
SELECT is((SELECT ROW(r, f, m) FROM rfm_score(s, rfm_thresholds('{1,2,3,4,5,6,7,8,9}', '{1}', '{1,1}'), '2026-01-06'))::text, '(5,2,3)', 'nine thresholds; equal ones leave a bin empty') FROM one('2026-01-01') s;
SELECT is(rfm_thresholds(r, f, m, reading)::text, NULL, format('thresholds of %s, %s, %s, %s', r, f, m, reading)) FROM (VALUES (NULL::float8[], '{1}'::float8[], '{1}'::float8[], 'total'), ('{1}', NULL, '{1}', 'total'), ('{1}', '{1}', NULL, 'total'), ('{1}', '{1}', '{1}', NULL)) v(r, f, m, reading);
SELECT throws_ok(q, 'LY003', 'method and monetary must not be null', q) FROM unnest('{SELECT rfm_method(NULL),"SELECT rfm_method(monetary => NULL)"}'::text[]) q;
-- a method keeps its zone and its reading, with as many bins as there may be
SELECT is(b::text::jsonb - '{v,bins,cuts,keys}'::text[], format('{"method": "%s", "monetary": "mean", "time_zone": "Asia/Tokyo"}', m)::jsonb, format('%s of %s bins', m, bins)) FROM (SELECT m, bins, rfm_breaks(one('2026-01-01'), '2026-01-02', rfm_method(m, bins, 'mean', 'Asia/Tokyo')) AS b FROM (VALUES ('quantile', 10), ('ntile', 10), ('rfmr', 10), ('mean', 2)) v(m, bins) GROUP BY m, bins) x;
-- the night the clock is put back has 25 hours: 24 of them are a day in UTC, and no day yet by that clock
SELECT is((rfm_score(one('2026-10-24 02:30+02'), rfm_thresholds('{1}', '{1}', '{1}', time_zone => zone), '2026-10-25 02:15+01')).r, want, 'recency in ' || zone) FROM (VALUES ('Europe/Berlin', 2), ('UTC', 1)) v(zone, want);
-- members of one value, parted by their keys: two of four to either side, whatever the keys' lengths
SELECT is((SELECT string_agg(k || (rfm_score(one('2026-01-01'), b, '2026-01-02', k)).f, ' ' ORDER BY k COLLATE "C") FROM unnest(keys) k), want, 'keys in order: ' || want)
FROM (VALUES ('{a,aa,b,ab}'::text[], 'a1 aa1 ab2 b2'), ('{b,ba,baa,c}', 'b1 ba1 baa2 c2'), ('{"",z,é,x}', '1 x1 z2 é2')) v(keys, want), LATERAL (SELECT rfm_breaks_keyed(one('2026-01-01'), '2026-01-02', 'ntile(2)', k) AS b FROM unnest(keys) k) x;
SELECT is((rfm_score(one('2026-01-01'), rfm_breaks(one('2026-01-01'), '2026-01-02', 'ntile(2)'), '2026-01-02', 'z')).f, 1, 'a key says nothing to breaks without');
-- the two readings of monetary: 30 in three purchases
SELECT is((rfm_score(s, rfm_thresholds('{5}', '{9}', '{10,20,30}', reading), '2026-01-02')).m, want, 'monetary as ' || reading) FROM (SELECT rfm_agg('2026-01-01', 10) AS s FROM generate_series(1, 3)) x, (VALUES ('total', 4), ('mean', 2)) v(reading, want);

-- ---- States are merged whatever part had no row, no purchase, or rows of its
-- own: a part for each partition, the plan of which says so.
CREATE TABLE part (k int, member_id int, at timestamptz, amount numeric, key text, method rfm_breaks, unit text, zone text) PARTITION BY LIST (k);
CREATE TABLE part0 PARTITION OF part FOR VALUES IN (0);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
CREATE TABLE part3 PARTITION OF part FOR VALUES IN (3);
INSERT INTO part SELECT 1 + g % 2, g % 7, timestamptz '2026-01-01' + g % 17 * interval '5 hours', (g % 11 - 2) * CASE g % 2 WHEN 0 THEN 0.5 ELSE 0.25 END, 'k' || g % 9, 'ntile(3)', 'day', 'Europe/Madrid' FROM generate_series(1, 100) g;
CREATE TABLE alone AS TABLE part;
CREATE FUNCTION explained(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
CREATE TABLE asked AS SELECT replace(q, 'NULL::rfm', 'CASE WHEN amount > 0 THEN one(at) END') AS q FROM unnest(ARRAY['rfm_agg(at, amount)', 'rollup(NULL::rfm)', 'rfm_agg_by(at, amount, unit, zone)', 'rfm_agg_by_key(at, amount, key)', 'rfm_agg_by_key(at, amount, CASE member_id WHEN 1 THEN key END)',
	'rfm_breaks(NULL::rfm, ''2026-02-01'', method)', 'rfm_breaks_keyed(NULL::rfm, ''2026-02-01'', method, key)', 'rfm_breaks_keyed(NULL::rfm, ''2026-02-01'', method, NULLIF(key, ''k1''))']) q;
SET enable_partitionwise_aggregate = on;
SET max_parallel_workers_per_gather = 0;
CREATE FUNCTION answer(q text, relation text, filter text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE t text; BEGIN EXECUTE format('SELECT %s FROM %s WHERE %s', q, relation, filter) INTO t; RETURN t; END $$;
SELECT ok(EXISTS (SELECT FROM explained(format('SELECT %s FROM part', q)) l WHERE l ~ 'Partial Aggregate'), 'computed in parts: ' || q) FROM asked;
SELECT is(answer(q, 'part', filter), answer(q, 'alone', filter), format('in parts: %s where %s', q, filter)) FROM asked, unnest('{true,k <> 1,k <> 2,false,amount < 0,k = 1 OR amount < 0,k = 2 OR amount < 0,member_id = 3}'::text[]) filter;
-- what differs between the parts is refused as within one
SELECT throws_ok(format('SELECT %s FROM part', q), state, m, 'in parts: ' || q) FROM (VALUES
	('rfm_breaks(one(at), ''2026-02-01'', CASE k WHEN 1 THEN ''mean'' ELSE ''rfmr'' END::rfm_breaks)', 'LY303', 'as_of and method must be the same in all rows of a group'),
	('rfm_breaks(one(at), ''2026-02-01'', CASE k WHEN 1 THEN ''ntile(3)'' ELSE ''ntile(4)'' END::rfm_breaks)', 'LY303', 'as_of and method must be the same in all rows of a group'),
	('rfm_breaks(one(at), ''2026-02-01'', rfm_method(time_zone => CASE k WHEN 1 THEN ''UTC'' END))', 'LY303', 'as_of and method must be the same in all rows of a group'),
	('rfm_breaks(one(at), timestamptz ''2026-02-01'' + k * interval ''1 s'', method)', 'LY303', 'as_of and method must be the same in all rows of a group'),
	('rfm_agg_by(at, amount, CASE k WHEN 1 THEN ''day'' ELSE ''week'' END, zone)', 'LY306', 'unit and time_zone must be the same in all rows of a group'),
	('rfm_agg_by(at, amount, unit, CASE k WHEN 1 THEN ''UTC'' ELSE zone END)', 'LY306', 'unit and time_zone must be the same in all rows of a group')) v(q, state, m);
SELECT throws_ok(format('SELECT %s FROM alone', q), state, m, 'in one: ' || q) FROM (VALUES
	('rfm_breaks(one(at), ''2026-02-01'', CASE k WHEN 1 THEN ''mean'' ELSE ''rfmr'' END::rfm_breaks)', 'LY303', 'as_of and method must be the same in all rows of a group'),
	('rfm_breaks(one(at), ''2026-02-01'', CASE k WHEN 1 THEN ''ntile(3)'' ELSE ''ntile(4)'' END::rfm_breaks)', 'LY303', 'as_of and method must be the same in all rows of a group'),
	('rfm_breaks(one(at), timestamptz ''2026-02-01'' + k * interval ''1 s'', method)', 'LY303', 'as_of and method must be the same in all rows of a group'),
	('rfm_breaks(one(at), NULL, method)', 'LY003', 'as_of and method must not be null'), ('rfm_breaks(one(at), ''2026-02-01'', NULL)', 'LY003', 'as_of and method must not be null'),
	('rfm_agg_by(at, amount, CASE k WHEN 1 THEN ''day'' ELSE ''week'' END, zone)', 'LY306', 'unit and time_zone must be the same in all rows of a group'),
	('rfm_agg_by(at, amount, CASE k WHEN 1 THEN ''day'' ELSE ''Day'' END, zone)', 'LY306', 'unit and time_zone must be the same in all rows of a group'),
	('rfm_agg_by(at, amount, unit, CASE k WHEN 1 THEN ''UTC'' ELSE zone END)', 'LY306', 'unit and time_zone must be the same in all rows of a group'),
	('rfm_agg_by(at, amount, unit, NULL)', 'LY003', 'unit and time_zone must not be null'), ('rfm_agg_by(at, amount, NULL, zone)', 'LY003', 'unit and time_zone must not be null'),
	('rfm_agg_by(at, amount, ''minute'', zone)', 'LY306', 'unknown unit "minute"'), ('rfm_agg_by(at, amount, ''da'', zone)', 'LY306', 'unknown unit "da"'), ('rfm_agg_by(at, amount, ''row'', zone)', 'LY306', 'unknown unit "row"'), ('rfm_agg_by(at, amount, ''key'', zone)', 'LY306', 'unknown unit "key"')) v(q, state, m);
RESET enable_partitionwise_aggregate;

-- ---- Units begin where date_trunc says, at either end of time too.
CREATE TABLE boundary AS SELECT at + d AS at FROM unnest('{2000-01-01 00:00+00,2000-01-03 00:00+00,1999-12-27 00:00+00,2026-03-29 01:00+00,2026-10-25 01:00+00,2026-10-25 00:00+00,2024-02-29 23:00+00,1970-01-01 00:00+00,0001-01-01 00:00+00,0044-03-15 12:00+00 BC}'::timestamptz[]) at,
	unnest('{-1 us,0,1 us,30 min}'::interval[]) d;
SELECT is_empty(format('SELECT at, got FROM (SELECT at, first_purchase_at(rfm_agg_by(at, 1, %1$L, %2$L)) AS got FROM boundary GROUP BY at) x WHERE got <> date_trunc(%1$L, at, %2$L)', unit, zone), format('%s of %s', unit, zone))
FROM unnest('{hour,day,week,month}'::text[]) unit, unnest('{UTC,Europe/Madrid,America/St_Johns,Asia/Kolkata,Pacific/Apia}'::text[]) zone;
SELECT is(detail_of(format('SELECT rfm_agg_by(%L, 1, %L, %L)', at, unit, zone)), CASE WHEN good THEN '1' ELSE '22008' END, format('%s of %s in %s', unit, at, zone)) FROM (VALUES
	('4714-11-24 00:00:00+00 BC', 'day', 'UTC', true), ('4714-11-24 00:00:00+00 BC', 'week', 'UTC', true), ('4714-11-25 00:00:00+00 BC', 'week', 'UTC', true), ('4714-11-24 00:00:00+00 BC', 'month', 'UTC', false), ('4714-11-24 00:00:00+00 BC', 'month', 'Asia/Tokyo', false),
	('294276-12-31 23:59:59.999999+00', 'month', 'UTC', true), ('294276-12-31 23:59:59.999999+00', 'week', 'UTC', true), ('4714-11-24 00:00:00+00 BC', 'sunday week', 'UTC', false), ('4714-11-29 23:59:59+00 BC', 'sunday week', 'UTC', false), ('4714-11-30 00:00:00+00 BC', 'sunday week', 'UTC', true)) v(at, unit, zone, good);

-- Weeks from Sunday are those from Monday, of the day after.
SELECT is_empty(format('SELECT at, got FROM (SELECT at, first_purchase_at(rfm_agg_by(at, 1, ''sunday week'', %1$L)) AS got FROM boundary GROUP BY at) x WHERE got AT TIME ZONE %1$L <> date_trunc(''week'', (at AT TIME ZONE %1$L) + interval ''1 day'') - interval ''1 day''', zone), 'sunday week of ' || zone)
FROM unnest('{UTC,Europe/Madrid,America/St_Johns,Asia/Kolkata,Pacific/Apia}'::text[]) zone;
-- What is free is a purchase, and no refund takes it along.
SELECT is((SELECT concat_ws(' ', s ->> 'purchases', s ->> 'refunds', s ->> 'bought', s ->> 'refunded') FROM (SELECT rfm_agg_by('2026-01-01', x, 'day', 'UTC')::text::jsonb AS s FROM unnest(xs::numeric[]) x) y), want, 'of one day: ' || xs) FROM (VALUES
	('{0,-5}', '1 1 0 -5'), ('{-5,0}', '1 1 0 -5'), ('{0,5}', '1 0 5 0'), ('{5,0}', '1 0 5 0'), ('{-1,-5}', '0 1 0 -6'), ('{0,0}', '1 0 0 0'), ('{1,-1}', '1 1 1 -1')) v(xs, want);

-- Many keys and days in random order, more than first have room; a purchase and a refund of one instant stay two.
SELECT is(rfm_agg_by_key(at, amount, key)::text::jsonb - 'unit', (SELECT rfm_agg(at, amount)::text::jsonb - 'unit' FROM (SELECT min(at) AS at, sum(amount) AS amount FROM alone GROUP BY key HAVING sum(amount) <> 0) x), 'by keys') FROM alone;
CREATE TABLE shuffled AS SELECT g * 7919 % 1000 AS k, timestamptz '2026-01-01' + g * 7919 % 1000 * interval '1 day' + g % 24 * interval '1 hour' AS at, (g % 5 - 1) * 1.5 AS amount FROM generate_series(1, 3000) g;
SELECT is(rfm_agg_by_key(at, amount, lpad('', k % 3, 'x') || k)::text::jsonb - 'unit', (SELECT rfm_agg(at, amount)::text::jsonb - 'unit' FROM (SELECT min(at) AS at, sum(amount) AS amount FROM shuffled GROUP BY k HAVING sum(amount) <> 0) x), 'a thousand keys') FROM shuffled;
SELECT is(rfm_agg_by(at, amount, 'day', 'UTC')::text::jsonb - 'unit', (SELECT rfm_agg(at, amount)::text::jsonb - 'unit' FROM (SELECT date_trunc('day', at) AS at, sum(amount) AS amount FROM shuffled GROUP BY 1, amount < 0) x), 'a thousand days') FROM shuffled;

-- ---- What is a part of an aggregate is no function for itself, by whatever types it is called.
CREATE SCHEMA outside;
CREATE TABLE inside AS SELECT proname, probin, prosrc, string_agg(replace(t::regtype::text, 'internal', 'bigint'), ', ' ORDER BY i) AS types, string_agg(CASE t WHEN 'bytea'::regtype THEN '''''' ELSE 'NULL' END, ', ' ORDER BY i) AS args
FROM pg_proc, unnest(proargtypes) WITH ORDINALITY u(t, i) WHERE pronamespace = 'loyalty'::regnamespace AND proname ~ '^rfm_' AND 'internal'::regtype = ANY (proargtypes) AND proname !~ '_recv$' GROUP BY pg_proc.oid;
DO $$ DECLARE f record; BEGIN FOR f IN TABLE inside LOOP EXECUTE format('CREATE FUNCTION outside.%I(%s) RETURNS text LANGUAGE c AS %L, %L', f.proname, f.types, f.probin, f.prosrc); END LOOP; END $$;
SELECT throws_ok(format('SELECT outside.%I(%s)', proname, args), '0A000', proname || ' was called outside an aggregate', proname) FROM inside ORDER BY proname;

SELECT * FROM finish();
