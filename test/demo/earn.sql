-- A whole history in one statement: one point for each whole unit of money.
-- With the source and the orders' keys, a trigger on the orders knows it later.
CREATE VIEW shop.earned AS
SELECT member_id, 'rewards' AS currency, trunc(amount)::bigint AS points, at AS effective_at,
	   invoice AS reference, invoice AS idempotency_key
FROM shop.orders WHERE amount >= 1;
SELECT entries FROM loyalty.backfill('shop.earned', source => 'orders');

SELECT format('%s entries, %s points; %s orders below 1.00 earn nothing',
			  to_char(count(*) FILTER (WHERE amount >= 1), 'FM999,999,999'),
			  to_char(sum(trunc(amount)), 'FM999,999,999'),
			  count(*) FILTER (WHERE amount < 1))
FROM shop.orders;
