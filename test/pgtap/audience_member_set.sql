-- Type member_set: worked cases, published bytes, hostile bytes.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog, loyalty;
SELECT no_plan();

/* ---- text ---- */

SELECT is(t.given::member_set::text, t.shown, 'text ' || t.given)
FROM (VALUES ('{}', '{}'), (' { } ', '{}'), ('{1,2,3}', '{1,2,3}'), (' {3, 1 ,2,2} ', '{1,2,3}'), ('{0}', '{0}'),
	('{9223372036854775807,0}', '{0,9223372036854775807}'), ('{4294967301,5}', '{5,4294967301}'),
	('\x0000000000000000', '{}'),
	('\x0100000000000000000000003a30000001000000000002001000000001000a006400', '{1,10,100}')) t (given, shown);

SELECT throws_ok(format('SELECT %L::member_set', t.given), 'LY706', 'invalid member_set', 'no text: ' || t.given)
FROM (VALUES (''), ('1,2'), ('{'), ('{1'), ('{1,'), ('{1,}'), ('{,1}'), ('{1 2}'), ('{1}2'), ('{-1}'), ('{1.5}'), ('{a}'), ('{9223372036854775808}'),
	('{1},{2}')) t (given);

/* ---- bytes ---- */

-- as the README of pg_roaringbitmap has the 32-bit set, and CRoaring's Roaring64Map the whole
SELECT is('{1,10,100}'::member_set::bytea,
	'\x0100000000000000000000003a30000001000000000002001000000001000a006400'::bytea, 'bytes of {1,10,100}');
SELECT is(octet_length('{1,10,100}'::member_set::bytea), 34, 'which are 34');
SELECT is(octet_length('{5,4294967301}'::member_set::bytea), 52, 'two buckets of one member: 8 + 2 * (4 + 18)');
SELECT is('{}'::member_set::bytea, '\x0000000000000000'::bytea, 'the empty set');

-- an array up to 4096, bits above; both ways the same bytes
SELECT is(octet_length(s.set::bytea), s.bytes, 'bytes of ' || s.n)
FROM (SELECT n, bytes, member_set_agg(g) AS set FROM (VALUES (4096, 8 + 4 + 8 + 8 + 8192), (4097, 8 + 4 + 8 + 8 + 8192), (4095, 8 + 4 + 8 + 8 + 8190)) v (n, bytes),
	generate_series(1, n) g GROUP BY n, bytes) s;
SELECT ok(s.set::bytea::member_set = s.set AND s.set::text::member_set = s.set AND s.set::bigint[]::member_set = s.set, 'there and back: ' || s.n)
FROM (SELECT n, member_set_agg(g * step) AS set FROM (VALUES (0, 1::bigint), (1, 1), (100, 1), (101, 1), (4096, 1), (4097, 1), (65536, 1), (70000, 1), (1000, 70000), (100, 4294967296)) v (n, step),
	generate_series(0, n - 1) g GROUP BY n, step) s;

-- {1,2} as a run of 15 bytes and {0..9999} as one run: other writers' forms come out in ours
SELECT is(('\x0100000000000000' || '00000000' || '3b300000' || '01' || '00000100' || '0100' || '01000100')::bytea::member_set,
	'{1,2}'::member_set, 'a run');
SELECT is(('\x0100000000000000' || '00000000' || '3b300000' || '01' || '00000f27' || '0100' || '00000f27')::bytea::member_set,
	(SELECT member_set_agg(g) FROM generate_series(0, 9999) g), 'a run of 10,000');

SELECT throws_ok(format('SELECT %L::bytea::member_set', '\x' || t.bytes), 'LY706', 'invalid member_set', t.why)
FROM (VALUES ('', 'no bytes'), ('00000000000000', 'half a count'), ('000000000000000000', 'something behind'), ('0100000000000000', 'no bucket'),
	('ffffffffffffffff', 'very many buckets'),
	('0100000000000000000000803a300000010000000000000010000000' || '0100', 'a negative id'),
	('0100000000000000000000003b30', 'half a cookie'),
	('010000000000000000000000000000000100000000000000100000000100', 'another cookie'),
	('0100000000000000000000003a300000ffffffff', 'more chunks than there are keys'),
	('0100000000000000000000003a30000001000000000002001000000001000a000a00', 'an array that does not ascend'),
	('0100000000000000000000003a3000000100000000000200100000000100', 'an array that ends early'),
	('0100000000000000000000003a30000001000000000002001100000001000a006400', 'a wrong offset'),
	('0100000000000000000000003a300000020000000100000001000000180000001a00000001000100', 'keys that do not ascend'),
	('0100000000000000000000003a300000010000000000001010000000' || repeat('00', 8192), '4,097 members without bits'),
	('0100000000000000000000003b300000010000010001000100ffff', 'a run beyond the end'),
	('0100000000000000000000003b3000000100000200010001000100', 'a run of another length'),
	('0200000000000000' || '000000003a3000000100000000000000100000000100' || '000000003a3000000100000000000000100000000200', 'a half that comes twice')
) t (bytes, why);

SELECT is(array(SELECT * FROM unnest_members('{4294967301,70000,5}')), '{5,70000,4294967301}'::bigint[], 'unnested, ascending');
SELECT is('{70000,5}'::member_set::bigint[], '{5,70000}'::bigint[], 'as an array');
SELECT is('{}'::member_set::bigint[], '{}'::bigint[], 'an empty array');
SELECT is('{3,NULL,1,3}'::bigint[]::member_set, '{1,3}'::member_set, 'of an array with NULL');
SELECT throws_ok('SELECT ''{-1}''::bigint[]::member_set', 'LY706', 'member -1 cannot be in a set', 'a negative id');

/* ---- algebra ---- */

CREATE TABLE s AS
SELECT (SELECT member_set_agg(g) FROM generate_series(1, 10) g) AS a, (SELECT member_set_agg(g) FROM generate_series(2, 20, 2) g) AS b,
	'{5,10,15,20}'::member_set AS c;
SELECT is(a & b, '{2,4,6,8,10}'::member_set, 'A & B') FROM s;
SELECT is((a & b) - c, '{2,4,6,8}'::member_set, '(A & B) - C') FROM s;
SELECT is(count_members(a | b), 15::bigint, 'A | B') FROM s;
SELECT is(count_members(a # b), 10::bigint, 'A # B') FROM s;
SELECT is(row(o.in_both, o.in_either, round(o.jaccard, 4)), row(5::bigint, 15::bigint, 0.3333), 'Jaccard') FROM s, overlap(a, b) o;
SELECT is(row(o.*), row(0::bigint, 0::bigint, NULL::numeric), 'Jaccard of nobody') FROM overlap('{}', '{}') o;
SELECT is(a | b & c, '{5,10,20}'::member_set, 'SQL''s precedence: (A | B) & C') FROM s;
SELECT is(count_members(a | (b & c)), 11::bigint, 'with parentheses') FROM s;
SELECT ok(a = a AND NOT a = b AND a <> b AND a & NULL IS NULL, 'equality') FROM s;

-- each pair of kinds of chunks, by each operation, against SQL
CREATE TABLE kind AS
SELECT k, member_set_agg(m) AS set, array_agg(m ORDER BY m) AS members
FROM (
	SELECT 'nobody' AS k, NULL::bigint AS m UNION ALL
	SELECT 'few', g * 7919 % 65536 FROM generate_series(1::bigint, 20) g UNION ALL
	SELECT 'array', g * 7919 % 65536 FROM generate_series(1::bigint, 3000) g UNION ALL
	SELECT 'other array', g * 104729 % 65536 FROM generate_series(1::bigint, 4096) g UNION ALL
	SELECT 'bits', g * 3 FROM generate_series(1::bigint, 20000) g UNION ALL
	SELECT 'other bits', g * 13 % 65536 FROM generate_series(1::bigint, 50000) g UNION ALL
	SELECT 'all', g FROM generate_series(0::bigint, 65535) g UNION ALL
	SELECT 'two chunks', g * 17 FROM generate_series(1::bigint, 7000) g UNION ALL
	SELECT 'next chunk', 65536 + g FROM generate_series(0::bigint, 9) g UNION ALL
	SELECT 'buckets', g * 4294967296 / 3 FROM generate_series(0::bigint, 20) g UNION ALL
	SELECT 'high', 9223372036854775807 - g * g FROM generate_series(0::bigint, 300) g
) x GROUP BY k;
SELECT is_empty($$
	SELECT x.k, y.k, o.name
	FROM kind x, kind y, LATERAL (
			SELECT array_agg(a ORDER BY a) FILTER (WHERE a = b) AS of_both, array_agg(a ORDER BY a) FILTER (WHERE b IS NULL) AS of_x,
				array_agg(coalesce(a, b) ORDER BY coalesce(a, b)) AS of_either, array_agg(coalesce(a, b) ORDER BY coalesce(a, b)) FILTER (WHERE a IS NULL OR b IS NULL) AS of_one
			FROM unnest(array_remove(x.members, NULL)) a FULL JOIN unnest(array_remove(y.members, NULL)) b ON a = b) w,
		LATERAL (VALUES ('&', x.set & y.set, w.of_both), ('|', x.set | y.set, w.of_either), ('-', x.set - y.set, w.of_x), ('#', x.set # y.set, w.of_one)) o (name, got, wanted)
	WHERE o.got <> coalesce(o.wanted, '{}')::member_set OR o.got::bigint[] <> coalesce(o.wanted, '{}')$$, 'every operation on every pair of kinds');

/* ---- contains ---- */

SELECT is(contains('{5,4294967301}'::member_set - '{5}', m), wanted, 'is it there: ' || m)
FROM (VALUES (4294967301, true), (5, false), (-1, false), (0, false), (-9223372036854775808, false), (9223372036854775807, false)) v (m, wanted);
CREATE TABLE stored AS SELECT k, set, members FROM kind;
ALTER TABLE stored ALTER set SET STORAGE EXTERNAL;
UPDATE stored SET set = set;
SELECT is_empty($$
	SELECT x.k, array(SELECT m FROM generate_series(-1::bigint, 140000, 11) m WHERE contains(x.set, m)) AS got FROM stored x
	EXCEPT SELECT k, array(SELECT m FROM unnest(members) m WHERE m <= 140000 AND (m + 1) % 11 = 0 ORDER BY 1) FROM kind$$, 'of sets of a table, one after the other');
SELECT is_empty($$
	SELECT x.k, m FROM kind x, unnest(x.members) m WHERE NOT contains(x.set, m)$$, 'every member is there');

/* ---- aggregates ---- */

SELECT is((SELECT member_set_agg(NULL::bigint)), '{}'::member_set, 'NULL is nobody');
SELECT is((SELECT member_set_agg(x) FROM generate_series(1::bigint, 0) x), '{}'::member_set, 'no rows, nobody');
SELECT throws_ok('SELECT member_set_agg(-5)', 'LY706', 'member -5 cannot be in a set', 'a negative id');
SELECT is((SELECT member_set_rollup(x) FROM unnest(ARRAY['{1,2}', NULL, '{2,3}', '{}']::member_set[]) x), '{1,2,3}'::member_set, 'rollup');
SELECT is((SELECT member_set_rollup(set)::bytea FROM kind), (SELECT member_set_agg(m)::bytea FROM kind, unnest(members) m), 'rollup of all kinds');
SELECT is((SELECT member_set_agg(m ORDER BY m DESC)::bytea FROM kind, unnest(members) m), (SELECT member_set_agg(m ORDER BY m % 7919, m)::bytea FROM kind, unnest(members) m),
	'same bits in any order');

CREATE TABLE big AS SELECT g::bigint * 7919 % 1000003 AS m FROM generate_series(1, 200000) g;
ANALYZE big;
CREATE FUNCTION uses_workers(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		IF line LIKE '%Workers Planned%' THEN RETURN true; END IF;
	END LOOP;
	RETURN false;
END $$;
CREATE TABLE alone AS SELECT member_set_agg(m) AS set FROM big;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 4;
SELECT ok(uses_workers('SELECT member_set_agg(m) FROM big'), 'with workers');
SELECT is((SELECT member_set_agg(m)::bytea FROM big), (SELECT set::bytea FROM alone), 'same bits with workers');
SELECT is((SELECT count_members(set) FROM alone), (SELECT count(DISTINCT m) FROM big), 'and right');
SELECT is((SELECT count(*) FROM (SELECT set FROM kind UNION SELECT set FROM stored) x), (SELECT count(*) FROM kind), 'grouped by equality');
SELECT throws_ok('SELECT member_set_accum(NULL, 1)', '0A000', NULL, 'a part of an aggregate is no function');

SELECT * FROM finish();
