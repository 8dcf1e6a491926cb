-- clv: fits against a slow reference and published figures, forecasts at
-- extremes, the same bits in any plan.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SET client_min_messages = warning;
-- the slow references are many small queries, each quicker than its compilation
SET jit = off;
\pset fieldsep '\n'
SELECT no_plan();

-- A member with x repeat purchases of amount m, the last t_x weeks after the
-- first, T weeks before 2020.
CREATE FUNCTION member(x integer, t_x numeric, t numeric, m numeric DEFAULT 10) RETURNS loyalty.rfm
LANGUAGE sql STABLE AS $$
	SELECT loyalty.rfm_agg(timestamptz '2020-01-01 00:00+00' - 7 * t * interval '1 day' +
			CASE WHEN i = 0 THEN interval '0' WHEN i = x THEN 7 * t_x * interval '1 day' ELSE 7 * t_x * i / x * interval '1 day' END,
		CASE WHEN i = 0 THEN 1 ELSE m END)
	FROM generate_series(0, x) i
$$;
CREATE FUNCTION weeks(t numeric) RETURNS interval LANGUAGE sql IMMUTABLE AS $$ SELECT 7 * t * interval '1 day' $$;

-- equal within a tolerance, relative above 1 and absolute below
CREATE FUNCTION near(have numeric, want numeric, tolerance numeric, what text) RETURNS text
LANGUAGE sql AS $$
	SELECT ok(abs(have - want) <= tolerance * greatest(abs(want), 1), what) ||
		CASE WHEN abs(have - want) <= tolerance * greatest(abs(want), 1) THEN '' ELSE E'\n# have ' || coalesce(have::text, 'NULL') || ', want ' || want END
$$;
-- relatively equal, however small
CREATE FUNCTION close_to(have numeric, want numeric, tolerance numeric, what text) RETURNS text
LANGUAGE sql AS $$ SELECT near(CASE WHEN want = 0 THEN have + 1 ELSE have / want END, 1, tolerance, what) $$;

CREATE TABLE given (name text, model loyalty.clv_model);
INSERT INTO given VALUES
	('published', loyalty.make_clv_model('bg/nbd', r => 0.243, alpha => 4.414, a => 0.793, b => 2.426, p => 6.25, q => 3.74, v => 15.44)),
	-- parameters with which the walk-through of BTYD computes its examples
	('btyd', loyalty.make_clv_model('bg/nbd', r => 0.2425982, alpha => 4.413684, a => 0.7929899, b => 2.426167)),
	('pareto', loyalty.make_clv_model('pareto/nbd', r => 0.5534, alpha => 10.5802, s => 0.6061, beta => 11.6562)),
	('pareto full', loyalty.make_clv_model('pareto/nbd', r => 0.5533971, alpha => 10.5801985, s => 0.6060625, beta => 11.6562237)),
	('mbg', loyalty.make_clv_model('mbg/nbd', r => 0.525, alpha => 6.183, a => 0.891, b => 1.614)),
	('a is 1', loyalty.make_clv_model('bg/nbd', r => 0.243, alpha => 4.414, a => 1, b => 2.426)),
	('near a is 1', loyalty.make_clv_model('bg/nbd', r => 0.243, alpha => 4.414, a => 1.000001, b => 2.426)),
	('s is 1', loyalty.make_clv_model('pareto/nbd', r => 0.553, alpha => 10.58, s => 1, beta => 11.66)),
	('near s is 1', loyalty.make_clv_model('pareto/nbd', r => 0.553, alpha => 10.58, s => 1.000001, beta => 11.66)),
	('tiny', loyalty.make_clv_model('bg/nbd', r => 0.01, alpha => 0.01, a => 0.01, b => 0.01)),
	('busy', loyalty.make_clv_model('bg/nbd', r => 50, alpha => 0.5, a => 0.2, b => 100));
CREATE FUNCTION given(wanted text) RETURNS loyalty.clv_model LANGUAGE sql STABLE AS $$ SELECT model FROM given WHERE name = wanted $$;

-- ---- forecasts: BG/NBD and MBG/NBD have closed odds of being alive

CREATE FUNCTION slow_p_alive(chances integer, r float8, alpha float8, a float8, b float8, x integer, t_x float8, t float8) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN chances = 0 THEN 1 ELSE 1 / (1 + a / (b + chances - 1) * power((alpha + t) / (alpha + t_x), r + x)) END
$$;
SELECT close_to(loyalty.p_alive(member(x, t_x, t), given('published'), '2020-01-01'),
		slow_p_alive(x, 0.243, 4.414, 0.793, 2.426, x, t_x, t)::numeric, 1e-12, format('p_alive by bg/nbd of (%s, %s, %s)', x, t_x, t))
FROM (VALUES (0, 0, 0), (0, 0, 39), (1, 0.001, 39), (2, 30.43, 38.86), (26, 30.86, 31), (7, 39, 39), (12, 10, 39)) v (x, t_x, t);
SELECT close_to(loyalty.p_alive(member(x, t_x, t), given('mbg'), '2020-01-01'),
		slow_p_alive(x + 1, 0.525, 6.183, 0.891, 1.614, x, t_x, t)::numeric, 1e-12, format('p_alive by mbg/nbd of (%s, %s, %s)', x, t_x, t))
FROM (VALUES (0, 0, 0), (0, 0, 39), (1, 0.001, 39), (2, 30.43, 38.86), (26, 30.86, 31), (7, 39, 39), (12, 10, 39)) v (x, t_x, t);

-- Pareto/NBD: the integral over the age at death by Simpson's rule
CREATE FUNCTION slow_pareto_odds(r float8, alpha float8, s float8, beta float8, x integer, t_x float8, t float8) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
	SELECT sum(CASE WHEN i IN (0, 4000) THEN 1 WHEN i % 2 = 1 THEN 4 ELSE 2 END *
			power((alpha + t) / (alpha + u), r + x) * power((beta + t) / (beta + u), s) * s / (beta + u)) * (t - t_x) / 12000
	FROM generate_series(0, 4000) i, LATERAL (SELECT t_x + (t - t_x) * i / 4000 AS u) p
$$;
SELECT close_to(loyalty.p_alive(member(x, t_x, t), given('pareto'), '2020-01-01'),
		(1 / (1 + slow_pareto_odds(0.5534, 10.5802, 0.6061, 11.6562, x, t_x, t)))::numeric, 1e-10, format('p_alive by pareto/nbd of (%s, %s, %s)', x, t_x, t))
FROM (VALUES (0, 0, 0), (0, 0, 39), (1, 0.001, 39), (2, 30.43, 38.86), (26, 30.86, 31), (7, 39, 39), (15, 10, 39)) v (x, t_x, t);
-- where alpha is beta, that integral has a closed form, however steep it is
SELECT close_to(loyalty.p_alive(member(x, t_x, t), loyalty.make_clv_model('pareto/nbd', r => r, alpha => alpha, s => s, beta => alpha), '2020-01-01'),
		(1 / (1 + s / (r + x + s) * (power((alpha + t) / (alpha + t_x), r + x + s) - 1)))::numeric, 1e-10, format('p_alive by pareto/nbd of (%s, %s, %s), r %s, alpha and beta %s, s %s', x, t_x, t, r, alpha, s))
FROM (VALUES (0, 0, 39, 0.5, 10, 0.6), (1, 1, 500, 0.1, 0.5, 0.1), (20, 30, 60, 1, 10, 3), (60, 90, 184.8, 0.5, 10, 1e-12), (200, 90, 115, 0.5, 10, 1e-8), (500, 1000, 1080, 2, 3, 1e-12), (3, 1, 5000, 0.01, 0.01, 1e-6), (9, 5, 200, 1, 10, 1e-8),
	(200, 1, 60, 0.5, 100, 1e-38), (0, 0, 38.4, 0.01, 100, 100)) v (x, t_x, t, r, alpha, s);
-- and where they lie far apart, by Simpson's rule in ln(beta + u)
CREATE FUNCTION steep_pareto_odds(r float8, alpha float8, s float8, beta float8, x integer, t_x float8, t float8) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
	SELECT sum(CASE WHEN i IN (0, 40000) THEN 1 WHEN i % 2 = 1 THEN 4 ELSE 2 END *
			power((alpha + t) / (alpha + u), r + x) * power((beta + t) / (beta + u), s) * s) * ln((beta + t) / (beta + t_x)) / 120000
	FROM generate_series(0, 40000) i, LATERAL (SELECT (beta + t_x) * power((beta + t) / (beta + t_x), i / 40000.0::float8) - beta AS u) p
$$;
SELECT close_to(loyalty.p_alive(member(x, t_x, t), loyalty.make_clv_model('pareto/nbd', r => r, alpha => alpha, s => s, beta => beta), '2020-01-01'),
		(1 / (1 + steep_pareto_odds(r, alpha, s, beta, x, t_x, t)))::numeric, 1e-10, format('p_alive by pareto/nbd of (%s, %s, %s), r %s, alpha %s, s %s, beta %s', x, t_x, t, r, alpha, s, beta))
FROM (VALUES (40, 0.1, 100, 0.5, 50, 1e-18, 0.01), (40, 50, 100, 0.5, 5, 1e-9, 50), (0, 0, 95, 0.01, 5, 30, 50)) v (x, t_x, t, r, alpha, s, beta);
SELECT is(loyalty.p_alive(member(5, 39, 39), given('pareto'), '2020-01-01'), 1::numeric, 'pareto/nbd: who buys at as_of is alive');
SELECT is(loyalty.p_alive(member(0, 0, 520), given('published'), '2020-01-01'), 1::numeric, 'bg/nbd: who never bought again is alive');

-- expected orders, from values computed by the published formulas with 45 digits
SELECT close_to(loyalty.expected_orders(member(x, t_x, t), given(model), weeks(h), '2020-01-01'), want, 1e-11,
	format('expected_orders by %s of (%s, %s, %s) in %s weeks', model, x, t_x, t, h))
FROM (VALUES
	('published', 2, 30.43, 38.86, 39, 1.2260281747671444), ('published', 0, 0, 38.86, 39, 0.19509805201126264),
	('published', 1000, 100, 100, 52, 421.41592541086690), ('published', 1000, 99, 100, 52, 32.450181218439876),
	('tiny', 0, 0, 0, 39, 18.177564821682768), ('tiny', 1, 0.001, 0.001, 520, 21442.215608251885),
	('busy', 0, 0, 0, 52, 2863.1005069005638)) v (model, x, t_x, t, h, want);
SELECT near(loyalty.expected_orders(member(5, 20, 39), given('near ' || model), '273 days', '2020-01-01'),
	loyalty.expected_orders(member(5, 20, 39), given(model), '273 days', '2020-01-01'), 1e-6, 'nothing happens where ' || model)
FROM (VALUES ('a is 1'), ('s is 1')) v (model);

-- who never drops out, or nearly so, goes on at the rate (r + x) / (alpha + T)
SELECT close_to(loyalty.expected_orders(m, g, weeks(44), '2020-01-01'), 2001 * 44 / 110.0, 1e-10, 'expected_orders of 2000 repeat orders'),
	close_to(loyalty.lifetime_value(m, g, weeks(44), 0.5, '2020-01-01'), loyalty.expected_spend(m, g) * (2001 / 110.0 * (1 - exp(-44 * delta)) / delta)::numeric, 1e-10, 'and discounted')
FROM (SELECT member(2000, 100, 100) AS m, loyalty.make_clv_model('bg/nbd', r => 1, alpha => 10, a => 1e-12, b => 1, p => 6.25, q => 3.74, v => 15.44) AS g, ln(1.5) * 7 / 365.25 AS delta) v;
-- with very many orders behind and a long time ahead, p ~ Beta(a, b + x) of dropping out with each: E[1/p] more of a living member
SELECT close_to(loyalty.expected_orders(m, g, weeks(h), '2020-01-01'), loyalty.p_alive(m, g, '2020-01-01') * 119999 / 99999, 1e-9, format('expected_orders of 19999 repeat orders in %s weeks', h)),
	close_to(loyalty.lifetime_value(m, g, weeks(h), 1e-12, '2020-01-01'), loyalty.lifetime_value(m, g, weeks(h), 0, '2020-01-01'), 1e-9, 'and next to not discounted')
FROM (SELECT member(19999, 100, 100) AS m, loyalty.make_clv_model('bg/nbd', r => 1, alpha => 10, a => 1e5, b => 1, p => 6.25, q => 3.74, v => 15.44) AS g) v, unnest('{10,110,10000}'::numeric[]) h;
-- r = b = 1: with z = horizon / alpha, the integral of a p^(a-1) z / (1 + p z) over 0 < p < 1; for a large z a power of it, less what the integral from 1 on would add
SELECT close_to(loyalty.new_member_orders(loyalty.make_clv_model('bg/nbd', r => 1, alpha => 0.001, a => a, b => 1), weeks(10)),
	(1e4 * (pi() * a / sin(pi() * a) * power(1e4, -a) - a * (1e-4 / (1 - a) - 1e-8 / (2 - a) + 1e-12 / (3 - a))))::numeric, 1e-11, format('a new member who hardly drops out, a %s', a))
FROM unnest('{0.001,0.01,0.1}'::float8[]) a;

-- orders of a new member, counted out: mean of the distribution
SELECT near(sum(n * loyalty.new_member_probability(given(model), n, '273 days')), loyalty.new_member_orders(given(model), '273 days'), 1e-9,
		'the mean of new_member_probability by ' || model || ' is new_member_orders'),
	near(sum(loyalty.new_member_probability(given(model), n, '273 days')), 1, 1e-9, 'and its sum is 1')
FROM unnest('{published,mbg,pareto,a is 1}'::text[]) model, generate_series(0, 1500) n GROUP BY model ORDER BY model;

-- r = 1000 and a = b = 1: far below the mean of 52000 a member makes n orders by dropping out with the n-th, with probability 1 / n - 1 / (n + 1)
SELECT close_to(loyalty.new_member_probability(loyalty.make_clv_model('bg/nbd', 1000, 1, 1, 1), n, weeks(52)), 1.0 / (n * (n + 1)), 1e-10, n || ' orders of a member who would make thousands')
FROM unnest('{1,10,10000}'::int[]) n;
SELECT near(sum(loyalty.new_member_probability(loyalty.make_clv_model('bg/nbd', 1000, 1, 1, 1), n, weeks(1))), 1, 1e-9, 'and the sum is 1') FROM generate_series(0, 1500) n;
-- where few remain, most of what lies ahead is by those who hardly drop out
SELECT close_to(loyalty.lifetime_value(m, g, weeks(1100), 1e-12, '2020-01-01'), loyalty.lifetime_value(m, g, weeks(1100), 0, '2020-01-01'), 1e-9, 'next to not discounted, of a thousand orders in a day')
FROM (SELECT member(1000, 0.1, 0.1) AS m, loyalty.make_clv_model('bg/nbd', r => 1, alpha => 0.01, a => 1, b => 1, p => 6.25, q => 3.74, v => 15.44) AS g) v;

-- endless sums can be ended
CREATE FUNCTION canceled(query text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE query; RETURN false; EXCEPTION WHEN query_canceled THEN RETURN true; END $$;
SET statement_timeout = '200ms';
SELECT ok(canceled($$SELECT loyalty.new_member_probability(loyalty.make_clv_model('bg/nbd', r => 1e-9, alpha => 1e-9, a => 1, b => 1), 100000, '100 years')$$), 'a forecast heeds a timeout');
RESET statement_timeout;

-- the next order, by bg/nbd and mbg/nbd in closed form
SELECT near(extract(epoch FROM at - '2020-01-01'::timestamptz) / 604800, ((alpha + t) * (power(1 - q, -1 / (r + x)) - 1))::numeric, 1e-9, format('%s of the next order by %s of (%s, %s, %s)', q, model, x, t_x, t))
FROM (VALUES ('published', 0.243::float8, 4.414::float8), ('mbg', 0.525, 6.183)) p (model, r, alpha), (VALUES (0, 0, 39), (2, 30.43, 38.86), (26, 30.86, 31), (7, 39, 39)) v (x, t_x, t),
	loyalty.next_order(member(x, t_x, t), given(model), 0.4, '2020-01-01') n, LATERAL (VALUES (0.5::float8, likely_at), (0.3, earliest_at), (0.7, latest_at)) w (q, at);
SELECT is((loyalty.next_order(member(x, t_x, t), given(model), as_of => '2020-01-01')).p_again, loyalty.p_alive(member(x, t_x, t), given(model), '2020-01-01'), 'who is alive orders again by ' || model)
FROM unnest('{published,mbg}'::text[]) model, (VALUES (0, 0, 39), (2, 30.43, 38.86)) v (x, t_x, t);
-- by pareto/nbd against the density of the next order, in a hundred thousand steps of w
CREATE FUNCTION slow_orders_by(r float8, alpha float8, s float8, beta float8, x integer, t float8, u float8) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
	SELECT sum(power(1 + (alpha + t) / (beta + t) * (power(w, -1 / (r + x)) - 1), -s)) * (1 - least_w) / 100000
	FROM (SELECT CASE WHEN u IS NULL THEN 0 ELSE power(1 + u / (alpha + t), -(r + x)) END AS least_w) l,
		 generate_series(1, 100000) i, LATERAL (SELECT least_w + (1 - least_w) * (i - 0.5) / 100000 AS w) g
	GROUP BY least_w
$$;
SELECT near(slow_orders_by(0.5534, 10.5802, 0.6061, 11.6562, x, t, extract(epoch FROM at - '2020-01-01'::timestamptz) / 604800)::numeric, (q * whole)::numeric, 1e-6, format('%s of the next order by pareto/nbd of (%s, %s, %s)', q, x, t_x, t))
FROM (VALUES (0, 0, 39), (2, 30.43, 38.86), (26, 30.86, 31), (7, 39, 39)) v (x, t_x, t), LATERAL slow_orders_by(0.5534, 10.5802, 0.6061, 11.6562, x, t, NULL) whole,
	loyalty.next_order(member(x, t_x, t), given('pareto'), 0.8, '2020-01-01') n, LATERAL (VALUES (0.5, likely_at), (0.1, earliest_at), (0.9, latest_at)) w (q, at);
SELECT near((loyalty.next_order(member(x, t_x, t), given('pareto'), as_of => '2020-01-01')).p_again,
	loyalty.p_alive(member(x, t_x, t), given('pareto'), '2020-01-01') * slow_orders_by(0.5534, 10.5802, 0.6061, 11.6562, x, t, NULL)::numeric, 1e-6, format('chance to order again by pareto/nbd of (%s, %s, %s)', x, t_x, t))
FROM (VALUES (0, 0, 39), (2, 30.43, 38.86), (26, 30.86, 31), (7, 39, 39)) v (x, t_x, t);
-- a new member has made no order by then with one less the chance that the next has come
SELECT near(1 - loyalty.new_member_probability(given(model), 0, at - '2020-01-01'), p_again * q, 1e-9, format('%s of the first repeat order by %s', q, model))
FROM unnest('{published,mbg,pareto,pareto full,s is 1}'::text[]) model, loyalty.next_order(member(0, 0, 0), given(model), 0.5, '2020-01-01') n, LATERAL (VALUES (0.5, likely_at), (0.25, earliest_at), (0.75, latest_at)) w (q, at);
SELECT is((SELECT ROW(p_again, likely_at, latest_at, earliest_at > '2020-01-01') FROM loyalty.next_order(member(0, 0, 39), given('tiny'), 0.98, '2020-01-01'))::text, '(1,,,t)', 'instants beyond the last are NULL');
SELECT is(loyalty.next_order(loyalty.rfm_agg('2019-01-01', -5), given('published'), as_of => '2020-01-01')::text, NULL, 'no purchase, no next one');
SELECT throws_ok(format('SELECT loyalty.next_order(member(2, 10, 20), given(%L), %L, %L)', 'published', coverage, as_of), state, NULL, format('coverage %s as of %s', coverage, as_of))
FROM (VALUES ('0', '2020-01-01', 'LY003'), ('1', '2020-01-01', 'LY003'), ('NaN', '2020-01-01', 'LY003'), ('-0.1', '2020-01-01', 'LY003'), ('0.8', '2019-06-01', 'LY302')) v (coverage, as_of, state);

-- a discounted value by adding up a thousandth of the horizon at a time
SELECT near(loyalty.lifetime_value(member(4, 30, 39, 25.5), model, '365.25 days', 0.2, '2020-01-01'),
	(SELECT sum((e - before) * power(1.2, -(i - 0.5) / 1000)) * loyalty.expected_spend(member(4, 30, 39, 25.5), model)
	 FROM (SELECT i, e, lag(e, 1, 0) OVER (ORDER BY i) AS before
		   FROM generate_series(1, 1000) i, LATERAL (SELECT loyalty.expected_orders(member(4, 30, 39, 25.5), model, i * interval '365.25 days' / 1000, '2020-01-01') AS e) x) y),
	1e-6, 'lifetime_value by ' || kind || ' discounts each order from its instant')
FROM (VALUES ('bg/nbd', given('published')),
	('pareto/nbd', loyalty.make_clv_model('pareto/nbd', r => 0.553, alpha => 10.58, s => 0.606, beta => 11.66, p => 6.25, q => 3.74, v => 15.44))) v (kind, model);
SELECT is(loyalty.lifetime_value(m, g, '273 days', 0, '2020-01-01'),
	(loyalty.clv_forecast(m, g, '273 days', 0, '2020-01-01')).lifetime_value, 'clv_forecast has the lifetime value'),
	is((loyalty.clv_forecast(m, g, '273 days', 0.1, '2020-01-01')),
	(loyalty.p_alive(m, g, '2020-01-01'), loyalty.expected_orders(m, g, '273 days', '2020-01-01'), loyalty.expected_spend(m, g), loyalty.lifetime_value(m, g, '273 days', 0.1, '2020-01-01'))::record,
	'clv_forecast is the four in one row'),
	is(loyalty.expected_orders(m, g, '0 days', '2020-01-01'), 0::numeric, 'no time, no orders'),
	is(loyalty.expected_orders(m, g, '1 year', '2020-01-01'), loyalty.expected_orders(m, g, '8766 hours', '2020-01-01'), 'a year of a horizon is 365.25 days'),
	is(loyalty.expected_orders(m, g, '1 month', '2020-01-01'), loyalty.expected_orders(m, g, '30 days', '2020-01-01'), 'a month of it is 30 days')
FROM (SELECT member(3, 20, 39, 12.5) AS m, given('published') AS g) v;

-- spend: p (v + x m) / (p x + q - 1)
SELECT near(loyalty.expected_spend(member(x, 1, 39, m), given('published')), (6.25 * (15.44 + x * m) / (6.25 * x + 2.74))::numeric, 1e-12, format('expected_spend of %s repeat orders of %s', x, m))
FROM (VALUES (1, 11.77), (2, 22.35), (7, 73.74), (50, 0.01), (3, 0)) v (x, m);
SELECT near(loyalty.expected_spend(member(0, 0, 39), given('published')), 6.25 * 15.44 / 2.74, 1e-12, 'expected_spend of who never bought again is the mean of all');
SELECT is(loyalty.expected_spend(member(0, 0, 39), loyalty.make_clv_model('bg/nbd', 1, 1, 1, 1, p => 2, q => 0.9, v => 10)), NULL, 'a model of spend without a finite mean says NULL');

-- ---- extremes: a number, and a sane one

SELECT ok(f.p_alive BETWEEN 0 AND 1 AND f.expected_orders >= 0 AND f.expected_orders < 1e12 AND f.lifetime_value >= 0 AND f.expected_spend > 0,
	format('%s of (%s, %s, %s) in %s', kind, x, t_x, t, h))
FROM (VALUES (1000, 10, 100), (0, 0, 0), (0, 0, 5200), (1, 0.000001, 0.000001), (1, 0.000001, 5200), (1000, 100, 100), (20000, 10, 100), (20000, 99.99, 100)) v (x, t_x, t),
	(VALUES ('bg/nbd', loyalty.make_clv_model('bg/nbd', 0.243, 4.414, 0.793, 2.426, p => 6.25, q => 3.74, v => 15.44)),
	 ('mbg/nbd', loyalty.make_clv_model('mbg/nbd', 0.525, 6.183, 0.891, 1.614, p => 6.25, q => 3.74, v => 15.44)),
	 ('pareto/nbd', loyalty.make_clv_model('pareto/nbd', r => 0.553, alpha => 10.58, s => 0.606, beta => 11.66, p => 6.25, q => 3.74, v => 15.44)),
	 ('tiny mbg/nbd', loyalty.make_clv_model('mbg/nbd', 1e-6, 1e-6, 1e-6, 1e-6, p => 6.25, q => 3.74, v => 15.44)),
	 ('huge bg/nbd', loyalty.make_clv_model('bg/nbd', 1e6, 1e7, 1e6, 1e6, p => 6.25, q => 3.74, v => 15.44)),
	 ('huge pareto/nbd', loyalty.make_clv_model('pareto/nbd', r => 1e6, alpha => 1e7, s => 1e6, beta => 1e7, p => 6.25, q => 3.74, v => 15.44))) g (kind, model),
	(VALUES (interval '1 second'), ('1 year'), ('100 years')) w (h),
	LATERAL loyalty.clv_forecast(member(x, t_x, t), model, h, 0.1, '2020-01-01') f;
SELECT is(loyalty.p_alive(member(1000, 10, 100), given('published'), '2020-01-01'), 0::numeric, 'who bought 1000 times in 10 weeks of 100 is gone');

-- ---- fits

-- members of every kind, by a fixed rule
CREATE TABLE made AS
SELECT id, member(x, CASE WHEN x > 0 THEN (active * x / (x + 0.5))::numeric(10, 3) ELSE 0 END, t, (5 + id * 7919 % 977 / 20.0)::numeric(10, 2)) AS summary
FROM (SELECT id, floor(rate * active)::int AS x, active, t
	FROM (SELECT id, t, -0.3 * ln(1 - id * 0.6180339887 % 1) AS rate, least(t, 12 * (power(1 - id * 0.7548776662 % 1, -1 / 0.8) - 1)) AS active
		FROM (SELECT id, (30 + id * 13 % 10)::numeric AS t FROM generate_series(1, 250) id) u) v) w;
CREATE TABLE sample AS SELECT loyalty.clv_agg(summary, '2020-01-01') AS sample FROM made;

-- ln L of BG/NBD (extra 0), MBG/NBD (extra 1), straight from the formula
CREATE FUNCTION slow_loglik(extra integer, r float8, alpha float8, a float8, b float8) RETURNS float8
LANGUAGE sql STABLE AS $$
	SELECT sum(h.members * (
		coalesce((SELECT sum(ln(r + i)) FROM generate_series(0, x - 1) i), 0) +
		coalesce((SELECT sum(ln(b + i) - ln(a + b + i)) FROM generate_series(0, x + extra - 1) i), 0) +
		r * ln(alpha) - (r + x) * ln(alpha + t) +
		ln(1 + CASE WHEN x + extra > 0 THEN a / (b + x + extra - 1) * power((alpha + t) / (alpha + t_x), r + x) ELSE 0 END)))
	FROM sample, loyalty.clv_histories(sample) h, LATERAL (SELECT h.repeat_orders::int AS x, h.t_x_days::float8 / 7 AS t_x, h.t_days::float8 / 7 AS t) v
$$;
CREATE FUNCTION slow_pareto_loglik(r float8, alpha float8, s float8, beta float8) RETURNS float8
LANGUAGE sql STABLE AS $$
	SELECT sum(h.members * (
		coalesce((SELECT sum(ln(r + i)) FROM generate_series(0, x - 1) i), 0) +
		r * ln(alpha) - (r + x) * ln(alpha + t) + s * ln(beta / (beta + t)) + ln(1 + odds)))
	FROM sample, loyalty.clv_histories(sample) h, LATERAL (SELECT h.repeat_orders::int AS x, h.t_x_days::float8 / 7 AS t_x, h.t_days::float8 / 7 AS t) v,
		LATERAL (SELECT sum(CASE WHEN i IN (0, 100) THEN 1 WHEN i % 2 = 1 THEN 4 ELSE 2 END *
				exp((r + x) * ln((alpha + t) / (alpha + u)) + s * ln((beta + t) / (beta + u))) * s / (beta + u) * (alpha + u)) * ln((alpha + t) / (alpha + t_x)) / 300 AS odds
			FROM generate_series(0, 100) i, LATERAL (SELECT (alpha + t_x) * power((alpha + t) / (alpha + t_x), i / 100.0) - alpha AS u) p) q
$$;

CREATE TABLE fit AS SELECT kind, loyalty.clv_fit(sample, kind) AS model FROM sample, unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) kind;
CREATE FUNCTION slow(kind text, theta float8[]) RETURNS float8 LANGUAGE sql STABLE AS $$
	SELECT CASE kind WHEN 'bg/nbd' THEN slow_loglik(0, theta[1], theta[2], theta[3], theta[4])
		WHEN 'mbg/nbd' THEN slow_loglik(1, theta[1], theta[2], theta[3], theta[4])
		ELSE slow_pareto_loglik(theta[1], theta[2], theta[3], theta[4]) END
$$;
CREATE VIEW fitted AS
SELECT kind, r.*, (SELECT array_agg(estimate) FILTER (WHERE part <> 'gamma-gamma') FROM loyalty.clv_parameters(model)) AS theta,
	(SELECT array_agg(std_error) FILTER (WHERE part <> 'gamma-gamma') FROM loyalty.clv_parameters(model)) AS std_error
FROM fit, loyalty.clv_report(model) r;
SELECT ok(converged AND status = 'converged' AND spend_converged, kind || ' converges'), is(members, 250::bigint, 'over all members'),
	near(loglik::numeric, slow(kind, theta)::numeric, CASE kind WHEN 'pareto/nbd' THEN 1e-8 ELSE 1e-10 END, 'to the log-likelihood of ' || kind), near(aic::numeric, (8 - 2 * loglik)::numeric, 1e-12, 'with its AIC')
FROM fitted ORDER BY kind;
-- a maximum: slope nil and curvature as the information says, by differences
SELECT near(((up - down) / (2 * h) * std_error[i])::numeric, 0, 1e-5, format('%s: no slope in parameter %s', kind, i))
FROM fitted, generate_series(1, 4) i, LATERAL (SELECT std_error[i] / 2000 AS h) s,
	LATERAL (SELECT slow(kind, theta[:i - 1] || theta[i] + h || theta[i + 1:]) AS up, slow(kind, theta[:i - 1] || theta[i] - h || theta[i + 1:]) AS down) d
ORDER BY kind, i;
CREATE FUNCTION slow_std_errors(kind text, theta float8[], h float8[]) RETURNS float8[] LANGUAGE plpgsql STABLE AS $$
DECLARE
	m float8[] := array_fill(0::float8, ARRAY[4, 8]);
	up float8[]; down float8[]; f float8; j int; k int; l int;
BEGIN
	-- observed information by central differences, then inverted by Gauss-Jordan
	FOR j IN 1..4 LOOP FOR k IN 1..j LOOP
		f := 0;
		FOREACH l IN ARRAY '{1,-1}'::int[] LOOP
			up := theta; up[j] := up[j] + h[j]; up[k] := up[k] + l * h[k];
			down := theta; down[j] := down[j] - h[j]; down[k] := down[k] + l * h[k];
			f := f + l * (slow(kind, up) - slow(kind, down));
		END LOOP;
		m[j][k] := -f / (4 * h[j] * h[k]);
		m[k][j] := m[j][k];
	END LOOP; m[j][4 + j] := 1; END LOOP;
	FOR j IN 1..4 LOOP
		f := m[j][j];
		FOR k IN 1..8 LOOP m[j][k] := m[j][k] / f; END LOOP;
		FOR l IN 1..4 LOOP
			CONTINUE WHEN l = j;
			f := m[l][j];
			FOR k IN 1..8 LOOP m[l][k] := m[l][k] - f * m[j][k]; END LOOP;
		END LOOP;
	END LOOP;
	RETURN ARRAY[sqrt(m[1][5]), sqrt(m[2][6]), sqrt(m[3][7]), sqrt(m[4][8])];
END $$;
SELECT close_to(std_error[i]::numeric, slow[i]::numeric, 1e-3, format('%s: standard error of parameter %s by differences', kind, i))
FROM (SELECT *, slow_std_errors(kind, theta, ARRAY[std_error[1] / 1000, std_error[2] / 1000, std_error[3] / 1000, std_error[4] / 1000]) AS slow
	FROM fitted OFFSET 0) v, generate_series(1, 4) i;

SELECT is(model::jsonb ->> 'status', 'not_converged', kind || ' is not done after one step'),
	is(ARRAY[model::jsonb ->> 'iterations', model::jsonb ->> 'spend_iterations'], '{1,1}', 'and says how many there were')
FROM sample, unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) kind, LATERAL (SELECT loyalty.clv_fit(sample, kind, max_iterations => 1) AS model OFFSET 0) f;

SELECT is(loyalty.clv_fit(sample, kind, max_iterations => n)::text, model::text, kind || ' needs no more steps than it took') FROM sample, fit, LATERAL (SELECT greatest((model::jsonb ->> 'iterations')::int, (model::jsonb ->> 'spend_iterations')::int) AS n) i;
SELECT is(count(*), 0::bigint, 'and takes no more than it may') FROM sample, fit, generate_series(1, 20) n, LATERAL (SELECT loyalty.clv_fit(sample, kind, max_iterations => n)::jsonb AS m OFFSET 0) f
WHERE (m ->> 'iterations')::int > n OR (m ->> 'spend_iterations')::int > n;

-- another unit of time is the same fit
SELECT near(p.estimate::numeric, (q.estimate * CASE WHEN q.parameter = 'alpha' THEN 7 ELSE 1 END)::numeric, 1e-6, 'in days, ' || p.parameter || ' is what it is in weeks, or 7 times')
FROM sample, LATERAL loyalty.clv_parameters(loyalty.clv_fit(sample, unit_days => 1)) p
JOIN loyalty.clv_parameters((SELECT model FROM fit WHERE kind = 'bg/nbd')) q ON q.parameter = p.parameter AND q.part = p.part WHERE p.part = 'bg/nbd' ORDER BY 1;
SELECT near(loyalty.expected_orders(member(3, 20, 30), loyalty.clv_fit(sample, unit_days => 1), '90 days', '2020-01-01'),
	loyalty.expected_orders(member(3, 20, 30), loyalty.clv_fit(sample), '90 days', '2020-01-01'), 1e-7, 'and so are forecasts') FROM sample;

-- whatever the currency: a fit knows no scale of money or time
CREATE FUNCTION scaled(factor numeric) RETURNS loyalty.clv_model LANGUAGE sql STABLE AS $$
	SELECT loyalty.clv_fit(loyalty.clv_agg(summary, '2020-01-01'), unit_days => 1 / 86400.0)
	FROM (SELECT member(h.repeat_orders::int, h.t_x_days / 7, h.t_days / 7, coalesce(h.mean_amount, 1) * factor) AS summary
		FROM sample, loyalty.clv_histories(sample) h) m
$$;
SELECT near((b.estimate / a.estimate / CASE a.parameter WHEN 'v' THEN factor ELSE 1 END)::numeric, 1, 1e-6, format('amounts times %s, time in seconds: %s', factor, a.parameter)),
	is((loyalty.clv_report(scaled(factor))).spend_converged, true, 'converges')
FROM (VALUES (1e12), (1e-6)) f (factor), LATERAL loyalty.clv_parameters(scaled(1)) a, LATERAL loyalty.clv_parameters(scaled(factor)) b
WHERE a.parameter = b.parameter ORDER BY 1;

-- which is best
SELECT results_eq($$SELECT model_name, rank() OVER (ORDER BY aic) = 1, model::text FROM loyalty.clv_compare((SELECT sample FROM sample)) ORDER BY aic$$,
	$$SELECT kind, rank() OVER (ORDER BY aic) = 1, model::text FROM fit, loyalty.clv_report(model) ORDER BY aic$$, 'clv_compare ranks the fits by AIC');
SELECT is(count(*) FILTER (WHERE best), 1::bigint, 'one is best'), is(min(aic_distance), 0::float8, 'at distance 0')
FROM loyalty.clv_compare((SELECT sample FROM sample));

-- samples that leave nothing to fit, and such that drive a parameter out
CREATE TABLE odd (what text, want text, sample loyalty.clv_sample);
INSERT INTO odd SELECT 'one member', 'too_few', loyalty.clv_agg(member(3, 20, 39), '2020-01-01');
INSERT INTO odd SELECT 'nobody who bought again', 'too_few', loyalty.clv_agg(member(0, 0, 39), '2020-01-01') FROM generate_series(1, 50);
INSERT INTO odd SELECT 'a million equal members', 'boundary', loyalty.clv_agg(m, '2020-01-01') FROM (SELECT member(3, 20, 39) AS m OFFSET 0) v, generate_series(1, 1000000);
INSERT INTO odd SELECT 'two members', 'boundary', loyalty.clv_agg(member(x, x, 39), '2020-01-01') FROM generate_series(0, 1) x;
INSERT INTO odd SELECT 'extremes', 'converged', loyalty.clv_agg(member(x, t_x, t), '2020-01-01')
	FROM (VALUES (1000, 10, 100), (0, 0, 100), (0, 0, 50), (5000, 150, 151), (1, 0.0001, 100), (1, 20, 20), (30, 14, 20), (2, 3, 20), (1, 1, 21), (0, 0, 22)) v (x, t_x, t);
SELECT is(r.status, want, format('%s of %s: %s', kind, what, want)), is(r.converged, want = 'converged', 'and converged says so'),
	is(r.loglik IS NOT NULL, want <> 'too_few', 'a log-likelihood where there is a fit')
FROM odd, unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) kind, LATERAL loyalty.clv_report(loyalty.clv_fit(sample, kind)) r;
SELECT is((SELECT count(*) FROM loyalty.clv_histories(sample)), 1::bigint, 'a million equal members are one history'),
	is((SELECT members FROM loyalty.clv_histories(sample)), 1000000::bigint, 'counted') FROM odd WHERE what = 'a million equal members';
SELECT ok(loyalty.expected_orders(member(3, 20, 39), loyalty.clv_fit(sample, kind), '1 year', '2020-01-01') BETWEEN 0 AND 5, kind || ': a fit at the boundary forecasts')
FROM odd, unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) kind WHERE want = 'boundary';

-- ---- the same bits, whatever the plan

CREATE FUNCTION bits(sample loyalty.clv_sample) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT md5(loyalty.clv_sample_send(sample)) $$;
CREATE TABLE many AS SELECT m.id, m.id + g * 250 AS n, m.summary FROM made m, generate_series(0, 40) g;
ANALYZE many;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE serial AS SELECT bits(loyalty.clv_agg(summary, '2020-01-01')) AS sample, md5(loyalty.clv_fit(loyalty.clv_agg(summary, '2020-01-01'))::text) AS model,
	sum(loyalty.expected_orders(summary, (SELECT model FROM fit WHERE kind = 'mbg/nbd'), '1 year', '2020-01-01')) AS orders FROM many;
SELECT is(bits(loyalty.clv_agg(summary, '2020-01-01')), (SELECT sample FROM serial), 'shuffled rows: the same sample') FROM (SELECT * FROM many ORDER BY md5(n::text)) v;
SELECT is(bits(loyalty.clv_agg(summary, '2020-01-01')), (SELECT sample FROM serial), 'sorted rows: the same sample') FROM (SELECT * FROM many ORDER BY id) v;
SELECT is(bits(loyalty.clv_rollup(part)), (SELECT sample FROM serial), 'parts rolled up: the same sample')
FROM (SELECT loyalty.clv_agg(summary, '2020-01-01') AS part FROM many GROUP BY n % 7) v;
SET max_parallel_workers_per_gather = 3;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT ok(bool_or(p ~ 'Partial Aggregate') AND bool_or(p ~ 'Gather'), 'clv_agg is aggregated in parallel') FROM plan_of($$SELECT loyalty.clv_agg(summary, '2020-01-01') FROM many$$) p;
-- pgTAP's own functions keep a query from workers: it is run by itself
CREATE FUNCTION run(query text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE answer text; BEGIN EXECUTE query INTO answer; RETURN answer; END $$;
SELECT is(run('SELECT md5(loyalty.clv_sample_send(loyalty.clv_agg(summary, ''2020-01-01''))) FROM many'), (SELECT sample FROM serial), 'three workers: the same sample'),
	is(run('SELECT md5(loyalty.clv_fit(loyalty.clv_agg(summary, ''2020-01-01''))::text) FROM many'), (SELECT model FROM serial), 'and the same model'),
	is(run($$SELECT sum(loyalty.expected_orders(summary, (SELECT model FROM fit WHERE kind = 'mbg/nbd'), '1 year', '2020-01-01')) FROM many$$), (SELECT orders::text FROM serial), 'and the same sum of forecasts');
RESET max_parallel_workers_per_gather; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;

-- values survive text, jsonb and binary
SELECT is(sample::text::loyalty.clv_sample::text, sample::text, 'a sample reads back') FROM sample;
SELECT is(bits(sample::text::loyalty.clv_sample), bits(sample), 'to the bit') FROM sample;
SELECT is(loyalty.clv_model_send(model::text::loyalty.clv_model), loyalty.clv_model_send(model), kind || ' reads back'),
	is(loyalty.clv_model_send(model::jsonb::loyalty.clv_model), loyalty.clv_model_send(model), 'also from jsonb') FROM fit;
SELECT is(loyalty.clv_model_send(model::text::loyalty.clv_model), loyalty.clv_model_send(model), name || ' reads back') FROM given;
SELECT format('COPY (SELECT sample FROM odd) TO %L (FORMAT binary)', current_setting('data_directory') || '/clv_test.copy') \gexec
CREATE TABLE again (sample loyalty.clv_sample);
SELECT format('COPY again FROM %L (FORMAT binary)', current_setting('data_directory') || '/clv_test.copy') \gexec
SELECT bag_eq('SELECT bits(sample) FROM again', 'SELECT bits(sample) FROM odd', 'samples go through binary COPY');
SELECT format('COPY (SELECT model FROM fit) TO %L (FORMAT binary)', current_setting('data_directory') || '/clv_test.copy') \gexec
CREATE TABLE model_again (model loyalty.clv_model);
SELECT format('COPY model_again FROM %L (FORMAT binary)', current_setting('data_directory') || '/clv_test.copy') \gexec
SELECT bag_eq('SELECT model::text FROM model_again', 'SELECT model::text FROM fit', 'and models');

-- ---- NULL, nothing, and what is refused

SELECT is(loyalty.clv_agg(NULL, '2020-01-01')::text, NULL, 'no summary, no sample');
SELECT is(loyalty.clv_agg(member(1, 1, 1), NULL)::text, NULL, 'no as_of, no sample');
SELECT is((SELECT loyalty.clv_agg(summary, '2020-01-01') FROM made WHERE false)::text, NULL, 'no row, no sample');
SELECT is(loyalty.clv_agg(r, '2020-01-01')::text, NULL, 'a member with refunds only is left out') FROM (SELECT loyalty.rfm_agg('2019-01-01', -5) AS r) v;
SELECT is(loyalty.p_alive(loyalty.rfm_agg('2019-01-01', -5), given('published'), '2020-01-01'), NULL, 'no purchase, no p_alive');
SELECT is(loyalty.expected_orders(NULL, given('published')), NULL, 'no summary, no expected_orders');
SELECT is(loyalty.lifetime_value(member(1, 1, 1), NULL), NULL, 'no model, no lifetime_value');
SELECT is(loyalty.clv_fit(NULL)::text, NULL, 'no sample, no fit');
SELECT is(loyalty.expected_orders(member(2, 3, 39, -4), given('published'), '1 year', '2020-01-01'), loyalty.expected_orders(member(0, 0, 39), given('published'), '1 year', '2020-01-01'), 'refunds are no purchases');
SELECT is(loyalty.expected_orders(r, given('published'), '1 year', '2020-01-01'), loyalty.expected_orders(member(0, 0, 10), given('published'), '1 year', '2020-01-01'), 'purchases at one instant are the first')
FROM (SELECT loyalty.rfm_agg(timestamptz '2020-01-01' - interval '70 days', 5) AS r FROM generate_series(1, 3)) v;
SELECT is((SELECT t_days FROM loyalty.clv_histories(sample)), (date '2020-01-01' - date '0044-12-01 BC')::numeric, 'a first purchase BC')
FROM (SELECT loyalty.clv_agg(s, '2020-01-01 00:00+00') AS sample FROM (SELECT loyalty.rfm_agg('0044-12-01 00:00+00 BC', 1) AS s) v) w;

SELECT throws_ok(query, state, NULL, what) FROM (VALUES
	($$SELECT loyalty.clv_fit(sample, 'bgnbd') FROM sample$$, 'LY003', 'an unknown model'),
	($$SELECT loyalty.clv_fit(sample, unit_days => 0) FROM sample$$, 'LY003', 'no unit of time'),
	($$SELECT loyalty.clv_fit(sample, unit_days => 'NaN') FROM sample$$, 'LY003', 'a unit that is no number'),
	($$SELECT loyalty.clv_fit(sample, max_iterations => 0) FROM sample$$, 'LY003', 'no iterations'),
	($$SELECT loyalty.make_clv_model('bg/nbd', r => 1, alpha => 1, a => 1)$$, 'LY003', 'a parameter missing'),
	($$SELECT loyalty.make_clv_model('bg/nbd', r => 1, alpha => 1, a => 1, b => 0)$$, 'LY003', 'a parameter of zero'),
	($$SELECT loyalty.make_clv_model('bg/nbd', r => 1, alpha => 1, a => 1, b => 'Infinity')$$, 'LY003', 'an infinite parameter'),
	($$SELECT loyalty.make_clv_model('bg/nbd', r => 1, alpha => 1, a => 1, b => 'NaN')$$, 'LY003', 'a parameter that is no number'),
	($$SELECT loyalty.make_clv_model('bg/nbd', r => 1, alpha => 1, a => 1, b => 1, s => 1)$$, 'LY003', 'a parameter of another model'),
	($$SELECT loyalty.make_clv_model('pareto/nbd', r => 1, alpha => 1, a => 1, b => 1)$$, 'LY003', 'parameters of another model'),
	($$SELECT loyalty.make_clv_model('bg/nbd', 1, 1, 1, 1, p => 1, q => 2)$$, 'LY003', 'a parameter of spend missing'),
	($$SELECT loyalty.p_alive(member(2, 10, 20), given('published'), '2019-09-01')$$, 'LY302', 'as_of before the last purchase'),
	($$SELECT loyalty.p_alive(member(2, 10, 20), given('published'), 'infinity')$$, 'LY302', 'as_of infinite'),
	($$SELECT loyalty.clv_agg(summary, '2019-05-01') FROM made$$, 'LY302', 'a sample as of before a last purchase'),
	($$SELECT loyalty.expected_orders(member(2, 10, 20), given('published'), '-1 day', '2020-01-01')$$, 'LY003', 'a negative horizon'),
	($$SELECT loyalty.expected_orders(member(2, 10, 20), given('published'), '2000 years', '2020-01-01')$$, 'LY003', 'an absurd horizon'),
	($$SELECT loyalty.lifetime_value(member(2, 10, 20), given('published'), '1 year', -0.1, '2020-01-01')$$, 'LY003', 'a negative discount rate'),
	($$SELECT loyalty.lifetime_value(member(2, 10, 20), given('published'), '1 year', 'NaN', '2020-01-01')$$, 'LY003', 'a discount rate that is no number'),
	($$SELECT loyalty.new_member_probability(given('published'), -1)$$, 'LY003', 'a negative number of orders'),
	($$SELECT loyalty.lifetime_value(member(2, 10, 20), given('btyd'), '1 year', 0, '2020-01-01')$$, 'LY321', 'a value by a model without spend'),
	($$SELECT loyalty.expected_spend(member(2, 10, 20), given('btyd'))$$, 'LY321', 'spend by a model without spend'),
	($$SELECT loyalty.p_alive(member(2, 10, 20), loyalty.clv_fit(sample), '2020-01-01') FROM odd WHERE what = 'one member'$$, 'LY321', 'a forecast by a fit that there was not'),
	($$SELECT loyalty.clv_holdout_error(sample, NULL) FROM sample$$, 'LY320', 'a test against no holdout'),
	($$SELECT * FROM loyalty.clv_backtest((SELECT sample FROM sample))$$, 'LY320', 'a back-test without a holdout'),
	($$SELECT loyalty.clv_holdout_agg(summary, '2020-01-01', NULL, '2019-06-01') FROM made$$, 'LY320', 'a holdout that ends before it begins'),
	($$SELECT loyalty.clv_holdout_agg(summary, '2020-01-01', NULL, 'infinity') FROM made$$, 'LY320', 'a holdout without end'),
	($$SELECT loyalty.clv_holdout_agg(summary, '2020-01-01', summary, '2021-01-01') FROM made$$, 'LY320', 'held-out purchases before the holdout'),
	($$SELECT loyalty.clv_holdout_agg(summary, '2020-01-01', later, '2021-01-01') FROM made, (SELECT loyalty.rfm_agg('2021-06-01', 1) AS later) l$$, 'LY320', 'held-out purchases behind the holdout'),
	($$SELECT loyalty.clv_holdout_agg(summary, '2020-01-01', NULL, timestamptz '2021-01-01' + id * interval '1 day') FROM made$$, 'LY320', 'holdouts of different lengths'),
	($$SELECT '{"v":1}'::loyalty.clv_model$$, '22P02', 'a model without its keys'),
	($$SELECT 'model'::loyalty.clv_model$$, '22P02', 'a model that is no JSON'),
	($$SELECT replace(model::text, '"r":', '"r":-')::loyalty.clv_model FROM fit$$, '22P02', 'a model with a negative parameter'),
	($$SELECT replace(sample::text, '"v":1', '"v":2')::loyalty.clv_sample FROM sample$$, '22P02', 'a sample of another version'),
	($$SELECT '{"v":1,"horizon":0,"histories":[[1,0,5,6,0]]}'::loyalty.clv_sample$$, '22P02', 'a sample with an impossible history'),
	($$SELECT '{"v":1,"horizon":0,"histories":[[1,1,5,6,1],[1,0,0,6,0]]}'::loyalty.clv_sample$$, '22P02', 'a sample out of order'),
	($$SELECT '{"v":1,"horizon":0,"histories":[]}'::loyalty.clv_sample$$, '22P02', 'a sample of nobody')) v (query, state, what);

-- ---- the back-test, on members whose holdout is known

CREATE TABLE held AS SELECT loyalty.clv_holdout_agg(summary, '2020-01-01', CASE WHEN id % 3 = 0 THEN later END, '2020-03-31') AS sample
FROM made, (SELECT loyalty.rfm_agg(timestamptz '2020-01-01' + i * interval '10 days', 12.34) AS later FROM generate_series(1, 2) i) h;
SELECT is((e).members, 250::bigint, 'back-test: members'), is((e).orders, 166::bigint, 'orders made'), is((e).amount, 2048.44, 'their amount, exact'),
	is((e).holdout_days, 90::numeric, 'days of the holdout'),
	near((e).expected_orders, (SELECT sum(loyalty.expected_orders(summary, f.model, '90 days', '2020-01-01')) FROM made), 1e-10, 'orders expected by ' || kind),
	near((e).expected_amount, (SELECT sum(loyalty.lifetime_value(summary, f.model, '90 days', 0, '2020-01-01')) FROM made), 1e-10, 'amount expected by ' || kind),
	near((e).orders_off, (e).expected_orders / 166 - 1, 1e-12, 'how far off'),
	near((e).mean_absolute_error, (SELECT avg(abs(loyalty.expected_orders(summary, f.model, '90 days', '2020-01-01') - CASE WHEN id % 3 = 0 THEN 2 ELSE 0 END)) FROM made), 1e-10, 'mean absolute error'),
	near((e).root_mean_square_error, sqrt((SELECT avg((loyalty.expected_orders(summary, f.model, '90 days', '2020-01-01') - CASE WHEN id % 3 = 0 THEN 2 ELSE 0 END) ^ 2) FROM made)), 1e-10, 'root mean square error')
FROM held, (SELECT kind, model, loyalty.clv_holdout_error((SELECT sample FROM held), model) AS e FROM fit) f;
SELECT near((loyalty.clv_holdout_error(sample, NULL)).expected_orders, (SELECT sum(h.members * h.repeat_orders / h.t_days * 90) FROM loyalty.clv_histories(sample) h), 1e-10, 'the naive forecast goes on as before') FROM held;
SELECT results_eq($$SELECT model_name, best_fit, aic FROM loyalty.clv_backtest((SELECT sample FROM held)) WHERE aic IS NOT NULL ORDER BY 1$$,
	$$SELECT model_name, best, aic FROM loyalty.clv_compare((SELECT sample FROM sample)) ORDER BY 1$$, 'a holdout does not change the fits');
SELECT is(count(*), 4::bigint, 'three models and the yardstick'), is(count(*) FILTER (WHERE best_forecast), 1::bigint, 'one forecasts best'),
	is(min(root_mean_square_error) FILTER (WHERE best_forecast), min(root_mean_square_error), 'by its error') FROM loyalty.clv_backtest((SELECT sample FROM held));

-- ---- real data: CDNOW, and figures computed elsewhere

SELECT coalesce(nullif(:'data', ''), '') <> '' AS has_data \gset
\if :has_data
\setenv CLV_DATA :data
CREATE TABLE line (line text);
\copy line FROM PROGRAM 'cat "$CLV_DATA/cdnow/CDNOW_sample.txt"'
CREATE TABLE cdnow AS
SELECT id, loyalty.rfm_agg(at, amount) FILTER (WHERE at <= '1997-09-30') AS summary, loyalty.rfm_agg(at, amount) FILTER (WHERE at > '1997-09-30') AS held
FROM (SELECT w[2]::int AS id, w[3]::timestamptz AS at, sum(w[5]::numeric) AS amount FROM (SELECT regexp_split_to_array(trim(line), '\s+') AS w FROM line) v GROUP BY 1, 2) d
GROUP BY id;
CREATE TABLE want (dataset text, model text, n int, quantity text, value float8, std_err float8, note text);
\copy want FROM PROGRAM 'cat "$CLV_DATA/expected/clv_fits_cdnow.csv"' (FORMAT csv, HEADER)
CREATE TABLE cbs (id int, x int, t_x float8, t float8, m float8, x_star int);
\copy cbs FROM PROGRAM 'cat "$CLV_DATA/expected/cdnow_sample_cbs_39w.csv"' (FORMAT csv, HEADER)
CREATE TABLE customer (id int, x int, t_x numeric, t numeric, p_alive numeric, cet_39 numeric, cet_52 numeric, m numeric, spend numeric, clv_39 numeric, clv_52 numeric);
\copy customer FROM PROGRAM 'cat "$CLV_DATA/expected/cdnow_bgnbd_per_customer_at_published_params.csv"' (FORMAT csv, HEADER)
CREATE TABLE anchor (anchor text, value numeric, published numeric, difference numeric);
\copy anchor FROM PROGRAM 'cat "$CLV_DATA/expected/clv_scalar_anchors.csv"' (FORMAT csv, HEADER)

-- the sufficient statistics of every customer
SELECT is_empty($$SELECT c.*, h.* FROM cdnow d JOIN cbs c USING (id),
		LATERAL (SELECT loyalty.clv_holdout_agg(s, '1997-09-30', l, '1998-06-30') AS z FROM (VALUES (d.summary, d.held)) v (s, l)) q, loyalty.clv_histories(z) h
	WHERE (h.repeat_orders, h.held_orders) <> (c.x, c.x_star) OR abs(h.t_x_days - c.t_x * 7) > 1e-6 OR abs(h.t_days - c.t * 7) > 1e-6
		OR abs(coalesce(h.mean_amount, 0) - c.m) > 1e-6$$, 'x, t_x, T, mean and held-out orders of each CDNOW customer');
SELECT is((SELECT count(*) FROM cdnow JOIN cbs USING (id)), 2357::bigint, 'all of them');

-- fits of the two data sets: from the log, and from the rounded summary
CREATE TABLE summarized AS SELECT id, member(x, t_x, t, m) AS summary FROM customer;
CREATE TABLE real_fit AS
SELECT dataset, model_name, loyalty.clv_fit(sample, model_name) AS model
FROM (SELECT 'cdnow_rebuilt_from_log' AS dataset, loyalty.clv_agg(summary, '1997-09-30') AS sample FROM cdnow
	UNION ALL SELECT 'cdnow_lifetimes_summary', loyalty.clv_agg(summary, '2020-01-01') FROM summarized) s, unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) model_name;
SELECT is(count(*), 6::bigint, 'fits'), ok(bool_and(r.converged AND r.spend_converged), 'all converge') FROM real_fit, loyalty.clv_report(model) r;
CREATE TABLE real_parameter AS
SELECT dataset, CASE p.part WHEN 'bg/nbd' THEN 'BG/NBD' WHEN 'mbg/nbd' THEN 'MBG/NBD' WHEN 'pareto/nbd' THEN 'Pareto/NBD' ELSE 'Gamma-Gamma' END AS model, parameter, estimate, std_error
FROM real_fit, loyalty.clv_parameters(model) p
UNION SELECT dataset, CASE model_name WHEN 'bg/nbd' THEN 'BG/NBD' WHEN 'mbg/nbd' THEN 'MBG/NBD' ELSE 'Pareto/NBD' END, 'loglik', loglik, NULL FROM (SELECT dataset, r.* FROM real_fit, loyalty.clv_report(model) r) v
UNION SELECT dataset, 'Gamma-Gamma', 'loglik', spend_loglik, NULL FROM (SELECT dataset, r.* FROM real_fit, loyalty.clv_report(model) r) v;
-- the log-likelihood to 1e-4; parameters as far as it determines them: a change of a thousandth of a standard error is 5e-7 in it
SELECT CASE WHEN w.quantity = 'loglik' THEN near((h.estimate - w.value)::numeric, 0, 1e-4, format('%s, %s: ln L %s', w.dataset, w.model, w.value))
	ELSE near((h.estimate - w.value)::numeric / coalesce(w.std_err, h.std_error)::numeric, 0, 2e-3, format('%s, %s: %s %s', w.dataset, w.model, w.quantity, w.value)) END
FROM want w LEFT JOIN real_parameter h ON h.model = w.model AND h.parameter = w.quantity
	AND h.dataset = CASE w.dataset WHEN 'cdnow_btyd_cbs' THEN 'cdnow_rebuilt_from_log' WHEN 'cdnow_lifetimes_monetary' THEN 'cdnow_lifetimes_summary' ELSE w.dataset END
WHERE w.model NOT LIKE '%@%' ORDER BY w.dataset, w.model, w.quantity;
SELECT close_to(h.std_error::numeric, w.std_err::numeric, 5e-4, format('%s, %s: standard error of %s', w.dataset, w.model, w.quantity))
FROM want w LEFT JOIN real_parameter h ON h.model = w.model AND h.parameter = w.quantity
	AND h.dataset = CASE w.dataset WHEN 'cdnow_lifetimes_monetary' THEN 'cdnow_lifetimes_summary' ELSE w.dataset END
WHERE w.std_err IS NOT NULL ORDER BY w.dataset, w.model, w.quantity;
SELECT is(spend_members, 946::bigint, 'customers with repeat spend') FROM real_fit f, loyalty.clv_report(model) WHERE dataset = 'cdnow_rebuilt_from_log' AND f.model_name = 'bg/nbd';

-- every customer at the published parameters
CREATE TABLE forecast AS
SELECT c.id, f.p_alive, f.expected_orders AS cet_39, e.cet_52, f.expected_spend AS spend, f.lifetime_value AS clv_39,
	f.expected_spend * (SELECT sum((o - before) * power(1.0027, -i)) FROM (SELECT i, o, lag(o, 1, 0) OVER (ORDER BY i) AS before
		FROM generate_series(1, 52) i, LATERAL (SELECT loyalty.expected_orders(s.summary, g, weeks(i), '2020-01-01') AS o) x) y) AS clv_52,
	loyalty.lifetime_value(s.summary, g, '364 days', power(1.0027, 365.25 / 7) - 1, '2020-01-01') AS clv_52_continuous
FROM customer c JOIN summarized s USING (id), given('published') g, loyalty.clv_forecast(s.summary, g, '273 days', 0, '2020-01-01') f,
	LATERAL (SELECT loyalty.expected_orders(s.summary, g, '364 days', '2020-01-01') AS cet_52) e;
SELECT near(max(abs(f.p_alive - c.p_alive)), 0, 1e-8, 'p_alive of every customer'), near(max(abs(f.cet_39 - c.cet_39)), 0, 1e-7, 'expected orders in 39 weeks'),
	near(max(abs(f.cet_52 - c.cet_52)), 0, 1e-7, 'and in 52'), near(max(abs(f.spend - c.spend)), 0, 1e-6, 'expected spend'),
	near(max(abs(f.clv_39 - c.clv_39)), 0, 1e-5, 'value in 39 weeks, undiscounted'), near(max(abs(f.clv_52 - c.clv_52)), 0, 1e-5, 'value in 52 weeks, discounted at the end of each week'),
	near(max(abs(f.clv_52_continuous / f.clv_52 - power(1.0027, 0.5))), 0, 1e-4, 'lifetime_value discounts half a week less'),
	is(count(*), 2357::bigint, 'all customers')
FROM forecast f JOIN customer c USING (id);
SELECT near(CASE w.quantity WHEN 'sum_p_alive' THEN (SELECT sum(p_alive) FROM forecast) WHEN 'sum_cet39' THEN (SELECT sum(cet_39) FROM forecast)
	WHEN 'sum_cet52' THEN (SELECT sum(cet_52) FROM forecast) WHEN 'sum_clv39' THEN (SELECT sum(clv_39) FROM forecast)
	WHEN 'sum_clv52' THEN (SELECT sum(clv_52) FROM forecast) WHEN 'actual_holdout_x_star' THEN (SELECT sum(x_star) FROM cbs) END, w.value::numeric, 1e-7, 'in all: ' || w.quantity)
FROM want w WHERE w.model LIKE '%@%';

-- scalar anchors: what each line asks is written in its name
CREATE FUNCTION part(anchor text, key text) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT substring(anchor FROM '\m' || key || '=([0-9.]+)')::numeric $$;
CREATE FUNCTION ours(anchor text) RETURNS numeric LANGUAGE sql STABLE AS $$
	SELECT CASE
		WHEN anchor LIKE 'bgnbd_pmf%' THEN loyalty.new_member_probability(given('published'), part(anchor, 'n')::bigint, weeks(part(anchor, 't')))
		WHEN anchor LIKE 'bgnbd_expectation t=% @MLE' THEN loyalty.new_member_orders((SELECT model FROM real_fit WHERE dataset = 'cdnow_lifetimes_summary' AND model_name = 'bg/nbd'), weeks(part(anchor, 't')))
		WHEN anchor LIKE 'bgnbd_expectation t=%' THEN loyalty.new_member_orders(given('published'), weeks(part(anchor, 't')))
		WHEN anchor LIKE 'gg_expected_avg%' THEN loyalty.expected_spend(member(part(anchor, 'x')::int, sign(part(anchor, 'x')), 39, part(anchor, 'm')), given('published'))
		WHEN anchor LIKE '%paradox%' THEN loyalty.expected_orders(member(part(anchor, 'x')::int, part(anchor, 'tx'), part(anchor, 'T')), given(CASE WHEN anchor LIKE 'pnbd%' THEN 'pareto' ELSE 'btyd' END), weeks(52), '2020-01-01')
		WHEN anchor = 'bgnbd_CET x=2 tx=30.43 T=38.86 t=39' THEN loyalty.expected_orders(member(2, 30.43, 38.86), given('published'), weeks(39), '2020-01-01')
		WHEN anchor = 'bgnbd_expectation_52' THEN loyalty.new_member_orders(given('btyd'), weeks(52))
		WHEN anchor = 'pnbd_expectation_52' THEN loyalty.new_member_orders(given('pareto'), weeks(52))
		WHEN anchor LIKE 'pnbd_expectation_52%full%' THEN loyalty.new_member_orders(given('pareto full'), weeks(52))
		-- customer 1516 bought 26 times more, the last time on day 216 of 217
		WHEN anchor LIKE '%CET 1516%' THEN loyalty.expected_orders(member(26, 216 / 7.0, 31), given(CASE WHEN anchor LIKE 'bgnbd%' THEN 'btyd' WHEN anchor LIKE '%full%' THEN 'pareto full' ELSE 'pareto' END), weeks(52), '2020-01-01')
		WHEN anchor LIKE '%PAlive 1516' THEN loyalty.p_alive(member(26, 216 / 7.0, 31), given(CASE WHEN anchor LIKE 'bgnbd%' THEN 'btyd' ELSE 'pareto' END), '2020-01-01')
	END
$$;
SELECT close_to(ours(anchor), value, 1e-6, anchor) FROM anchor;

-- the back-test of the log
CREATE TABLE cdnow_backtest AS
SELECT b.* FROM loyalty.clv_backtest((SELECT loyalty.clv_holdout_agg(summary, '1997-09-30', held, '1998-06-30') FROM cdnow)) b;
SELECT is(orders, 1882::bigint, model_name || ': orders in the holdout'), is(amount, (SELECT loyalty.purchase_total(loyalty.rollup(held)) FROM cdnow), 'their amount, exact'),
	near(expected_orders, v.want, 1e-5, 'orders expected'), is(best_fit, model_name = 'mbg/nbd', 'best fit'), is(best_forecast, model_name = 'pareto/nbd', 'best forecast')
FROM cdnow_backtest JOIN (VALUES ('bg/nbd', 1653.409), ('mbg/nbd', 1576.728), ('pareto/nbd', 1665.513), ('naive', 2930.101)) v (model_name, want) USING (model_name);

-- the master file, far within a second for each model
CREATE TABLE master_line (line text);
\copy master_line FROM PROGRAM 'gzip -dc "$CLV_DATA/cdnow/CDNOW_master.txt.gz" | tail -n +2'
CREATE TABLE master AS
SELECT id, loyalty.rfm_agg(at, amount) AS summary
FROM (SELECT w[1] AS id, w[2]::timestamptz AS at, sum(w[4]::numeric) AS amount FROM (SELECT regexp_split_to_array(trim(line), '\s+') AS w FROM master_line) v GROUP BY 1, 2) d
WHERE at <= '1997-09-30' GROUP BY id;
SELECT is(members, 23570::bigint, kind || ' of the master file: members'), ok(converged AND spend_converged, 'converges'), near(loglik::numeric, want, 1e-10, 'ln L')
FROM (VALUES ('bg/nbd', -95368.443933), ('mbg/nbd', -95336.958320), ('pareto/nbd', -95415.118617)) v (kind, want),
	LATERAL loyalty.clv_report((SELECT loyalty.clv_fit(loyalty.clv_agg(summary, '1997-09-30'), kind) FROM master)) r;
SELECT clock_timestamp() AS began \gset
SELECT count(*) AS fits FROM unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) kind, LATERAL loyalty.clv_report((SELECT loyalty.clv_fit(loyalty.clv_agg(summary, '1997-09-30'), kind) FROM master)) r \gset
SELECT cmp_ok(clock_timestamp() - :'began', '<', interval '2 seconds', 'three fits of the master file in less than two seconds on a busy machine');
\else
SELECT skip('CDNOW: no data beside the checkout', 1);
\endif

SELECT * FROM finish();
