-- cohort: what each function answers, on a few rows.
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

CREATE TABLE purchase (member_id bigint, at timestamptz, amount numeric, channel text, discount numeric);
INSERT INTO purchase VALUES
	(1, '2024-01-03 10:00+00', 20.00, 'web', NULL),
	(1, '2024-01-03 18:30+00', 5.50, 'web', 1.00),
	(1, '2024-02-11 10:15+00', 30.00, 'store', NULL),
	(1, '2024-03-20 10:45+00', 12.00, 'web', 3.00),
	(2, '2024-01-15 20:00+00', 99.99, 'store', NULL),
	(2, '2024-03-31 23:30+00', 10.00, 'store', 0),
	(3, '2024-02-29 09:00+00', 60.00, 'app', 6.00),
	(4, '2024-03-01 12:00+00', 0, 'app', 8.00),
	(4, NULL, 7.00, NULL, NULL);

-- one small value for each member
SELECT member_id, activity_agg(at, 'month', 'UTC') FROM purchase GROUP BY 1 ORDER BY 1;
SELECT member_id, activity_agg(at, 'month', 'Europe/Berlin') FROM purchase WHERE member_id = 2 GROUP BY 1;
SELECT member_id, event_count(a), active_periods(a), first_active(a), last_active(a), active_dates(a),
	was_active(a, '2024-02-10') AS in_february, longest_streak(a), current_streak(a, '2024-04-02')
FROM (SELECT member_id, activity_agg(at, 'month', 'UTC') AS a FROM purchase GROUP BY 1) x ORDER BY 1;
SELECT member_id, s.* FROM (SELECT member_id, activity_agg(at, 'month', 'UTC') AS a FROM purchase GROUP BY 1) x, streaks(a) s ORDER BY 1, 2;

-- retention, and what happens from month to month
CREATE VIEW monthly AS SELECT member_id, activity_agg(at, 'month', 'UTC') AS a FROM purchase GROUP BY 1;
SELECT m.* FROM (SELECT retention_agg(a) AS r FROM monthly) x, retention_matrix(r) m;
SELECT m.* FROM (SELECT retention_agg(a) AS r FROM monthly) x, retention_matrix(r, until => '2024-02-29', fill => false) m;
SELECT g.* FROM (SELECT retention_agg(a) AS r FROM monthly) x, activity_growth(r) g;
SELECT retention_events_agg(member_id, at, 'quarter', 'UTC') FROM purchase;
SELECT m.cohort, m.cohort_size, m.offset_periods, m.active
FROM (SELECT retention_signup_agg(joined_at, a, 'month', 'UTC') AS r
	FROM (VALUES (1, timestamptz '2023-12-24 00:00+00'), (2, '2024-02-01 00:00+00'), (3, '2024-02-02 00:00+00'), (5, '2024-02-03 00:00+00'), (6, NULL)) v(member_id, joined_at)
	LEFT JOIN monthly USING (member_id)) x, retention_matrix(r) m;

-- repurchase
CREATE VIEW daily AS SELECT member_id, activity_agg(at, 'day', 'UTC') AS a FROM purchase GROUP BY 1;
SELECT buyers(r), buyers(r, 2), order_count(r), mean_orders(r), repurchase_rate(r), repurchase_rate(r, 2), mean_interval(r), interval_percentile(r, 0.5)
FROM (SELECT repurchase_agg(a) AS r FROM daily) x;
SELECT repurchase_agg(a) FROM daily;
SELECT member_id, repurchased_within(a, 30, '2024-04-01') FROM daily ORDER BY 1;

-- lifecycle
SELECT lifecycle_policy();
SELECT member_id, as_of::date, lifecycle_stage(r, as_of) AS stage, lifecycle_stage(r, as_of, lifecycle_policy(loyal_orders => 3)) AS stage_by_policy
FROM (SELECT member_id, rfm_agg(at, amount) AS r FROM purchase GROUP BY 1) x, unnest('{2024-04-01,2024-08-01,2025-02-01,2025-06-01}'::timestamptz[]) as_of ORDER BY 1, 2;

-- concentration
SELECT concentration_agg(x) AS c, gini(concentration_agg(x)), top_share(concentration_agg(x), 20), members_for_share(concentration_agg(x), 80)
FROM (SELECT sum(amount) AS x FROM purchase GROUP BY member_id) y;
SELECT p.* FROM (SELECT concentration_agg(x) AS c FROM (SELECT sum(amount) AS x FROM purchase GROUP BY member_id) y) z, pareto_curve(c, 4) p;

-- preferences
SELECT member_id, preferred_hour_agg(at, 'UTC'), preferred_weekday_agg(at, 'UTC'), preferred_value_agg(channel), discount_agg(amount, discount) FROM purchase GROUP BY 1 ORDER BY 1;
SELECT (p).value AS channel, round((p).share, 2) AS share FROM (SELECT preferred_value_agg(channel) AS p FROM purchase) x;

-- funnels and paths
CREATE TABLE event (member_id bigint, at timestamptz, name text);
INSERT INTO event VALUES
	(1, '2024-05-01 10:00+00', 'view'), (1, '2024-05-01 10:05+00', 'cart'), (1, '2024-05-01 10:20+00', 'pay'),
	(2, '2024-05-01 10:00+00', 'view'), (2, '2024-05-01 10:01+00', 'help'), (2, '2024-05-03 10:00+00', 'cart'),
	(3, '2024-05-02 10:00+00', 'cart'), (3, '2024-05-02 10:00+00', 'view'), (3, '2024-05-02 10:00+00', 'pay');
SELECT member_id,
	window_funnel_agg('1 hour', NULL, at, name = 'view', name = 'cart', name = 'pay') AS hour,
	window_funnel_agg('7 days', NULL, at, name = 'view', name = 'cart', name = 'pay') AS week,
	window_funnel_agg('7 days', 'strict_order', at, name = 'view', name = 'cart', name = 'pay') AS in_order,
	window_funnel_agg('7 days', 'strict_increase', at, name = 'view', name = 'cart', name = 'pay') AS increasing,
	sequence_match_agg('(?1)(?2)', at, name = 'view', name = 'cart') AS cart_follows,
	sequence_match_agg('(?1)(?2)', at, name = 'view', name = 'cart', name = 'help') AS without_help,
	sequence_match_agg('(?1)(?t<=600)(?2)', at, name = 'view', name = 'cart') AS in_ten_minutes,
	sequence_count_agg('(?1)', at, name <> 'help') AS events,
	retention(name = 'view', name = 'help', name = 'pay')
FROM event GROUP BY 1 ORDER BY 1;

-- errors say what to do
SELECT activity_agg(at, 'fortnight', 'UTC') FROM purchase;
SELECT activity_agg(at, 'day', 'Mars') FROM purchase;
SELECT activity_agg('infinity', 'day', 'UTC');
SELECT retention_agg(a) FROM (SELECT a FROM monthly UNION ALL SELECT a FROM daily) x;
SELECT concentration_agg('NaN');
SELECT discount_agg(1, -1);
SELECT window_funnel_agg('1 month', NULL, now(), true);
SELECT window_funnel_agg('1 day', 'strict', now(), true);
SELECT sequence_match_agg('(?1)(?3)', now(), true, true);
SELECT sequence_match_agg('(?1)(?t>x)(?2)', now(), true, true);
SELECT lifecycle_stage(NULL, now(), '{"active_days": 400}');
SELECT lifecycle_stage(NULL, now(), '{"day": 1}');
