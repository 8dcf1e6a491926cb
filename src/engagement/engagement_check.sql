/*
 * engagement: what must hold.
 */

CREATE FUNCTION check_engagement_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- buckets, and what changed since, count every score
	RETURN QUERY
	SELECT 'bucket', NULL::bigint, NULL::text, NULL::bigint, format('board "%s", %s: %s members are counted, and %s have a score', coalesce(s.board, b.board), coalesce(s.period_start, b.period_start), coalesce(b.n, 0), coalesce(s.n, 0))
	FROM (SELECT x.board, x.period_start, count(*) AS n FROM loyalty.board_score x GROUP BY 1, 2) s
	FULL JOIN (SELECT x.board, x.period_start, sum(x.n) AS n
		FROM (SELECT k.board, k.period_start, k.n FROM loyalty.board_bucket k
			UNION ALL SELECT c.board, c.period_start, (c.score IS NOT NULL)::integer - (c.was IS NOT NULL)::integer FROM loyalty.board_change c) x GROUP BY 1, 2) b
	ON b.board = s.board AND b.period_start = s.period_start
	WHERE coalesce(s.n, 0) <> coalesce(b.n, 0);
	-- the places of a club: those that are free, and its members
	RETURN QUERY
	WITH taken AS MATERIALIZED (
		SELECT c.club, count(*) FILTER (WHERE c.act IN ('join', 'approve')) - count(*) FILTER (WHERE c.act IN ('leave', 'remove')) AS n
		FROM loyalty.club_membership c GROUP BY c.club
	)
	SELECT 'capacity', NULL::bigint, NULL::text, NULL::bigint, format('club "%s": %s places are free and %s taken, of %s', d.name, e.n, m.n, d.capacity)
	FROM (SELECT DISTINCT ON (v.name) v.name, (v.definition ->> 'capacity')::numeric AS capacity FROM loyalty.engagement_version v WHERE v.what = 'club' ORDER BY v.name, v.version DESC) d,
		LATERAL (SELECT coalesce(sum(x.remaining), 0) AS n FROM loyalty.escrow x WHERE x.name = 'club/' || d.name) e,
		LATERAL (SELECT coalesce(sum(c.n), 0) AS n FROM taken c WHERE c.club = d.name) m
	WHERE d.capacity IS NOT NULL AND e.n + m.n <> d.capacity;
	-- stock: what is left, and what was given
	RETURN QUERY
	WITH given AS MATERIALIZED (SELECT s.draw, s.prize, count(*) AS n FROM loyalty.draw_spin s GROUP BY s.draw, s.prize)
	SELECT 'stock', NULL::bigint, NULL::text, NULL::bigint, format('prize "%s" of draw "%s": %s are left and %s given, of %s', p.prize, p.name, e.n, g.n, p.stock)
	FROM (SELECT v.name, x ->> 'prize' AS prize, (x ->> 'stock')::numeric AS stock FROM loyalty.engagement_version v, jsonb_array_elements(v.definition -> 'prizes') x
			WHERE v.what = 'draw' AND x ->> 'stock' IS NOT NULL) p,
		LATERAL (SELECT coalesce(sum(x.remaining), 0) AS n FROM loyalty.escrow x WHERE x.name = format('draw/%s/%s', p.name, p.prize)) e,
		LATERAL (SELECT coalesce(sum(s.n), 0) AS n FROM given s WHERE s.draw = p.name AND s.prize = p.prize) g
	WHERE e.n + g.n <> p.stock;
END
$$;
COMMENT ON FUNCTION check_engagement_totals() IS 'What all members have together: buckets count every score; free places and members of a club are its capacity; prizes are left or given. Part of check_engagement().';

CREATE FUNCTION check_engagement(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
	first CONSTANT boolean := behind IS NULL;
BEGIN
	-- scores are the sums of their measures
	RETURN QUERY
	SELECT 'score', h.member_id, NULL::text, NULL::bigint,
		format('board "%s", %s: %s, and the activities say %s', h.board, h.period_start, format('score %s of %s activities by %s', h.score, h.activities, h.reached_at),
			CASE WHEN w.score IS NULL THEN 'none' ELSE format('%s of %s by %s', w.score, w.activities, w.reached_at) END)
	FROM loyalty.board_score h LEFT JOIN LATERAL loyalty.member_scores(h.member_id, h.board, h.period_start, NULL, NULL) w ON true
	WHERE (behind IS NULL OR h.member_id > behind) AND (up_to IS NULL OR h.member_id <= up_to)
		AND (h.score, h.activities, h.reached_at) IS DISTINCT FROM (w.score, w.activities, w.reached_at);
	-- badges for good are earned no later than the activities say
	RETURN QUERY
	SELECT 'badge', m.member_id, NULL::text, NULL::bigint, format('level %s of badge "%s" is earned at %s, and the activities say %s', a.level, a.badge, a.earned_at, c.earned_at)
	FROM (SELECT DISTINCT loyalty.canonical_member(b.member_id) AS member_id FROM loyalty.member_badge b
			WHERE b.act = 'earned' AND (behind IS NULL OR b.member_id > behind) AND (up_to IS NULL OR b.member_id <= up_to)) m,
		LATERAL (SELECT x.badge, x.level, min(x.earned_at) AS earned_at FROM loyalty.badge_acts(m.member_id, NULL, NULL) x WHERE x.earned_at IS NOT NULL GROUP BY 1, 2) a,
		LATERAL (SELECT v.definition FROM loyalty.engagement_version v WHERE v.what = 'badge' AND v.name = a.badge ORDER BY v.version DESC LIMIT 1) v,
		LATERAL loyalty.badge_crossings(m.member_id, v.definition, NULL, NULL) c
	WHERE c.level = a.level AND c.earned_at < a.earned_at AND NOT coalesce((v.definition ->> 'revocable')::boolean, false);
	-- both invitations of a referral, or neither
	RETURN QUERY
	SELECT 'referral', r.member_id, NULL::text, NULL::bigint,
		format('referral %s is %s: %s of its two invitations stand', s.referral_id, s.status, i.n)
	FROM loyalty.referral r, LATERAL loyalty.referral_states(r.member_id, NULL) s,
		LATERAL (SELECT count(*) AS n FROM loyalty.activity a WHERE a.kind = 'invite' AND a.member_id IN (s.referee_id, s.referrer_id)
			AND a.external_id = format('referral %s', s.referral_id) AND NOT a.cancelled) i
	WHERE (behind IS NULL OR r.member_id > behind) AND (up_to IS NULL OR r.member_id <= up_to) AND s.referee_id = r.member_id
		AND i.n <> CASE WHEN s.order_id IS NOT NULL THEN 2 ELSE 0 END
		-- those of forgotten members have no names any more, or were never made
		AND NOT loyalty.is_forgotten(ARRAY[s.referee_id, s.referrer_id, loyalty.canonical_member(s.referee_id), loyalty.canonical_member(s.referrer_id)]);
	-- spins are numbered, and not more than granted
	RETURN QUERY
	SELECT 'spin', s.member_id, NULL::text, NULL::bigint, format('draw "%s": %s spins, up to number %s', s.draw, count(*), max(s.nonce))
	FROM loyalty.draw_spin s WHERE (behind IS NULL OR s.member_id > behind) AND (up_to IS NULL OR s.member_id <= up_to)
	GROUP BY s.member_id, s.draw HAVING count(*) <> max(s.nonce);
	-- what is taken of a journey was decided as it is decided now
	RETURN QUERY
	SELECT 'journey', j.member_id, NULL::text, NULL::bigint, format('step "%s" of journey "%s" was taken at %s, before it was due at %s', j.step, j.journey, j.taken_at, j.due_at)
	FROM loyalty.journey_step j WHERE (behind IS NULL OR j.member_id > behind) AND (up_to IS NULL OR j.member_id <= up_to) AND j.taken_at < j.due_at;
	-- acts of a member and a club alternate
	RETURN QUERY
	SELECT 'club', a.member_id, NULL::text, NULL::bigint, format('act %s in club "%s" is %s after %s', a.act_no, a.club, a.act, coalesce(a.last, 'none'))
	FROM (SELECT c.*, lag(c.act) OVER (PARTITION BY c.member_id, c.club ORDER BY c.at, c.act_no) AS last FROM loyalty.club_membership c
		WHERE c.act IN ('join', 'approve', 'leave', 'remove') AND (behind IS NULL OR c.member_id > behind) AND (up_to IS NULL OR c.member_id <= up_to)) a
	WHERE (a.act IN ('join', 'approve')) = (coalesce(a.last, 'leave') IN ('join', 'approve'));
	IF NOT first THEN
		RETURN;
	END IF;

	IF NOT loyalty.sees_part() THEN
		RETURN QUERY SELECT t.* FROM loyalty.check_engagement_totals() t;
	END IF;
	RETURN QUERY
	SELECT 'draw', a.member_id, NULL::text, NULL::bigint, format('draw "%s"%s: %s', c.draw, ', spin ' || a.nonce, a.problem)
	FROM loyalty.draw_commitment c, LATERAL loyalty.audit_draw(c.draw) a WHERE c.closed_at IS NOT NULL;
	-- seeds are a secret of the owner
	IF has_table_privilege('loyalty.draw_seed', 'SELECT') THEN
		RETURN QUERY
		SELECT 'draw', NULL::bigint, NULL::text, NULL::bigint, format('the seed of draw "%s" is not that of its commitment', c.draw)
		FROM loyalty.draw_commitment c LEFT JOIN loyalty.draw_seed s ON s.draw = c.draw
		WHERE s.seed IS NULL OR loyalty.commit_seed(s.seed) <> c.commitment;
	END IF;
END
$$;
COMMENT ON FUNCTION check_engagement(bigint, bigint) IS
'Every invariant of room engagement, of members as check_all() takes them: a row for each violation. Scores are the sums of their measures, and buckets count them all; badges are earned no later than the activities say; a referral has both of its invitations, or neither; spins are numbered without holes, and prizes with stock are left or given; each draw that was revealed verifies, and each seed is that of its commitment, where the caller may read seeds; steps are taken once due; acts of clubs alternate, and free places and members are the capacity. Part of check_all().';
