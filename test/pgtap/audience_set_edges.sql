-- Type member_set: where its forms begin and end, what is wrong with bytes and texts that are none, and that memory of the library goes.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog, loyalty;
SELECT no_plan();
CREATE FUNCTION complaint(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text;
BEGIN
	EXECUTE call;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, CASE WHEN SQLSTATE <> 'LY706' THEN m END, nullif(d, ''));
END $$;
-- numbers as the specification of Roaring bitmaps writes them, in hex
CREATE FUNCTION u16(VARIADIC n integer[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT string_agg(lpad(to_hex(x & 255), 2, '0') || lpad(to_hex(x >> 8 & 255), 2, '0'), '' ORDER BY o) FROM unnest(n) WITH ORDINALITY u (x, o)$$;
CREATE FUNCTION u32(VARIADIC n bigint[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT string_agg(u16((x & 65535)::integer, (x >> 16)::integer), '' ORDER BY o) FROM unnest(n) WITH ORDINALITY u (x, o)$$;
-- so many buckets, of which these are the bytes
CREATE FUNCTION whole(n integer, buckets text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT u32(n, 0) || buckets$$;
-- a bucket of one chunk without runs; one of one chunk of runs
CREATE FUNCTION plain(high bigint, members integer, chunk text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT u32(high, 12346, 1) || u16(0, members - 1) || u32(16) || chunk$$;
CREATE FUNCTION runs(members integer, chunk text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT u32(0) || u16(12347, 0) || '01' || u16(0, members - 1) || chunk$$;

/* ---- bytes of others ---- */

SELECT is(decode(c.bytes, 'hex')::member_set, c.set::member_set, c.what)
FROM (VALUES
	(whole(1, plain(0, 2, u16(0, 65535))), '{0,65535}', 'the first and the last of a chunk'),
	(whole(1, plain(2147483647, 1, u16(7))), '{9223372032559808519}', 'the last half'),
	(whole(1, u32(0, 12346, 0)), '{}', 'a bucket of nobody'),
	(whole(2, u32(0, 12346, 0) || plain(1, 1, u16(5))), '{4294967301}', 'and one of somebody'),
	(whole(2, plain(0, 1, u16(5)) || plain(1, 1, u16(5))), '{5,4294967301}', 'two of somebody'),
	(whole(1, u32(0, 12346, 2) || u16(0, 0, 2, 1) || u32(24, 26) || u16(9) || u16(1, 2)), '{9,131073,131074}', 'two chunks'),
	(whole(1, runs(4, u16(1, 0, 3))), '{0,1,2,3}', 'a run from the first on'),
	(whole(1, runs(4, u16(2, 5, 1, 7, 1))), '{5,6,7,8}', 'runs side by side'),
	(whole(1, runs(2, u16(1, 65534, 1))), '{65534,65535}', 'a run up to the last'),
	(whole(1, runs(3, u16(2, 5, 0, 100, 1))), '{5,100,101}', 'runs apart'),
	-- up to three chunks have no offsets beside runs, four have; flags say which are runs
	(whole(1, u32(0) || u16(12347, 2) || '02' || u16(0, 0, 1, 1, 2, 0) || u16(9) || u16(1, 5, 1) || u16(7)), '{9,65541,65542,131079}', 'a run between arrays'),
	(whole(1, u32(0) || u16(12347, 3) || '08' || u16(0, 0, 1, 0, 2, 0, 3, 1) || u32(37, 39, 41, 43) || u16(9) || u16(8) || u16(7) || u16(1, 5, 1)), '{9,65544,131079,196613,196614}', 'a run after three arrays'),
	(whole(1, u32(0) || u16(12347, 8) || '0001' || u16(0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 1) || u32(78, 80, 82, 84, 86, 88, 90, 92, 94) || u16(0, 0, 0, 0, 0, 0, 0, 0) || u16(1, 5, 1)),
		'{0,65536,131072,196608,262144,327680,393216,458752,524293,524294}', 'a run after eight arrays')) c (bytes, set, what);
SELECT is(decode(whole(1, runs(65536, u16(1, 0, 65535))), 'hex')::member_set, (SELECT member_set_agg(g) FROM generate_series(0, 65535) g), 'a run of all');
SELECT is(s.set::bytea::member_set, s.set, 'as many chunks as a bucket may have') FROM (SELECT member_set_agg(g << 16) AS set FROM generate_series(0::bigint, 65535) g) s;
-- 1024 chunks: each is a run of its last member, but every 256th is an array of its last two
SELECT is(decode(whole(1, u32(0) || u16(12347, 1023) || repeat('fe' || repeat('ff', 31), 4) || string_agg(u16(k, (k % 256 = 0)::integer), '' ORDER BY k) ||
		string_agg(u32(4 + 128 + 8 * 1024 + 6 * k - 2 * ((k + 255) / 256)), '' ORDER BY k) || string_agg(CASE WHEN k % 256 = 0 THEN u16(65534, 65535) ELSE u16(1, 65535, 0) END, '' ORDER BY k)), 'hex')::member_set,
	(SELECT member_set_agg((g << 16) + l) FROM generate_series(0::bigint, 1023) g, generate_series(65534, 65535) l WHERE l = 65535 OR g % 256 = 0), 'many chunks, of runs and arrays')
FROM generate_series(0, 1023) k;

SELECT is(complaint(format('SELECT %L::bytea::member_set', '\x' || c.bytes)), 'LY706 Its bytes are no set: ' || c.why || '.', c.what)
FROM (VALUES
	('00000000000000', 'they end early', 'half a count'),
	(whole(1, ''), 'they end early', 'no bucket'),
	(whole(1, '000000'), 'they end early', 'half a half'),
	(whole(1, u32(0)), 'they end early', 'no cookie at all'),
	(whole(1, u32(0) || '3a30'), 'they end early', 'half a cookie'),
	(whole(1, u32(0, 12346)), 'they end early', 'no count of chunks'),
	(whole(1, u32(0, 12345, 1)), 'a bucket begins with no cookie', 'another cookie'),
	(whole(1, u32(0, 12346, 65537)), 'a bucket has too many chunks', 'a chunk more than there are'),
	(whole(1, u32(0, 12346, 65536)), 'they end early', 'as many as there are, and no keys'),
	(whole(1, u32(0, 12346, 1) || u16(0)), 'they end early', 'half a key'),
	(whole(1, u32(0, 12346, 1) || u16(0, 0)), 'they end early', 'no offset'),
	(whole(1, plain(0, 1, '')), 'they end early', 'no chunk'),
	(whole(1, plain(0, 2, u16(1) || '02')), 'they end early', 'an array that is too short'),
	(whole(1, plain(0, 2, u16(2, 2))), 'an array is not ascending', 'a member twice'),
	(whole(1, plain(0, 3, u16(1, 3, 2))), 'an array is not ascending', 'the last is less'),
	(whole(1, plain(0, 1, u16(1, 2))), 'there are bytes behind their end', 'an array that is too long'),
	(whole(0, '00'), 'there are bytes behind their end', 'nobody, and a byte'),
	(whole(1, plain(0, 5000, repeat('ff', 8191))), 'they end early', 'bits that are too short'),
	(whole(1, plain(0, 5000, repeat('ff', 8192))), 'a chunk has another number of members than its head says', 'bits of others'),
	(whole(1, u32(0, 12346, 2) || u16(1, 0, 1, 0) || u32(24, 26) || u16(1, 1)), 'keys are not ascending', 'a key twice'),
	(whole(1, u32(0, 12346, 2) || u16(1, 0, 0, 0) || u32(24, 26) || u16(1, 1)), 'keys are not ascending', 'a key that is less'),
	(whole(1, u32(0, 12346, 2) || u16(0, 0, 1, 0) || u32(24, 27) || u16(1, 1)), 'an offset is wrong', 'an offset that is too large'),
	(whole(1, u32(0, 12346, 2) || u16(0, 0, 1, 0) || u32(24, 24) || u16(1, 1)), 'an offset is wrong', 'two chunks at one offset'),
	(whole(1, plain(2147483648, 1, u16(1))), 'an id is negative', 'a negative id'),
	(whole(2, plain(1, 1, u16(1)) || plain(1, 1, u16(2))), 'high halves are not ascending', 'a half twice'),
	(whole(2, plain(1, 1, u16(1)) || plain(0, 1, u16(2))), 'high halves are not ascending', 'a half that is less'),
	(whole(2, plain(1, 1, u16(1))), 'they end early', 'a bucket that is not there'),
	(whole(1, u32(0) || u16(12347, 8) || '01'), 'they end early', 'flags of nine chunks in one byte'),
	(whole(1, u32(0) || u16(12347, 0) || '01' || u16(0)), 'they end early', 'half a key beside runs'),
	(whole(1, u32(0) || u16(12347, 3) || '08' || u16(0, 0, 1, 0, 2, 0, 3, 1) || u32(37, 39, 41)), 'they end early', 'an offset that is not there beside runs'),
	(whole(1, u32(0) || u16(12347, 3) || '08' || u16(0, 0, 1, 0, 2, 0, 3, 1) || u32(37, 39, 41, 44) || u16(9) || u16(8) || u16(7) || u16(1, 5, 1)), 'an offset is wrong', 'a wrong offset beside runs'),
	(whole(1, runs(2, '')), 'they end early', 'no runs'),
	(whole(1, runs(2, '01')), 'they end early', 'half a number of runs'),
	(whole(1, runs(4, u16(2, 5, 1))), 'they end early', 'one run of two'),
	(whole(1, runs(4, u16(1, 5))), 'they end early', 'half a run'),
	(whole(1, runs(4, u16(2, 5, 1, 6, 1))), 'runs are not ascending', 'runs that overlap'),
	(whole(1, runs(4, u16(2, 5, 1, 1, 1))), 'runs are not ascending', 'a run that is less'),
	(whole(1, runs(2, u16(1, 65535, 1))), 'runs are not ascending', 'a run beyond the last'),
	(whole(1, runs(3, u16(1, 5, 1))), 'a chunk has another number of members than its head says', 'a run that is too short'),
	(whole(1, runs(3, u16(2, 5, 1, 9, 1))), 'a chunk has another number of members than its head says', 'runs of one member more')) c (bytes, why, what);
-- an array of bigint has at most 1 GB, which is 134,217,724 members
SELECT is(complaint(format('SELECT set_members(%L::bytea::member_set)', '\x' || whole(1, u32(0) || u16(12347, 2047) || repeat('ff', 256)
		|| (SELECT string_agg(u16(i, 65535), '' ORDER BY i) FROM generate_series(0, 2047) i) || (SELECT string_agg(u32(4 + 256 + 8 * 2048 + 6 * i), '' ORDER BY i) FROM generate_series(0::bigint, 2047) i)
		|| repeat(u16(1, 0, 65535), 2048)))), '54000 a set of 134217728 members does not fit into an array An array has at most 1 GB.', 'a set that fits into no array');

/* ---- texts ---- */

SELECT is(complaint(format('SELECT %L::member_set', c.given)), c.complaint, c.given)
FROM (VALUES ('{', 'LY706 At character 2 there is no id of a member.'), ('{1', 'LY706 At character 3 there is neither a comma nor a brace.'), ('{1,', 'LY706 At character 4 there is no id of a member.'),
	('{1 2}', 'LY706 At character 4 there is neither a comma nor a brace.'), ('{1}2', 'LY706 There is something behind its end.'), ('{1} 2', 'LY706 There is something behind its end.'),
	('{}}', 'LY706 There is something behind its end.'), ('{-1}', 'LY706 At character 2 there is no id of a member.'), ('{1,9223372036854775808}', 'LY706 At character 4 there is no id of a member.'),
	('{1,9223372036854775807}', 'none'), ('{0}', 'none'), ('{1}', 'none'), ('{ 1 , 2 } ', 'none'), ('{}', 'none'),
	('1', 'LY706 "1" begins neither with a brace nor with \x.'), ('ax00', 'LY706 "ax00" begins neither with a brace nor with \x.'), ('\y00', 'LY706 "\y00" begins neither with a brace nor with \x.'),
	('\', 'LY706 "\" begins neither with a brace nor with \x.'), (' \x00', 'LY706 Its bytes are no set: they end early.'), ('\xzz', '22023 invalid hexadecimal digit: "z"'), ('\x0000000000000000', 'none')) c (given, complaint);
SELECT is(left(s.set::text, 3), c.begins, c.n || ' members') FROM (VALUES (100, '{1,'), (101, '\x0')) c (n, begins), LATERAL (SELECT member_set_agg(g) AS set FROM generate_series(1, c.n) g) s;

/* ---- the binary protocol ---- */

CREATE TABLE kind AS
SELECT k, member_set_agg(m) AS set, array_agg(m ORDER BY m) AS members
FROM (
	SELECT 'few' AS k, g * 7919 % 65536 AS m FROM generate_series(1::bigint, 20) g UNION ALL
	SELECT 'bits', g * 3 FROM generate_series(1::bigint, 20000) g UNION ALL
	SELECT 'odd', 2 * g + 1 FROM generate_series(0::bigint, 32767) g UNION ALL
	SELECT 'even', 2 * g FROM generate_series(0::bigint, 32767) g UNION ALL
	SELECT 'chunks', g * 70000 FROM generate_series(0::bigint, 999) g UNION ALL
	SELECT 'buckets', (g * 7919 % 5000 << 32) + g % 3 FROM generate_series(0::bigint, 4999) g) x GROUP BY k;
SELECT current_setting('data_directory') || '/member_set_edges.copy' AS file \gset
CREATE TABLE again (k text, set member_set);
CREATE TABLE bytes (k text, set bytea);
COPY (SELECT k, set FROM kind) TO :'file' (FORMAT binary);
COPY again FROM :'file' (FORMAT binary);
COPY bytes FROM :'file' (FORMAT binary);
SELECT results_eq('SELECT k, set::bytea FROM again ORDER BY k', 'SELECT k, set::bytea FROM kind ORDER BY k', 'there and back');
SELECT results_eq('SELECT k, set FROM bytes ORDER BY k', 'SELECT k, set::bytea FROM kind ORDER BY k', 'as the bytes');
COPY (SELECT 'none', '\x01'::bytea) TO :'file' (FORMAT binary);
SELECT is(complaint(format('COPY again FROM %L (FORMAT binary)', :'file')), 'LY706 Its bytes are no set: they end early.', 'bytes that are no set');

/* ---- what sets are made of, and what is made of them ---- */

SELECT is(set::bigint[], members, k || ': as an array') FROM kind;
SELECT is(array(SELECT unnest_members(set)), members, k || ': listed') FROM kind;
SELECT is(count_members(set), cardinality(members)::bigint, k || ': counted') FROM kind;
SELECT is((SELECT array_agg((s.chunk, s.members)::text ORDER BY s.chunk) FROM split_set(set) s),
	(SELECT array_agg((x.chunk, x.members)::text ORDER BY x.chunk) FROM (SELECT m >> 16 AS chunk, member_set_agg(m) AS members FROM unnest(members) m GROUP BY 1) x), k || ': by chunks') FROM kind;
SELECT is((SELECT member_set_rollup(s.members) FROM split_set(set) s), set, k || ': of its chunks') FROM kind;
SELECT is(x.set | y.set, (SELECT member_set_agg(g) FROM generate_series(0, 65535) g), 'odd and even ones are all') FROM kind x, kind y WHERE x.k = 'odd' AND y.k = 'even';
SELECT is(x.set # y.set, x.set | y.set, 'and nobody is both') FROM kind x, kind y WHERE x.k = 'odd' AND y.k = 'even';
SELECT is(o.*::text, '(10,30,0.333333)', 'a third is common, to six decimals')
FROM (SELECT member_set_agg(g) AS a FROM generate_series(1, 20) g) x, (SELECT member_set_agg(g) AS b FROM generate_series(11, 30) g) y, overlap(x.a, y.b) o;
-- one member more or less, and others
SELECT is(x = y, same, format('%s = %s', x, y)) FROM (VALUES ('{1}'::member_set, '{1}'::member_set, true), ('{1}', '{2}', false), ('{1}', '{1,2}', false), ('{1}', '{65537}', false), ('{1}', '{4294967297}', false), ('{}', '{0}', false)) c (x, y, same);
SELECT is(x <> y, NOT same, format('%s <> %s', x, y)) FROM (VALUES ('{1}'::member_set, '{1}'::member_set, true), ('{1}', '{2}', false), ('{1}', '{1,2}', false), ('{}', '{0}', false)) c (x, y, same);
SELECT is(member_set_hash_extended(set, 0)::bit(64)::bit(64) << 32 >> 32, member_set_hash(set)::bit(32)::bit(64) >> 32, k || ': a hash is half of the extended one') FROM kind;
SELECT is((SELECT count(DISTINCT member_set_hash(set)) FROM kind), (SELECT count(*) FROM kind), 'other sets have other hashes');
SELECT isnt(member_set_hash_extended('{1}', 1), member_set_hash_extended('{1}', 2), 'and other seeds');

/* ---- contains: in memory, compressed and out of its row ---- */

CREATE TABLE probe AS
SELECT k, set FROM kind UNION ALL SELECT t, t::member_set FROM unnest('{"{5,65543}","{5,70,65543}","{65536,196608}","{4294967301,12884901893}","{0}"}'::text[]) t
-- two of one length, which compress to nearly nothing
UNION ALL SELECT 'from ' || f, member_set_agg(f + g) FROM generate_series(0, 1) f, generate_series(0, 59999, 2) g GROUP BY f;
CREATE TABLE inline AS SELECT * FROM probe;
CREATE TABLE outside AS SELECT * FROM probe;
ALTER TABLE outside ALTER set SET STORAGE EXTERNAL;
UPDATE inline SET set = set; UPDATE outside SET set = set;
CREATE TABLE asked AS
SELECT m FROM unnest('{-9223372036854775808,-4294967291,-1,0,1,5,6,7,70,71,65535,65536,65541,65543,65544,131072,131079,196608,196609,262144,4294967295,4294967301,4294967302,8589934597,12884901893,12884901894,17179869189,9223372036854775807}'::bigint[]) m;
CREATE TABLE there AS SELECT k, unnest_members(set) AS m FROM probe;
SELECT is_empty(format($$
	SELECT p.k, a.m FROM %I p CROSS JOIN asked a LEFT JOIN there t ON t.k = p.k AND t.m = a.m WHERE contains(p.set, a.m) <> (t.m IS NOT NULL)$$, t), 'members and others, ' || t)
FROM unnest('{probe,inline,outside}'::text[]) t;
SELECT is(array(SELECT contains(set, m) FROM inline, asked WHERE k = '{5,65543}' AND m IN (5, 7, 65543) ORDER BY m), '{t,f,t}', 'what lies in the next chunk does not count');
-- alternately, so that one is kept after the other
SELECT is((SELECT array_agg(contains(x.set, x.m) ORDER BY x.n) FROM (SELECT n, i.set, 10 + n % 2 AS m FROM generate_series(0, 5) n, inline i WHERE i.k = 'from ' || n / 2 % 2 ORDER BY n OFFSET 0) x),
	'{t,f,f,t,t,f}', 'sets of one length in turn');

/* ---- memory of the library goes ---- */

CREATE FUNCTION kilobytes() RETURNS bigint LANGUAGE sql AS $$SELECT split_part(pg_read_file('/proc/self/statm'), ' ', 2)::bigint * 4$$;
SELECT pg_stat_file('/proc/self/statm', true) IS NULL AS elsewhere \gset
\if :elsewhere
SELECT skip('no /proc/self/statm here');
\else
-- twenty chunks of bits, 164 kB
CREATE TABLE heavy AS SELECT member_set_agg(g * 3) AS a, member_set_agg(g * 3 + 1) AS b FROM generate_series(0::bigint, 436906) g;
CREATE PROCEDURE work(n integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM count_members(a & b), count_members(a | b) FROM heavy;
		PERFORM count_members(member_set_rollup(x)) FROM heavy, unnest(ARRAY[a, b, a]) x;
		PERFORM count_members(a::bytea::member_set) FROM heavy;
	END LOOP;
END $$;
CALL work(10);
SELECT kilobytes() AS before \gset
CALL work(200);
SELECT cmp_ok(kilobytes() - :before, '<', 20000::bigint, 'operations, aggregates and bytes leave none behind');
SELECT kilobytes() AS before \gset
CREATE TABLE small AS SELECT g % 100000 AS n, member_set_agg(g) AS set FROM generate_series(1::bigint, 200000) g GROUP BY 1;
SELECT cmp_ok(kilobytes() - :before, '<', 100000::bigint, 'nor do many groups of two members keep any');
\endif
SELECT * FROM finish();
