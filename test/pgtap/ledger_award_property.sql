-- ledger: random things happen to rows, and the points are those of the rows as
-- they stand.  Several triggers on a plain and on a partitioned table, in one
-- or many statements, some of them refused; members are merged and taken apart.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT no_plan();
SELECT FROM loyalty.setup();
SELECT FROM loyalty.create_currency('status', expiry_policy => 'rolling', expiry_interval => '60 days', consumption_order => 'oldest_first');

CREATE TABLE plain (id int PRIMARY KEY, member_id bigint, amount numeric CHECK (amount < 100), at timestamptz, ready date, status text);
CREATE TABLE parted (day int, id int, owner int, amount int, other text, PRIMARY KEY (id, day)) PARTITION BY LIST (day);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES IN (0, 1);
CREATE TABLE parted_1 (amount int, id int NOT NULL, other text, day int NOT NULL, gone int, owner int);
ALTER TABLE parted_1 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES IN (2, 3);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON plain FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=plain', 'member=member_id', 'points=amount', 'at=at', $$when=status = 'paid'$$);
CREATE TRIGGER bonus AFTER INSERT OR UPDATE OR DELETE ON plain FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=bonus', 'member=member_id', 'points=amount / 3', 'at=at', $$when=status <> 'cancelled'$$,
		$$available_at=coalesce(ready, 'infinity')$$);
CREATE TRIGGER status AFTER INSERT OR UPDATE OR DELETE ON plain FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=plain', 'member=member_id', 'points=ceil(2 * amount)', 'at=at', 'currency=status');
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON parted FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=parted', 'member=owner', 'points=amount', 'key=id');
CREATE CONSTRAINT TRIGGER status AFTER INSERT OR UPDATE OR DELETE ON parted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=parted', 'member=owner', 'points=amount + day', 'currency=status');

-- What every member should have by the rows as they stand.
CREATE VIEW worth AS
	SELECT member_id, currency, sum(greatest(points, 0)) AS points FROM (
		SELECT member_id, 'points' AS currency, trunc(amount) AS points FROM plain WHERE status = 'paid'
		UNION ALL SELECT member_id, 'points', trunc(amount / 3) FROM plain WHERE status <> 'cancelled'
		UNION ALL SELECT member_id, 'status', ceil(2 * amount) FROM plain
		UNION ALL SELECT owner, 'points', amount FROM parted
		UNION ALL SELECT owner, 'status', amount + day FROM parted) rows
	WHERE member_id IS NOT NULL GROUP BY member_id, currency;

CREATE FUNCTION pick(n int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(random() * n)::int';
CREATE FUNCTION some_member() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT CASE WHEN random() < 0.15 THEN NULL ELSE 1 + pick(6) END';
CREATE FUNCTION some_amount() RETURNS numeric LANGUAGE sql VOLATILE AS
	'SELECT CASE WHEN random() < 0.08 THEN NULL WHEN random() < 0.1 THEN -5 WHEN random() < 0.05 THEN 200 ELSE round((random() * 90)::numeric, 1) END';
CREATE FUNCTION some_status() RETURNS text LANGUAGE sql VOLATILE AS $$SELECT (ARRAY['paid', 'paid', 'new', 'cancelled', NULL])[1 + pick(5)]$$;
CREATE FUNCTION some_time() RETURNS timestamptz LANGUAGE sql VOLATILE AS
	$$SELECT CASE WHEN random() < 0.1 THEN NULL WHEN random() < 0.1 THEN now() + interval '1 hour' ELSE now() - pick(50) * interval '1 day' END$$;
CREATE FUNCTION some_day() RETURNS date LANGUAGE sql VOLATILE AS 'SELECT CASE WHEN random() < 0.4 THEN NULL ELSE current_date + pick(20) - 10 END';

CREATE FUNCTION happen() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	i int := 1 + pick(12);
	what int := pick(16);
BEGIN
	CASE what
		WHEN 0, 1 THEN INSERT INTO plain VALUES (i, some_member(), some_amount(), some_time(), some_day(), some_status()) ON CONFLICT DO NOTHING;
		WHEN 2 THEN INSERT INTO plain VALUES (i, some_member(), some_amount(), some_time(), some_day(), some_status())
			ON CONFLICT (id) DO UPDATE SET amount = excluded.amount, member_id = excluded.member_id;
		WHEN 3 THEN UPDATE plain SET amount = some_amount() WHERE id = i;
		WHEN 4 THEN UPDATE plain SET status = some_status() WHERE id IN (i, i + 1, i + 2);
		WHEN 5 THEN UPDATE plain SET member_id = some_member() WHERE id = i;
		WHEN 6 THEN UPDATE plain SET amount = some_amount(), member_id = some_member(), status = some_status(), ready = some_day(), at = some_time() WHERE id IN (i, i + 3);
		WHEN 7 THEN DELETE FROM plain WHERE id = i;
		WHEN 8 THEN UPDATE plain SET ready = some_day() WHERE id IN (i, i + 1);
		WHEN 9 THEN UPDATE plain SET id = id + 12 WHERE id = i AND NOT EXISTS (SELECT FROM plain WHERE id = i + 12);
		WHEN 10 THEN INSERT INTO parted (day, id, owner, amount)
			SELECT pick(4), i, some_member(), pick(90) WHERE NOT EXISTS (SELECT FROM parted WHERE id = i);
		WHEN 11 THEN UPDATE parted SET day = (day + 2) % 4, amount = amount + pick(3) - 1 WHERE id = i;
		WHEN 12 THEN UPDATE parted SET amount = pick(90), day = pick(4) WHERE id IN (i, i + 1, i + 2);
		WHEN 13 THEN UPDATE parted SET owner = some_member() WHERE id = i;
		WHEN 14 THEN DELETE FROM parted WHERE id = i;
		WHEN 15 THEN WITH gone AS (DELETE FROM plain WHERE id IN (i, i + 1) RETURNING *)
			INSERT INTO plain SELECT id, member_id, least(amount + 1, 99), at, ready, status FROM gone;
	END CASE;
END $$;

-- Many of them in one transaction, of which some part may be taken back.
CREATE FUNCTION run(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		BEGIN
			PERFORM happen();
			IF random() < 0.1 THEN
				RAISE EXCEPTION USING ERRCODE = 'P0002';
			END IF;
		EXCEPTION WHEN check_violation OR no_data_found THEN
			NULL;
		END;
	END LOOP;
END $$;

-- Nobody spends: a member has the worth of its rows, and owes nothing.  Merged
-- members have it together, and each its own when they are taken apart.
CREATE FUNCTION differences() RETURNS TABLE (member_id bigint, currency text, has bigint, worth numeric) LANGUAGE sql AS $$
	SELECT m, c.code, b.available + b.pending - b.debt + b.expired, coalesce(sum(w.points), 0)
	FROM generate_series(1, 6) m CROSS JOIN loyalty.currency c
	CROSS JOIN LATERAL loyalty.balance(m, c.code) b
	LEFT JOIN worth w ON loyalty.canonical_member(w.member_id) = loyalty.canonical_member(m) AND w.currency = c.code
	GROUP BY m, c.code, b.available, b.pending, b.debt, b.expired
	HAVING b.available + b.pending - b.debt + b.expired <> coalesce(sum(w.points), 0)
$$;
SELECT FROM generate_series(1, 16) n, LATERAL loyalty.resolve_member(jsonb_build_object('email', format('m%s@example.org', n)));

CREATE TEMP TABLE outcome (round int, trouble text);
DO $$
DECLARE
	a int;
	b int;
	merge bigint;
BEGIN
	PERFORM setseed(0.4711);
	FOR round IN 1 .. 200 LOOP
		PERFORM run(1 + pick(5));
		SET CONSTRAINTS ALL IMMEDIATE;
		SET CONSTRAINTS ALL DEFERRED;
		IF round % 7 = 0 THEN
			a := 1 + pick(6);
			b := 1 + pick(6);
			IF loyalty.canonical_member(a) <> loyalty.canonical_member(b) THEN
				PERFORM FROM loyalty.merge_members(loyalty.canonical_member(a), loyalty.canonical_member(b));
			END IF;
		ELSIF round % 7 = 5 THEN
			SELECT m.merge_id INTO merge FROM loyalty.member_merge m WHERE m.unmerged_at IS NULL ORDER BY random() LIMIT 1;
			IF FOUND THEN
				PERFORM FROM loyalty.unmerge_members(merge);
			END IF;
		END IF;
		INSERT INTO outcome SELECT round, d::text FROM differences() d;
		IF round % 25 = 0 THEN
			INSERT INTO outcome SELECT round, c::text FROM loyalty.check_all() c;
		END IF;
		EXIT WHEN EXISTS (SELECT FROM outcome);
	END LOOP;
END $$;
SELECT is_empty('SELECT * FROM outcome', 'members have what their rows are worth, whatever happened to rows and members');
SELECT cmp_ok((SELECT count(*) FROM loyalty.ledger WHERE kind = 'reverse'), '>', 200::bigint, 'much was taken back and given again');

-- Members spend: what is missing they have spent, or owe.  Each transaction
-- commits, so that rows are those of others.
CREATE TABLE spent (member_id bigint, currency text, points bigint);
CREATE PROCEDURE spend_and_change(rounds int) LANGUAGE plpgsql AS $$
DECLARE
	m int;
	has bigint;
	c text;
BEGIN
	FOR round IN 1 .. rounds LOOP
		PERFORM run(1 + pick(3));
		COMMIT;
		m := 11 + pick(6);
		c := (ARRAY['points', 'status'])[1 + pick(2)];
		SELECT available INTO has FROM loyalty.balance(m, c);
		IF has > 0 THEN
			PERFORM FROM loyalty.redeem(m, 1 + pick(has::int), c);
		END IF;
		COMMIT;
		INSERT INTO outcome
			SELECT round, format('member %s has %s %s and spent %s, rows are worth %s', n, b.available + b.pending + b.expired - b.debt, y.code, b.redeemed, coalesce(w.points, 0))
			FROM generate_series(11, 16) n CROSS JOIN loyalty.currency y CROSS JOIN LATERAL loyalty.balance(n, y.code) b
			LEFT JOIN worth w ON w.member_id = n AND w.currency = y.code
			WHERE b.available + b.pending + b.expired - b.debt + b.redeemed <> coalesce(w.points, 0);
		EXIT WHEN EXISTS (SELECT FROM outcome);
	END LOOP;
END $$;
CREATE OR REPLACE FUNCTION some_member() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT CASE WHEN random() < 0.15 THEN NULL ELSE 11 + pick(6) END';
DELETE FROM plain;
DELETE FROM parted;
SELECT is_empty($$SELECT n FROM generate_series(1, 6) n, loyalty.currency c, loyalty.balance(n, c.code) b WHERE available + pending + debt > 0$$, 'without rows nobody has anything');
CALL spend_and_change(200);
SELECT is_empty('SELECT * FROM outcome', 'members who spend, likewise');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() finds nothing');
SELECT * FROM finish();
