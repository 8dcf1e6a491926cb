/*
 * match: what pairs and decisions come to, as of the merges that stand.
 */

CREATE FUNCTION person_pairs(match text, OUT member_id bigint, OUT other_id bigint, OUT weight numeric, OUT probability numeric,
	OUT parts jsonb, OUT decision text, OUT decision_no bigint) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH pair AS (
		SELECT DISTINCT ON (least(x.a, x.b), greatest(x.a, x.b)) least(x.a, x.b) AS member_id, greatest(x.a, x.b) AS other_id, x.weight, x.probability, x.parts
		FROM (SELECT loyalty.canonical_member(p.member_id) AS a, loyalty.canonical_member(p.other_id) AS b, p.*
			FROM loyalty.match_pair p WHERE p.match = $1) x
		WHERE x.a <> x.b
		ORDER BY least(x.a, x.b), greatest(x.a, x.b), x.weight DESC, x.member_id, x.other_id
	), decided AS (
		SELECT DISTINCT ON (least(x.a, x.b), greatest(x.a, x.b)) least(x.a, x.b) AS member_id, greatest(x.a, x.b) AS other_id, x.decision, x.decision_no
		FROM (SELECT loyalty.canonical_member(r.member_id) AS a, loyalty.canonical_member(r.other_id) AS b, r.*
			FROM loyalty.match_review r) x
		WHERE x.a <> x.b
		ORDER BY least(x.a, x.b), greatest(x.a, x.b), x.decision_no DESC
	)
	SELECT coalesce(p.member_id, d.member_id), coalesce(p.other_id, d.other_id), p.weight, p.probability, p.parts, d.decision, d.decision_no
	FROM pair p FULL JOIN decided d ON d.member_id = p.member_id AND d.other_id = p.other_id
$$;
COMMENT ON FUNCTION person_pairs(text) IS
'Pairs of persons, by the members who stand for them: what a match found of them, the pair that weighs most where it has several, and the last decision about them. Two who are one by now are no pair. Part of the functions of room match.';

CREATE FUNCTION person_clusters(match text, OUT node bigint, OUT cluster bigint, OUT weakest_a bigint, OUT weakest_b bigint, OUT weight numeric,
	OUT between_a bigint, OUT between_b bigint) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH pair AS MATERIALIZED (
		SELECT p.* FROM loyalty.person_pairs($1) p
	), edge AS (
		SELECT array_agg(p.member_id) AS a, array_agg(p.other_id) AS b, array_agg(coalesce(p.weight, 0)) AS weights,
			array_agg(p.decision IS NOT NULL) AS accepted
		FROM pair p CROSS JOIN loyalty.existing_match($1) m
		WHERE p.decision = 'same' OR p.decision IS NULL AND p.probability >= m.link
	), refusal AS (
		SELECT array_agg(p.member_id) AS a, array_agg(p.other_id) AS b FROM pair p WHERE p.decision = 'different'
	)
	SELECT c.* FROM edge e CROSS JOIN refusal r,
		LATERAL loyalty.cluster_pairs(e.a, e.b, e.weights, e.accepted, r.a, r.b) c
$$;
COMMENT ON FUNCTION person_clusters(text) IS
'What cluster_pairs() makes of the pairs of a match that are linked or accepted, and of those found not to be the same. Part of the functions of room match.';

CREATE FUNCTION match_clusters(match text, OUT cluster bigint, OUT member_id bigint, OUT weakest_a bigint, OUT weakest_b bigint, OUT weight numeric)
RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.cluster, c.node, c.weakest_a, c.weakest_b, c.weight
	FROM loyalty.person_clusters($1) c
	WHERE c.node IS NOT NULL AND c.weakest_a IS NOT NULL
	ORDER BY c.cluster, c.node
$$;
COMMENT ON FUNCTION match_clusters(text) IS
'Members who are one person by a match, and are not merged yet: accepted pairs, then linked ones by weight downwards, none of which brings two together who were found not to be the same. A row for each member: the cluster, named by its smallest member, the weakest pair that holds it together, and the weight of that in bits. Error: LY840.';

CREATE FUNCTION match_candidates(match text, row_count integer DEFAULT NULL,
	OUT member_id bigint, OUT other_id bigint, OUT weight numeric, OUT probability numeric, OUT accepted boolean, OUT cluster bigint, OUT parts jsonb)
RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH node AS MATERIALIZED (
		SELECT c.node, c.cluster FROM loyalty.person_clusters($1) c WHERE c.node IS NOT NULL
	)
	SELECT p.member_id, p.other_id, p.weight, p.probability, p.decision IS NOT NULL, a.cluster, p.parts
	FROM loyalty.person_pairs($1) p CROSS JOIN loyalty.existing_match($1) m
	JOIN node a ON a.node = p.member_id JOIN node b ON b.node = p.other_id AND b.cluster = a.cluster
	WHERE p.decision = 'same' OR p.decision IS NULL AND p.probability >= m.link
	ORDER BY p.decision IS NULL, coalesce(p.weight, 0) DESC, p.member_id, p.other_id
	LIMIT $2
$$;
COMMENT ON FUNCTION match_candidates(text, integer) IS
'Pairs that are to be merged: linked by a match from its "link" on, or found to be the same (accepted), and within one cluster of match_clusters(); in the order in which they count, the surest first. merge_match() merges one, merge_matches() many. Error: LY840.';

CREATE FUNCTION review_queue(match text, row_count integer DEFAULT 50,
	OUT member_id bigint, OUT other_id bigint, OUT weight numeric, OUT probability numeric, OUT question text, OUT parts jsonb) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH in_the_way AS MATERIALIZED (
		SELECT c.* FROM loyalty.person_clusters($1) c WHERE c.node IS NULL
	)
	SELECT p.member_id, p.other_id, p.weight, p.probability,
		CASE WHEN c.between_a IS NOT NULL
			THEN format('would join %s and %s, who were found not to be the same', c.between_a, c.between_b)
			ELSE 'are they the same?' END, p.parts
	FROM loyalty.person_pairs($1) p CROSS JOIN loyalty.existing_match($1) m
	LEFT JOIN in_the_way c ON c.weakest_a = p.member_id AND c.weakest_b = p.other_id
	WHERE c.between_a IS NOT NULL OR p.decision IS NULL AND p.probability >= m.review AND p.probability < m.link
	ORDER BY c.between_a IS NULL, p.weight DESC NULLS LAST, p.member_id, p.other_id
	LIMIT $2
$$;
COMMENT ON FUNCTION review_queue(text, integer) IS
'Pairs that a person should look at, and nobody has decided: those between "review" and "link", and first those that would be linked, but would bring two together who were found not to be the same; these are named. Decide with review_pair(). Error: LY840.';

CREATE FUNCTION preview_match(survivor_id bigint, absorbed_id bigint) RETURNS jsonb
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT nullif(jsonb_strip_nulls(jsonb_build_object('decision', d.decision, 'decision_no', d.decision_no, 'weight', e.weight,
		'probability', e.probability)), '{}')
	FROM (SELECT loyalty.member_tree(loyalty.canonical_member($1)) AS a, loyalty.member_tree(loyalty.canonical_member($2)) AS b) t,
		LATERAL loyalty.decision_between(t.a, t.b) d, LATERAL loyalty.evidence_between(NULL, t.a, t.b) e
$$;
COMMENT ON FUNCTION preview_match(bigint, bigint) IS
'What preview_merge() shows of two members: the last decision about them, and the pair of any match that weighs most; NULL without either. Part of preview_merge().';
