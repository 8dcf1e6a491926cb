-- Liability of points for real orders (Online Retail), against a loop that knows
-- lots, and nothing of ledgers: every sixteenth customer; each third order is
-- paid with points, some of these come back, and orders whose points nobody has
-- touched are returned.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET timezone = 'America/New_York';
SET jit = off;
SELECT no_plan();
SELECT coalesce(nullif(:'data', ''), '') <> '' AS has_data \gset
\if :has_data
SELECT loyalty.setup() \g /dev/null
CREATE TEMP TABLE line (invoice text, stock text, description text, quantity integer, invoice_date timestamp, price numeric, customer text, country text);
\set copy_lines 'COPY line FROM PROGRAM ' '''gzip -dc ' :data '/online_retail/online_retail.csv.gz''' ' (FORMAT csv, HEADER)'
:copy_lines;
CREATE TEMP TABLE o AS SELECT customer::numeric::bigint AS m, invoice, min(invoice_date) AT TIME ZONE 'Europe/London' AS at, round(sum(quantity * price), 2) AS amount
FROM line WHERE customer <> '' AND quantity > 0 AND price > 0 AND customer::numeric::bigint % 16 = 0 GROUP BY 1, 2;
INSERT INTO loyalty.member (member_id, joined_at) SELECT m, min(at) FROM o GROUP BY m;
-- a point for each pound, until the end of the third month after
SELECT loyalty.create_currency('p', time_zone => 'Europe/London'), loyalty.define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}, "currency": "p"}]}', '2010-01-01') \g /dev/null
UPDATE loyalty.currency SET expiry_policy = 'rolling', expiry_interval = '3 months', expiry_rounding = 'month' WHERE code = 'p';
SELECT loyalty.set_point_value('p', 0.02, cost => 0.01), loyalty.set_point_value('p', 0.03, '2011-06-01 00:00 Europe/London', cost => 0.01), loyalty.set_redemption_estimate('p', 0.6) \g /dev/null

CREATE TABLE lot (m bigint, invoice text, earned_at timestamptz, expires_at timestamptz, points bigint, had bigint, returned_at timestamptz);
CREATE TABLE used (m bigint, n bigint, invoice text, earned_at timestamptz, expires_at timestamptz, at timestamptz, points bigint);
CREATE TABLE paid (m bigint, invoice text, n bigint, entry bigint);
CREATE FUNCTION play() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	e record;
	l record;
	n bigint := 0;
	wanted bigint;
	take bigint;
	entry bigint;
BEGIN
	FOR e IN
		SELECT x.* FROM (
			SELECT m, invoice, at, amount, 'order' AS what, row_number() OVER (PARTITION BY m ORDER BY at, invoice) AS k FROM o
			UNION ALL SELECT m, invoice, at + interval '20 days', 0, 'return', row_number() OVER (PARTITION BY m ORDER BY at, invoice) FROM o) x
		ORDER BY x.at, x.m, x.invoice, x.what
	LOOP
		IF e.what = 'order' THEN
			-- before it: what there is, at most 300
			SELECT least(coalesce(sum(points), 0), 300) INTO wanted FROM lot WHERE m = e.m AND points > 0 AND expires_at > e.at;
			IF e.k % 3 = 0 AND wanted > 0 THEN
				n := n + 1;
				SELECT r.entry_id INTO entry FROM loyalty.redeem(e.m, wanted, 'p', effective_at => e.at) r;
				FOR l IN SELECT ctid, * FROM lot WHERE m = e.m AND points > 0 AND expires_at > e.at ORDER BY expires_at, earned_at LOOP
					take := least(l.points, wanted);
					EXIT WHEN take = 0;
					UPDATE lot SET points = points - take WHERE ctid = l.ctid;
					INSERT INTO used VALUES (e.m, n, l.invoice, l.earned_at, l.expires_at, e.at, take);
					wanted := wanted - take;
				END LOOP;
				INSERT INTO paid VALUES (e.m, e.invoice, n, entry);
			END IF;
			PERFORM loyalty.record_activity(e.m, 'order', e.at, amount => e.amount, money => 'GBP', external_id => e.invoice);
			IF floor(e.amount) > 0 THEN
				INSERT INTO lot VALUES (e.m, e.invoice, e.at, (date_trunc('month', e.at AT TIME ZONE 'Europe/London' + interval '3 months') + interval '1 month') AT TIME ZONE 'Europe/London', floor(e.amount), floor(e.amount), NULL);
			END IF;
		ELSE
			-- every fifth payment is given back, to where it came from, expired or not
			FOR l IN SELECT * FROM paid p WHERE p.m = e.m AND p.invoice = e.invoice AND p.n % 5 = 0 LOOP
				PERFORM loyalty.reverse(e.m, l.entry, effective_at => e.at);
				UPDATE lot t SET points = t.points + u.points FROM used u WHERE u.m = e.m AND u.n = l.n AND t.m = u.m AND t.invoice = u.invoice;
				INSERT INTO used SELECT u.m, u.n, u.invoice, u.earned_at, u.expires_at, e.at, -u.points FROM used u WHERE u.m = e.m AND u.n = l.n;
			END LOOP;
			CONTINUE WHEN e.k % 4 <> 1;
			UPDATE lot SET points = 0, returned_at = e.at WHERE m = e.m AND invoice = e.invoice AND points = had AND expires_at > e.at AND NOT EXISTS (SELECT FROM used u WHERE u.m = e.m AND u.invoice = e.invoice);
			IF FOUND THEN
				PERFORM loyalty.record_return(e.m, loyalty.find_activity(e.m, 'order', e.invoice), at => e.at);
			END IF;
		END IF;
	END LOOP;
END
$$;
CREATE INDEX ON lot (m);
CREATE INDEX ON used (m);
SELECT play() \g /dev/null
SELECT ok((SELECT count(*) > 900 FROM lot) AND (SELECT count(DISTINCT n) > 100 FROM used) AND (SELECT count(*) > 50 FROM lot WHERE returned_at IS NOT NULL), 'much has happened');

CREATE FUNCTION month(at timestamptz) RETURNS date LANGUAGE sql AS $$ SELECT date_trunc('month', at AT TIME ZONE 'Europe/London')::date $$;
CREATE FUNCTION months(d date) RETURNS integer LANGUAGE sql AS $$ SELECT (extract(year FROM d) * 12 + extract(month FROM d))::integer $$;
CREATE FUNCTION ends(d date) RETURNS timestamptz LANGUAGE sql AS $$ SELECT d::timestamp AT TIME ZONE 'Europe/London' $$;
-- lots as of an instant
CREATE FUNCTION lots_at(t timestamptz) RETURNS TABLE (m bigint, invoice text, cohort date, lives date, issued bigint, used bigint, left_over bigint, gone boolean) LANGUAGE sql AS $$
	SELECT l.m, l.invoice, month(l.earned_at), month(l.expires_at - interval '1 microsecond'), CASE WHEN l.returned_at <= t THEN 0 ELSE l.had END, coalesce(u.points, 0),
		CASE WHEN l.returned_at <= t THEN 0 ELSE l.had END - coalesce(u.points, 0), l.expires_at <= t
	FROM lot l LEFT JOIN LATERAL (SELECT sum(u.points)::bigint AS points FROM used u WHERE u.m = l.m AND u.invoice = l.invoice AND u.at <= t) u ON true WHERE l.earned_at <= t
$$;
CREATE TABLE day AS SELECT d::date AS d FROM generate_series('2011-01-01'::timestamp, '2012-05-01', '1 month') d;

-- the triangle: what was issued, what was redeemed up to an age, what expired unredeemed up to its end
SELECT results_eq(format('SELECT cohort, age, issued, cumulative, expired FROM loyalty.triangle_cells(loyalty.redemption_triangle(%L, %L), %L)', 'p', ends(d), d),
	format($q$SELECT c.cohort, a, sum(c.issued)::bigint, sum((SELECT coalesce(sum(u.points), 0) FROM used u WHERE u.m = c.m AND u.invoice = c.invoice AND u.at <= ends(%1$L) AND months(month(u.at)) - months(c.cohort) <= a))::bigint,
			coalesce(sum(c.issued - (SELECT coalesce(sum(u.points), 0) FROM used u WHERE u.m = c.m AND u.invoice = c.invoice AND u.at <= ends(%1$L) AND months(month(u.at)) - months(c.cohort) <= a)) FILTER (WHERE months(c.lives) - months(c.cohort) <= a), 0)::bigint
		FROM lots_at(ends(%1$L)) c, generate_series(0, months(%1$L) - months(c.cohort) - 1) a GROUP BY 1, 2 ORDER BY 1, 2$q$, d), 'the triangle of ' || d)
FROM day WHERE extract(month FROM d) IN (1, 6, 9, 12);

-- points by month of issue, and of expiry
SELECT results_eq(format('SELECT cell, points FROM loyalty.liability(%L, %L, by => %L)', 'p', ends(d), 'issued'),
	format('SELECT to_char(cohort, %L), sum(left_over)::bigint FROM lots_at(ends(%L)) WHERE NOT gone GROUP BY 1 HAVING sum(left_over) > 0 ORDER BY 1', 'YYYY-MM', d), 'by month of issue ' || d) FROM day;
SELECT results_eq(format('SELECT cell, points FROM loyalty.liability(%L, %L, by => %L)', 'p', ends(d), 'expires'),
	format('SELECT to_char(lives, %L), sum(left_over)::bigint FROM lots_at(ends(%L)) WHERE NOT gone GROUP BY 1 HAVING sum(left_over) > 0 ORDER BY 1', 'YYYY-MM', d), 'by month of expiry ' || d) FROM day;

-- a set rate: what is missing of .6 of each month of issue
CREATE FUNCTION schedule(t timestamptz) RETURNS TABLE (cohort date, issued bigint, used bigint, there bigint, expected numeric, deferred numeric) LANGUAGE sql AS $$
	SELECT c.cohort, c.issued, c.used, c.there, least(greatest(.6 * c.issued - c.used, 0), c.there),
		(SELECT coalesce(sum(round(o.amount * (l.issued * p.value * .6) / (o.amount + l.issued * p.value * .6), 2)), 0) FROM lots_at(t) l JOIN o USING (m, invoice),
			LATERAL (SELECT CASE WHEN (SELECT x.earned_at FROM lot x WHERE x.m = l.m AND x.invoice = l.invoice) < '2011-06-01 00:00 Europe/London' THEN .02 ELSE .03 END AS value) p WHERE l.cohort = c.cohort AND l.issued > 0)
	FROM (SELECT cohort, sum(issued)::bigint AS issued, sum(used)::bigint AS used, coalesce(sum(left_over) FILTER (WHERE NOT gone), 0)::bigint AS there FROM lots_at(t) GROUP BY 1) c
$$;
SELECT is((SELECT expected_points FROM loyalty.liability('p', ends(d))), (SELECT round(sum(expected), 2) FROM schedule(ends(d))), 'expected by a rate, ' || d) FROM day;
SELECT results_eq(format('SELECT month, issued, redeemed, outstanding, expected_points, deferred, recognised FROM loyalty.deferral_schedule(%L, %L)', 'p', ends(d)),
	format('SELECT cohort, issued, used, there, round(expected, 2), deferred, round(CASE WHEN there = 0 THEN deferred ELSE deferred * used / nullif(used + expected, 0) END, 2) FROM schedule(ends(%L)) ORDER BY 1', d), 'deferred and recognised, ' || d)
FROM day WHERE extract(month FROM d) IN (1, 4, 8, 12);
SELECT is((SELECT sum(r.recognised) FROM loyalty.recognised_revenue('p', '2010-12-01', '2012-04-01') r), (SELECT sum(deferred) FROM schedule(ends('2012-05-01'))), 'all of it is earned in the end');

-- hazards, of what was there at the begin of each age, in lots that live yet
SELECT loyalty.estimate_redemption('p', ends('2011-11-01')) \g /dev/null
CREATE TABLE hazard AS
SELECT a AS age, sum(c.redeemed)::numeric / nullif(sum(c.there), 0) AS h
FROM (SELECT l.cohort, a, (SELECT coalesce(sum(u.points), 0) FROM used u WHERE month(u.earned_at) = l.cohort AND u.at <= ends('2011-11-01') AND months(month(u.at)) - months(l.cohort) = a) AS redeemed,
		sum(l.issued) - (SELECT coalesce(sum(u.points), 0) FROM used u WHERE month(u.earned_at) = l.cohort AND u.at <= ends('2011-11-01') AND months(month(u.at)) - months(l.cohort) < a)
			- coalesce(sum(l.issued - (SELECT coalesce(sum(u.points), 0) FROM used u WHERE u.m = l.m AND u.invoice = l.invoice AND u.at <= ends('2011-11-01') AND months(month(u.at)) - months(l.cohort) < a)) FILTER (WHERE months(l.lives) - months(l.cohort) < a), 0) AS there
	FROM lots_at(ends('2011-11-01')) l, generate_series(0, months('2011-11-01') - months(l.cohort) - 1) a GROUP BY 1, 2) c
GROUP BY 1;
SELECT is((SELECT array_agg(round(h, 12)) FROM (SELECT unnest(e.hazards) AS h FROM loyalty.estimate_at('p', ends('2011-11-01')) e) x), (SELECT array_agg(round(greatest(coalesce(h, 0), 0), 12) ORDER BY age) FROM hazard), 'hazards');
CREATE FUNCTION survives(from_age integer, to_age integer) RETURNS numeric LANGUAGE sql AS $$ SELECT coalesce(exp(sum(ln(1 - greatest(coalesce(h, 0), 0)))), 1) FROM hazard WHERE age BETWEEN from_age AND to_age $$;
SELECT is((SELECT round(expected_points, 1) FROM loyalty.liability('p', ends(d))), (SELECT round(sum(left_over * (1 - survives(months(d) - months(cohort), months(lives) - months(cohort)))), 1) FROM lots_at(ends(d)) WHERE NOT gone), 'expected by hazards, ' || d)
FROM day WHERE d BETWEEN '2011-11-01' AND '2012-02-01';
CREATE TABLE ahead AS SELECT k, sum(l.left_over * (survives(a.age, a.age + k - 1) - survives(a.age, a.age + k))) FILTER (WHERE a.life >= k) AS redeemed, sum(l.left_over * survives(a.age, a.age + k)) FILTER (WHERE a.life = k) AS expired
FROM lots_at(ends('2011-12-01')) l, LATERAL (SELECT months('2011-12-01') - months(l.cohort) AS age, months(l.lives) - months('2011-12-01') AS life) a, generate_series(0, 3) k WHERE NOT l.gone GROUP BY k;
SELECT is((SELECT count(*) FROM loyalty.redemption_forecast('p', 4, ends('2011-12-01')) f JOIN ahead a ON months(f.month) - months('2011-12-01') = a.k AND abs(f.redeemed - coalesce(a.redeemed, 0)) < 0.02 AND abs(f.expired - coalesce(a.expired, 0)) < 0.02), 4::bigint, 'the forecast');

-- whoever merges afterwards changes nothing of it
CREATE TABLE before AS SELECT d, l.*, ARRAY(SELECT t FROM unnest(loyalty.redemption_triangle('p', ends(d))) t) AS triangle FROM day, loyalty.liability('p', ends(d), by => 'issued') l WHERE d IN ('2011-05-01', '2011-12-01', '2012-01-01');
CREATE TABLE pairs AS SELECT m, lead(m) OVER (ORDER BY m) AS n, row_number() OVER (ORDER BY m) AS k FROM (SELECT DISTINCT m FROM o) x;
SELECT loyalty.merge_members(m, n) FROM pairs WHERE k % 10 = 1 ORDER BY m \g /dev/null
SELECT is_empty($$SELECT d, cell, points, expected_points FROM before EXCEPT SELECT d, l.cell, l.points, l.expected_points FROM (SELECT DISTINCT d FROM before) b, loyalty.liability('p', ends(d), by => 'issued') l$$, 'merged: points as they were');
SELECT is_empty($$SELECT d, triangle FROM before EXCEPT SELECT d, ARRAY(SELECT t FROM unnest(loyalty.redemption_triangle('p', ends(d))) t) FROM (SELECT DISTINCT d FROM before) b$$, 'and so is the triangle');
SELECT loyalty.unmerge_members(merge_id) FROM loyalty.member_merge WHERE merge_id % 2 = 0 \g /dev/null
SELECT is_empty($$SELECT d, triangle FROM before EXCEPT SELECT d, ARRAY(SELECT t FROM unnest(loyalty.redemption_triangle('p', ends(d))) t) FROM (SELECT DISTINCT d FROM before) b$$, 'and after half of it is undone');
SELECT is_empty('SELECT * FROM loyalty.check_liability()', 'all is well');
\else
SELECT skip('no real data', 1);
\endif
SELECT * FROM finish();
