/*
 * trial: readers.
 */

CREATE FUNCTION trial_arm(member_id bigint, trial text) RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.arm_of(t.trial, loyalty.canonical_member($1), t.shares, t.hash) FROM loyalty.trial t WHERE t.trial = loyalty.require_trial($2)
$$;
COMMENT ON FUNCTION trial_arm(bigint, text) IS
'The arm of a member in a trial, from 0, which is the control; of one who was merged that of the member who stands for it. Error: LY801.';

CREATE FUNCTION trial_campaigns(trial text, place text DEFAULT 'treat') RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE ROWS 2 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT DISTINCT v.campaign FROM loyalty.campaign_version v
	WHERE jsonb_path_exists(v.definition -> $2, '$.**.trial ? (@ == $t || exists (@.keyvalue() ? (@.key == $t)))', jsonb_build_object('t', $1), true)
$$;
COMMENT ON FUNCTION trial_campaigns(text, text) IS 'The campaigns that name a trial in a part of their definition, "treat" or "when", in any version.';

CREATE FUNCTION current_channel_costs(known_at timestamptz DEFAULT NULL, OUT channel text, OUT from_at timestamptz, OUT until timestamptz, OUT amount numeric) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT DISTINCT ON (c.channel, c.from_at, c.until) c.channel, c.from_at, c.until, c.amount
	FROM loyalty.channel_cost c
	WHERE $1 IS NULL OR c.recorded_at <= $1
	ORDER BY c.channel, c.from_at, c.until, c.cost_id DESC
$$;
COMMENT ON FUNCTION current_channel_costs(timestamptz) IS 'What channels cost in periods, by what was said last, as known at an instant (NULL: now).';

CREATE FUNCTION trial_members(trial text, as_of timestamptz DEFAULT NULL,
	OUT member_id bigint, OUT arm integer, OUT since timestamptz, OUT excluded boolean) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	t CONSTANT loyalty.trial := (SELECT r FROM loyalty.trial r WHERE r.trial = loyalty.require_trial($1));
	until CONSTANT timestamptz := least(t.ends_at, as_of, statement_timestamp());
BEGIN
	-- numbers that one member has, and their arms
	RETURN QUERY
	WITH merged AS MATERIALIZED (
		SELECT a.canonical_id, min(m.joined_at) AS joined_at, array_agg(DISTINCT loyalty.arm_of(t.trial, a.member_id, t.shares, t.hash)) AS arms
		FROM loyalty.member_alias a LEFT JOIN loyalty.member m ON m.member_id = a.member_id
		GROUP BY a.canonical_id
	), entered AS (
		SELECT m.member_id AS id, least(m.joined_at, g.joined_at) AS at
		FROM loyalty.member m LEFT JOIN merged g ON g.canonical_id = m.member_id
		WHERE t.population = 'members' AND m.status IN ('active', 'forgotten')
		UNION ALL
		SELECT loyalty.canonical_member(a.member_id), min(a.at)
		FROM loyalty.award a
		WHERE t.population = 'triggered' AND a.at >= t.starts_at AND a.at < until
			AND a.campaign IN (SELECT c FROM loyalty.trial_campaigns(t.trial) c)
		GROUP BY 1
		UNION ALL
		-- by the facts: nobody has to have refreshed it
		SELECT m, t.starts_at FROM loyalty.unnest_members(CASE WHEN t.population = 'audience' AND t.starts_at < until
			THEN loyalty.live_members(t.audience, 0, 9223372036854775807, t.starts_at, 'infinity') END) m
	)
	SELECT e.id, o.arm, greatest(e.at, t.starts_at), g.arms IS NOT NULL AND g.arms <> ARRAY[o.arm]
	FROM entered e LEFT JOIN merged g ON g.canonical_id = e.id, LATERAL (SELECT loyalty.arm_of(t.trial, e.id, t.shares, t.hash) AS arm) o
	WHERE greatest(e.at, t.starts_at) < until;
END
$$;
COMMENT ON FUNCTION trial_members(text, timestamptz) IS
'Who is in a trial up to an instant (NULL: now): the member, its arm, from when on what it does counts, and whether it is left out, since it was merged from members of different arms. Of a population triggered, whoever met a campaign that names the trial, held out or not; of an audience, who was in it at the start, by the facts, whether it was refreshed or not. Error: LY801.';

-- In seconds, not in days, which are those of the session's time zone.  Not
-- pinned, so that the planner can inline it: every name is qualified.
CREATE FUNCTION as_long_before(since timestamptz, until timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT $1 OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => EXTRACT(epoch FROM $2 OPERATOR(pg_catalog.-) $1)::pg_catalog.float8)
$$;
COMMENT ON FUNCTION as_long_before(timestamptz, timestamptz) IS 'The instant that lies as long before one as another lies after it. Part of trial_outcomes().';

CREATE FUNCTION trial_outcomes(trial text, as_of timestamptz DEFAULT NULL,
	OUT member_id bigint, OUT arm integer, OUT activities bigint, OUT amount numeric, OUT activities_before bigint, OUT amount_before numeric, OUT excluded boolean) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	t CONSTANT loyalty.trial := (SELECT r FROM loyalty.trial r WHERE r.trial = loyalty.require_trial($1));
	until CONSTANT timestamptz := least(t.ends_at, as_of, statement_timestamp());
BEGIN
	RETURN QUERY
	SELECT d.member_id, d.arm, count(d.amount) FILTER (WHERE NOT d.is_before), coalesce(sum(d.amount) FILTER (WHERE NOT d.is_before), 0),
		count(d.amount) FILTER (WHERE d.is_before), coalesce(sum(d.amount) FILTER (WHERE d.is_before), 0), d.excluded
	FROM (
		-- one join: a second, to those who did nothing, may be planned as a loop of all with all
		SELECT e.member_id, e.arm, e.excluded, a.at < e.since AS is_before, CASE
			WHEN a.activity_id IS NULL OR a.cancelled OR NOT a.confirmed THEN NULL
			WHEN a.revision = 0 THEN coalesce(a.amount, 0)
			-- as it was at the end of the window, or of the time before: what is returned later does not count as returned
			ELSE (SELECT CASE WHEN NOT s.returned THEN coalesce(s.amount, 0) END FROM (
				SELECT r.revision, r.was_returned AS returned, r.was_amount AS amount
				FROM loyalty.activity_revision r
				WHERE r.member_id = a.home_id AND r.activity_id = a.activity_id AND r.is_return
					AND r.at >= CASE WHEN a.at < e.since THEN e.since ELSE until END
				UNION ALL
				SELECT NULL, a.returned, a.amount
				ORDER BY 1 LIMIT 1) s) END AS amount
		FROM (
			-- each once: said for the planner
			SELECT DISTINCT ON (m.member_id) m.member_id, m.arm, m.excluded, m.since, CASE WHEN t.adjusted THEN loyalty.as_long_before(m.since, until) ELSE m.since END AS before
			FROM loyalty.trial_members(trial, as_of) m) e
		LEFT JOIN (
			SELECT coalesce(l.canonical_id, x.member_id) AS member_id, x.member_id AS home_id, x.activity_id, x.at, x.amount, x.revision, x.cancelled, x.confirmed, x.returned
			FROM loyalty.activity x LEFT JOIN loyalty.member_alias l ON l.member_id = x.member_id
			WHERE x.at >= CASE WHEN t.adjusted THEN loyalty.as_long_before(t.starts_at, until) ELSE t.starts_at END AND x.at < until AND x.kind = ANY (t.kinds) AND (t.money IS NULL OR x.money IS NULL OR x.money = t.money)) a
			ON a.member_id = e.member_id AND a.at >= e.before
		OFFSET 0) d
	GROUP BY d.member_id, d.arm, d.excluded;
END
$$;
COMMENT ON FUNCTION trial_outcomes(text, timestamptz) IS
'What everybody in a trial did up to an instant (NULL: now): one row for each member, also those who did nothing: its arm, how many activities of the trial''s kinds there are within its window, what they are worth, and, of an adjusted trial, the same of as long a time before. Of merged members all numbers together. What is returned within the window counts as returned, later it does not; what is cancelled, or not confirmed, does not count. excluded: see trial_members(). Error: LY801.';

CREATE FUNCTION trial_costs(trial text, as_of timestamptz, left_out bigint[], cost_per_point numeric,
	OUT arm integer, OUT exposed bigint, OUT points_given bigint, OUT cost numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 2 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
	t CONSTANT loyalty.trial := (SELECT r FROM loyalty.trial r WHERE r.trial = loyalty.require_trial($1));
	until CONSTANT timestamptz := least(t.ends_at, as_of, statement_timestamp());
	campaigns CONSTANT text[] := ARRAY(SELECT c FROM loyalty.trial_campaigns(trial) c UNION SELECT c FROM loyalty.trial_campaigns(trial, 'when') c);
BEGIN
	RETURN QUERY
	WITH awarded AS MATERIALIZED (
		SELECT a.member_id AS home_id, m.member_id, loyalty.arm_of(t.trial, m.member_id, t.shares, t.hash) AS arm, a.kind, a.currency, a.points, a.item_id
		FROM loyalty.award a, LATERAL (SELECT loyalty.canonical_member(a.member_id) AS member_id) m
		WHERE a.campaign = ANY (campaigns) AND a.at >= t.starts_at AND a.at < until AND a.points <> 0 AND m.member_id <> ALL (left_out)
			-- what is taken back after the window stays, as the amount of what was returned does
			AND (a.points > 0 OR a.entry_id IS NULL OR loyalty.entry_counts(coalesce(a.wallet_id, a.member_id), a.entry_id, until - interval '1 microsecond'))
	), points AS (
		-- at the cost that is given, or that of a redeemed point and the part that will be
		SELECT a.arm, sum(a.points) AS points, sum(a.points * p.cost) AS cost
		FROM (SELECT w.arm, w.currency, sum(w.points) AS points FROM awarded w WHERE w.currency IS NOT NULL GROUP BY w.arm, w.currency) a,
			LATERAL (SELECT coalesce(cost_per_point, loyalty.expected_point_cost(a.currency, until)) AS cost) p
		GROUP BY a.arm
	), coupons AS (
		-- what each takes off each of its orders, by the last that was said
		SELECT DISTINCT ON (a.home_id, c.coupon_id, c.activity_id) a.arm, CASE WHEN c.kind IN ('redeemed', 'repriced', 'redeemed_again') THEN c.discount END AS discount
		FROM (SELECT DISTINCT w.home_id, w.arm, w.item_id FROM awarded w WHERE w.kind = 'coupon') a
		JOIN loyalty.coupon_act c ON c.member_id = a.home_id AND c.coupon_id = a.item_id AND c.activity_id IS NOT NULL AND c.at < until
		ORDER BY a.home_id, c.coupon_id, c.activity_id, c.act DESC
	), reached AS MATERIALIZED (
		SELECT loyalty.arm_of(t.trial, m.member_id, t.shares, t.hash) AS arm, m.member_id, e.channel, e.at
		FROM loyalty.trial_exposure e, LATERAL (SELECT loyalty.canonical_member(e.member_id) AS member_id) m
		WHERE e.trial = t.trial AND e.at < until AND m.member_id <> ALL (left_out)
	), channels AS (
		-- the cost of a period is that of all its exposures alike
		SELECT r.arm, sum(c.amount / n.exposures) AS cost
		FROM loyalty.current_channel_costs() c,
			LATERAL (SELECT count(*) AS exposures FROM loyalty.trial_exposure e WHERE e.channel = c.channel AND e.at >= c.from_at AND e.at < c.until) n
		JOIN reached r ON true
		WHERE r.channel = c.channel AND r.at >= c.from_at AND r.at < c.until
		GROUP BY r.arm
	)
	SELECT n.arm, (SELECT count(DISTINCT r.member_id) FROM reached r WHERE r.arm = n.arm), coalesce((SELECT p.points FROM points p WHERE p.arm = n.arm), 0)::bigint,
		CASE WHEN EXISTS (SELECT FROM points p WHERE p.arm = n.arm AND p.points <> 0 AND p.cost IS NULL) THEN NULL
			ELSE coalesce((SELECT p.cost FROM points p WHERE p.arm = n.arm), 0) + coalesce((SELECT sum(c.discount) FROM coupons c WHERE c.arm = n.arm), 0)
				+ coalesce((SELECT c.cost FROM channels c WHERE c.arm = n.arm), 0) END
	FROM generate_series(0, cardinality(t.shares) - 1) n (arm);
END
$$;
COMMENT ON FUNCTION trial_costs(text, timestamptz, bigint[], numeric) IS
'What a trial cost, by arm: the points of campaigns that name it, within its time and less what was taken back in it, at cost_per_point (NULL: what set_point_value() says a redeemed point costs, times the part that will be redeemed by the estimate; where nobody has said it, the cost of an arm that got any is not known); what coupons of theirs took off orders; and its part of what channels cost, spread over their exposures. exposed: how many members were reached. left_out: members who do not count. Part of trial_report().';

CREATE FUNCTION trial_report(trial text, measure text DEFAULT NULL, as_of timestamptz DEFAULT NULL, cost_per_point numeric DEFAULT NULL,
	level double precision DEFAULT 0.95, strict boolean DEFAULT false,
	OUT arm integer, OUT members bigint, OUT mean double precision, OUT difference double precision, OUT low double precision, OUT high double precision,
	OUT p_value double precision, OUT relative double precision, OUT relative_low double precision, OUT relative_high double precision, OUT method text,
	OUT incremental double precision, OUT exposed bigint, OUT points_given bigint, OUT cost numeric, OUT cost_per_incremental numeric,
	OUT excluded bigint, OUT broken boolean, OUT secondary boolean) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 2 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	t CONSTANT loyalty.trial := (SELECT r FROM loyalty.trial r WHERE r.trial = loyalty.require_trial($1));
	what CONSTANT text := coalesce(measure, t.primary_measure);
	rate CONSTANT numeric := CASE what WHEN 'margin' THEN t.margin ELSE 1 END;
	asked_at CONSTANT timestamptz := coalesce(as_of, statement_timestamp());
	u loyalty.uplift;
	left_out bigint[];
BEGIN
	IF what NOT IN ('conversion', 'activities', 'amount', 'margin') OR rate IS NULL THEN
		RAISE EXCEPTION 'trial "%" has no measure "%"', trial, what
			USING ERRCODE = 'LY003', DETAIL = 'A measure is conversion, activities, amount, or, where the trial has a margin, margin.', HINT = 'Leave it out for the one that decides.';
	ELSIF asked_at < t.analysed_at AND strict THEN
		RAISE EXCEPTION 'trial "%" is to be looked at from % on', trial, t.analysed_at
			USING ERRCODE = 'LY803', DETAIL = 'Whoever looks again and again finds a difference sooner or later, also where there is none.', HINT = 'Wait, or leave strict out.';
	ELSIF asked_at < t.analysed_at THEN
		RAISE WARNING 'trial "%" is to be looked at from % on', trial, t.analysed_at
			USING ERRCODE = 'LY803', DETAIL = 'Whoever looks again and again finds a difference sooner or later, also where there is none.', HINT = 'Decide nothing by these figures yet.';
	END IF;
	IF what = 'conversion' THEN
		SELECT loyalty.uplift_agg(o.arm, o.activities > 0) FILTER (WHERE NOT o.excluded), coalesce(array_agg(o.member_id) FILTER (WHERE o.excluded), '{}')
		INTO u, left_out FROM loyalty.trial_outcomes(trial, as_of) o;
	ELSIF t.adjusted THEN
		SELECT loyalty.uplift_agg_cuped(o.arm, CASE what WHEN 'activities' THEN o.activities ELSE o.amount * rate END,
				CASE what WHEN 'activities' THEN o.activities_before ELSE o.amount_before * rate END) FILTER (WHERE NOT o.excluded),
			coalesce(array_agg(o.member_id) FILTER (WHERE o.excluded), '{}')
		INTO u, left_out FROM loyalty.trial_outcomes(trial, as_of) o;
	ELSE
		SELECT loyalty.uplift_agg_amount(o.arm, CASE what WHEN 'activities' THEN o.activities ELSE o.amount * rate END) FILTER (WHERE NOT o.excluded),
			coalesce(array_agg(o.member_id) FILTER (WHERE o.excluded), '{}')
		INTO u, left_out FROM loyalty.trial_outcomes(trial, as_of) o;
	END IF;
	RETURN QUERY
	SELECT c.arm, coalesce(r.members, 0), r.mean, r.difference, r.low, r.high, r.p_value, r.relative, r.relative_low, r.relative_high,
		CASE WHEN what = 'conversion' THEN 'newcombe' WHEN t.adjusted THEN 'cuped' ELSE 'welch' END,
		r.difference * r.members, c.exposed, c.points_given, round(c.cost, 2),
		CASE WHEN r.difference * r.members > 0 THEN round(c.cost / (r.difference * r.members)::numeric, 2) END,
		cardinality(left_out)::bigint, coalesce((loyalty.sample_ratio(u, t.shares)).broken, false), what <> t.primary_measure
	FROM loyalty.trial_costs(trial, as_of, left_out, cost_per_point) c LEFT JOIN loyalty.uplift_report(u, level) r ON r.arm = c.arm
	ORDER BY c.arm;
END
$$;
COMMENT ON FUNCTION trial_report(text, text, timestamptz, numeric, double precision, boolean) IS
'What a trial brought up to an instant (NULL: now), a row for each arm, also one of nobody: by assignment, whoever was reached. measure (NULL: the primary one): conversion, the share of members with an activity of the trial''s kinds; activities, how many each has; amount, what they are worth; margin, that part of it. mean to method are those of uplift_report(), with intervals of a level. incremental: what the arm''s members have more, all together, than they would have as the control; cost: see trial_costs(), at a cost of a point; cost_per_incremental: NULL where nothing was brought. excluded: members merged from different arms, who count nowhere; broken: the arms are not as large as their shares say, and no figure is to be trusted; secondary: another measure decides. Before analysed_at a warning comes, or with strict LY803. Errors: LY801, LY803, LY003.';

CREATE FUNCTION channel_report(trial text, as_of timestamptz DEFAULT NULL,
	OUT channel text, OUT arm integer, OUT exposures bigint, OUT members bigint, OUT cost numeric, OUT cost_per_member numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	t CONSTANT loyalty.trial := (SELECT r FROM loyalty.trial r WHERE r.trial = loyalty.require_trial($1));
	until CONSTANT timestamptz := least(t.ends_at, as_of, statement_timestamp());
BEGIN
	RETURN QUERY
	WITH period AS MATERIALIZED (
		-- the cost of a period is that of all its exposures alike
		SELECT c.channel, c.from_at, c.until, c.amount / n.exposures AS cost
		FROM loyalty.current_channel_costs() c,
			LATERAL (SELECT count(*) AS exposures FROM loyalty.trial_exposure e WHERE e.channel = c.channel AND e.at >= c.from_at AND e.at < c.until) n
		WHERE n.exposures > 0
	)
	SELECT r.channel, r.arm, count(*), count(DISTINCT r.member_id), round(coalesce(sum(r.cost), 0), 2), round(coalesce(sum(r.cost), 0) / count(DISTINCT r.member_id), 2)
	FROM (
		SELECT e.channel, m.member_id, loyalty.arm_of(t.trial, m.member_id, t.shares, t.hash) AS arm,
			(SELECT sum(p.cost) FROM period p WHERE p.channel = e.channel AND p.from_at <= e.at AND e.at < p.until) AS cost
		FROM loyalty.trial_exposure e, LATERAL (SELECT loyalty.canonical_member(e.member_id) AS member_id) m
		WHERE e.trial = t.trial AND e.at < until
	) r
	GROUP BY r.channel, r.arm ORDER BY r.channel, r.arm;
END
$$;
COMMENT ON FUNCTION channel_report(text, timestamptz) IS
'How far a trial got by each channel, up to an instant (NULL: now): exposures, members reached, what that cost (what the channel cost in a period is that of all its exposures in it alike), and how much for each member. No effect of a channel is told: who is reached by which one is not chance. Make each channel an arm of a trial to learn it. Error: LY801.';

CREATE FUNCTION acquisition(from_at timestamptz, until timestamptz, as_of timestamptz DEFAULT NULL, margin numeric DEFAULT 1, kinds text[] DEFAULT '{order}',
	OUT channel text, OUT members bigint, OUT cost numeric, OUT cost_per_member numeric, OUT margin_per_member numeric, OUT paid_back_after integer) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	at_most CONSTANT timestamptz := coalesce(as_of, statement_timestamp());
	zone CONSTANT text := loyalty.program_time_zone();
BEGIN
	IF NOT isfinite(from_at) OR NOT isfinite(until) OR (from_at < until) IS NOT TRUE OR NOT isfinite(at_most) OR margin IS NULL OR kinds IS NULL THEN
		RAISE EXCEPTION 'a period must be given'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s to %s.', coalesce(from_at::text, 'NULL'), coalesce(until::text, 'NULL')), HINT = 'A period begins before it ends; margin is a part of amounts, such as 0.3.';
	END IF;
	RETURN QUERY
	WITH joined AS (
		-- merged members once, by the earliest joining
		SELECT DISTINCT ON (coalesce(l.canonical_id, m.member_id)) coalesce(l.canonical_id, m.member_id) AS id, m.joined_via AS channel, m.joined_at
		FROM loyalty.member m LEFT JOIN loyalty.member_alias l ON l.member_id = m.member_id
		WHERE m.status <> 'no_person'
		ORDER BY coalesce(l.canonical_id, m.member_id), m.joined_at, m.member_id
	), cohort AS MATERIALIZED (
		SELECT j.id, j.channel, j.joined_at, j.joined_at AT TIME ZONE zone AS joined, n.n - (j.joined_at AT TIME ZONE zone + make_interval(months => n.n) > at_most AT TIME ZONE zone)::integer AS full
		FROM joined j, LATERAL (SELECT (extract(year FROM at_most AT TIME ZONE zone) * 12 + extract(month FROM at_most AT TIME ZONE zone)
			- extract(year FROM j.joined_at AT TIME ZONE zone) * 12 - extract(month FROM j.joined_at AT TIME ZONE zone))::integer AS n) n
		WHERE j.joined_at >= from_at AND j.joined_at < until AND j.joined_at < at_most
	), earned AS (
		-- in which month after joining, from 1, and by whom: those who have had as many in full
		SELECT c.channel, c.full, n.n + (a.at AT TIME ZONE zone >= c.joined + make_interval(months => n.n))::integer AS month, sum(a.amount * margin) AS margin
		FROM cohort c JOIN (
			-- as it was by then: what is returned later does not count as returned
			SELECT coalesce(l.canonical_id, a.member_id) AS id, a.at, CASE
				WHEN a.revision = 0 THEN a.amount
				ELSE (SELECT CASE WHEN NOT s.returned THEN s.amount END FROM (
					SELECT r.revision, r.was_returned AS returned, r.was_amount AS amount
					FROM loyalty.activity_revision r WHERE r.member_id = a.member_id AND r.activity_id = a.activity_id AND r.is_return AND r.at >= at_most
					UNION ALL
					SELECT NULL, a.returned, a.amount
					ORDER BY 1 LIMIT 1) s) END AS amount
			FROM loyalty.activity a LEFT JOIN loyalty.member_alias l ON l.member_id = a.member_id
			WHERE a.kind = ANY (kinds) AND a.confirmed AND NOT a.cancelled AND a.at >= from_at AND a.at < at_most) a
			ON a.id = c.id AND a.at >= c.joined_at,
			LATERAL (SELECT (extract(year FROM a.at AT TIME ZONE zone) * 12 + extract(month FROM a.at AT TIME ZONE zone)
				- extract(year FROM c.joined) * 12 - extract(month FROM c.joined))::integer AS n) n
		GROUP BY 1, 2, 3
	), size AS (
		SELECT c.channel, c.full, count(*) AS members FROM cohort c GROUP BY c.channel, c.full
	), cost AS (
		-- of a period that reaches beyond, the part that lies within
		SELECT c.channel, sum(c.amount * extract(epoch FROM least(c.until, $2, at_most) - greatest(c.from_at, $1)) / extract(epoch FROM c.until - c.from_at)) AS cost
		FROM loyalty.current_channel_costs() c WHERE c.from_at < least($2, at_most) AND c.until > $1 GROUP BY c.channel
	), total AS (
		SELECT x.channel, sum(x.members)::bigint AS members, sum(x.cost) AS cost
		FROM (SELECT s.channel, s.members, 0::numeric AS cost FROM size s UNION ALL SELECT c.channel, 0, c.cost FROM cost c) x GROUP BY x.channel
	)
	SELECT t.channel, t.members, round(t.cost, 2), CASE WHEN t.members > 0 THEN round(t.cost / t.members, 2) END,
		CASE WHEN t.members > 0 THEN round(coalesce((SELECT sum(e.margin) FROM earned e WHERE e.channel IS NOT DISTINCT FROM t.channel), 0) / t.members, 2) END,
		(SELECT min(k.month) FROM generate_series(1, (SELECT max(s.full) FROM size s WHERE s.channel IS NOT DISTINCT FROM t.channel)) k (month)
			WHERE (SELECT sum(e.margin) FROM earned e WHERE e.channel IS NOT DISTINCT FROM t.channel AND e.full >= k.month AND e.month <= k.month)
				>= t.cost / t.members * (SELECT sum(s.members) FROM size s WHERE s.channel IS NOT DISTINCT FROM t.channel AND s.full >= k.month))
	FROM total t ORDER BY t.channel;
END
$$;
COMMENT ON FUNCTION acquisition(timestamptz, timestamptz, timestamptz, numeric, text[]) IS
'What new members cost by the channel in which they joined, within a period, and when that is paid back, as of an instant (NULL: now): how many joined (merged ones once, by the earliest joining), what the channel cost (of a period that reaches beyond, the part within), per member, and the margin per member since: that part of the amounts of activities of some kinds. paid_back_after: the first month after joining, in the program''s time zone, by whose end those who have had that month in full have brought as much as they cost; NULL while there is none. It is attribution, no effect: some would have joined anyway. Error: LY003.';
