/*
 * liability: readers.
 */

CREATE FUNCTION past_balance(stored points_balance, member_id bigint, currency text, as_of timestamptz, known_at timestamptz) RETURNS points_balance
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_past_balance';
COMMENT ON FUNCTION past_balance(points_balance, bigint, text, timestamptz, timestamptz) IS
'The balance of a wallet, given as it is now, of its entries that were effective by as_of and recorded by known_at (NULL of either: all). Of that wallet alone: before a merge each member had its own. Part of liability().';

-- Not pinned, so that the planner can inline it: every name is qualified.
CREATE FUNCTION entry_counts(member_id bigint, entry_id bigint, as_of timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup
AS $$
	SELECT EXISTS (SELECT FROM loyalty.all_entries() e
		WHERE e.member_id OPERATOR(pg_catalog.=) ANY (loyalty.member_kin($1)) AND e.entry_id OPERATOR(pg_catalog.=) $2 AND e.effective_at OPERATOR(pg_catalog.<=) $3)
$$;
COMMENT ON FUNCTION entry_counts(bigint, bigint, timestamptz) IS 'Whether an entry of a member, or of one who was merged with it, was effective by an instant. Part of deferral_schedule(), campaign_cost() and trial_costs().';

CREATE FUNCTION redemption_triangle(currency text DEFAULT 'points', as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS triangle_cell[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
DECLARE
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	until CONSTANT timestamptz := coalesce(as_of, 'infinity');
	known CONSTANT timestamptz := coalesce(known_at, 'infinity');
BEGIN
	RETURN (
		SELECT loyalty.entry_triangle_agg(x.kind, x.points, x.effective_at, x.expires_at, x.lots, x.of_kind, x.origin_at, 'month', zone)
		FROM (
			SELECT e.kind, e.points, e.effective_at, e.expires_at, e.lots, NULL::text AS of_kind, NULL::timestamptz AS origin_at
			FROM loyalty.all_entries() e
			WHERE e.currency = redemption_triangle.currency AND e.kind IN ('earn', 'redeem', 'capture', 'adjust') AND e.effective_at <= until AND e.recorded_at <= known
			UNION ALL
			-- reversals, and what they are of; of the reversal of a reversal what that was of
			SELECT e.kind, e.points, e.effective_at, NULL, e.lots, t.kind, coalesce(o.effective_at, t.effective_at)
			FROM loyalty.all_entries() e CROSS JOIN LATERAL (SELECT loyalty.member_kin(e.member_id) AS kin OFFSET 0) k
			JOIN loyalty.all_entries() t ON t.member_id = ANY (k.kin) AND t.entry_id = e.target_entry_id
			LEFT JOIN loyalty.all_entries() o ON t.kind = 'reverse' AND o.member_id = ANY (k.kin) AND o.entry_id = t.target_entry_id
			WHERE e.currency = redemption_triangle.currency AND e.kind = 'reverse' AND e.points <> 0 AND e.effective_at <= until AND e.recorded_at <= known
		) x);
END
$$;
COMMENT ON FUNCTION redemption_triangle(text, timestamptz, timestamptz) IS
'What was issued in each month of a currency, and redeemed at which age in months, from the entries that were effective by as_of and recorded by known_at (NULL of either: all). A lot belongs to the month of its earn, also after transfers and merges. What is taken back was never issued; a refund is a negative redemption at its own instant; points earned into debt are redeemed at once; what is left when a lot expires, as the lot was opened, has expired. Of lots that were joined (more than 64 in a wallet) the first one''s month counts; pending points that repay debt when they become available are in no entry, and count as left. Error: LY102.';

CREATE FUNCTION outstanding_by(currency text, as_of timestamptz, known_at timestamptz, by text,
	OUT cell text, OUT issued_in date, OUT lives_until date, OUT available bigint, OUT pending bigint, OUT held bigint, OUT owed bigint) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	code CONSTANT text := currency;
	ladder CONSTANT text := substr(by, 6);
BEGIN
	IF by IS NULL OR by IN ('issued', 'expires') THEN
		RETURN QUERY
		SELECT CASE by WHEN 'issued' THEN to_char(c.issued_in, 'YYYY-MM') WHEN 'expires' THEN CASE WHEN c.issued_in IS NOT NULL THEN coalesce(to_char(c.lives_until, 'YYYY-MM'), 'never') END END,
			c.issued_in, c.lives_until, c.available, c.pending, c.held, c.owed
		FROM unnest((SELECT loyalty.outstanding_agg(loyalty.past_balance(w.balance, w.member_id, w.currency, as_of, known_at), as_of, 'month', zone)
			FROM loyalty.wallet w WHERE w.currency = code)) c;
	ELSIF by LIKE 'tier:%' THEN
		RETURN QUERY
		SELECT g.level, (c).issued_in, (c).lives_until, (c).available, (c).pending, (c).held, (c).owed
		FROM (SELECT coalesce(loyalty.tier_of(w.member_id, ladder, coalesce(as_of, statement_timestamp())), 'none') AS level,
				unnest(loyalty.outstanding_agg(loyalty.past_balance(w.balance, w.member_id, w.currency, as_of, known_at), as_of, 'month', zone)) AS c
			FROM loyalty.wallet w WHERE w.currency = code GROUP BY 1) g;
	ELSIF by = 'campaign' THEN
		RETURN QUERY
		WITH lot AS (
			SELECT l.lot_id, l.points, l.state, date_trunc('month', l.earned_at AT TIME ZONE zone)::date AS issued_in,
				date_trunc('month', (l.expires_at - interval '1 microsecond') AT TIME ZONE zone)::date AS lives_until
			FROM loyalty.wallet w, LATERAL (SELECT loyalty.past_balance(w.balance, w.member_id, w.currency, as_of, known_at) AS balance) p,
				loyalty.balance_lots(p.balance, coalesce(as_of, greatest(statement_timestamp(), loyalty.last_effective_at(p.balance)))) l
			WHERE w.currency = code AND l.state <> 'expired'
		), share AS (
			-- an entry may be of several campaigns: each has the next of its points
			SELECT s.entry_id, s.campaign, sum(s.points) OVER (PARTITION BY s.entry_id ORDER BY s.campaign) - s.points AS from_point,
				sum(s.points) OVER (PARTITION BY s.entry_id ORDER BY s.campaign) AS to_point, sum(s.points) OVER (PARTITION BY s.entry_id) AS points
			FROM (SELECT a.entry_id, a.campaign, sum(a.points) AS points FROM loyalty.award a WHERE a.currency = code AND a.points > 0 AND a.entry_id IS NOT NULL GROUP BY 1, 2) s
		), part AS (
			SELECT s.campaign, l.issued_in, l.lives_until, l.state,
				CASE WHEN s.campaign IS NULL THEN l.points ELSE (floor(l.points * s.to_point / s.points) - floor(l.points * s.from_point / s.points))::bigint END AS points
			FROM lot l LEFT JOIN share s ON s.entry_id = l.lot_id
		)
		SELECT coalesce(p.campaign, 'none'), p.issued_in, p.lives_until, coalesce(sum(p.points) FILTER (WHERE p.state = 'available'), 0)::bigint,
			coalesce(sum(p.points) FILTER (WHERE p.state = 'pending'), 0)::bigint, coalesce(sum(p.points) FILTER (WHERE p.state = 'held'), 0)::bigint, 0::bigint
		FROM part p GROUP BY p.campaign, p.issued_in, p.lives_until
		UNION ALL
		-- what is owed is of no campaign
		SELECT NULL, NULL, NULL, 0, 0, 0, x.owed FROM loyalty.outstanding_by(code, as_of, known_at, NULL) x WHERE x.owed > 0;
	ELSE
		RAISE EXCEPTION 'liability cannot be told by "%"', by
			USING ERRCODE = 'LY003', DETAIL = 'It can by issued, expires, campaign, and tier:<ladder>.', HINT = 'By anything else of members: join liability_members().';
	END IF;
END
$$;
COMMENT ON FUNCTION outstanding_by(text, timestamptz, timestamptz, text) IS
'What lots have left, by the month in which they were issued, the last in which they live, and something else (by). Part of liability(). Errors: LY102, LY003.';

CREATE FUNCTION redemption_shares(currency text, as_of timestamptz, known_at timestamptz, cells outstanding_cell[], OUT issued_in date, OUT lives_until date, OUT share numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	at CONSTANT timestamptz := coalesce(as_of, statement_timestamp());
	month CONSTANT date := date_trunc('month', at AT TIME ZONE zone)::date;
	estimate CONSTANT record := loyalty.estimate_at(currency, at, known_at);
BEGIN
	IF estimate.rate IS NOT NULL THEN
		-- of a cohort: what is still missing of its rate, over what it has left
		RETURN QUERY
		SELECT c.issued_in, c.lives_until, least(greatest(estimate.rate * coalesce(t.issued, 0) - coalesce(t.redeemed, 0), 0) / sum(c.points) OVER (PARTITION BY c.issued_in), 1)
		FROM (SELECT u.issued_in, u.lives_until, sum(u.available + u.pending + u.held) AS points FROM unnest(cells) u WHERE u.issued_in IS NOT NULL GROUP BY 1, 2) c
		-- behind a SELECT: the planner would compute it to guess how many rows there are
		LEFT JOIN (SELECT u.cohort, sum(u.issued) AS issued, sum(u.redeemed) AS redeemed FROM unnest((SELECT loyalty.redemption_triangle(currency, as_of, known_at))) u GROUP BY u.cohort) t
			ON t.cohort = c.issued_in
		WHERE c.points > 0;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT c.issued_in, c.lives_until, CASE WHEN estimate.hazards IS NULL THEN 1
		ELSE loyalty.redeemed_share(estimate.hazards, estimate.tail, loyalty.months_between(c.issued_in, month), loyalty.months_between(c.issued_in, c.lives_until)) END
	FROM (SELECT DISTINCT u.issued_in, u.lives_until FROM unnest(cells) u WHERE u.issued_in IS NOT NULL) c;
END
$$;
COMMENT ON FUNCTION redemption_shares(text, timestamptz, timestamptz, outstanding_cell[]) IS
'What part of the points of each cell will be redeemed, by the estimate in force: of a rate, what is missing of it in the cohort; of hazards, by age and expiry; all where there is none. cells: those of the whole currency. Part of liability(). Error: LY102.';

CREATE FUNCTION months_between(from_month date, to_month date) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (extract(year FROM $2) * 12 + extract(month FROM $2) - extract(year FROM $1) * 12 - extract(month FROM $1))::integer
$$;
COMMENT ON FUNCTION months_between(date, date) IS 'How many calendar months lie from one month to another; NULL where either is.';

CREATE FUNCTION liability(currency text DEFAULT 'points', as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL, by text DEFAULT NULL,
	OUT cell text, OUT points bigint, OUT pending bigint, OUT held bigint, OUT owed bigint, OUT expected_points numeric, OUT breakage_points numeric,
	OUT value numeric, OUT cost numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	price CONSTANT record := loyalty.point_value_at(currency, as_of, known_at);
BEGIN
	IF NOT isfinite(as_of) OR NOT isfinite(known_at) THEN
		RAISE EXCEPTION 'as_of and known_at must be finite instants'
			USING ERRCODE = 'LY003', DETAIL = format('They are %s and %s.', coalesce(as_of::text, 'NULL'), coalesce(known_at::text, 'NULL')), HINT = 'Leave them out for now.';
	END IF;
	RETURN QUERY
	WITH o AS MATERIALIZED (
		SELECT * FROM loyalty.outstanding_by(currency, as_of, known_at, by)
	), s AS MATERIALIZED (
		SELECT * FROM loyalty.redemption_shares(currency, as_of, known_at, (SELECT array_agg((o.issued_in, o.lives_until, o.available, o.pending, o.held, o.owed)::loyalty.outstanding_cell) FROM o))
	), f AS (
		SELECT o.cell, coalesce(sum(o.available + o.pending + o.held), 0)::bigint AS points, coalesce(sum(o.pending), 0)::bigint AS pending, coalesce(sum(o.held), 0)::bigint AS held,
			coalesce(sum(o.owed), 0)::bigint AS owed, round(coalesce(sum((o.available + o.pending + o.held) * s.share), 0), 2) AS expected
		FROM (SELECT by IS NULL AS alone) x LEFT JOIN o ON true LEFT JOIN s ON s.issued_in = o.issued_in AND s.lives_until IS NOT DISTINCT FROM o.lives_until
		WHERE x.alone OR o.issued_in IS NOT NULL OR o.owed IS NOT NULL
		GROUP BY o.cell
	)
	SELECT f.cell, f.points, f.pending, f.held, f.owed, f.expected, f.points - f.expected, round(f.expected * price.value, 2), round(f.expected * price.cost, 2)
	FROM f ORDER BY f.cell;
END
$$;
COMMENT ON FUNCTION liability(text, timestamptz, timestamptz, text) IS
'What members may redeem, as of an instant and as known at another (NULL of either: now): one row, in which merged members count once, what has expired does not, and nobody''s posting of meanwhile is an error. points is what is available, pending and held; owed what members owe, which pays nobody else''s points; expected_points what will be redeemed, by the estimate in force, breakage_points the rest; value and cost what the expected points are worth and will cost (NULL where set_point_value() has said nothing). by: a row for each month of issue (issued), month of expiry (expires), campaign, or level of a ladder (tier:club). Errors: LY102, LY003.';

CREATE FUNCTION liability_members(currency text DEFAULT 'points', as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT member_id bigint, OUT points bigint, OUT pending bigint, OUT held bigint, OUT owed bigint, OUT expected_points numeric, OUT value numeric, OUT cost numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	code CONSTANT text := currency;
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	price CONSTANT record := loyalty.point_value_at(currency, as_of, known_at);
BEGIN
	RETURN QUERY
	WITH o AS MATERIALIZED (
		SELECT w.member_id, unnest(loyalty.outstanding_agg(loyalty.past_balance(w.balance, w.member_id, w.currency, as_of, known_at), as_of, 'month', zone)) AS c
		FROM loyalty.wallet w WHERE w.currency = code GROUP BY w.member_id
	), s AS MATERIALIZED (
		SELECT * FROM loyalty.redemption_shares(code, as_of, known_at, (SELECT array_agg(o.c) FROM o))
	), f AS (
		SELECT o.member_id, sum((o.c).available + (o.c).pending + (o.c).held)::bigint AS points, sum((o.c).pending)::bigint AS pending, sum((o.c).held)::bigint AS held,
			sum((o.c).owed)::bigint AS owed, round(coalesce(sum(((o.c).available + (o.c).pending + (o.c).held) * s.share), 0), 2) AS expected
		FROM o LEFT JOIN s ON s.issued_in = (o.c).issued_in AND s.lives_until IS NOT DISTINCT FROM (o.c).lives_until
		GROUP BY o.member_id
	)
	SELECT f.member_id, f.points, f.pending, f.held, f.owed, f.expected, round(f.expected * price.value, 2), round(f.expected * price.cost, 2)
	FROM f;
END
$$;
COMMENT ON FUNCTION liability_members(text, timestamptz, timestamptz) IS
'liability() by member: whoever has points or owes some. For groups of one''s own, such as segments: join it. Errors: LY102, LY003.';

CREATE FUNCTION redemption_forecast(currency text DEFAULT 'points', months integer DEFAULT 12, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT month date, OUT redeemed numeric, OUT expired numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 12 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	at CONSTANT timestamptz := coalesce(as_of, statement_timestamp());
	first CONSTANT date := date_trunc('month', at AT TIME ZONE zone)::date;
	estimate CONSTANT record := loyalty.estimate_at(currency, at, known_at);
	redeemed_in numeric[] := array_fill(0::numeric, ARRAY[months]);
	expired_in numeric[] := array_fill(0::numeric, ARRAY[months]);
	c record;
	left_over numeric;
	now_redeemed numeric;
	life integer;
BEGIN
	IF months IS NULL OR months < 1 OR months > 1200 THEN
		RAISE EXCEPTION 'months must be from 1 to 1200'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(months::text, 'NULL')), HINT = 'Say how many months ahead are wanted.';
	END IF;
	FOR c IN
		WITH o AS MATERIALIZED (SELECT * FROM loyalty.outstanding_by(currency, as_of, known_at, NULL))
		SELECT o.issued_in, o.lives_until, sum(o.available + o.pending + o.held) AS points, s.share
		FROM o JOIN loyalty.redemption_shares(currency, as_of, known_at, (SELECT array_agg((o.issued_in, o.lives_until, o.available, o.pending, o.held, o.owed)::loyalty.outstanding_cell) FROM o)) s
			ON s.issued_in = o.issued_in AND s.lives_until IS NOT DISTINCT FROM o.lives_until
		GROUP BY o.issued_in, o.lives_until, s.share
	LOOP
		left_over := c.points;
		life := CASE WHEN c.lives_until < first THEN 0 ELSE loyalty.months_between(first, c.lives_until) END;
		FOR m IN 0 .. least(coalesce(life, months - 1), months - 1) LOOP
			now_redeemed := CASE
				WHEN estimate.hazards IS NOT NULL THEN left_over * coalesce(estimate.hazards[loyalty.months_between(c.issued_in, first) + m + 1], estimate.tail)
				-- a share says nothing of when: alike in each month of its life, or of a year where that has no end
				WHEN m <= coalesce(life, 11) THEN c.points * c.share / (coalesce(life, 11) + 1)
				ELSE 0 END;
			redeemed_in[m + 1] := redeemed_in[m + 1] + now_redeemed;
			left_over := left_over - now_redeemed;
			IF m = life THEN
				expired_in[m + 1] := expired_in[m + 1] + left_over;
			END IF;
		END LOOP;
	END LOOP;
	FOR m IN 0 .. months - 1 LOOP
		month := (first + make_interval(months => m))::date; redeemed := round(redeemed_in[m + 1], 2); expired := round(expired_in[m + 1], 2);
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION redemption_forecast(text, integer, timestamptz, timestamptz) IS
'What of the points that are there as of an instant (NULL: now) will be redeemed in each of the next months, the running one in full, and what will expire. By hazards, where they are the estimate; of a rate, or without an estimate, what will be redeemed is spread alike over the months until expiry, or over a year. What will be issued is not in it. Errors: LY102, LY003.';
