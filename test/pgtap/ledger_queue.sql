-- The queue before wallets that everybody hits: what is queued is posted once, in order, or stays there with the reason.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET search_path = public, pg_catalog, loyalty;
SELECT create_currency('miles', expiry_policy => 'rolling', expiry_interval => '1 year', time_zone => 'UTC') \g /dev/null

-- queued points are in no balance, and then in it
SELECT is(queue_earn(1, 100, reference => 'a', idempotency_key => 'a'), 1::bigint, 'the first number');
SELECT is(queue_earn(1, 20, details => '{"shop": 7}'), 2::bigint, 'without a key');
SELECT is(queue_earn(1, 20, details => '{"shop": 7}'), 3::bigint, 'and once more');
SELECT is(queue_earn(2, 5, 'miles', '2026-01-31 12:00+00', idempotency_key => 'a'), 4::bigint, 'another wallet');
SELECT is((SELECT count(*) FROM wallet), 0::bigint, 'no wallet is touched');
SELECT is((SELECT available FROM balance(1)), 0::bigint, 'nothing is available');
SELECT is(queued_points(1), 140::bigint, 'what waits');
SELECT is(queued_points(2, 'miles'), 5::bigint);
SELECT is(queued_points(2), 0::bigint);
SELECT is(queued_points(9), 0::bigint);

-- a repeated call waits once; one with other arguments is another call
SELECT is(queue_earn(1, 100, reference => 'a', idempotency_key => 'a'), 1::bigint, 'repeated');
SELECT is(queue_earn(2, 5, 'miles', '2026-01-31 13:00+01', idempotency_key => 'a'), 4::bigint, 'the same instant');
SELECT throws_ok(format($$SELECT queue_earn(1, %s, idempotency_key => 'a')$$, c.arguments), 'LY004', 'idempotency key "a" was used with other arguments', c.arguments)
FROM (VALUES ('101, reference => ''a'''), ('100'), ('100, reference => ''b'''), ('100, reference => ''a'', effective_at => now()'), ('100, reference => ''a'', details => ''{}''')) c (arguments);
SELECT is(queue_earn(1, 1, 'miles', idempotency_key => 'a') > 4, true, 'the key of another currency');

-- posted in the order of the queue, by member first where one is asked for
SELECT results_eq('SELECT posted, refused FROM post_queued_earns(2)', 'VALUES (1::bigint, 0::bigint)', 'one member');
SELECT results_eq('SELECT available, next_expiry_at FROM balance(2, $$miles$$)', $$VALUES (5::bigint, '2027-01-31 12:00+00'::timestamptz)$$, 'effective when it says');
SELECT results_eq('SELECT posted, refused FROM post_queued_earns(batch_size => 2)', 'VALUES (2::bigint, 0::bigint)', 'two');
SELECT results_eq('SELECT points, reference, idempotency_key, details FROM ledger WHERE member_id = 1 ORDER BY entry_id',
	$$VALUES (100::bigint, 'a', 'a' COLLATE "C", NULL::jsonb), (20, NULL, NULL, '{"shop": 7}')$$, 'in their order');
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (2::bigint, 0::bigint)', 'the rest');
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (0::bigint, 0::bigint)', 'nothing is left');
SELECT is((SELECT available FROM balance(1)), 140::bigint, 'available');
SELECT is(queued_points(1), 0::bigint, 'and not waiting');

-- a call that is repeated after it was posted is posted once; with earn() it shares its keys
SELECT queue_earn(1, 100, reference => 'a', idempotency_key => 'a'), queue_earn(1, 1, 'miles', idempotency_key => 'a'), queue_earn(2, 5, 'miles', '2026-01-31 12:00+00', idempotency_key => 'a') \g /dev/null
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (3::bigint, 0::bigint)', 'posted before');
SELECT is((SELECT count(*) FROM ledger), 5::bigint, 'once');
SELECT is((earn(1, 100, reference => 'a', idempotency_key => 'a')).replayed, true, 'earn() finds it');
SELECT is((earn(1, 7, idempotency_key => 'b')).replayed, false);
SELECT is(queue_earn(1, 7, idempotency_key => 'b') > 0, true);
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (1::bigint, 0::bigint)', 'what earn() has posted');
SELECT is((SELECT available FROM balance(1)), 147::bigint, 'once');

-- what one is refused for is nothing to the others
SELECT queue_earn(1, 8, idempotency_key => 'b'), queue_earn(1, 9, idempotency_key => 'c'), queue_earn(3, 9000000000000000000), queue_earn(3, 9000000000000000000), queue_earn(4, 1) \g /dev/null
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (3::bigint, 2::bigint)', 'three of five');
SELECT results_eq('SELECT member_id, points, left(refused, 70) FROM queued_earn ORDER BY queued_id',
	$$VALUES (1::bigint, 8::bigint, 'LY004: idempotency key "b" was used with other arguments'), (3, 9000000000000000000, 'LY109: earn of 9000000000000000000 points exceeds what a balance can h')$$, 'with the reason');
SELECT is((SELECT available FROM balance(1)), 156::bigint);
SELECT is((SELECT available FROM balance(4)), 1::bigint);
SELECT is(queued_points(1), 0::bigint, 'refused points do not wait');
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (0::bigint, 0::bigint)', 'they are not tried again');
SELECT bag_eq($$SELECT invariant, member_id, currency FROM check_all()$$, $$VALUES ('queue', 1::bigint, 'points'), ('queue', 3, 'points')$$, 'check_all() says so');
SELECT redeem(3, 9000000000000000000) \g /dev/null
SELECT results_eq('SELECT posted, refused FROM post_queued_earns(3, retry => true)', 'VALUES (0::bigint, 1::bigint)', 'a lifetime total is never less');
SELECT results_eq('SELECT posted, refused FROM post_queued_earns(1, retry => true)', 'VALUES (0::bigint, 1::bigint)', 'nor a key another');
DELETE FROM queued_earn;

-- an error that is no refusal changes nothing
SELECT queue_earn(1, 777) \g /dev/null
ALTER TABLE ledger ADD CONSTRAINT own CHECK (points <> 777);
SELECT throws_ok('SELECT post_queued_earns()', '23514', NULL, 'somebody''s own constraint');
SELECT is((SELECT count(*) FROM queued_earn WHERE refused IS NULL), 1::bigint, 'it waits');
ALTER TABLE ledger DROP CONSTRAINT own;
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (1::bigint, 0::bigint)', 'and is posted');

-- wrong arguments
SELECT throws_ok(format('SELECT queue_earn(%s)', c.arguments), c.sqlstate, c.message, c.arguments)
FROM (VALUES ('NULL, 1', 'LY003', 'member_id must not be NULL'), ('1, NULL', 'LY003', 'points must not be NULL'), ('1, 1, NULL', 'LY003', 'currency must not be NULL'),
	('1, 0', 'LY003', NULL), ('1, -1', 'LY003', NULL), ('1, 1.5', 'LY003', NULL), ('1, 9223372036854775808', 'LY003', NULL), ('1, ''NaN''', 'LY003', NULL),
	('1, 1, ''gems''', 'LY102', NULL), ('1, 1, idempotency_key => ''''', 'LY003', 'idempotency_key must not be empty'),
	('1, 1, idempotency_key => repeat(''k'', 2001)', 'LY003', 'idempotency_key is longer than 2000 bytes'),
	('1, 1, effective_at => ''infinity''', 'LY003', NULL), ('1, 1, effective_at => now() + interval ''1 hour''', 'LY003', 'effective_at of earn lies in the future')) c (arguments, sqlstate, message);
SELECT throws_ok('SELECT post_queued_earns(batch_size => 0)', 'LY003', 'batch_size must be positive');
SELECT throws_ok('SELECT post_queued_earns(batch_size => NULL)', 'LY003', 'batch_size must be positive');
SELECT is((SELECT count(*) FROM queued_earn), 0::bigint, 'nothing was queued');

-- members who were merged, and are others again
INSERT INTO member (member_id) SELECT generate_series(1, 4) UNION ALL SELECT generate_series(11, 13);
SELECT queue_earn(11, 30), queue_earn(12, 40, idempotency_key => 'm') \g /dev/null
SELECT merge_id FROM merge_members(11, 12) \gset
SELECT is(queued_points(11), 70::bigint, 'of both');
SELECT is(queued_points(12), 70::bigint, 'who are one');
SELECT post_queued_earns() \g /dev/null
SELECT is((SELECT available FROM balance(11)), 70::bigint, 'posted to whoever stands for them');
SELECT queue_earn(12, 5) \g /dev/null
SELECT unmerge_members(:merge_id) \g /dev/null
SELECT is(queued_points(11), 0::bigint);
SELECT is(queued_points(12), 5::bigint, 'its own again');
SELECT post_queued_earns() \g /dev/null
SELECT is((SELECT available FROM balance(11)), 30::bigint);
SELECT is((SELECT available FROM balance(12)), 45::bigint, 'home again');

-- whoever is forgotten gets what waited; what comes later with a key is refused, and says nothing of him
SELECT queue_earn(13, 10, reference => 'secret', idempotency_key => 'secret') \g /dev/null
SELECT is((export_member(13) #>> '{tables,queued_earn,0,reference}'), 'secret', 'it is exported');
SELECT forget_member(13) \g /dev/null
SELECT is((SELECT available FROM balance(13)), 10::bigint, 'posted');
SELECT is((SELECT count(*) FROM queued_earn), 0::bigint);
SELECT queue_earn(13, 11, reference => 'secret', idempotency_key => 'secret2', details => '{"secret": 1}') \g /dev/null
SELECT results_eq('SELECT posted, refused FROM post_queued_earns()', 'VALUES (0::bigint, 1::bigint)', 'a key of a forgotten member');
SELECT results_eq('SELECT points, refused, reference, idempotency_key::text, details FROM queued_earn', $$VALUES (11::bigint, 'LY115: the member was forgotten', NULL::text, NULL::text, NULL::jsonb)$$, 'without its texts');
SELECT results_eq('SELECT posted, refused FROM post_queued_earns(retry => true)', 'VALUES (0::bigint, 0::bigint)', 'and never again');
SELECT forget_member(13) \g /dev/null
SELECT is((SELECT count(*) FROM queued_earn), 0::bigint, 'forgotten once more');
SELECT is_empty('SELECT * FROM check_all()', 'the proof');

-- rights
CREATE ROLE queue_app LOGIN; CREATE ROLE queue_reader LOGIN; CREATE ROLE queue_nobody LOGIN;
SELECT grant_access('queue_app', 'app'), grant_access('queue_reader', 'reader') \g /dev/null
SET ROLE queue_app;
SELECT lives_ok('SELECT queue_earn(1, 1)', 'an app queues');
SELECT lives_ok('SELECT post_queued_earns()', 'and posts');
SELECT throws_ok('DELETE FROM queued_earn', '42501', NULL, 'and writes by functions only');
SELECT throws_ok('SELECT post_queued(ARRAY[1], ARRAY[1])', '42501', NULL, 'that are for it');
SET ROLE queue_reader;
SELECT throws_ok('SELECT queue_earn(1, 1)', '42501', NULL, 'a reader does not');
SELECT throws_ok('SELECT post_queued_earns()', '42501', NULL);
SELECT lives_ok('SELECT queued_points(1)', 'but reads');
SET ROLE queue_nobody;
SELECT throws_ok('SELECT loyalty.queue_earn(1, 1)', '42501', NULL, 'nobody does');
RESET ROLE;
SELECT * FROM finish();
