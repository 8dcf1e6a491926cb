-- Returns between two instants of the calendar take their points back, in
-- order of time, each from the lot that its order opened.
SELECT coalesce((SELECT reward FROM shop.calendar WHERE :'after' = 'reward'), '-infinity') AS "from",
	   coalesce((SELECT reward FROM shop.calendar WHERE :'before' = 'reward'), 'infinity') AS upto
\gset
SELECT format('%s reversals, %s points',
			  to_char(count(*), 'FM999,999,999'), to_char(coalesce(sum(c.points), 0), 'FM999,999,999'))
FROM (SELECT c.*, l.entry_id
	  FROM shop.clawback c JOIN loyalty.ledger l ON l.member_id = c.member_id AND l.reference = c.of_invoice AND l.kind = 'earn'
	  WHERE c.at >= :'from' AND c.at < :'upto'
	  ORDER BY c.at, c.invoice, c.of_invoice) c
CROSS JOIN LATERAL loyalty.reverse(
	member_id => c.member_id,
	target_entry_id => c.entry_id,
	points => c.points,
	effective_at => c.at,
	reference => c.invoice,
	idempotency_key => 'return:' || c.invoice || ':' || c.of_invoice) r;
