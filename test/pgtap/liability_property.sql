-- Room liability over random histories: against balance() and lots() of each
-- member, which know nothing of it.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT no_plan();
SELECT loyalty.create_currency('p', expiry_policy => 'rolling', expiry_interval => '3 months', expiry_rounding => 'month', refund_grace => '10 days') \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 15);
SELECT setseed(0.4711) \g /dev/null
DO $$
DECLARE
	at timestamptz := '2025-01-01';
	m bigint;
	e record;
	refused bigint := 0;
BEGIN
	FOR i IN 1 .. 900 LOOP
		at := at + random() * interval '17 hours';
		m := 1 + floor(random() * 15);
		BEGIN
			CASE floor(random() * 12)
				WHEN 0, 1, 2, 3 THEN PERFORM loyalty.earn(m, 1 + floor(random() * 200)::bigint, 'p', at);
				WHEN 4 THEN PERFORM loyalty.earn(m, 50, 'p', at, available_at => at + interval '20 days');
				WHEN 5, 6, 7 THEN PERFORM loyalty.redeem(m, 1 + floor(random() * 150)::bigint, 'p', at);
				WHEN 8 THEN PERFORM loyalty.hold(m, 1 + floor(random() * 60)::bigint, at + interval '5 days', 'p', at);
				WHEN 9 THEN PERFORM loyalty.transfer(m, 1 + floor(random() * 15)::bigint, 1 + floor(random() * 60)::bigint, 'p', at);
				WHEN 10 THEN PERFORM loyalty.adjust(m, -1 - floor(random() * 20)::bigint, 'correction', 'p', at);
				ELSE
					SELECT l.* INTO e FROM loyalty.ledger l WHERE l.member_id = m AND l.currency = 'p' AND l.kind IN ('earn', 'redeem', 'reverse') ORDER BY random() LIMIT 1;
					PERFORM loyalty.reverse(m, e.entry_id, effective_at => at);
			END CASE;
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE NOT LIKE 'LY1%' AND SQLSTATE <> 'LY003' THEN
				RAISE;
			END IF;
			refused := refused + 1;
		END;
	END LOOP;
END
$$;
SELECT cmp_ok((SELECT count(*) FROM loyalty.ledger), '>=', 500::bigint, 'much has happened');
SELECT cmp_ok((SELECT count(DISTINCT kind) FROM loyalty.ledger), '>=', 7::bigint, 'of every kind');

-- as of any instant: the sum over members
SELECT is((SELECT (l.points, l.pending, l.held, l.owed) FROM loyalty.liability('p', i) l),
	(SELECT (sum(b.available + b.pending + b.held)::bigint, sum(b.pending)::bigint, sum(b.held)::bigint, sum(b.debt)::bigint) FROM loyalty.member m, LATERAL loyalty.balance(m.member_id, 'p', i) b), 'as of ' || i)
FROM generate_series('2025-01-03'::timestamptz, '2026-06-01', '23 days 5 hours') i;
SELECT is((SELECT (l.points, l.owed) FROM loyalty.liability('p') l), (SELECT (sum(b.available + b.pending + b.held)::bigint, sum(b.debt)::bigint) FROM loyalty.member m, LATERAL loyalty.balance(m.member_id, 'p') b), 'now');
SELECT is((SELECT sum(l.points) FROM loyalty.liability('p', i, by => 'issued') l), (SELECT l.points::numeric FROM loyalty.liability('p', i) l), 'by month of issue as of ' || i)
FROM generate_series('2025-02-01'::timestamptz, '2026-02-01', '2 months') i;
SELECT is((SELECT sum(l.points) FROM loyalty.liability('p', i, by => 'campaign') l), (SELECT l.points::numeric FROM loyalty.liability('p', i) l), 'by campaign as of ' || i)
FROM generate_series('2025-02-01'::timestamptz, '2026-02-01', '4 months') i;

-- what was issued and not redeemed is in lots, whether they have expired or not;
-- pending points that repay a debt later are in no entry
SELECT results_eq(format($q$SELECT u.cohort, sum(u.issued - u.redeemed)::bigint FROM unnest(loyalty.redemption_triangle('p', %1$L)) u GROUP BY 1 HAVING sum(u.issued - u.redeemed) <> 0 ORDER BY 1$q$, i),
	format($q$SELECT date_trunc('month', l.earned_at)::date, sum(l.points)::bigint FROM loyalty.member m, LATERAL loyalty.lots(m.member_id, 'p', %1$L) l GROUP BY 1 ORDER BY 1$q$, i), 'issued less redeemed is left, as of ' || i)
FROM generate_series('2025-02-01'::timestamptz, '2026-02-01', '1 month') i
WHERE NOT EXISTS (SELECT FROM loyalty.member m, LATERAL loyalty.balance(m.member_id, 'p', i) b WHERE b.debt > 0) AND NOT EXISTS (SELECT FROM loyalty.ledger e WHERE e.kind = 'earn' AND e.available_at > e.effective_at AND e.effective_at <= i
	AND EXISTS (SELECT FROM generate_series(e.effective_at, least(e.available_at, i), '1 day') d, LATERAL loyalty.balance(e.member_id, 'p', d) b WHERE b.debt > 0));
SELECT * FROM finish();
