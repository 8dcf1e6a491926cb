-- ledger: award_points().  What a row is worth as it stands is what its member
-- has of it, whatever happened to the row.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT no_plan();
SELECT lives_ok('SELECT loyalty.setup()', 'setup()');
SELECT FROM loyalty.create_currency('status', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('monthly', expiry_policy => 'rolling', expiry_interval => '1 month', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('in_lot', clawback_policy => 'within_lot', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('in_balance', clawback_policy => 'within_balance', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('berlin', expiry_policy => 'rolling', expiry_interval => '1 day', time_zone => 'Europe/Berlin');

CREATE FUNCTION available(member bigint, currency text DEFAULT 'points') RETURNS bigint LANGUAGE sql AS
	'SELECT available FROM loyalty.balance(member, currency)';

-- ---------------------------------------------------------------------------
-- Stories, worked out by hand
-- ---------------------------------------------------------------------------

-- {o} is the story's order and {m} its member; {m}+1 is another one.  What
-- holds after a step is what the two members have, and what the first owes.
CREATE TABLE orders (id bigint PRIMARY KEY, member_id bigint, amount numeric, at timestamptz, status text DEFAULT 'paid', note text);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=orders', 'member=member_id', 'points=amount', 'at=at', $$when=status <> 'cancelled'$$);
CREATE TRIGGER status AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=orders', 'member=member_id', 'points=round(amount * 2)', 'at=at', $$when=status <> 'cancelled'$$, 'currency=status');

CREATE TEMP TABLE step (n serial, story text, call text, outcome text);
INSERT INTO step (story, call, outcome) VALUES
	('raised and lowered', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 200 WHERE id = {o}', '200/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 100 WHERE id = {o}', '100/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 50.5 WHERE id = {o}', '50/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 50.4 WHERE id = {o}', '50/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 0.9 WHERE id = {o}', '0/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 300 WHERE id = {o}', '300/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 60 WHERE id = {o}', '60/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = NULL WHERE id = {o}', '0/0/0'),
	('raised and lowered', 'UPDATE orders SET amount = -5 WHERE id = {o}', '0/0/0'),
	('refund that was a mistake', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0/0'),
	('refund that was a mistake', 'UPDATE orders SET amount = 20 WHERE id = {o}', '20/0/0'),
	('refund that was a mistake', 'UPDATE orders SET amount = 70 WHERE id = {o}', '70/0/0'),
	('refund that was a mistake', 'UPDATE orders SET amount = 50 WHERE id = {o}', '50/0/0'),
	('opened again', 'INSERT INTO orders VALUES ({o}, {m}, 50, ''2026-01-01'')', '50/0/0'),
	('opened again', 'UPDATE orders SET status = ''cancelled'' WHERE id = {o}', '0/0/0'),
	('opened again', 'UPDATE orders SET status = ''cancelled'', amount = 40 WHERE id = {o}', '0/0/0'),
	('opened again', 'UPDATE orders SET status = ''paid'' WHERE id = {o}', '40/0/0'),
	('opened again', 'UPDATE orders SET status = NULL WHERE id = {o}', '0/0/0'),
	('cancelled and lowered at once', 'INSERT INTO orders VALUES ({o}, {m}, 80, ''2026-01-01'')', '80/0/0'),
	('cancelled and lowered at once', 'UPDATE orders SET status = ''cancelled'', amount = 0 WHERE id = {o}', '0/0/0'),
	('paid later', 'INSERT INTO orders VALUES ({o}, {m}, 30, ''2026-01-01'', ''cancelled'')', '0/0/0'),
	('paid later', 'UPDATE orders SET status = ''paid'' WHERE id = {o}', '30/0/0'),
	('another''s account', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0/0'),
	('another''s account', 'UPDATE orders SET member_id = {m} + 1 WHERE id = {o}', '0/70/0'),
	('another''s account', 'UPDATE orders SET member_id = {m}, amount = 60 WHERE id = {o}', '60/0/0'),
	('another''s account', 'UPDATE orders SET member_id = {m} + 1 WHERE id = {o}', '0/60/0'),
	('another''s account', 'UPDATE orders SET status = ''cancelled'', member_id = {m} WHERE id = {o}', '0/0/0'),
	('another''s account, spent', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0/0'),
	('another''s account, spent', 'SELECT FROM loyalty.redeem({m}, 50)', '20/0/0'),
	('another''s account, spent', 'UPDATE orders SET member_id = {m} + 1 WHERE id = {o}', '0/70/50'),
	('another''s account, spent', 'UPDATE orders SET member_id = {m} WHERE id = {o}', '20/0/0'),
	('a guest who registers', 'INSERT INTO orders VALUES ({o}, NULL, 40, ''2026-01-01'')', '0/0/0'),
	('a guest who registers', 'UPDATE orders SET amount = 45 WHERE id = {o}', '0/0/0'),
	('a guest who registers', 'UPDATE orders SET member_id = {m} WHERE id = {o}', '45/0/0'),
	('a guest who registers', 'UPDATE orders SET member_id = NULL WHERE id = {o}', '0/0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m}, 55, ''2026-02-01'')', '55/0/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m} + 1, 12, ''2026-02-01'')', '0/12/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m}, 13, ''2026-02-01'')', '13/0/0'),
	('deleted and entered again at once', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0/0'),
	('deleted and entered again at once', 'WITH gone AS (DELETE FROM orders WHERE id = {o} RETURNING *) INSERT INTO orders SELECT id, member_id, 30, at FROM gone', '30/0/0'),
	('entered twice', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0/0'),
	('entered twice', 'INSERT INTO orders VALUES ({o}, {m}, 41, ''2026-01-01'') ON CONFLICT DO NOTHING', '40/0/0'),
	('entered twice', 'INSERT INTO orders VALUES ({o}, {m}, 41, ''2026-01-01'') ON CONFLICT (id) DO UPDATE SET amount = excluded.amount', '41/0/0'),
	('under another number', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0/0'),
	('under another number', 'UPDATE orders SET id = id + 1000000, amount = 35 WHERE id = {o}', '35/0/0'),
	('under another number', 'INSERT INTO orders VALUES ({o}, {m}, 5, ''2026-01-01'')', '40/0/0'),
	('under another number', 'DELETE FROM orders WHERE id = {o} + 1000000', '5/0/0'),
	('by hand', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0/0'),
	('by hand', 'SELECT FROM loyalty.reverse({m}, (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = {m}), 50)', '20/0/0'),
	('by hand', 'UPDATE orders SET note = ''touched'' WHERE id = {o}', '20/0/0'),
	('by hand', 'UPDATE orders SET status = ''cancelled'' WHERE id = {o}', '0/0/0'),
	('by hand', 'UPDATE orders SET status = ''paid'' WHERE id = {o}', '20/0/0'),
	('by hand', 'UPDATE orders SET amount = 80 WHERE id = {o}', '30/0/0'),
	('undone by hand', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0/0'),
	('undone by hand', 'UPDATE orders SET amount = 20 WHERE id = {o}', '20/0/0'),
	('undone by hand', 'SELECT FROM loyalty.reverse({m}, (SELECT max(entry_id) FROM loyalty.ledger WHERE member_id = {m} AND currency = ''points''))', '70/0/0'),
	('undone by hand', 'UPDATE orders SET note = ''touched'' WHERE id = {o}', '20/0/0'),
	('undone by hand', 'UPDATE orders SET amount = 80 WHERE id = {o}', '80/0/0'),
	('other entries with its key', 'SELECT FROM loyalty.earn({m}, 5), loyalty.redeem({m}, 5, idempotency_key => ''orders:{o}'')', '0/0/0'),
	('other entries with its key', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0/0'),
	('other entries with its key', 'UPDATE orders SET amount = 60 WHERE id = {o}', '60/0/0'),
	('a fast till', 'INSERT INTO orders VALUES ({o}, {m}, 70, now() + interval ''2 minutes'')', '70/0/0'),
	('a fast till', 'UPDATE orders SET amount = 75 WHERE id = {o}', '75/0/0'),
	('a fast till', 'UPDATE orders SET at = ''infinity'', amount = 76 WHERE id = {o}', '76/0/0'),
	('no time', 'INSERT INTO orders VALUES ({o}, {m}, 70, NULL)', '70/0/0'),
	('no time', 'UPDATE orders SET amount = 71 WHERE id = {o}', '71/0/0'),
	('many statements in one transaction', 'BEGIN; INSERT INTO orders VALUES ({o}, {m}, 70, NULL); UPDATE orders SET amount = 20 WHERE id = {o}; UPDATE orders SET member_id = {m} + 1 WHERE id = {o}; COMMIT', '0/20/0');

CREATE FUNCTION story_number(wanted text) RETURNS bigint LANGUAGE sql AS 'SELECT min(n) FROM step WHERE story = wanted';
CREATE FUNCTION run_step(s step) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	o bigint := story_number(s.story);
	m bigint := 10 * o;
	part text;
BEGIN
	FOREACH part IN ARRAY string_to_array(regexp_replace(s.call, '^BEGIN; |; COMMIT$', '', 'g'), '; ') LOOP
		EXECUTE replace(replace(part, '{o}', o::text), '{m}', m::text);
	END LOOP;
	RETURN (SELECT concat_ws('/', a.available, b.available, a.debt) FROM loyalty.balance(m) a, loyalty.balance(m + 1) b);
END $$;
SELECT is(run_step(s), s.outcome, s.story || ': ' || s.call) FROM step s ORDER BY n;

-- the second trigger, with its own rate, in the same currency of status
SELECT is_empty($$
	SELECT o.* FROM orders o, LATERAL loyalty.balance(coalesce(o.member_id, 0), 'status') b
	WHERE o.member_id IS NOT NULL AND (SELECT sum(CASE WHEN status <> 'cancelled' THEN greatest(round(amount * 2), 0) ELSE 0 END) FROM orders s WHERE s.member_id = o.member_id) <> b.available - b.debt$$,
	'two currencies from one table');
SELECT results_eq($$SELECT details ->> 'at' LIKE to_char(now() AT TIME ZONE 'UTC', 'YYYY-%') OR details ->> 'at' = 'infinity', effective_at <= now()
	FROM loyalty.ledger WHERE reference = 'orders:' || story_number('a fast till') AND currency = 'points' AND kind = 'earn'$$,
	$$VALUES (true, true), (true, true), (true, true)$$, 'a time ahead of now is kept, and counts as now');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() finds nothing after the stories');

-- ---------------------------------------------------------------------------
-- What stays, and what is said
-- ---------------------------------------------------------------------------

-- Lots keep the first expiry.
CREATE TABLE monthly (LIKE orders INCLUDING ALL);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON monthly FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=monthly', 'member=member_id', 'points=amount', 'at=at', 'currency=monthly', $$when=status <> 'cancelled'$$);
INSERT INTO monthly VALUES (1, 5001, 50, now() - interval '5 days');
CREATE TEMP TABLE lot AS SELECT expires_at FROM loyalty.lots(5001, 'monthly');
UPDATE monthly SET amount = 20;
UPDATE monthly SET at = NULL;
UPDATE monthly SET amount = 60;
UPDATE monthly SET status = 'cancelled';
DELETE FROM monthly;
INSERT INTO monthly VALUES (1, 5001, 75, now() - interval '1 day');
SELECT results_eq($$SELECT sum(points)::bigint, expires_at FROM loyalty.lots(5001, 'monthly') GROUP BY 2$$,
	$$SELECT 75::bigint, expires_at FROM lot$$, 'what comes back, and what comes to it, expires as what was earned first');
UPDATE monthly SET member_id = 5002;
SELECT results_eq($$SELECT sum(points)::bigint, expires_at FROM loyalty.lots(5002, 'monthly') GROUP BY 2$$,
	$$SELECT 75::bigint, expires_at FROM lot$$, 'another member''s likewise');

-- What the policy leaves with the member does not come a second time.
CREATE TABLE policies (id int PRIMARY KEY, member_id bigint, amount int);
CREATE TRIGGER in_lot AFTER INSERT OR UPDATE OR DELETE ON policies FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=policies', 'member=member_id', 'points=amount', 'currency=in_lot');
CREATE TRIGGER in_balance AFTER INSERT OR UPDATE OR DELETE ON policies FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=policies', 'member=member_id', 'points=amount', 'currency=in_balance');
INSERT INTO policies VALUES (1, 5010, 70);
SELECT FROM unnest('{in_lot,in_balance}'::text[]) c, LATERAL loyalty.redeem(5010, 60, c) r, LATERAL loyalty.earn(5010, 20 + 0 * r.entry_id, c) e;
UPDATE policies SET amount = 20;
SELECT is(available(5010, 'in_lot'), 20::bigint, 'within_lot: 10 of 50 are there to be taken');
SELECT is(available(5010, 'in_balance'), 0::bigint, 'within_balance: 30 of 50');
UPDATE policies SET amount = 70;
SELECT is(available(5010, 'in_lot'), 30::bigint, 'what was taken comes back, and no more: 30 stand in');
SELECT is(available(5010, 'in_balance'), 30::bigint, 'within_balance likewise');

-- Pending points move with the row.
CREATE TABLE parcels (id int PRIMARY KEY, member_id bigint, points int, delivered date, at timestamp);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON parcels FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=parcels', 'member=member_id', 'points=points', 'at=at', $$available_at=coalesce(delivered + 14, 'infinity')$$);
INSERT INTO parcels VALUES (1, 5020, 30, NULL, '2026-01-01');
SELECT results_eq('SELECT available, pending FROM loyalty.balance(5020)', 'VALUES (0::bigint, 30::bigint)', 'pending until the parcel is there');
UPDATE parcels SET delivered = current_date;
SELECT results_eq($$SELECT points, state, available_at FROM loyalty.lots(5020)$$, $$VALUES (30::bigint, 'pending', (current_date + 14)::timestamptz)$$, 'and a fortnight more');
UPDATE parcels SET points = 25, delivered = current_date - 1;
SELECT results_eq($$SELECT points, state, available_at FROM loyalty.lots(5020)$$, $$VALUES (25::bigint, 'pending', (current_date + 13)::timestamptz)$$, 'both changed at once');
UPDATE parcels SET delivered = current_date - 20;
SELECT is(available(5020), 25::bigint, 'available by now');
UPDATE parcels SET delivered = current_date;
SELECT is(available(5020), 25::bigint, 'what is available stays so');
INSERT INTO parcels VALUES (2, 5021, 30, NULL, '2026-01-01');
SELECT FROM loyalty.activate(5021, (SELECT entry_id FROM loyalty.ledger WHERE member_id = 5021));
UPDATE parcels SET delivered = current_date WHERE id = 2;
SELECT is(available(5021), 30::bigint, 'and so does what was activated');

-- A time without zone, and a date, are the currency's.
CREATE TABLE days (id int PRIMARY KEY, member_id bigint, day date, at timestamp);
CREATE TRIGGER by_day AFTER INSERT OR UPDATE OR DELETE ON days FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=days', 'member=member_id', 'points=1', 'at=day', 'currency=berlin');
CREATE TRIGGER by_time AFTER INSERT OR UPDATE OR DELETE ON days FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=times', 'member=member_id', 'points=1', 'at=at', 'currency=berlin');
SET timezone = 'Asia/Tokyo';
INSERT INTO days VALUES (1, 5030, '2026-01-15', '2026-07-15 12:00');
RESET timezone;
SET timezone = 'UTC';
SELECT results_eq('SELECT effective_at FROM loyalty.ledger WHERE member_id = 5030 ORDER BY entry_id',
	$$VALUES (timestamptz '2026-01-14 23:00+00'), ('2026-07-15 10:00+00')$$, 'times of the currency''s zone, whatever the session''s');

-- Names of tables do not matter, nor does the name of a partition; its key does.
CREATE TABLE parted (id bigint, member_id bigint, amount int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE parted_2 (extra text, day date NOT NULL, amount int, id bigint NOT NULL, member_id bigint);
ALTER TABLE parted_2 DROP COLUMN extra;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON parted FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=parted', 'member=member_id', 'points=amount', 'at=day', 'key=id', 'currency=monthly');
CREATE TRIGGER whole_key AFTER INSERT OR UPDATE OR DELETE ON parted FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=parted', 'member=member_id', 'points=amount', 'at=day', 'currency=status');
INSERT INTO parted VALUES (1, 5040, 50, '2026-01-05'), (2, 5040, 7, '2026-02-05');
UPDATE parted SET day = '2026-02-10' WHERE id = 1;
SELECT is((SELECT earned - revoked + restored FROM loyalty.balance(5040, 'monthly')), 57::bigint, 'a row that moves to another partition counts once');
SELECT is(available(5040, 'status'), 57::bigint, 'also where its key changes by that');
SELECT results_eq($$SELECT DISTINCT expires_at FROM loyalty.lots(5040, 'monthly') WHERE lot_id = (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = 5040)$$,
	$$VALUES (timestamptz '2026-02-05')$$, 'and keeps its lot');
ALTER TABLE parted_2 RENAME TO february;
ALTER TABLE parted RENAME TO orders_by_day;
CREATE SCHEMA other;
ALTER TABLE orders_by_day SET SCHEMA other;
ALTER TABLE february SET SCHEMA other;
UPDATE other.orders_by_day SET amount = 10 WHERE id = 1;
DELETE FROM other.february WHERE id = 2;
SELECT is(available(5040, 'status'), 10::bigint, 'tables may be renamed');

-- Keys of every kind
CREATE TABLE named (shop text, no text, ordered_at timestamptz, member_id bigint, PRIMARY KEY (shop, no, ordered_at));
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON named FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=named', 'member=member_id', 'points=10', 'at=ordered_at');
INSERT INTO named VALUES ('x:y', 'z', '2024-01-01', 5050), ('x', 'y:z', '2024-01-01', 5050), ('x\', 'y', '2024-01-01', 5050), ('x', '\y', '2024-01-01', 5050),
	('x', '1', '2024-01-01', 5050), ('x', '1~2', '2024-01-01', 5050), ('x', '', '2024-01-01', 5050), (repeat('x', 3000), repeat('y', 3000), '2024-01-01', 5050),
	(repeat('x', 3000), repeat('y', 3001), '2024-01-01', 5050);
SELECT is(available(5050), 90::bigint, 'keys that look alike are different rows');
SET timezone = 'Asia/Shanghai';
SET datestyle = 'sql, dmy';
DELETE FROM named WHERE no IN ('1', 'z') OR length(shop) = 3000;
RESET datestyle;
SET timezone = 'UTC';
SELECT is(available(5050), 50::bigint, 'and are found again, whatever the session''s settings');
SELECT is(loyalty.row_key('a', 'b:c', 'd~e\f'), 'a:b\:c:d\~e\\f', 'row_key()');
SELECT is(loyalty.row_key_of('a', ROW(7, date '2026-01-31', timestamptz '2026-02-01 01:00+02')), 'a:7:2026-01-31:2026-01-31 23\:00\:00+00', 'of several types');
SELECT is(loyalty.row_key('a', VARIADIC '{1,x}'::text[]), 'a:1:x', 'of an array');
SELECT is(loyalty.row_key_of('a', ROW('1', NULL)), NULL, 'of NULL');
SELECT is(loyalty.row_key('a', NULL), NULL, 'of NULL as text');

-- A statement that is refused changes nothing.
SELECT throws_ok($$INSERT INTO orders VALUES (900001, 5060, 'NaN', '2026-01-01')$$, 'LY003', NULL, 'NaN is no number of points');
SELECT throws_ok($$INSERT INTO orders VALUES (900001, 5060, 'infinity', '2026-01-01')$$, 'LY003', NULL, 'nor is infinity');
SELECT throws_ok($$INSERT INTO orders VALUES (900001, 5060, 5, '-infinity')$$, 'LY003', NULL, 'nothing was earned before all times');
SELECT throws_ok($$INSERT INTO orders VALUES (900001, 5060, 1e30, '2026-01-01')$$, 'LY003', 'term "points=amount" is out of the range of bigint', 'more than there can be');
BEGIN;
INSERT INTO orders VALUES (900001, 5060, 10, '2026-01-01');
ROLLBACK;
SELECT is_empty('SELECT FROM loyalty.ledger WHERE member_id = 5060', 'no order, no points');
INSERT INTO orders VALUES (900002, 5061, 10, '2026-01-01'), (900003, 5062, 10, '2026-01-01');
ALTER TABLE orders ADD CONSTRAINT limited CHECK (amount < 1000) NOT VALID;
SELECT throws_ok($$UPDATE orders SET amount = CASE id WHEN 900002 THEN 5 ELSE 1000 END, member_id = 5063 WHERE id IN (900002, 900003)$$, '23514', NULL, 'one row of a statement is refused');
SELECT results_eq('SELECT available(5061), available(5062), available(5063)', 'VALUES (10::bigint, 10::bigint, 0::bigint)', 'and nothing of it was posted');

-- Triggers of the user's that change the row again
CREATE TABLE totals (id int PRIMARY KEY, member_id bigint, amount int, note text);
CREATE FUNCTION set_total() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note IS NULL THEN
		UPDATE totals SET amount = 100, note = 'first' WHERE id = NEW.id;
		UPDATE totals SET amount = 40, note = 'second', member_id = NEW.member_id + 1 WHERE id = NEW.id;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER a_total AFTER INSERT OR UPDATE ON totals FOR EACH ROW EXECUTE FUNCTION set_total();
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON totals FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=totals', 'member=member_id', 'points=amount');
INSERT INTO totals VALUES (1, 5070, 7);
SELECT results_eq('SELECT available(5070), available(5071)', 'VALUES (0::bigint, 40::bigint)', 'the row counts as it stands, not as it was when the trigger was queued');
UPDATE totals SET amount = 3, note = NULL, member_id = 5075;
SELECT results_eq('SELECT available(5070), available(5071), available(5075), available(5076)', 'VALUES (0::bigint, 0::bigint, 0::bigint, 40::bigint)', 'after an update likewise');
CREATE FUNCTION drop_total() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM totals WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER a_total_gone AFTER INSERT ON totals FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION drop_total();
INSERT INTO totals VALUES (2, 5078, 9, 'gone');
SELECT is(available(5078), 0::bigint, 'a row that is gone by then earns nothing');
CREATE TABLE later (id int PRIMARY KEY, member_id bigint, amount int);
CREATE CONSTRAINT TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=later', 'member=member_id', 'points=amount');
BEGIN;
INSERT INTO later VALUES (1, 5080, 10), (2, 5080, 20);
UPDATE later SET amount = amount + 1;
UPDATE later SET member_id = 5081 WHERE id = 1;
DELETE FROM later WHERE id = 2;
COMMIT;
SELECT results_eq('SELECT available(5080), available(5081)', 'VALUES (0::bigint, 11::bigint)', 'a deferred trigger');
INSERT INTO later VALUES (3, 5082, 70), (4, 5082, 30);
BEGIN;
UPDATE later SET id = 9 WHERE id = 3;
UPDATE later SET id = 3 WHERE id = 4;
UPDATE later SET id = 4 WHERE id = 9;
COMMIT;
SELECT is(available(5082), 100::bigint, 'two rows that exchange their keys before it fires');
BEGIN;
UPDATE later SET id = 9, member_id = 5083 WHERE id = 3;
DELETE FROM later WHERE id = 4;
UPDATE later SET id = 4 WHERE id = 9;
COMMIT;
SELECT results_eq('SELECT available(5082), available(5083)', 'VALUES (0::bigint, 30::bigint)', 'and one that takes over that of a deleted row');
DELETE FROM later WHERE id = 4;

-- Keys that are unique at the end of the statement, or of the transaction
CREATE TABLE renumbered (shop int, no int, member_id bigint, amount int, UNIQUE (shop, no) DEFERRABLE);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON renumbered FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=renumbered', 'key=shop, no', 'member=member_id', 'points=amount');
INSERT INTO renumbered VALUES (1, 1, 5084, 70), (1, 2, 5084, 30), (1, 3, 5084, 5), (2, 2, 5085, 400);
UPDATE renumbered SET no = no + 1 WHERE shop = 1;
SELECT is(available(5084), 105::bigint, 'rows that move up by one');
UPDATE renumbered SET no = 5 - no, amount = amount + 1 WHERE shop = 1 AND no IN (2, 3);
SELECT is(available(5084), 107::bigint, 'that exchange their keys');
UPDATE renumbered SET no = 6 - no, member_id = CASE no WHEN 2 THEN 5085 ELSE member_id END WHERE shop = 1 AND no IN (2, 4);
SELECT results_eq('SELECT available(5084), available(5085)', 'VALUES (76::bigint, 431::bigint)', 'and an owner');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO renumbered VALUES (2, 2, 5085, 9);
DELETE FROM renumbered WHERE shop = 2 AND amount = 400;
COMMIT;
SELECT is(available(5085), 40::bigint, 'a row that is there before the one whose key it has is gone');
DELETE FROM renumbered WHERE shop = 1;
SELECT results_eq('SELECT available(5084), available(5085)', 'VALUES (0::bigint, 9::bigint)', 'all that are deleted give up theirs');

-- A partition in a schema of its own; another primary key
CREATE SCHEMA archive;
CREATE TYPE standing AS ENUM ('paid', 'open');
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE TABLE parted (id int NOT NULL, year int NOT NULL, member_id bigint, amount int, state standing DEFAULT 'paid', PRIMARY KEY (id, year)) PARTITION BY LIST (year);
CREATE TABLE archive.parted_2025 PARTITION OF parted FOR VALUES IN (2025);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON parted FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=parted', 'member=member_id', 'points=twice(amount)', $$when=state = 'paid'::standing$$);
INSERT INTO parted VALUES (1, 2025, 5086, 7);
SELECT is(available(5086), 14::bigint, 'functions and types are those of the schema of the topmost table');
CREATE TABLE renamed_key (a int NOT NULL, b int NOT NULL, member_id bigint, amount int, PRIMARY KEY (a));
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON renamed_key FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=renamed key', 'member=member_id', 'points=amount');
INSERT INTO renamed_key VALUES (1, 11, 5087, 3);
DELETE FROM renamed_key;
ALTER TABLE renamed_key DROP CONSTRAINT renamed_key_pkey, ADD PRIMARY KEY (b);
INSERT INTO renamed_key VALUES (1, 12, 5087, 4), (1, 13, 5087, 5);
SELECT is(available(5087), 9::bigint, 'a primary key that is another one by now');

-- Points beyond bigint
CREATE TABLE beyond (id int PRIMARY KEY, member_id bigint, amount numeric);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON beyond FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=beyond', 'member=member_id', 'points=amount');
SELECT throws_ok('INSERT INTO beyond VALUES (1, 5088, 9223372036854775808)', 'LY003', 'term "points=amount" is out of the range of bigint', 'more than a bigint');
INSERT INTO beyond VALUES (1, 5088, -9223372036854775809), (2, 5088, 0.99);
SELECT is(available(5088), 0::bigint, 'less than none is none, however much');
INSERT INTO beyond VALUES (3, 5088, 9223372036854775806.9);
SELECT is(available(5088), 9223372036854775806, 'nearly as many as a bigint holds');

-- History
CREATE TABLE past (id int PRIMARY KEY, shop text DEFAULT 'a', member_id bigint, amount int, at timestamptz DEFAULT '2025-01-01');
INSERT INTO past (id, member_id, amount) VALUES (1, 5090, 70), (2, 5090, 80), (3, 5090, 90), (4, 5090, 0), (5, NULL, 5);
CREATE VIEW past_points AS SELECT member_id, 'earn' AS kind, amount AS points, at AS effective_at, id::text AS idempotency_key, NULL AS target_key FROM past WHERE id IN (1, 2)
	UNION ALL SELECT member_id, 'reverse', 20, at + interval '1 day', NULL, id::text FROM past WHERE id = 2
	UNION ALL SELECT member_id, 'reverse', 5, at + interval '2 days', NULL, id::text FROM past WHERE id = 2;
SELECT is((SELECT entries FROM loyalty.backfill('past_points', source => 'past')), 4::bigint, 'history comes in with the keys of its rows');
SELECT results_eq($$SELECT idempotency_key COLLATE "default", reference FROM loyalty.ledger WHERE member_id = 5090 ORDER BY entry_id$$,
	$$VALUES ('past:1', 'past:1'), ('past:2', 'past:2'), ('past:2~2', 'past:2'), ('past:2~3', 'past:2')$$, 'as the trigger would have given them');
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON past FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=past', 'member=member_id', 'points=amount', 'at=at');
UPDATE past SET amount = 60 WHERE id = 1;
SELECT is(available(5090), 115::bigint, 'a row of it is lowered: 60 + 55');
UPDATE past SET amount = 55 WHERE id = 2;
SELECT is(available(5090), 115::bigint, 'what history gave back is counted');
UPDATE past SET amount = 56 WHERE id = 2;
SELECT is(available(5090), 116::bigint, 'raised: 60 + 56');
SELECT is((SELECT entries FROM loyalty.backfill('past_points', source => 'past2')), 4::bigint, 'another source has other keys');

UPDATE past SET amount = 100 WHERE id = 3;
SELECT is_empty($$SELECT FROM loyalty.ledger WHERE reference = 'past:3'$$, 'a row that nothing was posted for is left alone');
UPDATE past SET amount = 4 WHERE id = 4;
UPDATE past SET member_id = 5091 WHERE id = 5;
SELECT results_eq($$SELECT reference, points FROM loyalty.ledger WHERE reference IN ('past:4', 'past:5') ORDER BY 1$$, $$VALUES ('past:4', 4::bigint), ('past:5', 5)$$,
	'but not one that was worth nothing, or was nobody''s');

-- Members that are merged, and taken apart
SELECT FROM setval('loyalty.member_member_id_seq', 6000);
CREATE TABLE kin AS SELECT n, r.member_id AS m FROM generate_series(1, 6) n, LATERAL loyalty.resolve_member(jsonb_build_object('email', format('m%s@example.org', n))) r;
SELECT m AS a FROM kin WHERE n = 1 \gset
SELECT m AS b FROM kin WHERE n = 2 \gset
SELECT m AS c FROM kin WHERE n = 3 \gset
SELECT m AS d FROM kin WHERE n = 4 \gset
INSERT INTO orders VALUES (910001, :a, 70, '2026-01-01'), (910002, :b, 30, '2026-01-01'), (910003, :a, 9, '2026-01-01');
DELETE FROM orders WHERE id = 910003;
SELECT merge_id AS merged FROM loyalty.merge_members(:b, :a) \gset
UPDATE orders SET amount = 50 WHERE id = 910001;
SELECT is(available(:b), 80::bigint, 'a row of an absorbed member is lowered: 50 + 30');
UPDATE orders SET amount = 60 WHERE id = 910001;
INSERT INTO orders VALUES (910003, :a, 10, '2026-01-01');
SELECT is(available(:b), 100::bigint, 'raised, and another entered again: 60 + 30 + 10');
UPDATE orders SET member_id = :b WHERE id = 910001;
SELECT is(available(:b), 100::bigint, 'the shop writes the survivor''s number: the same');
UPDATE orders SET amount = 61 WHERE id = 910001;
DELETE FROM orders WHERE id = 910003;
SELECT is(available(:b), 91::bigint, '61 + 30');
SELECT FROM loyalty.unmerge_members(:merged);
SELECT results_eq(format('SELECT available(%s), available(%s)', :a, :b), 'VALUES (0::bigint, 91::bigint)', 'taken apart, each has what is of its rows');
UPDATE orders SET member_id = :a WHERE id = 910001;
INSERT INTO orders VALUES (910003, :a, 11, '2026-01-01');
SELECT results_eq(format('SELECT available(%s), available(%s)', :a, :b), 'VALUES (72::bigint, 30::bigint)', 'and so it goes on');

-- undoing a reversal across a merge, under either number
SELECT entry_id AS earned FROM loyalty.earn(:c, 100, effective_at => '2026-01-01', idempotency_key => 'k') \gset
SELECT entry_id AS reversed FROM loyalty.reverse(:c, :earned, 40) \gset
SELECT entry_id AS redeemed FROM loyalty.redeem(:c, 30) \gset
SELECT entry_id AS refunded FROM loyalty.reverse(:c, :redeemed) \gset
SELECT merge_id AS merged FROM loyalty.merge_members(:d, :c) \gset
SELECT is((SELECT available FROM loyalty.reverse(:d, :reversed, 10)), 70::bigint, 'undone by the survivor''s number');
SELECT is((SELECT available FROM loyalty.reverse(:c, :reversed)), 100::bigint, 'and the rest by its own');
SELECT is((SELECT available FROM loyalty.reverse(:c, :refunded, 20)), 80::bigint, 'a refund is undone');
SELECT is((SELECT replayed FROM loyalty.earn(:c, 100, effective_at => '2026-01-01', idempotency_key => 'k')), true, 'a key is known after the merge');
SELECT is((SELECT replayed FROM loyalty.earn(:c, 100, 'status', effective_at => '2026-01-01', idempotency_key => 'k')), false, 'and free in another currency');
CREATE TABLE returned AS SELECT :c AS member_id, 'reverse' AS kind, 25 AS points, now() AS effective_at, 'k' AS target_key, 'r' AS idempotency_key;
SELECT is((SELECT entries FROM loyalty.backfill('returned')), 1::bigint, 'backfill() finds what an absorbed member did by its key');
SELECT is(available(:d), 55::bigint, 'and takes it back');
SELECT throws_ok(format('SELECT loyalty.reverse(%s, %s, 76)', :d, :earned), 'LY105', NULL, 'what is reversed by then is counted: 75 are left');
SELECT entry_id AS held FROM loyalty.hold(:d, 55, now() + interval '1 day') \gset
SELECT FROM loyalty.unmerge_members(:merged);
SELECT is((SELECT available FROM loyalty.capture(:c, :held, 5)), 50::bigint, 'a hold is found through whom its lots went to');
SELECT throws_ok(format('SELECT loyalty.reverse(%s, %s)', :d, :earned), 'LY103', NULL, 'an entry of somebody else is not');
SELECT throws_ok(format('SELECT loyalty.reverse(%s, %s)', :d, :reversed), 'LY103', NULL, 'nor is its reversal');

-- what was taken out of another's lots goes back to them, in a part without a key
SELECT m AS e FROM kin WHERE n = 5 \gset
SELECT m AS f FROM kin WHERE n = 6 \gset
INSERT INTO orders VALUES (910004, :e, 70, '2026-01-01');
SELECT FROM loyalty.earn(:f, 50);
SELECT merge_id AS merged FROM loyalty.merge_members(:f, :e) \gset
SELECT FROM loyalty.redeem(:f, 70);
UPDATE orders SET amount = 30 WHERE id = 910004;
SELECT is(available(:f), 10::bigint, 'its own lot was spent: 40 of the other''s 50');
SELECT FROM loyalty.unmerge_members(:merged);
UPDATE orders SET amount = 70 WHERE id = 910004;
UPDATE orders SET note = 'touched' WHERE id = 910004;
SELECT results_eq(format('SELECT available(%s), available(%s)', :e, :f), 'VALUES (0::bigint, 50::bigint)', 'they are the other''s again, and the row has what it spent');

-- rows that are loaded again, of a member who earned them while merged
SELECT member_id AS g FROM loyalty.resolve_member('{"email": "g@again.example"}') \gset
SELECT member_id AS h FROM loyalty.resolve_member('{"email": "h@again.example"}') \gset
CREATE TABLE again (id int PRIMARY KEY, member_id bigint, amount int);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON again FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=again', 'member=member_id', 'points=amount');
INSERT INTO again VALUES (1, :g, 45);
SELECT merge_id AS merged FROM loyalty.merge_members(:g, :h) \gset
UPDATE again SET member_id = :h;
SELECT FROM loyalty.unmerge_members(:merged);
TRUNCATE again;
INSERT INTO again VALUES (1, :h, 45);
SELECT results_eq(format('SELECT available(%s), available(%s)', :g, :h), 'VALUES (0::bigint, 45::bigint)', 'what was earned while merged is not earned twice');

-- Keys: by member and currency; of a transfer, the sender's.
SELECT FROM unnest('{6101,6102}'::bigint[]) m, LATERAL loyalty.earn(m, 10);
SELECT is((SELECT replayed FROM loyalty.transfer(6101, 6102, 4, idempotency_key => 't')), false, 'a transfer with a key');
SELECT is((SELECT replayed FROM loyalty.transfer(6102, 6101, 1, idempotency_key => 't')), false, 'the receiver may use it for another');
SELECT is((SELECT replayed FROM loyalty.transfer(6101, 6102, 4, idempotency_key => 't')), true, 'the sender has used it');
SELECT results_eq('SELECT available(6101), available(6102)', 'VALUES (7::bigint, 13::bigint)', 'once');

-- Terms
CREATE TABLE terms (id int PRIMARY KEY, member_id bigint, amount numeric, "Odd Name" int DEFAULT 3, at timestamptz);
CREATE TEMP TABLE refused (arguments text, state text, message text);
INSERT INTO refused VALUES
	($$'member=member_id', 'points=amount'$$, 'LY003', 'trigger "t" has no term "source"'),
	($$'source=t', 'points=amount'$$, 'LY003', 'trigger "t" has no term "member"'),
	($$'source=t', 'member=member_id'$$, 'LY003', 'trigger "t" has no term "points"'),
	($$'source=t', 'member=member_id', 'amount'$$, 'LY003', 'argument "amount" of trigger "t" is no term'),
	($$'source=t', 'member=member_id', 'rate=2'$$, 'LY003', 'argument "rate=2" of trigger "t" is no term'),
	($$'source=t', 'member=member_id', 'points=amount', 'points=1'$$, 'LY003', 'term "points" of trigger "t" is there twice'),
	($$'source=t', 'member=', 'points=amount'$$, 'LY003', 'term "member" of trigger "t" is empty'),
	($$'source=a:b', 'member=member_id', 'points=amount'$$, 'LY003', 'source "a:b" of trigger "t" is not usable'),
	($$'source=t', 'member=member', 'points=amount'$$, '42703', 'column "member" does not exist'),
	($$'source=t', 'member=member_id', 'points=amount +'$$, '42601', NULL),
	($$'source=t', 'member=member_id', 'points=amount, 1'$$, 'LY003', 'term "points" has 2 values instead of one'),
	($$'source=t', 'member=member_id', 'points=amount FROM terms'$$, 'LY003', 'term "points" is no expression'),
	($$'source=t', 'member=member_id', 'points=(SELECT 1)'$$, '0A000', NULL),
	($$'source=t', 'member=member_id', 'points=sum(amount)'$$, '42803', NULL),
	($$'source=t', 'member=member_id', 'points=now()'$$, '42804', 'term "points" is of type timestamp with time zone'),
	($$'source=t', 'member=member_id', 'points=amount', 'when=amount'$$, '42804', 'term "when" is of type numeric'),
	($$'source=t', 'member=member_id', 'points=amount / 0'$$, '22012', NULL),
	($$'source=t', 'member=member_id', 'points=amount', 'key=at'$$, 'LY003', 'term "key=at" is NULL'),
	($$'source=t', 'member=member_id', 'points=amount', 'currency=none_such'$$, 'LY102', NULL),
	($$'source=orders', 'member=member_id', 'points=amount'$$, 'LY003', 'source "orders" of trigger "t" is also that of trigger "award" on orders');
CREATE FUNCTION try_terms(arguments text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON terms FOR EACH ROW EXECUTE FUNCTION loyalty.award_points(' || arguments || ')';
	INSERT INTO terms VALUES (1, 5100, 5);
END $$;
SELECT throws_ok(format('SELECT try_terms(%L)', arguments), state, message, arguments) FROM refused;
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON terms FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=t', 'member= member_id ', ' points = "Odd Name" * ceil(new.amount)', 'key=id, upper($$a$$)');
INSERT INTO terms VALUES (1, 5100, 4.2);
SELECT is(available(5100), 15::bigint, 'expressions, odd names, "new"');
SELECT is((SELECT reference FROM loyalty.ledger WHERE member_id = 5100), 't:1:A', 'a key of two values');
CREATE OR REPLACE FUNCTION public.ceil(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT 1000000.0';
SET search_path = public, pg_catalog;
INSERT INTO terms VALUES (2, 5101, 4.2);
SELECT is(available(5101), 15::bigint, 'a function of that name on the search_path is not called');
DROP FUNCTION public.ceil(numeric);
CREATE FUNCTION rate() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2';
CREATE OR REPLACE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON terms FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=t', 'member=member_id', 'points=amount * rate()', 'key=id, upper($$a$$)');
INSERT INTO terms VALUES (3, 5102, 4.2);
SELECT is(available(5102), 8::bigint, 'a trigger that is replaced has new terms');
CREATE OR REPLACE FUNCTION rate() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';
ALTER TABLE terms ADD COLUMN more int;
UPDATE terms SET more = 1 WHERE id = 3;
SELECT is(available(5102), 12::bigint, 'and so has one whose function is replaced; touching the row settles it');
ALTER TABLE terms ALTER COLUMN amount TYPE int USING amount::int;
UPDATE terms SET more = 2 WHERE id = 3;
SELECT is(available(5102), 12::bigint, 'columns may change');
CREATE TABLE keyless (member_id bigint, amount int);
CREATE TRIGGER award AFTER INSERT ON keyless FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=keyless', 'member=member_id', 'points=amount');
SELECT throws_ok('INSERT INTO keyless VALUES (1, 1)', 'LY003', '"keyless" has no primary key', 'a table needs a primary key');
CREATE TABLE late_key (id int PRIMARY KEY DEFERRABLE, member_id bigint);
CREATE TRIGGER award AFTER INSERT ON late_key FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=late_key', 'member=member_id', 'points=1');
SELECT throws_matching('INSERT INTO late_key VALUES (1, 1)', 'has no primary key', 'one that is checked at once');
CREATE TRIGGER wrong BEFORE INSERT ON late_key FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=wrong');
SELECT throws_ok('INSERT INTO late_key VALUES (1, 1)', '39P01', 'function "award_points" must be fired AFTER INSERT, UPDATE or DELETE FOR EACH ROW', 'when it fires');
SELECT throws_ok('SELECT loyalty.award_points()', '39P01', NULL, 'it is a trigger function');
CREATE TRIGGER again AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=orders', 'member=member_id', 'points=1');
SELECT throws_ok($$INSERT INTO orders VALUES (900009, 5110, 1)$$, 'LY003', 'source "orders" of trigger "again" is also that of trigger "award" on orders', 'two triggers on one table need two sources');
DROP TRIGGER again ON orders;
CREATE TRIGGER bonus AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=orders bonus', 'member=member_id', 'points=amount');
INSERT INTO orders VALUES (900010, 5111, 5);
UPDATE orders SET amount = 4 WHERE id = 900010;
SELECT is(available(5111), 8::bigint, 'a base and a bonus of the same size');
DROP TRIGGER bonus ON orders;

-- What check_all() says of the tables above: history without keys, rows that
-- are gone or changed without the trigger, sources that are shared, terms that
-- cannot be read.
CREATE FUNCTION said() RETURNS TABLE (member_id bigint, currency text, detail text) LANGUAGE sql AS
	$$SELECT member_id, currency, detail FROM loyalty.check_all() WHERE room = 'ledger' ORDER BY detail COLLATE "C"$$;
DROP TABLE keyless, late_key, policies;
UPDATE terms SET id = id;
SELECT results_eq('SELECT * FROM said()', $$VALUES
	(NULL::bigint, 'points', '1 rows of public.past are worth points, but no entry has their keys (the first is "past:3"): bring this history in by backfill() with source => ''past'', or leave it out by the term "when"')$$,
	'history without keys');
DELETE FROM past WHERE id = 3;
ALTER TABLE past DISABLE TRIGGER award;
UPDATE past SET amount = 57 WHERE id = 2;
DELETE FROM past WHERE id = 1;
ALTER TABLE past ENABLE TRIGGER award;
TRUNCATE days;
ALTER TABLE terms RENAME amount TO total;
CREATE TABLE copied (LIKE later INCLUDING ALL);
CREATE TRIGGER award AFTER INSERT ON copied FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=later', 'member=member_id', 'points=amount');
SELECT results_eq('SELECT * FROM said()', $$VALUES
	(5030::bigint, 'berlin', 'row "days:1" is no longer in public.days as this member''s, and 1 points stand for it'),
	(5090, 'points', 'row "past:1" is no longer in public.past as this member''s, and 60 points stand for it'),
	(5090, 'points', 'row "past:2" of public.past is worth 57 points, and 56 stand for it'),
	(5030, 'berlin', 'row "times:1" is no longer in public.days as this member''s, and 1 points stand for it'),
	(NULL, 'points', 'source "later" of trigger award on public.copied is also that of trigger award on public.later'),
	(NULL, 'points', 'source "later" of trigger award on public.later is also that of trigger award on public.copied'),
	(NULL, 'points', 'trigger t on public.terms: column "amount" does not exist')$$, 'and what else is amiss');
ALTER TABLE terms RENAME total TO amount;
DROP TABLE copied;
-- rows that were posted under other terms
BEGIN;
CREATE TEMP TABLE before AS SELECT * FROM said();
CREATE TABLE reterm (id bigint PRIMARY KEY, code text, member_id bigint, payer_id bigint, amount int);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON reterm FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=reterm', 'member=member_id', 'points=amount');
INSERT INTO reterm VALUES (1, 'a', 5095, 5096, 10);
CREATE OR REPLACE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON reterm FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=reterm', 'member=payer_id', 'points=amount');
SELECT bag_eq('SELECT * FROM said() EXCEPT SELECT * FROM before', $$VALUES
	(5095::bigint, 'points', 'row "reterm:1" is no longer in public.reterm as this member''s, and 10 points stand for it'),
	(5096, 'points', 'row "reterm:1" of public.reterm is worth 10 points, and 0 stand for it')$$, 'another member term');
CREATE OR REPLACE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON reterm FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=reterm', 'member=member_id', 'points=amount', 'key=code');
SELECT bag_eq('SELECT * FROM said() EXCEPT SELECT * FROM before', $$VALUES
	(NULL::bigint, 'points', '1 rows of public.reterm are worth points, but no entry has their keys (the first is "reterm:a"): bring this history in by backfill() with source => ''reterm'', or leave it out by the term "when"'),
	(5095, 'points', 'row "reterm:1" is no longer in public.reterm as this member''s, and 10 points stand for it')$$, 'another key term');
ROLLBACK;
UPDATE past SET id = id;
INSERT INTO past (id, member_id, amount) VALUES (1, 5090, 0);
INSERT INTO days VALUES (1, 5030, NULL, NULL);
DELETE FROM days;
SELECT is_empty('SELECT * FROM said()', 'touching the rows settles them');

-- Who proves runs nobody's operators: none between numbers in the schema of a
-- table, nor in terms where others than the owner may make some there.
CREATE ROLE award_trapper;
CREATE SCHEMA award_shop;
GRANT USAGE, CREATE ON SCHEMA award_shop TO award_trapper;
CREATE TABLE award_shop.sale (id integer PRIMARY KEY, member_id bigint, amount integer);
CREATE FUNCTION award_shop.halved(integer) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1::numeric / 2';
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON award_shop.sale FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=award shop', 'member=member_id', 'points=amount * 0.5');
INSERT INTO award_shop.sale VALUES (1, 5120, 100);
UPDATE award_shop.sale SET amount = 80;
SELECT is(available(5120), 40::bigint, 'half of 80 points, after a reversal');
SET ROLE award_trapper;
CREATE FUNCTION award_shop.trap() RETURNS numeric LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
DO $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT o.name, k.l, k.r, CASE WHEN o.name ~ '[=<>]' THEN 'boolean' ELSE 'numeric' END AS result
		FROM unnest('{+,-,*,/,=,<>,<,>,<=,>=}'::text[]) o (name),
			(VALUES ('bigint', 'numeric'), ('numeric', 'bigint'), ('integer', 'numeric'), ('numeric', 'integer')) k (l, r) LOOP
		EXECUTE format('CREATE OR REPLACE FUNCTION award_shop.%I(%s, %s) RETURNS %s LANGUAGE sql AS %L', 'trap_' || t.result, t.l, t.r, t.result,
			CASE t.result WHEN 'numeric' THEN 'SELECT award_shop.trap()' ELSE 'SELECT award_shop.trap() IS NULL' END);
		EXECUTE format('CREATE OPERATOR award_shop.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = award_shop.%I)', t.name, t.l, t.r, 'trap_' || t.result);
	END LOOP;
END
$$;
RESET ROLE;
SELECT is_empty('SELECT * FROM said()', 'the proof holds');
ALTER TABLE award_shop.sale DISABLE TRIGGER award;
UPDATE award_shop.sale SET amount = 60;
ALTER TABLE award_shop.sale ENABLE TRIGGER award;
SELECT results_eq('SELECT * FROM said()', $$VALUES
	(5120::bigint, 'points', 'row "award shop:1" of award_shop.sale is worth 30 points, and 40 stand for it')$$, 'and finds what is amiss');
DROP TRIGGER award ON award_shop.sale;
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON award_shop.sale FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=award shop', 'member=member_id', 'points=halved(amount)');
SELECT results_eq('SELECT * FROM said()', $$VALUES
	(NULL::bigint, 'points', 'trigger award on award_shop.sale: function halved(integer) does not exist (nothing is looked up in its schema, since others make functions there)')$$,
	'terms find nothing in a schema where others make functions');
REVOKE CREATE ON SCHEMA award_shop FROM award_trapper;
SELECT is((SELECT count(*) FROM said() WHERE detail ~ 'function halved'), 1::bigint, 'or have made some');
DROP OWNED BY award_trapper CASCADE;
DROP ROLE award_trapper;
SELECT results_eq('SELECT * FROM said()', $$VALUES
	(5120::bigint, 'points', 'row "award shop:1" of award_shop.sale is worth 30 points, and 40 stand for it')$$, 'and do in one that is the owner''s alone');
CREATE FUNCTION award_shop.trap(numeric, integer) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE OPERATOR award_shop.> (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = award_shop.trap);
CREATE FUNCTION award_shop.trap(bigint, numeric) RETURNS numeric LANGUAGE plpgsql AS $$BEGIN RAISE 'trapped'; END$$;
CREATE OPERATOR award_shop.- (LEFTARG = bigint, RIGHTARG = numeric, FUNCTION = award_shop.trap);
SELECT is((SELECT detail FROM said()), 'row "award shop:1" of award_shop.sale is worth 30 points, and 40 stand for it', 'operators of the owner are for terms only');
UPDATE award_shop.sale SET id = id;
SELECT is_empty('SELECT * FROM said()', 'settled');
SELECT * FROM finish();
