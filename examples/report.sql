-- One page for Monday morning that needs nothing but psql:
--
--	psql -X -f examples/report.sql mydb
--	psql -X -v currency=miles -f examples/report.sql mydb		of these points
--
-- It reads views of loyalty_bi, as a role with grant_access(role, 'reader') may,
-- and writes nothing.
\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
\pset null '–'
\if :{?currency}
\else
	SELECT currency FROM loyalty_bi.liability ORDER BY points DESC, currency LIMIT 1 \gset
\endif
-- all of it as of one instant
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

\echo '\n== The programme'
SELECT 'members' AS figure, count(*)::text AS value, 'active accounts' AS unit FROM loyalty_bi.member WHERE status = 'active'
UNION ALL (SELECT 'active', monthly::text, 'in 30 days' FROM loyalty_bi.active_members ORDER BY local_day DESC LIMIT 1)
UNION ALL (SELECT 'buyers', buyers::text, 'in ' || to_char(month, 'FMMonth YYYY') FROM loyalty_bi.buyers_by_month WHERE finished ORDER BY month DESC LIMIT 1)
UNION ALL SELECT x.figure, x.value, x.unit FROM loyalty_bi.liability l, LATERAL (VALUES ('outstanding', l.points::text, l.currency), ('available', l.available::text, l.currency),
	('owed by members', l.owed::text, l.currency), ('will be redeemed', round(l.expected_points)::text, l.currency), ('worth', l.value::text, 'money')) x (figure, value, unit)
WHERE l.currency = :'currency';

\echo '== Points by month'
SELECT to_char(x.month, 'YYYY-MM') AS month, sum(x.points) FILTER (WHERE x.what = 'issued') AS issued, - sum(x.points) FILTER (WHERE x.what = 'redeemed') AS redeemed,
	sum(x.points) FILTER (WHERE x.what = 'expired') AS expired
FROM (SELECT date_trunc('month', local_day) AS month, CASE WHEN movement IN ('earned', 'returned', 'undone') THEN 'issued' ELSE 'redeemed' END AS what, points
	FROM loyalty_bi.points_by_day WHERE currency = :'currency' AND movement IN ('earned', 'returned', 'undone', 'redeemed', 'refunded')
	UNION ALL SELECT date_trunc('month', local_day), 'expired', points FROM loyalty_bi.expiry WHERE currency = :'currency' AND expired) x
GROUP BY 1 ORDER BY 1 DESC LIMIT 6;

\echo '== What members may redeem, by the last month of its life'
SELECT coalesce(to_char(expires_in, 'YYYY-MM'), 'never') AS month, points, expected_points, value, repeat('#', (40 * points / max(points) OVER ())::integer) AS share
FROM loyalty_bi.liability_by_month WHERE currency = :'currency' ORDER BY expires_in NULLS LAST;

\echo '== Segments'
SELECT segment, members, amount, round(100 * amount_share, 1) AS percent, repeat('#', (40 * amount / nullif(max(amount) OVER (), 0))::integer) AS share
FROM loyalty_bi.segment_size ORDER BY amount DESC, segment;

\echo '== Who comes back: percent of the new buyers of a month, by months later'
SELECT to_char(cohort, 'YYYY-MM') AS cohort, cohort_size AS buyers, string_agg(lpad(round(100 * rate)::text, 4), '' ORDER BY months_later) AS "  +1  +2  +3 ..."
FROM loyalty_bi.retention WHERE months_later BETWEEN 1 AND 12 AND finished GROUP BY 1, 2 ORDER BY 1 DESC LIMIT 12;

\echo '== Levels'
SELECT ladder, coalesce(name, 'none') AS level, members FROM loyalty_bi.level_now ORDER BY ladder, rank DESC NULLS LAST;

\echo '== Campaigns, last 30 days'
SELECT campaign, kind, sum(awards) AS awards, sum(given) AS given, sum(taken_back) AS taken_back, sum(limited) AS limited
FROM loyalty_bi.campaign_result WHERE local_day > current_date - 30 GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2;

\echo '== Coupons'
SELECT benefit, issued, used, round(100.0 * used / nullif(issued, 0), 1) AS percent_used, expired, discount FROM loyalty_bi.coupon_funnel WHERE issued > 0 ORDER BY issued DESC, benefit;

\echo '== Budgets and stock'
SELECT name, total, taken, remaining, round(100 * used_share, 1) AS percent_used, CASE WHEN used_share >= 1 THEN 'at its end' WHEN used_share >= 0.8 THEN 'nearly' END AS alert
FROM loyalty_bi.global_limit ORDER BY used_share DESC NULLS LAST, name;

\echo '== Trials'
SELECT trial, arm, measure, round(100 * mean, 1) AS mean, round(100 * difference, 1) AS difference, round(100 * low, 1) AS low, round(100 * high, 1) AS high, round(incremental) AS more, cost
FROM loyalty_bi.trial_result WHERE measure = 'conversion' ORDER BY trial, arm;

\echo '== Jobs'
SELECT job, status, percent, behind FROM loyalty_bi.job ORDER BY job;
COMMIT;
