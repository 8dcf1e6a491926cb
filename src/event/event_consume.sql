/*
 * event: reading what happened, in order, once.
 */

-- Not pinned, so that the planner can inline them: every name is qualified.
CREATE FUNCTION written_events(behind bigint, up_to bigint, kinds text[], slots integer, slot integer, batch integer)
RETURNS TABLE (event_id bigint, member_id bigint, kind text, at timestamptz, recorded_at timestamptz, payload jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 SUPPORT require_setup
AS $$
	SELECT e.event_id, e.member_id, e.kind, e.at, e.recorded_at, e.payload
	FROM loyalty.event e
	WHERE e.event_id OPERATOR(pg_catalog.>) $1 AND e.event_id OPERATOR(pg_catalog.<=) $2 AND e.kind OPERATOR(pg_catalog.=) ANY ($3)
		AND ($4 OPERATOR(pg_catalog.=) 1 OR loyalty.slot_of(e.member_id, $4) OPERATOR(pg_catalog.=) $5)
	ORDER BY e.event_id LIMIT $6
$$;
COMMENT ON FUNCTION written_events(bigint, bigint, text[], integer, integer, integer) IS
'The events of a slot behind one id, as far as another, that are in the table event. Part of read_events().';

CREATE FUNCTION points_events(behind bigint, up_to bigint, slots integer, slot integer, batch integer)
RETURNS TABLE (event_id bigint, member_id bigint, kind text, at timestamptz, recorded_at timestamptz, payload jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 SUPPORT require_setup
AS $$
	SELECT e.entry_id, e.member_id, 'points_changed'::pg_catalog.text, e.effective_at, e.recorded_at,
		pg_catalog.jsonb_build_object('version', 1, 'currency', e.currency, 'kind', e.kind, 'points', e.points, 'requested', e.requested,
			'available', e.available, 'target_entry_id', e.target_entry_id, 'counterparty_id', e.counterparty_id)
	FROM (SELECT l.entry_id, l.member_id, l.effective_at, l.recorded_at, l.currency, l.kind, l.points, l.requested, l.available,
			l.target_entry_id, l.counterparty_id
		FROM loyalty.all_entries() l
		WHERE l.entry_id OPERATOR(pg_catalog.>) $1 AND l.entry_id OPERATOR(pg_catalog.<=) $2
			AND ($3 OPERATOR(pg_catalog.=) 1 OR loyalty.slot_of(l.member_id, $3) OPERATOR(pg_catalog.=) $4)
		ORDER BY l.entry_id LIMIT $5) e
$$;
COMMENT ON FUNCTION points_events(bigint, bigint, integer, integer, integer) IS
'The entries of a slot behind one id, as far as another, as events of kind points_changed. Part of read_events().';

CREATE FUNCTION read_events(behind bigint, up_to bigint, kinds text[], slots integer, slot integer, batch integer,
	OUT event_id bigint, OUT member_id bigint, OUT kind text, OUT at timestamptz, OUT recorded_at timestamptz, OUT payload jsonb) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	width bigint := 4 * batch;
	high bigint;
	n bigint;
BEGIN
	IF NOT 'points_changed' = ANY (kinds) THEN
		RETURN QUERY SELECT e.event_id, loyalty.canonical_member(e.member_id), e.kind, e.at, e.recorded_at, e.payload
		FROM loyalty.written_events(behind, up_to, kinds, slots, slot, batch) e;
		RETURN;
	END IF;
	-- the ledger's index on ids knows pages, not places: as many ids at a time as are likely to do
	WHILE behind < up_to LOOP
		high := least(behind + width, up_to);
		IF cardinality(kinds) = 1 THEN
			RETURN QUERY SELECT e.event_id, loyalty.canonical_member(e.member_id), e.kind, e.at, e.recorded_at, e.payload
			FROM loyalty.points_events(behind, high, slots, slot, batch) e;
		ELSE
			RETURN QUERY SELECT e.event_id, loyalty.canonical_member(e.member_id), e.kind, e.at, e.recorded_at, e.payload
			FROM (SELECT * FROM loyalty.points_events(behind, high, slots, slot, batch) UNION ALL
				SELECT * FROM loyalty.written_events(behind, high, kinds, slots, slot, batch)) e
			ORDER BY e.event_id LIMIT batch;
		END IF;
		GET DIAGNOSTICS n = ROW_COUNT;
		batch := batch - n;
		EXIT WHEN batch = 0;
		behind := high;
		width := 4 * width;
	END LOOP;
END
$$;
COMMENT ON FUNCTION read_events(bigint, bigint, text[], integer, integer, integer) IS
'Events of a slot behind one id, as far as another, in the order of ids, and no more than a batch: those of the table event, and points_changed from the ledger. Each carries the member who stands for the one that it happened to. Part of poll_events() and consume_events().';

CREATE FUNCTION find_slot(consumer text, slot integer, waiting text,
	OUT generation integer, OUT slots integer, OUT done_to bigint, OUT until_id bigint, OUT kinds text[]) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	workers integer := (SELECT c.slots FROM loyalty.event_consumer c WHERE c.consumer = loyalty.require_consumer($1));
	first record;
BEGIN
	kinds := ARRAY(SELECT s.kind FROM loyalty.event_subscription s WHERE s.consumer = find_slot.consumer);
	LOOP
		SELECT p.generation, p.slots INTO first FROM loyalty.event_position p WHERE p.consumer = find_slot.consumer ORDER BY p.generation LIMIT 1;
		IF slot IS NULL OR slot < 0 OR slot >= greatest(workers, first.slots) THEN
			RAISE EXCEPTION 'consumer "%" has no slot %', consumer, coalesce(slot::text, 'NULL')
				USING ERRCODE = 'LY003', DETAIL = CASE workers WHEN 0 THEN 'It reads the table loyalty.event itself.' ELSE format('It has slots 0 to %s.', workers - 1) END,
					HINT = 'loyalty.subscribe() says how many there are.';
		END IF;
		CASE waiting
			WHEN 'none' THEN
				SELECT p.generation, p.slots, p.done_to, p.until_id INTO generation, slots, done_to, until_id FROM loyalty.event_position p
				WHERE p.consumer = find_slot.consumer AND p.generation = first.generation AND p.slot = find_slot.slot;
			WHEN 'skip' THEN
				SELECT p.generation, p.slots, p.done_to, p.until_id INTO generation, slots, done_to, until_id FROM loyalty.event_position p
				WHERE p.consumer = find_slot.consumer AND p.generation = first.generation AND p.slot = find_slot.slot FOR UPDATE SKIP LOCKED;
			ELSE
				SELECT p.generation, p.slots, p.done_to, p.until_id INTO generation, slots, done_to, until_id FROM loyalty.event_position p
				WHERE p.consumer = find_slot.consumer AND p.generation = first.generation AND p.slot = find_slot.slot FOR UPDATE;
		END CASE;
		-- its generation may have come to its end while it was waited for
		EXIT WHEN FOUND OR waiting <> 'wait' OR EXISTS (SELECT FROM loyalty.event_position p WHERE p.consumer = find_slot.consumer AND p.generation = first.generation);
	END LOOP;
END
$$;
COMMENT ON FUNCTION find_slot(text, integer, text) IS
'Where a worker is, in the generation that is not at its end; generation is NULL where it has to wait for workers of that, or, with waiting skip, where another transaction has the slot. waiting: none, the row is read; skip, it is locked, or left to whoever has it; wait, it is locked. Part of poll_events(), consume_events() and acknowledge(). Errors: LY651, LY003 slot.';

CREATE FUNCTION move_slot(consumer text, generation integer, slot integer, done_to bigint, until_id bigint) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF $4 >= $5 THEN
		DELETE FROM loyalty.event_position p WHERE p.consumer = $1 AND p.generation = $2 AND p.slot = $3;
		RETURN $5;
	END IF;
	UPDATE loyalty.event_position p SET done_to = $4 WHERE p.consumer = $1 AND p.generation = $2 AND p.slot = $3 AND p.done_to < $4;
	RETURN $4;
END
$$;
COMMENT ON FUNCTION move_slot(text, integer, integer, bigint, bigint) IS
'Moves a position, which is locked, or removes it where its generation is at its end. Part of consume_events() and acknowledge().';

CREATE FUNCTION require_batch(batch integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF batch IS NULL OR batch <= 0 OR batch > 1000000 THEN
		RAISE EXCEPTION 'batch must be between 1 and 1000000'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(batch::text, 'NULL')), HINT = 'It is how many rows are returned at most.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_batch(integer) IS 'LY003 unless it is a number of rows to return. Part of poll_events().';

CREATE FUNCTION poll_events(consumer text, batch integer DEFAULT 100, slot integer DEFAULT 0, patience interval DEFAULT '1 second',
	OUT event_id bigint, OUT member_id bigint, OUT kind text, OUT at timestamptz, OUT recorded_at timestamptz, OUT payload jsonb) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	own record;
	settled bigint;
BEGIN
	PERFORM loyalty.require_batch(batch);
	SELECT * INTO own FROM loyalty.find_slot(consumer, slot, 'none');
	IF own.generation IS NOT NULL THEN
		settled := loyalty.settled_event_id(patience);
		RETURN QUERY SELECT * FROM loyalty.read_events(own.done_to, CASE WHEN settled > own.until_id THEN own.until_id ELSE settled END,
			own.kinds, own.slots, slot, batch);
	END IF;
END
$$;
COMMENT ON FUNCTION poll_events(text, integer, integer, interval) IS
'The next events of a worker (slot), in the order of their ids, at most a batch: the same again until acknowledge() moves its position. For receivers outside this database, who get each at least once; as ids of a worker only rise, the last one that it has is all it needs to drop repeats. Gives nothing that somebody who is still writing could be before: waits up to patience for those to end, and returns no row where one does not. Reads only. Errors: LY651 consumer, LY003 slot, batch, patience; 25006 on a standby; 0A000 not in READ COMMITTED.';

CREATE FUNCTION acknowledge(consumer text, event_id bigint DEFAULT NULL, slot integer DEFAULT 0) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	own record;
	target bigint := event_id;
BEGIN
	SELECT * INTO own FROM loyalty.find_slot(consumer, slot, 'wait');
	IF own.generation IS NULL THEN
		RETURN NULL;
	ELSIF target IS NULL THEN
		target := loyalty.settled_event_id('0');
		target := CASE WHEN target > own.until_id THEN own.until_id ELSE target END;
		target := coalesce((SELECT e.event_id - 1 FROM loyalty.read_events(own.done_to, target, own.kinds, own.slots, slot, 1) e), target);
	ELSIF target > own.done_to AND NOT EXISTS (SELECT FROM loyalty.event e WHERE e.event_id = target)
		AND NOT EXISTS (SELECT FROM loyalty.all_entries() e WHERE e.entry_id = target) THEN
		RAISE EXCEPTION 'event % was not handed out', target
			USING ERRCODE = 'LY653', DETAIL = 'There is no event with this id that is committed.',
				HINT = 'Acknowledge the event_id of the last event that loyalty.poll_events() returned and that is done.';
	END IF;
	IF target IS NULL OR target <= own.done_to THEN
		RETURN own.done_to;
	END IF;
	RETURN loyalty.move_slot(consumer, own.generation, slot, target, own.until_id);
END
$$;
COMMENT ON FUNCTION acknowledge(text, bigint, integer) IS
'Says that a worker (slot) is done with all events up to one, which it got by poll_events(): moves its position there, never back, and returns it. event_id NULL, for when a poll gave nothing: moves it over what is not for this worker, so that the next poll begins later. Returns NULL where workers of a smaller or greater number have to come to their end first. Errors: LY651 consumer, LY653 there is no such event, LY003 slot.';

CREATE FUNCTION consume_events(consumer text, batch integer DEFAULT 100, slot integer DEFAULT 0, patience interval DEFAULT '1 second',
	OUT event_id bigint, OUT member_id bigint, OUT kind text, OUT at timestamptz, OUT recorded_at timestamptz, OUT payload jsonb) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	own record;
	settled bigint;
	n integer := 0;
BEGIN
	PERFORM loyalty.require_batch(batch);
	SELECT * INTO own FROM loyalty.find_slot(consumer, slot, 'skip');
	IF own.generation IS NULL THEN
		RETURN;
	END IF;
	settled := loyalty.settled_event_id(patience);
	IF settled IS NULL THEN
		RETURN;
	ELSIF settled > own.until_id THEN
		settled := own.until_id;
	END IF;
	FOR event_id, member_id, kind, at, recorded_at, payload IN
		SELECT e.* FROM loyalty.read_events(own.done_to, settled, own.kinds, own.slots, slot, batch) e
	LOOP
		n := n + 1;
		RETURN NEXT;
	END LOOP;
	PERFORM loyalty.move_slot(consumer, own.generation, slot, CASE n WHEN batch THEN event_id ELSE settled END, own.until_id);
END
$$;
COMMENT ON FUNCTION consume_events(text, integer, integer, interval) IS
'poll_events() and acknowledge() in one: the next events of a worker (slot), whose position moves with the commit of the caller''s transaction. For work inside this database, which is so done exactly once. Returns nothing where another transaction has the slot. Errors as of poll_events().';

CREATE FUNCTION event_lag(OUT consumer text, OUT slot integer, OUT behind bigint, OUT oldest timestamptz, OUT waits_for integer, OUT since timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH writer AS MATERIALIZED (
		SELECT l.pid, a.xact_start
		FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND l.mode = 'RowExclusiveLock' AND l.granted
			AND l.relation IN (to_regclass('loyalty.wallet'), to_regclass('loyalty.event')) AND l.pid IS DISTINCT FROM pg_backend_pid()
		ORDER BY a.xact_start LIMIT 1
	), place AS MATERIALIZED (
		SELECT p.consumer, p.slot, p.slots, p.done_to, coalesce(p.until_id, 9223372036854775807) AS up_to,
			ARRAY(SELECT s.kind FROM loyalty.event_subscription s WHERE s.consumer = p.consumer) AS kinds
		FROM loyalty.event_position p
	)
	SELECT p.consumer, p.slot, e.behind, e.oldest, w.pid, w.xact_start
	FROM place p LEFT JOIN writer w ON true, LATERAL (
		SELECT count(*) AS behind, min(x.recorded_at) AS oldest
		FROM (SELECT e.recorded_at FROM loyalty.event e
			WHERE e.event_id > p.done_to AND e.event_id <= p.up_to AND e.kind = ANY (p.kinds) AND loyalty.slot_of(e.member_id, p.slots) = p.slot
			UNION ALL
			SELECT e.recorded_at FROM loyalty.all_entries() e
			WHERE 'points_changed' = ANY (p.kinds) AND e.entry_id > p.done_to AND e.entry_id <= p.up_to AND loyalty.slot_of(e.member_id, p.slots) = p.slot) x) e
	ORDER BY p.consumer, p.slot, p.done_to
$$;
COMMENT ON FUNCTION event_lag() IS
'For each worker of each consumer: how many committed events are not done (behind), and when the oldest of them was recorded. waits_for, since: the session that has been writing for longest at this moment, which holds back all that is committed after it began; its pid is NULL where there is none, or where it is a prepared transaction.';

-- ---------------------------------------------------------------------------
-- What is old
-- ---------------------------------------------------------------------------

CREATE FUNCTION prune_batch(before timestamptz, behind bigint, batch_size integer, OUT last_key bigint, OUT pruned bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
	slowest CONSTANT bigint := (SELECT min(p.done_to) FROM loyalty.event_position p
		WHERE EXISTS (SELECT FROM loyalty.event_subscription s WHERE s.consumer = p.consumer AND loyalty.has_rows(s.kind)));
	notices bigint;
BEGIN
	WITH next AS MATERIALIZED (
		SELECT e.member_id, e.event_id, e.recorded_at FROM loyalty.event e
		WHERE e.event_id > coalesce(behind, -1) AND (slowest IS NULL OR e.event_id <= slowest) ORDER BY e.event_id LIMIT batch_size
	), gone AS (
		DELETE FROM loyalty.event e USING next n
		WHERE e.member_id = n.member_id AND e.event_id = n.event_id AND n.recorded_at < before RETURNING e.event_id
	)
	SELECT max(g.event_id), count(*) INTO last_key, pruned FROM gone g;
	WITH gone AS (
		DELETE FROM loyalty.notice n USING (SELECT x.member_id, x.consumer, x.notice, x.subject FROM loyalty.notice x WHERE x.at < before ORDER BY x.at LIMIT batch_size) o
		WHERE (n.member_id, n.consumer, n.notice, n.subject) = (o.member_id, o.consumer, o.notice, o.subject) RETURNING 1
	)
	SELECT count(*) INTO notices FROM gone;
	pruned := pruned + notices;
END
$$;
COMMENT ON FUNCTION prune_batch(timestamptz, bigint, integer) IS
'Deletes the next events that were recorded before an instant and are done by every consumer that reads them, and notices whose instant is before it; the last id, and how many rows. Part of prune_events().';

CREATE PROCEDURE prune_events(keep interval DEFAULT '7 days', batch_size integer DEFAULT 10000)
LANGUAGE plpgsql
AS $$
DECLARE
	run record;
	batch record;
	before pg_catalog.timestamptz;
BEGIN
	PERFORM loyalty.require_autocommit('prune_events');
	IF keep IS NULL OR keep OPERATOR(pg_catalog.<) '0'::pg_catalog.interval THEN
		RAISE EXCEPTION 'keep must not be negative'
			USING ERRCODE = 'LY003', DETAIL = pg_catalog.format('It is %s.', coalesce(keep::pg_catalog.text, 'NULL')), HINT = 'It is how long events are kept, such as 7 days.';
	END IF;
	SELECT * INTO run FROM loyalty.begin_job('prune_events', NULL, batch_size, 'rows', pg_catalog.jsonb_build_object('keep', keep));
	before := run.until OPERATOR(pg_catalog.-) keep;
	COMMIT;
	LOOP
		SELECT * INTO batch FROM loyalty.prune_batch(before, run.last_key, batch_size);
		EXIT WHEN batch.pruned OPERATOR(pg_catalog.=) 0;
		run.last_key := coalesce(batch.last_key, run.last_key);
		PERFORM loyalty.note_job(run.run_id, batch.pruned, run.last_key, batch.pruned);
		COMMIT;
	END LOOP;
	PERFORM loyalty.end_job(run.run_id, 'rows deleted');
	COMMIT;
	PERFORM loyalty.unlock_job('prune_events');
END
$$;
COMMENT ON PROCEDURE prune_events(interval, integer) IS
'Deletes events that were recorded longer ago than keep, never beyond the slowest position of a consumer that reads events, and notices whose instant is longer ago. Commits after batch_size rows; can be stopped at any time. Progress is in the table job_run. Errors: LY006 it is running already, 25001 inside a transaction, LY003.';
