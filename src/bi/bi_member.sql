/*
 * bi: views of members and of what they did.
 */

CREATE FUNCTION setup_member_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.member AS
	SELECT m.member_id, m.public_id, m.status, m.joined_at, (m.joined_at AT TIME ZONE p.time_zone)::date AS joined_day, m.joined_via,
		(SELECT count(*) FROM loyalty.member_alias a WHERE a.canonical_id = m.member_id) AS merged_members
	FROM loyalty.member m CROSS JOIN loyalty.program p
	WHERE m.status IN ('active', 'forgotten');
	COMMENT ON VIEW loyalty_bi.member IS 'Who the members are: a row for each person, and none for households and gift cards. Attributes, which may be personal, are left out.';
	COMMENT ON COLUMN loyalty_bi.member.member_id IS 'Number of the member.';
	COMMENT ON COLUMN loyalty_bi.member.public_id IS 'Number to show outside.';
	COMMENT ON COLUMN loyalty_bi.member.status IS 'active or forgotten.';
	COMMENT ON COLUMN loyalty_bi.member.joined_at IS 'When the member joined.';
	COMMENT ON COLUMN loyalty_bi.member.joined_day IS 'On which day that was.';
	COMMENT ON COLUMN loyalty_bi.member.joined_via IS 'Channel in which the member joined.';
	COMMENT ON COLUMN loyalty_bi.member.merged_members IS 'How many other members were merged into this one.';

	CREATE OR REPLACE VIEW loyalty_bi.purchase AS
	SELECT coalesce(c.canonical_id, a.member_id) AS member_id, a.activity_id, a.at, a.local_day, a.amount, a.money, a.channel, a.external_id
	FROM loyalty.activity a LEFT JOIN loyalty.member_alias c ON c.member_id = a.member_id
	WHERE a.kind = 'order' AND NOT a.cancelled AND NOT a.returned;
	COMMENT ON VIEW loyalty_bi.purchase IS 'What members bought: a row for each activity of kind order that stands. The functions of segments, cohorts and customer value take it as it is: rfm_table(''loyalty_bi.purchase'').';
	COMMENT ON COLUMN loyalty_bi.purchase.member_id IS 'The member, or who stands for it now.';
	COMMENT ON COLUMN loyalty_bi.purchase.activity_id IS 'Number of the activity.';
	COMMENT ON COLUMN loyalty_bi.purchase.at IS 'When it was.';
	COMMENT ON COLUMN loyalty_bi.purchase.local_day IS 'On which day that was, where it was.';
	COMMENT ON COLUMN loyalty_bi.purchase.amount IS 'What it is worth, less discounts and what was returned.';
	COMMENT ON COLUMN loyalty_bi.purchase.money IS 'Currency of the amount.';
	COMMENT ON COLUMN loyalty_bi.purchase.channel IS 'Where it was, such as app or store.';
	COMMENT ON COLUMN loyalty_bi.purchase.external_id IS 'Number of the order outside.';

	CREATE OR REPLACE VIEW loyalty_bi.member_activity AS
	SELECT coalesce(c.canonical_id, a.member_id) AS member_id, a.kind, a.money, count(*) AS activities, min(a.at) AS first_at, max(a.at) AS last_at,
		sum(a.amount) AS amount, (statement_timestamp() AT TIME ZONE min(p.time_zone))::date - max(a.local_day) AS days_since
	FROM loyalty.activity a CROSS JOIN loyalty.program p LEFT JOIN loyalty.member_alias c ON c.member_id = a.member_id
	WHERE NOT a.cancelled AND NOT a.returned
	GROUP BY 1, 2, 3;
	COMMENT ON VIEW loyalty_bi.member_activity IS 'What members did, added up: a row for each member, kind of activity and currency of amounts.';
	COMMENT ON COLUMN loyalty_bi.member_activity.member_id IS 'The member, or who stands for it now.';
	COMMENT ON COLUMN loyalty_bi.member_activity.kind IS 'Kind of activity.';
	COMMENT ON COLUMN loyalty_bi.member_activity.money IS 'Currency of the amounts; NULL: they have none.';
	COMMENT ON COLUMN loyalty_bi.member_activity.activities IS 'How many.';
	COMMENT ON COLUMN loyalty_bi.member_activity.first_at IS 'The first.';
	COMMENT ON COLUMN loyalty_bi.member_activity.last_at IS 'The last.';
	COMMENT ON COLUMN loyalty_bi.member_activity.amount IS 'What they add up to, less what was returned.';
	COMMENT ON COLUMN loyalty_bi.member_activity.days_since IS 'Days since the last.';

	CREATE OR REPLACE VIEW loyalty_bi.activity_by_day AS
	SELECT a.local_day, a.kind, a.channel, a.money, count(*) AS activities, count(DISTINCT coalesce(c.canonical_id, a.member_id)) AS members,
		sum(a.amount) AS amount
	FROM loyalty.activity a LEFT JOIN loyalty.member_alias c ON c.member_id = a.member_id
	WHERE NOT a.cancelled AND NOT a.returned
	GROUP BY 1, 2, 3, 4;
	COMMENT ON VIEW loyalty_bi.activity_by_day IS 'What was done, day by day: a row for each day, kind of activity, channel and currency of amounts. Members of several rows are not to be added up: one may be in each.';
	COMMENT ON COLUMN loyalty_bi.activity_by_day.local_day IS 'The day, where it was.';
	COMMENT ON COLUMN loyalty_bi.activity_by_day.kind IS 'Kind of activity.';
	COMMENT ON COLUMN loyalty_bi.activity_by_day.channel IS 'Where it was.';
	COMMENT ON COLUMN loyalty_bi.activity_by_day.money IS 'Currency of the amounts.';
	COMMENT ON COLUMN loyalty_bi.activity_by_day.activities IS 'How many.';
	COMMENT ON COLUMN loyalty_bi.activity_by_day.members IS 'Of how many members.';
	COMMENT ON COLUMN loyalty_bi.activity_by_day.amount IS 'What they add up to.';

	CREATE OR REPLACE VIEW loyalty_bi.active_members AS
	WITH active AS (
		SELECT DISTINCT a.local_day, coalesce(c.canonical_id, a.member_id) AS member_id
		FROM loyalty.activity a LEFT JOIN loyalty.member_alias c ON c.member_id = a.member_id
		-- what is done to members is nothing that they do
		WHERE NOT a.cancelled AND a.kind NOT IN ('contact', 'board_place')
	), spans AS (
		-- until when the member counts by what it did on a day: so many days, or until it did something again
		SELECT a.local_day, lead(a.local_day) OVER (PARTITION BY a.member_id ORDER BY a.local_day) AS next_day FROM active a
	), changes AS (
		SELECT c.local_day, sum(c.daily) AS daily, sum(c.weekly) AS weekly, sum(c.monthly) AS monthly
		FROM (SELECT s.local_day, 1, 1, 1 FROM spans s
			UNION ALL SELECT least(s.local_day + 7, s.next_day), 0, -1, 0 FROM spans s
			UNION ALL SELECT least(s.local_day + 30, s.next_day), 0, 0, -1 FROM spans s) c (local_day, daily, weekly, monthly)
		GROUP BY c.local_day
	), days AS (
		SELECT d::date AS local_day FROM (SELECT min(local_day) AS first, max(local_day) AS last FROM active) x, generate_series(x.first, x.last, interval '1 day') d
	)
	SELECT n.local_day, n.daily, n.weekly, n.monthly, round(n.daily::numeric / nullif(n.monthly, 0), 4) AS stickiness
	FROM (SELECT d.local_day, coalesce(c.daily, 0)::bigint AS daily, coalesce(sum(c.weekly) OVER w, 0)::bigint AS weekly, coalesce(sum(c.monthly) OVER w, 0)::bigint AS monthly
		FROM days d LEFT JOIN changes c ON c.local_day = d.local_day WINDOW w AS (ORDER BY d.local_day)) n;
	COMMENT ON VIEW loyalty_bi.active_members IS 'How many members are active: a row for each day from the first activity to the last. Being written to (contact) and a place on a board are no activity.';
	COMMENT ON COLUMN loyalty_bi.active_members.local_day IS 'The day.';
	COMMENT ON COLUMN loyalty_bi.active_members.daily IS 'Members who did something on it.';
	COMMENT ON COLUMN loyalty_bi.active_members.weekly IS 'Members who did something on it or the six days before.';
	COMMENT ON COLUMN loyalty_bi.active_members.monthly IS 'Members who did something on it or the 29 days before.';
	COMMENT ON COLUMN loyalty_bi.active_members.stickiness IS 'daily / monthly, from 0 to 1.';

	CREATE OR REPLACE VIEW loyalty_bi.top_member AS
	SELECT r.money, r.rank, r.member_id, r.orders, r.amount, r.last_at
	FROM (SELECT p.money, rank() OVER (PARTITION BY p.money ORDER BY sum(p.amount) DESC) AS rank, p.member_id, count(*) AS orders, sum(p.amount) AS amount, max(p.at) AS last_at
		FROM loyalty_bi.purchase p WHERE p.at > statement_timestamp() - interval '365 days' AND p.amount IS NOT NULL
		GROUP BY p.money, p.member_id) r
	WHERE r.rank <= 100;
	COMMENT ON VIEW loyalty_bi.top_member IS 'Who bought most in the last 365 days: a row for each of the first hundred of each currency; equal amounts have equal ranks.';
	COMMENT ON COLUMN loyalty_bi.top_member.money IS 'Currency of the amounts.';
	COMMENT ON COLUMN loyalty_bi.top_member.rank IS 'The rank, from 1.';
	COMMENT ON COLUMN loyalty_bi.top_member.member_id IS 'The member.';
	COMMENT ON COLUMN loyalty_bi.top_member.orders IS 'How many orders.';
	COMMENT ON COLUMN loyalty_bi.top_member.amount IS 'What they add up to.';
	COMMENT ON COLUMN loyalty_bi.top_member.last_at IS 'The last of them.';
END
$$;
COMMENT ON FUNCTION setup_member_views() IS 'Makes the views member, purchase, member_activity, activity_by_day, active_members and top_member of schema loyalty_bi. Part of setup().';
