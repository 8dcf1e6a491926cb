/*
 * event: proof that nothing was lost.
 */

CREATE FUNCTION heard_since(kind text) RETURNS timestamptz
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT greatest(min(s.subscribed_at), (SELECT max(j.as_of - (j.arguments ->> 'keep')::interval) FROM loyalty.job_run j WHERE j.job = 'prune_events'))
	FROM loyalty.event_subscription s WHERE s.kind = $1 HAVING count(*) > 0
$$;
COMMENT ON FUNCTION heard_since(text) IS
'Since when whatever was recorded of a kind has its row in the table event: since somebody subscribed to it, and behind what was pruned; NULL where nobody did. For the checks of rooms.';

CREATE FUNCTION check_event(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	last bigint;
BEGIN
	-- whoever may read all tables may lack the sequence
	-- nor does one machine know how far others are
	IF has_sequence_privilege('loyalty.ledger_entry_id_seq', 'SELECT') AND NOT loyalty.sees_part() THEN
		SELECT CASE WHEN q.is_called THEN q.last_value ELSE 0 END INTO last FROM loyalty.ledger_entry_id_seq q;
	END IF;
	RETURN QUERY
	SELECT 'position', NULL::bigint, NULL::text, p.done_to, format('consumer %s, slot %s: no event has this id yet', p.consumer, p.slot)
	FROM loyalty.event_position p WHERE p.done_to > last OR p.until_id > last
	UNION ALL
	SELECT 'position', NULL, NULL, NULL, format('consumer %s has %s slots of %s', c.consumer, count(p.slot), c.slots)
	FROM loyalty.event_consumer c LEFT JOIN loyalty.event_position p ON p.consumer = c.consumer AND p.until_id IS NULL
		AND p.slots = c.slots AND p.slot < c.slots
	GROUP BY c.consumer, c.slots HAVING count(p.slot) <> c.slots
	UNION ALL
	SELECT 'event id', e.member_id, NULL, e.event_id, 'its id was never drawn' FROM loyalty.event e WHERE e.event_id > last
	UNION ALL
	SELECT 'event id', min(e.member_id), NULL, e.event_id, format('%s events have this id', count(*))
	FROM loyalty.event e GROUP BY e.event_id HAVING count(*) > 1
	UNION ALL
	SELECT 'event id', e.member_id, NULL, e.event_id, 'an entry has the same id'
	FROM loyalty.event e JOIN loyalty.all_entries() l ON l.entry_id = e.event_id
	UNION ALL
	SELECT 'payload', e.member_id, NULL, e.event_id, format('the payload of this %s has no version', e.kind)
	FROM loyalty.event e
	WHERE jsonb_typeof(e.payload -> 'version') IS DISTINCT FROM 'number' AND e.payload <> '{}'
	UNION ALL
	SELECT 'payload', e.member_id, NULL, e.event_id, 'the member is forgotten, and it has a payload'
	FROM loyalty.event e JOIN loyalty.member m ON m.member_id = e.member_id
	WHERE m.status = 'forgotten' AND e.kind <> 'member_forgotten' AND e.payload <> '{}'
	UNION ALL
	-- what room member recorded since somebody heard of it
	SELECT 'lost event', a.member_id, NULL, NULL, format('there is no %s of act %s', k.kind, a.act_id)
	FROM (VALUES ('created', 'member_created'), ('merged', 'members_merged'), ('unmerged', 'merge_undone'), ('forgotten', 'member_forgotten')) k (act, kind),
		LATERAL (SELECT loyalty.heard_since(k.kind) AS since OFFSET 0) h, loyalty.member_act a
	WHERE a.act = k.act AND a.recorded_at > h.since
		-- of two who are merged or separated one has it
		AND NOT EXISTS (SELECT FROM loyalty.event e WHERE e.member_id IN (a.member_id, a.other_member_id) AND e.kind = k.kind AND e.recorded_at >= a.recorded_at)
	UNION ALL
	SELECT 'notice', n.member_id, NULL, NULL, format('%s of %s was told when it was not due', n.notice, n.subject)
	FROM loyalty.notice n WHERE n.due_at > n.given_at OR n.due_at > n.at
	UNION ALL
	SELECT 'notice', NULL, NULL, NULL, format('notice %s is about %s, of which nothing is known', d.notice, d.about)
	FROM loyalty.notice_definition d WHERE loyalty.notice_source(d.about) IS NULL;
END
$$;
COMMENT ON FUNCTION check_event() IS
'Every invariant of room event: a row for each violation; part of check_all(). Positions are of ids that were drawn, and each slot has one; ids are of one event and no entry; payloads say their version, and are empty of forgotten members; of each act of a member that was recorded since somebody subscribed there is an event; notices were told when they were due, and once.';

CREATE FUNCTION check_event_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT 'event id', min(e.member_id), NULL::text, e.event_id, format('%s events have this id', count(*))
	FROM loyalty.event e GROUP BY e.event_id HAVING count(*) > 1;

	RETURN QUERY
	WITH event AS MATERIALIZED (SELECT e.member_id, e.event_id FROM loyalty.event e)
	SELECT 'event id', e.member_id, NULL::text, e.event_id, 'an entry has the same id'
	FROM loyalty.all_entries() l JOIN event e ON e.event_id = l.entry_id;
END
$$;
COMMENT ON FUNCTION check_event_totals() IS 'What members of several machines have together, once tables are spread: ids are of one event and no entry. Part of check_event().';
