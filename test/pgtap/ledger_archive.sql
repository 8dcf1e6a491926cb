-- The archive: whoever asks gets the same answers with entries there as without.
CREATE EXTENSION pgtap;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SET search_path = public, pg_catalog;
SET jit = off;
SELECT no_plan();

SELECT loyalty.create_currency('slide', expiry_policy => 'sliding', expiry_interval => '1 year', time_zone => 'UTC'),
	loyalty.create_currency('roll', expiry_policy => 'rolling', expiry_interval => '1 year', time_zone => 'UTC', refund_grace => '30 days') \g /dev/null
SELECT loyalty.define_measure('earned', 'points', 'points') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "earned", "window": "lifetime"}], "levels": [{"level": "silver", "any": {"earned": 500}}, {"level": "gold", "any": {"earned": 5000}}]}') \g /dev/null
CREATE TABLE shop_order (id bigint PRIMARY KEY, member_id bigint, amount numeric);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON shop_order FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=shop', 'member=member_id', 'points=amount');
SELECT array_agg(r.member_id) AS m FROM generate_series(1, 12) i, LATERAL loyalty.resolve_member(jsonb_build_object('email', format('m%s@x.example', i))) r \gset
SELECT (:'m'::bigint[])[1] AS a, (:'m'::bigint[])[2] AS b, (:'m'::bigint[])[3] AS c \gset

-- histories of every kind; the half of them will be archived
CREATE FUNCTION pg_temp.live(m bigint, n bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	e bigint;
	h bigint;
	code text;
BEGIN
	FOREACH code IN ARRAY '{points,slide,roll}'::text[] LOOP
		e := (SELECT entry_id FROM loyalty.earn(m, 1000, code, now() - interval '300 days', idempotency_key => format('e%s', n), reference => 'first'));
		PERFORM loyalty.redeem(m, 100, code, now() - interval '200 days', idempotency_key => format('r%s', n));
		PERFORM loyalty.reverse(m, e, 50, now() - interval '150 days', idempotency_key => format('b%s', n));
		h := (SELECT entry_id FROM loyalty.hold(m, 60, now() + interval '30 days', code, now() - interval '100 days'));
		PERFORM loyalty.earn(m, 70, code, now() - interval '90 days', pending => true, reference => 'pending');
		PERFORM loyalty.adjust(m, -5, 'corrected', code, now() - interval '80 days');
	END LOOP;
END
$$;
SELECT pg_temp.live(m, n) FROM unnest(:'m'::bigint[]) WITH ORDINALITY u (m, n) \g /dev/null
SELECT loyalty.transfer(:a, :b, 33, idempotency_key => 't1') \g /dev/null
INSERT INTO shop_order SELECT i, (:'m'::bigint[])[1 + i % 12], 10 * i FROM generate_series(1, 24) i;
SELECT merge_id FROM loyalty.merge_members(:b, :c) \gset
SELECT loyalty.earn(:c, 500, reference => 'as c', idempotency_key => 'c as b') \g /dev/null
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null

-- What anybody may ask, as text.
CREATE FUNCTION pg_temp.answers() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('balance %s %s %s: %s', m.member_id, c.code, d, b) FROM loyalty.member m, loyalty.currency c, generate_series(0, 350, 50) d,
		LATERAL (SELECT loyalty.balance(m.member_id, c.code, '2100-01-01'::timestamptz - make_interval(days => 1) * 0 - (timestamptz '2100-01-01' - now()) - make_interval(days => d))) b
	UNION ALL SELECT format('lots %s %s: %s', m.member_id, c.code, l) FROM loyalty.member m, loyalty.currency c, LATERAL loyalty.lots(m.member_id, c.code) l
	UNION ALL SELECT format('statement %s %s: %s', m.member_id, c.code, s) FROM loyalty.member m, loyalty.currency c, LATERAL loyalty.statement(m.member_id, c.code) s
	UNION ALL SELECT format('explain %s', x) FROM loyalty.all_entries() e, LATERAL loyalty.explain_entry(e.member_id, e.entry_id) x
	UNION ALL SELECT format('tier %s %s', m.member_id, loyalty.tier_of(m.member_id, 'club')) FROM loyalty.member m
	UNION ALL SELECT format('progress %s %s', m.member_id, p) FROM loyalty.member m, LATERAL loyalty.tier_progress(m.member_id, 'club') p
	UNION ALL SELECT format('export %s %s', m.member_id, jsonb_array_length(x -> 'ledger') + coalesce(jsonb_array_length(x -> 'ledger_archive'), 0))
		FROM loyalty.member m, LATERAL (SELECT loyalty.export_member(m.member_id) -> 'tables' || '{"ledger_archive": []}'::jsonb || (loyalty.export_member(m.member_id) -> 'tables') AS x) x
$$;
BEGIN;
CREATE TEMP TABLE before ON COMMIT PRESERVE ROWS AS SELECT now() AS at, loyalty.ledger_digest() AS digest;
COMMIT;
SELECT digest FROM before \gset
SELECT count(*) AS n, min(recorded_at) AS first, percentile_disc(0.6) WITHIN GROUP (ORDER BY recorded_at) AS middle FROM loyalty.ledger \gset
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT pg_sleep(0.1) \g /dev/null

-- One snapshot of time for both: now() of one transaction, in which the archive is filled by its part.
BEGIN;
CREATE TEMP TABLE told AS SELECT * FROM pg_temp.answers();
SELECT cmp_ok(count(*), '>', 500::bigint, 'there is much to ask') FROM told;
SELECT loyalty.archive_entries_of(:'m', :'middle') AS moved \gset
SELECT cmp_ok(:moved, '>', :n / 2, 'more than half of the entries move');
SELECT results_eq('SELECT count(*) FROM loyalty.ledger UNION ALL SELECT count(*) FROM loyalty.ledger_archive', format('VALUES (%s::bigint), (%s::bigint)', :n - :moved, :moved), 'and are there');
SELECT is_empty('SELECT * FROM pg_temp.answers() EXCEPT ALL SELECT * FROM told', 'every answer is as before');
SELECT is_empty('SELECT * FROM told EXCEPT ALL SELECT * FROM pg_temp.answers()', 'and none is missing');
ROLLBACK;

CALL loyalty.archive_entries(:'middle', 7);
SELECT results_eq($$SELECT status, result, message FROM loyalty.job_run WHERE job = 'archive_entries'$$,
	format($$VALUES ('finished', %s::bigint, '%1$s entries archived')$$, :moved), 'the job moves as much');
CALL loyalty.archive_entries(:'middle');
SELECT is((SELECT result FROM loyalty.job_run WHERE job = 'archive_entries' ORDER BY run_id DESC LIMIT 1), 0::bigint, 'and finds nothing more');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all invariants hold');
SELECT is((loyalty.verify_ledger(:'digest')).intact, true, 'a digest of before is proven by both tables');
SELECT is((loyalty.verify_ledger(loyalty.ledger_digest())).intact, true, 'and one of now');
SELECT is(loyalty.rebuild_wallets_of(:'m'), 0::bigint, 'wallets are the fold of both');

-- The function is as good as a table: indexes of both are used, that of keys, too.
CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql SET enable_seqscan = off AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT results_eq(format($$SELECT substring(p from '(?:Index|Seq|Function).* on \w+|Index Cond:.*') FROM pg_temp.plan($q$%s$q$) p WHERE p ~ 'Index|Seq|Function' $$, query), format('SELECT unnest(%L::text[])', lines), query)
FROM (VALUES ($$SELECT entry_id FROM loyalty.all_entries() WHERE member_id = 1 AND currency = 'points' AND idempotency_key COLLATE "C" = 'x'$$,
	ARRAY['Index Scan using ledger_idempotency_key on ledger', $$Index Cond: ((member_id = 1) AND (currency = 'points'::text) AND (idempotency_key = 'x'::text))$$,
	'Index Scan using ledger_archive_member_id_currency_idempotency_key_idx on ledger_archive', $$Index Cond: ((member_id = 1) AND (currency = 'points'::text) AND (idempotency_key = 'x'::text))$$]),
	('SELECT points FROM loyalty.all_entries() WHERE member_id = 1 AND entry_id = 2',
	ARRAY['Index Scan using ledger_pkey on ledger', 'Index Cond: ((member_id = 1) AND (entry_id = 2))', 'Index Scan using ledger_archive_pkey on ledger_archive', 'Index Cond: ((member_id = 1) AND (entry_id = 2))'])) v (query, lines);

-- Keys are kept for ever.
SELECT ok(replayed, 'an archived key of ' || code) FROM unnest('{points,slide,roll}'::text[]) code,
	LATERAL loyalty.earn(:a, 1000, code, (SELECT effective_at FROM loyalty.all_entries() e WHERE (e.member_id, e.currency, e.idempotency_key) = (:a, code, 'e1')), idempotency_key => 'e1', reference => 'first');
SELECT throws_ok(format($$SELECT loyalty.earn(%s, 1001, idempotency_key => 'e1')$$, :a), 'LY004', NULL, 'with other arguments: LY004');
SELECT ok(replayed, 'of a transfer') FROM loyalty.transfer(:a, :b, 33, idempotency_key => 't1');
SELECT ok(replayed, 'in the wallet of somebody who was one with the member') FROM loyalty.earn(:c, 500, reference => 'as c', idempotency_key => 'c as b');
SELECT ok(NOT replayed, 'a new one is new') FROM loyalty.earn(:a, 1, idempotency_key => 'new');
SELECT ok(replayed, 'once') FROM loyalty.earn(:a, 1, idempotency_key => 'new');
CREATE TABLE history AS SELECT :a::bigint AS member_id, 5 AS points, now() AS effective_at, 'e1' AS idempotency_key;
SELECT throws_ok($$SELECT loyalty.backfill('history')$$, '23505', NULL, 'backfill() refuses one that was used');
UPDATE history SET idempotency_key = 'e1 new';
SELECT is((SELECT entries FROM loyalty.backfill('history')), 1::bigint, 'and takes a new one');
SET loyalty.table_access = off;
SELECT ok(replayed, 'by statements, too') FROM loyalty.redeem(:b, 100, 'points', (SELECT effective_at FROM loyalty.all_entries() e WHERE (e.member_id, e.currency, e.idempotency_key) = (:b, 'points', 'r2')), idempotency_key => 'r2');
SELECT ok(NOT replayed, 'a new one') FROM loyalty.earn(:b, 1, idempotency_key => 'new');
RESET loyalty.table_access;

-- What refers to an archived entry finds it.
SELECT min(entry_id) FILTER (WHERE kind = 'earn' AND reference = 'first') AS earn, min(entry_id) FILTER (WHERE kind = 'redeem') AS redeem,
	min(entry_id) FILTER (WHERE kind = 'hold') AS hold, min(entry_id) FILTER (WHERE reference = 'pending') AS pending
FROM loyalty.ledger_archive WHERE member_id = :a AND currency = 'slide' \gset
SELECT is((SELECT available - before FROM loyalty.reverse(:a, :redeem, 30), (SELECT available AS before FROM loyalty.balance(:a, 'slide')) b), 30::bigint, 'a redemption is given back');
SELECT throws_ok(format('SELECT loyalty.reverse(%s, %s, 71)', :a, :redeem), 'LY105', NULL, 'and no more of it than there is');
SELECT is((SELECT before - available FROM loyalty.reverse(:a, :earn, 40), (SELECT available AS before FROM loyalty.balance(:a, 'slide')) b), 40::bigint, 'an earn is taken back');
SELECT throws_ok(format('SELECT loyalty.reverse(%s, %s, 911)', :a, :earn), 'LY105', NULL, 'with what was reversed before');
SELECT is((SELECT before - available FROM loyalty.capture(:a, :hold, 60), (SELECT available AS before FROM loyalty.balance(:a, 'slide')) b), 0::bigint, 'a hold is captured');
SELECT is((SELECT available - before FROM loyalty.activate(:a, :pending), (SELECT available AS before FROM loyalty.balance(:a, 'slide')) b), 70::bigint, 'pending points are activated');
UPDATE shop_order SET amount = amount - 5;
DELETE FROM shop_order WHERE id = 1;
INSERT INTO shop_order VALUES (1, (:'m'::bigint[])[2], 5);
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'rows of tables are known by archived entries, and all invariants hold');

-- Forgetting reaches it.
SELECT cmp_ok((SELECT entries FROM loyalty.forget_member(:a)), '>=', 8::bigint, 'somebody is forgotten');
SELECT is_empty(format('SELECT FROM loyalty.all_entries() WHERE member_id = %s AND num_nonnulls(reference, reason, details, idempotency_key, fingerprint, salt) > 0', :a), 'in the archive, too');
SELECT is((loyalty.verify_ledger(:'digest')).intact, true, 'the digest of before is proven still');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all invariants hold');

-- Nobody else gets there, and what is wrong there is seen.
SELECT throws_ok(sql, 'LY005', NULL, sql) FROM unnest('{DELETE FROM loyalty.ledger_archive,UPDATE loyalty.ledger_archive SET points = 0,TRUNCATE loyalty.ledger_archive,INSERT INTO loyalty.ledger_archive SELECT * FROM loyalty.ledger,DELETE FROM loyalty.ledger,UPDATE loyalty.wallet SET archived = NULL}'::text[]) sql;
CREATE ROLE archivist;
SELECT loyalty.grant_access('archivist', 'admin') \g /dev/null
SET ROLE archivist;
SELECT throws_ok(format('SELECT loyalty.archive_entries_of(ARRAY[%s], now())', :b), '42501', NULL, 'an admin who does not own the tables: 42501');
RESET ROLE;
DROP OWNED BY archivist;
DROP ROLE archivist;
ALTER TABLE loyalty.ledger ADD COLUMN branch text;
SELECT throws_ok(format('SELECT loyalty.archive_entries_of(ARRAY[%s], now())', :b), 'LY003', 'the archive has no column "branch"', 'a column that the archive lacks: LY003');
ALTER TABLE loyalty.ledger_archive ADD COLUMN branch text;
SELECT cmp_ok(loyalty.archive_entries_of(ARRAY[:b], now() + interval '1 hour'), '>', 0::bigint, 'that it has');
SELECT is_empty(format('SELECT FROM loyalty.ledger WHERE member_id = %s', :b), 'a wallet may be archived whole');
SELECT is((SELECT available - before FROM loyalty.earn(:b, 9), (SELECT available AS before FROM loyalty.balance(:b)) b), 9::bigint, 'and goes on');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all invariants hold');
CREATE FUNCTION pg_temp.tampered(change text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	found text[];
BEGIN
	ALTER TABLE loyalty.ledger_archive DISABLE TRIGGER USER;
	ALTER TABLE loyalty.wallet DISABLE TRIGGER USER;
	EXECUTE change;
	found := (SELECT array_agg(DISTINCT c.invariant ORDER BY c.invariant) FROM loyalty.check_all() c WHERE c.room = 'ledger' AND c.invariant IN ('chain', 'archive', 'wallet'));
	RAISE EXCEPTION USING ERRCODE = 'XX999', MESSAGE = coalesce(found::text, 'nothing');
EXCEPTION WHEN SQLSTATE 'XX999' THEN
	RETURN nullif(SQLERRM, 'nothing')::text[];
END
$$;
SELECT is(pg_temp.tampered(format(change, :b)), found::text[], change) FROM (VALUES
	('SELECT 1', NULL),
	('DELETE FROM loyalty.ledger_archive WHERE entry_id = (SELECT min(entry_id) FROM loyalty.ledger_archive WHERE member_id = %1$s)', '{chain}'),
	($$UPDATE loyalty.ledger_archive SET reference = 'x' WHERE entry_id = (SELECT min(entry_id) FROM loyalty.ledger_archive WHERE member_id = %1$s)$$, '{chain}'),
	('UPDATE loyalty.wallet SET archived = NULL WHERE member_id = %1$s', '{archive}')) v (change, found);
SELECT * FROM finish();
