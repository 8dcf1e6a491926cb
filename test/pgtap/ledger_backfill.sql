-- backfill() into a ledger that its owner has changed: whatever was added to
-- the table works as with any INSERT, and the entries are the same each time.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SET client_min_messages = warning;
SELECT no_plan();
SELECT FROM loyalty.setup();

-- 30 members with 50 rows each; a round of backfill takes the members from round * 1000 on
CREATE TABLE history AS
SELECT m AS member_id,
	CASE WHEN j = 0 THEN 'earn' WHEN j % 10 = 3 THEN 'hold' WHEN j % 10 = 4 THEN 'capture' WHEN j % 10 = 5 THEN 'redeem'
		WHEN j % 10 = 6 THEN 'reverse' WHEN j % 10 = 7 THEN 'adjust' ELSE 'earn' END AS kind,
	CASE WHEN j = 0 THEN 10000 WHEN j % 10 = 4 THEN NULL WHEN j % 10 = 6 THEN 1 ELSE (m * j) % 17 + 2 END::bigint AS points,
	timestamptz '2024-01-01' + j * interval '1 day' AS effective_at,
	CASE WHEN j % 10 = 9 THEN timestamptz '2024-06-01' END AS expires_at,
	CASE WHEN j % 10 = 3 THEN timestamptz '2024-12-01' END AS hold_until,
	'k' || j AS idempotency_key,
	CASE WHEN j % 10 IN (4, 6) THEN 'k' || j - 1 END AS target_key,
	CASE WHEN j % 10 = 7 THEN 'because' END AS reason,
	CASE WHEN j % 3 = 0 THEN 'order ' || j END AS reference,
	CASE WHEN j % 10 = 1 THEN jsonb_build_object('text', repeat(md5(j::text), CASE WHEN m = 7 THEN 20000 ELSE 2 END)) END AS details
FROM generate_series(1, 30) m, generate_series(0, 49) j;
SET test.suffix = '';
CREATE VIEW past AS
SELECT current_setting('test.round')::bigint * 1000 + member_id AS member_id, kind, points, effective_at, expires_at, hold_until,
	idempotency_key, target_key, reason, reference || current_setting('test.suffix') AS reference, details FROM history;
CREATE FUNCTION backfilled(round int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('test.round', round::text, false);
	RETURN (SELECT entries * 1000 + wallets FROM loyalty.backfill('past'));
END $$;
CREATE FUNCTION posted(round int) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(',', l.member_id - round * 1000, l.currency, l.kind, l.points, l.requested, l.available, l.effective_at, l.available_at,
		l.expires_at, l.hold_until, l.extends_to, t.idempotency_key, l.reference, l.reason, md5(l.details::text), l.idempotency_key,
		CASE WHEN t.entry_id IS NULL THEN encode(l.fingerprint, 'hex') END, loyalty.total_points(l.lots))
	FROM loyalty.ledger l LEFT JOIN loyalty.ledger t ON t.member_id = l.member_id AND t.entry_id = l.target_entry_id
	WHERE l.member_id / 1000 = round ORDER BY l.entry_id
$$;

CREATE TABLE seen (member_id bigint, entry_id bigint);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen VALUES (NEW.member_id, NEW.entry_id);
	RETURN NEW;
END $$;
CREATE FUNCTION see_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen SELECT n.member_id, n.entry_id FROM added n;
	RETURN NULL;
END $$;
CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.marked := 'by trigger';
	RETURN NEW;
END $$;

-- What is changed, what undoes it, and what must hold of the rows of its round
CREATE TABLE change (round serial, name text, change text, undo text, holds text DEFAULT 'true');
INSERT INTO change (name, change, undo, holds) VALUES
	('nothing', '', '', DEFAULT),
	('a row trigger', 'CREATE TRIGGER see AFTER INSERT ON loyalty.ledger FOR EACH ROW EXECUTE FUNCTION see()',
		'DROP TRIGGER see ON loyalty.ledger', 'EXISTS (SELECT FROM seen s WHERE (s.member_id, s.entry_id) = (l.member_id, l.entry_id))'),
	('a statement trigger', 'CREATE TRIGGER see_all AFTER INSERT ON loyalty.ledger REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION see_all()',
		'DROP TRIGGER see_all ON loyalty.ledger', 'EXISTS (SELECT FROM seen s WHERE (s.member_id, s.entry_id) = (l.member_id, l.entry_id))'),
	('a trigger that fills a column', 'ALTER TABLE loyalty.ledger ADD marked text; CREATE TRIGGER mark BEFORE INSERT ON loyalty.ledger FOR EACH ROW EXECUTE FUNCTION mark()',
		'DROP TRIGGER mark ON loyalty.ledger; ALTER TABLE loyalty.ledger DROP marked', 'l.marked = ''by trigger'''),
	('a column that may be NULL', 'ALTER TABLE loyalty.ledger ADD marked text', 'ALTER TABLE loyalty.ledger DROP marked', 'l.marked IS NULL'),
	('a column with a default', 'ALTER TABLE loyalty.ledger ADD marked text NOT NULL DEFAULT session_user', 'ALTER TABLE loyalty.ledger DROP marked', 'l.marked = session_user'),
	('an identity column', 'ALTER TABLE loyalty.ledger ADD marked int GENERATED ALWAYS AS IDENTITY', 'ALTER TABLE loyalty.ledger DROP marked', 'l.marked > 0'),
	('a generated column', 'ALTER TABLE loyalty.ledger ADD marked bigint GENERATED ALWAYS AS (points + requested) STORED', 'ALTER TABLE loyalty.ledger DROP marked', 'l.marked = l.points + l.requested'),
	('a column of a domain', 'CREATE DOMAIN mark AS text DEFAULT ''m'' NOT NULL; ALTER TABLE loyalty.ledger ADD marked mark', 'ALTER TABLE loyalty.ledger DROP marked; DROP DOMAIN mark', 'l.marked = ''m'''),
	('a default of our own column', 'ALTER TABLE loyalty.ledger ALTER reference SET DEFAULT ''x''', 'ALTER TABLE loyalty.ledger ALTER reference DROP DEFAULT', DEFAULT),
	('only dropped columns', '', '', DEFAULT),
	('a rule', 'CREATE RULE see AS ON INSERT TO loyalty.ledger DO ALSO INSERT INTO seen VALUES (NEW.member_id, NEW.entry_id)',
		'DROP RULE see ON loyalty.ledger', 'EXISTS (SELECT FROM seen s WHERE (s.member_id, s.entry_id) = (l.member_id, l.entry_id))'),
	('a CHECK and an index', 'ALTER TABLE loyalty.ledger ADD CONSTRAINT small CHECK (points < 20000); CREATE UNIQUE INDEX once ON loyalty.ledger (entry_id)',
		'ALTER TABLE loyalty.ledger DROP CONSTRAINT small; DROP INDEX loyalty.once', DEFAULT),
	('an index on an expression', 'CREATE INDEX digits ON loyalty.ledger (length(reference)) WHERE kind = ''earn''', 'DROP INDEX loyalty.digits', DEFAULT),
	('a foreign key', 'CREATE TABLE member_of AS SELECT DISTINCT r * 1000 + member_id AS member_id FROM history, generate_series(0, 30) r; ALTER TABLE member_of ADD PRIMARY KEY (member_id); ALTER TABLE loyalty.ledger ADD CONSTRAINT known FOREIGN KEY (member_id) REFERENCES member_of',
		'ALTER TABLE loyalty.ledger DROP CONSTRAINT known', DEFAULT),
	('narrower types', 'ALTER TABLE loyalty.ledger ALTER reference TYPE varchar(100)', 'ALTER TABLE loyalty.ledger ALTER reference TYPE text', DEFAULT);

CREATE FUNCTION changed() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT * FROM change ORDER BY round LOOP
		EXECUTE c.change;
		RETURN NEXT is(backfilled(c.round), 1500030::bigint, format('backfill() with %s', c.name));
		RETURN QUERY EXECUTE format('SELECT is(count(*), 1500::bigint, %L) FROM loyalty.ledger l WHERE l.member_id / 1000 = %s AND %s', c.name || ' works', c.round, c.holds);
		RETURN NEXT results_eq(format('SELECT * FROM posted(%s)', c.round), 'SELECT * FROM posted(1)', 'the entries are the same');
		EXECUTE c.undo;
	END LOOP;
END $$;
SELECT * FROM changed();

-- What the table refuses, and nothing is left of it
CREATE TABLE refusal (name text, change text, undo text, state text);
INSERT INTO refusal VALUES
	('a CHECK', 'ALTER TABLE loyalty.ledger ADD CONSTRAINT small CHECK (kind <> ''adjust'') NOT VALID', 'ALTER TABLE loyalty.ledger DROP CONSTRAINT small', '23514'),
	('NOT NULL', 'ALTER TABLE loyalty.ledger ADD CONSTRAINT given CHECK (reference IS NOT NULL) NOT VALID', 'ALTER TABLE loyalty.ledger DROP CONSTRAINT given', '23514'),
	('a unique index', 'CREATE UNIQUE INDEX once ON loyalty.ledger (member_id) WHERE member_id > 90000 AND kind = ''adjust''', 'DROP INDEX loyalty.once', '23505'),
	('an exclusion', 'ALTER TABLE loyalty.ledger ADD CONSTRAINT once EXCLUDE (member_id WITH =) WHERE (member_id > 90000 AND kind = ''adjust'')', 'ALTER TABLE loyalty.ledger DROP CONSTRAINT once', '23P01'),
	('a deferred unique constraint', 'ALTER TABLE loyalty.ledger ADD marked int UNIQUE DEFERRABLE INITIALLY IMMEDIATE; ALTER TABLE loyalty.ledger ALTER marked SET DEFAULT 1', 'ALTER TABLE loyalty.ledger DROP marked', '23505'),
	('a narrower type', 'ALTER TABLE loyalty.ledger ALTER reference TYPE varchar(8); SET test.suffix = ''!''', 'ALTER TABLE loyalty.ledger ALTER reference TYPE text; SET test.suffix = ''''', '22001');
CREATE FUNCTION refused() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT * FROM refusal LOOP
		EXECUTE r.change;
		RETURN NEXT throws_ok('SELECT backfilled(99)', r.state, NULL, r.name || ' refuses');
		EXECUTE r.undo;
		RETURN NEXT is_empty('SELECT FROM loyalty.ledger WHERE member_id > 99000', 'no entry is left');
		RETURN NEXT is_empty('SELECT FROM loyalty.wallet WHERE member_id > 99000', 'nor a wallet');
	END LOOP;
END $$;
SELECT * FROM refused();
SELECT backfilled(98);
SELECT throws_ok('SELECT backfilled(98)', '23505', NULL, 'a key that was used');
CREATE FUNCTION hint_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE sql;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || hint;
END
$$;
SELECT is(hint_of('SELECT backfilled(98)'), '23505 Leave out the rows whose entries are there already: a row of a history has a key of its own.', 'and what to do');

-- Rights of whoever calls, who reads the history; policies of the owner, who
-- writes it
CREATE ROLE loyalty_backfiller;
GRANT USAGE ON SCHEMA public TO loyalty_backfiller;
SELECT loyalty.grant_access('loyalty_backfiller', 'operator') \g /dev/null
GRANT SELECT ON ALL TABLES IN SCHEMA public TO loyalty_backfiller;
SET ROLE loyalty_backfiller;
SELECT throws_ok('SELECT backfilled(97)', '42501', NULL, 'who may not define may not backfill');
RESET ROLE;
SELECT loyalty.grant_access('loyalty_backfiller', 'admin') \g /dev/null
SET ROLE loyalty_backfiller;
SELECT is(backfilled(97), 1500030::bigint, 'who may define may backfill');
RESET ROLE;
REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM loyalty_backfiller;
SET ROLE loyalty_backfiller;
SELECT throws_ok('SELECT backfilled(96)', '42501', NULL, 'but only what he may read');
RESET ROLE;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO loyalty_backfiller;
CREATE POLICY ours ON loyalty.ledger USING (true) WITH CHECK (kind <> 'adjust');
ALTER TABLE loyalty.ledger ENABLE ROW LEVEL SECURITY;
SET ROLE loyalty_backfiller;
SELECT is(backfilled(96), 1500030::bigint, 'a policy does not bind the owner of the tables');
RESET ROLE;
ALTER TABLE loyalty.ledger DISABLE ROW LEVEL SECURITY;
DROP OWNED BY loyalty_backfiller;
DROP ROLE loyalty_backfiller;

SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() finds nothing at the end');
SELECT is(loyalty.rebuild_wallets_of(ARRAY(SELECT DISTINCT member_id FROM loyalty.ledger ORDER BY 1)), 0::bigint, 'rebuild_wallets_of() has nothing to do');
SELECT * FROM finish();
