-- Who comes back, by month of the first order; and how soon.
CREATE TABLE shop.cohort AS
SELECT loyalty.retention_events_agg(member_id, at, 'month', 'Europe/London') AS cohorts FROM shop.orders;

SELECT format('%s cells; %s%% buy again, half of them within %s days of an order',
			  (SELECT count(*) FROM shop.cohort, loyalty.retention_matrix(cohorts)),
			  round(100 * loyalty.repurchase_rate(r)), loyalty.interval_percentile(r, 0.5))
FROM (SELECT loyalty.repurchase_agg(a) AS r
	  FROM (SELECT loyalty.activity_agg(at, 'day', 'Europe/London') AS a FROM shop.orders GROUP BY member_id) m) x;
