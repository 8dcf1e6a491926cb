-- ledger: what works on anybody's own tables, without setup().
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- ---------------------------------------------------------------------------
-- points_ledger and append_only()
-- ---------------------------------------------------------------------------

CREATE TABLE customer (id int PRIMARY KEY, name text, points loyalty.points_ledger);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON customer FOR EACH ROW EXECUTE FUNCTION loyalty.append_only('points');
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON customer FOR EACH STATEMENT EXECUTE FUNCTION loyalty.append_only();
INSERT INTO customer VALUES (1, 'Ada', '[]'), (2, 'Bea', NULL);

SELECT lives_ok($$UPDATE customer SET points = points OPERATOR(loyalty.||) loyalty.ledger_entry('earn', 100, '2024-01-01', expires_at => '2024-12-31') WHERE id = 1$$, 'a ledger grows');
SELECT lives_ok($$UPDATE customer SET points = points OPERATOR(loyalty.||) loyalty.ledger_entry('redeem', 30, '2024-02-01') WHERE id = 1$$, 'and grows');
SELECT lives_ok($$UPDATE customer SET points = points OPERATOR(loyalty.||) loyalty.ledger_entry('reverse', 10, '2024-03-01', target => 2) WHERE id = 1$$, 'by an entry that refers to another');
SELECT results_eq($$SELECT entry_id, kind, e.points, target FROM customer, loyalty.entries(customer.points) e WHERE id = 1$$,
	$$VALUES (1::bigint, 'earn', 100::bigint, NULL::bigint), (2, 'redeem', 30, NULL), (3, 'reverse', 10, 2)$$, 'entries() lists them');
SELECT is((SELECT loyalty.available(loyalty.fold(points), '2024-03-01') FROM customer WHERE id = 1), 80::bigint, 'fold()');
SELECT is((SELECT loyalty.available(loyalty.fold(points), '2024-12-31') FROM customer WHERE id = 1), 0::bigint, 'expires by itself');
SELECT is((SELECT loyalty.expiring_points(loyalty.fold(points), '2025-01-01', '2024-04-01') FROM customer WHERE id = 1), 80::bigint, 'expiring_points()');
SELECT is((SELECT jsonb_array_length(points::jsonb) FROM customer WHERE id = 1), 3, 'a ledger as jsonb');
SELECT is((SELECT (loyalty.fold(points)::jsonb)->>'earned' FROM customer WHERE id = 1), '100', 'a balance as jsonb');

-- What fold() and balance_agg() return is unpacked until it is stored: both say the same.
CREATE TEMP TABLE stored AS SELECT id, loyalty.fold(points) AS balance FROM customer WHERE id = 1;
INSERT INTO stored SELECT 2, loyalty.balance_agg(points, at, expires_at)
	FROM (VALUES (50, timestamptz '2024-01-02', timestamptz '2024-06-01'), (-20, '2024-01-03', NULL), (5, '2024-01-01', NULL)) r(points, at, expires_at);
CREATE FUNCTION pg_temp.handed_on(points loyalty.points_ledger) RETURNS loyalty.points_balance LANGUAGE plpgsql AS $$
DECLARE
	a loyalty.points_balance := loyalty.fold(points);
	b loyalty.points_balance;
BEGIN
	FOR i IN 1..3 LOOP b := a; a := CASE WHEN i < 3 THEN loyalty.fold(points) ELSE b END; END LOOP;
	RETURN a;
END $$;
SELECT is((SELECT balance::text FROM stored WHERE id = 1), (SELECT loyalty.fold(points)::text FROM customer WHERE id = 1), 'a stored balance is the one that was folded');
SELECT is((SELECT loyalty.available(balance, '2024-03-01') FROM stored WHERE id = 1), 80::bigint, 'read from a table');
SELECT is((SELECT loyalty.available(balance, '2024-03-01') FROM stored WHERE id = 2), 35::bigint, 'of balance_agg likewise');
SELECT is((SELECT loyalty.points_balance_send(loyalty.fold(points)) FROM customer WHERE id = 1),
	(SELECT loyalty.points_balance_send(balance) FROM stored WHERE id = 1), 'the bytes that are sent are those that are stored');
SELECT is((SELECT pg_column_size(loyalty.fold(points)) FROM customer WHERE id = 1),
	(SELECT 4 + octet_length(loyalty.points_balance_send(balance)) FROM stored WHERE id = 1), 'its size is known before it is stored');
SELECT is((SELECT pg_temp.handed_on(points)::text FROM customer WHERE id = 1), (SELECT balance::text FROM stored WHERE id = 1), 'handed on by PL/pgSQL');
SELECT is((SELECT (array_agg(loyalty.fold(points)))[1]::text FROM customer WHERE id = 1), (SELECT balance::text FROM stored WHERE id = 1), 'out of an array');
SELECT is((SELECT (r.c).balance::text FROM (SELECT ROW(1, loyalty.fold(points))::stored AS c FROM customer WHERE id = 1 OFFSET 0) r), (SELECT balance::text FROM stored WHERE id = 1), 'out of a row');

-- ---------------------------------------------------------------------------
-- Undone in parts, and again
-- ---------------------------------------------------------------------------

CREATE FUNCTION pg_temp.story(VARIADIC entries text[]) RETURNS loyalty.points_balance LANGUAGE sql AS $$
	SELECT loyalty.fold(('[' || string_agg(format('{"kind": "%s", "points": %s, "effective_at": "%s"%s}',
		split_part(e, ' ', 1), split_part(e, ' ', 2), timestamptz '2026-01-01 00:00Z' + n * interval '1 hour', coalesce(', ' || nullif(split_part(e, ' ', 3), ''), '')), ', ' ORDER BY n) || ']')::loyalty.points_ledger)
	FROM unnest(entries) WITH ORDINALITY u(e, n)
$$;
CREATE FUNCTION pg_temp.lots_left(b loyalty.points_balance) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(lot_id || ':' || points, ' ' ORDER BY lot_id, points), '') FROM loyalty.balance_lots(b, '2026-01-31')
$$;
SELECT is(pg_temp.lots_left(pg_temp.story(VARIADIC e)), lots, story) FROM (VALUES
	-- three lots; redeemed they come back last taken first: 3, 2, 1; what came back last is taken again first: 1, 2, 3
	('a refund of all', '1:10 2:20 3:30', ARRAY['earn 10 "expires_at":"2026-06-01T00:00:00Z"', 'earn 20 "expires_at":"2026-07-01T00:00:00Z"',
		'earn 30 "expires_at":"2026-08-01T00:00:00Z"', 'redeem 60', 'reverse 60 "target":4']),
	('a part of it undone', '2:15 3:30', ARRAY['earn 10 "expires_at":"2026-06-01T00:00:00Z"', 'earn 20 "expires_at":"2026-07-01T00:00:00Z"',
		'earn 30 "expires_at":"2026-08-01T00:00:00Z"', 'redeem 60', 'reverse 60 "target":4', 'reverse 15 "target":5']),
	('a second part', '3:20', ARRAY['earn 10 "expires_at":"2026-06-01T00:00:00Z"', 'earn 20 "expires_at":"2026-07-01T00:00:00Z"',
		'earn 30 "expires_at":"2026-08-01T00:00:00Z"', 'redeem 60', 'reverse 60 "target":4', 'reverse 15 "target":5', 'reverse 25 "target":5']),
	('a third, of one point', '3:19', ARRAY['earn 10 "expires_at":"2026-06-01T00:00:00Z"', 'earn 20 "expires_at":"2026-07-01T00:00:00Z"',
		'earn 30 "expires_at":"2026-08-01T00:00:00Z"', 'redeem 60', 'reverse 60 "target":4', 'reverse 15 "target":5', 'reverse 25 "target":5', 'reverse 1 "target":5']),
	-- given back in parts, the lots end as they were
	('a refund in two parts that meet between two lots', '1:10 2:20', ARRAY['earn 10 "expires_at":"2026-06-01T00:00:00Z"', 'earn 20 "expires_at":"2026-07-01T00:00:00Z"',
		'redeem 30', 'reverse 20 "target":3', 'reverse 10 "target":3']),
	-- the very lots also where others expire with them
	('of a lot that expires with another', '1:4 3:20', ARRAY['earn 10', 'redeem 10', 'earn 20', 'reverse 10 "target":2', 'reverse 6 "target":4']),
	('of two that do', '1:14 2:10', ARRAY['earn 20', 'earn 10', 'redeem 30', 'reverse 30 "target":3', 'reverse 6 "target":4'])) v(story, lots, e);
SELECT unalike(pg_temp.story('earn 10 "expires_at":"2026-01-01T03:00:00Z"', 'redeem 10', 'earn 1', 'reverse 10 "target":2,"expires_at":"2026-02-15T00:00:00Z"')::text,
	'%graced%', 'days of grace are said of an entry''s lots, not of a balance''s');
SELECT is(pg_temp.lots_left(pg_temp.story('earn 10 "expires_at":"2026-01-01T03:00:00Z"', 'redeem 10', 'earn 1', 'reverse 10 "target":2,"expires_at":"2026-02-15T00:00:00Z"')),
	'1:10 3:1', 'and make the lot live until then');

CREATE TEMP TABLE refused (call text, state text);
INSERT INTO refused VALUES
	($$UPDATE customer SET points = '[]' WHERE id = 1$$, 'LY005'),
	($$UPDATE customer SET points = NULL WHERE id = 1$$, 'LY005'),
	($$UPDATE customer SET points = loyalty.ledger_append('[]', loyalty.ledger_entry('earn', 101, '2024-01-01')) WHERE id = 1$$, 'LY005'),
	($$DELETE FROM customer WHERE id = 1$$, 'LY005'),
	($$TRUNCATE customer$$, 'LY005'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('hold', 1000, '2024-04-01', hold_until => '2024-05-01') FROM customer WHERE id = 1$$, 'LY101'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('reverse', 21, '2024-04-01', target => 2) FROM customer WHERE id = 1$$, 'LY105'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('reverse', 1, '2024-04-01', target => 4) FROM customer WHERE id = 1$$, 'LY103'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('reverse', 11, '2024-04-01', target => 3) FROM customer WHERE id = 1$$, 'LY105'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('reverse', 1, '2024-04-01', target => 3) OPERATOR(loyalty.||) loyalty.ledger_entry('reverse', 1, '2024-04-01', target => 4) FROM customer WHERE id = 1$$, 'LY104'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('earn', 0, '2024-04-01') FROM customer WHERE id = 1$$, 'LY003'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('earn', 1, '2024-04-01', hold_until => '2024-05-01') FROM customer WHERE id = 1$$, 'LY003'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('redeem', 1, '2024-04-01', available_at => '2024-05-01') FROM customer WHERE id = 1$$, 'LY003'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('redeem', 1, '2024-04-01', expires_at => '2024-05-01') FROM customer WHERE id = 1$$, 'LY003'),
	($$SELECT '[{"kind": "earn", "points": 5, "effective_at": "2024-01-01Z", "available_at": "infinity"}, {"kind": "activate", "points": 5, "effective_at": "2024-01-02Z", "target": 1}]'::loyalty.points_ledger$$, 'LY003'),
	($$SELECT '[{"kind": "earn", "points": 5, "effective_at": "2024-01-01Z"}, {"kind": "hold", "points": 5, "effective_at": "2024-01-02Z", "hold_until": "2024-02-01Z"}, {"kind": "release", "points": 3, "effective_at": "2024-01-03Z", "target": 2}]'::loyalty.points_ledger$$, 'LY003'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('steal', 1, '2024-04-01') FROM customer WHERE id = 1$$, '22P02'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('adjust', -2, '2024-04-01', lots => '[{"lot_id": 1, "points": 5, "earned_at": "2024-01-01Z"}]') FROM customer WHERE id = 1$$, 'LY003'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('transfer_in', 2, '2024-04-01', lots => '[{"lot_id": 9, "points": 5, "earned_at": "2024-01-01Z"}]') FROM customer WHERE id = 1$$, 'LY003'),
	($$SELECT points OPERATOR(loyalty.||) loyalty.ledger_entry('transfer_in', 2, '2024-04-01') FROM customer WHERE id = 1$$, 'LY003'),
	($$SELECT points OPERATOR(loyalty.||) '[]' FROM customer WHERE id = 1$$, '22P02'),
	($$SELECT loyalty.fold('[]', 'newest_first')$$, 'LY003'),
	($$SELECT loyalty.fold('[]', clawback_policy => 'none')$$, 'LY003'),
	($$SELECT '{}'::loyalty.points_ledger$$, '22P02'),
	($$SELECT '[{"kind": "earn", "points": 1, "effective_at": "now"}]'::loyalty.points_ledger$$, '22P02'),
	($$SELECT '{"entries": 1, "earned": 5}'::loyalty.points_balance$$, '22P02'),
	($$SELECT loyalty.available('{"entries": 0}', 'infinity')$$, 'LY003');
SELECT throws_ok(call, state, NULL, call) FROM refused;
SELECT is((SELECT loyalty.available(loyalty.fold(points OPERATOR(loyalty.||) loyalty.ledger_entry('reverse', 4, '2024-04-01', target => 3)), '2024-04-01') FROM customer WHERE id = 1),
	76::bigint, 'a reversal is undone by reversing it');
SELECT lives_ok($$UPDATE customer SET name = 'Ada L.' WHERE id = 1$$, 'other columns may change');
SELECT lives_ok($$UPDATE customer SET points = '[{"kind": "earn", "points": 5, "effective_at": "2024-01-01Z"}]' WHERE id = 2$$, 'NULL may become a ledger');
SELECT is((SELECT loyalty.available(loyalty.fold(points), '2024-03-01') FROM customer WHERE id = 1), 80::bigint, 'nothing was changed by it');

-- Text of the types: what is complete comes out as it went in; what makes no sense is refused.
CREATE FUNCTION pg_temp.reread(type text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT %L::loyalty.%I::text', value, type) INTO result;
	RETURN CASE result WHEN value THEN 'the same' ELSE result END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
SELECT is(pg_temp.reread(type, value), outcome, type || ': ' || value) FROM (
	-- one key of a lot each
	SELECT 'points_lots' AS type, replace('[' || pattern || ']', '*', part) AS value, outcome FROM (VALUES
		('{"lot_id": *, "points": 2, "earned_at": "2024-01-01T00:00:00+00:00"}',
			ARRAY['1', '9223372036854775807'], ARRAY['0', '-1', '1.5', '"1"', 'null', '1, "joined": 1', '1, "apart": "true"', '1, "graced": 0', '1, "hold_id": -1']),
		('{"lot_id": 1, "points": *, "earned_at": "2024-01-01T00:00:00+00:00"}', ARRAY['1', '9223372036854775807'], ARRAY['0', '-1', '[]']),
		('{"lot_id": 1, "points": 1, "earned_at": "*"}', ARRAY['0990-01-01T00:00:00+00:00', '9999-12-31T23:59:59.999999+00:00'],
			ARRAY['infinity', '-infinity', 'now', ':', '/', '', '2024-01-01", "available_at": "-infinity', '2024-01-01", "expires_at": "-infinity', '2024-01-01", "opened_until": "-infinity',
				'2024-01-01", "expires_by": "-infinity', '2024-01-01", "available_at": "today', '2024-01-01", "expires_at": "epoch']),
		('{"lot_id": 1, "points": 1*, "joined": true, "apart": true, "graced": true}', ARRAY[', "earned_at": "2024-01-01T00:00:00+00:00", "available_at": "2024-01-02T00:00:00+00:00", "expires_at": "2024-01-04T00:00:00+00:00", '
				'"hold_id": 3, "home_id": -4, "opened_until": "2024-01-03T00:00:00+00:00", "expires_by": "2024-01-05T00:00:00+00:00"',
			', "earned_at": "2024-01-01T00:00:00+00:00", "available_at": "infinity", "expires_at": "2024-01-04T00:00:00+00:00", "opened_until": "infinity", "expires_by": "2024-01-04T00:00:00+00:00"'], ARRAY['', ', "earned_at": 1']),
		('*', ARRAY['', '{"lot_id": 5, "points": 1, "earned_at": "2024-01-05T00:00:00+00:00", "expires_at": "2024-02-04T00:00:00+00:00"}, {"lot_id": 3, "points": 1, "earned_at": "2024-01-06T00:00:00+00:00"}, {"lot_id": 9223372036854775807, "points": 1, "earned_at": "2024-01-07T00:00:00+00:00", "expires_at": "2024-02-06T00:00:00+00:00"}, {"lot_id": 4, "points": 1, "earned_at": "2024-01-05T12:34:56+00:00", "expires_at": "2024-01-01T00:00:00+00:00"}, {"lot_id": 6, "points": 1, "earned_at": "2024-01-08T00:00:00.000001+00:00", "expires_at": "2024-02-07T00:00:00.000001+00:00"}',
			'{"lot_id": 1, "points": 1, "earned_at": "294276-12-31T23:59:59.999999+00:00"}, {"lot_id": 2, "points": 1, "earned_at": "0001-01-01T00:00:00+00:00", "available_at": "294276-12-31T23:59:59.999999+00:00", "hold_id": 9223372036854775807, "home_id": -9223372036854775808}'], ARRAY['1', '[]', 'null', '{}', '{"lot_id": 1, "earned_at": "2024-01-01Z"}', '{"points": 1, "earned_at": "2024-01-01Z"}'])) k(pattern, good, bad),
		LATERAL (SELECT unnest(good) AS part, 'the same' AS outcome UNION ALL SELECT unnest(bad), '22P02') c
	UNION ALL
	-- one key of a balance each
	SELECT 'points_balance', replace('{"entries": 5, ' || pattern || '}', '*', part), outcome FROM (VALUES
		('"last_entry_id": *, "last_effective_at": "2024-01-05T00:00:00+00:00", "earned": 1, "lots": [{"lot_id": 1, "points": 1, "earned_at": "2024-01-01T00:00:00+00:00"}]', ARRAY['1'], ARRAY['-1', '1, "entries": -1']),
		('"last_effective_at": "2024-01-05T00:00:00+00:00", "last_recorded_at": "2024-01-06T00:00:00+00:00", "booked_through": "2024-01-02T00:00:00+00:00", "order": "oldest_first", '
			'"newest_expires_at": "2024-07-01T00:00:00+00:00", "newest_is_fixed": true, "earned": 7, "restored": 2, "redeemed": 4, "revoked": 3, "settled": 2, "booked": *, "lots": []', ARRAY['2', '-3'], ARRAY['0.5']),
		('"redeemed": 10, "debt": 10, "lots": [], "owed": [*]', ARRAY['{"home_id": -1, "points": 3}, {"home_id": 2, "points": 7}', '{"home_id": 1, "points": 10}', '{"home_id": 1, "points": 1}'],
			ARRAY['{"home_id": 2, "points": 3}, {"home_id": 1, "points": 7}', '{"home_id": 1, "points": 3}, {"home_id": 1, "points": 7}', '{"home_id": 0, "points": 3}', '{"home_id": 1, "points": 0}', '{"home_id": 1, "points": -1}',
				'{"home_id": 1, "points": 11}', '{"home_id": 1, "points": 4}, {"home_id": 2, "points": 7}', '{"home_id": 1}', '{"points": 1}', '1']),
		('"lots": [], "chain": "*"', ARRAY['00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100'], ARRAY['', '0', repeat('0', 62), repeat('0', 63), repeat('0', 65)] || ARRAY(SELECT repeat('0', 63) || c FROM unnest('{/,:,`,g,A,x}'::text[]) c)),
		('"order": *, "lots": []', ARRAY['"oldest_first"'], ARRAY['"earliest_expiry"', '"oldest_firsx"', '1', 'true', 'null']),
		('"lots": *', ARRAY['[]'], ARRAY['{}', '1', '[], "chain": 1', '[], "newest_is_fixed": 1', '[], "earned": 1', '[], "earned": -1, "redeemed": -1', '[], "settled": -1, "redeemed": 1', '[], "debt": -1, "earned": 1',
			'[], "last_effective_at": "infinity"', '[], "last_recorded_at": "infinity"', '[], "booked_through": "infinity"'])) k(pattern, good, bad),
		LATERAL (SELECT unnest(good) AS part, 'the same' AS outcome UNION ALL SELECT unnest(bad), '22P02') c
	UNION ALL
	SELECT 'points_balance', unnest('{[],1,"{\"lots\": []}"}'::text[]), '22P02'
	UNION ALL
	-- and of an entry
	SELECT 'points_ledger', replace('[{"kind": "transfer_in", "points": 1, "effective_at": "2024-01-05T00:00:00+00:00"*}]', '*', part), outcome
	FROM (VALUES (', "lots": [{"lot_id": 1, "points": 1, "earned_at": "2024-01-01T00:00:00+00:00"}]', 'the same'), (', "lots": {}', '22P02'), (', "lots": 1', '22P02'), (', "lots": []', 'LY003'), ('', 'LY003'),
		(', "kind": 3', '22P02'), (', "kind": "transfer_i"', '22P02'), (', "kind": "transfer_inn"', '22P02'),
		(', "lots": [{"lot_id": 1, "points": 1, "earned_at": "2024-01-01Z"}]}, 1, {"kind": "earn"', '22P02')) v(part, outcome)) v;

-- What an entry of each kind needs, and has no use for.  Before it stand an earn that waits and a hold.
SELECT is(pg_temp.reread('points_ledger', replace('[{"kind": "earn", "points": 9, "effective_at": "2024-01-01T00:00:00+00:00"}, {"kind": "earn", "points": 9, "effective_at": "2024-01-02T00:00:00+00:00", "available_at": "infinity"}, '
	'{"kind": "hold", "points": 9, "effective_at": "2024-01-03T00:00:00+00:00", "hold_until": "2024-02-01T00:00:00+00:00"}, {' || pattern || '}]', '*', part)), outcome, format('%s: %s', pattern, part))
FROM (VALUES
	('"kind": "earn", "points": *, "effective_at": "2024-01-05T00:00:00+00:00"', ARRAY['1', '9223372036854775789'], ARRAY['0', '-1']),
	('"kind": "redeem", "points": *, "effective_at": "2024-01-05T00:00:00+00:00"', ARRAY['1', '9223372036854775807'], ARRAY['0', '-1']),
	('"kind": "transfer_out", "points": *, "effective_at": "2024-01-05T00:00:00+00:00"', ARRAY['1'], ARRAY['0', '-1', '1, "lots": []']),
	('"kind": "hold", "points": *, "effective_at": "2024-01-02T00:00:00+00:00", "hold_until": "2024-02-01T00:00:00+00:00"', NULL, ARRAY['0', '-1']),
	('"kind": "adjust", "points": *, "effective_at": "2024-01-05T00:00:00+00:00"', ARRAY['1', '-1', '-9223372036854775807'], ARRAY['0', '-9223372036854775808']),
	('"kind": "expire", "points": *, "effective_at": "2024-01-05T00:00:00+00:00"', ARRAY['1', '-1'], ARRAY['0', '-9223372036854775808']),
	('"kind": "earn", "points": 1, "effective_at": "*"', ARRAY['1900-01-01T00:00:00+00:00', '9999-12-31T23:59:59.999999+00:00'], ARRAY['1899-12-31T23:59:59.999999+00:00', '10000-01-01', 'infinity', '-infinity']),
	('"kind": "earn", "points": 1, "effective_at": "2024-01-05T00:00:00+00:00", "*"', ARRAY['available_at": "infinity', 'available_at": "2024-01-05T00:00:00.000001+00:00', 'expires_at": "2023-01-01T00:00:00+00:00', 'expires_by": "2024-06-01T00:00:00+00:00',
			'extends_to": "2024-02-01T00:00:00+00:00'],
		ARRAY['available_at": "2024-01-04T23:59:59.999999Z', 'available_at": "-infinity', 'available_at": "10000-01-01', 'expires_at": "-infinity', 'expires_at": "10000-01-01', 'expires_by": "-infinity', 'expires_by": "10000-01-01',
			'extends_to": "infinity', 'extends_to": "10000-01-01', 'hold_until": "2024-02-01', 'target": 1, "x": "']),
	('"kind": "redeem", "points": 1, "effective_at": "2024-01-05T00:00:00+00:00", "*"', ARRAY['extends_to": "2024-02-01T00:00:00+00:00'],
		ARRAY['available_at": "2024-01-06', 'available_at": "2024-01-04', 'expires_at": "2024-02-01', 'expires_at": "-infinity', 'expires_by": "2024-02-01', 'hold_until": "2024-02-01', 'target": 1, "x": "']),
	('"kind": "adjust", "points": -1, "effective_at": "2024-01-05T00:00:00+00:00", "*"', NULL, ARRAY['available_at": "2024-01-06', 'expires_at": "2024-02-01', 'expires_by": "2024-02-01']),
	('"kind": "hold", "points": 1, "effective_at": "2024-01-02T00:00:00+00:00"*', NULL, ARRAY[', "hold_until": "infinity"', ', "hold_until": "10000-01-01"', '']),
	('"kind": "capture", "points": *, "effective_at": "2024-01-05T00:00:00+00:00", "target": 3', ARRAY['1', '0'], ARRAY['-1', '1, "expires_at": "2024-02-01"']),
	('"kind": "capture", "points": 1, "effective_at": "2024-01-05T00:00:00+00:00", "target": *', ARRAY['3'], ARRAY['0', '-1']),
	('"kind": "release", "points": *, "effective_at": "2024-01-05T00:00:00+00:00", "target": 3', ARRAY['0'], ARRAY['1', '-1']),
	('"kind": "activate", "points": *, "effective_at": "2024-01-05T00:00:00+00:00", "target": 2', NULL, ARRAY['1', '-1', '0, "expires_at": "10000-01-01"', '0, "available_at": "2024-01-06"']),
	('"kind": "activate", "points": 0, "effective_at": "2024-01-05T00:00:00+00:00", "expires_at": "*", "target": 2', ARRAY['2024-02-01T00:00:00+00:00', 'infinity'], NULL),
	('"kind": "reverse", "points": *, "effective_at": "2024-01-05T00:00:00+00:00", "target": 1', ARRAY['1', '9', '0'], ARRAY['-1', '1, "hold_until": "2024-02-01"', '1, "lots": []'])) k(pattern, good, bad),
	LATERAL (SELECT unnest(good) AS part, 'the same' AS outcome UNION ALL SELECT unnest(bad), 'LY003') c;

SELECT throws_ok(format('SELECT %L::loyalty.points_ledger', '[{"kind": "earn", "points": 1, "effective_at": ' || instants || '}]'), 'LY003', message, message) FROM (VALUES
	('"infinity"', 'effective_at of earn must be a finite instant'), ('"2024-01-01", "available_at": "-infinity"', 'available_at of earn must be an instant or infinity'),
	('"1899-01-01"', 'effective_at of earn must be between the years 1900 and 9999')) v(instants, message);

SELECT is(loyalty.next_unbooked_expiry(('{"entries": 1, "last_effective_at": "2024-01-01Z", "earned": 5, "lots": [{"lot_id": 1, "points": 5, "earned_at": "2024-01-01Z"' || lot || '}]' || booked || '}')::loyalty.points_balance),
	next, format('next_unbooked_expiry() of a lot%s%s', lot, booked)) FROM (VALUES
	('', '', NULL::timestamptz), (', "expires_at": "2024-06-01Z"', '', '2024-06-01'), (', "expires_at": "2024-06-01Z", "hold_id": 2, "available_at": "2024-07-01Z"', '', '2024-07-01'),
	(', "expires_at": "2024-06-01Z"', ', "booked": 5, "booked_through": "2024-06-01Z"', NULL), (', "expires_at": "2024-06-01Z"', ', "booked": 4, "booked_through": "2024-06-01Z"', '2024-06-01'),
	(', "expires_at": "2024-06-01Z"', ', "booked_through": "2024-05-31Z"', '2024-06-01')) v(lot, booked, next);

SELECT is(loyalty.next_unbooked_expiry(loyalty.fold('[{"kind": "earn", "points": 5, "effective_at": "1994-01-01Z", "expires_at": "1995-01-01Z"}]'::loyalty.points_ledger)), '1995-01-01', 'next_unbooked_expiry() of a lot of the last century');

-- Rows as they lie in one table: an instant in a column that a kind has no use for says nothing.
SELECT is((SELECT loyalty.ledger_agg(kind, points, at, available_at, expires_at)::text FROM (VALUES ('redeem', 4, timestamptz '2024-01-03', timestamptz '2024-02-01', timestamptz '2025-01-01'),
		('hold', 2, '2024-01-04', '2024-02-01', '2024-03-01'), ('earn', 10, '2024-01-01', '2024-01-02', '2025-01-01')) v(kind, points, at, available_at, expires_at)),
	'[{"kind": "earn", "points": 10, "effective_at": "2024-01-01T00:00:00+00:00", "available_at": "2024-01-02T00:00:00+00:00", "expires_at": "2025-01-01T00:00:00+00:00"}, '
	'{"kind": "redeem", "points": 4, "effective_at": "2024-01-03T00:00:00+00:00"}, {"kind": "hold", "points": 2, "effective_at": "2024-01-04T00:00:00+00:00", "hold_until": "2024-03-01T00:00:00+00:00"}]',
	'ledger_agg() of rows that have every column');

-- Groups within groups, sorted: each level gathers by itself.
SET enable_hashagg = off;
SELECT is_empty($$SELECT * FROM (SELECT a, b, c, d, e, sum(i) AS points, loyalty.available(loyalty.balance_agg(i, '2024-01-01', NULL), '2024-01-01')
		FROM (SELECT i, i % 2 AS a, i % 3 AS b, i % 5 AS c, i % 7 AS d, i % 11 AS e FROM generate_series(1, 3000) i) r GROUP BY ROLLUP (a, b, c, d, e)) g WHERE available <> points$$,
	'balance_agg() of ROLLUP');
RESET enable_hashagg;

-- Bytes of the types, as COPY hands them over, by what pack.h says of them.  A lot of 1 point: flags, the id zigzagged, the points,
-- when it was earned, as days since 2000.
CREATE FUNCTION pg_temp.received(type text, bytes text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	file text := current_setting('data_directory') || '/ledger_primitives.' || pg_backend_pid();
	result text;
BEGIN
	EXECUTE format('CREATE TEMP TABLE received (value loyalty.%I)', type);
	EXECUTE format('COPY (SELECT decode(%L, ''hex'')) TO %L (FORMAT binary)', replace(bytes, ' ', ''), file);
	EXECUTE format('COPY received FROM %L (FORMAT binary)', file);
	EXECUTE format('SELECT value::text || CASE WHEN loyalty.%I_send(value) <> decode(%L, ''hex'') THEN '' in fewer bytes'' ELSE '''' END FROM received', type, replace(bytes, ' ', '')) INTO result;
	DROP TABLE received;
	RETURN replace(replace(result, 'T00:00:00+00:00', ''), '"', '');
EXCEPTION WHEN invalid_binary_representation THEN
	RETURN CASE SQLERRM WHEN 'invalid binary format of ' || type THEN SQLSTATE ELSE SQLERRM END;
END $$;
SELECT is(pg_temp.received(type, bytes), outcome, format('%s: %s', type, bytes)) FROM (VALUES
	('points_lots', '02 00', '[]'),
	('points_lots', '02 01 05 02 01 0b', '[{lot_id: 1, points: 1, earned_at: 2000-01-02}]'),
	('points_lots', '02 01 05 02 8001 0b', '[{lot_id: 1, points: 128, earned_at: 2000-01-02}]'),
	('points_lots', '02 01 05 02 ffffffffffffffff7f 0b', '[{lot_id: 1, points: 9223372036854775807, earned_at: 2000-01-02}]'),
	('points_lots', '02 01 05 feffffffffffffffff01 01 0b', '[{lot_id: 9223372036854775807, points: 1, earned_at: 2000-01-02}]'),
	('points_lots', '02 01 05 02 01 08 0000000000000000', '[{lot_id: 1, points: 1, earned_at: 2000-01-01}] in fewer bytes'),
	('points_lots', '02 01 05 02 01 08 0011e03614000000', '[{lot_id: 1, points: 1, earned_at: 2000-01-02T00:07:00+00:00}] in fewer bytes'),
	('points_lots', '02 02 04 06 01 1b 13 06 03 01 0f', '[{lot_id: 1, points: 1, earned_at: 2000-01-02, expires_at: 2000-01-04}, {lot_id: 3, points: 1, earned_at: 2000-01-04, expires_at: 2000-01-06}]'),
	('points_lots', '00 01 05 02 01 0b', '22P03'), ('points_lots', '01 01 05 02 01 0b', '22P03'),
	('points_lots', '02 01 05 02 01 0b 00', '22P03'), ('points_lots', '02 01 05 02 01', '22P03'), ('points_lots', '02 02 05 02 01 0b', '22P03'), ('points_lots', '02', '22P03'),
	('points_lots', '02 01 05 00 01 0b', '22P03'), ('points_lots', '02 01 05 01 01 0b', '22P03'), ('points_lots', '02 01 05 02 00 0b', '22P03'),
	('points_lots', '02 01 05 02 ffffffffffffffffff01 0b', '22P03'), ('points_lots', '02 01 05 02 ffffffffffffffffff02 0b', '22P03'), ('points_lots', '02 01 05 02 8080808080808080808001 0b', '22P03'),
	('points_lots', '02 01 05 02 01 00', '22P03'), ('points_lots', '02 01 05 02 01 04', '22P03'), ('points_lots', '02 01 05 02 01 0c', '22P03'), ('points_lots', '02 01 05 02 01 08 00000000000000', '22P03'),
	('points_lots', '02 01 05 02 01 08 0000000000000080', '22P03'), ('points_lots', '02 01 05 02 01 08 00000000000000c0', '22P03'),
	('points_lots', '02 01 01 02 01 0b 04', '22P03'), ('points_lots', '02 01 04 02 01 0b 04', '22P03'), ('points_lots', '02 01 06 02 01 0b', '22P03'),
	('points_lots', '02 80808004 05 02 01 0b', '22P03'), ('points_lots', '02 8080808004 05 02 01 0b', '22P03'),
	('points_lots', '02 02 04 02 01 0b 13 06 04 01 08 ff9fb2b35bffff7f', '22P03'), ('points_lots', '02 02 04 02 01 0b f301 06 04 01 08 ff9fb2b35bffff7f', '22P03'),
	('points_lots', '02 01 0d 02 01 0b 03', '22P03'), ('points_lots', '02 01 85 02 01 0b 10', '22P03'), ('points_lots', '02 01 85 02 01 0b 01 04', '22P03'), ('points_lots', '02 01 85 02 01 0b 02 04', '22P03'),
	('points_ledger', '02 00 02 13 8080f6ba870a 01 02 0b 13 41 02 0b', '[{kind: earn, points: 1, effective_at: 2000-01-02, expires_at: 2000-01-04}, {kind: earn, points: 1, effective_at: 2000-01-03, expires_at: 2000-01-05}]'),
	('points_balance', '02 00 00 00 04 04 04 00 00', '{entries: 0, lots: []}'),
	('points_balance', '02 00 02 02 0b 04 04 01 02 01 05 01 01 03', '{entries: 2, last_entry_id: 2, last_effective_at: 2000-01-02, earned: 1, lots: [{lot_id: 1, points: 1, earned_at: 2000-01-02}]}'),
	('points_balance', '02 04 00 00 04 04 04 9008 14 14 02 01 03 04 07 00', '{entries: 0, redeemed: 10, debt: 10, lots: [], owed: [{home_id: -1, points: 3}, {home_id: 2, points: 7}]}'),
	('points_balance', '01 00 00 00 04 04 04 00 00', '22P03'), ('points_balance', '02 20 00 00 04 04 04 00 00', '22P03'), ('points_balance', '02 00 00 00 04 04 04 00 00 00', '22P03'),
	('points_balance', '02 00 00 00 04 04 04 00', '22P03'), ('points_balance', '02 00 80808080808080808001 00 04 04 04 00 00', '22P03'), ('points_balance', '02 00 00 80808080808080808001 04 04 04 00 00', '22P03'),
	('points_balance', '02 00 00 00 00 04 04 00 00', '22P03'), ('points_balance', '02 00 00 00 04 00 04 00 00', '22P03'), ('points_balance', '02 00 00 00 04 04 00 00 00', '22P03'),
	('points_balance', '02 00 00 00 04 04 04 8010 02 00', '22P03'), ('points_balance', '02 00 00 00 04 04 04 11 01 01 00', '22P03'),
	('points_balance', '02 04 00 00 04 04 04 9008 14 14 00 00', '22P03'), ('points_balance', '02 04 00 00 04 04 04 9008 14 14 02 01 03', '22P03'),
	('points_balance', '02 04 00 00 04 04 04 9008 14 14 01 00 03 00', '22P03'), ('points_balance', '02 04 00 00 04 04 04 9008 14 14 01 01 00 00', '22P03'), ('points_balance', '02 04 00 00 04 04 04 9008 14 14 01 01 0b 00', '22P03'),
	('points_balance', '02 04 00 00 04 04 04 9008 14 14 02 04 03 01 07 00', '22P03'), ('points_balance', '02 04 00 00 04 04 04 9008 14 14 02 04 03 04 07 00', '22P03'), ('points_balance', '02 04 00 00 04 04 04 9008 14 14 02 01 04 04 07 00', '22P03')) v(type, bytes, outcome);
SELECT throws_ok($$SELECT loyalty.rebuilt_balance('\x020002030b040401040204000103130403010323')$$, '22P03', 'invalid points_balance',
	'a wallet is rebuilt of nothing that a dump could not be restored from, such as lots in another order');

-- A balance from outside has its lots in consumption order, which is total: what the order of keys does not tell apart is
-- one part.  Two lots that differ in two keys stand as the first of them says.
CREATE TEMP TABLE key_order AS SELECT consumption, key, n, low, high FROM (VALUES
	('earliest', ARRAY['expires_at', 'earned_at', 'lot_id', 'available_at', 'hold_id', 'home_id', 'opened_until', 'expires_by']),
	('oldest', ARRAY['earned_at', 'lot_id', 'expires_at', 'available_at', 'hold_id', 'home_id', 'opened_until', 'expires_by'])) o(consumption, keys),
	unnest(keys) WITH ORDINALITY k(key, n) JOIN (VALUES
	('lot_id', '5', '6'), ('hold_id', '7', '8'), ('home_id', '3', '4'), ('earned_at', '"2024-01-01Z"', '"2024-01-02Z"'), ('available_at', '"2024-01-03Z"', '"2024-01-04Z"'),
	('expires_at', '"2024-06-01Z"', '"2024-06-02Z"'), ('opened_until', '"2024-05-01Z"', '"2024-05-02Z"'), ('expires_by', '"2024-07-01Z"', '"2024-07-02Z"')) v(key, low, high) USING (key);
CREATE FUNCTION pg_temp.in_order(consumption text, VARIADIC lots jsonb[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM (jsonb_build_object('entries', 1, 'last_effective_at', '2024-01-04Z', 'earned', cardinality(lots), 'lots',
			(SELECT jsonb_agg((SELECT jsonb_object_agg(key, low::jsonb) FROM key_order k WHERE k.consumption = 'oldest') || '{"points": 1}' || l ORDER BY n) FROM unnest(lots) WITH ORDINALITY u(l, n)))
		|| CASE consumption WHEN 'oldest' THEN '{"order": "oldest_first"}' ELSE '{}' END::jsonb)::text::loyalty.points_balance;
	RETURN true;
EXCEPTION WHEN invalid_text_representation THEN
	RETURN false;
END $$;
SELECT is_empty($$
	SELECT consumption, a.key, b.key FROM key_order a JOIN key_order b USING (consumption),
		LATERAL (SELECT jsonb_build_object(a.key, a.low::jsonb, b.key, CASE b.n WHEN a.n THEN b.low ELSE b.high END::jsonb) AS first, jsonb_build_object(b.key, b.low::jsonb) || jsonb_build_object(a.key, a.high::jsonb) AS second) l
	WHERE a.n <= b.n AND NOT (pg_temp.in_order(consumption, first, second) AND NOT pg_temp.in_order(consumption, second, first) AND NOT pg_temp.in_order(consumption, first, first))
	$$, 'the order of lots');

SELECT * FROM finish();
