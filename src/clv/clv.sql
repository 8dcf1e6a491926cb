/*
 * clv: customer value.
 *
 * Two steps: clv_agg makes a sample of members' summaries, clv_fit fits a model
 * to it.  Both are values.  The model then answers for single members:
 * p_alive, expected_orders, expected_spend, lifetime_value.  clv_compare and
 * clv_backtest say which model to take.  None of it needs a table.
 */

CREATE TYPE clv_sample;

CREATE FUNCTION clv_sample_in(cstring) RETURNS clv_sample
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_sample_in';
COMMENT ON FUNCTION clv_sample_in(cstring) IS 'Text input of type clv_sample: reads what clv_sample_out writes and refuses anything else (22P02).';

CREATE FUNCTION clv_sample_out(clv_sample) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_sample_out';
COMMENT ON FUNCTION clv_sample_out(clv_sample) IS 'Text output of type clv_sample: one JSON object, times in microseconds.';

CREATE FUNCTION clv_sample_recv(internal) RETURNS clv_sample
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_sample_recv';
COMMENT ON FUNCTION clv_sample_recv(internal) IS 'Binary input of type clv_sample; refuses what no members can have led to (22P03).';

CREATE FUNCTION clv_sample_send(clv_sample) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_sample_send';
COMMENT ON FUNCTION clv_sample_send(clv_sample) IS 'Binary output of type clv_sample.';

CREATE TYPE clv_sample (
	INPUT = clv_sample_in,
	OUTPUT = clv_sample_out,
	RECEIVE = clv_sample_recv,
	SEND = clv_sample_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = extended
);
COMMENT ON TYPE clv_sample IS
'What a fit of customer value needs of any number of members, without their names: how many repeat purchases, when the last, how long observed, of what mean amount; equal histories counted, 56 bytes for each distinct one, with or without a holdout. Made by clv_agg or clv_holdout_agg, merged by clv_rollup. Equal members give equal bytes whatever the plan.';

CREATE TYPE clv_model;

CREATE FUNCTION clv_model_in(cstring) RETURNS clv_model
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_model_in';
COMMENT ON FUNCTION clv_model_in(cstring) IS 'Text input of type clv_model: JSON as clv_model_out writes it, keys in any order; refuses anything else (22P02).';

CREATE FUNCTION clv_model_out(clv_model) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_model_out';
COMMENT ON FUNCTION clv_model_out(clv_model) IS 'Text output of type clv_model: one JSON object, numbers as short as reads back to the same bits.';

CREATE FUNCTION clv_model_recv(internal) RETURNS clv_model
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_model_recv';
COMMENT ON FUNCTION clv_model_recv(internal) IS 'Binary input of type clv_model; refuses what no fit can have led to (22P03).';

CREATE FUNCTION clv_model_send(clv_model) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_model_send';
COMMENT ON FUNCTION clv_model_send(clv_model) IS 'Binary output of type clv_model.';

CREATE TYPE clv_model (
	INPUT = clv_model_in,
	OUTPUT = clv_model_out,
	RECEIVE = clv_model_recv,
	SEND = clv_model_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = double,
	STORAGE = plain
);
COMMENT ON TYPE clv_model IS
'A fitted model of customer value: BG/NBD, MBG/NBD or Pareto/NBD for orders, Gamma-Gamma for spend, with standard errors and how the fit went. Made by clv_fit or make_clv_model; casts to and from jsonb; read by clv_parameters and clv_report. Fit once and keep it, in a column or a materialized CTE: a planner that moves clv_fit next to the forecasts fits once for each member.';

CREATE CAST (clv_model AS jsonb) WITH INOUT;
COMMENT ON CAST (clv_model AS jsonb) IS 'The model as a JSON object, for columns and applications that take only core types.';

CREATE CAST (jsonb AS clv_model) WITH INOUT;
COMMENT ON CAST (jsonb AS clv_model) IS 'The model again, to the bit.';

/* the aggregates */

CREATE FUNCTION clv_accum(state aggregate_state, summary rfm, as_of timestamptz) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_accum';
COMMENT ON FUNCTION clv_accum(aggregate_state, rfm, timestamptz) IS 'Transition function of clv_agg.';

CREATE FUNCTION clv_holdout_accum(state aggregate_state, summary rfm, as_of timestamptz, held rfm, until timestamptz) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_holdout_accum';
COMMENT ON FUNCTION clv_holdout_accum(aggregate_state, rfm, timestamptz, rfm, timestamptz) IS 'Transition function of clv_holdout_agg.';

CREATE FUNCTION clv_rollup_accum(state aggregate_state, sample clv_sample) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_rollup_accum';
COMMENT ON FUNCTION clv_rollup_accum(aggregate_state, clv_sample) IS 'Transition function of clv_rollup.';

CREATE FUNCTION clv_combine(aggregate_state, aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_combine';
COMMENT ON FUNCTION clv_combine(aggregate_state, aggregate_state) IS 'Combine function of the aggregates that make a clv_sample.';

CREATE FUNCTION clv_final(aggregate_state) RETURNS clv_sample
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_final';
COMMENT ON FUNCTION clv_final(aggregate_state) IS 'Final function of the aggregates that make a clv_sample.';

CREATE AGGREGATE clv_agg(summary rfm, as_of timestamptz) (
	SFUNC = clv_accum,
	STYPE = aggregate_state,
	FINALFUNC = clv_final,
	COMBINEFUNC = clv_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE clv_agg(rfm, timestamptz) IS
'Sample of members for clv_fit: one row for each member, its summary and the instant until which it was observed. Repeat purchases are those after the first instant, so summarize by day, hour or order where one purchase has several rows. Members whose summary or as_of is NULL or who bought nothing are left out; NULL when none is left. as_of before a last purchase or not finite: LY302. Same bytes in any row order and with any number of workers.';

CREATE AGGREGATE clv_holdout_agg(summary rfm, as_of timestamptz, held rfm, until timestamptz) (
	SFUNC = clv_holdout_accum,
	STYPE = aggregate_state,
	FINALFUNC = clv_final,
	COMBINEFUNC = clv_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE clv_holdout_agg(rfm, timestamptz, rfm, timestamptz) IS
'As clv_agg, and beside it what each member did after as_of, up to until (NULL: nothing), which a fit does not see and clv_backtest compares with. Held-out purchases at or before as_of or after until, or distances from as_of to until that differ: LY320.';

CREATE AGGREGATE clv_rollup(sample clv_sample) (
	SFUNC = clv_rollup_accum,
	STYPE = aggregate_state,
	FINALFUNC = clv_final,
	COMBINEFUNC = clv_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE clv_rollup(clv_sample) IS
'Merges samples into one, as clv_agg over all their members would. NULL samples are left out. Samples with holdouts of different lengths, or with and without one: LY320.';

CREATE FUNCTION clv_histories(sample clv_sample, OUT members bigint, OUT repeat_orders bigint, OUT t_x_days numeric, OUT t_days numeric,
	OUT mean_amount numeric, OUT held_orders bigint, OUT held_amount numeric)
RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_histories';
COMMENT ON FUNCTION clv_histories(clv_sample) IS
'What a sample holds: for each distinct history the number of members who have it, their repeat orders, days from the first purchase to the last and to as_of, mean amount of a repeat order (NULL without one), and, with a holdout, orders and amount of one member in it.';

/* the models */

CREATE FUNCTION clv_fit(sample clv_sample, model text DEFAULT 'bg/nbd', unit_days double precision DEFAULT 7, max_iterations integer DEFAULT 200)
RETURNS clv_model
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_fit';
COMMENT ON FUNCTION clv_fit(clv_sample, text, double precision, integer) IS
'Fits a model of orders, and Gamma-Gamma for spend, by maximum likelihood. model: bg/nbd (Fader, Hardie, Lee 2005), mbg/nbd (Batislam, Denizel, Filiztekin 2007) or pareto/nbd (Schmittlein, Morrison, Colombo 1987); Gamma-Gamma: Colombo, Jiang 1999; Fader, Hardie 2013, fitted to mean amounts of repeat orders. unit_days: unit of time of alpha and beta, weeks by default. Newton''s method with exact derivatives; standard errors from the observed information. A fit that reaches no maximum is no error: see converged and status in clv_report. Unknown model or argument out of range: LY003.';

CREATE FUNCTION make_clv_model(model text,
	r double precision DEFAULT NULL, alpha double precision DEFAULT NULL,
	a double precision DEFAULT NULL, b double precision DEFAULT NULL,
	s double precision DEFAULT NULL, beta double precision DEFAULT NULL,
	p double precision DEFAULT NULL, q double precision DEFAULT NULL, v double precision DEFAULT NULL,
	unit_days double precision DEFAULT 7)
RETURNS clv_model
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_make_clv_model';
COMMENT ON FUNCTION make_clv_model(text, double precision, double precision, double precision, double precision, double precision, double precision, double precision, double precision, double precision, double precision) IS
'A model with given parameters, such as published or agreed ones: r, alpha, a, b for bg/nbd and mbg/nbd; r, alpha, s, beta for pareto/nbd; p, q, v of Gamma-Gamma with either, or none of the three. alpha and beta in units of unit_days. Parameters missing, not above zero or of another model: LY003.';

CREATE FUNCTION clv_parameters(model clv_model, OUT part text, OUT parameter text, OUT estimate double precision, OUT std_error double precision)
RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_parameters';
COMMENT ON FUNCTION clv_parameters(clv_model) IS
'Parameters of a model: part (the model of orders, or gamma-gamma), name, estimate, and standard error from the observed information; NULL where there is none.';

CREATE FUNCTION clv_report(model clv_model, OUT model_name text, OUT unit_days double precision, OUT status text, OUT converged boolean,
	OUT members bigint, OUT repeat_members bigint, OUT iterations integer, OUT loglik double precision, OUT aic double precision,
	OUT spend_status text, OUT spend_converged boolean, OUT spend_members bigint, OUT spend_iterations integer,
	OUT spend_loglik double precision, OUT spend_aic double precision)
RETURNS record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_report';
COMMENT ON FUNCTION clv_report(clv_model) IS
'How a fit went: status is converged (at a maximum), boundary (a parameter tends to zero or infinity: the data have a simpler pattern than the model, forecasts are usable, standard errors are not), not_converged, too_few (no fit: fewer than two members or no repeat purchase; for spend fewer than three members who bought again), or given. iterations are those over all histories. Log-likelihood and Akaike''s criterion (lower is better; comparable for the same sample and the same unit of time). The columns spend_ are those of Gamma-Gamma.';

CREATE FUNCTION clv_compare(sample clv_sample, models text[] DEFAULT '{bg/nbd,mbg/nbd,pareto/nbd}', unit_days double precision DEFAULT 7,
	OUT model_name text, OUT converged boolean, OUT status text, OUT loglik double precision, OUT aic double precision,
	OUT aic_distance double precision, OUT best boolean, OUT model clv_model)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.model_name, r.converged, r.status, r.loglik, r.aic,
		r.aic - min(r.aic) OVER (),
		row_number() OVER (ORDER BY r.status IN ('converged', 'boundary') DESC, r.aic, n.ordinality) = 1 AND r.aic IS NOT NULL,
		f.model
	FROM ROWS FROM (unnest(models)) WITH ORDINALITY AS n (name, ordinality)
	CROSS JOIN LATERAL (SELECT loyalty.clv_fit(sample, n.name, unit_days) AS model OFFSET 0) AS f
	CROSS JOIN LATERAL loyalty.clv_report(f.model) AS r
	ORDER BY r.status IN ('converged', 'boundary') DESC, r.aic, n.ordinality
$$;
COMMENT ON FUNCTION clv_compare(clv_sample, text[], double precision) IS
'Fits several models to one sample and ranks them by Akaike''s criterion, those behind that ended with status not_converged or too_few; best is true for the first. A fit at a boundary ranks by what it reached there. Returns the fitted models too.';

CREATE FUNCTION clv_holdout_error(sample clv_sample, model clv_model, OUT members bigint, OUT orders bigint, OUT expected_orders numeric,
	OUT orders_off numeric, OUT mean_absolute_error numeric, OUT root_mean_square_error numeric,
	OUT amount numeric, OUT expected_amount numeric, OUT amount_off numeric, OUT holdout_days numeric)
RETURNS record
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_holdout_error';
COMMENT ON FUNCTION clv_holdout_error(clv_sample, clv_model) IS
'How far a model is from what members did in the holdout of a sample: orders made and expected, how far off in all (0.1: ten percent too many; NULL without an order), mean absolute and root mean square error of the orders of one member, amounts likewise (expected is NULL without parameters of spend). A NULL model is the naive forecast: each member goes on at the rate x / T and mean amount so far. No holdout: LY320.';

CREATE FUNCTION clv_backtest(sample clv_sample, models text[] DEFAULT '{bg/nbd,mbg/nbd,pareto/nbd}', unit_days double precision DEFAULT 7,
	OUT model_name text, OUT converged boolean, OUT aic double precision, OUT members bigint, OUT orders bigint, OUT expected_orders numeric,
	OUT orders_off numeric, OUT mean_absolute_error numeric, OUT root_mean_square_error numeric,
	OUT amount numeric, OUT expected_amount numeric, OUT amount_off numeric, OUT holdout_days numeric,
	OUT best_fit boolean, OUT best_forecast boolean, OUT model clv_model)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.model_name, c.converged, c.aic, e.members, e.orders, e.expected_orders,
		e.orders_off, e.mean_absolute_error, e.root_mean_square_error,
		e.amount, e.expected_amount, e.amount_off, e.holdout_days,
		c.best, row_number() OVER (ORDER BY e.root_mean_square_error, c.aic) = 1,
		c.model
	FROM (SELECT b.model_name, b.converged, b.aic, b.best, b.model, false AS naive
		  FROM loyalty.clv_compare(sample, models, unit_days) AS b
		  WHERE b.aic IS NOT NULL
		  UNION ALL
		  SELECT 'naive', NULL, NULL, false, NULL, true) AS c
	CROSS JOIN LATERAL loyalty.clv_holdout_error(sample, c.model) AS e
	ORDER BY c.naive, e.root_mean_square_error, c.aic
$$;
COMMENT ON FUNCTION clv_backtest(clv_sample, text[], double precision) IS
'Fits models to the part of a sample that lies before its holdout and says how far off each was in the holdout, as clv_holdout_error does, with the naive forecast (each member goes on as before) as the yardstick in the last row. best_fit: lowest Akaike''s criterion; best_forecast: lowest root mean square error. Models without a fit are left out. No holdout: LY320.';

/* forecasts of a member */

CREATE FUNCTION p_alive(summary rfm, model clv_model, as_of timestamptz DEFAULT now())
RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_p_alive';
COMMENT ON FUNCTION p_alive(rfm, clv_model, timestamptz) IS
'Probability, 0 to 1, that a member is still active as of an instant (Fader, Hardie, Lee 2008; Batislam et al. 2007; Schmittlein et al. 1987). By bg/nbd who never bought again is alive for certain. NULL without a purchase. as_of before the last purchase: LY302; a model without parameters: LY321.';

CREATE FUNCTION expected_orders(summary rfm, model clv_model, horizon interval DEFAULT '365 days', as_of timestamptz DEFAULT now())
RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_expected_orders';
COMMENT ON FUNCTION expected_orders(rfm, clv_model, interval, timestamptz) IS
'Expected number of orders of a member within the horizon behind as_of (Fader, Hardie, Lee 2005, eq. 10; Batislam et al. 2007; Fader, Hardie 2005). In a horizon a month is 30 days, a year 365.25. NULL without a purchase. as_of before the last purchase: LY302; horizon below zero or beyond a thousand years: LY003; a model without parameters: LY321.';

CREATE FUNCTION expected_spend(summary rfm, model clv_model)
RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_expected_spend';
COMMENT ON FUNCTION expected_spend(rfm, clv_model) IS
'Expected amount of an order of a member by Gamma-Gamma (Fader, Hardie 2013, eq. 5): the mean of the repeat orders so far and that of all members, weighted. In the currency of the summary. NULL without a purchase, and where the model has no finite mean (p x + q <= 1). A model without parameters of spend: LY321.';

CREATE FUNCTION lifetime_value(summary rfm, model clv_model, horizon interval DEFAULT '365 days', discount_rate double precision DEFAULT 0, as_of timestamptz DEFAULT now())
RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_lifetime_value';
COMMENT ON FUNCTION lifetime_value(rfm, clv_model, interval, double precision, timestamptz) IS
'Expected amount of all orders of a member within the horizon behind as_of, discounted to as_of: expected_spend times the discounted expected orders (Fader, Hardie, Lee 2005, iso-value curves). discount_rate is yearly, of 365.25 days, 0.1 for ten percent; an order at time u counts (1 + discount_rate) ^ -u, at its instant, not at the end of a period. Amounts, not margins: multiply by the margin. NULL and errors as expected_orders and expected_spend; discount_rate outside 0 to 1000: LY003.';

CREATE FUNCTION clv_forecast(summary rfm, model clv_model, horizon interval DEFAULT '365 days', discount_rate double precision DEFAULT 0, as_of timestamptz DEFAULT now(),
	OUT p_alive numeric, OUT expected_orders numeric, OUT expected_spend numeric, OUT lifetime_value numeric)
RETURNS record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_clv_forecast';
COMMENT ON FUNCTION clv_forecast(rfm, clv_model, interval, double precision, timestamptz) IS
'p_alive, expected_orders, expected_spend and lifetime_value of a member in one row, for LATERAL. Figures that need parameters that the model does not have are NULL.';

CREATE FUNCTION next_order(summary rfm, model clv_model, coverage double precision DEFAULT 0.8, as_of timestamptz DEFAULT now(),
	OUT p_again numeric, OUT likely_at timestamptz, OUT earliest_at timestamptz, OUT latest_at timestamptz)
RETURNS record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_next_order';
COMMENT ON FUNCTION next_order(rfm, clv_model, double precision, timestamptz) IS
'Whether a member will order again after as_of, and when. p_again: the probability that there is a next order at all. If there is, likely_at is the instant by which it has come in half of the cases (the median; the mean may be infinite), and it lies between earliest_at and latest_at with probability coverage, as often before as behind. Given that the member is alive, the rate of orders is Gamma(r + x, alpha + T) by each model, so by bg/nbd and mbg/nbd the order comes within u with probability 1 - ((alpha + T) / (alpha + T + u)) ^ (r + x), and p_again is p_alive; by pareto/nbd the member may die before (Fader, Hardie, Lee 2005; Batislam et al. 2007; Fader, Hardie 2005). It is what the model says of all members with this history: no habit of the one, such as a weekday or a payday, and nothing of the uncertainty of the parameters. Instants beyond the last one of PostgreSQL are NULL. Days have 24 hours. NULL without a purchase. coverage not above 0 and below 1: LY003; other errors as p_alive.';

CREATE FUNCTION new_member_orders(model clv_model, horizon interval DEFAULT '365 days')
RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_new_member_orders';
COMMENT ON FUNCTION new_member_orders(clv_model, interval) IS
'Expected number of repeat orders of a member within the horizon behind the first purchase. Errors: LY003, LY321 as expected_orders.';

CREATE FUNCTION new_member_probability(model clv_model, orders bigint, horizon interval DEFAULT '365 days')
RETURNS numeric
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_new_member_probability';
COMMENT ON FUNCTION new_member_probability(clv_model, bigint, interval) IS
'Probability that a member makes just so many repeat orders within the horizon behind the first purchase. orders outside 0 to 1000000: LY003; other errors as expected_orders.';
