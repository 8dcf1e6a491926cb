/*
 * Why members are one, and what happened to them.
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

CREATE FUNCTION canonical_then(member_id bigint, known_at timestamptz) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE climb (depth, id) AS (
		SELECT 0, $1
		UNION ALL
		SELECT c.depth + 1, m.survivor_id
		FROM climb c JOIN loyalty.member_merge m ON m.absorbed_id = c.id AND m.recorded_at <= $2 AND coalesce(m.unmerged_at, 'infinity') > $2
	)
	SELECT c.id FROM climb c ORDER BY c.depth DESC LIMIT 1
$$;
COMMENT ON FUNCTION canonical_then(bigint, timestamptz) IS
'The member who stood for a member at an instant, by the merges that stood then. Part of unmerge_members().';

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
