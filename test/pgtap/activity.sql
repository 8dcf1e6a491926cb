-- Room activity: what is recorded, revised and returned, and what is refused.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.record_activity(1, 'order')$$, 'LY001', NULL, 'before setup()');
SELECT lives_ok('SELECT loyalty.setup()', 'setup()');

-- The activity of a member by its external_id, in short: amount, lines left
CREATE FUNCTION state(member bigint, kind text, external text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', a.amount, '[' || (SELECT string_agg(format('%s:%s', l.quantity, l.amount), ' ' ORDER BY l.line) FROM loyalty.activity_line l
		WHERE l.member_id = a.member_id AND l.activity_id = a.activity_id) || ']',
		CASE WHEN a.cancelled THEN 'cancelled' END, CASE WHEN a.returned THEN 'returned' END, CASE WHEN NOT a.confirmed THEN 'open' END)
	FROM loyalty.activity a WHERE a.member_id = $1 AND a.kind = $2 AND a.external_id = $3 AND a.moved_to IS NULL
$$;
CREATE FUNCTION id(member bigint, external text, kind text DEFAULT 'order') RETURNS bigint LANGUAGE sql AS
	'SELECT loyalty.find_activity(member, kind, external)';

-- ---------------------------------------------------------------------------
-- Refusals
-- ---------------------------------------------------------------------------

CREATE TEMP TABLE refusal (n serial, call text, state text, message text);
INSERT INTO refusal (call, state, message) VALUES
	($$record_activity(NULL, 'order')$$, 'LY003', 'member_id must not be NULL'),
	($$record_activity(1, NULL)$$, 'LY003', 'kind must not be NULL'),
	($$record_activity(1, 'odrer')$$, 'LY501', 'there is no kind of activity "odrer"'),
	($$record_activity(1, 'order', NULL)$$, 'LY003', 'at must not be NULL'),
	($$record_activity(1, 'order', 'infinity')$$, 'LY505', 'at of an activity must be an instant that has come'),
	($$record_activity(1, 'order', now() + interval '2 minutes')$$, 'LY505', 'at of an activity must be an instant that has come'),
	($$record_activity(1, 'order', amount => -1)$$, 'LY505', 'amount of an activity must not be negative'),
	($$record_activity(1, 'order', amount => 'NaN')$$, 'LY505', 'amount of an activity must be finite'),
	($$record_activity(1, 'order', amount => 'Infinity')$$, 'LY505', 'amount of an activity must be finite'),
	($$record_activity(1, 'order', amount => 0.1234567)$$, 'LY505', 'amount of an activity has too many decimals'),
	($$record_activity(1, 'order', amount => 1e13)$$, 'LY505', 'amount of an activity is too large'),
	($$record_activity(1, 'order', amount => 10, money => 'euro')$$, 'LY505', 'money "euro" is no code of ISO 4217'),
	($$record_activity(1, 'order', amount => 10, time_zone => 'Mars/Olympus')$$, 'LY505', 'unknown time zone "Mars/Olympus"'),
	($$record_activity(1, 'order', external_id => '')$$, 'LY003', 'external_id must not be empty'),
	($$record_activity(1, 'order', idempotency_key => '')$$, 'LY003', 'idempotency_key must not be empty'),
	($$record_activity(1, 'order', idempotency_key => repeat('x', 2001))$$, 'LY003', 'idempotency_key is longer than 2000 bytes'),
	($$record_activity(1, 'order', lines => '{}')$$, 'LY505', 'lines of an activity must be an array'),
	($$record_activity(1, 'order', lines => '5')$$, 'LY505', 'lines of an activity must be an array'),
	($$record_activity(1, 'order', lines => '[5]')$$, 'LY505', 'line 1 of an activity is no object'),
	($$record_activity(1, 'order', lines => '[{"quantity": "2"}]')$$, 'LY505', 'line 1 of an activity has a wrong "quantity"'),
	($$record_activity(1, 'order', lines => '[{}, {"amount": -1}]')$$, 'LY505', 'amount of line 2 of an activity must not be negative'),
	($$record_activity(1, 'order', lines => '[{"sku": ["x"]}]')$$, 'LY505', 'line 1 of an activity has a wrong "sku"'),
	($$record_activity(1, 'order', lines => '[{"earns": "no"}]')$$, 'LY505', 'line 1 of an activity has an "earns" that is no boolean'),
	($$record_activity(1, 'order', lines => '[{"line": 0}]')$$, 'LY505', 'line 1 of an activity has a wrong "line"'),
	($$record_activity(1, 'order', lines => '[{"line": 1.5}]')$$, 'LY505', 'line 1 of an activity has a wrong "line"'),
	($$record_activity(1, 'order', lines => '[{"line": 2}, {}]')$$, 'LY505', 'line 2 of an activity is there twice'),
	($$record_activity(1, 'order', lines => '[{"price": 2, "quantity": 2, "discount": 5}]')$$, 'LY505', 'line 1 of an activity has a discount beyond its price'),
	($$record_activity(1, 'order', codes => '{a,NULL}')$$, 'LY003', 'a code must not be NULL'),
	($$record_many('{1}', '{order,order}')$$, 'LY003', 'kinds has 2 elements instead of 1'),
	($$record_many('{1,NULL}', '{order,order}')$$, 'LY003', 'member_id and kind must not be NULL'),
	($$record_many('{1,1}', '{order,odrer}')$$, 'LY501', 'there is no kind of activity "odrer"'),
	($$revise_activity(1, 999)$$, 'LY502', 'member 1 has no activity 999'),
	($$record_return(1, 999)$$, 'LY502', 'member 1 has no activity 999'),
	($$define_activity_kind('Not so')$$, 'LY003', 'invalid kind of activity'),
	($$define_activity_kind('x', same_when => 'often')$$, 'LY003', 'invalid same_when "often"'),
	($$define_product(NULL)$$, 'LY003', 'sku and earns must be given'),
	($$define_holidays('de', '{NULL}')$$, 'LY003', 'holidays and days must be given');
SELECT throws_ok('SELECT loyalty.' || r.call, r.state::char(5), r.message, r.call) FROM refusal r ORDER BY n;
SELECT is_empty('SELECT FROM loyalty.activity', 'nothing was recorded');

-- ---------------------------------------------------------------------------
-- What is the same, and what is a repetition
-- ---------------------------------------------------------------------------

SELECT results_eq($$SELECT replayed, points, awards, discount FROM loyalty.record_activity(1, 'order', '2026-01-05', 10, external_id => 'a', idempotency_key => 'k')$$,
	'VALUES (false, 0::bigint, 0, 0::numeric)', 'an order');
SELECT results_eq($$SELECT replayed, activity_id FROM loyalty.record_activity(1, 'order', '2026-01-05', 10.00, external_id => 'a', idempotency_key => 'k')$$,
	$$SELECT true, id(1, 'a')$$, 'retried');
SELECT throws_ok($$SELECT loyalty.record_activity(1, 'order', '2026-01-05', 10.01, external_id => 'a', idempotency_key => 'k')$$, 'LY004',
	'idempotency key "k" was used with other arguments', 'with another amount');
SELECT throws_ok($$SELECT loyalty.record_activity(1, 'order', '2026-01-05', 10, external_id => 'a', idempotency_key => 'l')$$, 'LY506',
	'order "a" of member 1 was recorded before', 'the same order with another key');
SELECT is((SELECT count(*) FROM loyalty.activity), 1::bigint, 'there is one');
SELECT lives_ok($$SELECT loyalty.record_activity(2, 'order', external_id => 'a', idempotency_key => 'k'), loyalty.record_activity(1, 'review', external_id => 'a', idempotency_key => 'k')$$,
	'keys and external ids are those of a member and kind');
SELECT lives_ok($$SELECT loyalty.record_activity(1, 'share', '2026-01-05 23:30', external_id => 'post', time_zone => 'Europe/Berlin'),
	loyalty.record_activity(1, 'share', '2026-01-05 22:30', external_id => 'post', time_zone => 'Europe/Berlin')$$, 'shares of two local days');
SELECT throws_ok($$SELECT loyalty.record_activity(1, 'share', '2026-01-06 12:00', external_id => 'post', time_zone => 'Europe/Berlin')$$, 'LY506', NULL, 'and one of a day that has one');
SELECT is(loyalty.define_activity_kind('wave', 'Wave', 'never'), 'wave', 'a kind of one''s own');
SELECT lives_ok($$SELECT loyalty.record_activity(1, 'wave', external_id => 'x') FROM generate_series(1, 3)$$, 'of which none are the same');
SELECT loyalty.define_activity_kind('wave', same_when => 'external_id') \g /dev/null
SELECT lives_ok($$SELECT loyalty.record_activity(1, 'wave', external_id => 'x')$$, 'what was recorded before a change stays as it is');
SELECT throws_ok($$SELECT loyalty.record_activity(1, 'wave', external_id => 'x')$$, 'LY506', NULL, 'and counts from then on');
SELECT lives_ok($$SELECT loyalty.record_activity(1, 'check_in'), loyalty.record_activity(1, 'check_in')$$, 'without an external id nothing is the same');

-- Many at once
SELECT results_eq($$SELECT ordinal, replayed FROM loyalty.record_many('{7,5,7}', '{order,order,like}', amounts => '{1,2,NULL}', external_ids => '{m1,m2,m3}', idempotency_keys => '{a,a,a}')$$,
	'VALUES (1::bigint, false), (2, false), (3, false)', 'record_many()');
SELECT results_eq($$SELECT m.activity_id, m.replayed FROM loyalty.record_many('{7,5,7}', '{order,order,like}', amounts => '{1,2,NULL}', external_ids => '{m1,m2,m3}', idempotency_keys => '{a,a,a}') m$$,
	$$VALUES (id(7, 'm1'), true), (id(5, 'm2'), true), (id(7, 'm3', 'like'), true)$$, 'retried');
SELECT throws_ok($$SELECT * FROM loyalty.record_many('{8,8}', '{like,like}', external_ids => '{x,x}')$$, 'LY506', 'like "x" of member 8 was recorded before', 'twice the same in one call');
SELECT is_empty('SELECT FROM loyalty.activity WHERE member_id = 8', 'all or none');
SELECT results_eq($$SELECT replayed FROM loyalty.record_many('{8,8}', '{like,like}', external_ids => '{x,x}', idempotency_keys => '{k,k}')$$, 'VALUES (false), (true)', 'twice the same call');
SELECT is_empty($$SELECT * FROM loyalty.record_many('{}', '{}')$$, 'none at once');

-- ---------------------------------------------------------------------------
-- Amounts, lines, days
-- ---------------------------------------------------------------------------

SELECT loyalty.record_activity(1, 'order', '2026-01-05', lines => '[{"sku": "T1", "quantity": 2, "amount": 10.50}, {"sku": 77, "price": 2.50, "quantity": 3, "discount": 0.50, "gift": true}, {"line": 9, "note": "bag"}]',
	external_id => 'lines') \g /dev/null
SELECT is(state(1, 'order', 'lines'), '17.50 [2:10.50 3:7.00 1:]', 'the amount is the sum of the lines');
SELECT results_eq($$SELECT line, sku, quantity, amount, earns, details ->> 'gift' FROM loyalty.activity_line WHERE activity_id = id(1, 'lines') ORDER BY line$$,
	$$VALUES (1, 'T1', 2::numeric, 10.50, true, NULL), (2, '77', 3, 7.00, true, 'true'), (9, NULL, 1, NULL, true, NULL)$$, 'lines');
SELECT loyalty.record_activity(1, 'order', '2026-01-05', 22.5, '[{"amount": 17.5}]', external_id => 'shipping') \g /dev/null
SELECT is(state(1, 'order', 'shipping'), '22.5 [1:17.5]', 'or what is given');
SELECT is((SELECT amount FROM loyalty.activity WHERE activity_id = (SELECT activity_id FROM loyalty.record_activity(1, 'order', lines => '[{"sku": "x"}]'))), NULL, 'or not known');

SELECT loyalty.record_activity(9, 'check_in', v.at, time_zone => v.zone)
	FROM (VALUES (timestamptz '2026-03-29 21:59:59+00', 'Europe/Berlin'), ('2026-03-29 22:00:00+00', 'europe/berlin'), ('2026-03-29 22:00:00+00', NULL)) v (at, zone) \g /dev/null
SELECT results_eq($$SELECT a.local_day, a.time_zone FROM loyalty.activity a WHERE a.member_id = 9 ORDER BY a.activity_id$$,
	$$VALUES (date '2026-03-29', 'Europe/Berlin'), ('2026-03-30', 'Europe/Berlin'), ('2026-03-29', 'UTC')$$, 'local days, over the change to summer time');

-- The catalogue
SELECT is(loyalty.define_product('tea', 'drinks/tea', 'zeta', 'b'), 1, 'the first version is from ever');
SELECT is(loyalty.define_product('tea', 'drinks/tea', 'zeta', 'a', effective_from => '2026-02-01'), 2, 'a later one');
SELECT is(loyalty.define_product('card', 'gift cards', earns => false), 1, 'what earns nothing');
SELECT throws_ok($$SELECT loyalty.define_product('tea', effective_from => '2026-01-31')$$, 'LY003', 'version 3 of product "tea" would begin before version 2', 'not before the last');
SELECT loyalty.record_activity(3, 'order', v.at, lines => '[{"sku": "tea", "amount": 5}, {"sku": "card", "amount": 40}, {"sku": "none", "amount": 1}, {"sku": "tea", "grade": "x", "earns": false}]', external_id => v.id)
	FROM (VALUES (timestamptz '2026-01-31 23:59', 'before'), ('2026-02-01', 'after')) v (at, id) \g /dev/null
SELECT results_eq($$SELECT sku, category, brand, grade, earns FROM loyalty.activity_line WHERE activity_id = id(3, 'before') ORDER BY line$$,
	$$VALUES ('tea', 'drinks/tea', 'zeta', 'b', true), ('card', 'gift cards', NULL, NULL, false), ('none', NULL, NULL, NULL, true), ('tea', 'drinks/tea', 'zeta', 'x', false)$$, 'products as of the instant');
SELECT is((SELECT grade FROM loyalty.activity_line WHERE activity_id = id(3, 'after') AND line = 1), 'a', 'and as of a later one');
SELECT is(loyalty.define_product('tea', 'hot drinks', effective_from => '2026-02-01'), 2, 'one from the same instant replaces it');
SELECT loyalty.revise_activity(3, id(3, 'after'), lines => '[{"sku": "tea", "amount": 6}, {"line": 7, "sku": "tea", "amount": 2}]') \g /dev/null
SELECT results_eq($$SELECT line, category, grade, amount FROM loyalty.activity_line WHERE activity_id = id(3, 'after') ORDER BY line$$,
	$$VALUES (1, 'drinks/tea', 'a', 6::numeric), (7, 'hot drinks', NULL, 2)$$, 'what was known of a line stays; a line that is new is looked up');
SELECT is(loyalty.define_holidays('de', '{2026-12-25,2026-12-26,2026-12-25}'), 2::bigint, 'holidays');
SELECT is(loyalty.define_holidays('de', '{2027-01-01}'), 1::bigint, 'others');

-- ---------------------------------------------------------------------------
-- Revisions and returns: what is left after each step
-- ---------------------------------------------------------------------------

CREATE TEMP TABLE step (n serial, story text, call text, outcome text);
INSERT INTO step (story, call, outcome) VALUES
	-- activity_rule 13: no drift
	('thirds', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 3, "amount": 100.00}]', external_id => 'o')$$, '100.00 [3:100.00]'),
	('thirds', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '66.67 [2:66.67]'),
	('thirds', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '33.33 [1:33.33]'),
	('thirds', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '0.00 [0:0.00] returned'),
	('thirds at once', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 3, "amount": 100.00}]', external_id => 'o')$$, '100.00 [3:100.00]'),
	('thirds at once', $$record_return({m}, {o}, '[{"line": 1, "quantity": 2}]')$$, '33.33 [1:33.33]'),
	('yen', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 3, "amount": 100}]', money => 'JPY', external_id => 'o')$$, '100 [3:100]'),
	('yen', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '67 [2:67]'),
	('yen', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '33 [1:33]'),
	('dinars', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 3, "amount": 100}]', money => 'KWD', external_id => 'o')$$, '100 [3:100]'),
	('dinars', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '66.667 [2:66.667]'),
	('half up', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 2, "amount": 0.25}]', external_id => 'o')$$, '0.25 [2:0.25]'),
	('half up', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '0.13 [1:0.13]'),
	('parts of a quantity', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 1.5, "amount": 3.00}]', external_id => 'o')$$, '3.00 [1.5:3.00]'),
	('parts of a quantity', $$record_return({m}, {o}, '[{"line": 1, "quantity": 0.25}]')$$, '2.50 [1.25:2.50]'),
	-- activity_rule 12, the order
	('a line comes back', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"amount": 290.00}, {"amount": 20.00}]', external_id => 'o')$$, '310.00 [1:290.00 1:20.00]'),
	('a line comes back', $$record_return({m}, {o}, '[{"line": 2}]')$$, '290.00 [1:290.00 0:0.00]'),
	('a line comes back', $$record_return({m}, {o})$$, '0.00 [0:0.00 0:0.00] returned'),
	('an amount of a line', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 2, "amount": 10.00}]', external_id => 'o')$$, '10.00 [2:10.00]'),
	('an amount of a line', $$record_return({m}, {o}, '[{"line": 1, "amount": 1.00}]')$$, '9.00 [2:9.00]'),
	('an amount of a line', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '4.50 [1:4.50]'),
	('shipping', $$record_activity({m}, 'order', '2026-01-05', 14.90, '[{"quantity": 2, "amount": 10.00}]', external_id => 'o')$$, '14.90 [2:10.00]'),
	('shipping', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]', 2.00)$$, '7.90 [1:5.00]'),
	('shipping', $$record_return({m}, {o}, '[{"line": 1}]')$$, '2.90 [0:0.00] returned'),
	('without lines', $$record_activity({m}, 'order', '2026-01-05', 80, external_id => 'o')$$, '80'),
	('without lines', $$record_return({m}, {o}, amount => 30)$$, '50'),
	('without lines', $$record_return({m}, {o})$$, '0 returned'),
	('without lines', $$revise_activity({m}, {o}, 20)$$, '20'),
	('without an amount', $$record_activity({m}, 'order', '2026-01-05', external_id => 'o')$$, ''),
	('without an amount', $$record_return({m}, {o})$$, 'returned'),
	-- activity_rule 25
	('whatever happened', $$record_activity({m}, 'order', '2026-01-05', 50.00, external_id => 'o')$$, '50.00'),
	('whatever happened', $$revise_activity({m}, {o}, 80.00)$$, '80.00'),
	('whatever happened', $$revise_activity({m}, {o}, 20.00, cancelled => true)$$, '20.00 cancelled'),
	('whatever happened', $$revise_activity({m}, {o}, 60.00, cancelled => false)$$, '60.00'),
	('whatever happened', $$revise_activity({m}, {o}, to_member_id => {m} + 1)$$, ' / 60.00'),
	('whatever happened', $$record_return({m} + 1, {o}, amount => 10.00)$$, ' / 50.00'),
	('whatever happened, in another order', $$record_activity({m}, 'order', '2026-01-05', 50.00, external_id => 'o')$$, '50.00'),
	('whatever happened, in another order', $$revise_activity({m}, {o}, to_member_id => {m} + 1)$$, ' / 50.00'),
	('whatever happened, in another order', $$revise_activity({m} + 1, {o}, 60.00)$$, ' / 60.00'),
	('whatever happened, in another order', $$record_return({m} + 1, {o}, amount => 10.00)$$, ' / 50.00'),
	('there and back', $$record_activity({m}, 'order', '2026-01-05', 50, external_id => 'o')$$, '50'),
	('there and back', $$revise_activity({m}, {o}, to_member_id => {m} + 1)$$, ' / 50'),
	('there and back', $$revise_activity({m} + 1, {o}, 40, to_member_id => {m})$$, '40'),
	('there and back', $$revise_activity({m}, {o}, to_member_id => {m} + 1)$$, ' / 40'),
	('not final yet', $$record_activity({m}, 'order', '2026-01-05', 50, external_id => 'o', confirmed => false)$$, '50 open'),
	('not final yet', $$revise_activity({m}, {o}, confirmed => true)$$, '50'),
	('lines and no amount', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"amount": 5}]', external_id => 'o')$$, '5 [1:5]'),
	('lines and no amount', $$revise_activity({m}, {o}, lines => '[{"amount": 5}, {"amount": 2.5}]')$$, '7.5 [1:5 1:2.5]'),
	('lines and no amount', $$revise_activity({m}, {o}, 6)$$, '6 [1:5 1:2.5]'),
	('sold goes along', $$record_activity({m}, 'order', '2026-01-05', lines => '[{"quantity": 3, "amount": 10}]', external_id => 'o')$$, '10 [3:10]'),
	('sold goes along', $$record_return({m}, {o}, '[{"line": 1, "quantity": 1}]')$$, '6.67 [2:6.67]'),
	('sold goes along', $$revise_activity({m}, {o}, to_member_id => {m} + 1)$$, ' / 6.67 [2:6.67]'),
	('sold goes along', $$record_return({m} + 1, {o}, '[{"line": 1, "quantity": 1}]')$$, ' / 3.33 [1:3.33]');

CREATE FUNCTION story_member(wanted text) RETURNS bigint LANGUAGE sql AS 'SELECT 10000 + 10 * min(n) FROM step WHERE story = wanted';
CREATE FUNCTION run_step(s step) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	m bigint := story_member(s.story);
BEGIN
	EXECUTE 'SELECT loyalty.' || replace(replace(s.call, '{m}', m::text), '{o}', coalesce(id(m, 'o'), id(m + 1, 'o'), 0)::text);
	RETURN coalesce(state(m, 'order', 'o'), '') || coalesce(' / ' || state(m + 1, 'order', 'o'), '');
END $$;
SELECT is(run_step(s), s.outcome, s.story || ': ' || s.call) FROM step s ORDER BY n;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() finds nothing after the stories');

SELECT loyalty.record_activity(4, 'order', '2026-01-05', lines => '[{"quantity": 2, "amount": 10}]', external_id => 'o', idempotency_key => 'k'),
	loyalty.record_activity(4, 'order', '2026-01-05', 5, external_id => 'gone') \g /dev/null
SELECT loyalty.revise_activity(4, id(4, 'gone'), cancelled => true) \g /dev/null
TRUNCATE refusal;
INSERT INTO refusal (call, state, message) VALUES
	($$record_return(4, id(4, 'o'), '[{"line": 2}]')$$, 'LY503', 'has no line 2'),
	($$record_return(4, id(4, 'o'), '[{"line": 1, "quantity": 2.5}]')$$, 'LY504', '2.5 of the quantity of line 1'),
	($$record_return(4, id(4, 'o'), '[{"line": 1, "amount": 10.01}]')$$, 'LY504', '10.01 of the amount of line 1'),
	($$record_return(4, id(4, 'o'), '[{"line": 1}, {"line": 1, "quantity": 1}]')$$, 'LY504', '1 of the quantity of line 1'),
	($$record_return(4, id(4, 'o'), amount => 1)$$, 'LY504', '1 of the amount beyond the lines'),
	($$record_return(4, id(4, 'gone'))$$, 'LY504', 'nothing of activity'),
	($$record_return(4, id(4, 'o'), '[]')$$, 'LY505', 'lines of a return must be an array'),
	($$record_return(4, id(4, 'o'), '[{"line": 1, "quantity": 1}, {"line": 1.5}]')$$, 'LY505', 'line 2 of an activity has a wrong "line"'),
	($$record_return(4, id(4, 'o'), '[{"quantity": 1}]')$$, 'LY505', 'lines of a return must be an array'),
	($$record_return(4, id(4, 'o'), '[{"line": 1, "quantity": 1, "amount": 1}]')$$, 'LY505', 'lines of a return must be an array'),
	($$record_return(4, id(4, 'o'), at => '2026-01-04')$$, 'LY505', 'a return cannot be before its activity'),
	($$record_return(4, id(4, 'o'), at => 'infinity')$$, 'LY505', 'at of an activity must be'),
	($$revise_activity(4, id(4, 'o'), -1)$$, 'LY505', 'amount of an activity must not be negative'),
	($$revise_activity(4, id(4, 'o'), lines => '{}')$$, 'LY505', 'lines of an activity must be an array'),
	($$revise_activity(4, id(4, 'o'), at => 'infinity')$$, 'LY505', 'at of an activity must be'),
	($$revise_activity(5, id(4, 'o'))$$, 'LY502', 'member 5 has no activity'),
	($$revise_activity(4, id(4, 'o'), to_member_id => 1, amount => 3, money => 'x')$$, 'LY505', 'money "x" is no code');
SELECT throws_like('SELECT loyalty.' || r.call, '%' || r.message || '%', r.call) FROM refusal r ORDER BY n;
SELECT throws_ok('SELECT loyalty.' || r.call, r.state::char(5), NULL, r.call || ' is ' || r.state) FROM refusal r ORDER BY n;
SELECT is(state(4, 'order', 'o'), '10 [2:10]', 'nothing was changed');

-- Keys of revisions
SELECT results_eq($$SELECT revision, replayed FROM loyalty.record_return(4, id(4, 'o'), '[{"line": 1, "quantity": 1}]', idempotency_key => 'r')$$, 'VALUES (1, false)', 'a return');
SELECT results_eq($$SELECT revision, replayed FROM loyalty.record_return(4, id(4, 'o'), '[{"line": 1, "quantity": 1}]', idempotency_key => 'r')$$, 'VALUES (1, true)', 'retried');
SELECT throws_ok($$SELECT loyalty.record_return(4, id(4, 'o'), idempotency_key => 'r')$$, 'LY004', 'idempotency key "r" was used with other arguments', 'with other arguments');
SELECT is(state(4, 'order', 'o'), '5 [1:5]', 'it was returned once');
SELECT loyalty.revise_activity(4, id(4, 'o'), to_member_id => 6, idempotency_key => 'm') \g /dev/null
SELECT results_eq($$SELECT revision, replayed FROM loyalty.revise_activity(4, id(6, 'o'), to_member_id => 6, idempotency_key => 'm')$$, 'VALUES (2, true)', 'a move, retried where it was');
SELECT throws_ok($$SELECT loyalty.revise_activity(4, id(6, 'o'), 3)$$, 'LY502', format('activity %s is no longer that of member 4', id(6, 'o')), 'it is there no more');
SELECT results_eq($$SELECT replayed, activity_id FROM loyalty.record_activity(4, 'order', '2026-01-05', lines => '[{"quantity": 2, "amount": 10}]', external_id => 'o', idempotency_key => 'k')$$,
	$$SELECT true, id(6, 'o')$$, 'the call that recorded it, retried');
SELECT lives_ok($$SELECT loyalty.record_activity(4, 'order', '2026-01-06', 1, external_id => 'o')$$, 'another one may have its external id');
SELECT throws_ok($$SELECT loyalty.revise_activity(6, id(6, 'o'), to_member_id => 4)$$, 'LY506', 'member 4 has order "o" already', 'then it cannot come back');

-- Another instant is another day
SELECT loyalty.record_activity(4, 'check_in', '2026-03-29 21:59:59+00', external_id => 'shop', time_zone => 'Europe/Berlin'),
	loyalty.record_activity(4, 'check_in', '2026-03-31 12:00+00', external_id => 'shop', time_zone => 'Europe/Berlin') \g /dev/null
SELECT throws_ok($$SELECT loyalty.revise_activity(4, (SELECT min(activity_id) FROM loyalty.activity WHERE member_id = 4 AND kind = 'check_in'), at => '2026-03-30 22:30+00')$$,
	'LY506', 'member 4 has check_in "shop" already', 'a day that has one');
SELECT loyalty.revise_activity(4, (SELECT min(activity_id) FROM loyalty.activity WHERE member_id = 4 AND kind = 'check_in'), at => '2026-03-29 22:00+00') \g /dev/null
SELECT results_eq($$SELECT local_day FROM loyalty.activity WHERE member_id = 4 AND kind = 'check_in' ORDER BY activity_id$$, $$VALUES (date '2026-03-30'), ('2026-03-31')$$, 'the day of the zone that it was recorded in');
SELECT lives_ok($$SELECT loyalty.record_activity(4, 'check_in', '2026-03-29 12:00+00', external_id => 'shop', time_zone => 'Europe/Berlin')$$, 'the day that it left is free');

-- ---------------------------------------------------------------------------
-- As of, and as known at
-- ---------------------------------------------------------------------------

SELECT loyalty.record_activity(20, 'order', '2026-02-01', 100, external_id => 'o') \g /dev/null
SELECT clock_timestamp() AS recorded \gset
SELECT loyalty.record_return(20, id(20, 'o'), amount => 30, at => '2026-02-10') \g /dev/null
SELECT loyalty.record_return(20, id(20, 'o'), amount => 20, at => '2026-02-20') \g /dev/null
SELECT clock_timestamp() AS returned \gset
SELECT loyalty.revise_activity(20, id(20, 'o'), to_member_id => 21) \g /dev/null
SELECT clock_timestamp() AS moved \gset
SELECT loyalty.revise_activity(21, id(21, 'o'), at => '2026-03-01') \g /dev/null
CREATE TEMP TABLE asked (member bigint, as_of timestamptz, known_at timestamptz, amount numeric);
INSERT INTO asked VALUES (20, '2026-01-31', :'returned', NULL), (20, '2026-02-01', :'returned', 100), (20, '2026-02-10', :'returned', 70), (20, '2026-02-19', :'returned', 70),
	(20, '2026-02-20', :'returned', 50), (20, NULL, :'recorded', 100), (20, NULL, '2026-01-01', NULL), (20, NULL, :'moved', NULL), (20, NULL, NULL, NULL),
	(21, NULL, :'returned', NULL), (21, NULL, :'moved', 50), (21, NULL, NULL, 50), (21, '2026-02-28', NULL, NULL), (21, '2026-02-28', :'moved', 50),
	(21, '2026-02-15', :'moved', 70), (21, '2026-02-15', :'returned', NULL), (21, '2026-02-15', :'recorded', NULL), (20, '2026-02-15', :'moved', NULL), (20, '2026-02-01', :'recorded', 100);
SELECT is((SELECT a.amount FROM loyalty.activities(q.member, as_of => q.as_of, known_at => q.known_at) a), q.amount, format('member %s as of %s known at %s', q.member, q.as_of, q.known_at)) FROM asked q;

SELECT loyalty.revise_activity(21, id(21, 'o'), to_member_id => 20, at => '2026-02-01', idempotency_key => 'back') \g /dev/null
SELECT clock_timestamp() AS back \gset
SELECT loyalty.record_return(20, id(20, 'o'), amount => 10, at => '2026-02-25') \g /dev/null
TRUNCATE asked;
INSERT INTO asked VALUES (20, '2026-02-01', :'recorded', 100), (20, NULL, :'returned', 50), (20, NULL, :'moved', NULL), (20, NULL, :'back', 50), (20, NULL, NULL, 40),
	(20, '2026-02-15', NULL, 70), (20, '2026-02-22', NULL, 50), (21, NULL, :'moved', 50), (21, NULL, :'back', NULL), (21, NULL, NULL, NULL), (21, '2026-02-15', NULL, NULL);
SELECT is((SELECT a.amount FROM loyalty.activities(q.member, as_of => q.as_of, known_at => q.known_at) a), q.amount, format('back again: member %s as of %s known at %s', q.member, q.as_of, q.known_at)) FROM asked q;
SELECT results_eq($$SELECT replayed FROM loyalty.revise_activity(20, id(20, 'o'), to_member_id => 20, at => '2026-02-01', idempotency_key => 'back')$$, 'VALUES (true)', 'the move, retried where it came');

-- ---------------------------------------------------------------------------
-- Members
-- ---------------------------------------------------------------------------

SELECT setseed(0) \g /dev/null
CREATE TEMP TABLE person AS SELECT n, (loyalty.resolve_member(jsonb_build_object('email', format('p%s@x.example', n)), 'test')).member_id AS id FROM generate_series(1, 3) n;
SELECT p1.id AS ann, p2.id AS bea, p3.id AS carl FROM person p1, person p2, person p3 WHERE (p1.n, p2.n, p3.n) = (1, 2, 3) \gset
SELECT loyalty.record_activity(:bea, 'order', '2026-01-05', 10, external_id => 'b', document => '{"to": "Bea"}', idempotency_key => 'k') \g /dev/null
SELECT merge_id FROM loyalty.merge_members(:ann, :bea) \gset
SELECT results_eq(format('SELECT activity_id, recorded_for FROM loyalty.activities(%s)', :ann), format('VALUES (id(%s, ''b''), %s::bigint)', :bea, :bea), 'activities of whoever was absorbed');
SELECT throws_ok(format($$SELECT loyalty.record_activity(%s, 'order', external_id => 'b')$$, :ann), 'LY506', NULL, 'under another number it is the same');
SELECT results_eq(format($$SELECT replayed FROM loyalty.record_activity(%s, 'order', '2026-01-05', 10, external_id => 'b', document => '{"to": "Bea"}', idempotency_key => 'k')$$, :ann), 'VALUES (true)', 'and a key the same key');
SELECT lives_ok(format($$SELECT loyalty.revise_activity(%s, id(%s, 'b'), 12)$$, :ann, :bea), 'revised under the other number');
SELECT loyalty.record_activity(:ann, 'order', '2026-01-06', 20, external_id => 'a') \g /dev/null
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT results_eq(format('SELECT amount FROM loyalty.activities(%s)', :bea), 'VALUES (12::numeric)', 'undone, each has its own');
SELECT results_eq(format('SELECT amount FROM loyalty.activities(%s)', :ann), 'VALUES (20::numeric)', 'and what was recorded for it since');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

SELECT loyalty.record_activity(:carl, 'order', '2026-01-05', lines => '[{"sku": "T", "amount": 10, "engraving": "Carl"}]', external_id => 'c', document => '{"to": "Carl"}', channel => 'app', idempotency_key => 'k') \g /dev/null
SELECT loyalty.record_return(:carl, id(:carl, 'c'), '[{"line": 1, "amount": 1}]', reference => 'R for Carl', idempotency_key => 'r') \g /dev/null
SELECT loyalty.forget_member(:carl) \g /dev/null
SELECT is_empty(format($$SELECT FROM loyalty.activity a LEFT JOIN loyalty.activity_revision r USING (activity_id) WHERE a.member_id = %s AND (to_jsonb(a)::text || to_jsonb(r)::text) ~ 'Carl|"k"|"r"|"c"'$$, :carl), 'forgotten');
SELECT is((SELECT amount FROM loyalty.activities(:carl)), 9::numeric, 'amounts stay');
SELECT is((SELECT sku FROM loyalty.activity_line WHERE member_id = :carl), 'T', 'and what was bought');
SELECT throws_ok(format($$SELECT loyalty.record_activity(%s, 'order', amount => 3, idempotency_key => 'new')$$, :carl), 'LY115', 'whether idempotency key "new" was used cannot be told', 'a key of the forgotten');
SELECT throws_ok(format($$SELECT loyalty.record_activity(%s, 'order', amount => 3, external_id => 'new')$$, :carl), 'LY115', 'whether external id "new" was used cannot be told', 'an external id likewise');
SELECT throws_ok(format($$SELECT loyalty.record_return(%s, (SELECT activity_id FROM loyalty.activities(%s)), idempotency_key => 'new')$$, :carl, :carl), 'LY115', NULL, 'and a key of a return');
SELECT lives_ok(format($$SELECT loyalty.record_activity(%s, 'order', amount => 3)$$, :carl), 'without both it is a new one');
SELECT loyalty.configure_program(known_members_only => true) \g /dev/null
SELECT throws_ok($$SELECT loyalty.record_activity(99999, 'order')$$, 'LY202', 'there is no member 99999', 'where the program knows its members');
SELECT throws_ok(format($$SELECT loyalty.revise_activity(%s, id(%s, 'a'), to_member_id => 99999)$$, :ann, :ann), 'LY202', 'there is no member 99999', 'nor is it moved to a stranger');
SELECT loyalty.configure_program(known_members_only => false) \g /dev/null

-- ---------------------------------------------------------------------------
-- By statements, where the table is not plain
-- ---------------------------------------------------------------------------

SET loyalty.table_access = off;
SELECT results_eq($$SELECT replayed FROM loyalty.record_activity(30, 'order', '2026-01-05', 10, external_id => 'a', idempotency_key => 'k')$$, 'VALUES (false)', 'by statements: an order');
SELECT results_eq($$SELECT replayed FROM loyalty.record_activity(30, 'order', '2026-01-05', 10, external_id => 'a', idempotency_key => 'k')$$, 'VALUES (true)', 'by statements: retried');
SELECT throws_ok($$SELECT loyalty.record_activity(30, 'order', external_id => 'a')$$, 'LY506', NULL, 'by statements: the same');
SELECT throws_ok(format($$SELECT loyalty.record_activity(%s, 'order', external_id => 'new')$$, :carl), 'LY115', NULL, 'by statements: of the forgotten');
RESET loyalty.table_access;
CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.member_id = 31 THEN NULL ELSE NEW END; END';
CREATE TRIGGER leave_out BEFORE INSERT ON loyalty.activity FOR EACH ROW EXECUTE FUNCTION leave_out();
SELECT throws_ok($$SELECT loyalty.record_activity(31, 'order')$$, '09000', 'the activity was not stored', 'a trigger of the user''s leaves it out');
SELECT lives_ok($$SELECT loyalty.record_activity(32, 'order')$$, 'or not');
DROP TRIGGER leave_out ON loyalty.activity;

-- ---------------------------------------------------------------------------
-- Who may, and what check_activity() finds
-- ---------------------------------------------------------------------------

CREATE ROLE activity_app;
CREATE ROLE activity_reader;
SELECT loyalty.grant_access('activity_app', 'app'), loyalty.grant_access('activity_reader', 'reader') \g /dev/null
GRANT USAGE ON SCHEMA public TO activity_app, activity_reader;
SET ROLE activity_app;
SELECT lives_ok($$SELECT loyalty.record_activity(40, 'order', amount => 5, external_id => 'o')$$, 'an application records');
SELECT lives_ok($$SELECT * FROM loyalty.record_many('{40}', '{like}')$$, 'many, too');
SELECT lives_ok($$SELECT loyalty.revise_activity(40, loyalty.find_activity(40, 'order', 'o'), 4), loyalty.record_return(40, loyalty.find_activity(40, 'order', 'o'))$$, 'and revises');
SELECT throws_ok($$SELECT loyalty.define_activity_kind('z')$$, '42501', NULL, 'it defines nothing');
SELECT throws_ok($$SELECT loyalty.record_history('{40}', '{order}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, false)$$, '42501', NULL, 'nor brings history in');
SELECT throws_ok($$INSERT INTO loyalty.activity (member_id, kind, at, local_day, time_zone) VALUES (40, 'order', now(), current_date, 'UTC')$$, '42501', NULL, 'nor writes into tables');
SET ROLE activity_reader;
SELECT throws_ok($$SELECT loyalty.record_activity(40, 'order')$$, '42501', NULL, 'a reader records nothing');
SELECT is((SELECT count(*) FROM loyalty.activities(40)), 2::bigint, 'and reads');
RESET ROLE;
DROP OWNED BY activity_app, activity_reader;
DROP ROLE activity_app, activity_reader;

SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well before it is spoiled');
CREATE TEMP TABLE spoiled (statement text, invariant text);
INSERT INTO spoiled VALUES
	($$UPDATE loyalty.activity SET kind = 'none' WHERE member_id = 7 AND kind = 'like'$$, 'kind'),
	($$UPDATE loyalty.activity SET local_day = local_day + 3 WHERE member_id = 7 AND kind = 'order'$$, 'local_day'),
	($$UPDATE loyalty.activity SET revision = 5 WHERE member_id = 7 AND kind = 'order'$$, 'revision'),
	($$UPDATE loyalty.activity SET revised_at = now() + interval '1 day' WHERE member_id = 3 AND revision = 1$$, 'revision'),
	($$DELETE FROM loyalty.activity_revision WHERE member_id = 3$$, 'revision'),
	($$DELETE FROM loyalty.activity WHERE member_id = 3 AND revision = 1$$, 'revision'),
	($$DELETE FROM loyalty.activity WHERE member_id = 6 AND kind = 'order'$$, 'moved'),
	($$UPDATE loyalty.activity SET cancelled = false WHERE member_id = 21$$, 'moved'),
	($$UPDATE loyalty.activity SET moved_to = 9 WHERE member_id = 7 AND kind = 'like'$$, 'moved'),
	($$UPDATE loyalty.activity SET amount = -1 WHERE member_id = 7 AND kind = 'order'$$, 'amount'),
	($$UPDATE loyalty.activity SET lines = '[{"quantity": -1}]' WHERE member_id = 7 AND kind = 'order'$$, 'lines'),
	($$UPDATE loyalty.activity SET lines = '[{"line": 2}, {}]' WHERE member_id = 7 AND kind = 'order'$$, 'lines');
CREATE FUNCTION spoil(s spoiled) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	BEGIN
		EXECUTE s.statement;
		SELECT string_agg(DISTINCT c.room || '.' || c.invariant, ' ') INTO found FROM loyalty.check_all() c;
		RAISE EXCEPTION USING ERRCODE = 'P0099';
	EXCEPTION WHEN SQLSTATE 'P0099' THEN
		RETURN found;
	END;
END $$;
SELECT alike(spoil(s), '%activity.' || s.invariant || '%', s.statement) FROM spoiled s;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and is again');
SELECT * FROM finish();
