/*
 * core: settings of the program, idempotency, setup() and check_all().  Layouts
 * are in core_layout.sql, jobs in core_job.sql.
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
'A function of the extension that a room may have, found by its name and the types of its arguments; NULL where there is none: what somebody else has put into our schema is not run. Part of setup() and check_all().';

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

CREATE FUNCTION expect_happening(kind text, member_id bigint) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_expect_happening';
COMMENT ON FUNCTION expect_happening(text, bigint) IS
'Says that something may happen to a member in this call, once its wallets are locked and before what comes after them: whoever will hear of it locks what he will need. Part of the writing functions; 42501 for whoever has not the rights of the owner of our tables.';

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
'In which of the given settings a definition that is given again differs from what is stored, in words; NULL where it is the same. Part of functions that define.';

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
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
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
	UPDATE loyalty.program p SET time_zone = configure_program.time_zone WHERE p.time_zone <> configure_program.time_zone;
	UPDATE loyalty.program p SET known_members_only = configure_program.known_members_only WHERE p.known_members_only <> configure_program.known_members_only;
	SELECT p.time_zone, p.known_members_only INTO configure_program.time_zone, configure_program.known_members_only FROM loyalty.program p;
END
$$;
COMMENT ON FUNCTION configure_program(text, boolean) IS
'Changes the settings of the program that are given, and returns all of them. time_zone: that of every currency, ladder and analysis by periods that names none of its own. Ladders, and currencies whose points expire, keep the one that they were defined with, so set it first; a currency without expiry keeps none, and its months follow the program. known_members_only: nobody who is not in loyalty.member gets points (LY202). Errors: LY003 unknown time zone; LY202 somebody unknown has points already.';

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

CREATE FUNCTION claim_request(call text, member_ids bigint[], idempotency_key text, arguments jsonb, person_id bigint DEFAULT NULL) RETURNS jsonb
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
	IF is_first AND EXISTS (SELECT FROM loyalty.request r WHERE r.member_id = ANY (member_ids || person_id) AND r.call = 'forget_member' AND r.idempotency_key = '') THEN
		RAISE EXCEPTION 'whether idempotency key "%" was used cannot be told', idempotency_key
			USING ERRCODE = 'LY115', DETAIL = format('Member %s was forgotten, and its keys were erased.', coalesce(person_id, member_ids[1])),
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
COMMENT ON FUNCTION claim_request(text, bigint[], text, jsonb, bigint) IS
'What an earlier call of a function with this idempotency key returned, for any of these numbers of a member, of which the first is the one addressed (0: none); person_id: for whom it is, where that is a household. NULL when this is the first call. Waits for one that is under way. Errors: LY004 its arguments were others, LY115 keys of the member were erased by forget_requests(), so that nobody can tell, LY003 an empty or too long key. Part of the writing functions.';

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
	IF loyalty.tables_are_spread() THEN
		RETURN QUERY SELECT f.* FROM loyalty.found_on_machines('check_all', behind, up_to) f
		ORDER BY array_position(loyalty.rooms(), f.room), f.invariant, f.member_id, f.currency, f.entry_id, f.detail;
		RETURN;
	END IF;
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
