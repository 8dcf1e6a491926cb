/*
 * access: its invariants.
 */

CREATE FUNCTION check_access(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT 'act', e.member_id, e.currency, e.entry_id, 'nobody is kept as who adjusted'
	FROM loyalty.all_entries() e
	WHERE (behind IS NULL OR e.member_id > behind) AND (up_to IS NULL OR e.member_id <= up_to)
		AND e.kind = 'adjust' AND NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = 'adjust' AND a.object_id = e.entry_id);

	RETURN QUERY
	SELECT 'act', m.absorbed_id, NULL::text, NULL::bigint, format('nobody is kept as who %s merge %s', x.did, m.merge_id)
	FROM loyalty.member_merge m, LATERAL (SELECT 'merge_members' AS act, 'made' AS did WHERE m.cause = 'operator'
		UNION ALL SELECT 'unmerge_members', 'undid' WHERE m.unmerged_at IS NOT NULL) x
	WHERE (behind IS NULL OR m.absorbed_id > behind) AND (up_to IS NULL OR m.absorbed_id <= up_to)
		AND NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = x.act AND a.object_id = m.merge_id)
	UNION ALL
	SELECT 'act', g.member_id, NULL, NULL, format('nobody is kept as who %s grant %s', x.did, g.grant_id)
	FROM loyalty.tier_grant g, LATERAL (SELECT 'grant_tier' AS act, 'made' AS did UNION ALL SELECT 'end_grant', 'ended' WHERE g.ended_at IS NOT NULL) x
	WHERE (behind IS NULL OR g.member_id > behind) AND (up_to IS NULL OR g.member_id <= up_to) AND g.kind <> 'awarded'
		AND NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = x.act AND a.object_id = g.grant_id)
	UNION ALL
	SELECT 'act', m.member_id, NULL, NULL, 'nobody is kept as who forgot it'
	FROM loyalty.member m
	WHERE (behind IS NULL OR m.member_id > behind) AND (up_to IS NULL OR m.member_id <= up_to)
		AND m.status = 'forgotten' AND NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = 'forget_member' AND a.member_id = m.member_id)
	UNION ALL
	SELECT 'approval', a.member_id, a.currency, NULL, format('act %s (%s) refers to request %s, which %s', a.act_id, a.act, a.request_id,
		CASE WHEN r.request_id IS NULL THEN 'does not exist' WHEN r.decision IS DISTINCT FROM 'approved' THEN 'was not approved'
		ELSE format('"%s" asked for and approved', r.person) END)
	FROM loyalty.operator_act a LEFT JOIN loyalty.act_request r ON r.request_id = a.request_id
	WHERE (behind IS NULL OR a.member_id > behind) AND (up_to IS NULL OR a.member_id <= up_to)
		AND a.request_id IS NOT NULL AND (r.decision = 'approved' AND lower(r.person) <> lower(r.decided_person)) IS NOT TRUE;

	IF behind IS NULL THEN
		RETURN QUERY
		SELECT 'actor', NULL::bigint, NULL::text, NULL::bigint, format('role "%s" is trusted to name actors, and does not exist', t.role)
		FROM loyalty.actor_role t WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = t.role);
	END IF;
END
$$;
COMMENT ON FUNCTION check_access(bigint, bigint) IS
'Every invariant of room access, of members as check_all() takes them: a row for each violation. Every adjustment, merge and unmerge by hand, grant and its end (but those of campaigns), and forgotten member has who did it; of what was approved, two persons are kept. (Of a reversal it cannot be told whether it was by hand.) Part of check_all().';
