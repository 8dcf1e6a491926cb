/*
 * engagement: what follows from an activity, in its commit.
 */

CREATE FUNCTION engaged_kinds(OUT kind text, OUT what text, OUT name text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH latest AS (
		-- of a definition that begins later, what is in force goes on
		SELECT v.what, v.name, v.definition FROM loyalty.engagement_version v
		WHERE v.version >= coalesce((SELECT max(o.version) FROM loyalty.engagement_version o
			WHERE o.what = v.what AND o.name = v.name AND (o.effective_from IS NULL OR o.effective_from <= statement_timestamp())), 0)
	), selector AS (
		SELECT l.what, l.name, l.definition -> 'kind' AS kinds FROM latest l WHERE l.what IN ('badge', 'challenge', 'board')
		UNION ALL
		SELECT 'badge', l.name, s.definition -> 'kind' FROM latest l JOIN latest s ON s.what = 'streak' AND s.name = l.definition ->> 'streak' WHERE l.what = 'badge'
		UNION ALL
		SELECT 'referral', l.name, coalesce(l.definition -> 'kind', '"order"') FROM latest l WHERE l.what = 'referral'
		UNION ALL
		SELECT 'journey', l.name, x.kinds
		FROM latest l, LATERAL (SELECT l.definition #> '{start,kind}' UNION ALL SELECT l.definition #> '{while,kind}'
			UNION ALL SELECT s #> '{if,kind}' FROM jsonb_array_elements(l.definition -> 'steps') s) x (kinds)
		WHERE l.what = 'journey'
	)
	SELECT DISTINCT k.kind, s.what, s.name
	FROM selector s, jsonb_array_elements_text(CASE jsonb_typeof(s.kinds) WHEN 'array' THEN s.kinds ELSE jsonb_build_array(s.kinds) END) k (kind)
	WHERE s.kinds IS NOT NULL
$$;
COMMENT ON FUNCTION engaged_kinds() IS
'Which kinds of activities concern which badges, challenges, boards, referrals and journeys. Part of engage().';

CREATE FUNCTION lock_engagement(member_id bigint) RETURNS void
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_lock_engagement';
COMMENT ON FUNCTION lock_engagement(bigint) IS
'Locks what follows from the activities of a member: after its wallets and the states of tables before engagement_state. Part of the writing functions; 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION engage(member_id bigint, kind text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	names record;
BEGIN
	SELECT coalesce(array_agg(k.name ORDER BY k.name) FILTER (WHERE k.what = 'badge'), '{}') AS badges,
		coalesce(array_agg(k.name ORDER BY k.name) FILTER (WHERE k.what = 'challenge'), '{}') AS challenges,
		coalesce(array_agg(k.name ORDER BY k.name) FILTER (WHERE k.what = 'board'), '{}') AS boards, count(*) FILTER (WHERE k.what = 'referral') AS referrals
	INTO names FROM loyalty.engaged_kinds() k
	WHERE (kind IS NULL OR k.kind = kind)
		-- what begins later asks for nothing yet
		AND EXISTS (SELECT FROM loyalty.engagement_version v WHERE v.what = k.what AND v.name = k.name AND (v.effective_from IS NULL OR v.effective_from <= statement_timestamp()));
	-- of an activity they were put before this is called
	PERFORM loyalty.put_scores(member_id, names.boards) WHERE kind IS NULL AND names.boards <> '{}';
	PERFORM loyalty.put_badges(member_id, names.badges) WHERE names.badges <> '{}';
	PERFORM loyalty.put_challenges(member_id, names.challenges) WHERE names.challenges <> '{}';
	PERFORM loyalty.put_referrals(member_id) WHERE names.referrals > 0;
END
$$;
COMMENT ON FUNCTION engage(bigint, text) IS
'Makes badges, challenges and referrals of a member what its activities say, of those that a kind of activities concerns (NULL: of all, and scores). The member is canonical, and locked. Part of record_activity(), merge_members() and refresh_engagement().';

CREATE FUNCTION refresh_engagement(member_id bigint) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	canonical bigint;
BEGIN
	IF member_id IS NULL THEN
		RAISE EXCEPTION 'member_id must be given'
			USING ERRCODE = 'LY003', DETAIL = 'It is NULL.', HINT = 'Name the member.';
	END IF;
	canonical := loyalty.canonical_member(member_id);
	PERFORM loyalty.lock_engagement(canonical);
	PERFORM loyalty.engage(canonical, NULL);
END
$$;
COMMENT ON FUNCTION refresh_engagement(bigint) IS
'Makes badges, challenges and scores of a member what its activities say: for those that were recorded without, such as by backfill_activities(), and for definitions that came later. Error: LY003.';

CREATE FUNCTION merge_engagement(merge_id bigint, survivor_id bigint, absorbed_id bigint) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.lock_engagement(m) FROM (SELECT unnest(ARRAY[survivor_id, absorbed_id]) AS m ORDER BY 1) x;
	-- who is absorbed has no score of its own
	PERFORM loyalty.put_scores(absorbed_id, b.names) FROM (SELECT array_agg(DISTINCT s.board) AS names FROM loyalty.board_score s WHERE s.member_id = absorbed_id) b
	WHERE b.names IS NOT NULL;
	PERFORM loyalty.engage(survivor_id, NULL);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION merge_engagement(bigint, bigint, bigint) IS
'What a merge means here: rows stay where they are and count for the survivor; badges, challenges and scores are those of both together. Part of merge_members().';

CREATE FUNCTION unmerge_engagement(merge_id bigint, canonical_id bigint, member_id bigint, tree bigint[]) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	merged_at timestamptz;
	m bigint;
BEGIN
	SELECT x.recorded_at INTO merged_at FROM loyalty.member_merge x WHERE x.merge_id = $1;
	FOREACH m IN ARRAY ARRAY[least(canonical_id, member_id), greatest(canonical_id, member_id)] LOOP
		PERFORM loyalty.lock_engagement(m);
	END LOOP;
	FOREACH m IN ARRAY ARRAY[least(canonical_id, member_id), greatest(canonical_id, member_id)] LOOP
		-- what both together earned was neither's
		PERFORM loyalty.put_badges(m, b.names, merge_id)
		FROM (SELECT array_agg(DISTINCT b.badge) AS names FROM loyalty.member_badge b
			WHERE b.member_id = ANY (loyalty.member_tree(m)) AND b.act = 'earned' AND b.recorded_at >= merged_at) b WHERE b.names IS NOT NULL;
		PERFORM loyalty.engage(m, NULL);
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION unmerge_engagement(bigint, bigint, bigint, bigint[]) IS
'What the undoing of a merge means here: badges that were earned since, challenges and scores follow what each member did alone. Part of unmerge_members().';
