-- Room match: comparing, blocks, fitting, weighing, clusters, on anybody's
-- tables.  Published cases, and others worked out by hand.
CREATE EXTENSION pgtap;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, loyalty, pg_catalog;
SET jit = off;
\pset fieldsep '\n'
SELECT no_plan();

-- Levels of comparison
SELECT is(compare_values(c.a, c.b, c.kind, c.country), c.level, format('%s: %s, %s', c.kind, coalesce(c.a, 'NULL'), coalesce(c.b, 'NULL')))
FROM (VALUES
	('name', 'Smith', ' SMITH  ', NULL, 'equal'), ('name', 'Anna  Maria', 'anna maria', NULL, 'equal'),
	('name', 'smith', 'smyth', NULL, 'close'), ('name', 'smith', 'smiht', NULL, 'close'), ('name', 'smith', 'smit', NULL, 'close'),
	('name', 'smith', 'smiith', NULL, 'close'),
	-- .9611, .8400, .8133
	('name', 'martha', 'marhta', NULL, 'close'), ('name', 'dwayne', 'duane', NULL, 'similar'), ('name', 'dixon', 'dicksonx', NULL, 'similar'),
	('name', 'abcd', 'wxyz', NULL, 'different'), ('name', 'ng', 'li', NULL, 'different'),
	('name', E'M\u00FCller', E'mu\u0308ller', NULL, 'equal'), ('name', E'\uFF33mith', 'smith', NULL, 'equal'),
	('name', NULL, 'smith', NULL, NULL), ('name', '', 'smith', NULL, NULL), ('name', '  ', ' ', NULL, NULL), ('name', NULL, NULL, NULL, NULL),
	-- Chinese: characters, in order or not; one of two or more
	('name', '王小明', '王小明', NULL, 'equal'), ('name', '王小明', '小明王', NULL, 'close'), ('name', '王小明', '王晓明', NULL, 'similar'),
	('name', '张伟', '张卫', NULL, 'similar'), ('name', '张伟', '王卫', NULL, 'different'), ('name', '张', '王', NULL, 'different'),
	('name', '张伟', '张小伟', NULL, 'different'),
	('address', '上海市浦东新区张江路1号', '上海市浦东新区张江路2号', NULL, 'close'), ('address', '上海市浦东新区张江路100号3室', '上海市浦东新区张江路28号', NULL, 'close'),
	('address', '上海市浦东新区张江路1号', '浦东新区张江路1号', NULL, 'close'),
	('address', '上海市浦东新区张江路1号', '上海市浦东新区世纪大道88号', NULL, 'similar'),
	('address', '上海市浦东新区张江路1号', '北京市海淀区学院路38号', NULL, 'different'),
	('address', 'tullaroop street', 'tullarop street', NULL, 'close'), ('address', '9 Mill Lane', '54 Giblin Circuit', NULL, 'different'),
	('date', '1960-02-10', '19600210', NULL, 'equal'), ('date', '1960-2-10', '1960/02/10', NULL, 'equal'), ('date', '1960-02-10 10:00:00', '19600210', NULL, 'equal'),
	('date', '1960-02-10', '1960-02-19', NULL, 'close'), ('date', '1960-02-10', '1960-10-02', NULL, 'close'), ('date', '1960-02-10', '1690-02-10', NULL, 'close'),
	('date', '1960-02-10', '1960-02-25', NULL, 'similar'), ('date', '1960-02-10', '1987-02-10', NULL, 'similar'), ('date', '1960-02-10', '1960-11-10', NULL, 'similar'),
	('date', '1960-02-10', '1961-02-11', NULL, 'different'), ('date', '1960-02-10', 'in spring', NULL, 'different'),
	('code', 'AB 12-3', 'ab123', NULL, 'equal'), ('code', '4011', '4101', NULL, 'close'), ('code', '4011', '4012', NULL, 'close'),
	('code', '4011', '4112', NULL, 'different'), ('code', '--', '4011', NULL, NULL),
	('phone', '030 123456', '+49 30 123456', 'DE', 'equal'), ('phone', '+49 30 123457', '+49 30 123456', 'DE', 'close'), ('phone', 'no', '+4930123456', NULL, NULL),
	('email', 'A.B@Example.org', 'a.b@example.org', NULL, 'equal'), ('email', 'jon@example.org', 'john@example.org', NULL, 'close'),
	('email', 'none', 'john@example.org', NULL, NULL),
	('category', 'NSW', 'nsw', NULL, 'equal'), ('category', 'nsw', 'nswx', NULL, 'different'), ('key', 'a', 'b', NULL, 'different')
) c (kind, a, b, country, level);
SELECT throws_ok('SELECT compare_values($$a$$, $$b$$, $$sound$$)', 'LY003', 'there is no kind of comparison "sound"', 'another kind');
SELECT throws_ok('SELECT compare_values($$a$$, $$b$$, NULL)', 'LY003', NULL, 'no kind');
SELECT throws_ok('SELECT compare_values($$a$$, $$b$$, $$phone$$, $$XX$$)', 'LY003', 'unknown country "XX"', 'another country');
-- a long one is cut, and compared no less
SELECT is(compare_values(repeat('a', 5000), repeat('a', 6000)), 'equal', 'the first 255 characters count');
SELECT is(compare_values(repeat('ab', 100), repeat('ab', 99) || 'ba', 'address'), 'close', 'long ones are compared');

SELECT is(round(jaro_winkler(c.a, c.b)::numeric, 4), c.s, format('Jaro and Winkler: %s, %s', c.a, c.b))
FROM (VALUES ('martha', 'marhta', 0.9611), ('DWAYNE', 'Duane', 0.8400), ('dixon', 'dicksonx', 0.8133), ('张伟', '张卫', 0.7000), ('王小明', '王晓明', 0.8000),
	('a', 'b', 0.0000), ('a', 'a', 1.0000), ('', 'a', NULL)) c (a, b, s);
-- beyond 64 characters: 66 of 66 in common, two moved: 1 - 1/198, raised by four tenths of the rest
SELECT is(round(jaro_winkler(repeat('x', 60) || 'martha', repeat('x', 60) || 'marhta')::numeric, 9), round(1 - 0.6 / 198, 9), 'of long texts');

CREATE FUNCTION near(have numeric, want numeric, what text, tolerance numeric DEFAULT 1e-6) RETURNS text
LANGUAGE sql AS $$
	SELECT ok(abs(have - want) <= tolerance, what) || CASE WHEN abs(have - want) <= tolerance THEN '' ELSE format(E'\n# have %s, want %s', have, want) END
$$;
-- m or u of equal, by field
CREATE FUNCTION of_equal(model jsonb, what text) RETURNS numeric[] LANGUAGE sql AS $$
	SELECT array_agg((f -> what ->> -1)::numeric ORDER BY n) FROM jsonb_array_elements(model -> 'fields') WITH ORDINALITY x (f, n)
$$;
CREATE FUNCTION all_near(have numeric[], want numeric[], what text, tolerance numeric DEFAULT 1e-6) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT near(h, w, what || ' ' || n, tolerance) FROM unnest(have, want) WITH ORDINALITY x (h, w, n)
$$;

-- 1. Exact recovery: three fields, lambda .2, m (.9, .8, .7), u (.1, .2, .3)
CREATE TEMP TABLE fit AS SELECT 'exact' AS name, match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}}',
	'{"lambda": 0.05, "m": 0.95, "u": 0.02}') AS model;
SELECT near((model ->> 'lambda')::numeric, 0.2, 'lambda') FROM fit;
SELECT all_near(of_equal(model, 'm'), '{0.9,0.8,0.7}', 'm') FROM fit;
SELECT all_near(of_equal(model, 'u'), '{0.1,0.2,0.3}', 'u') FROM fit;
SELECT near((match_weight(model, c.pattern)).probability, c.p, 'posterior of ' || c.pattern)
FROM fit, (VALUES ('111', .954545), ('110', .794118), ('101', .567568), ('011', .205882), ('100', .194245), ('010', .045455), ('001', .015945), ('000', .002967)) c (pattern, p);
SELECT all_near(of_equal(match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}}',
	'{"lambda": 0.05, "m": 0.95, "u": 0.02, "max_iterations": 1}'), x.what), x.want, x.what || ' after one step')
FROM (VALUES ('m', '{0.797231,0.834457,0.800474}'::numeric[]), ('u', '{0.091038,0.158200,0.247759}')) x (what, want);
-- 25 steps and a tolerance of 0.0001, as others stop at, are too few
SELECT near((of_equal(match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}}',
	'{"lambda": 0.05, "m": 0.95, "u": 0.02, "max_iterations": 25}'), 'm'))[1], 0.868474, 'm after 25 steps');
-- lambda is that of one more look at the pairs (see the vignette): what the first step takes for matches is what the start says of them
SELECT near(sum(c.n * (match_weight('{"lambda": 0.05, "fields": [{"field": "1", "m": [0.05, 0.95], "u": [0.98, 0.02]}, {"field": "2", "m": [0.05, 0.95], "u": [0.98, 0.02]},
	{"field": "3", "m": [0.05, 0.95], "u": [0.98, 0.02]}]}', c.pattern)).probability) / 10000, 0.239258, 'lambda of the first step')
FROM (VALUES ('111', 1056), ('110', 544), ('101', 444), ('100', 556), ('011', 544), ('010', 1056), ('001', 1756), ('000', 4044)) c (pattern, n);
CREATE FUNCTION steps(n integer, tolerance numeric DEFAULT 0) RETURNS jsonb LANGUAGE sql AS $$
	SELECT match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}}',
		jsonb_build_object('lambda', 0.05, 'm', 0.95, 'u', 0.02, 'max_iterations', n, 'tolerance', tolerance))
$$;
CREATE FUNCTION largest_change(n integer) RETURNS numeric LANGUAGE sql AS $$
	SELECT max(abs(a - b)) FROM (SELECT steps(n) AS x, steps(n - 1) AS y) s, LATERAL unnest(of_equal(x, 'm') || of_equal(x, 'u'), of_equal(y, 'm') || of_equal(y, 'u')) c (a, b)
$$;
SELECT near((steps(c.n) ->> 'lambda')::numeric, c.lambda, format('lambda of step %s', c.n + 1)) FROM (VALUES (24, 0.211357), (92, 0.200997)) c (n, lambda);
SELECT is(array_agg(largest_change(n) < 0.0001 ORDER BY n), '{f,t}', 'the 93rd is the first that changes less than 0.0001') FROM unnest('{92,93}'::integer[]) n;
SELECT is(array_agg(largest_change(n) < 1e-13 ORDER BY n), '{f,t}', 'and the 723rd less than 1e-13') FROM unnest('{722,723}'::integer[]) n;
SELECT ok((steps(10000, 1e-13) ->> 'converged')::boolean, 'which is reached');
-- a start that knows less comes to the same
SELECT all_near(of_equal(match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}}'), 'm'),
	'{0.9,0.8,0.7}', 'm from the default start');

-- 2. Published: reclin2's vignette, 17 pairs
INSERT INTO fit SELECT 'vignette', match_fit('{"patterns": {"1010": 6, "0000": 4, "1011": 2, "0001": 1, "0011": 1, "0010": 1, "1110": 1, "1101": 1}}',
	'{"lambda": 0.05, "m": 0.95, "u": 0.02, "clip": [0.0001, 0.999], "tolerance": 0.0031622776601683795}');
SELECT all_near(of_equal(model, 'm'), '{0.9990000,0.1999999,0.8999206,0.3002011}', 'm of the vignette', 5e-8) FROM fit WHERE name = 'vignette';
SELECT all_near(of_equal(model, 'u'), '{0.001152679,0.0001,0.285831118,0.285427112}', 'u of the vignette', 5e-10) FROM fit WHERE name = 'vignette';
SELECT near((model ->> 'lambda')::numeric, 0.5885595, 'p of the vignette', 5e-8) FROM fit WHERE name = 'vignette';
SELECT is(r.remark, 'unsafe', 'it is called unsafe') FROM fit, match_report(model) r WHERE name = 'vignette' AND r.item = 'verdict';
SELECT bag_has($$SELECT r.remark FROM fit, match_report(model) r WHERE name = 'vignette' AND r.item = 'remark'$$,
	$$VALUES ('unsafe: 10.0 matches are expected, and a fit to fewer than 50 is luck')$$, 'and why');

-- 3. Published: Splink's waterfall, -6.67 + 4.74 + 6.49 - 1.97 - 1.12 + 8.00
CREATE FUNCTION by_bits(prior numeric, bits numeric[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('lambda', (2 ^ prior / (1 + 2 ^ prior))::float8, 'fields', (SELECT jsonb_agg(jsonb_build_object('field', 'f' || n,
		'm', jsonb_build_array(0.5, CASE WHEN b > 0 THEN 0.5 ELSE (0.5 * 2 ^ b)::float8 END), 'u', jsonb_build_array(0.5, CASE WHEN b > 0 THEN (0.5 * 2 ^ -b)::float8 ELSE 0.5 END)) ORDER BY n)
		FROM unnest(bits) WITH ORDINALITY x (b, n)))
$$;
SELECT near(weight, 9.47, 'the published sum', 1e-5), near(probability, 0.9986, 'and its probability', 5e-5)
FROM match_weight(by_bits(-6.67, '{4.74,6.49,-1.97,-1.12,8.00}'), '11111');

-- 4. By hand: lambda .01, m .95 and .9, u .01 and .005
INSERT INTO fit VALUES ('hand', '{"lambda": 0.01, "fields": [{"field": "surname", "m": [0.05, 0.95], "u": [0.99, 0.01]}, {"field": "born", "m": [0.1, 0.9], "u": [0.995, 0.005]}]}');
SELECT is(w.weight, c.weight, c.pattern), is(round(w.probability, 6), c.p, c.pattern || ' probability')
FROM fit, (VALUES ('11', 7.432352, .994244), ('10', -3.374198, .087959)) c (pattern, weight, p), match_weight(model, c.pattern) w WHERE name = 'hand';
-- parts add up, to the digit
SELECT is((parts ->> 'prior')::numeric + (SELECT sum((e.value ->> 'weight')::numeric) FROM jsonb_each(parts -> 'fields') e), weight, 'parts of ' || p)
FROM fit, unnest('{11,10,01,00,1-,-1,--}'::text[]) p, match_weight(model, p) w WHERE name = 'hand';
SELECT is(r.remark, 'given, not fitted', 'a model by hand') FROM fit, match_report(model) r WHERE name = 'hand' AND r.item = 'verdict';
SELECT results_eq($$SELECT l.field, l.level, l.meaning, l.m, l.u, l.weight FROM fit, match_levels(model) l WHERE name = 'hand'$$,
	$$VALUES ('surname', 1, 'equal', 0.95, 0.01, 6.569856), ('surname', 0, 'different', 0.05, 0.99, -4.307429),
		('born', 1, 'equal', 0.9, 0.005, 7.491853), ('born', 0, 'different', 0.1, 0.995, -3.314697)$$, 'its levels');

-- 6. Frequencies: the average u is .005
SELECT is((match_weight(model, '11', c.f::jsonb)).weight - (match_weight(model, '11')).weight, c.added, 'frequency ' || c.f)
FROM fit, (VALUES ('{"born": 0.02}', -2.0), ('{"born": 0.00001}', 8.965784), ('{"other": 0.1}', 0), ('{"born": null}', 0)) c (f, added) WHERE name = 'hand';
SELECT is((match_weight(model, '10', '{"born": 0.02}')).weight, (match_weight(model, '10')).weight, 'a value that differs has no frequency') FROM fit WHERE name = 'hand';
SELECT throws_ok($$SELECT match_weight(model, '11', '{"born": 0}') FROM fit WHERE name = 'hand'$$, 'LY003', NULL, 'a share of nothing');

-- 8. Missing says nothing
SELECT is((match_weight(model, '--')).weight, round(log(2, 0.01 / 0.99), 6), 'missing is the prior alone') FROM fit WHERE name = 'hand';

-- refusals
SELECT throws_ok(c.sql, c.state, c.message, c.sql) FROM (VALUES
	($$SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}', '2')$$, 'LY003', '"2" is no pattern of this model'),
	($$SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}', '11')$$, 'LY003', '"11" is no pattern of this model'),
	($$SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}', '')$$, 'LY003', '"" is no pattern of this model'),
	($$SELECT match_weight(NULL, '1')$$, 'LY003', 'model must not be NULL'),
	($$SELECT match_weight('{"fields": []}', '1')$$, 'LY003', 'invalid model'),
	($$SELECT match_weight('[]', '1')$$, 'LY003', 'invalid model'),
	($$SELECT match_weight('{"lambda": 2, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}', '1')$$, 'LY003', 'invalid model'),
	($$SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.2, 0.3]}]}', '1')$$, 'LY003', 'invalid model'),
	($$SELECT match_fit('{"patterns": {"11": 5, "00": 20}}')$$, 'LY842', '2 fields do not tell matches from other pairs'),
	($$SELECT match_fit('{"patterns": {"111": 5, "0": 20}}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{"patterns": {"111": -5}}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{"patterns": {"119": 5}}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{"pairs": 100, "patterns": {"111": 5}}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{"patterns": {}}')$$, 'LY842', '0 fields do not tell matches from other pairs'),
	($$SELECT match_fit(NULL)$$, 'LY003', 'patterns must not be NULL'),
	($$SELECT match_fit('{"patterns": {"111": 5}}', '{"seed": 1}')$$, 'LY003', 'invalid options'),
	($$SELECT match_fit('{"patterns": {"111": 5}, "block": [["1"]]}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{"patterns": {"111": 5}, "fields": [{"field": "a"}, {"field": "b"}, {"field": "a"}]}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{"patterns": {"111": 5}, "fields": [{"field": "a"}, {"field": "b"}, {"field": "c", "agrees": [1, 0]}]}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit('{"patterns": {"111": 5}, "fields": [{"field": "a"}, {"field": "b"}, {"field": "c"}], "blocks": [["a"], []]}')$$, 'LY003', 'invalid counts of patterns'),
	($$SELECT match_fit(jsonb_build_object('patterns', '{"111": 5}'::jsonb, 'fields', '[{"field": "a"}, {"field": "b"}, {"field": "c"}]'::jsonb,
		'blocks', (SELECT jsonb_agg('["a"]'::jsonb) FROM generate_series(1, 65))))$$, 'LY003', 'invalid counts of patterns'),
	-- parts are by the name of a field
	($$SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}, {"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '11')$$, 'LY003', 'invalid model'),
	($$SELECT match_weight('{"lambda": 0.1, "prior": 0.2, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}', '1')$$, 'LY003', 'invalid model'),
	($$SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}', '1', '[]')$$, 'LY003', 'frequencies must be an object'),
	($$SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}', '1', '{"a": "0.1"}')$$, 'LY003', 'a frequency must be a number'),
	-- what agrees nowhere is taken for the matches when one begins there
	($$SELECT match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}}', '{"lambda": 0.8, "m": 0.05, "u": 0.9}')$$,
		'LY843', 'the fit took other pairs for matches')) c (sql, state, message);

-- 12. Blocks on the first or second field: what they did not take is in the likelihood
INSERT INTO fit SELECT 'blocks', match_fit('{"pairs": 10000, "fields": [{"field": "a", "agreement": [0.74, 0.26]}, {"field": "b", "agreement": [0.68, 0.32]}, {"field": "c", "agreement": [0.62, 0.38]}],
	"blocks": [["a"], ["b"]], "patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056}}');
SELECT near((model ->> 'lambda')::numeric, 0.2, 'lambda of all pairs'), near((model ->> 'matches_outside')::numeric, 40, 'matches outside', 1e-3),
	near((model ->> 'matches_in_blocks')::numeric / (model ->> 'pairs_in_blocks')::numeric, 0.466667, 'lambda in the blocks'),
	near((model ->> 'recall_of_blocks')::numeric, 0.98, 'their recall') FROM fit WHERE name = 'blocks';
SELECT all_near(of_equal(model, 'm'), '{0.9,0.8,0.7}', 'm with blocks') FROM fit WHERE name = 'blocks';
SELECT all_near(of_equal(model, 'u'), '{0.1,0.2,0.3}', 'u with blocks') FROM fit WHERE name = 'blocks';
-- and what comes of it where they are not: the six cells alone are of nonsense, and it is said
INSERT INTO fit SELECT 'six cells', match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056}}', '{"lambda": 0.05, "m": 0.95, "u": 0.02}');
SELECT near((model ->> 'lambda')::numeric, 0.619, 'lambda of six cells', 5e-4), near((of_equal(model, 'm'))[1], 1, 'm of the first', 1e-9), near((of_equal(model, 'u'))[1], 0, 'and its u', 1e-9)
FROM fit WHERE name = 'six cells';
SELECT is((SELECT r.remark FROM match_report(model) r WHERE r.item = 'verdict'), 'unsafe', 'six cells are unsafe') FROM fit WHERE name = 'six cells';
-- a field of which a quarter is missing on either side, independently: the same model
INSERT INTO fit SELECT 'missing', match_fit('{"pairs": 160000, "fields": [{"field": "a", "agreement": [0.74, 0.26]}, {"field": "b", "agreement": [0.68, 0.32]}, {"field": "c", "present": 0.75, "agreement": [0.62, 0.38]}],
	"blocks": [["a"], ["b"]], "patterns": {"111": 12672, "110": 6528, "101": 5328, "100": 6672, "011": 6528, "010": 12672, "11-": 6400, "10-": 4000, "01-": 6400}}');
SELECT near((model ->> 'lambda')::numeric, 0.2, 'lambda with missing ones') FROM fit WHERE name = 'missing';
SELECT all_near(of_equal(model, 'm'), '{0.9,0.8,0.7}', 'm with missing ones') FROM fit WHERE name = 'missing';

-- 14. Thresholds: five pairs of p .999, .995, .97, .60, .20
SELECT is(t.pairs, c.pairs, 'pairs from ' || t.threshold), is(t.expected_false, c.wrong, 'expected false'), is(t.expected_missed, c.missed, 'missed')
FROM (VALUES (0.99, 2::numeric, 0.006000, 1.770000), (0.5, 4, 0.436000, 0.200000), (0, 5, 1.236000, 0.000000)) c (threshold, pairs, wrong, missed),
	match_thresholds('{"lambda": 0.5, "fields": [{"field": "a", "m": [0.97, 0.995, 0.999], "u": [0.03, 0.005, 0.001]}, {"field": "b", "m": [0.2, 0.6], "u": [0.8, 0.4]}]}',
		'{"patterns": {"2-": 1, "1-": 1, "0-": 1, "-1": 1, "-0": 1}}', ARRAY[c.threshold]) t;

SELECT is(t.expected_missed, 1.77, 'missed below the link, whatever its place in the list') FROM
	match_thresholds('{"lambda": 0.5, "fields": [{"field": "a", "m": [0.97, 0.995, 0.999], "u": [0.03, 0.005, 0.001]}, {"field": "b", "m": [0.2, 0.6], "u": [0.8, 0.4]}]}',
		'{"patterns": {"2-": 1, "1-": 1, "0-": 1, "-1": 1, "-0": 1}}') t WHERE t.threshold = 0.99;
SELECT throws_ok(format('SELECT match_thresholds(%s)', c.arguments), 'LY003', c.message, c.arguments) FROM (VALUES
	($$NULL, '{"patterns": {"1": 5}}'$$, 'model must not be NULL'), ($$'{"fields": []}', '{"patterns": {}}'$$, 'invalid model'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', NULL$$, 'patterns must not be NULL'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"patterns": {"1": 5}}', NULL$$, 'thresholds must not be NULL'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"patterns": {"1": 5}}', '{0.5,NULL}'$$, 'thresholds must be from 0 to 1'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"patterns": {"1": 5}}', '{1.01}'$$, 'thresholds must be from 0 to 1'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"patterns": {"1": 5}}', '{NaN}'$$, 'thresholds must be from 0 to 1'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"1": 5}'$$, 'invalid counts of patterns'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"patterns": {"1": -5}}'$$, 'invalid counts of patterns'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"patterns": {"1": "5"}}'$$, 'invalid counts of patterns'),
	($$'{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', '{"patterns": {"11": 5}}'$$, '"11" is no pattern of this model')) c (arguments, message);

-- Tables of anybody.  7. Each pair once, in the first block that makes it; 8. a missing key makes none
CREATE TABLE person (id integer PRIMARY KEY, surname text, given text, born date, phone text, note text);
INSERT INTO person VALUES (1, 'Smith', 'Ann', '1960-02-10', '030 123456', 'x'), (2, 'smith', 'Anne', '1960-02-10', NULL, 'x'), (3, 'Jones', 'Bob', '1970-01-01', '', 'x'),
	(4, NULL, 'Bob', '1970-01-01', '+49 30 123456', 'unknown'), (5, '  ', NULL, NULL, 'n/a', 'x'), (9, 'JONES', 'bob', '1970-01-01', '', NULL), (10, NULL, NULL, NULL, NULL, NULL);
SELECT bag_eq($$SELECT * FROM match_pairs('person', '{"fields": {"surname": "name", "given": "name", "born": "date", "phone": "phone", "note": "key"}, "country": "DE",
	"blocks": [["surname"], ["phone"], ["given", "born"]]}')$$,
	-- born, given, phone, surname: jsonb has shorter names first
	$$VALUES ('1', '2', 1, '32-3'), ('3', '9', 1, '33-3'), ('1', '4', 2, '002-'), ('3', '4', 3, '33--'), ('4', '9', 3, '33--')$$, 'the union of blocks');
SELECT is(match_fields('{"fields": {"surname": "name", "given": "name", "born": "date", "phone": "phone", "note": "key"}}'), '{born,given,phone,surname}', 'the order of fields');
SELECT bag_eq($$SELECT a, b, block FROM match_pairs('person', '{"fields": {"surname": "name", "given": "name", "note": "key"}, "blocks": [["note"], ["surname"]]}')$$,
	$$VALUES ('1', '2', 1), ('1', '3', 1), ('1', '5', 1), ('2', '3', 1), ('2', '5', 1), ('3', '5', 1), ('3', '9', 2)$$, 'keys make blocks, garbage does not');
SELECT is((SELECT count(*) FROM match_pairs('person', '{"fields": {"surname": "name", "note": "key"}, "garbage": [], "blocks": [["note"], ["surname"]]}')), 7::bigint, 'without garbage one "unknown" is a value like any');
-- dates do not depend on how the session writes them, nor do ids
SET datestyle = 'German, DMY';
SELECT is((SELECT string_agg(pattern, ' ' ORDER BY a::int, b::int) FROM match_pairs('person', '{"fields": {"born": "date", "given": "name", "surname": "name"}, "blocks": [["born"]]}')), '323 33- 333 33-', 'dates in another style');
RESET datestyle;
-- keys of jsonb, texts as ids, their order by bytes
CREATE TABLE doc (key text COLLATE "C" PRIMARY KEY, body jsonb);
INSERT INTO doc VALUES ('b', '{"name": "Ann", "born": "1960-02-10"}'), ('B', '{"name": "ann", "born": 19600210}'), ('c', '{"name": null}');
SELECT results_eq($$SELECT a, b, pattern FROM match_pairs('doc', '{"in": "body", "fields": {"name": "name", "born": "date"}, "blocks": [["name"]]}')$$,
	$$VALUES ('B', 'b', '33')$$, 'fields in a document');
CREATE VIEW people AS SELECT id, surname, given, born FROM person;
SELECT is((SELECT count(*) FROM match_pairs('people', '{"id": "id", "fields": {"surname": "name", "given": "name", "born": "date"}, "blocks": [["born"]]}')), 4::bigint, 'of a view');

-- 5. u by counting, published: 20 records, 77 of 190 pairs agree on the first name (12, 5, 2, 1)
CREATE TABLE twenty AS SELECT i AS id, CASE WHEN i <= 12 THEN 'a' WHEN i <= 17 THEN 'b' WHEN i <= 19 THEN 'c' ELSE 'd' END AS first FROM generate_series(1, 20) i;
SELECT is(jsonb_path_query_first(match_patterns('twenty', '{"id": "id", "fields": {"first": "category"}, "blocks": [["first"]]}'), '$.fields[0].agreement[1]')::numeric(7, 6), 0.405263, '77 of 190');

-- what is counted of fields whose values are nearly equal: ann (2), anna (1), bob (3) in 6 records: 4 of 15 equal, 2 close, 9 others
CREATE TABLE six AS SELECT i AS id, (ARRAY['ann', 'ann', 'anna', 'bob', 'bob', 'bob'])[i] AS name, i % 2 AS odd, NULLIF(i, 1) AS number FROM generate_series(1, 6) i;
SELECT is((SELECT array_agg(round(x::numeric * 15, 6)) FROM jsonb_array_elements_text(p -> 'fields' -> 1 -> 'agreement') x), '{9,0,2,4}'::numeric[], 'agreement'),
	is(p -> 'patterns', '{"03-": 1, "030": 2, "130": 1}'::jsonb, 'patterns')
FROM match_patterns('six', '{"id": "id", "fields": {"odd": "category", "name": "name", "number": "category"}, "blocks": [["name"]]}') p;

-- frequencies of a table: of 20 records with the field, c have the value, so that its share is (c - 1) / (20 - 2 + 1 / .4); a table that needs quotes, in no search_path.
-- log2(.01/.99) + log2(.9/.4) + log2(.8/.1), less log2 of share / .4
CREATE SCHEMA "Odd ""one";
CREATE TABLE "Odd ""one"."Who's who" AS SELECT id AS "The Id", first AS "First, name", CASE WHEN id IN (1, 2, 13, 14, 18, 19) THEN 'p' END AS "select" FROM twenty;
SELECT results_eq($$SELECT a, b, weight, decision, parts #>> '{fields,"First, name",frequency}' FROM find_matches('"Odd ""one"."Who''s who"',
		'{"id": "The Id", "fields": {"First, name": "category", "select": {"kind": "category", "frequencies": false}}, "blocks": [["First, name", "select"]], "review": 0, "link": 0.4}',
		'{"lambda": 0.01, "fields": [{"field": "select", "kind": "category", "m": [0.2, 0.8], "u": [0.9, 0.1]}, {"field": "First, name", "kind": "category", "m": [0.1, 0.9], "u": [0.6, 0.4]}]}')$$,
	$$VALUES ('1', '2', -2.883240, 'review', '-0.423808'), ('13', '14', -1.423808, 'review', '1.035624'), ('18', '19', 0.576192, 'link', '3.035624')$$, 'frequencies of a table');

-- sizes, and keys that too many share
SELECT results_eq($$SELECT * FROM preview_blocks('twenty', '{"id": "id", "fields": {"first": "name"}, "largest_key": 10, "blocks": [["first"]]}')$$,
	$$VALUES ('first', 77::bigint, 3::bigint, 'a', 12::bigint, true)$$, 'a preview');
SELECT throws_ok($$SELECT preview_blocks(0, '{"id": "id", "fields": {"first": "name"}, "blocks": [["first"]]}')$$, 'LY003', 'there is no table or view with OID 0', 'no source');
SELECT throws_ok($$SELECT match_pairs('twenty', '{"id": "id", "fields": {"first": "name"}, "largest_key": 10, "blocks": [["first"]]}')$$,
	'LY841', 'block first has a key that 12 records share', 'oversized is refused');
SELECT is((SELECT count(*) FROM match_pairs('twenty', '{"id": "id", "fields": {"first": "name"}, "largest_key": 10, "oversized": "skip", "blocks": [["first"]]}')), 11::bigint, 'or left out');
SELECT is((SELECT count(*) FROM match_pairs('twenty', '{"id": "id", "fields": {"first": "name"}, "garbage": ["A"], "largest_key": 10, "blocks": [["first"]]}')), 11::bigint, 'or garbage');
SELECT throws_ok($$SELECT match_pairs('twenty', '{"id": "id", "fields": {"first": "name"}, "largest_key": 2}')$$, 'LY841', 'no block of the fields is small enough', 'nothing to choose');
-- what one block leaves out another makes
CREATE TABLE two_keys AS SELECT i AS id, 'all' AS a, i / 2 AS b FROM generate_series(1, 6) i;
SELECT bag_eq($$SELECT a, b, block FROM match_pairs('two_keys', '{"id": "id", "fields": {"a": "category", "b": "category"}, "largest_key": 5, "oversized": "skip", "blocks": [["a"], ["b"]]}')$$,
	$$VALUES ('2', '3', 2), ('4', '5', 2)$$, 'the second block makes what the first left out');

-- definitions
SELECT throws_ok(format('SELECT match_pairs(%L, %L)', 'person', c.definition), 'LY844', 'invalid definition of a match', c.definition)
FROM (VALUES ('{}'), ('[]'), ('{"fields": {}}'), ('{"fields": {"surname": "sound"}}'), ('{"fields": {"surname": {"frequencies": true}}}'), ('{"fields": {"surname": "name"}, "block": []}'),
	('{"fields": {"surname": "name"}, "blocks": []}'), ('{"fields": {"surname": "name"}, "blocks": [["given"]]}'), ('{"fields": {"surname": "name"}, "blocks": [["surname", "surname"]]}'),
	('{"fields": {"surname": "name"}, "blocks": [["surname"], ["surname"]]}'), ('{"fields": {"surname": "name", "note": "key"}, "blocks": [["note"]]}'),
	('{"fields": {"surname": "name"}, "link": 1.5}'), ('{"fields": {"surname": "name"}, "link": 0.9, "review": 0.95}'), ('{"fields": {"surname": "name"}, "largest_key": 1}'),
	('{"fields": {"surname": "name"}, "oversized": "maybe"}'), ('{"fields": {"surname": "name"}, "country": "XX"}'), ('{"fields": {"sur": "name"}}'), ('{"fields": {"surname": "name"}, "id": "nr"}'),
	('{"fields": {"surname": "name"}, "in": "surname"}'), ('{"fields": {"surname\"; DROP TABLE person; --": "name"}}')) c (definition);
SELECT throws_ok($$SELECT match_pairs('people', '{"fields": {"surname": "name"}}')$$, 'LY844', NULL, 'a view needs an id');
SELECT throws_ok($$SELECT match_pairs('person', '{"id": "surname", "fields": {"given": "name"}}')$$, 'LY003', 'a record of the source has no id', 'a NULL id');
SELECT throws_ok($$SELECT match_pairs('person', '{"id": "given", "fields": {"note": "name"}}')$$, 'LY003', NULL, 'an id twice, or none');
SELECT throws_ok($$SELECT match_pairs(NULL, '{"fields": {"given": "name"}}')$$, 'LY003', 'source must not be NULL', 'no source');
-- nobody, one, two
CREATE TABLE nobody (LIKE person INCLUDING ALL);
SELECT is(match_patterns('nobody', '{"fields": {"surname": "name", "given": "name", "born": "date"}}') -> 'patterns', '{}', 'nobody');
SELECT is_empty($$SELECT find_matches('nobody', '{"fields": {"surname": "name", "given": "name", "born": "date"}}')$$, 'nobody is nobody');
SELECT is((SELECT r.remark FROM match_report(match_fit(match_patterns('nobody', '{"fields": {"surname": "name", "given": "name", "born": "date"}}'))) r WHERE r.item = 'verdict'), 'unsafe', 'and a model of nobody is unsafe');
SELECT is_empty($$SELECT find_matches('nobody', '{"fields": {"surname": "name", "given": "name"}}', '{"lambda": 0.01, "fields": [{"field": "given", "kind": "name", "m": [0.1, 0.1, 0.1, 0.7], "u": [0.9, 0.05, 0.04, 0.01]},
	{"field": "surname", "kind": "name", "m": [0.1, 0.1, 0.1, 0.7], "u": [0.9, 0.05, 0.04, 0.01]}]}')$$, 'with a model there is nobody');
SELECT throws_ok($$SELECT find_matches('person', '{"fields": {"surname": "name", "given": "name"}}', '{"lambda": 0.01, "fields": [{"field": "given", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}')$$,
	'LY003', 'the model is not of the fields of the definition', 'a model of other fields');
-- the caller reads the source with his own rights
CREATE ROLE match_stranger;
GRANT USAGE ON SCHEMA loyalty, public TO match_stranger;
SET ROLE match_stranger;
SELECT throws_ok($$SELECT match_pairs('person', '{"fields": {"surname": "name"}}')$$, '42501', NULL, 'a stranger does not read it');
RESET ROLE;

-- 13. Clusters: A-B 12 bits, B-C 9
SELECT results_eq(format('SELECT node, cluster, weakest_a, weakest_b, weight, between_a, between_b FROM cluster_pairs(%s) ORDER BY node, weakest_a', c.arguments), c.rows, c.arguments)
FROM (VALUES ($$'{1,2}', '{2,3}', '{12,9}'$$,
		$$VALUES (1::bigint, 1::bigint, 2::bigint, 3::bigint, 9::numeric, NULL::bigint, NULL::bigint), (2, 1, 2, 3, 9, NULL, NULL), (3, 1, 2, 3, 9, NULL, NULL)$$),
	-- A-C refused: B-C would join them
	($$'{1,2}', '{2,3}', '{12,9}', NULL, '{3}', '{1}'$$,
		$$VALUES (1::bigint, 1::bigint, 1::bigint, 2::bigint, 12::numeric, NULL::bigint, NULL::bigint), (2, 1, 1, 2, 12, NULL, NULL), (3, 3, NULL, NULL, NULL, NULL, NULL), (NULL, NULL, 2, 3, 9, 1, 3)$$),
	-- B-C accepted by a person, A-B only weighed
	($$'{1,2}', '{2,3}', '{12,9}', '{f,t}', '{1}', '{3}'$$,
		$$VALUES (1::bigint, 1::bigint, NULL::bigint, NULL::bigint, NULL::numeric, NULL::bigint, NULL::bigint), (2, 2, 2, 3, 9, NULL, NULL), (3, 2, 2, 3, 9, NULL, NULL), (NULL, NULL, 1, 2, 12, 1, 3)$$),
	-- equal weights by ids, whatever the order given; the other way round, too
	($$'{3,1,2}', '{2,2,1}', '{5,5,5}'$$,
		$$VALUES (1::bigint, 1::bigint, 2::bigint, 3::bigint, 5::numeric, NULL::bigint, NULL::bigint), (2, 1, 2, 3, 5, NULL, NULL), (3, 1, 2, 3, 5, NULL, NULL)$$),
	-- a refusal counts for all who are one by then
	($$'{1,3,2}', '{2,4,3}', '{9,8,7}', NULL, '{1}', '{4}'$$,
		$$VALUES (1::bigint, 1::bigint, 1::bigint, 2::bigint, 9::numeric, NULL::bigint, NULL::bigint), (2, 1, 1, 2, 9, NULL, NULL), (3, 3, 3, 4, 8, NULL, NULL), (4, 3, 3, 4, 8, NULL, NULL), (NULL, NULL, 2, 3, 7, 1, 4)$$),
	-- refusals of strangers, and of oneself, are in nobody's way
	($$'{1}', '{2}', '{1}', NULL, '{1,7,1}', '{9,8,1}'$$,
		$$VALUES (1::bigint, 1::bigint, 1::bigint, 2::bigint, 1::numeric, NULL::bigint, NULL::bigint), (2, 1, 1, 2, 1, NULL, NULL)$$)) c (arguments, rows);
SELECT is_empty($$SELECT * FROM cluster_pairs('{}', '{}', '{}')$$, 'no pairs'), is_empty($$SELECT * FROM cluster_pairs(NULL, NULL, NULL)$$, 'nothing at all');
SELECT throws_ok(format('SELECT cluster_pairs(%s)', c.arguments), 'LY003', NULL, c.arguments)
FROM (VALUES ($$'{1}', '{}', '{1}'$$), ($$'{1}', '{2}', '{}'$$), ($$'{1}', '{2}', '{NULL}'$$), ($$'{NULL}', '{2}', '{1}'$$), ($$'{1}', '{2}', '{1}', '{t,t}'$$),
	($$'{1}', '{2}', '{1}', NULL, '{1}', '{}'$$), ($$'{{1,2}}', '{2}', '{1}'$$)) c (arguments);

-- 9. Persons with typing errors (Febrl): nine fields, nothing but their kinds is said of them
\set there `test -r "${LOYALTY_DATA:-../shared/data}/febrl/dataset2.csv" && echo true || echo false`
CREATE TABLE record (rec_id text PRIMARY KEY, given_name text, surname text, street_number text, address_1 text, address_2 text,
	suburb text, postcode text, state text, date_of_birth text, soc_sec_id text);
CREATE TABLE definition AS SELECT '{"fields": {"given_name": "name", "surname": "name", "street_number": "code", "address_1": "address", "address_2": "address",
	"suburb": "address", "postcode": "code", "state": "category", "date_of_birth": "date"}}'::jsonb AS d;
CREATE TABLE found (a text, b text, weight numeric, probability numeric, decision text, block integer, pattern text, parts jsonb);
CREATE FUNCTION scores(threshold numeric, OUT "precision" numeric, OUT recall numeric, OUT f1 numeric) LANGUAGE sql AS $$
	SELECT round(right_ / found, 4), round(right_ / truth, 4), round(2 * right_ / (found + truth), 4)
	FROM (SELECT count(*)::numeric AS found, count(*) FILTER (WHERE split_part(a, '-', 2) = split_part(b, '-', 2)) AS right_ FROM found WHERE probability >= threshold) f,
		(SELECT sum(n * (n - 1) / 2) AS truth FROM (SELECT count(*) AS n FROM record GROUP BY split_part(rec_id, '-', 2)) x) t
$$;
\if :there
\copy record FROM PROGRAM 'cat "${LOYALTY_DATA:-../shared/data}/febrl/dataset1.csv"' WITH (FORMAT csv, HEADER)
INSERT INTO found SELECT f.* FROM definition, find_matches('record', d) f;
SELECT cmp_ok(f1, '>=', 0.98, format('dataset1 at .99: precision %s, recall %s, F1 %s', precision, recall, f1)) FROM scores(0.99);
SELECT cmp_ok(f1, '>=', 0.98, format('dataset1 at .5: precision %s, recall %s, F1 %s', precision, recall, f1)) FROM scores(0.5);
TRUNCATE record, found;
\copy record FROM PROGRAM 'cat "${LOYALTY_DATA:-../shared/data}/febrl/dataset2.csv"' WITH (FORMAT csv, HEADER)
INSERT INTO found SELECT f.* FROM definition, find_matches('record', d) f;
SELECT cmp_ok(f1, '>=', 0.98, format('dataset2 at .99: precision %s, recall %s, F1 %s', precision, recall, f1)) FROM scores(0.99);
SELECT cmp_ok(f1, '>=', 0.98, format('dataset2 at .5: precision %s, recall %s, F1 %s', precision, recall, f1)) FROM scores(0.5);
TRUNCATE record, found;
\endif
-- and made by a generator of their kind, 10,000 of them, half of them duplicates
\copy record (rec_id, given_name, surname, street_number, address_1, address_2, suburb, postcode, state, date_of_birth) FROM PROGRAM 'perl test/people.pl 10000 5000 11' WITH (FORMAT csv, HEADER)
INSERT INTO found SELECT f.* FROM definition, find_matches('record', d) f;
SELECT cmp_ok(f1, '>=', 0.997, format('10,000 records at .99: precision %s, recall %s, F1 %s', precision, recall, f1)) FROM scores(0.99);
SELECT cmp_ok(f1, '>=', 0.997, format('10,000 records at .5: precision %s, recall %s, F1 %s', precision, recall, f1)) FROM scores(0.5);

-- 10. The same bytes, whatever the order of rows and whoever reads
CREATE TABLE counted AS SELECT match_patterns('record', d) AS patterns FROM definition;
CREATE TABLE fitted AS SELECT match_fit(patterns) AS model FROM counted;
CREATE TABLE shuffled AS SELECT * FROM record ORDER BY md5(rec_id);
ALTER TABLE shuffled ADD PRIMARY KEY (rec_id);
SELECT is(match_patterns('shuffled', d), patterns, 'the same counts of shuffled rows') FROM definition, counted;
SELECT is(match_fit(match_patterns('shuffled', d)), model, 'and the same model') FROM definition, fitted;
SELECT bag_eq('SELECT f.* FROM definition, find_matches($$shuffled$$, d) f', 'TABLE found', 'and the same matches');
-- and where a plan may have several workers
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SELECT is(array_agg(DISTINCT md5(match_fit(p)::text)), ARRAY[(SELECT md5(model::text) FROM fitted)], 'with no, two and four workers')
FROM definition, unnest('{0,2,4}'::integer[]) n, LATERAL set_config('max_parallel_workers_per_gather', n::text, false) s, LATERAL match_patterns(CASE WHEN s = '2' THEN 'record' ELSE 'shuffled' END::regclass, d) p;
SELECT bag_eq('SELECT f.* FROM definition, find_matches($$shuffled$$, d) f', 'TABLE found', 'the same matches with four workers');
RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
-- a model that is kept finds the same, also for some
SELECT bag_eq('SELECT f.* FROM definition, fitted, find_matches($$record$$, d, model) f', 'TABLE found', 'a model that was kept');
SELECT bag_eq($$SELECT f.* FROM definition, fitted, find_matches('record', d, model, ARRAY(SELECT rec_id FROM record WHERE rec_id ~ '7-dup-1$')) f$$,
	$$SELECT * FROM found WHERE a ~ '7-dup-1$' OR b ~ '7-dup-1$'$$, 'pairs with some of them only');
SELECT is_empty($$SELECT f.* FROM definition, fitted, find_matches('record', d, model, '{}') f$$, 'pairs with nobody');
-- weights are those of the pattern, and frequencies
SELECT is_empty($$SELECT f.* FROM found f, fitted WHERE f.weight <> (match_weight(model, f.pattern)).weight
	+ coalesce((SELECT sum((e.value ->> 'frequency')::numeric) FROM jsonb_each(f.parts -> 'fields') e), 0)$$, 'weights are the sum of their parts');
SELECT is((model ->> 'pairs_in_blocks')::numeric, (SELECT sum(x.value::numeric) FROM jsonb_each_text(patterns -> 'patterns') x), 'patterns are the pairs of the blocks') FROM counted, fitted;

SELECT * FROM finish();
