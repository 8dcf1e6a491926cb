/*
 * rule: what limits have counted, counted again.
 */

CREATE FUNCTION counter_differences(member_ids bigint[], behind bigint, up_to bigint, OUT member_id bigint, OUT counter text, OUT period date,
	OUT used bigint, OUT counted bigint) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH held AS (
		SELECT a.canonical, a.home_id, a.activity_id, w.window_start, w.cause, w.campaign, w.effect, w.currency, sum(w.points) AS points,
			(array_agg(w.version ORDER BY w.award_id DESC))[1] AS version, (array_agg(w.local_day ORDER BY w.award_id DESC))[1] AS local_day
		FROM loyalty.award w, LATERAL (SELECT loyalty.canonical_member(w.member_id) AS canonical,
			CASE WHEN w.window_start IS NULL THEN w.member_id END AS home_id,
			CASE WHEN w.window_start IS NULL AND w.cause IS NULL THEN w.activity_id END AS activity_id) a
		WHERE (member_ids IS NULL OR w.member_id = ANY (member_ids)) AND (behind IS NULL OR a.canonical > behind) AND (up_to IS NULL OR a.canonical <= up_to)
		GROUP BY a.canonical, a.home_id, a.activity_id, w.window_start, w.cause, w.campaign, w.effect, w.currency
	), counted AS (
		SELECT h.canonical, l.counter, p.period, (CASE WHEN l.in_times THEN count(DISTINCT (CASE WHEN h.window_start IS NOT NULL THEN h.campaign END, h.home_id, h.activity_id, h.window_start, h.cause))
			ELSE sum(h.points) END)::bigint AS counted
		FROM held h JOIN loyalty.campaign_version v ON v.campaign = h.campaign AND v.version = h.version,
			loyalty.campaign_limits(v.campaign, v.definition) l,
			LATERAL (SELECT CASE l.within WHEN 'lifetime' THEN '2000-01-01'::date ELSE date_trunc(l.within, h.local_day)::date END AS period) p
		WHERE h.points > 0 AND (l.in_times OR l.currency = h.currency)
		GROUP BY h.canonical, l.counter, l.in_times, p.period
	), stored AS (
		SELECT m.canonical, k.counter, k.period, sum(k.used)::bigint AS used
		FROM loyalty.award_counter k, LATERAL (SELECT loyalty.canonical_member(k.member_id) AS canonical) m
		WHERE (member_ids IS NULL OR k.member_id = ANY (member_ids)) AND (behind IS NULL OR m.canonical > behind) AND (up_to IS NULL OR m.canonical <= up_to)
		GROUP BY m.canonical, k.counter, k.period
	)
	SELECT coalesce(c.canonical, s.canonical), coalesce(c.counter, s.counter), coalesce(c.period, s.period), coalesce(s.used, 0), coalesce(c.counted, 0)
	FROM counted c FULL JOIN stored s ON s.canonical = c.canonical AND s.counter = c.counter AND s.period = c.period
	WHERE coalesce(c.counted, 0) <> coalesce(s.used, 0);
END
$$;
COMMENT ON FUNCTION counter_differences(bigint[], bigint, bigint) IS
'Where limits by member have counted something else than awards say: of members with all their numbers (NULL: of those whose canonical number is greater than behind, up to up_to). Part of check_rule() and of merges.';

CREATE FUNCTION lost_steps(member_ids bigint[], ladder text, from_level text, to_level text, at timestamptz) RETURNS SETOF text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH rank AS (
		SELECT l.definition ->> 'level' AS level, l.n
		FROM (SELECT v.definition FROM loyalty.ladder_version v WHERE v.ladder = $2 ORDER BY v.version DESC LIMIT 1) v,
			jsonb_array_elements(v.definition -> 'levels') WITH ORDINALITY l (definition, n)
	), goal AS (
		SELECT coalesce(max(r.n), 0) AS n FROM rank r WHERE r.level = $4
	), step AS (
		SELECT w.member_id, w.cause, split_part(w.cause, ':', 3) AS level, (array_agg(w.at ORDER BY w.award_id))[1] AS at
		FROM loyalty.award w WHERE w.member_id = ANY ($1) AND w.cause IS NOT NULL AND starts_with(w.cause, format('tier_changed:%s:', $2))
		GROUP BY w.member_id, w.cause
	)
	SELECT s.cause FROM goal g, step s LEFT JOIN rank r ON r.level = s.level
	WHERE (s.level = $3 OR r.n > g.n)
		AND NOT EXISTS (SELECT FROM loyalty.tier_history h LEFT JOIN rank k ON k.level = h.level
			WHERE h.member_id = s.member_id AND h.ladder = $2 AND h.starts_at > s.at AND h.starts_at < $5 AND coalesce(k.n, 0) <= g.n)
	GROUP BY s.cause ORDER BY min(s.at), s.cause
$$;
COMMENT ON FUNCTION lost_steps(bigint[], text, text, text, timestamptz) IS
'Of a fall of a tier, because something was returned, from one level to another: the causes of awards for the steps that are lost with it, which are those above that level since the member was last there. Steps that time ended before stay. Part of decisions.';

CREATE FUNCTION count_anew(member_id bigint) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO loyalty.award_counter AS k (member_id, counter, period, used)
	SELECT d.member_id, d.counter, d.period, d.counted - d.used FROM loyalty.counter_differences(loyalty.numbers_of($1), NULL, NULL) d
	ON CONFLICT ON CONSTRAINT award_counter_pkey DO UPDATE SET used = k.used + excluded.used
$$;
COMMENT ON FUNCTION count_anew(bigint) IS
'Brings what limits have counted of a member to what its awards say, as its canonical number has it. Its state is locked. Part of merges.';

CREATE FUNCTION windows_of_both(members bigint[], others bigint[], OUT name text, OUT windows bigint) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('campaign/%s/times', h.campaign), count(DISTINCT h.window_start)
	FROM (SELECT w.campaign, w.window_start
		FROM loyalty.award w JOIN loyalty.campaign_version v ON v.campaign = w.campaign AND v.version = w.version
		WHERE w.member_id = ANY (members || others) AND w.window_start IS NOT NULL
		GROUP BY w.campaign, w.window_start
		HAVING (array_agg(v.definition ORDER BY w.award_id DESC))[1] #> '{limits,total,times}' IS NOT NULL
			AND sum(w.points) FILTER (WHERE w.member_id = ANY (members)) > 0 AND sum(w.points) FILTER (WHERE w.member_id = ANY (others)) > 0) h
	GROUP BY h.campaign ORDER BY 1
$$;
COMMENT ON FUNCTION windows_of_both(bigint[], bigint[]) IS
'Of how many windows members and others both have something, by the total in times that counts each once for a person: its name in escrow. Part of merges.';

CREATE FUNCTION count_merged(canonical_id bigint, absorbed_id bigint) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	theirs CONSTANT bigint[] := loyalty.member_tree(absorbed_id);
	others CONSTANT bigint[] := ARRAY(SELECT n FROM unnest(loyalty.numbers_of(canonical_id)) n WHERE n <> ALL (theirs) ORDER BY 1);
BEGIN
	PERFORM loyalty.count_anew(canonical_id);
	PERFORM loyalty.put_into_escrow(b.name, b.windows) FROM loyalty.windows_of_both(theirs, others) b;
END
$$;
COMMENT ON FUNCTION count_merged(bigint, bigint) IS
'What a merge means to limits in times: of a window that both members have had something of, one is counted for the two. Called where it is told that members were merged, with their states locked.';

CREATE FUNCTION count_parted(canonical_id bigint, separated_id bigint) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.count_anew(m) FROM (SELECT unnest(ARRAY[canonical_id, separated_id]) AS m ORDER BY 1) x;
	-- what was promised stays, also where the total has been used up since
	PERFORM loyalty.change_escrow(b.name, -b.windows) FROM loyalty.windows_of_both(loyalty.numbers_of(canonical_id), loyalty.numbers_of(separated_id)) b;
END
$$;
COMMENT ON FUNCTION count_parted(bigint, bigint) IS
'What the undoing of a merge means to limits: each of the two counts what it has itself. Called where it is told that a merge was undone, with their states locked.';
