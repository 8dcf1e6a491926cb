/*
 * match: its invariants.
 */

CREATE FUNCTION check_match(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT f.invariant, f.member_id, NULL::text, NULL::bigint, f.detail
	FROM (
		SELECT 'member', x.member_id, format('%s with member %s: one of them does not exist%s', x.what, x.other_id, CASE WHEN x.is_pair THEN ', or is forgotten' END)
		FROM (
			SELECT p.member_id, p.other_id, format('pair of match %s', p.match) AS what, true AS is_pair FROM loyalty.match_pair p
			UNION ALL
			SELECT r.member_id, r.other_id, format('decision %s', r.decision_no), false FROM loyalty.match_review r
			UNION ALL
			SELECT l.member_id, l.other_id, format('merge %s of match %s', l.merge_id, l.match), false FROM loyalty.match_link l
		) x
		WHERE (SELECT count(*) FROM loyalty.member m WHERE m.member_id IN (x.member_id, x.other_id) AND NOT (x.is_pair AND m.status = 'forgotten')) < 2
		UNION ALL
		SELECT 'forgotten', r.member_id, format('decision %s has a reason, and one of its members is forgotten', r.decision_no)
		FROM loyalty.match_review r
		WHERE r.reason IS NOT NULL AND EXISTS (SELECT FROM loyalty.member m WHERE m.member_id IN (r.member_id, r.other_id) AND m.status = 'forgotten')
		UNION ALL
		SELECT 'weight', p.member_id, format('pair with member %s of match %s weighs %s; its pattern %s and its parts say otherwise', p.other_id, p.match, p.weight, p.pattern)
		FROM loyalty.match_pair p LEFT JOIN loyalty.match_model m ON m.match = p.match AND m.model_no = p.model_no
		WHERE m.model IS NULL OR p.weight <> (loyalty.match_weight(m.model, p.pattern)).weight
			+ coalesce((SELECT sum((e.value ->> 'frequency')::numeric) FROM jsonb_each(p.parts -> 'fields') e), 0)
			OR p.weight <> (p.parts ->> 'prior')::numeric + (SELECT sum((e.value ->> 'weight')::numeric + coalesce((e.value ->> 'frequency')::numeric, 0))
				FROM jsonb_each(p.parts -> 'fields') e)
		UNION ALL
		SELECT 'probability', p.member_id, format('pair with member %s of match %s has probability %s, and its weight says %s', p.other_id, p.match,
			p.probability, w.probability)
		FROM loyalty.match_pair p, LATERAL (SELECT round((1 / (1 + exp(-ln(2.0::float8) * greatest(p.weight, -1000)::float8)))::numeric, 9) AS probability) w
		WHERE abs(p.probability - w.probability) > 0.000000001
		UNION ALL
		SELECT 'patterns', NULL, format('model %s of match %s was fitted to %s pairs, and its patterns have %s', m.model_no, m.match,
			m.model ->> 'pairs_in_blocks', n.pairs)
		FROM loyalty.match_model m, LATERAL (SELECT coalesce(sum(c.value::numeric), 0) AS pairs FROM jsonb_each_text(m.patterns -> 'patterns') c) n
		WHERE n.pairs <> (m.model ->> 'pairs_in_blocks')::numeric
		UNION ALL
		SELECT 'refused', l.member_id, format('merge %s of match %s joined it with member %s, whom decision %s had found not to be the same', l.merge_id,
			l.match, l.other_id, d.decision_no)
		FROM (
			SELECT r.decision_no, r.decided_at, loyalty.canonical_member(r.member_id) AS person FROM loyalty.match_review r
			WHERE r.decision = 'different' AND loyalty.canonical_member(r.member_id) = loyalty.canonical_member(r.other_id)
		) r
		JOIN loyalty.match_link l ON loyalty.canonical_member(l.member_id) = r.person
		JOIN loyalty.member_merge m ON m.merge_id = l.merge_id AND m.unmerged_at IS NULL AND m.recorded_at > r.decided_at
		CROSS JOIN LATERAL (
			-- the last decision about the two persons whom it joined, as they were by then
			WITH RECURSIVE part (member_id, is_absorbed) AS (
				VALUES (m.survivor_id, false), (m.absorbed_id, true)
				UNION
				SELECT y.absorbed_id, p.is_absorbed
				FROM part p JOIN loyalty.member_merge y ON y.survivor_id = p.member_id AND y.recorded_at < m.recorded_at
					AND (y.unmerged_at IS NULL OR y.unmerged_at > m.recorded_at)
			)
			SELECT x.decision_no FROM part a JOIN part b ON b.is_absorbed AND NOT a.is_absorbed
			JOIN loyalty.match_review x ON x.member_id = least(a.member_id, b.member_id) AND x.other_id = greatest(a.member_id, b.member_id)
				AND x.decided_at < m.recorded_at
			ORDER BY x.decision_no DESC LIMIT 1
		) d
		WHERE d.decision_no = r.decision_no
	) f (invariant, member_id, detail)
$$;
COMMENT ON FUNCTION check_match() IS
'Every invariant of room match: members of pairs, decisions and merges exist; a weight is what its model says of its pattern, with its frequencies, and the sum of its parts; a probability is what its weight says; the patterns of a model add up to the pairs of its blocks; no merge of a match joined two persons, as they were then, who had been found not to be the same, without a later decision. A row for each violation; part of check_all().';
