/*
 * core: jobs, which work in batches.
 */

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
			USING ERRCODE = 'LY007', DETAIL = format('Table loyalty.%s is spread over several machines, and one of them does not see what the others do.', spread),
				HINT = 'Call functions of single members, or run the program on one machine.';
	END IF;
END
$$;
COMMENT ON FUNCTION refuse_distributed(text) IS
'Refuses a function that goes over all members where a distributed engine has spread our tables: it would be right for a part only. Error: LY007. Part of the jobs and of ledger_digest().';

CREATE FUNCTION require_job_place(job text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT loyalty.tables_are_spread() THEN
		PERFORM loyalty.refuse_distributed(job);
		RETURN;
	END IF;
	-- the setting refuses what it stands for, as it does for functions; a procedure that commits can have none
	PERFORM set_config('loyalty.only_on', format('%s %s', f.place, job), true)
	FROM loyalty.spread_functions() f JOIN pg_proc p ON p.oid = f.function WHERE p.proname = job AND p.prokind = 'p';
END
$$;
COMMENT ON FUNCTION require_job_place(text) IS
'Refuses a job where it does not work once tables are spread: LY007, on another machine than the coordinator, or on all. Part of the jobs.';

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
'The instant as of which something is done that is stored: as_of, NULL: now. Error: LY003 an infinite one, or one in the future. Part of the jobs.';

CREATE FUNCTION begin_job(job text, as_of timestamptz, batch_size integer, unit text, arguments jsonb DEFAULT '{}',
	OUT run_id bigint, OUT until timestamptz, OUT last_key bigint, OUT resumed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	moment CONSTANT timestamptz := clock_timestamp();
BEGIN
	IF job IS NULL OR unit IS NULL THEN
		RAISE EXCEPTION 'job and unit must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A run is kept with its name and with what it counts.', HINT = 'CALL the procedure of a job.';
	END IF;
	PERFORM loyalty.require_job_place(job);
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
	UPDATE loyalty.job_run j SET status = 'interrupted', finished_at = moment
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
DECLARE
	moment CONSTANT timestamptz := clock_timestamp();
BEGIN
	UPDATE loyalty.job_run j
	SET done = j.done + coalesce(note_job.done, 0), last_key = coalesce(note_job.last_key, j.last_key),
		result = coalesce(j.result + note_job.result, note_job.result, j.result),
		total = coalesce(note_job.total, j.total), updated_at = moment
	WHERE j.run_id = note_job.run_id;
END
$$;
COMMENT ON FUNCTION note_job(bigint, bigint, bigint, bigint, bigint) IS
'Records a batch of a run: how much more is done, the last key, what more it brought about, how much there is to do in all. Part of the jobs.';

CREATE FUNCTION run_for_member(member_id bigint, job text, as_of timestamptz, scope text, OUT result bigint, OUT busy boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms'
AS $$
BEGIN
	busy := false;
	IF loyalty.room_function(job || '_of', 'bigint[], timestamp with time zone, text') IS NULL THEN
		RAISE EXCEPTION 'there is no job "%"', job
			USING ERRCODE = 'LY003', DETAIL = format('There is no function loyalty.%I().', job || '_of'), HINT = 'CALL the procedure of a job.';
	END IF;
	EXECUTE format('SELECT loyalty.%I($1, $2, $3)', job || '_of') INTO result USING ARRAY[member_id], as_of, scope;
	result := coalesce(result, 0);
EXCEPTION
	WHEN lock_not_available THEN
		result := 0;
		busy := true;
END
$$;
COMMENT ON FUNCTION run_for_member(bigint, text, timestamptz, text) IS
'Runs <job>_of() for one member; busy: somebody else keeps it locked for longer than a moment, and nothing was done. Sent to the machine of the member, where tables are spread. Part of run_batch().';

CREATE FUNCTION run_batch(job text, member_ids bigint[], as_of timestamptz DEFAULT NULL, scope text DEFAULT NULL,
	OUT result bigint, OUT busy bigint[]) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms'
AS $$
DECLARE
	member_id bigint;
	one record;
BEGIN
	busy := '{}';
	IF NOT loyalty.tables_are_spread() THEN
		BEGIN
			EXECUTE format('SELECT loyalty.%I($1, $2, $3)', job || '_of') INTO result USING member_ids, as_of, scope;
			RETURN;
		EXCEPTION
			WHEN lock_not_available THEN
				NULL;
		END;
	END IF;
	-- whose it was, only one at a time tells
	result := 0;
	FOREACH member_id IN ARRAY member_ids LOOP
		SELECT r.result, r.busy INTO one FROM loyalty.run_for_member(member_id, job, as_of, scope) r;
		result := result + one.result;
		IF one.busy THEN
			busy := busy || member_id;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION run_batch(text, bigint[], timestamptz, text) IS
'Runs <job>_of() for a batch of members. Where somebody else keeps one of them locked for longer than a moment, such as a session that is idle in its transaction, it is run for each of them alone, and so it is where tables are spread; busy are those whom it could not have. result is the sum. Part of the jobs.';

CREATE FUNCTION end_job(run_id bigint, of_what text, busy bigint[] DEFAULT '{}', unsound bigint DEFAULT 0) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moment CONSTANT timestamptz := clock_timestamp();
	brought CONSTANT bigint := coalesce((SELECT j.result FROM loyalty.job_run j WHERE j.run_id = end_job.run_id), 0);
	said CONSTANT text := concat_ws('; ', format('%s %s', brought, of_what),
		CASE WHEN unsound > 0 THEN format('%s members have entries that are not sound, see check_all()', unsound) END,
		CASE WHEN cardinality(busy) > 0 THEN format('%s members stayed locked by other sessions, the first is %s: left to the next run',
			cardinality(busy), busy[1]) END);
BEGIN
	UPDATE loyalty.job_run j
	SET status = 'finished', finished_at = moment, updated_at = moment, total = j.done, result = brought, message = said
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
	-- a transaction is of one machine then: what is on every machine is written only by itself
	is_spread CONSTANT boolean := loyalty.tables_are_spread();
	not_noted bigint := 0;
BEGIN
	PERFORM loyalty.require_autocommit(job);
	SELECT * INTO run FROM loyalty.begin_job(job, as_of, batch_size, unit, arguments);
	COMMIT;

	LOOP
		SELECT * INTO ahead FROM loyalty.next_of_job(job, run.run_id, run.last_key, run.until, batch_size, scope, busy);
		PERFORM loyalty.note_job(run.run_id, total => ahead.total);
		IF is_spread THEN
			COMMIT;
		END IF;
		place := 1;
		WHILE place OPERATOR(pg_catalog.<=) pg_catalog.cardinality(ahead.members) LOOP
			-- a batch is of one scope
			last := least(place::pg_catalog.int8 OPERATOR(pg_catalog.+) CASE WHEN is_spread THEN 1 ELSE batch_size END OPERATOR(pg_catalog.-) 1,
				pg_catalog.cardinality(ahead.members));
			WHILE ahead.scopes[last] OPERATOR(pg_catalog.<>) ahead.scopes[place] LOOP
				last := last OPERATOR(pg_catalog.-) 1;
			END LOOP;
			SELECT * INTO batch FROM loyalty.run_batch(job, ahead.members[place : last], run.until, coalesce(ahead.scopes[place], scope));
			busy := busy OPERATOR(pg_catalog.||) batch.busy;
			busy_scopes := busy_scopes OPERATOR(pg_catalog.||)
				pg_catalog.array_fill(coalesce(ahead.scopes[place], scope), ARRAY[pg_catalog.cardinality(batch.busy)]);
			place := last OPERATOR(pg_catalog.+) 1;
			not_noted := not_noted OPERATOR(pg_catalog.+) batch.result;
			IF is_spread THEN
				COMMIT;
				CONTINUE WHEN last OPERATOR(pg_catalog.%) batch_size OPERATOR(pg_catalog.<>) 0 AND last OPERATOR(pg_catalog.<) pg_catalog.cardinality(ahead.members);
			END IF;
			PERFORM loyalty.note_job(run.run_id, result => not_noted);
			not_noted := 0;
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
			IF is_spread THEN
				COMMIT;
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
	-- no machine knows that of the others
	IF loyalty.tables_are_spread() THEN
		RETURN NULL;
	END IF;
	-- the planner knows partitions, and tables that were never analyzed
	EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM %s', relation) INTO plan;
	RETURN plan #>> '{0,Plan,Plan Rows}';
END
$$;
COMMENT ON FUNCTION estimated_rows(regclass) IS 'How many rows a table has, as the planner has it; NULL where tables are spread. Part of the jobs.';

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
		-- who asks for moments only is not seen by whoever looks for deadlocks
		IF EXISTS (
			WITH RECURSIVE waiting (pid) AS (
				SELECT l.pid FROM pg_locks l WHERE l.relation = lock_against_writers.relation AND l.granted AND l.pid <> pg_backend_pid()
					AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
				UNION
				SELECT b.pid FROM waiting w, unnest(pg_blocking_pids(w.pid)) b (pid))
			SELECT FROM waiting w WHERE w.pid = pg_backend_pid()) THEN
			RAISE EXCEPTION 'deadlock detected'
				USING ERRCODE = 'deadlock_detected',
					DETAIL = format('Who writes to %s waits for what this transaction has locked.', relation),
					HINT = 'Repeat it, or commit each definition before the next.';
		END IF;
		-- those who write go on meanwhile
		PERFORM pg_sleep_for(least(20 * attempt, '2 seconds'));
		attempt := least(2 * attempt, '100 milliseconds');
	END LOOP;
END
$$;
COMMENT ON FUNCTION lock_against_writers(regclass) IS
'Locks a table in SHARE ROW EXCLUSIVE mode until the transaction ends. LOCK TABLE, too, waits for whoever writes, and keeps all waiting who come after; this asks for a moment at a time, so that a session that is idle in its transaction keeps nobody waiting but us. Errors: 55P03 after lock_timeout, where it is set; 40P01 where whoever writes waits for what we have locked before.';
