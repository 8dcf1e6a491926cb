/*
 * rule: what must hold.
 */

CREATE FUNCTION award_violations(member_id bigint, activity_id bigint, OUT campaign text, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE ROWS 1 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_award_violations';
COMMENT ON FUNCTION award_violations(bigint, bigint) IS 'Where what an activity holds is not what is decided for it once more. Part of check_rule().';

CREATE FUNCTION campaign_limits(campaign text, definition jsonb, OUT counter text, OUT in_times boolean, OUT currency text, OUT within text, OUT most bigint, OUT name text)
RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 3 AS 'MODULE_PATHNAME', 'loyalty_campaign_limits';
COMMENT ON FUNCTION campaign_limits(text, jsonb) IS 'The limits by member and calendar period of a definition. Part of check_rule().';

CREATE FUNCTION check_rule_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	a record;
BEGIN
	RETURN QUERY
	WITH total AS (
		SELECT DISTINCT ON (v.campaign, t.what) v.campaign, t.what, t.total
		FROM loyalty.campaign_version v, loyalty.campaign_totals(v.definition) t ORDER BY v.campaign, t.what, v.version DESC
	), held AS MATERIALIZED (
		-- of each member, where it is
		SELECT w.campaign, w.what, count(DISTINCT (w.member_id, w.activity_id, w.window_start, w.cause)) AS times, sum(w.points) FILTER (WHERE w.currency = w.of_total) AS points
		FROM (SELECT w.campaign, x.what, loyalty.canonical_member(w.member_id) AS person, CASE WHEN w.window_start IS NULL THEN w.member_id ELSE loyalty.canonical_member(w.member_id) END AS member_id,
				CASE WHEN w.window_start IS NULL AND w.cause IS NULL THEN w.activity_id END AS activity_id, w.window_start, w.cause, w.currency,
				sum(w.points) AS points,
				-- all that is held counts by the version that decided last
				(array_agg(v.definition ORDER BY w.award_id DESC))[1] #> ARRAY['limits', 'total', x.what] IS NOT NULL AS counts,
				coalesce((array_agg(v.definition ORDER BY w.award_id DESC))[1] #>> '{limits,total,currency}', 'points') AS of_total
			FROM loyalty.award w JOIN loyalty.campaign_version v ON v.campaign = w.campaign AND v.version = w.version,
				(VALUES ('times'), ('points')) x (what)
			WHERE w.campaign IN (SELECT t.campaign FROM total t)
			GROUP BY 1, 2, 3, 4, 5, 6, 7, 8) w
		WHERE w.points > 0 AND w.counts GROUP BY w.person, w.campaign, w.what
	)
	SELECT 'budget', NULL::bigint, NULL::text, NULL::bigint, format('campaign %s: of %s %s, %s are left and %s are held', t.campaign, t.total, t.what, l.amount, h.amount)
	FROM total t, LATERAL (SELECT coalesce(loyalty.escrow_left(format('campaign/%s/%s', t.campaign, t.what)), 0) AS amount) l,
	LATERAL (SELECT coalesce(CASE t.what WHEN 'times' THEN sum(w.times) ELSE sum(w.points) END, 0) AS amount
		FROM held w WHERE w.campaign = t.campaign AND w.what = t.what) h
	WHERE l.amount + h.amount <> t.total;

	-- points of a member in the wallet of another, such as a household
	IF loyalty.tables_are_spread() THEN
		FOR a IN
			SELECT w.member_id, w.currency, w.entry_id, w.of_entry_id IS NULL AS more, sum(w.points) AS points, max(w.wallet_id) AS wallet_id FROM loyalty.award w
			WHERE w.entry_id IS NOT NULL AND w.wallet_id IS NOT NULL GROUP BY 1, 2, 3, 4
		LOOP
			detail := (SELECT e.requested FROM loyalty.all_entries() e WHERE e.member_id = a.wallet_id AND e.entry_id = a.entry_id);
			IF (CASE WHEN a.more THEN detail::numeric ELSE -detail::numeric END) IS DISTINCT FROM a.points THEN
				RETURN QUERY SELECT 'posted', a.member_id, a.currency, a.entry_id, format('its awards say %s points, the ledger says %s', a.points, detail);
			END IF;
		END LOOP;
	END IF;
END
$$;
COMMENT ON FUNCTION check_rule_totals() IS 'What all members have together: what is left of a budget and what is held is its total; and what awards say that are in wallets of others, once tables are spread. Part of check_rule().';

CREATE FUNCTION check_rule(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint,
	OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT 'decision', a.member_id, NULL::text, NULL::bigint, v.detail
	FROM (SELECT DISTINCT w.member_id, w.activity_id FROM loyalty.award w
		WHERE w.activity_id <> 0 AND (behind IS NULL OR w.member_id > behind) AND (up_to IS NULL OR w.member_id <= up_to)) a
	JOIN loyalty.activity t ON t.member_id = a.member_id AND t.activity_id = a.activity_id,
	LATERAL loyalty.award_violations(a.member_id, a.activity_id) v;

	RETURN QUERY
	SELECT 'posted', a.member_id, a.currency, a.entry_id, format('its awards say %s points, the ledger says %s', a.points, e.requested)
	FROM (SELECT w.member_id, w.currency, w.entry_id, w.of_entry_id IS NULL AS more, sum(w.points) AS points, max(w.wallet_id) AS wallet_id FROM loyalty.award w
		WHERE w.entry_id IS NOT NULL AND (behind IS NULL OR w.member_id > behind) AND (up_to IS NULL OR w.member_id <= up_to)
			AND (w.wallet_id IS NULL OR NOT loyalty.sees_part())
		GROUP BY 1, 2, 3, 4) a
	LEFT JOIN loyalty.all_entries() e ON e.entry_id = a.entry_id AND e.member_id = coalesce(a.wallet_id, e.member_id)
	WHERE (CASE WHEN a.more THEN e.requested ELSE -e.requested END) IS DISTINCT FROM a.points;

	RETURN QUERY
	SELECT 'counter', d.member_id, NULL::text, NULL::bigint, format('counter %s of %s is %s, and awards say %s', d.counter, d.period, d.used, d.counted)
	FROM loyalty.counter_differences(NULL, behind, up_to) d;

	RETURN QUERY
	SELECT 'coupon', a.member_id, NULL::text, NULL::bigint, format('campaign %s gave coupon %s of %s, which %s', a.campaign, a.item_id, a.item,
		CASE WHEN c.coupon_id IS NULL THEN 'is not there' ELSE 'was taken back, and not revoked' END)
	FROM (SELECT w.member_id, w.campaign, w.item, (array_agg(w.item_id ORDER BY w.award_id DESC))[1] AS item_id, sum(w.points) AS points
		FROM loyalty.award w WHERE w.kind = 'coupon' AND w.window_start IS NULL AND (behind IS NULL OR w.member_id > behind) AND (up_to IS NULL OR w.member_id <= up_to)
		GROUP BY w.member_id, CASE WHEN w.cause IS NULL THEN w.activity_id END, w.cause, w.campaign, w.effect, w.item) a
	LEFT JOIN loyalty.coupon c ON c.member_id = a.member_id AND c.coupon_id = a.item_id AND c.benefit = a.item
	WHERE CASE WHEN a.points > 0 THEN c.coupon_id IS NULL ELSE a.item_id IS NOT NULL AND c.ended IS NULL END;

	IF behind IS NULL AND NOT loyalty.sees_part() THEN
		RETURN QUERY SELECT t.* FROM loyalty.check_rule_totals() t;
	END IF;
END
$$;
COMMENT ON FUNCTION check_rule(bigint, bigint) IS
'Every invariant of room rule, of members as check_all() takes them: a row for each violation. What an activity holds is what is decided for it once more, from what was known of the member then; awards say what their entries say; coupons that they gave are there, and revoked where they were taken back; counters are what is held; what is left of a budget and what is held is its total. Part of check_all().';
