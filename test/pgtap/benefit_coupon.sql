-- Room benefit, coupons: issued, claimed, reserved, redeemed with orders that are
-- returned, cancelled and reopened; limits; members who are merged or forgotten.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.issue_coupon(1, 'x')$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

-- What a statement answers, in words: its value, or the SQLSTATE and which coupon that is about is left to the caller.
CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE statement INTO said;
	RETURN coalesce(said, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END$$;
-- The last coupon of a member.
CREATE FUNCTION last_coupon(member_id bigint) RETURNS bigint LANGUAGE sql AS
'SELECT max(c.coupon_id) FROM loyalty.coupon c WHERE c.member_id = $1';
CREATE FUNCTION code_of(coupon_id bigint) RETURNS text LANGUAGE sql AS 'SELECT c.code FROM loyalty.coupon c WHERE c.coupon_id = $1';
CREATE FUNCTION state(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(concat_ws(' ', c.state, 'until ' || to_char(c.valid_until, 'FMDD Mon'), nullif(c.uses_left, 1)), ', ' ORDER BY c.coupon_id)
FROM loyalty.coupons($1, $2, $3) c$$;

-- definitions
SELECT is(loyalty.define_benefit('tea_5_off', '{"kind": "coupon", "discount": {"amount": 5}, "lines": {"category": ["tea"]}, "minimum": 20, "valid": "30 days"}'), 1, 'a benefit');
SELECT is(loyalty.define_benefit('tea_5_off', '{"kind": "coupon", "discount": {"amount": 5}, "lines": {"category": ["tea"]}, "minimum": 20, "valid": "30 days"}'), 1, 'the same again is no version');
SELECT is(loyalty.define_benefit('tea_5_off', '{"kind": "coupon", "discount": {"amount": 6}, "lines": {"category": ["tea"]}, "minimum": 20, "valid": "30 days"}', '2026-06-01'), 2, 'another is');
SELECT throws_ok($$SELECT loyalty.define_benefit('tea_5_off', '{"kind": "coupon", "discount": {"amount": 7}}', '2026-05-01')$$, 'LY602', NULL, 'none begins before the last');
SELECT throws_ok($$SELECT loyalty.define_benefit('tea_5_off', '{"kind": "coupon", "discount": {"amount": 7}, "codes": "generic"}')$$, 'LY602', NULL, 'its codes stay of their kind');
SELECT throws_ok($$SELECT loyalty.define_benefit('tea_5_off', '{"kind": "coupon", "discount": {"amount": 7}, "total": 5}')$$, 'LY602', NULL, 'and without a total');
SELECT throws_ok($$SELECT loyalty.define_benefit('Tea', '{"kind": "coupon", "discount": {"amount": 7}}')$$, 'LY003', NULL, 'a name');
SELECT throws_ok($$SELECT loyalty.issue_coupon(1, 'coffee')$$, 'LY601', NULL, 'none of this name');
SELECT loyalty.issue_coupon(1, 'tea_5_off', at) FROM unnest('{2026-05-31,2026-06-01}'::timestamptz[]) at \g /dev/null
SELECT results_eq('SELECT version FROM loyalty.coupon WHERE member_id = 1 ORDER BY coupon_id', 'VALUES (1), (2)', 'a coupon keeps the version of its instant, half-open');

-- validity: definition, issued at, from, until
SELECT is(format('%s %s', c.valid_from AT TIME ZONE v.zone, c.valid_until AT TIME ZONE v.zone), v.expected, v.definition::text)
FROM (VALUES
	('{"valid": "1 day"}'::jsonb, timestamptz '2026-03-28 20:00+01', 'Europe/Berlin', '2026-03-28 20:00:00 2026-03-29 20:00:00'),
	('{"valid": "1 month"}', '2026-01-31 10:00+01', 'Europe/Berlin', '2026-01-31 10:00:00 2026-02-28 10:00:00'),
	('{"valid": "30 days", "valid_after": "1 day", "valid_to_end_of": "day"}', '2026-05-02 10:00+02', 'Europe/Berlin', '2026-05-03 10:00:00 2026-06-03 00:00:00'),
	('{"valid": "1 day", "valid_to_end_of": "day"}', '2026-05-02 00:00+02', 'Europe/Berlin', '2026-05-02 00:00:00 2026-05-03 00:00:00'),
	('{"valid": "10 days", "valid_to_end_of": "month"}', '2026-05-25 10:00+02', 'Europe/Berlin', '2026-05-25 10:00:00 2026-07-01 00:00:00'),
	('{"between": ["2026-06-01", "2026-07-01"], "valid": "90 days"}', '2026-05-25 10:00+02', 'Europe/Berlin', '2026-06-01 00:00:00 2026-07-01 00:00:00')) v (definition, at, zone, expected),
	LATERAL loyalty.define_benefit('v' || md5(v.definition::text), '{"kind": "coupon", "discount": {"amount": 1}, "time_zone": "Europe/Berlin"}' || v.definition) d,
	LATERAL loyalty.issue_coupon(2, 'v' || md5(v.definition::text) || left(d::text, 0), v.at) i JOIN loyalty.coupon c ON c.coupon_id = i.coupon_id;

-- A reservation: one use; valid to 31 March.  Steps in order: what, answer, state afterwards as of the instant of the last step.
SELECT loyalty.define_benefit('once', '{"kind": "coupon", "discount": {"percent": 10}}') \g /dev/null
SELECT loyalty.define_benefit('graceful', '{"kind": "coupon", "discount": {"percent": 10}, "grace": "14 days"}') \g /dev/null
SELECT loyalty.define_benefit('thrice', '{"kind": "coupon", "discount": {"percent": 10}, "times": 3}') \g /dev/null
CREATE FUNCTION reserve(member_id bigint, basket text, at time, until time) RETURNS text LANGUAGE sql AS
$$SELECT 'reserved' FROM loyalty.reserve_coupons($1, $2, ARRAY[code_of(last_coupon($1))], date '2026-03-10' + $4, date '2026-03-10' + $3)$$;
CREATE FUNCTION redeem(member_id bigint, basket text, at time) RETURNS text LANGUAGE sql AS
$$SELECT 'redeemed' FROM loyalty.record_activity($1, 'order', date '2026-03-10' + $3, 100, codes => ARRAY[code_of(last_coupon($1))], basket => $2)$$;
CREATE FUNCTION fresh(member_id bigint, valid_until timestamptz, benefit text DEFAULT 'once') RETURNS text LANGUAGE sql AS
$$SELECT 'fresh' FROM loyalty.issue_coupon($1, $3, '2026-03-01', $2)$$;
SELECT is(answer(s.statement), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT fresh(10, '2026-03-31')$$, 'fresh'),
	(2, $$SELECT reserve(10, 'A', '12:00', '12:30')$$, 'reserved'),
	(3, $$SELECT reserve(10, 'B', '12:10', '12:40')$$, 'LY606'),
	(4, $$SELECT redeem(10, 'B', '12:29:59')$$, 'LY606'),
	(5, $$SELECT redeem(10, NULL, '12:29:59')$$, 'LY606'),
	-- half-open: at its instant it is over
	(6, $$SELECT redeem(10, 'B', '12:30')$$, 'redeemed'),
	-- A was within its time, and comes too late all the same
	(7, $$SELECT redeem(10, 'A', '12:10')$$, 'LY607'),
	-- nobody in between: A is recorded late and succeeds
	(8, $$SELECT fresh(11, '2026-03-31')$$, 'fresh'),
	(9, $$SELECT reserve(11, 'A', '12:00', '12:30')$$, 'reserved'),
	(10, $$SELECT redeem(11, 'A', '12:10')$$, 'redeemed'),
	-- its own time is over meanwhile
	(11, $$SELECT fresh(12, '2026-03-10 12:20')$$, 'fresh'),
	(12, $$SELECT reserve(12, 'A', '12:00', '12:30')$$, 'reserved'),
	(13, $$SELECT reserve(12, 'A', '12:21', '12:40')$$, 'LY605'),
	(14, $$SELECT redeem(12, 'A', '12:25')$$, 'redeemed'),
	(15, $$SELECT fresh(13, '2026-03-10 12:20')$$, 'fresh'),
	(16, $$SELECT reserve(13, 'A', '12:00', '12:30')$$, 'reserved'),
	(17, $$SELECT loyalty.release_coupons(13, 'A', at => '2026-03-10 12:25')$$, '1'),
	(18, $$SELECT redeem(13, 'A', '12:25')$$, 'LY605'),
	(19, $$SELECT reserve(13, 'A', '12:26', '12:40')$$, 'LY605'),
	(20, $$SELECT loyalty.release_coupons(13, 'A')$$, '0'),
	-- lengthened by its own basket; given to another one
	(21, $$SELECT fresh(14, NULL)$$, 'fresh'),
	(22, $$SELECT reserve(14, 'A', '12:00', '12:30')$$, 'reserved'),
	(23, $$SELECT reserve(14, 'A', '12:29', '13:00')$$, 'reserved'),
	(24, $$SELECT redeem(14, 'B', '12:45')$$, 'LY606'),
	(25, $$SELECT loyalty.release_coupons(14, 'B')$$, '0'),
	(26, $$SELECT loyalty.release_coupons(14, 'A', ARRAY['another'])$$, '0'),
	(27, $$SELECT loyalty.release_coupons(14, 'A', at => '2026-03-10 12:46')$$, '1'),
	(28, $$SELECT redeem(14, 'B', '12:47')$$, 'redeemed'),
	-- not before it is valid
	(29, $$SELECT redeem(2, NULL, '12:00')$$, 'LY604'),
	-- arguments
	(30, $$SELECT reserve(14, '', '12:00', '12:30')$$, 'LY003'),
	(31, $$SELECT reserve(14, 'A', '12:30', '12:30')$$, 'LY003'),
	(32, $$SELECT loyalty.reserve_coupons(14, 'A', '{x}', 'infinity')$$, 'LY003'),
	-- three uses
	(33, $$SELECT fresh(15, NULL, 'thrice')$$, 'fresh'),
	(34, $$SELECT redeem(15, NULL, '12:00')$$, 'redeemed'),
	(35, $$SELECT redeem(15, NULL, '12:01')$$, 'redeemed'),
	(36, $$SELECT state(15)$$, 'issued'),
	(37, $$SELECT redeem(15, NULL, '12:02')$$, 'redeemed'),
	(38, $$SELECT state(15)$$, 'redeemed 0'),
	(39, $$SELECT redeem(15, NULL, '12:03')$$, 'LY607')) s (n, statement, expected) ORDER BY s.n;

-- As of, and as known at: the clock ends what nobody ended.
SELECT is(state(c.member_id, c.as_of::timestamptz), c.expected, format('member %s at %s', c.member_id, c.as_of)) FROM (VALUES
	(10, '2026-02-28', NULL), (10, '2026-03-01', 'issued until 31 Mar'), (10, '2026-03-10 12:29:59', 'reserved until 31 Mar'), (10, '2026-03-10 12:30', 'redeemed until 31 Mar 0'),
	(12, '2026-03-10 12:24', 'reserved until 10 Mar'), (13, '2026-03-10 12:24', 'reserved until 10 Mar'), (13, '2026-03-10 12:25', 'expired until 10 Mar 0')) c (member_id, as_of, expected);
SELECT is(state(10, known_at => '2026-03-10'), NULL, 'nobody knew of it then');

-- codes
SELECT fresh(20, NULL) \g /dev/null
SELECT is(answer(format($$SELECT activity_id IS NOT NULL FROM loyalty.record_activity(20, 'order', amount => 10, codes => ARRAY[%L])$$, lower(replace(code_of(last_coupon(20)), '-', ' ')))), 'true', 'however it is written');
SELECT fresh(21, NULL) \g /dev/null
SELECT is(answer(format($$SELECT loyalty.reserve_coupons(22, 'B', ARRAY[%L], now() + interval '1 hour')$$, code_of(last_coupon(21)))), 'LY603', 'not somebody else''s');
CREATE FUNCTION detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE statement;
	RETURN 'nothing';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || said;
END$$;
-- any character of it wrong
SELECT is((SELECT count(*) FROM generate_series(1, 14) i, LATERAL (SELECT code_of(last_coupon(21)) AS code) c,
		LATERAL detail(format($$SELECT loyalty.claim_code(21, %L)$$, overlay(code PLACING CASE substr(code, i, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM i FOR 1))) d
	WHERE substr(code, i, 1) <> '-' AND d LIKE 'LY603 A character of it is wrong%'), 12::bigint, 'a typing error is noticed at each place');
SELECT matches(detail($$SELECT loyalty.claim_code(21, 'SUMMER')$$), '^LY603 It is no code', 'and another code is just not there');
SELECT is(answer(format($$SELECT loyalty.record_activity(21, 'order', amount => 10, codes => ARRAY[%1$L, lower(%1$L)])$$, code_of(last_coupon(21)))), 'LY003', 'twice in one order');

-- a pool
SELECT loyalty.define_benefit('voucher', '{"kind": "coupon", "discount": {"amount": 10}, "codes": "pool"}') \g /dev/null
SELECT is(answer($$SELECT loyalty.issue_coupon(30, 'voucher')$$), 'LY614', 'a pool that is empty');
SELECT is(loyalty.add_codes('voucher', (SELECT array_agg('p-' || i) FROM generate_series(1, 40) i)), 40::bigint, 'forty codes');
SELECT is(loyalty.add_codes('voucher', (SELECT array_agg('P' || i) FROM generate_series(31, 50) i)), 10::bigint, 'a load may be repeated');
SELECT is(answer($$SELECT loyalty.add_codes('once', '{x}')$$), 'LY602', 'no codes of unique ones');
SELECT is(answer($$SELECT loyalty.add_codes('nothing', '{x}')$$), 'LY601', 'nor of none');
SELECT is(answer($$SELECT loyalty.add_codes('voucher', '{x,-}')$$), 'LY003', 'nor what is no code');
SELECT is(answer($$SELECT loyalty.claim_code(30, 'p-7')$$), 'LY603', 'a code of the pool is nobody''s');
SELECT is((SELECT count(DISTINCT i.code) FROM generate_series(1, 50) n, loyalty.issue_coupon(30 + n % 3, 'voucher') i), 50::bigint, 'each has one of its own');
SELECT is(answer($$SELECT loyalty.issue_coupon(30, 'voucher')$$), 'LY614', 'and then there is none');
SELECT is(loyalty.add_codes('voucher', '{Q1}'), 1::bigint, 'one more');
SELECT is((SELECT code FROM loyalty.issue_coupon(30, 'voucher')), 'Q1', 'is the next');

-- printed vouchers
CREATE TABLE printed AS SELECT c.code, row_number() OVER () AS n FROM loyalty.generate_codes('once', 3) c (code);
SELECT is((SELECT benefit FROM printed, loyalty.claim_code(40, code) WHERE n = 1), 'once', 'claimed');
SELECT is(answer(format('SELECT loyalty.claim_code(41, %L)', code)), 'LY615', 'by one only') FROM printed WHERE n = 1;
SELECT is(answer(format('SELECT loyalty.claim_code(40, %L)', code)), 'LY615', 'and once') FROM printed WHERE n = 1;
SELECT is(answer(format($$SELECT discount FROM loyalty.record_activity(41, 'order', amount => 50, codes => ARRAY[%L])$$, code)), '5.00', 'or used at once') FROM printed WHERE n = 2;
SELECT is(answer(format('SELECT loyalty.claim_code(40, %L)', code)), 'LY615', 'which claims it') FROM printed WHERE n = 2;

-- a generic code: total 3, one a member
SELECT loyalty.define_benefit('summer', '{"kind": "coupon", "discount": {"percent": 10}, "codes": "generic", "member": 1, "total": 3}') \g /dev/null
SELECT is(loyalty.add_codes('summer', '{SUMMER}'), 1::bigint, 'a code for everybody');
CREATE FUNCTION summer(member_id bigint, basket text DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$SELECT discount::text FROM loyalty.record_activity($1, 'order', amount => 80, codes => '{Summer}', basket => $2)$$;
CREATE FUNCTION hold_summer(member_id bigint, basket text, at timestamptz, until timestamptz) RETURNS text LANGUAGE sql AS
$$SELECT 'held' FROM loyalty.reserve_coupons($1, $2, '{summer}', $4, $3)$$;
SELECT is(answer(s.statement), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, 'SELECT summer(50)', '8.00'),
	(2, 'SELECT summer(50)', 'LY616'),
	(3, $$SELECT hold_summer(51, 'A', now(), now() + interval '1 hour')$$, 'held'),
	(4, $$SELECT loyalty.escrow_left('benefit/summer/total')$$, '1'),
	-- the coupon that it has
	(5, $$SELECT hold_summer(51, 'A', now(), now() + interval '2 hours')$$, 'held'),
	(6, $$SELECT hold_summer(51, 'B', now(), now() + interval '2 hours')$$, 'LY606'),
	(7, $$SELECT loyalty.escrow_left('benefit/summer/total')$$, '1'),
	(8, $$SELECT loyalty.release_coupons(51, 'A')$$, '1'),
	(9, $$SELECT loyalty.escrow_left('benefit/summer/total')$$, '2'),
	(10, $$SELECT state(51, '2040-01-01')$$, 'revoked 0'),
	(11, 'SELECT summer(51)', '8.00'),
	-- the last is reserved by a basket whose time is over
	(12, $$SELECT hold_summer(52, 'C', now() - interval '2 hours', now() - interval '1 hour')$$, 'held'),
	(13, $$SELECT loyalty.escrow_left('benefit/summer/total')$$, '0'),
	(14, 'SELECT summer(53)', '8.00'),
	(15, 'SELECT summer(54)', 'LY617'),
	(16, $$SELECT state(52, '2040-01-01')$$, 'revoked 0'),
	(17, 'SELECT summer(52)', 'LY617'),
	-- claimed, it is the member's whatever becomes of a basket
	(18, $$SELECT loyalty.define_benefit('summer', '{"kind": "coupon", "discount": {"percent": 10}, "codes": "generic", "member": 1, "total": 4}')$$, '2'),
	(19, $$SELECT benefit FROM loyalty.claim_code(55, 'summer')$$, 'summer'),
	(20, $$SELECT loyalty.claim_code(55, 'summer')$$, 'LY615'),
	(21, $$SELECT hold_summer(55, 'A', now(), now() + interval '1 hour')$$, 'held'),
	(22, $$SELECT loyalty.release_coupons(55, 'A')$$, '1'),
	(23, $$SELECT state(55)$$, 'issued'),
	(24, 'SELECT summer(56)', 'LY617'),
	(25, 'SELECT replayed FROM loyalty.revoke_coupon(55, last_coupon(55), ''wrong'') replayed', 'false'),
	(26, 'SELECT summer(56)', '8.00')) s (n, statement, expected) ORDER BY s.n;
SELECT is_empty('SELECT * FROM loyalty.check_benefit()', 'all is well');

-- Restoring: valid to 31 March, redeemed on 20 March, wholly returned.
CREATE FUNCTION ordered(member_id bigint, at timestamptz, amount numeric DEFAULT 100) RETURNS bigint LANGUAGE sql AS
$$SELECT activity_id FROM loyalty.record_activity($1, 'order', $2, $3, codes => ARRAY[code_of(last_coupon($1))])$$;
SELECT fresh(m, '2026-03-31', CASE WHEN m IN (62, 63) THEN 'graceful' ELSE 'once' END) FROM generate_series(60, 63) m \g /dev/null
SELECT ordered(m, '2026-03-20') FROM generate_series(60, 63) m \g /dev/null
SELECT revision FROM (VALUES (60, '2026-03-25'), (61, '2026-04-05'), (62, '2026-04-05'), (63, '2026-03-25')) r (m, at),
	LATERAL loyalty.record_return(r.m, (SELECT a.activity_id FROM loyalty.activity a WHERE a.member_id = r.m), at => r.at::timestamptz) \g /dev/null
SELECT is(state(c.member_id, c.as_of::timestamptz), c.expected, c.what) FROM (VALUES
	(60, '2026-03-24', 'redeemed until 31 Mar 0', 'used'), (60, '2026-03-25', 'issued until 31 Mar', 'usable again'), (60, '2026-03-31', 'expired until 31 Mar 0', 'until its end'),
	(61, '2026-04-05', 'expired until 31 Mar 0', 'restored after its end'),
	(62, '2026-04-05', 'issued until 19 Apr', 'with grace'), (62, '2026-04-19', 'expired until 19 Apr 0', 'of 14 days'),
	(63, '2026-03-25', 'issued until 31 Mar', 'grace is for what would be over')) c (member_id, as_of, expected, what);

-- Reopened: redeemed again, whatever its validity; or used elsewhere meanwhile.
SELECT fresh(m, '2026-03-31') FROM generate_series(65, 67) m \g /dev/null
CREATE TABLE orders AS SELECT m, ordered(m, '2026-03-20') AS id FROM generate_series(65, 67) m;
SELECT revision FROM orders, loyalty.revise_activity(m, id, cancelled => true) \g /dev/null
SELECT is((SELECT string_agg(state(m, '2026-03-21'), ', ') FROM orders), 'redeemed until 31 Mar 0, redeemed until 31 Mar 0, redeemed until 31 Mar 0', 'used then');
SELECT is((SELECT string_agg(state(m), ', ') FROM orders), 'expired until 31 Mar 0, expired until 31 Mar 0, expired until 31 Mar 0', 'restored, and expired');
SELECT ordered(66, '2026-03-30') \g /dev/null
SELECT is(answer(format('SELECT revision FROM loyalty.revise_activity(65, %s, cancelled => false)', id)), '2', 'reopened') FROM orders WHERE m = 65;
SELECT is(state(65), 'redeemed until 31 Mar 0', 'its coupon with it');
SELECT is((SELECT amount FROM loyalty.activity WHERE activity_id = id), 90.00, 'and what it takes off') FROM orders WHERE m = 65;
SELECT is(answer(format('SELECT revision FROM loyalty.revise_activity(66, %s, cancelled => false)', id)), 'LY607', 'used elsewhere') FROM orders WHERE m = 66;
SELECT is(answer(format('SELECT revision FROM loyalty.revise_activity(66, %s, cancelled => false, codes => ''{}'')', id)), '2', 'reopened without it') FROM orders WHERE m = 66;
SELECT is((SELECT amount FROM loyalty.activity WHERE activity_id = id), 100.00, 'at the full price') FROM orders WHERE m = 66;
SELECT is(answer(format('SELECT revision FROM loyalty.revise_activity(66, %s, document => ''{"a": 1}'')', id)), '3', 'and later, too') FROM orders WHERE m = 66;

-- What a return leaves: definition, lines, what is returned, what is due then, is the coupon still used
CREATE FUNCTION after_return(definition jsonb, lines jsonb, VARIADIC returned jsonb[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text := 'r' || md5(definition::text || lines::text || array_to_string(returned, ''));
	code text;
	id bigint;
	due text;
	gone jsonb;
BEGIN
	PERFORM loyalty.define_benefit(name, '{"kind": "coupon"}' || definition);
	SELECT i.code INTO code FROM loyalty.issue_coupon(70, name, '2026-05-01') i;
	SELECT a.activity_id INTO id FROM loyalty.record_activity(70, 'order', '2026-05-02', lines => after_return.lines, codes => ARRAY[code]) a;
	due := (SELECT a.amount FROM loyalty.activity a WHERE a.activity_id = id);
	FOREACH gone IN ARRAY returned LOOP
		PERFORM loyalty.record_return(70, id, gone, at => '2026-05-10');
		due := concat(due, ' ', (SELECT a.amount FROM loyalty.activity a WHERE a.activity_id = id));
	END LOOP;
	RETURN concat(due, ' ', (SELECT c.state FROM loyalty.coupons(70) c ORDER BY c.coupon_id DESC LIMIT 1));
END$$;
SELECT is(after_return(c.definition, c.lines, VARIADIC c.returned), c.expected, c.what) FROM (VALUES
	('three at 100 less 10 percent, two returned: 180 back', '{"discount": {"percent": 10}}'::jsonb, '[{"quantity": 3, "amount": 300}]'::jsonb, '{"[{\"line\": 1, \"quantity\": 2}]"}'::jsonb[], '270.00 90.00 redeemed'),
	('one by one', '{"discount": {"percent": 10}}', '[{"quantity": 3, "amount": 300}]', '{"[{\"line\": 1, \"quantity\": 1}]","[{\"line\": 1, \"quantity\": 1}]","[{\"line\": 1, \"quantity\": 1}]"}', '270.00 180.00 90.00 0.00 issued'),
	('100 less 20, what remains is too little', '{"discount": {"amount": 20}, "minimum": 100, "on_return": "reevaluate"}', '[{"amount": 80}, {"amount": 40}]', '{"[{\"line\": 2}]"}', '100.00 80.00 issued'),
	('or keeps its part', '{"discount": {"amount": 20}, "minimum": 100}', '[{"amount": 80}, {"amount": 40}]', '{"[{\"line\": 2}]"}', '100.00 66.67 redeemed'),
	('6 and 4 less 1', '{"discount": {"amount": 1}}', '[{"amount": 6}, {"amount": 4}]', '{"[{\"line\": 1}]"}', '9.00 3.60 redeemed'),
	('every 100 less 20, of 250, 60 returned', '{"discount": {"amount": 20, "every": 100}, "on_return": "reevaluate"}', '[{"quantity": 250, "amount": 250}]', '{"[{\"line\": 1, \"quantity\": 60}]"}', '210.00 170.00 redeemed'),
	('as an amount', '{"discount": {"amount": 20, "every": 100}, "on_return": "reevaluate"}', '[{"quantity": 1, "amount": 250}]', '{"[{\"line\": 1, \"amount\": 60}]"}', '210.00 170.00 redeemed'),
	('or keeps its part', '{"discount": {"amount": 20, "every": 100}}', '[{"quantity": 1, "amount": 250}]', '{"[{\"line\": 1, \"amount\": 60}]"}', '210.00 159.60 redeemed'),
	('a third each, without drift', '{"discount": {"amount": 1}}', '[{"quantity": 3, "amount": 10}]', '{"[{\"line\": 1, \"quantity\": 1}]","[{\"line\": 1, \"quantity\": 1}]"}', '9.00 6.00 3.00 redeemed')) c (what, definition, lines, returned, expected);

-- The walk: tea 25.00 and wine 375.00 with 5.00 off tea from 20.00; the wine is returned.
SELECT loyalty.issue_coupon(71, 'tea_5_off', '2026-05-02 10:00') \g /dev/null
SELECT is((SELECT discount FROM loyalty.record_activity(71, 'order', '2026-05-04', lines => '[{"sku": "t", "category": "tea", "amount": 25}, {"sku": "w", "category": "wine", "amount": 375}]',
	codes => ARRAY[code_of(last_coupon(71))])), 5.00, 'off the tea');
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = 71), 395.00, 'net');
SELECT revision FROM loyalty.record_return(71, (SELECT activity_id FROM loyalty.activity WHERE member_id = 71), '[{"line": 2}]') \g /dev/null
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = 71), 20.00, 'what remains');
SELECT results_eq('SELECT (lines -> 0 -> ''amount'')::numeric, (lines -> 0 -> ''coupon_discount'')::numeric FROM loyalty.activity WHERE member_id = 71', 'VALUES (20.00, 5.00)', 'in its line');

-- raised, lowered and raised again: what it took off stays, and comes back
SELECT fresh(72, NULL) \g /dev/null
SELECT ordered(72, '2026-05-01') \g /dev/null
SELECT is((SELECT string_agg(r.due, ' ' ORDER BY r.n) FROM (SELECT n, (SELECT revision::text || ':' FROM loyalty.revise_activity(72, a.activity_id, amount => x)) || '' AS due
	FROM loyalty.activity a, unnest('{200,50,100,300}'::numeric[]) WITH ORDINALITY u (x, n) WHERE a.member_id = 72) r), '1: 2: 3: 4:', 'revised');
SELECT is((SELECT string_agg(was_amount::text, ' ' ORDER BY revision) FROM loyalty.activity_revision WHERE member_id = 72), '90.00 190.00 45.00 90.00', 'what it was worth');
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = 72), 290.00, 'and is');

-- shipping: 4.90, free with a coupon, through a return and a correction
SELECT loyalty.define_benefit('free_shipping', '{"kind": "coupon", "discount": {"percent": 100}, "class": "shipping", "codes": "generic"}'), loyalty.add_codes('free_shipping', '{SHIP}') \g /dev/null
SELECT is((SELECT discount FROM loyalty.record_activity(73, 'order', amount => 54.90, lines => '[{"amount": 30}, {"amount": 20}]', codes => '{SHIP}')), 4.90, 'free shipping');
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = 73), 50.00, 'the lines alone');
SELECT revision FROM loyalty.record_return(73, (SELECT activity_id FROM loyalty.activity WHERE member_id = 73), '[{"line": 2}]') \g /dev/null
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = 73), 30.00, 'after a return');
SELECT revision FROM loyalty.revise_activity(73, (SELECT activity_id FROM loyalty.activity WHERE member_id = 73), channel => 'till') \g /dev/null
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = 73), 30.00, 'and a correction');
SELECT revision FROM loyalty.revise_activity(73, (SELECT activity_id FROM loyalty.activity WHERE member_id = 73), codes => '{}') \g /dev/null
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = 73), 34.90, 'taken out');

-- which do not go together, or not with this order
SELECT fresh(74, NULL), fresh(74, NULL) \g /dev/null
SELECT is(answer($$SELECT loyalty.record_activity(74, 'order', amount => 100, codes => (SELECT array_agg(code) FROM loyalty.coupon WHERE member_id = 74))$$), 'LY611', 'one of a kind');
SELECT loyalty.issue_coupon(75, 'tea_5_off') \g /dev/null
SELECT is(answer(format($$SELECT loyalty.record_activity(75, 'order', lines => '[{"category": "tea", "amount": 19.99}]', codes => ARRAY[%L])$$, code_of(last_coupon(75)))), 'LY610', 'too little');
SELECT is(answer(format($$SELECT loyalty.record_activity(75, 'order', lines => '[{"category": "book", "amount": 50}]', codes => ARRAY[%L])$$, code_of(last_coupon(75)))), 'LY609', 'nothing that it is for');
SELECT loyalty.define_benefit('web', '{"kind": "coupon", "discount": {"amount": 5}, "available": {"channel": ["web"]}, "money": "EUR"}') \g /dev/null
SELECT loyalty.issue_coupon(76, 'web') \g /dev/null
SELECT is(answer(format($$SELECT loyalty.record_activity(76, 'order', amount => 50, channel => 'till', codes => ARRAY[%L])$$, code_of(last_coupon(76)))), 'LY609', 'on the web only');
SELECT is(answer(format($$SELECT loyalty.record_activity(76, 'order', amount => 50, channel => 'web', money => 'USD', codes => ARRAY[%L])$$, code_of(last_coupon(76)))), 'LY609', 'in euros only');
SELECT is(answer(format($$SELECT discount FROM loyalty.record_activity(76, 'order', amount => 50, channel => 'web', money => 'EUR', codes => ARRAY[%L])$$, code_of(last_coupon(76)))), '5.00', 'so');

-- revoking, transferring
SELECT fresh(80, NULL), fresh(81, NULL) \g /dev/null
SELECT is(answer(s.statement), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, 'SELECT replayed FROM loyalty.revoke_coupon(80, last_coupon(80), idempotency_key => ''k'') replayed', 'false'),
	(2, 'SELECT replayed FROM loyalty.revoke_coupon(80, last_coupon(80), idempotency_key => ''k'') replayed', 'true'),
	(3, 'SELECT loyalty.revoke_coupon(80, last_coupon(80))', 'LY608'),
	(4, 'SELECT redeem(80, NULL, ''12:00'')', 'LY608'),
	(5, 'SELECT loyalty.revoke_coupon(80, last_coupon(81))', 'LY603'),
	(6, 'SELECT loyalty.revoke_coupon(10, last_coupon(10))', 'LY607'),
	(7, 'SELECT new_coupon_id > 0 FROM loyalty.transfer_coupon(81, 82, last_coupon(81), idempotency_key => ''k'')', 'true'),
	(8, 'SELECT replayed FROM loyalty.transfer_coupon(81, 82, last_coupon(81), idempotency_key => ''k'')', 'true'),
	(9, 'SELECT state(81)', 'transferred 0'),
	(10, 'SELECT state(82)', 'issued'),
	(11, 'SELECT redeem(81, NULL, ''12:00'')', 'LY603'),
	(12, 'SELECT redeem(82, NULL, ''12:00'')', 'redeemed'),
	(13, 'SELECT loyalty.transfer_coupon(82, 81, last_coupon(82))', 'LY607'),
	(14, 'SELECT loyalty.transfer_coupon(80, 81, last_coupon(80))', 'LY608'),
	(15, 'SELECT loyalty.transfer_coupon(20, 20, last_coupon(20))', 'LY003')) s (n, statement, expected) ORDER BY s.n;

-- used in part
SELECT loyalty.define_benefit('thrice', '{"kind": "coupon", "discount": {"amount": 5}, "times": 3}') \g /dev/null
SELECT loyalty.record_activity(84, 'order', amount => 50, codes => ARRAY[i.code]) FROM loyalty.issue_coupon(84, 'thrice') i \g /dev/null
CREATE FUNCTION pg_temp.detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN said;
END$$;
SELECT is(pg_temp.detail('SELECT loyalty.transfer_coupon(84, 85, last_coupon(84))'), 'It was redeemed 1 of 3 times.', 'one that was used in part stays, and says so');

-- keys
CREATE TABLE issued AS SELECT i.* FROM generate_series(1, 2) n, LATERAL loyalty.issue_coupon(83, 'once', idempotency_key => left('k', n)) i;
SELECT results_eq('SELECT coupon_id, code, replayed FROM issued ORDER BY replayed', 'SELECT c.coupon_id, c.code, r FROM loyalty.coupon c, unnest(''{f,t}''::boolean[]) r WHERE c.member_id = 83 ORDER BY r', 'issued once');
SELECT is(answer($$SELECT loyalty.issue_coupon(83, 'graceful', idempotency_key => 'k')$$), 'LY004', 'not with other arguments');
SELECT is((SELECT string_agg(replayed::text, ' ') FROM generate_series(1, 2) n, LATERAL loyalty.reserve_coupons(83, 'A', ARRAY[code_of(last_coupon(83))], '2040-01-01', idempotency_key => left('r', n)) r), 'false true', 'reserved once');

-- merged: each keeps its coupon, none is issued in addition; and apart again
SELECT loyalty.define_benefit('welcome', '{"kind": "coupon", "discount": {"amount": 5}, "member": 1}') \g /dev/null
INSERT INTO loyalty.member (member_id) VALUES (90), (91);
SELECT loyalty.issue_coupon(m, 'welcome') FROM unnest('{90,91}'::bigint[]) m \g /dev/null
CREATE TABLE merged AS SELECT merge_id FROM loyalty.merge_members(90, 91);
SELECT is(state(90), 'issued, issued', 'both are there');
SELECT is(state(91), 'issued, issued', 'under either number');
SELECT is(answer($$SELECT loyalty.issue_coupon(91, 'welcome')$$), 'LY616', 'and no third');
SELECT is(answer(format($$SELECT discount FROM loyalty.record_activity(90, 'order', amount => 50, codes => ARRAY[%L])$$, code_of(last_coupon(91)))), '5.00', 'the one uses the other''s');
SELECT loyalty.unmerge_members(merge_id) FROM merged \g /dev/null
SELECT is(state(90), 'issued', 'each has its own');
SELECT is(state(91), 'redeemed 0', 'as it is');
SELECT is(answer($$SELECT loyalty.issue_coupon(90, 'welcome')$$), 'LY616', 'and no other');

-- forgotten: no names of baskets, no references
SELECT loyalty.issue_coupon(90, 'once', reference => 'a letter') \g /dev/null
SELECT is(answer($$SELECT count(*) FROM loyalty.reserve_coupons(90, 'ann@example', ARRAY[code_of(last_coupon(90))], '2040-01-01')$$), '1', 'reserved');
SELECT loyalty.forget_member(90) \g /dev/null
SELECT is_empty($$SELECT FROM loyalty.coupon_act WHERE member_id = 90 AND (reference IS NOT NULL OR basket <> '') UNION ALL SELECT FROM loyalty.coupon WHERE member_id = 90 AND basket <> ''$$, 'nothing is left');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- what check_benefit() finds, each by one row that is wrong
CREATE FUNCTION found_when(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	SET LOCAL session_replication_role = replica;
	EXECUTE statement;
	SELECT string_agg(DISTINCT c.invariant, ', ' ORDER BY c.invariant) INTO said FROM loyalty.check_benefit() c;
	RAISE EXCEPTION SQLSTATE 'ZZ000' USING MESSAGE = coalesce(said, 'nothing');
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
	RETURN SQLERRM;
END$$;
SELECT is(found_when(c.statement), c.expected, c.statement) FROM (VALUES
	('UPDATE loyalty.coupon SET valid_until = now() WHERE member_id = 20', 'state'),
	('UPDATE loyalty.coupon SET uses = 0 WHERE member_id = 20', 'state, uses'),
	('DELETE FROM loyalty.coupon_act WHERE member_id = 20 AND kind = ''redeemed''', 'state, uses'),
	('DELETE FROM loyalty.coupon_act WHERE member_id = 20 AND kind = ''issued''', 'acts, state'),
	('UPDATE loyalty.escrow SET remaining = remaining + 1 WHERE name = ''benefit/summer/total'' AND slot = 3', 'total'),
	('UPDATE loyalty.escrow SET remaining = remaining + 1 WHERE name = ''benefit/voucher/unused_codes'' AND slot = 3', 'pool'),
	('UPDATE loyalty.coupon_code SET coupon_id = coupon_id + 1 WHERE member_id = 20', 'code'),
	('UPDATE loyalty.activity SET lines = jsonb_set(lines, ''{0,coupon_discount}'', ''4'') WHERE member_id = 71', 'discount')) c (statement, expected);

-- rights
CREATE ROLE coupon_app;
CREATE ROLE coupon_nobody;
SELECT loyalty.grant_access('coupon_app', 'app') \g /dev/null
GRANT USAGE ON SCHEMA loyalty TO coupon_nobody;
SET ROLE coupon_app;
SELECT is((SELECT replayed FROM loyalty.issue_coupon(95, 'once')), false, 'an app issues');
SELECT throws_ok($$SELECT loyalty.define_benefit('mine', '{"kind": "coupon", "discount": {"amount": 5}}')$$, '42501', NULL, 'and defines nothing');
SELECT throws_ok($$SELECT loyalty.revoke_coupon(95, 1)$$, '42501', NULL, 'nor revokes');
SELECT throws_ok($$SELECT loyalty.put_coupon(95, 'once', now(), NULL, NULL)$$, '42501', NULL, 'nor goes round the function');
RESET ROLE;
SET ROLE coupon_nobody;
SELECT throws_ok($$SELECT loyalty.issue_coupon(95, 'once')$$, '42501', NULL, 'nobody does not');
RESET ROLE;
DROP OWNED BY coupon_app, coupon_nobody;
DROP ROLE coupon_app, coupon_nobody;
-- A definition without a time zone has that of the program, also when that is another one than before.
SELECT FROM loyalty.configure_program(time_zone => 'UTC');
SELECT loyalty.define_benefit('today', '{"kind": "coupon", "discount": {"amount": 1}, "valid": "1 hour", "valid_to_end_of": "day"}') \g /dev/null
CREATE FUNCTION ends(member_id bigint) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	PERFORM loyalty.issue_coupon(member_id, 'today', '2026-05-01 10:00Z');
	RETURN (SELECT valid_until FROM loyalty.coupons(ends.member_id, as_of => '2026-05-01 10:00Z'));
END $$;
SELECT is(ends(96), '2026-05-02 00:00Z', 'to the end of the day in UTC');
SELECT FROM loyalty.configure_program(time_zone => 'Asia/Tokyo');
SELECT is(ends(97), '2026-05-01 15:00Z', 'and then in Tokyo, where it is 19:00');
SELECT FROM loyalty.configure_program(time_zone => 'UTC');
SELECT * FROM finish();
