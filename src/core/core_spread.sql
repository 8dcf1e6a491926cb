/*
 * core: asking the machines that tables are spread over.
 *
 * Each machine is asked in a session of its own, as the role that asks: what it
 * answers is what is committed.  Whatever looks at each member by itself is asked
 * of each part of the members, where its rows are: see src/core/spread_part.c.
 */

CREATE FUNCTION see_part(low integer) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_see_part';
COMMENT ON FUNCTION see_part(integer) IS
'Until the transaction, or a function with the setting loyalty.part, ends, statements read the members of one part only, that from this hash on, as if there were no others, and write nothing; NULL: of all members again. Error: LY007 it is not on this machine. Part of ask_parts().';

CREATE FUNCTION see_part_of(member_id bigint) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_see_part_of';
COMMENT ON FUNCTION see_part_of(bigint) IS
'see_part() of the part of a member; nothing where tables are on one machine, or statements read that part already. Error: LY007 the rows of the member are not on this machine. Part of distribute().';

CREATE FUNCTION sees_part() RETURNS boolean
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_sees_part';
COMMENT ON FUNCTION sees_part() IS 'Whether statements read the members of one part only, after see_part(). Part of the checks.';

CREATE FUNCTION is_here(member_id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'loyalty_is_here';
COMMENT ON FUNCTION is_here(bigint) IS 'Whether statements read the rows of a member: false only after see_part() of another part. Part of the checks.';

CREATE FUNCTION tables_are_spread() RETURNS boolean
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'loyalty_tables_are_spread';
COMMENT ON FUNCTION tables_are_spread() IS 'Whether the tables are spread over several machines, and statements do not read one part only. Part of ledger_digest(), the checks and the jobs.';

CREATE FUNCTION computed_here(value anyelement) RETURNS anyelement
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_computed_here';
COMMENT ON FUNCTION computed_here(anyelement) IS
'Its argument. Where tables are spread over several machines, the planner puts it around what a call of a function of a member leaves to compute, so that this machine does, with the settings of the session. Part of distribute().';

CREATE FUNCTION ask_machines(query text, OUT machine text, OUT answer text) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	m record;
BEGIN
	FOR m IN EXECUTE $q$
		SELECT coalesce(n.nodename || ':' || n.nodeport, 'node ' || r.nodeid) AS name, r.success, r.result
		FROM pg_catalog.run_command_on_all_nodes($1) r LEFT JOIN pg_catalog.pg_dist_node n ON n.nodeid = r.nodeid ORDER BY n.groupid$q$ USING query
	LOOP
		IF NOT m.success THEN
			RAISE EXCEPTION 'machine % could not answer', m.name
				USING ERRCODE = 'LY007', DETAIL = format('It says: %s.', m.result), HINT = 'All machines are needed; ask again once it is there.';
		END IF;
		machine := m.name;
		answer := m.result;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION ask_machines(text) IS
'What each machine answers to a query of one row and column, in a session of its own. Error: LY007 a machine does not answer. Part of ask_parts().';

CREATE FUNCTION answer_for_parts(query text, time_zone text) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part record;
	found jsonb;
	answers jsonb := '[]';
BEGIN
	PERFORM set_config('TimeZone', time_zone, true);
	FOR part IN EXECUTE $q$
		SELECT s.shardminvalue::integer AS low, s.shardmaxvalue::integer AS high
		FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_placement p ON p.shardid = s.shardid
		JOIN pg_catalog.pg_dist_local_group l ON l.groupid = p.groupid
		WHERE s.logicalrelid = 'loyalty.wallet'::regclass ORDER BY 1$q$
	LOOP
		PERFORM loyalty.see_part(part.low);
		EXECUTE format('SELECT jsonb_agg(to_jsonb(x)) FROM (%s) x', query) INTO found;
		PERFORM loyalty.see_part(NULL);
		answers := answers || jsonb_build_object('low', part.low, 'high', part.high, 'rows', coalesce(found, '[]'));
	END LOOP;
	RETURN answers;
END
$$;
COMMENT ON FUNCTION answer_for_parts(text, text) IS
'The rows of a query over the members of each part that is on this machine, with instants in texts as in a time zone. Part of ask_parts().';

CREATE FUNCTION ask_parts(query text, OUT low integer, OUT high integer, OUT answer jsonb) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	answers jsonb := '[]';
	expected jsonb;
	m record;
BEGIN
	FOR m IN SELECT a.answer FROM loyalty.ask_machines(format('SELECT loyalty.answer_for_parts(%L, %L)', query, current_setting('TimeZone'))) a LOOP
		answers := answers || m.answer::jsonb;
	END LOOP;
	EXECUTE $q$SELECT jsonb_agg(s.shardminvalue::integer ORDER BY s.shardminvalue::integer)
		FROM pg_catalog.pg_dist_shard s WHERE s.logicalrelid = 'loyalty.wallet'::regclass$q$ INTO expected;
	IF expected <> (SELECT jsonb_agg(x -> 'low' ORDER BY (x ->> 'low')::integer) FROM jsonb_array_elements(answers) x) THEN
		RAISE EXCEPTION 'members were being moved to another machine'
			USING ERRCODE = 'LY007', DETAIL = 'Not every part of them was read once.', HINT = 'Ask again.';
	END IF;
	RETURN QUERY SELECT (x ->> 'low')::integer, (x ->> 'high')::integer, x -> 'rows' FROM jsonb_array_elements(answers) x ORDER BY 1;
END
$$;
COMMENT ON FUNCTION ask_parts(text) IS
'The rows that a query gives over the members of each part, on the machine where they are: each part once, whatever moves. Errors: LY007 a machine does not answer, or members are being moved. Part of ledger_digest() and the checks.';

CREATE FUNCTION copies_here(buckets jsonb) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex'
AS $$
#variable_conflict use_variable
DECLARE
	t record;
	found jsonb;
	result jsonb := '{}';
BEGIN
	FOR t IN EXECUTE $q$
		SELECT p.table_name, shard_name(s.logicalrelid, s.shardid) AS copy
		FROM loyalty.tables_of_program() p JOIN pg_dist_partition d ON d.logicalrelid = p.relation AND d.partmethod = 'n'
		JOIN pg_dist_shard s ON s.logicalrelid = d.logicalrelid
		WHERE has_table_privilege(p.relation, 'SELECT') ORDER BY 1$q$
	LOOP
		CONTINUE WHEN buckets IS NOT NULL AND NOT buckets ? t.table_name;
		IF buckets IS NULL THEN
			EXECUTE format('SELECT jsonb_object_agg(x.bucket, x.of_it) FROM (SELECT h.hash & 255 AS bucket, count(*) || '':'' || sum(h.hash::numeric) AS of_it
				FROM %s r CROSS JOIN LATERAL hashtextextended(r::text, 0) h (hash) GROUP BY 1) x', t.copy) INTO found;
		ELSE
			EXECUTE format('SELECT jsonb_object_agg(h.hash, left(r::text, 300)) FROM %s r CROSS JOIN LATERAL hashtextextended(r::text, 0) h (hash) WHERE $1 ? (h.hash & 255)::text', t.copy)
			INTO found USING buckets -> t.table_name;
		END IF;
		result := result || jsonb_build_object(t.table_name, coalesce(found, '{}'));
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION copies_here(jsonb) IS
'What this machine has of the tables that are on every machine, and that the caller may read: of each table how many rows and the sum of their hashes in each of 256 buckets; or, of buckets that are given ({"table": ["7", ...]}), the rows themselves, by their hashes. Part of check_core_totals().';

CREATE FUNCTION differing_copies(OUT table_name text, OUT hash text, OUT row_text text, OUT machines text[], OUT others text[]) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	buckets jsonb;
BEGIN
	WITH m AS MATERIALIZED (SELECT a.machine, a.answer::jsonb AS answer FROM loyalty.ask_machines('SELECT loyalty.copies_here(NULL)') a),
	bucket AS (SELECT t.key AS table_name, b.key AS bucket, b.value FROM m, jsonb_each(m.answer) t, jsonb_each_text(t.value) b)
	SELECT jsonb_object_agg(x.table_name, x.buckets) INTO buckets
	FROM (SELECT y.table_name, jsonb_agg(y.bucket ORDER BY y.bucket) AS buckets
		FROM (SELECT b.table_name, b.bucket FROM bucket b GROUP BY 1, 2 HAVING count(*) <> (SELECT count(*) FROM m) OR min(b.value) <> max(b.value)) y GROUP BY 1) x;
	IF buckets IS NOT NULL THEN
		RETURN QUERY
		WITH m AS MATERIALIZED (SELECT a.machine, a.answer::jsonb AS answer FROM loyalty.ask_machines(format('SELECT loyalty.copies_here(%L)', buckets)) a)
		SELECT t.key, r.key, min(r.value), array_agg(m.machine ORDER BY m.machine), ARRAY(SELECT o.machine FROM m o EXCEPT SELECT unnest(array_agg(m.machine)) ORDER BY 1)
		FROM m, jsonb_each(m.answer) t, jsonb_each_text(t.value) r GROUP BY 1, 2 HAVING count(*) <> (SELECT count(*) FROM m);
	END IF;
END
$$;
COMMENT ON FUNCTION differing_copies() IS
'Rows of tables that are on every machine which some machines have and others have not, at the moment at which each was asked. Part of check_core_totals().';

CREATE FUNCTION check_core_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	seen text[];
BEGIN
	IF NOT loyalty.tables_are_spread() THEN
		RETURN;
	END IF;
	SELECT array_agg(d.table_name || '/' || d.hash || '/' || d.machines::text) INTO seen FROM loyalty.differing_copies() d;
	IF seen IS NULL THEN
		RETURN;
	END IF;
	-- what was written meanwhile was on some machines before it was on others: what stays is otherwise
	PERFORM pg_sleep(0.5);
	RETURN QUERY SELECT 'copy', NULL::bigint, NULL::text, NULL::bigint,
		format('table loyalty.%s: %s with a row that %s without: %s', d.table_name, array_to_string(d.machines, ', '), array_to_string(d.others, ', '), d.row_text)
	FROM loyalty.differing_copies() d WHERE d.table_name || '/' || d.hash || '/' || d.machines::text = ANY (seen);
END
$$;
COMMENT ON FUNCTION check_core_totals() IS 'What all machines have alike, once tables are spread: copy, the rows of each table that is on every machine and that the caller may read. Part of check_core().';

CREATE FUNCTION found_on_machines(name text, behind bigint, up_to bigint,
	OUT room text, OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	arguments CONSTANT text := CASE WHEN loyalty.room_function(name, 'bigint, bigint') IS NOT NULL THEN
		format('%s, %s', coalesce(behind::text, 'NULL'), coalesce(up_to::text, 'NULL')) ELSE '' END;
	totals text;
BEGIN
	SELECT coalesce(string_agg(format(' UNION SELECT %L, t.* FROM loyalty.%I() t', r.room, format('check_%s_totals', r.room)), ''), '') INTO totals
	FROM unnest(loyalty.rooms()) r (room)
	WHERE behind IS NULL AND name IN ('check_all', 'check_' || r.room) AND loyalty.room_function(format('check_%s_totals', r.room), '') IS NOT NULL;
	-- what every machine has is found by each of them
	RETURN QUERY EXECUTE format($q$
		SELECT CASE WHEN %L = 'check_all' THEN x.room END, x.invariant, x.member_id, x.currency, x.entry_id, x.detail
		FROM (SELECT x.* FROM loyalty.ask_parts(%L) p,
				jsonb_to_recordset(p.answer) x (room text, invariant text, member_id bigint, currency text, entry_id bigint, detail text)
			%s) x GROUP BY 1, 2, 3, 4, 5, 6$q$, name,
		format('SELECT c.* FROM loyalty.%I(%s) c WHERE c.member_id IS NULL OR loyalty.is_here(c.member_id)', name, arguments), totals);
END
$$;
COMMENT ON FUNCTION found_on_machines(text, bigint, bigint) IS
'What check_all(), or one of the checks that it gathers, finds of tables that are spread: each member where it is, and in this session what members of several machines have together: check_<room>_totals(). Errors: LY007 a machine does not answer, or members are being moved. Part of check_all().';
