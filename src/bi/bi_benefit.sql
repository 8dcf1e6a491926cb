/*
 * bi: views of campaigns and coupons.
 */

CREATE FUNCTION setup_benefit_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.campaign_result AS
	SELECT w.campaign, w.kind, w.currency, w.local_day, count(*) FILTER (WHERE w.points > 0) AS awards,
		count(DISTINCT coalesce(a.canonical_id, w.member_id)) FILTER (WHERE w.points > 0) AS members,
		coalesce(sum(w.points) FILTER (WHERE w.points > 0), 0) AS given, coalesce(- sum(w.points) FILTER (WHERE w.points < 0), 0) AS taken_back,
		count(*) FILTER (WHERE w.limited_by IS NOT NULL) AS limited
	FROM loyalty.award w LEFT JOIN loyalty.member_alias a ON a.member_id = w.member_id
	GROUP BY 1, 2, 3, 4;
	COMMENT ON VIEW loyalty_bi.campaign_result IS 'What campaigns gave: a row for each campaign, kind of award, currency and day. Members of several rows are not to be added up.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.campaign IS 'The campaign.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.kind IS 'points, coupon, or what else it gives.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.currency IS 'Currency of points.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.local_day IS 'Day of what earned it.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.awards IS 'How often it gave something.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.members IS 'To how many members.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.given IS 'How many points, or pieces.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.taken_back IS 'How many were taken back, after returns and the like.';
	COMMENT ON COLUMN loyalty_bi.campaign_result.limited IS 'How often a limit left less, or nothing.';

	CREATE OR REPLACE VIEW loyalty_bi.coupon_funnel AS
	SELECT b.benefit, b.name, count(c.coupon_id) AS issued, count(*) FILTER (WHERE c.uses > 0) AS used,
		coalesce(sum(c.uses), 0)::bigint AS redemptions, coalesce(sum(d.discount), 0) AS discount,
		count(*) FILTER (WHERE c.ended IS NULL AND c.uses = 0 AND c.basket IS NOT NULL AND c.reserved_until > statement_timestamp()) AS reserved,
		count(*) FILTER (WHERE c.ended IS NULL AND c.uses = 0 AND c.valid_until <= statement_timestamp()) AS expired,
		count(*) FILTER (WHERE c.ended = 'revoked') AS revoked
	FROM loyalty.benefit b
	LEFT JOIN loyalty.coupon c ON c.benefit = b.benefit AND c.ended IS DISTINCT FROM 'transferred'
	LEFT JOIN LATERAL (
		SELECT sum(x.discount) AS discount
		FROM (SELECT DISTINCT ON (y.activity_id) y.kind, y.discount FROM loyalty.coupon_act y
			WHERE y.member_id = c.member_id AND y.coupon_id = c.coupon_id AND y.activity_id IS NOT NULL ORDER BY y.activity_id, y.act DESC) x
		WHERE x.kind IN ('redeemed', 'repriced', 'redeemed_again')) d ON c.uses > 0
	GROUP BY 1, 2;
	COMMENT ON VIEW loyalty_bi.coupon_funnel IS 'What becomes of coupons, as of now: a row for each benefit.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.benefit IS 'The benefit.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.name IS 'Its name.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.issued IS 'How many were issued; one that was transferred counts once.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.used IS 'How many of them are redeemed, at least once.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.redemptions IS 'How many redemptions stand.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.discount IS 'What they take off, in the money of the orders.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.reserved IS 'How many are reserved for a basket now.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.expired IS 'How many have expired unused.';
	COMMENT ON COLUMN loyalty_bi.coupon_funnel.revoked IS 'How many were revoked.';
END
$$;
COMMENT ON FUNCTION setup_benefit_views() IS 'Makes the views campaign_result and coupon_funnel of schema loyalty_bi. Part of setup().';
