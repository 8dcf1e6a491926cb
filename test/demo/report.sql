-- What a person wants to see.
SELECT closing, reward FROM shop.calendar
\gset
CREATE TEMP TABLE holding AS
SELECT m.member_id, b.*
FROM (SELECT DISTINCT member_id FROM shop.orders) m,
	 LATERAL loyalty.balance(member_id => m.member_id, currency => 'rewards', as_of => :'closing') b;

\echo
\echo 'The shop, and its points as of' :closing
\echo
SELECT label, lpad(trim(value), 15) AS value, unit
FROM (SELECT 1 AS n, 'members' AS label, to_char(count(DISTINCT member_id), '999,999,990') AS value, '' AS unit FROM shop.orders
	  UNION ALL SELECT 2, 'invoices', to_char(count(*), '999,999,990'), '' FROM shop.orders
	  UNION ALL SELECT 3, 'order lines', to_char(count(*), '999,999,990'), '' FROM shop.order_line
	  UNION ALL SELECT 4, 'worth', to_char(sum(amount), '999,999,990.000'), 'money' FROM shop.orders
	  UNION ALL SELECT 5, 'earned', to_char(sum(earned), '999,999,990'), 'points' FROM holding
	  UNION ALL SELECT 6, 'clawed back', to_char(sum(revoked), '999,999,990'), 'points' FROM holding
	  UNION ALL SELECT 7, 'redeemed', to_char(sum(redeemed), '999,999,990'), 'points' FROM holding
	  UNION ALL SELECT 8, 'expired', to_char(sum(expired), '999,999,990'), 'points' FROM holding
	  UNION ALL SELECT 9, 'available', to_char(sum(available), '999,999,990'), 'points' FROM holding
	  UNION ALL SELECT 10, 'owed by members', to_char(sum(debt), '999,999,990'), 'points' FROM holding) t
ORDER BY n;

\echo 'Returns: what came back, and how much of it could be matched with an earlier order'
\echo '(the member''s latest earlier order that has the same article)'
\echo
SELECT CASE WHEN of_invoice IS NOT NULL THEN 'matched' ELSE 'not matched: no earlier order with the article' END AS return_lines,
	   to_char(count(*), '999,999,990') AS lines,
	   to_char(sum(amount), '999,999,990.000') AS worth,
	   to_char(CASE WHEN of_invoice IS NOT NULL THEN (SELECT sum(points) FROM shop.clawback) ELSE 0 END, '999,999,990') AS points_reversed
FROM shop.return_line GROUP BY of_invoice IS NOT NULL ORDER BY 1;

\echo 'Members with most points'
\echo
SELECT member_id, to_char(available, '999,999,990') AS available, to_char(earned, '999,999,990') AS earned,
	   to_char(redeemed, '999,999,990') AS redeemed, to_char(revoked, '999,999,990') AS clawed_back
FROM holding ORDER BY holding.available DESC, member_id LIMIT 5;

\echo 'Liability: points that members may still redeem, by the month at whose end they expire'
\echo
SELECT to_char(expires_at - interval '1 second', 'YYYY-MM') AS month, to_char(sum(points), '999,999,990') AS points,
	   to_char(count(DISTINCT member_id), '999,999,990') AS members,
	   repeat('#', (40 * sum(points) / max(sum(points)) OVER ())::integer) AS share
FROM (SELECT m.member_id, l.expires_at, l.points
	  FROM holding m, LATERAL loyalty.lots(member_id => m.member_id, currency => 'rewards', as_of => :'closing') l
	  WHERE l.state <> 'expired') t
GROUP BY month ORDER BY month;

-- a member with a bit of everything
SELECT c.member_id AS member
FROM shop.clawback c JOIN holding h USING (member_id)
WHERE h.redeemed > 0 AND h.available > 0
GROUP BY c.member_id, h.earned HAVING count(*) BETWEEN 1 AND 3
ORDER BY (SELECT abs(count(*) - 6) FROM shop.orders o WHERE o.member_id = c.member_id), c.member_id LIMIT 1
\gset
\echo 'Statement of member' :member
\echo
SELECT * FROM loyalty.statement(member_id => :member, currency => 'rewards');

\echo 'Lots of member' :member 'as of' :closing
\echo
SELECT * FROM loyalty.lots(member_id => :member, currency => 'rewards', as_of => :'closing');

SELECT max(entry_id) AS entry FROM loyalty.ledger WHERE member_id = :member AND kind = 'redeem'
\gset
\echo 'Which lots the redemption took, and why: explain_entry(' :member ',' :entry ')'
\echo
SELECT * FROM loyalty.explain_entry(member_id => :member, entry_id => :entry);

\echo 'Tiers, by the points of six months (silver 500, gold 1,500, platinum 5,000), as of' :closing
\echo
CREATE TEMP TABLE tier AS
SELECT m.member_id, loyalty.tier_of(m.member_id, 'club', :'closing') AS level, m.earned
FROM holding m;
SELECT coalesce(l.name, 'none') AS tier, to_char(count(*), '999,990') AS members, to_char(sum(t.earned), '999,999,990') AS points_earned,
	   to_char(100 * sum(t.earned) / sum(sum(t.earned)) OVER (), '990.0') || ' %' AS share,
	   repeat('#', (40 * sum(t.earned) / max(sum(t.earned)) OVER ())::integer) AS bar
FROM tier t LEFT JOIN loyalty.tier_level l ON l.ladder = 'club' AND l.level = t.level
GROUP BY l.rank, l.name ORDER BY l.rank DESC NULLS LAST;

\echo 'Who climbed, and who fell: members by month'
\echo
SELECT to_char(starts_at AT TIME ZONE 'Europe/London', 'YYYY-MM') AS month,
	   to_char(count(*) FILTER (WHERE event = 'enrolled'), '999,990') AS enrolled, to_char(count(*) FILTER (WHERE event = 'upgraded'), '999,990') AS upgraded,
	   to_char(count(*) FILTER (WHERE event = 'renewed'), '999,990') AS renewed, to_char(count(*) FILTER (WHERE event = 'downgraded'), '999,990') AS downgraded,
	   to_char(count(*) FILTER (WHERE event = 'expired'), '999,990') AS expired
FROM loyalty.tier_history WHERE ladder = 'club' GROUP BY 1 ORDER BY 1;

\echo 'The latest to climb to the top'
\echo
SELECT h.member_id, b.level AS from_tier, h.level AS to_tier, h.starts_at::date AS on_day, h.valid_until::date AS holds_until
FROM loyalty.tier_history h
LEFT JOIN loyalty.tier_history b ON b.member_id = h.member_id AND b.ladder = h.ladder AND b.ends_at = h.starts_at
WHERE h.ladder = 'club' AND h.event IN ('enrolled', 'upgraded') AND h.level = 'platinum'
ORDER BY h.starts_at DESC, h.member_id LIMIT 5;

\echo 'About to fall: terms that end within 30 days, and the points missing to keep the tier'
\echo
SELECT s.member_id, s.level AS tier, p.due_at::date AS until, to_char(p.have, '999,990') AS points_then, to_char(p.needed, '999,990') AS needed,
	   to_char(p.missing, '999,990') AS missing
FROM loyalty.tier_state s, LATERAL loyalty.tier_progress(s.member_id, 'club', :'closing') p
WHERE s.ladder = 'club' AND s.next_at < :'closing'::timestamptz + interval '30 days' AND p.goal = 'keep' AND p.missing > 0
ORDER BY p.needed DESC, p.missing, s.member_id LIMIT 5;

\echo 'What a changed ladder would do: silver at 300 points, platinum at 8,000, as if it had been so always'
\echo
SELECT coalesce(level_now, 'none') AS tier_now, coalesce(level_then, 'none') AS tier_then, move, to_char(count(*), '999,990') AS members
FROM shop.ladder l, loyalty.preview_ladder('club', jsonb_set(jsonb_set(l.definition, '{levels,0,all,earned}', '300'), '{levels,2,all,earned}', '8000'),
	:'closing', whole_history => true)
WHERE move NOT IN ('stays', 'none') GROUP BY 1, 2, 3 ORDER BY count(*) DESC, 1, 2;

\echo 'Segments of customers: recency, frequency and monetary, the partition of the 125 codes'
\echo
SELECT segment, to_char(members, '999,990') AS members, to_char(revenue, '999,999,990.00') AS revenue,
	   to_char(100 * revenue_share, '990.0') || ' %' AS share, repeat('#', (40 * revenue / max(revenue) OVER ())::integer) AS bar
FROM shop.segment ORDER BY shop.segment.revenue DESC;

\echo 'Retention: percent of the members of a month of first orders that buy again so many months later'
\echo
SELECT to_char(cohort, 'YYYY-MM') AS cohort, cohort_size AS members, string_agg(lpad(round(100 * rate)::text, 4), '' ORDER BY offset_periods) AS "  +1  +2  +3  +4  +5  +6  +7  +8  +9 +10 +11 +12"
FROM shop.cohort, loyalty.retention_matrix(cohorts)
WHERE offset_periods > 0 GROUP BY 1, 2 ORDER BY 1;

\echo 'Customer value: what the next year is likely to bring, discounted by 10 percent'
\echo
SELECT member_id, round(p_alive, 2) AS p_alive, round(expected_orders, 1) AS orders, round(expected_spend, 2) AS spend,
	   to_char(lifetime_value, '999,999,990') AS value
FROM shop.customer, (SELECT model, as_of FROM shop.value_model WHERE best) v,
	 loyalty.clv_forecast(summary, model, horizon => '365 days', discount_rate => 0.1, as_of => as_of)
ORDER BY lifetime_value DESC LIMIT 5;

\echo 'Four campaigns: foretold by a back-test over all orders, then decided, then decided again as goods came back'
\echo
SELECT c.campaign, c.says, to_char(count(DISTINCT a.activity_id) FILTER (WHERE a.points > 0), '999,990') AS orders, to_char(count(DISTINCT a.member_id), '999,990') AS members,
	   to_char(sum(a.points) FILTER (WHERE a.revision = 0), '999,999,990') AS given, to_char(coalesce(sum(a.points) FILTER (WHERE a.revision > 0), 0), '999,990') AS taken_back
FROM shop.campaign c JOIN loyalty.award a USING (campaign) GROUP BY c.place, c.campaign, c.says ORDER BY c.place;
SELECT measure, to_char(value_then, '999,999,990') AS foretold,
	   to_char(CASE measure WHEN 'points' THEN (SELECT sum(points) FROM loyalty.award WHERE revision = 0)
			   WHEN 'members' THEN (SELECT count(DISTINCT member_id) FROM loyalty.award WHERE points > 0)
			   WHEN 'budget welcome' THEN loyalty.campaign_budget_left('welcome') END, '999,999,990') AS came_true
FROM shop.backtest WHERE measure IN ('points', 'members', 'budget welcome') ORDER BY measure;

-- an order of the autumn that a return took below 500.00
SELECT a.member_id AS buyer, a.activity_id AS bought
FROM loyalty.award a JOIN loyalty.activity o USING (member_id, activity_id)
WHERE a.campaign IN ('autumn', 'big_order') AND NOT o.returned GROUP BY a.member_id, a.activity_id, o.at
ORDER BY count(DISTINCT a.campaign) FILTER (WHERE a.revision = 0) + count(*) FILTER (WHERE a.campaign = 'big_order' AND a.revision > 0) DESC, o.at, a.activity_id LIMIT 1
\gset
\echo 'One order, as it was and as it is; why it has what it has: explain_award(' :buyer ',' :bought ')'
\echo
SELECT m.moment, to_char(v.amount, '999,990.00') AS amount, to_char((SELECT sum(w.points) FROM loyalty.award w WHERE w.member_id = :buyer AND w.activity_id = :bought AND w.revision <= v.revision), '999,990') AS points
FROM loyalty.activity o, LATERAL (VALUES ('as recorded', o.at), ('after its returns', 'infinity')) m (moment, as_of),
	LATERAL (SELECT x.amount, CASE m.as_of WHEN o.at THEN 0 ELSE o.revision END AS revision FROM loyalty.activities(:buyer, as_of => m.as_of) x WHERE x.activity_id = :bought) v
WHERE o.member_id = :buyer AND o.activity_id = :bought ORDER BY m.as_of;
SELECT campaign, matched, failed_at, points, wanted, limited_by, inputs FROM loyalty.explain_award(:buyer, :bought);

\echo 'A basket before it is paid, of a member who has a voucher: preview_basket()'
\echo
SELECT v.member_id AS shopper, c.code AS voucher
FROM shop.vouchers v JOIN loyalty.coupons(v.member_id, :'closing') c ON c.benefit = 'ten_off' AND c.state = 'issued'
ORDER BY v.member_id LIMIT 1
\gset
SELECT what, line, coalesce(item, campaign) AS item, price, discount, due, currency, points, coalesce(refusal, limited_by) AS refused, why
FROM loyalty.preview_basket(:shopper, at => :'closing', money => 'GBP', codes => ARRAY[:'voucher', 'WELCOME10'],
	use_points => 500, use_currency => 'rewards', amount => 604.95,
	lines => '[{"sku": "85123A", "quantity": 200, "price": 2.95}, {"sku": "22423", "quantity": 1, "price": 10.00}]');

\echo 'A live order: the order, its points and the tier are one commit'
\echo
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON shop.orders FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=orders', 'member=member_id', 'points=amount', 'at=at', 'currency=rewards');
-- somebody who lacks little for the next level
SELECT t.member_id AS climber, ceil(p.missing) AS lacks, p.level AS next_level
FROM tier t, LATERAL loyalty.tier_progress(t.member_id, 'club', :'closing') p
WHERE t.level IS NOT NULL AND p.goal = 'reach' ORDER BY p.missing, t.member_id LIMIT 1
\gset
CREATE TEMP TABLE live (n integer, moment text, points_available bigint, tier text);
CREATE VIEW pg_temp.climber AS
SELECT b.available, loyalty.tier_of(:climber, 'club', :'closing') AS tier
FROM loyalty.balance(member_id => :climber, currency => 'rewards', as_of => :'closing') b;
INSERT INTO live SELECT 1, format('before: member %s lacks %s points for %s', :climber, :lacks, :'next_level'), c.* FROM climber c;
BEGIN;
INSERT INTO shop.orders (invoice, member_id, at, amount) VALUES ('LIVE-1', :climber, :'closing', :lacks + 100);
SELECT available AS uncommitted, tier AS uncommitted_tier FROM climber
\gset
ROLLBACK;
INSERT INTO live VALUES (2, format('an order of %s.00, not yet committed', :lacks + 100), :uncommitted, :'uncommitted_tier');
INSERT INTO live SELECT 3, 'rolled back', c.* FROM climber c;
INSERT INTO shop.orders (invoice, member_id, at, amount) VALUES ('LIVE-2', :climber, :'closing', :lacks);
INSERT INTO live SELECT 4, format('another of %s.00, committed', :lacks), c.* FROM climber c;
SELECT moment, points_available, tier FROM live ORDER BY n;

\echo 'Digest of the ledger, to keep outside; verify_ledger(digest) proves later that nothing was changed'
\echo
SELECT loyalty.ledger_digest(blocks => 4) AS digest
\gset
\echo ' ' :digest
\echo
