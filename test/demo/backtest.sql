-- Four campaigns, as drafts: what they would have given for all orders there are.
-- Gifts are in lane bonus, so that nothing doubles them.
CREATE TABLE shop.campaign (place integer, campaign text PRIMARY KEY, says text, definition jsonb);
INSERT INTO shop.campaign
SELECT v.place, v.campaign, v.says, v.definition::jsonb FROM shop.calendar c, LATERAL (VALUES
	(1, 'base', '1 point for each 1.00', '{"then": [{"points": {"give": 1, "per": 1}}]}'),
	(2, 'autumn', format('points doubled in %s', to_char(c.reward AT TIME ZONE 'Europe/London', 'FMMonth')),
		format('{"lane": "bonus", "between": ["%s", "%s"], "then": [{"multiply": 2, "lane": "base"}]}',
			(c.reward AT TIME ZONE 'Europe/London')::date, (c.reward AT TIME ZONE 'Europe/London')::date + 31)),
	(3, 'big_order', '100 points from 500.00, 300 a month at most',
		'{"lane": "bonus", "when": {"amount": {">=": 500}}, "then": [{"points": 100}], "limits": {"member": {"points": 300, "within": "month"}}}'),
	(4, 'welcome', '200 points for the first order, a budget of 1,000,000',
		'{"lane": "bonus", "when": {"count": {"kind": "order", "within": "lifetime", "=": 0}}, "then": [{"points": 200}], "limits": {"total": {"points": 1000000}}}')) v (place, campaign, says, definition);

CREATE TABLE shop.backtest AS
SELECT * FROM loyalty.backtest_summary((SELECT jsonb_object_agg(campaign, definition) FROM shop.campaign));

SELECT format('%s points for %s orders of %s members; %s trimmed', to_char(max(value_then) FILTER (WHERE measure = 'points'), 'FM999,999,999'),
			  to_char(max(value_then) FILTER (WHERE measure = 'awards'), 'FM999,999,999'), to_char(max(value_then) FILTER (WHERE measure = 'members'), 'FM999,999,999'),
			  to_char(max(value_then) FILTER (WHERE measure = 'trimmed'), 'FM999,999,999'))
FROM shop.backtest;
