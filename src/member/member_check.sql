/*
 * Proof: the present follows from the history.
 */

CREATE FUNCTION check_member(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE standing AS MATERIALIZED (
		SELECT m.absorbed_id, m.survivor_id, m.merge_id FROM loyalty.member_merge m WHERE m.unmerged_at IS NULL
	), climb (member_id, above) AS (
		SELECT s.absorbed_id, s.survivor_id FROM standing s
		UNION
		SELECT c.member_id, s.survivor_id FROM climb c JOIN standing s ON s.absorbed_id = c.above
	), canonical AS MATERIALIZED (
		SELECT c.member_id, c.above AS canonical_id FROM climb c
		WHERE NOT EXISTS (SELECT FROM standing s WHERE s.absorbed_id = c.above)
	)
	SELECT 'merge', s.absorbed_id, NULL::text, NULL::bigint, format('merge %s is part of a circle of merges', s.merge_id)
	FROM standing s WHERE NOT EXISTS (SELECT FROM canonical r WHERE r.member_id = s.absorbed_id)
	UNION ALL
	SELECT 'alias', coalesce(r.member_id, a.member_id), NULL, NULL,
		format('member %s stands for it, by the merges that stand it should be %s', coalesce(a.canonical_id::text, 'nobody'), coalesce(r.canonical_id::text, 'nobody'))
	FROM canonical r FULL JOIN loyalty.member_alias a ON a.member_id = r.member_id
	WHERE a.canonical_id IS DISTINCT FROM r.canonical_id
	UNION ALL
	SELECT 'alias', a.member_id, NULL, NULL, format('member %s stands for it, and is absorbed itself', a.canonical_id)
	FROM loyalty.member_alias a JOIN loyalty.member_alias b ON b.member_id = a.canonical_id
	UNION ALL
	SELECT 'alias', a.member_id, NULL, NULL, format('merge %s, in which it was absorbed, does not stand', a.merge_id)
	FROM loyalty.member_alias a
	WHERE NOT EXISTS (SELECT FROM standing s WHERE s.merge_id = a.merge_id AND s.absorbed_id = a.member_id)
	UNION ALL
	SELECT 'status', coalesce(m.member_id, a.member_id), NULL, NULL, format('its status is %s', coalesce(m.status, 'missing: there is no such member'))
	FROM loyalty.member m FULL JOIN loyalty.member_alias a ON a.member_id = m.member_id
	WHERE m.member_id IS NULL OR m.status = 'active' AND a.member_id IS NOT NULL OR m.status = 'absorbed' AND a.member_id IS NULL
	UNION ALL
	SELECT 'identifier', i.member_id, NULL, NULL,
		format('identifier %s is with it, by its home %s it should be with %s', i.identifier_id, i.home_member_id, coalesce(r.canonical_id, i.home_member_id))
	FROM loyalty.identifier i LEFT JOIN canonical r ON r.member_id = i.home_member_id
	WHERE i.member_id <> coalesce(r.canonical_id, i.home_member_id)
	UNION ALL
	SELECT 'identifier', i.member_id, NULL, NULL, format('identifier %s points at a member that is %s', i.identifier_id, coalesce(m.status, 'missing'))
	FROM loyalty.identifier i LEFT JOIN loyalty.member m ON m.member_id = i.member_id
	WHERE m.status IS DISTINCT FROM 'active'
	UNION ALL
	SELECT 'identifier', min(i.member_id), NULL, NULL, format('namespace %s: one value of %s members', i.namespace, count(*))
	FROM loyalty.identifier i WHERE i.exclusive GROUP BY i.namespace, i.value HAVING count(*) > 1
	UNION ALL
	SELECT 'forgotten', m.member_id, NULL, NULL, 'it is forgotten, and has personal data'
	FROM loyalty.member m
	WHERE m.status = 'forgotten' AND (m.attributes <> '{}'
		OR EXISTS (SELECT FROM loyalty.member_fact f WHERE f.home_member_id = m.member_id)
		OR EXISTS (SELECT FROM loyalty.identifier i WHERE i.home_member_id = m.member_id)
		OR EXISTS (SELECT FROM loyalty.member_act a WHERE a.member_id = m.member_id AND a.reason IS NOT NULL)
		OR EXISTS (SELECT FROM loyalty.member_merge x WHERE x.absorbed_id = m.member_id AND (x.reason IS NOT NULL OR x.unmerge_reason IS NOT NULL))
		OR EXISTS (SELECT FROM loyalty.member_merge x WHERE x.survivor_id = m.member_id AND (x.reason IS NOT NULL OR x.unmerge_reason IS NOT NULL)))
	UNION ALL
	-- copies in entries of others are erased as well, of a transfer and of what refers to an entry
	SELECT 'erased', e.member_id, e.currency, e.entry_id, format('its texts are erased, and member %s is not forgotten', coalesce(e.home_id, e.member_id))
	FROM loyalty.all_entries() e
	WHERE e.texts_hash IS NOT NULL AND e.kind <> 'transfer_in' AND e.target_entry_id IS NULL
		AND NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = coalesce(e.home_id, e.member_id) AND m.status = 'forgotten')
	UNION ALL
	SELECT 'erased', w.member_id, w.currency, NULL, 'keys of its entries are marked as erased, and the member is not forgotten'
	FROM loyalty.wallet w
	WHERE w.erased AND NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = w.member_id AND m.status = 'forgotten')
	UNION ALL
	SELECT 'attributes', m.member_id, NULL, NULL, 'an absorbed member has attributes'
	FROM loyalty.member m WHERE m.status = 'absorbed' AND m.attributes <> '{}'
	UNION ALL
	SELECT 'attributes', m.member_id, NULL, NULL, 'its attributes are not those that the rules choose'
	FROM loyalty.member m
	WHERE m.status = 'active' AND m.member_id IN (SELECT coalesce(r.canonical_id, f.home_member_id)
			FROM loyalty.member_fact f LEFT JOIN canonical r ON r.member_id = f.home_member_id)
		AND m.attributes <> loyalty.surviving_attributes(loyalty.member_tree(m.member_id))
	UNION ALL
	SELECT 'wallet', w.member_id, w.currency, NULL,
		CASE WHEN w.moved THEN 'its points are marked as moved, but it is not absorbed' ELSE 'it is absorbed, but its points are not marked as moved' END
	FROM loyalty.wallet w LEFT JOIN loyalty.member_alias a ON a.member_id = w.member_id
	WHERE (a.member_id IS NOT NULL) <> coalesce(w.moved, false)
	UNION ALL
	SELECT 'stranger', w.member_id, w.currency, NULL, 'there is no such member, and it has a wallet'
	FROM loyalty.wallet w
	WHERE NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = w.member_id) AND EXISTS (SELECT FROM loyalty.member)
	UNION ALL
	SELECT 'home', w.member_id, w.currency, NULL, format('%s points and a debt of %s are with it, by their home %s they should be with %s',
		b.points, b.debt, h.home_id, coalesce(r.canonical_id, h.home_id))
	FROM loyalty.wallet w, loyalty.balance_homes(w.balance) b, LATERAL (SELECT coalesce(nullif(b.home_id, 0), w.member_id) AS home_id) h
		LEFT JOIN canonical r ON r.member_id = h.home_id
	WHERE (b.home_id <> 0 OR w.moved IS NOT NULL) AND coalesce(r.canonical_id, h.home_id) <> w.member_id
	UNION ALL
	SELECT 'handler', NULL, NULL, NULL, format('no room has registered how table %s is merged', c.relname)
	FROM pg_class c
	WHERE c.relnamespace = to_regnamespace('loyalty') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'member_id' AND NOT a.attisdropped)
		AND c.relname NOT IN ('wallet', 'ledger', 'ledger_archive', 'member', 'member_alias', 'identifier', 'member_act', 'request', 'check_finding')
		AND NOT EXISTS (SELECT FROM loyalty.merge_handler h WHERE c.relname = ANY (h.tables))
	UNION ALL
	SELECT 'handler', NULL, NULL, NULL, format('room "%s": %s', f.room, f.problem)
	FROM (SELECT h.room, loyalty.stored_function_problem(x.name, x.arguments) AS problem
		FROM loyalty.merge_handler h CROSS JOIN LATERAL (VALUES (h.merge_function, 'bigint,bigint,bigint'),
			(h.unmerge_function, 'bigint,bigint,bigint,bigint[]'), (h.preview_function, 'bigint,bigint'), (h.forget_function, 'bigint[]')) x (name, arguments)
		WHERE x.name IS NOT NULL) f
	WHERE f.problem IS NOT NULL
$$;
COMMENT ON FUNCTION check_member() IS
'Every invariant of room member: a row for each violation; part of check_all(). The merges that stand form a forest; aliases name canonical members, depth one; every identifier, point and debt is with the root of its home, a live member; no exclusive value twice; attributes are what the rules choose; forgotten members have no personal data, and texts of entries are erased of nobody else; nobody but members has points, once there are any; every table of a member''s things has a room that says how it is merged, by functions that are there and may run.';
