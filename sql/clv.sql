--
-- clv: customer value
--
CREATE EXTENSION loyalty CASCADE;
SET timezone = 'UTC';
-- figures to six digits: the last bits are the platform's
CREATE FUNCTION short(x anyelement) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN x::numeric = 0 THEN 0 ELSE round(x::numeric, 5 - floor(log(abs(x::numeric)))::int) END $$;

-- orders of 120 members: rates and lifetimes differ, by a fixed rule
CREATE TABLE orders AS
SELECT id AS member_id, timestamptz '2026-01-01' + (id % 60 + active * i / (n + 0.5)) * interval '1 day' AS at, (20 + id % 7 * 5) * (5 + (i * 7 + id * 3) % 11) / 10.0 AS amount
FROM (SELECT id, active, floor(rate * active)::int AS n
	FROM (SELECT id, -0.05 * ln(1 - id * 0.6180339887 % 1) AS rate, least(300, 80 * (power(1 - id * 0.7548776662 % 1, -1 / 0.8) - 1)) AS active
		FROM generate_series(1, 120) id) u) v, generate_series(0, n) i;
CREATE TABLE member AS
SELECT member_id, loyalty.rfm_agg(at, amount) AS summary FROM orders GROUP BY member_id;

-- one SELECT fits
CREATE TABLE fit AS SELECT loyalty.clv_fit(loyalty.clv_agg(summary, '2027-01-01')) AS model FROM member;
SELECT model_name, unit_days, status, converged, members, repeat_members, short(loglik) AS loglik, short(aic) AS aic FROM fit, loyalty.clv_report(model);
SELECT spend_status, spend_converged, spend_members, short(spend_loglik) AS loglik, short(spend_aic) AS aic FROM fit, loyalty.clv_report(model);
SELECT part, parameter, short(estimate) AS estimate, short(std_error) AS std_error FROM fit, loyalty.clv_parameters(model);
SELECT jsonb_object_keys(model::jsonb) FROM fit ORDER BY 1;

-- and another forecasts
SELECT member_id, loyalty.frequency(summary) AS orders, short(p_alive) AS p_alive, short(expected_orders) AS expected_orders,
	short(expected_spend) AS expected_spend, short(lifetime_value) AS lifetime_value
FROM member, fit, loyalty.clv_forecast(summary, model, '90 days', 0.1, '2027-01-01')
ORDER BY lifetime_value DESC, member_id LIMIT 5;
SELECT short(loyalty.p_alive(summary, model, '2027-01-01')) AS p_alive, short(loyalty.expected_orders(summary, model, '90 days', '2027-01-01')) AS expected_orders,
	short(loyalty.expected_spend(summary, model)) AS expected_spend, short(loyalty.lifetime_value(summary, model, '90 days', as_of => '2027-01-01')) AS lifetime_value
FROM member, fit WHERE member_id = 21;
SELECT short(loyalty.new_member_orders(model, '90 days')) AS orders, short(loyalty.new_member_probability(model, 0, '90 days')) AS none FROM fit;

-- which model, and how far off it would have been
SELECT model_name, converged, short(aic) AS aic, best FROM loyalty.clv_compare((SELECT loyalty.clv_agg(summary, '2027-01-01') FROM member));
CREATE TABLE part AS
SELECT loyalty.clv_holdout_agg(before, '2026-08-01', behind, '2026-10-30') AS sample
FROM (SELECT loyalty.rfm_agg(at, amount) FILTER (WHERE at <= '2026-08-01') AS before,
		loyalty.rfm_agg(at, amount) FILTER (WHERE at > '2026-08-01' AND at <= '2026-10-30') AS behind
	FROM orders GROUP BY member_id) m;
SELECT model_name, members, orders, short(expected_orders) AS expected, short(orders_off) AS off, short(mean_absolute_error) AS mae,
	amount, short(expected_amount) AS expected_amount, best_fit, best_forecast
FROM part, loyalty.clv_backtest(sample);
SELECT members, repeat_orders, short(t_x_days) AS t_x, short(t_days) AS t, short(mean_amount) AS mean, held_orders, held_amount
FROM part, loyalty.clv_histories(sample) LIMIT 4;

-- given parameters
SELECT loyalty.make_clv_model('pareto/nbd', r => 0.55, alpha => 10.58, s => 0.61, beta => 11.67);
SELECT short(loyalty.p_alive(summary, loyalty.make_clv_model('bg/nbd', r => 0.243, alpha => 4.414, a => 0.793, b => 2.426), '2027-01-01')) FROM member WHERE member_id = 21;

-- refusals say what and what to do
SELECT loyalty.clv_fit(sample, model => 'bgnbd') FROM part;
SELECT loyalty.make_clv_model('bg/nbd', r => 1, alpha => 1, s => 1, beta => 1);
SELECT loyalty.p_alive(summary, model, '2026-01-05') FROM member, fit WHERE member_id = 21;
SELECT loyalty.expected_orders(summary, model, '-1 day', '2027-01-01') FROM member, fit WHERE member_id = 21;
SELECT loyalty.lifetime_value(summary, model, '1 year', -0.1, '2027-01-01') FROM member, fit WHERE member_id = 21;
SELECT loyalty.lifetime_value(summary, loyalty.make_clv_model('bg/nbd', 1, 1, 1, 1), '1 year', 0, '2027-01-01') FROM member WHERE member_id = 21;
SELECT loyalty.p_alive(summary, loyalty.clv_fit(loyalty.clv_agg(summary, '2027-01-01')), '2027-01-01') FROM member WHERE member_id = 21 GROUP BY summary;
SELECT loyalty.clv_holdout_error(loyalty.clv_agg(summary, '2027-01-01'), NULL) FROM member;
SELECT loyalty.clv_holdout_agg(summary, '2027-01-01', NULL, '2026-11-01') FROM member;
SELECT loyalty.clv_holdout_agg(summary, '2027-01-01', summary, '2027-02-01') FROM member WHERE member_id = 21;
SELECT '{"v":1,"model":"bg/nbd"}'::loyalty.clv_model;
SELECT '{"v":1,"horizon":0,"histories":[[1,0,5,6,0]]}'::loyalty.clv_sample;
SELECT '{"v":1,"histories":[]}'::loyalty.clv_sample;
