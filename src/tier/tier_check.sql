/*
 * tier: its invariants.
 */

CREATE FUNCTION tier_problem(member_id bigint, ladder text) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_tier_problem';
COMMENT ON FUNCTION tier_problem(bigint, text) IS
'What is wrong with the stored tier and history of a member, against a replay of all facts; NULL when nothing is.';

CREATE FUNCTION check_tier(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT 'state', p.member_id, NULL::text, NULL::bigint, format('%s: %s', p.ladder, p.problem)
	FROM (SELECT s.member_id, s.ladder, CASE WHEN EXISTS (SELECT FROM loyalty.ladder l JOIN loyalty.ladder_version v ON v.ladder = l.ladder WHERE l.ladder = s.ladder)
			THEN loyalty.tier_problem(s.member_id, s.ladder) ELSE 'there is no such ladder' END AS problem
		FROM loyalty.tier_state s WHERE (behind IS NULL OR s.member_id > behind) AND (up_to IS NULL OR s.member_id <= up_to)) p
	WHERE p.problem IS NOT NULL;

	RETURN QUERY
	SELECT 'history', h.member_id, NULL::text, NULL::bigint, format('%s: the row from %s ends at %s, the next begins at %s', h.ladder, h.starts_at, h.ends_at, h.next_at)
	FROM (SELECT x.*, lead(x.starts_at) OVER (PARTITION BY x.member_id, x.ladder ORDER BY x.starts_at) AS next_at FROM loyalty.tier_history x
		WHERE (behind IS NULL OR x.member_id > behind) AND (up_to IS NULL OR x.member_id <= up_to)) h
	WHERE h.ends_at IS DISTINCT FROM h.next_at
	UNION ALL
	SELECT 'state', h.member_id, NULL, NULL, format('%s: history without a state', h.ladder)
	FROM (SELECT DISTINCT x.member_id, x.ladder FROM loyalty.tier_history x
		WHERE (behind IS NULL OR x.member_id > behind) AND (up_to IS NULL OR x.member_id <= up_to)) h
	WHERE NOT EXISTS (SELECT FROM loyalty.tier_state s WHERE s.member_id = h.member_id AND s.ladder = h.ladder);

	RETURN QUERY
	SELECT 'grant', g.member_id, NULL::text, NULL::bigint, format('grant %s: no level %s on ladder %s', g.grant_id, g.level, g.ladder)
	FROM loyalty.tier_grant g
	WHERE (behind IS NULL OR g.member_id > behind) AND (up_to IS NULL OR g.member_id <= up_to)
		AND NOT EXISTS (SELECT FROM loyalty.tier_level t WHERE t.ladder = g.ladder AND t.level = g.level);

	IF behind IS NULL THEN
		RETURN QUERY
		SELECT 'version', NULL::bigint, NULL::text, NULL::bigint, format('%s: version %s is not after the one before it', v.ladder, v.version)
		FROM (SELECT x.*, lag(coalesce(x.effective_from, '-infinity')) OVER (PARTITION BY x.ladder ORDER BY x.version) AS before FROM loyalty.ladder_version x) v
		WHERE coalesce(v.effective_from, '-infinity') <= v.before
		UNION ALL
		SELECT 'measure', NULL, NULL, NULL, format('measure "%s": %s', f.measure, f.problem)
		FROM (SELECT m.measure, loyalty.stored_function_problem(m.function_name, 'bigint,timestamptz') AS problem
			FROM loyalty.tier_measure m WHERE m.function_name IS NOT NULL) f
		WHERE f.problem IS NOT NULL;
	END IF;
END
$$;
COMMENT ON FUNCTION check_tier(bigint, bigint) IS
'Every invariant of room tier, of members as check_all() takes them: a row for each violation. Stored states, in each column, and histories are what a replay of all facts gives, but for entries that change nothing but the progress, and what wallets note of these is of their states; histories have neither gaps nor overlaps (these a constraint refuses, too); functions of measures are there and may run. Part of check_all().';
