/*
 * bi: views of what points are worth, and of where they come from.
 */

CREATE FUNCTION setup_value_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.liability AS
	SELECT c.code AS currency, l.points, l.points - l.pending - l.held AS available, l.pending, l.held, l.owed, l.expected_points, l.breakage_points, l.value, l.cost
	FROM loyalty.currency c CROSS JOIN LATERAL loyalty.liability(c.code) l;
	COMMENT ON VIEW loyalty_bi.liability IS 'What members may redeem, now: a row for each currency. Merged members count once, what has expired does not.';
	COMMENT ON COLUMN loyalty_bi.liability.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.liability.points IS 'Points outstanding: available, pending and held.';
	COMMENT ON COLUMN loyalty_bi.liability.available IS 'Points that may be redeemed at this instant.';
	COMMENT ON COLUMN loyalty_bi.liability.pending IS 'Points that are not available yet.';
	COMMENT ON COLUMN loyalty_bi.liability.held IS 'Points set aside by holds.';
	COMMENT ON COLUMN loyalty_bi.liability.owed IS 'Points that members owe, which pay nobody else''s.';
	COMMENT ON COLUMN loyalty_bi.liability.expected_points IS 'How many of the points outstanding will be redeemed, by the estimate in force.';
	COMMENT ON COLUMN loyalty_bi.liability.breakage_points IS 'The rest of them, which will not.';
	COMMENT ON COLUMN loyalty_bi.liability.value IS 'What the expected points are worth, in money; NULL: nobody has said what a point is.';
	COMMENT ON COLUMN loyalty_bi.liability.cost IS 'What they will cost; NULL likewise.';

	CREATE OR REPLACE VIEW loyalty_bi.liability_by_month AS
	SELECT c.code AS currency, CASE WHEN l.cell <> 'never' THEN to_date(l.cell, 'YYYY-MM') END AS expires_in, l.points, l.points - l.pending - l.held AS available,
		l.pending, l.held, l.expected_points, l.breakage_points, l.value, l.cost
	FROM loyalty.currency c CROSS JOIN LATERAL loyalty.liability(c.code, by => 'expires') l
	WHERE l.cell IS NOT NULL;
	COMMENT ON VIEW loyalty_bi.liability_by_month IS 'What members may redeem, by when it expires, now: a row for each currency and month, by the clock of the currency. What members owe is in no month: see loyalty_bi.liability.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.expires_in IS 'First day of the last month in which the points live; NULL: they never expire.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.points IS 'Points outstanding: available, pending and held.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.available IS 'Points that may be redeemed at this instant.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.pending IS 'Points that are not available yet.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.held IS 'Points set aside by holds.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.expected_points IS 'How many of them will be redeemed, by the estimate in force.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.breakage_points IS 'The rest of them, which will not.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.value IS 'What the expected points are worth, in money; NULL: nobody has said what a point is.';
	COMMENT ON COLUMN loyalty_bi.liability_by_month.cost IS 'What they will cost; NULL likewise.';

	CREATE OR REPLACE VIEW loyalty_bi.liability_forecast AS
	SELECT c.code AS currency, f.month, f.redeemed, f.expired
	FROM loyalty.currency c CROSS JOIN LATERAL loyalty.redemption_forecast(c.code) f;
	COMMENT ON VIEW loyalty_bi.liability_forecast IS 'What will become of the points that there are now: a row for each currency and each of twelve months, the running one first. What will be issued is not in it.';
	COMMENT ON COLUMN loyalty_bi.liability_forecast.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.liability_forecast.month IS 'First day of the month.';
	COMMENT ON COLUMN loyalty_bi.liability_forecast.redeemed IS 'Points that will be redeemed in it.';
	COMMENT ON COLUMN loyalty_bi.liability_forecast.expired IS 'Points that will expire in it.';

	CREATE OR REPLACE VIEW loyalty_bi.points_by_channel AS
	SELECT w.currency, a.channel, w.local_day, count(*) FILTER (WHERE w.points > 0) AS awards,
		count(DISTINCT coalesce(m.canonical_id, w.member_id)) FILTER (WHERE w.points > 0) AS members,
		coalesce(sum(w.points) FILTER (WHERE w.points > 0), 0) AS given, coalesce(- sum(w.points) FILTER (WHERE w.points < 0), 0) AS taken_back
	FROM loyalty.award w
	LEFT JOIN loyalty.activity a ON a.member_id = w.member_id AND a.activity_id = w.activity_id
	LEFT JOIN loyalty.member_alias m ON m.member_id = w.member_id
	WHERE w.currency IS NOT NULL AND w.points <> 0
	GROUP BY 1, 2, 3;
	COMMENT ON VIEW loyalty_bi.points_by_channel IS 'What campaigns gave through which channel: a row for each currency, channel and day of what earned it. Members of several rows are not to be added up.';
	COMMENT ON COLUMN loyalty_bi.points_by_channel.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.points_by_channel.channel IS 'Channel of the activity that earned; NULL: not known, or no activity did.';
	COMMENT ON COLUMN loyalty_bi.points_by_channel.local_day IS 'Day of what earned it.';
	COMMENT ON COLUMN loyalty_bi.points_by_channel.awards IS 'How often points were given.';
	COMMENT ON COLUMN loyalty_bi.points_by_channel.members IS 'To how many members.';
	COMMENT ON COLUMN loyalty_bi.points_by_channel.given IS 'How many points.';
	COMMENT ON COLUMN loyalty_bi.points_by_channel.taken_back IS 'How many were taken back, after returns and the like.';

	CREATE OR REPLACE VIEW loyalty_bi.channel_cost AS
	SELECT c.channel, c.from_at, c.until, c.amount, n.exposures, round(c.amount / nullif(n.exposures, 0), 4) AS cost_per_exposure,
		j.members AS joined, round(c.amount / nullif(j.members, 0), 4) AS cost_per_member
	FROM loyalty.current_channel_costs() c
	CROSS JOIN LATERAL (SELECT count(*) AS exposures FROM loyalty.trial_exposure e WHERE e.channel = c.channel AND e.at >= c.from_at AND e.at < c.until) n
	CROSS JOIN LATERAL (
		SELECT count(*) AS members
		FROM (SELECT DISTINCT ON (coalesce(a.canonical_id, m.member_id)) m.joined_via, m.joined_at
			FROM loyalty.member m LEFT JOIN loyalty.member_alias a ON a.member_id = m.member_id
			WHERE m.status <> 'no_person'
			ORDER BY coalesce(a.canonical_id, m.member_id), m.joined_at, m.member_id) x
		WHERE x.joined_via = c.channel AND x.joined_at >= c.from_at AND x.joined_at < c.until) j;
	COMMENT ON VIEW loyalty_bi.channel_cost IS 'What channels cost, reached and brought: a row for each channel and period for which set_channel_cost() has said it. When that is paid back says acquisition().';
	COMMENT ON COLUMN loyalty_bi.channel_cost.channel IS 'The channel.';
	COMMENT ON COLUMN loyalty_bi.channel_cost.from_at IS 'Begin of the period.';
	COMMENT ON COLUMN loyalty_bi.channel_cost.until IS 'End of the period, exclusive.';
	COMMENT ON COLUMN loyalty_bi.channel_cost.amount IS 'What it cost.';
	COMMENT ON COLUMN loyalty_bi.channel_cost.exposures IS 'How many exposures of trials it made in it.';
	COMMENT ON COLUMN loyalty_bi.channel_cost.cost_per_exposure IS 'What each of them cost; NULL: there are none.';
	COMMENT ON COLUMN loyalty_bi.channel_cost.joined IS 'How many members joined through it in the period; merged ones once, by the earliest joining.';
	COMMENT ON COLUMN loyalty_bi.channel_cost.cost_per_member IS 'What each of these cost; NULL: there are none.';

	CREATE OR REPLACE VIEW loyalty_bi.trial_result AS
	SELECT t.trial, r.arm, t.primary_measure AS measure, r.members, round(r.mean::numeric, 6) AS mean,
		round(r.difference::numeric, 6) AS difference, round(r.low::numeric, 6) AS low, round(r.high::numeric, 6) AS high, round(r.p_value::numeric, 6) AS p_value,
		round(r.incremental::numeric, 6) AS incremental, r.exposed, r.points_given, r.cost,
		r.cost_per_incremental, r.excluded, r.broken
	FROM (SELECT x.trial, x.primary_measure FROM loyalty.trial x WHERE greatest(x.analysed_at, x.starts_at) <= statement_timestamp() OFFSET 0) t
	CROSS JOIN LATERAL loyalty.trial_report(t.trial) r;
	COMMENT ON VIEW loyalty_bi.trial_result IS 'What trials brought, by their primary measure: a row for each arm of each trial that is to be looked at by now. Arm 0 is the control, with which the others are compared.';
	COMMENT ON COLUMN loyalty_bi.trial_result.trial IS 'The trial.';
	COMMENT ON COLUMN loyalty_bi.trial_result.arm IS 'Number of the arm; 0 is the control.';
	COMMENT ON COLUMN loyalty_bi.trial_result.measure IS 'conversion, activities, amount or margin.';
	COMMENT ON COLUMN loyalty_bi.trial_result.members IS 'How many members were assigned to it.';
	COMMENT ON COLUMN loyalty_bi.trial_result.mean IS 'The measure, of each of them.';
	COMMENT ON COLUMN loyalty_bi.trial_result.difference IS 'mean less that of the control.';
	COMMENT ON COLUMN loyalty_bi.trial_result.low IS 'The difference is hardly less than this (95 %).';
	COMMENT ON COLUMN loyalty_bi.trial_result.high IS 'Nor more than this.';
	COMMENT ON COLUMN loyalty_bi.trial_result.p_value IS 'How often chance alone makes such a difference.';
	COMMENT ON COLUMN loyalty_bi.trial_result.incremental IS 'What there would not be without the treatment: the difference times the members.';
	COMMENT ON COLUMN loyalty_bi.trial_result.exposed IS 'How many members the treatment reached.';
	COMMENT ON COLUMN loyalty_bi.trial_result.points_given IS 'Points that the campaigns of the trial gave.';
	COMMENT ON COLUMN loyalty_bi.trial_result.cost IS 'What it cost; NULL: nobody has said what a point costs.';
	COMMENT ON COLUMN loyalty_bi.trial_result.cost_per_incremental IS 'cost / incremental; NULL where that is not above 0.';
	COMMENT ON COLUMN loyalty_bi.trial_result.excluded IS 'Members who were merged from both arms and count in none.';
	COMMENT ON COLUMN loyalty_bi.trial_result.broken IS 'The arms are not as large as their shares say: trust no figure.';
END
$$;
COMMENT ON FUNCTION setup_value_views() IS 'Makes the views liability, liability_by_month, liability_forecast, points_by_channel, channel_cost and trial_result of schema loyalty_bi. Part of setup().';
