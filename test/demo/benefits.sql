-- What levels are worth: on the last day, gold and platinum visit the lounge, and
-- whoever has 1,000 points left orders a voucher, of which there are 200.
SELECT closing FROM shop.calendar \gset
SELECT loyalty.define_benefit('lounge', '{"kind": "entitlement", "quota": {"club": {"gold": 1, "platinum": 2}}, "period": "quarter"}');
SELECT loyalty.define_benefit('ten_off', '{"kind": "coupon", "discount": {"amount": 10}, "valid": "90 days"}');
SELECT loyalty.define_benefit('voucher', '{"kind": "reward", "points": 1000, "currency": "rewards", "stock": 200, "member": 1, "goods": {"coupon": "ten_off"}}');

CREATE TABLE shop.visits AS
SELECT m.member_id, (loyalty.use_entitlement(m.member_id, 'lounge', e.remaining, :'closing')).use_id
FROM (SELECT DISTINCT member_id FROM shop.orders) m, LATERAL loyalty.entitlements(m.member_id, :'closing') e
WHERE e.benefit = 'lounge' AND e.remaining > 0 ORDER BY m.member_id;
CREATE TABLE shop.vouchers AS
SELECT m.member_id, (loyalty.order_reward(m.member_id, 'voucher', at => :'closing')).order_id
FROM (SELECT m.member_id FROM (SELECT DISTINCT member_id FROM shop.orders) m, LATERAL loyalty.balance(m.member_id, 'rewards', :'closing') b
	WHERE b.available >= 1000 ORDER BY b.available DESC, m.member_id LIMIT 200) m ORDER BY m.member_id;

SELECT format('%s members visit the lounge %s times; %s vouchers, %s left',
			  (SELECT to_char(count(*), 'FM999,999,999') FROM shop.visits),
			  (SELECT to_char(coalesce(sum(a.quantity), 0), 'FM999,999,999') FROM loyalty.entitlement_act a),
			  (SELECT to_char(count(*), 'FM999,999,999') FROM shop.vouchers), loyalty.reward_stock('voucher'));
