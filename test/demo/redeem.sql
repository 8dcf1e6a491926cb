-- Who has 1,000 points or more on the day of rewards redeems every full
-- thousand but not beyond 5,000.
SELECT format('%s members redeem %s points',
			  to_char(count(*), 'FM999,999,999'), to_char(coalesce(sum(w.points), 0), 'FM999,999,999'))
FROM (SELECT m.member_id, c.reward, least(b.available / 1000 * 1000, 5000) AS points
	  FROM shop.calendar c,
		   (SELECT DISTINCT member_id FROM shop.orders) m,
		   LATERAL loyalty.balance(member_id => m.member_id, currency => 'rewards', as_of => c.reward) b
	  WHERE b.available >= 1000
	  ORDER BY m.member_id) w
CROSS JOIN LATERAL loyalty.redeem(
	member_id => w.member_id,
	points => w.points,
	currency => 'rewards',
	effective_at => w.reward,
	reference => 'voucher',
	idempotency_key => 'reward:' || w.reward::date) r;
