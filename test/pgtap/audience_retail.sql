-- Audiences of real orders (Online Retail), with figures that were computed
-- elsewhere: who sleeps, entering and leaving, overlap, retention by sets.
CREATE EXTENSION pgtap;
CREATE EXTENSION dblink;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET timezone = 'UTC';
SET jit = off;
SELECT no_plan();
SELECT coalesce(nullif(:'data', ''), '') <> '' AS has_data \gset
\if :has_data
SELECT loyalty.setup() \g /dev/null
CREATE TEMP TABLE line (invoice text, stock text, description text, quantity integer, invoice_date timestamp, price numeric, customer text, country text);
\set copy_lines 'COPY line FROM PROGRAM ' '''gzip -dc ' :data '/online_retail/online_retail.csv.gz''' ' (FORMAT csv, HEADER)'
:copy_lines;
CREATE TEMP TABLE o AS SELECT customer::numeric::bigint AS m, invoice, min(invoice_date) AT TIME ZONE 'UTC' AS at, sum(quantity * price) AS amount,
	jsonb_agg(jsonb_build_object('sku', stock, 'quantity', quantity, 'amount', quantity * price)) AS lines
FROM line WHERE customer <> '' AND quantity > 0 AND price > 0 GROUP BY 1, 2;
INSERT INTO loyalty.member (member_id, joined_at) SELECT m, min(at) FROM o GROUP BY m;
-- as record_many() would write them, which takes longer
INSERT INTO loyalty.activity (member_id, kind, at, local_day, time_zone, amount, lines, external_id, same_key)
SELECT m, 'order', at, at::date, 'UTC', amount, lines, invoice, invoice FROM o;
ANALYZE loyalty.activity; ANALYZE loyalty.member;
CREATE FUNCTION refresh(audience text, as_of timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	SELECT * INTO r FROM dblink(format('host=%s port=%s dbname=%s', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()),
		format('CALL loyalty.refresh_audience(%L, %L)', audience, as_of)) x (members bigint, entered bigint, gone bigint);
	RETURN concat_ws(' ', r.members, r.entered, r.gone);
END $$;

SELECT loyalty.define_audience('customer', '{"count": {}}'), loyalty.define_audience('sleeping', 'customer - {"count": {"within": "180 days"}}'),
	loyalty.define_audience('heart', '{"bought": {"sku": ["85123A"]}}'), loyalty.define_audience('stand', '{"bought": {"sku": "22423"}}') \g /dev/null
SELECT is(refresh('sleeping', '2011-09-01'), '545 545 0', 'who sleeps on 1 September 2011');
SELECT is(refresh('sleeping', '2011-12-10'), '861 511 195', 'and on 10 December: 511 entered, 195 left');
SELECT is(loyalty.count_members(loyalty.audience_set('sleeping', '2011-10-01')), 545::bigint, 'as of between');
SELECT is((SELECT count(*) FROM loyalty.member m WHERE loyalty.in_audience(m.member_id, 'sleeping', '2011-12-10') <> loyalty.contains(loyalty.audience_set('sleeping'), m.member_id) AND m.member_id % 10 = 0), 0::bigint,
	'each alone says the same');
SELECT is(refresh('heart', '2011-12-10'), '856 856 0', 'bought 85123A');
SELECT is(refresh('stand', '2011-12-10'), '881 881 0', 'bought 22423');
SELECT is((SELECT concat_ws(' ', x.a, x.b, x.in_both, x.jaccard, x.lift) FROM loyalty.audience_overlap('{heart,stand}', '2011-12-10') x), 'heart stand 261 0.176829 1.5013', 'overlap');
SELECT is((SELECT row(loyalty.count_members(loyalty.member_set_or(a, b)), loyalty.count_members(loyalty.member_set_minus(a, b)), loyalty.count_members(loyalty.member_set_xor(a, b)))
	FROM loyalty.audience_set('heart') a, loyalty.audience_set('stand') b), row(1476::bigint, 595::bigint, 1215::bigint), 'either, only the first, one of them');
-- retention by sets: the cell of the cohort matrix
SELECT is((SELECT concat_ws(' ', loyalty.count_members(d), loyalty.count_members(j), loyalty.count_members(loyalty.member_set_and(d, j)))
	FROM (SELECT loyalty.member_set_agg(m) FILTER (WHERE at < '2011-01-01') AS d, loyalty.member_set_agg(m) FILTER (WHERE at >= '2011-01-01' AND at < '2011-02-01') AS j FROM o) x),
	'885 741 324', 'buyers of December 2010, of January 2011, of both');
SELECT is_empty('SELECT * FROM loyalty.check_audience()', 'all is well');
\else
SELECT skip('Online Retail: no data beside the checkout', 10);
\endif
SELECT * FROM finish();
