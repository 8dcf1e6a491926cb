-- Room trial over random histories: outcomes of each member as a slow loop over
-- activities() has them, and figures as plain sums have them.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = error;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT no_plan();
INSERT INTO loyalty.member (member_id, joined_at) SELECT i, '2026-01-01'::timestamptz + i % 50 * interval '2 days' FROM generate_series(1, 300) i;
SELECT loyalty.define_trial('t', '{"shares": [0.3, 0.5, 0.2], "margin": 0.25, "adjusted": true, "money": "EUR"}', '2026-02-01', '2026-03-15') \g /dev/null
SELECT setseed(0.815) \g /dev/null
DO $$
DECLARE
	m bigint;
	a bigint;
	at timestamptz;
BEGIN
	FOR i IN 1 .. 900 LOOP
		m := 1 + floor(random() * 300);
		at := '2025-12-15'::timestamptz + random() * interval '110 days';
		SELECT r.activity_id INTO a FROM loyalty.record_activity(m, CASE WHEN random() < 0.9 THEN 'order' ELSE 'review' END, at, amount => round((5 + random() * 95)::numeric, 2),
			money => CASE WHEN random() < 0.9 THEN 'EUR' ELSE 'USD' END, confirmed => random() < 0.95) r;
		IF random() < 0.15 THEN
			PERFORM loyalty.revise_activity(m, a, amount => round((5 + random() * 95)::numeric, 2));
		END IF;
		IF random() < 0.1 THEN
			PERFORM loyalty.revise_activity(m, a, cancelled => true);
		ELSIF random() < 0.3 THEN
			PERFORM loyalty.record_return(m, a, amount => (1 + floor(random() * 4))::numeric, at => at + random() * interval '30 days');
			IF random() < 0.5 THEN
				PERFORM loyalty.record_return(m, a, at => at + interval '30 days' + random() * interval '30 days');
			END IF;
		END IF;
	END LOOP;
END
$$;
SELECT loyalty.merge_members(i, i + 150) FROM generate_series(1, 40) i \g /dev/null

-- a member with all its numbers, one after the other
CREATE FUNCTION outcome(member bigint, since timestamptz, until timestamptz, OUT activities bigint, OUT amount numeric) LANGUAGE plpgsql AS $$
DECLARE
	a record;
BEGIN
	activities := 0; amount := 0;
	FOR a IN SELECT * FROM loyalty.activities(member, 'order', until - interval '1 microsecond') LOOP
		IF a.at >= since AND a.at < until AND a.confirmed AND NOT a.cancelled AND NOT a.returned AND a.money = 'EUR' THEN
			activities := activities + 1;
			amount := amount + a.amount;
		END IF;
	END LOOP;
END
$$;
CREATE TABLE wanted AS
SELECT m.member_id, x.arms[1] AS arm, o.activities, o.amount, b.activities AS activities_before, b.amount AS amount_before, x.arms[1] <> x.arms[2] AS excluded
FROM loyalty.member m, LATERAL (SELECT min(n.joined_at) AS joined_at FROM loyalty.member n WHERE loyalty.canonical_member(n.member_id) = m.member_id) j,
	LATERAL (SELECT greatest(j.joined_at, '2026-02-01') AS since) s, LATERAL (SELECT ARRAY[loyalty.arm_of('t', m.member_id, '{0.3,0.5,0.2}'),
		coalesce((SELECT loyalty.arm_of('t', n.member_id, '{0.3,0.5,0.2}') FROM loyalty.member n WHERE loyalty.canonical_member(n.member_id) = m.member_id AND n.member_id <> m.member_id), loyalty.arm_of('t', m.member_id, '{0.3,0.5,0.2}'))] AS arms) x,
	LATERAL outcome(m.member_id, s.since, '2026-03-15') o, LATERAL outcome(m.member_id, s.since - ('2026-03-15' - s.since), s.since) b
WHERE m.status = 'active' AND s.since < '2026-03-15';
SELECT bag_eq('SELECT member_id, arm, activities, amount, activities_before, amount_before, excluded FROM loyalty.trial_outcomes($$t$$)', 'SELECT * FROM wanted', 'outcomes of every member');
SELECT cmp_ok((SELECT count(*) FROM wanted WHERE excluded), '>=', 10::bigint, 'some of them are left out');
SELECT is((SELECT array_agg((r.members, round(r.mean::numeric, 9))::text ORDER BY r.arm) FROM loyalty.trial_report('t') r),
	(SELECT array_agg((n, round(mean, 9))::text ORDER BY arm) FROM (SELECT arm, count(*) AS n, avg((activities > 0)::integer) AS mean FROM wanted WHERE NOT excluded GROUP BY arm) w), 'shares');
SELECT is((SELECT array_agg(round(r.mean::numeric, 6) ORDER BY r.arm) FROM loyalty.trial_report('t', 'margin') r),
	(SELECT array_agg(round((w.mean - t.theta * (w.before - t.grand))::numeric, 6) ORDER BY w.arm)
		FROM (SELECT arm, avg(amount * 0.25) AS mean, avg(amount_before * 0.25) AS before FROM wanted WHERE NOT excluded GROUP BY arm) w,
		(SELECT sum(xy) / sum(xx) AS theta, (SELECT avg(amount_before * 0.25) FROM wanted WHERE NOT excluded) AS grand FROM (SELECT regr_sxy(amount * 0.25, amount_before * 0.25) AS xy, regr_sxx(amount * 0.25, amount_before * 0.25) AS xx FROM wanted WHERE NOT excluded GROUP BY arm) s) t), 'margins, adjusted');
SELECT is((SELECT DISTINCT excluded FROM loyalty.trial_report('t')), (SELECT count(*) FROM wanted WHERE excluded), 'and who is left out');
SELECT * FROM finish();
