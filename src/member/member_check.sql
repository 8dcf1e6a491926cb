/*
 * Proof: the present follows from the history.
 */

CREATE FUNCTION canonical_by_merges(member_ids bigint[], OUT member_id bigint, OUT canonical_id bigint) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH RECURSIVE climb (member_id, above) AS (
		SELECT m.absorbed_id, m.survivor_id FROM loyalty.member_merge m WHERE m.absorbed_id = ANY ($1) AND m.unmerged_at IS NULL
		UNION
		SELECT c.member_id, m.survivor_id FROM climb c JOIN loyalty.member_merge m ON m.absorbed_id = c.above AND m.unmerged_at IS NULL
	)
	SELECT c.member_id, c.above FROM climb c
	WHERE NOT EXISTS (SELECT FROM loyalty.member_merge m WHERE m.absorbed_id = c.above AND m.unmerged_at IS NULL)
$$;
COMMENT ON FUNCTION canonical_by_merges(bigint[]) IS
'Of some members those that are absorbed, and who stands for them by the merges that stand: no row where these go in a circle. Part of check_member().';

CREATE FUNCTION check_merges(behind bigint, up_to bigint, OUT invariant text, OUT member_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH standing AS MATERIALIZED (
		SELECT m.absorbed_id, m.merge_id FROM loyalty.member_merge m
		WHERE m.unmerged_at IS NULL AND (behind IS NULL OR m.absorbed_id > behind) AND (up_to IS NULL OR m.absorbed_id <= up_to)
	), canonical AS MATERIALIZED (
		SELECT * FROM loyalty.canonical_by_merges(ARRAY(SELECT s.absorbed_id FROM standing s))
	), alias AS (
		SELECT * FROM loyalty.member_alias a WHERE (behind IS NULL OR a.member_id > behind) AND (up_to IS NULL OR a.member_id <= up_to)
	)
	SELECT 'merge', s.absorbed_id, format('merge %s is part of a circle of merges', s.merge_id)
	FROM standing s WHERE NOT EXISTS (SELECT FROM canonical r WHERE r.member_id = s.absorbed_id)
	UNION ALL
	SELECT 'alias', coalesce(r.member_id, a.member_id),
		format('member %s stands for it, by the merges that stand it should be %s', coalesce(a.canonical_id::text, 'nobody'), coalesce(r.canonical_id::text, 'nobody'))
	FROM canonical r FULL JOIN alias a ON a.member_id = r.member_id
	WHERE a.canonical_id IS DISTINCT FROM r.canonical_id
	UNION ALL
	SELECT 'alias', a.member_id, format('member %s stands for it, and is absorbed itself', a.canonical_id)
	FROM alias a JOIN loyalty.member_alias b ON b.member_id = a.canonical_id
	UNION ALL
	SELECT 'alias', a.member_id, format('merge %s, in which it was absorbed, does not stand', a.merge_id)
	FROM alias a
	WHERE NOT EXISTS (SELECT FROM standing s WHERE s.merge_id = a.merge_id AND s.absorbed_id = a.member_id)
	UNION ALL
	SELECT 'status', coalesce(m.member_id, a.member_id), format('its status is %s', coalesce(m.status, 'missing: there is no such member'))
	FROM (SELECT * FROM loyalty.member m WHERE (behind IS NULL OR m.member_id > behind) AND (up_to IS NULL OR m.member_id <= up_to)) m
	FULL JOIN alias a ON a.member_id = m.member_id
	WHERE m.member_id IS NULL OR m.status = 'active' AND a.member_id IS NOT NULL OR m.status = 'absorbed' AND a.member_id IS NULL;
END
$$;
COMMENT ON FUNCTION check_merges(bigint, bigint) IS
'Of members as check_all() takes them: the merges that stand form a forest, aliases name canonical members, depth one, and status says so. Part of check_member().';

CREATE FUNCTION check_persons(behind bigint, up_to bigint, OUT invariant text, OUT member_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH held AS MATERIALIZED (
		SELECT i.member_id, i.identifier_id, i.home_member_id FROM loyalty.identifier i
		WHERE (behind IS NULL OR i.member_id > behind) AND (up_to IS NULL OR i.member_id <= up_to)
	), canonical AS MATERIALIZED (
		SELECT * FROM loyalty.canonical_by_merges(ARRAY(SELECT DISTINCT h.home_member_id FROM held h))
	)
	SELECT 'identifier', i.member_id,
		format('identifier %s is with it, by its home %s it should be with %s', i.identifier_id, i.home_member_id, coalesce(r.canonical_id, i.home_member_id))
	FROM held i LEFT JOIN canonical r ON r.member_id = i.home_member_id
	WHERE i.member_id <> coalesce(r.canonical_id, i.home_member_id)
	UNION ALL
	SELECT 'identifier', i.member_id, format('identifier %s points at a member that is %s', i.identifier_id, coalesce(m.status, 'missing'))
	FROM held i LEFT JOIN loyalty.member m ON m.member_id = i.member_id
	WHERE m.status IS DISTINCT FROM 'active';

	RETURN QUERY
	SELECT 'forgotten', m.member_id, 'it is forgotten, and has personal data'
	FROM loyalty.member m
	WHERE m.status = 'forgotten' AND (behind IS NULL OR m.member_id > behind) AND (up_to IS NULL OR m.member_id <= up_to)
		AND (m.attributes <> '{}'
			OR EXISTS (SELECT FROM loyalty.member_fact f WHERE f.home_member_id = m.member_id)
			OR EXISTS (SELECT FROM loyalty.identifier i WHERE i.home_member_id = m.member_id)
			OR EXISTS (SELECT FROM loyalty.member_act a WHERE a.member_id = m.member_id AND a.reason IS NOT NULL)
			OR EXISTS (SELECT FROM loyalty.member_merge x WHERE x.absorbed_id = m.member_id AND (x.reason IS NOT NULL OR x.unmerge_reason IS NOT NULL))
			OR EXISTS (SELECT FROM loyalty.member_merge x WHERE x.survivor_id = m.member_id AND (x.reason IS NOT NULL OR x.unmerge_reason IS NOT NULL)))
	UNION ALL
	SELECT 'attributes', m.member_id, 'an absorbed member has attributes'
	FROM loyalty.member m
	WHERE m.status = 'absorbed' AND m.attributes <> '{}' AND (behind IS NULL OR m.member_id > behind) AND (up_to IS NULL OR m.member_id <= up_to)
	UNION ALL
	SELECT 'attributes', m.member_id, 'its attributes are not those that the rules choose'
	FROM (
		SELECT f.home_member_id AS member_id FROM loyalty.member_fact f
		WHERE (behind IS NULL OR f.home_member_id > behind) AND (up_to IS NULL OR f.home_member_id <= up_to)
		UNION
		SELECT a.canonical_id FROM loyalty.member_alias a
		WHERE (behind IS NULL OR a.canonical_id > behind) AND (up_to IS NULL OR a.canonical_id <= up_to)
			AND EXISTS (SELECT FROM loyalty.member_fact f WHERE f.home_member_id = a.member_id)
	) known JOIN loyalty.member m ON m.member_id = known.member_id
	WHERE m.status = 'active' AND m.attributes <> loyalty.surviving_attributes(loyalty.member_tree(m.member_id));
END
$$;
COMMENT ON FUNCTION check_persons(bigint, bigint) IS
'Of members as check_all() takes them: every identifier is with the root of its home, a live member; attributes are what the rules choose; forgotten members have no personal data. Part of check_member().';

CREATE FUNCTION check_member(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.invariant, c.member_id, NULL::text, NULL::bigint, c.detail FROM loyalty.check_merges(behind, up_to) c
	UNION ALL
	SELECT c.invariant, c.member_id, NULL, NULL, c.detail FROM loyalty.check_persons(behind, up_to) c;

	-- copies in entries of others are erased as well, of a transfer and of what refers to an entry; and what is a person's in
	-- the wallet of who is none, such as a household
	RETURN QUERY
	SELECT 'erased', e.member_id, e.currency, e.entry_id, format('its texts are erased, and member %s is not forgotten', coalesce(e.home_id, e.member_id))
	FROM loyalty.all_entries() e
	WHERE (behind IS NULL OR e.member_id > behind) AND (up_to IS NULL OR e.member_id <= up_to)
		AND e.texts_hash IS NOT NULL AND e.kind <> 'transfer_in' AND e.target_entry_id IS NULL
		AND NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = coalesce(e.home_id, e.member_id) AND m.status IN ('forgotten', 'no_person'));

	RETURN QUERY
	WITH wallet AS MATERIALIZED (
		SELECT w.member_id, w.currency, w.moved, w.erased, a.member_id IS NOT NULL AS is_absorbed FROM loyalty.wallet w
		LEFT JOIN loyalty.member_alias a ON a.member_id = w.member_id
		WHERE (behind IS NULL OR w.member_id > behind) AND (up_to IS NULL OR w.member_id <= up_to)
	), held AS MATERIALIZED (
		SELECT w.member_id, w.currency, w.moved, coalesce(nullif(b.home_id, 0), w.member_id) AS home_id, b.points, b.debt
		FROM loyalty.wallet w, loyalty.balance_homes(w.balance) b
		WHERE (behind IS NULL OR w.member_id > behind) AND (up_to IS NULL OR w.member_id <= up_to)
			AND (b.home_id <> 0 OR w.moved IS NOT NULL)
	), canonical AS MATERIALIZED (
		SELECT * FROM loyalty.canonical_by_merges(ARRAY(SELECT DISTINCT h.home_id FROM held h))
	)
	SELECT 'erased', w.member_id, w.currency, NULL::bigint, 'keys of its entries are marked as erased, and the member is not forgotten'
	FROM wallet w
	WHERE w.erased AND NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = w.member_id AND m.status = 'forgotten')
	UNION ALL
	SELECT 'wallet', w.member_id, w.currency, NULL,
		CASE WHEN w.moved THEN 'its points are marked as moved, but it is not absorbed' ELSE 'it is absorbed, but its points are not marked as moved' END
	FROM wallet w WHERE w.is_absorbed <> coalesce(w.moved, false)
	UNION ALL
	SELECT 'stranger', w.member_id, w.currency, NULL, 'there is no such member, and it has a wallet'
	FROM wallet w
	WHERE NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = w.member_id) AND EXISTS (SELECT FROM loyalty.member)
	UNION ALL
	SELECT 'home', h.member_id, h.currency, NULL, format('%s points and a debt of %s are with it, by their home %s they should be with %s',
		h.points, h.debt, h.home_id, coalesce(r.canonical_id, h.home_id))
	FROM held h LEFT JOIN canonical r ON r.member_id = h.home_id
	WHERE coalesce(r.canonical_id, h.home_id) <> h.member_id;

	IF behind IS NULL THEN
		RETURN QUERY
		SELECT 'identifier', min(i.member_id), NULL::text, NULL::bigint, format('namespace %s: one value of %s members', i.namespace, count(*))
		FROM loyalty.identifier i WHERE i.exclusive GROUP BY i.namespace, i.value HAVING count(*) > 1
		UNION ALL
		SELECT 'handler', NULL, NULL, NULL, format('no room has registered how table %s is merged', c.relname)
		FROM pg_class c
		WHERE c.relnamespace = to_regnamespace('loyalty') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
			AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'member_id' AND NOT a.attisdropped)
			AND c.relname NOT IN ('wallet', 'ledger', 'ledger_archive', 'queued_earn', 'member', 'member_alias', 'identifier', 'member_act', 'request', 'check_finding')
			AND NOT EXISTS (SELECT FROM loyalty.merge_handler h WHERE c.relname = ANY (h.tables))
			-- nor the parts of tables that are spread
			AND NOT (loyalty.sees_part() AND EXISTS (SELECT FROM loyalty.tables_of_program() t WHERE c.relname ~ format('^%s_[0-9]+$', t.table_name)))
		UNION ALL
		SELECT 'handler', NULL, NULL, NULL, format('room "%s": %s', f.room, f.problem)
		FROM (SELECT h.room, loyalty.stored_function_problem(x.name, x.arguments) AS problem
			FROM loyalty.merge_handler h CROSS JOIN LATERAL (VALUES (h.merge_function, 'bigint,bigint,bigint'),
				(h.unmerge_function, 'bigint,bigint,bigint,bigint[]'), (h.preview_function, 'bigint,bigint'), (h.forget_function, 'bigint[]')) x (name, arguments)
			WHERE x.name IS NOT NULL) f
		WHERE f.problem IS NOT NULL;
	END IF;
END
$$;
COMMENT ON FUNCTION check_member(bigint, bigint) IS
'Every invariant of room member, of members as check_all() takes them: a row for each violation; values that two members have, and handlers, where no member is left out at the beginning. Part of check_all(). The merges that stand form a forest; aliases name canonical members, depth one; every identifier, point and debt is with the root of its home, a live member; no exclusive value twice; attributes are what the rules choose; forgotten members have no personal data, and texts of entries are erased of nobody else; nobody but members has points, once there are any; every table of a member''s things has a room that says how it is merged, by functions that are there and may run.';
