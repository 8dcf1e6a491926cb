/*
 * trial: what must hold.
 */

CREATE FUNCTION check_trial(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'shares', NULL::bigint, NULL::text, NULL::bigint, format('shares of trial %s are %s', t.trial, t.shares)
	FROM loyalty.trial t WHERE (SELECT sum(s) FROM unnest(t.shares) s) IS DISTINCT FROM 1 OR EXISTS (SELECT FROM unnest(t.shares) s WHERE s * 10000 <> trunc(s * 10000) OR s <= 0)
	UNION ALL
	SELECT 'exposure', e.member_id, NULL, NULL, format('exposure %s is of trial %s, %s', e.exposure_id, e.trial,
		CASE WHEN t.trial IS NULL THEN 'which there is not' ELSE 'in whose control the member is' END)
	FROM loyalty.trial_exposure e LEFT JOIN loyalty.trial t ON t.trial = e.trial
	WHERE t.trial IS NULL OR loyalty.arm_of(t.trial, e.member_id, t.shares, t.hash) = 0
	UNION ALL
	SELECT 'holdout', a.member_id, a.currency, a.entry_id, format('award %s gives %s points of campaign %s, and the member was held out by trial %s', a.award_id, a.points, a.campaign, v.definition #>> '{treat,trial}')
	FROM loyalty.award a JOIN loyalty.campaign_version v ON v.campaign = a.campaign AND v.version = a.version
	WHERE a.points > 0 AND jsonb_typeof(v.definition #> '{treat,trial}') = 'string' AND v.definition -> 'treat' = jsonb_build_object('trial', v.definition #> '{treat,trial}')
		AND (a.inputs ->> ('trial:' || (v.definition #>> '{treat,trial}')))::boolean IS FALSE
	UNION ALL
	SELECT 'trial', NULL, NULL, NULL, format('campaign %s treats by trial %s, which there is not, so that it gives nothing', v.campaign, n.name)
	FROM (SELECT DISTINCT ON (w.campaign) w.campaign, w.definition FROM loyalty.campaign_version w ORDER BY w.campaign, w.version DESC) v,
		jsonb_path_query(v.definition, '$.treat.**.trial', silent => true) q,
		LATERAL (SELECT q #>> '{}' AS name WHERE jsonb_typeof(q) = 'string' UNION ALL SELECT k FROM jsonb_object_keys(CASE jsonb_typeof(q) WHEN 'object' THEN q ELSE '{}' END) k) n
	WHERE NOT EXISTS (SELECT FROM loyalty.trial t WHERE t.trial = n.name)
$$;
COMMENT ON FUNCTION check_trial() IS
'Every invariant of room trial: a row for each violation. Shares sum to 1; exposures are of members whom a trial treats; no campaign gives points to whom it holds out; trials that campaigns name are there. Part of check_all().';
