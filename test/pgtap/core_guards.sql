-- The triggers that guard our tables: what is off, dropped, changed, or missing
-- on a partition is seen by check_all(), and put back by setup().
CREATE EXTENSION pgtap;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET client_min_messages = notice;
SELECT loyalty.setup() \g /dev/null
SET search_path = public, pg_catalog;
SELECT no_plan();

SELECT loyalty.earn(m, 100) FROM generate_series(1, 50) m \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'nothing is wrong');
SELECT is_empty('SELECT FROM loyalty.program_triggers() WHERE state IS NOT NULL', 'nor with any trigger');
SELECT is_empty((SELECT string_agg(format('SELECT t.* FROM loyalty.%I() t WHERE to_regclass(''loyalty.'' || t.table_name) IS NULL', p.proname), ' UNION ALL ')
	FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND p.proname = ANY (SELECT r || '_triggers' FROM unnest(loyalty.rooms()) r)), 'each is of a table that is there');
SET quote_all_identifiers = on;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'however names are written');
SET intervalstyle = postgres_verbose;
SET timezone = 'Asia/Tokyo';
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and intervals');
RESET quote_all_identifiers;
RESET intervalstyle;
RESET timezone;
SELECT cmp_ok((SELECT count(*) FROM loyalty.program_triggers()), '>=', 20::bigint, 'of which there are many');
SELECT is_empty($$
	SELECT t.tgrelid::regclass, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'loyalty'::regnamespace AND NOT t.tgisinternal
		AND NOT EXISTS (SELECT FROM loyalty.program_triggers() p WHERE p.relation = t.tgrelid AND p.trigger_name = t.tgname)$$,
	'every trigger of our tables is listed');

-- Each of them off, dropped, or another.
CREATE FUNCTION pg_temp.violations() RETURNS SETOF text LANGUAGE sql AS
	$$SELECT detail FROM loyalty.check_core()$$;
CREATE FUNCTION pg_temp.try_each(change text, state text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT * FROM loyalty.program_triggers() LOOP
		EXECUTE format(change, t.relation, t.trigger_name);
		RETURN NEXT is((SELECT string_agg(v, ';') FROM pg_temp.violations() v),
			format('trigger "%s" of table %s is %s; loyalty.setup() puts it back', t.trigger_name, t.relation, state),
			format('%s of %s: %s', t.trigger_name, t.relation, state));
		PERFORM loyalty.setup();
		RETURN NEXT is_empty('SELECT * FROM pg_temp.violations()', format('%s of %s is back', t.trigger_name, t.relation));
	END LOOP;
END
$$;
SELECT pg_temp.try_each('ALTER TABLE %s DISABLE TRIGGER %I', 'disabled');
-- the other changes of all at once
CREATE FUNCTION pg_temp.try_all(change text, state text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	t record;
	wanted CONSTANT text[] := ARRAY(SELECT format('trigger "%s" of table %s is %s; loyalty.setup() puts it back', p.trigger_name, p.relation, try_all.state)
		FROM loyalty.program_triggers() p ORDER BY 1);
BEGIN
	FOR t IN SELECT * FROM loyalty.program_triggers() LOOP
		EXECUTE format(change, t.relation, t.trigger_name);
	END LOOP;
	RETURN NEXT is(ARRAY(SELECT v FROM pg_temp.violations() v ORDER BY 1), wanted, format('all triggers are %s', try_all.state));
	PERFORM loyalty.setup();
	RETURN NEXT is_empty('SELECT * FROM pg_temp.violations()', 'and back');
END
$$;
SELECT pg_temp.try_all('ALTER TABLE %s ENABLE REPLICA TRIGGER %I', 'not enabled as it should be');
SELECT pg_temp.try_all('DROP TRIGGER %2$I ON %1$s', 'missing');
SELECT pg_temp.try_all('CREATE OR REPLACE TRIGGER %2$I BEFORE UPDATE ON %1$s FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'not as it should be');
SELECT throws_ok('DELETE FROM loyalty.ledger', 'LY005', NULL, 'and does its work');

-- Every table is written with the rights of its owner, whatever was granted; of some a guard() refuses even more.
SELECT is_empty($$
	SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r'
		AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgfoid IN ('loyalty.owner_only()'::regprocedure, 'loyalty.guard()'::regprocedure))$$,
	'no table is without a guard');
BEGIN;
CREATE ROLE guards_careless;
GRANT USAGE ON SCHEMA loyalty TO guards_careless;
GRANT ALL ON ALL TABLES IN SCHEMA loyalty TO guards_careless;
REVOKE TRIGGER ON ALL TABLES IN SCHEMA loyalty FROM guards_careless;
SELECT is((SELECT count(*) FROM loyalty.check_all()), 1::bigint, 'one row for who was granted too much');
SELECT alike((SELECT detail FROM loyalty.check_all()),
	'guards_careless may write into tables whose guards alone stop it: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON loyalty.act_request, %, loyalty.wallet FROM guards_careless', 'with what takes it back');
CREATE FUNCTION pg_temp.refusal_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
SET LOCAL ROLE guards_careless;
SELECT is_empty(format($$
	SELECT c.relname, w.statement, pg_temp.refusal_of(format(w.statement, c.oid::regclass, a.attname))
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1,
		unnest('{INSERT INTO %%s DEFAULT VALUES,DELETE FROM %%s,UPDATE %%s SET %%I = NULL,TRUNCATE %%s}'::text[]) w (statement)
	WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind = 'r'
		AND pg_temp.refusal_of(format(w.statement, c.oid::regclass, a.attname)) NOT IN ('42501', 'LY005')$$), 'it may write into none of our tables');
SELECT throws_ok('DELETE FROM loyalty.layout', '42501', 'role "guards_careless" may not write into table "layout"', 'and is told');
RESET ROLE;
ROLLBACK;

-- What setup() made is there, or is missed, and put back.  A case is what is done, and what is found.
CREATE FUNCTION pg_temp.try_damage(damage text, finding text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE damage;
	RETURN NEXT is((SELECT string_agg(v, E'\n' ORDER BY v) FROM pg_temp.violations() v), finding, damage);
	PERFORM loyalty.setup();
	RETURN NEXT is((SELECT string_agg(v, E'\n' ORDER BY v) FROM pg_temp.violations() v), CASE WHEN finding !~ 'setup\(\) puts it right$' THEN finding END, damage || ': after setup()');
END
$$;
SELECT loyalty.define_measure('visits') \g /dev/null
SELECT loyalty.record_qualification(1, 'visits', 3) \g /dev/null
CREATE TEMP TABLE made AS SELECT * FROM loyalty.program_object;
-- indexes and constraints one at a time, NOT NULLs of a table at once
SELECT pg_temp.try_damage(format(CASE o.kind WHEN 'index' THEN 'DROP INDEX loyalty.%2$I' ELSE 'ALTER TABLE loyalty.%1$I DROP CONSTRAINT %2$I' END, o.table_name, o.name),
	format('%s "%s" of table loyalty.%s is missing; loyalty.setup() puts it right', o.kind, o.name, o.table_name))
FROM made o
WHERE o.kind IN ('index', 'constraint');
SELECT pg_temp.try_damage(string_agg(format('ALTER TABLE loyalty.%I ALTER %I DROP NOT NULL', o.table_name, o.name), ';' ORDER BY o.name),
	string_agg(format('column "%s" of table loyalty.%s is not NOT NULL; loyalty.setup() puts it right', o.name, o.table_name), E'\n' ORDER BY o.name))
FROM made o
WHERE o.kind = 'column' AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
	WHERE i.indrelid = ('loyalty.' || o.table_name)::regclass AND i.indisprimary AND a.attname = o.name)
	AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = ('loyalty.' || o.table_name)::regclass AND a.attname = o.name AND a.attidentity <> '')
GROUP BY o.table_name;
SELECT cmp_ok((SELECT count(*) FROM made WHERE kind IN ('index', 'constraint')), '>=', 60::bigint, 'of which there are many');
SELECT pg_temp.try_damage('ALTER TABLE loyalty.ledger DROP CONSTRAINT ledger_pkey, ALTER entry_id DROP NOT NULL',
	'column "entry_id" of table loyalty.ledger is not NOT NULL; loyalty.setup() puts it right' || E'\n' ||
	'constraint "ledger_pkey" of table loyalty.ledger is missing; loyalty.setup() puts it right');
SELECT pg_temp.try_damage('DROP INDEX loyalty.ledger_target; CREATE INDEX ledger_target ON loyalty.ledger (entry_id)',
	'index "ledger_target" of table loyalty.ledger is not as it should be; loyalty.setup() puts it right');
SELECT pg_temp.try_damage('ALTER INDEX loyalty.ledger_target RENAME TO mine; ALTER INDEX loyalty.mine SET (fillfactor = 80)', NULL);
SELECT pg_temp.try_damage('ALTER INDEX loyalty.mine RENAME TO ledger_target; CREATE INDEX mine ON loyalty.ledger (reference); DROP INDEX loyalty.mine', NULL);
SELECT pg_temp.try_damage('ALTER TABLE loyalty.wallet SET UNLOGGED', 'table loyalty.wallet is unlogged, so that it is empty after a crash; loyalty.setup() puts it right');
SELECT pg_temp.try_damage('CREATE RULE nothing AS ON INSERT TO loyalty.ledger DO INSTEAD NOTHING',
	'rule "nothing" of table loyalty.ledger does something else than what is written there: DROP RULE nothing ON loyalty.ledger');
SELECT pg_temp.try_damage('DROP RULE nothing ON loyalty.ledger; CREATE RULE too AS ON INSERT TO loyalty.ledger DO ALSO NOTIFY somebody; DROP RULE too ON loyalty.ledger', NULL);
SELECT pg_temp.try_damage('ALTER SEQUENCE loyalty.tier_event_event_id_seq RESTART',
	'sequence loyalty.tier_event_event_id_seq stands at 0, and a row of loyalty.tier_event has event_id 1: SELECT setval(''loyalty.tier_event_event_id_seq'', 1)');
SELECT pg_temp.try_damage('SELECT setval(''loyalty.tier_event_event_id_seq'', ''1''); SELECT setval(''loyalty.ledger_entry_id_seq'', 20)',
	'sequence loyalty.ledger_entry_id_seq stands at 20, and a row of loyalty.ledger has entry_id 50: SELECT setval(''loyalty.ledger_entry_id_seq'', 50)');
SELECT pg_temp.try_damage('SELECT setval(''loyalty.ledger_entry_id_seq'', 50); INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 50)', NULL);
DELETE FROM loyalty.member;
BEGIN;
DELETE FROM loyalty.layout WHERE room = 'ledger';
SELECT is((SELECT string_agg(v, ';') FROM pg_temp.violations() v), 'the table loyalty.layout has no row of room "ledger"', 'a layout is lost');
SELECT throws_ok('SELECT loyalty.setup()', 'LY002', 'the table loyalty.layout has no row of room "ledger"', 'which nobody can tell');
ROLLBACK;
BEGIN;
DELETE FROM loyalty.layout;
DELETE FROM loyalty.program_object;
SELECT throws_ok('SELECT loyalty.setup()', 'LY002', 'the table loyalty.layout has no row of room "core"', 'nor where only the structure was restored');
ROLLBACK;
BEGIN;
ALTER TABLE loyalty.job_run DROP arguments;
SELECT is((SELECT string_agg(v, ';') FROM pg_temp.violations() v), 'column "arguments" of table loyalty.job_run is missing', 'a column is lost');
SELECT lives_ok('SELECT loyalty.setup()', 'which setup() cannot make again; it does the rest');
ROLLBACK;
BEGIN;
DELETE FROM loyalty.program_object;
SELECT is((SELECT string_agg(v, ';') FROM pg_temp.violations() v WHERE v !~ '^trigger'), 'the table loyalty.program_object has lost its rows, so that nobody can tell what is missing elsewhere',
	'what was made is lost');
ROLLBACK;

-- What others have among our tables, or may make there, would run as whoever sets up, writes or checks.
CREATE ROLE guards_guest;
CREATE FUNCTION pg_temp.try_guest(what text, finding text, hint text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	given text;
BEGIN
	EXECUTE what;
	RETURN NEXT is((SELECT string_agg(v, E'\n') FROM pg_temp.violations() v), format('%s: %s', finding, hint), what);
	BEGIN
		PERFORM loyalty.setup();
	EXCEPTION
		WHEN insufficient_privilege THEN
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, given = PG_EXCEPTION_HINT;
	END;
	RETURN NEXT is(ARRAY[message, detail, given], ARRAY[format('schema loyalty is not of role "%s" alone', current_user), finding || '.', hint || ';'], what || ': setup() is refused');
	EXECUTE hint;
	RETURN NEXT is_empty('SELECT * FROM pg_temp.violations()', hint);
END
$$;
SELECT pg_temp.try_guest('GRANT ALL ON SCHEMA loyalty TO guards_guest',
	'guards_guest may make functions in schema loyalty', 'REVOKE CREATE ON SCHEMA loyalty FROM guards_guest');
SELECT pg_temp.try_guest('GRANT CREATE ON SCHEMA loyalty_as_owner TO PUBLIC',
	'PUBLIC may make functions in schema loyalty_as_owner', 'REVOKE CREATE ON SCHEMA loyalty_as_owner FROM PUBLIC');
SELECT pg_temp.try_guest('GRANT TRIGGER ON loyalty.layout, loyalty.member TO guards_guest',
	'guards_guest may make triggers on loyalty.layout', 'REVOKE TRIGGER ON loyalty.layout, loyalty.member FROM guards_guest');
-- by their names they would be those of rooms
CREATE FUNCTION public.guards_no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'it runs'; END$$;
ALTER FUNCTION public.guards_no() OWNER TO guards_guest;
CREATE FUNCTION pg_temp.plant(definition text) RETURNS text LANGUAGE sql AS $$
	SELECT format('CREATE FUNCTION loyalty.%1$s LANGUAGE plpgsql AS ''BEGIN RAISE ''''it runs''''; END''; ALTER FUNCTION loyalty.%2$s OWNER TO guards_guest',
		definition, left(definition, strpos(definition, ')')))
$$;
SELECT pg_temp.try_guest(pg_temp.plant('check_core(bigint, bigint) RETURNS TABLE (invariant text, member_id bigint, currency text, entry_id bigint, detail text)'),
	'function loyalty.check_core(bigint,bigint) belongs to guards_guest', 'DROP ROUTINE loyalty.check_core(bigint,bigint)');
SELECT pg_temp.try_guest(pg_temp.plant('rfm_triggers() RETURNS TABLE (a text, b text, c text, d text, e text)'),
	'function loyalty.rfm_triggers() belongs to guards_guest', 'DROP ROUTINE loyalty.rfm_triggers()');
SELECT pg_temp.try_guest(pg_temp.plant('setup_clv(integer) RETURNS integer'),
	'function loyalty.setup_clv(integer) belongs to guards_guest', 'DROP ROUTINE loyalty.setup_clv(integer)');
SELECT pg_temp.try_guest('CREATE TRIGGER no BEFORE INSERT ON loyalty.layout EXECUTE FUNCTION public.guards_no()',
	'trigger "no" of loyalty.layout calls a function of guards_guest', 'DROP TRIGGER no ON loyalty.layout');
-- of whoever owns the tables they are nobody's to forbid, and run no more than those of others
SELECT lives_ok('CREATE FUNCTION loyalty.setup_clv(integer) RETURNS integer LANGUAGE sql AS ''SELECT 1''; SELECT loyalty.setup(); DROP FUNCTION loyalty.setup_clv(integer)',
	'a function that is not of the extension is none of a room');
SELECT throws_ok($$SELECT loyalty.define_notice('n', 'nothing', '1 day')$$, 'LY003', NULL, 'a notice about nothing');
CREATE FUNCTION loyalty.due_nothing(timestamptz, interval, text, bigint, bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';
SELECT throws_ok($$SELECT loyalty.define_notice('n', 'nothing', '1 day')$$, 'LY003', NULL, 'which a function of somebody else does not change');
DROP FUNCTION loyalty.due_nothing(timestamptz, interval, text, bigint, bigint);
DROP OWNED BY guards_guest;
DROP ROLE guards_guest;

-- What is named in our tables, and is not there.
BEGIN;
SELECT loyalty.create_currency('lost') \g /dev/null
SELECT loyalty.earn(m, 5, 'lost') FROM generate_series(3, 5) m \g /dev/null
DELETE FROM loyalty.currency WHERE code = 'lost';
SELECT results_eq('SELECT * FROM loyalty.check_all()', $$VALUES
	('ledger', 'currency', 3::bigint, 'lost', NULL::bigint, '3 wallets are in a currency that does not exist')$$, 'a currency');
SELECT results_eq('SELECT member_id, detail FROM loyalty.check_all(3, 4)', $$VALUES
	(4::bigint, '1 wallets are in a currency that does not exist')$$, 'among some members');
ROLLBACK;
BEGIN;
CREATE ROLE guards_maker;
CREATE SCHEMA guards_maker AUTHORIZATION guards_maker;
SET LOCAL ROLE guards_maker;
CREATE FUNCTION guards_maker.m(bigint, bigint, bigint) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
CREATE FUNCTION guards_maker.f(bigint, timestamptz) RETURNS numeric LANGUAGE sql AS 'SELECT 1.0';
RESET ROLE;
INSERT INTO loyalty.merge_handler (room, tables, merge_function, forget_function) VALUES ('zz', '{}', 'guards_maker.m', 'no;name');
INSERT INTO loyalty.tier_measure (measure, source, function_name) VALUES ('a', 'function', 'guards_maker.f'), ('b', 'function', 'pg_catalog.nope');
SELECT bag_eq('SELECT room, invariant, detail FROM loyalty.check_all()', $$VALUES
	('member', 'handler', 'room "zz": function guards_maker.m(bigint,bigint,bigint) may not run for loyalty'),
	('member', 'handler', 'room "zz": function no;name(bigint[]) does not exist'),
	('tier', 'measure', 'measure "a": function guards_maker.f(bigint,timestamp with time zone) may not run for loyalty'),
	('tier', 'measure', 'measure "b": function pg_catalog.nope(bigint,timestamptz) does not exist')$$, 'functions, or they are somebody else''s');
ROLLBACK;

-- Partitions: statement triggers are not inherited.
BEGIN;
ALTER SEQUENCE loyalty.ledger_entry_id_seq OWNED BY NONE;
ALTER TABLE loyalty.ledger RENAME TO whole_ledger;
ALTER INDEX loyalty.ledger_pkey RENAME TO whole_ledger_pkey;
ALTER TABLE loyalty.whole_ledger DISABLE TRIGGER USER;
CREATE TABLE loyalty.ledger (LIKE loyalty.whole_ledger INCLUDING ALL) PARTITION BY HASH (member_id);
CREATE TABLE loyalty.ledger_0 PARTITION OF loyalty.ledger FOR VALUES WITH (MODULUS 2, REMAINDER 0) PARTITION BY HASH (member_id);
CREATE TABLE loyalty.ledger_1 PARTITION OF loyalty.ledger FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE loyalty.ledger_00 PARTITION OF loyalty.ledger_0 FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE loyalty.ledger_02 PARTITION OF loyalty.ledger_0 FOR VALUES WITH (MODULUS 4, REMAINDER 2);
INSERT INTO loyalty.ledger SELECT * FROM loyalty.whole_ledger;
DROP TABLE loyalty.whole_ledger;
COMMIT;
SELECT is((SELECT count(*) FROM pg_temp.violations() v WHERE v ~ 'of table loyalty.ledger[_012]* is missing'), 10::bigint,
	'a table that was partitioned by hand has no guard, nor have its partitions');
SELECT loyalty.setup() \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'until setup() puts them');
SELECT throws_ok(sql, 'LY005', NULL, sql) FROM unnest(ARRAY[
	'DELETE FROM loyalty.ledger', 'DELETE FROM loyalty.ledger_0', 'DELETE FROM loyalty.ledger_02', 'UPDATE loyalty.ledger_1 SET points = 1',
	'TRUNCATE loyalty.ledger_00', 'INSERT INTO loyalty.ledger_1 SELECT * FROM loyalty.ledger_1']) sql;
CREATE TABLE loyalty.ledger_new (LIKE loyalty.ledger INCLUDING ALL);
ALTER TABLE loyalty.ledger_0 DETACH PARTITION loyalty.ledger_02;
ALTER TABLE loyalty.ledger_0 ATTACH PARTITION loyalty.ledger_new FOR VALUES WITH (MODULUS 4, REMAINDER 2);
SELECT bag_eq('SELECT * FROM pg_temp.violations()', $$VALUES
	('trigger "append_only" of table loyalty.ledger_new is missing; loyalty.setup() puts it back'),
	('trigger "guard" of table loyalty.ledger_new is missing; loyalty.setup() puts it back')$$, 'a partition that is attached later');
SELECT loyalty.setup() \g /dev/null
SELECT throws_ok('INSERT INTO loyalty.ledger_new SELECT * FROM loyalty.ledger_02', 'LY005', NULL, 'is guarded after the next setup()');
SELECT cmp_ok((SELECT entry_id FROM loyalty.earn(1, 1)), '>', 50::bigint, 'and postings go on');

-- Row-level security must not hide from the proof what it is to prove.
CREATE ROLE guards_reader;
GRANT USAGE ON SCHEMA loyalty TO guards_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA loyalty TO guards_reader;
ALTER TABLE loyalty.wallet ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON loyalty.wallet USING (member_id < 10);
SET ROLE guards_reader;
SELECT throws_ok('SELECT * FROM loyalty.check_all()', '42501', NULL, 'check_all() where rows are hidden: 42501');
RESET ROLE;
ALTER TABLE loyalty.ledger ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON loyalty.ledger USING (member_id < 10);
SELECT loyalty.ledger_digest() AS digest \gset
SET ROLE guards_reader;
SELECT throws_ok(format('SELECT loyalty.verify_ledger(%L)', :'digest'), '42501', NULL, 'and verify_ledger()');
RESET ROLE;
SELECT loyalty.grant_access('guards_reader', 'operator') \g /dev/null
SET ROLE guards_reader;
SELECT is(loyalty.ledger_digest(), :'digest', 'a digest is taken as the owner of the tables, whom policies do not bind');
RESET ROLE;
DROP POLICY few ON loyalty.ledger;
ALTER TABLE loyalty.ledger DISABLE ROW LEVEL SECURITY;
DROP POLICY few ON loyalty.wallet;
ALTER TABLE loyalty.wallet DISABLE ROW LEVEL SECURITY;
DROP OWNED BY guards_reader;
DROP ROLE guards_reader;
SELECT * FROM finish();
