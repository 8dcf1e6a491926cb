-- activity: record_from_row() and backfill_activities().  The row as it stands
-- is the activity, whatever happened to the row.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT no_plan();
SELECT lives_ok('SELECT loyalty.setup()', 'setup()');

-- What two members have of their activities, by amount
CREATE FUNCTION amounts(member bigint, kind text DEFAULT 'order') RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce((SELECT sum(a.amount) FROM loyalty.activity a WHERE a.member_id = m AND a.kind = $2 AND NOT a.cancelled), 0)::text, '/' ORDER BY m)
	FROM generate_series(member, member + 1) m
$$;

-- ---------------------------------------------------------------------------
-- Stories, worked out by hand
-- ---------------------------------------------------------------------------

-- {o} is the story's order and {m} its member; {m}+1 is another one.
CREATE TABLE orders (id bigint PRIMARY KEY, member_id bigint, amount numeric, at timestamptz, status text DEFAULT 'paid', note text);
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=orders', 'member=member_id', 'amount=amount', 'at=at', $$when=status <> 'cancelled'$$);

CREATE TEMP TABLE step (n serial, story text, call text, outcome text);
INSERT INTO step (story, call, outcome) VALUES
	('raised and lowered', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0'),
	('raised and lowered', 'UPDATE orders SET amount = 200 WHERE id = {o}', '200/0'),
	('raised and lowered', 'UPDATE orders SET amount = 100 WHERE id = {o}', '100/0'),
	('raised and lowered', 'UPDATE orders SET amount = 50.5 WHERE id = {o}', '50.5/0'),
	('raised and lowered', 'UPDATE orders SET amount = 50.5 WHERE id = {o}', '50.5/0'),
	('raised and lowered', 'UPDATE orders SET amount = NULL WHERE id = {o}', '0/0'),
	('raised and lowered', 'UPDATE orders SET amount = -5 WHERE id = {o}', '0/0'),
	('raised and lowered', 'UPDATE orders SET amount = 300 WHERE id = {o}', '300/0'),
	('opened again', 'INSERT INTO orders VALUES ({o}, {m}, 50, ''2026-01-01'')', '50/0'),
	('opened again', 'UPDATE orders SET status = ''cancelled'' WHERE id = {o}', '0/0'),
	('opened again', 'UPDATE orders SET status = ''cancelled'', amount = 40 WHERE id = {o}', '0/0'),
	('opened again', 'UPDATE orders SET status = ''paid'' WHERE id = {o}', '40/0'),
	('opened again', 'UPDATE orders SET status = NULL WHERE id = {o}', '0/0'),
	('paid later', 'INSERT INTO orders VALUES ({o}, {m}, 30, ''2026-01-01'', ''cancelled'')', '0/0'),
	('paid later', 'UPDATE orders SET status = ''paid'' WHERE id = {o}', '30/0'),
	('another''s account', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0'),
	('another''s account', 'UPDATE orders SET member_id = {m} + 1 WHERE id = {o}', '0/70'),
	('another''s account', 'UPDATE orders SET member_id = {m}, amount = 60 WHERE id = {o}', '60/0'),
	('another''s account', 'UPDATE orders SET member_id = {m} + 1 WHERE id = {o}', '0/60'),
	('another''s account', 'UPDATE orders SET status = ''cancelled'', member_id = {m} WHERE id = {o}', '0/0'),
	('a guest who registers', 'INSERT INTO orders VALUES ({o}, NULL, 40, ''2026-01-01'')', '0/0'),
	('a guest who registers', 'UPDATE orders SET amount = 45 WHERE id = {o}', '0/0'),
	('a guest who registers', 'UPDATE orders SET member_id = {m} WHERE id = {o}', '45/0'),
	('a guest who registers', 'UPDATE orders SET member_id = NULL WHERE id = {o}', '0/0'),
	('a guest who registers', 'UPDATE orders SET member_id = {m} + 1 WHERE id = {o}', '0/45'),
	('a guest who registers', 'UPDATE orders SET member_id = {m} WHERE id = {o}', '45/0'),
	('a guest who registers', 'UPDATE orders SET member_id = NULL WHERE id = {o}', '0/0'),
	('a guest who registers', 'UPDATE orders SET member_id = {m}, amount = 46 WHERE id = {o}', '46/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m}, 55, ''2026-02-01'')', '55/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0'),
	('deleted and entered again', 'INSERT INTO orders VALUES ({o}, {m} + 1, 12, ''2026-02-01'')', '0/12'),
	('deleted and entered again', 'UPDATE orders SET member_id = {m} WHERE id = {o}', '12/0'),
	('deleted and entered again', 'DELETE FROM orders WHERE id = {o}', '0/0'),
	('deleted and entered again at once', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0'),
	('deleted and entered again at once', 'WITH gone AS (DELETE FROM orders WHERE id = {o} RETURNING *) INSERT INTO orders SELECT id, member_id, 30, at FROM gone', '30/0'),
	('entered twice', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0'),
	('entered twice', 'INSERT INTO orders VALUES ({o}, {m}, 41, ''2026-01-01'') ON CONFLICT DO NOTHING', '40/0'),
	('entered twice', 'INSERT INTO orders VALUES ({o}, {m}, 41, ''2026-01-01'') ON CONFLICT (id) DO UPDATE SET amount = excluded.amount', '41/0'),
	('under another number', 'INSERT INTO orders VALUES ({o}, {m}, 40, ''2026-01-01'')', '40/0'),
	('under another number', 'UPDATE orders SET id = id + 1000000, amount = 35 WHERE id = {o}', '35/0'),
	('under another number', 'INSERT INTO orders VALUES ({o}, {m}, 5, ''2026-01-01'')', '40/0'),
	('under another number', 'DELETE FROM orders WHERE id = {o} + 1000000', '5/0'),
	('by hand', 'INSERT INTO orders VALUES ({o}, {m}, 70, ''2026-01-01'')', '70/0'),
	('by hand', 'SELECT loyalty.record_return({m}, loyalty.find_activity({m}, ''order'', ''orders:{o}''), amount => 20)', '50/0'),
	('by hand', 'UPDATE orders SET amount = 50 WHERE id = {o}', '50/0'),
	('by hand', 'UPDATE orders SET amount = 60 WHERE id = {o}', '60/0'),
	('a fast till', 'INSERT INTO orders VALUES ({o}, {m}, 70, now() + interval ''2 minutes'')', '70/0'),
	('a fast till', 'UPDATE orders SET amount = 75 WHERE id = {o}', '75/0'),
	('a fast till', 'UPDATE orders SET at = ''infinity'', amount = 76 WHERE id = {o}', '76/0'),
	('no time', 'INSERT INTO orders VALUES ({o}, {m}, 70, NULL)', '70/0'),
	('no time', 'UPDATE orders SET amount = 71 WHERE id = {o}', '71/0'),
	('many statements in one transaction', 'BEGIN; INSERT INTO orders VALUES ({o}, {m}, 70, NULL); UPDATE orders SET amount = 20 WHERE id = {o}; UPDATE orders SET member_id = {m} + 1 WHERE id = {o}; COMMIT', '0/20');

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
	RETURN amounts(m);
END $$;
SELECT is(run_step(s), s.outcome, s.story || ': ' || s.call) FROM step s ORDER BY n;
SELECT is_empty($$SELECT a.* FROM loyalty.activity a LEFT JOIN orders o ON a.external_id = 'orders:' || o.id AND a.member_id = o.member_id
	WHERE NOT a.cancelled AND (o.id IS NULL OR o.status IS NULL OR o.status = 'cancelled' OR a.amount IS DISTINCT FROM o.amount)$$, 'each activity is its row');
SELECT is_empty($$SELECT external_id FROM loyalty.activity WHERE NOT cancelled GROUP BY 1 HAVING count(*) > 1$$, 'and each row one activity');
SELECT is((SELECT count(*) FROM loyalty.activity_revision r JOIN loyalty.activity a USING (member_id, activity_id)
	WHERE a.external_id = 'orders:' || story_number('raised and lowered')), 6::bigint, 'what changes nothing is no revision');
SELECT is((SELECT at FROM loyalty.activity WHERE external_id = 'orders:' || story_number('a guest who registers') AND NOT cancelled), timestamptz '2026-01-01', 'a guest''s order keeps its own time');
SELECT ok((SELECT bool_and(at <= recorded_at) FROM loyalty.activity WHERE external_id = 'orders:' || story_number('a fast till')), 'what lies ahead counts as now');
SELECT is((SELECT count(DISTINCT activity_id) FROM loyalty.activity WHERE external_id = 'orders:' || story_number('another''s account')), 1::bigint, 'what moves keeps its number');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() finds nothing after the stories');

-- Rows exchange their keys where these are unique at the end only
CREATE TABLE exchanged (id int, member_id bigint, amount int, UNIQUE (id) DEFERRABLE);
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON exchanged FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=exchanged', 'member=member_id', 'amount=amount', 'key=id');
INSERT INTO exchanged VALUES (1, 3000, 10), (2, 3001, 20);
UPDATE exchanged SET id = 3 - id;
SELECT is(amounts(3000), '10/20', 'exchanged keys');
SELECT is((SELECT string_agg(external_id || ' ' || member_id, ', ' ORDER BY external_id) FROM loyalty.activity WHERE member_id IN (3000, 3001) AND NOT cancelled),
	'exchanged:1 3001, exchanged:2 3000', 'and each has its own');

-- A trigger of the user's changes the row before ours has fired
CREATE TABLE changed (id int PRIMARY KEY, member_id bigint, amount int);
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE changed SET amount = 99 WHERE id = NEW.id AND amount <> 99; RETURN NULL; END $$;
CREATE TRIGGER a_change AFTER INSERT ON changed FOR EACH ROW EXECUTE FUNCTION change();
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON changed FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=changed', 'member=member_id', 'amount=amount');
INSERT INTO changed VALUES (1, 3010, 5);
SELECT results_eq('SELECT amount, revision FROM loyalty.activity WHERE member_id = 3010', 'VALUES (99::numeric, 0)', 'it is the row as it stands by now');

-- Partitions: what moves keeps its name
CREATE TABLE parted (id bigint, member_id bigint, amount int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON parted FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=parted', 'member=member_id', 'amount=amount', 'at=day', 'key=id', 'time_zone=''Europe/Berlin''');
INSERT INTO parted VALUES (1, 3020, 50, '2026-01-05'), (2, 3020, 7, '2026-02-05');
UPDATE parted SET day = '2026-02-10' WHERE id = 1;
SELECT is(amounts(3020), '57/0', 'a row that moves to another partition counts once');
SELECT results_eq($$SELECT at, local_day FROM loyalty.activity WHERE external_id = 'parted:1'$$, $$VALUES (timestamptz '2026-02-09 23:00+00', date '2026-02-10')$$, 'a date is one of the time zone');

-- All terms
CREATE TABLE sale (no text PRIMARY KEY, who int, total int, basket json, place varchar, extra jsonb, cash text, done boolean, happened timestamp);
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON sale FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=sale', 'kind=survey', 'member=who', 'amount=total', 'lines=basket', 'channel=place', 'document=extra', 'money=cash', 'confirmed=done', 'at=happened');
INSERT INTO sale VALUES ('x:1', 3030, NULL, '[{"sku": "T", "amount": 5, "quantity": 2}]', 'app', '{"a": 1}', 'EUR', false, '2026-01-05 10:00');
SELECT results_eq($$SELECT kind, amount, channel, document, money, confirmed, at, external_id FROM loyalty.activity WHERE member_id = 3030$$,
	$$VALUES ('survey' COLLATE "C", 5::numeric, 'app', '{"a": 1}'::jsonb, 'EUR', false, timestamptz '2026-01-05 10:00+00', loyalty.row_key('sale', 'x:1'))$$, 'all terms');
UPDATE sale SET done = true, place = NULL, extra = NULL, cash = NULL, basket = '[{"sku": "T", "amount": 4}]';
SELECT results_eq($$SELECT amount, channel, document, money, confirmed, revision FROM loyalty.activity WHERE member_id = 3030$$,
	$$VALUES (4::numeric, NULL, NULL::jsonb, NULL, true, 1)$$, 'what the row has no more, the activity has no more');
UPDATE sale SET basket = '[{"amount": 4.0, "sku": "T"}]';
SELECT is((SELECT revision FROM loyalty.activity WHERE member_id = 3030), 1, 'what is written otherwise is the same');

-- Merged members
CREATE TEMP TABLE person AS SELECT n, (loyalty.resolve_member(jsonb_build_object('email', format('p%s@x.example', n)), 'test')).member_id AS id FROM generate_series(1, 2) n;
SELECT p1.id AS ann, p2.id AS bea FROM person p1, person p2 WHERE (p1.n, p2.n) = (1, 2) \gset
INSERT INTO orders VALUES (5000, :bea, 10, '2026-01-01');
SELECT merge_id FROM loyalty.merge_members(:ann, :bea) \gset
UPDATE orders SET member_id = :ann, amount = 11 WHERE id = 5000;
SELECT results_eq($$SELECT member_id, amount FROM loyalty.activity WHERE external_id = 'orders:5000'$$, format('VALUES (%s::bigint, 11::numeric)', :bea), 'to another number of the same person it does not move');
SELECT loyalty.forget_member(:ann) \g /dev/null
UPDATE orders SET amount = 12 WHERE id = 5000;
SELECT is((SELECT amount FROM loyalty.activity WHERE member_id = :bea), 11::numeric, 'of the forgotten nothing more is recorded');
INSERT INTO orders VALUES (5001, :ann, 3, '2026-01-01');
SELECT is_empty(format('SELECT FROM loyalty.activity WHERE member_id = %s', :ann), 'nor a new row');

-- Whoever writes the row need not know of our schema; who made the trigger needs the right
CREATE ROLE row_maker;
CREATE ROLE row_writer;
GRANT CREATE, USAGE ON SCHEMA public TO row_maker, row_writer;
GRANT USAGE ON SCHEMA loyalty TO row_maker;
SET ROLE row_maker;
CREATE TABLE theirs (id int PRIMARY KEY, member_id bigint, amount int, at timestamp);
GRANT SELECT, INSERT, UPDATE, DELETE ON theirs TO row_writer;
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON theirs FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=theirs', 'member=member_id', 'amount=amount', 'at=at');
SELECT throws_ok($$INSERT INTO theirs VALUES (1, 3040, 5, '2026-01-05')$$, '42501', NULL, 'without the right nothing is recorded');
RESET ROLE;
SELECT loyalty.grant_access('row_maker', 'app') \g /dev/null
SELECT loyalty.configure_program(time_zone => 'Asia/Tokyo') \g /dev/null
SET ROLE row_writer;
SELECT lives_ok($$INSERT INTO theirs VALUES (1, 3040, 5, '2026-01-05')$$, 'with it whoever writes');
SELECT lives_ok($$UPDATE theirs SET amount = 6$$, 'and changes');
RESET ROLE;
SELECT results_eq('SELECT amount, at FROM loyalty.activity WHERE member_id = 3040', $$VALUES (6::numeric, timestamptz '2026-01-04 15:00+00')$$, 'in the program''s time zone');
SELECT loyalty.configure_program(time_zone => 'UTC') \g /dev/null
DROP TABLE theirs;
DROP OWNED BY row_maker, row_writer;
DROP ROLE row_maker, row_writer;

-- ---------------------------------------------------------------------------
-- History
-- ---------------------------------------------------------------------------

CREATE TABLE old (shop text, no int, member_id bigint, amount numeric, at timestamptz, PRIMARY KEY (shop, no));
INSERT INTO old SELECT CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END, i, 4000 + i % 3, i, timestamptz '2025-01-01' + i * interval '1 day' FROM generate_series(1, 10) i;
CREATE VIEW old_history AS SELECT member_id, amount, at, ARRAY[shop, no::text] AS external_id FROM old WHERE member_id <> 4002;
CALL loyalty.backfill_activities('old_history', 'old', batch_size => 2);
SELECT is((SELECT count(*) FROM loyalty.activity WHERE external_id LIKE 'old:%'), 7::bigint, 'a history');
SELECT results_eq($$SELECT status, done, total, result, message FROM loyalty.job_run WHERE job = 'backfill_activities'$$, $$VALUES ('finished', 7::bigint, 7::bigint, 7::bigint, '7 activities recorded')$$, 'its job');
CALL loyalty.backfill_activities('old_history', 'old', false);
SELECT is((SELECT result FROM loyalty.job_run WHERE job = 'backfill_activities' ORDER BY run_id DESC LIMIT 1), 0::bigint, 'brought in once');
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON old FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=old', 'member=member_id', 'amount=amount', 'at=at');
UPDATE old SET amount = 100 WHERE no = 3;
SELECT results_eq($$SELECT amount, revision FROM loyalty.activity WHERE external_id = 'old:b:3'$$, 'VALUES (100::numeric, 1)', 'the trigger knows it');
SET client_min_messages = error;
UPDATE old SET amount = 100 WHERE no = 2;
SELECT is_empty($$SELECT FROM loyalty.activity WHERE external_id = 'old:a:2'$$, 'history that it does not know is left alone');
UPDATE old SET member_id = 4001 WHERE no = 2;
SET client_min_messages = warning;
SELECT is_empty($$SELECT FROM loyalty.activity WHERE external_id = 'old:a:2'$$, 'and stays so');
CREATE VIEW no_source AS SELECT 4010::bigint AS member_id, 'review' AS kind, timestamptz '2025-01-01' AS at, 'p' || i AS external_id, false AS confirmed, 'k' || i AS idempotency_key FROM generate_series(1, 3) i;
CALL loyalty.backfill_activities('no_source');
CALL loyalty.backfill_activities('no_source');
SELECT results_eq($$SELECT kind, external_id, confirmed FROM loyalty.activity WHERE member_id = 4010 ORDER BY activity_id$$,
	$$VALUES ('review' COLLATE "C", 'p1', false), ('review', 'p2', false), ('review', 'p3', false)$$, 'without rows, by external id');
CREATE VIEW unfit AS SELECT 1::bigint AS member_id;
SELECT throws_ok($$SELECT loyalty.history_query('unfit', NULL)$$, 'LY003', 'history lacks a column', 'a history without instants');
SELECT throws_ok($$CALL loyalty.backfill_activities('old_history')$$, '25001', NULL, 'not inside a transaction');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- ---------------------------------------------------------------------------
-- Terms
-- ---------------------------------------------------------------------------

CREATE TABLE wrong (id int PRIMARY KEY, member_id bigint, amount numeric, at timestamptz);
CREATE TEMP TABLE term (terms text, state text, message text);
INSERT INTO term VALUES
	($$'member=member_id'$$, 'LY003', 'trigger "t" has no term "source"'),
	($$'source=wrong'$$, 'LY003', 'trigger "t" has no term "member"'),
	($$'source=wrong', 'member=member_id', 'points=1'$$, 'LY003', 'argument "points=1" of trigger "t" is no term'),
	($$'source=wrong', 'member=member_id', 'member=1'$$, 'LY003', 'term "member" of trigger "t" is there twice'),
	($$'source=wrong', 'member=member_id', 'amount='$$, 'LY003', 'term "amount" of trigger "t" is empty'),
	($$'source=a:b', 'member=member_id'$$, 'LY003', 'source "a:b" of trigger "t" is not usable'),
	($$'source=orders', 'member=member_id'$$, 'LY003', 'source "orders" of trigger "t" is also that of trigger "record" on orders'),
	($$'source=wrong', 'member=nobody'$$, '42703', NULL),
	($$'source=wrong', 'member=member_id', 'lines=at'$$, '42804', 'term "lines" is of type timestamp with time zone'),
	($$'source=wrong', 'member=member_id', 'amount=''NaN''::numeric'$$, 'LY505', 'amount of an activity must be finite'),
	($$'source=wrong', 'member=member_id', 'lines=''{}''::jsonb'$$, 'LY505', 'lines of an activity must be an array'),
	($$'source=wrong', 'member=member_id', 'kind=none'$$, 'LY501', 'there is no kind of activity "none"'),
	($$'source=wrong', 'member=member_id', 'time_zone=''Mars'''$$, 'LY505', 'unknown time zone "Mars"');
CREATE FUNCTION try(terms text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER t AFTER INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION loyalty.record_from_row(%s)', terms);
	INSERT INTO wrong VALUES (1, 1, 5, now());
END $$;
SELECT throws_ok(format('SELECT try(%L)', t.terms), t.state::char(5), t.message, t.terms) FROM term t;
SELECT is_empty('SELECT FROM wrong', 'a statement that is refused changes nothing');
CREATE TRIGGER t AFTER INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION loyalty.record_from_row('source=orders', 'kind=review', 'member=member_id');
SELECT lives_ok('INSERT INTO wrong VALUES (1, 1, 5, now())', 'a source of one kind may be that of another kind, too');
SELECT * FROM finish();
