-- Amounts and lines of activities, as they are read, stored, added up, and
-- returned; and word of all that.  Numbers are worked out by hand.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
-- What an activity is stored as
CREATE FUNCTION stored(lines jsonb, amount numeric DEFAULT NULL, OUT sum text, OUT lines_stored jsonb) LANGUAGE plpgsql AS $$
DECLARE
	a bigint;
BEGIN
	a := activity_id FROM loyalty.record_activity(1, 'order', '2026-01-05', stored.amount, stored.lines);
	SELECT t.amount::text, t.lines INTO sum, lines_stored FROM loyalty.activity t WHERE t.activity_id = a;
END
$$;

-- ---------------------------------------------------------------------------
-- Amounts
-- ---------------------------------------------------------------------------

SELECT is((SELECT sum FROM stored(NULL, amount::numeric)), expected, amount)
FROM (VALUES ('0', '0'), ('0.00', '0.00'), ('0.000001', '0.000001'), ('0.0001', '0.0001'), ('0.00010', '0.00010'), ('1', '1'), ('1.10', '1.10'), ('12345.678901', '12345.678901'), ('9999.9999', '9999.9999'), ('10000', '10000'), ('99999999', '99999999'),
	('100000000', '100000000'), ('999999999999.999999', '999999999999.999999'), ('1000000000000', '1000000000000'), ('9000000000000', '9000000000000'), ('9000000000000.000000', '9000000000000.000000'), ('1.1000000', '1.100000'), ('1.10000000', '1.100000'),
	('9223372036854.775807', '9223372036854.775807')) v (amount, expected);
SELECT throws_ok(format('SELECT stored(NULL, %L)', amount), 'LY505', 'amount of an activity ' || message, amount)
FROM (VALUES ('9223372036854.775808', 'is too large'), ('9223372036855', 'is too large'), ('92233720368547758070', 'is too large'), ('1.1000001', 'has too many decimals'), ('0.0000001', 'has too many decimals'), ('1000000000000.0000001', 'has too many decimals'), ('-0.01', 'must not be negative'),
	('-1000000000000', 'must not be negative'), ('NaN', 'must be finite'), ('-Infinity', 'must not be negative'), ('Infinity', 'must be finite')) v (amount, message);

-- ---------------------------------------------------------------------------
-- Lines
-- ---------------------------------------------------------------------------

-- as they are given, unless there is something to work out; then all that we know is written, and the rest is kept
SELECT results_eq(format('SELECT * FROM stored(%L)', lines), format('SELECT %L, %L::jsonb', sum, result), lines)
FROM (VALUES ('[]', NULL, '[]'), ('[{}]', NULL, '[{}]'), ('[{"amount": 5.50, "x": [1, {"amount": 2}]}]', '5.50', '[{"amount": 5.50, "x": [1, {"amount": 2}]}]'), ('[{"amount": 5}, {"amount": 2.25}, {"sku": 7}]', '7.25', '[{"amount": 5}, {"amount": 2.25}, {"sku": 7}]'),
	('[{"price": 2.50, "quantity": 3}]', '7.50', '[{"price": 2.50, "quantity": 3, "amount": 7.50}]'), ('[{"price": 2.50}]', '2.50', '[{"price": 2.50, "quantity": 1, "amount": 2.50}]'), ('[{"price": 2.50, "quantity": 0.5, "discount": 0.25}]', '1.00', '[{"price": 2.50, "quantity": 0.5, "discount": 0.25, "amount": 1.00}]'),
	('[{"price": 5, "discount": 5}]', '0', '[{"price": 5, "discount": 5, "quantity": 1, "amount": 0}]'), ('[{"price": 5, "amount": 4}]', '4', '[{"price": 5, "amount": 4}]'), ('[{"price": 0.5, "quantity": 0.5}]', '0.25', '[{"price": 0.5, "quantity": 0.5, "amount": 0.25}]'),
	('[{"price": 1, "sku": 5, "category": "c", "brand": "b", "grade": "g", "note": {"a": [1]}, "line": 3}, {"line": 2, "amount": 2}]', '3', '[{"price": 1, "sku": "5", "category": "c", "brand": "b", "grade": "g", "note": {"a": [1]}, "line": 3, "quantity": 1, "amount": 1}, {"quantity": 1, "amount": 2}]'),
	('[{"price": 1, "earns": true}, {"earns": false, "amount": 1}, {"amount": 1}]', '3', '[{"price": 1, "earns": true, "quantity": 1, "amount": 1}, {"earns": false, "quantity": 1, "amount": 1}, {"quantity": 1, "amount": 1}]'),
	('[{"price": 1}, {"quantity": 2}]', '1', '[{"price": 1, "quantity": 1, "amount": 1}, {"quantity": 2}]'), ('[{"price": 1, "amount": null, "sku": null, "quantity": null, "earns": null, "line": null}]', '1', '[{"price": 1, "quantity": 1, "amount": 1}]'),
	('[{"price": 1, "coupon_discount": 0.25}]', '1.00', '[{"price": 1, "coupon_discount": 0.25, "quantity": 1, "amount": 1.00}]'), ('[{"line": 999999999, "amount": 1}, {"line": 1, "amount": 1}]', '2', '[{"line": 999999999, "amount": 1}, {"line": 1, "amount": 1}]'),
	('[{"price": 1, "quantity": 3, "sold": {"quantity": 4, "amount": 5}}]', '3', '[{"price": 1, "quantity": 3, "amount": 3, "sold": {"quantity": 4, "amount": 5}}]'), ('[{"price": 1}, {"quantity": 1, "sold": {"quantity": 2}}]', '1', '[{"price": 1, "quantity": 1, "amount": 1}, {"quantity": 1, "sold": {"quantity": 2}}]')) v (lines, sum, result);
SELECT throws_ok(format('SELECT stored(%L)', lines), 'LY505', message, lines)
FROM (VALUES ('"x"', 'lines of an activity must be an array'), ('[[]]', 'line 1 of an activity is no object'), ('[{}, null]', 'line 2 of an activity is no object'), ('[{"sku": true}]', 'line 1 of an activity has a wrong "sku"'), ('[{"category": {}}]', 'line 1 of an activity has a wrong "category"'),
	('[{"brand": []}]', 'line 1 of an activity has a wrong "brand"'), ('[{"grade": false}]', 'line 1 of an activity has a wrong "grade"'), ('[{"earns": 1}]', 'line 1 of an activity has an "earns" that is no boolean'), ('[{"quantity": -1}]', 'quantity of line 1 of an activity must not be negative'),
	('[{"amount": "5"}]', 'line 1 of an activity has a wrong "amount"'), ('[{"price": "5"}]', 'line 1 of an activity has a wrong "price"'), ('[{"price": 5, "discount": "1"}]', 'line 1 of an activity has a wrong "discount"'), ('[{}, {"coupon_discount": []}]', 'line 2 of an activity has a wrong "coupon_discount"'),
	('[{"line": "1"}]', 'line 1 of an activity has a wrong "line"'), ('[{"line": -1}]', 'line 1 of an activity has a wrong "line"'), ('[{"line": 1000000000}]', 'line 1 of an activity has a wrong "line"'), ('[{"line": 4}, {"line": 5}, {"line": 4}]', 'line 4 of an activity is there twice'),
	('[{"price": 5, "discount": 5.01}]', 'line 1 of an activity has a discount beyond its price'), ('[{"price": 0.001, "quantity": 0.0001}]', 'amount of an activity has too many decimals'), ('[{"price": 9000000000000, "quantity": 2}]', 'amount of an activity is too large'),
	('[{"amount": 9000000000000}, {"amount": 9000000000000}]', 'amount of an activity is too large'), ('[{"quantity": 3, "sold": 4}]', 'line 1 of an activity has a wrong "sold"'), ('[{"quantity": 3, "sold": {"quantity": 2}}]', 'line 1 of an activity has a wrong "sold"'),
	('[{"quantity": 3, "sold": {}}]', 'line 1 of an activity has a wrong "sold"'), ('[{"quantity": 3, "sold": [4]}]', 'line 1 of an activity has a wrong "sold"'), ('[{"quantity": 3, "amount": 3, "sold": {"quantity": 4}}]', 'line 1 of an activity has a wrong "sold"'),
	('[{"quantity": 3, "amount": 3, "sold": {"quantity": 4, "amount": 2.99}}]', 'line 1 of an activity has a wrong "sold"')) v (lines, message);
SELECT lives_ok(format('SELECT stored(%L)', lines), lines)
FROM (VALUES ('[{"quantity": 3, "sold": {"quantity": 3}}]'), ('[{"quantity": 3, "amount": 3, "sold": {"quantity": 3, "amount": 3}}]'), ('[{"line": 1}, {"line": 2}]')) v (lines);
-- what is wrong is said, and not all of it
SELECT throws_matching($$SELECT stored('[{"sku": [1]}]')$$, 'has a wrong "sku"', 'its name');
CREATE FUNCTION detail(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END
$$;
SELECT is(detail(format('SELECT stored(%L)', lines)), detail, 'says: ' || detail)
FROM (VALUES ('[{"sku": [1]}]', 'It is [1], and must be a text.'), (format('[{"amount": "%s"}]', repeat('x', 100)), format('It is "%s, and must be a number; numbers in JSON have no quotes.', repeat('x', 59))), ('[{"price": 5, "discount": 6.5}]', 'It is 6.5 off 5.'), ('[{"amount": -2}]', 'It is -2.'),
	('[{"amount": 9000000000000.5}, {"amount": 9000000000000}]', 'It is 9000000000000.5 + 9000000000000.'), ('[{"price": 0.001, "quantity": 0.0001}]', 'It is 0.001 * 0.0001.')) v (lines, detail);
SELECT is((SELECT sum FROM stored((SELECT jsonb_agg('{"amount": 0.01}'::jsonb) FROM generate_series(1, 10000)))), '100.00', '10,000 lines');
SELECT throws_ok($$SELECT stored((SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 10001)))$$, 'LY505', 'lines of an activity must be an array', 'and one more');

-- ---------------------------------------------------------------------------
-- Returns
-- ---------------------------------------------------------------------------

-- What is left after each return: the amount, and quantity and amount of each line
CREATE FUNCTION left_after(lines jsonb, amount numeric, returned text[], money text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	a bigint := (loyalty.record_activity(2, 'order', '2026-01-05', left_after.amount, left_after.lines, money => left_after.money)).activity_id;
	part text;
	result text := '';
BEGIN
	FOREACH part IN ARRAY returned LOOP
		EXECUTE format('SELECT loyalty.record_return(2, %s%s)', a, ', ' || nullif(part, ''));
		result := result || ' | ' || (SELECT concat_ws(' ', t.amount, (SELECT string_agg(concat_ws(':', l.quantity, l.amount), ' ' ORDER BY l.line) FROM loyalty.activity_line l WHERE l.activity_id = a), CASE WHEN t.returned THEN 'returned' END)
			FROM loyalty.activity t WHERE t.activity_id = a);
	END LOOP;
	RETURN substr(result, 4);
END
$$;
SELECT is(left_after(lines::jsonb, amount, returned, money), expected, format('%s of %s, %s', returned, lines, amount))
FROM (VALUES
	('[{"quantity": 3, "amount": 10}, {"quantity": 1, "amount": 5}]', NULL::numeric, ARRAY[$$'[{"line": 1, "quantity": 1}]'$$, $$'[{"line": 1, "quantity": 1}, {"line": 2}]'$$, ''], NULL, '11.67 2:6.67 1:5 | 3.33 1:3.33 0:0.00 | 0.00 0:0.00 0:0.00 returned'),
	('[{"quantity": 3, "amount": 10}]', 12, ARRAY['amount => 2', $$'[{"line": 1, "quantity": 3}]'$$], NULL, '10 3:10 | 0 0:0 returned'), ('[{"quantity": 3, "amount": 10}]', 12, ARRAY[$$'[{"line": 1, "quantity": 3}]'$$], NULL, '2 0:0 returned'),
	('[{"quantity": 3, "amount": 10}]', 12, ARRAY[$$amount => 1.5$$, $$'[{"line": 1, "quantity": 2}]'$$], NULL, '10.5 3:10 | 3.83 1:3.33'),
	('[{"quantity": 3, "amount": 10}]', 4, ARRAY[$$'[{"line": 1, "quantity": 1}]'$$, $$'[{"line": 1, "quantity": 1}]'$$], NULL, '0.67 2:6.67 | 0.00 1:3.33'),
	('[{"quantity": 2, "amount": 10}]', NULL, ARRAY[$$'[{"line": 1, "amount": 4}]'$$, $$'[{"line": 1, "quantity": 1}]'$$], NULL, '6 2:6 | 3 1:3'),
	('[{"quantity": 3, "amount": 100}]', NULL, ARRAY[$$'[{"line": 1, "quantity": 1}]'$$, $$'[{"line": 1, "amount": 6.67}]'$$, $$'[{"line": 1, "quantity": 1}]'$$], NULL, '66.67 2:66.67 | 60.00 2:60.00 | 30.00 1:30.00'),
	('[{"line": 7, "quantity": 2}, {"quantity": 1, "amount": 3}]', NULL, ARRAY[$$'[{"line": 7, "quantity": 1}]'$$, $$'[{"line": 7}]'$$, $$'[{"line": 2}]'$$], NULL, '3 1:3 1 | 3 1:3 0 | 0 0:0 0 returned'),
	('[{"quantity": 4, "amount": 10}]', NULL, ARRAY[$$'[{"line": 1, "quantity": 1}]'$$, $$'[{"line": 1, "quantity": 1}]'$$], 'JPY', '8 3:8 | 5 2:5'),
	('[{"quantity": 8, "amount": 1.5}]', NULL, ARRAY[$$'[{"line": 1, "quantity": 5}]'$$], NULL, '0.56 3:0.56'), ('[{"quantity": 8, "amount": 1.500}]', NULL, ARRAY[$$'[{"line": 1, "quantity": 5}]'$$], NULL, '0.563 3:0.563'),
	(NULL, 10, ARRAY['amount => 3', 'amount => 7'], NULL, '7 | 0 returned'), (NULL, 10, ARRAY['amount => 0'], NULL, '10'), (NULL, 0, ARRAY['amount => 0'], NULL, '0 returned')
) v (lines, amount, returned, money, expected);
SELECT throws_ok(format('SELECT left_after(%L, %L, %L)', lines, amount, returned), state, NULL, format('too much: %s of %s, %s', returned, lines, amount))
FROM (VALUES ('[{"quantity": 3, "amount": 10}]', 12::numeric, ARRAY['amount => 2.01'], 'LY504'), ('[{"quantity": 3, "amount": 10}]', 4, ARRAY['amount => 0.01'], 'LY504'), (NULL, 10, ARRAY['amount => 10.01'], 'LY504'), ('[{"quantity": 3, "amount": 10}]', NULL, ARRAY[$$'[{"line": 1, "quantity": 3.000001}]'$$], 'LY504'),
	('[{"quantity": 3, "amount": 10}]', NULL, ARRAY[$$'[{"line": 1, "amount": 10.01}]'$$], 'LY504'), ('[{"quantity": 3}]', NULL, ARRAY[$$'[{"line": 1, "amount": 0.01}]'$$], 'LY504'), (NULL, 10, ARRAY['', 'amount => 1'], 'LY504'), ('[{"quantity": 3}]', NULL, ARRAY[$$'[{"line": 2}]'$$], 'LY503'),
	('[{"quantity": 3}]', NULL, ARRAY[$$'[5]'$$], 'LY505'), ('[{"quantity": 3}]', NULL, ARRAY[$$'[[]]'$$], 'LY505'), ('[{"quantity": 3}]', NULL, ARRAY[$$'5'$$], 'LY505'), ('[{"quantity": 3}]', NULL, ARRAY[$$'{"line": 1}'$$], 'LY505'), ('[{"quantity": 3}]', NULL, ARRAY[$$'[{"line": 1}, {"sku": 1}]'$$], 'LY505')) v (lines, amount, returned, state);

-- what a coupon took off was never sold: what is left is a share of the rest
SELECT loyalty.create_currency('points'), loyalty.define_benefit('ten', '{"kind": "coupon", "discount": {"percent": 10}, "class": "lines", "codes": "generic"}'), loyalty.add_codes('ten', '{TEN}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(5, 'order', '2026-01-05', lines => '[{"quantity": 3, "amount": 30.00}, {"quantity": 2, "amount": 5.00, "sold": {"quantity": 3, "amount": 7.50}}]', codes => '{TEN}') \gset
SELECT is((SELECT lines FROM loyalty.activity WHERE activity_id = :a), '[{"quantity": 3, "amount": 27.00, "coupon_discount": 3.00}, {"quantity": 2, "amount": 4.50, "coupon_discount": 0.50, "sold": {"quantity": 3, "amount": 7.50}}]', 'a coupon');
SELECT loyalty.record_return(5, :a, '[{"line": 1, "quantity": 1}]') \g /dev/null
SELECT is((SELECT amount FROM loyalty.activity_line WHERE activity_id = :a AND line = 1), 18.00, 'two of three');

-- ---------------------------------------------------------------------------
-- Word of it
-- ---------------------------------------------------------------------------

SELECT loyalty.subscribe('reader', '{activity_recorded,activity_revised,activity_returned}') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(3, 'order', '2026-01-05', 10.50, money => 'EUR', channel => 'app "x"') \gset
SELECT loyalty.revise_activity(3, :a, 9, to_member_id => 4, confirmed => false) \g /dev/null
SELECT loyalty.record_return(4, :a, at => '2026-01-07') \g /dev/null
SELECT activity_id AS b FROM loyalty.record_activity(3, 'like', '2026-01-06') \gset
SELECT loyalty.revise_activity(3, :b, cancelled => true) \g /dev/null
SELECT results_eq('SELECT member_id, kind, payload - ''version'' FROM loyalty.event ORDER BY event_id', format($$VALUES
	(3::bigint, 'activity_recorded', '{"activity_id": %1$s, "revision": 0, "kind": "order", "channel": "app \"x\"", "amount": 10.50, "money": "EUR", "confirmed": true, "cancelled": false, "returned": false, "points": 0, "awards": 0}'::jsonb),
	(4, 'activity_revised', '{"activity_id": %1$s, "revision": 1, "kind": "order", "channel": "app \"x\"", "amount": 9.00, "money": "EUR", "confirmed": false, "cancelled": false, "returned": false, "from_member_id": 3, "points": 0, "awards": 0}'),
	(4, 'activity_returned', '{"activity_id": %1$s, "revision": 2, "kind": "order", "channel": "app \"x\"", "amount": 0.00, "money": "EUR", "confirmed": false, "cancelled": false, "returned": true, "points": 0, "awards": 0}'),
	(3, 'activity_recorded', '{"activity_id": %2$s, "revision": 0, "kind": "like", "confirmed": true, "cancelled": false, "returned": false, "points": 0, "awards": 0}'),
	(3, 'activity_revised', '{"activity_id": %2$s, "revision": 1, "kind": "like", "confirmed": true, "cancelled": true, "returned": false, "points": 0, "awards": 0}')$$, :a, :b), 'what is said of each');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
