-- Three models of when members buy, and one of how much; the best is kept.
CREATE TABLE shop.customer AS
SELECT member_id, loyalty.rfm_agg(at, amount) AS summary FROM shop.orders GROUP BY member_id;
CREATE TABLE shop.value_model AS
SELECT c.*, as_of
FROM (SELECT as_of, loyalty.clv_agg(summary, as_of) AS sample
	  FROM shop.customer, (SELECT max(at) AS as_of FROM shop.orders) o
	  GROUP BY as_of OFFSET 0) s,
	 loyalty.clv_compare(sample) c;

SELECT format('%s fits best (log-likelihood %s)', model_name, round(loglik::numeric, 1))
FROM shop.value_model WHERE best;
