-- A whole history in one statement.
SELECT count(*) FROM loyalty.backfill($$
	SELECT member_id, 'rewards' AS currency, 'earn' AS kind, trunc(amount)::bigint AS points,
		   at AS effective_at, invoice AS reference, 'order:' || invoice AS idempotency_key
	FROM shop.orders WHERE amount >= 1 ORDER BY member_id, at, invoice
$$);

SELECT format('%s entries, %s points; %s orders below 1.00 earn nothing',
			  to_char(count(*) FILTER (WHERE amount >= 1), 'FM999,999,999'),
			  to_char(sum(trunc(amount)), 'FM999,999,999'),
			  count(*) FILTER (WHERE amount < 1))
FROM shop.orders;
