-- core: global limits. What is taken and what is left is always the total.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.escrow_left('test/limit')$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

SELECT is(loyalty.escrow_left('test/limit'), NULL, 'there is none');
SELECT lives_ok($$SELECT loyalty.open_escrow('test/limit', 100)$$, 'opened');
SELECT results_eq($$SELECT count(*), sum(remaining), max(remaining) - min(remaining) FROM loyalty.escrow$$,
	$$VALUES (16::bigint, 100::numeric, 1::bigint)$$, 'spread evenly');
SELECT throws_ok($$SELECT loyalty.open_escrow('test/limit', 1)$$, 'LY003', NULL, 'not twice');
SELECT throws_ok($$SELECT loyalty.take_from_escrow('test/other', 1)$$, 'LY003', NULL, 'nothing is taken of what there is not');

SELECT throws_ok($$SELECT loyalty.put_into_escrow('test/other', 1)$$, 'LY003', NULL, 'nor put');
SELECT throws_ok($$SELECT loyalty.change_escrow('test/other', 1)$$, 'LY003', NULL, 'nor changed');
SELECT throws_ok($$SELECT loyalty.take_from_escrow('test/limit', -1)$$, 'LY003', NULL, 'taking is not putting');
SELECT throws_ok($$SELECT loyalty.put_into_escrow('test/limit', -1)$$, 'LY003', NULL, 'nor the other way round');

-- what is left is seen by the next statement
CREATE FUNCTION taken(n bigint, what_there_is boolean, slot integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	got bigint := loyalty.take_from_escrow('test/limit', n, what_there_is, slot);
BEGIN
	RETURN format('%s, %s', got, loyalty.escrow_left('test/limit'));
END$$;
-- one after the other: wanted, whether less will do, what comes, what is left
SELECT is(taken(c.n, c.what_there_is, c.slot), c.expected, c.what)
FROM (VALUES
	(1, 6, false, 3, '6, 94', 'from a slot'),
	(2, 1, false, 3, '1, 93', 'from others, where it is empty'),
	(3, 50, false, 0, '50, 43', 'more than a slot has'),
	(4, 44, false, 0, '0, 43', 'more than there is'),
	(5, 43, false, 9, '43, 0', 'the last'),
	(6, 1, false, 9, '0, 0', 'and no more'),
	(7, 1, true, 9, '0, 0', 'nor what there is'),
	(8, 0, false, 9, '0, 0', 'nothing is always there')) c (n_, n, what_there_is, slot, expected, what) ORDER BY c.n_;

SELECT lives_ok($$SELECT loyalty.put_into_escrow('test/limit', 7)$$, 'seven are given back');
SELECT is(loyalty.take_from_escrow('test/limit', 10, true), 7::bigint, 'and sold again');

-- 100 are taken
SELECT lives_ok($$SELECT loyalty.change_escrow('test/limit', 10)$$, 'raised to 110');
SELECT is(loyalty.escrow_left('test/limit'), 10::bigint, 'ten more');
SELECT lives_ok($$SELECT loyalty.change_escrow('test/limit', -30)$$, 'lowered to 80');
SELECT is(loyalty.escrow_left('test/limit'), -20::bigint, 'twenty are owed');
SELECT is((SELECT count(*) FROM loyalty.escrow), 1::bigint, 'in one slot');
SELECT is(loyalty.take_from_escrow('test/limit', 1, true), 0::bigint, 'nothing can be taken');
SELECT lives_ok($$SELECT loyalty.put_into_escrow('test/limit', 21)$$, 'twenty-one come back');
SELECT is(loyalty.take_from_escrow('test/limit', 2, true), 1::bigint, 'one can');
SELECT lives_ok($$SELECT loyalty.change_escrow('test/limit', 20)$$, 'raised to 100');
SELECT results_eq($$SELECT count(*), sum(remaining) FROM loyalty.escrow$$, $$VALUES (16::bigint, 20::numeric)$$, 'spread again');
SELECT throws_ok($$SELECT loyalty.change_escrow('test/limit', 9223372036854775807)$$, 'LY003', NULL, 'more than a bigint');

CREATE ROLE escrow_app;
SELECT loyalty.grant_access('escrow_app', 'app') \g /dev/null
SET ROLE escrow_app;
SELECT throws_ok($$SELECT loyalty.take_from_escrow('test/limit', 1)$$, '42501', NULL, 'part of others');
SELECT throws_ok($$SELECT loyalty.put_into_escrow('test/limit', 1)$$, '42501', NULL, 'part of others');
SELECT throws_ok($$SELECT loyalty.open_escrow('test/mine', 1)$$, '42501', NULL, 'part of others');
SELECT throws_ok($$SELECT loyalty.change_escrow('test/limit', 1)$$, '42501', NULL, 'part of others');
RESET ROLE;
DROP OWNED BY escrow_app;
DROP ROLE escrow_app;
SELECT * FROM finish();
