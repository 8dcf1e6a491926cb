-- trial: what each function answers, on a few rows.
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';

SELECT member_id, arm_of('spring', member_id), arm_of('spring', member_id, '{0.2,0.3,0.5}') AS one_of_three, arm_of('spring', member_id, '{0.5,0.5}', 'growthbook_2') AS growthbook
FROM generate_series(1, 5) member_id;
SELECT arm_of('spring', 1, '{0.5,0.6}');

CREATE TABLE spent (arm integer, amount numeric, before numeric);
INSERT INTO spent VALUES (1, 13, 10), (1, 22, 20), (1, 34, 30), (1, 43, 40), (0, 12, 12), (0, 19, 18), (0, 32, 33), (0, 37, NULL), (0, NULL, 37);
SELECT uplift_agg_amount(arm, amount) FROM spent;
SELECT arm, members, mean, round(variance::numeric, 4) AS variance, round(difference::numeric, 4) AS difference, round(low::numeric, 4) AS low, round(high::numeric, 4) AS high,
	round(p_value::numeric, 4) AS p_value, round(relative::numeric, 4) AS relative, method FROM uplift_report((SELECT uplift_agg_amount(arm, amount) FROM spent));
SELECT arm, members, round(mean::numeric, 4) AS mean, round(difference::numeric, 4) AS difference, method FROM uplift_report((SELECT uplift_agg_cuped(arm, amount, before) FROM spent), 0.9);
SELECT arm, members, mean, round(low::numeric, 4) AS low, round(high::numeric, 4) AS high, method FROM uplift_report((SELECT uplift_agg(arm, amount > 20) FROM spent));
SELECT round(chi_square::numeric, 4) AS chi_square, round(p_value::numeric, 4) AS p_value, broken FROM sample_ratio((SELECT uplift_agg(arm, true) FROM spent), '{0.5,0.5}');

SELECT setup() \g /dev/null
SELECT define_trial('spring', '{"shares": [0.5, 0.5]}', '2026-03-01', '2026-04-01');
SELECT define_campaign('spring', '{"treat": {"trial": "spring"}, "then": [{"points": 10}]}', '2026-01-01');
INSERT INTO member (member_id, joined_at, joined_via) SELECT i, '2026-01-01', 'shop' FROM generate_series(1, 6) i;
SELECT i AS member_id, trial_arm(i, 'spring'), points FROM generate_series(1, 6) i, LATERAL record_activity(i, 'order', '2026-03-05', amount => 20 + i) ORDER BY 1;
SELECT member_id, a.campaign, a.points, a.wanted, a.limited_by FROM member, LATERAL awards(member_id) a ORDER BY 1;
SELECT count(*) FROM member, LATERAL expose(member_id, 'spring', 'app', '2026-03-04') WHERE trial_arm(member_id, 'spring') > 0;
SELECT set_channel_cost('app', '2026-03-01', '2026-04-01', 12.00);
SELECT set_channel_cost('shop', '2026-01-01', '2026-02-01', 60.00);
SELECT arm, members, mean, difference, method, exposed, points_given, cost, excluded, secondary FROM trial_report('spring', 'activities', cost_per_point => 0.01);
SELECT * FROM trial_outcomes('spring') ORDER BY member_id;
SELECT * FROM channel_report('spring');
SELECT * FROM acquisition('2026-01-01', '2026-02-01', '2026-06-01');
SELECT * FROM check_trial();
