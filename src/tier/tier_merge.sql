/*
 * tier: merged members.
 */

CREATE FUNCTION merge_tier(merge_id bigint, survivor_id bigint, absorbed_id bigint, merged_at timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last timestamptz;
BEGIN
	IF merge_id IS NULL OR survivor_id IS NULL OR absorbed_id IS NULL OR survivor_id = absorbed_id THEN
		RAISE EXCEPTION 'a merge needs a number and two members'
			USING ERRCODE = 'LY003', DETAIL = 'It is known by it afterwards.',
				HINT = 'Give all three.';
	END IF;
	IF NOT isfinite(merged_at) THEN
		RAISE EXCEPTION 'merged_at must be a finite instant'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', merged_at), HINT = 'Leave it out for now.';
	END IF;
	IF EXISTS (SELECT FROM loyalty.tier_merge t WHERE t.absorbed_id = merge_tier.survivor_id AND t.unmerged_at IS NULL) THEN
		RAISE EXCEPTION 'member % counts for another', survivor_id
			USING ERRCODE = 'LY003', DETAIL = 'It was merged itself.',
				HINT = 'Merge into the member that stands for it.';
	END IF;
	SELECT max(t.merged_at) INTO last FROM loyalty.tier_merge t WHERE t.survivor_id = merge_tier.absorbed_id AND t.unmerged_at IS NULL;
	IF last > merged_at THEN
		RAISE EXCEPTION 'another member was merged into % only at %', absorbed_id, last
			USING ERRCODE = 'LY003', DETAIL = format('merged_at is %s.', merged_at),
				HINT = 'Merge them in the order in which it happened.';
	END IF;
	INSERT INTO loyalty.tier_merge AS t (absorbed_id, merge_id, survivor_id, merged_at)
	VALUES (absorbed_id, merge_id, survivor_id, coalesce(merged_at, greatest(clock_timestamp(), last)));
	-- those who were merged into the absorbed member count for the survivor now
	PERFORM loyalty.maintain_member(m) FROM (
		WITH RECURSIVE tree AS (
			SELECT absorbed_id AS member_id
			UNION
			SELECT t.absorbed_id FROM tree JOIN loyalty.tier_merge t ON t.survivor_id = tree.member_id AND t.unmerged_at IS NULL)
		SELECT x.m FROM (SELECT tree.member_id FROM tree UNION SELECT survivor_id) x(m) ORDER BY x.m) y;
END
$$;
COMMENT ON FUNCTION merge_tier(bigint, bigint, bigint, timestamptz) IS
'What a merge of members means here: from merged_at (NULL: now) on the survivor has the better of both states (the higher earned level, then the later end) and the facts and grants of both count; before it each has its own tier. merge_members() gives no merged_at: tiers join when the points move, at the instant of the call. Called with the number of the merge; an absorbed member may be neither absorbed again nor survive another while it stands. Error: LY003.';

CREATE FUNCTION unmerge_tier(merge_id bigint, canonical_id bigint DEFAULT NULL, tree bigint[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	merge loyalty.tier_merge;
BEGIN
	UPDATE loyalty.tier_merge t SET unmerged_at = clock_timestamp()
	WHERE t.merge_id = unmerge_tier.merge_id AND t.unmerged_at IS NULL
	RETURNING * INTO merge;
	IF FOUND THEN
		PERFORM loyalty.maintain_member(m) FROM (SELECT unnest(ARRAY[merge.absorbed_id, merge.survivor_id] || coalesce(canonical_id, merge.survivor_id)
			|| coalesce(tree, '{}')) ORDER BY 1) x(m);
	END IF;
END
$$;
COMMENT ON FUNCTION unmerge_tier(bigint, bigint, bigint[]) IS
'Takes a merge out of the facts: both members'' tiers are as if it had never been. Facts go with the member that the posting or record addressed, whatever earned_since says of points; a return goes with its order. canonical_id and tree are given by the room that merges; they are not needed.';

-- What room member calls, in the form that it calls.
CREATE FUNCTION merge_member_tiers(merge_id bigint, survivor_id bigint, absorbed_id bigint) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.merge_tier($1, $2, $3);
	RETURN jsonb_build_object('ladders', (SELECT count(*) FROM loyalty.tier_state s WHERE s.member_id = $3));
END
$$;
COMMENT ON FUNCTION merge_member_tiers(bigint, bigint, bigint) IS
'merge_tier(), as merge_members() calls it; returns in how many ladders the absorbed member had a state. Part of merge_members().';

CREATE FUNCTION unmerge_member_tiers(merge_id bigint, canonical_id bigint, member_id bigint, tree bigint[]) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.unmerge_tier($1, $2, $4);
	RETURN jsonb_build_object('ladders', (SELECT count(*) FROM loyalty.tier_state s WHERE s.member_id = $3));
END
$$;
COMMENT ON FUNCTION unmerge_member_tiers(bigint, bigint, bigint, bigint[]) IS
'unmerge_tier(), as unmerge_members() calls it; returns in how many ladders the separated member has a state. Part of unmerge_members().';

CREATE FUNCTION tier_if_merged(survivor_id bigint, absorbed_id bigint, ladder text, as_of timestamptz DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_tier_if_merged';
COMMENT ON FUNCTION tier_if_merged(bigint, bigint, text, timestamptz) IS
'The tier that a member would have at an instant (NULL: now), if another were merged into it then. Nothing is written. Error: LY402 ladder.';

CREATE FUNCTION preview_member_tiers(survivor_id bigint, absorbed_id bigint) RETURNS jsonb
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_object_agg(t.ladder, jsonb_build_object('survivor', t.survivor, 'absorbed', t.absorbed, 'together', t.together))
	FROM (SELECT l.ladder, loyalty.tier_of($1, l.ladder) AS survivor, loyalty.tier_of($2, l.ladder) AS absorbed,
			loyalty.tier_if_merged($1, $2, l.ladder) AS together
		FROM loyalty.ladder l OFFSET 0) t
	WHERE t.together IS NOT NULL
$$;
COMMENT ON FUNCTION preview_member_tiers(bigint, bigint) IS
'What merge_members() would do to tiers, as preview_merge() shows it: for each ladder the tiers of the survivor, of the absorbed, and the one that they would have together.';

CREATE FUNCTION erase_tier_events(member_ids bigint[]) RETURNS bigint
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_erase_tier_events';
COMMENT ON FUNCTION erase_tier_events(bigint[]) IS
'Erases references of the facts of members; returns how many had one. Part of forget_member(). Error: 42501 not the owner of the tables.';

CREATE FUNCTION forget_member_tiers(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.tier_grant g SET reason = NULL, end_reason = NULL
		WHERE g.member_id = ANY ($1) AND (g.reason IS NOT NULL OR g.end_reason IS NOT NULL)$q$, $1);
	SELECT loyalty.erase_tier_events($1)
$$;
COMMENT ON FUNCTION forget_member_tiers(bigint[]) IS
'What forget_member() means here: reasons of grants and references of facts are deleted. Levels, dates and amounts stay with the number of the member, as the ledger does. Part of forget_member().';
