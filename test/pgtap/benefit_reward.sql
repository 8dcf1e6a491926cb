-- Room benefit, rewards: points, points and money, stock, limits; orders that wait, lapse, are paid, fulfilled and cancelled; prices and access.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.order_reward(1, 'x')$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE statement INTO said;
	RETURN coalesce(said, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END$$;
-- points and money of an order
CREATE FUNCTION ordered(member_id bigint, reward text, at timestamptz DEFAULT '2026-05-01', quantity bigint DEFAULT 1, points bigint DEFAULT NULL,
	until timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$SELECT o.points_taken || ' ' || o.money_due FROM loyalty.order_reward($1, $2, $4, $5, $6, $3) o$$;
CREATE FUNCTION last_order(member_id bigint) RETURNS bigint LANGUAGE sql AS 'SELECT max(o.order_id) FROM loyalty.reward_order o WHERE o.member_id = $1';
CREATE FUNCTION cancelled(member_id bigint, at timestamptz, quantity bigint DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$SELECT c.points_back || ' ' || c.money_back FROM loyalty.cancel_reward($1, last_order($1), $3, $2) c$$;
CREATE FUNCTION has_points(member_id bigint, as_of timestamptz) RETURNS bigint LANGUAGE sql AS $$SELECT (loyalty.balance($1, 'points', $2)).available$$;
CREATE FUNCTION orders(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(concat_ws(' ', o.reward, o.quantity, o.points, o.state), ', ' ORDER BY o.order_id) FROM loyalty.reward_orders($1, $2, $3) o$$;

SELECT throws_ok(format('SELECT loyalty.define_benefit(''wrong'', %L)', d.definition), 'LY602', 'invalid definition of a benefit', d.definition) FROM (VALUES
	('{"kind": "reward"}'), ('{"kind": "reward", "points": 0}'), ('{"kind": "reward", "points": 5, "payment": "mall"}'), ('{"kind": "reward", "price": 5, "payment": "nowhere"}'),
	('{"kind": "reward", "points": 5, "currency": "gems"}'), ('{"kind": "reward", "points": 5, "period": "day"}'), ('{"kind": "reward", "points": 5, "goods": {}}'),
	('{"kind": "reward", "points": 5, "goods": {"coupon": "nowhere"}}'), ('{"kind": "reward", "points": 5, "goods": {"item": "mug", "uses": 2}}'), ('{"kind": "reward", "points": 5, "stock": -1}'),
	('{"kind": "payment", "points": 100}'), ('{"kind": "payment", "points": 100, "worth": 1, "least": 500, "most": 400}'), ('{"kind": "payment", "points": 100, "worth": 1, "share": 101}'),
	('{"kind": "price", "price": 5}'), ('{"kind": "price", "lines": {"sku": ["a"]}}'), ('{"kind": "price", "lines": {"sku": ["a"]}, "price": 5, "percent": 10}'),
	('{"kind": "access", "quota": 1}')) d (definition);

-- Points and money: 100 points are 1.00, in steps of 100, 500 at least.
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('mall', '{"kind": "payment", "points": 100, "worth": 1, "step": 100, "least": 500, "money": "EUR"}'::jsonb),
	('third', '{"kind": "payment", "points": 3, "worth": 1, "most": 50, "share": 50}'),
	('yen_pay', '{"kind": "payment", "points": 100, "worth": 1, "money": "JPY"}'),
	('kettle', '{"kind": "reward", "price": 40, "payment": "mall", "money": "EUR"}'),
	('pot', '{"kind": "reward", "price": 10, "payment": "third", "money": "EUR"}'),
	('mug', '{"kind": "reward", "points": 300}'),
	('set', '{"kind": "reward", "points": 100, "price": 9.99, "money": "EUR", "hold": "15 minutes"}')) b (name, definition) \g /dev/null
SELECT loyalty.earn(m.id, m.points, effective_at => '2026-01-01', expires_at => '2027-01-01') FROM (VALUES (1, 1250), (2, 499), (3, 9000), (4, 1000), (5, 1000)) m (id, points) \g /dev/null
SELECT is(answer(s.statement), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT loyalty.split_payment(1, 'mall', 40, at => '2026-05-01')$$, '(1200,28.00)'),
	(1, $$SELECT loyalty.split_payment(3, 'yen_pay', 40, 150, '2026-05-01')$$, '(150,39)'),
	(2, $$SELECT ordered(1, 'kettle')$$, '1200 28.00'),
	(3, $$SELECT ordered(2, 'kettle')$$, '0 40.00'),
	(4, $$SELECT ordered(3, 'kettle')$$, '4000 0.00'),
	(5, $$SELECT has_points(3, '2026-05-01')$$, '5000'),
	(6, $$SELECT ordered(3, 'kettle', points => 550)$$, 'LY003'),
	(7, $$SELECT ordered(3, 'kettle', points => 400)$$, 'LY003'),
	(8, $$SELECT ordered(3, 'kettle', points => 500)$$, '500 35.00'),
	-- half of 10.00 at most: 15 points; what they are worth is rounded down to cents
	(9, $$SELECT ordered(3, 'pot')$$, '15 5.00'),
	(10, $$SELECT ordered(3, 'pot', points => 10)$$, '10 6.67'),
	(11, $$SELECT ordered(3, 'pot', quantity => 20)$$, '50 183.34'),
	(12, $$SELECT ordered(3, 'mug', points => 200)$$, 'LY003'),
	(13, $$SELECT ordered(2, 'mug')$$, '300 0.00'),
	(14, $$SELECT ordered(2, 'mug')$$, 'LY101'),
	(15, $$SELECT orders(2)$$, 'kettle 1 0 paid, mug 1 300 paid'),
	-- cancelled: back to the very lot
	(16, $$SELECT cancelled(2, '2026-05-02')$$, '300 0.00'),
	(17, $$SELECT has_points(2, '2026-12-31 23:59')$$, '499'),
	(18, $$SELECT has_points(2, '2027-01-01')$$, '0'),
	(19, $$SELECT cancelled(2, '2026-05-02')$$, 'LY622'),
	(20, $$SELECT orders(2)$$, 'kettle 1 0 paid, mug 0 0 cancelled'),
	(21, $$SELECT orders(2, '2026-05-01 12:00')$$, 'kettle 1 0 paid, mug 1 300 paid'),
	-- units one by one: shares of points and money, and the last one gives the rest
	(22, $$SELECT ordered(4, 'pot', quantity => 3)$$, '45 15.00'),
	(23, $$SELECT cancelled(4, '2026-05-02', 2)$$, '30 10.00'),
	(24, $$SELECT cancelled(4, '2026-05-02', 2)$$, 'LY003'),
	(25, $$SELECT cancelled(4, '2026-05-02', 1)$$, '15 5.00'),
	(26, $$SELECT ordered(4, 'pot', quantity => 3, points => 10)$$, '10 26.67'),
	(27, $$SELECT cancelled(4, '2026-05-02', 1)$$, '3 8.89'),
	(28, $$SELECT cancelled(4, '2026-05-02', 1)$$, '3 8.89'),
	(29, $$SELECT cancelled(4, '2026-05-02', 1)$$, '4 8.89'),
	(30, $$SELECT has_points(4, '2026-05-03')$$, '1000'),
	-- arguments
	(31, $$SELECT ordered(4, 'mall')$$, 'LY601'),
	(32, $$SELECT ordered(4, 'nothing')$$, 'LY601'),
	(33, $$SELECT ordered(4, 'mug', quantity => 0)$$, 'LY003'),
	(34, $$SELECT ordered(NULL, 'mug')$$, 'LY003'),
	(35, $$SELECT ordered(4, 'mug', until => '2026-05-01')$$, 'LY003'),
	(36, $$SELECT loyalty.cancel_reward(4, 0)$$, 'LY620'),
	(37, $$SELECT loyalty.cancel_reward(5, last_order(4))$$, 'LY620'),
	(38, $$SELECT loyalty.split_payment(3, 'mall', -1)$$, 'LY003'),
	(39, $$SELECT points_taken || replayed::text FROM loyalty.order_reward(4, 'mug', at => '2026-05-04', idempotency_key => 'k')$$, '300false'),
	(40, $$SELECT points_taken || replayed::text FROM loyalty.order_reward(4, 'mug', at => '2026-05-04', idempotency_key => 'k')$$, '300true'),
	(41, $$SELECT loyalty.order_reward(4, 'mug', 2, at => '2026-05-04', idempotency_key => 'k')$$, 'LY004'),
	(42, $$SELECT points_back || replayed::text FROM loyalty.cancel_reward(4, last_order(4), at => '2026-05-04', idempotency_key => 'k')$$, '300false'),
	(43, $$SELECT points_back || replayed::text FROM loyalty.cancel_reward(4, last_order(4), at => '2026-05-04', idempotency_key => 'k')$$, '300true')) s (n, statement, expected) ORDER BY s.n;
SELECT is(loyalty.spread_amount(1200, '{30,10}', 0), '{900,300}', 'points that pay for lines are spread over them');

-- An order that waits holds points and stock, and lets both go by itself.
SELECT loyalty.define_benefit('last_one', '{"kind": "reward", "points": 100, "price": 9.99, "money": "EUR", "hold": "15 minutes", "stock": 1}') \g /dev/null
SELECT is(answer(s.statement), s.expected, format('waits %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT ordered(5, 'last_one', '2026-05-01 12:00')$$, '100 9.99'),
	(2, $$SELECT has_points(5, '2026-05-01 12:00')$$, '900'),
	(3, $$SELECT orders(5, '2026-05-01 12:00')$$, 'last_one 1 100 reserved'),
	(4, $$SELECT loyalty.reward_stock('last_one', '2026-05-01 12:14:59')$$, '0'),
	(5, $$SELECT loyalty.reward_stock('last_one', '2026-05-01 12:15')$$, '1'),
	(6, $$SELECT ordered(3, 'last_one', '2026-05-01 12:14:59')$$, 'LY613'),
	(7, $$SELECT has_points(5, '2026-05-01 12:15')$$, '1000'),
	(8, $$SELECT ordered(3, 'last_one', '2026-05-01 12:15')$$, '100 9.99'),
	(9, $$SELECT loyalty.pay_reward(5, last_order(5), '2026-05-01 12:15')$$, 'LY621'),
	-- paid within its time, and recorded after another has it
	(10, $$SELECT loyalty.pay_reward(5, last_order(5), '2026-05-01 12:14')$$, 'LY613'),
	(11, $$SELECT orders(5, '2026-05-01 12:15')$$, 'last_one 1 100 lapsed'),
	(12, $$SELECT loyalty.cancel_reward(5, last_order(5), at => '2026-05-01 12:20')$$, 'LY621'),
	(13, $$SELECT points_back FROM loyalty.cancel_reward(3, last_order(3), at => '2026-05-01 12:20')$$, '100'),
	(14, $$SELECT (loyalty.pay_reward(5, last_order(5), '2026-05-01 12:14')).replayed$$, 'false'),
	(15, $$SELECT orders(5, '2026-05-02')$$, 'last_one 1 100 paid'),
	(16, $$SELECT has_points(5, '2026-05-02')$$, '900'),
	(17, $$SELECT loyalty.pay_reward(5, last_order(5), '2026-05-02')$$, 'LY622'),
	(18, $$SELECT (loyalty.fulfil_reward(5, last_order(5), '2026-05-02')).replayed$$, 'false'),
	(19, $$SELECT loyalty.fulfil_reward(5, last_order(5), '2026-05-02')$$, 'LY622'),
	(20, $$SELECT cancelled(5, '2026-05-03')$$, '100 9.99'),
	(21, $$SELECT loyalty.reward_stock('last_one', '2026-05-03')$$, '1'),
	-- fulfilled at once is paid, too; whoever holds on his own account
	(22, $$SELECT ordered(5, 'mug', '2026-05-04', 2, NULL, '2026-05-05')$$, '600 0.00'),
	(23, $$SELECT (loyalty.fulfil_reward(5, last_order(5), '2026-05-04 12:00')).replayed$$, 'false'),
	(24, $$SELECT cancelled(5, '2026-06-01', 1)$$, '300 0.00'),
	(25, $$SELECT orders(5)$$, 'last_one 0 0 cancelled, mug 1 300 fulfilled'),
	(26, $$SELECT cancelled(5, '2026-05-03')$$, 'LY003')) s (n, statement, expected) ORDER BY s.n;

-- Limits of a member; who may have it, and when; 1 point.
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('special', '{"kind": "reward", "points": 1, "member": 1, "period": "month", "stock": 100}'::jsonb),
	('summer', '{"kind": "reward", "points": 1, "between": ["2026-06-01", "2026-09-01"], "available": {"attribute": {"city": ["Bonn"]}}}')) b (name, definition) \g /dev/null
CREATE TABLE bonner AS SELECT member_id FROM loyalty.resolve_member('{"email": "a@example.com"}');
UPDATE loyalty.member SET attributes = '{"city": "Bonn"}';
SELECT loyalty.earn(member_id, 100, effective_at => '2026-01-01') FROM bonner \g /dev/null
SELECT is(answer(s.statement), s.expected, format('limits %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT ordered(5, 'special', '2026-05-31')$$, '1 0.00'),
	(2, $$SELECT ordered(5, 'special', '2026-05-01')$$, 'LY616'),
	(3, $$SELECT ordered(5, 'special', '2026-06-01')$$, '1 0.00'),
	(4, $$SELECT cancelled(5, '2026-06-02')$$, '1 0.00'),
	(5, $$SELECT ordered(5, 'special', '2026-06-03', until => '2026-06-04')$$, '1 0.00'),
	(6, $$SELECT ordered(5, 'special', '2026-06-03 12:00')$$, 'LY616'),
	(7, $$SELECT ordered(5, 'special', '2026-06-04')$$, '1 0.00'),
	(8, $$SELECT ordered(5, 'special', '2026-07-04', 2)$$, 'LY616'),
	(9, $$SELECT ordered(5, 'summer', '2026-07-01')$$, 'LY609'),
	(10, $$SELECT ordered((SELECT member_id FROM bonner), 'summer', '2026-07-01')$$, '1 0.00'),
	(11, $$SELECT ordered((SELECT member_id FROM bonner), 'summer', '2026-09-01')$$, 'LY609'),
	(12, $$SELECT string_agg(reward, ' ') FROM loyalty.rewards((SELECT member_id FROM bonner), '2026-07-01')$$, 'special summer last_one set mug kettle pot'),
	(13, $$SELECT string_agg(reward || affordable, ' ') FROM loyalty.rewards(2, '2026-07-01') WHERE points IS NOT NULL$$, 'specialtrue last_onetrue settrue mugtrue')) s (n, statement, expected) ORDER BY s.n;

-- A rolling limit holds in each span, whenever an order was recorded: 2 within 30 days.  What is paid within its time, and recorded late,
-- needs its place in the limit, too.
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('rolled', '{"kind": "reward", "points": 1, "member": 2, "rolling": "30 days"}'::jsonb),
	('waited', '{"kind": "reward", "points": 1, "price": 5, "money": "EUR", "member": 1, "period": "month", "hold": "15 minutes"}')) b (name, definition) \g /dev/null
CREATE FUNCTION first_order(member_id bigint, reward text) RETURNS bigint LANGUAGE sql AS 'SELECT min(o.order_id) FROM loyalty.reward_order o WHERE o.member_id = $1 AND o.reward = $2';
SELECT loyalty.earn(20, 100, effective_at => '2026-01-01') \g /dev/null
SELECT is(answer(s.statement), s.expected, format('late %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT ordered(20, 'rolled', '2026-01-20')$$, '1 0.00'),
	(2, $$SELECT ordered(20, 'rolled', '2026-01-31')$$, '1 0.00'),
	(3, $$SELECT ordered(20, 'rolled', '2026-01-25')$$, 'LY616'),
	(4, $$SELECT ordered(20, 'rolled', '2026-01-01')$$, '1 0.00'),
	(5, $$SELECT ordered(20, 'rolled', '2026-01-02')$$, 'LY616'),
	(6, $$SELECT ordered(20, 'rolled', '2026-02-18')$$, 'LY616'),
	(7, $$SELECT ordered(20, 'rolled', '2026-02-19')$$, '1 0.00'),
	(10, $$SELECT ordered(20, 'waited', '2026-05-01 12:00')$$, '1 5.00'),
	(11, $$SELECT ordered(20, 'waited', '2026-05-01 12:14')$$, 'LY616'),
	(12, $$SELECT ordered(20, 'waited', '2026-05-01 12:15')$$, '1 5.00'),
	(13, $$SELECT loyalty.pay_reward(20, first_order(20, 'waited'), '2026-05-01 12:14')$$, 'LY616'),
	(14, $$SELECT (loyalty.pay_reward(20, last_order(20), '2026-05-01 12:20')).replayed$$, 'false'),
	(15, $$SELECT cancelled(20, '2026-05-02')$$, '1 5.00'),
	(16, $$SELECT (loyalty.pay_reward(20, first_order(20, 'waited'), '2026-05-01 12:14')).replayed$$, 'false')) s (n, statement, expected) ORDER BY s.n;

-- Goods: coupons, further uses, points of another currency.
SELECT loyalty.create_currency('stamps') \g /dev/null
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('tea_5', '{"kind": "coupon", "discount": {"amount": 5}}'::jsonb), ('lounge', '{"kind": "entitlement", "quota": [{"when": {"attribute": {"city": ["Rome"]}}, "uses": 1}]}')) b (name, definition) \g /dev/null
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('voucher', '{"kind": "reward", "points": 50, "goods": {"coupon": "tea_5"}}'::jsonb),
	('visits', '{"kind": "reward", "points": 50, "goods": {"entitlement": "lounge", "uses": 2}}'),
	('exchange', '{"kind": "reward", "points": 50, "goods": {"points": 7, "currency": "stamps"}}')) b (name, definition) \g /dev/null
CREATE FUNCTION has_stamps(member_id bigint) RETURNS bigint LANGUAGE sql AS $$SELECT (loyalty.balance($1, 'stamps')).available$$;
SELECT is(answer(s.statement), s.expected, format('goods %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT ordered(3, 'voucher', quantity => 2)$$, '100 0.00'),
	(2, $$SELECT string_agg(state, ' ') FROM loyalty.coupons(3)$$, 'issued issued'),
	(3, $$SELECT discount FROM loyalty.record_activity(3, 'order', '2026-05-02', 50, codes => ARRAY[(SELECT code FROM loyalty.coupons(3) ORDER BY coupon_id DESC LIMIT 1)])$$, '5.00'),
	(4, $$SELECT cancelled(3, '2026-05-03', 2)$$, 'LY607'),
	(5, $$SELECT cancelled(3, '2026-05-03', 1)$$, '50 0.00'),
	(6, $$SELECT string_agg(state, ' ' ORDER BY coupon_id) FROM loyalty.coupons(3)$$, 'revoked redeemed'),
	(7, $$SELECT ordered(3, 'visits')$$, '50 0.00'),
	(8, $$SELECT remaining FROM loyalty.entitlements(3)$$, '2'),
	(9, $$SELECT remaining FROM loyalty.use_entitlement(3, 'lounge', at => '2026-05-04')$$, '1'),
	(10, $$SELECT cancelled(3, '2026-05-05')$$, 'LY607'),
	(11, $$SELECT ordered(3, 'exchange', quantity => 3)$$, '150 0.00'),
	(12, $$SELECT has_stamps(3)$$, '21'),
	(13, $$SELECT cancelled(3, '2026-05-05', 2)$$, '100 0.00'),
	(14, $$SELECT has_stamps(3)$$, '7'),
	-- nothing is handed out before it is paid
	(15, $$SELECT ordered(3, 'exchange', '2026-05-06', until => '2026-05-07')$$, '50 0.00'),
	(16, $$SELECT has_stamps(3)$$, '7'),
	(17, $$SELECT (loyalty.pay_reward(3, last_order(3), '2026-05-06')).replayed$$, 'false'),
	(18, $$SELECT has_stamps(3)$$, '14')) s (n, statement, expected) ORDER BY s.n;

-- A version with more stock, or less.
SELECT is(loyalty.define_benefit('special', '{"kind": "reward", "points": 1, "member": 1, "period": "month", "stock": 150}'), 2, 'more stock');
SELECT is(loyalty.reward_stock('special'), 148::bigint, 'two of 150 are ordered');
SELECT throws_ok($$SELECT loyalty.define_benefit('special', '{"kind": "reward", "points": 1}')$$, 'LY602', NULL, 'it keeps that it has a stock');
SELECT throws_ok($$SELECT loyalty.define_benefit('special', '{"kind": "access"}')$$, 'LY602', NULL, 'and its kind');

-- Access: early for some.  A sale at 10:00; platinum 24 hours before, gold 6; the level is that of the instant.
SELECT loyalty.define_measure('visits') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"visits": 2000}}, {"level": "platinum", "any": {"visits": 3000}}]}') \g /dev/null
SELECT loyalty.grant_tier(10, 'club', 'platinum', starts_at => '2026-01-01'), loyalty.grant_tier(11, 'club', 'gold', starts_at => '2026-01-01'),
	loyalty.grant_tier(12, 'club', 'gold', starts_at => '2026-06-02 04:30') \g /dev/null
SELECT loyalty.define_benefit('sale', '{"kind": "access", "lines": {"category": ["sale"]}, "available": {"any": [{"between": ["2026-06-02T10:00", null]},
	{"between": ["2026-06-01T10:00", null], "tier": {"club": ["platinum"]}}, {"between": ["2026-06-02T04:00", null], "tier": {"club": ["gold", "platinum"]}}]}}') \g /dev/null
SELECT is(loyalty.has_access(a.member_id, 'sale', a.at), a.expected, format('%s at %s', a.member_id, a.at)) FROM (VALUES
	(10, timestamptz '2026-06-01 09:59:59', false), (10, '2026-06-01 10:00', true), (10, '2026-06-02 03:00', true), (11, '2026-06-02 03:00', false), (9, '2026-06-02 03:00', false),
	(11, '2026-06-02 04:00', true), (9, '2026-06-02 04:00', false), (12, '2026-06-02 04:29:59', false), (12, '2026-06-02 04:30', true), (9, '2026-06-02 10:00', true)) a (member_id, at, expected);
SELECT throws_ok($$SELECT loyalty.has_access(1, 'tea_5')$$, 'LY601', NULL, 'a coupon is no access');
SELECT throws_ok($$SELECT loyalty.has_access(1, 'nothing')$$, 'LY601', NULL, 'none of this name');

-- Prices: the lowest that the member may have; goods for members only.
SELECT loyalty.define_product('S1', category => 'sale/tea') \g /dev/null
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('club_price', '{"kind": "price", "lines": {"sku": ["T1", "T2"]}, "price": 8, "available": {"tier": {"club": ["gold", "platinum"]}}}'::jsonb),
	('ten_off', '{"kind": "price", "lines": {"sku": ["T1"]}, "percent": 10}'),
	('yen', '{"kind": "price", "lines": {"sku": ["T1"]}, "amount": 9, "money": "JPY"}')) b (name, definition) \g /dev/null
SELECT is((loyalty.price_of(p.member_id, p.sku, p.list, p.at, p.money))::text, p.expected, format('%s for %s at %s', p.sku, p.member_id, p.at)) FROM (VALUES
	(9, 'T1', 10.00, timestamptz '2026-06-02', 'EUR', '(9.00,ten_off)'), (10, 'T1', 10.00, '2026-06-02', 'EUR', '(8.00,club_price)'), (10, 'T2', 7.00, '2026-06-02', 'EUR', '(7.00,list_price)'),
	(9, 'T2', 10.00, '2026-06-02', 'EUR', '(10.00,list_price)'), (10, 'T3', 10.00, '2026-06-02', 'EUR', '(10.00,list_price)'), (9, 'T1', 1000, '2026-06-02', 'JPY', '(900,ten_off)'),
	(9, 'T1', 15, '2026-06-02', 'JPY', '(6,yen)'), (9, 'T1', 9.99, '2026-06-02', 'EUR', '(8.99,ten_off)'),
	(9, 'S1', 20.00, '2026-06-02 09:00', 'EUR', '(,sale)'), (11, 'S1', 20.00, '2026-06-02 09:00', 'EUR', '(20.00,list_price)')) p (member_id, sku, list, at, money, expected);
SELECT throws_ok($$SELECT loyalty.price_of(1, 'T1', -1)$$, 'LY003', NULL, 'a negative price');

-- Merged: orders of both, and the limit of one.
CREATE TABLE pair AS SELECT (SELECT member_id FROM loyalty.resolve_member('{"email": "b@example.com"}')) AS a, (SELECT member_id FROM loyalty.resolve_member('{"email": "c@example.com"}')) AS b;
SELECT loyalty.earn(a, 500, effective_at => '2026-01-01'), loyalty.earn(b, 500, effective_at => '2026-01-01') FROM pair \g /dev/null
SELECT loyalty.order_reward(b, 'special', at => now(), reference => 'for Ann') FROM pair \g /dev/null
SELECT is((SELECT array_agg(e.kind || ': ' || e.reference) FROM loyalty.ledger e WHERE e.member_id = pair.b AND e.kind <> 'earn'), '{"redeem: for Ann"}', 'its reference is that of the entry') FROM pair;
SELECT loyalty.merge_members(a, b) FROM pair \g /dev/null
SELECT throws_ok(format('SELECT loyalty.order_reward(%s, ''special'')', a), 'LY616', NULL, 'one a month, for both') FROM pair;
SELECT is((loyalty.cancel_reward(a, last_order(b))).points_back, 1::bigint, 'cancelled under the other number') FROM pair;
SELECT is((loyalty.balance(a)).available, 1000::bigint, 'back where the points are now') FROM pair;
SELECT is((loyalty.order_reward(a, 'mug')).points_taken, 300::bigint, 'as the survivor') FROM pair;
SELECT is((loyalty.order_reward(b, 'mug')).points_taken, 300::bigint, 'under the other number') FROM pair;
SELECT loyalty.unmerge_members(max(merge_id)) FROM loyalty.member_merge \g /dev/null
SELECT is(orders(a) || '; ' || orders(b), 'mug 1 300 paid; special 0 0 cancelled, mug 1 300 paid', 'each has its own') FROM pair;
SELECT is_empty('SELECT * FROM loyalty.check_benefit()', 'what was paid from the wallet of both stays there');
SELECT is((loyalty.cancel_reward(b, last_order(b))).points_back, 300::bigint, 'and comes back there') FROM pair;
SELECT is((loyalty.balance(a)).available + (loyalty.balance(b)).available, 700::bigint, 'with whom it was paid') FROM pair;
SELECT loyalty.forget_member(b) FROM pair \g /dev/null
SELECT is_empty('SELECT FROM loyalty.reward_order WHERE reference IS NOT NULL UNION ALL SELECT FROM loyalty.reward_act WHERE reference IS NOT NULL', 'nothing is left of the reference');
SELECT throws_ok('UPDATE loyalty.reward_act SET quantity = 0', 'LY005', NULL, 'acts are never changed');

-- by statements, where the tables are not plain
SET loyalty.table_access = off;
SELECT is(ordered(1, 'special', '2026-05-05'), '1 0.00', 'ordered');
SELECT is(cancelled(1, '2026-05-06'), '1 0.00', 'cancelled');
RESET loyalty.table_access;
SELECT is_empty($$SELECT * FROM loyalty.check_all() WHERE invariant <> 'stranger'$$, 'all is well');
SELECT throws_ok($$SELECT loyalty.settle_reward('x', NULL, 5, 5, NULL, '2026-05-01', NULL, NULL)$$, 'LY003', 'act must not be NULL', 'an act that is not given');
SELECT * FROM finish();
