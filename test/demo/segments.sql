-- Recency, frequency and monetary of every member the day after the last order,
-- scored by quantiles, named by the partition of the 125 codes.
CREATE TABLE shop.segment AS
SELECT s.* FROM (SELECT max(at) AT TIME ZONE 'Europe/London' AS last FROM shop.orders) o,
	 LATERAL loyalty.rfm_segment_sizes('shop.orders', as_of => (date_trunc('day', last) + interval '2 days') AT TIME ZONE 'Europe/London') s;

SELECT format('%s segments; %s hold %s%% of the revenue', count(*),
			  (array_agg(segment ORDER BY revenue DESC))[1], round(100 * max(revenue_share)))
FROM shop.segment;
