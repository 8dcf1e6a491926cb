/*
 * bi: views of audiences, boards, rewards and benefits, of goods, and of what
 * there is only so much of.
 */

CREATE FUNCTION setup_offer_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.audience_size AS
	SELECT a.audience, a.kind, a.name, CASE WHEN a.kind = 'list' THEN statement_timestamp() ELSE a.taken_at END AS as_of,
		CASE WHEN a.kind = 'list' OR a.snapshot > 0 THEN loyalty.count_members(loyalty.audience_set(a.audience)) END AS members
	FROM loyalty.audience a;
	COMMENT ON VIEW loyalty_bi.audience_size IS 'How large audiences are: a row for each. Of a list as of now; of an expression as refresh_audience() recorded it last, which as_of says.';
	COMMENT ON COLUMN loyalty_bi.audience_size.audience IS 'The audience.';
	COMMENT ON COLUMN loyalty_bi.audience_size.kind IS 'expression or list.';
	COMMENT ON COLUMN loyalty_bi.audience_size.name IS 'Its name.';
	COMMENT ON COLUMN loyalty_bi.audience_size.as_of IS 'As of when; NULL: nobody has recorded it yet.';
	COMMENT ON COLUMN loyalty_bi.audience_size.members IS 'How many members; NULL likewise.';

	CREATE OR REPLACE VIEW loyalty_bi.audience_move AS
	SELECT c.audience, (c.changed_at AT TIME ZONE p.time_zone)::date AS local_day, count(*) FILTER (WHERE c.entered) AS entered, count(*) FILTER (WHERE NOT c.entered) AS gone
	FROM loyalty.audience_change c JOIN loyalty.audience a ON a.audience = c.audience AND c.snapshot <= a.snapshot CROSS JOIN loyalty.program p
	GROUP BY 1, 2;
	COMMENT ON VIEW loyalty_bi.audience_move IS 'Who entered audiences and left them: a row for each audience and day as of which refresh_audience() found a difference.';
	COMMENT ON COLUMN loyalty_bi.audience_move.audience IS 'The audience.';
	COMMENT ON COLUMN loyalty_bi.audience_move.local_day IS 'The day.';
	COMMENT ON COLUMN loyalty_bi.audience_move.entered IS 'How many entered.';
	COMMENT ON COLUMN loyalty_bi.audience_move.gone IS 'How many left.';

	CREATE OR REPLACE VIEW loyalty_bi.board_period AS
	SELECT s.board, s.period_start, count(*) AS members, sum(s.activities)::bigint AS activities, sum(s.score) AS score, max(s.score) AS best_score,
		EXISTS (SELECT FROM loyalty.board_close c WHERE c.board = s.board AND c.period_start = s.period_start) AS closed
	FROM loyalty.board_score s GROUP BY 1, 2;
	COMMENT ON VIEW loyalty_bi.board_period IS 'How much boards move: a row for each board and period in which somebody has a score.';
	COMMENT ON COLUMN loyalty_bi.board_period.board IS 'The board.';
	COMMENT ON COLUMN loyalty_bi.board_period.period_start IS 'First day of the period; of a lifetime 2000-01-01.';
	COMMENT ON COLUMN loyalty_bi.board_period.members IS 'How many members have a score.';
	COMMENT ON COLUMN loyalty_bi.board_period.activities IS 'How many activities count.';
	COMMENT ON COLUMN loyalty_bi.board_period.score IS 'All scores together.';
	COMMENT ON COLUMN loyalty_bi.board_period.best_score IS 'The best.';
	COMMENT ON COLUMN loyalty_bi.board_period.closed IS 'Whether its places were rewarded.';

	CREATE OR REPLACE VIEW loyalty_bi.board_leader AS
	SELECT b.board, b.period_start, t.rank, t.member_id, t.score, t.reached_at
	FROM (SELECT s.board, max(s.period_start) AS period_start FROM loyalty.board_score s GROUP BY 1) b
	CROSS JOIN LATERAL loyalty.board_top(b.board, 10, NULL, b.period_start) t;
	COMMENT ON VIEW loyalty_bi.board_leader IS 'Who leads: a row for each of the first ten members of each board, in the last period in which somebody has a score.';
	COMMENT ON COLUMN loyalty_bi.board_leader.board IS 'The board.';
	COMMENT ON COLUMN loyalty_bi.board_leader.period_start IS 'First day of the period.';
	COMMENT ON COLUMN loyalty_bi.board_leader.rank IS 'The rank; whether equal scores share one, the board says.';
	COMMENT ON COLUMN loyalty_bi.board_leader.member_id IS 'The member.';
	COMMENT ON COLUMN loyalty_bi.board_leader.score IS 'Its score.';
	COMMENT ON COLUMN loyalty_bi.board_leader.reached_at IS 'When it was reached.';

	CREATE OR REPLACE VIEW loyalty_bi.reward_by_day AS
	SELECT o.reward, (o.at AT TIME ZONE p.time_zone)::date AS local_day, o.currency, count(*) AS orders, count(DISTINCT coalesce(a.canonical_id, o.member_id)) AS members,
		sum(o.quantity)::bigint AS ordered, sum(o.cancelled)::bigint AS cancelled,
		coalesce(sum(o.quantity - o.cancelled) FILTER (WHERE o.lapsed), 0)::bigint AS lapsed, coalesce(sum(o.quantity - o.cancelled) FILTER (WHERE o.state = 'fulfilled'), 0)::bigint AS fulfilled,
		coalesce(sum(o.points - o.points_back) FILTER (WHERE NOT o.lapsed), 0) AS points, coalesce(sum(o.money - o.money_back) FILTER (WHERE NOT o.lapsed), 0) AS money
	FROM (SELECT r.*, r.state = 'reserved' AND r.hold_until <= statement_timestamp() AS lapsed FROM loyalty.reward_order r) o
	LEFT JOIN loyalty.member_alias a ON a.member_id = o.member_id CROSS JOIN loyalty.program p
	GROUP BY 1, 2, 3;
	COMMENT ON VIEW loyalty_bi.reward_by_day IS 'What members had for their points: a row for each reward, day of orders and currency. What is left of its stock says loyalty_bi.global_limit.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.reward IS 'The reward.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.local_day IS 'Day on which it was ordered.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.currency IS 'Currency of the points.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.orders IS 'How many orders.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.members IS 'Of how many members.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.ordered IS 'How many units.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.cancelled IS 'How many of them were cancelled.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.lapsed IS 'How many were not paid in time.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.fulfilled IS 'How many were handed out.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.points IS 'Points that they cost, or hold, less what was given back.';
	COMMENT ON COLUMN loyalty_bi.reward_by_day.money IS 'Money likewise.';

	CREATE OR REPLACE VIEW loyalty_bi.benefit_use AS
	SELECT b.benefit, b.kind, b.name, (u.at AT TIME ZONE p.time_zone)::date AS local_day, coalesce(sum(u.quantity) FILTER (WHERE NOT u.given_back), 0)::bigint AS uses,
		count(DISTINCT coalesce(a.canonical_id, u.member_id)) FILTER (WHERE NOT u.given_back) AS members, coalesce(sum(u.quantity) FILTER (WHERE u.given_back), 0)::bigint AS given_back
	FROM (
		SELECT c.benefit, x.member_id, x.first_at AS at, 1 AS quantity, x.kind NOT IN ('redeemed', 'repriced', 'redeemed_again') AS given_back
		FROM (SELECT DISTINCT ON (y.member_id, y.coupon_id, y.activity_id) y.member_id, y.coupon_id, y.kind,
				min(y.at) OVER (PARTITION BY y.member_id, y.coupon_id, y.activity_id) AS first_at
			FROM loyalty.coupon_act y WHERE y.activity_id IS NOT NULL ORDER BY y.member_id, y.coupon_id, y.activity_id, y.act DESC) x
		JOIN loyalty.coupon c ON c.member_id = x.member_id AND c.coupon_id = x.coupon_id
		UNION ALL
		SELECT e.benefit, e.member_id, e.first_at, e.quantity, e.kind = 'restored'
		FROM (SELECT DISTINCT ON (y.member_id, y.use_id) y.member_id, y.use_id, y.benefit, y.kind, y.quantity, min(y.at) OVER (PARTITION BY y.member_id, y.use_id) AS first_at
			FROM loyalty.entitlement_act y ORDER BY y.member_id, y.use_id, y.act DESC) e
		WHERE e.kind IN ('used', 'confirmed', 'restored')
		UNION ALL
		SELECT o.reward, o.member_id, o.at, v.quantity, v.given_back
		FROM loyalty.reward_order o CROSS JOIN LATERAL (VALUES (o.quantity - o.cancelled, false), (o.cancelled, true)) v (quantity, given_back)
		WHERE v.quantity > 0 AND NOT (o.state = 'reserved' AND o.hold_until <= statement_timestamp())
		UNION ALL
		SELECT g.gift, g.member_id, g.at, 1, false FROM loyalty.gift_claim g) u
	JOIN loyalty.benefit b ON b.benefit = u.benefit
	LEFT JOIN loyalty.member_alias a ON a.member_id = u.member_id CROSS JOIN loyalty.program p
	GROUP BY 1, 2, 3, 4;
	COMMENT ON VIEW loyalty_bi.benefit_use IS 'How much benefits are used: a row for each benefit and day: coupons redeemed, entitlements used, rewards ordered, gifts claimed.';
	COMMENT ON COLUMN loyalty_bi.benefit_use.benefit IS 'The benefit.';
	COMMENT ON COLUMN loyalty_bi.benefit_use.kind IS 'coupon, entitlement, reward or gift.';
	COMMENT ON COLUMN loyalty_bi.benefit_use.name IS 'Its name.';
	COMMENT ON COLUMN loyalty_bi.benefit_use.local_day IS 'Day of the use.';
	COMMENT ON COLUMN loyalty_bi.benefit_use.uses IS 'How many uses stand; of rewards units.';
	COMMENT ON COLUMN loyalty_bi.benefit_use.members IS 'Of how many members.';
	COMMENT ON COLUMN loyalty_bi.benefit_use.given_back IS 'How many were given back: the order was returned, the use restored, the reward cancelled.';

	CREATE OR REPLACE VIEW loyalty_bi.purchase_line AS
	SELECT coalesce(c.canonical_id, l.member_id) AS member_id, l.activity_id, l.line, l.at, l.local_day, l.sku COLLATE "C" AS sku, l.category COLLATE "C" AS category,
		l.brand COLLATE "C" AS brand, l.quantity, l.amount, l.money, a.channel
	FROM loyalty.activity_line l
	JOIN loyalty.activity a ON a.member_id = l.member_id AND a.activity_id = l.activity_id
	LEFT JOIN loyalty.member_alias c ON c.member_id = l.member_id
	WHERE a.kind = 'order' AND NOT a.cancelled AND NOT a.returned AND l.quantity > 0;
	COMMENT ON VIEW loyalty_bi.purchase_line IS 'What goods members bought: a row for each line of an order that stands, as far as it was not returned. product_affinity() takes it as it is.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.member_id IS 'The member, or who stands for it now.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.activity_id IS 'Number of the order, as in loyalty_bi.purchase.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.line IS 'Number of the line.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.at IS 'When it was.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.local_day IS 'On which day that was.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.sku IS 'Number of the article.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.category IS 'Its category, as it was then.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.brand IS 'Its brand, as it was then.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.quantity IS 'Quantity, less what was returned.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.amount IS 'Amount, less discounts and what was returned.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.money IS 'Currency of the amount.';
	COMMENT ON COLUMN loyalty_bi.purchase_line.channel IS 'Where the order was made.';

	CREATE OR REPLACE VIEW loyalty_bi.global_limit AS
	SELECT n.name, n.owner_kind, n.owner, n.limits, n.total, n.remaining, n.total - n.remaining AS taken, round((n.total - n.remaining)::numeric / nullif(n.total, 0), 4) AS used_share
	FROM (
		SELECT x.name, x.owner_kind, x.owner, x.limits, x.total, CASE WHEN x.limits = 'stock' AND x.owner_kind = 'reward' THEN loyalty.reward_stock(x.owner) ELSE loyalty.escrow_left(x.name) END AS remaining
		FROM (
			(SELECT DISTINCT ON (v.campaign, t.what) format('campaign/%s/%s', v.campaign, t.what) COLLATE "C" AS name, 'campaign'::text AS owner_kind, v.campaign::text AS owner, t.what::text AS limits, t.total
			FROM loyalty.campaign_version v, loyalty.campaign_totals(v.definition) t ORDER BY v.campaign, t.what, v.version DESC)
			UNION ALL
			(SELECT DISTINCT ON (v.benefit, k.what) format('benefit/%s/%s', v.benefit, k.what), b.kind, v.benefit, k.what, (v.definition ->> k.what)::numeric::bigint
			FROM loyalty.benefit_version v JOIN loyalty.benefit b ON b.benefit = v.benefit, (VALUES ('total'), ('stock')) k (what)
			WHERE v.definition ->> k.what IS NOT NULL ORDER BY v.benefit, k.what, v.version DESC)
			UNION ALL
			SELECT format('benefit/%s/unused_codes', k.benefit), 'coupon', k.benefit, 'codes', count(*)
			FROM loyalty.coupon_code k WHERE EXISTS (SELECT FROM loyalty.escrow e WHERE e.name = format('benefit/%s/unused_codes', k.benefit)) GROUP BY k.benefit
			UNION ALL
			SELECT format('draw/%s/%s', v.name, p ->> 'prize'), 'draw', v.name, p ->> 'prize', (p ->> 'stock')::numeric::bigint
			FROM loyalty.engagement_version v, jsonb_array_elements(v.definition -> 'prizes') p WHERE v.what = 'draw' AND p ->> 'stock' IS NOT NULL
			UNION ALL
			SELECT format('draw/%s/tickets', v.name), 'draw', v.name, 'tickets', (v.definition ->> 'tickets')::numeric::bigint
			FROM loyalty.engagement_version v WHERE v.what = 'draw' AND v.definition ->> 'tickets' IS NOT NULL
			UNION ALL
			(SELECT DISTINCT ON (v.name) format('club/%s', v.name), 'club', v.name, 'capacity', (v.definition ->> 'capacity')::numeric::bigint
			FROM loyalty.engagement_version v WHERE v.what = 'club' AND v.definition ->> 'capacity' IS NOT NULL ORDER BY v.name, v.version DESC)) x) n;
	COMMENT ON VIEW loyalty_bi.global_limit IS 'Budgets, totals and stock, now: a row for each limit that all members share.';
	COMMENT ON COLUMN loyalty_bi.global_limit.name IS 'Its name, such as campaign/summer/points or benefit/voucher/stock.';
	COMMENT ON COLUMN loyalty_bi.global_limit.owner_kind IS 'What it belongs to: campaign, coupon, reward, draw or club.';
	COMMENT ON COLUMN loyalty_bi.global_limit.owner IS 'The name of that.';
	COMMENT ON COLUMN loyalty_bi.global_limit.limits IS 'What it limits: points or times of a campaign, total of a coupon, codes that were brought along, stock of a reward, a prize or the tickets of a draw, capacity of a club.';
	COMMENT ON COLUMN loyalty_bi.global_limit.total IS 'How much there is in all, by the last version.';
	COMMENT ON COLUMN loyalty_bi.global_limit.remaining IS 'What is left; below zero where more was given out than the total is now.';
	COMMENT ON COLUMN loyalty_bi.global_limit.taken IS 'What is taken.';
	COMMENT ON COLUMN loyalty_bi.global_limit.used_share IS 'taken / total; 1: it is at its end. NULL of a total of 0.';
END
$$;
COMMENT ON FUNCTION setup_offer_views() IS 'Makes the views audience_size, audience_move, board_period, board_leader, reward_by_day, benefit_use, purchase_line and global_limit of schema loyalty_bi. Part of setup().';
