-- Room trial: assignment and comparison.  Expected figures are published ones,
-- or worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

-- ---- assignment ----

-- the vectors that GrowthBook publishes for its hash version 2
SELECT is(loyalty.growthbook_position(seed, unit), position, format('GrowthBook (%s, %s)', seed, unit))
FROM (VALUES ('seed', 'a', 505), ('seed', 'b', 2696), ('foo', 'ab', 2575), ('foo', 'def', 2019)) v (seed, unit, position);
SELECT is(loyalty.arm_of(experiment, member, shares::numeric[], hash), arm, format('arm of %s in %s %s %s', member, experiment, shares, hash))
FROM (VALUES
	-- positions 5270, 7525, 8976, 4514, 7686, 8718, by SHA-256 of another program
	('spring-2026', 1, '{0.5270,0.4730}', 'sha256', 1), ('spring-2026', 1, '{0.5271,0.4729}', 'sha256', 0),
	('spring-2026', 2, '{0.7525,0.2475}', 'sha256', 1), ('spring-2026', 2, '{0.7526,0.2474}', 'sha256', 0),
	('spring-2026', 3, '{0.8976,0.1024}', 'sha256', 1), ('spring-2026', 3, '{0.8977,0.1023}', 'sha256', 0),
	('spring-2026', 42, '{0.4514,0.5486}', 'sha256', 1), ('spring-2026', 42, '{0.4515,0.5485}', 'sha256', 0),
	('spring-2026', 43, '{0.7686,0.2314}', 'sha256', 1), ('spring-2026', 43, '{0.7687,0.2313}', 'sha256', 0),
	('spring-2026', 1000000, '{0.8718,0.1282}', 'sha256', 1), ('spring-2026', 1000000, '{0.8719,0.1281}', 'sha256', 0),
	('spring-2026', 1, '{0.1,0.9}', 'sha256', 1),
	-- [0, .2), [.2, .5), [.5, 1)
	('spring-2026', 1, '{0.2,0.3,0.5}', 'sha256', 2), ('spring-2026', 42, '{0.2,0.3,0.5}', 'sha256', 1)) v (experiment, member, shares, hash, arm);
SELECT is((SELECT count(*) FROM generate_series(1, 100000) i WHERE loyalty.arm_of('spring-2026', i) = 0), 9963::bigint, 'a tenth of a hundred thousand');
SELECT is((SELECT count(*) FROM generate_series(1, 3000) i WHERE loyalty.arm_of('x', i, '{0.5,0.5}', 'growthbook_2')
	<> (loyalty.growthbook_position('x', i::text) >= 5000)::integer), 0::bigint, 'GrowthBook hashes the decimal digits');
SELECT is((SELECT count(*) FROM generate_series(1, 1000) i WHERE loyalty.arm_of('spring-2026', i, '{0.1,0.9}', 'sha256')
	<> (('x' || encode(substr(sha256('\x010000000b'::bytea || convert_to('spring-2026', 'UTF8') || int8send(i)), 1, 8), 'hex'))::bit(64)::bigint::numeric
		+ CASE WHEN get_byte(sha256('\x010000000b'::bytea || convert_to('spring-2026', 'UTF8') || int8send(i)), 0) > 127 THEN 18446744073709551616 ELSE 0 END
		>= 0)::integer * ((('x' || encode(substr(sha256('\x010000000b'::bytea || convert_to('spring-2026', 'UTF8') || int8send(i)), 1, 8), 'hex'))::bit(64)::bigint::numeric
		+ CASE WHEN get_byte(sha256('\x010000000b'::bytea || convert_to('spring-2026', 'UTF8') || int8send(i)), 0) > 127 THEN 18446744073709551616 ELSE 0 END) % 10000 >= 1000)::integer),
	0::bigint, 'as in SQL, without a sign');
SELECT is(array_agg(loyalty.arm_of(e, m, s::numeric[]) ORDER BY o), '{1,0,1,0}', 'arguments may change from row to row')
FROM (VALUES (1, 'spring-2026', 1, '{0.5270,0.4730}'), (2, 'spring-2026', 1, '{0.5271,0.4729}'), (3, 'spring-2026', 2, '{0.7525,0.2475}'), (4, 'spring-2026', 42, '{0.5,0.5}')) v (o, e, m, s);
SELECT is(loyalty.arm_of('x', NULL), NULL, 'nobody');
SELECT throws_ok(format('SELECT loyalty.arm_of(%L, 1, %L)', 'x', shares), 'LY802', format('shares %s cannot be those of arms', shares), why)
FROM (VALUES ('{0.1,0.8}', 'less than 1'), ('{0.5,0.6}', 'more than 1'), ('{1}', 'one arm'), ('{}', 'no arm'), ('{0.00005,0.99995}', 'too fine'),
	('{0,1}', 'an arm of nobody'), ('{-0.5,1.5}', 'less than nobody'), ('{NULL,1}', 'unknown'), ('{NaN,1}', 'no number'), ('{{0.5,0.5}}', 'two dimensions')) v (shares, why);
SELECT throws_ok($$SELECT loyalty.arm_of('x', 1, '{0.5,0.5}', 'md5')$$, 'LY003', 'unknown hash "md5"', 'another hash');

-- ---- comparison ----

CREATE FUNCTION shares(treated bigint, of_treated bigint, control bigint, of_control bigint) RETURNS loyalty.uplift LANGUAGE sql AS $$
	SELECT loyalty.uplift_agg(arm, i <= hits) FROM (VALUES (1, treated, of_treated), (0, control, of_control)) v (arm, hits, n), generate_series(1, n) i
$$;
-- Newcombe 1998, table II, method 10; the test by hand
SELECT is((SELECT array[round(r.difference::numeric, 4), round(r.low::numeric, 4), round(r.high::numeric, 4)] FROM loyalty.uplift_report(shares(a, b, c, d)) r WHERE r.arm = 1),
	array[difference, low, high], format('Newcombe %s/%s - %s/%s', a, b, c, d))
FROM (VALUES (56, 70, 48, 80, .2000, .0524, .3339), (9, 10, 3, 10, .6000, .1705, .8090), (5, 56, 0, 29, .0893, -.0381, .1926), (0, 10, 0, 20, .0000, -.1611, .2775),
	(0, 1000, 0, 1000, .0000, -.0038, .0038)) v (a, b, c, d, difference, low, high);
SELECT is((SELECT round(r.p_value::numeric, 6) FROM loyalty.uplift_report(shares(56, 70, 48, 80)) r WHERE r.arm = 1), .008045, 'z 2.650172');
SELECT is((SELECT r.p_value FROM loyalty.uplift_report(shares(0, 1000, 0, 1000)) r WHERE r.arm = 1), NULL, 'nobody converted: nothing to test');
SELECT results_eq($$SELECT r.members, round(r.mean::numeric, 2), round(r.difference::numeric, 6), round(r.low::numeric, 6), round(r.high::numeric, 6), round(r.p_value::numeric, 6),
		round(r.relative::numeric, 6), round(r.relative_low::numeric, 6), round(r.relative_high::numeric, 6), r.method FROM loyalty.uplift_report(shares(1170, 9000, 100, 1000)) r$$,
	$$VALUES (1000::bigint, .10, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'newcombe'), (9000, .13, .03, .008735, .048509, .006873, .3, .071326, .577485, 'newcombe')$$,
	'a campaign: 13 % instead of 10 %');
SELECT is(s, ROW(25::double precision, s.p_value, true)::record, 'sample ratio: 150 too many')
FROM loyalty.sample_ratio(shares(0, 9150, 0, 850), '{0.1,0.9}') s;
SELECT is((SELECT round(s.p_value::numeric, 9) FROM loyalty.sample_ratio(shares(0, 9150, 0, 850), '{0.1,0.9}') s), .000000573, 'and how often that happens');
SELECT is((SELECT s.broken FROM loyalty.sample_ratio(shares(0, 9000, 0, 1000), '{0.1,0.9}') s), false, 'as it should be');
SELECT is((SELECT s.chi_square FROM loyalty.sample_ratio(shares(0, 0, 0, 10), '{0.5,0.25,0.25}') s), 10::double precision, 'arms of nobody: 5 too many of 5, 2.5 missing of 2.5 twice');
SELECT is((SELECT round(s.p_value::numeric, 6) FROM loyalty.sample_ratio(shares(0, 0, 0, 10), '{0.5,0.25,0.25}') s), .006738, 'with two degrees of freedom: exp(-5)');
SELECT throws_ok($$SELECT loyalty.sample_ratio(loyalty.uplift_agg(2, true), '{0.5,0.5}')$$, 'LY802', 'there are 3 arms and 2 shares', 'more arms than shares');

CREATE TABLE spent (arm integer, amount numeric, before numeric);
INSERT INTO spent VALUES (1, 13, 10), (1, 22, 20), (1, 34, 30), (1, 43, 40), (0, 12, 12), (0, 19, 18), (0, 32, 33), (0, 37, 37);
SELECT results_eq($$SELECT r.members, r.mean, round(r.variance::numeric, 3), r.difference, round(r.low::numeric, 4), round(r.high::numeric, 4), round(r.p_value::numeric, 6), r.method
		FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(arm, amount) FROM spent)) r$$,
	$$VALUES (4::bigint, 25::double precision, 132.667, NULL::double precision, NULL::numeric, NULL::numeric, NULL::numeric, 'welch'), (4, 28, 174.000, 3, -18.5197, 24.5197, .743771, 'welch')$$,
	'Welch: t .342624 with 5.89295 degrees of freedom');
SELECT results_eq($$SELECT r.mean, round(r.variance::numeric, 6), r.difference, round(r.low::numeric, 5), round(r.high::numeric, 5), round(r.p_value::numeric, 6), r.method
		FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_cuped(arm, amount, before) FROM spent)) r$$,
	$$VALUES (25::double precision, .616811, NULL::double precision, NULL::numeric, NULL::numeric, NULL::numeric, 'cuped'), (28, .707523, 3, 1.59045, 4.40955, .002017, 'cuped')$$,
	'CUPED: theta 921/926, variances 246 and 215 times smaller');
-- Student's table has .7267 for 5 degrees of freedom and .7176 for 6: between, .7184
SELECT is((SELECT array[round(r.low::numeric, 2), round(r.high::numeric, 2)] FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(arm, amount) FROM spent), 0.5) r WHERE r.arm = 1),
	'{-3.29,9.29}', 'half of the time: 3 and .7184 times 8.75595');
SELECT is((SELECT count(r.low) + count(r.p_value) FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(a, 5) FROM unnest('{0,0,1,1}'::int[]) a)) r), 0::bigint, 'nobody differs: nothing to tell');
SELECT is((SELECT array_agg(r.difference ORDER BY r.arm) FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(a, 5) FROM unnest('{1,3}'::int[]) a)) r),
	'{NULL,NULL,NULL,NULL}', 'no control');
SELECT is((SELECT array_agg(r.members ORDER BY r.arm) FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(a, 5) FROM unnest('{1,3}'::int[]) a)) r), '{0,1,0,1}', 'an arm of nobody has a row');
SELECT is((SELECT array_agg(r.mean ORDER BY r.arm) FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(a, x) FROM (VALUES (0, 4), (0, NULL), (1, NULL), (NULL, 9)) v (a, x))) r), '{2,0}', 'nothing is 0; no arm is left out');
SELECT is((SELECT array_agg(r.mean ORDER BY r.arm) FROM loyalty.uplift_report((SELECT loyalty.uplift_agg(a, x) FROM (VALUES (0, true), (0, NULL), (1, false), (NULL, true)) v (a, x))) r), '{0.5,0}', 'unknown is not converted');
SELECT is((SELECT array_agg(r.relative ORDER BY r.arm) FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(a, x) FROM (VALUES (0, 0), (0, 0), (1, 5), (1, 6)) v (a, x))) r), '{NULL,NULL}', 'of nothing nothing is a multiple');
SELECT is((SELECT loyalty.uplift_agg(NULL, true))::text, NULL, 'no arm at all');
SELECT throws_ok('SELECT loyalty.uplift_agg(-1, true)', 'LY003', 'arm must be from 0 to 63, not -1', 'arm -1');
SELECT throws_ok('SELECT loyalty.uplift_agg(64, true)', 'LY003', 'arm must be from 0 to 63, not 64', 'arm 64');
SELECT throws_ok($$SELECT loyalty.uplift_agg_amount(0, 'NaN')$$, 'LY301', 'amount NaN cannot be summed exactly', 'no number');
SELECT throws_ok($$SELECT loyalty.uplift_report(loyalty.uplift_agg(0, true), 1)$$, 'LY003', 'level must be between 0 and 1', 'certainty');
SELECT throws_ok($$SELECT loyalty.uplift_report(loyalty.uplift_agg(0, true), 'NaN')$$, 'LY003', 'level must be between 0 and 1', 'no level');
-- at the tails, by the tables of the distributions
SELECT is((SELECT round(((r.high - r.difference) / sqrt(r.variance / 2 + v.variance / 2))::numeric, 3)
	FROM loyalty.uplift_report(u.u, level) r, loyalty.uplift_report(u.u) v WHERE r.arm = 1 AND v.arm = 0), t, format('Student %s with 2 degrees of freedom', level))
FROM (SELECT loyalty.uplift_agg_amount(a, x) AS u FROM (VALUES (0, 1), (0, 3), (1, 2), (1, 4)) y (a, x)) u, (VALUES (.5, .816), (.9, 2.920), (.95, 4.303), (.99, 9.925), (.999, 31.599)) w (level, t);

-- ---- exactness ----

SELECT is((SELECT r.variance FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(0, x) FROM (VALUES (1e15 + 0.01), (1e15 + 0.03)) v (x))) r), 0.0002::double precision, 'large amounts that differ by cents');
SELECT setseed(0.25) \g /dev/null
CREATE TABLE many AS SELECT i % 3 AS arm, round((random() * 10 ^ (i % 7))::numeric, i % 6) * CASE i % 5 WHEN 0 THEN -1 ELSE 1 END AS amount, CASE WHEN i % 4 > 0 THEN round((random() * 100)::numeric, i % 9) END AS before
FROM generate_series(1, 3000) i;
SELECT is((SELECT loyalty.uplift_agg_cuped(arm, amount, before ORDER BY amount) FROM many)::text, (SELECT loyalty.uplift_agg_cuped(arm, amount, before ORDER BY before DESC) FROM many)::text, 'the same bits in any order');
SELECT is((SELECT loyalty.uplift_rollup(u) FROM (SELECT loyalty.uplift_agg_cuped(arm, amount, before) AS u FROM many GROUP BY floor(amount)) x)::text, (SELECT loyalty.uplift_agg_cuped(arm, amount, before) FROM many)::text, 'and of parts');
SELECT is((SELECT count(*) FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(arm, amount) FROM many)) r
	JOIN (SELECT arm, count(*) AS n, avg(amount) AS mean, var_samp(amount) AS variance FROM many GROUP BY arm) m USING (arm)
	WHERE m.n = r.members AND abs(r.mean - m.mean) <= 1e-12 * abs(m.mean) AND abs(r.variance - m.variance) <= 1e-12 * m.variance), 3::bigint, 'mean and variance as SQL has them');
-- its sums are of floating-point numbers, and the divisor here is a difference of means
SELECT ok(abs((SELECT s.sxy / s.sxx FROM (SELECT sum(sxy) AS sxy, sum(sxx) AS sxx FROM (SELECT regr_sxy(amount, coalesce(before, 0)) AS sxy, regr_sxx(amount, coalesce(before, 0)) AS sxx FROM many GROUP BY arm) x) s) /
	(SELECT (r.mean - c.mean) / (g.grand - c.before)
		FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_cuped(arm, amount, before) FROM many)) r
		JOIN (SELECT arm, avg(amount)::float8 AS mean, avg(coalesce(before, 0))::float8 AS before FROM many GROUP BY arm) c USING (arm), (SELECT avg(coalesce(before, 0))::float8 AS grand FROM many) g WHERE r.arm = 1) - 1) < 1e-6,
	'theta as regr_sxy() has it');
SELECT ok(u::text::loyalty.uplift OPERATOR(loyalty.=) u, 'text and back') FROM (SELECT loyalty.uplift_agg_cuped(arm, amount, before) AS u FROM many UNION ALL SELECT loyalty.uplift_agg(1, true) UNION ALL SELECT loyalty.uplift_agg_amount(2, -1e30)) x;
SELECT is(u::text, '{"v":1,"kind":"amount","decimals":0,"before_decimals":0,"arms":[[2,0,0,50,0,0]]}', 'amounts that make nothing together') FROM (SELECT (loyalty.uplift_agg_amount(0, a)::text)::loyalty.uplift AS u FROM (VALUES (5), (-5)) v (a)) x;
SELECT is((SELECT u::text FROM (SELECT loyalty.uplift_agg_amount(arm, amount) AS u FROM spent) x),
	'{"v":1,"kind":"amount","decimals":0,"before_decimals":0,"arms":[[4,100,0,2898,0,0],[4,112,0,3658,0,0]]}', 'what it looks like');
SELECT throws_ok(format('SELECT %L::loyalty.uplift', value), '22P02', NULL, why)
FROM (VALUES ('', 'nothing'), ('{"v":2}', 'another version'), ('{"v":1,"kind":"share","decimals":0,"before_decimals":0,"arms":[[1,2,0,0,0,0]]}', 'more hits than members'),
	('{"v":1,"kind":"amount","decimals":0,"before_decimals":0,"arms":[[2,10,0,1,0,0]]}', 'squares that do not fit'),
	('{"v":1,"kind":"amount","decimals":0,"before_decimals":0,"arms":[[0,0,0,0,0,0]]}', 'nobody'),
	('{"v":1,"kind":"amount","decimals":0,"before_decimals":0,"arms":[[1,1,0,1,0,0],[0,0,0,1,0,0]]}', 'squares of nobody'),
	-- 2^255, 2^256
	('{"v":1,"kind":"amount","decimals":0,"before_decimals":0,"arms":[[1,1,0,57896044618658097711785492504343953926634992332820282019728792003956564819968,0,0]]}', 'squares beyond what can be held'),
	('{"v":1,"kind":"amount","decimals":0,"before_decimals":0,"arms":[[1,1,0,115792089237316195423570985008687907853269984665640564039457584007913129639936,0,0]]}', 'far beyond'),
	('{"v":1,"kind":"share","decimals":0,"before_decimals":0,"arms":[[99999999999999999999,0,0,0,0,0]]}', 'too many'),
	('{"v":1,"kind":"share","decimals":0,"before_decimals":0,"arms":[[1,1,0,0,0,0]]} ', 'something behind'),
	('{"v":1,"kind":"share","decimals":0,"before_decimals":0,"arms":[]}', 'no arm')) v (value, why);
SELECT throws_ok($$SELECT loyalty.uplift_rollup(u) FROM (VALUES ((SELECT loyalty.uplift_agg(0, true))), ((SELECT loyalty.uplift_agg_amount(0, 1)))) v (u)$$, 'LY003',
	'values of type uplift are of different kinds', 'shares and amounts');
SELECT is((SELECT count(*) FROM (SELECT u FROM (SELECT loyalty.uplift_agg(0, true) AS u UNION ALL SELECT loyalty.uplift_agg(0, true) UNION ALL SELECT loyalty.uplift_agg(0, false)) x GROUP BY u) y), 2::bigint, 'equal and not');
SELECT * FROM finish();
