-- Room member on person records with typing errors and known duplicates
-- (Febrl): every record is a customer of one of four channels with points of
-- its own; then soc_sec_id, and name with birth date, are told, and records of
-- one person become one member.  Pairwise precision and recall against the
-- truth.  Then all merges are undone, in random order: members, identifiers
-- and balances are what they were.
\set ECHO none
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET jit = off;
\set there `test -r "${LOYALTY_DATA:-../shared/data}/febrl/dataset2.csv" && echo true || echo false`
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT no_plan();

\if :there
CREATE TEMP TABLE febrl (rec_id text, given_name text, surname text, street_number text, address_1 text, address_2 text,
	suburb text, postcode text, state text, date_of_birth text, soc_sec_id text);
CREATE TEMP TABLE record (dataset text, n bigint GENERATED ALWAYS AS IDENTITY, rec_id text, person text, channel text, told jsonb, member_id bigint,
	PRIMARY KEY (dataset, rec_id));
\copy febrl FROM PROGRAM 'cat "${LOYALTY_DATA:-../shared/data}/febrl/dataset1.csv"' WITH (FORMAT csv, HEADER)
CREATE TEMP VIEW trimmed AS
SELECT btrim(rec_id) AS rec_id, lower(btrim(given_name)) AS given_name, lower(btrim(surname)) AS surname,
	btrim(date_of_birth) AS born, btrim(soc_sec_id) AS soc_sec_id FROM febrl;
INSERT INTO record (dataset, rec_id, person, channel)
SELECT 'dataset1', rec_id, split_part(rec_id, '-', 2), (ARRAY['app', 'shop', 'till', 'mini_program'])[1 + (row_number() OVER (ORDER BY rec_id)) % 4] FROM trimmed;
CREATE TEMP TABLE told AS SELECT 'dataset1' AS dataset, * FROM trimmed;
TRUNCATE febrl;
\copy febrl FROM PROGRAM 'cat "${LOYALTY_DATA:-../shared/data}/febrl/dataset2.csv"' WITH (FORMAT csv, HEADER)
INSERT INTO record (dataset, rec_id, person, channel)
SELECT 'dataset2', rec_id, split_part(rec_id, '-', 2), (ARRAY['app', 'shop', 'till', 'mini_program'])[1 + (row_number() OVER (ORDER BY rec_id)) % 4] FROM trimmed;
INSERT INTO told SELECT 'dataset2' AS dataset, * FROM trimmed;
UPDATE record r SET told = (SELECT jsonb_agg(jsonb_build_object('namespace', i.namespace, 'value', i.value, 'verified', true))
	FROM told t, LATERAL (VALUES (t.dataset || '_record', t.rec_id), (t.dataset || '_soc_sec_id', t.soc_sec_id),
		(t.dataset || '_name_born', t.given_name || ' ' || t.surname || ' ' || t.born)) i (namespace, value)
	WHERE t.dataset = r.dataset AND t.rec_id = r.rec_id AND i.value <> ''
		AND (i.namespace !~ 'name_born' OR t.given_name <> '' AND t.surname <> '' AND t.born <> ''));
ANALYZE record;
SELECT loyalty.configure_namespace(d || n, priority => p) FROM (VALUES ('dataset1'), ('dataset2')) d (d),
	(VALUES ('_record', 10), ('_soc_sec_id', 20), ('_name_born', 30)) n (n, p) \g /dev/null

-- each record a customer of its channel, with points of its own
DO $$
DECLARE
	r record;
	m bigint;
BEGIN
	FOR r IN SELECT * FROM record ORDER BY n LOOP
		SELECT member_id INTO m FROM loyalty.resolve_member(jsonb_build_object(r.dataset || '_record', r.rec_id), r.channel,
			jsonb_build_object('channel', r.channel));
		PERFORM loyalty.earn(m, 100 + r.n % 7, expires_at => '2100-01-01');
		UPDATE record SET member_id = m WHERE dataset = r.dataset AND rec_id = r.rec_id;
		IF r.n % 100 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
SELECT is((SELECT count(*) FROM loyalty.member), 6000::bigint, 'each of 6,000 records is a member');

-- who they are: new identifiers are linked, known ones join
DO $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT * FROM record ORDER BY n LOOP
		PERFORM loyalty.resolve_member(r.told, r.channel);
		IF r.n % 100 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
CREATE TEMP TABLE score AS
WITH one AS MATERIALIZED (
	SELECT dataset, n, person, loyalty.canonical_member(member_id) AS c FROM record
), pair AS (
	SELECT a.dataset, a.n, b.n, true AS same, a.c = b.c AS joined FROM one a JOIN one b ON b.dataset = a.dataset AND b.person = a.person AND b.n > a.n
	UNION
	SELECT a.dataset, a.n, b.n, a.person = b.person, true FROM one a JOIN one b ON b.dataset = a.dataset AND b.c = a.c AND b.n > a.n
)
SELECT dataset, count(*) FILTER (WHERE same AND joined) AS hits, count(*) FILTER (WHERE joined) AS joined, count(*) FILTER (WHERE same) AS true_pairs
FROM pair GROUP BY dataset;
SELECT diag(format('%s: precision %s, recall %s, F1 %s (%s of %s pairs joined, %s true)', dataset, round(hits::numeric / joined, 4),
	round(hits::numeric / true_pairs, 4), round(2.0 * hits / (joined + true_pairs), 4), hits, joined, true_pairs)) FROM score ORDER BY dataset;
SELECT is((SELECT round(2.0 * hits / (joined + true_pairs), 3) FROM score WHERE dataset = 'dataset2'), 0.968, 'dataset2: F1 as of exact identifiers with components');
SELECT cmp_ok((SELECT round(2.0 * hits / (joined + true_pairs), 3) FROM score WHERE dataset = 'dataset1'), '>', 0.9, 'dataset1: F1');

-- the same clusters as components over the same identifiers
SELECT is_empty($$
	WITH edge AS (
		SELECT r.n AS a, first_value(r.n) OVER (PARTITION BY i ->> 'namespace', i ->> 'value' ORDER BY r.n) AS b
		FROM record r, jsonb_array_elements(r.told) i
	), c AS (SELECT x.* FROM (SELECT loyalty.components_agg(a, b) AS v FROM edge) e, loyalty.expand_components(e.v) x)
	SELECT c.component FROM c JOIN record r ON r.n = c.node
	GROUP BY c.component HAVING count(DISTINCT loyalty.canonical_member(r.member_id)) > 1
	UNION ALL
	SELECT min(c.component) FROM c JOIN record r ON r.n = c.node
	GROUP BY loyalty.canonical_member(r.member_id) HAVING count(DISTINCT c.component) > 1$$,
	'members are the connected components of the identifiers');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() after the merges');
SELECT is((SELECT sum(b.available)::bigint FROM loyalty.wallet w, loyalty.balance(w.member_id) b WHERE w.moved IS NOT TRUE),
	(SELECT sum(100 + n % 7)::bigint FROM record), 'no point was made or lost');
SELECT is_empty($$
	SELECT r.rec_id FROM record r, LATERAL loyalty.why_merged(r.member_id, loyalty.canonical_member(r.member_id)) w
	WHERE r.member_id <> loyalty.canonical_member(r.member_id)
	GROUP BY r.dataset, r.rec_id HAVING count(*) FILTER (WHERE w.weakest) <> 1$$, 'why_merged() names one weakest link for each');

-- and back
DO $$
DECLARE
	m bigint;
BEGIN
	PERFORM setseed(0.5);
	FOR m IN SELECT merge_id FROM loyalty.member_merge WHERE unmerged_at IS NULL ORDER BY random() LOOP
		PERFORM loyalty.unmerge_members(m);
		IF m % 100 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
SELECT is_empty('SELECT * FROM loyalty.member_alias', 'nobody is absorbed any more');
SELECT is_empty($$
	SELECT r.rec_id FROM record r
	LEFT JOIN loyalty.identifier i ON i.namespace = r.dataset || '_record' AND i.value = r.rec_id
	WHERE i.member_id IS DISTINCT FROM r.member_id$$, 'every record finds its own member again');
SELECT is_empty($$
	SELECT r.rec_id FROM record r, LATERAL loyalty.balance(r.member_id) b, LATERAL (SELECT count(*) AS n FROM loyalty.lots(r.member_id)) l,
		loyalty.member m
	WHERE m.member_id = r.member_id AND (b.available <> 100 + r.n % 7 OR l.n <> 1 OR m.attributes <> jsonb_build_object('channel', r.channel))$$,
	'every member has its own points, in its own lot, and its own attributes');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() after all were undone');
\else
SELECT skip('no person records beside the checkout (../shared/data/febrl)', 1);
\endif
SELECT * FROM finish();
