/*
 * core: the frame of setup(), settings of the program, the record of job runs,
 * and check_all().
 *
 * CREATE EXTENSION creates no table.  setup() calls setup_<room>() of every
 * room, in order; these create and migrate ordinary tables that belong to
 * their caller.  check_all() gathers check_<room>() of every room.
 */

-- The tables that functions of all rooms name do not exist yet when this script runs.
SET LOCAL check_function_bodies = off;

CREATE FUNCTION require_setup(internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_require_setup';
COMMENT ON FUNCTION require_setup(internal) IS
'Support function of every function that needs the tables of the program: raises LY001, whatever the language of the function, where setup() has not made them.';

-- The states of aggregates have a public type, since a distributed engine pushes
-- no aggregate down whose state is internal.
CREATE TYPE aggregate_state;

CREATE FUNCTION aggregate_state_in(cstring) RETURNS aggregate_state
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_aggregate_state_in';
COMMENT ON FUNCTION aggregate_state_in(cstring) IS 'Text input of type aggregate_state: bytes in hex.';

CREATE FUNCTION aggregate_state_out(aggregate_state) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_aggregate_state_out';
COMMENT ON FUNCTION aggregate_state_out(aggregate_state) IS 'Text output of type aggregate_state: bytes in hex.';

CREATE FUNCTION aggregate_state_recv(internal) RETURNS aggregate_state
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_aggregate_state_recv';
COMMENT ON FUNCTION aggregate_state_recv(internal) IS 'Binary input of type aggregate_state; refuses what no aggregate has made.';

CREATE FUNCTION aggregate_state_send(aggregate_state) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_aggregate_state_send';
COMMENT ON FUNCTION aggregate_state_send(aggregate_state) IS 'Binary output of type aggregate_state.';

CREATE TYPE aggregate_state (
	INPUT = aggregate_state_in,
	OUTPUT = aggregate_state_out,
	RECEIVE = aggregate_state_recv,
	SEND = aggregate_state_send,
	INTERNALLENGTH = variable,
	ALIGNMENT = int4,
	STORAGE = extended
);
COMMENT ON TYPE aggregate_state IS
'What an aggregate knows of a part of the rows, on its way between processes and machines; each aggregate has its own kind. Made and read by aggregates only, not for columns of tables: another version may have another form.';

CREATE FUNCTION forget_cached() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_forget_cached';
COMMENT ON FUNCTION forget_cached() IS
'Trigger function (AFTER) on a small table of settings: tells every session at commit to read the table again. Always enabled and for each row, so that it is fired on a logical subscriber, too.';

CREATE FUNCTION owner_only() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_owner_only';
COMMENT ON FUNCTION owner_only() IS
'Trigger function (BEFORE, FOR EACH STATEMENT): refuses with 42501 what is written by somebody who has not the rights of the owner of our tables, whatever was granted to him.';

CREATE FUNCTION room_function(name text, arguments text) RETURNS regprocedure
LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.oid::regprocedure
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'loyalty'
	WHERE p.proname = $1 AND oidvectortypes(p.proargtypes) = $2 AND p.pronamespace = 'loyalty'::regnamespace
$$;
COMMENT ON FUNCTION room_function(text, text) IS
'A function of the extension that a room may have, found by its name and the types of its arguments; NULL where there is none: what somebody else has put into our schema is not run.';

CREATE FUNCTION stored_function(name text, arguments text) RETURNS regproc
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found regprocedure;
	program_owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass('loyalty.layout'));
	owner pg_roles;
BEGIN
	BEGIN
		found := to_regprocedure(format('%s(%s)', name, arguments));
	EXCEPTION
		WHEN syntax_error_or_access_rule_violation THEN
			found := NULL;	-- no name at all
	END;
	IF found IS NULL THEN
		RAISE EXCEPTION 'function %(%) does not exist', name, arguments
			USING ERRCODE = 'LY003', DETAIL = 'No function has this name and these arguments.',
				HINT = 'Name it with its schema, quoted where SQL wants quotes.';
	END IF;
	SELECT r.* INTO owner FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.oid = found;
	IF owner.oid <> program_owner AND NOT owner.rolsuper THEN
		RAISE EXCEPTION 'function % may not run for loyalty', found
			USING ERRCODE = 'insufficient_privilege',
				DETAIL = format('It belongs to %I; the tables of loyalty belong to %s.', owner.rolname, program_owner::regrole),
				HINT = format('After reading it, ALTER FUNCTION %s OWNER TO %s;', found, program_owner::regrole);
	END IF;
	RETURN found::oid::regproc;
END
$$;
COMMENT ON FUNCTION stored_function(text, text) IS
'The function of a name that a table of ours holds, with arguments as to_regprocedure() takes them. It runs with the rights of whoever calls us, so it must belong to the owner of our tables or to a superuser; asked again each time before it runs. Errors: LY003 there is none; 42501 it belongs to somebody else.';

CREATE FUNCTION stored_function_problem(name text, arguments text) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.stored_function(name, arguments);
	RETURN NULL;
EXCEPTION
	WHEN SQLSTATE 'LY003' OR insufficient_privilege THEN
		RETURN SQLERRM;
END
$$;
COMMENT ON FUNCTION stored_function_problem(text, text) IS
'Why stored_function() would refuse, or NULL. Part of check_all().';

CREATE FUNCTION keep_act(act text, member_id bigint DEFAULT NULL, object_id bigint DEFAULT NULL, subject text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_keep_act';
COMMENT ON FUNCTION keep_act(text, bigint, bigint, text) IS
'Keeps who does an act, in operator_act, or refuses it (LY020) where a policy asks for another person''s approval. Part of the acts; 42501 for whoever has not the rights of the owner of our tables.';

-- What happened, for rooms to the right: see src/core/happened.h.
CREATE FUNCTION declared_happenings() RETURNS text[]
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_declared_happenings';
COMMENT ON FUNCTION declared_happenings() IS 'The kinds of what can happen, as the rooms declare them, in install order.';

CREATE FUNCTION is_heard(kind text) RETURNS boolean
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_is_heard';
COMMENT ON FUNCTION is_heard(text) IS
'Whether anybody hears of what happens of this kind: asked before happen(), so that nothing is made for nobody. Part of the writing functions; 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION happen(kind text, member_id bigint, at timestamptz, payload jsonb) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_happen';
COMMENT ON FUNCTION happen(text, bigint, timestamptz, jsonb) IS
'Tells whoever hears of it that something happened to a member; payload has ids and core types, and no personal data. Part of the writing functions; 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION actor_columns() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{session_role,role,actor,person,decided_session_role,decided_role,decided_actor,decided_person}'::text[]
$$;
COMMENT ON FUNCTION actor_columns() IS
'The columns that say who did something by hand, or decided it, in tables that keep that: those with a column session_role.';

CREATE FUNCTION list_differences(stored jsonb, given jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(format('%s is %s, not %s', g.key, coalesce(stored ->> g.key, 'NULL'), coalesce(given ->> g.key, 'NULL')), '; ' ORDER BY g.key)
	FROM jsonb_each(given) g
	WHERE stored -> g.key IS DISTINCT FROM g.value
$$;
COMMENT ON FUNCTION list_differences(jsonb, jsonb) IS
'In which of the given settings a definition that is given again differs from what is stored, in words; NULL where it is the same.';

CREATE FUNCTION restart_call(why text) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_restart_call';
COMMENT ON FUNCTION restart_call(text) IS
'Raises the signal by which a call that has locked the wrong rows gives them back and begins anew (SQLSTATE LX001, which no refusal has). The call catches it, in the subtransaction that has the locks. Part of the writing functions.';

CREATE FUNCTION count_restart(restarts integer, why text) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_count_restart';
COMMENT ON FUNCTION count_restart(integer, text) IS
'One more than restarts, how often a call has begun anew by restart_call(). Error: 54000 when that has been so often that it will have no end. Part of the writing functions.';

CREATE FUNCTION program_time_zone() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_program_time_zone';
COMMENT ON FUNCTION program_time_zone() IS
'The time zone of the program, as configure_program() set it: that of every currency, ladder and analysis by periods that names none of its own. UTC until it is set, and before setup().';

CREATE FUNCTION require_time_zone(time_zone text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = require_time_zone.time_zone) THEN
		RAISE EXCEPTION 'unknown time zone "%"', time_zone
			USING ERRCODE = 'LY003', DETAIL = 'Dates and the ends of days, months and years are those of a time zone.',
				HINT = 'See the view pg_timezone_names.';
	END IF;
	RETURN time_zone;
END
$$;
COMMENT ON FUNCTION require_time_zone(text) IS 'Answers with the time zone; LY003 when there is none of this name.';

CREATE FUNCTION program_is_sound() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	NEW.time_zone := loyalty.require_time_zone(NEW.time_zone);
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION program_is_sound() IS 'Trigger function on program: the time zone exists.';

CREATE FUNCTION configure_program(INOUT time_zone text DEFAULT NULL, INOUT known_members_only boolean DEFAULT NULL) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	stranger bigint;
BEGIN
	IF known_members_only THEN
		SELECT w.member_id INTO stranger FROM loyalty.wallet w
		WHERE NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = w.member_id) ORDER BY w.member_id LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION 'there are points of members who are not known'
				USING ERRCODE = 'LY202', DETAIL = format('Member %s, for one.', stranger),
					HINT = 'INSERT INTO loyalty.member (member_id) SELECT DISTINCT member_id FROM loyalty.wallet ON CONFLICT DO NOTHING;';
		END IF;
	END IF;
	IF time_zone IS NOT NULL THEN
		time_zone := loyalty.require_time_zone(time_zone);
	END IF;
	UPDATE loyalty.program p
	SET time_zone = coalesce(configure_program.time_zone, p.time_zone),
		known_members_only = coalesce(configure_program.known_members_only, p.known_members_only)
	RETURNING p.time_zone, p.known_members_only INTO configure_program.time_zone, configure_program.known_members_only;
END
$$;
COMMENT ON FUNCTION configure_program(text, boolean) IS
'Changes the settings of the program that are given, and returns all of them. time_zone: that of every currency, ladder and analysis by periods that names none of its own; currencies and ladders keep the one that they were defined with, so set it first. known_members_only: nobody who is not in loyalty.member gets points (LY202). Errors: LY003 unknown time zone; LY202 somebody unknown has points already.';

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
		COMMENT ON COLUMN loyalty.request.result_member_id IS 'The member that it returned, where it addresses none.';
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
 * Idempotency.  A call with an idempotency_key that was used before returns
 * what the first one returned; with other arguments it is refused (LY004).  A
 * key is unique, for ever, within the function called and the member addressed,
 * under whichever number that is one with it.
 *
 * Every function that writes keeps this promise.  Postings keep it by a column
 * of the ledger (src/ledger/post.c), in the statement that they
 * need anyhow, where a key is unique within member and currency.  All others do it so:
 *
 *	IF idempotency_key IS NOT NULL THEN
 *		earlier := loyalty.claim_request('grant_tier', numbers, idempotency_key, jsonb_build_array(level, ...));
 *		IF earlier IS NOT NULL THEN
 *			grant_id := earlier ->> 'grant_id'; replayed := true;
 *			RETURN;
 *		END IF;
 *	END IF;
 *	... the work ...
 *	IF idempotency_key IS NOT NULL THEN
 *		PERFORM loyalty.finish_request('grant_tier', member_id, idempotency_key, jsonb_build_object('grant_id', grant_id));
 *	END IF;
 *
 * The arguments are all that were given but the member and the key, spelled
 * alike whatever the settings of the session: an instant as extract(epoch FROM
 * nullif(at, statement_timestamp())), where that is its default; an interval
 * as interval_send().
 */

CREATE FUNCTION claim_request(call text, member_ids bigint[], idempotency_key text, arguments jsonb) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	mark CONSTANT bytea := sha256(convert_to(arguments::text, 'UTF8'));
	claimed bigint[];
	is_first boolean;
	earlier record;
BEGIN
	IF idempotency_key = '' THEN
		RAISE EXCEPTION 'idempotency_key must not be empty'
			USING ERRCODE = 'LY003', DETAIL = 'An empty key would make different calls the same.',
				HINT = 'Give a key of the caller''s own choice, or leave it out.';
	ELSIF octet_length(idempotency_key) > 2000 THEN
		RAISE EXCEPTION 'idempotency_key is longer than 2000 bytes'
			USING ERRCODE = 'LY003', DETAIL = format('It has %s bytes and begins with "%s".', octet_length(idempotency_key), left(idempotency_key, 40)),
				HINT = 'Give a shorter one, such as a hash of it.';
	ELSIF array_position(member_ids, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'a member must be given'
			USING ERRCODE = 'LY003', DETAIL = format('The key of a call of %s() is that of a member.', call), HINT = 'Name the member.';
	END IF;
	-- under all numbers, so that a call through another one that is under way is waited for
	WITH mine AS (
		INSERT INTO loyalty.request AS r (member_id, call, idempotency_key, fingerprint)
		SELECT m, call, idempotency_key, mark FROM unnest(member_ids) m ORDER BY m
		ON CONFLICT DO NOTHING RETURNING r.member_id
	)
	SELECT coalesce(array_agg(m.member_id), '{}') INTO claimed FROM mine m;
	is_first := cardinality(claimed) = cardinality(member_ids);
	IF cardinality(claimed) > is_first::integer THEN
		DELETE FROM loyalty.request r
		WHERE r.member_id = ANY (claimed) AND r.call = claim_request.call AND r.idempotency_key = claim_request.idempotency_key
			AND NOT (is_first AND r.member_id = member_ids[1]);
	END IF;
	IF is_first AND EXISTS (SELECT FROM loyalty.request r WHERE r.member_id = ANY (member_ids) AND r.call = 'forget_member' AND r.idempotency_key = '') THEN
		RAISE EXCEPTION 'whether idempotency key "%" was used cannot be told', idempotency_key
			USING ERRCODE = 'LY115', DETAIL = format('Member %s was forgotten, and its keys were erased.', member_ids[1]),
				HINT = 'If you know that this call was never made, make it without a key.';
	ELSIF is_first THEN
		RETURN NULL;
	END IF;
	SELECT r.* INTO STRICT earlier FROM loyalty.request r
	WHERE r.member_id = ANY (member_ids) AND r.call = claim_request.call AND r.idempotency_key = claim_request.idempotency_key
	ORDER BY r.member_id = member_ids[1] DESC LIMIT 1;
	IF earlier.fingerprint <> mark THEN
		RAISE EXCEPTION 'idempotency key "%" was used with other arguments', idempotency_key
			USING ERRCODE = 'LY004', DETAIL = format('Another call of %s()%s used it before.', call, ' for member ' || nullif(earlier.member_id, 0)),
				HINT = 'Repeat a call with the very same arguments, or use a new key.';
	END IF;
	RETURN coalesce(earlier.result, '{}');
END
$$;
COMMENT ON FUNCTION claim_request(text, bigint[], text, jsonb) IS
'What an earlier call of a function with this idempotency key returned, for any of these numbers of a member, of which the first is the one addressed (0: none); NULL when this is the first call. Waits for one that is under way. Errors: LY004 its arguments were others, LY115 keys of the member were erased by forget_requests(), so that nobody can tell, LY003 an empty or too long key. Part of the writing functions.';

CREATE FUNCTION finish_request(call text, member_id bigint, idempotency_key text, result jsonb, result_member_id bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE loyalty.request r SET result = $4, result_member_id = $5
	WHERE r.member_id = $2 AND r.call = $1 AND r.idempotency_key = $3;
END
$$;
COMMENT ON FUNCTION finish_request(text, bigint, text, jsonb, bigint) IS 'Keeps what a call with an idempotency key returns. Part of the writing functions.';

CREATE FUNCTION erase_rows(statement text, member_ids bigint[]) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_erase_rows';
COMMENT ON FUNCTION erase_rows(text, bigint[]) IS
'Runs a statement that deletes or clears rows of members ($1), and returns how many. It finds those, too, that were committed since the snapshot of a transaction in REPEATABLE READ or above, which then ends with 40001. Part of forget_member(); 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION forget_requests(member_ids bigint[]) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.erase_rows($q$
		DELETE FROM loyalty.request r WHERE r.member_id = ANY ($1) AND r.idempotency_key <> '' OR r.result_member_id = ANY ($1)$q$, member_ids);
	INSERT INTO loyalty.request (member_id, call, idempotency_key, fingerprint)
	SELECT m, 'forget_member', '', '' FROM unnest($1) m ORDER BY m
	ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION forget_requests(bigint[]) IS
'Deletes the keys and results of calls for members, and leaves a mark, by which new keys of theirs are refused: they may be old ones. Part of forget_member().';

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
		SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p')
	), object (table_name, kind, name, definition) AS (
		SELECT t.relname, 'table', t.relname, '' FROM our_table t
		UNION ALL
		SELECT t.relname, 'column', a.attname, 'NOT NULL'
		FROM our_table t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND a.attnotnull
		UNION ALL
		SELECT t.relname, 'constraint', o.conname, pg_get_constraintdef(o.oid)
		FROM our_table t JOIN pg_constraint o ON o.conrelid = t.oid WHERE o.contype IN ('p', 'u', 'x', 'c', 'f')
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
		SELECT o.*, to_regclass(format('loyalty.%I', o.table_name)) AS relation
		FROM loyalty.program_object o
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
				WHEN 'constraint' THEN format('ALTER TABLE %s ADD CONSTRAINT %I %s', m.relation, m.name, m.definition)
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
		SELECT t.relation, o.definition, x.sequence, s.max_value, coalesce(s.last_value, s.start_value - s.increment_by) AS last
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
		EXECUTE format('SELECT max(%1$I) FROM %2$s WHERE %1$I > $1 AND %1$I <= $2', q.definition, q.relation) INTO largest USING q.last, q.max_value;
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

/*
 * Jobs: procedures that work in batches, commit each, show in job_run how far
 * they are, and go on where they were stopped.  What they have in common is
 * run_job(); a job gives it two functions:
 *
 *	next_<job>(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
 *		OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint)
 *
 * looks at the next ones behind the last key: as far as which key, how many
 * units these are, the members of whom something is to be done, ascending (for
 * each of several scopes, where scopes has one for each), what it has brought
 * about itself, how many cannot be helped, and, at the beginning, how many units
 * there are in all.  up_to is NULL behind the last.  To look locks nothing.
 *
 *	<job>_of(member_ids bigint[], as_of timestamptz, scope text) RETURNS bigint
 *
 * does the work for some members, by run_batch().
 *
 * What a job reads it reads by the index on its members, whatever statistics
 * there are, or are not yet: SET enable_seqscan = off, and custom plans for
 * bounds that may be NULL.
 *
 * A batch locks what postings lock, in their order, and nobody waits for it
 * longer than it takes.  It waits for nobody either who does not end soon:
 * whoever is in a transaction that stays open is left out, and tried again at
 * the end.
 */

CREATE FUNCTION require_autocommit(job text) RETURNS void
LANGUAGE c STABLE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_require_autocommit';
COMMENT ON FUNCTION require_autocommit(text) IS
'Raises 25001 where the procedure that asks could not commit. Part of the jobs.';

CREATE FUNCTION lock_job(job text) RETURNS boolean
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_lock_job';
COMMENT ON FUNCTION lock_job(text) IS
'Takes the lock of a job for this session, beyond commits, until unlock_job() or any error; false when another session has it. Part of the jobs.';

CREATE FUNCTION unlock_job(job text) RETURNS boolean
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_unlock_job';
COMMENT ON FUNCTION unlock_job(text) IS 'Gives back what lock_job() took. Part of the jobs.';

CREATE FUNCTION lock_key(key text) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_lock_key';
COMMENT ON FUNCTION lock_key(text) IS
'Locks a key until the transaction ends; waits for whoever has it. Error: 42501 the caller does not write into our tables. Part of functions that look a key up before they write.';

-- A session of a distributed engine sees the part of a table that its machine
-- has, or what the others have without their locks: what goes over all members
-- would be right for a part, and say nothing.
CREATE FUNCTION refuse_distributed(caller text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	spread text;
BEGIN
	IF to_regclass('pg_catalog.pg_dist_partition') IS NULL THEN
		RETURN;
	END IF;
	EXECUTE $q$SELECT min(c.relname) FROM pg_catalog.pg_dist_partition d JOIN pg_catalog.pg_class c ON c.oid = d.logicalrelid
		WHERE c.relnamespace = 'loyalty'::regnamespace$q$ INTO spread;
	IF spread IS NOT NULL THEN
		RAISE EXCEPTION '%() cannot work on distributed tables', caller
			USING ERRCODE = 'feature_not_supported', DETAIL = format('Table loyalty.%s is spread over several machines, and one of them does not see what the others do.', spread),
				HINT = 'Call functions of single members, or bring the tables back to one machine (undistribute_table()).';
	END IF;
END
$$;
COMMENT ON FUNCTION refuse_distributed(text) IS
'Refuses a function that goes over all members where a distributed engine has spread our tables: it would be right for a part only. Error: 0A000. Part of the jobs and of ledger_digest().';

CREATE FUNCTION past_instant(as_of timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT isfinite(as_of) OR as_of > clock_timestamp() THEN
		RAISE EXCEPTION 'as_of must be a finite instant that is not in the future'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', as_of), HINT = 'Leave it out for now.';
	END IF;
	RETURN coalesce(as_of, statement_timestamp());
END
$$;
COMMENT ON FUNCTION past_instant(timestamptz) IS
'The instant as of which something is done that is stored: as_of, NULL: now. Error: LY003 an infinite one, or one in the future.';

CREATE FUNCTION begin_job(job text, as_of timestamptz, batch_size integer, unit text, arguments jsonb DEFAULT '{}',
	OUT run_id bigint, OUT until timestamptz, OUT last_key bigint, OUT resumed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF job IS NULL OR unit IS NULL THEN
		RAISE EXCEPTION 'job and unit must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A run is kept with its name and with what it counts.', HINT = 'CALL the procedure of a job.';
	END IF;
	PERFORM loyalty.refuse_distributed(job);
	until := loyalty.past_instant(as_of);
	IF batch_size IS NULL OR batch_size <= 0 THEN
		RAISE EXCEPTION 'batch_size must be positive'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(batch_size::text, 'NULL')),
				HINT = format('It is the number of %s between two commits.', unit);
	END IF;
	IF NOT loyalty.lock_job(job) THEN
		RAISE EXCEPTION '% is running in another session', job
			USING ERRCODE = 'LY006', DETAIL = 'It holds its lock until it ends.', HINT = 'See the table loyalty.job_run.';
	END IF;

	-- nobody runs it: what is marked as running was stopped
	arguments := jsonb_strip_nulls(coalesce(arguments, '{}') || jsonb_build_object('as_of', as_of AT TIME ZONE 'UTC'));
	UPDATE loyalty.job_run j SET as_of = until
	WHERE j.run_id = (SELECT max(r.run_id) FROM loyalty.job_run r
		WHERE r.job = begin_job.job AND r.status = 'running' AND r.arguments = begin_job.arguments)
	RETURNING j.run_id, j.last_key INTO run_id, last_key;
	resumed := FOUND;
	UPDATE loyalty.job_run j SET status = 'interrupted', finished_at = clock_timestamp()
	WHERE j.job = begin_job.job AND j.status = 'running' AND j.run_id IS DISTINCT FROM begin_job.run_id;
	IF NOT resumed THEN
		INSERT INTO loyalty.job_run AS j (job, as_of, arguments, unit) VALUES (job, until, arguments, unit) RETURNING j.run_id INTO run_id;
	END IF;
END
$$;
COMMENT ON FUNCTION begin_job(text, timestamptz, integer, text, jsonb) IS
'Begins a run of a job, or resumes the one that was stopped with the same as_of and arguments: locks the job and records the run. until is as_of, or now. Errors: LY003 as_of, batch_size; LY006 it is running. Part of the jobs.';

CREATE FUNCTION note_job(run_id bigint, done bigint DEFAULT 0, last_key bigint DEFAULT NULL, result bigint DEFAULT NULL,
	total bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	UPDATE loyalty.job_run j
	SET done = j.done + coalesce(note_job.done, 0), last_key = coalesce(note_job.last_key, j.last_key),
		result = coalesce(j.result + note_job.result, note_job.result, j.result),
		total = coalesce(note_job.total, j.total), updated_at = clock_timestamp()
	WHERE j.run_id = note_job.run_id;
END
$$;
COMMENT ON FUNCTION note_job(bigint, bigint, bigint, bigint, bigint) IS
'Records a batch of a run: how much more is done, the last key, what more it brought about, how much there is to do in all. Part of the jobs.';

CREATE FUNCTION run_batch(job text, member_ids bigint[], as_of timestamptz DEFAULT NULL, scope text DEFAULT NULL,
	OUT result bigint, OUT busy bigint[]) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms'
AS $$
DECLARE
	call CONSTANT text := format('SELECT loyalty.%I($1, $2, $3)', job || '_of');
	member_id bigint;
	one bigint;
BEGIN
	busy := '{}';
	BEGIN
		EXECUTE call INTO result USING member_ids, as_of, scope;
		RETURN;
	EXCEPTION
		WHEN lock_not_available THEN
			result := 0;
	END;
	-- whose it was, only one at a time tells
	FOREACH member_id IN ARRAY member_ids LOOP
		BEGIN
			EXECUTE call INTO one USING ARRAY[member_id], as_of, scope;
			result := result + coalesce(one, 0);
		EXCEPTION
			WHEN lock_not_available THEN
				busy := busy || member_id;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION run_batch(text, bigint[], timestamptz, text) IS
'Runs <job>_of() for a batch of members. Where somebody else keeps one of them locked for longer than a moment, such as a session that is idle in its transaction, it is run for each of them alone; busy are those whom it could not have. result is the sum. Part of the jobs.';

CREATE FUNCTION end_job(run_id bigint, of_what text, busy bigint[] DEFAULT '{}', unsound bigint DEFAULT 0) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE loyalty.job_run j
	SET status = 'finished', finished_at = clock_timestamp(), updated_at = clock_timestamp(), total = j.done, result = coalesce(j.result, 0),
		message = concat_ws('; ', format('%s %s', coalesce(j.result, 0), of_what),
			CASE WHEN unsound > 0 THEN format('%s members have entries that are not sound, see check_all()', unsound) END,
			CASE WHEN cardinality(busy) > 0 THEN format('%s members stayed locked by other sessions, the first is %s: left to the next run',
				cardinality(busy), busy[1]) END)
	WHERE j.run_id = end_job.run_id;
END
$$;
COMMENT ON FUNCTION end_job(bigint, text, bigint[], bigint) IS
'Records that a run has come to its end, with a message such as "12 points booked", how many members were left out as unsound, and how many were busy all the time. Part of the jobs.';

CREATE PROCEDURE run_job(job text, as_of timestamptz, batch_size integer, unit text, of_what text,
	arguments jsonb DEFAULT '{}', scope text DEFAULT NULL)
LANGUAGE plpgsql
AS $$
DECLARE
	run record;
	ahead record;
	batch record;
	place integer;
	last integer;
	again bigint[];
	again_scopes text[];
	busy bigint[] := '{}';
	busy_scopes text[] := '{}';
	unsound bigint := 0;
BEGIN
	PERFORM loyalty.require_autocommit(job);
	SELECT * INTO run FROM loyalty.begin_job(job, as_of, batch_size, unit, arguments);
	COMMIT;

	LOOP
		SELECT * INTO ahead FROM loyalty.next_of_job(job, run.run_id, run.last_key, run.until, batch_size, scope, busy);
		PERFORM loyalty.note_job(run.run_id, total => ahead.total);
		place := 1;
		WHILE place OPERATOR(pg_catalog.<=) pg_catalog.cardinality(ahead.members) LOOP
			-- a batch is of one scope
			last := least(place::pg_catalog.int8 OPERATOR(pg_catalog.+) batch_size OPERATOR(pg_catalog.-) 1, pg_catalog.cardinality(ahead.members));
			WHILE ahead.scopes[last] OPERATOR(pg_catalog.<>) ahead.scopes[place] LOOP
				last := last OPERATOR(pg_catalog.-) 1;
			END LOOP;
			SELECT * INTO batch FROM loyalty.run_batch(job, ahead.members[place : last], run.until, coalesce(ahead.scopes[place], scope));
			busy := busy OPERATOR(pg_catalog.||) batch.busy;
			busy_scopes := busy_scopes OPERATOR(pg_catalog.||)
				pg_catalog.array_fill(coalesce(ahead.scopes[place], scope), ARRAY[pg_catalog.cardinality(batch.busy)]);
			PERFORM loyalty.note_job(run.run_id, result => batch.result);
			place := last OPERATOR(pg_catalog.+) 1;
			-- the last of them together with how far it is
			IF place OPERATOR(pg_catalog.<=) pg_catalog.cardinality(ahead.members) THEN
				COMMIT;
			END IF;
		END LOOP;
		unsound := unsound OPERATOR(pg_catalog.+) ahead.unsound;
		PERFORM loyalty.note_job(run.run_id, ahead.seen, ahead.up_to, ahead.result);
		COMMIT;
		EXIT WHEN ahead.up_to IS NULL;
		run.last_key := ahead.up_to;
	END LOOP;

	-- once more whoever was busy then
	FOR attempt IN 1 .. 3 LOOP
		EXIT WHEN pg_catalog.cardinality(busy) OPERATOR(pg_catalog.=) 0;
		PERFORM pg_catalog.pg_sleep(1);
		again := busy;
		again_scopes := busy_scopes;
		busy := '{}';
		busy_scopes := '{}';
		FOR n IN 1 .. pg_catalog.cardinality(again) LOOP
			SELECT * INTO batch FROM loyalty.run_batch(job, ARRAY[again[n]], run.until, again_scopes[n]);
			IF pg_catalog.cardinality(batch.busy) OPERATOR(pg_catalog.>) 0 THEN
				busy := busy OPERATOR(pg_catalog.||) again[n];
				busy_scopes := busy_scopes OPERATOR(pg_catalog.||) ARRAY[again_scopes[n]];
			END IF;
			PERFORM loyalty.note_job(run.run_id, result => batch.result);
			COMMIT;
		END LOOP;
	END LOOP;

	PERFORM loyalty.end_job(run.run_id, of_what, busy, unsound);
	COMMIT;
	PERFORM loyalty.unlock_job(job);
END
$$;
COMMENT ON PROCEDURE run_job(text, timestamptz, integer, text, text, jsonb, text) IS
'A job from its beginning, or from where it was stopped, to its end. unit is what done and total count, of_what is what result counts. arguments: what it was called with besides as_of; scope: what its two functions get of that. Errors: as of begin_job(), and 25001 inside a transaction. What the jobs do.';

CREATE FUNCTION next_of_job(job text, run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint)
RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF loyalty.room_function('next_' || job, 'bigint, bigint, timestamp with time zone, integer, text, bigint[]') IS NULL THEN
		RAISE EXCEPTION 'there is no job "%"', job
			USING ERRCODE = 'LY003', DETAIL = format('There is no function loyalty.%I().', 'next_' || job), HINT = 'CALL the procedure of a job.';
	END IF;
	EXECUTE format('SELECT * FROM loyalty.%I($1, $2, $3, $4, $5, $6)', 'next_' || job)
	INTO up_to, seen, members, scopes, result, unsound, total USING run_id, behind, as_of, batch_size, scope, busy;
	members := coalesce(members, '{}');
	unsound := coalesce(unsound, 0);
END
$$;
COMMENT ON FUNCTION next_of_job(text, bigint, bigint, timestamptz, integer, text, bigint[]) IS 'What next_<job>() says. Part of run_job().';

CREATE FUNCTION next_members(behind bigint, row_count bigint, tables text[]) RETURNS bigint
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
	name text;
	found record;
	bound bigint;
	last bigint;
BEGIN
	-- as far as the table goes that has most of them there; the others are read no further than that
	FOREACH name IN ARRAY tables LOOP
		EXECUTE format('SELECT (SELECT t.member_id FROM loyalty.%1$I t WHERE %2$s ORDER BY t.member_id OFFSET $2 - 1 LIMIT 1) AS nth,
			(SELECT max(t.member_id) FROM loyalty.%1$I t WHERE %2$s) AS last',
			name, '($1 IS NULL OR t.member_id > $1) AND ($3 IS NULL OR t.member_id <= $3)')
		INTO found USING behind, row_count, bound;
		last := greatest(last, found.last);
		bound := coalesce(found.nth, bound);
	END LOOP;
	RETURN coalesce(bound, last);
END
$$;
COMMENT ON FUNCTION next_members(bigint, bigint, text[]) IS
'The last of the next members, those behind one (NULL: from the first), of whom some of our tables have up to so many rows each, or more where that is one member; NULL where they have none. Part of the jobs.';

CREATE FUNCTION rows_of_members(behind bigint, up_to bigint, tables text[]) RETURNS bigint
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE (SELECT format('SELECT sum(x.n)::bigint FROM (%s) x', string_agg(format(
		'SELECT count(*) AS n FROM loyalty.%I t WHERE ($1 IS NULL OR t.member_id > $1) AND t.member_id <= $2', u.name), ' UNION ALL '))
		FROM unnest(tables) u (name)) INTO n USING behind, up_to;
	RETURN n;
END
$$;
COMMENT ON FUNCTION rows_of_members(bigint, bigint, text[]) IS 'How many rows some of our tables have of the members behind one, as far as another. Part of the jobs.';

CREATE FUNCTION estimated_rows(relation regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	plan jsonb;
BEGIN
	-- the planner knows partitions, and tables that were never analyzed
	EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM %s', relation) INTO plan;
	RETURN plan #>> '{0,Plan,Plan Rows}';
END
$$;
COMMENT ON FUNCTION estimated_rows(regclass) IS 'How many rows a table has, as the planner has it. Part of the jobs.';

CREATE FUNCTION lock_against_writers(relation regclass) RETURNS void
LANGUAGE plpgsql STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	given CONSTANT text := current_setting('lock_timeout');
	patience CONSTANT interval := nullif(given::interval, '0');
	began CONSTANT timestamptz := clock_timestamp();
	attempt interval := '10 milliseconds';
BEGIN
	LOOP
		BEGIN
			PERFORM set_config('lock_timeout', (extract(epoch FROM least(attempt, patience)) * 1000)::integer::text, true);
			EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', relation);
			PERFORM set_config('lock_timeout', given, true);
			RETURN;
		EXCEPTION
			WHEN lock_not_available THEN
				IF clock_timestamp() >= began + patience THEN
					RAISE;
				END IF;
		END;
		-- those who write go on meanwhile
		PERFORM pg_sleep_for(least(20 * attempt, '2 seconds'));
		attempt := least(2 * attempt, '100 milliseconds');
	END LOOP;
END
$$;
COMMENT ON FUNCTION lock_against_writers(regclass) IS
'Locks a table in SHARE ROW EXCLUSIVE mode until the transaction ends. LOCK TABLE, too, waits for whoever writes, and keeps all waiting who come after; this asks for a moment at a time, so that a session that is idle in its transaction keeps nobody waiting but us. Error: 55P03 after lock_timeout, where it is set.';

CREATE FUNCTION things_of_others(owner regrole, OUT what text, OUT repair text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH other AS (
		-- whoever owns the functions of the extension has what they run as
		SELECT r.oid, quote_ident(r.rolname) AS name FROM pg_roles r
		WHERE NOT pg_has_role(r.oid, $1, 'USAGE') AND r.oid <> (SELECT e.extowner FROM pg_extension e WHERE e.extname = 'loyalty')
		UNION ALL
		SELECT 0, 'PUBLIC'
	), part AS (
		SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'loyalty'
		WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	), schema AS (
		SELECT n.* FROM pg_namespace n
		WHERE n.nspname = 'loyalty' OR n.oid IN (SELECT p.objid FROM part p WHERE p.classid = 'pg_namespace'::regclass)
	), relation AS (
		SELECT c.oid, c.relowner, c.relacl, true AS inside FROM pg_class c
		WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
		UNION ALL
		SELECT c.oid, c.relowner, c.relacl, false
		FROM pg_class top CROSS JOIN LATERAL pg_partition_tree(top.oid) t JOIN pg_class c ON c.oid = t.relid
		WHERE top.relnamespace = 'loyalty'::regnamespace AND top.relkind = 'p' AND NOT top.relispartition AND c.relnamespace <> top.relnamespace
	)
	SELECT format('%s belongs to %s', c.oid::regclass, c.relowner::regrole),
		'Call setup() as the owner of the tables (SET ROLE); drop what is not loyalty''s.'
	FROM relation c WHERE c.relowner <> $1 AND (c.inside OR c.relowner IN (SELECT o.oid FROM other o))
	UNION ALL
	SELECT format('schema %I belongs to %s', n.nspname, o.name), format('ALTER SCHEMA %I OWNER TO %s;', n.nspname, $1)
	FROM schema n JOIN other o ON o.oid = n.nspowner
	UNION ALL
	SELECT format('function %s belongs to %s', p.oid::regprocedure, o.name), format('DROP ROUTINE %s;', p.oid::regprocedure)
	FROM pg_proc p JOIN schema n ON n.oid = p.pronamespace JOIN other o ON o.oid = p.proowner
	WHERE NOT EXISTS (SELECT FROM part m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
	UNION ALL
	SELECT format('trigger "%s" of %s calls a function of %s', g.tgname, c.oid::regclass, o.name),
		format('DROP TRIGGER %I ON %s;', g.tgname, c.oid::regclass)
	FROM relation c JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal
	JOIN pg_proc p ON p.oid = g.tgfoid JOIN other o ON o.oid = p.proowner
	WHERE NOT EXISTS (SELECT FROM part m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
	UNION ALL
	SELECT format('%s may make functions in schema %I', o.name, n.nspname), format('REVOKE CREATE ON SCHEMA %I FROM %s;', n.nspname, o.name)
	FROM schema n CROSS JOIN LATERAL aclexplode(n.nspacl) a JOIN other o ON o.oid = a.grantee
	WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner
	UNION ALL
	SELECT format('%s may make triggers on %s', o.name, min(c.oid::regclass::text)),
		format('REVOKE TRIGGER ON %s FROM %s;', string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text), o.name)
	FROM relation c CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN other o ON o.oid = a.grantee
	WHERE a.privilege_type = 'TRIGGER'
	GROUP BY o.name
$$;
COMMENT ON FUNCTION things_of_others(regrole) IS
'What others than the owner of our tables have among them, or may make there, so that it would run as whoever sets up, writes or checks; and how that ends. Part of setup() and check_all().';

CREATE FUNCTION require_own_schema() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found record;
BEGIN
	SELECT min(x.what) AS what, (array_agg(x.repair ORDER BY x.what))[1] AS repair, count(*) AS n INTO found
	FROM loyalty.things_of_others(current_user::regrole) x;
	IF found.n > 0 THEN
		RAISE EXCEPTION 'schema loyalty is not of role "%" alone', current_user
			USING ERRCODE = 'insufficient_privilege', DETAIL = concat(found.what, ', and ' || nullif(found.n - 1, 0) || ' more', '.'),
				HINT = found.repair;
	END IF;
END
$$;
COMMENT ON FUNCTION require_own_schema() IS
'Raises 42501 where others than the caller have something among our tables, or may make it there: it would run as whoever writes. Part of setup().';

CREATE FUNCTION setup() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	room text;
	have integer;
	before jsonb;
	version integer;
BEGIN
	-- two sessions that set up at once would both find no table; whose it is may be known only then
	PERFORM loyalty.require_own_schema();
	PERFORM loyalty.lock_key('setup');
	PERFORM loyalty.require_own_schema();
	FOREACH room IN ARRAY loyalty.rooms() LOOP
		IF loyalty.room_function('setup_' || room, 'integer') IS NOT NULL THEN
			have := loyalty.begin_layout(room);
			before := CASE WHEN have IS DISTINCT FROM loyalty.layout_version(room) THEN loyalty.objects_in_catalog() END;
			EXECUTE format('SELECT loyalty.%I($1)', 'setup_' || room) INTO version USING have;
			PERFORM loyalty.keep_objects(room, before) WHERE before IS NOT NULL;
			PERFORM loyalty.end_layout(room, version);
		END IF;
	END LOOP;
	PERFORM loyalty.put_objects();
	PERFORM loyalty.put_triggers();
	RETURN (SELECT 'loyalty is set up: ' || string_agg(format('%s %s', l.room, l.version), ', '
				   ORDER BY array_position(loyalty.rooms(), l.room))
			FROM loyalty.layout l);
END
$$;
COMMENT ON FUNCTION setup() IS
'Creates the tables of the program in schema loyalty, owned by the caller, or migrates them to the layout that this version needs. Puts back what it had made and is missing (constraints, indexes, NOT NULL), makes unlogged tables logged, settings visible to their owner where row-level security is forced, and puts back triggers that are missing or disabled, on partitions, too. Safe to repeat, by their owner; run it after CREATE EXTENSION, after every ALTER EXTENSION loyalty UPDATE, and after you have attached a partition to a table of ours. Returns the layout version of each room.';

CREATE FUNCTION loyalty.check_all(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL,
	OUT room text, OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off
AS $$
DECLARE
	arguments text;
BEGIN
	FOREACH room IN ARRAY loyalty.rooms() LOOP
		arguments := CASE WHEN loyalty.room_function('check_' || room, 'bigint, bigint') IS NOT NULL THEN '$1, $2'
			WHEN behind IS NULL AND loyalty.room_function('check_' || room, '') IS NOT NULL THEN '' END;
		IF arguments IS NOT NULL THEN
			RETURN QUERY EXECUTE format(
				'SELECT %L::text, c.invariant, c.member_id, c.currency, c.entry_id, c.detail FROM loyalty.%I(%s) c',
				room, 'check_' || room, arguments) USING behind, up_to;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION loyalty.check_all(bigint, bigint) IS
'Checks every invariant of every room: one row for each violation, none when all is well. Reads only. With behind and up_to, what concerns the members behind one as far as another; what concerns no member, or all of them together, goes with those from the first on (behind NULL). So ranges that follow each other are all of it, each as of an instant of its own: see run_checks(). Refused with 42501 where row-level security would hide rows from the caller.';
