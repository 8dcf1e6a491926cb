-- Purchases: the customer known, quantity and price positive.
INSERT INTO shop.order_line
SELECT invoice, customer_id::bigint, at, stock_code, quantity, quantity * unit_price
FROM shop.staging
WHERE customer_id IS NOT NULL AND quantity > 0 AND unit_price > 0;

INSERT INTO shop.orders
SELECT invoice, member_id, min(at), sum(amount)
FROM shop.order_line GROUP BY invoice, member_id;

-- Returns: invoices that begin with C.  The file does not say which purchase a
-- line was bought with; it is held to be of the member's latest earlier order
-- with the same article, and of none where there is no such order.
CREATE INDEX ON shop.order_line (member_id, stock_code, at);
ANALYZE shop.order_line;
INSERT INTO shop.return_line
SELECT s.invoice, s.customer_id::bigint, s.at, s.stock_code, -s.quantity, -s.quantity * s.unit_price,
	   (SELECT l.invoice FROM shop.order_line l
		WHERE l.member_id = s.customer_id::bigint AND l.stock_code = s.stock_code AND l.at < s.at
		ORDER BY l.at DESC, l.invoice DESC LIMIT 1)
FROM shop.staging s
WHERE s.invoice LIKE 'C%' AND s.customer_id IS NOT NULL AND s.quantity < 0 AND s.unit_price > 0;

-- An order earned one point for each whole unit of money, and no more than
-- that goes back, however much is returned of it.
INSERT INTO shop.clawback
SELECT invoice, of_invoice, member_id, at, points
FROM (SELECT r.*, least(trunc(r.upto), trunc(o.amount))::bigint
				- least(trunc(r.upto - r.amount), trunc(o.amount))::bigint AS points
	  FROM (SELECT invoice, of_invoice, member_id, min(at) AS at, sum(amount) AS amount,
				   sum(sum(amount)) OVER (PARTITION BY of_invoice ORDER BY min(at), invoice) AS upto
			FROM shop.return_line WHERE of_invoice IS NOT NULL
			GROUP BY invoice, of_invoice, member_id) r
	  JOIN shop.orders o ON o.invoice = r.of_invoice) c
WHERE points > 0;

DROP TABLE shop.staging;
ANALYZE shop.orders, shop.clawback;

-- The instants of the story: rewards are handed out on the first of the month
-- two months before the last order's, and the books are closed at the end of
-- the last order's month.
CREATE TABLE shop.calendar AS
SELECT (date_trunc('month', last) - interval '2 months') AT TIME ZONE 'Europe/London' AS reward,
	   (date_trunc('month', last) + interval '1 month') AT TIME ZONE 'Europe/London' AS closing
FROM (SELECT max(at) AT TIME ZONE 'Europe/London' AS last FROM shop.orders) o;

SELECT format('%s lines, %s invoices, %s members, worth %s',
			  (SELECT to_char(count(*), 'FM999,999,999') FROM shop.order_line),
			  to_char(count(*), 'FM999,999,999'),
			  to_char(count(DISTINCT member_id), 'FM999,999,999'),
			  to_char(sum(amount), 'FM999,999,999.000'))
FROM shop.orders;
