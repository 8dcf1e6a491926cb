-- Room benefit, primitives: codes, spreads, and what coupons take off a basket.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();

-- codes
SELECT is(loyalty.normalize_code(' 7kq4-Xh2m  9tpa'), '7KQ4XH2M9TPA', 'case, blanks and dashes do not matter');
SELECT is(loyalty.normalize_code('sommer–10'), 'SOMMER–10', 'all else does');
CREATE TABLE made AS SELECT loyalty.make_code() AS code FROM generate_series(1, 2000);
SELECT is((SELECT count(DISTINCT code) FROM made), 2000::bigint, 'codes are random');
SELECT is_empty($$SELECT code FROM made WHERE code !~ '^([2-9A-HJKMNP-Z]{4}-){2}[2-9A-HJKMNP-Z]{4}$'$$, 'three groups of characters that nobody mistakes for each other');
-- each of the 31 characters, at each place but that of the check, is as likely
SELECT ok((SELECT count(*) = 31 AND max(n) < 2 * min(n) FROM (SELECT substr(translate(code, '-', ''), i, 1) AS c, count(*) AS n
	FROM made, generate_series(1, 11) i GROUP BY 1) x), 'all characters are used alike');

-- spreads: the total, weights, shares
SELECT is(loyalty.spread_amount(c.total, c.weights, c.decimals), c.shares, format('%s over %s', c.total, c.weights))
FROM (VALUES
	(5, '{7,3}'::numeric[], 0, '{4,1}'::numeric[]),
	(100, '{1,1,1}', 0, '{34,33,33}'),
	(317, '{120.50,80.00,116.50}', 0, '{121,80,116}'),
	(20, '{80,40}', 2, '{13.33,6.67}'),
	(1, '{6,4}', 2, '{0.60,0.40}'),
	(6, '{120.50,80,116.50}', 2, '{2.28,1.51,2.21}'),
	(0, '{1,2}', 2, '{0.00,0.00}'),
	(10, '{0,NULL,1}', 2, '{0.00,0.00,10.00}')) c (total, weights, decimals, shares);
SELECT is_empty($$SELECT w, t FROM (SELECT array_agg((hashint4(10 * i + j) & 65535)::numeric / 100) AS w, (hashint4(-i) & 1048575)::numeric / 100 AS t
		FROM generate_series(1, 500) i, generate_series(1, 7) j GROUP BY i) x
	WHERE (SELECT sum(s) FROM unnest(loyalty.spread_amount(t, w)) s) <> t
		-- nobody is more than a unit from its part, and who weighs more has no less
		OR EXISTS (SELECT FROM unnest(loyalty.spread_amount(t, w), w) p (s, v) WHERE abs(p.s - t * p.v / (SELECT sum(y) FROM unnest(w) y)) >= 0.01)
		OR EXISTS (SELECT FROM unnest(loyalty.spread_amount(t, w), w) p (s, v), unnest(loyalty.spread_amount(t, w), w) q (s, v) WHERE p.v > q.v AND p.s < q.s)$$,
	'random ones add up exactly');
SELECT throws_ok($$SELECT loyalty.spread_amount(1, '{0,0}')$$, 'LY003', NULL, 'over nothing');
SELECT throws_ok($$SELECT loyalty.spread_amount(1, '{1,-1}')$$, 'LY003', NULL, 'a negative weight');
SELECT throws_ok($$SELECT loyalty.spread_amount(0.001, '{1}')$$, 'LY003', NULL, 'finer than the money');

-- baskets: lines as (sku, quantity, amount), definitions without their kind, shipping; what comes off, by coupon and line
CREATE FUNCTION lines(VARIADIC amounts numeric[]) RETURNS jsonb LANGUAGE sql AS
$$SELECT jsonb_agg(jsonb_build_object('sku', 's' || o, 'quantity', 1, 'amount', a) ORDER BY o) FROM unnest(amounts) WITH ORDINALITY u (a, o)$$;
CREATE FUNCTION off(lines jsonb, definitions jsonb, shipping numeric DEFAULT 0, choose boolean DEFAULT true) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(CASE WHEN p.line IS NULL THEN format('%s %s', p.coupon, p.why) ELSE format('%s.%s %s', p.coupon, p.line, p.discount) END, ', ' ORDER BY p.coupon, p.line)
FROM loyalty.price_basket(lines, (SELECT jsonb_agg('{"kind": "coupon"}' || d ORDER BY o) FROM jsonb_array_elements(definitions) WITH ORDINALITY u (d, o)), shipping, choose => choose) p$$;

SELECT is(off(c.lines, c.definitions, c.shipping, c.choose), c.expected, c.what) FROM (VALUES
	-- refunds: three times 100.00 less 10 percent; 6 and 4 less 1
	('10 percent over three lines', lines(100, 100, 100), '[{"discount": {"percent": 10}}]'::jsonb, 0, true, '1.1 10.00, 1.2 10.00, 1.3 10.00'),
	('1 off 6 and 4', lines(6, 4), '[{"discount": {"amount": 1}}]', 0, true, '1.1 0.60, 1.2 0.40'),
	-- over 100 less 20
	('20 off 80 and 40', lines(80, 40), '[{"discount": {"amount": 20}, "minimum": 100}]', 0, true, '1.1 13.33, 1.2 6.67'),
	('not of 80', lines(80), '[{"discount": {"amount": 20}, "minimum": 100}]', 0, true, '1 minimum'),
	-- together, as published
	('20 off the first, then 10 percent of what is left', lines(100, 50, 200),
		'[{"discount": {"amount": 20}, "class": "lines", "lines": {"sku": ["s1"]}, "exclusive": null}, {"discount": {"percent": 10}}]', 0, true,
		'1.1 20.00, 2.1 8.00, 2.2 5.00, 2.3 20.00'),
	('10 and 15 percent of the order see the same prices', lines(350), '[{"discount": {"percent": 10}, "exclusive": null}, {"discount": {"percent": 15}, "exclusive": null}]', 0, true, '1.1 35.00, 2.1 52.50'),
	('in either order', lines(350), '[{"discount": {"percent": 15}, "exclusive": null}, {"discount": {"percent": 10}, "exclusive": null}]', 0, true, '1.1 52.50, 2.1 35.00'),
	('the minimum reads what was there before coupons', lines(110), '[{"discount": {"amount": 15}, "class": "lines", "exclusive": null}, {"discount": {"amount": 20}, "minimum": 100}]', 0, true, '1.1 15.00, 2.1 20.00'),
	('or, if it says so, after them', lines(110), '[{"discount": {"amount": 15}, "class": "lines", "exclusive": null}, {"discount": {"amount": 20}, "minimum": 100, "minimum_after": true}]', 0, true, '1.1 15.00, 2 minimum'),
	-- cap and every
	('20 percent, at most 30', lines(120, 80), '[{"discount": {"percent": 20, "at_most": 30}}]', 0, true, '1.1 18.00, 1.2 12.00'),
	('every 100 less 20', lines(250), '[{"discount": {"amount": 20, "every": 100}}]', 0, true, '1.1 40.00'),
	('of 190', lines(190), '[{"discount": {"amount": 20, "every": 100}}]', 0, true, '1.1 20.00'),
	('of 99.99', lines(99.99), '[{"discount": {"amount": 20, "every": 100}}]', 0, true, '1 minimum'),
	('the second at half price', lines(30, 20, 10), '[{"discount": {"percent": 50, "every": 2, "pick": "cheapest"}}]', 0, true, '1.3 5.00'),
	('the dearest', lines(30, 20, 10), '[{"discount": {"percent": 50, "every": 2, "pick": "dearest"}}]', 0, true, '1.1 15.00'),
	('two of four, of one line', '[{"sku": "a", "quantity": 3, "amount": 30}, {"sku": "b", "quantity": 1, "amount": 8}]', '[{"discount": {"percent": 50, "every": 2, "pick": "cheapest"}}]', 0, true, '1.1 5.00, 1.2 4.00'),
	('one alone', lines(30), '[{"discount": {"percent": 50, "every": 2, "pick": "cheapest"}}]', 0, true, '1 nothing'),
	-- free
	('a gift that is in the order', '[{"sku": "tea", "quantity": 1, "amount": 40}, {"sku": "gift", "quantity": 3, "amount": 9}]', '[{"discount": {"free": {"sku": "gift", "quantity": 2}}}]', 0, true, '1.2 6.00'),
	('fewer than are free', '[{"sku": "gift", "quantity": 1, "amount": 3}]', '[{"discount": {"free": {"sku": "gift", "quantity": 2}}}]', 0, true, '1.1 3.00'),
	('and one that is not', lines(40), '[{"discount": {"free": {"sku": "gift"}}}]', 0, true, '1 no_lines'),
	-- which lines
	('only tea, but not green', '[{"sku": "a", "category": "tea", "amount": 10}, {"sku": "b", "category": "tea", "amount": 20}, {"sku": "c", "category": "book", "amount": 30}]',
		'[{"discount": {"percent": 50}, "lines": {"category": ["tea"]}, "except": {"sku": ["b"]}}]', 0, true, '1.1 5.00'),
	('the minimum is of these lines', '[{"sku": "a", "category": "tea", "amount": 10}, {"sku": "c", "category": "book", "amount": 30}]',
		'[{"discount": {"amount": 5}, "lines": {"category": ["tea"]}, "minimum": 20}]', 0, true, '1 minimum'),
	-- shipping
	('free shipping', lines(50), '[{"discount": {"percent": 100}, "class": "shipping", "minimum": 40}]', 4.90, true, '1.0 4.90'),
	('more than shipping', lines(50), '[{"discount": {"amount": 10}, "class": "shipping"}]', 4.90, true, '1.0 4.90'),
	('not from 40', lines(39.99), '[{"discount": {"percent": 100}, "class": "shipping", "minimum": 40}]', 4.90, true, '1 minimum'),
	('no shipping', lines(50), '[{"discount": {"percent": 100}, "class": "shipping"}]', 0, true, '1 nothing'),
	-- more than there is
	('an amount goes as far as its lines', lines(3, 1), '[{"discount": {"amount": 20}}]', 0, true, '1.1 3.00, 1.2 1.00'),
	('the second is trimmed', lines(15), '[{"discount": {"amount": 10}, "exclusive": null}, {"discount": {"amount": 10}, "exclusive": null, "priority": 1}]', 0, true, '1.1 5.00, 2.1 10.00'),
	-- which of several
	('the best of a group', lines(100), '[{"discount": {"percent": 10}}, {"discount": {"amount": 15}}, {"discount": {"amount": 20}, "minimum": 200}]', 0, true, '1 excluded, 2.1 15.00, 3 minimum'),
	('the smaller priority of equal ones', lines(100), '[{"discount": {"percent": 10}}, {"discount": {"amount": 10}, "priority": 5}]', 0, true, '1 excluded, 2.1 10.00'),
	('the first of equal ones', lines(100), '[{"discount": {"percent": 10}}, {"discount": {"amount": 10}}]', 0, true, '1.1 10.00, 2 excluded'),
	('groups of their own', lines(100), '[{"discount": {"percent": 10}}, {"discount": {"amount": 5}, "exclusive": "welcome"}]', 0, true, '1.1 10.00, 2.1 5.00'),
	('all, where all are wanted', lines(100), '[{"discount": {"percent": 10}}, {"discount": {"amount": 15}}]', 0, false, '1.1 10.00, 2.1 15.00'),
	-- rounded once, half up
	('a third of a cent', lines(0.33, 0.33, 0.34), '[{"discount": {"percent": 33.333333}}]', 0, true, '1.1 0.11, 1.2 0.11, 1.3 0.11'),
	('half a cent', lines(0.50), '[{"discount": {"percent": 1}}]', 0, true, '1.1 0.01'),
	('less', lines(0.49), '[{"discount": {"percent": 1}}]', 0, true, '1 nothing')) c (what, lines, definitions, shipping, choose, expected);
SELECT results_eq($$SELECT line, discount FROM loyalty.price_basket('[{"amount": 1005}]', '[{"kind": "coupon", "discount": {"percent": 10}}]', decimals => 0)$$,
	$$VALUES (1, 101::numeric)$$, 'a money without decimals');

-- mistakes, each with its place
SELECT throws_ok(format($$SELECT loyalty.check_benefit_definition('%s')$$, c.definition), 'LY602', 'invalid definition of a benefit', c.definition)
FROM (VALUES ('[]'), ('{}'), ('{"kind": "cupon", "discount": {"percent": 10}}')) c (definition);
CREATE FUNCTION mistake(definition jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	PERFORM loyalty.check_benefit_definition('{"kind": "coupon", "discount": {"percent": 10}}' || definition);
	RETURN 'good';
EXCEPTION WHEN SQLSTATE 'LY602' THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN said;
END$$;
SELECT matches(mistake(c.definition::jsonb), c.said, c.definition) FROM (VALUES
	('{}', '^good$'),
	('{"minimun": 5}', '^minimun is not known here\.$'),
	('{"discount": {"percent": 101}}', '^discount\.percent is more than 100'),
	('{"discount": {"percent": 10, "amount": 5}}', '^discount must have one of'),
	('{"discount": {"amount": 5, "at_most": 5}}', '^discount\.at_most goes with percent'),
	('{"discount": {"percent": 50, "every": 2}}', '^discount has "every" and "pick" together'),
	('{"discount": {"free": {"sku": ""}}}', '^discount\.free\.sku must be a text'),
	('{"discount": {"amount": -5}}', '^discount\.amount is -5'),
	('{"minimum": "5"}', '^minimum must be a number'),
	('{"lines": {"skus": ["a"]}}', '^lines\.skus is not known here'),
	('{"valid": "soon"}', '^valid is "soon"'),
	('{"valid_to_end_of": "day"}', 'and no "valid"'),
	('{"between": ["2026-07-01", "2026-06-01"]}', '^between ends before'),
	('{"times": 0}', '^times must be a whole number'),
	('{"codes": "several"}', '^codes is "several"'),
	('{"time_zone": "Nowhere"}', '^time_zone is "Nowhere", which is no time zone'),
	('{"money": "euro"}', '^money is "euro"'),
	('{"class": "shipping", "discount": {"percent": 50, "every": 2, "pick": "cheapest"}}', 'takes of shipping'),
	('{"times": 0, "minimum": "5"}', 'minimum .*; times ')) c (definition, said);
SELECT * FROM finish();
