/*
 * Why members are one, what happened to them, and forgetting them.
 */

CREATE FUNCTION why_merged(a bigint, b bigint)
RETURNS TABLE (step bigint, member_id bigint, joined_to bigint, merge_id bigint, cause text, namespaces text[],
	identifier_ids bigint[], verified boolean, priority integer, reason text, merged_at timestamptz, weakest boolean)
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE climb (side, depth, id, edge) AS (
		SELECT s.side, 0, s.id, NULL::bigint FROM (VALUES (1, $1), (2, $2)) s (side, id)
		UNION ALL
		SELECT c.side, c.depth + 1, m.survivor_id, m.merge_id
		FROM climb c JOIN loyalty.member_merge m ON m.absorbed_id = c.id AND m.unmerged_at IS NULL
	), meeting AS (
		-- where the two paths to the root meet
		SELECT x.depth AS a_depth, y.depth AS b_depth
		FROM climb x JOIN climb y ON x.side = 1 AND y.side = 2 AND x.id = y.id
		ORDER BY x.depth LIMIT 1
	), path AS (
		SELECT c.side, CASE c.side WHEN 1 THEN c.depth ELSE -c.depth END AS place, c.edge
		FROM climb c, meeting t
		WHERE c.edge IS NOT NULL AND c.depth <= CASE c.side WHEN 1 THEN t.a_depth ELSE t.b_depth END
	), judged AS (
		SELECT p.side, p.place, m.*,
			row_number() OVER (ORDER BY (m.cause = 'operator'), m.verified, m.priority DESC NULLS LAST, m.merge_id) = 1 AS weak
		FROM path p JOIN loyalty.member_merge m ON m.merge_id = p.edge
	)
	SELECT row_number() OVER (ORDER BY j.side, j.place), j.absorbed_id, j.survivor_id, j.merge_id, j.cause, j.namespaces,
		j.identifier_ids, j.verified, j.priority, j.reason, j.recorded_at, j.weak
	FROM judged j
	ORDER BY 1
$$;
COMMENT ON FUNCTION why_merged(bigint, bigint) IS
'Why two members are one: the merges that join them, from a to b, each with the identifiers (by number) and namespaces it stands on, or the operator''s reason. weakest marks the link to doubt first: an unverified identifier, then the one of the lowest priority, then an operator''s act; unmerge_members(merge_id) cuts it. No rows when they are not one, or a is b.';

CREATE FUNCTION member_history(member_id bigint)
RETURNS TABLE (recorded_at timestamptz, effective_at timestamptz, member_id bigint, act text, other_member_id bigint,
	merge_id bigint, identifier_id bigint, namespace text, value text, channel text, reason text)
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT h.recorded_at, h.effective_at, h.member_id, h.act, h.other_member_id, h.merge_id, h.identifier_id, h.namespace,
		i.value, h.channel, h.reason
	FROM loyalty.member_act h
	LEFT JOIN loyalty.identifier i ON i.identifier_id = h.identifier_id
	WHERE h.member_id = ANY (loyalty.member_tree($1))
		AND NOT (h.act IN ('merged', 'unmerged') AND h.other_member_id = ANY (loyalty.member_tree($1))
			AND h.member_id <> (SELECT m.absorbed_id FROM loyalty.member_merge m WHERE m.merge_id = h.merge_id))
	ORDER BY h.act_id
$$;
COMMENT ON FUNCTION member_history(bigint) IS
'What happened to a member and to those absorbed in it, in the order in which it was recorded: created, linked, unlinked, merged, unmerged, attributes, forgotten. value is that of an identifier that is still linked.';

CREATE FUNCTION forget_member(member_id bigint, reason text DEFAULT NULL,
	OUT members bigint[], OUT identifiers bigint, OUT facts bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	canonical bigint := (loyalty.lock_members(ARRAY[member_id], whole_trees => true))[1];
	merges bigint[];
	h loyalty.merge_handler;
BEGIN
	members := loyalty.member_tree(canonical);
	DELETE FROM loyalty.identifier i WHERE i.member_id = canonical;
	GET DIAGNOSTICS identifiers = ROW_COUNT;
	DELETE FROM loyalty.member_fact f WHERE f.home_member_id = ANY (members);
	GET DIAGNOSTICS facts = ROW_COUNT;
	INSERT INTO loyalty.member_act (member_id, act, effective_at)
	SELECT m.member_id, 'forgotten', statement_timestamp() FROM loyalty.member m
	WHERE m.member_id = ANY (members) AND m.status <> 'forgotten' ORDER BY m.member_id;
	UPDATE loyalty.member m SET attributes = '{}', status = 'forgotten' WHERE m.member_id = ANY (members);
	-- reasons, and those of merges with members who are others again: both have the act
	merges := (SELECT array_agg(m.merge_id) FROM (SELECT x.merge_id FROM loyalty.member_merge x
		WHERE x.absorbed_id = ANY (members) OR x.survivor_id = ANY (members) ORDER BY x.merge_id FOR NO KEY UPDATE) m);
	UPDATE loyalty.member_act a SET reason = NULL WHERE a.member_id = ANY (members) AND a.reason IS NOT NULL;
	UPDATE loyalty.member_act a SET reason = NULL FROM loyalty.member_merge m
	WHERE m.merge_id = ANY (merges) AND a.member_id IN (m.absorbed_id, m.survivor_id) AND a.merge_id = m.merge_id AND a.reason IS NOT NULL;
	UPDATE loyalty.member_merge m SET reason = NULL, unmerge_reason = NULL WHERE m.merge_id = ANY (merges);
	-- the keys stay used; what identified the person in their arguments is gone with the fingerprint
	UPDATE loyalty.request r SET result = '{}', fingerprint = ''
	WHERE r.member_id = ANY (members) OR r.result_member_id = ANY (members);
	FOR h IN SELECT * FROM loyalty.merge_handler x WHERE x.forget_function IS NOT NULL
		ORDER BY array_position(loyalty.rooms(), x.room), x.room LOOP
		EXECUTE format('SELECT %s($1)', loyalty.stored_function(h.forget_function, 'bigint[]')) USING members;
	END LOOP;
END
$$;
COMMENT ON FUNCTION forget_member(bigint, text) IS
'Forgets a person: the member, everybody it stands for, and the one who stands for it. Identifiers, attributes with their history, reasons and stored results of calls are deleted; members stay by number, with their points and ledger, as forgotten. Their merges can no longer be undone (LY203). Later identifiers of that person make a new member. What callers wrote into references and details of the ledger is theirs and stays. Returns the members forgotten and how much was deleted. Safe to repeat. reason is not kept. Error: LY202.';
