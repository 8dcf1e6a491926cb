-- Room member: components against a slow reference, in every order and plan;
-- normal forms; refusals with their SQLSTATE.
\set ECHO none
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty CASCADE;
SET search_path = loyalty, public;
SELECT no_plan();

-- The slow, obvious reference: spread the smallest label until nothing changes.
CREATE FUNCTION pg_temp.reference_components(edges bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
	changed bigint;
BEGIN
	CREATE TEMP TABLE label AS
		SELECT DISTINCT v AS node, v AS component FROM unnest(edges) v WHERE v IS NOT NULL;
	CREATE TEMP TABLE link AS
		SELECT edges[i][1] AS a, edges[i][2] AS b FROM generate_subscripts(edges, 1) i
		UNION SELECT edges[i][2], edges[i][1] FROM generate_subscripts(edges, 1) i;
	LOOP
		UPDATE label l SET component = s.least
		FROM (SELECT k.a, min(n.component) AS least FROM link k JOIN label n ON n.node = k.b GROUP BY k.a) s
		WHERE s.a = l.node AND s.least < l.component;
		GET DIAGNOSTICS changed = ROW_COUNT;
		EXIT WHEN changed = 0;
	END LOOP;
	RETURN (SELECT coalesce(array_agg(ARRAY[node, component] ORDER BY node), '{}') FROM label);
END $$;

CREATE TEMP TABLE graph (g int, a bigint, b bigint);
SELECT setseed(0.1) \g /dev/null
INSERT INTO graph
SELECT g, CASE WHEN random() < 0.03 THEN NULL ELSE floor(random() * n.nodes) - n.nodes / 2 END,
	   CASE WHEN random() < 0.03 THEN NULL ELSE floor(random() * n.nodes) - n.nodes / 2 END
FROM generate_series(1, 300) g, LATERAL (SELECT 1 + (g * 7919) % 97 AS nodes, (g * 104729) % 113 AS edges) n,
	 LATERAL generate_series(1, n.edges) e;

CREATE TEMP TABLE answer (g int PRIMARY KEY, reference bigint[]);
DO $$
DECLARE
	graph_no int;
BEGIN
	FOR graph_no IN SELECT DISTINCT g FROM graph LOOP
		INSERT INTO answer SELECT graph_no, pg_temp.reference_components(array_agg(ARRAY[a, b])) FROM graph WHERE g = graph_no;
		DROP TABLE label, link;
	END LOOP;
END $$;

SELECT is((SELECT count(*)::int FROM answer), (SELECT count(DISTINCT g)::int FROM graph), 'every random graph has a reference');
SELECT is_empty($$SELECT g FROM answer JOIN (SELECT g, components_agg(a, b) AS v FROM graph GROUP BY g) x USING (g)
				  WHERE v IS DISTINCT FROM reference$$, 'random graphs: components_agg is the reference');
SELECT is_empty($$SELECT g FROM answer JOIN (SELECT g, components_agg(b, a) AS v FROM (SELECT * FROM graph ORDER BY random()) s GROUP BY g) x USING (g)
				  WHERE v IS DISTINCT FROM reference$$, 'random graphs: any order and direction of edges');
SELECT is_empty($$SELECT g FROM answer JOIN (SELECT g, array_agg(ARRAY[a, b]) AS pairs FROM graph GROUP BY g) x USING (g)
				  WHERE (SELECT coalesce(array_agg(ARRAY[node, component]), '{}') FROM connected_components(pairs)) IS DISTINCT FROM reference$$,
				'random graphs: connected_components lists the same, in order');
SELECT is_empty($$SELECT g FROM answer WHERE reference IS DISTINCT FROM
				  (SELECT coalesce(array_agg(ARRAY[node, component]), '{}') FROM expand_components(reference))$$,
				'expand_components lists a value as it is');
SELECT is_empty($$SELECT g FROM answer WHERE reference IS DISTINCT FROM
				  (SELECT components_agg(node, component) FROM expand_components(reference))$$,
				'components are edges of themselves');
-- text: names of fixed width order as the numbers do
CREATE FUNCTION pg_temp.name_of(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT repeat('ü', 20) || (5000 + n)$$;
SELECT is_empty($$SELECT g FROM answer JOIN (SELECT g, components_text_agg(pg_temp.name_of(a), pg_temp.name_of(b)) AS v FROM graph GROUP BY g) x USING (g)
				  WHERE v IS DISTINCT FROM (SELECT coalesce(array_agg(ARRAY[pg_temp.name_of(node), pg_temp.name_of(component)]), '{}')
											FROM expand_components(reference))$$,
				'random graphs: components_text_agg finds the same');
SELECT is_empty($$SELECT g FROM answer JOIN (SELECT g, array_agg(ARRAY[pg_temp.name_of(a), pg_temp.name_of(b)]) AS pairs FROM graph GROUP BY g) x USING (g)
				  WHERE (SELECT coalesce(array_agg(ARRAY[node, component]), '{}') FROM connected_components_text(pairs)) IS DISTINCT FROM
						(SELECT coalesce(array_agg(ARRAY[node, component]), '{}') FROM expand_components_text(
							(SELECT coalesce(array_agg(ARRAY[pg_temp.name_of(node), pg_temp.name_of(component)]), '{}') FROM expand_components(reference))))$$,
				'random graphs: connected_components_text lists the same');

-- one long path, the worst order for a naive union-find
SELECT is((SELECT array_agg(DISTINCT component) FROM (SELECT components_agg(i, i - 1) AS v FROM generate_series(100000, 1, -1) i) e,
		   expand_components(e.v)), '{0}', 'a path of 100,000 edges, from its end');
SELECT is((SELECT array_agg(DISTINCT component) FROM (SELECT components_agg(i, i + 1) AS v FROM generate_series(1, 100000) i) e,
		   expand_components(e.v)), '{1}', 'a path of 100,000 edges, from its beginning');

-- parallel plans
COMMIT;
DROP TABLE IF EXISTS public.member_tap_edge;
CREATE TABLE public.member_tap_edge AS
	SELECT i AS id, (i * 7919::bigint) % 30000 AS a, (i * 104729::bigint) % 50021 AS b FROM generate_series(1, 40000) i;
ANALYZE public.member_tap_edge;
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	RETURN plan;
END $$;
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE serial AS
	SELECT components_agg(a, b) AS v, components_text_agg('n' || a, 'n' || b) AS t FROM public.member_tap_edge;
SET max_parallel_workers_per_gather = 4;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT matches(pg_temp.plan_of('SELECT components_agg(a, b) FROM public.member_tap_edge'), 'Finalize.*Gather.*Partial', 'components_agg runs in a parallel plan');
-- pgTAP's own functions keep a query from workers: it is run by itself
CREATE FUNCTION pg_temp.run(query text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN EXECUTE query INTO answer; RETURN answer; END $$;
SELECT ok(pg_temp.run('SELECT components_agg(a, b) FROM public.member_tap_edge') = (SELECT v::text FROM serial), 'parallel and serial components are the same');
SELECT ok(pg_temp.run($$SELECT components_text_agg('n' || a, 'n' || b) FROM public.member_tap_edge$$) = (SELECT t::text FROM serial), 'the same for text');
SELECT is_empty($$SELECT g FROM (SELECT id % 7 AS g, components_agg(a, b) AS v FROM public.member_tap_edge GROUP BY 1) p
				  JOIN (SELECT id % 7 AS g, components_agg(a, b) AS w FROM (SELECT * FROM public.member_tap_edge ORDER BY id DESC OFFSET 0) o GROUP BY 1) s USING (g)
				  WHERE v IS DISTINCT FROM w$$, 'parallel by groups is serial by groups in reverse order');
RESET ALL;
SET search_path = loyalty, public;
SET client_min_messages = warning;
SELECT is((SELECT count(*)::int FROM pg_backend_memory_contexts WHERE name = 'connected components'), 0, 'no state is left behind');

-- a running aggregate can be cancelled
CREATE FUNCTION pg_temp.is_cancelled() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM components_agg(i, i * 7) FROM generate_series(1, 100000000::bigint) i;
	RETURN false;
EXCEPTION WHEN query_canceled THEN
	RETURN true;
END $$;
SET statement_timeout = 150;
SELECT ok(pg_temp.is_cancelled(), 'components_agg can be cancelled');
RESET statement_timeout;

-- real graph, when it is there
\set there `test -r "${LOYALTY_DATA:-../shared/data}/graphs/CA-GrQc.txt.gz" && echo true || echo false`
\if :there
CREATE TEMP TABLE grqc_line (line text);
CREATE TEMP TABLE grqc_expected (node bigint, component bigint);
\copy grqc_line FROM PROGRAM 'gzip -dc "${LOYALTY_DATA:-../shared/data}/graphs/CA-GrQc.txt.gz" | tail -n +2' WITH (FORMAT csv, DELIMITER E'\x01')
\copy grqc_expected FROM PROGRAM 'gzip -dc "${LOYALTY_DATA:-../shared/data}/expected/components_CA-GrQc.csv.gz"' WITH (FORMAT csv, HEADER)
CREATE TEMP TABLE grqc AS SELECT split_part(line, E'\t', 1)::bigint AS a, split_part(line, E'\t', 2)::bigint AS b FROM grqc_line;
SELECT is((SELECT count(*)::int FROM grqc_expected), 5242, 'CA-GrQc: 5,242 nodes are expected');
SELECT set_eq($$SELECT c.node, c.component FROM (SELECT components_agg(a, b) AS v FROM grqc) e, expand_components(e.v) c$$,
			  $$SELECT node, component FROM grqc_expected$$, 'CA-GrQc: components are the expected ones');
SELECT set_eq($$SELECT c.node, c.component FROM (SELECT array_agg(ARRAY[a, b]) AS v FROM grqc) e, connected_components(e.v) c$$,
			  $$SELECT node, component FROM grqc_expected$$, 'CA-GrQc: connected_components, too');
SELECT set_eq($$SELECT c.node, c.component FROM (SELECT components_text_agg(lpad(a::text, 9, '0'), lpad(b::text, 9, '0')) AS v FROM grqc) e, expand_components_text(e.v) c$$,
			  $$SELECT lpad(node::text, 9, '0') AS node, lpad(component::text, 9, '0') AS component FROM grqc_expected$$, 'CA-GrQc: as text, too');
\else
SELECT skip('CA-GrQc is not at ../shared/data/graphs', 4);
\endif

-- refusals
SELECT throws_ok($$SELECT * FROM expand_components('{1,2}')$$, 'LY003', '"components" must be an array of pairs', 'a flat array is refused');
SELECT throws_ok($$SELECT * FROM expand_components('{{1,NULL}}')$$, 'LY003', '"components" must not contain NULL', 'a NULL is refused');
SELECT throws_ok($$SELECT * FROM connected_components_text('{{a,b,c}}')$$, 'LY003', '"pairs" must be an array of pairs', 'triples are refused');
SELECT throws_ok($$SELECT normalize_identifier('email', 'nope', on_garbage => 'error')$$, 'LY201', '"nope" is no valid identifier of namespace "email"', 'garbage is an error when asked');
SELECT throws_ok(format('SELECT normalize_identifier(%L, %L, %L)', 'phone', '1', country), 'LY003', format('unknown default_country "%s"', country), 'an unknown country is an error')
FROM unnest(ARRAY['XX', 'E1', 'E{', '1E', '{E', 'E', '']) country;
SELECT throws_ok($$SELECT normalize_identifier('phone', '1', on_garbage => 'no')$$, 'LY003', 'unknown on_garbage "no"', 'a misspelt on_garbage is an error');

-- normal forms
SELECT is(normalize_identifier(namespace, raw, country), normal, format('%s %L', namespace, raw)) FROM (VALUES
	('phone', '٠٣٠ ١٢٣٤٥٦٧', 'DE', '+49301234567'),
	('phone', '+４９　３０１２３４５６７', NULL, '+49301234567'),
	('phone', U&'\200E+49\00A030\20111234567\200B', NULL, '+49301234567'),
	('phone', '+44 (0)20 7946 0958', NULL, '+442079460958'),
	('email', 'Ｊｏｈｎ＠Example。ＣＯＭ', NULL, 'john@example.com'),
	('email', U&'a\200Bb@x.de', NULL, 'ab@x.de'),
	('email', U&'cafe\00AD\0301@x.de', NULL, 'café@x.de'),	-- what composes when the invisible between is gone
	('email', 'STRAßE@X.DE', NULL, 'straße@x.de'),
	('email', 'İ@x.de', NULL, 'İ@x.de'),
	('email', 'ΣΊΣΥΦΟΣ@x.gr', NULL, 'σίσυφοσ@x.gr'),
	('email', 'MAILTO:Ann@x.de', NULL, 'ann@x.de'), ('email', ' <ann@x.de> ', NULL, 'ann@x.de'), ('email', 'mailto:<ann@x.de>', NULL, 'ann@x.de'),
	('email', 'Ann <ann@x.de>', NULL, NULL), ('email', '<ann@x.de', NULL, NULL), ('email', '<>', NULL, NULL), ('email', 'mailto:', NULL, NULL), ('email', 'mailto@x.de', NULL, 'mailto@x.de'),
	-- one domain, in Unicode and in Punycode
	('email', 'ann@BÜCHER.example', NULL, 'ann@xn--bcher-kva.example'), ('email', 'ann@xn--bcher-kva.example', NULL, 'ann@xn--bcher-kva.example'),
	('email', 'ann@XN--BCHER-KVA.Example.', NULL, 'ann@xn--bcher-kva.example'), ('email', U&'ann@bu\0308cher.example', NULL, 'ann@xn--bcher-kva.example'),
	('email', U&'ann@bü\00ADcher.example', NULL, 'ann@xn--bcher-kva.example'), ('email', 'a@straße.de', NULL, 'a@xn--strae-oqa.de'), ('email', 'a@STRAẞE.de', NULL, 'a@xn--strae-oqa.de'),
	('email', 'a@strasse.de', NULL, 'a@strasse.de'), ('email', 'a@例え。テスト', NULL, 'a@xn--r8jz45g.xn--zckzah'), ('email', 'a@例え．テスト｡', NULL, 'a@xn--r8jz45g.xn--zckzah'),
	-- the samples of RFC 3492, in lower case
	('email', 'a@ليهمابتكلموشعربي؟.x', NULL, 'a@xn--egbpdaj6bu4bxfgehfvwxn.x'), ('email', 'a@他们为什么不说中文.x', NULL, 'a@xn--ihqwcrb4cv8a8dqg056pqjye.x'),
	('email', 'a@他們爲什麽不說中文.x', NULL, 'a@xn--ihqwctvzc91f659drss3x8bo0yb.x'), ('email', 'a@pročprostěnemluvíčesky.x', NULL, 'a@xn--proprostnemluvesky-uyb24dma41a.x'),
	('email', 'a@למההםפשוטלאמדבריםעברית.x', NULL, 'a@xn--4dbcagdahymbxekheh6e0a7fei0b.x'), ('email', 'a@なぜみんな日本語を話してくれないのか.x', NULL, 'a@xn--n8jok5ay5dzabd5bym9f0cm5685rrjetr6pdxa.x'),
	('email', 'a@почемужеонинеговорятпорусски.x', NULL, 'a@xn--b1abfaaepdrnnbgefbadotcwatmq2g4l.x'), ('email', 'a@3年b組金八先生.x', NULL, 'a@xn--3b-ww4c5e180e575a65lsy2b.x'),
	('email', 'a@安室奈美恵-with-super-monkeys.x', NULL, 'a@xn---with-super-monkeys-pc58ag80a8qai00g7n9n.x'), ('email', 'a@majiでkoiする5秒前.x', NULL, 'a@xn--majikoi5-783gue6qz075azm5e.x'),
	('email', 'a@パフィーdeルンバ.x', NULL, 'a@xn--de-jg4avhby1noc0d.x'), ('email', 'a@そのスピードで.x', NULL, 'a@xn--d9juau41awczczp.x'),
	('email', 'a@βόλος.com', NULL, 'a@xn--nxasmm1c.com'), ('email', 'a@xn--nxasmm1c.com', NULL, 'a@xn--nxasmm1c.com'), ('email', 'a@ΒΌΛΟΣ.com', NULL, 'a@xn--nxasmq6b.com'),
	('email', 'a@İSTANBUL.example', NULL, 'a@xn--istanbul-o0e.example'), ('email', 'a@i̇stanbul.example', NULL, 'a@xn--istanbul-o0e.example'),
	('email', 'a@xn--istanbul-o0e.example', NULL, 'a@xn--istanbul-o0e.example'), ('email', 'a@İİ.example', NULL, 'a@xn--ii-rubb.example'), ('email', 'a@ısparta.example', NULL, 'a@xn--sparta-o9a.example'), ('email', 'İ@x.tr', NULL, 'İ@x.tr'),
	('email', 'Σοφός@βόλοσ.com', NULL, 'σοφόσ@xn--nxasmq6b.com'), ('email', 'a＠βόλος.com', NULL, 'a@xn--nxasmm1c.com'), ('shop', 'a@ς', NULL, 'a@σ'),
	-- where the bias of RFC 3492 lies at its bound, or just above
	('email', U&'a@\+027899\+027409.x', NULL, 'a@xn--8e5kz0e.x'), ('email', U&'a@\01DA\043E\043B\02C6\037C\02BA.x', NULL, 'a@xn--5ja26b9a08c32ara.x'),
	('email', 'a@ü.😀.ws', NULL, 'a@xn--tda.xn--e28h.ws'), ('email', 'a@xn--e28h.ws', NULL, 'a@xn--e28h.ws'),
	-- Punycode of what is not mapped, and of what needs none
	('email', 'a@xn--bcher-2pa.de', NULL, 'a@xn--bcher-kva.de'), ('email', 'a@xn--abc-.de', NULL, 'a@abc.de'),
	-- no Punycode: cut off, too large, a surrogate, a control character, a dot, an @, nothing, twice
	('email', 'a@xn--bcher-kv.de', NULL, NULL), ('email', 'a@xn--99999999.de', NULL, NULL), ('email', 'a@xn--.de', NULL, NULL), ('email', 'a@xn--bücher-kva.de', NULL, NULL),
	('email', 'a@xn--a.de', NULL, NULL), ('email', 'a@xn--xn--bcher-kva-.de', NULL, NULL), ('email', 'a@xn--bcher_-kva.de', NULL, NULL), ('email', 'a@xn---.de', NULL, NULL),
	('email', 'a@xn---bcher-kva.de', NULL, NULL), ('email', 'a@xn--bcher--kva.de', NULL, NULL), ('email', 'a@xn--b-cher-65a.de', NULL, 'a@xn--b-cher-65a.de'),
	-- labels of 63 bytes in ASCII, and beyond
	('email', 'a@' || repeat('x', 63) || '.de', NULL, 'a@' || repeat('x', 63) || '.de'), ('email', 'a@' || repeat('x', 64) || '.de', NULL, NULL),
	('email', 'a@' || repeat('ä', 57) || '.de', NULL, 'a@xn--4ca' || repeat('a', 56) || '.de'), ('email', 'a@' || repeat('ä', 58) || '.de', NULL, NULL),
	('email', 'a@ä', NULL, NULL), ('email', 'a@ä..de', NULL, NULL), ('email', 'a@.ä.de', NULL, NULL), ('email', 'a@-ä.de', NULL, NULL), ('email', 'a@ä-.de', NULL, NULL), ('email', 'a@ä.de..', NULL, NULL),
	('email', 'a@ä.12', NULL, NULL), ('email', 'a@ä.x12', NULL, 'a@xn--4ca.x12'), ('email', 'a@ä_b.de', NULL, NULL), ('email', 'ann@googlemail.com', NULL, 'ann@googlemail.com'),
	('card', 'ＡＢ', NULL, 'ab'), ('card', 'ÄÖ', NULL, 'äö'),
	('card', U&' ＡＢ１２ cafe\0301\00A0', NULL, 'ab12 café'),
	('card', U&'\FEFF\200B', NULL, NULL)) v(namespace, raw, country, normal);

-- White space and what Unicode calls default ignorable goes off both ends; in
-- the middle the second goes, where it means nothing; control characters are garbage.
CREATE TEMP TABLE character AS		-- of the planes 0, 1 and 14; 2 and 3 are Han, the rest is empty
	SELECT c FROM generate_series(1, 921599) c WHERE c NOT BETWEEN 55296 AND 57343 AND c NOT BETWEEN 131072 AND 917503;
SELECT is((SELECT range_agg(int4range(c, c + 1)) FROM character WHERE normalize_identifier('x', 'a' || chr(c)) = 'a'),
	'{[9,14),[32,33),[133,134),[160,161),[173,174),[847,848),[1564,1565),[4447,4449),[5760,5761),[6068,6070),[6155,6160),[8192,8208),[8232,8240),[8287,8304),[12288,12289),[12644,12645),[65024,65040),[65279,65280),[65440,65441),[65520,65529),[113824,113828),[119155,119163),[917504,921600)}'::int4multirange,
	'what is taken off the end');
SELECT is((SELECT range_agg(int4range(c, c + 1)) FROM character WHERE normalize_identifier('email', 'a' || chr(c) || 'b@x.de') = 'ab@x.de'),
	'{[173,174),[847,848),[1564,1565),[4447,4449),[6068,6070),[6155,6160),[8203,8208),[8234,8239),[8288,8304),[12644,12645),[65024,65040),[65279,65280),[65440,65441),[65520,65529),[113824,113828),[119155,119163),[917504,921600)}'::int4multirange,
	'what is taken out of the middle');
SELECT is((SELECT range_agg(int4range(c, c + 1)) FROM character WHERE normalize_identifier('x', 'a' || chr(c) || 'b') IS NULL),
	'{[1,32),[127,160)}'::int4multirange, 'what no opaque id has');
SELECT is((SELECT range_agg(int4range(c, c + 1)) FROM generate_series(1, 127) c WHERE normalize_identifier('email', 'a' || chr(c) || 'b@x.de') IS NULL),
	'{[1,33),[34,35),[40,42),[44,45),[58,61),[62,63),[64,65),[91,94),[127,128)}'::int4multirange, 'what no local part has without quoting');
SELECT is((SELECT range_agg(int4range(c, c + 1)) FROM generate_series(1, 127) c WHERE normalize_identifier('email', 'a@x' || chr(c) || 'b.de') IS NOT NULL),
	'{[45,47),[48,58),[65,91),[97,123)}'::int4multirange, 'what a domain has');
SELECT is((SELECT count(*)::int FROM character WHERE c >= 128
		   AND normalize_identifier('email', 'a@x' || chr(c) || 'b.de') ~ '^a@xn--[a-z0-9-]+\.de$' AND normalize_identifier('x', chr(c)) ~ '[[:space:][:cntrl:].]'), 0, 'nor spaces beyond ASCII');

-- why garbage is garbage
CREATE FUNCTION pg_temp.reason(namespace text, raw text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM normalize_identifier(namespace, raw, on_garbage => 'error', provider_rules => true);
	RETURN NULL;
EXCEPTION WHEN SQLSTATE 'LY201' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;
SELECT is(pg_temp.reason(namespace, raw), reason, format('%s %L: why not', namespace, left(raw, 30))) FROM (VALUES
	('x', ' ', 'Nothing is left of it without white space.'),
	('x', repeat('a', 1024), NULL), ('x', repeat('a', 1025), 'It is longer than 1024 bytes.'), ('x', repeat('ä', 512), NULL), ('x', repeat('ä', 513), 'It is longer than 1024 bytes.'),
	('x', repeat(' ', 4095) || 'a', NULL), ('x', repeat(' ', 4096) || 'a', 'It is far too long.'),
	('email', 'ann', 'It has no @.'), ('email', '@x.de', 'It has nothing before the @.'), ('email', 'a@b@x.de', 'It has more than one @.'), ('email', '@a@x.de', 'It has more than one @.'),
	('email', 'a b@x.de', 'It has white space or a control character inside.'), ('email', U&'a\3000b@x.de', 'It has white space or a control character inside.'),
	('email', 'a,b@x.de', 'It has a character before the @ that only quoting would allow.'),
	('email', 'a@', 'A label of the domain is empty or longer than 63 bytes.'), ('email', 'a@x', 'The domain has no dot.'), ('email', 'a@x.', 'The domain has no dot.'),
	('email', 'a@.x', 'A label of the domain is empty or longer than 63 bytes.'), ('email', 'a@x.12', 'The domain ends with a number.'), ('email', 'a@12.x', NULL), ('email', 'a@x.1x', NULL),
	('email', 'a@-x.de', 'A label of the domain begins or ends with a hyphen.'), ('email', 'a@x-.de', 'A label of the domain begins or ends with a hyphen.'), ('email', 'a@x-y.de', NULL),
	('email', 'a@x_y.de', 'The domain has a character that no domain has.'),
	('email', 'a@xn--.de', 'A label of the domain begins with xn-- and is no Punycode.'), ('email', 'a@xn--bcher-kv.de', 'A label of the domain begins with xn-- and is no Punycode.'),
	('email', 'a@xn--xn--bcher-kva-.de', 'A label of the domain begins with xn-- and is no Punycode.'),
	('email', '+x@gmail.com', 'It has nothing before the @ that counts for its provider.'),
	('email', repeat('a', 64) || '@x.de', NULL), ('email', repeat('a', 65) || '@x.de', 'It has more than 64 bytes before the @.'),
	('email', repeat('a', 64) || '@' || repeat('b', 63) || '.' || repeat('c', 63) || '.' || repeat('d', 61), NULL),
	('email', repeat('a', 64) || '@' || repeat('b', 63) || '.' || repeat('c', 63) || '.' || repeat('d', 62), 'It has more than 254 bytes.')) v (namespace, raw, reason);

SELECT is_empty($$SELECT n FROM generate_series(6, 58) n WHERE normalize_identifier('email', 'a@xn--' || repeat('9', n) || 'a.de') IS NOT NULL$$, 'Punycode beyond the last character there is, however far');

-- a normal form is its own normal form: every character, and random garbage
SELECT is_empty($$
	SELECT c FROM (SELECT c, normalize_identifier('x', chr(c) || 'a' || chr(c)) AS n FROM generate_series(1, 1114111) c WHERE c NOT BETWEEN 55296 AND 57343) s
	WHERE n IS DISTINCT FROM normalize_identifier('x', n)$$, 'opaque ids: idempotent for every character');
SELECT setseed(0.2) \g /dev/null
SELECT is_empty($$
	SELECT raw FROM (SELECT raw, normalize_identifier('phone', raw, country) AS n, country FROM
		(SELECT string_agg(substr('+0123456789 -()./008', 1 + floor(random() * 20)::int, 1), '') AS raw,
				(ARRAY['DE', 'US', 'RU', 'IT', 'MX', 'HU', 'JP', 'AU', 'BY', NULL])[1 + i % 10] AS country
		 FROM generate_series(1, 30000) i, LATERAL generate_series(1, 6 + i % 12) j GROUP BY i) r) s
	WHERE n IS DISTINCT FROM normalize_identifier('phone', n, country) OR n !~ '^\+[1-9][0-9]{5,14}$'$$,
	'telephone: idempotent, and E.164, for random input');
SELECT is_empty($$
	SELECT raw FROM (SELECT raw, normalize_identifier('email', raw, provider_rules => true) AS n FROM
		(SELECT string_agg(substr('ab.+@-_ ÄßA', 1 + floor(random() * 11)::int, 1), '')
				|| (ARRAY['@x.de', '@GMail.com', '@outlook.com', ''])[1 + i % 4] AS raw
		 FROM generate_series(1, 30000) i, LATERAL generate_series(1, 3 + i % 5) j GROUP BY i) r) s
	WHERE n IS DISTINCT FROM normalize_identifier('email', n, provider_rules => true)$$, 'e-mail: idempotent for random input');

SELECT is_empty($$
	SELECT raw FROM (SELECT raw, normalize_identifier('email', raw) AS n FROM
		(SELECT 'a@' || (ARRAY['xn--', '', 'XN--a', 'xn--ä'])[1 + i % 4] || string_agg(substr('abcdefghijklmnopqrstuvwxyz0123456789----ÄßЖ中', 1 + floor(random() * 44)::int, 1), '') || '.de' AS raw
		 FROM generate_series(1, 30000) i, LATERAL generate_series(1, 1 + i % 11) j GROUP BY i) r) s
	WHERE n IS DISTINCT FROM normalize_identifier('email', n) OR n ~ '[^ -~]'$$, 'e-mail: idempotent, the domain in ASCII, for random labels');

-- what every object must say of itself
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
				  WHERE p.pronamespace = 'loyalty'::regnamespace AND p.proname ~ 'components|normalize_identifier'
				  AND (obj_description(p.oid, 'pg_proc') IS NULL OR p.proparallel <> 's' OR p.provolatile <> 'i')$$,
				'functions of this room are commented, immutable, parallel safe');
DROP TABLE public.member_tap_edge;
-- Settings that are NULL are their defaults: an address as it is written, whatever case.
SELECT is(normalize_identifier('email', 'A.b+c@Gmail.com', provider_rules => NULL), 'a.b+c@gmail.com', 'no rules of providers');
SELECT is(normalize_identifier('card', 'Ab-1', fold_case => NULL), 'ab-1', 'case is folded');
SELECT is(normalize_identifier('email', 'nobody', on_garbage => NULL), NULL, 'garbage is NULL');

SELECT * FROM finish();
