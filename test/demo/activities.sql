-- What members did: each order with its lines, one for each article, numbered in
-- the order of articles.  They earn nothing yet: campaigns come next.
CREATE VIEW shop.sold AS
SELECT invoice, member_id, min(at) AS at, stock_code, sum(quantity) AS quantity, sum(amount) AS amount,
	   row_number() OVER (PARTITION BY invoice, member_id ORDER BY stock_code COLLATE "C")::integer AS line
FROM shop.order_line GROUP BY invoice, member_id, stock_code;
CREATE VIEW shop.history AS
SELECT o.member_id, o.at, o.amount, l.lines, o.invoice AS external_id, 'GBP' AS money, 'Europe/London' AS time_zone
FROM shop.orders o
JOIN (SELECT invoice, member_id, jsonb_agg(jsonb_build_object('sku', stock_code, 'quantity', quantity, 'amount', amount) ORDER BY line) AS lines
	  FROM shop.sold GROUP BY 1, 2) l USING (invoice, member_id);
CALL loyalty.backfill_activities('shop.history', evaluate => false);
ANALYZE loyalty.activity;

SELECT format('%s orders with %s lines', to_char(count(*), 'FM999,999,999'), to_char(sum(jsonb_array_length(lines)), 'FM999,999,999')) FROM loyalty.activity;
