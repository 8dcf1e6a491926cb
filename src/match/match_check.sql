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
		SELECT 'patterns', NULL, format('model %s of match %s was fitted to %s pairs, and its patterns have %s', m.model_no, m.match,
			m.model ->> 'pairs_in_blocks', n.pairs)
		FROM loyalty.match_model m, LATERAL (SELECT coalesce(sum(c.value::numeric), 0) AS pairs FROM jsonb_each_text(m.patterns -> 'patterns') c) n
		WHERE n.pairs <> (m.model ->> 'pairs_in_blocks')::numeric
		UNION ALL
		SELECT 'refused', l.member_id, format('merge %s of match %s joined it with member %s, whom decision %s had found not to be the same', l.merge_id,
			l.match, l.other_id, r.decision_no)
		FROM loyalty.match_link l JOIN loyalty.member_merge m ON m.merge_id = l.merge_id AND m.unmerged_at IS NULL
		JOIN loyalty.match_review r ON r.decision = 'different' AND r.decided_at < m.recorded_at
			AND (r.member_id, r.other_id) IN ((least(l.member_id, l.other_id), greatest(l.member_id, l.other_id)))
		WHERE NOT EXISTS (SELECT FROM loyalty.match_review s WHERE s.decision = 'same' AND s.decision_no > r.decision_no AND s.decided_at < m.recorded_at
			AND loyalty.canonical_member(s.member_id) = loyalty.canonical_member(r.member_id)
			AND loyalty.canonical_member(s.other_id) = loyalty.canonical_member(r.other_id))
	) f (invariant, member_id, detail)
$$;
COMMENT ON FUNCTION check_match() IS
'Every invariant of room match: members of pairs, decisions and merges exist; a weight is what its model says of its pattern, with its frequencies, and the sum of its parts; the patterns of a model add up to the pairs of its blocks; no merge of a match joined two who had been found not to be the same, without a later decision. A row for each violation; part of check_all().';
