/*
 * core: the layouts of tables, their triggers, and what setup() made.
 */

/*
 * Layouts.  setup() calls setup_<room>(have) of every room, in order, with the
 * layout that its tables have, 0 where there are none.  It goes from there to
 * the layout of now in steps, and returns that, the number of the last step:
 *
 *	IF have < 1 THEN
 *		CREATE TABLE ...
 *	END IF;
 *	IF have < 2 THEN
 *		ALTER TABLE ...
 *	END IF;
 *	... what is put in place each time: handlers of merges ...
 *	RETURN 2;
 *
 * A step that was released is never changed: tables stand that it made.  The
 * same number is given to ExpectLayout() in C.
 */

CREATE FUNCTION layout_version(room text) RETURNS integer
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_layout_version';
COMMENT ON FUNCTION layout_version(text) IS
'The layout of a room''s tables that this session''s library is written for; NULL for a room without C. What the tables have is in the table layout.';

CREATE FUNCTION begin_layout(room text) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	have integer := 0;
BEGIN
	IF to_regclass('loyalty.layout') IS NOT NULL THEN
		have := coalesce((SELECT l.version FROM loyalty.layout l WHERE l.room = $1), 0);
		IF have = 0 AND (room = 'core' OR EXISTS (SELECT FROM loyalty.program_object o WHERE o.room = $1)) THEN
			RAISE EXCEPTION 'the table loyalty.layout has no row of room "%"', room
				USING ERRCODE = 'LY002', DETAIL = 'The tables of the room are there, and only this row can tell which layout they have.',
					HINT = format('Restore the row from a backup; layout %s is what this version makes.', loyalty.layout_version(room));
		END IF;
	END IF;
	IF have > loyalty.layout_version(room) THEN
		RAISE EXCEPTION 'the tables of loyalty have a newer layout than this version of the extension makes'
			USING ERRCODE = 'LY002', DETAIL = format('Room "%s": tables have layout %s, the library knows %s.', room, have, loyalty.layout_version(room)),
				HINT = 'Install the version of loyalty that these tables were made by, or a later one.';
	END IF;
	RETURN have;
END
$$;
COMMENT ON FUNCTION begin_layout(text) IS 'The layout that the tables of a room have, 0 where there are none. Error: LY002 a newer one than this version knows, or one that nobody can tell, since its row is lost. Part of setup().';

CREATE FUNCTION end_layout(room text, version integer) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF version IS NULL OR version <> loyalty.layout_version(room) THEN
		RAISE EXCEPTION 'setup_%() ends with layout %, the library is written for %', room, coalesce(version::text, 'NULL'), loyalty.layout_version(room)
			USING ERRCODE = 'internal_error', HINT = 'ExpectLayout() in C and RETURN in setup_<room>() name the same number.';
	END IF;
	-- writes where there is something to write: a standby can be set up again, too
	IF NOT EXISTS (SELECT FROM loyalty.layout l WHERE l.room = $1 AND l.version = $2) THEN
		INSERT INTO loyalty.layout AS l (room, version) VALUES (room, version)
		ON CONFLICT ON CONSTRAINT layout_pkey DO UPDATE SET version = excluded.version, migrated_at = excluded.migrated_at;
	END IF;
END
$$;
COMMENT ON FUNCTION end_layout(text, integer) IS 'Records the layout to which setup_<room>() has brought the tables; refuses one that the library is not written for. Part of setup().';

CREATE FUNCTION setup_core(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.layout (
			room text PRIMARY KEY,
			version integer NOT NULL,
			migrated_at timestamptz NOT NULL DEFAULT now()
		);
		COMMENT ON TABLE loyalty.layout IS 'The layout version of each room''s tables; kept by setup().';
		COMMENT ON COLUMN loyalty.layout.room IS 'Room of the extension.';
		COMMENT ON COLUMN loyalty.layout.version IS 'Layout version of its tables.';
		COMMENT ON COLUMN loyalty.layout.migrated_at IS 'When setup() brought the tables to this version.';

		CREATE TABLE loyalty.program_object (
			room text NOT NULL,
			table_name text,
			kind text CHECK (kind IN ('table', 'column', 'constraint', 'index', 'sequence')),
			name text,
			definition text NOT NULL,
			PRIMARY KEY (table_name, kind, name)
		);
		COMMENT ON TABLE loyalty.program_object IS 'What setup() has made: tables, and what makes them sound. Kept by setup(), which puts back what is missing; check_all() says so.';
		COMMENT ON COLUMN loyalty.program_object.room IS 'Room of the extension.';
		COMMENT ON COLUMN loyalty.program_object.table_name IS 'The table that it belongs to.';
		COMMENT ON COLUMN loyalty.program_object.kind IS 'table; column: one that is NOT NULL; constraint; index: one that is no constraint''s; sequence: one that numbers rows.';
		COMMENT ON COLUMN loyalty.program_object.name IS 'Its name.';
		COMMENT ON COLUMN loyalty.program_object.definition IS 'What it is, as the catalog shows it; of a sequence the column.';

		CREATE TABLE loyalty.job_run (
			run_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
			job text NOT NULL,
			as_of timestamptz,
			arguments jsonb NOT NULL DEFAULT '{}',
			status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'finished', 'interrupted')),
			started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			finished_at timestamptz,
			done bigint NOT NULL DEFAULT 0,
			total bigint,
			unit text NOT NULL,
			last_key bigint,
			result bigint,
			message text
		);
		COMMENT ON TABLE loyalty.job_run IS 'One row for each run of a job: what it did, how far it is, whether it ended.';
		COMMENT ON COLUMN loyalty.job_run.run_id IS 'Number of the run.';
		COMMENT ON COLUMN loyalty.job_run.job IS 'Name of the procedure, for example book_expiries.';
		COMMENT ON COLUMN loyalty.job_run.as_of IS 'The instant as of which the job works; the last one, where it was resumed and none was given.';
		COMMENT ON COLUMN loyalty.job_run.arguments IS 'What it was called with, as far as that decides what it does; as_of in UTC. Called with the same again, it is resumed.';
		COMMENT ON COLUMN loyalty.job_run.status IS 'running, finished, or interrupted (a later run took over).';
		COMMENT ON COLUMN loyalty.job_run.started_at IS 'When the run began.';
		COMMENT ON COLUMN loyalty.job_run.updated_at IS 'When the run last committed a batch.';
		COMMENT ON COLUMN loyalty.job_run.finished_at IS 'When the run ended; NULL while it runs.';
		COMMENT ON COLUMN loyalty.job_run.done IS 'How many units are done.';
		COMMENT ON COLUMN loyalty.job_run.total IS 'How many units there were to do when the run began; an estimate where to count them would be a job of its own, until the run has ended.';
		COMMENT ON COLUMN loyalty.job_run.unit IS 'What is counted, for example wallets.';
		COMMENT ON COLUMN loyalty.job_run.last_key IS 'Key of the last unit done: a member, or of book_tiers an instant in microseconds since 1970; a resumed run goes on behind it.';
		COMMENT ON COLUMN loyalty.job_run.result IS 'What it has brought about up to now, in the unit that message names, for example points.';
		COMMENT ON COLUMN loyalty.job_run.message IS 'What the run has to say, in words.';

		CREATE TABLE loyalty.check_finding (
			run_id bigint NOT NULL,
			finding_id bigint GENERATED BY DEFAULT AS IDENTITY,
			room text NOT NULL,
			invariant text NOT NULL,
			member_id bigint,
			currency text,
			entry_id bigint,
			detail text,
			found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (run_id, finding_id)
		);
		COMMENT ON TABLE loyalty.check_finding IS 'What run_checks() has found; rows of runs that are of no use any more may be deleted.';
		COMMENT ON COLUMN loyalty.check_finding.run_id IS 'The run, of table job_run.';
		COMMENT ON COLUMN loyalty.check_finding.finding_id IS 'Number of the finding.';
		COMMENT ON COLUMN loyalty.check_finding.room IS 'Room of the extension, as check_all() says it.';
		COMMENT ON COLUMN loyalty.check_finding.invariant IS 'What does not hold.';
		COMMENT ON COLUMN loyalty.check_finding.member_id IS 'The member, where there is one.';
		COMMENT ON COLUMN loyalty.check_finding.currency IS 'The currency, where there is one.';
		COMMENT ON COLUMN loyalty.check_finding.entry_id IS 'The entry, where there is one.';
		COMMENT ON COLUMN loyalty.check_finding.detail IS 'What was found, in words.';
		COMMENT ON COLUMN loyalty.check_finding.found_at IS 'When it was found.';

		CREATE TABLE loyalty.program (
			only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
			time_zone text NOT NULL DEFAULT 'UTC',
			known_members_only boolean NOT NULL DEFAULT false
		);
		COMMENT ON TABLE loyalty.program IS 'Settings of the program, in one row; kept by configure_program().';
		COMMENT ON COLUMN loyalty.program.only_one IS 'Always true: there is one row.';
		COMMENT ON COLUMN loyalty.program.time_zone IS 'Time zone of whatever names none of its own.';
		COMMENT ON COLUMN loyalty.program.known_members_only IS 'Whether only members of table member get points.';
		CREATE TABLE loyalty.request (
			member_id bigint NOT NULL,
			call text COLLATE "C" NOT NULL,
			idempotency_key text COLLATE "C" NOT NULL,
			fingerprint bytea NOT NULL,
			result jsonb,
			result_member_id bigint,
			recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (member_id, call, idempotency_key)
		);
		CREATE INDEX request_result ON loyalty.request (result_member_id) WHERE result_member_id IS NOT NULL;
		COMMENT ON TABLE loyalty.request IS 'Idempotency keys of calls other than postings, with their results; those of postings are in the ledger.';
		COMMENT ON COLUMN loyalty.request.member_id IS 'The member that the call addressed; 0 where it addresses none.';
		COMMENT ON COLUMN loyalty.request.call IS 'The function that was called.';
		COMMENT ON COLUMN loyalty.request.idempotency_key IS 'Unique within member and function, for ever; empty for the mark that keys of the member were erased.';
		COMMENT ON COLUMN loyalty.request.fingerprint IS 'SHA-256 of the arguments.';
		COMMENT ON COLUMN loyalty.request.result IS 'What the first call returned.';
		COMMENT ON COLUMN loyalty.request.result_member_id IS 'The member that it returned, where it addresses none; of a call for a household, the person.';
		COMMENT ON COLUMN loyalty.request.recorded_at IS 'When the first call was made.';

		CREATE TABLE loyalty.escrow (
			name text COLLATE "C",
			slot integer CHECK (slot >= 0),
			remaining bigint NOT NULL CHECK (remaining >= 0 OR slot = 0),
			PRIMARY KEY (name, slot)
		) WITH (fillfactor = 10);
		COMMENT ON TABLE loyalty.escrow IS 'What is left of global limits (budgets, totals, stock), spread over slots, so that postings do not wait for each other.';
		COMMENT ON COLUMN loyalty.escrow.name IS 'The limit: its room, what it belongs to, and what it limits, such as campaign/summer/points.';
		COMMENT ON COLUMN loyalty.escrow.slot IS 'Number of the slot, from 0.';
		COMMENT ON COLUMN loyalty.escrow.remaining IS 'What can be taken from it; below zero in slot 0, then the only one, where more was given out than the total is now.';

		-- whoever may call a function may know its defaults
		GRANT SELECT ON loyalty.program TO PUBLIC;
		INSERT INTO loyalty.program DEFAULT VALUES;
	END IF;
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_core(integer) IS 'Creates and migrates the tables of room core (layout, program_object, job_run, check_finding, program, request, escrow); called by setup().';

/*
 * Triggers of our tables.  A room lists its own in <room>_triggers(); setup()
 * makes what is missing, off or otherwise than listed, and check_core() says
 * so.  A table without a guard of its own is written with the rights of its
 * owner only, by owner_only().  Statement triggers of a partitioned table are not fired by a statement
 * that names a partition, so each partition has them, too.
 */

CREATE FUNCTION core_triggers(OUT table_name text, OUT trigger_name text, OUT fired text, OUT level text, OUT function_name text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('layout', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('layout', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached'),
		('program', 'program_is_sound', 'BEFORE INSERT OR UPDATE', 'ROW', 'program_is_sound'),
		('program', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('program', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached')
$$;
COMMENT ON FUNCTION core_triggers() IS 'The triggers of the tables of room core; see program_triggers().';

CREATE FUNCTION program_triggers(OUT relation regclass, OUT trigger_name text, OUT definition text, OUT enabled "char",
	OUT state text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET jit = off
AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		WITH listed AS (
			%s
		), wanted AS (
			SELECT * FROM listed
			UNION ALL
			-- whatever was granted on a table
			SELECT o.table_name, 'owner_only', 'BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE', 'STATEMENT', 'owner_only'
			FROM loyalty.program_object o
			WHERE o.kind = 'table' AND NOT EXISTS (SELECT FROM listed l WHERE l.table_name = o.table_name AND l.function_name = 'guard')
		)
		SELECT x.relation, x.trigger_name, x.definition, x.enabled,
			CASE WHEN g.oid IS NULL THEN 'missing'
				WHEN pg_get_triggerdef(g.oid) <> x.definition THEN 'not as it should be'
				WHEN g.tgenabled = 'D' THEN 'disabled'
				WHEN g.tgenabled <> x.enabled THEN 'not enabled as it should be' END
		FROM (
			SELECT r.relation, t.trigger_name,
				format('CREATE TRIGGER %%I %%s ON %%s FOR EACH %%s EXECUTE FUNCTION loyalty.%%I(%%s)',
					t.trigger_name, t.fired, r.relation, t.level, t.function_name,
					CASE t.function_name WHEN 'forget_cached' THEN quote_literal(t.table_name) END) AS definition,
				CASE t.function_name WHEN 'forget_cached' THEN 'A' ELSE 'O' END::"char" AS enabled
			FROM wanted t, to_regclass('loyalty.' || quote_ident(t.table_name)) top,
				LATERAL (SELECT top AS relation UNION SELECT p.relid FROM pg_partition_tree(top) p WHERE t.level = 'STATEMENT') r
			WHERE top IS NOT NULL
		) x LEFT JOIN pg_trigger g ON g.tgrelid = x.relation AND g.tgname = x.trigger_name
		ORDER BY x.relation::text, x.trigger_name$q$,
		(SELECT string_agg(format('SELECT * FROM loyalty.%I()', r || '_triggers'), ' UNION ALL ')
			FROM unnest(loyalty.rooms()) r WHERE loyalty.room_function(r || '_triggers', '') IS NOT NULL));
END
$$;
COMMENT ON FUNCTION program_triggers() IS
'The triggers that our tables and their partitions should have, from the <room>_triggers() of all rooms, and owner_only() wherever none of these is a guard(): how each is made, whether it is enabled in replicas (A: always; O: not there), and what is wrong with it: missing, disabled, or not as it should be; NULL when nothing is. Part of setup() and check_all().';

CREATE FUNCTION put_triggers() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT * FROM loyalty.program_triggers() p WHERE p.state IS NOT NULL LOOP
		IF t.state = 'not as it should be' THEN
			EXECUTE format('DROP TRIGGER %I ON %s', t.trigger_name, t.relation);
		END IF;
		IF t.state IN ('missing', 'not as it should be') THEN
			EXECUTE t.definition;
		END IF;
		EXECUTE format('ALTER TABLE %s ENABLE %s TRIGGER %I', t.relation, CASE t.enabled WHEN 'A' THEN 'ALWAYS' END, t.trigger_name);
	END LOOP;
END
$$;
COMMENT ON FUNCTION put_triggers() IS 'Makes and enables what program_triggers() finds wrong; part of setup().';

/*
 * What setup() made.  After setup_<room>() has brought a room to a new layout,
 * setup() looks into the catalog for what is new there, or no longer, and
 * keeps that in program_object: the tables, and all without which they would
 * take rows that are wrong, or lose them.  So no room lists it, and what users
 * add is not among it.  A table that somebody has made anew, such as a
 * partitioned one, may have the same under other names.
 */

CREATE FUNCTION objects_in_catalog() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
-- definitions are written alike, whatever the session says
SET quote_all_identifiers = off SET standard_conforming_strings = on SET intervalstyle = iso_8601 SET datestyle = iso SET timezone = 'UTC'
SET bytea_output = hex SET extra_float_digits = 1
AS $$
	WITH our_table AS (
		SELECT c.oid, c.relname FROM pg_class c
		WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') AND NOT (c.relispartition AND loyalty.is_part_of_ours(c.oid))
	), object (table_name, kind, name, definition) AS (
		SELECT t.relname, 'table', t.relname, '' FROM our_table t
		UNION ALL
		SELECT t.relname, 'column', a.attname, 'NOT NULL'
		FROM our_table t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND a.attnotnull
		UNION ALL
		SELECT t.relname, 'constraint', o.conname, pg_get_constraintdef(o.oid)
		FROM our_table t JOIN pg_constraint o ON o.conrelid = t.oid WHERE o.contype IN ('p', 'u', 'x', 'c', 'f')
		UNION ALL
		-- rows are excluded by each partition, where it has those of a member
		SELECT t.relname, 'constraint', min(o.conname), pg_get_constraintdef(o.oid)
		FROM our_table t CROSS JOIN LATERAL pg_partition_tree(t.oid) p JOIN pg_constraint o ON o.conrelid = p.relid AND o.contype = 'x'
		WHERE p.isleaf AND p.relid <> t.oid
		GROUP BY t.oid, t.relname, pg_get_constraintdef(o.oid)
		HAVING count(DISTINCT p.relid) = (SELECT count(*) FROM pg_partition_tree(t.oid) l WHERE l.isleaf)
		UNION ALL
		SELECT t.relname, 'index', i.relname, replace(pg_get_indexdef(i.oid), ' ON ONLY ', ' ON ')
		FROM our_table t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
		WHERE x.indisvalid AND x.indisready AND NOT EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = x.indexrelid AND o.conrelid = t.oid)
		UNION ALL
		SELECT t.relname, 'sequence', s.relname, a.attname
		FROM our_table t JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
			AND d.refobjid = t.oid AND d.deptype IN ('a', 'i')
		JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
		JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
	)
	SELECT coalesce(jsonb_agg(to_jsonb(o)), '[]') FROM object o
$$;
COMMENT ON FUNCTION objects_in_catalog() IS
'What the tables in our schema have at this moment, as rows of program_object without the room. Part of setup() and check_all().';

CREATE FUNCTION keep_objects(room text, before jsonb) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	now CONSTANT jsonb := loyalty.objects_in_catalog();
BEGIN
	DELETE FROM loyalty.program_object p USING jsonb_to_recordset(before) b (table_name text, kind text, name text, definition text)
	WHERE p.table_name = b.table_name AND p.kind = b.kind AND p.name = b.name
		AND NOT EXISTS (SELECT FROM jsonb_to_recordset(now) n (table_name text, kind text, name text, definition text) WHERE n = b);
	INSERT INTO loyalty.program_object (room, table_name, kind, name, definition)
	SELECT keep_objects.room, n.* FROM jsonb_to_recordset(now) n (table_name text, kind text, name text, definition text)
	WHERE NOT EXISTS (SELECT FROM jsonb_to_recordset(before) b (table_name text, kind text, name text, definition text) WHERE b = n);
END
$$;
COMMENT ON FUNCTION keep_objects(text, jsonb) IS
'Keeps in program_object what setup_<room>() has made, changed and dropped since objects_in_catalog() was asked before. Part of setup().';

CREATE FUNCTION index_essence(definition text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT regexp_replace(regexp_replace(definition, '^(CREATE (?:UNIQUE )?INDEX ).*? (USING .*)$', '\1\2'), ' WITH \([^)]*\)', '')
$$;
COMMENT ON FUNCTION index_essence(text) IS
'What an index does, by which it is known also under another name, or with other storage parameters. Part of check_all().';

CREATE FUNCTION tables_of_program(OUT table_name text, OUT relation regclass) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT o.table_name, r.relation
	FROM loyalty.program_object o, to_regclass(format('loyalty.%I', o.table_name)) top,
		LATERAL (SELECT top AS relation UNION SELECT p.relid FROM pg_partition_tree(top) p) r
	WHERE o.kind = 'table' AND top IS NOT NULL
$$;
COMMENT ON FUNCTION tables_of_program() IS 'The tables that setup() has made, and their partitions. Part of check_all().';

CREATE FUNCTION damaged_objects(OUT what text, OUT repair text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH there AS MATERIALIZED (
		SELECT n.*, CASE n.kind WHEN 'index' THEN loyalty.index_essence(n.definition) WHEN 'constraint' THEN n.definition ELSE n.name END AS essence
		FROM jsonb_to_recordset(loyalty.objects_in_catalog()) n (table_name text, kind text, name text, definition text)
	), missing AS (
		SELECT o.*, r.relation, r.is_part
		FROM loyalty.program_object o, to_regclass(format('loyalty.%I', o.table_name)) top,
			LATERAL (
				SELECT top AS relation, false AS is_part
				WHERE o.definition NOT LIKE 'EXCLUDE %' OR (SELECT c.relkind FROM pg_class c WHERE c.oid = top) IS DISTINCT FROM 'p'
				UNION ALL
				SELECT p.relid, true FROM pg_partition_tree(top) p
				WHERE o.definition LIKE 'EXCLUDE %' AND p.isleaf AND p.relid <> top
					AND NOT EXISTS (SELECT FROM pg_constraint x WHERE x.conrelid = p.relid AND pg_get_constraintdef(x.oid) = o.definition)
			) r
		WHERE o.kind <> 'sequence' AND NOT EXISTS (SELECT FROM there h WHERE h.table_name = o.table_name AND h.kind = o.kind
			AND h.essence = CASE o.kind WHEN 'index' THEN loyalty.index_essence(o.definition) WHEN 'constraint' THEN o.definition ELSE o.name END)
	)
	SELECT format('table loyalty.%I is missing', m.name), NULL FROM missing m WHERE m.kind = 'table'
	UNION ALL
	SELECT format('%s "%s" of table %s is %s', m.kind, m.name, m.relation,
			CASE WHEN m.kind = 'column' AND a.attname IS NOT NULL THEN 'not NOT NULL'
				WHEN n.name IS NULL THEN 'missing' ELSE 'not as it should be' END),
		nullif(concat(CASE WHEN n.kind = 'constraint' THEN format('ALTER TABLE %s DROP CONSTRAINT %I; ', m.relation, n.name)
				WHEN n.kind = 'index' THEN format('DROP INDEX loyalty.%I; ', n.name) END,
			CASE m.kind WHEN 'column' THEN 'ALTER TABLE ' || m.relation || ' ALTER ' || quote_ident(a.attname) || ' SET NOT NULL'
				WHEN 'constraint' THEN format('ALTER TABLE %s ADD %s%s', m.relation, CASE WHEN NOT m.is_part THEN format('CONSTRAINT %I ', m.name) END, m.definition)
				ELSE m.definition END), '')
	FROM missing m LEFT JOIN there n ON n.table_name = m.table_name AND n.kind = m.kind AND n.name = m.name AND n.kind IN ('constraint', 'index')
	LEFT JOIN pg_attribute a ON a.attrelid = m.relation AND a.attname = m.name AND m.kind = 'column'
	WHERE m.kind <> 'table' AND m.relation IS NOT NULL
	UNION ALL
	SELECT format('table %s is unlogged, so that it is empty after a crash', c.oid::regclass), format('ALTER TABLE %s SET LOGGED', c.oid::regclass)
	FROM loyalty.tables_of_program() t JOIN pg_class c ON c.oid = t.relation WHERE c.relpersistence = 'u' AND c.relkind = 'r'
	UNION ALL
	-- of members the owner may see some only, as policies say; of settings all
	SELECT format('table %s hides rows from its owner, by row-level security that is forced', c.oid::regclass),
		format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', c.oid::regclass)
	FROM loyalty.tables_of_program() t JOIN pg_class c ON c.oid = t.relation JOIN pg_roles r ON r.oid = c.relowner
	WHERE c.relrowsecurity AND c.relforcerowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
		AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'member_id' AND NOT a.attisdropped)
$$;
COMMENT ON FUNCTION damaged_objects() IS
'What setup() has made and is not there, or not as it was, and the statement that repairs it, NULL where there is none. Part of setup() and check_all().';

CREATE FUNCTION put_objects() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	statement text;
BEGIN
	-- what is NOT NULL before what is a primary key
	FOR statement IN SELECT d.repair FROM loyalty.damaged_objects() d WHERE d.repair IS NOT NULL ORDER BY d.what LIKE 'column %' DESC, d.what LOOP
		EXECUTE statement;
	END LOOP;
END
$$;
COMMENT ON FUNCTION put_objects() IS 'Repairs what damaged_objects() finds; part of setup().';

CREATE FUNCTION sequences_behind(OUT sequence regclass, OUT relation regclass, OUT column_name text, OUT last bigint, OUT largest bigint)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	q record;
BEGIN
	FOR q IN
		SELECT t.relation, o.definition, x.sequence, s.increment_by,
			-- the engine that has spread them gives each machine numbers of its own, by their upper 16 bits
			CASE WHEN s.increment_by = 1 AND (loyalty.tables_are_spread() OR loyalty.sees_part()) THEN ((s.start_value >> 48) + 1) << 48 ELSE s.max_value END AS max_value,
			coalesce(s.last_value, s.start_value - s.increment_by) AS last
		FROM loyalty.program_object o
		CROSS JOIN LATERAL (SELECT to_regclass(format('loyalty.%I', o.table_name)) AS relation) t
		CROSS JOIN LATERAL (SELECT coalesce(pg_get_serial_sequence(t.relation::text, o.definition)::regclass,
			to_regclass(format('loyalty.%I', o.name))) AS sequence) x
		JOIN pg_class c ON c.oid = x.sequence JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_sequences s ON s.schemaname = n.nspname AND s.sequencename = c.relname
		-- numbers of members are given, too, and those of a subscriber's rows come with them
		WHERE o.kind = 'sequence' AND o.definition <> 'member_id' AND s.increment_by > 0 AND has_sequence_privilege(x.sequence, 'SELECT')
			AND NOT EXISTS (SELECT FROM pg_subscription_rel r JOIN loyalty.tables_of_program() p ON p.relation = r.srrelid WHERE p.table_name = o.table_name)
		ORDER BY o.table_name, o.name
	LOOP
		-- of the numbers that it draws
		EXECUTE format('SELECT max(%1$I) FROM %2$s WHERE %1$I > $1 AND %1$I <= $2 AND (%1$I - $1) %% $3 = 0', q.definition, q.relation)
		INTO largest USING q.last, q.max_value, q.increment_by;
		IF largest IS NOT NULL THEN
			sequence := q.sequence; relation := q.relation; column_name := q.definition; last := q.last;
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION sequences_behind() IS
'The sequences that number rows of our tables, and would give numbers again that rows have; of those that the caller may read. Part of check_all().';

CREATE FUNCTION changes_by_others(OUT what text) RETURNS SETOF text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT format('rule "%s" of table %s does something else than what is written there: DROP RULE %1$I ON %2$s', w.rulename, c.oid::regclass)
	FROM loyalty.tables_of_program() t JOIN pg_class c ON c.oid = t.relation JOIN pg_rewrite w ON w.ev_class = c.oid
	WHERE w.is_instead AND w.ev_enabled <> 'D'
	UNION ALL
	SELECT format('%s: %s', x.what, rtrim(x.repair, ';')) FROM loyalty.things_of_others((SELECT c.relowner::regrole FROM pg_class c WHERE c.oid = 'loyalty.layout'::regclass)) x
	UNION ALL
	SELECT format('%1$s may write into tables whose guards alone stop it: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON %2$s FROM %1$s',
		coalesce(quote_ident(r.rolname), 'PUBLIC'), string_agg(DISTINCT c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text))
	FROM loyalty.tables_of_program() t JOIN pg_class c ON c.oid = t.relation
	CROSS JOIN LATERAL (SELECT c.relacl AS acl UNION ALL SELECT a.attacl FROM pg_attribute a WHERE a.attrelid = c.oid) l
	CROSS JOIN LATERAL aclexplode(l.acl) g LEFT JOIN pg_roles r ON r.oid = g.grantee
	WHERE g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
		AND (r.oid IS NULL OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
	GROUP BY r.rolname
$$;
COMMENT ON FUNCTION changes_by_others() IS
'What somebody has done to our tables, and setup() does not undo: rules that put something else in the place of what is written, grants of privileges to write, and what things_of_others() finds. Part of check_all().';

CREATE FUNCTION check_core(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text)
RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT f.invariant, NULL::bigint, NULL::text, NULL::bigint, f.detail
	FROM (
		SELECT 'trigger', format('trigger "%s" of table %s is %s; loyalty.setup() puts it back', t.trigger_name, t.relation, t.state)
		FROM loyalty.program_triggers() t WHERE t.state IS NOT NULL
		UNION ALL
		SELECT 'table', concat(d.what, CASE WHEN d.repair IS NOT NULL THEN '; loyalty.setup() puts it right' END)
		FROM loyalty.damaged_objects() d
		UNION ALL
		SELECT 'table', c.what FROM loyalty.changes_by_others() c
		UNION ALL
		SELECT 'sequence', format('sequence %s stands at %s, and a row of %s has %s %s: SELECT setval(%L, %s)',
			s.sequence, s.last, s.relation, s.column_name, s.largest, s.sequence, s.largest)
		FROM loyalty.sequences_behind() s
		UNION ALL
		SELECT 'layout', format('the table loyalty.layout has no row of room "%s"', r)
		FROM unnest(loyalty.rooms()) r
		WHERE loyalty.room_function('setup_' || r, 'integer') IS NOT NULL
			AND NOT EXISTS (SELECT FROM loyalty.layout l WHERE l.room = r)
		UNION ALL
		SELECT 'layout', 'the table loyalty.program_object has lost its rows, so that nobody can tell what is missing elsewhere'
		WHERE NOT EXISTS (SELECT FROM loyalty.program_object o WHERE o.table_name = 'program_object' AND o.kind = 'table')
	) f (invariant, detail)
$$;
COMMENT ON FUNCTION check_core() IS 'Every invariant of room core: a row for each violation; part of check_all().';
