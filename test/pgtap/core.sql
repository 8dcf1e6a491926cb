-- core: what holds for every object of the extension, whatever its room.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SELECT no_plan();

-- Somebody has laid traps where the installer's search_path leads: functions
-- and operators that match better than those that are meant.
CREATE FUNCTION trap_called() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'a trap was called'; END$$;
CREATE FUNCTION public.jsonb_build_object(text, integer, text, integer, text, integer, text, integer, text, integer, text, integer) RETURNS jsonb
LANGUAGE sql AS $$SELECT public.trap_called(); SELECT NULL::jsonb$$;
CREATE FUNCTION public.jsonb_build_object(text, text, text, bigint, text, timestamptz, text, timestamptz, text, timestamptz,
	text, timestamptz, text, bigint, text, timestamptz, text, jsonb) RETURNS jsonb
LANGUAGE sql AS $$SELECT public.trap_called(); SELECT NULL::jsonb$$;
CREATE FUNCTION public.times(numeric, integer) RETURNS numeric LANGUAGE sql AS $$SELECT public.trap_called(); SELECT 0.0$$;
CREATE OPERATOR public.* (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.times);
CREATE OPERATOR public.- (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.times);
CREATE OPERATOR public./ (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.times);

-- CREATE EXTENSION brings its own schema and no table.
CREATE EXTENSION loyalty CASCADE;
SELECT is_empty(
	$$SELECT relname FROM pg_class
	  WHERE relnamespace = 'loyalty'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')$$,
	'CREATE EXTENSION creates no table');

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid, i.type, i.identity
FROM pg_depend d, LATERAL pg_identify_object(d.classid, d.objid, 0) i
WHERE d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'loyalty')
  AND d.deptype = 'e';

SELECT cmp_ok((SELECT count(*) FROM member), '>=', 5::bigint, 'the extension has members');

-- The functions behind a type, an aggregate or an operator are documented by
-- what they serve; all that a user may name has a comment of its own.
SELECT is_empty(
	$$SELECT m.type, m.identity FROM member m
	  WHERE m.classid IN ('pg_proc'::regclass, 'pg_type'::regclass, 'pg_cast'::regclass,
						  'pg_operator'::regclass, 'pg_class'::regclass)
		AND NOT (m.classid = 'pg_type'::regclass AND EXISTS (
				 SELECT FROM pg_type t WHERE t.oid = m.objid AND t.typelem <> 0 AND t.typcategory = 'A'))
		AND obj_description(m.objid, m.classid::regclass::name) IS NULL
	  ORDER BY 1, 2$$,
	'every function, aggregate, type, cast and operator has a comment');

-- Whoever may create in a schema of the installer's search_path could have put
-- a better match there: nothing of ours may lean on it.  (Objects of PostgreSQL
-- itself leave no trace in pg_depend.)
SELECT is_empty(
	$$SELECT m.identity, i.type, i.identity AS leans_on
	  FROM member m JOIN pg_depend d ON d.classid = m.classid AND d.objid = m.objid AND d.deptype <> 'e',
		LATERAL pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) i
	  WHERE coalesce(i.schema, i.name) NOT IN ('pg_catalog', 'loyalty', 'loyalty_as_owner', 'loyalty_as_caller', 'plpgsql', 'c', 'sql')
	  ORDER BY 1, 3$$,
	'no object depends on one outside of our schemas and PostgreSQL itself');

-- A body written as RETURN or BEGIN ATOMIC is parsed at installation, with the
-- installer's search_path; one kept as text by each caller, so that it must
-- not see the caller's.
SELECT is_empty(
	$$SELECT m.identity
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  WHERE p.prosqlbody IS NOT NULL AND p.proname <> 'rooms'
	  ORDER BY 1$$,
	'no body but that of rooms(), a constant, is parsed at installation');
SELECT is_empty(
	$$SELECT m.identity, p.proconfig
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  JOIN pg_language l ON l.oid = p.prolang
	  WHERE l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
		-- a pinned function is not inlined, a pinned procedure cannot commit:
		-- these qualify every name and operator instead
		AND p.proname NOT IN ('balance', 'all_entries', 'entry_counts', 'as_long_before', 'points_available_at', 'reversed_points', 'archive_entries', 'backfill_activities', 'book_expiries', 'book_tiers', 'evaluate_tiers', 'rebuild_wallets', 'run_checks', 'run_job',
			'activities_between', 'refresh_audience', 'refresh_labels', 'reapply_campaign',
			'book_gifts', 'close_board', 'refresh_engagements', 'take_steps', 'refresh_summaries', 'evaluate_goals', 'movement_of',
			'find_duplicates', 'distribute',
			'prune_events', 'slot_of', 'due_at', 'written_events', 'points_events', 'due_points_expiring', 'due_hold_lapsing', 'due_tier_falling', 'due_birthday', 'due_coupon_ending')
		AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c
						WHERE c ~ '^search_path=' AND c ~ '[ =,]"?pg_temp"?$')
	  ORDER BY 1$$,
	'every SQL and PL/pgSQL body pins search_path, with pg_temp last');

-- Rights are on tables: an access list of a function would not be in a dump.
SELECT is_empty(
	$$SELECT m.identity
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  WHERE p.proacl IS NOT NULL ORDER BY 1$$,
	'no function has an access list');

SELECT is_empty(
	$$SELECT m.identity
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  WHERE p.prosecdef ORDER BY 1$$,
	'no function is SECURITY DEFINER');

-- An untyped parameter, as drivers send it, must find one function, and REST
-- and GraphQL layers find it by its name.
SELECT is_empty(
	$$SELECT p.proname, count(*)
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  GROUP BY p.proname, p.pronamespace HAVING count(*) > 1 ORDER BY 1$$,
	'one function for each name');

SELECT is_empty(
	$$SELECT m.identity
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  WHERE p.provolatile = 'v' AND p.pronargs > 0 AND p.prorettype <> 'trigger'::regtype
		AND (p.proargnames IS NULL OR '' = ANY (p.proargnames))
	  ORDER BY 1$$,
	'every argument of a writing function has a name');

SELECT is_empty(
	$$SELECT m.identity
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  JOIN pg_language l ON l.oid = p.prolang
	  WHERE l.lanname = 'c' AND p.prosrc !~ '^loyalty_'
	  ORDER BY 1$$,
	'every C symbol begins with loyalty_');

-- A package of another version brings a library of another name.
SELECT is_empty(
	$$SELECT m.identity, p.probin
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  WHERE p.probin <> '$libdir/loyalty-' || (SELECT extversion FROM pg_extension WHERE extname = 'loyalty')
	  ORDER BY 1$$,
	'the library is that of the version of the extension');

-- An aggregate of ours gives the same bits for any plan, so none takes ORDER
-- BY, and each can be computed in parallel.
SELECT is_empty(
	$$SELECT m.identity
	  FROM member m JOIN pg_aggregate a ON m.classid = 'pg_proc'::regclass AND m.objid = a.aggfnoid
	  JOIN pg_proc p ON p.oid = a.aggfnoid
	  WHERE a.aggkind <> 'n' OR a.aggcombinefn = 0 OR p.proparallel <> 's'
		 OR (a.aggtranstype = 'internal'::regtype AND (a.aggserialfn = 0 OR a.aggdeserialfn = 0))
	  ORDER BY 1$$,
	'every aggregate is parallel, with combine and, over internal, serialize');

-- What a parallel worker may call calls nothing that it may not (names in texts of messages apart).
SELECT is_empty(
	$$WITH ours AS (SELECT p.proname, p.proparallel, regexp_replace(p.prosrc, '''[^'']*''', '', 'g') AS body FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace)
	  SELECT DISTINCT f.proname, g.proname FROM ours f JOIN ours g ON f.body ~ ('loyalty\.' || g.proname || '\(')
	  WHERE f.proparallel = 's' AND g.proparallel <> 's' ORDER BY 1, 2$$,
	'functions that are parallel safe call none that are not');

-- setup()
SELECT lives_ok('SELECT loyalty.setup()', 'setup() creates the tables');

CREATE TEMP VIEW shape AS
SELECT c.relname::text, c.relkind::text, a.attname::text, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'loyalty'::regnamespace
UNION ALL
SELECT t.tgrelid::regclass::text, 'trigger', t.tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'loyalty'::regnamespace AND NOT t.tgisinternal
UNION ALL
SELECT t.conrelid::regclass::text, 'constraint', t.conname, pg_get_constraintdef(t.oid)
FROM pg_constraint t WHERE t.connamespace = 'loyalty'::regnamespace AND t.conrelid <> 0;
CREATE TEMP TABLE shape_before AS SELECT * FROM shape;
CREATE TEMP TABLE layout_before AS SELECT * FROM loyalty.layout;

SELECT lives_ok('SELECT loyalty.setup()', 'setup() may be repeated');
SELECT bag_eq('TABLE shape', 'TABLE shape_before', 'the second setup() changes no table');
SELECT bag_eq('TABLE loyalty.layout', 'TABLE layout_before', 'nor a layout version');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() of what setup() made finds nothing');

-- Whoever calls it before setup() is told so, not which table is missing.
SELECT is_empty(
	$$SELECT m.identity
	  FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	  JOIN pg_language l ON l.oid = p.prolang
	  WHERE l.lanname IN ('sql', 'plpgsql') AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
		AND p.prosupport <> 'loyalty.require_setup'::regproc
		-- setup() makes the tables; segments can be computed without them
		AND p.proname !~ '^setup' AND p.proname NOT IN ('begin_layout', 'end_layout', 'find_rfm_scheme', 'rfm_reading')
		AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'S')
			AND p.prosrc ~ format('loyalty\.%s\M(?!\()', c.relname))
	  ORDER BY 1$$,
	'every function whose body names a table of the program has the support function require_setup()');

SELECT is_empty(
	$$SELECT c.relname FROM pg_class c
	  WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
		AND obj_description(c.oid, 'pg_class') IS NULL$$,
	'every table has a comment');
SELECT is_empty(
	$$SELECT c.relname, a.attname
	  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	  WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
		AND NOT c.relispartition AND col_description(c.oid, a.attnum) IS NULL$$,
	'every column has a comment');
SELECT is_empty(
	$$SELECT c.relname FROM pg_class c JOIN pg_depend d
		ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	  WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'S')$$,
	'no table is a member of the extension, so that dumps hold the rows');

-- Data is never lost with the code.
SELECT throws_ok('DROP EXTENSION loyalty', '2BP01', NULL, 'DROP EXTENSION refuses while there is data');

-- An older layout is noticed by the guard that every writing function passes;
-- the table that it reads says so to every session.
SELECT trigger_is('loyalty', 'layout', 'forget_cached', 'loyalty', 'forget_cached');

-- What writes refuses tables of another layout than its own, setup() only newer ones.
BEGIN;
UPDATE loyalty.layout SET version = 0 WHERE room = 'rfm';
SELECT throws_ok('SELECT loyalty.earn(1, 1)', 'LY002', 'the tables of loyalty have an older layout than this library writes', 'older tables');
UPDATE loyalty.layout SET version = 99 WHERE room = 'rfm';
SELECT throws_ok('SELECT loyalty.earn(1, 1)', 'LY002', 'the tables of loyalty have a newer layout than this session''s library writes', 'newer tables');
SELECT throws_ok('SELECT loyalty.setup()', 'LY002', 'the tables of loyalty have a newer layout than this version of the extension makes', 'setup() makes nothing older');
SELECT is((SELECT version FROM loyalty.layout WHERE room = 'rfm'), 99, 'and leaves the layout as it is');
ROLLBACK;

-- A later version of a room: setup() goes from the layout that the tables have
-- to its own, one step after another, and each step once.  (Room clv has no
-- tables of its own.)
BEGIN;
CREATE TABLE loyalty.scratch (n integer);
INSERT INTO loyalty.scratch VALUES (7);
INSERT INTO loyalty.layout (room, version) VALUES ('clv', 1);
COMMENT ON TABLE loyalty.scratch IS 'Of layout 1 of a room.';
CREATE FUNCTION loyalty.setup_clv(have integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	IF have < 1 THEN CREATE TABLE loyalty.scratch (n integer); END IF;
	IF have < 2 THEN ALTER TABLE loyalty.scratch ADD twice integer; UPDATE loyalty.scratch SET twice = 2 * n; END IF;
	IF have < 3 THEN ALTER TABLE loyalty.scratch DROP n; END IF;
	RETURN 3;
END$$;
ALTER EXTENSION loyalty ADD FUNCTION loyalty.setup_clv(integer);
SELECT is(loyalty.begin_layout('clv'), 1, 'the tables have layout 1');
SELECT matches(loyalty.setup(), 'clv 3, ', 'setup() brings them to layout 3');
SELECT results_eq('TABLE loyalty.scratch', 'VALUES (14)', 'by both steps, with the rows that there were');
SELECT is(loyalty.begin_layout('clv'), 3, 'which is their layout now');
SELECT matches(loyalty.setup(), 'clv 3, ', 'once more');
SELECT results_eq('TABLE loyalty.scratch', 'VALUES (14)', 'does nothing');
ROLLBACK;

-- The number at the end of the steps is the library's.
SELECT is_empty('SELECT l.room, l.version, loyalty.layout_version(l.room) FROM loyalty.layout l WHERE l.version <> loyalty.layout_version(l.room)',
	'the tables have the layout that the library is written for');
SELECT is(loyalty.layout_version('ledger') > 0, true, 'which says so of each room with C');
BEGIN;
CREATE OR REPLACE FUNCTION loyalty.setup_rfm(have integer) RETURNS integer LANGUAGE sql AS 'SELECT 2';
SELECT throws_ok('SELECT loyalty.setup()', 'XX000', 'setup_rfm() ends with layout 2, the library is written for ' || loyalty.layout_version('rfm'),
	'steps that end elsewhere are refused');
ROLLBACK;

-- A session that knows the tables notices that they are others now.
SELECT is((SELECT entry_id FROM loyalty.earn(1, 1)), 1::bigint, 'an entry');
BEGIN;
ALTER SEQUENCE loyalty.ledger_entry_id_seq OWNED BY NONE;
DROP SEQUENCE loyalty.ledger_entry_id_seq;
CREATE SEQUENCE loyalty.ledger_entry_id_seq START 1000;
SELECT is((SELECT entry_id FROM loyalty.earn(1, 1)), 1000::bigint, 'of another sequence');
ROLLBACK;
SELECT is((SELECT entry_id FROM loyalty.earn(1, 1)), 2::bigint, 'and of the old one again');
SET client_min_messages = warning;
DROP SCHEMA loyalty CASCADE;
CREATE EXTENSION loyalty;
SELECT throws_ok('SELECT loyalty.earn(1, 1)', 'LY001', NULL, 'no tables any more');
SELECT lives_ok('SELECT loyalty.setup()', 'and made anew');
SELECT is((SELECT entry_id FROM loyalty.earn(1, 1)), 1::bigint, 'with entries from the first on');

-- Settings that a parallel query is the first to ask for
CREATE TABLE member_number AS SELECT 1 AS m FROM generate_series(1, 1000);
ALTER TABLE member_number SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
UPDATE loyalty.currency SET name = name;
SELECT is((SELECT count(*) FROM member_number, loyalty.statement(m)), 1000::bigint, 'a currency');
SELECT loyalty.configure_program(time_zone => 'Asia/Shanghai') \g /dev/null
SELECT is((SELECT max(loyalty.program_time_zone()) FROM member_number), 'Asia/Shanghai', 'the time zone');
UPDATE loyalty.program SET time_zone = 'Europe/London';
SELECT is((SELECT loyalty.first_active(loyalty.activity_agg('2024-06-30 23:30Z', 'day', NULL)) FROM member_number), '2024-07-01'::date, 'and the days that it has');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- The traps of above are not called.
SELECT is(loyalty.growth(6, 4), 0.5, 'growth() is not caught');
SELECT is(loyalty.lifecycle_policy() ->> 'new_days', '30', 'nor lifecycle_policy()');
SELECT is(loyalty.ledger_entry('earn', 5) ->> 'points', '5', 'nor ledger_entry()');
SELECT is(loyalty.refund_due(10, '2026-01-01', '2026-01-03', '2026-01-02'), 5.0, 'nor refund_due()');

SELECT * FROM finish();
