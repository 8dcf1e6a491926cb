/*
 * access: its invariants.
 */

CREATE FUNCTION check_access(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'act', e.member_id, e.currency, e.entry_id, 'nobody is kept as who adjusted'
	FROM loyalty.all_entries() e
	WHERE e.kind = 'adjust' AND NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = 'adjust' AND a.object_id = e.entry_id)
	UNION ALL
	SELECT 'act', m.absorbed_id, NULL, NULL, format('nobody is kept as who %s', CASE x.act WHEN 'merge_members' THEN 'made' ELSE 'undid' END)
		|| format(' merge %s', m.merge_id)
	FROM loyalty.member_merge m, LATERAL (SELECT 'merge_members' AS act WHERE m.cause = 'operator'
		UNION ALL SELECT 'unmerge_members' WHERE m.unmerged_at IS NOT NULL) x
	WHERE NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = x.act AND a.object_id = m.merge_id)
	UNION ALL
	SELECT 'act', g.member_id, NULL, NULL, format('nobody is kept as who %s', CASE x.act WHEN 'grant_tier' THEN 'made' ELSE 'ended' END)
		|| format(' grant %s', g.grant_id)
	FROM loyalty.tier_grant g, LATERAL (SELECT 'grant_tier' AS act UNION ALL SELECT 'end_grant' WHERE g.ended_at IS NOT NULL) x
	WHERE NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = x.act AND a.object_id = g.grant_id)
	UNION ALL
	SELECT 'act', m.member_id, NULL, NULL, 'nobody is kept as who forgot it'
	FROM loyalty.member m
	WHERE m.status = 'forgotten' AND NOT EXISTS (SELECT FROM loyalty.operator_act a WHERE a.act = 'forget_member' AND a.member_id = m.member_id)
	UNION ALL
	SELECT 'approval', a.member_id, a.currency, NULL, format('act %s (%s) refers to request %s, which %s', a.act_id, a.act, a.request_id,
		CASE WHEN r.request_id IS NULL THEN 'does not exist' WHEN r.decision IS DISTINCT FROM 'approved' THEN 'was not approved'
		ELSE format('"%s" asked for and approved', r.person) END)
	FROM loyalty.operator_act a LEFT JOIN loyalty.act_request r ON r.request_id = a.request_id
	WHERE a.request_id IS NOT NULL AND (r.decision = 'approved' AND lower(r.person) <> lower(r.decided_person)) IS NOT TRUE
	UNION ALL
	SELECT 'actor', NULL, NULL, NULL, format('role "%s" is trusted to name actors, and does not exist', t.role)
	FROM loyalty.actor_role t WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = t.role)
$$;
COMMENT ON FUNCTION check_access() IS
'Every invariant of room access: a row for each violation; part of check_all(). Every adjustment, merge and unmerge by hand, grant and its end, and forgotten member has who did it; of what was approved, two persons are kept. (Of a reversal it cannot be told whether it was by hand.)';
