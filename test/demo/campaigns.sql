-- The same four are defined, and decide all orders: what they give is what was
-- foretold, to the point.  What is multiplied is decided before what multiplies.
SELECT loyalty.define_campaign(campaign, definition, '2000-01-01') FROM shop.campaign ORDER BY place;
-- points of the shop's other currency can pay, too
SELECT loyalty.define_benefit('pay', '{"kind": "payment", "currency": "rewards", "points": 100, "worth": 1, "step": 100, "money": "GBP"}');
SELECT format('CALL loyalty.reapply_campaign(%L, %L, %L, %L)', campaign, '-infinity', 'infinity', 'introduced') FROM shop.campaign ORDER BY place
\gexec
DO $$
DECLARE
	foretold bigint := (SELECT value_then FROM shop.backtest WHERE measure = 'points');
	given bigint := (SELECT sum(points) FROM loyalty.award);
BEGIN
	IF given IS DISTINCT FROM foretold THEN
		RAISE EXCEPTION 'campaigns gave % points, and % were foretold', given, foretold;
	END IF;
END
$$;

SELECT format('%s points in %s awards, as foretold', to_char(sum(points), 'FM999,999,999'), to_char(count(*), 'FM999,999,999')) FROM loyalty.award;
