/*
 * liability: what was deferred and earned, by months.
 */

CREATE FUNCTION deferral_schedule(currency text DEFAULT 'points', as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT month date, OUT issued bigint, OUT redeemed bigint, OUT outstanding bigint, OUT expected_points numeric, OUT deferred numeric, OUT recognised numeric, OUT balance numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	code CONSTANT text := currency;
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	until CONSTANT timestamptz := coalesce(as_of, 'infinity');
	known CONSTANT timestamptz := coalesce(known_at, 'infinity');
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.point_value v WHERE v.currency = code AND v.recorded_at <= known) THEN
		RAISE EXCEPTION 'nobody has said what a point of currency "%" is worth', code
			USING ERRCODE = 'LY821', DETAIL = 'Without it no price can be shared between goods and points.', HINT = 'Say it with loyalty.set_point_value().';
	END IF;
	RETURN QUERY
	WITH o AS MATERIALIZED (
		SELECT * FROM loyalty.outstanding_by(code, as_of, known_at, NULL)
	), left_over AS (
		SELECT o.issued_in AS month, sum(o.available + o.pending + o.held)::bigint AS outstanding, sum((o.available + o.pending + o.held) * s.share) AS expected
		FROM o JOIN loyalty.redemption_shares(code, as_of, known_at, (SELECT array_agg((o.issued_in, o.lives_until, o.available, o.pending, o.held, o.owed)::loyalty.outstanding_cell) FROM o)) s
			ON s.issued_in = o.issued_in AND s.lives_until IS NOT DISTINCT FROM o.lives_until
		GROUP BY o.issued_in
	), used AS (
		SELECT u.cohort AS month, sum(u.issued)::bigint AS issued, sum(u.redeemed)::bigint AS redeemed
		FROM unnest((SELECT loyalty.redemption_triangle(code, as_of, known_at))) u GROUP BY u.cohort
	), price AS MATERIALIZED (
		-- in force from when on; the last that was said
		SELECT DISTINCT ON (v.currency, v.valid_from) v.currency, coalesce(v.valid_from, '-infinity') AS valid_from, v.value FROM loyalty.point_value v
		WHERE v.recorded_at <= known ORDER BY v.currency, v.valid_from, v.value_id DESC
	), estimate AS MATERIALIZED (
		SELECT DISTINCT ON (e.currency, e.valid_from) e.currency, coalesce(e.valid_from, '-infinity') AS valid_from, coalesce(e.rate, loyalty.redeemed_share(e.hazards, e.tail, 0, NULL)) AS rate
		FROM loyalty.redemption_estimate e WHERE e.recorded_at <= known ORDER BY e.currency, e.valid_from, e.estimate_id DESC
	), held AS (
		-- what activities hold, from when their first points were given; taken back is from when that was on
		SELECT w.member_id, w.activity_id, w.currency, min(w.at) FILTER (WHERE w.points > 0) AS at, sum(w.points) AS points
		FROM loyalty.award w
		WHERE w.currency IN (SELECT p.currency FROM price p) AND w.activity_id IS NOT NULL AND w.cause IS NULL AND w.points <> 0 AND w.recorded_at <= known AND w.at <= until
			AND (w.points > 0 OR as_of IS NULL OR loyalty.entry_counts(coalesce(w.wallet_id, w.member_id), w.entry_id, until))
		GROUP BY w.member_id, w.activity_id, w.currency HAVING sum(w.points) > 0
	), valued AS (
		SELECT h.*, (SELECT p.value FROM price p WHERE p.currency = h.currency AND p.valid_from <= h.at ORDER BY p.valid_from DESC LIMIT 1) AS value,
			coalesce((SELECT e.rate FROM estimate e WHERE e.currency = h.currency AND e.valid_from <= h.at ORDER BY e.valid_from DESC LIMIT 1), 1) AS rate
		FROM held h
	), sold AS (
		-- of several currencies each has its part of the price
		SELECT v.*, CASE WHEN a.revision = 0 THEN a.amount
			ELSE (SELECT s.amount FROM (
				SELECT r.revision, r.was_amount AS amount FROM loyalty.activity_revision r
				WHERE r.member_id = a.member_id AND r.activity_id = a.activity_id AND r.was_at IS NOT NULL AND (r.recorded_at > known OR r.is_return AND r.at > until)
				UNION ALL SELECT NULL, a.amount ORDER BY 1 LIMIT 1) s) END AS amount
		FROM (SELECT x.*, coalesce(sum(x.points * x.value * x.rate) FILTER (WHERE x.currency <> code) OVER (PARTITION BY x.member_id, x.activity_id), 0) AS beside FROM valued x) v
		JOIN loyalty.activity a ON a.member_id = v.member_id AND a.activity_id = v.activity_id
		WHERE v.currency = code
	), allocated AS (
		SELECT date_trunc('month', s.at AT TIME ZONE zone)::date AS month, sum(d.deferred) AS deferred
		FROM sold s, LATERAL loyalty.allocate_price(s.amount, s.amount + s.beside, s.points, s.value, s.rate, greatest(scale(s.amount), 2)) d
		WHERE s.amount > 0
		GROUP BY 1
	), f AS (
		SELECT m.month, coalesce(u.issued, 0) AS issued, coalesce(u.redeemed, 0) AS redeemed, coalesce(l.outstanding, 0) AS outstanding, coalesce(l.expected, 0) AS expected,
			coalesce(a.deferred, 0) AS deferred
		FROM (SELECT x.month FROM used x UNION SELECT x.month FROM left_over x UNION SELECT x.month FROM allocated x) m
		LEFT JOIN used u ON u.month = m.month LEFT JOIN left_over l ON l.month = m.month LEFT JOIN allocated a ON a.month = m.month
	)
	SELECT f.month, f.issued, f.redeemed, f.outstanding, round(f.expected, 2), f.deferred, r.recognised, f.deferred - r.recognised
	FROM f, LATERAL (SELECT round(CASE WHEN f.outstanding = 0 THEN f.deferred ELSE loyalty.recognised(f.deferred, greatest(f.redeemed, 0), greatest(f.redeemed, 0) + f.expected) END, greatest(scale(f.deferred), 2)) AS recognised) r
	ORDER BY f.month;
END
$$;
COMMENT ON FUNCTION deferral_schedule(text, timestamptz, timestamptz) IS
'By month of issue: points issued, redeemed, outstanding and expected to be redeemed yet; what of the prices of sales was deferred for points that they earned, what of that is recognised by now, and what is not (balance). As of an instant and as known at another (NULL of either: now). A price is shared by allocate_price(), at the value of a point and the estimate in force at the activity''s instant, for the points that it holds, of several currencies each for its own; it belongs to the month in which these were given first, as their lots do, wherever the activity was moved since. What is returned takes its part along. Points that no sale brought have no price. Errors: LY821 nobody has said what a point is worth, LY102.';

CREATE FUNCTION liability_figures(currency text, month date, known_at timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	ends_at CONSTANT timestamptz := (month + interval '1 month') AT TIME ZONE loyalty.zone_of_currency(currency);
BEGIN
	RETURN (SELECT jsonb_build_object('points', l.points, 'pending', l.pending, 'held', l.held, 'owed', l.owed, 'expected_points', l.expected_points, 'breakage_points', l.breakage_points,
			'value', l.value, 'cost', l.cost) FROM loyalty.liability(currency, ends_at, known_at) l)
		|| (SELECT jsonb_build_object('deferred', coalesce(sum(d.deferred), 0), 'recognised', coalesce(sum(d.recognised), 0), 'balance', coalesce(sum(d.balance), 0),
			'cohorts', coalesce(jsonb_object_agg(d.month, jsonb_build_array(d.deferred, d.recognised) ORDER BY d.month) FILTER (WHERE d.deferred <> 0), '{}'))
			FROM loyalty.deferral_schedule(currency, ends_at, known_at) d);
END
$$;
COMMENT ON FUNCTION liability_figures(text, date, timestamptz) IS 'The figures of a month as of its end and as known at an instant. Part of close_month() and check_liability(). Errors: LY102, LY821.';

CREATE FUNCTION close_digest(currency text, month date, known_at timestamptz, figures jsonb, before bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT sha256(convert_to(jsonb_build_array($1, $2 - '2000-01-01'::date, extract(epoch FROM $3), $4, encode($5, 'hex'))::text, 'UTF8'))
$$;
COMMENT ON FUNCTION close_digest(text, date, timestamptz, jsonb, bytea) IS 'The digest of a closed month: over its row, and the digest of the month before. Part of close_month() and check_liability().';

CREATE FUNCTION close_month(currency text, month date, OUT known_at timestamptz, OUT figures jsonb, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	first CONSTANT date := date_trunc('month', month)::date;
	last record;
	pending xid8;
BEGIN
	PERFORM loyalty.refuse_distributed('close_month');
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE EXCEPTION 'a month is closed in READ COMMITTED'
			USING ERRCODE = 'invalid_transaction_state', DETAIL = 'It waits for postings that are under way, and then has to see them.', HINT = 'Call it outside a transaction, or at that isolation level.';
	END IF;
	PERFORM loyalty.lock_key('close_month ' || currency);
	SELECT c.* INTO last FROM loyalty.liability_close c WHERE c.currency = close_month.currency AND c.month = first;
	IF FOUND THEN
		known_at := last.known_at; figures := last.figures; replayed := true;
		RETURN;
	END IF;
	SELECT c.* INTO last FROM loyalty.liability_close c WHERE c.currency = close_month.currency ORDER BY c.month DESC LIMIT 1;
	IF first IS NULL OR (last.month IS NOT NULL AND first <> (last.month + interval '1 month')::date) THEN
		RAISE EXCEPTION 'month % of currency "%" cannot be closed', first, currency
			USING ERRCODE = 'LY824', DETAIL = format('The last one that is closed is %s.', last.month), HINT = 'Months are closed one after the other, and none is opened again.';
	ELSIF (first + interval '1 month') AT TIME ZONE zone > clock_timestamp() THEN
		RAISE EXCEPTION 'month % of currency "%" is not over', first, currency
			USING ERRCODE = 'LY824', DETAIL = format('It ends at %s.', (first + interval '1 month') AT TIME ZONE zone), HINT = 'Close it then, or once late facts have come in.';
	END IF;
	-- whatever is recorded by then has to be committed: wait for those who are under way
	known_at := clock_timestamp();
	PERFORM pg_sleep(0.1);
	pending := pg_snapshot_xmax(pg_current_snapshot());
	WHILE EXISTS (SELECT FROM pg_snapshot_xip(pg_current_snapshot()) x WHERE x < pending) LOOP
		PERFORM pg_sleep(0.05);
	END LOOP;
	figures := loyalty.liability_figures(currency, first, known_at);
	INSERT INTO loyalty.liability_close (currency, month, known_at, figures, digest)
	VALUES (currency, first, known_at, figures, loyalty.close_digest(currency, first, known_at, figures, last.digest));
	PERFORM loyalty.keep_act('close_month', subject => format('%s %s', currency, to_char(first, 'YYYY-MM')));
	replayed := false;
END
$$;
COMMENT ON FUNCTION close_month(text, date) IS
'Closes a month of a currency (any day of it names it): keeps its figures as of its end and as known now, for ever. What is recorded later, of whatever month, is in the figures of the first month that is closed after it. Waits until every transaction that was writing has ended, so that none commits into it: set statement_timeout where somebody may be idle in his transaction. Returns the instant as known at which the figures are, and these; asked for again it returns what was stored. Errors: LY824 not the next month, or not over; LY821; LY102; 25000 another isolation level.';

CREATE FUNCTION recognised_revenue(currency text, from_month date, until_month date, OUT month date, OUT recognised numeric, OUT cumulative numeric, OUT closed boolean) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 12 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	zone CONSTANT text := loyalty.zone_of_currency(currency);
	first timestamptz;
	stored record;
	before numeric;
BEGIN
	IF from_month IS NULL OR until_month IS NULL OR from_month > until_month OR NOT isfinite(from_month) OR NOT isfinite(until_month) THEN
		RAISE EXCEPTION 'from_month and until_month must be given'
			USING ERRCODE = 'LY003', DETAIL = format('They are %s and %s.', coalesce(from_month::text, 'NULL'), coalesce(until_month::text, 'NULL')), HINT = 'Give the first and the last month that are wanted.';
	ELSIF loyalty.months_between(from_month, until_month) >= 1200 THEN
		RAISE EXCEPTION 'at most 1200 months can be asked for at once'
			USING ERRCODE = 'LY003', DETAIL = format('From %s to %s are more.', from_month, until_month), HINT = 'Give a shorter time.';
	END IF;
	first := coalesce((SELECT min(a.at) FROM loyalty.award a WHERE a.currency = recognised_revenue.currency AND a.points > 0), 'infinity');
	month := (date_trunc('month', from_month) - interval '1 month')::date;
	WHILE month <= until_month LOOP
		SELECT c.figures INTO stored FROM loyalty.liability_close c WHERE c.currency = recognised_revenue.currency AND c.month = recognised_revenue.month;
		closed := FOUND;
		IF closed THEN
			cumulative := stored.figures ->> 'recognised';
		ELSIF before IS NOT NULL AND (month + interval '1 month') AT TIME ZONE zone < first THEN
			-- nothing was sold before
			cumulative := 0;
		ELSE
			cumulative := (SELECT coalesce(sum(d.recognised), 0) FROM loyalty.deferral_schedule(currency, (month + interval '1 month') AT TIME ZONE zone) d);
		END IF;
		recognised := cumulative - before;
		IF before IS NOT NULL THEN
			RETURN NEXT;
		END IF;
		before := cumulative;
		month := (month + interval '1 month')::date;
	END LOOP;
END
$$;
COMMENT ON FUNCTION recognised_revenue(text, date, date) IS
'What was earned by points in each month, from one to another: what is recognised since the beginning as of its end, less the same of the month before. Of a closed month as known when it was closed, so that what came later is in the month after, once; of others as known now. At most 1200 months. Errors: LY821, LY102, LY003.';

CREATE FUNCTION expected_point_cost(currency text DEFAULT 'points', as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS numeric
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	price CONSTANT record := loyalty.point_value_at(currency, as_of, known_at);
	estimate CONSTANT record := loyalty.estimate_at(currency, as_of, known_at);
BEGIN
	PERFORM loyalty.zone_of_currency(currency);
	RETURN price.cost * coalesce(estimate.rate, loyalty.redeemed_share(estimate.hazards, estimate.tail, 0, NULL), 1);
END
$$;
COMMENT ON FUNCTION expected_point_cost(text, timestamptz, timestamptz) IS
'What a point that is given costs in the end, as of an instant and as known at another (NULL of either: now): what a redeemed point costs times the part of all points that will be redeemed, by the estimate in force; all of them where there is none. NULL where nobody has said what a point costs. Error: LY102.';

CREATE FUNCTION backtest_cost(definitions jsonb, from_at timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', kinds text[] DEFAULT NULL,
	currency text DEFAULT 'points', OUT points_now bigint, OUT points_then bigint, OUT cost_now numeric, OUT cost_then numeric) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	SELECT s.value_now, s.value_then INTO points_now, points_then
	FROM loyalty.backtest_summary(definitions, from_at, until, kinds, currency) s WHERE s.measure = 'points';
	cost_now := round(points_now * loyalty.expected_point_cost(currency), 2);
	cost_then := round(points_then * loyalty.expected_point_cost(currency), 2);
END
$$;
COMMENT ON FUNCTION backtest_cost(jsonb, timestamptz, timestamptz, text[], text) IS
'What backtest_summary() costs: the points that the campaigns would have given, and that times expected_point_cost() of now, to hundredths; cost_now and cost_then are NULL where nobody has said what a point costs. Errors: as of backtest_campaigns().';

CREATE FUNCTION campaign_cost(campaign text, currency text DEFAULT 'points', as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT issued bigint, OUT outstanding bigint, OUT redeemed bigint, OUT expired bigint, OUT expected_points numeric, OUT cost numeric) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	price CONSTANT record := loyalty.point_value_at(currency, as_of, known_at);
	until CONSTANT timestamptz := coalesce(as_of, 'infinity');
	known CONSTANT timestamptz := coalesce(known_at, 'infinity');
	l record;
BEGIN
	PERFORM loyalty.zone_of_currency(currency);
	SELECT * INTO l FROM loyalty.liability(currency, as_of, known_at, 'campaign') x WHERE x.cell = campaign_cost.campaign;
	outstanding := coalesce(l.points, 0); expected_points := coalesce(l.expected_points, 0);
	SELECT coalesce(sum(a.points), 0) INTO issued FROM loyalty.award a
	WHERE a.campaign = campaign_cost.campaign AND a.currency = campaign_cost.currency AND a.at <= until AND a.recorded_at <= known
		AND (a.points > 0 OR as_of IS NULL OR loyalty.entry_counts(coalesce(a.wallet_id, a.member_id), a.entry_id, until));
	WITH lot AS (
		SELECT a.entry_id, sum(a.points) FILTER (WHERE a.campaign = campaign_cost.campaign) / sum(a.points) AS part
		FROM loyalty.award a WHERE a.currency = campaign_cost.currency AND a.points > 0 AND a.entry_id IS NOT NULL GROUP BY a.entry_id HAVING bool_or(a.campaign = campaign_cost.campaign)
	)
	SELECT coalesce(round(sum(u.points * t.part)), 0) INTO redeemed
	FROM lot t JOIN (
		SELECT x.lot_id, CASE WHEN e.kind = 'reverse' AND e.points > 0 THEN -x.points ELSE x.points END AS points
		FROM loyalty.all_entries() e, loyalty.unnest_lots(e.lots) x
		WHERE e.currency = campaign_cost.currency AND e.effective_at <= until AND e.recorded_at <= known AND (e.kind IN ('redeem', 'capture')
			-- refunds, and what undoes them
			OR e.kind = 'reverse' AND e.points <> 0 AND EXISTS (SELECT FROM loyalty.all_entries() r
				WHERE r.member_id = ANY (loyalty.member_kin(e.member_id)) AND r.entry_id = e.target_entry_id AND (r.kind IN ('redeem', 'capture') OR r.kind = 'reverse' AND r.points > 0)))) u
		ON u.lot_id = t.entry_id;
	expired := greatest(issued - outstanding - redeemed, 0);
	cost := round((greatest(redeemed, 0) + expected_points) * price.cost, 2);
END
$$;
COMMENT ON FUNCTION campaign_cost(text, text, timestamptz, timestamptz) IS
'What the points of a campaign come to, as of an instant and as known at another (NULL of either: now): issued (less what was taken back), still outstanding, redeemed, expired or otherwise gone, those that will be redeemed yet, and what the redeemed and these cost (NULL where nobody has said what a point costs). Where one entry gave the points of several campaigns, each has its part of it. Errors: LY102, LY003.';

CREATE FUNCTION check_liability(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	b record;
BEGIN
	RETURN QUERY
	WITH c AS (
		SELECT x.*, lag(x.month) OVER w AS month_before, lag(x.digest) OVER w AS digest_before FROM loyalty.liability_close x
		WINDOW w AS (PARTITION BY x.currency ORDER BY x.month)
	)
	SELECT 'digest', NULL::bigint, c.currency, NULL::bigint, format('the figures of %s are not those of its digest', c.month)
	FROM c WHERE c.digest <> loyalty.close_digest(c.currency, c.month, c.known_at, c.figures, c.digest_before)
	UNION ALL
	SELECT 'months', NULL, c.currency, NULL, format('%s is closed, and the month before is not', c.month)
	FROM c WHERE c.month_before <> (c.month - interval '1 month')::date
	UNION ALL
	SELECT 'closed', NULL, c.currency, NULL, format('the figures of %s, as known at %s, have changed since: %s', c.month, c.known_at, loyalty.list_differences(c.figures, f.figures))
	FROM c, LATERAL (SELECT loyalty.liability_figures(c.currency, c.month, c.known_at) AS figures OFFSET 0) f
	-- figures of all members: nothing to compare a part with
	WHERE NOT loyalty.sees_part() AND f.figures <> c.figures;

	FOR b IN
		SELECT w.currency, sum((loyalty.available(w.balance, t.at)::numeric + loyalty.pending(w.balance, t.at)) + loyalty.held(w.balance, t.at)) AS points, sum(loyalty.debt(w.balance, t.at)::numeric) AS owed
		FROM loyalty.wallet w JOIN loyalty.currency k ON k.code = w.currency, LATERAL (SELECT greatest(statement_timestamp(), loyalty.last_effective_at(w.balance)) AS at) t GROUP BY w.currency
	LOOP
		-- more than a bigint holds cannot be told
		CONTINUE WHEN greatest(b.points, b.owed) > 9223372036854775807;
		RETURN QUERY
		SELECT 'outstanding', NULL::bigint, b.currency, NULL::bigint, format('lots have %s points and %s owed, balances say %s and %s', l.points, l.owed, b.points, b.owed)
		FROM loyalty.liability(b.currency) l WHERE l.points <> b.points OR l.owed <> b.owed OR l.expected_points + l.breakage_points <> l.points;
	END LOOP;
END
$$;
COMMENT ON FUNCTION check_liability() IS
'Every invariant of room liability: a row for each violation. Closed months have the figures of their digests, follow each other, and come out the same when they are computed once more as known at their close; what lots have is what balances say. Part of check_all().';
