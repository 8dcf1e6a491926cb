-- Goods come back, line by line, as far as there is something left of the line:
-- each order is decided anew as it is then.
CREATE TABLE shop.goods_back AS
SELECT r.invoice, r.of_invoice, r.member_id, r.at, s.line, least(r.quantity, s.quantity - r.before) AS quantity
FROM (SELECT invoice, of_invoice, member_id, min(at) AS at, stock_code, sum(quantity) AS quantity,
			 coalesce(sum(sum(quantity)) OVER (PARTITION BY of_invoice, stock_code ORDER BY min(at), invoice ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
	  FROM shop.return_line WHERE of_invoice IS NOT NULL GROUP BY invoice, of_invoice, member_id, stock_code) r
JOIN shop.sold s ON s.invoice = r.of_invoice AND s.member_id = r.member_id AND s.stock_code = r.stock_code
WHERE s.quantity > r.before;
CREATE TABLE shop.returned AS
SELECT g.*, t.points
FROM (SELECT invoice, of_invoice, member_id, min(at) AS at, jsonb_agg(jsonb_build_object('line', line, 'quantity', quantity) ORDER BY line) AS lines
	  FROM shop.goods_back GROUP BY 1, 2, 3 ORDER BY min(at), invoice, of_invoice) g
CROSS JOIN LATERAL loyalty.record_return(g.member_id, loyalty.find_activity(g.member_id, 'order', g.of_invoice), g.lines, at => g.at, reference => g.invoice) t;

SELECT format('%s returns of %s lines take %s points back', to_char(count(*), 'FM999,999,999'),
			  to_char(sum(jsonb_array_length(lines)), 'FM999,999,999'), to_char(-sum(points), 'FM999,999,999'))
FROM shop.returned;
