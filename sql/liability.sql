-- liability: what each function answers, on a few rows.
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

CREATE TABLE used (issued_at timestamptz, issued bigint, redeemed_at timestamptz, redeemed bigint, expires_at timestamptz);
INSERT INTO used VALUES ('2026-01-10', 1000, NULL, NULL, NULL), ('2026-02-10', 1200, NULL, NULL, '2026-03-01'), ('2026-01-10', NULL, '2026-01-20', 300, NULL),
	('2026-01-10', NULL, '2026-02-20', 200, NULL), ('2026-02-10', NULL, '2026-02-20', 360, '2026-03-01'), ('2026-01-10', NULL, '2026-03-20', 50, NULL);
CREATE TABLE t AS SELECT redemption_triangle_agg(issued_at, issued, redeemed_at, redeemed, expires_at, 'month', 'UTC') AS t FROM used;
SELECT c.* FROM t, unnest(t.t) c;
SELECT c.* FROM t, triangle_cells(t.t, '2026-04-01') c;
SELECT f.age, round(f.factor, 4) AS factor FROM t, development_factors(t.t, '2026-04-01') f;
SELECT h.age, h.outstanding, h.redeemed, round(h.hazard, 4) AS hazard FROM t, hazards(t.t, '2026-04-01') h;
SELECT u.cohort, u.age, u.issued, u.redeemed, round(u.ultimate, 2) AS ultimate, round(u.rate, 4) AS rate FROM t, ultimate_rate(t.t, '2026-04-01') u;
SELECT * FROM allocate_price(100.00, 100, 10, 1, 0.95);
SELECT round(recognised(8676, 4500, 9500), 2) AS recognised, redeemed_share('{0.2,0.1,0.05}', 0, 0, 2);

SELECT setup() \g /dev/null
SELECT set_point_value('points', 0.01, cost => 0.006);
SELECT define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}]}', '2026-01-01');
SELECT i AS member_id, points FROM generate_series(1, 3) i, LATERAL record_activity(i, 'order', '2026-01-05'::timestamptz + i * interval '20 days', amount => 100.00 * i);
SELECT earn(4, 50, effective_at => '2026-01-10', expires_at => '2026-02-10') \g /dev/null
SELECT redeem(1, 40, effective_at => '2026-02-20') \g /dev/null
SELECT * FROM liability(as_of => '2026-02-01');
SELECT * FROM liability(as_of => '2026-04-01');
SELECT * FROM liability(as_of => '2026-04-01', by => 'issued');
SELECT * FROM liability(as_of => '2026-04-01', by => 'campaign');
SELECT * FROM liability_members(as_of => '2026-04-01') ORDER BY member_id;
SELECT estimate_redemption('points', '2026-04-01');
SELECT round(unnest(hazards), 4) AS hazard, tail FROM redemption_estimate;
SELECT * FROM redemption_forecast(as_of => '2026-04-01', months => 3);
SELECT * FROM deferral_schedule(as_of => '2026-04-01');
SELECT figures, replayed FROM close_month('points', '2026-02-01');
SELECT * FROM recognised_revenue('points', '2026-02-01', '2026-03-01');
SELECT * FROM campaign_cost('base');
SELECT close_month('points', '2026-05-01');
SELECT * FROM check_liability();
